//! Crossentropy losses.

use super::{EPSILON, Loss, Reduction, one_hot_like, one_minus, same_shape, sparse};
use crate::activations::Activation;
use crate::error::{Error, Result};
use crate::ops::{self, Value};
use crate::shape::Shape;

/// The last axis, the only one supported for classes.
pub(super) fn check_axis(axis: isize, rank: usize) -> Result<usize> {
    if axis == -1 || axis == rank as isize - 1 {
        return Ok(rank - 1);
    }
    Err(Error::unsupported(format!("a crossentropy with axis={axis}"), "axis=-1"))
}

/// The logarithms of the classes' probabilities, clipped away from 0 and 1 as in Keras.
fn log_probabilities(y_pred: Value, from_logits: bool, axis: usize) -> Value {
    if from_logits {
        return y_pred.log_softmax(axis);
    }
    probabilities(y_pred, axis).clamp(EPSILON, 1.0 - EPSILON).log()
}

/// Probabilities normalized by their sum.
pub(super) fn probabilities(y_pred: Value, axis: usize) -> Value {
    let sizes = y_pred.sizes();
    let total = y_pred.clone().sum_axis(axis).expand(&sizes);
    y_pred / total
}

/// `−(t · log(p) + (1 − t) · log(1 − p))`, with p clipped away from 0 and 1.
pub(super) fn binary_losses(t: Value, p: Value) -> Value {
    let p = p.clamp(EPSILON, 1.0 - EPSILON);
    -(t.clone() * p.clone().log() + one_minus(t) * one_minus(p).log())
}

crate::describe! {
    /// `−Σ y_true · log(y_pred)` over the classes, for targets that are class probabilities.
    ///
    /// Probabilities are normalized by their sum and clipped 1e-7 away from 0 and 1. A model that ends in `softmax` is
    /// trained on its logits, which is the same without clipping, and precise.
    pub struct CategoricalCrossentropy {
        /// Whether the model's outputs are logits rather than probabilities.
        from_logits: bool = false,
        /// The fraction of the targets to spread evenly over all classes.
        label_smoothing: f32 = 0.0,
        /// The axis of the classes.
        axis: isize = -1,
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "categorical_crossentropy".into(),
    }
}

impl Loss for CategoricalCrossentropy {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let axis = check_axis(self.axis, y_pred.rank())?;
        let classes = y_pred.sizes()[axis] as f32;
        let y_true = y_true.mul_scalar(1.0 - self.label_smoothing).add_scalar(self.label_smoothing / classes);
        Ok(-(y_true * log_probabilities(y_pred, self.from_logits, axis)).sum_axis(axis))
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }

    fn check(&self) -> Result<()> {
        check_smoothing(self.label_smoothing)
    }

    fn before_activation(&self, activation: &Activation) -> Option<Box<dyn Loss>> {
        let applies = !self.from_logits && *activation == Activation::Softmax;
        applies.then(|| Box::new(self.clone().from_logits(true)) as Box<dyn Loss>)
    }

    fn check_shape(&self, target: &Shape, output: &Shape) -> Result<()> {
        same_shape(target, output).map_err(|error| match error {
            Error::Data { what, expected, received } if target.rank() < output.rank() => Error::Data {
                what,
                expected: format!("{expected} (for integer labels use sparse_categorical_crossentropy)"),
                received,
            },
            error => error,
        })
    }
}

crate::describe! {
    /// `−log(y_pred[label])` for integer labels.
    ///
    /// Like [`CategoricalCrossentropy`] with a one-hot target. Labels outside the classes are refused before anything
    /// is computed.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(10).activation("softmax").input_shape(4))?;
    /// model.compile(Compile::new(Adam::new(1e-3), "sparse_categorical_crossentropy"))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// An invalid label is refused in training. In a metric such a label adds 0, as in Keras on JAX; with logits on the
    /// CPU it makes the result NaN, as in Keras on TensorFlow.
    pub struct SparseCategoricalCrossentropy {
        /// Whether the model's outputs are logits rather than probabilities.
        from_logits: bool = false,
        /// A label whose samples are ignored.
        ignore_class: Option<isize> = None,
        /// The axis of the classes.
        axis: isize = -1,
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "sparse_categorical_crossentropy".into(),
    }
}

impl Loss for SparseCategoricalCrossentropy {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let axis = check_axis(self.axis, y_pred.rank())?;
        if self.from_logits
            && self.ignore_class.is_none()
            && let Some(losses) = ops::fast_sparse_cross_entropy(&y_pred, &y_true)
        {
            return Ok(losses);
        }
        let one_hot = one_hot_like(y_true.clone(), &y_pred, axis)?;
        let losses = -(one_hot * log_probabilities(y_pred, self.from_logits, axis)).sum_axis(axis);
        Ok(match self.counted(&y_true, &losses)? {
            Some(counted) => losses * counted,
            None => losses,
        })
    }

    fn counted(&self, y_true: &Value, losses: &Value) -> Result<Option<Value>> {
        let Some(ignored) = self.ignore_class else { return Ok(None) };
        let counted = one_minus(y_true.clone().equal_scalar(ignored as f32));
        counted.reshape(&losses.sizes()).map(Some)
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }

    fn before_activation(&self, activation: &Activation) -> Option<Box<dyn Loss>> {
        let applies = !self.from_logits && *activation == Activation::Softmax;
        applies.then(|| Box::new(self.clone().from_logits(true)) as Box<dyn Loss>)
    }

    fn check_shape(&self, target: &Shape, output: &Shape) -> Result<()> {
        sparse::check_shape(target, output)
    }

    fn check_values(&self, targets: &[f32], classes: usize) -> Result<()> {
        sparse::check_labels(targets, classes, self.ignore_class)
    }
}

