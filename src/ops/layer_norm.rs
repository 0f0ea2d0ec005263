//! Layer normalization by a kernel.

use std::sync::Arc;

use super::Value;
use super::buffers::{buffer, give_back};
use super::cpu::{Gradient, Kernel, run};
use crate::kernels::layer_norm::{Statistics, backward, forward};

/// `(x − mean) / √(variance + epsilon) · gamma + beta` over the last `axes` axes; `None` without a kernel.
///
/// # Shapes
/// input (…, sizes of the axes), gamma and beta with the number of values of the axes → the input's.
pub(crate) fn fast_layer_norm(
    input: &Value,
    axes: usize,
    epsilon: f32,
    gamma: Option<&Value>,
    beta: Option<&Value>,
) -> Option<Value> {
    let sizes = input.sizes();
    let width = sizes[sizes.len() - axes..].iter().product();
    if width == 0 {
        return None;
    }
    let normalized = LayerNorm { sizes, width, epsilon, has_gamma: gamma.is_some(), has_beta: beta.is_some() };
    let inputs: Vec<&Value> = [input].into_iter().chain(gamma).chain(beta).collect();
    match inputs[..] {
        [x] => run(&normalized, [x]),
        [x, a] => run(&normalized, [x, a]),
        [x, a, b] => run(&normalized, [x, a, b]),
        _ => None,
    }
}

/// The operation on the input and, where present, gamma and beta.
#[derive(Clone, Debug)]
struct LayerNorm {
    sizes: Vec<usize>,
    width: usize,
    epsilon: f32,
    has_gamma: bool,
    has_beta: bool,
}

/// The mean and the factor of each row, saved for the backward pass.
#[derive(Debug)]
struct SavedStatistics(Statistics<Vec<f32>>);

impl Drop for SavedStatistics {
    fn drop(&mut self) {
        [&mut self.0.mean, &mut self.0.factor].into_iter().for_each(|part| give_back(std::mem::take(part)));
    }
}

impl LayerNorm {
    fn gamma<'a>(&self, inputs: &[&'a [f32]]) -> Option<&'a [f32]> {
        self.has_gamma.then(|| inputs[1])
    }
}

impl<const N: usize> Kernel<N> for LayerNorm {
    type Saved = Arc<SavedStatistics>;
    const NEEDS_OUTPUT: bool = false;

    fn output_sizes(&self) -> Vec<usize> {
        self.sizes.clone()
    }

    fn forward(&self, inputs: [&[f32]; N], output: &mut [f32], _: bool) -> Self::Saved {
        let rows = output.len() / self.width;
        let mut memory = SavedStatistics(Statistics { mean: buffer(rows), factor: buffer(rows) });
        let statistics = Statistics { mean: &mut memory.0.mean[..], factor: &mut memory.0.factor[..] };
        let beta = self.has_beta.then(|| inputs[1 + usize::from(self.has_gamma)]);
        forward(self.width, self.epsilon, inputs[0], self.gamma(&inputs), beta, output, statistics);
        Arc::new(memory)
    }

    fn backward(
        &self,
        inputs: [&[f32]; N],
        _: &[f32],
        memory: &Self::Saved,
        gradient: &mut Gradient<'_>,
        _: [bool; N],
    ) -> [Option<Vec<f32>>; N] {
        let mut dx = buffer(inputs[0].len());
        let (mut dgamma, mut dbeta) = (vec![0.0; self.width], vec![0.0; self.width]);
        let statistics = Statistics { mean: &memory.0.mean[..], factor: &memory.0.factor[..] };
        let weights = (&mut dgamma[..], &mut dbeta[..]);
        backward(self.width, inputs[0], self.gamma(&inputs), statistics, gradient, &mut dx, weights);
        let weights = [(dgamma, self.has_gamma), (dbeta, self.has_beta)];
        let mut gradients = std::iter::once(dx).chain(weights.into_iter().filter(|own| own.1).map(|own| own.0));
        std::array::from_fn(|_| gradients.next())
    }
}
