//! Functional models from untrusted files, and invalid graphs.

use brasa::prelude::*;
use serde_json::{Value as Json, json};

fn tensor(name: &str, call: usize, output: usize) -> Json {
    json!({"class_name": "__keras_tensor__", "config": {"shape": [null, 3], "dtype": "float32",
        "keras_history": [name, call, output]}})
}

fn input(name: &str) -> Json {
    json!({"module": "keras.layers", "class_name": "InputLayer", "name": name, "inbound_nodes": [],
        "config": {"name": name, "batch_shape": [null, 3], "dtype": "float32"}})
}

fn layer(class: &str, name: &str, config: Json, calls: Vec<Json>) -> Json {
    let mut config = config;
    config["name"] = json!(name);
    let calls: Vec<Json> = calls.into_iter().map(|args| json!({"args": args, "kwargs": {}})).collect();
    json!({"module": "keras.layers", "class_name": class, "name": name, "config": config, "inbound_nodes": calls})
}

fn functional(name: &str, layers: Vec<Json>, inputs: Json, outputs: Json) -> Json {
    let config = json!({"name": name, "trainable": true, "layers": layers, "input_layers": inputs,
        "output_layers": outputs});
    json!({"class_name": "Functional", "config": config})
}

fn load(model: &Json) -> brasa::Result<Model> {
    Model::from_json(&model.to_string())
}

fn refused(layers: Vec<Json>, outputs: Json) -> String {
    load(&functional("m", layers, json!([["in", 0, 0]]), outputs)).unwrap_err().to_string()
}

fn dense(name: &str, from: &str) -> Json {
    layer("Dense", name, json!({"units": 3}), vec![json!([tensor(from, 0, 0)])])
}

#[test]
fn invalid_graphs_are_refused() {
    let end = || json!([["b", 0, 0]]);
    let cases = [
        (vec![input("in"), dense("a", "b"), dense("b", "a")], end(), "cycle"),
        (vec![input("in"), dense("b", "nowhere")], end(), "nowhere"),
        (vec![input("in"), dense("b", "in")], json!([["c", 0, 0]]), "`c`"),
        (vec![input("in"), dense("b", "in")], json!([["b", 7, 0]]), "1 calls of layer `b`"),
        (vec![input("in"), dense("b", "in")], json!([["b", 0, 3]]), "3"),
        (vec![input("in"), input("other"), dense("b", "other")], end(), "other"),
        (vec![input("in"), dense("b", "in"), dense("b", "in")], end(), "distinct names"),
        (vec![input("in"), dense("x/y", "in"), dense("b", "x/y")], end(), "name"),
        (vec![input("in"), dense("b", "in")], json!([]), "output_layers"),
        (vec![input("in"), layer("Add", "b", json!({}), vec![json!([[]])])], end(), "b"),
    ];
    for (layers, outputs, part) in cases {
        let error = refused(layers, outputs);
        assert!(error.contains(part), "`{part}` is missing in: {error}");
    }
    let inputs = functional("m", vec![input("in"), dense("b", "in")], json!([["b", 0, 0]]), end());
    assert!(load(&inputs).is_err());
}

/// A model that calls the nested one `times` times in a chain.
fn times(inner: Json, level: usize, times: usize) -> Json {
    let mut inner = inner;
    inner["module"] = json!("keras");
    inner["name"] = inner["config"]["name"].clone();
    let own = inner["name"].as_str().unwrap().to_owned();
    let call = |from: &str, index: usize| json!({"args": [tensor(from, index, 0)], "kwargs": {}});
    let calls = (0..times).map(|index| if index == 0 { call("in", 0) } else { call(&own, index - 1) });
    inner["inbound_nodes"] = calls.collect();
    functional(&format!("m{level}"), vec![input("in"), inner], json!(["in", 0, 0]), json!([own, times, 0]))
}

/// A model that calls the nested one twice, and so on: the file grows by a layer, the work doubles.
#[test]
fn work_does_not_double_with_each_level_of_nested_models() {
    let mut model = functional("m0", vec![input("in"), dense("b", "in")], json!(["in", 0, 0]), json!(["b", 0, 0]));
    for level in 1..=8 {
        model = times(model, level, 2);
    }
    let shallow = load(&model).unwrap();
    assert_eq!(shallow.count_params().unwrap(), 12);
    for level in 9..=30 {
        model = times(model, level, 2);
    }
    let error = load(&model).unwrap_err().to_string();
    assert!(error.contains("inside one another"), "{error}");
}

/// A hundred bytes per call of a model of thousands of layers.
#[test]
fn calls_and_outputs_are_counted_over_the_whole_model() {
    let mut model = functional("m0", vec![input("in"), dense("b", "in")], json!(["in", 0, 0]), json!(["b", 0, 0]));
    for level in 1..=12 {
        model = times(model, level, 2);
    }
    load(&model).unwrap();
    let error = load(&times(model, 13, 1000)).unwrap_err().to_string();
    assert!(error.contains("`m12`") && error.contains("in the whole model"), "{error}");
    // Outputs that are all the same value still count as values of the outer model.
    let many: Vec<Json> = (0..5_000).map(|_| json!(["b", 0, 0])).collect();
    let wide = functional("m0", vec![input("in"), dense("b", "in")], json!(["in", 0, 0]), json!(many));
    load(&wide).unwrap();
    let error = load(&times(wide, 1, 25)).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("`m0`") && error.contains("in the whole model"), "{error}");
}

