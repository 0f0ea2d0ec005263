//! The metrics: reported but not trained on, accumulated over the samples of an epoch.
//!
//! A metric is a mean over samples ([`MeanFunction`]) or a function of sums over them ([`SumMetric`]); nothing is read
//! back from the device until a result is requested. A custom metric implements the same trait:
//!
//! ```
//! use brasa::metrics::{Mean, MeanFunction, Metric};
//! use brasa::{Result, Value};
//!
//! #[derive(Clone, Debug)]
//! struct LargestError;
//!
//! impl MeanFunction for LargestError {
//!     fn values(&self, y_true: Value, y_pred: Value) -> Result<Value> {
//!         let last = y_pred.rank() - 1;
//!         Ok((y_pred - y_true).abs().max_axis(last))
//!     }
//! }
//!
//! let metric: Box<dyn Metric> = Box::new(Mean::new("largest_error", LargestError));
//! ```

mod accuracy;
mod auc;
mod confusion;
mod constrained;
mod correlation;
mod counts;
mod direction;
mod f_score;
mod iou;
mod list;
mod mean;
mod precision;
mod regression;
mod score;
mod sum;
mod summed;
mod top_k;
mod total;

use std::any::TypeId;
use std::fmt::Debug;

use burn::tensor::Device;

use crate::config::{Config, Configure, snake_case};
use crate::error::Result;
use crate::ops::Value;
use crate::shape::Shape;

pub use accuracy::{Accuracy, BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy};
pub use auc::AUC;
pub use confusion::Thresholds;
pub use constrained::{PrecisionAtRecall, RecallAtPrecision, SensitivityAtSpecificity, SpecificityAtSensitivity};
pub use correlation::{ConcordanceCorrelation, PearsonCorrelation};
pub use counts::{FalseNegatives, FalsePositives, TrueNegatives, TruePositives};
pub(crate) use direction::improves_upwards;
pub use direction::less_is_better;
pub use f_score::{F1Score, FBetaScore};
pub use iou::{BinaryIoU, IoU, MeanIoU, OneHotIoU, OneHotMeanIoU};
pub use list::{MetricArgument, names, register_mean, register_sum};
pub use mean::{LossMean, Mean, MeanFunction};
pub use precision::{Precision, Recall};
pub use regression::{CosineSimilarity, LogCoshError, R2Score, RootMeanSquaredError};
pub use score::Score;
pub use sum::Sum;
pub use summed::{SumMetric, Summed};
pub use top_k::{SparseTopKCategoricalAccuracy, TopKCategoricalAccuracy};
pub use total::Total;

/// A number that is accumulated batch by batch.
pub trait Metric: Debug + Send + Sync {
    /// Its name in the history.
    fn name(&self) -> &str;

    /// Adds a batch; nothing is read back from the device.
    ///
    /// # Shapes
    /// `y_true` as given, `y_pred` the model's output, `weights` (batch,), or (batch, steps), … for weighted steps.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) for incompatible shapes.
    fn update(&mut self, y_true: &Value, y_pred: &Value, weights: Option<&Value>) -> Result<()>;

    /// The result so far: a number, or one per class or threshold. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device fails.
    fn result(&self) -> Result<Score>;

    /// Whether its result is a list, one number per class or threshold; by default it is a single number.
    fn is_list(&self) -> bool {
        false
    }

    /// Whether steps masked in the model's output are ignored: they then get the weight 0. As in Keras this is so for
    /// means; by default all steps count.
    fn follows_mask(&self) -> bool {
        false
    }

    /// Forgets all batches.
    fn reset(&mut self);

    /// The accumulated state, for a checkpoint in the middle of an epoch; `None`, the default, if it has none: there
    /// are then no such checkpoints.
    ///
    /// # Errors
    /// As [`result`](Self::result).
    fn state(&self) -> Result<Option<Vec<f64>>> {
        Ok(None)
    }

    /// Restores the state of a checkpoint.
    ///
    /// # Errors
    /// [`Error::Syntax`](crate::Error::Syntax) if it is not a state of this metric.
    fn restore(&mut self, state: &[f64], device: &Device) -> Result<()> {
        let _ = (state, device);
        Ok(())
    }

    /// The sums over samples of which the result is a function; `None`, the default, if it is not one of sums: such a
    /// metric cannot be used in [distributed](crate::distributed) training, where each rank sums over its own samples.
    /// The list may be empty before the first batch.
    ///
    /// # Errors
    /// As [`result`](Self::result).
    fn sums(&self) -> Result<Option<Vec<f64>>> {
        Ok(None)
    }

    /// Replaces the sums, by those over the samples of all ranks.
    fn set_sums(&mut self, sums: &[f64]) {
        let _ = sums;
    }

    /// Refuses invalid arguments.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument).
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Refuses targets whose shape does not fit the model's output, before anything is computed; by default none.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) with both shapes.
    fn check_shape(&self, target: &Shape, output: &Shape) -> Result<()> {
        let _ = (target, output);
        Ok(())
    }

    /// A copy.
    fn boxed_clone(&self) -> Box<dyn Metric>;

    /// Its description in a Keras file, if it has one.
    fn config(&self) -> Option<(&'static str, Config)> {
        None
    }

    /// The type of its description.
    #[doc(hidden)]
    fn described_type(&self) -> Option<TypeId> {
        None
    }

    /// Whether its description is that of a built-in loss.
    #[doc(hidden)]
    fn is_of_built_in_loss(&self) -> bool {
        false
    }
}

impl Clone for Box<dyn Metric> {
    fn clone(&self) -> Self {
        (**self).boxed_clone()
    }
}

/// The name of a description, or its class's in Keras's snake case.
fn name_of<C: Configure>(described: &C) -> String {
    let config = described.config().unwrap_or_default();
    let name = config.get("name").and_then(|name| name.as_str());
    name.map_or_else(|| snake_case(C::CLASS_NAME), str::to_owned)
}

/// A description in the form of a Keras file.
fn described<C: Configure>(described: &C) -> Option<(&'static str, Config)> {
    described.config().ok().map(|config| (C::CLASS_NAME, config))
}
