//! From a model's calls to the steps of a plan.

use std::collections::HashMap;

use super::Model;
use super::as_model::nested_model;
use super::graph::{ValueId, positional_shapes};
use super::plan::{Plan, PlanStep, Purpose, WeightRange};
use super::stage::Head;
use crate::error::Result;
use crate::layers::{FIRST_CALL, Preparation, in_layer, is_trainable};
use crate::shape::Shape;

/// A model's calls with nested models inlined.
struct Inlined {
    steps: Vec<PlanStep>,
    slots: usize,
    /// The shape of each slot's value.
    shapes: Vec<Shape>,
    /// Whether a shape has an axis of size 0. Layers are not fused then, as kernels need values.
    is_empty: bool,
}

/// The place of a model in the outermost one.
struct Nesting<'a> {
    key: &'a [u64],
    trainable: bool,
    /// The layer of the outermost model that the model is, and the first of its weights there; `None` for the
    /// outermost.
    weights: Option<(usize, usize)>,
}

impl Inlined {
    /// Appends a model's calls on the values `inputs`, which are fed behind its `head`; returns its outputs.
    fn inline(
        &mut self,
        model: &Model,
        head: &Head,
        inputs: &[ValueId],
        shapes: &[Shape],
        place: &Nesting<'_>,
    ) -> Result<Vec<ValueId>> {
        let graph = model.graph();
        let inner = model.propagate_behind(head, shapes)?;
        self.is_empty |= inner.iter().any(|shape| shape.sample().contains(&Some(0)));
        // Values on the host alone are used by no step.
        let fed = |slot: ValueId| head.place(slot).map_or(ValueId::MAX, |place| inputs[place]);
        let mut slots: Vec<ValueId> = (0..graph.inputs()).map(fed).collect();
        let shapes_of = |slots: &[ValueId]| slots.iter().map(|slot| inner[*slot].clone()).collect::<Vec<Shape>>();
        // The weights of a nested model are contiguous, in the order of its layers.
        let mut first = place.weights.map_or(0, |(_, first)| first);
        let mut weights = Vec::with_capacity(model.all_layers().len());
        for (index, layer) in model.all_layers().iter().enumerate() {
            let count = match graph.first_call(index) {
                Some(node) if graph.index_of(node.output).is_some_and(|call| head.has(call)) => 0,
                Some(node) => in_layer(&**layer, layer.weights_for(&positional_shapes(&inner, node)))?.len(),
                None => 0,
            };
            weights.push(match place.weights {
                Some((layer, _)) => WeightRange { layer, first, count },
                None => WeightRange { layer: index, first: 0, count },
            });
            first += count;
        }
        for (call, node) in graph.nodes().iter().enumerate() {
            if head.has(call) {
                slots.push(fed(node.output));
                continue;
            }
            let layer = &*model.all_layers()[node.layer];
            let inputs: Vec<ValueId> = node.inputs.iter().map(|slot| slots[*slot]).collect();
            let mut key = [place.key, &[model.number_of(node.layer)]].concat();
            if node.call > 0 {
                key.push(FIRST_CALL + node.call as u64);
            }
            let own = weights[node.layer];
            let trainable = place.trainable && is_trainable(layer);
            if let Some(nested) = nested_model(layer).filter(|_| node.arguments.is_empty() && node.masks.is_empty()) {
                let place = Nesting { key: &key, trainable, weights: Some((own.layer, own.first)) };
                let outputs = self.inline(nested, &Head::none(nested), &inputs, &shapes_of(&node.inputs), &place)?;
                slots.extend(outputs);
                continue;
            }
            let output = self.slots;
            self.slots += node.outputs;
            self.shapes.extend_from_slice(&inner[node.output..node.output + node.outputs]);
            slots.extend(output..self.slots);
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
                inputs: inputs.into_iter().map(|slot| (slot, false)).collect(),
                masks: node.masks.iter().map(|mask| mask.map(|slot| (slots[slot], false))).collect(),
                arguments: node.arguments.clone(),
                output,
                outputs: node.outputs,
            });
        }
        Ok(graph.outputs().iter().map(|slot| slots[*slot]).collect())
    }
}

