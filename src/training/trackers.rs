//! Accumulation of loss and metrics over an epoch.

use burn::tensor::Device;
use serde_json::json;

use super::fitted::{Fitted, FittedOutput};
use super::step::{Batch, StepResult};
use crate::compile::{Compiled, Goal};
use crate::distributed::{Communicator, gather};
use crate::error::{Error, Result};
use crate::losses::{Loss, spread};
use crate::metrics::{Metric, MetricArgument, Score, Total};
use crate::ops::Value;
use crate::text::UniqueNames;

/// The running means of the losses, and the metrics; all stay on the device until they are read.
#[derive(Debug)]
pub(super) struct Trackers {
    /// The total loss, and the loss of each output that has one, if there are several.
    losses: Vec<Total>,
    samples: usize,
    /// The metrics of each output.
    metrics: Vec<Vec<Box<dyn Metric>>>,
    weighted: Vec<Vec<Box<dyn Metric>>>,
    /// The kind of each loss, followed by that of each metric.
    kinds: Vec<TrackerId>,
}

/// The name and configuration of a number in the logs; a checkpoint's number is restored only if both match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TrackerId {
    pub name: String,
    pub config: String,
}

/// The state of one loss or metric in a checkpoint in the middle of an epoch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SavedTracker {
    pub kind: TrackerId,
    pub numbers: Vec<f64>,
}

impl Trackers {
    /// Trackers for targets and outputs of these shapes.
    pub fn new(compiled: &Compiled, fitted: &Fitted) -> Result<Self> {
        let goals = || compiled.goals().iter().zip(&fitted.outputs);
        let resolve = |metrics: fn(&Goal) -> &[MetricArgument]| {
            let of_output = |(goal, output): (&Goal, &FittedOutput)| {
                let resolved = |metric: &MetricArgument| {
                    let metric = metric.resolve(&output.target, &output.output)?;
                    let checked = metric.check_shape(&output.target, &output.output);
                    checked.map_err(|error| of_metric(&goal.log_name(metric.name()), error))?;
                    Ok(metric)
                };
                metrics(goal).iter().map(resolved).collect::<Result<Vec<_>>>()
            };
            goals().map(of_output).collect::<Result<Vec<_>>>()
        };
        let (metrics, weighted) = (resolve(|goal| &goal.metrics)?, resolve(|goal| &goal.weighted_metrics)?);
        let lost: Vec<(&Goal, &dyn Loss)> = goals()
            .filter(|(_, output)| output.field.is_some())
            .filter_map(|(goal, _)| Some((goal, goal.loss.as_deref()?)))
            .collect();
        let config = |loss: &dyn Loss| json!([loss.class_name(), loss.config().ok()]).to_string();
        let all: Vec<String> = lost.iter().map(|(_, loss)| config(*loss)).collect();
        let mut names = UniqueNames::default();
        let mut kinds = vec![TrackerId { name: names.take("loss".to_owned()), config: all.join(" + ") }];
        for (goal, loss) in lost.iter().filter(|_| lost.len() > 1) {
            kinds.push(TrackerId { name: names.take(goal.log_name("loss")), config: config(*loss) });
        }
        let losses = kinds.iter().map(|_| Total::default()).collect();
        for (metrics, prefix) in [(&metrics, ""), (&weighted, "weighted_")] {
            for (goal, metrics) in compiled.goals().iter().zip(metrics) {
                for metric in metrics {
                    let plain = goal.log_name(metric.name());
                    let name = match names.has(&plain) {
                        true => goal.log_name(&format!("{prefix}{}", metric.name())),
                        false => plain,
                    };
                    kinds.push(TrackerId {
                        name: names.take(name),
                        config: json!([prefix, metric.config()]).to_string(),
                    });
                }
            }
        }
        Ok(Self { losses, samples: 0, metrics, weighted, kinds })
    }

    fn all_metrics(&self) -> impl Iterator<Item = &dyn Metric> {
        self.metrics.iter().chain(&self.weighted).flatten().map(|metric| &**metric)
    }

    /// Adds a batch with the outcome of its step.
    pub fn update(&mut self, batch: &Batch, outcome: &StepResult) -> Result<()> {
        self.update_part(batch, outcome, batch.samples)
    }

