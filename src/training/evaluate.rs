//! `evaluate`: loss and metrics on data without training.

use std::cell::OnceCell;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::StopHandle;
use super::batches::{BatchOrder, Loader, default_workers, values_ahead};
use super::fitted::Fitted;
use super::hooks::Hooks;
use super::progress::{Progress, Verbosity};
use super::shard::Shard;
use super::trackers::Trackers;
use crate::callbacks::{BatchResults, Callback, Params};
use crate::datasets::Source;
use crate::distributed::{Communicator, PanicGuard, agree};
use crate::error::{Error, Result};
use crate::metrics::Score;
use crate::model::Model;
use crate::ops::Value;

/// Loss and metrics by name.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Scores {
    /// The loss.
    pub loss: f64,
    /// The metrics, sorted by name: a number each, or one for each class or threshold.
    pub metrics: Vec<(String, Score)>,
    /// The number of samples.
    pub samples: usize,
}

impl Scores {
    /// The loss, or a metric that is a single number.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.score(name).and_then(|score| score.one())
    }

    /// The loss, or the number or numbers of a metric.
    pub fn score(&self, name: &str) -> Option<Score> {
        self.logs().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// Loss and metrics, sorted by name.
    pub fn logs(&self) -> impl Iterator<Item = (String, Score)> {
        let mut logs = self.metrics.clone();
        logs.push(("loss".to_owned(), self.loss.into()));
        logs.sort_by(|a, b| a.0.cmp(&b.0));
        logs.into_iter()
    }
}

/// The arguments of [`Model::evaluate_with`].
#[derive(Default)]
pub struct Evaluate<'a> {
    batch_size: Option<usize>,
    verbose: Option<Verbosity>,
    callbacks: Vec<Box<dyn Callback + 'a>>,
    stop: StopHandle,
    peers: Option<Arc<dyn Communicator>>,
}

impl<'a> Evaluate<'a> {
    /// Batches of 32 as in Keras, without output.
    pub fn new() -> Self {
        Self::default()
    }

    /// The batch size (default 32, or that of stateful layers).
    #[must_use]
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = Some(batch_size);
        self
    }

    /// The output on stderr (default: none).
    #[must_use]
    pub fn verbose(mut self, verbose: Verbosity) -> Self {
        self.verbose = Some(verbose);
        self
    }

    /// Adds a callback, by value or by reference (`&mut callback`). It gets a copy of the model: changes to it are
    /// discarded after this evaluation.
    #[must_use]
    pub fn callback(mut self, callback: impl Callback + 'a) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// A handle that can stop the evaluation, which is then an error: there are no scores.
    #[must_use]
    pub fn stop_handle(mut self, handle: &StopHandle) -> Self {
        self.stop = handle.clone();
        self
    }

    /// Evaluates together with other processes, each of which computes a part of every batch; see
    /// [`distributed`](crate::distributed). All ranks get the same scores.
    #[must_use]
    pub fn distributed(mut self, communicator: Arc<dyn Communicator>) -> Self {
        self.peers = Some(communicator);
        self
    }
}

/// Refuses an empty data set.
pub(super) fn check_not_empty(samples: usize) -> Result<()> {
    if samples > 0 {
        return Ok(());
    }
    Err(Error::data("x", "at least one sample", "an empty data set"))
}

/// A checked evaluation.
pub(super) struct Evaluation<'a, S: Source + ?Sized> {
    data: &'a S,
    batch_size: usize,
    fitted: Fitted,
    trackers: Trackers,
    peers: Option<Arc<dyn Communicator>>,
}

impl<'a, S: Source + ?Sized> Evaluation<'a, S> {
    pub fn new(model: &Model, data: &'a S, batch_size: usize) -> Result<Self> {
        if batch_size == 0 {
            return Err(Error::argument("batch_size", "an integer above 0", 0));
        }
        let compiled = model.expect_compiled("evaluate")?;
        let fitted = model.fit_shapes(data, "evaluate")?;
        let rows = data.len().min(batch_size);
        model.admit_fed(&fitted.batch(rows), false, values_ahead(rows, &fitted, default_workers(), None)?)?;
        let trackers = Trackers::new(compiled, &fitted)?;
        Ok(Self { data, batch_size, fitted, trackers, peers: None })
    }

    /// Together with other ranks, if any.
    pub fn with(mut self, model: &Model, peers: Option<Arc<dyn Communicator>>) -> Result<Self> {
        if peers.is_some() {
            model.check_distributed(&self.fitted)?;
            self.trackers.check_distributed()?;
        }
        self.peers = peers;
        Ok(self)
    }

    /// Refuses invalid targets, if they are in memory.
    pub fn check(&self, model: &Model) -> Result<()> {
        model.check_all_targets(self.data, &self.fitted)
    }

