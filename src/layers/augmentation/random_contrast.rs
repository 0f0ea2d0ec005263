//! `RandomContrast`: changes the contrast of images.

use super::factor::{Bounds, FARTHEST, Factor, ValueRange};
use super::images::{Images, Size};
use super::{Augmentation, Streams, image_layer};
use crate::error::Result;
use crate::layers::BuiltIn;
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Changes the contrast of each image by a random factor in training: the distance of its values from their mean in
    /// each channel.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RandomContrast::new((0.3, 0.3)).input_shape((32, 32, 3)))?; // 0.7 to 1.3 of the contrast
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandomContrast {
        /// The decrease and the increase of contrast, from 0 to 1: `(0.2, 0.4)` means a factor of 0.8 to 1.4. A single
        /// number only increases, as in Keras: 0.4 means 1 to 1.4. The second number of a pair can go up to 1,000.
        factor: Factor,
        /// The range of the images' values; results are clipped to it.
        value_range: ValueRange = ValueRange::BYTES,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    }
}

impl RandomContrast {
    /// Increases the contrast by up to `factor`, or decreases and increases it by a pair.
    pub fn new(factor: impl Into<Factor>) -> Self {
        Self::required(factor.into())
    }
}

/// Refuses factors as Keras does, and also pairs below 0, which would swap the bounds, or very large ones.
pub(super) fn check_factor(argument: &str, factor: Factor) -> Result<()> {
    factor.check_overlap(argument, [0.0, 1.0], [0.0, FARTHEST])
}

/// The mean of each channel of an image.
pub(super) fn channel_means(image: &[f32], size: Size) -> Vec<f32> {
    let mut sums = vec![0.0f64; size.channels];
    for cell in image.chunks_exact(size.channels) {
        sums.iter_mut().zip(cell).for_each(|(sum, number)| *sum += f64::from(*number));
    }
    let cells = (size.rows * size.columns) as f64;
    sums.into_iter().map(|sum| (sum / cells) as f32).collect()
}

impl Augmentation for RandomContrast {
    /// The factor of the contrast.
    type Draw = f32;

    fn check(&self, _: Option<usize>) -> Result<()> {
        self.value_range.check()?;
        check_factor("factor", self.factor)
    }

    fn draw(&self, images: &Images, streams: &Streams) -> Vec<f32> {
        // The first number of a pair is the decrease, which is 0 for a single number.
        let Bounds { least: weaker, most: stronger } = self.factor.up_to();
        let bounds = Bounds { least: 1.0 - weaker, most: 1.0 + stronger };
        streams.each(images.count(), |random| bounds.draw(random))
    }

    fn apply(&self, images: &mut Images, draws: &[f32]) {
        let size = images.size();
        images.each(draws, |image, factor| {
            let means = channel_means(image, size);
            for cell in image.chunks_exact_mut(size.channels) {
                for (number, mean) in cell.iter_mut().zip(&means) {
                    *number = self.value_range.clip((*number - mean) * factor + mean);
                }
            }
        });
    }
}

image_layer!(RandomContrast);

impl BuiltIn for RandomContrast {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(0.5).value_range((-1.0, 1.0)), Shape::batch_of((3, 4, 2))),
            (Self::new((0.2, 0.4)).seed(3).data_format(DataFormat::ChannelsFirst), Shape::batch_of((3, 2, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::goldens;
    use super::*;

    #[test]
    fn contrast_changes_as_by_keras() {
        goldens::check::<RandomContrast>(2, |drawn| goldens::numbers(&drawn["contrast_factor"]));
    }

    #[test]
    fn one_number_only_increases_contrast() {
        let draws = |factor: Factor| RandomContrast::new(factor).draw(&goldens::empty(2000), &Streams::of(&[1]));
        goldens::even(&draws(0.5.into()), 1.0, 1.5);
        goldens::even(&draws((0.2, 0.4).into()), 0.8, 1.4);
        RandomContrast::new((0.2, 1.8)).check(None).unwrap();
        goldens::even(&draws((0.2, 1.8).into()), 0.8, 2.8);
    }
}
