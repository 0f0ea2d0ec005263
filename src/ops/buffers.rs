//! Free list of the buffers of dropped results, to be reused by later ones.
//!
//! A training step allocates and drops the same large results every time. Fresh buffers would come from the system as
//! zero pages that fault one by one at first touch, which takes as long as the computation itself.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::kernels::huge_pages;

/// Smaller results are left to the allocator, which is fast with them.
const WORTH_KEEPING: usize = 1 << 14;
/// Values (4 bytes each) kept at most: 1 GiB.
const VALUES_KEPT: usize = 1 << 28;
/// A buffer that stays unused while this many others are given back is dropped.
const CALLS_KEPT: u64 = 2048;

/// The free list, shared by all threads: a batch is gathered by one and dropped by another.
static FREE: Mutex<Free> = Mutex::new(Free { buffers: Vec::new(), values: 0, calls: 0, most: VALUES_KEPT });

struct Free {
    buffers: Vec<(Vec<f32>, u64)>,
    values: usize,
    calls: u64,
    /// Values kept at most.
    most: usize,
}

fn free() -> MutexGuard<'static, Free> {
    // The list is consistent between any two changes, so a poisoned lock is safe to use.
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A buffer of `len` values to overwrite: its contents can be left over from earlier use.
pub(crate) fn buffer(len: usize) -> Vec<f32> {
    if len < WORTH_KEEPING {
        return vec![0.0; len];
    }
    match free().take(len) {
        Some(mut buffer) => {
            buffer.resize(len, 0.0);
            buffer
        }
        None => huge_pages::zeros(len),
    }
}

/// Returns a buffer to the free list, for later calls of [`buffer`].
pub(crate) fn give_back(buffer: Vec<f32>) {
    if buffer.capacity() >= WORTH_KEEPING {
        // Buffers that leave the list are freed after it is unlocked.
        let _dropped = free().give(buffer);
    }
}

/// Limits the list to half of `bytes`, the memory that the work about to begin leaves free, and never beyond the
/// default limit.
pub(crate) fn keep_within(bytes: u64) {
    let values = usize::try_from(bytes / 2 / size_of::<f32>() as u64).unwrap_or(usize::MAX);
    free().most = values.min(VALUES_KEPT);
}

/// Frees the whole list, when no more work of the same sizes is expected.
pub(crate) fn drop_buffers() {
    let mut free = free();
    let dropped = std::mem::take(&mut free.buffers);
    free.values = 0;
    std::mem::drop(free);
    std::mem::drop(dropped);
}

impl Free {
    /// The smallest buffer that is long enough, if it is not much longer.
    fn take(&mut self, len: usize) -> Option<Vec<f32>> {
        let fits = |capacity: usize| capacity >= len && capacity <= len + len / 4;
        let found = self.buffers.iter().enumerate().filter(|(_, (buffer, _))| fits(buffer.capacity()));
        // Among equals the most recently used, which is most likely still in the cache.
        let (index, _) = found.min_by_key(|(_, (buffer, used))| (buffer.capacity(), u64::MAX - used))?;
        let (buffer, _) = self.buffers.swap_remove(index);
        self.values -= buffer.capacity();
        Some(buffer)
    }

    fn give(&mut self, buffer: Vec<f32>) -> Vec<Vec<f32>> {
        self.calls += 1;
        self.values += buffer.capacity();
        self.buffers.push((buffer, self.calls));
        let mut dropped = Vec::new();
        while let Some((index, (_, used))) = self.buffers.iter().enumerate().min_by_key(|(_, (_, used))| *used) {
            if self.calls - used <= CALLS_KEPT && self.values <= self.most {
                break;
            }
            let (buffer, _) = self.buffers.swap_remove(index);
            self.values -= buffer.capacity();
            dropped.push(buffer);
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Free {
        Free { buffers: Vec::new(), values: 0, calls: 0, most: VALUES_KEPT }
    }

    #[test]
    fn buffers_are_reused_for_similar_sizes_only() {
        let mut free = empty();
        free.give(vec![1.0; 40_000]);
        assert!(free.take(40_001).is_none() && free.take(20_000).is_none());
        assert_eq!(free.take(39_000).map(|buffer| buffer.len()), Some(40_000));
        assert!(free.take(39_000).is_none());
        assert_eq!(free.values, 0);
    }

    #[test]
    fn unused_buffers_are_dropped() {
        let mut free = empty();
        free.give(vec![1.0; 40_000]);
        for _ in 0..CALLS_KEPT {
            free.give(vec![1.0; 20_000]);
            free.take(20_000).expect("just given");
        }
        assert!(free.take(40_000).is_some());
        free.give(vec![1.0; 40_000]);
        for _ in 0..=CALLS_KEPT {
            free.give(vec![1.0; 20_000]);
            free.take(20_000).expect("just given");
        }
        assert!(free.take(40_000).is_none());
    }

    #[test]
    fn the_list_stays_within_its_limit() {
        let mut free = empty();
        // Untouched memory costs nothing.
        let dropped: usize = (0..5).map(|_| free.give(vec![0.0; VALUES_KEPT / 4]).len()).sum();
        assert_eq!((dropped, free.buffers.len(), free.values), (1, 4, VALUES_KEPT));
        free.most = VALUES_KEPT / 2;
        assert_eq!(free.give(vec![0.0; VALUES_KEPT / 4]).len(), 3);
    }

    #[test]
    fn a_buffer_has_the_requested_length() {
        for len in [0, 10, WORTH_KEEPING, WORTH_KEEPING + 100] {
            give_back(vec![1.0; WORTH_KEEPING + 200]);
            assert_eq!(buffer(len).len(), len);
        }
    }
}
