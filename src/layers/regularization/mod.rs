//! The regularization layers.

mod activity_regularization;
mod alpha_dropout;
mod dropout;
mod gaussian_dropout;
mod gaussian_noise;
mod spatial_dropout;

pub use activity_regularization::ActivityRegularization;
pub use alpha_dropout::AlphaDropout;
pub use dropout::Dropout;
pub use gaussian_dropout::GaussianDropout;
pub use gaussian_noise::GaussianNoise;
pub use spatial_dropout::{SpatialDropout1D, SpatialDropout2D, SpatialDropout3D};

use burn::tensor::Device;

use crate::error::{Error, Result};
use crate::kernels::random::Dropping;
use crate::ops::{self, Value};
use crate::random::Random;
use crate::shape::Shape;

/// Refuses a rate outside of 0 to 1.
pub(super) fn check_rate(argument: &str, rate: f32) -> Result<()> {
    if (0.0..=1.0).contains(&rate) {
        return Ok(());
    }
    Err(Error::argument(argument, "a number from 0 to 1", rate))
}

/// Refuses a `noise_shape` whose sizes are neither 1 nor the input's, where these are known.
fn check_noise_shape(noise_shape: Option<&[Option<usize>]>, input: &Shape) -> Result<()> {
    let Some(noise) = noise_shape else { return Ok(()) };
    let fits = |(noise, size): (&Option<usize>, &Option<usize>)| {
        noise.is_none_or(|noise| noise == 1 || size.is_none_or(|size| size == noise))
    };
    if noise.len() == input.rank() && noise.iter().zip(input.sizes()).all(fits) {
        return Ok(());
    }
    Err(Error::argument("noise_shape", format!("sizes of {input} or 1"), Shape::new(noise)))
}

/// Whether a random mask is drawn once for all samples.
fn is_for_whole_batch(noise_shape: Option<&[Option<usize>]>) -> bool {
    noise_shape.and_then(|noise| noise.first()) == Some(&Some(1))
}

/// The sizes of the random mask for an input of these sizes: those of `noise_shape`, or the input's for `None`.
fn noise_sizes(noise_shape: Option<&[Option<usize>]>, sizes: &[usize]) -> Result<Vec<usize>> {
    let Some(noise) = noise_shape else { return Ok(sizes.to_vec()) };
    let noise: Vec<usize> = noise.iter().zip(sizes).map(|(noise, size)| noise.unwrap_or(*size)).collect();
    check_noise(&noise, sizes).map(|()| noise)
}

/// Refuses a random mask whose sizes are neither 1 nor the input's.
fn check_noise(noise: &[usize], sizes: &[usize]) -> Result<()> {
    if noise.len() == sizes.len() && noise.iter().zip(sizes).all(|(noise, size)| *noise == 1 || noise == size) {
        return Ok(());
    }
    Err(Error::argument("noise_shape", format!("sizes of {sizes:?} or 1"), format!("{noise:?}")))
}

/// The factors of dropout: 0 with probability `rate`, otherwise scaled to preserve the expected sum.
pub(super) fn dropout_factors(sizes: &[usize], rate: f32, rng: &mut Random, device: &Device) -> Result<Value> {
    let factors = ops::dropout_factors(sizes, rng.draws(sizes, sizes), dropping(rate));
    Value::from_vec(factors, sizes, device)
}

/// Dropout: sets a random fraction `rate` of the input to 0 and scales the rest to preserve the expected sum; `noise`
/// are the sizes of the random mask, 1 along dimensions that are dropped as a whole.
pub(super) fn drop_out(input: Value, noise: &[usize], rate: f32, rng: &mut Random) -> Result<Value> {
    let sizes = input.sizes();
    check_noise(noise, &sizes)?;
    ops::drop_out(&input, noise, rng.draws(noise, &sizes), dropping(rate))
}

/// A rate of 1 drops all.
fn dropping(rate: f32) -> Dropping {
    match 1.0 - rate {
        keep if keep > 0.0 => Dropping::scaled(keep),
        _ => Dropping { keep: 0.0, ..Dropping::scaled(1.0) },
    }
}

/// Normally distributed values of the input's sizes.
fn normal(input: &Value, mean: f32, stddev: f32, rng: &mut Random) -> Result<Value> {
    let sizes = input.sizes();
    let numbers = ops::normal(input.len(), rng.draws(&sizes, &sizes), mean, stddev);
    Value::from_vec(numbers, &sizes, &input.device())
}
