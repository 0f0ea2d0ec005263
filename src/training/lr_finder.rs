//! Learning rate range test: many rates, each for one batch.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::batches::{BatchOrder, Loader, default_workers, values_ahead};
use super::class_weight::ClassWeight;
use super::fitted::Augmented;
use crate::datasets::Source;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::optimizers::LearningRate;

/// The decay of the running mean.
const KEPT: f64 = 0.9;

/// The number of batches after which the running mean is reliable.
const SETTLED: usize = 10;

/// The arguments of [`Model::find_learning_rate`].
#[derive(Clone, Debug, PartialEq)]
pub struct FindLearningRate {
    start: f32,
    end: f32,
    steps: usize,
    batch_size: usize,
    shuffle: bool,
    seed: Option<u64>,
    class_weight: Option<ClassWeight>,
}

impl Default for FindLearningRate {
    fn default() -> Self {
        Self::new()
    }
}

impl FindLearningRate {
    /// 300 batches of 32, with rates from 1e-7 to 10.
    pub fn new() -> Self {
        Self { start: 1e-7, end: 10.0, steps: 300, batch_size: 32, shuffle: true, seed: None, class_weight: None }
    }

    /// The first, smallest rate (default 1e-7).
    #[must_use]
    pub fn start(mut self, rate: f32) -> Self {
        self.start = rate;
        self
    }

    /// The last, largest rate (default 10).
    #[must_use]
    pub fn end(mut self, rate: f32) -> Self {
        self.end = rate;
        self
    }

    /// The number of rates tried, each for one batch (default 300).
    #[must_use]
    pub fn steps(mut self, steps: usize) -> Self {
        self.steps = steps;
        self
    }

    /// The batch size (default 32).
    #[must_use]
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// Whether to shuffle the samples (default true).
    #[must_use]
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// The seed of the samples' order and of dropout (default: the model's).
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The weights of classes in the loss, as in [`Fit::class_weight`](super::Fit::class_weight).
    #[must_use]
    pub fn class_weight(mut self, weights: impl IntoIterator<Item = (usize, f32)>) -> Self {
        self.class_weight = Some(ClassWeight::new(weights));
        self
    }

    fn check(&self, samples: usize) -> Result<()> {
        self.class_weight.as_ref().map_or(Ok(()), ClassWeight::check)?;
        super::evaluate::check_not_empty(samples)?;
        if self.batch_size == 0 {
            return Err(Error::argument("batch_size", "an integer above 0", 0));
        }
        if self.steps < 2 * SETTLED {
            return Err(Error::argument("steps", format!("an integer of at least {}", 2 * SETTLED), self.steps));
        }
        if !(self.start > 0.0 && self.start.is_finite()) {
            return Err(Error::argument("start", "a number above 0", self.start));
        }
        if !(self.end > self.start && self.end.is_finite()) {
            return Err(Error::argument("end", format!("a number above the start, {}", self.start), self.end));
        }
        Ok(())
    }

    /// The rate of a step: a geometric progression.
    fn rate(&self, step: usize) -> f32 {
        let share = step as f64 / (self.steps - 1) as f64;
        let (start, end) = (f64::from(self.start).ln(), f64::from(self.end).ln());
        (start + share * (end - start)).exp() as f32
    }
}

/// The result of [`Model::find_learning_rate`]: a loss for each learning rate.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct LearningRates {
    /// The rates, in ascending order.
    pub learning_rates: Vec<f32>,
    /// The loss of the batch that was trained with each rate, before its step.
    pub losses: Vec<f64>,
    /// The running mean of the losses.
    pub smoothed: Vec<f64>,
}

impl LearningRates {
    /// The rate at which the loss falls fastest: a good initial rate. `None` if the loss never falls.
    pub fn steepest(&self) -> Option<f32> {
        let end = self.lowest()?;
        let reach = (self.smoothed.len() / 40).max(1);
        let slope = |index: usize| {
            let (from, to) = (index - reach, (index + reach).min(self.smoothed.len() - 1));
            (self.smoothed[to] - self.smoothed[from]) / (to - from) as f64
        };
        let slopes = (SETTLED + reach..=end).map(|index| (index, slope(index)));
        let (index, slope) = slopes.min_by(|a, b| a.1.total_cmp(&b.1))?;
        (slope < 0.0).then(|| self.learning_rates[index])
    }

