//! The plans of a model, kept until its layers or weights change.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::plan::{Plan, Prepared, Purpose};
use super::predictor::Program;
use crate::error::Result;

/// Plans that were made, and the weights prepared for inference. A copy of a model shares those that are there.
#[derive(Default)]
pub(super) struct Plans {
    made: Mutex<Vec<(Purpose, Arc<Plan>)>>,
    prepared: Mutex<Vec<(Vec<bool>, Arc<Prepared>)>>,
    /// The compiled form for prediction, if it was asked for and there is one.
    program: Mutex<Option<Option<Arc<Program>>>>,
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

    /// The compiled form, made now if it was not yet; none if a step has none.
    pub fn program(&self, make: impl FnOnce() -> Result<Option<Arc<Program>>>) -> Result<Option<Arc<Program>>> {
        let mut program = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = &*program {
            return Ok(program.clone());
        }
        Ok(program.insert(make()?).clone())
    }

    /// Forgets what was made of weights that are about to change.
    pub fn forget_weights(&mut self) {
        *self.program.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
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
