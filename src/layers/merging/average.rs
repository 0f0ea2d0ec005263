//! `Average`: the mean of its inputs.

use super::{aligned, any_mask, broadcast, example_shapes, frozen_merge, onnx_merge};
use crate::error::Result;
use crate::kernels::merge::Merge;
use crate::layers::{Arguments, BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// The element-wise mean of its inputs.
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
    /// let merged = Average::new().call([&a, &b])?;
    /// assert_eq!(merged.shape().to_string(), "(None, 4)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Average {}
}

impl Average {
    /// The layer; it has no arguments.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Layer for Average {
    fn output_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
        arguments.expect_only(&[])?;
        Ok(vec![broadcast(inputs)?])
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn takes_a_list(&self, _: usize) -> bool {
        true
    }

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        frozen_merge(freezing, Merge::Add, 1.0 / freezing.inputs.len() as f32)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let factor = 1.0 / to.inputs().len() as f32;
        onnx_merge(to, "Add", factor)
    }

    fn forward_all(&self, inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
        call.set_output_masks(vec![any_mask(call)]);
        let count = inputs.len() as f32;
        let sum = aligned(inputs)?.into_iter().reduce(|sum, input| sum + input);
        Ok(sum.into_iter().map(|sum| sum.mul_scalar(1.0 / count)).collect())
    }
}

impl BuiltIn for Average {
    fn examples_of_several() -> Vec<(Self, Vec<Shape>)> {
        example_shapes().into_iter().map(|shapes| (Self::new(), shapes)).collect()
    }
}
