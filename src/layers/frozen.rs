//! Layers as steps of a [`Predictor`](crate::model::Predictor), on plain slices.
//!
//! A predictor asks each step of a model's plan for its compiled form,
//! [`Layer::frozen_step`](super::Layer::frozen_step) and [`Fused::frozen_step`](super::Fused::frozen_step), defined in
//! the layer's own file. If one has none, the whole model is computed layer by layer.

use std::fmt::Debug;

use crate::activations::Activation;
use crate::kernels::activation::Activation as Kernel;
use crate::kernels::aligned::Weights;
use crate::kernels::{parallel, softmax};
use crate::ops::{self, Value};

/// A step of a predictor: the inference pass of a layer, for inputs of known sizes.
///
/// The result for a sample must depend, bit for bit, on that sample alone: not on other samples, nor on the number of
/// samples or threads.
pub trait FrozenStep: Debug + Send + Sync {
    /// Floating-point operations per sample, or an equivalent cost; determines how work is split between threads.
    fn operations(&self) -> usize;

    /// The weights that [`run`](Self::run) reads, in this order, where they are worth being moved to memory that all
    /// steps of a predictor share; by default none.
    #[doc(hidden)]
    fn weights_mut(&mut self) -> Vec<&mut Weights> {
        Vec::new()
    }

    /// The most values of workspace, each an `f32`, that [`run`](Self::run) takes besides inputs and output for
    /// `samples` samples on `threads` threads, in all of them together. The estimate of a prediction's memory includes
    /// them. By default none.
    fn workspace(&self, samples: usize, threads: usize) -> usize {
        let _ = (samples, threads);
        0
    }

    /// The name of what computes it, for tables of times; by default that of the type.
    fn kernel(&self) -> &'static str {
        let path = std::any::type_name::<Self>().split('<').next().unwrap_or_default();
        let name = path.rsplit("::").next().unwrap_or_default();
        name.strip_prefix("Frozen").unwrap_or(name)
    }

    /// Whether the step can be computed in place. Where that saves a buffer, the output, of the size of the first input,
    /// holds that input's values, and [`run`](Self::run) receives the other inputs alone: none if there is but one, and
    /// of a sum of two only the second. Else it receives all inputs.
    fn in_place(&self) -> bool {
        false
    }

    /// Whether a step of two inputs gives the same bits if they are exchanged. It can then be computed
    /// [in place](Self::in_place) of either, if that has the output's size.
    fn commutes(&self) -> bool {
        false
    }

    /// The activation that the step is, if it is an elementwise one and nothing else. The step before it can
    /// [take it](Self::activate).
    #[doc(hidden)]
    fn activation(&self) -> Option<Kernel> {
        None
    }

    /// Asks the step to apply an elementwise activation to its output from now on; returns whether it will. It must
    /// return `false`, and change nothing, if it has an activation already.
    #[doc(hidden)]
    fn activate(&mut self, activation: Kernel) -> bool {
        let _ = activation;
        false
    }

    /// Whether the step is the sum of two inputs and nothing else. The step that computes the later of them can
    /// [add to](Self::accumulate) the other, if both have the output's size.
    fn is_sum(&self) -> bool {
        false
    }

    /// Asks the step to add its result to what the output holds, before an activation, from now on; returns whether it
    /// will. It must return `false`, and change nothing, if it has an activation already; after `true` an activation can
    /// still be fused into it. The output does not overlap the inputs.
    fn accumulate(&mut self) -> bool {
        false
    }

    /// Computes `samples` samples, contiguous in each input and in the output. Every value of the output must be
    /// written. Up to `threads` threads of the current rayon pool can be used; with 1 there must be no allocation after
    /// a first such call. Sizes can be 0: `chunks_exact(n.max(1))`.
    fn run(&self, inputs: &[&[f32]], samples: usize, threads: usize, output: &mut [f32]);
}

/// The compiled form of a layer.
#[derive(Debug)]
pub enum Frozen {
    /// No step: the output has the input's values, possibly in another shape.
    Same,
    /// One step.
    Step(Box<dyn FrozenStep>),
    /// A chain of steps, each with its number of output values per sample.
    Steps(Vec<(Box<dyn FrozenStep>, usize)>),
}

impl Frozen {
    /// This form followed by `next`; it has `len` output values per sample, the chain `end`.
    pub(crate) fn then(self, len: usize, next: Self, end: usize) -> Self {
        let list = |frozen: Self, len: usize| match frozen {
            Self::Same => Vec::new(),
            Self::Step(step) => vec![(step, len)],
            Self::Steps(steps) => steps,
        };
        let mut steps = list(self, len);
        steps.extend(list(next, end));
        Self::Steps(steps)
    }

    /// The step that computes the output, if there is one.
    pub(crate) fn last_mut(&mut self) -> Option<&mut (dyn FrozenStep + 'static)> {
        match self {
            Self::Same => None,
            Self::Step(step) => Some(&mut **step),
            Self::Steps(steps) => {
                let (step, _) = steps.last_mut()?;
                Some(&mut **step)
            }
        }
    }
}

impl<S: FrozenStep + 'static> From<S> for Frozen {
    fn from(step: S) -> Self {
        Self::Step(Box::new(step))
    }
}

