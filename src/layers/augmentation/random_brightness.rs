//! `RandomBrightness`: changes the brightness of images.

use super::factor::{Factor, ValueRange};
use super::images::Images;
use super::{Augmentation, Streams, image_layer};
use crate::error::Result;
use crate::layers::BuiltIn;
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Brightens or darkens each image by a random amount in training.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RandomBrightness::new(0.2).value_range((0.0, 1.0)).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandomBrightness {
        /// The change of brightness, as a fraction of the width of `value_range`: 0.2 adds from -0.2 to 0.2 of it.
        /// `None` is 0.
        factor: Option<Factor>,
        /// The range of the images' values; results are clipped to it.
        value_range: ValueRange = ValueRange::BYTES,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    }
}

impl RandomBrightness {
    /// Adds up to this fraction of the width of `value_range`.
    pub fn new(factor: impl Into<Factor>) -> Self {
        Self::required(Some(factor.into()))
    }

    fn most(&self) -> Factor {
        self.factor.unwrap_or(Factor::One(0.0))
    }
}

impl Augmentation for RandomBrightness {
    /// The summand.
    type Draw = f32;

    fn check(&self, _: Option<usize>) -> Result<()> {
        self.value_range.check()?;
        self.most().check("factor", [-1.0, 1.0])
    }

    fn draw(&self, images: &Images, streams: &Streams) -> Vec<f32> {
        let bounds = self.most().around(-1.0);
        streams.each(images.count(), |random| bounds.draw(random) * self.value_range.width())
    }

    fn apply(&self, images: &mut Images, draws: &[f32]) {
        images.each(draws, |image, added| {
            for number in image {
                *number = self.value_range.clip(*number + added);
            }
        });
    }
}

image_layer!(RandomBrightness);

impl BuiltIn for RandomBrightness {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(0.5).value_range((-1.0, 1.0)), Shape::batch_of((3, 4, 2))),
            (Self::new((-0.2, 0.1)).seed(3).data_format(DataFormat::ChannelsFirst), Shape::batch_of((3, 2, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::goldens;
    use super::*;

    #[test]
    fn brightness_changes_as_by_keras() {
        goldens::check::<RandomBrightness>(4, |drawn| goldens::numbers(&drawn["rgb_delta"]));
    }

    #[test]
    fn the_factor_is_relative_to_the_value_range() {
        let layer = RandomBrightness::new(0.2).value_range((-1.0, 1.0));
        goldens::even(&layer.draw(&goldens::empty(2000), &Streams::of(&[1])), -0.4, 0.4);
        let none = RandomBrightness::new(0.2).factor(None);
        none.check(None).unwrap();
        assert_eq!(none.draw(&goldens::empty(3), &Streams::of(&[1])), [0.0; 3]);
    }
}
