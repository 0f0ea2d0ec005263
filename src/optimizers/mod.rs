//! The optimizers: how weights follow their gradients, by Keras's formulas.
//!
//! An optimizer is a description with Keras's arguments, the names of the slots that it keeps for each weight, and a
//! formula for one weight. What all have in common (decoupled weight decay, clipping, one global step) is done once.

mod adam;
mod learning_rate;
mod list;
mod sgd;
mod state;

use std::fmt::Debug;

use crate::config::{Config, Configure};
use crate::error::{Error, Result};
use crate::ops::Value;

pub use adam::Adam;
pub use learning_rate::LearningRate;
pub use list::{OptimizerArgument, names};
pub use sgd::SGD;
pub(crate) use state::{OptimizerState, Variable};

/// The arguments that every Keras optimizer has.
#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    /// The optimizer's name.
    pub name: Option<String>,
    /// The part of a weight that is taken off before each step, times the learning rate.
    pub weight_decay: Option<f32>,
    /// The largest norm of one weight's gradient.
    pub clipnorm: Option<f32>,
    /// The largest norm of all gradients together.
    pub global_clipnorm: Option<f32>,
    /// The largest absolute value in a gradient.
    pub clipvalue: Option<f32>,
}

impl Base {
    /// The arguments of an optimizer that sets none of them.
    pub const fn new() -> Self {
        Self { name: None, weight_decay: None, clipnorm: None, global_clipnorm: None, clipvalue: None }
    }

    /// The names under which these arguments stand in a config.
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

    /// Takes these arguments out of a config.
    ///
    /// # Errors
    /// [`Error::Argument`] for a wrong value, [`Error::Unsupported`] for one that Brasa does not do.
    pub fn take(config: &mut Config) -> Result<Self> {
        let mut number = |name: &'static str| match config.remove(name) {
            Some(value) => crate::config::from_json::<Option<f32>>(name, value),
            None => Ok(None),
        };
        let base = Self {
            name: None,
            weight_decay: number("weight_decay")?,
            clipnorm: number("clipnorm")?,
            global_clipnorm: number("global_clipnorm")?,
            clipvalue: number("clipvalue")?,
        };
        let name = match config.remove("name") {
            Some(name) => crate::config::from_json("name", name)?,
            None => None,
        };
        if config.remove("use_ema").is_some_and(|value| value != false) {
            return Err(Error::unsupported("an optimizer with use_ema", "optimizers without moving averages"));
        }
        config.remove("ema_momentum");
        for key in ["ema_overwrite_frequency", "loss_scale_factor", "gradient_accumulation_steps"] {
            if config.remove(key).is_some_and(|value| !value.is_null()) {
                return Err(Error::unsupported(format!("an optimizer with {key}"), "null"));
            }
        }
        Ok(Self { name, ..base })
    }

    /// These arguments as a config, after `name`.
    fn config(&self, default_name: &str) -> Config {
        let mut config = Config::new();
        config.insert("name".into(), self.name.as_deref().unwrap_or(default_name).into());
        for (key, value) in [
            ("weight_decay", self.weight_decay),
            ("clipnorm", self.clipnorm),
            ("global_clipnorm", self.global_clipnorm),
            ("clipvalue", self.clipvalue),
        ] {
            config.insert(key.into(), serde_json::json!(value));
        }
        config
    }

    /// Refuses values that make no sense.
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
        Ok(())
    }
}

impl Default for Base {
    fn default() -> Self {
        Self::new()
    }
}

/// Something that has the arguments of every optimizer.
pub trait HasBase {
    /// Those arguments.
    fn base(&self) -> &Base;
    /// Those arguments, to change them.
    fn base_mut(&mut self) -> &mut Base;
    /// The learning rate.
    fn learning_rate_argument(&self) -> &LearningRate;
    /// The learning rate, to change it.
    fn learning_rate_argument_mut(&mut self) -> &mut LearningRate;
}

/// The builder methods for the arguments that every optimizer has.
pub trait OptimizerArguments: HasBase + Sized {
    /// Names the optimizer.
    #[must_use]
    fn name(mut self, name: impl Into<String>) -> Self {
        self.base_mut().name = Some(name.into());
        self
    }

    /// Takes a part of each weight off before each step: `w −= weight_decay · learning_rate · w`.
    #[must_use]
    fn weight_decay(mut self, weight_decay: f32) -> Self {
        self.base_mut().weight_decay = Some(weight_decay);
        self
    }

    /// Bounds the norm of each weight's gradient.
    #[must_use]
    fn clipnorm(mut self, clipnorm: f32) -> Self {
        self.base_mut().clipnorm = Some(clipnorm);
        self
    }

    /// Bounds the norm of all gradients together.
    #[must_use]
    fn global_clipnorm(mut self, global_clipnorm: f32) -> Self {
        self.base_mut().global_clipnorm = Some(global_clipnorm);
        self
    }

    /// Bounds the absolute values in each gradient.
    #[must_use]
    fn clipvalue(mut self, clipvalue: f32) -> Self {
        self.base_mut().clipvalue = Some(clipvalue);
        self
    }
}

impl<O: HasBase + Sized> OptimizerArguments for O {}

/// Which step an update belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Its number, from 1.
    pub number: u64,
    /// The learning rate.
    pub learning_rate: f32,
}

/// An optimizer.
pub trait Optimizer: HasBase + OptimizerObject + Debug + Send + Sync {
    /// The names of the values that it keeps for each weight, in Keras's order.
    fn slots(&self) -> &'static [&'static str];

    /// Whether Keras stores the slots weight by weight (`m, v` of the first, then of the second…) rather than slot by
    /// slot.
    fn interleaved(&self) -> bool {
        true
    }

    /// The weight after a step; `slots` are changed along.
    ///
    /// # Errors
    /// Whatever an operation refuses.
    fn update(&self, step: Step, weight: Value, gradient: Value, slots: &mut [Value]) -> Result<Value>;

    /// Refuses arguments that make no sense.
    ///
    /// # Errors
    /// [`Error::Argument`].
    fn check(&self) -> Result<()> {
        self.base().check()
    }
}

/// What every optimizer can do because it is a [`Configure`].
pub trait OptimizerObject {
    /// Its class name.
    fn class_name(&self) -> &'static str;
    /// Its arguments, the common ones included.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if it holds something that cannot be written.
    fn config(&self) -> Result<Config>;
    /// A copy.
    fn boxed_clone(&self) -> Box<dyn Optimizer>;
}

impl<O: Optimizer + Configure + Clone + 'static> OptimizerObject for O {
    fn class_name(&self) -> &'static str {
        O::CLASS_NAME
    }

    fn config(&self) -> Result<Config> {
        let mut config = self.base().config(&crate::config::snake_case(O::CLASS_NAME));
        config.extend(Configure::config(self)?);
        Ok(config)
    }

    fn boxed_clone(&self) -> Box<dyn Optimizer> {
        Box::new(self.clone())
    }
}

impl Clone for Box<dyn Optimizer> {
    fn clone(&self) -> Self {
        (**self).boxed_clone()
    }
}
