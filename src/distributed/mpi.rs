//! Ranks that are processes started by `mpirun`.

use std::process;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ::mpi::Threading;
use ::mpi::collective::SystemOperation;
use ::mpi::datatype::Equivalence;
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::{Communicator as _, CommunicatorCollectives as _};

use super::{Communicator, reason};
use crate::error::{Error, Result};

/// The numbers of one exchange: MPI counts in 32 bits.
const AT_ONCE: usize = 1 << 24;

/// The time that a rank waits for the others while it polls without a pause, and the pause after that.
const BUSY: Duration = Duration::from_micros(200);
const PAUSE: Duration = Duration::from_micros(50);

/// The time that MPI has to end the processes before this one ends by itself: a host that is gone cannot answer.
const TO_END: Duration = Duration::from_secs(30);

/// The processes that `mpirun` has started.
///
/// One thread of its own makes all calls of MPI. A rank that [fails](Communicator::fail), or that waits longer than the
/// [limit](Self::limit) for the others, prints why and ends all processes with the exit code 1.
///
/// ```no_run
/// use std::sync::Arc;
/// use brasa::distributed::Mpi;
/// use brasa::prelude::*;
///
/// # fn main() -> brasa::Result<()> {
/// let ranks = Arc::new(Mpi::new()?);
/// # let mut model = Sequential::new();
/// # let data = Dataset::new(vec![0.0f32], vec![0.0f32])?;
/// model.fit(&data, Fit::new().epochs(5).distributed(ranks.clone()))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Mpi {
    rank: usize,
    size: usize,
    calls: Mutex<Option<Sender<Call>>>,
    thread: Option<JoinHandle<()>>,
    limit: Mutex<Duration>,
}

/// A call for the thread of MPI, with the place for its result.
#[derive(Debug)]
enum Call {
    Single(Vec<f32>, Duration, Sender<Vec<f32>>),
    Double(Vec<f64>, Duration, Sender<Vec<f64>>),
    Abort(String),
}

impl Mpi {
    /// Joins the processes that were started together. A process that was not started by `mpirun` is the only rank.
    ///
    /// # Errors
    /// [`Error::State`] if MPI is already in use in this process, or cannot be used from a thread.
    pub fn new() -> Result<Self> {
        let (calls, received) = channel();
        let (report, begun) = channel();
        let thread = thread::Builder::new().name("brasa-mpi".to_owned());
        let thread = thread.spawn(move || serve(&received, &report)).map_err(|source| Error::thread("MPI", source))?;
        let Ok((rank, size)) = begun.recv() else {
            return Err(Error::State {
                action: "MPI",
                needs: "used once in a process, from a thread of its own".into(),
            });
        };
        let limit = Mutex::new(Duration::from_secs(300));
        Ok(Self { rank, size, calls: Mutex::new(Some(calls)), thread: Some(thread), limit })
    }

    /// Sets the longest time that this rank waits for the others in one call (default: 300 s). A rank that compiles,
    /// decodes or writes for longer than that is taken for one that no longer answers.
    #[must_use]
    pub fn limit(self, limit: Duration) -> Self {
        *self.limit.lock().unwrap_or_else(PoisonError::into_inner) = limit;
        self
    }

    fn call<T>(&self, call: impl FnOnce(Duration, Sender<T>) -> Call) -> Result<T> {
        let limit = *self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        let (sender, result) = channel();
        if let Some(calls) = &*self.calls.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = calls.send(call(limit, sender));
        }
        result.recv().map_err(|_| Error::rank(self.rank, "MPI has ended"))
    }
}

impl Communicator for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_reduce(&self, numbers: &mut [f32]) -> Result<()> {
        let own = numbers.to_vec();
        numbers.copy_from_slice(&self.call(|limit, result| Call::Single(own, limit, result))?);
        Ok(())
    }

    fn all_reduce_f64(&self, numbers: &mut [f64]) -> Result<()> {
        let own = numbers.to_vec();
        numbers.copy_from_slice(&self.call(|limit, result| Call::Double(own, limit, result))?);
        Ok(())
    }

    fn fail(&self, error: &Error) {
        // Does not return: the thread ends the process.
        let _ = self.call::<()>(|_, _| Call::Abort(reason(self.rank, error)));
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        if thread::panicking() {
            // The others would wait for this rank.
            self.fail(&Error::rank(self.rank, "panicked"));
        }
        // The thread then ends, and with it MPI.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Initializes MPI, reports rank and size, and answers calls until there are no more.
fn serve(calls: &Receiver<Call>, report: &Sender<(usize, usize)>) {
    let Some((universe, level)) = ::mpi::initialize_with_threading(Threading::Funneled) else { return };
    if level < Threading::Funneled {
        return;
    }
    let world = universe.world();
    let number = |number: i32| usize::try_from(number).unwrap_or_default();
    if report.send((number(world.rank()), number(world.size()))).is_err() {
        return;
    }
    while let Ok(call) = calls.recv() {
        match call {
            Call::Single(numbers, limit, result) => drop(result.send(sum(&world, &numbers, limit))),
            Call::Double(numbers, limit, result) => drop(result.send(sum(&world, &numbers, limit))),
            Call::Abort(reason) => end_all(&world, &reason),
        }
    }
}

/// The sums over all ranks.
fn sum<T: Equivalence + Copy + Default>(world: &SimpleCommunicator, numbers: &[T], limit: Duration) -> Vec<T> {
    let mut sums = vec![T::default(); numbers.len()];
    for (own, sums) in numbers.chunks(AT_ONCE).zip(sums.chunks_mut(AT_ONCE)) {
        let begin = Instant::now();
        ::mpi::request::scope(|scope| {
            let mut request = world.immediate_all_reduce_into(scope, own, sums, SystemOperation::sum());
            while let Err(pending) = request.test() {
                request = pending;
                let waited = begin.elapsed();
                if waited > limit {
                    end_all(world, &format!("the other ranks have not answered within {} s", limit.as_secs_f32()));
                }
                if waited > BUSY {
                    thread::sleep(PAUSE);
                }
            }
        });
    }
    sums
}

/// Says why, and ends the processes of all ranks.
#[allow(clippy::print_stderr)] // No caller is left to say it.
fn end_all(world: &SimpleCommunicator, reason: &str) -> ! {
    eprintln!("error: rank {}: {reason}", world.rank());
    let _ = thread::Builder::new().spawn(|| {
        thread::sleep(TO_END);
        process::abort()
    });
    world.abort(1)
}
