//! `ELU`: linear above 0, saturating below.

use burn::tensor::{Tensor, activation};

use crate::error::{Error, Result};
use crate::kernels::activation::Activation as Kernel;
use crate::layers::{Activated, BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer};
use crate::ops::{ElementWise, Value};
use crate::shape::Shape;

crate::describe! {
    /// `x` if above 0, else `alpha · (exp(x) − 1)` (Clevert et al. 2016).
    ///
    /// # Shapes
    /// `(batch, …)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(4).input_shape(8))?.add(ELU::new())?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct ELU {
        /// The absolute limit for very negative inputs.
        alpha: f32 = 1.0,
    }
}

impl ELU {
    /// The layer with Keras's defaults.
    pub fn new() -> Self {
        Self::default()
    }
}

struct Elu(f32);

impl ElementWise for Elu {
    fn apply<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D> {
        activation::elu(tensor, f64::from(self.0))
    }
}

impl Layer for ELU {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        if !self.alpha.is_finite() {
            return Err(Error::argument("alpha", "a number", self.alpha));
        }
        Ok(input.clone())
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        Activated::each(Kernel::Elu(self.alpha), freezing)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        Ok(vec![to.op("Elu", &[to.input()], vec![("alpha", self.alpha.into())])])
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        Ok(input.map(Elu(self.alpha)))
    }
}

impl BuiltIn for ELU {
    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new(), Shape::batch_of((2, 3))), (Self::new().alpha(0.3), Shape::batch_of(4))]
    }
}
