//! `RandomInvert`: inverts images.

use super::factor::{Factor, ValueRange};
use super::images::Images;
use super::{Augmentation, Streams, image_layer};
use crate::error::Result;
use crate::layers::BuiltIn;
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Inverts some of the images, at random, in training: each value is subtracted from the upper end of
    /// `value_range`.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RandomInvert::new((0.3, 0.3)).value_range((0.0, 1.0)).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandomInvert {
        /// The probability of inverting an image, itself drawn per image: from a pair, or from 0 to a number. 1 inverts
        /// half of the images, `(1, 1)` all.
        factor: Factor = Factor::One(1.0),
        /// The range of the images' values.
        value_range: ValueRange = ValueRange::BYTES,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    }
}

impl RandomInvert {
    /// Inverts images with probabilities of up to `factor`.
    pub fn new(factor: impl Into<Factor>) -> Self {
        Self::default().factor(factor.into())
    }
}

impl Augmentation for RandomInvert {
    /// Whether the image is inverted.
    type Draw = bool;

    fn check(&self, _: Option<usize>) -> Result<()> {
        self.value_range.check()?;
        self.factor.check("factor", [0.0, 1.0])
    }

    fn draw(&self, images: &Images, streams: &Streams) -> Vec<bool> {
        streams.each(images.count(), |random| self.factor.happens(random))
    }

    fn apply(&self, images: &mut Images, draws: &[bool]) {
        images.each(draws, |image, invert| {
            if *invert {
                image.iter_mut().for_each(|number| *number = self.value_range.last() - *number);
            }
        });
    }
}

image_layer!(RandomInvert);

impl BuiltIn for RandomInvert {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::default(), Shape::batch_of((3, 4, 2))),
            (
                Self::new((0.2, 0.4)).value_range((0.0, 1.0)).seed(2).data_format(DataFormat::ChannelsFirst),
                Shape::batch_of((3, 2, 2)),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::goldens;
    use super::*;

    #[test]
    fn images_are_inverted_as_by_keras() {
        goldens::check::<RandomInvert>(3, |drawn| goldens::booleans(&drawn["apply_inversion"]));
    }

    #[test]
    fn a_number_is_the_maximum_probability() {
        let part = |factor: Factor| {
            let draws = RandomInvert::new(factor).draw(&goldens::empty(2000), &Streams::of(&[1]));
            draws.iter().filter(|invert| **invert).count()
        };
        assert!((900..1100).contains(&part(1.0.into())) && part((1.0, 1.0).into()) == 2000 && part(0.0.into()) == 0);
    }
}
