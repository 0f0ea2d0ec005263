//! What the recurrent layers have in common: their weights, and the way through the steps.

use crate::activations::Activation;
use crate::constraints::Constraint;
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::layers::regularization::{check_rate, drop_out};
use crate::layers::{Call, WeightSpec};
use crate::ops::{self, Cell, Steps, Value};
use crate::regularizers::Regularizer;
use crate::shape::Shape;

/// How a weight starts, the penalty and the limit on it.
type Weighting<'a> = (&'a Initializer, &'a Option<Regularizer>, &'a Option<Constraint>);

/// The arguments that all recurrent layers have; their descriptions are in the layers.
pub(super) struct Shared<'a> {
    pub gates: usize,
    pub units: usize,
    pub use_bias: bool,
    pub kernel: Weighting<'a>,
    pub recurrent: Weighting<'a>,
    pub bias: Weighting<'a>,
    pub activity_regularizer: &'a Option<Regularizer>,
    pub dropout: f32,
    pub recurrent_dropout: f32,
    pub seed: Option<u64>,
    pub return_sequences: bool,
    pub return_state: bool,
    pub go_backwards: bool,
    pub stateful: bool,
    pub zero_output_for_mask: bool,
}

impl Shared<'_> {
    /// (batch, steps, features) → (batch, units), or (batch, steps, units) with `return_sequences`.
    pub fn output_shape(&self, input: &Shape, activations: &[&Activation]) -> Result<Shape> {
        if self.units == 0 {
            return Err(Error::argument("units", "an integer above 0", self.units));
        }
        check_rate("dropout", self.dropout)?;
        check_rate("recurrent_dropout", self.recurrent_dropout)?;
        for activation in activations {
            activation.check()?;
            if **activation == Activation::Glu {
                return Err(Error::argument("activation", "one that keeps the number of features", activation));
            }
        }
        let refused = [
            ("return_state", self.return_state, "false: a Sequential hands on one value"),
            ("stateful", self.stateful, "false: each sample begins with a state of zeros"),
        ];
        if let Some((argument, _, supported)) = refused.into_iter().find(|(_, set, _)| *set) {
            return Err(Error::unsupported(format!("a recurrent layer with {argument}=true"), supported));
        }
        input.expect_rank(3)?;
        input.last()?;
        let (batch, steps) = (input.sizes()[0], input.sizes()[1]);
        if steps == Some(0) {
            return Err(Error::shape("at least one step", input));
        }
        let units = Some(self.units);
        Ok(if self.return_sequences { Shape::new([batch, steps, units]) } else { Shape::new([batch, units]) })
    }

    /// The kernel of the inputs, that of the state, and the bias of the given sizes, of which `ones` start at 1.
    pub fn weights(&self, input: &Shape, bias: &[usize], ones: std::ops::Range<usize>) -> Result<Vec<WeightSpec>> {
        let spec = |name, sizes: Vec<usize>, (initializer, regularizer, constraint): Weighting<'_>| {
            let spec = WeightSpec::new(name, sizes, initializer.clone());
            spec.regularizer(regularizer).constraint(constraint).in_group("cell")
        };
        let columns = self.units.saturating_mul(self.gates);
        let mut specs = vec![
            spec("kernel", vec![input.last()?, columns], self.kernel),
            spec("recurrent_kernel", vec![self.units, columns], self.recurrent),
        ];
        if self.use_bias {
            specs.push(spec("bias", bias.to_vec(), self.bias).with_ones(ones));
        }
        Ok(specs)
    }

    /// Values that all steps take besides input and output: the gates and the states of each. Where they are gone through
    /// one by one, each has some kilobytes of values' descriptions in training, however small the values are.
    pub fn scratch(&self, input: &Shape, training: bool) -> usize {
        // About forty operations.
        const STEP: usize = 2048;
        // Whether there will be a mask, which only single steps heed, is not known here: of few steps it matters little.
        const FEW_STEPS: usize = 1 << 14;
        let (batch, steps) = (input.sizes()[0].unwrap_or(1), input.sizes()[1].unwrap_or(1));
        let states = batch.saturating_mul(steps).saturating_mul(self.units);
        let values = states.saturating_mul(if training { self.gates + 2 } else { self.gates + 1 });
        let one_by_one = self.dropout > 0.0 || self.recurrent_dropout > 0.0 || steps > FEW_STEPS;
        let descriptions = if training && one_by_one { steps.saturating_mul(STEP) } else { 0 };
        values.saturating_add(descriptions)
    }

    /// Inputs times kernel plus bias for all steps at once: (batch, steps, gates · units).
    fn project(&self, input: Value, call: &mut Call<'_>, bias: Option<Value>) -> Result<Value> {
        let sizes = input.sizes();
        let (rows, columns) = (sizes[0] * sizes[1], self.units * self.gates);
        let flat = |value: Value| value.reshape(&[rows, sizes[2]]);
        let kernel = call.weight(0);
        let dropped = call.training_mode() && self.dropout > 0.0;
        let mut drop = |value: Value| {
            let noise = [sizes[0], 1, sizes[2]];
            drop_out(value, &noise, self.dropout, &mut call.rng(self.seed))
        };
        let product = if dropped && self.recurrent_dropout > 0.0 {
            // Keras then draws for each gate.
            let gates = (0..self.gates).map(|gate| {
                let kernel = kernel.clone().narrow(1, gate * self.units, self.units);
                Ok(flat(drop(input.clone())?)?.matmul(kernel))
            });
            Value::concat(gates.collect::<Result<_>>()?, 1)?
        } else {
            flat(if dropped { drop(input)? } else { input })?.matmul(kernel)
        };
        let product = match bias {
            Some(bias) => product + bias.broadcast(&[1], &[rows, columns])?,
            None => product,
        };
        product.reshape(&[sizes[0], sizes[1], columns])
    }

    /// Through the steps: `step` is told the projected inputs of one and the state before it (`states` values of shape
    /// (batch, units), 0 at first), and gives the state after it, of which the first value is the output.
    ///
    /// A step that a mask leaves out changes nothing.
    pub fn run(
        &self,
        input: Value,
        call: &mut Call<'_>,
        bias: Option<Value>,
        states: usize,
        step: impl Fn(Value, &[Value], &Recurrent) -> Result<Vec<Value>>,
    ) -> Result<Value> {
        let sizes = input.sizes();
        let (batch, steps, device) = (sizes[0], sizes[1], input.device());
        let outer = call.mask.take();
        let mask = outer.clone().map(|mask| of_steps(mask, &sizes[..2])).transpose()?;
        let inputs = self.project(input, call, bias)?;
        let zeros = Value::full(&[batch, self.units], 0.0, &device)?;
        let recurrent = self.recurrent(call, &zeros)?;
        let mut state = vec![zeros.clone(); states];
        let mut outputs = Vec::new();
        let apart = inputs.is_tracked().then(|| inputs.clone().split_apart(1));
        for index in 0..steps {
            let index = if self.go_backwards { steps - 1 - index } else { index };
            let inputs = match &apart {
                Some(parts) => parts[index].clone(),
                None => inputs.clone().narrow(1, index, 1),
            };
            let inputs = inputs.reshape(&[batch, self.units * self.gates])?;
            let mut after = step(inputs, &state, &recurrent)?;
            let mut output = None;
            if let Some(mask) = &mask {
                let counts = mask.clone().narrow(1, index, 1).expand(&[batch, self.units]);
                for (after, before) in after.iter_mut().zip(&state) {
                    *after = before.clone().select_where(counts.clone(), after.clone());
                }
                output = self.zero_output_for_mask.then(|| zeros.clone().select_where(counts, after[0].clone()));
            }
            if self.return_sequences || index == if self.go_backwards { 0 } else { steps - 1 } {
                outputs.push(output.unwrap_or_else(|| after[0].clone()).reshape(&[batch, 1, self.units])?);
            }
            state = after;
        }
        let output = Value::concat(outputs, 1)?;
        let output = if self.return_sequences {
            call.mask = outer;
            output
        } else {
            output.reshape(&[batch, self.units])?
        };
        call.add_activity_loss(self.activity_regularizer, &output)?;
        Ok(output)
    }

    /// Through all steps at once, where there is a kernel: no step is left out and nothing is dropped.
    pub fn fast(
        &self,
        input: &Value,
        call: &mut Call<'_>,
        cell: Cell,
        activation: &Activation,
        recurrent_activation: &Activation,
    ) -> Result<Option<Value>> {
        if call.mask.is_some() || (call.training_mode() && (self.dropout > 0.0 || self.recurrent_dropout > 0.0)) {
            return Ok(None);
        }
        let (go_backwards, return_sequences) = (self.go_backwards, self.return_sequences);
        let steps = Steps { cell, activation, recurrent_activation, go_backwards, return_sequences };
        let weights = call.weights();
        let bias = self.use_bias.then(|| &weights[2]);
        let output = ops::fast_recurrent(input, &weights[0], &weights[1], bias, steps);
        if let Some(output) = &output {
            call.add_activity_loss(self.activity_regularizer, output)?;
        }
        Ok(output)
    }

    fn recurrent(&self, call: &mut Call<'_>, zeros: &Value) -> Result<Recurrent> {
        let dropped = call.training_mode() && self.recurrent_dropout > 0.0;
        let masks = (0..if dropped { self.gates } else { 0 }).map(|_| {
            let ones = zeros.clone().add_scalar(1.0);
            let sizes = ones.sizes();
            drop_out(ones, &sizes, self.recurrent_dropout, &mut call.rng(self.seed))
        });
        Ok(Recurrent { masks: masks.collect::<Result<_>>()?, kernel: call.weight(1), units: self.units })
    }
}

