//! Focal losses, which discount easy samples (Lin et al. 2017).

use serde::{Deserialize, Serialize};

use super::crossentropy::{binary_losses, check_axis, check_smoothing, probabilities};
use super::{EPSILON, Loss, Reduction, one_minus, same_shape};
use crate::activations::Activation;
use crate::config::Argument;
use crate::error::{Error, Result};
use crate::ops::Value;
use crate::shape::Shape;

fn check_gamma(gamma: f32) -> Result<()> {
    if gamma.is_finite() && gamma >= 0.0 {
        return Ok(());
    }
    Err(Error::argument("gamma", "a number of at least 0", gamma))
}

crate::describe! {
    /// Binary crossentropy times `(1 − p)^gamma`, where p is the probability of the true class; averaged over the last
    /// dimension.
    pub struct BinaryFocalCrossentropy {
        /// Whether to weight the two classes by `alpha` and `1 − alpha`.
        apply_class_balancing: bool = false,
        /// The weight of class 1.
        alpha: f32 = 0.25,
        /// The exponent of the discount of easy samples.
        gamma: f32 = 2.0,
        /// Whether the model's outputs are logits rather than probabilities.
        from_logits: bool = false,
        /// The amount by which targets are moved towards 1/2.
        label_smoothing: f32 = 0.0,
        /// The axis of the mean.
        axis: isize = -1,
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "binary_focal_crossentropy".into(),
    }
}

impl Loss for BinaryFocalCrossentropy {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let axis = check_axis(self.axis, y_pred.rank())?;
        let t = y_true.mul_scalar(1.0 - self.label_smoothing).add_scalar(self.label_smoothing / 2.0);
        let p = if self.from_logits { Activation::Sigmoid.apply(y_pred)? } else { y_pred };
        let right = t.clone() * p.clone() + one_minus(t.clone()) * one_minus(p.clone());
        let mut losses = power(one_minus(right), self.gamma) * binary_losses(t.clone(), p);
        if self.apply_class_balancing {
            losses = losses * (t.clone().mul_scalar(self.alpha) + one_minus(t).mul_scalar(1.0 - self.alpha));
        }
        Ok(losses.mean_axis(axis))
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }

    fn check(&self) -> Result<()> {
        check_smoothing(self.label_smoothing)?;
        check_gamma(self.gamma)
    }
}

crate::describe! {
    /// `−Σ alpha · (1 − p)^gamma · y_true · log(p)` over the classes, where p is the probability of each, for targets
    /// that are class probabilities.
    pub struct CategoricalFocalCrossentropy {
        /// A weight for all classes, or one per class.
        alpha: ClassFactors = ClassFactors::One(0.25),
        /// The exponent of the discount of easy samples.
        gamma: f32 = 2.0,
        /// Whether the model's outputs are logits rather than probabilities.
        from_logits: bool = false,
        /// The fraction of the targets to spread evenly over all classes.
        label_smoothing: f32 = 0.0,
        /// The axis of the classes.
        axis: isize = -1,
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "categorical_focal_crossentropy".into(),
    }
}

impl Loss for CategoricalFocalCrossentropy {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let axis = check_axis(self.axis, y_pred.rank())?;
        let classes = y_pred.sizes()[axis] as f32;
        let t = y_true.mul_scalar(1.0 - self.label_smoothing).add_scalar(self.label_smoothing / classes);
        let p = probabilities(if self.from_logits { y_pred.softmax(axis) } else { y_pred }, axis);
        let p = p.clamp(EPSILON, 1.0 - EPSILON);
        let factor = power(one_minus(p.clone()), self.gamma);
        let factor = match &self.alpha {
            ClassFactors::One(alpha) => factor.mul_scalar(*alpha),
            ClassFactors::Several(alphas) => {
                let sizes = p.sizes();
                if alphas.len() != sizes[axis] {
                    let expected = format!("one number, or one for each of the {} classes", sizes[axis]);
                    return Err(Error::argument("alpha", expected, format!("{} numbers", alphas.len())));
                }
                let alphas = Value::from_vec(alphas.clone(), &[alphas.len()], &p.device())?;
                factor * alphas.broadcast(&[axis], &sizes)?
            }
        };
        Ok(-(factor * t * p.log()).sum_axis(axis))
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }

    fn check_shape(&self, target: &Shape, output: &Shape) -> Result<()> {
        same_shape(target, output)?;
        match (&self.alpha, output.sizes().last().copied().flatten()) {
            (ClassFactors::Several(alphas), Some(classes)) if alphas.len() != classes => {
                let expected = format!("one number, or one for each of the {classes} classes");
                Err(Error::argument("alpha", expected, format!("{} numbers", alphas.len())))
            }
            _ => Ok(()),
        }
    }

    fn check(&self) -> Result<()> {
        check_smoothing(self.label_smoothing)?;
        check_gamma(self.gamma)
    }
}

/// A factor for all classes, or one per class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClassFactors {
    /// For all classes.
    One(f32),
    /// One per class, in order.
    Several(Vec<f32>),
}

impl Argument<ClassFactors> for f32 {
    fn into_argument(self) -> ClassFactors {
        ClassFactors::One(self)
    }
}

impl<const N: usize> Argument<ClassFactors> for [f32; N] {
    fn into_argument(self) -> ClassFactors {
        ClassFactors::Several(self.into())
    }
}

impl Argument<ClassFactors> for Vec<f32> {
    fn into_argument(self) -> ClassFactors {
        ClassFactors::Several(self)
    }
}

/// Squares by multiplication: the gradient of a power at 0 is undefined on some backends.
fn power(value: Value, exponent: f32) -> Value {
    if exponent == 2.0 { value.square() } else { value.powf(exponent) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::rows;
    use super::*;

    /// The values are those of Keras 3.15.1.
    #[test]
    fn each_class_can_have_its_own_factor() {
        let y_true = rows(&[&[0.0, 1.0, 0.0], &[0.0, 0.0, 1.0]]);
        let y_pred = rows(&[&[0.05, 0.95, 0.0], &[0.1, 0.8, 0.1]]);
        let loss = CategoricalFocalCrossentropy::default().alpha([0.1, 0.5, 0.4]);
        let losses = loss.losses(y_true.clone(), y_pred.clone()).unwrap().to_vec().unwrap();
        assert!(losses.iter().zip([6.411_666e-5, 0.746_037_54]).all(|(a, b)| (a - b).abs() < 1e-6), "{losses:?}");
        let error = CategoricalFocalCrossentropy::default().alpha(vec![0.1]).losses(y_true, y_pred).unwrap_err();
        assert!(error.to_string().contains("each of the 3 classes"), "{error}");
    }
}
