//! Checkpoints of a run, and resuming from one.

use super::checkpoint::{self, Keeper};
use super::optimizer_state::{self, array};
use super::run::Run;
use super::snapshot::{DataSums, Position, SampleOrder, Snapshot};
use super::trackers::SavedTracker;
use crate::callbacks::CallbackState;
use crate::datasets::Source;
use crate::distributed::broadcast;
use crate::error::{Error, Result};
use crate::ops::Value;

impl<S: Source + ?Sized> Run<'_, '_, S> {
    /// Writes the checkpoints that are `due`.
    pub(super) fn keep(&mut self, position: Position, mut due: impl FnMut(&mut Keeper) -> bool) -> Result<()> {
        let mut due: Vec<usize> =
            self.keepers.iter_mut().enumerate().filter_map(|(index, keeper)| due(keeper).then_some(index)).collect();
        let peers = self.peers.clone();
        if let Some(peers) = &peers
            && self.keepers.iter().any(Keeper::is_timed)
        {
            // Rank 0 has the clock.
            let mut flags = vec![0.0; self.keepers.len()];
            if peers.rank() == 0 {
                due.iter().for_each(|index| flags[*index] = 1.0);
            }
            peers.all_reduce_f64(&mut flags)?;
            due = (0..flags.len()).filter(|index| flags[*index] > 0.0).collect();
        }
        if due.is_empty() {
            return Ok(());
        }
        let trackers = match &peers {
            _ if position.step == 0 => None,
            Some(peers) => self.trackers.merged(&**peers)?.state()?,
            None => self.trackers.state()?,
        };
        let writes = peers.as_ref().is_none_or(|peers| peers.rank() == 0);
        if position.step > 0 && trackers.is_none() {
            if writes {
                tracing::warn!("a metric cannot be kept in the middle of an epoch: no checkpoint there");
            }
        } else if writes {
            let mut snapshot = self.snapshot(position, trackers)?;
            due.iter().try_for_each(|index| self.keepers[*index].write(&mut snapshot))?;
        }
        if peers.is_some() {
            // The ranks count batches alike, whether or not there was something to write.
            due.into_iter().for_each(|index| self.keepers[index].passed());
        }
        Ok(())
    }

    fn sample_order(&self) -> SampleOrder {
        SampleOrder {
            seed: self.seed,
            samples: self.order.samples.len(),
            batch_size: self.order.batch_size,
            // No epoch of an unknown number of steps is longer.
            steps: if self.is_streamed && self.order.steps() == 0 { u32::MAX as usize } else { self.order.steps() },
            shuffle: self.order.shuffle.is_some(),
            ranks: self.peers.as_ref().map(|peers| peers.size()).filter(|ranks| self.is_streamed && *ranks > 1),
        }
    }

    /// Fingerprints that distinguish the data of this run from other data of the same size.
    fn data_sums(&self) -> Result<DataSums> {
        if let Some(sums) = self.sums.get() {
            return Ok(*sums);
        }
        let validation = self.fit.validation_data.map(|data| data.fingerprint()).transpose()?.flatten();
        let train = if self.is_streamed { self.stream_sum } else { self.data.fingerprint()? };
        let sums = DataSums { train, validation };
        Ok(*self.sums.get_or_init(|| sums))
    }

    /// Refuses to resume with other data than that of the checkpoint, if both have fingerprints.
    fn check_data(&self, saved: DataSums) -> Result<()> {
        let own = self.data_sums()?;
        for (what, saved, own) in
            [("the training data", saved.train, own.train), ("the validation data", saved.validation, own.validation)]
        {
            if saved.zip(own).is_some_and(|(saved, own)| saved != own) {
                let expected = "that of the checkpoint (`Checkpoint::accept_changes`, on the command line \
                                --accept-changes, resumes with other data)";
                return Err(Error::data(what, expected, "other values, or files that have changed"));
            }
        }
        Ok(())
    }

    fn snapshot(&self, position: Position, trackers: Option<Vec<SavedTracker>>) -> Result<Snapshot> {
        let names = self.model.weight_names()?;
        let states = self.model.states().into_iter().map(|(path, states)| {
            let arrays = states.iter().map(array).collect::<Result<Vec<_>>>()?;
            Ok((path, arrays))
        });
        Ok(Snapshot {
            position,
            order: self.sample_order(),
            data: self.data_sums()?,
            weights: names.into_iter().zip(self.model.get_weights()?).collect(),
            states: states.into_iter().collect::<Result<_>>()?,
            optimizer: optimizer_state::snapshot(self.model.expect_compiled("a checkpoint")?)?,
            trackers,
            history: self.history.clone(),
            seconds: self.seconds,
            trained: self.trained,
            stopped: self.hooks.stopped.clone(),
            callbacks: self.hooks.states()?,
            recipe: None,
        })
    }

