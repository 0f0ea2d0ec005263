//! `brasa convert`: a model or its weights in another file format.

use std::path::PathBuf;

use brasa::model::{Contents, FileFormat};
use brasa::{Error, Model, Result};
use clap::{Args, ValueHint};

use super::help::examples;
use super::output;

/// Write a model or its weights in another format; the names' endings choose the formats.
///
/// .keras, .h5 and .safetensors hold a whole model, .json a model without weights, .weights.h5 weights alone. .onnx is
/// written alone: a model for prediction in other runtimes (IR version 8, opset 17, a batch of any size).
#[derive(Args, Debug)]
#[command(after_help = examples!(
    "brasa convert model.h5 model.keras"
    "brasa convert model.keras model.safetensors"
    "brasa convert model.weights.h5 model.keras --model model.json"
    "brasa convert model.keras model.onnx"
))]
pub struct Convert {
    /// The file to read.
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    from: PathBuf,

    /// The file to write; one that is there is replaced.
    #[arg(value_name = "OUT", value_hint = ValueHint::FilePath)]
    to: PathBuf,

    /// The model to which the weights belong, if IN holds weights alone or OUT is to have none of its own (.json).
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    model: Option<PathBuf>,
}

impl Convert {
    pub fn run(mut self) -> Result<()> {
        self.from = super::model_file::model_file(&self.from)?;
        let from = FileFormat::of(&self.from)?;
        if self.to.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("onnx")) {
            self.read(from, FileFormat::Keras)?.save_onnx(&self.to)?;
            return self.report();
        }
        let to = FileFormat::of(&self.to)?;
        let model = self.read(from, to)?;
        match to {
            FileFormat::WeightsH5 => model.save_weights(&self.to)?,
            _ => model.save(&self.to)?,
        }
        self.report()
    }

    fn report(&self) -> Result<()> {
        output::line(format!("{} → {}", output::shown(&self.from), output::shown(&self.to)))
    }

    /// The model, with the weights that OUT can hold.
    fn read(&self, from: FileFormat, to: FileFormat) -> Result<Model> {
        if let Some(model) = &self.model {
            let mut model = Model::load_architecture(model)?;
            model.load_weights(&self.from)?;
            return Ok(model);
        }
        if !to.has_weights() {
            return Model::load_architecture(&self.from);
        }
        if !from.has_weights() {
            return Err(Error::argument(
                "OUT",
                "a file without weights (`.json`), as IN has none; `convert WEIGHTS OUT --model IN` puts both together",
                format!("`{}`", self.to.display()),
            ));
        }
        let loaded = Model::load(&self.from);
        if matches!(loaded, Err(Error::Unsupported { .. }))
            && matches!(Contents::of(&self.from), Ok(Contents::Weights(_)))
        {
            return Err(Error::argument(
                "--model",
                format!("a file with the model, as `{}` holds weights alone", self.from.display()),
                "nothing",
            ));
        }
        loaded
    }
}
