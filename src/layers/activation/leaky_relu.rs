//! `LeakyReLU`: a relu with a slope below 0.

use burn::tensor::{Tensor, activation};

use crate::error::{Error, Result};
use crate::kernels::activation::Activation as Kernel;
use crate::layers::{Activated, BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer};
use crate::ops::{ElementWise, Value};
use crate::shape::Shape;

crate::describe! {
    /// `x` if above 0, else `negative_slope · x`.
    ///
    /// The layer's default slope is 0.3; that of the activation named `leaky_relu` is 0.2. Both are Keras's.
    ///
    /// # Shapes
    /// `(batch, …)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(4).input_shape(8))?.add(LeakyReLU::new().negative_slope(0.1))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct LeakyReLU {
        /// The slope below 0.
        negative_slope: f32 = 0.3,
    }
}

impl LeakyReLU {
    /// The layer with Keras's defaults.
    pub fn new() -> Self {
        Self::default()
    }
}

struct Leaky(f32);

impl ElementWise for Leaky {
    fn apply<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D> {
        activation::leaky_relu(tensor, f64::from(self.0))
    }
}

impl Layer for LeakyReLU {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        if self.negative_slope.is_nan() || self.negative_slope < 0.0 {
            return Err(Error::argument("negative_slope", "a number of at least 0", self.negative_slope));
        }
        Ok(input.clone())
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        Activated::each(Kernel::LeakyRelu(self.negative_slope), freezing)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        Ok(vec![to.op("LeakyRelu", &[to.input()], vec![("alpha", self.negative_slope.into())])])
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        Ok(input.map(Leaky(self.negative_slope)))
    }
}

impl BuiltIn for LeakyReLU {
    fn renew(config: &mut crate::config::Config, _: bool) {
        if let Some(alpha) = config.shift_remove("alpha") {
            config.entry("negative_slope").or_insert(alpha);
        }
    }

    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new(), Shape::batch_of((2, 3))), (Self::new().negative_slope(0.0), Shape::batch_of(4))]
    }
}
