//! `RandomSaturation`: changes the saturation of images.

use super::factor::{Factor, ValueRange};
use super::images::Images;
use super::{Augmentation, Streams, check_three, colour, image_layer};
use crate::error::Result;
use crate::layers::BuiltIn;
use crate::random::Random;
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Multiplies the saturation of each image by a random factor in training.
    ///
    /// As in Keras, saturation is computed from the values as they are and clipped to `value_range`, but red, green and
    /// blue are not clipped. With bytes, strong saturation thus far exceeds their range: rescale images to 0..1 first,
    /// with `value_range((0.0, 1.0))`.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RandomSaturation::new((0.3, 0.7)).value_range((0.0, 1.0)).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandomSaturation {
        /// The strength, from 0 to 1: 0 leaves only grey, 0.5 changes nothing, towards 1 colours are fully saturated. A
        /// value `u` multiplies the saturation by `u / (1 - u)`; negative values leave grey. A single number means ±
        /// the number.
        factor: Factor,
        /// The range of the images' values, to which saturation is clipped.
        value_range: ValueRange = ValueRange::BYTES,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
    }
}

impl RandomSaturation {
    /// Saturates colours by `factor`.
    pub fn new(factor: impl Into<Factor>) -> Self {
        Self::required(factor.into())
    }
}

impl Augmentation for RandomSaturation {
    /// The factor of the saturation.
    type Draw = f32;

    fn check(&self, channels: Option<usize>) -> Result<()> {
        self.value_range.check()?;
        self.factor.check("factor", [-1.0, 1.0])?;
        check_three(channels)
    }

    fn draw(&self, images: &Images, streams: &Streams) -> Vec<f32> {
        let bounds = self.factor.around(-1.0);
        let one = |random: &mut Random| {
            let strength = bounds.draw(random);
            // As strong as possible, but finite.
            strength / (1.0 - strength + 1e-7)
        };
        streams.each(images.count(), one)
    }

    fn apply(&self, images: &mut Images, draws: &[f32]) {
        images.each_colour(draws, |rgb, factor| {
            let [hue, saturation, value] = colour::to_hsv(rgb);
            colour::from_hsv([hue, self.value_range.clip(saturation * factor), value])
        });
    }
}

image_layer!(RandomSaturation);

impl BuiltIn for RandomSaturation {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(0.5).value_range((0.0, 1.0)), Shape::batch_of((3, 4, 3))),
            (Self::new((0.2, 0.7)).seed(2).data_format(DataFormat::ChannelsFirst), Shape::batch_of((3, 2, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::goldens;
    use super::*;

    #[test]
    fn saturation_changes_as_by_keras() {
        goldens::check::<RandomSaturation>(2, |drawn| goldens::numbers(&drawn["factor"]));
    }

    #[test]
    fn one_half_changes_nothing() {
        let draw =
            |factor: f32| RandomSaturation::new((factor, factor)).draw(&goldens::empty(1), &Streams::of(&[1]))[0];
        assert!((draw(0.5) - 1.0).abs() < 1e-6 && (draw(0.75) - 3.0).abs() < 1e-5 && draw(0.0) == 0.0);
        assert!(draw(1.0) > 1e6 && draw(1.0).is_finite() && draw(-0.5) < 0.0);
    }
}
