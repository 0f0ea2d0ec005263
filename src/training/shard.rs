//! The part of a batch that a rank computes in distributed training.

use std::cell::Cell;
use std::sync::Arc;

use crate::distributed::{Communicator, gather, part};
use crate::error::{Error, Result};
use crate::layers::{BatchPart, Layer};
use crate::model::Model;
use crate::random::Rows;

use super::fitted::Fitted;

/// A rank's rows in a batch of all ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShardRows {
    /// The number of samples of the whole batch.
    pub samples: usize,
    /// The rank's own rows of it.
    pub rows: Rows,
}

impl ShardRows {
    /// The rows of `own` samples in the batch that is those of all ranks, one after another.
    ///
    /// # Errors
    /// [`Error::Data`] on all ranks if one has no samples and the model needs some on each.
    pub fn gathered(peers: &dyn Communicator, own: usize, on_each: bool) -> Result<Self> {
        let counts: Vec<usize> =
            gather(peers, &[own as f64])?.into_iter().map(|counts| counts.iter().sum::<f64>() as usize).collect();
        let samples = counts.iter().fold(0, |sum: usize, count| sum.saturating_add(*count));
        let first = counts.iter().take(peers.rank()).fold(0, |sum: usize, count| sum.saturating_add(*count));
        let without = counts.iter().position(|count| *count == 0);
        if let Some(rank) = without.filter(|_| on_each && samples > 0) {
            let expected = "at least one sample on each rank, as a layer is synchronized over the ranks \
                            (`steps_per_epoch` ends epochs before the batches of a rank run out)";
            return Err(Error::data("a batch of a stream", expected, format!("none on rank {rank}")));
        }
        Ok(Self { samples, rows: Rows { first, count: own } })
    }
}

/// A rank's part of a batch.
#[derive(Debug)]
pub(super) struct Shard<'a> {
    pub peers: &'a Arc<dyn Communicator>,
    /// The number of samples of the whole batch.
    pub samples: usize,
    /// The rank's own rows of it.
    pub rows: Rows,
    /// Whether this rank is to stop after this batch; after the exchange whether any is.
    stops: Cell<bool>,
}

impl<'a> Shard<'a> {
    /// This rank's part of a batch of `samples` samples.
    pub fn new(peers: &'a Arc<dyn Communicator>, samples: usize, stops: bool) -> Self {
        let (first, count) = part(&**peers, samples);
        Self::at(peers, ShardRows { samples, rows: Rows { first, count } }, stops)
    }

    /// The part with these rows.
    pub fn at(peers: &'a Arc<dyn Communicator>, ShardRows { samples, rows }: ShardRows, stops: bool) -> Self {
        Self { peers, samples, rows, stops: Cell::new(stops) }
    }

    /// The sums over all ranks of the divisors of the outputs' losses. It is the one exchange of each batch
    /// before the gradients, and settles whether the ranks stop.
    pub fn divisors(&self, own: &[f64]) -> Result<Vec<f64>> {
        let mut numbers = [own, &[f64::from(u8::from(self.stops.get()))]].concat();
        self.peers.all_reduce_f64(&mut numbers)?;
        self.stops.set(numbers.pop().is_some_and(|stops| stops > 0.0));
        Ok(numbers)
    }

    /// Whether a rank is to stop, after [`divisors`](Self::divisors).
    pub fn stops(&self) -> bool {
        self.stops.get()
    }

    /// The part of the samples that is this rank's own: the weight of penalties, which each rank adds.
    pub fn share(&self) -> f32 {
        (self.rows.count as f64 / self.samples.max(1) as f64) as f32
    }

    /// The part for a forward pass.
    pub fn of_batch(&self) -> BatchPart<'a> {
        BatchPart { rows: self.rows, peers: Some(self.peers) }
    }
}

impl Model {
    /// Refuses models that cannot be trained in parts of batches.
    pub(super) fn check_distributed(&self, fitted: &Fitted) -> Result<()> {
        if self.is_stateful() {
            return Err(Error::unsupported("distributed training of stateful layers", "layers without `stateful`"));
        }
        for (goal, output) in self.expect_compiled("distributed training")?.goals().iter().zip(&fitted.outputs) {
            let loss = goal.loss.as_ref().filter(|_| output.field.is_some());
            if let Some(loss) = loss.filter(|loss| !loss.is_by_sample(output.output.rank())) {
                let what = format!("distributed training with `{}` over whole batches", loss.class_name());
                return Err(goal.named(Error::unsupported(what, "losses of single samples, as with an `axis`")));
            }
        }
        Ok(())
    }
}
