//! Loss and metrics on their way through an epoch.

use super::Compiled;
use crate::error::Result;
use crate::metrics::Metric;
use crate::ops::Value;
use crate::shape::Shape;

/// The running mean of the loss, and the metrics; all stay on the device until asked for.
#[derive(Debug)]
pub(super) struct Trackers {
    loss: Option<Value>,
    samples: usize,
    metrics: Vec<Box<dyn Metric>>,
    weighted: Vec<Box<dyn Metric>>,
}

impl Trackers {
    /// Trackers for targets and outputs of these shapes.
    pub fn new(compiled: &Compiled, target: &Shape, output: &Shape) -> Result<Self> {
        let resolve = |metrics: &[crate::metrics::MetricArgument]| {
            metrics.iter().map(|metric| metric.resolve(target, output)).collect::<Result<Vec<_>>>()
        };
        Ok(Self {
            loss: None,
            samples: 0,
            metrics: resolve(compiled.metrics())?,
            weighted: resolve(compiled.weighted_metrics())?,
        })
    }

    /// Takes in a batch of `samples` with its mean loss.
    pub fn update(
        &mut self,
        loss: Value,
        samples: usize,
        y_true: &Value,
        y_pred: &Value,
        weights: Option<&Value>,
    ) -> Result<()> {
        // A smaller last batch counts by its size.
        let loss = loss.mul_scalar(samples as f32);
        self.loss = Some(match self.loss.take() {
            Some(sum) => sum + loss,
            None => loss,
        });
        self.samples += samples;
        for metric in &mut self.metrics {
            metric.update(y_true, y_pred, None)?;
        }
        for metric in &mut self.weighted {
            metric.update(y_true, y_pred, weights)?;
        }
        Ok(())
    }

    /// The loss so far. Waits for the device.
    pub fn loss(&self) -> Result<f64> {
        let total = self.loss.as_ref().map_or(Ok(0.0), Value::to_scalar)?;
        Ok(f64::from(total) / self.samples.max(1) as f64)
    }

    /// Loss and metrics so far, sorted by name as Keras prints them. Waits for the device.
    pub fn results(&self) -> Result<Vec<(String, f64)>> {
        let mut results = vec![("loss".to_owned(), self.loss()?)];
        for metric in self.metrics.iter().chain(&self.weighted) {
            results.push((metric.name().to_owned(), metric.result()?));
        }
        results.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(results)
    }

    /// Forgets all batches.
    pub fn reset(&mut self) {
        (self.loss, self.samples) = (None, 0);
        self.metrics.iter_mut().chain(&mut self.weighted).for_each(|metric| metric.reset());
    }
}
