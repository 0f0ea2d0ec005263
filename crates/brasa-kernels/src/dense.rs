//! A fully connected layer: the product of a batch of rows with a matrix, and its gradients.

mod packed;

pub use packed::Packed;

use std::ops::Range;

use super::activation::Activation;
use super::gemm::{Columns, InitialC, PANEL, Right, product};
use super::panels::{pack, pack_panel, pack_transposed, pack_transposed_panel, panels_len};
use super::window::{check_len, even_offsets, offsets_fit_in, size_of};
use super::{parallel, scratch};

/// Rows from which on the weights are packed, a panel at a time by the thread that multiplies it: measured from 4 to
/// 64.
const FEW_ROWS: usize = 8;
/// Rows from which on all weights are packed before the first is used, or transposed: they are then read often enough
/// to pay for it.
const MANY_ROWS: usize = 48;

/// Most values of a left matrix that is multiplied by one panel after another: 512 KiB, half of a usual second-level
/// cache. Not read from the processor, as the last bit of a result can depend on whether the weights are packed.
const NEAR: usize = 128 << 10;

/// Columns of the input that are processed together for the weights' gradient.
const STRIP: usize = 120;

/// Sizes of a fully connected layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dense {
    /// Rows of input and output: samples, or samples times all dimensions between them and the last.
    pub rows: usize,
    /// Values of an input row.
    pub inputs: usize,
    /// Values of an output row.
    pub units: usize,
}

impl Dense {
    /// Floating-point operations of a forward pass; each of the two gradients takes the same number.
    pub fn operations(&self) -> usize {
        self.rows.saturating_mul(self.inputs).saturating_mul(self.units).saturating_mul(2)
    }

    /// Whether these functions can compute it: the offsets within a row of each matrix, and the numbers of rows, must
    /// fit in 32 bits. The matrices themselves can be larger: they are processed in parts.
    pub fn fits(&self) -> bool {
        [self.rows, self.inputs, self.units].iter().all(|size| offsets_fit_in(&[*size]))
    }

    fn check(&self, x: &[f32], w: &[f32]) {
        check_len("the input", x.len(), size_of(&[self.rows, self.inputs]));
        check_len("the weights", w.len(), size_of(&[self.inputs, self.units]));
    }
}

/// `y = activation(x · w + bias)`, with `x` of `rows × inputs`, `w` of `inputs × units`, `y` of `rows × units`. Every
/// value of `y` is written.
///
/// # Panics
/// If a slice's length does not match the sizes.
pub fn forward(dense: &Dense, x: &[f32], w: &[f32], bias: Option<&[f32]>, activation: Activation, y: &mut [f32]) {
    let Dense { rows, inputs, units } = *dense;
    dense.check(x, w);
    check_len("the output", y.len(), size_of(&[rows, units]));
    if let Some(bias) = bias {
        check_len("the bias", bias.len(), units);
    }
    let threads = parallel::threads_for(dense.operations());
    let start = InitialC::with_bias(bias);
    if rows >= FEW_ROWS && units > PANEL && fits_in_cache(rows, inputs, units) {
        return by_panels(threads, x, Panels::Rows(w, units), (rows, inputs, units), start, activation, y);
    }
    let many = rows >= MANY_ROWS && units > PANEL;
    scratch::with(if many { panels_len(inputs, units) } else { 0 }, |panels| {
        let right = if many {
            pack(w, inputs, units, units, panels);
            Right::panels(panels, inputs)
        } else {
            Right::Rows { data: w, stride: units }
        };
        matrix_product(threads, (x, inputs), right, (rows, inputs, units), start, activation, y);
    });
}

