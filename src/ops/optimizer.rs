//! Updates of weights in as few passes as there can be, where they lie in the machine's memory.
//!
//! Each takes a part `decay` off the weight first, and says whether it was done; if not, because the values are elsewhere
//! or somebody else has them too, they are as they were.

use super::Value;
use super::cpu::in_place;
use crate::kernels::optimizer::{
    Adafactor, Adam, Lamb, Sgd, WithOneSlot, WithThreeSlots, WithTwoSlots, adafactor, adam, amsgrad, gradient_descent,
    lamb, sgd, update_with_one, update_with_three, update_with_two,
};

/// `w −= rate · g`.
pub(crate) fn descend(rate: f32, decay: f32, gradient: &Value, weight: &mut Value) -> bool {
    in_place(gradient, [weight], |gradient, [weight]| gradient_descent(rate, decay, gradient, weight))
}

/// A step of SGD with momentum on `[weight, velocity]`.
pub(crate) fn sgd_step(settings: &Sgd, decay: f32, gradient: &Value, values: [&mut Value; 2]) -> bool {
    in_place(gradient, values, |gradient, [weight, velocity]| sgd(settings, decay, gradient, weight, velocity))
}

/// A step of Adam on `[weight, m, v]`.
pub(crate) fn adam_step(settings: &Adam, decay: f32, gradient: &Value, values: [&mut Value; 3]) -> bool {
    in_place(gradient, values, |gradient, [weight, m, v]| adam(settings, decay, gradient, weight, m, v))
}

/// A step of Adam with AMSGrad's divisor on `[weight, m, v, largest v]`.
pub(crate) fn amsgrad_step(settings: &Adam, decay: f32, gradient: &Value, values: [&mut Value; 4]) -> bool {
    in_place(gradient, values, |gradient, [weight, m, v, hat]| amsgrad(settings, decay, gradient, weight, m, v, hat))
}

/// A step of Lamb on `[weight, m, v]`, in two passes.
pub(crate) fn lamb_step(settings: &Lamb, decay: f32, gradient: &Value, values: [&mut Value; 3]) -> bool {
    in_place(gradient, values, |gradient, [weight, m, v]| lamb(settings, decay, gradient, weight, m, v))
}

/// A step of Adafactor on `[weight, rows, columns, v]`, in three passes (in two if the weight is a vector).
pub(crate) fn adafactor_step(settings: &Adafactor, decay: f32, gradient: &Value, values: [&mut Value; 4]) -> bool {
    let sizes = match values[0].sizes()[..] {
        [ref matrices @ .., rows, columns] => Some([matrices.iter().product(), rows, columns]),
        _ => None,
    };
    in_place(gradient, values, |gradient, [weight, state @ ..]| {
        adafactor(settings, decay, sizes, gradient, weight, state)
    })
}

/// A formula on `[weight, slot]`, element by element.
pub(crate) fn step_with_one(decay: f32, gradient: &Value, values: [&mut Value; 2], formula: impl WithOneSlot) -> bool {
    in_place(gradient, values, |gradient, [weight, a]| update_with_one(decay, &formula, gradient, weight, a))
}

/// A formula on `[weight, slot, slot]`, element by element.
pub(crate) fn step_with_two(decay: f32, gradient: &Value, values: [&mut Value; 3], formula: impl WithTwoSlots) -> bool {
    in_place(gradient, values, |gradient, [weight, a, b]| update_with_two(decay, &formula, gradient, weight, a, b))
}

/// A formula on `[weight, slot, slot, slot]`, element by element.
pub(crate) fn step_with_three(
    decay: f32,
    gradient: &Value,
    values: [&mut Value; 4],
    formula: impl WithThreeSlots,
) -> bool {
    in_place(gradient, values, |gradient, [weight, a, b, c]| {
        update_with_three(decay, &formula, gradient, weight, a, b, c)
    })
}
