//! Confusion counts as metrics.

use super::SumMetric;
use super::confusion::{Counting, ThresholdCounts, Thresholds, check_thresholds};
use crate::error::Result;
use crate::ops::Value;

macro_rules! count {
    ($(#[$doc:meta])* $name:ident, $number:expr) => {
        crate::describe! {
            $(#[$doc])*
            ///
            /// Predictions above a threshold are positive; with several thresholds there is a result for each.
            pub struct $name {
                /// The threshold, by default 0.5; or several.
                thresholds: Option<Thresholds> = None,
                /// The metric's name.
                name: Option<String> = None,
            }
        }

        impl SumMetric for $name {
            fn sums(&self, y_true: Value, y_pred: Value, weights: Option<&Value>) -> Result<Value> {
                Counting::with_defaults(self.thresholds.as_ref(), None, None).sums(y_true, y_pred, weights)
            }

            fn results(&self, sums: &[f64]) -> Vec<f64> {
                let thresholds = self.thresholds.as_ref().map_or(1, |thresholds| thresholds.to_vec().len());
                let number: fn(&ThresholdCounts, usize) -> f64 = $number;
                let counts = ThresholdCounts::from_sums(sums, thresholds);
                counts.iter().flat_map(|counts| (0..thresholds).map(|i| number(counts, i))).collect()
            }

            fn can_have(&self, sums: usize) -> bool {
                ThresholdCounts::are_of(sums, self.thresholds.as_ref().map_or(1, |thresholds| thresholds.to_vec().len()))
            }

            fn is_list(&self) -> bool {
                self.thresholds.as_ref().is_some_and(|thresholds| thresholds.to_vec().len() > 1)
            }

            fn check(&self) -> Result<()> {
                check_thresholds(self.thresholds.as_ref())
            }
        }
    };
}

count! {
    /// The number of positives predicted as positive.
    TruePositives, |counts, i| counts.true_positives[i]
}
count! {
    /// The number of negatives predicted as negative.
    TrueNegatives, |counts, i| counts.negatives - counts.false_positives[i]
}
count! {
    /// The number of negatives predicted as positive.
    FalsePositives, |counts, i| counts.false_positives[i]
}
count! {
    /// The number of positives predicted as negative.
    FalseNegatives, |counts, i| counts.positives - counts.true_positives[i]
}
