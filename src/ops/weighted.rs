//! Shared parts of the gradients of operations on an input, a kernel and an optional bias.

use super::buffers::{buffer, give_back};
use super::cpu::Gradient;
use crate::kernels::activation::{Activation, backward};

/// Calls `work` with the gradient before an activation, from that of its `output`.
pub(super) fn before_activation<R>(
    activation: Activation,
    output: &[f32],
    gradient: &mut Gradient<'_>,
    work: impl FnOnce(&[f32]) -> R,
) -> R {
    if activation == Activation::Linear {
        return work(gradient);
    }
    let mut before = gradient.take();
    backward(activation, output, &mut before);
    let result = work(&before);
    give_back(before);
    result
}

/// Buffers for the gradients of input, kernel and bias, filled by `compute`; the bias has `outputs` values.
pub(super) fn weighted_gradients<const N: usize>(
    outputs: usize,
    inputs: [&[f32]; N],
    wanted: [bool; N],
    compute: impl FnOnce(Option<&mut [f32]>, &mut [f32], Option<&mut [f32]>),
) -> [Option<Vec<f32>>; N] {
    let mut dx = wanted[0].then(|| buffer(inputs[0].len()));
    let mut dw = buffer(inputs[1].len());
    let mut db = (N > 2).then(|| vec![0.0; outputs]);
    compute(dx.as_deref_mut(), &mut dw, db.as_deref_mut());
    let mut gradients = [dx, Some(dw), db].into_iter();
    std::array::from_fn(|_| gradients.next().flatten())
}
