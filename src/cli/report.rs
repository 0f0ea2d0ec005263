//! The page of a training run, `report.html` in its directory.

use std::path::{Path, PathBuf};

use brasa::datasets::{Column, Field, Part, Source, split_index};
use brasa::recipe::{Loaded, Recipe};
use brasa::report::{Classes, Labels, Numbers, Report};
use brasa::training::{History, Scores, StopHandle};
use brasa::{Error, Model, Result};

/// The file name.
pub(super) const REPORT: &str = "report.html";

/// The most training samples evaluated in the report when there is neither test nor validation data.
const MOST_TRAINED: usize = 10_000;

/// The results of a run.
pub struct RunResults<'a> {
    pub recipe: &'a Recipe,
    pub model: &'a Model,
    pub data: &'a Loaded,
    pub history: &'a History,
    pub scores: Option<&'a Scores>,
    pub seconds: Option<f64>,
    /// Stops the evaluation of the classes, and with it the page.
    pub stop: &'a StopHandle,
}

impl RunResults<'_> {
    /// Writes the page into the run's directory, and returns its path.
    ///
    /// # Errors
    /// Those of reading the data, predicting, and writing.
    pub fn write(&self, run: &Path) -> Result<PathBuf> {
        // A run resumed without a recipe file uses the copy in its directory, which is called config.
        let folder = run.file_name().map(|name| name.to_string_lossy().into_owned());
        let title = folder.filter(|_| self.recipe.name() == "config").unwrap_or_else(|| self.recipe.name().to_owned());
        let mut report = Report::new(self.model, self.history)?.title(title);
        report = report.recipe(self.recipe.to_toml()?);
        if let Some(seconds) = self.seconds {
            report = report.seconds(seconds);
        }
        if let Some(scores) = self.scores {
            report = report.scores("test", scores);
        }
        let (name, data) = self.shown()?;
        let data = UntilStopped { source: &*data, stop: self.stop };
        let batch_size = self.recipe.fit_settings().batch_size;
        let names = &self.data.info.class_names;
        if let Some(classes) = Classes::of(self.model, &data, batch_size, names)? {
            report = report.classes(name, classes);
        } else if let Some(labels) = Labels::of(self.model, &data, batch_size, names)? {
            report = report.labels(name, labels);
        } else if let Some(numbers) = Numbers::of(self.model, &data, batch_size)? {
            report = report.numbers(name, numbers);
        }
        let path = run.join(REPORT);
        report.write(&path)?;
        Ok(path)
    }

    /// The samples evaluated in the report: test, else validation, else some training data.
    fn shown(&self) -> Result<(&'static str, Box<dyn Source + '_>)> {
        let train = &*self.data.train;
        let split = self.recipe.data().validation_split;
        let shown: (_, Box<dyn Source + '_>) = match (&self.data.test, &self.data.validation) {
            (Some(test), _) => ("test", Box::new(&**test)),
            (None, Some(validation)) => ("validation", Box::new(&**validation)),
            (None, None) if split > 0.0 => {
                ("validation", Box::new(Part::new(train, split_index(train.len(), split)?..)?))
            }
            (None, None) => ("training", Box::new(Part::new(train, ..train.len().min(MOST_TRAINED))?)),
        };
        Ok(shown)
    }
}

/// A source that fails once a stop is requested.
struct UntilStopped<'a> {
    source: &'a dyn Source,
    stop: &'a StopHandle,
}

impl Source for UntilStopped<'_> {
    fn len(&self) -> usize {
        self.source.len()
    }

    fn x_shape(&self) -> &[usize] {
        self.source.x_shape()
    }

    fn y_shape(&self) -> &[usize] {
        self.source.y_shape()
    }

    fn weight_shape(&self) -> Option<&[usize]> {
        self.source.weight_shape()
    }

    fn read_weights(&self, indices: &[usize], weights: &mut [f32]) -> Result<()> {
        self.source.read_weights(indices, weights)
    }

    fn read(&self, indices: &[usize], x: &mut [f32], y: &mut [f32]) -> Result<()> {
        if self.stop.is_stopped() {
            return Err(Error::interrupted("the report"));
        }
        self.source.read(indices, x, y)
    }

    fn x_fields(&self) -> Vec<Field> {
        self.source.x_fields()
    }

    fn y_fields(&self) -> Vec<Field> {
        self.source.y_fields()
    }

    fn read_fields(&self, indices: &[usize], x: &mut [&mut [f32]], y: &mut [&mut [f32]]) -> Result<()> {
        if self.stop.is_stopped() {
            return Err(Error::interrupted("the report"));
        }
        self.source.read_fields(indices, x, y)
    }

    fn read_columns(&self, indices: &[usize], y: &mut [&mut [f32]]) -> Result<Option<Vec<Column>>> {
        if self.stop.is_stopped() {
            return Err(Error::interrupted("the report"));
        }
        self.source.read_columns(indices, y)
    }

    fn weight_fields(&self) -> Vec<Option<Vec<usize>>> {
        self.source.weight_fields()
    }

    fn read_weight_fields(&self, indices: &[usize], weights: &mut [&mut [f32]]) -> Result<()> {
        self.source.read_weight_fields(indices, weights)
    }
}

#[cfg(test)]
mod tests {
    use brasa::datasets::Dataset;

    use super::*;

    #[test]
    fn a_stop_ends_the_reading() {
        let source = Dataset::new(ndarray::array![[1.0_f32], [2.0], [3.0]], vec![0, 1, 0]).unwrap();
        let stop = StopHandle::new();
        let data = UntilStopped { source: &source, stop: &stop };
        let (mut x, mut y) = ([0.0], [0.0]);
        data.read(&[1], &mut x, &mut y).unwrap();
        assert_eq!((x, y), ([2.0], [1.0]));
        stop.stop();
        let error = data.read(&[2], &mut x, &mut y).unwrap_err().to_string();
        assert!(error.contains("the report"), "{error}");
    }
}
