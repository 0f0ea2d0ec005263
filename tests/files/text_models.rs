//! Keras models with text and integer inputs (`tests/fixtures/text`): loading, prediction, saving.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use brasa::datasets::Samples;
use brasa::ndarray::ArrayD;
use brasa::prelude::*;
use brasa::{Error, Model};
use serde_json::{Value as Json, json};
use zip::ZipArchive;

const MODELS: [&str; 10] = [
    "text_vectorization",
    "text_vectorization_tfidf",
    "text_vectorization_config_vocab",
    "string_lookup",
    "string_lookup_one_hot",
    "integer_lookup",
    "hashing",
    "hashing_mask",
    "hashed_crossing",
    "text_classifier",
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/text").join(name)
}

/// Rows of texts or integers.
fn samples(rows: &Json) -> Samples {
    let rows: Vec<&Vec<Json>> = rows.as_array().unwrap().iter().map(|row| row.as_array().unwrap()).collect();
    let shape = [rows.len(), rows[0].len()];
    let cells = rows.into_iter().flatten();
    match cells.clone().map(|cell| cell.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>() {
        Some(texts) => Samples::texts(shape, texts).unwrap(),
        None => Samples::new(shape, cells.map(|cell| cell.as_i64().unwrap()).collect::<Vec<_>>()).unwrap(),
    }
}

fn numbers(value: &Json) -> Vec<f32> {
    match value {
        Json::Array(values) => values.iter().flat_map(numbers).collect(),
        value => vec![value.as_f64().unwrap() as f32],
    }
}

/// Inputs and outputs recorded with Keras.
fn recorded(name: &str) -> (Vec<Samples>, Vec<f32>) {
    let case: Json = serde_json::from_reader(File::open(fixture(&format!("{name}.json"))).unwrap()).unwrap();
    let x = match name {
        "hashed_crossing" => case["x"].as_array().unwrap().iter().map(samples).collect(),
        _ => vec![samples(&case["x"])],
    };
    (x, numbers(&case["y"]))
}

fn check(name: &str, model: &Model) {
    let (x, y) = recorded(name);
    let predicted = model.predict_all(&x).unwrap().remove(0);
    assert_eq!(predicted.len(), y.len(), "{name}");
    for (row, (own, expected)) in predicted.iter().zip(&y).enumerate() {
        // The mean of an empty text's steps, all of which are masked, is NaN, which TensorFlow's relu maps to 0.
        if name == "text_classifier" && row == 2 {
            assert!(own.is_nan());
            continue;
        }
        assert!((own - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{name}: {own} instead of {expected}");
    }
    if let [x] = &x[..] {
        let again = model.predict(x.clone()).unwrap();
        assert!(again.iter().zip(&predicted).all(|(a, b)| a == b || (a.is_nan() && b.is_nan())), "{name}");
    }
}

#[test]
fn files_of_keras_predict_as_they_did() {
    for name in MODELS {
        check(name, &Model::load(fixture(&format!("{name}.keras"))).unwrap());
    }
}

/// The members of an archive other than the model's config and weights.
fn assets(path: &Path) -> Vec<(String, String)> {
    let mut archive = ZipArchive::new(File::open(path).unwrap()).unwrap();
    let mut assets = Vec::new();
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).unwrap();
        let name = member.name().unwrap().into_owned();
        if name.starts_with("assets/") {
            let mut text = String::new();
            member.read_to_string(&mut text).unwrap();
            assets.push((name, text));
        }
    }
    assets.sort();
    assets
}

fn config(path: &Path) -> Json {
    let mut archive = ZipArchive::new(File::open(path).unwrap()).unwrap();
    serde_json::from_reader(archive.by_name("config.json").unwrap()).unwrap()
}

#[test]
fn writing_back_preserves_every_format() {
    let folder = tempfile::tempdir().unwrap();
    for name in MODELS {
        let original = fixture(&format!("{name}.keras"));
        let model = Model::load(&original).unwrap();
        for form in ["keras", "h5", "safetensors"] {
            let path = folder.path().join(format!("{name}.{form}"));
            model.save(&path).unwrap();
            check(name, &Model::load(&path).unwrap());
        }
        let written = folder.path().join(format!("{name}.keras"));
        assert_eq!(assets(&written), assets(&original), "{name}");
        let (own, keras) = (config(&written), config(&original));
        let layers = |config: &Json| config["config"]["layers"].as_array().unwrap().clone();
        for (own, keras) in layers(&own).iter().zip(layers(&keras)) {
            assert_eq!(own["class_name"], keras["class_name"]);
            for (key, value) in keras["config"].as_object().unwrap() {
                // A neutral dtype, and arguments that Brasa leaves at their defaults.
                let neutral =
                    ["dtype", "sparse", "ragged", "optional"].contains(&key.as_str()) || key.ends_with("initializer");
                let same = own["config"].get(key).is_some_and(|own| own == value);
                assert!(neutral || same || value.is_null(), "{name}: {key} is {} and not {value}", own["config"][key]);
            }
        }
        assert_eq!(Model::from_json(&model.to_json().unwrap()).unwrap().to_json().unwrap(), model.to_json().unwrap());
    }
}

/// Training Keras's model further reduces the loss on the training data.
#[test]
fn a_classifier_continues_training_on_texts() {
    let mut model = Model::load(fixture("text_classifier.keras")).unwrap();
    assert!(model.is_compiled());
    let texts = ["the cat sat on the mat", "the dog ate the cat food", "café time! the mat", "你好 world"];
    let data = Dataset::new(texts, vec![0.0f32, 1.0, 0.0, 1.0]).unwrap();
    let before = model.evaluate(&data).unwrap().loss;
    model.fit(&data, Fit::new().epochs(60).batch_size(2).seed(1).verbose(Verbosity::Silent)).unwrap();
    let after = model.evaluate(&data).unwrap();
    assert!(after.loss < before - 0.02 && after.get("accuracy") == Some(1.0), "{before} became {after:?}");
    // A single batch, and a validation split.
    model.train_on_batch(texts, vec![0.0f32, 1.0, 0.0, 1.0]).unwrap();
    let history = model.fit(&data, Fit::new().validation_split(0.5).verbose(Verbosity::Silent)).unwrap();
    assert!(history.history.contains_key("val_loss"));
}

/// An archive with modified members.
fn changed(name: &str, folder: &Path, change: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>) -> PathBuf {
    let path = folder.join("changed.keras");
    let mut archive = ZipArchive::new(File::open(fixture(name)).unwrap()).unwrap();
    let mut written = zip::ZipWriter::new(File::create(&path).unwrap());
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).unwrap();
        let (mut bytes, name) = (Vec::new(), member.name().unwrap().into_owned());
        member.read_to_end(&mut bytes).unwrap();
        if let Some(bytes) = change(&name, bytes) {
            written.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            std::io::Write::write_all(&mut written, &bytes).unwrap();
        }
    }
    written.finish().unwrap();
    path
}

