//! The time of a model's steps, layer by layer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ndarray::ArrayViewD;
use serde::Serialize;

use super::Model;
use super::forward::Mode;
use super::plan::{Plan, PlanStep, PreparedPlan, Purpose};
use crate::error::{Error, Result};
use crate::layers::{Layer, in_layer};
use crate::ops::{self, Value};
use crate::shape::Shape;

/// Layers whose weights are used at each step of a sequence.
const RECURRENT: [&str; 5] = ["LSTM", "GRU", "SimpleRNN", "Bidirectional", "RNN"];

/// The sizes and the values of each input.
type TimedInputs = (Vec<Vec<usize>>, Vec<Vec<f32>>);

/// The cost of a step of a model: of a layer, or of several fused ones.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerTime {
    /// The names of the layers.
    pub layers: Vec<String>,
    /// The names of the kernels of the compiled form; empty where the layer's forward pass computes, or where there is
    /// nothing to compute, as for a sum that the step of one of its inputs forms.
    pub kernels: Vec<String>,
    /// Seconds of the forward pass.
    pub forward_seconds: f64,
    /// Seconds of the backward pass, in training.
    pub backward_seconds: Option<f64>,
    /// Floating-point operations of the forward pass and, in training, of the backward pass: those of products with
    /// weights and of attention, a multiply-add as two. A step without products counts one for each value that it
    /// reads. Winograd's algorithm needs fewer.
    pub operations: u64,
    /// Bytes of its inputs, outputs and weights, each once for each pass over them.
    pub bytes: u64,
}

