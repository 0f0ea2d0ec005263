//! Loss and metrics as a CSV table.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::{Callback, CallbackState, Context, Logs};
use crate::error::{Error, Result, shown};
use crate::formats::atomic::write_atomically;
use crate::formats::regular::open_file;
use crate::text::column_name;

crate::describe! {
    /// Writes a row of loss and metrics after each epoch: Keras's `CSVLogger`. The columns are those of the first
    /// epoch, sorted, and `NA` stands for a missing value. A metric of several numbers is a list: `[0.5, 1.0]`.
    pub callback struct CSVLogger keeps LogTable {
        /// The file.
        filename: String,
        /// The separator between columns, one character.
        separator: String = ",".to_owned(),
        /// Whether rows are appended to an existing file; otherwise the first row replaces it.
        append: bool = false,
    }
}

/// The state between epochs.
#[derive(Clone, Debug, Default)]
pub struct LogTable {
    columns: Option<Vec<String>>,
    header: bool,
    /// The length of the file with the rows so far.
    length: u64,
    /// Whether the first row replaces the content of the file.
    anew: bool,
    /// The first epoch of this run: above 0 in a resumed run.
    first_epoch: usize,
}

/// The longest tail of a table that is searched.
const MOST_CUT: u64 = 64 << 20;

impl CSVLogger {
    /// Writes to this file.
    pub fn new(filename: impl Into<String>) -> Self {
        Self::required(filename.into())
    }

    fn separator_byte(&self) -> Result<u8> {
        match self.separator.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
            _ => Err(Error::argument("separator", "one ASCII character", format!("{:?}", self.separator))),
        }
    }

    /// Adds rows at the end of the file.
    fn write(&mut self, rows: &[Vec<String>]) -> Result<()> {
        let broken = |error: csv::Error| Error::io("write", &self.filename)(error.into());
        let mut table = csv::WriterBuilder::new().delimiter(self.separator_byte()?).from_writer(Vec::new());
        rows.iter().try_for_each(|row| table.write_record(row)).map_err(broken)?;
        let bytes = table.into_inner().map_err(|error| broken(error.into_error().into()))?;
        let path = Path::new(&self.filename);
        // The old table stays until the first row is written.
        if std::mem::take(&mut self.state.anew) && path.is_file() {
            write_atomically(path, |file| file.write_all(&bytes).map_err(Error::io("write", path)))?;
            self.state.length = bytes.len() as u64;
            return Ok(());
        }
        let opened = OpenOptions::new().append(true).create(true).open(path);
        let mut file: File = opened.map_err(Error::io("open", path))?;
        file.write_all(&bytes).map_err(Error::io("write", path))?;
        self.state.length = file.metadata().map_err(Error::io("read", path))?.len();
        Ok(())
    }
}

impl Callback for CSVLogger {
    fn writes(&self) -> bool {
        true
    }

    fn check(&self) -> Result<()> {
        self.separator_byte().map(|_| ())
    }

