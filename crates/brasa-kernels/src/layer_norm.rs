//! Layer normalization: each row with its own mean and variance, or with its own mean square alone.

use super::parallel;
use super::simd::simd;
use super::window::check_len;

/// Statistics of each row that the forward pass saves for the backward pass.
#[derive(Debug)]
pub struct Statistics<T> {
    /// The means.
    pub mean: T,
    /// `1 / √(variance + epsilon)`.
    pub factor: T,
}

/// `y = (x − mean) · factor · gamma + beta` for each row of `width` values; every value of `y` and of the statistics is
/// written. The variance is the mean of the squared deviations from the mean.
///
/// # Panics
/// If a slice's length does not match the others.
pub fn forward(
    width: usize,
    epsilon: f32,
    x: &[f32],
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    y: &mut [f32],
    statistics: Statistics<&mut [f32]>,
) {
    let rows = check(width, x, y);
    check_weights(width, gamma, beta);
    check_len("the means", statistics.mean.len(), rows);
    check_len("the factors", statistics.factor.len(), rows);
    if x.is_empty() {
        return;
    }
    let (threads, step) = parallel::pass(x.len());
    let step = step.div_ceil(width);
    let of_rows = statistics.mean.chunks_mut(step).zip(statistics.factor.chunks_mut(step));
    let tasks: Vec<_> = y.chunks_mut(step * width).zip(x.chunks(step * width)).zip(of_rows).collect();
    parallel::each(threads, tasks, |((y, x), (mean, factor))| {
        normalize(width, epsilon, x, (gamma, beta), y, mean, factor);
    });
}

/// [`forward`] on the calling thread, without saving the statistics for a backward pass.
///
/// # Panics
/// As [`forward`].
pub fn forward_here(width: usize, epsilon: f32, x: &[f32], gamma: Option<&[f32]>, beta: Option<&[f32]>, y: &mut [f32]) {
    check(width, x, y);
    check_weights(width, gamma, beta);
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        normalize(width, epsilon, x, (gamma, beta), y, &mut [0.0], &mut [0.0]);
    }
}

/// `y = x / √(mean of x² + epsilon) · gamma` for each row of `width` values, on the calling thread. Every value of `y`
/// is written.
///
/// # Panics
/// As [`forward`].
pub fn rms_forward_here(width: usize, epsilon: f32, x: &[f32], gamma: &[f32], y: &mut [f32]) {
    check(width, x, y);
    check_weights(width, Some(gamma), None);
    normalize_by_square(width, epsilon, x, gamma, y);
}

/// Computes from `dy`, the gradient of the output, the gradients of the input and, where present, of gamma and beta;
/// every value is written.
///
/// # Panics
/// If a slice's length does not match the others.
pub fn backward(
    width: usize,
    x: &[f32],
    gamma: Option<&[f32]>,
    statistics: Statistics<&[f32]>,
    dy: &[f32],
    dx: &mut [f32],
    (dgamma, dbeta): (&mut [f32], &mut [f32]),
) {
    let rows = check(width, x, dx);
    check_weights(width, gamma, None);
    check_len("the gradient of the output", dy.len(), x.len());
    check_len("the means", statistics.mean.len(), rows);
    check_len("the factors", statistics.factor.len(), rows);
    check_len("the gradient of gamma", dgamma.len(), width);
    check_len("the gradient of beta", dbeta.len(), width);
    dgamma.fill(0.0);
    dbeta.fill(0.0);
    if x.is_empty() {
        return;
    }
    let (threads, step) = parallel::pass(x.len());
    let step = step.div_ceil(width);
    let of_rows = statistics.mean.chunks(step).zip(statistics.factor.chunks(step));
    let tasks: Vec<_> =
        dx.chunks_mut(step * width).zip(x.chunks(step * width).zip(dy.chunks(step * width))).zip(of_rows).collect();
    let sums = parallel::each(threads, tasks, |((dx, (x, dy)), (mean, factor))| {
        let mut sums = vec![0.0; 2 * width];
        let (dgamma, dbeta) = sums.split_at_mut(width);
        gradient(width, x, gamma, (mean, factor), dy, dx, (dgamma, dbeta));
        sums
    });
    for part in sums {
        parallel::add(&part[..width], dgamma);
        parallel::add(&part[width..], dbeta);
    }
}

