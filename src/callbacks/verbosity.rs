//! The amount of output.

use crate::error::{Error, Result};

/// The amount of output: Keras's `verbose`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verbosity {
    /// A bar in a terminal, lines elsewhere: Keras's `"auto"`.
    #[default]
    Auto,
    /// Nothing: Keras's 0.
    Silent,
    /// A bar: Keras's 1. Without a terminal this is [`Verbosity::Line`].
    Bar,
    /// One line per epoch: Keras's 2.
    Line,
}

impl TryFrom<u8> for Verbosity {
    type Error = Error;

    /// Reads Keras's number.
    fn try_from(verbose: u8) -> Result<Self> {
        match verbose {
            0 => Ok(Self::Silent),
            1 => Ok(Self::Bar),
            2 => Ok(Self::Line),
            _ => Err(Error::argument("verbose", "0, 1 or 2", verbose)),
        }
    }
}
