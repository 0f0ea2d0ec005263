//! The class-level description of a built-in layer.

use serde_json::json;

use super::Layer;
use crate::config::{Config, Configure};
use crate::shape::Shape;

/// A layer with an input that it accepts, for the contract test.
#[derive(Clone, Debug)]
pub struct Example {
    /// The layer.
    pub layer: Box<dyn Layer>,
    /// The shape of its input.
    pub input: Shape,
    /// For a layer that takes integers only: their exclusive upper bound.
    pub classes: Option<usize>,
}

/// A layer of several inputs, with input shapes that it accepts.
pub type ExampleOfSeveral = (Box<dyn Layer>, Vec<Shape>);

/// The Python module of Keras's layers.
pub(super) const LAYERS: &str = "keras.layers";

/// A built-in layer; its examples are run by the contract test.
pub trait BuiltIn: Layer + Configure + Clone + 'static {
    /// The Python module of the class.
    const MODULE: &'static str = LAYERS;

    /// The name under which Keras exports the class, if it differs from the class name.
    const EXPORTED: &'static str = Self::CLASS_NAME;

    /// Arguments that early versions of Keras 3 refuse, each with its implied value there (as JSON): an argument with
    /// that value is not written, so that every Keras 3 loads the file.
    const LATE: &'static [(&'static str, &'static str)] = &[];

    /// The layer with various arguments, each with an input shape that fits.
    fn examples() -> Vec<(Self, Shape)> {
        Vec::new()
    }

    /// The layer with various arguments, each with the shapes of several inputs.
    fn examples_of_several() -> Vec<(Self, Vec<Shape>)> {
        Vec::new()
    }

    /// The layer with various arguments for text inputs, each with an input shape that fits.
    fn examples_of_text() -> Vec<(Self, Shape)> {
        Vec::new()
    }

    /// For a layer that takes integers only: their exclusive upper bound.
    fn classes(&self) -> Option<usize> {
        None
    }

    /// Whether the class accepts this `dtype` besides the floating-point ones. Values are float32, which is exact for
    /// integers up to 2²⁴.
    fn takes_dtype(name: &str) -> bool {
        let _ = name;
        false
    }

    /// Converts a config of an earlier Keras to today's arguments. `keras_2` says that the file is older than Keras 3,
    /// where a default has changed since.
    fn renew(config: &mut Config, keras_2: bool) {
        let _ = (config, keras_2);
    }
}

/// Removes keys without a meaning from a config.
pub(super) fn forget(config: &mut Config, keys: &[&str]) {
    for key in keys {
        config.shift_remove(*key);
    }
}

/// Removes `groups` from the config of a convolution that never had more than one.
pub(super) fn forget_single_group(config: &mut Config) {
    if config.get("groups") == Some(&json!(1)) {
        config.shift_remove("groups");
    }
}
