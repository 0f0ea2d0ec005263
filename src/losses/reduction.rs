//! From the losses of a batch to one number.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ops::Value;

/// What is done with the losses of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
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

/// Keras's `none` is no name of one: from a loss of many numbers nothing can be trained.
impl<'de> Deserialize<'de> for Reduction {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let told = serde_json::Value::deserialize(deserializer)?;
        let names = [
            ("sum_over_batch_size", Self::SumOverBatchSize),
            ("sum", Self::Sum),
            ("mean", Self::Mean),
            ("mean_with_sample_weight", Self::MeanWithSampleWeight),
        ];
        crate::config::one_of("reduction", &told, &names)
    }
}

impl Reduction {
    /// One number from the losses and, if given, a weight for each sample and which of the losses count (1 or 0).
    ///
    /// # Shapes
    /// losses (batch, …), weights (batch,) or the losses' own, counted as the losses → one element.
    ///
    /// # Errors
    /// [`Error::Data`] for weights that do not fit.
    pub fn reduce(self, losses: Value, weights: Option<&Value>, counted: Option<&Value>) -> Result<Value> {
        // A loss of the whole batch counts once for each weight.
        let losses = match weights {
            Some(weights) if losses.len() == 1 && weights.len() > 1 => losses.reshape(&[1])?.expand(&[weights.len()]),
            _ => losses,
        };
        let count = losses.len().max(1) as f32;
        let weights = weights.map(|weights| spread(weights.clone(), &losses)).transpose()?;
        let weights = match (weights, counted) {
            (Some(weights), Some(counted)) => Some(weights * spread(counted.clone(), &losses)?),
            (None, Some(counted)) => Some(spread(counted.clone(), &losses)?),
            (weights, None) => weights,
        };
        let total = match &weights {
            Some(weights) => (losses * weights.clone()).sum(),
            None => losses.sum(),
        };
        let without_zero = |divisor: Value| divisor.clone() + divisor.equal_scalar(0.0);
        Ok(match (self, weights, counted) {
            (Self::Sum, ..) => total,
            (Self::MeanWithSampleWeight, Some(weights), _) => total / without_zero(weights.sum()),
            (_, _, Some(counted)) => total / without_zero(counted.clone().sum()),
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
        let of =
            |reduction: Reduction| reduction.reduce(losses.clone(), Some(&weights), None).unwrap().to_scalar().unwrap();
        assert_eq!(of(Reduction::SumOverBatchSize), 1.25);
        assert_eq!(of(Reduction::Sum), 2.5);
        assert!((of(Reduction::MeanWithSampleWeight) - 2.5 / 1.5).abs() < 1e-6);
    }

    #[test]
    fn what_does_not_count_is_not_divided_by() {
        let (losses, counted) = (rows(&[&[1.0], &[7.0], &[3.0]]), rows(&[&[1.0], &[0.0], &[1.0]]));
        let of =
            |reduction: Reduction| reduction.reduce(losses.clone(), None, Some(&counted)).unwrap().to_scalar().unwrap();
        assert_eq!((of(Reduction::SumOverBatchSize), of(Reduction::Sum)), (2.0, 4.0));
        let none = rows(&[&[0.0], &[0.0], &[0.0]]);
        assert_eq!(Reduction::Mean.reduce(losses.clone(), None, Some(&none)).unwrap().to_scalar().unwrap(), 0.0);
    }

    #[test]
    fn weights_that_do_not_fit_are_refused() {
        let weights = rows(&[&[1.0, 0.5, 2.0]]);
        assert!(Reduction::Sum.reduce(rows(&[&[1.0], &[3.0]]), Some(&weights), None).is_err());
    }
}
