//! `DepthwiseConv1D` and `2D`: each channel has its own kernels.

use super::frozen::Freezable;
use super::fused::{self, Fusible};
use super::{Windows, check_positive, convolution_items, kernel_and_bias, onnx_depthwise, split};
use crate::activations::Activation;
use crate::constraints::Constraint;
use crate::error::Result;
use crate::initializers::Initializer;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Fused, Identity, Layer, WeightSpec};
use crate::ops::{self, Value};
use crate::regularizers::Regularizer;
use crate::shape::{DataFormat, Padding, Shape, Spatial};

/// Declares the layer for `$n` spatial dimensions.
macro_rules! depthwise_convolution {
    ($(#[$doc:meta])* $name:ident, $n:literal) => {
        crate::describe! {
            $(#[$doc])*
            pub layer struct $name {
                /// The size of the kernel.
                kernel_size: Spatial<$n>,
                /// The stride of the windows.
                strides: Spatial<$n> = Spatial([1; $n]),
                /// `valid`: windows stay inside; `same`: with strides of 1 the output has the input's size.
                padding: Padding = Padding::Valid,
                /// The number of kernels, and so of output channels, per input channel.
                depth_multiplier: usize = 1,
                /// The position of the channels in the input and output.
                data_format: DataFormat = DataFormat::ChannelsLast,
                /// The dilation: the distance between a window's positions.
                dilation_rate: Spatial<$n> = Spatial([1; $n]),
                /// Applied to the outputs.
                activation: Activation = Activation::Linear,
                /// Whether a bias is added.
                use_bias: bool = true,
                /// The initializer of the kernel.
                depthwise_initializer: Initializer = Initializer::GlorotUniform { seed: None },
                /// The initializer of the bias.
                bias_initializer: Initializer = Initializer::Zeros {},
                /// The penalty on the kernel.
                depthwise_regularizer: Option<Regularizer> = None,
                /// The penalty on the bias.
                bias_regularizer: Option<Regularizer> = None,
                /// The penalty on the outputs.
                activity_regularizer: Option<Regularizer> = None,
                /// The constraint on the kernel.
                depthwise_constraint: Option<Constraint> = None,
                /// The constraint on the bias.
                bias_constraint: Option<Constraint> = None,
            }
        }

        convolution_items!($name, $n);

        impl $name {
            /// Kernels of size `kernel_size`.
            pub fn new(kernel_size: impl Into<Spatial<$n>>) -> Self {
                Self::required(kernel_size.into())
            }
        }

        impl Fusible for $name {
            type Pool = Identity;
            const RANK: usize = $n + 2;
            const CHANNELS: usize = 2;

            fn foldable(&self) -> bool {
                self.activation == Activation::Linear
                    && self.activity_regularizer.is_none()
                    && self.data_format == DataFormat::ChannelsLast
            }

            fn with_epilogue(&self, activation: Activation) -> Self {
                self.clone().use_bias(true).activation(activation)
            }

            fn frozen(&self, _: Option<&Identity>, freezing: &Freezing<'_>) -> Option<Frozen> {
                if self.data_format != DataFormat::ChannelsLast {
                    return None;
                }
                let geometry = &self.windows().depthwise(&[&[1], freezing.input()?].concat());
                let (kernel_size, activation) = (self.kernel_size.0, &self.activation);
                let conv = Freezable { geometry, kernel_size, kernel: 0, use_bias: self.use_bias, activation };
                conv.depthwise(freezing, self.depth_multiplier)
            }
        }

        impl Layer for $name {
            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                check_positive("depth_multiplier", self.depth_multiplier)?;
                self.padding.refuse_causal()?;
                let channels = self.windows().check(input)?.saturating_mul(self.depth_multiplier);
                self.activation.output_shape(&self.windows().output(input, channels)?)
            }

            fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
                let channels = self.data_format.to_channels_last(input).last()?;
                let sizes = [self.kernel_size.0.as_slice(), &[channels, self.depth_multiplier]].concat();
                let kernel = (&self.depthwise_initializer, &self.depthwise_regularizer, &self.depthwise_constraint);
                let bias = self.bias(channels.saturating_mul(self.depth_multiplier));
                Ok(kernel_and_bias("kernel", sizes, kernel, bias))
            }

            fn scratch(&self, input: &Shape, _: bool) -> Result<usize> {
                let channels = self.data_format.to_channels_last(input).last()?;
                Ok(self.windows().scratch(input, channels.saturating_mul(self.depth_multiplier)))
            }

            fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
                self.frozen(None, freezing)
            }

            fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
                let (kernel, channels) = onnx_depthwise(to.weight(0)?, $n);
                let bias = to.weight_if(self.use_bias, 1)?;
                self.windows().onnx(to, kernel, bias, channels, &self.activation)
            }

            fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
                let input = ops::to_channels_last(input, self.data_format);
                let bias = self.use_bias.then(|| call.weight(1));
                let (inside, after) = split(&self.activation, self.data_format, call);
                let geometry = self.windows().depthwise(&input.sizes());
                let output = ops::depthwise_conv(input, call.weight(0), bias, &geometry, inside)?;
                let output = after.apply(ops::from_channels_last(output, self.data_format))?;
                call.add_activity_loss(&self.activity_regularizer, &output)?;
                Ok(output)
            }

            fn final_activation(&self) -> Option<&Activation> {
                self.activity_regularizer.is_none().then_some(&self.activation)
            }

            fn absorb(&self, next: &dyn Layer, training: bool) -> Option<Box<dyn Fused>> {
                fused::absorb(self, next, training)
            }

            fn takes_padding(&self) -> bool {
                self.windows().takes_padding()
            }
        }
    };
}

