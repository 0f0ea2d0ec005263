//! `fit`: the training loop.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::batches::{for_each_batch, order};
use super::evaluate::{Evaluation, check_not_empty};
use super::progress::{Progress, Verbosity};
use super::step::Fitted;
use super::trackers::Trackers;
use super::{History, Scores};
use crate::datasets::{Source, split_index};
use crate::error::{Error, Result};
use crate::model::Sequential;
use crate::ops::Value;

/// How often the bar shows new numbers; each time the device is waited for.
const READ_BACK: Duration = Duration::from_millis(250);

/// The arguments of [`Sequential::fit`], with Keras's names and defaults.
#[derive(Clone, Default)]
pub struct Fit<'a> {
    epochs: Option<usize>,
    batch_size: Option<usize>,
    validation_split: f64,
    validation_data: Option<&'a dyn Source>,
    validation_freq: Option<usize>,
    keep_order: bool,
    seed: Option<u64>,
    verbose: Verbosity,
    initial_epoch: usize,
    class_weight: Option<BTreeMap<usize, f32>>,
    sample_weight: Option<&'a [f32]>,
}

impl<'a> Fit<'a> {
    /// One epoch with batches of 32, shuffled, without validation.
    pub fn new() -> Self {
        Self::default()
    }

    /// Up to which epoch to train (default 1).
    #[must_use]
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = Some(epochs);
        self
    }

    /// Number of samples in a step (default 32); the last batch of an epoch may be smaller.
    #[must_use]
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = Some(batch_size);
        self
    }

    /// The part of the samples, taken from the end before any shuffling, that is not trained on but evaluated after
    /// each epoch.
    #[must_use]
    pub fn validation_split(mut self, validation_split: f64) -> Self {
        self.validation_split = validation_split;
        self
    }

    /// Data to evaluate after each epoch, in place of a split.
    #[must_use]
    pub fn validation_data(mut self, data: &'a dyn Source) -> Self {
        self.validation_data = Some(data);
        self
    }

    /// Evaluate only after every so many epochs (default 1).
    #[must_use]
    pub fn validation_freq(mut self, epochs: usize) -> Self {
        self.validation_freq = Some(epochs);
        self
    }

    /// Whether each epoch takes the samples in another order (default: yes). The order depends on seed and epoch alone.
    #[must_use]
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.keep_order = !shuffle;
        self
    }

    /// The seed of the samples' order and of dropout (default: the model's).
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// What is shown on stderr.
    #[must_use]
    pub fn verbose(mut self, verbose: Verbosity) -> Self {
        self.verbose = verbose;
        self
    }

    /// The epoch to begin with, for a run that goes on (default 0).
    #[must_use]
    pub fn initial_epoch(mut self, epoch: usize) -> Self {
        self.initial_epoch = epoch;
        self
    }

    /// How much the samples of a class count in the loss; classes that are not named count 1.
    #[must_use]
    pub fn class_weight(mut self, weights: impl IntoIterator<Item = (usize, f32)>) -> Self {
        self.class_weight = Some(weights.into_iter().collect());
        self
    }

    /// How much each sample counts in the loss.
    #[must_use]
    pub fn sample_weight(mut self, weights: &'a [f32]) -> Self {
        self.sample_weight = Some(weights);
        self
    }

    fn check(&self, samples: usize) -> Result<()> {
        if self.batch_size == Some(0) {
            return Err(Error::argument("batch_size", "an integer above 0", 0));
        }
        if self.validation_freq == Some(0) {
            return Err(Error::argument("validation_freq", "an integer above 0", 0));
        }
        check_not_empty(samples)?;
        if self.class_weight.is_some() && self.sample_weight.is_some() {
            return Err(Error::argument("class_weight", "either class_weight or sample_weight", "both"));
        }
        if !(0.0..1.0).contains(&self.validation_split) {
            return Err(Error::argument("validation_split", "a number from 0 to below 1", self.validation_split));
        }
        if self.validation_split > 0.0 && self.validation_data.is_some() {
            return Err(Error::argument("validation_split", "either validation_split or validation_data", "both"));
        }
        if let Some(weights) = self.sample_weight.filter(|weights| weights.len() != samples) {
            return Err(Error::data("sample_weight", format!("{samples} weights"), weights.len()));
        }
        Ok(())
    }

    /// The weights of a batch, if there are any.
    fn weights(&self, indices: &[usize], y: &[f32]) -> Option<Vec<f32>> {
        if self.class_weight.is_none() && self.sample_weight.is_none() {
            return None;
        }
        let targets = y.len() / indices.len().max(1);
        let class = |place: usize| {
            let target = &y[place * targets..(place + 1) * targets];
            // One-hot targets name the class by their largest entry.
            match target {
                [label] => label.round() as i64,
                // The first of equal ones, as `argmax` takes it.
                row => (0..row.len()).rev().max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0) as i64,
            }
        };
        let weight = |(place, index): (usize, &usize)| {
            let of_class = |weights: &BTreeMap<usize, f32>| weights.get(&usize::try_from(class(place)).ok()?).copied();
            let by_class = self.class_weight.as_ref().and_then(of_class);
            by_class.unwrap_or(1.0) * self.sample_weight.map_or(1.0, |weights| weights[*index])
        };
        Some(indices.iter().enumerate().map(weight).collect())
    }
}

