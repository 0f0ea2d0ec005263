//! The attention layers in files: Keras's own, round trips, and rejected arguments.

use std::collections::BTreeMap;
use std::path::Path;

use brasa::Error;
use brasa::layers::Arguments;
use brasa::model::Contents;
use brasa::prelude::*;
use serde_json::{Value as Json, json};

/// Files of Keras 3.15.1 and tf_keras 2.21 with inputs and outputs, made by `make_attention.py` in that folder.
pub fn fixture(name: &str) -> std::path::PathBuf {
    Path::new("tests/fixtures/functional").join(name)
}

fn data(name: &str, start: &str) -> Vec<Samples> {
    let mut file = brasa::datasets::Npz::open(fixture(name)).unwrap();
    let names: Vec<String> = file.names().iter().filter(|name| name.starts_with(start)).cloned().collect();
    let sorted: BTreeMap<String, Samples> =
        names.into_iter().map(|name| (name.clone(), file.read(&name).unwrap())).collect();
    sorted.into_values().collect()
}

pub fn compare(model: &Model, io: &str, what: &str) {
    let outputs = model.predict_all(data(io, "x")).unwrap();
    let expected = data(io, "y");
    assert_eq!(outputs.len(), expected.len(), "{what}");
    for (index, (output, expected)) in outputs.iter().zip(expected).enumerate() {
        let expected = expected.into_ndarray();
        assert_eq!(output.shape(), expected.shape(), "{what}: output {index}");
        let scale = expected.iter().fold(1.0f32, |scale, value| scale.max(value.abs()));
        let worst = output.iter().zip(&expected).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
        assert!(worst < 1e-5 * scale, "{what}: output {index} is off by {worst}");
    }
}

