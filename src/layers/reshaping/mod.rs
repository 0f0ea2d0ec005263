//! The reshaping layers.

mod cropping;
mod flatten;
mod permute;
mod repeat_vector;
mod reshape;
mod up_sampling;
mod zero_padding;

pub use cropping::{Cropping1D, Cropping2D, Cropping3D};
pub use flatten::Flatten;
pub use permute::Permute;
pub use repeat_vector::RepeatVector;
pub use reshape::Reshape;
pub use up_sampling::{UpSampling1D, UpSampling2D, UpSampling3D};
pub use zero_padding::{ZeroPadding1D, ZeroPadding2D, ZeroPadding3D};

use crate::error::Result;
use crate::shape::{DataFormat, Shape};

/// The first spatial axis.
fn first_axis(format: DataFormat) -> usize {
    match format {
        DataFormat::ChannelsFirst => 2,
        _ => 1,
    }
}

/// The shape with each of its `N` spatial dimensions changed by a rule, which gets the dimension and its size.
fn with_space<const N: usize>(
    input: &Shape,
    format: DataFormat,
    rule: impl Fn(usize, usize) -> Result<usize>,
) -> Result<Shape> {
    input.expect_rank(N + 2)?;
    let mut sizes = input.sizes().to_vec();
    for (dimension, size) in sizes[first_axis(format)..][..N].iter_mut().enumerate() {
        *size = size.map(|size| rule(dimension, size)).transpose()?;
    }
    Ok(Shape::new(sizes))
}
