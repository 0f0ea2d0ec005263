//! The loop over the steps of a sequence.

use crate::error::{Error, Result};
use crate::layers::Call;
use crate::ops::Value;
use crate::shape::Shape;

/// How a recurrent layer runs over its steps, and what it returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Whether to return the outputs of all steps, not only the last one's.
    pub return_sequences: bool,
    /// Whether to return the final states too.
    pub return_state: bool,
    /// Whether to process the sequence in reverse.
    pub go_backwards: bool,
    /// Whether the output of a masked step is 0 rather than that of the previous step.
    pub zero_output_for_mask: bool,
}

/// The initial state of a sequence.
pub(super) struct InitialState {
    /// Its values, (batch, …) each.
    pub states: Vec<Value>,
    /// Whether it is all zeros.
    pub is_zero: bool,
}

/// The result of a step.
pub(super) struct After {
    /// The output, unless it is the first state.
    pub output: Option<Value>,
    /// The states.
    pub states: Vec<Value>,
}

/// The memory, in values, of the graph nodes of `steps` steps with about forty operations each in training, if the
/// steps run one by one; it does not depend on the size of the values.
pub(super) fn graph_nodes(steps: usize, training: bool) -> usize {
    const STEP: usize = 2048;
    if training { steps.saturating_mul(STEP) } else { 0 }
}

impl Way {
    /// Refuses sequences of `steps` steps that no recurrent layer can process.
    pub(super) fn check(steps: Option<usize>, input: &Shape) -> Result<()> {
        match steps {
            Some(0) => Err(Error::shape("at least one step", input)),
            _ => Ok(()),
        }
    }

    /// Refuses `return_state` where one output is required.
    pub(super) fn expect_one_output(&self) -> Result<()> {
        if self.return_state {
            let what = "a recurrent layer with return_state=true, which has several outputs,";
            return Err(Error::unsupported(what, "false where a layer has one output"));
        }
        Ok(())
    }

    /// The output, with the mask if it has steps, followed by the states if they are returned.
    pub(super) fn with_states(
        &self,
        output: Value,
        states: Vec<Value>,
        mask: Option<Value>,
        call: &mut Call<'_>,
    ) -> Vec<Value> {
        let states = if self.return_state { states } else { Vec::new() };
        let mask = mask.filter(|_| self.return_sequences);
        if !states.is_empty() {
            let masks = std::iter::once(mask.clone()).chain(std::iter::repeat_n(None, states.len()));
            call.set_output_masks(masks.collect());
        }
        call.mask = mask;
        std::iter::once(output).chain(states).collect()
    }

    /// Loops over `steps` steps: `step` gets the index of a step and the states before it. Returns the output, (batch,
    /// …), or (batch, steps, …) in the order of computation, and the final states.
    ///
    /// A step masked by `mask` (batch, steps) keeps the states and repeats the previous output, at first 0.
    pub(super) fn through(
        &self,
        steps: usize,
        mask: Option<&Value>,
        start: InitialState,
        mut step: impl FnMut(usize, &[Value]) -> Result<After>,
    ) -> Result<(Value, Vec<Value>)> {
        let mut before = start.states;
        let mut outputs = Vec::new();
        let mut previous: Option<Value> = None;
        for number in 0..steps {
            let index = if self.go_backwards { steps - 1 - number } else { number };
            let After { output, mut states } = step(index, &before)?;
            let first = states.first().ok_or_else(|| Error::argument("state_size", "at least one state", "none"))?;
            let is_state = output.is_none();
            let mut output = output.unwrap_or_else(|| first.clone());
            if let Some(mask) = mask {
                // The previous output is then also the first state.
                let is_held = is_state && start.is_zero && !self.zero_output_for_mask;
                if !is_held {
                    let held = previous.take().filter(|_| !self.zero_output_for_mask);
                    let held = match held {
                        Some(held) => held,
                        None => Value::full(&output.sizes(), 0.0, &output.device())?,
                    };
                    output = where_counted(mask, index, output, held)?;
                }
                for (after, before) in states.iter_mut().zip(&before) {
                    *after = where_counted(mask, index, after.clone(), before.clone())?;
                }
                if is_held {
                    output = states[0].clone();
                }
                previous = Some(output.clone());
            }
            if self.return_sequences || number + 1 == steps {
                outputs.push(output);
            }
            before = states;
        }
        let output = match self.return_sequences {
            true => stacked(outputs)?,
            false => outputs.pop().ok_or_else(|| Error::shape("at least one step", "none"))?,
        };
        Ok((output, before))
    }
}

/// The new values for samples whose step `index` counts, `held` for the others.
fn where_counted(mask: &Value, index: usize, values: Value, held: Value) -> Result<Value> {
    let sizes = values.sizes();
    let mut column = vec![1; sizes.len()];
    column[0] = sizes[0];
    let counts = mask.clone().narrow(1, index, 1).reshape(&column)?.expand(&sizes);
    Ok(held.select_where(counts, values))
}

/// Stacks the steps: (batch, …) each → (batch, steps, …).
fn stacked(outputs: Vec<Value>) -> Result<Value> {
    let in_a_row = |output: Value| {
        let mut sizes = output.sizes();
        sizes.insert(1, 1);
        output.reshape(&sizes)
    };
    Value::concat(outputs.into_iter().map(in_a_row).collect::<Result<_>>()?, 1)
}

/// Splits (batch, steps, …) into its steps, (batch, …) each.
pub(super) fn each_step(inputs: Value) -> impl Fn(usize) -> Result<Value> {
    let mut sizes = inputs.sizes();
    sizes.remove(1);
    let apart = inputs.is_tracked().then(|| inputs.clone().split_apart(1));
    move |index| match &apart {
        Some(parts) => parts[index].clone().reshape(&sizes),
        None => inputs.clone().narrow(1, index, 1).reshape(&sizes),
    }
}
