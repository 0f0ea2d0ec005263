//! Winograd convolution: the same result with roughly a quarter to a half of the multiplications.
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
//! for each of the 36 places. The gradients apply the transposed matrices in reverse order. For a window of one row or
//! one column the tiles are lines, `Y = Aᵀ [ (G g) ⊙ (Bᵀ d) ]`, with eight places: F(6, 3), F(4, 5) and F(2, 7). The
//! error is some 10⁻⁶ of the greatest result, a few times that of a direct sum.

use std::ops::Range;

use super::super::cache;
use super::super::gemm::{InitialC, Right, product};
use super::super::panels::{pack, pack_transposed, panels_len};
use super::super::simd::{Isa, simd};
use super::super::window::even_offsets;
use super::super::{parallel, scratch};
use super::Conv2d;

/// Side of a square input tile.
const SIDE: usize = 6;
/// Places of an input tile that is a line; also the order of the largest matrix of a transform.
const LINE: usize = 8;
/// Channels that are transformed together.
const LANES: usize = 16;
/// Points of evaluation besides infinity, for six places and for eight. Powers of two, so that `A` and `B` are exact;
/// the rounding error of the first is half that of 0, ±1, ±2.
const POINTS: [&[f64]; 2] = [&[0.0, 1.0, -1.0, 0.5, -2.0], &[0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0]];

/// Values of a block of tiles in the backward pass, which sums over the tiles of a block: the same on every processor,
/// so that the gradients have the same bits.
const BLOCK: usize = 144 << 10;
/// Fewest tiles of a block: the weights are read once per block.
const FEWEST_TILES: usize = 20;
/// Cost of a multiply-add in the transforms of a line, in multiply-adds of the products: measured for 16 to 256
/// channels and filters.
const LINE_COST: usize = 4;
/// Most values of the transformed weights: more would be read from memory for every block.
const WEIGHTS_MOST: usize = 2 << 20;

/// The kind of tiles, by the size of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tiling {
    Square3,
    Square5,
    Line3,
    Line5,
    Line7,
}

impl Tiling {
    /// The tiles of a window of some height and width.
    fn of(size: [usize; 2]) -> Option<Self> {
        match size {
            [3, 3] => Some(Tiling::Square3),
            [5, 5] => Some(Tiling::Square5),
            [1, 3] | [3, 1] => Some(Tiling::Line3),
            [1, 5] | [5, 1] => Some(Tiling::Line5),
            [1, 7] | [7, 1] => Some(Tiling::Line7),
            _ => None,
        }
    }

    fn is_square(self) -> bool {
        matches!(self, Tiling::Square3 | Tiling::Square5)
    }

    /// Places along an axis of an input tile.
    fn side(self) -> usize {
        if self.is_square() { SIDE } else { LINE }
    }

    /// Places of an input tile.
    fn places(self) -> usize {
        if self.is_square() { SIDE * SIDE } else { self.side() }
    }
}

/// Applies a transform with the matrices for a tiling.
macro_rules! transform {
    ($tiling:expr, $matrix:ident, $($argument:expr),*) => {
        match $tiling {
            Tiling::Square3 => sandwich::<$matrix<6, 3>>($($argument),*),
            Tiling::Square5 => sandwich::<$matrix<6, 5>>($($argument),*),
            Tiling::Line3 => line::<$matrix<8, 3>>($($argument),*),
            Tiling::Line5 => line::<$matrix<8, 5>>($($argument),*),
            Tiling::Line7 => line::<$matrix<8, 7>>($($argument),*),
        }
    };
}

