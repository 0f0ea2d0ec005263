//! Recurrent layers over whole sequences, by kernels.

use std::sync::Arc;

use super::Value;
use super::activations::Activation;
use super::activations::kernel_activation;
use super::buffers::{buffer, give_back};
use super::cpu::{Gradient, Kernel, run};
use crate::kernels::rnn::{
    GruMemory, LstmMemory, OutputGradient, Recurrent, WeightGradients, Weights, gru_backward, gru_before_backward,
    gru_before_forward, gru_forward, lstm_backward, lstm_forward,
};

/// The recurrence of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recurrence {
    /// Gates i, f, g, o: `c = f·c + i·g`, `h = o · activation(c)`.
    Lstm,
    /// Gates z, r, g, with r applied after the product with the kernel of the state: `h = z·h + (1 − z)·g`.
    Gru,
    /// The same gates, with r applied before the product.
    GruResetBefore,
}

/// How a recurrent layer runs through its steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps<'a> {
    /// The recurrence of each step.
    pub cell: Recurrence,
    /// The activation of candidates and outputs.
    pub activation: &'a Activation,
    /// The activation of the gates.
    pub recurrent_activation: &'a Activation,
    /// Whether the steps are taken in reverse.
    pub go_backwards: bool,
    /// Whether the outputs of all steps are returned, in the order in which they were computed.
    pub return_sequences: bool,
    /// Whether the states after the last step are returned.
    pub return_state: bool,
}

/// Runs through all steps from the states `initial`, or from zeros if there are none; `None` without a kernel. Returns
/// the output and, if wanted, the states after the last step.
///
/// # Shapes
/// input (batch, steps, features), kernel (features, gates · units), recurrent (units, gates · units), bias
/// (gates · units), or (2, gates · units) for [`Recurrence::Gru`], states (batch, units) → (batch, units) or
/// (batch, steps, units), states (batch, units).
pub(crate) fn fast_recurrent(
    input: &Value,
    kernel: &Value,
    recurrent: &Value,
    bias: Option<&Value>,
    initial: &[Value],
    steps: Steps<'_>,
) -> Option<(Value, Vec<Value>)> {
    let fast = |activation| kernel_activation(activation).filter(|fast| fast.gradient_needs_only_output());
    let (activation, recurrent_activation) = (fast(steps.activation)?, fast(steps.recurrent_activation)?);
    let [batch, count, inputs] = <[usize; 3]>::try_from(input.sizes()).ok()?;
    let units = recurrent.sizes()[0];
    let sizes = Recurrent { batch, steps: count, inputs, units, activation, recurrent_activation };
    if !sizes.fits() {
        return None;
    }
    let started = !initial.is_empty();
    if (started && steps.cell == Recurrence::GruResetBefore) || (count == 0 && (started || steps.return_state)) {
        return None;
    }
    let sequence = Sequence {
        sizes,
        cell: steps.cell,
        go_backwards: steps.go_backwards,
        return_sequences: steps.return_sequences,
        has_bias: bias.is_some(),
        with_cells: steps.return_state && steps.cell == Recurrence::Lstm,
    };
    let values: Vec<&Value> = [input, kernel, recurrent].into_iter().chain(bias).chain(initial).collect();
    let output = match values[..] {
        [a, b, c] => run(&sequence, [a, b, c]),
        [a, b, c, d] => run(&sequence, [a, b, c, d]),
        [a, b, c, d, e] => run(&sequence, [a, b, c, d, e]),
        [a, b, c, d, e, f] => run(&sequence, [a, b, c, d, e, f]),
        _ => None,
    }?;
    if !steps.return_state {
        return Some((output, Vec::new()));
    }
    let (output, cells) = match sequence.with_cells {
        true => {
            let outputs = sequence.outputs();
            let cells = output.clone().narrow(0, outputs, batch * units).reshape(&[batch, units]).ok()?;
            let output = output.narrow(0, 0, outputs).reshape(&sequence.sizes_of_outputs()).ok()?;
            (output, Some(cells))
        }
        false => (output, None),
    };
    let last = match steps.return_sequences {
        true => output.clone().narrow(1, count - 1, 1).reshape(&[batch, units]).ok()?,
        false => output.clone(),
    };
    Some((output, std::iter::once(last).chain(cells).collect()))
}

