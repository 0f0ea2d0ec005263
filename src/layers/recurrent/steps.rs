//! The way through the steps of a sequence, one after the other.

use crate::error::{Error, Result};
use crate::layers::Call;
use crate::ops::Value;
use crate::shape::Shape;

/// How a recurrent layer goes through its steps, and what it gives.
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

/// The state that a sequence starts from.
pub(super) struct Start {
    /// The values of it, (batch, …) each.
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

/// Values that descriptions of the values of `steps` steps, of about forty operations each, take in training, however
/// small the values are, where the steps are taken one by one.
pub(super) fn descriptions(steps: usize, training: bool) -> usize {
    const STEP: usize = 2048;
    if training { steps.saturating_mul(STEP) } else { 0 }
}

impl Way {
    /// Refuses what no recurrent layer can do with a sequence of `steps` steps.
    pub(super) fn check(steps: Option<usize>, input: &Shape) -> Result<()> {
        match steps {
            Some(0) => Err(Error::shape("at least one step", input)),
            _ => Ok(()),
        }
    }

    /// Refuses states to be returned where one output is wanted.
    pub(super) fn expect_one_output(&self) -> Result<()> {
        if self.return_state {
            let what = "a recurrent layer with return_state=true, which has several outputs,";
            return Err(Error::unsupported(what, "false where a layer hands on one value"));
        }
        Ok(())
    }

    /// The output, which has the mask if it has steps, and the states if they are to be returned.
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

    /// Through `steps` steps: `step` is given the index of one and the states before it. The output is (batch, …), or
    /// (batch, steps, …) in the order of the steps as they are taken; beside it stand the states after the last step.
    ///
    /// A step that the `mask` (batch, steps) leaves out keeps the states, and gives the output of the step before, at
    /// first 0.
    pub(super) fn through(
        &self,
        steps: usize,
        mask: Option<&Value>,
        start: Start,
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
                // The output of the step before is then the first state, too.
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

/// The values of samples of which step `index` counts, the others' from `held`.
fn where_counted(mask: &Value, index: usize, values: Value, held: Value) -> Result<Value> {
    let sizes = values.sizes();
    let mut column = vec![1; sizes.len()];
    column[0] = sizes[0];
    let counts = mask.clone().narrow(1, index, 1).reshape(&column)?.expand(&sizes);
    Ok(held.select_where(counts, values))
}

/// (batch, …) of each step → (batch, steps, …).
fn stacked(outputs: Vec<Value>) -> Result<Value> {
    let in_a_row = |output: Value| {
        let mut sizes = output.sizes();
        sizes.insert(1, 1);
        output.reshape(&sizes)
    };
    Value::concat(outputs.into_iter().map(in_a_row).collect::<Result<_>>()?, 1)
}

/// The steps of (batch, steps, …), each (batch, …).
pub(super) fn each_step(inputs: Value) -> impl Fn(usize) -> Result<Value> {
    let mut sizes = inputs.sizes();
    sizes.remove(1);
    let apart = inputs.is_tracked().then(|| inputs.clone().split_apart(1));
    move |index| match &apart {
        Some(parts) => parts[index].clone().reshape(&sizes),
        None => inputs.clone().narrow(1, index, 1).reshape(&sizes),
    }
}
