//! Accuracy metrics.

use super::{MeanFunction, described};
use crate::config::Config;
use crate::error::Result;
use crate::losses::{as_column, check_label_shape};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// The fraction of predictions that equal the targets.
    pub struct Accuracy {
        /// The metric's name.
        name: Option<String> = None,
    }
}

impl MeanFunction for Accuracy {
    fn values(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        Ok(y_pred.equal(y_true))
    }

    fn config(&self) -> Option<(&'static str, Config)> {
        described(self)
    }
}

crate::describe! {
    /// The fraction of predictions that equal the targets, as 1 above the threshold and 0 otherwise.
    pub struct BinaryAccuracy {
        /// The threshold between 0 and 1.
        threshold: f32 = 0.5,
        /// The metric's name.
        name: Option<String> = None,
    }
}

impl MeanFunction for BinaryAccuracy {
    fn values(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        Ok(y_pred.greater_scalar(self.threshold).equal(y_true))
    }

    fn config(&self) -> Option<(&'static str, Config)> {
        described(self)
    }
}

crate::describe! {
    /// The fraction of samples whose most probable class is that of the one-hot target.
    pub struct CategoricalAccuracy {
        /// The metric's name.
        name: Option<String> = None,
    }
}

impl MeanFunction for CategoricalAccuracy {
    fn values(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        Ok(y_pred.argmax(last).equal(y_true.argmax(last)))
    }

    fn config(&self) -> Option<(&'static str, Config)> {
        described(self)
    }
}

crate::describe! {
    /// The fraction of samples whose most probable class is the label.
    pub struct SparseCategoricalAccuracy {
        /// The metric's name.
        name: Option<String> = None,
    }
}

impl MeanFunction for SparseCategoricalAccuracy {
    fn values(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        let y_true = as_column(y_true, &y_pred, last)?;
        Ok(y_pred.argmax(last).equal(y_true))
    }

    fn check_shape(&self, target: &Shape, output: &Shape) -> Result<()> {
        check_label_shape(target, output)
    }

    fn config(&self) -> Option<(&'static str, Config)> {
        described(self)
    }
}
