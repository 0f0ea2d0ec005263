//! Gradients against central differences in double precision, layer by layer and loss by loss.
//!
//! Burn's backend flex computes in f64 if its device is configured so before any use; a [`Value`] then holds f64. The
//! fast kernels are f32 only and are not used, so this tests the portable implementations, with which the kernels are
//! compared elsewhere (`tests/properties/geometry.rs` and the tests of each operation). The backend ndarray accepts
//! f64, too, but computes sigmoid and erf in f32; the GPU's has no f64. The dtype of a device is fixed once per
//! process: hence a separate test program.

#![cfg(feature = "flex")]

use std::sync::LazyLock;

use brasa::Value;
use brasa::burn::tensor::{Device, FloatDType};
use brasa::layers::{Call, Layer, built_in};
use brasa::losses::LossArgument;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Half the distance of a central difference, exact in f32; its square is the truncation error.
const STEP: f32 = 1.0 / 65_536.0;
/// The tolerance of slope and gradient, relative to the gradient's norm (and at least 1): far below the precision of
/// f32.
const TOLERANCE: f64 = 1e-7;

/// The device, configured for f64.
static DEVICE: LazyLock<Device> = LazyLock::new(|| {
    let mut device = Device::flex();
    device.configure(FloatDType::F64).unwrap();
    device
});

/// Random numbers from `low` to `high`.
fn random(sizes: &[usize], low: f32, high: f32, seed: u64) -> Value {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let numbers = (0..sizes.iter().product()).map(|_| rng.random_range(low..high)).collect();
    Value::from_vec(numbers, sizes, &DEVICE).unwrap()
}

/// The numbers of a value, which must be f64.
fn numbers(value: &Value) -> Vec<f64> {
    let flat = value.clone().reshape(&[value.len()]).unwrap();
    let data = flat.tensor::<1>().unwrap().into_data();
    data.try_into_vec::<f64>().expect("values of f64")
}

fn number(value: &Value) -> f64 {
    numbers(value)[0]
}

/// Compares the slope of `function` at `values` along a random direction with its gradients.
fn check(values: &[Value], function: impl Fn(&[Value]) -> brasa::Result<Value>) -> Result<(), String> {
    let text = |error: brasa::Error| error.to_string();
    let directions: Vec<Value> =
        values.iter().enumerate().map(|(index, value)| random(&value.sizes(), -1.0, 1.0, 50 + index as u64)).collect();
    let at = |step: f32| -> Result<f64, String> {
        let moved = |(value, direction): (&Value, &Value)| value.clone() + direction.clone().mul_scalar(step);
        let moved: Vec<Value> = values.iter().zip(&directions).map(moved).collect();
        function(&moved).map(|total| number(&total)).map_err(text)
    };
    let slope = (at(STEP)? - at(-STEP)?) / (2.0 * f64::from(STEP));

    let leaves: Vec<Value> = values.iter().map(|value| value.clone().require_grad()).collect();
    let mut gradients = function(&leaves).map_err(text)?.backward();
    let (mut along, mut square) = (0.0, 0.0);
    for (leaf, direction) in leaves.iter().zip(&directions) {
        // A value that the result does not depend on has no gradient.
        let Some(gradient) = gradients.as_mut().and_then(|gradients| leaf.take_gradient(gradients)) else { continue };
        for (gradient, direction) in numbers(&gradient).into_iter().zip(numbers(direction)) {
            along += gradient * direction;
            square += gradient * gradient;
        }
    }
    let scale = square.sqrt().max(1.0);
    let off = (slope - along).abs() / scale;
    if off <= TOLERANCE { Ok(()) } else { Err(format!("slope {slope}, gradient {along}: off by {off:e} of {scale}")) }
}

/// A layer's outputs, randomly weighted, plus what it adds to the loss.
fn total(layer: &dyn Layer, input: Value, weights: &[Value], training: bool) -> brasa::Result<Value> {
    let mut call = if training { Call::training(weights, true, &[7, 0, 0]) } else { Call::inference(weights) };
    let output = layer.forward(input, &mut call)?;
    let factors = random(&output.sizes(), -1.0, 1.0, 9);
    Ok(call.losses().iter().fold((output * factors).sum(), |total, loss| total + loss.clone().sum()))
}

