//! Tables in CSV files.

mod analysis;
mod first_line;
mod opened;
mod profile;
mod rows;

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

#[cfg(feature = "recipes")]
pub(crate) use self::analysis::class_of_number;
#[cfg(feature = "serve")]
pub(crate) use self::first_line::is_gap;
pub use self::profile::ColumnProfile;
pub use self::rows::TableRows;
use super::dataset::Dataset;
use super::table_info::{ColumnInfo, Fill, MOST_CATEGORIES, TableInfo};
use super::{Samples, check_class_names};
use crate::error::{Error, Result};

/// The most classes of a target column.
const MOST_CLASSES: usize = 10_000;

/// Reads a table: the column `target`, or the last one, is `y`, all others are `x`.
///
/// [`Csv`] with its defaults: see there for header detection, text columns and gaps.
///
/// ```no_run
/// let houses = brasa::datasets::load_csv("houses.csv", Some("price"))?;
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// Those of [`Csv::load`].
pub fn load_csv(path: impl AsRef<Path>, target: Option<&str>) -> Result<Dataset> {
    target.into_iter().fold(Csv::new(), Csv::target).load(path)
}

/// The replacement of gaps in a column: empty fields, `NA`, `NaN`, `?` and the like.
///
/// ```
/// use brasa::datasets::Missing;
/// assert_eq!("most_frequent".parse::<Missing>()?, Missing::MostFrequent);
/// assert!("median".parse::<Missing>().is_err());
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Missing {
    /// None: gaps are rejected.
    #[default]
    Refuse,
    /// The mean of the column's numbers.
    Mean,
    /// The column's most frequent value; of equally frequent ones the least.
    MostFrequent,
    /// A category of its own, in a column of texts.
    Category,
}

impl FromStr for Missing {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "refuse" => Self::Refuse,
            "mean" => Self::Mean,
            "most_frequent" => Self::MostFrequent,
            "category" => Self::Category,
            _ => {
                let known = ["refuse", "mean", "most_frequent", "category"];
                return Err(Error::unknown("rule for gaps", name, known));
            }
        })
    }
}

/// Reads a table from a CSV file.
///
/// Each row is one sample. A column of numbers is one input; a column of texts, in which no field is a number, is
/// one-hot encoded: one input per distinct text. Numbers have to be finite and fit in float32. Anything else is an
/// error with its line and column: a column of both, dates, more than 100 texts, a number such as `1.234,5`, and gaps
/// unless [`missing`](Self::missing) gives a replacement. Targets are single numbers, or, where the column holds texts,
/// class indices, the classes being in alphabetical order; with several [`targets`](Self::targets) each sample has a
/// row of numbers.
///
/// # The first line
/// It is a header, which names the columns, or the first sample. [`header`](Self::header) decides. Otherwise:
///
/// * Where a column is referred to by name, as the [`target`](Self::target) is, it is a header.
/// * A line of numbers only is a sample, with two exceptions that programs write as headers: all fields quoted while
///   none of the next line is, and `0,1,2,…` counted up to at least 2, the names that pandas gives to unnamed columns
///   (unless it is the only line).
/// * A line without numbers is a header, unless all its fields are empty or missing-value markers (`NA`, `?`, …).
/// * A line with numbers and other fields is a header if the numbers count up by one (`,0,1` or `id,2019,2020`), no
///   field is a missing-value marker, and only the first is empty. Otherwise it is a sample, which is then rejected
///   at the field that is not a number: so no row with a gap is taken for a header.
///
/// Where this was not obvious, [`load_with_note`](Self::load_with_note) says so.
///
/// ```
/// use brasa::datasets::{Csv, Missing};
/// let file = tempfile::NamedTempFile::new().unwrap();
/// std::fs::write(file.path(), "2019,2020,2021\n0.5,1.5,10\n").unwrap();
/// assert_eq!(Csv::new().header(true).load(file.path())?.len(), 1);
/// let (data, note) = Csv::new().load_with_note(file.path())?;
/// assert_eq!(data.len(), 2);
/// assert!(note.unwrap().contains("taken for a sample"));
///
/// std::fs::write(file.path(), "sex,age,survived\nmale,22,no\nfemale,,yes\nmale,24,no\n").unwrap();
/// let table = Csv::new().target("survived").missing_of("age", Missing::Mean).read(file.path())?;
/// assert_eq!(table.info.input_names(), ["sex=female", "sex=male", "age"]);
/// assert_eq!(table.data.x().to_vec_f32(), [0.0, 1.0, 22.0, 1.0, 0.0, 23.0, 0.0, 1.0, 24.0]);
/// assert_eq!((table.class_names, table.data.y().to_vec_f32()), (vec!["no".to_string(), "yes".into()], vec![0.0, 1.0, 0.0]));
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Csv {
    targets: Vec<String>,
    header: Option<bool>,
    separator: Option<char>,
    columns: Vec<String>,
    exclude: Vec<String>,
    missing: Missing,
    missing_of: BTreeMap<String, Missing>,
    class_names: Vec<String>,
    /// The fraction at the end whose numbers are excluded from the replacements of gaps.
    held_back: f64,
    /// Whether targets are also inputs.
    targets_too: bool,
    shuffled: Option<u64>,
    info: Option<TableInfo>,
}

