//! Updates of weights in one pass, where they lie in the machine's memory.

use super::Value;
use super::cpu::{Changed, in_place};
use crate::kernels::optimizer::{
    Adam, Sgd, WithOneSlot, WithTwoSlots, adam, gradient_descent, sgd, update_with_one, update_with_two,
};

/// `w −= rate · g`; the weight comes back unchanged if it has to be done otherwise.
pub(crate) fn descend(rate: f32, gradient: &Value, weight: Value) -> Changed<1> {
    in_place(gradient, [weight], |gradient, [weight]| gradient_descent(rate, gradient, weight))
}

/// A step of SGD with momentum on `[weight, velocity]`; both come back unchanged if it has to be done otherwise.
pub(crate) fn sgd_step(settings: &Sgd, gradient: &Value, values: [Value; 2]) -> Changed<2> {
    in_place(gradient, values, |gradient, [weight, velocity]| sgd(settings, gradient, weight, velocity))
}

/// A step of Adam on `[weight, m, v]`; all come back unchanged if it has to be done otherwise.
pub(crate) fn adam_step(settings: &Adam, gradient: &Value, values: [Value; 3]) -> Changed<3> {
    in_place(gradient, values, |gradient, [weight, m, v]| adam(settings, gradient, weight, m, v))
}

/// A formula on `[weight, slot]`, element by element; both come back unchanged if it has to be done otherwise.
pub(crate) fn step_with_one(gradient: &Value, values: [Value; 2], formula: impl WithOneSlot) -> Changed<2> {
    in_place(gradient, values, |gradient, [weight, a]| update_with_one(&formula, gradient, weight, a))
}

/// A formula on `[weight, slot, slot]`, element by element; all come back unchanged if it has to be done otherwise.
pub(crate) fn step_with_two(gradient: &Value, values: [Value; 3], formula: impl WithTwoSlots) -> Changed<3> {
    in_place(gradient, values, |gradient, [weight, a, b]| update_with_two(&formula, gradient, weight, a, b))
}
