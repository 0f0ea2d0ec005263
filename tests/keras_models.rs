//! Models that Keras has saved load here, and compute what they computed there.
//!
//! `tests/fixtures/models` holds fourteen models of Keras 3.15 with an input, Keras's prediction, the targets, and in
//! `index.json` Keras's evaluation; `make_models.py` there has made them. `steps.json` is what Keras then makes of two
//! more training steps, by `tests/keras/two_steps.py`.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use brasa::datasets::Npz;
use brasa::ndarray::ArrayD;
use brasa::prelude::*;
use brasa::training::Scores;
use serde_json::{Value as Json, json};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

/// Models whose recorded loss a file cannot give back, with the reason.
const NOT_AS_RECORDED: [(&str, &str); 1] =
    [("09_regression_norm", "Keras does not write Huber's delta into the file, and itself loads it as 1")];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models")
}

fn samples(file: &str, name: &str) -> Samples {
    Npz::open(folder().join(file)).unwrap().read(name).unwrap()
}

/// The largest difference, relative to the largest value expected.
fn difference(found: &ArrayD<f32>, expected: &ArrayD<f32>) -> f32 {
    assert_eq!(found.shape(), expected.shape());
    let scale = expected.iter().fold(1e-3f32, |scale, value| scale.max(value.abs()));
    found.iter().zip(expected).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs())) / scale
}

fn read_json(name: &str) -> Json {
    serde_json::from_str(&std::fs::read_to_string(folder().join(name)).unwrap()).unwrap()
}

/// Copies a model's file with the rates of all random layers at 0.
fn without_chance(source: &Path, target: &Path) {
    let mut old = ZipArchive::new(File::open(source).unwrap()).unwrap();
    let mut new = ZipWriter::new(File::create(target).unwrap());
    for index in 0..old.len() {
        let mut member = old.by_index(index).unwrap();
        let (name, mut data) = (member.name().unwrap().into_owned(), Vec::new());
        member.read_to_end(&mut data).unwrap();
        if name == "config.json" {
            let mut config: Json = serde_json::from_slice(&data).unwrap();
            for layer in config["config"]["layers"].as_array_mut().unwrap() {
                let rate = match layer["class_name"].as_str().unwrap() {
                    "Dropout" | "SpatialDropout1D" | "SpatialDropout2D" | "GaussianDropout" | "AlphaDropout" => "rate",
                    "GaussianNoise" => "stddev",
                    _ => continue,
                };
                layer["config"][rate] = json!(0.0);
            }
            data = serde_json::to_vec(&config).unwrap();
        }
        new.start_file(name, SimpleFileOptions::default()).unwrap();
        new.write_all(&data).unwrap();
    }
    new.finish().unwrap();
}

/// What two training steps and an evaluation after them give, on one batch.
fn two_steps(path: &Path, x: &Samples, y: &Samples) -> brasa::Result<[Scores; 3]> {
    let mut model = Sequential::load(path)?;
    Ok([model.train_on_batch(x, y)?, model.train_on_batch(x, y)?, model.test_on_batch(x, y)?])
}

#[test]
fn training_goes_on_as_in_keras() {
    let steps = read_json("steps.json");
    let copies = tempfile::tempdir().unwrap();
    let mut failures = Vec::new();
    let models = steps.as_object().unwrap();
    assert_eq!(models.len(), 14);
    for (name, wanted) in models {
        let copy = copies.path().join(format!("{name}.keras"));
        without_chance(&folder().join(format!("{name}.keras")), &copy);
        let (x, y) = (samples(&format!("{name}.npz"), "x"), samples(&format!("{name}_target.npz"), "y_true"));
        let scores = match two_steps(&copy, &x, &y) {
            Ok(scores) => scores,
            Err(error) => {
                failures.push(format!("{name}: {error}"));
                continue;
            }
        };
        for (step, (scores, wanted)) in scores.iter().zip(wanted.as_array().unwrap()).enumerate() {
            for (key, wanted) in wanted.as_object().unwrap() {
                let (got, wanted) = (scores.get(key), wanted.as_f64().unwrap());
                if !got.is_some_and(|got| (got - wanted).abs() <= 1e-4 * wanted.abs().max(1e-2)) {
                    failures.push(format!("{name}: {key} of step {step} is {got:?} where Keras has {wanted}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_model_predicts_and_evaluates_as_in_keras() {
    let index = read_json("index.json");
    let models = index.as_object().unwrap();
    assert_eq!(models.len(), 14);
    let mut failures = Vec::new();
    for (name, about) in models {
        // Long chains of steps gather more rounding.
        let recurrent = about["layers"].to_string().contains("LSTM") || about["layers"].to_string().contains("GRU");
        let tolerance = if recurrent { 1e-4 } else { 1e-5 };
        let model = match Sequential::load(folder().join(format!("{name}.keras"))) {
            Ok(model) => model,
            Err(error) => {
                failures.push(format!("{name}: {error}"));
                continue;
            }
        };
        let x = samples(&format!("{name}.npz"), "x");
        let expected = samples(&format!("{name}.npz"), "y").into_ndarray();
        let worst = match model.predict(&x) {
            Ok(found) => difference(&found, &expected),
            Err(error) => {
                failures.push(format!("{name}: {error}"));
                continue;
            }
        };
        if worst.is_nan() || worst > tolerance {
            failures.push(format!("{name}: predictions differ by {worst:e}"));
        }
        if !model.is_compiled() {
            failures.push(format!("{name}: not compiled as it was saved"));
            continue;
        }
        let y = samples(&format!("{name}_target.npz"), "y_true");
        if NOT_AS_RECORDED.iter().any(|(own, _)| own == name) {
            continue;
        }
        let loss = about["evaluate_after_fit"]["loss"].as_f64().unwrap();
        match model.evaluate(&Dataset::new(&x, &y).unwrap()) {
            Ok(scores) if (scores.loss - loss).abs() <= 1e-4 * loss.abs().max(1e-3) => {}
            Ok(scores) => failures.push(format!("{name}: loss {} where Keras has {loss}", scores.loss)),
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
