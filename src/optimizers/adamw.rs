//! `AdamW`: Adam with weight decay.

use super::{Adam, HasBase, LearningRate, Optimizer, Slot, Step, WeightInfo, check_betas, check_positive};
use crate::error::{Error, Result};
use crate::ops::Value;

crate::describe! {
    /// [`Adam`] with decoupled weight decay (Loshchilov and Hutter 2017): `w −= weight_decay · lr · w` before each
    /// step.
    ///
    /// The default weight decay is 0.004; `None` is refused.
    pub optimizer struct AdamW with { weight_decay: Some(0.004) } {
        /// The step size.
        learning_rate: LearningRate = LearningRate::Constant(0.001),
        /// The decay of the mean of gradients.
        beta_1: f32 = 0.9,
        /// The decay of the mean of squares.
        beta_2: f32 = 0.999,
        /// Added to the divisor for numerical stability.
        epsilon: f32 = 1e-7,
        /// Whether the divisor never decreases (Reddi et al. 2018).
        amsgrad: bool = false,
    }
}

impl AdamW {
    /// With a learning rate and Keras's defaults.
    pub fn new(learning_rate: impl Into<LearningRate>) -> Self {
        Self { learning_rate: learning_rate.into(), ..Self::default() }
    }

    fn adam(&self) -> Adam {
        Adam::default().beta_1(self.beta_1).beta_2(self.beta_2).epsilon(self.epsilon).amsgrad(self.amsgrad)
    }
}

impl Optimizer for AdamW {
    fn slots(&self, weight: &WeightInfo<'_>) -> Vec<Slot> {
        self.adam().slots(weight)
    }

    fn update(&self, step: Step, weight: Value, gradient: Value, slots: &mut [Value]) -> Result<Value> {
        self.adam().update(step, weight, gradient, slots)
    }

    fn check(&self) -> Result<()> {
        if self.base().weight_decay.is_none() {
            return Err(Error::argument("weight_decay", "a number of at least 0", "None"));
        }
        check_betas(&[("beta_1", self.beta_1), ("beta_2", self.beta_2)])?;
        check_positive(&[("epsilon", self.epsilon)])?;
        self.base().check()
    }
}
