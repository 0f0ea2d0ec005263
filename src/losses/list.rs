//! The list of built-in losses, and how a loss is specified.

use std::any::TypeId;

use serde_json::Value as Json;

use super::{
    BinaryCrossentropy, BinaryFocalCrossentropy, CTC, CategoricalCrossentropy, CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy, CategoricalHinge, Circle, CosineSimilarity, Dice, Hinge, Huber, KLDivergence,
    LogCosh, Loss, MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredError, MeanSquaredLogarithmicError,
    Poisson, SparseCategoricalCrossentropy, SquaredHinge, Tversky,
};
use crate::config::{Config, Configure, keras_object, known_early, names_class, object_of};
use crate::error::{Error, Result};
use crate::register::{Register, own_object};

type Maker = fn(Config) -> Result<Box<dyn Loss>>;

/// A class: its name, its constructor, its type.
type LossEntry = (&'static str, Maker, fn() -> TypeId);

const fn entry<L: Loss + Configure + Clone + 'static>() -> LossEntry {
    let make = |mut config: Config| -> Result<Box<dyn Loss>> {
        // A custom loss can have no argument `name`.
        if !L::ARGUMENTS.contains(&"name") {
            config.remove("name");
        }
        Ok(Box::new(L::from_config(config)?))
    };
    (L::CLASS_NAME, make, TypeId::of::<L>)
}

/// All built-in losses. To add one, add its description and a line here.
const LIST: &[LossEntry] = &[
    entry::<MeanSquaredError>(),
    entry::<MeanAbsoluteError>(),
    entry::<MeanAbsolutePercentageError>(),
    entry::<MeanSquaredLogarithmicError>(),
    entry::<Huber>(),
    entry::<LogCosh>(),
    entry::<CosineSimilarity>(),
    entry::<Hinge>(),
    entry::<SquaredHinge>(),
    entry::<CategoricalHinge>(),
    entry::<KLDivergence>(),
    entry::<Poisson>(),
    entry::<BinaryCrossentropy>(),
    entry::<BinaryFocalCrossentropy>(),
    entry::<CategoricalCrossentropy>(),
    entry::<CategoricalFocalCrossentropy>(),
    entry::<SparseCategoricalCrossentropy>(),
    entry::<CategoricalGeneralizedCrossEntropy>(),
    entry::<Dice>(),
    entry::<Tversky>(),
    entry::<Circle>(),
    entry::<CTC>(),
];

/// Keras's aliases.
const ALIASES: &[(&str, &str)] = &[
    ("mse", "MeanSquaredError"),
    ("MSE", "MeanSquaredError"),
    ("mae", "MeanAbsoluteError"),
    ("MAE", "MeanAbsoluteError"),
    ("mape", "MeanAbsolutePercentageError"),
    ("MAPE", "MeanAbsolutePercentageError"),
    ("msle", "MeanSquaredLogarithmicError"),
    ("MSLE", "MeanSquaredLogarithmicError"),
    ("kld", "KLDivergence"),
    ("k_l_divergence", "KLDivergence"),
    ("KLD", "KLDivergence"),
    ("huber_loss", "Huber"),
    ("logcosh", "LogCosh"),
    ("bce", "BinaryCrossentropy"),
    ("BCE", "BinaryCrossentropy"),
];

static OWN: Register<Maker> = Register::new();

/// Registers a custom loss by its class name and its snake case, so that files and recipes can load it and `compile`
/// accepts the name.
///
/// A built-in class takes precedence; a class with its name needs a package (`struct Poisson as "my_package>Poisson"`),
/// which is then part of the name that `compile` accepts.
///
/// ```
/// use brasa::losses::{self, Loss};
/// use brasa::prelude::*;
/// use brasa::{Result, Value};
///
/// brasa::describe! {
///     /// The mean of the fourth powers of the errors.
///     pub struct QuarticError {}
/// }
///
/// impl Loss for QuarticError {
///     fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
///         let last = y_pred.rank() - 1;
///         Ok((y_pred - y_true).square().square().mean_axis(last))
///     }
/// }
///
/// losses::register::<QuarticError>();
/// let compile = Compile::new("adam", "quartic_error");
/// # Sequential::new().compile(compile)?;
/// # Ok::<(), brasa::Error>(())
/// ```
pub fn register<L: Loss + Configure + Clone + 'static>() {
    let (class, make, _) = entry::<L>();
    OWN.insert(class, make);
}

/// All names of losses.
pub fn names() -> Vec<String> {
    let classes = LIST.iter().map(|(class, ..)| crate::config::snake_case(class)).chain(OWN.names());
    classes.chain(ALIASES.iter().map(|(alias, _)| (*alias).to_owned())).collect()
}

/// Whether a type is one of the built-in classes.
pub(super) fn is_built_in<L: 'static>() -> bool {
    LIST.iter().any(|(_, _, own)| own() == TypeId::of::<L>())
}

