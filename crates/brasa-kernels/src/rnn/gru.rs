//! Gated recurrent unit with the reset gate after the product (Keras's `reset_after=True`). Gates are in Keras's order:
//! update, reset, candidate.

use super::super::activation::Activation;
use super::super::dense;
use super::super::parallel;
use super::super::scratch;
use super::super::simd::simd;
use super::super::window::{check_len, even_offsets, size_of};
use super::backward::{Backward, add_weights_gradient, shifted};
use super::{OutputGradient, PackedMatrix, Recurrent, StepOrder, WeightGradients, Weights, at, packed, step_offsets};
use crate::gemm::InitialC;

const GATES: usize = 3;
/// Steps whose inputs' share of the gates is computed at once in a [`PreparedGru`].
const STEPS: usize = 64;

/// Values that training's forward pass saves for the backward pass; all are overwritten.
#[derive(Debug)]
pub struct GruMemory<T> {
    /// The gates' values: `batch × steps × 3 · units`.
    pub gates: T,
    /// The recurrent share of the candidate, before the reset gate: `batch × steps × units`.
    pub shares: T,
}

impl GruMemory<&[f32]> {
    /// The part of `rows` steps from the row `from` on.
    pub(super) fn part(&self, from: usize, rows: usize, units: usize) -> Self {
        Self {
            gates: &self.gates[from * GATES * units..][..rows * GATES * units],
            shares: &self.shares[from * units..][..rows * units],
        }
    }
}

/// `h` = the outputs of all steps, `batch × steps × units`. `initial` is the state before the first step,
/// `batch × units`, zero if absent; `memory` is given in training only. With a = `x · kernel + bias[0]` and b =
/// `h₋₁ · recurrent + bias[1]`, each of the three gates z, r and g: `z = σ(a + b)`, `r = σ(a + b)`,
/// `g = activation(a + r·b)`, `h = z·h₋₁ + (1 - z)·g`.
///
/// # Panics
/// If a slice's length does not match the sizes, or if an activation's gradient does not follow from its output.
pub fn forward(
    sizes: &Recurrent,
    x: &[f32],
    weights: &Weights,
    initial: Option<&[f32]>,
    h: &mut [f32],
    memory: Option<GruMemory<&mut [f32]>>,
) {
    let Recurrent { steps, inputs, units, .. } = *sizes;
    let width = GATES * units;
    sizes.check(weights, x, GATES, 2 * GATES);
    check_state(sizes, initial);
    packed(weights.kernel, (inputs, width), false, |kernel| {
        packed(weights.recurrent, (units, width), false, |recurrent| {
            in_parts(sizes, h, memory, |first, h, gates, shares| {
                let samples = h.len() / (steps * units);
                let x = &x[first * steps * inputs..][..samples * steps * inputs];
                let initial = initial.map(|h| &h[first * units..][..samples * units]);
                kernel.all(samples * steps, x, gates, InitialC::with_bias(weights.bias.map(|bias| &bias[..width])));
                part(sizes, &recurrent, weights.bias.map(|bias| &bias[width..]), initial, h, gates, shares);
            });
        });
    });
}

/// Calls `work` with each part of the batch: its first sample, its outputs, and its part of the memory.
pub fn in_parts(
    sizes: &Recurrent,
    h: &mut [f32],
    memory: Option<GruMemory<&mut [f32]>>,
    work: impl Fn(usize, &mut [f32], &mut [f32], &mut [f32]) + Send + Sync,
) {
    let Recurrent { steps, units, .. } = *sizes;
    check_len("the output", h.len(), sizes.outputs());
    memory.iter().for_each(|memory| check_memory(h, memory));
    if h.is_empty() {
        return;
    }
    let (threads, samples) = sizes.parts(GATES);
    let part = samples * steps * units;
    let mut kept = memory.map(|memory| memory.gates.chunks_mut(GATES * part).zip(memory.shares.chunks_mut(part)));
    let tasks: Vec<_> = h
        .chunks_mut(part)
        .enumerate()
        .map(|(i, h)| (i * samples, h, kept.as_mut().and_then(|kept| kept.next())))
        .collect();
    parallel::each(threads, tasks, |(first, h, memory)| match memory {
        Some((gates, shares)) => work(first, h, gates, shares),
        None => scratch::with((GATES + 1) * h.len(), |buffer| {
            let (gates, shares) = buffer.split_at_mut(GATES * h.len());
            work(first, h, gates, shares);
        }),
    });
}