/// The context for compiling a layer.
#[derive(Clone, Copy, Debug)]
pub struct Freezing<'a> {
    /// The sizes of each input, without the batch.
    pub inputs: &'a [Vec<usize>],
    /// The sizes of the output, without the batch.
    pub output: &'a [usize],
    /// The layer's weights; for a [`Fused`](super::Fused) its prepared ones.
    pub weights: &'a [Value],
    /// The zero padding of the only input, which the step has to apply itself: rows before and after, and columns; a
    /// line is an image of one row. All 0, unless the layer [takes a padding](super::Layer::takes_padding).
    pub padding: [(usize, usize); 2],
}

impl Freezing<'_> {
    /// The sizes of the only input, without the batch.
    pub fn input(&self) -> Option<&[usize]> {
        match self.inputs {
            [input] => Some(input),
            _ => None,
        }
    }

    /// The sizes of the only input with its [padding](Self::padding), without the batch.
    pub(crate) fn padded_input(&self) -> Option<Vec<usize>> {
        let mut sizes = self.input()?.to_vec();
        // From the end: the channels, the columns and, in an image, the rows.
        for (size, (before, after)) in sizes.iter_mut().rev().skip(1).zip(self.padding.iter().rev()) {
            *size = size.checked_add(*before)?.checked_add(*after)?;
        }
        Some(sizes)
    }

    /// The values of weight `index`.
    pub fn weight(&self, index: usize) -> Option<Vec<f32>> {
        self.weights.get(index)?.to_vec().ok()
    }
}

/// An activation at the end of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Epilogue {
    /// An element-wise activation.
    Each(Kernel),
    /// Softmax over the last axis.
    Softmax,
}

impl Epilogue {
    /// No activation.
    pub const NONE: Self = Self::Each(Kernel::Linear);

    /// The epilogue of an activation, if it has one.
    pub fn of(activation: &Activation) -> Option<Self> {
        match activation {
            Activation::Softmax => Some(Self::Softmax),
            other => ops::kernel_activation(other).map(Self::Each),
        }
    }

    /// Takes an elementwise activation, unless it has one already; returns whether it did.
    pub fn take(&mut self, activation: Kernel) -> bool {
        let is_free = *self == Self::NONE;
        if is_free {
            *self = Self::Each(activation);
        }
        is_free
    }

    /// The part that a kernel applies.
    pub fn inside(self) -> Kernel {
        match self {
            Self::Each(kernel) => kernel,
            Self::Softmax => Kernel::Linear,
        }
    }

    /// Applies the part that the kernel leaves, to rows of `width` values.
    pub fn outside(self, width: usize, values: &mut [f32]) {
        if self == Self::Softmax {
            softmax::softmax_in_place(width, values);
        }
    }
}

/// An activation as a step of its own, over rows of `width` values.
#[derive(Debug)]
pub(crate) struct Activated {
    pub epilogue: Epilogue,
    pub width: usize,
    pub len: usize,
}

impl Activated {
    /// The step of an activation; `None` if it has no kernel.
    pub fn step(activation: &Activation, freezing: &Freezing<'_>) -> Option<Frozen> {
        match Epilogue::of(activation)? {
            Epilogue::Each(kernel) => Self::each(kernel, freezing),
            epilogue => {
                let input = freezing.input()?;
                let width = input.last().copied().filter(|width| *width > 0)?;
                Some(Self { epilogue, width, len: input.iter().product() }.into())
            }
        }
    }

    /// The step of an element-wise activation.
    pub fn each(kernel: Kernel, freezing: &Freezing<'_>) -> Option<Frozen> {
        let len = freezing.input()?.iter().product();
        Some(match kernel {
            Kernel::Linear => Frozen::Same,
            _ => Self { epilogue: Epilogue::Each(kernel), width: 1, len }.into(),
        })
    }
}

impl FrozenStep for Activated {
    fn operations(&self) -> usize {
        self.len.saturating_mul(8)
    }

    fn in_place(&self) -> bool {
        true
    }

    fn activation(&self) -> Option<Kernel> {
        match self.epilogue {
            Epilogue::Each(kernel) => Some(kernel),
            Epilogue::Softmax => None,
        }
    }

    fn run(&self, inputs: &[&[f32]], samples: usize, threads: usize, output: &mut [f32]) {
        copied(inputs, output);
        let (epilogue, width) = (self.epilogue, self.width);
        each_part(threads, self.operations().saturating_mul(samples), output, width, |_, part| {
            epilogue.inside().apply(part);
            epilogue.outside(width, part);
        });
    }
}

/// Copies the input to the output, unless the step is computed in place.
pub(crate) fn copied(inputs: &[&[f32]], output: &mut [f32]) {
    if let [input] = inputs {
        output.copy_from_slice(input);
    }
}

/// Calls `work` with all values or, if there are enough operations, with parts of whole rows of `width` values on
/// several threads; the first argument is the index of the first row. Results must not depend on where parts are cut.
pub(crate) fn each_part(
    threads: usize,
    operations: usize,
    values: &mut [f32],
    width: usize,
    work: impl Fn(usize, &mut [f32]) + Sync + Send,
) {
    if threads <= 1 || parallel::threads_for(operations) <= 1 {
        return work(0, values);
    }
    let width = width.max(1);
    let rows = parallel::part_len_of(operations, values.len() / width, threads);
    let parts = values.chunks_mut(rows * width).enumerate().collect();
    parallel::each(threads, parts, |(part, values): (usize, &mut [f32])| work(part * rows, values));
}
