//! The list of built-in schedules, and how a schedule is specified.

use std::any::TypeId;

use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use super::{
    CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay, LearningRate, PiecewiseConstantDecay,
    PolynomialDecay, Schedule,
};
use crate::config::{self, Config, Configure, also_argument, keras_object, names_class};
use crate::error::{Error, Result};
use crate::register::own_object;

type Maker = fn(Config) -> Result<Box<dyn Schedule>>;

/// Declares the list, and the conversion of each of its schedules to a learning rate.
macro_rules! schedules {
    ($($schedule:ident),* $(,)?) => {
        /// All built-in schedules. To add one, add its description and a name here.
        const LIST: &[(&str, Maker)] = &[$(entry::<$schedule>()),*];

        /// Their types.
        const TYPES: &[fn() -> TypeId] = &[$(TypeId::of::<$schedule>),*];

        $(
            impl From<$schedule> for LearningRate {
                fn from(schedule: $schedule) -> Self {
                    Self::schedule(schedule)
                }
            }

            also_argument!($schedule => LearningRate);
        )*
    };
}

schedules! {
    ExponentialDecay, InverseTimeDecay, PolynomialDecay, PiecewiseConstantDecay, CosineDecay, CosineDecayRestarts,
}

const fn entry<S: Schedule + Configure + Clone + 'static>() -> (&'static str, Maker) {
    (S::CLASS_NAME, |config| {
        let schedule = S::from_config(config)?;
        schedule.check()?;
        Ok(Box::new(schedule))
    })
}

/// A schedule with this config in the form of a Keras file.
///
/// # Errors
/// [`Error::Unsupported`] for an own schedule with the name of a built-in class.
pub(super) fn object<S: Configure + 'static>(config: Config) -> Result<Json> {
    if TYPES.iter().any(|own| own() == TypeId::of::<S>()) {
        return Ok(keras_object("keras.optimizers.schedules", S::CLASS_NAME, config));
    }
    let is_built_in = |class: &str| LIST.iter().any(|(name, _)| names_class(class, name));
    own_object("learning rate schedule", S::CLASS_NAME, is_built_in, config)
}

/// The class names of all built-in schedules.
pub fn names() -> Vec<&'static str> {
    LIST.iter().map(|(class, _)| *class).collect()
}

/// Parses a schedule from a config: Keras's object or a flat table.
///
/// # Errors
/// [`Error::UnknownName`] for a class that is not among [`names`], [`Error::Argument`] for invalid arguments.
pub fn from_json(json: Json) -> Result<Box<dyn Schedule>> {
    let (class, config) = config::object("learning rate schedule", json)?;
    match LIST.iter().find(|(name, _)| names_class(&class, name)) {
        Some((_, make)) => make(config),
        None => Err(Error::unknown("learning rate schedule", class, names())),
    }
}

impl<'de> Deserialize<'de> for LearningRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Json::deserialize(deserializer)? {
            Json::Number(rate) => match rate.as_f64() {
                Some(rate) => Ok(Self::Constant(rate as f32)),
                None => Err(serde::de::Error::custom("a number or a learning rate schedule")),
            },
            object @ Json::Object(_) => from_json(object).map(Self::Schedule).map_err(serde::de::Error::custom),
            _ => Err(serde::de::Error::custom("a number or a learning rate schedule")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    crate::describe! {
        /// An own schedule.
        struct OwnDecay {}
    }

    impl Schedule for OwnDecay {
        fn at(&self, _: u64) -> f32 {
            0.5
        }
    }

    /// It is written as Keras writes own classes, and cannot be registered.
    #[test]
    fn an_own_schedule_is_not_loaded() {
        let own: Box<dyn Schedule> = Box::new(OwnDecay::default());
        let error = from_json(own.object().unwrap()).unwrap_err().to_string();
        assert!(error.contains("`OwnDecay`") && error.contains("no others of this kind"), "{error}");
    }

    #[test]
    fn invalid_arguments_are_refused() {
        let refused = |class: &str, config: Json| {
            from_json(json!({"class_name": class, "config": config})).unwrap_err().to_string()
        };
        let zero = json!({"initial_learning_rate": 0.1, "decay_steps": 0, "decay_rate": 0.5});
        assert!(refused("ExponentialDecay", zero).contains("decay_steps"));
        assert!(refused("CosineDecay", json!({"decay_steps": 5})).contains("initial_learning_rate"));
        let uneven = json!({"boundaries": [10, 20], "values": [0.1, 0.2]});
        assert!(refused("PiecewiseConstantDecay", uneven).contains("3 rates"));
        assert!(refused("ExponentialDeacy", json!({})).contains("did you mean `ExponentialDecay`?"));
    }
}
