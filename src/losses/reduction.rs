//! The reduction of a batch's losses to one number.

use serde::Deserialize;

use crate::config::words;
use crate::error::{Error, Result};
use crate::ops::Value;

/// The reduction of a batch's losses: `Reduction::Sum`, or the word `"sum"`.
///
/// ```
/// use brasa::losses::{MeanSquaredError, Reduction};
/// use brasa::prelude::*;
/// assert_eq!(MeanSquaredError::default().reduction("sum").reduction, Reduction::Sum);
/// let wrong = Compile::new("adam", MeanSquaredError::default().reduction("smu"));
/// assert!(Sequential::new().compile(wrong).is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reduction {
    /// The weighted sum, divided by the number of losses, or of those that a mask counts (not by the sum of the
    /// weights).
    #[default]
    SumOverBatchSize,
    /// The weighted sum.
    Sum,
    /// The same as [`SumOverBatchSize`](Self::SumOverBatchSize).
    Mean,
    /// The weighted sum, divided by the sum of the weights.
    MeanWithSampleWeight,
    /// An unknown word. It is kept until the model is compiled, whose error lists the valid words.
    Unknown(&'static str),
}

words! {
    Reduction: "reduction" {
        SumOverBatchSize = "sum_over_batch_size", Sum = "sum", Mean = "mean",
        MeanWithSampleWeight = "mean_with_sample_weight",
    }
}

/// Keras's `none` is refused: a vector of losses cannot be minimized.
impl<'de> Deserialize<'de> for Reduction {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let names = [
            ("sum_over_batch_size", Self::SumOverBatchSize),
            ("sum", Self::Sum),
            ("mean", Self::Mean),
            ("mean_with_sample_weight", Self::MeanWithSampleWeight),
        ];
        crate::config::one_of("reduction", &value, &names)
    }
}

/// A sum of losses, before it is divided.
pub(crate) struct Reduced {
    /// The weighted sum, one element.
    pub total: Value,
    /// Its divisor.
    pub divisor: Divisor,
}

/// The divisor of a sum of losses.
pub(crate) enum Divisor {
    /// Nothing.
    One,
    /// The number of losses.
    Count(f32),
    /// The sum of weights, or the number of those that count; one element.
    Sum(Box<Value>),
}

impl Reduced {
    /// The quotient; 0 / 0 is 0.
    pub fn divided(self) -> Value {
        match self.divisor {
            Divisor::One => self.total,
            Divisor::Count(count) => self.total.mul_scalar(1.0 / count),
            Divisor::Sum(sum) => self.total / ((*sum).clone() + sum.equal_scalar(0.0)),
        }
    }
}

impl Reduction {
    /// Reduces the losses, with optional weights and an optional mask of those that count (1 or 0).
    ///
    /// # Shapes
    /// losses (batch, …); weights and counted (batch,), (batch, steps), … up to the losses' own → one element.
    ///
    /// # Errors
    /// [`Error::Data`] for incompatible weights.
    pub fn reduce(self, losses: Value, weights: Option<&Value>, counted: Option<&Value>) -> Result<Value> {
        self.summed(losses, weights, counted).map(Reduced::divided)
    }

    /// As [`reduce`](Self::reduce), before the division.
    pub(crate) fn summed(self, losses: Value, weights: Option<&Value>, counted: Option<&Value>) -> Result<Reduced> {
        // A loss of the whole batch is repeated for each weight.
        let most = [weights, counted].into_iter().flatten().max_by_key(|weights| weights.len());
        let losses = match most {
            Some(most) if losses.len() == 1 && most.len() > 1 => {
                losses.reshape(&vec![1; most.rank()])?.expand(&most.sizes())
            }
            _ => losses,
        };
        let count = losses.len().max(1) as f32;
        let counted = counted.map(|counted| spread(counted.clone(), &losses)).transpose()?;
        let weights = weights.map(|weights| spread(weights.clone(), &losses)).transpose()?;
        let weights = match (weights, &counted) {
            (Some(weights), Some(counted)) => Some(weights * counted.clone()),
            (None, Some(counted)) => Some(counted.clone()),
            (weights, None) => weights,
        };
        let total = match &weights {
            Some(weights) => (losses * weights.clone()).sum(),
            None => losses.sum(),
        };
        let divisor = match (self, weights, counted) {
            (Self::Sum, ..) => Divisor::One,
            (Self::MeanWithSampleWeight, Some(weights), _) => Divisor::Sum(weights.sum().into()),
            (_, _, Some(counted)) => Divisor::Sum(counted.sum().into()),
            _ => Divisor::Count(count),
        };
        Ok(Reduced { total, divisor })
    }
}

