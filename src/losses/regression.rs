//! Losses of differences.

use super::{Loss, Reduction, match_shapes};
use crate::error::Result;
use crate::ops::Value;

crate::describe! {
    /// The mean of `(y_pred − y_true)²` over the last dimension.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(1).input_shape(4))?;
    /// model.compile(Compile::new(SGD::new(0.01), "mse"))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub struct MeanSquaredError {
        /// What is done with the losses of a batch.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "mean_squared_error".into(),
    }
}

impl Loss for MeanSquaredError {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        let y_true = match_shapes(y_true, &y_pred)?;
        Ok((y_pred - y_true).square().mean_axis(last))
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }
}

crate::describe! {
    /// The mean of `|y_pred − y_true|` over the last dimension.
    pub struct MeanAbsoluteError {
        /// What is done with the losses of a batch.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "mean_absolute_error".into(),
    }
}

impl Loss for MeanAbsoluteError {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        let y_true = match_shapes(y_true, &y_pred)?;
        Ok((y_pred - y_true).abs().mean_axis(last))
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::rows;
    use super::*;

    #[test]
    fn errors_are_averaged_over_the_last_dimension() {
        let (y_true, y_pred) = (rows(&[&[0.0, 1.0], &[2.0, 2.0]]), rows(&[&[1.0, 3.0], &[2.0, 2.0]]));
        let squared = MeanSquaredError::default().losses(y_true.clone(), y_pred.clone()).unwrap();
        assert_eq!(squared.to_vec().unwrap(), [2.5, 0.0]);
        let absolute = MeanAbsoluteError::default().losses(y_true, y_pred).unwrap();
        assert_eq!(absolute.to_vec().unwrap(), [1.5, 0.0]);
    }
}
