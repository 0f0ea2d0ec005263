//! Recurrent layers over whole sequences. Sequences are `(batch, steps, values)`; nothing is masked, and time runs
//! forward.
//!
//! The batch is cut into parts that run through all steps independently. Work that does not depend on the step before,
//! the product of all inputs with their weights and the gradients of the weights, is one matrix product for all steps.

mod backward;
mod gru;
mod gru_before;
mod lstm;

#[cfg(test)]
mod tests;

use std::ops::Range;

pub use gru::{GruMemory, PreparedGru, backward as gru_backward, forward as gru_forward};
pub use gru_before::{backward as gru_before_backward, forward as gru_before_forward};
pub use lstm::{LstmMemory, PreparedLstm, backward as lstm_backward, forward as lstm_forward};

use super::activation::Activation;
use super::gemm::{InitialC, Right, product};
use super::panels::{pack, pack_transposed, panels_len};
use super::window::{check_len, even_offsets, offsets_fit_in, size_of};
use super::{parallel, scratch};

/// Samples that a part should have: enough that the weights are not read too often, and few enough that a part's gates
/// do not fill the cache.
const SAMPLES_WANTED: Range<usize> = 16..33;

/// Sizes and activations of a recurrent layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recurrent {
    /// Number of sequences.
    pub batch: usize,
    /// Steps of a sequence.
    pub steps: usize,
    /// Values of an input step.
    pub inputs: usize,
    /// Values of an output step.
    pub units: usize,
    /// The activation of candidates and outputs, Keras's `activation`; its gradient must follow from its output alone.
    pub activation: Activation,
    /// The activation of gates, Keras's `recurrent_activation`; its gradient must follow from its output alone.
    pub recurrent_activation: Activation,
}

/// Weights of a recurrent layer, its gates side by side in Keras's order.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// Of the inputs: `inputs × gates · units`.
    pub kernel: &'a [f32],
    /// Of the output of the step before: `units × gates · units`.
    pub recurrent: &'a [f32],
    /// Has `gates · units` values; `2 · gates · units`, first for the inputs and then for the recurrence, for GRU with
    /// the reset gate after the product.
    pub bias: Option<&'a [f32]>,
}

/// Gradients of all [`Weights`], which are overwritten.
#[derive(Debug)]
pub struct WeightGradients<'a> {
    /// Of the inputs' weights.
    pub kernel: &'a mut [f32],
    /// Of the recurrent weights.
    pub recurrent: &'a mut [f32],
    /// Of the bias, if there is one.
    pub bias: Option<&'a mut [f32]>,
}

/// The gradient of the outputs.
#[derive(Clone, Copy, Debug)]
pub enum OutputGradient<'a> {
    /// Of every step: `batch × steps × units`.
    Sequence(&'a [f32]),
    /// Of the last step alone: `batch × units`.
    Last(&'a [f32]),
}

/// The order of a prepared layer's steps, and which outputs it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepOrder {
    /// Whether the steps are taken in reverse.
    pub backwards: bool,
    /// Whether the outputs of all steps are returned, not only that of the step taken last.
    pub sequences: bool,
}

impl StepOrder {
    /// The step taken after `n` others.
    fn step(self, steps: usize, n: usize) -> usize {
        if self.backwards { steps - 1 - n } else { n }
    }

    /// Writes the output of sample `i` after `n` other steps, if it is returned.
    fn write(self, sizes: &Recurrent, (i, n): (usize, usize), h: &[f32], y: &mut [f32]) {
        if self.sequences {
            y[at(sizes.steps, sizes.units, i, n)].copy_from_slice(h);
        } else if n + 1 == sizes.steps {
            y[i * sizes.units..][..sizes.units].copy_from_slice(h);
        }
    }

    /// The most samples that [`each_part`](Self::each_part) passes at a time, of some in all.
    fn samples_of(samples: usize) -> usize {
        samples.min(SAMPLES_WANTED.end - 1)
    }

    /// Calls `work` with part of the samples at a time: their number, inputs and outputs.
    fn each_part(self, sizes: &Recurrent, x: &[f32], y: &mut [f32], mut work: impl FnMut(usize, &[f32], &mut [f32])) {
        let one = size_of(&[sizes.steps, sizes.inputs]);
        let result = if self.sequences { size_of(&[sizes.steps, sizes.units]) } else { sizes.units };
        let batch = y.len().checked_div(result).unwrap_or(0);
        check_len("the output", y.len(), size_of(&[batch, result]));
        check_len("the input", x.len(), size_of(&[batch, one]));
        if sizes.steps == 0 {
            // The state before the first step.
            return y.fill(0.0);
        }
        let most = Self::samples_of(batch).max(1);
        for (i, y) in y.chunks_mut((most * result).max(1)).enumerate() {
            let samples = y.len() / result;
            work(samples, &x[i * most * one..][..samples * one], y);
        }
    }
}

impl Recurrent {
    /// Whether these functions can compute it: the offsets within the sequences that are processed at once, and those
    /// of the weights, must fit in 32 bits.
    pub fn fits(&self) -> bool {
        const MOST_GATES: usize = 4;
        let samples = self.batch.min(SAMPLES_WANTED.end);
        let Some(depth) = self.inputs.checked_add(self.units) else { return false };
        offsets_fit_in(&[samples, self.steps.max(1), depth, MOST_GATES])
            && offsets_fit_in(&[depth, self.units, MOST_GATES])
    }

