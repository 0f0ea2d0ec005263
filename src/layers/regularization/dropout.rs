//! `Dropout`: drops random features in training.

use super::{check_noise_shape, check_rate, drop_out, is_for_whole_batch, noise_sizes};
use crate::error::Result;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// Sets a random fraction of the inputs to 0 in training and scales the others by `1 / (1 − rate)`, which preserves
    /// the expected sum; in inference it is the identity (Srivastava et al. 2014).
    ///
    /// # Shapes
    /// `(batch, …)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(64).input_shape(8))?.add(Dropout::new(0.5))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Dropout {
        /// The fraction to drop, from 0 to 1.
        rate: f32,
        /// The shape of the random mask, including the batch, with 1 (or `None` for the input's size) along dimensions
        /// that are dropped as a whole.
        noise_shape: Option<Vec<Option<usize>>> = None,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
    }
}

impl Dropout {
    /// Drops the fraction `rate` of the inputs.
    pub fn new(rate: f32) -> Self {
        Self::required(rate)
    }
}

impl Layer for Dropout {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        check_rate("rate", self.rate)?;
        check_noise_shape(self.noise_shape.as_deref(), input)?;
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
        let noise = noise_sizes(self.noise_shape.as_deref(), &input.sizes())?;
        let rng = &mut call.rng_for(self.seed, !is_for_whole_batch(self.noise_shape.as_deref()));
        drop_out(input, &noise, self.rate, rng)
    }
}

impl BuiltIn for Dropout {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(0.5), Shape::batch_of(8)),
            (Self::new(1.0), Shape::batch_of(3)),
            (Self::new(0.25).noise_shape(vec![None, Some(1), None]), Shape::batch_of((4, 3))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn training_drops_the_rate_and_keeps_the_mean() {
        let ones = Value::full(&[100, 100], 1.0, &Device::flex()).unwrap();
        let output = |key: &[u64]| {
            Dropout::new(0.3).forward(ones.clone(), &mut Call::training(&[], true, key)).unwrap().to_vec().unwrap()
        };
        let values = output(&[1, 2, 3]);
        let dropped = values.iter().filter(|v| **v == 0.0).count();
        assert!((2850..3150).contains(&dropped), "{dropped}");
        assert!(values.iter().all(|v| *v == 0.0 || (*v - 1.0 / 0.7).abs() < 1e-6));
        assert_eq!(values, output(&[1, 2, 3]), "the same key draws the same mask");
        assert_ne!(values, output(&[1, 3, 3]), "another step draws another");
    }

    #[test]
    fn inference_is_the_identity() {
        let ones = Value::full(&[2, 3], 1.0, &Device::flex()).unwrap();
        let output = Dropout::new(0.9).forward(ones, &mut Call::inference(&[])).unwrap();
        assert_eq!(output.to_vec().unwrap(), [1.0; 6]);
    }

    #[test]
    fn a_rate_out_of_range_is_refused() {
        for rate in [-0.1, 1.5, f32::NAN] {
            assert!(Dropout::new(rate).output_shape(&Shape::batch_of(3)).is_err());
        }
    }
}
