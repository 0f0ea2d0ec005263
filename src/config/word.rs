//! Arguments given as words: an unknown word is an error when the layer is added.

use crate::error::Result;

/// An argument that can be given as a word. Setters keep an unknown word, as they return no error.
#[doc(hidden)]
pub trait Word {
    /// Rejects an unknown word.
    ///
    /// # Errors
    /// [`Error::UnknownName`](crate::Error::UnknownName) with the list of valid ones.
    fn check_word(&self) -> Result<()>;
}

impl<T: Word> Word for Option<T> {
    fn check_word(&self) -> Result<()> {
        self.as_ref().map_or(Ok(()), T::check_word)
    }
}

impl<T: Word> Word for Vec<T> {
    fn check_word(&self) -> Result<()> {
        self.iter().try_for_each(T::check_word)
    }
}

/// An argument of any type, as [`describe!`](crate::describe) checks it: `(&ArgumentRef(&argument)).check_given()` is the
/// method of [`CheckGiven`] if the type is a [`Word`]; else the compiler takes one more reference, and finds that of
/// [`AcceptGiven`].
#[doc(hidden)]
pub struct ArgumentRef<'a, T>(pub &'a T);

/// The check of a word.
#[doc(hidden)]
pub trait CheckGiven {
    /// Rejects an unknown word.
    ///
    /// # Errors
    /// That of [`Word::check_word`].
    fn check_given(&self) -> Result<()>;
}

impl<T: Word> CheckGiven for ArgumentRef<'_, T> {
    fn check_given(&self) -> Result<()> {
        self.0.check_word()
    }
}

/// No check of anything else.
#[doc(hidden)]
pub trait AcceptGiven {
    /// Accepts the argument.
    ///
    /// # Errors
    /// None.
    fn check_given(&self) -> Result<()>;
}

impl<T> AcceptGiven for &ArgumentRef<'_, T> {
    fn check_given(&self) -> Result<()> {
        Ok(())
    }
}

/// An argument that can be given as a word: by setters (of an `Option` of it as well), in the check of a layer's words, and
/// written as one. The type is made from the word by `From`, and has methods `check` and `name`.
macro_rules! word_argument {
    ($from:ty => $name:ident) => {
        $crate::config::also_argument!($from => $name);

        impl $crate::config::Argument<Option<$name>> for $from {
            fn into_argument(self) -> Option<$name> {
                Some(self.into())
            }
        }

        impl $crate::config::Word for $name {
            fn check_word(&self) -> $crate::Result<()> {
                self.check()
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }
    };
}
pub(crate) use word_argument;

/// Lets a plain enum with a variant `Unknown(&'static str)` be given as a word in any case, as in Keras, and be written
/// as one.
macro_rules! words {
    ($name:ident: $kind:literal { $( $variant:ident = $text:literal ),* $(,)? }) => {
        impl $name {
            /// The words to choose from.
            pub const NAMES: &'static [&'static str] = &[$($text),*];

            /// The choice of this word in any case, if it is one of [`NAMES`](Self::NAMES).
            fn of_word(word: &str) -> Option<Self> {
                $( if word.eq_ignore_ascii_case($text) { return Some(Self::$variant); } )*
                None
            }

            /// The word.
            pub fn name(self) -> &'static str {
                match self {
                    $( Self::$variant => $text, )*
                    Self::Unknown(word) => word,
                }
            }

            /// Rejects a word that is not one of [`NAMES`](Self::NAMES).
            ///
            /// # Errors
            /// [`Error::UnknownName`](crate::Error::UnknownName) with the list.
            pub fn check(self) -> $crate::Result<()> {
                match self {
                    Self::Unknown(word) => Err($crate::Error::unknown($kind, word, Self::NAMES)),
                    _ => Ok(()),
                }
            }
        }

        impl From<&'static str> for $name {
            fn from(word: &'static str) -> Self {
                Self::of_word(word).unwrap_or(Self::Unknown(word))
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::Error;

            /// Parses a word that is not a literal; the error for an unknown one lists the valid ones.
            fn from_str(word: &str) -> $crate::Result<Self> {
                Self::of_word(word).ok_or_else(|| $crate::Error::unknown($kind, word, Self::NAMES))
            }
        }

        $crate::config::word_argument!(&'static str => $name);
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use crate::layers::{Conv2D, LayerArguments, MaxPooling2D, TimeDistributed, UpSampling2D};
    use crate::model::Sequential;
    use crate::shape::{DataFormat, Padding};
    use crate::{Error, Result};

    fn added(layer: impl Into<Box<dyn crate::layers::Layer>>) -> Result<()> {
        Sequential::new().add(layer).map(|_| ())
    }

    #[test]
    fn words_are_taken_in_any_case() {
        assert_eq!((Padding::from("SAME"), Padding::from("causal")), (Padding::Same, Padding::Causal));
        assert_eq!("channels_first".parse::<DataFormat>().unwrap(), DataFormat::ChannelsFirst);
        assert!("channels".parse::<DataFormat>().is_err());
        let conv = Conv2D::new(2, 3).padding("same").data_format("channels_first").input_shape((1, 8, 8));
        assert_eq!((conv.padding, conv.data_format), (Padding::Same, DataFormat::ChannelsFirst));
        let mut model = Sequential::new();
        model.add(conv).unwrap();
        assert_eq!(model.output_shape().unwrap().to_string(), "(None, 2, 8, 8)");
    }

    #[test]
    fn an_unknown_word_is_an_error_that_names_the_layer() {
        let conv = || Conv2D::new(2, 3).padding("sam");
        for refused in [
            added(conv().name("own").input_shape((8, 8, 1))),
            added(TimeDistributed::new(conv()).name("own").input_shape((4, 8, 8, 1))),
            added(MaxPooling2D::new(2).data_format("chanels_last").name("own").input_shape((8, 8, 1))),
            added(UpSampling2D::new(2).interpolation("bilinea").name("own").input_shape((8, 8, 1))),
        ] {
            let error = refused.unwrap_err();
            assert!(matches!(&error, Error::Layer { layer, .. } if layer == "own"), "{error}");
            assert!(error.to_string().contains("did you mean"), "{error}");
        }
    }
}
