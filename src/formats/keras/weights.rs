//! The weights of a model as Keras 3 stores them: a tree with one group per layer, matched by structure and not by
//! name.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;

use hdf5_pure::{AttrValue, Dataset, Group};

use super::hdf5::Hdf5Reader;
use super::limits::{GROUP_DEPTH, Limits};
use super::node::{GroupNode, check_name};
use super::{dataset, name_of};
use crate::error::{Error, Result};
use crate::formats::array::{Array, shape_text};
use crate::formats::atomic::write_atomically;

/// The group that holds a layer's own variables.
const VARS: &str = "vars";

/// The group of a model's layers.
const LAYERS: &str = "layers";

/// The name of `layers` in Keras 2.13.
const LAYERS_OF_2_13: &str = "_layer_checkpoint_dependencies";

/// The group of the optimizer's variables.
const OPTIMIZER: &str = "optimizer";

/// The current form of a group's name. Keras 2.15 and 2.16 on Windows merged several groups into one, with backslashes
/// in its name: `layers\dense`.
fn today(name: &str) -> String {
    let parts = name.split('\\').map(|part| if part == LAYERS_OF_2_13 { LAYERS } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// The first of the groups in a merged name.
fn first(name: &str) -> &str {
    name.split('\\').next().unwrap_or(name)
}

/// The own variables of a layer, optimizer or other part of a model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Vars {
    /// The name of the layer, which Keras writes and never reads.
    pub name: Option<String>,
    /// The variables, in Keras's order.
    pub arrays: Vec<Array>,
    /// Variables that have a name instead of a number.
    pub named: Vec<(String, Array)>,
}

/// All weights of a model: group path → variables.
///
/// A path consists of class names, not layer names: `layers/conv2d`, `layers/conv2d_1`,
/// `layers/bidirectional/forward_layer/cell`, `optimizer`; `""` is the model itself. Parts without variables (pooling,
/// `Flatten`, the model itself) belong in the tree too: Keras before 3.4 does not load a file without them.
///
/// ```
/// use brasa::formats::{Array, keras::WeightTree};
/// let mut tree = WeightTree::new();
/// tree.insert("", "sequential", vec![])?;
/// tree.insert("layers/dense", "dense", vec![Array::new([1, 2], vec![0.5f32, 0.25])?])?;
/// assert_eq!(tree.get("layers/dense").unwrap().arrays[0].shape(), [1, 2]);
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WeightTree {
    groups: BTreeMap<String, Vars>,
    /// Further members of a `.keras` archive by name: the vocabularies of layers.
    assets: BTreeMap<String, String>,
}

impl WeightTree {
    /// A tree without groups.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a group, replacing any at the same path.
    ///
    /// # Errors
    /// [`Error::Argument`] if the path does not consist of names joined by `/`.
    pub fn insert(&mut self, path: impl Into<String>, name: impl Into<String>, arrays: Vec<Array>) -> Result<()> {
        let path = path.into();
        for part in path.split('/').filter(|_| !path.is_empty()) {
            check_name(&path, part)?;
        }
        self.groups.insert(path, Vars { name: Some(name.into()), arrays, named: Vec::new() });
        Ok(())
    }

    /// Adds a named variable to an existing group.
    ///
    /// # Errors
    /// [`Error::Argument`] if the group does not exist, or for an invalid name.
    pub(crate) fn insert_named(&mut self, path: &str, name: &str, array: Array) -> Result<()> {
        check_name(path, name)?;
        let group = self.groups.get_mut(path);
        let group = group.ok_or_else(|| Error::argument("path", "a group of the tree", path))?;
        group.named.push((name.to_owned(), array));
        Ok(())
    }

    /// Adds a text to be stored as a member of a `.keras` archive.
    pub(crate) fn insert_asset(&mut self, member: String, text: String) {
        self.assets.insert(member, text);
    }

    /// These texts, by the names of their members.
    pub(super) fn assets(&self) -> impl Iterator<Item = (&String, &String)> {
        self.assets.iter()
    }

    /// The variables at a path.
    pub fn get(&self, path: &str) -> Option<&Vars> {
        self.groups.get(path)
    }

    /// Every path with its variables, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Vars)> {
        self.groups.iter().map(|(path, vars)| (path.as_str(), vars))
    }

    /// The number of values that are infinite or NaN, by path and index; empty if all are finite.
    pub fn non_finite(&self) -> Vec<(String, usize)> {
        let arrays = self.iter().flat_map(|(path, vars)| {
            vars.arrays.iter().enumerate().map(move |(index, array)| (format!("{path}/{VARS}/{index}"), array))
        });
        arrays.map(|(at, array)| (at, array.non_finite())).filter(|(_, count)| *count > 0).collect()
    }

    /// Writes the tree as an HDF5 file.
    pub(super) fn write(&self, sink: impl Write) -> Result<(), WriteFault> {
        let mut root = GroupNode::default();
        for (path, vars) in self.iter() {
            let node = root.group(path)?.group(VARS)?;
            if let Some(name) = &vars.name {
                node.set("name", AttrValue::VarLenString(name.clone()));
            }
            for (index, array) in vars.arrays.iter().enumerate() {
                node.put(&index.to_string(), array)?;
            }
            for (name, array) in &vars.named {
                node.put(name, array)?;
            }
        }
        Ok(root.write(sink)?)
    }
}

