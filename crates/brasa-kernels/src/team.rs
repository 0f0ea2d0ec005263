//! Helpers for a call: threads that spin between one call and the next.
//!
//! Work from outside of a rayon pool costs two wake-ups, one of a worker and one of the caller: 17 to 20 µs on two
//! virtual cores, as much as a kernel of a small network takes. Here the caller computes, too, and finds helpers that
//! are still awake from its last call within a microsecond. One that has had no work for [`PATIENCE`] sleeps until it is
//! asked for. A caller never waits for a helper that has not begun, and a helper runs nothing but parts of calls, so
//! that a caller may hold locks. (A thread of a rayon pool takes any task of the pool while it waits.)
//!
//! Callers share the helpers: each publishes its work as one of a few jobs, and helpers look for jobs that are open.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::hint;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long a helper spins without work: longer than the gaps within a step of training.
const PATIENCE: Duration = Duration::from_micros(200);
/// Looks for work between two looks at the clock.
const LOOKS: u32 = 64;
/// How often a caller looks whether its helpers are done before it lets other threads run.
const LOOKS_BEFORE_YIELDING: u32 = 1 << 10;
/// Calls that can have helpers at the same time.
const JOBS_MOST: usize = 8;
/// Helpers of a process.
const HELPERS_MOST: usize = 255;

/// Set in the state of a job whose work can be joined.
const OPEN: usize = 1 << 15;
/// The helpers at work in a job, in its state.
const HELPERS: usize = OPEN - 1;
/// One more work in the same job: the bits above are its number.
const NEXT: usize = OPEN << 1;

static JOB: [Job; JOBS_MOST] = [const { Job::new() }; JOBS_MOST];
static HELPER: [Helper; HELPERS_MOST] = [const { Helper::new() }; HELPERS_MOST];

thread_local! {
    static HAS_HELPERS: Cell<bool> = const { Cell::new(false) };
}

/// Gives this thread helpers although it is a member of a rayon pool: for the thread that has made the pool and seldom
/// runs its tasks (`rayon::ThreadPoolBuilder::use_current_thread`).
pub fn give_helpers() {
    HAS_HELPERS.set(true);
}

/// Whether calls from this thread have helpers: those from a thread of a rayon pool share their work by rayon.
pub fn has_helpers() -> bool {
    HAS_HELPERS.get() || rayon::current_thread_index().is_none()
}

/// The work of one caller. On a cache line of its own, as helpers poll it.
#[repr(align(128))]
struct Job {
    /// Whether a caller has it.
    taken: AtomicBool,
    /// The number of the work, whether it is open, the helpers in it.
    state: AtomicUsize,
    /// The greatest number of a helper that may join.
    most: AtomicUsize,
    /// Written by the caller while closed and without helpers; read by helpers that have entered.
    work: UnsafeCell<Option<&'static (dyn Fn(usize) + Sync)>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `work` is written while no other thread can read it (see there), and what it refers to is `Sync`.
unsafe impl Sync for Job {}

impl Job {
    const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            state: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            work: UnsafeCell::new(None),
            panic: Mutex::new(None),
        }
    }

    /// Runs the job's work as thread `number` if it is open and not the work `seen`; returns whether it has.
    fn help(&self, number: usize, seen: &mut usize) -> bool {
        let state = self.state.load(Ordering::Acquire);
        if state & OPEN == 0 || state / NEXT == *seen || number > self.most.load(Ordering::Relaxed) {
            return false;
        }
        if self.state.compare_exchange(state, state + 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return false;
        }
        *seen = state / NEXT;
        // SAFETY: the caller wrote it before it opened the job, and waits for this helper before it writes again or
        // returns.
        if let Some(work) = unsafe { *self.work.get() }
            && let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(number)))
        {
            match &mut *self.panic.lock().unwrap_or_else(PoisonError::into_inner) {
                first @ None => *first = Some(panic),
                // Dropping it could panic, and the caller waits for this thread.
                Some(_) => std::mem::forget(panic),
            }
        }
        self.state.fetch_sub(1, Ordering::Release);
        true
    }
}

/// A job that a caller has; dropping it closes it, waits for the helpers in it, and frees it.
struct Taken<'a>(&'a Job);

impl Taken<'_> {
    /// Lets no more helpers in, and waits for those that are.
    fn close(&self) {
        self.0.state.fetch_and(!OPEN, Ordering::Relaxed);
        let mut looks = 0u32;
        while self.0.state.load(Ordering::Acquire) & HELPERS != 0 {
            hint::spin_loop();
            looks = looks.saturating_add(1);
            // Only if the system has taken a helper's processor away.
            if looks > LOOKS_BEFORE_YIELDING {
                thread::yield_now();
            }
        }
    }

    /// The panic of a helper.
    fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        self.0.panic.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.close();
        drop(self.take_panic());
        // SAFETY: closed, and no helper is in it.
        unsafe { *self.0.work.get() = None };
        self.0.taken.store(false, Ordering::Release);
    }
}

