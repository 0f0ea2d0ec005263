//! The calls on one batch, for those who write the loop themselves.

use ndarray::ArrayD;

use super::Scores;
use super::batches::HostBatch;
use super::evaluate::check_not_empty;
use super::predict::Predict;
use super::step::{Batch, Fitted};
use super::trackers::Trackers;
use crate::datasets::{Dataset, IntoSamples, Samples, Source};
use crate::error::{Error, Result};
use crate::model::Model;

impl Model {
    /// Trains on one batch; loss and metrics are those of this batch alone, before the step.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub fn train_on_batch(&mut self, x: impl IntoSamples, y: impl IntoSamples) -> Result<Scores> {
        let (batch, fitted) = self.whole_batch("train_on_batch", x.into_samples()?, y.into_samples()?)?;
        let outcome = self.train_step(&batch, self.seed())?;
        let place = outcome.fault.and_then(|fault| fault.place);
        let scores = self.scores(&batch, &fitted, outcome.loss, &outcome.y_pred)?;
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
    pub fn test_on_batch(&self, x: impl IntoSamples, y: impl IntoSamples) -> Result<Scores> {
        let (batch, fitted) = self.whole_batch("test_on_batch", x.into_samples()?, y.into_samples()?)?;
        let outcome = self.test_step(&batch)?;
        self.scores(&batch, &fitted, outcome.loss, &outcome.y_pred)
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

    fn whole_batch(&self, action: &'static str, x: Samples, y: Samples) -> Result<(Batch, Fitted)> {
        let compiled = self.expect_compiled(action)?;
        let data = Dataset::new(x, y)?;
        check_not_empty(data.len())?;
        let fitted = self.fit_shapes(data.x_shape(), data.y_shape(), &*compiled.loss)?;
        let host = HostBatch { indices: (0..data.len()).collect(), x: data.x().to_vec_f32(), y: data.y().to_vec_f32() };
        Ok((self.upload(host, &fitted)?, fitted))
    }

    fn scores(&self, batch: &Batch, fitted: &Fitted, loss: crate::Value, y_pred: &crate::Value) -> Result<Scores> {
        let mut trackers = Trackers::new(self.expect_compiled("a step")?, &fitted.target, &fitted.output)?;
        trackers.update(loss, batch.samples, &batch.y, y_pred, None)?;
        let metrics = trackers.results()?.into_iter().filter(|(name, _)| name != "loss").collect();
        Ok(Scores { loss: trackers.loss()?, metrics, samples: batch.samples })
    }
}
