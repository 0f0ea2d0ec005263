//! The forward pass through the layers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::Model;
use super::as_model::nested_model;
use super::graph::{Node, positional_shapes, shapes_of};
use super::plan::{Plan, PlanStep, PreparedPlan, Purpose};
use super::plans::PredictedShapes;
use super::stage::HostSplit;
use crate::activations::Activation;
use crate::error::{Error, Result};
use crate::layers::{BatchPart, Call, KeptStates, Layer, Update, WeightSpec, in_layer};
use crate::ops::Value;
use crate::shape::Shape;

/// The mode of a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// As in `predict`: nothing is dropped, statistics are used as they are.
    Inference,
    /// As in `fit`: dropout drops, statistics are updated; random numbers derive from the seed and the step.
    Training {
        /// The run's seed.
        seed: u64,
        /// The number of steps before this one.
        step: u64,
    },
}

/// The results of a forward pass.
#[derive(Debug)]
pub(crate) struct Forward {
    /// The outputs, without the last activation where it is skipped.
    pub outputs: Vec<Value>,
    /// For each output the mask of its time steps, if it has one.
    pub masks: Vec<Option<Value>>,
    /// New values for weights, by layer.
    pub updates: Vec<(usize, Update)>,
    /// Losses added by layers.
    pub penalties: Vec<Value>,
}

/// Called with each step and its first output.
type Observer<'a> = &'a mut dyn FnMut(&PlanStep, &Value) -> Result<()>;

/// The weights of a pass.
struct PassWeights<'a> {
    by_layer: &'a [Vec<Value>],
    /// Those of each step, if they were prepared.
    by_step: Option<&'a [Vec<Value>]>,
    /// Updates by earlier calls of shared layers, for the later ones.
    moved: BTreeMap<(usize, usize), Value>,
}

impl PassWeights<'_> {
    fn of(&self, index: usize, step: &PlanStep) -> Cow<'_, [Value]> {
        if let Some(prepared) = self.by_step {
            return Cow::Borrowed(&prepared[index]);
        }
        let mut own = match step.weights[..] {
            [range] => Cow::Borrowed(range.of(self.by_layer)),
            _ => step.weights.iter().flat_map(|range| range.of(self.by_layer)).cloned().collect(),
        };
        if step.shared && !self.moved.is_empty() {
            let range = step.weights[0];
            for (index, value) in own.to_mut().iter_mut().enumerate().take(range.count) {
                if let Some(moved) = self.moved.get(&(range.layer, range.first + index)) {
                    *value = moved.clone();
                }
            }
        }
        own
    }
}

/// Executes a plan. `root` is the call of the whole pass, from which those of the layers derive.
fn execute(
    plan: &Plan,
    inputs: Vec<Value>,
    masks: Vec<Option<Value>>,
    root: &mut Call<'_>,
    mut weights: PassWeights<'_>,
    mut observer: Option<Observer<'_>>,
) -> Result<Forward> {
    let mut values: Vec<Option<Value>> = vec![None; plan.value_count];
    for (id, input) in plan.feeds.iter().zip(inputs) {
        values[*id] = Some(input);
    }
    let mut masks = masks;
    masks.resize(plan.value_count, None);
    let missing = || Error::State { action: "compute", needs: "planned: a value is used before it is computed".into() };
    let (mut updates, mut penalties) = (Vec::new(), Vec::new());
    for (index, step) in plan.steps.iter().enumerate() {
        let layer = &*step.layer;
        let own = weights.of(index, step);
        let mut inputs = Vec::with_capacity(step.inputs.len());
        let mut input_masks = Vec::with_capacity(step.inputs.len());
        for (id, last) in &step.inputs {
            let (value, mask) = match last {
                true => (values[*id].take(), masks[*id].take()),
                false => (values[*id].clone(), masks[*id].clone()),
            };
            inputs.push(value.ok_or_else(missing)?);
            input_masks.push(mask);
        }
        for (index, mask) in step.masks.iter().enumerate().take(inputs.len()) {
            input_masks[index] = match mask {
                Some((id, last)) => {
                    Some(if *last { values[*id].take() } else { values[*id].clone() }.ok_or_else(missing)?)
                }
                None => None,
            };
        }
        if plan.is_checked {
            in_layer(layer, step.check(&inputs, &own))?;
        }
        let mut call =
            root.part_at(&own, &step.key).given(input_masks, &step.arguments).masks_given(!step.masks.is_empty());
        call.restrict(step.trainable);
        call.set_skip_final_activation(step.skip_final);
        let outputs = in_layer(layer, step.run(inputs, &mut call))?;
        in_layer(layer, call.check_skipped(layer))?;
        let (moved, added, left) = call.finish(step.outputs, step.keeps_mask);
        penalties.extend(added);
        for update in moved {
            let (layer, weight) = step.weight(update.weight);
            if step.shared {
                weights.moved.insert((layer, weight), update.value.clone());
            }
            updates.push((layer, Update { weight, value: update.value }));
        }
        if let (Some(observer), Some(output)) = (&mut observer, outputs.first()) {
            observer(step, output)?;
        }
        for (offset, (output, mask)) in outputs.into_iter().zip(left).enumerate() {
            values[step.output + offset] = Some(output);
            masks[step.output + offset] = mask;
        }
    }
    let outputs = plan.outputs.iter().map(|id| values[*id].clone().ok_or_else(missing)).collect::<Result<_>>()?;
    let masks = plan.outputs.iter().map(|id| masks[*id].clone()).collect();
    Ok(Forward { outputs, masks, updates, penalties })
}

