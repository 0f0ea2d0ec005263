//! `brasa evaluate`: loss and metrics of a saved model.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use brasa::datasets::OneHot;
use brasa::recipe::DataSet;
use brasa::report::Classes;
use brasa::text::with_commas;
use brasa::training::{Evaluate as Arguments, Scores, Verbosity};
use brasa::{Error, Model, Result};
use clap::Args;
use serde_json::{Value as Json, json};

use super::compute::Compute;
use super::table::Table;
use super::{needs_weights, output};

/// Compute loss and metrics of a model; for a classifier also how well it tells its classes apart.
#[derive(Args, Debug)]
pub struct Evaluate {
    /// The model (.keras, .h5 or .safetensors), saved with its loss and metrics.
    model: PathBuf,

    /// The data: .npz, .csv, or a folder with a folder of pictures for each class. Its test part if it has one.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dataset", "data_dir"])]
    data: Option<PathBuf>,

    #[command(flatten)]
    table: Table,

    /// The test part of a published data set: mnist or fashion_mnist.
    #[arg(long, value_name = "NAME", default_value = "mnist")]
    dataset: String,

    /// The folder of the data set's files.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Number of samples at once.
    #[arg(long, value_name = "N", default_value = "128")]
    batch_size: NonZeroUsize,

    #[command(flatten)]
    compute: Compute,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

impl Evaluate {
    pub fn run(self, quiet: bool) -> Result<()> {
        needs_weights(&self.model)?;
        let device = self.compute.device()?;
        let mut set = match self.data {
            Some(path) => DataSet::at(path)?,
            None => DataSet::named(&self.dataset, self.data_dir)?,
        };
        let is_table = matches!(set, DataSet::Csv { .. });
        let table = if is_table { self.table.or_of_run(&self.model) } else { self.table };
        table.put_into(&mut set)?;
        let model = Model::load_on(&self.model, &device)?;
        if !model.is_compiled() {
            let name = self.model.display();
            let needs = match model.compile_fault() {
                Some(fault) => format!("compiled (`{name}`): {fault}"),
                None => format!("compiled: `{name}` was saved without loss and metrics"),
            };
            return Err(Error::State { action: "evaluate", needs });
        }
        let loaded = set.load(model.input_shape().ok(), 0)?;
        output::notes(&loaded.notes);
        let mut data = loaded.test.unwrap_or(loaded.train);
        if let Some(classes) = model.one_hot_classes(data.y_shape()) {
            tracing::info!("class numbers are compared as one-hot rows of {classes}, as the loss needs them");
            data = Box::new(OneHot::new(data, classes)?);
        }
        tracing::info!("{} samples of shape {:?}", data.len(), data.x_shape());
        let batch_size = self.batch_size.get();
        let verbosity = if quiet { Verbosity::Silent } else { Verbosity::Auto };
        let scores = model.evaluate_with(&*data, Arguments::new().batch_size(batch_size).verbose(verbosity))?;
        let classes = Classes::of(&model, &*data, batch_size, &loaded.class_names)?;
        if self.json {
            let mut report = to_json(&scores);
            if let Some(classes) = classes {
                report["confusion_matrix"] = json!(classes.counts);
            }
            return output::json(&report);
        }
        for (name, value) in scores.logs() {
            output::line(format!("{name}: {}", output::score(&name, &value)))?;
        }
        output::line(format!("samples: {}", with_commas(scores.samples)))?;
        match classes {
            Some(classes) => output::line(format!("\n{classes}")),
            None => Ok(()),
        }
    }
}

/// Scores as `--json` prints them.
pub fn to_json(scores: &Scores) -> Json {
    let metrics: serde_json::Map<String, Json> =
        scores.metrics.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({ "loss": scores.loss, "metrics": metrics, "samples": scores.samples })
}
