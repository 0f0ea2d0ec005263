//! Texts on the command line: training from tables and folders, prediction for every format.

use serde_json::json;

use crate::support::Place;

/// Learns from single words whether a text is glad.
const RECIPE: &str = r#"
[data]
dataset = "csv"
path = "said.csv"
text = "said"
[[layers]]
class_name = "TextVectorization"
output_mode = "multi_hot"
input_shape = [1]
adapt = true
[[layers]]
class_name = "Dense"
units = 2
activation = "softmax"
[compile]
loss = "sparse_categorical_crossentropy"
optimizer = { class_name = "Adam", learning_rate = 0.1 }
metrics = ["accuracy"]
[fit]
epochs = 30
seed = 1
verbose = 0
"#;

fn place() -> Place {
    let place = Place::new();
    place.write("said.toml", RECIPE);
    place.write("said.csv", "said,mood\n\"fine, really fine\",glad\nbad day,sad\nfine day,glad\nso bad,sad\n");
    place
}

#[test]
fn a_column_of_texts_is_trained_on_and_predicted_for() {
    let place = place();
    place.done("train said.toml --out run --quiet");
    assert_eq!(place.json("evaluate run/model.keras --data said.csv --json")["metrics"]["accuracy"], json!(1.0));
    place.write("one.txt", "A fine one!\nreally\n");
    place.write("more.csv", "id,said\n1,bad\n2,fine\n");
    place.write("more.jsonl", "\"bad bad\"\n{\"text\": \"fine\"}\n");
    let predicted = place.json("predict run/model.keras one.txt more.jsonl --top 1 --json");
    let classes: Vec<_> = predicted.as_array().unwrap().iter().map(|one| one["classes"][0]["class"].clone()).collect();
    assert_eq!(classes, [json!(0), json!(1), json!(0)]);
    assert_eq!(predicted[1]["input"], json!("more.jsonl:1"));
    let said = place.done("predict run/model.keras more.csv --column said --top 1");
    assert!(said.stdout.starts_with("more.csv:2: sad ("), "{}", said.stdout);
    // One that cannot be read is reported in its place.
    let said = place.run("predict run/model.keras one.txt none.txt more.jsonl --top 1 --json");
    let json = said.json();
    assert!(said.code == Some(1) && json.as_array().unwrap().len() == 4, "{json}");
    assert!(json[1]["error"].as_str().unwrap().contains("none.txt"), "{json}");
    assert_eq!((&json[0]["classes"], &json[3]["classes"]), (&predicted[0]["classes"], &predicted[2]["classes"]));
    place.done("evaluate run/model.keras --data said.csv --output answers.jsonl");
    assert_eq!(place.read("answers.jsonl").lines().count(), 4);
    let error = place.fails("predict run/model.keras more.csv");
    assert!(error.contains("`text`") && error.contains("said"), "{error}");
}

#[test]
fn a_folder_of_texts_is_a_data_set() {
    let place = place();
    for (name, text) in
        [("glad/1.txt", "fine"), ("glad/2.txt", "so fine"), ("sad/1.txt", "bad"), ("sad/2.txt", "so bad")]
    {
        let path = place.at("t").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let said = place.json("train said.toml --data t --out run --json");
    assert_eq!(said["history"]["accuracy"][29], json!(1.0));
    assert!(place.read("run/config.toml").contains("text_folder"));
}

#[test]
fn recipes_of_texts_are_checked() {
    let place = place();
    let refused = |from: &str, to: &str| {
        place.write("wrong.toml", RECIPE.replace(from, to));
        place.fails("train wrong.toml --out wrong")
    };
    let error = refused("text = \"said\"", "text = \"sad\"");
    assert!(error.contains("`sad`") && error.contains("said"), "{error}");
    let error = refused("adapt = true", "adapt = 1");
    assert!(error.contains("wrong.toml:") && error.contains("`adapt`"), "{error}");
    let error = refused("adapt = true", "adapt = true\nvocabulary = [\"a\"]");
    assert!(error.contains("`vocabulary`"), "{error}");
    let error = refused("adapt = true", "vocabulary = \"/etc/hostname\"");
    assert!(error.contains("is not read"), "{error}");
    let error = refused("adapt = true", "");
    assert!(error.contains("`vocabulary`"), "{error}");
    let error = refused("units = 2", "units = 2\nadapt = true");
    assert!(error.contains("`adapt`"), "{error}");
}
