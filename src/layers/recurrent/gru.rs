//! `GRU` and its cell: gated recurrent units.

use super::recurrent;
use super::shared::gate;
use crate::activations::Activation;
use crate::error::Result;
use crate::kernels::rnn::{PreparedGru, StepOrder};
use crate::layers::{
    Arguments, BuiltIn, Call, Edge, Exporting, Freezing, Frozen, FrozenStep, Layer, OnnxNumbers as Numbers, WeightSpec,
};
use crate::ops::{Recurrence, Value};
use crate::shape::Shape;

recurrent! {
    /// Gated recurrent units (Cho et al. 2014), step by step from `h = 0`:
    ///
    /// `z = σ(xz + hz)`, `r = σ(xr + hr)`, `g = tanh(xg + r · hg)`, `h = z · h + (1 − z) · g`, where `xz, xr, xg = x ·
    /// kernel + bias[0]` and `hz, hr, hg = h · recurrent_kernel + bias[1]`, with `recurrent_activation` for σ and
    /// `activation` for tanh. Without `reset_after` there is only one bias, and `g` is computed from `(r · h)` times
    /// the kernel.
    ///
    /// Masked steps change nothing.
    ///
    /// # Shapes
    /// `(batch, steps, features)` → `(batch, units)`, or `(batch, steps, units)` with `return_sequences`; weights
    /// `kernel` (features, 3 · units), `recurrent_kernel` (units, 3 · units) and `bias` (2, 3 · units), in the order z,
    /// r, g; without `reset_after` the bias has the sizes (3 · units).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(GRU::new(4).input_shape((10, 8)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 4)");
    /// assert_eq!(model.count_params()?, 3 * 4 * (8 + 4 + 2));
    /// # Ok::<(), brasa::Error>(())
    /// ```
    GRU, GRUCell, 3, 1, [
        /// Applied to the gates.
        recurrent_activation: Activation = Activation::Sigmoid,
        /// Whether the reset gate is applied after the matrix product, not before.
        reset_after: bool = true,
    ]
}

impl Layer for GRU {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.shared().output_shape(input, &[&self.activation, &self.recurrent_activation])
    }

    fn output_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
        let activations = &[&self.activation, &self.recurrent_activation];
        self.shared().output_shapes(inputs, arguments, activations, 1)
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        let columns = self.units.saturating_mul(3);
        let bias = if self.reset_after { vec![2, columns] } else { vec![columns] };
        self.shared().weights(input, &bias, 0..0)
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
        if !self.reset_after {
            return None;
        }
        let prepared =
            self.shared().prepared(freezing, (&self.activation, &self.recurrent_activation), PreparedGru::new)?;
        let order = StepOrder { backwards: self.go_backwards, sequences: self.return_sequences };
        Some(FrozenGRU { prepared, order }.into())
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let (mut bias, mut recurrent_bias) = (to.weight_if(self.use_bias, 2)?, None);
        if self.reset_after
            && let Some(both) = bias.take()
        {
            let (first, second) = both.values.split_at(both.values.len() / 2);
            let row = |values: &[f32]| Some(Numbers { sizes: vec![values.len()], values: values.to_vec() });
            (bias, recurrent_bias) = (row(first), row(second));
        }
        let activations = [&self.recurrent_activation, &self.activation];
        let attributes = vec![("linear_before_reset", i64::from(self.reset_after).into())];
        self.shared().onnx(to, "GRU", &[0, 1, 2], [bias, recurrent_bias], &activations, attributes)
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        Ok(self.forward_all(vec![input], call)?.remove(0))
    }

    fn forward_all(&self, inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
        let (activation, recurrent_activation) = (&self.activation, &self.recurrent_activation);
        let cell = if self.reset_after { Recurrence::Gru } else { Recurrence::GruResetBefore };
        if let Some(outputs) = self.shared().fast(&inputs, call, cell, 1, activation, recurrent_activation)? {
            return Ok(outputs);
        }
        let (units, batch) = (self.units, inputs.first().map_or(0, |input| input.sizes()[0]));
        let bias = self.use_bias.then(|| call.weight(2));
        let (bias, recurrent_bias) = match bias {
            Some(bias) if self.reset_after => {
                let row = |row| bias.clone().narrow(0, row, 1).reshape(&[3 * units]);
                (Some(row(0)?), Some(row(1)?.broadcast(&[1], &[batch, 3 * units])?))
            }
            other => (other, None),
        };
        self.shared().run(inputs, call, bias, 1, |inputs, state, recurrent| {
            let gates = if self.reset_after { 0..3 } else { 0..2 };
            let mut inner = recurrent.product(&state[0], gates)?;
            if let Some(bias) = &recurrent_bias {
                inner = inner + bias.clone();
            }
            let both = |index| gate(&inputs, index, units) + gate(&inner, index, units);
            let update = self.recurrent_activation.apply(both(0))?;
            let reset = self.recurrent_activation.apply(both(1))?;
            let inner = if self.reset_after {
                reset * gate(&inner, 2, units)
            } else {
                recurrent.product(&(reset * state[0].clone()), 2..3)?
            };
            let candidate = self.activation.apply(gate(&inputs, 2, units) + inner)?;
            // Not h − g times z plus g, which is NaN for an infinite g.
            let rest = update.clone().mul_scalar(-1.0).add_scalar(1.0);
            Ok(vec![update * state[0].clone() + rest * candidate])
        })
    }
}

/// The layer in a predictor.
#[derive(Debug)]
struct FrozenGRU {
    prepared: PreparedGru,
    order: StepOrder,
}

impl FrozenStep for FrozenGRU {
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

impl BuiltIn for GRU {
    fn renew(config: &mut crate::config::Config, keras_2: bool) {
        if keras_2 {
            config.entry("reset_after").or_insert(serde_json::json!(false));
        }
        super::renew_gates(config, keras_2);
    }

    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(3), Shape::batch_of((4, 2))),
            (Self::new(2).reset_after(false).return_sequences(true).go_backwards(true), Shape::batch_of((3, 2))),
            (Self::new(2).dropout(0.3).recurrent_dropout(0.3).use_bias(false), Shape::batch_of((3, 2))),
            (Self::new(2).reset_after(false).recurrent_dropout(0.3), Shape::batch_of((3, 2))),
        ]
    }
}
