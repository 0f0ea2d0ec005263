//! Confusion counts at one or many thresholds.

use serde::{Deserialize, Serialize};

use super::summed::ratio;
use crate::error::{Error, Result};
use crate::losses::{one_minus, ones_like, spread};
use crate::memory;
use crate::ops::{ElementWise, Value};
use crate::shape::check_count;

/// One threshold, or several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Thresholds {
    /// One.
    One(f32),
    /// Several, each with its own result.
    Several(Vec<f32>),
}

impl Thresholds {
    pub(super) fn to_vec(&self) -> Vec<f32> {
        match self {
            Self::One(threshold) => vec![*threshold],
            Self::Several(thresholds) => thresholds.clone(),
        }
    }
}

macro_rules! thresholds_from {
    ($($from:ty, $value:ident => $to:expr, [$($size:tt)*]);* $(;)?) => {$(
        impl<$($size)*> crate::config::Argument<Option<Thresholds>> for $from {
            fn into_argument(self) -> Option<Thresholds> {
                let $value = self;
                Some($to)
            }
        }
    )*};
}

thresholds_from! {
    f32, threshold => Thresholds::One(threshold), [];
    Vec<f32>, thresholds => Thresholds::Several(thresholds), [];
    [f32; N], thresholds => Thresholds::Several(thresholds.into()), [const N: usize];
}

/// Refuses thresholds outside 0 to 1.
pub(super) fn check_thresholds(thresholds: Option<&Thresholds>) -> Result<()> {
    let thresholds = thresholds.map(Thresholds::to_vec);
    if thresholds.as_ref().is_some_and(Vec::is_empty) {
        return Err(Error::argument("thresholds", "at least one number from 0 to 1", "none"));
    }
    match thresholds.iter().flatten().find(|threshold| !(0.0..=1.0).contains(*threshold)) {
        None => Ok(()),
        Some(threshold) => Err(Error::argument("thresholds", "numbers from 0 to 1", threshold)),
    }
}

/// The maximum number of thresholds, each of which is compared with each prediction.
const MAX_THRESHOLDS: usize = 1 << 20;

/// Refuses a number of even thresholds below `least`, and one that would only exhaust memory.
pub(super) fn check_count_of_thresholds(count: usize, least: usize) -> Result<()> {
    if (least..=MAX_THRESHOLDS).contains(&count) {
        return Ok(());
    }
    Err(Error::argument("num_thresholds", format!("an integer from {least} to {MAX_THRESHOLDS}"), count))
}

/// A replacement for excluded predictions.
const EXCLUDED: f32 = -1e10;

/// The counting of a batch.
#[derive(Clone, Debug, Default)]
pub(super) struct Counting {
    /// A prediction times `factor` is positive if it is above the edge.
    pub edges: Vec<f32>,
    pub factor: f32,
    /// Whether predictions are first clipped to 0 to 1.
    pub clip: bool,
    pub top_k: Option<usize>,
    pub class_id: Option<usize>,
    /// Whether each label (of the last dimension) is counted separately.
    pub by_label: bool,
    pub label_weights: Option<Vec<f32>>,
}

impl Counting {
    /// At these thresholds. Those that Keras counts in even buckets are also compared by bucket here, for the same
    /// rounding.
    pub fn at(thresholds: &[f32]) -> Self {
        let last = thresholds.len().saturating_sub(1) as f32;
        let even = |(i, t): (usize, &f32)| (t - i as f32 / last).abs() <= 1e-7 + 1e-5 * (i as f32 / last);
        if thresholds.len() >= 3 && thresholds.iter().enumerate().all(even) {
            return Self::evenly(thresholds.len());
        }
        Self { edges: thresholds.to_vec(), factor: 1.0, ..Self::default() }
    }

    /// At `count` even thresholds from 0 to 1.
    pub fn evenly(count: usize) -> Self {
        let edges = (0..count).map(|i| i as f32).collect();
        Self { edges, factor: (count - 1) as f32, clip: true, ..Self::default() }
    }

    /// At the given thresholds, or at 0.5, or with `top_k` without a threshold.
    pub fn with_defaults(thresholds: Option<&Thresholds>, top_k: Option<usize>, class_id: Option<usize>) -> Self {
        let default = if top_k.is_some() { EXCLUDED } else { 0.5 };
        let thresholds = thresholds.map_or(vec![default], Thresholds::to_vec);
        Self { top_k, class_id, ..Self::at(&thresholds) }
    }

