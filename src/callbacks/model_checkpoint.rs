//! Saving the model during training.

use std::fs;
use std::path::{Path, PathBuf};

use super::early_stopping::finite;
use super::monitor::{Direction, Mode, watched};
use super::save_freq::{BatchCounter, SaveFreq};
use super::template::{FormattedNumber, fill};
use super::{Callback, CallbackState, Context, Logs};
use crate::error::{Error, Result};

crate::describe! {
    /// Saves the model after each epoch, or after a number of batches; with `save_best_only` only when a metric has
    /// improved: Keras's `ModelCheckpoint`.
    ///
    /// The file name can have placeholders for the epoch (from 1), the batch (from 1, with a frequency in batches) and
    /// all names in the logs, in Python's format: `{epoch:02d}-{val_loss:.4f}.keras`. Weights that are not finite are
    /// not saved, so that they overwrite nothing.
    ///
    /// ```
    /// use brasa::callbacks::ModelCheckpoint;
    /// let best = ModelCheckpoint::new("best.keras").save_best_only(true);
    /// let each = ModelCheckpoint::new("{epoch:02d}-{val_loss:.4f}.keras");
    /// ```
    pub callback struct ModelCheckpoint keeps Saving {
        /// The file, `.keras`, or `.weights.h5` with `save_weights_only`; can have placeholders.
        filepath: String,
        /// The name of the watched loss or metric.
        monitor: String = "val_loss".to_owned(),
        /// 1 to show a message when the model is saved.
        verbose: u8 = 0,
        /// Whether the model is saved only when the watched metric has improved.
        save_best_only: bool = false,
        /// Whether only the weights are saved.
        save_weights_only: bool = false,
        /// The direction of improvement.
        mode: Mode = Mode::Auto,
        /// When the model is saved: `"epoch"`, or a number of batches between saves.
        save_freq: SaveFreq = SaveFreq::Epoch,
        /// A value to improve on.
        initial_value_threshold: Option<f64> = None,
    }
}

/// The state between epochs.
#[derive(Clone, Debug, Default)]
pub struct Saving {
    direction: Option<Direction>,
    /// Unlike in other callbacks it is kept from one `fit` to the next, as in Keras.
    best: Option<f64>,
    batches: BatchCounter,
    saved: Option<PathBuf>,
}

impl ModelCheckpoint {
    /// Saves to this file.
    pub fn new(filepath: impl Into<String>) -> Self {
        Self::required(filepath.into())
    }

    /// The best value so far.
    pub fn best(&self) -> Option<f64> {
        self.state.best.or(self.initial_value_threshold)
    }

    /// The last file that was saved.
    pub fn saved(&self) -> Option<&Path> {
        self.state.saved.as_deref()
    }

    /// Whether to save now; updates the best value.
    fn due(&mut self, context: &mut Context<'_>, epoch: usize, logs: &Logs, path: &Path) -> Result<bool> {
        let (epoch, path) = (epoch + 1, path.display());
        let message = if !self.save_best_only {
            Some(format!("Epoch {epoch}: saving model to {path}"))
        } else {
            let (Some(direction), Some(current)) =
                (self.state.direction, watched("ModelCheckpoint", &self.monitor, logs)?)
            else {
                return Ok(true);
            };
            let (best, name) = (self.best(), &self.monitor);
            let text = best.map_or_else(|| "None".to_owned(), |best| format!("{best:.5}"));
            if direction.improves(current, best, 0.0) {
                self.state.best = Some(current);
                Some(format!("Epoch {epoch}: {name} improved from {text} to {current:.5}, saving model to {path}"))
            } else {
                if self.verbose > 0 {
                    context.message(format!("Epoch {epoch}: {name} did not improve from {text}"));
                }
                None
            }
        };
        if let Some(text) = message.as_ref().filter(|_| self.verbose > 0) {
            context.message(text);
        }
        Ok(message.is_some())
    }

    fn save(&mut self, context: &mut Context<'_>, epoch: usize, batch: Option<usize>, logs: &Logs) -> Result<()> {
        let find = |name: &str| match (name, batch) {
            ("epoch", _) => Some(FormattedNumber::Integer(epoch as i64 + 1)),
            ("batch", Some(batch)) if logs.get("batch").is_none() => Some(FormattedNumber::Integer(batch as i64 + 1)),
            _ => logs.get(name).map(FormattedNumber::Float),
        };
        let path = PathBuf::from(fill(&self.filepath, find).map_err(|error| match error {
            Error::UnknownName { name, .. } if logs.score(&name).is_some() => {
                Error::argument("filepath", "names of single numbers", format!("`{name}`, which is a list of numbers"))
            }
            Error::UnknownName { name, .. } => {
                let names = ["epoch"].into_iter().chain(batch.map(|_| "batch")).chain(logs.names());
                Error::unknown("name in `filepath`", name, names)
            }
            error => error,
        })?);
        if !self.due(context, epoch, logs, &path)? {
            return Ok(());
        }
        if !context.model.has_finite_weights()? {
            tracing::warn!("epoch {}: the weights are not finite, {} is left as it is", epoch + 1, path.display());
            return Ok(());
        }
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        if self.save_weights_only {
            context.model.save_weights(&path)?;
        } else {
            context.model.save(&path)?;
        }
        if self.verbose > 0 {
            context.message(format!("Epoch {}: finished saving model to {}", epoch + 1, path.display()));
        }
        self.state.saved = Some(path);
        Ok(())
    }
}

impl Callback for ModelCheckpoint {
    fn check(&self) -> Result<()> {
        self.mode.check()?;
        self.save_freq.check()?;
        finite("initial_value_threshold", self.initial_value_threshold)?;
        let ending = if self.save_weights_only { ".weights.h5" } else { ".keras" };
        if !self.filepath.ends_with(ending) {
            let expected = format!("a file name that ends in `{ending}`");
            return Err(Error::argument("filepath", expected, &self.filepath));
        }
        // Whether the names exist is known only with the logs, but the syntax can be checked now.
        fill(&self.filepath, |name| {
            Some(if name == "epoch" { FormattedNumber::Integer(1) } else { FormattedNumber::Any })
        })
        .map(|_| ())
    }

    fn on_train_begin(&mut self, context: &mut Context<'_>) -> Result<()> {
        self.state.direction = match self.save_best_only {
            true => Some(self.mode.direction(&self.monitor, context)?),
            false => None,
        };
        Ok(())
    }

    fn on_train_batch_end(&mut self, context: &mut Context<'_>, batch: usize) -> Result<()> {
        if self.state.batches.due(&self.save_freq, batch) {
            let (epoch, logs) = (context.params().epoch, context.logs()?);
            self.save(context, epoch, Some(batch), &logs)?;
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, context: &mut Context<'_>, epoch: usize, logs: &mut Logs) -> Result<()> {
        if self.save_freq == SaveFreq::Epoch {
            self.save(context, epoch, None, logs)?;
        }
        Ok(())
    }

    fn state(&self) -> Result<CallbackState> {
        let mut state = CallbackState::default();
        state.put_number("best", self.state.best);
        self.state.batches.put(&mut state)?;
        Ok(state)
    }

    fn restore(&mut self, mut state: CallbackState) -> Result<()> {
        self.state.best = state.take_number("best")?;
        self.state.batches = BatchCounter::take(&mut state)?;
        Ok(())
    }
}
