//! Whether higher or lower values of a metric are better.

use super::list::{class_of, is_accuracy};

/// Classes of metrics where higher is better.
const UP: &[&str] = &[
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "SparseCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "Precision",
    "Recall",
    "SensitivityAtSpecificity",
    "SpecificityAtSensitivity",
    "PrecisionAtRecall",
    "RecallAtPrecision",
    "AUC",
    "PearsonCorrelation",
    "ConcordanceCorrelation",
    "FBetaScore",
    "F1Score",
    "IoU",
    "BinaryIoU",
    "MeanIoU",
    "OneHotIoU",
    "OneHotMeanIoU",
    "CosineSimilarity",
    "R2Score",
];

/// Counts of correct predictions, for which Keras defines no direction.
const RIGHT: &[&str] = &["TruePositives", "TrueNegatives"];

/// Counts of wrong predictions, for which Keras defines no direction either.
const WRONG: &[&str] = &["FalsePositives", "FalseNegatives"];

/// Whether higher is better for a built-in class of metrics, as Keras defines it; `None` where it defines nothing.
pub(crate) fn improves_upwards(class: &str) -> Option<bool> {
    let silent = [RIGHT, WRONG].iter().any(|classes| classes.contains(&class));
    (!silent).then(|| UP.contains(&class))
}

/// Whether lower is better: true for losses and errors, false for accuracies and the like. `metric` is a name, as
/// `compile` takes it, or a class; `None` if it is not built in.
///
/// ```
/// use brasa::metrics::less_is_better;
/// assert_eq!(less_is_better("logcosh"), Some(true));
/// assert_eq!(less_is_better("AUC"), Some(false));
/// assert_eq!(less_is_better("steps"), None);
/// ```
pub fn less_is_better(metric: &str) -> Option<bool> {
    if metric == "loss" || is_accuracy(metric) {
        return Some(metric == "loss");
    }
    let class = class_of(metric)?;
    Some(improves_upwards(class).map_or_else(|| WRONG.contains(&class), |up| !up))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_metric_has_a_direction() {
        for name in crate::metrics::names() {
            assert!(less_is_better(&name).is_some(), "{name}");
        }
        let less =
            ["loss", "mse", "huber", "kld", "log_cosh", "logcosh", "false_negatives", "FalsePositives", "Poisson"];
        assert!(less.iter().all(|name| less_is_better(name) == Some(true)));
        let more = ["acc", "accuracy", "r2_score", "mean_io_u", "cosine_similarity", "true_positives", "F1Score"];
        assert!(more.iter().all(|name| less_is_better(name) == Some(false)));
    }
}
