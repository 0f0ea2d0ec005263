//! Multi-head attention as a step of a predictor.

use super::Three;
use crate::kernels::aligned::Weights;
use crate::kernels::attention::{Attention, Parts, PreparedAttention, PreparedMultiHead};
use crate::layers::core::FrozenDense;
use crate::layers::{Arguments, Freezing, Frozen, FrozenStep};

/// An attention to be compiled, with nothing but its four projections: no window, no gate.
pub(super) struct Freezable {
    /// Heads of the query, and of key and value.
    pub heads: usize,
    pub groups: usize,
    /// Features of a head of query and key, and of the value.
    pub size: usize,
    pub width: usize,
    pub use_bias: bool,
}

impl Freezable {
    /// The step for inputs of one axis of steps, `(steps, features)`.
    pub fn step(&self, freezing: &Freezing<'_>, arguments: &Arguments) -> Option<Frozen> {
        let is_causal = is_causal(arguments)?;
        let Three([query, value, key]) = Three::of(freezing.inputs).ok()?;
        let steps_and_features = |sizes: &[usize]| <[usize; 2]>::try_from(sizes).ok();
        let [rows, of_query] = steps_and_features(&query)?;
        let [columns, of_value] = steps_and_features(&value)?;
        let [steps, of_key] = steps_and_features(&key)?;
        let (_, features) = freezing.output.split_first()?;
        let features = features.iter().try_fold(1usize, |features, size| features.checked_mul(*size))?;
        if steps != columns {
            return None;
        }
        let Self { heads, groups, size, width, use_bias } = *self;
        let scale = 1.0 / (size as f32).sqrt();
        let (masked, zero_masked) = (0.0, false);
        let sizes = Attention { batch: 1, rows, columns, heads, groups, size, width, scale, masked, zero_masked };
        // The layers give masked scores a value so low that its exponential is 0, so they can be left out.
        let attention = if is_causal { PreparedAttention::causal(&sizes)? } else { PreparedAttention::new(&sizes)? };
        // The kernels are those of heads side by side.
        let projection = |index: usize, rows: usize, inputs: usize, units: usize| {
            let first = index * (1 + usize::from(use_bias));
            let bias = if use_bias { Some(freezing.weight(first + 1)?) } else { None };
            FrozenDense::packed((inputs, units), rows, &freezing.weight(first)?, bias.as_deref())
        };
        let projections = Parts {
            queries: projection(0, rows, of_query, heads * size)?,
            keys: projection(1, columns, of_key, groups * size)?,
            values: projection(2, columns, of_value, groups * width)?,
        };
        let output = projection(3, rows, heads * width, features)?;
        let prepared = PreparedMultiHead::new(attention, projections, output);
        Some(FrozenAttention { prepared, accumulates: false }.into())
    }
}

/// Whether a call's arguments ask for the causal mask; `None` if they ask for anything else: other masks, the scores.
fn is_causal(arguments: &Arguments) -> Option<bool> {
    let (causal, scores) = ("use_causal_mask", "return_attention_scores");
    arguments.expect_only(&[causal, scores]).ok()?;
    if arguments.named().next().is_some() || arguments.flag(scores).ok()? {
        return None;
    }
    arguments.flag(causal).ok()
}

/// The layer in a predictor, on a query, a value and perhaps a key.
#[derive(Debug)]
struct FrozenAttention {
    prepared: PreparedMultiHead,
    /// Whether the result is added to what the output holds.
    accumulates: bool,
}

impl FrozenStep for FrozenAttention {
    fn operations(&self) -> usize {
        self.prepared.operations()
    }

    fn weights_mut(&mut self) -> Vec<&mut Weights> {
        self.prepared.weights_mut()
    }

    fn workspace(&self, samples: usize, threads: usize) -> usize {
        self.prepared.workspace(samples, threads)
    }

    fn accumulate(&mut self) -> bool {
        self.accumulates = true;
        true
    }

    fn run(&self, inputs: &[&[f32]], _: usize, threads: usize, output: &mut [f32]) {
        let (queries, values) = (inputs[0], inputs[1]);
        // Without a key the value is also the key.
        let x = Parts { queries, keys: inputs.get(2).copied().unwrap_or(values), values };
        match self.accumulates {
            true => self.prepared.add_forward(x, threads, output),
            false => self.prepared.forward(x, threads, output),
        }
    }
}
