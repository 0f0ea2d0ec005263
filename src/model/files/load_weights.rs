//! Loading weights by name, or only those that match.

use std::path::Path;

use super::contents::ModelFile;
use super::{FileFormat, LoadWeights};
use crate::error::{Error, Result};
use crate::model::Model;

impl Model {
    /// Loads weights from a file as [`load_weights`](Self::load_weights) does, optionally from that of another model:
    /// by the layers' names, or only those that match. Returns a line for everything that was skipped.
    ///
    /// The optimizer's state is only loaded when all weights are.
    ///
    /// ```
    /// use brasa::model::LoadWeights;
    /// use brasa::prelude::*;
    /// # let folder = std::env::temp_dir().join(format!("brasa-doc-by-name-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).unwrap();
    /// # let path = folder.join("base.weights.h5");
    /// let mut base = Sequential::new();
    /// base.add(Dense::new(4).name("features").input_shape(3))?.add(Dense::new(10).name("classes"))?;
    /// base.save_weights(&path)?;
    ///
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(4).name("features").input_shape(3))?.add(Dense::new(2).name("own_classes"))?;
    /// let passed_over = model.load_weights_with(&path, LoadWeights::new().by_name(true))?;
    /// assert_eq!(passed_over, ["layer `own_classes`: the file does not have it"]);
    /// assert_eq!(model.get_weights()?[0], base.get_weights()?[0]);
    /// # std::fs::remove_dir_all(folder).unwrap();
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Weights`] with all mismatches, [`Error::Broken`] for a damaged file, [`Error::Unsupported`] for a file
    /// without weights, [`Error::State`] before the input shape is known. The model is then unchanged.
    pub fn load_weights_with(&mut self, path: impl AsRef<Path>, options: LoadWeights) -> Result<Vec<String>> {
        self.input_shape()?;
        self.weights_of(ModelFile::open(path.as_ref(), &options.limits)?, &options)
    }

    /// As [`load_weights_with`](Self::load_weights_with), of the bytes of a file; `format` is what the ending of a name
    /// would say.
    ///
    /// ```
    /// use brasa::model::{FileFormat, LoadWeights};
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(4).input_shape(3))?;
    /// let bytes = model.weights_to_bytes(FileFormat::WeightsH5)?;
    /// model.load_weights_bytes(bytes, FileFormat::WeightsH5, LoadWeights::new())?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`load_weights_with`](Self::load_weights_with).
    pub fn load_weights_bytes(
        &mut self,
        bytes: impl Into<Vec<u8>>,
        format: FileFormat,
        options: LoadWeights,
    ) -> Result<Vec<String>> {
        self.input_shape()?;
        self.weights_of(ModelFile::of_bytes(bytes.into(), format, &options.limits)?, &options)
    }

    fn weights_of(&mut self, mut opened: ModelFile, options: &LoadWeights) -> Result<Vec<String>> {
        if !opened.has_weights() {
            return Err(Error::unsupported(
                format!("weights from `{}`, which holds a model without them", opened.name()),
                "`.keras`, `.h5`, `.weights.h5` and `.safetensors`",
            ));
        }
        let stored = opened.stored(self.file_layers()?, options.by_name)?;
        self.take_weights(&*stored, options)
    }
}
