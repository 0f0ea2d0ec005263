//! `SGD`: stochastic gradient descent, with or without momentum.

use super::{HasBase, LearningRate, Optimizer, Slot, Step, WeightInfo, settled};
use crate::error::{Error, Result};
use crate::ops::{self, Value};

crate::describe! {
    /// Stochastic gradient descent.
    ///
    /// Without momentum `w −= lr · g`; with it `v = momentum · v − lr · g` and `w += v`, or with Nesterov momentum `w
    /// += momentum · v − lr · g` (Keras's formulas: the learning rate is inside the velocity).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let optimizer = SGD::new(0.01).momentum(0.9).nesterov(true);
    /// ```
    pub optimizer struct SGD {
        /// The step size.
        learning_rate: LearningRate = LearningRate::Constant(0.01),
        /// The decay of the momentum, from 0 to 1.
        momentum: f32 = 0.0,
        /// Whether to use Nesterov momentum.
        nesterov: bool = false,
    }
}

impl SGD {
    /// With a learning rate and Keras's defaults.
    pub fn new(learning_rate: impl Into<LearningRate>) -> Self {
        Self { learning_rate: learning_rate.into(), ..Self::default() }
    }
}

impl Optimizer for SGD {
    fn slots(&self, weight: &WeightInfo<'_>) -> Vec<Slot> {
        if self.momentum == 0.0 { Vec::new() } else { vec![Slot::like(weight, "momentum")] }
    }

    fn update(&self, step: Step, weight: Value, gradient: Value, slots: &mut [Value]) -> Result<Value> {
        let (rate, momentum, nesterov) = (step.learning_rate, self.momentum, self.nesterov);
        let mut weight = weight;
        let [velocity] = slots else {
            let done = ops::step_alone(step.decay, &gradient, &mut weight, |g, w| *w -= rate * g);
            return Ok(if done { weight } else { weight - gradient.mul_scalar(rate) });
        };
        let settle = settled(f32::MIN_POSITIVE);
        let done = ops::step_with_one(step.decay, &gradient, [&mut weight, velocity], |g, w, velocity| {
            let change = -rate * g;
            *velocity = momentum * *velocity + change;
            settle(velocity);
            *w += if nesterov { momentum * *velocity + change } else { *velocity };
        });
        if done {
            return Ok(weight);
        }
        let change = gradient.mul_scalar(-rate);
        *velocity = velocity.clone().mul_scalar(momentum) + change.clone();
        Ok(if nesterov { weight + velocity.clone().mul_scalar(momentum) + change } else { weight + velocity.clone() })
    }

    fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(Error::argument("momentum", "a number from 0 to 1", self.momentum));
        }
        self.base().check()
    }
}
