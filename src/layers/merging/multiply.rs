//! `Multiply`: the product of its inputs.

use super::{
    aligned, any_mask, broadcast, choose, either, example_shapes, for_each_value, frozen_merge, masks_of, onnx_merge,
};
use crate::error::Result;
use crate::kernels::merge::Merge;
use crate::layers::{Arguments, BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// The element-wise product of its inputs.
    ///
    /// A masked step of an input is a factor of 1; if all inputs have masks, steps masked in all of them become 0.
    ///
    /// # Shapes
    /// Inputs of one shape → that shape; sizes of 1 are repeated, and an input of fewer dimensions is repeated along
    /// those that it lacks, which come after the batch.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let (image, weight) = (Input::new((8, 8, 3)).symbol(), Input::new(3).symbol());
    /// let weighted = Multiply::new().call([&image, &weight])?;
    /// assert_eq!(weighted.shape().to_string(), "(None, 8, 8, 3)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Multiply {}
}

impl Multiply {
    /// The layer; it has no arguments.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Layer for Multiply {
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
        frozen_merge(freezing, Merge::Multiply, 1.0)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        // Masks change the merged values here.
        to.refuse_masks()?;
        onnx_merge(to, "Mul", 1.0)
    }

    fn forward_all(&self, inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
        call.set_output_masks(vec![any_mask(call)]);
        let masks = masks_of(&inputs, call);
        let all = masks.iter().all(Option::is_some);
        let mut counted: Option<Value> = None;
        let mut product: Option<Value> = None;
        for (input, mask) in aligned(inputs)?.into_iter().zip(masks) {
            let factor = match mask {
                None => input,
                Some(mask) => {
                    let mask = for_each_value(&mask, &input)?;
                    counted = Some(match counted {
                        Some(counted) => either(counted, mask.clone()),
                        None => mask.clone(),
                    });
                    let ones = Value::full(&input.sizes(), 1.0, &input.device())?;
                    choose(mask, input, ones)
                }
            };
            product = Some(match product {
                Some(product) => product * factor,
                None => factor,
            });
        }
        let product = match counted.filter(|_| all) {
            Some(counted) => product.map(|product| product * counted),
            None => product,
        };
        Ok(product.into_iter().collect())
    }
}

impl BuiltIn for Multiply {
    fn examples_of_several() -> Vec<(Self, Vec<Shape>)> {
        example_shapes().into_iter().map(|shapes| (Self::new(), shapes)).collect()
    }
}
