//! Models of several inputs and outputs: `train`, `evaluate` and `predict` on an `.npz` with an array for each.

use std::fs;

use brasa::prelude::*;
use serde_json::json;

use crate::support::Place;

const RECIPE: &str = r#"
[data]
dataset = "npz"
path = "d.npz"

[model]
file = "m.keras"

[fit]
epochs = 2
batch_size = 4
seed = 1

[compile]
optimizer = "adam"
loss = { price = "mse", sold = "binary_crossentropy" }
loss_weights = { price = 0.5, sold = 2.0 }
metrics = { sold = ["accuracy"] }
"#;

#[test]
fn fields_are_matched_by_name_from_the_file_to_the_scores() {
    let place = Place::new();
    let (a, b) = (Input::new(2).name("a").symbol(), Input::new(1).name("b").symbol());
    let both = Concatenate::default().call([&a, &b]).unwrap();
    let price = Dense::new(1).name("price").call(&both).unwrap();
    let sold = Dense::new(1).activation("sigmoid").name("sold").call(&both).unwrap();
    Model::new([&a, &b], [&price, &sold]).unwrap().save(place.at("m.keras")).unwrap();
    let numbers: Vec<f32> = (0..16).map(|index| index as f32 / 8.0 - 1.0).collect();
    let classes: Vec<f32> = (0..8).map(|index| (index % 2) as f32).collect();
    place.npz(
        "d.npz",
        &[
            ("y/sold", &[8, 1], &classes),
            ("x/b", &[8, 1], &numbers[4..12]),
            ("x/a", &[8, 2], &numbers),
            ("y/price", &[8, 1], &numbers[..8]),
            ("sample_weight/price", &[8], &classes),
        ],
    );
    fs::write(place.at("r.toml"), RECIPE).unwrap();
    place.done("train r.toml --out run --quiet");
    let history = fs::read_to_string(place.at("run/history.csv")).unwrap();
    assert_eq!(history.lines().next(), Some("epoch,loss,price_loss,sold_accuracy,sold_loss"));

    let scores = place.json("evaluate run/model.keras --data d.npz --json");
    let at = |name: &str| scores["metrics"][name].as_f64().unwrap();
    let sum = 0.5 * at("price_loss") + 2.0 * at("sold_loss");
    assert!((scores["loss"].as_f64().unwrap() - sum).abs() < 1e-6, "{scores}");

    let written = place.json("predict run/model.keras --input d.npz --output p.npz --json");
    assert_eq!(written["shapes"], json!({"price": [8, 1], "sold": [8, 1]}));

    place.npz("half.npz", &[("x/a", &[8, 2], &numbers), ("y/price", &[8, 1], &numbers[..8])]);
    let said = place.fails("evaluate run/model.keras --data half.npz");
    assert!(said.contains("input `b`"), "{said}");
}

const GRAPH: &str = r#"
[data]
dataset = "npz"
path = "d.npz"

[model]
outputs = ["price", "sold"]

[[layers]]
class_name = "Input"
input_shape = [2]
name = "a"

[[layers]]
class_name = "Input"
input_shape = [1]
name = "b"

[[layers]]
class_name = "Concatenate"
inputs = ["a", "b"]

[[layers]]
class_name = "Dense"
units = 1
name = "price"

[[layers]]
class_name = "Dense"
units = 1
activation = "sigmoid"
name = "sold"
inputs = ["concatenate"]

[compile]
optimizer = "adam"
loss = { price = "mse", sold = "binary_crossentropy" }

[fit]
epochs = 2
batch_size = 4
seed = 1
"#;

/// From its recipe, and resumed from the recipe in its run directory.
#[test]
fn a_recipe_can_be_a_graph() {
    let place = Place::new();
    let numbers: Vec<f32> = (0..16).map(|index| index as f32 / 8.0 - 1.0).collect();
    let classes: Vec<f32> = (0..8).map(|index| (index % 2) as f32).collect();
    place.npz(
        "d.npz",
        &[
            ("x/a", &[8, 2], &numbers),
            ("x/b", &[8, 1], &numbers[4..12]),
            ("y/price", &[8, 1], &numbers[..8]),
            ("y/sold", &[8, 1], &classes),
        ],
    );
    fs::write(place.at("r.toml"), GRAPH).unwrap();
    place.done("train r.toml --out run --quiet");
    place.done("train --resume --out run --epochs 3 --accept-changes --quiet");
    let history = fs::read_to_string(place.at("run/history.csv")).unwrap();
    assert_eq!(history.lines().next(), Some("epoch,loss,price_loss,sold_loss"));
    assert_eq!(history.lines().count(), 4);
    let page = place.read("run/report.html");
    assert!(page.contains("Connected to") && page.contains("concatenate[0][0]"));
    let model = Model::load(place.at("run/model.keras")).unwrap();
    assert_eq!(
        (model.input_keys(), model.output_keys()),
        (vec!["a".to_owned(), "b".to_owned()], vec!["price".to_owned(), "sold".to_owned()])
    );
}

/// Batches have the size that its layers require.
#[test]
fn a_stateful_model_predicts_in_its_own_batches() {
    let place = Place::new();
    let mut model = Sequential::new();
    model.add(GRU::new(1).stateful(true).batch_size(2).input_shape((3, 1))).unwrap();
    model.save(place.at("m.keras")).unwrap();
    let numbers: Vec<f32> = (0..12).map(|index| index as f32 / 6.0 - 1.0).collect();
    place.npz("d.npz", &[("x", &[4, 3, 1], &numbers), ("y", &[4, 1], &numbers[..4])]);
    let written = place.json("predict m.keras --input d.npz --output y.npz --json");
    assert_eq!(written["shapes"].as_object().unwrap().values().next().unwrap(), &json!([4, 1]));
    let said = place.fails("predict m.keras --input d.npz --output y.npz --batch-size 3");
    assert!(said.contains("batches of 2 samples"), "{said}");
}