/// Computes from `dy`, the gradient of the output before the activation, the gradients `dw` of the weights and, where
/// given, `db` of the bias and `dx` of the input; all are overwritten.
///
/// # Panics
/// If a slice's length does not match the sizes.
pub fn backward(
    dense: &Dense,
    x: &[f32],
    w: &[f32],
    dy: &[f32],
    dx: Option<&mut [f32]>,
    dw: &mut [f32],
    db: Option<&mut [f32]>,
) {
    let Dense { rows, inputs, units } = *dense;
    dense.check(x, w);
    check_len("the gradient of the output", dy.len(), size_of(&[rows, units]));
    check_len("the gradient of the weights", dw.len(), w.len());
    let threads = parallel::threads_for(dense.operations());
    if let Some(db) = db {
        check_len("the gradient of the bias", db.len(), units);
        db.fill(0.0);
        parallel::add_rows(dy, db);
    }
    weights_gradient(threads, dense, x, dy, dw);
    if let Some(dx) = dx {
        check_len("the gradient of the input", dx.len(), x.len());
        if rows < MANY_ROWS {
            return few_inputs_gradient(threads, dense, w, dy, dx);
        }
        if fits_in_cache(rows, units, inputs) {
            let (panels, sizes) = (Panels::Transposed(w, units), (rows, units, inputs));
            return by_panels(threads, dy, panels, sizes, InitialC::Zero, Activation::Linear, dx);
        }
        scratch::with(panels_len(units, inputs), |panels| {
            pack_transposed((w, units), units, inputs, panels, (units, 0));
            let (right, sizes) = (Right::panels(panels, units), (rows, units, inputs));
            matrix_product(threads, (dy, units), right, sizes, InitialC::Zero, Activation::Linear, dx);
        });
    }
}

/// `dx = dy · wᵀ` for few rows, as the transpose of `w · dyᵀ`: less has to be transposed.
fn few_inputs_gradient(threads: usize, dense: &Dense, w: &[f32], dy: &[f32], dx: &mut [f32]) {
    let Dense { rows, inputs, units } = *dense;
    if dx.is_empty() {
        return;
    }
    scratch::with(panels_len(units, rows) + inputs * rows, |buffer| {
        let (panels, transposed) = buffer.split_at_mut(panels_len(units, rows));
        pack_transposed((dy, units), units, rows, panels, (units, 0));
        let (right, sizes) = (Right::panels(panels, units), (inputs, units, rows));
        matrix_product(threads, (w, units), right, sizes, InitialC::Zero, Activation::Linear, transposed);
        for (r, dx) in dx.chunks_exact_mut(inputs).enumerate() {
            for (dx, column) in dx.iter_mut().zip(transposed.chunks_exact(rows)) {
                *dx = column[r];
            }
        }
    });
}

/// `dw = xᵀ · dy`, in independent parts of the rows of `dw`.
fn weights_gradient(threads: usize, dense: &Dense, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let Dense { rows, inputs, units } = *dense;
    if dw.is_empty() {
        return;
    }
    let many = rows >= MANY_ROWS && units > 2 * PANEL;
    scratch::with(if many { panels_len(rows, units) } else { 0 }, |panels| {
        let right = if many {
            pack(dy, rows, units, units, panels);
            Right::panels(panels, rows)
        } else {
            Right::Rows { data: dy, stride: units }
        };
        let part = parallel::part_len(inputs, threads).min(STRIP).min(most_rows(rows, units));
        let (lefts, steps, results) = (even_offsets(part, 1), even_offsets(rows, part), even_offsets(part, units));
        let tasks = dw.chunks_mut(part * units).enumerate().collect();
        parallel::each(threads, tasks, |(i, dw): (usize, &mut [f32])| {
            let count = dw.len() / units;
            // Packed side by side, because rows of `x` that lie a power of two apart would evict each other from the
            // cache.
            scratch::with(rows * part, |strip| {
                for (strip, x) in strip.chunks_exact_mut(part).zip(x.chunks_exact(inputs)) {
                    strip[..count].copy_from_slice(&x[i * part..][..count]);
                }
                product((strip, &lefts[..count], &steps), right, units, (dw, &results[..count]), InitialC::Zero);
            });
        });
    });
}

/// `C = activation(A · B + start)` for rows of A that lie `stride` apart, and rows of C one after another. The work is
/// shared by rows, or by columns if there are few rows.
fn matrix_product(
    threads: usize,
    (a, stride): (&[f32], usize),
    b: Right,
    (rows, depth, columns): (usize, usize, usize),
    start: InitialC,
    activation: Activation,
    c: &mut [f32],
) {
    if c.is_empty() {
        return;
    }
    let steps = even_offsets(depth, 1);
    let most = most_rows(stride, columns);
    if rows < 2 * threads && rows <= most {
        return by_columns(threads, (a, stride, &steps), b, (rows, columns), start, activation, c);
    }
    let part = parallel::part_len(rows, threads).min(most);
    let (lefts, results) = (even_offsets(part, stride), even_offsets(part, columns));
    let tasks = c.chunks_mut(part * columns).enumerate().collect();
    parallel::each(threads, tasks, |(i, c): (usize, &mut [f32])| {
        let count = c.len() / columns;
        let a = a.get(i * part * stride..).unwrap_or_default();
        product((a, &lefts[..count], &steps), b, columns, (c, &results[..count]), start);
        activation.apply(c);
    });
}

