//! An open file of any format: its contents, before anything is built.

use std::path::Path;

use serde_json::Value as Json;

use super::keras::TreeWeights;
use super::legacy::{LegacyWeights, compile_config};
use super::safetensors::{CONFIG, INFO, NamedWeights};
use super::stored::{FileLayer, MatchedWeights, OPTIMIZER};
use super::vocabularies;
use super::{FileFormat, read_model};
use crate::datasets::DataInfo;
use crate::error::{Error, Result};
use crate::formats::keras::{self, KerasFile, LegacyFile, WeightsFile, name_of, parse_json, read_limited, too_large};
use crate::formats::safetensors::SafetensorsFile;
use crate::formats::{Limits, foreign};
use crate::model::Model;
use crate::model::summary::{ParamCount, Summary};

/// An open file.
pub(super) struct ModelFile {
    name: String,
    file: File,
    limits: Limits,
}

enum File {
    Keras(KerasFile),
    Weights(WeightsFile),
    Legacy(LegacyFile),
    Safetensors(SafetensorsFile),
    Json(Json),
}

impl From<keras::Opened> for File {
    fn from(opened: keras::Opened) -> Self {
        match opened {
            keras::Opened::Keras(file) => Self::Keras(file),
            keras::Opened::Weights(file) => Self::Weights(file),
            keras::Opened::Legacy(file) => Self::Legacy(file),
        }
    }
}

/// What messages call bytes that have no name.
pub(super) const BYTES: &str = "the bytes";

impl ModelFile {
    /// Opens a file. Its extension identifies JSON and safetensors; Keras's binary formats are distinguished by
    /// content.
    pub fn open(path: &Path, limits: &Limits) -> Result<Self> {
        let name = name_of(path);
        let format = FileFormat::of(path)?;
        foreign::check(path)?;
        let file = match format {
            FileFormat::Safetensors => File::Safetensors(SafetensorsFile::open(path, limits)?),
            FileFormat::Json => {
                let text = read_limited(path, limits.json_bytes.min(limits.file_bytes))?;
                File::Json(json_of(&name, &text, limits)?)
            }
            _ => keras::open(path, limits)?.into(),
        };
        Ok(Self { name, file, limits: limits.clone() })
    }

    /// Takes the bytes of a file of a format, as [`open`](Self::open) does with a name of that ending.
    pub fn of_bytes(bytes: Vec<u8>, format: FileFormat, limits: &Limits) -> Result<Self> {
        let path = Path::new(BYTES);
        let name = name_of(path);
        foreign::check_bytes(path, &bytes)?;
        let file = match format {
            FileFormat::Safetensors | FileFormat::Json if bytes.len() as u64 > limits.file_bytes => {
                return Err(too_large(path, limits.file_bytes));
            }
            FileFormat::Safetensors => File::Safetensors(SafetensorsFile::from_bytes(path, bytes, limits)?),
            FileFormat::Json => File::Json(json_of(&name, &bytes, limits)?),
            _ => keras::open_bytes(path, bytes, limits)?.into(),
        };
        Ok(Self { name, file, limits: limits.clone() })
    }

    /// The file's name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the file holds weights.
    pub fn has_weights(&self) -> bool {
        !matches!(self.file, File::Json(_))
    }

    /// Whether the file contains weights only.
    fn is_weights_alone(&self) -> bool {
        match &self.file {
            File::Keras(_) | File::Json(_) => false,
            File::Weights(_) => true,
            File::Legacy(file) => file.model_config().is_none(),
            File::Safetensors(file) => file.text(CONFIG).is_none(),
        }
    }

    /// The model that the file describes, with new weights. Can be called once: it consumes the configuration.
    pub fn model(&mut self) -> Result<Model> {
        if self.is_weights_alone() {
            return Err(self.weights_alone());
        }
        let info = self.info()?;
        let (object, version) = match &mut self.file {
            File::Keras(file) => {
                let version = file.metadata().get("keras_version").and_then(Json::as_str).map(str::to_owned);
                let mut object = file.take_config();
                vocabularies::move_in(&mut object, file, &self.name, "")?;
                (object, version)
            }
            File::Legacy(file) => {
                let (config, training) = file.take_configs();
                let mut object = config.unwrap_or_default();
                if let (Some(object), Some(training)) = (object.as_object_mut(), training) {
                    object.insert("compile_config".into(), compile_config(training));
                }
                (object, file.keras_version().map(str::to_owned))
            }
            File::Safetensors(file) => {
                let text = file.text(CONFIG).unwrap_or_default();
                (parse_json(&self.name, CONFIG, text.as_bytes(), &self.limits)?, None)
            }
            File::Json(object) => {
                let object = object.take();
                let version = object.get("keras_version").and_then(Json::as_str).map(str::to_owned);
                (object, version)
            }
            File::Weights(_) => (Json::Null, None),
        };
        let mut model = read_model(object, version.as_deref(), &self.limits)?;
        *model.data_info_mut() = info;
        Ok(model)
    }

    /// The model's data info in the file.
    fn info(&self) -> Result<DataInfo> {
        let (at, json) = match &self.file {
            File::Keras(file) => ("brasa.json", file.info().clone()),
            File::Legacy(file) => ("attribute brasa", file.info().cloned().unwrap_or_default()),
            File::Safetensors(file) => match file.text(INFO) {
                Some(text) => (INFO, parse_json(&self.name, INFO, text.as_bytes(), &self.limits)?),
                None => (INFO, Json::Null),
            },
            File::Weights(_) | File::Json(_) => (INFO, Json::Null),
        };
        DataInfo::from_json(&self.name, at, json)
    }

