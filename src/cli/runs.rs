//! `brasa runs`: lists runs, finds the best, and compares recipes.

use std::fs;
use std::path::{Path, PathBuf};

use brasa::formats::read_text;
use brasa::metrics::less_is_better;
use brasa::recipe::{Document, differences};
use brasa::report::Curves;
use brasa::text::printable;
use brasa::{Error, Result};
use clap::{Args, Subcommand, ValueEnum, ValueHint};
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
    command: Option<RunsAction>,
}

#[derive(Debug, Subcommand)]
enum RunsAction {
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

    /// By what: a name of the history, such as val_loss or val_accuracy (default: val_loss, else loss).
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,

    /// Whether the least or the greatest is the best (default: the least of losses and errors, the greatest of
    /// accuracies and the like).
    #[arg(long, value_enum, value_name = "MODE")]
    mode: Option<Better>,

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
struct RunEntry {
    path: PathBuf,
    curves: Curves,
    /// The report, if the run is finished.
    report: Option<Json>,
}

impl Runs {
    pub fn run(self) -> Result<()> {
        match self.command {
            None => List { folder: "runs".into(), json: false }.run(),
            Some(RunsAction::List(list)) => list.run(),
            Some(RunsAction::Best(best)) => best.run(),
            Some(RunsAction::Compare(compare)) => compare.run(),
        }
    }
}

impl RunEntry {
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
    fn best(&self, metric: &str, mode: Better) -> Option<(usize, f64)> {
        let values = self.curves.values.get(metric)?;
        let known = values.iter().zip(&self.curves.epochs).filter_map(|(value, epoch)| Some((*epoch, (*value)?)));
        let known = known.filter(|(_, value)| value.is_finite());
        known.reduce(|best, one| if mode.better(one.1, best.1) { one } else { best })
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
        let (metric, best) = (self.main_metric(), self.best(self.main_metric(), Better::Min));
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
        let best = self.best(metric, Better::Min);
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
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        laid_out(&parts, output::terminal().0.max(40))
    }
}

/// Parts of a line beside each other, and on the next line what does not fit.
fn laid_out(parts: &[String], columns: usize) -> String {
    let (mut text, mut column) = (String::new(), 0);
    for part in parts {
        let width = console::measure_text_width(part);
        if column == 0 {
            column = width;
        } else if column + 2 + width <= columns {
            text += "  ";
            column += 2 + width;
        } else {
            text += "\n    ";
            column = 4 + width;
        }
        text += part;
    }
    text
}

/// Which of two values is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Better {
    /// The least.
    Min,
    /// The greatest.
    Max,
}

impl Better {
    fn better(self, one: f64, other: f64) -> bool {
        match self {
            Self::Min => one < other,
            Self::Max => one > other,
        }
    }

    /// That of a metric of the history, which the recipe of a run may have given a name of its own.
    fn of(metric: &str, recipe: Option<&Document>) -> Option<Self> {
        let metric = metric.strip_prefix("val_").unwrap_or(metric);
        // Those of several outputs begin with the output's name, and the second of a name ends with a number.
        let counted = metric.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_');
        let starts = [metric, counted].into_iter().flat_map(|name| {
            let behind = name.match_indices('_').map(move |(index, _)| &name[index + 1..]);
            std::iter::once(name).chain(behind)
        });
        let settings = recipe.and_then(|recipe| recipe.get("compile"));
        let mut classes = starts.filter_map(|name| match settings.and_then(|settings| class_named(settings, name)) {
            Some(class) => less_is_better(class),
            None => less_is_better(name),
        });
        classes.next().map(|less| if less { Self::Min } else { Self::Max })
    }
}

/// The class of the metric that was given a name, among the settings of `compile`.
fn class_named<'a>(settings: &'a Json, name: &str) -> Option<&'a str> {
    match settings {
        Json::Array(list) => list.iter().find_map(|one| class_named(one, name)),
        Json::Object(map) => {
            let own = map.get("name").or_else(|| map.get("config")?.get("name")).and_then(Json::as_str);
            match map.get("class_name").and_then(Json::as_str) {
                Some(class) if own == Some(name) => Some(class),
                _ => map.values().find_map(|one| class_named(one, name)),
            }
        }
        _ => None,
    }
}

