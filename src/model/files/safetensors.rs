//! A model's weights by name: `dense/kernel`, `lstm/cell/bias`, `optimizer/vars/0`.

use std::collections::BTreeSet;

use super::stored::{FileLayer, MatchedWeights, OPTIMIZER, compare};
use crate::error::Result;
use crate::formats::safetensors::SafetensorsFile;
use crate::formats::{Array, Limits};
use crate::model::{Model, weight_name};

/// The metadata text with the model as Keras's JSON.
pub(super) const CONFIG: &str = "config";

/// The metadata text with the model's data info.
pub(super) const INFO: &str = "brasa";

/// The name of an optimizer variable. No layer has a weight with such a name: none contains `vars`.
fn optimizer_name(index: usize) -> String {
    format!("{OPTIMIZER}/vars/{index}")
}

impl Model {
    /// The weights and the optimizer's state by name.
    pub(super) fn safetensors(&self) -> Result<Vec<(String, Array)>> {
        let values = self.layer_weights("save")?;
        let mut tensors = Vec::new();
        for (file_layer, values) in self.file_layers()?.iter().zip(values) {
            for (spec, weight) in file_layer.specs.iter().zip(values) {
                let array = Array::new(spec.sizes.clone(), weight.value.to_vec()?)?;
                tensors.push((weight_name(&file_layer.name, spec), array));
            }
        }
        let optimizer = self.optimizer_arrays()?.into_iter().enumerate();
        tensors.extend(optimizer.map(|(index, (_, array))| (optimizer_name(index), array)));
        Ok(tensors)
    }
}

/// The weights of such a file, matched with the layers of a model.
pub(super) struct NamedWeights<'a> {
    file: &'a SafetensorsFile,
    file_layers: Vec<FileLayer>,
}

impl<'a> NamedWeights<'a> {
    pub fn new(file: &'a SafetensorsFile, file_layers: Vec<FileLayer>) -> Self {
        Self { file, file_layers }
    }
}

impl MatchedWeights for NamedWeights<'_> {
    fn differences(&self, layer: usize) -> Option<Vec<String>> {
        let file_layer = &self.file_layers[layer];
        let mut found = file_layer.specs.is_empty();
        let mut differences = Vec::new();
        for spec in &file_layer.specs {
            let name = weight_name(&file_layer.name, spec);
            match self.file.shape(&name) {
                Some(shape) => {
                    found = true;
                    differences.extend(compare(&file_layer.name, std::iter::once(spec), &[shape.to_vec()]));
                }
                None => differences.push(format!("`{name}`: missing")),
            }
        }
        found.then_some(differences)
    }

    fn unexpected(&self) -> Vec<String> {
        let wanted: BTreeSet<String> = self
            .file_layers
            .iter()
            .flat_map(|file_layer| file_layer.specs.iter().map(|spec| weight_name(&file_layer.name, spec)))
            .chain((0..self.optimizer_count()).map(optimizer_name))
            .collect();
        let others = self.file.tensors().filter(|(name, _)| !wanted.contains(*name));
        others.map(|(name, _)| format!("`{name}`: unexpected")).collect()
    }

    fn read(&self, layer: usize) -> Result<Vec<Array>> {
        let file_layer = &self.file_layers[layer];
        file_layer.specs.iter().map(|spec| self.file.read(&weight_name(&file_layer.name, spec), &spec.sizes)).collect()
    }

    fn optimizer_shapes(&self) -> Result<Vec<Vec<usize>>> {
        let shapes = (0..self.optimizer_count()).filter_map(|index| self.file.shape(&optimizer_name(index)));
        Ok(shapes.map(<[usize]>::to_vec).collect())
    }

    fn read_optimizer(&self, shapes: &[Vec<usize>]) -> Result<Vec<Array>> {
        shapes.iter().enumerate().map(|(index, shape)| self.file.read(&optimizer_name(index), shape)).collect()
    }

    fn limits(&self) -> &Limits {
        self.file.limits()
    }
}

impl NamedWeights<'_> {
    /// The number of consecutively numbered optimizer variables.
    fn optimizer_count(&self) -> usize {
        (0..).take_while(|index| self.file.shape(&optimizer_name(*index)).is_some()).count()
    }
}
