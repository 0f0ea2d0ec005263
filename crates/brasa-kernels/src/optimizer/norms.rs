//! Optimizers whose steps depend on the norms of a weight and of its update: one pass computes both norms and updates
//! the state, another applies the step.

use super::super::parallel::{self, add, each};
use super::super::simd::simd;
use super::super::window::check_len;
use super::{update_with_one, update_with_two};

/// Values that are updated and then summed while they are in the cache.
const NEAR: usize = 2048;
/// Independent accumulators.
const LANES: usize = 16;

/// Lamb's settings for one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lamb {
    /// Step size.
    pub learning_rate: f32,
    /// `1 - β₁`: the weight of a new gradient in the mean of gradients.
    pub rate_1: f32,
    /// `1 - β₂`: the weight of its square in the mean of squares.
    pub rate_2: f32,
    /// `1 / (1 - β₁ᵗ)` in step t.
    pub unbiased_1: f32,
    /// `1 / (1 - β₂ᵗ)` in step t.
    pub unbiased_2: f32,
    /// Keeps the divisor away from zero.
    pub epsilon: f32,
    /// Means below this are set to zero.
    pub negligible: f32,
}

/// Adafactor's settings for one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adafactor {
    /// Step size, relative to the weight.
    pub learning_rate: f32,
    /// Weight of the old values in the running means.
    pub kept: f32,
    /// Added to squares.
    pub epsilon_1: f32,
    /// Lower bound of a weight's root mean square.
    pub epsilon_2: f32,
    /// Upper bound of an update's root mean square.
    pub clip_threshold: f32,
}

/// `m += (g - m)·(1 - β₁)`, `v += (g² - v)·(1 - β₂)`, `u = m̂ / (√v̂ + ε)` of the unbiased means, and
/// `w -= learning_rate · ‖w‖ / ‖u‖ · u`; where a norm is 0 their ratio is 1.
///
/// # Panics
/// If lengths differ.
pub fn lamb(settings: &Lamb, decay: f32, gradient: &[f32], weights: &mut [f32], m: &mut [f32], v: &mut [f32]) {
    check_len("the gradient", gradient.len(), weights.len());
    check_len("the mean", m.len(), weights.len());
    check_len("the mean of squares", v.len(), weights.len());
    let s = *settings;
    let change = |m: f32, v: f32| m * s.unbiased_1 / ((v * s.unbiased_2).sqrt() + s.epsilon);
    let (threads, step) = parallel::pass(weights.len());
    let state = m.chunks_mut(step).zip(v.chunks_mut(step));
    let tasks: Vec<_> = gradient.chunks(step).zip(weights.chunks(step)).zip(state).collect();
    let sums = each(threads, tasks, |((g, w), (m, v))| {
        let near = g.chunks(NEAR).zip(w.chunks(NEAR)).zip(m.chunks_mut(NEAR).zip(v.chunks_mut(NEAR)));
        total(near.map(|((g, w), (m, v))| {
            lamb_means(&s, g, m, v);
            squares(&change, w, m, v)
        }))
    });
    let [own, other] = total(sums.into_iter()).map(f64::sqrt);
    let own = own * (1.0 - f64::from(decay)).abs();
    let ratio = if own > 0.0 && other > 0.0 { own / other } else { 1.0 };
    let rate = (f64::from(s.learning_rate) * ratio) as f32;
    let formula = |_: f32, w: &mut f32, m: &mut f32, v: &mut f32| *w -= rate * change(*m, *v);
    update_with_two(decay, &formula, gradient, weights, m, v);
}

