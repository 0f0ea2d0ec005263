//! `Identity`: returns its input.

use crate::error::Result;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer, OutputMemory};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// Returns its input unchanged.
    ///
    /// # Shapes
    /// `(batch, …)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Identity::new().input_shape(4))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Identity {}
}

impl Identity {
    /// The layer.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Layer for Identity {
    fn supports_masking(&self) -> bool {
        true
    }

    fn check_values(&self, _: &[f32]) -> Result<bool> {
        Ok(true)
    }

    fn output_memory(&self) -> OutputMemory {
        OutputMemory::View
    }

    fn frozen_step(&self, _: &Freezing<'_>) -> Option<Frozen> {
        Some(Frozen::Same)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        Ok(vec![to.input()])
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        Ok(input)
    }
}

impl BuiltIn for Identity {
    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new(), Shape::batch_of((2, 3)))]
    }
}
