//! Cache of a model's plans, valid until its layers or weights change.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::plan::{Plan, PreparedPlan, Purpose};
use super::predictor::Program;
use crate::error::Result;

/// Cache of plans, and of the weights prepared for inference. A clone of a model shares the cached ones.
#[derive(Default)]
pub(super) struct Plans {
    made: Mutex<Vec<(Purpose, Arc<Plan>)>>,
    prepared: Mutex<Vec<(Vec<bool>, Arc<PreparedPlan>)>>,
    /// The compiled form for prediction, if it was requested and there is one.
    program: Mutex<Option<Option<Arc<Program>>>>,
    /// The shapes of predictions, by the sizes of a sample.
    predicted: Mutex<Vec<(Vec<usize>, Arc<PredictedShapes>)>>,
}

/// The shapes of a prediction, inferred from the sizes of a sample.
#[derive(Debug)]
pub(crate) struct PredictedShapes {
    /// The sizes of a sample's output; `None` if they depend on the data.
    pub output: Option<Vec<usize>>,
    /// Whether the output can have another shape in inference than in training.
    pub differs: bool,
    /// The sizes of a sample of each of the device's inputs; `None` if they depend on the data.
    pub fed: Option<Vec<Vec<usize>>>,
}

/// The number of samples' sizes that a model remembers.
const REMEMBERED: usize = 16;

impl Plans {
    /// The plan for a purpose, made on first use.
    pub fn get(&self, purpose: &Purpose, make: impl FnOnce() -> Result<Plan>) -> Result<Arc<Plan>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, plan)) = made.iter().find(|(own, _)| own == purpose) {
            return Ok(plan.clone());
        }
        let plan = Arc::new(make()?);
        made.push((purpose.clone(), plan.clone()));
        Ok(plan)
    }

    /// The weights prepared for inference, made now if they were not yet, without holding the lock.
    pub fn prepared(&self, skip: &[bool], make: impl FnOnce() -> Result<PreparedPlan>) -> Result<Arc<PreparedPlan>> {
        let prepared = || self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let find =
            |made: &[(Vec<bool>, Arc<PreparedPlan>)]| made.iter().find(|(own, _)| own == skip).map(|own| own.1.clone());
        if let Some(own) = find(&prepared()) {
            return Ok(own);
        }
        let made = Arc::new(make()?);
        let mut prepared = prepared();
        Ok(find(&prepared).unwrap_or_else(|| {
            prepared.push((skip.to_vec(), made.clone()));
            made
        }))
    }

    /// The compiled form, made now if it was not yet; `None` if a step has none.
    ///
    /// It is made without holding the lock: packing weights uses the threads of the pool, which may be waiting for the
    /// lock themselves. Of two that are made at once the first is kept.
    pub fn program(&self, make: impl FnOnce() -> Result<Option<Arc<Program>>>) -> Result<Option<Arc<Program>>> {
        let program = || self.program.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*program() {
            return Ok(made.clone());
        }
        let made = make()?;
        Ok(program().get_or_insert(made).clone())
    }

    /// The shapes of predictions for samples of these sizes, inferred at their first use.
    pub fn predicted(
        &self,
        sample: &[usize],
        infer: impl FnOnce() -> Result<PredictedShapes>,
    ) -> Result<Arc<PredictedShapes>> {
        let predicted = || self.predicted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, shapes)) = predicted().iter().find(|(own, _)| own == sample) {
            return Ok(shapes.clone());
        }
        let shapes = Arc::new(infer()?);
        let mut predicted = predicted();
        // Another thread may have inferred them meanwhile.
        predicted.retain(|(own, _)| own != sample);
        if predicted.len() >= REMEMBERED {
            predicted.remove(0);
        }
        predicted.push((sample.to_vec(), shapes.clone()));
        Ok(shapes)
    }

    /// Drops the prepared weights: the weights are about to change.
    pub fn forget_weights(&mut self) {
        *self.program.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        self.prepared.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Drops everything: the layers are about to change.
    pub fn forget(&mut self) {
        self.forget_weights();
        self.predicted.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        self.made.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Clone for Plans {
    fn clone(&self) -> Self {
        Self {
            made: copy_of(&self.made),
            prepared: copy_of(&self.prepared),
            program: copy_of(&self.program),
            predicted: copy_of(&self.predicted),
        }
    }
}

fn copy_of<T: Clone>(values: &Mutex<T>) -> Mutex<T> {
    Mutex::new(values.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

impl fmt::Debug for Plans {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Plans")
    }
}