/// The step of a weight of `[matrices, rows, columns]`: running means of `g² + ε₁` over rows and over columns,
/// `v = row · column / mean(rows)`, `u = g / √v`, and
/// `w -= max(ε₂, rms(w)) · learning_rate · u / max(1, rms(u) / clip)`.
///
/// Without sizes the weight is a vector, and `v` is the running mean itself; rows and columns are unused.
///
/// # Panics
/// If lengths differ.
pub fn adafactor(
    settings: &Adafactor,
    decay: f32,
    sizes: Option<[usize; 3]>,
    gradient: &[f32],
    weights: &mut [f32],
    [rows, columns, v]: [&mut [f32]; 3],
) {
    check_len("the gradient", gradient.len(), weights.len());
    check_len("the mean of squares", v.len(), weights.len());
    if weights.is_empty() {
        return;
    }
    let sums = match sizes {
        None => vector_sums(settings, gradient, weights, v),
        Some([matrices, height, width]) => {
            check_len("the weight", weights.len(), matrices * height * width);
            check_len("the means of rows", rows.len(), matrices * height);
            check_len("the means of columns", columns.len(), matrices * width);
            let parts = gradient.chunks(height * width).zip(weights.chunks(height * width));
            let means = rows.chunks_mut(height).zip(columns.chunks_mut(width));
            total(parts.zip(means).zip(v.chunks_mut(height * width)).map(|(((g, w), (rows, columns)), v)| {
                move_means(settings, g, rows, columns);
                matrix_sums(g, w, rows, columns, v)
            }))
        }
    };
    let [own, change] = sums.map(|sum| (sum / weights.len() as f64).sqrt());
    let own = own * (1.0 - f64::from(decay)).abs();
    let excess = (change / f64::from(settings.clip_threshold)).max(1.0);
    let rate = (own.max(settings.epsilon_2.into()) * f64::from(settings.learning_rate) / excess) as f32;
    update_with_one(decay, &|g, w: &mut f32, v: &mut f32| *w -= rate * (g / v.sqrt()), gradient, weights, v);
}

/// Updates a vector's mean squares; returns the sums of the squares of the weights and of their updates.
fn vector_sums(settings: &Adafactor, gradient: &[f32], weights: &[f32], v: &mut [f32]) -> [f64; 2] {
    let (kept, epsilon) = (settings.kept, settings.epsilon_1);
    let (threads, step) = parallel::pass(weights.len());
    let tasks: Vec<_> = gradient.chunks(step).zip(weights.chunks(step)).zip(v.chunks_mut(step)).collect();
    let sums = each(threads, tasks, |((g, w), v)| {
        let near = g.chunks(NEAR).zip(w.chunks(NEAR)).zip(v.chunks_mut(NEAR));
        total(near.map(|((g, w), v)| {
            for (v, g) in v.iter_mut().zip(g) {
                *v = kept * *v + (1.0 - kept) * (g * g + epsilon);
            }
            squares(&relative, w, g, v)
        }))
    });
    total(sums.into_iter())
}

/// Updates the running means over rows and columns of a matrix.
fn move_means(settings: &Adafactor, gradient: &[f32], rows: &mut [f32], columns: &mut [f32]) {
    let (height, width) = (rows.len(), columns.len());
    let (kept, epsilon) = (settings.kept, settings.epsilon_1);
    let (threads, step) = parallel::pass(gradient.len());
    let together = step.div_ceil(width);
    let tasks: Vec<_> = gradient.chunks(together * width).zip(rows.chunks_mut(together)).collect();
    let sums = each(threads, tasks, |(g, rows)| {
        let mut sums = vec![0.0; width];
        for (g, row) in g.chunks(width).zip(rows) {
            let sum = add_squares(epsilon, g, &mut sums);
            *row = kept * *row + (1.0 - kept) * (sum / width as f64) as f32;
        }
        sums
    });
    let mut sum = vec![0.0; width];
    sums.iter().for_each(|part| add(part, &mut sum));
    for (column, sum) in columns.iter_mut().zip(sum) {
        *column = kept * *column + (1.0 - kept) * (sum / height as f32);
    }
}

/// Computes the mean squares of a matrix from those of rows and columns; returns the sums of the squares of the weights
/// and of their updates.
fn matrix_sums(gradient: &[f32], weights: &[f32], rows: &[f32], columns: &[f32], v: &mut [f32]) -> [f64; 2] {
    let width = columns.len();
    let mean = (rows.iter().map(|row| f64::from(*row)).sum::<f64>() / rows.len() as f64) as f32;
    let (threads, step) = parallel::pass(weights.len());
    let together = step.div_ceil(width);
    let parts = gradient.chunks(together * width).zip(weights.chunks(together * width));
    let tasks: Vec<_> = parts.zip(rows.chunks(together)).zip(v.chunks_mut(together * width)).collect();
    let sums = each(threads, tasks, |(((g, w), rows), v)| {
        let near = g.chunks(width).zip(w.chunks(width)).zip(rows).zip(v.chunks_mut(width));
        total(near.map(|(((g, w), row), v)| {
            let row = row / mean;
            for (v, column) in v.iter_mut().zip(columns) {
                *v = row * column;
            }
            squares(&relative, w, g, v)
        }))
    });
    total(sums.into_iter())
}

