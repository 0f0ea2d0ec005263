//! A `Sequential` as a `.keras` file: which of its weights stands where, and back.

use std::path::Path;

use burn::tensor::Device;
use serde_json::json;

use super::{KerasFile, Limits, WeightTree, WeightsFile, write_keras, write_weights_h5};
use crate::error::{Error, Result};
use crate::formats::Array;
use crate::layers::{Layer, WeightSpec};
use crate::model::Sequential;
use crate::model::container_keys;
use crate::ops::Value;
use crate::optimizers::{OptimizerState, Slot, WeightInfo, at_least_one};

/// The Keras whose files these are like; Keras writes it and does not read it.
const KERAS_VERSION: &str = "3.15.1";

/// The group of the optimizer's variables.
const OPTIMIZER: &str = "optimizer";

impl Sequential {
    /// Saves the model, its weights, how it was compiled and the optimizer's state as a `.keras` file, which Keras
    /// opens. The file is complete or, if anything fails, as it was before.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// # let folder = std::env::temp_dir().join(format!("brasa-doc-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).unwrap();
    /// # let path = folder.join("model.keras");
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(2).input_shape(3))?;
    /// model.save(&path)?;
    /// let copy = Sequential::load(&path)?;
    /// assert_eq!(model.get_weights()?, copy.get_weights()?);
    /// # std::fs::remove_dir_all(folder).unwrap();
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::State`] before the input shape is known, [`Error::Argument`] for another extension than `.keras`,
    /// [`Error::Unsupported`] for a layer that cannot be written, [`Error::Io`] for what the system refuses.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        if path.extension().is_none_or(|extension| extension != "keras") {
            return Err(Error::argument("path", "a file name that ends in `.keras`", path.display()));
        }
        self.input_shape()?;
        let metadata = json!({ "keras_version": KERAS_VERSION, "date_saved": now() });
        write_keras(path, &metadata, &self.to_keras()?, &self.weight_tree()?)
    }

    /// Saves the weights and the optimizer's state alone, as Keras's `save_weights` does.
    ///
    /// # Errors
    /// [`Error::State`] before the input shape is known, [`Error::Argument`] for a name that does not end in
    /// `.weights.h5`, [`Error::Io`] for what the system refuses.
    pub fn save_weights(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        if !path.to_string_lossy().ends_with(".weights.h5") {
            return Err(Error::argument("path", "a file name that ends in `.weights.h5`", path.display()));
        }
        self.input_shape()?;
        write_weights_h5(path, &self.weight_tree()?)
    }

    /// Takes the weights from a `.weights.h5` file, and the optimizer's state if the model is compiled and it fits.
    ///
    /// Weights are found by their layers' classes and order, not by names, as in Keras. On an error the model is as
    /// before.
    ///
    /// # Errors
    /// [`Error::Weights`] with every weight that is missing or has another shape, [`Error::Broken`] for a damaged file,
    /// [`Error::State`] before the input shape is known.
    pub fn load_weights(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.input_shape()?;
        let file = WeightsFile::open(path, &Limits::default())?;
        self.read_weights(&file)?;
        self.read_optimizer(&file)
    }

    /// Loads a model from a `.keras` file, with its weights and, if it was compiled, the optimizer's state.
    ///
    /// # Errors
    /// [`Error::Broken`] for a damaged file, [`Error::Unsupported`] for what Brasa does not do, [`Error::Weights`] with
    /// every weight that is missing or has another shape, [`Error::Io`] for what the system refuses.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::load_with(path, None, &Limits::default())
    }

    /// As [`load`](Self::load), on a device.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_on(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        Self::load_with(path, Some(device), &Limits::default())
    }

    /// As [`load`](Self::load), on a device if one is given, and within other limits.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with(path: impl AsRef<Path>, device: Option<&Device>, limits: &Limits) -> Result<Self> {
        let path = path.as_ref();
        let mut file = KerasFile::open(path, limits)?;
        let mut model = Self::from_keras(file.config())?;
        if let Some(device) = device {
            model.to_device(device);
        }
        model.input_shape().map_err(|_| {
            Error::broken(path.display().to_string(), "config.json", "the model has no input shape, and so no weights")
        })?;
        let weights = file.weights()?;
        model.read_weights(&weights)?;
        model.read_optimizer(&weights)?;
        Ok(model)
    }

    /// The weights and the optimizer's state, where Keras has them.
    fn weight_tree(&self) -> Result<WeightTree> {
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
            let state = &compiled.state;
            let iterations = i32::try_from(state.iterations).unwrap_or(i32::MAX);
            let mut arrays = vec![Array::new([], vec![iterations])?];
            if let Some(rate) = compiled.optimizer.learning_rate_argument().constant() {
                arrays.push(Array::new([], vec![rate])?);
            }
            let trainable = self.trainable_weights("save")?;
            for stored in state.stored(&*compiled.optimizer, &infos(&trainable))? {
                arrays.push(Array::new(stored.sizes, stored.values)?);
            }
            tree.insert(OPTIMIZER, crate::config::snake_case(compiled.optimizer.class_name()), arrays)?;
        }
        Ok(tree)
    }

    /// Takes all weights from a file; on an error the model is unchanged.
    fn read_weights(&mut self, file: &WeightsFile) -> Result<()> {
        let specs = self.weight_specs("load")?.clone();
        let keys = container_keys(self.layers());
        let mut wanted: Vec<(String, Vec<Vec<usize>>)> = Vec::new();
        let mut places = Vec::new();
        for (layer, (key, specs)) in keys.iter().zip(&specs).enumerate() {
            for (path, indices) in groups(&format!("layers/{key}"), specs) {
                wanted.push((path, indices.iter().map(|index| specs[*index].sizes.clone()).collect()));
                places.push((layer, indices));
            }
        }
        let arrays = file.read_all(&wanted)?;
        let device = self.device().clone();
        let mut values: Vec<Vec<Option<Value>>> = specs.iter().map(|specs| vec![None; specs.len()]).collect();
        for ((layer, indices), arrays) in places.into_iter().zip(arrays) {
            for (index, array) in indices.into_iter().zip(arrays) {
                let sizes = if array.shape().is_empty() { vec![1] } else { array.shape().to_vec() };
                values[layer][index] = Some(Value::from_vec(array.into_f32(), &sizes, &device)?);
            }
        }
        self.replace_weights(values)
    }

    /// Takes the optimizer's state from a file, if it has one that fits.
    fn read_optimizer(&mut self, file: &WeightsFile) -> Result<()> {
        let Some(listed) = file.shapes(OPTIMIZER)? else { return Ok(()) };
        let device = self.device().clone();
        let trainable = self.trainable_weights("load")?;
        let Some(compiled) = &mut self.compiled else { return Ok(()) };
        let optimizer = &compiled.optimizer;
        let slots: Vec<Vec<Slot>> =
            infos(&trainable).iter().map(|weight| OptimizerState::slots(&**optimizer, weight)).collect();
        let order = OptimizerState::file_order(&slots);
        let mut expected: Vec<Vec<usize>> =
            order.iter().map(|(weight, slot)| slots[*weight][*slot].sizes.clone()).collect();
        expected.extend(optimizer.shared().map(|_| Vec::new()));
        let shapes = listed.shapes();
        // The step number, and the learning rate: Keras keeps none beside a schedule, and Keras 2 never did.
        let scalars = [2, 1].into_iter().find(|scalars| {
            let (first, rest) = shapes.split_at((*scalars).min(shapes.len()));
            first.len() == *scalars && first.iter().all(Vec::is_empty) && (rest == expected || rest.is_empty())
        });
        let Some(scalars) = scalars else {
            tracing::warn!(
                "the optimizer's state in the file does not fit `{}` and is left out",
                optimizer.class_name()
            );
            return Ok(());
        };
        let mut arrays = file.read(OPTIMIZER, &shapes)?.into_iter();
        compiled.state.iterations =
            arrays.next().and_then(|array| array.as_integer()).and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
        if scalars == 2
            && let Some(rate) = arrays.next().map(Array::into_f32).and_then(|rates| rates.first().copied())
        {
            compiled.optimizer.learning_rate_argument_mut().restore(rate);
        }
        let mut values = arrays.map(|array| {
            let sizes = at_least_one(array.shape()).to_vec();
            Value::from_vec(array.into_f32(), &sizes, &device)
        });
        if shapes.len() > scalars {
            let mut own: Vec<Vec<Option<Value>>> = slots.iter().map(|slots| vec![None; slots.len()]).collect();
            for ((weight, slot), value) in order.into_iter().zip(values.by_ref()) {
                own[weight][slot] = Some(value?);
            }
            compiled.state.slots = own.into_iter().map(|slots| slots.into_iter().flatten().collect()).collect();
            compiled.state.shared = values.next().transpose()?.map(|value| value.to_scalar()).transpose()?;
        }
        Ok(())
    }
}

/// The weights as an optimizer sees them.
fn infos(weights: &[(String, Vec<usize>)]) -> Vec<WeightInfo<'_>> {
    weights.iter().map(|(path, sizes)| WeightInfo { path, sizes }).collect()
}

/// Every part of a layer that Keras gives a group, with or without variables (Keras up to 3.3 insists on all).
fn insert_saveables(tree: &mut WeightTree, layer: &dyn Layer, base: &str) -> Result<()> {
    tree.insert(base, layer.name(), Vec::new())?;
    if let Some(nested) = layer.as_any().downcast_ref::<Sequential>() {
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
        let path = if spec.group.is_empty() { base.to_owned() } else { format!("{base}/{}", spec.group) };
        match groups.iter_mut().find(|(known, _)| *known == path) {
            Some((_, indices)) => indices.push(index),
            None => groups.push((path, vec![index])),
        }
    }
    groups
}

/// The time as Keras writes it.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d@%H:%M:%S").to_string()
}
