//! The interface to the weights in a file of any format, and shape checks against the model.

use serde_json::Value as Json;

use crate::error::{Error, Result};
use crate::formats::{Array, Limits, memory_of, shape_text};
use crate::layers::{Layer, WeightSpec, container_keys};

/// The group of the optimizer's variables in Keras's files.
pub(super) const OPTIMIZER: &str = "optimizer";

/// The properties of a layer that files need.
pub(super) struct FileLayer {
    /// The layer's name.
    pub name: String,
    /// Its key in Keras's files: its class in snake case, with a number.
    pub key: String,
    pub specs: Vec<WeightSpec>,
    /// Whether none of its weights is trainable.
    pub frozen: bool,
    /// Whether its data format, or that of a nested layer, is channels first.
    pub channels_first: bool,
}

impl FileLayer {
    /// The layers of a model, in order.
    pub fn all(layers: &[Box<dyn Layer>], specs: &[Vec<WeightSpec>]) -> Vec<Self> {
        let keys = container_keys(layers);
        let file_layers = layers.iter().zip(keys).zip(specs).map(|((layer, key), specs)| Self {
            name: layer.name().to_owned(),
            key,
            specs: specs.clone(),
            frozen: !layer.common().trainable,
            channels_first: layer.config().is_ok_and(|config| has_channels_first(config.values())),
        });
        file_layers.collect()
    }
}

/// Whether one of the values, or a nested one, specifies channels first.
fn has_channels_first<'a>(mut values: impl Iterator<Item = &'a Json>) -> bool {
    values.any(|value| match value {
        Json::String(text) => text == "channels_first",
        Json::Object(fields) => has_channels_first(fields.values()),
        Json::Array(values) => has_channels_first(values.iter()),
        _ => false,
    })
}

/// The weights of a file, matched with the layers of a model; nothing has been read yet.
pub(super) trait MatchedWeights {
    /// For a layer of the model: a line for each mismatch; `None` if the file does not have the layer.
    fn differences(&self, layer: usize) -> Option<Vec<String>>;

    /// A line for each weight of the file that no layer uses.
    fn unexpected(&self) -> Vec<String>;

    /// The weights of a matching layer, in the order of its specs.
    fn read(&self, layer: usize) -> Result<Vec<Array>>;

    /// The weights of a layer's vocabulary, which the file stores separately.
    fn vocabulary_weights(&self, _layer: usize) -> Result<Option<Vec<f32>>> {
        Ok(None)
    }

    /// The shapes of the optimizer's variables, in order; empty if the file has no optimizer.
    fn optimizer_shapes(&self) -> Result<Vec<Vec<usize>>>;

    /// The optimizer's variables, which must have these shapes.
    fn read_optimizer(&self, shapes: &[Vec<usize>]) -> Result<Vec<Array>>;

    /// The limits of the file.
    fn limits(&self) -> &Limits;
}

/// Whether the weights of two vocabularies are equal, up to rounding of a mean and zeros at the end.
pub(super) fn same_weights(own: &[f32], found: &[f32]) -> bool {
    let at = |weights: &[f32], index: usize| weights.get(index).copied().unwrap_or(0.0);
    let same = |own: f32, found: f32| (own - found).abs() <= 1e-6 * own.abs();
    (0..own.len().max(found.len())).all(|index| same(at(own, index), at(found, index)))
}

/// A line for each mismatch between the found and the layer's shapes.
pub(super) fn compare<'a>(
    name: &str,
    expected: impl ExactSizeIterator<Item = &'a WeightSpec>,
    found: &[Vec<usize>],
) -> Vec<String> {
    if expected.len() != found.len() {
        let names: Vec<&str> = expected.map(|spec| spec.name.as_str()).collect();
        return vec![format!(
            "layer `{name}`: expected {} weights ({}), the file has {}",
            names.len(),
            names.join(", "),
            found.len()
        )];
    }
    let pairs = expected.zip(found).filter(|(spec, found)| spec.sizes != **found);
    pairs
        .map(|(spec, found)| {
            format!(
                "`{}`: expected shape {}, the file has {}",
                crate::model::weight_name(name, spec),
                shape_text(&spec.sizes),
                shape_text(found)
            )
        })
        .collect()
}

/// The memory that the weights take in addition to `taken`, in bytes; an error beyond the limit.
pub(super) fn check_memory<'a>(
    taken: u64,
    mut shapes: impl Iterator<Item = &'a [usize]>,
    limits: &Limits,
) -> Result<u64> {
    let total = shapes.try_fold(taken, |sum, shape| sum.checked_add(memory_of(shape)?));
    total.filter(|total| *total <= limits.weight_bytes).ok_or_else(|| {
        Error::unsupported(
            "the weights of the file",
            format!("up to {} bytes of them (`Limits::weight_bytes`)", limits.weight_bytes),
        )
    })
}
