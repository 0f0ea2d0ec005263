//! Batches that ranks compute in turn.

use super::{Communicator, agree, in_order};
use crate::error::Result;

/// Shares batches among ranks: each computes a whole one in its turn, and all receive the results in order.
///
/// A batch is computed as in one process, so its result has the same bits.
///
/// ```
/// use brasa::distributed::{Communicator, Turns, threads};
/// let squares = |peers: &dyn Communicator| -> brasa::Result<Vec<u8>> {
///     let (mut turns, mut all) = (Turns::new(peers), Vec::new());
///     let mut receive = |bytes: &[u8]| -> brasa::Result<()> {
///         all.extend_from_slice(bytes);
///         Ok(())
///     };
///     for batch in 0..5u8 {
///         if turns.is_own() {
///             turns.put(&[batch * batch]);
///         }
///         turns.next(&mut receive)?;
///     }
///     turns.finish(&mut receive)?;
///     Ok(all)
/// };
/// std::thread::scope(|scope| {
///     let ranks: Vec<_> = threads(2).into_iter().map(|rank| scope.spawn(move || squares(&*rank))).collect();
///     for rank in ranks {
///         assert_eq!(rank.join().unwrap().unwrap(), [0, 1, 4, 9, 16]);
///     }
/// });
/// ```
#[derive(Debug)]
pub struct Turns<'a> {
    peers: &'a dyn Communicator,
    /// The result of this rank's batch of the turn.
    own: Vec<u8>,
    /// The batches of this turn that have ended.
    done: usize,
}

impl<'a> Turns<'a> {
    /// The first batch is that of rank 0.
    pub fn new(peers: &'a dyn Communicator) -> Self {
        Self { peers, own: Vec::new(), done: 0 }
    }

    /// Whether this rank computes the current batch.
    pub fn is_own(&self) -> bool {
        self.done == self.peers.rank()
    }

    /// Adds to the result of this rank's batch.
    pub fn put(&mut self, bytes: &[u8]) {
        self.own.extend_from_slice(bytes);
    }

    /// As [`put`](Self::put), for numbers.
    pub fn put_numbers(&mut self, numbers: &[f32]) {
        self.own.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    }

    /// The numbers of a result that [`put_numbers`](Self::put_numbers) has made.
    ///
    /// ```
    /// # use brasa::distributed::{Turns, threads};
    /// # let rank = threads(1).remove(0);
    /// let mut turns = Turns::new(&*rank);
    /// turns.put_numbers(&[1.0, -0.0]);
    /// turns.next(|bytes| {
    ///     assert_eq!(Turns::numbers(bytes), [1.0, -0.0]);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub fn numbers(bytes: &[u8]) -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    /// Goes on to the next batch. When each rank has had one, `each` receives their results.
    ///
    /// # Errors
    /// As [`Communicator::all_reduce`], and those of `each`; [`Error::Rank`](crate::Error::Rank) for a rank with another
    /// number of batches.
    pub fn next(&mut self, each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.done += 1;
        if self.done < self.peers.size() { Ok(()) } else { self.exchange(false, each) }
    }

    /// After the last batch: passes the results that are left to `each`.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn finish(&mut self, each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.exchange(true, each)
    }

    fn exchange(&mut self, is_last: bool, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let (batches, own) = (std::mem::take(&mut self.done), std::mem::take(&mut self.own));
        agree(self.peers, "the batches", &[batches as f64, f64::from(u8::from(is_last))])?;
        if batches == 0 {
            return Ok(());
        }
        in_order(self.peers, &own, |rank, bytes| if rank < batches { each(bytes) } else { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::threads;
    use super::*;

    #[test]
    fn a_rank_with_fewer_batches_is_named() {
        for batches in [[4, 3], [4, 2], [3, 0]] {
            let errors = std::thread::scope(|scope| {
                let work = |peers: &dyn Communicator| {
                    let mut turns = Turns::new(peers);
                    for _ in 0..batches[peers.rank()] {
                        turns.next(|_| Ok(()))?;
                    }
                    turns.finish(|_| Ok(()))
                };
                let ranks: Vec<_> = threads(2).into_iter().map(|rank| scope.spawn(move || work(&*rank))).collect();
                ranks.into_iter().map(|rank| rank.join().unwrap().unwrap_err().to_string()).collect::<Vec<_>>()
            });
            assert_eq!(errors, ["rank 1: the batches differ from those of rank 0"; 2], "{batches:?}");
        }
    }
}
