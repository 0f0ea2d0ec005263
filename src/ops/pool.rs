//! Pooling.

use burn::tensor::module;
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};

use super::Value;
use super::conv_nd::{in_a_row, out_of_a_row};
use crate::error::{Error, Result};

/// How pooling windows go over an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolGeometry {
    /// Rows and columns of the window.
    pub pool_size: [usize; 2],
    /// Steps down and across.
    pub strides: [usize; 2],
    /// Cells outside the image (above, below) and (left, right); they do not count.
    pub pads: [(usize, usize); 2],
}

/// The largest value of each window.
///
/// # Shapes
/// (batch, rows, columns, channels) → (batch, new rows, new columns, channels).
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for another rank.
pub fn max_pool2d(input: Value, geometry: &PoolGeometry) -> Result<Value> {
    let options = MaxPoolOptions {
        kernel_size: geometry.pool_size,
        stride: geometry.strides,
        padding: geometry.pads,
        dilation: [1, 1],
        ceil_mode: false,
    };
    let output = module::max_pool2d(input.tensor::<4>()?.permute([0, 3, 1, 2]), options);
    Ok(output.permute([0, 2, 3, 1]).into())
}

/// The mean of each window over the cells inside the image.
///
/// # Shapes
/// (batch, rows, columns, channels) → (batch, new rows, new columns, channels).
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for another rank.
pub fn average_pool2d(input: Value, geometry: &PoolGeometry) -> Result<Value> {
    let options = AvgPoolOptions {
        kernel_size: geometry.pool_size,
        stride: geometry.strides,
        padding: geometry.pads,
        count_include_pad: false,
        ceil_mode: false,
    };
    let output = module::avg_pool2d(input.tensor::<4>()?.permute([0, 3, 1, 2]), options);
    Ok(output.permute([0, 2, 3, 1]).into())
}

/// What a pooling window gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PoolKind {
    /// Its largest value.
    Max,
    /// The mean of its cells inside the input.
    Average,
}

impl PoolKind {
    fn pool2d(self, input: Value, geometry: &PoolGeometry) -> Result<Value> {
        match self {
            Self::Max => max_pool2d(input, geometry),
            Self::Average => average_pool2d(input, geometry),
        }
    }

    /// The largest or mean value along `axis`, which stays with size 1.
    pub(crate) fn reduce(self, value: Value, axis: usize) -> Value {
        match self {
            Self::Max => value.max_axis(axis),
            Self::Average => value.mean_axis(axis),
        }
    }
}

/// Pooling along one to three dimensions of space.
///
/// A window is the product of its sides, and so are the cells of it inside the input: pooling one dimension after the
/// other gives the same.
///
/// # Errors
/// [`Error::Shape`] for ranks that do not fit the window.
pub(crate) fn pool(
    input: Value,
    kind: PoolKind,
    pool_size: &[usize],
    strides: &[usize],
    pads: &[(usize, usize)],
) -> Result<Value> {
    let line = |input, at: usize| {
        let geometry =
            PoolGeometry { pool_size: [1, pool_size[at]], strides: [1, strides[at]], pads: [(0, 0), pads[at]] };
        kind.pool2d(in_a_row(input)?, &geometry).and_then(out_of_a_row)
    };
    match pool_size.len() {
        1 => line(input, 0),
        2 => {
            let geometry = PoolGeometry {
                pool_size: [pool_size[0], pool_size[1]],
                strides: [strides[0], strides[1]],
                pads: [pads[0], pads[1]],
            };
            kind.pool2d(input, &geometry)
        }
        3 => {
            let [batch, depth, rows, columns, channels] = input.tensor_sizes::<5>()?;
            let images = input.reshape(&[batch * depth, rows, columns, channels])?;
            let images = pool(images, kind, &pool_size[1..], &strides[1..], &pads[1..])?;
            let [_, rows, columns, _] = images.tensor_sizes::<4>()?;
            let lines = line(images.reshape(&[batch, depth, rows * columns * channels])?, 0)?;
            let [_, depth, _] = lines.tensor_sizes::<3>()?;
            lines.reshape(&[batch, depth, rows, columns, channels])
        }
        other => Err(Error::shape("one to three dimensions of space", other)),
    }
}

/// `axis` in `bins` parts as equal as can be, each of which gives one cell; parts may overlap by a cell.
///
/// # Errors
/// [`Error::Shape`] never for at least one bin and cell.
pub(crate) fn pool_bins(value: Value, kind: PoolKind, axis: usize, bins: usize) -> Result<Value> {
    let length = value.sizes()[axis];
    let part = |bin: usize| {
        let (start, end) = (bin * length / bins, ((bin + 1) * length).div_ceil(bins));
        kind.reduce(value.clone().narrow(axis, start, end - start), axis)
    };
    Value::concat((0..bins).map(part).collect(), axis)
}
