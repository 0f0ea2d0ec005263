//! Spectrograms against Keras, for signals recorded by `tests/fixtures/goldens/make_sounds.py`.

use std::path::Path;

use brasa::layers::{Layer, built_in};
use brasa::ndarray::{ArrayD, IxDyn};
use brasa::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value as Json;

fn read(form: &str) -> Vec<u8> {
    std::fs::read(Path::new("tests/fixtures/goldens").join(format!("sounds.{form}"))).unwrap()
}

fn layer(class: &str, config: &Json) -> Box<dyn Layer> {
    let entry = built_in().iter().find(|entry| entry.class_name == class).unwrap();
    entry.layer(config.as_object().unwrap().clone()).unwrap()
}

#[test]
fn spectrograms_are_those_of_keras() {
    let cases: Vec<Json> = serde_json::from_slice(&read("json")).unwrap();
    assert_eq!(cases.len(), 19);
    let file = read("safetensors");
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let array = |name: &str| {
        let tensor = tensors.tensor(name).unwrap();
        let words = tensor.data().chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap()));
        ArrayD::from_shape_vec(IxDyn(tensor.shape()), words.collect()).unwrap()
    };
    for case in cases {
        let (name, x) = (case["name"].as_str().unwrap(), array(case["x"].as_str().unwrap()));
        let mut model = Sequential::new();
        model.add(Input::new(x.shape()[1..].to_vec())).unwrap();
        model.add(layer(case["layer"].as_str().unwrap(), &case["config"])).unwrap();
        let (mut found, mut expected) = (model.predict(x).unwrap(), array(name));
        assert_eq!(found.shape(), expected.shape(), "{name}");
        if name == "stft_angle" {
            // π and −π are the same angle.
            found.mapv_inplace(f32::abs);
            expected.mapv_inplace(f32::abs);
        }
        let scale = expected.iter().fold(0.0f32, |most, number| most.max(number.abs()));
        let worst = found.iter().zip(&expected).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs())) / scale;
        let tolerance = if name == "stft_angle" { 1e-3 } else { 1e-4 };
        assert!(worst < tolerance, "{name} is off by {worst} of its largest number");
    }
}
