//! The layers, one file each, and the list of them.
//!
//! A layer is a description with Keras's argument names, a pure shape inference rule, a list of the weights it needs,
//! and a forward pass. Adding one is a file and a line in [`built_in`]; a user's own layer is the same without the
//! line:
//!
//! ```
//! use brasa::layers::{Call, Layer, WeightSpec};
//! use brasa::prelude::*;
//! use brasa::{Shape, Value};
//!
//! brasa::describe! {
//!     /// Multiplies each feature by a learned factor.
//!     pub layer struct Scale {
//!         /// The factors before training.
//!         initial: f32 = 1.0,
//!     }
//! }
//!
//! impl Layer for Scale {
//!     fn weights(&self, input: &Shape) -> brasa::Result<Vec<WeightSpec>> {
//!         let initial = Initializer::Constant { value: self.initial };
//!         Ok(vec![WeightSpec::new("factor", [input.last()?], initial)])
//!     }
//!
//!     fn forward(&self, input: Value, call: &mut Call<'_>) -> brasa::Result<Value> {
//!         let sizes = input.sizes();
//!         Ok(input * call.weight(0).broadcast(&[sizes.len() - 1], &sizes)?)
//!     }
//! }
//!
//! brasa::layers::register::<Scale>(); // files that name `Scale` now load
//!
//! let mut model = Sequential::new();
//! model.add(Scale::default().initial(0.5).input_shape(3))?.add(Dense::new(1))?;
//! assert_eq!(model.count_params()?, 3 + 4);
//! # Ok::<(), brasa::Error>(())
//! ```

#[cfg(test)]
mod agreement;
mod arguments;
mod built_in;
mod call;
mod frozen;
mod fused;
pub(crate) mod host;
mod keys;
mod list;
mod onnx;
mod operation;
mod output_memory;
mod spec;
mod streams;
mod windows;
mod wrapped;

pub mod activation;
pub mod applications;
pub mod attention;
pub mod augmentation;
pub mod convolution;
pub mod core;
pub mod merging;
pub mod normalization;
pub mod pooling;
pub mod preprocessing;
pub mod recurrent;
pub mod regularization;
pub mod reshaping;
pub mod spectrogram;

use std::any::Any;
use std::fmt::Debug;

use serde_json::json;

use crate::config::{Config, Configure, from_json, snake_case};
use crate::datasets::Column;
use crate::error::{Error, Result};
use crate::formats::limits::NAME_BYTES;
pub use crate::formats::onnx::{Attribute, Edge, Numbers as OnnxNumbers};
use crate::ops::{MAX_RANK, Value};
use crate::shape::{IntoSample, Shape};

