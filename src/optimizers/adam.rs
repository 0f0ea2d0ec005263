//! `Adam`: step sizes adapted by running means of gradients and their squares.

use super::{
    HasBase, LearningRate, Optimizer, Slot, Step, WeightInfo, check_betas, check_positive, correction, moved,
    negligible, settled,
};
use crate::error::Result;
use crate::ops::{self, Value};

crate::describe! {
    /// Adam (Kingma and Ba 2014), as Keras computes it:
    /// `w −= lr · √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + ε)`, with `m += (g − m)(1 − β₁)` and `v += (g² − v)(1 − β₂)`.
    ///
    /// ε is added after the bias correction, not before as in other libraries.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let optimizer = Adam::new(1e-3).beta_1(0.8).clipnorm(1.0);
    /// ```
    pub optimizer struct Adam {
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
        let root = correction(self.beta_2, step.number).sqrt();
        let alpha = (f64::from(step.learning_rate) * root / correction(self.beta_1, step.number)) as f32;
        let (new, epsilon) = ([1.0 - self.beta_1, 1.0 - self.beta_2], self.epsilon);
        let settle = settled(negligible(epsilon));
        let means = |g: f32, m: &mut f32, v: &mut f32| {
            *m += (g - *m) * new[0];
            *v += (g * g - *v) * new[1];
            settle(m);
            settle(v);
        };
        let done = match slots {
            [m, v] => ops::step_with_two(step.decay, &gradient, [&mut weight, m, v], |g, w, m, v| {
                means(g, m, v);
                *w -= alpha * *m / (v.sqrt() + epsilon);
            }),
            [m, v, hat] => ops::step_with_three(step.decay, &gradient, [&mut weight, m, v, hat], |g, w, m, v, hat| {
                means(g, m, v);
                *hat = hat.max(*v);
                *w -= alpha * *m / (hat.sqrt() + epsilon);
            }),
            _ => false,
        };
        if done {
            return Ok(weight);
        }
        moved(&mut slots[0], gradient.clone(), self.beta_1);
        moved(&mut slots[1], gradient.square(), self.beta_2);
        let divisor = if self.amsgrad {
            slots[2] = slots[2].clone().maximum(slots[1].clone());
            slots[2].clone()
        } else {
            slots[1].clone()
        };
        Ok(weight - slots[0].clone().mul_scalar(alpha) / divisor.sqrt().add_scalar(epsilon))
    }

    fn check(&self) -> Result<()> {
        check_betas(&[("beta_1", self.beta_1), ("beta_2", self.beta_2)])?;
        check_positive(&[("epsilon", self.epsilon)])?;
        self.base().check()
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn the_divisor_of_amsgrad_never_shrinks() {
        let value = |number: f32| Value::from_vec(vec![number], &[1], &Device::flex()).unwrap();
        // The means are the latest gradient and its square.
        let optimizer = Adam::new(1.0).beta_1(0.0).beta_2(0.0).epsilon(0.0).amsgrad(true);
        let (mut weight, mut slots) = (value(0.0), [value(0.0), value(0.0), value(0.0)]);
        for (gradient, expected) in [(2.0, [-1.0, 2.0, 4.0, 4.0]), (1.0, [-1.5, 1.0, 1.0, 4.0])] {
            let step = Step { number: 1, learning_rate: 1.0, shared: 0.0, decay: 0.0 };
            weight = optimizer.update(step, weight, value(gradient), &mut slots).unwrap();
            let [m, v, hat] = &slots;
            assert_eq!([&weight, m, v, hat].map(|value| value.to_vec().unwrap()[0]), expected);
        }
    }
}
