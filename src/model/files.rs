//! Model files: the format that a name stands for, and what is saved and loaded in each.
//!
//! | name ends in | `save`, `load` | `save_weights`, `load_weights` |
//! | --- | --- | --- |
//! | `.keras` | model, weights, compile settings, optimizer | (loads only) the weights and the optimizer |
//! | `.h5`, `.hdf5` | the same, in Keras's legacy format | weights by layer name |
//! | `.safetensors` | the same, with the model's JSON in the metadata | the weights and the optimizer |
//! | `.json` | the model and its compile settings, no weights | – |
//! | `.weights.h5` | – | the weights and the optimizer |

mod arranged;
mod contents;
pub(super) mod functional;
mod hard_sigmoid;
mod keras;
mod legacy;
mod load_options;
mod load_weights;
mod older;
mod optimizer;
mod read_model;
mod safetensors;
mod stored;
mod take_weights;
mod vocabularies;

use std::borrow::Cow;
use std::io::{Cursor, Seek, Write};
use std::path::Path;

use burn::tensor::Device;
use serde_json::{Value as Json, json};

pub use self::contents::{Contents, StoredWeight};
pub use self::load_options::LoadWeights;
pub(crate) use self::read_model::read_model;

use self::contents::ModelFile;
use super::Model;
use crate::error::{Error, Result};
use crate::formats::atomic::write_atomically;
use crate::formats::keras::{
    LegacyModel, WeightTree, count_values, to_python_json, write_keras_members, write_legacy_h5_to, write_weights_h5_to,
};
use crate::formats::safetensors::write_safetensors_to;
use crate::formats::{Array, Limits, foreign};

/// The version of Keras that these files follow; Keras writes it and does not depend on it.
const KERAS_VERSION: &str = "3.15.1";

/// A file format, identified by the file's extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileFormat {
    /// `.keras`: Keras 3's archive of model and weights.
    Keras,
    /// `.weights.h5`: Keras 3's weights only.
    WeightsH5,
    /// `.h5` or `.hdf5`: Keras's legacy format, a whole model or weights only.
    LegacyH5,
    /// `.safetensors`: weights by name, with the model's JSON if it is a whole model.
    Safetensors,
    /// `.json`: a model without its weights.
    Json,
}

impl FileFormat {
    /// The file extensions, for messages.
    pub const ENDINGS: &'static str = "`.keras`, `.h5`, `.weights.h5`, `.safetensors` or `.json`";

    /// The format that a file's name stands for, ignoring case.
    ///
    /// ```
    /// use brasa::model::FileFormat;
    /// assert_eq!(FileFormat::of("run/best.weights.h5")?, FileFormat::WeightsH5);
    /// assert_eq!(FileFormat::of("old.H5")?, FileFormat::LegacyH5);
    /// assert!(FileFormat::of("model.onnx").is_err());
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] for another extension; [`Error::Unsupported`] if the file exists in a foreign format, or is
    /// a folder.
    pub fn of(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        let ends = |ending: &str| name.len() > ending.len() && name.ends_with(ending);
        Ok(match () {
            () if ends(".keras") => Self::Keras,
            () if ends(".weights.h5") => Self::WeightsH5,
            () if ends(".h5") || ends(".hdf5") => Self::LegacyH5,
            () if ends(".safetensors") => Self::Safetensors,
            () if ends(".json") => Self::Json,
            () => {
                // A foreign file is reported as such.
                return Err(match foreign::check(path) {
                    Err(error @ Error::Unsupported { .. }) => error,
                    _ => wrong_ending(path, Self::ENDINGS),
                });
            }
        })
    }

    /// Whether the format can hold weights.
    pub fn has_weights(self) -> bool {
        self != Self::Json
    }
}

fn wrong_ending(path: &Path, endings: &str) -> Error {
    Error::argument("path", format!("a file name that ends in {endings}"), format!("`{}`", path.display()))
}

