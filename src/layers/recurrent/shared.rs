//! Shared by the recurrent layers: their weights, and the loop over the steps.

use super::steps::{After, InitialState, Way, each_step, graph_nodes};
use crate::activations::Activation;
use crate::constraints::Constraint;
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::kernels::rnn as kernels;
use crate::layers::arguments::INITIAL_STATE;
use crate::layers::regularization::{check_rate, drop_out};
use crate::layers::{Arguments, Attribute, Call, Edge, Exporting, Freezing, OnnxNumbers as Numbers, WeightSpec};
use crate::ops::{self, Recurrence, Steps, Value};
use crate::regularizers::Regularizer;
use crate::shape::Shape;

/// The initializer, the penalty and the constraint of a weight.
type Weighting<'a> = (&'a Initializer, &'a Option<Regularizer>, &'a Option<Constraint>);

/// The arguments that all recurrent layers share; they are documented in the layers.
pub(super) struct RecurrentArguments<'a> {
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
    pub way: Way,
    pub stateful: bool,
}

impl RecurrentArguments<'_> {
    /// Like [`output_shapes`](Self::output_shapes), where one output is required.
    pub fn output_shape(&self, input: &Shape, activations: &[&Activation]) -> Result<Shape> {
        self.way.expect_one_output()?;
        Ok(self.output_shapes(std::slice::from_ref(input), &Arguments::new(), activations, 0)?.remove(0))
    }

    /// (batch, steps, features), and the initial states, if given → (batch, units), or (batch, steps, units) with
    /// `return_sequences`; with `return_state` also the `states` final states.
    pub fn output_shapes(
        &self,
        inputs: &[Shape],
        arguments: &Arguments,
        activations: &[&Activation],
        states: usize,
    ) -> Result<Vec<Shape>> {
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
        arguments.expect_only(&[INITIAL_STATE])?;
        let (input, given) = split_states(inputs, arguments)?;
        input.expect_rank(3)?;
        input.last()?;
        let (batch, steps) = (input.sizes()[0], input.sizes()[1]);
        Way::check(steps, input)?;
        let state = Shape::new([batch, Some(self.units)]);
        check_states(given, &vec![state.clone(); states])?;
        let output =
            if self.way.return_sequences { Shape::new([batch, steps, Some(self.units)]) } else { state.clone() };
        let states = if self.way.return_state { states } else { 0 };
        Ok(std::iter::once(output).chain(std::iter::repeat_n(state, states)).collect())
    }

    /// The kernel, the recurrent kernel, and the bias of the given sizes, of which the range `ones` starts at 1.
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

    /// The workspace of all steps: the gates and the states of each. If the steps run one by one, each takes some
    /// kilobytes of graph nodes in training, however small the values are.
    pub fn scratch(&self, input: &Shape, training: bool, has_states: bool) -> usize {
        // Whether there will be a mask, which only the step-by-step path handles, is not known here; for few steps it
        // matters little.
        const FEW_STEPS: usize = 1 << 14;
        let (batch, steps) = (input.sizes()[0].unwrap_or(1), input.sizes()[1].unwrap_or(1));
        let states = batch.saturating_mul(steps).saturating_mul(self.units);
        let values = states.saturating_mul(if training { self.gates + 2 } else { self.gates + 1 });
        let one_by_one = self.dropout > 0.0 || self.recurrent_dropout > 0.0 || steps > FEW_STEPS;
        let one_by_one = one_by_one || has_states || self.way.return_state;
        values.saturating_add(graph_nodes(steps, training && one_by_one))
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
            // Keras then draws a dropout mask per gate.
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

    /// Loops over the steps: `step` gets the projected inputs of one step and the state before it (`states` values of
    /// shape (batch, units), at first the given ones or 0), and returns the next state, whose first value is the
    /// output. The first result is the output, followed by the final states if the layer returns them.
    ///
    /// A masked step keeps the state and repeats the previous output, at first 0.
    pub fn run(
        &self,
        inputs: Vec<Value>,
        call: &mut Call<'_>,
        bias: Option<Value>,
        states: usize,
        step: impl Fn(Value, &[Value], &RecurrentProduct) -> Result<Vec<Value>>,
    ) -> Result<Vec<Value>> {
        let (input, given) = sequence_and_states(inputs, states)?;
        let sizes = input.sizes();
        let (batch, steps, device) = (sizes[0], sizes[1], input.device());
        let outer = call.mask.take();
        let mask = mask_in_use(&outer, &given, call).map(|mask| of_steps(mask, &sizes[..2])).transpose()?;
        let inputs = self.project(input, call, bias)?;
        let zeros = Value::full(&[batch, self.units], 0.0, &device)?;
        let recurrent = self.recurrent(call, &zeros)?;
        let given = match given.is_empty() && self.stateful {
            true => call.kept_states(&vec![vec![batch, self.units]; states])?,
            false => given,
        };
        let is_zero = given.is_empty();
        let start = InitialState { states: if is_zero { vec![zeros; states] } else { given }, is_zero };
        let inputs = each_step(inputs);
        let (output, states) = self.way.through(steps, mask.as_ref(), start, |index, before| {
            Ok(After { output: None, states: step(inputs(index)?, before, &recurrent)? })
        })?;
        self.finish(output, states, outer, call)
    }

    fn finish(
        &self,
        output: Value,
        states: Vec<Value>,
        mask: Option<Value>,
        call: &mut Call<'_>,
    ) -> Result<Vec<Value>> {
        if self.stateful {
            call.keep_states(&states);
        }
        let outputs = self.way.with_states(output, states, mask, call);
        for output in &outputs {
            call.add_activity_loss(self.activity_regularizer, output)?;
        }
        Ok(outputs)
    }

    /// The layer as a predictor has it: what `prepare` makes of its sizes and weights, where a kernel goes through all
    /// steps.
    pub fn prepared<P>(
        &self,
        freezing: &Freezing<'_>,
        (activation, recurrent_activation): (&Activation, &Activation),
        prepare: impl FnOnce(&kernels::Recurrent, &kernels::Weights<'_>) -> Option<P>,
    ) -> Option<P> {
        let [steps, inputs] = *freezing.input()? else { return None };
        if self.stateful || self.way.return_state {
            return None;
        }
        let fast = |activation: &Activation| {
            ops::kernel_activation(activation).filter(|fast| fast.gradient_needs_only_output())
        };
        let sizes = kernels::Recurrent {
            batch: 0,
            steps,
            inputs,
            units: self.units,
            activation: fast(activation)?,
            recurrent_activation: fast(recurrent_activation)?,
        };
        let (kernel, recurrent) = (freezing.weight(0)?, freezing.weight(1)?);
        let bias = if self.use_bias { Some(freezing.weight(2)?) } else { None };
        prepare(&sizes, &kernels::Weights { kernel: &kernel, recurrent: &recurrent, bias: bias.as_deref() })
    }

    /// Runs all steps in one kernel, where there is one: without a mask and without dropout.
    pub fn fast(
        &self,
        inputs: &[Value],
        call: &mut Call<'_>,
        cell: Recurrence,
        states: usize,
        activation: &Activation,
        recurrent_activation: &Activation,
    ) -> Result<Option<Vec<Value>>> {
        let Some((input, given)) = inputs.split_first() else { return Ok(None) };
        check_number(given.len(), states)?;
        let dropped = call.training_mode() && (self.dropout > 0.0 || self.recurrent_dropout > 0.0);
        if mask_in_use(&call.mask, given, call).is_some() || dropped {
            return Ok(None);
        }
        let kept = match given.is_empty() && self.stateful {
            true => call.kept_states(&vec![vec![input.sizes()[0], self.units]; states])?,
            false => Vec::new(),
        };
        let initial = if kept.is_empty() { given } else { &kept };
        let return_state = self.way.return_state || self.stateful;
        let (go_backwards, return_sequences) = (self.way.go_backwards, self.way.return_sequences);
        let steps = Steps { cell, activation, recurrent_activation, go_backwards, return_sequences, return_state };
        let weights = call.weights();
        let bias = self.use_bias.then(|| &weights[2]);
        let outputs = ops::fast_recurrent(input, &weights[0], &weights[1], bias, initial, steps);
        let Some((output, states)) = outputs else { return Ok(None) };
        let mask = call.mask.take();
        self.finish(output, states, mask, call).map(Some)
    }

    fn recurrent(&self, call: &mut Call<'_>, zeros: &Value) -> Result<RecurrentProduct> {
        let dropped = call.training_mode() && self.recurrent_dropout > 0.0;
        let masks = (0..if dropped { self.gates } else { 0 }).map(|_| {
            let ones = zeros.clone().add_scalar(1.0);
            let sizes = ones.sizes();
            drop_out(ones, &sizes, self.recurrent_dropout, &mut call.rng(self.seed))
        });
        Ok(RecurrentProduct { masks: masks.collect::<Result<_>>()?, kernel: call.weight(1), units: self.units })
    }
}

/// The shapes of the sequence and of the initial states.
pub(super) fn split_states<'a>(inputs: &'a [Shape], arguments: &Arguments) -> Result<(&'a Shape, &'a [Shape])> {
    let (sequences, states) = inputs.split_at(arguments.positional(inputs.len()));
    match sequences {
        [sequence] => Ok((sequence, states)),
        _ => Err(Error::shape("one sequence, and states as `initial_state`", format!("{} inputs", sequences.len()))),
    }
}

