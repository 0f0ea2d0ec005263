//! The learning rate as a function of the epoch.

use super::{Callback, Context, Logs};
use crate::error::Result;

/// Sets the learning rate at the beginning of each epoch: Keras's `LearningRateScheduler`.
///
/// The function takes the epoch, from 0, and the current rate. The rate is added to the logs as `learning_rate`.
///
/// ```
/// use brasa::callbacks::LearningRateScheduler;
/// let halved = LearningRateScheduler::new(|epoch, rate| if epoch < 10 { rate } else { rate / 2.0 });
/// ```
pub struct LearningRateScheduler<F> {
    schedule: F,
    verbose: u8,
}

impl<F: FnMut(usize, f32) -> f32> LearningRateScheduler<F> {
    /// Takes the rate from `schedule`.
    pub fn new(schedule: F) -> Self {
        Self { schedule, verbose: 0 }
    }

    /// 1 to show the rate that is set.
    #[must_use]
    pub fn verbose(mut self, verbose: u8) -> Self {
        self.verbose = verbose;
        self
    }
}

impl<F: FnMut(usize, f32) -> f32> Callback for LearningRateScheduler<F> {
    fn on_epoch_begin(&mut self, context: &mut Context<'_>, epoch: usize) -> Result<()> {
        let rate = (self.schedule)(epoch, context.learning_rate()?);
        context.set_learning_rate(rate)?;
        if self.verbose > 0 {
            let epoch = epoch + 1;
            context.message(format!("Epoch {epoch}: LearningRateScheduler setting learning rate to {rate}."));
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, context: &mut Context<'_>, _: usize, logs: &mut Logs) -> Result<()> {
        logs.set("learning_rate", f64::from(context.learning_rate()?));
        Ok(())
    }
}
