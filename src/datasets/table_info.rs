//! Metadata of a table's columns.

use serde::{Deserialize, Serialize};

use super::Window;
use crate::error::{Error, Result};

/// The most categories of an input column: a column with more holds identifiers.
pub(super) const MOST_CATEGORIES: usize = 100;

/// How the columns of a table become inputs: what a trained model needs to read another table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TableInfo {
    /// The input columns, in the order of the inputs.
    pub columns: Vec<ColumnInfo>,
    /// The names of the target columns; empty where the columns have no names: then the last is the target.
    pub targets: Vec<String>,
    /// Whether the first line names the columns.
    pub header: bool,
    /// The field separator.
    pub separator: char,
    /// The windows over time, if rows are grouped into them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// One column of a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ColumnInfo {
    /// Its name; empty where the columns have none.
    pub name: String,
    /// For a column of texts: the categories, one-hot encoded. An empty text stands for a gap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub categories: Option<Vec<String>>,
    /// The replacement of a gap; without one a gap is rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fill: Option<Fill>,
}

/// The replacement of a gap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Fill {
    /// In a column of numbers.
    Number(f32),
    /// In a column of texts; empty where gaps are a category of their own.
    Text(String),
}

impl ColumnInfo {
    /// The number of inputs from this column.
    pub fn width(&self) -> usize {
        self.categories.as_ref().map_or(1, Vec::len)
    }
}

impl TableInfo {
    /// The number of inputs per row.
    pub fn width(&self) -> usize {
        self.columns.iter().map(ColumnInfo::width).fold(0, usize::saturating_add)
    }

    /// The names of the inputs: a column's name, and `name=category` for each category.
    pub fn input_names(&self) -> Vec<String> {
        let names = self.columns.iter().flat_map(|column| match &column.categories {
            None => vec![column.name.clone()],
            Some(categories) => categories.iter().map(|category| format!("{}={category}", column.name)).collect(),
        });
        names.collect()
    }

    /// Rejects inconsistent metadata.
    pub(crate) fn check(&self, file: &str, at: &str) -> Result<()> {
        let unfit = |column: &&ColumnInfo| match (&column.categories, &column.fill) {
            (None, None | Some(Fill::Text(_))) => column.fill.is_some(),
            (None, Some(Fill::Number(number))) => !number.is_finite(),
            (Some(categories), fill) => match fill {
                None => categories.is_empty(),
                Some(Fill::Number(_)) => true,
                Some(Fill::Text(text)) => !categories.contains(text),
            },
        };
        self.window.iter().try_for_each(Window::check)?;
        // The categories of training, and one for gaps.
        let most = MOST_CATEGORIES + 1;
        let many = |column: &&ColumnInfo| column.categories.as_ref().is_some_and(|texts| texts.len() > most);
        if let Some(column) = self.columns.iter().find(many) {
            let reason =
                format!("expected up to {most} texts of column `{}`, received {}", column.name, column.width());
            return Err(Error::broken(file, at, reason));
        }
        match self.columns.iter().find(unfit) {
            Some(column) => {
                let reason = format!("what stands in for gaps of column `{}` is none of its values", column.name);
                Err(Error::broken(file, at, reason))
            }
            None => Ok(()),
        }
    }
}