/// A convolution by Winograd's transform.
#[derive(Clone, Debug)]
pub(super) struct Winograd {
    conv: Conv2d,
    tiling: Tiling,
    /// Height and width of an output tile.
    outputs: [usize; 2],
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
        (gain.saturating_mul(conv.window.batch) >= 100 * here.tiling.places()).then_some(here)
    }

    /// The convolution in this form, if it has one and that is faster with transformed weights, for any number of
    /// images.
    pub fn of_one(conv: &Conv2d) -> Option<Self> {
        Self::with_gain(conv).filter(|(_, gain)| *gain > 0).map(|(here, _)| here)
    }

    /// The convolution in this form, if it has one, and the number of products saved for an image.
    fn with_gain(conv: &Conv2d) -> Option<(Self, usize)> {
        let window = &conv.window;
        let tiling = Tiling::of(window.size)?;
        let plain = window.strides == [1, 1] && window.dilations == [1, 1];
        let whole = conv.channels.is_multiple_of(LANES) && conv.filters.is_multiple_of(LANES) && conv.channels > 0;
        if !(plain && whole && conv.groups == 1) {
            return None;
        }
        let (places, weights) = (tiling.places(), conv.channels.checked_mul(conv.filters)?);
        if places.checked_mul(weights)? > WEIGHTS_MOST {
            return None;
        }
        let outputs = window.size.map(|size| if size == 1 { 1 } else { tiling.side() + 1 - size });
        let tiles = [0, 1].map(|axis| window.output[axis].div_ceil(outputs[axis]));
        let (direct, here) = (window.pixels() * window.cells(), tiles[0] * tiles[1] * places);
        // The transforms cost about half as much as the products; those of lines, which save less, more where channels
        // and filters are few.
        let transforms = match tiling.is_square() {
            true => here / 2,
            false => {
                let of_tile = places * conv.channels + outputs[0] * outputs[1] * conv.filters;
                (LINE_COST * here).saturating_mul(of_tile) / weights.max(1)
            }
        };
        let gain = direct.saturating_sub(here + transforms);
        let tiles_in = |values: usize| (values / (places * (conv.channels + conv.filters))).max(FEWEST_TILES) / 10 * 10;
        // Nine sixteenths of the cache, in values of four bytes.
        let (block, forward_block) = (tiles_in(BLOCK), tiles_in(cache::second_level() / 64 * 9));
        let tables = OffsetTables::new(block.max(forward_block), conv.channels, conv.filters);
        Some((Winograd { conv: *conv, tiling, outputs, tiles, block, forward_block, tables }, gain))
    }

    /// Bands are best cut at multiples of this number of output rows: else a row of tiles is computed for both bands.
    pub fn whole_rows(&self) -> usize {
        self.outputs[0]
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
        self.tiling.places() * self.conv.channels * self.conv.filters
    }

    /// `G g Gᵀ` for every channel and filter.
    pub fn transform_weights(&self, w: &[f32], transformed: &mut [f32]) {
        let all = self.conv.channels * self.conv.filters;
        let (from, to) = (self.window_places(all), Places::even(self.tiling.side(), all));
        transform!(self.tiling, WeightTransform, w, &from, transformed, &to, all, Write::Set);
    }

    /// Number of values that [`Winograd::pack_weights`] writes.
    pub fn packed_len(&self) -> usize {
        self.tiling.places() * panels_len(self.conv.channels, self.conv.filters)
    }

    /// The transformed weights, packed for the forward pass.
    pub fn pack_weights(&self, w: &[f32], packed: &mut [f32]) {
        let Conv2d { channels, filters, .. } = self.conv;
        scratch::with(self.weights_len(), |weights| {
            self.transform_weights(w, weights);
            let places = weights.chunks_exact(channels * filters);
            for (weights, panels) in places.zip(packed.chunks_exact_mut(panels_len(channels, filters))) {
                pack(weights, channels, filters, filters, panels);
            }
        });
    }

    /// Number of values that [`Winograd::transpose_weights`] writes.
    pub fn transposed_len(&self) -> usize {
        self.tiling.places() * panels_len(self.conv.filters, self.conv.channels)
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

    /// Whether threads had better share the places of an image's tiles than its rows: there are so few tiles that
    /// reading the weights takes the time, and each thread then finds its part of them in its second-level cache.
    pub fn shares_places(&self) -> bool {
        self.image_tiles() <= FEWEST_TILES && size_of::<f32>() * self.weights_len() > cache::second_level()
    }

    /// The convolution with its bias for some output rows of some images, with the [packed](Self::pack_weights)
    /// weights; `threads` share the products.
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
                // The panels of the next place follow, so that the last one of a place prefetches them.
                let weights = Right::panels(&weights[place * panels_len(channels, filters)..], channels);
                let v = (&v[place * count * channels..], &tables.by_channels[..count], &tables.channels[..]);
                product(v, weights, filters, (m, &tables.by_filters[..count]), InitialC::Zero);
            };
            let all = self.tiling.places();
            let places = m[..all * count * filters].chunks_exact_mut(count * filters).enumerate();
            if threads <= 1 {
                places.for_each(products);
            } else {
                let mut places: Vec<_> = places.collect();
                let parts = places.chunks_mut(all.div_ceil(threads)).collect();
                parallel::each(threads, parts, |part: &mut [(usize, &mut [f32])]| {
                    part.iter_mut().for_each(|(place, m)| products((*place, m)));
                });
            }
            for (t, tile) in tiles.enumerate() {
                let (from, to) = (self.places_of((t, count), filters), self.outputs_of(self.tile(tile, &rows), &rows));
                transform!(self.tiling, OutputTransform, m, &from, y, &to, filters, write);
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
                let (from, to) = (self.outputs_of(tile, &rows), self.places_of((t, count), filters));
                transform!(self.tiling, OutputTransformBack, dz, &from, m, &to, filters, Write::Set);
            }
            for place in 0..self.tiling.places() {
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
                let (from, to) = (self.places_of((t, count), channels), self.inputs_of(self.tile(tile, &rows)));
                transform!(self.tiling, InputTransformBack, v, &from, dx, &to, channels, Write::Add);
            }
        });
    }

    /// The gradient of the weights from the gradient of the transformed weights.
    pub fn weights_gradient(&self, transformed: &[f32], dw: &mut [f32]) {
        let all = self.conv.channels * self.conv.filters;
        let (from, to) = (Places::even(self.tiling.side(), all), self.window_places(all));
        transform!(self.tiling, WeightTransformBack, transformed, &from, dw, &to, all, Write::Set);
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
            let (v, m) = room.split_at_mut(self.tiling.places() * most * self.conv.channels);
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
        self.tiling.places() * tiles * (self.conv.channels + self.conv.filters)
    }

    /// The most values of workspace that [`rows`](Self::rows) takes for up to `images` images: more images can be cut
    /// into smaller blocks.
    pub fn workspace(&self, images: usize, rows: &Range<usize>) -> usize {
        self.room(self.tiles_of(images, rows).min(self.forward_block))
    }

    /// The rows of tiles that cover some output rows.
    fn tile_rows(&self, rows: &Range<usize>) -> Range<usize> {
        rows.start / self.outputs[0]..rows.end.div_ceil(self.outputs[0])
    }

    /// The tile with a given number, counted image by image, row by row.
    fn tile(&self, number: usize, rows: &Range<usize>) -> Tile {
        let (rows, across) = (self.tile_rows(rows), self.tiles[1]);
        let (row, column) = (number / across, number % across);
        Tile { image: row / rows.len(), row: rows.start + row % rows.len(), column }
    }

    fn input_tile(&self, x: &[f32], tile: Tile, v: &mut [f32], place: (usize, usize)) {
        let to = self.places_of(place, self.conv.channels);
        transform!(self.tiling, InputTransform, x, &self.inputs_of(tile), v, &to, self.conv.channels, Write::Set);
    }

    /// Offsets of a tile's inputs within the images.
    fn inputs_of(&self, tile: Tile) -> Places {
        let ([height, width], [above, left]) = (self.conv.window.input, self.conv.window.pad);
        let pixel = self.conv.channels;
        let rows = Axis::new(tile.row * self.outputs[0], above, height, width * pixel);
        let columns = Axis::new(tile.column * self.outputs[1], left, width, pixel);
        self.along_the_line(Places::new(tile.image * height * width * pixel, rows, columns))
    }

    /// Offsets of its outputs within the given rows of all images.
    fn outputs_of(&self, tile: Tile, rows: &Range<usize>) -> Places {
        let (width, pixel) = (self.conv.window.output[1], self.conv.filters);
        let start = tile.image * rows.len() * width * pixel;
        let down = Axis::new(tile.row * self.outputs[0], rows.start, rows.len(), width * pixel);
        let across = Axis::new(tile.column * self.outputs[1], 0, width, pixel);
        self.along_the_line(Places::new(start, down, across))
    }

    /// With the axes exchanged for a window of one column, whose line goes down.
    fn along_the_line(&self, places: Places) -> Places {
        match self.conv.window.size[1] {
            1 => Places { rows: places.columns, columns: places.rows, ..places },
            _ => places,
        }
    }

    /// The places of tile `t` of `count`: the values of one place of all tiles are contiguous.
    fn places_of(&self, (t, count): (usize, usize), channels: usize) -> Places {
        let side = self.tiling.side();
        Places::new(t * channels, Axis::whole(side * count * channels), Axis::whole(count * channels))
    }

    /// The cells of the window, of `len` values each.
    fn window_places(&self, len: usize) -> Places {
        let [height, width] = self.conv.window.size;
        Places::even(height.max(width), len)
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

/// Offset of the first channel of each place of a tile. Places outside the image are read as zero and not written. A
/// line has one row.
#[derive(Clone, Copy)]
struct Places {
    /// Offset of the first place; that of a place outside can wrap around.
    start: usize,
    rows: Axis,
    columns: Axis,
}

/// The places of a tile along one axis.
#[derive(Clone, Copy)]
struct Axis {
    /// Position of the first place; it wraps around before the image.
    first: usize,
    /// Positions of the image.
    len: usize,
    /// Distance between the offsets of places.
    step: usize,
}

impl Axis {
    /// The places from `first` on, `before` of which are before an image of `len`.
    fn new(first: usize, before: usize, len: usize, step: usize) -> Self {
        Axis { first: first.wrapping_sub(before), len, step }
    }

    /// Places of which none is outside.
    fn whole(step: usize) -> Self {
        Axis { first: 0, len: LINE, step }
    }

    #[inline(always)]
    fn has(&self, place: usize) -> bool {
        self.first.wrapping_add(place) < self.len
    }
}

impl Places {
    /// In an image whose values begin at `start`.
    fn new(start: usize, rows: Axis, columns: Axis) -> Self {
        let first = |axis: Axis| axis.first.wrapping_mul(axis.step);
        Places { start: start.wrapping_add(first(rows)).wrapping_add(first(columns)), rows, columns }
    }

    /// A square, or a line, of `side` contiguous places of `len` values each.
    fn even(side: usize, len: usize) -> Self {
        Places::new(0, Axis::whole(side * len), Axis::whole(len))
    }

    /// The offset of a place that is not outside.
    #[inline(always)]
    fn at(&self, row: usize, column: usize) -> Option<usize> {
        let offset = (row * self.rows.step).wrapping_add(column * self.columns.step);
        (self.rows.has(row) && self.columns.has(column)).then(|| self.start.wrapping_add(offset))
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

/// A matrix applied to square tiles from both sides, `M t Mᵀ`, and to lines from the left, `M t`: for windows of `R`
/// cells along an axis, and input tiles of `N` places.
trait Matrix {
    const ROWS: usize;
    const COLUMNS: usize;
    const VALUES: [[f32; LINE]; LINE];
}

/// `Bᵀ`: the polynomial that is zero at all other points.
struct InputTransform<const N: usize, const R: usize>;
/// `B`.
struct InputTransformBack<const N: usize, const R: usize>;
/// `Aᵀ`: powers of the points.
struct OutputTransform<const N: usize, const R: usize>;
/// `A`.
struct OutputTransformBack<const N: usize, const R: usize>;
/// `G`: powers of the points, divided by the value of the row of `Bᵀ` there.
struct WeightTransform<const N: usize, const R: usize>;
/// `Gᵀ`.
struct WeightTransformBack<const N: usize, const R: usize>;

impl<const N: usize, const R: usize> Matrix for InputTransform<N, R> {
    const ROWS: usize = N;
    const COLUMNS: usize = N;
    const VALUES: [[f32; LINE]; LINE] = polynomials(points(N));
}
impl<const N: usize, const R: usize> Matrix for InputTransformBack<N, R> {
    const ROWS: usize = N;
    const COLUMNS: usize = N;
    const VALUES: [[f32; LINE]; LINE] = transposed(polynomials(points(N)));
}
impl<const N: usize, const R: usize> Matrix for OutputTransform<N, R> {
    const ROWS: usize = N + 1 - R;
    const COLUMNS: usize = N;
    const VALUES: [[f32; LINE]; LINE] = transposed(powers(points(N), N + 1 - R, false));
}
impl<const N: usize, const R: usize> Matrix for OutputTransformBack<N, R> {
    const ROWS: usize = N;
    const COLUMNS: usize = N + 1 - R;
    const VALUES: [[f32; LINE]; LINE] = powers(points(N), N + 1 - R, false);
}
impl<const N: usize, const R: usize> Matrix for WeightTransform<N, R> {
    const ROWS: usize = N;
    const COLUMNS: usize = R;
    const VALUES: [[f32; LINE]; LINE] = powers(points(N), R, true);
}
impl<const N: usize, const R: usize> Matrix for WeightTransformBack<N, R> {
    const ROWS: usize = R;
    const COLUMNS: usize = N;
    const VALUES: [[f32; LINE]; LINE] = transposed(powers(points(N), R, true));
}

/// The points of so many places.
const fn points(places: usize) -> &'static [f64] {
    POINTS[(places == LINE) as usize]
}

/// Row `k` holds the coefficients of the product of `x - p` over all points `p` but the `k`-th, the last row over all.
const fn polynomials(points: &[f64]) -> [[f32; LINE]; LINE] {
    let mut rows = [[0.0; LINE]; LINE];
    let mut k = 0;
    while k <= points.len() {
        let mut row = [0.0; LINE];
        row[0] = 1.0;
        let mut l = 0;
        while l < points.len() {
            // Times x - p, unless it is the point left out.
            let mut j = LINE;
            while l != k && j > 0 {
                j -= 1;
                row[j] = if j > 0 { row[j - 1] } else { 0.0 } - points[l] * row[j];
            }
            l += 1;
        }
        let mut j = 0;
        while j < LINE {
            rows[k][j] = row[j] as f32;
            j += 1;
        }
        k += 1;
    }
    rows
}

/// Row `k` holds the first `count` powers of the `k`-th point; the last row, infinity, the highest alone. `divided`: by
/// the product of its differences from the other points.
const fn powers(points: &[f64], count: usize, divided: bool) -> [[f32; LINE]; LINE] {
    let mut rows = [[0.0; LINE]; LINE];
    rows[points.len()][count - 1] = 1.0;
    let mut k = 0;
    while k < points.len() {
        let mut power = 1.0;
        let mut l = 0;
        while divided && l < points.len() {
            power /= if l == k { 1.0 } else { points[k] - points[l] };
            l += 1;
        }
        let mut j = 0;
        while j < count {
            rows[k][j] = power as f32;
            power *= points[k];
            j += 1;
        }
        k += 1;
    }
    rows
}

const fn transposed(matrix: [[f32; LINE]; LINE]) -> [[f32; LINE]; LINE] {
    let mut columns = [[0.0; LINE]; LINE];
    let mut at = 0;
    while at < LINE * LINE {
        columns[at % LINE][at / LINE] = matrix[at / LINE][at % LINE];
        at += 1;
    }
    columns
}

/// Repeats a statement for six or eight places along an axis, with the place as a constant.
macro_rules! each_place {
    (6, $place:ident => $body:expr) => {
        each_place!(@ $place $body, 0 1 2 3 4 5)
    };
    (8, $place:ident => $body:expr) => {
        each_place!(@ $place $body, 0 1 2 3 4 5 6 7)
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
                each_place!(6, N => if N < S::COLUMNS && let Some(at) = from_at.at(N, j) {
                    column[N] = from[(at + c) / LANES];
                });
                each_place!(6, R => if R < S::ROWS { half[R][j] = row_times::<I, S, R, SIDE>(&column) });
            }
            for r in 0..S::ROWS {
                each_place!(6, R => if R < S::ROWS && let Some(at) = to_at.at(r, R) {
                    let sums = row_times::<I, S, R, SIDE>(&half[r]);
                    write_to(&mut to[(at + c) / LANES], sums, write, c);
                });
            }
        }
    }
}

