//! `PReLU`: a leaky relu with learned slopes.

use burn::tensor::{Tensor, activation};

use crate::constraints::Constraint;
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Layer, WeightSpec};
use crate::ops::{ElementWise, Value};
use crate::regularizers::Regularizer;
use crate::shape::Shape;

crate::describe! {
    /// `x` if above 0, else `alpha · x` with a learned `alpha` for each feature (He et al. 2015).
    ///
    /// # Shapes
    /// `(batch, …)` → the same; weight `alpha` of the sizes of one sample, 1 on the `shared_axes`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(PReLU::new().shared_axes(vec![1, 2]).input_shape((8, 8, 3)))?;
    /// assert_eq!(model.count_params()?, 3);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct PReLU {
        /// The initializer of the slopes.
        alpha_initializer: Initializer = Initializer::Zeros {},
        /// The penalty on the slopes.
        alpha_regularizer: Option<Regularizer> = None,
        /// The constraint on the slopes.
        alpha_constraint: Option<Constraint> = None,
        /// The axes, counted from 1, that share a slope.
        shared_axes: Option<Vec<usize>> = None,
    }
}

impl PReLU {
    /// The layer with Keras's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    fn alpha_sizes(&self, input: &Shape) -> Result<Vec<usize>> {
        let shared = self.shared_axes.as_deref().unwrap_or_default();
        let sizes = input.sample().iter().enumerate();
        sizes
            .map(|(index, size)| match size {
                _ if shared.contains(&(index + 1)) => Ok(1),
                Some(size) => Ok(*size),
                None => Err(Error::shape("known sizes of all axes that are not shared", input)),
            })
            .collect()
    }
}

struct Relu;

impl ElementWise for Relu {
    fn apply<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D> {
        activation::relu(tensor)
    }
}

impl Layer for PReLU {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        let axes = 1..input.rank();
        if let Some(axis) = self.shared_axes.iter().flatten().find(|axis| !axes.contains(axis)) {
            return Err(Error::argument("shared_axes", format!("axes from 1 to {}", axes.len()), axis));
        }
        self.alpha_sizes(input)?;
        Ok(input.clone())
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        let alpha = WeightSpec::new("alpha", self.alpha_sizes(input)?, self.alpha_initializer.clone())
            .regularizer(&self.alpha_regularizer)
            .constraint(&self.alpha_constraint);
        Ok(vec![alpha])
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn scratch(&self, input: &Shape, _: bool) -> Result<usize> {
        // Both halves, and the product with the slopes.
        Ok(input.known_len().saturating_mul(3))
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let alpha = to.weight(0)?;
        let alpha = to.constant("alpha", alpha);
        Ok(vec![to.op("PRelu", &[to.input(), alpha], vec![])])
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let sizes = input.sizes();
        let alpha = call.weight(0);
        let row = if sizes.len() == 1 { vec![1] } else { [&[1], alpha.sizes().as_slice()].concat() };
        let alpha = alpha.reshape(&row)?.expand(&sizes);
        let below = (-input.clone()).map(Relu);
        Ok(input.map(Relu) - alpha * below)
    }
}

impl BuiltIn for PReLU {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(), Shape::batch_of(6)),
            (Self::new().shared_axes(vec![1, 2]).alpha_initializer("ones"), Shape::batch_of((3, 2, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_sizes_must_be_shared() {
        let open = Shape::new([None, None, Some(3)]);
        assert!(PReLU::new().output_shape(&open).is_err());
        assert_eq!(PReLU::new().shared_axes(vec![1]).weights(&open).unwrap()[0].sizes, [1, 3]);
        assert!(PReLU::new().shared_axes(vec![0]).output_shape(&open).is_err());
        assert!(PReLU::new().shared_axes(vec![3]).output_shape(&open).is_err());
    }
}
