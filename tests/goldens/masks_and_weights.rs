//! Masks, weights of samples, steps and classes, and metrics with several values: predictions, evaluations and an epoch
//! of training as in Keras (`tests/keras/masks_and_weights.py`).

use std::collections::BTreeMap;

use brasa::Sequential;
use brasa::datasets::Dataset;
use brasa::metrics::Score;
use brasa::ndarray::ArrayD;
use brasa::training::{Compile, Evaluate, Fit, Predict, Verbosity};
use serde_json::Value as Json;

use crate::support::{CLOSE, Tolerance, close, close_f64};

/// The accumulated rounding of an epoch of a few steps.
const TRAINED: Tolerance = Tolerance { relative: 1e-4, absolute: 2e-5 };

/// A number or a list of them; NaN is null in JSON.
fn numbers(json: &Json) -> Vec<f64> {
    match json {
        Json::Array(list) => list.iter().map(|number| number.as_f64().unwrap_or(f64::NAN)).collect(),
        number => vec![number.as_f64().unwrap_or(f64::NAN)],
    }
}

fn array(json: &Json) -> ArrayD<f32> {
    let shape: Vec<usize> =
        json["shape"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as usize).collect();
    let values = numbers(&json["numbers"]).into_iter().map(|number| number as f32).collect();
    ArrayD::from_shape_vec(shape, values).unwrap()
}

fn arrays(json: &Json) -> Vec<ArrayD<f32>> {
    json.as_array().unwrap().iter().map(array).collect()
}

fn dataset(x: &Json, y: &Json, weights: Option<&Json>) -> brasa::Result<Dataset> {
    let data = Dataset::new(array(x), array(y))?;
    match weights {
        Some(weights) => data.with_sample_weight(array(weights)),
        None => Ok(data),
    }
}

/// Scores of different kinds (list, number) are different.
fn close_score(name: &str, got: Option<Score>, wanted: &Json, tolerance: Tolerance) -> Result<(), String> {
    let got = got.ok_or(format!("no {name}"))?;
    if got.one().is_none() != wanted.is_array() {
        return Err(format!("{name} is {got:?}, not {wanted}"));
    }
    close_f64(name, got.as_slice(), &numbers(wanted), tolerance)
}

fn close_all(what: &str, got: &[ArrayD<f32>], wanted: &[ArrayD<f32>], tolerance: Tolerance) -> Result<(), String> {
    if got.len() != wanted.len() {
        return Err(format!("{} {what}, not {}", got.len(), wanted.len()));
    }
    for (index, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        let (got, wanted) = (got.iter().copied().collect::<Vec<_>>(), wanted.iter().copied().collect::<Vec<_>>());
        close(&format!("{what} {index}"), &got, &wanted, tolerance)?;
    }
    Ok(())
}

fn replay(case: &Json) -> Result<(), String> {
    let text = |error: brasa::Error| error.to_string();
    let batch = case["batch"].as_u64().unwrap() as usize;
    let mut model = Sequential::from_json(&case["model"].to_string()).map_err(text)?;
    let compile = case["model"]["compile_config"].as_object().unwrap().clone();
    model.compile(Compile::from_config(compile).map_err(text)?).map_err(text)?;
    model.set_weights(&arrays(&case["weights"])).map_err(text)?;
    let data = dataset(&case["x"], &case["y"], case.get("sample_weight")).map_err(text)?;

    let predicted = model.predict_with(data.x(), Predict::new().batch_size(batch)).map_err(text)?;
    close_all("predictions", &[predicted], &[array(&case["predict"])], CLOSE)?;
    if let Some(wanted) = case.get("evaluate") {
        let scores = model.evaluate_with(&data, Evaluate::new().batch_size(batch)).map_err(text)?;
        for (name, wanted) in wanted.as_object().unwrap() {
            close_score(&format!("evaluate: {name}"), scores.score(name), wanted, CLOSE)?;
        }
    }
    let Some(history) = case.get("history") else { return Ok(()) };
    let validation = case.get("validation").map(|json| dataset(&json[0], &json[1], json.get(2)));
    let validation = validation.transpose().map_err(text)?;
    let epochs = case["epochs"].as_u64().unwrap() as usize;
    let mut fit = Fit::new().batch_size(batch).epochs(epochs).shuffle(false).verbose(Verbosity::Silent);
    fit = fit.validation_split(case["split"].as_f64().unwrap());
    if let Some(weights) = case.get("class_weight") {
        let weights: BTreeMap<usize, f32> = serde_json::from_value(weights.clone()).unwrap();
        fit = fit.class_weight(weights);
    }
    if let Some(validation) = &validation {
        fit = fit.validation_data(validation);
    }
    let own = model.fit(&data, fit).map_err(text)?;
    for (name, wanted) in history.as_object().unwrap() {
        for (epoch, wanted) in wanted.as_array().unwrap().iter().enumerate() {
            close_score(&format!("fit: {name} of epoch {epoch}"), own.at(name, epoch), wanted, TRAINED)?;
        }
    }
    close_all("weights", &model.get_weights().map_err(text)?, &arrays(&case["after"]), TRAINED)
}

#[test]
fn masks_weights_and_lists_are_those_of_keras() {
    let text = std::fs::read_to_string("tests/fixtures/masks_and_weights.json").unwrap();
    let cases: BTreeMap<String, Json> = serde_json::from_str(&text).unwrap();
    let failed = |(name, case): (&String, &Json)| replay(case).err().map(|error| format!("{name}: {error}"));
    let failures: Vec<String> = cases.iter().filter_map(failed).collect();
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), cases.len(), failures.join("\n"));
    assert!(cases.len() > 65, "{} cases", cases.len());
}