pub fn check_memory<T: AsRef<[f32]>>(h: &[f32], memory: &GruMemory<T>) {
    check_len("the gates", memory.gates.as_ref().len(), size_of(&[GATES, h.len()]));
    check_len("the shares", memory.shares.as_ref().len(), h.len());
}

fn check_state(sizes: &Recurrent, initial: Option<&[f32]>) {
    initial.into_iter().for_each(|h| check_len("the initial state", h.len(), size_of(&[sizes.batch, sizes.units])));
}

/// A GRU with the reset gate after the product, with weights packed once. A sequence's result has the same bits in any
/// batch.
#[derive(Clone, Debug)]
pub struct PreparedGru {
    sizes: Recurrent,
    kernel: dense::Packed,
    recurrent: dense::Packed,
}

impl PreparedGru {
    /// Packs the weights of a layer for any number of sequences: `sizes.batch` is ignored. `None` where the offsets do
    /// not [fit](Recurrent::fits).
    ///
    /// # Panics
    /// If a slice's length does not match the sizes, or if an activation's gradient does not follow from its output.
    pub fn new(sizes: &Recurrent, weights: &Weights) -> Option<Self> {
        let sizes = Recurrent { batch: 0, ..*sizes };
        sizes.check(weights, &[], GATES, 2 * GATES);
        let width = GATES * sizes.units;
        let bias = |row: usize| weights.bias.map(|bias| &bias[row * width..][..width]);
        sizes.fits_in_parts().then(|| Self {
            sizes,
            kernel: dense::Packed::new((sizes.inputs, width), weights.kernel, bias(0)),
            recurrent: dense::Packed::new((sizes.units, width), weights.recurrent, bias(1)),
        })
    }

    /// Floating-point operations per sequence.
    pub fn operations(&self) -> usize {
        (self.kernel.operations().saturating_add(self.recurrent.operations())).saturating_mul(self.sizes.steps)
    }

    /// The most values of workspace that [`forward`](Self::forward) takes for some sequences.
    pub fn workspace(&self, sequences: usize) -> usize {
        self.room(StepOrder::samples_of(sequences))
    }

    /// Number of values of workspace for the sequences of a part: the gates of a block of steps, the recurrent products
    /// and the states of one step, and the next state of one sequence.
    fn room(&self, samples: usize) -> usize {
        let Recurrent { steps, units, .. } = self.sizes;
        let width = GATES * units;
        samples * (steps.min(STEPS) * width + width + units) + units
    }

    /// The outputs of all steps, in the order in which they are taken, or of the last one; from a state of zeros, on
    /// the calling thread. Every value of `y` is written.
    ///
    /// # Panics
    /// If the input is not whole sequences, or the output does not match it.
    pub fn forward(&self, x: &[f32], order: StepOrder, y: &mut [f32]) {
        let Recurrent { steps, inputs, units, activation, recurrent_activation, .. } = self.sizes;
        let width = GATES * units;
        // The inputs' share of the gates is computed for a block of steps.
        let block = steps.min(STEPS);
        order.each_part(&self.sizes, x, y, |samples, x, y| {
            scratch::with(self.room(samples), |buffer| {
                let (gates, buffer) = buffer.split_at_mut(samples * block * width);
                let (products, buffer) = buffer.split_at_mut(samples * width);
                let (states, next) = buffer.split_at_mut(samples * units);
                states.fill(0.0);
                for n in 0..steps {
                    let from = n - n % block;
                    let count = block.min(steps - from);
                    // The earliest step of the block.
                    let first = order.step(steps, from).min(order.step(steps, from + count - 1));
                    if n == from && count == steps {
                        self.kernel.forward(x, Activation::Linear, 1, gates);
                    } else if n == from {
                        for (i, gates) in gates.chunks_exact_mut(block * width).enumerate() {
                            let x = &x[(i * steps + first) * inputs..][..count * inputs];
                            self.kernel.forward(x, Activation::Linear, 1, &mut gates[..count * width]);
                        }
                    }
                    self.recurrent.forward(states, Activation::Linear, 1, products);
                    for (i, (products, h)) in
                        products.chunks_exact(width).zip(states.chunks_exact_mut(units)).enumerate()
                    {
                        let gates = &mut gates[at(block, width, i, order.step(steps, n) - first)];
                        parallel::add(&products[..2 * units], &mut gates[..2 * units]);
                        recurrent_activation.apply(&mut gates[..2 * units]);
                        let (open, candidate) = gates.split_at_mut(2 * units);
                        add_product(&open[units..], &products[2 * units..], candidate);
                        activation.apply(candidate);
                        mix(&open[..units], h, candidate, next);
                        h.copy_from_slice(next);
                        order.write(&self.sizes, (i, n), h, y);
                    }
                }
            });
        });
    }
}

