//! Regression metrics that are not also losses.

use super::summed::ratio;
use super::{MeanFunction, SumMetric, described};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::losses::{self, Loss, ones_like, spread};
use crate::ops::Value;

crate::describe! {
    /// The cosine similarity of target and prediction, 1 in the same direction; the loss of this name has the other
    /// sign.
    pub struct CosineSimilarity {
        /// The metric's name.
        name: Option<String> = None,
        /// The axis of the vectors.
        axis: isize = -1,
    }
}

impl MeanFunction for CosineSimilarity {
    fn values(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        losses::cosines(y_true, y_pred, self.axis)
    }

    fn config(&self) -> Option<(&'static str, Config)> {
        described(self)
    }
}

crate::describe! {
    /// The mean of `log(cosh(y_pred − y_true))`.
    pub struct LogCoshError {
        /// The metric's name.
        name: String = "logcosh".into(),
    }
}

impl MeanFunction for LogCoshError {
    fn values(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        losses::LogCosh::default().losses(y_true, y_pred)
    }

    fn config(&self) -> Option<(&'static str, Config)> {
        described(self)
    }
}

crate::describe! {
    /// The root of the mean of `(y_pred − y_true)²`.
    pub struct RootMeanSquaredError {
        /// The metric's name.
        name: Option<String> = None,
    }
}

impl SumMetric for RootMeanSquaredError {
    fn sums(&self, y_true: Value, y_pred: Value, weights: Option<&Value>) -> Result<Value> {
        let squares = (y_pred - y_true).square();
        let weights = match weights {
            Some(weights) => spread(weights.clone(), &squares)?,
            None => ones_like(&squares)?,
        };
        Value::concat(vec![(squares * weights.clone()).sum(), weights.sum()], 0)
    }

    fn results(&self, sums: &[f64]) -> Vec<f64> {
        vec![ratio(sums[0], sums[1]).sqrt()]
    }

    fn can_have(&self, sums: usize) -> bool {
        sums == 2
    }
}

crate::describe! {
    /// The coefficient of determination: `1 − Σ(t − p)² / Σ(t − mean(t))²` for each output.
    ///
    /// `class_aggregation`: `uniform_average` is the mean over the outputs, `variance_weighted_average` the mean
    /// weighted by each target's variance; `None` returns a result per output. With `num_regressors` it is the adjusted
    /// coefficient.
    pub struct R2Score {
        /// `uniform_average`, `variance_weighted_average` or `None`.
        class_aggregation: Option<String> = Some("uniform_average".into()),
        /// The number of independent variables, for the adjusted coefficient.
        num_regressors: usize = 0,
        /// The metric's name.
        name: String = "r2_score".into(),
    }
}

impl SumMetric for R2Score {
    fn sums(&self, y_true: Value, y_pred: Value, weights: Option<&Value>) -> Result<Value> {
        let sizes = y_pred.sizes();
        if sizes.len() != 2 {
            return Err(Error::shape("ndim=2", format!("{sizes:?}")));
        }
        let ones = ones_like(&y_true)?;
        let weights = match weights {
            Some(weights) => spread(weights.clone(), &y_true)?,
            None => ones.clone(),
        };
        let rest = (y_true.clone() - y_pred).square();
        let rows = [
            y_true.clone() * weights.clone(),
            y_true.square() * weights.clone(),
            rest * weights.clone(),
            weights,
            ones,
        ];
        Value::concat(rows.into_iter().map(|row| row.sum_axis(0)).collect(), 0)
    }

    fn results(&self, sums: &[f64]) -> Vec<f64> {
        let outputs = sums.len() / 5;
        let rows: Vec<&[f64]> = sums.chunks_exact(outputs.max(1)).collect();
        let total = |i: usize| rows[1][i] - rows[0][i] * rows[0][i] / rows[3][i];
        let score = |i: usize| {
            let score = 1.0 - rows[2][i] / total(i);
            if score.is_infinite() { 0.0 } else { score }
        };
        let all = 0..outputs;
        let scores = match self.class_aggregation.as_deref() {
            Some("uniform_average") => vec![all.map(score).sum::<f64>() / outputs as f64],
            Some(_) => vec![all.clone().map(|i| total(i) * score(i)).sum::<f64>() / all.map(total).sum::<f64>()],
            None => all.map(score).collect(),
        };
        // Keras counts every output of a sample, and adjusts only if there are enough.
        let (samples, regressors) = (rows[4].iter().sum::<f64>(), self.num_regressors as f64);
        if self.num_regressors == 0 || regressors >= samples - 1.0 {
            return scores;
        }
        scores.into_iter().map(|score| 1.0 - (1.0 - score) * (samples - 1.0) / (samples - regressors - 1.0)).collect()
    }

    fn can_have(&self, sums: usize) -> bool {
        sums > 0 && sums.is_multiple_of(5)
    }

    fn is_list(&self) -> bool {
        self.class_aggregation.is_none()
    }

    fn check(&self) -> Result<()> {
        match self.class_aggregation.as_deref() {
            None | Some("uniform_average" | "variance_weighted_average") => Ok(()),
            Some(other) => {
                Err(Error::unknown("class_aggregation", other, ["uniform_average", "variance_weighted_average"]))
            }
        }
    }
}
