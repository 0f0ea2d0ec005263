//! `Input`: the shape of a model's samples.

use crate::error::{Error, Result};
use crate::layers::{BuiltIn, Call, Layer, LayerArguments, OutputMemory};
use crate::ops::Value;
use crate::shape::{IntoSample, Shape};

crate::describe! {
    /// Says what shape one sample has; computes nothing and is not counted among a model's layers.
    ///
    /// # Shapes
    /// `(batch, …)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Input::new((28, 28, 1)))?.add(Flatten::new())?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 784)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Input as "InputLayer" {
        /// Sparse inputs, which Brasa does not do.
        sparse: bool = false,
        /// Ragged inputs, which Brasa does not do.
        ragged: bool = false,
        /// Inputs that may be missing, which Brasa does not have.
        optional: bool = false,
    }
}

impl Input {
    /// Samples of the given shape.
    pub fn new(sample: impl IntoSample) -> Self {
        Self::default().input_shape(sample)
    }
}

impl Layer for Input {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        for (argument, set) in [("sparse", self.sparse), ("ragged", self.ragged), ("optional", self.optional)] {
            if set {
                return Err(Error::unsupported(format!("an Input with {argument}=true"), "dense inputs"));
            }
        }
        Ok(input.clone())
    }

    fn check_values(&self, _: &[f32]) -> Result<bool> {
        Ok(true)
    }

    fn output_memory(&self) -> OutputMemory {
        OutputMemory::View
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        Ok(input)
    }
}

impl BuiltIn for Input {
    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new((4, 3)), Shape::batch_of((4, 3)))]
    }
}
