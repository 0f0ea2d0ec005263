//! A model's weights in Keras 3's format (`.keras`, `.weights.h5`): a tree by class and order.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use super::stored::{FileLayer, MatchedWeights, OPTIMIZER, compare};
use super::vocabularies::{self, insert_weights};
use crate::error::Result;
use crate::formats::keras::{Listed, WeightTree, WeightsFile};
use crate::formats::{Array, Limits};
use crate::layers::{Layer, WeightSpec, container_keys};
use crate::model::{Model, nested_model, weight_name};

/// The state of random layers, which Keras before 3.15 stored with the weights; it has no meaning here.
const SEEDS: &str = "seed_generator";

impl Model {
    /// The weights and the optimizer's state at Keras's paths.
    pub(super) fn weight_tree(&self) -> Result<WeightTree> {
        let mut tree = WeightTree::new();
        tree.insert("", self.name(), Vec::new())?;
        let values = self.layer_weights("save")?;
        let specs = self.weight_specs("save")?;
        for ((layer, key), (values, specs)) in
            self.layers().iter().zip(container_keys(self.layers())).zip(values.iter().zip(specs))
        {
            let base = format!("layers/{key}");
            insert_saveables(&mut tree, &**layer, &base)?;
            for (path, indices) in groups(&base, specs) {
                let arrays = indices
                    .iter()
                    .map(|index| Array::new(specs[*index].sizes.clone(), values[*index].value.to_vec()?))
                    .collect::<Result<Vec<_>>>()?;
                let name = path.rsplit('/').next().unwrap_or_default().to_owned();
                tree.insert(&path, if path == base { layer.name().to_owned() } else { name }, arrays)?;
            }
        }
        if let Some(compiled) = &self.compiled {
            let arrays = self.optimizer_arrays()?.into_iter().map(|(_, array)| array).collect();
            tree.insert(OPTIMIZER, crate::config::snake_case(compiled.optimizer.class_name()), arrays)?;
        }
        Ok(tree)
    }
}

/// Every part of a layer that has a group in Keras, with or without variables (Keras up to 3.3 requires all).
fn insert_saveables(tree: &mut WeightTree, layer: &dyn Layer, base: &str) -> Result<()> {
    tree.insert(base, layer.name(), Vec::new())?;
    insert_weights(tree, layer, base)?;
    if let Some(nested) = nested_model(layer) {
        for (child, key) in nested.layers().iter().zip(container_keys(nested.layers())) {
            insert_saveables(tree, &**child, &format!("{base}/layers/{key}"))?;
        }
    }
    Ok(())
}

/// The weights of a layer by the group in which Keras stores them, in order.
fn groups(base: &str, specs: &[WeightSpec]) -> Vec<(String, Vec<usize>)> {
    let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        for group in std::iter::once(&spec.group).chain(&spec.also_in) {
            let path = if group.is_empty() { base.to_owned() } else { format!("{base}/{group}") };
            match groups.iter_mut().find(|(known, _)| *known == path) {
                Some((_, indices)) => indices.push(index),
                None => groups.push((path, vec![index])),
            }
        }
    }
    // A file has numbers for names: those of Keras, which lists a layer's trained weights before the others.
    for (_, indices) in &mut groups {
        indices.sort_by_key(|index| !specs[*index].trainable);
    }
    groups
}

/// The weights of such a file, matched with the layers of a model.
pub(super) struct TreeWeights<F> {
    file: F,
    listed: BTreeMap<String, Listed>,
    file_layers: Vec<FileLayer>,
    /// The path of each layer in the file, if present.
    bases: Vec<Option<String>>,
    by_name: bool,
}

impl<F: Borrow<WeightsFile>> TreeWeights<F> {
    pub fn new(file: F, file_layers: Vec<FileLayer>, by_name: bool) -> Result<Self> {
        let listed = file.borrow().list()?;
        let bases = file_layers
            .iter()
            .map(|own| if by_name { base_of_name(&listed, &own.name) } else { Some(format!("layers/{}", own.key)) })
            .collect();
        Ok(Self { file, listed, file_layers, bases, by_name })
    }

