//! Softmax over the last axis, alone and together with cross-entropy.

use super::math::exp;
use super::parallel;
use super::simd::simd;
use super::window::{check_len, size_of};

/// `y` = the softmax of each row of `width` values. Every value of `y` is written.
///
/// # Panics
/// If lengths differ or are no multiple of `width`.
pub fn forward(width: usize, x: &[f32], y: &mut [f32]) {
    check_len("the output", y.len(), x.len());
    each_row(width, y, |first, y| {
        y.copy_from_slice(&x[first..first + y.len()]);
        softmax_rows(width, y);
    });
}

/// Replaces each row of `width` values by its softmax, on the calling thread.
///
/// # Panics
/// If the values are not whole rows.
pub fn softmax_in_place(width: usize, values: &mut [f32]) {
    assert!(width > 0 && values.len().is_multiple_of(width), "values must be whole rows of {width}");
    softmax_rows(width, values);
}

/// `dx = y · (dy - Σ dy·y)` in each row, given the softmax `y` and the gradient `dy` of it. Every value of `dx` is
/// written.
///
/// # Panics
/// If lengths differ or are no multiple of `width`.
pub fn backward(width: usize, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    check_len("the output", y.len(), dx.len());
    check_len("the gradient of the output", dy.len(), dx.len());
    each_row(width, dx, |first, dx| {
        let range = first..first + dx.len();
        gradient_rows(width, &y[range.clone()], &dy[range], dx);
    });
}

