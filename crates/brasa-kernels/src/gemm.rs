//! The matrix product (GEMM) behind most kernels, with A and C addressed through tables of offsets.
//!
//! [`product`] computes `C[i][j] (+)= Σₖ A[rows[i] + steps[k]] · B[k][j]`. With the offsets of an image's pixels and of
//! a window's cells it is a convolution without im2col: an indirect GEMM (M. Dukhan, *The Indirect Convolution
//! Algorithm*, 2019), here with two one-dimensional tables of offsets instead of a pointer for each pixel and cell.
//! With the two tables swapped it is the gradient of the weights, and with evenly spaced offsets an ordinary matrix
//! product. Loops are blocked in the manner of GotoBLAS and BLIS; the microkernel keeps a tile of C in registers while
//! it runs along k.
//!
//! # From a call to a microkernel
//!
//! [`product`] checks all offsets, asks [`simd::level`] for the processor's instruction set (detected at the first
//! query) and takes that level's table of microkernels, `Microkernels::of` in `tiles.rs`: a function for each height of
//! a tile, wide and narrow. All are instances of the one `tile` there, compiled for AVX-512, AVX2 or the target's
//! baseline. Blocks of `DEPTH` steps and `HEIGHT` rows follow; `panel` takes the columns a tile's width at a time and
//! guards the end of B, `columns` cuts the rows into tiles of nearly equal height. Threads are the callers' matter:
//! each calls [`product`] for rows or columns of its own.
//!
//! # Limits
//!
//! Multiply-adds, where there are rows enough. With AVX-512 the highest wide tile has 10 × 32 sums in 20 of the 32
//! registers: each step loads two vectors of B and 10 values of A for 20 multiply-adds, so that two of these a cycle
//! keep the units busy, and each sum waits for its predecessor no longer than its turn takes. AVX2 has 6 × 16 sums in
//! 12 of 16 registers. Where rows are few, each value of B that is loaded serves few sums, and loading limits; a single
//! row ([`line()`], a product of a vector and a matrix) runs at the speed of memory. Edge tiles compute their full
//! width, so that columns just above a multiple of the narrow width cost most. `cargo bench --bench kernels` prints
//! rates beside [`super::peak`]'s.

use std::marker::PhantomData;
use std::ops::Range;

use super::panels::panels_len;
use super::simd;
pub use super::tiles::PANEL;
use super::tiles::{APART, LINE, MOST_ROWS, MicrokernelSet, Microkernels, PREFETCHED};

/// Steps of k in one block (the KC of BLIS): this part of a panel of B, at most 128 KiB, stays in the second-level
/// cache, which no processor with AVX2 has smaller than 256 KiB. Not read from the processor: sums over k are cut here,
/// and a result has the same bits on every processor of a level.
const DEPTH: usize = 1024;
/// Rows in one block (the MC of BLIS), a multiple of every microkernel's height. Nothing that was measured depends on
/// it by more than 3 % from 60 to 960 (A is not packed: its rows are streamed), so it is not read from the processor
/// either.
const HEIGHT: usize = 480;

/// The right matrix (B) of a product.
#[derive(Clone, Copy)]
pub enum Right<'a> {
    /// Row after row, each `stride` values after the one before.
    Rows {
        /// The values.
        data: &'a [f32],
        /// Distance between rows.
        stride: usize,
    },
    /// Rows of a matrix packed in panels of [`PANEL`] columns, each panel with all its rows one after another, the last
    /// panel padded with zeros: see [`super::panels`].
    Panels {
        /// The whole matrix.
        data: &'a [f32],
        /// Number of rows of the whole matrix.
        depth: usize,
        /// First row to use.
        first: usize,
    },
}

impl<'a> Right<'a> {
    /// All rows of a packed matrix.
    pub fn panels(data: &'a [f32], depth: usize) -> Self {
        Right::Panels { data, depth, first: 0 }
    }

