//! Swapping the weights with their running averages where the model is evaluated.

use super::{Callback, CallbackState, Context, Logs};
use crate::error::{Error, Result};
use crate::ops::Value;

crate::describe! {
    /// Swaps the weights with the optimizer's running averages for evaluation and prediction, and back afterwards:
    /// Keras's `SwapEMAWeights`. The optimizer must have `use_ema`.
    ///
    /// With `swap_on_epoch` they are also swapped from the end of an epoch to the beginning of the next, so that
    /// callbacks that follow, such as [`ModelCheckpoint`](super::ModelCheckpoint), save the averages.
    pub callback struct SwapEMAWeights keeps Swapped {
        /// Whether they are also swapped between epochs.
        swap_on_epoch: bool = false,
    }
}

/// Whether the averages are swapped in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Swapped(bool);

impl SwapEMAWeights {
    /// Swaps the averages (`true`) or the weights (`false`) into the model, unless they are there.
    fn swap(&mut self, context: &mut Context<'_>, averages: bool) -> Result<()> {
        if self.state.0 != averages {
            context.model.with_averages(std::mem::swap)?;
            self.state.0 = averages;
        }
        Ok(())
    }
}

impl Callback for SwapEMAWeights {
    fn on_train_begin(&mut self, context: &mut Context<'_>) -> Result<()> {
        self.state = Swapped::default();
        let base = context.model.expect_compiled("SwapEMAWeights")?.optimizer.base();
        if base.use_ema { Ok(()) } else { Err(Error::argument("use_ema", "true, for SwapEMAWeights", "false")) }
    }

    fn on_epoch_begin(&mut self, context: &mut Context<'_>, _: usize) -> Result<()> {
        if self.swap_on_epoch { self.swap(context, false) } else { Ok(()) }
    }

    fn on_epoch_end(&mut self, context: &mut Context<'_>, epoch: usize, _: &mut Logs) -> Result<()> {
        if !self.swap_on_epoch {
            return Ok(());
        }
        self.swap(context, true)?;
        if epoch + 1 == context.params().epochs || context.stopped().is_some() {
            // The end of training overwrites the weights with the averages; both then hold the averages.
            context.model.with_averages(|weight, average: &mut Value| *average = weight.clone())?;
        }
        Ok(())
    }

    /// The end of training copies the averages to the weights, so they must be swapped back first.
    fn on_interrupt(&mut self, context: &mut Context<'_>) -> Result<()> {
        self.swap(context, false)
    }

    fn on_test_begin(&mut self, context: &mut Context<'_>) -> Result<()> {
        self.swap(context, true)
    }

    fn on_test_end(&mut self, context: &mut Context<'_>, _: &Logs) -> Result<()> {
        self.swap(context, false)
    }

    fn on_predict_begin(&mut self, context: &mut Context<'_>) -> Result<()> {
        self.swap(context, true)
    }

    fn on_predict_end(&mut self, context: &mut Context<'_>) -> Result<()> {
        self.swap(context, false)
    }

    fn state(&self) -> Result<CallbackState> {
        let mut state = CallbackState::default();
        state.put("swapped", &self.state.0)?;
        Ok(state)
    }

    fn restore(&mut self, mut state: CallbackState) -> Result<()> {
        self.state.0 = state.take("swapped")?.unwrap_or(false);
        Ok(())
    }
}
