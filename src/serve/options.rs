//! Options: limits, batching, keys.

use std::time::Duration;

use crate::error::{Error, Result};

/// Options of a [`Server`](super::Server). The defaults suit a small network on one machine.
///
/// ```
/// use brasa::serve::Options;
/// let options = Options { max_batch_size: 16, ..Options::default() };
/// assert_eq!((options.max_delay.as_millis(), options.max_inputs), (0, 1024));
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// The most samples that are computed at once: 64. Requests that wait are computed together up to it.
    pub max_batch_size: usize,
    /// How long a free worker waits for company of a request: not at all.
    pub max_delay: Duration,
    /// Threads that compute, for each model; 0 stands for one for each processor, up to 4.
    pub workers: usize,
    /// The largest body of a request, in bytes: 32 MiB.
    pub max_body_bytes: usize,
    /// The memory of all requests at once, in bytes: 512 MiB. What would be more is answered 429.
    pub max_bytes_at_once: usize,
    /// Requests for predictions at once: 256. What would be more is answered 429.
    pub max_requests: usize,
    /// The most samples of one request: 1024.
    pub max_inputs: usize,
    /// The time for one request, from its header to its answer: 30 seconds.
    pub timeout: Duration,
    /// How long a client may take to send a request's header, to send its body, or to take a MiB of an answer or all of
    /// it, and how long a connection may be idle: 60 seconds.
    pub client_timeout: Duration,
    /// Connections at once: 16384. More wait until one ends. Each is an open file, of which the system has to allow as
    /// many.
    pub max_connections: usize,
    /// How long requests may go on after the server is asked to end: 30 seconds.
    pub drain_timeout: Duration,
    /// How often the files of models are looked at for changes: every 2 seconds; zero for never.
    pub watch: Duration,
    /// The keys, one of which a request has to have as `Authorization: Bearer KEY`. None are needed where there are none.
    pub api_keys: Vec<String>,
    /// Whether each request is logged, as a line of JSON on standard error: no.
    pub access_log: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_batch_size: 64,
            max_delay: Duration::ZERO,
            workers: 0,
            max_body_bytes: 32 << 20,
            max_bytes_at_once: 512 << 20,
            max_requests: 256,
            max_inputs: 1024,
            timeout: Duration::from_secs(30),
            client_timeout: Duration::from_secs(60),
            max_connections: 16_384,
            drain_timeout: Duration::from_secs(30),
            watch: Duration::from_secs(2),
            api_keys: Vec::new(),
            access_log: false,
        }
    }
}

/// The shortest key: what is shorter can be tried out.
const SHORTEST_KEY: usize = 16;

impl Options {
    /// Refuses what nothing could be served with.
    pub(super) fn check(&self) -> Result<()> {
        let counts = [
            ("max_batch_size", self.max_batch_size),
            ("max_body_bytes", self.max_body_bytes),
            ("max_requests", self.max_requests),
            ("max_inputs", self.max_inputs),
            ("max_connections", self.max_connections),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(Error::argument(*name, "a number above 0", 0));
        }
        if self.max_bytes_at_once < self.max_body_bytes {
            let expected = format!("at least max_body_bytes, {}", self.max_body_bytes);
            return Err(Error::argument("max_bytes_at_once", expected, self.max_bytes_at_once));
        }
        for (name, time) in [("timeout", self.timeout), ("client_timeout", self.client_timeout)] {
            if time.is_zero() {
                return Err(Error::argument(name, "a time above 0", "0"));
            }
        }
        if let Some(key) = self.api_keys.iter().find(|key| key.len() < SHORTEST_KEY) {
            let expected = format!("keys of {SHORTEST_KEY} characters or more");
            return Err(Error::argument("api_keys", expected, format!("one of {}", key.len())));
        }
        if self.api_keys.iter().any(|key| !key.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Error::argument("api_keys", "keys of ASCII characters without spaces", "another"));
        }
        Ok(())
    }

    pub(super) fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, |count| count.get().min(4)),
            count => count,
        }
    }
}
