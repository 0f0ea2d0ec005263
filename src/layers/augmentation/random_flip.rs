//! `RandomFlip`: mirrors images.

use super::images::Images;
use super::{Augmentation, Streams, image_layer};
use crate::config::choice;
use crate::error::Result;
use crate::layers::BuiltIn;
use crate::shape::{DataFormat, Shape};

choice! {
    /// The direction of flips.
    pub enum FlipMode: "mode" {
        /// Horizontal and vertical at once, or neither.
        HorizontalAndVertical = "horizontal_and_vertical",
        /// Left to right.
        Horizontal = "horizontal",
        /// Top to bottom.
        Vertical = "vertical",
    }
}

crate::describe! {
    /// Flips half of the images, at random, in training.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RandomFlip::new("horizontal").input_shape((32, 32, 3)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 32, 32, 3)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandomFlip {
        /// The direction; `horizontal_and_vertical` flips both or neither.
        mode: FlipMode = FlipMode::HorizontalAndVertical,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    }
}

impl RandomFlip {
    /// Flips images in this direction.
    pub fn new(mode: impl Into<FlipMode>) -> Self {
        Self::default().mode(mode.into())
    }
}

impl Augmentation for RandomFlip {
    type Draw = bool;

    fn check(&self, _: Option<usize>) -> Result<()> {
        self.mode.check()
    }

    fn draw(&self, images: &Images, streams: &Streams) -> Vec<bool> {
        streams.each(images.count(), |random| random.happens(0.5))
    }

    fn apply(&self, images: &mut Images, draws: &[bool]) {
        let size = images.size();
        let row = size.columns * size.channels;
        images.each(draws, |image, flip| {
            if !flip {
                return;
            }
            if self.mode != FlipMode::Horizontal {
                for top in 0..size.rows / 2 {
                    let (above, below) = image.split_at_mut((size.rows - 1 - top) * row);
                    above[top * row..(top + 1) * row].swap_with_slice(&mut below[..row]);
                }
            }
            if self.mode != FlipMode::Vertical {
                for cells in image.chunks_exact_mut(row) {
                    for left in 0..size.columns / 2 {
                        let (before, behind) = cells.split_at_mut((size.columns - 1 - left) * size.channels);
                        let start = left * size.channels;
                        before[start..start + size.channels].swap_with_slice(&mut behind[..size.channels]);
                    }
                }
            }
        });
    }
}

image_layer!(RandomFlip);

impl BuiltIn for RandomFlip {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::default(), Shape::batch_of((3, 4, 2))),
            (Self::new("horizontal").seed(4), Shape::batch_of((4, 3, 1))),
            (Self::new("vertical").data_format(DataFormat::ChannelsFirst), Shape::batch_of((2, 3, 5))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::goldens;
    use super::*;

    #[test]
    fn images_are_flipped_as_by_keras() {
        let draws = |drawn: &goldens::Json| goldens::booleans(&drawn["flips"]);
        goldens::check::<RandomFlip>(3, draws);
    }

    #[test]
    fn half_of_the_images_are_flipped() {
        let flips = RandomFlip::default().draw(&goldens::empty(2000), &Streams::of(&[1]));
        let count = flips.iter().filter(|flip| **flip).count();
        assert!((900..1100).contains(&count), "{count}");
    }
}
