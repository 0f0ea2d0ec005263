//! `Minimum`: the minimum of its inputs.

use super::{broadcast, example_shapes, extremes, onnx_merge};
use crate::error::Result;
use crate::layers::{Arguments, BuiltIn, Call, Edge, Exporting, Layer};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// The element-wise minimum of its inputs. Masked steps of an input are ignored.
    ///
    /// # Shapes
    /// Inputs of one shape → that shape; sizes of 1 are repeated, and an input of fewer dimensions is repeated along
    /// those that it lacks, which come after the batch.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let (a, b) = (Input::new(4).symbol(), Input::new(4).symbol());
    /// let merged = Minimum::new().call([&a, &b])?;
    /// assert_eq!(merged.shape().to_string(), "(None, 4)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Minimum {}
}

impl Minimum {
    /// The layer; it has no arguments.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Layer for Minimum {
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
        onnx_merge(to, "Min", 1.0)
    }

    fn forward_all(&self, inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
        extremes(inputs, call, |a, b| a.minimum(b))
    }
}

impl BuiltIn for Minimum {
    fn examples_of_several() -> Vec<(Self, Vec<Shape>)> {
        example_shapes().into_iter().map(|shapes| (Self::new(), shapes)).collect()
    }
}
