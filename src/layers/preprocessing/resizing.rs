//! `Resizing`: resizes images.

use super::center_crop::crop_to_ratio;
use super::{onnx_middle, onnx_resize, part_of_aspect_ratio, resizing_len, scaled, with_size};
use crate::error::{Error, Result};
use crate::layers::{BuiltIn, Call, Edge, Exporting, Layer, Preparation};
use crate::ops::{self, Interpolation, Value};
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Resizes images.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → `(batch, height, width, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Resizing::new(14, 14).input_shape((28, 28, 1)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 14, 14, 1)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Resizing {
        /// The rows of the output.
        height: usize,
        /// The columns of the output.
        width: usize,
        /// The interpolation between pixels.
        interpolation: Interpolation = Interpolation::Bilinear,
        /// Whether to crop to the target aspect ratio first.
        crop_to_aspect_ratio: bool = false,
        /// Whether to pad to the target aspect ratio first.
        pad_to_aspect_ratio: bool = false,
        /// How padding is filled: `constant`.
        fill_mode: String = "constant".to_owned(),
        /// The value of the padding.
        fill_value: f32 = 0.0,
        /// Whether downsampling averages over all pixels that it covers.
        antialias: bool = false,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    }
}

impl Resizing {
    /// Images of `height` rows and `width` columns.
    pub fn new(height: usize, width: usize) -> Self {
        Self::required(height, width)
    }

    /// The rows and columns of padding on each side that bring an image of this size nearest to the target aspect
    /// ratio.
    fn borders(&self, [height, width]: [usize; 2]) -> [usize; 2] {
        let border = |length: usize, other: usize, target: usize, other_target: usize| {
            scaled(other, target, other_target).saturating_sub(length) / 2
        };
        match border(height, width, self.height, self.width) {
            0 => [0, border(width, height, self.width, self.height)],
            rows => [rows, 0],
        }
    }

    fn pad(&self, input: Value) -> Result<Value> {
        let sizes = input.sizes();
        let [rows, columns] = self.borders([sizes[1], sizes[2]]);
        input.pad(1, rows, rows, self.fill_value)?.pad(2, columns, columns, self.fill_value)
    }
}

impl Layer for Resizing {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.interpolation.check()?;
        if self.fill_mode != "constant" {
            return Err(Error::unknown("fill_mode", &self.fill_mode, ["constant"]));
        }
        if self.crop_to_aspect_ratio && self.pad_to_aspect_ratio {
            let expected = "not together with crop_to_aspect_ratio";
            return Err(Error::argument("pad_to_aspect_ratio", expected, true));
        }
        with_size(input, self.data_format, self.height, self.width)
    }

    fn scratch(&self, input: &Shape, _: bool) -> Result<usize> {
        let mut image =
            self.data_format.to_channels_last(input).sizes().iter().map(|size| size.unwrap_or(1)).collect::<Vec<_>>();
        if self.pad_to_aspect_ratio {
            let [rows, columns] = self.borders([image[1], image[2]]);
            image[1] = image[1].saturating_add(rows.saturating_mul(2));
            image[2] = image[2].saturating_add(columns.saturating_mul(2));
        }
        Ok(resizing_len(&image, [self.height, self.width], &self.interpolation))
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let mut input = to.channels_last(to.input(), self.data_format, 4);
        let sample = to.known(&self.data_format.to_channels_last(to.shape()))?;
        let mut sizes = [sample[0], sample[1]];
        if self.crop_to_aspect_ratio {
            let parts = [
                part_of_aspect_ratio(sizes[0], sizes[1], self.height, self.width),
                part_of_aspect_ratio(sizes[1], sizes[0], self.width, self.height),
            ];
            input = onnx_middle(to, input, sizes, parts);
            sizes = parts;
        } else if self.pad_to_aspect_ratio {
            let borders = self.borders(sizes);
            input = to.pad(input, (1, 4), &borders.map(|border| (border, border)), self.fill_value);
            sizes = [sizes[0] + 2 * borders[0], sizes[1] + 2 * borders[1]];
        }
        let output = onnx_resize(to, input, sizes, [self.height, self.width], &self.interpolation, self.antialias);
        Ok(vec![to.from_channels_last(output, self.data_format, 4)])
    }

    fn preparation(&self) -> Preparation {
        Preparation::Possible
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        let mut input = ops::to_channels_last(input, self.data_format);
        if self.crop_to_aspect_ratio {
            input = crop_to_ratio(input, self.height, self.width)?;
        } else if self.pad_to_aspect_ratio {
            input = self.pad(input)?;
        }
        let rows = ops::resize_axis(input, 1, self.height, &self.interpolation, self.antialias)?;
        let output = ops::resize_axis(rows, 2, self.width, &self.interpolation, self.antialias)?;
        Ok(ops::from_channels_last(output, self.data_format))
    }
}

impl BuiltIn for Resizing {
    const LATE: &'static [(&'static str, &'static str)] = &[("antialias", "false")];

    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(3, 5), Shape::batch_of((5, 4, 2))),
            (Self::new(2, 3).interpolation("nearest").crop_to_aspect_ratio(true), Shape::batch_of((5, 4, 2))),
            (Self::new(6, 3).interpolation("bicubic").pad_to_aspect_ratio(true), Shape::batch_of((5, 4, 2))),
            (Self::new(2, 2).interpolation("lanczos5").antialias(true), Shape::batch_of((7, 6, 1))),
            (Self::new(4, 4).data_format(DataFormat::ChannelsFirst), Shape::batch_of((2, 3, 6))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_arguments_are_refused() {
        let input = Shape::batch_of((4, 4, 1));
        assert!(Resizing::new(0, 2).output_shape(&input).is_err());
        assert!(Resizing::new(2, 2).interpolation("cubic").output_shape(&input).is_err());
        assert!(Resizing::new(2, 2).fill_mode("reflect").output_shape(&input).is_err());
        let both = Resizing::new(2, 2).crop_to_aspect_ratio(true).pad_to_aspect_ratio(true);
        assert!(both.output_shape(&input).is_err());
    }
}
