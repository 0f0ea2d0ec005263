//! `AutoContrast`: stretches images to the full range of values.

use super::images::Images;
use super::{Change, Streams, channels, factor::ValueRange, on_host, scratch};
use crate::error::Result;
use crate::layers::{BuiltIn, Call, Layer, Preparation};
use crate::ops::Value;
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Stretches each channel of each image to the full `value_range`, in training and inference. A constant channel is
    /// unchanged.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(AutoContrast::new().value_range((0.0, 1.0)).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct AutoContrast {
        /// The range of the images' values.
        value_range: ValueRange = ValueRange::BYTES,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    }
}

impl AutoContrast {
    /// Stretches channels of bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stretches each channel of each image.
    pub(super) fn apply(&self, images: &mut Images) {
        let (size, range) = (images.size(), self.value_range);
        images.each(&vec![(); images.count()], |image, ()| {
            for channel in 0..size.channels {
                let numbers = || image.iter().skip(channel).step_by(size.channels).map(|number| range.to_byte(*number));
                let (low, high) =
                    (numbers().fold(f32::INFINITY, f32::min), numbers().fold(f32::NEG_INFINITY, f32::max));
                let scale = 255.0 / (high - low);
                if !scale.is_finite() {
                    continue;
                }
                for number in image.iter_mut().skip(channel).step_by(size.channels) {
                    let byte = range.to_byte(*number) * scale - low * scale;
                    *number = range.of_byte(ValueRange::BYTES.clip(byte));
                }
            }
        });
    }
}

impl Change for AutoContrast {
    fn check(&self, _: Option<usize>) -> Result<()> {
        self.value_range.check()
    }

    fn change(&self, images: &mut Images, _: &Streams) {
        self.apply(images);
    }
}

impl Layer for AutoContrast {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        Change::check(self, channels(input, self.data_format)?)?;
        Ok(input.clone())
    }

    fn scratch(&self, input: &Shape, _: bool) -> Result<usize> {
        Ok(scratch(input, true, 0))
    }

    fn preparation(&self) -> Preparation {
        Preparation::Wanted
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        on_host(input, self.data_format, |images| self.apply(images))
    }
}

impl BuiltIn for AutoContrast {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new().value_range((-1.0, 1.0)), Shape::batch_of((3, 4, 2))),
            (Self::new().value_range((0.0, 1.0)), Shape::batch_of((2, 2, 3))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::goldens;
    use super::*;

    #[test]
    fn channels_are_stretched_as_by_keras() {
        let cases = goldens::cases::<AutoContrast>();
        assert_eq!(cases.len(), 3);
        for case in cases {
            // In inference, too.
            case.compare(&case.layer.forward(case.input(), &mut Call::inference(&[])).unwrap());
        }
    }
}
