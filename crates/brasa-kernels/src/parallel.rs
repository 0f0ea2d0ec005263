//! Sharing work between the threads of the current rayon pool.
//!
//! A thread of the pool shares by rayon; any other thread computes with helpers (`team`), which costs less. Work is cut
//! into parts whose number depends only on the sizes and the number of threads, never on timing, and partial results are
//! combined in order: the same call gives the same bits every time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use super::simd::simd;
use super::team;
pub use super::team::give_helpers;

/// Floating-point operations below which a call stays on its own thread: with AVX-512 they take 6 µs, and sharing them
/// one or two.
const WORTH_SHARING: usize = 1_000_000;
/// Values that a pass over memory must touch before it is shared.
const LONG_PASS: usize = 1 << 15;

/// Number of threads that a call of `operations` floating-point operations should use.
pub fn threads_for(operations: usize) -> usize {
    if operations < WORTH_SHARING { 1 } else { rayon::current_num_threads().max(1) }
}

/// As [`threads_for`], for the products of a single row with a matrix: they run at the speed of memory, and an operation
/// takes four times as long.
pub fn threads_for_row(operations: usize) -> usize {
    threads_for(operations.saturating_mul(4))
}

/// Items per part for `threads` threads: four parts a thread, so that others can take over from one that is held up.
pub fn part_len(items: usize, threads: usize) -> usize {
    let parts = if threads <= 1 { 1 } else { 4 * threads };
    items.div_ceil(parts).max(1)
}

/// As [`part_len`], with fewer parts where they would have little to do: as many as threads at least. For results that do
/// not depend on where they are cut.
pub fn part_len_of(operations: usize, items: usize, threads: usize) -> usize {
    let parts = if threads <= 1 { 1 } else { (operations / WORTH_SHARING).clamp(threads, 4 * threads) };
    items.div_ceil(parts).max(1)
}

/// Calls `work` once for each task, on several threads if `threads` says so, and returns the results in the order of
/// the tasks.
pub fn each<T: Send, R: Send>(threads: usize, tasks: Vec<T>, work: impl Fn(T) -> R + Sync + Send) -> Vec<R> {
    if threads <= 1 || tasks.len() <= 1 {
        tasks.into_iter().map(work).collect()
    } else if team::has_helpers() {
        each_with_helpers(threads, tasks, work)
    } else {
        tasks.into_par_iter().with_max_len(1).map(work).collect()
    }
}

/// As [`each`], on this thread and helpers. A thread begins with the same share of the tasks in every call, as what it
/// reads may be in its cache from the call before, and goes on with what others have not begun.
fn each_with_helpers<T: Send, R: Send>(threads: usize, tasks: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    enum TaskCell<T, R> {
        Task(T),
        Taken,
        Done(R),
    }
    // No lock is held while `work` runs.
    fn lock<V>(cell: &Mutex<V>) -> MutexGuard<'_, V> {
        cell.lock().unwrap_or_else(PoisonError::into_inner)
    }
    let cells: Vec<Mutex<TaskCell<T, R>>> = tasks.into_iter().map(|task| Mutex::new(TaskCell::Task(task))).collect();
    let threads = threads.min(cells.len());
    team::together(threads - 1, &|thread| {
        let (others, own) = cells.split_at(thread % threads * cells.len() / threads);
        for cell in own.iter().chain(others) {
            let mut taken = lock(cell);
            if matches!(*taken, TaskCell::Task(_))
                && let TaskCell::Task(task) = std::mem::replace(&mut *taken, TaskCell::Taken)
            {
                drop(taken);
                let done = work(task);
                *lock(cell) = TaskCell::Done(done);
            }
        }
    });
    let done = cells.into_iter().map(|cell| match cell.into_inner().unwrap_or_else(PoisonError::into_inner) {
        TaskCell::Done(result) => result,
        TaskCell::Task(_) | TaskCell::Taken => unreachable!("a call returns when all tasks are done"),
    });
    done.collect()
}

/// Number of threads and values in one part for an elementwise pass over `len` values.
pub fn pass(len: usize) -> (usize, usize) {
    if len < LONG_PASS {
        (1, len.max(1))
    } else {
        let threads = rayon::current_num_threads().max(1);
        (threads, part_len(len, threads).next_multiple_of(64))
    }
}

/// `total[i] += parts[0][i] + parts[1][i] + …`, added in this order. `parts` holds contiguous parts of equal length.
pub fn add_parts(parts: &[f32], total: &mut [f32]) {
    if total.is_empty() {
        return;
    }
    let whole = total.len();
    assert_eq!(parts.len() % whole, 0, "parts must be as long as their total");
    let threads = pass(parts.len()).0;
    let step = part_len(whole, threads).next_multiple_of(64);
    let tasks = total.chunks_mut(step).enumerate().collect();
    each(threads, tasks, |(i, total): (usize, &mut [f32])| {
        for part in parts.chunks_exact(whole) {
            add(&part[i * step..][..total.len()], total);
        }
    });
}

simd! {
    /// `y += x`.
    pub fn add<I>(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }
}

simd! {
    /// Adds each row of `x` (rows of `sums.len()` values) to `sums`.
    pub fn add_rows<I>(x: &[f32], sums: &mut [f32]) {
        let width = sums.len();
        if width == 0 {
            return;
        }
        // Four rows at a time save three quarters of the traffic to and from the sums.
        let mut rows = x.chunks_exact(4 * width);
        for four in rows.by_ref() {
            let (a, rest) = four.split_at(width);
            let (b, rest) = rest.split_at(width);
            let (c, d) = rest.split_at(width);
            for i in 0..width {
                sums[i] += (a[i] + b[i]) + (c[i] + d[i]);
            }
        }
        for row in rows.remainder().chunks_exact(width) {
            for i in 0..width {
                sums[i] += row[i];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_tasks() {
        let tasks: Vec<usize> = (0..100).collect();
        assert_eq!(each(2, tasks.clone(), |i| i * i), tasks.iter().map(|i| i * i).collect::<Vec<_>>());
    }

    #[test]
    fn parts_cover_all_items() {
        for (items, threads) in [(1, 1), (1, 8), (128, 2), (129, 2), (7, 3)] {
            let len = part_len(items, threads);
            assert!(len * items.div_ceil(len) >= items && items.div_ceil(len) <= 4 * threads);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn parts_are_added() {
        let mut total = vec![1.0; 100_000];
        let parts: Vec<f32> = (0..300_000).map(|i| (i % 100_000) as f32).collect();
        add_parts(&parts, &mut total);
        assert!(total.iter().enumerate().all(|(i, t)| *t == 1.0 + 3.0 * i as f32));

        let mut few = vec![1.0; 100];
        add_parts(&parts[..100_000], &mut few);
        assert!(few.iter().enumerate().all(|(i, t)| *t == (0..1000).fold(1.0, |sum, p| sum + (100 * p + i) as f32)));
    }

    #[test]
    fn rows_are_summed() {
        let x: Vec<f32> = (0..7 * 5).map(|i| i as f32).collect();
        let mut sums = [100.0; 5];
        add_rows(&x, &mut sums);
        assert_eq!(sums, [205.0, 212.0, 219.0, 226.0, 233.0]);
    }
}
