//! Multi-head attention with fixed weights: projections of queries, keys and values, the attention, and the projection
//! of its output.

use super::{Attention, Parts, PreparedAttention};
use crate::activation::Activation;
use crate::aligned::Weights;
use crate::dense::{Packed, part_of};
use crate::scratch;
use crate::window::{check_len, size_of};

/// Rows that a projection should have at least, if there are enough samples: the weights are then read seldom, and
/// queries, keys, values and attended values stay in the cache.
const ROWS_WANTED: usize = 240;

/// A multi-head attention without masks, or causal, with weights packed once. Queries, keys, values and attended
/// values are in the workspace, for a few samples at a time. A sample's result has the same bits in any batch.
#[derive(Clone, Debug)]
pub struct PreparedMultiHead {
    attention: PreparedAttention,
    projections: Parts<Packed>,
    output: Packed,
}

impl PreparedMultiHead {
    /// The packed weights, to be [gathered](Weights::gather).
    pub fn weights_mut(&mut self) -> Vec<&mut Weights> {
        let Parts { queries, keys, values } = &mut self.projections;
        [queries, keys, values, &mut self.output].into_iter().map(Packed::weights_mut).collect()
    }

    /// Joins an attention, the projections to its queries, keys and values, and that of its output. The features of all
    /// heads lie side by side: a kernel of `features × heads × size` is a matrix of `features × heads · size`.
    ///
    /// # Panics
    /// If a projection has other numbers of features than the attention.
    pub fn new(attention: PreparedAttention, projections: Parts<Packed>, output: Packed) -> Self {
        let Attention { heads, groups, size, width, .. } = *attention.sizes();
        let Parts { queries, keys, values } = &projections;
        let features = [queries.units(), keys.units(), values.units(), output.inputs()];
        let expected = [heads * size, groups * size, groups * width, heads * width];
        assert_eq!(features, expected, "the parts do not belong together");
        Self { attention, projections, output }
    }

    /// Floating-point operations per sample, or an equivalent cost.
    pub fn operations(&self) -> usize {
        let (Attention { rows, columns, .. }, Parts { queries, keys, values }) =
            (self.attention.sizes(), &self.projections);
        let of_queries = queries.operations().saturating_add(self.output.operations());
        let of_values = keys.operations().saturating_add(values.operations());
        let projections = rows.saturating_mul(of_queries).saturating_add(columns.saturating_mul(of_values));
        projections.saturating_add(self.attention.operations())
    }

    /// The most values of workspace that [`forward`](Self::forward) takes for some samples, in all threads together.
    pub fn workspace(&self, samples: usize, threads: usize) -> usize {
        let samples = samples.min(self.samples_at_once());
        let one = self.attention.of_sample().into_iter().fold(0, usize::saturating_add);
        one.saturating_mul(samples).saturating_add(self.attention.workspace(samples, threads))
    }

    /// The output for some samples, on up to `threads` threads if there is enough work. `x` has the steps that queries,
    /// keys and values are projected from. Every value of `y` is written.
    ///
    /// # Panics
    /// If the output is not that of whole samples, or the inputs do not match it.
    pub fn forward(&self, x: Parts<&[f32]>, threads: usize, y: &mut [f32]) {
        self.compute(x, false, threads, y);
    }

    /// As [`forward`](Self::forward), added to `y`.
    ///
    /// # Panics
    /// As for [`forward`](Self::forward).
    pub fn add_forward(&self, x: Parts<&[f32]>, threads: usize, y: &mut [f32]) {
        self.compute(x, true, threads, y);
    }