/// The number of samples.
fn rows_of(inputs: &[Value]) -> Option<usize> {
    inputs.first().and_then(|input| input.sizes().first().copied())
}

/// Refuses outputs with another number of samples, as operations on the batch axis can make.
fn check_rows(rows: Option<usize>, forward: &Forward) -> Result<()> {
    match forward.outputs.iter().find(|output| output.sizes().first().copied() != rows) {
        Some(output) => {
            let expected = format!("outputs with a row for each of {} samples", rows.unwrap_or(0));
            Err(Error::shape(expected, format!("one of sizes {:?}", output.sizes())))
        }
        None => Ok(()),
    }
}

impl PlanStep {
    pub(super) fn run(&self, mut inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
        let outputs = match (&self.fused, inputs.len()) {
            (Some(fused), 1) => vec![fused.forward(inputs.remove(0), call)?],
            _ => self.layer.run_all(inputs, call)?,
        };
        if outputs.len() != self.outputs {
            return Err(Error::shape(format!("{} outputs", self.outputs), format!("{} of them", outputs.len())));
        }
        Ok(outputs)
    }

    /// Refuses inputs whose shapes the layer or its weights do not fit.
    fn check(&self, inputs: &[Value], weights: &[Value]) -> Result<()> {
        let mut shapes: Vec<Shape> = inputs.iter().map(|input| Shape::known(&input.sizes())).collect();
        self.layer.checked_outputs(&shapes, &self.arguments)?;
        shapes.truncate(self.arguments.positional(shapes.len()));
        for (spec, weight) in self.layer.weights_for(&shapes)?.iter().zip(weights) {
            if spec.sizes != weight.sizes() {
                let expected = format!("inputs for the weight `{}` of sizes {:?}", spec.name, weight.sizes());
                return Err(Error::shape(expected, format!("inputs of shape {}", shapes[0])));
            }
        }
        Ok(())
    }

    /// The layer of the outermost model, and the index among its weights, of weight `index` of this step.
    fn weight(&self, index: usize) -> (usize, usize) {
        let mut index = index;
        for range in &self.weights {
            if index < range.count {
                return (range.layer, range.first + index);
            }
            index -= range.count;
        }
        unreachable!("a layer updates weights that it has")
    }
}

impl Model {
    /// The final activation of output `output`, if its layer has one that can be left out.
    pub(crate) fn final_activation_of(&self, output: usize) -> Option<&Activation> {
        let layer = self.graph.final_layer(output)?;
        self.layers[layer].final_activation()
    }

    /// The layer of the model's only output, if nothing else uses it.
    pub(crate) fn final_layer(&self) -> Option<&dyn Layer> {
        self.graph.final_layer(0).map(|layer| &*self.layers[layer])
    }

    pub(super) fn plan(&self, purpose: &Purpose) -> Result<Arc<Plan>> {
        let built = self.expect_built("a forward pass")?;
        self.plans.get(purpose, || Plan::new(self, &HostSplit::of(self), &self.feed_shapes(&built.shapes), purpose))
    }

    /// A forward pass with the given weights (by layer).
    ///
    /// `skip_final` leaves out the last activation of each output for which it is set, for a loss on the logits.
    pub(crate) fn pass(
        &self,
        inputs: Vec<Value>,
        weights: &[Vec<Value>],
        mode: Mode,
        skip_final: &[bool],
    ) -> Result<Forward> {
        self.pass_from(inputs, false, weights, mode, skip_final, BatchPart::default())
    }

