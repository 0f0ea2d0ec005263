//! Multi-head attention by a kernel.

use std::sync::Arc;

use super::Value;
use super::buffers::{buffer, give_back};
use super::cpu::{Gradient, Kernel, run};
use crate::kernels::attention::{Attention, Masks, Parts, backward, forward};

/// The operands of an attention: queries `(batch, T, heads, size)`, keys `(batch, S, groups, size)` and values
/// `(batch, S, groups, width)`.
pub(crate) struct Attended<'a> {
    pub queries: &'a Value,
    pub keys: &'a Value,
    pub values: &'a Value,
    /// Which scores `(batch, heads, T, S)` count, 1 or 0 for each.
    pub counted: Option<Value>,
    /// Factors of the scores after the softmax.
    pub kept: Option<Value>,
    /// The value of masked scores before the softmax, and whether they are 0 after it, whatever the others are.
    pub masked: (f32, bool),
}

/// `softmax(Q · Kᵀ / √size) · V` in each head, `(batch, T, heads, width)`; `None` without a kernel.
pub(crate) fn fast_attention(attended: Attended<'_>) -> Option<Value> {
    let Attended { queries, keys, values, counted, kept, masked: (masked, zero_masked) } = attended;
    let [batch, rows, heads, size] = <[usize; 4]>::try_from(queries.sizes()).ok()?;
    let [_, columns, groups, _] = <[usize; 4]>::try_from(keys.sizes()).ok()?;
    let width = *values.sizes().last()?;
    let scale = 1.0 / (size as f32).sqrt();
    let sizes = Attention { batch, rows, columns, heads, groups, size, width, scale, masked, zero_masked };
    if batch == 0 || !sizes.fits() {
        return None;
    }
    let heads = InHeads { sizes, is_masked: counted.is_some() };
    let all: Vec<&Value> = [queries, keys, values].into_iter().chain(&counted).chain(&kept).collect();
    match all[..] {
        [q, k, v] => run(&heads, [q, k, v]),
        [q, k, v, a] => run(&heads, [q, k, v, a]),
        [q, k, v, a, b] => run(&heads, [q, k, v, a, b]),
        _ => None,
    }
}

/// The operation on queries, keys, values and masks.
#[derive(Clone, Debug)]
struct InHeads {
    sizes: Attention,
    /// Whether the first mask is that of the scores that count.
    is_masked: bool,
}

impl InHeads {
    fn masks<'a>(&self, inputs: &[&'a [f32]]) -> Masks<'a> {
        let mut masks = inputs[3..].iter().copied();
        Masks { counted: if self.is_masked { masks.next() } else { None }, kept: masks.next() }
    }
}

fn parts<'a>(inputs: &[&'a [f32]]) -> Parts<&'a [f32]> {
    Parts { queries: inputs[0], keys: inputs[1], values: inputs[2] }
}

/// The scores, saved for the backward pass.
#[derive(Debug)]
struct SavedScores(Vec<f32>);

impl Drop for SavedScores {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.0));
    }
}

impl<const N: usize> Kernel<N> for InHeads {
    type Saved = Arc<SavedScores>;
    const NEEDS_OUTPUT: bool = false;

    fn output_sizes(&self) -> Vec<usize> {
        let Attention { batch, rows, heads, width, .. } = self.sizes;
        vec![batch, rows, heads, width]
    }

    fn forward(&self, inputs: [&[f32]; N], output: &mut [f32], _: bool) -> Self::Saved {
        let mut scores = buffer(self.sizes.scores());
        forward(&self.sizes, parts(&inputs), self.masks(&inputs), &mut scores, output);
        Arc::new(SavedScores(scores))
    }

    fn backward(
        &self,
        inputs: [&[f32]; N],
        _: &[f32],
        memory: &Self::Saved,
        gradient: &mut Gradient<'_>,
        _: [bool; N],
    ) -> [Option<Vec<f32>>; N] {
        let [mut queries, mut keys, mut values] = [0, 1, 2].map(|index: usize| buffer(inputs[index].len()));
        let gradients = Parts { queries: &mut queries[..], keys: &mut keys[..], values: &mut values[..] };
        backward(&self.sizes, parts(&inputs), self.masks(&inputs), &memory.0, gradient, gradients);
        let mut gradients = [queries, keys, values].into_iter();
        std::array::from_fn(|_| gradients.next())
    }
}
