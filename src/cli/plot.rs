//! `brasa plot`: compares runs.

use std::path::PathBuf;

use brasa::Result;
use brasa::report::{Curves, compare, compare_in_terminal};
use clap::{Args, ValueHint};

use super::help::examples;
use super::output;

/// Compare runs: the loss or other metrics over the epochs, as characters in the terminal or as a chart.
#[derive(Args, Debug)]
#[command(after_help = examples!(
    "brasa plot runs/a runs/b --metric loss --metric val_loss"
    "brasa plot runs/a runs/b --metric val_accuracy --output runs.svg"
))]
pub struct Plot {
    /// The runs' directories, or tables of epochs (.csv).
    #[arg(value_name = "RUN", required = true, value_hint = ValueHint::AnyPath)]
    runs: Vec<PathBuf>,

    /// What to compare, such as loss, accuracy or val_loss; may be given several times.
    #[arg(long, value_name = "NAME", default_value = "loss")]
    metric: Vec<String>,

    /// Write a chart (.svg or .png) in place of characters.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
}

impl Plot {
    pub fn run(self) -> Result<()> {
        let mut runs = self.runs.iter().map(Curves::read).collect::<Result<Vec<_>>>()?;
        let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
        for (run, path) in runs.iter_mut().zip(&self.runs) {
            // Runs of the same name are distinguished by their path.
            if names.iter().filter(|name| **name == run.name).count() > 1 {
                run.name = path.display().to_string();
            }
        }
        let metrics: Vec<&str> = self.metric.iter().map(String::as_str).collect();
        match &self.output {
            Some(path) => {
                compare(&runs, &metrics)?.save(path)?;
                output::line(format!("Chart: {}", output::shown(path)))
            }
            None => {
                let (width, colours) = output::terminal();
                output::write(compare_in_terminal(&runs, &metrics, width, colours)?.as_bytes())
            }
        }
    }
}
