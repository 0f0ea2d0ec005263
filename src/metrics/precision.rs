//! Precision and recall.

use super::SumMetric;
use super::confusion::{Counting, ThresholdCounts, Thresholds, check_thresholds};
use crate::error::{Error, Result};
use crate::ops::Value;

macro_rules! precision {
    ($(#[$doc:meta])* $name:ident, $results:expr) => {
        crate::describe! {
            $(#[$doc])*
            ///
            /// With `top_k` the k largest predictions of each sample are positive, limited to those above the threshold
            /// if one is given; with `class_id` only one class of the last dimension is evaluated.
            pub struct $name {
                /// The threshold, by default 0.5; or several.
                thresholds: Option<Thresholds> = None,
                /// The maximum number of positive predictions per sample.
                top_k: Option<usize> = None,
                /// The class to evaluate.
                class_id: Option<usize> = None,
                /// The metric's name.
                name: Option<String> = None,
            }
        }

        impl SumMetric for $name {
            fn sums(&self, y_true: Value, y_pred: Value, weights: Option<&Value>) -> Result<Value> {
                let counting = Counting::with_defaults(self.thresholds.as_ref(), self.top_k, self.class_id);
                counting.sums(y_true, y_pred, weights)
            }

            fn results(&self, sums: &[f64]) -> Vec<f64> {
                let thresholds = self.thresholds.as_ref().map_or(1, |thresholds| thresholds.to_vec().len());
                let results: fn(&ThresholdCounts) -> Vec<f64> = $results;
                ThresholdCounts::from_sums(sums, thresholds).iter().flat_map(results).collect()
            }

            fn can_have(&self, sums: usize) -> bool {
                ThresholdCounts::are_of(sums, self.thresholds.as_ref().map_or(1, |thresholds| thresholds.to_vec().len()))
            }

            fn is_list(&self) -> bool {
                self.thresholds.as_ref().is_some_and(|thresholds| thresholds.to_vec().len() > 1)
            }

            fn check(&self) -> Result<()> {
                if self.top_k == Some(0) {
                    return Err(Error::argument("top_k", "an integer above 0", 0));
                }
                check_thresholds(self.thresholds.as_ref())
            }
        }
    };
}

precision! {
    /// The fraction of predicted positives that are positive: TP / (TP + FP).
    Precision, ThresholdCounts::precisions
}
precision! {
    /// The fraction of positives that are predicted: TP / (TP + FN).
    Recall, ThresholdCounts::recalls
}
