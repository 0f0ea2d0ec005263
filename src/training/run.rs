//! The training loop.

use std::cell::{Cell, OnceCell};
use std::mem;
use std::ops::ControlFlow;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use super::batches::{BatchOrder, HostBatch, Loader, default_workers, values_ahead};
use super::checkpoint::Keeper;
use super::evaluate::{Evaluation, check_not_empty};
use super::fitted::{Augmented, Fitted};
use super::hooks::Hooks;
use super::progress::{Progress, Verbosity};
use super::ranks::{StreamTraits, agree_on_weights, begin_together, hash_of};
use super::shard::{Shard, ShardRows};
use super::snapshot::{DataSums, Position};
use super::step::{NonFiniteLoss, StepResult};
use super::streaming::{Shapes, StreamLoader, Streaming};
use super::trackers::Trackers;
use super::{Fit, History};
use crate::callbacks::{BatchResults, Callback, Context, Logs, Params};
use crate::datasets::{Source, Weighted, split_index};
use crate::distributed::{Communicator, Pace, Timed, Traffic, agree, gather, halves, together};
use crate::error::{Error, Result};
use crate::kernels;
use crate::layers::Layer;
use crate::metrics::Score;
use crate::model::Model;
use crate::ops::{self, Value};

/// The interval at which the bar reads metrics back, which waits for the device.
const READ_BACK: Duration = Duration::from_millis(250);

/// Notes once per process, unless silent, that Brasa was compiled without optimization. A dependency is, unless its
/// profile says otherwise, and training then takes many times as long.
fn note_if_unoptimised(progress: &mut Progress) {
    static SAID: Once = Once::new();
    if kernels::OPT_LEVEL == "0" && !progress.is_silent() {
        SAID.call_once(|| {
            progress.println(
                "note: Brasa is compiled without optimisation, and slow: build with --release, or set opt-level = 3 in \
                 [profile.dev.package.brasa] and [profile.dev.package.brasa-kernels]",
            );
        });
    }
}

impl Model {
    /// Trains the model.
    ///
    /// # Errors
    /// [`Error::State`] before `compile`; [`Error::Data`] for data that does not fit the model or the loss, before
    /// anything is trained; [`Error::Argument`] for invalid arguments; [`Error::NonFinite`] when the loss is NaN or
    /// infinite; any error of a callback.
    pub fn fit<S: Source + ?Sized>(&mut self, data: &S, mut fit: Fit<'_>) -> Result<History> {
        together(fit.peers.clone(), || {
            fit.check(data.len())?;
            match fit.sample_weight.take() {
                Some(weights) => self.fit_checked(&Weighted::new(&data, weights?)?, fit),
                None => self.fit_checked(data, fit),
            }
        })
    }

    fn fit_checked<S: Source + ?Sized>(&mut self, data: &S, fit: Fit<'_>) -> Result<History> {
        if fit.class_weight.is_some() && !data.weight_fields().is_empty() {
            let received = "both, as the data has weights of its own";
            return Err(Error::argument("class_weight", "either class_weight or sample weights", received));
        }
        let fitted = self.fit_shapes(data, "fit")?;
        let batch_size = fit.batch_size.unwrap_or_else(|| self.default_batch_size());
        let train =
            if fit.validation_split > 0.0 { split_index(data.len(), fit.validation_split)? } else { data.len() };
        self.check_batches(train, batch_size)?;
        self.check_batches(data.len() - train, batch_size)?;
        fit.class_weight.as_ref().map_or(Ok(()), |weights| weights.check_outputs(&fitted))?;
        if let Some(validation) = fit.validation_data {
            Evaluation::new(self, validation, batch_size)?.check(self)?;
            check_not_empty(validation.len())?;
            self.check_batches(validation.len(), batch_size)?;
        }
        let rows = data.len().min(batch_size);
        let augmented = Augmented::of(self, &fitted, fit.seed.unwrap_or(self.seed()))?;
        let workers = fit.workers.unwrap_or_else(default_workers);
        self.admit_fed(&fitted.batch(rows), true, values_ahead(rows, &fitted, workers, augmented.as_ref())?)?;
        self.check_all_targets(data, &fitted)?;
        Run::new(self, data, fit, fitted, None)?.run()
    }
}

