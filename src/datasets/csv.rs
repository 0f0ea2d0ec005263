//! Tables of numbers in CSV files.

use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use csv::{ErrorKind, Position, Reader, ReaderBuilder, StringRecord, Trim};

use super::{dataset::Dataset, samples::Samples};
use crate::error::{Error, Result};
use crate::formats::regular::open_file;

/// The most bytes of two lines that are looked at for quotes.
const MOST_QUOTED: u64 = 1 << 20;

/// The usual markers of a missing value.
const GAPS: [&str; 12] = ["", "?", "-", ".", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "missing"];

/// Reads a table of numbers: the column `target`, or the last one, is `y`, all others are `x`.
///
/// [`Csv`] with its defaults: see there for how a header is recognised, and for saying whether there is one.
///
/// ```no_run
/// let houses = brasa::datasets::load_csv("houses.csv", Some("price"))?;
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// Those of [`Csv::load`].
pub fn load_csv(path: impl AsRef<Path>, target: Option<&str>) -> Result<Dataset> {
    Csv { target: target.map(str::to_owned), header: None }.load(path)
}

/// How a table of numbers is read from a CSV file.
///
/// Each row is one sample: inputs have shape `(columns − 1,)`, targets are single numbers. Every value has to be a
/// finite number that fits in float32; a gap, `NA`, `NaN` or `inf` is an error with its line and column.
///
/// # The first line
/// It is a header, which names the columns, or the first sample. [`header`](Self::header) says which. Otherwise:
///
/// * With a [`target`](Self::target), it is a header, as only a header has names.
/// * A line of numbers alone is a sample, but for two kinds that programs write as headers: all fields in quotes while
///   none of the next line is, and `0,1,2,…` counted up to at least 2, the names that pandas gives to columns without
///   any (where it is not the only line).
/// * A line without numbers is a header, unless all its fields are empty or marks for missing values (`NA`, `?`, …).
/// * A line with numbers and other fields is a header if the numbers count up by one (`,0,1` or `id,2019,2020`), no
///   field is a mark for a missing value, and only the first is empty. Otherwise it is a sample, which is then refused
///   at the field that is no number: so no row with a gap is taken for a header.
///
/// Where this was not obvious, [`load_with_note`](Self::load_with_note) says so.
///
/// ```
/// use brasa::datasets::Csv;
/// let file = tempfile::NamedTempFile::new().unwrap();
/// std::fs::write(file.path(), "2019,2020,2021\n0.5,1.5,10\n").unwrap();
/// assert_eq!(Csv::new().header(true).load(file.path())?.len(), 1);
/// let (data, note) = Csv::new().load_with_note(file.path())?;
/// assert_eq!(data.len(), 2);
/// assert!(note.unwrap().contains("taken for a sample"));
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Csv {
    target: Option<String>,
    header: Option<bool>,
}

/// Whether the first line is a header, and whether that was obvious; a note is due where it was not.
struct FirstLine {
    header: bool,
    obvious: bool,
}

impl Csv {
    /// The last column is the target; a header is recognised.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of the column that is the target (default: the last column).
    #[must_use]
    pub fn target(mut self, name: impl Into<String>) -> Self {
        self.target = Some(name.into());
        self
    }

