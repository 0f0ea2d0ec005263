//! Recipes: a model, its data and its training in a TOML file, with the names of Keras's config.
//!
//! A recipe has the sections `[data]`, `[[layers]]` or `[model]`, `[compile]`, `[fit]` and `[[callbacks]]`. It is
//! checked strictly: an unknown key or name is an error with line, column and the nearest known one. [`Document`] is
//! the parsed text, [`Recipe`] the checked result.
//!
//! By default each layer is called on the output of the one before. In a graph a layer names the layers it is called
//! on, `inputs = ["conv2d", "conv2d_1"]` (`"lstm:1"` is the second output of a layer with several), and `[model]` can
//! name the `outputs`:
//!
//! ```
//! # let data = "[data]\ndataset = \"csv\"\npath = \"houses.csv\"\n";
//! let text = r#"
//!     [[layers]]
//!     class_name = "Input"
//!     input_shape = [8]
//!     name = "houses"
//!
//!     [[layers]]
//!     class_name = "Dense"
//!     units = 8
//!
//!     [[layers]]
//!     class_name = "Add"
//!     inputs = ["houses", "dense"]
//!
//!     [[layers]]
//!     class_name = "Dense"
//!     units = 1
//!
//!     [compile]
//!     loss = "mse"
//! "#;
//! # let text = [data, text].concat();
//! let recipe = brasa::recipe::Recipe::parse("houses.toml", text)?;
//! assert_eq!(recipe.model(&Default::default())?.count_params()?, 8 * 8 + 8 + 8 + 1);
//! # Ok::<(), brasa::Error>(())
//! ```
//!
//! ```
//! use brasa::recipe::Recipe;
//! let text = r#"
//!     [data]
//!     dataset = "csv"
//!     path = "houses.csv"
//!
//!     [[layers]]
//!     class_name = "Dense"
//!     units = 1
//!     input_shape = [3]
//!
//!     [compile]
//!     optimizer = { class_name = "SGD", learning_rate = 0.1 }
//!     loss = "mse"
//! "#;
//! let recipe = Recipe::parse("houses.toml", text)?;
//! assert_eq!(recipe.model(&Default::default())?.count_params()?, 4);
//!
//! let error = Recipe::parse("houses.toml", text.replace("units", "unit")).unwrap_err().to_string();
//! assert!(error.starts_with("houses.toml:8:5: unknown argument `unit`, did you mean `units`?"));
//! # Ok::<(), brasa::Error>(())
//! ```

mod adapt;
mod data;
mod document;
mod graph;
mod keys;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

pub use self::data::{Data, DataSet, Gaps, Loaded, NamedSource, OneOrMany, Reading, TableSettings, image_shape};
pub use self::document::Document;
use self::graph::{INPUTS, Names};
pub use self::keys::{Key, Section, sections};
use crate::callbacks::{self, Callback};
use crate::config::{Arguments, Config};
use crate::datasets::{DataInfo, Stream};
use crate::error::{Error, Result};
use crate::formats::limits::LAYERS;
pub use crate::formats::recipe_text::differences;
use crate::layers::{Common, Layer, entry};
use crate::model::{Model, Sequential};
use crate::random::fresh_seed;
use crate::training::{CheckpointFreq, Compile, Fit, ValidationFreq, Verbosity};

/// The sections.
const SECTIONS: &[&str] = &["data", "model", "layers", "compile", "fit", "callbacks"];

/// The keys of `[model]`, of `[compile]` and of `[fit]`. The guide's chapter on recipes lists them all.
const MODEL: &[&str] = &keys::names(&keys::MODEL);
const COMPILE: &[&str] = &keys::names(&keys::COMPILE);
const FIT: &[&str] = &keys::names(&keys::FIT);

/// A checked recipe.
#[derive(Clone, Debug, Serialize)]
pub struct Recipe {
    #[serde(skip)]
    name: String,
    data: Data,
    #[serde(skip_serializing_if = "ModelSection::is_empty")]
    model: ModelSection,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layers: Vec<Config>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compile: Option<Config>,
    fit: FitSettings,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    callbacks: Vec<Config>,
}

/// `[model]`: the file to start from, or the name and the output layers of a new model.
#[derive(Clone, Debug, Default, Serialize)]
struct ModelSection {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<Names>,
}

