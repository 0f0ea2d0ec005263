//! One weight, and initial values brought by layers.

use burn::module::ParamId;

use crate::error::{Error, Result};
use crate::layers::{Layer, WeightSpec};
use crate::ops::Value;
use crate::shape::Shape;

/// A weight on a device.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Weight {
    /// Its identifier in Burn's optimizers and records.
    pub id: ParamId,
    /// Its value; a scalar has the sizes `[1]`.
    pub value: Value,
}

/// The weights that a layer brings along, if their shapes match.
pub(super) fn fitting_weights(layer: &dyn Layer, inputs: &[Shape], specs: &[WeightSpec]) -> Result<Vec<Option<Value>>> {
    let brought = layer.brought_weights(inputs)?;
    if !brought.is_empty() && brought.len() != specs.len() {
        return Err(Error::shape(format!("{} weights", specs.len()), format!("the {} that it brings", brought.len())));
    }
    for (spec, value) in specs.iter().zip(&brought) {
        if let Some(value) = value.as_ref().filter(|value| value.sizes() != at_least_one(&spec.sizes)) {
            let name = weight_name(layer.name(), spec);
            let expected = format!("{:?} for the weight `{name}` that it brings", spec.sizes);
            return Err(Error::shape(expected, format!("{:?}", value.sizes())));
        }
    }
    Ok(brought)
}

/// The name of a weight in messages: `dense/kernel`.
pub(crate) fn weight_name(layer: &str, spec: &WeightSpec) -> String {
    if spec.group.is_empty() {
        format!("{layer}/{}", spec.name)
    } else {
        format!("{layer}/{}/{}", spec.group, spec.name)
    }
}

/// A scalar's sizes as those of a `Value`.
pub(super) fn at_least_one(sizes: &[usize]) -> &[usize] {
    if sizes.is_empty() { &[1] } else { sizes }
}
