//! The legacy `.h5` file of Keras 1 to 3: configuration in attributes, weights by layer name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::path::Path;

use hdf5_pure::{AttrValue, Dataset, Group};
use serde_json::Value;

use super::hdf5::Hdf5Reader;
use super::json::{self, to_python_json};
use super::limits::Limits;
use super::node::GroupNode;
use super::weights::{WriteFault, differences};
use super::{dataset, name_of};
use crate::error::{Error, Result};
use crate::formats::array::Array;
use crate::formats::atomic::write_atomically;

const MODEL_WEIGHTS: &str = "model_weights";
const OPTIMIZER_WEIGHTS: &str = "optimizer_weights";
/// The model's data info.
const INFO: &str = "brasa";

/// Attributes are stored in an object header of at most 64 KiB, in which a text takes a 16-byte reference. Keras splits
/// longer lists too, and reads them in any number of parts.
const NAMES_PER_ATTRIBUTE: usize = 4000;

/// A weight of a legacy `.h5` file, without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyWeight {
    /// Its name in the file: `sequential/dense/kernel` (Keras 3), `dense/kernel:0` (Keras 2).
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// A layer of a legacy `.h5` file, without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyLayer {
    /// The layer's name.
    pub name: String,
    /// Its weights in Keras's order: trainable ones first. Empty for a layer without weights.
    pub weights: Vec<LegacyWeight>,
}

/// An open legacy `.h5` file: its JSON and the list of its weights are read; their data are read on demand.
///
/// Keras matches such a file with a model by order: the layers with weights, one after another.
#[derive(Debug)]
pub struct LegacyFile {
    reader: Hdf5Reader,
    /// The path of the layers: `model_weights`, or the root of a weights-only file.
    root: &'static str,
    keras_version: Option<String>,
    model_config: Option<Value>,
    training_config: Option<Value>,
    info: Option<Value>,
    layers: Vec<LegacyLayer>,
    optimizer: Vec<LegacyWeight>,
    /// The data of every listed weight, by its path.
    datasets: HashMap<String, Dataset>,
    /// The reason why the optimizer's variables are unusable, if they are damaged.
    optimizer_fault: Option<String>,
}

/// Whether an HDF5 file is of this format, rather than a `.weights.h5` file.
pub(super) fn is_legacy(reader: &Hdf5Reader) -> Result<bool> {
    let attributes = reader.attributes("/", &reader.root())?;
    let named = ["model_config", "layer_names", "layer_names0"].iter().any(|name| attributes.contains_key(*name));
    Ok(named || reader.group(MODEL_WEIGHTS)?.is_some())
}

impl LegacyFile {
    /// Opens a file written by `model.save("….h5")` or, in Keras 2, `model.save_weights("….h5")`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Broken`] if it is damaged or of another format,
    /// [`Error::Unsupported`] if it exceeds `limits`.
    pub fn open(path: impl AsRef<Path>, limits: &Limits) -> Result<Self> {
        Self::from_reader(Hdf5Reader::open(path.as_ref(), limits)?)
    }

