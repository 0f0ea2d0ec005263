//! Memory estimates from shapes: sizes that exceed any buffer, and computations that exceed the memory limit, are
//! rejected before anything is allocated.

use super::Model;
use super::admitted::AdmittedUse;
use super::graph::{Node, shapes_of};
use super::stage::HostSplit;
use crate::error::{Error, Result};
use crate::layers::{Layer, OutputMemory, WeightSpec, in_layer};
use crate::memory;
use crate::ops::{self, Value};
use crate::optimizers::{OptimizerState, WeightInfo};
use crate::shape::{MOST_VALUES, Shape};

/// Temporary values of loss and metrics, as a multiple of the outputs' size.
const SCORED: usize = 4;

const BYTES: u64 = size_of::<f32>() as u64;

/// The most bytes that a process can address: an upper bound for any limit.
const ADDRESSABLE: u64 = MOST_VALUES as u64 * BYTES;

/// The peak number of live values when a model computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// The maximum number of values, including the inputs.
    pub values: usize,
    /// The layer with the largest share, and its output's shape.
    largest: Option<(usize, Shape)>,
    /// The shapes of the outputs.
    pub outputs: Vec<Shape>,
}

/// Reference-counted buffers: a view shares its origin's buffer, and a buffer is freed with its last value.
struct Buffers {
    /// The reference count and the size of each.
    users: Vec<(usize, usize)>,
    /// The buffer of each value of the graph.
    of: Vec<usize>,
    /// The total size of all live buffers.
    live: usize,
}

impl Buffers {
    fn new(inputs: &[Shape]) -> Self {
        let mut buffers = Self { users: Vec::new(), of: Vec::new(), live: 0 };
        inputs.iter().for_each(|input| buffers.add(input.known_len()));
        buffers
    }

    /// Adds a value with its own buffer.
    fn add(&mut self, len: usize) {
        self.of.push(self.users.len());
        self.users.push((1, len));
        self.live = self.live.saturating_add(len);
    }

    /// Adds a value that shares the buffer of another.
    fn add_view(&mut self, of: usize) {
        let buffer = self.of[of];
        self.of.push(buffer);
        self.users[buffer].0 += 1;
    }

    /// Drops a value after its last use.
    fn drop(&mut self, value: usize) {
        let (users, len) = &mut self.users[self.of[value]];
        *users -= 1;
        if *users == 0 {
            self.live = self.live.saturating_sub(*len);
        }
    }
}

/// The peak memory of computing batches of shapes `inputs`, all of whose sizes are known. In inference a value is
/// dropped after its last use; in training it is saved for the backward pass, whose gradients are at most as large as
/// the largest output and inputs of a layer.
///
/// # Errors
/// [`Error::Layer`] for a layer that rejects its inputs' shapes, or whose output for the batch exceeds any buffer.
pub(super) fn held(model: &Model, inputs: &[Shape], training: bool) -> Result<Held> {
    held_behind(model, &HostSplit::none(model), inputs, training)
}

