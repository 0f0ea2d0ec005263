//! `RandomErasing`: erases a box of each image.

use serde::{Deserialize, Serialize};

use super::factor::{Factor, ValueRange};
use super::images::Images;
use super::{Augmentation, Streams, image_layer, key};
use crate::config::also_argument;
use crate::error::{Error, Result};
use crate::layers::BuiltIn;
use crate::random::{Random, random};
use crate::shape::{DataFormat, Shape};

/// The fill value of erased pixels: one for all channels, or one per channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cover {
    /// The same number everywhere.
    One(f32),
    /// A number for each of three channels.
    Each([f32; 3]),
}

impl From<f32> for Cover {
    fn from(number: f32) -> Self {
        Self::One(number)
    }
}

impl From<[f32; 3]> for Cover {
    fn from(numbers: [f32; 3]) -> Self {
        Self::Each(numbers)
    }
}

also_argument!(f32 => Cover, [f32; 3] => Cover);

impl crate::config::Argument<Option<Cover>> for f32 {
    fn into_argument(self) -> Option<Cover> {
        Some(self.into())
    }
}

impl crate::config::Argument<Option<Cover>> for [f32; 3] {
    fn into_argument(self) -> Option<Cover> {
        Some(self.into())
    }
}

crate::describe! {
    /// Erases a box in some of the images, at random, in training (Zhong et al. 2017).
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RandomErasing::new().fill_value(0.5).value_range((0.0, 1.0)).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandomErasing {
        /// The probability of changing an image, itself drawn per image: from a pair, or from 0 to a number. 1 changes
        /// half of the images, `(1, 1)` all.
        factor: Factor = Factor::One(1.0),
        /// The square of the box's relative width, and of its relative height, which are drawn separately; a single
        /// number means from 0 to it.
        scale: Factor = Factor::Range(0.02, 0.33),
        /// The fill value: one number, or one for each of three channels; `None` fills with noise, half of which is at
        /// the lower end of `value_range`.
        fill_value: Option<Cover> = None,
        /// The range of the images' values; fill values are clipped to it.
        value_range: ValueRange = ValueRange::BYTES,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    }
}

impl RandomErasing {
    /// Erases boxes in half of the images.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Start and end along an axis, in continuous coordinates.
type Side = [f32; 2];

/// The erased box of an image, and its noise.
#[derive(Clone, Debug)]
pub(super) struct Erased {
    rows: Side,
    columns: Side,
    /// The rng key of the noise.
    key: u64,
}

/// A random interval of this fraction of `length`.
fn side(part: f32, length: usize, random: &mut Random) -> Side {
    let long = part * length as f32;
    let start = random.uniform(0.0..1.0) * (length as f32 - long);
    [start, start + long]
}

/// The pixels that begin inside of an interval.
fn cells(side: Side, length: usize) -> std::ops::Range<usize> {
    let first = (side[0].ceil() as usize).min(length);
    first..(side[1].ceil() as usize).clamp(first, length)
}

impl Augmentation for RandomErasing {
    /// The erased box, if the image is changed.
    type Draw = Option<Erased>;

    fn check(&self, channels: Option<usize>) -> Result<()> {
        self.value_range.check()?;
        self.factor.check("factor", [0.0, 1.0])?;
        self.scale.check("scale", [0.0, 1.0])?;
        match (&self.fill_value, channels) {
            (Some(Cover::Each(_)), Some(channels)) if channels != 3 => {
                Err(Error::argument("fill_value", format!("one number, for {channels} channels"), "three numbers"))
            }
            _ => Ok(()),
        }
    }

    fn draw(&self, images: &Images, streams: &Streams) -> Vec<Option<Erased>> {
        let (size, scale) = (images.size(), self.scale.up_to());
        let one = |random: &mut Random| {
            let (wide, high) = (scale.draw(random).sqrt(), scale.draw(random).sqrt());
            let columns = side(wide, size.columns, random);
            let rows = side(high, size.rows, random);
            let erased = Erased { rows, columns, key: key(random) };
            self.factor.happens(random).then_some(erased)
        };
        streams.each(images.count(), one)
    }

    fn apply(&self, images: &mut Images, draws: &[Option<Erased>]) {
        let size = images.size();
        images.each(draws, |image, erased| {
            let Some(erased) = erased else { return };
            let mut noise = random(&[erased.key]);
            for row in cells(erased.rows, size.rows) {
                for column in cells(erased.columns, size.columns) {
                    let start = size.at(row, column);
                    for (channel, number) in image[start..start + size.channels].iter_mut().enumerate() {
                        let value = match &self.fill_value {
                            None => noise.normal(0.0, 1.0) * self.value_range.last(),
                            Some(Cover::One(value)) => *value,
                            Some(Cover::Each(values)) => values[channel % 3],
                        };
                        *number = self.value_range.clip(value);
                    }
                }
            }
        });
    }
}

image_layer!(RandomErasing);

impl BuiltIn for RandomErasing {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new().value_range((-1.0, 1.0)), Shape::batch_of((5, 4, 3))),
            (Self::new().factor((1.0, 1.0)).fill_value(3.0).scale(0.5), Shape::batch_of((4, 4, 1))),
            (
                Self::new().fill_value([1.0, 2.0, 3.0]).seed(1).data_format(DataFormat::ChannelsFirst),
                Shape::batch_of((3, 4, 5)),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::{goldens, images::Size};
    use super::*;

    #[test]
    fn boxes_are_erased_as_by_keras() {
        // The boxes of the recorded masks.
        let erased = |rows: Side, columns: Side| Some(Erased { rows, columns, key: 0 });
        goldens::check::<RandomErasing>(2, |drawn| {
            assert!(goldens::booleans(&drawn["apply_erasing"]).iter().all(|erased| *erased));
            vec![erased([0.4, 3.5], [2.0, 4.2]), erased([3.0, 6.0], [0.0, 1.6])]
        });
    }

    #[test]
    fn boxes_have_sides_within_the_scale() {
        let images = goldens::empty(2000);
        let layer = RandomErasing::new().factor((1.0, 1.0)).scale((0.04, 0.36));
        let draws = layer.draw(&images, &Streams::of(&[1]));
        let part = |side: Side, length: f32| ((side[1] - side[0]) / length).powi(2);
        let erased = || draws.iter().flatten();
        goldens::even(
            &erased().map(|erased| part(erased.columns, 5.0).clamp(0.04, 0.36)).collect::<Vec<_>>(),
            0.04,
            0.36,
        );
        goldens::even(&erased().map(|erased| part(erased.rows, 4.0).clamp(0.04, 0.36)).collect::<Vec<_>>(), 0.04, 0.36);
        for erased in erased() {
            assert!(erased.rows[0] >= 0.0 && erased.rows[1] <= 4.001 && erased.columns[1] <= 5.001);
        }
        let some = RandomErasing::new().draw(&images, &Streams::of(&[1]));
        assert!((900..1100).contains(&some.iter().flatten().count()));
    }

    #[test]
    fn noise_stays_in_the_value_range() {
        let mut images = Images::new(vec![0.25; 20 * 20], Size { rows: 20, columns: 20, channels: 1 });
        let layer = RandomErasing::new().factor((1.0, 1.0)).scale((1.0, 1.0)).value_range((0.0, 1.0));
        let draws = layer.draw(&images, &Streams::of(&[1]));
        layer.apply(&mut images, &draws);
        let at = |end: f32| images.values().iter().filter(|number| **number == end).count();
        assert!((150..250).contains(&at(0.0)) && (30..100).contains(&at(1.0)) && at(0.25) == 0);
    }
}
