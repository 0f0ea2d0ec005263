//! Batches: the order of samples, and loading ahead while the device computes.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rand::seq::SliceRandom;

use super::fitted::{Augmented, Fitted, FittedOutput, Staged};
use crate::datasets::{Cells, Column, Field, Source};
use crate::distributed::{Communicator, part};
use crate::error::{Error, Result};
use crate::layers::SampleKeys;
use crate::model::{Feed, ImageFeed};
use crate::ops::buffer;
use crate::random::stream;
use crate::shape::count;

/// The number of batches loaded ahead by up to three threads; more threads load a batch each.
const AHEAD: usize = 2;

/// The number of batches loaded ahead by this number of threads.
fn ahead(workers: usize) -> usize {
    AHEAD.max(workers.saturating_sub(1))
}

/// The threads that load batches unless their number is given.
pub(super) fn default_workers() -> usize {
    rayon::current_num_threads().clamp(1, AHEAD + 1)
}

/// The number of values in memory for batches of this size besides the one that the device computes on: the waiting
/// batches, and those being loaded, with what `augmented` makes of them.
pub(super) fn values_ahead(
    samples: usize,
    fitted: &Fitted,
    workers: usize,
    augmented: Option<&Augmented>,
) -> Result<usize> {
    let targets = fitted.outputs.iter().map(FittedOutput::y);
    let sizes = fitted.x.iter().map(|(_, sizes)| sizes.clone()).chain(targets);
    let sample = sizes.map(|sizes| count(&sizes).unwrap_or(usize::MAX)).fold(0, usize::saturating_add);
    let images = augmented.map_or(Ok(0), |augmented| augmented.values(&fitted.batch(samples)))?;
    Ok(sample.saturating_mul(samples).saturating_add(images).saturating_mul(ahead(workers) + 1))
}

/// The time that a pool thread waits for a batch before it looks for other work.
const A_MOMENT: Duration = Duration::from_micros(200);

/// Separates the stream of the samples' order from other streams of the same seed.
const ORDER: u64 = 0x006f_7264_6572;

/// One batch on the host: inputs, targets and weights in the order of the source's fields.
#[derive(Debug)]
pub(super) struct HostBatch {
    pub indices: Vec<usize>,
    pub x: Vec<Vec<f32>>,
    /// The outputs of a preprocessing stage on the host, in place of the inputs.
    pub feeds: Option<Vec<Feed>>,
    /// The sizes of the image stage's inputs; empty without one.
    pub fed: Vec<Vec<usize>>,
    /// The outputs of the image stage, in their place.
    pub images: Option<Vec<ImageFeed>>,
    pub y: Vec<Vec<f32>>,
    /// Empty, one for all targets, or one for each.
    pub weights: Vec<Option<HostWeights>>,
}

impl HostBatch {
    /// A batch without samples, of a rank that has none.
    pub fn empty() -> Self {
        Self {
            indices: Vec::new(),
            x: Vec::new(),
            feeds: None,
            fed: Vec::new(),
            images: None,
            y: Vec::new(),
            weights: Vec::new(),
        }
    }

    /// Prepares the images of the batch, given as fields or as what another stage has made of them. `number` is that of
    /// the batch in the run.
    pub fn augment(&mut self, augmented: &Augmented, number: u64, samples: SampleKeys) -> Result<()> {
        let (rows, fields) = (self.indices.len(), std::mem::take(&mut self.x));
        let feeds = self.feeds.take().unwrap_or_else(|| augmented.feeds(rows, fields));
        self.fed = feeds.iter().map(|feed| feed.sizes.clone()).collect();
        self.images = Some(augmented.run(feeds, number, samples)?);
        Ok(())
    }
}

/// The weights of a batch's samples.
#[derive(Debug)]
pub(super) struct HostWeights {
    pub numbers: Vec<f32>,
    /// The shape of one sample's weights.
    pub shape: Vec<usize>,
}

/// The order in which an epoch takes the samples of `range`: sequential, or shuffled by seed and epoch alone.
pub(super) fn order(range: Range<usize>, shuffle: Option<(u64, usize)>) -> Vec<usize> {
    let mut order: Vec<usize> = range.collect();
    if let Some((seed, epoch)) = shuffle {
        order.shuffle(&mut stream(&[seed, epoch as u64, ORDER]));
    }
    order
}

