//! Cosine decay schedules (Loshchilov and Hutter 2016).

use std::f32::consts::PI;

use super::{Schedule, check_finite, check_steps};
use crate::error::Result;

crate::describe! {
    /// Half a cosine from a rate to `alpha` times that rate in `decay_steps` steps, and then constant; with
    /// `warmup_target`, first a linear warm-up to that rate, from which the cosine then decays.
    ///
    /// `lr · ((1 − alpha) · (1 + cos(π · step / decay_steps)) / 2 + alpha)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let optimizer = AdamW::new(CosineDecay::new(0.0, 10_000).warmup_target(1e-3).warmup_steps(500));
    /// ```
    pub struct CosineDecay {
        /// The learning rate of the first step.
        initial_learning_rate: f32,
        /// The number of decay steps.
        decay_steps: u64,
        /// The final rate, as a fraction of the first.
        alpha: f32 = 0.0,
        /// The schedule's name.
        name: String = "CosineDecay".into(),
        /// The peak rate after the warm-up.
        warmup_target: Option<f32> = None,
        /// The number of warm-up steps.
        warmup_steps: u64 = 0,
    }
}

impl CosineDecay {
    /// From a rate to 0 in `decay_steps` steps.
    pub fn new(initial_learning_rate: f32, decay_steps: u64) -> Self {
        Self::required(initial_learning_rate, decay_steps)
    }

    fn fall(&self, step: f32, from: f32) -> f32 {
        let wave = 0.5 * (1.0 + (PI * (step / self.decay_steps as f32)).cos());
        from * ((1.0 - self.alpha) * wave + self.alpha)
    }
}

impl Schedule for CosineDecay {
    fn at(&self, step: u64) -> f32 {
        let (step, decay_steps) = (step as f32, self.decay_steps as f32);
        let Some(target) = self.warmup_target else {
            return self.fall(step.min(decay_steps), self.initial_learning_rate);
        };
        let warmup_steps = self.warmup_steps as f32;
        let step = step.min(decay_steps + warmup_steps);
        if step < warmup_steps {
            return (target - self.initial_learning_rate) * (step / warmup_steps) + self.initial_learning_rate;
        }
        self.fall(step - warmup_steps, target)
    }

    fn check(&self) -> Result<()> {
        check_finite(&[
            ("initial_learning_rate", self.initial_learning_rate),
            ("alpha", self.alpha),
            ("warmup_target", self.warmup_target.unwrap_or_default()),
        ])?;
        check_steps("decay_steps", self.decay_steps)
    }
}

crate::describe! {
    /// Like [`CosineDecay`] without warm-up, but periodic: each period has `t_mul` times as many steps and starts at
    /// `m_mul` times the rate.
    pub struct CosineDecayRestarts {
        /// The learning rate of the first step.
        initial_learning_rate: f32,
        /// The number of steps of the first period.
        first_decay_steps: u64,
        /// The ratio of a period's length to the previous one.
        t_mul: f32 = 2.0,
        /// The ratio of a period's initial rate to the previous one.
        m_mul: f32 = 1.0,
        /// The lowest rate, as a fraction of the first.
        alpha: f32 = 0.0,
        /// The schedule's name.
        name: String = "SGDRDecay".into(),
    }
}

impl CosineDecayRestarts {
    /// From a rate to 0, first in `first_decay_steps` steps, then in twice as many, and so on.
    pub fn new(initial_learning_rate: f32, first_decay_steps: u64) -> Self {
        Self::required(initial_learning_rate, first_decay_steps)
    }
}

impl Schedule for CosineDecayRestarts {
    fn at(&self, step: u64) -> f32 {
        let falls = step as f32 / self.first_decay_steps as f32;
        let (restart, done) = if self.t_mul == 1.0 {
            (falls.floor(), falls - falls.floor())
        } else {
            let restart = ((1.0 - falls * (1.0 - self.t_mul)).ln() / self.t_mul.ln()).floor();
            let before = (1.0 - self.t_mul.powf(restart)) / (1.0 - self.t_mul);
            (restart, (falls - before) / self.t_mul.powf(restart))
        };
        let wave = 0.5 * self.m_mul.powf(restart) * (1.0 + (PI * done).cos());
        self.initial_learning_rate * ((1.0 - self.alpha) * wave + self.alpha)
    }

    fn check(&self) -> Result<()> {
        check_finite(&[
            ("initial_learning_rate", self.initial_learning_rate),
            ("m_mul", self.m_mul),
            ("alpha", self.alpha),
        ])?;
        if !(self.t_mul.is_finite() && self.t_mul >= 1.0) {
            return Err(crate::Error::argument("t_mul", "a number of at least 1", self.t_mul));
        }
        check_steps("first_decay_steps", self.first_decay_steps)
    }
}
