//! The file that holds a run's state, and when it is written.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use crate::config::also_argument;
use crate::error::{Error, Result};

/// When a [`Checkpoint`] is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointFreq {
    /// After each epoch.
    #[default]
    Epoch,
    /// After every given number of batches, and after each epoch.
    Batches(usize),
    /// After the first batch or epoch that ends at least this many seconds after the last checkpoint.
    Seconds(u64),
}

impl CheckpointFreq {
    /// Refuses a frequency of zero batches.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check(self) -> Result<()> {
        match self {
            Self::Batches(0) => Err(Error::argument("checkpoint_freq", FREQUENCIES, 0)),
            _ => Ok(()),
        }
    }
}

/// The valid frequencies, in words.
const FREQUENCIES: &str = "\"epoch\", a number of batches above 0, or a time such as \"30s\"";

impl std::str::FromStr for CheckpointFreq {
    type Err = Error;

    /// Reads `epoch`, a number of batches, or a time in seconds such as `30s`.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::argument("checkpoint_freq", FREQUENCIES, format!("`{text}`"));
        let freq = match text.strip_suffix('s') {
            _ if text == "epoch" => Self::Epoch,
            Some(seconds) => Self::Seconds(seconds.parse().map_err(|_| wrong())?),
            None => Self::Batches(text.parse().map_err(|_| wrong())?),
        };
        freq.check().map(|()| freq)
    }
}

impl std::fmt::Display for CheckpointFreq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Epoch => f.write_str("epoch"),
            Self::Batches(batches) => write!(f, "{batches}"),
            Self::Seconds(seconds) => write!(f, "{seconds}s"),
        }
    }
}

also_argument!(usize => CheckpointFreq);

impl From<usize> for CheckpointFreq {
    fn from(batches: usize) -> Self {
        Self::Batches(batches)
    }
}

impl Serialize for CheckpointFreq {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Batches(batches) => batches.serialize(serializer),
            other => serializer.collect_str(other),
        }
    }
}

impl<'de> Deserialize<'de> for CheckpointFreq {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match Json::deserialize(deserializer)? {
            Json::String(text) => text,
            other => other.to_string(),
        };
        text.parse().map_err(|_| serde::de::Error::custom(format!("invalid value, expected {FREQUENCIES}")))
    }
}

/// Keeps the whole state of a run in one file, from which it is resumed as if it had never stopped.
///
/// The file holds weights, the optimizer's state, the position in the run down to the batch, loss and metrics so far,
/// the history, and the states of callbacks. On the flex backend a resumed run gives the same bits as one that was not
/// interrupted. The file is written atomically, and only with finite weights: the previous one stays until the new one
/// is complete.
///
/// ```
/// use brasa::prelude::*;
/// use brasa::training::Checkpoint;
/// # fn main() -> brasa::Result<()> {
/// # let mut model = Sequential::new().with_seed(1);
/// # model.add(Dense::new(1).input_shape(2))?.compile(Compile::new("adam", "mse"))?;
/// # let data = Dataset::new(&ndarray::Array::<f32, _>::zeros((4, 2)), vec![0.0f32; 4])?;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("last.ckpt");
/// // The first call starts the run; if it is cut off, the same call resumes it.
/// let checkpoint = Checkpoint::new(&path).resume(true);
/// model.fit(&data, Fit::new().epochs(3).verbose(Verbosity::Silent).checkpoint(checkpoint))?;
/// assert!(path.exists());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: PathBuf,
    pub(crate) freq: CheckpointFreq,
    pub(crate) resume: bool,
    pub(crate) keep_previous: bool,
    pub(crate) recipe: Option<String>,
    pub(crate) accept_changes: bool,
}

impl Checkpoint {
    /// In this file, after each epoch; the folder is created if it is missing.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            freq: CheckpointFreq::Epoch,
            resume: false,
            keep_previous: false,
            recipe: None,
            accept_changes: false,
        }
    }

    /// When it is written; in addition, always when training is interrupted.
    #[must_use]
    pub fn freq(mut self, freq: impl Into<CheckpointFreq>) -> Self {
        self.freq = freq.into();
        self
    }

    /// Whether `fit` resumes the run in the file, if the file exists.
    #[must_use]
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Whether the previous checkpoint stays beside it, with `.bkp` appended to its name. It is used if the newest
    /// cannot be read or is missing.
    #[must_use]
    pub fn keep_previous(mut self, keep: bool) -> Self {
        self.keep_previous = keep;
        self
    }

    /// The recipe of the run, a TOML text, stored in the file; a run with another recipe is not resumed.
    #[must_use]
    pub fn recipe(mut self, recipe: impl Into<String>) -> Self {
        self.recipe = Some(recipe.into());
        self
    }

    /// Whether a run with another recipe, or on other data of the same size, is resumed all the same. In the middle of
    /// an epoch, losses and metrics that the run did not have, or had with other arguments, then cover only the rest of
    /// the epoch.
    #[must_use]
    pub fn accept_changes(mut self, accept: bool) -> Self {
        self.accept_changes = accept;
        self
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.freq.check()
    }

    /// The file of the previous checkpoint.
    pub(crate) fn previous(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".bkp");
        name.into()
    }
}
