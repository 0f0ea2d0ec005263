//! A model in Keras's legacy `.h5` format: layers by name, weights in Keras's order.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::KERAS_VERSION;
use super::arranged::{Arranged, WeightArrangement};
use super::stored::{FileLayer, MatchedWeights, compare};
use crate::config::Configure;
use crate::error::Result;
use crate::formats::keras::{LegacyFile, LegacyLayer, LegacyModel};
use crate::formats::{Array, Limits};
use crate::model::Model;

impl Model {
    /// The content of such a file; `object` is the model as Keras's JSON, `null` for weights only.
    pub(super) fn legacy_model(&self, mut object: Json) -> Result<LegacyModel> {
        let values = self.layer_weights("save")?;
        let mut layers = Vec::new();
        for (file_layer, values) in self.file_layers()?.iter().zip(values) {
            let weights = legacy_order(file_layer).into_iter().map(|index| {
                let spec = &file_layer.specs[index];
                let array = Array::new(spec.sizes.clone(), values[index].value.to_vec()?)?;
                Ok((crate::model::weight_name(&file_layer.name, spec), array))
            });
            layers.push((file_layer.name.clone(), weights.collect::<Result<_>>()?));
        }
        let alone = object.is_null();
        let mut training_config = object.get_mut("compile_config").map(Json::take).map(training_config);
        if let (Some(settings), Some(compiled)) = (&mut training_config, &self.compiled) {
            // Keras accepts only objects here, not names.
            for (key, objects) in compiled.objects()?.into_iter().filter(|(_, objects)| !objects.is_null()) {
                settings[key] = objects;
            }
        }
        let model_config = match object.get_mut("config").map(Json::take) {
            Some(mut config) => {
                spell_out(&mut config);
                json!({ "class_name": Configure::class_name(self), "config": config })
            }
            None => Json::Null,
        };
        Ok(LegacyModel {
            keras_version: KERAS_VERSION.to_owned(),
            backend: "jax".to_owned(),
            model_config,
            training_config,
            layers,
            optimizer: if alone { Vec::new() } else { self.optimizer_arrays()? },
            info: if alone { None } else { self.data_info().to_json() },
        })
    }
}

/// Writes `x[..., 0]` as `x[:, :, 0]`: Keras cannot read `...` from these files.
fn spell_out(config: &mut Json) {
    let layers = config.get_mut("layers").and_then(Json::as_array_mut).into_iter().flatten();
    for layer in layers {
        if let Some(inside) = layer.get_mut("config") {
            spell_out(inside);
        }
        if layer.get("class_name").and_then(Json::as_str) != Some("GetItem") {
            continue;
        }
        for call in layer.get_mut("inbound_nodes").and_then(Json::as_array_mut).into_iter().flatten() {
            let Some([value, key]) = call.get_mut("args").and_then(Json::as_array_mut).map(Vec::as_mut_slice) else {
                continue;
            };
            let rank = value.pointer("/config/shape").and_then(Json::as_array).map_or(0, Vec::len);
            let parts = match key.take() {
                Json::Array(parts) => parts,
                part => vec![part],
            };
            let is_rest = |part: &&Json| part.get("class_name").and_then(Json::as_str) == Some("__ellipsis__");
            let used = parts.iter().filter(|part| !part.is_null() && !is_rest(part)).count();
            let whole = json!({ "class_name": "__slice__", "config": { "start": null, "stop": null, "step": null } });
            let spelled = parts.into_iter().flat_map(|part| match is_rest(&&part) {
                true => vec![whole.clone(); rank.saturating_sub(used)],
                false => vec![part],
            });
            *key = spelled.collect();
        }
    }
}

/// The order of a layer's weights in the file: trainable ones first.
fn legacy_order(file_layer: &FileLayer) -> Vec<usize> {
    let mut order: Vec<usize> = (0..file_layer.specs.len()).collect();
    if !file_layer.frozen {
        order.sort_by_key(|index| Reverse(file_layer.specs[*index].trainable));
    }
    order
}

/// Keras's `compile` settings in the legacy form.
fn training_config(mut compile: Json) -> Json {
    if let Some(settings) = compile.as_object_mut()
        && let Some(optimizer) = settings.shift_remove("optimizer")
    {
        let part = |key: &str| optimizer.get(key).cloned().unwrap_or_default();
        // In this format the class of an own optimizer is its registered name, by which Keras finds it.
        let class = Some(part("registered_name")).filter(|name| !name.is_null());
        let class = class.unwrap_or_else(|| part("class_name"));
        let optimizer_config = json!({ "class_name": class, "config": part("config") });
        settings.insert("optimizer_config".into(), optimizer_config);
    }
    compile
}

/// The reverse of [`training_config`].
pub(super) fn compile_config(mut training: Json) -> Json {
    if let Some(settings) = training.as_object_mut()
        && let Some(optimizer) = settings.shift_remove("optimizer_config")
    {
        settings.insert("optimizer".into(), optimizer);
    }
    training
}

