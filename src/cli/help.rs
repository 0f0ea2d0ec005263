//! Shared parts of the commands' help: headings, examples, and values for shell completion.

use std::error::Error as StdError;
use std::ffi::OsStr;
use std::str::FromStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Command};

/// Maximal width of help texts, in a wide terminal.
pub const MOST_COLUMNS: usize = 100;

/// The heading of the arguments that select the device.
pub const COMPUTING: &str = "Computing";
/// The heading of the arguments that select data and how to read it.
pub const DATA: &str = "Data";
/// The heading of the arguments of a run's directory.
pub const RUN: &str = "Run";
/// The heading of the arguments that override a recipe's training settings.
pub const TRAINING: &str = "Training";

/// The values of `--backend`, without an index.
pub const BACKENDS: &[&str] = &["auto", "cpu", "gpu", "flex", "ndarray", "wgpu", "vulkan", "metal", "cuda"];
/// The built-in data sets.
pub const DATA_SETS: &[&str] = &["mnist", "fashion_mnist"];
/// The ranges of `--pixels`.
pub const PIXEL_RANGES: &[&str] = &["0..1", "0..255", "-1..1"];
/// The styles of a summary.
pub const STYLES: &[&str] = &["classic", "keras2", "keras3"];

/// The examples below a command's help, one per line, under a heading in clap's style.
macro_rules! examples {
    ($($line:literal)+) => {
        concat!("\x1b[1;4mExamples:\x1b[0m", $("\n  $ ", $line),+)
    };
}
pub(super) use examples;

/// Parses a value with its `FromStr`, so that errors are the library's; completions offer `values`.
pub fn offering<T>(values: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err: Into<Box<dyn StdError + Send + Sync>>> + Clone + Send + Sync + 'static,
{
    Offering { parser: |text: &str| text.parse::<T>(), values }
}

#[derive(Clone)]
struct Offering<P> {
    parser: P,
    values: &'static [&'static str],
}

impl<P: TypedValueParser> TypedValueParser for Offering<P> {
    type Value = P::Value;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Self::Value, clap::Error> {
        self.parser.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.values.iter().map(PossibleValue::new)))
    }
}

#[cfg(test)]
mod tests {
    use brasa::backend::Backend;
    use brasa::datasets::PixelRange;
    use brasa::model::summary::Style;

    use super::*;

    #[test]
    fn completions_offer_only_values_that_parse() {
        for name in BACKENDS {
            name.parse::<Backend>().unwrap();
        }
        for name in PIXEL_RANGES {
            name.parse::<PixelRange>().unwrap();
        }
        for name in STYLES {
            name.parse::<Style>().unwrap();
        }
    }
}
