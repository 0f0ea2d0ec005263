//! `brasa bench`: how fast a model trains and predicts, and in how much memory.
//!
//! Each measurement runs in a process of its own, so that memory and first step are measured separately. The command
//! starts them one after another, with `--here`.

mod data;
mod layers;
mod measure;
#[cfg(feature = "mpi")]
mod together;

use std::io::{BufRead, BufReader, Error as IoError};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use brasa::backend::{BACKEND_VARIABLE, Backend, devices};
use brasa::formats::{Limits, read_text};
use brasa::recipe::Recipe;
use brasa::report::{Figure, plot_throughput};
use brasa::text::with_commas;
use brasa::{Error, Model, Result};
use clap::{Args, ValueEnum, ValueHint};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::compute::Compute;
use super::help::{BACKENDS, COMPUTING, examples, offering};
use super::output;
#[cfg(feature = "mpi")]
use super::ranks::Ranks;
use super::seconds::positive_seconds;
use super::train::BUILT_IN;

/// Measure how fast a model trains and predicts, from its first step on, and in how much memory.
///
/// Without options: training and prediction, three batch sizes each, on the CPU's backends and on a GPU if one is
/// there. The samples are random unless --data names some. With a batch size of 1, a prediction is a call for a single
/// sample.
#[derive(Args, Debug)]
#[command(after_help = examples!(
    "brasa bench"
    "brasa bench model.keras --task predict --batch-size 1,128 --backend cpu"
    "brasa bench recipe.toml --task train --batch-size 1,8,64,512 --plot speed.svg"
    "brasa bench model.keras --layers --batch-size 128"
))]
pub struct Bench {
    /// A recipe (.toml) or a saved model; without one, a convolutional network for MNIST.
    #[arg(value_name = "MODEL|RECIPE", value_hint = ValueHint::FilePath)]
    model: Option<PathBuf>,

    /// What to measure (default: both).
    #[arg(long, value_enum)]
    task: Option<Task>,

    /// Number of samples in a step, or several with commas (default: 32,128,512 to train, 1,128,1024 to predict).
    #[arg(long, value_name = "N", value_delimiter = ',')]
    batch_size: Vec<NonZeroUsize>,

    /// Samples to measure with: an .npz with arrays x and y (default: random ones).
    #[arg(long, value_name = "FILE.NPZ", value_hint = ValueHint::FilePath)]
    data: Option<PathBuf>,

    /// How long a repetition takes; before the first one, half as long is spent without measuring.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = positive_seconds)]
    seconds: f64,

    /// How often to measure.
    #[arg(long, value_name = "N", default_value = "5")]
    repetitions: NonZeroUsize,

    /// Measure this backend alone, perhaps with an index (wgpu:1). Without it what BRASA_BACKEND names, else all.
    #[arg(long, value_name = "NAME[:INDEX]", value_parser = offering::<Backend>(BACKENDS), help_heading = COMPUTING)]
    backend: Option<Backend>,

    /// How many threads the CPU backends use (default: one for each processor).
    #[arg(long, value_name = "N", help_heading = COMPUTING)]
    threads: Option<NonZeroUsize>,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,

    /// Draw batch size against throughput (.svg or .png).
    #[arg(long, value_name = "FILE", value_parser = chart_file, value_hint = ValueHint::FilePath)]
    plot: Option<PathBuf>,

    /// Measure the time, arithmetic and bytes of each layer, and the share of the machine's limit, on one CPU backend
    /// (default batch size: 128). In training, each layer's forward and backward pass is measured separately.
    #[arg(long)]
    layers: bool,

    #[cfg(feature = "mpi")]
    #[command(flatten)]
    ranks: Ranks,

    /// With --distributed: what a run of one process has printed with --json, for the efficiency.
    #[cfg(feature = "mpi")]
    #[arg(long, value_name = "FILE", requires = "distributed", value_hint = ValueHint::FilePath)]
    baseline: Option<PathBuf>,

    /// Measure in this process.
    #[arg(long, hide = true, requires_all = ["task", "batch_size", "backend"])]
    here: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Task {
    /// Steps of `fit`.
    Train,
    /// Steps of `predict`.
    Predict,
}

impl Task {
    fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Predict => "predict",
        }
    }

    fn batch_sizes(self) -> [usize; 3] {
        match self {
            Self::Train => [32, 128, 512],
            Self::Predict => [1, 128, 1024],
        }
    }
}