/// The number of rows.
fn check(width: usize, x: &[f32], y: &[f32]) -> usize {
    assert!(width > 0 && x.len().is_multiple_of(width), "values must be whole rows of {width}");
    check_len("the output", y.len(), x.len());
    x.len() / width
}

fn check_weights(width: usize, gamma: Option<&[f32]>, beta: Option<&[f32]>) {
    [gamma, beta].into_iter().flatten().for_each(|weight| check_len("the weights", weight.len(), width));
}

/// Sum in sixteen independent accumulators, so that it can be vectorized.
#[inline(always)]
fn sum(row: &[f32], value: impl Fn(usize, f32) -> f32) -> f32 {
    const STRANDS: usize = 16;
    let mut strands = [0.0f32; STRANDS];
    let whole = row.len() - row.len() % STRANDS;
    for at in (0..whole).step_by(STRANDS) {
        for j in 0..STRANDS {
            strands[j] += value(at + j, row[at + j]);
        }
    }
    let rest: f32 = row[whole..].iter().enumerate().map(|(j, number)| value(whole + j, *number)).sum();
    strands.iter().sum::<f32>() + rest
}

simd! {
    fn normalize<I>(
        width: usize, epsilon: f32, x: &[f32], weights: (Option<&[f32]>, Option<&[f32]>), y: &mut [f32],
        mean: &mut [f32], factor: &mut [f32],
    ) {
        let count = 1.0 / width as f32;
        let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width));
        for ((x, y), (mean, factor)) in rows.zip(mean.iter_mut().zip(factor)) {
            let centre = sum(x, |_, x| x) * count;
            let variance = sum(x, |_, x| (x - centre) * (x - centre)) * count;
            let scale = 1.0 / (variance + epsilon).sqrt();
            (*mean, *factor) = (centre, scale);
            match weights {
                (Some(gamma), Some(beta)) => {
                    let (gamma, beta) = (&gamma[..width], &beta[..width]);
                    for j in 0..width {
                        y[j] = I::mul_add((x[j] - centre) * scale, gamma[j], beta[j]);
                    }
                }
                (gamma, beta) => {
                    for j in 0..width {
                        let gamma = gamma.map_or(1.0, |gamma| gamma[j]);
                        y[j] = (x[j] - centre) * scale * gamma + beta.map_or(0.0, |beta| beta[j]);
                    }
                }
            }
        }
    }
}

simd! {
    fn normalize_by_square<I>(width: usize, epsilon: f32, x: &[f32], gamma: &[f32], y: &mut [f32]) {
        let count = 1.0 / width as f32;
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let square = sum(x, |_, x| x * x) * count;
            let factor = 1.0 / (square + epsilon).sqrt();
            for ((y, x), gamma) in y.iter_mut().zip(x).zip(gamma) {
                *y = *x * factor * *gamma;
            }
        }
    }
}

