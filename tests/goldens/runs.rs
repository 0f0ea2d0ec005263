//! Whole training runs: the same initial weights and batches give the same losses, weights and predictions.

use brasa::Sequential;
use brasa::datasets::{Dataset, Samples};
use brasa::ndarray::ArrayD;
use brasa::training::{Compile, Evaluate, Fit, Predict, Verbosity};
use serde_json::Value as Json;

use crate::support::{CLOSE, Tolerance, close, close_f64, numbers, read, run, tensor};

/// The accumulated rounding of fifty steps.
const CURVE: Tolerance = Tolerance { relative: 1e-4, absolute: 1e-5 };

fn array(name: &str) -> ArrayD<f32> {
    let (sizes, numbers) = tensor(name);
    ArrayD::from_shape_vec(sizes, numbers.to_vec()).unwrap()
}

/// The weights at the start or the end of a run.
fn weights(name: &str, case: &Json, when: &str) -> Vec<ArrayD<f32>> {
    let count = case["weights"].as_array().unwrap().len();
    (0..count).map(|index| array(&format!("train/{name}/{when}{index}"))).collect()
}

/// The compiled model of a run with its initial weights, and the data.
fn start(name: &str, case: &Json) -> brasa::Result<(Sequential, Dataset)> {
    let mut model = Sequential::from_json(&case["config"].to_string())?;
    model.set_weights(&weights(name, case, "init"))?;
    model.compile(Compile::from_config(case["compile"].as_object().unwrap().clone())?)?;
    let data = |key: &str| Samples::from(array(&format!("train/{name}/{key}")));
    Ok((model, Dataset::new(data("x"), data("y"))?))
}

#[test]
fn fit_evaluate_and_predict_as_keras_does() {
    let count = run("misc", &[], |name, case| {
        let text = |error: brasa::Error| error.to_string();
        let size = numbers(&case["batch_size"])[0] as usize;
        let (mut model, data) = start(name, case).map_err(text)?;
        let history = case["history"].as_object().unwrap();
        let fit = Fit::new().epochs(numbers(&history["loss"]).len()).batch_size(size).shuffle(false);
        let own = model.fit(&data, fit.verbose(Verbosity::Silent)).map_err(text)?;
        for (key, wanted) in history {
            let got = own.get(key).ok_or(format!("no {key}"))?;
            close_f64(key, got, &numbers(wanted), CLOSE)?;
        }
        let got = model.get_weights().map_err(text)?;
        for (index, (got, wanted)) in got.iter().zip(weights(name, case, "final")).enumerate() {
            let tolerance = Tolerance { relative: 1e-4, absolute: 1e-5 };
            close(
                &format!("weight {index}"),
                &got.clone().into_raw_vec_and_offset().0,
                wanted.as_slice().unwrap(),
                tolerance,
            )?;
        }
        let predicted = model.predict_with(data.x(), Predict::new().batch_size(size)).map_err(text)?;
        close("prediction", &predicted.into_raw_vec_and_offset().0, tensor(&format!("train/{name}/pred")).1, CURVE)?;
        let scores = model.evaluate_with(&data, Evaluate::new().batch_size(size)).map_err(text)?;
        for (key, wanted) in case["evaluate"].as_object().unwrap() {
            let got = scores.get(key).ok_or(format!("no {key}"))?;
            close_f64(key, &[got], &numbers(wanted), CURVE)?;
        }
        Ok(())
    });
    assert_eq!(count, 5);
}

#[test]
fn fifty_steps_give_the_losses_of_keras() {
    let curves: Json = serde_json::from_slice(&read("steps.json")).unwrap();
    let count = run("misc", &[], |name, case| {
        let text = |error: brasa::Error| error.to_string();
        let size = numbers(&case["batch_size"])[0] as usize;
        let (mut model, data) = start(name, case).map_err(text)?;
        let batches = data.len().div_ceil(size);
        let mut curve = Vec::new();
        for step in 0..50 {
            let first = step % batches * size;
            let batch = data.slice(first..(first + size).min(data.len())).map_err(text)?;
            curve.push(model.train_on_batch(batch.x(), batch.y()).map_err(text)?.loss);
        }
        close_f64("loss", &curve, &numbers(&curves[name]), CURVE)
    });
    assert_eq!(count, 5);
}