impl ModelSection {
    fn is_empty(&self) -> bool {
        self.file.is_none() && self.name.is_none() && self.outputs.is_none()
    }
}

/// `[fit]` of a recipe, with Keras's defaults.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FitSettings {
    /// The total number of epochs.
    pub epochs: usize,
    /// Number of samples in a step.
    pub batch_size: usize,
    /// The seed of the weights, of the samples' order and of dropout; random if the recipe gives none.
    pub seed: u64,
    /// Whether the samples are shuffled in each epoch.
    pub shuffle: bool,
    /// The epochs after which to validate: every n-th, or a list of them, counted from 1.
    pub validation_freq: ValidationFreq,
    /// Batches in an epoch; if `None`, all that the samples make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps_per_epoch: Option<usize>,
    /// The weights of classes in the loss; classes without one have 1.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "by_name")]
    pub class_weight: BTreeMap<usize, f32>,
    /// When the run's state is written.
    pub checkpoint_freq: CheckpointFreq,
    /// The amount of output: Keras's `"auto"`, 0, 1 or 2.
    pub verbose: Verbose,
}

/// Keras's `verbose`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Verbose {
    /// 0, 1 or 2.
    Number(u8),
    /// `"auto"`.
    Word(String),
}

impl Verbose {
    fn verbosity(&self) -> Result<Verbosity> {
        match self {
            Self::Number(number) => Verbosity::try_from(*number),
            Self::Word(word) if word == "auto" => Ok(Verbosity::Auto),
            Self::Word(word) => Err(Error::argument("verbose", "\"auto\", 0, 1 or 2", format!("{word:?}"))),
        }
    }
}

impl FitSettings {
    fn from_config(config: Config) -> Result<Self> {
        check_keys(&config, FIT)?;
        let mut arguments = Arguments::new(config, FIT);
        let settings = Self {
            epochs: arguments.take("epochs")?.unwrap_or(1),
            batch_size: arguments.take("batch_size")?.unwrap_or(32),
            // TOML's integers have 63 bits; 32 are enough and easier to read.
            seed: arguments.take("seed")?.unwrap_or_else(|| fresh_seed() >> 32),
            shuffle: arguments.take("shuffle")?.unwrap_or(true),
            validation_freq: arguments.take("validation_freq")?.unwrap_or_default(),
            steps_per_epoch: arguments.take("steps_per_epoch")?,
            class_weight: class_weights(arguments.take("class_weight")?.unwrap_or_default())?,
            checkpoint_freq: arguments.take("checkpoint_freq")?.unwrap_or_default(),
            verbose: arguments.take("verbose")?.unwrap_or_else(|| Verbose::Word("auto".into())),
        };
        arguments.finish()?;
        settings.validation_freq.check()?;
        for (name, value) in [("batch_size", Some(settings.batch_size)), ("steps_per_epoch", settings.steps_per_epoch)]
        {
            if value == Some(0) {
                return Err(Error::argument(name, "an integer above 0", 0));
            }
        }
        settings.verbose.verbosity()?;
        Ok(settings)
    }
}

/// Weights by class index; TOML's keys are strings.
fn class_weights(weights: BTreeMap<String, f32>) -> Result<BTreeMap<usize, f32>> {
    let weight = |(class, weight): (String, f32)| match class.parse() {
        Ok(number) if weight.is_finite() => Ok((number, weight)),
        _ => {
            let expected = "a finite number for each class, by its number, such as { 0 = 1.0, 1 = 10.0 }";
            Err(Error::argument("class_weight", expected, format!("{class:?} = {weight}")))
        }
    };
    weights.into_iter().map(weight).collect()
}

fn by_name<S: serde::Serializer>(weights: &BTreeMap<usize, f32>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(weights.iter().map(|(class, weight)| (class.to_string(), weight)))
}

