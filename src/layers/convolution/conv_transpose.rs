//! `Conv1DTranspose`, `2D`, `3D`: transposed convolutions.

use super::{Portable, Windows, check_positive, convolution_items, kernel_and_bias};
use crate::activations::Activation;
use crate::constraints::Constraint;
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::layers::windows::DIMENSIONS;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Layer, WeightSpec};
use crate::ops::{self, Value};
use crate::regularizers::Regularizer;
use crate::shape::{DataFormat, Padding, Shape, Spatial};

/// Declares the layer for `$n` spatial dimensions.
macro_rules! convolution_transpose {
    ($(#[$doc:meta])* $name:ident, $n:literal) => {
        crate::describe! {
            $(#[$doc])*
            pub layer struct $name {
                /// The number of output channels.
                filters: usize,
                /// The size of the kernel.
                kernel_size: Spatial<$n>,
                /// The stride of the windows.
                strides: Spatial<$n> = Spatial([1; $n]),
                /// `valid`: all windows in full; `same`: the output is `strides` times the size of the input.
                padding: Padding = Padding::Valid,
                /// The number of positions added at the end, less than the strides; it replaces the output size implied
                /// by `padding`.
                output_padding: Option<Spatial<$n>> = None,
                /// The position of the channels in the input and output.
                data_format: DataFormat = DataFormat::ChannelsLast,
                /// The dilation: the distance between a window's positions.
                dilation_rate: Spatial<$n> = Spatial([1; $n]),
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
            /// `filters` output channels, with kernels of size `kernel_size`.
            pub fn new(filters: usize, kernel_size: impl Into<Spatial<$n>>) -> Self {
                Self::required(filters, kernel_size.into())
            }

            fn border(&self, dimension: usize) -> Border {
                Border {
                    span: self.windows().window(dimension).span(),
                    stride: self.strides.0[dimension],
                    same: self.padding == Padding::Same,
                    extra: self.output_padding.map(|padding| padding.0[dimension]),
                }
            }

            /// The shape of the sum of all windows before cropping, channels last.
            fn whole(&self, input: &Shape) -> Shape {
                let mut sizes = self.data_format.to_channels_last(input).sizes().to_vec();
                for dimension in 0..$n {
                    let (stride, span) = (self.strides.0[dimension], self.windows().window(dimension).span());
                    let steps = sizes[1 + dimension].map_or(0, |size| size.saturating_sub(1));
                    sizes[1 + dimension] = Some(steps.saturating_mul(stride).saturating_add(span));
                }
                sizes[$n + 1] = Some(self.filters);
                Shape::new(sizes)
            }
        }

        impl Layer for $name {
            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                check_positive("filters", self.filters)?;
                self.padding.refuse_causal()?;
                self.windows().check(input)?;
                for (dimension, name) in DIMENSIONS[$n - 1].iter().enumerate() {
                    self.windows().window(dimension).check_span(name)?;
                }
                if let Some(padding) = self.output_padding
                    && padding.0.iter().zip(self.strides.0).any(|(padding, stride)| *padding >= stride)
                {
                    return Err(Error::argument("output_padding", format!("less than {}", self.strides), padding));
                }
                let mut sizes = self.data_format.to_channels_last(input).sizes().to_vec();
                for (dimension, name) in DIMENSIONS[$n - 1].iter().enumerate() {
                    let size = &mut sizes[1 + dimension];
                    *size = size.map(|size| self.border(dimension).length(name, size)).transpose()?;
                }
                sizes[$n + 1] = Some(self.filters);
                self.activation.output_shape(&self.data_format.from_channels_last(&Shape::new(sizes)))
            }

            fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
                let channels = self.data_format.to_channels_last(input).last()?;
                let sizes = [self.kernel_size.0.as_slice(), &[self.filters, channels]].concat();
                let kernel = (&self.kernel_initializer, &self.kernel_regularizer, &self.kernel_constraint);
                Ok(kernel_and_bias("kernel", sizes, kernel, self.bias(self.filters)))
            }

            fn scratch(&self, input: &Shape, _: bool) -> Result<usize> {
                // The sum of all windows before cropping, as computed and transposed.
                let whole = self.whole(input);
                whole.check_count()?;
                Ok(whole.known_len().saturating_mul(2).saturating_add(input.known_len()))
            }

            fn momentary(&self, input: &Shape, training: bool) -> Result<usize> {
                // A transposed convolution is the input gradient of a convolution that maps this layer's output to its
                // input.
                let (batch, channels) = (input.sizes()[0].unwrap_or(1), self.data_format.to_channels_last(input).last()?);
                let cells = self.kernel_size.0.iter().fold(1usize, |product, size| product.saturating_mul(*size));
                let (column, outputs) = (cells.saturating_mul(self.filters), input.known_len());
                let sizes = Portable {
                    batch,
                    inputs: self.whole(input).known_len(),
                    positions: outputs / batch.saturating_mul(channels).max(1),
                    outputs,
                    column,
                    cells,
                    weights: column.saturating_mul(channels),
                    channels: self.filters,
                    filters: channels,
                };
                let backward = if training { sizes.weights_gradient().max(sizes.forward()) } else { 0 };
                Ok(sizes.transposed().max(backward))
            }

            fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
                let order: Vec<usize> = [$n + 1, $n].into_iter().chain(0..$n).collect();
                let kernel = to.weight(0)?.permuted(&order);
                let (mut before, mut after, mut extra) = (Vec::new(), Vec::new(), Vec::new());
                for dimension in 0..$n {
                    let [first, last, more] = self.border(dimension).onnx();
                    before.push(first);
                    after.push(last);
                    extra.push(more);
                }
                let ints = |sizes: &Spatial<$n>| sizes.0.iter().map(|size| *size as i64).collect::<Vec<_>>();
                let input = to.channels_first(to.input(), self.data_format, $n + 2);
                let mut inputs = vec![input, to.constant("kernel", kernel)];
                let bias = to.weight_if(self.use_bias, 1)?;
                inputs.extend(bias.map(|bias| to.constant("bias", bias)));
                let attributes = vec![
                    ("kernel_shape", ints(&self.kernel_size).into()),
                    ("strides", ints(&self.strides).into()),
                    ("dilations", ints(&self.dilation_rate).into()),
                    ("pads", [before, after].concat().into()),
                    ("output_padding", extra.into()),
                ];
                let output = to.op("ConvTranspose", &inputs, attributes);
                let output = to.from_channels_first(output, self.data_format, $n + 2);
                to.activated(&self.activation, output)
            }

            fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
                let input = ops::to_channels_last(input, self.data_format);
                let lengths = input.sizes();
                let mut output = ops::conv_transpose(input, call.weight(0), &self.strides.0, &self.dilation_rate.0)?;
                let whole = output.len();
                for (dimension, name) in DIMENSIONS[$n - 1].iter().enumerate() {
                    let border = self.border(dimension);
                    let length = border.length(name, lengths[1 + dimension])?;
                    output = border.cut(output, 1 + dimension, length)?;
                }
                if self.use_bias {
                    let sizes = output.sizes();
                    output = output + call.weight(1).broadcast(&[$n + 1], &sizes)?;
                } else if output.len() < whole {
                    // Frees the cropped part.
                    output = output.copied()?;
                }
                let output = ops::from_channels_last(output, self.data_format);
                let output = call.activate(&self.activation, output)?;
                call.add_activity_loss(&self.activity_regularizer, &output)?;
                Ok(output)
            }

            fn final_activation(&self) -> Option<&Activation> {
                self.activity_regularizer.is_none().then_some(&self.activation)
            }
        }
    };
}

