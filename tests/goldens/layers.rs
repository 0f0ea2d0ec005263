//! Every layer against Keras: outputs and gradients from Keras 3.15 (`tests/fixtures/goldens`).

use brasa::Value;
use brasa::burn::tensor::Device;
use brasa::layers::{Call, Layer, built_in};
use serde_json::Value as Json;

use crate::support::{self, Tensor, find, value_of};

/// The number of cases in the file, so that none gets lost.
const CASES: usize = 105;

const OUTPUT: f32 = 1e-5;
const GRADIENT: f32 = 1e-4;

fn layer_of(case: &Json) -> Box<dyn Layer> {
    let class = case["class"].as_str().unwrap();
    let entry = built_in().iter().find(|entry| entry.class_name == class);
    let entry = entry.unwrap_or_else(|| panic!("no layer class `{class}`"));
    entry.layer(case["config"].as_object().unwrap().clone()).unwrap_or_else(|error| panic!("{class}: {error}"))
}

/// The largest difference, relative to the largest expected number (but at least 1).
fn compare(what: &str, value: &Value, golden: Tensor, tolerance: f32) -> Result<(), String> {
    let (sizes, numbers) = golden;
    if value.sizes() != value_of(golden).sizes() {
        return Err(format!("{what}: shape {:?} instead of {sizes:?}", value.sizes()));
    }
    let values = value.to_vec().unwrap();
    let scale = numbers.iter().fold(1.0f32, |scale, value| scale.max(value.abs()));
    let worst = values.iter().zip(numbers).fold(0.0f32, |worst, (value, golden)| {
        let difference = (value - golden).abs();
        if difference.is_nan() { f32::INFINITY } else { worst.max(difference) }
    });
    if worst / scale <= tolerance { Ok(()) } else { Err(format!("{what}: off by {worst} (of {scale})")) }
}

fn run(name: &str, case: &Json) -> Result<(), String> {
    let tensor = |key: &str| find(&format!("{name}/{key}"));
    let text = |error: brasa::Error| error.to_string();
    let mut layer = layer_of(case);
    // Keras then did not compute with the weights in the file.
    let adapted = tensor("adapt_data").map(|(sizes, numbers)| {
        let data = brasa::ndarray::ArrayD::from_shape_vec(sizes, numbers.to_vec()).unwrap();
        brasa::layers::Normalization::new().adapt(data).unwrap()
    });
    let is_adapted = adapted.is_some();
    if let Some(adapted) = adapted {
        layer = adapted.into();
    }
    let shape = |key: &str| -> brasa::Shape {
        let mut sizes: Vec<Option<usize>> = serde_json::from_value(case[key].clone()).unwrap();
        sizes[0] = None;
        brasa::Shape::new(sizes)
    };
    let input_shape = shape("input_shape");
    let output_shape = layer.output_shape(&input_shape).map_err(text)?;
    if output_shape != shape("output_shape") {
        return Err(format!("declares {output_shape} instead of {}", shape("output_shape")));
    }
    let specs = layer.weights(&input_shape).map_err(text)?;
    let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    let trainable: Vec<bool> = specs.iter().map(|spec| spec.trainable).collect();
    if serde_json::json!(names) != case["weights"] || serde_json::json!(trainable) != case["trainable"] {
        return Err(format!("weights {names:?} {trainable:?} instead of {} {}", case["weights"], case["trainable"]));
    }
    let weights: Vec<Value> = (0..specs.len())
        .map(|index| {
            let golden = tensor(&format!("w{index}")).unwrap();
            let spec = &specs[index];
            // NumPy has turned some of the scalars into lists.
            assert_eq!(golden.1.len(), spec.count(), "{name}: `{}`", spec.name);
            assert!(golden.0 == spec.sizes || spec.sizes.is_empty(), "{name}: `{}`", spec.name);
            if is_adapted {
                let values = spec.values.clone().unwrap_or(vec![0.0; spec.count()]);
                let sizes: &[usize] = if spec.sizes.is_empty() { &[1] } else { &spec.sizes };
                return Value::from_vec(values, sizes, &Device::flex()).unwrap();
            }
            value_of(golden).require_grad()
        })
        .collect();
    let x = value_of(tensor("x").unwrap()).require_grad();
    let mask = tensor("mask").map(value_of);

    let mut inference = Call::inference(&weights);
    inference.mask.clone_from(&mask);
    let y = layer.forward(x.clone(), &mut inference).map_err(text)?;
    compare("output", &y, tensor("y").unwrap(), OUTPUT)?;

    let mut training = Call::training(&weights, true, &[1, 0, 0]);
    let mut differentiated = y;
    if let Some(golden) = tensor("y_train") {
        training.mask = mask;
        differentiated = layer.forward(x.clone(), &mut training).map_err(text)?;
        compare("output in training", &differentiated, golden, OUTPUT)?;
        for (index, spec) in specs.iter().enumerate().filter(|(_, spec)| !spec.trainable) {
            let golden = tensor(&format!("after_{}", spec.name)).ok_or(format!("no `{}` after", spec.name))?;
            let update = training.updates().iter().find(|update| update.weight == index);
            let update = update.ok_or(format!("`{}` is not updated", spec.name))?;
            compare(&format!("`{}` after", spec.name), &update.value, golden, OUTPUT)?;
        }
    }
    // The recorded gradients are those of Σ y · gy.
    if let Some(gy) = tensor("gy") {
        let gradients = (differentiated * value_of(gy)).sum().backward();
        let mut gradients = gradients.ok_or("nothing to differentiate")?;
        if let Some(golden) = tensor("gx") {
            let gradient = x.take_gradient(&mut gradients).ok_or("no gradient of the input")?;
            compare("gradient of the input", &gradient, golden, GRADIENT)?;
        }
        for (index, weight) in weights.iter().enumerate() {
            if let Some(golden) = tensor(&format!("g_{index}")) {
                let what = format!("gradient of `{}`", specs[index].name);
                let gradient = weight.take_gradient(&mut gradients).ok_or(format!("no {what}"))?;
                compare(&what, &gradient, golden, GRADIENT)?;
            }
        }
    }
    Ok(())
}

#[test]
fn layers_compute_what_keras_computes() {
    assert_eq!(support::run("layers", &[], run), CASES);
}
