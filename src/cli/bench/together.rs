//! `brasa bench --distributed`: how fast several processes train together.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use brasa::backend::Backend;
use brasa::callbacks::LambdaCallback;
use brasa::datasets::Dataset;
use brasa::distributed::{Communicator, Pace, Timed, Traffic, together};
use brasa::formats::{Limits, read_text};
use brasa::text::with_commas;
use brasa::training::{Fit, Verbosity};
use brasa::{Error, Model, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::measure::{Workload, median};
use super::{Bench, Compute, Task, data};
use crate::cli::output;
use crate::cli::ranks::Peers;

/// The result of a measurement; the guide describes the keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Together {
    backend: String,
    task: Task,
    ranks: usize,
    /// Threads of one rank.
    threads: usize,
    /// Samples in a step of all ranks.
    batch_size: usize,
    /// The median of the repetitions.
    samples_per_second: f64,
    samples_per_second_per_rank: f64,
    /// The slowest and the fastest repetition.
    samples_per_second_min: f64,
    samples_per_second_max: f64,
    repetitions: usize,
    milliseconds_per_step: f64,
    /// The part of a step in which the ranks, on average, exchange or wait for slower ones.
    exchanging: f64,
    /// The same of the slowest rank, which waits least.
    exchanging_slowest: f64,
    slowest_rank: usize,
    /// How much longer the slowest rank computes in a step than the mean.
    lag_milliseconds: f64,
    exchanges_per_step: f64,
    /// The bytes that each rank adds to the sums.
    bytes_per_step: f64,
    /// By the baseline, if one was given.
    efficiency: Option<f64>,
}

/// The columns of the table.
const HEADER: &str = "ranks  batch    samples/s     per rank      slowest      fastest     ms/step  exchanging  lag, ms  slowest  efficiency";

impl Together {
    fn row(&self) -> String {
        let whole = |value: f64| with_commas(value.round() as usize);
        let efficiency = self.efficiency.map_or_else(|| "-".to_owned(), |part| format!("{:.1} %", 100.0 * part));
        format!(
            "{:>5}  {:>5}  {:>11}  {:>11}  {:>11}  {:>11}  {:>10.3}  {:>8.1} %  {:>7.3}  {:>7}  {efficiency:>10}",
            self.ranks,
            self.batch_size,
            whole(self.samples_per_second),
            whole(self.samples_per_second_per_rank),
            whole(self.samples_per_second_min),
            whole(self.samples_per_second_max),
            self.milliseconds_per_step,
            100.0 * self.exchanging,
            self.lag_milliseconds,
            self.slowest_rank,
        )
    }

    /// The samples a second of one rank with the same batch or, if that was not measured, with as large a part of it.
    fn alone(&self, baseline: &[Self]) -> Option<f64> {
        let of = |batch_size: usize| baseline.iter().find(|one| one.ranks == 1 && one.batch_size == batch_size);
        let part = || of(self.batch_size / self.ranks).filter(|_| self.batch_size.is_multiple_of(self.ranks));
        of(self.batch_size).or_else(part).map(|one| one.samples_per_second)
    }
}

impl Bench {
    /// Measures training together with the processes that `mpirun` has started.
    pub(super) fn distributed(&self) -> Result<ExitCode> {
        let peers = self.ranks.join()?;
        together(peers.clone(), || self.measured_together(&peers))
    }

