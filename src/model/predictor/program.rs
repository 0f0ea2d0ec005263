//! The compiled form of a predictor: steps over plain slices, in buffers allocated by liveness.

use crossbeam_queue::ArrayQueue;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use super::fusion::Fusion;
use super::layout::{Layout, Location, in_place};
use crate::error::{Error, Result};
use crate::kernels::aligned::{Aligned, Weights};
use crate::kernels::parallel;
use crate::layers::{Freezing, Frozen, FrozenStep};
use crate::memory::check_room;
use crate::model::plan::{PlanStep, PreparedPlan};
use crate::ops;

/// Maximum number of inputs of a step.
const MOST_INPUTS: usize = 16;
/// Maximum number of values in the buffers of a block of several samples: with the weights they stay in the last-level
/// cache.
const BLOCK: usize = 1 << 20;
/// Maximum number of samples in a block.
const MOST_SAMPLES: usize = 128;
/// Maximum number of arenas in the free list; more are dropped.
const MOST_KEPT: usize = 256;

/// A step with the locations of its values.
#[derive(Debug)]
struct ProgramStep {
    step: Box<dyn FrozenStep>,
    /// The location of each input, and its values per sample. A step computed in place finds one of them in the output,
    /// which is left out here.
    inputs: Vec<(Location, usize)>,
    output: (Location, usize),
    /// The index of the plan's step that it belongs to.
    of: usize,
}

/// The nanoseconds of each step, added up over threads.
pub(crate) type Nanoseconds = [AtomicU64];

/// The buffers of a call.
#[derive(Debug, Default)]
struct Arena {
    buffers: Vec<Aligned>,
    /// Their values as counted in [`Program::held`].
    counted: usize,
}

/// An arena in use, which goes back to its program even if a step panics.
struct ArenaInUse<'a> {
    program: &'a Program,
    arena: Arena,
}

impl Drop for ArenaInUse<'_> {
    fn drop(&mut self) {
        let mut arena = std::mem::take(&mut self.arena);
        // A step that panics takes its output's buffer with it.
        self.program.count(&mut arena);
        self.program.keep(arena);
    }
}

/// A compiled model.
#[derive(Debug)]
pub(crate) struct Program {
    steps: Vec<ProgramStep>,
    inputs: Vec<usize>,
    /// For each output its values per sample, and the location it is copied from unless a step writes it directly.
    outputs: Vec<(usize, Option<Location>)>,
    /// Values per sample of each buffer.
    buffers: Vec<usize>,
    /// Samples in a block.
    block: usize,
    /// Floating-point operations per sample.
    operations: usize,
    arenas: ArrayQueue<Arena>,
    /// Values in all arenas, in the free list or not.
    held: AtomicUsize,
}