    /// For each label: the weights of true positives at each edge and of all positives, then those of false positives
    /// and all negatives.
    pub fn sums(&self, y_true: Value, y_pred: Value, weights: Option<&Value>) -> Result<Value> {
        let weights = weights.map(|weights| spread(weights.clone(), &y_pred)).transpose()?;
        let last = y_pred.rank() - 1;
        let classes = y_pred.sizes()[last];
        let mut y_pred = match self.top_k {
            Some(k) => only_top_k(y_pred, k),
            None => y_pred,
        };
        let mut labels = one_minus(y_true.equal_scalar(0.0));
        let mut weights = weights.map_or_else(|| ones_like(&labels), Ok)?;
        if let Some(own) = &self.label_weights {
            if own.len() != classes {
                return Err(Error::argument("label_weights", format!("{classes} weights"), own.len()));
            }
            let mut row = vec![1; last + 1];
            row[last] = classes;
            weights = weights * Value::from_vec(own.clone(), &row, &y_pred.device())?.expand(&y_pred.sizes());
        }
        if let Some(class) = self.class_id {
            if last == 0 || class >= classes {
                return Err(Error::argument("class_id", format!("a class of outputs {:?}", y_pred.sizes()), class));
            }
            (y_pred, labels, weights) =
                (y_pred.narrow(last, class, 1), labels.narrow(last, class, 1), weights.narrow(last, class, 1));
        }
        if self.clip {
            y_pred = y_pred.clamp(0.0, 1.0);
        }
        let columns = if self.by_label { classes } else { 1 };
        let rows = y_pred.len() / columns;
        let by_label = |value: Value| value.reshape(&[rows, columns])?.permute(&[1, 0]).reshape(&[columns, 1, rows]);
        let kinds = Value::concat(
            vec![by_label(labels.clone() * weights.clone())?, by_label(one_minus(labels) * weights)?],
            1,
        )?;
        // The last edge is below everything, and so counts the totals.
        let edges: Vec<f32> = self.edges.iter().copied().chain([f32::MIN]).collect();
        let sizes = [columns, rows, edges.len()];
        // Each score broadcast to each edge, and the comparisons.
        memory::check_room("a metric with thresholds", check_count(&sizes)?.saturating_mul(3))?;
        let edges = Value::from_vec(edges, &[1, 1, sizes[2]], &y_pred.device())?.expand(&sizes);
        let scores = by_label(y_pred.mul_scalar(self.factor))?.reshape(&[columns, rows, 1])?.expand(&sizes);
        Ok(kinds.matmul(scores.greater(edges)))
    }
}

/// Replaces predictions that are not among the k largest of the last dimension; of ties the first are kept.
fn only_top_k(y_pred: Value, k: usize) -> Value {
    struct Largest(usize);
    impl ElementWise for Largest {
        fn apply<const D: usize>(&self, x: burn::tensor::Tensor<D>) -> burn::tensor::Tensor<D> {
            let size = x.dims()[D - 1];
            x.sort_descending(D - 1).narrow(D - 1, self.0.min(size) - 1, 1)
        }
    }
    let (last, sizes) = (y_pred.rank() - 1, y_pred.sizes());
    let smallest = y_pred.clone().map(Largest(k)).expand(&sizes);
    let above = y_pred.clone().greater(smallest.clone());
    let room = one_minus(above.clone().sum_axis(last)).add_scalar(k as f32 - 0.5).expand(&sizes);
    let equal = y_pred.clone().equal(smallest);
    let chosen = above + equal.clone() * room.greater(equal.cumsum(last));
    y_pred * chosen.clone() + one_minus(chosen).mul_scalar(EXCLUDED)
}

/// The counts of one label at each threshold.
#[derive(Clone, Debug)]
pub(super) struct ThresholdCounts {
    pub true_positives: Vec<f64>,
    pub false_positives: Vec<f64>,
    pub positives: f64,
    pub negatives: f64,
}

impl ThresholdCounts {
    /// The counts of each label, from the sums of [`Counting`].
    pub fn from_sums(sums: &[f64], thresholds: usize) -> Vec<Self> {
        let one = |label: &[f64]| {
            let (positive, negative) = label.split_at(thresholds + 1);
            Self {
                true_positives: positive[..thresholds].to_vec(),
                false_positives: negative[..thresholds].to_vec(),
                positives: positive[thresholds],
                negatives: negative[thresholds],
            }
        };
        sums.chunks_exact(2 * (thresholds + 1)).map(one).collect()
    }

    /// Whether this is the number of sums of complete labels.
    pub fn are_of(sums: usize, thresholds: usize) -> bool {
        sums > 0 && sums.is_multiple_of(2 * (thresholds + 1))
    }

    /// The precision at each threshold.
    pub fn precisions(&self) -> Vec<f64> {
        self.true_positives.iter().zip(&self.false_positives).map(|(tp, fp)| ratio(*tp, tp + fp)).collect()
    }

    /// The recall at each threshold.
    pub fn recalls(&self) -> Vec<f64> {
        self.true_positives.iter().map(|tp| ratio(*tp, self.positives)).collect()
    }

    /// The specificity at each threshold.
    pub fn specificities(&self) -> Vec<f64> {
        self.false_positives.iter().map(|fp| ratio(self.negatives - fp, self.negatives)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::tests::rows;

    #[test]
    fn ties_keep_the_first_predictions() {
        let chosen = only_top_k(rows(&[&[0.3, 0.3, 0.4], &[0.2, 0.2, 0.2], &[0.5, 0.1, 0.4]]), 2).to_vec().unwrap();
        let chosen: Vec<bool> = chosen.iter().map(|value| *value > -1.0).collect();
        assert_eq!(chosen, [true, false, true, true, true, false, true, false, true]);
    }
}
