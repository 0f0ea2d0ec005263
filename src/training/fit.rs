//! `fit`: the training loop.

use std::collections::BTreeMap;

use super::evaluate::{Evaluation, check_not_empty};
use super::progress::Verbosity;
use super::run::Run;
use super::{Checkpoint, History, StopHandle, ValidationFreq};
use crate::callbacks::Callback;
use crate::datasets::Source;
use crate::error::{Error, Result};
use crate::model::Model;

/// The arguments of [`Model::fit`], with Keras's names and defaults.
#[derive(Default)]
pub struct Fit<'a> {
    pub(super) epochs: Option<usize>,
    pub(super) batch_size: Option<usize>,
    pub(super) validation_split: f64,
    pub(super) validation_data: Option<&'a dyn Source>,
    pub(super) validation_freq: ValidationFreq,
    pub(super) steps_per_epoch: Option<usize>,
    pub(super) keep_order: bool,
    pub(super) seed: Option<u64>,
    pub(super) verbose: Verbosity,
    pub(super) initial_epoch: usize,
    pub(super) callbacks: Vec<Box<dyn Callback + 'a>>,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) stop: StopHandle,
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

    /// Evaluate only after every so many epochs (default 1), or after the epochs of a list, counted from 1.
    #[must_use]
    pub fn validation_freq(mut self, epochs: impl Into<ValidationFreq>) -> Self {
        self.validation_freq = epochs.into();
        self
    }

    /// Whether each epoch takes the samples in another order (default: yes). The order depends on seed and epoch alone.
    #[must_use]
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.keep_order = !shuffle;
        self
    }

    /// The seed of the samples' order and of dropout (default: the model's); [what repeats](crate::training) with it.
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

    /// Batches in an epoch (default: as many as one pass over the samples has). With another number an epoch begins
    /// where the one before has ended.
    #[must_use]
    pub fn steps_per_epoch(mut self, steps: usize) -> Self {
        self.steps_per_epoch = Some(steps);
        self
    }

    /// Adds a callback, which is handed over or lent (`&mut callback`). They are told in the order in which they were
    /// added.
    #[must_use]
    pub fn callback(mut self, callback: impl Callback + 'a) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// Adds callbacks: owned, boxed, or lent (`list.iter_mut()`).
    #[must_use]
    pub fn callbacks<C: Callback + 'a>(mut self, callbacks: impl IntoIterator<Item = C>) -> Self {
        self.callbacks.extend(callbacks.into_iter().map(|callback| Box::new(callback) as Box<dyn Callback + 'a>));
        self
    }

    /// Keeps the run's state in a file, and goes on from it if it says so.
    #[must_use]
    pub fn checkpoint(mut self, checkpoint: Checkpoint) -> Self {
        self.checkpoint = Some(checkpoint);
        self
    }

    /// Listens to a handle by which training can be asked to stop.
    #[must_use]
    pub fn stop_handle(mut self, handle: &StopHandle) -> Self {
        self.stop = handle.clone();
        self
    }

    fn check(&self, samples: usize) -> Result<()> {
        if self.batch_size == Some(0) {
            return Err(Error::argument("batch_size", "an integer above 0", 0));
        }
        self.validation_freq.check()?;
        if self.steps_per_epoch == Some(0) {
            return Err(Error::argument("steps_per_epoch", "an integer above 0", 0));
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
    pub(super) fn weights(&self, indices: &[usize], y: &[f32]) -> Option<Vec<f32>> {
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

impl Model {
    /// Trains the model.
    ///
    /// # Errors
    /// [`Error::State`] before `compile`; [`Error::Data`] for data that does not fit the model or the loss, before
    /// anything is trained; [`Error::Argument`] for arguments that make no sense; [`Error::NonFinite`] when the loss
    /// is no number any more; whatever a callback refuses.
    pub fn fit<S: Source + ?Sized>(&mut self, data: &S, fit: Fit<'_>) -> Result<History> {
        fit.check(data.len())?;
        let loss = self.expect_compiled("fit")?.loss.clone();
        let fitted = self.fit_shapes(data.x_shape(), data.y_shape(), &*loss)?;
        if let Some(validation) = fit.validation_data {
            Evaluation::new(self, validation, fit.batch_size.unwrap_or(32))?.check(self)?;
            check_not_empty(validation.len())?;
        }
        self.check_all_targets(data, &fitted)?;
        Run::new(self, data, fit, fitted)?.run()
    }
}
