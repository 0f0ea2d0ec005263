//! Multi-head attention: `softmax(scale · Q · Kᵀ) · V` in each head.

mod multi_head;
mod prepared;

pub use multi_head::PreparedMultiHead;
pub use prepared::PreparedAttention;

use super::gemm::{Columns, InitialC, Right, product};
use super::simd::simd;
use super::softmax::{gradient_rows, softmax_rows};
use super::window::{check_len, even_offsets, offsets_fit_in, size_of};
use super::{parallel, scratch};

/// Sizes of a multi-head attention. Queries are `batch × rows × heads × size`, keys `batch × columns × groups × size`,
/// values `batch × columns × groups × width`, the output `batch × rows × heads × width`, scores
/// `batch × heads × rows × columns`: the layout of projections, with the features of all heads of a step side by side.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Number of samples.
    pub batch: usize,
    /// Steps of the query.
    pub rows: usize,
    /// Steps of key and value.
    pub columns: usize,
    /// Heads of the query, a multiple of the groups.
    pub heads: usize,
    /// Heads of key and value, each of which serves `heads / groups` consecutive heads of the query.
    pub groups: usize,
    /// Features of a head of query and key.
    pub size: usize,
    /// Features of a head of the value.
    pub width: usize,
    /// Factor of the scores before the softmax.
    pub scale: f32,
    /// Value of a masked score before the softmax.
    pub masked: f32,
    /// Whether masked scores are 0 after the softmax, whatever the others are.
    pub zero_masked: bool,
}

/// Masks of the scores: 1 or 0 for each, and a factor or 0 for each.
#[derive(Clone, Copy, Debug, Default)]
pub struct Masks<'a> {
    /// Which scores count, before the softmax.
    pub counted: Option<&'a [f32]>,
    /// Factors of the scores after the softmax: dropout.
    pub kept: Option<&'a [f32]>,
}

/// Queries, keys and values, or their gradients or projections.
#[derive(Clone, Copy, Debug)]
pub struct Parts<T> {
    /// Queries.
    pub queries: T,
    /// Keys.
    pub keys: T,
    /// Values.
    pub values: T,
}

impl Attention {
    /// Whether these functions can compute it: the offsets within a sample must fit in 32 bits, and no size may be 0.
    pub fn fits(&self) -> bool {
        let Self { rows, columns, heads, groups, size, width, .. } = *self;
        let sizes = [rows, columns, heads, groups, size, width];
        sizes.iter().all(|size| *size > 0)
            && heads.is_multiple_of(groups)
            && offsets_fit_in(&[rows.max(columns), heads, size.max(width)])
            && offsets_fit_in(&[rows, columns])
            && offsets_fit_in(&[size.max(width), columns])
    }

    /// Number of all scores.
    pub fn scores(&self) -> usize {
        size_of(&[self.batch, self.heads, self.rows, self.columns])
    }

    /// Number of values of a sample's queries, keys, values, outputs and scores.
    fn of_sample(&self) -> [usize; 5] {
        let Self { rows, columns, heads, groups, size, width, .. } = *self;
        [
            size_of(&[rows, heads, size]),
            size_of(&[columns, groups, size]),
            size_of(&[columns, groups, width]),
            size_of(&[rows, heads, width]),
            size_of(&[heads, rows, columns]),
        ]
    }

    fn check(&self, parts: &Parts<&[f32]>, masks: Masks<'_>, scores: &[f32], output: &[f32]) {
        assert!(self.fits(), "an attention that does not fit");
        let [queries, keys, values, outputs, of_scores] = self.of_sample().map(|one| size_of(&[one, self.batch]));
        check_len("the queries", parts.queries.len(), queries);
        check_len("the keys", parts.keys.len(), keys);
        check_len("the values", parts.values.len(), values);
        check_len("the output", output.len(), outputs);
        check_len("the scores", scores.len(), of_scores);
        for mask in [masks.counted, masks.kept].into_iter().flatten() {
            check_len("a mask", mask.len(), of_scores);
        }
    }

    /// Number of threads worth using.
    fn threads(&self) -> usize {
        let one = self.size.saturating_add(self.width).saturating_mul(2);
        parallel::threads_for(self.scores().saturating_mul(one))
    }
}

