//! Workspace that each thread keeps between calls, so that kernels do not ask the system for fresh pages at every step.

use std::cell::RefCell;

use super::aligned::Aligned;

/// Buffers kept by one thread; more are dropped.
const KEPT: usize = 8;
/// Values (4 bytes each) kept by one thread in all its buffers together: 64 MiB.
const VALUES_KEPT: usize = 16 << 20;

thread_local! {
    static FREE: RefCell<Vec<Aligned>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with a workspace of `len` values, whose contents are left over from earlier use.
pub fn with<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    // A buffer in use is off the free list: a thread that waits for others can start another task meanwhile.
    let mut buffer = take(len);
    if buffer.len() < len {
        // Freed before a longer one is allocated.
        drop(buffer);
        buffer = Aligned::zeros(len);
    }
    let result = work(&mut buffer[..len]);
    give_back(buffer);
    result
}

/// As [`with`], filled with zeros.
pub fn with_zeros<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    with(len, |buffer| {
        buffer.fill(0.0);
        work(buffer)
    })
}

/// The smallest free buffer that is long enough, else the longest one.
fn take(len: usize) -> Aligned {
    FREE.with_borrow_mut(|free| {
        let fits = free.iter().enumerate().filter(|(_, b)| b.len() >= len).min_by_key(|(_, b)| b.len());
        let best = fits.or_else(|| free.iter().enumerate().max_by_key(|(_, b)| b.len())).map(|(i, _)| i);
        best.map(|i| free.swap_remove(i)).unwrap_or_default()
    })
}

fn give_back(buffer: Aligned) {
    if buffer.len() > VALUES_KEPT {
        return;
    }
    FREE.with_borrow_mut(|free| {
        free.push(buffer);
        while free.len() > KEPT || free.iter().map(|buffer| buffer.len()).sum::<usize>() > VALUES_KEPT {
            let Some((shortest, _)) = free.iter().enumerate().min_by_key(|(_, b)| b.len()) else { return };
            free.swap_remove(shortest);
        }
    });
}

/// Values in the free list of this thread.
#[cfg(test)]
pub fn kept() -> usize {
    FREE.with_borrow(|free| free.iter().map(|buffer| buffer.len()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_uses_do_not_share_memory() {
        with(10, |a| {
            a.fill(1.0);
            with_zeros(20, |b| b.fill(2.0));
            assert!(a.iter().all(|v| *v == 1.0));
        });
    }

    #[test]
    fn buffers_are_reused() {
        let first = with(1000, |a| a.as_ptr());
        let second = with(900, |a| (a.as_ptr(), a.len()));
        assert_eq!(second, (first, 900));
    }

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn free_list_is_bounded() {
        for i in 0..3 * KEPT {
            with(VALUES_KEPT / 4, |_| with(VALUES_KEPT / 2, |_| with(i + 1, |_| ())));
        }
        with(VALUES_KEPT + 1, |_| ());
        FREE.with_borrow(|free| {
            assert!(free.len() <= KEPT && free.iter().map(|buffer| buffer.len()).sum::<usize>() <= VALUES_KEPT);
        });
    }
}
