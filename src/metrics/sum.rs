//! Sums over samples.

use burn::tensor::Device;

use super::mean::one_number;
use super::total::Total;
use super::{MeanFunction, Metric, Score};
use crate::error::Result;
use crate::losses::{match_shapes, spread};
use crate::ops::Value;
use crate::shape::Shape;

/// The (weighted) sum of a [`MeanFunction`] over all samples since the last reset: Keras's `Sum` of a function's
/// values.
///
/// ```
/// use brasa::metrics::{Accuracy, Metric, Sum};
/// // the number of correct predictions, not their fraction
/// let metric: Box<dyn Metric> = Box::new(Sum::new("right", Accuracy::default()));
/// ```
#[derive(Clone, Debug)]
pub struct Sum<F> {
    name: String,
    function: F,
    total: Total,
}

impl<F: MeanFunction> Sum<F> {
    /// The sum of `function`, under `name` in the history.
    pub fn new(name: impl Into<String>, function: F) -> Self {
        Self { name: name.into(), function, total: Total::default() }
    }
}

impl<F: MeanFunction> Metric for Sum<F> {
    fn name(&self) -> &str {
        &self.name
    }

    fn update(&mut self, y_true: &Value, y_pred: &Value, weights: Option<&Value>) -> Result<()> {
        let y_true = &match_shapes(y_true, y_pred, |target, output| self.function.check_shape(target, output))?;
        let mut values = self.function.values(y_true.clone(), y_pred.clone())?;
        if let Some(weights) = weights {
            values = values.clone() * spread(weights.clone(), &values)?;
        }
        self.total.add(values.sum())
    }

    fn result(&self) -> Result<Score> {
        self.total.read_one().map(Score::One)
    }

    fn follows_mask(&self) -> bool {
        true
    }

    fn reset(&mut self) {
        self.total.reset();
    }

    fn state(&self) -> Result<Option<Vec<f64>>> {
        self.total.state().map(Some)
    }

    fn sums(&self) -> Result<Option<Vec<f64>>> {
        self.total.read().map(Some)
    }

    fn set_sums(&mut self, sums: &[f64]) {
        self.total = Total::of(sums.to_vec());
    }

    fn restore(&mut self, state: &[f64], device: &Device) -> Result<()> {
        self.total.restore(state, device)?;
        one_number(&self.name, [&self.total])
    }

    fn check(&self) -> Result<()> {
        self.function.check()
    }

    fn check_shape(&self, target: &Shape, output: &Shape) -> Result<()> {
        self.function.check_shape(target, output)
    }

    fn boxed_clone(&self) -> Box<dyn Metric> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::MeanAbsoluteError;
    use crate::losses::tests::rows;
    use crate::metrics::LossMean;

    #[test]
    fn batches_and_weights_add_up() {
        let mut metric = Sum::new("error", LossMean(Box::new(MeanAbsoluteError::default())));
        let (y_true, y_pred) = (rows(&[&[0.0], &[0.0]]), rows(&[&[1.0], &[5.0]]));
        metric.update(&y_true, &y_pred, None).unwrap();
        let weights = rows(&[&[3.0, 0.5]]).reshape(&[2]).unwrap();
        metric.update(&y_true, &y_pred, Some(&weights)).unwrap();
        assert_eq!(metric.result().unwrap(), 6.0 + 5.5);
        metric.reset();
        assert_eq!(metric.result().unwrap(), 0.0);
    }
}
