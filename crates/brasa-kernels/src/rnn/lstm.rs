//! Long short-term memory. Gates are in Keras's order: input, forget, candidate, output.

use super::super::activation::Activation;
use super::super::dense;
use super::super::math::{sigmoid, tanh};
use super::super::parallel;
use super::super::scratch;
use super::super::simd::simd;
use super::super::window::{check_len, even_offsets, size_of};
use super::backward::{Backward, add_weights_gradient, shifted};
use super::{OutputGradient, PackedMatrix, Recurrent, StepOrder, WeightGradients, Weights, at, packed, step_offsets};
use crate::gemm::InitialC;

const GATES: usize = 4;

/// Values that training's forward pass saves for the backward pass; all are overwritten.
#[derive(Debug)]
pub struct LstmMemory<T> {
    /// The gates' values: `batch × steps × 4 · units`.
    pub gates: T,
    /// The cells' states: `batch × steps × units`.
    pub cells: T,
}

/// `h` = the outputs of all steps, `batch × steps × units`. `initial` are the states of outputs and cells before the
/// first step, `batch × units` each, zero if absent; `memory` is given in training only. With i, f, g, o the activated
/// gates of `x · kernel + h₋₁ · recurrent + bias`: `c = f·c₋₁ + i·g`, `h = o·activation(c)`. `last_cells`, if given,
/// are the cells' states after the last step.
///
/// # Panics
/// If a slice's length does not match the sizes, or if an activation's gradient does not follow from its output.
pub fn forward(
    sizes: &Recurrent,
    x: &[f32],
    weights: &Weights,
    initial: Option<(&[f32], &[f32])>,
    h: &mut [f32],
    memory: Option<LstmMemory<&mut [f32]>>,
    last_cells: Option<&mut [f32]>,
) {
    let Recurrent { batch, steps, inputs, units, .. } = *sizes;
    sizes.check(weights, x, GATES, GATES);
    check_len("the output", h.len(), sizes.outputs());
    if let Some(memory) = &memory {
        check_len("the gates", memory.gates.len(), size_of(&[GATES, h.len()]));
        check_len("the cells", memory.cells.len(), h.len());
    }
    check_states(sizes, initial);
    last_cells.iter().for_each(|cells| check_len("the last cells", cells.len(), batch * units));
    if h.is_empty() {
        return;
    }
    let Some(memory) = memory else { return remembering_nothing(sizes, x, weights, initial, h, last_cells) };
    let (threads, samples) = sizes.parts(GATES);
    let part = samples * steps * units;
    let memory = memory.gates.chunks_mut(GATES * part).zip(memory.cells.chunks_mut(part));
    let mut last_cells = last_cells.map(|cells| cells.chunks_mut(samples * units));
    let tasks: Vec<_> = h
        .chunks_mut(part)
        .zip(memory)
        .enumerate()
        .map(|(i, (h, memory))| (i * samples, h, memory, last_cells.as_mut().and_then(|cells| cells.next())))
        .collect();
    packed(weights.kernel, (inputs, GATES * units), false, |kernel| {
        packed(weights.recurrent, (units, GATES * units), false, |recurrent| {
            parallel::each(threads, tasks, |(first, h, (gates, cells), last_cells)| {
                let samples = h.len() / (steps * units);
                let x = &x[first * steps * inputs..][..samples * steps * inputs];
                let range = first * units..(first + samples) * units;
                let initial = initial.map(|(h, c)| (&h[range.clone()], &c[range.clone()]));
                kernel.all(samples * steps, x, gates, InitialC::with_bias(weights.bias));
                self::part(sizes, &recurrent, initial, h, gates, cells);
                for (i, last) in last_cells.into_iter().flat_map(|last| last.chunks_exact_mut(units)).enumerate() {
                    last.copy_from_slice(&cells[at(steps, units, i, steps - 1)]);
                }
            });
        });
    });
}

