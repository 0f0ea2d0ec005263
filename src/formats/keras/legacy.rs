//! The older `.h5` file of Keras 1 to 3: configuration in attributes, weights by layer name.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::Path;

use hdf5_pure::AttrValue;
use serde_json::Value;

use super::hdf5::Reader;
use super::json::{self, to_python_json};
use super::limits::Limits;
use super::node::Node;
use super::weights::{WriteFault, differences};
use super::{dataset, name_of};
use crate::error::{Error, Result};
use crate::formats::array::Array;
use crate::formats::atomic::write_atomically;

const MODEL_WEIGHTS: &str = "model_weights";
const OPTIMIZER_WEIGHTS: &str = "optimizer_weights";

/// An attribute lives in an object header of at most 64 KiB, and a text in it takes a 16 byte reference.
/// Keras splits longer lists too, and reads them back at any length.
const NAMES_PER_ATTRIBUTE: usize = 4000;

/// A weight of an older `.h5` file, without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyWeight {
    /// Its name there: `sequential/dense/kernel` (Keras 3), `dense/kernel:0` (Keras 2).
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// A layer of an older `.h5` file, without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyLayer {
    /// The layer's name.
    pub name: String,
    /// Its weights in Keras's order: trainable ones first. Empty for a layer that has none.
    pub weights: Vec<LegacyWeight>,
}

/// An older `.h5` file that has been opened: its JSON and the list of its weights are read, their data waits.
///
/// Keras matches such a file with a model by order: the layers with weights, one after the other.
#[derive(Debug)]
pub struct LegacyFile {
    reader: Reader,
    /// Where the layers are: `model_weights`, or the root of a file that holds weights alone.
    root: &'static str,
    keras_version: Option<String>,
    model_config: Option<Value>,
    training_config: Option<Value>,
    layers: Vec<LegacyLayer>,
    optimizer: Vec<LegacyWeight>,
}

/// Whether an HDF5 file is of this kind, rather than a `.weights.h5` file.
pub(super) fn is_legacy(reader: &Reader) -> Result<bool> {
    let attributes = reader.attributes("/", &reader.root())?;
    let named = ["model_config", "layer_names", "layer_names0"].iter().any(|name| attributes.contains_key(*name));
    Ok(named || reader.group(MODEL_WEIGHTS)?.is_some())
}

impl LegacyFile {
    /// Opens a file that `model.save("….h5")` or, in Keras 2, `model.save_weights("….h5")` wrote.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Broken`] if it is damaged or no such file,
    /// [`Error::Unsupported`] if it exceeds `limits`.
    pub fn open(path: impl AsRef<Path>, limits: &Limits) -> Result<Self> {
        Self::from_reader(Reader::open(path.as_ref(), limits)?)
    }

