//! How `load_weights` is meant.

use std::path::Path;

use super::FileFormat;
use super::contents::Opened;
use crate::error::{Error, Result};
use crate::formats::Limits;
use crate::model::Model;

/// The arguments of [`Model::load_weights_with`].
#[derive(Clone, Debug, Default)]
pub struct LoadWeights {
    by_name: bool,
    skip_mismatch: bool,
    limits: Limits,
}

impl LoadWeights {
    /// Strict: every weight of the model is in the file with its shape, and no other is.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether layers are found by their names (default: by their order). Layers that the file or the model does not
    /// have are then passed over.
    #[must_use]
    pub fn by_name(mut self, by_name: bool) -> Self {
        self.by_name = by_name;
        self
    }

    /// Whether layers that do not fit, in the number of their weights or in a shape, are passed over (default: an
    /// error).
    #[must_use]
    pub fn skip_mismatch(mut self, skip_mismatch: bool) -> Self {
        self.skip_mismatch = skip_mismatch;
        self
    }

    /// Other limits for files of unknown origin.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    pub(super) fn is_by_name(&self) -> bool {
        self.by_name
    }

    pub(super) fn skips_mismatch(&self) -> bool {
        self.skip_mismatch
    }

    /// Whether everything has to fit; only then is there an optimizer's state to be had.
    pub(super) fn is_strict(&self) -> bool {
        !(self.by_name || self.skip_mismatch)
    }
}

impl Model {
    /// Takes weights from a file as [`load_weights`](Self::load_weights) does, and from another model's if so told: by
    /// the layers' names, or those that fit. Returns a line for each thing that was passed over.
    ///
    /// The optimizer's state is only taken when all weights are.
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
    /// [`Error::Weights`] with everything that does not fit, [`Error::Broken`] for a damaged file,
    /// [`Error::Unsupported`] for a file without weights, [`Error::State`] before the input shape is known. The model
    /// is then as before.
    pub fn load_weights_with(&mut self, path: impl AsRef<Path>, options: LoadWeights) -> Result<Vec<String>> {
        self.input_shape()?;
        self.weights_of(Opened::open(path.as_ref(), &options.limits)?, &options)
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
        self.weights_of(Opened::of_bytes(bytes.into(), format, &options.limits)?, &options)
    }

    fn weights_of(&mut self, mut opened: Opened, options: &LoadWeights) -> Result<Vec<String>> {
        if !opened.has_weights() {
            return Err(Error::unsupported(
                format!("weights from `{}`, which holds a model without them", opened.name()),
                "`.keras`, `.h5`, `.weights.h5` and `.safetensors`",
            ));
        }
        let stored = opened.stored(self.places()?, options.by_name)?;
        self.take_weights(&*stored, options)
    }
}