impl Recipe {
    /// Reads and checks a recipe file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Recipe`] for the first mistake in it.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_document(&Document::read(path)?)
    }

    /// Parses and checks a recipe; `file` is its name in messages.
    ///
    /// # Errors
    /// [`Error::Recipe`] for the first mistake in it.
    pub fn parse(file: impl Into<String>, text: impl Into<String>) -> Result<Self> {
        Self::from_document(&Document::parse(file, text)?)
    }

    /// Checks a parsed recipe.
    ///
    /// # Errors
    /// [`Error::Recipe`] for the first mistake in it; without a position if the mistake was set from outside.
    pub fn from_document(document: &Document) -> Result<Self> {
        let root = table(document, &[], document.root())?;
        check_keys(&root, SECTIONS).map_err(|error| document.locate(&[], error))?;
        let section = |name: &str| root.get(name).map(|value| table(document, &[name], value)).transpose();
        let located = |name: &'static str| move |error| document.locate(&[name], error);

        let model = ModelSection::from_config(section("model")?.unwrap_or_default()).map_err(located("model"))?;
        let layers = match root.get("layers") {
            None => Vec::new(),
            Some(layers) => layer_tables(document, layers)?,
        };
        if model.file.is_some() && !layers.is_empty() {
            let error = Error::argument("file", "either [model] file or [[layers]]", "both");
            return Err(document.locate(&["model"], error));
        }
        if model.file.is_none() && layers.is_empty() {
            return Err(absent(document, "layers", "[[layers]], or [model] with a file to start from"));
        }
        let compile = section("compile")?;
        match &compile {
            Some(compile) => check_compile(compile).map_err(located("compile"))?,
            None if model.file.is_none() => return Err(absent(document, "compile", "[compile] with a loss")),
            None => {}
        }
        let callbacks = match root.get("callbacks") {
            None => Vec::new(),
            Some(callbacks) => callback_tables(document, callbacks)?,
        };
        let Some(data) = section("data")? else { return Err(absent(document, "data", "[data] with a dataset")) };
        let recipe = Self {
            name: stem(document.file()),
            data: Data::from_config(data).map_err(located("data"))?,
            model,
            layers,
            compile,
            fit: FitSettings::from_config(section("fit")?.unwrap_or_default()).map_err(located("fit"))?,
            callbacks,
        };
        if let (DataSet::Shards { .. }, true) = (&recipe.data.set, recipe.adapts()) {
            let supported = "layers that are given what they would learn, such as `mean` and `variance`";
            let error = Error::unsupported("`adapt = true` with shards, which are not read before training", supported);
            return Err(document.locate(&["data"], error));
        }
        recipe.new_model(|index, error| match index {
            Some(index) => document.locate(&["layers", &index.to_string()], error),
            None => document.locate(&["model", "outputs"], error),
        })?;
        Ok(recipe)
    }

    /// The recipe's name: its file name without extension.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `[data]`.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// `[fit]`.
    pub fn fit_settings(&self) -> &FitSettings {
        &self.fit
    }

    /// The compiled model on a device, new or loaded from its file.
    ///
    /// # Errors
    /// Those of [`Sequential::load_on`]; [`Error::Argument`] if the file's model was not compiled and the recipe has no
    /// `[compile]`.
    pub fn model(&self, device: &Device) -> Result<Model> {
        let model = match &self.model.file {
            Some(path) => Model::load_on(path, device)?,
            None => {
                let mut model = self.new_model(|_, error| error)?;
                model.to_device(device);
                model
            }
        };
        self.compiled(model)
    }

    /// Compiles the model.
    fn compiled(&self, mut model: Model) -> Result<Model> {
        match (&self.compile, &self.model.file) {
            (Some(compile), _) => {
                model.compile(Compile::from_config(compile.clone())?)?;
            }
            (None, Some(path)) if !model.is_compiled() => {
                let why = model.compile_fault().unwrap_or("it was saved without a loss");
                let expected = format!("[compile], as the model in `{}` is not compiled: {why}", path.display());
                return Err(Error::argument("compile", expected, "nothing"));
            }
            _ => {}
        }
        Ok(model)
    }

    /// Records the decisions made when the data was read: the names of the classes and the range of images.
    pub fn decide(&mut self, info: &DataInfo) {
        if !matches!(self.data.set, DataSet::Mnist { .. } | DataSet::FashionMnist { .. }) {
            self.data.class_names = info.class_names.clone();
        }
        if matches!(self.data.set, DataSet::ImageFolder { .. } | DataSet::Shards { .. }) {
            self.data.pixels = info.pixels;
        }
    }

    /// The model of `[[layers]]`, uncompiled; `locate` receives the index of the layer that an error is about, or
    /// `None` for the outputs.
    fn new_model(&self, locate: impl Fn(Option<usize>, Error) -> Error) -> Result<Model> {
        if graph::is_graph(&self.layers, self.model.outputs.as_ref()) {
            let layers =
                self.layers.iter().enumerate().map(|(index, config)| {
                    adapt::unadapted(config.clone()).map_err(|error| locate(Some(index), error))
                });
            let layers = layers.collect::<Result<Vec<_>>>()?;
            return self.graph(layers, locate, |_, layer, _| Ok(layer));
        }
        let name = self.model.name.as_deref().unwrap_or("sequential");
        let mut model = Sequential::with_name(name).with_seed(self.fit.seed);
        for (index, config) in self.layers.iter().enumerate() {
            adapt::unadapted(config.clone())
                .and_then(|layer| model.add(layer).map(|_| ()))
                .map_err(|error| locate(Some(index), error))?;
        }
        Ok(model.into())
    }

    /// The model of layers that are a graph.
    fn graph(
        &self,
        layers: Vec<Box<dyn Layer>>,
        locate: impl Fn(Option<usize>, Error) -> Error,
        prepare: impl FnMut(usize, Box<dyn Layer>, graph::Before<'_>) -> Result<Box<dyn Layer>>,
    ) -> Result<Model> {
        let mut model = graph::model(&self.layers, layers, self.model.outputs.as_ref(), locate, prepare)?;
        model.set_seed(self.fit.seed);
        Ok(match &self.model.name {
            Some(name) => model.named(name),
            None => model,
        })
    }

    /// The callbacks of `[[callbacks]]`, newly created.
    ///
    /// # Errors
    /// No errors after the checks of [`from_document`](Self::from_document).
    pub fn callbacks(&self) -> Result<Vec<Box<dyn Callback>>> {
        self.callbacks.iter().map(|config| callbacks::from_json(Json::Object(config.clone()))).collect()
    }

    /// The arguments of `fit`, including validation split and callbacks.
    ///
    /// # Errors
    /// No errors after the checks of [`from_document`](Self::from_document).
    pub fn fit(&self) -> Result<Fit<'static>> {
        let fit = Fit::new().callbacks(self.callbacks()?);
        let fit = match self.fit.steps_per_epoch {
            Some(steps) => fit.steps_per_epoch(steps),
            None => fit,
        };
        let fit = match self.fit.class_weight.is_empty() {
            true => fit,
            false => fit.class_weight(self.fit.class_weight.clone()),
        };
        // The batches of shards have their size.
        let fit = match self.data.set {
            DataSet::Shards { .. } => fit,
            _ => fit.batch_size(self.fit.batch_size),
        };
        let fit = fit.epochs(self.fit.epochs).seed(self.fit.seed);
        let fit = fit.shuffle(self.fit.shuffle).validation_freq(self.fit.validation_freq.clone());
        Ok(fit.validation_split(self.data.validation_split).verbose(self.fit.verbose.verbosity()?))
    }

    /// The batches to train on, if the data are shards.
    ///
    /// # Errors
    /// Those of [`Shards::stream`](crate::datasets::Shards::stream).
    pub fn stream(&self, data: &Loaded) -> Result<Option<Stream<'static>>> {
        let Some(shards) = &data.shards else { return Ok(None) };
        let shards = shards.clone().batch_size(self.fit.batch_size).seed(self.fit.seed).shuffle(self.fit.shuffle);
        shards.stream().map(Some)
    }

    /// The recipe as TOML, with all defaults and the seed, so that it trains the same.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a path that is not Unicode.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::unsupported(format!("writing the recipe: {error}"), "Unicode"))
    }
}

