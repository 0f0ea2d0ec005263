//! `Conv1D`, `Conv2D` and `Conv3D`: convolutions over sequences, images and volumes.

use super::frozen::{Freezable, Pooling};
use super::fused::{self, Fusible};
use super::{Portable, Windows, check_positive, convolution_items, kernel_and_bias, onnx_kernel, split};
use crate::activations::Activation;
use crate::constraints::Constraint;
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::layers::{
    BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Fused, Layer, MaxPooling1D, MaxPooling2D, MaxPooling3D,
    WeightSpec,
};
use crate::ops::{self, Value};
use crate::regularizers::Regularizer;
use crate::shape::{DataFormat, Padding, Shape, Spatial};

/// Declares the layer for `$n` spatial dimensions, with the pooling `$pool` that can be fused with it.
macro_rules! convolution {
    ($(#[$doc:meta])* $name:ident, $n:literal, $pool:ident, $(#[$padding:meta])*, $causal:literal) => {
        crate::describe! {
            $(#[$doc])*
            pub layer struct $name {
                /// The number of kernels, and so of output channels.
                filters: usize,
                /// The size of the kernel.
                kernel_size: Spatial<$n>,
                /// The stride of the windows.
                strides: Spatial<$n> = Spatial([1; $n]),
                $(#[$padding])*
                padding: Padding = Padding::Valid,
                /// The position of the channels in the input and output.
                data_format: DataFormat = DataFormat::ChannelsLast,
                /// The dilation: the distance between a window's positions.
                dilation_rate: Spatial<$n> = Spatial([1; $n]),
                /// The number of groups into which the channels are split, each with its own kernels.
                groups: usize = 1,
                /// Applied to the outputs.
                activation: Activation = Activation::Linear,
                /// Whether a bias is added.
                use_bias: bool = true,
                /// The initializer of the kernel.
                kernel_initializer: Initializer = Initializer::GlorotUniform { seed: None },
                /// The initializer of the bias.
                bias_initializer: Initializer = Initializer::Zeros {},
                /// The penalty on the kernel.
                kernel_regularizer: Option<Regularizer> = None,
                /// The penalty on the bias.
                bias_regularizer: Option<Regularizer> = None,
                /// The penalty on the outputs.
                activity_regularizer: Option<Regularizer> = None,
                /// The constraint on the kernel.
                kernel_constraint: Option<Constraint> = None,
                /// The constraint on the bias.
                bias_constraint: Option<Constraint> = None,
            }
        }

        convolution_items!($name, $n);

        impl $name {
            /// `filters` kernels of size `kernel_size`.
            pub fn new(filters: usize, kernel_size: impl Into<Spatial<$n>>) -> Self {
                Self::required(filters, kernel_size.into())
            }

            /// Whether the outputs before a fused layer are not needed otherwise.
            fn plain(&self) -> bool {
                self.activity_regularizer.is_none() && self.data_format == DataFormat::ChannelsLast
            }
        }

        impl Fusible for $name {
            type Pool = $pool;
            const RANK: usize = $n + 2;

            fn foldable(&self) -> bool {
                self.activation == Activation::Linear && self.plain()
            }

            fn with_epilogue(&self, activation: Activation) -> Self {
                self.clone().use_bias(true).activation(activation)
            }

            fn can_pool(&self) -> bool {
                // There is no kernel for volumes.
                $n <= 2 && self.plain()
            }

            fn frozen(&self, pool: Option<&$pool>, freezing: &Freezing<'_>) -> Option<Frozen> {
                if self.data_format != DataFormat::ChannelsLast {
                    return None;
                }
                let geometry = &self.windows().geometry(&[&[1], freezing.input()?].concat(), self.groups);
                let (kernel_size, activation) = (self.kernel_size.0, &self.activation);
                let conv = Freezable { geometry, kernel_size, kernel: 0, use_bias: self.use_bias, activation };
                let pool = pool.map(|pool| move |image: [usize; 2]| pool.fusible(image));
                conv.conv(freezing, self.filters, pool.as_ref().map(|pool| pool as Pooling<'_>))
            }

            fn pooled(&self, pool: &$pool, input: &Value, weights: &[Value]) -> Result<Option<Value>> {
                let geometry = self.windows().geometry(&input.sizes(), self.groups);
                let bias = self.use_bias.then(|| &weights[1]);
                ops::conv_max_pool(input, &weights[0], bias, &geometry, &self.activation, |image| pool.fusible(image))
            }
        }

        impl Layer for $name {
            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                check_positive("filters", self.filters)?;
                check_positive("groups", self.groups)?;
                if !$causal {
                    self.padding.refuse_causal()?;
                }
                let channels = self.windows().check(input)?;
                for (argument, count) in [("filters", self.filters), ("channels of the input", channels)] {
                    if count % self.groups != 0 {
                        let expected = format!("a divisor of the {count} {argument}");
                        return Err(Error::argument("groups", expected, self.groups));
                    }
                }
                self.activation.output_shape(&self.windows().output(input, self.filters)?)
            }

            fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
                let channels = self.data_format.to_channels_last(input).last()?;
                let sizes = [self.kernel_size.0.as_slice(), &[channels / self.groups, self.filters]].concat();
                let kernel = (&self.kernel_initializer, &self.kernel_regularizer, &self.kernel_constraint);
                Ok(kernel_and_bias("kernel", sizes, kernel, self.bias(self.filters)))
            }

            fn scratch(&self, input: &Shape, _: bool) -> Result<usize> {
                let channels = self.data_format.to_channels_last(input).last()?;
                let frames = self.windows().scratch(input, channels);
                // A volume is also transposed twice.
                let turned = if $n > 2 { self.output_shape(input)?.known_len().saturating_add(frames) } else { 0 };
                Ok(frames.saturating_add(turned))
            }

            fn momentary(&self, input: &Shape, training: bool) -> Result<usize> {
                if $n <= 2 {
                    return Ok(0);
                }
                let (last, output) = (self.data_format.to_channels_last(input), self.output_shape(input)?);
                let (batch, channels) = (last.sizes()[0].unwrap_or(1), last.last()?);
                let cells = self.kernel_size.0.iter().fold(1usize, |product, size| product.saturating_mul(*size));
                let column = cells.saturating_mul(channels / self.groups.max(1));
                let outputs = output.with_batch(batch).known_len();
                let sizes = Portable {
                    batch,
                    inputs: self.windows().scratch(input, channels),
                    positions: outputs / batch.saturating_mul(self.filters).max(1),
                    outputs,
                    column,
                    cells,
                    weights: column.saturating_mul(self.filters),
                    channels,
                    filters: self.filters,
                };
                let backward = if training { sizes.weights_gradient().max(sizes.transposed()) } else { 0 };
                Ok(sizes.forward().max(backward))
            }

            fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
                self.frozen(None, freezing)
            }

            fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
                let (kernel, bias) = (onnx_kernel(to.weight(0)?, $n), to.weight_if(self.use_bias, 1)?);
                self.windows().onnx(to, kernel, bias, self.groups, &self.activation)
            }

            fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
                let input = ops::to_channels_last(input, self.data_format);
                let geometry = self.windows().geometry(&input.sizes(), self.groups);
                let bias = self.use_bias.then(|| call.weight(1));
                let (inside, after) = split(&self.activation, self.data_format, call);
                let output = ops::activated_conv(input, call.weight(0), bias, &geometry, inside)?;
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

convolution! {
    /// 1-D convolution: `activation(Σ window · kernel + bias)` at every step.
    ///
    /// # Shapes
    /// `(batch, steps, channels)` → `(batch, new_steps, filters)`; weights `kernel` (window, channels / groups,
    /// filters) and `bias` (filters).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Conv1D::new(32, 3).padding(Padding::Causal).input_shape((10, 8)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 10, 32)");
    /// assert_eq!(model.count_params()?, (3 * 8 + 1) * 32);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    Conv1D, 1, MaxPooling1D,
    /// `valid`: windows stay inside; `same`: with strides of 1 the output has the input's length; `causal`: the same,
    /// and no output sees a later step.
    , true
}

convolution! {
    /// 2-D convolution: `activation(Σ window · kernel + bias)` at every position.
    ///
    /// As in deep learning generally, it is a cross-correlation: the kernel is not flipped.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → `(batch, new_rows, new_columns, filters)`; weights `kernel`
    /// (window rows, window columns, channels / groups, filters) and `bias` (filters).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Conv2D::new(32, (5, 5)).activation("relu").input_shape((28, 28, 1)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 24, 24, 32)");
    /// assert_eq!(model.count_params()?, (5 * 5 + 1) * 32);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    Conv2D, 2, MaxPooling2D,
    /// `valid`: windows stay inside; `same`: with strides of 1 the output has the input's size.
    , false
}

convolution! {
    /// 3-D convolution: `activation(Σ window · kernel + bias)` at every position of a volume.
    ///
    /// # Shapes
    /// `(batch, depth, rows, columns, channels)` → `(batch, new_depth, new_rows, new_columns, filters)`; weights
    /// `kernel` (window depth, rows and columns, channels / groups, filters) and `bias` (filters).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Conv3D::new(8, 3).input_shape((10, 10, 10, 1)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 8, 8, 8, 8)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    Conv3D, 3, MaxPooling3D,
    /// `valid`: windows stay inside; `same`: with strides of 1 the output has the input's size.
    , false
}

impl BuiltIn for Conv1D {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(4, 3), Shape::batch_of((7, 2))),
            (Self::new(3, 2).padding(Padding::Causal).dilation_rate(2).activation("tanh"), Shape::batch_of((6, 2))),
            (Self::new(3, 4).padding(Padding::Same).strides(2).use_bias(false), Shape::batch_of((7, 2))),
            (Self::new(4, 3).groups(2), Shape::batch_of((5, 4))),
            (Self::new(2, 3).data_format(DataFormat::ChannelsFirst), Shape::batch_of((3, 6))),
        ]
    }
}

impl BuiltIn for Conv2D {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(4, 3), Shape::batch_of((7, 6, 2))),
            (Self::new(3, (2, 3)).strides(2).padding(Padding::Same).activation("relu"), Shape::batch_of((7, 6, 2))),
            (Self::new(4, 3).dilation_rate(2).padding(Padding::Same).use_bias(false), Shape::batch_of((6, 6, 1))),
            (Self::new(6, (3, 1)).groups(2), Shape::batch_of((5, 5, 4))),
            (Self::new(2, 3).data_format(DataFormat::ChannelsFirst), Shape::batch_of((3, 5, 6))),
            (
                Self::new(2, 3)
                    .kernel_regularizer(Regularizer::L2 { l2: 0.01 })
                    .activity_regularizer(Regularizer::L2 { l2: 0.01 }),
                Shape::batch_of((5, 5, 1)),
            ),
        ]
    }
}

