//! The layers: one file each, and the one list of them.
//!
//! A layer is a description with Keras's argument names, a pure shape rule, a list of the weights it needs, and a
//! forward pass. Adding one is a file and a line in [`built_in`]; a user's own layer is the same without the line:
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
//!         let mut row = vec![1; sizes.len()];
//!         row[sizes.len() - 1] = sizes[sizes.len() - 1];
//!         Ok(input * call.weight(0).reshape(&row)?.expand(&sizes))
//!     }
//! }
//!
//! brasa::layers::register::<Scale>(); // a file that names `Scale` loads from here on
//!
//! let mut model = Sequential::new();
//! model.add(Scale::default().initial(0.5).input_shape(3))?.add(Dense::new(1))?;
//! assert_eq!(model.count_params()?, 3 + 4);
//! # Ok::<(), brasa::Error>(())
//! ```

mod call;
mod list;
mod spec;

pub mod convolution;
pub mod core;
pub mod pooling;
pub mod regularization;
pub mod reshaping;

use std::any::Any;
use std::fmt::Debug;

use serde_json::json;

use crate::config::{Config, Configure, from_json};
use crate::error::{Error, Result};
use crate::ops::Value;
use crate::shape::{IntoSample, Shape};

pub use self::call::{Call, Update};
pub use self::convolution::Conv2D;
pub use self::core::{ActivationLayer, Dense, Input};
pub use self::list::{BuiltIn, Entry, Example, built_in, register};
pub(crate) use self::list::{entry, from_keras};
pub use self::pooling::{AveragePooling2D, GlobalAveragePooling2D, MaxPooling2D};
pub use self::regularization::Dropout;
pub use self::reshaping::{Flatten, Reshape};
pub use self::spec::WeightSpec;

/// The arguments that every Keras layer has.
#[derive(Clone, Debug, PartialEq)]
pub struct Common {
    /// The layer's name; without one the model gives it `dense`, `dense_1`, …
    pub name: Option<String>,
    /// Whether training may change its weights.
    pub trainable: bool,
    /// The shape of one sample, for the first layer of a model.
    pub input_shape: Option<Shape>,
}

impl Default for Common {
    fn default() -> Self {
        Self { name: None, trainable: true, input_shape: None }
    }
}

impl Common {
    /// The names under which these arguments stand in a config.
    pub const ARGUMENTS: &'static [&'static str] =
        &["name", "trainable", "dtype", "input_shape", "batch_shape", "batch_input_shape"];

    /// Takes these arguments out of a config.
    ///
    /// # Errors
    /// [`Error::Argument`] for a wrong value, [`Error::Unsupported`] for a type other than float32.
    pub fn take(config: &mut Config) -> Result<Self> {
        let mut common = Self::default();
        if let Some(name) = config.remove("name").filter(|name| !name.is_null()) {
            common.name = Some(from_json("name", name)?);
        }
        if let Some(trainable) = config.remove("trainable") {
            common.trainable = from_json("trainable", trainable)?;
        }
        if let Some(dtype) = config.remove("dtype") {
            check_dtype(&dtype)?;
        }
        if let Some(shape) = config.remove("input_shape") {
            common.input_shape = Some(Shape::batch_of(from_json::<Vec<Option<usize>>>("input_shape", shape)?));
        }
        for key in ["batch_shape", "batch_input_shape"] {
            if let Some(shape) = config.remove(key).filter(|shape| !shape.is_null()) {
                let sizes: Vec<Option<usize>> = from_json(key, shape)?;
                if sizes.is_empty() {
                    return Err(Error::argument(key, "at least the batch's size", "[]"));
                }
                // A fixed batch size is a hint in Keras, which it does not enforce.
                common.input_shape = Some(Shape::batch_of(sizes[1..].to_vec()));
            }
        }
        Ok(common)
    }
}

