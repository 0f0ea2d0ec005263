//! Keras's results for given images and random numbers (`tests/fixtures/goldens/images`), for the tests of each layer.

use std::path::Path;

use burn::tensor::Device;

pub use serde_json::Value as Json;

use super::Augmentation;
use super::images::{Images, Size};
use crate::config::Configure;
use crate::ops::Value;

/// One recorded case of a layer.
pub struct Case<L> {
    pub name: String,
    pub layer: L,
    pub drawn: Json,
    input: Value,
    output: Value,
}

impl<L> Case<L> {
    pub fn input(&self) -> Value {
        self.input.clone()
    }

    /// The images of the input, channels last.
    pub fn images(&self) -> Images {
        let sizes = self.input.sizes();
        let size = Size { rows: sizes[1], columns: sizes[2], channels: sizes[3] };
        Images::new(self.input.to_vec().unwrap(), size)
    }

    pub fn compare(&self, output: &Value) {
        assert_eq!(output.sizes(), self.output.sizes(), "{}", self.name);
        self.compare_numbers(&output.to_vec().unwrap(), 1e-5);
    }

    /// Compares relative to the largest expected value.
    pub fn compare_numbers(&self, numbers: &[f32], tolerance: f32) {
        let expected = self.output.to_vec().unwrap();
        assert_eq!(numbers.len(), expected.len(), "{}", self.name);
        let scale = expected.iter().fold(0.0f32, |most, number| most.max(number.abs()));
        for (index, (number, expected)) in numbers.iter().zip(&expected).enumerate() {
            let near = (number - expected).abs() <= tolerance * scale;
            assert!(near, "{}: {number} instead of {expected} at {index}", self.name);
        }
    }
}

/// The cases of a layer.
pub fn cases<L: Configure>() -> Vec<Case<L>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/goldens");
    let read = |form: &str| std::fs::read(folder.join(format!("images.{form}"))).unwrap();
    let recorded: Vec<Json> = serde_json::from_slice(&read("json")).unwrap();
    let file = read("safetensors");
    let tensors = ::safetensors::SafeTensors::deserialize(&file).unwrap();
    let value = |name: &str| {
        let tensor = tensors.tensor(name).unwrap();
        let numbers = tensor.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
        Value::from_vec(numbers.collect(), tensor.shape(), &Device::flex()).unwrap()
    };
    let of_layer = recorded.into_iter().filter(|case| case["layer"] == L::CLASS_NAME);
    of_layer
        .map(|case| Case {
            name: case["name"].as_str().unwrap().to_owned(),
            layer: L::from_config(case["config"].as_object().unwrap().clone()).unwrap(),
            drawn: case["drawn"].clone(),
            input: value(case["x"].as_str().unwrap()),
            output: value(case["name"].as_str().unwrap()),
        })
        .collect()
}

/// Compares a layer's results with Keras's for the same draws, in `count` cases.
pub fn check<L: Configure + Augmentation>(count: usize, draws: impl Fn(&Json) -> Vec<L::Draw>) {
    let cases = cases::<L>();
    assert_eq!(cases.len(), count);
    for case in cases {
        let mut images = case.images();
        case.layer.check(Some(images.size().channels)).unwrap();
        case.layer.apply(&mut images, &draws(&case.drawn));
        case.compare_numbers(images.values(), 1e-5);
    }
}

/// The flattened numbers of nested lists.
pub fn numbers(json: &Json) -> Vec<f32> {
    match json {
        Json::Array(parts) => parts.iter().flat_map(numbers).collect(),
        Json::Bool(yes) => vec![f32::from(*yes)],
        number => vec![number.as_f64().unwrap() as f32],
    }
}

/// The flattened booleans of nested lists.
pub fn booleans(json: &Json) -> Vec<bool> {
    numbers(json).into_iter().map(|number| number != 0.0).collect()
}

/// `count` images of 4 by 5 zeros with three channels.
pub fn empty(count: usize) -> Images {
    let size = Size { rows: 4, columns: 5, channels: 3 };
    Images::new(vec![0.0; count * size.len()], size)
}

/// Asserts that about a thousand numbers are spread evenly from `least` to `most`.
pub fn even(numbers: &[f32], least: f32, most: f32) {
    assert!(numbers.iter().all(|number| (least..=most).contains(number)), "beyond {least} and {most}");
    let mut quarters = [0usize; 4];
    for number in numbers {
        quarters[(((number - least) / (most - least) * 4.0) as usize).min(3)] += 1;
    }
    let share = numbers.len() / 4;
    assert!(quarters.iter().all(|count| count.abs_diff(share) < share / 5), "{quarters:?}");
}
