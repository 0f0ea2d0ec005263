//! The learning rate of an optimizer.

use serde::{Serialize, Serializer};

use super::Schedule;
use crate::config::also_argument;
use crate::error::{Error, Result};

/// A learning rate: a number, or a [schedule](crate::schedules).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LearningRate {
    /// The same at every step.
    Constant(f32),
    /// A function of the step.
    Schedule(Box<dyn Schedule>),
}

impl LearningRate {
    /// A schedule; the built-in ones also convert directly.
    pub fn schedule(schedule: impl Schedule + 'static) -> Self {
        Self::Schedule(Box::new(schedule))
    }

    /// The rate of the step after `iterations` others.
    pub fn at(&self, iterations: u64) -> f32 {
        match self {
            Self::Constant(rate) => *rate,
            Self::Schedule(schedule) => schedule.at(iterations),
        }
    }

    /// The rate if it is constant; Keras stores it in a file beside the optimizer's state.
    pub fn constant(&self) -> Option<f32> {
        match self {
            Self::Constant(rate) => Some(*rate),
            Self::Schedule(_) => None,
        }
    }

    /// Restores the rate that a file has beside the optimizer's state.
    pub(crate) fn restore(&mut self, rate: f32) {
        if let Self::Constant(own) = self {
            *own = rate;
        }
    }

    /// Refuses negative rates and rates that are not finite, and schedules with invalid arguments.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Constant(rate) if rate.is_finite() && *rate >= 0.0 => Ok(()),
            Self::Constant(rate) => Err(Error::argument("learning_rate", "a number of at least 0", rate)),
            Self::Schedule(schedule) => schedule.check(),
        }
    }
}

impl From<f32> for LearningRate {
    fn from(rate: f32) -> Self {
        Self::Constant(rate)
    }
}

also_argument!(f32 => LearningRate);

impl Serialize for LearningRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Constant(rate) => rate.serialize(serializer),
            Self::Schedule(schedule) => schedule.object().map_err(serde::ser::Error::custom)?.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schedules::ExponentialDecay;

    #[test]
    fn a_number_and_a_schedule_survive_a_round_trip() {
        for rate in [LearningRate::from(0.5), ExponentialDecay::new(0.1, 2, 0.5).staircase(true).into()] {
            let config = serde_json::to_value(&rate).unwrap();
            let back: LearningRate = serde_json::from_value(config.clone()).unwrap();
            assert_eq!(serde_json::to_value(&back).unwrap(), config);
            assert_eq!(back.at(3), rate.at(3));
        }
        assert!(serde_json::from_value::<LearningRate>(json!("fast")).is_err());
    }
}
