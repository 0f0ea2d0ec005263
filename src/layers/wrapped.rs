//! A layer inside another.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use super::{Call, Layer, WeightSpec, from_keras, to_keras};
use crate::config::{Argument, CHECKED};
use crate::error::Result;
use crate::ops::Value;
use crate::shape::Shape;

/// A layer inside another, such as that of [`TimeDistributed`](super::TimeDistributed); every layer converts to it.
#[derive(Clone, Debug)]
pub struct Wrapped(Box<dyn Layer>);

impl Wrapped {
    /// The layer.
    pub fn layer(&self) -> &dyn Layer {
        &*self.0
    }

    /// The layer, to change it.
    pub fn layer_mut(&mut self) -> &mut dyn Layer {
        &mut *self.0
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

impl Serialize for Wrapped {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(CHECKED, &Written(self))
    }
}

/// A layer that is written when somebody asks for it.
struct Written<'a>(&'a Wrapped);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        to_keras(self.0.layer()).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Wrapped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_keras(Json::deserialize(deserializer)?).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Whether training may change a layer's own weights; of one that wraps others, each of those says so for itself.
pub(crate) fn is_trainable(layer: &dyn Layer) -> bool {
    layer.is_wrapper() || layer.common().trainable
}

/// The weights of a layer inside another, which lie in its part `group`.
pub(super) fn inner_weights(layer: &dyn Layer, input: &Shape, group: &str) -> Result<Vec<WeightSpec>> {
    let trainable = is_trainable(layer);
    let specs = layer.weights(input)?.into_iter().map(|mut spec| {
        spec.trainable &= trainable;
        spec.in_group(group)
    });
    Ok(specs.collect())
}

/// A pass through a layer inside another, whose weights begin at `first`; the number of its weights.
pub(super) fn inner_forward(
    layer: &dyn Layer,
    input: Value,
    call: &mut Call<'_>,
    first: usize,
    place: u64,
    mask: Option<Value>,
) -> Result<(Value, usize)> {
    let sizes: Vec<_> = input.sizes().into_iter().map(Some).collect();
    let count = layer.weights(&Shape::new(sizes))?.len();
    let mut part = call.part(first..first + count, place);
    part.restrict(is_trainable(layer));
    part.mask = mask;
    let output = layer.forward(input, &mut part)?;
    call.absorb(part, first);
    Ok((output, count))
}
