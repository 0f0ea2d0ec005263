//! Operations for layers: [`Value`], a tensor of any rank, and one function for each operation.
//!
//! Each operation has a portable form in Burn's tensor operations, which runs on every backend. The hot ones also
//! have a fast form for the CPU backends ([`brasa_kernels`]). This module is the only place that knows Burn's
//! channels-first calls; everything above it is channels-last, as Keras is.

pub mod activations;
mod attention;
mod axis;
mod batch_norm;
mod buffers;
mod conv;
mod conv_geometry;
mod conv_nd;
mod cpu;
mod dense;
mod depthwise;
mod dropout;
mod einsum;
mod embedding;
mod layer_norm;
mod optimizer;
mod pool;
mod rank_sum;
mod recurrent;
mod resize;
mod softmax;
mod value;
mod weighted;

pub use activations::Activation;
pub(crate) use activations::kernel_activation;
pub(crate) use attention::{Attended, fast_attention};
pub(crate) use batch_norm::{NormalizationParameters, normalize_batch, normalize_by, scale_columns};
pub(crate) use buffers::{buffer, drop_buffers, give_back, keep_within};
pub(crate) use conv::{conv_max_pool, window};
#[doc(hidden)]
pub use conv_geometry::ConvGeometry;
pub(crate) use conv_geometry::flat;
#[doc(hidden)]
pub use conv_nd::{activated_conv, conv, conv_transpose};
pub(crate) use cpu::{cpu_devices, has_kernels, recycle};
#[cfg(test)]
pub(crate) use cpu::{portably, times_changed_in_place};
#[doc(hidden)]
pub use dense::dense;
pub(crate) use depthwise::depthwise_conv;
pub(crate) use dropout::{drop_out, dropout_factors, normal};
pub(crate) use einsum::einsum;
pub(crate) use embedding::fast_rows;
pub(crate) use layer_norm::fast_layer_norm;
pub(crate) use optimizer::{
    adafactor_step, decayed, lamb_step, step_alone, step_with_one, step_with_three, step_with_two,
};
#[doc(hidden)]
pub use pool::{PoolGeometry, average_pool2d, max_pool2d};
pub(crate) use pool::{PoolKind, bins, global_pool, pool, pool_bins};
pub(crate) use rank_sum::rank_sum;
pub(crate) use recurrent::{Recurrence, Steps, fast_recurrent};
pub use resize::Interpolation;
pub(crate) use resize::{nearest_cells, resize_axis, resize_len, resize_weights};
pub(crate) use softmax::{fast_softmax, fast_sparse_cross_entropy};
pub(crate) use value::part_is_copied;
pub use value::{ElementWise, Value};

use crate::shape::DataFormat;
pub use crate::shape::MAX_RANK;

/// An input of the given format with its channels last.
pub(crate) fn to_channels_last(value: Value, format: DataFormat) -> Value {
    match format {
        DataFormat::ChannelsFirst if value.rank() > 2 => {
            let order: Vec<usize> = std::iter::once(0).chain(2..value.rank()).chain([1]).collect();
            value.permute(&order)
        }
        _ => value,
    }
}

/// An output with its channels last in the given format.
pub(crate) fn from_channels_last(value: Value, format: DataFormat) -> Value {
    match format {
        DataFormat::ChannelsFirst if value.rank() > 2 => {
            let last = value.rank() - 1;
            let order: Vec<usize> = [0, last].into_iter().chain(1..last).collect();
            value.permute(&order)
        }
        _ => value,
    }
}
