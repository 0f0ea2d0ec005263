//! `brasa runs`: lists runs, finds the best, and compares recipes.

use std::fs;
use std::path::{Path, PathBuf};

use brasa::formats::read_text;
use brasa::recipe::differences;
use brasa::report::Curves;
use brasa::text::printable;
use brasa::{Error, Result};
use clap::{Args, Subcommand, ValueHint};
use serde_json::{Value as Json, json};

use super::help::examples;
use super::output;
use super::run_dir::finished_in;
use super::run_name::CONFIG;

/// The most bytes of a recipe.
const MOST_BYTES: u64 = 1 << 20;

/// List runs, find the best of them, or compare them.
#[derive(Args, Debug)]
#[command(after_help = examples!(
    "brasa runs"
    "brasa runs best --metric val_accuracy"
    "brasa runs compare runs/a runs/b"
))]
pub struct Runs {
    #[command(subcommand)]
    command: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The runs in a folder, the newest last: epochs, scores, and whether they are finished.
    List(List),
    /// The run with the best score.
    Best(Best),
    /// What the recipes of runs say differently, and their scores.
    Compare(Compare),
}

#[derive(Args, Debug)]
#[command(after_help = examples!("brasa runs list runs"))]
struct List {
    /// The folder of the runs.
    #[arg(default_value = "runs", value_hint = ValueHint::DirPath)]
    folder: PathBuf,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = examples!("brasa runs best --metric val_accuracy"))]
struct Best {
    /// The folder of the runs.
    #[arg(default_value = "runs", value_hint = ValueHint::DirPath)]
    folder: PathBuf,

    /// By what: a name of the history, such as val_loss or val_accuracy (default: val_loss, else loss). The least
    /// counts of losses and errors, of anything else the greatest.
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = examples!("brasa runs compare runs/a runs/b --json"))]
struct Compare {
    /// The runs' directories.
    #[arg(value_name = "RUN", required = true, num_args = 2.., value_hint = ValueHint::DirPath)]
    runs: Vec<PathBuf>,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// A run read from its directory.
struct Run {
    path: PathBuf,
    curves: Curves,
    /// The report, if the run is finished.
    report: Option<Json>,
}

impl Runs {
    pub fn run(self) -> Result<()> {
        match self.command {
            None => List { folder: "runs".into(), json: false }.run(),
            Some(What::List(list)) => list.run(),
            Some(What::Best(best)) => best.run(),
            Some(What::Compare(compare)) => compare.run(),
        }
    }
}

impl Run {
    fn read(path: &Path) -> Result<Self> {
        let report = finished_in(path)?.and_then(|text| serde_json::from_str(&text).ok());
        Ok(Self { path: path.to_owned(), curves: Curves::read(path)?, report })
    }

    /// All runs in a folder, by name.
    fn all(folder: &Path) -> Result<Vec<Self>> {
        let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.join(CONFIG).is_file());
        paths.sort();
        let mut runs = Vec::new();
        for path in paths {
            match Self::read(&path) {
                Ok(run) => runs.push(run),
                // A run that has just started has no history yet.
                Err(error) => output::note(&format!("`{}` is left out: {error}", output::shown(&path))),
            }
        }
        Ok(runs)
    }

    /// The best value of a metric over the epochs, with its epoch from 0.
    fn best(&self, metric: &str) -> Option<(usize, f64)> {
        let values = self.curves.values.get(metric)?;
        let known = values.iter().zip(&self.curves.epochs).filter_map(|(value, epoch)| Some((*epoch, (*value)?)));
        let known = known.filter(|(_, value)| value.is_finite());
        known.reduce(|best, one| if better(metric, one.1, best.1) { one } else { best })
    }

