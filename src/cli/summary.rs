//! `brasa summary`: the table of a model's layers.

use std::path::{Path, PathBuf};

use brasa::backend::Backend;
use brasa::model::summary::Style;
use brasa::recipe::Recipe;
use brasa::report::plot_summary;
use brasa::{Error, Result, Sequential};
use clap::Args;

use super::output;

/// Show the layers of a model, their output shapes and their parameters.
#[derive(Args, Debug)]
pub struct Summary {
    /// A model (.keras, or .json without weights) or a recipe (.toml).
    #[arg(value_name = "MODEL|CONFIG")]
    model: PathBuf,

    /// classic, as Keras up to version 2.11, or keras3.
    #[arg(long, default_value = "classic")]
    style: Style,

    /// Characters in a line.
    #[arg(long, value_name = "N")]
    line_length: Option<usize>,

    /// Show the layers of nested models too.
    #[arg(long)]
    expand_nested: bool,

    /// Show which layers may be trained.
    #[arg(long)]
    show_trainable: bool,

    /// Draw the layers too, into a picture (.svg or .png).
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

impl Summary {
    pub fn run(self) -> Result<()> {
        let model = read(&self.model)?;
        let summary = model.summary();
        let mut summary =
            summary.style(self.style).expand_nested(self.expand_nested).show_trainable(self.show_trainable);
        if let Some(path) = &self.plot {
            plot_summary(&summary, model.input_shape().ok()).save(path)?;
        }
        if self.json {
            return output::json(&summary.to_json());
        }
        if let Some(characters) = self.line_length {
            summary = summary.line_length(characters)?;
        }
        output::line(summary)
    }
}

/// The model that a file holds or describes. A table needs no device other than the CPU.
fn read(path: &Path) -> Result<Sequential> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => Recipe::read(path)?.model(&Backend::default().device()?),
        Some("json") => {
            let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
            Sequential::from_json(&text)
        }
        _ => Sequential::load_on(path, &Backend::default().device()?),
    }
}