/// In training, the iteration treats the weight's norm as a constant, as in Keras on TensorFlow and PyTorch.
const NOT_IN_TRAINING: [&str; 1] = ["SpectralNormalization"];

#[test]
fn gradients_of_every_layer() {
    let (mut count, mut refused, mut failures) = (0, 0, Vec::new());
    for entry in built_in() {
        for (index, example) in entry.examples().into_iter().enumerate() {
            // Layers for texts and integers have no gradient.
            if example.layer.on_host().is_some() {
                continue;
            }
            let sizes: Vec<usize> =
                std::iter::once(Some(3)).chain(example.input.sample().iter().copied()).flatten().collect();
            let specs = example.layer.weights(&example.input).unwrap();
            // Away from 0 and 1, where some functions have kinks.
            let weight = |(index, sizes): (usize, &[usize])| random(sizes, 0.1, 0.9, 20 + index as u64);
            let sizes_of_weights = specs.iter().map(|spec| if spec.sizes.is_empty() { &[1][..] } else { &spec.sizes });
            let mut values: Vec<Value> = sizes_of_weights.enumerate().map(weight).collect();
            let input = match example.classes {
                None => random(&sizes, -1.0, 1.0, 3),
                Some(classes) => random(&sizes, 0.0, classes as f32, 3).floor(),
            };
            let fixed = example.classes.is_some().then(|| input.clone());
            if fixed.is_none() {
                values.push(input);
            }
            for training in [false, true] {
                if training && NOT_IN_TRAINING.contains(&entry.class_name) {
                    continue;
                }
                let function = |values: &[Value]| {
                    let (weights, rest) = values.split_at(specs.len());
                    let input = fixed.as_ref().or(rest.first()).cloned().expect("an input");
                    total(&*example.layer, input, weights, training)
                };
                // Layers that augment images are not differentiable: they return an error.
                let leaves: Vec<Value> = values.iter().map(|value| value.clone().require_grad()).collect();
                if let Err(brasa::Error::Unsupported { what, .. }) = function(&leaves) {
                    assert!(what.contains("a gradient"), "{what}");
                    refused += 1;
                    continue;
                }
                count += 1;
                if let Err(failure) = check(&values, function) {
                    let mode = if training { "in training" } else { "in inference" };
                    failures.push(format!("{} (example {index}) {mode}: {failure}", entry.class_name));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
    assert!(count > 500, "only {count}");
    // The random augmentation layers in training, and `AutoContrast` always.
    assert!((60..100).contains(&refused), "{refused}");
}

#[test]
fn gradients_of_every_loss() {
    let mut failures = Vec::new();
    let labels = |sizes: &[usize], labels: &[f32]| Value::from_vec(labels.to_vec(), sizes, &DEVICE).unwrap();
    for name in brasa::losses::names() {
        let loss = LossArgument::from(name.as_str()).resolve().unwrap();
        let (targets, sizes) = match loss.class_name() {
            "SparseCategoricalCrossentropy" | "CategoricalGeneralizedCrossEntropy" => {
                (labels(&[4], &[0.0, 2.0, 1.0, 2.0]), vec![4, 3])
            }
            "Circle" => (labels(&[4], &[0.0, 1.0, 1.0, 0.0]), vec![4, 3]),
            "CTC" => (labels(&[2, 2], &[1.0, 3.0, 2.0, 2.0]), vec![2, 6, 4]),
            "Hinge" | "SquaredHinge" => (labels(&[4, 1], &[-1.0, 1.0, 1.0, -1.0]), vec![4, 1]),
            _ => (random(&[4, 3], 0.1, 0.9, 5), vec![4, 3]),
        };
        let outputs = random(&sizes, 0.1, 0.9, 6);
        // Probabilities of several classes, for the losses that accept nothing else.
        let classes = sizes.len() - 1;
        let outputs = if sizes[classes] > 1 { outputs.softmax(classes) } else { outputs };
        let function = |values: &[Value]| {
            let losses = loss.call(&targets, &values[0])?;
            let factors = random(&losses.sizes(), 0.5, 1.5, 9);
            Ok((losses * factors).sum())
        };
        if let Err(failure) = check(&[outputs], function) {
            failures.push(format!("{name}: {failure}"));
        }
    }
    assert!(failures.is_empty(), "{}:\n{}", failures.len(), failures.join("\n"));
}
