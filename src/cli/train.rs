//! `brasa train`: from a recipe to a trained model.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use brasa::callbacks::ProgressBar;
use brasa::distributed::{Communicator, broadcast, together};
use brasa::metrics::Score;
use brasa::recipe::{DataSet, Document, Loaded, Recipe, differences};
use brasa::text::with_commas;
use brasa::training::progress::format_duration;
use brasa::training::{Checkpoint, CheckpointFreq, Evaluate, Fit, History, Scores, StopHandle};
use brasa::{Error, Model, Result};
use clap::{Args, ValueHint};
use serde_json::{Value as Json, json};

use super::compute::Compute;
use super::evaluate::to_json;
use super::help::{DATA, RUN, TRAINING, examples};
use super::interrupt::{self, INTERRUPTED};
use super::model_file::{DataOverrides, model_file};
use super::prepared::model_and_data;
use super::ranks::{Peers, Ranks};
use super::report::RunResults;
use super::run_dir::{HistoryFile, RunDir};
use super::table::Table;
use super::{find_lr, output, path_text};

/// The recipe used when none is given.
pub const BUILT_IN: (&str, &str) = ("mnist_cnn.toml", include_str!("../../configs/mnist_cnn.toml"));

/// Train the model of a recipe; without one, a convolutional network on MNIST.
///
/// Writes a run directory: config.toml (the recipe as it was resolved), model.keras, history.csv, report.html and
/// checkpoint/, from which --resume goes on. Once training has begun, Ctrl-C finishes the batch and saves; a second one
/// exits at once.
#[derive(Args, Debug)]
#[command(after_help = examples!(
    "brasa train"
    "brasa train recipe.toml --epochs 10 --lr 0.001 --backend gpu"
    "brasa train recipe.toml --set fit.batch_size=64 --out runs/small"
    "brasa train --resume --out runs/small"
    "brasa train recipe.toml --find-lr"
))]
pub struct Train {
    /// The recipe (.toml).
    #[arg(value_name = "RECIPE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,

    /// Start from a saved model instead of the recipe's; without a recipe also with the model's own loss and optimizer.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = TRAINING)]
    model: Option<PathBuf>,

    /// Train on this in place of the recipe's data: .npz, .csv, .tsv, .parquet, or a folder with one folder of images
    /// or texts per class (or folders train, val and test of such).
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir", value_hint = ValueHint::AnyPath, help_heading = DATA)]
    data: Option<PathBuf>,

    #[command(flatten)]
    table: Table,

    #[command(flatten)]
    known: DataOverrides,

    /// Skip images that cannot be decoded; otherwise they are an error before training.
    #[arg(long, help_heading = DATA)]
    skip_broken: bool,

    /// The folder of the files of mnist or fashion_mnist.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = DATA)]
    data_dir: Option<PathBuf>,

    /// Train up to this epoch.
    #[arg(long, value_name = "N", help_heading = TRAINING)]
    epochs: Option<usize>,

    /// The learning rate, in place of the recipe's; a schedule is replaced, too.
    #[arg(long, value_name = "RATE", allow_hyphen_values = true, help_heading = TRAINING)]
    lr: Option<f64>,

    /// Number of samples in a step.
    #[arg(long, value_name = "N", help_heading = TRAINING)]
    batch_size: Option<usize>,

    /// The seed of the weights and of the samples' order.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64), help_heading = TRAINING)]
    seed: Option<u64>,

    /// Fraction of the samples, from the end, used for validation.
    #[arg(long, value_name = "FRACTION", help_heading = TRAINING)]
    validation_split: Option<f64>,

    /// Do not shuffle the samples.
    #[arg(long, help_heading = TRAINING)]
    no_shuffle: bool,