/// Most rows of matrices of `columns` and `others` columns that can be processed at once with offsets of 32 bits.
fn most_rows(columns: usize, others: usize) -> usize {
    (u32::MAX as usize / columns.max(others).max(1)).max(1)
}

/// As [`matrix_product`], for few rows.
fn by_columns(
    threads: usize,
    (a, stride, steps): (&[f32], usize, &[u32]),
    b: Right,
    (rows, columns): (usize, usize),
    start: InitialC,
    activation: Activation,
    c: &mut [f32],
) {
    let width = parallel::part_len(columns, threads).next_multiple_of(2 * PANEL);
    let (lefts, results) = (even_offsets(rows, stride), even_offsets(rows, columns));
    parallel::each(threads, Columns::split(c, columns, width), |mut c: Columns| {
        let part = c.range();
        let (b, start) = (columns_from(b, &part), start.columns(part.clone()));
        c.product((a, &lefts, steps), b, (part, &results), start);
        c.rows().for_each(|row| activation.apply(row));
    });
}

/// Whether a left matrix stays in a core's cache while it is multiplied by one panel after another of the right one,
/// and the rows of the result need not be processed in parts.
fn fits_in_cache(rows: usize, depth: usize, columns: usize) -> bool {
    size_of(&[rows, depth]) <= NEAR && rows <= most_rows(depth, columns)
}

