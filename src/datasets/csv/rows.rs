//! A table's inputs, row by row.

use std::path::Path;

use super::analysis::input;
use super::opened::Opened;
use super::{ColumnInfo, Csv};
use crate::error::{Error, Result};

/// The inputs of a table, read row by row: [`Csv::rows`]. An error in one row does not prevent reading the next.
pub struct TableRows {
    opened: Opened,
    columns: Vec<ColumnInfo>,
    indices: Vec<usize>,
}

impl TableRows {
    pub(super) fn open(csv: &Csv, path: &Path, width: usize) -> Result<Self> {
        let mut opened = Opened::open(csv, path, 1)?;
        let Some(info) = &csv.info else {
            if opened.columns != width {
                let expected = format!("{width} columns, one for each input of the model");
                return Err(Error::broken(
                    path.display().to_string(),
                    "line 1",
                    format!("expected {expected}, received {}", opened.columns),
                ));
            }
            opened.check_readable(&(0..width).collect::<Vec<_>>())?;
            opened.want(&(0..width).collect());
            return Ok(Self { opened, columns: vec![ColumnInfo::default(); width], indices: (0..width).collect() });
        };
        let indices: Vec<usize> = if info.header {
            let index_of = |column: &ColumnInfo| opened.column(&column.name, csv.header.is_some());
            info.columns.iter().map(index_of).collect::<Result<_>>()?
        } else {
            // The target, if present, is the last.
            let count = info.columns.len();
            if opened.columns != count && opened.columns != count + 1 {
                let expected = format!("{count} columns, as the model was trained on, or one more, the target");
                return Err(Error::broken(
                    path.display().to_string(),
                    "line 1",
                    format!("expected {expected}, received {}", opened.columns),
                ));
            }
            (0..count).collect()
        };
        opened.check_readable(&indices)?;
        opened.want(&indices.iter().copied().collect());
        if info.width() != width {
            let expected = format!("a table of {width} inputs, as the model has");
            return Err(Error::data(format!("`{}`", path.display()), expected, info.width()));
        }
        Ok(Self { opened, columns: info.columns.clone(), indices })
    }

    /// A remark on what was not obvious about the file.
    pub fn note(&self) -> Option<&str> {
        self.opened.note.as_deref()
    }
}

impl Iterator for TableRows {
    /// The line of a row, and its inputs or error.
    type Item = (u64, Result<Vec<f32>>);

    fn next(&mut self) -> Option<Self::Item> {
        let more = match self.opened.next() {
            Ok(false) => return None,
            Ok(true) => Ok(()),
            // The file itself is unreadable from here.
            Err(error @ Error::Io { .. }) => Err(error),
            Err(error) => Err(error),
        };
        let values = more.and_then(|()| {
            let mut x = Vec::new();
            for (column, index) in self.columns.iter().zip(&self.indices) {
                input(column, *index, &self.opened, &mut x)?;
            }
            Ok(x)
        });
        Some((self.opened.line(), values))
    }
}
