//! `RandomGrayscale`: converts images to grey.

use super::images::Images;
use super::{Augmentation, Streams, check_colours, colour, image_layer};
use crate::error::{Error, Result};
use crate::layers::BuiltIn;
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Converts some of the images to grey, at random, in training: all channels are then equal.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RandomGrayscale::new(0.2).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandomGrayscale {
        /// The probability of converting an image, from 0 to 1.
        factor: f32 = 0.5,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
        /// The layer's seed, in place of the run's. Keras's own files do not contain it.
        seed: Option<u64> = None,
    }
}

impl RandomGrayscale {
    /// Converts the fraction `factor` of the images to grey.
    pub fn new(factor: f32) -> Self {
        Self::default().factor(factor)
    }
}

impl Augmentation for RandomGrayscale {
    /// Whether the image is converted.
    type Draw = bool;

    fn check(&self, channels: Option<usize>) -> Result<()> {
        if !(0.0..=1.0).contains(&self.factor) {
            return Err(Error::argument("factor", "a number from 0 to 1", self.factor));
        }
        check_colours(channels)
    }

    fn draw(&self, images: &Images, streams: &Streams) -> Vec<bool> {
        streams.each(images.count(), |random| random.happens(self.factor))
    }

    fn apply(&self, images: &mut Images, draws: &[bool]) {
        images.each_colour(draws, |rgb, grey| if *grey { [colour::grey(rgb); 3] } else { rgb });
    }
}

image_layer!(RandomGrayscale);

impl BuiltIn for RandomGrayscale {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(1.0), Shape::batch_of((3, 4, 3))),
            (Self::default(), Shape::batch_of((3, 4, 1))),
            (Self::new(0.3).data_format(DataFormat::ChannelsFirst), Shape::batch_of((3, 2, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::goldens;
    use super::*;

    #[test]
    fn images_are_grey_as_by_keras() {
        goldens::check::<RandomGrayscale>(2, goldens::booleans);
    }

    #[test]
    fn the_fraction_of_images_is_grey() {
        let grey = RandomGrayscale::new(0.3).draw(&goldens::empty(2000), &Streams::of(&[1]));
        let count = grey.iter().filter(|grey| **grey).count();
        assert!((520..680).contains(&count), "{count}");
    }
}