/// Where the panels of a right matrix come from.
#[derive(Clone, Copy)]
enum Panels<'a> {
    /// All are packed.
    Packed(&'a [f32]),
    /// Each is packed when it is used, from rows of the matrix that lie so far apart.
    Rows(&'a [f32], usize),
    /// As `Rows`, from rows of the transpose.
    Transposed(&'a [f32], usize),
}

impl Panels<'_> {
    /// Calls `work` with the panels of some columns, which begin with a panel, and these columns: once with all if they
    /// are packed, else panel by panel. A panel that is packed now goes to the workspace of the one before, which is
    /// still in the cache.
    fn each(self, depth: usize, columns: Range<usize>, mut work: impl FnMut(&[f32], Range<usize>)) {
        if let Panels::Packed(panels) = self {
            return work(&panels[columns.start * depth..], columns);
        }
        for first in columns.clone().step_by(PANEL) {
            let part = first..(first + PANEL).min(columns.end);
            let at = (first, part.len());
            scratch::with(depth * PANEL, |panel| {
                match self {
                    Panels::Packed(_) => {}
                    Panels::Rows(rows, stride) => pack_panel(rows, stride, at, panel),
                    Panels::Transposed(rows, stride) => pack_transposed_panel(rows, stride, at, panel),
                }
                work(panel, part);
            });
        }
    }
}

/// As [`matrix_product`], for contiguous rows of A that stay in the cache ([`fits_in_cache`]). Threads share the
/// columns of C, so that each reads only the panels of B that it multiplies, and finds those of fixed weights in its
/// cache from the call before.
fn by_panels(
    threads: usize,
    a: &[f32],
    b: Panels,
    (rows, depth, columns): (usize, usize, usize),
    start: InitialC,
    activation: Activation,
    c: &mut [f32],
) {
    if c.is_empty() {
        return;
    }
    let operations = Dense { rows, inputs: depth, units: columns }.operations();
    let width = PANEL * parallel::part_len_of(operations, columns.div_ceil(PANEL), threads);
    let (lefts, steps, results) = (even_offsets(rows, depth), even_offsets(depth, 1), even_offsets(rows, columns));
    parallel::each(threads, Columns::split(c, columns, width), |mut c: Columns| {
        b.each(depth, c.range(), |panels, part| {
            let start = start.columns(part.clone());
            c.product((a, &lefts, &steps), Right::panels(panels, depth), (part, &results), start);
        });
        c.rows().for_each(|row| activation.apply(row));
    });
}

/// Some rows of a matrix, of `width` values each.
pub(crate) fn part_of(x: &[f32], width: usize, first: usize, rows: usize) -> &[f32] {
    &x[first * width..(first + rows) * width]
}

fn columns_from<'a>(b: Right<'a>, columns: &Range<usize>) -> Right<'a> {
    match b {
        Right::Rows { data, stride } => Right::Rows { data: data.get(columns.start..).unwrap_or_default(), stride },
        Right::Panels { data, depth, first } => Right::Panels { data: &data[columns.start * depth..], depth, first },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::simd::{at_every_level, test_lock};
    use crate::testing::{assert_close, values};

    fn check(dense: Dense) {
        let Dense { rows, inputs, units } = dense;
        let (x, w, bias) = (values(rows * inputs, 1), values(inputs * units, 2), values(units, 3));
        let dy = values(rows * units, 4);
        let [mut y, mut plain, mut dx, mut dw, mut db] = [&dy, &dy, &x, &w, &bias].map(|like| vec![7.5; like.len()]);
        forward(&dense, &x, &w, Some(&bias), Activation::Tanh, &mut y);
        forward(&dense, &x, &w, None, Activation::Linear, &mut plain);
        backward(&dense, &x, &w, &dy, Some(&mut dx), &mut dw, Some(&mut db));

        let (mut ey, mut edx, mut edw, mut edb) =
            (vec![0.0; y.len()], vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; units]);
        for r in 0..rows {
            for u in 0..units {
                let g = dy[r * units + u] as f64;
                edb[u] += g;
                for i in 0..inputs {
                    let (x, w) = (x[r * inputs + i] as f64, w[i * units + u] as f64);
                    ey[r * units + u] += x * w;
                    edx[r * inputs + i] += g * w;
                    edw[i * units + u] += g * x;
                }
            }
        }
        assert_close("without bias", &plain, &ey);
        ey.iter_mut().enumerate().for_each(|(i, y)| *y = (*y + bias[i % units] as f64).tanh());
        assert_close("y", &y, &ey);
        assert_close("dx", &dx, &edx);
        assert_close("dw", &dw, &edw);
        assert_close("db", &db, &edb);
    }

    proptest! {
        #[test]
        fn any_sizes_agree_with_double_precision(rows in 0..130usize, inputs in 0..70usize, units in 1..100usize) {
            check(Dense { rows, inputs, units });
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn large_sizes_agree_at_every_level() {
        at_every_level(|_| {
            for (rows, inputs, units) in [
                (1, 1024, 10),
                (1, 784, 512),
                (3, 2500, 300),
                (128, 1024, 10),
                (1, 2900, 1500),
                (3, 2900, 700),
                (130, 785, 513),
                (64, 9, 1),
            ] {
                check(Dense { rows, inputs, units });
            }
        });
    }

    #[test]
    fn offsets_of_row_blocks_fit_in_32_bits() {
        for (columns, others) in [(1, 1), (1 << 20, 3), (3, 1 << 31), (u32::MAX as usize, 1)] {
            let rows = most_rows(columns, others);
            assert!(rows > 0 && offsets_fit_in(&[rows, columns]) && offsets_fit_in(&[rows, others]));
        }
        assert!(fits_in_cache(128, 784, 512) && !fits_in_cache(1 << 17, 1, 1 << 15) && !fits_in_cache(1 << 17, 2, 1));
        let dense = Dense { rows: 1 << 20, inputs: 1 << 20, units: 1 << 20 };
        assert!(dense.fits() && !Dense { rows: 1 << 32, ..dense }.fits());
        assert!(!Dense { inputs: 1 << 32, ..dense }.fits() && !Dense { units: 1 << 32, ..dense }.fits());
    }

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn the_same_call_gives_the_same_bits() {
        let _alone = test_lock();
        let dense = Dense { rows: 100, inputs: 300, units: 200 };
        let (x, w, dy) = (values(30_000, 1), values(60_000, 2), values(20_000, 3));
        let run = || {
            let (mut dx, mut dw, mut db) = (vec![0.0; 30_000], vec![0.0; 60_000], vec![0.0; 200]);
            backward(&dense, &x, &w, &dy, Some(&mut dx), &mut dw, Some(&mut db));
            (dx, dw, db)
        };
        assert_eq!(run(), run());
    }
}
