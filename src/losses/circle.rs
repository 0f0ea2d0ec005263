//! `Circle`: a metric learning loss for embeddings.

use super::{Loss, Reduction, one_minus};
use crate::activations::Activation;
use crate::error::{Error, Result};
use crate::memory;
use crate::ops::Value;
use crate::shape::{Shape, check_count};

crate::describe! {
    /// Circle loss (Sun et al. 2020): pulls embeddings of the same label together and pushes others apart, each pair
    /// weighted by its distance from the optimum.
    ///
    /// `softplus(logsumexp(−γ·w⁺·(m − d)) + logsumexp(γ·w⁻·(1 − m − d)))` over the other samples of the batch, where d
    /// is one minus the cosine, `w⁺ = max(m + d, 0)` and `w⁻ = max(1 + m − d, 0)`. The mean is taken over the samples
    /// whose loss is above 0. Predictions are vectors of length 1 (see `UnitNormalization`), targets integer labels.
    pub struct Circle {
        /// The scale of the similarities.
        gamma: f32 = 80.0,
        /// The margin between labels.
        margin: f32 = 0.4,
        /// Whether to exclude the pair of a sample with itself.
        remove_diagonal: bool = true,
        /// The reduction of a batch's losses.
        reduction: Reduction = Reduction::SumOverBatchSize,
        /// The loss's name.
        name: String = "circle".into(),
    }
}

/// The number of pairwise matrices held at once, in training.
const COPIES: usize = 16;

/// A finite replacement for the logarithm of 0.
const LOG_OF_ZERO: f32 = -1e30;

/// `log Σ exp(values)` over the rows, where `mask` is 1.
fn log_sum_exp(values: Value, mask: &Value) -> Value {
    let sizes = values.sizes();
    let masked = values * mask.clone() + one_minus(mask.clone()).mul_scalar(LOG_OF_ZERO);
    let largest = masked.clone().detach().max_axis(1);
    (masked - largest.clone().expand(&sizes)).exp().sum_axis(1).log() + largest
}

impl Loss for Circle {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let samples = y_pred.sizes()[0];
        let square = [samples, samples];
        // The label matches, the distances, and intermediate results of the sums.
        memory::check_room("the loss Circle", check_count(&square)?.saturating_mul(COPIES))?;
        let rows = y_true.clone().reshape(&[samples, 1])?.expand(&square);
        let same = rows.equal(y_true.reshape(&[1, samples])?.expand(&square));
        let negative = one_minus(same.clone());
        let positive = if self.remove_diagonal {
            let others = (0..samples * samples).map(|i| f32::from(i / samples != i % samples)).collect();
            same * Value::from_vec(others, &square, &y_pred.device())?
        } else {
            same
        };
        let distance = one_minus(y_pred.clone().matmul(y_pred.permute(&[1, 0]))).clamp_min(0.0);
        let pull = (distance.clone().add_scalar(self.margin) * positive.clone()).clamp_min(0.0);
        let push = (one_minus(distance.clone()).add_scalar(self.margin) * negative.clone()).clamp_min(0.0);
        let near = distance.clone().add_scalar(-self.margin) * pull;
        let far = one_minus(distance).add_scalar(-self.margin) * push;
        let gamma = |value: Value| value.mul_scalar(self.gamma);
        let total = log_sum_exp(gamma(near), &positive) + log_sum_exp(gamma(far), &negative);
        // The sum for two empty sets must not overflow.
        Activation::Softplus.apply(total.clamp_min(LOG_OF_ZERO))
    }

    fn counted(&self, _: &Value, losses: &Value) -> Result<Option<Value>> {
        Ok(Some(losses.clone().detach().greater_scalar(0.0)))
    }

    fn is_by_sample(&self, _: usize) -> bool {
        false
    }

    fn reduction(&self) -> Reduction {
        self.reduction
    }

    fn check(&self) -> Result<()> {
        if self.gamma.is_finite() && self.gamma > 0.0 {
            return Ok(());
        }
        Err(Error::argument("gamma", "a number above 0", self.gamma))
    }

    fn check_shape(&self, target: &Shape, output: &Shape) -> Result<()> {
        let labels = target.rank() == 1 || target.rank() == 2 && target.sample() == [Some(1)];
        if labels && output.rank() == 2 {
            return Ok(());
        }
        let expected = "one integer label for each sample, and outputs of one dimension";
        Err(Error::data("targets y", expected, format!("shape {target} for outputs {output}")))
    }

    fn check_values(&self, targets: &[f32], _: usize) -> Result<()> {
        match targets.iter().find(|label| label.fract() != 0.0 || label.is_nan()) {
            None => Ok(()),
            Some(label) => Err(Error::data("labels y", "whole numbers", label)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::rows;
    use super::*;

    fn close(got: &[f32], wanted: &[f32]) {
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 2e-5 * b.abs().max(1.0);
        assert!(got.len() == wanted.len() && got.iter().zip(wanted).all(near), "{got:?}");
    }

    /// The values are those of Keras 3.15.1.
    #[test]
    fn losses_are_those_of_keras() {
        let y_pred = rows(&[
            &[0.661_216_86, -0.713_418_2, 0.232_005_91],
            &[-0.545_187_65, -0.697_519_5, -0.465_012_97],
            &[-0.255_805_55, 0.049_510_747, -0.965_459_6],
            &[0.487_914_17, 0.254_799_63, -0.834_875_4],
            &[0.554_424_6, 0.706_984_4, 0.439_074_5],
        ]);
        let y_true = rows(&[&[0.0], &[1.0], &[0.0], &[2.0], &[1.0]]);
        let loss = Circle::default();
        let losses = loss.losses(y_true.clone(), y_pred.clone()).unwrap();
        close(&losses.to_vec().unwrap(), &[138.871_73, 318.806_9, 176.152_59, 0.0, 307.064_4]);
        let reduce = |weights: Option<&Value>| {
            let counted = loss.counted(&y_true, &losses).unwrap();
            Reduction::SumOverBatchSize.reduce(losses.clone(), weights, counted.as_ref()).unwrap().to_vec().unwrap()
        };
        close(&reduce(None), &[235.223_9]);
        let weights = rows(&[&[1.0, 2.0, 0.5, 1.0, 0.0]]).reshape(&[5]).unwrap();
        close(&reduce(Some(&weights)), &[216.140_46]);
        let other = Circle::default().gamma(10.0).margin(0.2).remove_diagonal(false);
        let losses = other.losses(y_true.clone(), y_pred).unwrap();
        let counted = other.counted(&y_true, &losses).unwrap();
        close(&Reduction::Mean.reduce(losses, None, counted.as_ref()).unwrap().to_vec().unwrap(), &[26.433_247]);
    }

    #[test]
    fn samples_of_a_single_label_have_finite_gradients() {
        let y_pred = rows(&[&[1.0, 0.0], &[0.0, 1.0]]).require_grad();
        let losses = Circle::default().losses(rows(&[&[0.0], &[0.0]]), y_pred.clone()).unwrap();
        let mut gradients = losses.sum().backward().unwrap();
        let gradient = y_pred.take_gradient(&mut gradients).unwrap().to_vec().unwrap();
        assert!(gradient.iter().all(|value| value.is_finite()), "{gradient:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn batches_whose_square_exceeds_memory_are_refused() {
        let column = crate::ops::Value::full(&[1 << 19, 1], 0.0, &burn::tensor::Device::flex()).unwrap();
        let error = Circle::default().losses(column.clone(), column).unwrap_err();
        assert!(matches!(&error, Error::Memory { .. }) && error.to_string().contains("the loss Circle"), "{error}");
    }
}
