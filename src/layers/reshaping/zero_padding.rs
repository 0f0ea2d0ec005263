//! `ZeroPadding1D`, `2D`, `3D`: pad with zeros.

use super::{first_axis, with_space};
use crate::error::{Error, Result};
use crate::layers::{BuiltIn, Call, Edge, Exporting, Freezing, Frozen, FrozenStep, Fused, Layer, each_part};
use crate::ops::{self, Value};
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

            /// The padding of the rows and of the columns, a line being an image of one row; `None` where a predictor
            /// has no step for it.
            fn borders(&self) -> Option<[(usize, usize); 2]> {
                if self.data_format != DataFormat::ChannelsLast {
                    return None;
                }
                ops::flat(self.padding.0, (0, 0))
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

            fn absorb(&self, next: &dyn Layer, training: bool) -> Option<Box<dyn Fused>> {
                let borders = self.borders().filter(|_| !training && next.takes_padding())?;
                let (padding, next) = (Box::new(self.clone()), next.boxed_clone());
                Some(Box::new(Padded { padding, borders, next, fused: None }))
            }

            fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
                let [(above, below), (left, right)] = self.borders()?;
                let (channels, image) = freezing.input()?.split_last()?;
                let [height, width] = ops::flat(<[usize; $n]>::try_from(image).ok()?, 1)?;
                let columns = [left, width, right].map(|size| size.checked_mul(*channels));
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

/// A zero padding fused with the layer after it, which takes the padding into its own step of a predictor, and with the
/// layers that this one absorbs.
#[derive(Debug)]
struct Padded {
    padding: Box<dyn Layer>,
    /// The padding of the rows and of the columns.
    borders: [(usize, usize); 2],
    next: Box<dyn Layer>,
    /// The next layer with those after it.
    fused: Option<Box<dyn Fused>>,
}

impl Padded {
    /// The compiled form of what comes after the padding.
    fn frozen_next(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        match &self.fused {
            Some(fused) => fused.frozen_step(freezing),
            None => self.next.frozen_step(freezing),
        }
    }
}

/// How many times as large as an image it can be with a padding that a convolution applies itself, if it is not small:
/// 256 KiB.
const MOST_TIMES_PADDED: usize = 4;
const SMALL: usize = 1 << 16;

impl Fused for Padded {
    fn absorb(&self, next: &dyn Layer, training: bool) -> Option<Box<dyn Fused>> {
        let fused = match &self.fused {
            Some(fused) => fused.absorb(next, training)?,
            None => self.next.absorb(next, training)?,
        };
        let (padding, next) = (self.padding.clone(), self.next.clone());
        Some(Box::new(Self { padding, borders: self.borders, next, fused: Some(fused) }))
    }

    fn prepare(&self, weights: &[Value]) -> Result<Option<Vec<Value>>> {
        // The padding has no weights.
        self.fused.as_ref().map_or(Ok(None), |fused| fused.prepare(weights))
    }

    fn weighted(&self, input: &Shape) -> Option<(&dyn Layer, Shape)> {
        Some((&*self.next, self.padding.output_shape(input).ok()?))
    }

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        let inside = Freezing { padding: self.borders, ..*freezing };
        let between = inside.padded_input()?;
        let len = between.iter().try_fold(1usize, |len, size| len.checked_mul(*size))?;
        // The padded image and the tables for it are workspace of the convolution's kernel, which no memory check covers:
        // they must be small, or not much larger than the image, whose size is checked.
        let image: usize = freezing.input()?.iter().product();
        if len <= SMALL || len / MOST_TIMES_PADDED <= image {
            let whole = self.frozen_next(&inside);
            if whole.is_some() {
                return whole;
            }
        }
        // Where the next layer has no step with the padding, this is a step of its own.
        let first = self.padding.frozen_step(&Freezing { output: &between, weights: &[], ..*freezing })?;
        let next = self.frozen_next(&Freezing { inputs: &[between], ..*freezing })?;
        Some(first.then(len, next, freezing.output.iter().product()))
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let padded = self.padding.run(input, call)?;
        // The padding does not pass a mask on.
        call.mask = None;
        match &self.fused {
            Some(fused) => fused.forward(padded, call),
            None => self.next.run(padded, call),
        }
    }
}

/// A layer of one or two dimensions in a predictor: rows before, of and after the image, and values of a row likewise.
#[derive(Debug)]
struct FrozenPadding {
    rows: [usize; 3],
    columns: [usize; 3],
}

impl FrozenPadding {
    /// Writes whole rows of the outputs, the first of them row `first` of all samples.
    fn write(&self, input: &[f32], first: usize, output: &mut [f32]) {
        let ([above, height, below], [left, width, right]) = (self.rows, self.columns);
        let rows = above + height + below;
        for (number, to) in (first..).zip(output.chunks_exact_mut((left + width + right).max(1))) {
            let (sample, row) = (number / rows, number % rows);
            if !(above..above + height).contains(&row) {
                to.fill(0.0);
                continue;
            }
            let from = &input[(sample * height + row - above) * width..][..width];
            to[..left].fill(0.0);
            to[left..left + width].copy_from_slice(from);
            to[left + width..].fill(0.0);
        }
    }
}

impl FrozenStep for FrozenPadding {
    fn operations(&self) -> usize {
        // It runs at the speed of memory, where a value takes as long as several operations.
        self.rows.iter().sum::<usize>().saturating_mul(self.columns.iter().sum()).saturating_mul(8)
    }

    fn run(&self, inputs: &[&[f32]], samples: usize, threads: usize, output: &mut [f32]) {
        let operations = self.operations().saturating_mul(samples);
        each_part(threads, operations, output, self.columns.iter().sum(), |first, output| {
            self.write(inputs[0], first, output);
        });
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
    use crate::kernels::parallel;

    #[test]
    fn a_size_that_does_not_exist_is_refused() {
        assert!(ZeroPadding1D::new(usize::MAX).output_shape(&Shape::batch_of((4, 1))).is_err());
    }

    #[test]
    fn threads_share_the_rows_of_all_samples() {
        let (step, samples) = (FrozenPadding { rows: [1, 40, 2], columns: [6, 300, 3] }, 20);
        let input: Vec<f32> = (1..=samples * 40 * 300).map(|number| number as f32).collect();
        let [mut alone, mut shared] = [0; 2].map(|_| vec![7.5; samples * 43 * 309]);
        step.run(&[&input], samples, 1, &mut alone);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        pool.install(|| {
            assert_eq!(parallel::threads_for(step.operations() * samples), 3);
            step.run(&[&input], samples, 3, &mut shared);
        });
        assert_eq!(alone, shared);
        assert!(alone.iter().filter(|value| **value != 0.0).eq(&input));
        let row = |row: usize| &alone[(43 + row) * 309..][..309];
        assert!([0, 41, 42].into_iter().flat_map(row).all(|value| *value == 0.0));
        assert_eq!((&row(1)[..6], row(1)[6], &row(1)[306..]), (&[0.0; 6][..], 12_001.0, &[0.0; 3][..]));
    }
}
