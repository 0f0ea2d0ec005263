//! `Adadelta`: step sizes adapted by running means of squared gradients and squared updates.

use super::{
    HasBase, LearningRate, Optimizer, Slot, Step, WeightInfo, blended, check_betas, check_positive, negligible, settled,
};
use crate::error::Result;
use crate::ops::{self, Value};

crate::describe! {
    /// Adadelta (Zeiler 2012): `a = ρ · a + (1 − ρ) · g²`, an update of `d = −√(x + ε) / √(a + ε) · g`, `x = ρ · x + (1
    /// − ρ) · d²` and `w += lr · d`.
    ///
    /// The paper's method has a learning rate of 1; Keras's default is 0.001.
    pub optimizer struct Adadelta {
        /// A factor of the update.
        learning_rate: LearningRate = LearningRate::Constant(0.001),
        /// The decay of the means of squares.
        rho: f32 = 0.95,
        /// Added to the divisor for numerical stability.
        epsilon: f32 = 1e-7,
    }
}

impl Adadelta {
    /// With a learning rate and Keras's defaults.
    pub fn new(learning_rate: impl Into<LearningRate>) -> Self {
        Self { learning_rate: learning_rate.into(), ..Self::default() }
    }
}

impl Optimizer for Adadelta {
    fn slots(&self, weight: &WeightInfo<'_>) -> Vec<Slot> {
        vec![Slot::like(weight, "accumulated_grad"), Slot::like(weight, "accumulated_delta_var")]
    }

    fn update(&self, step: Step, weight: Value, gradient: Value, slots: &mut [Value]) -> Result<Value> {
        let (rate, rho, epsilon) = (step.learning_rate, self.rho, self.epsilon);
        let settle = settled(negligible(epsilon));
        let mut weight = weight;
        if let [squares, changes] = slots
            && ops::step_with_two(step.decay, &gradient, [&mut weight, squares, changes], |g, w, squares, changes| {
                *squares = rho * *squares + (1.0 - rho) * g * g;
                let change = -((*changes + epsilon).sqrt() * g / (*squares + epsilon).sqrt());
                *changes = rho * *changes + (1.0 - rho) * change * change;
                settle(squares);
                settle(changes);
                *w += rate * change;
            })
        {
            return Ok(weight);
        }
        let root = |value: &Value| value.clone().add_scalar(self.epsilon).sqrt();
        blended(&mut slots[0], gradient.clone().square(), self.rho);
        let change = -(root(&slots[1]) * gradient / root(&slots[0]));
        blended(&mut slots[1], change.clone().square(), self.rho);
        Ok(weight + change.mul_scalar(step.learning_rate))
    }

    fn check(&self) -> Result<()> {
        check_betas(&[("rho", self.rho)])?;
        check_positive(&[("epsilon", self.epsilon)])?;
        self.base().check()
    }
}