/// The error of a file whose layer has a modified argument.
fn refused(name: &str, key: &str, value: &Json) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = changed(name, folder.path(), |member, bytes| {
        if member != "config.json" {
            return (!member.starts_with("assets/")).then_some(bytes);
        }
        let mut config: Json = serde_json::from_slice(&bytes).unwrap();
        config["config"]["layers"][1]["config"][key] = value.clone();
        Some(config.to_string().into_bytes())
    });
    Model::load(path).unwrap_err().to_string()
}

#[test]
fn a_vocabulary_that_names_a_file_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret.txt");
    std::fs::write(&secret, "a\nb\n").unwrap();
    for name in ["text_vectorization.keras", "string_lookup.keras", "integer_lookup.keras"] {
        let error = refused(name, "vocabulary", &json!(secret));
        assert!(error.contains("`vocabulary`") && error.contains("is not read"), "{error}");
        assert!(error.contains("TextVectorization") || error.contains("Lookup"), "{error}");
    }
}

#[test]
fn wrong_vocabularies_are_refused_by_layer_and_argument() {
    let error = refused("string_lookup.keras", "vocabulary", &json!(["a", "b", "a"]));
    assert!(
        error.contains("StringLookup") && error.contains("`vocabulary`") && error.contains("\"a\" twice"),
        "{error}"
    );
    let error = refused("text_vectorization.keras", "vocabulary", &json!(["x".repeat(10 << 20)]));
    assert!(error.contains("`vocabulary`") && error.contains("10485760") && error.len() < 1000, "{error}");
    let error = refused("integer_lookup.keras", "vocabulary", &json!([1, "two"]));
    assert!(error.contains("IntegerLookup") && error.contains("two"), "{error}");
    let error = refused("text_vectorization.keras", "max_tokens", &json!(1));
    assert!(error.contains("`max_tokens`"), "{error}");
    let error = refused("text_vectorization.keras", "standardize", &json!({"class_name": "function", "config": "f"}));
    assert!(error.contains("`standardize`"), "{error}");
}

