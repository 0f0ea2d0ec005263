//! Models of older versions: Keras 1 and 2 (TensorFlow), and arguments that have been renamed since.

mod compile;
mod keras_1;
mod masks;

use serde_json::{Value as Json, json};

use self::compile::renew_compile;
use super::functional;
use crate::error::{Error, Result};
use crate::formats::Limits;
use crate::layers;
use crate::model::Model;

/// The model described by a file's object; `version` is that of the Keras that wrote it, if known.
///
/// # Errors
/// As [`Sequential::from_config`].
pub(crate) fn read_model(object: Json, version: Option<&str>, limits: &Limits) -> Result<Model> {
    let layers = count_layers(&object);
    if layers > limits.layers {
        return Err(Error::unsupported(
            format!("a model of {layers} layers"),
            format!("up to {} (`Limits::layers`)", limits.layers),
        ));
    }
    let ends = most_ends(&object);
    if ends > limits.layers {
        return Err(Error::unsupported(
            format!("a model of {ends} inputs or outputs"),
            format!("up to {}, as of layers (`Limits::layers`)", limits.layers),
        ));
    }
    let mut object = list_as_config(object);
    // Versions that begin with 0, 1 or 2 precede Keras 3.
    let starts = |starts: &[&str]| version.is_some_and(|version| starts.iter().any(|start| version.starts_with(start)));
    let old = starts(&["0.", "1.", "2."]);
    if let Some(fields) = object.as_object_mut() {
        fields.remove("keras_version");
        fields.remove("backend");
    }
    // Files of Keras before 1.1 have no version, but can be recognised by their arguments.
    let first = starts(&["0.", "1."]) || keras_1::is_keras_1(&object);
    if first {
        keras_1::renew(&mut object);
    }
    renew_layer(&mut object, old || first);
    if old {
        masks::renew(&mut object, false);
    }
    if let Some(compile) = object.get_mut("compile_config") {
        renew_compile(compile);
    }
    let read = Model::from_keras(object);
    read.map_err(|error| if first { keras_1::refusal(version, &error) } else { error })
}

/// The most inputs or outputs of a model, at any depth.
fn most_ends(value: &Json) -> usize {
    let length = |value: &Json| value.as_array().map(Vec::len).or_else(|| value.as_object().map(serde_json::Map::len));
    let ends = |key: &str| value.get(key).and_then(length).unwrap_or(0);
    let below = match value {
        Json::Array(values) => values.iter().map(most_ends).max(),
        Json::Object(fields) => fields.values().map(most_ends).max(),
        _ => None,
    };
    below.unwrap_or(0).max(ends("input_layers")).max(ends("output_layers"))
}

/// The number of objects in lists of layers, at any depth.
fn count_layers(value: &Json) -> usize {
    match value {
        Json::Array(values) => values.iter().map(count_layers).sum(),
        Json::Object(fields) => {
            let own = fields.get("layers").or_else(|| fields.get("config")).and_then(Json::as_array);
            let cells = fields.get("cells").and_then(Json::as_array);
            own.map_or(0, Vec::len) + cells.map_or(0, Vec::len) + fields.values().map(count_layers).sum::<usize>()
        }
        _ => 0,
    }
}

/// Keras 1 wrote a Sequential model as a plain list of its layers.
fn list_as_config(mut object: Json) -> Json {
    if let Some(config) = object.get_mut("config")
        && config.is_array()
    {
        *config = json!({ "name": "sequential", "layers": config.take() });
    }
    object
}

/// Removes the input shape from a layer that is not the first. Keras 2 wrote one for every `Embedding`, users repeat
/// the argument on every layer, and Keras reads that of the first layer only.
fn forget_input_shape(layer: &mut Json) {
    if layer.get("class_name").is_some_and(|class| class == "InputLayer" || class == "Input") {
        return;
    }
    if let Some(config) = layer.get_mut("config").and_then(Json::as_object_mut) {
        for key in ["batch_input_shape", "batch_shape", "input_shape"] {
            config.shift_remove(key);
        }
    }
}

