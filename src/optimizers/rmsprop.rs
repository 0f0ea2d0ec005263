//! `RMSprop`: step sizes divided by a running root mean square.

use super::{
    HasBase, LearningRate, Optimizer, Slot, Step, WeightInfo, blended, check_betas, check_positive, negligible, settled,
};
use crate::error::{Error, Result};
use crate::ops::{self, Value};

crate::describe! {
    /// RMSprop (Hinton 2012): `v = ρ · v + (1 − ρ) · g²` and a step of `lr · g / √(v + ε)`; with `centered` the square
    /// of the gradients' mean is subtracted from v first. With `momentum` the steps are summed: `m = momentum · m +
    /// step`.
    ///
    /// ε is inside the root, as in Keras.
    pub optimizer struct RMSprop {
        /// The step size.
        learning_rate: LearningRate = LearningRate::Constant(0.001),
        /// The decay of the mean of squares.
        rho: f32 = 0.9,
        /// The decay of the momentum.
        momentum: f32 = 0.0,
        /// Added to the divisor for numerical stability.
        epsilon: f32 = 1e-7,
        /// Whether to divide by the standard deviation rather than the root mean square.
        centered: bool = false,
    }
}

impl RMSprop {
    /// With a learning rate and Keras's defaults.
    pub fn new(learning_rate: impl Into<LearningRate>) -> Self {
        Self { learning_rate: learning_rate.into(), ..Self::default() }
    }
}

impl Optimizer for RMSprop {
    fn slots(&self, weight: &WeightInfo<'_>) -> Vec<Slot> {
        let momentum = (self.momentum > 0.0).then(|| Slot::like(weight, "momentum").in_group(1));
        let average = self.centered.then(|| Slot::like(weight, "average_gradient").in_group(2));
        std::iter::once(Slot::like(weight, "velocity")).chain(momentum).chain(average).collect()
    }

    fn update(&self, step: Step, weight: Value, gradient: Value, slots: &mut [Value]) -> Result<Value> {
        let (rate, rho, epsilon, momentum) = (step.learning_rate, self.rho, self.epsilon, self.momentum);
        // A velocity is not divided by anything: only a subnormal one is cleared.
        let (settle, settle_velocity) = (settled(negligible(epsilon)), settled(f32::MIN_POSITIVE));
        let blend = |mean: &mut f32, value: f32| {
            *mean = rho * *mean + (1.0 - rho) * value;
            settle(mean);
        };
        let change = |g: f32, square: f32| rate * g / (square + epsilon).sqrt();
        let mut weight = weight;
        let done = match slots {
            [v] => ops::step_with_one(step.decay, &gradient, [&mut weight, v], |g, w, v| {
                blend(v, g * g);
                *w -= change(g, *v);
            }),
            [v, average] if self.centered => {
                ops::step_with_two(step.decay, &gradient, [&mut weight, v, average], |g, w, v, average| {
                    blend(v, g * g);
                    blend(average, g);
                    *w -= change(g, *v - *average * *average);
                })
            }
            [v, velocity] => {
                ops::step_with_two(step.decay, &gradient, [&mut weight, v, velocity], |g, w, v, velocity| {
                    blend(v, g * g);
                    *velocity = momentum * *velocity + change(g, *v);
                    settle_velocity(velocity);
                    *w -= *velocity;
                })
            }
            [v, velocity, average] => ops::step_with_three(
                step.decay,
                &gradient,
                [&mut weight, v, velocity, average],
                |g, w, v, velocity, average| {
                    blend(v, g * g);
                    blend(average, g);
                    *velocity = momentum * *velocity + change(g, *v - *average * *average);
                    settle_velocity(velocity);
                    *w -= *velocity;
                },
            ),
            _ => false,
        };
        if done {
            return Ok(weight);
        }
        blended(&mut slots[0], gradient.clone().square(), rho);
        let mut square = slots[0].clone();
        if self.centered
            && let Some(average) = slots.last_mut()
        {
            blended(average, gradient.clone(), rho);
            square = square - average.clone().square();
        }
        let change = gradient.mul_scalar(rate) / square.add_scalar(epsilon).sqrt();
        if momentum == 0.0 {
            return Ok(weight - change);
        }
        slots[1] = slots[1].clone().mul_scalar(momentum) + change;
        Ok(weight - slots[1].clone())
    }

    fn check(&self) -> Result<()> {
        check_betas(&[("rho", self.rho)])?;
        check_positive(&[("epsilon", self.epsilon)])?;
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(Error::argument("momentum", "a number from 0 to 1", self.momentum));
        }
        self.base().check()
    }
}