    /// The groups of a layer in the file.
    fn groups(&self, layer: usize) -> Option<Vec<(String, Vec<usize>)>> {
        self.bases[layer].as_ref().map(|base| groups(base, &self.file_layers[layer].specs))
    }
}

/// The layer with this name in the outermost model.
fn base_of_name(listed: &BTreeMap<String, Listed>, name: &str) -> Option<String> {
    let mut layers = listed.iter().filter(|(path, _)| path.matches('/').count() == 1 && path.starts_with("layers/"));
    layers.find(|(_, listed)| listed.name.as_deref() == Some(name)).map(|(path, _)| path.clone())
}

impl<F: Borrow<WeightsFile>> MatchedWeights for TreeWeights<F> {
    fn differences(&self, layer: usize) -> Option<Vec<String>> {
        let groups = self.groups(layer)?;
        let file_layer = &self.file_layers[layer];
        let mut differences = Vec::new();
        let mut found = false;
        for (path, indices) in &groups {
            let specs = indices.iter().map(|index| &file_layer.specs[*index]);
            match self.listed.get(path) {
                Some(listed) => {
                    found = true;
                    differences.extend(compare(&file_layer.name, specs, &listed.shapes()));
                }
                None => {
                    differences.extend(specs.map(|spec| format!("`{}`: missing", weight_name(&file_layer.name, spec))));
                }
            }
        }
        (found || groups.is_empty()).then_some(differences)
    }

    fn unexpected(&self) -> Vec<String> {
        let groups = (0..self.file_layers.len()).filter_map(|layer| self.groups(layer));
        let wanted: BTreeSet<String> = groups.flatten().map(|(path, _)| path).collect();
        let others = self.listed.iter().filter(|(path, listed)| {
            path.starts_with("layers/")
                && listed.variables.iter().any(|(name, _)| name != vocabularies::WEIGHTS)
                && !wanted.contains(*path)
                && ![Some(SEEDS), Some(OPTIMIZER)].contains(&path.rsplit('/').next())
        });
        others.map(|(path, listed)| format!("`{path}`: unexpected, with {} weights", listed.variables.len())).collect()
    }

    fn read(&self, layer: usize) -> Result<Vec<Array>> {
        let file_layer = &self.file_layers[layer];
        let mut arrays: Vec<Option<Array>> = vec![None; file_layer.specs.len()];
        let groups = self.groups(layer).unwrap_or_default();
        let expected: Vec<(&String, Vec<Vec<usize>>)> = groups
            .iter()
            .map(|(path, indices)| (path, indices.iter().map(|index| file_layer.specs[*index].sizes.clone()).collect()))
            .collect();
        for ((_, indices), found) in groups.iter().zip(self.file.borrow().read_all(&expected)?) {
            for (index, array) in indices.iter().zip(found) {
                arrays[*index] = Some(array);
            }
        }
        Ok(arrays.into_iter().flatten().collect())
    }

    fn vocabulary_weights(&self, layer: usize) -> Result<Option<Vec<f32>>> {
        match self.bases[layer].as_deref().filter(|base| self.listed.contains_key(*base)) {
            Some(base) => self.file.borrow().read_named(base, vocabularies::WEIGHTS),
            None => Ok(None),
        }
    }

    fn optimizer_shapes(&self) -> Result<Vec<Vec<usize>>> {
        // With matching by name, the layers belong to another model, whose state does not apply.
        let listed = self.listed.get(OPTIMIZER).filter(|_| !self.by_name);
        Ok(listed.map(Listed::shapes).unwrap_or_default())
    }

    fn read_optimizer(&self, shapes: &[Vec<usize>]) -> Result<Vec<Array>> {
        self.file.borrow().read(OPTIMIZER, shapes)
    }

    fn limits(&self) -> &Limits {
        self.file.borrow().limits()
    }
}
