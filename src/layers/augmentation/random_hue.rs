//! `RandomHue`: shifts the hue of images.

use super::factor::{Factor, ValueRange};
use super::images::Images;
use super::{Augmentation, Streams, check_three, colour, image_layer};
use crate::error::Result;
use crate::layers::BuiltIn;
use crate::random::Random;
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Shifts the hue of each image by a random part of the colour circle in training.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RandomHue::new(0.1).value_range((0.0, 1.0)).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandomHue {
        /// The shift, from 0 to 1, as a fraction of half the circle in either direction: 0.2 shifts by up to a tenth of
        /// the circle.
        factor: Factor,
        /// The range of the images' values; results are clipped to it.
        value_range: ValueRange = ValueRange::BYTES,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
    }
}

impl RandomHue {
    /// Shifts hues by up to `factor` of half the circle.
    pub fn new(factor: impl Into<Factor>) -> Self {
        Self::required(factor.into())
    }
}

impl Augmentation for RandomHue {
    /// The shift as a fraction of the circle.
    type Draw = f32;

    fn check(&self, channels: Option<usize>) -> Result<()> {
        self.value_range.check()?;
        self.factor.check("factor", [0.0, 1.0])?;
        check_three(channels)
    }

    fn draw(&self, images: &Images, streams: &Streams) -> Vec<f32> {
        let bounds = self.factor.up_to();
        let one = |random: &mut Random| {
            let way = if random.happens(0.5) { -0.5 } else { 0.5 };
            way * bounds.draw(random)
        };
        streams.each(images.count(), one)
    }

    fn apply(&self, images: &mut Images, draws: &[f32]) {
        images.each_colour(draws, |rgb, part| {
            let [hue, saturation, value] = colour::to_hsv(rgb.map(|number| self.value_range.to_one(number)));
            let hue = hue + part;
            let hue = if hue > 1.0 { hue - 1.0 } else { hue };
            let hue = if hue < 0.0 { hue + 1.0 } else { hue };
            let rgb = colour::from_hsv([hue, saturation, value]);
            rgb.map(|number| self.value_range.of_one(number.clamp(0.0, 1.0)))
        });
    }
}

image_layer!(RandomHue);

impl BuiltIn for RandomHue {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(0.5).value_range((-1.0, 1.0)), Shape::batch_of((3, 4, 3))),
            (Self::new((0.2, 1.0)).seed(2).data_format(DataFormat::ChannelsFirst), Shape::batch_of((3, 2, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::goldens;
    use super::*;

    #[test]
    fn hues_turn_as_by_keras() {
        goldens::check::<RandomHue>(2, |drawn| goldens::numbers(&drawn["factor"]));
    }

    #[test]
    fn hues_turn_either_way() {
        let draws = RandomHue::new(0.4).draw(&goldens::empty(2000), &Streams::of(&[1]));
        goldens::even(&draws, -0.2, 0.2);
        let draws = RandomHue::new((0.4, 0.4)).draw(&goldens::empty(200), &Streams::of(&[1]));
        assert!(draws.iter().all(|part| part.abs() == 0.2) && draws.contains(&0.2) && draws.contains(&-0.2));
    }
}
