//! Depthwise convolution: each channel with its own kernels.

use super::activations::Activation;
use super::activations::kernel_activation;
use super::conv::window;
use super::conv_geometry::{in_a_row, kernel_in_a_row, out_of_a_row};
use super::cpu::{Gradient, Kernel, recycle, run};
use super::weighted::{before_activation, weighted_gradients};
use super::{ConvGeometry, Value, conv};
use crate::error::Result;
use crate::kernels::activation::Activation as Fast;
use crate::kernels::depthwise::{Depthwise, backward, forward};

/// Depthwise convolution along one to three spatial dimensions, in Keras's layout, with an activation at the end; the
/// groups of `geometry` are the input's channels.
///
/// # Shapes
/// input (batch, …space, channels), kernel (…window, channels, multiplier), bias (channels · multiplier)
/// → (batch, …new space, channels · multiplier), where output channel `channel · multiplier + m` is made of `channel`.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for ranks that do not fit the geometry.
pub(crate) fn depthwise_conv<const N: usize>(
    input: Value,
    kernel: Value,
    bias: Option<Value>,
    geometry: &ConvGeometry<N>,
    activation: &Activation,
) -> Result<Value> {
    let fused = kernel_activation(activation).filter(|activation| activation.gradient_needs_only_output());
    let inside = fused.unwrap_or(Fast::Linear);
    let output = match geometry.flat() {
        Some(flat) if N == 1 => {
            let output =
                fast(&in_a_row(input.clone())?, &kernel_in_a_row(kernel.clone())?, bias.as_ref(), &flat, inside);
            output.map(out_of_a_row).transpose()?
        }
        Some(flat) => fast(&input, &kernel, bias.as_ref(), &flat, inside),
        None => None,
    };
    match output {
        Some(output) => {
            recycle(input);
            if fused.is_some() { Ok(output) } else { activation.apply(output) }
        }
        None => activation.apply(portable(input, kernel, bias, geometry)?),
    }
}

/// As a convolution with a group for each channel.
fn portable<const N: usize>(
    input: Value,
    kernel: Value,
    bias: Option<Value>,
    geometry: &ConvGeometry<N>,
) -> Result<Value> {
    let sizes = kernel.sizes();
    let [window @ .., channels, multiplier] = sizes.as_slice() else { return Ok(input) };
    let kernel = kernel.reshape(&[window, &[1, channels * multiplier]].concat())?;
    conv(input, kernel, bias, geometry)
}

/// By a kernel, if there is one.
fn fast(
    input: &Value,
    kernel: &Value,
    bias: Option<&Value>,
    geometry: &ConvGeometry<2>,
    activation: Fast,
) -> Option<Value> {
    let [rows, columns, channels, multiplier] = <[usize; 4]>::try_from(kernel.sizes()).ok()?;
    let [batch, height, width, input_channels] = <[usize; 4]>::try_from(input.sizes()).ok()?;
    if channels != input_channels || multiplier == 0 {
        return None;
    }
    let window = window(batch, [height, width], [rows, columns], geometry)?;
    let conv = Some(Depthwise { window, channels, multiplier }).filter(Depthwise::fits)?;
    let kernel_of = Convolution { conv, activation };
    match bias {
        Some(bias) => run(&kernel_of, [input, kernel, bias]),
        None => run(&kernel_of, [input, kernel]),
    }
}

/// The convolution with its activation, as an operation on input, kernel and optional bias.
#[derive(Clone, Debug)]
struct Convolution {
    conv: Depthwise,
    activation: Fast,
}

impl<const N: usize> Kernel<N> for Convolution {
    type Saved = ();
    const NEEDS_OUTPUT: bool = true;

    fn output_sizes(&self) -> Vec<usize> {
        let window = self.conv.window;
        vec![window.batch, window.output[0], window.output[1], self.conv.filters()]
    }

    fn forward(&self, inputs: [&[f32]; N], output: &mut [f32], _: bool) {
        forward(&self.conv, inputs[0], inputs[1], inputs.get(2).copied(), self.activation, output);
    }

    fn backward(
        &self,
        inputs: [&[f32]; N],
        output: &[f32],
        (): &(),
        gradient: &mut Gradient<'_>,
        wanted: [bool; N],
    ) -> [Option<Vec<f32>>; N] {
        before_activation(self.activation, output, gradient, |dy| {
            weighted_gradients(self.conv.filters(), inputs, wanted, |dx, dw, db| {
                backward(&self.conv, inputs[0], inputs[1], dy, dx, dw, db);
            })
        })
    }
}
