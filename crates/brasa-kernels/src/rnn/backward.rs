//! Shared parts of the backward passes: the batch in parts, and the sums of the parts' gradients.

use super::super::window::{check_len, even_offsets, size_of};
use super::super::{parallel, scratch};
use super::{OutputGradient, PackedMatrix, Recurrent, WeightGradients, Weights, at, packed};
use crate::gemm::{InitialC, Right, product};

impl OutputGradient<'_> {
    /// Adds the gradient of step `t` of a sample to `dh`.
    pub(super) fn add_step(&self, sizes: &Recurrent, sample: usize, t: usize, dh: &mut [f32]) {
        match self {
            OutputGradient::Sequence(dy) => parallel::add(&dy[at(sizes.steps, sizes.units, sample, t)], dh),
            OutputGradient::Last(dy) if t + 1 == sizes.steps => {
                parallel::add(&dy[sample * sizes.units..][..sizes.units], dh)
            }
            OutputGradient::Last(_) => {}
        }
    }
}

/// Some samples of the batch with all their steps.
pub struct BatchPart<'a> {
    /// The first of the samples.
    pub first: usize,
    /// Number of samples.
    pub samples: usize,
    /// The outputs of all steps.
    pub h: &'a [f32],
    /// The gradient of the recurrent weights, accumulated.
    pub recurrent: &'a mut [f32],
    /// The gradient of the bias, accumulated.
    pub bias: &'a mut [f32],
    /// The gradients of the initial states, overwritten; `None` where not wanted.
    pub states: [Option<&'a mut [f32]>; 2],
    x: &'a [f32],
    kernel: &'a PackedMatrix<'a>,
    of_kernel: &'a mut [f32],
    of_x: Option<&'a mut [f32]>,
}

impl BatchPart<'_> {
    /// Adds the gradient of the kernel and writes that of the inputs, given the gradients `da` of the inputs' share of
    /// the gates.
    pub fn add_inputs(&mut self, da: &[f32]) {
        let (inputs, width) = (self.kernel.columns, self.kernel.depth);
        let rows = da.len() / width;
        add_weights_gradient(rows, (self.x, inputs), (da, width), self.of_kernel);
        if let Some(dx) = &mut self.of_x {
            self.kernel.all(rows, da, dx, InitialC::Zero);
        }
    }
}

/// Values of the sums of gradients, one of each task, where there are not more threads: 32 MiB.
const SUMS_MOST: usize = 8 << 20;

/// Arguments shared by all backward passes.
pub struct Backward<'a> {
    pub sizes: &'a Recurrent,
    pub x: &'a [f32],
    pub weights: &'a Weights<'a>,
    pub h: &'a [f32],
    pub dy: OutputGradient<'a>,
    pub dx: Option<&'a mut [f32]>,
    /// The gradients of the initial states; `None` where not wanted.
    pub states: [Option<&'a mut [f32]>; 2],
    pub gradients: WeightGradients<'a>,
}

