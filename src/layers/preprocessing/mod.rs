//! The preprocessing layers.

mod category_encoding;
mod center_crop;
mod discretization;
mod hash;
mod hashed_crossing;
mod hashing;
mod integer_lookup;
mod lookup;
mod normalization;
mod rescaling;
mod resizing;
mod string_lookup;
mod text_vectorization;
mod vocabulary;

pub use category_encoding::{CategoryEncoding, OutputMode};
pub use center_crop::CenterCrop;
pub use discretization::Discretization;
pub use hashed_crossing::HashedCrossing;
pub use hashing::{Hashing, MaskValue};
pub use integer_lookup::IntegerLookup;
pub use lookup::{LookupMode, OovMethod, Salt};
pub use normalization::Normalization;
pub use rescaling::{Numbers, Rescaling};
pub use resizing::Resizing;
pub use string_lookup::StringLookup;
pub use text_vectorization::{Ngrams, Split, Standardize, TextVectorization};
pub(crate) use vocabulary::{ADAPTED, lines};
pub use vocabulary::{Token, Vocabulary};

use crate::datasets::Column;
use crate::error::{Error, Result};
use crate::layers::{Edge, Exporting, onnx_resize_axis};
use crate::ops::{Interpolation, resize_len};
use crate::shape::{DataFormat, Shape};

/// The only input.
fn only(inputs: &[Column]) -> Result<&Column> {
    match inputs {
        [input] => Ok(input),
        _ => Err(Error::shape("one input", format!("{} inputs", inputs.len()))),
    }
}

/// The shape of images resized to `height` and `width`.
pub(super) fn with_size(input: &Shape, format: DataFormat, height: usize, width: usize) -> Result<Shape> {
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

/// The part of `length` by `other` pixels with the aspect ratio `target` by `other_target`: at least one pixel.
pub(super) fn part_of_aspect_ratio(length: usize, other: usize, target: usize, other_target: usize) -> usize {
    scaled(other, target, other_target).min(length).max(1)
}

/// `length · target / other_target`, saturating.
fn scaled(length: usize, target: usize, other_target: usize) -> usize {
    usize::try_from(length as u128 * target as u128 / (other_target as u128).max(1)).unwrap_or(usize::MAX)
}

/// The workspace in values for resizing images of these sizes (batch, rows, columns, channels), padding included,
/// besides input and output.
pub(super) fn resizing_len(images: &[usize], [height, width]: [usize; 2], interpolation: &Interpolation) -> usize {
    let padded = images.iter().fold(1, |product: usize, size| product.saturating_mul(*size));
    let rows = resize_len(images, 1, height, interpolation);
    let between = [&[images[0], height], &images[2..]].concat();
    padded.saturating_add(rows).saturating_add(resize_len(&between, 2, width, interpolation))
}

/// The middle of images (batch, rows, columns, channels) of the sizes `from`, as an ONNX value.
fn onnx_middle(to: &mut Exporting<'_>, x: Edge, from: [usize; 2], parts: [usize; 2]) -> Edge {
    let border = |index: usize| {
        let before = (from[index] - parts[index]) / 2;
        (before, from[index] - parts[index] - before)
    };
    to.crop(x, 1, &[border(0), border(1)])
}

/// Images (batch, rows, columns, channels) resized, as an ONNX value.
fn onnx_resize(
    to: &mut Exporting<'_>,
    x: Edge,
    from: [usize; 2],
    into: [usize; 2],
    interpolation: &Interpolation,
    antialias: bool,
) -> Edge {
    let rows = onnx_resize_axis(to, x, (1, 4), from[0], into[0], interpolation, antialias);
    onnx_resize_axis(to, rows, (2, 4), from[1], into[1], interpolation, antialias)
}
