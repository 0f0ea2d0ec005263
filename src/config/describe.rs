//! Descriptions that have arguments: `describe!`.

/// Declares a description: a struct whose public fields are Keras's arguments, each with its default, a builder method,
/// and its place in the config.
///
/// A field is `name: Type = default`; one without a default is required. With `layer` before `struct` the description
/// is a layer's and also has the arguments of every layer ([`Common`](crate::layers::Common)); with `optimizer` it is
/// an optimizer's, needs a field `learning_rate`, and has the arguments of every optimizer
/// ([`Base`](crate::optimizers::Base)); `with { weight_decay: Some(0.004) }` after the name overrides their defaults.
/// With `callback` it is a callback's; `keeps T` after the name adds a field `state: T` (`T: Default`) for its state.
///
/// `struct Name as "Class"` sets the class name in files and recipes, which is otherwise that of the struct.
/// `"my_package>Class"` has the package of Python's `register_keras_serializable(package="my_package")`, which is
/// `Custom` otherwise; an own class with the name of a built-in one needs a package. The type of a field is `Clone +
/// Debug + Serialize + DeserializeOwned`: an enum of one's own derives serde's two traits (add the crate `serde`). No
/// field of a layer is called `common`, or like an [argument of every layer](crate::layers::Common::ARGUMENTS).
///
/// ```
/// brasa::describe! {
///     /// Multiplies its input by a learned factor.
///     pub layer struct Scale as "LearnedScale" {
///         /// The factor before training.
///         initial: f32 = 1.0,
///     }
/// }
/// let scale = Scale::default().initial(2.0);
/// assert_eq!(scale.initial, 2.0);
/// assert_eq!(<Scale as brasa::config::Configure>::CLASS_NAME, "LearnedScale");
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
            $( $(#[$doc])* pub $field: $type, )*
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
            $( $(#[$doc])* pub $field: $type, )*
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
            $( $(#[$doc])* pub $field: $type, )*
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
        #[non_exhaustive]
        $vis struct $name {
            $( $(#[$doc])* pub $field: $type, )*
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

            // Without fields the imports are unused; the borrow selects the trait by the type of a field.
            #[allow(unused_imports, clippy::needless_borrow)]
            fn check_words(&self) -> $crate::Result<()> {
                use $crate::config::{AcceptGiven as _, CheckGiven as _};
                $( (&$crate::config::ArgumentRef(&self.$field)).check_given()?; )*
                Ok(())
            }
        }
    };

    (@class $name:ident $class:literal) => { $class };
    (@class $name:ident) => { stringify!($name) };

    (@value $field:ident []) => { $crate::config::missing(stringify!($field))? };
    (@value $field:ident [$default:expr]) => { $default };

    // A constructor from the required fields, or `Default` without any.
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
            /// The description with these arguments and defaults for all others.
            fn required($($parameter)+) -> Self {
                Self { $($common)* $($done)* }
            }
        }
    };
}
