//! The best of one rate under a constraint on another, over even thresholds.

use super::SumMetric;
use super::confusion::{Counting, ThresholdCounts, check_count_of_thresholds};
use crate::error::{Error, Result};
use crate::ops::Value;

macro_rules! constrained {
    ($(#[$doc:meta])* $name:ident, $bound:ident, $constrained:expr, $wanted:expr) => {
        crate::describe! {
            $(#[$doc])*
            pub struct $name {
                /// The lower bound of the constrained rate.
                $bound: f32,
                /// The number of thresholds from 0 to 1.
                num_thresholds: usize = 200,
                /// The class of the last dimension to evaluate.
                class_id: Option<usize> = None,
                /// The metric's name.
                name: Option<String> = None,
            }
        }

        impl $name {
            /// With this lower bound, and 200 thresholds.
            pub fn new($bound: f32) -> Self {
                Self::required($bound)
            }
        }

        impl SumMetric for $name {
            fn sums(&self, y_true: Value, y_pred: Value, weights: Option<&Value>) -> Result<Value> {
                let counting = match self.num_thresholds {
                    1 => Counting::at(&[0.5]),
                    count => Counting::evenly(count),
                };
                Counting { class_id: self.class_id, ..counting }.sums(y_true, y_pred, weights)
            }

            fn results(&self, sums: &[f64]) -> Vec<f64> {
                let (constrained, wanted): (fn(&ThresholdCounts) -> Vec<f64>, fn(&ThresholdCounts) -> Vec<f64>) = ($constrained, $wanted);
                let best = |counts: &ThresholdCounts| {
                    let pairs = constrained(counts).into_iter().zip(wanted(counts));
                    // Compared in float32 as in Keras: a rate of 0.6 is at least 0.6.
                    let enough = pairs.filter(|(rate, _)| *rate as f32 >= self.$bound);
                    enough.fold(0.0, |best, (_, wanted)| f64::max(best, wanted))
                };
                ThresholdCounts::from_sums(sums, self.num_thresholds).iter().map(best).collect()
            }

            fn can_have(&self, sums: usize) -> bool {
                ThresholdCounts::are_of(sums, self.num_thresholds)
            }

            fn check(&self) -> Result<()> {
                if !(0.0..=1.0).contains(&self.$bound) {
                    return Err(Error::argument(stringify!($bound), "a number from 0 to 1", self.$bound));
                }
                check_count_of_thresholds(self.num_thresholds, 1)?;
                Ok(())
            }
        }
    };
}

constrained! {
    /// The highest sensitivity TP / (TP + FN) where the specificity TN / (TN + FP) is at least this.
    SensitivityAtSpecificity, specificity, ThresholdCounts::specificities, ThresholdCounts::recalls
}
constrained! {
    /// The highest specificity TN / (TN + FP) where the sensitivity TP / (TP + FN) is at least this.
    SpecificityAtSensitivity, sensitivity, ThresholdCounts::recalls, ThresholdCounts::specificities
}
constrained! {
    /// The highest precision TP / (TP + FP) where the recall TP / (TP + FN) is at least this.
    PrecisionAtRecall, recall, ThresholdCounts::recalls, ThresholdCounts::precisions
}
constrained! {
    /// The highest recall TP / (TP + FN) where the precision TP / (TP + FP) is at least this.
    RecallAtPrecision, precision, ThresholdCounts::precisions, ThresholdCounts::recalls
}
