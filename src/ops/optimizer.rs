//! Optimizer updates in the fewest possible passes, in place in host memory.
//!
//! Each first applies the weight decay, and returns whether the step was done too. It is not where the values are on
//! another device or shared.

use super::Value;
use super::cpu::in_place;
use crate::kernels::optimizer::{
    Adafactor, Alone, Lamb, WithOneSlot, WithThreeSlots, WithTwoSlots, adafactor, lamb, update, update_with_one,
    update_with_three, update_with_two,
};

/// `w −= decay · w`; unchanged without decay.
pub(crate) fn decayed(weight: Value, decay: f32) -> Value {
    if decay == 0.0 { weight } else { weight.clone() - weight.mul_scalar(decay) }
}

/// Changes `[weight, slots…]` in place; where that is impossible, only the decay is applied.
fn change<const N: usize>(
    decay: f32,
    gradient: &Value,
    mut values: [&mut Value; N],
    step: impl FnOnce(&[f32], [&mut [f32]; N]),
) -> bool {
    let done = in_place(gradient, values.each_mut().map(|value| &mut **value), step);
    if !done {
        *values[0] = decayed(values[0].take(), decay);
    }
    done
}

/// A formula on the weight alone, element by element.
pub(crate) fn step_alone(decay: f32, gradient: &Value, weight: &mut Value, formula: impl Alone) -> bool {
    change(decay, gradient, [weight], |gradient, [weight]| update(decay, &formula, gradient, weight))
}

/// A formula on `[weight, slot]`, element by element.
pub(crate) fn step_with_one(decay: f32, gradient: &Value, values: [&mut Value; 2], formula: impl WithOneSlot) -> bool {
    change(decay, gradient, values, |gradient, [weight, a]| update_with_one(decay, &formula, gradient, weight, a))
}

/// A formula on `[weight, slot, slot]`, element by element.
pub(crate) fn step_with_two(decay: f32, gradient: &Value, values: [&mut Value; 3], formula: impl WithTwoSlots) -> bool {
    change(decay, gradient, values, |gradient, [weight, a, b]| {
        update_with_two(decay, &formula, gradient, weight, a, b);
    })
}

/// A formula on `[weight, slot, slot, slot]`, element by element.
pub(crate) fn step_with_three(
    decay: f32,
    gradient: &Value,
    values: [&mut Value; 4],
    formula: impl WithThreeSlots,
) -> bool {
    change(decay, gradient, values, |gradient, [weight, a, b, c]| {
        update_with_three(decay, &formula, gradient, weight, a, b, c);
    })
}

/// A step of Lamb on `[weight, m, v]`, in two passes.
pub(crate) fn lamb_step(settings: &Lamb, decay: f32, gradient: &Value, values: [&mut Value; 3]) -> bool {
    change(decay, gradient, values, |gradient, [weight, m, v]| lamb(settings, decay, gradient, weight, m, v))
}

/// A step of Adafactor on `[weight, rows, columns, v]`, in three passes (in two if the weight is a vector).
pub(crate) fn adafactor_step(settings: &Adafactor, decay: f32, gradient: &Value, values: [&mut Value; 4]) -> bool {
    let sizes = match values[0].sizes()[..] {
        [ref matrices @ .., rows, columns] => Some([matrices.iter().product(), rows, columns]),
        _ => None,
    };
    change(decay, gradient, values, |gradient, [weight, state @ ..]| {
        adafactor(settings, decay, sizes, gradient, weight, state);
    })
}
