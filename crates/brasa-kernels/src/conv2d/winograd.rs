//! Winograd convolution: the same result with a third or a quarter of the multiplications.
//!
//! The output is cut into square tiles of `m` pixels a side, each of which depends on an input tile of six a side
//! (`m + r - 1` for a window of `r`): F(4×4, 3×3) and F(2×2, 5×5). Seen as polynomials evaluated at six points, the
//! window's sums become elementwise products (S. Winograd, *Arithmetic Complexity of Computations*, 1980; A. Lavin and
//! S. Gray, 2015):
//!
//! ```text
//! Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A
//! ```
//!
//! with an input tile `d`, the window `g`, and the output tile `Y`. Summed over the channels, `⊙` is a matrix product
//! for each of the 36 places. The gradients apply the transposed matrices in reverse order. The error is some 10⁻⁶ of
//! the greatest result, a few times that of a direct sum.

use std::ops::Range;

use super::super::cache;
use super::super::gemm::{InitialC, Right, product};
use super::super::panels::{pack_transposed, panels_len};
use super::super::simd::{Isa, simd};
use super::super::window::even_offsets;
use super::super::{parallel, scratch};
use super::Conv2d;

/// Side of an input tile.
const SIDE: usize = 6;
/// Places in a tile.
const PLACES: usize = SIDE * SIDE;
/// Channels that are transformed together.
const LANES: usize = 16;
/// Points of evaluation besides infinity. Powers of two, so that `A` and `B` are exact; the rounding error is half that
/// of 0, ±1, ±2.
const POINTS: [f64; SIDE - 1] = [0.0, 1.0, -1.0, 0.5, -2.0];

/// Values of a block of tiles in the backward pass, which sums over the tiles of a block: the same on every processor, so
/// that the gradients have the same bits.
const BLOCK: usize = 144 << 10;
/// Fewest tiles of a block: the weights are read once per block.
const FEWEST_TILES: usize = 20;
/// Most values of the transformed weights: more would be read from memory for every block.
const WEIGHTS_MOST: usize = 2 << 20;

/// A convolution by Winograd's transform.
#[derive(Clone, Debug)]
pub(super) struct Winograd {
    conv: Conv2d,
    /// Side of an output tile.
    outputs: usize,
    /// Tiles of an image, down and across.
    tiles: [usize; 2],
    /// Tiles of a block in the backward pass.
    block: usize,
    /// Tiles of a block in the forward pass: with the weights they stay in the second-level cache.
    forward_block: usize,
    tables: OffsetTables,
}

impl Winograd {
    /// The convolution in this form, if it has one and that is faster. Depends on the sizes alone.
    pub fn of(conv: &Conv2d) -> Option<Self> {
        let (here, gain) = Self::with_gain(conv)?;
        // The weights are transformed once a call, and their gradient once a part: there must be enough work to pay for
        // it.
        (gain.saturating_mul(conv.window.batch) >= 100 * PLACES).then_some(here)
    }

    /// The convolution in this form, if it has one and that is faster with transformed weights, for any number of
    /// images.
    pub fn of_one(conv: &Conv2d) -> Option<Self> {
        Self::with_gain(conv).filter(|(_, gain)| *gain > 0).map(|(here, _)| here)
    }

    /// The convolution in this form, if it has one, and the number of products saved for an image.
    fn with_gain(conv: &Conv2d) -> Option<(Self, usize)> {
        let window = &conv.window;
        let side = window.size[0];
        let plain = window.size == [side; 2] && window.strides == [1, 1] && window.dilations == [1, 1];
        let whole = conv.channels.is_multiple_of(LANES) && conv.filters.is_multiple_of(LANES) && conv.channels > 0;
        if !(plain && whole && conv.groups == 1 && (side == 3 || side == 5)) {
            return None;
        }
        if PLACES.checked_mul(conv.channels)?.checked_mul(conv.filters)? > WEIGHTS_MOST {
            return None;
        }
        let outputs = SIDE + 1 - side;
        let tiles = window.output.map(|size| size.div_ceil(outputs));
        let (direct, here) = (window.pixels() * window.cells(), tiles[0] * tiles[1] * PLACES);
        // The transforms cost about half as much as the products.
        let gain = direct.saturating_sub(here + here / 2);
        let tiles_in = |values: usize| (values / (PLACES * (conv.channels + conv.filters))).max(FEWEST_TILES) / 10 * 10;
        // Nine sixteenths of the cache, in values of four bytes.
        let (block, forward_block) = (tiles_in(BLOCK), tiles_in(cache::second_level() / 64 * 9));
        let tables = OffsetTables::new(block.max(forward_block), conv.channels, conv.filters);
        Some((Winograd { conv: *conv, outputs, tiles, block, forward_block, tables }, gain))
    }

