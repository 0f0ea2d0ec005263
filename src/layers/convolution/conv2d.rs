//! `Conv2D`: convolutions over images.

use super::frozen::{Freezable, Pooling};
use super::fused::{self, Fusible};
use super::{Windows, check_borders, onnx_kernel, padded_len};
use crate::activations::Activation;
use crate::constraints::Constraint;
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Fused, Layer, MaxPooling2D, WeightSpec};
use crate::ops::{self, Conv2dGeometry, ConvGeometry, Value};
use crate::regularizers::Regularizer;
use crate::shape::{DataFormat, Padding, Shape, Spatial, Window, count_windows};

crate::describe! {
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
    pub layer struct Conv2D {
        /// The number of kernels, and so of output channels.
        filters: usize,
        /// The rows and columns of the kernel.
        kernel_size: Spatial<2>,
        /// The stride of the windows.
        strides: Spatial<2> = Spatial([1, 1]),
        /// `valid`: windows stay inside; `same`: with strides of 1 the output has the input's size.
        padding: Padding = Padding::Valid,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
        /// The dilation: the distance between a window's positions.
        dilation_rate: Spatial<2> = Spatial([1, 1]),
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

impl Conv2D {
    /// `filters` kernels of size `kernel_size`.
    pub fn new(filters: usize, kernel_size: impl Into<Spatial<2>>) -> Self {
        Self::required(filters, kernel_size.into())
    }

    fn check(&self, input: &Shape) -> Result<()> {
        if self.filters == 0 {
            return Err(Error::argument("filters", "an integer above 0", self.filters));
        }
        if self.groups == 0 {
            return Err(Error::argument("groups", "an integer above 0", self.groups));
        }
        self.padding.refuse_causal()?;
        self.kernel_size.check_positive("kernel_size")?;
        self.strides.check_positive("strides")?;
        self.dilation_rate.check_positive("dilation_rate")?;
        if self.strides.0.iter().any(|s| *s > 1) && self.dilation_rate.0.iter().any(|d| *d > 1) {
            let received = format!("strides={}, dilation_rate={}", self.strides, self.dilation_rate);
            return Err(Error::argument("strides", "1 where dilation_rate is above 1", received));
        }
        input.expect_rank(4)?;
        let channels = self.data_format.to_channels_last(input).last()?;
        for (argument, count) in [("filters", self.filters), ("channels of the input", channels)] {
            if count % self.groups != 0 {
                return Err(Error::argument("groups", format!("a divisor of the {count} {argument}"), self.groups));
            }
        }
        Ok(())
    }

    fn window(&self, dimension: usize) -> Window {
        Window {
            size: self.kernel_size.0[dimension],
            stride: self.strides.0[dimension],
            dilation: self.dilation_rate.0[dimension],
        }
    }

    /// The geometry of the convolution for an image of this size (channels last).
    pub(crate) fn geometry(&self, rows: usize, columns: usize) -> Conv2dGeometry {
        Conv2dGeometry {
            strides: self.strides.0,
            dilation: self.dilation_rate.0,
            pads: [self.window(0).pads(rows, self.padding), self.window(1).pads(columns, self.padding)],
            groups: self.groups,
        }
    }

    /// Whether the outputs before the pooling are not needed otherwise.
    fn plain(&self) -> bool {
        self.activity_regularizer.is_none() && self.data_format == DataFormat::ChannelsLast
    }
}

impl Fusible for Conv2D {
    type Pool = MaxPooling2D;
    const RANK: usize = 4;

    fn foldable(&self) -> bool {
        self.activation == Activation::Linear && self.plain()
    }

    fn with_epilogue(&self, activation: Activation) -> Self {
        self.clone().use_bias(true).activation(activation)
    }

    fn can_pool(&self) -> bool {
        self.plain()
    }

    fn frozen(&self, pool: Option<&MaxPooling2D>, freezing: &Freezing<'_>) -> Option<Frozen> {
        let [rows, columns, _] = *freezing.input()? else { return None };
        if self.data_format != DataFormat::ChannelsLast {
            return None;
        }
        let Conv2dGeometry { strides, dilation, pads, groups } = self.geometry(rows, columns);
        let geometry = &ConvGeometry { strides: strides.into(), dilation: dilation.into(), pads: pads.into(), groups };
        let (kernel_size, activation) = (&self.kernel_size.0, &self.activation);
        let conv = Freezable { geometry, kernel_size, kernel: 0, use_bias: self.use_bias, activation };
        let pool = pool.map(|pool| move |[rows, columns]: [usize; 2]| pool.fusible(rows, columns));
        conv.conv(freezing, self.filters, pool.as_ref().map(|pool| pool as Pooling<'_>))
    }

    fn pooled(&self, pool: &MaxPooling2D, input: &Value, weights: &[Value]) -> Result<Option<Value>> {
        let sizes = input.sizes();
        let geometry = self.geometry(sizes[1], sizes[2]);
        let bias = self.use_bias.then(|| &weights[1]);
        let pool = |rows, columns| pool.fusible(rows, columns);
        Ok(ops::conv2d_max_pool2d(input, &weights[0], bias, &geometry, &self.activation, pool))
    }
}

impl Layer for Conv2D {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.check(input)?;
        let last = self.data_format.to_channels_last(input);
        check_borders(last.sizes(), &[self.window(0), self.window(1)], self.padding)?;
        let rows = count_windows("rows", last.sizes()[1], self.window(0), self.padding)?;
        let columns = count_windows("columns", last.sizes()[2], self.window(1), self.padding)?;
        let output = Shape::new([last.sizes()[0], rows, columns, Some(self.filters)]);
        self.activation.output_shape(&self.data_format.from_channels_last(&output))
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        let channels = self.data_format.to_channels_last(input).last()?;
        let [rows, columns] = self.kernel_size.0;
        let sizes = [rows, columns, channels / self.groups, self.filters];
        let kernel = WeightSpec::new("kernel", sizes, self.kernel_initializer.clone())
            .regularizer(&self.kernel_regularizer)
            .constraint(&self.kernel_constraint);
        let bias = WeightSpec::new("bias", [self.filters], self.bias_initializer.clone())
            .regularizer(&self.bias_regularizer)
            .constraint(&self.bias_constraint);
        Ok(if self.use_bias { vec![kernel, bias] } else { vec![kernel] })
    }

    fn scratch(&self, input: &Shape, _: bool) -> Result<usize> {
        let last = self.data_format.to_channels_last(input);
        let size = |dimension: usize| last.sizes()[1 + dimension].unwrap_or(1);
        let padded = [0, 1].map(|dimension| {
            let (before, after) = self.window(dimension).pads(size(dimension), self.padding);
            size(dimension).saturating_add(before).saturating_add(after)
        });
        let count = |dimension: usize| self.window(dimension).count(size(dimension), self.padding).unwrap_or(1);
        let pixels = count(0).saturating_mul(count(1));
        Ok(padded_len(last.sizes()[0].unwrap_or(1), &padded, pixels, last.last()?))
    }

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        self.frozen(None, freezing)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let windows = Windows {
            kernel_size: self.kernel_size,
            strides: self.strides,
            dilation_rate: self.dilation_rate,
            padding: self.padding,
            data_format: self.data_format,
        };
        let (kernel, bias) = (onnx_kernel(to.weight(0)?, 2), to.weight_if(self.use_bias, 1)?);
        windows.onnx(to, kernel, bias, self.groups, &self.activation)
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let input = ops::to_channels_last(input, self.data_format);
        let sizes = input.sizes();
        let geometry = self.geometry(sizes[1], sizes[2]);
        let bias = self.use_bias.then(|| call.weight(1));
        // An activation over a whole axis needs the input's own format.
        let inside = self.data_format == DataFormat::ChannelsLast && !call.skip_final_activation();
        let activation = if inside { &self.activation } else { &Activation::Linear };
        let output = ops::activated_conv2d(input, call.weight(0), bias, &geometry, activation)?;
        let output = ops::from_channels_last(output, self.data_format);
        let output = if inside || call.skip_final_activation() { output } else { self.activation.apply(output)? };
        call.add_activity_loss(&self.activity_regularizer, &output)?;
        Ok(output)
    }

    fn final_activation(&self) -> Option<&Activation> {
        self.activity_regularizer.is_none().then_some(&self.activation)
    }

    fn absorb(&self, next: &dyn Layer, training: bool) -> Option<Box<dyn Fused>> {
        fused::absorb(self, next, training)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_larger_than_the_image_is_refused() {
        let error = Conv2D::new(4, 5).output_shape(&Shape::batch_of((4, 8, 1))).unwrap_err();
        assert!(error.to_string().contains("at least 5 rows"), "{error}");
    }

    #[test]
    fn wrong_arguments_are_named() {
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
