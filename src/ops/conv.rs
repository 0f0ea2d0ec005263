//! Convolution.

use std::sync::Arc;

use burn::tensor::module;
use burn::tensor::ops::ConvOptions;

use super::activations::Activation;
use super::activations::kernel_activation;
use super::conv_geometry::{self, ConvGeometry, check_conv, in_a_row, kernel_in_a_row, out_of_a_row};
use super::cpu::{Gradient, Kernel, recycle, run};
use super::weighted::weighted_gradients;
use super::{PoolGeometry, Value};
use crate::error::Result;
use crate::kernels;
use crate::kernels::window::WindowGeometry;

/// 2-D convolution in Keras's layout, with an activation at the end.
///
/// # Shapes
/// input (batch, rows, columns, channels), kernel (rows, columns, channels / groups, filters), bias (filters)
/// → (batch, new rows, new columns, filters).
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for sizes that do not fit each other, or would be too large.
pub(super) fn activated_conv2d(
    input: Value,
    kernel: Value,
    bias: Option<Value>,
    geometry: &ConvGeometry<2>,
    activation: &Activation,
) -> Result<Value> {
    let fused = kernel_activation(activation).filter(|activation| activation.gradient_needs_only_output());
    if let Some(conv) = sizes(&input, &kernel, geometry) {
        let inside = fused.unwrap_or(kernels::activation::Activation::Linear);
        let output = match &bias {
            Some(bias) => run(&Conv { conv, activation: inside }, [&input, &kernel, bias]),
            None => run(&Conv { conv, activation: inside }, [&input, &kernel]),
        };
        if let Some(output) = output {
            recycle(input);
            return if fused.is_some() { Ok(output) } else { activation.apply(output) };
        }
    }
    check_conv(&input.sizes(), &kernel.sizes(), geometry)?;
    let input = input.tensor::<4>()?.permute([0, 3, 1, 2]);
    let kernel = kernel.tensor::<4>()?.permute([3, 2, 0, 1]);
    let bias = bias.map(Value::tensor::<1>).transpose()?;
    let options = ConvOptions {
        stride: geometry.strides,
        padding: geometry.pads,
        dilation: geometry.dilation,
        groups: geometry.groups,
    };
    activation.apply(module::conv2d(input, kernel, bias, options).permute([0, 2, 3, 1]).into())
}

/// A convolution fused with its activation and the max pooling that follows; `None` without a kernel, for the layers to
/// run one after the other.
///
/// `pool` gives the pooling's geometry for the rows and columns of the convolution's output, a line being one row.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for ranks that do not fit the geometry.
pub(crate) fn conv_max_pool<const N: usize>(
    input: &Value,
    kernel: &Value,
    bias: Option<&Value>,
    geometry: &ConvGeometry<N>,
    activation: &Activation,
    pool: impl FnOnce([usize; 2]) -> Option<PoolGeometry<2>>,
) -> Result<Option<Value>> {
    let Some(flat) = geometry.flat() else { return Ok(None) };
    if N > 1 {
        return Ok(conv2d_max_pool2d(input, kernel, bias, &flat, activation, pool));
    }
    let (row, kernel) = (in_a_row(input.clone())?, kernel_in_a_row(kernel.clone())?);
    conv2d_max_pool2d(&row, &kernel, bias, &flat, activation, pool).map(out_of_a_row).transpose()
}

fn conv2d_max_pool2d(
    input: &Value,
    kernel: &Value,
    bias: Option<&Value>,
    geometry: &ConvGeometry<2>,
    activation: &Activation,
    pool: impl FnOnce([usize; 2]) -> Option<PoolGeometry<2>>,
) -> Option<Value> {
    let activation = kernel_activation(activation).filter(|activation| activation.gradient_needs_only_output())?;
    let conv = sizes(input, kernel, geometry)?;
    let pool = pool(conv.window.output)?.window(conv.window.batch, conv.window.output)?;
    if pool.cells() > 255 {
        return None;
    }
    let block = kernels::conv2d::Pooled { conv, activation, pool };
    match bias {
        Some(bias) => run(&PooledConv(block), [input, kernel, bias]),
        None => run(&PooledConv(block), [input, kernel]),
    }
}

