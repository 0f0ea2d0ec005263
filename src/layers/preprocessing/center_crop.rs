//! `CenterCrop`: the center of an image.

use super::{onnx_middle, onnx_resize, part_of_aspect_ratio, resizing_len, with_size};
use crate::error::Result;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Layer, OutputMemory, Preparation};
use crate::ops::{self, Interpolation, Value};
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Crops the center of each image; images that are too small are first cropped to the target aspect ratio and
    /// upscaled.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → `(batch, height, width, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(CenterCrop::new(24, 24).input_shape((28, 28, 1)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 24, 24, 1)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct CenterCrop {
        /// The rows of the output.
        height: usize,
        /// The columns of the output.
        width: usize,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    }
}

impl CenterCrop {
    /// Images of `height` rows and `width` columns.
    pub fn new(height: usize, width: usize) -> Self {
        Self::required(height, width)
    }
}

/// The center `height` by `width` pixels (channels last).
pub(super) fn middle(input: Value, height: usize, width: usize) -> Result<Value> {
    let (sizes, whole) = (input.sizes(), input.len());
    let (top, left) = ((sizes[1] - height) / 2, (sizes[2] - width) / 2);
    input.narrow(1, top, height).narrow(2, left, width).apart_from(whole)
}

/// The largest center crop with the aspect ratio `height` by `width` (channels last).
pub(super) fn crop_to_ratio(input: Value, height: usize, width: usize) -> Result<Value> {
    let sizes = input.sizes();
    let rows = part_of_aspect_ratio(sizes[1], sizes[2], height, width);
    let columns = part_of_aspect_ratio(sizes[2], sizes[1], width, height);
    middle(input, rows, columns)
}

impl Layer for CenterCrop {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        with_size(input, self.data_format, self.height, self.width)
    }

    fn scratch(&self, input: &Shape, _: bool) -> Result<usize> {
        let image: Vec<usize> =
            self.data_format.to_channels_last(input).sizes().iter().map(|size| size.unwrap_or(1)).collect();
        if image[1] >= self.height && image[2] >= self.width {
            return Ok(0);
        }
        Ok(resizing_len(&image, [self.height, self.width], &Interpolation::Bilinear))
    }

    fn output_memory(&self) -> OutputMemory {
        OutputMemory::Part
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let mut input = to.channels_last(to.input(), self.data_format, 4);
        let sizes = to.known(&self.data_format.to_channels_last(to.shape()))?;
        let (rows, columns) = (sizes[0], sizes[1]);
        if rows >= self.height && columns >= self.width {
            input = onnx_middle(to, input, [rows, columns], [self.height, self.width]);
        } else {
            let parts = [
                part_of_aspect_ratio(rows, columns, self.height, self.width),
                part_of_aspect_ratio(columns, rows, self.width, self.height),
            ];
            input = onnx_middle(to, input, [rows, columns], parts);
            input = onnx_resize(to, input, parts, [self.height, self.width], &Interpolation::Bilinear, false);
        }
        Ok(vec![to.from_channels_last(input, self.data_format, 4)])
    }

    fn preparation(&self) -> Preparation {
        Preparation::Possible
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        let input = ops::to_channels_last(input, self.data_format);
        let sizes = input.sizes();
        let output = if sizes[1] >= self.height && sizes[2] >= self.width {
            middle(input, self.height, self.width)?
        } else {
            let input = crop_to_ratio(input, self.height, self.width)?;
            let rows = ops::resize_axis(input, 1, self.height, &Interpolation::Bilinear, false)?;
            ops::resize_axis(rows, 2, self.width, &Interpolation::Bilinear, false)?
        };
        Ok(ops::from_channels_last(output, self.data_format))
    }
}

impl BuiltIn for CenterCrop {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(2, 3), Shape::batch_of((5, 4, 2))),
            (Self::new(3, 6), Shape::batch_of((5, 4, 1))),
            (Self::new(2, 2).data_format(DataFormat::ChannelsFirst), Shape::batch_of((1, 5, 4))),
        ]
    }
}