/// The samples of a batch, and its position in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BatchSamples {
    /// The number of the batch, counted from the first of the run.
    pub number: u64,
    /// The pass over all samples that it belongs to.
    pub pass: u64,
    pub samples: Vec<usize>,
}

/// The samples of each step of each epoch: a pure function of epoch and step.
#[derive(Clone, Debug)]
pub(super) struct BatchOrder {
    pub samples: Range<usize>,
    pub batch_size: usize,
    /// Batches in an epoch; a whole pass if `None`.
    pub steps_per_epoch: Option<usize>,
    /// The seed of the order; sequential if `None`.
    pub shuffle: Option<u64>,
}

impl BatchOrder {
    /// Batches in one pass over all samples.
    fn batches_in_a_pass(&self) -> usize {
        self.samples.len().div_ceil(self.batch_size)
    }

    /// Batches in an epoch.
    pub fn steps(&self) -> usize {
        self.steps_per_epoch.unwrap_or_else(|| self.batches_in_a_pass())
    }

    /// The number of samples of a step.
    pub fn samples_of(&self, epoch: usize, step: usize) -> usize {
        let batch = epoch.saturating_mul(self.steps()).saturating_add(step);
        let index = batch % self.batches_in_a_pass().max(1);
        self.batch_size.min(self.samples.len().saturating_sub(index.saturating_mul(self.batch_size)))
    }

    /// As [`batches`](Self::batches), the part of each that a rank computes, if there are several.
    pub fn parts<'a>(
        &self,
        epoch: usize,
        first: usize,
        peers: Option<&'a dyn Communicator>,
    ) -> impl Iterator<Item = BatchSamples> + Send + use<'a> {
        self.batches(epoch, first).map(move |mut batch| {
            if let Some(peers) = peers {
                let (first, count) = part(peers, batch.samples.len());
                batch.samples = batch.samples[first..][..count].to_vec();
            }
            batch
        })
    }

    /// The samples of an epoch's batches, from step `first` on. If an epoch has fewer (or more) steps than a pass over
    /// the samples, it starts where the previous one ended.
    pub fn batches(&self, epoch: usize, first: usize) -> impl Iterator<Item = BatchSamples> + Send + use<> {
        let (plan, a_pass, steps) = (self.clone(), self.batches_in_a_pass().max(1), self.steps());
        let mut current: Option<(usize, Vec<usize>)> = None;
        (first..steps).map(move |step| {
            let batch = epoch.saturating_mul(steps).saturating_add(step);
            let (pass, index) = (batch / a_pass, batch % a_pass);
            let (_, order) = match current.take() {
                Some(known) if known.0 == pass => current.insert(known),
                _ => current.insert((pass, order(plan.samples.clone(), plan.shuffle.map(|seed| (seed, pass))))),
            };
            let samples = order.chunks(plan.batch_size).nth(index).unwrap_or_default().to_vec();
            BatchSamples { number: batch as u64, pass: pass as u64, samples }
        })
    }
}

/// The work of the threads that load batches.
#[derive(Debug)]
pub(super) struct Loader<'a, S: ?Sized> {
    pub source: &'a S,
    pub staged: Option<Arc<Staged>>,
    pub augmented: Option<Arc<Augmented>>,
    /// The number of threads.
    pub workers: usize,
}

impl<'a, S: Source + ?Sized> Loader<'a, S> {
    /// For evaluation, in which nothing is augmented.
    pub fn new(source: &'a S, fitted: &Fitted) -> Self {
        Self { source, staged: fitted.staged.clone(), augmented: None, workers: default_workers() }
    }

    /// Gathers batches on threads of their own and hands them to `consume` in order, with their numbers from 0, until
    /// it breaks off or fails. However many threads there are, no more batches wait or are gathered than
    /// [`values_ahead`] counts.
    pub fn for_each(
        &self,
        batches: impl Iterator<Item = BatchSamples> + Send,
        consume: impl FnMut(usize, HostBatch) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        on_threads(self.workers, batches, &|batch| self.load(batch), consume)
    }

    /// Reads a batch, and runs the stages on the host.
    fn load(&self, batch: BatchSamples) -> Result<HostBatch> {
        let BatchSamples { number, pass, samples } = batch;
        let mut host = gather(self.source, self.staged.as_deref(), samples)?;
        if let Some(augmented) = self.augmented.as_ref().filter(|_| !host.indices.is_empty()) {
            let keys = SampleKeys { pass, samples: host.indices.clone() };
            host.augment(augmented, number, keys)?;
        }
        Ok(host)
    }
}