    /// Opens the bytes of such a file; `name` is its name in messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(name: impl AsRef<Path>, bytes: Vec<u8>, limits: &Limits) -> Result<Self> {
        Self::from_reader(Hdf5Reader::from_bytes(name_of(name.as_ref()), bytes, limits)?)
    }

    pub(super) fn from_reader(reader: Hdf5Reader) -> Result<Self> {
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
            json::parse(reader.name(), name, text.as_bytes(), reader.limits()).map(Some)
        };
        let (model_config, training_config) = (json("model_config")?, json("training_config")?);
        let info = json(INFO)?;

        let root = if reader.group(MODEL_WEIGHTS)?.is_some() { MODEL_WEIGHTS } else { "" };
        let mut keras_version = text("keras_version").map(str::to_owned);
        let mut index = Index::new(&reader);
        let attributes = index.attributes(root)?;
        let layers = list_layers(&mut index, root, &attributes)?;
        // The model is complete without them.
        let optimizer = reader.group(OPTIMIZER_WEIGHTS).and_then(|group| match group {
            Some(_) => list_weights(&mut index, OPTIMIZER_WEIGHTS),
            None => Ok(Vec::new()),
        });
        let (optimizer, optimizer_fault) = match optimizer {
            Ok(optimizer) => (optimizer, None),
            Err(error @ Error::Broken { .. }) => (Vec::new(), Some(error.to_string())),
            Err(error) => return Err(error),
        };
        let datasets = index.found;
        if keras_version.is_none() && !root.is_empty() {
            keras_version = attributes.get("keras_version").and_then(|value| value.as_str()).map(str::to_owned);
        }
        Ok(Self {
            root,
            keras_version,
            model_config,
            training_config,
            info,
            layers,
            optimizer,
            optimizer_fault,
            datasets,
            reader,
        })
    }

    /// The model's data info, if present.
    pub fn info(&self) -> Option<&Value> {
        self.info.as_ref()
    }

    /// Moves out the configurations of the model and of `compile`.
    pub(crate) fn take_configs(&mut self) -> (Option<Value>, Option<Value>) {
        (self.model_config.take(), self.training_config.take())
    }

    /// The limits that the file was opened with.
    pub(crate) fn limits(&self) -> &Limits {
        self.reader.limits()
    }

    /// The version of Keras that wrote the file.
    pub fn keras_version(&self) -> Option<&str> {
        self.keras_version.as_deref()
    }

    /// The model; `None` in a weights-only file.
    pub fn model_config(&self) -> Option<&Value> {
        self.model_config.as_ref()
    }

    /// The compile configuration, if the model was compiled.
    pub fn training_config(&self) -> Option<&Value> {
        self.training_config.as_ref()
    }

    /// All layers in the model's order, including those without weights.
    pub fn layers(&self) -> &[LegacyLayer] {
        &self.layers
    }

    /// The optimizer's variables in its order; empty if they were not saved, or are damaged.
    pub fn optimizer(&self) -> &[LegacyWeight] {
        &self.optimizer
    }

    /// The error about the optimizer's variables, if they are damaged.
    pub fn optimizer_fault(&self) -> Option<&str> {
        self.optimizer_fault.as_deref()
    }

    /// The weights of a layer, which must have exactly the expected shapes.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`]; [`Error::Weights`] with a line for each mismatch; and the errors of
    /// [`WeightsFile::read`](super::WeightsFile::read) about the data.
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
        // Many names can refer to the same bytes, so the size of the file is no bound.
        dataset::check_total(&self.reader, expected.iter())?;
        let read = |(weight, shape): (&LegacyWeight, &Vec<usize>)| {
            let path = path_of(group, &weight.name);
            let found = self.datasets.get(&path).ok_or_else(|| self.reader.broken(&path, "it is missing"))?;
            dataset::read(&self.reader, found, &path, shape)
        };
        weights.iter().zip(expected).map(read).collect()
    }
}

/// A cache of the members of groups. Each lookup by path would visit all siblings.
struct Index<'a> {
    reader: &'a Hdf5Reader,
    /// Groups by path, each with its members by name; `None` for a path without a group.
    groups: HashMap<String, Option<Members>>,
    /// The number of members that can still be listed.
    left: usize,
    /// The datasets looked up so far, by path.
    found: HashMap<String, Dataset>,
}

struct Members {
    attributes: HashMap<String, AttrValue>,
    groups: BTreeMap<String, Group>,
    datasets: BTreeMap<String, Dataset>,
}

impl<'a> Index<'a> {
    fn new(reader: &'a Hdf5Reader) -> Self {
        Self { reader, groups: HashMap::new(), left: reader.limits().objects, found: HashMap::new() }
    }

    /// The members of a group, if it exists.
    fn members(&mut self, path: &str) -> Result<Option<&mut Members>> {
        if !self.groups.contains_key(path) {
            let group = match path.rsplit_once('/') {
                _ if path.is_empty() => Some(self.reader.root()),
                None => self.members("")?.and_then(|members| members.groups.remove(path)),
                Some((above, name)) => self.members(above)?.and_then(|members| members.groups.remove(name)),
            };
            let members = group.map(|group| self.list(path, &group)).transpose()?;
            self.groups.insert(path.to_owned(), members);
        }
        Ok(self.groups.get_mut(path).and_then(Option::as_mut))
    }

