//! How large a step is.

use serde::{Deserialize, Serialize};

use crate::config::also_argument;
use crate::error::{Error, Result};

/// A learning rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number")]
#[non_exhaustive]
pub enum LearningRate {
    /// The same at every step.
    Constant(f32),
}

impl LearningRate {
    /// The rate for the step after `iterations` others.
    pub fn at(&self, iterations: u64) -> f32 {
        let _ = iterations;
        match self {
            Self::Constant(rate) => *rate,
        }
    }

    /// Takes over the rate that a file has kept beside the optimizer's state.
    pub(crate) fn restore(&mut self, rate: f32) {
        match self {
            Self::Constant(own) => *own = rate,
        }
    }

    /// Refuses rates that are not positive numbers.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Constant(rate) if rate.is_finite() && *rate >= 0.0 => Ok(()),
            Self::Constant(rate) => Err(Error::argument("learning_rate", "a number of at least 0", rate)),
        }
    }
}

impl From<f32> for LearningRate {
    fn from(rate: f32) -> Self {
        Self::Constant(rate)
    }
}

also_argument!(f32 => LearningRate);