/// The reason why writing stopped: the tree is not writable, or the disk did not accept it.
pub(super) enum WriteFault {
    Tree(Error),
    Sink(std::io::Error),
}

impl From<Error> for WriteFault {
    fn from(error: Error) -> Self {
        Self::Tree(error)
    }
}

impl From<std::io::Error> for WriteFault {
    fn from(error: std::io::Error) -> Self {
        Self::Sink(error)
    }
}

impl WriteFault {
    /// The fault as an error about the file being written.
    pub(super) fn about(self, path: &Path) -> Error {
        match self {
            Self::Tree(error) => error,
            Self::Sink(error) => Error::io("write", path)(error),
        }
    }
}

/// Writes weights atomically as a `.weights.h5` file.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn write_weights_h5(path: impl AsRef<Path>, weights: &WeightTree) -> Result<()> {
    let path = path.as_ref();
    write_atomically(path, |file| weights.write(file).map_err(|fault| fault.about(path)))
}

/// Writes the content of a `.weights.h5` file to `sink`; `path` is what messages call it.
///
/// # Errors
/// [`Error::Io`] with what the sink returned.
pub fn write_weights_h5_to(sink: impl Write, path: impl AsRef<Path>, weights: &WeightTree) -> Result<()> {
    weights.write(sink).map_err(|fault| fault.about(path.as_ref()))
}

/// The declared contents of one group, without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The layer's name written by Keras.
    pub name: Option<String>,
    /// The variables in order, by name and shape. All built-in layers number theirs (`0`, `1`, …), and only those can
    /// be read.
    pub variables: Vec<(String, Vec<usize>)>,
}

impl Listed {
    /// Shapes of the variables, in order.
    pub fn shapes(&self) -> Vec<Vec<usize>> {
        self.variables.iter().map(|(_, shape)| shape.clone()).collect()
    }
}

/// The weights in a `.weights.h5` file or an archive; read group by group, each with its expected shapes.
#[derive(Debug)]
pub struct WeightsFile {
    reader: Hdf5Reader,
    /// All groups, once listed: each lookup by path would visit all siblings.
    groups: OnceLock<BTreeMap<String, FoundGroup>>,
}

/// A group's declared contents, and its datasets in the same order.
type FoundGroup = (Listed, Vec<Dataset>);

