//! Learning-rate schedules: the learning rate as a function of the steps taken, by Keras's formulas in Keras's float32.
//!
//! A schedule takes the place of a learning rate; the first step is step 0. A custom schedule implements the same
//! trait, and needs only a description and a formula:
//!
//! ```
//! use brasa::prelude::*;
//! use brasa::schedules::{LearningRate, Schedule};
//!
//! brasa::describe! {
//!     /// The inverse square root of the step, times an initial rate.
//!     pub struct SquareRootDecay {
//!         /// The learning rate of the first step.
//!         initial_learning_rate: f32 = 0.1,
//!     }
//! }
//!
//! impl Schedule for SquareRootDecay {
//!     fn at(&self, step: u64) -> f32 {
//!         self.initial_learning_rate / (step as f32 + 1.0).sqrt()
//!     }
//! }
//!
//! let built_in = SGD::new(ExponentialDecay::new(0.1, 1000, 0.96).staircase(true));
//! let own = Adam::new(LearningRate::schedule(SquareRootDecay::default()));
//! ```

mod cosine;
mod decay;
mod learning_rate;
mod list;
mod piecewise;

use std::fmt::Debug;

use serde_json::Value as Json;

use crate::config::{Config, Configure};
use crate::error::{Error, Result};

pub use cosine::{CosineDecay, CosineDecayRestarts};
pub use decay::{ExponentialDecay, InverseTimeDecay, PolynomialDecay};
pub use learning_rate::LearningRate;
pub use list::{from_json, names};
pub use piecewise::PiecewiseConstantDecay;

/// A learning rate that changes from step to step.
pub trait Schedule: ScheduleObject + Debug + Send + Sync {
    /// The rate of a step, counted from 0.
    fn at(&self, step: u64) -> f32;

    /// Refuses invalid arguments.
    ///
    /// # Errors
    /// [`Error::Argument`].
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// Methods of every schedule, implemented for each [`Configure`].
pub trait ScheduleObject {
    /// Its class name.
    fn class_name(&self) -> &'static str;
    /// Its arguments.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if it holds something that cannot be serialized.
    fn config(&self) -> Result<Config>;
    /// A copy.
    fn boxed_clone(&self) -> Box<dyn Schedule>;
    /// Its form in a Keras file.
    #[doc(hidden)]
    fn object(&self) -> Result<Json>;
}

impl<S: Schedule + Configure + Clone + 'static> ScheduleObject for S {
    fn class_name(&self) -> &'static str {
        S::CLASS_NAME
    }

    fn config(&self) -> Result<Config> {
        Configure::config(self)
    }

    fn boxed_clone(&self) -> Box<dyn Schedule> {
        Box::new(self.clone())
    }

    fn object(&self) -> Result<Json> {
        list::object::<S>(Configure::config(self)?)
    }
}

impl Clone for Box<dyn Schedule> {
    fn clone(&self) -> Self {
        (**self).boxed_clone()
    }
}

/// Refuses zero steps.
fn check_steps(name: &'static str, steps: u64) -> Result<()> {
    if steps > 0 {
        return Ok(());
    }
    Err(Error::argument(name, "an integer above 0", steps))
}

/// Refuses numbers that are not finite.
fn check_finite(numbers: &[(&'static str, f32)]) -> Result<()> {
    match numbers.iter().find(|(_, number)| !number.is_finite()) {
        None => Ok(()),
        Some((name, number)) => Err(Error::argument(*name, "a finite number", number)),
    }
}