    /// Bands are best cut at multiples of this number of output rows: else a row of tiles is computed for both bands.
    pub fn whole_rows(&self) -> usize {
        self.outputs
    }

    /// Images to pass together.
    pub fn images(&self) -> usize {
        (self.block / self.image_tiles()).clamp(1, self.conv.window.batch.max(1))
    }

    fn image_tiles(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    /// Number of values of the transformed weights.
    pub fn weights_len(&self) -> usize {
        PLACES * self.conv.channels * self.conv.filters
    }

    /// `G g Gᵀ` for every channel and filter.
    pub fn transform_weights(&self, w: &[f32], transformed: &mut [f32]) {
        let all = self.conv.channels * self.conv.filters;
        let (from, to) = (Places::even(self.conv.window.size[0], all), Places::even(SIDE, all));
        match self.outputs {
            2 => sandwich::<WeightTransform<5>>(w, &from, transformed, &to, all, Write::Set),
            _ => sandwich::<WeightTransform<3>>(w, &from, transformed, &to, all, Write::Set),
        }
    }

    /// Number of values that [`Winograd::transpose_weights`] writes.
    pub fn transposed_len(&self) -> usize {
        PLACES * panels_len(self.conv.filters, self.conv.channels)
    }

    /// The transformed weights, transposed and packed for the gradient of the input.
    pub fn transpose_weights(&self, w: &[f32], transposed: &mut [f32]) {
        let Conv2d { channels, filters, .. } = self.conv;
        scratch::with(self.weights_len(), |weights| {
            self.transform_weights(w, weights);
            let places = weights.chunks_exact(channels * filters);
            for (weights, panels) in places.zip(transposed.chunks_exact_mut(panels_len(filters, channels))) {
                pack_transposed((weights, filters), filters, channels, panels, (filters, 0));
            }
        });
    }

    /// Whether threads had better share the places of an image's tiles than its rows: there are so few tiles that reading
    /// the weights takes the time, and each thread then finds its part of them in its second-level cache.
    pub fn shares_places(&self) -> bool {
        self.image_tiles() <= FEWEST_TILES && size_of::<f32>() * self.weights_len() > cache::second_level()
    }

    /// The convolution with its bias for some output rows of some images; `threads` share the products.
    pub fn rows(
        &self,
        x: &[f32],
        (weights, threads): (&[f32], usize),
        bias: Option<&[f32]>,
        rows: Range<usize>,
        y: &mut [f32],
    ) {
        let Conv2d { channels, filters, .. } = self.conv;
        let tables = &self.tables;
        let images = x.len() / self.conv.window.image_len(channels).max(1);
        let write = bias.map_or(Write::Set, |bias| Write::Bias(bias.as_chunks().0));
        self.blocks(self.forward_block, images, rows.clone(), |v, m, tiles| {
            let count = tiles.len();
            for (t, tile) in tiles.clone().enumerate() {
                self.input_tile(x, self.tile(tile, &rows), v, (t, count));
            }
            let products = |(place, m): (usize, &mut [f32])| {
                let weights = Right::Rows { data: &weights[place * channels * filters..], stride: filters };
                let v = (&v[place * count * channels..], &tables.by_channels[..count], &tables.channels[..]);
                product(v, weights, filters, (m, &tables.by_filters[..count]), InitialC::Zero);
            };
            let places = m[..PLACES * count * filters].chunks_exact_mut(count * filters).enumerate();
            if threads <= 1 {
                places.for_each(products);
            } else {
                let mut places: Vec<_> = places.collect();
                let parts = places.chunks_mut(PLACES.div_ceil(threads)).collect();
                parallel::each(threads, parts, |part: &mut [(usize, &mut [f32])]| {
                    part.iter_mut().for_each(|(place, m)| products((*place, m)));
                });
            }
            for (t, tile) in tiles.enumerate() {
                let (from, to) = (Places::of_tile((t, count), filters), self.outputs_of(self.tile(tile, &rows), &rows));
                match self.outputs {
                    2 => sandwich::<OutputTransform<2>>(m, &from, y, &to, filters, write),
                    _ => sandwich::<OutputTransform<4>>(m, &from, y, &to, filters, write),
                }
            }
        });
    }

    /// From the gradient `dz` of some images' results, adds to `dw`, the gradient of the transformed weights, and
    /// computes `dx`, the gradient of the images, if given.
    pub fn gradients(&self, x: &[f32], transposed: &[f32], dz: &[f32], dw: &mut [f32], mut dx: Option<&mut [f32]>) {
        dx.iter_mut().for_each(|dx| dx.fill(0.0));
        let Conv2d { channels, filters, .. } = self.conv;
        let tables = &self.tables;
        let rows = 0..self.conv.window.output[0];
        let images = x.len() / self.conv.window.image_len(channels).max(1);
        self.blocks(self.block, images, rows.clone(), |v, m, tiles| {
            let count = tiles.len();
            for (t, tile) in tiles.clone().enumerate() {
                let tile = self.tile(tile, &rows);
                self.input_tile(x, tile, v, (t, count));
                let (from, to) = (self.outputs_of(tile, &rows), Places::of_tile((t, count), filters));
                match self.outputs {
                    2 => sandwich::<OutputTransformBack<2>>(dz, &from, m, &to, filters, Write::Set),
                    _ => sandwich::<OutputTransformBack<4>>(dz, &from, m, &to, filters, Write::Set),
                }
            }
            for place in 0..PLACES {
                let v = (&v[place * count * channels..], &tables.channels[..], &tables.by_channels[..count]);
                let m = Right::Rows { data: &m[place * count * filters..], stride: filters };
                let dw = (&mut dw[place * channels * filters..], &tables.weights[..]);
                product(v, m, filters, dw, InitialC::Add);
            }
            let Some(dx) = &mut dx else { return };
            let panels = transposed.chunks_exact(panels_len(filters, channels));
            for (place, weights) in panels.enumerate() {
                let m = (&m[place * count * filters..], &tables.by_filters[..count], &tables.filters[..]);
                let v = (&mut v[place * count * channels..], &tables.by_channels[..count]);
                product(m, Right::panels(weights, filters), channels, v, InitialC::Zero);
            }
            for (t, tile) in tiles.enumerate() {
                let (from, to) = (Places::of_tile((t, count), channels), self.inputs_of(self.tile(tile, &rows)));
                sandwich::<InputTransformBack>(v, &from, dx, &to, channels, Write::Add);
            }
        });
    }

    /// The gradient of the weights from the gradient of the transformed weights.
    pub fn weights_gradient(&self, transformed: &[f32], dw: &mut [f32]) {
        let all = self.conv.channels * self.conv.filters;
        let (from, to) = (Places::even(SIDE, all), Places::even(self.conv.window.size[0], all));
        match self.outputs {
            2 => sandwich::<WeightTransformBack<5>>(transformed, &from, dw, &to, all, Write::Set),
            _ => sandwich::<WeightTransformBack<3>>(transformed, &from, dw, &to, all, Write::Set),
        }
    }

    /// Calls `work` for each block, of at most `block` tiles, of those that cover some output rows of some images, with
    /// workspace for their transformed inputs and outputs.
    fn blocks(
        &self,
        block: usize,
        images: usize,
        rows: Range<usize>,
        mut work: impl FnMut(&mut [f32], &mut [f32], Range<usize>),
    ) {
        let tiles = self.tiles_of(images, &rows);
        let blocks = tiles.div_ceil(block);
        let most = tiles.div_ceil(blocks.max(1));
        scratch::with(self.room(most), |room| {
            let (v, m) = room.split_at_mut(PLACES * most * self.conv.channels);
            for first in (0..tiles).step_by(most.max(1)) {
                work(v, m, first..(first + most).min(tiles));
            }
        });
    }

    /// Number of tiles that cover some output rows of some images.
    fn tiles_of(&self, images: usize, rows: &Range<usize>) -> usize {
        images * self.tile_rows(rows).len() * self.tiles[1]
    }

    /// Number of values of the transformed inputs and outputs of some tiles.
    fn room(&self, tiles: usize) -> usize {
        PLACES * tiles * (self.conv.channels + self.conv.filters)
    }

    /// The most values of workspace that [`rows`](Self::rows) takes for up to `images` images: more images can be cut
    /// into smaller blocks.
    pub fn workspace(&self, images: usize, rows: &Range<usize>) -> usize {
        self.room(self.tiles_of(images, rows).min(self.forward_block))
    }

    /// The rows of tiles that cover some output rows.
    fn tile_rows(&self, rows: &Range<usize>) -> Range<usize> {
        rows.start / self.outputs..rows.end.div_ceil(self.outputs)
    }

    /// The tile with a given number, counted image by image, row by row.
    fn tile(&self, number: usize, rows: &Range<usize>) -> Tile {
        let (rows, across) = (self.tile_rows(rows), self.tiles[1]);
        let (row, column) = (number / across, number % across);
        Tile { image: row / rows.len(), row: rows.start + row % rows.len(), column }
    }

    fn input_tile(&self, x: &[f32], tile: Tile, v: &mut [f32], place: (usize, usize)) {
        let to = Places::of_tile(place, self.conv.channels);
        sandwich::<InputTransform>(x, &self.inputs_of(tile), v, &to, self.conv.channels, Write::Set);
    }

    /// Offsets of a tile's inputs within the images.
    fn inputs_of(&self, tile: Tile) -> Places {
        let ([height, width], [above, left]) = (self.conv.window.input, self.conv.window.pad);
        let pixel = self.conv.channels;
        Places::new(
            |i| (tile.row * self.outputs + i).checked_sub(above).filter(|row| *row < height),
            |j| (tile.column * self.outputs + j).checked_sub(left).filter(|column| *column < width),
            (tile.image * height * width * pixel, width * pixel, pixel),
        )
    }

    /// Offsets of its outputs within the given rows of all images.
    fn outputs_of(&self, tile: Tile, rows: &Range<usize>) -> Places {
        let (width, pixel) = (self.conv.window.output[1], self.conv.filters);
        let row = |i: usize| (tile.row * self.outputs + i).checked_sub(rows.start).filter(|row| *row < rows.len());
        let column = |j: usize| Some(tile.column * self.outputs + j).filter(|column| *column < width);
        Places::new(row, column, (tile.image * rows.len() * width * pixel, width * pixel, pixel))
    }
}

/// A tile of one image.
#[derive(Clone, Copy)]
struct Tile {
    image: usize,
    row: usize,
    column: usize,
}

/// The offset tables of a block's products.
#[derive(Clone, Debug)]
struct OffsetTables {
    by_channels: Vec<u32>,
    by_filters: Vec<u32>,
    channels: Vec<u32>,
    filters: Vec<u32>,
    weights: Vec<u32>,
}

impl OffsetTables {
    fn new(tiles: usize, channels: usize, filters: usize) -> Self {
        OffsetTables {
            by_channels: even_offsets(tiles, channels),
            by_filters: even_offsets(tiles, filters),
            channels: even_offsets(channels, 1),
            filters: even_offsets(filters, 1),
            weights: even_offsets(channels, filters),
        }
    }
}

/// Offset of the first channel of each place of a tile: the sum of its row's and its column's part. Places at
/// [`OUTSIDE`] or beyond are read as zero and not written.
struct Places {
    rows: [usize; SIDE],
    columns: [usize; SIDE],
}

const OUTSIDE: usize = usize::MAX / 4;

impl Places {
    fn new(
        row: impl Fn(usize) -> Option<usize>,
        column: impl Fn(usize) -> Option<usize>,
        (start, row_len, pixel): (usize, usize, usize),
    ) -> Self {
        Places {
            rows: std::array::from_fn(|i| row(i).map_or(OUTSIDE, |row| start + row * row_len)),
            columns: std::array::from_fn(|j| column(j).map_or(OUTSIDE, |column| column * pixel)),
        }
    }

