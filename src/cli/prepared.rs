//! The model and the data of a recipe, each prepared for the other.

use brasa::burn::tensor::Device;
use brasa::datasets::split_index;
use brasa::recipe::{Data, Loaded, Reading, Recipe};
use brasa::{Model, Result};

use super::output;

/// The model and the data of a recipe.
///
/// # Errors
/// Those of making the model and loading the data.
pub(super) fn model_and_data(recipe: &Recipe, device: &Device) -> Result<(Model, Loaded)> {
    prepared(recipe, recipe.data(), device)
}

/// The model of a recipe with data of other settings, each prepared for the other.
///
/// # Errors
/// Those of making the model and loading the data.
pub(super) fn prepared(recipe: &Recipe, data: &Data, device: &Device) -> Result<(Model, Loaded)> {
    let mut model = recipe.model(device)?;
    let data = data.load(&model, Reading::ToTrain)?;
    output::notes(&data.notes);
    tracing::info!("{} samples of shape {:?}", data.train.len(), data.train.x_shape());
    if recipe.adapts() {
        let split = recipe.data().validation_split;
        // The validation split is not used to adapt.
        let end = match split > 0.0 && data.validation.is_none() {
            true => split_index(data.train.len(), split)?,
            false => data.train.len(),
        };
        model = recipe.adapted_model(device, &*data.train, end)?;
    }
    if !model.is_built() {
        model.build(data.train.x_shape().to_vec())?;
    }
    // Without an input shape in the recipe, the number of outputs is known only now.
    data.check_classes(&model)?;
    *model.data_info_mut() = data.info.clone();
    Ok((model, data))
}
