//! Smaller steps when nothing gets better.

use super::early_stopping::finite;
use super::monitor::{Direction, Mode, watched};
use super::{Callback, CallbackState, Context, Logs};
use crate::error::{Error, Result};

crate::describe! {
    /// Multiplies the learning rate by a factor when a number has not improved for some epochs: Keras's
    /// `ReduceLROnPlateau`. The learning rate is added to the logs as `learning_rate`.
    pub callback struct ReduceLROnPlateau keeps Plateau {
        /// The number that is watched.
        monitor: String = "val_loss".to_owned(),
        /// By what the learning rate is multiplied, below 1.
        factor: f64 = 0.1,
        /// For how many epochs the number may fail to improve.
        patience: usize = 10,
        /// 1 to say so when the learning rate changes.
        verbose: u8 = 0,
        /// Which way it improves.
        mode: Mode = Mode::Auto,
        /// By how much it has to improve to count as better.
        min_delta: f64 = 1e-4,
        /// For how many epochs after a change nothing is counted.
        cooldown: usize = 0,
        /// The smallest learning rate.
        min_lr: f64 = 0.0,
    }
}

/// What it remembers.
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

    /// For how many epochs there was no improvement.
    pub fn wait(&self) -> usize {
        self.state.wait
    }

    /// How many epochs of the cooldown are left.
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