/// Writes the output, and the scores after the softmax and before the dropout.
///
/// # Panics
/// If a slice's length does not match the sizes, or if the attention does not [fit](Attention::fits).
pub fn forward(sizes: &Attention, parts: Parts<&[f32]>, masks: Masks<'_>, scores: &mut [f32], output: &mut [f32]) {
    sizes.check(&parts, masks, scores, output);
    let Attention { rows, columns, heads, groups, size, width, .. } = *sizes;
    let [queries, keys, values, outputs, of_scores] = sizes.of_sample();
    let threads = sizes.threads();
    // A part is a sample, or some of its heads where there are fewer samples than threads: their columns of the output.
    let part = parallel::part_len(heads, threads.div_ceil(sizes.batch.max(1)));
    let mut tasks = Vec::new();
    for (sample, (output, scores)) in output.chunks_mut(outputs).zip(scores.chunks_mut(of_scores)).enumerate() {
        let of_heads = Columns::split(output, heads * width, part * width).into_iter();
        let of_heads = of_heads.zip(scores.chunks_mut(part * rows * columns));
        tasks.extend(of_heads.map(|(output, scores)| (sample, output, scores)));
    }
    let (of_queries, of_features) = (even_offsets(rows, heads * size), even_offsets(size, 1));
    let (of_rows, of_columns) = (even_offsets(rows, columns), even_offsets(columns, 1));
    let of_outputs = even_offsets(rows, heads * width);
    parallel::each(threads, tasks, |(sample, mut output, scores): (usize, Columns<'_>, &mut [f32])| {
        let [queries, keys, values] = [(parts.queries, queries), (parts.keys, keys), (parts.values, values)]
            .map(|(all, one)| &all[sample * one..][..one]);
        let of_dropped = if masks.kept.is_some() { rows * columns } else { 0 };
        scratch::with(size * columns + of_dropped, |buffer| {
            let (turned, dropped) = buffer.split_at_mut(size * columns);
            let first = output.range().start / width;
            for (head, scores) in (first..).zip(scores.chunks_exact_mut(rows * columns)) {
                let group = head / (heads / groups);
                turn(&keys[group * size..], groups * size, (columns, size), turned);
                let queries = (&queries[head * size..], &of_queries[..], &of_features[..]);
                let by = Right::Rows { data: turned, stride: columns };
                product(queries, by, columns, (scores, &of_rows), InitialC::Zero);
                let at = (sample * heads + head) * rows * columns;
                let [counted, kept] =
                    [masks.counted, masks.kept].map(|mask| mask.map(|mask| &mask[at..][..scores.len()]));
                soften(sizes, counted, scores);
                let scores = match kept {
                    Some(kept) => {
                        times(scores, kept, dropped);
                        &dropped[..]
                    }
                    None => &scores[..],
                };
                let by = Right::Rows { data: &values[group * width..], stride: groups * width };
                let to = (head * width..(head + 1) * width, &of_outputs[..]);
                output.product((scores, &of_rows, &of_columns), by, to, InitialC::Zero);
            }
        });
    });
}

