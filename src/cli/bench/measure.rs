//! A single measurement, in the process started for it.

use std::time::Instant;

use brasa::datasets::Dataset;
use brasa::training::{Fit, Predict, Verbosity};
use brasa::{Error, Model, Result};

use super::data::{self, TargetEncoding};
use super::{Bench, Compute, Measurement, Task};
use crate::cli::output;

impl Bench {
    /// Measures, and writes two lines to standard output: one after the first step, one with the result.
    pub(super) fn measure(&self, task: Task, batch_size: usize) -> Result<()> {
        let (backend, device) = Compute::on(self.backend, self.threads).open()?;
        let mut model = self.load(&device)?;
        let given = self.data.as_ref().map(|path| data::read(path, batch_size)).transpose()?;
        if let (Some(given), false) = (&given, model.is_built()) {
            model.build(given.x().sample_shape().to_vec())?;
        }
        let mut work = match task {
            Task::Train => Workload::train(model, given, batch_size)?,
            Task::Predict => Workload::predict(model, given, batch_size)?,
        };
        output::line("the first step is done")?;
        work.take_all_samples()?;

        let rates = rates(batch_size, self.seconds, self.repetitions.get(), |steps| work.steps(steps))?;
        let median = median(&rates);
        let measurement = Measurement {
            backend: backend.to_string(),
            task,
            batch_size,
            samples_per_second: median,
            milliseconds_per_step: 1000.0 * batch_size as f64 / median,
            peak_rss_bytes: peak_rss(),
            // Measured by the parent process.
            milliseconds_to_first_step: 0.0,
            samples_per_second_min: rates.iter().copied().fold(f64::INFINITY, f64::min),
            samples_per_second_max: rates.iter().copied().fold(0.0, f64::max),
            repetitions: rates.len(),
            threads: rayon::current_num_threads(),
        };
        output::json(&serde_json::json!(measurement))
    }
}

/// A model and the samples it works on, in whole batches.
pub(super) struct Workload {
    pub model: Model,
    pub samples: Dataset,
    batch_size: usize,
    task: Task,
    /// The encoding of random targets; `None` for given samples.
    targets: Option<TargetEncoding>,
}

impl Workload {
    /// Prepares training and runs the first step.
    pub fn train(model: Model, given: Option<Dataset>, batch_size: usize) -> Result<Self> {
        let made_up = given.is_none();
        let first = |model: &Model, targets| match &given {
            Some(samples) => Ok(samples.clone()),
            None => data::made_up(model, batch_size, targets),
        };
        let samples = first(&model, TargetEncoding::Labels)?;
        let mut work = Self { model, samples, batch_size, task: Task::Train, targets: None };
        let done = match work.steps(1) {
            // The loss needs another encoding of targets; nothing was computed.
            Err(Error::Data { .. }) if made_up => {
                work.samples = first(&work.model, TargetEncoding::Rows)?;
                work.steps(1).map(|()| TargetEncoding::Rows)
            }
            done => done.map(|()| TargetEncoding::Labels),
        };
        work.targets = done.map(|targets| made_up.then_some(targets))?;
        Ok(work)
    }

    /// Prepares prediction and runs the first step.
    pub fn predict(model: Model, given: Option<Dataset>, batch_size: usize) -> Result<Self> {
        let targets = given.is_none().then_some(TargetEncoding::Labels);
        let samples = match given {
            Some(samples) => samples,
            None => data::made_up(&model, batch_size, TargetEncoding::Labels)?,
        };
        let mut work = Self { model, samples, batch_size, task: Task::Predict, targets };
        work.steps(1)?;
        Ok(work)
    }

    /// Replaces random samples of one batch by the full number.
    pub fn take_all_samples(&mut self) -> Result<()> {
        if let Some(targets) = self.targets {
            let count = data::count(&self.model, self.batch_size)?;
            self.samples = data::made_up(&self.model, count, targets)?;
        }
        Ok(())
    }

    /// Runs a number of steps, repeating the samples as needed.
    pub fn steps(&mut self, steps: usize) -> Result<()> {
        let in_all = self.samples.len() / self.batch_size;
        let (whole, rest) = (steps / in_all, steps % in_all);
        if whole > 0 {
            self.pass(in_all, whole)?;
        }
        if rest > 0 { self.pass(rest, 1) } else { Ok(()) }
    }

    /// Runs `times` passes over the first `steps` batches.
    fn pass(&mut self, steps: usize, times: usize) -> Result<()> {
        let samples = self.samples.take(steps * self.batch_size);
        match self.task {
            Task::Train => {
                let fit = Fit::new().epochs(times).batch_size(self.batch_size).verbose(Verbosity::Silent);
                self.model.fit(&samples, fit).map(|_| ())
            }
            Task::Predict => {
                let x = samples.x();
                for _ in 0..times {
                    if self.batch_size == 1 {
                        for index in 0..steps {
                            self.model.predict(x.slice(index..index + 1)?)?;
                        }
                    } else {
                        self.model.predict_with(x.clone(), Predict::new().batch_size(self.batch_size))?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// Samples per second in each repetition of about `seconds`. The number of steps is doubled until a run is long enough
/// to estimate it, which also warms up.
pub(super) fn rates(
    batch_size: usize,
    seconds: f64,
    repetitions: usize,
    mut work: impl FnMut(usize) -> Result<()>,
) -> Result<Vec<f64>> {
    let mut timed = |steps: usize| {
        let begin = Instant::now();
        work(steps)?;
        // The clock may not have advanced.
        Ok::<f64, Error>(begin.elapsed().as_secs_f64().max(1e-9))
    };
    let mut steps = 1;
    let steps = loop {
        let took = timed(steps)?;
        if took >= seconds / 4.0 {
            break ((seconds / took * steps as f64).round() as usize).max(1);
        }
        steps = steps.saturating_mul(2);
    };
    (0..repetitions).map(|_| Ok((steps * batch_size) as f64 / timed(steps)?)).collect()
}

pub(super) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

/// The peak memory of this process, if the system reports it.
fn peak_rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes: u64 =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn steps_grow_until_they_take_long_enough() {
        let mut taken = Vec::new();
        let work = |steps: usize| {
            taken.push(steps);
            std::thread::sleep(std::time::Duration::from_millis(2 * steps as u64));
            Ok(())
        };
        let rates = rates(10, 0.04, 3, work).unwrap();
        assert_eq!(rates.len(), 3);
        assert!(rates.iter().all(|rate| *rate > 0.0 && *rate <= 5000.0), "10 samples take 2 ms at least: {rates:?}");
        let (warm_up, repetitions) = taken.split_at(taken.len() - 3);
        assert!(warm_up.iter().enumerate().all(|(index, steps)| *steps == 1 << index), "{taken:?}");
        assert!(repetitions.iter().all(|steps| *steps == repetitions[0] && *steps >= 1), "{taken:?}");
    }

    #[test]
    fn errors_end_the_measurement() {
        let fails = rates(1, 1.0, 1, |_| Err(Error::Syntax("no".into())));
        assert_eq!(fails.unwrap_err().to_string(), "no");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_is_known_on_linux() {
        assert!(peak_rss().unwrap() > 1 << 20);
    }
}
