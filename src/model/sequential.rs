//! Putting layers in a row: `add`, `pop`, names, shapes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use burn::tensor::Device;

use super::summary::{Params, Row, Summary};
use super::weights::{Weight, start};
use crate::backend::Backend;
use crate::config::snake_case;
use crate::error::{Error, Result};
use crate::layers::{Common, Layer, WeightSpec};
use crate::random::fresh_seed;
use crate::shape::{IntoSample, Shape};
use crate::training::Compiled;

/// Layers in a row: Keras's `Sequential`.
///
/// It is the description and, once built, the model. `add` works out the shapes at once, so that a layer that does not
/// fit is refused at its line; the weights are made when they are first needed. Without an input shape the model is
/// built by its first batch.
///
/// ```
/// use brasa::prelude::*;
///
/// let mut model = Sequential::new();
/// model.add(Conv2D::new(32, (5, 5)).activation("relu").input_shape((28, 28, 1)))?;
/// model.add(MaxPooling2D::new((2, 2)))?;
/// assert_eq!(model.output_shape()?.to_string(), "(None, 12, 12, 32)");
///
/// let error = model.add(Conv2D::new(64, (13, 13))).unwrap_err();
/// assert!(error.to_string().contains("conv2d_1"));
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sequential {
    pub(super) common: Common,
    pub(super) layers: Vec<Box<dyn Layer>>,
    /// The name of the input layer, for files.
    pub(super) input_name: Option<String>,
    /// The input shape that was declared, if one was.
    pub(super) declared: Option<Shape>,
    pub(super) built: OnceLock<Built>,
    pub(super) device: Device,
    /// Whether the environment names a backend that does not answer: said when the device is first needed.
    device_is_missing: bool,
    pub(super) seed: u64,
    /// How many names of each kind were given out; popping a layer does not give its name back.
    names: BTreeMap<String, usize>,
    pub(crate) compiled: Option<Compiled>,
}

/// What is known once the input shape is: every shape, the weights to be made, and those that were.
#[derive(Clone, Debug)]
pub(super) struct Built {
    /// The input's shape, then each layer's output's.
    pub(super) shapes: Vec<Shape>,
    pub(super) specs: Vec<Vec<WeightSpec>>,
    pub(super) weights: OnceLock<Vec<Vec<Weight>>>,
}

/// How [`Sequential::get_layer`] is asked: by name or by index (negative counts from the end).
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// The device that the environment names, else the default one.
fn named_device() -> Result<Device> {
    Backend::from_environment()?.device()
}

impl Default for Sequential {
    fn default() -> Self {
        Self::new()
    }
}

impl Sequential {
    /// A model without layers, on the default device: the CPU, unless `BRASA_BACKEND` names another.
    ///
    /// A name that stands for no device of this machine is an error when the weights are made, unless
    /// [`to_device`](Self::to_device) has chosen another by then.
    pub fn new() -> Self {
        let named = named_device();
        let device_is_missing = named.is_err();
        let device = named.or_else(|_| Backend::default().device()).unwrap_or_default();
        Self {
            common: Common { name: Some("sequential".into()), ..Common::default() },
            layers: Vec::new(),
            input_name: None,
            declared: None,
            built: OnceLock::new(),
            device,
            device_is_missing,
            seed: fresh_seed(),
            names: BTreeMap::new(),
            compiled: None,
        }
    }

    /// A model with a name.
    pub fn with_name(name: impl Into<String>) -> Self {
        let mut model = Self::new();
        model.common.name = Some(name.into());
        model
    }

