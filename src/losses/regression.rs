//! Regression losses.

use super::{EPSILON, Loss, Reduction};
use crate::activations::Activation;
use crate::constraints::Axes;
use crate::error::{Error, Result};
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
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "mean_squared_error".into(),
    }
}

impl Loss for MeanSquaredError {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        Ok((y_pred - y_true).square().mean_axis(last))
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }
}

crate::describe! {
    /// The mean of `|y_pred − y_true|` over the last dimension.
    pub struct MeanAbsoluteError {
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "mean_absolute_error".into(),
    }
}

impl Loss for MeanAbsoluteError {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        Ok((y_pred - y_true).abs().mean_axis(last))
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }
}

crate::describe! {
    /// 100 times the mean of `|y_pred − y_true| / max(|y_true|, 1e-7)` over the last dimension.
    pub struct MeanAbsolutePercentageError {
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "mean_absolute_percentage_error".into(),
    }
}

impl Loss for MeanAbsolutePercentageError {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        let parts = (y_pred - y_true.clone()) / y_true.abs().clamp_min(EPSILON);
        Ok(parts.abs().mean_axis(last).mul_scalar(100.0))
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }
}

crate::describe! {
    /// The mean of `(log(1 + y_pred) − log(1 + y_true))²` over the last dimension, with values clipped below at 1e-7.
    pub struct MeanSquaredLogarithmicError {
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "mean_squared_logarithmic_error".into(),
    }
}

impl Loss for MeanSquaredLogarithmicError {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        let log = |value: Value| value.clamp_min(EPSILON).add_scalar(1.0).log();
        Ok((log(y_pred) - log(y_true)).square().mean_axis(last))
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }
}

crate::describe! {
    /// Half the square of errors up to `delta`, beyond it `delta · |error| − delta² / 2` (Huber 1964), averaged over
    /// the last dimension.
    pub struct Huber {
        /// The error from which the loss is linear.
        delta: f32 = 1.0,
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "huber_loss".into(),
    }
}

impl Loss for Huber {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        let absolute = (y_pred - y_true).abs();
        // The square of the part below delta, and delta times the part above it.
        let inside = absolute.clone().clamp_max(self.delta);
        let outside = absolute - inside.clone();
        Ok((inside.square().mul_scalar(0.5) + outside.mul_scalar(self.delta)).mean_axis(last))
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }

    fn check(&self) -> Result<()> {
        if self.delta.is_finite() && self.delta >= 0.0 {
            return Ok(());
        }
        Err(Error::argument("delta", "a number of at least 0", self.delta))
    }
}

crate::describe! {
    /// The mean of `log(cosh(y_pred − y_true))` over the last dimension, as `x + softplus(−2x) − log 2`.
    pub struct LogCosh {
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "log_cosh".into(),
    }
}

impl Loss for LogCosh {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        let error = y_pred - y_true;
        let rest = Activation::Softplus.apply(error.clone().mul_scalar(-2.0))?;
        Ok((error + rest).add_scalar(-std::f32::consts::LN_2).mean_axis(last))
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }
}

crate::describe! {
    /// Minus the cosine similarity of target and prediction: −1 in the same direction, 0 at right angles.
    pub struct CosineSimilarity {
        /// The axis of the vectors.
        axis: isize = -1,
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "cosine_similarity".into(),
    }
}

impl Loss for CosineSimilarity {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        Ok(-cosines(y_true, y_pred, self.axis)?)
    }

    fn is_by_sample(&self, rank: usize) -> bool {
        Axes::One(self.axis).of_rank(rank).is_ok_and(|axes| !axes.contains(&0))
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }
}

/// The cosine similarity of vectors along `axis`.
pub(crate) fn cosines(y_true: Value, y_pred: Value, axis: isize) -> Result<Value> {
    let axis = Axes::One(axis).of_rank(y_pred.rank())?[0];
    let unit = |vectors: Value| {
        let sizes = vectors.sizes();
        // ε² below the root bounds 1/√s by 1/ε.
        let length = vectors.clone().square().sum_axis(axis).clamp_min(EPSILON * EPSILON).sqrt();
        vectors / length.expand(&sizes)
    };
    Ok((unit(y_true) * unit(y_pred)).sum_axis(axis))
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

    #[test]
    fn a_zero_vector_has_similarity_zero() {
        let losses = CosineSimilarity::default().losses(rows(&[&[0.0, 0.0]]), rows(&[&[1.0, 3.0]])).unwrap();
        assert_eq!(losses.to_vec().unwrap(), [0.0]);
        assert!(CosineSimilarity::default().axis(2).losses(rows(&[&[1.0]]), rows(&[&[1.0]])).is_err());
    }
}