impl WeightsFile {
    /// Opens a `.weights.h5` file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Broken`] if it is not an HDF5 file or damaged,
    /// [`Error::Unsupported`] if it exceeds `limits`.
    pub fn open(path: impl AsRef<Path>, limits: &Limits) -> Result<Self> {
        Ok(Self::from_reader(Hdf5Reader::open(path.as_ref(), limits)?))
    }

    /// Opens the bytes of such a file; `name` is its name in messages.
    ///
    /// # Errors
    /// [`Error::Broken`] if they are not an HDF5 file.
    pub fn from_bytes(name: impl AsRef<Path>, bytes: Vec<u8>, limits: &Limits) -> Result<Self> {
        Ok(Self::from_reader(Hdf5Reader::from_bytes(name_of(name.as_ref()), bytes, limits)?))
    }

    pub(super) fn from_reader(reader: Hdf5Reader) -> Self {
        Self { reader, groups: OnceLock::new() }
    }

    /// Records that the file comes from an archive of `stored` bytes, of which `expanded` bytes were decompressed.
    pub(super) fn came_from(&mut self, stored: u64, expanded: u64) {
        self.reader.came_from(stored, expanded);
    }

    /// The limits that the file was opened with.
    pub(crate) fn limits(&self) -> &Limits {
        self.reader.limits()
    }

    /// The declared contents: every group path with its name and shapes. No data are read.
    ///
    /// # Errors
    /// [`Error::Broken`] if the tree is damaged, [`Error::Unsupported`] if it exceeds the limits.
    pub fn list(&self) -> Result<BTreeMap<String, Listed>> {
        Ok(self.groups()?.iter().map(|(path, (listed, _))| (path.clone(), listed.clone())).collect())
    }

    fn groups(&self) -> Result<&BTreeMap<String, FoundGroup>> {
        if let Some(groups) = self.groups.get() {
            return Ok(groups);
        }
        let mut groups = BTreeMap::new();
        let mut left = self.reader.limits().objects;
        self.list_below("", &self.reader.root(), 0, &mut left, &mut groups)?;
        Ok(self.groups.get_or_init(|| groups))
    }

    fn list_below(
        &self,
        path: &str,
        group: &Group,
        depth: usize,
        left: &mut usize,
        groups: &mut BTreeMap<String, FoundGroup>,
    ) -> Result<()> {
        if depth > GROUP_DEPTH {
            return Err(self.reader.broken(path, format!("groups nested deeper than {GROUP_DEPTH}")));
        }
        let children: Vec<(String, Group)> = self.reader.call(path, || Ok(group.iter_groups()?.collect()))?;
        spend(&self.reader, left, children.len())?;
        let has_both = children.iter().any(|(name, _)| first(name) == LAYERS);
        for (name, child) in children {
            self.reader.check_name(path, &name)?;
            if name == VARS {
                let (listed, datasets) = self.vars_of(path, &child)?;
                spend(&self.reader, left, datasets.len())?;
                groups.insert(path.to_owned(), (listed, datasets));
                continue;
            }
            if has_both && first(&name) == LAYERS_OF_2_13 {
                continue;
            }
            let name = today(&name);
            // Each level repeats the names of those above it.
            self.reader.check_name(path, path)?;
            let below = if path.is_empty() { name } else { format!("{path}/{name}") };
            match self.list_below(&below, &child, depth + 1, left, groups) {
                // The model is complete without the optimizer's state.
                Err(error @ Error::Broken { .. }) if below == OPTIMIZER => {
                    tracing::warn!("the optimizer's state is left out: {error}");
                    groups.retain(|path, _| path != OPTIMIZER && !path.starts_with(&format!("{OPTIMIZER}/")));
                }
                listed => listed?,
            }
        }
        Ok(())
    }

    /// The declared contents of one group; `None` if it does not exist. No data are read.
    ///
    /// # Errors
    /// [`Error::Broken`] if the group is damaged.
    pub fn shapes(&self, path: &str) -> Result<Option<Listed>> {
        Ok(self.find(path)?.map(|(listed, _)| listed))
    }

