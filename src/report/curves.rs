//! Loss and metrics of a run, epoch by epoch.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use crate::callbacks::{History, table_fits};
use crate::error::{Error, Result};
use crate::formats::keras::read_limited;
use crate::text::of_column;

/// The file of a run's loss and metrics.
const HISTORY: &str = "history.csv";

/// A million epochs of several metrics.
const MOST_BYTES: u64 = 256 << 20;

/// The name of the learning rate in logs.
pub(super) const LEARNING_RATE: &str = "learning_rate";

/// Loss and metrics of a run, epoch by epoch; an epoch can lack a number (validation need not run in every epoch).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Curves {
    /// The name of the run.
    pub name: String,
    /// The epochs, from 0.
    pub epochs: Vec<usize>,
    /// For each name (`loss`, `val_loss`…) a number for each epoch. If a metric has several numbers, such as precision
    /// at two thresholds, each is a curve: `precision[0]`, `precision[1]`.
    pub values: BTreeMap<String, Vec<Option<f64>>>,
}

impl Curves {
    /// Reads the curves of a run from its directory, or from a table in the format of Keras's `CSVLogger`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Argument`] for a directory without a run, [`Error::Broken`] for
    /// another file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let is_folder = std::fs::metadata(path).map_err(Error::io("read", path))?.is_dir();
        let file = if is_folder { path.join(HISTORY) } else { path.to_owned() };
        if is_folder && !file.is_file() {
            let received = format!("`{}`, which has none", path.display());
            return Err(Error::argument("run", format!("the directory of a run, with a {HISTORY}"), received));
        }
        let bytes = read_limited(&file, MOST_BYTES)?;
        let mut curves = Self::parse(&file.display().to_string(), &bytes)?;
        curves.name = if is_folder { last_name(path) } else { stem(path) };
        Ok(curves)
    }

    fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        let broken = |at: String, reason: String| Error::broken(file, at, reason);
        let mut table = csv::Reader::from_reader(bytes);
        let header = table.headers().map_err(|error| broken("line 1".into(), error.to_string()))?.clone();
        if header.get(0) != Some("epoch") {
            let reason = "no table of epochs: its first column is not `epoch`";
            return Err(broken("line 1".into(), reason.into()));
        }
        let mut curves = Self::default();
        let mut columns: Vec<Vec<TableCell>> = vec![Vec::new(); header.len() - 1];
        for (row, record) in table.records().enumerate() {
            let line = format!("line {}", row + 2);
            let record = record.map_err(|error| broken(line.clone(), error.to_string()))?;
            let wrong = |text: &str| broken(line.clone(), format!("`{text}` is not a number"));
            let epoch = record.get(0).unwrap_or_default();
            curves.epochs.push(epoch.trim().parse().map_err(|_| wrong(epoch))?);
            for (column, text) in columns.iter_mut().zip(record.iter().skip(1)) {
                column.push(cell(text.trim()).map_err(|_| wrong(text))?);
            }
        }
        let (mut read, mut total) = (0usize, 0usize);
        for (name, cells) in header.iter().skip(1).map(of_column).zip(columns) {
            let parts = || {
                cells.iter().filter_map(|cell| if let TableCell::List(list) = cell { Some(list.len()) } else { None })
            };
            let Some(most) = parts().max() else {
                curves.values.insert(name.to_owned(), cells.into_iter().map(TableCell::number).collect());
                continue;
            };
            read = parts().fold(read.saturating_add(cells.len()), usize::saturating_add);
            let parts = most;
            total = total.saturating_add(parts.saturating_mul(cells.len()));
            if !table_fits(read, total) {
                let reason = format!("it has {parts} numbers in one row of {}, and hardly any in others", cells.len());
                return Err(broken(format!("column `{name}`"), reason));
            }
            for part in 0..parts {
                let of_part = |cell: &TableCell| match cell {
                    TableCell::List(list) => list.get(part).copied().flatten(),
                    TableCell::Number(_) => None,
                };
                curves.values.insert(part_name(name, part), cells.iter().map(of_part).collect());
            }
        }
        Ok(curves)
    }

    /// The curves of a history returned by `fit`.
    pub fn from_history(name: impl Into<String>, history: &History) -> Self {
        let epochs = history.epoch.clone();
        // If an epoch occurs twice, the last.
        let rows: HashMap<usize, usize> = epochs.iter().enumerate().map(|(row, epoch)| (*epoch, row)).collect();
        let by_row = |(name, values): (&String, &Vec<f64>)| {
            let mut cells = vec![None; epochs.len()];
            for (epoch, value) in history.epochs_of(name).iter().zip(values) {
                if let Some(row) = rows.get(epoch) {
                    cells[*row] = Some(*value).filter(|value| !value.is_nan());
                }
            }
            (name.clone(), cells)
        };
        let mut values: BTreeMap<String, Vec<Option<f64>>> = history.history.iter().map(by_row).collect();
        for (name, lists) in &history.lists {
            let epochs_of = history.epochs_of(name).to_vec();
            for part in 0..lists.iter().map(Vec::len).max().unwrap_or(0) {
                let mut cells = vec![None; epochs.len()];
                for (epoch, list) in epochs_of.iter().zip(lists) {
                    if let Some(row) = rows.get(epoch) {
                        cells[*row] = list.get(part).copied().filter(|value| !value.is_nan());
                    }
                }
                values.insert(part_name(name, part), cells);
            }
        }
        Self { name: name.into(), epochs, values }
    }

    /// The metrics, the loss first, without validation metrics and the learning rate.
    pub fn metrics(&self) -> Vec<&str> {
        let own = self.values.keys().map(String::as_str);
        let plain = own.map(|name| name.strip_prefix("val_").unwrap_or(name)).filter(|name| *name != LEARNING_RATE);
        let mut names: Vec<&str> = plain.collect::<BTreeSet<_>>().into_iter().collect();
        names.sort_by_key(|name| *name != "loss");
        names
    }

    /// The numbers of one name over the epochs, counted from 1, without missing values.
    pub fn points(&self, name: &str) -> Vec<(f64, f64)> {
        let values = self.values.get(name).map(Vec::as_slice).unwrap_or_default();
        let pairs = self.epochs.iter().zip(values);
        pairs.filter_map(|(epoch, value)| Some((*epoch as f64 + 1.0, (*value)?))).collect()
    }

    /// The number of a name in an epoch, counted from 0.
    pub fn at(&self, name: &str, epoch: usize) -> Option<f64> {
        let row = self.epochs.iter().rposition(|own| *own == epoch)?;
        self.values.get(name)?.get(row).copied().flatten()
    }

    /// The last number of a name.
    pub fn last(&self, name: &str) -> Option<f64> {
        self.points(name).last().map(|(_, value)| *value)
    }
}

