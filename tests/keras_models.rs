//! Models that Keras has saved load here, and compute what they computed there.
//!
//! `tests/fixtures/models` holds fourteen models of Keras 3.15 with an input, Keras's prediction, the targets, and in
//! `index.json` Keras's evaluation; `make_models.py` there has made them.

use std::path::{Path, PathBuf};

use brasa::datasets::Npz;
use brasa::ndarray::ArrayD;
use brasa::prelude::*;
use serde_json::Value as Json;

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

fn index() -> Json {
    serde_json::from_str(&std::fs::read_to_string(folder().join("index.json")).unwrap()).unwrap()
}

#[test]
fn every_model_predicts_and_evaluates_as_in_keras() {
    let index = index();
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
