//! `LayerScale`: a learned factor for each channel, as in ConvNeXt.

use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Layer, WeightSpec};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// Multiplies each channel, the last axis, by a learned factor that starts small (Touvron et al. 2021).
    ///
    /// # Shapes
    /// `(batch, …, projection_dim)` → the same; weight `gamma` of `(projection_dim,)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(LayerScale::new(1e-6, 3).input_shape((8, 8, 3)))?;
    /// assert_eq!(model.count_params()?, 3);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct LayerScale {
        /// The initial factors.
        init_values: f32,
        /// The number of channels.
        projection_dim: usize,
    }
}

impl LayerScale {
    /// Factors for `projection_dim` channels, initialized to `init_values`.
    pub fn new(init_values: f32, projection_dim: usize) -> Self {
        Self::required(init_values, projection_dim)
    }
}

impl Layer for LayerScale {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        match input.sample().last() {
            Some(Some(channels)) if *channels == self.projection_dim => Ok(input.clone()),
            Some(None) => {
                let mut sizes = input.sizes().to_vec();
                sizes.pop();
                Ok(Shape::new([sizes.as_slice(), &[Some(self.projection_dim)]].concat()))
            }
            _ => Err(Error::shape(format!("{} channels, as projection_dim says", self.projection_dim), input)),
        }
    }

    fn weights(&self, _: &Shape) -> Result<Vec<WeightSpec>> {
        let start = Initializer::Constant { value: self.init_values };
        Ok(vec![WeightSpec::new("gamma", vec![self.projection_dim], start)])
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let gamma = to.weight(0)?;
        let gamma = to.constant("gamma", gamma);
        Ok(vec![to.mul(to.input(), gamma)])
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let sizes = input.sizes();
        let mut row = vec![1; sizes.len()];
        if let Some(last) = row.last_mut() {
            *last = self.projection_dim;
        }
        Ok(input * call.weight(0).reshape(&row)?.expand(&sizes))
    }
}

impl BuiltIn for LayerScale {
    const MODULE: &'static str = "keras.src.applications.convnext";

    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new(0.5, 4), Shape::batch_of((2, 3, 4))), (Self::new(1e-6, 3), Shape::batch_of(3))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_channels_are_those_of_the_argument() {
        let layer = LayerScale::new(0.5, 3);
        assert!(layer.output_shape(&Shape::batch_of((2, 4))).is_err());
        assert!(layer.output_shape(&Shape::batch_of(())).is_err());
        let open = Shape::new([None, Some(2), None]);
        assert_eq!(layer.output_shape(&open).unwrap().to_string(), "(None, 2, 3)");
    }
}
