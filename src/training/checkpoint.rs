//! Reading and writing checkpoints.

use std::fs;
use std::time::{Duration, Instant};

use super::snapshot::{Position, Snapshot};
use crate::callbacks::{Checkpoint, CheckpointFreq};
use crate::error::{Error, Result, shown};
#[cfg(feature = "recipes")]
use crate::formats::recipe_text::differences;

/// The state to resume from, if there is one.
pub(super) fn load(checkpoint: &Checkpoint) -> Result<Option<Snapshot>> {
    let path = checkpoint.path();
    let previous = checkpoint.previous();
    let read = match (path.exists(), previous.exists()) {
        _ if !checkpoint.resume => return Ok(None),
        (false, false) => return Ok(None),
        (false, true) => {
            tracing::warn!("`{}` is missing; the previous checkpoint is used", shown(path));
            Snapshot::read(&previous)
        }
        (true, has_previous) => match Snapshot::read(path) {
            Err(error @ Error::Broken { .. }) if has_previous => {
                tracing::warn!("{error}; the previous checkpoint is used");
                Snapshot::read(&previous)
            }
            snapshot => snapshot,
        },
    };
    let mut snapshot = read.map_err(|error| match error {
        Error::Broken { file, at, reason } => {
            let way_on = "put an earlier copy of the file in its place, or delete it to start the run again";
            Error::Broken { file, at, reason: format!("{reason}; {way_on}") }
        }
        error => error,
    })?;
    if let (Some(own), Some(saved)) = (&checkpoint.recipe, &snapshot.recipe) {
        let changed = differences(saved, own);
        if !changed.is_empty() && !checkpoint.accept_changes {
            let expected = format!("the recipe of the run in `{}`", path.display());
            return Err(Error::argument("recipe", expected, format!("another: {}", changed.join(", "))));
        }
        snapshot.accept(&changed);
    }
    Ok(Some(snapshot))
}

/// Without recipes two texts are the same or not.
#[cfg(not(feature = "recipes"))]
fn differences(old: &str, new: &str) -> Vec<String> {
    if old == new { Vec::new() } else { vec!["another text".to_owned()] }
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

    /// Creates the folder, before training starts. It is not created again if it disappears later: the checkpoint was
    /// moved with it.
    pub fn prepare(&self) -> Result<()> {
        match self.checkpoint.path().parent() {
            Some(folder) if !folder.as_os_str().is_empty() => {
                fs::create_dir_all(folder).map_err(Error::io("create", folder))
            }
            _ => Ok(()),
        }
    }

    /// Whether a checkpoint is due, after a batch or (`epoch_ends`) an epoch.
    pub fn is_due(&mut self, epoch_ends: bool) -> bool {
        self.batches += usize::from(!epoch_ends);
        match self.checkpoint.freq {
            CheckpointFreq::Epoch => epoch_ends,
            CheckpointFreq::Batches(batches) => epoch_ends || self.batches >= batches,
            CheckpointFreq::Seconds(seconds) => self.since.elapsed() >= Duration::from_secs(seconds),
        }
    }

    /// Whether a checkpoint is due by the clock.
    pub fn is_timed(&self) -> bool {
        matches!(self.checkpoint.freq, CheckpointFreq::Seconds(_))
    }

    /// Another rank has written the checkpoint that was due.
    pub fn passed(&mut self) {
        self.since = Instant::now();
        self.batches = 0;
    }

    /// Writes the run's state, unless it was already written or has weights that are not finite.
    pub fn write(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        if self.written == Some(snapshot.position) {
            return Ok(());
        }
        if !snapshot.is_finite() {
            tracing::warn!("the weights are not finite, `{}` is left as it is", self.checkpoint.path().display());
            return Ok(());
        }
        let path = self.checkpoint.path();
        // The previous file can be the last good one: a damaged file must not replace it.
        let is_good = || self.written.is_some() || Snapshot::read(path).is_ok();
        if self.checkpoint.keep_previous && path.exists() && is_good() {
            // The newest stays in place until the next one replaces it.
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
