//! Stopping when a metric no longer improves.

use ndarray::ArrayD;

use super::monitor::{Direction, Mode, watched};
use super::{Callback, CallbackState, Context, Logs};
use crate::error::{Error, Result};

crate::describe! {
    /// Stops training when a metric has not improved for some epochs: Keras's `EarlyStopping`.
    ///
    /// ```
    /// use brasa::callbacks::EarlyStopping;
    /// let stopping = EarlyStopping::default().patience(3usize).restore_best_weights(true);
    /// ```
    pub callback struct EarlyStopping keeps EarlyStoppingState {
        /// The name of the watched loss or metric.
        monitor: String = "val_loss".to_owned(),
        /// The smallest change that counts as an improvement.
        min_delta: f64 = 0.0,
        /// The number of epochs without improvement after which training stops.
        patience: usize = 0,
        /// 1 to show a message when training stops.
        verbose: u8 = 0,
        /// The direction of improvement.
        mode: Mode = Mode::Auto,
        /// A value to improve on.
        baseline: Option<f64> = None,
        /// Whether the weights of the best epoch are restored at the end, even if training was not stopped.
        restore_best_weights: bool = false,
        /// The first epoch that counts.
        start_from_epoch: usize = 0,
    }
}

/// The state between epochs.
#[derive(Clone, Debug, Default)]
pub struct EarlyStoppingState {
    direction: Option<Direction>,
    wait: usize,
    stopped_epoch: Option<usize>,
    best: Option<f64>,
    best_epoch: usize,
    best_weights: Option<Vec<ArrayD<f32>>>,
}

impl EarlyStopping {
    /// The epoch after which it stopped training, from 0; `None` if it did not.
    pub fn stopped_epoch(&self) -> Option<usize> {
        self.state.stopped_epoch
    }

    /// The best value so far.
    pub fn best(&self) -> Option<f64> {
        self.state.best
    }

    /// The epoch of the best value, from 0.
    pub fn best_epoch(&self) -> usize {
        self.state.best_epoch
    }

    /// The number of epochs since the last improvement.
    pub fn wait(&self) -> usize {
        self.state.wait
    }
}

impl Callback for EarlyStopping {
    fn check(&self) -> Result<()> {
        self.mode.check()?;
        finite("min_delta", Some(self.min_delta))?;
        finite("baseline", self.baseline)
    }

    fn on_train_begin(&mut self, context: &mut Context<'_>) -> Result<()> {
        let direction = self.mode.direction(&self.monitor, context)?;
        self.state = EarlyStoppingState { direction: Some(direction), ..EarlyStoppingState::default() };
        Ok(())
    }

    fn on_epoch_end(&mut self, context: &mut Context<'_>, epoch: usize, logs: &mut Logs) -> Result<()> {
        let Some(direction) = self.state.direction else { return Ok(()) };
        let Some(current) = watched("EarlyStopping", &self.monitor, logs)? else { return Ok(()) };
        if epoch < self.start_from_epoch {
            return Ok(());
        }
        let better = |reference| direction.improves(current, reference, self.min_delta);
        if self.restore_best_weights && self.state.best_weights.is_none() {
            self.state.best_weights = Some(context.model.get_weights()?);
            self.state.best_epoch = epoch;
        }
        self.state.wait += 1;
        if better(self.state.best) {
            self.state.best = Some(current);
            self.state.best_epoch = epoch;
            if self.restore_best_weights {
                self.state.best_weights = Some(context.model.get_weights()?);
            }
            // The wait restarts only if the baseline is beaten too.
            if self.baseline.is_none() || better(self.baseline) {
                self.state.wait = 0;
            }
            return Ok(());
        }
        if self.state.wait >= self.patience && epoch > 0 {
            self.state.stopped_epoch = Some(epoch);
            let epochs = if self.state.wait == 1 { "epoch" } else { "epochs" };
            context.stop(format!("EarlyStopping: {} has not improved for {} {epochs}", self.monitor, self.state.wait));
        }
        Ok(())
    }

    fn on_train_end(&mut self, context: &mut Context<'_>) -> Result<()> {
        if let Some(epoch) = self.state.stopped_epoch.filter(|_| self.verbose > 0) {
            context.message(format!("Epoch {}: early stopping", epoch + 1));
        }
        if let Some(weights) = &self.state.best_weights {
            if self.verbose > 0 {
                let epoch = self.state.best_epoch + 1;
                context.message(format!("Restoring model weights from the end of the best epoch: {epoch}."));
            }
            context.model.set_weights(weights)?;
            context.restored(self.state.best_epoch);
        }
        Ok(())
    }

    fn state(&self) -> Result<CallbackState> {
        let mut state = CallbackState::default();
        state.put("wait", &self.state.wait)?;
        state.put("stopped_epoch", &self.state.stopped_epoch)?;
        state.put("best_epoch", &self.state.best_epoch)?;
        state.put_number("best", self.state.best);
        if let Some(weights) = &self.state.best_weights {
            state.arrays.insert("best_weights".to_owned(), weights.clone());
        }
        Ok(state)
    }

    fn restore(&mut self, mut state: CallbackState) -> Result<()> {
        self.state.wait = state.take_count("wait")?;
        self.state.stopped_epoch = state.take_count_if_any("stopped_epoch")?;
        self.state.best_epoch = state.take_count("best_epoch")?;
        self.state.best = state.take_number("best")?;
        self.state.best_weights = state.arrays.remove("best_weights");
        Ok(())
    }
}

/// Refuses NaN and infinities.
pub(super) fn finite(name: &'static str, number: Option<f64>) -> Result<()> {
    match number.filter(|number| !number.is_finite()) {
        None => Ok(()),
        Some(number) => Err(Error::argument(name, "a finite number", number)),
    }
}
