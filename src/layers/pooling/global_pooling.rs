//! Global pooling: the maximum or mean of each channel over all spatial dimensions.

use super::{frozen, onnx_global};
use crate::error::{Error, Result};
use crate::formats::onnx::Element;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer};
use crate::ops::{self, PoolKind, Value};
use crate::shape::{DataFormat, Shape};

/// Declares the layer for `$n` spatial dimensions.
macro_rules! global_pooling {
    ($(#[$doc:meta])* $name:ident, $n:literal, $kind:ident, $masked:literal) => {
        crate::describe! {
            $(#[$doc])*
            pub layer struct $name {
                /// The position of the channels in the input and output.
                data_format: DataFormat = DataFormat::ChannelsLast,
                /// Whether the spatial dimensions are kept with size 1.
                keepdims: bool = false,
            }
        }

        impl $name {
            /// The layer with Keras's defaults.
            pub fn new() -> Self {
                Self::default()
            }
        }

        impl Layer for $name {
            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                input.expect_rank($n + 2)?;
                let mut sizes = self.data_format.to_channels_last(input).sizes().to_vec();
                if sizes[1..=$n].contains(&Some(0)) {
                    return Err(Error::shape("at least one cell to pool", input));
                }
                if !self.keepdims {
                    return Ok(Shape::new([sizes[0], sizes[$n + 1]]));
                }
                sizes[1..=$n].fill(Some(1));
                Ok(self.data_format.from_channels_last(&Shape::new(sizes)))
            }

            fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
                frozen::global(freezing, PoolKind::$kind, self.data_format)
            }

            fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
                let mask = to.mask(0).filter(|_| $masked);
                to.set_masks(vec![None]);
                if let Some(mask) = mask {
                    let mask = to.truth(mask);
                    let mask = to.cast(mask, Element::Float);
                    let mask = to.unsqueeze(mask, 2);
                    let input = to.channels_last(to.input(), self.data_format, $n + 2);
                    let counted = to.mul(input, mask);
                    let sum = to.reduce("ReduceSum", counted, &[1], self.keepdims);
                    let count = to.reduce("ReduceSum", mask, &[1], self.keepdims);
                    let mean = to.div(sum, count);
                    let format = if self.keepdims { self.data_format } else { DataFormat::ChannelsLast };
                    return Ok(vec![to.from_channels_last(mean, format, $n + 2)]);
                }
                Ok(vec![onnx_global(to, PoolKind::$kind, $n, self.data_format, self.keepdims)])
            }

            fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
                let input = ops::to_channels_last(input, self.data_format);
                let sizes = input.sizes();
                let pooled = match call.mask.take().filter(|_| $masked) {
                    Some(mask) => masked_mean(input, mask)?,
                    None => ops::global_pool(input, PoolKind::$kind, $n)?,
                };
                if self.keepdims {
                    return Ok(ops::from_channels_last(pooled, self.data_format));
                }
                pooled.reshape(&[sizes[0], sizes[$n + 1]])
            }
        }

        impl BuiltIn for $name {
            fn examples() -> Vec<(Self, Shape)> {
                let sample = |sizes: [usize; 4]| Shape::batch_of(&sizes[3 - $n..]);
                vec![
                    (Self::new(), sample([2, 3, 4, 5])),
                    (Self::new().keepdims(true), sample([2, 3, 4, 5])),
                    (Self::new().keepdims(true).data_format(DataFormat::ChannelsFirst), sample([2, 3, 4, 5])),
                ]
            }
        }
    };
}

/// The mean over the unmasked steps.
fn masked_mean(input: Value, mask: Value) -> Result<Value> {
    let sizes = input.sizes();
    if mask.sizes() != sizes[..2] {
        return Err(Error::shape(format!("a mask of shape {:?}", &sizes[..2]), format!("{:?}", mask.sizes())));
    }
    let mask = mask.not_equal_scalar(0.0).reshape(&[sizes[0], sizes[1], 1])?;
    let count = mask.clone().sum_axis(1);
    // Not a product, which would be NaN for infinite values.
    let zeros = Value::full(&sizes, 0.0, &input.device())?;
    let sum = zeros.select_where(mask.expand(&sizes), input).sum_axis(1);
    Ok(sum / count.expand(&[sizes[0], 1, sizes[2]]))
}

global_pooling! {
    /// The maximum of each channel over all steps.
    ///
    /// # Shapes
    /// `(batch, steps, channels)` → `(batch, channels)`, or `(batch, 1, channels)` with `keepdims`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(GlobalMaxPooling1D::new().input_shape((10, 64)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 64)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    GlobalMaxPooling1D, 1, Max, false
}

global_pooling! {
    /// The maximum of each channel over all rows and columns.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → `(batch, channels)`, or `(batch, 1, 1, channels)` with `keepdims`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(GlobalMaxPooling2D::new().input_shape((4, 4, 64)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 64)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    GlobalMaxPooling2D, 2, Max, false
}

global_pooling! {
    /// The maximum of each channel over depth, rows and columns.
    ///
    /// # Shapes
    /// `(batch, depth, rows, columns, channels)` → `(batch, channels)`, or `(batch, 1, 1, 1, channels)` with
    /// `keepdims`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(GlobalMaxPooling3D::new().input_shape((4, 4, 4, 64)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 64)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    GlobalMaxPooling3D, 3, Max, false
}

global_pooling! {
    /// The mean of each channel over all steps.
    ///
    /// Masked steps are ignored.
    ///
    /// # Shapes
    /// `(batch, steps, channels)` → `(batch, channels)`, or `(batch, 1, channels)` with `keepdims`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(GlobalAveragePooling1D::new().input_shape((10, 64)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 64)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    GlobalAveragePooling1D, 1, Average, true
}

global_pooling! {
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
    GlobalAveragePooling2D, 2, Average, false
}

global_pooling! {
    /// The mean of each channel over depth, rows and columns.
    ///
    /// # Shapes
    /// `(batch, depth, rows, columns, channels)` → `(batch, channels)`, or `(batch, 1, 1, 1, channels)` with
    /// `keepdims`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(GlobalAveragePooling3D::new().input_shape((4, 4, 4, 64)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 64)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    GlobalAveragePooling3D, 3, Average, false
}
