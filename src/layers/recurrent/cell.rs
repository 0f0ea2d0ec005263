//! `RnnCell`: one step of an `RNN`.

use super::steps::Way;
use crate::error::{Error, Result};
use crate::layers::arguments::INITIAL_STATE;
use crate::layers::{Arguments, Call, Layer, WeightSpec};
use crate::ops::Value;
use crate::shape::Shape;

/// A cell: the step function of an [`RNN`](super::RNN). Brasa's are [`LSTMCell`](super::LSTMCell),
/// [`GRUCell`](super::GRUCell) and [`SimpleRNNCell`](super::SimpleRNNCell); a custom one is a layer that implements
/// [`Layer::as_cell`].
///
/// Its [`weights`](Layer::weights) are those for one step's inputs, (batch, features).
///
/// ```
/// use brasa::layers::{Call, Layer, RnnCell, WeightSpec};
/// use brasa::prelude::*;
/// use brasa::{Shape, Value};
///
/// brasa::describe! {
///     /// A moving average over the steps.
///     pub layer struct Fading {
///         /// The decay of the average.
///         factor: f32 = 0.5,
///     }
/// }
///
/// impl Layer for Fading {
///     fn as_cell(&self) -> Option<&dyn RnnCell> {
///         Some(self)
///     }
/// }
///
/// impl RnnCell for Fading {
///     fn state_size(&self) -> Vec<usize> {
///         vec![1]
///     }
///
///     fn step(&self, input: Value, states: Vec<Value>, _: &mut Call<'_>) -> brasa::Result<(Value, Vec<Value>)> {
///         let average = states[0].clone().mul_scalar(self.factor) + input.mul_scalar(1.0 - self.factor);
///         Ok((average.clone(), vec![average]))
///     }
/// }
///
/// let mut model = Sequential::new();
/// model.add(RNN::new(Fading::default()).input_shape((2, 1)))?;
/// let x = ndarray::array![[[4.0f32], [8.0]]];
/// assert_eq!(model.predict(x)?[[0, 0]], 5.0);
/// assert!(Sequential::new().add(Fading::default().input_shape(1)).is_err()); // a cell cannot be a layer of a model
/// # Ok::<(), brasa::Error>(())
/// ```
pub trait RnnCell: Layer {
    /// The number of features of each state.
    fn state_size(&self) -> Vec<usize>;

    /// The number of features of the output; by default that of the first state.
    fn output_size(&self) -> usize {
        self.state_size().first().copied().unwrap_or(0)
    }

    /// One step: from its inputs (batch, features) and the previous states (batch, size) to its output and the next
    /// states. Random numbers are the same at every step of a sequence.
    ///
    /// # Errors
    /// Whatever an operation refuses.
    fn step(&self, input: Value, states: Vec<Value>, call: &mut Call<'_>) -> Result<(Value, Vec<Value>)>;

    /// A layer with the same weights that computes all steps at once, if there is one.
    fn whole(&self, way: Way) -> Option<Box<dyn Layer>> {
        let _ = way;
        None
    }
}

/// Refuses a cell that is called as a layer.
pub(in crate::layers) fn refuse_call<T>(class_name: &str) -> Result<T> {
    let what = format!("`{class_name}` called by itself");
    Err(Error::unsupported(what, "a cell inside an RNN"))
}

/// The weights of a recurrent layer as those of its cell, for the inputs of one step.
pub(super) fn weights_of_step(layer: &dyn Layer, input: &Shape) -> Result<Vec<WeightSpec>> {
    input.expect_rank(2)?;
    let specs = layer.weights(&Shape::new([input.sizes()[0], None, input.sizes()[1]]))?;
    Ok(specs.into_iter().map(|spec| WeightSpec { group: String::new(), ..spec }).collect())
}

/// One step of a recurrent layer, with its states.
pub(super) fn single_step(
    layer: &dyn Layer,
    input: Value,
    states: Vec<Value>,
    call: &mut Call<'_>,
) -> Result<(Value, Vec<Value>)> {
    let sizes = input.sizes();
    let sequence = input.reshape(&[sizes[0], 1, sizes.get(1).copied().unwrap_or(1)])?;
    let arguments = starting_from(states.len());
    let inputs: Vec<Value> = std::iter::once(sequence).chain(states).collect();
    let weights = call.weights();
    let mut part = call.part_with(weights, 0).given(vec![None; inputs.len()], &arguments);
    let mut outputs = layer.run_all(inputs, &mut part)?;
    call.take_over(part, 0);
    let output = outputs.remove(0);
    Ok((output, outputs))
}

/// The arguments of a call whose last `states` inputs are initial states.
pub(super) fn starting_from(states: usize) -> Arguments {
    let mut arguments = Arguments::new();
    if states > 0 {
        arguments.push_named(INITIAL_STATE, vec![true; states]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Configure;
    use crate::layers::{GRUCell, LSTMCell, SimpleRNNCell};

    /// Every argument of a cell is one of the layer that computes all steps at once.
    #[test]
    fn arguments_of_a_cell_reach_the_layer() {
        fn check<C: RnnCell + Configure>(cell: C) {
            let whole = cell.whole(Way { go_backwards: true, ..Way::default() }).unwrap().config().unwrap();
            let own = Configure::config(&cell).unwrap();
            assert!(own.len() > 10);
            let left_out = own.iter().find(|(key, value)| whole.get(*key) != Some(*value));
            assert_eq!(left_out, None);
            assert_eq!(whole["go_backwards"], true);
        }
        macro_rules! set {
            ($cell:ident) => {
                $cell::new(3)
                    .activation("relu")
                    .use_bias(false)
                    .kernel_initializer("ones")
                    .recurrent_initializer("zeros")
                    .bias_initializer("ones")
                    .kernel_regularizer("l1")
                    .recurrent_regularizer("l2")
                    .bias_regularizer("l1")
                    .kernel_constraint("non_neg")
                    .recurrent_constraint("max_norm")
                    .bias_constraint("unit_norm")
                    .dropout(0.1)
                    .recurrent_dropout(0.2)
                    .seed(Some(7))
            };
        }
        check(set!(SimpleRNNCell));
        check(set!(LSTMCell).recurrent_activation("tanh").unit_forget_bias(false));
        check(set!(GRUCell).recurrent_activation("tanh").reset_after(false));
    }
}
