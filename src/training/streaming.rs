//! The batches of a stream over the epochs of a run.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::batches::{HostBatch, gather, on_threads};
use super::evaluate::check_not_empty;
use super::fitted::{Augmented, Fitted};
use crate::datasets::{Batches, Dataset, Pending, Source};
use crate::distributed::Communicator;
use crate::error::{Error, Result};
use crate::layers::SampleKeys;

/// The batches of a stream over the epochs of a run.
pub(super) struct Streaming<'a> {
    begin: Box<dyn Fn(usize) -> Batches<'a> + Send + 'a>,
    /// The batches of the current pass that are left; `None` before a pass begins.
    current: Option<Batches<'a>>,
    pass: usize,
    /// The samples of the pass so far.
    samples: usize,
    /// The batches in an epoch, if they are given or have been counted.
    pub steps: Option<usize>,
    /// The steps that were given.
    given: Option<usize>,
}

/// A batch and its position.
struct PositionedBatch {
    pass: usize,
    /// The samples before it in the pass.
    before: usize,
    batch: Pending,
}

impl<'a> Streaming<'a> {
    /// The batches that `begin` produces for each pass; those of the first have begun, and `given` are in an epoch.
    pub fn new(begin: impl Fn(usize) -> Batches<'a> + Send + 'a, current: Batches<'a>, given: Option<usize>) -> Self {
        Self { begin: Box::new(begin), current: Some(current), pass: 0, samples: 0, steps: given, given }
    }

    /// The next batch. `None` where the batches have run out, unless a new pass may begin here.
    fn next(&mut self, may_begin: bool) -> Option<Result<PositionedBatch>> {
        loop {
            let is_new = self.current.is_none();
            if is_new && !may_begin {
                return None;
            }
            let pass = self.pass;
            match self.current.get_or_insert_with(|| (self.begin)(pass)).next() {
                Some(Ok(batch)) => {
                    let before = self.samples;
                    self.samples = self.samples.saturating_add(batch.len());
                    return Some(Ok(PositionedBatch { pass, before, batch }));
                }
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    self.current = None;
                    self.pass = self.pass.saturating_add(1);
                    self.samples = 0;
                    if is_new || !may_begin {
                        return None;
                    }
                }
            }
        }
    }

    /// Begins a pass, if the batches of the last have run out on all ranks.
    pub fn begin_pass(&mut self) {
        let pass = self.pass;
        self.current.get_or_insert_with(|| (self.begin)(pass));
    }

    /// The steps of an epoch beyond which nothing is read.
    pub fn most_steps(&self) -> usize {
        self.given.unwrap_or(usize::MAX)
    }

    /// Skips the batches that a run resumed here has already read, without decoding them.
    pub fn skip(&mut self, epoch: usize, step: usize, peers: Option<&dyn Communicator>) -> Result<()> {
        // Without a number of steps each epoch is a pass. The first has begun, and may not begin again: a channel is taken.
        if self.given.is_none() && epoch > 0 {
            (self.current, self.samples, self.pass) = (None, 0, epoch);
        }
        let whole = self.given.into_iter().flat_map(|steps| std::iter::repeat_n(steps, epoch));
        for steps in whole.chain([step]).collect::<Vec<_>>() {
            self.skip_steps(steps, peers)?;
        }
        Ok(())
    }

    /// Skips these steps of an epoch from its start, or those until its batches run out.
    fn skip_steps(&mut self, steps: usize, peers: Option<&dyn Communicator>) -> Result<()> {
        let mut taken = 0;
        let mut has_begun = false;
        while taken < steps {
            let own = self.next(peers.is_none() && taken == 0).transpose()?;
            // A pass ends with the batches of all ranks.
            let left = match peers {
                Some(peers) => sum(peers, usize::from(own.is_some()))?,
                None => usize::from(own.is_some()),
            };
            match left {
                0 if peers.is_some() && taken == 0 && !has_begun => {
                    self.begin_pass();
                    has_begun = true;
                }
                0 => break,
                _ => taken += 1,
            }
        }
        Ok(())
    }

    /// Hands the batches of an epoch to `consume` in order, from step `first` on; returns whether they ran out. `alone`
    /// begins a new pass with an epoch where the batches of the last have run out; ranks decide that together.
    pub fn for_each(
        &mut self,
        first: usize,
        loader: &StreamLoader,
        alone: bool,
        consume: impl FnMut(usize, HostBatch) -> Result<ControlFlow<()>>,
    ) -> Result<bool> {
        let (mut taken, mut ran_out) = (first, false);
        let most = self.most_steps();
        let batches = std::iter::from_fn(|| {
            if taken >= most {
                return None;
            }
            let batch = self.next(alone && taken == 0);
            ran_out = batch.is_none();
            taken = taken.saturating_add(1);
            batch.map(|batch| (loader.first_number.saturating_add(taken as u64 - 1), batch))
        });
        // Once it has ended it is not asked again.
        on_threads(loader.workers, batches.fuse(), &|(number, batch)| loader.load(number, batch?), consume)?;
        Ok(ran_out)
    }
}

