//! Training by several processes: each computes a part of every batch, and all apply the same step.
//!
//! A [`Communicator`] connects them. [`Fit::distributed`](crate::training::Fit::distributed) takes one: every rank
//! calls `fit` with the same model, data and arguments. Each then reads and computes its part of the global batch; the
//! gradients are summed over all ranks, and each applies the same update to its copy of the weights. Losses, metrics,
//! clipping and learning rates are those of the global batch, so that the history is that of a single process up to
//! rounding.
//!
//! `Mpi` (feature `mpi`) connects processes started by `mpirun`; [`threads`] connects threads of one process, for
//! tests and examples:
//!
//! ```
//! use brasa::distributed::threads;
//! use brasa::prelude::*;
//!
//! # fn main() -> brasa::Result<()> {
//! let train = |fit: Fit<'_>| -> brasa::Result<f64> {
//!     let mut model = Sequential::new().with_seed(1);
//!     model.add(Dense::new(1).input_shape(1))?.compile(Compile::new(SGD::new(0.1), "mse"))?;
//!     let x: Vec<f32> = (0..10).map(|i| i as f32 / 10.0).collect();
//!     let y: Vec<f32> = x.iter().map(|x| 2.0 * x).collect();
//!     let history = model.fit(&Dataset::new(x, y)?, fit.batch_size(4).epochs(3).verbose(Verbosity::Silent))?;
//!     Ok(history.get("loss").unwrap()[2])
//! };
//! let alone = train(Fit::new())?;
//! let losses = std::thread::scope(|scope| {
//!     let ranks = threads(2).into_iter().map(|rank| scope.spawn(|| train(Fit::new().distributed(rank))));
//!     ranks.collect::<Vec<_>>().into_iter().map(|rank| rank.join().unwrap()).collect::<brasa::Result<Vec<_>>>()
//! })?;
//! assert_eq!(losses[0], losses[1]);
//! assert!((losses[0] - alone).abs() < 1e-6);
//! # Ok(())
//! # }
//! ```
//!
//! # The same as in one process
//!
//! The order of samples; the loss, its weighting by samples and masks, and penalties; all metrics of the logs; clipping,
//! accumulation of gradients, learning rates; the draws of dropout and of noise, which depend on a sample's position in
//! the batch and not on the rank. Runs with the same number of ranks are the same bit for bit, as far as the
//! communicator sums in the same order each time. At the end of each epoch the ranks compare their weights, and a
//! difference is an error that names the rank.
//!
//! # Differences
//!
//! - Batch normalization takes mean and variance of the rank's part of the batch, as Keras does by default under a
//!   distribution strategy; the moving statistics are averaged over the ranks.
//! - Results that callbacks read *within* an epoch ([`Context::logs`](crate::callbacks::Context::logs) after a batch),
//!   and the progress bar, are those of the rank's own part. At the end of the epoch they are those of all ranks.
//! - A callback that stops training within an epoch takes effect after the next batch, in which the ranks learn of it.
//! - Penalties that a layer adds with [`Call::add_loss`](crate::layers::Call::add_loss) have to be means over samples:
//!   they are weighted by the rank's share of the samples. A sum over samples becomes smaller.
//! - [`Model::fit_stream`](crate::Model::fit_stream) trains on batches that each rank has of its own; those of a step
//!   are one batch. [Shards](crate::guide::data#shards) divide themselves among the ranks.
//! - Callbacks run on every rank. Those that write files ([`Callback::writes`](crate::callbacks::Callback::writes)) run
//!   on rank 0 alone, which also writes the checkpoints.

#[cfg(feature = "mpi")]
mod mpi;
mod threads;
mod timed;
mod turns;

use std::fmt::Debug;
use std::sync::Arc;
use std::thread;

use crate::error::{Error, Result};

#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub use threads::{ThreadRank, threads};
pub use timed::{Pace, Timed, Traffic};
pub use turns::Turns;

/// A group of processes (ranks) that compute together.
///
/// All ranks make the same calls in the same order; each call waits for the others.
pub trait Communicator: Debug + Send + Sync {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// The number of processes.
    fn size(&self) -> usize;

    /// Replaces each number by its sum over all ranks: on all ranks the same bits.
    ///
    /// # Errors
    /// [`Error::Rank`] if another rank has failed, or has not answered in time.
    fn all_reduce(&self, numbers: &mut [f32]) -> Result<()>;

    /// As [`all_reduce`](Self::all_reduce), in double precision.
    ///
    /// # Errors
    /// As [`all_reduce`](Self::all_reduce).
    fn all_reduce_f64(&self, numbers: &mut [f64]) -> Result<()>;

    /// Tells the other ranks that this one cannot continue; their calls then fail rather than wait. A communicator
    /// between processes may end them all.
    fn fail(&self, error: &Error);

    /// Waits until all ranks have called this.
    ///
    /// # Errors
    /// As [`all_reduce`](Self::all_reduce).
    fn barrier(&self) -> Result<()> {
        self.all_reduce_f64(&mut [0.0])
    }
}