impl Model {
    /// The time of each step of a prediction for these inputs, a batch: the mean of `repetitions`, after one that is
    /// not counted.
    ///
    /// A step of a compiled model ([`Predictor::is_compiled`](crate::model::Predictor::is_compiled)) that several
    /// threads compute at once, each for other samples, counts as the sum of their times divided by their number.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(16).activation("relu").input_shape(4))?.add(Dense::new(3))?;
    /// let x = ndarray::Array2::<f32>::zeros((8, 4)).into_dyn();
    /// let times = model.time_prediction(&[x.view()], 10)?;
    /// assert_eq!((times[0].layers[0].as_str(), times[0].operations), ("dense", 2 * 8 * 4 * 16));
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`predict`](Model::predict); [`Error::Unsupported`] on a GPU, which computes behind the program's back, and
    /// for texts.
    pub fn time_prediction(&self, inputs: &[ArrayViewD<'_, f32>], repetitions: usize) -> Result<Vec<LayerTime>> {
        let (sizes, values) = self.timed_inputs(inputs)?;
        let samples = sizes[0][0];
        let skip_final = vec![false; self.graph.outputs().len()];
        let purpose = Purpose { training: false, skip_final, unfused: false, behind_images: false };
        let plan = self.plan(&purpose)?;
        let mut times = self.untimed(&plan, &sizes, false)?;
        let repetitions = repetitions.max(1);
        let Some(program) = self.program()? else {
            let weights = PreparedPlan::new(plan.clone(), &self.plain_weights()?)?.weights;
            for repetition in 0..=repetitions {
                let inputs = self.timed_values(&sizes, &values)?;
                self.pass_timed(&plan, &weights, inputs, Mode::Inference, |index, forward, _| {
                    times[index].forward_seconds += if repetition > 0 { forward / repetitions as f64 } else { 0.0 };
                })?;
            }
            return Ok(times);
        };
        let slices: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
        let mut outputs: Vec<Vec<f32>> = program.output_lens().map(|len| ops::buffer(len * samples)).collect();
        let mut run = |nanoseconds: Option<&[AtomicU64]>| {
            let mut outputs: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
            program.run_timed(&slices, samples, &mut outputs, nanoseconds)
        };
        let kernels: Vec<(usize, &str)> = program.kernels().collect();
        let nanoseconds: Vec<AtomicU64> = kernels.iter().map(|_| AtomicU64::new(0)).collect();
        let mut threads = run(None)?;
        for _ in 0..repetitions {
            threads = run(Some(&nanoseconds))?;
        }
        for ((of, kernel), nanoseconds) in kernels.iter().zip(&nanoseconds) {
            let seconds = nanoseconds.load(Ordering::Relaxed) as f64 * 1e-9;
            times[*of].forward_seconds += seconds / (repetitions * threads.max(1)) as f64;
            times[*of].kernels.push((*kernel).to_owned());
        }
        Ok(times)
    }

    /// The time of each step of the forward and backward pass of training for these inputs, a batch: the mean of
    /// `repetitions`, after one that is not counted.
    ///
    /// Each step's two passes are computed by themselves, one step after the other, with the actual inputs and a
    /// gradient of ones. The rest of a training step (the loss, metrics, the optimizer, the data) is not part
    /// of it, nor is the effect of the passes on each other's caches. The model does not change.
    ///
    /// # Errors
    /// As [`time_prediction`](Self::time_prediction).
    pub fn time_training(&self, inputs: &[ArrayViewD<'_, f32>], repetitions: usize) -> Result<Vec<LayerTime>> {
        let (sizes, values) = self.timed_inputs(inputs)?;
        let skip_final = vec![false; self.graph.outputs().len()];
        let plan = self.plan(&Purpose { training: true, skip_final, unfused: false, behind_images: false })?;
        let mut times = self.untimed(&plan, &sizes, true)?;
        let own = self.plain_weights()?;
        let of_step = |step: &PlanStep| step.weights.iter().flat_map(|range| range.of(&own)).cloned().collect();
        let weights: Vec<Vec<Value>> = plan.steps.iter().map(of_step).collect();
        let repetitions = repetitions.max(1);
        for repetition in 0..=repetitions {
            let inputs = self.timed_values(&sizes, &values)?;
            let mode = Mode::Training { seed: 0, step: repetition as u64 };
            self.pass_timed(&plan, &weights, inputs, mode, |index, forward, backward| {
                let share = if repetition > 0 { 1.0 / repetitions as f64 } else { 0.0 };
                times[index].forward_seconds += forward * share;
                *times[index].backward_seconds.get_or_insert(0.0) += backward * share;
            })?;
        }
        Ok(times)
    }

    /// The sizes and the values of inputs, checked.
    fn timed_inputs(&self, inputs: &[ArrayViewD<'_, f32>]) -> Result<TimedInputs> {
        if self.stage().is_some() {
            return Err(Error::unsupported("times of a model of texts", "models of numbers"));
        }
        if !ops::has_kernels(self.device()) {
            return Err(Error::unsupported(
                "times by layer on a GPU, which computes later than asked",
                "a CPU backend",
            ));
        }
        let sizes: Vec<Vec<usize>> = inputs.iter().map(|input| input.shape().to_vec()).collect();
        self.accept_all(&sizes)?;
        if sizes.iter().any(|sizes| sizes.contains(&0)) {
            return Err(Error::data("inputs to time", "at least one sample", "none"));
        }
        let values: Vec<Vec<f32>> = inputs.iter().map(|input| input.iter().copied().collect()).collect();
        for (index, values) in values.iter().enumerate() {
            self.check_input(index, values)?;
        }
        Ok((sizes, values))
    }

    fn timed_values(&self, sizes: &[Vec<usize>], values: &[Vec<f32>]) -> Result<Vec<Value>> {
        sizes.iter().zip(values).map(|(sizes, values)| Value::from_vec(values.clone(), sizes, self.device())).collect()
    }

    /// The steps of a plan without their times.
    fn untimed(&self, plan: &Plan, sizes: &[Vec<usize>], training: bool) -> Result<Vec<LayerTime>> {
        let own = self.plain_weights()?;
        let samples = sizes[0][0];
        let shapes: Vec<Shape> = plan.shapes.iter().map(|shape| shape.with_batch(samples)).collect();
        let of_step = |step: &PlanStep| {
            let inputs: Vec<&Shape> = step.inputs.iter().map(|(id, _)| &shapes[*id]).collect();
            let read: usize = inputs.iter().map(|shape| shape.known_len()).fold(0, usize::saturating_add);
            let written: usize = (step.output..step.output + step.outputs)
                .map(|id| shapes[id].known_len())
                .fold(0, usize::saturating_add);
            let weights: Vec<&Value> = step.weights.iter().flat_map(|range| range.of(&own)).collect();
            let held: usize = weights.iter().map(|weight| weight.len()).fold(0, usize::saturating_add);
            let weighted = match (&step.fused, &inputs[..]) {
                (Some(fused), [input]) => fused.weighted(input),
                _ => None,
            };
            let first = step.weights.iter().find(|range| range.count > 0).map_or(&[][..], |range| range.of(&own));
            let products = match &weighted {
                Some((layer, input)) => products(*layer, &[input], first),
                None => products(&*step.layer, &inputs, first),
            };
            let passes = |fed: bool| match (training, fed) {
                (false, _) => 1,
                // The gradients of the weights, and those of inputs that are not the model's.
                (true, true) => 2,
                (true, false) => 3,
            };
            let fed = step.inputs.iter().all(|(id, _)| plan.feeds.contains(id));
            let bytes = read.saturating_add(written).saturating_add(held).saturating_mul(size_of::<f32>());
            LayerTime {
                layers: step.names.clone(),
                kernels: Vec::new(),
                forward_seconds: 0.0,
                backward_seconds: None,
                operations: products.unwrap_or(read).saturating_mul(passes(fed)) as u64,
                bytes: bytes.saturating_mul(passes(fed)) as u64,
            }
        };
        Ok(plan.steps.iter().map(of_step).collect())
    }

    /// Computes a plan step by step; `each` is called with the seconds of each step's forward and backward pass.
    fn pass_timed(
        &self,
        plan: &Plan,
        weights: &[Vec<Value>],
        inputs: Vec<Value>,
        mode: Mode,
        mut each: impl FnMut(usize, f64, f64),
    ) -> Result<()> {
        let training = mode != Mode::Inference;
        let states = self.kept.clone();
        let root = self.root(mode).keeping(&states);
        let mut values: Vec<Option<Value>> = inputs.into_iter().map(Some).collect();
        values.resize(plan.value_count, None);
        let mut masks: Vec<Option<Value>> = vec![None; plan.value_count];
        let missing =
            || Error::State { action: "compute", needs: "planned: a value is used before it is computed".into() };
        for (index, step) in plan.steps.iter().enumerate() {
            let layer = &*step.layer;
            let tracked = |value: &Value| if training { value.clone().require_grad() } else { value.clone() };
            let own: Vec<Value> = weights[index].iter().map(tracked).collect();
            let mut inputs = Vec::with_capacity(step.inputs.len());
            for (id, _) in &step.inputs {
                let value = values[*id].as_ref().ok_or_else(missing)?;
                inputs.push(if plan.feeds.contains(id) { value.clone() } else { tracked(value) });
            }
            let mut input_masks: Vec<Option<Value>> = step.inputs.iter().map(|(id, _)| masks[*id].clone()).collect();
            for (mask, given) in input_masks.iter_mut().zip(&step.masks) {
                *mask = given.map(|(id, _)| values[id].clone().ok_or_else(missing)).transpose()?;
            }
            let mut call =
                root.part_at(&own, &step.key).given(input_masks, &step.arguments).masks_given(!step.masks.is_empty());
            call.restrict(step.trainable);
            call.set_skip_final_activation(step.skip_final);
            let begin = Instant::now();
            let outputs = in_layer(layer, step.run(inputs, &mut call))?;
            let forward = begin.elapsed().as_secs_f64();
            let (_, _, left) = call.finish(step.outputs, step.keeps_mask);
            let begin = Instant::now();
            if training && let Some(sum) = outputs.iter().map(|output| output.clone().sum()).reduce(|a, b| a + b) {
                drop(sum.backward());
            }
            each(index, forward, if training { begin.elapsed().as_secs_f64() } else { 0.0 });
            for (offset, (output, mask)) in outputs.into_iter().zip(left).enumerate() {
                values[step.output + offset] = Some(output.detach());
                masks[step.output + offset] = mask.map(Value::detach);
            }
        }
        Ok(())
    }
}

/// The floating-point operations of a layer's products with its weights, and of attention; `None` if it has none.
fn products(layer: &dyn Layer, inputs: &[&Shape], weights: &[Value]) -> Option<usize> {
    let class = layer.class_name();
    let input = inputs.first()?;
    let samples = input.sizes()[0].unwrap_or(1);
    if class.ends_with("Embedding") {
        return None;
    }
    let kernels = || weights.iter().filter(|weight| weight.rank() > 1);
    let held: usize = kernels().map(Value::len).fold(0, usize::saturating_add);
    let positions_of = |shape: &Shape, channels: usize| shape.known_len() / channels.max(1) / samples.max(1);
    let positions = if RECURRENT.contains(&class) {
        input.sizes().get(1).copied().flatten().unwrap_or(1)
    } else if class.ends_with("Transpose") {
        // (Of the kernel the channels of the input are last.)
        positions_of(input, kernels().next()?.sizes().last().copied()?)
    } else {
        let output = layer.output_shape(input).ok()?;
        let channels = match class.starts_with("Depthwise") {
            true => kernels().next()?.sizes().iter().rev().take(2).product(),
            false => kernels().next_back()?.sizes().last().copied()?,
        };
        positions_of(&output.with_batch(samples), channels)
    };
    let all = held.saturating_mul(positions).saturating_mul(2).saturating_mul(samples);
    (all > 0).then_some(all)
}
