//! Every layer against Keras: outputs and gradients as Keras 3.15 computes them (`tests/fixtures/goldens`).

use std::collections::BTreeMap;

use brasa::Value;
use brasa::burn::tensor::Device;
use brasa::layers::{Call, Layer, built_in};
use serde_json::Value as Json;

/// Cases that are not run, each with the reason.
const SKIPPED: &[(&str, &str)] = &[];

/// How many cases the file holds: none is to get lost.
const CASES: usize = 105;

const OUTPUT: f32 = 1e-5;
const GRADIENT: f32 = 1e-4;

/// A tensor of the file, as floats.
#[derive(Clone)]
struct Golden {
    sizes: Vec<usize>,
    values: Vec<f32>,
}

impl Golden {
    fn value(&self) -> Value {
        let sizes: &[usize] = if self.sizes.is_empty() { &[1] } else { &self.sizes };
        Value::from_vec(self.values.clone(), sizes, &Device::flex()).unwrap()
    }
}

fn fixture(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/goldens").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The tensors of a safetensors file: a length, a JSON header, the data.
fn tensors() -> BTreeMap<String, Golden> {
    let bytes = fixture("goldens.safetensors");
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: BTreeMap<String, Json> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let data = &bytes[8 + length..];
    let tensor = |entry: Json| {
        let numbers = |key: &str| -> Vec<usize> { serde_json::from_value(entry[key].clone()).unwrap() };
        let offsets = numbers("data_offsets");
        let data = &data[offsets[0]..offsets[1]];
        let words = data.chunks_exact(4).map(|word| <[u8; 4]>::try_from(word).unwrap());
        let values = match entry["dtype"].as_str().unwrap() {
            "F32" => words.map(f32::from_le_bytes).collect(),
            "I32" => words.map(|word| i32::from_le_bytes(word) as f32).collect(),
            "U8" => data.iter().map(|byte| f32::from(*byte)).collect(),
            other => panic!("a tensor of type {other}"),
        };
        Golden { sizes: numbers("shape"), values }
    };
    header.into_iter().map(|(name, entry)| (name, tensor(entry))).collect()
}

fn layer_of(case: &Json) -> Box<dyn Layer> {
    let class = case["class"].as_str().unwrap();
    let entry = built_in().iter().find(|entry| entry.class_name == class);
    let entry = entry.unwrap_or_else(|| panic!("no layer class `{class}`"));
    entry.layer(case["config"].as_object().unwrap().clone()).unwrap_or_else(|error| panic!("{class}: {error}"))
}

/// The largest difference, relative to the largest number that was expected (but at least 1).
fn compare(what: &str, value: &Value, golden: &Golden, tolerance: f32) -> Result<(), String> {
    if value.sizes() != golden.value().sizes() {
        return Err(format!("{what}: shape {:?} instead of {:?}", value.sizes(), golden.sizes));
    }
    let values = value.to_vec().unwrap();
    let scale = golden.values.iter().fold(1.0f32, |scale, value| scale.max(value.abs()));
    let worst = values.iter().zip(&golden.values).fold(0.0f32, |worst, (value, golden)| {
        let difference = (value - golden).abs();
        if difference.is_nan() { f32::INFINITY } else { worst.max(difference) }
    });
    if worst / scale <= tolerance { Ok(()) } else { Err(format!("{what}: off by {worst} (of {scale})")) }
}

fn run(name: &str, case: &Json, tensors: &BTreeMap<String, Golden>) -> Result<(), String> {
    let tensor = |key: &str| tensors.get(&format!("{name}/{key}"));
    let text = |error: brasa::Error| error.to_string();
    let mut layer = layer_of(case);
    // The weights in the file are then not those with which Keras computed.
    let adapted = tensor("adapt_data").map(|data| {
        let data = brasa::ndarray::ArrayD::from_shape_vec(data.sizes.clone(), data.values.clone()).unwrap();
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
            // NumPy has made lists of one of the scalars.
            assert_eq!(golden.sizes.iter().product::<usize>(), spec.count(), "{name}: `{}`", spec.name);
            assert!(golden.sizes == spec.sizes || spec.sizes.is_empty(), "{name}: `{}`", spec.name);
            if is_adapted {
                let values = spec.values.clone().unwrap_or(vec![0.0; spec.count()]);
                let sizes: &[usize] = if spec.sizes.is_empty() { &[1] } else { &spec.sizes };
                return Value::from_vec(values, sizes, &Device::flex()).unwrap();
            }
            golden.value().require_grad()
        })
        .collect();
    let x = tensor("x").unwrap().value().require_grad();
    let mask = tensor("mask").map(Golden::value);

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
    // The goldens' gradients are those of Σ y · gy.
    if let Some(gy) = tensor("gy") {
        let gradients = (differentiated * gy.value()).sum().backward();
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
    let goldens: Json = serde_json::from_slice(&fixture("goldens.json")).unwrap();
    let cases = goldens["layers"].as_object().unwrap();
    let tensors = tensors();
    assert_eq!(cases.len(), CASES);
    for (skipped, _) in SKIPPED {
        assert!(cases.contains_key(*skipped), "`{skipped}` is skipped but not there");
    }
    let mut failures = Vec::new();
    let mut passed = 0;
    for (name, case) in cases {
        if SKIPPED.iter().any(|(skipped, _)| skipped == name) {
            continue;
        }
        let known = built_in().iter().any(|entry| Some(entry.class_name) == case["class"].as_str());
        if !known {
            failures.push(format!("{name}: no layer class {}", case["class"]));
            continue;
        }
        match run(name, case, &tensors) {
            Ok(()) => passed += 1,
            Err(failure) => failures.push(format!("{name}: {failure}")),
        }
    }
    assert!(failures.is_empty(), "{passed} passed, {} failed:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(passed + SKIPPED.len(), CASES);
    assert_eq!(SKIPPED.len(), 0);
}