/// As [`held`], for the outputs of the layers on the host.
fn held_behind(model: &Model, split: &HostSplit, inputs: &[Shape], training: bool) -> Result<Held> {
    let graph = model.graph();
    let batch = inputs.first().and_then(|input| input.sizes().first().copied().flatten()).unwrap_or(1);
    let sum = |shapes: &[Shape]| shapes.iter().map(Shape::known_len).fold(0usize, usize::saturating_add);
    let fed = |id| split.feed_index(id).map_or_else(|| Shape::new([Some(0)]), |index| inputs[index].clone());
    let mut shapes: Vec<Shape> = (0..graph.inputs()).map(fed).collect();
    let mut buffers = Buffers::new(&shapes);
    let mut last_use = vec![usize::MAX; graph.value_count()];
    for (index, node) in graph.nodes().iter().enumerate() {
        node.uses().for_each(|id| last_use[id] = index);
    }
    graph.outputs().iter().for_each(|id| last_use[*id] = usize::MAX);

    let (mut peak, mut kept, mut gradients, mut momentary) = (buffers.live, buffers.live, 0, 0);
    let (mut largest, mut most) = (None, 0);
    for (index, node) in graph.nodes().iter().enumerate() {
        if split.is_on_host(index) {
            let shape = fed(node.output);
            buffers.add(shape.known_len());
            kept = kept.saturating_add(shape.known_len());
            shapes.push(shape);
            continue;
        }
        let layer = &*model.all_layers()[node.layer];
        let inputs = shapes_of(&shapes, node);
        let (outputs, scratch, moment) = in_layer(layer, checked(layer, &inputs, node, batch, training))?;
        let memory = layer.output_memory();
        let is_view = memory == OutputMemory::View;
        let after = if is_view { 0 } else { sum(&outputs) };
        let part = |output: &Shape| {
            let (part, whole) = (output.known_len(), inputs[0].known_len());
            part <= whole && !ops::part_is_copied(part, whole)
        };
        let shares = is_view || (memory == OutputMemory::Part && outputs.iter().all(part));
        for output in &outputs {
            if shares {
                buffers.add_view(node.inputs[0]);
            } else {
                buffers.add(output.known_len());
            }
        }
        peak = peak.max(buffers.live.saturating_add(scratch).saturating_add(moment));
        momentary = momentary.max(moment);
        kept = kept.saturating_add(after).saturating_add(scratch);
        gradients = gradients.max(sum(&inputs).saturating_add(after));
        let part = after.saturating_add(scratch).saturating_add(moment);
        if part > most {
            (largest, most) = (outputs.first().map(|output| (node.layer, output.clone())), part);
        }
        for id in node.uses() {
            // Once, even if it is used twice.
            if last_use[id] == index {
                last_use[id] = usize::MAX;
                buffers.drop(id);
            }
        }
        shapes.extend(outputs);
    }
    let values = if training { kept.saturating_add(gradients).saturating_add(momentary) } else { peak };
    let outputs = graph.outputs().iter().map(|id| shapes[*id].clone()).collect();
    Ok(Held { values, largest, outputs })
}

/// A call's outputs for a batch, and its other values: those saved in training, and temporary ones.
fn checked(
    layer: &dyn Layer,
    inputs: &[Shape],
    node: &Node,
    batch: usize,
    training: bool,
) -> Result<(Vec<Shape>, usize, usize)> {
    let outputs = match training {
        true => None,
        false => layer.inference_shapes(inputs, &node.arguments)?,
    };
    let outputs = outputs.map_or_else(|| layer.checked_outputs(inputs, &node.arguments), Ok)?;
    // Operations can move another axis to the front.
    let batch = inputs.first().and_then(|input| input.sizes().first().copied().flatten()).unwrap_or(batch);
    let outputs: Vec<Shape> = outputs.iter().map(|output| output.or_batch(batch)).collect();
    outputs.iter().try_for_each(|output| output.check_count().map(|_| ()))?;
    let positional = &inputs[..node.arguments.positional(inputs.len())];
    let scratch = layer.scratch_for(positional, &node.arguments, training)?;
    let moment = match positional {
        [input] => layer.momentary(input, training)?,
        _ => 0,
    };
    Ok((outputs, scratch, moment))
}

/// Bytes of weights, gradients and optimizer state.
#[derive(Clone, Copy, Debug, Default)]
struct ParameterBytes {
    /// The total.
    bytes: u64,
    /// The part that is already allocated.
    made: u64,
    /// The layer whose weights, or their penalties, take the most, and their size in bytes.
    largest: Option<(usize, u64)>,
}

fn count_of(specs: &[WeightSpec]) -> u64 {
    specs.iter().fold(0u64, |sum, spec| sum.saturating_add(spec.count() as u64))
}