/// What the threads that gather batches share.
struct GatherQueue<I> {
    /// Holds one for each batch that there is room for.
    room: Receiver<()>,
    batches: I,
    next: usize,
}

/// What a thread has made of a batch, with its number. A panic goes on where the batches are consumed.
type Gathered<T> = (usize, thread::Result<Result<T>>);

pub(super) fn on_threads<B: Send, T: Send>(
    threads: usize,
    batches: impl Iterator<Item = B> + Send,
    gather: &(impl Fn(B) -> Result<T> + Sync),
    mut consume: impl FnMut(usize, T) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let ahead = ahead(threads);
    let (release, room) = sync_channel(ahead + 1);
    // There is room in the channel for all that are ever in it.
    (0..=ahead).for_each(|_| _ = release.try_send(()));
    let (queue, ended) = (Mutex::new(GatherQueue { room, batches, next: 0 }), AtomicBool::new(false));
    thread::scope(|scope| {
        // Dropped with this closure, so that no thread waits for room any longer.
        let release = release;
        let (sender, receiver) = channel();
        for number in 0..threads {
            let (sender, queue, ended) = (sender.clone(), &queue, &ended);
            let loader = thread::Builder::new().name(format!("brasa-loader-{number}"));
            let loader = loader.spawn_scoped(scope, move || load(queue, ended, gather, &sender));
            loader.map_err(|source| Error::Thread { purpose: "the loading of batches", source: source.into() })?;
        }
        drop(sender);
        let mut early = BTreeMap::new();
        for wanted in 0.. {
            let batch = loop {
                if let Some(batch) = early.remove(&wanted) {
                    break batch;
                }
                match next(&receiver) {
                    Some((index, batch)) => drop(early.insert(index, batch)),
                    None => return Ok(()),
                }
            };
            // There is room for another one while this one is computed on.
            let _ = release.try_send(());
            let batch = batch.unwrap_or_else(|panic| {
                ended.store(true, Ordering::Relaxed);
                std::panic::resume_unwind(panic)
            });
            let outcome = batch.and_then(|batch| consume(wanted, batch));
            if !matches!(outcome, Ok(ControlFlow::Continue(()))) {
                ended.store(true, Ordering::Relaxed);
                return outcome.map(|_| ());
            }
        }
        Ok(())
    })
}

/// Gathers one batch after another, as long as there are some and somebody takes them.
fn load<B, T>(
    queue: &Mutex<GatherQueue<impl Iterator<Item = B>>>,
    ended: &AtomicBool,
    gather: &impl Fn(B) -> Result<T>,
    sender: &Sender<Gathered<T>>,
) {
    loop {
        let (index, indices) = {
            // The numbers are given in order, so that the next one that is wanted is always among those gathered.
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.room.recv().is_err() || ended.load(Ordering::Relaxed) {
                return;
            }
            let batches = &mut queue.batches;
            let indices = match catch_unwind(AssertUnwindSafe(|| batches.next())) {
                Ok(None) => return,
                Ok(Some(indices)) => Ok(indices),
                Err(panic) => {
                    ended.store(true, Ordering::Relaxed);
                    Err(panic)
                }
            };
            queue.next += 1;
            (queue.next - 1, indices)
        };
        let batch = indices.and_then(|indices| catch_unwind(AssertUnwindSafe(|| gather(indices))));
        if !matches!(batch, Ok(Ok(_))) {
            ended.store(true, Ordering::Relaxed);
        }
        if sender.send((index, batch)).is_err() {
            return;
        }
    }
}

