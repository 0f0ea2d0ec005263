//! The microkernels of the matrix product, for each instruction set: a tile of C stays in registers.

#[cfg(target_arch = "x86_64")]
use super::simd::FusedMultiplyAdd;
use super::simd::{Baseline, Isa, Level};

/// Columns of a packed panel of B, and of the widest tile.
pub const PANEL: usize = 32;
/// Height of the highest tile.
pub const MOST_ROWS: usize = 10;
/// Row offsets of a tile that is written to a separate buffer.
pub const APART: [u32; MOST_ROWS] = {
    let mut rows = [0; MOST_ROWS];
    let mut i = 0;
    while i < MOST_ROWS {
        rows[i] = (i * PANEL) as u32;
        i += 1;
    }
    rows
};

/// Values of the next panel that a tile prefetches per step: half a cache line, so that the prefetches are spread over
/// `PANEL / PREFETCHED` tiles. (Measured: all in fewer tiles stalls them.)
pub const PREFETCHED: usize = 8;

/// A microkernel: A, its rows and steps, B and its row stride, the initial values, C and its rows, whether to add to C
/// or to overwrite it, and the address from which a prefetching one prefetches.
pub type Microkernel =
    unsafe fn(&[f32], &[u32], &[u32], *const f32, usize, &[f32; PANEL], *mut f32, &[u32], bool, *const f32);

/// Columns that one row meets at once at most.
pub const LINE: usize = 2 * PANEL;

/// Multiplies one row of A with neighbouring panels of B: the row, the first value of the first panel that it meets,
/// the distance between panels, what to start from, and where the sums go.
pub type RowMicrokernel = unsafe fn(&[f32], *const f32, usize, &[f32; LINE], &mut [f32; LINE]);

/// Microkernels of one width.
pub struct MicrokernelSet {
    /// Columns of each tile.
    pub width: usize,
    /// One for each height from 1 on.
    pub heights: &'static [Microkernel],
    /// The same, which also prefetch.
    pub prefetching: &'static [Microkernel],
}

/// The microkernels of one level.
pub struct Microkernels {
    pub wide: MicrokernelSet,
    pub narrow: MicrokernelSet,
    /// For a single row: so many panels at once, and one alone. A row by itself has too few sums in a tile of one panel
    /// to hide how long each takes.
    pub line: (usize, RowMicrokernel),
    pub short_line: RowMicrokernel,
}

impl Microkernels {
    /// The microkernels for the next columns, of which `left` remain.
    pub fn set_for(&self, left: usize) -> &MicrokernelSet {
        if left > self.narrow.width { &self.wide } else { &self.narrow }
    }

    /// Those of a level: the runtime dispatch of the matrix product. Heights and widths, at the end of this file, were
    /// chosen by measurement: the accumulators fill the level's registers.
    pub fn of(level: Level) -> &'static Microkernels {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => &avx512::TILES,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => &avx2::TILES,
            _ => &baseline::TILES,
        }
    }
}