pub use self::activation::{ELU, LeakyReLU, PReLU, ReLU, Softmax};
pub use self::applications::{CustomScaleLayer, LayerScale, StochasticDepth};
pub use self::arguments::Arguments;
pub(crate) use self::arguments::{INITIAL_STATE, MASK};
pub use self::attention::{AdditiveAttention, Attention, GroupQueryAttention, MultiHeadAttention};
pub use self::augmentation::{
    AugMix, AutoContrast, Equalization, Pipeline, RandAugment, RandomBrightness, RandomColorDegeneration,
    RandomColorJitter, RandomContrast, RandomCrop, RandomElasticTransform, RandomErasing, RandomFlip,
    RandomGaussianBlur, RandomGrayscale, RandomHue, RandomInvert, RandomPerspective, RandomPosterization,
    RandomRotation, RandomSaturation, RandomSharpness, RandomShear, RandomTranslation, RandomZoom, Solarization,
};
pub use self::built_in::{BuiltIn, Example, ExampleOfSeveral};
pub(crate) use self::call::{BatchPart, FIRST_CALL, KeptStates, LayerPath};
pub use self::call::{Call, Update};
pub use self::convolution::{
    Conv1D, Conv1DTranspose, Conv2D, Conv2DTranspose, Conv3D, Conv3DTranspose, DepthwiseConv1D, DepthwiseConv2D,
    SeparableConv1D, SeparableConv2D,
};
pub use self::core::{
    ActivationLayer, Dense, EinsumDense, Embedding, Identity, Input, Lambda, Masking, ReversibleEmbedding,
};
pub(crate) use self::frozen::{Activated, Epilogue, copied, each_part};
pub use self::frozen::{Freezing, Frozen, FrozenStep};
pub use self::fused::Fused;
pub use self::host::{HostLayer, Preparation, StoredVocabulary, Takes};
pub(crate) use self::keys::{class_keys, container_keys, key_class};
pub use self::list::{Entry, built_in, register};
pub(crate) use self::list::{entry, from_keras, to_keras};
pub use self::merging::{Add, Average, Concatenate, Dot, Maximum, Minimum, Multiply, Subtract};
pub use self::normalization::{
    BatchNormalization, GroupNormalization, LayerNormalization, RMSNormalization, SpectralNormalization,
    UnitNormalization,
};
pub use self::onnx::Exporting;
pub(crate) use self::onnx::onnx_resize_axis;
pub(crate) use self::operation::{Operation, ValueKind, tensors};
pub use self::output_memory::OutputMemory;
pub use self::pooling::{
    AdaptiveAveragePooling1D, AdaptiveAveragePooling2D, AdaptiveAveragePooling3D, AdaptiveMaxPooling1D,
    AdaptiveMaxPooling2D, AdaptiveMaxPooling3D, AveragePooling1D, AveragePooling2D, AveragePooling3D,
    GlobalAveragePooling1D, GlobalAveragePooling2D, GlobalAveragePooling3D, GlobalMaxPooling1D, GlobalMaxPooling2D,
    GlobalMaxPooling3D, MaxPooling1D, MaxPooling2D, MaxPooling3D,
};
pub(crate) use self::preprocessing::{ADAPTED, lines as vocabulary_lines};
pub use self::preprocessing::{
    CategoryEncoding, CenterCrop, Discretization, HashedCrossing, Hashing, IntegerLookup, Normalization, Rescaling,
    Resizing, StringLookup, TextVectorization,
};
pub use self::recurrent::{
    Bidirectional, ConvLSTM1D, ConvLSTM2D, ConvLSTM3D, GRU, GRUCell, LSTM, LSTMCell, RNN, RnnCell, SimpleRNN,
    SimpleRNNCell, StackedRNNCells, TimeDistributed, Way,
};
pub use self::regularization::{
    ActivityRegularization, AlphaDropout, Dropout, GaussianDropout, GaussianNoise, SpatialDropout1D, SpatialDropout2D,
    SpatialDropout3D,
};
pub use self::reshaping::{
    Cropping1D, Cropping2D, Cropping3D, Flatten, Permute, RepeatVector, Reshape, UpSampling1D, UpSampling2D,
    UpSampling3D, ZeroPadding1D, ZeroPadding2D, ZeroPadding3D,
};
pub use self::spec::WeightSpec;
pub use self::spectrogram::{MelSpectrogram, STFTSpectrogram};
pub(crate) use self::streams::{SampleKeys, Streams};
pub use self::wrapped::Wrapped;
pub(crate) use self::wrapped::is_trainable;

/// The arguments of every Keras layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Common {
    /// The layer's name; without one the model gives it `dense`, `dense_1`, …
    pub name: Option<String>,
    /// Whether its weights are trainable.
    pub trainable: bool,
    /// The shape of one sample, for the first layer of a model.
    pub input_shape: Option<Shape>,
    /// The fixed number of samples per batch, as stateful layers need it; for the first layer of a model.
    pub batch_size: Option<usize>,
    /// Keras's dtype or dtype policy, such as `mixed_bfloat16`, where a file has another than `float32`. It is written
    /// back; Brasa computes in float32.
    pub dtype: Option<String>,
    /// The name of its class in Python, where a file has another than the one of the registered class. It names the
    /// layer's weights in Keras's files, and is written back.
    pub(crate) python_class: Option<String>,
    /// The weights that the layer had in the model that it was popped from.
    pub(crate) brought: Brought,
}

/// Weights that a layer keeps from an earlier model. They are not part of its description.
#[derive(Clone, Default)]
pub(crate) struct Brought(pub Vec<Value>);

impl Debug for Brought {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(Value::sizes)).finish()
    }
}

impl PartialEq for Brought {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Default for Common {
    fn default() -> Self {
        Self {
            name: None,
            trainable: true,
            input_shape: None,
            batch_size: None,
            dtype: None,
            python_class: None,
            brought: Brought::default(),
        }
    }
}

impl Common {
    /// The names of these arguments in a config.
    pub const ARGUMENTS: &'static [&'static str] =
        &["name", "trainable", "dtype", "input_shape", "batch_size", "batch_shape", "batch_input_shape"];

