//! `brasa bench --layers`: the time of each layer, and how near the machine's limit it is.

use brasa::backend::Backend;
use brasa::model::LayerTime;
use brasa::text::printable;
use brasa::{Error, Result};
use brasa_kernels::peak;
use serde::Serialize;
use serde_json::json;

use super::measure::{Workload, median, rates};
use super::{Bench, Compute, Task};
use crate::cli::output;

/// The number of samples in a step, unless said otherwise.
const BATCH: usize = 128;
/// Passes over the layers: at least so many, as long as `--seconds` says otherwise.
const LEAST: usize = 5;

/// The machine's limits.
#[derive(Clone, Copy, Debug, Serialize)]
struct Limit {
    /// Floating-point operations a second, all threads together.
    operations_per_second: f64,
    /// Bytes a second from and to main memory, all threads together.
    bytes_per_second: f64,
    threads: usize,
}

impl Limit {
    /// The share of the limit at which a step computes: the time that its arithmetic or its memory traffic alone would
    /// take, whichever is longer, by the time that it takes. Above 1 where values stay in caches, or where an algorithm
    /// needs less arithmetic than is counted.
    fn share(&self, time: &LayerTime) -> f64 {
        let arithmetic = time.operations as f64 / self.operations_per_second;
        let traffic = time.bytes as f64 / self.bytes_per_second;
        arithmetic.max(traffic) / seconds(time).max(1e-12)
    }
}

/// The seconds of both passes.
fn seconds(time: &LayerTime) -> f64 {
    time.forward_seconds + time.backward_seconds.unwrap_or(0.0)
}

impl Bench {
    /// Prints the times of all layers.
    pub(super) fn layers(&self) -> Result<()> {
        let backend = match self.backend {
            Some(backend) => Some(backend),
            None => Some(Backend::from_environment()?),
        };
        let (backend, device) = Compute::on(backend, self.threads).open()?;
        let limit = Limit {
            operations_per_second: peak::operations_per_second(),
            bytes_per_second: peak::bytes_per_second(),
            threads: rayon::current_num_threads(),
        };
        let batch_sizes = match self.batch_size.as_slice() {
            [] => vec![BATCH],
            asked => asked.iter().map(|size| size.get()).collect(),
        };
        let mut documents = Vec::new();
        for task in self.tasks()? {
            for batch_size in &batch_sizes {
                let given = self.data.as_ref().map(|path| super::data::read(path, *batch_size)).transpose()?;
                let mut model = self.load(&device)?;
                if let (Some(given), false) = (&given, model.is_built()) {
                    model.build(given.x().sample_shape().to_vec())?;
                }
                let mut work = match task {
                    Task::Train => Workload::train(model, given, *batch_size)?,
                    Task::Predict => Workload::predict(model, given, *batch_size)?,
                };
                let input = work.samples.take(*batch_size).x().into_ndarray();
                let inputs = [input.view()];
                let passes = |work: &Workload, repetitions: usize| match task {
                    Task::Train => work.model.time_training(&inputs, repetitions),
                    Task::Predict => work.model.time_prediction(&inputs, repetitions),
                };
                let first: f64 = passes(&work, 1)?.iter().map(seconds).sum();
                let repetitions = ((self.seconds / first.max(1e-9)) as usize).clamp(LEAST, 10_000);
                let times = passes(&work, repetitions)?;
                let rates = rates(*batch_size, self.seconds, 3, |steps| work.steps(steps))?;
                let step = *batch_size as f64 / median(&rates);
                if self.json {
                    documents.push(document(&times, task, (*batch_size, step), &limit, &backend));
                } else {
                    print(&times, task, (*batch_size, step), &limit)?;
                }
            }
        }
        if self.json { output::json(&json!(documents)) } else { Ok(()) }
    }
}