impl Backward<'_> {
    /// Calls `work` with each part of the batch, and adds up the gradients of all parts. There are `gates` gates, and a
    /// bias has the size of `biases` gates.
    ///
    /// # Panics
    /// If a slice's length does not match the sizes, or if an activation's gradient does not follow from its output.
    pub fn in_parts(self, gates: usize, biases: usize, work: impl Fn(BatchPart) + Send + Sync) {
        let Self { sizes, x, weights, h, dy, dx, mut states, gradients } = self;
        let Recurrent { steps, inputs, units, .. } = *sizes;
        let (width, biases_len) = (size_of(&[gates, units]), size_of(&[biases, units]));
        sizes.check(weights, x, gates, biases);
        sizes.check_gradient(dy);
        check_len("the output", h.len(), sizes.outputs());
        check_len("the kernel's gradient", gradients.kernel.len(), weights.kernel.len());
        check_len("the recurrent kernel's gradient", gradients.recurrent.len(), weights.recurrent.len());
        gradients.bias.iter().for_each(|bias| check_len("the bias's gradient", bias.len(), biases_len));
        dx.iter().for_each(|dx| check_len("the gradient of the input", dx.len(), x.len()));
        for state in states.iter_mut().flatten() {
            check_len("the gradient of the initial state", state.len(), size_of(&[sizes.batch, units]));
            // For sequences without steps.
            state.fill(0.0);
        }
        let (threads, samples) = sizes.parts(gates);
        let one = (inputs + units) * width + biases_len;
        // A task takes several parts where one sum for each would take too much memory.
        let parts = sizes.batch.div_ceil(samples);
        let wanted = (SUMS_MOST / one.max(1)).max(threads).clamp(1, parts.max(1));
        let parts_of_task = parts.div_ceil(wanted).max(1);
        let tasks = parts.div_ceil(parts_of_task);
        scratch::with_zeros(one * tasks.max(1), |sums| {
            if !h.is_empty() {
                let mut states_of = states.map(|state| state.map(|state| state.chunks_mut((samples * units).max(1))));
                let mut inputs_of = dx.map(|dx| dx.chunks_mut((samples * steps * inputs).max(1)));
                let parts = h.chunks(samples * steps * units).enumerate().map(|(i, h)| {
                    let states = states_of.each_mut().map(|state| state.as_mut().and_then(Iterator::next));
                    (i * samples, h, inputs_of.as_mut().and_then(|dx| dx.next()), states)
                });
                let mut tasks: Vec<(&mut [f32], Vec<_>)> =
                    sums.chunks_exact_mut(one).map(|sums| (sums, Vec::with_capacity(parts_of_task))).collect();
                parts.enumerate().for_each(|(i, part)| tasks[i / parts_of_task].1.push(part));
                packed(weights.kernel, (inputs, width), true, |kernel| {
                    parallel::each(threads, tasks, |(sums, parts)| {
                        let (of_kernel, rest) = sums.split_at_mut(inputs * width);
                        let (recurrent, bias) = rest.split_at_mut(units * width);
                        for (first, h, of_x, states) in parts {
                            let samples = h.len() / (steps * units);
                            work(BatchPart {
                                first,
                                samples,
                                h,
                                recurrent: &mut *recurrent,
                                bias: &mut *bias,
                                states,
                                x: &x[first * steps * inputs..][..samples * steps * inputs],
                                kernel: &kernel,
                                of_kernel: &mut *of_kernel,
                                of_x,
                            });
                        }
                    });
                });
            }
            let (first, others) = sums.split_at_mut(one);
            parallel::add_parts(others, first);
            let (kernel, rest) = first.split_at(inputs * width);
            let (recurrent, bias) = rest.split_at(units * width);
            gradients.kernel.copy_from_slice(kernel);
            gradients.recurrent.copy_from_slice(recurrent);
            gradients.bias.into_iter().for_each(|own| own.copy_from_slice(bias));
        });
    }
}

/// The outputs shifted by one step: each sequence begins with its initial state.
pub fn shifted(sizes: &Recurrent, h: &[f32], initial: Option<&[f32]>, before: &mut [f32]) {
    let Recurrent { steps, units, .. } = *sizes;
    for (i, (before, h)) in before.chunks_exact_mut(steps * units).zip(h.chunks_exact(steps * units)).enumerate() {
        match initial {
            Some(initial) => before[..units].copy_from_slice(&initial[i * units..][..units]),
            None => before[..units].fill(0.0),
        }
        before[units..].copy_from_slice(&h[..(steps - 1) * units]);
    }
}

/// `dw += aᵀ · dz` for `rows` contiguous rows, of `inputs` and of `width` values.
pub fn add_weights_gradient(rows: usize, (a, inputs): (&[f32], usize), (dz, width): (&[f32], usize), dw: &mut [f32]) {
    let (lefts, steps) = (even_offsets(inputs, 1), even_offsets(rows, inputs));
    let right = Right::Rows { data: dz, stride: width };
    product((a, &lefts, &steps), right, width, (dw, &even_offsets(inputs, width)), InitialC::Add);
}
