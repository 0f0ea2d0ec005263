//! The index and tensors of the cases, and comparison of numbers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use brasa::Value;
use brasa::burn::tensor::Device;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value as Json;

/// The index: by group and case, the inputs and expected results.
static INDEX: LazyLock<Json> = LazyLock::new(|| serde_json::from_slice(&read("goldens.json")).unwrap());

/// Sizes and numbers.
pub type Tensor = (&'static [usize], &'static [f32]);

/// Sizes and numbers by name.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

static TENSORS: LazyLock<Tensors> = LazyLock::new(|| {
    let bytes = read("goldens.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = |view: &safetensors::tensor::TensorView<'_>| -> Vec<f32> {
        let words = || view.data().chunks_exact(4).map(|word| <[u8; 4]>::try_from(word).unwrap());
        match view.dtype() {
            Dtype::F32 => words().map(f32::from_le_bytes).collect(),
            Dtype::I32 => words().map(|word| i32::from_le_bytes(word) as f32).collect(),
            Dtype::U8 => view.data().iter().map(|byte| f32::from(*byte)).collect(),
            other => panic!("no golden is {other:?}"),
        }
    };
    tensors.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), numbers(&view)))).collect()
});

pub fn read(name: &str) -> Vec<u8> {
    std::fs::read(Path::new("tests/fixtures/goldens").join(name)).unwrap()
}

/// The cases of a group.
fn cases(group: &str) -> impl Iterator<Item = (&'static str, &'static Json)> {
    INDEX[group].as_object().unwrap().iter().map(|(name, case)| (name.as_str(), case))
}

/// Runs every case of a group except the skipped ones (each with its reason) and reports all failures; returns the
/// number of cases run.
pub fn run(group: &str, skipped: &[(&str, &str)], mut case: impl FnMut(&str, &Json) -> Result<(), String>) -> usize {
    for (name, reason) in skipped {
        assert!(INDEX[group].get(name).is_some(), "{group}/{name} ({reason}) is no case");
    }
    let (mut count, mut failures) = (0, Vec::new());
    for (name, inputs) in cases(group).filter(|(name, _)| skipped.iter().all(|(skipped, _)| skipped != name)) {
        count += 1;
        failures.extend(case(name, inputs).err().map(|error| format!("{group}/{name}: {error}")));
    }
    assert!(failures.is_empty(), "{} of {count} failed:\n{}", failures.len(), failures.join("\n"));
    count
}

/// Sizes and numbers of a tensor, if it exists.
pub fn find(name: &str) -> Option<Tensor> {
    TENSORS.get(name).map(|(sizes, numbers)| (sizes.as_slice(), numbers.as_slice()))
}

/// Sizes and numbers of a tensor.
pub fn tensor(name: &str) -> Tensor {
    find(name).unwrap_or_else(|| panic!("no tensor {name}"))
}

/// A tensor as a value; a single number has the sizes `[1]`.
pub fn value(name: &str) -> Value {
    value_of(tensor(name))
}

/// As [`value`], for a tensor already found.
pub fn value_of((sizes, numbers): Tensor) -> Value {
    let sizes = if sizes.is_empty() { &[1] } else { sizes };
    Value::from_vec(numbers.to_vec(), sizes, &Device::flex()).unwrap()
}

/// A number, or a list of numbers.
pub fn numbers(json: &Json) -> Vec<f64> {
    match json {
        Json::Array(list) => list.iter().map(|number| number.as_f64().unwrap()).collect(),
        number => vec![number.as_f64().unwrap()],
    }
}

/// The tolerance for numbers: relative and absolute.
#[derive(Clone, Copy)]
pub struct Tolerance {
    pub relative: f64,
    pub absolute: f64,
}

/// The default tolerance.
pub const CLOSE: Tolerance = Tolerance { relative: 1e-5, absolute: 1e-6 };

/// Compares numbers one by one.
pub fn close(what: &str, got: &[f32], wanted: &[f32], tolerance: Tolerance) -> Result<(), String> {
    let wide = |numbers: &[f32]| numbers.iter().map(|number| f64::from(*number)).collect::<Vec<_>>();
    close_f64(what, &wide(got), &wide(wanted), tolerance)
}

/// As [`close`], for f64.
pub fn close_f64(what: &str, got: &[f64], wanted: &[f64], tolerance: Tolerance) -> Result<(), String> {
    if got.len() != wanted.len() {
        return Err(format!("{what}: {} numbers, not {}", got.len(), wanted.len()));
    }
    for (index, (a, b)) in got.iter().zip(wanted).enumerate() {
        let near = (a - b).abs() <= tolerance.absolute + tolerance.relative * b.abs();
        if !(near || a == b || a.is_nan() && b.is_nan()) {
            return Err(format!("{what}[{index}]: {a}, not {b}"));
        }
    }
    Ok(())
}
