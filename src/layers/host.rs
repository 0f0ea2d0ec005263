//! The stage on the host: what layers of texts and whole numbers do before the first layer that computes on a device.

use serde_json::Value as Json;

use crate::datasets::{Cells, Column};
use crate::error::{Error, Result};
use crate::ops::Value;

/// Which values a layer of the host takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Takes {
    /// Texts alone.
    Text,
    /// Numbers alone.
    Numbers,
    /// Either.
    Any,
}

/// What a layer does that works on the host, on texts or exact whole numbers: the other half of a
/// [`Layer`](super::Layer) that [`on_host`](super::Layer::on_host) hands out.
///
/// Such layers at the head of a model's inputs are run before the first layer that computes on the device: in training
/// on the thread that loads batches, in prediction before each batch. Numbers that they give go on as floats; texts can
/// go into other layers of the host alone.
///
/// ```
/// use brasa::datasets::{Cells, Column};
/// use brasa::layers::{HostLayer, Layer, Takes};
/// use brasa::prelude::*;
///
/// brasa::describe! {
///     /// How many bytes each text has.
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
    /// Which values it takes.
    fn takes(&self) -> Takes;

    /// Whether it gives texts.
    fn gives_text(&self) -> bool {
        false
    }

    /// What it makes of its inputs, samples first.
    ///
    /// # Errors
    /// [`Error::Data`] for values that it does not take, [`Error::Argument`] without what it has to learn first.
    fn transform(&self, inputs: &[Column]) -> Result<Column>;

    /// Its vocabulary as files have it, if it has one.
    #[doc(hidden)]
    fn stored_vocabulary(&self) -> Result<Option<StoredVocabulary>> {
        Ok(None)
    }
}

/// A vocabulary as files have it.
#[doc(hidden)]
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct StoredVocabulary {
    /// The number of tokens, special ones included.
    pub size: usize,
    /// The tokens, special ones included, a line each, if they were found in data and lines can hold them.
    pub lines: Option<String>,
    /// The tokens as a config has them, and their weights, where it could not have the own ones: special tokens alone.
    pub in_config: Option<(Json, Option<Vec<f32>>)>,
    /// The weights of `tf_idf`, as long as the output.
    pub weights: Option<Vec<f32>>,
    /// A part of the layer in which Keras has all that a second time.
    pub also_in: Option<&'static str>,
}

/// The forward pass of a layer of the host that stands behind others: its inputs come back from the device, where no
/// texts are.
///
/// # Errors
/// [`Error::Data`] for a layer that takes or gives texts.
pub(crate) fn forward_on_host(layer: &dyn HostLayer, inputs: Vec<Value>) -> Result<Value> {
    let device = inputs.first().map(Value::device).ok_or_else(super::no_input)?;
    let column = |input: Value| Column::new(input.sizes(), Cells::Float(input.detach().to_vec()?));
    let columns = inputs.into_iter().map(column).collect::<Result<Vec<_>>>()?;
    if layer.takes() == Takes::Text {
        let expected = "texts, which go to the model's inputs and from them to this layer alone";
        return Err(Error::data("inputs", expected, "numbers"));
    }
    let output = layer.transform(&columns)?;
    let sizes = output.shape().to_vec();
    Value::from_vec(output.into_floats()?, &sizes, &device)
}
