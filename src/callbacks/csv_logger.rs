//! A table of loss and metrics.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use super::{Callback, CallbackState, Context, Logs};
use crate::error::{Error, Result};
use crate::text::column_name;

crate::describe! {
    /// Writes a row of loss and metrics after each epoch: Keras's `CSVLogger`. The columns are those of the first
    /// epoch, sorted, and `NA` stands for what an epoch lacks. A metric of several numbers is a list: `[0.5, 1.0]`.
    pub callback struct CSVLogger keeps Table {
        /// The file.
        filename: String,
        /// What stands between columns, one character.
        separator: String = ",".to_owned(),
        /// Whether rows are added to a file that is there; it is begun anew otherwise.
        append: bool = false,
    }
}

/// What it remembers.
#[derive(Clone, Debug, Default)]
pub struct Table {
    columns: Option<Vec<String>>,
    header: bool,
    /// How long the file is with the rows so far.
    length: u64,
}

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
        let opened = OpenOptions::new().append(true).create(true).open(path);
        let mut file: File = opened.map_err(Error::io("open", path))?;
        file.write_all(&bytes).map_err(Error::io("write", path))?;
        self.state.length = file.metadata().map_err(Error::io("read", path))?.len();
        Ok(())
    }
}

impl Callback for CSVLogger {
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
        self.state = Table { columns: None, header: !self.append || length == 0, length };
        // A run that goes on keeps its rows; a file that is begun anew is emptied at once, to see that it can be.
        if !self.append && !context.params().resumed {
            fs::write(path, []).map_err(Error::io("write", path))?;
            self.state.length = 0;
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, _: &mut Context<'_>, epoch: usize, logs: &mut Logs) -> Result<()> {
        let columns = match &self.state.columns {
            Some(columns) => columns.clone(),
            None => {
                let mut columns: Vec<String> = logs.names().map(str::to_owned).collect();
                columns.sort();
                // Without a validation in the first epoch there may be one later.
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
        let value = |name: &String| logs.score(name).map_or_else(|| "NA".to_owned(), |score| score.show(shown));
        rows.push(std::iter::once(epoch.to_string()).chain(columns.iter().map(value)).collect());
        self.state.columns = Some(columns);
        self.write(&rows)
    }

    fn state(&self) -> Result<CallbackState> {
        let mut state = CallbackState::default();
        state.put("columns", &self.state.columns)?;
        state.put("header", &self.state.header)?;
        state.put("length", &self.state.length)?;
        Ok(state)
    }

    /// Rows of epochs that will be trained again are taken off.
    fn restore(&mut self, mut state: CallbackState) -> Result<()> {
        let length: u64 = state.take("length")?.unwrap_or(0);
        let path = Path::new(&self.filename);
        if self.state.length > length {
            let file = OpenOptions::new().write(true).open(path).map_err(Error::io("open", path))?;
            file.set_len(length).map_err(Error::io("write", path))?;
        }
        // A file that was lost is begun anew, with a header.
        let lost = self.state.length < length;
        self.state.columns = state.take("columns")?;
        self.state.header = lost && !self.append || state.take("header")?.unwrap_or(true);
        Ok(())
    }
}

/// A number as Python writes those that are none.
fn shown(value: f64) -> String {
    if value.is_nan() { "nan".to_owned() } else { value.to_string() }
}
