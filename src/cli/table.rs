//! The reading of a table in a CSV file: options of the command line, else those of the model's run.

use std::path::Path;

use brasa::recipe::{DataSet, Document, OneOrMany};
use brasa::{Error, Result};
use clap::Args;
use serde_json::Value as Json;

use super::help::DATA;
use super::output;
use super::run_name::CONFIG;

/// The arguments of every command that reads a table.
#[derive(Args, Clone, Debug, Default)]
pub struct Table {
    /// Of a .csv: the column of the targets (default: that of the recipe or of the model's run, else the last).
    #[arg(long, value_name = "COLUMN", help_heading = DATA)]
    pub target: Option<String>,

    /// Of a .csv: the column of texts, for a model of texts (default: that of the recipe or of the model's run).
    #[arg(long, value_name = "COLUMN", help_heading = DATA)]
    pub text: Option<String>,

    /// Of a .csv: whether the first line names the columns (default: that is recognised).
    #[arg(long, value_name = "true|false", help_heading = DATA)]
    pub header: Option<bool>,
}

impl Table {
    /// Fills in unset options from the recipe in the directory of `model`, if there is one, and prints a note that
    /// names them.
    pub fn or_of_run(mut self, model: &Path) -> Self {
        let path = model.with_file_name(CONFIG);
        if !path.is_file() {
            return self;
        }
        let recipe = match Document::read(&path) {
            Ok(recipe) => recipe,
            Err(error) => {
                output::note(&format!("the recipe beside the model is ignored: {error}"));
                return self;
            }
        };
        if recipe.get("data.dataset").and_then(Json::as_str) != Some("csv") {
            return self;
        }
        let mut taken = Vec::new();
        if self.target.is_none() {
            self.target = recipe.get("data.target").and_then(Json::as_str).map(str::to_owned);
            taken.extend(self.target.iter().map(|target| format!("target `{target}`")));
        }
        if self.text.is_none() {
            self.text = recipe.get("data.text").and_then(Json::as_str).map(str::to_owned);
            taken.extend(self.text.iter().map(|text| format!("text `{text}`")));
        }
        if self.header.is_none() {
            self.header = recipe.get("data.header").and_then(Json::as_bool);
            taken.extend(self.header.iter().map(|header| format!("header = {header}")));
        }
        if !taken.is_empty() {
            output::note(&format!("{}, as in {}", taken.join(", "), path.display()));
        }
        self
    }

    /// Applies these options to a data set.
    ///
    /// # Errors
    /// [`Error::Argument`] if an option is given for a data set that is not a table.
    pub fn put_into(self, set: &mut DataSet) -> Result<()> {
        match set {
            DataSet::Csv { table, .. } => {
                table.text = self.text.or(table.text.take());
                table.target = self.target.map(OneOrMany::One).or(table.target.take());
                table.header = self.header.or(table.header);
                Ok(())
            }
            _ => {
                let header = self.header.map(|header| header.to_string());
                let given = [("target", self.target), ("text", self.text), ("header", header)];
                match given.into_iter().find_map(|(name, given)| Some((name, given?))) {
                    Some((name, given)) => Err(Error::argument(name, "a .csv as data, which has columns", given)),
                    None => Ok(()),
                }
            }
        }
    }
}