crate::describe! {
    /// `−(t · log(p) + (1 − t) · log(1 − p))`, averaged over the last dimension.
    ///
    /// Probabilities are clipped 1e-7 away from 0 and 1. A model that ends in `sigmoid` is trained on its logits, by `t
    /// · softplus(−x) + (1 − t) · softplus(x)`.
    pub struct BinaryCrossentropy {
        /// Whether the model's outputs are logits rather than probabilities.
        from_logits: bool = false,
        /// The amount by which targets are moved towards 1/2.
        label_smoothing: f32 = 0.0,
        /// The axis of the mean.
        axis: isize = -1,
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "binary_crossentropy".into(),
    }
}

impl Loss for BinaryCrossentropy {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let axis = check_axis(self.axis, y_pred.rank())?;
        let t = y_true.mul_scalar(1.0 - self.label_smoothing).add_scalar(self.label_smoothing / 2.0);
        let losses = if self.from_logits {
            // In this form the gradient is also correct at 0.
            let missing = Activation::Softplus.apply(-y_pred.clone())?;
            t.clone() * missing + one_minus(t) * Activation::Softplus.apply(y_pred)?
        } else {
            binary_losses(t, y_pred)
        };
        Ok(losses.mean_axis(axis))
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }

    fn check(&self) -> Result<()> {
        check_smoothing(self.label_smoothing)
    }

    fn before_activation(&self, activation: &Activation) -> Option<Box<dyn Loss>> {
        let applies = !self.from_logits && *activation == Activation::Sigmoid;
        applies.then(|| Box::new(self.clone().from_logits(true)) as Box<dyn Loss>)
    }
}

pub(super) fn check_smoothing(smoothing: f32) -> Result<()> {
    if (0.0..=1.0).contains(&smoothing) {
        return Ok(());
    }
    Err(Error::argument("label_smoothing", "a number from 0 to 1", smoothing))
}

#[cfg(test)]
mod tests {
    use super::super::tests::rows;
    use super::*;

    fn close(value: Value, wanted: &[f32]) {
        let got = value.to_vec().unwrap();
        assert!(got.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-5) && got.len() == wanted.len(), "{got:?}");
    }

    #[test]
    fn logits_and_probabilities_agree() {
        let logits = rows(&[&[1.0, 2.0, 0.5], &[0.0, 0.0, 3.0]]);
        let probabilities = logits.clone().softmax(1);
        let labels = rows(&[&[1.0], &[0.0]]);
        let from = |logits: bool, value: Value| {
            SparseCategoricalCrossentropy::default().from_logits(logits).losses(labels.clone(), value).unwrap()
        };
        let wanted = from(true, logits).to_vec().unwrap();
        close(from(false, probabilities.clone()), &wanted);
        let one_hot = rows(&[&[0.0, 1.0, 0.0], &[1.0, 0.0, 0.0]]);
        close(CategoricalCrossentropy::default().losses(one_hot, probabilities).unwrap(), &wanted);
    }

    #[test]
    fn an_ignored_class_has_no_loss() {
        let loss = SparseCategoricalCrossentropy::default().ignore_class(Some(-1));
        let losses = loss.losses(rows(&[&[-1.0], &[0.0]]), rows(&[&[0.5, 0.5], &[0.5, 0.5]])).unwrap();
        close(losses, &[0.0, 0.5f32.ln().abs()]);
        assert!(loss.check_values(&[-1.0, 1.0], 2).is_ok());
        assert!(loss.check_values(&[-2.0], 2).is_err());
    }

    #[test]
    fn labels_outside_the_classes_are_refused() {
        let loss = SparseCategoricalCrossentropy::default();
        for label in [10.0, -1.0, 0.5, f32::NAN] {
            let error = loss.check_values(&[3.0, label], 10).unwrap_err().to_string();
            assert!(error.contains("from 0 to 9"), "{error}");
        }
    }

    #[test]
    fn smoothing_moves_binary_targets_by_half_of_it() {
        let loss = BinaryCrossentropy::default().label_smoothing(0.2);
        let p = 0.8f32;
        close(loss.losses(rows(&[&[1.0]]), rows(&[&[p]])).unwrap(), &[-(0.9 * p.ln() + 0.1 * (1.0 - p).ln())]);
    }

    #[test]
    fn the_gradient_of_a_zero_logit_is_probability_minus_target() {
        let logits = rows(&[&[0.0], &[0.0]]).require_grad();
        let loss = BinaryCrossentropy::default().from_logits(true);
        let losses = loss.losses(rows(&[&[1.0], &[0.0]]), logits.clone()).unwrap();
        let mut gradients = losses.sum().backward().unwrap();
        close(logits.take_gradient(&mut gradients).unwrap(), &[-0.5, 0.5]);
    }

    #[test]
    fn binary_logits_and_probabilities_agree() {
        let logits = rows(&[&[2.0, -1.0]]);
        let p = logits.clone().to_vec().unwrap().iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect::<Vec<_>>();
        let targets = rows(&[&[1.0, 0.0]]);
        let direct = BinaryCrossentropy::default().losses(targets.clone(), rows(&[&p])).unwrap().to_vec().unwrap();
        close(BinaryCrossentropy::default().from_logits(true).losses(targets, logits).unwrap(), &direct);
    }
}