/// A gradient divided by the root of its mean square.
fn relative(g: f32, v: f32) -> f32 {
    g / v.sqrt()
}

/// Adds up pairs of sums.
fn total(sums: impl Iterator<Item = [f64; 2]>) -> [f64; 2] {
    sums.fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d])
}

/// A formula of two numbers.
trait OfTwo: Fn(f32, f32) -> f32 + Sync {}
impl<F: Fn(f32, f32) -> f32 + Sync> OfTwo for F {}

simd! {
    fn lamb_means<I>(settings: &Lamb, g: &[f32], m: &mut [f32], v: &mut [f32]) {
        let (rate_1, rate_2, negligible) = (settings.rate_1, settings.rate_2, settings.negligible);
        for ((m, v), g) in m.iter_mut().zip(v).zip(g) {
            *m += (*g - *m) * rate_1;
            *v += (*g * *g - *v) * rate_2;
            for mean in [m, v] {
                if mean.abs() < negligible {
                    *mean = 0.0;
                }
            }
        }
    }
}

simd! {
    /// Adds `g² + ε` to the sums; returns the total.
    fn add_squares<I>(epsilon: f32, g: &[f32], sums: &mut [f32]) -> f64 {
        for (sum, g) in sums.iter_mut().zip(g) {
            *sum += *g * *g + epsilon;
        }
        let mut all = 0.0f64;
        for near in g.chunks(NEAR) {
            let mut lanes = [0.0f32; LANES];
            let (whole, rest) = near.as_chunks::<LANES>();
            for g in whole {
                for i in 0..LANES {
                    lanes[i] += g[i] * g[i] + epsilon;
                }
            }
            let rest: f32 = rest.iter().map(|g| g * g + epsilon).sum();
            all += f64::from(rest) + lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>();
        }
        all
    }
}