    /// The variables of one group, which must have exactly the expected shapes. A group that is expected to be empty
    /// can be missing.
    ///
    /// # Errors
    /// [`Error::Weights`] with a line for each mismatch, in which case nothing has been read; [`Error::Broken`] if the
    /// file does not contain the declared data; [`Error::Unsupported`] for an unsupported storage layout, and beyond
    /// the limits.
    pub fn read(&self, path: &str, expected: &[Vec<usize>]) -> Result<Vec<Array>> {
        let mut groups = self.read_all(&[(path, expected)])?;
        Ok(groups.pop().unwrap_or_default())
    }

    /// The variables of many groups, in the order requested. All declared shapes are compared with the expected ones
    /// before the first value is read.
    ///
    /// # Errors
    /// As [`read`](Self::read); [`Error::Weights`] lists the mismatches of all groups at once.
    pub fn read_all<P: AsRef<str>, S: AsRef<[Vec<usize>]>>(&self, expected: &[(P, S)]) -> Result<Vec<Vec<Array>>> {
        let mut problems = Vec::new();
        let mut found = Vec::with_capacity(expected.len());
        for (path, shapes) in expected {
            let (path, shapes) = (path.as_ref(), shapes.as_ref());
            match self.find(path)? {
                Some((listed, datasets)) => {
                    self.check_numbers(path, &listed)?;
                    problems.extend(differences(path, shapes, &listed.shapes()));
                    found.push(datasets);
                }
                None if shapes.is_empty() => found.push(Vec::new()),
                None => problems.push(format!("`{path}`: missing, with {} weights", shapes.len())),
            }
        }
        if !problems.is_empty() {
            return Err(Error::Weights { problems });
        }
        dataset::check_total(&self.reader, expected.iter().flat_map(|(_, shapes)| shapes.as_ref()))?;
        let groups = expected.iter().zip(found);
        groups.map(|((path, shapes), datasets)| self.read_group(path.as_ref(), shapes.as_ref(), &datasets)).collect()
    }

