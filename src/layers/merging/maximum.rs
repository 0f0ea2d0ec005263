//! `Maximum`: the maximum of its inputs.

use super::{broadcast, example_shapes, extremes, onnx_merge};
use crate::error::Result;
use crate::layers::{Arguments, BuiltIn, Call, Edge, Exporting, Layer};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// The element-wise maximum of its inputs. Masked steps of an input are ignored.
    ///
    /// # Shapes
    /// Inputs of one shape → that shape; sizes of 1 are repeated, and an input of fewer dimensions is repeated along
    /// those that it lacks, which come after the batch.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let (a, b) = (Input::new(4).symbol(), Input::new(4).symbol());
    /// let merged = Maximum::new().call([&a, &b])?;
    /// assert_eq!(merged.shape().to_string(), "(None, 4)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Maximum {}
}

impl Maximum {
    /// The layer; it has no arguments.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Layer for Maximum {
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

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        // Masks change the merged values here.
        to.refuse_masks()?;
        onnx_merge(to, "Max", 1.0)
    }

    fn forward_all(&self, inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
        extremes(inputs, call, |a, b| a.maximum(b))
    }
}

impl BuiltIn for Maximum {
    fn examples_of_several() -> Vec<(Self, Vec<Shape>)> {
        example_shapes().into_iter().map(|shapes| (Self::new(), shapes)).collect()
    }
}
