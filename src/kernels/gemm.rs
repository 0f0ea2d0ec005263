//! The matrix product that everything else is made of, with its left matrix and its result found through tables of offsets.
//!
//! [`product`] computes `C[i][j] (+)= Σₖ A[rows[i] + steps[k]] · B[k][j]`. With the tables of an image's pixels and of a window's
//! cells it is a convolution straight from the image, with the two tables swapped it is the gradient of the weights, and with
//! evenly spaced tables it is an ordinary matrix product. The innermost part keeps a tile of C in registers while it runs along k.

use super::panels::panels_len;
use super::simd::{self, Baseline, Fused, Isa, Level};

/// Columns of B in one panel: see [`Right::Panels`].
pub const PANEL: usize = 32;
/// Steps of k that are done in one go: a panel's part then stays in the second-level cache.
const DEPTH: usize = 1024;
/// Rows that are done in one go, a multiple of every tile's height.
const HEIGHT: usize = 480;

/// The right matrix of a product.
#[derive(Clone, Copy)]
pub enum Right<'a> {
    /// Row after row, each `stride` values after the one before.
    Rows {
        /// The values.
        data: &'a [f32],
        /// Distance between rows.
        stride: usize,
    },
    /// Some rows of a matrix in panels of [`PANEL`] columns, each with all its rows one after another, the last panel filled up with
    /// zeros: see [`super::panels`].
    Panels {
        /// The whole matrix.
        data: &'a [f32],
        /// Number of rows of the whole matrix.
        depth: usize,
        /// The first row wanted.
        first: usize,
    },
}

impl<'a> Right<'a> {
    /// All rows of a matrix in panels.
    pub fn panels(data: &'a [f32], depth: usize) -> Self {
        Right::Panels { data, depth, first: 0 }
    }
}

/// What a product does with the values already in C.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// Adds to them. Rows of C may overlap.
    Add,
    /// Overwrites them.
    Zero,
    /// Overwrites them, with a bias added to each column.
    Bias(&'a [f32]),
}

impl<'a> Start<'a> {
    /// [`Start::Bias`] if there is one, else [`Start::Zero`].
    pub fn with_bias(bias: Option<&'a [f32]>) -> Self {
        bias.map_or(Start::Zero, Start::Bias)
    }
}

/// `C[c_rows[i] + j] (+)= Σₖ A[rows[i] + steps[k]] · B[k][j]` for all rows and for `j < columns`, on the calling thread.
///
/// # Panics
/// If any offset leads out of `a`, `b` or `c`, or if the two tables of rows differ in length.
pub fn product(
    (a, rows, steps): (&[f32], &[u32], &[u32]),
    b: Right,
    columns: usize,
    (c, c_rows): (&mut [f32], &[u32]),
    start: Start,
) {
    if rows.is_empty() || columns == 0 {
        return;
    }
    check(a, rows, steps, b, columns, c, c_rows, start);
    let tiles = Tiles::of(simd::level());
    if steps.is_empty() {
        return nothing_to_add(columns, c, c_rows, start);
    }
    for (d, part) in steps.chunks(DEPTH).enumerate() {
        let start = if d == 0 { start } else { Start::Add };
        for (rows, c_rows) in rows.chunks(HEIGHT).zip(c_rows.chunks(HEIGHT)) {
            let call = Call { a, rows, steps: part, c: c.as_mut_ptr(), c_rows, tiles };
            let mut j = 0;
            while j < columns {
                let width = tiles.set_for(columns - j).width;
                let end = (j + width).min(columns);
                // SAFETY: `check` has seen all offsets into A and C and the size of B; `panel` keeps the reads of B inside it.
                unsafe { call.panel(b, d * DEPTH, j, end - j, width, start.from_column(j)) };
                j = end;
            }
        }
    }
}

/// The product of matrices without a single k: what C starts from.
fn nothing_to_add(columns: usize, c: &mut [f32], c_rows: &[u32], start: Start) {
    for row in c_rows {
        let row = &mut c[*row as usize..][..columns];
        match start {
            Start::Add => {}
            Start::Zero => row.fill(0.0),
            Start::Bias(bias) => row.copy_from_slice(&bias[..columns]),
        }
    }
}

