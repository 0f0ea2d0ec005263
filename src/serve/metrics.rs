//! Metrics in Prometheus's text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A phase of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Reading the body.
    Read,
    /// Parsing it.
    Decode,
    /// Waiting for a thread.
    Queue,
    /// Computing, with others in a batch.
    Compute,
    /// Writing the answer.
    Encode,
    /// All of it.
    Total,
}

const PHASES: [(Phase, &str); 6] = [
    (Phase::Read, "read"),
    (Phase::Decode, "decode"),
    (Phase::Queue, "queue"),
    (Phase::Compute, "compute"),
    (Phase::Encode, "encode"),
    (Phase::Total, "total"),
];

/// Upper bounds of latencies, in microseconds.
const MICROSECONDS: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000,
    30_000_000,
];

/// Upper bounds of batch sizes.
const SIZES: [u64; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// Numbers in ranges. The last is of what is above all bounds.
#[derive(Debug)]
struct Histogram<const N: usize> {
    counts: [AtomicU64; N],
    above: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        let counts = std::array::from_fn(|_| AtomicU64::new(0));
        Self { counts, above: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }
}

impl<const N: usize> Histogram<N> {
    fn add(&self, bounds: &[u64; N], value: u64) {
        let index = bounds.iter().position(|bound| value <= *bound);
        index.map_or(&self.above, |index| &self.counts[index]).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    fn write(&self, out: &mut String, name: &str, label: &str, bounds: &[u64; N], divisor: f64) {
        let mut count = 0;
        let comma = if label.is_empty() { "" } else { "," };
        for (bound, own) in bounds.iter().zip(&self.counts) {
            count += own.load(Ordering::Relaxed);
            let _ = writeln!(out, "{name}_bucket{{{label}{comma}le=\"{}\"}} {count}", *bound as f64 / divisor);
        }
        count += self.above.load(Ordering::Relaxed);
        let _ = writeln!(out, "{name}_bucket{{{label}{comma}le=\"+Inf\"}} {count}");
        let braces = if label.is_empty() { String::new() } else { format!("{{{label}}}") };
        let _ = writeln!(out, "{name}_sum{braces} {}", self.sum.load(Ordering::Relaxed) as f64 / divisor);
        let _ = writeln!(out, "{name}_count{braces} {count}");
    }
}

/// Labels of a request: route, model, status.
type Asked = (&'static str, String, u16);

/// All metrics.
#[derive(Debug)]
pub(super) struct Metrics {
    started: Instant,
    requests: Mutex<BTreeMap<Asked, u64>>,
    reloads: Mutex<BTreeMap<(String, bool), u64>>,
    phases: [Histogram<16>; 6],
    batches: Histogram<11>,
    waiting: AtomicI64,
    in_flight: AtomicI64,
    connections: AtomicI64,
    skipped: AtomicU64,
    log_lost: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            requests: Mutex::default(),
            reloads: Mutex::default(),
            phases: Default::default(),
            batches: Histogram::default(),
            waiting: AtomicI64::new(0),
            in_flight: AtomicI64::new(0),
            connections: AtomicI64::new(0),
            skipped: AtomicU64::new(0),
            log_lost: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    /// Counts a response. Unknown models have no label: the number of labels would be unbounded.
    pub fn answered(&self, route: &'static str, model: &str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((route, model.to_owned(), status)).or_default() += 1;
    }

    pub fn reloaded(&self, model: &str, worked: bool) {
        let mut reloads = self.reloads.lock().unwrap_or_else(PoisonError::into_inner);
        *reloads.entry((model.to_owned(), worked)).or_default() += 1;
    }

    pub fn took(&self, phase: Phase, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.phases[phase as usize].add(&MICROSECONDS, micros);
    }

    pub fn batch(&self, rows: usize) {
        self.batches.add(&SIZES, rows as u64);
    }

    pub fn waits(&self, more: i64) {
        self.waiting.fetch_add(more, Ordering::Relaxed);
    }

    pub fn in_flight(&self, more: i64) {
        self.in_flight.fetch_add(more, Ordering::Relaxed);
    }

    pub fn connected(&self, more: i64) {
        self.connections.fetch_add(more, Ordering::Relaxed);
    }

    /// A request whose client has gone was not computed.
    pub fn skipped(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    pub fn log_lost(&self) {
        self.log_lost.fetch_add(1, Ordering::Relaxed);
    }

    /// As Prometheus reads it; `request_bytes` is what requests take of the memory for them.
    pub fn text(&self, request_bytes: usize) -> String {
        let mut out = String::with_capacity(1 << 13);
        let header = |out: &mut String, name: &str, kind: &str, help: &str| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        };
        header(&mut out, "brasa_requests_total", "counter", "Requests by route, model and status.");
        for ((route, model, status), count) in &*self.requests.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(
                out,
                "brasa_requests_total{{route=\"{route}\",model=\"{model}\",status=\"{status}\"}} {count}"
            );
        }
        header(&mut out, "brasa_request_seconds", "histogram", "Time of predictions by phase.");
        for ((_, name), histogram) in PHASES.iter().zip(&self.phases) {
            let label = format!("phase=\"{name}\"");
            histogram.write(&mut out, "brasa_request_seconds", &label, &MICROSECONDS, 1e6);
        }
        header(&mut out, "brasa_batch_samples", "histogram", "Samples that were computed at once.");
        self.batches.write(&mut out, "brasa_batch_samples", "", &SIZES, 1.0);
        header(&mut out, "brasa_reloads_total", "counter", "Model reloads by result.");
        for ((model, worked), count) in &*self.reloads.lock().unwrap_or_else(PoisonError::into_inner) {
            let result = if *worked { "switched" } else { "refused" };
            let _ = writeln!(out, "brasa_reloads_total{{model=\"{model}\",result=\"{result}\"}} {count}");
        }
        let counters = [
            ("brasa_skipped_total", &self.skipped, "Requests that were not computed as their clients had gone."),
            ("brasa_log_lost_total", &self.log_lost, "Access-log lines dropped."),
        ];
        for (name, counter, help) in counters {
            header(&mut out, name, "counter", help);
            let _ = writeln!(out, "{name} {}", counter.load(Ordering::Relaxed));
        }
        let gauges = [
            ("brasa_queue_requests", self.waiting.load(Ordering::Relaxed), "Requests that wait for a thread."),
            ("brasa_in_flight_requests", self.in_flight.load(Ordering::Relaxed), "Predictions in flight."),
            ("brasa_connections", self.connections.load(Ordering::Relaxed), "Open connections."),
            (
                "brasa_request_bytes",
                i64::try_from(request_bytes).unwrap_or(i64::MAX),
                "Bytes of the request memory budget in use.",
            ),
        ];
        for (name, value, help) in gauges {
            header(&mut out, name, "gauge", help);
            let _ = writeln!(out, "{name} {value}");
        }
        if let Some(bytes) = resident_bytes() {
            header(&mut out, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.");
            let _ = writeln!(out, "process_resident_memory_bytes {bytes}");
        }
        header(&mut out, "brasa_uptime_seconds", "gauge", "Time since the server began.");
        let _ = writeln!(out, "brasa_uptime_seconds {}", self.started.elapsed().as_secs_f64());
        out
    }
}

/// The memory of this process, where the system tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_count_what_is_below_them() {
        let metrics = Metrics::default();
        for micros in [40, 50, 60, 40_000_000] {
            metrics.took(Phase::Decode, Duration::from_micros(micros));
        }
        metrics.answered("/v1", "digits", 200);
        metrics.batch(3);
        let text = metrics.text(7);
        for line in [
            r#"brasa_request_seconds_bucket{phase="decode",le="0.00005"} 2"#,
            r#"brasa_request_seconds_bucket{phase="decode",le="0.0001"} 3"#,
            r#"brasa_request_seconds_bucket{phase="decode",le="30"} 3"#,
            r#"brasa_request_seconds_bucket{phase="decode",le="+Inf"} 4"#,
            r#"brasa_request_seconds_count{phase="decode"} 4"#,
            r#"brasa_requests_total{route="/v1",model="digits",status="200"} 1"#,
            r#"brasa_batch_samples_bucket{le="4"} 1"#,
            "brasa_batch_samples_sum 3",
            "brasa_request_bytes 7",
        ] {
            assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        }
    }
}
