//! The convolution layers.

mod conv;
mod conv_transpose;
mod depthwise_conv;
mod frozen;
mod fused;
mod separable_conv;

pub use conv::{Conv1D, Conv2D, Conv3D};
pub use conv_transpose::{Conv1DTranspose, Conv2DTranspose, Conv3DTranspose};
pub use depthwise_conv::{DepthwiseConv1D, DepthwiseConv2D};
pub use separable_conv::{SeparableConv1D, SeparableConv2D};

use crate::activations::Activation;
use crate::constraints::Constraint;
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::layers::windows::Windows;
use crate::layers::{Attribute, Call, Edge, Exporting, OnnxNumbers as Numbers, WeightSpec};
use crate::ops::ConvGeometry;
use crate::regularizers::Regularizer;
use crate::shape::{DataFormat, Padding, Shape, SlidingWindow, Spatial};

/// Items that all convolutions have, for `$n` spatial dimensions.
macro_rules! convolution_items {
    ($name:ident, $n:literal) => {
        impl $name {
            fn windows(&self) -> Windows<$n> {
                Windows {
                    size: self.kernel_size,
                    strides: self.strides,
                    dilation_rate: self.dilation_rate,
                    padding: self.padding,
                    data_format: self.data_format,
                }
            }

            fn bias(&self, outputs: usize) -> Option<WeightSpec> {
                self.use_bias.then(|| {
                    WeightSpec::new("bias", [outputs], self.bias_initializer.clone())
                        .regularizer(&self.bias_regularizer)
                        .constraint(&self.bias_constraint)
                })
            }
        }
    };
}

use convolution_items;

impl<const N: usize> Windows<N> {
    /// Refuses invalid arguments; returns the number of channels of the input.
    fn check(&self, input: &Shape) -> Result<usize> {
        self.size.check_positive("kernel_size")?;
        self.strides.check_positive("strides")?;
        self.dilation_rate.check_positive("dilation_rate")?;
        if self.strides.0.iter().any(|s| *s > 1) && self.dilation_rate.0.iter().any(|d| *d > 1) {
            let received = format!("strides={}, dilation_rate={}", self.strides, self.dilation_rate);
            return Err(Error::argument("strides", "1 where dilation_rate is above 1", received));
        }
        input.expect_rank(N + 2)?;
        match self.data_format.to_channels_last(input).last()? {
            0 => Err(Error::shape("at least one channel", input)),
            channels => Ok(channels),
        }
    }

    /// The output's shape, with `channels` channels.
    fn output(&self, input: &Shape, channels: usize) -> Result<Shape> {
        let windows: [SlidingWindow; N] = std::array::from_fn(|dimension| self.window(dimension));
        check_borders(self.data_format.to_channels_last(input).sizes(), &windows, self.padding)?;
        self.output_shape(input, Some(channels))
    }

    /// The workspace in values of a convolution of `input` (in the layer's format) with `channels` kernels per pixel,
    /// besides input and output: the padded images.
    fn scratch(&self, input: &Shape, channels: usize) -> usize {
        let sizes = self.data_format.to_channels_last(input).sizes().to_vec();
        let mut padded = Vec::with_capacity(N);
        let mut pixels = 1usize;
        for dimension in 0..N {
            let (length, window) = (sizes[1 + dimension].unwrap_or(1), self.window(dimension));
            let (before, after) = window.pads(length, self.padding);
            padded.push(length.saturating_add(before).saturating_add(after));
            pixels = pixels.saturating_mul(window.count(length, self.padding).unwrap_or(1));
        }
        padded_len(sizes[0].unwrap_or(1), &padded, pixels, channels)
    }

    /// Whether zeros around the image can be added to the padding, which then does not depend on the image's size.
    fn takes_padding(&self) -> bool {
        N <= 2 && self.padding == Padding::Valid && self.data_format == DataFormat::ChannelsLast
    }

    /// The geometry of a convolution of an input of these sizes (channels last).
    fn geometry(&self, sizes: &[usize], groups: usize) -> ConvGeometry<N> {
        ConvGeometry { strides: self.strides.0, dilation: self.dilation_rate.0, pads: self.pads(sizes), groups }
    }

    /// The geometry of a depthwise convolution of an input of these sizes (channels last).
    fn depthwise(&self, sizes: &[usize]) -> ConvGeometry<N> {
        self.geometry(sizes, sizes[N + 1])
    }
}