simd! {
    /// Multiplies a line with a matrix from the left, separately for each channel. `channels` is a multiple of
    /// [`LANES`].
    fn line<I, S: Matrix>(
        from: &[f32], from_at: &Places, to: &mut [f32], to_at: &Places, channels: usize, write: Write,
    ) {
        let (from, to) = (from.as_chunks::<LANES>().0, to.as_chunks_mut::<LANES>().0);
        for c in (0..channels).step_by(LANES) {
            let mut line = [[0.0; LANES]; LINE];
            each_place!(8, N => if N < S::COLUMNS && let Some(at) = from_at.at(0, N) {
                line[N] = from[(at + c) / LANES];
            });
            each_place!(8, R => if R < S::ROWS && let Some(at) = to_at.at(0, R) {
                let sums = row_times::<I, S, R, LINE>(&line);
                write_to(&mut to[(at + c) / LANES], sums, write, c);
            });
        }
    }
}

/// Writes the results of the channels from `c` on.
#[inline(always)]
fn write_to(to: &mut [f32; LANES], sums: [f32; LANES], write: Write, c: usize) {
    *to = match write {
        Write::Set => sums,
        Write::Add => plus(sums, to),
        Write::Bias(bias) => plus(sums, &bias[c / LANES]),
    };
}

/// A row of the matrix times the places of a column. The factors are constants, so the compiler drops those that are
/// zero.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
fn row_times<I: Isa, S: Matrix, const R: usize, const K: usize>(column: &[[f32; LANES]; K]) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    each_place!(8, N => if N < K && S::VALUES[R][N] != 0.0 {
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