    /// The state to resume from, if there is one, and whether changes are accepted.
    pub(super) fn saved(&self) -> Result<Option<(Snapshot, bool)>> {
        let Some(peers) = &self.peers else { return self.own_saved() };
        let own = if peers.rank() == 0 { self.own_saved()? } else { None };
        let bytes = own.as_ref().map(|(snapshot, _)| snapshot.to_bytes()).transpose()?;
        let accepts = own.as_ref().is_some_and(|(_, accepts)| *accepts);
        let bytes = broadcast(&**peers, bytes)?;
        let accepts = broadcast(&**peers, Some(vec![u8::from(accepts)]))? == [1];
        match own {
            Some(own) => Ok(Some(own)),
            None if bytes.is_empty() => Ok(None),
            None => {
                let mut snapshot = Snapshot::from_bytes(bytes)?;
                // Rank 0 has the sums so far of all ranks.
                snapshot.trackers = snapshot.trackers.map(|_| Vec::new());
                Ok(Some((snapshot, accepts)))
            }
        }
    }

    fn own_saved(&self) -> Result<Option<(Snapshot, bool)>> {
        for keeper in &self.keepers {
            if let Some(snapshot) = checkpoint::load(keeper.checkpoint())? {
                return Ok(Some((snapshot, keeper.checkpoint().accept_changes)));
            }
        }
        Ok(None)
    }

    /// Restores the state of a run; returns the states of its callbacks.
    pub(super) fn restore(&mut self, snapshot: Snapshot, accept_changes: bool) -> Result<Vec<(String, CallbackState)>> {
        if self.fit.seed.is_none() {
            self.seed = snapshot.order.seed;
            self.order.shuffle = self.order.shuffle.map(|_| self.seed);
        }
        // Epochs of a number of steps end within a pass, whose batches are those of a number of ranks.
        let is_within_a_pass = snapshot.position.step > 0
            || (self.is_streamed
                && self.fit.steps_per_epoch.is_some()
                && snapshot.order.ranks != self.sample_order().ranks);
        if is_within_a_pass && snapshot.order != self.sample_order() {
            let shown = |order: &SampleOrder| {
                let SampleOrder { seed, samples, batch_size, steps, shuffle, ranks } = order;
                let ranks =
                    ranks.map_or_else(String::new, |ranks| format!(", {ranks} ranks with batches of their own"));
                format!(
                    "seed {seed}, {samples} samples, batch_size {batch_size}, {steps} steps, shuffle {shuffle}{ranks}"
                )
            };
            let what = "a run that was cut off in the middle of an epoch";
            return Err(Error::data(what, shown(&snapshot.order), shown(&self.sample_order())));
        }
        if !accept_changes {
            self.check_data(snapshot.data)?;
        }
        let names = self.model.weight_names()?;
        let saved: Vec<&String> = snapshot.weights.iter().map(|(name, _)| name).collect();
        if saved != names.iter().collect::<Vec<_>>() {
            let problems = vec![format!("expected {names:?}, received {saved:?}")];
            return Err(Error::Weights { problems });
        }
        let weights: Vec<_> = snapshot.weights.into_iter().map(|(_, weight)| weight).collect();
        self.model.set_weights(&weights)?;
        let trainable = self.model.trainable_weights("a checkpoint")?;
        let device = self.model.device().clone();
        if let Some(compiled) = &mut self.model.compiled {
            optimizer_state::restore(compiled, snapshot.optimizer, &trainable, &device)?;
        }
        let states = snapshot.states.into_iter().map(|(path, states)| {
            let values = states.into_iter().map(|state| {
                let sizes = state.shape().to_vec();
                Value::from_vec(state.into_iter().collect(), &sizes, &device)
            });
            Ok((path, values.collect::<Result<_>>()?))
        });
        self.model.set_states(states.collect::<Result<_>>()?);
        let restores = self.peers.as_ref().is_none_or(|peers| peers.rank() == 0);
        if let Some(trackers) = snapshot.trackers.filter(|_| snapshot.position.step > 0 && restores) {
            self.trackers.restore(&trackers, accept_changes, &device)?;
        }
        self.history = snapshot.history;
        self.seconds = snapshot.seconds;
        self.trained = snapshot.trained;
        self.hooks.stopped = snapshot.stopped;
        Ok(snapshot.callbacks)
    }
}