#[test]
fn files_of_keras_compute_what_keras_computes() {
    let files = [
        ("attention.keras", "attention.npz"),
        ("attention.h5", "attention.npz"),
        ("attention_keras2.h5", "attention_keras2.npz"),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (file, io) in files {
        let model = Model::load(fixture(file)).unwrap();
        compare(&model, io, file);
        for form in ["keras", "h5", "safetensors"] {
            let path = folder.path().join(format!("copy.{form}"));
            model.save(&path).unwrap();
            let copy = Model::load(&path).unwrap();
            compare(&copy, io, &format!("{file} as {form}"));
            assert_eq!(copy.to_json().unwrap(), model.to_json().unwrap(), "{file} as {form}");
        }
        let path = folder.path().join("alone.weights.h5");
        model.save_weights(&path).unwrap();
        let mut copy = Model::from_json(&model.to_json().unwrap()).unwrap();
        copy.load_weights(&path).unwrap();
        compare(&copy, io, &format!("the weights of {file}"));
    }
}

/// The names match those in Keras's own files.
#[test]
fn weights_and_classes_have_keras_names() {
    let folder = tempfile::tempdir().unwrap();
    let model = Model::load(fixture("attention.keras")).unwrap();
    let path = folder.path().join("alone.weights.h5");
    model.save_weights(&path).unwrap();
    let Contents::Weights(weights) = Contents::of(&path).unwrap() else { panic!("no weights") };
    let sizes: BTreeMap<&str, &[usize]> = weights.iter().map(|own| (own.name.as_str(), &own.shape[..])).collect();
    let expected: &[(&str, &[usize])] = &[
        ("layers/attention/vars/0", &[]),
        ("layers/attention/vars/1", &[]),
        ("layers/attention_1/vars/0", &[]),
        ("layers/additive_attention/vars/0", &[4]),
        ("layers/grouped_query_attention/_query_dense/vars/0", &[4, 4, 2]),
        ("layers/grouped_query_attention/_key_dense/vars/1", &[2, 2]),
        ("layers/grouped_query_attention/_gate_dense/vars/1", &[4, 2]),
        ("layers/grouped_query_attention/_value_dense/vars/0", &[4, 2, 2]),
        ("layers/grouped_query_attention/_output_dense/vars/0", &[4, 2, 4]),
    ];
    for (name, shape) in expected {
        assert_eq!(sizes.get(name), Some(shape), "{name} of {:?}", sizes.keys());
    }

    let json = model.to_json().unwrap();
    assert!(
        json.contains(r#""class_name":"GroupQueryAttention""#) && !json.contains("GroupedQueryAttention"),
        "{json}"
    );
    let path = folder.path().join("older.h5");
    model.save(&path).unwrap();
    let file = brasa::formats::keras::LegacyFile::open(&path, &brasa::formats::Limits::default()).unwrap();
    // Keras resolves the name with a `module`, which its own `.h5` files lack.
    let config = file.model_config().unwrap().to_string();
    assert!(config.contains(r#""module":"keras.layers","class_name":"GroupQueryAttention""#), "{config}");
    let query = Input::new((3, 4)).symbol();
    let model = Model::new(&query, &GroupQueryAttention::new(2, 2, 1).call([&query, &query]).unwrap()).unwrap();
    assert_eq!(model.layers()[1].name(), "grouped_query_attention");
}

fn layer(class: &str, config: &Json) -> Result<(), Error> {
    let object = json!({"module": "keras.layers", "class_name": class, "config": config});
    let config = json!({"name": "m", "layers": [object]});
    Sequential::from_json(&json!({"class_name": "Sequential", "config": config}).to_string()).map(|_| ())
}

#[test]
fn unsupported_arguments_are_refused_by_name() {
    let gqa = |more: Json| {
        let mut config = json!({"head_dim": 2, "num_query_heads": 2, "num_key_value_heads": 1});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    };
    let quantized =
        json!({"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8", "name": "int8_from_float32"}});
    let cases = [
        ("Attention", json!({"score_mode": "general"}), "dot, concat"),
        ("Attention", json!({"causal": true}), "`causal`"),
        ("Attention", json!({"lora_rank": 4}), "lora_rank"),
        ("Attention", json!({"dtype": quantized}), "int8"),
        ("AdditiveAttention", json!({"score_mode": "dot"}), "score_mode"),
        ("AdditiveAttention", json!({"dtype": "int8"}), "int8"),
        ("GroupQueryAttention", json!({"head_dim": 2, "num_query_heads": 2}), "num_key_value_heads"),
        ("GroupQueryAttention", gqa(json!({"lora_rank": 4})), "lora_rank"),
        ("GroupQueryAttention", gqa(json!({"quantization_config": {"weight_dtype": "int4"}})), "quantization_config"),
        ("GroupQueryAttention", gqa(json!({"num_heads": 2})), "num_heads"),
        ("GroupQueryAttention", gqa(json!({"kernel_initializer": "nope"})), "nope"),
    ];
    for (class, config, part) in cases {
        let error = layer(class, &config).unwrap_err().to_string();
        assert!(error.contains(part), "{class}({config}): `{part}` is missing in: {error}");
    }
    // Arguments without effect, and those about how it is computed, are ignored.
    let none = json!({"causal": false, "dtype": "mixed_bfloat16"});
    assert!(layer("Attention", &none).is_ok());
    let none = gqa(json!({"flash_attention": true, "lora_rank": null}));
    assert!(layer("GroupedQueryAttention", &none).is_ok());
}

/// A mask that is not a value of the graph, and a list of masks instead of one.
#[test]
fn masks_of_other_kinds_are_refused() {
    let words = Input::new((3, 4)).symbol();
    let refused = |arguments: Arguments, inputs: &[&Symbol]| {
        let all = [
            GroupQueryAttention::new(2, 2, 1).call_with(inputs, arguments.clone()),
            MultiHeadAttention::new(2, 2).call_with(inputs, arguments),
        ];
        all.into_iter().for_each(|result| assert!(matches!(result, Err(Error::Layer { .. })), "{result:?}"));
    };
    let mut arguments = Arguments::new();
    arguments.set_option("attention_mask", json!([[true]]));
    refused(arguments, &[&words, &words]);
    let mask = Input::new((3, 3)).symbol();
    let mut arguments = Arguments::new();
    arguments.push_named("attention_mask", vec![true, true]);
    refused(arguments, &[&words, &words, &mask, &mask]);
    let mut arguments = Arguments::new();
    arguments.push_named("value_mask", vec![true]);
    refused(arguments, &[&words, &words, &mask]);
}

/// Temporary values of shape `(batch, T, S, features)` are far larger than the inputs and outputs.
#[test]
fn memory_is_checked_before_allocation() {
    let [query, value] = [Input::new((1 << 12, 8)).symbol(), Input::new((1 << 12, 8)).symbol()];
    let of = |output: Symbol| {
        let mut model = Model::new([&query, &value], &output).unwrap();
        model.set_memory_limit(Some(64 << 20));
        let x = Samples::new([1, 1 << 12, 8], vec![0.5f32; 8 << 12]).unwrap();
        model.predict_all(&[x.clone(), x])
    };
    let layers: [Box<dyn brasa::layers::Layer>; 4] = [
        Attention::new().into(),
        Attention::new().score_mode("concat").into(),
        AdditiveAttention::new().into(),
        GroupQueryAttention::new(2, 2, 1).into(),
    ];
    for layer in layers {
        let class = layer.class_name();
        let error = of(layer.call([&query, &value]).unwrap()).unwrap_err();
        assert!(error.to_string().contains("the model's memory limit"), "{class}: {error}");
    }
}

/// Dropout is reproducible when a run is repeated, and all weights are trained.
#[test]
fn training_is_repeatable_and_reaches_the_weights() {
    let model = || {
        let words = Input::new((4, 6)).symbol();
        let dot = Attention::new().use_scale(true).dropout(0.3).call([&words, &words]).unwrap();
        let concat = Attention::new().score_mode("concat").call([&dot, &words]).unwrap();
        let sums = AdditiveAttention::new().dropout(0.2).call([&concat, &words, &dot]).unwrap();
        let grouped = GroupQueryAttention::new(3, 4, 2).use_gate(true).dropout(0.3).call([&sums, &words]).unwrap();
        let mut model = Model::new(&words, &grouped).unwrap();
        model.set_seed(3);
        model.compile(Compile::new(SGD::new(0.1), "mse")).unwrap();
        model
    };
    let numbers = |count: usize, of: fn(f32) -> f32| (0..count).map(|i| of(i as f32)).collect::<Vec<_>>();
    let x = Samples::new([5, 4, 6], numbers(120, |i| (i * 0.37).sin() * 2.0)).unwrap();
    let y = Samples::new([5, 4, 6], numbers(120, |i| (i * 0.21).cos())).unwrap();
    let run = || {
        let mut model = model();
        let start = model.get_weights().unwrap();
        let data = Dataset::new(&x, &y).unwrap();
        let fit = Fit::new().epochs(3).batch_size(2).seed(9).verbose(Verbosity::Silent);
        let history = model.fit(&data, fit).unwrap().history;
        (start, model.get_weights().unwrap(), model.weight_names().unwrap(), history)
    };
    let (start, end, names, history) = run();
    let again = run();
    assert_eq!((&end, &history), (&again.1, &again.3));
    for ((name, start), end) in names.iter().zip(&start).zip(&end) {
        // Adding a constant to all scores of a row changes nothing.
        assert!(start != end || name.ends_with("_key_dense/bias"), "{name} is not trained");
    }
    assert!(names.iter().any(|name| name.ends_with("concat_score_weight")));
}