    /// Change the recipe: a dotted key and a TOML value, as in compile.optimizer.learning_rate=0.01.
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = TRAINING)]
    set: Vec<String>,

    /// The run directory (default: runs/<recipe>-<time>).
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = RUN)]
    out: Option<PathBuf>,

    /// Go on with the run in --out (without it: the newest run of the recipe), from its last checkpoint or, if it has
    /// none yet, from the start. Without a recipe the run's own is taken. A finished run is left as it is.
    #[arg(long, help_heading = RUN)]
    resume: bool,

    /// With --resume: go on although the recipe or the data has changed.
    #[arg(long, requires = "resume", help_heading = RUN)]
    accept_changes: bool,

    /// When the run's state is written: epoch, a number of batches, or a time such as 30s.
    #[arg(long, value_name = "WHEN", help_heading = RUN)]
    checkpoint_freq: Option<CheckpointFreq>,

    /// Train nothing, but try learning rates from 1e-7 to 10 and propose one; with --out also as a chart,
    /// lr_finder.svg.
    #[arg(long, conflicts_with_all = ["resume", "checkpoint_freq", "epochs"])]
    #[cfg_attr(feature = "mpi", arg(conflicts_with = "distributed"))]
    find_lr: bool,

    #[command(flatten)]
    ranks: Ranks,

    #[command(flatten)]
    compute: Compute,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Trains on samples by index, or on the batches of shards.
fn fitted(model: &mut Model, recipe: &Recipe, data: &Loaded, fit: Fit<'_>) -> Result<History> {
    match recipe.stream(data)? {
        Some(stream) => model.fit_stream(&stream, fit),
        None => model.fit(&*data.train, fit),
    }
}

impl Train {
    pub fn run(self, quiet: bool) -> Result<ExitCode> {
        let peers = self.ranks.join()?;
        together(peers.clone(), || match &peers {
            Some(peers) if peers.rank() > 0 => self.follow(peers),
            _ => self.lead(&peers, quiet),
        })
    }

    /// Trains as one of the ranks but the first, which has the recipe, and writes and shows everything.
    fn follow(&self, peers: &Arc<dyn Communicator>) -> Result<ExitCode> {
        let device = self.ranks.device(&self.compute)?;
        let text = String::from_utf8(broadcast(&**peers, None)?);
        let text = text.map_err(|_| Error::rank(0, "a recipe that is not Unicode"))?;
        if text.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let recipe = Recipe::from_document(&Document::parse("the recipe of rank 0", &text)?)?;
        let (mut model, data) = model_and_data(&recipe, &device)?;
        let stop = interrupt::listen()?;
        // Rank 0 writes the checkpoints, and this one has to know when.
        let checkpoint = Checkpoint::new("checkpoint").freq(recipe.fit_settings().checkpoint_freq);
        let mut fit = recipe.fit()?.checkpoint(checkpoint).stop_handle(&stop).distributed(peers.clone());
        if let Some(validation) = &data.validation {
            fit = fit.validation_data(&**validation);
        }
        if fitted(&mut model, &recipe, &data, fit)?.interrupted {
            return Ok(ExitCode::from(INTERRUPTED));
        }
        if let Some(test) = &data.test {
            let evaluate = Evaluate::new().batch_size(recipe.fit_settings().batch_size).stop_handle(&stop);
            match model.evaluate_with(&**test, evaluate.distributed(peers.clone())) {
                Err(Error::Interrupted { .. }) => return Ok(ExitCode::from(INTERRUPTED)),
                scores => scores?,
            };
        }
        Ok(ExitCode::SUCCESS)
    }

