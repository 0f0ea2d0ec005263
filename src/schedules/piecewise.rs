//! `PiecewiseConstantDecay`: a constant rate per interval of steps.

use super::Schedule;
use crate::error::{Error, Result};

crate::describe! {
    /// `values[0]` up to step `boundaries[0]` (that step included), then `values[1]` up to the next, and so on.
    pub struct PiecewiseConstantDecay {
        /// The last steps of all intervals but the last, in increasing order.
        boundaries: Vec<u64>,
        /// The rates, one more than boundaries.
        values: Vec<f32>,
        /// The schedule's name.
        name: String = "PiecewiseConstant".into(),
    }
}

impl PiecewiseConstantDecay {
    /// A rate per interval, one more than boundaries.
    pub fn new(boundaries: impl Into<Vec<u64>>, values: impl Into<Vec<f32>>) -> Self {
        Self::required(boundaries.into(), values.into())
    }
}

impl Schedule for PiecewiseConstantDecay {
    fn at(&self, step: u64) -> f32 {
        let stretch = self.boundaries.iter().take_while(|boundary| step > **boundary).count();
        self.values.get(stretch).copied().unwrap_or_default()
    }

    fn check(&self) -> Result<()> {
        if self.values.len() != self.boundaries.len() + 1 {
            let expected = format!("{} rates, one more than boundaries", self.boundaries.len() + 1);
            return Err(Error::argument("values", expected, self.values.len()));
        }
        if !self.boundaries.is_sorted() {
            return Err(Error::argument("boundaries", "steps in rising order", format!("{:?}", self.boundaries)));
        }
        super::check_finite(&self.values.iter().map(|value| ("values", *value)).collect::<Vec<_>>())
    }
}