    /// The distance to the next panel from the value at index `at`, if the matrix is packed and there is one.
    fn next_panel(self, at: usize) -> Option<usize> {
        match self {
            Right::Panels { data, depth, .. } if at + depth * PANEL < data.len() => Some(depth * PANEL),
            _ => None,
        }
    }
}

/// How a product treats the values already in C.
#[derive(Clone, Copy)]
pub enum InitialC<'a> {
    /// Accumulates. Rows of C may overlap.
    Add,
    /// Overwrites them.
    Zero,
    /// Overwrites them, with a bias added to each column.
    Bias(&'a [f32]),
    /// Accumulates, with a bias added to each column.
    AddBias(&'a [f32]),
}

impl<'a> InitialC<'a> {
    /// [`InitialC::Bias`] if there is one, else [`InitialC::Zero`].
    pub fn with_bias(bias: Option<&'a [f32]>) -> Self {
        bias.map_or(InitialC::Zero, InitialC::Bias)
    }

    /// [`InitialC::AddBias`] if there is one, else [`InitialC::Add`].
    pub fn add_with_bias(bias: Option<&'a [f32]>) -> Self {
        bias.map_or(InitialC::Add, InitialC::AddBias)
    }

    pub(crate) fn bias(self) -> Option<&'a [f32]> {
        match self {
            InitialC::Bias(bias) | InitialC::AddBias(bias) => Some(bias),
            InitialC::Add | InitialC::Zero => None,
        }
    }

    pub(crate) fn adds(self) -> bool {
        matches!(self, InitialC::Add | InitialC::AddBias(_))
    }

    /// The same for the columns `range` of C.
    pub(crate) fn columns(self, range: Range<usize>) -> Self {
        match self {
            InitialC::Bias(bias) => InitialC::Bias(&bias[range]),
            InitialC::AddBias(bias) => InitialC::AddBias(&bias[range]),
            other => other,
        }
    }
}

/// `C[c_rows[i] + j] (+)= Σₖ A[rows[i] + steps[k]] · B[k][j]` for all rows and for `j < columns`, on the calling
/// thread.
///
/// # Panics
/// If any offset lies outside `a`, `b` or `c`, or if the two tables of rows differ in length.
pub fn product(
    (a, rows, steps): (&[f32], &[u32], &[u32]),
    b: Right,
    columns: usize,
    (c, c_rows): (&mut [f32], &[u32]),
    start: InitialC,
) {
    if rows.is_empty() || columns == 0 {
        return;
    }
    check(a, rows, steps, b, columns, c.len(), c_rows, start);
    if steps.is_empty() {
        return nothing_to_add(columns, c, c_rows, start);
    }
    // SAFETY: all offsets have been checked, and C is borrowed mutably.
    unsafe { by_blocks((a, rows, steps), b, columns, (c.as_mut_ptr(), c_rows), start) }
}

/// The blocks of a [`product`] with at least one row, step and column.
///
/// # Safety
/// The arguments have passed [`check`], and no other thread accesses these columns of C.
unsafe fn by_blocks(
    (a, rows, steps): (&[f32], &[u32], &[u32]),
    b: Right,
    columns: usize,
    (c, c_rows): (*mut f32, &[u32]),
    start: InitialC,
) {
    let tiles = Microkernels::of(simd::level());
    for (d, part) in steps.chunks(DEPTH).enumerate() {
        let start = if d == 0 { start } else { InitialC::Add };
        for (rows, c_rows) in rows.chunks(HEIGHT).zip(c_rows.chunks(HEIGHT)) {
            let call = BlockProduct { a, rows, steps: part, c, c_rows, tiles };
            let mut j = 0;
            while j < columns {
                let width = tiles.set_for(columns - j).width;
                let end = (j + width).min(columns);
                // SAFETY: `check` covers all offsets into A and C and the size of B; `panel` keeps the reads of B
                // inside it.
                unsafe { call.panel(b, d * DEPTH, j, end - j, width, start.columns(j..end)) };
                j = end;
            }
        }
    }
}

