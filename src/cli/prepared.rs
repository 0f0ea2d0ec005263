//! The model and the samples of a recipe, each as the other needs it.

use brasa::burn::tensor::Device;
use brasa::datasets::split_index;
use brasa::recipe::{Data, Loaded, Reading, Recipe};
use brasa::{Model, Result};

use super::output;

/// The model of a recipe and its samples.
///
/// # Errors
/// Those of both.
pub(super) fn model_and_data(recipe: &Recipe, device: &Device) -> Result<(Model, Loaded)> {
    prepared(recipe, recipe.data(), device)
}

/// The model of a recipe and samples of other settings than its own, each as the other needs it.
///
/// # Errors
/// Those of both.
pub(super) fn prepared(recipe: &Recipe, data: &Data, device: &Device) -> Result<(Model, Loaded)> {
    let mut model = recipe.model(device)?;
    let data = data.load(&model, Reading::ToTrain)?;
    output::notes(&data.notes);
    tracing::info!("{} samples of shape {:?}", data.train.len(), data.train.x_shape());
    if recipe.adapts() {
        let split = recipe.data().validation_split;
        // What is validated with says nothing.
        let end = match split > 0.0 && data.validation.is_none() {
            true => split_index(data.train.len(), split)?,
            false => data.train.len(),
        };
        model = recipe.adapted_model(device, &*data.train, end)?;
    }
    if !model.is_built() {
        model.build(data.train.x_shape().to_vec())?;
    }
    // Where the recipe has no shape of inputs, how many outputs there are is known now.
    data.check_classes(&model)?;
    *model.data_info_mut() = data.info.clone();
    Ok((model, data))
}