/// The result of a measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Measurement {
    backend: String,
    task: Task,
    batch_size: usize,
    /// The median of the repetitions.
    samples_per_second: f64,
    milliseconds_per_step: f64,
    /// The peak memory of the process; `None` if the system does not report it.
    peak_rss_bytes: Option<u64>,
    /// From the start of the process to the end of its first step.
    milliseconds_to_first_step: f64,
    /// The slowest and the fastest repetition.
    samples_per_second_min: f64,
    samples_per_second_max: f64,
    repetitions: usize,
    threads: usize,
}

/// The columns of the table.
const HEADER: &str =
    "backend     task     batch    samples/s       slowest       fastest     ms/step  first step, ms  peak, MiB";

impl Measurement {
    fn row(&self) -> String {
        let whole = |value: f64| with_commas(value.round() as usize);
        let peak = self.peak_rss_bytes.map_or_else(|| "-".into(), |bytes| format!("{:.1}", bytes as f64 / 1048576.0));
        format!(
            "{:<10}  {:<7}  {:>5}  {:>11}  {:>12}  {:>12}  {:>10.3}  {:>14.1}  {peak:>9}",
            self.backend,
            self.task.name(),
            self.batch_size,
            whole(self.samples_per_second),
            whole(self.samples_per_second_min),
            whole(self.samples_per_second_max),
            self.milliseconds_per_step,
            self.milliseconds_to_first_step,
        )
    }
}

impl Bench {
    /// `verbose` is the log level of the measuring processes.
    pub fn run(self, verbose: u8) -> Result<ExitCode> {
        if let (true, Some(task), [batch_size]) = (self.here, self.task, self.batch_size.as_slice()) {
            return self.measure(task, batch_size.get()).map(|()| ExitCode::SUCCESS);
        }
        #[cfg(feature = "mpi")]
        if self.ranks.distributed {
            return self.distributed();
        }
        layers::check(&self)?;
        if self.layers {
            return self.layers().map(|()| ExitCode::SUCCESS);
        }
        let (tasks, backends) = (self.tasks()?, self.backends()?);
        let sizes = |task: &Task| self.batch_sizes(*task).into_iter().map(|size| (*task, size)).collect::<Vec<_>>();
        let asked = backends.iter().flat_map(|backend| tasks.iter().flat_map(sizes).map(move |asked| (backend, asked)));
        let (mut measured, mut code) = (Vec::new(), ExitCode::SUCCESS);
        for (backend, (task, batch_size)) in asked {
            let measurement = match self.process(backend, task, batch_size, verbose)? {
                Ok(measurement) => measurement,
                // It has already printed its error.
                Err(failed) => {
                    code = failed;
                    break;
                }
            };
            if !self.json {
                if measured.is_empty() {
                    output::line(HEADER)?;
                }
                output::line(measurement.row())?;
            }
            measured.push(measurement);
        }
        if self.json {
            output::json(&json!(measured))?;
        }
        if let Some(path) = &self.plot
            && !measured.is_empty()
        {
            figure(&measured).save(path)?;
            output::note(&format!("batch size against throughput: {}", output::shown(path)));
        }
        Ok(code)
    }

    fn batch_sizes(&self, task: Task) -> Vec<usize> {
        match self.batch_size.as_slice() {
            [] => task.batch_sizes().to_vec(),
            asked => asked.iter().map(|size| size.get()).collect(),
        }
    }

    /// The requested tasks that the model supports.
    fn tasks(&self) -> Result<Vec<Task>> {
        if self.load(&Backend::default().device()?)?.is_compiled() {
            return Ok(self.task.map_or_else(|| vec![Task::Train, Task::Predict], |task| vec![task]));
        }
        let name = self.model.as_deref().unwrap_or(Path::new(BUILT_IN.0)).display();
        match self.task {
            Some(Task::Train) => {
                let needs = format!("compiled: `{name}` has no loss and no optimizer");
                Err(Error::state("bench --task train", needs))
            }
            Some(Task::Predict) => Ok(vec![Task::Predict]),
            None => {
                output::note(&format!("`{name}` has no loss and no optimizer: only predictions are measured"));
                Ok(vec![Task::Predict])
            }
        }
    }

    /// The requested backend, or all that this machine has.
    fn backends(&self) -> Result<Vec<Backend>> {
        if let Some(backend) = self.backend {
            return Ok(vec![backend]);
        }
        if std::env::var_os(BACKEND_VARIABLE).is_some_and(|name| !name.is_empty()) {
            return Backend::from_environment().map(|backend| vec![backend]);
        }
        let mut there = Vec::new();
        for (kind, found) in devices() {
            let Some(device) = found.iter().find(|device| !device.software) else {
                if let Some(device) = found.first() {
                    let (backend, name) = (kind.name(), &device.name);
                    output::note(&format!("`{name}` is no GPU but computes as one; --backend {backend} measures it"));
                }
                continue;
            };
            let index = if device.index == 0 { String::new() } else { format!(":{}", device.index) };
            let backend: Backend = format!("{}{index}", kind.name()).parse()?;
            match backend.device() {
                Ok(_) => there.push(backend),
                Err(error) => output::note(&error.to_string()),
            }
        }
        Ok(there)
    }

