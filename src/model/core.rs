//! The model: its layers and its shapes.

mod add;
mod rows;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use burn::tensor::Device;

use super::admitted::Admitted;
use super::graph::{Graph, shapes_of};
use super::plans::Plans;
use super::structure::Functional;
use super::weight::{Weight, fitting_weights};
use crate::backend::{Backend, check_simd};
use crate::compile::Compiled;
use crate::datasets::DataInfo;
use crate::error::{Error, Result};
use crate::layers::{Arguments, Common, KeptStates, Layer, LayerPath, WeightSpec, check_length, in_layer};
use crate::ops::Value;
use crate::random::fresh_seed;
use crate::shape::{IntoSample, Shape};

/// A model: layers, their connections, their weights, and its compile configuration. Keras's `Model`.
///
/// It is the description and, once built, the computation. [`Sequential`](super::Sequential) builds one layer by layer.
#[derive(Clone, Debug)]
pub struct Model {
    pub(super) common: Common,
    pub(super) layers: Vec<Box<dyn Layer>>,
    /// The name of the input layer, for files.
    pub(super) input_name: Option<String>,
    /// The Keras dtype of the inputs, for files; `float32` by default.
    pub(super) input_dtype: Option<String>,
    /// The batch size, if it is fixed.
    pub(super) input_batch: Option<usize>,
    /// The states of stateful layers.
    pub(super) kept: KeptStates,
    /// The declared input shape, if any.
    pub(super) declared: Option<Shape>,
    pub(super) graph: Graph,
    /// The additional data of a Functional model; `None` for a Sequential one.
    pub(super) functional: Option<Functional>,
    pub(super) plans: Plans,
    pub(super) built: OnceLock<Built>,
    pub(super) device: Device,
    /// Whether the environment names a device that is not available: an error when it is first needed.
    device_is_missing: bool,
    pub(super) seed: u64,
    /// The number of names assigned per kind; popping a layer does not release its name.
    names: BTreeMap<String, usize>,
    pub(crate) compiled: Option<Compiled>,
    /// The reason why it is not compiled, if its file has a compile configuration that could not be read.
    pub(crate) compile_fault: Option<String>,
    /// Information about the training data.
    pub(super) data_info: DataInfo,
    /// The memory limit in bytes, if set.
    pub(super) memory_limit: Option<u64>,
    /// The batch sizes that are known to fit.
    pub(super) admitted: Admitted,
}

/// The state known once the input shape is: all shapes, the weight specs, and the weights once created.
#[derive(Clone, Debug)]
pub(super) struct Built {
    /// The shapes of all values of the graph, the inputs first.
    pub(super) shapes: Vec<Shape>,
    pub(super) specs: Vec<Vec<WeightSpec>>,
    pub(super) weights: OnceLock<Vec<Vec<Weight>>>,
}

impl Built {
    /// Removes the layers whose outputs are not among the first `depth` shapes.
    fn truncate(&mut self, depth: usize) {
        self.shapes.truncate(depth);
        self.specs.truncate(depth - 1);
        if let Some(weights) = self.weights.get_mut() {
            weights.truncate(depth - 1);
        }
    }
}

/// The most layers that one call can compute, including nested ones.
const MOST_CALLS: usize = 20_000;

/// The most layers that all calls of a model can compute together, and the most outputs of a model.
const MOST_IN_ALL: usize = 100_000;

/// Counts the layers that the calls of a model compute, while the model is constructed. Otherwise a few bytes for each
/// call of a large nested model could cost hours of shape inference, and the memory for all the shapes.
#[derive(Default)]
pub(super) struct CallCount(usize);

impl CallCount {
    /// Counts a call before any work is done for it.
    ///
    /// # Errors
    /// [`Error::Layer`] if there are too many.
    pub fn count(&mut self, layer: &dyn Layer) -> Result<()> {
        self.0 = self.0.saturating_add(layer.call_count());
        in_layer(layer, check_calls(self.0, "calls of layers in the whole model"))
    }
}

/// Rejects more than the limit of `what`.
pub(super) fn check_calls(count: usize, what: &str) -> Result<()> {
    if count <= MOST_IN_ALL {
        return Ok(());
    }
    Err(Error::unsupported(format!("{count} {what}"), format!("up to {MOST_IN_ALL}")))
}

/// The argument of [`Model::get_layer`]: a name or an index (negative counts from the end).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerRef {
    /// A name.
    Name(String),
    /// A position.
    Index(isize),
}

