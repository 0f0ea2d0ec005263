//! The model file that a command works on, and the description of its data.

use std::path::{Path, PathBuf};

use brasa::datasets::{PixelRange, check_class_names};
use brasa::formats::read_text;
use brasa::recipe::{Data, Recipe};
use brasa::{Error, Model, Result};
use clap::{Args, ValueHint};

use super::help::{DATA, PIXEL_RANGES, offering};
use super::output;
use super::run_dir::MODEL;
use super::run_name::CONFIG;

/// The largest file of class names.
const MOST_BYTES: u64 = 1 << 24;

/// The file of a model: the path itself, or the model in a run's directory.
///
/// # Errors
/// [`Error::Argument`] for a directory without a model.
pub fn model_file(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let file = path.join(MODEL);
    if file.is_file() {
        return Ok(file);
    }
    let received = format!("`{}`, a directory without a {MODEL}", path.display());
    Err(Error::argument("MODEL", "the file of a model or the directory of a run", received))
}

/// `[data]` of the run whose directory holds the model, if any.
pub fn data_of_run(model: &Path) -> Option<Data> {
    let path = model.with_file_name(CONFIG);
    if !path.is_file() {
        return None;
    }
    match Recipe::read(&path) {
        Ok(recipe) => Some(recipe.data().clone()),
        Err(error) => {
            output::note(&format!("the recipe beside the model is ignored: {error}"));
            None
        }
    }
}

/// What the command line says of a model's data, in place of what the model's file says.
#[derive(Args, Clone, Debug, Default)]
pub struct DataOverrides {
    /// The names of the classes, in the order of their numbers: a,b,c, or a file with one a line (default: those that
    /// the model knows).
    #[arg(long, value_name = "A,B,C|FILE", value_hint = ValueHint::FilePath, help_heading = DATA)]
    pub class_names: Option<String>,

    /// The range of the numbers that images become (default: that which the model knows; else 0..255 where it begins
    /// with a Rescaling or Normalization of bytes, and 0..1 where not).
    #[arg(long, value_name = "RANGE", allow_hyphen_values = true, help_heading = DATA)]
    #[arg(value_parser = offering::<PixelRange>(PIXEL_RANGES))]
    pub pixels: Option<PixelRange>,
}

impl DataOverrides {
    /// The names of the classes, if given.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read, [`Error::Argument`] for names that are empty or not unique.
    pub fn names(&self) -> Result<Vec<String>> {
        let Some(given) = &self.class_names else { return Ok(Vec::new()) };
        let path = Path::new(given);
        let names: Vec<String> = if path.is_file() {
            let text = read_text(path, MOST_BYTES)?;
            text.trim_start_matches('\u{feff}')
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .collect()
        } else {
            given.split(',').map(|name| name.trim().to_owned()).collect()
        };
        check_class_names(&names)?;
        Ok(names)
    }

    /// Applies the given values to the model.
    ///
    /// # Errors
    /// As [`names`](Self::names); [`Error::Argument`] for another number of names than the model has classes, and for
    /// names where it has none.
    pub fn put_into(&self, model: &mut Model) -> Result<()> {
        let names = self.names()?;
        if !names.is_empty() {
            if !model.is_classifier() {
                let expected = "a model that tells classes apart";
                return Err(Error::argument("--class-names", expected, "a model of numbers"));
            }
            let row = model.output_shape().ok().and_then(|shape| shape.known_sample().ok());
            let classes = match row.as_deref() {
                Some([outputs]) => model.meaning().classes(*outputs),
                _ => None,
            };
            if let Some(classes) = classes.filter(|classes| *classes != names.len()) {
                let expected = format!("{classes} names, one for each class of the model");
                return Err(Error::argument(
                    "--class-names",
                    expected,
                    format!("{}: {}", names.len(), names.join(", ")),
                ));
            }
            model.data_info_mut().class_names = names;
        }
        if self.pixels.is_some() {
            model.data_info_mut().pixels = self.pixels;
        }
        Ok(())
    }
}