/// The microkernel's source for all levels: a tile of `H × W` sums, which prefetches from `ahead` on if `PREFETCH`.
///
/// # Safety
/// `rows` and `c_rows` hold at least `H` offsets; every row plus every step lies in `a`; `b` has `W` columns for each
/// step, `b_step` apart; every row of `c` has `W` columns.
// Loops over indices: with iterators, short products were measured to take a third longer.
#[allow(clippy::too_many_arguments, clippy::needless_range_loop)]
#[inline(always)]
unsafe fn tile<I: Isa, const H: usize, const W: usize, const PREFETCH: bool>(
    a: &[f32],
    rows: &[u32],
    steps: &[u32],
    b: *const f32,
    b_step: usize,
    base: &[f32; PANEL],
    c: *mut f32,
    c_rows: &[u32],
    add: bool,
    ahead: *const f32,
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
        for (k, step) in steps.iter().enumerate() {
            let step = *step as usize;
            let row = &*(right as *const [f32; W]);
            if PREFETCH {
                prefetch(ahead.wrapping_add(k * PREFETCHED));
            }
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

/// Prefetches the cache line at an address into the second-level cache. Any address is allowed.
#[inline(always)]
fn prefetch(address: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults, and SSE is part of the baseline.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// The source of [`RowMicrokernel`] for all levels: `P` parts of `W` columns, which are whole panels together.
///
/// At most 64 columns: beyond that the compiler does not unroll the loop over the parts, the sums stay in memory, and
/// each multiply-add waits for a store (ten times as long with AVX-512). Two vectors more would gain nothing: one row
/// runs at the speed of the second-level cache.
///
/// # Safety
/// From `b` on every panel has `PANEL` values for each value of `x`.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn line<I: Isa, const P: usize, const W: usize>(
    x: &[f32],
    b: *const f32,
    panel: usize,
    base: &[f32; LINE],
    sums_to: &mut [f32; LINE],
) {
    const { assert!(P * W <= LINE && PANEL.is_multiple_of(W)) };
    // SAFETY: parts lie within `LINE` values, and the caller's promise covers every offset into B.
    unsafe {
        let mut sums = [[0.0; W]; P];
        let mut right = [b; P];
        for p in 0..P {
            sums[p] = *(base.as_ptr().add(p * W) as *const [f32; W]);
            right[p] = b.wrapping_add(p * W / PANEL * panel + p * W % PANEL);
        }
        for k in 0..x.len() {
            let value = *x.get_unchecked(k);
            for p in 0..P {
                let row = &*(right[p] as *const [f32; W]);
                for j in 0..W {
                    sums[p][j] = I::mul_add(value, row[j], sums[p][j]);
                }
                right[p] = right[p].wrapping_add(PANEL);
            }
        }
        for p in 0..P {
            *(sums_to.as_mut_ptr().add(p * W) as *mut [f32; W]) = sums[p];
        }
    }
}

/// The microkernels of one level.
macro_rules! tiles {
    ($module:ident, $isa:ty, $(#[$target:meta])? wide $w:literal: $($wh:literal)*; narrow $n:literal: $($nh:literal)*;
     line $lp:literal $lw:literal, $sp:literal $sw:literal) => {
        mod $module {
            use super::*;
            /// # Safety
            /// As for [`super::tile`], on a processor of this level.
            $(#[$target])?
            #[allow(clippy::too_many_arguments)]
            unsafe fn at_level<const H: usize, const W: usize, const PREFETCH: bool>(
                a: &[f32],
                rows: &[u32],
                steps: &[u32],
                b: *const f32,
                b_step: usize,
                base: &[f32; PANEL],
                c: *mut f32,
                c_rows: &[u32],
                add: bool,
                ahead: *const f32,
            ) {
                // SAFETY: the caller's promise.
                unsafe { tile::<$isa, H, W, PREFETCH>(a, rows, steps, b, b_step, base, c, c_rows, add, ahead) }
            }
            /// # Safety
            /// As for [`super::line`], on a processor of this level.
            $(#[$target])?
            unsafe fn line_at_level<const P: usize, const W: usize>(
                x: &[f32],
                b: *const f32,
                panel: usize,
                base: &[f32; LINE],
                sums: &mut [f32; LINE],
            ) {
                // SAFETY: the caller's promise.
                unsafe { line::<$isa, P, W>(x, b, panel, base, sums) }
            }
            pub(super) static TILES: Microkernels = Microkernels {
                line: ($lp * $lw / PANEL, line_at_level::<$lp, $lw>),
                short_line: line_at_level::<$sp, $sw>,
                wide: MicrokernelSet {
                    width: $w,
                    heights: &[$(at_level::<$wh, $w, false>),*],
                    prefetching: &[$(at_level::<$wh, $w, true>),*],
                },
                narrow: MicrokernelSet {
                    width: $n,
                    heights: &[$(at_level::<$nh, $n, false>),*],
                    prefetching: &[$(at_level::<$nh, $n, true>),*],
                },
            };
        }
    };
}
#[cfg(target_arch = "x86_64")]
tiles!(avx512, FusedMultiplyAdd, #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    wide 32: 1 2 3 4 5 6 7 8 9 10; narrow 16: 1 2 3 4 5 6 7 8 9 10; line 4 16, 2 16);
#[cfg(target_arch = "x86_64")]
tiles!(avx2, FusedMultiplyAdd, #[target_feature(enable = "avx2,fma")] wide 16: 1 2 3 4 5 6; narrow 8: 1 2 3 4 5 6;
    line 4 16, 2 16);
#[cfg(target_arch = "aarch64")]
tiles!(baseline, Baseline, wide 16: 1 2 3 4 5 6; narrow 8: 1 2 3 4 5 6; line 4 16, 2 16);
#[cfg(not(target_arch = "aarch64"))]
tiles!(baseline, Baseline, wide 8: 1 2 3 4; narrow 4: 1 2 3 4; line 4 8, 4 8);