/// Computes from `dy`, the gradient of the output, the gradients of queries, keys and values; every value is written.
/// `scores` are those of the forward pass.
///
/// # Panics
/// As [`forward`].
pub fn backward(
    sizes: &Attention,
    parts: Parts<&[f32]>,
    masks: Masks<'_>,
    scores: &[f32],
    dy: &[f32],
    gradients: Parts<&mut [f32]>,
) {
    sizes.check(&parts, masks, scores, dy);
    check_len("the gradient of the queries", gradients.queries.len(), parts.queries.len());
    check_len("the gradient of the keys", gradients.keys.len(), parts.keys.len());
    check_len("the gradient of the values", gradients.values.len(), parts.values.len());
    let Attention { rows, columns, heads, groups, size, width, .. } = *sizes;
    let [queries, keys, values, outputs, of_scores] = sizes.of_sample();
    let tasks = gradients
        .queries
        .chunks_mut(queries)
        .zip(gradients.keys.chunks_mut(keys).zip(gradients.values.chunks_mut(values)))
        .enumerate()
        .collect();
    // Offsets of the scores' rows and columns, which are swapped for the transpose.
    let (of_rows, of_columns) = (even_offsets(rows, columns), even_offsets(columns, 1));
    let (of_outputs, of_width) = (even_offsets(rows, heads * width), even_offsets(width, 1));
    let (of_queries, of_keys) = (even_offsets(rows, heads * size), even_offsets(columns, groups * size));
    let of_values = even_offsets(columns, groups * width);
    parallel::each(sizes.threads(), tasks, |(sample, (dqueries, (dkeys, dvalues))): OfSample<'_>| {
        let [queries, keys, values] = [(parts.queries, queries), (parts.keys, keys), (parts.values, values)]
            .map(|(all, one)| &all[sample * one..][..one]);
        let dy = &dy[sample * outputs..][..outputs];
        let scores = &scores[sample * of_scores..][..of_scores];
        scratch::with(width * columns + 2 * rows * columns, |buffer| {
            let (turned, buffer) = buffer.split_at_mut(width * columns);
            let (dscores, changed) = buffer.split_at_mut(rows * columns);
            for (head, scores) in scores.chunks_exact(rows * columns).enumerate() {
                let group = head / (heads / groups);
                // The first head of a group overwrites, the others accumulate.
                let start = if head % (heads / groups) == 0 { InitialC::Zero } else { InitialC::Add };
                let at = (sample * heads + head) * rows * columns;
                let [counted, kept] =
                    [masks.counted, masks.kept].map(|mask| mask.map(|mask| &mask[at..][..scores.len()]));
                let by_dy = Right::Rows { data: &dy[head * width..], stride: heads * width };
                let used = match kept {
                    Some(kept) => {
                        times(scores, kept, changed);
                        &changed[..]
                    }
                    None => scores,
                };
                product(
                    (used, &of_columns, &of_rows),
                    by_dy,
                    width,
                    (&mut dvalues[group * width..], &of_values),
                    start,
                );

                turn(&values[group * width..], groups * width, (columns, width), turned);
                let by = Right::Rows { data: turned, stride: columns };
                product(
                    (&dy[head * width..], &of_outputs, &of_width),
                    by,
                    columns,
                    (dscores, &of_rows),
                    InitialC::Zero,
                );
                kept.into_iter().for_each(|kept| multiply(kept, dscores));
                // Scores that are 0 after the softmax in any case have no gradient.
                counted.filter(|_| sizes.zero_masked).into_iter().for_each(|counted| multiply(counted, dscores));
                gradient_rows(columns, scores, dscores, changed);
                counted.into_iter().for_each(|counted| multiply(counted, changed));
                scale(sizes.scale, changed);
                let by = Right::Rows { data: &keys[group * size..], stride: groups * size };
                let to = (&mut dqueries[head * size..], &of_queries[..]);
                product((changed, &of_rows, &of_columns), by, size, to, InitialC::Zero);
                let by = Right::Rows { data: &queries[head * size..], stride: heads * size };
                product((changed, &of_columns, &of_rows), by, size, (&mut dkeys[group * size..], &of_keys), start);
            }
        });
    });
}

type OfSample<'a> = (usize, (&'a mut [f32], (&'a mut [f32], &'a mut [f32])));

/// Turns the products of queries and keys into scores: scaled, masked, and the softmax of each row.
fn soften(sizes: &Attention, counted: Option<&[f32]>, scores: &mut [f32]) {
    scale(sizes.scale, scores);
    if let Some(counted) = counted {
        replace(counted, sizes.masked, scores);
    }
    softmax_rows(sizes.columns, scores);
    counted.filter(|_| sizes.zero_masked).into_iter().for_each(|counted| multiply(counted, scores));
}

/// The causal form of [`soften`], for rows from `first` on with `columns` computed scores each: row `i` has the softmax
/// of its scores up to column `i`, and zeros after them.
fn soften_causal(sizes: &Attention, (first, columns): (usize, usize), scores: &mut [f32]) {
    for (row, scores) in (first..).zip(scores.chunks_exact_mut(sizes.columns)) {
        let (counted, others) = scores[..columns].split_at_mut(columns.min(row + 1));
        scale(sizes.scale, counted);
        softmax_rows(counted.len(), counted);
        others.fill(0.0);
    }
}