    /// Takes the bytes of such a file; `name` is what messages call it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(name: impl AsRef<Path>, bytes: Vec<u8>, limits: &Limits) -> Result<Self> {
        Self::from_reader(Reader::from_bytes(name_of(name.as_ref()), bytes, limits)?)
    }

    pub(super) fn from_reader(reader: Reader) -> Result<Self> {
        let attributes = reader.attributes("/", &reader.root())?;
        let text = |name: &str| attributes.get(name).and_then(|value| value.as_str());
        let json = |name: &str| -> Result<Option<Value>> {
            let Some(text) = text(name) else { return Ok(None) };
            if text.len() as u64 > reader.limits().json_bytes {
                return Err(Error::unsupported(
                    format!("{name} of `{}` with its {} bytes", reader.name(), text.len()),
                    format!("up to {} (`Limits::json_bytes`)", reader.limits().json_bytes),
                ));
            }
            json::parse(reader.name(), name, text.as_bytes()).map(Some)
        };
        let (model_config, training_config) = (json("model_config")?, json("training_config")?);

        let root = if reader.group(MODEL_WEIGHTS)?.is_some() { MODEL_WEIGHTS } else { "" };
        let mut left = reader.limits().objects;
        let layers = list_layers(&reader, root, &mut left)?;
        let optimizer = match reader.group(OPTIMIZER_WEIGHTS)? {
            Some(_) => list_weights(&reader, OPTIMIZER_WEIGHTS, &mut left)?,
            None => Vec::new(),
        };
        let mut keras_version = text("keras_version").map(str::to_owned);
        if keras_version.is_none() && !root.is_empty() {
            let attributes = names_at(&reader, root)?;
            keras_version = attributes.get("keras_version").and_then(|value| value.as_str()).map(str::to_owned);
        }
        Ok(Self { root, keras_version, model_config, training_config, layers, optimizer, reader })
    }

    /// The budgets that the file was opened with.
    pub(crate) fn limits(&self) -> &Limits {
        self.reader.limits()
    }

    /// The version of Keras that wrote the file.
    pub fn keras_version(&self) -> Option<&str> {
        self.keras_version.as_deref()
    }

    /// The model; `None` in a file that holds weights alone.
    pub fn model_config(&self) -> Option<&Value> {
        self.model_config.as_ref()
    }

    /// How the model was compiled, if it was.
    pub fn training_config(&self) -> Option<&Value> {
        self.training_config.as_ref()
    }

    /// All layers in the model's order, the ones without weights included.
    pub fn layers(&self) -> &[LegacyLayer] {
        &self.layers
    }

    /// The optimizer's variables in its order; empty if they were not saved.
    pub fn optimizer(&self) -> &[LegacyWeight] {
        &self.optimizer
    }

    /// The weights of a layer, which must have exactly the expected shapes.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`]; [`Error::Weights`] with a line for each thing that does not fit; and as
    /// [`WeightsFile::read`](super::WeightsFile::read) for what can be wrong with the data.
    pub fn read(&self, layer: &str, expected: &[Vec<usize>]) -> Result<Vec<Array>> {
        let found = self.layers.iter().find(|found| found.name == layer).ok_or_else(|| Error::NoSuchLayer {
            wanted: format!("`{layer}` in `{}`", self.reader.name()),
            existing: self.layers.iter().map(|layer| layer.name.clone()).collect(),
        })?;
        let group = if self.root.is_empty() { layer.to_owned() } else { format!("{}/{layer}", self.root) };
        self.read_weights(&group, layer, &found.weights, expected)
    }

    /// The optimizer's variables, which must have exactly the expected shapes.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_optimizer(&self, expected: &[Vec<usize>]) -> Result<Vec<Array>> {
        self.read_weights(OPTIMIZER_WEIGHTS, "optimizer", &self.optimizer, expected)
    }

    fn read_weights(
        &self,
        group: &str,
        called: &str,
        weights: &[LegacyWeight],
        expected: &[Vec<usize>],
    ) -> Result<Vec<Array>> {
        let found: Vec<_> = weights.iter().map(|weight| weight.shape.clone()).collect();
        let problems = differences(called, expected, &found);
        if !problems.is_empty() {
            return Err(Error::Weights { problems });
        }
        // Many names can stand for the same bytes, so the size of the file is no bound.
        dataset::check_total(&self.reader, expected.iter())?;
        let read = |(weight, shape): (&LegacyWeight, &Vec<usize>)| {
            let path = format!("{group}/{}", weight.name);
            let found = self.reader.dataset(&path)?.ok_or_else(|| self.reader.broken(&path, "it is missing"))?;
            dataset::read(&self.reader, &found, &path, shape)
        };
        weights.iter().zip(expected).map(read).collect()
    }
}

fn list_layers(reader: &Reader, root: &str, left: &mut usize) -> Result<Vec<LegacyLayer>> {
    let attributes = names_at(reader, root)?;
    let names =
        split_names(&attributes, "layer_names").ok_or_else(|| reader.broken(root, "it has no list of layers"))?;
    let mut seen = HashSet::new();
    let mut layers = Vec::new();
    for name in names {
        if !seen.insert(name.clone()) {
            return Err(reader.broken(root, format!("two layers are called `{name}`")));
        }
        let group = if root.is_empty() { name.clone() } else { format!("{root}/{name}") };
        layers.push(LegacyLayer { weights: list_weights(reader, &group, left)?, name });
    }
    Ok(layers)
}

/// The weights that a group lists, with their declared shapes.
fn list_weights(reader: &Reader, group: &str, left: &mut usize) -> Result<Vec<LegacyWeight>> {
    let attributes = names_at(reader, group)?;
    let names =
        split_names(&attributes, "weight_names").ok_or_else(|| reader.broken(group, "it has no list of weights"))?;
    *left = left.checked_sub(names.len() + 1).ok_or_else(|| {
        Error::unsupported(
            format!("the number of layers and weights in `{}`", reader.name()),
            format!("up to {} (`Limits::objects`)", reader.limits().objects),
        )
    })?;
    names
        .into_iter()
        .map(|name| {
            let path = format!("{group}/{name}");
            let found = reader.dataset(&path)?.ok_or_else(|| reader.broken(&path, "it is listed and missing"))?;
            Ok(LegacyWeight { shape: dataset::shape_of(reader, &found, &path)?, name })
        })
        .collect()
}

/// The attributes of a group that has to be there.
fn names_at(reader: &Reader, path: &str) -> Result<HashMap<String, AttrValue>> {
    let group = reader.group(path)?.ok_or_else(|| reader.broken(path, "the group is missing"))?;
    reader.attributes(path, &group)
}

