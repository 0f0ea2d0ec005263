//! `Cropping1D`, `2D`, `3D`: crop the spatial dimensions.

use super::{first_axis, with_space};
use crate::error::{Error, Result};
use crate::layers::{BuiltIn, Call, Edge, Exporting, Layer, OutputMemory};
use crate::ops::Value;
use crate::shape::{Borders, DataFormat, Shape};

/// Declares the layer for `$n` spatial dimensions.
macro_rules! cropping {
    ($(#[$doc:meta])* $name:ident, $n:literal, $default:literal, [$($format:tt)*], $data_format:expr) => {
        crate::describe! {
            $(#[$doc])*
            pub layer struct $name {
                /// The number of positions to crop before and after each dimension.
                cropping: Borders<$n> = Borders([($default, $default); $n]),
                $($format)*
            }
        }

        impl $name {
            /// Crops by `cropping`: one number for all sides, one per dimension, or a pair per dimension.
            pub fn new(cropping: impl Into<Borders<$n>>) -> Self {
                Self { cropping: cropping.into(), ..Self::default() }
            }

            fn format(&self) -> DataFormat {
                let format: fn(&Self) -> DataFormat = $data_format;
                format(self)
            }
        }

        impl Layer for $name {
            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                with_space::<$n>(input, self.format(), |dimension, size| {
                    let (before, after) = self.cropping.0[dimension];
                    let left = size.checked_sub(before).and_then(|left| left.checked_sub(after)).filter(|left| *left > 0);
                    left.ok_or_else(|| {
                        Error::argument("cropping", format!("less than {size} in all"), format!("({before}, {after})"))
                    })
                })
            }

            fn check_values(&self, _: &[f32]) -> Result<bool> {
                Ok(true)
            }

            fn output_memory(&self) -> OutputMemory {
                OutputMemory::Part
            }

            fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
                Ok(vec![to.crop(to.input(), first_axis(self.format()), &self.cropping.0)])
            }

            fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
                let (first, whole) = (first_axis(self.format()), input.len());
                let part = self.cropping.0.iter().enumerate().fold(input, |value, (dimension, (before, after))| {
                    let length = value.sizes()[first + dimension] - before - after;
                    value.narrow(first + dimension, *before, length)
                });
                part.apart_from(whole)
            }
        }
    };
}

cropping! {
    /// Crops the first and last steps.
    ///
    /// # Shapes
    /// `(batch, steps, channels)` → `(batch, new_steps, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Cropping1D::new((1, 2)).input_shape((10, 4)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 7, 4)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    Cropping1D, 1, 1, [], |_| DataFormat::ChannelsLast
}

cropping! {
    /// Crops rows and columns.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → `(batch, new_rows, new_columns, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Cropping2D::new(((1, 0), (2, 1))).input_shape((8, 8, 3)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 7, 5, 3)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    Cropping2D, 2, 0, [
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    ], |layer| layer.data_format
}

cropping! {
    /// Crops depth, rows and columns.
    ///
    /// # Shapes
    /// `(batch, depth, rows, columns, channels)` → `(batch, new_depth, new_rows, new_columns, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Cropping3D::new(1).input_shape((4, 5, 6, 2)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 2, 3, 4, 2)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    Cropping3D, 3, 1, [
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    ], |layer| layer.data_format
}

impl BuiltIn for Cropping1D {
    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new((1, 2)), Shape::batch_of((6, 2))), (Self::default(), Shape::batch_of((3, 1)))]
    }
}

impl BuiltIn for Cropping2D {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(((1, 0), (2, 1))), Shape::batch_of((4, 5, 2))),
            (Self::new((1, 0)).data_format(DataFormat::ChannelsFirst), Shape::batch_of((2, 4, 5))),
        ]
    }
}

impl BuiltIn for Cropping3D {
    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::default(), Shape::batch_of((3, 4, 5, 2)))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cropping_everything_is_refused() {
        assert!(Cropping1D::new((2, 2)).output_shape(&Shape::batch_of((4, 1))).is_err());
        assert!(Cropping1D::new((usize::MAX, 2)).output_shape(&Shape::batch_of((4, 1))).is_err());
    }
}
