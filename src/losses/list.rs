//! The one list of built-in losses, and how a loss is told.

use serde_json::Value as Json;

use super::{
    BinaryCrossentropy, BinaryFocalCrossentropy, CTC, CategoricalCrossentropy, CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy, CategoricalHinge, Circle, CosineSimilarity, Dice, Hinge, Huber, KLDivergence,
    LogCosh, Loss, MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredError, MeanSquaredLogarithmicError,
    Poisson, SparseCategoricalCrossentropy, SquaredHinge, Tversky,
};
use crate::config::{Config, Configure, keras_object, names_class, object};
use crate::error::{Error, Result};

type Maker = fn(Config) -> Result<Box<dyn Loss>>;

const fn entry<L: Loss + Configure + Clone + 'static>() -> (&'static str, Maker) {
    (L::CLASS_NAME, |config| Ok(Box::new(L::from_config(config)?)))
}

/// Every built-in loss. A new one is its description and a line here.
const LIST: &[(&str, Maker)] = &[
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

/// Keras's short names.
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
    ("KLD", "KLDivergence"),
    ("huber_loss", "Huber"),
    ("logcosh", "LogCosh"),
    ("bce", "BinaryCrossentropy"),
    ("BCE", "BinaryCrossentropy"),
];

/// Every name by which a loss can be told.
pub fn names() -> Vec<String> {
    let classes = LIST.iter().map(|(class, _)| crate::config::snake_case(class));
    classes.chain(ALIASES.iter().map(|(alias, _)| (*alias).to_owned())).collect()
}

/// The loss of a class (or name) with these arguments.
pub(crate) fn from_class(class: &str, mut config: Config) -> Result<Box<dyn Loss>> {
    if config.get("dtype").is_some_and(|dtype| dtype.is_null() || dtype == "float32" || dtype.is_object()) {
        config.remove("dtype");
    }
    let class = ALIASES.iter().find(|(alias, _)| *alias == class).map_or(class, |(_, class)| class);
    match LIST.iter().find(|(name, _)| names_class(class, name)) {
        Some((_, make)) => make(config),
        None => Err(Error::unknown("loss", class, names())),
    }
}

/// A loss as it is told: by name or as an object.
#[derive(Clone, Debug)]
pub struct LossArgument(Told);

#[derive(Clone, Debug)]
enum Told {
    Name(String),
    Loss(Box<dyn Loss>),
}

impl From<&str> for LossArgument {
    fn from(name: &str) -> Self {
        Self(Told::Name(name.to_owned()))
    }
}

impl<L: Loss + 'static> From<L> for LossArgument {
    fn from(loss: L) -> Self {
        Self(Told::Loss(Box::new(loss)))
    }
}

impl LossArgument {
    /// The loss.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the list, [`Error::Argument`] for arguments that make no sense.
    pub fn resolve(&self) -> Result<Box<dyn Loss>> {
        let loss = match &self.0 {
            Told::Name(name) => from_class(name, Config::new())?,
            Told::Loss(loss) => loss.clone(),
        };
        loss.check()?;
        Ok(loss)
    }

    /// The loss that a config tells, by name or as Keras's object.
    ///
    /// # Errors
    /// [`Error::UnknownName`], [`Error::Argument`].
    pub fn from_json(json: Json) -> Result<Self> {
        let (class, config) = object("loss", json)?;
        if config.is_empty() {
            // Refused here if unknown, kept as a name if known.
            from_class(&class, Config::new())?;
            return Ok(Self(Told::Name(class)));
        }
        from_class(&class, config).map(|loss| Self(Told::Loss(loss)))
    }

    /// The loss as a config tells it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if it cannot be written.
    pub(crate) fn to_json(&self) -> Result<Json> {
        match &self.0 {
            Told::Name(name) => Ok(Json::String(name.clone())),
            Told::Loss(loss) => Ok(keras_object("keras.losses", loss.class_name(), loss.config()?)),
        }
    }
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