/// One row of a product (GEMV) with all columns of a matrix in panels of so many rows, on the calling thread: the sums
/// of [`product`], bit for bit, at the speed of memory.
///
/// # Panics
/// If a slice is too short.
pub fn line(a: &[f32], (panels, depth): (&[f32], usize), start: InitialC, c: &mut [f32]) {
    assert!(a.len() <= depth && panels_len(depth, c.len()) <= panels.len(), "B is too short");
    if a.is_empty() {
        return start.initialize(c);
    }
    let Microkernels { line: (most, long), short_line, .. } = Microkernels::of(simd::level());
    let mut sums = [0.0; LINE];
    for (d, a) in a.chunks(DEPTH).enumerate() {
        let (mut panel, mut rest) = (0, &mut *c);
        while !rest.is_empty() {
            let (count, line) = if rest.len().div_ceil(PANEL) >= *most { (*most, long) } else { (1, short_line) };
            let (c, later) = rest.split_at_mut((count * PANEL).min(rest.len()));
            let mut base = [0.0; LINE];
            if let Some(bias) = start.bias().filter(|_| d == 0) {
                base[..c.len()].copy_from_slice(&bias[panel * PANEL..][..c.len()]);
            }
            let at = (panel * depth + d * DEPTH) * PANEL;
            // SAFETY: `count` panels from this one on lie within the panels, whose length was checked, and `a` is not
            // longer than what is left of each.
            unsafe { line(a, panels[at..].as_ptr(), depth * PANEL, &base, &mut sums) };
            if d == 0 && !start.adds() {
                c.copy_from_slice(&sums[..c.len()]);
            } else {
                c.iter_mut().zip(&sums).for_each(|(c, sum)| *c += sum);
            }
            (panel, rest) = (panel + count, later);
        }
    }
}

/// Some columns of a matrix of contiguous rows, for one thread to write while others write the rest.
///
/// ```
/// use brasa_kernels::gemm::{Columns, InitialC, Right};
/// let (a, b, mut c) = ([1.0, 2.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0.0; 3]);
/// for mut part in Columns::split(&mut c, 3, 2) {
///     let columns = part.range();
///     let b = Right::Rows { data: &b[columns.start..], stride: 3 };
///     part.product((&a, &[0], &[0, 1]), b, (columns, &[0]), InitialC::Zero);
/// }
/// assert_eq!(c, [9.0, 12.0, 15.0]);
/// ```
pub struct Columns<'a> {
    matrix: *mut f32,
    rows: usize,
    /// Columns of the matrix.
    stride: usize,
    range: Range<usize>,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: as for `&mut [f32]`: the parts of a matrix, which `split` makes, have no value in common.
unsafe impl Send for Columns<'_> {}

impl<'a> Columns<'a> {
    /// All columns of a matrix of rows of `columns` values.
    ///
    /// # Panics
    /// If the matrix is not whole rows.
    pub fn whole(matrix: &'a mut [f32], columns: usize) -> Self {
        let rows = matrix.len() / columns.max(1);
        assert_eq!(rows * columns, matrix.len(), "a matrix is whole rows");
        Self { matrix: matrix.as_mut_ptr(), rows, stride: columns, range: 0..columns, borrowed: PhantomData }
    }

    /// Cuts a matrix of rows of `columns` values into parts of `width` columns, of which the last may have fewer.
    ///
    /// # Panics
    /// If the matrix is not whole rows, or `width` is zero.
    pub fn split(matrix: &'a mut [f32], columns: usize, width: usize) -> Vec<Self> {
        let Self { matrix, rows, .. } = Self::whole(matrix, columns);
        let part = |first| Self {
            matrix,
            rows,
            stride: columns,
            range: first..columns.min(first.saturating_add(width)),
            borrowed: PhantomData,
        };
        (0..columns).step_by(width).map(part).collect()
    }

    /// The indices of the columns in their matrix.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// The values of each row.
    pub fn rows(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let (matrix, stride, range) = (self.matrix, self.stride, self.range.clone());
        // SAFETY: every row has these columns, and no other part does.
        (0..self.rows).map(move |row| unsafe {
            std::slice::from_raw_parts_mut(matrix.add(row * stride + range.start), range.len())
        })
    }