    /// Whether the first line is a header (default: see above).
    #[must_use]
    pub fn header(mut self, header: bool) -> Self {
        self.header = Some(header);
        self
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened; [`Error::Broken`], with line and column, if a field is not a finite
    /// number or a row is longer or shorter than the first; [`Error::UnknownName`] if no column is called as the target
    /// is; [`Error::Argument`] for a target's name without a header.
    pub fn load(&self, path: impl AsRef<Path>) -> Result<Dataset> {
        let (data, note) = self.load_with_note(path)?;
        if let Some(note) = note {
            tracing::warn!("{note}");
        }
        Ok(data)
    }

    /// As [`load`](Self::load); also what the first line was taken for, in a sentence, where that was not obvious.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with_note(&self, path: impl AsRef<Path>) -> Result<(Dataset, Option<String>)> {
        let path = path.as_ref();
        let file = path.display().to_string();
        if let (Some(name), Some(false)) = (&self.target, self.header) {
            return Err(Error::argument("target", "no name, as `header = false` leaves the columns without any", name));
        }
        // The header is recognised below, and lines of another length are refused by the reader.
        let mut reader = ReaderBuilder::new().has_headers(false).trim(Trim::All).from_reader(open_file(path)?.0);

        let (mut record, mut next) = (StringRecord::new(), StringRecord::new());
        let mut more = reader.read_record(&mut record).map_err(|error| csv_error(path, error))?;
        // Spreadsheets put a mark before the first field.
        let bare = |field: &str| match field.strip_prefix('\u{feff}') {
            Some(field) => field.trim_matches('"').to_owned(),
            None => field.to_owned(),
        };
        let mut names: Vec<String> = record.iter().map(bare).collect();
        let columns = names.len();
        if columns < 2 {
            let reason = format!("expected two columns or more, the inputs and the target, received {columns}");
            return Err(Error::broken(file, "line 1", reason));
        }
        let position = record.position().cloned();
        record = StringRecord::from(names.clone());
        record.set_position(position);
        let start = record.position().map_or(0, Position::byte);
        let has_next = reader.read_record(&mut next).map_err(|error| csv_error(path, error))?;

        let first = self.first_line(path, &names, has_next.then_some(&next), start, &reader);
        let note = (!first.obvious).then(|| first.note(&file, &names));
        // What is read next, where the first line is a sample.
        let mut waiting = None;
        if first.header {
            record = next;
            more = has_next;
        } else {
            names.clear();
            waiting = has_next.then_some(next);
        }
        let target = match &self.target {
            None => columns - 1,
            Some(name) => self.target_column(name, &names, &file)?,
        };

        let (mut x, mut y) = (Vec::new(), Vec::new());
        let mut row = 0;
        while more {
            for (column, field) in record.iter().enumerate() {
                let value = field.parse::<f32>().ok().filter(|value| value.is_finite());
                let Some(value) = value else {
                    let line = line_of(path, record.position());
                    let name = names.get(column).map(|name| format!(" (`{name}`)")).unwrap_or_default();
                    let at = format!("line {line}, column {}{name}", column + 1);
                    let reason = unfit(field, row == 0 && !first.header && self.header.is_none());
                    return Err(Error::broken(file, at, reason));
                };
                if column == target { y.push(value) } else { x.push(value) }
            }
            row += 1;
            match waiting.take() {
                Some(next) => record = next,
                None => more = reader.read_record(&mut record).map_err(|error| csv_error(path, error))?,
            }
        }
        Ok((Dataset::new(Samples::new([y.len(), columns - 1], x)?, y)?, note))
    }

    /// Where the target stands among the names of a header.
    fn target_column(&self, name: &str, names: &[String], file: &str) -> Result<usize> {
        let mut found = names.iter().enumerate().filter(|(_, known)| *known == name).map(|(column, _)| column);
        match (found.next(), found.next()) {
            (Some(column), None) => Ok(column),
            (Some(first), Some(second)) => {
                let reason = format!(
                    "expected one column called `{name}`, found it as columns {} and {}",
                    first + 1,
                    second + 1
                );
                Err(Error::broken(file, "line 1", reason))
            }
            (None, _) if self.header.is_none() && names.iter().all(|field| Field::of(field) != Field::Word) => {
                Err(Error::broken(file, "line 1", format!("expected a header that names `{name}`")))
            }
            (None, _) => Err(Error::unknown("column", name, names)),
        }
    }

