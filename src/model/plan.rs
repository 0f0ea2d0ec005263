//! The plan: the steps of a forward pass, made once for a model and its mode.
//!
//! A step is a call of a layer, or of neighbouring layers that can be computed at once ([`Layer::absorb`]). Nested
//! models are inlined. Values are dropped after their last use, so that their memory can be used again. The numbers are
//! those of the layers one by one, but for rounding; descriptions, names and files know nothing of it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::graph::Slot;
use crate::error::Result;
use crate::layers::{Arguments, Fused, Layer, in_layer};
use crate::ops::Value;

/// What a plan is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Purpose {
    pub training: bool,
    /// For each output whether the activation before it is left out, for a loss that works on what comes before it.
    pub skip_final: Vec<bool>,
    /// Whether every layer's output is looked at: nothing is fused then.
    pub observed: bool,
}

/// Some weights of a layer of the outermost model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct WeightRange {
    pub layer: usize,
    pub first: usize,
    pub count: usize,
}

/// A step: a call of one layer, or of several as one.
#[derive(Debug)]
pub(super) struct Step {
    /// The layer, or the first of those that are fused.
    pub layer: Box<dyn Layer>,
    pub fused: Option<Box<dyn Fused>>,
    /// Whether the layer whose output leaves the step hands on masks.
    pub keeps_mask: bool,
    /// The weights of its layers, one after the other.
    pub weights: Vec<WeightRange>,
    /// Whether another step uses the same weights.
    pub shared: bool,
    /// The path of indices by which its random numbers differ from those of other steps.
    pub key: Vec<u64>,
    /// Whether the layer, and each model around it but the outermost, may be trained.
    pub trainable: bool,
    pub skip_final: bool,
    /// What it is called on, and whether nothing uses that later.
    pub inputs: Vec<(Slot, bool)>,
    /// Masks that are given in place of those of the inputs.
    pub masks: Vec<Option<(Slot, bool)>>,
    pub arguments: Arguments,
    pub output: Slot,
    pub outputs: usize,
}

impl Step {
    /// All values that it uses.
    pub fn uses(&self) -> impl Iterator<Item = Slot> {
        self.inputs.iter().chain(self.masks.iter().flatten()).map(|(slot, _)| *slot)
    }

    /// Whether it is called on its inputs and nothing else.
    pub fn is_plain(&self) -> bool {
        self.masks.is_empty() && self.arguments.is_empty()
    }
}

/// The steps of a forward pass.
#[derive(Debug)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    pub slots: usize,
    pub outputs: Vec<Slot>,
}

/// A plan for inference with the weights of each step: folded, where steps fold them.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(super) plan: Arc<Plan>,
    pub(super) weights: Vec<Vec<Value>>,
}

impl Prepared {
    pub(super) fn new(plan: Arc<Plan>, weights: &[Vec<Value>]) -> Result<Self> {
        let prepare = |step: &Step| {
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

/// Plans that were made, and the weights prepared for inference. A copy of a model shares those that are there.
#[derive(Default)]
pub(super) struct Plans {
    made: Mutex<Vec<(Purpose, Arc<Plan>)>>,
    prepared: Mutex<Vec<(Vec<bool>, Arc<Prepared>)>>,
}

impl Plans {
    /// The plan for a purpose, made now if it was not yet.
    pub fn get(&self, purpose: &Purpose, make: impl FnOnce() -> Result<Plan>) -> Result<Arc<Plan>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, plan)) = made.iter().find(|(own, _)| own == purpose) {
            return Ok(plan.clone());
        }
        let plan = Arc::new(make()?);
        made.push((purpose.clone(), plan.clone()));
        Ok(plan)
    }

    /// The weights prepared for inference, made now if they were not yet.
    pub fn prepared(&self, skip: &[bool], make: impl FnOnce() -> Result<Prepared>) -> Result<Arc<Prepared>> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, own)) = prepared.iter().find(|(own, _)| own == skip) {
            return Ok(own.clone());
        }
        let made = Arc::new(make()?);
        prepared.push((skip.to_vec(), made.clone()));
        Ok(made)
    }

    /// Forgets what was made of weights that are about to change.
    pub fn forget_weights(&mut self) {
        self.prepared.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Forgets everything: the layers are about to change.
    pub fn forget(&mut self) {
        self.forget_weights();
        self.made.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Clone for Plans {
    fn clone(&self) -> Self {
        Self { made: copy_of(&self.made), prepared: copy_of(&self.prepared) }
    }
}

fn copy_of<T: Clone>(values: &Mutex<Vec<T>>) -> Mutex<Vec<T>> {
    Mutex::new(values.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

impl fmt::Debug for Plans {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Plans")
    }
}