/// The cropping of the sum of all windows along one dimension.
///
/// The formulas are those of JAX's transposed convolution with Keras's paddings, converted to cropping.
struct Border {
    span: usize,
    stride: usize,
    same: bool,
    extra: Option<usize>,
}

impl Border {
    /// The padding before and after of the convolution of which this is the transpose.
    fn pads(&self) -> (usize, usize) {
        let span = self.span;
        if !self.same {
            let extra = self.extra.unwrap_or_else(|| span.max(self.stride) - span);
            return (span - 1, (span - 1).saturating_add(extra));
        }
        let total = match self.extra {
            None => (self.stride - 1).saturating_add(span - 1),
            Some(extra) => (span + span % 2 - 2).saturating_add(extra),
        };
        let before = (total / 2 + total % 2).min(span - 1);
        (before, total - before)
    }

    /// The output's length for an input of `length`.
    fn length(&self, name: &str, length: usize) -> Result<usize> {
        let (before, after) = self.pads();
        let sum = length.checked_sub(1).and_then(|steps| steps.checked_mul(self.stride));
        let sum = sum.and_then(|sum| sum.checked_add(before)?.checked_add(after)?.checked_add(2));
        let output = sum.and_then(|sum| sum.checked_sub(self.span)).filter(|output| *output > 0);
        output.ok_or_else(|| Error::shape(format!("an input long enough for any output {name}"), length))
    }

