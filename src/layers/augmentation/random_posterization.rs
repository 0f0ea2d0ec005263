//! `RandomPosterization`: reduces images' bits per channel.

use serde::{Deserialize, Deserializer, Serialize};

use super::factor::{Factor, ValueRange};
use super::images::Images;
use super::{Augmentation, Streams, image_layer};
use crate::config::also_argument;
use crate::error::{Error, Result};
use crate::layers::BuiltIn;
use crate::random::Random;
use crate::shape::{DataFormat, Shape};

/// The number of bits: from 1 to a number, or a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Bits {
    /// From 1 to this number.
    UpTo(u32),
    /// From one number to another, in either order.
    Range(u32, u32),
}

/// The expected values of [`Bits`].
const EXPECTED: &str = "a whole number, or a pair of whole numbers, from 1 to 8";

impl<'de> Deserialize<'de> for Bits {
    /// Parses integers, including those written as `3.0`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole = |number: f32| (number.fract() == 0.0 && (0.0..=255.0).contains(&number)).then_some(number as u32);
        let bits = match Factor::deserialize(deserializer) {
            Ok(Factor::One(number)) => whole(number).map(Self::UpTo),
            Ok(Factor::Range(from, to)) => whole(from).zip(whole(to)).map(|(from, to)| Self::Range(from, to)),
            Err(_) => None,
        };
        bits.ok_or_else(|| serde::de::Error::custom(format!("it is another value, expected {EXPECTED}")))
    }
}

impl From<u32> for Bits {
    fn from(most: u32) -> Self {
        Self::UpTo(most)
    }
}

impl From<(u32, u32)> for Bits {
    fn from((from, to): (u32, u32)) -> Self {
        Self::Range(from, to)
    }
}

impl From<[u32; 2]> for Bits {
    fn from([from, to]: [u32; 2]) -> Self {
        Self::Range(from, to)
    }
}

also_argument!(u32 => Bits, (u32, u32) => Bits, [u32; 2] => Bits);

crate::describe! {
    /// Keeps a random number of the leading bits of each value of an image in training.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RandomPosterization::new((4, 8)).value_range((0.0, 1.0)).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandomPosterization {
        /// The number of bits, from 1 to 8. The upper end of a pair is exclusive, unless both are equal: `(4, 8)` keeps
        /// from 4 to 7 bits. A single number means from 1 to it: 5 keeps 1 to 4 bits.
        factor: Bits,
        /// The range of the images' values.
        value_range: ValueRange = ValueRange::BYTES,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
    }
}

impl RandomPosterization {
    /// Keeps a number of bits drawn from `factor`.
    pub fn new(factor: impl Into<Bits>) -> Self {
        Self::required(factor.into())
    }

    /// The least and the most bits.
    fn bits(&self) -> [u32; 2] {
        match self.factor {
            Bits::UpTo(most) => [1, most],
            Bits::Range(from, to) => [from.min(to), from.max(to)],
        }
    }
}

impl Augmentation for RandomPosterization {
    /// The number of bits to clear.
    type Draw = u32;

    fn check(&self, _: Option<usize>) -> Result<()> {
        self.value_range.check()?;
        let within = |bits: u32| (1..=8).contains(&bits);
        match self.factor {
            Bits::UpTo(most) if !within(most) => Err(Error::argument("factor", EXPECTED, most)),
            Bits::Range(from, to) if !within(from) || !within(to) => {
                Err(Error::argument("factor", EXPECTED, format!("({from}, {to})")))
            }
            _ => Ok(()),
        }
    }

    fn draw(&self, images: &Images, streams: &Streams) -> Vec<u32> {
        let [fewest, most] = self.bits();
        let one = |random: &mut Random| 8 - (fewest + random.below(most.saturating_sub(fewest) as usize) as u32).min(8);
        streams.each(images.count(), one)
    }

    fn apply(&self, images: &mut Images, draws: &[u32]) {
        images.each(draws, |image, zeros| {
            for number in image {
                // Values outside of the range of bytes saturate.
                let byte = self.value_range.to_byte(*number) as u8;
                let kept = byte.checked_shr(*zeros).unwrap_or(0).checked_shl(*zeros).unwrap_or(0);
                *number = self.value_range.of_byte(kept.into());
            }
        });
    }
}

image_layer!(RandomPosterization);

impl BuiltIn for RandomPosterization {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(5).value_range((-1.0, 1.0)), Shape::batch_of((3, 4, 2))),
            (Self::new((2, 2)).seed(2).data_format(DataFormat::ChannelsFirst), Shape::batch_of((3, 2, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::goldens;
    use super::*;
    use crate::config::Configure;

    #[test]
    fn values_are_posterized_as_by_keras() {
        let shifts = |drawn: &goldens::Json| {
            goldens::numbers(&drawn["shift_factor"]).into_iter().map(|shift| shift as u32).collect()
        };
        goldens::check::<RandomPosterization>(4, shifts);
    }

    #[test]
    fn the_upper_end_is_not_drawn() {
        let drawn = |factor: Bits| {
            let layer = RandomPosterization::new(factor);
            layer.check(None).unwrap();
            let mut draws = layer.draw(&goldens::empty(500), &Streams::of(&[1]));
            draws.sort_unstable();
            draws.dedup();
            draws.into_iter().rev().map(|zeros| 8 - zeros).collect::<Vec<_>>()
        };
        assert_eq!(drawn(5.into()), [1, 2, 3, 4]);
        assert_eq!(drawn((3, 3).into()), [3]);
        assert_eq!(drawn((8, 6).into()), [6, 7]);
        assert!(RandomPosterization::new(9).check(None).is_err());
        assert!(RandomPosterization::new((0, 3)).check(None).is_err());
    }

    /// Keras computes with them as integers, and fails in training if a file has `3.0`.
    #[test]
    fn integral_numbers_are_written_as_integers() {
        let read = |factor: goldens::Json| {
            RandomPosterization::from_config(json!({ "factor": factor }).as_object().unwrap().clone())
        };
        // As text, because some parsers do not distinguish JSON's `3` and `3.0`.
        let written = |factor: goldens::Json| read(factor).unwrap().config().unwrap()["factor"].to_string();
        assert_eq!(written(json!([3, 3])), "[3,3]");
        assert_eq!(written(json!([3.0, 4.0])), "[3,4]");
        assert_eq!(written(json!(5.0)), "5");
        assert_eq!(RandomPosterization::new((3, 3)).config().unwrap()["factor"].to_string(), "[3,3]");
        for wrong in [json!(2.5), json!([1, 2.5]), json!(-1), json!(1e30), json!([3]), json!("all"), json!(null)] {
            let error = read(wrong.clone()).unwrap_err().to_string();
            assert!(error.contains("`factor`") && error.contains("whole number"), "{wrong}: {error}");
        }
    }
}