    /// A tenth of the rate with the lowest loss: the conservative choice. `None` if the loss never falls.
    pub fn minimum_over_ten(&self) -> Option<f32> {
        self.steepest()?;
        self.lowest().map(|index| self.learning_rates[index] / 10.0)
    }

    /// The index of the lowest mean, once the mean is reliable.
    fn lowest(&self) -> Option<usize> {
        (SETTLED..self.smoothed.len()).min_by(|a, b| self.smoothed[*a].total_cmp(&self.smoothed[*b]))
    }
}

impl Model {
    /// Tries learning rates on a copy of the model: the rate grows by a constant factor from batch to batch, until the
    /// loss has doubled or is no longer finite, or the largest rate is reached.
    ///
    /// The copy starts with the model's weights and a fresh optimizer. The model itself, its weights and its optimizer
    /// are not changed. The method is Smith's range test (arXiv 1506.01186).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// use brasa::training::FindLearningRate;
    ///
    /// # fn main() -> brasa::Result<()> {
    /// let mut model = Sequential::new().with_seed(1);
    /// model.add(Dense::new(1).input_shape(2))?.compile(Compile::new("sgd", "mse"))?;
    /// let x = ndarray::Array::from_shape_fn((64, 2), |(row, column)| (row * 7 + column * 3) as f32 % 5.0);
    /// let y: Vec<f32> = x.rows().into_iter().map(|row| row[0] - 2.0 * row[1]).collect();
    /// let rates = model.find_learning_rate(&Dataset::new(&x, y)?, FindLearningRate::new().batch_size(16))?;
    /// let rate = rates.steepest().expect("the loss falls");
    /// assert!(rate > 1e-4 && rate < 1.0, "{rate}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::State`] before `compile`; [`Error::Data`] for data that does not fit the model or the loss;
    /// [`Error::Argument`] for invalid arguments.
    pub fn find_learning_rate<S: Source + ?Sized>(&self, data: &S, find: FindLearningRate) -> Result<LearningRates> {
        find.check(data.len())?;
        let mut model = self.clone();
        let seed = find.seed.unwrap_or(self.seed());
        let fitted = model.fit_shapes(data, "find_learning_rate")?;
        if let Some(compiled) = &mut model.compiled {
            compiled.forget();
        }
        let mut found = LearningRates::default();
        let mut mean = 0.0;
        let order = BatchOrder {
            samples: 0..data.len(),
            batch_size: find.batch_size,
            steps_per_epoch: Some(find.steps),
            shuffle: find.shuffle.then_some(seed),
        };
        let augmented = Augmented::of(&model, &fitted, seed)?;
        let rows = data.len().min(find.batch_size);
        model.admit_fed(
            &fitted.batch(rows),
            true,
            values_ahead(rows, &fitted, default_workers(), augmented.as_ref())?,
        )?;
        let loader = Loader { augmented: augmented.map(Arc::new), ..Loader::new(data, &fitted) };
        loader.for_each(order.batches(0, 0), |step, mut host| {
            let rate = find.rate(step);
            if let Some(compiled) = &mut model.compiled {
                *compiled.optimizer.learning_rate_argument_mut() = LearningRate::Constant(rate);
            }
            if let Some(weights) = &find.class_weight {
                weights.weigh(&mut host, &fitted)?;
            }
            let batch = model.upload(host, &fitted)?;
            let loss = f64::from(model.train_step(&batch, seed)?.loss.to_scalar()?);
            if !loss.is_finite() {
                return Ok(ControlFlow::Break(()));
            }
            // Corrects the bias of the running mean towards its initial 0.
            mean = KEPT * mean + (1.0 - KEPT) * loss;
            let smoothed = mean / (1.0 - KEPT.powi(step as i32 + 1));
            found.learning_rates.push(rate);
            found.losses.push(loss);
            found.smoothed.push(smoothed);
            let exploded = smoothed > found.smoothed[0] + found.smoothed[0].abs();
            Ok(if exploded { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sequential;
    use crate::prelude::*;

    fn curve(loss: impl Fn(f64) -> f64) -> LearningRates {
        let find = FindLearningRate::new();
        let rates: Vec<f32> = (0..300).map(|step| find.rate(step)).collect();
        let losses: Vec<f64> = rates.iter().map(|rate| loss(f64::from(*rate).log10())).collect();
        LearningRates { learning_rates: rates, smoothed: losses.clone(), losses }
    }

    #[test]
    fn rates_grow_by_a_constant_factor() {
        let find = FindLearningRate::new().start(0.001).end(1.0).steps(31);
        assert!((find.rate(0) - 0.001).abs() < 1e-9 && (find.rate(30) - 1.0).abs() < 1e-6);
        assert!((find.rate(10) - 0.01).abs() < 1e-6);
    }

    #[test]
    fn the_proposals_of_a_known_curve() {
        // Falls fastest at 1e-3, is lowest at 1e-1, then rises.
        let found = curve(|power| if power < -1.0 { -(2.0 * (power + 3.0)).tanh() } else { power + 0.001 });
        let steepest = found.steepest().unwrap();
        assert!((steepest.log10() + 3.0).abs() < 0.1, "{steepest}");
        let careful = found.minimum_over_ten().unwrap();
        assert!((careful.log10() + 2.0).abs() < 0.1, "{careful}");
        let rising = curve(|power| power);
        assert_eq!((rising.steepest(), rising.minimum_over_ten()), (None, None));
        assert_eq!(LearningRates::default().steepest(), None);
    }

    fn model_and_data() -> (Sequential, Dataset) {
        let mut model = Sequential::new().with_seed(3);
        model.add(Dense::new(8).activation("relu").input_shape(2)).unwrap();
        model.add(BatchNormalization::new()).unwrap().add(Dense::new(1)).unwrap();
        model.compile(Compile::new(Adam::new(0.01), "mse")).unwrap();
        let x = ndarray::Array::from_shape_fn((50, 2), |(row, column)| ((row * 5 + column * 3) % 7) as f32 - 3.0);
        let y: Vec<f32> = x.rows().into_iter().map(|row| 2.0 * row[0] - row[1]).collect();
        (model, Dataset::new(&x, y).unwrap())
    }

    #[test]
    fn the_model_and_its_optimizer_are_unchanged() {
        let (mut model, data) = model_and_data();
        let fit = || Fit::new().verbose(Verbosity::Silent).batch_size(8);
        model.fit(&data, fit()).unwrap();
        let (mut other, weights) = (model.clone(), model.get_weights().unwrap());
        let find = FindLearningRate::new().batch_size(8);
        let found = model.find_learning_rate(&data, find.clone()).unwrap();
        assert_eq!(model.get_weights().unwrap(), weights);
        assert!(found.losses.len() > 150 && found.losses.len() <= 300, "{}", found.losses.len());
        assert_eq!(found.losses.len(), found.learning_rates.len());
        assert!(found.steepest().is_some_and(|rate| rate > 1e-4), "{:?}", found.steepest());
        assert_eq!(model.find_learning_rate(&data, find).unwrap(), found, "the same seed, the same test");
        // Training continues as if there had been no test.
        let (a, b) = (model.fit(&data, fit()).unwrap(), other.fit(&data, fit()).unwrap());
        assert_eq!(a.history, b.history);
        assert_eq!(model.get_weights().unwrap(), other.get_weights().unwrap());
    }

    #[test]
    fn an_explosion_ends_the_test() {
        let (mut model, data) = model_and_data();
        model.compile(Compile::new("sgd", "mse")).unwrap();
        let found = model.find_learning_rate(&data, FindLearningRate::new().end(1e6)).unwrap();
        assert!(found.losses.len() < 300 && found.learning_rates.last().is_some_and(|rate| *rate < 1e6));
        assert!(found.losses.iter().all(|loss| loss.is_finite()));
    }

    #[test]
    fn the_order_of_the_samples_is_random_unless_disabled() {
        let (model, data) = model_and_data();
        let losses = |shuffle: bool, seed: u64| {
            let find = FindLearningRate::new().batch_size(8).shuffle(shuffle).seed(seed);
            model.find_learning_rate(&data, find).unwrap().losses
        };
        assert_ne!(losses(true, 1), losses(true, 2));
        assert_eq!(losses(false, 1), losses(false, 2));
    }

    #[test]
    fn invalid_arguments_are_refused() {
        let (model, data) = model_and_data();
        let find = FindLearningRate::new();
        let own = || find.clone();
        for wrong in [own().batch_size(0), own().steps(3), own().start(0.0), own().end(1e-8), own().end(f32::NAN)] {
            let refused = model.find_learning_rate(&data, wrong.clone());
            assert!(matches!(refused, Err(Error::Argument { .. })), "{wrong:?}");
        }
        let mut bare = Sequential::new();
        bare.add(Dense::new(1).input_shape(2)).unwrap();
        assert!(matches!(bare.find_learning_rate(&data, find), Err(Error::State { .. })));
    }
}
