//! `AlphaDropout`: dropout that preserves mean and variance, for networks with `selu`.

use super::{check_noise_shape, check_rate, is_for_whole_batch, noise_sizes};
use crate::error::{Error, Result};
use crate::kernels::random::Dropping;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer};
use crate::ops::{self, Value};
use crate::shape::Shape;

/// The limit of `selu` for very negative inputs: −1.0507 · 1.67326.
const SATURATION: f32 = -1.758_099_3;

crate::describe! {
    /// Sets a random fraction of the inputs to the saturation of `selu` in training, then scales and shifts to preserve
    /// mean and variance; in inference it is the identity (Klambauer et al. 2017).
    ///
    /// # Shapes
    /// `(batch, …)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(64).activation("selu").input_shape(8))?.add(AlphaDropout::new(0.1))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct AlphaDropout {
        /// The fraction to drop, from 0 to below 1.
        rate: f32,
        /// The shape of the random mask, including the batch, with 1 (or `None` for the input's size) along dimensions
        /// that are dropped as a whole.
        noise_shape: Option<Vec<Option<usize>>> = None,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
    }
}

impl AlphaDropout {
    /// Drops the fraction `rate` of the inputs.
    pub fn new(rate: f32) -> Self {
        Self::required(rate)
    }
}

impl Layer for AlphaDropout {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        check_rate("rate", self.rate)?;
        if self.rate >= 1.0 {
            return Err(Error::argument("rate", "a number from 0 to below 1", self.rate));
        }
        check_noise_shape(self.noise_shape.as_deref(), input)?;
        Ok(input.clone())
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn scratch(&self, input: &Shape, training: bool) -> Result<usize> {
        // The random numbers.
        Ok(if training { input.known_len().saturating_mul(2) } else { 0 })
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
        let sizes = input.sizes();
        let noise = noise_sizes(self.noise_shape.as_deref(), &sizes)?;
        let mut rng = call.rng_for(self.seed, !is_for_whole_batch(self.noise_shape.as_deref()));
        // a · (x where kept, else the saturation) + b has the mean and variance of x.
        let a = ((1.0 - self.rate) * (1.0 + self.rate * SATURATION * SATURATION)).powf(-0.5);
        let b = -a * SATURATION * self.rate;
        let dropping = Dropping { keep: 1.0 - self.rate, scale: a, shift: b, otherwise: a * SATURATION + b };
        ops::drop_out(&input, &noise, rng.draws(&noise, &sizes), dropping)
    }
}

impl BuiltIn for AlphaDropout {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(0.3), Shape::batch_of(8)),
            (Self::new(0.5).noise_shape(vec![None, Some(1), None]), Shape::batch_of((4, 3))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn mean_and_variance_are_preserved() {
        let mut random = crate::random::random(&[1]);
        let numbers: Vec<f32> = (0..40_000).map(|_| random.normal(0.0, 1.0)).collect();
        let input = Value::from_vec(numbers, &[200, 200], &Device::flex()).unwrap();
        let output = AlphaDropout::new(0.3).forward(input, &mut Call::training(&[], true, &[1, 2, 3])).unwrap();
        let (mean, variance) = output.moments(&[0, 1]);
        let (mean, variance) = (mean.to_vec().unwrap()[0], variance.to_vec().unwrap()[0]);
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }

    #[test]
    fn an_incompatible_mask_is_refused() {
        let layer = AlphaDropout::new(0.5).noise_shape(vec![None, Some(5)]);
        assert!(layer.output_shape(&Shape::new([None, Some(7)])).is_err());
        // An unknown size is checked against the input.
        assert!(layer.output_shape(&Shape::new([None, None])).is_ok());
        let input = Value::full(&[2, 7], 1.0, &Device::flex()).unwrap();
        let error = layer.forward(input, &mut Call::training(&[], true, &[1])).unwrap_err();
        assert!(matches!(error, Error::Argument { .. }), "{error}");
    }

    #[test]
    fn a_rate_of_one_is_refused() {
        assert!(AlphaDropout::new(1.0).output_shape(&Shape::batch_of(3)).is_err());
    }
}
