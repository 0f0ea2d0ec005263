//! The arguments of every Keras optimizer.

use super::LearningRate;
use crate::config::{Config, from_json, to_json};
use crate::error::{Error, Result};

/// The arguments of every Keras optimizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    /// The optimizer's name.
    pub name: Option<String>,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: Option<f32>,
    /// The maximum norm of each weight's gradient.
    pub clipnorm: Option<f32>,
    /// The maximum global norm of all gradients.
    pub global_clipnorm: Option<f32>,
    /// The maximum absolute value in a gradient.
    pub clipvalue: Option<f32>,
    /// Whether to keep an exponential moving average of each weight, which replaces the weight at the end.
    pub use_ema: bool,
    /// The decay of the moving average.
    pub ema_momentum: f32,
    /// The number of steps after which the averages also replace the weights during training.
    pub ema_overwrite_frequency: Option<u64>,
    /// The factor by which the loss is multiplied before the backward pass, and the gradients are divided after it.
    pub loss_scale_factor: Option<f32>,
    /// The number of batches over which gradients are averaged before an update.
    pub gradient_accumulation_steps: Option<u64>,
}

impl Base {
    /// The arguments of an optimizer that sets none of them.
    pub const fn new() -> Self {
        Self {
            name: None,
            weight_decay: None,
            clipnorm: None,
            global_clipnorm: None,
            clipvalue: None,
            use_ema: false,
            ema_momentum: 0.99,
            ema_overwrite_frequency: None,
            loss_scale_factor: None,
            gradient_accumulation_steps: None,
        }
    }

    /// The names of these arguments in a config.
    pub const ARGUMENTS: &'static [&'static str] = &[
        "name",
        "weight_decay",
        "clipnorm",
        "global_clipnorm",
        "clipvalue",
        "use_ema",
        "ema_momentum",
        "ema_overwrite_frequency",
        "loss_scale_factor",
        "gradient_accumulation_steps",
    ];

    /// Takes these arguments from a config; missing ones are unchanged.
    ///
    /// # Errors
    /// [`Error::Argument`] for a wrong value.
    pub fn update(&mut self, config: &mut Config) -> Result<()> {
        macro_rules! take {
            ($($field:ident),*) => {$(
                if let Some(value) = config.remove(stringify!($field)) {
                    self.$field = from_json(stringify!($field), value)?;
                }
            )*};
        }
        take!(name, weight_decay, clipnorm, global_clipnorm, clipvalue, use_ema, ema_momentum);
        take!(ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps);
        Ok(())
    }

    /// These arguments as a config, with the optimizer's own learning rate at Keras's position.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a number that cannot be serialized.
    pub(super) fn config(&self, default_name: &str, learning_rate: serde_json::Value) -> Result<Config> {
        let mut config = Config::new();
        config.insert("name".into(), self.name.as_deref().unwrap_or(default_name).into());
        config.insert("learning_rate".into(), learning_rate);
        macro_rules! put {
            ($($field:ident),*) => {
                $( config.insert(stringify!($field).into(), to_json(stringify!($field), &self.$field)?); )*
            };
        }
        put!(weight_decay, clipnorm, global_clipnorm, clipvalue, use_ema, ema_momentum);
        put!(ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps);
        Ok(config)
    }

    /// Refuses invalid values.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check(&self) -> Result<()> {
        let clips =
            [("clipnorm", self.clipnorm), ("global_clipnorm", self.global_clipnorm), ("clipvalue", self.clipvalue)];
        if clips.iter().filter(|(_, clip)| clip.is_some()).count() > 1 {
            return Err(Error::argument(
                "clipnorm",
                "at most one of clipnorm, global_clipnorm and clipvalue",
                "several",
            ));
        }
        for (name, value) in clips.into_iter().chain([("weight_decay", self.weight_decay)]) {
            if let Some(value) = value.filter(|value| value.is_nan() || *value < 0.0) {
                return Err(Error::argument(name, "a number of at least 0", value));
            }
        }
        if !(0.0..=1.0).contains(&self.ema_momentum) {
            return Err(Error::argument("ema_momentum", "a number from 0 to 1", self.ema_momentum));
        }
        if self.ema_overwrite_frequency == Some(0) {
            return Err(Error::argument("ema_overwrite_frequency", "an integer above 0", 0));
        }
        if let Some(factor) = self.loss_scale_factor.filter(|factor| !(factor.is_finite() && *factor > 0.0)) {
            return Err(Error::argument("loss_scale_factor", "a number above 0", factor));
        }
        match self.gradient_accumulation_steps {
            Some(steps @ ..2) => Err(Error::argument("gradient_accumulation_steps", "an integer of at least 2", steps)),
            _ => Ok(()),
        }
    }

    /// The number of batches per update.
    pub(super) fn batches_a_step(&self) -> u64 {
        self.gradient_accumulation_steps.unwrap_or(1).max(1)
    }
}

