//! `MaxPooling1D` to `3D` and `AveragePooling1D` to `3D`: the maximum or the mean of each window.

use super::frozen;
use crate::error::Result;
use crate::layers::windows::Windows;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer};
use crate::ops::{self, PoolGeometry, PoolKind, Value};
use crate::shape::{DataFormat, Padding, PoolStrides, Shape, Spatial};

/// Declares the layer for `$n` spatial dimensions, with Keras's default for the size of the windows, if it has one.
macro_rules! pooling {
    ($(#[$doc:meta])* $name:ident, $n:literal, $kind:ident $(, $size:expr)?) => {
        crate::describe! {
            $(#[$doc])*
            pub layer struct $name {
                /// The size of the windows.
                pool_size: Spatial<$n> $(= $size)?,
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
                pooling!(@new pool_size.into() $(, $size)?)
            }

            fn windows(&self) -> Windows<$n> {
                Windows {
                    size: self.pool_size,
                    strides: self.strides.or(self.pool_size),
                    dilation_rate: Spatial([1; $n]),
                    padding: self.padding,
                    data_format: self.data_format,
                }
            }
        }

        impl Layer for $name {
            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                self.padding.refuse_causal()?;
                self.pool_size.check_positive("pool_size")?;
                self.windows().strides.check_positive("strides")?;
                input.expect_rank($n + 2)?;
                self.windows().output_shape(input, None)
            }

            fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
                frozen::windows(freezing, PoolKind::$kind, &self.windows())
            }

            fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
                self.windows().onnx_pooling(to, PoolKind::$kind)
            }

            fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
                let input = ops::to_channels_last(input, self.data_format);
                let geometry = self.windows().pooling(&input.sizes());
                let output = ops::pool(input, PoolKind::$kind, &geometry)?;
                Ok(ops::from_channels_last(output, self.data_format))
            }
        }

        impl BuiltIn for $name {
            fn examples() -> Vec<(Self, Shape)> {
                let sample = |sizes: [usize; 4]| Shape::batch_of(&sizes[3 - $n..]);
                let uneven: [usize; $n] = std::array::from_fn(|dimension| 3 - dimension % 2);
                let steps: [usize; $n] = std::array::from_fn(|dimension| 2 - dimension % 2);
                vec![
                    (Self::new(2), sample([4, 5, 6, 3])),
                    (Self::new(uneven).strides(1).padding(Padding::Same), sample([3, 4, 5, 2])),
                    (Self::new(3).strides(steps).padding(Padding::Same), sample([4, 3, 5, 2])),
                    (Self::new(2).data_format(DataFormat::ChannelsFirst), sample([4, 4, 4, 4])),
                ]
            }
        }
    };
    (@new $given:expr) => { Self::required($given) };
    (@new $given:expr, $size:expr) => { Self { pool_size: $given, ..Self::default() } };
}

impl<const N: usize> Windows<N> {
    /// The geometry of a pooling of an input of these sizes (channels last).
    pub(super) fn pooling(&self, sizes: &[usize]) -> PoolGeometry<N> {
        PoolGeometry { pool_size: self.size.0, strides: self.strides.0, pads: self.pads(sizes) }
    }
}

/// The geometry of a max pooling that is fused into a convolution.
macro_rules! fusible {
    ($($name:ident)*) => { $(
        impl $name {
            /// The geometry of the windows over the convolution's output (rows and columns; a line is an image of one
            /// row), if they can be fused (channels last, no volume).
            pub(crate) fn fusible(&self, image: [usize; 2]) -> Option<PoolGeometry<2>> {
                frozen::over_image(&self.windows(), image)
            }
        }
    )* };
}

fusible! { MaxPooling1D MaxPooling2D MaxPooling3D }

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
    MaxPooling1D, 1, Max, Spatial([2; 1])
}

pooling! {
    /// The maximum of each window, per channel.
    ///
    /// Positions in the `same` padding are ignored.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → `(batch, new_rows, new_columns, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(MaxPooling2D::new((2, 2)).input_shape((24, 24, 32)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 12, 12, 32)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    MaxPooling2D, 2, Max, Spatial([2; 2])
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
    MaxPooling3D, 3, Max, Spatial([2; 3])
}

pooling! {
    /// The mean of each window, per channel.
    ///
    /// Positions in the `same` padding are ignored.
    ///
    /// # Shapes
    /// `(batch, steps, channels)` → `(batch, new_steps, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(AveragePooling1D::new(2).input_shape((24, 32)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 12, 32)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    AveragePooling1D, 1, Average
}

pooling! {
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
    AveragePooling2D, 2, Average
}

pooling! {
    /// The mean of each window, per channel.
    ///
    /// Positions in the `same` padding are ignored.
    ///
    /// # Shapes
    /// `(batch, depth, rows, columns, channels)` → `(batch, new_depth, new_rows, new_columns, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(AveragePooling3D::new(2).input_shape((8, 8, 8, 4)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 4, 4, 4, 4)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    AveragePooling3D, 3, Average
}