/// The transpose of `rows × columns` values whose rows are `stride` apart.
fn turn(x: &[f32], stride: usize, (rows, columns): (usize, usize), y: &mut [f32]) {
    for (i, x) in x.chunks(stride).take(rows).enumerate() {
        for (j, x) in x[..columns].iter().enumerate() {
            y[j * rows + i] = *x;
        }
    }
}

simd! {
    fn scale<I>(factor: f32, x: &mut [f32]) {
        for x in x {
            *x *= factor;
        }
    }
}

simd! {
    fn multiply<I>(x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y *= *x;
        }
    }
}

simd! {
    fn times<I>(a: &[f32], b: &[f32], y: &mut [f32]) {
        for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
            *y = *a * *b;
        }
    }
}

simd! {
    /// Replaces values by `other` where the mask is 0.
    fn replace<I>(mask: &[f32], other: f32, x: &mut [f32]) {
        for (x, mask) in x.iter_mut().zip(mask) {
            *x = if *mask == 0.0 { other } else { *x };
        }
    }
}

#[cfg(test)]
impl Attention {
    /// One sample, for the tests of the prepared forms: rows and columns, heads and groups, size and width.
    const fn of_one([rows, columns]: [usize; 2], [heads, groups]: [usize; 2], [size, width]: [usize; 2]) -> Self {
        let (scale, masked) = (0.3, f32::NAN);
        Self { batch: 1, rows, columns, heads, groups, size, width, scale, masked, zero_masked: true }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use proptest::prelude::*;

    use super::*;
    use crate::simd::at_every_level;
    use crate::testing::{assert_close, double, values};

    /// The output by the definition.
    fn reference(sizes: &Attention, [queries, keys, values]: [&[f64]; 3], masks: Masks<'_>) -> Vec<f64> {
        let Attention { batch, rows, columns, heads, groups, size, width, .. } = *sizes;
        let mut output = vec![0.0; batch * rows * heads * width];
        for (b, head, i) in (0..batch).flat_map(|b| (0..heads).flat_map(move |h| (0..rows).map(move |i| (b, h, i)))) {
            let group = head / (heads / groups);
            let at = |j: usize| ((b * heads + head) * rows + i) * columns + j;
            let counts = |j: usize| masks.counted.is_none_or(|mask| mask[at(j)] != 0.0);
            let score = |j: usize| {
                let query = &queries[((b * rows + i) * heads + head) * size..][..size];
                let key = &keys[((b * columns + j) * groups + group) * size..][..size];
                let product = query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>() * f64::from(sizes.scale);
                if counts(j) { product } else { f64::from(sizes.masked) }
            };
            let scores: Vec<f64> = (0..columns).map(score).collect();
            let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|score| (score - greatest).exp()).sum();
            for (j, score) in scores.iter().enumerate() {
                let mut part = (score - greatest).exp() / total;
                if sizes.zero_masked && !counts(j) {
                    part = 0.0;
                }
                part *= masks.kept.map_or(1.0, |kept| f64::from(kept[at(j)]));
                for d in 0..width {
                    let value = values[((b * columns + j) * groups + group) * width + d];
                    output[((b * rows + i) * heads + head) * width + d] += part * value;
                }
            }
        }
        output
    }

