//! The normalization layers.

mod batch_normalization;
mod group_normalization;
mod layer_normalization;
mod rms_normalization;
mod spectral_normalization;
mod unit_normalization;

pub use batch_normalization::BatchNormalization;
pub use group_normalization::GroupNormalization;
pub use layer_normalization::LayerNormalization;
pub use rms_normalization::RMSNormalization;
pub use spectral_normalization::SpectralNormalization;
pub use unit_normalization::UnitNormalization;

use crate::constraints::Axes;
use crate::error::{Error, Result};
use crate::layers::each_part;
use crate::shape::Shape;

/// Refuses an epsilon that allows division by zero.
fn check_epsilon(epsilon: f32) -> Result<()> {
    if epsilon > 0.0 && epsilon.is_finite() {
        return Ok(());
    }
    Err(Error::argument("epsilon", "a number above 0", epsilon))
}

/// The resolved axes, without the batch's, and their sizes.
fn axes_and_sizes(axes: &Axes, input: &Shape) -> Result<(Vec<usize>, Vec<usize>)> {
    let positions = axes.of_rank(input.rank())?;
    if positions.is_empty() || positions.contains(&0) {
        return Err(Error::argument("axis", "axes of a sample, not the batch's", format!("{axes:?}")));
    }
    let sizes = positions.iter().map(|axis| input.sizes()[*axis]).collect::<Option<Vec<_>>>();
    let sizes = sizes.ok_or_else(|| Error::shape("known sizes of the normalized axes", input))?;
    Ok((positions, sizes))
}

/// The length of a row if the axes are the last ones, in order, without the batch: its values and weights are
/// contiguous.
fn row_width(axes: &Axes, input: &[usize]) -> Option<usize> {
    let rank = input.len() + 1;
    let axes = axes.of_rank(rank).ok()?;
    let before = rank.checked_sub(axes.len()).filter(|before| *before > 0)?;
    axes.into_iter().eq(before..rank).then(|| input[before - 1..].iter().product())
}

/// In a predictor, calls `normalize` with all rows of `width` values of the input and the output or, if there are
/// enough operations, with parts of them on several threads.
fn normalize_rows(
    threads: usize,
    operations: usize,
    width: usize,
    (x, y): (&[f32], &mut [f32]),
    normalize: impl Fn(&[f32], &mut [f32]) + Sync + Send,
) {
    each_part(threads, operations, y, width, |first, y| normalize(&x[first * width..][..y.len()], y));
}