impl Program {
    /// The compiled form of a plan, if all its steps have one and all sizes are known.
    pub(super) fn new(prepared: &PreparedPlan) -> Option<Self> {
        let plan = &*prepared.plan;
        let sizes: Vec<Vec<usize>> =
            plan.shapes.iter().map(|shape| shape.known_sample().ok()).collect::<Option<_>>()?;
        let lens: Vec<usize> = sizes.iter().map(|sizes| checked_len(sizes)).collect::<Option<_>>()?;
        let mut frozen = Vec::with_capacity(plan.steps.len());
        for (step, weights) in plan.steps.iter().zip(&prepared.weights) {
            frozen.push(freeze(step, weights, &sizes)?);
        }
        let fusion = Fusion::new(plan, &lens, frozen);
        let mut layout = Layout::new(plan, &fusion);
        let Fusion { frozen, origin, adds_to, .. } = fusion;

        let mut steps = Vec::new();
        for (index, (step, frozen)) in plan.steps.iter().zip(frozen).enumerate() {
            let parts = match frozen {
                Frozen::Same => continue,
                Frozen::Step(step_of_one) => vec![(step_of_one, lens[step.output])],
                Frozen::Steps(parts) => parts,
            };
            let origins: Vec<usize> = step.inputs.iter().map(|(id, _)| origin[*id]).collect();
            let mut inputs = Vec::with_capacity(origins.len());
            for id in &origins {
                inputs.push((layout.locations[*id]?, lens[*id]));
            }
            let mut ended = layout.ended(&origins, index);
            let count = parts.len();
            for (number, (part, len)) in parts.into_iter().enumerate() {
                let is_last = number + 1 == count;
                if is_last && len != lens[step.output] {
                    return None;
                }
                let (sum, output) = match is_last {
                    true => (adds_to[index], layout.as_output[step.output]),
                    false => (None, None),
                };
                let location = match (sum, output) {
                    (Some(other), _) => layout.locations[other]?,
                    (None, Some(output)) => Location::Output(output),
                    (None, None) => match in_place(&*part, len, &mut inputs, &mut ended) {
                        Some(location) => location,
                        None => layout.buffer(len),
                    },
                };
                for location in ended.drain(..) {
                    layout.free(location);
                }
                steps.push(ProgramStep {
                    step: part,
                    inputs: std::mem::take(&mut inputs),
                    output: (location, len),
                    of: index,
                });
                if is_last {
                    layout.locations[step.output] = Some(location);
                    // An unused value is freed immediately.
                    if layout.last_use[step.output] == 0 {
                        layout.free(location);
                    }
                } else {
                    inputs.push((location, len));
                    ended.push(location);
                }
            }
        }
        let mut outputs = Vec::with_capacity(plan.outputs.len());
        for id in plan.outputs.iter().map(|id| origin[*id]) {
            let location = layout.locations[id]?;
            outputs.push((lens[id], Some(location).filter(|location| !matches!(location, Location::Output(_)))));
        }
        Weights::gather(steps.iter_mut().flat_map(|entry: &mut ProgramStep| entry.step.weights_mut()));
        let sample: usize = layout.buffers.iter().fold(0, |all, len| all.saturating_add(*len));
        Some(Self {
            operations: steps.iter().fold(0, |all, step| all.saturating_add(step.step.operations())),
            steps,
            inputs: lens[..plan.feeds.len()].to_vec(),
            outputs,
            block: (BLOCK / sample.max(1)).clamp(1, MOST_SAMPLES),
            buffers: layout.buffers,
            arenas: ArrayQueue::new(MOST_KEPT),
            held: AtomicUsize::new(0),
        })
    }

    /// Values per sample of each output.
    pub fn output_lens(&self) -> impl Iterator<Item = usize> {
        self.outputs.iter().map(|(len, _)| *len)
    }

    /// Values in the buffers, outputs and workspace of a call, and how many of them a call would allocate now, if no
    /// other took the buffers that are free.
    pub fn values_for(&self, samples: usize) -> (usize, usize) {
        // Threads keep workspace for any kernel, so how much of it is there already is not known.
        let workspace = |samples: usize, threads: usize| {
            self.steps.iter().map(|entry| entry.step.workspace(samples, threads)).max().unwrap_or(0)
        };
        let (arenas, workspace) = match self.threads_for(samples) {
            (threads, Some(part)) => (threads.saturating_mul(part), workspace(part, 1).saturating_mul(threads)),
            (threads, None) => {
                let block = samples.min(self.block);
                (block, workspace(block, threads))
            }
        };
        let sum = |lens: &mut dyn Iterator<Item = usize>| lens.fold(0, usize::saturating_add);
        let buffers = sum(&mut self.buffers.iter().copied()).saturating_mul(arenas);
        let others = sum(&mut self.output_lens()).saturating_mul(samples).saturating_add(workspace);
        let more = buffers.saturating_sub(self.held.load(Ordering::Relaxed)).saturating_add(others);
        (buffers.saturating_add(others), more)
    }

    /// The threads that compute a batch, and the samples of a part if it is split between them.
    fn threads_for(&self, samples: usize) -> (usize, Option<usize>) {
        let threads = match samples {
            // Its dense layers may be worth sharing where other steps are not: each step decides for itself.
            1 => parallel::threads_for_row(self.operations),
            samples => parallel::threads_for(self.operations.saturating_mul(samples)),
        };
        if threads == 1 || samples < threads {
            return (threads, None);
        }
        let parts = (threads * samples.div_ceil(threads * self.block)).min(samples);
        (threads, Some(samples.div_ceil(parts)))
    }