/// [`forward`] outside training: each step's gates are computed in one product and not saved, so that they stay in the
/// cache.
fn remembering_nothing(
    sizes: &Recurrent,
    x: &[f32],
    weights: &Weights,
    initial: Option<(&[f32], &[f32])>,
    h: &mut [f32],
    last_cells: Option<&mut [f32]>,
) {
    let Recurrent { steps, inputs, units, .. } = *sizes;
    let (width, depth) = (GATES * units, inputs + units);
    let (threads, samples) = sizes.parts(GATES);
    let mut last_cells = last_cells.map(|cells| cells.chunks_mut(samples * units));
    let tasks: Vec<_> = h
        .chunks_mut(samples * steps * units)
        .enumerate()
        .map(|(i, h)| (i * samples, h, last_cells.as_mut().and_then(|cells| cells.next())))
        .collect();
    scratch::with(depth * width, |both| {
        let (kernel, recurrent) = both.split_at_mut(inputs * width);
        kernel.copy_from_slice(weights.kernel);
        recurrent.copy_from_slice(weights.recurrent);
        packed(both, (depth, width), false, |both| {
            parallel::each(threads, tasks, |(first, h, last_cells)| {
                let samples = h.len() / (steps * units);
                scratch::with_zeros(samples * (depth + width + units), |buffer| {
                    let (rows, buffer) = buffer.split_at_mut(samples * depth);
                    let (gates, cells) = buffer.split_at_mut(samples * width);
                    if let Some((h, c)) = initial {
                        let range = first * units..(first + samples) * units;
                        cells.copy_from_slice(&c[range.clone()]);
                        for (row, h) in rows.chunks_exact_mut(depth).zip(h[range].chunks_exact(units)) {
                            row[inputs..].copy_from_slice(h);
                        }
                    }
                    let (from, to) = (even_offsets(samples, depth), even_offsets(samples, width));
                    for t in 0..steps {
                        for (i, row) in rows.chunks_exact_mut(depth).enumerate() {
                            row[..inputs].copy_from_slice(&x[at(steps, inputs, first + i, t)]);
                        }
                        both.product((rows, &from), (gates, &to), InitialC::with_bias(weights.bias));
                        let states = rows.chunks_exact_mut(depth).zip(cells.chunks_exact_mut(units));
                        for (i, (gates, (row, c))) in gates.chunks_exact_mut(width).zip(states).enumerate() {
                            step(sizes, gates, c, &mut row[inputs..]);
                            h[at(steps, units, i, t)].copy_from_slice(&row[inputs..]);
                        }
                    }
                    if let Some(last) = last_cells {
                        last.copy_from_slice(cells);
                    }
                });
            });
        });
    });
}

/// A step of one sample, from the gates before their activation to its cells' states and its output.
fn step(sizes: &Recurrent, gates: &mut [f32], c: &mut [f32], h: &mut [f32]) {
    let Recurrent { units, activation, recurrent_activation, .. } = *sizes;
    if activation == Activation::Tanh && recurrent_activation == Activation::Sigmoid {
        return usual_step(gates, c, h);
    }
    recurrent_activation.apply(&mut gates[..2 * units]);
    activation.apply(&mut gates[2 * units..3 * units]);
    recurrent_activation.apply(&mut gates[3 * units..]);
    next_cell(gates, c);
    h.copy_from_slice(c);
    activation.apply(h);
    multiply(&gates[3 * units..], h);
}

/// An LSTM with weights packed once. A sequence's result has the same bits in any batch.
#[derive(Clone, Debug)]
pub struct PreparedLstm {
    sizes: Recurrent,
    /// The product from an input step and the output of the step before to the gates.
    gates: dense::Packed,
}