impl Model {
    /// Saves the model, its weights, its compile configuration and the optimizer's state. The extension selects the
    /// format: `.keras` and `.h5`, which Keras opens, `.safetensors`, or `.json` for the model without weights.
    ///
    /// The write is atomic: if it fails, an existing file stays unchanged.
    ///
    /// The `hard_sigmoid` of Keras 1 and 2 is steeper than that of Keras 3. In `.keras` and `.h5` files a model that
    /// was loaded with it gets Keras 3's, and a factor of 1.2 in the weights before it: it computes the same, but loses
    /// the optimizer's slots, regularizers and constraints, which belong to the original weights. A `.safetensors` file
    /// keeps the model unchanged, and files of weights only always contain the model's own weights.
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
    /// [`Error::State`] before the input shape is known, [`Error::Argument`] for another extension,
    /// [`Error::Unsupported`] for a layer that cannot be serialized, [`Error::Io`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        const ENDINGS: &str = "`.keras`, `.h5`, `.safetensors` or, without weights, `.json`";
        let path = path.as_ref();
        let format = match FileFormat::of(path) {
            Ok(FileFormat::WeightsH5) => {
                return Err(wrong_ending(path, &format!("{ENDINGS} (`save_weights` saves weights alone)")));
            }
            Err(_) => return Err(wrong_ending(path, ENDINGS)),
            Ok(format) => format,
        };
        self.write_to_file(path, &self.whole(format)?)
    }

    fn write_to_file(&self, path: &Path, written: &FileContent) -> Result<()> {
        write_atomically(path, |file| written.write(file, path))
    }

    /// The content of a file in this format: the whole model.
    fn whole(&self, format: FileFormat) -> Result<FileContent> {
        if format != FileFormat::Json {
            self.input_shape()?;
        }
        let model = match format {
            FileFormat::Keras | FileFormat::LegacyH5 => self.for_keras_3()?,
            _ => Cow::Borrowed(self),
        };
        let mut object = model.to_keras()?;
        let room = |object: &Json| check_readable(&to_python_json(object));
        Ok(match format {
            FileFormat::WeightsH5 => FileContent::WeightsH5(model.weight_tree()?),
            FileFormat::LegacyH5 => {
                room(&object)?;
                FileContent::LegacyH5(Box::new(model.legacy_model(object)?))
            }
            FileFormat::Safetensors => {
                room(&object)?;
                let mut texts = vec![(safetensors::CONFIG, to_python_json(&object))];
                texts.extend(model.data_info().to_json().map(|info| (safetensors::INFO, to_python_json(&info))));
                FileContent::Safetensors(model.safetensors()?, texts)
            }
            FileFormat::Json => {
                model.check_without_weights()?;
                room(&object)?;
                FileContent::Json(to_python_json(&object))
            }
            FileFormat::Keras => {
                let metadata = json!({ "keras_version": KERAS_VERSION, "date_saved": now() });
                let mut weights = model.weight_tree()?;
                vocabularies::move_out(&model, &mut object, &mut weights, "")?;
                room(&object)?;
                FileContent::Keras { metadata, object, info: model.data_info().to_json(), weights }
            }
        })
    }

    /// The content of a file in this format: the weights alone. Messages name the file `path`.
    fn weights_alone(&self, format: Result<FileFormat>, path: &Path) -> Result<FileContent> {
        self.input_shape()?;
        match format {
            Ok(FileFormat::WeightsH5) => Ok(FileContent::WeightsH5(self.weight_tree()?)),
            Ok(FileFormat::LegacyH5) => Ok(FileContent::LegacyH5(Box::new(self.legacy_model(Json::Null)?))),
            Ok(FileFormat::Safetensors) => Ok(FileContent::Safetensors(self.safetensors()?, Vec::new())),
            _ => Err(wrong_ending(path, "`.weights.h5`, `.h5` or `.safetensors` (`save` saves the whole model)")),
        }
    }

    /// The bytes of the file that [`save`](Self::save) writes with a name of this format's ending;
    /// [`load_bytes`](Self::load_bytes) takes them.
    ///
    /// ```
    /// use brasa::model::FileFormat;
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(2).input_shape(3))?;
    /// let bytes = model.to_bytes(FileFormat::Keras)?;
    /// let copy = Sequential::load_bytes(bytes, FileFormat::Keras)?;
    /// assert_eq!(model.get_weights()?, copy.get_weights()?);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`save`](Self::save); [`Error::Argument`] for [`FileFormat::WeightsH5`], which holds no model.
    pub fn to_bytes(&self, format: FileFormat) -> Result<Vec<u8>> {
        if format == FileFormat::WeightsH5 {
            let expected = "a format of whole models (`weights_to_bytes` is of weights alone)";
            return Err(Error::argument("format", expected, format!("{format:?}")));
        }
        self.whole(format)?.to_bytes()
    }

    /// The bytes of the file that [`save_weights`](Self::save_weights) writes with a name of this format's ending;
    /// [`load_weights_bytes`](Self::load_weights_bytes) takes them.
    ///
    /// # Errors
    /// As [`save_weights`](Self::save_weights).
    pub fn weights_to_bytes(&self, format: FileFormat) -> Result<Vec<u8>> {
        let of_weights = [FileFormat::WeightsH5, FileFormat::LegacyH5, FileFormat::Safetensors];
        if !of_weights.contains(&format) {
            return Err(Error::argument("format", "WeightsH5, LegacyH5 or Safetensors", format!("{format:?}")));
        }
        self.weights_alone(Ok(format), Path::new(contents::BYTES))?.to_bytes()
    }

    /// Saves only the weights and the optimizer's state, in the format that the extension selects: `.weights.h5` as in
    /// Keras 3's `save_weights`, `.h5` as in Keras 2's (weights only), or `.safetensors`.
    ///
    /// # Errors
    /// [`Error::State`] before the input shape is known, [`Error::Argument`] for another extension, [`Error::Io`] if
    /// the file cannot be written.
    pub fn save_weights(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.write_to_file(path, &self.weights_alone(FileFormat::of(path), path)?)
    }

    /// Loads a model saved by [`save`](Self::save) or Keras, with its weights and, if it was compiled, its compile
    /// configuration and the optimizer's state.
    ///
    /// A `.json` file has no weights: they are newly initialized. [`Sequential::load`](crate::Sequential::load) loads
    /// models that are a single chain of layers.
    ///
    /// # Errors
    /// [`Error::Broken`] for a damaged file, [`Error::Unsupported`] for unsupported features and for a weights-only
    /// file, [`Error::Weights`] with every weight that is missing, unexpected or of another shape, [`Error::Io`] if the
    /// file cannot be read.
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

    /// As [`load`](Self::load), optionally on a device, with other limits.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with(path: impl AsRef<Path>, device: Option<&Device>, limits: &Limits) -> Result<Self> {
        Self::of_opened(ModelFile::open(path.as_ref(), limits)?, device, limits)
    }

    /// Loads a model as [`load`](Self::load) does, of the bytes of a file, such as those of `include_bytes!` or of an
    /// upload. `format` is what the ending of a name would say.
    ///
    /// ```no_run
    /// use brasa::Model;
    /// use brasa::model::FileFormat;
    /// # let upload: Vec<u8> = Vec::new();
    /// let model = Model::load_bytes(upload, FileFormat::Keras)?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`load`](Self::load), but for those of the system.
    pub fn load_bytes(bytes: impl Into<Vec<u8>>, format: FileFormat) -> Result<Self> {
        Self::load_bytes_with(bytes, format, None, &Limits::default())
    }

    /// As [`load_bytes`](Self::load_bytes), on a device if one is given, and within other limits.
    ///
    /// # Errors
    /// As [`load_bytes`](Self::load_bytes).
    pub fn load_bytes_with(
        bytes: impl Into<Vec<u8>>,
        format: FileFormat,
        device: Option<&Device>,
        limits: &Limits,
    ) -> Result<Self> {
        Self::of_opened(ModelFile::of_bytes(bytes.into(), format, limits)?, device, limits)
    }

    fn of_opened(mut opened: ModelFile, device: Option<&Device>, limits: &Limits) -> Result<Self> {
        let mut model = opened.model()?;
        model.set_memory_limit(limits.memory_bytes);
        if let Some(device) = device {
            model.to_device(device);
        }
        if opened.has_weights() {
            model.input_shape().map_err(|_| {
                Error::broken(opened.name(), "its configuration", "the model has no input shape, and so no weights")
            })?;
            let stored = opened.weights(model.file_layers()?)?;
            model.take_weights(&*stored, &LoadWeights::new())?;
        }
        Ok(model)
    }

    /// Loads a model as [`load`](Self::load) does, but with newly initialized weights.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_architecture(path: impl AsRef<Path>) -> Result<Self> {
        ModelFile::open(path.as_ref(), &Limits::default())?.model()
    }

    /// Loads the weights from a file saved by Brasa or Keras (`.keras`, `.weights.h5`, `.h5`, `.safetensors`), and the
    /// optimizer's state if the model is compiled and it fits.
    ///
    /// Weights are matched by class and by position among the layers of that class (`dense`, `dense_1`), as in Keras;
    /// in `.safetensors` by name; in a legacy `.h5` by name if all names exist, else by the order of layers. All must
    /// exist with the right shape and no others; [`load_weights_with`](Self::load_weights_with) can relax this. On an
    /// error the model is unchanged.
    ///
    /// # Errors
    /// [`Error::Weights`] with every weight that is missing, unexpected or of another shape, [`Error::Broken`] for a
    /// damaged file, [`Error::State`] before the input shape is known.
    pub fn load_weights(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.load_weights_with(path, LoadWeights::new()).map(|_| ())
    }
}