/// Refuses every type but float32: it would change results.
fn check_dtype(dtype: &serde_json::Value) -> Result<()> {
    let name = match dtype {
        serde_json::Value::Null => return Ok(()),
        serde_json::Value::Object(policy) => policy.get("config").and_then(|config| config.get("name")),
        name => Some(name),
    };
    match name.and_then(serde_json::Value::as_str) {
        Some("float32") => Ok(()),
        _ => Err(Error::unsupported(format!("dtype {dtype}"), "float32")),
    }
}

/// Something that has the arguments of every layer.
pub trait HasCommon {
    /// Those arguments.
    fn common(&self) -> &Common;
    /// Those arguments, to change them.
    fn common_mut(&mut self) -> &mut Common;
}

/// A layer: what it makes of a shape, which weights it needs, what it computes.
///
/// Its arguments, config and builder methods come from [`describe!`](crate::describe); the example at the top of this
/// module is a whole layer.
pub trait Layer: HasCommon + Object + Debug + Send + Sync {
    /// The shape that comes out when `input` goes in, batch first; by default the same.
    ///
    /// Wrong arguments are refused here, so that the error appears at `add`.
    ///
    /// # Errors
    /// [`Error::Shape`] for an input that does not fit, [`Error::Argument`] for an argument that makes no sense.
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        Ok(input.clone())
    }

    /// The weights for inputs of shape `input`, in Keras's order; by default none.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        let _ = input;
        Ok(Vec::new())
    }

    /// Computes the output for a batch.
    ///
    /// # Errors
    /// Whatever an operation refuses.
    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value>;

    /// The activation with which the forward pass ends, if it does; a loss can then work on what comes before it.
    fn final_activation(&self) -> Option<&crate::Activation> {
        None
    }

    /// Values with which weights start instead of their initializers', such as those of a nested model.
    fn given_weights(&self) -> Vec<Option<Value>> {
        Vec::new()
    }
}

/// What every layer can do because it is a [`Configure`]; implemented for all of them at once.
pub trait Object: Any {
    /// Its class name.
    fn class_name(&self) -> &'static str;

    /// Its own arguments.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if it holds something that cannot be written.
    fn config(&self) -> Result<Config>;

    /// A copy.
    fn boxed_clone(&self) -> Box<dyn Layer>;

    /// Itself, to be asked for its type.
    fn as_any(&self) -> &dyn Any;
}

impl<L: Layer + Configure + Clone + 'static> Object for L {
    fn class_name(&self) -> &'static str {
        L::CLASS_NAME
    }

    fn config(&self) -> Result<Config> {
        Configure::config(self)
    }

    fn boxed_clone(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
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
    /// The layer's name, empty before the model has given it one.
    pub fn name(&self) -> &str {
        self.common().name.as_deref().unwrap_or_default()
    }

    /// All arguments, those of every layer first, as in a Keras file.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the layer holds something that cannot be written.
    pub fn full_config(&self) -> Result<Config> {
        let mut config = Config::new();
        config.insert("name".into(), json!(self.name()));
        config.insert("trainable".into(), json!(self.common().trainable));
        config.extend(self.config()?);
        Ok(config)
    }
}

/// The builder methods for the arguments that every layer has; [`describe!`](crate::describe) implements it.
pub trait LayerArguments: HasCommon + Sized {
    /// Names the layer.
    #[must_use]
    fn name(mut self, name: impl Into<String>) -> Self {
        self.common_mut().name = Some(name.into());
        self
    }

    /// Says whether training may change the layer's weights (default: yes).
    #[must_use]
    fn trainable(mut self, trainable: bool) -> Self {
        self.common_mut().trainable = trainable;
        self
    }

    /// Says what shape one sample has, for the first layer of a model.
    #[must_use]
    fn input_shape(mut self, sample: impl IntoSample) -> Self {
        self.common_mut().input_shape = Some(Shape::batch_of(sample));
        self
    }
}
