//! Schedules that decay by a formula.

use super::{Schedule, check_finite, check_steps};
use crate::error::Result;

/// The progress relative to `decay_steps`, in whole stairs or continuous.
fn done(step: u64, decay_steps: u64, staircase: bool) -> f32 {
    let part = step as f32 / decay_steps as f32;
    if staircase { part.floor() } else { part }
}

crate::describe! {
    /// `initial_learning_rate · decay_rate^(step / decay_steps)`.
    pub struct ExponentialDecay {
        /// The learning rate of the first step.
        initial_learning_rate: f32,
        /// The number of steps per factor of `decay_rate`.
        decay_steps: u64,
        /// The factor.
        decay_rate: f32,
        /// Whether the rate only changes every `decay_steps` steps.
        staircase: bool = false,
        /// The schedule's name.
        name: String = "ExponentialDecay".into(),
    }
}

impl ExponentialDecay {
    /// A rate that is multiplied by `decay_rate` every `decay_steps` steps.
    pub fn new(initial_learning_rate: f32, decay_steps: u64, decay_rate: f32) -> Self {
        Self::required(initial_learning_rate, decay_steps, decay_rate)
    }
}

impl Schedule for ExponentialDecay {
    fn at(&self, step: u64) -> f32 {
        self.initial_learning_rate * self.decay_rate.powf(done(step, self.decay_steps, self.staircase))
    }

    fn check(&self) -> Result<()> {
        check_finite(&[("initial_learning_rate", self.initial_learning_rate), ("decay_rate", self.decay_rate)])?;
        check_steps("decay_steps", self.decay_steps)
    }
}

crate::describe! {
    /// `initial_learning_rate / (1 + decay_rate · step / decay_steps)`.
    pub struct InverseTimeDecay {
        /// The learning rate of the first step.
        initial_learning_rate: f32,
        /// The number of steps in which the divisor grows by `decay_rate`.
        decay_steps: u64,
        /// The growth of the divisor.
        decay_rate: f32,
        /// Whether the rate only changes every `decay_steps` steps.
        staircase: bool = false,
        /// The schedule's name.
        name: String = "InverseTimeDecay".into(),
    }
}

impl InverseTimeDecay {
    /// A rate whose divisor grows by `decay_rate` every `decay_steps` steps.
    pub fn new(initial_learning_rate: f32, decay_steps: u64, decay_rate: f32) -> Self {
        Self::required(initial_learning_rate, decay_steps, decay_rate)
    }
}

impl Schedule for InverseTimeDecay {
    fn at(&self, step: u64) -> f32 {
        self.initial_learning_rate / (1.0 + self.decay_rate * done(step, self.decay_steps, self.staircase))
    }

    fn check(&self) -> Result<()> {
        check_finite(&[("initial_learning_rate", self.initial_learning_rate), ("decay_rate", self.decay_rate)])?;
        check_steps("decay_steps", self.decay_steps)
    }
}

crate::describe! {
    /// `(initial − end) · (1 − step / decay_steps)^power + end`: from one rate to another, and then constant, or with
    /// `cycle` repeated, each time in more steps.
    pub struct PolynomialDecay {
        /// The learning rate of the first step.
        initial_learning_rate: f32,
        /// The number of steps to the final rate.
        decay_steps: u64,
        /// The final rate.
        end_learning_rate: f32 = 0.0001,
        /// The power; 1 is linear.
        power: f32 = 1.0,
        /// Whether to restart after `decay_steps`, as if they were two, three… times as many.
        cycle: bool = false,
        /// The schedule's name.
        name: String = "PolynomialDecay".into(),
    }
}

impl PolynomialDecay {
    /// Linear to 0.0001 in `decay_steps` steps.
    pub fn new(initial_learning_rate: f32, decay_steps: u64) -> Self {
        Self::required(initial_learning_rate, decay_steps)
    }
}

impl Schedule for PolynomialDecay {
    fn at(&self, step: u64) -> f32 {
        let (step, mut steps) = (step as f32, self.decay_steps as f32);
        let step = if self.cycle {
            steps *= if step == 0.0 { 1.0 } else { (step / steps).ceil() };
            step
        } else {
            step.min(steps)
        };
        let fall = self.initial_learning_rate - self.end_learning_rate;
        fall * (1.0 - step / steps).powf(self.power) + self.end_learning_rate
    }

    fn check(&self) -> Result<()> {
        check_finite(&[
            ("initial_learning_rate", self.initial_learning_rate),
            ("end_learning_rate", self.end_learning_rate),
            ("power", self.power),
        ])?;
        check_steps("decay_steps", self.decay_steps)
    }
}