/// A list of names, whole (`layer_names`) or in parts (`layer_names0`, `layer_names1`, …).
fn split_names(attributes: &HashMap<String, AttrValue>, name: &str) -> Option<Vec<String>> {
    if let Some(value) = attributes.get(name) {
        return texts(value);
    }
    let mut names = Vec::new();
    for part in 0.. {
        match attributes.get(&format!("{name}{part}")) {
            Some(value) => names.extend(texts(value)?),
            None if part == 0 => return None,
            None => break,
        }
    }
    Some(names)
}

/// The texts of a value. An empty list has lost its type on the way through NumPy: it is one of numbers.
fn texts(value: &AttrValue) -> Option<Vec<String>> {
    match value {
        AttrValue::F64Array(values) if values.is_empty() => Some(Vec::new()),
        value => value.as_strings().map(<[String]>::to_vec),
    }
}

/// What an older `.h5` file is made of, to be written with [`write_legacy_h5`].
#[derive(Debug, Clone, PartialEq)]
pub struct LegacyModel {
    /// The version of Keras whose rules the configuration follows, such as `3.0.0`.
    pub keras_version: String,
    /// The backend that Keras would name: `tensorflow`, `jax` or `torch`. Readers do not depend on it.
    pub backend: String,
    /// The model; `null` for a file of weights alone, as Keras 2 made with `save_weights`.
    pub model_config: Value,
    /// How it was compiled, if it was.
    pub training_config: Option<Value>,
    /// Each layer's name and its weights by name, in the model's order, the layers without weights included.
    pub layers: Vec<(String, Vec<(String, Array)>)>,
    /// The optimizer's variables by name, in its order; none if it has not been built.
    pub optimizer: Vec<(String, Array)>,
}

/// Writes an older `.h5` file, whole or not at all.
///
/// # Errors
/// [`Error::Argument`] if a name cannot be one in such a file or is there twice; [`Error::Io`] if the file cannot be
/// written.
pub fn write_legacy_h5(path: impl AsRef<Path>, model: &LegacyModel) -> Result<()> {
    let path = path.as_ref();
    write_atomically(path, |file| write(file, model).map_err(|fault| fault.about(path)))
}

/// Writes the content of an older `.h5` file to `sink`; `path` is what messages call it.
///
/// # Errors
/// As [`write_legacy_h5`].
pub fn write_legacy_h5_to(sink: impl Write, path: impl AsRef<Path>, model: &LegacyModel) -> Result<()> {
    write(sink, model).map_err(|fault| fault.about(path.as_ref()))
}

fn write(sink: impl Write, model: &LegacyModel) -> Result<(), WriteFault> {
    let mut root = Node::default();
    let text = |text: &str| AttrValue::VarLenString(text.to_owned());
    let alone = model.model_config.is_null();
    if !alone {
        root.set("keras_version", text(&model.keras_version));
        root.set("backend", text(&model.backend));
        root.set("model_config", AttrValue::VarLenAsciiString(to_python_json(&model.model_config)));
    }
    if let Some(config) = &model.training_config {
        root.set("training_config", AttrValue::VarLenAsciiString(to_python_json(config)));
    }
    let weights = root.group(if alone { "" } else { MODEL_WEIGHTS })?;
    weights.set("keras_version", text(&model.keras_version));
    weights.set("backend", text(&model.backend));
    set_names(weights, "layer_names", model.layers.iter().map(|(name, _)| name));
    for (name, arrays) in &model.layers {
        put_weights(weights.group(name)?, arrays)?;
    }
    // The model's own variables, outside any layer: a Sequential model has none, and Keras looks for the group.
    put_weights(weights.group("top_level_model_weights")?, &[])?;
    if !model.optimizer.is_empty() {
        put_weights(root.group(OPTIMIZER_WEIGHTS)?, &model.optimizer)?;
    }
    Ok(root.write(sink)?)
}

fn put_weights<'a>(group: &mut Node<'a>, arrays: &'a [(String, Array)]) -> Result<()> {
    set_names(group, "weight_names", arrays.iter().map(|(name, _)| name));
    arrays.iter().try_for_each(|(name, array)| group.put(name, array))
}

fn set_names<'a>(group: &mut Node, attribute: &str, names: impl Iterator<Item = &'a String>) {
    let names: Vec<_> = names.cloned().collect();
    if names.is_empty() {
        // What Keras writes: NumPy gives an empty list the type of numbers.
        group.set(attribute, AttrValue::F64Array(Vec::new()));
    } else if names.len() <= NAMES_PER_ATTRIBUTE {
        group.set(attribute, AttrValue::VarLenStringArray(names));
    } else {
        for (part, names) in names.chunks(NAMES_PER_ATTRIBUTE).enumerate() {
            group.set(format!("{attribute}{part}"), AttrValue::VarLenStringArray(names.to_vec()));
        }
    }
}