/// All the conditions under which the tiles stay inside their slices.
#[allow(clippy::too_many_arguments)]
fn check(a: &[f32], rows: &[u32], steps: &[u32], b: Right, columns: usize, c: &[f32], c_rows: &[u32], start: Start) {
    let last = |table: &[u32]| table.iter().fold(0, |most, v| most.max(*v)) as usize;
    assert_eq!(rows.len(), c_rows.len(), "the tables of rows differ in length");
    assert!(last(c_rows).checked_add(columns).is_some_and(|end| end <= c.len()), "C is too short");
    if let Start::Bias(bias) = start {
        assert!(bias.len() >= columns, "the bias is too short");
    }
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

impl Start<'_> {
    fn from_column(self, j: usize) -> Self {
        match self {
            Start::Bias(bias) => Start::Bias(&bias[j..]),
            other => other,
        }
    }
}

/// Some rows and some steps of a product, all columns of which are within A and C.
struct Call<'a> {
    a: &'a [f32],
    rows: &'a [u32],
    steps: &'a [u32],
    c: *mut f32,
    c_rows: &'a [u32],
    tiles: &'static Tiles,
}

impl Call<'_> {
    /// The `count` columns from `j` on, with tiles of `width` columns. `step` is the first step's number.
    ///
    /// # Safety
    /// As for [`check`].
    #[allow(clippy::too_many_arguments)]
    unsafe fn panel(&self, b: Right, step: usize, j: usize, count: usize, width: usize, start: Start) {
        let (data, at, step) = match b {
            Right::Rows { data, stride } => (data, step * stride + j, stride),
            Right::Panels { data, depth, first } => {
                (data, (j / PANEL * depth + first + step) * PANEL + j % PANEL, PANEL)
            }
        };
        // A tile reads `width` columns even where it writes fewer. Whatever lies there does no harm, as long as it lies in B: the
        // last rows are copied where it does not.
        let room = data.len() - at;
        let steps = self.steps.len();
        let whole =
            if width > room { 0 } else { ((room - width).checked_div(step).map_or(steps, |n| n + 1)).min(steps) };
        let inside = Call { steps: &self.steps[..whole], ..*self };
        // SAFETY: row `whole - 1`, the last one read, ends at `(whole - 1) * step + width <= room`.
        unsafe { inside.columns(data[at..].as_ptr(), step, j, count, start) };
        if whole == steps {
            return;
        }
        let mut copied = [0.0; PANEL * PANEL];
        let mut start = if whole == 0 { start } else { Start::Add };
        for part in (whole..steps).step_by(PANEL) {
            let end = (part + PANEL).min(steps);
            for k in part..end {
                copied[(k - part) * PANEL..][..count].copy_from_slice(&data[at + k * step..][..count]);
            }
            let rest = Call { steps: &self.steps[part..end], ..*self };
            // SAFETY: `copied` holds `PANEL` columns for each of at most `PANEL` steps.
            unsafe { rest.columns(copied.as_ptr(), PANEL, j, count, start) };
            start = Start::Add;
        }
    }

    /// All rows, in tiles of nearly equal height.
    ///
    /// # Safety
    /// B must hold a tile's width of columns for every step; rows and steps must lie in A, rows and columns in C.
    unsafe fn columns(&self, b: *const f32, b_step: usize, j: usize, count: usize, start: Start) {
        if self.steps.is_empty() {
            return;
        }
        let Set { width, heights } = self.tiles.set_for(count);
        let mut base = [0.0; PANEL];
        if let Start::Bias(bias) = start {
            base[..count].copy_from_slice(&bias[..count]);
        }
        let add = matches!(start, Start::Add);
        let parts = self.rows.len().div_ceil(heights.len());
        let (height, taller) = (self.rows.len() / parts, self.rows.len() % parts);
        let mut i = 0;
        for part in 0..parts {
            let end = i + height + usize::from(part < taller);
            let (tile, rows, c_rows) = (heights[end - i - 1], &self.rows[i..end], &self.c_rows[i..end]);
            i = end;
            if count == *width {
                // SAFETY: the caller's promise, for rows as many as the tile is high, and columns as many as it is wide.
                unsafe { tile(self.a, rows, self.steps, b, b_step, &base, self.c.add(j), c_rows, add) };
                continue;
            }
            // A tile writes its whole width: here to a place of its own, and from there as much as there is room for.
            let mut whole = [0.0; MOST_ROWS * PANEL];
            // SAFETY: as above, and `whole` has room for the highest and widest tile.
            unsafe { tile(self.a, rows, self.steps, b, b_step, &base, whole.as_mut_ptr(), &PANELS_ROWS, false) };
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

/// Height of the highest tile.
const MOST_ROWS: usize = 10;
/// Where the rows of a tile lie that is written to a place of its own.
const PANELS_ROWS: [u32; MOST_ROWS] = {
    let mut rows = [0; MOST_ROWS];
    let mut i = 0;
    while i < MOST_ROWS {
        rows[i] = (i * PANEL) as u32;
        i += 1;
    }
    rows
};

/// Computes a tile: A, its rows and steps, B and the distance of its rows, what to start from, C and its rows, and whether to add to
/// C or to overwrite it.
type Tile = unsafe fn(&[f32], &[u32], &[u32], *const f32, usize, &[f32; PANEL], *mut f32, &[u32], bool);

/// Tiles of one width.
struct Set {
    width: usize,
    /// One for each height from 1 on.
    heights: &'static [Tile],
}

/// The tiles of one level.
struct Tiles {
    wide: Set,
    narrow: Set,
}

impl Tiles {
    /// The tiles for the next columns, when so many are left.
    fn set_for(&self, left: usize) -> &Set {
        if left > self.narrow.width { &self.wide } else { &self.narrow }
    }

    /// Heights and widths were chosen by measurement: as many accumulators as the level has registers for.
    fn of(level: Level) -> &'static Tiles {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => &avx512::TILES,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => &avx2::TILES,
            _ => &portable::TILES,
        }
    }
}

