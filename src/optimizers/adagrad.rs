//! `Adagrad`: step sizes that shrink with the sum of squared gradients.

use super::{HasBase, LearningRate, Optimizer, Slot, Step, WeightInfo, check_positive};
use crate::error::Result;
use crate::ops::{self, Value};

crate::describe! {
    /// Adagrad (Duchi et al. 2011): `a += g²` and `w −= lr · g / √(a + ε)`.
    pub optimizer struct Adagrad {
        /// The step size.
        learning_rate: LearningRate = LearningRate::Constant(0.001),
        /// The initial sum of squares.
        initial_accumulator_value: f32 = 0.1,
        /// Added to the divisor for numerical stability.
        epsilon: f32 = 1e-7,
    }
}

impl Adagrad {
    /// With a learning rate and Keras's defaults.
    pub fn new(learning_rate: impl Into<LearningRate>) -> Self {
        Self { learning_rate: learning_rate.into(), ..Self::default() }
    }
}

impl Optimizer for Adagrad {
    fn slots(&self, weight: &WeightInfo<'_>) -> Vec<Slot> {
        vec![Slot::like(weight, "accumulator").starting_with(self.initial_accumulator_value)]
    }

    fn update(&self, step: Step, weight: Value, gradient: Value, slots: &mut [Value]) -> Result<Value> {
        let (rate, epsilon) = (step.learning_rate, self.epsilon);
        let mut weight = weight;
        let done = ops::step_with_one(step.decay, &gradient, [&mut weight, &mut slots[0]], |g, w, sum| {
            *sum += g * g;
            *w -= g * rate / (*sum + epsilon).sqrt();
        });
        if done {
            return Ok(weight);
        }
        slots[0] = slots[0].clone() + gradient.clone().square();
        Ok(weight - gradient.mul_scalar(rate) / slots[0].clone().add_scalar(epsilon).sqrt())
    }

    fn check(&self) -> Result<()> {
        check_positive(&[("initial_accumulator_value", self.initial_accumulator_value), ("epsilon", self.epsilon)])?;
        self.base().check()
    }
}