    /// As [`product`] for successive rows and for the columns `range` of the matrix, with the columns of B and of
    /// `start` that belong to them. `c_rows` are the offsets of these rows in the matrix.
    ///
    /// # Panics
    /// If any offset lies outside `a` or `b`, if these columns are not all among the part's, or if `c_rows` are not the
    /// offsets of successive rows.
    pub fn product(
        &mut self,
        (a, rows, steps): (&[f32], &[u32], &[u32]),
        b: Right,
        (range, c_rows): (Range<usize>, &[u32]),
        start: InitialC,
    ) {
        assert!(self.range.start <= range.start && range.end <= self.range.end, "columns of another part");
        // Others may write between the columns, so that an offset must be that of a row.
        let first = c_rows.first().map_or(0, |at| *at as usize);
        let are_rows = c_rows.len() <= self.rows
            && first.is_multiple_of(self.stride)
            && c_rows.iter().enumerate().all(|(i, at)| *at as usize == first + i * self.stride);
        assert!(are_rows, "the rows are not those of the matrix");
        if rows.is_empty() || range.is_empty() {
            return;
        }
        check(a, rows, steps, b, range.len(), self.rows * self.stride - range.start, c_rows, start);
        if steps.is_empty() {
            let within = range.start - self.range.start..range.end - self.range.start;
            let rows = first / self.stride..first / self.stride + c_rows.len();
            let values = self.rows().skip(rows.start).take(rows.len());
            return values.for_each(|row| start.initialize(&mut row[within.clone()]));
        }
        // SAFETY: all offsets have been checked; from its first column on, C is as long as `check` was given, and other
        // threads write other columns.
        unsafe { by_blocks((a, rows, steps), b, range.len(), (self.matrix.add(range.start), c_rows), start) }
    }
}

/// A product over no steps: C is only initialized.
fn nothing_to_add(columns: usize, c: &mut [f32], c_rows: &[u32], start: InitialC) {
    for row in c_rows {
        start.initialize(&mut c[*row as usize..][..columns]);
    }
}

/// Checks that the microkernels stay inside their slices.
#[allow(clippy::too_many_arguments)]
fn check(
    a: &[f32],
    rows: &[u32],
    steps: &[u32],
    b: Right,
    columns: usize,
    c_len: usize,
    c_rows: &[u32],
    start: InitialC,
) {
    let last = |table: &[u32]| table.iter().fold(0, |most, v| most.max(*v)) as usize;
    assert_eq!(rows.len(), c_rows.len(), "the tables of rows differ in length");
    assert!(last(c_rows).checked_add(columns).is_some_and(|end| end <= c_len), "C is too short");
    assert!(start.bias().is_none_or(|bias| bias.len() >= columns), "the bias is too short");
    if steps.is_empty() {
        return;
    }
    assert!(last(rows).checked_add(last(steps)).is_some_and(|at| at < a.len()), "A is too short");
    let b_fits = match b {
        Right::Rows { data, stride } => (steps.len() - 1)
            .checked_mul(stride)
            .and_then(|at| at.checked_add(columns))
            .is_some_and(|end| end <= data.len()),
        Right::Panels { data, depth, first } => {
            first.checked_add(steps.len()).is_some_and(|end| end <= depth) && panels_len(depth, columns) <= data.len()
        }
    };
    assert!(b_fits, "B is too short");
}

impl InitialC<'_> {
    /// Sets a row of C to what the sums start from.
    pub(crate) fn initialize(self, row: &mut [f32]) {
        match self {
            InitialC::Add => {}
            InitialC::Zero => row.fill(0.0),
            InitialC::Bias(bias) => row.copy_from_slice(&bias[..row.len()]),
            InitialC::AddBias(bias) => row.iter_mut().zip(bias).for_each(|(c, bias)| *c += bias),
        }
    }
}

