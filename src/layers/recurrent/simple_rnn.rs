//! `SimpleRNN`: each step sees its inputs and the output of the step before.

use super::recurrent;
use crate::error::Result;
use crate::layers::{BuiltIn, Call, Layer, WeightSpec};
use crate::ops::Value;
use crate::shape::Shape;

recurrent! {
    /// `h = activation(x · kernel + h · recurrent_kernel + bias)`, step by step, from `h = 0`.
    ///
    /// Steps that a mask leaves out change nothing.
    ///
    /// # Shapes
    /// `(batch, steps, features)` → `(batch, units)`, or `(batch, steps, units)` with `return_sequences`; weights
    /// `kernel` (features, units), `recurrent_kernel` (units, units) and `bias` (units).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(SimpleRNN::new(4).input_shape((10, 8)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 4)");
    /// assert_eq!(model.count_params()?, 4 * (8 + 4 + 1));
    /// # Ok::<(), brasa::Error>(())
    /// ```
    SimpleRNN, 1, []
}

impl Layer for SimpleRNN {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.shared().output_shape(input, &[&self.activation])
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        self.shared().weights(input, &[self.units], 0..0)
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn scratch(&self, input: &Shape, training: bool) -> Result<usize> {
        Ok(self.shared().scratch(input, training))
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let bias = self.use_bias.then(|| call.weight(2));
        self.shared().run(input, call, bias, 1, |inputs, state, recurrent| {
            Ok(vec![self.activation.apply(inputs + recurrent.product(&state[0], 0..1)?)?])
        })
    }
}

impl BuiltIn for SimpleRNN {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(3), Shape::batch_of((4, 2))),
            (Self::new(2).return_sequences(true).go_backwards(true).activation("relu"), Shape::batch_of((3, 2))),
            (Self::new(2).dropout(0.3).recurrent_dropout(0.3).use_bias(false), Shape::batch_of((3, 2))),
        ]
    }
}
