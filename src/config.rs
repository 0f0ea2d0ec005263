//! One declaration, three forms: how the arguments of a layer, loss, optimizer, … are written in Rust, in TOML and in a
//! Keras file.
//!
//! Each description is declared once, with Keras's argument names, types and defaults, by
//! [`describe!`](crate::describe) (a struct with builder methods) or `describe_enum!` (a choice among Keras classes).
//! Its config is then the same map in a recipe and in a Keras file; unknown keys are refused with the nearest known
//! one.

mod choice;
mod describe;
mod finite;
mod object;
mod word;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

pub(crate) use self::choice::{choice, describe_enum};
pub(crate) use self::finite::CHECKED;
pub(crate) use self::object::{
    Origin, PACKAGE_END, is_of_keras, keras_object, known_early, object, object_of, without_package,
};
#[doc(hidden)]
pub use self::word::{AcceptGiven, ArgumentRef, CheckGiven, Word};
pub(crate) use self::word::{word_argument, words};
use crate::error::{Error, RECEIVED, Result, begun};

/// The arguments of a description by name, as in a Keras file's `config`.
pub type Config = serde_json::Map<String, Json>;

/// A description that converts to and from a [`Config`].
pub trait Configure: Sized {
    /// The class name, Keras's where Keras has the class.
    const CLASS_NAME: &'static str;
    /// The names of all arguments.
    const ARGUMENTS: &'static [&'static str];

    /// The class name of this description, where one type stands for several classes; by default that of the type.
    fn class_name(&self) -> &'static str {
        Self::CLASS_NAME
    }

    /// All arguments by name.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if it holds something that cannot be written, such as a closure.
    fn config(&self) -> Result<Config>;

    /// The description with these arguments; omitted ones take their defaults.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for an unknown key, [`Error::Argument`] for a wrong value or a missing argument.
    fn from_config(config: Config) -> Result<Self>;

    /// Rejects arguments that were given as unknown words, such as `padding("sam")`; [`describe!`](crate::describe)
    /// implements it.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the list of valid ones.
    fn check_words(&self) -> Result<()> {
        Ok(())
    }
}

/// Anything accepted for an argument of type `T`: a `T`, or whatever Keras accepts in its place, such as `5` for `(5,
/// 5)` or a name for a function.
pub trait Argument<T> {
    /// The argument.
    fn into_argument(self) -> T;
}

impl<T> Argument<T> for T {
    fn into_argument(self) -> T {
        self
    }
}

impl<T> Argument<Option<T>> for T {
    fn into_argument(self) -> Option<T> {
        Some(self)
    }
}

/// Implements [`Argument`] for types that convert with `Into`.
macro_rules! also_argument {
    ($($from:ty => $to:ty),* $(,)?) => {$(
        impl $crate::config::Argument<$to> for $from {
            fn into_argument(self) -> $to {
                self.into()
            }
        }
    )*};
}
pub(crate) use also_argument;

also_argument!(&str => String);

impl Argument<Option<String>> for &str {
    fn into_argument(self) -> Option<String> {
        Some(self.to_owned())
    }
}

/// Reads arguments out of a config one by one, then rejects the unknown rest.
pub struct Arguments {
    config: Config,
    known: &'static [&'static str],
}

impl Arguments {
    /// Starts reading a config whose valid keys are `known`.
    pub fn new(config: Config, known: &'static [&'static str]) -> Self {
        Self { config, known }
    }

    /// The argument `name`, if it was given.
    ///
    /// # Errors
    /// [`Error::Argument`] if its value is not of the right kind.
    pub fn take<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<Option<T>> {
        let Some(value) = self.config.remove(name) else { return Ok(None) };
        from_json(name, value).map(Some)
    }

    /// Rejects the arguments that were not taken.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for the first of them.
    pub fn finish(self) -> Result<()> {
        match self.config.keys().next() {
            None => Ok(()),
            Some(unknown) => Err(Error::unknown("argument", unknown, self.known)),
        }
    }
}

/// Deserializes a value from JSON; the error names the argument.
pub(crate) fn from_json<T: DeserializeOwned>(name: &str, value: Json) -> Result<T> {
    // By value, which saves a copy.
    let received = begun(&value, RECEIVED);
    T::deserialize(value).map_err(|error| Error::argument(name, expected(&error.to_string()), received))
}

/// A value for a message, truncated to one line: a file can hold a whole model in one value.
pub(crate) fn brief(value: &Json) -> String {
    begun(value, RECEIVED)
}

/// The expectation in a serde error message, reworded for readers who do not write Rust.
fn expected(message: &str) -> String {
    // An `UnknownName` of this crate that serde has turned into text.
    if let Some((unknown, valid)) = message.split_once("; valid: ") {
        let near = unknown.split_once(", did you mean ").map(|(_, near)| format!(" (did you mean {near})"));
        return format!("one of {valid}{}", near.unwrap_or_default());
    }
    match message.rsplit_once(", expected ") {
        Some((_, "u8" | "u16" | "u32" | "u64" | "usize")) => "an integer, 0 or more".into(),
        Some((_, "i8" | "i16" | "i32" | "i64" | "isize")) => "an integer".into(),
        Some((_, "f32" | "f64")) => "a number".into(),
        Some((_, "a boolean")) => "true or false".into(),
        Some((_, "a string" | "path string")) => "a text".into(),
        Some((_, other)) => other.into(),
        None => format!("a valid value ({message})"),
    }
}

