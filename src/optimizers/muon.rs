//! `Muon`: orthogonalized momentum.

use super::{Adam, HasBase, LearningRate, Optimizer, Slot, Step, WeightInfo, check_betas, check_positive};
use crate::error::{Error, Result};
use crate::ops::{self, Value};

/// More Newton–Schulz steps than ever have an effect.
const MAX_STEPS: usize = 1000;

crate::describe! {
    /// Muon (Jordan et al. 2024), for matrices: the momentum `m = momentum · m + g` (looked ahead with `nesterov`) is
    /// moved towards the nearest orthogonal matrix by `ns_steps` Newton–Schulz steps `x = a · x + (b · A + c · A²) ·
    /// x`, `A = x · xᵀ`, and `w −= lr · rms_rate · √(max(rows, columns)) · x`.
    ///
    /// Weights that are not matrices, embeddings and those matching `exclude_layers` are updated by [`Adam`], with
    /// `adam_lr_ratio` times the learning rate.
    ///
    /// The matrix products dominate the time, three per Newton–Schulz step; only the rest is a single pass over the
    /// weight.
    pub optimizer struct Muon with { weight_decay: Some(0.004) } {
        /// The step size.
        learning_rate: LearningRate = LearningRate::Constant(0.001),
        /// Adam's `beta_1`.
        adam_beta_1: f32 = 0.9,
        /// Adam's `beta_2`.
        adam_beta_2: f32 = 0.999,
        /// The weight decay of weights updated by Adam.
        adam_weight_decay: Option<f32> = Some(0.004),
        /// Adam's `epsilon`.
        epsilon: f32 = 1e-7,
        /// Parts of the names of weights to be updated by Adam.
        exclude_layers: Vec<String> = Vec::new(),
        /// Whether embeddings are updated by Adam.
        exclude_embeddings: bool = true,
        /// The coefficient a.
        muon_a: f32 = 3.4445,
        /// The coefficient b.
        muon_b: f32 = -4.775,
        /// The coefficient c.
        muon_c: f32 = 2.0315,
        /// A factor of Adam's learning rate.
        adam_lr_ratio: f32 = 1.0,
        /// The decay of the momentum.
        momentum: f32 = 0.95,
        /// The number of Newton–Schulz steps.
        ns_steps: usize = 5,
        /// Whether to use Nesterov momentum.
        nesterov: bool = true,
        /// The root mean square of an update, relative to the learning rate; `None` disables rescaling.
        rms_rate: Option<f32> = Some(0.2),
    }
}

impl Muon {
    /// With a learning rate and Keras's defaults.
    pub fn new(learning_rate: impl Into<LearningRate>) -> Self {
        Self { learning_rate: learning_rate.into(), ..Self::default() }
    }

    fn as_adam(&self, weight: &WeightInfo<'_>) -> bool {
        weight.sizes.len() != 2
            || self.exclude_embeddings && weight.path.to_lowercase().contains("embedding")
            || self.exclude_layers.iter().any(|part| weight.path.contains(part))
    }

    /// A matrix whose singular values are all close to 1.
    fn orthogonal(&self, x: Value) -> Value {
        let tall = x.sizes()[0] > x.sizes()[1];
        let turned = |x: Value| x.permute(&[1, 0]);
        let x = if tall { turned(x) } else { x };
        let sizes = x.sizes();
        let norm = x.clone().square().sum_axis(0).sum_axis(1).sqrt().add_scalar(1e-7).expand(&sizes);
        let mut x = x / norm;
        for _ in 0..self.ns_steps {
            let a = x.clone().matmul(turned(x.clone()));
            let b = a.clone().mul_scalar(self.muon_b) + a.clone().mul_scalar(self.muon_c).matmul(a);
            x = x.clone().mul_scalar(self.muon_a) + b.matmul(x);
        }
        if tall { turned(x) } else { x }
    }
}

impl Optimizer for Muon {
    fn slots(&self, weight: &WeightInfo<'_>) -> Vec<Slot> {
        let velocity = self.as_adam(weight).then(|| Slot::like(weight, "velocity"));
        std::iter::once(Slot::like(weight, "momentum")).chain(velocity).collect()
    }

    fn decay(&self, weight: &WeightInfo<'_>) -> Option<f32> {
        if self.as_adam(weight) { self.adam_weight_decay } else { self.base().weight_decay }
    }

    fn update(&self, step: Step, weight: Value, gradient: Value, slots: &mut [Value]) -> Result<Value> {
        let [momentum] = slots else {
            let adam = Adam::default().beta_1(self.adam_beta_1).beta_2(self.adam_beta_2).epsilon(self.epsilon);
            let step = Step { learning_rate: step.learning_rate * self.adam_lr_ratio, ..step };
            return adam.update(step, weight, gradient, slots);
        };
        *momentum = momentum.clone() + gradient.clone() + momentum.clone().mul_scalar(self.momentum - 1.0);
        let ahead = match self.nesterov {
            true => gradient + momentum.clone().mul_scalar(self.momentum),
            false => momentum.clone(),
        };
        let longest = weight.sizes().into_iter().max().unwrap_or(1) as f32;
        let rescale = self.rms_rate.map_or(1.0, |rate| longest.sqrt() * rate);
        let (rate, change, mut weight) = (step.learning_rate * rescale, self.orthogonal(ahead), weight);
        if ops::step_alone(step.decay, &change, &mut weight, |change, w| *w -= rate * change) {
            return Ok(weight);
        }
        Ok(weight - change.mul_scalar(rate))
    }

    fn check(&self) -> Result<()> {
        check_betas(&[("adam_beta_1", self.adam_beta_1), ("adam_beta_2", self.adam_beta_2)])?;
        check_positive(&[("epsilon", self.epsilon), ("adam_lr_ratio", self.adam_lr_ratio)])?;
        check_positive(&[("adam_weight_decay", self.adam_weight_decay.unwrap_or(0.0))])?;
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(Error::argument("momentum", "a number from 0 to 1", self.momentum));
        }
        if self.ns_steps > MAX_STEPS {
            return Err(Error::argument("ns_steps", format!("at most {MAX_STEPS}"), self.ns_steps));
        }
        let is_pattern = |part: &&String| part.contains(|c| r"\^$.|?*+()[]{}".contains(c));
        if let Some(pattern) = self.exclude_layers.iter().find(is_pattern) {
            return Err(Error::unsupported(
                format!("the pattern `{pattern}` in exclude_layers"),
                "literal parts of names",
            ));
        }
        self.base().check()
    }
}
