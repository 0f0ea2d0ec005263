//! Shared parts of the tests of resumed runs.

use brasa::ndarray::Array2;
use brasa::prelude::*;
use brasa::training::History;

/// 75 samples of six numbers, in three classes.
pub fn data() -> Dataset {
    let x = Array2::from_shape_fn((75, 6), |(i, j)| ((i * 31 + j * 17) % 23) as f32 / 23.0 - 0.5);
    let y: Vec<i32> = (0..75).map(|i| i * 5 % 3).collect();
    Dataset::new(&x, y).unwrap()
}

/// The bits of a list of numbers, each with its epoch.
type Bits = Vec<(usize, u64)>;

/// Everything that must be equal, bit for bit.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    weights: Vec<u32>,
    columns: Vec<(String, Bits)>,
    epochs: Vec<usize>,
    stopped: Option<String>,
}

/// The outcome of a training run.
pub fn outcome(model: &Sequential, history: &History) -> Outcome {
    let weights = model.get_weights().unwrap();
    let bits = weights.iter().flat_map(|weight| weight.iter().map(|number| number.to_bits()).collect::<Vec<_>>());
    let columns = history.history.iter().map(|(name, values)| {
        let numbers = history.epochs_of(name).iter().copied().zip(values.iter().map(|value| value.to_bits()));
        assert_eq!(values.len(), history.epochs_of(name).len());
        (name.clone(), numbers.collect())
    });
    Outcome {
        weights: bits.collect(),
        columns: columns.collect(),
        epochs: history.epoch.clone(),
        stopped: history.stopped.clone(),
    }
}
