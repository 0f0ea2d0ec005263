//! Batch normalization over all axes but the last, by kernels.

use std::sync::Arc;

use super::Value;
use super::activations::Activation;
use super::activations::kernel_activation;
use super::cpu::{Gradient, Kernel, read, run};
use crate::error::Result;
use crate::kernels::activation::Activation as Fast;
use crate::kernels::batch_norm::{Affine, BatchNorm, backward, normalize, statistics};

/// Parameters of a normalization besides mean and variance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormalizationParameters<'a> {
    /// The learned factors, (channels).
    pub gamma: Option<&'a Value>,
    /// The learned summands, (channels).
    pub beta: Option<&'a Value>,
    /// Added to the variance.
    pub epsilon: f32,
    /// Applied at the end.
    pub activation: &'a Activation,
}

/// A normalized batch, with its statistics.
pub(crate) struct Normalized {
    /// The output, of the input's sizes.
    pub output: Value,
    /// The batch's means, (channels), without a graph.
    pub mean: Value,
    /// The batch's variances, (channels), without a graph.
    pub variance: Value,
}

/// `activation(gamma · (x − mean) / √(variance + ε) + beta)` with mean and variance of the batch; `None` without a
/// kernel.
pub(crate) fn normalize_batch(input: &Value, by: NormalizationParameters<'_>) -> Option<Normalized> {
    let (norm, activation) = by.kernel(input)?;
    let channels = norm.channels;
    let (mut mean, mut variance) = (vec![0.0; channels], vec![0.0; channels]);
    read([input], |[x]| statistics(&norm, x, &mut mean, &mut variance))?;
    let device = input.clone().detach().device();
    let value = |numbers: &[f32]| Value::from_vec(numbers.to_vec(), &[channels], &device).ok();
    let (batch_mean, batch_variance) = (value(&mean)?, value(&variance)?);
    let output = by.run(norm, activation, input, (mean, variance))?;
    Some(Normalized { output, mean: batch_mean, variance: batch_variance })
}

/// The same with a given mean and variance; `None` without a kernel, or if gradients are recorded.
pub(crate) fn normalize_by(
    input: &Value,
    mean: &Value,
    variance: &Value,
    by: NormalizationParameters<'_>,
) -> Option<Value> {
    let (norm, activation) = by.kernel(input)?;
    if [Some(input), by.gamma, by.beta].into_iter().flatten().any(Value::is_autodiff) {
        return None;
    }
    let [mean, variance] = [mean, variance].map(|value| read([value], |[numbers]| numbers.to_vec()));
    by.run(norm, activation, input, (mean?, variance?))
}

/// Multiplies each element by the factor of its position in the last `columns` dimensions.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the number of factors is not that of the positions.
pub(crate) fn scale_columns(value: &Value, factors: &Value, columns: usize) -> Result<Value> {
    let sizes = value.sizes();
    let (before, last) = sizes.split_at(sizes.len() - columns);
    let recorded = value.is_autodiff() || factors.is_autodiff();
    let scaled = if recorded { None } else { read([value, factors], |[x, by]| scaled(x, by)) };
    match scaled {
        Some(scaled) => Value::from_vec(scaled, &sizes, &value.device()),
        None => {
            let row = [vec![1; before.len()].as_slice(), last].concat();
            Ok(value.clone() * factors.clone().reshape(&row)?.expand(&sizes))
        }
    }
}

/// Rows as long as `factors`, multiplied by them elementwise.
fn scaled(x: &[f32], factors: &[f32]) -> Vec<f32> {
    let mut scaled = x.to_vec();
    for row in scaled.chunks_mut(factors.len().max(1)) {
        row.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
    }
    scaled
}

impl NormalizationParameters<'_> {
    /// The sizes and the activation in the kernels' form; `None` for an activation without one.
    fn kernel(&self, input: &Value) -> Option<(BatchNorm, Fast)> {
        let activation = kernel_activation(self.activation).filter(|fast| fast.gradient_needs_only_output())?;
        let channels = input.sizes().last().copied().filter(|channels| *channels > 0)?;
        Some((BatchNorm { rows: input.len() / channels, channels, epsilon: self.epsilon }, activation))
    }

    fn run(&self, norm: BatchNorm, activation: Fast, input: &Value, statistics: (Vec<f32>, Vec<f32>)) -> Option<Value> {
        let kernel = Normalize {
            norm,
            activation,
            scale: self.gamma.is_some(),
            sizes: input.sizes(),
            statistics: Arc::new(statistics),
        };
        match (self.gamma, self.beta) {
            (Some(gamma), Some(beta)) => run(&kernel, [input, gamma, beta]),
            (Some(only), None) | (None, Some(only)) => run(&kernel, [input, only]),
            (None, None) => run(&kernel, [input]),
        }
    }
}

/// The operation on the input and optionally gamma and beta. Its gradient is that of a normalization by the batch's own
/// mean and variance.
#[derive(Clone, Debug)]
struct Normalize {
    norm: BatchNorm,
    activation: Fast,
    /// Whether gamma is present.
    scale: bool,
    sizes: Vec<usize>,
    statistics: Arc<(Vec<f32>, Vec<f32>)>,
}

impl Normalize {
    fn affine<'a>(&self, inputs: &[&'a [f32]]) -> Affine<'a> {
        let mut rest = inputs.iter().skip(1).copied();
        Affine { gamma: if self.scale { rest.next() } else { None }, beta: rest.next() }
    }
}

impl<const N: usize> Kernel<N> for Normalize {
    type Saved = ();
    const NEEDS_OUTPUT: bool = true;

    fn output_sizes(&self) -> Vec<usize> {
        self.sizes.clone()
    }

    fn forward(&self, inputs: [&[f32]; N], output: &mut [f32], _: bool) {
        let (mean, variance) = &*self.statistics;
        normalize(&self.norm, inputs[0], mean, variance, self.affine(&inputs), self.activation, output);
    }

    fn backward(
        &self,
        inputs: [&[f32]; N],
        output: &[f32],
        (): &(),
        gradient: &mut Gradient<'_>,
        _: [bool; N],
    ) -> [Option<Vec<f32>>; N] {
        let (mean, variance) = &*self.statistics;
        let affine = self.affine(&inputs);
        let mut dx = gradient.take();
        let (mut dgamma, mut dbeta) = (vec![0.0; mean.len()], vec![0.0; mean.len()]);
        let statistics = (mean.as_slice(), variance.as_slice());
        backward(
            &self.norm,
            inputs[0],
            statistics,
            affine,
            (self.activation, output),
            &mut dx,
            &mut dgamma,
            &mut dbeta,
        );
        let gamma = affine.gamma.map(|_| dgamma);
        let mut gradients =
            std::iter::once(dx).chain(gamma).chain(affine.beta.map(|_| dbeta)).collect::<Vec<_>>().into_iter();
        std::array::from_fn(|_| gradients.next())
    }
}