impl From<&str> for LayerRef {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<isize> for LayerRef {
    fn from(index: isize) -> Self {
        Self::Index(index)
    }
}

/// The device named by the environment, else the default one.
fn named_device() -> Result<Device> {
    Backend::from_environment()?.device()
}

impl Model {
    /// A model without layers, on the default device: the CPU, unless `BRASA_BACKEND` names another.
    ///
    /// A name without an available device is an error when the weights are created, unless
    /// [`to_device`](Self::to_device) has selected another by then.
    pub(super) fn chain() -> Self {
        let named = named_device();
        let device_is_missing = named.is_err();
        let device = named.or_else(|_| Backend::default().device()).unwrap_or_default();
        Self {
            common: Common { name: Some("sequential".into()), ..Common::default() },
            layers: Vec::new(),
            input_name: None,
            input_dtype: None,
            input_batch: None,
            kept: KeptStates::default(),
            declared: None,
            graph: Graph::new(1),
            functional: None,
            plans: Plans::default(),
            built: OnceLock::new(),
            device,
            device_is_missing,
            seed: fresh_seed(),
            names: BTreeMap::new(),
            compiled: None,
            compile_fault: None,
            data_info: DataInfo::default(),
            memory_limit: None,
            admitted: Admitted::default(),
        }
    }

    /// Sets the seed of the weights' initialization and of training: the same seed gives the same model.
    pub fn set_seed(&mut self, seed: u64) -> &mut Self {
        self.seed = seed;
        self
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        self.common.name.as_deref().unwrap_or("sequential")
    }

    /// The seed of the weights' initialization.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The device of the computation.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Information about the training data, such as class names and the range of images. It is saved with the model and
    /// used by the command line.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(2).activation("softmax").input_shape(3))?;
    /// model.data_info_mut().class_names = vec!["cat".into(), "dog".into()];
    /// # let folder = std::env::temp_dir().join(format!("brasa-doc-info-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).unwrap();
    /// # let path = folder.join("pets.keras");
    /// model.save(&path)?;
    /// assert_eq!(Sequential::load(&path)?.data_info().class_names, ["cat", "dog"]);
    /// # std::fs::remove_dir_all(folder).unwrap();
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub fn data_info(&self) -> &DataInfo {
        &self.data_info
    }

    /// As [`data_info`](Self::data_info), mutable.
    pub fn data_info_mut(&mut self) -> &mut DataInfo {
        &mut self.data_info
    }

    /// The layers, in order; an `Input` is not among them.
    pub fn layers(&self) -> &[Box<dyn Layer>] {
        &self.layers[..self.functional.as_ref().map_or(self.layers.len(), |functional| functional.layers)]
    }

    /// The index of a layer among those that compute, which separates its random numbers from those of others.
    pub(super) fn number_of(&self, layer: usize) -> u64 {
        let inputs = self.functional.as_ref().map_or(&[][..], |functional| &functional.inputs);
        (layer - inputs.iter().filter(|input| **input < layer).count()) as u64
    }

    /// The layers, and after them the operations of the graph.
    pub(crate) fn all_layers(&self) -> &[Box<dyn Layer>] {
        &self.layers
    }

    /// One layer, by name or by index (negative counts from the end).
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`] with the existing names.
    pub fn get_layer(&self, layer: impl Into<LayerRef>) -> Result<&dyn Layer> {
        let index = self.layer_index(layer.into())?;
        Ok(&*self.layers[index])
    }

    /// Sets whether training can change the weights of one layer, or of all if `layer` is `None`: Keras's
    /// `layer.trainable`, which applies to nested layers too.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(8).name("features").input_shape(4))?.add(Dense::new(2))?;
    /// model.set_trainable(Some("features".into()), false)?;
    /// assert_eq!((model.summary().trainable.count, model.count_params()?), (8 * 2 + 2, 4 * 8 + 8 + 8 * 2 + 2));
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`] with the existing names.
    pub fn set_trainable(&mut self, layer: Option<LayerRef>, trainable: bool) -> Result<()> {
        match layer {
            Some(layer) => {
                let index = self.layer_index(layer)?;
                self.layers[index].apply_trainable(trainable);
            }
            None => self.layers.iter_mut().for_each(|layer| layer.apply_trainable(trainable)),
        }
        // For nested layers the flag is part of the weight specs.
        if let Some(inputs) = self.built.get().map(|built| built.shapes[..self.graph.inputs()].to_vec()) {
            let specs = self.child_specs(&inputs)?;
            if let Some(built) = self.built.get_mut() {
                built.specs = specs;
            }
        }
        self.plans.forget();
        self.forget_training();
        Ok(())
    }

