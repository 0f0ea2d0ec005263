//! `Adamax`: Adam with the infinity norm in place of the mean square.

use super::{
    HasBase, LearningRate, Optimizer, Slot, Step, WeightInfo, check_betas, check_positive, correction, moved,
    negligible, settled,
};
use crate::error::Result;
use crate::ops::{self, Value};

crate::describe! {
    /// Adamax (Kingma and Ba 2014, section 7): `m += (g − m)(1 − β₁)`, `u = max(β₂ · u, |g|)` and
    /// `w −= lr / (1 − β₁ᵗ) · m / (u + ε)`.
    pub optimizer struct Adamax {
        /// The step size.
        learning_rate: LearningRate = LearningRate::Constant(0.001),
        /// The decay of the mean of gradients.
        beta_1: f32 = 0.9,
        /// The decay of the largest gradient.
        beta_2: f32 = 0.999,
        /// Added to the divisor for numerical stability.
        epsilon: f32 = 1e-7,
    }
}

impl Adamax {
    /// With a learning rate and Keras's defaults.
    pub fn new(learning_rate: impl Into<LearningRate>) -> Self {
        Self { learning_rate: learning_rate.into(), ..Self::default() }
    }
}

impl Optimizer for Adamax {
    fn slots(&self, weight: &WeightInfo<'_>) -> Vec<Slot> {
        vec![Slot::like(weight, "momentum"), Slot::like(weight, "norm")]
    }

    fn update(&self, step: Step, weight: Value, gradient: Value, slots: &mut [Value]) -> Result<Value> {
        let rate = (f64::from(step.learning_rate) / correction(self.beta_1, step.number)) as f32;
        let (new, kept, epsilon) = (1.0 - self.beta_1, self.beta_2, self.epsilon);
        let settle = settled(negligible(epsilon));
        let mut weight = weight;
        if let [m, norm] = slots
            && ops::step_with_two(step.decay, &gradient, [&mut weight, m, norm], |g, w, m, norm| {
                *m += (g - *m) * new;
                *norm = (kept * *norm).max(g.abs());
                settle(m);
                settle(norm);
                *w -= rate * *m / (*norm + epsilon);
            })
        {
            return Ok(weight);
        }
        moved(&mut slots[0], gradient.clone(), self.beta_1);
        slots[1] = slots[1].clone().mul_scalar(self.beta_2).maximum(gradient.abs());
        Ok(weight - slots[0].clone().mul_scalar(rate) / slots[1].clone().add_scalar(self.epsilon))
    }

    fn check(&self) -> Result<()> {
        check_betas(&[("beta_1", self.beta_1), ("beta_2", self.beta_2)])?;
        check_positive(&[("epsilon", self.epsilon)])?;
        self.base().check()
    }
}
