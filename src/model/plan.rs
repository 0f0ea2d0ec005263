//! The execution plan: the steps of a forward pass, compiled once per purpose: training or inference, which last
//! activations are left to the loss, fused or not, with or without the image stage.
//!
//! A step is a call of a layer, or of adjacent layers that are fused ([`Layer::absorb`]). Nested models are inlined.
//! Values are dropped after their last use, so that their buffers can be reused. Results are those of the layers one by
//! one, up to rounding; descriptions, names and files are not affected.

use std::sync::Arc;

use super::graph::ValueId;
use crate::error::Result;
use crate::layers::{Arguments, Fused, Layer, in_layer};
use crate::ops::Value;
use crate::shape::Shape;

/// The purpose of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Purpose {
    pub training: bool,
    /// For each output whether its final activation is left out, for a loss on the logits.
    pub skip_final: Vec<bool>,
    /// Whether each layer stays a step of its own, so that its output can be observed.
    pub unfused: bool,
    /// Whether the image stage has run before: its steps are left out.
    pub behind_images: bool,
}

/// Some weights of a layer of the outermost model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct WeightRange {
    pub layer: usize,
    pub first: usize,
    pub count: usize,
}

/// A step: a call of one layer, or of several fused ones.
#[derive(Debug)]
pub(super) struct PlanStep {
    /// The layer, or the first of the fused ones.
    pub layer: Box<dyn Layer>,
    pub fused: Option<Box<dyn Fused>>,
    /// The names of all its layers.
    pub names: Vec<String>,
    /// Whether the layer whose output leaves the step passes masks on.
    pub keeps_mask: bool,
    /// The weights of its layers, in their order.
    pub weights: Vec<WeightRange>,
    /// Whether another step uses the same weights.
    pub shared: bool,
    /// The path of indices that sets its random numbers apart from those of other steps.
    pub key: Vec<u64>,
    /// Whether the layer, and each model around it but the outermost, is trainable.
    pub trainable: bool,
    pub skip_final: bool,
    /// Its inputs, each with whether this is the last use.
    pub inputs: Vec<(ValueId, bool)>,
    /// Masks given in place of those of the inputs.
    pub masks: Vec<Option<(ValueId, bool)>>,
    pub arguments: Arguments,
    pub output: ValueId,
    pub outputs: usize,
}

impl PlanStep {
    /// All values that it reads.
    pub fn uses(&self) -> impl Iterator<Item = ValueId> {
        self.inputs.iter().chain(self.masks.iter().flatten()).map(|(id, _)| *id)
    }

    /// Whether it is called on its inputs alone.
    pub fn is_plain(&self) -> bool {
        self.masks.is_empty() && self.arguments.is_empty()
    }
}

/// The steps of a forward pass.
#[derive(Debug)]
pub(super) struct Plan {
    pub steps: Vec<PlanStep>,
    pub value_count: usize,
    /// The values that are fed: the first ones, or others behind the image stage.
    pub feeds: Vec<ValueId>,
    /// The shape of each value.
    pub shapes: Vec<Shape>,
    /// Whether values can have other shapes: each step's inputs are then checked.
    pub is_checked: bool,
    pub outputs: Vec<ValueId>,
}

/// A plan for inference with the weights of each step, folded where steps fold them.
#[derive(Debug)]
pub(crate) struct PreparedPlan {
    pub(super) plan: Arc<Plan>,
    pub(super) weights: Vec<Vec<Value>>,
}

impl PreparedPlan {
    pub(super) fn new(plan: Arc<Plan>, weights: &[Vec<Value>]) -> Result<Self> {
        let prepare = |step: &PlanStep| {
            let own: Vec<Value> = step.weights.iter().flat_map(|range| range.of(weights)).cloned().collect();
            let prepared = match &step.fused {
                Some(fused) => in_layer(&*step.layer, fused.prepare(&own))?,
                None => None,
            };
            Ok(prepared.unwrap_or(own))
        };
        let weights = plan.steps.iter().map(prepare).collect::<Result<_>>()?;
        Ok(Self { plan, weights })
    }
}

impl WeightRange {
    /// These weights among all of a model, by layer.
    pub fn of(self, weights: &[Vec<Value>]) -> &[Value] {
        &weights[self.layer][self.first..self.first + self.count]
    }
}