#[test]
fn damaged_assets_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let with = |name: &str, text: &[u8]| {
        changed(name, folder.path(), |member, bytes| {
            Some(if member.ends_with("vocabulary.txt") { text.to_vec() } else { bytes })
        })
    };
    let error = Model::load(with("integer_lookup.keras", b"-1\nfive")).unwrap_err().to_string();
    assert!(error.contains("vocabulary.txt") && error.contains("line 2"), "{error}");
    assert!(Model::load(with("string_lookup.keras", b"\xff\xfe")).unwrap_err().to_string().contains("UTF-8"));
    let twice = Model::load(with("string_lookup.keras", b"\n[UNK]\n[UNK]\na\na")).unwrap_err().to_string();
    assert!(twice.contains("twice"), "{twice}");
    // More tokens than weights: the file's weights belong to other tokens.
    let many: Vec<u8> = (0..40).flat_map(|token| format!("{token}\n").into_bytes()).collect();
    let error = Model::load(with("text_vectorization_tfidf.keras", &many)).unwrap_err().to_string();
    assert!(error.contains("idf_weights"), "{error}");
    // Without any, as in Keras, the model loads but cannot compute.
    let none = changed("text_classifier.keras", folder.path(), |member, bytes| {
        (!member.starts_with("assets/")).then_some(bytes)
    });
    let error = Model::load(none).unwrap().predict(["the"]).unwrap_err().to_string();
    assert!(error.contains("text_vectorization_3") && error.contains("`vocabulary`"), "{error}");
}

#[test]
fn texts_and_numbers_are_distinguished() {
    let texts = Model::load(fixture("text_classifier.keras")).unwrap();
    let error = texts.predict(vec![1.0f32, 2.0]).unwrap_err();
    assert!(matches!(&error, Error::Data { .. }) && error.to_string().contains("texts"), "{error}");
    let numbers = Model::load(fixture("integer_lookup.keras")).unwrap();
    let row = Samples::texts([1, 3], vec!["five".into(), "7".into(), "9".into()]).unwrap();
    let error = numbers.predict(row).unwrap_err().to_string();
    assert!(error.contains("input_layer_5") && error.contains("five"), "{error}");
    let mut plain = Sequential::new();
    plain.add(Dense::new(1).input_shape(1)).unwrap();
    let error = plain.predict(["five"]).unwrap_err().to_string();
    assert!(error.contains("numbers") && error.contains("five"), "{error}");
    assert!(Dataset::new(vec![1.0f32], ["a"]).is_err());
}

/// 64-bit integers reach a lookup exactly, though no float represents them.
#[test]
fn whole_numbers_are_exact() {
    let large = (1i64 << 60) + 1;
    let mut model = Sequential::new();
    model.add(IntegerLookup::default().vocabulary([large - 1, large]).input_shape(2)).unwrap();
    let x = Samples::new([1, 2], vec![large, large - 1]).unwrap();
    assert_eq!(model.predict(x).unwrap(), ArrayD::from_shape_vec(vec![1, 2], vec![2.0, 1.0]).unwrap());
    // An integer that no float represents is not silently changed.
    let mut model = Sequential::new();
    model.add(Input::new(1).dtype("int64")).unwrap().add(Hashing::new(usize::MAX / 2)).unwrap();
    let error = model.predict(Samples::new([1, 1], vec![7i64]).unwrap()).unwrap_err().to_string();
    assert!(error.contains("Hashing") && error.contains("float32"), "{error}");
}
