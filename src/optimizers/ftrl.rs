//! `Ftrl`: follow the regularized leader.

use super::{HasBase, LearningRate, Optimizer, Slot, Step, WeightInfo, check_positive};
use crate::error::{Error, Result};
use crate::ops::{self, Value};

crate::describe! {
    /// FTRL-proximal (McMahan et al. 2013), which drives irrelevant weights to exactly 0.
    ///
    /// With p the `learning_rate_power`, `n' = n + g²` and `z += g + 2 · shrinkage · w − (n'^−p − n^−p) / lr · w`; then
    /// `w = (clip(z, ±l1) − z) / (n'^−p / lr + 2 · (l2 + beta / (2 · lr)))`.
    pub optimizer struct Ftrl {
        /// The step size.
        learning_rate: LearningRate = LearningRate::Constant(0.001),
        /// The exponent of the step size's decay, at most 0; with 0 it is constant.
        learning_rate_power: f32 = -0.5,
        /// The initial sum of squares.
        initial_accumulator_value: f32 = 0.1,
        /// The strength of the L1 penalty.
        l1_regularization_strength: f32 = 0.0,
        /// The strength of the L2 penalty.
        l2_regularization_strength: f32 = 0.0,
        /// The strength of an L2 penalty that is part of the gradient.
        l2_shrinkage_regularization_strength: f32 = 0.0,
        /// The paper's β, which keeps the divisor above 0.
        beta: f32 = 0.0,
    }
}

impl Ftrl {
    /// With a learning rate and Keras's defaults.
    pub fn new(learning_rate: impl Into<LearningRate>) -> Self {
        Self { learning_rate: learning_rate.into(), ..Self::default() }
    }
}

impl Ftrl {
    /// The strengths of the L1 and L2 penalties.
    fn penalties(&self, rate: f32) -> (f32, f32) {
        (self.l1_regularization_strength, self.l2_regularization_strength + self.beta / (2.0 * rate))
    }

    /// The update of a weight in place; `power` is applied to the sum of squares.
    fn in_one_pass(
        &self,
        step: Step,
        weight: &mut Value,
        gradient: &Value,
        slots: &mut [Value],
        power: impl Fn(f32) -> f32 + Sync,
    ) -> bool {
        let [sum, linear] = slots else { return false };
        let rate = step.learning_rate;
        let ((l1, l2), shrinkage) = (self.penalties(rate), 2.0 * self.l2_shrinkage_regularization_strength);
        ops::step_with_two(step.decay, gradient, [weight, sum, linear], |g, w, sum, linear| {
            let before = power(*sum);
            *sum += g * g;
            let after = power(*sum);
            *linear += g + shrinkage * *w - (after - before) / rate * *w;
            *w = (linear.max(-l1).min(l1) - *linear) / (after / rate + 2.0 * l2);
        })
    }
}

impl Optimizer for Ftrl {
    fn slots(&self, weight: &WeightInfo<'_>) -> Vec<Slot> {
        let accumulator = Slot::like(weight, "accumulator").starting_with(self.initial_accumulator_value);
        vec![accumulator, Slot::like(weight, "linear")]
    }

    fn update(&self, step: Step, weight: Value, gradient: Value, slots: &mut [Value]) -> Result<Value> {
        let rate = step.learning_rate;
        let mut weight = weight;
        let done = match self.learning_rate_power {
            // The default, for which there is an instruction.
            -0.5 => self.in_one_pass(step, &mut weight, &gradient, slots, f32::sqrt),
            power => self.in_one_pass(step, &mut weight, &gradient, slots, |sum| sum.powf(-power)),
        };
        if done {
            return Ok(weight);
        }
        let power = |value: &Value| match self.learning_rate_power {
            -0.5 => value.clone().sqrt(),
            power => value.clone().powf(-power),
        };
        let shrunk = gradient.clone() + weight.clone().mul_scalar(2.0 * self.l2_shrinkage_regularization_strength);
        let total = slots[0].clone() + gradient.square();
        let growth = (power(&total) - power(&slots[0])).mul_scalar(1.0 / rate);
        slots[1] = slots[1].clone() + shrunk - growth * weight;
        let (l1, l2) = self.penalties(rate);
        let quadratic = power(&total).mul_scalar(1.0 / rate).add_scalar(2.0 * l2);
        slots[0] = total;
        Ok((slots[1].clone().clamp(-l1, l1) - slots[1].clone()) / quadratic)
    }

    fn check(&self) -> Result<()> {
        if !(self.learning_rate_power.is_finite() && self.learning_rate_power <= 0.0) {
            return Err(Error::argument("learning_rate_power", "a number of at most 0", self.learning_rate_power));
        }
        check_positive(&[
            ("initial_accumulator_value", self.initial_accumulator_value),
            ("l1_regularization_strength", self.l1_regularization_strength),
            ("l2_regularization_strength", self.l2_regularization_strength),
            ("l2_shrinkage_regularization_strength", self.l2_shrinkage_regularization_strength),
            ("beta", self.beta),
        ])?;
        self.base().check()
    }
}