    fn weights_alone(&self) -> Error {
        Error::unsupported(
            format!("loading a model from `{}`, which holds weights alone", self.name),
            "a file with the model (`.keras`, `.h5`, `.json`), then `load_weights` of this one",
        )
    }

    /// The weights, matched with the layers of the model that the file describes.
    pub fn weights(&mut self, file_layers: Vec<FileLayer>) -> Result<Box<dyn MatchedWeights + '_>> {
        self.stored(file_layers, false)
    }

    /// The weights, matched with the layers of a model.
    pub fn stored(&mut self, file_layers: Vec<FileLayer>, by_name: bool) -> Result<Box<dyn MatchedWeights + '_>> {
        Ok(match &mut self.file {
            File::Keras(file) => Box::new(TreeWeights::new(file.weights()?, file_layers, by_name)?),
            File::Weights(file) => Box::new(TreeWeights::new(file, file_layers, by_name)?),
            File::Legacy(file) => Box::new(LegacyWeights::new(file, file_layers, by_name)),
            File::Safetensors(file) => Box::new(NamedWeights::new(file, file_layers)),
            File::Json(_) => return Err(Error::unsupported(format!("weights from `{}`", self.name), "other files")),
        })
    }
}

/// The model in a text of JSON.
fn json_of(name: &str, text: &[u8], limits: &Limits) -> Result<Json> {
    if text.len() as u64 > limits.json_bytes {
        return Err(Error::unsupported(
            format!("the text of `{name}` with its {} bytes", text.len()),
            format!("up to {} (`Limits::json_bytes`)", limits.json_bytes),
        ));
    }
    let object = parse_json(name, "its text", text, limits)?;
    check_json(name, &object)?;
    Ok(object)
}

/// Rejects a model's JSON from another program.
fn check_json(name: &str, object: &Json) -> Result<()> {
    if ["modelTopology", "weightsManifest"].iter().any(|key| object.get(key).is_some()) {
        return Err(Error::unsupported(
            format!("`{name}`, which is a TensorFlow.js model"),
            "files of Keras; `tensorflowjs_converter --input_format=tfjs_layers_model --output_format=keras` makes one of it",
        ));
    }
    Ok(())
}

/// A weight as a file declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredWeight {
    /// Its path in the file.
    pub name: String,
    /// Its sizes.
    pub shape: Vec<usize>,
}

/// The contents of a model or weights file, determined without allocating the weights.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Contents {
    /// A model: its layers, shapes and parameters.
    Model(Summary),
    /// Weights only: each with its shape.
    Weights(Vec<StoredWeight>),
}

impl Contents {
    /// Inspects a file of any [`FileFormat`]. No weight is read or created.
    ///
    /// ```no_run
    /// use brasa::model::Contents;
    /// match Contents::of("model.keras")? {
    ///     Contents::Model(summary) => println!("{summary}"),
    ///     Contents::Weights(weights) => println!("{} weights", weights.len()),
    ///     _ => {}
    /// }
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Broken`] for a damaged file, [`Error::Unsupported`] for unsupported features, [`Error::Io`] if the file
    /// cannot be read.
    pub fn of(path: impl AsRef<Path>) -> Result<Self> {
        Self::of_with(path, &Limits::default())
    }

    /// As [`of`](Self::of), with other limits.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn of_with(path: impl AsRef<Path>, limits: &Limits) -> Result<Self> {
        let mut opened = ModelFile::open(path.as_ref(), limits)?;
        let of_tree = |file: &WeightsFile| -> Result<Vec<StoredWeight>> {
            let groups = file.list()?.into_iter();
            let weights = groups.flat_map(|(path, listed)| {
                let named = listed.variables.into_iter();
                named.map(move |(name, shape)| StoredWeight { name: format!("{path}/vars/{name}"), shape })
            });
            Ok(weights.collect())
        };
        let weights: Vec<StoredWeight> = match &mut opened.file {
            File::Weights(file) => {
                if file.list()?.is_empty() {
                    return Err(Error::unsupported(
                        format!("`{}`, an HDF5 file without a model or weights of Keras", opened.name),
                        "files that Keras's `save` or `save_weights` made",
                    ));
                }
                return of_tree(file).map(Self::Weights);
            }
            File::Keras(file) => of_tree(&file.weights()?)?,
            File::Legacy(file) => {
                let layers = file.layers().iter().flat_map(|layer| {
                    layer.weights.iter().map(move |weight| (format!("{}/{}", layer.name, weight.name), weight))
                });
                let optimizer = file.optimizer().iter().map(|weight| (format!("{OPTIMIZER}/{}", weight.name), weight));
                layers
                    .chain(optimizer)
                    .map(|(name, weight)| StoredWeight { name, shape: weight.shape.clone() })
                    .collect()
            }
            File::Safetensors(file) => file
                .tensors()
                .map(|(name, shape)| StoredWeight { name: name.to_owned(), shape: shape.to_vec() })
                .collect(),
            File::Json(_) => Vec::new(),
        };
        if opened.is_weights_alone() {
            return Ok(Self::Weights(weights));
        }
        let mut summary = opened.model()?.summary();
        let prefix = format!("{OPTIMIZER}/");
        let own: Vec<_> = weights.iter().filter(|weight| weight.name.starts_with(&prefix)).collect();
        let count =
            own.iter().map(|weight| weight.shape.iter().fold(1usize, |count, size| count.saturating_mul(*size)));
        let count = count.fold(0usize, usize::saturating_add);
        // Before the first step there are only the step number and the learning rate.
        summary.optimizer = (own.len() > 2).then(|| ParamCount::float32(count));
        Ok(Self::Model(summary))
    }
}