depthwise_convolution! {
    /// Depthwise 1-D convolution, of each channel by itself: `activation(Σ window · kernel + bias)` at every step.
    ///
    /// # Shapes
    /// `(batch, steps, channels)` → `(batch, new_steps, channels · depth_multiplier)`; weights `kernel` (window,
    /// channels, depth_multiplier) and `bias` (channels · depth_multiplier).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(DepthwiseConv1D::new(3).depth_multiplier(2).input_shape((10, 8)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 8, 16)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    DepthwiseConv1D, 1
}

depthwise_convolution! {
    /// Depthwise 2-D convolution, of each channel by itself: `activation(Σ window · kernel + bias)` at every position.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → `(batch, new_rows, new_columns, channels · depth_multiplier)`; weights
    /// `kernel` (window rows, window columns, channels, depth_multiplier) and `bias` (channels · depth_multiplier).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(DepthwiseConv2D::new(3).input_shape((10, 10, 8)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 8, 8, 8)");
    /// assert_eq!(model.count_params()?, (3 * 3 + 1) * 8);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    DepthwiseConv2D, 2
}

impl BuiltIn for DepthwiseConv1D {
    fn renew(config: &mut crate::config::Config, _: bool) {
        // It is derived from an ordinary convolution, whose kernel it does not have.
        crate::layers::built_in::forget(config, &["kernel_initializer", "kernel_regularizer", "kernel_constraint"]);
        crate::layers::built_in::forget_single_group(config);
    }

    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(3).depth_multiplier(2), Shape::batch_of((6, 3))),
            (Self::new(2).padding(Padding::Same).data_format(DataFormat::ChannelsFirst), Shape::batch_of((3, 6))),
        ]
    }
}

impl BuiltIn for DepthwiseConv2D {
    fn renew(config: &mut crate::config::Config, _: bool) {
        // It is derived from an ordinary convolution, whose kernel it does not have.
        crate::layers::built_in::forget(config, &["kernel_initializer", "kernel_regularizer", "kernel_constraint"]);
        crate::layers::built_in::forget_single_group(config);
    }

    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new((2, 3)).activation("relu"), Shape::batch_of((4, 5, 3))),
            (Self::new(3).strides(2).padding(Padding::Same).depth_multiplier(2), Shape::batch_of((5, 4, 2))),
            (Self::new(2).dilation_rate(2).use_bias(false), Shape::batch_of((5, 4, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn the_outputs_of_a_channel_are_adjacent() {
        let kernel = Value::from_vec(vec![1.0, 2.0, 3.0, 4.0], &[1, 2, 2], &Device::flex()).unwrap();
        let input = Value::from_vec(vec![1.0, 10.0], &[1, 1, 2], &Device::flex()).unwrap();
        let layer = DepthwiseConv1D::new(1).depth_multiplier(2).use_bias(false);
        let output = layer.forward(input, &mut Call::inference(&[kernel])).unwrap();
        assert_eq!(output.to_vec().unwrap(), [1.0, 2.0, 30.0, 40.0]);
    }
}
