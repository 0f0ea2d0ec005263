//! From the losses of a batch to one number.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ops::Value;

/// What is done with the losses of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reduction {
    /// The weighted sum, divided by the number of losses (not by the sum of the weights).
    #[default]
    SumOverBatchSize,
    /// The weighted sum.
    Sum,
    /// The same as [`SumOverBatchSize`](Self::SumOverBatchSize).
    Mean,
    /// The weighted sum, divided by the sum of the weights.
    MeanWithSampleWeight,
}

impl Reduction {
    /// One number from the losses and, if given, a weight for each sample.
    ///
    /// # Shapes
    /// losses (batch, …), weights (batch,) or the losses' own → one element.
    ///
    /// # Errors
    /// [`Error::Data`] for weights that do not fit.
    pub fn reduce(self, losses: Value, weights: Option<&Value>) -> Result<Value> {
        let count = losses.len().max(1) as f32;
        let Some(weights) = weights else {
            return Ok(match self {
                Self::Sum => losses.sum(),
                _ => losses.sum().mul_scalar(1.0 / count),
            });
        };
        let weights = spread(weights.clone(), &losses)?;
        let total = (losses * weights.clone()).sum();
        Ok(match self {
            Self::Sum => total,
            Self::MeanWithSampleWeight => total / weights.sum().clamp_min(1e-12),
            _ => total.mul_scalar(1.0 / count),
        })
    }
}

/// Weights for samples as weights for every loss of each sample.
pub(crate) fn spread(weights: Value, losses: &Value) -> Result<Value> {
    let sizes = losses.sizes();
    if weights.len() == losses.len() {
        return weights.reshape(&sizes);
    }
    if weights.len() != sizes[0] {
        let received = format!("{:?}", weights.sizes());
        return Err(Error::data("sample weights", format!("one for each of the {} samples", sizes[0]), received));
    }
    let mut column = vec![1; sizes.len()];
    column[0] = sizes[0];
    Ok(weights.reshape(&column)?.expand(&sizes))
}

#[cfg(test)]
mod tests {
    use super::super::tests::rows;
    use super::*;

    #[test]
    fn weights_do_not_change_the_divisor() {
        let losses = rows(&[&[1.0], &[3.0]]);
        let weights = rows(&[&[1.0, 0.5]]).reshape(&[2]).unwrap();
        let of = |reduction: Reduction| reduction.reduce(losses.clone(), Some(&weights)).unwrap().to_scalar().unwrap();
        assert_eq!(of(Reduction::SumOverBatchSize), 1.25);
        assert_eq!(of(Reduction::Sum), 2.5);
        assert!((of(Reduction::MeanWithSampleWeight) - 2.5 / 1.5).abs() < 1e-6);
    }

    #[test]
    fn weights_that_do_not_fit_are_refused() {
        let weights = rows(&[&[1.0, 0.5, 2.0]]);
        assert!(Reduction::Sum.reduce(rows(&[&[1.0], &[3.0]]), Some(&weights)).is_err());
    }
}