fn bytes_of(values: u64) -> u64 {
    values.saturating_mul(BYTES)
}

impl Model {
    /// Limits the memory of this model, in bytes: weights, optimizer, activations and gradients together. By default
    /// the [process's limit](crate::memory::set_limit) applies, and without one the memory that is
    /// [available](crate::memory::available) when it is needed.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(1000).input_shape(1000))?;
    /// model.set_memory_limit(Some(1_000_000));
    /// let error = model.predict(&ndarray::Array2::<f32>::zeros((1, 1000))).unwrap_err();
    /// assert!(error.to_string().contains("1000000 bytes"), "{error}");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub fn set_memory_limit(&mut self, bytes: Option<u64>) -> &mut Self {
        self.memory_limit = bytes;
        self.admitted.forget();
        self
    }

    /// Forgets which batches fit, after a change of the optimizer.
    pub(crate) fn forget_room(&self) {
        self.admitted.forget();
    }

    /// As [`admit_all`](Self::admit_all), for a batch with targets: loss and metrics need several copies of the
    /// outputs, in training and elsewhere. `ahead` values of prefetched batches are in memory at the same time.
    pub(crate) fn admit_fed(&self, inputs: &[Vec<usize>], training: bool, ahead: usize) -> Result<()> {
        self.admit_for(inputs, if training { AdmittedUse::Training } else { AdmittedUse::Scores }, ahead)
    }

    /// Rejects batches of these sizes, one for each input, if an activation would exceed the largest buffer, or the
    /// computation the memory limit; `extra` is the number of further values. Free of cost for sizes admitted before.
    pub(crate) fn admit_all(&self, inputs: &[Vec<usize>], training: bool, extra: usize) -> Result<()> {
        self.admit_for(inputs, if training { AdmittedUse::Training } else { AdmittedUse::Outputs }, extra)
    }

    /// Upper bound of the values in memory, beside the weights, when outputs are computed for batches of these sizes.
    ///
    /// # Errors
    /// [`Error::Layer`] for a layer that rejects its inputs' shapes.
    pub(super) fn values_for(&self, inputs: &[&[usize]]) -> Result<usize> {
        let shapes: Vec<Shape> = inputs.iter().map(|sizes| Shape::known(sizes)).collect();
        let held = held_behind(self, &HostSplit::of(self), &shapes, false)?;
        let results = held.outputs.iter().map(Shape::known_len).fold(0usize, usize::saturating_add);
        Ok(held.values.saturating_add(results))
    }

    fn admit_for(&self, inputs: &[Vec<usize>], mode: AdmittedUse, extra: usize) -> Result<()> {
        // The outputs of the host stage are known only with the data.
        if inputs.is_empty() {
            return Ok(());
        }
        // The sizes of several inputs are concatenated, so their ranks are part of the key.
        let ranks = inputs.iter().skip(1).map(Vec::len).collect();
        let sizes = &[inputs.concat(), ranks].concat()[..];
        if self.admitted.has(sizes, mode, extra) {
            return Ok(());
        }
        let shapes: Vec<Shape> = inputs.iter().map(|sizes| Shape::known(sizes)).collect();
        shapes.iter().try_for_each(|shape| shape.check_count().map(|_| ()))?;
        let training = mode == AdmittedUse::Training;
        let held = held_behind(self, &HostSplit::of(self), &shapes, training)?;
        let parameters = self.parameters(training);
        let results = held.outputs.iter().map(Shape::known_len).fold(0usize, usize::saturating_add);
        let results = results.saturating_mul(if mode == AdmittedUse::Outputs { 1 } else { SCORED });
        let activations = bytes_of(held.values.saturating_add(results).saturating_add(extra) as u64);
        let (needed, made) = (parameters.bytes.saturating_add(activations), parameters.made);
        let Some((most, what)) = self.too_little_for(needed, made, self.is_on_cpu()) else {
            self.admitted.remember(sizes, mode, extra);
            return Ok(());
        };
        let batch = sizes.first().copied().unwrap_or(1);
        let weights = parameters.largest.filter(|(_, bytes)| *bytes > activations / 2);
        let (index, part) = match (weights, &held.largest) {
            (Some((index, bytes)), _) => {
                (index, format!("most of it, {}, for weights", crate::text::bytes_text(bytes)))
            }
            (None, Some((index, output))) => (*index, format!("most of it for an output of shape {output}")),
            (None, None) => (0, "for the inputs".to_owned()),
        };
        let doing = if training { "training on" } else { "computing" };
        let needs = format!("{doing} a batch of {batch} ({part})");
        let error = Error::Memory { needs, bytes: needed, most, what };
        match self.layers.get(index) {
            Some(layer) => in_layer(&**layer, Err(error)),
            None => Err(error),
        }
    }

    /// Rejects creating weights that do not fit in memory.
    pub(super) fn admit_weights(&self) -> Result<()> {
        let mut parameters = self.parameters(false);
        // Weights are initialized one after another, some in double precision.
        let specs = self.built.get().into_iter().flat_map(|built| built.specs.iter().flatten());
        let drawn = specs.map(|spec| spec.initializer.scratch(spec.count())).max().unwrap_or(0);
        parameters.bytes = parameters.bytes.saturating_add(bytes_of(drawn as u64));
        match (self.too_little_for(parameters.bytes, parameters.made, true), parameters.largest) {
            (Some((most, what)), Some((index, bytes))) => {
                let needs = format!("its {} of weights", crate::text::bytes_text(bytes));
                let error = Error::Memory { needs, bytes: parameters.bytes, most, what };
                in_layer(&*self.layers[index], Err(error))
            }
            _ => Ok(()),
        }
    }

    /// Whether `values` values of 32 bits have room beside the model's weights.
    pub(super) fn has_room_for(&self, values: u64) -> bool {
        let parameters = self.parameters(false);
        let bytes = parameters.bytes.saturating_add(values.saturating_mul(BYTES));
        self.too_little_for(bytes, parameters.made, true).is_none()
    }

    /// The limit that `bytes` exceed, `made` of them already allocated, and its name. Memory that is not on the `host`
    /// is compared only with limits that were set.
    fn too_little_for(&self, bytes: u64, made: u64, host: bool) -> Option<(u64, &'static str)> {
        let over = |most: u64| bytes > most;
        let limit = match self.memory_limit {
            Some(most) => Some((most, "the model's memory limit")),
            None => memory::limit().map(|most| (most, "the memory limit")),
        };
        if let Some(limit) = limit.filter(|(most, _)| over(*most)) {
            return Some(limit);
        }
        if over(ADDRESSABLE) {
            return Some((ADDRESSABLE, "what a process can address"));
        }
        if limit.is_some() {
            return None;
        }
        // Small models need not query the system.
        const ALWAYS: u64 = 16 << 20;
        let more = bytes.saturating_sub(made);
        if more <= ALWAYS || !host {
            return None;
        }
        let mut most = memory::available()?;
        if more > most {
            // Free lists are released first.
            ops::drop_buffers();
            most = memory::available()?;
        }
        let left = most.checked_sub(more);
        left.into_iter().for_each(ops::keep_within);
        left.is_none().then_some((most, "the available memory"))
    }

    pub(super) fn is_on_cpu(&self) -> bool {
        Value::from_vec(Vec::new(), &[0], self.device()).is_ok_and(|value| value.is_on_cpu())
    }

    /// Weights, and in training their gradients and the optimizer's state.
    fn parameters(&self, training: bool) -> ParameterBytes {
        let Some(built) = self.built.get() else { return ParameterBytes::default() };
        let mut found = ParameterBytes::default();
        let (mut all, mut learned, mut slots, mut largest, mut penalties) = (0u64, 0u64, 0u64, 0u64, 0u64);
        let compiled = self.compiled.as_ref().filter(|_| training);
        for (index, specs) in built.specs.iter().enumerate() {
            let count = count_of(specs);
            all = all.saturating_add(count);
            if count > 0 && found.largest.is_none_or(|(_, most)| bytes_of(count) > most) {
                found.largest = Some((index, bytes_of(count)));
            }
            for spec in specs.iter().filter(|spec| training && self.is_trainable(index, spec)) {
                let count = spec.count() as u64;
                learned = learned.saturating_add(count);
                largest = largest.max(count);
                let penalty = spec.regularizer.as_ref().map_or(0, |own| own.scratch(&spec.sizes)) as u64;
                penalties = penalties.saturating_add(penalty);
                if penalty > count && found.largest.is_none_or(|(_, most)| bytes_of(penalty) > most) {
                    found.largest = Some((index, bytes_of(penalty)));
                }
                if let Some(compiled) = compiled {
                    let info = WeightInfo { path: &spec.name, sizes: &spec.sizes };
                    for slot in OptimizerState::slots(&*compiled.optimizer, &info) {
                        let count = slot.sizes.iter().fold(1u64, |product, size| product.saturating_mul(*size as u64));
                        slots = slots.saturating_add(count);
                    }
                }
            }
        }
        // Updating a weight needs temporary values of its size.
        let gradients = learned.saturating_add(largest);
        found.bytes = bytes_of(all.saturating_add(slots).saturating_add(gradients).saturating_add(penalties));
        if built.weights.get().is_some() {
            found.made = bytes_of(all);
        }
        if compiled.is_some_and(|compiled| !compiled.state.slots.is_empty()) {
            found.made = found.made.saturating_add(bytes_of(slots));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Add, Cropping1D, Dense, Identity, Input, LayerArguments, RepeatVector, Reshape, UpSampling1D};
    use crate::model::{CallLayer, Sequential};

    fn values(model: &Model, sample: &[usize], training: bool) -> usize {
        held(model, &[Shape::known(&[&[1], sample].concat())], training).unwrap().values
    }

    /// A chain of layers that enlarge their inputs and slice off a small part.
    #[test]
    fn a_slice_keeps_its_origin_alive() {
        let steps = 1 << 13;
        let of = |cut: usize| {
            let mut model = Sequential::new();
            model.add(RepeatVector::new(steps).input_shape(1)).unwrap();
            model.add(Cropping1D::new((0, cut))).unwrap().add(UpSampling1D::new(1)).unwrap();
            values(&model, &[1], false)
        };
        // A small slice is copied and its origin freed; the peak is where both are alive.
        assert_eq!(of(steps - 1), 1 + steps);
        // A slice of more than half stays a view, which keeps its origin alive while the next layer computes.
        let left = steps / 2 + 1;
        assert_eq!(of(steps - left), steps + left);
    }

    #[test]
    fn a_view_keeps_the_memory_of_a_dropped_origin() {
        let input = Input::new(10).symbol();
        let large = Dense::new(1000).call(&input).unwrap();
        let view = Reshape::new([10, 100]).call(&large).unwrap();
        let after = Dense::new(1).call(&large).unwrap();
        let late = Identity::new().call(&view).unwrap();
        let small = Reshape::new([1, 1]).call(&after).unwrap();
        let both = Add::new().call([&late, &small]).unwrap();
        let model = Model::new(&input, &both).unwrap();
        // The large value lives until the sum, which is allocated then.
        assert_eq!(values(&model, &[10], false), 1000 + 1 + 1000);
        let twice = Model::new(&input, &Add::new().call([&large, &large]).unwrap()).unwrap();
        assert_eq!(values(&twice, &[10], false), 2000);
        assert_eq!(values(&twice, &[10], true), 10 + 2000 + 3000);
    }
}
