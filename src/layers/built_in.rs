//! What a built-in layer says of its class.

use serde_json::json;

use super::Layer;
use crate::config::{Config, Configure};
use crate::shape::Shape;

/// A layer with an input that it accepts: what the contract test runs.
#[derive(Clone, Debug)]
pub struct Example {
    /// The layer.
    pub layer: Box<dyn Layer>,
    /// The shape of its input.
    pub input: Shape,
    /// For a layer that takes whole numbers only: those below this.
    pub classes: Option<usize>,
}

/// A layer of several inputs, with the shapes of inputs that it accepts.
pub type ExampleOfSeveral = (Box<dyn Layer>, Vec<Shape>);

/// The module of Keras's layers.
pub(super) const LAYERS: &str = "keras.layers";

/// A layer of the list: it shows itself in a few examples, which the contract test runs.
pub trait BuiltIn: Layer + Configure + Clone + 'static {
    /// The module of Keras that has the class.
    const MODULE: &'static str = LAYERS;

    /// The name under which Keras exports the class, which is its own unless a layer says otherwise.
    const EXPORTED: &'static str = Self::CLASS_NAME;

    /// Arguments that early versions of Keras 3 do not know and refuse, with the value (as JSON) that they have there:
    /// with that value they are not written, so that every Keras 3 opens the file.
    const LATE: &'static [(&'static str, &'static str)] = &[];

    /// The layer with various arguments, each with an input shape that fits.
    fn examples() -> Vec<(Self, Shape)> {
        Vec::new()
    }

    /// The layer with various arguments, each with the shapes of several inputs.
    fn examples_of_several() -> Vec<(Self, Vec<Shape>)> {
        Vec::new()
    }

    /// The layer with various arguments that has it take texts, each with an input shape that fits.
    fn examples_of_text() -> Vec<(Self, Shape)> {
        Vec::new()
    }

    /// For a layer that takes whole numbers only: those below this.
    fn classes(&self) -> Option<usize> {
        None
    }

    /// Whether the class may have this `dtype` besides those of floats. Values are floats here, in which whole numbers up
    /// to 2²⁴ are the same.
    fn takes_dtype(name: &str) -> bool {
        let _ = name;
        false
    }

    /// Brings the config of a file by an earlier Keras to today's arguments. `keras_2` says that the file is older than
    /// Keras 3, where a default has changed since.
    fn renew(config: &mut Config, keras_2: bool) {
        let _ = (config, keras_2);
    }
}

/// Takes keys out of a config that stand there and mean nothing.
pub(super) fn forget(config: &mut Config, keys: &[&str]) {
    for key in keys {
        config.shift_remove(*key);
    }
}

/// Takes out the `groups` of a kind of convolution that never had more than one.
pub(super) fn forget_single_group(config: &mut Config) {
    if config.get("groups") == Some(&json!(1)) {
        config.shift_remove("groups");
    }
}