impl List {
    fn run(self) -> Result<()> {
        let runs = RunEntry::all(&self.folder)?;
        if self.json {
            return output::json(&runs.iter().map(RunEntry::json).collect());
        }
        if runs.is_empty() {
            return output::line(format!("no runs in `{}`", output::shown(&self.folder)));
        }
        runs.iter().try_for_each(|run| output::line(run.line()))
    }
}

impl Best {
    fn run(self) -> Result<()> {
        let runs = RunEntry::all(&self.folder)?;
        let default = if runs.iter().any(|run| run.main_metric() == "val_loss") { "val_loss" } else { "loss" };
        let metric = self.metric.as_deref().unwrap_or(default);
        let with = |run: &&RunEntry| run.curves.values.contains_key(metric);
        let recipe = runs.iter().find(with).and_then(|run| Document::read(run.path.join(CONFIG)).ok());
        let mode = self.mode.or_else(|| Better::of(metric, recipe.as_ref()));
        let scored = |mode: Better| {
            let scored = runs.iter().filter_map(|run| Some((run, run.best(metric, mode)?)));
            scored.reduce(|best, one| if mode.better(one.1.1, best.1.1) { one } else { best })
        };
        if let (None, Some(_)) = (mode, runs.iter().find(with)) {
            let expected = format!("min or max, as nothing tells which way `{metric}` improves");
            return Err(Error::argument("--mode", expected, "nothing"));
        }
        let Some((run, (epoch, value))) = mode.and_then(scored) else {
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
        let runs = self.runs.iter().map(|path| RunEntry::read(path)).collect::<Result<Vec<_>>>()?;
        let recipe = |run: &RunEntry| read_text(&run.path.join(CONFIG), MOST_BYTES);
        let first = recipe(&runs[0])?;
        let changes = runs[1..].iter().map(|run| Ok(differences(&first, &recipe(run)?)));
        let changes = changes.collect::<Result<Vec<_>>>()?;
        if self.json {
            let with = |(run, changes): (&RunEntry, &Vec<String>)| {
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
    fn what_does_not_fit_stands_on_the_next_line() {
        let parts = ["runs/a".to_owned(), "30 epochs".into(), "val_loss 0.1 (epoch 3)".into(), "test: loss 0.2".into()];
        assert_eq!(laid_out(&parts, 80), "runs/a  30 epochs  val_loss 0.1 (epoch 3)  test: loss 0.2");
        assert_eq!(laid_out(&parts, 42), "runs/a  30 epochs  val_loss 0.1 (epoch 3)\n    test: loss 0.2");
        assert_eq!(laid_out(&parts[..1], 2), "runs/a");
    }

    #[test]
    fn metrics_have_a_direction_by_their_names_and_by_those_of_the_recipe() {
        let recipe = "[compile]\nloss = \"mse\"\n[[compile.metrics]]\nclass_name = \"AUC\"\nname = \"roc\"\n\
                      [[compile.metrics]]\nclass_name = \"FalsePositives\"\nname = \"alarms\"\n";
        let recipe = Document::parse("r.toml", recipe).unwrap();
        let of = |metric: &str| Better::of(metric, Some(&recipe));
        let less =
            ["val_loss", "mae", "logcosh", "val_huber", "kld", "false_negatives", "head_mse", "price_loss", "alarms"];
        assert!(less.iter().all(|metric| of(metric) == Some(Better::Min)));
        let more = ["val_accuracy", "auc_1", "head_auc", "true_positives", "val_roc", "head_mean_io_u"];
        assert!(more.iter().all(|metric| of(metric) == Some(Better::Max)));
        assert_eq!((of("steps"), Better::of("roc", None)), (None, None));
    }
}
