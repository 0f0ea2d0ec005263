//! `Softmax`: positive values that sum to 1.

use crate::activations::Activation;
use crate::constraints::Axes;
use crate::error::{Error, Result};
use crate::layers::{Activated, BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// `exp(x) / Σ exp(x)` over one axis, or jointly over several.
    ///
    /// A mask of the input's own shape excludes values: they become 0.
    ///
    /// # Shapes
    /// `(batch, …)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(4).input_shape(8))?.add(Softmax::new())?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Softmax {
        /// The axis or axes over which the outputs sum to 1; negative ones count from the end.
        axis: Axes = Axes::One(-1),
    }
}

impl Softmax {
    /// The layer with Keras's defaults.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Layer for Softmax {
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
        // The differences to the maximum, and their exponentials.
        Ok(input.known_len().saturating_mul(2))
    }

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        let last = freezing.output.len();
        let axes = self.axis.of_rank(last + 1).ok()?;
        if axes == [last] { Activated::step(&Activation::Softmax, freezing) } else { None }
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let axes = self.axis.of_rank(to.rank())?;
        if to.mask(0).is_some() && to.rank() <= 2 {
            to.refuse_masks()?;
        }
        if let [axis] = axes[..] {
            return Ok(vec![to.op("Softmax", &[to.input()], vec![("axis", (axis as i64).into())])]);
        }
        let largest = to.reduce("ReduceMax", to.input(), &axes, true);
        let powers = to.sub(to.input(), largest);
        let powers = to.op("Exp", &[powers], vec![]);
        let sum = to.reduce("ReduceSum", powers, &axes, true);
        Ok(vec![to.div(powers, sum)])
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let axes = self.axis.of_rank(input.rank())?;
        let sizes = input.sizes();
        // A mask of steps does not concern the values along the axis, and is passed on.
        let Some(mask) = call.mask.as_ref().filter(|mask| mask.sizes() == sizes) else {
            return Ok(softmax(input, &axes));
        };
        // Keras's large negative number; a fully masked row becomes 0 by the product.
        let masked = Value::full(&sizes, -1e9, &input.device())?.select_where(mask.clone(), input);
        Ok(softmax(masked, &axes) * mask.clone())
    }
}

fn softmax(input: Value, axes: &[usize]) -> Value {
    if let [axis] = axes {
        return input.softmax(*axis);
    }
    let sizes = input.sizes();
    let largest = axes.iter().fold(input.clone().detach(), |value, axis| value.max_axis(*axis));
    let powers = (input - largest.expand(&sizes)).exp();
    let sum = axes.iter().fold(powers.clone(), |value, axis| value.sum_axis(*axis));
    powers / sum.expand(&sizes)
}

impl BuiltIn for Softmax {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(), Shape::batch_of(5)),
            (Self::new().axis(1), Shape::batch_of((3, 4))),
            (Self::new().axis([1, 2]), Shape::batch_of((3, 4, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn several_axes_sum_to_one_together() {
        let input = Value::from_vec((0..12).map(|i| i as f32).collect(), &[1, 3, 4], &Device::flex()).unwrap();
        let layer = Softmax::new().axis([1, 2]);
        let output = layer.forward(input.clone(), &mut Call::inference(&[])).unwrap().to_vec().unwrap();
        let flat = input.reshape(&[1, 12]).unwrap().softmax(1).to_vec().unwrap();
        assert!(output.iter().zip(&flat).all(|(a, b)| (a - b).abs() < 1e-6), "{output:?}");
    }

    #[test]
    fn masked_values_become_zero() {
        let value = |numbers: [f32; 4]| Value::from_vec(numbers.to_vec(), &[2, 2], &Device::flex()).unwrap();
        let mut call = Call::inference(&[]);
        call.mask = Some(value([1.0, 0.0, 0.0, 0.0]));
        let output = Softmax::new().forward(value([1.0, 9.0, 2.0, 3.0]), &mut call).unwrap();
        assert_eq!(output.to_vec().unwrap(), [1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_mask_of_steps_is_passed_on() {
        let input = Value::from_vec(vec![1.0, 1.0, 2.0, 2.0], &[1, 2, 2], &Device::flex()).unwrap();
        let mut call = Call::inference(&[]);
        call.mask = Some(Value::from_vec(vec![1.0, 0.0], &[1, 2], &Device::flex()).unwrap());
        assert_eq!(Softmax::new().forward(input, &mut call).unwrap().to_vec().unwrap(), [0.5; 4]);
        assert_eq!(call.mask.unwrap().to_vec().unwrap(), [1.0, 0.0]);
    }
}
