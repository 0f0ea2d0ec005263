//! `UnitNormalization`: normalizes vectors to length 1.

use crate::constraints::Axes;
use crate::error::{Error, Result};
use crate::layers::{BuiltIn, Call, Edge, Exporting, Layer};
use crate::ops::Value;
use crate::shape::Shape;

/// The lower bound of a norm used as a divisor.
const EPSILON: f32 = 1e-12;

crate::describe! {
    /// `x / √(Σx²)` over one axis, or jointly over several.
    ///
    /// # Shapes
    /// `(batch, …)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(UnitNormalization::new().input_shape(8))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct UnitNormalization {
        /// The axis or axes of the norm; negative ones count from the end.
        axis: Axes = Axes::One(-1),
    }
}

impl UnitNormalization {
    /// The layer with Keras's defaults.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Layer for UnitNormalization {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        if self.axis.of_rank(input.rank())?.is_empty() {
            return Err(Error::argument("axis", "at least one axis", "none"));
        }
        Ok(input.clone())
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn scratch(&self, input: &Shape, _: bool) -> Result<usize> {
        // The squares.
        Ok(input.known_len())
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let axes = self.axis.of_rank(to.rank())?;
        let squares = to.mul(to.input(), to.input());
        let sum = to.reduce("ReduceSum", squares, &axes, true);
        let least = to.number(EPSILON * EPSILON);
        let sum = to.op("Max", &[sum, least], vec![]);
        let length = to.op("Sqrt", &[sum], vec![]);
        Ok(vec![to.div(to.input(), length)])
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        let sizes = input.sizes();
        let axes = self.axis.of_rank(sizes.len())?;
        let squares = axes.into_iter().fold(input.clone().square(), Value::sum_axis);
        let length = squares.clamp_min(EPSILON * EPSILON).sqrt();
        Ok(input / length.expand(&sizes))
    }
}

impl BuiltIn for UnitNormalization {
    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new(), Shape::batch_of(4)), (Self::new().axis([1, 2]), Shape::batch_of((3, 4, 2)))]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn lengths_are_one_and_zero_stays_zero() {
        let input = Value::from_vec(vec![3.0, 4.0, 0.0, 0.0], &[2, 2], &Device::flex()).unwrap();
        let output = UnitNormalization::new().forward(input, &mut Call::inference(&[])).unwrap();
        assert_eq!(output.to_vec().unwrap(), [0.6, 0.8, 0.0, 0.0]);
    }
}
