//! Choices among classes (`describe_enum!`) and among names (`choice!`).

/// Declares a choice among Keras classes, each with its arguments and their defaults.
///
/// The choice can be given by name (`"he_normal"`), as a flat table or as Keras's object. An unknown name is kept, and
/// `check` rejects it with the list of the valid ones.
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
            /// An unknown name. It is kept until the model is built, whose error names the layer and lists the
            /// valid names, so that `.argument("name")` needs no `?`.
            Unknown(String),
        }

        impl $name {
            /// The Keras classes to choose from.
            pub const CLASS_NAMES: &'static [&'static str] = &[$(stringify!($variant)),*];

            /// The names to choose from, in Keras's snake case.
            pub fn names() -> Vec<String> {
                Self::CLASS_NAMES.iter().map(|class| $crate::config::snake_case(class)).collect()
            }

            /// Rejects a name that is not one of [`names`](Self::names).
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
                #[allow(unused_mut)]
                let mut config = $crate::config::Config::new();
                let class = match self {
                    $(
                        Self::$variant { $($field),* } => {
                            $(
                                let json = $crate::config::to_json(stringify!($field), $field);
                                config.insert(stringify!($field).to_owned(), json.map_err(serde::ser::Error::custom)?);
                            )*
                            stringify!($variant)
                        }
                    )*
                    Self::Unknown(name) => name,
                };
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
/// An unknown name is kept, and `check` rejects it with the list of the valid ones.
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
            /// An unknown name. It is kept until the model is built, whose error names the layer and lists the
            /// valid names, so that `.argument("name")` needs no `?`.
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

            /// Rejects a name that is not one of [`NAMES`](Self::NAMES).
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

        $crate::config::word_argument!(&str => $name);

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