    /// What the first line is, by the rule of the documentation.
    fn first_line(
        &self,
        path: &Path,
        fields: &[String],
        next: Option<&StringRecord>,
        start: u64,
        reader: &Reader<File>,
    ) -> FirstLine {
        let obvious = |header| FirstLine { header, obvious: true };
        let noted = |header| FirstLine { header, obvious: false };
        if let Some(header) = self.header {
            return obvious(header);
        }
        if self.target.is_some() {
            return obvious(true);
        }
        let kinds: Vec<Field> = fields.iter().map(|field| Field::of(field)).collect();
        let whole: Vec<i64> = kinds.iter().filter_map(|kind| kind.whole()).collect();
        let numbers = kinds.iter().filter(|kind| kind.is_number()).count();
        let counts_up = whole.len() == numbers && whole.windows(2).all(|pair| pair[1].checked_sub(pair[0]) == Some(1));
        let from_zero = counts_up && whole.first() == Some(&0);

        if numbers == kinds.len() {
            let as_pandas = from_zero && numbers > 2 && next.is_some();
            if as_pandas || next.is_some_and(|next| quoted_above_bare(path, start, next, reader)) {
                return noted(true);
            }
            let ascending = whole.len() == numbers && whole.is_sorted_by(|a, b| a < b);
            return if ascending { noted(false) } else { obvious(false) };
        }
        if numbers == 0 {
            return if kinds.contains(&Field::Word) {
                obvious(true)
            } else if kinds.iter().all(|kind| matches!(kind, Field::Empty | Field::Gap)) {
                obvious(false)
            } else {
                noted(true)
            };
        }
        let named = kinds.iter().enumerate().all(|(column, kind)| match kind {
            Field::Word | Field::Number(_) => true,
            Field::Empty => column == 0,
            Field::Gap | Field::Other => false,
        });
        if named && counts_up && (from_zero || numbers > 1) { noted(true) } else { obvious(false) }
    }
}

impl FirstLine {
    fn note(&self, file: &str, fields: &[String]) -> String {
        let line = fields.join(",");
        let line =
            if line.chars().count() > 40 { format!("{}…", line.chars().take(40).collect::<String>()) } else { line };
        let line = crate::text::printable(&line);
        if self.header {
            format!(
                "`{file}`: line 1 ({line}) was taken for the names of the columns; `header = false` makes it a sample"
            )
        } else {
            format!(
                "`{file}`: line 1 ({line}) was taken for a sample; `header = true` makes it the names of the columns"
            )
        }
    }
}

/// What a field of the first line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    /// A finite number; its value if it is written as a whole one.
    Number(Option<i64>),
    Empty,
    /// A mark for a missing value, or a number that is not finite.
    Gap,
    /// Begins with a letter.
    Word,
    /// Anything else, such as `$3` or `1st`.
    Other,
}

impl Field {
    fn of(field: &str) -> Self {
        match field.parse::<f32>() {
            Ok(value) if value.is_finite() => Self::Number(field.parse().ok()),
            Ok(_) => Self::Gap,
            Err(_) if field.is_empty() => Self::Empty,
            Err(_) if GAPS.contains(&field.to_ascii_lowercase().as_str()) => Self::Gap,
            Err(_) if field.starts_with(|first: char| first.is_alphabetic() || first == '_') => Self::Word,
            Err(_) => Self::Other,
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Self::Number(_))
    }

    fn whole(self) -> Option<i64> {
        if let Self::Number(whole) = self { whole } else { None }
    }
}

/// Whether all fields of the first line are in quotes and none of the next is: as programs write that put texts in
/// quotes and numbers not.
fn quoted_above_bare(path: &Path, start: u64, next: &StringRecord, reader: &Reader<File>) -> bool {
    let Some(middle) = next.position().map(Position::byte) else { return false };
    let end = reader.position().byte();
    let line = |from: u64, to: u64| -> Option<String> {
        let length = to.checked_sub(from).filter(|length| *length <= MOST_QUOTED)?;
        let mut file = File::open(path).ok()?;
        file.seek(SeekFrom::Start(from)).ok()?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim_start_matches('\u{feff}').trim().to_owned())
    };
    let (Some(first), Some(next)) = (line(start, middle), line(middle, end)) else { return false };
    // Numbers hold no commas, so that the fields are what stands between them.
    first.split(',').all(|field| field.trim().starts_with('"')) && !next.contains('"')
}

/// Why a field is refused.
fn unfit(field: &str, may_be_a_header: bool) -> String {
    let expected = if field.parse::<f32>().is_ok() { "a finite number (float32)" } else { "a number" };
    let hint = if may_be_a_header { "; `header = true` says that this line names the columns" } else { "" };
    format!("expected {expected}, received {field:?}{hint}")
}

fn csv_error(path: &Path, error: csv::Error) -> Error {
    let line = line_of(path, error.position());
    let text = error.to_string();
    let reason = match error.into_kind() {
        ErrorKind::Io(source) => return Error::io("read", path)(source),
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("expected {expected_len} fields, received {len}")
        }
        _ => text,
    };
    Error::broken(path.display().to_string(), format!("line {line}"), reason)
}