    /// Outputs by the definition; gradients by finite differences, for some values of each part.
    fn check(sizes: &Attention, masked: bool, dropped: bool) {
        let [queries, keys, of_values, outputs, of_scores] = sizes.of_sample().map(|one| one * sizes.batch);
        let parts = [values(queries, 1), values(keys, 2), values(of_values, 3)];
        let numbers = values(of_scores, 5);
        let counted: Vec<f32> = numbers.iter().map(|number| f32::from(*number > -0.3)).collect();
        let kept: Vec<f32> = values(of_scores, 6).iter().map(|number| if *number > 0.0 { 1.5 } else { 0.0 }).collect();
        let masks = Masks { counted: masked.then_some(&counted[..]), kept: dropped.then_some(&kept[..]) };
        let [q, k, v] = parts.each_ref().map(|part| &part[..]);
        let given = || Parts { queries: q, keys: k, values: v };
        let (mut scores, mut output) = (vec![7.5; of_scores], vec![7.5; outputs]);
        forward(sizes, given(), masks, &mut scores, &mut output);
        let exact = parts.each_ref().map(|part| double(part));
        let slices = |exact: &[Vec<f64>; 3]| reference(sizes, exact.each_ref().map(|part| &part[..]), masks);
        assert_close("the output", &output, &slices(&exact));

        let dy = values(outputs, 4);
        let mut gradients = parts.each_ref().map(|part| vec![7.5; part.len()]);
        let [dq, dk, dv] = gradients.each_mut().map(|part| &mut part[..]);
        backward(sizes, given(), masks, &scores, &dy, Parts { queries: dq, keys: dk, values: dv });
        for (which, gradient) in gradients.iter().enumerate() {
            let scale = gradient.iter().fold(1e-2, |most: f64, v| most.max(f64::from(v.abs())));
            for i in (0..gradient.len()).step_by((gradient.len() / 5).max(1)) {
                let moved = |by: f64| {
                    let mut exact = exact.clone();
                    exact[which][i] += by;
                    slices(&exact).iter().zip(&dy).map(|(y, dy)| y * f64::from(*dy)).sum::<f64>()
                };
                let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                let actual = f64::from(gradient[i]);
                assert!((actual - slope).abs() < 2e-4 * scale, "gradient {which} at {i}: {actual}, not {slope}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 40 }))]
        #[test]
        fn any_sizes_agree_with_the_definition(
            (batch, rows, columns) in (1..4usize, 1..7usize, 1..20usize),
            (groups, times, size, width) in (1..3usize, 1..3usize, 1..9usize, 1..9usize),
            (masked, dropped, zero_masked) in any::<(bool, bool, bool)>(),
        ) {
            let scale = 1.0 / (size as f32).sqrt();
            let (heads, masked_to) = (groups * times, if zero_masked { -1e9 } else { -0.7 * f32::MAX });
            let sizes = Attention {
                batch, rows, columns, heads, groups, size, width, scale, masked: masked_to, zero_masked,
            };
            check(&sizes, masked, dropped);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn a_sample_has_the_same_bits_in_any_batch_and_on_any_number_of_threads() {
        // A sample alone is work enough to be shared.
        let all = Attention {
            batch: 6,
            rows: 40,
            columns: 50,
            heads: 6,
            groups: 3,
            size: 32,
            width: 24,
            scale: 0.2,
            masked: -1e9,
            zero_masked: true,
        };
        let [queries, keys, of_values, outputs, of_scores] = all.of_sample();
        let inputs = [(queries, 1), (keys, 2), (of_values, 3)].map(|(one, seed)| (one, values(6 * one, seed)));
        let counted: Vec<f32> = values(6 * of_scores, 5).iter().map(|number| f32::from(*number > -0.3)).collect();
        let kept: Vec<f32> = values(6 * of_scores, 6).iter().map(|number| f32::from(*number > 0.0)).collect();
        let run = |samples: Range<usize>, threads: usize, is_masked: bool| {
            let sizes = Attention { batch: samples.len(), ..all };
            let of = |one: usize| samples.start * one..samples.end * one;
            let [queries, keys, values] = inputs.each_ref().map(|(one, values)| &values[of(*one)]);
            let [counted, kept] = [&counted, &kept].map(|mask| Some(&mask[of(of_scores)]).filter(|_| is_masked));
            let mut output = vec![7.5; sizes.batch * outputs];
            let mut scores = vec![7.5; sizes.batch * of_scores];
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| {
                let parts = Parts { queries, keys, values };
                forward(&sizes, parts, Masks { counted, kept }, &mut scores, &mut output);
            });
            (output, scores)
        };
        at_every_level(|_| {
            for is_masked in [false, true] {
                let (output, scores) = run(0..6, 1, is_masked);
                for samples in [0..1, 3..4, 2..5, 0..6] {
                    for threads in [1, 2, 4] {
                        let (start, end) = (samples.start, samples.end);
                        let part = run(samples.clone(), threads, is_masked);
                        assert_eq!(part.0, output[start * outputs..end * outputs], "{samples:?}, {threads} threads");
                        assert_eq!(part.1, scores[start * of_scores..end * of_scores]);
                    }
                }
            }
        });
    }
}
