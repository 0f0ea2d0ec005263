//! Gated recurrent unit with the reset gate before the product (Keras's `reset_after=False`), from a state of zeros. Gates are in
//! Keras's order: update, reset, candidate.

use super::super::parallel;
use super::super::scratch;
use super::super::simd::simd;
use super::super::window::{check_len, even_offsets, size_of};
use super::gru::{mix, outer_gradient};
use super::{
    GruMemory, OutputGradient, Packed, Recurrent, WeightGradients, Weights, add_weights_gradient, at, packed,
    packed_columns, shifted, step_offsets,
};
use crate::kernels::gemm::{Right, Start, product};

const GATES: usize = 3;

/// `h` = the outputs of all steps, `batch × steps × units`. `memory` is wanted in training alone; its shares hold `r·h₋₁`. With
/// a = `x · kernel + bias`: `z, r = σ(a + h₋₁ · recurrent)`, `g = activation(a + (r·h₋₁) · recurrent)`, `h = z·h₋₁ + (1 - z)·g`.
///
/// # Panics
/// If a slice does not have the length that the sizes say, or if an activation's gradient does not follow from its output.
pub fn forward(sizes: &Recurrent, x: &[f32], weights: &Weights, h: &mut [f32], memory: Option<GruMemory<&mut [f32]>>) {
    let Recurrent { steps, inputs, units, .. } = *sizes;
    let width = GATES * units;
    sizes.check(weights, x, GATES, GATES);
    check_len("the output", h.len(), sizes.outputs());
    if let Some(memory) = &memory {
        check_len("the gates", memory.gates.len(), size_of(&[GATES, h.len()]));
        check_len("the shares", memory.shares.len(), h.len());
    }
    if h.is_empty() {
        return;
    }
    let (threads, samples) = sizes.parts(GATES);
    let mut kept = memory.map(|memory| {
        let part = samples * steps * units;
        memory.gates.chunks_mut(GATES * part).zip(memory.shares.chunks_mut(part))
    });
    let tasks: Vec<_> = h
        .chunks_mut(samples * steps * units)
        .enumerate()
        .map(|(i, h)| (i * samples, h, kept.as_mut().and_then(|kept| kept.next())))
        .collect();
    packed(weights.kernel, (inputs, width), false, |kernel| {
        recurrent_kernels(weights.recurrent, units, false, |open, candidate| {
            parallel::each(threads, tasks, |(first, h, memory)| {
                let samples = h.len() / (steps * units);
                let x = &x[first * steps * inputs..][..samples * steps * inputs];
                let mut run = |gates: &mut [f32], shares: &mut [f32]| {
                    kernel.all(samples * steps, x, gates, Start::with_bias(weights.bias));
                    part(sizes, [&open, &candidate], h, gates, shares);
                };
                match memory {
                    Some((gates, shares)) => run(gates, shares),
                    None => scratch::with((GATES + 1) * samples * steps * units, |buffer| {
                        let (gates, shares) = buffer.split_at_mut(GATES * samples * steps * units);
                        run(gates, shares);
                    }),
                }
            });
        });
    });
}

/// Calls `work` with the recurrent weights of the first two gates and with those of the candidate.
fn recurrent_kernels<R>(w: &[f32], units: usize, transposed: bool, work: impl FnOnce(Packed, Packed) -> R) -> R {
    packed_columns(w, (units, GATES * units), 0..2 * units, transposed, |open| {
        packed_columns(w, (units, GATES * units), 2 * units..3 * units, transposed, |candidate| work(open, candidate))
    })
}