    /// Measures in a process of its own; returns its exit code if that fails.
    fn process(
        &self,
        backend: &Backend,
        task: Task,
        batch_size: usize,
        verbose: u8,
    ) -> Result<Result<Measurement, ExitCode>> {
        const WHAT: &str = "the process that measures";
        let program = std::env::current_exe().map_err(Error::io("find", "this program"))?;
        let mut command = Command::new(program);
        command.arg("bench").args(&self.model).args(["--here", "--task", task.name()]);
        command.args(["--backend", &backend.to_string(), "--batch-size", &batch_size.to_string()]);
        command.args(["--seconds", &self.seconds.to_string(), "--repetitions", &self.repetitions.to_string()]);
        if let Some(path) = &self.data {
            command.arg("--data").arg(path);
        }
        if let Some(threads) = self.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        command.args((0..verbose).map(|_| "-v"));
        tracing::info!("{command:?}");
        let begin = Instant::now();
        let mut process =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(Error::io("start", WHAT))?;
        let mut lines = process.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines);
        // The first line reports the first step, the second the result; an end before that is a failure.
        let first = lines.next().transpose().map_err(Error::io("read from", WHAT))?;
        let to_first_step = begin.elapsed();
        let result = lines.next().transpose().map_err(Error::io("read from", WHAT))?;
        let status = process.wait().map_err(Error::io("wait for", WHAT))?;
        match (status.success(), first, result) {
            (true, Some(_), Some(result)) => {
                let mut measurement: Measurement =
                    serde_json::from_str(&result).map_err(|error| Error::broken(WHAT, "its answer", error))?;
                measurement.milliseconds_to_first_step = to_first_step.as_secs_f64() * 1000.0;
                Ok(Ok(measurement))
            }
            _ => match status.code() {
                Some(code @ 1..=255) => Ok(Err(ExitCode::from(code as u8))),
                _ => Err(Error::io("run", WHAT)(IoError::other(format!("it ended early, {status}")))),
            },
        }
    }

    /// The model on a device.
    fn load(&self, device: &brasa::burn::tensor::Device) -> Result<Model> {
        let Some(path) = &self.model else { return Recipe::parse(BUILT_IN.0, BUILT_IN.1)?.model(device) };
        let path = &super::model_file::model_file(path)?;
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => Recipe::read(path)?.model(device),
            Some("json") => {
                let text = read_text(path, Limits::default().json_bytes)?;
                let mut model = Model::from_json(&text)?;
                model.to_device(device);
                Ok(model)
            }
            _ => Model::load_on(path, device),
        }
    }
}

/// A line for each task on each backend, in the order of measurement.
fn figure(measured: &[Measurement]) -> Figure {
    let mut lines: Vec<(String, Vec<(usize, f64)>)> = Vec::new();
    for one in measured {
        let label = format!("{} on {}", one.task.name(), one.backend);
        let point = (one.batch_size, one.samples_per_second);
        match lines.iter_mut().find(|(known, _)| *known == label) {
            Some((_, points)) => points.push(point),
            None => lines.push((label, vec![point])),
        }
    }
    lines.iter_mut().for_each(|(_, points)| points.sort_unstable_by_key(|(batch_size, _)| *batch_size));
    plot_throughput("samples a second", &lines)
}

/// Checks a chart's file name before minutes of measuring.
fn chart_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("svg" | "png") => Ok(path),
        _ => Err("a file whose name ends in .svg or .png is wanted".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_under_the_header() {
        let measurement = Measurement {
            backend: "flex".into(),
            task: Task::Train,
            batch_size: 128,
            samples_per_second: 18444.4,
            milliseconds_per_step: 6.94,
            peak_rss_bytes: Some(47 << 20),
            milliseconds_to_first_step: 41.25,
            samples_per_second_min: 17000.0,
            samples_per_second_max: 18659.6,
            repetitions: 5,
            threads: 2,
        };
        let row = measurement.row();
        assert_eq!(row.len(), HEADER.len(), "{HEADER}\n{row}");
        let end = HEADER.find("samples/s").unwrap() + "samples/s".len();
        assert!(row[..end].ends_with(" 18,444"), "{HEADER}\n{row}");
        assert!(row.ends_with("     47.0"), "{row}");
    }
}
