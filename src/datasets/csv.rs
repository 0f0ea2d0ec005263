//! Tables of numbers in CSV files.

use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use csv::{ErrorKind, Position, ReaderBuilder, StringRecord, Trim};

use super::{dataset::Dataset, samples::Samples};
use crate::error::{Error, Result};
use crate::formats::regular::open_file;

/// Reads a table of numbers: the column `target`, or the last one, is `y`, all others are `x`.
///
/// The first line is a header if any of its fields is not a number. Each row is one sample: inputs have shape
/// `(columns − 1,)`, targets are single numbers.
///
/// ```no_run
/// let houses = brasa::datasets::load_csv("houses.csv", Some("price"))?;
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] if the file cannot be opened; [`Error::Broken`], with the line, if a field is not a number or a row is
/// longer or shorter than the first; [`Error::UnknownName`] if no column is called `target`.
pub fn load_csv(path: impl AsRef<Path>, target: Option<&str>) -> Result<Dataset> {
    let path = path.as_ref();
    let file = path.display().to_string();
    // The header is recognised below, and lines of another length are refused by the reader.
    let mut reader = ReaderBuilder::new().has_headers(false).trim(Trim::All).from_reader(open_file(path)?.0);

    let mut record = StringRecord::new();
    let mut more = reader.read_record(&mut record).map_err(|error| csv_error(path, error))?;
    // Spreadsheets put a mark before the first field.
    let mut names: Vec<String> = record.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
    let columns = names.len();
    if columns < 2 {
        let reason = format!("expected two columns or more, the inputs and the target, received {columns}");
        return Err(Error::broken(file, "line 1", reason));
    }
    if names.iter().all(|name| name.parse::<f32>().is_ok()) {
        record = StringRecord::from(std::mem::take(&mut names));
    } else {
        more = reader.read_record(&mut record).map_err(|error| csv_error(path, error))?;
    }
    let target = match target {
        None => columns - 1,
        Some(name) => match names.iter().position(|known| known == name) {
            Some(column) => column,
            None if names.is_empty() => {
                return Err(Error::broken(file, "line 1", format!("expected a header that names `{name}`")));
            }
            None => return Err(Error::unknown("column", name, names)),
        },
    };

    let (mut x, mut y) = (Vec::new(), Vec::new());
    while more {
        for (column, field) in record.iter().enumerate() {
            let Ok(value) = field.parse::<f32>() else {
                let line = line_of(path, record.position());
                let name = names.get(column).map(|name| format!(" (`{name}`)")).unwrap_or_default();
                let at = format!("line {line}, column {}{name}", column + 1);
                return Err(Error::broken(file, at, format!("expected a number, received {field:?}")));
            };
            if column == target { y.push(value) } else { x.push(value) }
        }
        more = reader.read_record(&mut record).map_err(|error| csv_error(path, error))?;
    }
    Dataset::new(Samples::new([y.len(), columns - 1], x)?, y)
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

    #[test]
    fn a_header_alone_is_an_empty_data_set() {
        let data = load("a,b,c\n", None).unwrap();
        assert_eq!((data.len(), data.x().sample_shape()), (0, &[2][..]));
    }
}
