//! The losses: the distance between predictions and targets, as one number to minimize.
//!
//! A loss is a description with Keras's arguments and a formula that returns one number per sample; the reduction over
//! the batch (`reduction`, sample weights) is the same for all. A custom loss implements the same trait:
//!
//! ```
//! use brasa::losses::Loss;
//! use brasa::{Result, Value};
//!
//! brasa::describe! {
//!     /// The mean of the fourth powers of the errors.
//!     pub struct QuarticError {}
//! }
//!
//! impl Loss for QuarticError {
//!     fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
//!         let last = y_pred.rank() - 1;
//!         Ok((y_pred - y_true).square().square().mean_axis(last))
//!     }
//! }
//! ```

mod circle;
mod crossentropy;
mod ctc;
mod divergence;
mod focal;
mod hinge;
mod list;
mod reduction;
mod regression;
mod segmentation;
mod sparse;

use std::fmt::Debug;

use crate::activations::Activation;
use crate::config::{Config, Configure};
use crate::error::{Error, Result};
use crate::ops::Value;
use crate::shape::Shape;

pub use circle::Circle;
pub use crossentropy::{BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy};
pub use ctc::CTC;
pub use divergence::{CategoricalGeneralizedCrossEntropy, KLDivergence, Poisson};
pub use focal::{BinaryFocalCrossentropy, CategoricalFocalCrossentropy, ClassFactors};
pub use hinge::{CategoricalHinge, Hinge, SquaredHinge};
pub use list::{LossArgument, names, register};
pub(crate) use list::{from_class, is_built_in_name, is_registered, without_late};
pub use reduction::Reduction;
pub(crate) use reduction::{Divisor, Reduced, spread};
pub(crate) use regression::cosines;
pub use regression::{
    CosineSimilarity, Huber, LogCosh, MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredError,
    MeanSquaredLogarithmicError,
};
pub use segmentation::{Dice, Tversky};
pub(crate) use sparse::{as_column, check_shape as check_label_shape, one_hot_like};

/// Keras's epsilon: probabilities are clipped this far from 0 and 1.
pub(crate) const EPSILON: f32 = 1e-7;

/// A loss.
pub trait Loss: LossObject + Debug + Send + Sync {
    /// The loss of each sample (and position, for outputs of more than one dimension).
    ///
    /// To compute a loss use [`value`](Self::value), or [`call`](#method.call) for that of each sample: they check the
    /// targets.
    ///
    /// # Shapes
    /// `y_pred` the model's output, `y_true` of a shape accepted by [`check_shape`](Self::check_shape), or of the
    /// output's shape if the two differ only by a last dimension of 1 → the output's shape with a last dimension of 1,
    /// or without it.
    ///
    /// # Errors
    /// [`Error::Shape`] for incompatible targets.
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value>;

    /// The loss of a batch, reduced to one element: Keras's `loss(y_true, y_pred)`.
    ///
    /// ```
    /// use brasa::Value;
    /// use brasa::losses::{Loss, MeanSquaredError};
    ///
    /// let device = brasa::burn::tensor::Device::flex();
    /// let y_true = Value::from_vec(vec![0.0, 1.0], &[2, 1], &device)?;
    /// let y_pred = Value::from_vec(vec![1.0, 1.0], &[2, 1], &device)?;
    /// assert_eq!(MeanSquaredError::default().value(&y_true, &y_pred)?.to_scalar()?, 0.5);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Shapes
    /// `y_true` (batch, …) as in the data, `y_pred` (batch, …) the model's output → one element.
    ///
    /// # Errors
    /// [`Error::Data`] for targets of a wrong shape, and the errors of the loss itself.
    fn value(&self, y_true: &Value, y_pred: &Value) -> Result<Value> {
        self.reduction().check()?;
        self.check()?;
        let y_true = match_shapes(y_true, y_pred, |target, output| self.check_shape(target, output))?;
        let losses = self.losses(y_true.clone(), y_pred.clone())?;
        let counted = self.counted(&y_true, &losses)?;
        self.reduction().reduce(losses, None, counted.as_ref())
    }

    /// Which of the losses count, 1 or 0 each; by default all. Ignored losses do not count in the divisor either.
    ///
    /// # Errors
    /// [`Error::Shape`] for incompatible targets.
    fn counted(&self, y_true: &Value, losses: &Value) -> Result<Option<Value>> {
        let _ = (y_true, losses);
        Ok(None)
    }

    /// Whether a mask of the output's steps selects the losses that count. A loss that returns one number for all steps
    /// of a sample, and whose targets select them, ignores masks.
    fn heeds_mask(&self) -> bool {
        true
    }

    /// Whether the loss of a sample is the same whatever else is in the batch, for outputs of `rank` dimensions. One
    /// number for a whole batch cannot be computed in parts, as in [distributed](crate::distributed) training.
    fn is_by_sample(&self, rank: usize) -> bool {
        let _ = rank;
        true
    }

    /// Refuses invalid arguments.
    ///
    /// # Errors
    /// [`Error::Argument`].
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The reduction of a batch's losses.
    fn reduction(&self) -> Reduction {
        Reduction::SumOverBatchSize
    }

    /// The equivalent loss on logits, for a model whose last activation is left out, if that is more precise.
    fn before_activation(&self, activation: &Activation) -> Option<Box<dyn Loss>> {
        let _ = activation;
        None
    }