    /// Computes a batch, whose samples are contiguous in each input and each output.
    ///
    /// # Errors
    /// [`Error::Shape`] for wrong numbers of inputs, outputs or values; [`Error::Memory`] if the buffers do not fit.
    pub fn run(&self, inputs: &[&[f32]], samples: usize, outputs: &mut [&mut [f32]]) -> Result<()> {
        self.run_timed(inputs, samples, outputs, None).map(|_| ())
    }

    /// For each step the plan's step that it belongs to, and the name of its kernel.
    pub fn kernels(&self) -> impl Iterator<Item = (usize, &'static str)> {
        self.steps.iter().map(|entry| (entry.of, entry.step.kernel()))
    }

    /// As [`run`](Self::run), adding the time of each step; returns the number of threads that each computed all steps
    /// of a part of the samples, over which the times are added up.
    pub fn run_timed(
        &self,
        inputs: &[&[f32]],
        samples: usize,
        outputs: &mut [&mut [f32]],
        times: Option<&Nanoseconds>,
    ) -> Result<usize> {
        let fits = |len: usize, values: usize| len.checked_mul(samples) == Some(values);
        let inputs_fit = self.inputs.len() == inputs.len()
            && self.inputs.iter().zip(inputs).all(|(len, values)| fits(*len, values.len()));
        let outputs_fit = self.outputs.len() == outputs.len()
            && self.outputs.iter().zip(&*outputs).all(|((len, _), values)| fits(*len, values.len()));
        if !inputs_fit || !outputs_fit {
            let outputs: Vec<usize> = self.output_lens().collect();
            let expected =
                format!("{samples} samples of inputs of {:?} values and outputs of {outputs:?}", self.inputs);
            return Err(Error::shape(expected, "other numbers of values"));
        }
        let threads = match self.threads_for(samples) {
            (threads, Some(part)) => {
                return self.run_shared(inputs, samples, outputs, (threads, part), times).map(|()| threads);
            }
            (threads, None) => threads,
        };
        self.with_arena(samples.min(self.block), |arena| {
            for first in (0..samples).step_by(self.block) {
                let count = self.block.min(samples - first);
                self.compute(arena, inputs, first..first + count, threads, (&mut *outputs, first), times);
            }
        })?;
        Ok(1)
    }

    /// As [`run`](Self::run), with the samples split between threads in parts.
    fn run_shared(
        &self,
        inputs: &[&[f32]],
        samples: usize,
        outputs: &mut [&mut [f32]],
        (threads, part): (usize, usize),
        times: Option<&Nanoseconds>,
    ) -> Result<()> {
        let mut tasks: Vec<(usize, Vec<&mut [f32]>)> =
            (0..samples).step_by(part).map(|first| (first, Vec::with_capacity(outputs.len()))).collect();
        for (values, (len, _)) in outputs.iter_mut().zip(&self.outputs) {
            // An output without values has no chunks.
            let mut chunks = values.chunks_mut((part * len).max(1));
            tasks.iter_mut().for_each(|(_, outputs)| outputs.push(chunks.next().unwrap_or_default()));
        }
        let done = parallel::each(threads, tasks, |(first, mut outputs)| {
            let count = part.min(samples - first);
            self.with_arena(count, |arena| {
                self.compute(arena, inputs, first..first + count, 1, (&mut outputs, 0), times);
            })
        });
        done.into_iter().collect()
    }

    /// Calls `work` with an arena for `samples` samples.
    fn with_arena(&self, samples: usize, work: impl FnOnce(&mut Arena)) -> Result<()> {
        let mut used = ArenaInUse { program: self, arena: self.arenas.pop().unwrap_or_default() };
        self.grow(&mut used.arena, samples)?;
        work(&mut used.arena);
        Ok(())
    }

