//! `fit`: the training loop.

use std::sync::Arc;

use super::class_weight::ClassWeight;
use super::evaluate::check_not_empty;
use super::progress::Verbosity;
use super::{Checkpoint, StopHandle, ValidationFreq};
use crate::callbacks::Callback;
use crate::datasets::{IntoSamples, Samples, Source};
use crate::distributed::Communicator;
use crate::error::{Error, Result};

/// The most threads that load batches.
const MOST_WORKERS: usize = 256;

/// The arguments of [`Model::fit`](crate::Model::fit), with Keras's names and defaults.
#[derive(Default)]
pub struct Fit<'a> {
    pub(super) epochs: Option<usize>,
    pub(super) batch_size: Option<usize>,
    pub(super) validation_split: f64,
    pub(super) validation_data: Option<&'a dyn Source>,
    pub(super) validation_freq: ValidationFreq,
    pub(super) steps_per_epoch: Option<usize>,
    pub(super) workers: Option<usize>,
    pub(super) keep_order: bool,
    pub(super) seed: Option<u64>,
    pub(super) verbose: Verbosity,
    pub(super) initial_epoch: usize,
    pub(super) callbacks: Vec<Box<dyn Callback + 'a>>,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) stop: StopHandle,
    pub(super) class_weight: Option<ClassWeight>,
    pub(super) sample_weight: Option<Result<Samples>>,
    pub(super) peers: Option<Arc<dyn Communicator>>,
}

impl<'a> Fit<'a> {
    /// One epoch with batches of 32, shuffled, without validation.
    pub fn new() -> Self {
        Self::default()
    }

