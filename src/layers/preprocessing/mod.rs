//! The layers that prepare data.

mod category_encoding;
mod center_crop;
mod discretization;
mod normalization;
mod rescaling;
mod resizing;

pub use category_encoding::{CategoryEncoding, OutputMode};
pub use center_crop::CenterCrop;
pub use discretization::Discretization;
pub use normalization::Normalization;
pub use rescaling::{Numbers, Rescaling};
pub use resizing::Resizing;

use crate::error::{Error, Result};
use crate::shape::{DataFormat, Shape};

/// Images of another height and width.
fn with_size(input: &Shape, format: DataFormat, height: usize, width: usize) -> Result<Shape> {
    for (argument, size) in [("height", height), ("width", width)] {
        if size == 0 {
            return Err(Error::argument(argument, "an integer above 0", size));
        }
    }
    input.expect_rank(4)?;
    let mut sizes = format.to_channels_last(input).sizes().to_vec();
    if sizes[1..3].contains(&Some(0)) {
        return Err(Error::shape("images of at least one cell", input));
    }
    (sizes[1], sizes[2]) = (Some(height), Some(width));
    Ok(format.from_channels_last(&Shape::new(sizes)))
}

/// How much of `length` by `other` cells has the form of `target` by `other_target`: at least one cell.
fn part_of_form(length: usize, other: usize, target: usize, other_target: usize) -> usize {
    ((other * target) / other_target).min(length).max(1)
}
