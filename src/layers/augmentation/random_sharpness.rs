//! `RandomSharpness`: sharpens and softens images.

use super::factor::{Factor, ValueRange};
use super::images::Images;
use super::{Augmentation, Streams, image_layer};
use crate::error::Result;
use crate::layers::BuiltIn;
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Softens or sharpens each image by a random amount in training.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RandomSharpness::new(1.0).value_range((0.0, 1.0)).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandomSharpness {
        /// The sharpness, from 0 to 1: 0 is the mean of the surrounding pixels, 0.5 changes nothing, 1 is the sharpest.
        /// A single number means from 0 to it.
        factor: Factor,
        /// The range of the images' values; results are clipped to it.
        value_range: ValueRange = ValueRange::BYTES,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
    }
}

impl RandomSharpness {
    /// Changes the sharpness by `factor`.
    pub fn new(factor: impl Into<Factor>) -> Self {
        Self::required(factor.into())
    }
}

/// The weight of each of the eight surrounding pixels; the center pixel has five times that.
const AROUND: f32 = 1.0 / 13.0;

impl Augmentation for RandomSharpness {
    /// The sharpness: 0.5 changes nothing.
    type Draw = f32;

    const COPIES: usize = 1;

    fn check(&self, _: Option<usize>) -> Result<()> {
        self.value_range.check()?;
        self.factor.check("factor", [0.0, 1.0])
    }

    fn draw(&self, images: &Images, streams: &Streams) -> Vec<f32> {
        let bounds = self.factor.up_to();
        streams.each(images.count(), |random| bounds.draw(random))
    }

    fn apply(&self, images: &mut Images, draws: &[f32]) {
        let size = images.size();
        images.each(draws, |image, sharpness| {
            let before = image.to_vec();
            for row in 0..size.rows {
                for column in 0..size.columns {
                    for channel in 0..size.channels {
                        let middle = before[size.at(row, column) + channel];
                        // Zero padding beyond the edges.
                        let mut sum = 4.0 * middle;
                        for row in row.saturating_sub(1)..(row + 2).min(size.rows) {
                            for column in column.saturating_sub(1)..(column + 2).min(size.columns) {
                                sum += before[size.at(row, column) + channel];
                            }
                        }
                        let sharp = middle + (1.0 - 2.0 * sharpness) * (sum * AROUND - middle);
                        image[size.at(row, column) + channel] = self.value_range.clip(sharp);
                    }
                }
            }
        });
    }
}

image_layer!(RandomSharpness);

impl BuiltIn for RandomSharpness {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(0.5).value_range((-1.0, 1.0)), Shape::batch_of((3, 4, 2))),
            (Self::new((0.2, 1.0)).seed(2).data_format(DataFormat::ChannelsFirst), Shape::batch_of((3, 2, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::goldens;
    use super::*;

    #[test]
    fn images_are_as_sharp_as_by_keras() {
        goldens::check::<RandomSharpness>(2, |drawn| goldens::numbers(&drawn["factor"]));
    }

    #[test]
    fn one_number_means_from_zero() {
        let draws = RandomSharpness::new(0.6).draw(&goldens::empty(2000), &Streams::of(&[1]));
        goldens::even(&draws, 0.0, 0.6);
    }
}