/// The activation to be applied to the channels-last output, and the one for the output in its own format, which an
/// activation over a whole axis needs.
fn split<'a>(activation: &'a Activation, format: DataFormat, call: &Call<'_>) -> (&'a Activation, &'a Activation) {
    match format {
        _ if call.skip_final_activation() => (&Activation::Linear, &Activation::Linear),
        DataFormat::ChannelsLast => (activation, &Activation::Linear),
        _ => (&Activation::Linear, activation),
    }
}

/// Refuses zero.
fn check_positive(argument: &str, number: usize) -> Result<()> {
    if number > 0 {
        return Ok(());
    }
    Err(Error::argument(argument, "an integer above 0", number))
}

/// A kernel, and an optional bias.
fn kernel_and_bias(
    name: &str,
    sizes: Vec<usize>,
    kernel: (&Initializer, &Option<Regularizer>, &Option<Constraint>),
    bias: Option<WeightSpec>,
) -> Vec<WeightSpec> {
    let (initializer, regularizer, constraint) = kernel;
    let kernel = WeightSpec::new(name, sizes, initializer.clone()).regularizer(regularizer).constraint(constraint);
    std::iter::once(kernel).chain(bias).collect()
}

/// The maximum number of values of a padded image, whatever its size without padding.
const MAX_PADDED: usize = 1 << 24;
/// The maximum ratio of padded to unpadded values above that.
const MAX_RATIO: usize = 4;

/// Refuses padding that makes an image many times larger. A dilation of millions would need it, and each image is
/// copied into its padding.
///
/// `sizes` are those of a batch of images, channels last.
fn check_borders(sizes: &[Option<usize>], windows: &[SlidingWindow], padding: Padding) -> Result<()> {
    let channels = sizes.last().copied().flatten().unwrap_or(1);
    let (mut own, mut padded) = (channels, channels);
    for (size, window) in sizes[1..].iter().zip(windows) {
        let Some(size) = *size else { continue };
        let (before, after) = window.pads(size, padding);
        own = own.saturating_mul(size);
        padded = padded.saturating_mul(size.saturating_add(before).saturating_add(after));
    }
    let most = own.saturating_mul(MAX_RATIO).max(MAX_PADDED);
    if padded <= most {
        return Ok(());
    }
    let expected = format!("a window whose padding turns {own} values into at most {most}");
    let spans: Vec<String> = windows.iter().map(|window| window.span().to_string()).collect();
    Err(Error::argument("dilation_rate", expected, format!("windows that span {}", spans.join(" × "))))
}

/// The sizes of a convolution in Burn's portable implementation: matrix products with copied windows (im2col).
struct Portable {
    batch: usize,
    /// Values of all padded inputs.
    inputs: usize,
    /// Positions of an output, and values of all outputs.
    positions: usize,
    outputs: usize,
    /// Inputs per output position, and positions of the kernel.
    column: usize,
    cells: usize,
    weights: usize,
    channels: usize,
    filters: usize,
}

impl Portable {
    /// Output positions whose windows are copied at once.
    const TILE: usize = 512;
    /// Values of the products that a transposed convolution computes at once, unless a single position has more.
    const COLUMNS: usize = (8 << 20) / size_of::<f32>();

    /// Values of the windows that all threads copy at once, with `column` values each, and of their products with
    /// `filters` kernels.
    fn tiles(batch: usize, positions: usize, column: usize, filters: usize) -> usize {
        let tasks = batch.saturating_mul(positions.div_ceil(Self::TILE)).min(rayon::current_num_threads());
        tasks.saturating_mul(positions.min(Self::TILE)).saturating_mul(column.saturating_add(filters))
    }

    fn sum(parts: &[usize]) -> usize {
        parts.iter().fold(0, |sum, part| sum.saturating_add(*part))
    }

    /// Besides input, kernel and output: transposed copies of both, and the windows of a tile.
    fn forward(&self) -> usize {
        let tiles = Self::tiles(self.batch, self.positions, self.column, self.filters);
        Self::sum(&[self.inputs, self.inputs, self.weights, self.weights, tiles])
    }