    /// Takes these arguments from a config.
    ///
    /// # Errors
    /// [`Error::Argument`] for a wrong value, [`Error::Unsupported`] for a dtype that is not floating-point.
    pub fn take(config: &mut Config) -> Result<Self> {
        let mut common = Self::default();
        if let Some(name) = config.remove("name").filter(|name| !name.is_null()) {
            let name: String = from_json("name", name)?;
            check_length(&name)?;
            common.name = Some(name);
        }
        if let Some(trainable) = config.remove("trainable") {
            common.trainable = from_json("trainable", trainable)?;
        }
        if let Some(dtype) = config.remove("dtype") {
            common.dtype = checked_dtype(&dtype)?;
        }
        if let Some(shape) = config.remove("input_shape") {
            let sizes: Vec<Option<usize>> = from_json("input_shape", shape)?;
            check_rank("input_shape", sizes.len() + 1)?;
            common.input_shape = Some(Shape::batch_of(sizes));
        }
        if let Some(size) = config.remove("batch_size").filter(|size| !size.is_null()) {
            common.batch_size = Some(from_json("batch_size", size)?);
        }
        let given = common.batch_size;
        for key in ["batch_shape", "batch_input_shape"] {
            if let Some(shape) = config.remove(key).filter(|shape| !shape.is_null()) {
                let sizes: Vec<Option<usize>> = from_json(key, shape)?;
                if sizes.is_empty() {
                    return Err(Error::argument(key, "at least the batch's size", "[]"));
                }
                check_rank(key, sizes.len())?;
                common.input_shape = Some(Shape::batch_of(sizes[1..].to_vec()));
                common.batch_size = sizes[0];
                if given.is_some() {
                    return Err(Error::argument("batch_size", format!("`batch_size` or `{key}`, not both"), "both"));
                }
            }
        }
        common.check_batch_size()?;
        Ok(common)
    }

    /// Refuses empty batches.
    pub(crate) fn check_batch_size(&self) -> Result<()> {
        match self.batch_size {
            Some(0) => Err(Error::argument("batch_size", "an integer above 0", 0)),
            _ => Ok(()),
        }
    }
}

/// Refuses an overlong name.
///
/// # Errors
/// [`Error::Argument`].
pub(crate) fn check_length(name: &str) -> Result<()> {
    if name.len() <= NAME_BYTES {
        return Ok(());
    }
    Err(Error::argument(
        "name",
        format!("a name of at most {NAME_BYTES} bytes"),
        format!("{} bytes: {name}", name.len()),
    ))
}

/// Refuses a shape of a higher rank than values can have, the batch included.
///
/// # Errors
/// [`Error::Argument`].
pub(crate) fn check_rank(argument: &str, rank: usize) -> Result<()> {
    if rank <= MAX_RANK {
        return Ok(());
    }
    let expected = format!("a shape of at most {MAX_RANK} dimensions, the batch counted");
    Err(Error::argument(argument, expected, format!("one of {rank}")))
}

/// Whether a value means that an argument is not used.
type IsNeutral = fn(&serde_json::Value) -> bool;

/// Keys that some Keras version writes for arguments that Brasa's layers do not have.
const NEUTRAL: &[(&str, IsNeutral)] = &[
    ("autocast", serde_json::Value::is_boolean),
    ("quantization_config", serde_json::Value::is_null),
    ("lora_rank", serde_json::Value::is_null),
    ("lora_alpha", serde_json::Value::is_null),
    ("gptq_unpacked_column_size", serde_json::Value::is_null),
    ("renorm", is_false),
    ("renorm_clipping", serde_json::Value::is_null),
    ("renorm_momentum", serde_json::Value::is_number),
    ("rms_scaling", is_false),
    // Choices of the implementation, which do not change the result.
    ("flash_attention", |value| value.is_boolean() || value.is_null()),
    ("implementation", serde_json::Value::is_number),
    ("use_cudnn", |_| true),
    ("input_length", |_| true),
    ("time_major", is_false),
    ("activity_regularizer", serde_json::Value::is_null),
    ("weights", serde_json::Value::is_null),
    ("sparse", is_false),
    ("ragged", is_false),
];

/// Adds the layer's name to an error.
pub(crate) fn in_layer<T>(layer: &dyn Layer, result: Result<T>) -> Result<T> {
    result.map_err(|source| match source {
        source @ Error::Layer { .. } if layer.is_model() => source,
        source => Error::Layer {
            layer: layer.name().to_owned(),
            class_name: layer.class_name().to_owned(),
            source: Box::new(source),
        },
    })
}

fn is_false(value: &serde_json::Value) -> bool {
    *value == serde_json::Value::Bool(false) || value.is_null()
}

/// Removes Keras's keys for arguments that a layer does not have from its config.
///
/// # Errors
/// [`Error::Unsupported`] for a key whose argument is used.
fn drop_neutral(config: &mut Config, own: &[&str]) -> Result<()> {
    for (key, neutral) in NEUTRAL.iter().filter(|(key, _)| !own.contains(key)) {
        if let Some(value) = config.remove(*key)
            && !neutral(&value)
        {
            return Err(Error::unsupported(format!("`{key}` = {value}"), own.join(", ")));
        }
    }
    Ok(())
}

/// The dtypes for which Brasa computes in float32 instead: the same results up to precision.
const FLOATS: [&str; 6] = ["float32", "float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"];

