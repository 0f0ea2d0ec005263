//! Loss and metrics on their way through an epoch.

use burn::tensor::Device;

use super::Compiled;
use crate::error::{Error, Result};
use crate::metrics::{Metric, Total};
use crate::ops::Value;
use crate::shape::Shape;

/// The running mean of the loss, and the metrics; all stay on the device until asked for.
#[derive(Debug)]
pub(super) struct Trackers {
    loss: Total,
    samples: usize,
    metrics: Vec<Box<dyn Metric>>,
    weighted: Vec<Box<dyn Metric>>,
}

impl Trackers {
    /// Trackers for targets and outputs of these shapes.
    pub fn new(compiled: &Compiled, target: &Shape, output: &Shape) -> Result<Self> {
        let resolve = |metrics: &[crate::metrics::MetricArgument]| {
            let resolved = |metric: &crate::metrics::MetricArgument| {
                let metric = metric.resolve(target, output)?;
                metric.check_shape(target, output).map_err(|error| of_metric(metric.name(), error))?;
                Ok(metric)
            };
            metrics.iter().map(resolved).collect::<Result<Vec<_>>>()
        };
        Ok(Self {
            loss: Total::default(),
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
        self.loss.add(loss.mul_scalar(samples as f32))?;
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
        Ok(self.loss.read_one()? / self.samples.max(1) as f64)
    }

    /// Loss and metrics so far, sorted by name as Keras prints them. Waits for the device.
    pub fn results(&self) -> Result<Vec<(String, f64)>> {
        let mut results = vec![("loss".to_owned(), self.loss()?)];
        for (metrics, prefix) in [(&self.metrics, ""), (&self.weighted, "weighted_")] {
            for metric in metrics {
                let taken = |name: &str| results.iter().any(|(other, _)| other == name);
                results.push((free_name(metric.name(), prefix, taken), metric.result()?));
            }
        }
        results.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(results)
    }

    /// Everything so far, for a checkpoint in the middle of an epoch; `None` if one of the metrics cannot tell.
    pub fn state(&self) -> Result<Option<Vec<Vec<f64>>>> {
        let mut states = vec![vec![self.samples as f64], self.loss.state()?];
        for metric in self.metrics.iter().chain(&self.weighted) {
            let Some(state) = metric.state()? else { return Ok(None) };
            states.push(state);
        }
        Ok(Some(states))
    }

    /// Takes up what a checkpoint has kept.
    pub fn restore(&mut self, states: &[Vec<f64>], device: &Device) -> Result<()> {
        let expected = 2 + self.metrics.len() + self.weighted.len();
        let [samples, loss, metrics @ ..] = states else {
            return Err(Error::data("the checkpoint's metrics", expected.to_string(), states.len()));
        };
        if states.len() != expected {
            return Err(Error::data("the checkpoint's metrics", expected.to_string(), states.len()));
        }
        self.samples = samples.first().map_or(0, |samples| *samples as usize);
        self.loss.restore(loss, device)?;
        let own = self.metrics.iter_mut().chain(&mut self.weighted);
        own.zip(metrics).try_for_each(|(metric, state)| metric.restore(state, device))
    }

    /// The first batch whose loss is infinite or no number, from 0; none if that cannot be told.
    pub fn first_non_finite(&self) -> Result<Option<usize>> {
        self.loss.first_non_finite()
    }

    /// Forgets all batches.
    pub fn reset(&mut self) {
        self.loss.reset();
        self.samples = 0;
        self.metrics.iter_mut().chain(&mut self.weighted).for_each(|metric| metric.reset());
    }
}

/// An error about data, with the metric for which the data does not fit.
fn of_metric(name: &str, error: Error) -> Error {
    match error {
        Error::Data { what, expected, received } => {
            Error::data(format!("{what} for the metric {name}"), expected, received)
        }
        error => error,
    }
}

/// A name that no other result has: with the prefix, or else numbered as Keras numbers.
fn free_name(name: &str, prefix: &str, taken: impl Fn(&str) -> bool) -> String {
    if !taken(name) {
        return name.to_owned();
    }
    let prefixed = format!("{prefix}{name}");
    let numbered = (1..).map(|number| format!("{prefixed}_{number}"));
    std::iter::once(prefixed.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(prefixed)
}

#[cfg(test)]
mod tests {
    use super::free_name;

    #[test]
    fn no_result_hides_another() {
        let taken = |names: &'static [&'static str]| move |name: &str| names.contains(&name);
        assert_eq!(free_name("mae", "weighted_", taken(&["loss"])), "mae");
        assert_eq!(free_name("mae", "weighted_", taken(&["mae"])), "weighted_mae");
        assert_eq!(free_name("precision", "", taken(&["precision", "precision_1"])), "precision_2");
    }
}