    /// ONNX's padding before and after, taken off the sum of all windows, and its output padding.
    fn onnx(&self) -> [i64; 3] {
        let (before, after) = self.pads();
        // The sum has `span − 1` positions more on either side than the convolution without padding takes.
        let (first, last) = (self.span - 1 - before, self.span as i64 - 1 - after as i64);
        [first as i64, last.max(0), (-last).max(0)]
    }

    /// `length` positions of the sum of all windows, padded with zeros.
    fn cut(&self, sum: Value, axis: usize, length: usize) -> Result<Value> {
        let first = self.span - 1 - self.pads().0;
        let missing = (first + length).saturating_sub(sum.sizes()[axis]);
        Ok(sum.pad(axis, 0, missing, 0.0)?.narrow(axis, first, length))
    }
}

convolution_transpose! {
    /// Transposed 1-D convolution, for upsampling: `activation(Σ kernel · input + bias)`.
    ///
    /// # Shapes
    /// `(batch, steps, channels)` → `(batch, new_steps, filters)`; weights `kernel`
    /// (window, filters, channels) and `bias` (filters).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Conv1DTranspose::new(4, 3).strides(2).padding(Padding::Same).input_shape((10, 8)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 20, 4)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    Conv1DTranspose, 1
}

convolution_transpose! {
    /// Transposed 2-D convolution, for upsampling: `activation(Σ kernel · input + bias)`.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → `(batch, new_rows, new_columns, filters)`; weights `kernel`
    /// (window rows, window columns, filters, channels) and `bias` (filters).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Conv2DTranspose::new(4, 3).strides(2).padding(Padding::Same).input_shape((10, 10, 8)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 20, 20, 4)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    Conv2DTranspose, 2
}

convolution_transpose! {
    /// Transposed 3-D convolution, for upsampling: `activation(Σ kernel · input + bias)`.
    ///
    /// # Shapes
    /// `(batch, depth, rows, columns, channels)` → `(batch, new_depth, new_rows, new_columns, filters)`; weights
    /// `kernel` (window depth, rows and columns, filters, channels) and `bias` (filters).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Conv3DTranspose::new(4, 3).strides(2).padding(Padding::Same).input_shape((4, 4, 4, 8)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 8, 8, 8, 4)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    Conv3DTranspose, 3
}

impl BuiltIn for Conv1DTranspose {
    fn renew(config: &mut crate::config::Config, _: bool) {
        crate::layers::built_in::forget_single_group(config);
    }

    const LATE: &'static [(&'static str, &'static str)] = &[("output_padding", "null")];

    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(3, 2).strides(3), Shape::batch_of((4, 2))),
            (Self::new(2, 3).strides(2).padding(Padding::Same).use_bias(false), Shape::batch_of((4, 2))),
            (Self::new(2, 3).data_format(DataFormat::ChannelsFirst), Shape::batch_of((3, 4))),
        ]
    }
}

impl BuiltIn for Conv2DTranspose {
    fn renew(config: &mut crate::config::Config, _: bool) {
        crate::layers::built_in::forget_single_group(config);
    }

    const LATE: &'static [(&'static str, &'static str)] = &[("output_padding", "null")];

    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(3, (2, 3)).strides(2).padding(Padding::Same).activation("relu"), Shape::batch_of((3, 4, 2))),
            (Self::new(2, 3).strides(2).output_padding(1), Shape::batch_of((3, 4, 2))),
            (Self::new(2, 3).strides(2).padding(Padding::Same).output_padding(0), Shape::batch_of((3, 4, 2))),
            (Self::new(2, 3).dilation_rate(2), Shape::batch_of((3, 4, 2))),
            (Self::new(2, 2).strides(3), Shape::batch_of((2, 2, 2))),
        ]
    }
}

impl BuiltIn for Conv3DTranspose {
    fn renew(config: &mut crate::config::Config, _: bool) {
        crate::layers::built_in::forget_single_group(config);
    }

    const LATE: &'static [(&'static str, &'static str)] = &[("output_padding", "null")];

    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(2, 2).strides((1, 2, 1)).padding(Padding::Same), Shape::batch_of((2, 3, 2, 2))),
            (Self::new(2, (1, 2, 3)), Shape::batch_of((2, 2, 2, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_arguments_are_named() {
        let name = |layer: Conv2DTranspose| match layer.output_shape(&Shape::batch_of((8, 8, 4))) {
            Err(Error::Argument { argument, .. }) => argument,
            other => format!("{other:?}"),
        };
        assert_eq!(name(Conv2DTranspose::new(0, 3)), "filters");
        assert_eq!(name(Conv2DTranspose::new(2, 3).strides(2).output_padding(2)), "output_padding");
        assert_eq!(name(Conv2DTranspose::new(2, 3).padding(Padding::Causal)), "padding");
    }
}
