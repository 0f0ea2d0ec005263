//! The position of the channels of an image.

use serde::{Deserialize, Serialize};

use super::Shape;
use crate::error::Error;

/// The position of the channels of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DataFormat {
    /// `(batch, rows, columns, channels)`, Keras's default.
    #[default]
    ChannelsLast,
    /// `(batch, channels, rows, columns)`.
    ChannelsFirst,
}

impl<'de> Deserialize<'de> for DataFormat {
    /// Reads the name; Keras also writes `null` for the default.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Option::<String>::deserialize(deserializer)?.as_deref() {
            None | Some("channels_last") => Ok(Self::ChannelsLast),
            Some("channels_first") => Ok(Self::ChannelsFirst),
            Some(other) => {
                let error = Error::unknown("data format", other, ["channels_last", "channels_first"]);
                Err(serde::de::Error::custom(error))
            }
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
