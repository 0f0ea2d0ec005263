//! `StochasticDepth`: drops residual branches per sample in training, as in ConvNeXt.

use crate::error::Result;
use crate::layers::regularization::{check_rate, drop_out};
use crate::layers::{BuiltIn, Call, Edge, Exporting, Layer};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// Sets random whole samples of the batch to 0 in training, and scales the others by `1 / (1 − rate)`; in inference
    /// it is the identity. At the end of a residual branch it drops the branch (Huang et al. 2016).
    ///
    /// # Shapes
    /// `(batch, …)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let x = Input::new((8, 8, 3)).symbol();
    /// let branch = StochasticDepth::new(0.1).call(&Conv2D::new(3, 3).padding(Padding::Same).call(&x)?)?;
    /// let sum = Add::new().call([&x, &branch])?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct StochasticDepth {
        /// The fraction of samples to drop, from 0 to 1.
        drop_path_rate: f32,
    }
}

impl StochasticDepth {
    /// Drops the fraction `drop_path_rate` of the samples.
    pub fn new(drop_path_rate: f32) -> Self {
        Self::required(drop_path_rate)
    }
}

impl Layer for StochasticDepth {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        check_rate("drop_path_rate", self.drop_path_rate)?;
        Ok(input.clone())
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        Ok(vec![to.input()])
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        if !call.training_mode() || self.drop_path_rate == 0.0 {
            return Ok(input);
        }
        let mut noise = vec![1; input.rank()];
        noise[0] = input.sizes()[0];
        drop_out(input, &noise, self.drop_path_rate, &mut call.rng(None))
    }
}

impl BuiltIn for StochasticDepth {
    const MODULE: &'static str = "keras.src.applications.convnext";

    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new(0.25), Shape::batch_of((3, 2))), (Self::new(0.0), Shape::batch_of(4))]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn whole_samples_are_dropped() {
        let ones = Value::full(&[1000, 5], 1.0, &Device::flex()).unwrap();
        let output = StochasticDepth::new(0.2).forward(ones, &mut Call::training(&[], true, &[1])).unwrap();
        let values = output.to_vec().unwrap();
        let dropped = values.chunks(5).filter(|sample| sample.iter().all(|value| *value == 0.0)).count();
        assert!((150..250).contains(&dropped), "{dropped}");
        assert!(values.chunks(5).all(|sample| sample.iter().all(|value| *value == sample[0])));
        assert!(values.iter().all(|value| *value == 0.0 || (*value - 1.25).abs() < 1e-6));
    }
}
