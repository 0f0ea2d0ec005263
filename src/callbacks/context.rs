//! What a callback sees and may do.

use std::cell::OnceCell;

use super::History;
use super::Logs;
use crate::error::Result;
use crate::model::Model;
use crate::ops::Value;

/// The numbers of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Params {
    /// Up to which epoch is trained.
    pub epochs: usize,
    /// The epoch with which this run began; above 0 in one that goes on.
    pub initial_epoch: usize,
    /// The current epoch, from 0.
    pub epoch: usize,
    /// Batches in an epoch.
    pub steps: usize,
    /// Samples in a batch; the last one may have fewer.
    pub batch_size: usize,
    /// Whether the run goes on from a checkpoint.
    pub resumed: bool,
    /// Whether it was interrupted by a [`StopHandle`](crate::training::StopHandle), so that it is to go on later.
    pub interrupted: bool,
}

/// What a callback sees and may do: the model, the numbers so far, and a way to stop.
pub struct Context<'a> {
    /// The model.
    pub model: &'a mut Model,
    params: Params,
    results: Option<&'a Results<'a>>,
    given: Option<Logs>,
    history: Option<&'a History>,
    stopped: Option<String>,
    messages: Vec<String>,
    restored_epoch: Option<usize>,
}

/// Loss and metrics after a batch, read from the device when they are first asked for.
pub(crate) struct Results<'a> {
    pub read: &'a dyn Fn() -> Result<Logs>,
    pub known: OnceCell<Logs>,
    pub loss: &'a Value,
}

impl<'a> Context<'a> {
    /// The context in which a loop of one's own tells its callbacks about `model`.
    pub fn new(model: &'a mut Model, params: Params) -> Self {
        let (results, given, history, stopped) = (None, None, None, None);
        Self { model, params, results, given, history, stopped, messages: Vec::new(), restored_epoch: None }
    }

    /// The same after a batch, with loss and metrics so far in the epoch.
    #[must_use]
    pub fn with_logs(mut self, logs: Logs) -> Self {
        self.given = Some(logs);
        self
    }

    /// The same with the epochs that are done.
    #[must_use]
    pub fn with_history(mut self, history: &'a History) -> Self {
        self.history = Some(history);
        self
    }

    pub(crate) fn with_results(mut self, results: &'a Results<'a>) -> Self {
        self.results = Some(results);
        self
    }

    /// The same, where training was already asked to stop.
    pub(crate) fn with_stopped(mut self, stopped: Option<String>) -> Self {
        self.stopped = stopped;
        self
    }

    /// The numbers of the run.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Loss and metrics so far in the epoch (or evaluation), after a batch; none at other times. Waits for the device.
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

    /// The loss of the batch that is done; none at other times. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device fails.
    pub fn batch_loss(&self) -> Result<Option<f32>> {
        self.results.map(|results| results.loss.to_scalar()).transpose()
    }

    /// Loss and metrics of the epochs that are done, those before a checkpoint included; none outside training.
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

    /// Asks training to stop: after this batch, if it is in one, and then after this epoch's validation. The first
    /// reason stands in the history.
    pub fn stop(&mut self, reason: impl Into<String>) {
        self.stopped.get_or_insert_with(|| reason.into());
    }

    /// Why training was asked to stop, if it was.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// Says that the model has been given back the weights that it had at the end of this epoch, counted from 0, so that
    /// it is what that epoch came to, and not the last one. It stands in the history
    /// ([`restored_epoch`](History::restored_epoch)), and reports say so.
    pub fn restored(&mut self, epoch: usize) {
        self.restored_epoch = Some(epoch);
    }

    /// The epoch whose weights the model was given back, if it was.
    pub fn restored_epoch(&self) -> Option<usize> {
        self.restored_epoch
    }

    /// Shows a line of text, above the progress bar if there is one.
    pub fn message(&mut self, text: impl Into<String>) {
        self.messages.push(text.into());
    }

    /// The lines to be shown and the reason to stop.
    pub fn finish(self) -> (Vec<String>, Option<String>) {
        (self.messages, self.stopped)
    }
}
