//! `GaussianNoise`: additive Gaussian noise.

use super::normal;
use crate::error::{Error, Result};
use crate::layers::{BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// Adds normally distributed numbers of mean 0 to its inputs in training; in inference it is the identity.
    ///
    /// # Shapes
    /// `(batch, …)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(GaussianNoise::new(0.1).input_shape(8))?.add(Dense::new(2))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct GaussianNoise {
        /// The standard deviation.
        stddev: f32,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
    }
}

impl GaussianNoise {
    /// Noise with the standard deviation `stddev`.
    pub fn new(stddev: f32) -> Self {
        Self::required(stddev)
    }
}

impl Layer for GaussianNoise {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        // Keras's bounds.
        if !(0.0..=1.0).contains(&self.stddev) {
            return Err(Error::argument("stddev", "a number from 0 to 1", self.stddev));
        }
        Ok(input.clone())
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn scratch(&self, input: &Shape, training: bool) -> Result<usize> {
        // The random numbers.
        Ok(if training { input.known_len() } else { 0 })
    }

    fn frozen_step(&self, _: &Freezing<'_>) -> Option<Frozen> {
        Some(Frozen::Same)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        Ok(vec![to.input()])
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        if !call.training_mode() || self.stddev == 0.0 {
            return Ok(input);
        }
        let noise = normal(&input, 0.0, self.stddev, &mut call.rng(self.seed))?;
        Ok(input + noise)
    }
}

impl BuiltIn for GaussianNoise {
    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new(0.3), Shape::batch_of((2, 4)))]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn the_noise_has_the_documented_spread() {
        let zeros = Value::full(&[200, 200], 0.0, &Device::flex()).unwrap();
        let noise = GaussianNoise::new(0.5).forward(zeros, &mut Call::training(&[], true, &[1, 2, 3])).unwrap();
        let (mean, variance) = noise.moments(&[0, 1]);
        let (mean, variance) = (mean.to_vec().unwrap()[0], variance.to_vec().unwrap()[0]);
        assert!(mean.abs() < 0.01 && (variance - 0.25).abs() < 0.01, "{mean} {variance}");
    }
}