/// Tells the other ranks when this one panics.
pub(crate) struct PanicGuard(pub Option<Arc<dyn Communicator>>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if let Some(peers) = self.0.as_ref().filter(|_| thread::panicking()) {
            peers.fail(&Error::rank(peers.rank(), "a panic"));
        }
    }
}

/// Does the work of one rank, and tells the others if it fails or panics, so that they do not wait for it; `None` for a
/// process that works alone. `fit` and `predict` do this themselves.
///
/// ```
/// use brasa::Error;
/// use brasa::distributed::{Communicator, threads, together};
/// let ranks = threads(2).into_iter().map(|rank| {
///     std::thread::spawn(move || {
///         together(Some(rank.clone()), || match rank.rank() {
///             0 => rank.barrier(),
///             _ => Err(Error::argument("x", "a number", "none")),
///         })
///     })
/// });
/// let ranks: Vec<_> = ranks.collect();
/// assert!(ranks.into_iter().all(|rank| rank.join().unwrap().is_err()));
/// ```
///
/// # Errors
/// Those of the work.
pub fn together<T>(peers: Option<Arc<dyn Communicator>>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let guard = PanicGuard(peers);
    let result = work();
    if let (Err(error), Some(peers)) = (&result, &guard.0) {
        peers.fail(error);
    }
    result
}

/// The error of rank `own` without that number, which messages add.
fn reason(own: usize, error: &Error) -> String {
    match error {
        Error::Rank { rank, reason, .. } if *rank == own => reason.clone(),
        error => error.to_string(),
    }
}

/// The numbers of each rank, given an equal count of them on all.
pub(crate) fn gather(peers: &dyn Communicator, own: &[f64]) -> Result<Vec<Vec<f64>>> {
    let mut all = vec![0.0; own.len() * peers.size()];
    all[own.len() * peers.rank()..][..own.len()].copy_from_slice(own);
    peers.all_reduce_f64(&mut all)?;
    Ok((0..peers.size()).map(|rank| all[own.len() * rank..][..own.len()].to_vec()).collect())
}

/// An integer in parts that a sum with zeros keeps exactly.
pub(crate) fn halves(number: u64) -> [f64; 2] {
    [(number >> 32) as f64, (number & 0xffff_ffff) as f64]
}

/// The bytes in each number of an exchange of bytes: six are an integer that a double holds exactly.
const BYTES: usize = 6;

/// The most numbers of one exchange of [`in_order`], unless one rank has more.
const WINDOW: usize = 1 << 19;

/// Bytes as numbers that a sum with zeros keeps exactly.
fn packed(bytes: &[u8]) -> impl Iterator<Item = f64> {
    bytes.chunks(BYTES).map(|bytes| bytes.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte)) as f64)
}

/// The bytes in [`packed`] numbers.
fn unpacked(numbers: &[f64], length: usize) -> Vec<u8> {
    let bytes = numbers.iter().flat_map(|number| (*number as u64).to_le_bytes().into_iter().take(BYTES));
    bytes.take(length).collect()
}

/// The bytes of rank 0, on all ranks; those of the others are not read.
///
/// # Errors
/// As [`Communicator::all_reduce`].
pub fn broadcast(peers: &dyn Communicator, bytes: Option<Vec<u8>>) -> Result<Vec<u8>> {
    let is_first = peers.rank() == 0;
    let bytes = bytes.filter(|_| is_first).unwrap_or_default();
    let mut length = [bytes.len() as f64];
    peers.all_reduce_f64(&mut length)?;
    let length = length[0] as usize;
    let mut numbers = vec![0.0; length.div_ceil(BYTES)];
    numbers.iter_mut().zip(packed(&bytes)).for_each(|(number, own)| *number = own);
    peers.all_reduce_f64(&mut numbers)?;
    Ok(unpacked(&numbers, length))
}

