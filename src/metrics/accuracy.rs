//! How often predictions are right.

use super::MeanFunction;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::losses::match_shapes;
use crate::ops::Value;

/// Predictions above the threshold count as 1: how often they equal the targets, over the last dimension.
#[derive(Clone, Debug)]
pub struct BinaryAccuracy {
    /// The bound between 0 and 1.
    pub threshold: f32,
}

impl Default for BinaryAccuracy {
    fn default() -> Self {
        Self { threshold: 0.5 }
    }
}

impl MeanFunction for BinaryAccuracy {
    fn values(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        let y_true = match_shapes(y_true, &y_pred)?;
        Ok(y_pred.greater_scalar(self.threshold).equal(y_true).mean_axis(last))
    }

    fn config(&self) -> Option<(&'static str, Config)> {
        let mut config = Config::new();
        config.insert("threshold".into(), self.threshold.into());
        Some(("BinaryAccuracy", config))
    }
}

/// How often the most probable class is that of the one-hot target.
#[derive(Clone, Debug, Default)]
pub struct CategoricalAccuracy;

impl MeanFunction for CategoricalAccuracy {
    fn values(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        let y_true = match_shapes(y_true, &y_pred)?;
        Ok(y_pred.argmax(last).equal(y_true.argmax(last)))
    }

    fn config(&self) -> Option<(&'static str, Config)> {
        Some(("CategoricalAccuracy", Config::new()))
    }
}

/// How often the most probable class is the label.
#[derive(Clone, Debug, Default)]
pub struct SparseCategoricalAccuracy;

impl MeanFunction for SparseCategoricalAccuracy {
    fn values(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        let classes = y_pred.argmax(last);
        if classes.len() != y_true.len() {
            let received = format!("{:?}", y_true.sizes());
            return Err(Error::data("labels y", format!("{} integers", classes.len()), received));
        }
        let y_true = y_true.reshape(&classes.sizes())?;
        Ok(classes.equal(y_true))
    }

    fn config(&self) -> Option<(&'static str, Config)> {
        Some(("SparseCategoricalAccuracy", Config::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::tests::rows;

    #[test]
    fn the_most_probable_class_counts() {
        let predictions = rows(&[&[0.1, 0.9], &[0.8, 0.2]]);
        let sparse = SparseCategoricalAccuracy.values(rows(&[&[1.0, 1.0]]).reshape(&[2]).unwrap(), predictions.clone());
        assert_eq!(sparse.unwrap().to_vec().unwrap(), [1.0, 0.0]);
        let one_hot = CategoricalAccuracy.values(rows(&[&[0.0, 1.0], &[1.0, 0.0]]), predictions.clone());
        assert_eq!(one_hot.unwrap().to_vec().unwrap(), [1.0, 1.0]);
        let binary = BinaryAccuracy::default().values(rows(&[&[0.0, 1.0], &[1.0, 1.0]]), predictions);
        assert_eq!(binary.unwrap().to_vec().unwrap(), [1.0, 0.5]);
    }
}