    /// The metric to compare by.
    fn main_metric(&self) -> &'static str {
        if self.curves.values.contains_key("val_loss") { "val_loss" } else { "loss" }
    }

    /// The scores on the test data, if there is any.
    fn test(&self) -> Option<&Json> {
        self.report.as_ref()?.get("evaluation").filter(|scores| !scores.is_null())
    }

    fn json(&self) -> Json {
        let (metric, best) = (self.main_metric(), self.best(self.main_metric()));
        json!({
            "run": self.path.display().to_string(),
            "epochs": self.curves.epochs.len(),
            "finished": self.report.is_some(),
            "best": best.map(|(epoch, value)| json!({ "metric": metric, "value": value, "epoch": epoch })),
            "evaluation": self.test(),
        })
    }

    fn line(&self) -> String {
        let metric = self.main_metric();
        let best = self.best(metric);
        let best = best.map(|(epoch, value)| format!("{metric} {value:.4} (epoch {})", epoch + 1)).unwrap_or_default();
        let test = self.test().map(|scores| {
            let metrics = scores.get("metrics").and_then(Json::as_object).into_iter().flatten();
            let metrics = metrics.filter_map(|(name, value)| Some(format!("{name} {:.4}", value.as_f64()?)));
            let loss = scores.get("loss").and_then(Json::as_f64).map(|loss| format!("loss {loss:.4}"));
            format!("test: {}", metrics.chain(loss).collect::<Vec<_>>().join(", "))
        });
        let state = if self.report.is_some() { "" } else { "not finished" };
        let epochs = match self.curves.epochs.len() {
            1 => "1 epoch".to_owned(),
            count => format!("{count} epochs"),
        };
        let parts = [output::shown(&self.path), epochs, best, test.unwrap_or_default(), state.to_owned()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
    }
}

/// Whether a value of a metric is better than another: lower for losses and errors, higher for anything else.
fn better(metric: &str, one: f64, other: f64) -> bool {
    let name = metric.trim_start_matches("val_");
    let less = ["loss", "error", "mse", "mae", "rmse", "mape", "msle", "poisson", "entropy", "hinge", "divergence"];
    if less.iter().any(|part| name.contains(part)) { one < other } else { one > other }
}

impl List {
    fn run(self) -> Result<()> {
        let runs = Run::all(&self.folder)?;
        if self.json {
            return output::json(&runs.iter().map(Run::json).collect());
        }
        if runs.is_empty() {
            return output::line(format!("no runs in `{}`", output::shown(&self.folder)));
        }
        runs.iter().try_for_each(|run| output::line(run.line()))
    }
}

impl Best {
    fn run(self) -> Result<()> {
        let runs = Run::all(&self.folder)?;
        let default = if runs.iter().any(|run| run.main_metric() == "val_loss") { "val_loss" } else { "loss" };
        let metric = self.metric.as_deref().unwrap_or(default);
        let scored = runs.iter().filter_map(|run| Some((run, run.best(metric)?)));
        let best = scored.reduce(|best, one| if better(metric, one.1.1, best.1.1) { one } else { best });
        let Some((run, (epoch, value))) = best else {
            let mut names: Vec<&String> = runs.iter().flat_map(|run| run.curves.values.keys()).collect();
            names.sort();
            names.dedup();
            if names.is_empty() {
                return Err(Error::argument("folder", "a folder with runs in it", self.folder.display()));
            }
            return Err(Error::unknown("metric", metric, names));
        };
        if self.json {
            let path = run.path.display().to_string();
            return output::json(&json!({ "run": path, "metric": metric, "value": value, "epoch": epoch }));
        }
        let path = output::shown(&run.path);
        output::line(format!("{path}: {} {value:.4} in epoch {}", printable(metric), epoch + 1))
    }
}

impl Compare {
    fn run(self) -> Result<()> {
        let runs = self.runs.iter().map(|path| Run::read(path)).collect::<Result<Vec<_>>>()?;
        let recipe = |run: &Run| read_text(&run.path.join(CONFIG), MOST_BYTES);
        let first = recipe(&runs[0])?;
        let changes = runs[1..].iter().map(|run| Ok(differences(&first, &recipe(run)?)));
        let changes = changes.collect::<Result<Vec<_>>>()?;
        if self.json {
            let with = |(run, changes): (&Run, &Vec<String>)| {
                let mut json = run.json();
                json["changes"] = json!(changes);
                json
            };
            let none = Vec::new();
            return output::json(&runs.iter().zip(std::iter::once(&none).chain(&changes)).map(with).collect());
        }
        output::line(runs[0].line())?;
        for (run, changes) in runs[1..].iter().zip(&changes) {
            output::line(run.line())?;
            for change in changes {
                output::line(format!("  {change}"))?;
            }
            if changes.is_empty() {
                output::line("  the same recipe")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_is_better_for_losses_and_errors() {
        assert!(better("val_loss", 0.1, 0.2) && better("mae", 0.1, 0.2) && better("root_mean_squared_error", 1.0, 2.0));
        assert!(better("val_accuracy", 0.9, 0.8) && better("auc", 0.9, 0.8));
    }
}