/// One call of `fit`.
pub(super) struct Run<'a, 'f, S: Source + ?Sized> {
    pub(super) model: &'a mut Model,
    pub(super) data: &'a S,
    /// The batches in place of the data, if they come from a stream, and their shapes.
    pub(super) stream: Option<(Streaming<'a>, Shapes)>,
    pub(super) is_streamed: bool,
    /// The fingerprint of the stream, if it has one.
    pub(super) stream_sum: Option<u64>,
    /// The largest batch of a stream that was found to fit in memory.
    pub(super) admitted: usize,
    pub(super) fit: Fit<'f>,
    pub(super) hooks: Hooks<'f>,
    pub(super) order: BatchOrder,
    pub(super) seed: u64,
    pub(super) fitted: Fitted,
    pub(super) trackers: Trackers,
    pub(super) keepers: Vec<Keeper>,
    /// Fingerprints of the data, computed when a checkpoint first needs them.
    pub(super) sums: OnceCell<DataSums>,
    pub(super) progress: Progress,
    /// When metrics were last read back for the bar.
    pub(super) shown: Instant,
    pub(super) history: History,
    /// The number of samples trained on, and the seconds it took.
    pub(super) trained: usize,
    pub(super) seconds: f64,
    /// The ranks that train together, and whether one of them is to stop.
    pub(super) peers: Option<Arc<dyn Communicator>>,
    pub(super) peers_stop: bool,
    /// The same ranks, with the time of their exchanges.
    pub(super) timed: Option<Arc<Timed>>,
}

impl<'a, 'f, S: Source + ?Sized> Run<'a, 'f, S> {
    /// A run on data, or, with the traits of a stream, on a stream whose first batch the data is.
    pub fn new(
        model: &'a mut Model,
        data: &'a S,
        mut fit: Fit<'f>,
        fitted: Fitted,
        stream: Option<&StreamTraits>,
    ) -> Result<Self> {
        let train =
            if fit.validation_split > 0.0 { split_index(data.len(), fit.validation_split)? } else { data.len() };
        let timed = fit.peers.take().map(|peers| Arc::new(Timed::new(peers)));
        let peers = timed.clone().map(|timed| timed as Arc<dyn Communicator>);
        let mut seed = fit.seed.unwrap_or(model.seed());
        if let Some(peers) = &peers {
            seed = begin_together(model, data, &fit, seed, &fitted, stream, &**peers)?;
        }
        let order = BatchOrder {
            samples: 0..train,
            batch_size: fit.batch_size.unwrap_or_else(|| model.default_batch_size()),
            steps_per_epoch: fit.steps_per_epoch,
            shuffle: (!fit.keep_order).then_some(seed),
        };
        let params = Params {
            epochs: fit.epochs.unwrap_or(1),
            initial_epoch: fit.initial_epoch,
            epoch: fit.initial_epoch,
            steps: order.steps(),
            batch_size: order.batch_size,
            is_first: peers.as_ref().is_none_or(|peers| peers.rank() == 0),
            ..Params::default()
        };
        let mut hooks = Hooks::new(mem::take(&mut fit.callbacks), params)?;
        if peers.as_ref().is_some_and(|peers| peers.rank() > 0) {
            hooks.without_writers();
        }
        let checkpoints = fit.checkpoint.take().into_iter().chain(hooks.iter().filter_map(Callback::backup));
        let keepers: Vec<Keeper> = checkpoints.map(Keeper::new).collect();
        keepers.iter().try_for_each(|keeper| keeper.checkpoint().check())?;
        if let Some(peers) = &peers {
            let freqs: Vec<_> = keepers.iter().map(|keeper| keeper.checkpoint().freq).collect();
            agree(&**peers, "the checkpoints", &halves(hash_of(&format!("{freqs:?}"))))?;
        }
        let trackers = Trackers::new(model.expect_compiled("fit")?, &fitted)?;
        if peers.is_some() {
            trackers.check_distributed()?;
        }
        Ok(Self {
            trackers,
            progress: match peers.as_ref().is_some_and(|peers| peers.rank() > 0) {
                true => Progress::new(Verbosity::Silent),
                false => hooks.progress(fit.verbose),
            },
            model,
            data,
            stream: None,
            is_streamed: stream.is_some(),
            stream_sum: stream.and_then(|stream| stream.fingerprint),
            admitted: 0,
            fit,
            hooks,
            order,
            seed,
            fitted,
            keepers,
            sums: OnceCell::new(),
            shown: Instant::now(),
            history: History::default(),
            trained: 0,
            seconds: 0.0,
            peers,
            peers_stop: false,
            timed,
        })
    }

