//! A layer inside another.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use super::{Arguments, Call, Layer, WeightSpec, from_keras, to_keras};
use crate::config::{Argument, CHECKED, Word};
use crate::error::{Error, Result};
use crate::ops::Value;
use crate::shape::Shape;

/// A layer inside another, such as that of [`TimeDistributed`](super::TimeDistributed); every layer converts to it.
///
/// As an argument of a custom layer it makes that layer a wrapper. Its methods delegate to the layer inside: weights,
/// including those kept from another model; updates, penalties, the mask; whether it is trainable.
///
/// ```
/// use brasa::layers::{Call, HasCommon, Layer, WeightSpec, Wrapped};
/// use brasa::prelude::*;
/// use brasa::{Shape, Value};
///
/// brasa::describe! {
///     /// Adds its input to the output of a layer.
///     pub layer struct Residual {
///         /// The layer.
///         layer: Wrapped,
///     }
/// }
///
/// impl Residual {
///     pub fn new(layer: impl Into<Wrapped>) -> Self {
///         Self::required(layer.into())
///     }
/// }
///
/// impl Layer for Residual {
///     fn output_shape(&self, input: &Shape) -> brasa::Result<Shape> {
///         let output = self.layer.layer().output_shape(input)?;
///         if output == *input { Ok(output) } else { Err(brasa::Error::shape(input.to_string(), output)) }
///     }
///
///     fn weights(&self, input: &Shape) -> brasa::Result<Vec<WeightSpec>> {
///         self.layer.weights(input, "layer") // their group in files is `layer`
///     }
///
///     fn given_weights(&self, input: &Shape) -> brasa::Result<Vec<Option<Value>>> {
///         self.layer.given_weights(input)
///     }
///
///     fn supports_masking(&self) -> bool {
///         self.layer.layer().supports_masking()
///     }
///
///     fn is_wrapper(&self) -> bool {
///         true // the layer inside has its own `trainable`
///     }
///
///     fn apply_trainable(&mut self, trainable: bool) {
///         self.common_mut().trainable = trainable;
///         self.layer.layer_mut().apply_trainable(trainable);
///     }
///
///     fn check_values(&self, values: &[f32]) -> brasa::Result<bool> {
///         self.layer.layer().check_values(values).map(|_| false)
///     }
///
///     fn scratch(&self, input: &Shape, training: bool) -> brasa::Result<usize> {
///         let inside = self.layer.layer().scratch(input, training)?;
///         Ok(inside.saturating_add(input.known_len())) // the output of the layer inside, beside the sum
///     }
///
///     fn momentary(&self, input: &Shape, training: bool) -> brasa::Result<usize> {
///         self.layer.layer().momentary(input, training)
///     }
///
///     fn call_count(&self) -> usize {
///         self.layer.layer().call_count().saturating_add(1)
///     }
///
///     fn is_synchronized(&self) -> bool {
///         self.layer.layer().is_synchronized()
///     }
///
///     fn is_stateful(&self) -> bool {
///         self.layer.layer().is_stateful()
///     }
///
///     fn forward(&self, input: Value, call: &mut Call<'_>) -> brasa::Result<Value> {
///         // Its weights begin at 0, and its number is 0: layers inside with the same number draw the same numbers.
///         Ok(input.clone() + self.layer.forward(input, call, 0, 0)?)
///     }
/// }
///
/// brasa::layers::register::<Residual>();
/// let mut model = Sequential::new();
/// model.add(Residual::new(BatchNormalization::new()).input_shape(3))?;
/// model.add(Residual::new(Dense::new(3).activation("relu")))?;
/// assert_eq!(model.weight_names()?[0], "residual/layer/gamma");
/// let again = Sequential::from_json(&model.to_json()?)?;
/// assert_eq!(again.count_params()?, 4 * 3 + 3 * 3 + 3);
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Wrapped(Box<dyn Layer>);

impl Wrapped {
    /// The layer.
    pub fn layer(&self) -> &dyn Layer {
        &*self.0
    }

    /// The layer, mutably.
    pub fn layer_mut(&mut self) -> &mut dyn Layer {
        &mut *self.0
    }

    /// The layer's weights for inputs of shape `input`, in the part `group` of the wrapper: to be included in
    /// [`Layer::weights`], in this order.
    ///
    /// # Errors
    /// Those of the layer.
    pub fn weights(&self, input: &Shape, group: &str) -> Result<Vec<WeightSpec>> {
        inner_weights(self.layer(), input, group)
    }

