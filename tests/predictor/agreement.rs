//! The compiled form gives what the layers give one by one, and what Keras gives.

use std::path::{Path, PathBuf};

use brasa::datasets::{Npz, Samples};
use brasa::layers::{Call, Layer};
use brasa::model::CallLayer;
use brasa::ndarray::ArrayD;
use brasa::prelude::*;
use brasa::{Predictor, Value};

use super::networks::{all, inputs};

brasa::describe! {
    /// Hands on what comes, and has no compiled form: the whole model is then computed by its layers.
    pub layer struct ByLayers {}
}

impl Layer for ByLayers {
    fn forward(&self, input: Value, _: &mut Call<'_>) -> brasa::Result<Value> {
        Ok(input)
    }
}

/// The model as one that is computed by its layers.
fn by_layers(model: &Model) -> Predictor {
    let frozen = model.freeze().unwrap();
    let symbols: Vec<_> = frozen.input_shapes().map(|shape| Input::new(shape.sample().to_vec()).symbol()).collect();
    let outputs = model.clone().call_all(&symbols).unwrap();
    let ends: Vec<_> = outputs.iter().map(|output| ByLayers::default().call(output).unwrap()).collect();
    let plain = Model::new(&symbols, &ends).unwrap().freeze().unwrap();
    assert!(!plain.is_compiled());
    plain
}

/// The largest difference, relative to the largest value expected.
pub fn difference(found: &ArrayD<f32>, expected: &ArrayD<f32>) -> f32 {
    assert_eq!(found.shape(), expected.shape());
    let scale = expected.iter().fold(1e-3f32, |scale, value| scale.max(value.abs()));
    let worst = found.iter().zip(expected).fold(0.0f32, |worst, (a, b)| {
        assert!(a.is_finite() && b.is_finite());
        worst.max((a - b).abs())
    });
    worst / scale
}

#[test]
fn the_compiled_form_gives_what_the_layers_give() {
    for network in all() {
        let (compiled, plain) = (network.model.freeze().unwrap(), by_layers(&network.model));
        assert!(compiled.is_compiled(), "{}", network.name);
        for samples in [1, 33] {
            let x = inputs(&network, samples);
            let views: Vec<_> = x.iter().map(|x| x.view()).collect();
            let (found, expected) = (compiled.run(&views).unwrap(), plain.run(&views).unwrap());
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                let apart = difference(found, expected);
                // Winograd's tiles lose a few more bits than plain sums.
                assert!(apart < 1e-5, "{}: {apart} for {samples} samples", network.name);
            }
        }
    }
}

fn folder() -> PathBuf {
    PathBuf::from("tests/fixtures/models")
}

fn array(file: &Path, name: &str) -> ArrayD<f32> {
    let samples: Samples = Npz::open(file).unwrap().read(name).unwrap();
    samples.into_ndarray()
}

#[test]
fn models_of_keras_give_what_they_gave_there() {
    let mut compiled = Vec::new();
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".keras").map(str::to_owned))
        .collect();
    names.sort();
    assert_eq!(names.len(), 14);
    for name in names {
        let model = Model::load(folder().join(format!("{name}.keras"))).unwrap();
        let values = folder().join(format!("{name}.npz"));
        let (x, expected) = (array(&values, "x"), array(&values, "y"));
        let predictor = model.freeze().unwrap();
        let found = predictor.run(&[x.view()]).unwrap().remove(0);
        let tolerance = if name.contains("rnn") || name.contains("lstm") { 1e-4 } else { 1e-5 };
        let apart = difference(&found, &expected);
        assert!(apart < tolerance, "{name}: {apart} from Keras");
        // What the model itself predicts, by batches and all at once.
        let apart = difference(&found, &model.predict_on_batch(&x).unwrap());
        assert!(apart <= 1e-6, "{name}: {apart} from `predict_on_batch`");
        // By the layers, as a callback sees it.
        let seen = Predict::new().callback(Nothing);
        let by_layers = model.predict_with(&x, seen).unwrap();
        let apart = difference(&found, &by_layers);
        assert!(apart < 2e-6, "{name}: {apart} from the layers");
        if predictor.is_compiled() {
            compiled.push(name);
        }
    }
    let expected = ["01_reference_cnn", "02_mlp_sgd", "03_conv_bn_sep", "06_text_conv1d", "14_frozen_schedule"];
    for name in expected {
        assert!(compiled.iter().any(|own| own == name), "{name} is not compiled, only {compiled:?}");
    }
}

/// A callback that does nothing: with one the layers compute.
struct Nothing;

impl Callback for Nothing {}