/// The weights of such a file, matched with the layers of a model.
pub(super) struct LegacyWeights<'a> {
    file: &'a LegacyFile,
    file_layers: Vec<FileLayer>,
    /// The file's layer for each of the model's.
    layers: Vec<Option<&'a LegacyLayer>>,
    /// Whether Keras 1 wrote the file: as in Keras 2, also if there is no version.
    keras_1: bool,
}

impl<'a> LegacyWeights<'a> {
    /// By order: Keras takes the layers that have weights, one after another. By name if all names exist: files of
    /// Keras 2 can have another order than Keras 3.
    pub fn new(file: &'a LegacyFile, file_layers: Vec<FileLayer>, by_name: bool) -> Self {
        let named = |file_layer: &FileLayer| file.layers().iter().find(|layer| layer.name == file_layer.name);
        let mut with_weights = file.layers().iter().filter(|layer| !layer.weights.is_empty());
        let stored = with_weights.clone().count();
        let own = file_layers.iter().filter(|file_layer| !file_layer.specs.is_empty()).count();
        let has_weights = |file_layer: &FileLayer| named(file_layer).is_some_and(|layer| !layer.weights.is_empty());
        let all_named = file_layers.iter().all(|file_layer| file_layer.specs.is_empty() || has_weights(file_layer));
        // If the number of layers differs, names show best which of them do not match.
        let layers = file_layers.iter().map(|file_layer| match file_layer.specs.is_empty() {
            true => None,
            false if by_name || all_named || stored != own => named(file_layer),
            false => with_weights.next(),
        });
        let layers = layers.collect();
        let version = file.keras_version();
        let keras_1 = version.is_none_or(|version| ["0.", "1."].iter().any(|first| version.starts_with(first)));
        Self { file, file_layers, layers, keras_1 }
    }

    /// The shapes of a layer's weights in the file, and how the layer's own are made from them.
    fn arranged(&self, layer: usize) -> Option<(Vec<Vec<usize>>, Arranged)> {
        let file_layer = &self.file_layers[layer];
        let found: Vec<Vec<usize>> = self.layers[layer]?.weights.iter().map(|weight| weight.shape.clone()).collect();
        let specs: Vec<_> = legacy_order(file_layer).into_iter().map(|index| &file_layer.specs[index]).collect();
        let layout = WeightArrangement { keras_1: self.keras_1, channels_first: file_layer.channels_first };
        let arranged = Arranged::new(&specs, &found, layout);
        Some((found, arranged))
    }
}

impl MatchedWeights for LegacyWeights<'_> {
    fn differences(&self, layer: usize) -> Option<Vec<String>> {
        let file_layer = &self.file_layers[layer];
        if file_layer.specs.is_empty() {
            return Some(Vec::new());
        }
        let (_, arranged) = self.arranged(layer)?;
        let order = legacy_order(file_layer);
        Some(compare(&file_layer.name, order.iter().map(|index| &file_layer.specs[*index]), &arranged.shapes))
    }

    fn unexpected(&self) -> Vec<String> {
        let wanted: BTreeSet<&str> = self.layers.iter().flatten().map(|layer| layer.name.as_str()).collect();
        let others = self.file.layers().iter().filter(|layer| !layer.weights.is_empty());
        others
            .filter(|layer| !wanted.contains(layer.name.as_str()))
            .map(|layer| format!("layer `{}`: unexpected, with {} weights", layer.name, layer.weights.len()))
            .collect()
    }

    fn read(&self, layer: usize) -> Result<Vec<Array>> {
        let file_layer = &self.file_layers[layer];
        let (Some(found), Some((shapes, arranged))) = (self.layers[layer], self.arranged(layer)) else {
            return Ok(Vec::new());
        };
        let own = arranged.make(self.file.read(&found.name, &shapes)?)?;
        let mut arrays: Vec<(usize, Array)> = legacy_order(file_layer).into_iter().zip(own).collect();
        arrays.sort_by_key(|(index, _)| *index);
        Ok(arrays.into_iter().map(|(_, array)| array).collect())
    }

    fn optimizer_shapes(&self) -> Result<Vec<Vec<usize>>> {
        let stored = self.file.optimizer();
        // Before TensorFlow 2.11 the variables were in another order.
        if stored.first().is_some_and(|first| first.name.ends_with("iter:0")) {
            tracing::warn!("the optimizer's state is in the order of TensorFlow before 2.11 and is left out");
            return Ok(Vec::new());
        }
        if let Some(fault) = self.file.optimizer_fault() {
            tracing::warn!("the optimizer's state is left out: {fault}");
        }
        Ok(stored.iter().map(|weight| weight.shape.clone()).collect())
    }

    fn read_optimizer(&self, shapes: &[Vec<usize>]) -> Result<Vec<Array>> {
        self.file.read_optimizer(shapes)
    }

    fn limits(&self) -> &Limits {
        self.file.limits()
    }
}