/// The operation on input, both kernels, the optional bias and the optional initial states.
#[derive(Clone, Debug)]
struct Sequence {
    sizes: Recurrent,
    cell: Recurrence,
    go_backwards: bool,
    return_sequences: bool,
    has_bias: bool,
    /// Whether the cells' states after the last step follow the outputs in one flat value: an operation has one output.
    with_cells: bool,
}

/// Saved tensors of the forward pass for the backward pass.
#[derive(Debug, Default)]
struct SavedStates {
    /// The outputs of all steps, unless they are the output.
    h: Vec<f32>,
    gates: Vec<f32>,
    /// The cells' states of an LSTM; the candidates' shares of the previous states of a GRU.
    others: Vec<f32>,
}

impl Drop for SavedStates {
    fn drop(&mut self) {
        [&mut self.h, &mut self.gates, &mut self.others].into_iter().for_each(|part| give_back(std::mem::take(part)));
    }
}

impl Sequence {
    /// The steps in the order in which they are taken; `turned` is filled if that is the reverse.
    fn in_order<'a>(&self, x: &'a [f32], turned: &'a mut Vec<f32>) -> &'a [f32] {
        if !self.go_backwards {
            return x;
        }
        *turned = buffer(x.len());
        self.turn(x, turned);
        turned
    }

    /// The steps in reverse.
    fn turn(&self, from: &[f32], to: &mut [f32]) {
        let step = self.sizes.inputs.max(1);
        let sequence = (self.sizes.steps * step).max(1);
        for (from, to) in from.chunks_exact(sequence).zip(to.chunks_exact_mut(sequence)) {
            for (from, to) in from.chunks_exact(step).rev().zip(to.chunks_exact_mut(step)) {
                to.copy_from_slice(from);
            }
        }
    }

    fn weights<'a>(&self, inputs: &[&'a [f32]]) -> Weights<'a> {
        Weights { kernel: inputs[1], recurrent: inputs[2], bias: self.has_bias.then(|| inputs[3]) }
    }

    /// The initial states.
    fn initial<'a, 'b>(&self, inputs: &'b [&'a [f32]]) -> &'b [&'a [f32]] {
        &inputs[3 + usize::from(self.has_bias)..]
    }

    fn sizes_of_outputs(&self) -> Vec<usize> {
        let Recurrent { batch, steps, units, .. } = self.sizes;
        if self.return_sequences { vec![batch, steps, units] } else { vec![batch, units] }
    }

    /// The number of values of the outputs.
    fn outputs(&self) -> usize {
        self.sizes_of_outputs().iter().product()
    }
}

impl<const N: usize> Kernel<N> for Sequence {
    type Saved = Arc<SavedStates>;
    const NEEDS_OUTPUT: bool = true;

    fn output_sizes(&self) -> Vec<usize> {
        match self.with_cells {
            true => vec![self.outputs() + self.sizes.batch * self.sizes.units],
            false => self.sizes_of_outputs(),
        }
    }

