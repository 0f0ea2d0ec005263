//! `SeparableConv1D` and `2D`: a depthwise convolution followed by a pointwise one.

use super::frozen::Freezable;
use super::fused::{self, Fusible};
use super::{Windows, check_positive, convolution_items, kernel_and_bias, onnx_depthwise, onnx_kernel, split};
use crate::activations::Activation;
use crate::constraints::Constraint;
use crate::error::Result;
use crate::initializers::Initializer;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Fused, Identity, Layer, WeightSpec};
use crate::ops::{self, ConvGeometry, Value};
use crate::regularizers::Regularizer;
use crate::shape::{DataFormat, Padding, Shape, Spatial};

/// Declares the layer for `$n` spatial dimensions.
macro_rules! separable_convolution {
    ($(#[$doc:meta])* $name:ident, $n:literal) => {
        crate::describe! {
            $(#[$doc])*
            pub layer struct $name {
                /// The number of output channels.
                filters: usize,
                /// The size of the depthwise kernel.
                kernel_size: Spatial<$n>,
                /// The stride of the windows.
                strides: Spatial<$n> = Spatial([1; $n]),
                /// `valid`: windows stay inside; `same`: with strides of 1 the output has the input's size.
                padding: Padding = Padding::Valid,
                /// The position of the channels in the input and output.
                data_format: DataFormat = DataFormat::ChannelsLast,
                /// The dilation: the distance between a window's positions.
                dilation_rate: Spatial<$n> = Spatial([1; $n]),
                /// The number of depthwise kernels per input channel.
                depth_multiplier: usize = 1,
                /// Applied to the outputs.
                activation: Activation = Activation::Linear,
                /// Whether a bias is added.
                use_bias: bool = true,
                /// The initializer of the depthwise kernel.
                depthwise_initializer: Initializer = Initializer::GlorotUniform { seed: None },
                /// The initializer of the pointwise kernel.
                pointwise_initializer: Initializer = Initializer::GlorotUniform { seed: None },
                /// The initializer of the bias.
                bias_initializer: Initializer = Initializer::Zeros {},
                /// The penalty on the depthwise kernel.
                depthwise_regularizer: Option<Regularizer> = None,
                /// The penalty on the pointwise kernel.
                pointwise_regularizer: Option<Regularizer> = None,
                /// The penalty on the bias.
                bias_regularizer: Option<Regularizer> = None,
                /// The penalty on the outputs.
                activity_regularizer: Option<Regularizer> = None,
                /// The constraint on the depthwise kernel.
                depthwise_constraint: Option<Constraint> = None,
                /// The constraint on the pointwise kernel.
                pointwise_constraint: Option<Constraint> = None,
                /// The constraint on the bias.
                bias_constraint: Option<Constraint> = None,
            }
        }

        convolution_items!($name, $n);

        impl $name {
            /// `filters` output channels, with depthwise kernels of size `kernel_size`.
            pub fn new(filters: usize, kernel_size: impl Into<Spatial<$n>>) -> Self {
                Self::required(filters, kernel_size.into())
            }
        }

        impl Fusible for $name {
            type Pool = Identity;
            const RANK: usize = $n + 2;
            const KERNEL: usize = 1;

            fn foldable(&self) -> bool {
                self.activation == Activation::Linear
                    && self.activity_regularizer.is_none()
                    && self.data_format == DataFormat::ChannelsLast
            }

            fn with_epilogue(&self, activation: Activation) -> Self {
                self.clone().use_bias(true).activation(activation)
            }

            fn frozen(&self, _: Option<&Identity>, freezing: &Freezing<'_>) -> Option<Frozen> {
                let input = freezing.input()?;
                if self.data_format != DataFormat::ChannelsLast {
                    return None;
                }
                let geometry = &self.windows().depthwise(&[&[1], input].concat());
                let (kernel_size, activation) = (self.kernel_size.0, &Activation::Linear);
                let conv = Freezable { geometry, kernel_size, kernel: 0, use_bias: false, activation };
                let bias = if self.use_bias { Some(freezing.weight(2)?) } else { None };
                let pointwise = freezing.weight(1)?;
                let pointwise = (&*pointwise, bias.as_deref(), self.filters);
                conv.separable(freezing, self.depth_multiplier, pointwise, &self.activation)
            }
        }

        impl Layer for $name {
            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                check_positive("filters", self.filters)?;
                check_positive("depth_multiplier", self.depth_multiplier)?;
                self.padding.refuse_causal()?;
                let channels = self.windows().check(input)?.saturating_mul(self.depth_multiplier);
                self.windows().output(input, channels)?.check_count()?;
                self.activation.output_shape(&self.windows().output(input, self.filters)?)
            }

            fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
                let channels = self.data_format.to_channels_last(input).last()?;
                let sizes = [self.kernel_size.0.as_slice(), &[channels, self.depth_multiplier]].concat();
                let kernel = (&self.depthwise_initializer, &self.depthwise_regularizer, &self.depthwise_constraint);
                let mut specs = kernel_and_bias("depthwise_kernel", sizes, kernel, None);
                let inner = channels.saturating_mul(self.depth_multiplier);
                let sizes = [[1; $n].as_slice(), &[inner, self.filters]].concat();
                let kernel = (&self.pointwise_initializer, &self.pointwise_regularizer, &self.pointwise_constraint);
                specs.extend(kernel_and_bias("pointwise_kernel", sizes, kernel, self.bias(self.filters)));
                Ok(specs)
            }

            fn scratch(&self, input: &Shape, _: bool) -> Result<usize> {
                let channels = self.data_format.to_channels_last(input).last()?.saturating_mul(self.depth_multiplier);
                // The output of the depthwise convolution.
                let between = self.windows().output(input, channels)?.known_len();
                Ok(between.saturating_add(self.windows().scratch(input, channels)))
            }

            fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
                self.frozen(None, freezing)
            }

            fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
                let (depthwise, channels) = onnx_depthwise(to.weight(0)?, $n);
                let (pointwise, bias) = (onnx_kernel(to.weight(1)?, $n), to.weight_if(self.use_bias, 2)?);
                let input = to.channels_first(to.input(), self.data_format, $n + 2);
                let inner = self.windows().onnx_conv(to, input, depthwise, None, channels);
                let pointwise = to.constant("pointwise_kernel", pointwise);
                let mut inputs = vec![inner, pointwise];
                inputs.extend(bias.map(|bias| to.constant("bias", bias)));
                // The defaults, written for readers that do not fill it in.
                let ones = |name| (name, vec![1; $n].into());
                let output = to.op("Conv", &inputs, vec![ones("strides"), ones("dilations")]);
                let output = to.from_channels_first(output, self.data_format, $n + 2);
                to.activated(&self.activation, output)
            }

            fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
                let input = ops::to_channels_last(input, self.data_format);
                let geometry = self.windows().depthwise(&input.sizes());
                let output = ops::depthwise_conv(input, call.weight(0), None, &geometry, &Activation::Linear)?;
                let bias = self.use_bias.then(|| call.weight(2));
                let (inside, after) = split(&self.activation, self.data_format, call);
                let pointwise = ConvGeometry::<$n>::pointwise();
                let output = ops::activated_conv(output, call.weight(1), bias, &pointwise, inside)?;
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

separable_convolution! {
    /// Depthwise 1-D convolution, followed by a pointwise one that mixes the channels of each step.
    ///
    /// # Shapes
    /// `(batch, steps, channels)` → `(batch, new_steps, filters)`; weights `depthwise_kernel` (window, channels,
    /// depth_multiplier), `pointwise_kernel` (1, channels · depth_multiplier, filters) and `bias` (filters).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(SeparableConv1D::new(16, 3).input_shape((10, 8)))?;
    /// assert_eq!(model.count_params()?, 3 * 8 + 8 * 16 + 16);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    SeparableConv1D, 1
}

separable_convolution! {
    /// Depthwise 2-D convolution, followed by a pointwise one that mixes the channels of each position.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → `(batch, new_rows, new_columns, filters)`; weights `depthwise_kernel`
    /// (window rows, window columns, channels, depth_multiplier), `pointwise_kernel` (1, 1, channels ·
    /// depth_multiplier, filters) and `bias` (filters).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(SeparableConv2D::new(16, 3).input_shape((10, 10, 8)))?;
    /// assert_eq!(model.count_params()?, 3 * 3 * 8 + 8 * 16 + 16);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    SeparableConv2D, 2
}

impl BuiltIn for SeparableConv1D {
    fn renew(config: &mut crate::config::Config, _: bool) {
        // It is derived from an ordinary convolution, whose kernel it does not have.
        crate::layers::built_in::forget(config, &["kernel_initializer", "kernel_regularizer", "kernel_constraint"]);
        crate::layers::built_in::forget_single_group(config);
    }

    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(4, 3).depth_multiplier(2), Shape::batch_of((6, 3))),
            (Self::new(2, 2).data_format(DataFormat::ChannelsFirst).use_bias(false), Shape::batch_of((3, 6))),
        ]
    }
}

impl BuiltIn for SeparableConv2D {
    fn renew(config: &mut crate::config::Config, _: bool) {
        // It is derived from an ordinary convolution, whose kernel it does not have.
        crate::layers::built_in::forget(config, &["kernel_initializer", "kernel_regularizer", "kernel_constraint"]);
        crate::layers::built_in::forget_single_group(config);
    }

    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(4, 3).padding(Padding::Same).strides(2).activation("relu"), Shape::batch_of((5, 4, 3))),
            (Self::new(2, (2, 1)).dilation_rate(2), Shape::batch_of((5, 4, 3))),
        ]
    }
}
