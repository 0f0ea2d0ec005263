//! `predict`: what the model makes of inputs.

use ndarray::ArrayD;

use super::evaluate::check_not_empty;
use super::progress::{Progress, Verbosity};
use crate::datasets::Samples;
use crate::error::{Error, Result};
use crate::model::{Mode, Sequential};
use crate::ops::Value;
use crate::shape::Shape;

/// The arguments of [`Sequential::predict_with`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Predict {
    batch_size: Option<usize>,
    verbose: Option<Verbosity>,
}

impl Predict {
    /// Batches of 32 as in Keras, nothing shown.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of samples at once (default 32).
    #[must_use]
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = Some(batch_size);
        self
    }

    /// What is shown on stderr (default: nothing).
    #[must_use]
    pub fn verbose(mut self, verbose: Verbosity) -> Self {
        self.verbose = Some(verbose);
        self
    }
}

impl Sequential {
    /// The outputs for inputs whose first axis counts the samples.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(2).activation("softmax").input_shape(3))?;
    /// let x = ndarray::array![[0.0f32, 1.0, 2.0], [3.0, 4.0, 5.0]];
    /// let probabilities = model.predict(&x)?;
    /// assert_eq!(probabilities.shape(), [2, 2]);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Data`] for inputs that do not fit, [`Error::State`] for a model without layers.
    pub fn predict(&self, x: impl Into<Samples>) -> Result<ArrayD<f32>> {
        self.predict_with(x, Predict::new())
    }

    /// As [`predict`](Self::predict), with arguments.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn predict_with(&self, x: impl Into<Samples>, predict: Predict) -> Result<ArrayD<f32>> {
        let x = x.into();
        let batch_size = predict.batch_size.unwrap_or(32);
        if batch_size == 0 {
            return Err(Error::argument("batch_size", "an integer above 0", 0));
        }
        check_not_empty(x.len())?;
        let sample = self.accept_sample(x.sample_shape())?;
        let output = self.output_sizes(&Shape::batch_of(sample.as_slice()))?.known_sample()?;
        let weights = self.plain_weights()?;
        let mut progress = Progress::new(predict.verbose.unwrap_or(Verbosity::Silent));
        progress.begin(Some(x.len().div_ceil(batch_size)));
        let mut values = Vec::with_capacity(x.len().saturating_mul(output.iter().product()));
        for (index, start) in (0..x.len()).step_by(batch_size).enumerate() {
            let indices: Vec<usize> = (start..x.len().min(start + batch_size)).collect();
            let mut numbers = vec![0.0; indices.len() * x.sample_len()];
            x.gather(&indices, &mut numbers)?;
            self.check_inputs(&numbers)?;
            let batch = Value::from_vec(numbers, &[&[indices.len()], sample.as_slice()].concat(), self.device())?;
            values.extend(self.pass(batch, &weights, Mode::Inference, false)?.output.to_vec()?);
            progress.step(index + 1, &[]);
        }
        progress.end(&[]);
        let sizes = [&[x.len()], output.as_slice()].concat();
        ArrayD::from_shape_vec(sizes.clone(), values).map_err(|error| Error::shape(format!("{sizes:?}"), error))
    }
}
