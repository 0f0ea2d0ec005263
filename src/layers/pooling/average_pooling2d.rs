//! `AveragePooling2D`: the mean of each window.

use super::{Pool, frozen};
use crate::error::Result;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer};
use crate::ops::{self, PoolKind, Value};
use crate::shape::{DataFormat, Padding, PoolStrides, Shape, Spatial};

crate::describe! {
    /// The mean of each window, per channel.
    ///
    /// Positions in the `same` padding are ignored.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → `(batch, new_rows, new_columns, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(AveragePooling2D::new((2, 2)).input_shape((24, 24, 32)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 12, 12, 32)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct AveragePooling2D {
        /// The rows and columns of the windows.
        pool_size: Spatial<2>,
        /// The stride of the windows; by default their size.
        strides: PoolStrides<2> = PoolStrides::default(),
        /// `valid`: windows stay inside; `same`: the input is padded.
        padding: Padding = Padding::Valid,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    }
}

impl AveragePooling2D {
    /// Windows of `pool_size`.
    pub fn new(pool_size: impl Into<Spatial<2>>) -> Self {
        Self::required(pool_size.into())
    }

    fn pool(&self) -> Pool<2> {
        Pool {
            pool_size: self.pool_size,
            strides: self.strides.or(self.pool_size),
            padding: self.padding,
            data_format: self.data_format,
        }
    }
}

impl Layer for AveragePooling2D {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.pool().output_shape(input)
    }

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        let geometry = |[rows, columns]: [usize; 2]| Some(self.pool().geometry(rows, columns));
        frozen::windows(freezing, PoolKind::Average, self.data_format, geometry)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        self.pool().onnx(to, "AveragePool")
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        let input = ops::to_channels_last(input, self.data_format);
        let sizes = input.sizes();
        let output = ops::average_pool2d(input, &self.pool().geometry(sizes[1], sizes[2]))?;
        Ok(ops::from_channels_last(output, self.data_format))
    }
}

impl BuiltIn for AveragePooling2D {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(2), Shape::batch_of((6, 7, 3))),
            (Self::new((3, 2)).strides(1).padding(Padding::Same), Shape::batch_of((5, 4, 2))),
            (Self::new(3).strides((2, 1)).padding(Padding::Same), Shape::batch_of((5, 6, 2))),
            (Self::new(2).data_format(DataFormat::ChannelsFirst), Shape::batch_of((2, 4, 4))),
        ]
    }
}