/// Refuses a config that could not be read back: of more values, or longer, than readers take.
fn check_readable(config: &str) -> Result<()> {
    let limits = Limits::default();
    let supported = "`.keras`, where a vocabulary that `adapt` has found is a member of its own";
    if config.len() as u64 > limits.json_bytes {
        let what = format!("a config of {} bytes, more than is read (`Limits::json_bytes`)", config.len());
        return Err(Error::unsupported(what, supported));
    }
    count_values("the model", "its config", config.as_bytes(), &limits).map_err(|_| {
        let what = format!("a config of more than {} values, as are read (`Limits::values`)", limits.values);
        Error::unsupported(format!("{what}, such as one with a long vocabulary"), supported)
    })
}

/// What is written into a file.
#[allow(clippy::large_enum_variant)] // There is one at a time.
enum FileContent {
    Keras { metadata: Json, object: Json, info: Option<Json>, weights: WeightTree },
    WeightsH5(WeightTree),
    LegacyH5(Box<LegacyModel>),
    Safetensors(Vec<(String, Array)>, Vec<(&'static str, String)>),
    Json(String),
}

impl FileContent {
    /// Writes it; `path` is what messages call the file.
    fn write(&self, sink: &mut (impl Write + Seek), path: &Path) -> Result<()> {
        match self {
            Self::Keras { metadata, object, info, weights } => {
                write_keras_members(sink, path, metadata, object, info.as_ref(), weights)
            }
            Self::WeightsH5(weights) => write_weights_h5_to(sink, path, weights),
            Self::LegacyH5(model) => write_legacy_h5_to(sink, path, model),
            Self::Safetensors(tensors, texts) => write_safetensors_to(sink, path, tensors, texts),
            Self::Json(text) => sink.write_all(text.as_bytes()).map_err(Error::io("write", path)),
        }
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Cursor::new(Vec::new());
        self.write(&mut bytes, Path::new(contents::BYTES))?;
        Ok(bytes.into_inner())
    }
}

/// The time in Keras's format.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d@%H:%M:%S").to_string()
}
