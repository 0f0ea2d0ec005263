//! `ActivityRegularization`: an activity penalty.

use crate::error::{Error, Result};
use crate::layers::{BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer};
use crate::ops::Value;
use crate::regularizers::Regularizer;
use crate::shape::Shape;

crate::describe! {
    /// Returns its input and adds `(l1 · Σ|x| + l2 · Σx²) / batch size` to the loss.
    ///
    /// # Shapes
    /// `(batch, …)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(8).input_shape(4))?.add(ActivityRegularization::new().l1(0.01))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct ActivityRegularization {
        /// The factor of the absolute values.
        l1: f32 = 0.0,
        /// The factor of the squares.
        l2: f32 = 0.0,
    }
}

impl ActivityRegularization {
    /// The layer with Keras's defaults: no penalty.
    pub fn new() -> Self {
        Self::default()
    }

    fn regularizer(&self) -> Regularizer {
        Regularizer::L1L2 { l1: self.l1, l2: self.l2 }
    }
}

impl Layer for ActivityRegularization {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        if input.rank() == 0 {
            return Err(Error::shape("a batch", input));
        }
        self.regularizer().check_factors()?;
        Ok(input.clone())
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn frozen_step(&self, _: &Freezing<'_>) -> Option<Frozen> {
        Some(Frozen::Same)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        Ok(vec![to.input()])
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        call.add_activity_loss(&Some(self.regularizer()), &input)?;
        Ok(input)
    }
}

impl BuiltIn for ActivityRegularization {
    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new(), Shape::batch_of(3)), (Self::new().l1(0.1).l2(0.2), Shape::batch_of((2, 3)))]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn the_penalty_is_divided_by_the_batch_size() {
        let input = Value::from_vec(vec![1.0, -2.0, 0.0, 3.0], &[2, 2], &Device::flex()).unwrap();
        let mut call = Call::inference(&[]);
        let output = ActivityRegularization::new().l1(0.1).l2(1.0).forward(input, &mut call).unwrap();
        assert_eq!(output.to_vec().unwrap(), [1.0, -2.0, 0.0, 3.0]);
        assert!((call.losses()[0].to_scalar().unwrap() - (0.6 + 14.0) / 2.0).abs() < 1e-5);
    }
}
