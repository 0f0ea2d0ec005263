//! `UpSampling1D`, `2D`, `3D`: upsample by a factor.

use super::{first_axis, onnx_up_sampling, with_space};
use crate::error::{Error, Result};
use crate::layers::{BuiltIn, Call, Edge, Exporting, Layer};
use crate::ops::{Interpolation, Value, resize_axis, resize_len};
use crate::shape::{DataFormat, Shape, Spatial};

/// The size of `UpSampling1D` is a number in Keras's files, those of the others a list.
type Times = usize;

/// Declares the layer for `$n` spatial dimensions.
macro_rules! up_sampling {
    ($(#[$doc:meta])* $name:ident, $n:literal, $size:ty, $default:expr, [$($more:tt)*], |$self:ident| ($sizes:expr, $format:expr, $interpolation:expr)) => {
        crate::describe! {
            $(#[$doc])*
            pub layer struct $name {
                /// The upsampling factor of each dimension.
                size: $size = $default,
                $($more)*
            }
        }

        impl $name {
            /// Upsamples by `size`: one factor for all dimensions, or one per dimension.
            pub fn new(size: impl crate::config::Argument<$size>) -> Self {
                Self { size: size.into_argument(), ..Self::default() }
            }
        }

        impl Layer for $name {
            fn output_shape(&$self, input: &Shape) -> Result<Shape> {
                $interpolation.check()?;
                let sizes: [usize; $n] = $sizes;
                Spatial(sizes).check_positive("size")?;
                with_space::<$n>(input, $format, |dimension, size| {
                    size.checked_mul(sizes[dimension])
                        .ok_or_else(|| Error::argument("size", "a factor without overflow", sizes[dimension]))
                })
            }

            fn check_values(&$self, _: &[f32]) -> Result<bool> {
                Ok($interpolation == Interpolation::Nearest)
            }

            fn scratch(&$self, input: &Shape, _: bool) -> Result<usize> {
                let mut value: Vec<usize> = input.sizes().iter().map(|size| size.unwrap_or(1)).collect();
                let sizes: [usize; $n] = $sizes;
                let (mut most, first) = (0, first_axis($format));
                for (dimension, times) in sizes.into_iter().enumerate() {
                    let axis = first + dimension;
                    let length = value[axis].saturating_mul(times);
                    most = most.max(resize_len(&value, axis, length, &$interpolation));
                    value[axis] = length;
                }
                Ok(most)
            }

            fn onnx(&$self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
                let sizes: [usize; $n] = $sizes;
                let input = to.input();
                onnx_up_sampling(to, input, &sizes, $format, &$interpolation)
            }

            fn forward(&$self, input: Value, _: &mut Call<'_>) -> Result<Value> {
                let first = first_axis($format);
                let sizes: [usize; $n] = $sizes;
                sizes.into_iter().enumerate().try_fold(input, |value, (dimension, times)| match &$interpolation {
                    Interpolation::Nearest => value.repeat(first + dimension, times),
                    smooth => {
                        let length = value.sizes()[first + dimension] * times;
                        resize_axis(value, first + dimension, length, smooth, false)
                    }
                })
            }
        }
    };
}

up_sampling! {
    /// Repeats each step.
    ///
    /// # Shapes
    /// `(batch, steps, channels)` → `(batch, new_steps, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(UpSampling1D::new(2).input_shape((10, 4)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 20, 4)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    UpSampling1D, 1, Times, 2, [], |self| ([self.size], DataFormat::ChannelsLast, Interpolation::Nearest)
}

up_sampling! {
    /// Upsamples images by repetition or interpolation.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → `(batch, new_rows, new_columns, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(UpSampling2D::new((2, 3)).input_shape((8, 8, 3)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 16, 24, 3)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    UpSampling2D, 2, Spatial<2>, Spatial([2, 2]), [
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
        /// `nearest` repeats pixels; the others interpolate.
        interpolation: Interpolation = Interpolation::Nearest,
    ], |self| (self.size.0, self.data_format, self.interpolation)
}

up_sampling! {
    /// Repeats each position along depth, rows and columns.
    ///
    /// # Shapes
    /// `(batch, depth, rows, columns, channels)` → `(batch, new_depth, new_rows, new_columns, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(UpSampling3D::new(2).input_shape((4, 5, 6, 2)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 8, 10, 12, 2)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    UpSampling3D, 3, Spatial<3>, Spatial([2, 2, 2]), [
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    ], |self| (self.size.0, self.data_format, Interpolation::Nearest)
}

impl BuiltIn for UpSampling1D {
    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new(3_usize), Shape::batch_of((2, 3)))]
    }
}

impl BuiltIn for UpSampling2D {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new((2, 3)), Shape::batch_of((3, 2, 2))),
            (Self::new(2).interpolation("bilinear"), Shape::batch_of((3, 4, 2))),
            (Self::new(2).interpolation("bicubic"), Shape::batch_of((5, 4, 1))),
            (Self::new(2).interpolation("lanczos3").data_format(DataFormat::ChannelsFirst), Shape::batch_of((1, 5, 4))),
        ]
    }
}

impl BuiltIn for UpSampling3D {
    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new((1, 2, 3)), Shape::batch_of((2, 2, 2, 2)))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_interpolation_is_refused() {
        let layer = UpSampling2D::new(2).interpolation("bilinaer");
        let error = layer.output_shape(&Shape::batch_of((2, 2, 1))).unwrap_err();
        assert!(error.to_string().contains("did you mean `bilinear`?"), "{error}");
    }
}
