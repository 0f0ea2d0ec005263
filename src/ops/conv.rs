//! Convolution.

use burn::tensor::module;
use burn::tensor::ops::ConvOptions;

use super::{PoolGeometry, Value};
use crate::activations::Activation;
use crate::error::Result;

/// How a kernel goes over an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dGeometry {
    /// Steps down and across.
    pub strides: [usize; 2],
    /// Distance between the cells of a window, down and across.
    pub dilation: [usize; 2],
    /// Cells of zeros (above, below) and (left, right).
    pub pads: [(usize, usize); 2],
    /// Groups of channels.
    pub groups: usize,
}

/// 2-D convolution in Keras's layout.
///
/// # Shapes
/// input (batch, rows, columns, channels), kernel (rows, columns, channels / groups, filters), bias (filters)
/// → (batch, new rows, new columns, filters).
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for other ranks.
pub fn conv2d(input: Value, kernel: Value, bias: Option<Value>, geometry: &Conv2dGeometry) -> Result<Value> {
    let input = input.tensor::<4>()?.permute([0, 3, 1, 2]);
    let kernel = kernel.tensor::<4>()?.permute([3, 2, 0, 1]);
    let bias = bias.map(Value::tensor::<1>).transpose()?;
    let options = ConvOptions {
        stride: geometry.strides,
        padding: geometry.pads,
        dilation: geometry.dilation,
        groups: geometry.groups,
    };
    Ok(module::conv2d(input, kernel, bias, options).permute([0, 2, 3, 1]).into())
}

/// A convolution with its activation and the max pooling that follows, where a kernel does all at once; `None` where
/// none does, for the layers to do it one after the other.
///
/// `pool` gives the pooling's geometry for the convolution's output rows and columns.
pub(crate) fn conv2d_max_pool2d(
    input: &Value,
    kernel: &Value,
    bias: Option<&Value>,
    geometry: &Conv2dGeometry,
    activation: &Activation,
    pool: impl FnOnce(usize, usize) -> Option<PoolGeometry>,
) -> Option<Value> {
    let _ = (input, kernel, bias, geometry, activation, pool);
    None
}
