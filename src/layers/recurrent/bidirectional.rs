//! `Bidirectional`: a recurrent layer forward and backward through time.

use super::cell::starting_from;
use super::shared::{mask_in_use, sequence_and_states, split_states};
use crate::config::choice;
use crate::error::{Error, Result};
use crate::layers::arguments::INITIAL_STATE;
use crate::layers::wrapped::{inner_forward, inner_weights};
use crate::layers::{
    Arguments, BuiltIn, Call, Edge, Exporting, GRU, HasCommon, LSTM, Layer, SimpleRNN, WeightSpec, Wrapped, entry,
};
use crate::ops::Value;
use crate::shape::Shape;

choice! {
    /// How the outputs of both directions are merged.
    pub enum MergeMode: "merge mode" {
        /// Concatenated in the last dimension.
        Concat = "concat",
        /// Their sum.
        Sum = "sum",
        /// Their product.
        Mul = "mul",
        /// Their mean.
        Ave = "ave",
    }
}

crate::describe! {
    /// Runs a recurrent layer forward and a copy with its own weights backward, and merges their outputs (Schuster and
    /// Paliwal 1997).
    ///
    /// With `return_sequences` the backward layer's outputs are reversed, so that steps match; without it, its output
    /// is the one after the first step of the sequence.
    ///
    /// As in Keras, `layer` is a description: both directions start with new weights, even if it had weights in another
    /// model. A `backward_layer` keeps its weights.
    ///
    /// With `return_state` the states of the forward layer follow the output, and then those of the backward layer;
    /// initial states are passed in this order.
    ///
    /// # Shapes
    /// Those of the layer, with twice the features for `concat`; weights those of both layers, in the parts
    /// `forward_layer` and `backward_layer`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Bidirectional::new(LSTM::new(4)).input_shape((10, 8)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 8)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Bidirectional {
        /// The layer that runs forward.
        layer: Wrapped,
        /// How the two outputs are merged; with `None` both are outputs.
        merge_mode: Option<MergeMode> = Some(MergeMode::Concat),
        /// The layer that runs backward; by default a copy of the other.
        backward_layer: Option<Wrapped> = None,
    }
}

/// One direction's layer, with the arguments that matter here.
struct DirectedLayer {
    layer: Box<dyn Layer>,
    go_backwards: bool,
    return_sequences: bool,
    return_state: bool,
}

impl Bidirectional {
    /// `layer` in both directions.
    pub fn new(layer: impl Into<Wrapped>) -> Self {
        Self::required(layer.into())
    }

    /// The layer with its name and its direction, as Keras derives it from the given one.
    fn direction(layer: &dyn Layer, prefix: &str, turn: bool) -> Result<DirectedLayer> {
        let wrong = || Err(Error::argument("layer", "a recurrent layer", layer.class_name()));
        // Checked first, because a round trip of a deeply nested layer takes long.
        let entry = entry(layer.class_name())?;
        if !entry.is_class_of(layer) || !entry.arguments.contains(&"go_backwards") {
            return wrong();
        }
        let mut config = layer.full_config()?;
        let flag = |config: &crate::config::Config, key: &str| config.get(key).and_then(serde_json::Value::as_bool);
        let (Some(go_backwards), Some(return_sequences)) =
            (flag(&config, "go_backwards"), flag(&config, "return_sequences"))
        else {
            return wrong();
        };
        let name = config.get("name").and_then(serde_json::Value::as_str).unwrap_or_default();
        let name = format!("{prefix}{}", name.strip_prefix(prefix).unwrap_or(name));
        config.insert("name".into(), name.into());
        config.insert("go_backwards".into(), (turn || go_backwards).into());
        if config.contains_key("zero_output_for_mask") {
            config.insert("zero_output_for_mask".into(), return_sequences.into());
        }
        let return_state = flag(&config, "return_state").unwrap_or(false);
        let layer = entry.layer(config)?;
        Ok(DirectedLayer { layer, go_backwards: turn || go_backwards, return_sequences, return_state })
    }

    fn directions(&self) -> Result<(DirectedLayer, DirectedLayer)> {
        let forward = Self::direction(self.layer.layer(), "forward_", false)?;
        let backward = match &self.backward_layer {
            Some(layer) => Self::direction(layer.layer(), "backward_", false)?,
            None => Self::direction(self.layer.layer(), "backward_", true)?,
        };
        if forward.go_backwards == backward.go_backwards {
            let expected = "a layer with the other `go_backwards` than the forward layer's";
            return Err(Error::argument("backward_layer", expected, forward.go_backwards));
        }
        if forward.return_sequences != backward.return_sequences {
            let expected = "a layer with the forward layer's `return_sequences`";
            return Err(Error::argument("backward_layer", expected, backward.return_sequences));
        }
        if forward.layer.is_stateful() != backward.layer.is_stateful() {
            let expected = "a layer with the forward layer's `stateful`";
            return Err(Error::argument("backward_layer", expected, backward.layer.is_stateful()));
        }
        if forward.return_state != backward.return_state {
            let expected = "a layer with the forward layer's `return_state`";
            return Err(Error::argument("backward_layer", expected, backward.return_state));
        }
        Ok((forward, backward))
    }

