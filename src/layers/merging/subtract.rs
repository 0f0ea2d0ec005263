//! `Subtract`: the difference of its two inputs.

use super::{aligned, any_mask, broadcast, example_shapes, frozen_merge, onnx_merge};
use crate::error::{Error, Result};
use crate::kernels::merge::Merge;
use crate::layers::{Arguments, BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// The first of its two inputs minus the second, element-wise.
    ///
    /// # Shapes
    /// Inputs of one shape → that shape; sizes of 1 are repeated, and an input of fewer dimensions is repeated along
    /// those that it lacks, which come after the batch.
    ///
    /// The output has a mask if all inputs have one: the union of their masks.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let (a, b) = (Input::new(4).symbol(), Input::new(4).symbol());
    /// let merged = Subtract::new().call([&a, &b])?;
    /// assert_eq!(merged.shape().to_string(), "(None, 4)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Subtract {}
}

impl Subtract {
    /// The layer; it has no arguments.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Layer for Subtract {
    fn output_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
        arguments.expect_only(&[])?;
        if inputs.len() != 2 {
            return Err(Error::shape("exactly 2 inputs", inputs.len()));
        }
        Ok(vec![broadcast(inputs)?])
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn takes_a_list(&self, _: usize) -> bool {
        true
    }

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        frozen_merge(freezing, Merge::Subtract, 1.0)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        onnx_merge(to, "Sub", 1.0)
    }

    fn forward_all(&self, inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
        call.set_output_masks(vec![any_mask(call)]);
        let difference = aligned(inputs)?.into_iter().reduce(|a, b| a - b);
        Ok(difference.into_iter().collect())
    }
}

impl BuiltIn for Subtract {
    fn examples_of_several() -> Vec<(Self, Vec<Shape>)> {
        example_shapes().into_iter().map(|shapes| (Self::new(), shapes)).collect()
    }
}
