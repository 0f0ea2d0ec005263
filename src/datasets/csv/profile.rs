//! Statistics of each column of a table, before it is decided how to use it.

use std::collections::BTreeMap;
use std::path::Path;

use super::Csv;
use super::analysis::{is_date, looks_like_a_number};
use super::first_line::is_gap;
use super::opened::Opened;
use crate::error::Result;

/// The most distinct values of a column that are counted.
const MOST_VALUES: usize = 1000;

/// Statistics of a column of a table: [`Csv::profile`].
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ColumnProfile {
    /// Its name; empty where the columns have none.
    pub name: String,
    /// The number of fields that are finite numbers.
    pub numbers: usize,
    /// The number of gaps.
    pub gaps: usize,
    /// The number of fields that are neither.
    pub texts: usize,
    /// The number of distinct fields other than gaps; up to 1,000 are counted.
    pub different: usize,
    /// Whether all numbers are integers.
    pub whole: bool,
    /// Whether the numbers increase by one from row to row, like row numbers.
    pub counts_up: bool,
    /// Whether a text is a date or a number in another notation, neither of which can be read.
    pub unreadable: bool,
    /// The mean and variance of the numbers.
    pub moments: (f64, f64),
    /// The distinct fields, up to 1,000, in alphabetical order, with their counts.
    pub values: BTreeMap<String, usize>,
}

impl Csv {
    /// The statistics of every column of a file, including excluded ones.
    ///
    /// ```
    /// use brasa::datasets::Csv;
    /// let file = tempfile::NamedTempFile::new().unwrap();
    /// std::fs::write(file.path(), "sex,age\nmale,22\nfemale,\nmale,24\n").unwrap();
    /// let columns = Csv::new().profile(file.path())?;
    /// assert_eq!((columns[0].texts, columns[0].different), (3, 2));
    /// assert_eq!((columns[1].numbers, columns[1].gaps, columns[1].moments), (2, 1, (23.0, 1.0)));
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`load`](Self::load), except for errors of a single field.
    pub fn profile(&self, path: impl AsRef<Path>) -> Result<Vec<ColumnProfile>> {
        let mut opened = Opened::open(self, path.as_ref(), 1)?;
        let column = |index: usize| ColumnProfile {
            name: opened.names.get(index).cloned().unwrap_or_default(),
            whole: true,
            counts_up: true,
            unreadable: opened.unreadable(index).is_some(),
            ..ColumnProfile::default()
        };
        let mut columns: Vec<ColumnProfile> = (0..opened.columns).map(column).collect();
        let mut last = vec![None; opened.columns];
        while opened.next()? {
            for ((field, column), last) in opened.record.iter().zip(&mut columns).zip(&mut last) {
                column.see(field, last);
            }
        }
        for column in &mut columns {
            column.moments.1 /= column.numbers.max(1) as f64;
            column.whole &= column.numbers > 0;
            column.counts_up &= column.whole && column.texts == 0 && column.gaps == 0 && column.numbers > 2;
            column.different = column.values.len();
        }
        Ok(columns)
    }
}

impl ColumnProfile {
    /// Counts a field; `last` is the number above it.
    fn see(&mut self, field: &str, last: &mut Option<f64>) {
        match field.parse::<f64>() {
            Ok(number) if (number as f32).is_finite() => {
                self.numbers += 1;
                self.whole &= number.fract() == 0.0;
                self.counts_up &= last.is_none_or(|last| number == last + 1.0);
                *last = Some(number);
                // Welford's algorithm, which is accurate for large numbers.
                let from = number - self.moments.0;
                self.moments.0 += from / self.numbers as f64;
                self.moments.1 += from * (number - self.moments.0);
            }
            _ if is_gap(field) => {
                self.gaps += 1;
                return;
            }
            _ => {
                self.texts += 1;
                self.unreadable |= is_date(field) || looks_like_a_number(field);
            }
        }
        let room = self.values.len() < MOST_VALUES;
        match self.values.get_mut(field) {
            Some(count) => *count += 1,
            None if room => drop(self.values.insert(field.to_owned(), 1)),
            None => {}
        }
    }
}
