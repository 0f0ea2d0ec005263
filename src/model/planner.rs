//! From a model's calls to the steps of a plan.

use std::collections::HashMap;

use super::Model;
use super::as_model::nested_model;
use super::graph::{ValueId, positional_shapes};
use super::plan::{Plan, PlanStep, Purpose, WeightRange};
use super::stage::HostSplit;
use crate::error::Result;
use crate::layers::{FIRST_CALL, Preparation, in_layer, is_trainable};
use crate::shape::Shape;

/// A model's calls with nested models inlined.
struct Inlined {
    steps: Vec<PlanStep>,
    value_count: usize,
    /// The shape of each value.
    shapes: Vec<Shape>,
    /// Whether a shape has an axis of size 0. Layers are not fused then, as kernels need values.
    is_empty: bool,
}

/// The position of a model in the outermost one.
struct Nesting<'a> {
    key: &'a [u64],
    trainable: bool,
    /// The layer of the outermost model that the model is, and the first of its weights there; `None` for the
    /// outermost.
    weights: Option<(usize, usize)>,
}

impl Inlined {
    /// Appends the calls of a model that `split` leaves to the device, which are fed with the values `inputs`; returns
    /// its outputs.
    fn inline(
        &mut self,
        model: &Model,
        split: &HostSplit,
        inputs: &[ValueId],
        shapes: &[Shape],
        nesting: &Nesting<'_>,
    ) -> Result<Vec<ValueId>> {
        let graph = model.graph();
        let inner = model.propagate_behind(split, shapes)?;
        self.is_empty |= inner.iter().any(|shape| shape.sample().contains(&Some(0)));
        // Values on the host alone are used by no step.
        let fed = |id: ValueId| split.feed_index(id).map_or(ValueId::MAX, |index| inputs[index]);
        let mut ids: Vec<ValueId> = (0..graph.inputs()).map(fed).collect();
        let shapes_of = |ids: &[ValueId]| ids.iter().map(|id| inner[*id].clone()).collect::<Vec<Shape>>();
        // The weights of a nested model are contiguous, in the order of its layers.
        let mut first = nesting.weights.map_or(0, |(_, first)| first);
        let mut weights = Vec::with_capacity(model.all_layers().len());
        for (index, layer) in model.all_layers().iter().enumerate() {
            let count = match graph.first_call(index) {
                Some(node) if graph.index_of(node.output).is_some_and(|call| split.is_on_host(call)) => 0,
                Some(node) => in_layer(&**layer, layer.weights_for(&positional_shapes(&inner, node)))?.len(),
                None => 0,
            };
            weights.push(match nesting.weights {
                Some((layer, _)) => WeightRange { layer, first, count },
                None => WeightRange { layer: index, first: 0, count },
            });
            first += count;
        }
        for (call, node) in graph.nodes().iter().enumerate() {
            if split.is_on_host(call) {
                ids.push(fed(node.output));
                continue;
            }
            let layer = &*model.all_layers()[node.layer];
            let inputs: Vec<ValueId> = node.inputs.iter().map(|id| ids[*id]).collect();
            let mut key = [nesting.key, &[model.number_of(node.layer)]].concat();
            if node.call > 0 {
                key.push(FIRST_CALL + node.call as u64);
            }
            let own = weights[node.layer];
            let trainable = nesting.trainable && is_trainable(layer);
            if let Some(nested) = nested_model(layer).filter(|_| node.arguments.is_empty() && node.masks.is_empty()) {
                let nesting = Nesting { key: &key, trainable, weights: Some((own.layer, own.first)) };
                let (split, shapes) = (HostSplit::none(nested), shapes_of(&node.inputs));
                let outputs = self.inline(nested, &split, &inputs, &shapes, &nesting)?;
                ids.extend(outputs);
                continue;
            }
            let output = self.value_count;
            self.value_count += node.outputs;
            self.shapes.extend_from_slice(&inner[node.output..node.output + node.outputs]);
            ids.extend(output..self.value_count);
            self.steps.push(PlanStep {
                layer: layer.boxed_clone(),
                fused: None,
                names: vec![layer.name().to_owned()],
                keeps_mask: layer.supports_masking(),
                weights: vec![own],
                shared: false,
                key,
                trainable,
                skip_final: false,
                inputs: inputs.into_iter().map(|id| (id, false)).collect(),
                masks: node.masks.iter().map(|mask| mask.map(|id| (ids[id], false))).collect(),
                arguments: node.arguments.clone(),
                output,
                outputs: node.outputs,
            });
        }
        Ok(graph.outputs().iter().map(|id| ids[*id]).collect())
    }
}

/// The steps at a model's inputs that prepare images.
pub(super) struct ImageSteps {
    pub steps: Vec<PlanStep>,
    /// The values to feed to the other steps.
    pub feeds: Vec<ValueId>,
    /// The number of values.
    pub value_count: usize,
}

/// The steps that prepare images; `None` if none of them augments.
pub(super) fn image_steps(model: &Model, split: &HostSplit, shapes: &[Shape]) -> Result<Option<ImageSteps>> {
    let (mut flat, outputs) = Inlined::of(model, split, shapes)?;
    let value_count = flat.value_count;
    Ok(flat.take_images(shapes.len(), &outputs).map(|(steps, feeds)| ImageSteps { steps, feeds, value_count }))
}

impl Inlined {
    /// The calls of a model fed with these shapes behind its host calls, and its outputs.
    fn of(model: &Model, split: &HostSplit, shapes: &[Shape]) -> Result<(Self, Vec<ValueId>)> {
        let inputs: Vec<ValueId> = (0..shapes.len()).collect();
        let mut flat = Self { steps: Vec::new(), value_count: inputs.len(), shapes: shapes.to_vec(), is_empty: false };
        let outputs =
            flat.inline(model, split, &inputs, shapes, &Nesting { key: &[], trainable: true, weights: None })?;
        Ok((flat, outputs))
    }