    /// The kernel's gradient is a convolution of the inputs with the output gradients, whose windows are as large as a
    /// whole output.
    fn weights_gradient(&self) -> usize {
        let tiles = Self::tiles(self.channels, self.cells, self.batch.saturating_mul(self.positions), self.filters);
        Self::sum(&[self.inputs, self.inputs, self.outputs, self.outputs, self.weights, tiles])
    }

    /// The transpose, that is the input gradient: products of some output positions with the whole kernel at once.
    fn transposed(&self) -> usize {
        let each = self.column.max(Self::COLUMNS).min(self.column.saturating_mul(self.positions));
        let columns = each.saturating_mul(self.batch.min(rayon::current_num_threads()));
        Self::sum(&[self.outputs, self.weights, columns])
    }
}

/// Values of padded copies of images: a few at a time for each thread, or all of them where no kernel works on tiles.
fn padded_len(batch: usize, padded: &[usize], pixels: usize, channels: usize) -> usize {
    const ROWS: usize = 480;
    let frame = padded.iter().fold(channels, |product, size| product.saturating_mul(*size));
    let at_once = ROWS.div_ceil(pixels.max(1)).saturating_mul(rayon::current_num_threads());
    frame.saturating_mul(if padded.len() > 2 { batch } else { at_once.min(batch) })
}

impl<const N: usize> Windows<N> {
    /// The windows as attributes of an ONNX operator, for inputs of this shape.
    pub(super) fn onnx_attributes(&self, input: &Shape) -> Vec<(&'static str, Attribute)> {
        let ints = |sizes: &Spatial<N>| sizes.0.iter().map(|size| *size as i64).collect::<Vec<_>>();
        let mut attributes = vec![
            ("kernel_shape", ints(&self.size).into()),
            ("strides", ints(&self.strides).into()),
            ("dilations", ints(&self.dilation_rate).into()),
        ];
        let last = self.data_format.to_channels_last(input);
        let (mut before, mut after) = (Vec::with_capacity(N), Vec::with_capacity(N));
        for dimension in 0..N {
            let (window, size) = (self.window(dimension), last.sizes()[1 + dimension]);
            // Only with strides the padding depends on the size.
            if self.padding == Padding::Same && size.is_none() && window.stride > 1 {
                attributes.push(("auto_pad", "SAME_UPPER".into()));
                return attributes;
            }
            let (first, rest) = window.pads(size.unwrap_or(1), self.padding);
            before.push(first as i64);
            after.push(rest as i64);
        }
        attributes.push(("pads", [before, after].concat().into()));
        attributes
    }

    /// A convolution of a value with the channels first, by a kernel in ONNX's order.
    fn onnx_conv(
        &self,
        to: &mut Exporting<'_>,
        input: Edge,
        kernel: Numbers,
        bias: Option<Numbers>,
        groups: usize,
    ) -> Edge {
        let mut attributes = self.onnx_attributes(to.shape());
        attributes.push(("group", (groups as i64).into()));
        let mut inputs = vec![input, to.constant("kernel", kernel)];
        inputs.extend(bias.map(|bias| to.constant("bias", bias)));
        to.op("Conv", &inputs, attributes)
    }

    /// A convolution with its activation.
    fn onnx(
        &self,
        to: &mut Exporting<'_>,
        kernel: Numbers,
        bias: Option<Numbers>,
        groups: usize,
        activation: &Activation,
    ) -> Result<Vec<Edge>> {
        let input = to.channels_first(to.input(), self.data_format, N + 2);
        let output = self.onnx_conv(to, input, kernel, bias, groups);
        let output = to.from_channels_first(output, self.data_format, N + 2);
        to.activated(activation, output)
    }
}

/// A kernel of `n` dimensions in ONNX's order: (filters, channels, window).
fn onnx_kernel(kernel: Numbers, n: usize) -> Numbers {
    kernel.permuted(&[n + 1, n].into_iter().chain(0..n).collect::<Vec<_>>())
}

/// A depthwise kernel in ONNX's order, a filter for each group, and the number of groups.
fn onnx_depthwise(kernel: Numbers, n: usize) -> (Numbers, usize) {
    let kernel = kernel.permuted(&[n, n + 1].into_iter().chain(0..n).collect::<Vec<_>>());
    let channels = kernel.sizes[0];
    let sizes = [&[channels * kernel.sizes[1], 1], &kernel.sizes[2..]].concat();
    (kernel.reshaped(sizes), channels)
}
