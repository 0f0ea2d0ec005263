//! Attention for inference: sizes fixed but for the batch, no mask but the causal one, and no scores in memory.

use std::ops::Range;

use super::{Attention, Parts, soften, soften_causal};
use crate::gemm::{Columns, InitialC, PANEL, Right, product};
use crate::panels::{pack_panel, pack_transposed_panel, panels_len};
use crate::window::{check_len, even_offsets, size_of};
use crate::{parallel, scratch};

/// Scores that are computed at once, approximately: 256 KiB, which stay in the second-level cache from one product to
/// the next.
const SCORES: usize = 64 << 10;
/// Fewest rows of scores at once, if there are enough: those of two tiles.
const FEWEST_ROWS: usize = 20;
/// Most rows of scores at once in a causal attention, where they are computed up to the last column that counts for any
/// of them: as many as a panel has columns, so that the columns end where a panel does.
const MOST_CAUSAL_ROWS: usize = PANEL;
/// Operations of the softmax for each score, or an equivalent cost.
const SOFTMAX: usize = 16;

/// An attention without masks, or causal, of any number of samples, with tables of offsets made once. Scores are in the
/// workspace, those of some rows of one head at a time. A sample's result has the same bits in any batch.
#[derive(Clone, Debug)]
pub struct PreparedAttention {
    sizes: Attention,
    is_causal: bool,
    /// The rows of scores that are computed at once, and how many of their columns.
    strips: Vec<(Range<usize>, usize)>,
    /// Offsets of the rows of queries and output in a sample, and of the rows of scores that are computed at once.
    queries: Vec<u32>,
    outputs: Vec<u32>,
    scores: Vec<u32>,
    /// Offsets within a row of a head's queries and of its scores.
    features: Vec<u32>,
    columns: Vec<u32>,
}

impl PreparedAttention {
    /// Prepares an attention: `batch`, `masked` and `zero_masked` are ignored. `None` where it does not
    /// [fit](Attention::fits).
    pub fn new(sizes: &Attention) -> Option<Self> {
        Self::of(sizes, false)
    }

    /// As [`new`](Self::new), for a causal attention: a step of the query attends to those of the key up to its own
    /// position. The softmax is that of their scores alone, as if the exponentials of the others were 0.
    pub fn causal(sizes: &Attention) -> Option<Self> {
        Self::of(sizes, true)
    }

    fn of(sizes: &Attention, is_causal: bool) -> Option<Self> {
        let sizes = Attention { batch: 1, ..*sizes };
        let Attention { rows, columns, heads, size, width, .. } = sizes;
        // The scores are counted, though never in memory together.
        let are_countable = rows.checked_mul(columns).is_some_and(|scores| scores.checked_mul(heads).is_some());
        if !sizes.fits() || !are_countable {
            return None;
        }
        // In parts of nearly equally many rows.
        let parts = rows.div_ceil((SCORES / columns).max(FEWEST_ROWS));
        let at_once = rows.div_ceil(parts).min(if is_causal { MOST_CAUSAL_ROWS } else { rows });
        let strips = (0..rows).step_by(at_once).map(|first| {
            let end = rows.min(first + at_once);
            (first..end, if is_causal { columns.min(end) } else { columns })
        });
        Some(Self {
            is_causal,
            strips: strips.collect(),
            queries: even_offsets(rows, heads * size),
            outputs: even_offsets(rows, heads * width),
            scores: even_offsets(at_once, columns),
            features: even_offsets(size, 1),
            columns: even_offsets(columns, 1),
            sizes,
        })
    }

    /// The sizes, for one sample.
    pub(super) fn sizes(&self) -> &Attention {
        &self.sizes
    }

    /// Number of values of a sample's queries, keys, values and output.
    pub(super) fn of_sample(&self) -> [usize; 4] {
        let [queries, keys, values, outputs, _] = self.sizes.of_sample();
        [queries, keys, values, outputs]
    }

    /// Floating-point operations per sample, or an equivalent cost.
    pub fn operations(&self) -> usize {
        let Attention { size, width, .. } = self.sizes;
        let one = size.saturating_add(width).saturating_mul(2).saturating_add(SOFTMAX);
        let scores: usize = self.strips.iter().map(|(rows, columns)| rows.len() * columns).sum();
        scores.saturating_mul(self.sizes.heads).saturating_mul(one)
    }

    /// The most values of workspace that [`forward`](Self::forward) takes for some samples, in all threads together.
    pub fn workspace(&self, samples: usize, threads: usize) -> usize {
        let (threads, heads) = self.split(samples, threads);
        let parts = samples.saturating_mul(self.sizes.heads.div_ceil(heads));
        self.buffers().iter().sum::<usize>().saturating_mul(threads.max(1).min(parts))
    }

