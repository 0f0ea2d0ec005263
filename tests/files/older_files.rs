//! Files of Keras 1 and 2, and their differences from Keras 3.
//!
//! `tests/fixtures/older` contains models, an input for each and Keras's output: some were made by `make.py` and
//! `make_chains.py` in that folder, the others are reduced from users' files.

use std::fs;
use std::path::{Path, PathBuf};

use brasa::datasets::load_npy;
use brasa::model::Contents;
use brasa::ndarray::ArrayD;
use brasa::prelude::*;
use serde_json::{Value as Json, json};

fn older(name: &str) -> PathBuf {
    Path::new("tests/fixtures/older").join(name)
}

fn array(name: &str) -> ArrayD<f32> {
    load_npy(older(name)).unwrap().into_ndarray()
}

/// The largest difference between a model's output and Keras's.
fn difference(model: &Model, name: &str) -> f32 {
    let found = model.predict(array(&format!("{name}.x.npy"))).unwrap();
    let expected = array(&format!("{name}.y.npy"));
    assert_eq!(found.shape(), expected.shape(), "{name}");
    found.iter().zip(&expected).fold(0.0, |worst, (a, b)| worst.max((a - b).abs()))
}

#[track_caller]
fn computes(file: &str) -> Model {
    let model = Model::load(older(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let (name, _) = file.rsplit_once('.').unwrap();
    let worst = difference(&model, name);
    assert!(worst < 2e-6, "{file}: off by {worst:e}");
    model
}

#[test]
fn only_the_first_layers_input_shape_counts() {
    for file in [
        "functional_input_embedding.h5",
        "second_input_shape_lstm.h5",
        "embedding_after_reshape.h5",
        "input_length.h5",
        "time_distributed_second_shape.h5",
    ] {
        computes(file);
    }
    // In Rust it remains an error.
    let mut model = Sequential::new();
    model.add(Dense::new(2).input_shape(3)).unwrap();
    assert!(model.add(Dense::new(2).input_shape(5)).is_err());
}

#[test]
fn root_names_and_windows_separators_are_read() {
    computes("absolute_optimizer_name.h5");
    computes("windows_separators.keras");
    let Contents::Model(_) = Contents::of(older("windows_separators.keras")).unwrap() else { panic!("a model") };
}

#[test]
fn models_compiled_in_keras_2_are_compiled() {
    for file in ["sample_weight_mode.h5", "reduction_auto.h5", "decay.h5", "schedule_without_name.h5"] {
        assert!(computes(file).is_compiled(), "{file}");
    }
    assert!(computes("schedule_without_name.keras").is_compiled());
    let model = Model::load(older("decay.h5")).unwrap();
    let rate = model.learning_rate().unwrap();
    assert!((rate - 0.01).abs() < 1e-8, "{rate}");
    let written: Json = serde_json::from_str(&model.to_json().unwrap()).unwrap();
    let schedule = &written["compile_config"]["optimizer"]["config"]["learning_rate"];
    // lr / (1 + decay · iterations)
    assert_eq!(schedule["class_name"], "InverseTimeDecay");
    assert_eq!(schedule["config"]["decay_steps"], 1);
}

/// A model of one dense layer, compiled as in a file.
fn compiled(version: &str, compile: Json) -> Model {
    let dense = json!({"class_name": "Dense", "config": {"name": "out", "units": 3, "batch_input_shape": [null, 4]}});
    let object = json!({
        "class_name": "Sequential", "config": {"name": "m", "layers": [dense]}, "compile_config": compile,
        "keras_version": version,
    });
    Model::from_json(&object.to_string()).unwrap()
}

#[test]
fn losses_and_metrics_are_read_in_every_form() {
    let function = |name: &str| json!({"module": "builtins", "class_name": "function", "config": name, "registered_name": "function"});
    let forms = [
        (
            "2.2.4",
            json!({"optimizer": {"class_name": "Nadam", "config": {"lr": 0.002, "beta_1": 0.9, "beta_2": 0.999, "epsilon": null, "schedule_decay": 0.004}}, "loss": "mse", "metrics": ["acc"], "sample_weight_mode": null}),
        ),
        (
            "2.4.0",
            json!({"optimizer": {"class_name": "Nadam", "config": {"name": "Nadam", "learning_rate": 0.002, "decay": 0.004, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}}, "loss": {"out": "mse"}, "metrics": {"out": ["mae"]}, "loss_weights": {"out": 2.0}}),
        ),
        (
            "3.15.1",
            json!({"optimizer": "sgd", "loss": function("mean_squared_error"), "metrics": [function("mean_absolute_error"), [function("categorical_accuracy")]]}),
        ),
        (
            "2.15.0",
            json!({"optimizer": "sgd", "loss": {"class_name": "LossFunctionWrapper", "config": {"name": "l", "reduction": "auto", "fn": "kullback_leibler_divergence"}}, "metrics": [[null, {"class_name": "MeanMetricWrapper", "config": {"name": "foo", "dtype": "float32", "fn": function("mean_absolute_error")}}]]}),
        ),
        (
            "2.3.0",
            json!({"optimizer": {"class_name": "LossScaleOptimizer", "config": {"inner_optimizer": {"class_name": "Adam", "config": {"learning_rate": 0.01}}, "dynamic": true}}, "loss": ["mse"], "metrics": null, "weighted_metrics": [["mse"]]}),
        ),
    ];
    for (version, compile) in forms {
        let model = compiled(version, compile.clone());
        assert!(model.is_compiled(), "{compile}: {:?}", model.compile_fault());
    }
    let model = compiled(
        "2.15.0",
        json!({"optimizer": "sgd", "loss": "mse", "metrics": [{"class_name": "MeanMetricWrapper", "config": {"name": "foo", "fn": "mean_absolute_error"}}]}),
    );
    let written: Json = serde_json::from_str(&model.to_json().unwrap()).unwrap();
    let metric = &written["compile_config"]["metrics"][0];
    assert_eq!((&metric["class_name"], &metric["config"]["name"]), (&json!("MeanAbsoluteError"), &json!("foo")));
    // Its name in the history is that of Keras 2.
    let model =
        compiled("2.2.0", json!({"optimizer": "sgd", "loss": "mse", "metrics": ["kullback_leibler_divergence"]}));
    let (x, y) = (ArrayD::<f32>::zeros(vec![2, 4]), ArrayD::<f32>::zeros(vec![2, 3]));
    let scores = model.evaluate(&Dataset::new(&x, y).unwrap()).unwrap();
    assert!(scores.get("kullback_leibler_divergence").is_some(), "{scores:?}");
}

#[test]
fn the_unsupported_part_of_compile_is_named() {
    let x = ArrayD::<f32>::zeros(vec![2, 4]);
    let y = ArrayD::<f32>::zeros(vec![2, 3]);
    let model = compiled("2.4.0", json!({"optimizer": "sgd", "loss": "my_loss", "metrics": ["mae"]}));
    let data = Dataset::new(&x, y).unwrap();
    let error = model.evaluate(&data).unwrap_err().to_string();
    assert!(error.contains("no loss `my_loss`"), "{error}");
    let own =
        json!({"module": "__main__", "class_name": "function", "config": "my_metric", "registered_name": "my_metric"});
    let model = compiled("3.15.1", json!({"optimizer": "sgd", "loss": "mse", "metrics": [own, "mae"]}));
    let scores = model.evaluate(&data).unwrap();
    assert!(scores.get("mae").is_some(), "the metrics that are known stay");
    let model = compiled("2.4.0", json!({"optimizer": {"class_name": "Yogi", "config": {}}, "loss": "mse"}));
    assert!(
        model.compile_fault().is_some_and(|fault| fault.contains("no optimizer `Yogi`")),
        "{:?}",
        model.compile_fault()
    );
}

#[test]
fn the_hard_sigmoid_of_keras_2_becomes_that_of_keras_3_in_its_files() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["hard_sigmoid_rnn.h5", "hard_sigmoid_conv.h5"] {
        let name = file.trim_end_matches(".h5");
        let model = computes(file);
        for ending in ["keras", "h5"] {
            let path = folder.path().join(format!("{name}.{ending}"));
            model.save(&path).unwrap();
            let copy = Model::load(&path).unwrap();
            let config = copy.to_json().unwrap();
            assert!(!config.contains("hard_sigmoid_keras_2") && config.contains("\"hard_sigmoid\""), "{file}");
            let worst = difference(&copy, name);
            assert!(worst < 2e-6, "{file} as {ending}: off by {worst:e}");
            assert_eq!(copy.is_compiled(), model.is_compiled());
        }
        // This is Brasa's own format, and keeps the model bit for bit.
        let path = folder.path().join(format!("{name}.safetensors"));
        model.save(&path).unwrap();
        assert_eq!(Model::load(&path).unwrap().get_weights().unwrap(), model.get_weights().unwrap());
        let error = model.save(folder.path().join("m.json")).unwrap_err().to_string();
        assert!(error.contains("hard_sigmoid of Keras 2, without its weights"), "{error}");
    }
    // Cells, and convolutions over sequences.
    let cell =
        |class: &str| json!({"class_name": class, "config": {"units": 2, "recurrent_activation": "hard_sigmoid"}});
    let gates = [cell("LSTMCell"), cell("GRUCell")];
    let stack = json!({"class_name": "StackedRNNCells", "config": {"cells": gates}});
    let film = json!({"filters": 2, "kernel_size": 2, "recurrent_activation": "hard_sigmoid"});
    for (class, sample, mut config) in [
        ("RNN", vec![3, 2], json!({"cell": gates[0]})),
        ("RNN", vec![3, 2], json!({"cell": stack})),
        ("ConvLSTM2D", vec![3, 4, 4, 1], film),
    ] {
        config["name"] = json!("r");
        let shape: Vec<Json> = std::iter::once(Json::Null).chain(sample.iter().map(|size| json!(size))).collect();
        config["batch_input_shape"] = json!(shape);
        let object = json!({"class_name": class, "config": config});
        let object = json!({"class_name": "Sequential", "config": [object], "keras_version": "2.2.4"});
        let model = Model::from_json(&object.to_string()).unwrap();
        assert!(model.to_json().unwrap().contains("hard_sigmoid_keras_2"), "{class}");
        let path = folder.path().join("r.keras");
        model.save(&path).unwrap();
        let sizes = [vec![2], sample].concat();
        let x = brasa::ndarray::ArrayD::from_shape_fn(sizes, |at| ((at[0] + 3 * at[1] + at[2]) as f32).sin() * 2.0);
        let (own, copy) = (model.predict(&x).unwrap(), Model::load(&path).unwrap().predict(&x).unwrap());
        assert!(own.iter().zip(&copy).all(|(a, b)| (a - b).abs() < 2e-6), "{class}: {own} {copy}");
    }
    // The state of an LSTM passes through `activation`, before which there is no weight.
    let lstm = json!({"class_name": "LSTM", "config": {"name": "r", "units": 2, "activation": "hard_sigmoid", "batch_input_shape": [null, 3, 2]}});
    let object = json!({"class_name": "Sequential", "config": [lstm], "keras_version": "2.2.4"});
    let error = Model::from_json(&object.to_string()).unwrap().save(folder.path().join("r.keras")).unwrap_err();
    assert!(error.to_string().contains("layer `r` (LSTM)"), "{error}");
}

#[test]
fn cudnn_layers_are_read_as_the_others() {
    let model = computes("cudnn.h5");
    let classes: Vec<&str> = model.layers().iter().map(|layer| layer.class_name()).collect();
    assert_eq!(classes, ["LSTM", "GRU", "Bidirectional", "GRU"]);
}

#[test]
fn keras_1_is_read_or_refused_by_version() {
    for file in
        ["keras_1_dense.h5", "keras_1_words.h5", "keras_1_images_tf.h5", "keras_1_images_th.h5", "keras_1_steps.h5"]
    {
        computes(file);
    }
    let maxout = json!({"class_name": "MaxoutDense", "config": {"name": "m", "output_dim": 2, "nb_feature": 4, "batch_input_shape": [null, 3]}});
    let object = json!({"class_name": "Sequential", "config": [maxout], "keras_version": "1.2.2"});
    let error = Model::from_json(&object.to_string()).unwrap_err().to_string();
    assert!(error.contains("a model of Keras 1.2.2") && error.contains("MaxoutDense"), "{error}");
}

#[test]
fn chains_are_read_with_the_masks_and_arguments_of_their_calls() {
    for name in ["chain_embedding", "chain_masking", "chain_resizing"] {
        computes(&format!("{name}.keras"));
        computes(&format!("{name}.h5"));
    }
}

#[test]
fn a_policy_of_types_is_written_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.keras");
    let model = Model::load(older("dtype_policy.keras")).unwrap();
    model.save(&path).unwrap();
    let of = |model: &Model| {
        let config: Json = serde_json::from_str(&model.to_json().unwrap()).unwrap();
        let layers = config["config"]["layers"].as_array().unwrap().clone();
        layers.iter().map(|layer| layer["config"]["dtype"].clone()).collect::<Vec<_>>()
    };
    let types = of(&model);
    assert!(types.contains(&json!("mixed_bfloat16")), "{types:?}");
    assert_eq!(of(&Model::load(&path).unwrap()), types);
}

