//! `SpatialDropout1D`, `2D`, `3D`: drop whole channels in training.

use super::{check_rate, drop_out};
use crate::error::Result;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer};
use crate::ops::Value;
use crate::shape::{DataFormat, Shape};

/// Declares the layer for inputs of rank `$rank`, batch and channels included.
macro_rules! spatial_dropout {
    ($(#[$doc:meta])* $name:ident, $rank:literal, [$($format:tt)*], $data_format:expr) => {
        crate::describe! {
            $(#[$doc])*
            pub layer struct $name {
                /// The fraction of channels to drop, from 0 to 1.
                rate: f32,
                /// The layer's seed, in place of the run's.
                seed: Option<u64> = None,
                $($format)*
            }
        }

        impl $name {
            /// Drops the fraction `rate` of the channels.
            pub fn new(rate: f32) -> Self {
                Self::required(rate)
            }
        }

        impl Layer for $name {
            fn takes_trainable(&self) -> bool {
                false
            }

            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                check_rate("rate", self.rate)?;
                input.expect_rank($rank)?;
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
                if !call.training_mode() || self.rate == 0.0 {
                    return Ok(input);
                }
                let data_format: fn(&Self) -> DataFormat = $data_format;
                let mut noise = vec![1; $rank];
                let channels = if data_format(self) == DataFormat::ChannelsFirst { 1 } else { $rank - 1 };
                for axis in [0, channels] {
                    noise[axis] = input.sizes()[axis];
                }
                drop_out(input, &noise, self.rate, &mut call.rng(self.seed))
            }
        }
    };
}

spatial_dropout! {
    /// Sets a random fraction of the channels to 0 at all steps in training and scales up the rest; in inference it is
    /// the identity (Tompson et al. 2015).
    ///
    /// # Shapes
    /// `(batch, steps, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(SpatialDropout1D::new(0.2).input_shape((10, 8)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    SpatialDropout1D, 3, [], |_| DataFormat::ChannelsLast
}

spatial_dropout! {
    /// Sets a random fraction of the channels to 0 over the whole image in training and scales up the rest; in
    /// inference it is the identity (Tompson et al. 2015).
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(SpatialDropout2D::new(0.2).input_shape((10, 10, 8)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    SpatialDropout2D, 4, [
        /// The position of the channels.
        data_format: DataFormat = DataFormat::ChannelsLast,
    ], |layer| layer.data_format
}

spatial_dropout! {
    /// Sets a random fraction of the channels to 0 over the whole volume in training and scales up the rest; in
    /// inference it is the identity (Tompson et al. 2015).
    ///
    /// # Shapes
    /// `(batch, depth, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(SpatialDropout3D::new(0.2).input_shape((4, 4, 4, 8)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    SpatialDropout3D, 5, [
        /// The position of the channels.
        data_format: DataFormat = DataFormat::ChannelsLast,
    ], |layer| layer.data_format
}

impl BuiltIn for SpatialDropout1D {
    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new(0.5), Shape::batch_of((4, 3)))]
    }
}

impl BuiltIn for SpatialDropout2D {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(0.5), Shape::batch_of((3, 4, 2))),
            (Self::new(0.5).data_format(DataFormat::ChannelsFirst), Shape::batch_of((2, 3, 4))),
        ]
    }
}

impl BuiltIn for SpatialDropout3D {
    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new(0.5), Shape::batch_of((2, 3, 4, 2)))]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn channels_are_dropped_as_a_whole() {
        let ones = Value::full(&[4, 5, 8], 1.0, &Device::flex()).unwrap();
        let output = SpatialDropout1D::new(0.5).forward(ones, &mut Call::training(&[], true, &[1, 2, 3])).unwrap();
        let values = output.to_vec().unwrap();
        for sample in values.chunks(5 * 8) {
            assert!(sample.chunks(8).all(|step| step == &sample[..8]), "all steps are alike");
        }
        let dropped = values.iter().filter(|value| **value == 0.0).count() / 5;
        assert!((8..24).contains(&dropped), "{dropped} of 32 channels");
    }
}
