//! `MaxPooling1D` and `3D`: the maximum of each window.

use super::{Pool, frozen};
use crate::error::Result;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer};
use crate::ops::{PoolGeometry, PoolKind, Value};
use crate::shape::{DataFormat, Padding, PoolStrides, Shape, Spatial};

/// Declares the layer for `$n` spatial dimensions.
macro_rules! pooling {
    ($(#[$doc:meta])* $name:ident, $n:literal) => {
        crate::describe! {
            $(#[$doc])*
            pub layer struct $name {
                /// The size of the windows.
                pool_size: Spatial<$n> = Spatial([2; $n]),
                /// The stride of the windows; by default their size.
                strides: PoolStrides<$n> = PoolStrides::default(),
                /// `valid`: windows stay inside; `same`: the input is padded.
                padding: Padding = Padding::Valid,
                /// The position of the channels in the input and output.
                data_format: DataFormat = DataFormat::ChannelsLast,
            }
        }

        impl $name {
            /// Windows of `pool_size`.
            pub fn new(pool_size: impl Into<Spatial<$n>>) -> Self {
                Self { pool_size: pool_size.into(), ..Self::default() }
            }

            fn pool(&self) -> Pool<$n> {
                Pool {
                    pool_size: self.pool_size,
                    strides: self.strides.or(self.pool_size),
                    padding: self.padding,
                    data_format: self.data_format,
                }
            }
        }

        impl Layer for $name {
            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                self.pool().output_shape(input)
            }

            fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
                let pool = self.pool();
                let geometry = |[_, steps]: [usize; 2]| pool.of_line(steps);
                frozen::windows(freezing, PoolKind::Max, self.data_format, geometry)
            }

            fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
                self.pool().onnx(to, "MaxPool")
            }

            fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
                self.pool().apply(input, PoolKind::Max)
            }
        }

        impl BuiltIn for $name {
            fn examples() -> Vec<(Self, Shape)> {
                let sample = |sizes: [usize; 4]| Shape::batch_of(&sizes[3 - $n..]);
                vec![
                    (Self::new(2), sample([4, 5, 6, 3])),
                    (Self::new(3).strides(1).padding(Padding::Same), sample([3, 4, 5, 2])),
                    (Self::new(3).strides(2).padding(Padding::Same), sample([4, 3, 5, 2])),
                    (Self::new(2).data_format(DataFormat::ChannelsFirst), sample([4, 4, 4, 4])),
                ]
            }
        }
    };
}

impl MaxPooling1D {
    /// The geometry of the windows for an input of `steps` steps, if the pooling can be fused into a convolution
    /// (channels last).
    pub(crate) fn fusible(&self, steps: usize) -> Option<PoolGeometry> {
        self.pool().of_line(steps).filter(|_| self.data_format == DataFormat::ChannelsLast)
    }
}

pooling! {
    /// The maximum of each window, per channel.
    ///
    /// Positions in the `same` padding are ignored.
    ///
    /// # Shapes
    /// `(batch, steps, channels)` → `(batch, new_steps, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(MaxPooling1D::new(2).input_shape((24, 32)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 12, 32)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    MaxPooling1D, 1
}

pooling! {
    /// The maximum of each window, per channel.
    ///
    /// Positions in the `same` padding are ignored.
    ///
    /// # Shapes
    /// `(batch, depth, rows, columns, channels)` → `(batch, new_depth, new_rows, new_columns, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(MaxPooling3D::new(2).input_shape((8, 8, 8, 4)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 4, 4, 4, 4)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    MaxPooling3D, 3
}
