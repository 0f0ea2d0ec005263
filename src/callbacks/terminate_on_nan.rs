//! Stopping when the loss is no longer finite.

use super::{Callback, Context};
use crate::error::{Error, Result};

crate::describe! {
    /// Stops training, without an error, when the loss is infinite or NaN: Keras's `TerminateOnNaN`.
    ///
    /// Without it such a loss is an error. It reads the loss after every batch, which makes a GPU wait.
    pub struct TerminateOnNaN {
        /// Whether such a loss is an error all the same.
        raise_error: bool = false,
    }
}

impl Callback for TerminateOnNaN {
    fn on_train_batch_end(&mut self, context: &mut Context<'_>, batch: usize) -> Result<()> {
        let Some(loss) = context.logs()?.get("loss").filter(|loss| !loss.is_finite()) else { return Ok(()) };
        if self.raise_error {
            let (epoch, rate) = (context.params().epoch + 1, context.learning_rate()?);
            return Err(Error::NonFinite {
                loss: loss as f32,
                epoch,
                batch: batch + 1,
                learning_rate: rate,
                place: None,
            });
        }
        let place = format!("epoch {}, batch {}", context.params().epoch + 1, batch + 1);
        context.stop(format!("TerminateOnNaN: the loss is {loss} at {place}"));
        Ok(())
    }
}