/// All steps of some samples, whose gates hold the inputs' share.
fn part(sizes: &Recurrent, [open, candidate]: [&Packed; 2], h: &mut [f32], gates: &mut [f32], shares: &mut [f32]) {
    let Recurrent { steps, units, activation, recurrent_activation, .. } = *sizes;
    let width = GATES * units;
    let samples = h.len() / (steps * units);
    let zeros = vec![0.0; units];
    for t in 0..steps {
        let to = step_offsets(samples, steps, width, t);
        if t > 0 {
            open.product((h, &step_offsets(samples, steps, units, t - 1)), (gates, &to), Start::Add);
        }
        for i in 0..samples {
            let (gates, now) = (&mut gates[at(steps, width, i, t)], at(steps, units, i, t));
            recurrent_activation.apply(&mut gates[..2 * units]);
            let before = if t > 0 { &h[now.start - units..now.start] } else { &zeros };
            multiply(&gates[units..2 * units], before, &mut shares[now]);
        }
        if t > 0 {
            let from = step_offsets(samples, steps, units, t);
            candidate.product((shares, &from), (&mut gates[2 * units..], &to), Start::Add);
        }
        for i in 0..samples {
            let (gates, now) = (&mut gates[at(steps, width, i, t)], at(steps, units, i, t));
            activation.apply(&mut gates[2 * units..]);
            let (past, present) = h.split_at_mut(now.start);
            let before = if t > 0 { &past[now.start - units..] } else { &zeros };
            mix(&gates[..units], before, &gates[2 * units..], &mut present[..units]);
        }
    }
}

/// From `dy`, the gradient of the outputs, the gradients of the weights, and `dx` of the inputs unless that is not wanted; all are
/// overwritten. `h` and `memory` are those of the forward pass.
///
/// # Panics
/// As [`forward`].
#[allow(clippy::too_many_arguments)]
pub fn backward(
    sizes: &Recurrent,
    x: &[f32],
    weights: &Weights,
    h: &[f32],
    memory: GruMemory<&[f32]>,
    dy: OutputGradient,
    dx: Option<&mut [f32]>,
    gradients: WeightGradients,
) {
    let Recurrent { steps, inputs, units, .. } = *sizes;
    let width = GATES * units;
    sizes.check(weights, x, GATES, GATES);
    sizes.check_gradient(dy);
    check_len("the output", h.len(), sizes.outputs());
    check_len("the gates", memory.gates.len(), GATES * h.len());
    check_len("the shares", memory.shares.len(), h.len());
    check_len("the kernel's gradient", gradients.kernel.len(), weights.kernel.len());
    check_len("the recurrent kernel's gradient", gradients.recurrent.len(), weights.recurrent.len());
    gradients.bias.iter().for_each(|bias| check_len("the bias's gradient", bias.len(), width));
    dx.iter().for_each(|dx| check_len("the gradient of the input", dx.len(), x.len()));
    let (threads, samples) = sizes.parts(GATES);
    let one = (inputs + units + 1) * width;
    let parts = sizes.batch.div_ceil(samples);
    scratch::with_zeros(one * parts.max(1), |sums| {
        if !h.is_empty() {
            let mut inputs_of = dx.map(|dx| dx.chunks_mut((samples * steps * inputs).max(1)));
            let tasks: Vec<_> = h
                .chunks(samples * steps * units)
                .zip(sums.chunks_exact_mut(one))
                .enumerate()
                .map(|(i, (h, sums))| (i * samples, h, sums, inputs_of.as_mut().and_then(|dx| dx.next())))
                .collect();
            packed(weights.kernel, (inputs, width), true, |kernel| {
                recurrent_kernels(weights.recurrent, units, true, |open, candidate| {
                    parallel::each(threads, tasks, |(first, h, sums, dx)| {
                        let rows = h.len() / units;
                        let from = first * steps;
                        let memory = GruMemory {
                            gates: &memory.gates[from * width..][..rows * width],
                            shares: &memory.shares[from * units..][..rows * units],
                        };
                        scratch::with(rows * (width + units), |buffer| {
                            let (da, before) = buffer.split_at_mut(rows * width);
                            shifted(sizes, h, None, before);
                            through_time(sizes, [&open, &candidate], before, memory.gates, (dy, first), da);
                            let (dw, rest) = sums.split_at_mut(inputs * width);
                            let (du, db) = rest.split_at_mut(units * width);
                            add_weights_gradient(rows, (&x[from * inputs..][..rows * inputs], inputs), (da, width), dw);
                            add_recurrent_gradient(units, rows, before, (da, 0..2 * units), du);
                            add_recurrent_gradient(units, rows, memory.shares, (da, 2 * units..width), du);
                            parallel::add_rows(da, db);
                            if let Some(dx) = dx {
                                kernel.all(rows, da, dx, Start::Zero);
                            }
                        });
                    });
                });
            });
        }
        let (first, others) = sums.split_at_mut(one);
        parallel::add_parts(others, first);
        let (dw, rest) = first.split_at(inputs * width);
        let (du, db) = rest.split_at(units * width);
        gradients.kernel.copy_from_slice(dw);
        gradients.recurrent.copy_from_slice(du);
        if let Some(bias) = gradients.bias {
            bias.copy_from_slice(db);
        }
    });
}

