//! Hinge losses.

use super::{Loss, Reduction, one_minus};
use crate::error::Result;
use crate::ops::Value;

/// Maps targets of 0 and 1 to −1 and 1; targets with any other value are unchanged.
fn signs(y_true: Value) -> Result<Value> {
    let sizes = y_true.sizes();
    let binary = y_true.clone().equal_scalar(0.0) + y_true.clone().equal_scalar(1.0);
    let others = one_minus(binary).reshape(&[y_true.len()])?.max_axis(0);
    let all_binary = one_minus(others).reshape(&vec![1; sizes.len()])?.expand(&sizes);
    // t + (2t − 1 − t) if all are binary.
    Ok(y_true.clone() + all_binary * y_true.add_scalar(-1.0))
}

/// `max(1 − y_true · y_pred, 0)`.
fn missing_margin(y_true: Value, y_pred: Value) -> Result<Value> {
    let y_true = signs(y_true)?;
    Ok(one_minus(y_true * y_pred).clamp_min(0.0))
}

crate::describe! {
    /// The mean of `max(1 − y_true · y_pred, 0)` over the last dimension.
    ///
    /// Targets are −1 or 1; a batch of only 0 and 1 is converted to −1 and 1.
    pub struct Hinge {
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "hinge".into(),
    }
}

impl Loss for Hinge {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        Ok(missing_margin(y_true, y_pred)?.mean_axis(last))
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }
}

crate::describe! {
    /// The mean of `max(1 − y_true · y_pred, 0)²` over the last dimension; targets as for [`Hinge`].
    pub struct SquaredHinge {
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "squared_hinge".into(),
    }
}

impl Loss for SquaredHinge {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        Ok(missing_margin(y_true, y_pred)?.square().mean_axis(last))
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }
}

crate::describe! {
    /// `max(1 + max((1 − y_true) · y_pred) − Σ y_true · y_pred, 0)` over the classes, for one-hot targets.
    pub struct CategoricalHinge {
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "categorical_hinge".into(),
    }
}

impl Loss for CategoricalHinge {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        let right = (y_true.clone() * y_pred.clone()).sum_axis(last);
        let wrong = (one_minus(y_true) * y_pred).max_axis(last);
        Ok((wrong - right).add_scalar(1.0).clamp_min(0.0))
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }
}