    /// The shape of the merged outputs.
    fn merged_shape(mode: &MergeMode, one: Shape, other: &Shape) -> Result<Shape> {
        mode.check()?;
        if *mode == MergeMode::Concat {
            return Ok(one.with_last(Some(one.last()?.saturating_add(other.last()?))));
        }
        if one != *other {
            return Err(Error::shape(format!("two outputs alike for merge_mode `{}`", mode.name()), other));
        }
        Ok(one)
    }

    fn merged(mode: &MergeMode, one: Value, other: Value) -> Result<Value> {
        match mode {
            MergeMode::Sum => Ok(one + other),
            MergeMode::Mul => Ok(one * other),
            MergeMode::Ave => Ok((one + other).mul_scalar(0.5)),
            _ => {
                let last = one.rank() - 1;
                Value::concat(vec![one, other], last)
            }
        }
    }
}

/// The initial states of the forward and of the backward layer.
fn halves<T: Clone>(states: &[T]) -> Result<(Vec<T>, Vec<T>)> {
    if !states.len().is_multiple_of(2) {
        return Err(Error::argument(INITIAL_STATE, "as many states for each direction", states.len()));
    }
    let (forward, backward) = states.split_at(states.len() / 2);
    Ok((forward.to_vec(), backward.to_vec()))
}

impl Layer for Bidirectional {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        let mut outputs = self.output_shapes(std::slice::from_ref(input), &Arguments::new())?;
        if outputs.len() > 1 {
            let what = "Bidirectional with return_state=true or merge_mode=None, which has several outputs,";
            return Err(Error::unsupported(what, "a single output where a layer has one output"));
        }
        Ok(outputs.remove(0))
    }

    fn output_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
        let (forward, backward) = self.directions()?;
        arguments.expect_only(&[INITIAL_STATE])?;
        let (input, states) = split_states(inputs, arguments)?;
        let (first, second) = halves(states)?;
        let of = |layer: &dyn Layer, states: Vec<Shape>| {
            let arguments = starting_from(states.len());
            let inputs: Vec<Shape> = std::iter::once(input.clone()).chain(states).collect();
            layer.checked_outputs(&inputs, &arguments)
        };
        let mut outputs = of(&*forward.layer, first)?;
        let mut others = of(&*backward.layer, second)?;
        let (one, other) = (outputs.remove(0), others.remove(0));
        let merged = match &self.merge_mode {
            Some(mode) => vec![Self::merged_shape(mode, one, &other)?],
            None => vec![one, other],
        };
        Ok([merged, outputs, others].concat())
    }

    fn takes_initial_state(&self) -> bool {
        true
    }

    fn is_stateful(&self) -> bool {
        // The backward layer is checked to agree.
        self.layer.layer().is_stateful()
    }

    fn state_lists(&self) -> Vec<usize> {
        let backward = self.backward_layer.as_ref().unwrap_or(&self.layer);
        [self.layer.layer().state_lists(), backward.layer().state_lists()].concat()
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        let (forward, backward) = self.directions()?;
        let mut specs = inner_weights(&*forward.layer, input, "forward_layer")?;
        specs.extend(inner_weights(&*backward.layer, input, "backward_layer")?);
        Ok(specs)
    }

    fn given_weights(&self, input: &Shape) -> Result<Vec<Option<Value>>> {
        let backward = match &self.backward_layer {
            Some(layer) => layer.layer().brought_weights(std::slice::from_ref(input))?,
            None => Vec::new(),
        };
        if backward.is_empty() {
            return Ok(backward);
        }
        let forward = self.directions()?.0.layer.weights(input)?.len();
        Ok(std::iter::repeat_n(None, forward).chain(backward).collect())
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn apply_trainable(&mut self, trainable: bool) {
        self.common_mut().trainable = trainable;
        self.layer.layer_mut().apply_trainable(trainable);
        if let Some(backward) = &mut self.backward_layer {
            backward.layer_mut().apply_trainable(trainable);
        }
    }

    fn is_wrapper(&self) -> bool {
        true
    }

    fn scratch(&self, input: &Shape, training: bool) -> Result<usize> {
        let (forward, backward) = self.directions()?;
        let mut all = 0usize;
        for DirectedLayer { layer, .. } in [forward, backward] {
            // Two copies of the output: that of the backward direction is also reversed.
            let outputs = layer.checked_outputs(std::slice::from_ref(input), &Arguments::new())?;
            let outputs = outputs[0].known_len().saturating_mul(2);
            all = all.saturating_add(layer.scratch(input, training)?).saturating_add(outputs);
        }
        Ok(all)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        to.refuse_masks()?;
        let (forward, backward) = self.directions()?;
        let (edges, shapes) = (to.inputs().to_vec(), to.shapes().to_vec());
        let positional = to.arguments().positional(edges.len());
        let ((first, second), (first_shapes, second_shapes)) =
            (halves(&edges[positional..])?, halves(&shapes[positional..])?);
        let count = forward.layer.weights(&shapes[0])?.len();
        let (weights, other_weights) = to.weights().split_at(count.min(to.weights().len()));
        let mut run = |direction: &DirectedLayer, states: Vec<Edge>, state_shapes: Vec<Shape>, weights: &[Value]| {
            let arguments = starting_from(states.len());
            let inputs = std::iter::once(edges[0]).chain(states).collect();
            let shapes = std::iter::once(shapes[0].clone()).chain(state_shapes).collect();
            to.part(&*direction.layer, inputs, shapes, &arguments, weights)
        };
        let mut outputs = run(&forward, first, first_shapes, weights)?;
        let mut others = run(&backward, second, second_shapes, other_weights)?;
        let (one, mut other) = (outputs.remove(0), others.remove(0));
        if forward.return_sequences {
            other = to.flip(other, 1);
        }
        let merged = match &self.merge_mode {
            None => vec![one, other],
            Some(MergeMode::Sum) => vec![to.add(one, other)],
            Some(MergeMode::Mul) => vec![to.mul(one, other)],
            Some(MergeMode::Ave) => {
                let sum = to.add(one, other);
                vec![to.mul_number(sum, 0.5)]
            }
            Some(_) => {
                let last = if forward.return_sequences { 2 } else { 1 };
                vec![to.concat(&[one, other], last)]
            }
        };
        Ok([merged, outputs, others].concat())
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        Ok(self.forward_all(vec![input], call)?.remove(0))
    }

    fn forward_all(&self, inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
        let (forward, backward) = self.directions()?;
        let states = inputs.len().saturating_sub(1);
        let (input, given) = sequence_and_states(inputs, states)?;
        let (first, second) = halves(&given)?;
        let outer = call.mask.take();
        let mask = mask_in_use(&outer, &given, call);
        let mut run = |direction: &DirectedLayer, states: Vec<Value>, first: usize, key: u64| {
            let arguments = starting_from(states.len());
            let inputs = std::iter::once(input.clone()).chain(states).collect();
            inner_forward(&*direction.layer, inputs, &arguments, call, first, key, mask.clone())
        };
        let (mut outputs, count) = run(&forward, first, 0, 0)?;
        let (mut others, _) = run(&backward, second, count, 1)?;
        let (one, other) = (outputs.remove(0), others.remove(0));
        let other = if forward.return_sequences { other.flip(1) } else { other };
        let merged = match &self.merge_mode {
            Some(mode) => vec![Self::merged(mode, one, other)?],
            None => vec![one, other],
        };
        let masked = merged.len();
        let outputs = [merged, outputs, others].concat();
        let mask = outer.filter(|_| forward.return_sequences);
        if outputs.len() > 1 {
            let masks = (0..outputs.len()).map(|index| mask.clone().filter(|_| index < masked));
            call.set_output_masks(masks.collect());
        }
        call.mask = mask;
        Ok(outputs)
    }
}