    /// Puts an arena into the free list; if that is full, it is dropped.
    fn keep(&self, arena: Arena) {
        if let Err(arena) = self.arenas.push(arena) {
            self.held.fetch_sub(arena.counted, Ordering::Relaxed);
        }
    }

    /// Counts the values that an arena has now.
    fn count(&self, arena: &mut Arena) {
        let values = arena.buffers.iter().map(|buffer| buffer.len()).fold(0, usize::saturating_add);
        self.held.fetch_add(values.saturating_sub(arena.counted), Ordering::Relaxed);
        self.held.fetch_sub(arena.counted.saturating_sub(values), Ordering::Relaxed);
        arena.counted = values;
    }

    fn grow(&self, arena: &mut Arena, samples: usize) -> Result<()> {
        let wanted = |len: &usize| len.saturating_mul(samples);
        let is_short = |(buffer, len): (&Aligned, &usize)| buffer.len() < wanted(len);
        if arena.buffers.len() == self.buffers.len() && !arena.buffers.iter().zip(&self.buffers).any(is_short) {
            return Ok(());
        }
        arena.buffers.resize_with(self.buffers.len(), Aligned::default);
        let all = self.buffers.iter().fold(0usize, |all, len| all.saturating_add(wanted(len)));
        check_room("the buffers of a prediction", all)?;
        for (buffer, len) in arena.buffers.iter_mut().zip(&self.buffers) {
            if buffer.len() < wanted(len) {
                // Free it before allocating the next.
                *buffer = Aligned::default();
                *buffer = Aligned::zeros(wanted(len));
            }
        }
        self.count(arena);
        Ok(())
    }

    /// Computes the samples in `range`, written from sample `from` on in the outputs; adds to the times of the steps.
    fn compute(
        &self,
        arena: &mut Arena,
        inputs: &[&[f32]],
        range: Range<usize>,
        threads: usize,
        (outputs, from): (&mut [&mut [f32]], usize),
        times: Option<&Nanoseconds>,
    ) {
        let count = range.len();
        let of_input = |input: usize, len: usize| &inputs[input][range.start * len..range.end * len];
        for (index, entry) in self.steps.iter().enumerate() {
            let begin = times.map(|_| Instant::now());
            let (location, len) = entry.output;
            let mut taken = match location {
                Location::Buffer(buffer) => std::mem::take(&mut arena.buffers[buffer]),
                _ => Aligned::default(),
            };
            let output = match location {
                Location::Output(output) => &mut outputs[output][from * len..(from + count) * len],
                _ => &mut taken[..count * len],
            };
            let mut values: [&[f32]; MOST_INPUTS] = [&[]; MOST_INPUTS];
            for (value, (location, len)) in values.iter_mut().zip(&entry.inputs) {
                *value = match location {
                    Location::Input(input) => of_input(*input, *len),
                    Location::Buffer(buffer) => &arena.buffers[*buffer][..count * len],
                    Location::Output(_) => unreachable!("a value written to an output is not read by a step"),
                };
            }
            entry.step.run(&values[..entry.inputs.len()], count, threads, output);
            if let Location::Buffer(buffer) = location {
                arena.buffers[buffer] = taken;
            }
            if let (Some(times), Some(begin)) = (times, begin) {
                times[index].fetch_add(begin.elapsed().as_nanos() as u64, Ordering::Relaxed);
            }
        }
        for (output, (len, location)) in outputs.iter_mut().zip(&self.outputs) {
            let value = match location {
                Some(Location::Input(input)) => of_input(*input, *len),
                Some(Location::Buffer(buffer)) => &arena.buffers[*buffer][..count * len],
                _ => continue,
            };
            output[from * len..(from + count) * len].copy_from_slice(value);
        }
    }
}

/// The number of values of a sample; `None` if it is 0 or overflows.
fn checked_len(sizes: &[usize]) -> Option<usize> {
    sizes.iter().try_fold(1usize, |len, size| len.checked_mul(*size)).filter(|len| *len > 0)
}

