//! `Adam`: steps scaled by running means of the gradients and their squares.

use super::{HasBase, LearningRate, Optimizer, Slot, Step, WeightInfo, check_betas, check_positive, correction, moved};
use crate::error::Result;
use crate::kernels::optimizer as kernel;
use crate::ops::{self, Value};

crate::describe! {
    /// Adam (Kingma and Ba 2014), as Keras computes it:
    /// `w −= lr · √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + ε)`, with `m += (g − m)(1 − β₁)` and `v += (g² − v)(1 − β₂)`.
    ///
    /// ε is added after the correction of the means, not before as in other libraries.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let optimizer = Adam::new(1e-3).beta_1(0.8).clipnorm(1.0);
    /// ```
    pub optimizer struct Adam {
        /// The step size.
        learning_rate: LearningRate = LearningRate::Constant(0.001),
        /// How much of the gradients' mean is kept.
        beta_1: f32 = 0.9,
        /// How much of the squares' mean is kept.
        beta_2: f32 = 0.999,
        /// Keeps the divisor above 0.
        epsilon: f32 = 1e-7,
        /// Whether the divisor never shrinks (Reddi et al. 2018).
        amsgrad: bool = false,
    }
}

impl Adam {
    /// With a learning rate and Keras's defaults.
    pub fn new(learning_rate: impl Into<LearningRate>) -> Self {
        Self { learning_rate: learning_rate.into(), ..Self::default() }
    }
}

impl Optimizer for Adam {
    fn slots(&self, weight: &WeightInfo<'_>) -> Vec<Slot> {
        let mut slots = vec![Slot::like(weight, "momentum"), Slot::like(weight, "velocity")];
        slots.extend(self.amsgrad.then(|| Slot::like(weight, "velocity_hat").in_group(1)));
        slots
    }

    fn update(&self, step: Step, weight: Value, gradient: Value, slots: &mut [Value]) -> Result<Value> {
        let mut weight = weight;
        let [beta_1, beta_2, epsilon] = [self.beta_1, self.beta_2, self.epsilon].map(f64::from);
        let settings = kernel::Adam::at_step(step.number, step.learning_rate.into(), beta_1, beta_2, epsilon);
        let done = match slots {
            [m, v] => ops::adam_step(&settings, step.decay, &gradient, [&mut weight, m, v]),
            [m, v, hat] => ops::amsgrad_step(&settings, step.decay, &gradient, [&mut weight, m, v, hat]),
            _ => false,
        };
        if done {
            return Ok(weight);
        }
        let root = correction(self.beta_2, step.number).sqrt();
        let alpha = (f64::from(step.learning_rate) * root / correction(self.beta_1, step.number)) as f32;
        moved(&mut slots[0], gradient.clone(), self.beta_1);
        moved(&mut slots[1], gradient.square(), self.beta_2);
        let divisor = if self.amsgrad {
            slots[2] = slots[2].clone().maximum(slots[1].clone());
            slots[2].clone()
        } else {
            slots[1].clone()
        };
        Ok(step.decayed(weight) - slots[0].clone().mul_scalar(alpha) / divisor.sqrt().add_scalar(self.epsilon))
    }

    fn check(&self) -> Result<()> {
        check_betas(&[("beta_1", self.beta_1), ("beta_2", self.beta_2)])?;
        check_positive(&[("epsilon", self.epsilon)])?;
        self.base().check()
    }
}