    /// As [`update`](Self::update), for a part of a batch of `whole` samples: its loss is a summand of that batch's.
    pub fn update_part(&mut self, batch: &Batch, outcome: &StepResult, whole: usize) -> Result<()> {
        let losses = std::iter::once(&outcome.loss).chain(&outcome.losses);
        for (total, loss) in self.losses.iter_mut().zip(losses) {
            // Weighted by the batch size: the last batch can be smaller.
            total.add(loss.clone().mul_scalar(whole as f32))?;
        }
        self.samples += batch.samples;
        let mut names = self.kinds[self.losses.len()..].iter().map(|kind| kind.name.as_str());
        for (index, metrics) in self.metrics.iter_mut().enumerate() {
            for (metric, name) in metrics.iter_mut().zip(&mut names) {
                let Some(y) = &batch.y[index] else { continue };
                let mask = outcome.masks[index].as_ref().filter(|_| metric.follows_mask());
                metric.update(y, &outcome.y_pred[index], mask).map_err(|error| of_metric(name, error))?;
            }
        }
        for (index, metrics) in self.weighted.iter_mut().enumerate() {
            let (mask, weights) = (outcome.masks[index].as_ref(), batch.sample_weights[index].as_ref());
            let masked = if metrics.is_empty() { None } else { masked(weights, mask)? };
            for (metric, name) in metrics.iter_mut().zip(&mut names) {
                let Some(y) = &batch.y[index] else { continue };
                let weights = if metric.follows_mask() { masked.as_ref() } else { weights };
                metric.update(y, &outcome.y_pred[index], weights).map_err(|error| of_metric(name, error))?;
            }
        }
        Ok(())
    }

    /// Adds a batch of which this rank has no samples: a loss of 0, or NaN if that of another rank is not finite.
    pub fn update_without_samples(&mut self, loss: &Value) -> Result<()> {
        self.losses.iter_mut().try_for_each(|total| total.add(loss.clone()))
    }

    /// Refuses metrics that cannot be merged over ranks.
    pub fn check_distributed(&self) -> Result<()> {
        let names = self.kinds[self.losses.len()..].iter().map(|kind| &kind.name);
        for (metric, name) in self.all_metrics().zip(names) {
            if metric.sums()?.is_none() {
                let what = format!("the metric {name} in distributed training");
                return Err(Error::unsupported(what, "metrics with `Metric::sums`"));
            }
        }
        Ok(())
    }

    /// The losses and metrics over the samples of all ranks.
    pub fn merged(&self, peers: &dyn Communicator) -> Result<Self> {
        let mut own: Vec<Vec<f64>> = vec![vec![self.samples as f64]];
        own.extend(self.losses.iter().map(|total| Ok(vec![total.read_one()?])).collect::<Result<Vec<_>>>()?);
        own.extend(
            self.all_metrics().map(|metric| Ok(metric.sums()?.unwrap_or_default())).collect::<Result<Vec<_>>>()?,
        );
        // A rank without samples may not know how many sums there are.
        let lengths: Vec<f64> = own.iter().map(|sums| sums.len() as f64).collect();
        let longest = gather(peers, &lengths)?.into_iter().reduce(|mut most, lengths| {
            most.iter_mut().zip(lengths).for_each(|(most, length)| *most = most.max(length));
            most
        });
        for (sums, length) in own.iter_mut().zip(longest.unwrap_or_default()) {
            sums.resize(length as usize, 0.0);
        }
        let mut all = own.concat();
        peers.all_reduce_f64(&mut all)?;
        let mut rest = &all[..];
        let mut sums = own.iter().map(|sums| {
            let (sums, after) = rest.split_at(sums.len());
            rest = after;
            sums
        });
        let samples = sums.next().and_then(<[f64]>::first).copied().unwrap_or_default() as usize;
        let mut merged = Self {
            losses: Vec::with_capacity(self.losses.len()),
            samples,
            metrics: self.metrics.clone(),
            weighted: self.weighted.clone(),
            kinds: self.kinds.clone(),
        };
        merged.losses.extend(sums.by_ref().take(self.losses.len()).map(|sums| Total::of(sums.to_vec())));
        let metrics = merged.metrics.iter_mut().chain(&mut merged.weighted).flatten();
        metrics.zip(sums).for_each(|(metric, sums)| metric.set_sums(sums));
        Ok(merged)
    }

    /// The loss so far. Waits for the device.
    pub fn loss(&self) -> Result<f64> {
        self.mean(&self.losses[0])
    }

    fn mean(&self, total: &Total) -> Result<f64> {
        Ok(total.read_one()? / self.samples.max(1) as f64)
    }

