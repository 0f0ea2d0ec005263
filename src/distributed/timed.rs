//! How long ranks compute, and how long they wait for each other.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::{Communicator, gather};
use crate::error::{Error, Result};

/// A communicator that measures the exchanges of another.
///
/// ```
/// use brasa::distributed::{Communicator, Timed, threads};
/// let timed = Timed::new(threads(1).remove(0));
/// timed.all_reduce(&mut [1.0, 2.0])?;
/// let traffic = timed.traffic();
/// assert_eq!((traffic.exchanges, traffic.bytes), (1, 8));
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Debug)]
pub struct Timed {
    inner: Arc<dyn Communicator>,
    traffic: Mutex<Traffic>,
}

/// The exchanges of a rank so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Traffic {
    /// Their number.
    pub exchanges: u64,
    /// The bytes of the numbers that were summed, once for each exchange however it is done.
    pub bytes: u64,
    /// The time from the calls to their results, in which the rank waits for slower ones too.
    pub seconds: f64,
}

impl Traffic {
    /// What was added since.
    ///
    /// ```
    /// use brasa::distributed::{Communicator, Timed, threads};
    /// let timed = Timed::new(threads(1).remove(0));
    /// timed.barrier()?;
    /// let before = timed.traffic();
    /// timed.all_reduce(&mut [0.0; 3])?;
    /// assert_eq!(timed.traffic().since(before).bytes, 12);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            exchanges: self.exchanges.saturating_sub(before.exchanges),
            bytes: self.bytes.saturating_sub(before.bytes),
            seconds: self.seconds - before.seconds,
        }
    }
}

impl Timed {
    /// Measures the exchanges of this communicator.
    pub fn new(inner: Arc<dyn Communicator>) -> Self {
        Self { inner, traffic: Mutex::default() }
    }

    /// The exchanges so far.
    pub fn traffic(&self) -> Traffic {
        *self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn measured(&self, bytes: usize, exchange: impl FnOnce() -> Result<()>) -> Result<()> {
        let begin = Instant::now();
        let result = exchange();
        let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        traffic.exchanges += 1;
        traffic.bytes = traffic.bytes.saturating_add(bytes as u64);
        traffic.seconds += begin.elapsed().as_secs_f64();
        result
    }
}

impl Communicator for Timed {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn all_reduce(&self, numbers: &mut [f32]) -> Result<()> {
        self.measured(size_of_val(numbers), || self.inner.all_reduce(numbers))
    }

    fn all_reduce_f64(&self, numbers: &mut [f64]) -> Result<()> {
        self.measured(size_of_val(numbers), || self.inner.all_reduce_f64(numbers))
    }

    fn fail(&self, error: &Error) {
        self.inner.fail(error);
    }
}

/// How evenly ranks have shared the work of some time.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Pace {
    /// The rank that computed longest, and so waited least.
    pub slowest: usize,
    /// The seconds that it computed longer than the ranks on average.
    pub lag: f64,
    /// The seconds that all took: the longest of the ranks.
    pub seconds: f64,
    /// The part of the time in which the ranks, on average, exchanged numbers or waited for slower ranks.
    pub exchanging: f64,
    /// The same part of the slowest rank, which waits for the others least: the exchanges without the waiting.
    pub exchanging_slowest: f64,
}

impl Pace {
    /// Compares the ranks: the seconds that each took for something, and its exchanges in them. On all ranks the same.
    ///
    /// ```
    /// use brasa::distributed::{Pace, Timed, threads};
    /// let timed = Timed::new(threads(1).remove(0));
    /// let pace = Pace::of(&timed, 2.0, timed.traffic())?;
    /// assert_eq!((pace.slowest, pace.lag, pace.exchanging), (0, 0.0, 0.0));
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Communicator::all_reduce`].
    pub fn of(peers: &dyn Communicator, seconds: f64, traffic: Traffic) -> Result<Self> {
        let all = gather(peers, &[seconds, traffic.seconds])?;
        let ranks = all.len().max(1) as f64;
        let computed: Vec<f64> = all.iter().map(|rank| rank[0] - rank[1]).collect();
        let slowest = (0..all.len()).max_by(|a, b| computed[*a].total_cmp(&computed[*b]).then(b.cmp(a))).unwrap_or(0);
        let share = |rank: &Vec<f64>| if rank[0] > 0.0 { rank[1] / rank[0] } else { 0.0 };
        Ok(Self {
            slowest,
            lag: computed.get(slowest).map_or(0.0, |longest| longest - computed.iter().sum::<f64>() / ranks),
            seconds: all.iter().map(|rank| rank[0]).fold(0.0, f64::max),
            exchanging: all.iter().map(share).sum::<f64>() / ranks,
            exchanging_slowest: all.get(slowest).map_or(0.0, share),
        })
    }

    /// The pace of one of so many equal steps.
    ///
    /// ```
    /// use brasa::distributed::{Pace, Timed, threads};
    /// let timed = Timed::new(threads(1).remove(0));
    /// let pace = Pace::of(&timed, 2.0, timed.traffic())?.by_step(4);
    /// assert_eq!(pace.seconds, 0.5);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    #[must_use]
    pub fn by_step(self, steps: usize) -> Self {
        let steps = steps.max(1) as f64;
        Self { lag: self.lag / steps, seconds: self.seconds / steps, ..self }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} ms, of which {:.0} % exchanging; rank {} is the slowest, {:.1} ms behind the mean",
            1000.0 * self.seconds,
            100.0 * self.exchanging,
            self.slowest,
            1000.0 * self.lag
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::threads;
    use super::*;

    #[test]
    fn the_rank_that_computes_longest_is_the_slowest() {
        let paces = std::thread::scope(|scope| {
            let pace = |rank: Arc<dyn Communicator>| {
                // Of 10 s, the second rank computes 9 and the others 3.
                let seconds = if rank.rank() == 1 { 1.0 } else { 7.0 };
                Pace::of(&*rank, 10.0, Traffic { exchanges: 1, bytes: 8, seconds }).unwrap()
            };
            let ranks: Vec<_> = threads(3).into_iter().map(|rank| scope.spawn(move || pace(rank))).collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect::<Vec<_>>()
        });
        let pace = paces[0];
        assert!(paces.iter().all(|other| *other == pace));
        assert_eq!((pace.slowest, pace.lag, pace.seconds), (1, 4.0, 10.0));
        assert!((pace.exchanging - 0.5).abs() < 1e-12 && (pace.exchanging_slowest - 0.1).abs() < 1e-12);
        let text = "2000.0 ms, of which 50 % exchanging; rank 1 is the slowest, 800.0 ms behind the mean";
        assert_eq!(pace.by_step(5).to_string(), text);
    }
}