    fn compute(&self, x: Parts<&[f32]>, adds: bool, threads: usize, y: &mut [f32]) {
        let (Attention { rows, columns, .. }, Parts { queries, keys, values }) =
            (*self.attention.sizes(), &self.projections);
        let result = size_of(&[rows, self.output.units()]);
        let samples = y.len().checked_div(result).unwrap_or(0);
        check_len("the output", y.len(), size_of(&[samples, result]));
        let inputs =
            [(rows, queries), (columns, keys), (columns, values)].map(|(steps, own)| size_of(&[steps, own.inputs()]));
        check_len("the input of the queries", x.queries.len(), size_of(&[samples, inputs[0]]));
        check_len("the input of the keys", x.keys.len(), size_of(&[samples, inputs[1]]));
        check_len("the input of the values", x.values.len(), size_of(&[samples, inputs[2]]));
        if y.is_empty() {
            return;
        }
        let at_once = self.samples_at_once();
        let [of_queries, of_keys, of_values, of_attended] = self.attention.of_sample();
        let one = of_queries + of_keys + of_values + of_attended;
        scratch::with(size_of(&[samples.min(at_once), one]), |buffer| {
            for (block, y) in y.chunks_mut(at_once * result).enumerate() {
                let (first, samples) = (block * at_once, y.len() / result);
                let (q, rest) = buffer.split_at_mut(samples * of_queries);
                let (k, rest) = rest.split_at_mut(samples * of_keys);
                let (v, rest) = rest.split_at_mut(samples * of_values);
                let attended = &mut rest[..samples * of_attended];
                queries.forward(part_of(x.queries, inputs[0], first, samples), Activation::Linear, threads, q);
                keys.forward(part_of(x.keys, inputs[1], first, samples), Activation::Linear, threads, k);
                values.forward(part_of(x.values, inputs[2], first, samples), Activation::Linear, threads, v);
                self.attention.forward(Parts { queries: &*q, keys: &*k, values: &*v }, threads, attended);
                match adds {
                    true => self.output.add_forward(attended, Activation::Linear, threads, y),
                    false => self.output.forward(attended, Activation::Linear, threads, y),
                }
            }
        });
    }

