//! `Lion`: steps by the sign of a momentum.

use super::{HasBase, LearningRate, Optimizer, Slot, Step, WeightInfo, blended, check_betas, settled};
use crate::error::{Error, Result};
use crate::ops::{self, Value};

crate::describe! {
    /// Lion (Chen et al. 2023): `w −= lr · sign(β₁ · m + (1 − β₁) · g)` and then `m = β₂ · m + (1 − β₂) · g`.
    ///
    /// All steps have the same size, so that the learning rate is usually a third to a tenth of Adam's.
    pub optimizer struct Lion {
        /// The step size.
        learning_rate: LearningRate = LearningRate::Constant(0.001),
        /// The weight of the mean in the step; above 0.
        beta_1: f32 = 0.9,
        /// The decay of the mean.
        beta_2: f32 = 0.99,
    }
}

impl Lion {
    /// With a learning rate and Keras's defaults.
    pub fn new(learning_rate: impl Into<LearningRate>) -> Self {
        Self { learning_rate: learning_rate.into(), ..Self::default() }
    }
}

impl Optimizer for Lion {
    fn slots(&self, weight: &WeightInfo<'_>) -> Vec<Slot> {
        vec![Slot::like(weight, "momentum")]
    }

    fn update(&self, step: Step, weight: Value, gradient: Value, slots: &mut [Value]) -> Result<Value> {
        let (rate, kept, kept_after) = (step.learning_rate, self.beta_1, self.beta_2);
        // The direction counts however small it is.
        let settle = settled(f32::MIN_POSITIVE);
        let mut weight = weight;
        let done = ops::step_with_one(step.decay, &gradient, [&mut weight, &mut slots[0]], |g, w, m| {
            let direction = kept * *m + (1.0 - kept) * g;
            *m = kept_after * *m + (1.0 - kept_after) * g;
            settle(m);
            // Unlike `signum`, 0 for 0.
            *w -= rate * f32::from(i8::from(direction > 0.0) - i8::from(direction < 0.0));
        });
        if done {
            return Ok(weight);
        }
        let mut direction = slots[0].clone();
        blended(&mut direction, gradient.clone(), self.beta_1);
        blended(&mut slots[0], gradient, self.beta_2);
        Ok(weight - direction.sign().mul_scalar(rate))
    }

    fn check(&self) -> Result<()> {
        if !(self.beta_1 > 0.0 && self.beta_1 <= 1.0) {
            return Err(Error::argument("beta_1", "a number above 0 and at most 1", self.beta_1));
        }
        check_betas(&[("beta_2", self.beta_2)])?;
        self.base().check()
    }
}
