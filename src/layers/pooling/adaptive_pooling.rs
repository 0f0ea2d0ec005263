//! Pooling to an output of a given size, whatever the size of the input.

use super::onnx_bins;
use crate::error::{Error, Result};
use crate::layers::{BuiltIn, Call, Edge, Exporting, Layer};
use crate::ops::{self, PoolKind, Value};
use crate::shape::{DataFormat, Shape, Spatial};

/// Declares the layer for `$n` spatial dimensions.
macro_rules! adaptive_pooling {
    ($(#[$doc:meta])* $name:ident, $n:literal, $kind:ident) => {
        crate::describe! {
            $(#[$doc])*
            pub layer struct $name {
                /// The output size along each spatial dimension.
                output_size: Spatial<$n>,
                /// The position of the channels in the input and output.
                data_format: DataFormat = DataFormat::ChannelsLast,
            }
        }

        impl $name {
            /// An output of `output_size`.
            pub fn new(output_size: impl Into<Spatial<$n>>) -> Self {
                Self::required(output_size.into())
            }
        }

        impl Layer for $name {
            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                self.output_size.check_positive("output_size")?;
                input.expect_rank($n + 2)?;
                let mut sizes = self.data_format.to_channels_last(input).sizes().to_vec();
                if sizes[1..=$n].contains(&Some(0)) {
                    return Err(Error::shape("at least one cell to pool", input));
                }
                sizes[1..=$n].copy_from_slice(&self.output_size.0.map(Some));
                Ok(self.data_format.from_channels_last(&Shape::new(sizes)))
            }

            fn scratch(&self, input: &Shape, _: bool) -> Result<usize> {
                // Each part is a separate value before concatenation.
                const OF_A_PART: usize = 128;
                let parts = self.output_size.0.into_iter().fold(0, usize::saturating_add).saturating_mul(OF_A_PART);
                let mut sizes = self.data_format.to_channels_last(input).sizes().to_vec();
                let mut most = 0;
                for (dimension, bins) in self.output_size.0.into_iter().enumerate() {
                    sizes[1 + dimension] = Some(bins);
                    most = most.max(Shape::new(sizes.clone()).known_len());
                }
                Ok(most.saturating_add(parts))
            }

            fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
                onnx_bins(to, PoolKind::$kind, &self.output_size.0, self.data_format)
            }

            fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
                let input = ops::to_channels_last(input, self.data_format);
                // Parts are separable: pooling one dimension after the other gives the same result.
                let output = self.output_size.0.iter().enumerate().try_fold(input, |value, (dimension, bins)| {
                    ops::pool_bins(value, PoolKind::$kind, 1 + dimension, *bins)
                })?;
                Ok(ops::from_channels_last(output, self.data_format))
            }
        }

        impl BuiltIn for $name {
            fn examples() -> Vec<(Self, Shape)> {
                let sample = |sizes: [usize; 4]| Shape::batch_of(&sizes[3 - $n..]);
                vec![
                    (Self::new(3), sample([4, 5, 7, 2])),
                    (Self::new(4), sample([2, 3, 3, 2])),
                    (Self::new(2).data_format(DataFormat::ChannelsFirst), sample([3, 4, 4, 4])),
                ]
            }
        }
    };
}

adaptive_pooling! {
    /// The mean of each of `output_size` parts of nearly equal size, per channel.
    ///
    /// # Shapes
    /// `(batch, steps, channels)` → `(batch, output_size, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(AdaptiveAveragePooling1D::new(3).input_shape((10, 64)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 3, 64)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    AdaptiveAveragePooling1D, 1, Average
}

adaptive_pooling! {
    /// The mean of each of `output_size` parts of nearly equal size, per channel.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → `(batch, *output_size, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(AdaptiveAveragePooling2D::new(3).input_shape((7, 5, 64)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 3, 3, 64)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    AdaptiveAveragePooling2D, 2, Average
}

adaptive_pooling! {
    /// The mean of each of `output_size` parts of nearly equal size, per channel.
    ///
    /// # Shapes
    /// `(batch, depth, rows, columns, channels)` → `(batch, *output_size, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(AdaptiveAveragePooling3D::new(3).input_shape((7, 5, 4, 64)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 3, 3, 3, 64)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    AdaptiveAveragePooling3D, 3, Average
}

adaptive_pooling! {
    /// The maximum of each of `output_size` parts of nearly equal size, per channel.
    ///
    /// # Shapes
    /// `(batch, steps, channels)` → `(batch, output_size, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(AdaptiveMaxPooling1D::new(3).input_shape((10, 64)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 3, 64)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    AdaptiveMaxPooling1D, 1, Max
}

adaptive_pooling! {
    /// The maximum of each of `output_size` parts of nearly equal size, per channel.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → `(batch, *output_size, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(AdaptiveMaxPooling2D::new(3).input_shape((7, 5, 64)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 3, 3, 64)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    AdaptiveMaxPooling2D, 2, Max
}

adaptive_pooling! {
    /// The maximum of each of `output_size` parts of nearly equal size, per channel.
    ///
    /// # Shapes
    /// `(batch, depth, rows, columns, channels)` → `(batch, *output_size, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(AdaptiveMaxPooling3D::new(3).input_shape((7, 5, 4, 64)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 3, 3, 3, 64)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    AdaptiveMaxPooling3D, 3, Max
}