    /// Takes out the steps at the inputs that prepare images, if one of them augments; returns them, and the values to
    /// feed to the others.
    fn take_images(&mut self, inputs: usize, outputs: &[ValueId]) -> Option<(Vec<PlanStep>, Vec<ValueId>)> {
        let mut is_there = vec![false; self.value_count];
        is_there[..inputs].fill(true);
        let mut is_wanted = false;
        let mut prepares = |step: &PlanStep| {
            let preparation = step.layer.preparation();
            let is_plain = step.is_plain() && step.outputs == 1 && step.weights.iter().all(|range| range.count == 0);
            let is_next = step.inputs.len() == 1 && is_there[step.inputs[0].0];
            let prepares = preparation != Preparation::None && is_plain && is_next;
            if prepares {
                is_there[step.output] = true;
                is_wanted |= preparation == Preparation::Wanted;
            }
            prepares
        };
        let prepares: Vec<bool> = self.steps.iter().map(&mut prepares).collect();
        if !is_wanted {
            return None;
        }
        let (mut images, mut rest) = (Vec::new(), Vec::new());
        for (step, prepares) in std::mem::take(&mut self.steps).into_iter().zip(prepares) {
            if prepares { images.push(step) } else { rest.push(step) }
        }
        self.steps = rest;
        let mut feeds: Vec<ValueId> =
            self.steps.iter().flat_map(PlanStep::uses).chain(outputs.iter().copied()).collect();
        feeds.retain(|id| is_there[*id]);
        feeds.sort_unstable();
        feeds.dedup();
        Some((images, feeds))
    }
}

impl Plan {
    /// The plan for a model fed with these shapes behind its host calls.
    pub fn new(model: &Model, split: &HostSplit, shapes: &[Shape], purpose: &Purpose) -> Result<Self> {
        let (mut flat, outputs) = Inlined::of(model, split, shapes)?;
        let images = if purpose.behind_images { flat.take_images(shapes.len(), &outputs) } else { None };
        let feeds = images.map_or_else(|| (0..shapes.len()).collect(), |(_, feeds)| feeds);
        let is_empty = flat.is_empty;
        let resizes = || flat.steps.iter().any(|step| step.layer.resizes_in_training());
        let is_checked = !purpose.training && purpose.unfused && resizes();
        let (steps, value_count, shapes) = (flat.steps, flat.value_count, flat.shapes);
        let mut plan = Self { steps, value_count, feeds, shapes, is_checked, outputs };
        for (id, _) in plan.outputs.iter().zip(&purpose.skip_final).filter(|(_, skip)| **skip) {
            if let Some(step) = plan.steps.iter_mut().find(|step| step.output == *id) {
                step.skip_final = true;
            }
        }
        plan.mark_shared();
        if !purpose.unfused && !is_empty {
            plan.fuse(purpose.training);
        }
        plan.mark_last_uses();
        Ok(plan)
    }

    fn mark_shared(&mut self) {
        let mut users: HashMap<WeightRange, usize> = HashMap::new();
        for step in &self.steps {
            *users.entry(step.weights[0]).or_default() += 1;
        }
        for step in &mut self.steps {
            let own = step.weights[0];
            step.shared = own.count > 0 && users[&own] > 1;
        }
    }

    /// Fuses each step with those that follow, as long as it absorbs them.
    fn fuse(&mut self, training: bool) {
        let mut uses = vec![0usize; self.value_count];
        for id in self.steps.iter().flat_map(PlanStep::uses).chain(self.outputs.iter().copied()) {
            uses[id] += 1;
        }
        let mut steps: Vec<Option<PlanStep>> = std::mem::take(&mut self.steps).into_iter().map(Some).collect();
        let mut user = vec![None; self.value_count];
        for (index, step) in steps.iter().enumerate() {
            for (id, _) in step.iter().flat_map(|step| &step.inputs) {
                user[*id] = Some(index);
            }
        }
        for index in 0..steps.len() {
            let Some(mut step) = steps[index].take() else { continue };
            while step.outputs == 1 && uses[step.output] == 1 && !step.skip_final && step.is_plain() {
                let Some(next) = user[step.output] else { break };
                let fits = |next: &PlanStep| {
                    let plain = next.masks.is_empty() && next.arguments.is_empty();
                    // In training, the updates by a call of a shared layer reach its other calls.
                    let alone = !training || (!step.shared && !next.shared);
                    alone && plain && next.inputs.len() == 1 && next.outputs == 1 && !next.skip_final
                };
                let Some(other) = steps[next].as_ref().filter(|next| fits(next)) else { break };
                let fused = match &step.fused {
                    Some(fused) => fused.absorb(&*other.layer, training),
                    None => step.layer.absorb(&*other.layer, training),
                };
                let Some(fused) = fused else { break };
                let Some(other) = steps[next].take() else { break };
                step.fused = Some(fused);
                step.names.extend(other.names);
                step.keeps_mask &= other.keeps_mask;
                step.weights.extend(other.weights.into_iter().filter(|weights| weights.count > 0));
                step.output = other.output;
            }
            steps[index] = Some(step);
        }
        self.steps = steps.into_iter().flatten().collect();
    }

    fn mark_last_uses(&mut self) {
        let mut used = vec![false; self.value_count];
        for id in &self.outputs {
            used[*id] = true;
        }
        for step in self.steps.iter_mut().rev() {
            let masks = step.masks.iter_mut().flatten();
            for (id, last) in step.inputs.iter_mut().chain(masks).rev() {
                *last = !std::mem::replace(&mut used[*id], true);
            }
        }
    }
}