    /// Fixes the random start of the weights, and with it of training: the same seed gives the same model.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        self.common.name.as_deref().unwrap_or("sequential")
    }

    /// The seed of the weights' random start.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The device that computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Appends a layer, gives it a name if it has none, and works out its output shape.
    ///
    /// On an error the model is as before.
    ///
    /// # Errors
    /// [`Error::Layer`] with what the layer refuses; [`Error::DuplicateName`]; [`Error::Argument`] for a name with `/`
    /// or a second input shape.
    pub fn add(&mut self, layer: impl Into<Box<dyn Layer>>) -> Result<&mut Self> {
        let mut layer = layer.into();
        let is_input = layer.class_name() == "InputLayer";
        let names = self.names.clone();
        self.name_layer(&mut layer, if is_input { "input_layer" } else { "" })?;
        let added = if is_input { self.add_input(&*layer) } else { self.add_layer(layer) };
        if added.is_err() {
            self.names = names;
        }
        added.map(|()| self)
    }

    fn add_input(&mut self, input: &dyn Layer) -> Result<()> {
        let shape = input.common().input_shape.clone();
        let shape = shape.ok_or_else(|| Error::argument("input_shape", "the shape of one sample", "nothing"))?;
        in_layer(input, input.output_shape(&shape))?;
        self.declare(&shape, !self.layers.is_empty())?;
        self.input_name = Some(input.name().to_owned());
        Ok(())
    }

    fn add_layer(&mut self, layer: Box<dyn Layer>) -> Result<()> {
        let before = (self.declared.clone(), self.built.clone());
        // The first layer may be a model that has an input shape; further ones only have to fit.
        let own = layer.as_any().downcast_ref::<Self>().filter(|_| self.layers.is_empty());
        let own = own.and_then(|model| model.declared.clone()).filter(|_| self.declared.is_none());
        let result = self.try_add_layer(&*layer, layer.common().input_shape.clone().or(own));
        match result {
            Ok(()) => {
                self.layers.push(layer);
                self.forget_training();
            }
            Err(_) => (self.declared, self.built) = before,
        }
        result
    }

    fn try_add_layer(&mut self, layer: &dyn Layer, input: Option<Shape>) -> Result<()> {
        if let Some(shape) = input {
            let expected = self.built.get().and_then(|built| built.shapes.last());
            if expected != Some(&shape) {
                in_layer(layer, self.declare(&shape, !self.layers.is_empty()))?;
            }
        }
        if let Some(built) = self.built.get_mut() {
            let input = built.shapes.last().cloned().unwrap_or_else(|| Shape::batch_of(()));
            let (output, specs) = in_layer(layer, rules(layer, &input))?;
            if let Some(weights) = built.weights.get_mut() {
                let index = weights.len() as u64;
                weights.push(in_layer(layer, start(layer, &specs, &[self.seed, index], &self.device))?);
            }
            built.shapes.push(output);
            built.specs.push(specs);
        }
        Ok(())
    }

    /// Sets the input shape of a model that has none.
    fn declare(&mut self, shape: &Shape, has_layers: bool) -> Result<()> {
        let known = self.declared.as_ref().or_else(|| self.built.get().map(|built| &built.shapes[0]));
        if let Some(known) = known {
            let model = format!("model `{}` already has the input shape {known}", self.name());
            return Err(Error::argument("input_shape", format!("no second input shape: {model}"), shape));
        }
        if has_layers {
            return Err(Error::argument("input_shape", "an input shape on the first layer only", shape));
        }
        self.declared = Some(shape.clone());
        self.built = OnceLock::from(Built { shapes: vec![shape.clone()], specs: Vec::new(), weights: OnceLock::new() });
        Ok(())
    }

    fn name_layer(&mut self, layer: &mut Box<dyn Layer>, base: &str) -> Result<()> {
        let taken: BTreeSet<&str> =
            self.layers.iter().map(|layer| layer.name()).chain(self.input_name.as_deref()).collect();
        // A nested model is named like any other layer, unless its maker has named it.
        let nested_default = layer.as_any().is::<Self>() && layer.name() == "sequential";
        if let Some(name) = layer.common().name.clone().filter(|_| !nested_default) {
            if name.is_empty() || name.contains('/') || name.contains('\0') {
                return Err(Error::argument("name", "a name without `/`", format!("`{name}`")));
            }
            if taken.contains(name.as_str()) {
                return Err(Error::DuplicateName { model: self.name().to_owned(), name });
            }
            return Ok(());
        }
        let base = if base.is_empty() { snake_case(layer.class_name()) } else { base.to_owned() };
        let count = self.names.entry(base.clone()).or_default();
        let name = loop {
            let name = if *count == 0 { base.clone() } else { format!("{base}_{count}") };
            *count += 1;
            if !taken.contains(name.as_str()) {
                break name;
            }
        };
        layer.common_mut().name = Some(name);
        Ok(())
    }

    /// Removes the last layer and returns it.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`] if there is none.
    pub fn pop(&mut self) -> Result<Box<dyn Layer>> {
        let Some(layer) = self.layers.pop() else {
            return Err(Error::NoSuchLayer { wanted: "the last layer".into(), existing: Vec::new() });
        };
        if let Some(built) = self.built.get_mut() {
            built.shapes.pop();
            built.specs.pop();
            if let Some(weights) = built.weights.get_mut() {
                weights.pop();
            }
        }
        if self.layers.is_empty() {
            // The input shape came with the first layer unless an `Input` brought it.
            if self.input_name.is_none() {
                self.declared = None;
                self.built = OnceLock::new();
            }
        }
        self.forget_training();
        Ok(layer)
    }

    /// The layers, in order; an `Input` is not among them.
    pub fn layers(&self) -> &[Box<dyn Layer>] {
        &self.layers
    }

    /// One layer, by name or by index (negative counts from the end).
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`] with the names there are.
    pub fn get_layer(&self, layer: impl Into<LayerRef>) -> Result<&dyn Layer> {
        let index = self.layer_index(layer.into())?;
        Ok(&*self.layers[index])
    }

    /// Says whether training may change the weights of one layer, or of all if `layer` is `None`.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`] with the names there are.
    pub fn set_trainable(&mut self, layer: Option<LayerRef>, trainable: bool) -> Result<()> {
        match layer {
            Some(layer) => {
                let index = self.layer_index(layer)?;
                self.layers[index].common_mut().trainable = trainable;
            }
            None => self.layers.iter_mut().for_each(|layer| layer.common_mut().trainable = trainable),
        }
        self.forget_training();
        Ok(())
    }

    pub(super) fn layer_index(&self, wanted: LayerRef) -> Result<usize> {
        let found = match &wanted {
            LayerRef::Name(name) => self.layers.iter().position(|layer| layer.name() == name),
            LayerRef::Index(index) => {
                let index = if *index < 0 { index + self.layers.len() as isize } else { *index };
                usize::try_from(index).ok().filter(|index| *index < self.layers.len())
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
        Ok(&shapes[shapes.len() - 1])
    }

    /// Number of weights' values, trainable or not.
    ///
    /// # Errors
    /// [`Error::State`] before the input shape is known.
    pub fn count_params(&self) -> Result<usize> {
        let (trainable, rest) = self.count_by_trainable(self.expect_built("count_params")?);
        Ok(trainable + rest)
    }

    fn count_by_trainable(&self, built: &Built) -> (usize, usize) {
        let mut counts = (0usize, 0usize);
        for (layer, specs) in self.layers.iter().zip(&built.specs) {
            for spec in specs {
                let trainable = self.common.trainable && layer.common().trainable && spec.trainable;
                let count = if trainable { &mut counts.0 } else { &mut counts.1 };
                *count = count.saturating_add(spec.count());
            }
        }
        counts
    }

    /// Whether the input shape is known, and with it every other.
    pub fn is_built(&self) -> bool {
        self.built.get().is_some_and(|_| !self.layers.is_empty())
    }

    /// Gives a model without an input shape one: the shape of one sample.
    ///
    /// # Errors
    /// [`Error::State`] without layers, [`Error::Argument`] for another shape than the model has, [`Error::Layer`] for
    /// a layer that does not fit.
    pub fn build(&mut self, sample: impl IntoSample) -> Result<()> {
        let shape = Shape::batch_of(sample);
        if self.built.get().is_some_and(|built| built.shapes[0] != shape) {
            return self.declare(&shape, false);
        }
        self.build_for(&shape).map(|_| ())
    }

    /// The shapes and weights, built for `input` if they are not yet.
    pub(super) fn build_for(&self, input: &Shape) -> Result<&Built> {
        if self.layers.is_empty() {
            return Err(Error::State {
                action: "build",
                needs: format!("not empty: `{}` has no layers, call `add`", self.name()),
            });
        }
        if let Some(built) = self.built.get() {
            return Ok(built);
        }
        let mut built = Built { shapes: vec![input.clone()], specs: Vec::new(), weights: OnceLock::new() };
        for layer in &self.layers {
            let (output, specs) = in_layer(&**layer, rules(&**layer, &built.shapes[built.shapes.len() - 1]))?;
            built.shapes.push(output);
            built.specs.push(specs);
        }
        Ok(self.built.get_or_init(|| built))
    }

    pub(super) fn expect_built(&self, action: &'static str) -> Result<&Built> {
        self.built.get().ok_or_else(|| Error::State {
            action,
            needs: "built: give the first layer an input_shape, call `build`, or pass a batch".into(),
        })
    }

    /// Refuses to compute on another device than the environment names.
    pub(super) fn check_device(&self) -> Result<()> {
        if self.device_is_missing { named_device().map(|_| ()) } else { Ok(()) }
    }

    /// Puts the model, its weights and its optimizer's state on another device.
    pub fn to_device(&mut self, device: &Device) -> &mut Self {
        if let Some(weights) = self.built.get_mut().and_then(|built| built.weights.get_mut()) {
            for weight in weights.iter_mut().flatten() {
                weight.value = weight.value.clone().to_device(device);
            }
        }
        if let Some(compiled) = &mut self.compiled {
            compiled.move_to(device);
        }
        self.device = device.clone();
        self.device_is_missing = false;
        self
    }

    /// After a change of layers the optimizer's state no longer fits.
    fn forget_training(&mut self) {
        if let Some(compiled) = &mut self.compiled {
            compiled.forget();
        }
    }

    /// The table of layers, output shapes and parameters; print it with `println!("{}", …)`.
    pub fn summary(&self) -> Summary {
        let mut rows = Vec::new();
        self.push_rows(&mut rows, 0, self.built.get());
        let (trainable, rest) = self.built.get().map_or((0, 0), |built| self.count_by_trainable(built));
        let mut summary = Summary::new(self.name(), rows, Params::float32(trainable), Params::float32(rest));
        summary.input_shape = self.input_shape().ok().cloned();
        summary.optimizer = self.compiled.as_ref().and_then(Compiled::optimizer_params);
        summary
    }

    fn push_rows(&self, rows: &mut Vec<Row>, level: usize, built: Option<&Built>) {
        for (index, layer) in self.layers.iter().enumerate() {
            let specs = built.map(|built| &built.specs[index]);
            rows.push(Row {
                name: layer.name().to_owned(),
                class_name: layer.class_name().to_owned(),
                output_shape: built.map(|built| built.shapes[index + 1].clone()),
                params: specs.map_or(0, |specs| specs.iter().fold(0, |sum, spec| spec.count().saturating_add(sum))),
                built: built.is_some(),
                trainable: self.common.trainable && layer.common().trainable,
                level,
            });
            if let Some(nested) = layer.as_any().downcast_ref::<Self>() {
                // A nested model has its shapes from where it stands.
                let inner = built.and_then(|built| nested.build_for(&built.shapes[index]).ok());
                nested.push_rows(rows, level + 1, inner);
            }
        }
    }
}

/// What a layer makes of an input shape: its output shape and the weights it needs.
fn rules(layer: &dyn Layer, input: &Shape) -> Result<(Shape, Vec<WeightSpec>)> {
    let output = layer.output_shape(input)?;
    let specs = layer.weights(input)?;
    for spec in &specs {
        spec.check()?;
    }
    Ok((output, specs))
}

/// The result with the layer's name on its error.
pub(super) fn in_layer<T>(layer: &dyn Layer, result: Result<T>) -> Result<T> {
    result.map_err(|source| match source {
        source @ Error::Layer { .. } if layer.as_any().is::<Sequential>() => source,
        source => Error::Layer {
            layer: layer.name().to_owned(),
            class_name: layer.class_name().to_owned(),
            source: Box::new(source),
        },
    })
}