/// The targets of a batch.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// The class index of each row.
    Classes(&'a [u32]),
    /// Each row's probabilities of the classes, which need not add up to 1.
    Probabilities(&'a [f32]),
}

/// Softmax and cross-entropy fused, over rows of `classes` values each: `losses[i] = -Σ t·ln softmax(logits)`, and
/// `gradient = (softmax(logits)·Σt - t) · scale`, the gradient of `scale · Σ losses` by the logits. A class index out
/// of range makes the loss and the gradient of its row NaN. Every value is written.
///
/// # Panics
/// If a slice's length does not match the others.
pub fn cross_entropy(
    classes: usize,
    logits: &[f32],
    targets: Targets,
    scale: f32,
    losses: &mut [f32],
    gradient: &mut [f32],
) {
    let rows = losses.len();
    let all = size_of(&[rows, classes]);
    check_len("the logits", logits.len(), all);
    check_len("the gradient", gradient.len(), all);
    match targets {
        Targets::Classes(targets) => check_len("the targets", targets.len(), rows),
        Targets::Probabilities(targets) => check_len("the targets", targets.len(), all),
    }
    if classes == 0 {
        losses.fill(0.0);
        return;
    }
    let (threads, step) = parallel::pass(all);
    let rows = step.div_ceil(classes);
    let tasks = losses.chunks_mut(rows).zip(gradient.chunks_mut(rows * classes)).enumerate().collect();
    parallel::each(threads, tasks, |(part, (losses, gradient)): (usize, (&mut [f32], &mut [f32]))| {
        let first = part * rows;
        gradient.copy_from_slice(&logits[first * classes..][..gradient.len()]);
        match targets {
            Targets::Classes(targets) => {
                class_rows(classes, &logits[first * classes..], &targets[first..], scale, losses, gradient);
            }
            Targets::Probabilities(targets) => {
                let range = first * classes..first * classes + gradient.len();
                probability_rows(classes, &logits[range.clone()], &targets[range], scale, losses, gradient);
            }
        }
    });
}

/// Shares rows between threads: `work` gets the offset of its first value, and the values of some rows.
fn each_row(width: usize, values: &mut [f32], work: impl Fn(usize, &mut [f32]) + Sync + Send) {
    if values.is_empty() {
        return;
    }
    assert!(width > 0 && values.len().is_multiple_of(width), "values must be whole rows of {width}");
    let (threads, step) = parallel::pass(values.len());
    let step = step.div_ceil(width) * width;
    let tasks = values.chunks_mut(step).enumerate().collect();
    parallel::each(threads, tasks, |(part, values): (usize, &mut [f32])| work(part * step, values));
}

/// Replaces a row by its softmax; returns its maximum, and the logarithm of the sum of the exponentials of values less
/// the maximum.
#[inline(always)]
fn softmax_row<I: super::simd::Isa>(row: &mut [f32]) -> (f32, f32) {
    let greatest = greatest(row);
    for value in row.iter_mut() {
        *value = exp::<I>(*value - greatest);
    }
    let total = sum(row);
    let factor = 1.0 / total;
    for value in row.iter_mut() {
        *value *= factor;
    }
    (greatest, total.ln())
}

/// The maximum, in sixteen independent accumulators, so that it can be vectorized.
#[inline(always)]
fn greatest(row: &[f32]) -> f32 {
    let mut strands = [f32::NEG_INFINITY; 16];
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let chunks = row.chunks_exact(16);
    let rest = chunks.remainder().iter().fold(f32::NEG_INFINITY, |a, b| greater(a, *b));
    for chunk in chunks {
        for j in 0..16 {
            strands[j] = greater(strands[j], chunk[j]);
        }
    }
    strands.iter().fold(rest, |a, b| greater(a, *b))
}

/// Sum in sixteen independent accumulators, so that it can be vectorized.
#[inline(always)]
fn sum(row: &[f32]) -> f32 {
    let mut strands = [0.0f32; 16];
    let chunks = row.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for j in 0..16 {
            strands[j] += chunk[j];
        }
    }
    strands.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

simd! {
    pub(super) fn softmax_rows<I>(width: usize, rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(width) {
            softmax_row::<I>(row);
        }
    }
}

simd! {
    pub(super) fn gradient_rows<I>(width: usize, y: &[f32], dy: &[f32], dx: &mut [f32]) {
        let rows = y.chunks_exact(width).zip(dy.chunks_exact(width));
        for ((y, dy), dx) in rows.zip(dx.chunks_exact_mut(width)) {
            for j in 0..width {
                dx[j] = y[j] * dy[j];
            }
            let total = sum(dx);
            for j in 0..width {
                dx[j] = y[j] * (dy[j] - total);
            }
        }
    }
}

simd! {
    fn class_rows<I>(classes: usize, logits: &[f32], targets: &[u32], scale: f32, losses: &mut [f32], gradient: &mut [f32]) {
        let rows = gradient.chunks_exact_mut(classes).zip(logits.chunks_exact(classes));
        for (((row, logits), target), loss) in rows.zip(targets).zip(losses) {
            let (greatest, ln_total) = softmax_row::<I>(row);
            let target = *target as usize;
            if target >= classes {
                *loss = f32::NAN;
                row.fill(f32::NAN);
                continue;
            }
            *loss = ln_total - (logits[target] - greatest);
            row[target] -= 1.0;
            for value in row.iter_mut() {
                *value *= scale;
            }
        }
    }
}

simd! {
    fn probability_rows<I>(classes: usize, logits: &[f32], targets: &[f32], scale: f32, losses: &mut [f32], gradient: &mut [f32]) {
        let rows = gradient.chunks_exact_mut(classes).zip(logits.chunks_exact(classes));
        for (((row, logits), targets), loss) in rows.zip(targets.chunks_exact(classes)).zip(losses) {
            let (greatest, ln_total) = softmax_row::<I>(row);
            let mass = sum(targets);
            let mut total = 0.0;
            for (target, logit) in targets.iter().zip(logits) {
                // A target of zero contributes nothing, even if the logarithm is infinite.
                total += if *target == 0.0 { 0.0 } else { *target * (ln_total - (*logit - greatest)) };
            }
            *loss = total;
            for (value, target) in row.iter_mut().zip(targets) {
                *value = (*value * mass - *target) * scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::simd::at_every_level;
    use crate::testing::{assert_close, values};

    fn reference(width: usize, x: &[f32]) -> Vec<f64> {
        x.chunks(width)
            .flat_map(|row| {
                let total: f64 = row.iter().map(|v| (*v as f64).exp()).sum();
                row.iter().map(move |v| (*v as f64).exp() / total)
            })
            .collect()
    }

    fn check(rows: usize, width: usize) {
        let x: Vec<f32> = values(rows * width, 1).iter().map(|v| v * 9.0).collect();
        let dy = values(x.len(), 2);
        let (mut y, mut dx) = (vec![7.5; x.len()], vec![7.5; x.len()]);
        forward(width, &x, &mut y);
        backward(width, &y, &dy, &mut dx);
        let expected = reference(width, &x);
        assert_close("y", &y, &expected);
        let gradient: Vec<f64> = (0..x.len())
            .map(|i| {
                let row = i / width * width..i / width * width + width;
                let dot: f64 = row.map(|j| expected[j] * dy[j] as f64).sum();
                expected[i] * (dy[i] as f64 - dot)
            })
            .collect();
        assert_close("dx", &dx, &gradient);

        let classes: Vec<u32> = (0..rows).map(|i| (i * 7 % width) as u32).collect();
        let one_hot: Vec<f32> = (0..x.len()).map(|i| (classes[i / width] as usize == i % width) as u8 as f32).collect();
        let soft: Vec<f32> = values(x.len(), 3).iter().map(|v| v.abs()).collect();
        let scale = 0.25;
        for (targets, dense) in [
            (Targets::Classes(&classes), &one_hot),
            (Targets::Probabilities(&one_hot), &one_hot),
            (Targets::Probabilities(&soft), &soft),
        ] {
            let (mut losses, mut gradient) = (vec![7.5; rows], vec![7.5; x.len()]);
            cross_entropy(width, &x, targets, scale, &mut losses, &mut gradient);
            let row_sum = |f: &dyn Fn(usize) -> f64, row: usize| (row * width..(row + 1) * width).map(f).sum::<f64>();
            let expected_losses: Vec<f64> =
                (0..rows).map(|row| row_sum(&|i| -(dense[i] as f64) * expected[i].ln(), row)).collect();
            let expected_gradient: Vec<f64> = (0..x.len())
                .map(|i| (expected[i] * row_sum(&|i| dense[i] as f64, i / width) - dense[i] as f64) * scale as f64)
                .collect();
            assert_close("losses", &losses, &expected_losses);
            assert_close("gradient", &gradient, &expected_gradient);
        }
    }

    proptest! {
        #[test]
        fn any_sizes_agree_with_double_precision(rows in 0..40usize, width in 1..70usize) {
            check(rows, width);
        }
    }

    #[test]
    fn large_sizes_agree_at_every_level() {
        let rows = if cfg!(miri) { 7 } else { 700 };
        at_every_level(|_| check(rows, 101));
    }

    #[test]
    fn extreme_logits_stay_finite() {
        let (mut losses, mut gradient) = ([0.0; 2], [0.0; 4]);
        cross_entropy(2, &[1000.0, -1000.0, 1e30, -1e30], Targets::Classes(&[0, 1]), 1.0, &mut losses, &mut gradient);
        assert_eq!((losses[0], gradient), (0.0, [0.0, 0.0, 1.0, -1.0]));
        assert!(losses[1].is_finite() && losses[1] > 1e30);
    }

    #[test]
    fn a_class_out_of_range_makes_only_its_row_nan() {
        let (mut losses, mut gradient) = ([0.0; 2], [0.0; 4]);
        cross_entropy(2, &[0.0; 4], Targets::Classes(&[2, 0]), 1.0, &mut losses, &mut gradient);
        assert!(losses[0].is_nan() && gradient[..2].iter().all(|g| g.is_nan()));
        assert!(losses[1].is_finite() && gradient[2..] == [-0.5, 0.5]);
    }
}
