//! Tables in CSV files: the choice of the target column, and the detection of a header.

use serde_json::json;

use crate::support::Place;

/// Always predicts 0, so that the loss is the mean of the targets.
const RECIPE: &str = r#"
[data]
dataset = "csv"
path = "d.csv"
target = "price"
[[layers]]
class_name = "Dense"
units = 1
kernel_initializer = "zeros"
input_shape = [2]
[compile]
loss = "mae"
optimizer = { class_name = "SGD", learning_rate = 0.0 }
[fit]
verbose = 0
"#;

fn place() -> Place {
    let place = Place::new();
    place.write("r.toml", RECIPE);
    place.write("d.csv", "price,a,b\n10,1,2\n10,3,4\n");
    place.write("other.csv", "a,price,b\n1,20,2\n3,20,4\n");
    place.write("bare.csv", "1,2,30\n3,5,30\n");
    place
}

#[test]
fn the_target_of_a_recipe_and_of_a_run_is_kept() {
    let place = place();
    let loss = |said: &crate::support::Said| said.json()["history"]["loss"][0].clone();
    assert_eq!(loss(&place.done("train r.toml --data d.csv --out a --json")), json!(10.0));
    assert_eq!(loss(&place.done("train r.toml --data other.csv --out b --json")), json!(20.0));
    assert_eq!(loss(&place.done("train r.toml --target b --data other.csv --out c --json")), json!(3.0));

    let evaluated = place.done("evaluate a/model.keras --data other.csv --json");
    assert_eq!(evaluated.json()["loss"], json!(20.0));
    assert!(evaluated.stderr.contains("target `price`, as the model was trained on"), "{}", evaluated.stderr);
    // Its inputs are known: none of them can be the target.
    let error = place.fails("evaluate a/model.keras --data other.csv --target b");
    assert!(error.contains("another column than the model's inputs"), "{error}");
    // A model that is trained further without a recipe uses the same columns.
    assert_eq!(loss(&place.done("train --model a/model.keras --data other.csv --out d --json")), json!(20.0));
    // The model's file has the metadata wherever it is.
    std::fs::copy(place.at("a/model.keras"), place.at("copy.keras")).unwrap();
    assert_eq!(place.done("evaluate copy.keras --data other.csv --json").json()["loss"], json!(20.0));
    // Without it, the run's recipe is used.
    let mut model = brasa::Model::load(place.at("a/model.keras")).unwrap();
    *model.data_info_mut() = Default::default();
    model.save(place.at("a/model.keras")).unwrap();
    let evaluated = place.done("evaluate a/model.keras --data other.csv --json");
    assert_eq!(evaluated.json()["loss"], json!(20.0));
    assert!(evaluated.stderr.contains("target `price`, as in a/config.toml"), "{}", evaluated.stderr);

    let said = place.run("evaluate a/model.keras --data bare.csv");
    assert!(said.code == Some(1) && said.stderr.contains("expected a header that names `price`"), "{}", said.stderr);
    for arguments in ["evaluate a/model.keras --dataset mnist --target b", "train --target b --out e"] {
        let error = place.fails(arguments);
        assert!(error.contains("target"), "{error}");
    }
}

#[test]
fn a_header_is_given_or_detected() {
    let place = place();
    place.write("r.toml", RECIPE.replace("target = \"price\"\n", ""));
    place.write("numbers.csv", "0,1,2\n1,2,10\n3,4,10\n");
    place.write("years.csv", "2019,2020,2021\n1,2,10\n3,4,10\n");
    let train = |arguments: &str| {
        static RUN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let run = RUN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let said = place.done(&format!("train r.toml --out run{run} --json {arguments}"));
        (said.json()["history"]["loss"][0].as_f64().unwrap(), said.stderr)
    };
    let (loss, note) = train("--data numbers.csv");
    assert!((loss - 10.0).abs() < 1e-4 && note.contains("taken for the names of the columns"), "{loss} {note}");
    let (loss, note) = train("--data years.csv");
    assert!((loss - 2041.0 / 3.0).abs() < 1e-2 && note.contains("taken for a sample"), "{loss} {note}");
    for told in ["--header true", "--set data.header=true"] {
        assert_eq!(train(&format!("--data years.csv {told}")), (10.0, String::new()), "{told}");
    }
    let (loss, note) = train("--data numbers.csv --header false");
    assert!((loss - 22.0 / 3.0).abs() < 1e-4 && note.is_empty(), "{loss} {note}");

    place.write("gap.csv", "0.5,,1000\n1,2,10\n");
    let error = place.fails("train r.toml --data gap.csv --out x");
    assert!(error.contains("line 1, column 2") && error.contains("`header = true`"), "{error}");
    place.write("nan.csv", "a,b,y\n1,2,10\n1,nan,10\n");
    let error = place.fails("train r.toml --data nan.csv --out x");
    assert!(error.contains("line 3, column 2 (`b`): expected a finite number"), "{error}");
}
