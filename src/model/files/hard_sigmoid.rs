//! The `hard_sigmoid` of Keras 1 and 2 in files of Keras 3, which has a different function of this name: the old
//! function of `z` is the new one of `1.2 · z`, and the factor of 1.2 is folded into the weights before it.

use std::borrow::Cow;

use serde_json::{Value as Json, json};

use super::older::is_own;
use crate::error::{Error, Result};
use crate::layers::{self, Input, WeightSpec, class_keys};
use crate::model::Model;
use crate::ops::Value;
use crate::optimizers::OptimizerState;
use crate::text::UniqueNames;

/// Brasa's name of the old function.
const OLD: &str = "hard_sigmoid_keras_2";

/// The old slope, 1/5, divided by the new one, 1/6.
const FACTOR: f32 = 1.2;

/// A weight with its values.
type ReadWeight<'a> = (&'a WeightSpec, Vec<f32>);

impl Model {
    /// The model for a file of Keras 3: itself or, if it has a `hard_sigmoid` of Keras 2, an equivalent one without it.
    ///
    /// Weights and gradients have another scale there, so the optimizer's state, regularizers and constraints do not
    /// apply and are omitted, with a warning.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a layer into which the factor cannot be folded.
    pub(super) fn for_keras_3(&self) -> Result<Cow<'_, Self>> {
        let objects = self.layers().iter().map(|layer| layers::to_keras(&**layer)).collect::<Result<Vec<_>>>()?;
        if !objects.iter().any(mentions) {
            return Ok(Cow::Borrowed(self));
        }
        if self.functional().is_some() {
            let chain = self
                .clone()
                .into_sequential()
                .map_err(|_| refused(self.name(), "Functional", "in a graph that is no chain"))?;
            return Ok(Cow::Owned(chain.for_keras_3()?.into_owned()));
        }
        let mut model = Self::chain();
        model.common = self.common.clone();
        model.seed = self.seed;
        model.device = self.device.clone();
        let mut input = Input::default();
        let common = layers::HasCommon::common_mut(&mut input);
        common.name.clone_from(&self.input_name);
        common.input_shape = Some(self.input_shape()?.clone());
        common.dtype.clone_from(&self.input_dtype);
        common.batch_size = self.input_batch;
        model.add(input.into())?;

        let mut names: UniqueNames = self.layers().iter().map(|layer| layer.name().to_owned()).collect();
        let mut values = Vec::new();
        let own = self.layers().iter().zip(self.layer_weights("save")?).zip(self.weight_specs("save")?);
        for (((layer, weights), specs), mut object) in own.zip(objects) {
            if !mentions(&object) {
                model.add(layer.boxed_clone())?;
                values.push(weights.iter().map(|weight| Some(weight.value.clone())).collect());
                continue;
            }
            let numbers = weights.iter().map(|weight| weight.value.to_vec());
            let mut weights: Vec<ReadWeight<'_>> = specs.iter().zip(numbers.collect::<Result<Vec<_>>>()?).collect();
            if renew(&mut object, &mut weights, "")? {
                model.add(layers::from_keras(rescaling(layer.name(), &mut names))?)?;
                values.push(Vec::new());
            }
            model.add(layers::from_keras(object)?)?;
            let weights = weights.into_iter().map(|(spec, numbers)| {
                let sizes = if spec.sizes.is_empty() { &[1][..] } else { &spec.sizes };
                Value::from_vec(numbers, sizes, &self.device).map(Some)
            });
            values.push(weights.collect::<Result<Vec<_>>>()?);
        }
        model.replace_weights(values)?;
        if let Some(compiled) = &self.compiled {
            let mut compiled = compiled.clone();
            if !compiled.state.slots.is_empty() {
                tracing::warn!(
                    "what the optimizer has gathered is left out: the file has the weights of Keras 2's hard_sigmoid \
                     in Keras 3's scale"
                );
            }
            compiled.state = OptimizerState { iterations: compiled.state.iterations, ..OptimizerState::default() };
            model.compiled = Some(compiled);
        }
        Ok(Cow::Owned(model))
    }

    /// Rejects writing the model without its weights, which would need the factor.
    pub(super) fn check_without_weights(&self) -> Result<()> {
        for layer in self.layers() {
            if mentions(&layers::to_keras(&**layer)?) {
                return Err(refused(layer.name(), layer.class_name(), "without its weights"));
            }
        }
        Ok(())
    }
}