/// Rows and steps of one block of a product; all their offsets lie within A and C.
struct BlockProduct<'a> {
    a: &'a [f32],
    rows: &'a [u32],
    steps: &'a [u32],
    c: *mut f32,
    c_rows: &'a [u32],
    tiles: &'static Microkernels,
}

impl BlockProduct<'_> {
    /// Columns `j..j + count`, with tiles of `width` columns. `step` is the index of the first step.
    ///
    /// # Safety
    /// As for [`check`].
    #[allow(clippy::too_many_arguments)]
    unsafe fn panel(&self, b: Right, step: usize, j: usize, count: usize, width: usize, start: InitialC) {
        let (data, at, step) = match b {
            Right::Rows { data, stride } => (data, step * stride + j, stride),
            Right::Panels { data, depth, first } => {
                (data, (j / PANEL * depth + first + step) * PANEL + j % PANEL, PANEL)
            }
        };
        // A tile reads `width` columns even where it writes fewer. The excess is harmless within B; where it would lie
        // beyond, the last rows are copied.
        let room = data.len() - at;
        let steps = self.steps.len();
        let whole =
            if width > room { 0 } else { ((room - width).checked_div(step).map_or(steps, |n| n + 1)).min(steps) };
        let inside = BlockProduct { steps: &self.steps[..whole], ..*self };
        // SAFETY: row `whole - 1`, the last one read, ends at `(whole - 1) * step + width <= room`.
        unsafe { inside.columns(data[at..].as_ptr(), step, j, count, start, b.next_panel(at)) };
        if whole == steps {
            return;
        }
        let mut copied = [0.0; PANEL * PANEL];
        let mut start = if whole == 0 { start } else { InitialC::Add };
        for part in (whole..steps).step_by(PANEL) {
            let end = (part + PANEL).min(steps);
            for k in part..end {
                copied[(k - part) * PANEL..][..count].copy_from_slice(&data[at + k * step..][..count]);
            }
            let rest = BlockProduct { steps: &self.steps[part..end], ..*self };
            // SAFETY: `copied` holds `PANEL` columns for each of at most `PANEL` steps.
            unsafe { rest.columns(copied.as_ptr(), PANEL, j, count, start, None) };
            start = InitialC::Add;
        }
    }

    /// All rows, in tiles of nearly equal height. `next` is the distance from `b` to the same steps of the next panel,
    /// which are then prefetched.
    ///
    /// # Safety
    /// B must hold a tile's width of columns for every step; rows and steps must lie in A, rows and columns in C.
    unsafe fn columns(
        &self,
        b: *const f32,
        b_step: usize,
        j: usize,
        count: usize,
        start: InitialC,
        next: Option<usize>,
    ) {
        if self.steps.is_empty() {
            return;
        }
        let MicrokernelSet { width, heights, prefetching } = self.tiles.set_for(count);
        let mut base = [0.0; PANEL];
        if let Some(bias) = start.bias() {
            base[..count].copy_from_slice(&bias[..count]);
        }
        let add = start.adds();
        let parts = self.rows.len().div_ceil(heights.len());
        let (height, taller) = (self.rows.len() / parts, self.rows.len() % parts);
        // The first `PANEL / PREFETCHED` tiles prefetch the next panel, one part each.
        let part_len = self.steps.len() * PREFETCHED;
        let mut i = 0;
        for part in 0..parts {
            let end = i + height + usize::from(part < taller);
            let (tile, ahead) = match next {
                Some(next) if part < PANEL / PREFETCHED => {
                    (prefetching[end - i - 1], b.wrapping_add(next + part * part_len))
                }
                _ => (heights[end - i - 1], b),
            };
            let (rows, c_rows) = (&self.rows[i..end], &self.c_rows[i..end]);
            i = end;
            if count == *width {
                // SAFETY: the caller's promise; there are as many rows as the tile is high and as many columns as it is
                // wide.
                unsafe { tile(self.a, rows, self.steps, b, b_step, &base, self.c.add(j), c_rows, add, ahead) };
                continue;
            }
            // An edge tile is written whole to a buffer, from which `count` columns are copied.
            let mut whole = [0.0; MOST_ROWS * PANEL];
            // SAFETY: as above, and `whole` has room for the highest and widest tile.
            unsafe { tile(self.a, rows, self.steps, b, b_step, &base, whole.as_mut_ptr(), &APART, false, b) };
            for (row, whole) in c_rows.iter().zip(whole.chunks_exact(PANEL)) {
                // SAFETY: the caller's promise: C has `count` columns from `j` on in this row.
                let c = unsafe { std::slice::from_raw_parts_mut(self.c.add(*row as usize + j), count) };
                if add {
                    c.iter_mut().zip(whole).for_each(|(c, value)| *c += value);
                } else {
                    c.copy_from_slice(&whole[..count]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::panels::{pack, pack_transposed};
    use crate::simd::at_every_level;
    use crate::testing::{assert_close, values};
    use crate::window::even_offsets;

    /// Two forms of B and four starts, against the definition.
    fn check(rows: usize, depth: usize, columns: usize, spare: usize) {
        let (a, stride) = (values(rows * depth + 3, 1), columns + spare);
        let b = values((depth * stride).saturating_sub(spare), 2);
        let (before, bias) = (values(rows * columns, 3), values(columns, 4));
        let (lefts, steps, results) = (even_offsets(rows, depth), even_offsets(depth, 1), even_offsets(rows, columns));
        let value = |k: usize, j: usize| b[k * stride + j];
        let transposed: Vec<f32> =
            (0..columns).flat_map(|j| (0..depth).map(move |k| (k, j))).map(|(k, j)| value(k, j)).collect();
        let [mut packed, mut from_transposed] = [0; 2].map(|_| vec![7.5; panels_len(depth, columns)]);
        pack(&b, depth, columns, stride, &mut packed);
        pack_transposed((&transposed, depth), depth, columns, &mut from_transposed, (depth, 0));
        assert_eq!(packed, from_transposed);

        for right in [Right::Rows { data: &b, stride }, Right::panels(&packed, depth)] {
            for start in [InitialC::Add, InitialC::Zero, InitialC::Bias(&bias), InitialC::AddBias(&bias)] {
                let expected: Vec<f64> = (0..rows * columns)
                    .map(|at| {
                        let (i, j) = (at / columns, at % columns);
                        let sum: f64 = (0..depth).map(|k| a[i * depth + k] as f64 * value(k, j) as f64).sum();
                        sum + match start {
                            InitialC::Add => before[at] as f64,
                            InitialC::Zero => 0.0,
                            InitialC::Bias(bias) => bias[j] as f64,
                            InitialC::AddBias(bias) => before[at] as f64 + bias[j] as f64,
                        }
                    })
                    .collect();
                let mut c = before.clone();
                product((&a, &lefts, &steps), right, columns, (&mut c, &results), start);
                assert_close("C", &c, &expected);
            }
        }
    }

    proptest! {
        #[test]
        fn any_sizes_agree_with_the_definition(
            rows in 1..40usize, depth in 0..40usize, columns in 1..100usize, spare in 0..9usize,
        ) {
            check(rows, depth, columns, spare);
        }
    }

    #[test]
    fn tails_and_blocks_agree_at_every_level() {
        at_every_level(|_| {
            for (rows, depth, columns) in
                [(1, 7, 1), (11, 40, 3), (23, 5, 33), (7, 2100, 10), (970, 3, 47), (21, 64, 64), (10, 2, 17)]
            {
                check(rows, depth, columns, 0);
            }
        });
    }

    #[test]
    fn overlapping_rows_of_c_are_all_added() {
        at_every_level(|_| {
            let (a, b) = (values(20, 1), values(40, 2));
            let mut c = vec![0.0; 20 + 39];
            product(
                (&a, &even_offsets(20, 1), &[0]),
                Right::Rows { data: &b, stride: 40 },
                40,
                (&mut c, &even_offsets(20, 1)),
                InitialC::Add,
            );
            let mut expected = vec![0.0; c.len()];
            (0..20).for_each(|i| (0..40).for_each(|j| expected[i + j] += a[i] as f64 * b[j] as f64));
            assert_close("C", &c, &expected);
        });
    }

    #[test]
    fn some_rows_of_panels() {
        let (a, b) = (values(6, 1), values(10 * 40, 2));
        let mut panels = vec![0.0; panels_len(10, 40)];
        pack(&b, 10, 40, 40, &mut panels);
        let (rows, steps) = (even_offsets(2, 3), even_offsets(3, 1));
        let run = |right| {
            let mut c = vec![0.0; 80];
            product((&a, &rows, &steps), right, 40, (&mut c, &even_offsets(2, 40)), InitialC::Zero);
            c
        };
        let some = run(Right::Panels { data: &panels, depth: 10, first: 4 });
        assert_eq!(some, run(Right::Rows { data: &b[160..], stride: 40 }));
    }

    #[test]
    fn some_rows_of_some_columns() {
        let (a, b, bias) = (values(6, 1), values(3 * 4, 2), values(2, 3));
        let (rows, steps) = (even_offsets(2, 3), even_offsets(3, 1));
        let right = Right::Rows { data: &b[2..], stride: 4 };
        // The second and the third row, from the third column on; without steps there is the bias alone.
        for steps in [&steps[..], &[]] {
            let mut c = [7.5; 4 * 4];
            let mut parts = Columns::split(&mut c, 4, 2);
            parts[1].product((&a, &rows, steps), right, (2..4, &[4, 8]), InitialC::Bias(&bias));
            let expected: Vec<f64> = (0..4 * 4)
                .map(|at| match (at / 4, at % 4) {
                    (i @ 1..3, j @ 2..4) => {
                        let products = (0..steps.len()).map(|k| a[(i - 1) * 3 + k] as f64 * b[k * 4 + j] as f64);
                        products.sum::<f64>() + bias[j - 2] as f64
                    }
                    _ => 7.5,
                })
                .collect();
            assert_close("C", &c, &expected);
        }
        let refused = |c_rows: [u32; 2]| {
            let product = || {
                let (b, mut c) = (Right::Rows { data: &[0.0; 12], stride: 4 }, [0.0; 4 * 4]);
                let to = (0..4, &c_rows[..]);
                Columns::whole(&mut c, 4).product((&[0.0; 6], &[0, 3], &[0, 1, 2]), b, to, InitialC::Zero);
            };
            std::panic::catch_unwind(product).is_err()
        };
        assert!(!refused([0, 4]) && !refused([8, 12]));
        for c_rows in [[1, 5], [4, 12], [8, 4], [12, 16], [u32::MAX - 3, 0]] {
            assert!(refused(c_rows), "{c_rows:?}");
        }
    }

    #[test]
    fn offsets_out_of_bounds_are_refused() {
        let product = |a: usize, b: usize, c: usize, bias: usize, row: u32| {
            let (a, b, mut c, bias) = (vec![0.0; a], vec![0.0; b], vec![0.0; c], vec![0.0; bias]);
            let right = Right::Rows { data: &b, stride: 5 };
            std::panic::catch_unwind(move || {
                product((&a, &[0, row], &[0, 1, 2]), right, 5, (&mut c, &[0, 5]), InitialC::Bias(&bias))
            })
        };
        assert!(product(6, 15, 10, 5, 3).is_ok());
        for (a, b, c, bias, row) in [
            (5, 15, 10, 5, 3),
            (6, 14, 10, 5, 3),
            (6, 15, 9, 5, 3),
            (6, 15, 10, 4, 3),
            (6, 15, 10, 5, 4),
            (6, 15, 10, 5, u32::MAX),
        ] {
            assert!(product(a, b, c, bias, row).is_err(), "{a} {b} {c} {bias} {row}");
        }
    }
}
