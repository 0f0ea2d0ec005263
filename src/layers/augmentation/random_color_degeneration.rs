//! `RandomColorDegeneration`: desaturates images.

use super::factor::{Factor, ValueRange};
use super::images::Images;
use super::{Augmentation, Streams, check_colours, colour, image_layer};
use crate::error::Result;
use crate::layers::BuiltIn;
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Blends each image with its greyscale version by a random fraction in training.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RandomColorDegeneration::new(0.5).value_range((0.0, 1.0)).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandomColorDegeneration {
        /// The fraction of grey: `(0.0, 0.5)` removes up to half of the colour, 1 leaves only grey; negative values
        /// intensify colours. A single number means ± the number.
        factor: Factor,
        /// The range of the images' values; results are clipped to it.
        value_range: ValueRange = ValueRange::BYTES,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    }
}

impl RandomColorDegeneration {
    /// Removes up to `factor` of the colour, or intensifies it by as much.
    pub fn new(factor: impl Into<Factor>) -> Self {
        Self::required(factor.into())
    }
}

impl Augmentation for RandomColorDegeneration {
    /// The fraction of grey.
    type Draw = f32;

    fn check(&self, channels: Option<usize>) -> Result<()> {
        self.value_range.check()?;
        self.factor.check("factor", [-1.0, 1.0])?;
        check_colours(channels)
    }

    fn draw(&self, images: &Images, streams: &Streams) -> Vec<f32> {
        let bounds = self.factor.around(-1.0);
        streams.each(images.count(), |random| bounds.draw(random))
    }

    fn apply(&self, images: &mut Images, draws: &[f32]) {
        images.each_colour(draws, |[red, green, blue], part| {
            let grey = colour::grey([red, green, blue]);
            [red, green, blue].map(|number| self.value_range.clip(number + part * (grey - number)))
        });
    }
}

image_layer!(RandomColorDegeneration);

impl BuiltIn for RandomColorDegeneration {
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
    fn colours_fade_as_by_keras() {
        goldens::check::<RandomColorDegeneration>(2, |drawn| goldens::numbers(&drawn["factor"]));
    }

    #[test]
    fn fractions_are_uniform() {
        let draws = RandomColorDegeneration::new((0.2, 0.8)).draw(&goldens::empty(2000), &Streams::of(&[1]));
        goldens::even(&draws, 0.2, 0.8);
    }
}