/// A table after reading: its samples, and how its columns became inputs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Table {
    /// The samples.
    pub data: Dataset,
    /// How the columns became inputs.
    pub info: TableInfo,
    /// The classes, in the order of their indices, where the target is categorical.
    pub class_names: Vec<String>,
    /// Remarks on what was not obvious, one sentence each.
    pub notes: Vec<String>,
    /// The line of each sample in the file.
    pub lines: Vec<u64>,
}

impl Csv {
    /// The last column is the target; a header is detected.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of the target column (default: the last column).
    #[must_use]
    pub fn target(self, name: impl Into<String>) -> Self {
        self.targets([name.into()])
    }

    /// The names of the target columns: with several of them a target is a row of numbers.
    #[must_use]
    pub fn targets<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.targets = names.into_iter().map(Into::into).collect();
        self
    }

    /// Whether the first line is a header (default: see above).
    #[must_use]
    pub fn header(mut self, header: bool) -> Self {
        self.header = Some(header);
        self
    }

    /// The field separator (default: a tab in a file called `.tsv` or `.tab`; else the first of `,`, `;`, a tab and `|`
    /// that the first line contains).
    #[must_use]
    pub fn separator(mut self, separator: char) -> Self {
        self.separator = Some(separator);
        self
    }

    /// The input columns, in this order (default: all but the targets).
    #[must_use]
    pub fn columns<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.columns = names.into_iter().map(Into::into).collect();
        self
    }

    /// Columns to leave out.
    #[must_use]
    pub fn exclude<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.exclude = names.into_iter().map(Into::into).collect();
        self
    }

    /// The replacement of gaps in the inputs (default: gaps are rejected).
    #[must_use]
    pub fn missing(mut self, rule: Missing) -> Self {
        self.missing = rule;
        self
    }

    /// The replacement of gaps in one column.
    #[must_use]
    pub fn missing_of(mut self, column: impl Into<String>, rule: Missing) -> Self {
        self.missing_of.insert(column.into(), rule);
        self
    }

    /// The names of the target's classes, in the order of their indices (default: the texts of the column in
    /// alphabetical order). A target is a name, or an index.
    #[must_use]
    pub fn class_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.class_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// The fraction of the samples, at the end, that is not trained on: it is excluded from means (default: 0).
    #[must_use]
    pub fn held_back(mut self, part: f64) -> Self {
        self.held_back = part;
        self
    }

    /// Shuffles the rows by a function of `seed` and their number alone (default: file order).
    #[must_use]
    pub fn shuffled(mut self, seed: u64) -> Self {
        self.shuffled = Some(seed);
        self
    }

    /// Whether the targets are also inputs, as they are for windows over time (default: no).
    #[must_use]
    pub fn targets_too(mut self, too: bool) -> Self {
        self.targets_too = too;
        self
    }

    /// Reads as the table of `info` was read: the same columns, categories and replacements. Other settings of columns
    /// and gaps are ignored then.
    #[must_use]
    pub fn like(mut self, info: &TableInfo) -> Self {
        self.info = Some(info.clone());
        self
    }

    /// Whether columns are referred to by name, which requires a header.
    fn names_columns(&self) -> bool {
        let own = [&self.targets, &self.columns, &self.exclude].iter().any(|names| !names.is_empty());
        own || !self.missing_of.is_empty() || self.info.as_ref().is_some_and(|info| info.header)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened; [`Error::Broken`], with line and column, for a field that cannot be
    /// read (see above) and a row that is longer or shorter than the first; [`Error::UnknownName`] if no column has a
    /// given name; [`Error::Argument`] for the name of a column without a header.
    pub fn load(&self, path: impl AsRef<Path>) -> Result<Dataset> {
        let table = self.read(path)?;
        table.notes.iter().for_each(|note| tracing::warn!("{note}"));
        Ok(table.data)
    }

    /// As [`load`](Self::load), with remarks on what was not obvious about the file, such as whether the first line is
    /// a header.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with_note(&self, path: impl AsRef<Path>) -> Result<(Dataset, Option<String>)> {
        let table = self.read(path)?;
        let note = (!table.notes.is_empty()).then(|| table.notes.join("; "));
        Ok((table.data, note))
    }

    /// As [`load`](Self::load), with everything known about the table.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Table> {
        let path = path.as_ref();
        if let (true, Some(false)) = (self.names_columns(), self.header) {
            let named = [&self.targets, &self.columns, &self.exclude].into_iter().flatten().next();
            let named = named.cloned().unwrap_or_else(|| "the model's columns".to_owned());
            return Err(Error::argument(
                "target",
                "no name, as `header = false` leaves the columns without any",
                named,
            ));
        }
        if !self.class_names.is_empty() {
            check_class_names(&self.class_names)?;
        }
        analysis::read(self, path)
    }

    /// Reads the inputs of a file row by row, for a model of `width` inputs: those of the table given to
    /// [`like`](Self::like), else all columns, which must be numeric. The file can also have the target columns.
    ///
    /// # Errors
    /// As [`load`](Self::load), except for errors of a single row.
    pub fn rows(&self, path: impl AsRef<Path>, width: usize) -> Result<TableRows> {
        TableRows::open(self, path.as_ref(), width)
    }

    fn rule(&self, name: &str) -> Missing {
        self.missing_of.get(name).copied().unwrap_or(self.missing)
    }
}

