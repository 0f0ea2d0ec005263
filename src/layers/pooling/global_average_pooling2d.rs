//! `GlobalAveragePooling2D`: the mean of each channel over the whole image.

use super::{frozen, onnx_global};
use crate::error::{Error, Result};
use crate::layers::{BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer};
use crate::ops::{self, PoolKind, Value};
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// The mean of each channel over all rows and columns.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → `(batch, channels)`, or `(batch, 1, 1, channels)` with `keepdims`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(GlobalAveragePooling2D::new().input_shape((4, 4, 64)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 64)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct GlobalAveragePooling2D {
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
        /// Whether rows and columns are kept with size 1.
        keepdims: bool = false,
    }
}

impl GlobalAveragePooling2D {
    /// The layer with Keras's defaults.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Layer for GlobalAveragePooling2D {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        input.expect_rank(4)?;
        let last = self.data_format.to_channels_last(input);
        if last.sizes()[1..3].contains(&Some(0)) {
            return Err(Error::shape("at least one cell to pool", input));
        }
        let (batch, channels) = (last.sizes()[0], last.sizes()[3]);
        if !self.keepdims {
            return Ok(Shape::new([batch, channels]));
        }
        Ok(self.data_format.from_channels_last(&Shape::new([batch, Some(1), Some(1), channels])))
    }

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        frozen::global(freezing, PoolKind::Average, self.data_format)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        Ok(vec![onnx_global(to, PoolKind::Average, 2, self.data_format, self.keepdims)])
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        let input = ops::to_channels_last(input, self.data_format);
        let sizes = input.sizes();
        let mean = ops::global_pool(input, PoolKind::Average, 2)?;
        if self.keepdims {
            return Ok(ops::from_channels_last(mean, self.data_format));
        }
        mean.reshape(&[sizes[0], sizes[3]])
    }
}

impl BuiltIn for GlobalAveragePooling2D {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(), Shape::batch_of((3, 4, 5))),
            (Self::new().keepdims(true), Shape::batch_of((3, 4, 5))),
            (Self::new().keepdims(true).data_format(DataFormat::ChannelsFirst), Shape::batch_of((3, 4, 5))),
        ]
    }
}
