//! `Activation`: an activation function as a layer.

use crate::activations::Activation;
use crate::error::Result;
use crate::layers::{Activated, BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// Applies an activation function; Keras's `Activation` layer.
    ///
    /// In Rust `Activation` is the function, and [`Activation::new`] makes this layer.
    ///
    /// # Shapes
    /// `(batch, …)` → the same (`glu` halves the last dimension).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(4).input_shape(8))?.add(Activation::new("relu"))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct ActivationLayer as "Activation" {
        /// The function.
        activation: Activation,
    }
}

impl Activation {
    /// The Keras layer that only applies an activation: `model.add(Activation::new("relu"))`.
    #[allow(clippy::new_ret_no_self)] // Keras gives the layer and its argument the same name.
    pub fn new(activation: impl Into<Activation>) -> ActivationLayer {
        ActivationLayer::new(activation)
    }
}

impl ActivationLayer {
    /// The layer that applies `activation`.
    pub fn new(activation: impl Into<Activation>) -> Self {
        Self::required(activation.into())
    }
}

impl Layer for ActivationLayer {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.activation.output_shape(input)
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn as_activation(&self) -> Option<Activation> {
        Some(self.activation.clone()).filter(Activation::is_element_wise)
    }

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        Activated::step(&self.activation, freezing)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        to.activated(&self.activation, to.input())
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        call.activate(&self.activation, input)
    }

    fn final_activation(&self) -> Option<&Activation> {
        Some(&self.activation)
    }
}

impl BuiltIn for ActivationLayer {
    fn examples() -> Vec<(Self, Shape)> {
        Activation::NAMES.iter().map(|name| (Self::new(*name), Shape::batch_of(6))).collect()
    }
}
