//! Batch normalization over all axes but the last.

use super::activation::Activation;
use super::simd::simd;
use super::window::{check_len, size_of};
use super::{parallel, scratch};

/// Values processed together: they stay in the first-level cache.
const BLOCK: usize = 4096;

/// Sizes of a batch normalization.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Rows of `channels` values: samples times all axes between them and the last.
    pub rows: usize,
    /// Values of a row, each normalized over all rows.
    pub channels: usize,
    /// Added to the variance.
    pub epsilon: f32,
}

/// Scale and offset of each channel's normalized values; 1 and 0 where absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Affine<'a> {
    /// Factors.
    pub gamma: Option<&'a [f32]>,
    /// Summands.
    pub beta: Option<&'a [f32]>,
}

impl BatchNorm {
    fn check(&self, x: &[f32], mean: &[f32], variance: &[f32], affine: Affine) {
        check_len("the input", x.len(), size_of(&[self.rows, self.channels]));
        check_len("the mean", mean.len(), self.channels);
        check_len("the variance", variance.len(), self.channels);
        affine.gamma.into_iter().for_each(|gamma| check_len("gamma", gamma.len(), self.channels));
        affine.beta.into_iter().for_each(|beta| check_len("beta", beta.len(), self.channels));
    }

    /// Number of threads, rows in a part and rows in a block.
    fn parts(&self) -> (usize, usize, usize) {
        let threads = parallel::pass(self.rows * self.channels).0;
        (threads, parallel::part_len(self.rows, threads), (BLOCK / self.channels.max(1)).clamp(4, 256))
    }

    /// gamma / √(variance + ε).
    fn factors(&self, variance: &[f32], gamma: Option<&[f32]>) -> Vec<f32> {
        let gamma = |i: usize| gamma.map_or(1.0, |gamma| gamma[i]);
        variance.iter().enumerate().map(|(i, v)| gamma(i) / (v + self.epsilon).sqrt()).collect()
    }
}

/// The mean and the variance (divided by the number of rows) of each channel.
///
/// # Panics
/// If a slice's length does not match the sizes.
pub fn statistics(norm: &BatchNorm, x: &[f32], mean: &mut [f32], variance: &mut [f32]) {
    norm.check(x, mean, variance, Affine::default());
    mean.fill(0.0);
    variance.fill(0.0);
    if x.is_empty() {
        return;
    }
    let channels = norm.channels;
    let (threads, part, block) = norm.parts();
    scratch::with_zeros(norm.rows.div_ceil(part) * 2 * channels, |sums| {
        let tasks = x.chunks(part * channels).zip(sums.chunks_mut(2 * channels)).collect();
        parallel::each(threads, tasks, |(x, sums): (&[f32], &mut [f32])| {
            let (mean, squares) = sums.split_at_mut(channels);
            scratch::with(2 * channels, |own| {
                let (own_mean, own_squares) = own.split_at_mut(channels);
                let mut rows = 0;
                for x in x.chunks(block * channels) {
                    let more = x.len() / channels;
                    own_mean.fill(0.0);
                    own_squares.fill(0.0);
                    parallel::add_rows(x, own_mean);
                    own_mean.iter_mut().for_each(|m| *m /= more as f32);
                    add_squares(x, own_mean, own_squares);
                    join(rows, more, own_mean, own_squares, mean, squares);
                    rows += more;
                }
            });
        });
        let mut rows = 0;
        for (x, sums) in x.chunks(part * channels).zip(sums.chunks(2 * channels)) {
            let (own_mean, own_squares) = sums.split_at(channels);
            let more = x.len() / channels;
            join(rows, more, own_mean, own_squares, mean, variance);
            rows += more;
        }
    });
    variance.iter_mut().for_each(|v| *v /= norm.rows as f32);
}