    /// The numbers of a named one-dimensional variable; `None` if it does not exist.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn read_named(&self, path: &str, name: &str) -> Result<Option<Vec<f32>>> {
        let Some((listed, datasets)) = self.find(path)? else { return Ok(None) };
        let found = listed.variables.iter().zip(&datasets).find(|((own, _), _)| own == name);
        let Some(((_, shape), found)) = found else { return Ok(None) };
        if shape.len() != 1 {
            return Err(self.reader.broken(dataset_path(path, name), "it is not one-dimensional"));
        }
        dataset::check_total(&self.reader, std::iter::once(shape))?;
        let array = dataset::read(&self.reader, found, &dataset_path(path, name), shape)?;
        Ok(Some(array.into_f32()))
    }

    fn read_group(&self, path: &str, shapes: &[Vec<usize>], datasets: &[Dataset]) -> Result<Vec<Array>> {
        let numbered = shapes.iter().zip(datasets).enumerate();
        numbered
            .map(|(index, (shape, found))| {
                dataset::read(&self.reader, found, &dataset_path(path, &index.to_string()), shape)
            })
            .collect()
    }

    /// The whole content of the file, for callers that have no model to compare it with.
    ///
    /// # Errors
    /// As [`list`](Self::list) and [`read`](Self::read).
    pub fn read_everything(&self) -> Result<WeightTree> {
        let listed = self.list()?;
        let expected: Vec<_> = listed.iter().map(|(path, group)| (path, group.shapes())).collect();
        let arrays = self.read_all(&expected)?;
        let groups = listed.iter().zip(arrays);
        let groups = groups
            .map(|((path, listed), arrays)| {
                (path.clone(), Vars { name: listed.name.clone(), arrays, named: Vec::new() })
            })
            .collect();
        Ok(WeightTree { groups, assets: BTreeMap::new() })
    }

    /// The variables at a path, in the layout of this version of Keras, of Keras 2.13, or of Keras 2 on Windows.
    fn find(&self, path: &str) -> Result<Option<FoundGroup>> {
        if let Some(groups) = self.groups.get() {
            return Ok(groups.get(path).cloned());
        }
        let older: Vec<_> = path.split('/').map(|part| if part == LAYERS { LAYERS_OF_2_13 } else { part }).collect();
        let older = older.join("/");
        let mut tried: Vec<String> = Vec::new();
        for path in [path, &older] {
            for group in [path.to_owned(), path.replace('/', "\\")] {
                if tried.contains(&group) {
                    continue;
                }
                let vars = if group.is_empty() { VARS.to_owned() } else { format!("{group}/{VARS}") };
                if let Some(group) = self.reader.group(&vars)? {
                    return self.vars_of(path, &group).map(Some);
                }
                tried.push(group);
            }
        }
        Ok(None)
    }

    /// The datasets of a `vars` group in numerical order, followed by those with other names.
    fn vars_of(&self, path: &str, group: &Group) -> Result<FoundGroup> {
        let attributes = self.reader.attributes(path, group)?;
        let name = attributes.get("name").and_then(|name| name.as_str()).map(str::to_owned);
        let mut members = self.reader.call(path, || Ok(group.iter_datasets()?.collect::<Vec<_>>()))?;
        members.sort_by_cached_key(|(name, _)| (name.parse::<u32>().unwrap_or(u32::MAX), name.clone()));
        let mut variables = Vec::with_capacity(members.len());
        let mut datasets = Vec::with_capacity(members.len());
        for (name, found) in members {
            self.reader.check_name(path, &name)?;
            let shape = dataset::shape_of(&self.reader, &found, &dataset_path(path, &name))?;
            variables.push((name, shape));
            datasets.push(found);
        }
        Ok((Listed { name, variables }, datasets))
    }

    /// Checks that the variables are numbered without gaps: their order is their meaning.
    fn check_numbers(&self, path: &str, listed: &Listed) -> Result<()> {
        let mut numbered = listed.variables.iter().enumerate();
        match numbered.find(|(index, (name, _))| index.to_string() != *name) {
            None => Ok(()),
            Some((_, (name, _))) if name.parse::<u32>().is_ok() => {
                Err(self.reader.broken(dataset_path(path, name), "the variables before it are missing"))
            }
            Some((_, (name, _))) => Err(Error::unsupported(
                format!("the variable `{name}` of `{path}` in `{}`", self.reader.name()),
                "variables that are numbered, as those of all built-in layers are",
            )),
        }
    }
}

fn dataset_path(path: &str, name: &str) -> String {
    if path.is_empty() { format!("{VARS}/{name}") } else { format!("{path}/{VARS}/{name}") }
}

/// Takes `count` objects from the budget.
fn spend(reader: &Hdf5Reader, left: &mut usize, count: usize) -> Result<()> {
    match left.checked_sub(count) {
        Some(rest) => {
            *left = rest;
            Ok(())
        }
        None => Err(Error::unsupported(
            format!("the number of groups and weights in `{}`", reader.name()),
            format!("up to {} (`Limits::objects`)", reader.limits().objects),
        )),
    }
}

/// One line for each mismatch between the found and the expected shapes.
pub(super) fn differences(path: &str, expected: &[Vec<usize>], found: &[Vec<usize>]) -> Vec<String> {
    if expected.len() != found.len() {
        return vec![format!("`{path}`: expected {} weights, the file has {}", expected.len(), found.len())];
    }
    let pairs = expected.iter().zip(found).enumerate();
    pairs
        .filter(|(_, (expected, found))| expected != found)
        .map(|(index, (expected, found))| {
            format!(
                "`{path}`, weight {index}: expected shape {}, the file has {}",
                shape_text(expected),
                shape_text(found)
            )
        })
        .collect()
}