    /// Refuses targets whose shape does not fit the model's output; by default the shapes must be equal up to a last
    /// dimension of 1.
    ///
    /// # Errors
    /// [`Error::Data`] with both shapes.
    fn check_shape(&self, target: &Shape, output: &Shape) -> Result<()> {
        same_shape(target, output)
    }

    /// Refuses invalid target values for outputs with `classes` as last dimension.
    ///
    /// # Errors
    /// [`Error::Data`] with the first invalid value.
    fn check_values(&self, targets: &[f32], classes: usize) -> Result<()> {
        let _ = classes;
        match targets.iter().find(|value| value.is_nan()) {
            None => Ok(()),
            Some(value) => Err(Error::data("targets", "numbers", value)),
        }
    }
}

/// Methods of every loss, implemented for each [`Configure`].
pub trait LossObject {
    /// Its class name.
    fn class_name(&self) -> &'static str;
    /// Its arguments.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if it holds something that cannot be serialized.
    fn config(&self) -> Result<Config>;
    /// A copy.
    fn boxed_clone(&self) -> Box<dyn Loss>;
    /// Whether it is built in.
    #[doc(hidden)]
    fn is_built_in(&self) -> bool;
}

impl<L: Loss + Configure + Clone + 'static> LossObject for L {
    fn class_name(&self) -> &'static str {
        L::CLASS_NAME
    }

    fn config(&self) -> Result<Config> {
        Configure::config(self)
    }

    fn boxed_clone(&self) -> Box<dyn Loss> {
        Box::new(self.clone())
    }

    fn is_built_in(&self) -> bool {
        list::is_built_in::<L>()
    }
}

impl dyn Loss + '_ {
    /// The loss of each sample, as by [`losses`](Loss::losses), with a check of the targets.
    ///
    /// # Shapes
    /// `y_true` (batch, …) as in the data, `y_pred` (batch, …) the model's output.
    ///
    /// # Errors
    /// [`Error::Data`] for targets of a wrong shape, and the errors of the loss itself.
    pub fn call(&self, y_true: &Value, y_pred: &Value) -> Result<Value> {
        let y_true = match_shapes(y_true, y_pred, |target, output| self.check_shape(target, output))?;
        self.losses(y_true, y_pred.clone())
    }
}

impl Clone for Box<dyn Loss> {
    fn clone(&self) -> Self {
        (**self).boxed_clone()
    }
}

/// The default rule for the shape of targets.
pub(crate) fn same_shape(target: &Shape, output: &Shape) -> Result<()> {
    let strip = |shape: &Shape| {
        let mut sizes = shape.sample().to_vec();
        if sizes.last() == Some(&Some(1)) {
            sizes.pop();
        }
        sizes
    };
    let fits = |(a, b): (&Option<usize>, &Option<usize>)| a.is_none() || b.is_none() || a == b;
    let (wanted, got) = (strip(output), strip(target));
    if wanted.len() == got.len() && wanted.iter().zip(&got).all(fits) {
        return Ok(());
    }
    Err(Error::data("targets y", format!("the shape of the model's output, {output}"), target))
}

/// `1 − value`.
pub(crate) fn one_minus(value: Value) -> Value {
    value.mul_scalar(-1.0).add_scalar(1.0)
}

/// A value of ones with the sizes of another.
pub(crate) fn ones_like(value: &Value) -> Result<Value> {
    Value::full(&value.sizes(), 1.0, &value.device())
}

/// Targets whose shape passes `check`, reshaped to the predictions' shape if the two differ by a last dimension of 1:
/// the input of every loss and metric.
pub(crate) fn match_shapes(
    y_true: &Value,
    y_pred: &Value,
    check: impl FnOnce(&Shape, &Shape) -> Result<()>,
) -> Result<Value> {
    let (target, output) = (y_true.sizes(), y_pred.sizes());
    if target[0] != output[0] {
        return Err(Error::data("targets y", format!("{} samples", output[0]), target[0]));
    }
    check(&Shape::batch_of(&target[1..]), &Shape::batch_of(&output[1..]))?;
    let strip = |sizes: &[usize]| sizes[1..].strip_suffix(&[1]).unwrap_or(&sizes[1..]).to_vec();
    // Labels for outputs of several classes are unchanged.
    if target == output || strip(&target) != strip(&output) {
        return Ok(y_true.clone());
    }
    y_true.clone().reshape(&output)
}

#[cfg(test)]
pub(crate) mod tests {
    use burn::tensor::Device;

    use super::*;

    /// A batch of rows.
    pub fn rows(values: &[&[f32]]) -> Value {
        let flat: Vec<f32> = values.iter().flat_map(|row| row.iter().copied()).collect();
        Value::from_vec(flat, &[values.len(), values[0].len()], &Device::flex()).unwrap()
    }

    #[test]
    fn shapes_that_differ_by_a_last_one_fit() {
        let fits = |target: Shape, output: Shape| same_shape(&target, &output).is_ok();
        assert!(fits(Shape::batch_of(()), Shape::batch_of(1)));
        assert!(fits(Shape::batch_of(1), Shape::batch_of(())));
        assert!(fits(Shape::batch_of((2, 3)), Shape::batch_of((2, 3))));
        assert!(!fits(Shape::batch_of(2), Shape::batch_of(3)));
        assert!(!fits(Shape::batch_of(()), Shape::batch_of(10)));
    }
}
