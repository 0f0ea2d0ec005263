//! Files with operations as nodes, from Keras 3 and Keras 2.

use brasa::ndarray;
use brasa::prelude::*;
use serde_json::{Value as Json, json};

fn fixture(name: &str) -> String {
    format!("tests/fixtures/functional/{name}")
}

/// The input for which the results below were recorded.
fn batch() -> ndarray::Array3<f32> {
    ndarray::Array3::from_shape_fn((2, 4, 4), |(i, j, k)| ((i * 16 + j * 4 + k) * 37 % 50) as f32 / 25.0 + 0.1)
}

fn near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{found} instead of {expected}");
    }
}

/// The prediction of Keras 3.15.1 with `ops.keras`.
const OPS: [f32; 8] = [9.186229, 35.30095, 23.41566, 11.53037, 16.43679, 10.97445, 5.512102, 19.63698];

#[test]
fn operations_of_keras_3_round_trip_through_every_format() {
    let model = Model::load(fixture("ops.keras")).unwrap();
    near(model.predict(batch()).unwrap().as_slice().unwrap(), &OPS);
    // Keras writes this file but cannot read it, as the operations lack their modules.
    let older = Model::load(fixture("ops.h5")).unwrap();
    assert_eq!(older.to_json().unwrap(), model.to_json().unwrap());
    let folder = tempfile::tempdir().unwrap();
    for form in ["keras", "h5", "safetensors", "json"] {
        let path = folder.path().join(format!("ops.{form}"));
        model.save(&path).unwrap();
        let copy = Model::load(&path).unwrap();
        assert_eq!(copy.predict(batch()).unwrap(), model.predict(batch()).unwrap(), "{form}");
    }
}

