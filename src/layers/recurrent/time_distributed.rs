//! `TimeDistributed`: the same layer at every step.

use crate::error::{Error, Result};
use crate::layers::wrapped::{inner_forward, inner_weights};
use crate::layers::{BuiltIn, Call, Conv2D, Dense, Layer, WeightSpec, Wrapped};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// Applies a layer to every step alike.
    ///
    /// All steps go through the layer at once, as samples of one large batch; a layer that gathers statistics of its
    /// batch, such as `BatchNormalization`, gathers those of all steps together.
    ///
    /// # Shapes
    /// `(batch, steps, …)` → `(batch, steps, …)`, each step as the layer makes it; weights those of the layer.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(TimeDistributed::new(Conv2D::new(4, 3)).input_shape((10, 8, 8, 1)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 10, 6, 6, 4)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct TimeDistributed {
        /// The layer.
        layer: Wrapped,
    }
}

impl TimeDistributed {
    /// `layer` at every step.
    pub fn new(layer: impl Into<Wrapped>) -> Self {
        Self::required(layer.into())
    }
}

/// The shape of one step of all samples.
fn step_shape(input: &Shape) -> Result<Shape> {
    match input.sizes() {
        [batch, _, rest @ ..] if !rest.is_empty() => Ok(Shape::new([&[*batch], rest].concat())),
        _ => Err(Error::shape("at least ndim=3", format!("ndim={}, full shape {input}", input.rank()))),
    }
}

impl Layer for TimeDistributed {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        let step = self.layer.layer().output_shape(&step_shape(input)?)?;
        let (batch, steps) = (input.sizes()[0], input.sizes()[1]);
        Ok(Shape::new([&[batch, steps], step.sample()].concat()))
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        inner_weights(self.layer.layer(), &step_shape(input)?, "layer")
    }

    fn given_weights(&self, input: &Shape) -> Result<Vec<Option<Value>>> {
        self.layer.layer().brought_weights(&step_shape(input)?)
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn check_values(&self, values: &[f32]) -> Result<bool> {
        self.layer.layer().check_values(values)
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let sizes = input.sizes();
        let (batch, steps) = (sizes[0], sizes[1]);
        let flat = input.reshape(&[&[batch * steps], &sizes[2..]].concat())?;
        let (output, _) = inner_forward(self.layer.layer(), flat, call, 0, 0, None)?;
        let sample = output.sizes()[1..].to_vec();
        output.reshape(&[&[batch, steps], sample.as_slice()].concat())
    }
}

impl BuiltIn for TimeDistributed {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(Dense::new(3).activation("tanh")), Shape::batch_of((4, 2))),
            (Self::new(Conv2D::new(2, 2)), Shape::batch_of((2, 3, 4, 1))),
        ]
    }
}
