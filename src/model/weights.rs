//! A model's weights: creation, access and replacement.

use std::sync::OnceLock;

use burn::module::ParamId;
use burn::tensor::Device;
use ndarray::ArrayD;

use super::Model;
use super::graph::positional_shapes;
use super::weight::{Weight, at_least_one, fitting_weights, weight_name};
use crate::error::{Error, Result};
use crate::layers::{Layer, WeightSpec, in_layer, is_trainable};
use crate::ops::Value;
use crate::shape::Shape;

/// The initial weights of a layer.
pub(super) fn start(
    layer: &dyn Layer,
    inputs: &[Shape],
    specs: &[WeightSpec],
    key: &[u64],
    device: &Device,
) -> Result<Vec<Weight>> {
    let brought = fitting_weights(layer, inputs, specs)?;
    specs
        .iter()
        .enumerate()
        .map(|(index, spec)| {
            let value = match brought.get(index).cloned().flatten() {
                Some(value) => value.to_device(device),
                None => {
                    let own = [key, &[index as u64]].concat();
                    Value::from_vec(spec.start(&own)?, at_least_one(&spec.sizes), device)?
                }
            };
            Ok(Weight { id: ParamId::new(), value })
        })
        .collect()
}

impl Model {
    /// All weights by layer, created if necessary; `None` before the input shape is known.
    pub(crate) fn weights_if_built(&self) -> Result<Option<&Vec<Vec<Weight>>>> {
        let Some(built) = self.built.get() else { return Ok(None) };
        if let Some(weights) = built.weights.get() {
            return Ok(Some(weights));
        }
        self.check_device()?;
        self.admit_weights()?;
        let weights = self
            .layers
            .iter()
            .zip(&built.specs)
            .enumerate()
            .map(|(index, (layer, specs))| {
                let Some(node) = self.graph.first_call(index) else { return Ok(Vec::new()) };
                let inputs = positional_shapes(&built.shapes, node);
                in_layer(&**layer, start(&**layer, &inputs, specs, &[self.seed, self.number_of(index)], &self.device))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Some(built.weights.get_or_init(|| weights)))
    }

    /// All weights by layer.
    pub(crate) fn layer_weights(&self, action: &'static str) -> Result<&Vec<Vec<Weight>>> {
        self.expect_built(action)?;
        self.weights_if_built().map(|weights| weights.unwrap_or_else(|| unreachable!("built above")))
    }

    /// All weights by layer, mutable.
    pub(crate) fn layer_weights_mut(&mut self, action: &'static str) -> Result<&mut Vec<Vec<Weight>>> {
        self.layer_weights(action)?;
        // Weights brought by layers are dropped: they are about to change.
        self.layers.iter_mut().for_each(|layer| layer.common_mut().brought.0.clear());
        self.plans.forget_weights();
        let weights = self.built.get_mut().and_then(|built| built.weights.get_mut());
        Ok(weights.unwrap_or_else(|| unreachable!("built above")))
    }

    /// The weight specs of each layer.
    pub(crate) fn weight_specs(&self, action: &'static str) -> Result<&Vec<Vec<WeightSpec>>> {
        Ok(&self.expect_built(action)?.specs)
    }

    /// Whether a weight of layer `layer` is trainable.
    pub(crate) fn is_trainable(&self, layer: usize, spec: &WeightSpec) -> bool {
        self.common.trainable && is_trainable(&*self.layers[layer]) && spec.trainable
    }

    /// The names of all weights, as `layer/weight`, in the order of [`get_weights`](Self::get_weights).
    ///
    /// # Errors
    /// [`Error::State`] before the input shape is known.
    pub fn weight_names(&self) -> Result<Vec<String>> {
        let specs = self.weight_specs("weight_names")?;
        Ok(self
            .layers
            .iter()
            .zip(specs)
            .flat_map(|(layer, specs)| specs.iter().map(|spec| weight_name(layer.name(), spec)))
            .collect())
    }

    /// Copies of all weights in Keras's order and layout, layer by layer.
    ///
    /// # Errors
    /// [`Error::State`] before the input shape is known, [`Error::Device`] if the device fails.
    pub fn get_weights(&self) -> Result<Vec<ArrayD<f32>>> {
        let weights = self.layer_weights("get_weights")?;
        let specs = self.weight_specs("get_weights")?;
        let pairs = weights.iter().flatten().zip(specs.iter().flatten());
        pairs.map(|(weight, spec)| to_array(&weight.value, &spec.sizes)).collect()
    }

    /// Replaces all weights, in the order of [`get_weights`](Self::get_weights). On an error none is changed.
    ///
    /// # Errors
    /// [`Error::Weights`] with all mismatches; [`Error::State`] before the input shape is known.
    pub fn set_weights(&mut self, weights: &[ArrayD<f32>]) -> Result<()> {
        let names = self.weight_names()?;
        let specs: Vec<WeightSpec> = self.weight_specs("set_weights")?.iter().flatten().cloned().collect();
        let mut problems = Vec::new();
        if weights.len() != specs.len() {
            problems.push(format!("expected {} weights, received {}", specs.len(), weights.len()));
        }
        for ((name, spec), array) in names.iter().zip(&specs).zip(weights) {
            if array.shape() != spec.sizes {
                problems.push(format!("`{name}`: expected {:?}, received {:?}", spec.sizes, array.shape()));
            }
        }
        if !problems.is_empty() {
            return Err(Error::Weights { problems });
        }
        let device = self.device.clone();
        let values = weights.iter().map(|array| from_array(array, &device)).collect::<Result<Vec<_>>>()?;
        let own = self.layer_weights_mut("set_weights")?;
        for (weight, value) in own.iter_mut().flatten().zip(values) {
            weight.value = value;
        }
        Ok(())
    }

    /// Whether all weights are finite.
    pub(crate) fn has_finite_weights(&self) -> Result<bool> {
        for weight in self.layer_weights("has_finite_weights")?.iter().flatten() {
            if !weight.value.is_finite()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sets the weights of a file, by layer; those that it lacks are kept.
    pub(crate) fn replace_weights(&mut self, values: Vec<Vec<Option<Value>>>) -> Result<()> {
        let whole = values.iter().flatten().all(Option::is_some);
        if whole && let Some(built) = self.built.get_mut() {
            // Skips the initialization of weights that are replaced at once.
            let fresh = |value: Value| Weight { id: ParamId::new(), value };
            self.plans.forget_weights();
            let weights: Vec<Vec<Weight>> =
                values.into_iter().map(|values| values.into_iter().flatten().map(fresh).collect()).collect();
            built.weights = OnceLock::from(weights);
            return Ok(());
        }
        let weights = self.layer_weights_mut("load")?;
        for (weight, value) in weights.iter_mut().flatten().zip(values.into_iter().flatten()) {
            if let Some(value) = value {
                weight.value = value;
            }
        }
        Ok(())
    }

    /// The names and sizes of the trainable weights, in order.
    pub(crate) fn trainable_weights(&self, action: &'static str) -> Result<Vec<(String, Vec<usize>)>> {
        let specs = self.weight_specs(action)?.iter().enumerate();
        let trainable = specs.flat_map(|(layer, specs)| {
            let own = specs.iter().filter(move |spec| self.is_trainable(layer, spec));
            own.map(move |spec| (weight_name(self.layers[layer].name(), spec), at_least_one(&spec.sizes).to_vec()))
        });
        Ok(trainable.collect())
    }

    /// The shapes of input and outputs, layer by layer, for files.
    pub(crate) fn shapes(&self) -> Option<&[Shape]> {
        self.built.get().map(|built| built.shapes.as_slice())
    }
}

fn to_array(value: &Value, sizes: &[usize]) -> Result<ArrayD<f32>> {
    ArrayD::from_shape_vec(sizes, value.to_vec()?).map_err(|error| Error::shape(format!("{sizes:?}"), error))
}

fn from_array(array: &ArrayD<f32>, device: &Device) -> Result<Value> {
    Value::from_vec(array.iter().copied().collect(), at_least_one(array.shape()), device)
}