#[test]
fn operations_of_keras_2_are_written_as_those_of_keras_3() {
    let images = ndarray::Array4::from_shape_fn((1, 8, 8, 3), |(_, i, j, k)| ((i * 24 + j * 3 + k) * 37 % 256) as f32);
    let images = brasa::datasets::Samples::new([1, 8, 8, 3], images.into_raw_vec_and_offset().0).unwrap();
    // From TensorFlow 2.21.
    let caffe = [-29.939_003, -79.779, -123.68, 81.061, 31.221_0, -12.68];
    let scaled = [-1.0, -0.709_803_94, -0.419_607_82, -0.129_411_76, 0.160_784_36, 0.450_980_42];
    let model = Model::load(fixture("tfk_preprocess.h5")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("preprocess.keras");
    model.save(&path).unwrap();
    let older = folder.path().join("preprocess.h5");
    model.save(&older).unwrap();
    // Keras cannot read `...` in these files.
    assert!(Model::load(&path).unwrap().to_json().unwrap().contains("__ellipsis__"));
    assert!(!Model::load(&older).unwrap().to_json().unwrap().contains("__ellipsis__"));
    for model in [&model, &Model::load(&path).unwrap(), &Model::load(&older).unwrap()] {
        let outputs = model.predict_all(std::slice::from_ref(&images)).unwrap();
        near(&outputs[0].as_slice().unwrap()[..6], &caffe);
        near(&outputs[1].as_slice().unwrap()[..6], &scaled);
    }
    let json: Json = serde_json::from_str(&model.to_json().unwrap()).unwrap();
    let classes: Vec<&str> = json["config"]["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["class_name"].as_str().unwrap())
        .collect();
    assert_eq!(classes, ["InputLayer", "GetItem", "TrueDivide", "Add", "Subtract"]);
}

/// All functions of the file except `tf.shape`, for whose result Keras 3 has no node.
#[test]
fn functions_of_keras_2_compute_what_tensorflow_does() {
    let error = Model::load(fixture("tfk_ops.h5")).unwrap_err().to_string();
    assert!(error.contains("tf.compat.v1.shape") && error.contains("constant"), "{error}");

    let mut object: Json = serde_json::from_slice(&std::fs::read(fixture("tfk_config_ops.json")).unwrap()).unwrap();
    let without = ["tf.compat.v1.shape", "tf.__operators__.getitem_3", "tf.math.multiply_1"];
    let layers = object["config"]["layers"].as_array_mut().unwrap();
    layers.retain(|layer| !without.contains(&layer["name"].as_str().unwrap()));
    object["config"]["output_layers"] =
        json!([["tf.math.exp", 0, 0], ["tf.math.reduce_mean", 0, 0], ["tf.nn.relu_1", 0, 0]]);
    let model = Model::from_json(&object.to_string()).unwrap();
    let again = Model::from_json(&model.to_json().unwrap()).unwrap();
    let x = brasa::datasets::Samples::new([2, 4, 4], batch().into_raw_vec_and_offset().0).unwrap();
    for model in [model, again] {
        let outputs = model.predict_all(std::slice::from_ref(&x)).unwrap();
        near(outputs[0].as_slice().unwrap(), &EXP);
        near(outputs[1].as_slice().unwrap(), &MEAN);
        near(outputs[2].as_slice().unwrap(), &[1.0; 4]);
    }
}

/// The results of TensorFlow 2.21 for the functions of `tfk_config_ops.json`.
const EXP: [f32; 32] = [
    5.870853, 1.0, 1.0, 1.046237, 1.0, 1.0, 1.0, 1.560802, 1.0, 1.0, 1.0, 2.240726, 1.0, 1.0, 1.0, 3.095656, 1.0, 1.0,
    1.0, 4.115664, 1.0, 1.0, 1.0, 5.265626, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.284025, 1.0,
];
const MEAN: [f32; 8] = [139.0994, 116.1666, 74.86132, 33.55606, 87.0846, 59.75323, 32.42187, 55.38867];

/// A graph of one function of Keras 2.
fn keras_2(function: &str, node: Json, shape: Json) -> brasa::Result<Model> {
    let class = if function == "__operators__.getitem" { "SlicingOpLambda" } else { "TFOpLambda" };
    let layers = json!([
        {"class_name": "InputLayer", "name": "a", "inbound_nodes": [],
            "config": {"batch_input_shape": shape, "dtype": "float32", "name": "a"}},
        {"class_name": class, "name": "f", "inbound_nodes": [node],
            "config": {"name": "f", "trainable": true, "dtype": "float32", "function": function}},
    ]);
    let ends = |name: &str| json!([[name, 0, 0]]);
    let config = json!({"name": "m", "layers": layers, "input_layers": ends("a"), "output_layers": ends("f")});
    Model::from_json(&json!({"class_name": "Functional", "config": config}).to_string())
}

/// The expected numbers are from TensorFlow 2.21.
#[test]
fn arguments_of_keras_2_are_translated() {
    let x = ndarray::array![[1.0f32, -2.0, 3.0, 0.5]];
    let cases: &[(&str, Json, &[f32])] = &[
        (
            "math.subtract",
            json!(["_CONSTANT_VALUE", -1, 1.0, {"y": ["a", 0, 0], "name": null}]),
            &[0.0, 3.0, -2.0, 0.5],
        ),
        (
            "concat",
            json!([["a", 0, 0, {"axis": -1}], ["_CONSTANT_VALUE", -1, [[7.0]], {"axis": -1}]]),
            &[1.0, -2.0, 3.0, 0.5, 7.0],
        ),
        ("compat.v1.transpose", json!(["a", 0, 0, {"perm": [0, 1], "conjugate": false}]), &[1.0, -2.0, 3.0, 0.5]),
        (
            "compat.v1.gather",
            json!(["a", 0, 0, {"indices": [2, 0], "axis": 1, "batch_dims": 0, "name": null}]),
            &[3.0, 1.0],
        ),
        (
            "pad",
            json!(["a", 0, 0, {"paddings": [[0, 0], [1, 2]], "mode": "CONSTANT", "constant_values": 0}]),
            &[0.0, 1.0, -2.0, 3.0, 0.5, 0.0, 0.0],
        ),
        ("clip_by_value", json!(["a", 0, 0, {"clip_value_min": -1, "clip_value_max": 2}]), &[1.0, -1.0, 2.0, 0.5]),
        (
            "math.l2_normalize",
            json!(["a", 0, 0, {"axis": -1}]),
            &[0.264_906_47, -0.529_812_93, 0.794_719_4, 0.132_453_24],
        ),
        ("nn.leaky_relu", json!(["a", 0, 0, {}]), &[1.0, -0.4, 3.0, 0.5]),
        ("nn.gelu", json!(["a", 0, 0, {"approximate": true}]), &[0.841_192, -0.045_402_348, 2.996_362_7, 0.345_714]),
        ("math.argmax", json!(["a", 0, 0, {"axis": 1}]), &[2.0]),
        ("reverse", json!(["a", 0, 0, {"axis": [1]}]), &[0.5, 3.0, -2.0, 1.0]),
        ("math.floormod", json!(["a", 0, 0, {"y": 2.0}]), &[1.0, 0.0, 1.0, 0.5]),
        (
            "__operators__.getitem",
            json!(["a", 0, 0, {"slice_spec": [{"class_name": "__ellipsis__"}, {"start": null, "stop": null, "step": -2}]}]),
            &[0.5, -2.0],
        ),
    ];
    for (function, node, expected) in cases {
        let model =
            keras_2(function, node.clone(), json!([null, 4])).unwrap_or_else(|error| panic!("{function}: {error}"));
        let y = model.predict(x.clone()).unwrap_or_else(|error| panic!("{function}: {error}"));
        near(y.as_slice().unwrap(), expected);
    }
}

#[test]
fn untranslatable_functions_are_refused_by_name() {
    let cases = [
        ("math.lgamma", json!(["a", 0, 0, {}]), "tf.math.lgamma"),
        ("math.reduce_men", json!(["a", 0, 0, {}]), "math.reduce_mean"),
        ("linalg.matmul", json!(["a", 0, 0, {"b": ["a", 0, 0], "transpose_b": true}]), "transpose_b"),
        ("reshape", json!(["a", 0, 0, {"shape": [["a", 0, 0], 4]}]), "graph value"),
        ("reshape", json!(["a", 0, 0, {"shape": ["a", 0, 0]}]), "shape"),
        ("image.resize", json!(["a", 0, 0, {"size": [2, 2], "method": "area"}]), "area"),
        ("nn.bias_add", json!(["a", 0, 0, {"bias": [1.0], "data_format": "NCHW"}]), "NCHW"),
        ("math.add", json!(["a", 0, 0, {}]), "`y`"),
        ("math.add", json!(["a", 0, 0, {"y": 1.0, "z": 2}]), "`z`"),
        ("math.add", json!([[]]), "inbound_nodes"),
        ("math.add", json!(["nowhere", 0, 0, {"y": 1.0}]), "nowhere"),
        ("math.add", json!(["_CONSTANT_VALUE", -1, 1.0, {"y": 2.0}]), "value"),
        ("where", json!(["a", 0, 0, {"x": null, "y": null}]), "condition"),
    ];
    for (function, node, part) in cases {
        let error = keras_2(function, node, json!([null, 4])).unwrap_err().to_string();
        assert!(error.contains(part), "{function}: `{part}` is missing in: {error}");
    }
}