/// A convolution's sizes in the kernels' form; `None` if they are not those of one.
fn sizes(input: &Value, kernel: &Value, geometry: &ConvGeometry<2>) -> Option<kernels::conv2d::Conv2d> {
    let [batch, rows, columns, channels] = <[usize; 4]>::try_from(input.sizes()).ok()?;
    let [kernel_rows, kernel_columns, group_channels, filters] = <[usize; 4]>::try_from(kernel.sizes()).ok()?;
    let groups = geometry.groups;
    if groups == 0 || group_channels * groups != channels || !filters.is_multiple_of(groups) {
        return None;
    }
    let window = window(batch, [rows, columns], [kernel_rows, kernel_columns], geometry)?;
    Some(kernels::conv2d::Conv2d { window, channels, filters, groups }).filter(kernels::conv2d::Conv2d::fits)
}

/// A kernel's windows over a batch of images; `None` if not even one fits.
pub(crate) fn window(
    batch: usize,
    input: [usize; 2],
    size: [usize; 2],
    geometry: &ConvGeometry<2>,
) -> Option<WindowGeometry> {
    let count = |dimension: usize| {
        let (before, after) = geometry.pads[dimension];
        let span = conv_geometry::span(size[dimension], geometry.dilation[dimension])?;
        let room = input[dimension].checked_add(before)?.checked_add(after)?.checked_sub(span)?;
        Some(room.checked_div(geometry.strides[dimension])? + 1)
    };
    let window = WindowGeometry {
        batch,
        input,
        output: [count(0)?, count(1)?],
        size,
        strides: geometry.strides,
        dilations: geometry.dilation,
        pad: [geometry.pads[0].0, geometry.pads[1].0],
    };
    Some(window.with_short_strides())
}

/// A convolution with its activation, as an operation on input, kernel and optional bias.
#[derive(Clone, Debug)]
struct Conv {
    conv: kernels::conv2d::Conv2d,
    activation: kernels::activation::Activation,
}

impl<const N: usize> Kernel<N> for Conv {
    type Saved = ();
    const NEEDS_OUTPUT: bool = true;

    fn output_sizes(&self) -> Vec<usize> {
        let window = self.conv.window;
        vec![window.batch, window.output[0], window.output[1], self.conv.filters]
    }

    fn forward(&self, inputs: [&[f32]; N], output: &mut [f32], _: bool) {
        kernels::conv2d::forward(&self.conv, inputs[0], inputs[1], inputs.get(2).copied(), self.activation, output);
    }

    fn backward(
        &self,
        inputs: [&[f32]; N],
        output: &[f32],
        (): &(),
        gradient: &mut Gradient<'_>,
        wanted: [bool; N],
    ) -> [Option<Vec<f32>>; N] {
        let known = kernels::activation::ActivationOutput { activation: self.activation, y: output };
        weighted_gradients(self.conv.filters, inputs, wanted, |dx, dw, db| {
            kernels::conv2d::backward(&self.conv, inputs[0], inputs[1], Some(known), gradient, dx, dw, db);
        })
    }
}

/// A convolution with its activation and pooling, as an operation on input, kernel and optional bias.
#[derive(Clone, Debug)]
struct PooledConv(kernels::conv2d::Pooled);

impl<const N: usize> Kernel<N> for PooledConv {
    /// The position of each output's maximum, in one byte.
    type Saved = Arc<Vec<u8>>;
    const NEEDS_OUTPUT: bool = true;

    fn output_sizes(&self) -> Vec<usize> {
        let pool = self.0.pool;
        vec![pool.batch, pool.output[0], pool.output[1], self.0.conv.filters]
    }

    fn forward(&self, inputs: [&[f32]; N], output: &mut [f32], keep: bool) -> Self::Saved {
        let mut positions = vec![0; if keep { output.len() } else { 0 }];
        let bias = inputs.get(2).copied();
        kernels::conv2d::pooled_forward(&self.0, inputs[0], inputs[1], bias, output, &mut positions);
        Arc::new(positions)
    }

    fn backward(
        &self,
        inputs: [&[f32]; N],
        output: &[f32],
        positions: &Self::Saved,
        gradient: &mut Gradient<'_>,
        wanted: [bool; N],
    ) -> [Option<Vec<f32>>; N] {
        weighted_gradients(self.0.conv.filters, inputs, wanted, |dx, dw, db| {
            kernels::conv2d::pooled_backward(&self.0, inputs[0], inputs[1], output, positions, gradient, dx, dw, db);
        })
    }
}
