//! Loss and metrics on their way through an epoch.

use burn::tensor::Device;
use serde_json::json;

use super::Compiled;
use super::step::{Batch, Outcome};
use crate::error::{Error, Result};
use crate::losses::spread;
use crate::metrics::{Metric, Score, Total};
use crate::ops::Value;
use crate::shape::Shape;

/// The running mean of the loss, and the metrics; all stay on the device until asked for.
#[derive(Debug)]
pub(super) struct Trackers {
    loss: Total,
    samples: usize,
    metrics: Vec<Box<dyn Metric>>,
    weighted: Vec<Box<dyn Metric>>,
    /// What the loss is, and then each metric.
    kinds: Vec<Kind>,
}

/// Under which name a number stands in the logs, and what it is: one of another kind is another number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub name: String,
    pub told: String,
}

/// What a checkpoint in the middle of an epoch keeps of one number.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kept {
    pub kind: Kind,
    pub numbers: Vec<f64>,
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
        let (metrics, weighted) = (resolve(compiled.metrics())?, resolve(compiled.weighted_metrics())?);
        let loss = &compiled.loss;
        let told = json!([loss.class_name(), loss.config().ok()]).to_string();
        let mut kinds = vec![Kind { name: "loss".to_owned(), told }];
        for (metrics, prefix) in [(&metrics, ""), (&weighted, "weighted_")] {
            for metric in metrics {
                let taken = |name: &str| kinds.iter().any(|other| other.name == name);
                let name = free_name(metric.name(), prefix, taken);
                kinds.push(Kind { name, told: json!([prefix, metric.config()]).to_string() });
            }
        }
        Ok(Self { loss: Total::default(), samples: 0, metrics, weighted, kinds })
    }

    fn all_metrics(&self) -> impl Iterator<Item = &dyn Metric> {
        self.metrics.iter().chain(&self.weighted).map(|metric| &**metric)
    }

    /// Takes in a batch and what a step has made of it.
    pub fn update(&mut self, batch: &Batch, outcome: &Outcome) -> Result<()> {
        // A smaller last batch counts by its size.
        self.loss.add(outcome.loss.clone().mul_scalar(batch.samples as f32))?;
        self.samples += batch.samples;
        let (mask, weights) = (outcome.mask.as_ref(), batch.weights.as_ref());
        let masked = masked(weights, mask)?;
        for metric in &mut self.metrics {
            let weights = mask.filter(|_| metric.follows_mask());
            let updated = metric.update(&batch.y, &outcome.y_pred, weights);
            updated.map_err(|error| of_metric(metric.name(), error))?;
        }
        for metric in &mut self.weighted {
            let weights = if metric.follows_mask() { masked.as_ref() } else { weights };
            let updated = metric.update(&batch.y, &outcome.y_pred, weights);
            updated.map_err(|error| of_metric(metric.name(), error))?;
        }
        Ok(())
    }

    /// The loss so far. Waits for the device.
    pub fn loss(&self) -> Result<f64> {
        Ok(self.loss.read_one()? / self.samples.max(1) as f64)
    }

    /// Loss and metrics so far, sorted by name as Keras prints them. Waits for the device.
    pub fn results(&self) -> Result<Vec<(String, Score)>> {
        let metrics = self.all_metrics().map(Metric::result);
        let values = std::iter::once(self.loss().map(Score::One)).chain(metrics);
        let names = self.kinds.iter().map(|kind| kind.name.clone());
        let mut results = names.zip(values).map(|(name, value)| Ok((name, value?))).collect::<Result<Vec<_>>>()?;
        results.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(results)
    }

    /// Everything so far, for a checkpoint in the middle of an epoch; `None` if one of the metrics cannot tell.
    pub fn state(&self) -> Result<Option<Vec<Kept>>> {
        let mut numbers = vec![[vec![self.samples as f64], self.loss.state()?].concat()];
        for metric in self.all_metrics() {
            let Some(state) = metric.state()? else { return Ok(None) };
            numbers.push(state);
        }
        let kinds = self.kinds.iter().cloned();
        Ok(Some(kinds.zip(numbers).map(|(kind, numbers)| Kept { kind, numbers }).collect()))
    }

    /// Takes up what a checkpoint has kept. What it has not kept is an error, or (`accept_changes`) counts the rest of
    /// the epoch alone.
    pub fn restore(&mut self, kept: &[Kept], accept_changes: bool, device: &Device) -> Result<()> {
        let is_kept = |kind: &Kind| kept.iter().any(|kept| kept.kind == *kind);
        let all_are_kept = kept.len() == self.kinds.len() && self.kinds.iter().all(is_kept);
        if !accept_changes && !all_are_kept {
            let told = |kinds: &mut dyn Iterator<Item = &Kind>| {
                kinds.map(|kind| format!("{} {}", kind.name, kind.told)).collect::<Vec<_>>().join(", ")
            };
            let (own, kept) = (told(&mut self.kinds.iter()), told(&mut kept.iter().map(|kept| &kept.kind)));
            return Err(Error::data("the checkpoint's loss and metrics", own, kept));
        }
        let find = |kind: &Kind| {
            let found = kept.iter().find(|kept| kept.kind == *kind).map(|kept| kept.numbers.as_slice());
            if found.is_none() {
                tracing::warn!("the checkpoint has no such `{}`, which counts the rest of the epoch alone", kind.name);
            }
            found
        };
        let Some((loss, metrics)) = self.kinds.split_first() else { return Ok(()) };
        if let Some([samples, numbers @ ..]) = find(loss) {
            if !(0.0..=9e15).contains(samples) {
                return Err(Error::data("the checkpoint's loss", "a number of samples", samples));
            }
            self.samples = *samples as usize;
            self.loss.restore(numbers, device)?;
        }
        for (metric, kind) in self.metrics.iter_mut().chain(&mut self.weighted).zip(metrics) {
            find(kind).map_or(Ok(()), |numbers| metric.restore(numbers, device))?;
        }
        Ok(())
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

/// Weights that are 0 where the mask leaves a step out.
fn masked(weights: Option<&Value>, mask: Option<&Value>) -> Result<Option<Value>> {
    Ok(match (weights, mask) {
        (Some(weights), Some(mask)) if weights.rank() > mask.rank() => {
            Some(spread(mask.clone(), weights)? * weights.clone())
        }
        (Some(weights), Some(mask)) => Some(spread(weights.clone(), mask)? * mask.clone()),
        (weights, mask) => weights.or(mask).cloned(),
    })
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
