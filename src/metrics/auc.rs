//! `AUC`: the area under a curve over all thresholds.

use super::SumMetric;
use super::confusion::{Counting, ThresholdCounts, check_count_of_thresholds, check_thresholds};
use super::summed::ratio;
use crate::activations::Activation;
use crate::error::{Error, Result};
use crate::metrics::Thresholds;
use crate::ops::Value;

/// Keras's epsilon, by which the outermost thresholds lie outside 0 to 1.
const EPSILON: f32 = 1e-7;

crate::describe! {
    /// The area under the ROC or precision-recall curve, approximated at 200 even thresholds as in Keras.
    ///
    /// `interpolation` takes the mean of an interval's two heights (for `PR` the interpolation of Davis and Goadrich
    /// 2006), `minoring` the lower and `majoring` the higher one. With `multi_label` each label of the last dimension
    /// has its own area, and the result is their mean, weighted by `label_weights`.
    pub struct AUC {
        /// The number of thresholds.
        num_thresholds: usize = 200,
        /// `ROC`, `PR` or `PRGAIN` (Flach and Kull 2015).
        curve: String = "ROC".into(),
        /// `interpolation`, `minoring` or `majoring`.
        summation_method: String = "interpolation".into(),
        /// The metric's name.
        name: Option<String> = None,
        /// Thresholds between 0 and 1 in place of even ones; 0 and 1 are added.
        thresholds: Option<Vec<f32>> = None,
        /// Whether each label has its own area.
        multi_label: bool = false,
        /// The number of labels.
        num_labels: Option<usize> = None,
        /// A weight for each label.
        label_weights: Option<Vec<f32>> = None,
        /// Whether predictions are logits rather than probabilities.
        from_logits: bool = false,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Curve {
    Roc,
    Pr,
    PrGain,
}

#[derive(Clone, Copy, PartialEq)]
enum Summation {
    Interpolation,
    Minoring,
    Majoring,
}

impl AUC {
    fn curve_kind(&self) -> Result<Curve> {
        match self.curve.as_str() {
            "ROC" | "roc" => Ok(Curve::Roc),
            "PR" | "pr" => Ok(Curve::Pr),
            "PRGAIN" | "prgain" => Ok(Curve::PrGain),
            other => Err(Error::unknown("curve", other, ["ROC", "PR", "PRGAIN"])),
        }
    }

    fn summation(&self) -> Result<Summation> {
        match self.summation_method.as_str() {
            "interpolation" | "Interpolation" => Ok(Summation::Interpolation),
            "minoring" | "Minoring" => Ok(Summation::Minoring),
            "majoring" | "Majoring" => Ok(Summation::Majoring),
            other => Err(Error::unknown("summation_method", other, ["interpolation", "minoring", "majoring"])),
        }
    }

    fn counting(&self) -> Counting {
        let counting = match &self.thresholds {
            None => Counting::evenly(self.num_thresholds),
            Some(thresholds) => {
                let mut inner = thresholds.clone();
                inner.sort_by(f32::total_cmp);
                let all: Vec<f32> = [0.0].into_iter().chain(inner).chain([1.0]).collect();
                let mut counting = Counting::at(&all);
                if !counting.clip {
                    let last = counting.edges.len() - 1;
                    counting.edges[last] += EPSILON;
                }
                counting
            }
        };
        let mut edges = counting.edges;
        edges[0] = -EPSILON;
        let label_weights = self.label_weights.clone().filter(|_| !self.multi_label);
        Counting { edges, by_label: self.multi_label, label_weights, ..counting }
    }

    fn area(&self, counts: &ThresholdCounts) -> f64 {
        let (curve, summation) =
            (self.curve_kind().unwrap_or(Curve::Roc), self.summation().unwrap_or(Summation::Interpolation));
        if curve == Curve::Pr && summation == Summation::Interpolation {
            return interpolated_precision(counts);
        }
        let (x, y) = match curve {
            Curve::Roc => {
                let rates = counts.false_positives.iter().map(|fp| ratio(*fp, counts.negatives));
                (rates.collect(), counts.recalls())
            }
            Curve::Pr => (counts.recalls(), counts.precisions()),
            Curve::PrGain => gains(counts),
        };
        let stretches = x.windows(2).zip(y.windows(2));
        let area = stretches.map(|(x, y)| {
            let height = match summation {
                Summation::Interpolation => (y[0] + y[1]) / 2.0,
                Summation::Minoring => y[0].min(y[1]),
                Summation::Majoring => y[0].max(y[1]),
            };
            (x[0] - x[1]) * height
        });
        area.sum()
    }
}

/// The area under the precision-recall curve, with true and false positives interpolated linearly between two
/// thresholds, unlike their ratio.
fn interpolated_precision(counts: &ThresholdCounts) -> f64 {
    let found = |i: usize| counts.true_positives[i] + counts.false_positives[i];
    let stretch = |i: usize| {
        let gained = counts.true_positives[i] - counts.true_positives[i + 1];
        let slope = ratio(gained, (found(i) - found(i + 1)).max(0.0));
        let intercept = counts.true_positives[i + 1] - slope * found(i + 1);
        let both = found(i) > 0.0 && found(i + 1) > 0.0;
        let growth = if both { found(i) / found(i + 1) } else { 1.0 };
        ratio(slope * (gained + intercept * growth.ln()), counts.positives)
    };
    (0..counts.true_positives.len() - 1).map(stretch).sum()
}

/// Recall gain and precision gain at each threshold.
fn gains(counts: &ThresholdCounts) -> (Vec<f64>, Vec<f64>) {
    let scale = ratio(counts.positives, counts.negatives);
    let pairs = counts.true_positives.iter().zip(&counts.false_positives);
    pairs
        .map(|(tp, fp)| {
            if *tp == 0.0 {
                return (0.0, 1.0);
            }
            let recall = 1.0 - scale * (counts.positives - tp) / tp;
            (recall.max(0.0), 1.0 - scale * fp / tp)
        })
        .unzip()
}

impl SumMetric for AUC {
    fn sums(&self, y_true: Value, y_pred: Value, weights: Option<&Value>) -> Result<Value> {
        if self.multi_label && y_pred.rank() != 2 {
            return Err(Error::shape("ndim=2 for multi_label", format!("{:?}", y_pred.sizes())));
        }
        if let Some(labels) = self.num_labels.filter(|labels| y_pred.sizes().last() != Some(labels)) {
            return Err(Error::shape(format!("{labels} labels"), format!("{:?}", y_pred.sizes())));
        }
        let y_pred = if self.from_logits { Activation::Sigmoid.apply(y_pred)? } else { y_pred };
        self.counting().sums(y_true, y_pred, weights)
    }

    fn results(&self, sums: &[f64]) -> Vec<f64> {
        let labels = ThresholdCounts::from_sums(sums, self.counting().edges.len());
        let areas: Vec<f64> = labels.iter().map(|counts| self.area(counts)).collect();
        let weights = match &self.label_weights {
            Some(weights) if self.multi_label => weights.iter().map(|weight| f64::from(*weight)).collect(),
            _ => vec![1.0; areas.len()],
        };
        let total: f64 = areas.iter().zip(&weights).map(|(area, weight)| area * weight).sum();
        vec![ratio(total, weights.iter().sum())]
    }

    fn can_have(&self, sums: usize) -> bool {
        ThresholdCounts::are_of(sums, self.counting().edges.len())
    }

    fn check(&self) -> Result<()> {
        self.curve_kind()?;
        self.summation()?;
        check_count_of_thresholds(self.num_thresholds, 2)?;
        if self.num_labels.is_some() && !self.multi_label {
            return Err(Error::argument("num_labels", "None unless multi_label is set", "a number"));
        }
        check_thresholds(self.thresholds.clone().filter(|list| !list.is_empty()).map(Thresholds::Several).as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::tests::rows;
    use crate::metrics::{Metric, Summed};

    /// The values are those of Keras 3.15.1.
    #[test]
    fn areas_are_those_of_keras() {
        let column = |values: &[f32]| rows(&[values]).reshape(&[values.len()]).unwrap();
        let y_true = column(&[0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0]);
        let y_pred = column(&[0.1, 0.3, 0.6, 0.2, 0.9, 0.35, 0.0, 1.0]);
        let weights = column(&[1.0, 2.0, 0.5, 1.0, 0.0, 1.0, 3.0, 1.0]);
        let even = vec![0.25, 0.5, 0.75];
        let cases = [
            (AUC::default().curve("PRGAIN"), 0.625, 0.826_446_3),
            (AUC::default().curve("PR").summation_method("majoring"), 0.8875, 0.894_444_5),
            (AUC::default().thresholds(vec![0.25, 0.6]), 0.9375, 0.965_909_1),
            (AUC::default().thresholds(even).curve("PR"), 0.872_293_6, 0.862_673_46),
            (AUC::default().num_thresholds(5), 0.875, 0.931_818_1),
        ];
        for (metric, plain, weighted) in cases {
            for (weights, wanted) in [(None, plain), (Some(&weights), weighted)] {
                let mut metric = Summed::new(metric.clone());
                metric.update(&y_true, &y_pred, weights).unwrap();
                let got = metric.result().unwrap().one().unwrap();
                assert!((got - wanted).abs() < 1e-6, "{metric:?}: {got}, not {wanted}");
            }
        }
        let mut logits = Summed::new(AUC::default().from_logits(true));
        logits.update(&y_true, &y_pred.mul_scalar(6.0).add_scalar(-3.0), None).unwrap();
        assert!((logits.result().unwrap().one().unwrap() - 0.875).abs() < 1e-6);
    }
}