/// The steps at a model's inputs that prepare images.
pub(super) struct ImageSteps {
    pub steps: Vec<PlanStep>,
    /// The slots to feed to the other steps.
    pub feeds: Vec<ValueId>,
    /// The number of slots.
    pub slots: usize,
}

/// The steps that prepare images; `None` if none of them augments.
pub(super) fn image_steps(model: &Model, head: &Head, shapes: &[Shape]) -> Result<Option<ImageSteps>> {
    let (mut flat, outputs) = Inlined::of(model, head, shapes)?;
    let slots = flat.slots;
    Ok(flat.take_images(shapes.len(), &outputs).map(|(steps, feeds)| ImageSteps { steps, feeds, slots }))
}

impl Inlined {
    /// The calls of a model fed with these shapes behind its head, and its outputs.
    fn of(model: &Model, head: &Head, shapes: &[Shape]) -> Result<(Self, Vec<ValueId>)> {
        let inputs: Vec<ValueId> = (0..shapes.len()).collect();
        let mut flat = Self { steps: Vec::new(), slots: inputs.len(), shapes: shapes.to_vec(), is_empty: false };
        let outputs =
            flat.inline(model, head, &inputs, shapes, &Nesting { key: &[], trainable: true, weights: None })?;
        Ok((flat, outputs))
    }

    /// Takes out the steps at the inputs that prepare images, if one of them augments; returns them, and the slots to
    /// feed to the others.
    fn take_images(&mut self, inputs: usize, outputs: &[ValueId]) -> Option<(Vec<PlanStep>, Vec<ValueId>)> {
        let mut is_there = vec![false; self.slots];
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
        feeds.retain(|slot| is_there[*slot]);
        feeds.sort_unstable();
        feeds.dedup();
        Some((images, feeds))
    }
}

impl Plan {
    /// The plan for a model fed with these shapes behind its head.
    pub fn new(model: &Model, head: &Head, shapes: &[Shape], purpose: &Purpose) -> Result<Self> {
        let (mut flat, outputs) = Inlined::of(model, head, shapes)?;
        let images = if purpose.behind_images { flat.take_images(shapes.len(), &outputs) } else { None };
        let feeds = images.map_or_else(|| (0..shapes.len()).collect(), |(_, feeds)| feeds);
        let is_empty = flat.is_empty;
        let resizes = || flat.steps.iter().any(|step| step.layer.resizes_in_training());
        let is_checked = !purpose.training && purpose.observed && resizes();
        let mut plan = Self { steps: flat.steps, slots: flat.slots, feeds, shapes: flat.shapes, is_checked, outputs };
        for (slot, _) in plan.outputs.iter().zip(&purpose.skip_final).filter(|(_, skip)| **skip) {
            if let Some(step) = plan.steps.iter_mut().find(|step| step.output == *slot) {
                step.skip_final = true;
            }
        }
        plan.mark_shared();
        if !purpose.observed && !is_empty {
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
        let mut uses = vec![0usize; self.slots];
        for slot in self.steps.iter().flat_map(PlanStep::uses).chain(self.outputs.iter().copied()) {
            uses[slot] += 1;
        }
        let mut steps: Vec<Option<PlanStep>> = std::mem::take(&mut self.steps).into_iter().map(Some).collect();
        let mut user = vec![None; self.slots];
        for (index, step) in steps.iter().enumerate() {
            for (slot, _) in step.iter().flat_map(|step| &step.inputs) {
                user[*slot] = Some(index);
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
        let mut used = vec![false; self.slots];
        for slot in &self.outputs {
            used[*slot] = true;
        }
        for step in self.steps.iter_mut().rev() {
            let masks = step.masks.iter_mut().flatten();
            for (slot, last) in step.inputs.iter_mut().chain(masks).rev() {
                *last = !std::mem::replace(&mut used[*slot], true);
            }
        }
    }
}