impl ModelSection {
    fn from_config(config: Config) -> Result<Self> {
        check_keys(&config, MODEL)?;
        let mut arguments = Arguments::new(config, MODEL);
        let start =
            Self { file: arguments.take("file")?, name: arguments.take("name")?, outputs: arguments.take("outputs")? };
        arguments.finish()?;
        if start.file.is_some() && start.name.is_some() {
            return Err(Error::argument("name", "either a file or a name: the model in the file has one", "both"));
        }
        if start.file.is_some() && start.outputs.is_some() {
            return Err(Error::argument("outputs", "none beside a file: the model in it has its own", "some"));
        }
        Ok(start)
    }
}

fn check_compile(config: &Config) -> Result<()> {
    check_keys(config, COMPILE)?;
    Compile::from_config(config.clone())?.check()
}

/// The tables of `[[layers]]`, with checked keys.
fn layer_tables(document: &Document, layers: &Json) -> Result<Vec<Config>> {
    let Json::Array(layers) = layers else {
        let error = Error::argument("layers", "tables `[[layers]]`", layers);
        return Err(document.locate(&["layers"], error));
    };
    check_count("layers", layers.len(), LAYERS).map_err(|error| document.locate(&["layers"], error))?;
    let check = |(index, value): (usize, &Json)| {
        let index = index.to_string();
        let section = ["layers", &index];
        let config = table(document, &section, value)?;
        check_layer_keys(&config).map_err(|error| document.locate(&section, error))?;
        Ok(config)
    };
    layers.iter().enumerate().map(check).collect()
}

