//! The progress bar as a callback.

use super::Callback;
use super::Verbosity;
use crate::error::Result;

crate::describe! {
    /// Shows the progress of training, evaluation or prediction on stderr: Keras's `ProgbarLogger`.
    ///
    /// It overrides `verbose`, so that there is only one bar; of several the last counts. It is meant for lists of
    /// callbacks that are used in several places, and for recipes. In a custom training loop, use
    /// [`Progress`](crate::training::progress::Progress).
    ///
    /// ```
    /// use brasa::callbacks::ProgressBar;
    /// use brasa::prelude::*;
    /// # fn main() -> brasa::Result<()> {
    /// # let mut model = Sequential::new();
    /// # model.add(Dense::new(1).input_shape(2))?.compile(Compile::new("sgd", "mse"))?;
    /// # let data = Dataset::new(&ndarray::Array::<f32, _>::zeros((4, 2)), vec![0.0f32; 4])?;
    /// model.evaluate_with(&data, Evaluate::new().callback(ProgressBar::default()))?;
    /// # Ok(())
    /// # }
    /// ```
    pub struct ProgressBar {
        /// 1 for a bar in a terminal and lines elsewhere, 2 for one line an epoch, 0 for nothing.
        verbose: u8 = 1,
    }
}

impl Callback for ProgressBar {
    fn check(&self) -> Result<()> {
        Verbosity::try_from(self.verbose).map(|_| ())
    }

    fn verbosity(&self) -> Option<Verbosity> {
        Verbosity::try_from(self.verbose).ok()
    }
}