impl BuiltIn for Conv3D {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(3, 2), Shape::batch_of((3, 4, 3, 2))),
            (Self::new(2, (2, 3, 1)).padding(Padding::Same).strides((1, 2, 1)), Shape::batch_of((3, 4, 3, 2))),
            (Self::new(2, 2).data_format(DataFormat::ChannelsFirst), Shape::batch_of((1, 3, 4, 3))),
            (Self::new(2, 2).padding(Padding::Same).dilation_rate(2).groups(2), Shape::batch_of((3, 3, 3, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn a_causal_convolution_ignores_later_steps() {
        let kernel = Value::from_vec(vec![1.0, 10.0], &[2, 1, 1], &Device::flex()).unwrap();
        let input = Value::from_vec(vec![1.0, 2.0, 3.0], &[1, 3, 1], &Device::flex()).unwrap();
        let layer = Conv1D::new(1, 2).padding(Padding::Causal).use_bias(false);
        let output = layer.forward(input, &mut Call::inference(&[kernel])).unwrap();
        assert_eq!(output.to_vec().unwrap(), [10.0, 21.0, 32.0]);
    }

    #[test]
    fn wrong_arguments_are_named() {
        let name = |result: Result<Shape>| match result {
            Err(Error::Argument { argument, .. }) => argument,
            other => format!("{other:?}"),
        };
        let line = Shape::batch_of((8, 4));
        assert_eq!(name(Conv1D::new(0, 3).output_shape(&line)), "filters");
        assert_eq!(name(Conv1D::new(4, 3).groups(3).output_shape(&line)), "groups");
        assert_eq!(name(Conv1D::new(4, 3).strides(2).dilation_rate(2).output_shape(&line)), "strides");
        let volume = Shape::batch_of((8, 8, 8, 4));
        assert_eq!(name(Conv3D::new(4, 3).padding(Padding::Causal).output_shape(&volume)), "padding");
    }

    #[test]
    fn a_kernel_larger_than_the_image_is_refused() {
        let error = Conv2D::new(4, 5).output_shape(&Shape::batch_of((4, 8, 1))).unwrap_err();
        assert!(error.to_string().contains("at least 5 rows"), "{error}");
    }

    #[test]
    fn wrong_arguments_of_images_are_named() {
        let input = Shape::batch_of((8, 8, 4));
        let name = |layer: Conv2D| match layer.output_shape(&input) {
            Err(Error::Argument { argument, .. }) => argument,
            other => format!("{other:?}"),
        };
        assert_eq!(name(Conv2D::new(0, 3)), "filters");
        assert_eq!(name(Conv2D::new(4, 0)), "kernel_size");
        assert_eq!(name(Conv2D::new(4, 3).strides(0)), "strides");
        assert_eq!(name(Conv2D::new(4, 3).groups(3)), "groups");
        assert_eq!(name(Conv2D::new(4, 3).groups(0)), "groups");
        assert_eq!(name(Conv2D::new(4, 3).strides(2).dilation_rate(2)), "strides");
        let unknown = Conv2D::new(4, 3).activation("rellu").output_shape(&input).unwrap_err();
        assert!(unknown.to_string().contains("did you mean `relu`?"));
    }
}
