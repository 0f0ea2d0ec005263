//! When the state of a run is written, and where.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use super::snapshot::{Position, Snapshot};
use crate::config::also_argument;
use crate::error::{Error, Result, shown};
use crate::recipe::differences;

/// When a [`Checkpoint`] is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CheckpointFreq {
    /// After each epoch.
    #[default]
    Epoch,
    /// After every so many batches, and after each epoch.
    Batches(usize),
    /// After the batch or epoch with which so many seconds have passed since the last one.
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

/// What a frequency may be, in words.
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

/// Keeps the whole state of a run in one file, from which it can go on as if it had never stopped.
///
/// The file holds weights, the optimizer's state, the place in the run down to the batch, loss and metrics so far, the
/// history, and what callbacks remember. On the backend flex a run that goes on gives the same bits as one that was
/// not interrupted. It is written whole or not at all, and only with finite weights: what was there before stays until
/// the new one is complete.
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
/// // The first time it starts; if it is cut off, the same call goes on.
/// let checkpoint = Checkpoint::new(&path).resume(true);
/// model.fit(&data, Fit::new().epochs(3).verbose(Verbosity::Silent).checkpoint(checkpoint))?;
/// assert!(path.exists());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: PathBuf,
    freq: CheckpointFreq,
    resume: bool,
    keep_previous: bool,
    recipe: Option<String>,
    pub(super) accept_changes: bool,
}

impl Checkpoint {
    /// In this file, after each epoch; the folder is made if it is missing.
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

    /// When it is written; always also when training is interrupted.
    #[must_use]
    pub fn freq(mut self, freq: impl Into<CheckpointFreq>) -> Self {
        self.freq = freq.into();
        self
    }

    /// Whether `fit` goes on from the file if it is there.
    #[must_use]
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Whether the one before stays beside it, with `.bkp` at the end of its name. One that is there is taken if the
    /// newest cannot be read or is gone.
    #[must_use]
    pub fn keep_previous(mut self, keep: bool) -> Self {
        self.keep_previous = keep;
        self
    }

    /// The recipe of the run, a TOML text, which is kept in the file; one of another recipe is not gone on from.
    #[must_use]
    pub fn recipe(mut self, recipe: impl Into<String>) -> Self {
        self.recipe = Some(recipe.into());
        self
    }

    /// Whether a run of another recipe, or on other data of the same size, may be gone on from after all. In the middle of an epoch, loss and metrics that
    /// the run did not have, or had with other arguments, then count the rest of the epoch alone.
    #[must_use]
    pub fn accept_changes(mut self, accept: bool) -> Self {
        self.accept_changes = accept;
        self
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn check(&self) -> Result<()> {
        self.freq.check()
    }

    fn previous(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".bkp");
        name.into()
    }

    /// What is to be gone on from, if anything.
    pub(super) fn load(&self) -> Result<Option<Snapshot>> {
        let previous = self.previous();
        let read = match (self.path.exists(), previous.exists()) {
            _ if !self.resume => return Ok(None),
            (false, false) => return Ok(None),
            (false, true) => {
                tracing::warn!("`{}` is gone; the one before is taken", shown(&self.path));
                Snapshot::read(&previous)
            }
            (true, has_previous) => match Snapshot::read(&self.path) {
                Err(error @ Error::Broken { .. }) if has_previous => {
                    tracing::warn!("{error}; the one before is taken");
                    Snapshot::read(&previous)
                }
                snapshot => snapshot,
            },
        };
        let mut snapshot = read.map_err(|error| match error {
            Error::Broken { file, at, reason } => {
                let way_on = "put an earlier copy of the file in its place, or delete it to begin the run anew";
                Error::Broken { file, at, reason: format!("{reason}; {way_on}") }
            }
            error => error,
        })?;
        if let (Some(own), Some(saved)) = (&self.recipe, &snapshot.recipe) {
            let changed = differences(saved, own);
            if !changed.is_empty() && !self.accept_changes {
                let expected = format!("the recipe of the run in `{}`", self.path.display());
                return Err(Error::argument("recipe", expected, format!("another: {}", changed.join(", "))));
            }
            snapshot.accept(&changed);
        }
        Ok(Some(snapshot))
    }
}

/// A checkpoint in use.
pub(super) struct Keeper {
    checkpoint: Checkpoint,
    written: Option<Position>,
    since: Instant,
    batches: usize,
}

impl Keeper {
    pub fn new(checkpoint: Checkpoint) -> Self {
        Self { checkpoint, written: None, since: Instant::now(), batches: 0 }
    }

    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Makes the folder, before anything is trained that could not be kept there. One that is lost later is not made
    /// anew: whoever took it away has the checkpoint.
    pub fn prepare(&self) -> Result<()> {
        match self.checkpoint.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => {
                fs::create_dir_all(folder).map_err(Error::io("create", folder))
            }
            _ => Ok(()),
        }
    }

    /// Whether it is time, after a batch or (`epoch_ends`) an epoch.
    pub fn is_due(&mut self, epoch_ends: bool) -> bool {
        self.batches += usize::from(!epoch_ends);
        match self.checkpoint.freq {
            CheckpointFreq::Epoch => epoch_ends,
            CheckpointFreq::Batches(batches) => epoch_ends || self.batches >= batches,
            CheckpointFreq::Seconds(seconds) => self.since.elapsed() >= Duration::from_secs(seconds),
        }
    }

    /// Writes the run's state, unless it is there already or has weights that are not finite.
    pub fn write(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        if self.written == Some(snapshot.position) {
            return Ok(());
        }
        if !snapshot.is_finite() {
            tracing::warn!("the weights are not finite, `{}` is left as it is", self.checkpoint.path.display());
            return Ok(());
        }
        let path = &self.checkpoint.path;
        // The one before may be the last good one: a damaged file does not take its place.
        let is_good = || self.written.is_some() || Snapshot::read(path).is_ok();
        if self.checkpoint.keep_previous && path.exists() && is_good() {
            // The newest stays where it is until the next one takes its place.
            let previous = self.checkpoint.previous();
            crate::formats::atomic::write_atomically(&previous, |file| {
                let mut newest = fs::File::open(path).map_err(Error::io("open", path))?;
                std::io::copy(&mut newest, file).map_err(Error::io("write", &previous))
            })?;
        }
        snapshot.recipe.clone_from(&self.checkpoint.recipe);
        snapshot.write(path)?;
        self.written = Some(snapshot.position);
        self.since = Instant::now();
        self.batches = 0;
        tracing::debug!("wrote {}", path.display());
        Ok(())
    }
}
