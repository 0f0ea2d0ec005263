//! `Nadam`: Adam with Nesterov momentum.

use super::{
    HasBase, LearningRate, Optimizer, Slot, Step, WeightInfo, check_betas, check_positive, correction, moved,
    negligible, settled,
};
use crate::error::Result;
use crate::ops::{self, Value};

crate::describe! {
    /// Nadam (Dozat 2015). With `uₜ = β₁ · (1 − 0.96ᵗ / 2)` and Πₜ the product of `u₁…uₜ`:
    /// `m̂ = uₜ₊₁ · m / (1 − Πₜ₊₁) + (1 − uₜ) · g / (1 − Πₜ)`, `v̂ = v / (1 − β₂ᵗ)` and `w −= lr · m̂ / (√v̂ + ε)`,
    /// where m and v are the running means of the gradients and their squares.
    pub optimizer struct Nadam {
        /// The step size.
        learning_rate: LearningRate = LearningRate::Constant(0.001),
        /// The decay of the mean of gradients.
        beta_1: f32 = 0.9,
        /// The decay of the mean of squares.
        beta_2: f32 = 0.999,
        /// Added to the divisor for numerical stability.
        epsilon: f32 = 1e-7,
    }
}

impl Nadam {
    /// With a learning rate and Keras's defaults.
    pub fn new(learning_rate: impl Into<LearningRate>) -> Self {
        Self { learning_rate: learning_rate.into(), ..Self::default() }
    }

    /// The momentum of a step.
    fn momentum(&self, number: u64) -> f32 {
        self.beta_1 * (1.0 - 0.5 * 0.96f32.powf(number as f32))
    }
}

impl Optimizer for Nadam {
    fn slots(&self, weight: &WeightInfo<'_>) -> Vec<Slot> {
        vec![Slot::like(weight, "momentum"), Slot::like(weight, "velocity")]
    }

    /// The product of the momentums.
    fn shared(&self) -> Option<f32> {
        Some(1.0)
    }

    fn next_shared(&self, number: u64, before: f32) -> f32 {
        before * self.momentum(number)
    }

    fn update(&self, step: Step, weight: Value, gradient: Value, slots: &mut [Value]) -> Result<Value> {
        let (now, next) = (self.momentum(step.number), self.momentum(step.number + 1));
        let (product, next_product) = (step.shared, step.shared * next);
        let ahead = [next / (1.0 - next_product), (1.0 - now) / (1.0 - product)];
        let unbiased = (1.0 / correction(self.beta_2, step.number)) as f32;
        let (rate, epsilon, new) = (step.learning_rate, self.epsilon, [1.0 - self.beta_1, 1.0 - self.beta_2]);
        let settle = settled(negligible(epsilon));
        let mut weight = weight;
        if let [m, v] = slots
            && ops::step_with_two(step.decay, &gradient, [&mut weight, m, v], |g, w, m, v| {
                *m += (g - *m) * new[0];
                *v += (g * g - *v) * new[1];
                settle(m);
                settle(v);
                *w -= rate * (*m * ahead[0] + g * ahead[1]) / ((*v * unbiased).sqrt() + epsilon);
            })
        {
            return Ok(weight);
        }
        moved(&mut slots[0], gradient.clone(), self.beta_1);
        moved(&mut slots[1], gradient.clone().square(), self.beta_2);
        let ahead = slots[0].clone().mul_scalar(ahead[0]) + gradient.mul_scalar(ahead[1]);
        let square = slots[1].clone().mul_scalar(unbiased);
        Ok(weight - ahead.mul_scalar(rate) / square.sqrt().add_scalar(epsilon))
    }

    fn check(&self) -> Result<()> {
        check_betas(&[("beta_1", self.beta_1), ("beta_2", self.beta_2)])?;
        check_positive(&[("epsilon", self.epsilon)])?;
        self.base().check()
    }
}
