//! Losses between probability distributions, and between counts and rates.

use super::{EPSILON, Loss, Reduction, one_hot_like, one_minus, sparse};
use crate::error::{Error, Result};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// The Kullback–Leibler divergence `Σ y_true · log(y_true / y_pred)` over the last dimension, with both clipped to
    /// 1e-7…1.
    pub struct KLDivergence {
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "kl_divergence".into(),
    }
}

impl Loss for KLDivergence {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        let y_true = y_true.clamp(EPSILON, 1.0);
        let ratio = y_true.clone() / y_pred.clamp(EPSILON, 1.0);
        Ok((y_true * ratio.log()).sum_axis(last))
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }
}

crate::describe! {
    /// The mean of `y_pred − y_true · log(y_pred + 1e-7)` over the last dimension, for counts and their expected
    /// values.
    pub struct Poisson {
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "poisson".into(),
    }
}

impl Loss for Poisson {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        Ok((y_pred.clone() - y_true * y_pred.add_scalar(EPSILON).log()).mean_axis(last))
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }
}

crate::describe! {
    /// `(1 − y_pred[label]^q) / q` for integer labels (Zhang and Sabuncu 2018): between the absolute error (q near 1)
    /// and crossentropy (q near 0), and so more robust to wrong labels.
    pub struct CategoricalGeneralizedCrossEntropy {
        /// The interpolation between the two, above 0 and below 1.
        q: f32 = 0.5,
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "categorical_generalized_cross_entropy".into(),
    }
}

impl Loss for CategoricalGeneralizedCrossEntropy {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        let probability = (one_hot_like(y_true, &y_pred, last)? * y_pred).sum_axis(last);
        Ok(one_minus(probability.powf(self.q)).mul_scalar(1.0 / self.q))
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }

    fn check(&self) -> Result<()> {
        if self.q > 0.0 && self.q < 1.0 {
            return Ok(());
        }
        Err(Error::argument("q", "a number above 0 and below 1", self.q))
    }

    fn check_shape(&self, target: &Shape, output: &Shape) -> Result<()> {
        sparse::check_shape(target, output)
    }

    fn check_values(&self, targets: &[f32], classes: usize) -> Result<()> {
        sparse::check_labels(targets, classes, None)
    }
}