/// Merges the means and the sums of squared deviations of `more` rows into those of `rows` rows. Chan, Golub and
/// LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
fn join(rows: usize, more: usize, from_mean: &[f32], from_squares: &[f32], mean: &mut [f32], squares: &mut [f32]) {
    let share = more as f32 / (rows + more) as f32;
    for i in 0..mean.len() {
        let apart = from_mean[i] - mean[i];
        mean[i] += apart * share;
        squares[i] += from_squares[i] + apart * apart * share * rows as f32;
    }
}

/// `y = activation(gamma · (x - mean) / √(variance + ε) + beta)`. Every value of `y` is written.
///
/// # Panics
/// If a slice's length does not match the sizes.
pub fn normalize(
    norm: &BatchNorm,
    x: &[f32],
    mean: &[f32],
    variance: &[f32],
    affine: Affine,
    activation: Activation,
    y: &mut [f32],
) {
    norm.check(x, mean, variance, affine);
    check_len("the output", y.len(), x.len());
    if x.is_empty() {
        return;
    }
    let (threads, part, block) = norm.parts();
    let factors = norm.factors(variance, affine.gamma);
    let zeros = if affine.beta.is_none() { vec![0.0; norm.channels] } else { Vec::new() };
    let beta = affine.beta.unwrap_or(&zeros);
    let tasks = x.chunks(part * norm.channels).zip(y.chunks_mut(part * norm.channels)).collect();
    parallel::each(threads, tasks, |(x, y): (&[f32], &mut [f32])| {
        for (x, y) in x.chunks(block * norm.channels).zip(y.chunks_mut(block * norm.channels)) {
            scale_rows(x, mean, &factors, beta, y);
            activation.apply(y);
        }
    });
}

/// A normalization by fixed means and variances, with its activation.
#[derive(Clone, Debug)]
pub struct PreparedNormalization {
    mean: Vec<f32>,
    factors: Vec<f32>,
    beta: Vec<f32>,
    activation: Activation,
}

impl PreparedNormalization {
    /// [`normalize`] with this mean and variance; `norm.rows` is ignored.
    ///
    /// # Panics
    /// If a slice's length does not match the sizes.
    pub fn new(norm: &BatchNorm, mean: &[f32], variance: &[f32], affine: Affine, activation: Activation) -> Self {
        BatchNorm { rows: 0, ..*norm }.check(&[], mean, variance, affine);
        Self {
            mean: mean.to_vec(),
            factors: norm.factors(variance, affine.gamma),
            beta: affine.beta.map_or_else(|| vec![0.0; norm.channels], <[f32]>::to_vec),
            activation,
        }
    }

    /// `activation((x − mean) · factor)`.
    ///
    /// # Panics
    /// If the numbers of factors and means differ.
    pub fn with_factors(mean: Vec<f32>, factors: Vec<f32>, activation: Activation) -> Self {
        check_len("the factors", factors.len(), mean.len());
        Self { beta: vec![0.0; mean.len()], mean, factors, activation }
    }

    /// Values of a row.
    pub fn channels(&self) -> usize {
        self.mean.len()
    }

    /// Normalizes rows in place, on the calling thread.
    pub fn apply(&self, rows: &mut [f32]) {
        scale_rows_in_place(&self.mean, &self.factors, &self.beta, rows);
        self.activation.apply(rows);
    }
}

/// Training's forward pass: [`statistics`] of the batch, then [`normalize`] by them.
///
/// # Panics
/// If a slice's length does not match the sizes.
pub fn forward(
    norm: &BatchNorm,
    x: &[f32],
    affine: Affine,
    activation: Activation,
    y: &mut [f32],
    mean: &mut [f32],
    variance: &mut [f32],
) {
    statistics(norm, x, mean, variance);
    normalize(norm, x, mean, variance, affine, activation, y);
}

