//! `brasa check`: validates a recipe without training.

use std::path::PathBuf;

use brasa::datasets::{Part, Source};
use brasa::recipe::{Document, Recipe};
use brasa::text::with_commas;
use brasa::training::Evaluate;
use brasa::{Error, Model, Result};
use clap::{Args, ValueHint};
use serde_json::json;

use super::compute::Compute;
use super::help::examples;
use super::output;
use super::prepared::prepared;

/// Read a recipe and its data, and compute a batch, without training: shapes, classes, files that are broken.
#[derive(Args, Debug)]
#[command(after_help = examples!("brasa check recipe.toml" "brasa check recipe.toml --set 'data.path=other.csv'"))]
pub struct Check {
    /// The recipe (.toml).
    #[arg(value_name = "RECIPE", value_hint = ValueHint::FilePath)]
    recipe: PathBuf,

    /// Change the recipe: a dotted key and a TOML value, as in data.path="other.csv".
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,

    #[command(flatten)]
    compute: Compute,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub fn run(self) -> Result<()> {
        let mut document = Document::read(&self.recipe)?;
        self.set.iter().try_for_each(|assignment| document.assign(assignment))?;
        let recipe = Recipe::from_document(&document)?;
        let device = self.compute.device()?;
        // Report all broken files, not only the first.
        let mut data = recipe.data().clone();
        let refuses = !std::mem::replace(&mut data.skip_broken, true);
        let (model, data) = prepared(&recipe, &data, &device)?;
        let counts = match data.shards {
            Some(_) => Vec::new(),
            None => class_counts(&*data.train, data.info.class_names.len())?,
        };
        let batch = Part::new(&*data.train, ..data.train.len().min(recipe.fit_settings().batch_size))?;
        let scores = model.evaluate_with(&batch, Evaluate::new().batch_size(recipe.fit_settings().batch_size))?;
        let lengths = [
            // Shards have not been counted.
            data.shards.is_none().then(|| data.train.len()),
            data.validation.as_ref().map(|data| data.len()),
            data.test.as_ref().map(|data| data.len()),
        ];
        if self.json {
            output::json(&json!({
                "samples": { "train": lengths[0], "validation": lengths[1], "test": lengths[2] },
                "input_shape": data.train.x_shape(),
                "target_shape": data.train.y_shape(),
                "output_shape": model.output_shape()?.to_string(),
                "params": model.count_params()?,
                "class_names": data.info.class_names,
                "class_counts": counts,
                "broken": data.broken,
                "loss": scores.loss,
            }))?;
        } else {
            self.print(&recipe, &model, &data.info.class_names, &counts, lengths, &*data.train)?;
            output::line(format!("A batch of {}: loss {:.4} before training", batch.len(), scores.loss))?;
        }
        if !scores.loss.is_finite() {
            return Err(Error::data("the loss of a batch", "a finite number", scores.loss));
        }
        if data.broken > 0 && refuses {
            let expected = "images that can be decoded (skip_broken = true leaves others out)";
            return Err(Error::data("[data]", expected, format!("{} that cannot", data.broken)));
        }
        if !self.json {
            output::line("The recipe is ready to train")?;
        }
        Ok(())
    }

    fn print(
        &self,
        recipe: &Recipe,
        model: &Model,
        names: &[String],
        counts: &[usize],
        [train, validation, test]: [Option<usize>; 3],
        data: &dyn Source,
    ) -> Result<()> {
        let part = |count: Option<usize>, of: &str| count.map(|count| format!(", {} to {of}", with_commas(count)));
        let split = recipe.data().validation_split;
        let held_back = if validation.is_none() && split > 0.0 {
            format!(" (the last {} % to validate with)", split * 100.0)
        } else {
            String::new()
        };
        output::line(format!(
            "Samples: {} to train on{held_back}{}{}",
            train.map_or_else(|| "shards".to_owned(), with_commas),
            part(validation, "validate with").unwrap_or_default(),
            part(test, "test with").unwrap_or_default()
        ))?;
        output::line(format!("Inputs of shape {:?}, targets of shape {:?}", data.x_shape(), data.y_shape()))?;
        output::line(format!(
            "Model: {} layers, {} parameters, outputs {}",
            model.layers().len(),
            with_commas(model.count_params()?),
            model.output_shape()?
        ))?;
        if !counts.is_empty() {
            let each = names.iter().zip(counts).map(|(name, count)| format!("{name} {}", with_commas(*count)));
            output::line(format!("Classes: {}", each.collect::<Vec<_>>().join(", ")))?;
        }
        Ok(())
    }
}

/// The number of samples in each class, if classes have names.
fn class_counts(data: &dyn Source, classes: usize) -> Result<Vec<usize>> {
    let mut counts = vec![0; classes];
    if let (true, Some(targets)) = (classes > 0 && data.y_shape().iter().all(|size| *size == 1), data.targets()) {
        for target in targets.to_vec_f32() {
            if let Some(count) = counts.get_mut(target as usize) {
                *count += 1;
            }
        }
        return Ok(counts);
    }
    Ok(Vec::new())
}