    /// A square of `side` contiguous places of `len` values each.
    fn even(side: usize, len: usize) -> Self {
        Places::new(Some, Some, (0, side * len, len))
    }

    /// Tile `t` of `count`, place by place: the values of one place of all tiles are contiguous.
    fn of_tile((t, count): (usize, usize), channels: usize) -> Self {
        Places::new(Some, Some, (t * channels, SIDE * count * channels, count * channels))
    }
}

/// How results are combined with the values already there.
#[derive(Clone, Copy)]
enum Write<'a> {
    Set,
    Add,
    /// Overwrites them, with a value for each channel added to the result.
    Bias(&'a [[f32; LANES]]),
}

/// A matrix applied to tiles from both sides: `M t Mᵀ`.
trait Matrix {
    const ROWS: usize;
    const COLUMNS: usize;
    const VALUES: [[f32; SIDE]; SIDE];
}

/// `Bᵀ`: the polynomial that is zero at all other points.
struct InputTransform;
/// `B`.
struct InputTransformBack;
/// `Aᵀ`: powers of the points.
struct OutputTransform<const M: usize>;
/// `A`.
struct OutputTransformBack<const M: usize>;
/// `G`: powers of the points, divided by the value of the row of `Bᵀ` there.
struct WeightTransform<const R: usize>;
/// `Gᵀ`.
struct WeightTransformBack<const R: usize>;

impl Matrix for InputTransform {
    const ROWS: usize = SIDE;
    const COLUMNS: usize = SIDE;
    const VALUES: [[f32; SIDE]; SIDE] = polynomials();
}
impl Matrix for InputTransformBack {
    const ROWS: usize = SIDE;
    const COLUMNS: usize = SIDE;
    const VALUES: [[f32; SIDE]; SIDE] = transposed(polynomials());
}
impl<const M: usize> Matrix for OutputTransform<M> {
    const ROWS: usize = M;
    const COLUMNS: usize = SIDE;
    const VALUES: [[f32; SIDE]; SIDE] = transposed(powers(M, false));
}
impl<const M: usize> Matrix for OutputTransformBack<M> {
    const ROWS: usize = SIDE;
    const COLUMNS: usize = M;
    const VALUES: [[f32; SIDE]; SIDE] = powers(M, false);
}
impl<const R: usize> Matrix for WeightTransform<R> {
    const ROWS: usize = SIDE;
    const COLUMNS: usize = R;
    const VALUES: [[f32; SIDE]; SIDE] = powers(R, true);
}
impl<const R: usize> Matrix for WeightTransformBack<R> {
    const ROWS: usize = R;
    const COLUMNS: usize = SIDE;
    const VALUES: [[f32; SIDE]; SIDE] = transposed(powers(R, true));
}

/// Row `k` holds the coefficients of the product of `x - p` over all points `p` but the `k`-th, the last row over all.
const fn polynomials() -> [[f32; SIDE]; SIDE] {
    let mut rows = [[0.0; SIDE]; SIDE];
    let mut k = 0;
    while k < SIDE {
        let mut row = [0.0; SIDE];
        row[0] = 1.0;
        let mut l = 0;
        while l < POINTS.len() {
            // Times x - p, unless it is the point left out.
            let mut j = SIDE;
            while l != k && j > 0 {
                j -= 1;
                row[j] = if j > 0 { row[j - 1] } else { 0.0 } - POINTS[l] * row[j];
            }
            l += 1;
        }
        let mut j = 0;
        while j < SIDE {
            rows[k][j] = row[j] as f32;
            j += 1;
        }
        k += 1;
    }
    rows
}

/// Row `k` holds the first `count` powers of the `k`-th point; the last row, infinity, the highest alone. `divided`: by
/// the product of its differences from the other points.
const fn powers(count: usize, divided: bool) -> [[f32; SIDE]; SIDE] {
    let mut rows = [[0.0; SIDE]; SIDE];
    rows[SIDE - 1][count - 1] = 1.0;
    let mut k = 0;
    while k < POINTS.len() {
        let mut power = 1.0;
        let mut l = 0;
        while divided && l < POINTS.len() {
            power /= if l == k { 1.0 } else { POINTS[k] - POINTS[l] };
            l += 1;
        }
        let mut j = 0;
        while j < count {
            rows[k][j] = power as f32;
            power *= POINTS[k];
            j += 1;
        }
        k += 1;
    }
    rows
}

const fn transposed(matrix: [[f32; SIDE]; SIDE]) -> [[f32; SIDE]; SIDE] {
    let mut columns = [[0.0; SIDE]; SIDE];
    let mut at = 0;
    while at < PLACES {
        columns[at % SIDE][at / SIDE] = matrix[at / SIDE][at % SIDE];
        at += 1;
    }
    columns
}

/// Repeats a statement for each of a tile's six places, with the place as a constant.
macro_rules! six {
    ($place:ident => $body:expr) => {
        six!(@ $place $body, 0 1 2 3 4 5)
    };
    (@ $place:ident $body:expr, $($n:literal)*) => {
        $({
            const $place: usize = $n;
            $body
        })*
    };
}

simd! {
    /// Multiplies a tile with a matrix from the left and with its transpose from the right, separately for each
    /// channel. `channels` is a multiple of [`LANES`].
    #[allow(clippy::needless_range_loop)] // In the body, which has no attributes of its own.
    fn sandwich<I, S: Matrix>(
        from: &[f32], from_at: &Places, to: &mut [f32], to_at: &Places, channels: usize, write: Write,
    ) {
        let (from, to) = (from.as_chunks::<LANES>().0, to.as_chunks_mut::<LANES>().0);
        for c in (0..channels).step_by(LANES) {
            let mut half = [[[0.0; LANES]; SIDE]; SIDE];
            for j in 0..S::COLUMNS {
                let mut column = [[0.0; LANES]; SIDE];
                six!(N => if N < S::COLUMNS {
                    let at = from_at.rows[N] + from_at.columns[j];
                    if at < OUTSIDE {
                        column[N] = from[(at + c) / LANES];
                    }
                });
                six!(R => if R < S::ROWS { half[R][j] = row_times::<I, S, R>(&column) });
            }
            for r in 0..S::ROWS {
                six!(R => if R < S::ROWS {
                    let at = to_at.rows[r] + to_at.columns[R];
                    if at < OUTSIDE {
                        let sums = row_times::<I, S, R>(&half[r]);
                        let to = &mut to[(at + c) / LANES];
                        *to = match write {
                            Write::Set => sums,
                            Write::Add => plus(sums, to),
                            Write::Bias(bias) => plus(sums, &bias[c / LANES]),
                        };
                    }
                });
            }
        }
    }
}

/// A row of the matrix times the places of a column. The factors are constants, so the compiler drops those that are
/// zero.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
fn row_times<I: Isa, S: Matrix, const R: usize>(column: &[[f32; LANES]; SIDE]) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    six!(N => if S::VALUES[R][N] != 0.0 {
        for lane in 0..LANES {
            sums[lane] = I::mul_add(S::VALUES[R][N], column[N][lane], sums[lane]);
        }
    });
    sums
}

#[inline(always)]
#[allow(clippy::needless_range_loop)]
fn plus(mut sums: [f32; LANES], values: &[f32; LANES]) -> [f32; LANES] {
    for lane in 0..LANES {
        sums[lane] += values[lane];
    }
    sums
}