    fn list(&mut self, path: &str, group: &Group) -> Result<Members> {
        let attributes = self.reader.attributes(path, group)?;
        let groups: BTreeMap<_, _> = self.reader.call(path, || Ok(group.iter_groups()?.collect()))?;
        let datasets: BTreeMap<_, _> = self.reader.call(path, || Ok(group.iter_datasets()?.collect()))?;
        self.left = self.left.checked_sub(groups.len() + datasets.len() + 1).ok_or_else(|| {
            Error::unsupported(
                format!("the number of layers and weights in `{}`", self.reader.name()),
                format!("up to {} (`Limits::objects`)", self.reader.limits().objects),
            )
        })?;
        Ok(Members { attributes, groups, datasets })
    }

    /// The attributes of a group that must exist.
    fn attributes(&mut self, path: &str) -> Result<HashMap<String, AttrValue>> {
        let reader = self.reader;
        let members = self.members(path)?.ok_or_else(|| reader.broken(path, "the group is missing"))?;
        Ok(std::mem::take(&mut members.attributes))
    }

    /// The shape of the dataset at a path, if it exists.
    fn shape(&mut self, path: &str) -> Result<Option<Vec<usize>>> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(found) = self.members(above)?.and_then(|members| members.datasets.remove(name)) else {
            return Ok(None);
        };
        let shape = dataset::shape_of(self.reader, &found, path)?;
        self.found.insert(path.to_owned(), found);
        Ok(Some(shape))
    }
}

fn list_layers(index: &mut Index, root: &str, attributes: &HashMap<String, AttrValue>) -> Result<Vec<LegacyLayer>> {
    let reader = index.reader;
    let names =
        split_names(attributes, "layer_names").ok_or_else(|| reader.broken(root, "it has no list of layers"))?;
    if names.len() > reader.limits().layers {
        return Err(Error::unsupported(
            format!("the {} layers of `{}`", names.len(), reader.name()),
            format!("up to {} (`Limits::layers`)", reader.limits().layers),
        ));
    }
    check_names(reader, root, "layers", &names)?;
    let mut layers = Vec::new();
    for name in names {
        let group = if root.is_empty() { name.clone() } else { format!("{root}/{name}") };
        layers.push(LegacyLayer { weights: list_weights(index, &group)?, name });
    }
    Ok(layers)
}

/// The weights listed by a group, with their declared shapes.
fn list_weights(index: &mut Index, group: &str) -> Result<Vec<LegacyWeight>> {
    let reader = index.reader;
    let attributes = index.attributes(group)?;
    let names =
        split_names(&attributes, "weight_names").ok_or_else(|| reader.broken(group, "it has no list of weights"))?;
    check_names(reader, group, "weights", &names)?;
    names
        .into_iter()
        .map(|name| {
            let path = path_of(group, &name);
            let shape = index.shape(&path)?.ok_or_else(|| reader.broken(&path, "it is listed and missing"))?;
            Ok(LegacyWeight { shape, name })
        })
        .collect()
}

/// Rejects duplicate names, which would refer to the same bytes, and invalid ones.
fn check_names(reader: &Hdf5Reader, at: &str, kind: &str, names: &[String]) -> Result<()> {
    let mut seen = HashSet::new();
    for name in names {
        reader.check_name(at, name)?;
        if !seen.insert(name.as_str()) {
            return Err(reader.broken(at, format!("two {kind} are called `{name}`")));
        }
    }
    Ok(())
}

/// The path of a group's weight: below the group, or below the root for a name that begins with `/`, as in HDF5. Keras
/// on Theano named the optimizer's counter `/iterations`.
fn path_of(group: &str, name: &str) -> String {
    match name.strip_prefix('/') {
        Some(absolute) => absolute.to_owned(),
        None => format!("{group}/{name}"),
    }
}

/// A list of names, in one attribute (`layer_names`) or split (`layer_names0`, `layer_names1`, …).
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