/// The tables of `[[callbacks]]`, checked.
fn callback_tables(document: &Document, list: &Json) -> Result<Vec<Config>> {
    let Json::Array(list) = list else {
        let error = Error::argument("callbacks", "tables `[[callbacks]]`", list);
        return Err(document.locate(&["callbacks"], error));
    };
    check_count("callbacks", list.len(), CALLBACKS).map_err(|error| document.locate(&["callbacks"], error))?;
    let check = |(index, value): (usize, &Json)| {
        let index = index.to_string();
        let section = ["callbacks", &index];
        let config = table(document, &section, value)?;
        if !matches!(config.get("class_name"), Some(Json::String(_))) {
            let received = config.get("class_name").map_or_else(|| "nothing".to_owned(), Json::to_string);
            let error = Error::argument("class_name", "the class of a callback, such as \"EarlyStopping\"", received);
            return Err(document.locate(&section, error));
        }
        callbacks::from_json(Json::Object(config.clone())).map_err(|error| document.locate(&section, error))?;
        Ok(config)
    };
    list.iter().enumerate().map(check).collect()
}

/// The most callbacks of a recipe.
const CALLBACKS: usize = 1000;

/// Refuses a list that is too long.
fn check_count(name: &str, count: usize, most: usize) -> Result<()> {
    if count <= most { Ok(()) } else { Err(Error::argument(name, format!("at most {most}"), count)) }
}

/// The class of a layer's table.
fn class_of(config: &Config) -> Result<&str> {
    match config.get("class_name") {
        Some(Json::String(class)) => Ok(class),
        other => {
            let received = other.map_or_else(|| "nothing".to_owned(), Json::to_string);
            Err(Error::argument("class_name", "the class of a layer, such as \"Dense\"", received))
        }
    }
}

fn check_layer_keys(config: &Config) -> Result<()> {
    let class = class_of(config)?;
    adapt::check(config)?;
    let own = entry(class)?.arguments.iter().chain(adapt::keys_of(class)?);
    let known: Vec<&str> = own.chain(Common::ARGUMENTS).copied().chain([INPUTS]).collect();
    match config.keys().find(|key| *key != "class_name" && !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(unknown) => Err(Error::unknown("argument", unknown, known)),
    }
}

fn layer(mut config: Config) -> Result<Box<dyn Layer>> {
    let class = class_of(&config)?.to_owned();
    config.remove("class_name");
    config.remove(INPUTS);
    entry(&class)?.layer(config)
}

/// A section that must be a table.
fn table(document: &Document, section: &[&str], value: &Json) -> Result<Config> {
    match value {
        Json::Object(map) => Ok(map.clone()),
        other => {
            let name = section.first().copied().unwrap_or_default();
            Err(document.locate(section, Error::argument(name, format!("a table `[{name}]`"), other)))
        }
    }
}

/// The error for a missing section, at the top of the text.
fn absent(document: &Document, name: &str, expected: &str) -> Error {
    document.at_top(Error::argument(name, expected, "nothing"))
}

/// Refuses keys other than `known`.
fn check_keys(config: &Config, known: &[&str]) -> Result<()> {
    match config.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(unknown) => Err(Error::unknown("key", unknown, known)),
    }
}

/// A file name without folder and extension.
fn stem(file: &str) -> String {
    Path::new(file).file_stem().map_or_else(|| "recipe".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests;