    /// Whether the run is to stop here: because of its handle or, together with other ranks, because of any of theirs.
    fn is_stopped(&self) -> bool {
        if self.peers.is_some() { self.peers_stop } else { self.fit.stop.is_stopped() }
    }

    /// Settles between epochs whether a rank is to stop, and whether a callback of one has stopped training.
    fn settle(&mut self) -> Result<()> {
        let Some(peers) = &self.peers else { return Ok(()) };
        let flag = |is_set: bool| f64::from(u8::from(is_set));
        let own = [flag(self.fit.stop.is_stopped()), flag(self.hooks.stopped.is_some())];
        let all = gather(&**peers, &own)?;
        self.peers_stop |= all.iter().any(|flags| flags[0] > 0.0);
        if let Some(rank) = all.iter().position(|flags| flags[1] > 0.0) {
            self.hooks.stopped.get_or_insert_with(|| format!("a callback of rank {rank} has stopped training"));
        }
        Ok(())
    }

    /// Trains on the batches of a stream in place of the data, which is its first batch.
    pub fn of_stream(self, stream: Streaming<'a>, shapes: Shapes) -> Self {
        let order = BatchOrder { samples: 0..0, steps_per_epoch: stream.steps, shuffle: None, ..self.order };
        Self { stream: Some((stream, shapes)), order, ..self }
    }

    /// Refuses a batch that is larger than those before and does not fit in memory.
    fn admit_rows(&mut self, rows: usize, workers: usize, augmented: Option<&Augmented>) -> Result<()> {
        if rows > self.admitted {
            let ahead = values_ahead(rows, &self.fitted, workers, augmented)?;
            self.model.admit_fed(&self.fitted.batch(rows), true, ahead)?;
            self.admitted = rows;
        }
        Ok(())
    }

    /// A stream's batches have run out after `steps` of an epoch; `false` if there were none, and training ends.
    fn run_out(&mut self, steps: usize) -> bool {
        let Some((stream, _)) = &mut self.stream else { return true };
        let is_first = self.hooks.params.is_first;
        if steps == 0 {
            self.hooks.stopped = Some("the stream has no more batches".to_owned());
            if is_first {
                self.progress.println("the stream has no more batches");
            }
            return false;
        }
        match stream.steps.filter(|_| self.fit.steps_per_epoch.is_some()) {
            Some(wanted) if is_first => {
                let message = format!("the stream ran out after {steps} of {wanted} batches of an epoch");
                self.progress.println(&message);
            }
            Some(_) => {}
            None => stream.steps = Some(steps),
        }
        true
    }

    /// Batches in an epoch, if their number is known.
    fn steps(&self) -> Option<usize> {
        match &self.stream {
            Some((stream, _)) => stream.steps,
            None => Some(self.order.steps()),
        }
    }

    pub fn run(mut self) -> Result<History> {
        note_if_unoptimised(&mut self.progress);
        let mut position = Position { epoch: self.fit.initial_epoch, step: 0 };
        let mut states = None;
        if let Some((snapshot, accept_changes)) = self.saved()? {
            position = snapshot.position;
            states = Some(self.restore(snapshot, accept_changes)?);
            self.hooks.params.resumed = true;
            self.hooks.params.initial_epoch = position.epoch;
            tracing::info!("resuming at epoch {}, batch {}", position.epoch + 1, position.step + 1);
        }
        self.hooks.params.epoch = position.epoch;
        if let Some((stream, _)) = self.stream.as_mut().filter(|_| position != (Position { epoch: 0, step: 0 })) {
            stream.skip(position.epoch, position.step, self.peers.as_deref())?;
        }
        self.call(|callback, context| callback.on_train_begin(context))?;
        if let Some(states) = states {
            self.hooks.restore(states)?;
        }
        if !self.is_over(position) && self.peers.as_ref().is_none_or(|peers| peers.rank() == 0) {
            self.keepers.iter().try_for_each(Keeper::prepare)?;
        }
        self.settle()?;
        while !self.is_over(position) {
            if !self.is_stopped() {
                position = self.train_epoch(position)?;
            }
            self.settle()?;
            if self.is_stopped() && !self.is_over(position) {
                self.fit.stop.stop();
                self.hooks.params.interrupted = true;
                self.call(|callback, context| callback.on_interrupt(context))?;
                self.keep(position, |_| true)?;
                break;
            }
        }
        self.model.finish_training()?;
        ops::drop_buffers();
        self.call(|callback, context| callback.on_train_end(context))?;
        self.history.samples_per_second = if self.seconds > 0.0 { self.trained as f64 / self.seconds } else { 0.0 };
        self.history.interrupted = self.hooks.params.interrupted;
        self.history.stopped = self.hooks.stopped;
        self.history.restored_epoch = self.hooks.restored_epoch;
        Ok(self.history)
    }