/// Calls `each` with every rank and its bytes, in the order of ranks; on all ranks the same.
///
/// ```
/// use brasa::distributed::{in_order, threads};
/// let greet = |peers: &dyn brasa::distributed::Communicator| -> brasa::Result<Vec<String>> {
///     let mut all = Vec::new();
///     in_order(peers, format!("rank {}", peers.rank()).as_bytes(), |_, bytes| {
///         all.push(String::from_utf8_lossy(bytes).into_owned());
///         Ok(())
///     })?;
///     Ok(all)
/// };
/// let all = std::thread::scope(|scope| {
///     let ranks: Vec<_> = threads(2).into_iter().map(|rank| scope.spawn(move || greet(&*rank))).collect();
///     ranks.into_iter().map(|rank| rank.join().unwrap().unwrap()).collect::<Vec<_>>()
/// });
/// assert_eq!(all[0], ["rank 0", "rank 1"]);
/// assert_eq!(all[1], all[0]);
/// ```
///
/// # Errors
/// As [`Communicator::all_reduce`], and those of `each`.
pub fn in_order(peers: &dyn Communicator, own: &[u8], mut each: impl FnMut(usize, &[u8]) -> Result<()>) -> Result<()> {
    let lengths: Vec<usize> = gather(peers, &[own.len() as f64])?.iter().map(|length| length[0] as usize).collect();
    let mut first = 0;
    while first < lengths.len() {
        // As many ranks as fit in one exchange, and one at least.
        let (mut end, mut count) = (first, 0usize);
        while end < lengths.len() && (end == first || count + lengths[end].div_ceil(BYTES) <= WINDOW) {
            count += lengths[end].div_ceil(BYTES);
            end += 1;
        }
        let mut numbers = vec![0.0; count];
        if (first..end).contains(&peers.rank()) {
            let start: usize = lengths[first..peers.rank()].iter().map(|length| length.div_ceil(BYTES)).sum();
            numbers[start..].iter_mut().zip(packed(own)).for_each(|(number, own)| *number = own);
        }
        peers.all_reduce_f64(&mut numbers)?;
        let mut rest = &numbers[..];
        for (rank, length) in (first..end).zip(&lengths[first..end]) {
            let (of_rank, others) = rest.split_at(length.div_ceil(BYTES));
            rest = others;
            each(rank, &unpacked(of_rank, *length))?;
        }
        first = end;
    }
    Ok(())
}

/// The part of a batch that a rank computes: `count` samples from `first` on. Parts differ in size by at most one.
pub(crate) fn part(peers: &dyn Communicator, samples: usize) -> (usize, usize) {
    let (rank, size) = (peers.rank(), peers.size().max(1));
    let start = |rank: usize| (samples as u128 * rank as u128 / size as u128) as usize;
    (start(rank), start(rank + 1) - start(rank))
}

/// Refuses ranks that do not agree on something, given as numbers.
pub(crate) fn agree(peers: &dyn Communicator, what: &str, own: &[f64]) -> Result<()> {
    let all = gather(peers, own)?;
    match all.iter().position(|other| *other != all[0]) {
        Some(rank) => Err(Error::rank(rank, format!("{what} differ from those of rank 0"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs this on each of `size` ranks; returns their results in order.
    fn on_ranks<T: Send>(size: usize, work: impl Fn(&dyn Communicator) -> T + Sync) -> Vec<T> {
        std::thread::scope(|scope| {
            let work = &work;
            let ranks: Vec<_> = threads(size)
                .into_iter()
                .map(|rank: Arc<dyn Communicator>| scope.spawn(move || work(&*rank)))
                .collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }

    #[test]
    fn parts_cover_a_batch() {
        for size in 1..6 {
            for samples in 0..12 {
                let parts = on_ranks(size, |peers| part(peers, samples));
                let mut next = 0;
                for (first, count) in &parts {
                    assert_eq!(*first, next);
                    next += count;
                }
                assert_eq!(next, samples);
                let counts = || parts.iter().map(|(_, count)| *count);
                assert!(counts().max().unwrap() - counts().min().unwrap() <= 1);
            }
        }
    }

    #[test]
    fn bytes_reach_all_ranks() {
        for length in [0, 1, 5, 6, 7, 1000] {
            let bytes: Vec<u8> = (0..length).map(|i| (i * 37 + 255) as u8).collect();
            let received = on_ranks(3, |peers| {
                // The arguments of the others are not read.
                broadcast(peers, Some(if peers.rank() == 0 { bytes.clone() } else { vec![1, 2, 3] })).unwrap()
            });
            assert_eq!(received, vec![bytes.clone(); 3]);
        }
    }

    #[test]
    fn bytes_of_all_ranks_arrive_in_order() {
        // The second has more than one exchange takes, the third nothing.
        let of = |rank: usize| -> Vec<u8> {
            let length = [10, WINDOW * BYTES + 1, 0, 7][rank];
            (0..length).map(|i| (i * 31 + rank) as u8).collect()
        };
        let received = on_ranks(4, |peers| {
            let mut all = Vec::new();
            let receive = |rank, bytes: &[u8]| {
                all.push((rank, bytes.to_vec()));
                Ok(())
            };
            in_order(peers, &of(peers.rank()), receive).unwrap();
            all
        });
        let expected: Vec<_> = (0..4).map(|rank| (rank, of(rank))).collect();
        assert!(received.into_iter().all(|all| all == expected));
    }

    #[test]
    fn a_rank_that_differs_is_named() {
        let results =
            on_ranks(3, |peers| agree(peers, "the weights", &halves(if peers.rank() == 2 { 7 } else { 1 << 40 })));
        for result in results {
            assert_eq!(result.unwrap_err().to_string(), "rank 2: the weights differ from those of rank 0");
        }
        assert!(
            on_ranks(3, |peers| agree(peers, "the weights", &halves(u64::MAX)))
                .into_iter()
                .all(|result| result.is_ok())
        );
    }
}
