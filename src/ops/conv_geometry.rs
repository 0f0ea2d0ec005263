//! Geometry of kernels over lines, images and volumes.

use super::Value;
use crate::error::{Error, Result};
use crate::shape::check_count;

/// Geometry of a kernel over an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dGeometry {
    /// Steps down and across.
    pub strides: [usize; 2],
    /// Distance between the cells of a window, down and across.
    pub dilation: [usize; 2],
    /// Zero padding (above, below) and (left, right).
    pub pads: [(usize, usize); 2],
    /// Groups of channels.
    pub groups: usize,
}

/// Geometry of a kernel over a line, an image or a volume, with a number for each spatial dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Steps from window to window.
    pub strides: Vec<usize>,
    /// Distances between the cells of a window.
    pub dilation: Vec<usize>,
    /// Zero padding before and after.
    pub pads: Vec<(usize, usize)>,
    /// Groups of channels.
    pub groups: usize,
}

impl ConvGeometry {
    /// A kernel of a single cell, over `dimensions` spatial dimensions.
    pub(crate) fn pointwise(dimensions: usize) -> Self {
        let ones = vec![1; dimensions];
        Self { strides: ones.clone(), dilation: ones, pads: vec![(0, 0); dimensions], groups: 1 }
    }

    /// The geometry over an image, a line being one of a single row; `None` for a volume.
    pub(crate) fn flat(&self) -> Option<Conv2dGeometry> {
        let (strides, dilation, pads) = match (&self.strides[..], &self.dilation[..], &self.pads[..]) {
            ([stride], [dilation], [pads]) => ([1, *stride], [1, *dilation], [(0, 0), *pads]),
            ([s0, s1], [d0, d1], [p0, p1]) => ([*s0, *s1], [*d0, *d1], [*p0, *p1]),
            _ => return None,
        };
        Some(Conv2dGeometry { strides, dilation, pads, groups: self.groups })
    }
}

/// Refuses a convolution whose sizes overflow in Burn, or make it panic.
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

/// The span of a dilated kernel of `cells` cells; `None` if it is empty or overflows.
pub(super) fn span(cells: usize, dilation: usize) -> Option<usize> {
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
