//! `SimpleRNN` and its cell: a fully connected recurrence on the inputs and the previous output.

use super::recurrent;
use crate::error::Result;
use crate::layers::{Arguments, BuiltIn, Call, Edge, Exporting, Layer, WeightSpec};
use crate::ops::Value;
use crate::shape::Shape;

recurrent! {
    /// `h = activation(x · kernel + h · recurrent_kernel + bias)`, step by step, from `h = 0`.
    ///
    /// Masked steps change nothing.
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
    SimpleRNN, SimpleRNNCell, 1, 1, []
}

impl Layer for SimpleRNN {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.shared().output_shape(input, &[&self.activation])
    }

    fn output_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
        let activations = &[&self.activation];
        self.shared().output_shapes(inputs, arguments, activations, 1)
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        self.shared().weights(input, &[self.units], 0..0)
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn scratch(&self, input: &Shape, training: bool) -> Result<usize> {
        Ok(self.shared().scratch(input, training, false))
    }

    fn scratch_for(&self, inputs: &[Shape], arguments: &Arguments, training: bool) -> Result<usize> {
        let has_states = arguments.named().next().is_some();
        Ok(inputs.first().map_or(0, |input| self.shared().scratch(input, training, has_states)))
    }

    fn takes_initial_state(&self) -> bool {
        true
    }

    fn is_stateful(&self) -> bool {
        self.stateful
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let bias = to.weight_if(self.use_bias, 2)?;
        self.shared().onnx(to, "RNN", &[0], [bias, None], &[&self.activation], vec![])
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        Ok(self.forward_all(vec![input], call)?.remove(0))
    }

    fn forward_all(&self, inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
        let bias = self.use_bias.then(|| call.weight(2));
        self.shared().run(inputs, call, bias, 1, |inputs, state, recurrent| {
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

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn of(numbers: &[f32], sizes: &[usize]) -> Value {
        Value::from_vec(numbers.to_vec(), sizes, &Device::flex()).unwrap()
    }

    /// As Keras 3.15.1 on TensorFlow.
    #[test]
    fn leading_masked_steps_return_zeros_whatever_the_state() {
        let layer = SimpleRNN::new(1).return_sequences(true).return_state(true);
        let weights = [of(&[1.0], &[1, 1]), of(&[1.0], &[1, 1]), of(&[0.0], &[1])];
        let mut arguments = Arguments::new();
        arguments.push_named("initial_state", vec![true]);
        let masks = vec![Some(of(&[0.0, 1.0, 0.0], &[1, 3])), None];
        let mut call = Call::inference(&weights).given(masks, &arguments).masks_given(true);
        let outputs = layer.forward_all(vec![of(&[1.0; 3], &[1, 3, 1]), of(&[0.5], &[1, 1])], &mut call).unwrap();
        let after = 1.5f32.tanh();
        let close = |value: &Value, expected: &[f32]| {
            value.to_vec().unwrap().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6)
        };
        assert!(close(&outputs[0], &[0.0, after, after]), "{:?}", outputs[0].to_vec());
        assert!(close(&outputs[1], &[after]));
        assert_eq!(call.output_masks().unwrap().iter().map(Option::is_some).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn incompatible_states_are_refused() {
        let layer = SimpleRNN::new(2);
        let refused = |states: &[Shape]| {
            let mut arguments = Arguments::new();
            arguments.push_named("initial_state", vec![true; states.len()]);
            let inputs = [&[Shape::batch_of((3, 1))], states].concat();
            layer.output_shapes(&inputs, &arguments).unwrap_err().to_string()
        };
        assert!(refused(&[Shape::batch_of(3)]).contains("(None, 2)"));
        assert!(refused(&[Shape::batch_of(2), Shape::batch_of(2)]).contains("1 states"));
        let error = layer.output_shapes(&[Shape::batch_of((3, 1)), Shape::batch_of(2)], &Arguments::new());
        assert!(error.unwrap_err().to_string().contains("initial_state"));
    }
}
