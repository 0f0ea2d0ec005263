//! Correlations of targets and predictions.

use super::{MeanFunction, described};
use crate::config::Config;
use crate::constraints::Axes;
use crate::error::Result;
use crate::ops::Value;

/// Values centered along an axis, and their mean.
fn centred(value: Value, axis: usize) -> (Value, Value) {
    let mean = value.clone().mean_axis(axis).expand(&value.sizes());
    (value - mean.clone(), mean)
}

crate::describe! {
    /// Pearson's correlation of targets and predictions along an axis, averaged over the samples.
    pub struct PearsonCorrelation {
        /// The metric's name.
        name: Option<String> = None,
        /// The axis of the correlation.
        axis: isize = -1,
    }
}

impl MeanFunction for PearsonCorrelation {
    fn values(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let axis = Axes::One(self.axis).of_rank(y_pred.rank())?[0];
        let standard = |value: Value| {
            let sizes = value.sizes();
            let (value, _) = centred(value, axis);
            let deviation = value.clone().square().mean_axis(axis).sqrt().expand(&sizes);
            value / deviation
        };
        Ok((standard(y_true) * standard(y_pred)).mean_axis(axis))
    }

    fn config(&self) -> Option<(&'static str, Config)> {
        described(self)
    }
}

crate::describe! {
    /// The concordance correlation of targets and predictions along an axis, averaged over the samples: `2 · cov /
    /// (var(t) + var(p) + (mean(t) − mean(p))²)`, which is 1 only if they are equal.
    pub struct ConcordanceCorrelation {
        /// The metric's name.
        name: Option<String> = None,
        /// The axis of the correlation.
        axis: isize = -1,
    }
}

impl MeanFunction for ConcordanceCorrelation {
    fn values(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let axis = Axes::One(self.axis).of_rank(y_pred.rank())?[0];
        let sizes = y_pred.sizes();
        let (t, mean_t) = centred(y_true.clone(), axis);
        let (p, mean_p) = centred(y_pred, axis);
        let variance = |value: Value| value.square().mean_axis(axis).expand(&sizes);
        let apart = (mean_t - mean_p.clone()).square();
        let norm = variance(t) + variance(p.clone()) + apart;
        // Keras subtracts the predictions' mean from both; as their deviations sum to 0, the result is still the
        // covariance.
        let products = (y_true - mean_p) * p;
        Ok((products.mul_scalar(2.0) / norm.add_scalar(1e-7)).mean_axis(axis))
    }

    fn config(&self) -> Option<(&'static str, Config)> {
        described(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::tests::rows;

    /// The value is that of Keras 3.15.1.
    #[test]
    fn concordance_is_that_of_keras() {
        let (t, p) = (rows(&[&[0.0, 1.0, 0.5], &[1.0, 1.0, 0.2]]), rows(&[&[0.1, 0.9, 0.5], &[1.0, 0.9, 0.2]]));
        let values = ConcordanceCorrelation::default().values(t, p).unwrap().mean().to_scalar().unwrap();
        assert!((values - 0.981_631_6).abs() < 1e-6, "{values}");
    }
}
