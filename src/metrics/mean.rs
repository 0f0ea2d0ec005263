//! Means over samples.

use std::any::TypeId;
use std::fmt::Debug;

use burn::tensor::Device;

use super::total::Total;
use super::{Metric, Score, described, name_of};
use crate::config::{Config, Configure};
use crate::error::{Error, Result};
use crate::losses::{Loss, match_shapes, same_shape, spread};
use crate::ops::Value;
use crate::shape::Shape;

/// A function that returns one number per sample, of which a metric is the mean.
pub trait MeanFunction: Clone + Debug + Send + Sync + 'static {
    /// The numbers.
    ///
    /// # Shapes
    /// `y_pred` the model's output, `y_true` of a shape accepted by [`check_shape`](Self::check_shape), or of the
    /// output's shape if the two differ only by a last dimension of 1 → (batch, …).
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) for incompatible shapes.
    fn values(&self, y_true: Value, y_pred: Value) -> Result<Value>;

    /// Refuses targets whose shape does not fit the model's output; by default the shapes must be equal up to a last
    /// dimension of 1.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) with both shapes.
    fn check_shape(&self, target: &Shape, output: &Shape) -> Result<()> {
        same_shape(target, output)
    }

    /// Which of the numbers count, 1 or 0 each, if there are weights; by default all.
    ///
    /// # Errors
    /// As [`values`](Self::values).
    fn counted(&self, y_true: &Value, values: &Value) -> Result<Option<Value>> {
        let _ = (y_true, values);
        Ok(None)
    }

    /// Whether a mask of the output's steps selects the numbers that count.
    fn heeds_mask(&self) -> bool {
        true
    }

    /// Refuses invalid arguments.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument).
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Its description in a Keras file, if it has one.
    fn config(&self) -> Option<(&'static str, Config)> {
        None
    }

    /// Whether that description is that of a built-in loss.
    #[doc(hidden)]
    fn is_of_built_in_loss(&self) -> bool {
        false
    }
}

/// The (weighted) mean of a [`MeanFunction`] over all samples since the last reset.
#[derive(Clone, Debug)]
pub struct Mean<F> {
    name: String,
    function: F,
    /// The function's description in a Keras file, if it has one.
    description: Option<(&'static str, Config)>,
    total: Total,
    /// The sum of the weights, if there are any.
    weight: Total,
    count: f64,
}

impl<F: MeanFunction> Mean<F> {
    /// The mean of `function`, under `name` in the history.
    pub fn new(name: impl Into<String>, function: F) -> Self {
        let (total, weight) = (Total::default(), Total::default());
        Self { name: name.into(), description: function.config(), function, total, weight, count: 0.0 }
    }
}

impl<F: MeanFunction + Configure> Mean<F> {
    /// The mean of a described `function`, under its own name.
    pub fn of(function: F) -> Self {
        let description = described(&function);
        Self { description, ..Self::new(name_of(&function), function) }
    }
}

impl<F> Mean<F> {
    /// The same under another name, if one is given.
    pub(super) fn named(self, name: Option<String>) -> Self {
        Self { name: name.unwrap_or(self.name), ..self }
    }
}

impl<F: MeanFunction> Metric for Mean<F> {
    fn name(&self) -> &str {
        &self.name
    }

    fn update(&mut self, y_true: &Value, y_pred: &Value, weights: Option<&Value>) -> Result<()> {
        let y_true = &match_shapes(y_true, y_pred, |target, output| self.function.check_shape(target, output))?;
        let values = self.function.values(y_true.clone(), y_pred.clone())?;
        let Some(weights) = weights else {
            self.count += values.len() as f64;
            return self.total.add(values.sum());
        };
        let mut weights = spread(weights.clone(), &values)?;
        if let Some(counted) = self.function.counted(y_true, &values)? {
            weights = weights * counted;
        }
        self.weight.add(weights.clone().sum())?;
        self.total.add((values * weights).sum())
    }

    fn result(&self) -> Result<Score> {
        let count = self.count + self.weight.read_one()?;
        let total = self.total.read_one()?;
        // Keras's `divide_no_nan`.
        Ok(Score::One(if count == 0.0 { 0.0 } else { total / count }))
    }

    fn follows_mask(&self) -> bool {
        self.function.heeds_mask()
    }

    fn reset(&mut self) {
        self.total.reset();
        self.weight.reset();
        self.count = 0.0;
    }

    fn state(&self) -> Result<Option<Vec<f64>>> {
        Ok(Some([vec![self.count], self.total.state()?, self.weight.state()?].concat()))
    }

