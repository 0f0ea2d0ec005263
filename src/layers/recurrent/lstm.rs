//! `LSTM` and its cell: long short-term memory.

use super::recurrent;
use super::shared::{gate, lstm_states};
use crate::activations::Activation;
use crate::error::Result;
use crate::kernels::rnn::{PreparedLstm, StepOrder};
use crate::layers::{Arguments, BuiltIn, Call, Edge, Exporting, Freezing, Frozen, FrozenStep, Layer, WeightSpec};
use crate::ops::{Recurrence, Value};
use crate::shape::Shape;

recurrent! {
    /// Long short-term memory (Hochreiter and Schmidhuber 1997), step by step from `h = c = 0`:
    ///
    /// `i, f, g, o = x · kernel + h · recurrent_kernel + bias`, `c = σ(f) · c + σ(i) · tanh(g)`, `h = σ(o) · tanh(c)`,
    /// with `recurrent_activation` for σ and `activation` for tanh.
    ///
    /// Masked steps change nothing.
    ///
    /// # Shapes
    /// `(batch, steps, features)` → `(batch, units)`, or `(batch, steps, units)` with `return_sequences`; weights
    /// `kernel` (features, 4 · units), `recurrent_kernel` (units, 4 · units) and `bias` (4 · units), in the order i, f,
    /// g, o.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(LSTM::new(4).return_sequences(true).input_shape((10, 8)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 10, 4)");
    /// assert_eq!(model.count_params()?, 4 * 4 * (8 + 4 + 1));
    /// # Ok::<(), brasa::Error>(())
    /// ```
    LSTM, LSTMCell, 4, 2, [
        /// Applied to the gates.
        recurrent_activation: Activation = Activation::Sigmoid,
        /// Whether the forget gate's bias starts at 1, so that little is forgotten at first.
        unit_forget_bias: bool = true,
    ]
}

impl Layer for LSTM {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.shared().output_shape(input, &[&self.activation, &self.recurrent_activation])
    }

    fn output_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
        let activations = &[&self.activation, &self.recurrent_activation];
        self.shared().output_shapes(inputs, arguments, activations, 2)
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        let ones = if self.unit_forget_bias { self.units..self.units.saturating_mul(2) } else { 0..0 };
        self.shared().weights(input, &[self.units.saturating_mul(4)], ones)
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

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        let prepared =
            self.shared().prepared(freezing, (&self.activation, &self.recurrent_activation), PreparedLstm::new)?;
        let order = StepOrder { backwards: self.go_backwards, sequences: self.return_sequences };
        Some(FrozenLSTM { prepared, order }.into())
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let bias = to.weight_if(self.use_bias, 2)?;
        let activations = [&self.recurrent_activation, &self.activation, &self.activation];
        // (Keras: input, forget, cell, output; ONNX: input, output, forget, cell.)
        self.shared().onnx(to, "LSTM", &[0, 3, 1, 2], [bias, None], &activations, vec![])
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        Ok(self.forward_all(vec![input], call)?.remove(0))
    }

    fn forward_all(&self, inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
        let (activation, recurrent_activation) = (&self.activation, &self.recurrent_activation);
        if let Some(outputs) =
            self.shared().fast(&inputs, call, Recurrence::Lstm, 2, activation, recurrent_activation)?
        {
            return Ok(outputs);
        }
        let bias = self.use_bias.then(|| call.weight(2));
        self.shared().run(inputs, call, bias, 2, |inputs, state, recurrent| {
            let gates = inputs + recurrent.product(&state[0], 0..4)?;
            let part = |index, activation: &Activation| activation.apply(gate(&gates, index, self.units));
            lstm_states(part, &state[1], &self.activation, &self.recurrent_activation)
        })
    }
}

/// The layer in a predictor.
#[derive(Debug)]
struct FrozenLSTM {
    prepared: PreparedLstm,
    order: StepOrder,
}

impl FrozenStep for FrozenLSTM {
    fn operations(&self) -> usize {
        self.prepared.operations()
    }

    fn workspace(&self, samples: usize, _: usize) -> usize {
        self.prepared.workspace(samples)
    }

    fn run(&self, inputs: &[&[f32]], _: usize, _: usize, output: &mut [f32]) {
        self.prepared.forward(inputs[0], self.order, output);
    }
}

impl BuiltIn for LSTM {
    fn renew(config: &mut crate::config::Config, keras_2: bool) {
        super::renew_gates(config, keras_2);
    }

    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(3), Shape::batch_of((4, 2))),
            (Self::new(2).return_sequences(true).go_backwards(true), Shape::batch_of((3, 2))),
            (Self::new(2).recurrent_activation("hard_sigmoid").unit_forget_bias(false), Shape::batch_of((3, 2))),
            (Self::new(2).dropout(0.3).recurrent_dropout(0.3).use_bias(false), Shape::batch_of((3, 2))),
            (Self::new(2).dropout(0.3), Shape::batch_of((3, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sequential;
    use crate::prelude::*;

    #[test]
    fn the_forget_gate_starts_open() {
        let mut model = Sequential::new();
        model.add(LSTM::new(2).input_shape((3, 1))).unwrap();
        let weights = model.get_weights().unwrap();
        assert_eq!(weights[2].as_slice().unwrap(), [0., 0., 1., 1., 0., 0., 0., 0.]);
        // In nested layers too.
        let mut model = Sequential::new();
        model.add(Bidirectional::new(LSTM::new(1)).input_shape((3, 1))).unwrap();
        assert_eq!(model.get_weights().unwrap()[5].as_slice().unwrap(), [0., 1., 0., 0.]);
    }

    #[test]
    fn unsupported_arguments_are_refused() {
        let input = Shape::batch_of((3, 1));
        assert!(LSTM::new(2).return_state(true).output_shape(&input).is_err());
        assert!(LSTM::new(2).activation("glu").output_shape(&input).is_err());
        assert!(LSTM::new(2).recurrent_activation("sigmid").output_shape(&input).is_err());
        assert!(LSTM::new(2).unroll(true).output_shape(&input).is_ok());
    }
}