impl Sequential {
    /// Trains the model.
    ///
    /// # Errors
    /// [`Error::State`] before `compile`; [`Error::Data`] for data that does not fit the model or the loss, before
    /// anything is trained; [`Error::Argument`] for arguments that make no sense; [`Error::NonFinite`] when the loss
    /// is no number any more.
    pub fn fit<S: Source + ?Sized>(&mut self, data: &S, fit: Fit<'_>) -> Result<History> {
        fit.check(data.len())?;
        let loss = self.expect_compiled("fit")?.loss.clone();
        let fitted = self.fit_shapes(data.x_shape(), data.y_shape(), &*loss)?;
        let train =
            if fit.validation_split > 0.0 { split_index(data.len(), fit.validation_split)? } else { data.len() };
        if let Some(validation) = fit.validation_data {
            Evaluation::new(self, validation, fit.batch_size.unwrap_or(32))?.check()?;
            check_not_empty(validation.len())?;
        }
        self.check_all_targets(data, &fitted)?;
        let mut run = Run::new(self, &fit, fitted)?;
        let mut history = History::default();
        let (mut trained, mut seconds) = (0, 0.0);
        for epoch in fit.initial_epoch..run.epochs {
            let begin = Instant::now();
            let mut logs = run.train_epoch(self, data, &fit, epoch, train)?;
            seconds += begin.elapsed().as_secs_f64();
            trained += train;
            if (epoch + 1) % fit.validation_freq.unwrap_or(1) == 0
                && let Some(scores) = run.validate(self, data, &fit, train)?
            {
                logs.extend(scores.logs().map(|(name, value)| (format!("val_{name}"), value)));
            }
            run.progress.end(&logs);
            history.push(epoch, &logs);
        }
        self.finish_training()?;
        history.samples_per_second = if seconds > 0.0 { trained as f64 / seconds } else { 0.0 };
        Ok(history)
    }
}

/// What the epochs of a run share.
struct Run {
    epochs: usize,
    batch_size: usize,
    seed: u64,
    fitted: Fitted,
    trackers: Trackers,
    progress: Progress,
    shows_numbers: bool,
}

impl Run {
    fn new(model: &Sequential, fit: &Fit<'_>, fitted: Fitted) -> Result<Self> {
        let progress = Progress::new(fit.verbose);
        Ok(Self {
            epochs: fit.epochs.unwrap_or(1),
            batch_size: fit.batch_size.unwrap_or(32),
            seed: fit.seed.unwrap_or(model.seed()),
            trackers: Trackers::new(model.expect_compiled("fit")?, &fitted.target, &fitted.output)?,
            fitted,
            shows_numbers: progress.is_bar(),
            progress,
        })
    }

    fn train_epoch<S: Source + ?Sized>(
        &mut self,
        model: &mut Sequential,
        data: &S,
        fit: &Fit<'_>,
        epoch: usize,
        train: usize,
    ) -> Result<Vec<(String, f64)>> {
        let order = order(0..train, (!fit.keep_order).then_some((self.seed, epoch)));
        let steps = order.len().div_ceil(self.batch_size);
        self.trackers.reset();
        self.progress.epoch_begin(epoch, self.epochs, Some(steps));
        let mut shown = Instant::now();
        for_each_batch(data, &order, self.batch_size, |index, host| {
            let weights = fit.weights(&host.indices, &host.y);
            let mut batch = model.upload(host, &self.fitted)?;
            if let Some(weights) = weights {
                batch.weights = Some(Value::from_vec(weights, &[batch.samples], model.device())?);
            }
            let outcome = model.train_step(&batch, self.seed)?;
            self.trackers.update(outcome.loss, batch.samples, &batch.y, &outcome.y_pred, batch.weights.as_ref())?;
            if self.shows_numbers && shown.elapsed() >= READ_BACK {
                shown = Instant::now();
                let results = self.finite_results(model, epoch, index)?;
                let results: Vec<(&str, f64)> = results.iter().map(|(name, value)| (name.as_str(), *value)).collect();
                self.progress.step(index + 1, &results);
            } else {
                self.progress.step(index + 1, &[]);
            }
            Ok(())
        })?;
        self.finite_results(model, epoch, steps.saturating_sub(1))
    }

    /// Loss and metrics so far; a loss that is no number ends the run.
    fn finite_results(&self, model: &Sequential, epoch: usize, batch: usize) -> Result<Vec<(String, f64)>> {
        let loss = self.trackers.loss()?;
        if loss.is_finite() {
            return self.trackers.results();
        }
        let compiled = model.expect_compiled("fit")?;
        let rate = compiled.optimizer.learning_rate_argument().at(compiled.state.iterations.saturating_sub(1));
        Err(Error::NonFinite { loss: loss as f32, epoch: epoch + 1, batch: batch + 1, learning_rate: rate })
    }

    fn validate<S: Source + ?Sized>(
        &self,
        model: &Sequential,
        data: &S,
        fit: &Fit<'_>,
        train: usize,
    ) -> Result<Option<Scores>> {
        let quiet = Progress::new(Verbosity::Silent);
        if let Some(validation) = fit.validation_data {
            return Evaluation::new(model, validation, self.batch_size)?.run(0..validation.len(), quiet).map(Some);
        }
        if train == data.len() {
            return Ok(None);
        }
        Evaluation::new(model, data, self.batch_size)?.run(train..data.len(), quiet).map(Some)
    }
}