    fn lead(&self, peers: &Peers, quiet: bool) -> Result<ExitCode> {
        let device = self.ranks.device(&self.compute)?;
        if self.find_lr {
            let recipe = Recipe::from_document(&self.document(None)?)?;
            find_lr::run(&recipe, &device, self.out.as_deref(), self.json, quiet)?;
            return Ok(ExitCode::SUCCESS);
        }
        let (mut recipe, mut run) = if self.resume { self.resumed()? } else { self.new_run()? };
        let finished = run.finished()?;
        if let Some(peers) = peers {
            // Nothing is left to do for the others if the run is finished.
            let text = if finished.is_some() { String::new() } else { recipe.to_toml()? };
            broadcast(&**peers, Some(text.into_bytes()))?;
        }
        if let Some(report) = finished {
            output::note(&format!("the run in {} is finished; it is left as it is", output::shown(run.path())));
            return if self.json { output::json_text(&report) } else { Ok(()) }.map(|()| ExitCode::SUCCESS);
        }
        let (mut model, data) = model_and_data(&recipe, &device)?;
        // The run's recipe records the decisions made here.
        recipe.decide(&data.info);
        run.write_config(&recipe.to_toml()?)?;
        if !self.json && !quiet {
            output::aside(format!("{}\n", model.summary()))?;
        }

        let stop = interrupt::listen()?;
        let begin = Instant::now();
        let history = self.fit(&recipe, &run, &mut model, &data, (&stop, peers), quiet)?;
        // The duration of a run that was interrupted was not measured.
        let seconds = (!self.resume).then(|| begin.elapsed().as_secs_f64());
        run.keep();
        model.save(run.model())?;
        run.write_history(&history)?;
        if history.interrupted {
            return Ok(self.interrupted(&run));
        }

        let evaluate = || {
            let evaluate = Evaluate::new().batch_size(recipe.fit_settings().batch_size).stop_handle(&stop);
            match peers {
                Some(peers) => evaluate.distributed(peers.clone()),
                None => evaluate,
            }
        };
        let test = data.test.as_deref().map(|test| model.evaluate_with(test, evaluate()));
        // Another rank may have received the signal.
        let is_interrupted = match &test {
            Some(Err(Error::Interrupted { .. })) => true,
            Some(Err(_)) => stop.is_stopped(),
            _ => false,
        };
        if is_interrupted {
            return Ok(self.interrupted(&run));
        }
        let scores = test.transpose()?;
        let outcome = RunResults {
            recipe: &recipe,
            model: &model,
            data: &data,
            history: &history,
            scores: scores.as_ref(),
            // Unknown for a resumed run.
            seconds,
            stop: &stop,
        };
        // The model is already saved, with or without a report.
        if let Err(error) = outcome.write(run.path()) {
            if stop.is_stopped() {
                return Ok(self.interrupted(&run));
            }
            output::note(&format!("no report: {error}"));
        }
        let report = TrainingResults { history, seconds, scores, run: &run };
        let json = report.json();
        run.set_finished(Some(&json))?;
        if self.json {
            output::json(&json)?
        } else {
            report.print(&model)?
        }
        Ok(ExitCode::SUCCESS)
    }

    fn fit(
        &self,
        recipe: &Recipe,
        run: &RunDir,
        model: &mut Model,
        data: &Loaded,
        (stop, peers): (&StopHandle, &Peers),
        quiet: bool,
    ) -> Result<History> {
        let checkpoint = Checkpoint::new(run.checkpoint()).freq(recipe.fit_settings().checkpoint_freq);
        let checkpoint = checkpoint.recipe(recipe.to_toml()?).resume(self.resume).accept_changes(self.accept_changes);
        let mut fit = recipe.fit()?.callback(HistoryFile(run)).checkpoint(checkpoint).stop_handle(stop);
        if let Some(validation) = &data.validation {
            fit = fit.validation_data(&**validation);
        }
        if let Some(peers) = peers {
            fit = fit.distributed(peers.clone());
        }
        // Added last, so that it overrides the recipe's callbacks.
        let fit = if quiet { fit.callback(ProgressBar::default().verbose(0)) } else { fit };
        fitted(model, recipe, data, fit)
    }

    /// Creates a new run of the recipe.
    fn new_run(&self) -> Result<(Recipe, RunDir)> {
        let recipe = Recipe::from_document(&self.document(None)?)?;
        let run = RunDir::create(self.out.as_deref(), recipe.name())?;
        run.write_config(&recipe.to_toml()?)?;
        Ok((recipe, run))
    }

    /// The run to resume, and its recipe, which must not have changed.
    fn resumed(&self) -> Result<(Recipe, RunDir)> {
        let name = match self.config.as_ref().or(self.model.as_ref()) {
            Some(path) => path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
            None => BUILT_IN.0.trim_end_matches(".toml").to_owned(),
        };
        let run = RunDir::resume(self.out.as_deref(), &name)?;
        let before = run.config()?;
        let name = run.config_path().display().to_string();
        let of_run = before.as_ref().map(|before| Document::parse(name, before)).transpose()?;
        let recipe = Recipe::from_document(&self.document(of_run)?)?;
        let now = recipe.to_toml()?;
        let changes = before.as_ref().map_or_else(Vec::new, |before| differences(before, &now));
        if !changes.is_empty() {
            if !self.accept_changes {
                let expected = format!("the recipe of the run in `{}` (or --accept-changes)", run.path().display());
                return Err(Error::argument("resume", expected, format!("another: {}", changes.join(", "))));
            }
            run.set_finished(None)?;
        }
        if before.as_ref() != Some(&now) {
            run.write_config(&now)?;
        }
        Ok((recipe, run))
    }

