//! `SGD`: downhill, with or without momentum.

use super::{HasBase, LearningRate, Optimizer, Slot, Step, WeightInfo};
use crate::error::{Error, Result};
use crate::kernels::optimizer::Sgd;
use crate::ops::{self, Value};

crate::describe! {
    /// Stochastic gradient descent.
    ///
    /// Without momentum `w −= lr · g`; with it `v = momentum · v − lr · g` and `w += v`, or with Nesterov's look ahead
    /// `w += momentum · v − lr · g` (Keras's formulas: the learning rate is inside the velocity).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let optimizer = SGD::new(0.01).momentum(0.9).nesterov(true);
    /// ```
    pub optimizer struct SGD {
        /// The step size.
        learning_rate: LearningRate = LearningRate::Constant(0.01),
        /// How much of the last step is kept, from 0 to 1.
        momentum: f32 = 0.0,
        /// Whether to look ahead.
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
        let rate = step.learning_rate;
        let mut weight = weight;
        let [velocity] = slots else {
            let done = ops::descend(rate, step.decay, &gradient, &mut weight);
            return Ok(if done { weight } else { step.decayed(weight) - gradient.mul_scalar(rate) });
        };
        let settings = Sgd { learning_rate: rate, momentum: self.momentum, nesterov: self.nesterov };
        if ops::sgd_step(&settings, step.decay, &gradient, [&mut weight, velocity]) {
            return Ok(weight);
        }
        let weight = step.decayed(weight);
        let change = gradient.mul_scalar(-rate);
        *velocity = velocity.clone().mul_scalar(self.momentum) + change.clone();
        Ok(if self.nesterov {
            weight + velocity.clone().mul_scalar(self.momentum) + change
        } else {
            weight + velocity.clone()
        })
    }

    fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(Error::argument("momentum", "a number from 0 to 1", self.momentum));
        }
        self.base().check()
    }
}
