//! A fully connected layer with fixed weights, which are packed once.

use super::{Panels, by_panels, fits_in_cache, most_rows, part_of};
use crate::activation::Activation;
use crate::aligned::{Aligned, Weights};
use crate::gemm::{InitialC, PANEL, Right, line, product};
use crate::panels::{pack, panels_len};
use crate::parallel;
use crate::window::{check_len, even_offsets, size_of};

/// Rows in one matrix product.
const ROWS: usize = 480;
/// Most rows of which threads share the columns: with more, a row is cut into pieces too often (by measurement, 49 to
/// 3136 rows).
const MOST_SHARED_ROWS: usize = 128;
/// Fewest weights for which threads share the columns: 512 KiB; fewer are read quickly by every thread.
const MANY_WEIGHTS: usize = 128 << 10;
/// Rows that a thread's part has at least, if there are enough: those of a tile.
const FEWEST_ROWS: usize = 10;

/// A fully connected layer with weights packed once. A row's result has the same bits in any batch.
#[derive(Clone, Debug)]
pub struct Packed {
    inputs: usize,
    units: usize,
    panels: Weights,
    bias: Option<Vec<f32>>,
    /// Offsets within a row of the input; of rows of the input; of rows of the output.
    steps: Vec<u32>,
    lefts: Vec<u32>,
    results: Vec<u32>,
}

impl Packed {
    /// Packs weights of `inputs × units`.
    ///
    /// # Panics
    /// If a slice's length does not match the sizes, or if the sizes do not [fit](super::Dense::fits).
    pub fn new((inputs, units): (usize, usize), w: &[f32], bias: Option<&[f32]>) -> Self {
        check_len("the weights", w.len(), size_of(&[inputs, units]));
        bias.into_iter().for_each(|bias| check_len("the bias", bias.len(), units));
        let mut panels = Aligned::zeros(panels_len(inputs, units));
        pack(w, inputs, units, units, &mut panels);
        let rows = ROWS.min(most_rows(inputs, units));
        Self {
            inputs,
            units,
            panels: panels.into(),
            bias: bias.map(<[f32]>::to_vec),
            steps: even_offsets(inputs, 1),
            lefts: even_offsets(rows, inputs),
            results: even_offsets(rows, units),
        }
    }

    /// The packed weights, to be [gathered](Weights::gather).
    pub fn weights_mut(&mut self) -> &mut Weights {
        &mut self.panels
    }

    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(crate) fn units(&self) -> usize {
        self.units
    }

    /// Floating-point operations per row.
    pub fn operations(&self) -> usize {
        self.inputs.saturating_mul(self.units).saturating_mul(2)
    }

    /// `y = activation(x · w + bias)` for contiguous rows of `x`, on up to `threads` threads if there is enough work.
    /// Every value of `y` is written.
    ///
    /// # Panics
    /// If the input is not whole rows, or the output does not match it.
    pub fn forward(&self, x: &[f32], activation: Activation, threads: usize, y: &mut [f32]) {
        self.compute(x, InitialC::with_bias(self.bias.as_deref()), activation, threads, y);
    }

    /// As [`forward`](Self::forward), added to `y` before the activation: `y = activation(y + x · w + bias)`.
    ///
    /// # Panics
    /// As for [`forward`](Self::forward).
    pub fn add_forward(&self, x: &[f32], activation: Activation, threads: usize, y: &mut [f32]) {
        self.compute(x, InitialC::add_with_bias(self.bias.as_deref()), activation, threads, y);
    }

    fn compute(&self, x: &[f32], start: InitialC, activation: Activation, threads: usize, y: &mut [f32]) {
        let rows = match self.units {
            0 => x.len() / self.inputs.max(1),
            units => y.len() / units,
        };
        check_len("the output", y.len(), size_of(&[rows, self.units]));
        check_len("the input", x.len(), size_of(&[rows, self.inputs]));
        if y.is_empty() {
            return;
        }
        let threads = threads.min(match rows {
            1 => parallel::threads_for_row(self.operations()),
            rows => parallel::threads_for(self.operations().saturating_mul(rows)),
        });
        if threads <= 1 {
            return self.rows(x, start, activation, y);
        }
        if rows == 1 {
            // Shared by panels of the weights, one part a thread: each finds its own in its cache the next time.
            let width = self.units.div_ceil(PANEL).div_ceil(threads).next_multiple_of(2) * PANEL;
            let tasks = y.chunks_mut(width).enumerate().collect();
            parallel::each(threads, tasks, |(i, y): (usize, &mut [f32])| {
                self.line(x, start, i * width, y);
                activation.apply(y);
            });
            return;
        }
        if shares_columns(rows, self.inputs, self.units) {
            let sizes = (rows, self.inputs, self.units);
            return by_panels(threads, x, Panels::Packed(&self.panels), sizes, start, activation, y);
        }
        let operations = self.operations().saturating_mul(rows);
        let part = parallel::part_len_of(operations, rows, threads).max(FEWEST_ROWS.min(rows.div_ceil(threads)));
        let tasks = y.chunks_mut(part * self.units).enumerate().collect();
        parallel::each(threads, tasks, |(i, y): (usize, &mut [f32])| {
            let rows = y.len() / self.units;
            self.rows(part_of(x, self.inputs, i * part, rows), start, activation, y);
        });
    }