    /// Losses and metrics so far, sorted by name as Keras prints them. Waits for the device.
    pub fn results(&self) -> Result<Vec<(String, Score)>> {
        let metrics = self.all_metrics().map(Metric::result);
        let values = self.losses.iter().map(|total| self.mean(total).map(Score::One)).chain(metrics);
        let names = self.kinds.iter().map(|kind| kind.name.clone());
        let mut results = names.zip(values).map(|(name, value)| Ok((name, value?))).collect::<Result<Vec<_>>>()?;
        results.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(results)
    }

    /// The state of all, for a checkpoint in the middle of an epoch; `None` if a metric does not support it.
    pub fn state(&self) -> Result<Option<Vec<SavedTracker>>> {
        let samples = self.samples as f64;
        let loss = |total: &Total| Ok([vec![samples], total.state()?].concat());
        let mut numbers = self.losses.iter().map(loss).collect::<Result<Vec<_>>>()?;
        for metric in self.all_metrics() {
            let Some(state) = metric.state()? else { return Ok(None) };
            numbers.push(state);
        }
        let kinds = self.kinds.iter().cloned();
        Ok(Some(kinds.zip(numbers).map(|(kind, numbers)| SavedTracker { kind, numbers }).collect()))
    }

    /// Restores the state of a checkpoint. A number without a state is an error, or (`accept_changes`) covers only the
    /// rest of the epoch.
    pub fn restore(&mut self, kept: &[SavedTracker], accept_changes: bool, device: &Device) -> Result<()> {
        let is_kept = |kind: &TrackerId| kept.iter().any(|kept| kept.kind == *kind);
        let all_are_kept = kept.len() == self.kinds.len() && self.kinds.iter().all(is_kept);
        if !accept_changes && !all_are_kept {
            let listed = |kinds: &mut dyn Iterator<Item = &TrackerId>| {
                kinds.map(|kind| format!("{} {}", kind.name, kind.config)).collect::<Vec<_>>().join(", ")
            };
            let (own, kept) = (listed(&mut self.kinds.iter()), listed(&mut kept.iter().map(|kept| &kept.kind)));
            return Err(Error::data("the checkpoint's loss and metrics", own, kept));
        }
        let find = |kind: &TrackerId| {
            let found = kept.iter().find(|kept| kept.kind == *kind).map(|kept| kept.numbers.as_slice());
            if found.is_none() {
                tracing::warn!(
                    "the checkpoint has no state of `{}`; its value covers only the rest of the epoch",
                    kind.name
                );
            }
            found
        };
        let (losses, metrics) = self.kinds.split_at(self.losses.len());
        // They are means over the same samples: all are restored, or none.
        let all_losses = losses.iter().map(&find).collect::<Option<Vec<_>>>();
        for (total, state) in self.losses.iter_mut().zip(all_losses.unwrap_or_default()) {
            if let [samples, numbers @ ..] = state {
                if !(0.0..=9e15).contains(samples) {
                    return Err(Error::data("the checkpoint's loss", "a number of samples", samples));
                }
                self.samples = *samples as usize;
                total.restore(numbers, device)?;
            }
        }
        for (metric, kind) in self.metrics.iter_mut().chain(&mut self.weighted).flatten().zip(metrics) {
            find(kind).map_or(Ok(()), |numbers| metric.restore(numbers, device))?;
        }
        Ok(())
    }

    /// The first batch whose loss is infinite or NaN, from 0; `None` if it is unknown.
    pub fn first_non_finite(&self) -> Result<Option<usize>> {
        self.losses[0].first_non_finite()
    }

    /// Resets the accumulators.
    pub fn reset(&mut self) {
        self.losses.iter_mut().for_each(Total::reset);
        self.samples = 0;
        self.metrics.iter_mut().chain(&mut self.weighted).flatten().for_each(|metric| metric.reset());
    }
}

/// The weights, with 0 for steps that are masked out.
fn masked(weights: Option<&Value>, mask: Option<&Value>) -> Result<Option<Value>> {
    Ok(match (weights, mask) {
        (Some(weights), Some(mask)) if weights.rank() > mask.rank() => {
            Some(spread(mask.clone(), weights)? * weights.clone())
        }
        (Some(weights), Some(mask)) => Some(spread(weights.clone(), mask)? * mask.clone()),
        (weights, mask) => weights.or(mask).cloned(),
    })
}

/// Adds the metric's name to an error about data.
fn of_metric(name: &str, error: Error) -> Error {
    match error {
        Error::Data { what, expected, received } => {
            Error::data(format!("{what} for the metric {name}"), expected, received)
        }
        error => error,
    }
}