    /// The scores; `None` if it was stopped before the last batch.
    pub fn run(
        mut self,
        model: &mut Model,
        range: Range<usize>,
        mut progress: Progress,
        hooks: &mut Hooks<'_>,
        stop: &StopHandle,
    ) -> Result<Option<Scores>> {
        check_not_empty(range.len())?;
        let samples = range.len();
        let order = BatchOrder { samples: range, batch_size: self.batch_size, steps_per_epoch: None, shuffle: None };
        let mut left = order.steps();
        let peers = self.peers.clone();
        if stop.is_stopped() && peers.is_none() {
            return Ok(None);
        }
        hooks.call(model, None, None, |callback, context| callback.on_test_begin(context))?;
        progress.begin(Some(order.steps()));
        let loader = Loader::new(self.data, &self.fitted);
        loader.for_each(order.parts(0, 0, peers.as_deref()), |index, host| {
            hooks.call(model, None, None, |callback, context| callback.on_test_batch_begin(context, index))?;
            let shard = peers.as_ref().map(|peers| Shard::new(peers, order.samples_of(0, index), stop.is_stopped()));
            let loss = if let Some(shard) = shard.as_ref().filter(|shard| shard.rows.count == 0) {
                shard.divisors(&vec![0.0; self.fitted.outputs.len()])?;
                Value::full(&[1], 0.0, model.device())?
            } else {
                let batch = model.upload(host, &self.fitted)?;
                let outcome = model.test_step(&batch, shard.as_ref())?;
                let whole = shard.as_ref().map_or(batch.samples, |shard| shard.samples);
                self.trackers.update_part(&batch, &outcome, whole)?;
                outcome.loss
            };
            let read = || self.trackers.results().map(|results| results.into_iter().collect());
            let results = BatchResults { read: &read, known: OnceCell::new(), loss: &loss };
            hooks.call(model, None, Some(&results), |callback, context| callback.on_test_batch_end(context, index))?;
            progress.step(index + 1, &[]);
            left -= 1;
            let stops = shard.map_or_else(|| stop.is_stopped(), |shard| shard.stops());
            Ok(if stops { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        if left > 0 {
            return Ok(None);
        }
        if let Some(peers) = &peers {
            self.trackers = self.trackers.merged(&**peers)?;
        }
        let results = self.trackers.results()?;
        progress.end(&results);
        let logs = results.iter().cloned().collect();
        hooks.call(model, None, None, |callback, context| callback.on_test_end(context, &logs))?;
        let loss = self.trackers.loss()?;
        Ok(Some(Scores { loss, metrics: results.into_iter().filter(|(name, _)| name != "loss").collect(), samples }))
    }
}

impl Model {
    /// Loss and metrics over all samples.
    ///
    /// # Errors
    /// [`Error::State`] before `compile`, [`Error::Data`] for data that does not fit the model or the loss.
    pub fn evaluate<S: Source + ?Sized>(&self, data: &S) -> Result<Scores> {
        self.evaluate_with(data, Evaluate::new())
    }

    /// As [`evaluate`](Self::evaluate), with arguments.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate); [`Error::Interrupted`] if a [`StopHandle`] has stopped it.
    pub fn evaluate_with<S: Source + ?Sized>(&self, data: &S, evaluate: Evaluate<'_>) -> Result<Scores> {
        let peers = evaluate.peers.clone();
        let _guard = PanicGuard(peers.clone());
        let scores = self.evaluated(data, evaluate);
        match (&scores, peers) {
            // All ranks are interrupted together.
            (Err(Error::Interrupted { .. }), _) => {}
            (Err(error), Some(peers)) => peers.fail(error),
            _ => {}
        }
        scores
    }

    fn evaluated<S: Source + ?Sized>(&self, data: &S, evaluate: Evaluate<'_>) -> Result<Scores> {
        let verbosity = evaluate.verbose.unwrap_or(Verbosity::Silent);
        let evaluation = Evaluation::new(self, data, evaluate.batch_size.unwrap_or_else(|| self.default_batch_size()))?;
        let evaluation = evaluation.with(self, evaluate.peers)?;
        if let Some(peers) = &evaluation.peers {
            let arguments = [data.len() as f64, evaluation.batch_size as f64];
            agree(&**peers, "the number of samples or the batch size", &arguments)?;
        }
        let is_first = evaluation.peers.as_ref().is_none_or(|peers| peers.rank() == 0);
        evaluation.check(self)?;
        self.check_batches(data.len(), evaluation.batch_size)?;
        // Builds the weights first, so that the copy shares them.
        self.layer_weights("evaluate")?;
        let params = Params {
            batch_size: evaluation.batch_size,
            steps: data.len().div_ceil(evaluation.batch_size),
            is_first,
            ..Params::default()
        };
        let mut hooks = Hooks::new(evaluate.callbacks, params)?;
        if !is_first {
            hooks.without_writers();
        }
        let verbosity = if is_first { verbosity } else { Verbosity::Silent };
        let progress = if is_first { hooks.progress(verbosity) } else { Progress::new(verbosity) };
        let mut copy = self.clone();
        let scores = evaluation.run(&mut copy, 0..data.len(), progress, &mut hooks, &evaluate.stop);
        self.set_states(copy.states());
        hooks.show(&mut Progress::new(verbosity));
        scores?.ok_or(Error::Interrupted { action: "the evaluation" })
    }
}