/// Whether a built-in loss has this class, name or alias.
pub(crate) fn is_built_in_name(class: &str) -> bool {
    maker(class).is_some()
}

/// Whether an own loss of this class or name is registered.
pub(crate) fn is_registered(class: &str) -> bool {
    OWN.get(class).is_some()
}

/// The constructor of a built-in class, by class, name or alias.
fn maker(class: &str) -> Option<Maker> {
    let class = ALIASES.iter().find(|(alias, _)| *alias == class).map_or(class, |(_, class)| class);
    LIST.iter().find(|(name, ..)| names_class(class, name)).map(|(_, make, _)| *make)
}

/// Creates the loss of a class (or name) with these arguments.
pub(crate) fn from_class(class: &str, mut config: Config) -> Result<Box<dyn Loss>> {
    if config.get("dtype").is_some_and(|dtype| dtype.is_null() || dtype == "float32" || dtype.is_object()) {
        config.remove("dtype");
    }
    match maker(class).or_else(|| OWN.get(class)) {
        Some(make) => make(config),
        None => Err(Error::unknown("loss", class, names())),
    }
}

/// A loss given by name or as an object.
#[derive(Clone, Debug)]
pub struct LossArgument(Spec);

#[derive(Clone, Debug)]
enum Spec {
    Name(String),
    Loss(Box<dyn Loss>),
}

impl From<&str> for LossArgument {
    fn from(name: &str) -> Self {
        Self(Spec::Name(name.to_owned()))
    }
}

impl<L: Loss + 'static> From<L> for LossArgument {
    fn from(loss: L) -> Self {
        Self(Spec::Loss(Box::new(loss)))
    }
}

impl LossArgument {
    /// The loss.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the list, [`Error::Argument`] for invalid arguments.
    pub fn resolve(&self) -> Result<Box<dyn Loss>> {
        let loss = match &self.0 {
            Spec::Name(name) => from_class(name, Config::new())?,
            Spec::Loss(loss) => loss.clone(),
        };
        loss.reduction().check()?;
        loss.check()?;
        Ok(loss)
    }

    /// Parses a loss from a config: a name or Keras's object.
    ///
    /// # Errors
    /// [`Error::UnknownName`], [`Error::Argument`].
    pub fn from_json(json: Json) -> Result<Self> {
        let (class, config) = object_of("loss", json, |class| OWN.origin(class, is_built_in_name(class)))?;
        if config.is_empty() {
            // An unknown name is refused here; a known one is kept as a name.
            from_class(&class, Config::new())?;
            return Ok(Self(Spec::Name(class)));
        }
        from_class(&class, config).map(|loss| Self(Spec::Loss(loss)))
    }

    /// Serializes the loss for a config.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if it cannot be serialized.
    pub(crate) fn to_json(&self) -> Result<Json> {
        match &self.0 {
            Spec::Name(name) => match OWN.get(name).filter(|_| !is_built_in_name(name)) {
                // Keras finds an own class only by the registered name in its object.
                Some(make) => Self(Spec::Loss(make(Config::new())?)).to_json(),
                None => Ok(Json::String(name.clone())),
            },
            Spec::Loss(loss) if loss.is_built_in() => {
                Ok(keras_object("keras.losses", loss.class_name(), without_late(loss.class_name(), loss.config()?)))
            }
            Spec::Loss(loss) => own_object("loss", loss.class_name(), is_built_in_name, loss.config()?),
        }
    }

    /// Like [`to_json`](Self::to_json), but as an object for a loss given by name.
    pub(crate) fn to_object(&self) -> Result<Json> {
        match &self.0 {
            Spec::Name(name) => Self(Spec::Loss(from_class(name, Config::new())?)).to_json(),
            Spec::Loss(_) => self.to_json(),
        }
    }
}

/// Arguments that early versions of Keras 3 do not have, with the value (as JSON) that is implied there.
const LATE: &[(&str, &str, &str)] =
    &[("SparseCategoricalCrossentropy", "axis", "-1"), ("Dice", "axis", "null"), ("Tversky", "axis", "null")];

/// Drops such arguments with the implied value, so that early versions of Keras 3 can read the config.
pub(crate) fn without_late(class: &str, config: Config) -> Config {
    LATE.iter()
        .filter(|(own, ..)| *own == class)
        .fold(config, |config, (_, key, value)| known_early(config, &[(key, value)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_resolve_and_others_are_listed() {
        assert_eq!(LossArgument::from("mse").resolve().unwrap().class_name(), "MeanSquaredError");
        let error = LossArgument::from("sparse_categorical_crossentrop").resolve().unwrap_err().to_string();
        assert!(error.contains("did you mean `sparse_categorical_crossentropy`?"), "{error}");
    }
}