/// The sum of a number over all ranks.
fn sum(peers: &dyn Communicator, own: usize) -> Result<usize> {
    let mut sum = [own as f64];
    peers.all_reduce_f64(&mut sum)?;
    Ok(sum[0] as usize)
}

/// The work of the threads that load a stream's batches.
pub(super) struct StreamLoader {
    pub fitted: Fitted,
    pub augmented: Option<Arc<Augmented>>,
    pub workers: usize,
    /// The number in the run of the epoch's first batch.
    pub first_number: u64,
    /// The shapes that all batches have.
    pub shapes: Shapes,
    /// This rank, and the number of ranks.
    pub rank: (usize, usize),
}

/// The shapes of inputs, targets and weights.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shapes {
    x: Vec<(Option<String>, Vec<usize>)>,
    y: Vec<(Option<String>, Vec<usize>)>,
    weights: Vec<Option<Vec<usize>>>,
}

impl Shapes {
    pub fn of(data: &Dataset) -> Self {
        let named = |fields: Vec<crate::datasets::Field>| {
            fields.into_iter().map(|field| (field.name, field.shape)).collect::<Vec<_>>()
        };
        Self { x: named(data.x_fields()), y: named(data.y_fields()), weights: data.weight_fields() }
    }
}

impl StreamLoader {
    fn load(&self, number: u64, batch: PositionedBatch) -> Result<HostBatch> {
        let PositionedBatch { pass, before, batch } = batch;
        let data = batch.decoded()?;
        check_not_empty(data.len())?;
        let own = Shapes::of(&data);
        if own != self.shapes {
            let expected = format!("inputs and targets as in the first batch, {:?}", self.shapes);
            return Err(Error::data("a batch of a stream", expected, format!("{own:?}")));
        }
        let mut host = gather(&data, self.fitted.staged.as_deref(), (0..data.len()).collect())?;
        if let Some(augmented) = &self.augmented {
            // Samples of different ranks draw different numbers.
            let (rank, ranks) = self.rank;
            let key_of = |index: usize| before.saturating_add(index).saturating_mul(ranks).saturating_add(rank);
            let samples = (0..data.len()).map(key_of).collect();
            let keys = SampleKeys { pass: pass as u64, samples };
            host.augment(augmented, number, keys)?;
        }
        Ok(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_resumed_in_the_first_pass_begins_it_once() {
        let batch = |number: usize| Dataset::new(vec![number as f32], vec![0.0f32]).map(Pending::from);
        for given in [None, Some(2)] {
            let current: Batches<'_> = Box::new((0..4).map(batch));
            let begin = |_: usize| -> Batches<'_> { panic!("the stream has begun before") };
            let mut streaming = Streaming::new(begin, current, given);
            let (epoch, step) = if given.is_none() { (0, 3) } else { (1, 1) };
            streaming.skip(epoch, step, None).unwrap();
            let next = streaming.next(false).unwrap().unwrap();
            assert_eq!((next.pass, next.before, next.batch.decoded().unwrap().x().to_vec_f32()), (0, 3, vec![3.0]));
        }
    }
}
