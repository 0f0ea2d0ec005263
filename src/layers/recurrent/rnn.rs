//! `RNN`: runs a cell over the steps of a sequence.

use super::RnnCell;
use super::cell::starting_from;
use super::shared::{check_states, mask_in_use, of_steps, sequence_and_states, split_states};
use super::stacked_rnn_cells::StackedRNNCells;
use super::steps::{After, InitialState, Way, each_step, graph_nodes};
use crate::error::{Error, Result};
use crate::layers::arguments::INITIAL_STATE;
use crate::layers::wrapped::{inner_forward, inner_weights};
use crate::layers::{
    Arguments, BuiltIn, Call, Edge, Exporting, GRUCell, HasCommon, LSTMCell, Layer, SimpleRNNCell, WeightSpec, Wrapped,
    class_keys, is_trainable, key_class,
};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// Runs a cell over the steps of a sequence: [`LSTMCell`](super::LSTMCell), [`GRUCell`](super::GRUCell),
    /// [`SimpleRNNCell`](super::SimpleRNNCell), several of them by [`StackedRNNCells`](super::StackedRNNCells), or a
    /// [custom one](super::RnnCell).
    ///
    /// Masked steps change nothing.
    ///
    /// # Shapes
    /// `(batch, steps, features)` → `(batch, output_size)`, or `(batch, steps, output_size)` with `return_sequences`;
    /// with `return_state` also the final states, `(batch, size)` each, cell by cell; the weights are those of the
    /// cells.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let words = Input::new((20, 8)).symbol();
    /// let outputs = RNN::new(LSTMCell::new(4)).return_state(true).call_all(&words)?; // the output, h and c
    /// assert_eq!(outputs[2].shape().to_string(), "(None, 4)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RNN {
        /// The cell.
        cell: Wrapped,
        /// Whether to return the outputs of all steps, not only the last one's.
        return_sequences: bool = false,
        /// Whether to return the final states too; refused in a Sequential, whose layers have one output.
        return_state: bool = false,
        /// Whether to process the sequence in reverse; the outputs are then reversed too.
        go_backwards: bool = false,
        /// Whether each batch begins with the final states of the previous one. The model's batch size is then fixed.
        stateful: bool = false,
        /// How Keras runs the loop; the results are the same, and the loop is always unrolled here.
        unroll: bool = false,
        /// Whether the output of a masked step is 0 rather than that of the previous step.
        zero_output_for_mask: bool = false,
    }
}

/// A cell, as a layer and as a cell, and the part of the layer that holds its weights.
type Member<'a> = (&'a dyn Layer, &'a dyn RnnCell, String);

/// A cell with the group of its weights and its input shape.
struct StackedCell<'a> {
    layer: &'a dyn Layer,
    cell: &'a dyn RnnCell,
    /// The part of the layer that holds its weights.
    group: String,
    /// The inputs of its steps.
    input: Shape,
}

impl RNN {
    /// Runs this cell over all steps.
    pub fn new(cell: impl Into<Wrapped>) -> Self {
        Self::required(cell.into())
    }

    fn way(&self) -> Way {
        Way {
            return_sequences: self.return_sequences,
            return_state: self.return_state,
            go_backwards: self.go_backwards,
            zero_output_for_mask: self.zero_output_for_mask,
        }
    }