/// `du += aᵀ · da` for some columns of both.
fn add_recurrent_gradient(
    units: usize,
    rows: usize,
    a: &[f32],
    (da, columns): (&[f32], std::ops::Range<usize>),
    du: &mut [f32],
) {
    let width = GATES * units;
    let (lefts, steps) = (even_offsets(units, 1), even_offsets(rows, units));
    let right = Right::Rows { data: &da[columns.start..], stride: width };
    let results = even_offsets(units, width);
    product((a, &lefts, &steps), right, columns.len(), (&mut du[columns.start..], &results), Start::Add);
}

/// The gradients `da` of the gates before their activation, from the last step to the first. `before` are the outputs of the steps
/// before.
fn through_time(
    sizes: &Recurrent,
    [open, candidate]: [&Packed; 2],
    before: &[f32],
    gates: &[f32],
    (dy, first): (OutputGradient, usize),
    da: &mut [f32],
) {
    let Recurrent { steps, units, activation, recurrent_activation, .. } = *sizes;
    let width = GATES * units;
    let samples = before.len() / (steps * units);
    scratch::with_zeros(2 * samples * units, |buffer| {
        let (dh, ds) = buffer.split_at_mut(samples * units);
        let states = even_offsets(samples, units);
        for t in (0..steps).rev() {
            for (i, dh) in dh.chunks_exact_mut(units).enumerate() {
                match dy {
                    OutputGradient::Sequence(dy) => parallel::add(&dy[at(steps, units, first + i, t)], dh),
                    OutputGradient::Last(dy) if t + 1 == steps => {
                        parallel::add(&dy[(first + i) * units..][..units], dh)
                    }
                    OutputGradient::Last(_) => {}
                }
                let all = at(steps, width, i, t);
                let (gates, da) = (&gates[all.clone()], &mut da[all]);
                let (z, g) = (&gates[..units], &gates[2 * units..]);
                outer_gradient(z, g, &before[at(steps, units, i, t)], dh, da);
                activation.gradient_from_output(g, &mut da[2 * units..]);
            }
            let from = step_offsets(samples, steps, width, t);
            candidate.product((&da[2 * units..], &from), (ds, &states), Start::Zero);
            for (i, (dh, ds)) in dh.chunks_exact_mut(units).zip(ds.chunks_exact(units)).enumerate() {
                let all = at(steps, width, i, t);
                let (gates, da) = (&gates[all.clone()], &mut da[all]);
                reset_gradient(&gates[units..2 * units], &before[at(steps, units, i, t)], ds, da, dh);
                recurrent_activation.gradient_from_output(&gates[..2 * units], &mut da[..2 * units]);
            }
            if t > 0 {
                open.product((da, &from), (dh, &states), Start::Add);
            }
        }
    });
}

simd! {
    /// `y = a·b`.
    fn multiply<I>(a: &[f32], b: &[f32], y: &mut [f32]) {
        for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
            *y = *a * *b;
        }
    }
}

simd! {
    /// The gradient of r (activated), and what goes through it to the output before.
    fn reset_gradient<I>(r: &[f32], before: &[f32], ds: &[f32], da: &mut [f32], dh: &mut [f32]) {
        let units = dh.len();
        let (r, before, ds, dr) = (&r[..units], &before[..units], &ds[..units], &mut da[units..2 * units]);
        for k in 0..units {
            dr[k] = ds[k] * before[k];
            dh[k] = I::mul_add(ds[k], r[k], dh[k]);
        }
    }
}