/// The tile's source for all levels.
///
/// # Safety
/// `rows` and `c_rows` hold `H` offsets at least; every row plus every step lies in `a`; `b` has `W` columns for each step, `b_step`
/// apart; every row of `c` has `W` columns.
#[allow(clippy::too_many_arguments)]
#[inline(always)]
unsafe fn tile<I: Isa, const H: usize, const W: usize>(
    a: &[f32],
    rows: &[u32],
    steps: &[u32],
    b: *const f32,
    b_step: usize,
    base: &[f32; PANEL],
    c: *mut f32,
    c_rows: &[u32],
    add: bool,
) {
    const { assert!(H <= MOST_ROWS && W <= PANEL) };
    debug_assert!(rows.len() >= H && c_rows.len() >= H);
    // SAFETY: the caller's promise covers every offset below.
    unsafe {
        let mut sums = [*(base.as_ptr() as *const [f32; W]); H];
        let mut left = [a.as_ptr(); H];
        for m in 0..H {
            left[m] = a.as_ptr().add(*rows.get_unchecked(m) as usize);
        }
        let mut right = b;
        for step in steps {
            let step = *step as usize;
            let row = &*(right as *const [f32; W]);
            for m in 0..H {
                let value = *left[m].add(step);
                for j in 0..W {
                    sums[m][j] = I::mul_add(value, row[j], sums[m][j]);
                }
            }
            right = right.wrapping_add(b_step);
        }
        for m in 0..H {
            let out = &mut *(c.add(*c_rows.get_unchecked(m) as usize) as *mut [f32; W]);
            if add {
                for j in 0..W {
                    out[j] += sums[m][j];
                }
            } else {
                *out = sums[m];
            }
        }
    }
}

/// The tiles of one level.
macro_rules! tiles {
    ($module:ident, $isa:ty, $(#[$target:meta])? wide $w:literal: $($wh:literal)*; narrow $n:literal: $($nh:literal)*) => {
        mod $module {
            use super::*;
            /// # Safety
            /// As for [`super::tile`], on a processor of this level.
            $(#[$target])?
            #[allow(clippy::too_many_arguments)]
            unsafe fn at_level<const H: usize, const W: usize>(
                a: &[f32],
                rows: &[u32],
                steps: &[u32],
                b: *const f32,
                b_step: usize,
                base: &[f32; PANEL],
                c: *mut f32,
                c_rows: &[u32],
                add: bool,
            ) {
                // SAFETY: the caller's promise.
                unsafe { tile::<$isa, H, W>(a, rows, steps, b, b_step, base, c, c_rows, add) }
            }
            pub(super) static TILES: Tiles = Tiles {
                wide: Set { width: $w, heights: &[$(at_level::<$wh, $w>),*] },
                narrow: Set { width: $n, heights: &[$(at_level::<$nh, $n>),*] },
            };
        }
    };
}
#[cfg(target_arch = "x86_64")]
tiles!(avx512, Fused, #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    wide 32: 1 2 3 4 5 6 7 8 9 10; narrow 16: 1 2 3 4 5 6 7 8 9 10);
#[cfg(target_arch = "x86_64")]
tiles!(avx2, Fused, #[target_feature(enable = "avx2,fma")] wide 16: 1 2 3 4 5 6; narrow 8: 1 2 3 4 5 6);
#[cfg(target_arch = "aarch64")]
tiles!(portable, Baseline, wide 16: 1 2 3 4 5 6; narrow 8: 1 2 3 4 5 6);
#[cfg(not(target_arch = "aarch64"))]
tiles!(portable, Baseline, wide 8: 1 2 3 4; narrow 4: 1 2 3 4);
