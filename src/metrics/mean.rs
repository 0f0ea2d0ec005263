//! Means over samples, gathered on the device.

use std::fmt::Debug;

use super::Metric;
use crate::config::Config;
use crate::error::Result;
use crate::losses::{Loss, spread};
use crate::ops::Value;

/// One number a sample, of which a metric is the mean.
pub trait MeanFunction: Clone + Debug + Send + Sync + 'static {
    /// The numbers.
    ///
    /// # Shapes
    /// `y_true` as it came, `y_pred` the model's output → (batch, …).
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) for shapes that do not fit.
    fn values(&self, y_true: Value, y_pred: Value) -> Result<Value>;

    /// How a Keras file tells it, if it can.
    fn config(&self) -> Option<(&'static str, Config)> {
        None
    }
}

/// The (weighted) mean of a [`MeanFunction`] over all samples since the last reset.
#[derive(Clone, Debug)]
pub struct Mean<F> {
    name: String,
    function: F,
    total: Option<Value>,
    /// The sum of the weights, on the device once there are any.
    weight: Option<Value>,
    count: f64,
}

impl<F: MeanFunction> Mean<F> {
    /// The mean of `function`, under `name` in the history.
    pub fn new(name: impl Into<String>, function: F) -> Self {
        Self { name: name.into(), function, total: None, weight: None, count: 0.0 }
    }
}

impl<F: MeanFunction> Metric for Mean<F> {
    fn name(&self) -> &str {
        &self.name
    }

    fn update(&mut self, y_true: &Value, y_pred: &Value, weights: Option<&Value>) -> Result<()> {
        let values = self.function.values(y_true.clone(), y_pred.clone())?;
        let total = match weights {
            None => {
                self.count += values.len() as f64;
                values.sum()
            }
            Some(weights) => {
                let weights = spread(weights.clone(), &values)?;
                let weight = weights.clone().sum();
                self.weight = Some(match self.weight.take() {
                    Some(sum) => sum + weight,
                    None => weight,
                });
                (values * weights).sum()
            }
        };
        self.total = Some(match self.total.take() {
            Some(sum) => sum + total,
            None => total,
        });
        Ok(())
    }

    fn result(&self) -> Result<f64> {
        let number = |value: &Option<Value>| value.as_ref().map_or(Ok(0.0), |value| value.to_scalar().map(f64::from));
        let count = self.count + number(&self.weight)?;
        let total = number(&self.total)?;
        // Keras's `divide_no_nan`.
        Ok(if count == 0.0 { 0.0 } else { total / count })
    }

    fn reset(&mut self) {
        (self.total, self.weight, self.count) = (None, None, 0.0);
    }

    fn boxed_clone(&self) -> Box<dyn Metric> {
        Box::new(self.clone())
    }

    fn config(&self) -> Option<(&'static str, Config)> {
        let (class, mut config) = self.function.config()?;
        config.insert("name".into(), self.name.clone().into());
        Some((class, config))
    }
}

/// A loss watched as a metric.
#[derive(Clone, Debug)]
pub struct LossMean(pub Box<dyn Loss>);

impl MeanFunction for LossMean {
    fn values(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        self.0.losses(y_true, y_pred)
    }

    fn config(&self) -> Option<(&'static str, Config)> {
        let mut config = self.0.config().ok()?;
        config.remove("reduction");
        Some((self.0.class_name(), config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::MeanAbsoluteError;
    use crate::losses::tests::rows;

    #[test]
    fn a_smaller_last_batch_counts_by_its_size() {
        let mut metric = Mean::new("mae", LossMean(Box::new(MeanAbsoluteError::default())));
        metric.update(&rows(&[&[0.0], &[0.0], &[0.0]]), &rows(&[&[1.0], &[1.0], &[1.0]]), None).unwrap();
        metric.update(&rows(&[&[0.0]]), &rows(&[&[5.0]]), None).unwrap();
        assert_eq!(metric.result().unwrap(), 2.0);
        metric.reset();
        assert_eq!(metric.result().unwrap(), 0.0);
    }

    #[test]
    fn weights_weigh() {
        let mut metric = Mean::new("mae", LossMean(Box::new(MeanAbsoluteError::default())));
        let weights = rows(&[&[3.0, 1.0]]).reshape(&[2]).unwrap();
        metric.update(&rows(&[&[0.0], &[0.0]]), &rows(&[&[1.0], &[5.0]]), Some(&weights)).unwrap();
        assert_eq!(metric.result().unwrap(), 2.0);
    }
}