    /// The samples of a block, by the sizes of one alone.
    fn samples_at_once(&self) -> usize {
        let Attention { rows, columns, .. } = *self.attention.sizes();
        ROWS_WANTED.div_ceil(rows.max(columns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::{Masks, forward};
    use crate::simd::at_every_level;
    use crate::testing::{assert_close, double, kept_by, kept_by_threads, values};

    /// Sizes of a sample, features of the inputs of queries, keys and values, and those of the output.
    type Case = (Attention, [usize; 3], usize);

    /// Self-attention worth sharing; blocks of many samples, with keys of their own; few queries of many steps.
    const CASES: [Case; 3] = [
        (Attention::of_one([64, 64], [8, 8], [32, 32]), [96, 96, 96], 96),
        (Attention::of_one([5, 7], [6, 3], [4, 9]), [11, 13, 12], 10),
        (Attention::of_one([1, 300], [2, 1], [16, 8]), [20, 33, 33], 1),
    ];

    struct Projections {
        projections: Parts<Packed>,
        output: Packed,
    }

    /// Projections, of which only that of the values has no bias.
    fn weights((sizes, inputs, units): &Case) -> Projections {
        let Attention { heads, groups, size, width, .. } = *sizes;
        let packed = |seed: u32, inputs: usize, units: usize| {
            let bias = values(units, seed + 10);
            Packed::new((inputs, units), &values(inputs * units, seed), Some(&bias[..]).filter(|_| seed != 3))
        };
        let projections = Parts {
            queries: packed(1, inputs[0], heads * size),
            keys: packed(2, inputs[1], groups * size),
            values: packed(3, inputs[2], groups * width),
        };
        Projections { projections, output: packed(4, heads * width, *units) }
    }

    fn prepared(case: &Case) -> PreparedMultiHead {
        let Projections { projections, output } = weights(case);
        PreparedMultiHead::new(PreparedAttention::new(&case.0).expect("offsets that fit"), projections, output)
    }

    /// The inputs of `samples` samples.
    fn operands((sizes, inputs, _): &Case, samples: usize) -> Parts<Vec<f32>> {
        let Attention { rows, columns, .. } = *sizes;
        Parts {
            queries: values(samples * rows * inputs[0], 21),
            keys: values(samples * columns * inputs[1], 22),
            values: values(samples * columns * inputs[2], 23),
        }
    }

    /// The output for some samples, part by part, added to `y` if `adds`.
    fn by_parts(case: &Case, samples: usize, adds: bool, y: &mut [f32]) {
        let sizes = Attention { batch: samples, ..case.0 };
        let (x, Projections { projections, output }) = (operands(case, samples), weights(case));
        let [of_queries, of_keys, of_values, outputs, scores] = sizes.of_sample().map(|one| samples * one);
        let projected = |projection: &Packed, x: &[f32], len: usize| {
            let mut y = vec![7.5; len];
            projection.forward(x, Activation::Linear, 1, &mut y);
            y
        };
        let queries = projected(&projections.queries, &x.queries, of_queries);
        let keys = projected(&projections.keys, &x.keys, of_keys);
        let values = projected(&projections.values, &x.values, of_values);
        let (mut attended, mut scores) = (vec![7.5; outputs], vec![7.5; scores]);
        let parts = Parts { queries: &queries[..], keys: &keys[..], values: &values[..] };
        forward(&sizes, parts, Masks::default(), &mut scores, &mut attended);
        match adds {
            true => output.add_forward(&attended, Activation::Linear, 1, y),
            false => output.forward(&attended, Activation::Linear, 1, y),
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn its_parts_give_the_same_and_a_sample_has_the_same_bits_in_any_batch_and_on_any_number_of_threads() {
        at_every_level(|_| {
            for case in CASES {
                let ((sizes, inputs, units), multi_head) = (case, prepared(&case));
                // Three blocks.
                let all = 2 * multi_head.samples_at_once() + 1;
                let (result, x) = (sizes.rows * units, operands(&case, all));
                let one = [sizes.rows * inputs[0], sizes.columns * inputs[1], sizes.columns * inputs[2]];
                for adds in [false, true] {
                    let run = |first: usize, samples: usize, threads: usize| {
                        let parts = Parts {
                            queries: part_of(&x.queries, one[0], first, samples),
                            keys: part_of(&x.keys, one[1], first, samples),
                            values: part_of(&x.values, one[2], first, samples),
                        };
                        let mut y = values(all * result, 5)[first * result..][..samples * result].to_vec();
                        match adds {
                            true => multi_head.add_forward(parts, threads, &mut y),
                            false => multi_head.forward(parts, threads, &mut y),
                        }
                        y
                    };
                    let (whole, mut expected) = (run(0, all, 1), values(all * result, 5));
                    by_parts(&case, all, adds, &mut expected);
                    assert_close("the output", &whole, &double(&expected));
                    for (first, samples) in [(0, 1), (all - 1, 1), (1, all - 2), (0, all)] {
                        for threads in [1, 2, 8] {
                            let expected = &whole[first * result..][..samples * result];
                            let found = run(first, samples, threads);
                            assert_eq!(found, expected, "{samples} samples of {sizes:?} on {threads} threads");
                        }
                    }
                }
            }
        });
    }

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn the_workspace_is_what_a_call_takes() {
        for (case, samples) in CASES.into_iter().flat_map(|case| [(case, 1), (case, 70)]) {
            let (multi_head, Parts { queries, keys, values }) = (prepared(&case), operands(&case, samples));
            let run = |threads: usize| {
                let parts = Parts { queries: &queries[..], keys: &keys[..], values: &values[..] };
                multi_head.forward(parts, threads, &mut vec![7.5; samples * case.0.rows * case.2]);
            };
            assert_eq!(kept_by(|| run(1)), multi_head.workspace(samples, 1), "{case:?}");
            let (kept, most) = kept_by_threads(4, || run(4), || multi_head.workspace(samples, 4));
            // A thread can keep the longer of its two buffers for either use.
            assert!(kept > 0 && kept <= 2 * most, "{samples} samples of {case:?}: {kept}, not {most}");
        }
    }

    #[test]
    #[should_panic(expected = "do not belong together")]
    fn parts_of_other_sizes_are_refused() {
        let Projections { projections, .. } = weights(&CASES[1]);
        let attention = PreparedAttention::new(&CASES[1].0).expect("offsets that fit");
        PreparedMultiHead::new(attention, projections, weights(&CASES[0]).output);
    }
}