/// The compiled form of a step, if it has one.
fn freeze(step: &PlanStep, weights: &[ops::Value], sizes: &[Vec<usize>]) -> Option<Frozen> {
    if step.outputs != 1 || !step.masks.is_empty() {
        return None;
    }
    let inputs: Vec<Vec<usize>> = step.inputs.iter().map(|(id, _)| sizes[*id].clone()).collect();
    if inputs.is_empty() || inputs.len() > MOST_INPUTS {
        return None;
    }
    let freezing = Freezing { inputs: &inputs, output: &sizes[step.output], weights, padding: [(0, 0); 2] };
    let frozen = match &step.fused {
        // A call with arguments is not fused.
        Some(fused) => fused.frozen_step(&freezing),
        None => step.layer.frozen_step_for(&freezing, &step.arguments),
    }?;
    let is_same = matches!(&frozen, Frozen::Same) || matches!(&frozen, Frozen::Steps(steps) if steps.is_empty());
    let of_one = inputs.len() == 1 && checked_len(&inputs[0]) == checked_len(&sizes[step.output]);
    match (is_same, of_one) {
        (true, true) => Some(Frozen::Same),
        (true, false) => None,
        (false, _) => Some(frozen),
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// Repeats the input; panics for a negative one.
    #[derive(Debug)]
    struct Fragile;

    impl FrozenStep for Fragile {
        fn operations(&self) -> usize {
            1
        }

        fn workspace(&self, samples: usize, threads: usize) -> usize {
            samples * threads * 100
        }

        fn run(&self, inputs: &[&[f32]], _: usize, _: usize, output: &mut [f32]) {
            let [input] = inputs else { unreachable!("a step of one input") };
            assert!(input.iter().all(|value| *value >= 0.0), "a negative number");
            for (value, output) in input.iter().zip(output.chunks_exact_mut(4)) {
                output.fill(*value);
            }
        }
    }

    /// A step of one value to four, in a buffer that is copied to the output.
    fn program(operations: usize) -> Program {
        let (input, output) = ((Location::Input(0), 1), (Location::Buffer(0), 4));
        Program {
            steps: vec![ProgramStep { step: Box::new(Fragile), inputs: vec![input], output, of: 0 }],
            inputs: vec![1],
            outputs: vec![(4, Some(output.0))],
            buffers: vec![4],
            block: 8,
            operations,
            arenas: ArrayQueue::new(MOST_KEPT),
            held: AtomicUsize::new(0),
        }
    }

    #[test]
    fn a_buffer_lost_by_a_panic_is_not_counted_as_held() {
        let program = program(1);
        let held = || program.held.load(Ordering::Relaxed);
        let run = |value: f32| {
            let mut output = [0.0; 4];
            program.run(&[&[value]], 1, &mut [&mut output]).unwrap();
            output
        };
        assert_eq!((run(1.0), held()), ([1.0; 4], 4));
        for _ in 0..3 {
            assert!(catch_unwind(AssertUnwindSafe(|| run(-1.0))).is_err());
            assert_eq!((held(), program.arenas.len()), (0, 1));
        }
        assert_eq!((run(2.0), held()), ([2.0; 4], 4));
    }

    #[test]
    fn the_values_of_a_call_include_the_workspace() {
        let small = program(1);
        // Buffers, outputs and workspace of three samples, and of a block of eight of the nine.
        assert_eq!(small.values_for(3), (3 * 4 + 3 * 4 + 300, 3 * 4 + 3 * 4 + 300));
        assert_eq!(small.values_for(9).0, 8 * 4 + 9 * 4 + 800);
        small.run(&[&[1.0; 3]], 3, &mut [&mut [0.0; 12]]).unwrap();
        assert_eq!(small.values_for(3).1, 3 * 4 + 300);
        assert_eq!(small.values_for(usize::MAX).0, usize::MAX);
        // Two threads, each with a part of four samples of its own.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        assert_eq!(pool.install(|| program(1 << 30).values_for(8)).0, 8 * 4 + 8 * 4 + 2 * 400);
    }
}