    fn measured_together(&self, peers: &Peers) -> Result<ExitCode> {
        let Some(peers) = peers else { return Ok(ExitCode::SUCCESS) };
        let refused = |argument: &str| {
            Err(Error::argument(argument, "no --distributed, which measures steps of training", "both"))
        };
        match () {
            () if self.task == Some(Task::Predict) => return refused("--task predict"),
            () if self.layers => return refused("--layers"),
            () if self.plot.is_some() => return refused("--plot"),
            () => {}
        }
        let baseline = self.baseline.as_deref().map(baseline).transpose()?;
        let backend = self.backend.map_or_else(Backend::from_environment, Ok)?;
        let (backend, device) = self.ranks.share(Compute::on(Some(backend), self.threads)).open()?;
        let mut measured = Vec::new();
        for batch_size in self.batch_sizes(Task::Train) {
            let given = self.data.as_ref().map(|path| data::read(path, batch_size)).transpose()?;
            let mut model = self.load(&device)?;
            if let (Some(given), false) = (&given, model.is_built()) {
                model.build(given.x().sample_shape().to_vec())?;
            }
            // A copy of the model finds out which encoding of targets the loss takes.
            let mut work = Workload::train(model.clone(), given, batch_size)?;
            work.take_all_samples()?;
            let mut one = self.steps_together(&mut model, &work.samples, batch_size, peers)?;
            one.backend = backend.to_string();
            if let (Some(baseline), Some(path)) = (&baseline, &self.baseline) {
                let Some(alone) = one.alone(baseline) else {
                    let expected =
                        format!("a measurement of one rank with batches of {batch_size}, or of its part of them");
                    return Err(Error::data(format!("`{}`", path.display()), expected, "none"));
                };
                one.efficiency = Some(one.samples_per_second_per_rank / alone);
            }
            if !self.json {
                if measured.is_empty() {
                    output::line(HEADER)?;
                }
                output::line(one.row())?;
            }
            measured.push(one);
        }
        if self.json {
            output::json(&json!(measured))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Measures steps of one batch size.
    fn steps_together(
        &self,
        model: &mut Model,
        samples: &Dataset,
        batch_size: usize,
        peers: &Arc<dyn Communicator>,
    ) -> Result<Together> {
        // Doubled until a run is long enough to estimate it, which also warms up. All ranks take the time of the
        // slowest, and so the same number of steps.
        let mut steps = 1usize;
        let steps = loop {
            let (seconds, traffic) = timed(model, samples, batch_size, steps, peers)?;
            let took = Pace::of(&**peers, seconds, traffic)?.seconds.max(1e-9);
            if took >= self.seconds / 4.0 {
                break ((self.seconds / took * steps as f64).round() as usize).max(1);
            }
            steps = steps.saturating_mul(2);
        };
        let (mut rates, mut all, mut exchanged) = (Vec::new(), 0.0, Traffic::default());
        for _ in 0..self.repetitions.get() {
            let (seconds, traffic) = timed(model, samples, batch_size, steps, peers)?;
            let took = Pace::of(&**peers, seconds, traffic)?.seconds.max(1e-9);
            rates.push((steps * batch_size) as f64 / took);
            all += seconds;
            exchanged.exchanges += traffic.exchanges;
            exchanged.bytes += traffic.bytes;
            exchanged.seconds += traffic.seconds;
        }
        let count = steps.saturating_mul(rates.len());
        let pace = Pace::of(&**peers, all, exchanged)?.by_step(count);
        let rate = median(&rates);
        Ok(Together {
            backend: String::new(),
            task: Task::Train,
            ranks: peers.size(),
            threads: rayon::current_num_threads(),
            batch_size,
            samples_per_second: rate,
            samples_per_second_per_rank: rate / peers.size().max(1) as f64,
            samples_per_second_min: rates.iter().copied().fold(f64::INFINITY, f64::min),
            samples_per_second_max: rates.iter().copied().fold(0.0, f64::max),
            repetitions: rates.len(),
            milliseconds_per_step: 1000.0 * batch_size as f64 / rate,
            exchanging: pace.exchanging,
            exchanging_slowest: pace.exchanging_slowest,
            slowest_rank: pace.slowest,
            lag_milliseconds: 1000.0 * pace.lag,
            exchanges_per_step: exchanged.exchanges as f64 / count as f64,
            bytes_per_step: exchanged.bytes as f64 / count as f64,
            efficiency: None,
        })
    }
}

/// The seconds of a number of steps, from the beginning of the first to the end of the last, and their exchanges.
fn timed(
    model: &mut Model,
    samples: &Dataset,
    batch_size: usize,
    steps: usize,
    peers: &Arc<dyn Communicator>,
) -> Result<(f64, Traffic)> {
    let timed = Arc::new(Timed::new(peers.clone()));
    let (mut first, mut last) = (None, None);
    let now = || (Instant::now(), timed.traffic());
    let watch = LambdaCallback::new()
        .on_train_batch_begin(|_, _| {
            first.get_or_insert_with(now);
            Ok(())
        })
        .on_train_batch_end(|_, _| {
            last = Some(now());
            Ok(())
        });
    let fit = Fit::new().batch_size(batch_size).steps_per_epoch(steps).verbose(Verbosity::Silent);
    model.fit(samples, fit.callback(watch).distributed(timed.clone()))?;
    let (Some((begin, before)), Some((end, after))) = (first, last) else {
        return Err(Error::state("bench", "a step at least"));
    };
    Ok((end.duration_since(begin).as_secs_f64(), after.since(before)))
}

/// Measurements that an earlier `brasa bench --distributed --json` has printed.
fn baseline(path: &Path) -> Result<Vec<Together>> {
    let text = read_text(path, Limits::default().json_bytes)?;
    serde_json::from_str(&text).map_err(|error| Error::broken(path.display().to_string(), "its content", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(ranks: usize, batch_size: usize, rate: f64) -> Together {
        Together {
            backend: "flex".into(),
            task: Task::Train,
            ranks,
            threads: 1,
            batch_size,
            samples_per_second: rate,
            samples_per_second_per_rank: rate / ranks as f64,
            samples_per_second_min: rate,
            samples_per_second_max: rate,
            repetitions: 5,
            milliseconds_per_step: 1000.0 * batch_size as f64 / rate,
            exchanging: 0.125,
            exchanging_slowest: 0.1,
            slowest_rank: 1,
            lag_milliseconds: 0.5,
            exchanges_per_step: 2.0,
            bytes_per_step: 1e6,
            efficiency: Some(0.75),
        }
    }

    #[test]
    fn rows_stand_under_the_header() {
        let row = measured(4, 128, 18444.4).row();
        assert_eq!(row.len(), HEADER.len(), "{HEADER}\n{row}");
        let end = HEADER.find("samples/s").unwrap() + "samples/s".len();
        assert!(row[..end].ends_with(" 18,444") && row.ends_with(" 75.0 %"), "{HEADER}\n{row}");
    }

    #[test]
    fn a_baseline_has_the_same_batch_or_the_same_part_of_it() {
        let baseline = [measured(1, 32, 100.0), measured(1, 128, 400.0), measured(2, 64, 300.0)];
        assert_eq!(measured(4, 128, 900.0).alone(&baseline), Some(400.0));
        assert_eq!(measured(2, 64, 150.0).alone(&baseline), Some(100.0));
        assert_eq!(measured(2, 63, 150.0).alone(&baseline), None);
    }
}