    /// The same on the calling thread.
    fn rows(&self, x: &[f32], start: InitialC, activation: Activation, y: &mut [f32]) {
        let all = y.len() / self.units;
        if all == 1 {
            // From two rows on, a tile of the matrix product is as fast.
            self.line(x, start, 0, y);
            return activation.apply(y);
        }
        let at_once = self.lefts.len();
        for (i, y) in y.chunks_mut(at_once * self.units).enumerate() {
            let rows = y.len() / self.units;
            let x = part_of(x, self.inputs, i * at_once, rows);
            let right = Right::panels(&self.panels, self.inputs);
            product((x, &self.lefts[..rows], &self.steps), right, self.units, (&mut *y, &self.results[..rows]), start);
            activation.apply(y);
        }
    }

    /// The columns from `first` on, a multiple of a panel's width, of one row, without the activation.
    fn line(&self, x: &[f32], start: InitialC, first: usize, y: &mut [f32]) {
        let start = start.columns(first..first + y.len());
        line(x, (&self.panels[first * self.inputs..], self.inputs), start, y);
    }
}

/// Whether threads share the columns of the output rather than its rows: where the weights are many and the rows few,
/// as each thread then reads only its part of the weights. Results do not depend on it.
fn shares_columns(rows: usize, inputs: usize, units: usize) -> bool {
    rows <= MOST_SHARED_ROWS
        && size_of(&[inputs, units]) >= MANY_WEIGHTS
        && fits_in_cache(rows, inputs, units)
        && units > PANEL
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dense::{Dense, forward};
    use crate::simd::at_every_level;
    use crate::testing::{assert_close, double, values};

    #[test]
    fn packed_weights_agree_and_rows_have_the_same_bits_in_any_batch() {
        at_every_level(|_| {
            for (inputs, units) in [(784, 512), (5, 3), (1, 1), (2100, 130), (1025, 33), (64, 10), (300, 97), (0, 4)] {
                let (rows, most) = ([1, 2, 3, 7, 130], 130);
                let (x, w, bias) = (values(most * inputs, 1), values(inputs * units, 2), values(units, 3));
                let packed = Packed::new((inputs, units), &w, Some(&bias));
                let mut whole = vec![7.5; most * units];
                packed.forward(&x, Activation::Tanh, 1, &mut whole);
                let mut added = values(most * units, 4);
                packed.add_forward(&x, Activation::Tanh, 1, &mut added);
                let mut expected = vec![0.0; most * units];
                let dense = Dense { rows: most, inputs, units };
                forward(&dense, &x, &w, Some(&bias), Activation::Tanh, &mut expected);
                assert_close("y", &whole, &double(&expected));
                forward(&dense, &x, &w, Some(&bias), Activation::Linear, &mut expected);
                let sums = double(&expected)
                    .into_iter()
                    .zip(values(most * units, 4))
                    .map(|(y, before)| (y + before as f64).tanh());
                assert_close("added", &added, &sums.collect::<Vec<_>>());
                for (rows, threads) in rows.into_iter().flat_map(|rows| [(rows, 1), (rows, 4)]) {
                    let mut y = vec![7.5; rows * units];
                    packed.forward(&x[..rows * inputs], Activation::Tanh, threads, &mut y);
                    assert_eq!(y, whole[..rows * units], "{rows} rows of {inputs} × {units}, {threads} threads");
                    let mut y = values(rows * units, 4);
                    packed.add_forward(&x[..rows * inputs], Activation::Tanh, threads, &mut y);
                    assert_eq!(y, added[..rows * units], "added, {rows} rows of {inputs} × {units}, {threads} threads");
                }
            }
        });
    }
}
