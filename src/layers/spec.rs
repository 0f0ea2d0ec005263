//! The description of a weight before it is created.

use crate::constraints::Constraint;
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::regularizers::Regularizer;
use crate::shape::{MOST_VALUES, check_rank, count};

/// A weight of a layer: its name, sizes and initial values.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WeightSpec {
    /// Keras's name: `kernel`, `bias`, `gamma`…
    pub name: String,
    /// The path inside a layer that holds others, such as `cell` or `forward_layer/cell`; empty for its own weights.
    pub group: String,
    /// Another path at which Keras's files store it a second time.
    pub also_in: Option<String>,
    /// The sizes. Empty for a scalar, whose value has the sizes `[1]`.
    pub sizes: Vec<usize>,
    /// Its initializer.
    pub initializer: Initializer,
    /// The range of values that start at 1, whatever the initializer.
    pub ones: std::ops::Range<usize>,
    /// Initial values in place of the initializer's, such as those learned from data.
    pub values: Option<Vec<f32>>,
    /// Fan-in and fan-out for initializers that scale by them, where the sizes do not imply them.
    pub fans: Option<[usize; 2]>,
    /// Whether it is trainable, if the layer is.
    pub trainable: bool,
    /// Its penalty.
    pub regularizer: Option<Regularizer>,
    /// Its constraint.
    pub constraint: Option<Constraint>,
}

impl WeightSpec {
    /// A trainable weight.
    pub fn new(name: &str, sizes: impl Into<Vec<usize>>, initializer: impl Into<Initializer>) -> Self {
        Self {
            name: name.to_owned(),
            group: String::new(),
            also_in: None,
            sizes: sizes.into(),
            initializer: initializer.into(),
            ones: 0..0,
            values: None,
            fans: None,
            trainable: true,
            regularizer: None,
            constraint: None,
        }
    }

    /// Marks a weight that the layer itself updates, such as a moving average.
    #[must_use]
    pub fn non_trainable(mut self) -> Self {
        self.trainable = false;
        self
    }

    /// Sets a range of values that start at 1, whatever the initializer, as in the bias of an LSTM's forget gate.
    #[must_use]
    pub fn with_ones(mut self, ones: std::ops::Range<usize>) -> Self {
        self.ones = ones;
        self
    }

    /// Sets the initial values, if there are any.
    #[must_use]
    pub fn with_values(mut self, values: Option<Vec<f32>>) -> Self {
        self.values = values;
        self
    }

    /// Sets fan-in and fan-out for initializers; their product is the number of values.
    #[must_use]
    pub fn with_fans(mut self, fans: [usize; 2]) -> Self {
        self.fans = Some(fans);
        self
    }

    /// The initial values; `key` is their rng key.
    pub(crate) fn start(&self, key: &[u64]) -> Result<Vec<f32>> {
        if let Some(values) = &self.values {
            return Ok(values.clone());
        }
        let fans = self.fans.as_ref().filter(|_| self.initializer.scales());
        let mut values = self.initializer.values(fans.map_or(&self.sizes[..], |fans| fans), key)?;
        if let Some(ones) = values.get_mut(self.ones.clone()) {
            ones.fill(1.0);
        }
        Ok(values)
    }

    /// Sets the penalty.
    #[must_use]
    pub fn regularizer(mut self, regularizer: &Option<Regularizer>) -> Self {
        self.regularizer.clone_from(regularizer);
        self
    }

    /// Sets the constraint.
    #[must_use]
    pub fn constraint(mut self, constraint: &Option<Constraint>) -> Self {
        self.constraint.clone_from(constraint);
        self
    }

    /// Moves it into the part `group` of the layer.
    #[must_use]
    pub fn in_group(mut self, group: &str) -> Self {
        let inside = |own: &str| if own.is_empty() { group.to_owned() } else { format!("{group}/{own}") };
        self.also_in = self.also_in.as_deref().map(inside);
        self.group = inside(&self.group);
        self
    }

    /// Sets the path at which Keras's files store it a second time: a layer's weight that its wrapper stores too.
    #[must_use]
    pub(crate) fn also_in(mut self, group: &str) -> Self {
        self.also_in = Some(group.to_owned());
        self
    }

    /// Number of values.
    pub fn count(&self) -> usize {
        self.sizes.iter().fold(1, |product: usize, size| product.saturating_mul(*size))
    }

    /// Refuses invalid sizes, and unknown names of initializers, penalties and constraints.
    ///
    /// # Errors
    /// [`Error::UnknownName`](crate::Error::UnknownName), [`Error::Argument`](crate::Error::Argument).
    pub(crate) fn check(&self) -> Result<()> {
        check_rank(self.sizes.len())?;
        self.initializer.check()?;
        if let Some(regularizer) = &self.regularizer {
            regularizer.check()?;
            regularizer.check_factors()?;
        }
        // More values than memory can address would overflow.
        if count(&self.sizes).is_none() {
            return Err(Error::shape(format!("at most {MOST_VALUES} values in a weight"), format!("{:?}", self.sizes)));
        }
        self.constraint.as_ref().map_or(Ok(()), |constraint| constraint.check_rank(self.sizes.len()))
    }
}
