//! Convolutions as steps of a predictor.

use crate::activations::Activation;
use crate::kernels::activation::Activation as Kernel;
use crate::kernels::aligned::Weights;
use crate::kernels::conv2d::{Conv2d, PreparedConv};
use crate::kernels::depthwise::{Depthwise, PreparedDepthwise};
use crate::kernels::separable::PreparedSeparable;
use crate::kernels::window::WindowGeometry;
use crate::layers::core::FrozenDense;
use crate::layers::{Epilogue, Freezing, Frozen, FrozenStep};
use crate::ops::{self, ConvGeometry, PoolGeometry};

/// A pooling's geometry by height and width of the image, if it has one.
pub(super) type Pooling<'a> = &'a dyn Fn([usize; 2]) -> Option<PoolGeometry<2>>;

/// A convolution to be compiled, channels last; there are steps for one and two spatial dimensions.
pub(super) struct Freezable<'a, const N: usize> {
    pub geometry: &'a ConvGeometry<N>,
    pub kernel_size: [usize; N],
    /// Index of the kernel's weight; the bias follows, if there is one.
    pub kernel: usize,
    pub use_bias: bool,
    pub activation: &'a Activation,
}

impl<const N: usize> Freezable<'_, N> {
    /// Height, width and channels of the input, the window's size, and the geometry, with the zeros before the
    /// convolution as part of its padding; one dimension is an image of one row.
    fn flat(&self, freezing: &Freezing<'_>) -> Option<([usize; 3], [usize; 2], ConvGeometry<2>)> {
        let (channels, image) = freezing.input()?.split_last()?;
        let [height, width] = ops::flat(<[usize; N]>::try_from(image).ok()?, 1)?;
        let mut geometry = self.geometry.flat()?;
        for ((before, after), more) in geometry.pads.iter_mut().zip(freezing.padding) {
            *before = before.checked_add(more.0)?;
            *after = after.checked_add(more.1)?;
        }
        Some(([height, width, *channels], ops::flat(self.kernel_size, 1)?, geometry))
    }

    fn bias(&self, freezing: &Freezing<'_>) -> Option<Option<Vec<f32>>> {
        match self.use_bias {
            true => freezing.weight(self.kernel + 1).map(Some),
            false => Some(None),
        }
    }

    /// A convolution with `filters` kernels, with an optional fused pooling; `pool` is its geometry for the
    /// convolution's output.
    pub fn conv(&self, freezing: &Freezing<'_>, filters: usize, pool: Option<Pooling<'_>>) -> Option<Frozen> {
        let ([height, width, channels], size, geometry) = self.flat(freezing)?;
        let (kernel, bias) = (freezing.weight(self.kernel)?, self.bias(freezing)?);
        let plain = geometry.strides == [1, 1] && geometry.pads == [(0, 0); 2] && geometry.groups == 1;
        if size == [1, 1] && plain && pool.is_none() {
            let rows = height.checked_mul(width)?;
            return FrozenDense::step((channels, filters), rows, &kernel, bias.as_deref(), self.activation);
        }
        let window = ops::window(1, [height, width], size, &geometry)?;
        let conv = Conv2d { window, channels, filters, groups: geometry.groups };
        let epilogue = Epilogue::of(self.activation)?;
        let pool = match pool {
            Some(pool) => Some(pool(window.output)?.window(1, window.output)?),
            None => None,
        };
        // Only a non-decreasing activation commutes with max pooling.
        if pool.is_some() && !matches!(epilogue, Epilogue::Each(kernel) if kernel.gradient_needs_only_output()) {
            return None;
        }
        let prepared = PreparedConv::new(&conv, &kernel, bias.as_deref(), epilogue.inside(), pool)?;
        Some(FrozenConv::new(ConvKernel::Full(Box::new(prepared)), epilogue, filters).into())
    }

    /// A depthwise convolution, with `multiplier` kernels per channel.
    pub fn depthwise(&self, freezing: &Freezing<'_>, multiplier: usize) -> Option<Frozen> {
        let kernel = ConvKernel::Depthwise(self.prepared_depthwise(freezing, multiplier)?);
        let (filters, epilogue) = (freezing.input()?.last()?.checked_mul(multiplier)?, Epilogue::of(self.activation)?);
        Some(FrozenConv::new(kernel, epilogue, filters).into())
    }

    fn prepared_depthwise(&self, freezing: &Freezing<'_>, multiplier: usize) -> Option<PreparedDepthwise> {
        let ([height, width, channels], size, geometry) = self.flat(freezing)?;
        let window: WindowGeometry = ops::window(1, [height, width], size, &geometry)?;
        let conv = Depthwise { window, channels, multiplier };
        let (kernel, bias) = (freezing.weight(self.kernel)?, self.bias(freezing)?);
        PreparedDepthwise::new(&conv, &kernel, bias.as_deref(), Epilogue::of(self.activation)?.inside())
    }

    /// A depthwise convolution without an activation, then a pointwise one with weights `w` for `filters` output
    /// channels: one step where its kernel takes both, else two.
    pub fn separable(
        &self,
        freezing: &Freezing<'_>,
        multiplier: usize,
        (w, bias, filters): (&[f32], Option<&[f32]>, usize),
        activation: &Activation,
    ) -> Option<Frozen> {
        let (_, image) = freezing.output.split_last()?;
        let pixels = image.iter().try_fold(1usize, |pixels, size| pixels.checked_mul(*size))?;
        let inner = freezing.input()?.last()?.checked_mul(multiplier)?;
        let depthwise = self.prepared_depthwise(freezing, multiplier)?;
        if depthwise.reads_in_place() {
            let pointwise = FrozenDense::packed((inner, filters), pixels, w, bias)?;
            let kernel = ConvKernel::Separable(PreparedSeparable::new(depthwise, pointwise));
            return Some(FrozenConv::new(kernel, Epilogue::of(activation)?, filters).into());
        }
        let (kernel, epilogue) = (ConvKernel::Depthwise(depthwise), Epilogue::of(self.activation)?);
        let depthwise = Frozen::from(FrozenConv::new(kernel, epilogue, inner));
        let pointwise = FrozenDense::step((inner, filters), pixels, w, bias, activation)?;
        Some(depthwise.then(pixels.checked_mul(inner)?, pointwise, pixels.checked_mul(filters)?))
    }
}

