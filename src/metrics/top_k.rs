//! Top-k accuracy.

use super::{MeanFunction, described};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::losses::{as_column, check_label_shape, one_hot_like};
use crate::ops::Value;
use crate::shape::Shape;

/// 1 if fewer than k predictions exceed that of the true class, which is how Keras counts ties.
fn in_top_k(right: Value, y_pred: Value, k: usize) -> Value {
    let (last, sizes) = (y_pred.rank() - 1, y_pred.sizes());
    let own = (right * y_pred.clone()).sum_axis(last).expand(&sizes);
    let above = y_pred.greater(own).sum_axis(last);
    above.mul_scalar(-1.0).greater_scalar(-(k as f32))
}

fn check_k(k: usize) -> Result<()> {
    if k > 0 {
        return Ok(());
    }
    Err(Error::argument("k", "an integer above 0", k))
}

crate::describe! {
    /// The fraction of samples whose one-hot class is among the `k` most probable.
    pub struct TopKCategoricalAccuracy {
        /// The number of most probable classes that count.
        k: usize = 5,
        /// The metric's name.
        name: Option<String> = None,
    }
}

impl MeanFunction for TopKCategoricalAccuracy {
    fn values(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        let labels = y_true.argmax(last);
        Ok(in_top_k(one_hot_like(labels, &y_pred, last)?, y_pred, self.k))
    }

    fn check(&self) -> Result<()> {
        check_k(self.k)
    }

    fn config(&self) -> Option<(&'static str, Config)> {
        described(self)
    }
}

crate::describe! {
    /// The fraction of samples whose label is among the `k` most probable classes.
    pub struct SparseTopKCategoricalAccuracy {
        /// The number of most probable classes that count.
        k: usize = 5,
        /// The metric's name.
        name: Option<String> = None,
        /// Whether predictions are class indices, the most probable first, rather than probabilities.
        from_sorted_ids: bool = false,
    }
}

impl MeanFunction for SparseTopKCategoricalAccuracy {
    fn values(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        if !self.from_sorted_ids {
            return Ok(in_top_k(one_hot_like(y_true, &y_pred, last)?, y_pred, self.k));
        }
        let first = self.k.min(y_pred.sizes()[last]);
        let labels = as_column(y_true, &y_pred, last)?;
        let y_pred = y_pred.narrow(last, 0, first);
        let sizes = y_pred.sizes();
        Ok(y_pred.equal(labels.expand(&sizes)).max_axis(last))
    }

    fn check_shape(&self, target: &Shape, output: &Shape) -> Result<()> {
        check_label_shape(target, output)
    }

    fn check(&self) -> Result<()> {
        check_k(self.k)
    }

    fn config(&self) -> Option<(&'static str, Config)> {
        described(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::tests::rows;

    #[test]
    fn sorted_ids_are_searched_from_the_front() {
        let metric = SparseTopKCategoricalAccuracy::default().k(2).from_sorted_ids(true);
        let values = metric.values(rows(&[&[2.0], &[1.0]]), rows(&[&[2.0, 1.0, 0.0], &[0.0, 2.0, 1.0]])).unwrap();
        assert_eq!(values.to_vec().unwrap(), [1.0, 0.0]);
    }
}
