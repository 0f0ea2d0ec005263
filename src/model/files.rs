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
mod safetensors;
mod stored;
mod take_weights;
mod vocabularies;

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use burn::tensor::Device;
use serde_json::{Value as Json, json};

pub use self::contents::{Contents, StoredWeight};
pub use self::load_options::LoadWeights;
pub(crate) use self::older::read_model;

use self::contents::Opened;
use super::Model;
use crate::error::{Error, Result};
use crate::formats::atomic::write_atomically;
use crate::formats::keras::{to_python_json, write_keras, write_keras_with_info, write_legacy_h5, write_weights_h5};
use crate::formats::safetensors::write_safetensors;
use crate::formats::{Limits, foreign};

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
        if format != FileFormat::Json {
            self.input_shape()?;
        }
        let model = match format {
            FileFormat::Keras | FileFormat::LegacyH5 => self.for_keras_3()?,
            _ => Cow::Borrowed(self),
        };
        let mut object = model.to_keras()?;
        match format {
            FileFormat::LegacyH5 => write_legacy_h5(path, &model.legacy_model(object)?),
            FileFormat::Safetensors => {
                let mut texts = vec![(safetensors::CONFIG, to_python_json(&object))];
                texts.extend(model.data_info().to_json().map(|info| (safetensors::INFO, to_python_json(&info))));
                write_safetensors(path, &model.safetensors()?, &texts)
            }
            FileFormat::Json => {
                model.check_without_weights()?;
                let text = to_python_json(&object);
                write_atomically(path, |file| file.write_all(text.as_bytes()).map_err(Error::io("write", path)))
            }
            _ => {
                let metadata = json!({ "keras_version": KERAS_VERSION, "date_saved": now() });
                let mut weights = model.weight_tree()?;
                vocabularies::move_out(&model, &mut object, &mut weights, "")?;
                match model.data_info().to_json() {
                    Some(info) => write_keras_with_info(path, &metadata, &object, &info, &weights),
                    None => write_keras(path, &metadata, &object, &weights),
                }
            }
        }
    }

    /// Saves only the weights and the optimizer's state, in the format that the extension selects: `.weights.h5` as in
    /// Keras 3's `save_weights`, `.h5` as in Keras 2's (weights only), or `.safetensors`.
    ///
    /// # Errors
    /// [`Error::State`] before the input shape is known, [`Error::Argument`] for another extension, [`Error::Io`] if
    /// the file cannot be written.
    pub fn save_weights(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let format = FileFormat::of(path);
        self.input_shape()?;
        match format {
            Ok(FileFormat::WeightsH5) => write_weights_h5(path, &self.weight_tree()?),
            Ok(FileFormat::LegacyH5) => write_legacy_h5(path, &self.legacy_model(Json::Null)?),
            Ok(FileFormat::Safetensors) => write_safetensors(path, &self.safetensors()?, &[]),
            _ => Err(wrong_ending(path, "`.weights.h5`, `.h5` or `.safetensors` (`save` saves the whole model)")),
        }
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
        let mut opened = Opened::open(path.as_ref(), limits)?;
        let mut model = opened.model()?;
        model.set_memory_limit(limits.memory_bytes);
        if let Some(device) = device {
            model.to_device(device);
        }
        if opened.has_weights() {
            model.input_shape().map_err(|_| {
                Error::broken(opened.name(), "its configuration", "the model has no input shape, and so no weights")
            })?;
            let stored = opened.weights(model.places()?)?;
            model.take_weights(&*stored, &LoadWeights::new())?;
        }
        Ok(model)
    }

    /// Loads a model as [`load`](Self::load) does, but with newly initialized weights.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_architecture(path: impl AsRef<Path>) -> Result<Self> {
        Opened::open(path.as_ref(), &Limits::default())?.model()
    }

    /// Loads the weights from a file saved by Brasa or Keras (`.keras`, `.weights.h5`, `.h5`, `.safetensors`), and the
    /// optimizer's state if the model is compiled and it fits.
    ///
    /// Weights are matched by the order of layers, as in Keras, in a `.safetensors` file by name. All must exist with
    /// the right shape and no others; [`load_weights_with`](Self::load_weights_with) can relax this. On an error the
    /// model is unchanged.
    ///
    /// # Errors
    /// [`Error::Weights`] with every weight that is missing, unexpected or of another shape, [`Error::Broken`] for a
    /// damaged file, [`Error::State`] before the input shape is known.
    pub fn load_weights(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.load_weights_with(path, LoadWeights::new()).map(|_| ())
    }
}

/// The time in Keras's format.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d@%H:%M:%S").to_string()
}