    fn forward(&self, inputs: [&[f32]; N], output: &mut [f32], keep: bool) -> Self::Saved {
        let Recurrent { batch, steps, units, .. } = self.sizes;
        let all = batch * steps * units;
        let gates = if self.cell == Recurrence::Lstm { 4 } else { 3 };
        // Without steps the state is the initial one.
        if steps == 0 {
            output.fill(0.0);
        }
        let mut memory = SavedStates {
            h: buffer(if self.return_sequences { 0 } else { all }),
            gates: buffer(if keep { gates * all } else { 0 }),
            others: buffer(if keep { all } else { 0 }),
        };
        let mut turned = Vec::new();
        let x = self.in_order(inputs[0], &mut turned);
        let (weights, initial) = (self.weights(&inputs), self.initial(&inputs));
        let (output, cells) = output.split_at_mut(self.outputs());
        {
            let h = if self.return_sequences { &mut *output } else { &mut memory.h };
            let (gates, others) = (memory.gates.as_mut_slice(), memory.others.as_mut_slice());
            match self.cell {
                Recurrence::Lstm => {
                    let memory = keep.then_some(LstmMemory { gates, cells: others });
                    let initial = if let [h, c] = initial { Some((*h, *c)) } else { None };
                    lstm_forward(&self.sizes, x, &weights, initial, h, memory, self.with_cells.then_some(cells));
                }
                Recurrence::Gru => {
                    let memory = keep.then_some(GruMemory { gates, shares: others });
                    gru_forward(&self.sizes, x, &weights, initial.first().copied(), h, memory);
                }
                Recurrence::GruResetBefore => {
                    let memory = keep.then_some(GruMemory { gates, shares: others });
                    gru_before_forward(&self.sizes, x, &weights, h, memory);
                }
            }
        }
        if !self.return_sequences {
            for (h, output) in memory.h.chunks_exact((steps * units).max(1)).zip(output.chunks_exact_mut(units.max(1)))
            {
                output.copy_from_slice(&h[(steps - 1) * units..]);
            }
        }
        give_back(turned);
        Arc::new(memory)
    }

    fn backward(
        &self,
        inputs: [&[f32]; N],
        output: &[f32],
        memory: &Self::Saved,
        gradient: &mut Gradient<'_>,
        wanted: [bool; N],
    ) -> [Option<Vec<f32>>; N] {
        let mut turned = Vec::new();
        let x = self.in_order(inputs[0], &mut turned);
        let (weights, initial) = (self.weights(&inputs), self.initial(&inputs));
        let (dy, dc) = gradient.split_at(self.outputs());
        let (h, dy) = if self.return_sequences {
            (&output[..self.outputs()], OutputGradient::Sequence(dy))
        } else {
            (memory.h.as_slice(), OutputGradient::Last(dy))
        };
        let mut of_initial = initial.iter().map(|state| vec![0.0; state.len()]);
        let mut of_initial = [of_initial.next(), of_initial.next()];
        let states = of_initial.each_mut().map(Option::as_deref_mut);
        let mut dx = wanted[0].then(|| buffer(x.len()));
        let (mut kernel, mut recurrent) = (vec![0.0; inputs[1].len()], vec![0.0; inputs[2].len()]);
        let mut bias = weights.bias.map(|bias| vec![0.0; bias.len()]);
        let gradients = WeightGradients { kernel: &mut kernel, recurrent: &mut recurrent, bias: bias.as_deref_mut() };
        let (gates, others) = (memory.gates.as_slice(), memory.others.as_slice());
        match self.cell {
            Recurrence::Lstm => {
                let memory = LstmMemory { gates, cells: others };
                let initial = if let [h, c] = initial { Some((*h, *c)) } else { None };
                let (dc, dx) = (self.with_cells.then_some(dc), dx.as_deref_mut());
                lstm_backward(&self.sizes, x, &weights, initial, h, memory, dy, dc, dx, states, gradients);
            }
            Recurrence::Gru => {
                let memory = GruMemory { gates, shares: others };
                let (initial, [state, _]) = (initial.first().copied(), states);
                gru_backward(&self.sizes, x, &weights, initial, h, memory, dy, dx.as_deref_mut(), state, gradients);
            }
            Recurrence::GruResetBefore => {
                let memory = GruMemory { gates, shares: others };
                gru_before_backward(&self.sizes, x, &weights, h, memory, dy, dx.as_deref_mut(), gradients);
            }
        }
        if let (true, Some(dx)) = (self.go_backwards, &mut dx) {
            self.turn(dx, &mut turned);
            std::mem::swap(dx, &mut turned);
        }
        give_back(turned);
        let [of_h, of_c] = of_initial;
        let states = [of_h, of_c].into_iter().filter(Option::is_some);
        // In the order of the inputs, among which the bias is optional.
        let mut gradients = [dx, Some(kernel), Some(recurrent)].into_iter().chain(bias.map(Some)).chain(states);
        std::array::from_fn(|_| gradients.next().flatten())
    }
}