/// The gradients of training's forward pass: `dgamma = Σ dz·x̂`, `dbeta = Σ dz`,
/// `dx = gamma / √(variance + ε) · (dz - dbeta / rows - x̂ · dgamma / rows)`, with x̂ the normalized input and dz the
/// gradient before the activation. `mean` and `variance` are those of the batch. `gradient` holds the gradient of the
/// output and is overwritten in place with that of the input; the others are overwritten. The output `y` is read only
/// if the activation is neither linear nor relu, and can be empty otherwise.
///
/// # Panics
/// If a slice's length does not match the sizes, or if the activation's gradient does not follow from its output.
#[allow(clippy::too_many_arguments)]
pub fn backward(
    norm: &BatchNorm,
    x: &[f32],
    (mean, variance): (&[f32], &[f32]),
    affine: Affine,
    (activation, y): (Activation, &[f32]),
    gradient: &mut [f32],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    norm.check(x, mean, variance, affine);
    check_len("the gradient", gradient.len(), x.len());
    check_len("gamma's gradient", dgamma.len(), norm.channels);
    check_len("beta's gradient", dbeta.len(), norm.channels);
    dgamma.fill(0.0);
    dbeta.fill(0.0);
    if x.is_empty() {
        return;
    }
    if !matches!(activation, Activation::Linear | Activation::Relu) {
        super::activation::backward(activation, y, gradient);
    }
    let channels = norm.channels;
    let (threads, part, block) = norm.parts();
    let inverse = norm.factors(variance, None);
    let factors = norm.factors(variance, affine.gamma);
    let zeros = vec![0.0; if affine.beta.is_none() { channels } else { 0 }];
    // Decides where relu passes gradients: recomputed, which is faster than reading the outputs.
    let z = Scaled { mean, factors: &factors, beta: affine.beta.unwrap_or(&zeros) };
    let relu = activation == Activation::Relu;
    scratch::with_zeros(norm.rows.div_ceil(part) * 2 * channels, |sums| {
        let tasks: Vec<_> = x
            .chunks(part * channels)
            .zip(gradient.chunks(part * channels))
            .zip(sums.chunks_mut(2 * channels))
            .collect();
        parallel::each(threads, tasks, |((x, dy), sums)| {
            let (dgamma, dbeta) = sums.split_at_mut(channels);
            scratch::with(2 * channels, |own| {
                let (own_dgamma, own_dbeta) = own.split_at_mut(channels);
                for (x, dy) in x.chunks(block * channels).zip(dy.chunks(block * channels)) {
                    own_dgamma.fill(0.0);
                    own_dbeta.fill(0.0);
                    if relu {
                        add_gradients::<Relu>(x, z, dy, own_dgamma, own_dbeta);
                    } else {
                        add_gradients::<Linear>(x, z, dy, own_dgamma, own_dbeta);
                    }
                    parallel::add(own_dgamma, dgamma);
                    parallel::add(own_dbeta, dbeta);
                }
            });
        });
        for sums in sums.chunks(2 * channels) {
            parallel::add(&sums[..channels], dgamma);
            parallel::add(&sums[channels..], dbeta);
        }
    });
    dgamma.iter_mut().zip(&inverse).for_each(|(dgamma, inverse)| *dgamma *= inverse);
    let per_row = 1.0 / norm.rows as f32;
    let mean_dbeta: Vec<f32> = dbeta.iter().map(|v| v * per_row).collect();
    let slope: Vec<f32> = dgamma.iter().zip(&inverse).map(|(v, inverse)| v * per_row * inverse).collect();
    let tasks = x.chunks(part * channels).zip(gradient.chunks_mut(part * channels)).collect();
    parallel::each(threads, tasks, |(x, gradient): (&[f32], &mut [f32])| {
        if relu {
            input_gradient::<Relu>(x, z, &slope, &mean_dbeta, gradient);
        } else {
            input_gradient::<Linear>(x, z, &slope, &mean_dbeta, gradient);
        }
    });
}

/// Normalization of a channel's values: `(x - mean) · factor + beta`.
#[derive(Clone, Copy)]
struct Scaled<'a> {
    mean: &'a [f32],
    factors: &'a [f32],
    beta: &'a [f32],
}