/// A field of the table.
#[derive(Clone, Debug)]
enum TableCell {
    Number(Option<f64>),
    /// The numbers of a metric that has several.
    List(Vec<Option<f64>>),
}

impl TableCell {
    fn number(self) -> Option<f64> {
        match self {
            Self::Number(number) => number,
            Self::List(_) => None,
        }
    }
}

/// Reads a number, a missing value, or a list: `[0.5, 1.0]`, which Keras puts into quotes once more.
fn cell(text: &str) -> Result<TableCell, std::num::ParseFloatError> {
    let number = |text: &str| match text {
        "" | "NA" => Ok(None),
        text => text.parse::<f64>().map(|value| Some(value).filter(|value| !value.is_nan())),
    };
    match text.trim_matches('"').strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(list) => list.split(',').map(|text| number(text.trim())).collect::<Result<_, _>>().map(TableCell::List),
        None => number(text).map(TableCell::Number),
    }
}

/// The name of one of a metric's numbers.
fn part_name(name: &str, part: usize) -> String {
    format!("{name}[{part}]")
}

fn last_name(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    // `.` and `..` have no name of their own.
    let real = || path.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    name.or_else(real).unwrap_or_else(|| path.display().to_string())
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_with_its_gaps() {
        let text = "epoch,accuracy,loss,val_loss\n0,0.5,1.5,NA\n1,0.75,1.25,2\n2,0.8,nan,\n";
        let curves = Curves::parse("h.csv", text.as_bytes()).unwrap();
        assert_eq!(curves.metrics(), ["loss", "accuracy"]);
        assert_eq!(curves.points("loss"), [(1.0, 1.5), (2.0, 1.25)]);
        assert_eq!(curves.points("val_loss"), [(2.0, 2.0)]);
        assert_eq!((curves.last("accuracy"), curves.last("none")), (Some(0.8), None));
    }

    /// Lists in the formats of Brasa and of Keras's `CSVLogger`.
    #[test]
    fn each_number_of_a_list_is_a_curve() {
        let text = "epoch,loss,p\n0,1.5,\"[0.5, 1]\"\n1,1.25,\"\"\"[0.25, 0.75]\"\"\"\n2,1,NA\n";
        let curves = Curves::parse("h.csv", text.as_bytes()).unwrap();
        assert_eq!(curves.metrics(), ["loss", "p[0]", "p[1]"]);
        assert_eq!(curves.points("p[1]"), [(1.0, 1.0), (2.0, 0.75)]);
        assert_eq!((curves.at("p[0]", 1), curves.at("p[0]", 2), curves.at("p[0]", 7)), (Some(0.25), None, None));
        assert!(Curves::parse("h.csv", b"epoch,p\n0,\"[0.5, x]\"\n").unwrap_err().to_string().contains("line 2"));

        let mut history = History::default();
        let logs = |numbers: &[f64]| vec![("loss".to_owned(), 1.0.into()), ("p".to_owned(), numbers.to_vec().into())];
        history.push::<crate::metrics::Score>(0, &logs(&[0.5, 1.0]));
        history.push::<crate::metrics::Score>(1, &logs(&[0.25, 0.75]));
        let curves = Curves::from_history("run", &history);
        assert_eq!(curves.values["p[1]"], [Some(1.0), Some(0.75)]);
        assert_eq!(history.to_json(), serde_json::json!({"loss": [1.0, 1.0], "p": [[0.5, 1.0], [0.25, 0.75]]}));
        assert_eq!((history.get("p"), history.at("p", 1)), (None, Some(vec![0.25, 0.75].into())));
    }

    #[test]
    fn one_long_list_does_not_make_a_huge_table() {
        let text = |parts: usize, rows: usize| {
            let list = format!("\"[{}0]\"", "0,".repeat(parts - 1));
            format!("epoch,p\n0,{list}\n{}", (1..rows).map(|row| format!("{row},NA\n")).collect::<String>())
        };
        let error = Curves::parse("h.csv", text(4096, 4096).as_bytes()).unwrap_err().to_string();
        assert!(error.contains("`h.csv` is broken at column `p`: it has 4096 numbers in one row of 4096"), "{error}");
        let curves = Curves::parse("h.csv", text(10, 4096).as_bytes()).unwrap();
        assert_eq!((curves.values.len(), curves.values["p[9]"].len()), (10, 4096));
    }

    #[test]
    fn invalid_tables_are_refused_with_the_line() {
        let error = |text: &str| Curves::parse("h.csv", text.as_bytes()).unwrap_err().to_string();
        assert!(error("a,b\n1,2\n").contains("line 1") && error("").contains("line 1"));
        assert!(error("epoch,loss\n0,1\n1,high\n").contains("line 3: `high` is not a number"));
        assert!(error("epoch,loss\n0,1\n1\n").contains("line 3"));
    }

    #[test]
    fn directories_without_a_run_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = Curves::read(folder.path()).unwrap_err();
        assert!(matches!(&error, Error::Argument { expected, .. } if expected.contains("history.csv")), "{error}");
        assert!(matches!(Curves::read(folder.path().join("none")), Err(Error::Io { .. })));
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::fs::write(folder.path().join("a/history.csv"), "epoch,loss\n0,1\n").unwrap();
        assert_eq!(Curves::read(folder.path().join("a")).unwrap().name, "a");
        assert_eq!(Curves::read(folder.path().join("a/history.csv")).unwrap().name, "history");
    }

    #[test]
    fn numbers_of_some_epochs_only_are_placed_correctly() {
        let mut history = History::default();
        for epoch in 0..5 {
            let mut logs = vec![("loss".to_owned(), epoch as f64)];
            if [1, 2].contains(&epoch) {
                logs.push(("val_loss".to_owned(), 10.0 * epoch as f64));
            }
            history.push(epoch, &logs);
        }
        let curves = Curves::from_history("run", &history);
        assert_eq!(curves.values["val_loss"], [None, Some(10.0), Some(20.0), None, None]);
        assert_eq!(curves.points("val_loss"), [(2.0, 10.0), (3.0, 20.0)]);
        assert_eq!(curves.points("loss").len(), 5);
    }
}