/// The value with this name, ignoring case as Keras does.
pub(crate) fn one_of<T: Copy, E: serde::de::Error>(
    kind: &'static str,
    value: &Json,
    names: &[(&'static str, T)],
) -> Result<T, E> {
    let name = value.as_str().map_or_else(|| begun(value, RECEIVED), str::to_owned);
    let found = names.iter().find(|(known, _)| *known == name.to_lowercase());
    let valid = names.iter().map(|(known, _)| known);
    found.map(|(_, value)| *value).ok_or_else(|| E::custom(Error::unknown(kind, name, valid)))
}

/// Serializes a value to JSON.
///
/// # Errors
/// [`Error::Unsupported`] if it cannot be written, such as an infinity or NaN, which JSON does not have.
pub fn to_json<T: Serialize>(name: &str, value: &T) -> Result<Json> {
    finite::check(value)
        .map_err(|refused| Error::unsupported(format!("saving `{name}`: {refused}"), "finite numbers"))?;
    serde_json::to_value(value).map_err(|error| Error::unsupported(format!("saving `{name}`: {error}"), "plain values"))
}

/// The error for a missing required argument.
///
/// # Errors
/// [`Error::Argument`], always.
pub fn missing<T>(name: &str) -> Result<T> {
    Err(Error::argument(name, "a value (it has no default)", "nothing"))
}

/// Keras's snake case: `MaxPooling2D` → `max_pooling2d`, `PReLU` → `p_re_lu`. The package of a registered class is left
/// out, as the class in Python does not have it.
///
/// ```
/// # use brasa::config::snake_case;
/// assert_eq!(snake_case("Conv2D"), "conv2d");
/// assert_eq!(snake_case("GlobalAveragePooling2D"), "global_average_pooling2d");
/// assert_eq!(snake_case("RMSprop"), "rm_sprop");
/// assert_eq!(snake_case("ReLU"), "re_lu");
/// assert_eq!(snake_case("LSTM"), "lstm");
/// assert_eq!(snake_case("my_package>OwnDense"), "own_dense");
/// ```
pub fn snake_case(class_name: &str) -> String {
    let characters: Vec<char> =
        without_package(class_name).chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut snake = String::with_capacity(characters.len() + 4);
    for (i, &c) in characters.iter().enumerate() {
        let before = i.checked_sub(1).map(|j| characters[j]);
        let after = characters.get(i + 1);
        if let Some(before) = before
            && c.is_ascii_uppercase()
            && before != '_'
            && (before.is_ascii_lowercase() || after.is_some_and(char::is_ascii_lowercase))
        {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

/// Whether `name` refers to the class: its own name or Keras's snake case of it. A class with a package is found by its
/// whole name only, as another class can have the part after the package.
pub(crate) fn names_class(name: &str, class_name: &str) -> bool {
    name == class_name || (!class_name.contains(PACKAGE_END) && name == snake_case(class_name))
}

/// The name by which lists show a class, one of those that [`names_class`] accepts: in snake case, or whole with a
/// package.
pub(crate) fn name_of_class(class_name: &str) -> String {
    if class_name.contains(PACKAGE_END) { class_name.to_owned() } else { snake_case(class_name) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn snake_case_is_that_of_keras() {
        let names = [
            ("MaxPooling2D", "max_pooling2d"),
            ("BatchNormalization", "batch_normalization"),
            ("PReLU", "p_re_lu"),
            ("LeakyReLU", "leaky_re_lu"),
            ("ELU", "elu"),
            ("SimpleRNN", "simple_rnn"),
            ("Conv2DTranspose", "conv2d_transpose"),
            ("RMSNormalization", "rms_normalization"),
            ("UpSampling2D", "up_sampling2d"),
            ("AdamW", "adam_w"),
            ("SGD", "sgd"),
        ];
        for (class, snake) in names {
            assert_eq!(snake_case(class), snake);
        }
    }

    #[test]
    fn messages_say_what_is_expected() {
        let message = |value: Json| from_json::<usize>("units", value).unwrap_err().to_string();
        let begin = "invalid value for argument `units`: expected an integer, 0 or more, received ";
        assert_eq!(message(json!("three")), format!("{begin}\"three\""));
        assert_eq!(message(json!(-3)), format!("{begin}-3"));
        let error = from_json::<crate::Activation>("activation", json!("rellu")).unwrap_err().to_string();
        let begin = "invalid value for argument `activation`: expected one of linear, relu";
        assert!(error.starts_with(begin) && error.ends_with("(did you mean `relu`?), received \"rellu\""), "{error}");
    }
}