/// An activation's gate on gradients.
trait Gate {
    /// The gradient before the activation, given the normalized value `z`, which is computed only if it matters.
    fn through(z: impl FnOnce() -> f32, gradient: f32) -> f32;
}

struct Linear;
struct Relu;

impl Gate for Linear {
    #[inline(always)]
    fn through(_: impl FnOnce() -> f32, gradient: f32) -> f32 {
        gradient
    }
}

impl Gate for Relu {
    #[inline(always)]
    fn through(z: impl FnOnce() -> f32, gradient: f32) -> f32 {
        if z() <= 0.0 { 0.0 } else { gradient }
    }
}

simd! {
    /// Adds the squared differences of each row from the mean.
    fn add_squares<I>(x: &[f32], mean: &[f32], squares: &mut [f32]) {
        let channels = squares.len();
        let mean = &mean[..channels];
        for x in x.chunks_exact(channels) {
            for i in 0..channels {
                let apart = x[i] - mean[i];
                squares[i] = I::mul_add(apart, apart, squares[i]);
            }
        }
    }
}

simd! {
    fn scale_rows<I>(x: &[f32], mean: &[f32], factors: &[f32], beta: &[f32], y: &mut [f32]) {
        let channels = factors.len();
        let (mean, beta) = (&mean[..channels], &beta[..channels]);
        for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
            for i in 0..channels {
                y[i] = I::mul_add(x[i] - mean[i], factors[i], beta[i]);
            }
        }
    }
}

simd! {
    fn scale_rows_in_place<I>(mean: &[f32], factors: &[f32], beta: &[f32], y: &mut [f32]) {
        let channels = factors.len();
        let (mean, beta) = (&mean[..channels], &beta[..channels]);
        for y in y.chunks_exact_mut(channels.max(1)) {
            for i in 0..channels {
                y[i] = I::mul_add(y[i] - mean[i], factors[i], beta[i]);
            }
        }
    }
}

simd! {
    /// Adds the gradients of beta, and those of gamma without the division by the standard deviation.
    fn add_gradients<I, G: Gate>(x: &[f32], z: Scaled, dy: &[f32], dgamma: &mut [f32], dbeta: &mut [f32]) {
        let channels = dbeta.len();
        let (mean, factors, beta) = (&z.mean[..channels], &z.factors[..channels], &z.beta[..channels]);
        let dgamma = &mut dgamma[..channels];
        for (x, dy) in x.chunks_exact(channels).zip(dy.chunks_exact(channels)) {
            for i in 0..channels {
                let apart = x[i] - mean[i];
                let dz = G::through(|| I::mul_add(apart, factors[i], beta[i]), dy[i]);
                dbeta[i] += dz;
                dgamma[i] = I::mul_add(apart, dz, dgamma[i]);
            }
        }
    }
}

