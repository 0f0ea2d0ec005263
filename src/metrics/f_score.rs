//! F-scores, which combine precision and recall.

use super::SumMetric;
use crate::error::{Error, Result};
use crate::losses::{one_minus, ones_like};
use crate::ops::Value;

/// Keras's epsilon, added to divisors.
const EPSILON: f64 = 1e-7;

crate::describe! {
    /// `(1 + beta²) · precision · recall / (beta² · precision + recall)` for each class of the last dimension.
    ///
    /// Without a `threshold` the most probable class is the prediction. `average`: `None` returns a result per class,
    /// `micro` counts all classes together, `macro` takes the mean, `weighted` the mean weighted by the frequency of
    /// each class.
    pub struct FBetaScore {
        /// `micro`, `macro`, `weighted` or `None`.
        average: Option<String> = None,
        /// The weight of recall relative to precision.
        beta: f32 = 1.0,
        /// Predictions above it are positive.
        threshold: Option<f32> = None,
        /// The metric's name.
        name: String = "fbeta_score".into(),
    }
}

crate::describe! {
    /// The harmonic mean of precision and recall: [`FBetaScore`] with a `beta` of 1.
    pub struct F1Score {
        /// `micro`, `macro`, `weighted` or `None`.
        average: Option<String> = None,
        /// Predictions above it are positive.
        threshold: Option<f32> = None,
        /// The metric's name.
        name: String = "f1_score".into(),
    }
}

impl F1Score {
    fn general(&self) -> FBetaScore {
        FBetaScore { average: self.average.clone(), threshold: self.threshold, ..FBetaScore::default() }
    }
}

impl SumMetric for F1Score {
    fn sums(&self, y_true: Value, y_pred: Value, weights: Option<&Value>) -> Result<Value> {
        self.general().sums(y_true, y_pred, weights)
    }

    fn results(&self, sums: &[f64]) -> Vec<f64> {
        self.general().results(sums)
    }

    fn can_have(&self, sums: usize) -> bool {
        sums > 0 && sums.is_multiple_of(4)
    }

    fn is_list(&self) -> bool {
        self.average.is_none()
    }

    fn check(&self) -> Result<()> {
        self.general().check()
    }
}

impl SumMetric for FBetaScore {
    fn sums(&self, y_true: Value, y_pred: Value, weights: Option<&Value>) -> Result<Value> {
        let sizes = y_pred.sizes();
        if sizes.len() != 2 || y_true.sizes() != sizes {
            let received = format!("targets {:?} and outputs {sizes:?}", y_true.sizes());
            return Err(Error::data("targets y", "targets and outputs of shape (batch, classes)", received));
        }
        let found = match self.threshold {
            Some(threshold) => y_pred.greater_scalar(threshold),
            None => {
                let largest = y_pred.clone().max_axis(1).expand(&sizes);
                y_pred.clone().equal(largest) * y_pred.abs().greater_scalar(1e-9)
            }
        };
        let weights = match weights {
            Some(weights) => weights.clone().reshape(&[sizes[0], 1])?.expand(&sizes),
            None => ones_like(&y_true)?,
        };
        let total = |value: Value| (value * weights.clone()).sum_axis(0);
        let rows = vec![
            total(found.clone() * y_true.clone()),
            total(found.clone() * one_minus(y_true.clone())),
            total(one_minus(found) * y_true.clone()),
            total(y_true),
        ];
        Value::concat(rows, 0)
    }

    fn results(&self, sums: &[f64]) -> Vec<f64> {
        let classes = sums.len() / 4;
        let rows: Vec<&[f64]> = sums.chunks_exact(classes.max(1)).collect();
        let square = f64::from(self.beta).powi(2);
        let score = |right: f64, wrong: f64, missed: f64| {
            let precision = right / (right + wrong + EPSILON);
            let recall = right / (right + missed + EPSILON);
            precision * recall / (square * precision + recall + EPSILON) * (1.0 + square)
        };
        if self.average.as_deref() == Some("micro") {
            let all = |row: usize| rows[row].iter().sum();
            return vec![score(all(0), all(1), all(2))];
        }
        let scores = (0..classes).map(|class| score(rows[0][class], rows[1][class], rows[2][class]));
        match self.average.as_deref() {
            Some("macro") => vec![scores.sum::<f64>() / classes as f64],
            Some(_) => {
                let all = rows[3].iter().sum::<f64>() + EPSILON;
                vec![scores.zip(rows[3]).map(|(score, weight)| score * weight / all).sum()]
            }
            None => scores.collect(),
        }
    }

    fn can_have(&self, sums: usize) -> bool {
        sums > 0 && sums.is_multiple_of(4)
    }

    fn is_list(&self) -> bool {
        self.average.is_none()
    }

    fn check(&self) -> Result<()> {
        if let Some(average) = &self.average
            && !["micro", "macro", "weighted"].contains(&average.as_str())
        {
            return Err(Error::unknown("average", average, ["micro", "macro", "weighted"]));
        }
        if !(self.beta.is_finite() && self.beta > 0.0) {
            return Err(Error::argument("beta", "a number above 0", self.beta));
        }
        match self.threshold {
            Some(threshold) if !(threshold > 0.0 && threshold <= 1.0) => {
                Err(Error::argument("threshold", "a number above 0 and at most 1", threshold))
            }
            _ => Ok(()),
        }
    }
}