    /// Whether training is over. An epoch that a callback has stopped still has to be ended.
    fn is_over(&self, position: Position) -> bool {
        position.epoch >= self.hooks.params.epochs || (self.hooks.stopped.is_some() && position.step == 0)
    }

    /// Trains an epoch, or the rest of one; returns the position afterwards.
    fn train_epoch(&mut self, from: Position) -> Result<Position> {
        let Position { epoch, step: first } = from;
        let (begin, data, known) = (Instant::now(), self.data, self.steps());
        // The count of an earlier epoch of a stream is for display; it is no limit.
        let is_counted = self.is_streamed && self.fit.steps_per_epoch.is_none();
        let steps = known.filter(|_| !is_counted).unwrap_or(usize::MAX);
        self.hooks.params.steps = known.unwrap_or(0);
        self.hooks.params.epoch = epoch;
        self.progress.epoch_begin(epoch, self.hooks.params.epochs, known);
        if first == 0 {
            self.trackers.reset();
            self.call(|callback, context| callback.on_epoch_begin(context, epoch))?;
        }
        let before = self.timed.as_ref().map(|timed| timed.traffic());
        let step = Cell::new(first);
        // No batches are left in an epoch that a callback has stopped.
        let rest = if self.hooks.stopped.is_some() && first > 0 { steps } else { first };
        let peers = self.peers.clone();
        // Made anew for each epoch, as a callback can change the layers.
        let augmented = Augmented::of(self.model, &self.fitted, self.seed)?.map(Arc::new);
        let workers = self.fit.workers.unwrap_or_else(default_workers);
        let mut ran_out = false;
        let consume = |run: &mut Self, index: usize, host: HostBatch, rows: Option<ShardRows>| {
            run.train_batch(first + index, host, rows)?;
            let done = first + index + 1;
            step.set(done);
            let position = Position { epoch, step: done };
            run.keep(position, |keeper| keeper.is_due(false) && done < steps)?;
            let stops = run.is_stopped() || (run.hooks.stopped.is_some() && run.peers.is_none());
            Ok(if stops { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        match self.stream.take() {
            None => {
                let loader = Loader { augmented, workers, ..Loader::new(data, &self.fitted) };
                let batches = self.order.parts(epoch, rest, peers.as_deref());
                loader.for_each(batches, |index, host| consume(self, index, host, None))?;
            }
            Some((stream, shapes)) if rest > first => self.stream = Some((stream, shapes)),
            Some((mut stream, shapes)) => {
                // A function of the epoch alone, as a resumed run has not counted the batches.
                let in_an_epoch = self.fit.steps_per_epoch.map_or(1 << 32, |steps| steps as u64);
                let first_number = (epoch as u64).saturating_mul(in_an_epoch);
                let fitted = self.fitted.clone();
                let rank = peers.as_ref().map_or((0, 1), |peers| (peers.rank(), peers.size()));
                let loader = StreamLoader { fitted, augmented: augmented.clone(), workers, first_number, shapes, rank };
                let result = self.train_on_stream(&mut stream, &loader, first, |run, index, host, rows| {
                    run.admit_rows(host.indices.len(), workers, augmented.as_deref())?;
                    consume(run, index, host, rows)
                });
                self.stream = Some((stream, loader.shapes));
                ran_out = result?;
            }
        }
        let step = step.get();
        // A callback of one rank may have stopped training in the last batch.
        self.settle()?;
        let seconds = begin.elapsed().as_secs_f64();
        self.seconds += seconds;
        self.compare_ranks(epoch, step - first, seconds, before)?;
        // A stream that was left early may have been read to its end. Ranks know together whether it was.
        let is_left = self.fit.stop.is_stopped() || self.hooks.stopped.is_some();
        let ran_out = ran_out && (peers.is_some() || !is_left);
        if ran_out && step < steps && !self.run_out(step) {
            return Ok(Position { epoch, step: 0 });
        }
        let steps = if ran_out { step } else { steps };
        if (step < steps && self.hooks.stopped.is_none()) || !self.end_epoch(epoch, step)? {
            // Interrupted: the epoch is resumed by a later run.
            return Ok(Position { epoch, step });
        }
        let position = Position { epoch: epoch + 1, step: 0 };
        self.keep(position, |keeper| keeper.is_due(true))?;
        Ok(position)
    }

    /// Hands the batches of an epoch to `train` from step `first` on, until they have run out on all ranks, or it breaks
    /// off; returns whether they ran out. The batch of a step is that of all ranks together, one of which may have no
    /// samples of it: all ranks have the same steps.
    fn train_on_stream(
        &mut self,
        stream: &mut Streaming<'a>,
        loader: &StreamLoader,
        first: usize,
        mut train: impl FnMut(&mut Self, usize, HostBatch, Option<ShardRows>) -> Result<ControlFlow<()>>,
    ) -> Result<bool> {
        let Some(peers) = self.peers.clone() else {
            return stream.for_each(first, loader, true, |index, host| train(self, index, host, None));
        };
        let on_each = self.model.is_synchronized();
        let mut has_begun = false;
        loop {
            let mut steps = 0;
            let ran_out = stream.for_each(first, loader, false, |index, host| {
                let rows = ShardRows::gathered(&*peers, host.indices.len(), on_each)?;
                steps = index + 1;
                train(self, index, host, Some(rows))
            })?;
            if !ran_out || self.is_stopped() {
                return Ok(false);
            }
            let mut is_over = false;
            while !is_over && first.saturating_add(steps) < stream.most_steps() {
                let rows = ShardRows::gathered(&*peers, 0, on_each)?;
                is_over = rows.samples == 0;
                if !is_over {
                    steps += 1;
                    if train(self, steps - 1, HostBatch::empty(), Some(rows))?.is_break() {
                        return Ok(false);
                    }
                }
            }
            if !is_over || first + steps > 0 || has_begun {
                return Ok(is_over);
            }
            // The last epoch has taken all batches of a pass.
            stream.begin_pass();
            has_begun = true;
        }
    }

    /// Logs how evenly the ranks have shared an epoch's work.
    fn compare_ranks(&self, epoch: usize, steps: usize, seconds: f64, before: Option<Traffic>) -> Result<()> {
        let (Some(timed), Some(before)) = (&self.timed, before) else { return Ok(()) };
        let pace = Pace::of(&**timed, seconds, timed.traffic().since(before))?.by_step(steps);
        if timed.rank() == 0 && timed.size() > 1 {
            tracing::info!("epoch {}: a step of {} ranks takes {pace}", epoch + 1, timed.size());
        }
        Ok(())
    }

    fn train_batch(&mut self, index: usize, mut host: HostBatch, rows: Option<ShardRows>) -> Result<()> {
        self.call(|callback, context| callback.on_train_batch_begin(context, index))?;
        let peers = self.peers.clone();
        let shard = peers.as_ref().map(|peers| {
            let stops = self.fit.stop.is_stopped() || self.hooks.stopped.is_some();
            match rows {
                Some(rows) => Shard::at(peers, rows, stops),
                None => Shard::new(peers, self.order.samples_of(self.hooks.params.epoch, index), stops),
            }
        });
        if host.indices.is_empty()
            && let Some(shard) = &shard
        {
            self.trained += shard.samples;
            let (_, is_faulty) = self.model.train_step_with(shard, None, self.seed)?;
            self.peers_stop |= shard.stops();
            let loss = Value::full(&[1], if is_faulty { f32::NAN } else { 0.0 }, self.model.device())?;
            self.trackers.update_without_samples(&loss)?;
            self.batch_ended(index, &loss)?;
            if is_faulty && self.hooks.stopped.is_none() {
                return self.non_finite(index, NonFiniteLoss::elsewhere());
            }
            self.progress.step(index + 1, &[]);
            return Ok(());
        }
        if let Some(weights) = &self.fit.class_weight {
            weights.weigh(&mut host, &self.fitted)?;
        }
        let batch = self.model.upload(host, &self.fitted)?;
        let (outcome, whole) = match &shard {
            Some(shard) => (self.model.train_step_with(shard, Some(&batch), self.seed)?.0, shard.samples),
            None => (Some(self.model.train_step(&batch, self.seed)?), batch.samples),
        };
        let Some(outcome) = outcome else { return Ok(()) };
        self.peers_stop |= shard.is_some_and(|shard| shard.stops());
        self.trained += whole;
        self.trackers.update_part(&batch, &outcome, whole)?;
        let StepResult { loss, fault, .. } = outcome;
        batch.x.into_iter().for_each(ops::recycle);
        self.batch_ended(index, &loss)?;
        if let Some(fault) = fault.filter(|_| self.hooks.stopped.is_none()) {
            return self.non_finite(index, fault);
        }
        if self.progress.is_bar() && self.shown.elapsed() >= READ_BACK {
            self.shown = Instant::now();
            let results = self.results(index)?;
            // Keras's bar shows the mean of several numbers.
            let results: Vec<(&str, f64)> = results.iter().map(|(name, value)| (name.as_str(), value.mean())).collect();
            self.progress.step(index + 1, &results);
        } else {
            self.progress.step(index + 1, &[]);
        }
        Ok(())
    }

    /// Calls the callbacks after a batch of this loss.
    fn batch_ended(&mut self, index: usize, loss: &Value) -> Result<()> {
        if self.hooks.is_empty() {
            return Ok(());
        }
        let read = || self.trackers.results().map(Logs::from_iter);
        let results = BatchResults { read: &read, known: OnceCell::new(), loss };
        self.hooks.call(self.model, Some(&self.history), Some(&results), |callback, context| {
            callback.on_train_batch_end(context, index)
        })?;
        self.hooks.show(&mut self.progress);
        Ok(())
    }

    /// Validation, callbacks and history after an epoch of `steps` batches; `false` if the validation was interrupted.
    fn end_epoch(&mut self, epoch: usize, steps: usize) -> Result<bool> {
        let mut own = None;
        if let Some(peers) = self.peers.clone() {
            let merged = self.trackers.merged(&*peers)?;
            own = Some(mem::replace(&mut self.trackers, merged));
            agree_on_weights(self.model, &*peers)?;
        }
        let mut logs: Logs = self.results(steps.saturating_sub(1))?.into_iter().collect();
        if self.fit.validation_freq.is_due(epoch) {
            let Some(scores) = self.validate()? else {
                // The checkpoint merges them once more.
                if let Some(own) = own {
                    self.trackers = own;
                }
                return Ok(false);
            };
            logs.extend(scores.into_iter().map(|(name, value)| (format!("val_{name}"), value)));
        }
        self.call(|callback, context| callback.on_epoch_end(context, epoch, &mut logs))?;
        self.progress.end(logs.as_slice());
        self.history.push(epoch, logs.as_slice());
        Ok(true)
    }

    /// Loss and metrics so far; a loss that is not finite ends the run, unless it is stopping anyway.
    fn results(&self, batch: usize) -> Result<Vec<(String, Score)>> {
        let loss = self.trackers.loss()?;
        if loss.is_finite() || self.hooks.stopped.is_some() {
            return self.trackers.results();
        }
        let batch = self.trackers.first_non_finite()?.unwrap_or(batch);
        self.non_finite(batch, NonFiniteLoss { loss: loss as f32, place: None })
    }

    /// The error for a loss that is not finite.
    fn non_finite<T>(&self, batch: usize, fault: NonFiniteLoss) -> Result<T> {
        let compiled = self.model.expect_compiled("fit")?;
        let learning_rate = compiled.optimizer.learning_rate_argument().at(compiled.state.iterations.saturating_sub(1));
        let (epoch, batch) = (self.hooks.params.epoch + 1, batch + 1);
        Err(Error::NonFinite { loss: fault.loss, epoch, batch, learning_rate, place: fault.place })
    }

    /// Loss and metrics on the validation data, if any; `None` if interrupted.
    fn validate(&mut self) -> Result<Option<Vec<(String, Score)>>> {
        let (quiet, data, batch_size) = (Progress::new(Verbosity::Silent), self.data, self.order.batch_size);
        let stop = &self.fit.stop;
        let peers = self.peers.clone();
        let scores = if let Some(validation) = self.fit.validation_data {
            let evaluation = Evaluation::new(self.model, validation, batch_size)?.with(self.model, peers)?;
            evaluation.run(self.model, 0..validation.len(), quiet, &mut self.hooks, stop)?
        } else {
            let rest = self.order.samples.end..data.len();
            if rest.is_empty() || self.is_streamed {
                return Ok(Some(Vec::new()));
            }
            let evaluation = Evaluation::new(self.model, data, batch_size)?.with(self.model, peers)?;
            evaluation.run(self.model, rest, quiet, &mut self.hooks, stop)?
        };
        Ok(scores.map(|scores| scores.logs().collect()))
    }

    fn call(&mut self, hook: impl FnMut(&mut dyn Callback, &mut Context<'_>) -> Result<()>) -> Result<()> {
        let result = self.hooks.call(self.model, Some(&self.history), None, hook);
        self.hooks.show(&mut self.progress);
        result
    }
}
