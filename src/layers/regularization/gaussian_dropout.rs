//! `GaussianDropout`: multiplicative Gaussian noise.

use super::{check_rate, normal};
use crate::error::{Error, Result};
use crate::layers::{BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// Multiplies its inputs by normally distributed numbers of mean 1 and standard deviation `√(rate / (1 − rate))` in
    /// training; in inference it is the identity (Srivastava et al. 2014).
    ///
    /// # Shapes
    /// `(batch, …)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(64).input_shape(8))?.add(GaussianDropout::new(0.5))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct GaussianDropout {
        /// The equivalent dropout rate, from 0 to below 1.
        rate: f32,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
    }
}

impl GaussianDropout {
    /// Noise equivalent to dropping the fraction `rate`.
    pub fn new(rate: f32) -> Self {
        Self::required(rate)
    }
}

impl Layer for GaussianDropout {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        check_rate("rate", self.rate)?;
        if self.rate >= 1.0 {
            return Err(Error::argument("rate", "a number from 0 to below 1", self.rate));
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
        if !call.training_mode() || self.rate == 0.0 {
            return Ok(input);
        }
        let stddev = (self.rate / (1.0 - self.rate)).sqrt();
        let noise = normal(&input, 1.0, stddev, &mut call.rng(self.seed))?;
        Ok(input * noise)
    }
}

impl BuiltIn for GaussianDropout {
    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new(0.3), Shape::batch_of((2, 4))), (Self::new(0.0), Shape::batch_of(3))]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn the_noise_has_the_documented_spread() {
        let ones = Value::full(&[200, 200], 1.0, &Device::flex()).unwrap();
        let noise = GaussianDropout::new(0.2).forward(ones, &mut Call::training(&[], true, &[1, 2, 3])).unwrap();
        let (mean, variance) = noise.moments(&[0, 1]);
        let (mean, variance) = (mean.to_vec().unwrap()[0], variance.to_vec().unwrap()[0]);
        assert!((mean - 1.0).abs() < 0.01 && (variance - 0.25).abs() < 0.01, "{mean} {variance}");
    }
}
