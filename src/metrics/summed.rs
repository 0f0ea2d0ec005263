//! Metrics that are functions of sums over all samples.

use std::any::TypeId;
use std::fmt::Debug;

use burn::tensor::Device;

use super::total::Total;
use super::{Metric, Score, name_of};
use crate::config::{Config, Configure};
use crate::error::{Error, Result};
use crate::losses::{match_shapes, same_shape};
use crate::ops::Value;
use crate::shape::Shape;

/// A metric that is a function of sums over all samples, such as counts of right and wrong answers.
///
/// ```
/// use brasa::metrics::{Metric, SumMetric, Summed};
/// use brasa::{Result, Value};
///
/// brasa::describe! {
///     /// The mean prediction over the mean target.
///     pub struct Bias {
///         /// The metric's name.
///         name: Option<String> = None,
///     }
/// }
///
/// impl SumMetric for Bias {
///     fn sums(&self, y_true: Value, y_pred: Value, _: Option<&Value>) -> Result<Value> {
///         Value::concat(vec![y_true.sum(), y_pred.sum()], 0)
///     }
///
///     fn results(&self, sums: &[f64]) -> Vec<f64> {
///         vec![sums[1] / sums[0]]
///     }
/// }
///
/// let metric: Box<dyn Metric> = Box::new(Summed::new(Bias::default()));
/// assert_eq!(metric.name(), "bias");
/// ```
pub trait SumMetric: Configure + Clone + Debug + Send + Sync + 'static {
    /// The summands of a batch; nothing is read back from the device.
    ///
    /// # Shapes
    /// `y_pred` the model's output, `y_true` of a shape accepted by [`check_shape`](Self::check_shape), or of the
    /// output's shape if the two differ only by a last dimension of 1, `weights` (batch,) or (batch, steps, …) → an
    /// equal number of sums for each batch.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) for incompatible shapes.
    fn sums(&self, y_true: Value, y_pred: Value, weights: Option<&Value>) -> Result<Value>;

    /// Refuses targets whose shape does not fit the model's output; by default the shapes must be equal up to a last
    /// dimension of 1.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) with both shapes.
    fn check_shape(&self, target: &Shape, output: &Shape) -> Result<()> {
        same_shape(target, output)
    }

    /// The metric from the sums: one number, or one per class or threshold.
    fn results(&self, sums: &[f64]) -> Vec<f64>;

    /// Whether this number of sums is possible for this metric. A checkpoint in the middle of an epoch with another
    /// number is refused before [`results`](Self::results) gets it; by default any number is accepted.
    fn can_have(&self, sums: usize) -> bool {
        let _ = sums;
        true
    }

    /// Whether the result is a list, one number per class or threshold, even a list of one; by default it is a single
    /// number.
    fn is_list(&self) -> bool {
        false
    }

    /// Refuses invalid arguments.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument).
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// A [`SumMetric`] with the sums since the last reset.
#[derive(Clone, Debug)]
pub struct Summed<M> {
    name: String,
    metric: M,
    total: Total,
}

impl<M: SumMetric> Summed<M> {
    /// The metric before the first batch, under its own name.
    pub fn new(metric: M) -> Self {
        Self { name: name_of(&metric), metric, total: Total::default() }
    }

    /// The same under another name, if one is given.
    pub(super) fn named(self, name: Option<String>) -> Self {
        Self { name: name.unwrap_or(self.name), ..self }
    }
}

impl<M: SumMetric> Metric for Summed<M> {
    fn name(&self) -> &str {
        &self.name
    }

    fn update(&mut self, y_true: &Value, y_pred: &Value, weights: Option<&Value>) -> Result<()> {
        let y_true = match_shapes(y_true, y_pred, |target, output| self.metric.check_shape(target, output))?;
        self.total.add(self.metric.sums(y_true, y_pred.clone(), weights)?)
    }

    fn result(&self) -> Result<Score> {
        let sums = self.total.read()?;
        let results = if sums.is_empty() { vec![0.0] } else { self.metric.results(&sums) };
        Ok(match results[..] {
            [only] if !self.metric.is_list() => Score::One(only),
            _ => Score::Several(results),
        })
    }

    fn is_list(&self) -> bool {
        self.metric.is_list()
    }