    fn on_train_begin(&mut self, context: &mut Context<'_>) -> Result<()> {
        let path = Path::new(&self.filename);
        let length = match fs::metadata(path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        // A resumed run keeps its rows.
        let anew = !self.append && !context.params().resumed;
        let first_epoch = context.params().initial_epoch;
        self.state = LogTable { columns: None, header: !self.append || length == 0, length, anew, first_epoch };
        // Fails early if the file cannot be written.
        OpenOptions::new().append(true).create(true).open(path).map_err(Error::io("open", path))?;
        Ok(())
    }

    fn on_epoch_end(&mut self, _: &mut Context<'_>, epoch: usize, logs: &mut Logs) -> Result<()> {
        let columns = match &self.state.columns {
            Some(columns) => columns.clone(),
            None => {
                let mut columns: Vec<String> = logs.names().map(str::to_owned).collect();
                columns.sort();
                // A later epoch can have a validation even if the first has none.
                if !columns.iter().any(|name| name.starts_with("val_")) {
                    columns.extend(columns.clone().iter().map(|name| format!("val_{name}")));
                }
                columns
            }
        };
        let mut rows = Vec::new();
        if std::mem::take(&mut self.state.header) {
            rows.push(
                std::iter::once("epoch".to_owned()).chain(columns.iter().map(|name| column_name(name))).collect(),
            );
        }
        let value = |name: &String| logs.score(name).map_or_else(|| "NA".to_owned(), |score| score.show(number));
        rows.push(std::iter::once(epoch.to_string()).chain(columns.iter().map(value)).collect());
        self.state.columns = Some(columns);
        self.write(&rows)
    }

    fn state(&self) -> Result<CallbackState> {
        let mut state = CallbackState::default();
        state.put("columns", &self.state.columns)?;
        state.put("header", &self.state.header)?;
        state.put("length", &self.state.length)?;
        state.put("anew", &self.state.anew)?;
        Ok(state)
    }

    /// Removes the rows of epochs that will be trained again.
    fn restore(&mut self, mut state: CallbackState) -> Result<()> {
        let length: u64 = state.take("length")?.unwrap_or(0);
        self.state.columns = state.take("columns")?;
        let header = state.take("header")?.unwrap_or(true);
        if !self.append && state.take("anew")?.unwrap_or(false) {
            // The run had no row yet.
            (self.state.anew, self.state.header) = (true, true);
            return Ok(());
        }
        let path = Path::new(&self.filename);
        let mut kept = false;
        if self.state.length > length {
            if self.are_later_rows(length)? {
                let file = OpenOptions::new().write(true).open(path).map_err(Error::io("open", path))?;
                file.set_len(length).map_err(Error::io("write", path))?;
                self.state.length = length;
            } else {
                let (path, from) = (shown(path), self.state.first_epoch);
                tracing::warn!(
                    "`{path}` contains more than rows of epochs from {from} on after the checkpoint; nothing was \
                     removed"
                );
                kept = true;
            }
        }
        // A lost file is created again, with a header.
        let lost = self.state.length < length;
        self.state.header = lost && !self.append || header && !kept;
        Ok(())
    }
}

impl CSVLogger {
    /// Whether the file beyond `length` holds rows of epochs to be trained again, and nothing else: `length` comes from
    /// the checkpoint, and the table can hold other runs, too.
    fn are_later_rows(&self, length: u64) -> Result<bool> {
        let path = Path::new(&self.filename);
        let (mut file, whole) = open_file(path)?;
        if length == 0 && self.append || whole.saturating_sub(length) > MOST_CUT {
            return Ok(false);
        }
        let mut rest = Vec::new();
        file.seek(SeekFrom::Start(length.saturating_sub(1))).map_err(Error::io("read", path))?;
        file.take(MOST_CUT + 1).read_to_end(&mut rest).map_err(Error::io("read", path))?;
        let rest = match (length, rest.as_slice()) {
            (0, rest) | (_, [b'\n', rest @ ..]) => rest,
            _ => return Ok(false),
        };
        // An incomplete row was being written when the run was cut off.
        let end = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let mut table = csv::ReaderBuilder::new();
        table.has_headers(false).flexible(true).delimiter(self.separator_byte()?);
        let mut next = self.state.first_epoch;
        for (index, row) in table.from_reader(&rest[..end]).byte_records().enumerate() {
            let Ok(row) = row else { return Ok(false) };
            let first = row.get(0).and_then(|first| std::str::from_utf8(first).ok()).unwrap_or_default();
            match first.parse::<usize>() {
                Ok(epoch) if epoch >= next => next = epoch.saturating_add(1),
                Err(_) if index == 0 && length == 0 && first == "epoch" => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// A number in Python's notation for NaN and infinities.
fn number(value: f64) -> String {
    if value.is_nan() { "nan".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::Params;
    use super::*;
    use crate::model::Sequential;

    /// Runs a number of epochs, from the given epoch and state; returns the state before the first epoch and after
    /// each.
    fn run(logger: &mut CSVLogger, from: Option<(usize, CallbackState)>, epochs: usize) -> Vec<CallbackState> {
        let mut model = Sequential::new();
        let (first, state) = from.map_or((0, None), |(first, state)| (first, Some(state)));
        let params = Params { initial_epoch: first, resumed: state.is_some(), ..Params::default() };
        logger.on_train_begin(&mut Context::new(&mut model, params)).unwrap();
        if let Some(state) = state {
            logger.restore(state).unwrap();
        }
        let mut states = vec![logger.state().unwrap()];
        for epoch in first..first + epochs {
            let mut logs: Logs = [("loss".to_owned(), epoch as f64 + 0.5)].into_iter().collect();
            logger.on_epoch_end(&mut Context::new(&mut model, params), epoch, &mut logs).unwrap();
            states.push(logger.state().unwrap());
        }
        states
    }

    #[test]
    fn a_table_stays_until_it_is_replaced_and_loses_only_later_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.csv");
        let logger = |append: bool| CSVLogger::new(path.display().to_string()).append(append);
        let text = || fs::read_to_string(&path).unwrap();
        let states = run(&mut logger(false), None, 3);
        let whole = text();
        assert_eq!(whole, "epoch,loss,val_loss\n0,0.5,NA\n1,1.5,NA\n2,2.5,NA\n");

        // A run that ends before its first epoch.
        run(&mut logger(false), None, 0);
        assert_eq!(text(), whole);
        // Resumed after each epoch, and with a row that was cut off.
        for (epoch, state) in states.iter().enumerate().take(3) {
            fs::write(&path, &whole[..whole.len() - 3]).unwrap();
            run(&mut logger(false), Some((epoch, state.clone())), 3 - epoch);
            assert_eq!(text(), whole, "from epoch {epoch}");
        }
        // Appended to: the rows of the previous run stay.
        let states = run(&mut logger(true), None, 2);
        let longer = text();
        assert_eq!(longer, format!("{whole}0,0.5,NA\n1,1.5,NA\n"));
        run(&mut logger(true), Some((1, states[1].clone())), 1);
        assert_eq!(text(), longer);

        // Lengths that do not belong to this run.
        let forged = |length: u64| {
            let mut state = states[1].clone();
            state.put("length", &length).unwrap();
            state
        };
        for length in [0, 1, 20, 29, 45] {
            for append in [true, false] {
                fs::write(&path, &longer).unwrap();
                run(&mut logger(append), Some((1, forged(length))), 1);
                assert_eq!(text(), format!("{longer}1,1.5,NA\n"), "a length of {length}");
            }
        }
    }
}
