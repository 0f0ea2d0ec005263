//! Resuming an interrupted run.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::{Callback, Context, SaveFreq};
use super::{Checkpoint, CheckpointFreq};
use crate::error::{Error, Result};

/// The checkpoint's name in the folder.
const NAME: &str = "latest.ckpt";

crate::describe! {
    /// Keeps a checkpoint in a folder, from which the next `fit` resumes if this one is cut off: Keras's
    /// `BackupAndRestore`.
    ///
    /// Unlike Keras's it holds the whole state ([`Checkpoint`]): the run resumes in the middle of an epoch, with the
    /// states of all callbacks, as if it had not been cut off.
    pub struct BackupAndRestore {
        /// The folder, used for nothing else.
        backup_dir: String,
        /// When it is written: `"epoch"`, or a number of batches between writes.
        save_freq: SaveFreq = SaveFreq::Epoch,
        /// Whether the previous checkpoint is kept beside it, in case the newest cannot be read.
        double_checkpoint: bool = false,
        /// Whether the folder is removed when training ends without interruption.
        delete_checkpoint: bool = true,
    }
}

impl BackupAndRestore {
    /// Keeps the checkpoint in this folder.
    pub fn new(backup_dir: impl Into<String>) -> Self {
        Self::required(backup_dir.into())
    }
}

impl Callback for BackupAndRestore {
    fn check(&self) -> Result<()> {
        if self.backup_dir.is_empty() {
            return Err(Error::argument("backup_dir", "a folder", "an empty text"));
        }
        self.save_freq.check()
    }

    fn backup(&self) -> Option<Checkpoint> {
        let freq = match self.save_freq {
            SaveFreq::Epoch => CheckpointFreq::Epoch,
            SaveFreq::Batches(batches) => CheckpointFreq::Batches(batches),
        };
        let checkpoint = Checkpoint::new(Path::new(&self.backup_dir).join(NAME)).freq(freq).resume(true);
        Some(checkpoint.keep_previous(self.double_checkpoint))
    }

    fn on_train_end(&mut self, context: &mut Context<'_>) -> Result<()> {
        // An interrupted run is to be resumed. Of several processes the first has written the folder.
        if !self.delete_checkpoint || context.params().interrupted || !context.params().is_first {
            return Ok(());
        }
        match fs::remove_dir_all(&self.backup_dir) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", &self.backup_dir)(error)),
            _ => Ok(()),
        }
    }
}
