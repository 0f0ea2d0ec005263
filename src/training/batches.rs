//! Batches: the order of samples, and loading ahead while the device computes.

use std::iter;
use std::ops::{ControlFlow, Range};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use rand::seq::SliceRandom;

use super::fitted::{Fitted, FittedOutput, Staged};
use crate::datasets::{Cells, Column, Field, Source};
use crate::error::{Error, Result};
use crate::model::Feed;
use crate::ops::buffer;
use crate::random::stream;
use crate::shape::count;

/// The number of batches loaded ahead.
const AHEAD: usize = 2;

/// The number of values in memory for batches of this size besides the one that the device computes on: the waiting
/// batches, and the one being loaded.
pub(super) fn values_ahead(samples: usize, fitted: &Fitted) -> usize {
    let targets = fitted.outputs.iter().map(FittedOutput::y);
    let sizes = fitted.x.iter().map(|(_, sizes)| sizes.clone()).chain(targets);
    let sample = sizes.map(|sizes| count(&sizes).unwrap_or(usize::MAX)).fold(0, usize::saturating_add);
    sample.saturating_mul(samples).saturating_mul(AHEAD + 1)
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
    pub y: Vec<Vec<f32>>,
    /// Empty, one for all targets, or one for each.
    pub weights: Vec<Option<HostWeights>>,
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

    /// The samples of an epoch's batches, from step `first` on. If an epoch has fewer (or more) steps than a pass over
    /// the samples, it starts where the previous one ended.
    pub fn batches(&self, epoch: usize, first: usize) -> impl Iterator<Item = Vec<usize>> + Send + use<> {
        let (plan, a_pass, steps) = (self.clone(), self.batches_in_a_pass().max(1), self.steps());
        let mut current: Option<(usize, Vec<usize>)> = None;
        (first..steps).map(move |step| {
            let batch = epoch.saturating_mul(steps).saturating_add(step);
            let (pass, place) = (batch / a_pass, batch % a_pass);
            let (_, order) = match current.take() {
                Some(known) if known.0 == pass => current.insert(known),
                _ => current.insert((pass, order(plan.samples.clone(), plan.shuffle.map(|seed| (seed, pass))))),
            };
            order.chunks(plan.batch_size).nth(place).unwrap_or_default().to_vec()
        })
    }
}

/// Loads batches on a thread of its own and passes them to `consume` in order, with their indices from 0, until it
/// breaks or fails.
pub(super) fn for_each_batch<S: Source + ?Sized>(
    source: &S,
    staged: Option<&Staged>,
    batches: impl Iterator<Item = Vec<usize>> + Send,
    mut consume: impl FnMut(usize, HostBatch) -> Result<ControlFlow<()>>,
) -> Result<()> {
    thread::scope(|scope| {
        let (sender, receiver): (SyncSender<Result<HostBatch>>, Receiver<_>) = sync_channel(AHEAD);
        let loader = thread::Builder::new().name("brasa-loader".into());
        let loader = loader.spawn_scoped(scope, move || {
            for indices in batches {
                let batch = gather(source, staged, indices);
                let failed = batch.is_err();
                // The receiver was dropped because training stopped early.
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        });
        loader.map_err(|source| Error::Thread { purpose: "the loading of batches", source: source.into() })?;
        for (index, batch) in iter::from_fn(|| next(&receiver)).enumerate() {
            if consume(index, batch?)?.is_break() {
                break;
            }
        }
        Ok(())
    })
}

/// The next item, if any. A thread of the rayon pool that has waited for a moment runs other jobs of the pool: these
/// can be the loader's own, such as decoding pictures. Not earlier, as it can also pick up an unrelated job, which this
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
    Ok(HostBatch { indices, x, feeds, y, weights })
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

    fn plan(samples: usize, batch_size: usize) -> BatchOrder {
        BatchOrder { samples: 0..samples, batch_size, steps_per_epoch: None, shuffle: None }
    }

    #[test]
    fn batches_come_in_order_and_the_last_is_smaller() {
        let data = numbers(10);
        let mut seen = Vec::new();
        for_each_batch(&data, None, plan(10, 4).batches(3, 0), |index, batch| {
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
        let starts = |epoch| two.batches(epoch, 0).map(|batch| batch[0]).collect::<Vec<_>>();
        assert_eq!([starts(0), starts(1), starts(2)], [[0, 4], [8, 0], [4, 8]]);
        let five = BatchOrder { steps_per_epoch: Some(5), shuffle: Some(1), ..plan(10, 4) };
        let seen: Vec<usize> = five.batches(0, 0).flatten().collect();
        let passes = [order(0..10, Some((1, 0))), order(0..10, Some((1, 1)))].concat();
        assert_eq!(seen, passes[..18]);
    }

    #[test]
    fn a_failing_consumer_ends_the_loader() {
        let result = for_each_batch(&numbers(1000), None, plan(1000, 1).batches(0, 0), |index, _| {
            if index == 3 { Err(Error::Syntax("enough".into())) } else { Ok(ControlFlow::Continue(())) }
        });
        assert!(result.unwrap_err().to_string().contains("enough"));
    }

    #[test]
    fn a_consumer_can_break() {
        let mut seen = 0;
        for_each_batch(&numbers(1000), None, plan(1000, 1).batches(0, 0), |index, _| {
            seen = index;
            Ok(if index == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
        .unwrap();
        assert_eq!(seen, 3);
    }
}