impl PreparedLstm {
    /// Packs the weights of a layer for any number of sequences: `sizes.batch` is ignored. `None` where the offsets do
    /// not [fit](Recurrent::fits).
    ///
    /// # Panics
    /// If a slice's length does not match the sizes, or if an activation's gradient does not follow from its output.
    pub fn new(sizes: &Recurrent, weights: &Weights) -> Option<Self> {
        let sizes = Recurrent { batch: 0, ..*sizes };
        sizes.check(weights, &[], GATES, GATES);
        let both = [weights.kernel, weights.recurrent].concat();
        let gates = (sizes.inputs + sizes.units, GATES * sizes.units);
        sizes.fits_in_parts().then(|| Self { sizes, gates: dense::Packed::new(gates, &both, weights.bias) })
    }

    /// Floating-point operations per sequence.
    pub fn operations(&self) -> usize {
        self.gates.operations().saturating_mul(self.sizes.steps)
    }

    /// The most values of workspace that [`forward`](Self::forward) takes for some sequences.
    pub fn workspace(&self, sequences: usize) -> usize {
        StepOrder::samples_of(sequences) * self.of_sequence()
    }

    /// Number of values of workspace for a sequence: a step's input and output, gates and cells.
    fn of_sequence(&self) -> usize {
        let Recurrent { inputs, units, .. } = self.sizes;
        inputs + units + GATES * units + units
    }

    /// The outputs of all steps, in the order in which they are taken, or of the last one; from states of zeros, on the
    /// calling thread. Every value of `y` is written.
    ///
    /// # Panics
    /// If the input is not whole sequences, or the output does not match it.
    pub fn forward(&self, x: &[f32], order: StepOrder, y: &mut [f32]) {
        let Recurrent { steps, inputs, units, .. } = self.sizes;
        let (width, depth) = (GATES * units, inputs + units);
        order.each_part(&self.sizes, x, y, |samples, x, y| {
            scratch::with_zeros(samples * self.of_sequence(), |buffer| {
                let (rows, buffer) = buffer.split_at_mut(samples * depth);
                let (gates, cells) = buffer.split_at_mut(samples * width);
                for n in 0..steps {
                    let t = order.step(steps, n);
                    for (i, row) in rows.chunks_exact_mut(depth).enumerate() {
                        row[..inputs].copy_from_slice(&x[at(steps, inputs, i, t)]);
                    }
                    self.gates.forward(rows, Activation::Linear, 1, gates);
                    let states = rows.chunks_exact_mut(depth).zip(cells.chunks_exact_mut(units));
                    for (i, (gates, (row, c))) in gates.chunks_exact_mut(width).zip(states).enumerate() {
                        step(&self.sizes, gates, c, &mut row[inputs..]);
                        order.write(&self.sizes, (i, n), &row[inputs..], y);
                    }
                }
            });
        });
    }
}

fn check_states(sizes: &Recurrent, initial: Option<(&[f32], &[f32])>) {
    if let Some((h, c)) = initial {
        check_len("the initial output", h.len(), size_of(&[sizes.batch, sizes.units]));
        check_len("the initial cells", c.len(), h.len());
    }
}

/// All steps of some samples, whose gates hold the inputs' share.
fn part(
    sizes: &Recurrent,
    recurrent: &PackedMatrix,
    initial: Option<(&[f32], &[f32])>,
    h: &mut [f32],
    gates: &mut [f32],
    cells: &mut [f32],
) {
    let Recurrent { steps, units, activation, recurrent_activation, .. } = *sizes;
    let samples = h.len() / (steps * units);
    let zeros = vec![0.0; units];
    for t in 0..steps {
        let to = step_offsets(samples, steps, GATES * units, t);
        if t > 0 {
            recurrent.product((h, &step_offsets(samples, steps, units, t - 1)), (gates, &to), InitialC::Add);
        } else if let Some((h, _)) = initial {
            recurrent.product((h, &even_offsets(samples, units)), (gates, &to), InitialC::Add);
        }
        for i in 0..samples {
            let gates = &mut gates[at(steps, GATES * units, i, t)];
            recurrent_activation.apply(&mut gates[..2 * units]);
            activation.apply(&mut gates[2 * units..3 * units]);
            recurrent_activation.apply(&mut gates[3 * units..]);
            let now = at(steps, units, i, t);
            let (past, present) = cells.split_at_mut(now.start);
            let before = match (t, initial) {
                (0, Some((_, c))) => &c[i * units..][..units],
                (0, None) => &zeros,
                _ => &past[now.start - units..][..units],
            };
            let (c, h) = (&mut present[..units], &mut h[now]);
            c.copy_from_slice(before);
            next_cell(gates, c);
            h.copy_from_slice(c);
            activation.apply(h);
            multiply(&gates[3 * units..], h);
        }
    }
}

