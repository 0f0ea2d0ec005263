//! One vocabulary, three forms: how a description (a layer, a loss, an optimizer…) is told in Rust, in TOML and in a
//! Keras file.
//!
//! Each description is declared once, with Keras's argument names, types and defaults, by [`describe!`](crate::describe)
//! (a struct with builder methods) or `describe_enum!` (a choice among Keras classes). Its config is then the same map
//! in a recipe and in a Keras file; unknown keys are refused with the nearest known one.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use crate::error::{Error, Result};

/// The arguments of a description by name, as in a Keras file's `config`.
pub type Config = serde_json::Map<String, Json>;

/// A description that can be told as a [`Config`] and made from one.
pub trait Configure: Sized {
    /// The class name, Keras's where Keras has the class.
    const CLASS_NAME: &'static str;
    /// The names of all arguments.
    const ARGUMENTS: &'static [&'static str];

    /// All arguments by name.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if it holds something that cannot be written, such as a closure.
    fn config(&self) -> Result<Config>;

    /// The description that has these arguments; those left out have their defaults.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for an unknown key, [`Error::Argument`] for a wrong value or a missing argument.
    fn from_config(config: Config) -> Result<Self>;
}

/// What can be given for an argument of type `T`: a `T`, and whatever Keras takes in its place, such as `5` for `(5, 5)`
/// or a name for a function.
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

/// Says that an `Into` conversion also holds for arguments.
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

/// Reads arguments out of a config one by one, then refuses what is left.
pub struct Arguments {
    config: Config,
    known: &'static [&'static str],
}

impl Arguments {
    /// Starts reading a config that may have the `known` keys.
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

    /// Refuses arguments that nobody took.
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

/// A value read from JSON; the error names the argument.
pub(crate) fn from_json<T: DeserializeOwned>(name: &str, value: Json) -> Result<T> {
    T::deserialize(&value).map_err(|error| Error::argument(name, expected(&error.to_string()), &value))
}

/// What a message of serde says was expected, in words for those who do not write Rust.
fn expected(message: &str) -> String {
    // An `UnknownName` of this crate, which serde has made a text of.
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
        None => format!("a value that makes sense ({message})"),
    }
}