/// The line of a record, from 1. The reader's own count stops before the empty lines above a record.
fn line_of(path: &Path, position: Option<&Position>) -> u64 {
    let Some(position) = position else { return 1 };
    let above = || {
        let mut file = BufReader::new(File::open(path)?);
        file.seek(SeekFrom::Start(position.byte()))?;
        let mut lines = 0;
        for byte in file.bytes() {
            match byte? {
                b'\n' => lines += 1,
                b'\r' => {}
                _ => break,
            }
        }
        std::io::Result::Ok(lines)
    };
    // Without the file there is still the reader's count.
    position.line() + above().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, target: Option<&str>) -> Result<Dataset> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        // The temporary name is not part of what is tested.
        load_csv(file.path(), target).map_err(|error| match error {
            Error::Broken { at, reason, .. } => Error::broken("f.csv", at, reason),
            error => error,
        })
    }

    fn message(text: &str, target: Option<&str>) -> String {
        load(text, target).unwrap_err().to_string()
    }

    #[test]
    fn with_and_without_a_header() {
        for text in ["1,2,3\n4,5,6\n", "a,b,c\r\n1, 2 ,3\r\n4,5,6", "\u{feff}1,2,3\n\n4,5,\"6\"\n"] {
            let data = load(text, None).unwrap();
            assert_eq!(data.x().shape(), [2, 2], "{text:?}");
            assert_eq!(data.x().to_vec_f32(), [1.0, 2.0, 4.0, 5.0], "{text:?}");
            assert_eq!((data.y().shape(), data.y().to_vec_f32()), (&[2][..], vec![3.0, 6.0]), "{text:?}");
        }
    }

    #[test]
    fn a_named_column_is_the_target() {
        let data = load("price,rooms,area\n-1e3,2,3.5\n", Some("price")).unwrap();
        assert_eq!((data.x().to_vec_f32(), data.y().to_vec_f32()), (vec![2.0, 3.5], vec![-1000.0]));
        let error = message("price,rooms\n1,2\n", Some("prise"));
        assert_eq!(error, "unknown column `prise`, did you mean `price`?; valid: price, rooms");
        assert_eq!(message("1,2\n", Some("y")), "`f.csv` is broken at line 1: expected a header that names `y`");
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let error = message("a,b\n1,2\n\n3,x\n", None);
        assert_eq!(error, "`f.csv` is broken at line 4, column 2 (`b`): expected a number, received \"x\"");
        assert_eq!(
            message("1,2\n3,\n", None),
            "`f.csv` is broken at line 2, column 2: expected a number, received \"\""
        );
        assert!(message("a,b\r\n\r\n3,x\r\n", None).contains("at line 3, column 2 (`b`)"));
        assert!(message("a,b\r\n3,4\r\n5,x\r\n", None).contains("at line 3, column 2 (`b`)"));
        assert_eq!(message("1,2\n3,4,5\n", None), "`f.csv` is broken at line 2: expected 2 fields, received 3");
        let two = "expected two columns or more, the inputs and the target, received";
        assert_eq!(message("", None), format!("`f.csv` is broken at line 1: {two} 0"));
        assert_eq!(message("1\n2\n", None), format!("`f.csv` is broken at line 1: {two} 1"));
        assert!(matches!(load_csv("no/such.csv", None), Err(Error::Io { .. })));
        assert!(matches!(load("1,2\n\u{fffd},3", None), Err(Error::Broken { .. })));
    }

    /// The inputs and the note for a text.
    fn noted(csv: &Csv, text: &str) -> Result<(Vec<f32>, Option<String>)> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let (data, note) = csv.load_with_note(file.path())?;
        Ok((data.x().to_vec_f32(), note))
    }

    #[test]
    fn a_first_line_with_a_gap_is_a_sample_and_refused() {
        for (gap, column) in [
            ("0.5,,1000", 2),
            ("?,2,3", 1),
            ("1,2,NA", 3),
            ("1,n/a,3", 2),
            ("$3,1,2", 1),
            ("1,nan,3", 2),
            ("inf,1,2", 1),
            ("1e40,2,3", 1),
            ("0.5,abc,1000", 2),
            ("7,abc,1000", 2),
            (",,", 1),
            ("NA,?,nan", 1),
            (",2,1", 1),
            ("1,,2", 2),
            ("NA,0,1", 1),
        ] {
            let error = noted(&Csv::new(), &format!("{gap}\n4,5,6\n")).unwrap_err().to_string();
            assert!(error.contains(&format!("at line 1, column {column}: expected a")), "{gap}: {error}");
            assert!(error.ends_with("; `header = true` says that this line names the columns"), "{gap}: {error}");
            let (x, note) = noted(&Csv::new().header(true), &format!("{gap}\n4,5,6\n")).unwrap();
            assert_eq!((x, note), (vec![4.0, 5.0], None), "{gap}");
        }
    }

    #[test]
    fn headers_of_numbers() {
        let with = |first: &str| noted(&Csv::new(), &format!("{first}\n0.5,1.5,10\n2.5,3.5,20\n")).unwrap();
        let rows = vec![0.5, 1.5, 2.5, 3.5];
        for header in ["0,1,2", "\"2019\",\"2021\",\"7\"", "\u{feff}\"5\",\"4\",\"3\"", ",0,1", "id,2019,2020"] {
            let (x, note) = with(header);
            assert_eq!(x, rows, "{header}");
            assert!(note.unwrap().contains("was taken for the names of the columns; `header = false`"), "{header}");
        }
        for sample in ["2019,2020,2021", "1,5,9"] {
            let (x, note) = with(sample);
            assert_eq!(x.len(), 6, "{sample}");
            assert!(note.unwrap().contains("was taken for a sample; `header = true`"), "{sample}");
        }
        for obvious in ["3,2,1", "0.5,1.5,2.5"] {
            let (x, note) = with(obvious);
            assert_eq!((x.len(), note), (6, None), "{obvious}");
        }
        assert_eq!(with("a,b,c"), (rows, None));
        // Alone it is no header, and two columns are too few to tell.
        assert_eq!(noted(&Csv::new(), "0,1,2\n").unwrap().0, [0.0, 1.0]);
        assert_eq!(noted(&Csv::new(), "0,1\n1,3\n").unwrap().0, [0.0, 1.0]);
        // All lines in quotes say nothing about the first.
        assert_eq!(noted(&Csv::new(), "\"3\",\"2\"\n\"5\",\"6\"\n").unwrap(), (vec![3.0, 5.0], None));
    }

    #[test]
    fn it_can_be_said_whether_there_is_a_header() {
        let text = "0,1,2\n0.5,1.5,10\n";
        assert_eq!(noted(&Csv::new().header(true), text).unwrap(), (vec![0.5, 1.5], None));
        assert_eq!(noted(&Csv::new().header(false), text).unwrap(), (vec![0.0, 1.0, 0.5, 1.5], None));
        // The name of a column stands in a header only.
        assert_eq!(noted(&Csv::new().target("0"), text).unwrap(), (vec![1.5, 10.0], None));
        let error = noted(&Csv::new().target("0").header(false), text).unwrap_err();
        assert!(matches!(&error, Error::Argument { argument, .. } if argument == "target"), "{error}");
        let error = noted(&Csv::new().header(false), "a,b\n1,2\n").unwrap_err().to_string();
        assert!(error.ends_with("at line 1, column 1: expected a number, received \"a\""), "{error}");
        let error = noted(&Csv::new().target("y"), "x,y,y\n1,2,3\n").unwrap_err().to_string();
        assert!(error.contains("one column called `y`, found it as columns 2 and 3"), "{error}");
    }

    #[test]
    fn what_is_not_finite_is_refused_with_its_place() {
        for field in ["nan", "NaN", "inf", "-Infinity", "1e40", "-4e38"] {
            for (text, at) in [
                (format!("a,b\n1,2\n{field},3\n"), "line 3, column 1 (`a`)"),
                (format!("a,b\n1,2\n3,{field}\n"), "line 3, column 2 (`b`)"),
            ] {
                let error = message(&text, None);
                let expected =
                    format!("`f.csv` is broken at {at}: expected a finite number (float32), received {field:?}");
                assert_eq!(error, expected);
            }
        }
        assert_eq!(load("1,3.4e38\n", None).unwrap().y().to_vec_f32(), [3.4e38]);
    }

    #[test]
    fn a_header_alone_is_an_empty_data_set() {
        let data = load("a,b,c\n", None).unwrap();
        assert_eq!((data.len(), data.x().sample_shape()), (0, &[2][..]));
    }
}