    /// The cells with their parts of the layer, by which files name weights.
    fn cells(&self) -> Result<Vec<Member<'_>>> {
        let layer = self.cell.layer();
        let stacked = layer.as_any().downcast_ref::<StackedRNNCells>();
        let cells: Vec<(&dyn Layer, String)> = match stacked {
            None => vec![(layer, "cell".to_owned())],
            Some(stacked) => {
                let keys = class_keys(stacked.in_order().map(key_class));
                stacked.in_order().zip(keys).map(|(layer, key)| (layer, format!("cell/cells/{key}"))).collect()
            }
        };
        if cells.is_empty() {
            return Err(Error::argument("cells", "at least one cell", "none"));
        }
        let with_trait = |(layer, group): (_, String)| {
            let layer: &dyn Layer = layer;
            let cell = layer.as_cell().ok_or_else(|| {
                Error::argument("cell", "a cell, such as LSTMCell", format!("`{}`", layer.class_name()))
            })?;
            let sizes = cell.state_size();
            if sizes.is_empty() || sizes.contains(&0) || cell.output_size() == 0 {
                return Err(Error::argument("state_size", "sizes above 0", format!("{sizes:?}")));
            }
            Ok((layer, cell, group))
        };
        cells.into_iter().map(with_trait).collect()
    }

    /// The cells, each with its input shape for one step of a sequence of shape `input`.
    fn stacked_cells(&self, input: &Shape) -> Result<Vec<StackedCell<'_>>> {
        let mut step = input.sizes().to_vec();
        if step.len() < 2 {
            return Err(Error::shape("a sequence: (batch, steps, …)", input));
        }
        step.remove(1);
        let mut next = Shape::new(step);
        let stacked = self.cells()?.into_iter().map(|(layer, cell, group)| {
            let after = Shape::new([next.sizes()[0], Some(cell.output_size())]);
            let input = std::mem::replace(&mut next, after);
            StackedCell { layer, cell, group, input }
        });
        Ok(stacked.collect())
    }

    /// The shapes of the states, cell by cell.
    fn states(cells: &[StackedCell<'_>], batch: Option<usize>) -> Vec<Shape> {
        let sizes = cells.iter().flat_map(|stacked| stacked.cell.state_size());
        sizes.map(|size| Shape::new([batch, Some(size)])).collect()
    }

    /// Runs the cells' own layers one after the other, if each cell has one.
    fn layer_by_layer(
        &self,
        cells: &[StackedCell<'_>],
        input: &Value,
        given: &[Value],
        mask: &Option<Value>,
        call: &mut Call<'_>,
    ) -> Result<Option<(Value, Vec<Value>)>> {
        let last = cells.len() - 1;
        let way = |index: usize| Way {
            return_sequences: index < last || self.return_sequences,
            return_state: self.return_state || self.stateful,
            // Only the first layer reverses the sequence; the others receive it reversed.
            go_backwards: index == 0 && self.go_backwards,
            zero_output_for_mask: index == last && self.zero_output_for_mask,
        };
        let layers = cells.iter().enumerate().map(|(index, stacked)| stacked.cell.whole(way(index)));
        let Some(layers) = layers.collect::<Option<Vec<_>>>() else { return Ok(None) };
        let (mut value, mut states, mut first, mut left) = (input.clone(), Vec::new(), 0, given);
        for (index, (layer, stacked)) in layers.iter().zip(cells).enumerate() {
            let own;
            (own, left) = left.split_at(stacked.cell.state_size().len().min(left.len()));
            let arguments = starting_from(own.len());
            let inputs = std::iter::once(value).chain(own.iter().cloned()).collect();
            let turned = index > 0 && self.go_backwards;
            let mask = mask.clone().map(|mask| if turned { mask.flip(1) } else { mask });
            let (mut outputs, count) = inner_forward(&**layer, inputs, &arguments, call, first, index as u64, mask)?;
            first += count;
            value = outputs.remove(0);
            states.append(&mut outputs);
        }
        Ok(Some((value, states)))
    }

    /// Runs all cells at each step.
    fn step_by_step(
        &self,
        cells: &[StackedCell<'_>],
        input: &Value,
        given: Vec<Value>,
        mask: &Option<Value>,
        call: &mut Call<'_>,
    ) -> Result<(Value, Vec<Value>)> {
        let sizes = input.sizes();
        let (batch, steps, device) = (sizes[0], sizes[1], input.device());
        let mask = mask.clone().map(|mask| of_steps(mask, &sizes[..2])).transpose()?;
        let is_zero = given.is_empty();
        let states = match is_zero {
            true => cells
                .iter()
                .flat_map(|stacked| stacked.cell.state_size())
                .map(|size| Value::full(&[batch, size], 0.0, &device))
                .collect::<Result<_>>()?,
            false => given,
        };
        let counts: Vec<usize> =
            cells.iter().map(|stacked| Ok(stacked.layer.weights(&stacked.input)?.len())).collect::<Result<_>>()?;
        let inputs = each_step(input.clone());
        self.way().through(steps, mask.as_ref(), InitialState { states, is_zero }, |index, before| {
            let (mut value, mut states, mut first, mut left) = (inputs(index)?, Vec::new(), 0, before);
            for (key, (stacked, count)) in cells.iter().zip(&counts).enumerate() {
                let own;
                let expected = stacked.cell.state_size().len();
                (own, left) = left.split_at(expected);
                let mut part = call.part(first..first + count, key as u64);
                part.mask = None;
                part.restrict(is_trainable(stacked.layer));
                let (output, mut after) = stacked.cell.step(value, own.to_vec(), &mut part)?;
                call.take_over(part, first);
                let sizes = |values: &[Value]| values.iter().map(Value::sizes).collect::<Vec<_>>();
                let declared: Vec<Vec<usize>> =
                    stacked.cell.state_size().into_iter().map(|size| vec![batch, size]).collect();
                if output.sizes() != [batch, stacked.cell.output_size()] || sizes(&after) != declared {
                    let expected = format!("an output of {} and states {declared:?}", stacked.cell.output_size());
                    let received = format!("{:?} and {:?}", output.sizes(), sizes(&after));
                    return Err(Error::shape(format!("{expected} from `{}`", stacked.layer.class_name()), received));
                }
                value = output;
                first += count;
                states.append(&mut after);
            }
            Ok(After { output: Some(value), states })
        })
    }
}

impl Layer for RNN {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.way().expect_one_output()?;
        Ok(self.output_shapes(std::slice::from_ref(input), &Arguments::new())?.remove(0))
    }

    fn output_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
        arguments.expect_only(&[INITIAL_STATE])?;
        let (input, given) = split_states(inputs, arguments)?;
        let cells = self.stacked_cells(input)?;
        let (batch, steps) = (input.sizes()[0], input.sizes()[1]);
        Way::check(steps, input)?;
        for stacked in &cells {
            // Refuses invalid arguments of the cell.
            if let Some(layer) = stacked.cell.whole(Way::default()) {
                let features = stacked.input.expect_rank(2).and_then(|()| stacked.input.last())?;
                layer.checked_output(&Shape::new([batch, steps, Some(features)]))?;
            }
        }
        let states = Self::states(&cells, batch);
        check_states(given, &states)?;
        let features = cells.last().map(|stacked| stacked.cell.output_size());
        let output = match self.return_sequences {
            true => Shape::new([batch, steps, features]),
            false => Shape::new([batch, features]),
        };
        Ok(std::iter::once(output).chain(states.into_iter().filter(|_| self.return_state)).collect())
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        let mut specs = Vec::new();
        for stacked in self.stacked_cells(input)? {
            specs.extend(inner_weights(stacked.layer, &stacked.input, &stacked.group)?);
        }
        Ok(specs)
    }

    fn given_weights(&self, input: &Shape) -> Result<Vec<Option<Value>>> {
        let mut all = Vec::new();
        for stacked in self.stacked_cells(input)? {
            let brought = stacked.layer.brought_weights(std::slice::from_ref(&stacked.input))?;
            let count = stacked.layer.weights(&stacked.input)?.len();
            all.extend(if brought.is_empty() { vec![None; count] } else { brought });
        }
        Ok(if all.iter().any(Option::is_some) { all } else { Vec::new() })
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn takes_initial_state(&self) -> bool {
        true
    }

    fn is_stateful(&self) -> bool {
        self.stateful
    }

    fn state_lists(&self) -> Vec<usize> {
        match (self.cell.layer().as_any().is::<StackedRNNCells>(), self.cells()) {
            (true, Ok(cells)) => cells.iter().map(|(_, cell, _)| cell.state_size().len()).collect(),
            _ => Vec::new(),
        }
    }

    fn apply_trainable(&mut self, trainable: bool) {
        self.common_mut().trainable = trainable;
        self.cell.layer_mut().apply_trainable(trainable);
    }

    fn is_wrapper(&self) -> bool {
        true
    }

    fn call_count(&self) -> usize {
        self.cells().map_or(1, |cells| cells.len())
    }

    fn scratch(&self, input: &Shape, training: bool) -> Result<usize> {
        let (batch, steps) = (input.sizes()[0].unwrap_or(1), input.sizes()[1].unwrap_or(1));
        let mut all = 0usize;
        for stacked in self.stacked_cells(input)? {
            let output = stacked.cell.output_size();
            let sizes = stacked.cell.state_size().iter().fold(output, |sum, size| sum.saturating_add(*size));
            let states = batch.saturating_mul(steps).saturating_mul(sizes);
            let own = match stacked.cell.whole(Way { return_state: self.return_state, ..Way::default() }) {
                Some(layer) => {
                    let features = stacked.input.last()?;
                    layer.scratch(&Shape::new([Some(batch), Some(steps), Some(features)]), training)?
                }
                None => {
                    let step = stacked.layer.scratch(&stacked.input.with_batch(batch), training)?;
                    let steps_kept = step.saturating_mul(if training { steps } else { 1 });
                    steps_kept.saturating_add(states).saturating_add(graph_nodes(steps, training))
                }
            };
            all = all.saturating_add(states).saturating_add(own);
        }
        Ok(all)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        to.refuse_masks()?;
        let cells = self.stacked_cells(to.shape())?;
        let (edges, shapes) = (to.inputs().to_vec(), to.shapes().to_vec());
        let positional = to.arguments().positional(edges.len());
        if self.stateful {
            return Err(Error::unsupported("a stateful layer in ONNX", "layers that keep no states between batches"));
        }
        let last = cells.len() - 1;
        let (mut value, mut shape, mut states) = (edges[0], shapes[0].clone(), Vec::new());
        let (mut given, mut weights) = (positional, to.weights());
        for (index, stacked) in cells.iter().enumerate() {
            let way = Way {
                return_sequences: index < last || self.return_sequences,
                return_state: self.return_state,
                go_backwards: index == 0 && self.go_backwards,
                zero_output_for_mask: false,
            };
            let layer = stacked.cell.whole(way).ok_or_else(|| {
                let what = format!("a cell of the class `{}` in ONNX", stacked.layer.class_name());
                Error::unsupported(what, "the cells of LSTM, GRU and SimpleRNN")
            })?;
            let count = if given < edges.len() { stacked.cell.state_size().len().min(edges.len() - given) } else { 0 };
            let inputs = std::iter::once(value).chain(edges[given..given + count].iter().copied()).collect();
            let input_shapes: Vec<Shape> =
                std::iter::once(shape.clone()).chain(shapes[given..given + count].iter().cloned()).collect();
            given += count;
            let (own, rest) = weights.split_at(layer.weights(&shape)?.len().min(weights.len()));
            weights = rest;
            let mut outputs = to.part(&*layer, inputs, input_shapes, &starting_from(count), own)?;
            value = outputs.remove(0);
            states.append(&mut outputs);
            shape = Shape::new([shape.sizes()[0], shape.sizes()[1], Some(stacked.cell.output_size())]);
        }
        Ok(std::iter::once(value).chain(states).collect())
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        Ok(self.forward_all(vec![input], call)?.remove(0))
    }

    fn forward_all(&self, inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
        let states = self.cells()?.iter().map(|(_, cell, _)| cell.state_size().len()).sum();
        let (input, given) = sequence_and_states(inputs, states)?;
        let cells = self.stacked_cells(&Shape::known(&input.sizes()))?;
        let outer = call.mask.take();
        let mask = mask_in_use(&outer, &given, call);
        let given = match given.is_empty() && self.stateful {
            true => {
                let batch = input.sizes()[0];
                let sizes = cells.iter().flat_map(|stacked| stacked.cell.state_size());
                call.kept_states(&sizes.map(|size| vec![batch, size]).collect::<Vec<_>>())?
            }
            false => given,
        };
        let (output, states) = match self.layer_by_layer(&cells, &input, &given, &mask, call)? {
            Some(outputs) => outputs,
            None => self.step_by_step(&cells, &input, given, &mask, call)?,
        };
        if self.stateful {
            call.keep_states(&states);
        }
        Ok(self.way().with_states(output, states, outer, call))
    }
}

impl BuiltIn for RNN {
    fn examples() -> Vec<(Self, Shape)> {
        let stacked = StackedRNNCells::new([LSTMCell::new(2).into(), GRUCell::new(3).into()]);
        vec![
            (Self::new(SimpleRNNCell::new(3)), Shape::batch_of((4, 2))),
            (Self::new(LSTMCell::new(2).dropout(0.3)).return_sequences(true), Shape::batch_of((3, 2))),
            (Self::new(stacked).go_backwards(true).return_sequences(true), Shape::batch_of((3, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::layers::LayerArguments;

    crate::describe! {
        /// An LSTM cell without a layer for all steps.
        pub layer struct Plain {
            /// The number of features that its declared states have in excess of those it returns.
            more: usize = 0,
        }
    }

    impl Layer for Plain {
        fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
            LSTMCell::new(2).weights(input)
        }

        fn as_cell(&self) -> Option<&dyn RnnCell> {
            Some(self)
        }
    }

    impl RnnCell for Plain {
        fn state_size(&self) -> Vec<usize> {
            vec![2 + self.more; 2]
        }

        fn step(&self, input: Value, states: Vec<Value>, call: &mut Call<'_>) -> Result<(Value, Vec<Value>)> {
            let states = states.into_iter().map(|state| state.narrow(1, 0, 2)).collect();
            LSTMCell::new(2).step(input, states, call)
        }
    }

    fn of(sizes: &[usize]) -> Value {
        let count: usize = sizes.iter().product();
        let numbers = (0..count).map(|i| (i as f32 * 1.7 + count as f32).sin()).collect();
        Value::from_vec(numbers, sizes, &Device::flex()).unwrap()
    }

    /// A custom cell runs step by step, Brasa's own run all steps at once: the values and gradients agree.
    #[test]
    fn step_by_step_and_whole_sequence_agree() {
        let with = |first: Wrapped, way: Way| {
            RNN::new(StackedRNNCells::new([first, GRUCell::new(3).into()]))
                .return_sequences(way.return_sequences)
                .return_state(true)
                .go_backwards(way.go_backwards)
                .zero_output_for_mask(way.zero_output_for_mask)
        };
        let run = |layer: RNN, masked: bool, started: bool| {
            let weights: Vec<Value> = layer
                .weights(&Shape::batch_of((4, 3)))
                .unwrap()
                .iter()
                .map(|spec| of(&spec.sizes).require_grad())
                .collect();
            let mut inputs = vec![of(&[2, 4, 3]).require_grad()];
            if started {
                inputs.extend([of(&[2, 2]), of(&[2, 2]).mul_scalar(0.5), of(&[2, 3])]);
            }
            let arguments = starting_from(inputs.len() - 1);
            let mask = Value::from_vec(vec![0., 1., 0., 1., 1., 1., 1., 0.], &[2, 4], &Device::flex()).unwrap();
            let masks = [vec![masked.then_some(mask)], vec![None; inputs.len() - 1]].concat();
            let mut call = Call::inference(&weights).given(masks, &arguments).masks_given(true);
            let outputs = layer.forward_all(inputs.clone(), &mut call).unwrap();
            let total = outputs.iter().map(|output| (output.clone() * of(&output.sizes())).sum()).reduce(|a, b| a + b);
            let mut gradients = total.unwrap().backward().unwrap();
            let taken = weights.iter().chain(&inputs[..1]).map(|value| value.take_gradient(&mut gradients).unwrap());
            let taken: Vec<Value> = taken.collect();
            outputs
                .iter()
                .map(|value| value.clone().detach())
                .chain(taken)
                .map(|value| value.to_vec().unwrap())
                .collect::<Vec<_>>()
        };
        for bits in 0..32 {
            let bit = |index: usize| bits >> index & 1 == 1;
            let way = Way {
                return_sequences: bit(0),
                go_backwards: bit(1),
                zero_output_for_mask: bit(2),
                return_state: true,
            };
            let own = run(with(Plain::default().into(), way), bit(3), bit(4));
            let whole = run(with(LSTMCell::new(2).into(), way), bit(3), bit(4));
            assert_eq!(own.len(), 4 + 6 + 1);
            for (own, whole) in own.iter().zip(&whole) {
                let near = own.iter().zip(whole).all(|(a, b)| (a - b).abs() < 1e-5 * b.abs().max(1.0));
                assert!(own.len() == whole.len() && near, "{bits:b}: {own:?} and {whole:?}");
            }
        }
    }

    #[test]
    fn incompatible_cells_and_states_are_errors() {
        let run = |layer: &RNN, inputs: Vec<Value>| {
            let weights: Vec<Value> =
                layer.weights(&Shape::batch_of((4, 3))).unwrap().iter().map(|spec| of(&spec.sizes)).collect();
            layer.forward_all(inputs, &mut Call::inference(&weights)).map(|_| ()).unwrap_err().to_string()
        };
        let layer = RNN::new(Plain::default());
        assert!(run(&layer, Vec::new()).contains("a sequence"));
        assert!(run(&layer, vec![of(&[2, 4, 3]), of(&[2, 2])]).contains("2 states"));
        assert!(run(&RNN::new(Plain::default().more(1usize)), vec![of(&[2, 4, 3])]).contains("Plain"));

        // Operations can change the number of samples.
        let shape = |batch: usize| Shape::new([Some(batch), Some(2)]);
        let sequence = Shape::new([Some(4), Some(4), Some(3)]);
        let shapes = |states: [Shape; 2]| {
            layer.output_shapes(&[std::slice::from_ref(&sequence), &states[..]].concat(), &starting_from(2))
        };
        assert!(shapes([shape(4), shape(4)]).is_ok());
        assert!(shapes([shape(4), shape(8)]).unwrap_err().to_string().contains("initial_state"));
    }

    /// A cell has its own `trainable`.
    #[test]
    fn a_cell_can_be_frozen() {
        let cells = StackedRNNCells::new([LSTMCell::new(2).trainable(false).into(), GRUCell::new(3).into()]);
        let specs = RNN::new(cells).weights(&Shape::batch_of((4, 3))).unwrap();
        let trainable: Vec<bool> = specs.iter().map(|spec| spec.trainable).collect();
        assert_eq!(trainable, [false, false, false, true, true, true]);
        let groups: Vec<&str> = specs.iter().step_by(3).map(|spec| spec.group.as_str()).collect();
        assert_eq!(groups, ["cell/cells/lstm_cell", "cell/cells/gru_cell"]);
    }
}
