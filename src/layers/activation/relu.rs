//! `ReLU`: a rectified linear unit with threshold, slope and limit.

use crate::activations::Activation;
use crate::error::{Error, Result};
use crate::layers::{Activated, BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// `x` from `threshold` on, clipped to `max_value`; below the threshold `negative_slope · (x − threshold)`.
    ///
    /// # Shapes
    /// `(batch, …)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(4).input_shape(8))?.add(ReLU::new().max_value(6.0))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct ReLU {
        /// The largest output; by default unlimited.
        max_value: Option<f32> = None,
        /// The slope below the threshold.
        negative_slope: f32 = 0.0,
        /// The start of the linear part.
        threshold: f32 = 0.0,
    }
}

impl ReLU {
    /// The layer with Keras's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The equivalent activation function, if there is one.
    fn function(&self) -> Option<Activation> {
        match (self.negative_slope == 0.0 && self.threshold == 0.0, self.max_value) {
            (true, None) => Some(Activation::Relu),
            (true, Some(6.0)) => Some(Activation::Relu6),
            _ => None,
        }
    }
}

impl Layer for ReLU {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        let arguments = [
            ("max_value", self.max_value.unwrap_or(0.0)),
            ("negative_slope", self.negative_slope),
            ("threshold", self.threshold),
        ];
        match arguments.into_iter().find(|(_, value)| value.is_nan() || *value < 0.0) {
            Some((name, value)) => Err(Error::argument(name, "a number of at least 0", value)),
            None => Ok(input.clone()),
        }
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn as_activation(&self) -> Option<Activation> {
        self.function().filter(Activation::is_element_wise)
    }

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        Activated::step(&self.function()?, freezing)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let x = to.input();
        if let Some(activation) = self.function() {
            return to.activated(&activation, x);
        }
        let threshold = to.number(self.threshold);
        let above = to.op("Greater", &[x, threshold], vec![]);
        let mut upper = x;
        if let Some(max_value) = self.max_value {
            let most = to.number(max_value);
            upper = to.op("Min", &[x, most], vec![]);
        }
        let lower = to.sub(x, threshold);
        let lower = to.mul_number(lower, self.negative_slope);
        Ok(vec![to.op("Where", &[above, upper, lower], vec![])])
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        if let Some(activation) = self.function() {
            return activation.apply(input);
        }
        // A mask rather than a clamp, because the output is discontinuous at the threshold.
        let above = input.clone().detach().greater_scalar(self.threshold);
        let below = (self.negative_slope != 0.0).then(|| {
            let below = above.clone().mul_scalar(-self.negative_slope).add_scalar(self.negative_slope);
            input.clone().add_scalar(-self.threshold) * below
        });
        let mut output = input * above;
        if let Some(max_value) = self.max_value {
            output = output.clamp_max(max_value);
        }
        Ok(match below {
            Some(below) => output + below,
            None => output,
        })
    }
}

impl BuiltIn for ReLU {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(), Shape::batch_of((2, 3))),
            (Self::new().max_value(0.5).negative_slope(0.1).threshold(0.2), Shape::batch_of(6)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn slope_threshold_and_limit() {
        let input = Value::from_vec(vec![-10.0, 0.5, 2.0, 10.0], &[1, 4], &Device::flex()).unwrap();
        let layer = ReLU::new().max_value(6.0).negative_slope(0.5).threshold(1.0);
        let output = layer.forward(input, &mut Call::inference(&[])).unwrap();
        assert_eq!(output.to_vec().unwrap(), [-5.5, -0.25, 2.0, 6.0]);
        assert!(ReLU::new().max_value(-1.0).output_shape(&Shape::batch_of(1)).is_err());
    }
}
