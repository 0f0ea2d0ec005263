//! `Lamb`: Adam with layer-wise step sizes, in proportion to the weights.

use super::{
    HasBase, LearningRate, Optimizer, Slot, Step, WeightInfo, check_betas, check_positive, correction, moved,
    negligible, scaled,
};
use crate::error::Result;
use crate::kernels::optimizer as kernel;
use crate::ops::{self, Value};

crate::describe! {
    /// LAMB (You et al. 2019), for large batches: `u = m / (1 − β₁ᵗ) / (√(v / (1 − β₂ᵗ)) + ε)` with the running means m
    /// and v of the gradients and their squares, and `w −= lr · ‖w‖ / ‖u‖ · u`.
    ///
    /// If either norm is 0, their ratio is 1.
    pub optimizer struct Lamb {
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

impl Lamb {
    /// With a learning rate and Keras's defaults.
    pub fn new(learning_rate: impl Into<LearningRate>) -> Self {
        Self { learning_rate: learning_rate.into(), ..Self::default() }
    }
}

impl Optimizer for Lamb {
    fn slots(&self, weight: &WeightInfo<'_>) -> Vec<Slot> {
        vec![Slot::like(weight, "momentum"), Slot::like(weight, "velocity")]
    }

    fn update(&self, step: Step, weight: Value, gradient: Value, slots: &mut [Value]) -> Result<Value> {
        let unbiased = [self.beta_1, self.beta_2].map(|beta| (1.0 / correction(beta, step.number)) as f32);
        let settings = kernel::Lamb {
            learning_rate: step.learning_rate,
            rate_1: 1.0 - self.beta_1,
            rate_2: 1.0 - self.beta_2,
            unbiased_1: unbiased[0],
            unbiased_2: unbiased[1],
            epsilon: self.epsilon,
            negligible: negligible(self.epsilon),
        };
        let mut weight = weight;
        if let [m, v] = slots
            && ops::lamb_step(&settings, step.decay, &gradient, [&mut weight, m, v])
        {
            return Ok(weight);
        }
        moved(&mut slots[0], gradient.clone(), self.beta_1);
        moved(&mut slots[1], gradient.square(), self.beta_2);
        let divisor = slots[1].clone().mul_scalar(unbiased[1]).sqrt().add_scalar(self.epsilon);
        let change = slots[0].clone().mul_scalar(unbiased[0]) / divisor;
        let norm = |value: &Value| value.clone().square().sum().sqrt();
        let (own, other) = (norm(&weight), norm(&change));
        let both = own.clone().greater_scalar(0.0) * other.clone().greater_scalar(0.0);
        let one = other.clone().equal_scalar(0.0);
        let ratio = own / (other + one.clone());
        let one = ratio.clone().mul_scalar(0.0).add_scalar(1.0);
        let ratio = one.select_where(both, ratio);
        Ok(weight - scaled(change.mul_scalar(step.learning_rate), &ratio)?)
    }

    fn check(&self) -> Result<()> {
        check_betas(&[("beta_1", self.beta_1), ("beta_2", self.beta_2)])?;
        check_positive(&[("epsilon", self.epsilon)])?;
        self.base().check()
    }
}
