//! `ZeroPadding1D`, `2D`, `3D`: pad with zeros.

use super::{first_axis, with_space};
use crate::error::{Error, Result};
use crate::layers::{BuiltIn, Call, Edge, Exporting, Freezing, Frozen, FrozenStep, Layer};
use crate::ops::Value;
use crate::shape::{Borders, DataFormat, Shape};

/// Declares the layer for `$n` spatial dimensions.
macro_rules! zero_padding {
    ($(#[$doc:meta])* $name:ident, $n:literal) => {
        crate::describe! {
            $(#[$doc])*
            pub layer struct $name {
                /// The padding before and after each dimension.
                padding: Borders<$n> = Borders([(1, 1); $n]),
                /// The position of the channels in the input and output.
                data_format: DataFormat = DataFormat::ChannelsLast,
            }
        }

        impl $name {
            /// Pads by `padding`: one number for all sides, one per dimension, or a pair per dimension.
            pub fn new(padding: impl Into<Borders<$n>>) -> Self {
                Self { padding: padding.into(), ..Self::default() }
            }
        }

        impl Layer for $name {
            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                with_space::<$n>(input, self.data_format, |dimension, size| {
                    let (before, after) = self.padding.0[dimension];
                    size.checked_add(before).and_then(|sum| sum.checked_add(after)).ok_or_else(|| {
                        Error::argument("padding", "padding without overflow", format!("({before}, {after})"))
                    })
                })
            }

            fn scratch(&self, input: &Shape, _: bool) -> Result<usize> {
                // Dimensions are padded one after the other.
                Ok(self.output_shape(input)?.known_len().saturating_mul($n - 1))
            }

            fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
                let input = freezing.input()?;
                let (space, channels) = (input.get(..$n)?, *input.get($n)?);
                if $n > 2 || self.data_format != DataFormat::ChannelsLast {
                    return None;
                }
                // A line is an image of one row.
                let (height, (above, below)) = if $n == 2 { (space[0], self.padding.0[0]) } else { (1, (0, 0)) };
                let (left, right) = self.padding.0[$n - 1];
                let columns = [left, space[$n - 1], right].map(|size| size.checked_mul(channels));
                let [Some(left), Some(width), Some(right)] = columns else { return None };
                Some(FrozenPadding { rows: [above, height, below], columns: [left, width, right] }.into())
            }

            fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
                Ok(vec![to.pad(to.input(), (first_axis(self.data_format), $n + 2), &self.padding.0, 0.0)])
            }

            fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
                let first = first_axis(self.data_format);
                self.padding.0.iter().enumerate().try_fold(input, |value, (dimension, (before, after))| {
                    value.pad(first + dimension, *before, *after, 0.0)
                })
            }
        }
    };
}

/// A layer of one or two dimensions in a predictor: rows before, of and after the image, and values of a row likewise.
#[derive(Debug)]
struct FrozenPadding {
    rows: [usize; 3],
    columns: [usize; 3],
}

impl FrozenStep for FrozenPadding {
    fn operations(&self) -> usize {
        self.rows.iter().sum::<usize>().saturating_mul(self.columns.iter().sum()).saturating_mul(2)
    }

    fn run(&self, inputs: &[&[f32]], samples: usize, _: usize, output: &mut [f32]) {
        let ([above, height, below], [left, width, right]) = (self.rows, self.columns);
        let row = left + width + right;
        output.fill(0.0);
        let outputs = output.chunks_exact_mut(((above + height + below) * row).max(1));
        let images = inputs[0].chunks_exact((height * width).max(1)).zip(outputs);
        for (image, output) in images.take(samples) {
            let rows = output[above * row..].chunks_exact_mut(row.max(1));
            for (from, to) in image.chunks_exact(width.max(1)).zip(rows) {
                to[left..left + width].copy_from_slice(from);
            }
        }
    }
}

zero_padding! {
    /// Pads steps with zeros.
    ///
    /// # Shapes
    /// `(batch, steps, channels)` → `(batch, new_steps, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(ZeroPadding1D::new((1, 2)).input_shape((10, 4)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 13, 4)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ZeroPadding1D, 1
}

zero_padding! {
    /// Pads rows and columns with zeros.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → `(batch, new_rows, new_columns, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(ZeroPadding2D::new(((1, 0), (2, 1))).input_shape((8, 8, 3)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 9, 11, 3)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ZeroPadding2D, 2
}

zero_padding! {
    /// Pads depth, rows and columns with zeros.
    ///
    /// # Shapes
    /// `(batch, depth, rows, columns, channels)` → `(batch, new_depth, new_rows, new_columns, channels)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(ZeroPadding3D::new(1).input_shape((4, 5, 6, 2)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 6, 7, 8, 2)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ZeroPadding3D, 3
}

impl BuiltIn for ZeroPadding1D {
    const LATE: &'static [(&'static str, &'static str)] = &[("data_format", "\"channels_last\"")];

    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new((0, 2)), Shape::batch_of((3, 2))),
            (Self::new(1).data_format(DataFormat::ChannelsFirst), Shape::batch_of((3, 2))),
        ]
    }
}

impl BuiltIn for ZeroPadding2D {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(((1, 0), (2, 1))), Shape::batch_of((3, 4, 2))),
            (Self::new((0, 2)).data_format(DataFormat::ChannelsFirst), Shape::batch_of((2, 3, 4))),
        ]
    }
}

impl BuiltIn for ZeroPadding3D {
    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::default(), Shape::batch_of((1, 2, 3, 2)))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_does_not_exist_is_refused() {
        assert!(ZeroPadding1D::new(usize::MAX).output_shape(&Shape::batch_of((4, 1))).is_err());
    }
}