    fn sums(&self) -> Result<Option<Vec<f64>>> {
        Ok(Some(vec![self.count + self.weight.read_one()?, self.total.read_one()?]))
    }

    fn set_sums(&mut self, sums: &[f64]) {
        if let [count, total] = *sums {
            (self.count, self.weight, self.total) = (count, Total::default(), Total::of(vec![total]));
        }
    }

    fn restore(&mut self, state: &[f64], device: &Device) -> Result<()> {
        let [count, rest @ ..] = state else {
            return Err(Error::Syntax("the state of a mean is truncated".to_owned()));
        };
        self.count = *count;
        let rest = self.total.restore(rest, device)?;
        self.weight.restore(rest, device)?;
        one_number(&self.name, [&self.total, &self.weight])
    }

    fn check(&self) -> Result<()> {
        self.function.check()
    }

    fn check_shape(&self, target: &Shape, output: &Shape) -> Result<()> {
        self.function.check_shape(target, output)
    }

    fn boxed_clone(&self) -> Box<dyn Metric> {
        Box::new(self.clone())
    }

    fn described_type(&self) -> Option<TypeId> {
        Some(TypeId::of::<F>())
    }

    fn is_of_built_in_loss(&self) -> bool {
        self.function.is_of_built_in_loss()
    }

    fn config(&self) -> Option<(&'static str, Config)> {
        let (class, mut config) = self.description.clone()?;
        config.insert("name".into(), self.name.clone().into());
        Some((class, config))
    }
}

/// Refuses restored sums of more than one number per batch.
pub(super) fn one_number<const N: usize>(name: &str, totals: [&Total; N]) -> Result<()> {
    match totals.into_iter().filter_map(Total::width).find(|width| *width != 1) {
        None => Ok(()),
        Some(width) => Err(Error::Syntax(format!("the saved state of the metric `{name}` has {width} sums, not one"))),
    }
}

/// A loss as a metric.
#[derive(Clone, Debug)]
pub struct LossMean(pub Box<dyn Loss>);

impl MeanFunction for LossMean {
    fn values(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        self.0.losses(y_true, y_pred)
    }

    fn counted(&self, y_true: &Value, values: &Value) -> Result<Option<Value>> {
        self.0.counted(y_true, values)
    }

    fn heeds_mask(&self) -> bool {
        self.0.heeds_mask()
    }

    fn check(&self) -> Result<()> {
        self.0.check()
    }

    fn check_shape(&self, target: &Shape, output: &Shape) -> Result<()> {
        self.0.check_shape(target, output)
    }

    fn config(&self) -> Option<(&'static str, Config)> {
        let mut config = self.0.config().ok()?;
        config.remove("reduction");
        // Keras's metric of this name has no such argument.
        if self.0.class_name() == "BinaryCrossentropy" {
            config.remove("axis");
        }
        Some((self.0.class_name(), config))
    }

    fn is_of_built_in_loss(&self) -> bool {
        self.0.is_built_in()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::MeanAbsoluteError;
    use crate::losses::tests::rows;

    #[test]
    fn a_smaller_last_batch_counts_by_its_size() {
        let mut metric = Mean::new("mae", LossMean(Box::new(MeanAbsoluteError::default())));
        metric.update(&rows(&[&[0.0], &[0.0], &[0.0]]), &rows(&[&[1.0], &[1.0], &[1.0]]), None).unwrap();
        metric.update(&rows(&[&[0.0]]), &rows(&[&[5.0]]), None).unwrap();
        assert_eq!(metric.result().unwrap(), 2.0);
        metric.reset();
        assert_eq!(metric.result().unwrap(), 0.0);
    }

    #[test]
    fn a_mean_refuses_a_state_of_several_sums() {
        let mut metric = Mean::new("mae", LossMean(Box::new(MeanAbsoluteError::default())));
        let forged = [2.0, 2.0, 1.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0];
        let error = metric.restore(&forged, &Device::flex()).unwrap_err().to_string();
        assert!(error.contains("`mae` has 2 sums, not one"), "{error}");
    }

    #[test]
    fn weights_are_applied() {
        let mut metric = Mean::new("mae", LossMean(Box::new(MeanAbsoluteError::default())));
        let weights = rows(&[&[3.0, 1.0]]).reshape(&[2]).unwrap();
        metric.update(&rows(&[&[0.0], &[0.0]]), &rows(&[&[1.0], &[5.0]]), Some(&weights)).unwrap();
        assert_eq!(metric.result().unwrap(), 2.0);
    }
}
