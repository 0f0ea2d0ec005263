//! The metrics: what is watched but not trained on, summed over the samples of an epoch.
//!
//! A user's own metric is the same trait:
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
mod list;
mod mean;

use std::fmt::Debug;

use crate::config::Config;
use crate::error::Result;
use crate::ops::Value;

pub use accuracy::{BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy};
pub use list::{MetricArgument, names};
pub use mean::{LossMean, Mean, MeanFunction};

/// A number that is gathered batch by batch.
pub trait Metric: Debug + Send + Sync {
    /// Under which it stands in the history.
    fn name(&self) -> &str;

    /// Takes in a batch; nothing is read back from the device.
    ///
    /// # Shapes
    /// `y_true` as it came, `y_pred` the model's output, `weights` (batch,).
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) for shapes that do not fit.
    fn update(&mut self, y_true: &Value, y_pred: &Value, weights: Option<&Value>) -> Result<()>;

    /// The number so far. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device fails.
    fn result(&self) -> Result<f64>;

    /// Forgets all batches.
    fn reset(&mut self);

    /// A copy.
    fn boxed_clone(&self) -> Box<dyn Metric>;

    /// How a Keras file tells it, if it can.
    fn config(&self) -> Option<(&'static str, Config)> {
        None
    }
}

impl Clone for Box<dyn Metric> {
    fn clone(&self) -> Self {
        (**self).boxed_clone()
    }
}
