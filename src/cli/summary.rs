//! `brasa summary`: the table of a model's layers, or the list of a file's weights.

use std::path::{Path, PathBuf};

use brasa::backend::Backend;
use brasa::model::summary::Style;
use brasa::model::{Contents, StoredWeight};
use brasa::recipe::Recipe;
use brasa::report::plot_summary;
use brasa::text::{printable, with_commas};
use brasa::{Error, Result};
use clap::{Args, ValueHint};
use serde_json::json;

use super::help::{STYLES, examples, offering};
use super::output;

/// Show what is in a file: the layers of a model, their output shapes and parameters, or the weights and their shapes.
///
/// No weight is read or made.
#[derive(Args, Debug)]
#[command(after_help = examples!(
    "brasa summary model.keras --style keras3"
    "brasa summary recipe.toml --plot network.svg"
    "brasa summary model.weights.h5"
))]
pub struct Summary {
    /// A model (.keras, .h5, .safetensors, .json), weights alone (.weights.h5 and others) or a recipe (.toml).
    #[arg(value_name = "MODEL|RECIPE", value_hint = ValueHint::FilePath)]
    model: PathBuf,

    /// How it is printed: as Keras did up to version 2.11 (classic) or up to 2.15 (keras2), or as Keras 3 does.
    #[arg(long, default_value = "classic", value_parser = offering::<Style>(STYLES))]
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

    /// Draw the layers too, as a diagram (.svg or .png).
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    plot: Option<PathBuf>,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

impl Summary {
    pub fn run(self) -> Result<()> {
        let summary = match read(&super::model_file::model_file(&self.model)?)? {
            Contents::Model(summary) => summary,
            Contents::Weights(_) if self.plot.is_some() => {
                let received = format!("`{}`, which holds weights alone", self.model.display());
                return Err(Error::argument("--plot", "a file with a model", received));
            }
            Contents::Weights(weights) => return list(&weights, self.json),
            _ => return Err(Error::unsupported(format!("`{}`", self.model.display()), "a model or weights in a file")),
        };
        let mut summary =
            summary.style(self.style).expand_nested(self.expand_nested).show_trainable(self.show_trainable);
        if let Some(path) = &self.plot {
            plot_summary(&summary).save(path)?;
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

/// The contents of a file. A summary needs no device but the CPU.
fn read(path: &Path) -> Result<Contents> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => {
            let model = Recipe::read(path)?.model(&Backend::default().device()?)?;
            Ok(Contents::Model(model.summary()))
        }
        _ => Contents::of(path),
    }
}

/// Prints a line for each weight, then the number of weights and values.
fn list(weights: &[StoredWeight], as_json: bool) -> Result<()> {
    let count = |weight: &StoredWeight| weight.shape.iter().fold(1usize, |count, size| count.saturating_mul(*size));
    let total = weights.iter().map(count).fold(0usize, usize::saturating_add);
    if as_json {
        let list: Vec<_> = weights.iter().map(|weight| json!({ "name": weight.name, "shape": weight.shape })).collect();
        return output::json(&json!({ "weights": list, "total_params": total }));
    }
    let width = weights.iter().map(|weight| weight.name.chars().count()).max().unwrap_or(0).min(100);
    for weight in weights {
        let sizes: Vec<String> = weight.shape.iter().map(usize::to_string).collect();
        let name = printable(&weight.name);
        output::line(format!("{name:width$}  ({})", sizes.join(", ")))?;
    }
    output::line(format!("{} weights, {} values", weights.len(), with_commas(total)))
}