    /// The total number of epochs, including those before [`initial_epoch`](Self::initial_epoch) (default 1).
    #[must_use]
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = Some(epochs);
        self
    }

    /// The batch size (default 32, or that of stateful layers); the last batch of an epoch can be smaller.
    #[must_use]
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = Some(batch_size);
        self
    }

    /// The fraction of the samples, taken from the end before any shuffling, that is not trained on but evaluated after
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

    /// The number of epochs between evaluations (default 1), or a list of epochs after which to evaluate, counted from
    /// 1.
    #[must_use]
    pub fn validation_freq(mut self, epochs: impl Into<ValidationFreq>) -> Self {
        self.validation_freq = epochs.into();
        self
    }

    /// Whether the samples are shuffled in each epoch (default: yes). The order depends on seed and epoch alone.
    #[must_use]
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.keep_order = !shuffle;
        self
    }

    /// The seed of the samples' order, of dropout and of augmentation (default: the model's); see
    /// [reproducibility](crate::training).
    ///
    /// Order and augmentation depend on the seed and on the epoch, which is counted anew in each call of
    /// [`Model::fit`](crate::model::Model::fit): another call needs another `seed`, or
    /// [`initial_epoch`](Self::initial_epoch), to draw others.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The output on stderr.
    #[must_use]
    pub fn verbose(mut self, verbose: Verbosity) -> Self {
        self.verbose = verbose;
        self
    }

    /// The epoch to start with, for a run that is continued (default 0).
    #[must_use]
    pub fn initial_epoch(mut self, epoch: usize) -> Self {
        self.initial_epoch = epoch;
        self
    }

    /// The weights of classes in the loss; classes without one have 1.
    ///
    /// If there is a label for each step or pixel, each has the weight of its own class.
    #[must_use]
    pub fn class_weight(mut self, weights: impl IntoIterator<Item = (usize, f32)>) -> Self {
        self.class_weight = Some(ClassWeight::new(weights));
        self
    }

    /// The weights of samples in the loss and in `weighted_metrics`: one per sample or, in an array of more dimensions,
    /// one per step or pixel. There must be one entry for each sample of the data, including those of
    /// [`validation_split`](Self::validation_split), for which the weights are used too.
    ///
    /// Data with weights of its own ([`Dataset::with_sample_weight`](crate::datasets::Dataset::with_sample_weight),
    /// [`Weighted`](crate::datasets::Weighted)) needs none here; the same holds for validation data.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// # fn main() -> brasa::Result<()> {
    /// # let mut model = Sequential::new();
    /// # model.add(Dense::new(1).input_shape((3, 2)))?.compile(Compile::new("sgd", "mse"))?;
    /// let data = Dataset::new(ndarray::Array::<f32, _>::ones((2, 3, 2)), ndarray::Array::<f32, _>::ones((2, 3, 1)))?;
    /// // The third step of the second sample does not count.
    /// let weights = ndarray::array![[1.0f32, 1.0, 1.0], [1.0, 1.0, 0.0]];
    /// model.fit(&data, Fit::new().verbose(Verbosity::Silent).sample_weight(&weights))?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn sample_weight(mut self, weights: impl IntoSamples) -> Self {
        self.sample_weight = Some(weights.into_samples());
        self
    }

    /// Batches in an epoch (default: one pass over the samples). With another number an epoch starts where the previous
    /// one ended.
    #[must_use]
    pub fn steps_per_epoch(mut self, steps: usize) -> Self {
        self.steps_per_epoch = Some(steps);
        self
    }

    /// The number of threads that load batches, and augment their images (default: those of the CPU backend, at most 3).
    /// Batches come in the same order and with the same random numbers whatever their number.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Adds a callback, by value or by reference (`&mut callback`). Callbacks are called in the order in which they
    /// were added.
    #[must_use]
    pub fn callback(mut self, callback: impl Callback + 'a) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// Adds callbacks: owned, boxed, or by reference (`list.iter_mut()`).
    #[must_use]
    pub fn callbacks<C: Callback + 'a>(mut self, callbacks: impl IntoIterator<Item = C>) -> Self {
        self.callbacks.extend(callbacks.into_iter().map(|callback| Box::new(callback) as Box<dyn Callback + 'a>));
        self
    }

    /// Keeps the run's state in a file, and resumes from it if [`Checkpoint::resume`] is set.
    #[must_use]
    pub fn checkpoint(mut self, checkpoint: Checkpoint) -> Self {
        self.checkpoint = Some(checkpoint);
        self
    }

    /// A handle that can stop training.
    #[must_use]
    pub fn stop_handle(mut self, handle: &StopHandle) -> Self {
        self.stop = handle.clone();
        self
    }

    /// Trains together with other processes, each of which computes a part of every batch; see
    /// [`distributed`](crate::distributed). `batch_size` is that of the whole batch. All ranks pass the same arguments;
    /// the seed and the weights are those of rank 0.
    #[must_use]
    pub fn distributed(mut self, communicator: Arc<dyn Communicator>) -> Self {
        self.peers = Some(communicator);
        self
    }

    pub(super) fn check(&self, samples: usize) -> Result<()> {
        if self.batch_size == Some(0) {
            return Err(Error::argument("batch_size", "an integer above 0", 0));
        }
        self.validation_freq.check()?;
        if self.steps_per_epoch == Some(0) {
            return Err(Error::argument("steps_per_epoch", "an integer above 0", 0));
        }
        if self.workers.is_some_and(|workers| !(1..=MOST_WORKERS).contains(&workers)) {
            let expected = format!("an integer from 1 to {MOST_WORKERS}");
            return Err(Error::argument("workers", expected, self.workers.unwrap_or(0)));
        }
        check_not_empty(samples)?;
        if self.class_weight.is_some() && self.sample_weight.is_some() {
            return Err(Error::argument("class_weight", "either class_weight or sample_weight", "both"));
        }
        self.class_weight.as_ref().map_or(Ok(()), ClassWeight::check)?;
        if !(0.0..1.0).contains(&self.validation_split) {
            return Err(Error::argument("validation_split", "a number from 0 to below 1", self.validation_split));
        }
        if self.validation_split > 0.0 && self.validation_data.is_some() {
            return Err(Error::argument("validation_split", "either validation_split or validation_data", "both"));
        }
        Ok(())
    }
}