    /// [`fits`](Self::fits), for any number of sequences.
    fn fits_in_parts(&self) -> bool {
        Recurrent { batch: SAMPLES_WANTED.end, ..*self }.fits()
    }

    /// Panics if weights or activations do not fit. `gates` is the number of gates, `biases` the length of a whole bias
    /// in gates.
    fn check(&self, weights: &Weights, x: &[f32], gates: usize, biases: usize) {
        let width = size_of(&[gates, self.units]);
        check_len("the input", x.len(), size_of(&[self.batch, self.steps, self.inputs]));
        check_len("the kernel", weights.kernel.len(), size_of(&[self.inputs, width]));
        check_len("the recurrent kernel", weights.recurrent.len(), size_of(&[self.units, width]));
        weights.bias.into_iter().for_each(|bias| check_len("the bias", bias.len(), size_of(&[biases, self.units])));
        for activation in [self.activation, self.recurrent_activation] {
            assert!(activation.gradient_needs_only_output(), "{activation:?} cannot be used in a recurrent layer");
        }
    }

    fn check_gradient(&self, dy: OutputGradient) {
        match dy {
            OutputGradient::Sequence(dy) => check_len("the gradient of the output", dy.len(), self.outputs()),
            OutputGradient::Last(dy) => {
                check_len("the gradient of the output", dy.len(), size_of(&[self.batch, self.units]))
            }
        }
    }

    /// Number of values of all outputs.
    fn outputs(&self) -> usize {
        size_of(&[self.batch, self.steps, self.units])
    }

    /// Number of threads, and of samples in a part.
    fn parts(&self, gates: usize) -> (usize, usize) {
        let weights = (self.inputs + self.units).saturating_mul(gates * self.units);
        let threads = parallel::threads_for(weights.saturating_mul(2 * self.batch * self.steps));
        let evenly = self.batch.div_ceil(threads).max(1);
        (
            threads,
            parallel::part_len(self.batch, threads).clamp(SAMPLES_WANTED.start, SAMPLES_WANTED.end - 1).min(evenly),
        )
    }
}

/// A packed matrix of weights, or its transpose.
struct PackedMatrix<'a> {
    right: Right<'a>,
    depth: usize,
    columns: usize,
}

/// Calls `work` with a packed matrix of `depth × columns`, or with its transpose of `columns × depth` if `transposed`.
fn packed<R>(w: &[f32], (depth, columns): (usize, usize), transposed: bool, work: impl FnOnce(PackedMatrix) -> R) -> R {
    packed_columns(w, (depth, columns), 0..columns, transposed, work)
}

/// The same for some of its columns.
fn packed_columns<R>(
    w: &[f32],
    (depth, stride): (usize, usize),
    columns: Range<usize>,
    transposed: bool,
    work: impl FnOnce(PackedMatrix) -> R,
) -> R {
    let (rows, width) = if transposed { (columns.len(), depth) } else { (depth, columns.len()) };
    let w = &w[columns.start.min(w.len())..];
    scratch::with(panels_len(rows, width), |panels| {
        if transposed {
            pack_transposed((w, stride), rows, width, panels, (rows, 0));
        } else {
            pack(w, rows, width, stride, panels);
        }
        work(PackedMatrix { right: Right::panels(panels, rows), depth: rows, columns: width })
    })
}

impl PackedMatrix<'_> {
    /// `C (+)= A · B` for rows at the given offsets.
    fn product(&self, a: (&[f32], &[u32]), c: (&mut [f32], &[u32]), start: InitialC) {
        product((a.0, a.1, &even_offsets(self.depth, 1)), self.right, self.columns, c, start);
    }

    /// The same for `rows` contiguous rows.
    fn all(&self, rows: usize, a: &[f32], c: &mut [f32], start: InitialC) {
        self.product((a, &even_offsets(rows, self.depth)), (c, &even_offsets(rows, self.columns)), start);
    }
}

/// Offsets of step `t` of each of `samples` sequences, of `width` values a step.
fn step_offsets(samples: usize, steps: usize, width: usize, t: usize) -> Vec<u32> {
    let mut offsets = even_offsets(samples, steps * width);
    offsets.iter_mut().for_each(|offset| *offset += (t * width) as u32);
    offsets
}

/// Range of step `t` of sample `i`.
fn at(steps: usize, width: usize, i: usize, t: usize) -> Range<usize> {
    let start = (i * steps + t) * width;
    start..start + width
}

#[cfg(test)]
mod size_tests {
    use super::*;
    use crate::activation::Activation;

    #[test]
    fn sequences_whose_offsets_need_more_than_32_bits_do_not_fit() {
        let (activation, recurrent_activation) = (Activation::Tanh, Activation::Sigmoid);
        let of =
            |batch, steps, inputs, units| Recurrent { batch, steps, inputs, units, activation, recurrent_activation };
        assert!(of(1 << 20, 1000, 500, 500).fits() && of(1, 1, 0, 1).fits() && of(0, 0, 1, 1).fits());
        for large in [of(33, 1 << 26, 8, 8), of(1, 1 << 31, 1, 1), of(1, 1, 1 << 30, 1 << 20), of(1, 1, usize::MAX, 1)]
        {
            assert!(!large.fits(), "{large:?}");
        }
    }
}