impl Default for Base {
    fn default() -> Self {
        Self::new()
    }
}

/// Access to the arguments of every optimizer.
pub trait HasBase {
    /// The common arguments.
    fn base(&self) -> &Base;
    /// The common arguments, mutably.
    fn base_mut(&mut self) -> &mut Base;
    /// The learning rate.
    fn learning_rate_argument(&self) -> &LearningRate;
    /// The learning rate, mutably.
    fn learning_rate_argument_mut(&mut self) -> &mut LearningRate;
}

/// Builder methods for the common arguments.
pub trait OptimizerArguments: HasBase + Sized {
    /// Sets the optimizer's name.
    #[must_use]
    fn name(mut self, name: impl Into<String>) -> Self {
        self.base_mut().name = Some(name.into());
        self
    }

    /// Sets the weight decay, before each step: `w −= weight_decay · learning_rate · w`.
    #[must_use]
    fn weight_decay(mut self, weight_decay: f32) -> Self {
        self.base_mut().weight_decay = Some(weight_decay);
        self
    }

    /// Clips the norm of each weight's gradient.
    #[must_use]
    fn clipnorm(mut self, clipnorm: f32) -> Self {
        self.base_mut().clipnorm = Some(clipnorm);
        self
    }

    /// Clips the global norm of all gradients.
    #[must_use]
    fn global_clipnorm(mut self, global_clipnorm: f32) -> Self {
        self.base_mut().global_clipnorm = Some(global_clipnorm);
        self
    }

    /// Clips the values of each gradient.
    #[must_use]
    fn clipvalue(mut self, clipvalue: f32) -> Self {
        self.base_mut().clipvalue = Some(clipvalue);
        self
    }

    /// Keeps an exponential moving average of each weight, `mean = momentum · mean + (1 − momentum) · w`, which
    /// replaces the weight when training ends.
    #[must_use]
    fn use_ema(mut self, use_ema: bool) -> Self {
        self.base_mut().use_ema = use_ema;
        self
    }

    /// Sets the decay of the moving average (default 0.99).
    #[must_use]
    fn ema_momentum(mut self, ema_momentum: f32) -> Self {
        self.base_mut().ema_momentum = ema_momentum;
        self
    }

    /// Replaces the weights by the moving averages every `steps` steps.
    #[must_use]
    fn ema_overwrite_frequency(mut self, steps: u64) -> Self {
        self.base_mut().ema_overwrite_frequency = Some(steps);
        self
    }

    /// Multiplies the loss before the backward pass, and divides the gradients after it.
    #[must_use]
    fn loss_scale_factor(mut self, factor: f32) -> Self {
        self.base_mut().loss_scale_factor = Some(factor);
        self
    }

    /// Updates the weights every `steps` batches, by the mean of their gradients.
    #[must_use]
    fn gradient_accumulation_steps(mut self, steps: u64) -> Self {
        self.base_mut().gradient_accumulation_steps = Some(steps);
        self
    }
}

impl<O: HasBase + Sized> OptimizerArguments for O {}