fn refused(layer: &str, class: &str, how: &str) -> Error {
    Error::unsupported(
        format!("saving layer `{layer}` ({class}), which has the hard_sigmoid of Keras 2, {how} for Keras 3"),
        "`.keras` and `.h5` where a factor in its weights makes it Keras 3's; `.safetensors`, which keeps it",
    )
}

/// Whether the old function occurs anywhere in an object.
fn mentions(object: &Json) -> bool {
    match object {
        Json::String(text) => text == OLD,
        Json::Array(values) => values.iter().any(mentions),
        Json::Object(fields) => fields.values().any(mentions),
        _ => false,
    }
}

/// A layer that multiplies by the factor, named after the one it precedes.
fn rescaling(layer: &str, names: &mut UniqueNames) -> Json {
    let name = names.take(format!("{layer}_input_scale"));
    json!({"class_name": "Rescaling", "config": {"name": name, "scale": FACTOR}})
}

/// Replaces the function in a layer's object and folds the factor into its weights below `group`; `true` if its input
/// has to be multiplied instead.
fn renew(object: &mut Json, weights: &mut [ReadWeight<'_>], group: &str) -> Result<bool> {
    if !mentions(object) {
        return Ok(false);
    }
    let class = object["class_name"].as_str().unwrap_or_default().to_owned();
    let name = object["config"]["name"].as_str().unwrap_or_default().to_owned();
    if is_own(object) {
        return Err(refused(&name, &class, "with its weights"));
    }
    let config = &mut object["config"];
    let inside = |part: &str| if group.is_empty() { part.to_owned() } else { format!("{group}/{part}") };
    let is_old = |config: &Json, key: &str| config.get(key).is_some_and(|function| function == OLD);
    let mut rescaled = false;
    match class.as_str() {
        "Sequential" => renew_list(config, weights, &inside("layers"))?,
        "TimeDistributed" => rescaled = renew(&mut config["layer"], weights, &inside("layer"))?,
        "Bidirectional" => {
            let mut backward = config["backward_layer"].clone();
            let has_own = !backward.is_null();
            if !has_own {
                backward = config["layer"].clone();
            }
            renew(&mut config["layer"], weights, &inside("forward_layer"))?;
            renew(&mut backward, weights, &inside("backward_layer"))?;
            if has_own {
                config["backward_layer"] = backward;
            }
        }
        "Activation" => {
            config["activation"] = json!("hard_sigmoid");
            rescaled = true;
        }
        "RNN" => rescaled = renew(&mut config["cell"], weights, &inside("cell"))?,
        "StackedRNNCells" => {
            for (cell, key) in cells(config) {
                renew(cell, weights, &inside(&format!("cells/{key}")))?;
            }
        }
        // The last step of an LSTM is the activation of its state, which is not a product with a weight.
        "LSTM" | "LSTMCell" | "ConvLSTM1D" | "ConvLSTM2D" | "ConvLSTM3D" if !is_old(config, "activation") => {
            scale(weights, group, &["kernel", "recurrent_kernel", "bias"], 4, &[0, 1, 3]);
        }
        "GRU" | "GRUCell" => {
            let gates = [("recurrent_activation", &[0, 1][..]), ("activation", &[2])];
            for (_, gates) in gates.into_iter().filter(|(key, _)| is_old(config, key)) {
                scale(weights, group, &["kernel", "recurrent_kernel", "bias"], 3, gates);
            }
        }
        "SimpleRNN" | "SimpleRNNCell" => scale(weights, group, &["kernel", "recurrent_kernel", "bias"], 1, &[0]),
        "SeparableConv1D" | "SeparableConv2D" => scale(weights, group, &["pointwise_kernel", "bias"], 1, &[0]),
        "Dense" | "EinsumDense" => scale(weights, group, &["kernel", "bias"], 1, &[0]),
        recurrent if recurrent.starts_with("ConvLSTM") => return Err(refused(&name, &class, "with its weights")),
        convolution if convolution.starts_with("Conv") || convolution.starts_with("DepthwiseConv") => {
            scale(weights, group, &["kernel", "depthwise_kernel", "bias"], 1, &[0]);
        }
        _ => return Err(refused(&name, &class, "with its weights")),
    }
    const HOLDERS: &[&str] =
        &["Sequential", "TimeDistributed", "Bidirectional", "Activation", "RNN", "StackedRNNCells"];
    if !HOLDERS.contains(&class.as_str()) {
        for key in ["activation", "recurrent_activation"] {
            if is_old(config, key) {
                config[key] = json!("hard_sigmoid");
            }
        }
        forget_penalties(&name, config);
    }
    if mentions(object) {
        return Err(refused(&name, &class, "with its weights"));
    }
    Ok(rescaled)
}

/// The cells of a stack, with the paths of their weights.
fn cells(config: &mut Json) -> Vec<(&mut Json, String)> {
    let cells = config.get_mut("cells").and_then(Json::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default();
    let classes: Vec<String> =
        cells.iter().map(|cell| cell["class_name"].as_str().unwrap_or_default().to_owned()).collect();
    cells.iter_mut().zip(class_keys(classes.iter().map(String::as_str))).collect()
}

/// The layers of a nested model.
fn renew_list(config: &mut Json, weights: &mut [ReadWeight<'_>], group: &str) -> Result<()> {
    let Some(list) = config.get_mut("layers").and_then(Json::as_array_mut) else { return Ok(()) };
    let of = |object: &Json, key: &str| object[key].as_str().unwrap_or_default().to_owned();
    let mut names: UniqueNames = list.iter().map(|object| of(&object["config"], "name")).collect();
    let classes: Vec<String> =
        list.iter().map(|object| of(object, "class_name")).filter(|class| class != "InputLayer").collect();
    let mut keys = class_keys(classes.iter().map(String::as_str)).into_iter();
    let mut renewed = Vec::with_capacity(list.len());
    for mut object in std::mem::take(list) {
        if object["class_name"] != "InputLayer" {
            let key = keys.next().unwrap_or_default();
            if renew(&mut object, weights, &format!("{group}/{key}"))? {
                renewed.push(rescaling(&of(&object["config"], "name"), &mut names));
            }
        }
        renewed.push(object);
    }
    *list = renewed;
    Ok(())
}

/// Multiplies some of the gates in the columns of weights below a group.
fn scale(weights: &mut [ReadWeight<'_>], group: &str, names: &[&str], gates: usize, which: &[usize]) {
    let below = |own: &str| {
        group.is_empty() || own == group || own.strip_prefix(group).is_some_and(|rest| rest.starts_with('/'))
    };
    for (spec, numbers) in weights.iter_mut() {
        if !below(&spec.group) || !names.contains(&spec.name.as_str()) {
            continue;
        }
        let columns = spec.sizes.last().copied().unwrap_or(1);
        let units = (columns / gates).max(1);
        for (index, number) in numbers.iter_mut().enumerate() {
            if which.contains(&(index % columns / units)) {
                *number *= FACTOR;
            }
        }
    }
}

/// Removes regularizers and constraints from weights whose scale has changed.
fn forget_penalties(layer: &str, config: &mut Json) {
    let Some(config) = config.as_object_mut() else { return };
    for (key, value) in config.iter_mut() {
        let on_weights =
            (key.ends_with("_regularizer") && key != "activity_regularizer") || key.ends_with("_constraint");
        if on_weights && !value.is_null() {
            tracing::warn!("`{key}` of layer `{layer}` is left out: the file has its weights in Keras 3's scale");
            *value = Json::Null;
        }
    }
}
