//! The host stage: layers of texts and integers, run before the first layer that computes on a device.

use serde_json::Value as Json;

use crate::datasets::{Cells, Column};
use crate::error::{Error, Result};
use crate::ops::Value;

/// The type of values that a host layer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Takes {
    /// Texts only.
    Text,
    /// Numbers only.
    Numbers,
    /// Either.
    Any,
}

/// Whether a layer prepares images. Such layers at a model's inputs run in training on the threads that load batches, if
/// one of them augments.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Preparation {
    /// It computes on the device.
    None,
    /// It can run on the host: a layer without weights, states, masks or penalties.
    Possible,
    /// It runs on the host anyway.
    Wanted,
}

/// The host-side half of a [`Layer`](super::Layer), on texts or exact integers, returned by
/// [`on_host`](super::Layer::on_host).
///
/// Host layers next to a model's inputs run before the first layer on the device: in training on the data loading
/// thread, in prediction before each batch. Numbers that they return become floats; texts can only be passed to other
/// host layers.
///
/// ```
/// use brasa::datasets::{Cells, Column};
/// use brasa::layers::{HostLayer, Layer, Takes};
/// use brasa::prelude::*;
///
/// brasa::describe! {
///     /// The number of bytes of each text.
///     pub layer struct Length {}
/// }
///
/// impl Layer for Length {
///     fn on_host(&self) -> Option<&dyn HostLayer> {
///         Some(self)
///     }
/// }
///
/// impl HostLayer for Length {
///     fn takes(&self) -> Takes {
///         Takes::Text
///     }
///
///     fn transform(&self, inputs: &[Column]) -> brasa::Result<Column> {
///         let lengths = inputs[0].texts()?.iter().map(|text| text.len() as i64).collect();
///         Column::new(inputs[0].shape(), Cells::Int(lengths))
///     }
/// }
///
/// let mut model = Sequential::new();
/// model.add(Length::default().input_shape(1))?;
/// assert_eq!(model.predict(["one", "three"])?, ndarray::array![[3.0], [5.0]].into_dyn());
/// # Ok::<(), brasa::Error>(())
/// ```
pub trait HostLayer {
    /// The type of values that it takes.
    fn takes(&self) -> Takes;

    /// Whether it returns texts.
    fn gives_text(&self) -> bool {
        false
    }

    /// Transforms its inputs, samples first.
    ///
    /// # Errors
    /// [`Error::Data`] for values that it does not take, [`Error::Argument`] if it has not been adapted.
    fn transform(&self, inputs: &[Column]) -> Result<Column>;

    /// Its vocabulary as files hold it, if it has one.
    #[doc(hidden)]
    fn stored_vocabulary(&self) -> Result<Option<StoredVocabulary>> {
        Ok(None)
    }
}

/// A vocabulary as files hold it.
#[doc(hidden)]
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct StoredVocabulary {
    /// The number of tokens, special ones included.
    pub size: usize,
    /// The tokens, special ones included, one per line, if they were learned from data and fit on lines.
    pub lines: Option<String>,
    /// The tokens for the config, and their weights, if the config cannot have the layer's own: special tokens only.
    pub in_config: Option<(Json, Option<Vec<f32>>)>,
    /// The weights of `tf_idf`, as long as the output.
    pub weights: Option<Vec<f32>>,
    /// A part of the layer under which Keras stores all that a second time.
    pub also_in: Option<&'static str>,
}

/// The forward pass of a host layer behind layers on the device: its inputs are copied back to the host, and cannot be
/// texts.
///
/// # Errors
/// [`Error::Data`] for a layer that takes or returns texts.
pub(crate) fn forward_on_host(layer: &dyn HostLayer, inputs: Vec<Value>) -> Result<Value> {
    let device = inputs.first().map(Value::device).ok_or_else(super::no_input)?;
    let column = |input: Value| Column::new(input.sizes(), Cells::Float(input.detach().to_vec()?));
    let columns = inputs.into_iter().map(column).collect::<Result<Vec<_>>>()?;
    if layer.takes() == Takes::Text {
        let expected = "texts, which can only come from a model's inputs";
        return Err(Error::data("inputs", expected, "numbers"));
    }
    let output = layer.transform(&columns)?;
    let sizes = output.shape().to_vec();
    Value::from_vec(output.into_floats()?, &sizes, &device)
}