/// All steps of some samples, whose gates hold the inputs' share.
fn part(
    sizes: &Recurrent,
    recurrent: &PackedMatrix,
    bias: Option<&[f32]>,
    initial: Option<&[f32]>,
    h: &mut [f32],
    gates: &mut [f32],
    shares: &mut [f32],
) {
    let Recurrent { steps, units, activation, recurrent_activation, .. } = *sizes;
    let width = GATES * units;
    let samples = h.len() / (steps * units);
    let zeros = vec![0.0; samples * units];
    scratch::with(samples * width, |products| {
        let to = even_offsets(samples, width);
        for t in 0..steps {
            let start = InitialC::with_bias(bias);
            if t > 0 {
                recurrent.product((h, &step_offsets(samples, steps, units, t - 1)), (products, &to), start);
            } else {
                recurrent.product((initial.unwrap_or(&zeros), &even_offsets(samples, units)), (products, &to), start);
            }
            for (i, products) in products.chunks_exact(width).enumerate() {
                let gates = &mut gates[at(steps, width, i, t)];
                let now = at(steps, units, i, t);
                shares[now.clone()].copy_from_slice(&products[2 * units..]);
                parallel::add(&products[..2 * units], &mut gates[..2 * units]);
                recurrent_activation.apply(&mut gates[..2 * units]);
                let (open, candidate) = gates.split_at_mut(2 * units);
                add_product(&open[units..], &products[2 * units..], candidate);
                activation.apply(candidate);
                let (past, present) = h.split_at_mut(now.start);
                let before = match (t, initial) {
                    (0, _) => &initial.unwrap_or(&zeros)[i * units..][..units],
                    _ => &past[now.start - units..],
                };
                mix(&open[..units], before, candidate, &mut present[..units]);
            }
        }
    });
}

/// Computes from `dy`, the gradient of the outputs, the gradients of the weights and, where given, `dx` of the inputs;
/// all are overwritten. `h` and `memory` are those of the forward pass with the same `initial`, whose gradient is
/// written to `state`, where given.
///
/// # Panics
/// As [`forward`].
#[allow(clippy::too_many_arguments)]
pub fn backward(
    sizes: &Recurrent,
    x: &[f32],
    weights: &Weights,
    initial: Option<&[f32]>,
    h: &[f32],
    memory: GruMemory<&[f32]>,
    dy: OutputGradient,
    dx: Option<&mut [f32]>,
    state: Option<&mut [f32]>,
    gradients: WeightGradients,
) {
    let Recurrent { steps, units, .. } = *sizes;
    let width = GATES * units;
    let states = [state, None];
    check_state(sizes, initial);
    check_memory(h, &memory);
    packed(weights.recurrent, (units, width), true, |recurrent| {
        Backward { sizes, x, weights, h, dy, dx, states, gradients }.in_parts(GATES, 2 * GATES, |mut part| {
            let rows = part.samples * steps;
            let memory = memory.part(part.first * steps, rows, units);
            let initial = initial.map(|h| &h[part.first * units..][..part.samples * units]);
            scratch::with(rows * (2 * width + units), |buffer| {
                let (da, buffer) = buffer.split_at_mut(rows * width);
                let (db, before) = buffer.split_at_mut(rows * width);
                shifted(sizes, part.h, initial, before);
                let state = part.states[0].as_deref_mut();
                through_time(sizes, &recurrent, before, memory, (dy, part.first), state, da, db);
                part.add_inputs(da);
                add_weights_gradient(rows, (before, units), (db, width), part.recurrent);
                parallel::add_rows(da, &mut part.bias[..width]);
                parallel::add_rows(db, &mut part.bias[width..]);
            });
        });
    });
}