/// Computes from `dy`, the gradient of the outputs, the gradients of the weights and, where given, `dx` of the inputs;
/// all are overwritten. `h` and `memory` are those of the forward pass with the same `initial`, whose gradients are
/// written to `states`, where given; `dc` is the gradient of the cells' states after the last step.
///
/// # Panics
/// As [`forward`].
#[allow(clippy::too_many_arguments)]
pub fn backward(
    sizes: &Recurrent,
    x: &[f32],
    weights: &Weights,
    initial: Option<(&[f32], &[f32])>,
    h: &[f32],
    memory: LstmMemory<&[f32]>,
    dy: OutputGradient,
    dc: Option<&[f32]>,
    dx: Option<&mut [f32]>,
    states: [Option<&mut [f32]>; 2],
    gradients: WeightGradients,
) {
    let Recurrent { batch, steps, units, .. } = *sizes;
    let width = GATES * units;
    check_states(sizes, initial);
    dc.iter().for_each(|dc| check_len("the gradient of the last cells", dc.len(), size_of(&[batch, units])));
    check_len("the gates", memory.gates.len(), size_of(&[GATES, h.len()]));
    check_len("the cells", memory.cells.len(), h.len());
    packed(weights.recurrent, (units, width), true, |recurrent| {
        Backward { sizes, x, weights, h, dy, dx, states, gradients }.in_parts(GATES, GATES, |mut part| {
            let (rows, from) = (part.samples * steps, part.first * steps);
            let memory = LstmMemory {
                gates: &memory.gates[from * width..][..rows * width],
                cells: &memory.cells[from * units..][..rows * units],
            };
            let range = part.first * units..(part.first + part.samples) * units;
            let initial = initial.map(|(h, c)| (&h[range.clone()], &c[range.clone()]));
            let dc = dc.map(|dc| &dc[range]);
            scratch::with(rows * (width + units), |buffer| {
                let (dz, before) = buffer.split_at_mut(rows * width);
                let states = part.states.each_mut().map(|state| state.as_deref_mut());
                through_time(sizes, &recurrent, initial, memory, (dy, part.first), dc, states, dz);
                shifted(sizes, part.h, initial.map(|(h, _)| h), before);
                part.add_inputs(dz);
                add_weights_gradient(rows, (before, units), (dz, width), part.recurrent);
                parallel::add_rows(dz, part.bias);
            });
        });
    });
}