simd! {
    fn input_gradient<I, G: Gate>(x: &[f32], z: Scaled, slope: &[f32], mean_dbeta: &[f32], gradient: &mut [f32]) {
        let channels = slope.len();
        let (mean, factors, beta) = (&z.mean[..channels], &z.factors[..channels], &z.beta[..channels]);
        let mean_dbeta = &mean_dbeta[..channels];
        for (x, gradient) in x.chunks_exact(channels).zip(gradient.chunks_exact_mut(channels)) {
            for i in 0..channels {
                let apart = x[i] - mean[i];
                let dz = G::through(|| I::mul_add(apart, factors[i], beta[i]), gradient[i]);
                gradient[i] = (I::mul_add(-apart, slope[i], dz) - mean_dbeta[i]) * factors[i];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::simd::{at_every_level, test_lock};
    use crate::testing::{assert_close, values};

    const ACTIVATIONS: [Activation; 3] = [Activation::Linear, Activation::Relu, Activation::Tanh];

    fn check(rows: usize, channels: usize, activation: Activation, affine: bool, apart: f32) {
        let norm = BatchNorm { rows, channels, epsilon: 1e-3 };
        // Channels differ in their distance from zero.
        let x: Vec<f32> =
            values(rows * channels, 1).iter().enumerate().map(|(i, v)| v + apart * (i % channels % 3) as f32).collect();
        let (gamma, beta, dy) = (values(channels, 2), values(channels, 3), values(x.len(), 4));
        let affine = if affine { Affine { gamma: Some(&gamma), beta: Some(&beta) } } else { Affine::default() };
        let (mut y, mut dx) = (vec![7.5; x.len()], dy.clone());
        let [mut mean, mut variance, mut dgamma, mut dbeta] = [0; 4].map(|_| vec![7.5; channels]);
        forward(&norm, &x, affine, activation, &mut y, &mut mean, &mut variance);
        backward(&norm, &x, (&mean, &variance), affine, (activation, &y), &mut dx, &mut dgamma, &mut dbeta);

        let channel = |c: usize| (0..rows).map(move |r| r * channels + c);
        let n = rows as f64;
        let [mut emean, mut evariance, mut edgamma, mut edbeta] = [0; 4].map(|_| vec![0.0; channels]);
        let (mut ey, mut edx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        for c in 0..channels {
            emean[c] = channel(c).map(|i| x[i] as f64).sum::<f64>() / n;
            evariance[c] = channel(c).map(|i| (x[i] as f64 - emean[c]).powi(2)).sum::<f64>() / n;
            let inverse = 1.0 / (evariance[c] + norm.epsilon as f64).sqrt();
            let hat = |i: usize| (x[i] as f64 - emean[c]) * inverse;
            let gamma = affine.gamma.map_or(1.0, |g| g[c] as f64);
            for i in channel(c) {
                let z = gamma * hat(i) + affine.beta.map_or(0.0, |b| b[c] as f64);
                ey[i] = match activation {
                    Activation::Tanh => z.tanh(),
                    Activation::Relu => z.max(0.0),
                    _ => z,
                };
            }
            let dz = |i: usize| {
                let slope = match activation {
                    Activation::Tanh => 1.0 - ey[i] * ey[i],
                    // Where rounding decides, the kernel's side is accepted.
                    Activation::Relu => f64::from(y[i] > 0.0),
                    _ => 1.0,
                };
                dy[i] as f64 * slope
            };
            edbeta[c] = channel(c).map(dz).sum();
            edgamma[c] = channel(c).map(|i| dz(i) * hat(i)).sum();
            for i in channel(c) {
                edx[i] = gamma * inverse * (dz(i) - edbeta[c] / n - hat(i) * edgamma[c] / n);
            }
        }
        for (what, actual, expected) in [
            ("mean", &mean, &emean),
            ("variance", &variance, &evariance),
            ("y", &y, &ey),
            ("dgamma", &dgamma, &edgamma),
            ("dbeta", &dbeta, &edbeta),
            ("dx", &dx, &edx),
        ] {
            assert_close(what, actual, expected);
        }
    }

    proptest! {
        #[test]
        fn any_sizes_agree_with_double_precision(rows in 8..300usize, channels in 1..40usize, kind in 0..6usize) {
            check(rows, channels, ACTIVATIONS[kind % 3], kind > 2, 2.0);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn large_sizes_agree_at_every_level() {
        at_every_level(|_| {
            // So far from zero that cancellation in the variance would show.
            check(5000, 33, Activation::Tanh, true, 30.0);
            check(5000, 32, Activation::Relu, true, 30.0);
            check(100_000, 1, Activation::Linear, true, 30.0);
        });
    }

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn the_same_call_gives_the_same_bits() {
        let _alone = test_lock();
        let norm = BatchNorm { rows: 9000, channels: 16, epsilon: 1e-3 };
        let x = values(norm.rows * 16, 1);
        let run = || {
            let (mut mean, mut variance) = (vec![0.0; 16], vec![0.0; 16]);
            statistics(&norm, &x, &mut mean, &mut variance);
            (mean, variance)
        };
        assert_eq!(run(), run());
    }
}
