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
use crate::layers::{Edge, Exporting, onnx_resize_axis};
use crate::ops::Interpolation;
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

/// An enlarging by whole factors as ONNX operators.
fn onnx_up_sampling(
    to: &mut Exporting<'_>,
    input: Edge,
    factors: &[usize],
    format: DataFormat,
    interpolation: &Interpolation,
) -> Result<Vec<Edge>> {
    let (first, rank) = (first_axis(format), factors.len() + 2);
    let mode = match interpolation {
        Interpolation::Nearest => ["nearest", "asymmetric"],
        Interpolation::Bilinear => ["linear", "half_pixel"],
        _ => {
            let sizes = to.known(to.shape())?;
            let mut value = input;
            for (dimension, factor) in factors.iter().enumerate() {
                let (axis, from) = (first + dimension, sizes[first + dimension - 1]);
                value = onnx_resize_axis(to, value, (axis, rank), from, from * factor, interpolation, false);
            }
            return Ok(vec![value]);
        }
    };
    let input = to.channels_first(input, format, rank);
    let scales = [1.0, 1.0].into_iter().chain(factors.iter().map(|factor| *factor as f32)).collect();
    let scales = to.along("scales", scales, 0, 1);
    let mut attributes = vec![("mode", mode[0].into()), ("coordinate_transformation_mode", mode[1].into())];
    if *interpolation == Interpolation::Nearest {
        attributes.push(("nearest_mode", "floor".into()));
    }
    let output = to.op_of("Resize", vec![Some(input), None, Some(scales)], 1, attributes)[0];
    Ok(vec![to.from_channels_first(output, format, rank)])
}