/// The measurement as JSON.
fn document(
    times: &[LayerTime],
    task: Task,
    (batch_size, step): (usize, f64),
    limit: &Limit,
    backend: &Backend,
) -> serde_json::Value {
    let attributed: f64 = times.iter().map(seconds).sum();
    let layers: Vec<_> = times
        .iter()
        .map(|time| {
            let mut layer = json!(time);
            layer["share_of_limit"] = json!(limit.share(time));
            layer
        })
        .collect();
    json!({
        "backend": backend.to_string(), "task": task.name(), "batch_size": batch_size, "limit": limit,
        "layers": layers, "seconds_of_layers": attributed, "seconds_of_step": step,
        "seconds_not_attributed": step - attributed,
    })
}

/// The columns of the table.
const HEADER: &str = "layer                          kernel                  forward, ms  backward, ms  share     GFLOP       MB  of limit";

/// A row of the table; `all` are the seconds of all layers.
fn row(time: &LayerTime, all: f64, limit: &Limit) -> String {
    let cut = |text: String, most: usize| match text.chars().count() > most {
        true => text.chars().take(most - 1).chain(['…']).collect(),
        false => text,
    };
    let backward = time.backward_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{:.3}", 1000.0 * seconds));
    let share = if seconds(time) > 0.0 { format!("{:.0} %", 100.0 * limit.share(time)) } else { "-".to_owned() };
    format!(
        "{:<29}  {:<22}  {:>11.3}  {backward:>12}  {:>3.0} %  {:>8.4}  {:>7.2}  {share:>8}",
        cut(printable(&time.layers.join(" + ")), 29),
        cut(time.kernels.join(" + "), 22),
        1000.0 * time.forward_seconds,
        100.0 * seconds(time) / all.max(1e-12),
        time.operations as f64 * 1e-9,
        time.bytes as f64 * 1e-6,
    )
}

fn print(times: &[LayerTime], task: Task, (batch_size, step): (usize, f64), limit: &Limit) -> Result<()> {
    let all: f64 = times.iter().map(seconds).sum();
    output::line(format!("{}, batches of {batch_size}", task.name()))?;
    output::line(HEADER)?;
    for time in times {
        output::line(row(time, all, limit))?;
    }
    let what = match task {
        Task::Train => "loss, metrics, optimizer, data; layers following each other",
        Task::Predict => "data; steps following each other",
    };
    output::line(format!(
        "layers {:.3} ms, a whole step {:.3} ms; not attributed {:.3} ms ({what})",
        1000.0 * all,
        1000.0 * step,
        1000.0 * (step - all),
    ))?;
    output::line(format!(
        "limit {:.0} GFLOP/s, {:.1} GB/s on {} threads",
        limit.operations_per_second * 1e-9,
        limit.bytes_per_second * 1e-9,
        limit.threads
    ))
}

/// Refuses options that belong to the measurement of whole steps.
pub(super) fn check(bench: &Bench) -> Result<()> {
    match bench.layers && bench.plot.is_some() {
        true => Err(Error::argument("--plot", "without --layers, which has no plot", "both")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_under_the_header_and_shares_are_of_the_limit() {
        let limit = Limit { operations_per_second: 1e11, bytes_per_second: 1e10, threads: 2 };
        let time = LayerTime {
            layers: vec!["conv2d".into(), "max_pooling2d".into(), "a_layer_of_a_very_long_name".into()],
            kernels: vec!["Conv".into()],
            forward_seconds: 0.001,
            backward_seconds: Some(0.003),
            operations: 200_000_000,
            bytes: 4_000_000,
        };
        let row = row(&time, 0.008, &limit);
        assert_eq!(row.chars().count(), HEADER.len(), "{HEADER}\n{row}");
        // 2 ms of arithmetic in 4 ms, which are half of all.
        assert!(row.ends_with("50 %") && row.contains("  50 %  "), "{row}");
        let traffic = LayerTime { bytes: 30_000_000, ..time };
        assert!((limit.share(&traffic) - 0.75).abs() < 1e-9);
    }
}