    /// The output for some samples, on up to `threads` threads if there is enough work. Every value of it is written.
    ///
    /// # Panics
    /// If the output is not that of whole samples, or the parts do not match it.
    pub fn forward(&self, parts: Parts<&[f32]>, threads: usize, output: &mut [f32]) {
        let [queries, keys, values, outputs] = self.of_sample();
        let row = self.sizes.heads * self.sizes.width;
        let batch = output.len() / outputs;
        check_len("the output", output.len(), size_of(&[batch, outputs]));
        check_len("the queries", parts.queries.len(), size_of(&[batch, queries]));
        check_len("the keys", parts.keys.len(), size_of(&[batch, keys]));
        check_len("the values", parts.values.len(), size_of(&[batch, values]));
        let of = |sample: usize| Parts {
            queries: &parts.queries[sample * queries..][..queries],
            keys: &parts.keys[sample * keys..][..keys],
            values: &parts.values[sample * values..][..values],
        };
        let samples = output.chunks_exact_mut(outputs).enumerate();
        let (threads, heads) = self.split(batch, threads);
        if threads <= 1 {
            return samples.for_each(|(sample, output)| self.heads(of(sample), Columns::whole(output, row)));
        }
        let width = heads * self.sizes.width;
        let tasks = samples.flat_map(|(sample, output)| {
            Columns::split(output, row, width).into_iter().map(move |output| (sample, output))
        });
        parallel::each(threads, tasks.collect(), |(sample, output): (usize, Columns)| self.heads(of(sample), output));
    }

    /// The number of threads for some samples, and the heads of a part: all of a sample, unless there are more threads
    /// than samples.
    fn split(&self, samples: usize, threads: usize) -> (usize, usize) {
        let threads = threads.min(parallel::threads_for(self.operations().saturating_mul(samples)));
        let of_sample = threads.div_ceil(samples.max(1));
        (threads, parallel::part_len_of(self.operations(), self.sizes.heads, of_sample))
    }

    /// Number of values of the workspace for a head's keys and values, packed, and for its scores.
    fn buffers(&self) -> [usize; 3] {
        let Attention { columns, size, width, .. } = self.sizes;
        [panels_len(size, columns), panels_len(columns, width), size_of(&[self.scores.len(), columns])]
    }

