//! Gated recurrent unit with the reset gate after the product (Keras's `reset_after=True`). Gates are in Keras's order: update,
//! reset, candidate.

use super::super::parallel;
use super::super::scratch;
use super::super::simd::simd;
use super::super::window::{check_len, even_offsets, size_of};
use super::{
    OutputGradient, Packed, Recurrent, WeightGradients, Weights, add_weights_gradient, at, packed, shifted,
    step_offsets,
};
use crate::kernels::gemm::Start;

const GATES: usize = 3;

/// What training's forward pass keeps for the backward pass; all of it is overwritten.
#[derive(Debug)]
pub struct GruMemory<T> {
    /// The gates' values: `batch × steps × 3 · units`.
    pub gates: T,
    /// The recurrent share of the candidate, before the reset gate: `batch × steps × units`.
    pub shares: T,
}

/// `h` = the outputs of all steps, `batch × steps × units`. `initial` is the state before the first step, `batch × units`, zero if
/// absent; `memory` is wanted in training alone. With a = `x · kernel + bias[0]` and b = `h₋₁ · recurrent + bias[1]`, each of the
/// three gates z, r and g: `z = σ(a + b)`, `r = σ(a + b)`, `g = activation(a + r·b)`, `h = z·h₋₁ + (1 - z)·g`.
///
/// # Panics
/// If a slice does not have the length that the sizes say, or if an activation's gradient does not follow from its output.
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
    check_len("the output", h.len(), sizes.outputs());
    if let Some(memory) = &memory {
        check_len("the gates", memory.gates.len(), size_of(&[GATES, h.len()]));
        check_len("the shares", memory.shares.len(), h.len());
    }
    check_state(sizes, initial);
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
        packed(weights.recurrent, (units, width), false, |recurrent| {
            parallel::each(threads, tasks, |(first, h, memory)| {
                let samples = h.len() / (steps * units);
                let x = &x[first * steps * inputs..][..samples * steps * inputs];
                let initial = initial.map(|h| &h[first * units..][..samples * units]);
                let mut run = |gates: &mut [f32], shares: &mut [f32]| {
                    kernel.all(samples * steps, x, gates, Start::with_bias(weights.bias.map(|bias| &bias[..width])));
                    part(sizes, &recurrent, weights.bias.map(|bias| &bias[width..]), initial, h, gates, shares);
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

fn check_state(sizes: &Recurrent, initial: Option<&[f32]>) {
    initial.into_iter().for_each(|h| check_len("the initial state", h.len(), size_of(&[sizes.batch, sizes.units])));
}

/// All steps of some samples, whose gates hold the inputs' share.
fn part(
    sizes: &Recurrent,
    recurrent: &Packed,
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
            let start = Start::with_bias(bias);
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

/// From `dy`, the gradient of the outputs, the gradients of the weights, and `dx` of the inputs unless that is not wanted; all are
/// overwritten. `h` and `memory` are those of the forward pass with the same `initial`, through which no gradient goes.
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
    gradients: WeightGradients,
) {
    let Recurrent { steps, inputs, units, .. } = *sizes;
    let width = GATES * units;
    sizes.check(weights, x, GATES, 2 * GATES);
    sizes.check_gradient(dy);
    check_state(sizes, initial);
    check_len("the output", h.len(), sizes.outputs());
    check_len("the gates", memory.gates.len(), GATES * h.len());
    check_len("the shares", memory.shares.len(), h.len());
    check_len("the kernel's gradient", gradients.kernel.len(), weights.kernel.len());
    check_len("the recurrent kernel's gradient", gradients.recurrent.len(), weights.recurrent.len());
    gradients.bias.iter().for_each(|bias| check_len("the bias's gradient", bias.len(), 2 * width));
    dx.iter().for_each(|dx| check_len("the gradient of the input", dx.len(), x.len()));
    let (threads, samples) = sizes.parts(GATES);
    let one = (inputs + units + 2) * width;
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
            packed(weights.recurrent, (units, width), true, |recurrent| {
                packed(weights.kernel, (inputs, width), true, |kernel| {
                    parallel::each(threads, tasks, |(first, h, sums, dx)| {
                        let rows = h.len() / units;
                        let from = first * steps;
                        let memory = GruMemory {
                            gates: &memory.gates[from * width..][..rows * width],
                            shares: &memory.shares[from * units..][..rows * units],
                        };
                        let initial = initial.map(|h| &h[first * units..][..rows / steps * units]);
                        scratch::with(rows * (2 * width + units), |buffer| {
                            let (da, buffer) = buffer.split_at_mut(rows * width);
                            let (db, before) = buffer.split_at_mut(rows * width);
                            shifted(sizes, h, initial, before);
                            through_time(sizes, &recurrent, before, memory, (dy, first), da, db);
                            let (dw, rest) = sums.split_at_mut(inputs * width);
                            let (du, bias) = rest.split_at_mut(units * width);
                            add_weights_gradient(rows, (&x[from * inputs..][..rows * inputs], inputs), (da, width), dw);
                            add_weights_gradient(rows, (before, units), (db, width), du);
                            parallel::add_rows(da, &mut bias[..width]);
                            parallel::add_rows(db, &mut bias[width..]);
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

/// The gradients `da` and `db` of the two shares of the gates, from the last step to the first. `before` are the outputs of the steps
/// before.
fn through_time(
    sizes: &Recurrent,
    recurrent: &Packed,
    before: &[f32],
    memory: GruMemory<&[f32]>,
    (dy, first): (OutputGradient, usize),
    da: &mut [f32],
    db: &mut [f32],
) {
    let Recurrent { steps, units, activation, recurrent_activation, .. } = *sizes;
    let width = GATES * units;
    let samples = before.len() / (steps * units);
    scratch::with_zeros(samples * units, |dh| {
        for t in (0..steps).rev() {
            for (i, dh) in dh.chunks_exact_mut(units).enumerate() {
                match dy {
                    OutputGradient::Sequence(dy) => parallel::add(&dy[at(steps, units, first + i, t)], dh),
                    OutputGradient::Last(dy) if t + 1 == steps => {
                        parallel::add(&dy[(first + i) * units..][..units], dh)
                    }
                    OutputGradient::Last(_) => {}
                }
                let (all, now) = (at(steps, width, i, t), at(steps, units, i, t));
                let (gates, da, db) = (&memory.gates[all.clone()], &mut da[all.clone()], &mut db[all]);
                let (z, g) = (&gates[..units], &gates[2 * units..]);
                outer_gradient(z, g, &before[now.clone()], dh, da);
                activation.gradient_from_output(g, &mut da[2 * units..]);
                inner_gradient(&gates[units..2 * units], &memory.shares[now], da, db);
                recurrent_activation.gradient_from_output(&gates[..2 * units], &mut da[..2 * units]);
                db[..2 * units].copy_from_slice(&da[..2 * units]);
            }
            if t > 0 {
                let from = step_offsets(samples, steps, width, t);
                recurrent.product((db, &from), (dh, &even_offsets(samples, units)), Start::Add);
            }
        }
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
    /// The gradients of z and g (activated), and what goes straight to the output before.
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
