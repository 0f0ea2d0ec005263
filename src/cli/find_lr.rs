//! `brasa train --find-lr`: a learning rate range test in place of a training.

use std::path::Path;

use brasa::burn::tensor::Device;
use brasa::datasets::{Part, Source, split_index};
use brasa::recipe::{DataSet, Recipe};
use brasa::report::{learning_rates_in_terminal, plot_learning_rates};
use brasa::training::{FindLearningRate, LearningRates};
use brasa::{Error, Result};
use serde_json::json;

use super::output;

/// The file name of the chart.
const CHART: &str = "lr_finder.svg";

/// The most rows of the table.
const ROWS: usize = 17;

/// Runs the learning rate range test on the recipe's training data, and prints the losses with a proposal.
///
/// # Errors
/// Those of the recipe's model and data, and of [`brasa::Model::find_learning_rate`].
pub fn run(recipe: &Recipe, device: &Device, out: Option<&Path>, as_json: bool, quiet: bool) -> Result<()> {
    if let DataSet::Shards { .. } = recipe.data().set {
        return Err(Error::unsupported("--find-lr with shards", "data with samples by index"));
    }
    let (model, loaded) = super::prepared::model_and_data(recipe, device)?;
    let settings = recipe.fit_settings();
    let data = loaded.train;
    // The validation split is not trained on.
    let split = recipe.data().validation_split;
    let end = if split > 0.0 { split_index(data.len(), split)? } else { data.len() };
    let train = Part::new(data, ..end)?;
    let find = FindLearningRate::new().batch_size(settings.batch_size).shuffle(settings.shuffle).seed(settings.seed);
    let find = match settings.class_weight.is_empty() {
        true => find,
        false => find.class_weight(settings.class_weight.clone()),
    };
    let rates = model.find_learning_rate(&train, find)?;
    let chart = match out {
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
            let path = folder.join(CHART);
            plot_learning_rates(&rates).save(&path)?;
            Some(path.display().to_string())
        }
        None => None,
    };
    if as_json {
        return output::json(&json!({
            "learning_rates": rates.learning_rates,
            "losses": rates.losses,
            "smoothed": rates.smoothed,
            "proposal": rates.steepest(),
            "minimum_over_ten": rates.minimum_over_ten(),
            "picture": chart,
        }));
    }
    if !quiet {
        let (width, colours) = output::terminal();
        // Not by `line`, which strips colours.
        output::write((learning_rates_in_terminal(&rates, width, colours) + "\n").as_bytes())?;
        output::line(table(&rates))?;
    }
    match rates.steepest().zip(rates.minimum_over_ten()) {
        Some((steepest, careful)) => output::line(format!(
            "Proposal: learning_rate={steepest:.1e}, where the loss falls fastest (a tenth of where it is lowest: {careful:.1e})"
        ))?,
        None => output::line("No proposal: the loss did not fall at any rate")?,
    }
    chart.map_or(Ok(()), |path| output::line(format!("Chart: {path}")))
}

/// The losses at some of the rates, evenly spaced.
fn table(rates: &LearningRates) -> String {
    let mut text = "learning rate      loss  smoothed".to_owned();
    let every = rates.losses.len().div_ceil(ROWS).max(1);
    for index in (0..rates.losses.len()).step_by(every) {
        let (rate, loss, smoothed) = (rates.learning_rates[index], rates.losses[index], rates.smoothed[index]);
        text += &format!("\n{:>13}  {loss:>8.4}  {smoothed:>8.4}", format!("{rate:.1e}"));
    }
    text + "\n"
}