/// Calls `work` on this thread and, at the same time, on up to `helpers` other threads, each at most once.
/// Returns when all calls have ended; helpers that were too late do not call. A call gets the number of its thread: 0 for
/// this one, the same from 1 on for the same helper every time. A panic of any call is passed on.
pub fn together(helpers: usize, work: &(dyn Fn(usize) + Sync)) {
    let is_free = |job: &&Job| !job.taken.load(Ordering::Relaxed) && !job.taken.swap(true, Ordering::Acquire);
    let Some(job) = JOB.iter().find(is_free) else { return work(0) };
    let taken = Taken(job);
    // SAFETY: the job is closed and no helper is in it, as it was not taken. Only helpers use the longer lifetime, and
    // `taken` waits for them before `work` ends, by a panic too.
    unsafe {
        *job.work.get() = Some(std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(work));
    }
    job.most.store(helpers, Ordering::Relaxed);
    let number = job.state.load(Ordering::Relaxed) / NEXT;
    job.state.store(number.wrapping_add(1).wrapping_mul(NEXT) | OPEN, Ordering::Release);
    ask_for(helpers.min(HELPERS));
    work(0);
    taken.close();
    if let Some(panic) = taken.take_panic() {
        drop(taken);
        resume_unwind(panic);
    }
}

/// Wakes the first `wanted` helpers, those that sleep; starts them where there are none yet.
fn ask_for(wanted: usize) {
    for (index, helper) in HELPER.iter().enumerate().take(wanted) {
        // (A load of what seldom changes is cheaper than an exchange.)
        if helper.is_awake.load(Ordering::Relaxed) || helper.is_awake.swap(true, Ordering::AcqRel) {
            continue;
        }
        match helper.thread.get() {
            Some(thread) => thread.unpark(),
            None => helper.start(index + 1),
        }
    }
}

/// A thread that helps.
struct Helper {
    thread: OnceLock<Thread>,
    /// Set by the caller that wakes or starts it.
    is_awake: AtomicBool,
}

impl Helper {
    const fn new() -> Self {
        Self { thread: OnceLock::new(), is_awake: AtomicBool::new(false) }
    }

    /// Where the system refuses another thread, it counts as awake, and callers compute without it.
    fn start(&'static self, number: usize) {
        let _ = thread::Builder::new().name("brasa-helper".into()).spawn(move || self.run(number));
    }

    fn run(&self, number: usize) {
        let _ = self.thread.set(thread::current());
        let mut seen = [0; JOBS_MOST];
        loop {
            help(number, &mut seen);
            self.is_awake.store(false, Ordering::Release);
            while !self.is_awake.load(Ordering::Acquire) {
                thread::park();
            }
        }
    }
}

/// Helps as thread `number` until there has been no work for a while; `seen` has the number of the last work of each job.
fn help(number: usize, seen: &mut [usize; JOBS_MOST]) {
    let mut idle = Instant::now();
    while idle.elapsed() < PATIENCE {
        for _ in 0..LOOKS {
            let has_helped = JOB.iter().zip(&mut *seen).any(|(job, seen)| job.help(number, seen));
            if has_helped {
                idle = Instant::now();
            } else {
                hint::spin_loop();
            }
        }
        // For threads that wait for a processor.
        thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds `1..=count` by work that is called on several threads.
    fn sum(count: usize) -> usize {
        let (next, total) = (AtomicUsize::new(1), AtomicUsize::new(0));
        together(3, &|_| {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number > count {
                    break;
                }
                total.fetch_add(number, Ordering::Relaxed);
            }
        });
        total.into_inner()
    }

    #[test]
    fn everything_is_done_when_a_call_returns() {
        for count in 0..if cfg!(miri) { 20 } else { 3000 } {
            assert_eq!(sum(count), count * (count + 1) / 2);
        }
    }

    #[test]
    fn callers_work_at_the_same_time() {
        // More callers than jobs.
        thread::scope(|scope| {
            for _ in 0..2 * JOBS_MOST {
                scope.spawn(|| {
                    (0..if cfg!(miri) { 5 } else { 500 })
                        .for_each(|count| assert_eq!(sum(count), count * (count + 1) / 2))
                });
            }
        });
    }

    #[test]
    fn a_call_within_a_call_ends() {
        let total = AtomicUsize::new(0);
        let is_first = AtomicBool::new(true);
        together(2, &|_| {
            if is_first.swap(false, Ordering::Relaxed) {
                total.fetch_add(sum(100), Ordering::Relaxed);
            }
        });
        assert_eq!(total.into_inner(), 5050);
    }

    #[test]
    fn a_panic_is_passed_on_from_any_thread() {
        let caller = thread::current().id();
        for on_caller in [true, false] {
            // A helper may be late, or help others.
            let is_passed_on = (0..1000).any(|_| {
                let begin = Instant::now();
                let is_helped = AtomicBool::new(false);
                let result = catch_unwind(AssertUnwindSafe(|| {
                    together(1, &|_| {
                        if (thread::current().id() == caller) == on_caller {
                            is_helped.store(true, Ordering::Release);
                            panic!("a part that fails");
                        }
                        while !is_helped.load(Ordering::Acquire) && begin.elapsed() < Duration::from_millis(20) {
                            thread::yield_now();
                        }
                    });
                }));
                result.is_err()
            });
            assert!(is_passed_on);
            assert_eq!(sum(10), 55);
        }
    }
}