#[test]
fn a_model_with_a_damaged_optimizer_is_usable() {
    let folder = tempfile::tempdir().unwrap();
    // The name of a listed variable is changed to a nonexistent one.
    let mut bytes = fs::read(older("absolute_optimizer_name.h5")).unwrap();
    let at = bytes.windows(11).position(|part| part == b"/iterations").unwrap();
    bytes[at + 10] = b'z';
    let path = folder.path().join("m.h5");
    fs::write(&path, bytes).unwrap();
    assert!(difference(&Model::load(&path).unwrap(), "absolute_optimizer_name") < 2e-6);
    assert!(matches!(Contents::of(&path), Ok(Contents::Model(_))));
}

#[test]
fn files_of_other_programs_are_identified() {
    let folder = tempfile::tempdir().unwrap();
    let says = |name: &str, content: &[u8], word: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        let error = Contents::of(&path).unwrap_err().to_string();
        assert!(error.contains(word) && error.len() < 600, "{name}: {error}");
        let error = Model::load(&path).unwrap_err().to_string();
        assert!(error.contains(word), "{name}: {error}");
    };
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n";
    says("a.h5", pointer, "Git LFS pointer");
    says("a.keras", pointer, "Git LFS pointer");
    says("b.h5", b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00.", "Python pickle");
    says("saved_model.pb", b"\x08\x01\x12\x80\x01\x0a", "SavedModel");
    says("c.h5", b"\x1c\x00\x00\x00TFL3\x14\x00\x20\x00", "TensorFlow Lite");
    says("d.onnx", b"\x08\x07\x12\x07pytorch\x1a\x032.0", "ONNX");
    let long = "x".repeat(5000);
    let tfjs = json!({"format": "layers-model", "modelTopology": {"a": long}, "weightsManifest": []});
    says("model.json", tfjs.to_string().as_bytes(), "TensorFlow.js");
    fs::create_dir(folder.path().join("saved")).unwrap();
    fs::write(folder.path().join("saved/saved_model.pb"), b"").unwrap();
    let error = Contents::of(folder.path().join("saved")).unwrap_err().to_string();
    assert!(error.contains("SavedModel"), "{error}");
    // JSON that is not a model is shown in one line.
    says("e.json", json!([long]).to_string().as_bytes(), "xxx");
}
