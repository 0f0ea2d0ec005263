//! The view that a callback has of a run.

use std::cell::OnceCell;

use super::History;
use super::Logs;
use crate::error::Result;
use crate::model::Model;
use crate::ops::Value;

/// The sizes and position of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Params {
    /// The total number of epochs: training ends before this epoch, counted from 0.
    pub epochs: usize,
    /// The epoch with which this run began; above 0 in a resumed run.
    pub initial_epoch: usize,
    /// The current epoch, from 0.
    pub epoch: usize,
    /// Batches in an epoch; 0 as long as that is unknown, in the first epoch of a stream.
    pub steps: usize,
    /// Samples in a batch; the last one may have fewer.
    pub batch_size: usize,
    /// Whether the run was resumed from a checkpoint.
    pub resumed: bool,
    /// Whether it was interrupted by a [`StopHandle`](crate::training::StopHandle), to be resumed later.
    pub interrupted: bool,
    /// Whether this process is the only one or, of several that train [together](crate::distributed), the first.
    pub is_first: bool,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            epochs: 0,
            initial_epoch: 0,
            epoch: 0,
            steps: 0,
            batch_size: 0,
            resumed: false,
            interrupted: false,
            is_first: true,
        }
    }
}

impl Params {
    /// Those of a run that begins: `epochs` epochs of `steps` batches of `batch_size` samples.
    ///
    /// ```
    /// use brasa::callbacks::Params;
    /// let mut params = Params::new(5, 100, 32);
    /// params.epoch = 1;
    /// assert_eq!((params.epochs, params.initial_epoch), (5, 0));
    /// ```
    pub fn new(epochs: usize, steps: usize, batch_size: usize) -> Self {
        Self { epochs, steps, batch_size, ..Self::default() }
    }
}

/// The view that a callback has of a run: the model, the numbers so far, and a way to stop.
pub struct Context<'a> {
    /// The model.
    pub model: &'a mut Model,
    params: Params,
    results: Option<&'a BatchResults<'a>>,
    given: Option<Logs>,
    history: Option<&'a History>,
    stopped: Option<String>,
    messages: Vec<String>,
    restored_epoch: Option<usize>,
}

/// Loss and metrics after a batch, read from the device on first use.
pub(crate) struct BatchResults<'a> {
    pub read: &'a dyn Fn() -> Result<Logs>,
    pub known: OnceCell<Logs>,
    pub loss: &'a Value,
}

impl<'a> Context<'a> {
    /// The context that a custom training loop passes to its callbacks.
    pub fn new(model: &'a mut Model, params: Params) -> Self {
        let (results, given, history, stopped) = (None, None, None, None);
        Self { model, params, results, given, history, stopped, messages: Vec::new(), restored_epoch: None }
    }

    /// Adds loss and metrics so far in the epoch, for the end of a batch.
    #[must_use]
    pub fn with_logs(mut self, logs: Logs) -> Self {
        self.given = Some(logs);
        self
    }

    /// Adds the history of the completed epochs.
    #[must_use]
    pub fn with_history(mut self, history: &'a History) -> Self {
        self.history = Some(history);
        self
    }

    pub(crate) fn with_results(mut self, results: &'a BatchResults<'a>) -> Self {
        self.results = Some(results);
        self
    }

    /// Adds the reason for which training was already asked to stop.
    pub(crate) fn with_stopped(mut self, stopped: Option<String>) -> Self {
        self.stopped = stopped;
        self
    }

    /// The sizes and position of the run.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Loss and metrics so far in the epoch (or evaluation), after a batch; empty at other times. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device fails.
    pub fn logs(&self) -> Result<Logs> {
        let Some(results) = self.results else { return Ok(self.given.clone().unwrap_or_default()) };
        if let Some(known) = results.known.get() {
            return Ok(known.clone());
        }
        let logs = (results.read)()?;
        Ok(results.known.get_or_init(|| logs).clone())
    }

    /// The loss of the batch that has ended; `None` at other times. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device fails.
    pub fn batch_loss(&self) -> Result<Option<f32>> {
        self.results.map(|results| results.loss.to_scalar()).transpose()
    }

    /// Loss and metrics of the completed epochs, including those before a checkpoint; `None` outside training.
    pub fn history(&self) -> Option<&'a History> {
        self.history
    }

    /// The learning rate of the next step.
    ///
    /// # Errors
    /// [`Error::State`](crate::Error::State) for a model that is not compiled.
    pub fn learning_rate(&self) -> Result<f32> {
        self.model.learning_rate()
    }

    /// Sets the learning rate.
    ///
    /// # Errors
    /// As [`Model::set_learning_rate`].
    pub fn set_learning_rate(&mut self, rate: f32) -> Result<()> {
        self.model.set_learning_rate(rate)
    }

    /// Asks training to stop: after the current batch, if there is one, followed by this epoch's validation. The first
    /// reason is recorded in the history.
    pub fn stop(&mut self, reason: impl Into<String>) {
        self.stopped.get_or_insert_with(|| reason.into());
    }

    /// The reason why training was asked to stop, if it was.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// Records that the model has been given back the weights of the end of this epoch, counted from 0, so that it is
    /// the model of that epoch and not of the last. The history holds it ([`restored_epoch`](History::restored_epoch)),
    /// and reports show it.
    pub fn restored(&mut self, epoch: usize) {
        self.restored_epoch = Some(epoch);
    }

    /// The epoch whose weights were restored, if any.
    pub fn restored_epoch(&self) -> Option<usize> {
        self.restored_epoch
    }

    /// Shows a line of text, above the progress bar if there is one.
    pub fn message(&mut self, text: impl Into<String>) {
        self.messages.push(text.into());
    }

    /// The lines to show and the reason to stop.
    pub fn finish(self) -> (Vec<String>, Option<String>) {
        (self.messages, self.stopped)
    }
}
