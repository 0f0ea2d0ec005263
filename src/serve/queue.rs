//! Dynamic batching: a free worker takes all waiting requests, up to the largest batch.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ndarray::{ArrayD, Axis, Slice};
use tokio::sync::oneshot;

use super::block::Block;
use super::budget::RequestLimits;
use super::engine::Engine;
use super::fault::{Fault, FaultResult};
use super::metrics::Metrics;
use super::options::Options;
use crate::error::{Error, Result};

/// The result of a request.
#[derive(Debug)]
pub(super) struct Done {
    pub outputs: Vec<Output>,
    /// How long it waited, and how long it was computed.
    pub waited: Duration,
    pub computed: Duration,
}

/// The values of one output, samples first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Output {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

impl Output {
    fn of(array: ArrayD<f32>) -> Self {
        let shape = array.shape().to_vec();
        let values = if array.is_standard_layout() {
            let start = array.len();
            let (values, offset) = array.into_raw_vec_and_offset();
            // A part of a batch shares no memory with the rest.
            if offset.unwrap_or(0) == 0 && values.len() == start {
                values
            } else {
                values[offset.unwrap_or(0)..][..start].to_vec()
            }
        } else {
            array.iter().copied().collect()
        };
        Self { shape, values }
    }

    /// The values of one sample.
    pub fn row(&self, row: usize) -> &[f32] {
        let width: usize = self.shape.iter().skip(1).product();
        &self.values[row * width..(row + 1) * width]
    }
}

/// A request.
struct Job {
    inputs: Vec<Block>,
    rows: usize,
    reply: oneshot::Sender<FaultResult<Done>>,
    since: Instant,
    /// Its memory and its permit, held until it is answered or nobody waits for it.
    held: RequestLimits,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    rows: usize,
    /// No more are taken; the threads end once nothing waits.
    closed: bool,
}

/// A queue with its worker threads.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    engine: Engine,
    max_batch: usize,
    /// Whether requests may share a batch, and the samples of one be in several.
    can_batch: bool,
    delay: Duration,
    metrics: Arc<Metrics>,
}

/// A request in the queue, as whoever asks sees it.
struct Ticket<'a> {
    queue: &'a Queue,
    answer: oneshot::Receiver<FaultResult<Done>>,
    waits: bool,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.waits {
            self.answer.close();
            self.queue.forget();
        }
    }
}

