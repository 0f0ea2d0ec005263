//! What is known of a table's columns.

use serde::{Deserialize, Serialize};

use super::Window;
use crate::error::{Error, Result};

/// The most categories of a column of inputs: more are names or numbers of the rows.
pub(super) const MOST_CATEGORIES: usize = 100;

/// How the columns of a table become inputs: what a model that was trained on one has to know of the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TableInfo {
    /// The columns that are inputs, in the order of the inputs.
    pub columns: Vec<ColumnInfo>,
    /// The names of the columns that are targets; none where the columns have no names: it is the last then.
    pub targets: Vec<String>,
    /// Whether the first line names the columns.
    pub header: bool,
    /// What stands between two fields.
    pub separator: char,
    /// The windows over time in which rows are taken, if they are.
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
    /// Of a column of texts: each of them is an input, 1 where the row has it and else 0. An empty text stands for a gap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub categories: Option<Vec<String>>,
    /// What stands in for a gap; without it a gap is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fill: Option<Fill>,
}

/// What stands in for a gap.
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
    /// How many inputs it makes.
    pub fn width(&self) -> usize {
        self.categories.as_ref().map_or(1, Vec::len)
    }
}

impl TableInfo {
    /// How many inputs a row makes.
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

    /// Refuses what no table can be.
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
        // Those of training, and gaps.
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
