//! Overlap losses, for segmentation.

use super::{EPSILON, Loss, Reduction, one_minus};
use crate::constraints::Axes;
use crate::error::{Error, Result};
use crate::ops::Value;

/// The sum over some axes, which are kept with size 1, or over all.
fn total(value: Value, axis: &Option<Axes>) -> Result<Value> {
    match axis {
        None => Ok(value.sum()),
        Some(axes) => Ok(axes.of_rank(value.rank())?.into_iter().fold(value, Value::sum_axis)),
    }
}

/// Whether sums over these axes keep the samples apart.
fn keeps_samples(axis: &Option<Axes>, rank: usize) -> bool {
    axis.as_ref().and_then(|axes| axes.of_rank(rank).ok()).is_some_and(|axes| !axes.contains(&0))
}

crate::describe! {
    /// `1 − 2·Σ(y_true · y_pred) / (Σ y_true + Σ y_pred)`: one number for the batch, or one for each position outside
    /// of `axis`.
    pub struct Dice {
        /// The axes of the sums; `None` for all.
        axis: Option<Axes> = None,
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "dice".into(),
    }
}

impl Loss for Dice {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let both = total(y_true.clone() * y_pred.clone(), &self.axis)?;
        let sizes = total(y_true, &self.axis)? + total(y_pred, &self.axis)?;
        Ok(one_minus(both.mul_scalar(2.0) / sizes.add_scalar(EPSILON)))
    }

    fn is_by_sample(&self, rank: usize) -> bool {
        keeps_samples(&self.axis, rank)
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }
}

crate::describe! {
    /// `1 − TP / (TP + alpha · FP + beta · FN)` (Salehi et al. 2017) with TP = Σ y_true · y_pred.
    ///
    /// As in Keras, `alpha` weights `Σ y_true · (1 − y_pred)` and `beta` weights `Σ (1 − y_true) · y_pred`.
    pub struct Tversky {
        /// The weight of false negatives.
        alpha: f32 = 0.5,
        /// The weight of false positives.
        beta: f32 = 0.5,
        /// The axes of the sums; `None` for all.
        axis: Option<Axes> = None,
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "tversky".into(),
    }
}

impl Loss for Tversky {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let both = total(y_true.clone() * y_pred.clone(), &self.axis)?;
        let missed = total(y_true.clone() * one_minus(y_pred.clone()), &self.axis)?;
        let wrong = total(one_minus(y_true) * y_pred, &self.axis)?;
        let sizes = both.clone() + missed.mul_scalar(self.alpha) + wrong.mul_scalar(self.beta);
        Ok(one_minus(both / sizes.add_scalar(EPSILON)))
    }

    fn is_by_sample(&self, rank: usize) -> bool {
        keeps_samples(&self.axis, rank)
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }

    fn check(&self) -> Result<()> {
        for (name, weight) in [("alpha", self.alpha), ("beta", self.beta)] {
            if !(weight.is_finite() && weight >= 0.0) {
                return Err(Error::argument(name, "a number of at least 0", weight));
            }
        }
        Ok(())
    }
}
