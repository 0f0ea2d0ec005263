//! Operations as nodes of graphs, against Keras 3.15.1 (`tests/fixtures/goldens/operations.json`, made by
//! `tests/fixtures/functional/operations.py` on JAX).

use std::sync::LazyLock;

use brasa::burn::tensor::Device;
use brasa::layers::{Call, Layer};
use brasa::prelude::*;
use brasa::{Shape, Value};
use serde_json::Value as Json;

use crate::support::read;

const OUTPUT: f32 = 1e-5;
const GRADIENT: f32 = 1e-4;

static CASES: LazyLock<Vec<Json>> = LazyLock::new(|| serde_json::from_slice(&read("operations.json")).unwrap());

/// Numbers; those that JSON does not have are strings.
fn numbers(list: &Json) -> Vec<f32> {
    let number = |value: &Json| match value.as_f64() {
        Some(number) => number as f32,
        None => value.as_str().unwrap().parse().unwrap(),
    };
    list.as_array().unwrap().iter().map(number).collect()
}

/// `[sizes, numbers]`.
fn array(array: &Json) -> (Vec<usize>, Vec<f32>) {
    (serde_json::from_value(array[0].clone()).unwrap(), numbers(&array[1]))
}

fn compare(what: &str, values: &[f32], golden: &[f32], tolerance: f32) -> Result<(), String> {
    if values.len() != golden.len() {
        return Err(format!("{what}: {} numbers instead of {}", values.len(), golden.len()));
    }
    let finite = golden.iter().filter(|value| value.is_finite());
    let scale = finite.fold(1.0f32, |scale, value| scale.max(value.abs()));
    let is_near = |(value, golden): (&f32, &f32)| {
        value == golden || (value.is_nan() && golden.is_nan()) || (value - golden).abs() / scale <= tolerance
    };
    match values.iter().zip(golden).position(|pair| !is_near(pair)) {
        None => Ok(()),
        Some(at) => Err(format!("{what}: number {at} is {} instead of {}", values[at], golden[at])),
    }
}

fn check(case: &Json) -> Result<(), String> {
    let text = |error: brasa::Error| error.to_string();
    let object = serde_json::json!({"class_name": "Functional", "config": case["config"]});
    let model = Model::from_json(&object.to_string()).map_err(text)?;

    // The round trip preserves the model.
    let written = model.to_json().map_err(text)?;
    let again = Model::from_json(&written).map_err(text)?;
    if again.to_json().map_err(text)? != written {
        return Err("is written in another way when it is read again".into());
    }
    let own: Json = serde_json::from_str(&written).unwrap();
    let layers = |config: &Json| config["layers"].as_array().unwrap().clone();
    let own = layers(&own["config"]);
    for keras in layers(&case["config"]).iter().filter(|layer| layer["class_name"] != "InputLayer") {
        let own = own.iter().find(|own| own["name"] == keras["name"]);
        if own != Some(keras) {
            return Err(format!("is written as {own:?} instead of {keras}"));
        }
    }

    let inputs: Vec<(Vec<usize>, Vec<f32>)> = case["inputs"].as_array().unwrap().iter().map(array).collect();
    let device = Device::flex();
    let values = |tracked: bool| -> Vec<Value> {
        let value =
            |(sizes, numbers): &(Vec<usize>, Vec<f32>)| Value::from_vec(numbers.clone(), sizes, &device).unwrap();
        inputs.iter().map(|input| if tracked { value(input).require_grad() } else { value(input) }).collect()
    };
    let goldens: Vec<(Vec<usize>, Vec<f32>)> = case["outputs"].as_array().unwrap().iter().map(array).collect();
    let shapes: Vec<Shape> = inputs.iter().map(|(sizes, _)| Shape::batch_of(&sizes[1..])).collect();
    let declared = model.output_shapes(&shapes, &Default::default()).map_err(text)?;
    let keras: Vec<Shape> = serde_json::from_value(case["declared"].clone()).unwrap();
    if declared != keras {
        return Err(format!("declares {declared:?} instead of {keras:?}"));
    }
    for model in [&model, &again] {
        let outputs = Layer::forward_all(model, values(false), &mut Call::inference(&[])).map_err(text)?;
        for (index, (output, (sizes, golden))) in outputs.iter().zip(&goldens).enumerate() {
            if output.sizes() != *sizes {
                return Err(format!("output {index}: sizes {:?} instead of {sizes:?}", output.sizes()));
            }
            compare(&format!("output {index}"), &output.to_vec().map_err(text)?, golden, OUTPUT)?;
        }
    }
    let Some(gradients) = case.get("gradients") else { return Ok(()) };
    let inputs = values(true);
    let outputs = Layer::forward_all(&model, inputs.clone(), &mut Call::inference(&[])).map_err(text)?;
    let parts = outputs.into_iter().zip(&goldens).map(|(output, (sizes, golden))| {
        let weights = (0..golden.len()).map(|index| (index as f32).cos()).collect();
        (output * Value::from_vec(weights, sizes, &device).unwrap()).sum()
    });
    let total = parts.reduce(|sum, part| sum + part).unwrap();
    let mut found = total.backward();
    for (index, (input, golden)) in inputs.iter().zip(gradients.as_array().unwrap()).enumerate() {
        let gradient = found.as_mut().and_then(|found| input.take_gradient(found));
        let gradient = gradient.map_or(vec![0.0; input.len()], |gradient| gradient.to_vec().unwrap());
        compare(&format!("gradient {index}"), &gradient, &numbers(golden), GRADIENT)?;
    }
    Ok(())
}

#[test]
fn operations_agree_with_keras() {
    assert!(CASES.len() >= 205, "{}", CASES.len());
    let failures: Vec<String> =
        CASES.iter().filter_map(|case| check(case).err().map(|error| format!("{}: {error}", case["name"]))).collect();
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
