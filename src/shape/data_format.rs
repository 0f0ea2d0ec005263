//! The position of the channels of an image.

use serde::Deserialize;

use super::Shape;
use crate::config::words;

/// The position of the channels of an image: `DataFormat::ChannelsFirst`, or the word `"channels_first"`.
///
/// ```
/// use brasa::prelude::*;
/// let mut model = Sequential::new();
/// model.add(MaxPooling2D::new(2).data_format("channels_first").input_shape((3, 8, 8)))?;
/// assert_eq!(model.output_shape()?.to_string(), "(None, 3, 4, 4)");
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataFormat {
    /// `(batch, rows, columns, channels)`, Keras's default.
    #[default]
    ChannelsLast,
    /// `(batch, channels, rows, columns)`.
    ChannelsFirst,
    /// An unknown word. It is kept until the layer is added, whose error names the layer and lists the valid words, so
    /// that `.data_format("channels_first")` needs no `?`.
    Unknown(&'static str),
}

words! { DataFormat: "data format" { ChannelsLast = "channels_last", ChannelsFirst = "channels_first" } }

impl<'de> Deserialize<'de> for DataFormat {
    /// Reads the name; Keras also writes `null` for the default.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Option::<String>::deserialize(deserializer)?.as_deref() {
            None => Ok(Self::ChannelsLast),
            Some(word) => word.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl DataFormat {
    /// The same shape with the channels last.
    pub fn to_channels_last(self, shape: &Shape) -> Shape {
        match (self, shape.sizes()) {
            (Self::ChannelsFirst, [batch, channels, space @ ..]) => {
                Shape::new([&[*batch], space, &[*channels]].concat())
            }
            _ => shape.clone(),
        }
    }

    /// A shape with the channels last, in this format.
    pub fn from_channels_last(self, shape: &Shape) -> Shape {
        match (self, shape.sizes()) {
            (Self::ChannelsFirst, [batch, space @ .., channels]) => {
                Shape::new([&[*batch], &[*channels], space].concat())
            }
            _ => shape.clone(),
        }
    }
}