/// The sequence, and the initial states: none, or all of the layer's.
pub(super) fn sequence_and_states(mut inputs: Vec<Value>, states: usize) -> Result<(Value, Vec<Value>)> {
    if inputs.is_empty() {
        return Err(Error::shape("a sequence", "no input"));
    }
    let given = inputs.split_off(1);
    check_number(given.len(), states)?;
    Ok((inputs.remove(0), given))
}

fn check_number(given: usize, states: usize) -> Result<()> {
    if given == 0 || given == states {
        return Ok(());
    }
    Err(Error::argument(INITIAL_STATE, format!("{states} states"), given))
}

/// Refuses initial states that do not match the layer's; they can be omitted.
pub(super) fn check_states(given: &[Shape], states: &[Shape]) -> Result<()> {
    check_number(given.len(), states.len())?;
    // Operations can change the number of samples.
    let same_batch = |a: &Shape, b: &Shape| match (a.sizes()[0], b.sizes()[0]) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    };
    let fits = |(given, state): (&Shape, &Shape)| {
        given.rank() == state.rank() && given.sample() == state.sample() && same_batch(given, state)
    };
    match given.iter().zip(states).find(|pair| !fits(*pair)) {
        Some((given, state)) => Err(Error::argument(INITIAL_STATE, format!("a state of shape {state}"), given)),
        None => Ok(()),
    }
}