/// Converts a layer's object, and nested ones, to the current form. What cannot be converted is left, and rejected
/// later.
fn renew_layer(object: &mut Json, old: bool) {
    let class = object.get("class_name").and_then(Json::as_str).unwrap_or_default().to_owned();
    let today = match class.as_str() {
        "ThresholdedReLU" => "ReLU",
        // The same formulas, computed by cuDNN. The weights are converted to the current order when they are read.
        "CuDNNLSTM" => "LSTM",
        "CuDNNGRU" => "GRU",
        other => other,
    };
    if today != class {
        object["class_name"] = json!(today);
    }
    let Some(config) = object.get_mut("config").and_then(Json::as_object_mut) else { return };
    if let Some(layers) = config.get_mut("layers").and_then(Json::as_array_mut) {
        layers.iter_mut().for_each(|layer| renew_layer(layer, old));
        // In a graph only the shapes of input layers matter, at any place in the list.
        let first = usize::from(!functional::is_graph(&class));
        layers.iter_mut().skip(first).for_each(forget_input_shape);
    }
    for inner in ["layer", "backward_layer", "forward_layer", "cell"] {
        if let Some(layer) = config.get_mut(inner) {
            renew_layer(layer, old);
            forget_input_shape(layer);
        }
    }
    if let Some(cells) = config.get_mut("cells").and_then(Json::as_array_mut) {
        cells.iter_mut().for_each(|cell| renew_layer(cell, old));
    }
    // Former classes that are a special case of a current one.
    match class.as_str() {
        "CuDNNLSTM" | "CuDNNGRU" => {
            config.insert("activation".into(), json!("tanh"));
            config.insert("recurrent_activation".into(), json!("sigmoid"));
            if class == "CuDNNGRU" {
                config.insert("reset_after".into(), json!(true));
            }
        }
        "ThresholdedReLU" => {
            if let Some(theta) = config.shift_remove("theta") {
                config.entry("threshold").or_insert(theta);
            }
            config.entry("threshold").or_insert(json!(1.0));
        }
        _ => {}
    }
    if let Ok(entry) = layers::entry(today) {
        entry.renew(config, old);
    }
    for (_, value) in config.iter_mut().filter(|(key, _)| key.ends_with("_initializer")) {
        if let Some(initializer) = value.get_mut("config").and_then(Json::as_object_mut) {
            initializer.shift_remove("dtype");
        }
    }
    if old {
        for key in ["activation", "recurrent_activation"] {
            if config.get(key) == Some(&json!("hard_sigmoid")) {
                config.insert(key.into(), json!("hard_sigmoid_keras_2"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_model(object: Json, version: Option<&str>) -> Result<Model> {
        super::read_model(object, version, &Limits::default())
    }

    #[test]
    fn the_number_of_inputs_and_outputs_is_limited() {
        let input = json!({"class_name": "InputLayer", "name": "in", "inbound_nodes": [],
                           "config": {"name": "in", "batch_shape": [null, 3]}});
        let model = |outputs: usize| {
            json!({"class_name": "Functional", "config": {"name": "m", "layers": [input.clone()],
                   "input_layers": [["in", 0, 0]], "output_layers": vec![json!(["in", 0, 0]); outputs]}})
        };
        let limits = Limits { layers: 3, ..Limits::default() };
        assert!(super::read_model(model(3), None, &limits).is_ok());
        let error = super::read_model(model(4), None, &limits).unwrap_err().to_string();
        assert!(error.contains("a model of 4 inputs or outputs") && error.contains("Limits::layers"), "{error}");
    }

    fn dense(config: Json) -> Json {
        let mut own =
            json!({"name": "dense", "units": 2, "activation": "hard_sigmoid", "batch_input_shape": [null, 3]});
        own.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        json!({"class_name": "Sequential", "config": [{"class_name": "Dense", "config": own}]})
    }

    #[test]
    fn hard_sigmoid_depends_on_the_version() {
        let activation = |version: Option<&str>| {
            let model = read_model(dense(json!({})), version).unwrap();
            model.layers()[0].config().unwrap()["activation"].clone()
        };
        assert_eq!(activation(Some("2.15.0")), "hard_sigmoid_keras_2");
        assert_eq!(activation(Some("1.2.2")), "hard_sigmoid_keras_2");
        assert_eq!(activation(Some("3.3.3")), "hard_sigmoid");
        assert_eq!(activation(None), "hard_sigmoid");
    }

    #[test]
    fn renamed_arguments_and_former_defaults_are_kept() {
        let layers = json!({"name": "old", "layers": [
            {"class_name": "LSTM", "config": {"name": "lstm", "units": 2, "return_sequences": true, "time_major": false, "implementation": 2, "batch_input_shape": [null, 4, 3]}},
            {"class_name": "GRU", "config": {"name": "gru", "units": 2}},
            {"class_name": "LeakyReLU", "config": {"name": "leaky", "alpha": 0.1}},
            {"class_name": "ThresholdedReLU", "config": {"name": "thresholded", "theta": 0.5}},
            {"class_name": "BatchNormalization", "config": {"name": "batch", "axis": [1]}},
        ]});
        let model = read_model(json!({"class_name": "Sequential", "config": layers}), Some("2.2.4")).unwrap();
        let config = |index: usize| model.layers()[index].config().unwrap();
        assert_eq!(config(0)["recurrent_activation"], "hard_sigmoid_keras_2");
        assert_eq!(config(1)["reset_after"], false);
        assert!((config(2)["negative_slope"].as_f64().unwrap() - 0.1).abs() < 1e-7);
        assert_eq!((model.layers()[3].class_name(), config(3)["threshold"].clone()), ("ReLU", json!(0.5)));
        assert_eq!(config(4)["axis"], 1);
    }

    #[test]
    fn compile_settings_of_keras_2_are_read() {
        let mut object = dense(json!({"activation": "linear"}));
        object["compile_config"] = json!({
            "loss": "mse", "loss_weights": null, "weighted_metrics": null,
            "metrics": [[{"class_name": "MeanMetricWrapper", "config": {"name": "accuracy", "fn": "categorical_accuracy"}}]],
            "optimizer": {"class_name": "Custom>SGD", "config": {"name": "SGD", "lr": 0.5, "decay": 0.0, "momentum": 0.0, "is_legacy_optimizer": false, "jit_compile": true}},
        });
        let model = read_model(object, Some("2.15.0")).unwrap();
        assert!(model.is_compiled());
        let written = model.to_keras().unwrap();
        assert_eq!(written["compile_config"]["optimizer"]["config"]["learning_rate"], 0.5);
        assert_eq!(written["compile_config"]["metrics"], json!(["accuracy"]));
    }
}