/// `count` samples of `width` values each.
fn rows_of(width: usize, count: usize, values: Vec<f32>) -> Result<Samples> {
    Samples::new([count, width], values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, target: Option<&str>) -> Result<Dataset> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        // The temporary name is irrelevant to the test.
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
        assert!(message("a,b\r\n\r\n3,1\r\n4,x\r\n", None).contains("at line 4, column 2 (`b`)"));
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
        // Alone it is not a header, and two columns are too few to tell.
        assert_eq!(noted(&Csv::new(), "0,1,2\n").unwrap().0, [0.0, 1.0]);
        assert_eq!(noted(&Csv::new(), "0,1\n1,3\n").unwrap().0, [0.0, 1.0]);
        // Quotes on all lines say nothing about the first.
        assert_eq!(noted(&Csv::new(), "\"3\",\"2\"\n\"5\",\"6\"\n").unwrap(), (vec![3.0, 5.0], None));
    }

    #[test]
    fn header_overrides_detection() {
        let text = "0,1,2\n0.5,1.5,10\n";
        assert_eq!(noted(&Csv::new().header(true), text).unwrap(), (vec![0.5, 1.5], None));
        assert_eq!(noted(&Csv::new().header(false), text).unwrap(), (vec![0.0, 1.0, 0.5, 1.5], None));
        // Only a header names a column.
        assert_eq!(noted(&Csv::new().target("0"), text).unwrap(), (vec![1.5, 10.0], None));
        let error = noted(&Csv::new().target("0").header(false), text).unwrap_err();
        assert!(matches!(&error, Error::Argument { argument, .. } if argument == "target"), "{error}");
        let error = noted(&Csv::new().header(false), "a,b\n1,2\n").unwrap_err().to_string();
        assert!(error.ends_with("at line 1, column 1: expected a number, received \"a\""), "{error}");
        let error = noted(&Csv::new().target("y"), "x,y,y\n1,2,3\n").unwrap_err().to_string();
        assert!(error.contains("one column called `y`, found it as columns 2 and 3"), "{error}");
    }

    #[test]
    fn non_finite_fields_are_refused_with_their_place() {
        for field in ["nan", "NaN", "inf", "-Infinity", "1e40", "-4e38"] {
            for (text, at) in [
                (format!("a,b\n1,2\n{field},3\n"), "line 3, column 1 (`a`)"),
                (format!("a,b\n1,2\n3,{field}\n"), "line 3, column 2 (`b`)"),
            ] {
                let error = message(&text, None);
                let mut expected =
                    format!("`f.csv` is broken at {at}: expected a finite number (float32), received {field:?}");
                if field.eq_ignore_ascii_case("nan") && at.contains("`a`") {
                    expected += "; `missing` says what stands in for gaps";
                }
                assert_eq!(error, expected);
            }
        }
        assert_eq!(load("1,3.4e38\n", None).unwrap().y().to_vec_f32(), [3.4e38]);
    }

    fn read(csv: &Csv, text: &str) -> Result<Table> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        csv.read(file.path())
    }

    #[test]
    fn texts_are_categories_and_a_table_like_it_has_the_same() {
        let csv = Csv::new().target("y").missing_of("sex", Missing::Category).missing_of("age", Missing::MostFrequent);
        let text = "sex,age,y\nm,3,no\n\nf,,yes\n,5,no\nm,5,no\n";
        let table = read(&csv, text).unwrap();
        assert_eq!(table.info.input_names(), ["sex=", "sex=f", "sex=m", "age"]);
        let rows = [[0.0, 0.0, 1.0, 3.0], [0.0, 1.0, 0.0, 5.0], [1.0, 0.0, 0.0, 5.0], [0.0, 0.0, 1.0, 5.0]];
        assert_eq!(table.data.x().to_vec_f32(), rows.concat());
        assert_eq!((table.data.y().to_vec_f32(), &table.lines[..]), (vec![0.0, 1.0, 0.0, 0.0], &[2, 4, 5, 6][..]));
        let like = Csv::new().like(&table.info).class_names(table.class_names.clone());
        let other = read(&like, "y;age;more;sex\nyes;;1;f").unwrap();
        assert_eq!((other.data.x().to_vec_f32(), other.data.y().to_vec_f32()), (rows[1].to_vec(), vec![1.0]));
        let refused = |text: &str| read(&like, text).unwrap_err().to_string();
        assert!(refused("y,age,sex\nno,1,x\n").contains("line 2, column 3 (`sex`): unknown text `x`"));
        assert!(refused("y,age,sex\nmaybe,1,m\n").contains("unknown class `maybe`"));
        assert!(refused("y,sex\nno,m\n").contains("unknown column `age`"));
    }

    #[test]
    fn held_back_rows_do_not_count_for_means() {
        let csv = Csv::new().header(true).missing(Missing::Mean).held_back(0.25);
        let table = read(&csv, "a,y\n1,0\n,0\n5,0\n100,0\n").unwrap();
        assert_eq!(table.data.x().to_vec_f32(), [1.0, 3.0, 5.0, 100.0]);
        let shuffled = read(&csv.shuffled(1), "a,y\n1,1\n2,2\n5,5\n100,100\n").unwrap();
        let (x, y) = (shuffled.data.x().to_vec_f32(), shuffled.data.y().to_vec_f32());
        assert!(x == y && x != [1.0, 2.0, 5.0, 100.0], "{x:?}");
    }

    #[test]
    fn a_rule_for_gaps_holds_for_the_next_table_too() {
        let csv = Csv::new().header(true).missing(Missing::MostFrequent);
        let table = read(&csv, "a,kind,y\n1,u,0\n3,v,1\n3,v,1\n").unwrap();
        let next = read(&Csv::new().like(&table.info), "a,kind,y\n,,1\n").unwrap();
        assert_eq!(next.data.x().to_vec_f32(), [3.0, 0.0, 1.0]);
        let table = read(&Csv::new().header(true).missing_of("a", Missing::Mean), "a,b,y\n1,1,0\n2,1,1\n").unwrap();
        let like = Csv::new().like(&table.info);
        assert_eq!(read(&like, "a,b,y\n,4,1\n").unwrap().data.x().to_vec_f32(), [1.5, 4.0]);
        assert!(read(&like, "a,b,y\n1,,1\n").is_err());
    }

    #[test]
    fn targets_that_are_numbers_name_classes() {
        let targets = |names: [&str; 3], text: &str| {
            let csv = Csv::new().header(true).class_names(names.map(str::to_owned).to_vec());
            read(&csv, text).map(|table| table.data.y().to_vec_f32()).map_err(|error| error.to_string())
        };
        assert_eq!(targets(["3", "4", "5"], "a,y\n1,4.0\n2,5\n").unwrap(), [1.0, 2.0]);
        assert!(targets(["3", "4", "5"], "a,y\n1,4\n2,1.0\n").unwrap_err().contains("line 3, column 2 (`y`)"));
        assert_eq!(targets(["a", "b", "c"], "a,y\n1,2\n2,a\n").unwrap(), [2.0, 0.0]);
        assert!(targets(["a", "b", "c"], "a,y\n1,2\n2,3\n").unwrap_err().contains("unknown class `3`"));
    }

    #[test]
    fn the_number_of_columns_is_limited() {
        let line = |columns: usize| vec!["1"; columns].join(",") + "\n";
        assert!(message(&line(100_001), None).contains("up to 100000 columns"));
    }

    #[test]
    fn several_targets_are_rows_of_numbers() {
        let table = read(&Csv::new().targets(["z", "x"]), "x,y,z\n1,2,3\n4,5,6\n").unwrap();
        assert_eq!((table.data.y().shape(), table.data.y().to_vec_f32()), (&[2, 2][..], vec![3.0, 1.0, 6.0, 4.0]));
        assert_eq!(table.data.x().to_vec_f32(), [2.0, 5.0]);
        let error = read(&Csv::new().targets(["z", "x"]), "x,y,z\n1,2,a\n4,5,b\n").unwrap_err().to_string();
        assert!(error.contains("as of several targets"), "{error}");
    }

    #[test]
    fn a_header_above_texts_is_not_taken_for_a_row() {
        let text = "city,2010,2020\nRome,2.8,2.9\nParis,2.1,2.2\nOslo,0.6,0.7\n";
        let error = read(&Csv::new(), text).unwrap_err().to_string();
        assert!(error.contains("line 1, column 1") && error.contains("`header = true`"), "{error}");
        assert_eq!(read(&Csv::new().header(true), text).unwrap().data.len(), 3);
    }

    #[test]
    fn rows_continue_after_one_that_is_wrong() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "1,2\nx,4\n5\n\n7,8").unwrap();
        let rows: Vec<(u64, Option<Vec<f32>>)> =
            Csv::new().rows(file.path(), 2).unwrap().map(|(line, row)| (line, row.ok())).collect();
        let good = |row: [f32; 2]| Some(row.to_vec());
        assert_eq!(rows, [(1, good([1.0, 2.0])), (2, None), (3, None), (5, good([7.0, 8.0]))]);
        assert!(Csv::new().rows(file.path(), 3).is_err());
        std::fs::write(file.path(), "1,2\r\n3,4\r\n\r\n5,6\r\n").unwrap();
        let lines = Csv::new().rows(file.path(), 2).unwrap().map(|(line, _)| line);
        assert_eq!(lines.collect::<Vec<_>>(), [1, 2, 4]);
    }

    #[test]
    fn a_header_alone_is_an_empty_data_set() {
        let data = load("a,b,c\n", None).unwrap();
        assert_eq!((data.len(), data.x().sample_shape()), (0, &[2][..]));
    }
}
