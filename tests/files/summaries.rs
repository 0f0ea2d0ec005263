//! Summaries of Functional models, character for character as Keras prints them.
//!
//! Recorded by `tests/fixtures/summaries/make.py` with Keras 3.15.1, with tf_keras 2.21 (whose tables are those of
//! TensorFlow 2.12 to 2.15), and with the function of Keras 2.11.

use std::path::Path;

use brasa::datasets::Npz;
use brasa::model::summary::{Style, Summary};
use brasa::prelude::*;
use serde_json::json;

const FOLDER: &str = "tests/fixtures/summaries";

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(FOLDER).join(file)).unwrap()
}

fn model(name: &str) -> Model {
    Model::from_json(&read(&format!("{name}.json"))).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The table described by a heading: a style, a line length or `-`, and options.
fn table(summary: Summary, heading: &str) -> String {
    let mut words = heading.split_whitespace();
    let mut summary = summary.style(words.next().unwrap().parse::<Style>().unwrap());
    let length = words.next().unwrap();
    if length != "-" {
        summary = summary.line_length(length.parse().unwrap()).unwrap();
    }
    for option in words {
        summary = match option {
            "expand" => summary.expand_nested(true),
            "trainable" => summary.show_trainable(true),
            other => panic!("{other}"),
        };
    }
    format!("{summary}\n")
}

/// Compares all recorded tables of a model.
fn check(name: &str, model: &Model) {
    let recorded = read(&format!("{name}.txt"));
    let mut count = 0;
    for case in recorded.split("#### ").filter(|case| !case.is_empty()) {
        let (heading, expected) = case.split_once('\n').unwrap();
        let printed = table(model.summary(), heading);
        assert!(printed == expected, "{name} {heading}\n{printed}\nshould be\n{expected}");
        count += 1;
    }
    assert!(count > 0, "{name}");
}

fn names() -> Vec<String> {
    let files = std::fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    files.filter_map(|file| file.strip_suffix(".json").map(str::to_owned)).collect()
}

#[test]
fn every_recorded_table() {
    let names = names();
    assert!(names.len() >= 36, "{names:?}");
    names.iter().for_each(|name| check(name, &model(name)));
}

#[test]
fn a_model_in_a_file_keeps_its_connections() {
    for name in names() {
        let again = model(&name).to_json().unwrap();
        check(&name, &Model::from_json(&again).unwrap_or_else(|error| panic!("{name}: {error}\n{again}")));
    }
}

#[test]
fn calls_are_counted_in_order_of_creation() {
    let input = |name: &str| Input::new(4).name(name).symbol();
    let dense = |name: &str| Dense::new(4).name(name);
    let (a, b) = (input("a"), input("b"));
    let shared = dense("shared").shared();
    let late = shared.call(&dense("before").call(&b).unwrap()).unwrap();
    let early = shared.call(&a).unwrap();
    let again = shared.call(&early).unwrap();
    let all = Concatenate::new().name("all").call([&again, &early, &late]).unwrap();
    check("numbers", &Model::new([&a, &b], &all).unwrap().named("numbers"));
    check("numbers_keras2", &Model::new([&a, &b], &all).unwrap().named("numbers"));

    // A call outside the model counts too, until the model has been saved and loaded.
    let sum = Add::new().name("sum").call([&early, &again]).unwrap();
    let model = Model::new(&a, &sum).unwrap();
    let connected = |model: &Model| {
        let row = model.summary().rows.into_iter().find(|row| row.name == "sum").unwrap();
        row.connections.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(connected(&model), ["shared[1][0]", "shared[2][0]"]);
    assert_eq!(connected(&Model::from_json(&model.to_json().unwrap()).unwrap()), ["shared[0][0]", "shared[1][0]"]);
}

/// Keras visits named arguments alphabetically, and weights are matched by the resulting order of layers.
#[test]
fn arguments_by_name_have_keras_order() {
    let layers = |model: &Model| model.layers().iter().map(|layer| layer.name().to_owned()).collect::<Vec<_>>();
    let model = model("by_name");
    assert_eq!(layers(&model), ["x", "k", "q", "v", "mha", "last"]);
    assert_eq!(layers(&Model::from_json(&model.to_json().unwrap()).unwrap()), layers(&model));
}

/// With the wrong order each layer would get the weights of another. Recorded with Keras 3.15.1 and tf_keras 2.21 by
/// `tests/fixtures/functional/make_by_name.py`.
#[test]
fn arguments_by_name_have_their_own_weights() {
    let folder = Path::new("tests/fixtures/functional");
    let copies = tempfile::tempdir().unwrap();
    for (file, io) in [("by_name.keras", "by_name_keras3.npz"), ("by_name_keras2.h5", "by_name_keras2.npz")] {
        let mut io = Npz::open(folder.join(io)).unwrap();
        let (x, y): (Samples, Samples) = (io.read("x").unwrap(), io.read("y").unwrap());
        let mut model = Model::load(folder.join(file)).unwrap();
        for form in ["keras", "h5", "safetensors"] {
            let found = model.predict(&x).unwrap();
            let worst = found.iter().zip(y.to_vec_f32()).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
            assert!(worst < 1e-6, "{file} {form}: {worst}");
            let copy = copies.path().join(format!("copy.{form}"));
            model.save(&copy).unwrap();
            model = Model::load(&copy).unwrap();
        }
    }
}

#[test]
fn json_says_what_layers_are_connected_to() {
    let json = model("scores").summary().to_json();
    let layer = |name: &str| {
        let layers = json["layers"].as_array().unwrap();
        layers.iter().find(|layer| layer["name"] == name).unwrap().clone()
    };
    assert_eq!(layer("x")["connected_to"], json!([]));
    assert_eq!(layer("mha")["connected_to"], json!([["x", 0, 0], ["v", 0, 0]]));
    assert_eq!(layer("of_scores")["connected_to"], json!([["mha", 0, 1]]));
    assert_eq!(layer("mha")["output_shape"], json!([[null, 3, 4], [null, 2, 3, 3]]));
    assert_eq!(layer("of_values")["output_shape"], json!([null, 3, 2]));
}