simd! {
    /// The sums of the squares of `w` and of the results of a formula of `a` and `b`.
    fn squares<I, F: OfTwo>(formula: &F, w: &[f32], a: &[f32], b: &[f32]) -> [f64; 2] {
        let mut sums = [0.0f64; 2];
        for ((w, a), b) in w.chunks(NEAR).zip(a.chunks(NEAR)).zip(b.chunks(NEAR)) {
            let (mut own, mut other) = ([0.0f32; LANES], [0.0f32; LANES]);
            let ((w, last_w), (a, last_a), (b, last_b)) =
                (w.as_chunks::<LANES>(), a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
            for ((w, a), b) in w.iter().zip(a).zip(b) {
                for i in 0..LANES {
                    let change = formula(a[i], b[i]);
                    own[i] += w[i] * w[i];
                    other[i] += change * change;
                }
            }
            for (i, ((w, a), b)) in last_w.iter().zip(last_a).zip(last_b).enumerate() {
                let change = formula(*a, *b);
                own[i] += w * w;
                other[i] += change * change;
            }
            for (sum, lanes) in sums.iter_mut().zip([own, other]) {
                *sum += lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>();
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::at_every_level;
    use crate::testing::{assert_close, double, values};

    const LEN: usize = 70_001;

    #[test]
    fn lamb_follows_its_formula() {
        at_every_level(|_| {
            let (mut w, mut m, mut v) = (values(LEN, 1), vec![0.0; LEN], vec![0.0; LEN]);
            let (mut ew, mut em, mut ev) = (double(&w), double(&m), double(&v));
            for t in 1..=3 {
                let g = values(LEN, 10 + t);
                let unbiased = [0.9, 0.999].map(|beta: f64| 1.0 / (1.0 - beta.powi(t as i32)));
                let settings = Lamb {
                    learning_rate: 0.1,
                    rate_1: 0.1,
                    rate_2: 0.001,
                    unbiased_1: unbiased[0] as f32,
                    unbiased_2: unbiased[1] as f32,
                    negligible: 0.0,
                    epsilon: 1e-7,
                };
                lamb(&settings, 0.125, &g, &mut w, &mut m, &mut v);
                for i in 0..LEN {
                    let g = f64::from(g[i]);
                    em[i] += (g - em[i]) * 0.1;
                    ev[i] += (g * g - ev[i]) * 0.001;
                }
                ew.iter_mut().for_each(|w| *w *= 0.875);
                let u: Vec<f64> =
                    (0..LEN).map(|i| em[i] * unbiased[0] / ((ev[i] * unbiased[1]).sqrt() + 1e-7)).collect();
                let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
                let ratio = norm(&ew) / norm(&u);
                ew.iter_mut().zip(&u).for_each(|(w, u)| *w -= 0.1 * ratio * u);
            }
            assert_close("w", &w, &ew);
            assert_close("m", &m, &em);
            assert_close("v", &v, &ev);
        });
    }

    #[test]
    fn zero_norms_give_the_ratio_one() {
        let settings = Lamb {
            learning_rate: 0.5,
            rate_1: 1.0,
            rate_2: 1.0,
            unbiased_1: 1.0,
            unbiased_2: 1.0,
            epsilon: 0.0,
            negligible: 0.0,
        };
        let (mut w, mut m, mut v) = ([0.0; 2], [0.0; 2], [0.0; 2]);
        lamb(&settings, 0.0, &[3.0, -2.0], &mut w, &mut m, &mut v);
        assert_eq!(w, [-0.5, 0.5]);
    }

    /// Adafactor in double precision, straight from the formula.
    fn expected(sizes: Option<[usize; 3]>, g: &[f64], w: &mut [f64], state: &mut [Vec<f64>; 3], s: &Adafactor) {
        let kept = f64::from(s.kept);
        let square: Vec<f64> = g.iter().map(|g| g * g + f64::from(s.epsilon_1)).collect();
        let blend = |mean: &mut f64, new: f64| *mean = kept * *mean + (1.0 - kept) * new;
        let [rows, columns, v] = state;
        match sizes {
            None => v.iter_mut().zip(&square).for_each(|(v, square)| blend(v, *square)),
            Some([matrices, height, width]) => {
                for k in 0..matrices {
                    let at = |i: usize, j: usize| (k * height + i) * width + j;
                    for i in 0..height {
                        let sum: f64 = (0..width).map(|j| square[at(i, j)]).sum();
                        blend(&mut rows[k * height + i], sum / width as f64);
                    }
                    for j in 0..width {
                        let sum: f64 = (0..height).map(|i| square[at(i, j)]).sum();
                        blend(&mut columns[k * width + j], sum / height as f64);
                    }
                    let mean = rows[k * height..][..height].iter().sum::<f64>() / height as f64;
                    for i in 0..height {
                        for j in 0..width {
                            v[at(i, j)] = rows[k * height + i] / mean * columns[k * width + j];
                        }
                    }
                }
            }
        }
        let u: Vec<f64> = g.iter().zip(v.iter()).map(|(g, v)| g / v.sqrt()).collect();
        let rms = |values: &[f64]| (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt();
        let excess = (rms(&u) / f64::from(s.clip_threshold)).max(1.0);
        let rate = rms(w).max(s.epsilon_2.into()) * f64::from(s.learning_rate) / excess;
        w.iter_mut().zip(&u).for_each(|(w, u)| *w -= rate * u);
    }

    #[test]
    fn adafactor_follows_its_formula() {
        let cases = [None, Some([1, 700, 101]), Some([9, 5, 17]), Some([1, 1, 70_001]), Some([1, 70_001, 1])];
        at_every_level(|_| {
            for sizes in cases {
                let len = sizes.map_or(LEN, |[matrices, height, width]| matrices * height * width);
                let lens = sizes.map_or([1, 1, len], |[k, height, width]| [k * height, k * width, len]);
                let (mut w, mut state) = (values(len, 1), lens.map(|len| vec![0.0; len]));
                let (mut ew, mut kept) = (double(&w), lens.map(|len| vec![0.0; len]));
                for t in 1..=3u32 {
                    let g = values(len, 10 + t);
                    let settings = Adafactor {
                        learning_rate: 0.1,
                        kept: 1.0 - (t as f32).powf(-0.8),
                        epsilon_1: 1e-30,
                        epsilon_2: 1e-3,
                        clip_threshold: 0.5,
                    };
                    adafactor(&settings, 0.125, sizes, &g, &mut w, state.each_mut().map(Vec::as_mut_slice));
                    ew.iter_mut().for_each(|w| *w *= 0.875);
                    expected(sizes, &double(&g), &mut ew, &mut kept, &settings);
                }
                assert_close(&format!("w of {sizes:?}"), &w, &ew);
                for (state, kept) in state.iter().zip(&kept) {
                    assert_close(&format!("what is kept for {sizes:?}"), state, kept);
                }
            }
        });
    }
}
