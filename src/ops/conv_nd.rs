//! Convolution along one, two or three dimensions of space, and its transpose.

use burn::tensor::module;
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};

use super::{Conv2dGeometry, Value, activated_conv2d};
use crate::activations::Activation;
use crate::error::{Error, Result};
use crate::shape::check_count;

/// How a kernel goes over a line, an image or a volume; a number for each dimension of space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Steps from window to window.
    pub strides: Vec<usize>,
    /// Distances between the cells of a window.
    pub dilation: Vec<usize>,
    /// Cells of zeros before and after.
    pub pads: Vec<(usize, usize)>,
    /// Groups of channels.
    pub groups: usize,
}

impl ConvGeometry {
    /// A kernel of a single cell, over `dimensions` of space.
    pub(crate) fn pointwise(dimensions: usize) -> Self {
        let ones = vec![1; dimensions];
        Self { strides: ones.clone(), dilation: ones, pads: vec![(0, 0); dimensions], groups: 1 }
    }

    /// As the geometry over an image, a line being one of a single row; `None` for a volume.
    pub(crate) fn flat(&self) -> Option<Conv2dGeometry> {
        let (strides, dilation, pads) = match (&self.strides[..], &self.dilation[..], &self.pads[..]) {
            ([stride], [dilation], [pads]) => ([1, *stride], [1, *dilation], [(0, 0), *pads]),
            ([s0, s1], [d0, d1], [p0, p1]) => ([*s0, *s1], [*d0, *d1], [*p0, *p1]),
            _ => return None,
        };
        Some(Conv2dGeometry { strides, dilation, pads, groups: self.groups })
    }
}

/// Convolution in Keras's layout along one to three dimensions of space.
///
/// # Shapes
/// input (batch, …space, channels), kernel (…window, channels / groups, filters), bias (filters)
/// → (batch, …new space, filters).
///
/// # Errors
/// [`Error::Shape`] for sizes that do not fit the geometry, or would be too large.
pub fn conv(input: Value, kernel: Value, bias: Option<Value>, geometry: &ConvGeometry) -> Result<Value> {
    activated_conv(input, kernel, bias, geometry, &Activation::Linear)
}

/// As [`conv`], with an activation at the end.
///
/// # Errors
/// As [`conv`].
pub fn activated_conv(
    input: Value,
    kernel: Value,
    bias: Option<Value>,
    geometry: &ConvGeometry,
    activation: &Activation,
) -> Result<Value> {
    match (geometry.flat(), geometry.strides.as_slice()) {
        // A line is an image of one row, for which there is a fast kernel.
        (Some(flat), [_]) => {
            out_of_a_row(activated_conv2d(in_a_row(input)?, kernel_in_a_row(kernel)?, bias, &flat, activation)?)
        }
        (Some(flat), _) => activated_conv2d(input, kernel, bias, &flat, activation),
        (None, [s0, s1, s2]) => {
            let [d0, d1, d2] = geometry.dilation[..] else {
                return Err(Error::shape("a dilation for each stride", format!("{:?}", geometry.dilation)));
            };
            check_conv(&input.sizes(), &kernel.sizes(), geometry)?;
            // Burn takes equal pads on both sides only.
            let mut input = input;
            for (dimension, (before, after)) in geometry.pads.iter().enumerate() {
                input = input.pad(1 + dimension, *before, *after, 0.0)?;
            }
            let input = input.tensor::<5>()?.permute([0, 4, 1, 2, 3]);
            let kernel = kernel.tensor::<5>()?.permute([4, 3, 0, 1, 2]);
            let bias = bias.map(Value::tensor::<1>).transpose()?;
            let options = ConvOptions::new([*s0, *s1, *s2], [0; 3], [d0, d1, d2], geometry.groups);
            activation.apply(module::conv3d(input, kernel, bias, options).permute([0, 2, 3, 4, 1]).into())
        }
        _ => Err(Error::shape("one to three dimensions of space", geometry.strides.len())),
    }
}

/// The transpose of a convolution: what its gradient does, in Keras's layout, before any padding is cut off.
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
        _ => Err(Error::shape("one to three dimensions of space", strides.len())),
    }
}

/// Refuses a convolution that Burn would compute with sizes that overflow, or panic over.
pub(super) fn check_conv(input: &[usize], kernel: &[usize], geometry: &ConvGeometry) -> Result<()> {
    let dimensions = geometry.strides.len();
    let wrong = || {
        let expected = format!("a convolution along {dimensions} dimensions ({geometry:?})");
        Error::shape(expected, format!("an input of sizes {input:?}, a kernel of sizes {kernel:?}"))
    };
    let lengths = [input.len(), kernel.len()] == [dimensions + 2; 2]
        && [geometry.dilation.len(), geometry.pads.len()] == [dimensions; 2];
    if !lengths || geometry.groups == 0 {
        return Err(wrong());
    }
    let (channels, filters) = (input[dimensions + 1], kernel[dimensions + 1]);
    if kernel[dimensions].checked_mul(geometry.groups) != Some(channels) || !filters.is_multiple_of(geometry.groups) {
        return Err(wrong());
    }
    let (mut padded, mut output) = (vec![input[0]], vec![input[0]]);
    for at in 0..dimensions {
        let (before, after) = geometry.pads[at];
        let length = input[1 + at].checked_add(before).and_then(|length| length.checked_add(after));
        let span = span(kernel[at], geometry.dilation[at]);
        let (Some(length), Some(span)) = (length, span) else { return Err(wrong()) };
        let steps = length.checked_sub(span).and_then(|room| room.checked_div(geometry.strides[at]));
        padded.push(length);
        output.push(steps.ok_or_else(wrong)? + 1);
    }
    padded.push(channels);
    output.push(filters);
    check_count(&padded)?;
    check_count(&output).map(|_| ())
}

/// The same for a transposed one.
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

/// The stretch that a kernel of so many cells reaches over; `None` if there is none.
fn span(cells: usize, dilation: usize) -> Option<usize> {
    cells.checked_sub(1)?.checked_mul(dilation).filter(|_| dilation > 0)?.checked_add(1)
}

/// (batch, steps, channels) → (batch, 1, steps, channels).
pub(super) fn in_a_row(value: Value) -> Result<Value> {
    let sizes = value.tensor_sizes::<3>()?;
    value.reshape(&[sizes[0], 1, sizes[1], sizes[2]])
}

/// (window, in, out) → (1, window, in, out).
pub(super) fn kernel_in_a_row(value: Value) -> Result<Value> {
    let sizes = value.tensor_sizes::<3>()?;
    value.reshape(&[1, sizes[0], sizes[1], sizes[2]])
}

/// (batch, 1, steps, channels) → (batch, steps, channels).
pub(super) fn out_of_a_row(value: Value) -> Result<Value> {
    let sizes = value.tensor_sizes::<4>()?;
    value.reshape(&[sizes[0], sizes[1] * sizes[2], sizes[3]])
}