    /// Notes how to resume the run.
    fn interrupted(&self, run: &RunDir) -> ExitCode {
        output::note(&format!("interrupted; the current model is saved in {}", output::shown(&run.model())));
        let backend =
            self.compute.backend_argument().map_or_else(String::new, |backend| format!(" --backend {backend}"));
        output::note(&format!("to resume: brasa train --resume --out {}{backend}", quoted(run.path())));
        ExitCode::from(INTERRUPTED)
    }

    /// Sets a learning rate in `[compile]`, whatever the form of its optimizer.
    fn set_learning_rate(&self, document: &mut Document, rate: f64) -> Result<()> {
        let optimizer = match document.get("compile.optimizer") {
            Some(Json::String(name)) => json!({ "class_name": name, "learning_rate": rate }),
            Some(Json::Object(config)) => {
                let mut config = config.clone();
                config.insert("learning_rate".to_owned(), json!(rate));
                Json::Object(config)
            }
            _ => {
                let expected = "a recipe with [compile] and an optimizer in it";
                return Err(Error::argument("--lr", expected, "none"));
            }
        };
        document.set("compile.optimizer", optimizer)
    }

    /// The recipe, else that of the resumed run, with the changes of the command line.
    fn document(&self, of_run: Option<Document>) -> Result<Document> {
        // A random seed, and the decisions made when the data was first read, are kept for the whole run.
        let decided = ["fit.seed", "data.class_names", "data.pixels"];
        let decided = decided.map(|key| (key, of_run.as_ref().and_then(|document| document.get(key).cloned())));
        let own_data = of_run.as_ref().and_then(|document| document.get("data.dataset").cloned());
        let mut document = match (&self.config, of_run, &self.model) {
            (Some(path), ..) => Document::read(path)?,
            (None, Some(of_run), _) => of_run,
            (None, None, Some(model)) => Document::parse(model.display().to_string(), "data.dataset = \"mnist\"")?,
            (None, None, None) => Document::parse(BUILT_IN.0, BUILT_IN.1)?,
        };
        if let Some(path) = &self.model {
            let path = &model_file(path)?;
            document.remove("layers");
            document.remove("model");
            document.set("model.file", path_text(path)?)?;
        }
        let mut table = self.table.clone();
        if let Some(path) = &self.data {
            let set = DataSet::at(path)?;
            let mut outdated = vec!["dataset", "path", "data_dir", "x", "y", "sample_weight"];
            outdated.extend(["train", "validation", "test"]);
            if !matches!(set, DataSet::Csv { .. }) {
                outdated.extend(["text", "target", "header", "separator", "columns", "exclude", "missing"]);
                outdated.extend(["window", "stride", "sampling", "ahead"]);
            }
            if !matches!(set, DataSet::ImageFolder { .. }) {
                outdated.extend(["skip_broken"]);
            }
            if !matches!(set, DataSet::ImageFolder { .. } | DataSet::TextFolder { .. } | DataSet::Csv { .. }) {
                outdated.extend(["split_seed"]);
            }
            if !matches!(set, DataSet::ImageFolder { .. } | DataSet::Mnist { .. } | DataSet::FashionMnist { .. }) {
                outdated.extend(["pixels"]);
            }
            if let (DataSet::Csv { .. }, None, false, Some(model)) = (&set, &self.config, self.resume, &self.model) {
                // Without a recipe, the table is read like the one that the model was trained on.
                table = table.or_of_run(model);
            }
            for key in outdated {
                document.remove(&format!("data.{key}"));
            }
            let set = serde_json::to_value(set).map_err(|error| Error::Syntax(error.to_string()))?;
            for (key, value) in set.as_object().into_iter().flatten() {
                document.set(&format!("data.{key}"), value.clone())?;
            }
        }
        let data_dir = self.data_dir.as_deref().map(path_text).transpose()?;
        let same_data = own_data.is_some() && own_data.as_ref() == document.get("data.dataset");
        for (key, value) in decided {
            let counts = same_data || !key.starts_with("data.");
            if let (None, Some(value), true) = (document.get(key), value, counts) {
                document.set(key, value)?;
            }
        }
        let freq = self.checkpoint_freq.map(|freq| serde_json::to_value(freq).unwrap_or_default());
        if let Some(rate) = self.lr {
            self.set_learning_rate(&mut document, rate)?;
        }
        let names = self.known.names()?;
        let changes: [(&str, Option<Json>); 13] = [
            ("data.data_dir", data_dir.map(Json::from)),
            ("data.target", table.target.map(Json::from)),
            ("data.text", table.text.map(Json::from)),
            ("data.header", table.header.map(Json::from)),
            ("data.class_names", (!names.is_empty()).then(|| names.into())),
            ("data.pixels", self.known.pixels.map(|range| range.name().into())),
            ("data.skip_broken", self.skip_broken.then(|| true.into())),
            ("data.validation_split", self.validation_split.map(Json::from)),
            ("fit.epochs", self.epochs.map(Json::from)),
            ("fit.batch_size", self.batch_size.map(Json::from)),
            ("fit.seed", self.seed.map(Json::from)),
            ("fit.shuffle", self.no_shuffle.then(|| false.into())),
            ("fit.checkpoint_freq", freq),
        ];
        for (path, value) in changes {
            value.map_or(Ok(()), |value| document.set(path, value))?;
        }
        self.set.iter().try_for_each(|assignment| document.assign(assignment))?;
        Ok(document)
    }
}