    /// As [`pass`](Self::pass), for a part of a batch; `behind_images` says whether the inputs are those of the layers
    /// behind the image stage. Such batches are admitted before they are loaded.
    pub(crate) fn pass_from(
        &self,
        inputs: Vec<Value>,
        behind_images: bool,
        weights: &[Vec<Value>],
        mode: Mode,
        skip_final: &[bool],
        part: BatchPart<'_>,
    ) -> Result<Forward> {
        let training = mode != Mode::Inference;
        let unfused = match behind_images {
            true => inputs.iter().any(Value::is_empty),
            false => self.admit_values(&inputs, training)?,
        };
        let plan = self.plan(&Purpose { training, skip_final: skip_final.to_vec(), unfused, behind_images })?;
        if !training {
            return self.run_prepared(&PreparedPlan::new(plan, weights)?, inputs, &mut self.root(Mode::Inference));
        }
        let rows = rows_of(&inputs);
        let weights = PassWeights { by_layer: weights, by_step: None, moved: BTreeMap::new() };
        let forward = execute(&plan, inputs, Vec::new(), &mut self.root(mode).for_part(part), weights, None)?;
        check_rows(rows, &forward)?;
        Ok(forward)
    }

    /// An inference pass with the model's own weights. The weights prepared for it are kept until they change.
    pub(crate) fn infer(&self, inputs: Vec<Value>, skip_final: &[bool]) -> Result<Forward> {
        if self.admit_values(&inputs, false)? {
            return self.pass(inputs, &self.plain_weights()?, Mode::Inference, skip_final);
        }
        self.run_prepared(&*self.prepared(skip_final)?, inputs, &mut self.root(Mode::Inference))
    }

    /// As [`infer`](Self::infer), for the outputs alone: penalties on layers' outputs, which are part of a loss, are
    /// not computed.
    pub(crate) fn infer_outputs(&self, inputs: Vec<Value>) -> Result<Vec<Value>> {
        self.outputs_from(inputs, &self.kept)
    }

    /// As [`infer_outputs`](Self::infer_outputs), without changing the states of stateful layers.
    pub(super) fn outputs_without_states(&self, inputs: Vec<Value>) -> Result<Vec<Value>> {
        self.outputs_from(inputs, &self.kept.clone())
    }

    fn outputs_from(&self, inputs: Vec<Value>, states: &KeptStates) -> Result<Vec<Value>> {
        let skip = vec![false; self.graph.outputs().len()];
        let mut root = self.root(Mode::Inference).keeping(states);
        root.without_loss = true;
        let forward = if self.admit_values(&inputs, false)? {
            let plan =
                self.plan(&Purpose { training: false, skip_final: skip, unfused: true, behind_images: false })?;
            self.run_prepared(&PreparedPlan::new(plan, &self.plain_weights()?)?, inputs, &mut root)
        } else {
            self.run_prepared(&*self.prepared(&skip)?, inputs, &mut root)
        };
        Ok(forward?.outputs)
    }

    /// Prepares the weights for [`infer_outputs`](Self::infer_outputs), unless they already are.
    pub(super) fn prepare_outputs(&self) -> Result<()> {
        self.prepared(&vec![false; self.graph.outputs().len()]).map(|_| ())
    }

    /// A copy that shares the weights and is not compiled for training.
    pub(super) fn for_prediction(&self) -> Self {
        let mut copy = self.clone();
        (copy.compiled, copy.compile_fault) = (None, None);
        copy
    }

    /// Refuses a batch that does not fit in memory; returns whether it has no values or values of other shapes than the
    /// plan's, which rules out fused layers.
    fn admit_values(&self, inputs: &[Value], training: bool) -> Result<bool> {
        let sizes: Vec<Vec<usize>> = inputs.iter().map(Value::sizes).collect();
        if let Some(batch) = self.batch_size().filter(|_| self.is_stateful())
            && rows_of(inputs).is_some_and(|rows| rows != batch)
        {
            let expected = format!("{batch} samples, the fixed size of a model with stateful layers");
            return Err(Error::data("a batch", expected, rows_of(inputs).unwrap_or(0)));
        }
        self.admit_all(&sizes, training, 0)?;
        Ok(inputs.iter().any(Value::is_empty) || (!training && self.passes_uncropped(&sizes)?))
    }