    /// The additional data of a Functional model; `None` for a Sequential one.
    pub(super) fn functional(&self) -> Option<&Functional> {
        self.functional.as_ref()
    }

    /// The calls of its layers.
    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    pub(super) fn layer_index(&self, wanted: LayerRef) -> Result<usize> {
        let found = match &wanted {
            LayerRef::Name(name) => self.layers.iter().position(|layer| layer.name() == name),
            LayerRef::Index(index) => {
                let count = self.layers().len();
                let index = if *index < 0 { index + count as isize } else { *index };
                usize::try_from(index).ok().filter(|index| *index < count)
            }
        };
        found.ok_or_else(|| Error::NoSuchLayer {
            wanted: match wanted {
                LayerRef::Name(name) => format!("`{name}`"),
                LayerRef::Index(index) => format!("index {index}"),
            },
            existing: self.layers.iter().map(|layer| format!("`{}`", layer.name())).collect(),
        })
    }

    /// The shape of a batch of inputs.
    ///
    /// # Errors
    /// [`Error::State`] before the input shape is known.
    pub fn input_shape(&self) -> Result<&Shape> {
        Ok(&self.expect_built("input_shape")?.shapes[0])
    }

    /// The shape of a batch of outputs.
    ///
    /// # Errors
    /// [`Error::State`] before the input shape is known.
    pub fn output_shape(&self) -> Result<&Shape> {
        let shapes = &self.expect_built("output_shape")?.shapes;
        match self.graph.outputs() {
            [output] => Ok(&shapes[*output]),
            outputs => Err(Error::shape("one output", format!("{} outputs", outputs.len()))),
        }
    }

    /// The number of parameters, trainable or not.
    ///
    /// # Errors
    /// [`Error::State`] before the input shape is known.
    pub fn count_params(&self) -> Result<usize> {
        let (trainable, rest) = self.count_by_trainable(self.expect_built("count_params")?);
        Ok(trainable + rest)
    }

    /// Whether the input shape, and with it every other shape, is known.
    pub fn is_built(&self) -> bool {
        self.built.get().is_some_and(|_| !self.layers.is_empty())
    }

    /// Sets the input shape of a model without one: the shape of one sample.
    ///
    /// # Errors
    /// [`Error::State`] without layers, [`Error::Argument`] for another shape than the model has, [`Error::Layer`] for
    /// a layer that does not accept its input.
    pub fn build(&mut self, sample: impl IntoSample) -> Result<()> {
        let shape = Shape::batch_of(sample);
        if self.built.get().is_some_and(|built| built.shapes[0] != shape) {
            return self.declare(&shape, false);
        }
        self.build_for(&[shape]).map(|_| ())
    }

    /// The shapes and weights, built for `inputs` if they are not yet.
    pub(super) fn build_for(&self, inputs: &[Shape]) -> Result<&Built> {
        if self.layers.is_empty() {
            return Err(Error::State {
                action: "build",
                needs: format!("not empty: `{}` has no layers, call `add`", self.name()),
            });
        }
        if let Some(built) = self.built.get() {
            return Ok(built);
        }
        self.check_stateful()?;
        let mut built =
            Built { shapes: inputs.to_vec(), specs: vec![Vec::new(); self.layers.len()], weights: OnceLock::new() };
        let mut calls = CallCount::default();
        for node in self.graph.nodes() {
            let layer = &*self.layers[node.layer];
            calls.count(layer)?;
            let inputs = shapes_of(&built.shapes, node);
            let (outputs, specs) = in_layer(layer, rules(layer, &inputs, &node.arguments))?;
            built.shapes.extend(outputs);
            if node.call == 0 {
                built.specs[node.layer] = specs;
            } else {
                in_layer(layer, same_weights(&built.specs[node.layer], &specs))?;
            }
        }
        Ok(self.built.get_or_init(|| built))
    }

    /// The fixed batch size, if any: an `Input`'s `batch_size`. Only stateful layers enforce it.
    pub fn batch_size(&self) -> Option<usize> {
        match &self.functional {
            Some(own) => own.inputs.iter().find_map(|input| self.layers[*input].common().batch_size),
            None => self.input_batch,
        }
    }

    /// Rejects stateful layers without a fixed batch size: their states belong to the samples of a batch.
    pub(super) fn check_stateful(&self) -> Result<()> {
        // A model without an input shape of its own takes the batches of its parent.
        let is_open = self.functional.is_none() && self.declared.is_none();
        match self.layers.iter().find(|layer| layer.is_stateful()) {
            Some(layer) if !is_open => refuse_any_size(&**layer, self.batch_size()),
            _ => Ok(()),
        }
    }