/// A mask of steps; of one for the steps inside them, a step counts if any of them does.
fn of_steps(mask: Value, sizes: &[usize]) -> Result<Value> {
    let own = mask.sizes();
    match own[..] {
        [batch, steps] if sizes == [batch, steps] => Ok(mask),
        [batch, steps, inner] if sizes == [batch, steps] && inner > 0 => mask.max_axis(2).reshape(sizes),
        _ => Err(Error::shape(format!("a mask of shape {sizes:?}"), format!("{own:?}"))),
    }
}

/// The kernel of the state, and what dropout leaves of the state for each gate.
pub(super) struct Recurrent {
    kernel: Value,
    masks: Vec<Value>,
    units: usize,
}

impl Recurrent {
    /// The state times the kernel's columns for `gates`: (batch, number of gates · units).
    pub fn product(&self, state: &Value, gates: std::ops::Range<usize>) -> Result<Value> {
        let columns = |gates: std::ops::Range<usize>| {
            self.kernel.clone().narrow(1, gates.start * self.units, gates.len() * self.units)
        };
        if self.masks.is_empty() {
            return Ok(state.clone().matmul(columns(gates)));
        }
        let products = gates.map(|gate| (state.clone() * self.masks[gate].clone()).matmul(columns(gate..gate + 1)));
        Value::concat(products.collect(), 1)
    }
}

/// The columns of one gate.
pub(super) fn gate(values: &Value, gate: usize, units: usize) -> Value {
    values.clone().narrow(1, gate * units, units)
}
