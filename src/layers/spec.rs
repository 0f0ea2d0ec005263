//! What a layer says of a weight before there is one.

use crate::constraints::Constraint;
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::regularizers::Regularizer;
use crate::shape::{MOST_VALUES, check_rank, count};

/// A weight that a layer needs: its name, sizes and how it starts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WeightSpec {
    /// Keras's name: `kernel`, `bias`, `gamma`…
    pub name: String,
    /// Where it lies inside a layer that holds others, such as `cell` or `forward_layer/cell`; empty for its own.
    pub group: String,
    /// Another part in which Keras's files hold it a second time.
    pub also_in: Option<String>,
    /// The sizes.
    pub sizes: Vec<usize>,
    /// How it starts.
    pub initializer: Initializer,
    /// The values of it that start at 1, whatever the initializer says.
    pub ones: std::ops::Range<usize>,
    /// Values with which it starts in place of the initializer's, such as those found in data.
    pub values: Option<Vec<f32>>,
    /// Inputs and outputs as initializers that scale by them count, where the sizes do not tell.
    pub fans: Option<[usize; 2]>,
    /// Whether training may change it, as far as the layer may be trained.
    pub trainable: bool,
    /// The penalty on it.
    pub regularizer: Option<Regularizer>,
    /// The limit on it.
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

    /// A weight that the layer itself changes, such as a moving average.
    #[must_use]
    pub fn non_trainable(mut self) -> Self {
        self.trainable = false;
        self
    }

    /// With some values that start at 1, whatever the initializer says, as the bias of an LSTM's forget gate does.
    #[must_use]
    pub fn with_ones(mut self, ones: std::ops::Range<usize>) -> Self {
        self.ones = ones;
        self
    }

    /// With values to start with, if there are some.
    #[must_use]
    pub fn with_values(mut self, values: Option<Vec<f32>>) -> Self {
        self.values = values;
        self
    }

    /// With inputs and outputs as initializers are to count them; they multiply to the number of values.
    #[must_use]
    pub fn with_fans(mut self, fans: [usize; 2]) -> Self {
        self.fans = Some(fans);
        self
    }

    /// The values with which it starts; `place` tells its random numbers from all others.
    pub(crate) fn start(&self, place: &[u64]) -> Result<Vec<f32>> {
        if let Some(values) = &self.values {
            return Ok(values.clone());
        }
        let fans = self.fans.as_ref().filter(|_| self.initializer.scales());
        let mut values = self.initializer.values(fans.map_or(&self.sizes[..], |fans| fans), place)?;
        if let Some(ones) = values.get_mut(self.ones.clone()) {
            ones.fill(1.0);
        }
        Ok(values)
    }

    /// With a penalty on it.
    #[must_use]
    pub fn regularizer(mut self, regularizer: &Option<Regularizer>) -> Self {
        self.regularizer.clone_from(regularizer);
        self
    }

    /// With a limit on it.
    #[must_use]
    pub fn constraint(mut self, constraint: &Option<Constraint>) -> Self {
        self.constraint.clone_from(constraint);
        self
    }

    /// Inside the part `group` of the layer.
    #[must_use]
    pub fn in_group(mut self, group: &str) -> Self {
        let inside = |own: &str| if own.is_empty() { group.to_owned() } else { format!("{group}/{own}") };
        self.also_in = self.also_in.as_deref().map(inside);
        self.group = inside(&self.group);
        self
    }

    /// Which Keras's files hold a second time, in the part `group`: a layer's weight that its wrapper keeps too.
    #[must_use]
    pub(crate) fn also_in(mut self, group: &str) -> Self {
        self.also_in = Some(group.to_owned());
        self
    }

    /// Number of values.
    pub fn count(&self) -> usize {
        self.sizes.iter().fold(1, |product: usize, size| product.saturating_mul(*size))
    }

    /// Refuses sizes that no weight can have, and names of initializers, penalties and limits that do not exist.
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
        // More values than memory can address would overflow before they could be refused.
        if count(&self.sizes).is_none() {
            return Err(Error::shape(format!("at most {MOST_VALUES} values in a weight"), format!("{:?}", self.sizes)));
        }
        self.constraint.as_ref().map_or(Ok(()), |constraint| constraint.check_rank(self.sizes.len()))
    }
}