/// The next item, if any. A thread of the rayon pool that has waited for a moment runs other jobs of the pool: these
/// can be the loader's own, such as decoding images. Not earlier, as it can also pick up an unrelated job, which this
/// call then has to wait for.
fn next<T>(receiver: &Receiver<T>) -> Option<T> {
    loop {
        match receiver.recv_timeout(A_MOMENT) {
            Ok(batch) => return Some(batch),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) if rayon::yield_now().is_none() => return receiver.recv().ok(),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Reads a batch, and runs the preprocessing stage on the host.
pub(super) fn gather<S: Source + ?Sized>(
    source: &S,
    staged: Option<&Staged>,
    indices: Vec<usize>,
) -> Result<HostBatch> {
    if indices.is_empty() {
        return Ok(HostBatch::empty());
    }
    let length = |shape: &[usize]| {
        let numbers = shape.iter().try_fold(indices.len(), |product, size| product.checked_mul(*size));
        numbers.ok_or_else(|| {
            Error::data("a batch", "a size that fits in memory", format!("{shape:?} × {}", indices.len()))
        })
    };
    // The buffer is reused, and a custom source can rely on zeros.
    let zeros = |field: &Field| -> Result<Vec<f32>> {
        let mut numbers = buffer(length(&field.shape)?);
        numbers.fill(0.0);
        Ok(numbers)
    };
    let mut y = source.y_fields().iter().map(zeros).collect::<Result<Vec<_>>>()?;
    let columns = match staged {
        Some(_) => source.read_columns(&indices, &mut parts(&mut y))?,
        None => None,
    };
    let mut x = Vec::new();
    if columns.is_none() {
        x = source.x_fields().iter().map(zeros).collect::<Result<Vec<_>>>()?;
        source.read_fields(&indices, &mut parts(&mut x), &mut parts(&mut y))?;
    }
    let feeds = staged.map(|staged| {
        let floats =
            std::mem::take(&mut x).into_iter().map(|numbers| Column::new([numbers.len()], Cells::Float(numbers)));
        let columns = match columns {
            Some(columns) => columns,
            None => floats.collect::<Result<_>>()?,
        };
        staged.run(indices.len(), columns)
    });
    let feeds = feeds.transpose()?;
    let shapes = source.weight_fields();
    let ones = |shape: &Option<Vec<usize>>| Ok(vec![1.0; shape.as_deref().map_or(Ok(0), length)?]);
    let mut weights = shapes.iter().map(ones).collect::<Result<Vec<_>>>()?;
    if !weights.is_empty() {
        source.read_weight_fields(&indices, &mut parts(&mut weights))?;
    }
    let weights = shapes.into_iter().zip(weights);
    let weights = weights.map(|(shape, numbers)| Some(HostWeights { numbers, shape: shape? })).collect();
    Ok(HostBatch { indices, x, feeds, fed: Vec::new(), images: None, y, weights })
}

/// The buffers as mutable slices.
fn parts(buffers: &mut [Vec<f32>]) -> Vec<&mut [f32]> {
    buffers.iter_mut().map(Vec::as_mut_slice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::Dataset;

    fn numbers(n: usize) -> Dataset {
        Dataset::new((0..n).map(|i| i as f32).collect::<Vec<_>>(), vec![0.0f32; n]).unwrap()
    }

    #[test]
    fn the_order_depends_on_seed_and_epoch_alone() {
        let shuffled = order(0..100, Some((1, 0)));
        assert_eq!(shuffled, order(0..100, Some((1, 0))));
        assert_ne!(shuffled, order(0..100, Some((1, 1))));
        assert_ne!(shuffled, order(0..100, Some((2, 0))));
        let mut sorted = shuffled.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, order(0..100, None));
    }

    fn loader(source: &Dataset) -> Loader<'_, Dataset> {
        Loader { source, staged: None, augmented: None, workers: 3 }
    }

    fn plan(samples: usize, batch_size: usize) -> BatchOrder {
        BatchOrder { samples: 0..samples, batch_size, steps_per_epoch: None, shuffle: None }
    }

    #[test]
    fn batches_come_in_order_and_the_last_is_smaller() {
        let data = numbers(10);
        let mut seen = Vec::new();
        loader(&data)
            .for_each(plan(10, 4).batches(3, 0), |index, batch| {
                seen.push((index, batch.x.concat()));
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
        assert_eq!(seen, [(0, vec![0.0, 1.0, 2.0, 3.0]), (1, vec![4.0, 5.0, 6.0, 7.0]), (2, vec![8.0, 9.0])]);
    }

    #[test]
    fn an_epoch_can_be_resumed_in_its_middle() {
        let shuffled = BatchOrder { shuffle: Some(5), ..plan(10, 3) };
        let whole: Vec<_> = shuffled.batches(2, 0).collect();
        assert_eq!(shuffled.batches(2, 2).collect::<Vec<_>>(), whole[2..]);
        assert_ne!(whole, shuffled.batches(3, 0).collect::<Vec<_>>());
    }

    #[test]
    fn epochs_of_other_lengths_continue_where_the_last_ended() {
        let two = BatchOrder { steps_per_epoch: Some(2), ..plan(10, 4) };
        let starts = |epoch| two.batches(epoch, 0).map(|batch| batch.samples[0]).collect::<Vec<_>>();
        assert_eq!([starts(0), starts(1), starts(2)], [[0, 4], [8, 0], [4, 8]]);
        let five = BatchOrder { steps_per_epoch: Some(5), shuffle: Some(1), ..plan(10, 4) };
        let batches: Vec<BatchSamples> = five.batches(0, 0).collect();
        assert_eq!(
            batches.iter().map(|batch| (batch.number, batch.pass)).collect::<Vec<_>>(),
            [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1)]
        );
        let seen: Vec<usize> = batches.into_iter().flat_map(|batch| batch.samples).collect();
        let passes = [order(0..10, Some((1, 0))), order(0..10, Some((1, 1)))].concat();
        assert_eq!(seen, passes[..18]);
    }

    #[test]
    fn several_threads_gather_at_a_time_and_the_order_stays() {
        // The first batch waits until the second has been gathered.
        let (done, wait) = sync_channel(1);
        let wait = Mutex::new(wait);
        let gather = |indices: Vec<usize>| {
            match indices[0] {
                0 => wait.lock().unwrap().recv().unwrap(),
                1 => done.send(()).unwrap(),
                _ => {}
            }
            Ok(indices[0])
        };
        let mut seen = Vec::new();
        let batches = (0..100).map(|index| vec![index]);
        on_threads(2, batches, &gather, |index, batch| {
            seen.push((index, batch));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        assert_eq!(seen, (0..100).map(|index| (index, index)).collect::<Vec<_>>());
    }

    #[test]
    fn no_more_batches_are_gathered_than_there_is_room_for() {
        let (begun, taken) = (Mutex::new(0), Mutex::new(0));
        let gather = |indices: Vec<usize>| {
            *begun.lock().unwrap() += 1;
            assert!(*begun.lock().unwrap() <= *taken.lock().unwrap() + AHEAD + 2);
            Ok(indices)
        };
        on_threads(3, (0..50).map(|index| vec![index]), &gather, |_, _| {
            *taken.lock().unwrap() += 1;
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        assert_eq!((*begun.lock().unwrap(), *taken.lock().unwrap()), (50, 50));
    }

    #[test]
    fn the_first_batch_that_fails_is_the_one_that_is_told() {
        let gather = |indices: Vec<usize>| match indices[0] {
            index @ 5.. => Err(Error::Syntax(format!("batch {index}"))),
            index => Ok(index),
        };
        let mut seen = 0;
        let result = on_threads(3, (0..100).map(|index| vec![index]), &gather, |_, _| {
            seen += 1;
            Ok(ControlFlow::Continue(()))
        });
        assert!(result.unwrap_err().to_string().contains("batch 5"));
        assert_eq!(seen, 5);
    }

    #[test]
    fn a_panic_of_a_source_goes_on_and_does_not_wait() {
        let gather = |indices: Vec<usize>| -> Result<usize> {
            if indices[0] == 3 { panic!("the source is wrong") } else { Ok(0) }
        };
        let run = || on_threads(2, (0..100).map(|index| vec![index]), &gather, |_, _| Ok(ControlFlow::Continue(())));
        let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"the source is wrong"));
    }

    #[test]
    fn a_panic_of_the_batches_goes_on_and_does_not_wait() {
        let batches = (0..100usize).inspect(|index| assert!(*index != 3, "the stream is wrong"));
        let mut seen = Vec::new();
        let run = || {
            on_threads(2, batches, &|index: usize| Ok(index), |_, batch| {
                seen.push(batch);
                Ok(ControlFlow::Continue(()))
            })
        };
        let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"the stream is wrong"));
        assert_eq!(seen, [0, 1, 2]);
    }

    #[test]
    fn a_failing_consumer_ends_the_loader() {
        let result = loader(&numbers(1000)).for_each(plan(1000, 1).batches(0, 0), |index, _| {
            if index == 3 { Err(Error::Syntax("enough".into())) } else { Ok(ControlFlow::Continue(())) }
        });
        assert!(result.unwrap_err().to_string().contains("enough"));
    }

    #[test]
    fn a_consumer_can_break() {
        let mut seen = 0;
        loader(&numbers(1000))
            .for_each(plan(1000, 1).batches(0, 0), |index, _| {
                seen = index;
                Ok(if index == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })
            .unwrap();
        assert_eq!(seen, 3);
    }
}