/// The mask in effect. With initial states, Keras passes on a mask that is an argument of the call, but not the one
/// carried by the sequence.
pub(super) fn mask_in_use(mask: &Option<Value>, given: &[Value], call: &Call<'_>) -> Option<Value> {
    mask.clone().filter(|_| given.is_empty() || call.mask_is_given())
}

/// The mask of the steps; from a mask of nested steps, a step counts if any step inside it does.
pub(super) fn of_steps(mask: Value, sizes: &[usize]) -> Result<Value> {
    let own = mask.sizes();
    match own[..] {
        [batch, steps] if sizes == [batch, steps] => Ok(mask),
        [batch, steps, inner] if sizes == [batch, steps] && inner > 0 => mask.max_axis(2).reshape(sizes),
        _ => Err(Error::shape(format!("a mask of shape {sizes:?}"), format!("{own:?}"))),
    }
}

/// The recurrent kernel, and the dropout masks of the state for each gate.
pub(super) struct RecurrentProduct {
    kernel: Value,
    masks: Vec<Value>,
    units: usize,
}

impl RecurrentProduct {
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

/// The states h and c after a step of an LSTM, from the previous c and the gates i, f, g and o: `gate` returns an
/// activated gate by its index.
pub(super) fn lstm_states(
    gate: impl Fn(usize, &Activation) -> Result<Value>,
    carry: &Value,
    activation: &Activation,
    recurrent_activation: &Activation,
) -> Result<Vec<Value>> {
    let input = gate(0, recurrent_activation)?;
    let forget = gate(1, recurrent_activation)?;
    let candidate = gate(2, activation)?;
    let output = gate(3, recurrent_activation)?;
    let carry = forget * carry.clone() + input * candidate;
    Ok(vec![output * activation.apply(carry.clone())?, carry])
}

/// The ONNX name of an activation inside of a recurrent operator, with its `alpha` and `beta`.
fn onnx_activation(activation: &Activation) -> Option<(&'static str, Option<f32>, Option<f32>)> {
    Some(match activation {
        Activation::Tanh => ("Tanh", None, None),
        Activation::Sigmoid => ("Sigmoid", None, None),
        Activation::Relu => ("Relu", None, None),
        Activation::Softsign => ("Softsign", None, None),
        Activation::Softplus => ("Softplus", None, None),
        Activation::Elu | Activation::Celu => ("Elu", Some(1.0), None),
        Activation::LeakyRelu => ("LeakyRelu", Some(0.2), None),
        Activation::HardSigmoid => ("HardSigmoid", Some(1.0 / 6.0), Some(0.5)),
        Activation::HardSigmoidKeras2 => ("HardSigmoid", Some(0.2), Some(0.5)),
        Activation::Linear => ("Affine", Some(1.0), Some(0.0)),
        _ => return None,
    })
}

impl RecurrentArguments<'_> {
    /// The layer as an ONNX operator, whose gates are Keras's in this `order`, with the biases of inputs and states.
    pub fn onnx(
        &self,
        to: &mut Exporting<'_>,
        operator: &'static str,
        order: &[usize],
        biases: [Option<Numbers>; 2],
        activations: &[&Activation],
        mut attributes: Vec<(&'static str, Attribute)>,
    ) -> Result<Vec<Edge>> {
        to.refuse_masks()?;
        if self.stateful {
            return Err(Error::unsupported("a stateful layer in ONNX", "layers that keep no states between batches"));
        }
        let (units, columns) = (self.units, self.units * self.gates);
        // (inputs, gates · units) → (1, gates · units, inputs)
        let arranged = |kernel: Numbers| {
            let [rows, _] = kernel.sizes[..] else { return kernel };
            let columns_of_gates = order.iter().flat_map(|gate| (0..units).map(move |unit| gate * units + unit));
            let values = columns_of_gates.flat_map(|column| (0..rows).map(move |row| row * columns + column));
            let values = values.map(|index| kernel.values[index]).collect();
            Numbers { sizes: vec![1, columns, rows], values }
        };
        let (kernel, recurrent) = (arranged(to.weight(0)?), arranged(to.weight(1)?));
        let given = to.inputs()[to.arguments().positional(to.inputs().len())..].to_vec();
        let sequence = to.transpose(to.input(), &[1, 0, 2]);
        let mut inputs = vec![Some(sequence)];
        inputs.push(Some(to.constant("kernel", kernel)));
        inputs.push(Some(to.constant("recurrent_kernel", recurrent)));
        inputs.push(biases.iter().any(Option::is_some).then(|| {
            let values = biases.iter().flat_map(|bias| {
                let value = |index: usize| bias.as_ref().map_or(0.0, |bias| bias.values[index]);
                order.iter().flat_map(move |gate| (0..units).map(move |unit| value(gate * units + unit)))
            });
            let values: Vec<f32> = values.collect();
            to.constant("bias", Numbers { sizes: vec![1, 2 * columns], values })
        }));
        // (The lengths of the sequences.)
        inputs.push(None);
        for state in given {
            inputs.push(Some(to.unsqueeze(state, 0)));
        }
        while inputs.last() == Some(&None) {
            inputs.pop();
        }
        let (mut names, mut alphas, mut betas) = (Vec::new(), Vec::new(), Vec::new());
        for activation in activations {
            let (name, alpha, beta) = onnx_activation(activation).ok_or_else(|| {
                let known = "tanh, sigmoid, relu, hard_sigmoid, softsign, softplus, elu, leaky_relu and linear";
                Error::unsupported(format!("activation `{activation}` in a recurrent layer in ONNX"), known)
            })?;
            names.push(name.to_owned());
            alphas.extend(alpha);
            betas.extend(beta);
        }
        attributes.push(("activations", names.into()));
        for (name, values) in [("activation_alpha", alphas), ("activation_beta", betas)] {
            if !values.is_empty() {
                attributes.push((name, values.into()));
            }
        }
        attributes.push(("hidden_size", (units as i64).into()));
        attributes.push(("direction", if self.way.go_backwards { "reverse" } else { "forward" }.into()));
        let states = if operator == "LSTM" { 2 } else { 1 };
        let outputs = to.op_of(operator, inputs, 1 + states, attributes);
        let output = match self.way.return_sequences {
            true => {
                // (steps, 1, batch, units), in the order of the inputs.
                let steps = to.squeeze(outputs[0], 1);
                let output = to.transpose(steps, &[1, 0, 2]);
                if self.way.go_backwards { to.flip(output, 1) } else { output }
            }
            false => to.squeeze(outputs[1], 0),
        };
        let mut all = vec![output];
        if self.way.return_state {
            all.extend(outputs[1..].iter().map(|state| to.squeeze(*state, 0)));
        }
        Ok(all)
    }
}
