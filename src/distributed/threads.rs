//! Ranks that are threads of one process.

use std::mem;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::{Communicator, reason};
use crate::error::{Error, Result};

/// The time after which a rank that has not answered is given up.
const LIMIT: Duration = Duration::from_secs(300);

/// `size` connected ranks, each for a thread of its own.
///
/// Their sums are taken in the order of ranks, so the same calls give the same bits.
pub fn threads(size: usize) -> Vec<Arc<dyn Communicator>> {
    threads_within(size, LIMIT)
}

fn threads_within(size: usize, limit: Duration) -> Vec<Arc<dyn Communicator>> {
    let shared = Arc::new(Shared { meeting: Mutex::new(Meeting::default()), changed: Condvar::new(), size, limit });
    (0..size).map(|rank| Arc::new(ThreadRank { rank, shared: shared.clone() }) as Arc<dyn Communicator>).collect()
}

/// One of the ranks made by [`threads`].
#[derive(Debug)]
pub struct ThreadRank {
    rank: usize,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    meeting: Mutex<Meeting>,
    changed: Condvar,
    size: usize,
    limit: Duration,
}

/// A call of all ranks.
#[derive(Debug, Default)]
struct Meeting {
    /// The contributions so far, by rank.
    given: Vec<Option<Vec<f64>>>,
    arrived: usize,
    /// The number of calls that are done, and the result of the last.
    done: u64,
    result: Arc<[f64]>,
    failed: Option<(usize, String)>,
}

impl ThreadRank {
    /// The sums of the contributions of all ranks, added in the order of ranks by `add`.
    fn meet(&self, own: Vec<f64>, add: impl Fn(f64, f64) -> f64) -> Result<Arc<[f64]>> {
        let Shared { size, limit, .. } = *self.shared;
        let mut meeting = self.shared.meeting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((rank, reason)) = &meeting.failed {
            return Err(Error::rank(*rank, reason.clone()));
        }
        let length = own.len();
        meeting.given.resize(size, None);
        meeting.given[self.rank] = Some(own);
        meeting.arrived += 1;
        let call = meeting.done;
        if meeting.arrived == size {
            let given = mem::take(&mut meeting.given);
            let mut given = given.into_iter().flatten();
            let mut sums = given.next().unwrap_or_default();
            for (other, numbers) in given.enumerate() {
                if numbers.len() != sums.len() {
                    let reason = format!("{} numbers to add, where rank 0 has {}", numbers.len(), sums.len());
                    meeting.failed.get_or_insert((other + 1, reason));
                }
                sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum = add(*sum, number));
            }
            meeting.result = sums.into();
            meeting.arrived = 0;
            meeting.done += u64::from(meeting.failed.is_none());
            self.shared.changed.notify_all();
        }
        let waits = |meeting: &mut Meeting| meeting.done == call && meeting.failed.is_none();
        let waited = self.shared.changed.wait_timeout_while(meeting, limit, waits);
        let (mut meeting, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() && meeting.done == call {
            let missing = meeting.given.iter().position(Option::is_none).unwrap_or(self.rank);
            meeting.failed.get_or_insert((missing, format!("no answer within {} s", limit.as_secs_f32())));
            self.shared.changed.notify_all();
        }
        // A rank that failed after this call is an error of the next.
        if let Some((rank, reason)) = meeting.failed.as_ref().filter(|_| meeting.done == call) {
            return Err(Error::rank(*rank, reason.clone()));
        }
        debug_assert_eq!(meeting.result.len(), length);
        Ok(meeting.result.clone())
    }
}

impl Communicator for ThreadRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.shared.size
    }

    fn all_reduce(&self, numbers: &mut [f32]) -> Result<()> {
        let own = numbers.iter().copied().map(f64::from).collect();
        // Rounded at each addition, as processes add.
        let sums = self.meet(own, |a, b| f64::from(a as f32 + b as f32))?;
        numbers.iter_mut().zip(&*sums).for_each(|(number, sum)| *number = *sum as f32);
        Ok(())
    }

    fn all_reduce_f64(&self, numbers: &mut [f64]) -> Result<()> {
        let sums = self.meet(numbers.to_vec(), |a, b| a + b)?;
        numbers.copy_from_slice(&sums);
        Ok(())
    }

    fn fail(&self, error: &Error) {
        let mut meeting = self.shared.meeting.lock().unwrap_or_else(PoisonError::into_inner);
        meeting.failed.get_or_insert((self.rank, reason(self.rank, error)));
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_the_same_on_all_ranks() {
        let results = std::thread::scope(|scope| {
            let ranks: Vec<_> = threads(3)
                .into_iter()
                .map(|peers| {
                    scope.spawn(move || {
                        let mut sums = Vec::new();
                        for call in 0..100 {
                            let mut numbers = [peers.rank() as f32 + 0.1, call as f32];
                            peers.all_reduce(&mut numbers).unwrap();
                            sums.push(numbers);
                        }
                        sums
                    })
                })
                .collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(results[0], results[1]);
        assert_eq!(results[0], results[2]);
        assert_eq!(results[0][7], [0.1f32 + 1.1 + 2.1, 21.0]);
    }

    #[test]
    fn a_failure_reaches_the_ranks_that_wait() {
        let ranks = threads(2);
        let error = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| ranks[0].barrier().unwrap_err());
            ranks[1].fail(&Error::data("x", "numbers", "words"));
            waiting.join().unwrap()
        });
        assert!(matches!(&error, Error::Rank { rank: 1, .. }), "{error}");
        assert_eq!(error.to_string(), "rank 1: data: x: expected numbers, received words");
    }

    #[test]
    fn a_rank_that_does_not_answer_is_given_up() {
        let ranks = threads_within(2, Duration::from_millis(20));
        let error = ranks[0].barrier().unwrap_err().to_string();
        assert_eq!(error, "rank 1: no answer within 0.02 s");
    }
}