impl BuiltIn for Bidirectional {
    fn examples() -> Vec<(Self, Shape)> {
        let input = || Shape::batch_of((4, 2));
        vec![
            (Self::new(LSTM::new(3).return_sequences(true)), input()),
            (Self::new(GRU::new(3)).merge_mode("sum"), input()),
            (Self::new(SimpleRNN::new(3)).merge_mode("mul"), input()),
            (Self::new(LSTM::new(3).dropout(0.3)).merge_mode("ave"), input()),
            (Self::new(LSTM::new(3)).backward_layer(GRU::new(2).go_backwards(true)), input()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Dense;

    #[test]
    fn incompatible_layers_are_refused() {
        let input = Shape::batch_of((4, 2));
        let refused = |layer: Bidirectional| layer.output_shape(&input).unwrap_err().to_string();
        assert!(refused(Bidirectional::new(Dense::new(2))).contains("a recurrent layer"));
        assert!(refused(Bidirectional::new(GRU::new(2)).backward_layer(GRU::new(2))).contains("go_backwards"));
        let sequences = GRU::new(2).go_backwards(true).return_sequences(true);
        assert!(refused(Bidirectional::new(GRU::new(2)).backward_layer(sequences)).contains("return_sequences"));
        // Several outputs, where one is required.
        assert!(refused(Bidirectional::new(GRU::new(2)).merge_mode(None)).contains("merge_mode"));
        assert!(refused(Bidirectional::new(GRU::new(2).return_state(true))).contains("return_state"));
        let states = GRU::new(2).go_backwards(true).return_state(true);
        assert!(refused(Bidirectional::new(GRU::new(2)).backward_layer(states)).contains("return_state"));
        assert!(refused(Bidirectional::new(GRU::new(2)).merge_mode("max")).contains("concat"));
        let narrow = Bidirectional::new(GRU::new(2)).backward_layer(GRU::new(3).go_backwards(true)).merge_mode("sum");
        assert!(refused(narrow).contains("alike"));
    }
}