/// The value that a name stands for, in whatever case, as Keras takes it.
pub(crate) fn one_of<T: Copy, E: serde::de::Error>(
    kind: &'static str,
    told: &Json,
    names: &[(&'static str, T)],
) -> Result<T, E> {
    let name = told.as_str().map_or_else(|| told.to_string(), str::to_owned);
    let found = names.iter().find(|(known, _)| *known == name.to_lowercase());
    let valid = names.iter().map(|(known, _)| known);
    found.map(|(_, value)| *value).ok_or_else(|| E::custom(Error::unknown(kind, name, valid)))
}

/// A value as JSON.
///
/// # Errors
/// [`Error::Unsupported`] if it cannot be written.
pub fn to_json<T: Serialize>(name: &str, value: &T) -> Result<Json> {
    serde_json::to_value(value).map_err(|error| Error::unsupported(format!("saving `{name}`: {error}"), "plain values"))
}

/// The error for an argument without which a description makes no sense.
pub fn missing<T>(name: &str) -> Result<T> {
    Err(Error::argument(name, "a value (it has no default)", "nothing"))
}

/// Keras's snake case: `MaxPooling2D` → `max_pooling2d`, `PReLU` → `p_re_lu`.
///
/// ```
/// # use brasa::config::snake_case;
/// assert_eq!(snake_case("Conv2D"), "conv2d");
/// assert_eq!(snake_case("GlobalAveragePooling2D"), "global_average_pooling2d");
/// assert_eq!(snake_case("RMSprop"), "rm_sprop");
/// assert_eq!(snake_case("ReLU"), "re_lu");
/// assert_eq!(snake_case("LSTM"), "lstm");
/// ```
pub fn snake_case(class_name: &str) -> String {
    let characters: Vec<char> = class_name.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
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

/// The class and config of an object told in any of its forms: a name (`"glorot_uniform"`), a flat table
/// (`{ class_name = "L2", l2 = 0.01 }`), or Keras's `{"module", "class_name", "config", "registered_name"}`.
pub(crate) fn object(kind: &'static str, value: Json) -> Result<(String, Config)> {
    let wrong = |value: &Json| Error::argument(kind, "a name or an object with `class_name`", value);
    match value {
        Json::String(name) => Ok((name, Config::new())),
        Json::Object(mut map) => {
            let Some(Json::String(class)) = map.remove("class_name") else { return Err(wrong(&Json::Object(map))) };
            if let Some(module) = map.remove("module").filter(|module| !module.is_null())
                && !module.as_str().is_some_and(|module| module == "keras" || module.starts_with("keras."))
            {
                return Err(Error::unsupported(
                    format!("{kind} `{class}` of module {module}"),
                    "classes of Keras itself",
                ));
            }
            map.remove("registered_name");
            map.remove("build_config");
            match map.remove("config") {
                Some(Json::Object(config)) => Ok((class, config)),
                Some(Json::Null) | None => Ok((class, map)),
                Some(other) => Err(wrong(&other)),
            }
        }
        other => Err(wrong(&other)),
    }
}

/// Arguments that early versions of Keras 3 do not know and refuse, with the value (as JSON) that they have there: with
/// that value they are not written, so that every Keras 3 opens the file.
const LATE: &[(&str, &str, &str)] = &[
    ("ZeroPadding1D", "data_format", "\"channels_last\""),
    ("Conv1DTranspose", "output_padding", "null"),
    ("Conv2DTranspose", "output_padding", "null"),
    ("Conv3DTranspose", "output_padding", "null"),
    ("Resizing", "antialias", "false"),
    ("SparseCategoricalCrossentropy", "axis", "-1"),
    ("Dice", "axis", "null"),
    ("Tversky", "axis", "null"),
    ("SparseTopKCategoricalAccuracy", "from_sorted_ids", "false"),
];

/// Keras's written form of an object.
pub(crate) fn keras_object(module: &str, class_name: &str, mut config: Config) -> Json {
    for (_, key, default) in LATE.iter().filter(|(class, ..)| *class == class_name) {
        if config.get(*key).is_some_and(|value| format!("{value}") == *default) {
            config.shift_remove(*key);
        }
    }
    // Early versions look this class up by its other name only.
    let class_name = if class_name == "Orthogonal" { "OrthogonalInitializer" } else { class_name };
    json!({"module": module, "class_name": class_name, "config": config, "registered_name": null})
}

/// Whether `name` means the class: its own name or Keras's snake case of it.
pub(crate) fn names_class(name: &str, class_name: &str) -> bool {
    name == class_name || name == snake_case(class_name)
}

/// Declares a description: a struct whose fields are Keras's arguments, each with its default, a builder method, and
/// its place in the config.
///
/// A field is `name: Type = default`; one without a default must be given. With `layer` before `struct` the description
/// is a layer's and also has the arguments that every layer has ([`Common`](crate::layers::Common)); with `optimizer` it
/// is an optimizer's, needs a field `learning_rate`, and has those of every optimizer ([`Base`](crate::optimizers::Base));
/// `with { weight_decay: Some(0.004) }` after the name gives those other defaults. With `callback` it is a callback's;
/// `keeps T` after the name gives it a field `state: T`, a `Default`, for what it remembers.
///
/// ```
/// brasa::describe! {
///     /// Multiplies its input by a learned factor.
///     pub layer struct Scale {
///         /// The factor before training.
///         initial: f32 = 1.0,
///     }
/// }
/// let scale = Scale::default().initial(2.0);
/// ```
#[macro_export]
macro_rules! describe {
    (
        $(#[$outer:meta])*
        $vis:vis layer struct $name:ident $(as $class:literal)? {
            $( $(#[$doc:meta])* $field:ident : $type:ty $(= $default:expr)? ),* $(,)?
        }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Debug)]
        $vis struct $name {
            common: $crate::layers::Common,
            $( $(#[$doc])* $field: $type, )*
        }

        impl $crate::layers::HasCommon for $name {
            fn common(&self) -> &$crate::layers::Common {
                &self.common
            }

            fn common_mut(&mut self) -> &mut $crate::layers::Common {
                &mut self.common
            }
        }

        impl $crate::layers::LayerArguments for $name {}

        $crate::describe!(@items $name [$($class)?] [common: Default::default(),] $( [$(#[$doc])*] $field : $type = [$($default)?], )*);
        $crate::describe!(@new $name [common: Default::default(),] [] [] $( $field : $type = [$($default)?], )*);
    };
    (
        $(#[$outer:meta])*
        $vis:vis optimizer struct $name:ident $(as $class:literal)? $(with { $($base:ident : $start:expr),* })? {
            $( $(#[$doc:meta])* $field:ident : $type:ty $(= $default:expr)? ),* $(,)?
        }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Debug)]
        $vis struct $name {
            base: $crate::optimizers::Base,
            $( $(#[$doc])* $field: $type, )*
        }

        impl $crate::optimizers::HasBase for $name {
            fn base(&self) -> &$crate::optimizers::Base {
                &self.base
            }

            fn base_mut(&mut self) -> &mut $crate::optimizers::Base {
                &mut self.base
            }

            fn learning_rate_argument(&self) -> &$crate::optimizers::LearningRate {
                &self.learning_rate
            }

            fn learning_rate_argument_mut(&mut self) -> &mut $crate::optimizers::LearningRate {
                &mut self.learning_rate
            }
        }

        $crate::describe!(@items $name [$($class)?] [base: $crate::optimizers::Base { $( $($base: $start,)* )? ..$crate::optimizers::Base::new() },] $( [$(#[$doc])*] $field : $type = [$($default)?], )*);
        $crate::describe!(@new $name [base: $crate::optimizers::Base { $( $($base: $start,)* )? ..$crate::optimizers::Base::new() },] [] [] $( $field : $type = [$($default)?], )*);
    };
    (
        $(#[$outer:meta])*
        $vis:vis callback struct $name:ident $(as $class:literal)? keeps $state:ty {
            $( $(#[$doc:meta])* $field:ident : $type:ty $(= $default:expr)? ),* $(,)?
        }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Debug)]
        $vis struct $name {
            state: $state,
            $( $(#[$doc])* $field: $type, )*
        }

        $crate::describe!(@items $name [$($class)?] [state: Default::default(),] $( [$(#[$doc])*] $field : $type = [$($default)?], )*);
        $crate::describe!(@new $name [state: Default::default(),] [] [] $( $field : $type = [$($default)?], )*);
    };
    (
        $(#[$outer:meta])*
        $vis:vis struct $name:ident $(as $class:literal)? {
            $( $(#[$doc:meta])* $field:ident : $type:ty $(= $default:expr)? ),* $(,)?
        }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Debug)]
        $vis struct $name {
            $( $(#[$doc])* $field: $type, )*
        }

        $crate::describe!(@items $name [$($class)?] [] $( [$(#[$doc])*] $field : $type = [$($default)?], )*);
        $crate::describe!(@new $name [] [] [] $( $field : $type = [$($default)?], )*);
    };

    (@items $name:ident [$($class:literal)?] [$($common:tt)*] $( [$(#[$doc:meta])*] $field:ident : $type:ty = [$($default:expr)?], )*) => {
        impl $name {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $field(mut self, $field: impl $crate::config::Argument<$type>) -> Self {
                    self.$field = $field.into_argument();
                    self
                }
            )*
        }

        impl $crate::config::Configure for $name {
            const CLASS_NAME: &'static str = $crate::describe!(@class $name $($class)?);
            const ARGUMENTS: &'static [&'static str] = &[$(stringify!($field)),*];

            fn config(&self) -> $crate::Result<$crate::config::Config> {
                #[allow(unused_mut)]
                let mut config = $crate::config::Config::new();
                $( config.insert(stringify!($field).to_owned(), $crate::config::to_json(stringify!($field), &self.$field)?); )*
                Ok(config)
            }

            fn from_config(config: $crate::config::Config) -> $crate::Result<Self> {
                #[allow(unused_mut)]
                let mut arguments = $crate::config::Arguments::new(config, Self::ARGUMENTS);
                let description = Self {
                    $($common)*
                    $( $field: match arguments.take(stringify!($field))? {
                        Some(value) => value,
                        None => $crate::describe!(@value $field [$($default)?]),
                    }, )*
                };
                arguments.finish()?;
                Ok(description)
            }
        }
    };

    (@class $name:ident $class:literal) => { $class };
    (@class $name:ident) => { stringify!($name) };

    (@value $field:ident []) => { $crate::config::missing(stringify!($field))? };
    (@value $field:ident [$default:expr]) => { $default };

    // A constructor from the fields without default; `Default` where there is none.
    (@new $name:ident [$($common:tt)*] [$($parameter:tt)*] [$($done:tt)*] $field:ident : $type:ty = [], $($rest:tt)*) => {
        $crate::describe!(@new $name [$($common)*] [$($parameter)* $field: $type,] [$($done)* $field,] $($rest)*);
    };
    (@new $name:ident [$($common:tt)*] [$($parameter:tt)*] [$($done:tt)*] $field:ident : $type:ty = [$default:expr], $($rest:tt)*) => {
        $crate::describe!(@new $name [$($common)*] [$($parameter)*] [$($done)* $field: $default,] $($rest)*);
    };
    (@new $name:ident [$($common:tt)*] [] [$($done:tt)*]) => {
        impl Default for $name {
            fn default() -> Self {
                Self { $($common)* $($done)* }
            }
        }
    };
    (@new $name:ident [$($common:tt)*] [$($parameter:tt)+] [$($done:tt)*]) => {
        impl $name {
            /// The description with these arguments and the defaults of all others.
            fn required($($parameter)+) -> Self {
                Self { $($common)* $($done)* }
            }
        }
    };
}

/// Declares a choice among Keras classes, each with its arguments and their defaults.
///
/// The choice can be told by name (`"he_normal"`), as a flat table or as Keras's object. A name that is none of them is
/// kept, and refused with the list of the valid ones by `check`.
macro_rules! describe_enum {
    (
        $(#[$outer:meta])*
        $vis:vis enum $name:ident: $kind:literal in $module:literal, ignoring $ignored:expr, aliases $aliases:expr, {
            $( $(#[$variant_doc:meta])* $variant:ident { $( $(#[$field_doc:meta])* $field:ident : $type:ty = $default:expr ),* $(,)? } ),* $(,)?
        }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        $vis enum $name {
            $( $(#[$variant_doc])* $variant { $( $(#[$field_doc])* $field: $type ),* }, )*
            /// A name that is none of them, kept until it can be refused.
            #[doc(hidden)]
            Unknown(String),
        }

        impl $name {
            /// The Keras classes to choose from.
            pub const CLASS_NAMES: &'static [&'static str] = &[$(stringify!($variant)),*];

            /// The names to choose from, in Keras's snake case.
            pub fn names() -> Vec<String> {
                Self::CLASS_NAMES.iter().map(|class| $crate::config::snake_case(class)).collect()
            }

            /// Refuses a name that is none of [`names`](Self::names).
            ///
            /// # Errors
            /// [`Error::UnknownName`](crate::Error::UnknownName) with the list.
            pub fn check(&self) -> $crate::Result<()> {
                match self {
                    Self::Unknown(name) => Err($crate::Error::unknown($kind, name, Self::names())),
                    _ => Ok(()),
                }
            }

            /// The choice with this class (or snake-case name) and these arguments.
            ///
            /// # Errors
            /// [`Error::UnknownName`](crate::Error::UnknownName) or [`Error::Argument`](crate::Error::Argument).
            pub fn from_config(class: &str, mut config: $crate::config::Config) -> $crate::Result<Self> {
                let ignored: &[&str] = &$ignored;
                config.retain(|key, value| !(ignored.contains(&key.as_str()) && (value.is_null() || key == "name")));
                let aliases: &[(&str, &str)] = &$aliases;
                let class = aliases.iter().find(|(alias, _)| *alias == class).map_or(class, |(_, class)| class);
                $(
                    if $crate::config::names_class(class, stringify!($variant)) {
                        #[allow(unused_mut)]
                        let mut arguments = $crate::config::Arguments::new(config, &[$(stringify!($field)),*]);
                        let choice = Self::$variant {
                            $( $field: match arguments.take(stringify!($field))? { Some(value) => value, None => $default }, )*
                        };
                        arguments.finish()?;
                        return Ok(choice);
                    }
                )*
                Err($crate::Error::unknown($kind, class, Self::names()))
            }

            /// The class name and the arguments.
            pub fn to_config(&self) -> (&str, $crate::config::Config) {
                #[allow(unused_mut)]
                let mut config = $crate::config::Config::new();
                match self {
                    $(
                        Self::$variant { $($field),* } => {
                            $( config.insert(stringify!($field).to_owned(), serde_json::json!($field)); )*
                            (stringify!($variant), config)
                        }
                    )*
                    Self::Unknown(name) => (name, config),
                }
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::from_config(name, $crate::config::Config::new()).unwrap_or_else(|_| Self::Unknown(name.to_owned()))
            }
        }

        $crate::config::also_argument!(&str => $name);

        impl $crate::config::Argument<Option<$name>> for &str {
            fn into_argument(self) -> Option<$name> {
                Some(self.into())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let (class, config) = self.to_config();
                $crate::config::keras_object($module, class, config).serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = serde_json::Value::deserialize(deserializer)?;
                $crate::config::object($kind, value)
                    .and_then(|(class, config)| Self::from_config(&class, config))
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use describe_enum;

/// Declares a choice among names; the first is the default.
///
/// A name that is none of them is kept, and refused with the list of the valid ones by `check`.
macro_rules! choice {
    (
        $(#[$outer:meta])*
        $vis:vis enum $name:ident: $kind:literal {
            $(#[$first_doc:meta])* $first:ident = $first_text:literal
            $(, $(#[$doc:meta])* $variant:ident = $text:literal )* $(,)?
        }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        $vis enum $name {
            $(#[$first_doc])*
            #[default]
            $first,
            $( $(#[$doc])* $variant, )*
            /// A name that is none of them, kept until it can be refused.
            #[doc(hidden)]
            Unknown(String),
        }

        impl $name {
            /// The names to choose from.
            pub const NAMES: &'static [&'static str] = &[$first_text $(, $text)*];

            /// The name.
            pub fn name(&self) -> &str {
                match self {
                    Self::$first => $first_text,
                    $( Self::$variant => $text, )*
                    Self::Unknown(name) => name,
                }
            }

            /// Refuses a name that is none of [`NAMES`](Self::NAMES).
            ///
            /// # Errors
            /// [`Error::UnknownName`](crate::Error::UnknownName) with the list.
            pub fn check(&self) -> $crate::Result<()> {
                match self {
                    Self::Unknown(name) => Err($crate::Error::unknown($kind, name, Self::NAMES)),
                    _ => Ok(()),
                }
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                match name {
                    $first_text => Self::$first,
                    $( $text => Self::$variant, )*
                    _ => Self::Unknown(name.to_owned()),
                }
            }
        }

        $crate::config::also_argument!(&str => $name);

        impl $crate::config::Argument<Option<$name>> for &str {
            fn into_argument(self) -> Option<$name> {
                Some(self.into())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let choice = Self::from(String::deserialize(deserializer)?.as_str());
                choice.check().map_err(serde::de::Error::custom)?;
                Ok(choice)
            }
        }
    };
}
pub(crate) use choice;

#[cfg(test)]
mod tests {
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

    #[test]
    fn what_early_versions_do_not_know_is_written_only_if_it_says_something() {
        let written = |value: Json| {
            let config = Config::from_iter([("padding".to_owned(), json!(1)), ("data_format".to_owned(), value)]);
            keras_object("keras.layers", "ZeroPadding1D", config)["config"].clone()
        };
        assert_eq!(written(json!("channels_last")), json!({"padding": 1}));
        assert_eq!(written(json!("channels_first"))["data_format"], "channels_first");
    }

    #[test]
    fn an_object_of_a_strange_module_is_refused() {
        let object = object("initializer", json!({"module": "os", "class_name": "system", "config": {}}));
        assert!(matches!(object, Err(Error::Unsupported { .. })));
    }
}
