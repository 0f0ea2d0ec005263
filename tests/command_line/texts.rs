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

/// Reviews that are good or bad by a word of theirs.
fn reviews(count: usize) -> Vec<(&'static str, String)> {
    let words = ["the", "film", "was", "rather", "long", "and", "played", "in", "Rome"];
    let review = |index: usize| {
        let (class, word) = if index.is_multiple_of(2) { ("bad", "boring") } else { ("good", "wonderful") };
        let mut text: Vec<&str> = (0..6).map(|place| words[(index * 7 + place * 5) % words.len()]).collect();
        text.insert(index % 6, word);
        (class, text.join(" "))
    };
    (0..count).map(review).collect()
}

#[test]
fn a_recipe_for_a_folder_of_texts_trains() {
    let place = Place::new();
    for (index, (class, text)) in reviews(60).into_iter().enumerate() {
        let part = if index < 48 { "train" } else { "test" };
        let path = place.at("films").join(part).join(class);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join(format!("{index}.txt")), text).unwrap();
    }
    place.done("init text films");
    assert!(place.fails("init text films").contains("which is there"));
    assert!(place.read("text.toml").contains("48 texts of 2 classes: bad, good"));
    place.done("check text.toml");
    let said = place.json("train text.toml --out run --json --quiet");
    let accuracy = said["evaluation"]["metrics"]["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.9 && said["evaluation"]["samples"] == json!(12), "{said}");
    place.write("new.txt", "A wonderful film!");
    let said = place.json("predict run new.txt --json");
    assert_eq!(said[0]["classes"][0]["name"], json!("good"));
    assert!(place.fails("init text films --text a --force").contains("a table, which has columns"));
}

#[test]
fn a_recipe_for_a_table_with_texts_trains() {
    let place = Place::new();
    let rows: String =
        reviews(60).iter().enumerate().map(|(index, (class, text))| format!("{index},\"{text}\",{class}\n")).collect();
    place.write("films.csv", format!("id,review,verdict\n{rows}"));
    place.done("init text films.csv");
    let recipe = place.read("text.toml");
    for line in ["text = \"review\"", "target = \"verdict\"", "binary_crossentropy"] {
        assert!(recipe.contains(line), "{line}: {recipe}");
    }
    place.done("train text.toml --out run --quiet");
    let own = place.json("evaluate run --json");
    assert!(own["metrics"]["accuracy"].as_f64().unwrap() > 0.9 && own["samples"] == json!(12), "{own}");
    // What was mistaken is shown in words.
    place.done("init text films.csv --target id --force -o ids.toml");
    assert!(place.read("ids.toml").contains("loss = \"mse\""));
    assert!(place.fails("init text films.csv --target review --text review --force").contains("--target"));
    // Spreadsheets of some countries write semicolons.
    place.write(
        "films.csv",
        place
            .read("films.csv")
            .replace(",\"", ";\"")
            .replace("\",", "\";")
            .replace("id,review,verdict", "id;review;verdict"),
    );
    place.done("check text.toml");
    place.write("numbers.csv", "a,y\n1,2\n3,4\n");
    assert!(place.fails("init text numbers.csv --force").contains("a column of texts"));
}

#[test]
fn a_graph_of_texts_and_numbers_learns_from_both() {
    let place = Place::new();
    let recipe = r#"
        [data]
        dataset = "csv"
        path = "said.csv"
        text = "said"
        [[layers]]
        class_name = "Input"
        input_shape = [1]
        dtype = "string"
        name = "words"
        [[layers]]
        class_name = "TextVectorization"
        output_mode = "count"
        adapt = true
        name = "counts"
        [[layers]]
        class_name = "Normalization"
        adapt = true
        [[layers]]
        class_name = "Dense"
        units = 2
        inputs = ["normalization", "counts"]
        activation = "softmax"
        [compile]
        loss = "sparse_categorical_crossentropy"
        [fit]
        verbose = 0
    "#;
    place.write("said.csv", "said,mood\n\"fine, really fine\",glad\nbad day,sad\nfine day,glad\nso bad,sad\n");
    let chain = recipe.replace("inputs = [\"normalization\", \"counts\"]", "inputs = [\"normalization\"]");
    place.write("graph.toml", &chain);
    place.done("train graph.toml --out run");
    let model = brasa::Model::load(place.at("run/model.keras")).unwrap();
    // Of "fine" there are 2, 0, 1, 0 in the texts.
    let weights = model.get_weights().unwrap();
    let (mean, variance) = (weights[0].as_slice().unwrap(), weights[1].as_slice().unwrap());
    assert!(mean.contains(&0.75) && variance.contains(&0.6875), "{mean:?} {variance:?}");
    assert!(model.predict(["fine"]).is_ok());
    place.write("graph.toml", recipe);
    assert!(place.fails("train graph.toml --out other").contains("Dense"));
    // What is trained before it would be another in the model.
    let trained = chain.replace(
        "[[layers]]\n        class_name = \"Normalization\"",
        "[[layers]]\n        class_name = \"Dense\"\n        units = 2\n        [[layers]]\n        class_name = \"Normalization\"",
    );
    place.write("graph.toml", trained);
    let error = place.fails("train graph.toml --out other");
    assert!(error.contains("`adapt`") && error.contains("that are trained"), "{error}");
}

#[test]
fn a_vocabulary_that_could_not_be_read_back_is_refused_when_saved() {
    use brasa::prelude::*;
    let place = Place::new();
    let tokens: Vec<String> = (0..200_001).map(|index| index.to_string()).collect();
    let mut model = Sequential::new();
    let layer = StringLookup::default().adapt(&tokens[..].iter().map(String::as_str).collect::<Vec<_>>()[..]).unwrap();
    model.add(Input::new(1).dtype("string")).unwrap().add(layer).unwrap();
    for name in ["m.h5", "m.json", "m.safetensors"] {
        let error = model.save(place.at(name)).unwrap_err().to_string();
        assert!(error.contains("200000 values") && error.contains("`.keras`"), "{name}: {error}");
        assert!(!place.at(name).exists());
    }
    model.save(place.at("m.keras")).unwrap();
    let copy = Sequential::load(place.at("m.keras")).unwrap();
    assert_eq!(copy.predict(["200000", "none"]).unwrap(), model.predict(["200000", "none"]).unwrap());
}
