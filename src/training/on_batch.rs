//! Training, testing and predicting on single batches, for custom loops.

use ndarray::ArrayD;

use super::Scores;
use super::batches::gather;
use super::class_weight::ClassWeight;
use super::evaluate::check_not_empty;
use super::fitted::Fitted;
use super::predict::Predict;
use super::step::{Batch, StepResult};
use super::trackers::Trackers;
use crate::datasets::{Dataset, IntoFields, IntoSamples, Samples};
use crate::error::{Error, Result};
use crate::model::Model;

/// The arguments of [`Model::train_on_batch_with`] and [`Model::test_on_batch_with`].
#[derive(Debug, Default)]
pub struct OnBatch {
    sample_weight: Option<Result<Samples>>,
    sample_weights: Option<Result<Vec<Option<Samples>>>>,
    class_weight: Option<ClassWeight>,
}

impl OnBatch {
    /// No weights.
    pub fn new() -> Self {
        Self::default()
    }

    /// The weights of samples, steps or pixels, as in [`Fit::sample_weight`](super::Fit::sample_weight).
    #[must_use]
    pub fn sample_weight(mut self, weights: impl IntoSamples) -> Self {
        self.sample_weight = Some(weights.into_samples());
        self
    }

    /// Separate weights for each target, as in
    /// [`Dataset::with_sample_weights`](crate::datasets::Dataset::with_sample_weights).
    #[must_use]
    pub fn sample_weights<W: IntoSamples>(mut self, weights: impl IntoIterator<Item = Option<W>>) -> Self {
        let weights = weights.into_iter().map(|weights| weights.map(IntoSamples::into_samples).transpose());
        self.sample_weights = Some(weights.collect());
        self
    }

    /// The weights of classes, as in [`Fit::class_weight`](super::Fit::class_weight); for training only.
    #[must_use]
    pub fn class_weight(mut self, weights: impl IntoIterator<Item = (usize, f32)>) -> Self {
        self.class_weight = Some(ClassWeight::new(weights));
        self
    }
}

impl Model {
    /// Trains on one batch; loss and metrics are those of this batch alone, before the step.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub fn train_on_batch(&mut self, x: impl IntoFields, y: impl IntoFields) -> Result<Scores> {
        self.train_on_batch_with(x, y, OnBatch::new())
    }

    /// As [`train_on_batch`](Self::train_on_batch), with weights.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// use brasa::training::OnBatch;
    /// # fn main() -> brasa::Result<()> {
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(1).kernel_initializer("zeros").input_shape(1))?;
    /// model.compile(Compile::new("sgd", "mse"))?;
    /// let (x, y) = (vec![1.0f32, 1.0], vec![2.0f32, 4.0]);
    /// let scores = model.train_on_batch_with(x, y, OnBatch::new().sample_weight(vec![1.0f32, 0.5]))?;
    /// assert_eq!(scores.loss, (4.0 + 8.0) / 2.0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub fn train_on_batch_with(
        &mut self,
        x: impl IntoFields,
        y: impl IntoFields,
        arguments: OnBatch,
    ) -> Result<Scores> {
        let (batch, fitted) = self.whole_batch("train_on_batch", Dataset::new(x, y)?, arguments)?;
        let outcome = self.train_step(&batch, self.seed())?;
        let scores = self.scores(&batch, &fitted, &outcome)?;
        let place = outcome.fault.and_then(|fault| fault.place);
        if scores.loss.is_finite() {
            return Ok(scores);
        }
        let compiled = self.expect_compiled("train_on_batch")?;
        let iteration = compiled.state.iterations;
        let rate = compiled.optimizer.learning_rate_argument().at(iteration.saturating_sub(1));
        let batch = usize::try_from(iteration).unwrap_or(usize::MAX);
        Err(Error::NonFinite { loss: scores.loss as f32, epoch: 1, batch, learning_rate: rate, place })
    }

    /// Loss and metrics of one batch.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn test_on_batch(&self, x: impl IntoFields, y: impl IntoFields) -> Result<Scores> {
        self.test_on_batch_with(x, y, OnBatch::new())
    }

    /// As [`test_on_batch`](Self::test_on_batch), with sample weights.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate); [`Error::Argument`] for class weights, which are for training.
    pub fn test_on_batch_with(&self, x: impl IntoFields, y: impl IntoFields, arguments: OnBatch) -> Result<Scores> {
        if arguments.class_weight.is_some() {
            return Err(Error::argument("class_weight", "none outside training; or sample_weight", "class weights"));
        }
        let (batch, fitted) = self.whole_batch("test_on_batch", Dataset::new(x, y)?, arguments)?;
        let outcome = self.test_step(&batch)?;
        self.scores(&batch, &fitted, &outcome)
    }

    /// The outputs for one batch.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn predict_on_batch(&self, x: impl IntoSamples) -> Result<ArrayD<f32>> {
        let x = x.into_samples()?;
        let batch_size = x.len().max(1);
        self.predict_with(x, Predict::new().batch_size(batch_size))
    }

    fn whole_batch(&self, action: &'static str, mut data: Dataset, arguments: OnBatch) -> Result<(Batch, Fitted)> {
        self.expect_compiled(action)?;
        check_not_empty(data.len())?;
        if let Some(weights) = arguments.sample_weight {
            data = data.with_sample_weight(weights?)?;
        }
        if let Some(weights) = arguments.sample_weights {
            data = data.with_sample_weights(weights?)?;
        }
        let fitted = self.fit_shapes(&data, action)?;
        self.admit_fed(&fitted.batch(data.len()), action == "train_on_batch", 0)?;
        let mut host = gather(&data, fitted.staged.as_deref(), (0..data.len()).collect())?;
        if let Some(weights) = arguments.class_weight {
            weights.check()?;
            weights.weigh(&mut host, &fitted)?;
        }
        Ok((self.upload(host, &fitted)?, fitted))
    }

    fn scores(&self, batch: &Batch, fitted: &Fitted, outcome: &StepResult) -> Result<Scores> {
        let mut trackers = Trackers::new(self.expect_compiled("a step")?, fitted)?;
        trackers.update(batch, outcome)?;
        let metrics = trackers.results()?.into_iter().filter(|(name, _)| name != "loss").collect();
        Ok(Scores { loss: trackers.loss()?, metrics, samples: batch.samples })
    }
}