simd! {
    /// `dx = factor · (g − mean(g) − n · mean(g·n))` with `g = dy · gamma` and `n` the normalized values; adds to the
    /// gradients of the weights.
    fn gradient<I>(
        width: usize, x: &[f32], gamma: Option<&[f32]>, statistics: (&[f32], &[f32]), dy: &[f32], dx: &mut [f32],
        sums: (&mut [f32], &mut [f32]),
    ) {
        let count = 1.0 / width as f32;
        let (dgamma, dbeta) = (&mut sums.0[..width], &mut sums.1[..width]);
        let rows = x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
        for (((x, dy), dx), (mean, factor)) in rows.zip(statistics.0.iter().zip(statistics.1)) {
            for j in 0..width {
                dgamma[j] = I::mul_add(dy[j], (x[j] - mean) * factor, dgamma[j]);
                dbeta[j] += dy[j];
            }
            match gamma {
                Some(gamma) => {
                    let gamma = &gamma[..width];
                    for j in 0..width {
                        dx[j] = dy[j] * gamma[j];
                    }
                }
                None => dx.copy_from_slice(dy),
            }
            let level = sum(dx, |_, g| g) * count;
            let slope = sum(dx, |j, g| g * ((x[j] - mean) * factor)) * count;
            for j in 0..width {
                let normalized = (x[j] - mean) * factor;
                dx[j] = factor * (dx[j] - level - normalized * slope);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::simd::at_every_level;
    use crate::testing::{assert_close, double, values};

    const EPSILON: f32 = 1e-3;

    fn reference(width: usize, x: &[f64], gamma: &[f64], beta: &[f64]) -> Vec<f64> {
        x.chunks(width)
            .flat_map(|row| {
                let mean = row.iter().sum::<f64>() / width as f64;
                let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
                let factor = 1.0 / (variance + f64::from(EPSILON)).sqrt();
                row.iter().zip(gamma).zip(beta).map(move |((x, gamma), beta)| (x - mean) * factor * gamma + beta)
            })
            .collect()
    }

    /// Outputs by the definition; gradients by finite differences.
    fn check(rows: usize, width: usize, weighted: bool) {
        let x: Vec<f32> = values(rows * width, 1).iter().map(|x| x * 3.0 + 1.0).collect();
        let (gamma, beta, dy) = match weighted {
            true => (values(width, 2), values(width, 3), values(x.len(), 4)),
            false => (vec![1.0; width], vec![0.0; width], values(x.len(), 4)),
        };
        let given = |weight| Some(weight).filter(|_| weighted);
        let (mut y, mut mean, mut factor) = (vec![7.5; x.len()], vec![7.5; rows], vec![7.5; rows]);
        let statistics = Statistics { mean: &mut mean[..], factor: &mut factor[..] };
        forward(width, EPSILON, &x, given(&gamma[..]), given(&beta[..]), &mut y, statistics);
        let exact = [double(&x), double(&gamma), double(&beta)];
        assert_close("y", &y, &reference(width, &exact[0], &exact[1], &exact[2]));

        let (mut dx, mut dgamma, mut dbeta) = (vec![7.5; x.len()], vec![7.5; width], vec![7.5; width]);
        let statistics = Statistics { mean: &mean[..], factor: &factor[..] };
        backward(width, &x, given(&gamma[..]), statistics, &dy, &mut dx, (&mut dgamma, &mut dbeta));
        for (which, gradient) in [&dx, &dgamma, &dbeta].into_iter().enumerate() {
            let scale = gradient.iter().fold(1e-2, |most: f64, v| most.max(f64::from(v.abs())));
            for i in (0..gradient.len()).step_by((gradient.len() / 7).max(1)) {
                let moved = |by: f64| {
                    let mut exact = exact.clone();
                    exact[which][i] += by;
                    let y = reference(width, &exact[0], &exact[1], &exact[2]);
                    y.iter().zip(&dy).map(|(y, dy)| y * f64::from(*dy)).sum::<f64>()
                };
                let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                let actual = f64::from(gradient[i]);
                assert!((actual - slope).abs() < 2e-4 * scale, "gradient {which} at {i}: {actual}, not {slope}");
            }
        }
    }

    /// The outputs of the normalization by the mean square, by the definition.
    fn check_rms(rows: usize, width: usize) {
        let (x, gamma) = (values(rows * width, 1), values(width, 2));
        let mut y = vec![7.5; x.len()];
        rms_forward_here(width, EPSILON, &x, &gamma, &mut y);
        let (x, gamma) = (double(&x), double(&gamma));
        let expected = x.chunks(width).flat_map(|row| {
            let square = row.iter().map(|x| x * x).sum::<f64>() / width as f64;
            let factor = 1.0 / (square + f64::from(EPSILON)).sqrt();
            row.iter().zip(&gamma).map(move |(x, gamma)| x * factor * gamma)
        });
        assert_close("y", &y, &expected.collect::<Vec<_>>());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 60 }))]
        #[test]
        fn any_sizes_agree_with_double_precision(rows in 0..20usize, width in 1..70usize, weighted: bool) {
            check(rows, width, weighted);
            check_rms(rows, width);
        }
    }

    #[test]
    fn every_level_agrees() {
        let rows = if cfg!(miri) { 3 } else { 900 };
        at_every_level(|_| {
            check(rows, 50, true);
            check_rms(rows, 50);
        });
    }
}
