//! Pooling.

use burn::tensor::module;
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};

use super::Value;
use crate::error::Result;

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