    fn prepared(&self, skip_final: &[bool]) -> Result<Arc<PreparedPlan>> {
        self.plans.prepared(skip_final, || {
            let purpose =
                Purpose { training: false, skip_final: skip_final.to_vec(), unfused: false, behind_images: false };
            PreparedPlan::new(self.plan(&purpose)?, &self.plain_weights()?)
        })
    }

    fn run_prepared(&self, prepared: &PreparedPlan, inputs: Vec<Value>, root: &mut Call<'_>) -> Result<Forward> {
        let rows = rows_of(&inputs);
        let weights = PassWeights { by_layer: &[], by_step: Some(&prepared.weights), moved: BTreeMap::new() };
        let forward = execute(&prepared.plan, inputs, Vec::new(), root, weights, None)?;
        check_rows(rows, &forward)?;
        Ok(forward)
    }

    pub(super) fn root(&self, mode: Mode) -> Call<'_> {
        let root = match mode {
            Mode::Inference => Call::inference(&[]),
            Mode::Training { seed, step } => Call::training(&[], self.common.trainable, &[seed, step]),
        };
        root.keeping(&self.kept)
    }

    /// A pass as a layer of another model, with the weights in one list.
    pub(super) fn pass_in(&self, inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
        let shapes: Vec<Shape> = inputs.iter().map(|input| Shape::known(&input.sizes())).collect();
        let purpose = Purpose {
            training: call.training_mode(),
            skip_final: vec![call.skip_final_activation(); self.graph.outputs().len()],
            unfused: inputs.iter().any(Value::is_empty)
                || (!call.training_mode() && self.uncropped(&shapes)?.is_some()),
            behind_images: false,
        };
        let plan = self.plans.get(&purpose, || Plan::new(self, &HostSplit::none(self), &shapes, &purpose))?;
        let mut all = call.weights().iter().cloned();
        let counts = self.child_specs(&shapes)?.into_iter().map(|specs| specs.len());
        let weights: Vec<Vec<Value>> = counts.map(|count| all.by_ref().take(count).collect()).collect();
        let masks = match call.masks() {
            [] => vec![call.mask.take()],
            masks => masks.to_vec(),
        };
        let prepared = if purpose.training { None } else { Some(PreparedPlan::new(plan.clone(), &weights)?.weights) };
        let own = PassWeights { by_layer: &weights, by_step: prepared.as_deref(), moved: BTreeMap::new() };
        let forward = execute(&plan, inputs, masks, call, own, None)?;
        let mut firsts = Vec::with_capacity(weights.len());
        weights.iter().fold(0, |first, weights| {
            firsts.push(first);
            first + weights.len()
        });
        for (layer, update) in forward.updates {
            call.update(firsts[layer] + update.weight, update.value);
        }
        forward.penalties.into_iter().for_each(|penalty| call.add_loss(penalty));
        call.mask = forward.masks.first().cloned().flatten();
        call.set_output_masks(forward.masks);
        Ok(forward.outputs)
    }

    /// Name and class of the first layer whose output on these inputs is not finite, if there is one.
    pub(crate) fn first_non_finite(
        &self,
        inputs: Vec<Value>,
        behind_images: bool,
        weights: &[Vec<Value>],
        mode: Mode,
        skip_final: &[bool],
    ) -> Result<Option<(String, &'static str)>> {
        let training = mode != Mode::Inference;
        let plan = self.plan(&Purpose { training, skip_final: skip_final.to_vec(), unfused: true, behind_images })?;
        let mut found = None;
        let mut observer = |step: &PlanStep, output: &Value| {
            if found.is_none() && !output.is_finite()? {
                found = Some((step.layer.name().to_owned(), step.layer.class_name()));
            }
            Ok(())
        };
        let weights = PassWeights { by_layer: weights, by_step: None, moved: BTreeMap::new() };
        // This pass's changes of states are discarded.
        let states = self.kept.clone();
        let mut root = self.root(mode).keeping(&states);
        execute(&plan, inputs, Vec::new(), &mut root, weights, Some(&mut observer))?;
        Ok(found)
    }

    /// Builds the model for a batch of these sizes if it is not built yet, and refuses one that does not fit.
    pub(crate) fn accept(&self, sizes: &[usize], what: &str) -> Result<()> {
        self.expect_single()?;
        let Some((_, sample)) = sizes.split_first() else {
            return Err(Error::data(what, "samples along a first axis", "a single number"));
        };
        let received = Shape::batch_of(sample);
        received.check_count()?;
        let built = self.build_for(std::slice::from_ref(&received))?;
        let expected = &built.shapes[0];
        if expected.accepts(sizes) {
            return Ok(());
        }
        Err(Error::data(format!("{what} for model `{}`", self.name()), format!("shape {expected}"), received))
    }

    /// Refuses batches of these sizes unless they fit the model's inputs and have equal numbers of samples.
    pub(crate) fn accept_all(&self, sizes: &[Vec<usize>]) -> Result<()> {
        let expected = &self.expect_built("a forward pass")?.shapes[..self.graph.inputs()];
        if sizes.len() != expected.len() {
            let what = format!("inputs of model `{}`", self.name());
            return Err(Error::data(what, format!("{} of them", expected.len()), sizes.len()));
        }
        let rows = sizes.first().and_then(|sizes| sizes.first()).copied();
        for ((expected, sizes), name) in expected.iter().zip(sizes).zip(self.input_keys()) {
            if !expected.accepts(sizes) || sizes.first().copied() != rows {
                let what = format!("input `{name}` of model `{}`", self.name());
                let expected = format!("{} samples of shape {expected}", rows.unwrap_or(0));
                return Err(Error::data(what, expected, format!("{sizes:?}")));
            }
        }
        Ok(())
    }

    /// Refuses values for input `index` that the layers which read it unchanged cannot take; returns for each output
    /// whether the input reaches it unchanged.
    pub(crate) fn check_input(&self, index: usize, values: &[f32]) -> Result<Vec<bool>> {
        self.check_fed(&HostSplit::none(self), index, values)
    }

    /// As [`check_input`](Self::check_input), for the outputs of the layers on the host.
    pub(super) fn check_fed(&self, split: &HostSplit, index: usize, values: &[f32]) -> Result<Vec<bool>> {
        let mut same = vec![false; self.graph.value_count()];
        same[split.feeds[index]] = true;
        for (_, node) in self.graph.nodes().iter().enumerate().filter(|(call, _)| !split.is_on_host(*call)) {
            let layer = &*self.layers[node.layer];
            for input in (0..node.inputs.len()).filter(|input| same[node.inputs[*input]]).collect::<Vec<_>>() {
                let outputs = match nested_model(layer) {
                    Some(inner) => in_layer(layer, inner.check_input(input, values))?,
                    None => vec![in_layer(layer, layer.check_values_of(values, &node.arguments))?],
                };
                for (output, is_same) in outputs.into_iter().enumerate().take(node.outputs) {
                    same[node.output + output] |= is_same;
                }
            }
        }
        Ok(self.graph.outputs().iter().map(|id| same[*id]).collect())
    }

    /// The shapes of all values of the graph for inputs of these shapes.
    pub(crate) fn propagate(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        self.propagate_behind(&HostSplit::none(self), inputs)
    }

    /// As [`propagate`](Self::propagate), for the outputs of the layers on the host; values on the host alone have size
    /// 0.
    pub(super) fn propagate_behind(&self, split: &HostSplit, feeds: &[Shape]) -> Result<Vec<Shape>> {
        self.shapes_by(split, feeds, |layer, inputs, node| layer.checked_outputs(inputs, &node.arguments))
    }

    /// The shapes of all values, given those of the outputs of each call.
    fn shapes_by(
        &self,
        split: &HostSplit,
        feeds: &[Shape],
        mut outputs_of: impl FnMut(&dyn Layer, &[Shape], &Node) -> Result<Vec<Shape>>,
    ) -> Result<Vec<Shape>> {
        let mut shapes = Vec::with_capacity(self.graph.value_count());
        let fed = |id| split.feed_index(id).map_or_else(|| Shape::new([Some(0)]), |index| feeds[index].clone());
        shapes.extend((0..self.graph.inputs()).map(fed));
        for (call, node) in self.graph.nodes().iter().enumerate() {
            if split.is_on_host(call) {
                shapes.push(fed(node.output));
                continue;
            }
            let layer = &*self.layers[node.layer];
            let inputs = shapes_of(&shapes, node);
            let outputs = in_layer(layer, outputs_of(layer, &inputs, node))?;
            // Layers leave the batch's size out; operations need it.
            let batch = inputs.first().and_then(|input| input.sizes().first().copied().flatten());
            shapes
                .extend(outputs.into_iter().map(|output| batch.map_or(output.clone(), |batch| output.or_batch(batch))));
        }
        Ok(shapes)
    }

    /// The outputs' shapes in inference for inputs of these shapes, if a layer passes values there with other shapes than
    /// in training.
    pub(super) fn uncropped(&self, inputs: &[Shape]) -> Result<Option<Vec<Shape>>> {
        self.uncropped_behind(&HostSplit::none(self), inputs)
    }

    /// As [`uncropped`](Self::uncropped), for the outputs of the layers on the host.
    fn uncropped_behind(&self, split: &HostSplit, feeds: &[Shape]) -> Result<Option<Vec<Shape>>> {
        if self.layers.iter().all(|layer| !layer.resizes_in_training()) {
            return Ok(None);
        }
        let mut differs = false;
        let shapes = self.shapes_by(split, feeds, |layer, inputs, node| {
            let outputs = layer.inference_shapes(inputs, &node.arguments)?;
            differs |= outputs.is_some();
            outputs.map_or_else(|| layer.checked_outputs(inputs, &node.arguments), Ok)
        })?;
        let outputs = self.graph.outputs().iter().map(|id| shapes[*id].clone()).collect();
        Ok(Some(outputs).filter(|_| differs))
    }

    /// Whether a layer passes values of a batch fed with these sizes in inference with other shapes than in training.
    fn passes_uncropped(&self, feeds: &[Vec<usize>]) -> Result<bool> {
        let shapes: Vec<Shape> = feeds.iter().map(|sizes| Shape::known(sizes)).collect();
        Ok(self.uncropped_behind(&HostSplit::of(self), &shapes)?.is_some())
    }

    /// Whether the outputs for inputs of these shapes can have other shapes in inference than in training.
    pub(crate) fn has_other_outputs(&self, inputs: &[Shape]) -> Result<bool> {
        Ok(self.uncropped(inputs)?.is_some())
    }

    /// The shapes of the prediction of a sample of these sizes.
    pub(crate) fn predicted_shapes(&self, sample: &[usize]) -> Result<Arc<PredictedShapes>> {
        self.plans.predicted(sample, || {
            let shape = Shape::batch_of(sample);
            let output = self.output_sizes(&shape)?.known_sample();
            let differs = self.has_other_outputs(std::slice::from_ref(&shape))?;
            let fed = self.fed_samples(&[shape])?;
            // The output's sizes may depend on the data only where those of the device's inputs do.
            let output = if fed.is_some() { Some(output?) } else { output.ok() };
            Ok(PredictedShapes { output, differs, fed })
        })
    }

    /// The output's sizes for an input whose sizes are fully known.
    pub(crate) fn output_sizes(&self, input: &Shape) -> Result<Shape> {
        self.expect_single()?;
        let mut outputs = self.output_shapes_for(std::slice::from_ref(input))?;
        outputs.pop().ok_or_else(|| Error::shape("one output", "none"))
    }

    /// The sizes of one sample of the device's inputs, for inputs of these shapes; `None` if they depend on the data.
    pub(crate) fn fed_samples(&self, inputs: &[Shape]) -> Result<Option<Vec<Vec<usize>>>> {
        let fed = self.feed_shapes(&self.propagate(inputs)?);
        Ok(fed.iter().map(|shape| shape.sample().iter().copied().collect()).collect())
    }

    /// Refuses a model of several inputs or outputs, for callers that take one of each.
    pub(crate) fn expect_single(&self) -> Result<()> {
        let counts = [self.graph.inputs(), self.graph.outputs().len()];
        if counts == [1, 1] {
            return Ok(());
        }
        let what = format!("a model of {} inputs and {} outputs here", counts[0], counts[1]);
        Err(Error::unsupported(what, "models of one input and one output; `predict_all` takes any number of each"))
    }

    /// The outputs' shapes for inputs of these shapes.
    pub(crate) fn output_shapes_for(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let shapes = self.propagate(inputs)?;
        Ok(self.graph.outputs().iter().map(|id| shapes[*id].clone()).collect())
    }

    /// The weights that each layer needs for inputs of these shapes.
    pub(super) fn child_specs(&self, inputs: &[Shape]) -> Result<Vec<Vec<WeightSpec>>> {
        let shapes = self.propagate(inputs)?;
        let of_layer = |index: usize| match self.graph.first_call(index) {
            Some(node) => {
                let layer = &*self.layers[index];
                in_layer(layer, layer.weights_for(&positional_shapes(&shapes, node)))
            }
            None => Ok(Vec::new()),
        };
        (0..self.layers.len()).map(of_layer).collect()
    }
}
