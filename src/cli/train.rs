//! `brasa train`: from a recipe to a trained model.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use brasa::datasets::Source;
use brasa::recipe::{DataSet, Document, Recipe};
use brasa::training::progress::format_duration;
use brasa::training::{Evaluate, History, Scores, Verbosity};
use brasa::{Error, Result, Sequential};
use clap::Args;
use serde_json::{Value as Json, json};

use super::compute::Compute;
use super::evaluate::to_json;
use super::interrupt::{INTERRUPTED, Interrupt, Interruptible};
use super::output;
use super::run_dir::RunDir;

/// What is trained without a recipe.
pub const BUILT_IN: (&str, &str) = ("mnist_cnn.toml", include_str!("../../configs/mnist_cnn.toml"));

/// Train the model of a recipe; without one, a convolutional network on MNIST.
///
/// Writes a run directory: config.toml (the recipe as it was resolved), model.keras and history.csv.
#[derive(Args, Debug)]
pub struct Train {
    /// The recipe (.toml).
    config: Option<PathBuf>,

    /// Go on from a saved model in place of the recipe's; without a recipe also with the model's own loss and optimizer.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,

    /// Train on this in place of the recipe's data: .npz, .csv, or a folder with a folder of pictures for each class.
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    data: Option<PathBuf>,

    /// The folder of the files of mnist or fashion_mnist.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Up to which epoch to train.
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,

    /// Number of samples in a step.
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,

    /// The seed of the weights and of the samples' order.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,

    /// The part of the samples, taken from the end, to validate with.
    #[arg(long, value_name = "FRACTION")]
    validation_split: Option<f64>,

    /// Take the samples in their order.
    #[arg(long)]
    no_shuffle: bool,

    /// Change the recipe: a dotted key and a TOML value, as in compile.optimizer.learning_rate=0.01.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// The run directory (default: runs/<recipe>-<time>).
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    #[command(flatten)]
    compute: Compute,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

impl Train {
    pub fn run(self, quiet: bool) -> Result<ExitCode> {
        let device = self.compute.device()?;
        let recipe = Recipe::from_document(&self.document()?)?;
        let mut run = RunDir::create(self.out.as_deref(), recipe.name(), &recipe.to_toml()?)?;
        let mut model = recipe.model(&device)?;
        let data = recipe.data().load(model.input_shape().ok(), recipe.fit_settings().seed)?;
        tracing::info!("{} samples of shape {:?}", data.train.len(), data.train.x_shape());
        if !model.is_built() {
            model.build(data.train.x_shape().to_vec())?;
        }
        if !self.json && !quiet {
            output::line(format!("{}\n", model.summary()))?;
        }

        let interrupt = Interrupt::listen()?;
        let interruptible = |source| Interruptible { source, interrupt: interrupt.clone() };
        let fit = recipe.fit()?;
        let fit = if quiet { fit.verbose(Verbosity::Silent) } else { fit };
        let begin = Instant::now();
        let history = match model.fit(&interruptible(&*data.train), fit) {
            Err(_) if interrupt.is_pressed() => None,
            history => Some(history?),
        };
        let seconds = begin.elapsed().as_secs_f64();
        run.keep();
        model.save(run.model())?;
        let Some(history) = history else { return Ok(interrupted(&run)) };
        run.write_history(&history)?;

        let batch_size = recipe.fit_settings().batch_size;
        let test = data
            .test
            .as_deref()
            .map(|test| model.evaluate_with(&interruptible(test), Evaluate::new().batch_size(batch_size)));
        if test.as_ref().is_some_and(Result::is_err) && interrupt.is_pressed() {
            return Ok(interrupted(&run));
        }
        let report = Report { history, seconds, scores: test.transpose()?, run: &run };
        if self.json {
            output::json(&report.json())?
        } else {
            report.print(&model)?
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The recipe with what the command line changes of it.
    fn document(&self) -> Result<Document> {
        let mut document = match (&self.config, &self.model) {
            (Some(path), _) => Document::read(path)?,
            (None, Some(model)) => Document::parse(model.display().to_string(), "data.dataset = \"mnist\"")?,
            (None, None) => Document::parse(BUILT_IN.0, BUILT_IN.1)?,
        };
        if let Some(path) = &self.model {
            document.remove("layers");
            document.remove("model");
            document.set("model.file", text(path)?)?;
        }
        if let Some(path) = &self.data {
            for key in ["dataset", "path", "data_dir", "x", "y", "target"] {
                document.remove(&format!("data.{key}"));
            }
            let set = serde_json::to_value(DataSet::at(path)?).map_err(|error| Error::Syntax(error.to_string()))?;
            for (key, value) in set.as_object().into_iter().flatten() {
                document.set(&format!("data.{key}"), value.clone())?;
            }
        }
        let data_dir = self.data_dir.as_deref().map(text).transpose()?;
        let changes: [(&str, Option<Json>); 6] = [
            ("data.data_dir", data_dir.map(Json::from)),
            ("data.validation_split", self.validation_split.map(Json::from)),
            ("fit.epochs", self.epochs.map(Json::from)),
            ("fit.batch_size", self.batch_size.map(Json::from)),
            ("fit.seed", self.seed.map(Json::from)),
            ("fit.shuffle", self.no_shuffle.then(|| false.into())),
        ];
        for (path, value) in changes {
            value.map_or(Ok(()), |value| document.set(path, value))?;
        }
        self.set.iter().try_for_each(|assignment| document.assign(assignment))?;
        Ok(document)
    }
}

/// A path as it can stand in a recipe.
fn text(path: &std::path::Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::unsupported(format!("the path `{}`", path.display()), "Unicode"))
}

fn interrupted(run: &RunDir) -> ExitCode {
    output::note(&format!("interrupted; the model as it was is saved in {}", run.model().display()));
    ExitCode::from(INTERRUPTED)
}

/// What a training came to.
struct Report<'a> {
    history: History,
    seconds: f64,
    scores: Option<Scores>,
    run: &'a RunDir,
}

impl Report<'_> {
    fn json(&self) -> Json {
        json!({
            "history": self.history.history,
            "epochs": self.history.epoch.len(),
            "evaluation": self.scores.as_ref().map(to_json),
            "run_dir": self.run.path().display().to_string(),
            "images_per_second": self.history.samples_per_second,
        })
    }

    fn print(&self, model: &Sequential) -> Result<()> {
        if let Some(scores) = &self.scores {
            let mut parts: Vec<String> =
                scores.metrics.iter().map(|(name, value)| format!("{name} {}", output::score(name, *value))).collect();
            parts.push(format!("loss {:.4}", scores.loss));
            output::line(format!("Test: {} ({} samples)", parts.join(", "), output::thousands(scores.samples)))?;
        }
        let epochs = self.history.epoch.len();
        let what = if model.input_shape()?.rank() >= 3 { "images" } else { "samples" };
        let rate = output::thousands(self.history.samples_per_second as usize);
        let (time, s) = (format_duration(self.seconds), if epochs == 1 { "" } else { "s" });
        output::line(format!("Trained {epochs} epoch{s} in {time}, {rate} {what}/s"))?;
        output::line(format!("Model: {}", self.run.model().display()))
    }
}