#[test]
fn a_graph_with_operations_is_not_sequential() {
    let times = json!({"module": "keras.src.ops.numpy", "class_name": "Multiply", "config": {"name": "times"},
        "name": "times", "inbound_nodes": [{"args": [tensor("a", 0, 0), 2.0], "kwargs": {}}]});
    let layers = vec![input("in"), dense("a", "in"), times, dense("b", "times")];
    let object = functional("m", layers, json!(["in", 0, 0]), json!(["b", 0, 0]));
    let error = Sequential::from_json(&object.to_string()).unwrap_err().to_string();
    assert!(error.contains("times"), "{error}");

    let mut model = load(&object).unwrap();
    let names: Vec<&str> = model.layers().iter().map(|layer| layer.name()).collect();
    assert_eq!(names, ["in", "a", "b"]);
    let weights: Vec<_> = model.get_weights().unwrap().iter().map(|weight| weight.mapv(|_| 0.5)).collect();
    model.set_weights(&weights).unwrap();
    let y = model.predict(brasa::ndarray::array![[1.0f32, 2.0, 3.0]]).unwrap();
    // (6 · 0.5 + 0.5) · 2 = 7 three times, then 3 · 7 · 0.5 + 0.5.
    assert_eq!(y.as_slice().unwrap(), [11.0, 11.0, 11.0]);
    let copy = Model::from_json(&model.to_json().unwrap()).unwrap();
    assert_eq!(copy.to_json().unwrap(), model.to_json().unwrap());
}

/// Saved and loaded in every format, with its weights.
#[test]
fn a_graph_round_trips_through_every_format() {
    let (a, b) = (Input::new(3).name("a").symbol(), Input::new(3).name("b").symbol());
    let tower = Dense::new(4).activation("relu").name("tower").shared();
    let (x, y) = (tower.call(&a).unwrap(), tower.call(&b).unwrap());
    let inside = {
        let input = Input::new(4).name("i").symbol();
        let output = Dense::new(2).name("d").call(&input).unwrap();
        Model::new(&input, &output).unwrap().named("inside")
    };
    let sum = Add::new().name("sum").call([&x, &y]).unwrap();
    let first = inside.call(&sum).unwrap();
    let both = Concatenate::new().name("both").call([&x, &y]).unwrap();
    let second = Dense::new(1).name("second").call(&both).unwrap();
    let model = Model::new([&a, &b], [&first, &second]).unwrap();
    let samples = |start: f32| Samples::new([2, 3], (0..6).map(|i| start + i as f32 / 3.0).collect()).unwrap();
    let x = [samples(-1.0), samples(0.5)];
    let expected = model.predict_all(&x).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for form in ["keras", "h5", "safetensors"] {
        let path = folder.path().join(format!("graph.{form}"));
        model.save(&path).unwrap();
        let copy = Model::load(&path).unwrap();
        assert_eq!(copy.predict_all(&x).unwrap(), expected, "{form}");
        assert_eq!((copy.input_names(), copy.output_names()), (model.input_names(), model.output_names()), "{form}");
    }
    let mut copy = Model::load_architecture(folder.path().join("graph.keras")).unwrap();
    model.save_weights(folder.path().join("graph.weights.h5")).unwrap();
    copy.load_weights(folder.path().join("graph.weights.h5")).unwrap();
    assert_eq!(copy.predict_all(&x).unwrap(), expected);
}

/// Keras stores the optimizer of a compiled nested model with the outer model's weights; it has no effect there.
#[test]
fn the_optimizer_of_a_nested_model_is_ignored() {
    let model = Sequential::load("tests/fixtures/functional/nested_compiled.keras").unwrap();
    assert!(!model.get_weights().unwrap().is_empty());
}

#[test]
fn a_mask_that_does_not_fit_is_an_error() {
    let masked = |class: &str, config: Json, args: Json| {
        let call = json!({"args": args, "kwargs": {"mask": [tensor("m", 0, 0), tensor("m", 0, 0)]}});
        let own = json!({"module": "keras.layers", "class_name": class, "name": "l", "config": config,
            "inbound_nodes": [call]});
        let of = |name: &str, shape: Json| {
            let mut input = input(name);
            input["config"]["batch_shape"] = shape;
            input
        };
        let layers = vec![of("in", json!([null, 3, 4])), of("m", json!([null, 5])), own];
        let ends = json!([["in", 0, 0], ["m", 0, 0]]);
        let model = load(&functional("f", layers, ends, json!([["l", 0, 0]]))).unwrap();
        let x = [Samples::new([1, 3, 4], vec![1.0f32; 12]).unwrap(), Samples::new([1, 5], vec![1.0f32; 5]).unwrap()];
        model.predict_all(&x).unwrap_err().to_string()
    };
    let both = json!([tensor("in", 0, 0), tensor("in", 0, 0)]);
    for class in ["Maximum", "Multiply", "Concatenate"] {
        assert!(masked(class, json!({}), json!([both])).contains("mask"));
    }
    for class in ["Attention", "AdditiveAttention"] {
        assert!(masked(class, json!({}), json!([both])).contains("a mask of shape (1, 3)"));
    }
    let attention = json!({"num_heads": 1, "key_dim": 2});
    assert!(masked("MultiHeadAttention", attention, both.clone()).contains("mask"));
    let attention = json!({"head_dim": 2, "num_query_heads": 2, "num_key_value_heads": 1});
    assert!(masked("GroupQueryAttention", attention, both).contains("mask"));
}
