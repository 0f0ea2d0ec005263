//! Gated recurrent unit with the reset gate before the product (Keras's `reset_after=False`), from a state of zeros.
//! Gates are in Keras's order: update, reset, candidate.

use super::super::parallel;
use super::super::scratch;
use super::super::simd::simd;
use super::super::window::even_offsets;
use super::backward::{Backward, shifted};
use super::gru::{check_memory, in_parts, mix, outer_gradient};
use super::{
    GruMemory, OutputGradient, PackedMatrix, Recurrent, WeightGradients, Weights, at, packed, packed_columns,
    step_offsets,
};
use crate::gemm::{InitialC, Right, product};

const GATES: usize = 3;

/// `h` = the outputs of all steps, `batch × steps × units`. `memory` is given in training only; its shares hold
/// `r·h₋₁`. With a = `x · kernel + bias`: `z, r = σ(a + h₋₁ · recurrent)`, `g = activation(a + (r·h₋₁) · recurrent)`,
/// `h = z·h₋₁ + (1 - z)·g`.
///
/// # Panics
/// If a slice's length does not match the sizes, or if an activation's gradient does not follow from its output.
pub fn forward(sizes: &Recurrent, x: &[f32], weights: &Weights, h: &mut [f32], memory: Option<GruMemory<&mut [f32]>>) {
    let Recurrent { steps, inputs, units, .. } = *sizes;
    sizes.check(weights, x, GATES, GATES);
    packed(weights.kernel, (inputs, GATES * units), false, |kernel| {
        recurrent_kernels(weights.recurrent, units, false, |open, candidate| {
            in_parts(sizes, h, memory, |first, h, gates, shares| {
                let samples = h.len() / (steps * units);
                let x = &x[first * steps * inputs..][..samples * steps * inputs];
                kernel.all(samples * steps, x, gates, InitialC::with_bias(weights.bias));
                part(sizes, [&open, &candidate], h, gates, shares);
            });
        });
    });
}

/// Calls `work` with the recurrent weights of the first two gates and with those of the candidate.
fn recurrent_kernels<R>(
    w: &[f32],
    units: usize,
    transposed: bool,
    work: impl FnOnce(PackedMatrix, PackedMatrix) -> R,
) -> R {
    packed_columns(w, (units, GATES * units), 0..2 * units, transposed, |open| {
        packed_columns(w, (units, GATES * units), 2 * units..3 * units, transposed, |candidate| work(open, candidate))
    })
}

/// All steps of some samples, whose gates hold the inputs' share.
fn part(
    sizes: &Recurrent,
    [open, candidate]: [&PackedMatrix; 2],
    h: &mut [f32],
    gates: &mut [f32],
    shares: &mut [f32],
) {
    let Recurrent { steps, units, activation, recurrent_activation, .. } = *sizes;
    let width = GATES * units;
    let samples = h.len() / (steps * units);
    let zeros = vec![0.0; units];
    for t in 0..steps {
        let to = step_offsets(samples, steps, width, t);
        if t > 0 {
            open.product((h, &step_offsets(samples, steps, units, t - 1)), (gates, &to), InitialC::Add);
        }
        for i in 0..samples {
            let (gates, now) = (&mut gates[at(steps, width, i, t)], at(steps, units, i, t));
            recurrent_activation.apply(&mut gates[..2 * units]);
            let before = if t > 0 { &h[now.start - units..now.start] } else { &zeros };
            multiply(&gates[units..2 * units], before, &mut shares[now]);
        }
        if t > 0 {
            let from = step_offsets(samples, steps, units, t);
            candidate.product((shares, &from), (&mut gates[2 * units..], &to), InitialC::Add);
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

/// Computes from `dy`, the gradient of the outputs, the gradients of the weights and, where given, `dx` of the inputs;
/// all are overwritten. `h` and `memory` are those of the forward pass.
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
    let Recurrent { steps, units, .. } = *sizes;
    let width = GATES * units;
    check_memory(h, &memory);
    recurrent_kernels(weights.recurrent, units, true, |open, candidate| {
        Backward { sizes, x, weights, h, dy, dx, states: [None, None], gradients }.in_parts(
            GATES,
            GATES,
            |mut part| {
                let rows = part.samples * steps;
                let memory = memory.part(part.first * steps, rows, units);
                scratch::with(rows * (width + units), |buffer| {
                    let (da, before) = buffer.split_at_mut(rows * width);
                    shifted(sizes, part.h, None, before);
                    through_time(sizes, [&open, &candidate], before, memory.gates, (dy, part.first), da);
                    part.add_inputs(da);
                    add_recurrent_gradient(units, rows, before, (da, 0..2 * units), part.recurrent);
                    add_recurrent_gradient(units, rows, memory.shares, (da, 2 * units..width), part.recurrent);
                    parallel::add_rows(da, part.bias);
                });
            },
        );
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
    product((a, &lefts, &steps), right, columns.len(), (&mut du[columns.start..], &results), InitialC::Add);
}

/// Backpropagation through time: the gradients `da` of the gates before their activation, from the last step to the
/// first. `before` holds the outputs of the steps before.
fn through_time(
    sizes: &Recurrent,
    [open, candidate]: [&PackedMatrix; 2],
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
                dy.add_step(sizes, first + i, t, dh);
                let all = at(steps, width, i, t);
                let (gates, da) = (&gates[all.clone()], &mut da[all]);
                let (z, g) = (&gates[..units], &gates[2 * units..]);
                outer_gradient(z, g, &before[at(steps, units, i, t)], dh, da);
                activation.gradient_from_output(g, &mut da[2 * units..]);
            }
            let from = step_offsets(samples, steps, width, t);
            candidate.product((&da[2 * units..], &from), (ds, &states), InitialC::Zero);
            for (i, (dh, ds)) in dh.chunks_exact_mut(units).zip(ds.chunks_exact(units)).enumerate() {
                let all = at(steps, width, i, t);
                let (gates, da) = (&gates[all.clone()], &mut da[all]);
                reset_gradient(&gates[units..2 * units], &before[at(steps, units, i, t)], ds, da, dh);
                recurrent_activation.gradient_from_output(&gates[..2 * units], &mut da[..2 * units]);
            }
            if t > 0 {
                open.product((da, &from), (dh, &states), InitialC::Add);
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
    /// The gradient of r (activated), and the part through r of that of the output before.
    fn reset_gradient<I>(r: &[f32], before: &[f32], ds: &[f32], da: &mut [f32], dh: &mut [f32]) {
        let units = dh.len();
        let (r, before, ds, dr) = (&r[..units], &before[..units], &ds[..units], &mut da[units..2 * units]);
        for k in 0..units {
            dr[k] = ds[k] * before[k];
            dh[k] = I::mul_add(ds[k], r[k], dh[k]);
        }
    }
}