/// The dtypes of inputs besides the floating-point ones.
const OTHERS: [&str; 10] = ["string", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"];

/// Refuses an unknown input dtype.
///
/// # Errors
/// [`Error::UnknownName`] with the known dtypes.
fn check_input_dtype(dtype: &str) -> Result<()> {
    match OTHERS.contains(&dtype) || FLOATS.contains(&dtype) {
        true => Ok(()),
        false => Err(Error::unknown("dtype", dtype, OTHERS.iter().chain(&FLOATS))),
    }
}

/// The name of a dtype, given directly or in a policy.
fn dtype_name(dtype: &serde_json::Value) -> Option<&str> {
    dtype.get("config").and_then(|config| config.get("name")).unwrap_or(dtype).as_str()
}

/// The dtype to be written back; `None` for float32, the default of files.
///
/// Dtypes that are not floating-point are refused: integers and quantized numbers would change results.
fn checked_dtype(dtype: &serde_json::Value) -> Result<Option<String>> {
    if dtype.is_null() {
        return Ok(None);
    }
    match dtype_name(dtype).filter(|name| FLOATS.contains(name)) {
        Some(name) => Ok(Some(name.to_owned()).filter(|name| name != "float32")),
        None => Err(Error::unsupported(format!("dtype {}", crate::config::brief(dtype)), FLOATS.join(", "))),
    }
}

/// Access to the arguments of every layer.
pub trait HasCommon {
    /// The common arguments.
    fn common(&self) -> &Common;
    /// The common arguments, mutably.
    fn common_mut(&mut self) -> &mut Common;
}

/// A layer: its shape inference, its weights, its forward pass.
///
/// Its arguments, config and builder methods come from [`describe!`](crate::describe); the example at the top of this
/// module is a whole layer, and [`Wrapped`] has one that holds another. The context of a forward pass is its [`Call`]:
///
/// | a layer that | |
/// | --- | --- |
/// | behaves differently in training | [`training_mode`](Call::training_mode), [`trainable`](Call::trainable) |
/// | draws random numbers | [`rng`](Call::rng) |
/// | updates its own weights, such as a moving mean | [`update`](Call::update) |
/// | adds to the loss | [`add_loss`](Call::add_loss), [`add_activity_loss`](Call::add_activity_loss) |
/// | reads or sets the mask | [`mask`](Call::mask), [`supports_masking`](Self::supports_masking) |
/// | is stateful between batches | [`kept_states`](Call::kept_states), [`keep_states`](Call::keep_states), [`is_stateful`](Self::is_stateful) |
/// | ends with an activation | [`activate`](Call::activate), [`final_activation`](Self::final_activation) |
/// | holds other layers | [`Wrapped`], [`part`](Call::part), [`take_over`](Call::take_over), [`is_wrapper`](Self::is_wrapper) |
///
/// Noise in training that is the same when a run is repeated, resumed or split over processes, and a moving average
/// updated by the layer unless it is frozen:
///
/// ```
/// use brasa::layers::{Call, Layer, WeightSpec};
/// use brasa::prelude::*;
/// use brasa::{Shape, Value};
///
/// brasa::describe! {
///     /// Adds noise in training, and keeps a moving average of the mean of its inputs.
///     pub layer struct Jitter {
///         /// The largest noise.
///         most: f32 = 0.1,
///         /// The layer's own seed, in place of the run's.
///         seed: Option<u64> = None,
///     }
/// }
///
/// impl Layer for Jitter {
///     fn weights(&self, _: &Shape) -> brasa::Result<Vec<WeightSpec>> {
///         Ok(vec![WeightSpec::new("moving_mean", [1], "zeros").non_trainable()])
///     }
///
///     fn forward(&self, input: Value, call: &mut Call<'_>) -> brasa::Result<Value> {
///         if call.trainable() {
///             let mean = input.clone().detach().mean();
///             call.update(0, call.weight(0).mul_scalar(0.9) + mean.mul_scalar(0.1));
///         }
///         if !call.training_mode() {
///             return Ok(input);
///         }
///         let mut random = call.rng(self.seed);
///         random.skip_rows(input.len()); // as many draws follow
///         let noise = (0..input.len()).map(|_| random.uniform(-self.most..self.most)).collect();
///         Ok(input.clone() + Value::from_vec(noise, &input.sizes(), &input.device())?)
///     }
/// }
///
/// let mut model = Sequential::new().with_seed(1);
/// model.add(Jitter::default().input_shape(2))?.add(Dense::new(1))?;
/// model.compile(Compile::new(SGD::new(0.1), "mse"))?;
/// let (mut again, x) = (model.clone(), ndarray::Array2::<f32>::ones((8, 2)));
/// let data = Dataset::new(&x, vec![1.0f32; 8])?;
/// let fit = || Fit::new().epochs(2).seed(7).verbose(Verbosity::Silent);
/// assert_eq!(model.fit(&data, fit())?.history, again.fit(&data, fit())?.history);
/// assert!((model.get_weights()?[0][0] - 0.19).abs() < 1e-6); // 0.1 after the first step, 0.9 · 0.1 + 0.1 after both
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// A layer that ends with an activation:
///
/// ```
/// use brasa::layers::{Call, Layer, WeightSpec};
/// use brasa::prelude::*;
/// use brasa::{Shape, Value};
///
/// brasa::describe! {
///     /// The probabilities of classes whose logits are the features times a temperature.
///     pub layer struct Classes {
///         /// The activation of the logits.
///         activation: Activation = Activation::Softmax,
///     }
/// }
///
/// impl Layer for Classes {
///     fn weights(&self, _: &Shape) -> brasa::Result<Vec<WeightSpec>> {
///         Ok(vec![WeightSpec::new("temperature", [1, 1], "ones")])
///     }
///
///     fn forward(&self, input: Value, call: &mut Call<'_>) -> brasa::Result<Value> {
///         let sizes = input.sizes();
///         call.activate(&self.activation, input * call.weight(0).expand(&sizes))
///     }
///
///     fn final_activation(&self) -> Option<&Activation> {
///         Some(&self.activation)
///     }
/// }
///
/// let mut model = Sequential::new();
/// model.add(Classes::default().input_shape(2))?;
/// model.compile(Compile::new(SGD::new(0.1), "sparse_categorical_crossentropy"))?;
/// let x = ndarray::array![[0.0f32, 3.0f32.ln()]];
/// assert!((model.predict(x.clone())?[[0, 1]] - 0.75).abs() < 1e-6);
/// let scores = model.evaluate(&Dataset::new(&x, vec![1])?)?;
/// assert!((scores.loss - -(0.75f64.ln())).abs() < 1e-6); // the softmax is applied once
/// # Ok::<(), brasa::Error>(())
/// ```
pub trait Layer: HasCommon + Object + Debug + Send + Sync {
    /// Shape inference: the shape of the output for an input of shape `input`, batch first; by default the same.
    ///
    /// Invalid arguments are refused here, so that the error appears at `add`.
    ///
    /// # Errors
    /// [`Error::Shape`] for an input that does not fit, [`Error::Argument`] for an invalid argument.
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        Ok(input.clone())
    }

    /// The weights for inputs of shape `input`: the trainable ones first, then the others, each in the order in which
    /// Python's class calls `add_weight`, as `.keras` files have no names of weights. By default empty.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        let _ = input;
        Ok(Vec::new())
    }

    /// Computes the output for a batch. A layer implements this, or [`forward_all`](Self::forward_all).
    ///
    /// # Errors
    /// Whatever an operation refuses.
    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let _ = (input, call);
        Err(Error::shape("a list of inputs", "one input alone"))
    }

    /// As [`output_shape`](Self::output_shape), for a layer of several inputs or outputs: the shape of each output.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    fn output_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
        arguments.expect_only(&[])?;
        Ok(vec![self.output_shape(one_input(inputs)?)?])
    }

    /// As [`weights`](Self::weights), for a layer of several inputs.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    fn weights_for(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        self.weights(inputs.first().ok_or_else(no_input)?)
    }

    /// As [`forward`](Self::forward), for a layer of several inputs or outputs. The masks of the inputs are in
    /// [`Call::masks`], further arguments in [`Call::arguments`].
    ///
    /// # Errors
    /// Whatever an operation refuses.
    fn forward_all(&self, mut inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
        let input = inputs.pop().filter(|_| inputs.is_empty()).ok_or_else(no_input)?;
        Ok(vec![self.forward(input, call)?])
    }

    /// Keras's names of its positional inputs.
    fn call_parameters(&self) -> &'static [&'static str] {
        &["inputs"]
    }

    /// Whether Keras's class accepts the argument `trainable`; a class that does not would fail to load with it.
    fn takes_trainable(&self) -> bool {
        true
    }

    /// Whether it is a model: its errors name the layer inside.
    fn is_model(&self) -> bool {
        false
    }

    /// Whether it takes `inputs` inputs as one list; by default if there are several.
    fn takes_a_list(&self, inputs: usize) -> bool {
        inputs > 1
    }

    /// Whether each batch begins with the final states of the previous one: Keras's `stateful`. Such a layer reads them
    /// by [`Call::kept_states`] and sets them by [`Call::keep_states`]; a wrapper asks the layer inside.
    fn is_stateful(&self) -> bool {
        false
    }

    /// Whether a forward pass in [distributed](crate::distributed) training exchanges values with the other ranks, so
    /// that each of them needs a sample; by default it does not.
    fn is_synchronized(&self) -> bool {
        false
    }

    /// Whether further inputs are initial states.
    fn takes_initial_state(&self) -> bool {
        false
    }

    /// The length of each list of initial states, where Keras groups them in lists; empty if they are one flat list.
    fn state_lists(&self) -> Vec<usize> {
        Vec::new()
    }

    /// The layer as the cell of an [`RNN`], if it is one.
    fn as_cell(&self) -> Option<&dyn RnnCell> {
        None
    }

    /// The number of layers computed per call: nested layers count, and so do outputs beyond the first.
    fn call_count(&self) -> usize {
        1
    }

    /// This layer fused with the next one, if possible; `next` is the only user of the output.
    fn absorb(&self, next: &dyn Layer, training: bool) -> Option<Box<dyn Fused>> {
        let _ = (next, training);
        None
    }

    /// Whether the layer can apply a zero padding before it, in inference: its [`frozen_step`](Self::frozen_step), and
    /// that of each fused step that [`absorb`](Self::absorb) returns, then applies [`Freezing::padding`] or returns
    /// `None`. `false` by default.
    fn takes_padding(&self) -> bool {
        false
    }

    /// The layer as a step of a [`Predictor`](crate::model::Predictor), if it has a compiled form for inputs of these
    /// sizes. Without one the whole model is computed by [`forward`](Self::forward). A layer with such a form makes no
    /// masks.
    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        let _ = freezing;
        None
    }

    /// As [`frozen_step`](Self::frozen_step), for a call with arguments; symbols among them are inputs. `None` unless
    /// the step honours every argument; by default, `None` for any.
    fn frozen_step_for(&self, freezing: &Freezing<'_>, arguments: &Arguments) -> Option<Frozen> {
        if arguments.is_empty() { self.frozen_step(freezing) } else { None }
    }

    /// The layer as operators of an ONNX graph, for inference: an edge for each output.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for what ONNX cannot express; by default always.
    fn onnx(&self, exporting: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let _ = exporting;
        Err(Error::unsupported(format!("{} in ONNX", self.class_name()), "layers whose operators ONNX has"))
    }

    /// The element-wise function that the layer consists of, if it is one.
    fn as_activation(&self) -> Option<crate::Activation> {
        None
    }

    /// The activation at the end of the forward pass, if there is one; a loss can then be computed from its input.
    ///
    /// A layer that returns one must leave it out where [`Call::skip_final_activation`] says so; [`Call::activate`]
    /// does both. A crossentropy at the end of a model is then computed from the logits.
    fn final_activation(&self) -> Option<&crate::Activation> {
        None
    }

    /// Whether the input's mask of time steps also holds for the output; otherwise the mask is dropped. A layer can
    /// also set [`Call::mask`] itself.
    fn supports_masking(&self) -> bool {
        false
    }

    /// Sets whether the weights of the layer and, as with Keras's `layer.trainable = …`, of all layers inside it are
    /// trainable.
    fn apply_trainable(&mut self, trainable: bool) {
        self.common_mut().trainable = trainable;
    }

    /// Whether its weights are those of layers inside it, each with its own `trainable`: a wrapper's own `trainable`
    /// then freezes nothing, as in Keras, whose files have it for each layer.
    /// [`apply_trainable`](Self::apply_trainable) reaches them all.
    fn is_wrapper(&self) -> bool {
        false
    }

    /// Refuses invalid input values, such as an index outside of the vocabulary; returns whether they are also the
    /// inputs of the next layer.
    ///
    /// It is called with the user's values, before they are copied to the device.
    ///
    /// # Errors
    /// [`Error::Data`] for the first invalid value.
    fn check_values(&self, values: &[f32]) -> Result<bool> {
        let _ = values;
        Ok(false)
    }

    /// As [`check_values`](Self::check_values), for a layer whose calls have further arguments.
    ///
    /// # Errors
    /// [`Error::Data`] for the first invalid value.
    fn check_values_of(&self, values: &[f32], arguments: &Arguments) -> Result<bool> {
        let _ = arguments;
        self.check_values(values)
    }

    /// The workspace for a batch of shape `input`: the number of values needed at once besides the input, the output
    /// and the weights, such as padded copies and intermediate results; by default 0. All sizes of `input` are known.
    ///
    /// A model asks before it computes, and refuses a batch that does not fit in memory ([`memory`](crate::memory)).
    /// The number saturates at `usize::MAX`.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    fn scratch(&self, input: &Shape, training: bool) -> Result<usize> {
        let _ = (input, training);
        Ok(0)
    }

    /// As [`scratch`](Self::scratch), for a layer of several inputs.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    fn scratch_for(&self, inputs: &[Shape], arguments: &Arguments, training: bool) -> Result<usize> {
        let _ = arguments;
        match inputs {
            [input] => self.scratch(input, training),
            _ => Ok(0),
        }
    }

    /// Temporary values for a batch of shape `input` that are freed before the next layer computes: tables and
    /// rearranged copies. In training the backward pass may need them again, one layer at a time, so that unlike
    /// [`scratch`](Self::scratch) only the largest of all layers counts. By default 0.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    fn momentary(&self, input: &Shape, training: bool) -> Result<usize> {
        let _ = (input, training);
        Ok(0)
    }

    /// Whether the layer changes the sizes of its inputs in training alone, or contains one that does.
    #[doc(hidden)]
    fn resizes_in_training(&self) -> bool {
        false
    }

    /// The shapes of its outputs in inference, if they are not those of [`output_shapes`](Self::output_shapes).
    #[doc(hidden)]
    fn inference_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Option<Vec<Shape>>> {
        let _ = (inputs, arguments);
        Ok(None)
    }

    /// Whether the layer prepares images, and so can run where batches are loaded.
    #[doc(hidden)]
    fn preparation(&self) -> Preparation {
        Preparation::None
    }

    /// The host-side half of a layer of texts or exact integers; by default `None`.
    fn on_host(&self) -> Option<&dyn HostLayer> {
        None
    }

    /// Adapts a layer that has an `adapt` to data on the host, one column at a time.
    ///
    /// # Errors
    /// [`Error::Argument`] for a layer that cannot be adapted this way; [`Error::Data`] for data that it cannot learn
    /// from.
    fn adapt_to_columns(&mut self, data: &mut dyn Iterator<Item = Result<Column>>) -> Result<()> {
        let _ = data;
        Err(Error::argument("adapt", "a layer that learns from data", self.class_name()))
    }

    /// Where the output lies in memory; by default in its own buffer.
    fn output_memory(&self) -> OutputMemory {
        OutputMemory::Own
    }

    /// Initial values of weights in place of their initializers', such as those of a nested model: empty, or one entry
    /// for each of [`weights`](Self::weights), in order.
    ///
    /// # Errors
    /// As for [`weights`](Self::weights).
    fn given_weights(&self, input: &Shape) -> Result<Vec<Option<Value>>> {
        let _ = input;
        Ok(Vec::new())
    }

    /// As [`given_weights`](Self::given_weights), for a layer of several inputs.
    ///
    /// # Errors
    /// As for [`weights`](Self::weights).
    fn given_weights_for(&self, inputs: &[Shape]) -> Result<Vec<Option<Value>>> {
        self.given_weights(inputs.first().ok_or_else(no_input)?)
    }
}