/// The texts of a value. NumPy turns an empty list into one of floats.
fn texts(value: &AttrValue) -> Option<Vec<String>> {
    match value {
        AttrValue::F64Array(values) if values.is_empty() => Some(Vec::new()),
        value => value.as_strings().map(<[String]>::to_vec),
    }
}

/// The contents of a legacy `.h5` file for [`write_legacy_h5`].
#[derive(Debug, Clone, PartialEq)]
pub struct LegacyModel {
    /// The version of Keras that the configuration follows, such as `3.0.0`.
    pub keras_version: String,
    /// The backend to record: `tensorflow`, `jax` or `torch`. Readers do not depend on it.
    pub backend: String,
    /// The model; `null` for a weights-only file, as written by `save_weights` in Keras 2.
    pub model_config: Value,
    /// The compile configuration, if the model was compiled.
    pub training_config: Option<Value>,
    /// Each layer's name and its weights by name, in the model's order, including layers without weights.
    pub layers: Vec<(String, Vec<(String, Array)>)>,
    /// The optimizer's variables by name, in its order; empty if it has not been built.
    pub optimizer: Vec<(String, Array)>,
    /// The model's data info, if any: an attribute that Keras ignores.
    pub info: Option<Value>,
}

/// Writes a legacy `.h5` file atomically.
///
/// # Errors
/// [`Error::Argument`] if a name is invalid or duplicate; [`Error::Io`] if the file cannot be written.
pub fn write_legacy_h5(path: impl AsRef<Path>, model: &LegacyModel) -> Result<()> {
    let path = path.as_ref();
    write_atomically(path, |file| write(file, model).map_err(|fault| fault.about(path)))
}

/// Writes the content of a legacy `.h5` file to `sink`; `path` is the file's name in messages.
///
/// # Errors
/// As [`write_legacy_h5`].
pub fn write_legacy_h5_to(sink: impl Write, path: impl AsRef<Path>, model: &LegacyModel) -> Result<()> {
    write(sink, model).map_err(|fault| fault.about(path.as_ref()))
}

fn write(sink: impl Write, model: &LegacyModel) -> Result<(), WriteFault> {
    let mut root = GroupNode::default();
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
    if let Some(info) = &model.info {
        root.set(INFO, AttrValue::VarLenAsciiString(to_python_json(info)));
    }
    let weights = root.group(if alone { "" } else { MODEL_WEIGHTS })?;
    weights.set("keras_version", text(&model.keras_version));
    weights.set("backend", text(&model.backend));
    set_names(weights, "layer_names", model.layers.iter().map(|(name, _)| name));
    for (name, arrays) in &model.layers {
        put_weights(weights.group(name)?, arrays)?;
    }
    // The model's own variables, outside any layer: a Sequential model has none, but Keras requires the group.
    put_weights(weights.group("top_level_model_weights")?, &[])?;
    if !model.optimizer.is_empty() {
        put_weights(root.group(OPTIMIZER_WEIGHTS)?, &model.optimizer)?;
    }
    Ok(root.write(sink)?)
}

fn put_weights<'a>(group: &mut GroupNode<'a>, arrays: &'a [(String, Array)]) -> Result<()> {
    set_names(group, "weight_names", arrays.iter().map(|(name, _)| name));
    arrays.iter().try_for_each(|(name, array)| group.put(name, array))
}

fn set_names<'a>(group: &mut GroupNode, attribute: &str, names: impl Iterator<Item = &'a String>) {
    let names: Vec<_> = names.cloned().collect();
    if names.is_empty() {
        // As in Keras: NumPy gives an empty list a float type.
        group.set(attribute, AttrValue::F64Array(Vec::new()));
    } else if names.len() <= NAMES_PER_ATTRIBUTE {
        group.set(attribute, AttrValue::VarLenStringArray(names));
    } else {
        for (part, names) in names.chunks(NAMES_PER_ATTRIBUTE).enumerate() {
            group.set(format!("{attribute}{part}"), AttrValue::VarLenStringArray(names.to_vec()));
        }
    }
}
