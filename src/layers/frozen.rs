//! Layers as steps of a [`Predictor`](crate::model::Predictor): made once, computed on plain slices.
//!
//! A predictor asks each step of a model's plan for its compiled form, [`Layer::frozen_step`](super::Layer::frozen_step)
//! and [`Fused::frozen_step`](super::Fused::frozen_step), which stands in the layer's own file. Where one has none the
//! whole model is computed by its layers.

use std::fmt::Debug;

use crate::activations::Activation;
use crate::kernels::activation::Activation as Kernel;
use crate::kernels::{parallel, softmax};
use crate::ops::{self, Value};

/// A step of a predictor: what a layer computes outside training, for inputs of sizes that are known.
///
/// What is computed for a sample may depend on that sample alone, in every bit: on no other sample, on neither the number
/// of samples nor that of threads.
pub trait FrozenStep: Debug + Send + Sync {
    /// Floating-point operations for one sample, or what takes as long. By them work is shared between threads.
    fn operations(&self) -> usize;

    /// Whether the step can be computed in place: the output, as large as the only input, then holds the input's values
    /// when [`run`](Self::run) is called, which is given no input.
    fn in_place(&self) -> bool {
        false
    }

    /// Computes `samples` samples, which lie one after another in each input and in the output. Every value of the output
    /// is to be written. Up to `threads` threads of the current rayon pool may be used; with 1 there is to be no
    /// allocation once a call like it has been made.
    fn run(&self, inputs: &[&[f32]], samples: usize, threads: usize, output: &mut [f32]);
}

/// What a layer becomes in a predictor.
#[derive(Debug)]
pub enum Frozen {
    /// Nothing: the output is the input's values, perhaps in another shape.
    Same,
    /// A step.
    Step(Box<dyn FrozenStep>),
    /// Several steps, each of which takes what the one before gives: so many values for a sample.
    Steps(Vec<(Box<dyn FrozenStep>, usize)>),
}

impl Frozen {
    /// This and then `next`; this one gives `len` values for a sample, and both together `end`.
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
}

impl<S: FrozenStep + 'static> From<S> for Frozen {
    fn from(step: S) -> Self {
        Self::Step(Box::new(step))
    }
}

/// What a layer is given when it is to become a step of a predictor.
#[derive(Clone, Copy, Debug)]
pub struct Freezing<'a> {
    /// The sizes of a sample of each input.
    pub inputs: &'a [Vec<usize>],
    /// The sizes of a sample of the output.
    pub output: &'a [usize],
    /// The layer's weights; for a [`Fused`](super::Fused) those that it has prepared.
    pub weights: &'a [Value],
}

impl Freezing<'_> {
    /// The sizes of a sample of the only input.
    pub fn input(&self) -> Option<&[usize]> {
        match self.inputs {
            [input] => Some(input),
            _ => None,
        }
    }

    /// The numbers of weight `index`.
    pub fn weight(&self, index: usize) -> Option<Vec<f32>> {
        self.weights.get(index)?.to_vec().ok()
    }
}

/// An activation at the end of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Epilogue {
    /// One that looks at each value alone.
    Each(Kernel),
    /// Softmax over the last axis.
    Softmax,
}

impl Epilogue {
    /// That of an activation, if there is one.
    pub fn of(activation: &Activation) -> Option<Self> {
        match activation {
            Activation::Softmax => Some(Self::Softmax),
            other => ops::kernel_activation(other).map(Self::Each),
        }
    }

    /// The part that a kernel applies.
    pub fn inside(self) -> Kernel {
        match self {
            Self::Each(kernel) => kernel,
            Self::Softmax => Kernel::Linear,
        }
    }

    /// What is left to apply after the kernel, to rows of `width` values.
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
    /// The step of an activation, or nothing where it is none.
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

    /// The step of an activation that looks at each value alone.
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

    fn run(&self, inputs: &[&[f32]], _: usize, threads: usize, output: &mut [f32]) {
        copied(inputs, output);
        let (epilogue, width) = (self.epilogue, self.width);
        each_part(threads, self.operations(), output, width, |part| {
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

/// Calls `work` with all values, or where there is much to do, with parts of whole rows of `width` values on several
/// threads.
pub(crate) fn each_part(
    threads: usize,
    operations: usize,
    values: &mut [f32],
    width: usize,
    work: impl Fn(&mut [f32]) + Sync + Send,
) {
    if threads <= 1 || parallel::threads_for(operations) <= 1 {
        return work(values);
    }
    let rows = parallel::part_len(values.len() / width.max(1), threads);
    parallel::each(threads, values.chunks_mut((rows * width).max(1)).collect(), work);
}