/// Backpropagation through time: the gradients `dz` of the gates before their activation, from the last step to the
/// first, and those of the initial states, where given.
#[allow(clippy::too_many_arguments)]
fn through_time(
    sizes: &Recurrent,
    recurrent: &PackedMatrix,
    initial: Option<(&[f32], &[f32])>,
    memory: LstmMemory<&[f32]>,
    (dy, first): (OutputGradient, usize),
    last: Option<&[f32]>,
    states: [Option<&mut [f32]>; 2],
    dz: &mut [f32],
) {
    let Recurrent { steps, units, activation, recurrent_activation, .. } = *sizes;
    let samples = memory.cells.len() / (steps * units);
    let zeros = vec![0.0; units];
    scratch::with_zeros((2 * samples + 2) * units, |buffer| {
        let (dh, buffer) = buffer.split_at_mut(samples * units);
        let (dc, buffer) = buffer.split_at_mut(samples * units);
        let (out, slope) = buffer.split_at_mut(units);
        last.into_iter().for_each(|last| dc.copy_from_slice(last));
        for t in (0..steps).rev() {
            for i in 0..samples {
                let now = at(steps, units, i, t);
                let (dh, dc) = (&mut dh[i * units..][..units], &mut dc[i * units..][..units]);
                dy.add_step(sizes, first + i, t, dh);
                let before = match (t, initial) {
                    (0, Some((_, c))) => &c[i * units..][..units],
                    (0, None) => &zeros,
                    _ => &memory.cells[now.start - units..now.start],
                };
                let (gates, dz) =
                    (&memory.gates[at(steps, GATES * units, i, t)], &mut dz[at(steps, GATES * units, i, t)]);
                // The cell's activated state and its derivative.
                out.copy_from_slice(&memory.cells[now]);
                activation.apply(out);
                slope.fill(1.0);
                activation.gradient_from_output(out, slope);
                cell_gradient(gates, before, (out, slope), dh, dc, dz);
                recurrent_activation.gradient_from_output(&gates[..2 * units], &mut dz[..2 * units]);
                activation.gradient_from_output(&gates[2 * units..3 * units], &mut dz[2 * units..3 * units]);
                recurrent_activation.gradient_from_output(&gates[3 * units..], &mut dz[3 * units..]);
            }
            if t > 0 || states[0].is_some() {
                let from = step_offsets(samples, steps, GATES * units, t);
                recurrent.product((dz, &from), (dh, &even_offsets(samples, units)), InitialC::Zero);
            }
        }
        for (state, gradient) in states.into_iter().zip([dh, dc]) {
            state.into_iter().for_each(|state| state.copy_from_slice(gradient));
        }
    });
}

simd! {
    /// `c = f·c + i·g`.
    fn next_cell<I>(gates: &[f32], c: &mut [f32]) {
        let units = c.len();
        let (i, f, g) = (&gates[..units], &gates[units..2 * units], &gates[2 * units..3 * units]);
        for k in 0..units {
            c[k] = I::mul_add(f[k], c[k], i[k] * g[k]);
        }
    }
}

simd! {
    /// A step with the usual activations, fused into one pass.
    fn usual_step<I>(gates: &[f32], c: &mut [f32], h: &mut [f32]) {
        let units = c.len();
        let (i, f, g, o) = (&gates[..units], &gates[units..2 * units], &gates[2 * units..3 * units], &gates[3 * units..4 * units]);
        let h = &mut h[..units];
        for k in 0..units {
            let (i, f, g) = (sigmoid::<I>(i[k]), sigmoid::<I>(f[k]), tanh::<I>(g[k]));
            c[k] = I::mul_add(f, c[k], i * g);
            h[k] = sigmoid::<I>(o[k]) * tanh::<I>(c[k]);
        }
    }
}

simd! {
    fn multiply<I>(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y *= *x;
        }
    }
}

simd! {
    /// The gradients of the activated gates, and of the cell's state before.
    fn cell_gradient<I>(
        gates: &[f32], before: &[f32], state: (&[f32], &[f32]), dh: &[f32], dc: &mut [f32], dz: &mut [f32],
    ) {
        let units = dc.len();
        let (i, f, g, o) = (&gates[..units], &gates[units..2 * units], &gates[2 * units..3 * units], &gates[3 * units..4 * units]);
        let (out, slope, before, dh) = (&state.0[..units], &state.1[..units], &before[..units], &dh[..units]);
        let (di, rest) = dz.split_at_mut(units);
        let (df, rest) = rest.split_at_mut(units);
        let (dg, d_o) = rest.split_at_mut(units);
        let d_o = &mut d_o[..units];
        for k in 0..units {
            let through = I::mul_add(dh[k] * o[k], slope[k], dc[k]);
            d_o[k] = dh[k] * out[k];
            di[k] = through * g[k];
            df[k] = through * before[k];
            dg[k] = through * i[k];
            dc[k] = through * f[k];
        }
    }
}
