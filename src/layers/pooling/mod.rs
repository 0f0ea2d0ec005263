//! The pooling layers.

mod adaptive_pooling;
mod average_pooling;
mod average_pooling2d;
mod frozen;
mod global_average_pooling2d;
mod global_pooling;
mod max_pooling;
mod max_pooling2d;

pub use adaptive_pooling::{
    AdaptiveAveragePooling1D, AdaptiveAveragePooling2D, AdaptiveAveragePooling3D, AdaptiveMaxPooling1D,
    AdaptiveMaxPooling2D, AdaptiveMaxPooling3D,
};
pub use average_pooling::{AveragePooling1D, AveragePooling3D};
pub use average_pooling2d::AveragePooling2D;
pub use global_average_pooling2d::GlobalAveragePooling2D;
pub use global_pooling::{
    GlobalAveragePooling1D, GlobalAveragePooling3D, GlobalMaxPooling1D, GlobalMaxPooling2D, GlobalMaxPooling3D,
};
pub use max_pooling::{MaxPooling1D, MaxPooling3D};
pub use max_pooling2d::MaxPooling2D;

use super::convolution::{DIMENSIONS, Windows};
use crate::error::Result;
use crate::layers::{Edge, Exporting};
use crate::ops::{self, PoolGeometry, PoolKind, Value};
use crate::shape::{DataFormat, Padding, Shape, Spatial, Window, count_windows};

/// Shared by max and average pooling: their windows along `N` spatial dimensions.
struct Pool<const N: usize> {
    pool_size: Spatial<N>,
    strides: Spatial<N>,
    padding: Padding,
    data_format: DataFormat,
}

impl<const N: usize> Pool<N> {
    fn window(&self, dimension: usize) -> Window {
        Window { size: self.pool_size.0[dimension], stride: self.strides.0[dimension], dilation: 1 }
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.padding.refuse_causal()?;
        self.pool_size.check_positive("pool_size")?;
        self.strides.check_positive("strides")?;
        input.expect_rank(N + 2)?;
        let mut sizes = self.data_format.to_channels_last(input).sizes().to_vec();
        for (dimension, name) in DIMENSIONS[N - 1].iter().enumerate() {
            let size = &mut sizes[1 + dimension];
            *size = count_windows(name, *size, self.window(dimension), self.padding)?;
        }
        Ok(self.data_format.from_channels_last(&Shape::new(sizes)))
    }

    fn apply(&self, input: Value, kind: PoolKind) -> Result<Value> {
        let input = ops::to_channels_last(input, self.data_format);
        let sizes = input.sizes();
        let pads: [_; N] = std::array::from_fn(|i| self.window(i).pads(sizes[1 + i], self.padding));
        let output = ops::pool(input, kind, &self.pool_size.0, &self.strides.0, &pads)?;
        Ok(ops::from_channels_last(output, self.data_format))
    }
}

impl<const N: usize> Pool<N> {
    /// How the windows go over a line, as over an image of one row; `None` where there are more dimensions.
    fn of_line(&self, steps: usize) -> Option<PoolGeometry> {
        (N == 1).then(|| PoolGeometry {
            pool_size: [1, self.pool_size.0[0]],
            strides: [1, self.strides.0[0]],
            pads: [(0, 0), self.window(0).pads(steps, self.padding)],
        })
    }
}

impl Pool<2> {
    fn geometry(&self, rows: usize, columns: usize) -> PoolGeometry {
        PoolGeometry {
            pool_size: self.pool_size.0,
            strides: self.strides.0,
            pads: [self.window(0).pads(rows, self.padding), self.window(1).pads(columns, self.padding)],
        }
    }
}

impl<const N: usize> Pool<N> {
    /// The pooling as an ONNX operator.
    fn onnx(&self, to: &mut Exporting<'_>, operator: &'static str) -> Result<Vec<Edge>> {
        let windows = Windows {
            kernel_size: self.pool_size,
            strides: self.strides,
            dilation_rate: Spatial([1; N]),
            padding: self.padding,
            data_format: self.data_format,
        };
        let mut attributes = windows.onnx_attributes(to.shape());
        // `AveragePool` has none in this version.
        attributes.retain(|(name, _)| *name != "dilations");
        let input = to.channels_first(to.input(), self.data_format, N + 2);
        let output = to.op(operator, &[input], attributes);
        Ok(vec![to.restore_first(output, self.data_format, N + 2)])
    }
}

/// The ONNX operator of a reduction.
fn onnx_reduction(kind: PoolKind) -> &'static str {
    match kind {
        PoolKind::Max => "ReduceMax",
        PoolKind::Average => "ReduceMean",
    }
}

/// A pooling over all cells of `n` dimensions.
fn onnx_global(to: &mut Exporting<'_>, kind: PoolKind, n: usize, format: DataFormat, keepdims: bool) -> Edge {
    let first = if format == DataFormat::ChannelsFirst { 2 } else { 1 };
    let axes: Vec<usize> = (first..first + n).collect();
    to.reduce(onnx_reduction(kind), to.input(), &axes, keepdims)
}

/// A pooling into this number of bins along each dimension.
fn onnx_bins(to: &mut Exporting<'_>, kind: PoolKind, bins: &[usize], format: DataFormat) -> Result<Vec<Edge>> {
    let first = if format == DataFormat::ChannelsFirst { 2 } else { 1 };
    let sizes = to.known(to.shape())?;
    let mut value = to.input();
    for (dimension, bins) in bins.iter().enumerate() {
        let (axis, length) = (first + dimension, sizes[first + dimension - 1]);
        let mut parts = Vec::with_capacity(*bins);
        for (start, end) in ops::bins(length, *bins) {
            let part = to.slice(value, axis, start, Some(end));
            parts.push(to.reduce(onnx_reduction(kind), part, &[axis], true));
        }
        value = to.concat(&parts, axis);
    }
    Ok(vec![value])
}
