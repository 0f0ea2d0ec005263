//! Batches: which samples, in which order, gathered while the device computes.

use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use rand::seq::SliceRandom;

use crate::datasets::Source;
use crate::error::{Error, Result};
use crate::random::stream;

/// How many batches are gathered ahead.
const AHEAD: usize = 2;

/// Tells the stream of the samples' order from other streams of the same seed.
const ORDER: u64 = 0x006f_7264_6572;

/// The numbers of one batch, on the host.
#[derive(Debug)]
pub(super) struct HostBatch {
    pub indices: Vec<usize>,
    pub x: Vec<f32>,
    pub y: Vec<f32>,
}

/// The order in which an epoch takes the samples of `range`: theirs, or a shuffled one that depends on seed and epoch
/// alone.
pub(super) fn order(range: Range<usize>, shuffle: Option<(u64, usize)>) -> Vec<usize> {
    let mut order: Vec<usize> = range.collect();
    if let Some((seed, epoch)) = shuffle {
        order.shuffle(&mut stream(&[seed, epoch as u64, ORDER]));
    }
    order
}

/// Gathers the batches of `order` on a thread of its own and hands them to `consume` in order, until it fails.
pub(super) fn for_each_batch<S: Source + ?Sized>(
    source: &S,
    order: &[usize],
    batch_size: usize,
    mut consume: impl FnMut(usize, HostBatch) -> Result<()>,
) -> Result<()> {
    thread::scope(|scope| {
        let (sender, receiver): (SyncSender<Result<HostBatch>>, Receiver<_>) = sync_channel(AHEAD);
        let loader = thread::Builder::new().name("brasa-loader".into());
        let loader = loader.spawn_scoped(scope, move || {
            for indices in order.chunks(batch_size) {
                let batch = gather(source, indices);
                let failed = batch.is_err();
                // The receiver is gone when training stopped early.
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        });
        loader.map_err(Error::io("start", "the loader's thread"))?;
        for (index, batch) in receiver.into_iter().enumerate() {
            consume(index, batch?)?;
        }
        Ok(())
    })
}

fn gather<S: Source + ?Sized>(source: &S, indices: &[usize]) -> Result<HostBatch> {
    let length = |shape: &[usize]| {
        let numbers = shape.iter().try_fold(indices.len(), |product, size| product.checked_mul(*size));
        numbers.ok_or_else(|| {
            Error::data("a batch", "a size that fits in memory", format!("{shape:?} × {}", indices.len()))
        })
    };
    let mut x = vec![0.0; length(source.x_shape())?];
    let mut y = vec![0.0; length(source.y_shape())?];
    source.read(indices, &mut x, &mut y)?;
    Ok(HostBatch { indices: indices.to_vec(), x, y })
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

    #[test]
    fn batches_come_in_order_and_the_last_is_smaller() {
        let data = numbers(10);
        let mut seen = Vec::new();
        for_each_batch(&data, &order(0..10, None), 4, |index, batch| {
            seen.push((index, batch.x));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [(0, vec![0.0, 1.0, 2.0, 3.0]), (1, vec![4.0, 5.0, 6.0, 7.0]), (2, vec![8.0, 9.0])]);
    }

    #[test]
    fn a_failing_consumer_ends_the_loader() {
        let result = for_each_batch(&numbers(1000), &order(0..1000, None), 1, |index, _| {
            if index == 3 { Err(Error::Syntax("enough".into())) } else { Ok(()) }
        });
        assert!(result.unwrap_err().to_string().contains("enough"));
    }
}