impl Queue {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`Error::Thread`] if the system gives none.
    pub fn start(engine: Engine, can_batch: bool, options: &Options, metrics: Arc<Metrics>) -> Result<Arc<Self>> {
        let queue = Arc::new(Self {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            engine,
            max_batch: options.max_batch_size,
            can_batch,
            delay: options.max_delay,
            metrics,
        });
        for _ in 0..options.worker_count() {
            let own = queue.clone();
            let thread = std::thread::Builder::new().name("brasa-serve".into());
            if let Err(source) = thread.spawn(move || own.work()) {
                queue.close();
                return Err(Error::Thread { purpose: "the server", source: source.into() });
            }
        }
        Ok(queue)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the threads end once nothing waits.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Computes the outputs, possibly in a batch with other requests. Dropping the future cancels a waiting request.
    pub async fn run(&self, inputs: Vec<Block>, held: RequestLimits) -> FaultResult<Done> {
        let (reply, answer) = oneshot::channel();
        let rows = inputs.first().map_or(0, |block| block.rows);
        {
            let mut waiting = self.lock();
            if waiting.closed {
                return Err(Fault::busy("the model is being replaced; try again"));
            }
            waiting.rows += rows;
            waiting.jobs.push_back(Job { inputs, rows, reply, since: Instant::now(), held });
            self.metrics.waits(1);
        }
        self.changed.notify_one();
        let mut ticket = Ticket { queue: self, answer, waits: true };
        let answered = (&mut ticket.answer).await;
        ticket.waits = false;
        answered.unwrap_or_else(|_| Err(Fault::internal("the worker thread has stopped")))
    }

    /// Drops the requests that nobody waits for any more.
    fn forget(&self) {
        let mut waiting = self.lock();
        let mut rows = 0;
        waiting.jobs.retain(|job| {
            let gone = job.reply.is_closed();
            if gone {
                rows += job.rows;
                self.metrics.waits(-1);
                self.metrics.skipped();
            }
            !gone
        });
        waiting.rows -= rows;
    }

    fn work(&self) {
        while let Some(jobs) = self.take() {
            self.compute(jobs);
        }
    }

    /// The next batch: compatible waiting requests in order; `None` at shutdown.
    fn take(&self) -> Option<Vec<Job>> {
        let mut waiting = self.lock();
        loop {
            waiting = self
                .changed
                .wait_while(waiting, |waiting| waiting.jobs.is_empty() && !waiting.closed)
                .unwrap_or_else(PoisonError::into_inner);
            let first = waiting.jobs.front()?;
            let left = self.delay.saturating_sub(first.since.elapsed());
            if !left.is_zero() && waiting.rows < self.max_batch && self.can_batch && !waiting.closed {
                waiting = self
                    .changed
                    .wait_timeout(waiting, left)
                    .map_or_else(|error| error.into_inner().0, |(waiting, _)| waiting);
                continue;
            }
            let jobs = self.batch(&mut waiting);
            if !waiting.jobs.is_empty() {
                self.changed.notify_one();
            }
            if !jobs.is_empty() {
                return Some(jobs);
            }
        }
    }

    fn batch(&self, waiting: &mut Waiting) -> Vec<Job> {
        let mut jobs: Vec<Job> = Vec::new();
        let mut rows = 0;
        while let Some(job) = waiting.jobs.front() {
            let gone = job.reply.is_closed();
            let goes = jobs.first().is_none_or(|first: &Job| {
                self.can_batch
                    && rows + job.rows <= self.max_batch
                    && first.inputs.iter().zip(&job.inputs).all(|(a, b)| a.goes_with(b))
            });
            if !gone && !goes {
                break;
            }
            let Some(job) = waiting.jobs.pop_front() else { break };
            waiting.rows -= job.rows;
            self.metrics.waits(-1);
            if gone {
                self.metrics.skipped();
                continue;
            }
            rows += job.rows;
            jobs.push(job);
        }
        jobs
    }

    /// Computes a batch, and answers each request in it. Where it fails, each is computed alone: others are no part of
    /// what is wrong with one.
    fn compute(&self, mut jobs: Vec<Job>) {
        let begun = Instant::now();
        if let [_] = &jobs[..] {
            if let Some(job) = jobs.pop() {
                self.alone(job, begun);
            }
            return;
        }
        let rows: usize = jobs.iter().map(|job| job.rows).sum();
        let mut joined = jobs[0].inputs.clone();
        for job in &jobs[1..] {
            joined.iter_mut().zip(&job.inputs).for_each(|(own, more)| own.append(&mut more.clone()));
        }
        match self.outputs(joined, rows, &|| jobs.iter().any(|job| !job.reply.is_closed())) {
            Ok(outputs) => {
                let mut start = 0;
                for job in jobs {
                    let part = |output: &ArrayD<f32>| {
                        output.slice_axis(Axis(0), Slice::from(start..start + job.rows)).to_owned()
                    };
                    let outputs = outputs.iter().map(part).collect();
                    start += job.rows;
                    job.answer(begun, Ok(outputs));
                }
            }
            Err(_) => {
                jobs.into_iter().for_each(|job| self.alone(job, begun));
            }
        }
    }

    fn alone(&self, mut job: Job, begun: Instant) {
        if job.reply.is_closed() {
            self.metrics.skipped();
            return;
        }
        let inputs = std::mem::take(&mut job.inputs);
        let outputs = self.outputs(inputs, job.rows, &|| !job.reply.is_closed());
        job.answer(begun, outputs);
    }

    /// The outputs for so many samples, computed in batches; whatever happens in there, the thread goes on.
    fn outputs(&self, inputs: Vec<Block>, rows: usize, is_wanted: &dyn Fn() -> bool) -> FaultResult<Vec<ArrayD<f32>>> {
        let run = |inputs: Vec<Block>, rows: usize| -> FaultResult<Vec<ArrayD<f32>>> {
            self.metrics.batch(rows);
            let outputs = catch_unwind(AssertUnwindSafe(|| self.engine.run(inputs, is_wanted)));
            let outputs = outputs.map_err(|_| Fault::internal("the computation panicked"))??;
            match outputs.iter().find(|output| output.ndim() == 0 || output.len_of(Axis(0)) != rows) {
                Some(output) => {
                    let shape = output.shape();
                    let message =
                        format!("expected an output for each of {rows} samples, the model gave shape {shape:?}");
                    Err(Fault::internal(message))
                }
                None => Ok(outputs),
            }
        };
        if rows <= self.max_batch || !self.can_batch {
            return run(inputs, rows);
        }
        let mut parts: Vec<Vec<ArrayD<f32>>> = Vec::new();
        for start in (0..rows).step_by(self.max_batch) {
            let count = self.max_batch.min(rows - start);
            let inputs = inputs.iter().map(|block| block.part(start, count)).collect();
            let outputs = run(inputs, count)?;
            parts.resize_with(outputs.len(), Vec::new);
            parts.iter_mut().zip(outputs).for_each(|(parts, output)| parts.push(output));
        }
        let join = |parts: Vec<ArrayD<f32>>| {
            let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
            ndarray::concatenate(Axis(0), &views)
                .map_err(|_| Fault::internal("the outputs of a request have different sizes"))
        };
        parts.into_iter().map(join).collect()
    }
}

impl Job {
    fn answer(self, begun: Instant, outputs: FaultResult<Vec<ArrayD<f32>>>) {
        let Self { inputs, reply, since, held, .. } = self;
        let (waited, computed) = (begun.saturating_duration_since(since), begun.elapsed());
        let of = |outputs: Vec<ArrayD<f32>>| outputs.into_iter().map(Output::of).collect();
        let done = outputs.map(|outputs| Done { outputs: of(outputs), waited, computed });
        // Its permit is free when its answer is there.
        drop((inputs, held));
        // Whoever asked may be gone.
        let _ = reply.send(done);
    }
}