/// The shape of the only input.
fn one_input(inputs: &[Shape]) -> Result<&Shape> {
    match inputs {
        [input] => Ok(input),
        _ => Err(Error::shape("one input", format!("{} inputs", inputs.len()))),
    }
}

fn no_input() -> Error {
    Error::shape("one input", "none or several")
}

/// Methods of every layer, implemented for each [`Configure`].
pub trait Object: Any {
    /// Its class name.
    fn class_name(&self) -> &'static str;

    /// Its own arguments, without the common ones.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if it holds something that cannot be serialized.
    fn config(&self) -> Result<Config>;

    /// A copy.
    fn boxed_clone(&self) -> Box<dyn Layer>;

    /// Rejects arguments that were given as unknown words.
    #[doc(hidden)]
    fn check_words(&self) -> Result<()>;

    /// Itself, for downcasting.
    fn as_any(&self) -> &dyn Any;

    /// Itself, for downcasting mutably.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<L: Layer + Configure + Clone + 'static> Object for L {
    fn class_name(&self) -> &'static str {
        Configure::class_name(self)
    }

    fn config(&self) -> Result<Config> {
        Configure::config(self)
    }

    fn boxed_clone(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }

    fn check_words(&self) -> Result<()> {
        Configure::check_words(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl Clone for Box<dyn Layer> {
    fn clone(&self) -> Self {
        (**self).boxed_clone()
    }
}

impl<L: Layer + 'static> From<L> for Box<dyn Layer> {
    fn from(layer: L) -> Self {
        Box::new(layer)
    }
}

impl dyn Layer {
    /// The weights that it keeps: from the model that it was popped from, or [given](Layer::given_weights).
    pub(crate) fn brought_weights(&self, inputs: &[Shape]) -> Result<Vec<Option<Value>>> {
        match &self.common().brought.0[..] {
            [] => self.given_weights_for(inputs),
            brought => Ok(brought.iter().cloned().map(Some).collect()),
        }
    }

    /// The output's shape, refused if a sample of it exceeds the size of any buffer.
    pub(crate) fn checked_output(&self, input: &Shape) -> Result<Shape> {
        self.expect_no_cell()?;
        self.check_words()?;
        let output = self.output_shape(input)?;
        output.check_count()?;
        Ok(output)
    }

    /// Refuses a cell, which can only be called by an [`RNN`].
    fn expect_no_cell(&self) -> Result<()> {
        match self.as_cell() {
            Some(_) => recurrent::refuse_call(self.class_name()),
            None => Ok(()),
        }
    }

    /// The outputs' shapes, refused if a sample of one exceeds the size of any buffer.
    pub(crate) fn checked_outputs(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
        self.expect_no_cell()?;
        self.check_words()?;
        let outputs = self.output_shapes(inputs, arguments)?;
        outputs.iter().try_for_each(|output| output.check_count().map(|_| ()))?;
        Ok(outputs)
    }

    /// As [`run`](Self::run), for a layer of several inputs or outputs.
    pub(crate) fn run_all(&self, inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
        if let Some(empty) = inputs.iter().find(|input| input.is_empty()) {
            let shapes: Vec<Shape> = inputs.iter().map(|input| Shape::known(&input.sizes())).collect();
            let outputs = self.checked_outputs(&shapes, &call.arguments().clone())?;
            let outputs: Vec<Shape> = outputs.iter().map(|output| output.or_batch(empty.sizes()[0])).collect();
            if outputs.iter().all(|output| output.known_len() == 0) {
                call.mask = None;
                call.set_output_masks(vec![None; outputs.len()]);
                // There is no activation to leave out.
                call.skip_final_activation();
                let sizes = |shape: &Shape| shape.sizes().iter().map(|size| size.unwrap_or(0)).collect::<Vec<_>>();
                let device = empty.device();
                return outputs.iter().map(|shape| Value::from_vec(Vec::new(), &sizes(shape), &device)).collect();
            }
        }
        self.forward_all(inputs, call)
    }

    /// The forward pass. For an empty input with an empty output, such as images without rows or a batch without
    /// samples, nothing is computed: the backends cannot handle empty tensors.
    pub(crate) fn run(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        if input.is_empty() {
            let sizes = input.sizes();
            let shape = Shape::known(&sizes);
            let output = self.checked_output(&shape)?.with_batch(sizes[0]);
            if output.known_len() == 0 {
                call.mask = None;
                // There is no activation to leave out.
                call.skip_final_activation();
                let sizes: Vec<usize> = output.sizes().iter().map(|size| size.unwrap_or(0)).collect();
                return Value::from_vec(Vec::new(), &sizes, &input.device());
            }
        }
        self.forward(input, call)
    }

    /// The layer's name, empty until the model has given it one.
    pub fn name(&self) -> &str {
        self.common().name.as_deref().unwrap_or_default()
    }

    /// All arguments, the common ones first, as in a Keras file.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the layer holds something that cannot be serialized.
    pub fn full_config(&self) -> Result<Config> {
        let mut config = Config::new();
        // A nested layer gets no name from a model.
        let name = self.common().name.clone().unwrap_or_else(|| snake_case(self.class_name()));
        config.insert("name".into(), json!(name));
        if self.takes_trainable() {
            config.insert("trainable".into(), json!(self.common().trainable));
        }
        if let Some(dtype) = &self.common().dtype {
            config.insert("dtype".into(), json!(dtype));
        }
        config.extend(self.config()?);
        if let Some(vocabulary) = self.on_host().map_or(Ok(None), HostLayer::stored_vocabulary)? {
            config.insert("vocabulary_size".into(), json!(vocabulary.size));
            if let Some((tokens, weights)) = vocabulary.in_config {
                config.insert("vocabulary".into(), tokens);
                config.insert("idf_weights".into(), json!(weights));
            }
        }
        Ok(config)
    }
}

/// Builder methods for the common arguments; [`describe!`](crate::describe) implements it.
pub trait LayerArguments: HasCommon + Sized {
    /// Sets the layer's name.
    #[must_use]
    fn name(mut self, name: impl Into<String>) -> Self {
        self.common_mut().name = Some(name.into());
        self
    }

    /// Sets whether the weights of the layer and of layers inside it are trainable (default: yes).
    #[must_use]
    fn trainable(mut self, trainable: bool) -> Self
    where
        Self: Layer,
    {
        self.apply_trainable(trainable);
        self
    }

    /// Fixes the number of samples per batch, for the first layer of a model. Only layers with `stateful` enforce it.
    #[must_use]
    fn batch_size(mut self, samples: usize) -> Self {
        self.common_mut().batch_size = Some(samples);
        self
    }

    /// Sets the shape of one sample, for the first layer of a model.
    #[must_use]
    fn input_shape(mut self, sample: impl IntoSample) -> Self {
        self.common_mut().input_shape = Some(Shape::batch_of(sample));
        self
    }
}