    /// Initial values that the layer keeps from another model: for [`Layer::given_weights`]. Empty, or one entry for
    /// each weight.
    ///
    /// # Errors
    /// Those of the layer.
    pub fn given_weights(&self, input: &Shape) -> Result<Vec<Option<Value>>> {
        self.layer().brought_weights(std::slice::from_ref(input))
    }

    /// A pass through the layer, whose weights begin at `first` among the wrapper's. `key` is a number of its own for
    /// each layer inside: two layers with the same one draw the same random numbers, and share their states.
    ///
    /// It gets the call's mask, and sets its own mask there if it has one; its updates and penalties become the
    /// wrapper's.
    ///
    /// # Errors
    /// Those of the layer; [`Error::Shape`] if the wrapper has too few weights.
    pub fn forward(&self, input: Value, call: &mut Call<'_>, first: usize, key: u64) -> Result<Value> {
        self.pass(input, call, first, key, false)
    }

    /// Like [`forward`](Self::forward), for a wrapper whose output and [`Layer::final_activation`] are the layer's.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_last(&self, input: Value, call: &mut Call<'_>, first: usize, key: u64) -> Result<Value> {
        let skip = call.skip_final_activation();
        self.pass(input, call, first, key, skip)
    }

    fn pass(&self, input: Value, call: &mut Call<'_>, first: usize, key: u64, skip: bool) -> Result<Value> {
        let layer = self.layer();
        let count = layer.weights(&Shape::known(&input.sizes()))?.len();
        let total = call.weights().len();
        if first.checked_add(count).is_none_or(|end| end > total) {
            let expected = format!("{count} weights from weight {first} on, for `{}`", layer.class_name());
            return Err(Error::shape(expected, format!("{total} weights in all")));
        }
        let mut part = call.part(first..first + count, key);
        part.restrict(is_trainable(layer));
        part.set_skip_final_activation(skip);
        let output = layer.forward(input, &mut part)?;
        part.check_skipped(layer)?;
        call.mask = part.mask.take().filter(|_| layer.supports_masking());
        call.take_over(part, first);
        Ok(output)
    }
}

impl<L: Into<Box<dyn Layer>>> From<L> for Wrapped {
    fn from(layer: L) -> Self {
        Self(layer.into())
    }
}

impl<L: Layer + 'static> Argument<Option<Wrapped>> for L {
    fn into_argument(self) -> Option<Wrapped> {
        Some(Wrapped(Box::new(self)))
    }
}

impl Word for Wrapped {
    fn check_word(&self) -> Result<()> {
        self.layer().check_words()
    }
}

impl Serialize for Wrapped {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(CHECKED, &SerializedLayer(self))
    }
}

/// A layer to be serialized on demand.
struct SerializedLayer<'a>(&'a Wrapped);

impl Serialize for SerializedLayer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        to_keras(self.0.layer()).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Wrapped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_keras(Json::deserialize(deserializer)?).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Whether a layer's own weights are trainable; the layers in a wrapper decide for themselves.
pub(crate) fn is_trainable(layer: &dyn Layer) -> bool {
    layer.is_wrapper() || layer.common().trainable
}

/// The weights of an inner layer, in its part `group`.
pub(super) fn inner_weights(layer: &dyn Layer, input: &Shape, group: &str) -> Result<Vec<WeightSpec>> {
    let trainable = is_trainable(layer);
    let specs = layer.weights(input)?.into_iter().map(|mut spec| {
        spec.trainable &= trainable;
        spec.in_group(group)
    });
    Ok(specs.collect())
}

/// A pass through an inner layer, whose weights begin at `first`, with the mask of its first input; returns its outputs
/// and the number of its weights.
pub(super) fn inner_forward(
    layer: &dyn Layer,
    inputs: Vec<Value>,
    arguments: &Arguments,
    call: &mut Call<'_>,
    first: usize,
    key: u64,
    mask: Option<Value>,
) -> Result<(Vec<Value>, usize)> {
    let shape = |input: &Value| Shape::known(&input.sizes());
    let positional: Vec<Shape> = inputs[..arguments.positional(inputs.len())].iter().map(shape).collect();
    let count = layer.weights_for(&positional)?.len();
    let masks = std::iter::once(mask).chain(std::iter::repeat_n(None, inputs.len() - 1)).collect();
    let mut part = call.part(first..first + count, key).given(masks, arguments).masks_given(true);
    part.restrict(is_trainable(layer));
    let outputs = layer.run_all(inputs, &mut part)?;
    call.take_over(part, first);
    Ok((outputs, count))
}