/// A path quoted for a shell, on one line.
fn quoted(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// The results of a training.
struct TrainingResults<'a> {
    history: History,
    seconds: Option<f64>,
    scores: Option<Scores>,
    run: &'a RunDir,
}

impl TrainingResults<'_> {
    /// The scores of the epoch whose weights were restored: those of validation, or of training if there are none.
    fn restored(&self, epoch: usize) -> Vec<(&str, Score)> {
        let history = &self.history;
        let names = history.history.keys().chain(history.lists.keys()).map(String::as_str);
        let scores: Vec<(&str, Score)> = names.filter_map(|name| Some((name, history.at(name, epoch)?))).collect();
        let validated = scores.iter().any(|(name, _)| name.starts_with("val_"));
        scores
            .into_iter()
            .filter(|(name, _)| name.starts_with("val_") == validated && *name != "learning_rate")
            .collect()
    }

    fn json(&self) -> Json {
        let mut report = json!({
            "history": self.history.to_json(),
            "epochs": self.history.epoch.len(),
            "evaluation": self.scores.as_ref().map(to_json),
            "run_dir": self.run.path().display().to_string(),
            "images_per_second": self.history.samples_per_second,
        });
        if let Some(reason) = &self.history.stopped {
            report["stopped"] = reason.clone().into();
        }
        if let Some(epoch) = self.history.restored_epoch {
            let scores = self.restored(epoch).into_iter().map(|(name, score)| (name.to_owned(), json!(score)));
            report["restored"] = json!({ "epoch": epoch, "scores": Json::Object(scores.collect()) });
        }
        report
    }

    fn print(&self, model: &Model) -> Result<()> {
        if let Some(scores) = &self.scores {
            let mut parts: Vec<String> =
                scores.metrics.iter().map(|(name, value)| format!("{name} {}", output::score(name, value))).collect();
            parts.push(format!("loss {:.4}", scores.loss));
            output::line(format!("Test: {} ({} samples)", parts.join(", "), with_commas(scores.samples)))?;
        }
        if let Some(reason) = &self.history.stopped {
            output::line(format!("Stopped: {reason}"))?;
        }
        if let Some(epoch) = self.history.restored_epoch {
            let scores = self.restored(epoch);
            let scores = scores.iter().map(|(name, score)| format!("{name} {}", output::score(name, score)));
            let scores = scores.collect::<Vec<_>>().join(", ");
            output::line(format!("The saved model has the weights of epoch {}: {scores}", epoch + 1))?;
        }
        let epochs = self.history.epoch.len();
        let what = if model.input_shape()?.rank() >= 3 { "images" } else { "samples" };
        let rate = with_commas(self.history.samples_per_second as usize);
        let time = self.seconds.map_or_else(String::new, |seconds| format!(" in {}", format_duration(seconds)));
        let s = if epochs == 1 { "" } else { "s" };
        output::line(format!("Trained {epochs} epoch{s}{time}, {rate} {what}/s"))?;
        output::line(format!("Model: {}", output::shown(&self.run.model())))
    }
}