    fn reset(&mut self) {
        self.total.reset();
    }

    fn state(&self) -> Result<Option<Vec<f64>>> {
        self.total.state().map(Some)
    }

    fn sums(&self) -> Result<Option<Vec<f64>>> {
        self.total.read().map(Some)
    }

    fn set_sums(&mut self, sums: &[f64]) {
        self.total = Total::of(sums.to_vec());
    }

    fn restore(&mut self, state: &[f64], device: &Device) -> Result<()> {
        self.total.restore(state, device)?;
        match self.total.width().filter(|width| !self.metric.can_have(*width)) {
            None => Ok(()),
            Some(width) => {
                self.total.reset();
                Err(Error::Syntax(format!("the saved state of the metric `{}` has {width} sums", self.name)))
            }
        }
    }

    fn check(&self) -> Result<()> {
        self.metric.check()
    }

    fn check_shape(&self, target: &Shape, output: &Shape) -> Result<()> {
        self.metric.check_shape(target, output)
    }

    fn boxed_clone(&self) -> Box<dyn Metric> {
        Box::new(self.clone())
    }

    fn config(&self) -> Option<(&'static str, Config)> {
        let mut config = self.metric.config().ok()?;
        config.insert("name".into(), self.name.clone().into());
        Some((M::CLASS_NAME, config))
    }

    fn described_type(&self) -> Option<TypeId> {
        Some(TypeId::of::<M>())
    }
}

/// `a / b`, or 0 where b is 0.
pub(super) fn ratio(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::tests::rows;
    use crate::metrics::{
        AUC, BinaryIoU, F1Score, FBetaScore, FalsePositives, IoU, MeanIoU, OneHotIoU, OneHotMeanIoU, Precision,
        PrecisionAtRecall, R2Score, Recall, RootMeanSquaredError, TruePositives,
    };

    /// The state of a checkpoint must be one of the metric: its results are read by index.
    #[test]
    fn sums_of_another_metric_are_refused() {
        let thresholds = vec![0.25f32, 0.5];
        let metrics: Vec<Box<dyn Metric>> = vec![
            Box::new(Summed::new(RootMeanSquaredError::default())),
            Box::new(Summed::new(R2Score::default())),
            Box::new(Summed::new(F1Score::default())),
            Box::new(Summed::new(FBetaScore::default().average("micro".to_owned()))),
            Box::new(Summed::new(FBetaScore::default().average("weighted".to_owned()))),
            Box::new(Summed::new(IoU::new(3, vec![2]))),
            Box::new(Summed::new(MeanIoU::new(3))),
            Box::new(Summed::new(OneHotIoU::new(2, vec![0]))),
            Box::new(Summed::new(OneHotMeanIoU::new(2))),
            Box::new(Summed::new(BinaryIoU::default())),
            Box::new(Summed::new(AUC::default())),
            Box::new(Summed::new(Precision::default().thresholds(thresholds.clone()))),
            Box::new(Summed::new(Recall::default())),
            Box::new(Summed::new(PrecisionAtRecall::new(0.5))),
            Box::new(Summed::new(TruePositives::default().thresholds(thresholds))),
            Box::new(Summed::new(FalsePositives::default())),
        ];
        let device = Device::flex();
        let (y_true, y_pred) = (rows(&[&[0.0, 1.0], &[1.0, 0.0]]), rows(&[&[0.2, 0.7], &[0.6, 0.1]]));
        for mut metric in metrics {
            metric.update(&y_true, &y_pred, None).unwrap();
            let (state, result) = (metric.state().unwrap().unwrap(), metric.result().unwrap());
            metric.restore(&state, &device).unwrap();
            assert_eq!(metric.result().unwrap(), result, "{metric:?}");
            let own = state[0] as usize;
            for width in [1, 3, own - 1, own + 1] {
                for (rows, summed) in [(1.0, 0.0), (0.0, 1.0)] {
                    let forged = [vec![width as f64, rows, summed], vec![0.5; width]].concat();
                    let error = metric.restore(&forged, &device).map(|()| metric.result()).unwrap_err();
                    assert!(error.to_string().contains(metric.name()), "{metric:?}, {width}: {error}");
                }
            }
            metric.result().unwrap();
        }
    }
}