/// Broadcasts weights to `values`: a sample's weight holds for everything in it, a step's for everything in the step.
/// Last dimensions of 1 can be missing or surplus.
pub(crate) fn spread(weights: Value, values: &Value) -> Result<Value> {
    let (own, sizes) = (weights.sizes(), values.sizes());
    if own == sizes {
        return Ok(weights);
    }
    let used = own.iter().rposition(|size| *size != 1).map_or(1, |last| last + 1);
    if sizes.len() < used || own[..used] != sizes[..used] {
        let expected = format!("one for each sample, or for each step as far as losses of sizes {sizes:?} have them");
        return Err(Error::data("weights", expected, format!("{own:?}")));
    }
    let mut column = vec![1; sizes.len()];
    column[..used].copy_from_slice(&own[..used]);
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
    fn ignored_losses_are_not_in_the_divisor() {
        let (losses, counted) = (rows(&[&[1.0], &[7.0], &[3.0]]), rows(&[&[1.0], &[0.0], &[1.0]]));
        let of =
            |reduction: Reduction| reduction.reduce(losses.clone(), None, Some(&counted)).unwrap().to_scalar().unwrap();
        assert_eq!((of(Reduction::SumOverBatchSize), of(Reduction::Sum)), (2.0, 4.0));
        let none = rows(&[&[0.0], &[0.0], &[0.0]]);
        assert_eq!(Reduction::Mean.reduce(losses.clone(), None, Some(&none)).unwrap().to_scalar().unwrap(), 0.0);
    }

    /// Weights of steps hold for everything in them; the values are those of Keras 3.15.1.
    #[test]
    fn weights_of_steps_are_broadcast() {
        let losses = rows(&[&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]]);
        let steps = rows(&[&[1.0, 0.5, 0.0], &[2.0, 0.0, 1.0]]);
        let mean = |weights: &Value, counted: Option<&Value>| {
            let reduced = Reduction::SumOverBatchSize.reduce(losses.clone(), Some(weights), counted).unwrap();
            reduced.to_scalar().unwrap()
        };
        assert_eq!(mean(&steps, None), 16.0 / 6.0);
        assert_eq!(mean(&steps.clone().reshape(&[2, 3, 1]).unwrap(), None), 16.0 / 6.0);
        assert_eq!(mean(&steps, Some(&rows(&[&[1.0, 1.0, 0.0], &[1.0, 0.0, 0.0]]))), 10.0 / 3.0);
        let samples = rows(&[&[1.0], &[0.0]]);
        assert_eq!(mean(&samples, None), 1.0);
        // A mask of samples masks all of their steps.
        assert_eq!(mean(&steps, Some(&samples)), 2.0 / 3.0);
    }

    #[test]
    fn incompatible_weights_are_refused() {
        let weights = rows(&[&[1.0, 0.5, 2.0]]);
        assert!(Reduction::Sum.reduce(rows(&[&[1.0], &[3.0]]), Some(&weights), None).is_err());
        let per_step = rows(&[&[1.0, 0.5], &[1.0, 2.0]]);
        let error = Reduction::Sum.reduce(rows(&[&[1.0], &[3.0]]), Some(&per_step), None).unwrap_err().to_string();
        assert!(error.contains("[2, 2]"), "{error}");
    }
}
