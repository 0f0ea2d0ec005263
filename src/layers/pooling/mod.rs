//! The pooling layers.

mod adaptive_pooling;
mod frozen;
mod global_pooling;
mod window_pooling;

pub use adaptive_pooling::{
    AdaptiveAveragePooling1D, AdaptiveAveragePooling2D, AdaptiveAveragePooling3D, AdaptiveMaxPooling1D,
    AdaptiveMaxPooling2D, AdaptiveMaxPooling3D,
};
pub use global_pooling::{
    GlobalAveragePooling1D, GlobalAveragePooling2D, GlobalAveragePooling3D, GlobalMaxPooling1D, GlobalMaxPooling2D,
    GlobalMaxPooling3D,
};
pub use window_pooling::{
    AveragePooling1D, AveragePooling2D, AveragePooling3D, MaxPooling1D, MaxPooling2D, MaxPooling3D,
};

use crate::error::Result;
use crate::layers::windows::Windows;
use crate::layers::{Edge, Exporting};
use crate::ops::{self, PoolKind};
use crate::shape::DataFormat;

impl<const N: usize> Windows<N> {
    /// A pooling as an ONNX operator.
    fn onnx_pooling(&self, to: &mut Exporting<'_>, kind: PoolKind) -> Result<Vec<Edge>> {
        let operator = match kind {
            PoolKind::Max => "MaxPool",
            PoolKind::Average => "AveragePool",
        };
        let mut attributes = self.onnx_attributes(to.shape());
        // `AveragePool` has none in this version.
        attributes.retain(|(name, _)| *name != "dilations");
        let input = to.channels_first(to.input(), self.data_format, N + 2);
        let output = to.op(operator, &[input], attributes);
        Ok(vec![to.from_channels_first(output, self.data_format, N + 2)])
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
