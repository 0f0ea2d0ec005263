//! Reducing the learning rate when a metric no longer improves.

use super::early_stopping::finite;
use super::monitor::{Direction, Mode, watched};
use super::{Callback, CallbackState, Context, Logs};
use crate::error::{Error, Result};

crate::describe! {
    /// Multiplies the learning rate by a factor when a metric has not improved for some epochs: Keras's
    /// `ReduceLROnPlateau`. The learning rate is added to the logs as `learning_rate`.
    pub callback struct ReduceLROnPlateau keeps Plateau {
        /// The name of the watched loss or metric.
        monitor: String = "val_loss".to_owned(),
        /// The factor, below 1.
        factor: f64 = 0.1,
        /// The number of epochs without improvement before the rate is reduced.
        patience: usize = 10,
        /// 1 to show a message when the learning rate changes.
        verbose: u8 = 0,
        /// The direction of improvement.
        mode: Mode = Mode::Auto,
        /// The smallest change that counts as an improvement.
        min_delta: f64 = 1e-4,
        /// The number of epochs after a reduction that do not count.
        cooldown: usize = 0,
        /// The smallest learning rate.
        min_lr: f64 = 0.0,
    }
}

/// The state between epochs.
#[derive(Clone, Debug, Default)]
pub struct Plateau {
    direction: Option<Direction>,
    best: Option<f64>,
    wait: usize,
    cooldown: usize,
}

impl ReduceLROnPlateau {
    /// The best value so far.
    pub fn best(&self) -> Option<f64> {
        self.state.best
    }

    /// The number of epochs since the last improvement.
    pub fn wait(&self) -> usize {
        self.state.wait
    }

    /// The number of epochs left in the cooldown.
    pub fn cooldown_left(&self) -> usize {
        self.state.cooldown
    }

    fn reduce(&self, context: &mut Context<'_>, epoch: usize) -> Result<bool> {
        let old = context.learning_rate()?;
        if old <= self.min_lr as f32 {
            return Ok(false);
        }
        let new = (f64::from(old) * self.factor).max(self.min_lr);
        context.set_learning_rate(new as f32)?;
        if self.verbose > 0 {
            context.message(format!("Epoch {}: ReduceLROnPlateau reducing learning rate to {new}.", epoch + 1));
        }
        Ok(true)
    }
}

impl Callback for ReduceLROnPlateau {
    fn check(&self) -> Result<()> {
        self.mode.check()?;
        finite("min_delta", Some(self.min_delta))?;
        finite("min_lr", Some(self.min_lr))?;
        if !(0.0..1.0).contains(&self.factor) {
            return Err(Error::argument("factor", "a number from 0 to below 1", self.factor));
        }
        Ok(())
    }

    fn on_train_begin(&mut self, context: &mut Context<'_>) -> Result<()> {
        let direction = self.mode.direction(&self.monitor, context)?;
        self.state = Plateau { direction: Some(direction), ..Plateau::default() };
        Ok(())
    }

    fn on_epoch_end(&mut self, context: &mut Context<'_>, epoch: usize, logs: &mut Logs) -> Result<()> {
        let Some(direction) = self.state.direction else { return Ok(()) };
        logs.set("learning_rate", f64::from(context.learning_rate()?));
        let Some(current) = watched("ReduceLROnPlateau", &self.monitor, logs)? else { return Ok(()) };
        if self.state.cooldown > 0 {
            self.state.cooldown -= 1;
            self.state.wait = 0;
        }
        if direction.improves(current, self.state.best, self.min_delta) {
            self.state.best = Some(current);
            self.state.wait = 0;
        } else if self.state.cooldown == 0 {
            self.state.wait += 1;
            if self.state.wait >= self.patience && self.reduce(context, epoch)? {
                self.state.cooldown = self.cooldown;
                self.state.wait = 0;
            }
        }
        Ok(())
    }

    fn state(&self) -> Result<CallbackState> {
        let mut state = CallbackState::default();
        state.put("wait", &self.state.wait)?;
        state.put("cooldown", &self.state.cooldown)?;
        state.put_number("best", self.state.best);
        Ok(state)
    }

    fn restore(&mut self, mut state: CallbackState) -> Result<()> {
        self.state.wait = state.take_count("wait")?;
        self.state.cooldown = state.take_count("cooldown")?;
        self.state.best = state.take_number("best")?;
        Ok(())
    }
}
