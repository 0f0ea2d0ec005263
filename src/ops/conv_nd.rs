//! Convolution along one, two or three spatial dimensions, and its transpose.

use burn::tensor::module;
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};

use super::Value;
use super::activations::Activation;
use super::conv::activated_conv2d;
use super::conv_geometry::{ConvGeometry, check_conv, in_a_row, kernel_in_a_row, out_of_a_row, span};
use crate::error::{Error, Result};
use crate::shape::check_count;

/// Convolution in Keras's layout along one to three spatial dimensions.
///
/// # Shapes
/// input (batch, …space, channels), kernel (…window, channels / groups, filters), bias (filters)
/// → (batch, …new space, filters).
///
/// # Errors
/// [`Error::Shape`] for sizes that do not fit the geometry, or would be too large.
pub fn conv<const N: usize>(
    input: Value,
    kernel: Value,
    bias: Option<Value>,
    geometry: &ConvGeometry<N>,
) -> Result<Value> {
    activated_conv(input, kernel, bias, geometry, &Activation::Linear)
}

/// As [`conv`], with an activation at the end.
///
/// # Errors
/// As [`conv`].
pub fn activated_conv<const N: usize>(
    input: Value,
    kernel: Value,
    bias: Option<Value>,
    geometry: &ConvGeometry<N>,
    activation: &Activation,
) -> Result<Value> {
    match geometry.flat() {
        // A line is an image of one row, for which there is a fast kernel.
        Some(flat) if N == 1 => {
            out_of_a_row(activated_conv2d(in_a_row(input)?, kernel_in_a_row(kernel)?, bias, &flat, activation)?)
        }
        Some(flat) => activated_conv2d(input, kernel, bias, &flat, activation),
        None => {
            let (&[s0, s1, s2], &[d0, d1, d2]) = (&geometry.strides[..], &geometry.dilation[..]) else {
                return Err(Error::shape("one to three spatial dimensions", N));
            };
            check_conv(&input.sizes(), &kernel.sizes(), geometry)?;
            // Burn supports symmetric padding only.
            let mut input = input;
            for (dimension, (before, after)) in geometry.pads.iter().enumerate() {
                input = input.pad(1 + dimension, *before, *after, 0.0)?;
            }
            let input = input.tensor::<5>()?.permute([0, 4, 1, 2, 3]);
            let kernel = kernel.tensor::<5>()?.permute([4, 3, 0, 1, 2]);
            let bias = bias.map(Value::tensor::<1>).transpose()?;
            let options = ConvOptions::new([s0, s1, s2], [0; 3], [d0, d1, d2], geometry.groups);
            activation.apply(module::conv3d(input, kernel, bias, options).permute([0, 2, 3, 4, 1]).into())
        }
    }
}

/// Transposed convolution: the gradient of a convolution, in Keras's layout, before any padding is cut off.
///
/// # Shapes
/// input (batch, …space, channels), kernel (…window, filters, channels) → (batch, …(n − 1) · stride + span, filters).
///
/// # Errors
/// [`Error::Shape`] for sizes that do not fit each other, or the number of strides, or would be too large.
pub fn conv_transpose(input: Value, kernel: Value, strides: &[usize], dilation: &[usize]) -> Result<Value> {
    check_transpose(&input.sizes(), &kernel.sizes(), strides, dilation)?;
    match (strides, dilation) {
        ([stride], [dilation]) => {
            let output = conv_transpose(in_a_row(input)?, kernel_in_a_row(kernel)?, &[1, *stride], &[1, *dilation])?;
            out_of_a_row(output)
        }
        ([s0, s1], [d0, d1]) => {
            let input = input.tensor::<4>()?.permute([0, 3, 1, 2]);
            let kernel = kernel.tensor::<4>()?.permute([3, 2, 0, 1]);
            let options = ConvTransposeOptions::new([*s0, *s1], [0; 2], [0; 2], [*d0, *d1], 1);
            Ok(module::conv_transpose2d(input, kernel, None, options).permute([0, 2, 3, 1]).into())
        }
        ([s0, s1, s2], [d0, d1, d2]) => {
            let input = input.tensor::<5>()?.permute([0, 4, 1, 2, 3]);
            let kernel = kernel.tensor::<5>()?.permute([4, 3, 0, 1, 2]);
            let options = ConvTransposeOptions::new([*s0, *s1, *s2], [0; 3], [0; 3], [*d0, *d1, *d2], 1);
            Ok(module::conv_transpose3d(input, kernel, None, options).permute([0, 2, 3, 4, 1]).into())
        }
        _ => Err(Error::shape("one to three spatial dimensions", strides.len())),
    }
}

/// Refuses a transposed convolution whose sizes overflow in Burn, or make it panic.
fn check_transpose(input: &[usize], kernel: &[usize], strides: &[usize], dilation: &[usize]) -> Result<()> {
    let dimensions = strides.len();
    let wrong = || {
        let expected = format!("a transposed convolution with strides {strides:?} and dilation {dilation:?}");
        Error::shape(expected, format!("an input of sizes {input:?}, a kernel of sizes {kernel:?}"))
    };
    let lengths = [input.len(), kernel.len()] == [dimensions + 2; 2] && dilation.len() == dimensions;
    if !lengths || strides.contains(&0) || kernel[dimensions + 1] != input[dimensions + 1] {
        return Err(wrong());
    }
    let mut output = vec![input[0]];
    for at in 0..dimensions {
        let steps = input[1 + at].checked_sub(1).and_then(|steps| steps.checked_mul(strides[at]));
        let length = steps.and_then(|steps| steps.checked_add(span(kernel[at], dilation[at])?));
        output.push(length.ok_or_else(wrong)?);
    }
    output.push(kernel[dimensions]);
    check_count(&output).map(|_| ())
}
