//! Shards on the command line.

use brasa::datasets::save_npz;
use brasa::ndarray::Array;
use serde_json::json;

use crate::support::Place;

const RECIPE: &str = r#"
[data]
dataset = "shards"
path = "train-{0..3}.npz"
validation = "validation-*.npz"
shuffle_buffer = 30
[[layers]]
class_name = "Dense"
units = 3
activation = "softmax"
input_shape = [3]
[compile]
loss = "sparse_categorical_crossentropy"
optimizer = { class_name = "Adam", learning_rate = 0.1 }
metrics = ["accuracy"]
[fit]
batch_size = 16
epochs = 12
seed = 1
verbose = 0
"#;

/// Files in which the largest number says the class.
fn place() -> Place {
    let place = Place::new();
    for name in ["train-0", "train-1", "train-2", "train-3", "validation-0"] {
        let class = |row: usize| (row * 7 + row / 5) % 3;
        let x = Array::from_shape_fn((40, 3), |(row, column)| if class(row) == column { 1.0 } else { 0.1 });
        let y = Array::from_shape_fn(40, |row| class(row) as f32);
        save_npz(place.at(&format!("{name}.npz")), [("x", &x.into_dyn()), ("y", &y.into_dyn())]).unwrap();
    }
    place.write("shards.toml", RECIPE);
    place
}

#[test]
fn shards_are_trained_on_and_evaluated() {
    let place = place();
    assert!(place.done("check shards.toml").stdout.contains("Samples: shards to train on, 40 to validate with"));
    let said = place.done("train shards.toml --out run --json").json();
    assert_eq!(said["history"]["val_accuracy"].as_array().unwrap().last(), Some(&json!(1.0)), "{said}");
    assert_eq!(place.json("evaluate run --json")["metrics"]["accuracy"], json!(1.0));
    let said = place.run("evaluate run --split train");
    assert!(said.code == Some(1) && said.stderr.contains("--split"), "{}", said.stderr);
    assert_eq!(place.json("evaluate run --data train-1.npz --json")["samples"], json!(40));
    // Ended earlier and resumed, it is the same run.
    place.done("train shards.toml --out whole --set fit.epochs=3 --quiet");
    place.done("train shards.toml --out cut --set fit.epochs=2 --quiet");
    place.done("train shards.toml --out cut --set fit.epochs=3 --quiet --resume --accept-changes");
    assert_eq!(place.read("whole/history.csv"), place.read("cut/history.csv"));
}

#[test]
fn what_shards_cannot_do_is_refused() {
    let place = place();
    for (set, word) in [
        ("data.validation_split=0.1", "validation_split"),
        ("data.samples=10", "samples"),
        ("data.shuffle_bufer=10", "shuffle_buffer"),
        ("data.path=\"none-*.npz\"", "none-*.npz"),
    ] {
        let error = place.run(&format!("train shards.toml --out run --set {set}")).failure(1);
        assert!(error.contains(word), "{error}");
    }
    assert!(place.run("train shards.toml --find-lr").failure(1).contains("--find-lr"));
    place.write(
        "adapts.toml",
        RECIPE.replace("[[layers]]", "[[layers]]\nclass_name = \"Normalization\"\nadapt = true\n[[layers]]"),
    );
    assert!(place.run("train adapts.toml").failure(1).contains("adapt"));
}
