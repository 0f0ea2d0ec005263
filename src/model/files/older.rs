//! Models of older versions: Keras 1 and 2 (TensorFlow), and arguments that have been renamed since.

mod compile;
mod keras_1;
mod masks;

use serde_json::{Value as Json, json};

use self::compile::renew_compile;
pub(super) use self::keras_1::refusal;
use super::functional;
use crate::config::{PACKAGE_END, is_of_keras};
use crate::layers;

/// The layers that Keras 2 registers itself, in the package that users' classes have by default.
const REGISTERED_BY_KERAS: [&str; 1] = ["CustomScaleLayer"];

/// Converts a model's object to the current form; `version` is that of the Keras that wrote it, if known. Returns
/// whether it is a model of Keras 1, whose errors [`refusal`] explains.
pub(super) fn renew(object: &mut Json, version: Option<&str>) -> bool {
    list_to_config(object);
    // Versions that begin with 0, 1 or 2 precede Keras 3.
    let starts = |starts: &[&str]| version.is_some_and(|version| starts.iter().any(|start| version.starts_with(start)));
    let old = starts(&["0.", "1.", "2."]);
    if let Some(fields) = object.as_object_mut() {
        fields.remove("keras_version");
        fields.remove("backend");
    }
    // Files of Keras before 1.1 have no version, but can be recognised by their arguments. Where there is one, such an
    // argument is that of a user's class.
    let is_keras_1 = starts(&["0.", "1."]) || (version.is_none() && keras_1::is_keras_1(object));
    if is_keras_1 {
        keras_1::renew(object);
    }
    renew_layer(object, old || is_keras_1);
    if old {
        masks::renew(object, false);
    }
    if let Some(compile) = object.get_mut("compile_config") {
        renew_compile(compile, version);
    }
    is_keras_1
}

/// Whether an object is of a user's own class, which can have the name of a built-in one. Keras 3 writes its registered
/// name, and no module of Keras; in `.h5` files and Keras 2's JSON the class is that name, with its package.
pub(super) fn is_own(object: &Json) -> bool {
    let text = |key: &str| object.get(key).and_then(Json::as_str);
    let has_package = || text("class_name").is_some_and(|class| class.contains(PACKAGE_END));
    (text("registered_name").is_some() || has_package()) && !text("module").is_some_and(is_of_keras)
}

/// Keras 1 wrote a Sequential model as a plain list of its layers.
fn list_to_config(object: &mut Json) {
    if let Some(config) = object.get_mut("config")
        && config.is_array()
    {
        *config = json!({ "name": "sequential", "layers": config.take() });
    }
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
    let class = object.get("class_name").and_then(Json::as_str).filter(|_| old).unwrap_or_default();
    if let Some(class) = class.strip_prefix("Custom>").filter(|class| REGISTERED_BY_KERAS.contains(class)) {
        object["class_name"] = json!(class);
    }
    let is_own = is_own(object);
    let class = object.get("class_name").and_then(Json::as_str).filter(|_| !is_own).unwrap_or_default().to_owned();
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
        // In a graph only the shapes of input layers matter, at any position in the list.
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
    use super::super::read_model;
    use super::*;
    use crate::formats::Limits;
    use crate::model::Model;

    fn read(object: Json, version: Option<&str>) -> Model {
        read_model(object, version, &Limits::default()).unwrap()
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
            let model = read(dense(json!({})), version);
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
        let model = read(json!({"class_name": "Sequential", "config": layers}), Some("2.2.4"));
        let config = |index: usize| model.layers()[index].config().unwrap();
        assert_eq!(config(0)["recurrent_activation"], "hard_sigmoid_keras_2");
        assert_eq!(config(1)["reset_after"], false);
        assert!((config(2)["negative_slope"].as_f64().unwrap() - 0.1).abs() < 1e-7);
        assert_eq!((model.layers()[3].class_name(), config(3)["threshold"].clone()), ("ReLU", json!(0.5)));
        assert_eq!(config(4)["axis"], 1);
    }

    #[test]
    fn a_layer_that_keras_2_registers_is_built_in() {
        let input = |name: &str| {
            json!({"class_name": "InputLayer", "name": name, "inbound_nodes": [],
                   "config": {"name": name, "batch_input_shape": [null, 3]}})
        };
        let scale = json!({"class_name": "Custom>CustomScaleLayer", "name": "scale",
                           "config": {"name": "scale", "scale": 0.17},
                           "inbound_nodes": [[["a", 0, 0, {}], ["b", 0, 0, {}]]]});
        let config = json!({"name": "m", "layers": [input("a"), input("b"), scale],
                            "input_layers": [["a", 0, 0], ["b", 0, 0]], "output_layers": [["scale", 0, 0]]});
        let model = read(json!({"class_name": "Functional", "config": config}), Some("2.15.0"));
        assert_eq!(model.layers().last().unwrap().class_name(), "CustomScaleLayer");
    }

    #[test]
    fn own_arguments_do_not_make_a_model_one_of_keras_1() {
        let model = |own: Json| {
            let mut own = own;
            own["config"] = json!({"name": "own", "border_mode": "same", "dim_ordering": "th"});
            json!({"class_name": "Sequential", "config": {"name": "m", "layers": [own]}})
        };
        let registered = json!({"module": null, "class_name": "Own", "registered_name": "Custom>Own"});
        for (own, version) in [
            (registered, None),
            (json!({"class_name": "Custom>Own"}), None),
            (json!({"class_name": "Own"}), Some("3.15.1")),
            (json!({"class_name": "Own"}), Some("2.15.0")),
        ] {
            let mut object = model(own);
            let before = object.clone();
            assert!(!renew(&mut object, version));
            assert_eq!(object, before);
        }
        assert!(renew(&mut model(json!({"class_name": "Own"})), None));
        // Beside a layer of Keras 1.
        let mut object = model(json!({"class_name": "Custom>Own"}));
        let layers = object["config"]["layers"].as_array_mut().unwrap();
        layers.push(json!({"class_name": "Dense", "config": {"name": "d", "output_dim": 2, "W_regularizer": null}}));
        let own = layers[0].clone();
        assert!(renew(&mut object, None));
        assert_eq!(object["config"]["layers"][0], own);
        assert_eq!(object["config"]["layers"][1]["config"]["units"], 2);
    }

    #[test]
    fn compile_settings_of_keras_2_are_read() {
        let mut object = dense(json!({"activation": "linear"}));
        object["compile_config"] = json!({
            "loss": "mse", "loss_weights": null, "weighted_metrics": null,
            "metrics": [[{"class_name": "MeanMetricWrapper", "config": {"name": "accuracy", "fn": "categorical_accuracy"}}]],
            "optimizer": {"class_name": "Custom>SGD", "config": {"name": "SGD", "lr": 0.5, "decay": 0.0, "momentum": 0.0, "is_legacy_optimizer": false, "jit_compile": true}},
        });
        let model = read(object, Some("2.15.0"));
        assert!(model.is_compiled());
        let written = model.to_keras().unwrap();
        assert_eq!(written["compile_config"]["optimizer"]["config"]["learning_rate"], 0.5);
        assert_eq!(written["compile_config"]["metrics"], json!(["accuracy"]));
    }
}
