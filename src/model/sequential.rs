//! `Sequential`: a thin builder of a model whose layers form a chain.

use std::ops::{Deref, DerefMut};
use std::path::Path;

use burn::tensor::Device;

use super::graph::Graph;
use super::{FileFormat, Model};
use crate::config::{Config, Configure};
use crate::error::{Error, Result};
use crate::formats::Limits;
use crate::layers::{Arguments, BuiltIn, Call, Common, Dense, HasCommon, Layer, LayerArguments, WeightSpec};
use crate::ops::Value;
use crate::shape::Shape;

/// A linear stack of layers: Keras's `Sequential`.
///
/// It adds and removes layers; everything else is [`Model`]'s, to which it dereferences. `add` infers the shapes at
/// once, so that a layer that does not fit is rejected at its line; the weights are created when they are first needed.
/// Without an input shape the model is built by its first batch.
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
    model: Model,
}

impl Default for Sequential {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Sequential {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.model
    }
}

impl DerefMut for Sequential {
    fn deref_mut(&mut self) -> &mut Model {
        &mut self.model
    }
}

impl From<Sequential> for Model {
    fn from(sequential: Sequential) -> Self {
        sequential.model
    }
}

impl Sequential {
    /// A model without layers, on the default device: the CPU, unless `BRASA_BACKEND` names another.
    ///
    /// A name without an available device is an error when the weights are created, unless
    /// [`to_device`](Model::to_device) has selected another by then.
    pub fn new() -> Self {
        Self { model: Model::chain() }
    }

    /// A model with a name.
    pub fn with_name(name: impl Into<String>) -> Self {
        let mut model = Self::new();
        model.common_mut().name = Some(name.into());
        model
    }

    /// Sets the seed of the weights' initialization and of training: the same seed gives the same model.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.model.set_seed(seed);
        self
    }

    /// Appends a layer, names it if necessary, and infers its output shape.
    ///
    /// On an error the model is unchanged.
    ///
    /// # Errors
    /// [`Error::Layer`](crate::Error::Layer) with the layer's error;
    /// [`Error::DuplicateName`](crate::Error::DuplicateName); [`Error::Argument`](crate::Error::Argument) for a name
    /// with `/` or a second input shape.
    pub fn add(&mut self, layer: impl Into<Box<dyn Layer>>) -> Result<&mut Self> {
        self.model.add(layer.into())?;
        Ok(self)
    }

    /// Removes the last layer and returns it. As in Keras it keeps its weights, also when it is added again, to this
    /// model or another.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`](crate::Error::NoSuchLayer) if the model is empty.
    pub fn pop(&mut self) -> Result<Box<dyn Layer>> {
        self.model.pop()
    }

    /// The shape of a batch of outputs, as [`Model::output_shape`].
    ///
    /// # Errors
    /// [`Error::State`](crate::Error::State) before the input shape is known.
    // This and the others that only pass a call on are here so that a trait in scope, `Layer` or Burn's `Module`, does not hide them.
    pub fn output_shape(&self) -> Result<&Shape> {
        self.model.output_shape()
    }

    /// Moves the model, its weights and its optimizer's state to another device.
    pub fn to_device(&mut self, device: &Device) -> &mut Self {
        self.model.to_device(device);
        self
    }

    /// Loads a model as [`Model::load`] does; it has to be a chain of layers.
    ///
    /// # Errors
    /// As [`Model::load`]; [`Error::Unsupported`](crate::Error::Unsupported) for a model that is not a chain.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Model::load(path)?.into_sequential()
    }

    /// As [`load`](Self::load), on a device.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_on(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        Model::load_on(path, device)?.into_sequential()
    }

    /// As [`load`](Self::load), optionally on a device, with other limits.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with(path: impl AsRef<Path>, device: Option<&Device>, limits: &Limits) -> Result<Self> {
        Model::load_with(path, device, limits)?.into_sequential()
    }

    /// Loads a model as [`Model::load_bytes`] does; it has to be a chain of layers.
    ///
    /// # Errors
    /// As [`Model::load_bytes`]; [`Error::Unsupported`](crate::Error::Unsupported) for a model that is no chain.
    pub fn load_bytes(bytes: impl Into<Vec<u8>>, format: FileFormat) -> Result<Self> {
        Model::load_bytes(bytes, format)?.into_sequential()
    }

    /// As [`load_bytes`](Self::load_bytes), on a device if one is given, and within other limits.
    ///
    /// # Errors
    /// As [`load_bytes`](Self::load_bytes).
    pub fn load_bytes_with(
        bytes: impl Into<Vec<u8>>,
        format: FileFormat,
        device: Option<&Device>,
        limits: &Limits,
    ) -> Result<Self> {
        Model::load_bytes_with(bytes, format, device, limits)?.into_sequential()
    }

    /// Loads a model as [`load`](Self::load) does, but with newly initialized weights.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_architecture(path: impl AsRef<Path>) -> Result<Self> {
        Model::load_architecture(path)?.into_sequential()
    }

    /// The model with this config, with new weights.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) for classes and arguments that Brasa does not support,
    /// [`Error::Layer`](crate::Error::Layer), [`Error::Argument`](crate::Error::Argument).
    pub fn from_config(config: Config) -> Result<Self> {
        Model::from_config(config)?.into_sequential()
    }

    /// The model described by Keras's JSON, with new weights.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(2).input_shape(3))?;
    /// let copy = Sequential::from_json(&model.to_json()?)?;
    /// assert_eq!(copy.count_params()?, 8);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Syntax`](crate::Error::Syntax) if it is not JSON; else as [`from_config`](Self::from_config).
    pub fn from_json(json: &str) -> Result<Self> {
        Model::from_json(json)?.into_sequential()
    }
}