/// A convolution in a predictor, for `filters` output channels.
#[derive(Debug)]
struct FrozenConv {
    kernel: ConvKernel,
    epilogue: Epilogue,
    filters: usize,
    /// Whether the result is added to what the output holds.
    accumulates: bool,
}

impl FrozenConv {
    fn new(kernel: ConvKernel, epilogue: Epilogue, filters: usize) -> Self {
        Self { kernel, epilogue, filters, accumulates: false }
    }
}

/// The kernel of a convolution, with its weights prepared.
#[derive(Debug)]
enum ConvKernel {
    // Boxed, as it is much larger than the others.
    Full(Box<PreparedConv>),
    Depthwise(PreparedDepthwise),
    Separable(PreparedSeparable),
}

impl FrozenStep for FrozenConv {
    fn kernel(&self) -> &'static str {
        match self.kernel {
            ConvKernel::Full(_) => "Conv",
            ConvKernel::Depthwise(_) => "Depthwise",
            ConvKernel::Separable(_) => "Separable",
        }
    }

    fn operations(&self) -> usize {
        match &self.kernel {
            ConvKernel::Full(conv) => conv.operations(),
            // An operation here costs several times as much as in a matrix product.
            ConvKernel::Depthwise(conv) => conv.operations().saturating_mul(4),
            ConvKernel::Separable(conv) => conv.operations(),
        }
    }

    fn workspace(&self, samples: usize, threads: usize) -> usize {
        match &self.kernel {
            ConvKernel::Full(conv) => conv.workspace(samples, threads),
            ConvKernel::Depthwise(conv) => conv.workspace(samples, threads),
            ConvKernel::Separable(conv) => conv.workspace(samples, threads),
        }
    }

    fn weights_mut(&mut self) -> Vec<&mut Weights> {
        match &mut self.kernel {
            ConvKernel::Full(conv) => vec![conv.weights_mut()],
            // Those of each channel are few.
            ConvKernel::Depthwise(_) => Vec::new(),
            ConvKernel::Separable(conv) => vec![conv.weights_mut()],
        }
    }

    fn activate(&mut self, activation: Kernel) -> bool {
        let fits = self.epilogue == Epilogue::NONE
            && match &mut self.kernel {
                ConvKernel::Full(conv) => conv.set_activation(activation),
                // Its activation is inside.
                ConvKernel::Depthwise(_) => false,
                ConvKernel::Separable(_) => true,
            };
        fits && self.epilogue.take(activation)
    }

    fn accumulate(&mut self) -> bool {
        let can_add = matches!(&self.kernel, ConvKernel::Full(conv) if conv.can_add());
        self.accumulates = can_add && self.epilogue == Epilogue::NONE;
        self.accumulates
    }

    fn run(&self, inputs: &[&[f32]], _: usize, threads: usize, output: &mut [f32]) {
        match &self.kernel {
            ConvKernel::Full(conv) if self.accumulates => conv.add_forward(inputs[0], threads, output),
            ConvKernel::Full(conv) => conv.forward(inputs[0], threads, output),
            ConvKernel::Depthwise(conv) => conv.forward(inputs[0], threads, output),
            ConvKernel::Separable(conv) => conv.forward(inputs[0], self.epilogue.inside(), threads, output),
        }
        self.epilogue.outside(self.filters, output);
    }
}
