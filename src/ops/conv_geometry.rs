//! Geometry of kernels over lines, images and volumes.

use super::Value;
use crate::error::{Error, Result};
use crate::shape::check_count;

/// Geometry of a kernel over a line, an image or a volume, of `N` spatial dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry<const N: usize> {
    /// Steps from window to window.
    pub strides: [usize; N],
    /// Distances between the cells of a window.
    pub dilation: [usize; N],
    /// Zero padding before and after.
    pub pads: [(usize, usize); N],
    /// Groups of channels.
    pub groups: usize,
}

impl<const N: usize> ConvGeometry<N> {
    /// A kernel of a single cell.
    pub(crate) fn pointwise() -> Self {
        Self { strides: [1; N], dilation: [1; N], pads: [(0, 0); N], groups: 1 }
    }

    /// The geometry over an image, a line being one of a single row; `None` for a volume.
    pub(crate) fn flat(&self) -> Option<ConvGeometry<2>> {
        Some(ConvGeometry {
            strides: flat(self.strides, 1)?,
            dilation: flat(self.dilation, 1)?,
            pads: flat(self.pads, (0, 0))?,
            groups: self.groups,
        })
    }
}

/// One item for each dimension of an image, a line being one of a single row, for which `row` stands; `None` for a
/// volume.
pub(crate) fn flat<T: Copy, const N: usize>(items: [T; N], row: T) -> Option<[T; 2]> {
    match items[..] {
        [across] => Some([row, across]),
        [down, across] => Some([down, across]),
        _ => None,
    }
}

/// Refuses a convolution whose sizes overflow in Burn, or make it panic.
pub(super) fn check_conv<const N: usize>(input: &[usize], kernel: &[usize], geometry: &ConvGeometry<N>) -> Result<()> {
    let wrong = || {
        let expected = format!("a convolution along {N} dimensions ({geometry:?})");
        Error::shape(expected, format!("an input of sizes {input:?}, a kernel of sizes {kernel:?}"))
    };
    if [input.len(), kernel.len()] != [N + 2; 2] || geometry.groups == 0 {
        return Err(wrong());
    }
    let (channels, filters) = (input[N + 1], kernel[N + 1]);
    if kernel[N].checked_mul(geometry.groups) != Some(channels) || !filters.is_multiple_of(geometry.groups) {
        return Err(wrong());
    }
    let (mut padded, mut output) = (vec![input[0]], vec![input[0]]);
    for at in 0..N {
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
