//! Cache of a model's plans, valid until its layers or weights change.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::plan::{Plan, Prepared, Purpose};
use super::predictor::Program;
use crate::error::Result;

/// Cache of plans, and of the weights prepared for inference. A clone of a model shares the cached ones.
#[derive(Default)]
pub(super) struct Plans {
    made: Mutex<Vec<(Purpose, Arc<Plan>)>>,
    prepared: Mutex<Vec<(Vec<bool>, Arc<Prepared>)>>,
    /// The compiled form for prediction, if it was requested and there is one.
    program: Mutex<Option<Option<Arc<Program>>>>,
}

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

    /// The weights prepared for inference, made on first use.
    pub fn prepared(&self, skip: &[bool], make: impl FnOnce() -> Result<Prepared>) -> Result<Arc<Prepared>> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, own)) = prepared.iter().find(|(own, _)| own == skip) {
            return Ok(own.clone());
        }
        let made = Arc::new(make()?);
        prepared.push((skip.to_vec(), made.clone()));
        Ok(made)
    }

    /// The compiled form, made on first use; `None` if a step has none.
    pub fn program(&self, make: impl FnOnce() -> Result<Option<Arc<Program>>>) -> Result<Option<Arc<Program>>> {
        let mut program = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = &*program {
            return Ok(program.clone());
        }
        Ok(program.insert(make()?).clone())
    }

    /// Drops the prepared weights: the weights are about to change.
    pub fn forget_weights(&mut self) {
        *self.program.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        self.prepared.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Drops everything: the layers are about to change.
    pub fn forget(&mut self) {
        self.forget_weights();
        self.made.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Clone for Plans {
    fn clone(&self) -> Self {
        Self { made: copy_of(&self.made), prepared: copy_of(&self.prepared), program: copy_of(&self.program) }
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