impl Sequential {
    pub(super) fn map_model(self, change: impl FnOnce(Model) -> Model) -> Self {
        Self { model: change(self.model) }
    }
}

impl Model {
    /// The model as a [`Sequential`], to which layers can be added.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) for a model that is not a chain of layers.
    pub fn into_sequential(mut self) -> Result<Sequential> {
        if let Some(functional) = self.functional.take() {
            let mut branching = self.graph.branches();
            // A Sequential has no operations.
            branching.extend(functional.layers..self.layers.len());
            if functional.inputs != [0] || !branching.is_empty() {
                let names: Vec<String> =
                    branching.iter().take(5).map(|layer| format!("`{}`", self.layers[*layer].name())).collect();
                let what = match names.is_empty() {
                    true => "this graph as a Sequential".to_owned(),
                    false => format!("a model whose graph branches at {} as a Sequential", names.join(", ")),
                };
                return Err(Error::unsupported(what, "a chain of layers; `Model` takes any graph"));
            }
            // A Sequential model does not list its input layer.
            let input = self.layers.remove(0);
            self.input_name = Some(input.name().to_owned());
            self.input_dtype.clone_from(&input.common().dtype);
            self.input_batch = input.common().batch_size;
            self.graph = Graph::new(1);
            (0..self.layers.len()).for_each(|layer| self.graph.append(layer));
            self.plans.forget();
            if let Some(built) = self.built.get_mut() {
                self.declared = built.shapes.first().cloned();
                built.specs.remove(0);
                if let Some(weights) = built.weights.get_mut() {
                    weights.remove(0);
                }
            }
        }
        Ok(Sequential { model: self })
    }
}

impl HasCommon for Sequential {
    fn common(&self) -> &Common {
        self.model.common()
    }

    fn common_mut(&mut self) -> &mut Common {
        self.model.common_mut()
    }
}

impl Layer for Sequential {
    fn is_model(&self) -> bool {
        true
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        Layer::output_shape(&self.model, input)
    }

    fn resizes_in_training(&self) -> bool {
        self.model.resizes_in_training()
    }

    fn inference_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Option<Vec<Shape>>> {
        self.model.inference_shapes(inputs, arguments)
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        Layer::weights(&self.model, input)
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        Layer::forward(&self.model, input, call)
    }

    fn scratch(&self, input: &Shape, training: bool) -> Result<usize> {
        self.model.scratch(input, training)
    }

    fn final_activation(&self) -> Option<&crate::Activation> {
        Layer::final_activation(&self.model)
    }

    fn supports_masking(&self) -> bool {
        self.model.supports_masking()
    }

    fn check_values(&self, values: &[f32]) -> Result<bool> {
        self.model.check_values(values)
    }

    fn given_weights(&self, input: &Shape) -> Result<Vec<Option<Value>>> {
        self.model.given_weights(input)
    }

    fn apply_trainable(&mut self, trainable: bool) {
        self.model.apply_trainable(trainable);
    }

    fn is_wrapper(&self) -> bool {
        self.model.is_wrapper()
    }

    fn is_stateful(&self) -> bool {
        self.model.is_stateful()
    }

    fn call_count(&self) -> usize {
        self.model.call_count()
    }
}

impl Configure for Sequential {
    const CLASS_NAME: &'static str = "Sequential";
    const ARGUMENTS: &'static [&'static str] = &["layers", "build_input_shape"];

    fn config(&self) -> Result<Config> {
        self.model.own_config()
    }

    fn from_config(config: Config) -> Result<Self> {
        Ok(Self { model: Model::from_own_config(config)? })
    }
}

impl BuiltIn for Sequential {
    fn examples() -> Vec<(Self, Shape)> {
        let mut model = Self::new().with_seed(1);
        let added = model
            .add(Dense::new(4).activation("relu").name("inner"))
            .and_then(|model| model.add(Dense::new(2).trainable(false)));
        match added {
            Ok(_) => vec![(model, Shape::batch_of(3))],
            Err(_) => Vec::new(),
        }
    }
}