    /// The heads of a sample that these columns of its output belong to.
    fn heads(&self, parts: Parts<&[f32]>, mut output: Columns) {
        let Attention { columns, heads, groups, size, width, .. } = self.sizes;
        let [of_keys, of_values, of_scores] = self.buffers();
        scratch::with(of_keys + of_values + of_scores, |buffer| {
            let (keys, buffer) = buffer.split_at_mut(of_keys);
            let (values, scores) = buffer.split_at_mut(of_values);
            let mut packed = None;
            for head in output.range().start / width..output.range().end / width {
                // Heads of a group come one after another.
                let group = head / (heads / groups);
                if packed.replace(group) != Some(group) {
                    for (panel, first) in keys.chunks_exact_mut(size * PANEL).zip((0..columns).step_by(PANEL)) {
                        let part = (first, PANEL.min(columns - first));
                        pack_transposed_panel(&parts.keys[group * size..], groups * size, part, panel);
                    }
                    for (panel, first) in values.chunks_exact_mut(columns * PANEL).zip((0..width).step_by(PANEL)) {
                        let part = (first, PANEL.min(width - first));
                        pack_panel(&parts.values[group * width..], groups * width, part, panel);
                    }
                }
                let (keys, values) = (Right::panels(keys, size), Right::panels(values, columns));
                for (strip, counted) in &self.strips {
                    let rows = &self.scores[..strip.len()];
                    let scores = &mut scores[..strip.len() * columns];
                    let left = (&parts.queries[head * size..], &self.queries[strip.clone()], &self.features[..]);
                    product(left, keys, *counted, (&mut *scores, rows), InitialC::Zero);
                    match self.is_causal {
                        true => soften_causal(&self.sizes, (strip.start, *counted), scores),
                        false => soften(&self.sizes, None, scores),
                    }
                    let to = (head * width..(head + 1) * width, &self.outputs[strip.clone()]);
                    output.product((scores, rows, &self.columns[..*counted]), values, to, InitialC::Zero);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::{Masks, forward};
    use crate::simd::at_every_level;
    use crate::testing::{assert_close, double, kept_by, kept_by_threads, values};

    /// Sizes of one sample: small ones, one whose heads are worth sharing, one of more rows than columns, and one whose
    /// scores are computed in parts in any case.
    const CASES: [Attention; 6] = [
        Attention::of_one([1, 1], [1, 1], [1, 1]),
        Attention::of_one([7, 5], [6, 2], [3, 4]),
        Attention::of_one([33, 65], [4, 1], [33, 40]),
        Attention::of_one([40, 50], [6, 3], [32, 24]),
        Attention::of_one([70, 45], [2, 1], [8, 6]),
        Attention::of_one([47, 3300], [2, 2], [5, 7]),
    ];

    /// Queries, keys and values of `samples` samples.
    fn operands(sizes: &Attention, samples: usize) -> Parts<Vec<f32>> {
        let [queries, keys, of_values, _, _] = sizes.of_sample();
        Parts {
            queries: values(samples * queries, 1),
            keys: values(samples * keys, 2),
            values: values(samples * of_values, 3),
        }
    }

    fn prepared(sizes: &Attention, is_causal: bool) -> PreparedAttention {
        let prepared = if is_causal { PreparedAttention::causal(sizes) } else { PreparedAttention::new(sizes) };
        prepared.expect("offsets that fit")
    }

    /// The mask of all scores that makes an attention causal.
    fn triangles(sizes: &Attention) -> Vec<f32> {
        let Attention { batch, rows, columns, heads, .. } = *sizes;
        let counts = move |row: usize| (0..columns).map(move |column| f32::from(column <= row));
        (0..batch * heads).flat_map(|_| (0..rows).flat_map(counts)).collect()
    }

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn both_forms_agree_and_a_sample_has_the_same_bits_in_any_batch_and_on_any_number_of_threads() {
        at_every_level(|_| {
            for (sizes, is_causal) in CASES.into_iter().flat_map(|sizes| [(sizes, false), (sizes, true)]) {
                let all = 5;
                let (parts, [queries, keys, of_values, outputs, scores]) = (operands(&sizes, all), sizes.of_sample());
                let of = |first: usize, samples: usize| Parts {
                    queries: &parts.queries[first * queries..][..samples * queries],
                    keys: &parts.keys[first * keys..][..samples * keys],
                    values: &parts.values[first * of_values..][..samples * of_values],
                };
                let prepared = prepared(&sizes, is_causal);
                let [mut whole, mut expected] = [0; 2].map(|_| vec![7.5; all * outputs]);
                prepared.forward(of(0, all), 1, &mut whole);
                // With either value that the layers give to scores that do not count.
                for (masked, zero_masked) in [(-0.7 * f32::MAX, false), (-1e9, true)] {
                    let batch = Attention { batch: all, masked, zero_masked, ..sizes };
                    let counted = triangles(&batch);
                    let masks = Masks { counted: is_causal.then_some(&counted[..]), kept: None };
                    forward(&batch, of(0, all), masks, &mut vec![7.5; all * scores], &mut expected);
                    assert_close("the output", &whole, &double(&expected));
                }
                for (first, samples) in [(0, 1), (3, 1), (1, 3), (0, all)] {
                    for threads in [1, 2, 8] {
                        let mut part = vec![7.5; samples * outputs];
                        prepared.forward(of(first, samples), threads, &mut part);
                        let expected = &whole[first * outputs..][..samples * outputs];
                        let call = format!("{samples} samples of {sizes:?} on {threads} threads, causal: {is_causal}");
                        assert_eq!(part, expected, "{call}");
                    }
                }
            }
        });
    }

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn the_workspace_is_what_a_call_takes() {
        let cases = CASES.into_iter().flat_map(|sizes| [(sizes, 1, false), (sizes, 6, false), (sizes, 6, true)]);
        for (sizes, samples, is_causal) in cases {
            let Parts { queries, keys, values } = operands(&sizes, samples);
            let prepared = prepared(&sizes, is_causal);
            let run = |threads: usize| {
                let parts = Parts { queries: &queries[..], keys: &keys[..], values: &values[..] };
                prepared.forward(parts, threads, &mut vec![7.5; samples * prepared.of_sample()[3]]);
            };
            assert_eq!(kept_by(|| run(1)), prepared.workspace(samples, 1), "{sizes:?}");
            let (kept, most) = kept_by_threads(4, || run(4), || prepared.workspace(samples, 4));
            assert!(kept > 0 && kept <= most, "{samples} samples of {sizes:?}: {kept}, not {most}");
        }
    }

    #[test]
    fn what_does_not_fit_is_not_prepared() {
        for wrong in [
            Attention::of_one([0, 5], [2, 2], [3, 4]),
            Attention::of_one([7, 5], [3, 2], [3, 4]),
            Attention::of_one([1 << 16, 1 << 16], [1, 1], [1, 1]),
        ] {
            assert!(PreparedAttention::new(&wrong).is_none(), "{wrong:?}");
        }
    }
}