    /// Resets the states of stateful layers to zeros. Until then each batch, in training, evaluation or prediction,
    /// continues from the states of the one before. States are saved in checkpoints, not in model files.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(SimpleRNN::new(1).stateful(true).batch_size(1).input_shape((1, 1)))?;
    /// let x = ndarray::array![[[1.0f32]]];
    /// let first = model.predict(&x)?;
    /// assert_ne!(model.predict(&x)?, first);
    /// model.reset_states();
    /// assert_eq!(model.predict(&x)?, first);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub fn reset_states(&self) {
        self.kept.replace(BTreeMap::new());
    }

    /// The states of stateful layers, by the layers' paths.
    pub(crate) fn states(&self) -> BTreeMap<LayerPath, Vec<Value>> {
        self.kept.all()
    }

    /// Replaces these states.
    pub(crate) fn set_states(&self, states: BTreeMap<LayerPath, Vec<Value>>) {
        self.kept.replace(states);
    }

    pub(super) fn expect_built(&self, action: &'static str) -> Result<&Built> {
        self.built.get().ok_or_else(|| Error::State {
            action,
            needs: "built: give the first layer an input_shape, call `build`, or pass a batch".into(),
        })
    }

    /// Rejects computing on another device than the environment names.
    pub(super) fn check_device(&self) -> Result<()> {
        check_simd()?;
        if self.device_is_missing { named_device().map(|_| ()) } else { Ok(()) }
    }

    /// Moves the model, its weights and its optimizer's state to another device.
    pub fn to_device(&mut self, device: &Device) -> &mut Self {
        if let Some(weights) = self.built.get_mut().and_then(|built| built.weights.get_mut()) {
            for weight in weights.iter_mut().flatten() {
                weight.value = weight.value.clone().to_device(device);
            }
        }
        if let Some(compiled) = &mut self.compiled {
            compiled.move_to(device);
        }
        let moved = |states: Vec<Value>| states.into_iter().map(|state| state.to_device(device)).collect();
        self.kept.replace(self.kept.all().into_iter().map(|(path, states)| (path, moved(states))).collect());
        self.plans.forget_weights();
        self.device = device.clone();
        self.device_is_missing = false;
        self
    }

    /// After a change of layers the optimizer's state no longer fits.
    fn forget_training(&mut self) {
        self.admitted.forget();
        if let Some(compiled) = &mut self.compiled {
            compiled.forget();
        }
    }
}

/// Rejects a stateful layer unless the batch size is fixed.
fn refuse_any_size(layer: &dyn Layer, batch_size: Option<usize>) -> Result<()> {
    if batch_size.is_some() || !layer.is_stateful() {
        return Ok(());
    }
    let expected = "false, or a batch size that is fixed by `batch_size` of the model's input";
    in_layer(layer, Err(Error::argument("stateful", expected, true)))
}

/// Shape inference for a layer: its outputs' shapes and its weight specs.
pub(super) fn rules(
    layer: &dyn Layer,
    inputs: &[Shape],
    arguments: &Arguments,
) -> Result<(Vec<Shape>, Vec<WeightSpec>)> {
    // Nested models that each call the next twice double the work with each level.
    let calls = layer.call_count();
    if calls > MOST_CALLS {
        let received = format!("{calls} calls of layers inside one another");
        return Err(Error::unsupported(received, format!("up to {MOST_CALLS}")));
    }
    let outputs = layer.checked_outputs(inputs, arguments)?;
    // The weights depend on the positional inputs only.
    let inputs = &inputs[..arguments.positional(inputs.len())];
    let specs = layer.weights_for(inputs)?;
    for spec in &specs {
        spec.check()?;
    }
    fitting_weights(layer, inputs, &specs)?;
    Ok((outputs, specs))
}

/// Rejects an invalid layer name.
pub(super) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.contains('/') || name.contains('\0') {
        return Err(Error::argument("name", "a name without `/`", format!("`{name}`")));
    }
    check_length(name)
}

/// Rejects a further call of a layer on inputs for which it would need other weights.
pub(super) fn same_weights(first: &[WeightSpec], again: &[WeightSpec]) -> Result<()> {
    let sizes = |specs: &[WeightSpec]| specs.iter().map(|spec| spec.sizes.clone()).collect::<Vec<_>>();
    if sizes(first) == sizes(again) {
        return Ok(());
    }
    Err(Error::shape(format!("an input that fits the weights {:?}", sizes(first)), format!("{:?}", sizes(again))))
}
