//! The settings for reading a recipe's table.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::config::Arguments;
use crate::datasets::{Csv, Fill, Missing, TableInfo, Window};
use crate::error::{Error, Result};

/// The keys of `[data]` for a table: see [`Csv`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TableSettings {
    /// The column of texts, which is then the only input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The column of the targets, or several; the last by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<OneOrMany>,
    /// Whether the first line names the columns; recognised by default, see [`Csv`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// The separator of fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<char>,
    /// The columns that are inputs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Columns to leave out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Rows in a window over time; without it each row is a sample. The targets are then inputs, too, unless `columns`
    /// excludes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// Rows from one window to the next (1 if `None`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// Rows from one step of a window to the next (1 if `None`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<usize>,
    /// The number of rows from the last of a window to its target (1 if `None`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ahead: Option<usize>,
    /// The rule for missing values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Gaps>,
}

/// One name, or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    /// The names.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name.clone()],
            Self::Many(names) => names.clone(),
        }
    }
}

/// The rule for missing values: one for all columns, or one for each column named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Gaps {
    /// In all columns.
    All(Missing),
    /// By column; in others missing values are refused.
    ByColumn(BTreeMap<String, Missing>),
}

impl Gaps {
    fn from_json(json: Json) -> Result<Self> {
        let refused = |json: &Json| Error::argument("missing", "a rule, or a table of rules by column", json);
        let rule = |json: &Json| json.as_str().ok_or_else(|| refused(json))?.parse();
        match json {
            Json::Object(map) => {
                let rules = map.iter().map(|(column, json)| Ok((column.clone(), rule(json)?)));
                rules.collect::<Result<_>>().map(Self::ByColumn)
            }
            json => rule(&json).map(Self::All),
        }
    }
}

impl TableSettings {
    pub(super) fn take(arguments: &mut Arguments) -> Result<Self> {
        let target = match arguments.take::<Json>("target")? {
            None => None,
            Some(Json::String(name)) => Some(OneOrMany::One(name)),
            Some(list @ Json::Array(_)) => Some(OneOrMany::Many(crate::config::from_json("target", list)?)),
            Some(other) => return Err(Error::argument("target", "the name of a column, or a list of them", other)),
        };
        Ok(Self {
            text: arguments.take("text")?,
            target,
            header: arguments.take("header")?,
            separator: arguments.take("separator")?,
            columns: arguments.take("columns")?.unwrap_or_default(),
            exclude: arguments.take("exclude")?.unwrap_or_default(),
            window: arguments.take("window")?,
            stride: arguments.take("stride")?,
            sampling: arguments.take("sampling")?,
            ahead: arguments.take("ahead")?,
            missing: arguments.take("missing")?.map(Gaps::from_json).transpose()?,
        })
    }

    /// The column of the targets beside a column of texts; other settings are refused.
    pub(super) fn target_of_text(&self) -> Result<Option<String>> {
        if self.header == Some(false) {
            return Err(Error::argument("header", "true, as `text` names a column", false));
        }
        let plain =
            Self { text: self.text.clone(), target: self.target.clone(), header: self.header, ..Self::default() };
        if *self != plain {
            return Err(Error::argument("text", "a column of texts with `target` alone", "other keys for tables"));
        }
        match &self.target {
            None => Ok(None),
            Some(OneOrMany::One(target)) => Ok(Some(target.clone())),
            Some(OneOrMany::Many(targets)) => Err(Error::argument("target", "one column", targets.join(", "))),
        }
    }

    pub(super) fn check(&self, shuffled: bool) -> Result<()> {
        if matches!(&self.target, Some(OneOrMany::Many(names)) if names.is_empty()) {
            return Err(Error::argument("target", "a column, or several", "none"));
        }
        let Some(length) = self.window else {
            let alone = [("stride", self.stride), ("sampling", self.sampling), ("ahead", self.ahead)];
            return match alone.into_iter().find(|(_, value)| value.is_some()) {
                Some((name, _)) => Err(Error::argument(name, "a `window` to apply it to", "none")),
                None => Ok(()),
            };
        };
        if shuffled {
            return Err(Error::argument("split_seed", "rows in their order, for windows over time", "a seed"));
        }
        self.windows(length).check()
    }

    /// The windows over time, if any.
    pub fn window(&self) -> Option<Window> {
        self.window.map(|length| self.windows(length))
    }

    fn windows(&self, length: usize) -> Window {
        let window = Window::new(length).stride(self.stride.unwrap_or(1)).sampling_rate(self.sampling.unwrap_or(1));
        window.ahead(self.ahead.unwrap_or(1))
    }

    /// Refuses settings that contradict the table that a model was trained on: its columns, its windows and its rules
    /// for missing values are fixed.
    pub(super) fn check_like(&self, info: &TableInfo) -> Result<()> {
        let known: Vec<&str> = info.columns.iter().map(|column| column.name.as_str()).collect();
        let own = || format!("`{}`, as the model was trained on", known.join("`, `"));
        let kept: Vec<&String> = self.columns.iter().filter(|column| !self.exclude.contains(column)).collect();
        if !self.columns.is_empty() && kept != known {
            return Err(Error::argument("columns", own(), format!("`{}`", self.columns.join("`, `"))));
        }
        if let Some(column) = self.exclude.iter().find(|column| known.contains(&column.as_str())) {
            return Err(Error::argument("exclude", "no column that the model was trained on", column));
        }
        let targets = self.target.iter().flat_map(OneOrMany::names);
        if let (None, Some(target)) = (info.window, targets.into_iter().find(|name| known.contains(&name.as_str()))) {
            return Err(Error::argument("target", "another column than the model's inputs", target));
        }
        if let Some(window) = self.window().filter(|window| info.window != Some(*window)) {
            let expected = match info.window {
                Some(known) => format!("windows as the model was trained on, {known:?}"),
                None => "none, as the model was trained on single rows".to_owned(),
            };
            return Err(Error::argument("window", expected, format!("{window:?}")));
        }
        for column in &info.columns {
            let rule = match &self.missing {
                Some(Gaps::All(rule)) => Some(rule),
                Some(Gaps::ByColumn(rules)) => rules.get(&column.name),
                None => None,
            };
            let (Some(rule), Some(fill)) = (rule, &column.fill) else { continue };
            let agrees = match (rule, fill) {
                (Missing::Refuse, _) => false,
                (Missing::Mean, fill) => matches!(fill, Fill::Number(_)),
                (Missing::MostFrequent, Fill::Number(_)) => true,
                (Missing::MostFrequent, Fill::Text(text)) => !text.is_empty(),
                (Missing::Category, fill) => *fill == Fill::Text(String::new()),
            };
            if !agrees {
                let expected = format!("the rule that the model was trained with for column `{}`", column.name);
                return Err(Error::argument("missing", expected, format!("another, {rule:?}")));
            }
        }
        Ok(())
    }

    /// The configured reader.
    pub(super) fn csv(&self) -> Csv {
        let csv = Csv::new().columns(self.columns.clone()).exclude(self.exclude.clone());
        let csv = csv.targets_too(self.window.is_some() && self.columns.is_empty());
        let csv = csv.targets(self.target.iter().flat_map(OneOrMany::names));
        let csv = self.header.into_iter().fold(csv, Csv::header);
        let csv = self.separator.into_iter().fold(csv, Csv::separator);
        match &self.missing {
            None => csv,
            Some(Gaps::All(rule)) => csv.missing(*rule),
            Some(Gaps::ByColumn(rules)) => rules.iter().fold(csv, |csv, (column, rule)| csv.missing_of(column, *rule)),
        }
    }
}