/// Backpropagation through time: the gradients `da` and `db` of the two shares of the gates, from the last step to the
/// first, and that of the initial state, where given. `before` holds the outputs of the steps before.
#[allow(clippy::too_many_arguments)]
fn through_time(
    sizes: &Recurrent,
    recurrent: &PackedMatrix,
    before: &[f32],
    memory: GruMemory<&[f32]>,
    (dy, first): (OutputGradient, usize),
    state: Option<&mut [f32]>,
    da: &mut [f32],
    db: &mut [f32],
) {
    let Recurrent { steps, units, activation, recurrent_activation, .. } = *sizes;
    let width = GATES * units;
    let samples = before.len() / (steps * units);
    scratch::with_zeros(samples * units, |dh| {
        for t in (0..steps).rev() {
            for (i, dh) in dh.chunks_exact_mut(units).enumerate() {
                dy.add_step(sizes, first + i, t, dh);
                let (all, now) = (at(steps, width, i, t), at(steps, units, i, t));
                let (gates, da, db) = (&memory.gates[all.clone()], &mut da[all.clone()], &mut db[all]);
                let (z, g) = (&gates[..units], &gates[2 * units..]);
                outer_gradient(z, g, &before[now.clone()], dh, da);
                activation.gradient_from_output(g, &mut da[2 * units..]);
                inner_gradient(&gates[units..2 * units], &memory.shares[now], da, db);
                recurrent_activation.gradient_from_output(&gates[..2 * units], &mut da[..2 * units]);
                db[..2 * units].copy_from_slice(&da[..2 * units]);
            }
            if t > 0 || state.is_some() {
                let from = step_offsets(samples, steps, width, t);
                recurrent.product((db, &from), (dh, &even_offsets(samples, units)), InitialC::Add);
            }
        }
        state.into_iter().for_each(|state| state.copy_from_slice(dh));
    });
}

simd! {
    /// `y += a·b`.
    fn add_product<I>(a: &[f32], b: &[f32], y: &mut [f32]) {
        for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
            *y = I::mul_add(*a, *b, *y);
        }
    }
}

simd! {
    /// `h = z·before + (1 - z)·g`.
    pub fn mix<I>(z: &[f32], before: &[f32], g: &[f32], h: &mut [f32]) {
        let units = h.len();
        let (z, before, g) = (&z[..units], &before[..units], &g[..units]);
        for k in 0..units {
            h[k] = I::mul_add(z[k], before[k], (1.0 - z[k]) * g[k]);
        }
    }
}

simd! {
    /// The gradients of z and g (activated), and the direct part of that of the output before.
    pub fn outer_gradient<I>(z: &[f32], g: &[f32], before: &[f32], dh: &mut [f32], da: &mut [f32]) {
        let units = dh.len();
        let (z, g, before) = (&z[..units], &g[..units], &before[..units]);
        let (dz, rest) = da.split_at_mut(units);
        let dg = &mut rest[units..2 * units];
        for k in 0..units {
            dz[k] = dh[k] * (before[k] - g[k]);
            dg[k] = dh[k] * (1.0 - z[k]);
            dh[k] *= z[k];
        }
    }
}

simd! {
    /// The gradient of r (activated) and of the candidate's recurrent share.
    fn inner_gradient<I>(r: &[f32], shares: &[f32], da: &mut [f32], db: &mut [f32]) {
        let units = r.len();
        let (rest, dg) = da.split_at_mut(2 * units);
        let (dr, dg) = (&mut rest[units..], &dg[..units]);
        let (shares, db) = (&shares[..units], &mut db[2 * units..3 * units]);
        for k in 0..units {
            dr[k] = dg[k] * shares[k];
            db[k] = dg[k] * r[k];
        }
    }
}
