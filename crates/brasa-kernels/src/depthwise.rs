//! Depthwise convolution: each channel has its own windows.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::activation::Activation;
use super::aligned::Weights;
use super::simd::simd;
use super::window::{Frame, WindowGeometry, check_len, even_offsets, size_of};
use super::{parallel, scratch};

/// Sizes of a depthwise convolution. Images are `(batch, height, width, channels)`, weights
/// `(window height, window width, channels, multiplier)`, results `(batch, height, width, channels · multiplier)`:
/// output channel `c · multiplier + m` is computed from input channel `c` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depthwise {
    /// Number and sizes of the images, and how the window moves over them.
    pub window: WindowGeometry,
    /// Channels of the input.
    pub channels: usize,
    /// Output channels for each input channel; at least 1.
    pub multiplier: usize,
}

impl Depthwise {
    /// Channels of the output.
    pub fn filters(&self) -> usize {
        size_of(&[self.channels, self.multiplier])
    }

    /// Whether these functions can compute it: the offsets within an image must fit in 32 bits.
    pub fn fits(&self) -> bool {
        let filters = self.channels.checked_mul(self.multiplier);
        filters.is_some_and(|filters| self.window.offsets_fit(1, filters, filters))
    }

    /// Number of input values.
    pub fn input_len(&self) -> usize {
        size_of(&[self.window.batch, self.window.image_len(self.channels)])
    }

    /// Number of weights.
    pub fn weights_len(&self) -> usize {
        size_of(&[self.window.cells(), self.filters()])
    }

    /// Number of output values.
    pub fn output_len(&self) -> usize {
        size_of(&[self.window.batch, self.window.pixels(), self.filters()])
    }

    /// Floating-point operations of a forward pass; each of the two gradients takes the same number.
    pub fn operations(&self) -> usize {
        self.output_len().saturating_mul(self.window.cells()).saturating_mul(2)
    }

    fn check(&self, x: &[f32], w: &[f32]) {
        self.window.check();
        assert!(self.multiplier > 0, "the multiplier must be positive");
        check_len("the input", x.len(), self.input_len());
        check_len("the weights", w.len(), self.weights_len());
    }

    /// Number of threads, and of images in a part. An operation here costs several times one of a matrix product.
    fn parts(&self) -> (usize, usize) {
        let threads = parallel::threads_for(self.operations().saturating_mul(4));
        (threads, parallel::part_len(self.window.batch, threads))
    }
}

/// `y = activation(x ∗ w + bias)`. Every value of `y` is written.
///
/// # Panics
/// If a slice's length does not match the sizes.
pub fn forward(conv: &Depthwise, x: &[f32], w: &[f32], bias: Option<&[f32]>, activation: Activation, y: &mut [f32]) {
    conv.check(x, w);
    check_len("the output", y.len(), conv.output_len());
    bias.into_iter().for_each(|bias| check_len("the bias", bias.len(), conv.filters()));
    if y.is_empty() {
        return;
    }
    let layout = DepthwiseLayout::new(conv);
    let (threads, images) = conv.parts();
    let (one, result) = (conv.window.image_len(conv.channels), conv.window.pixels() * conv.filters());
    let tasks = y.chunks_mut(images * result).enumerate().collect();
    parallel::each(threads, tasks, |(part, y): (usize, &mut [f32])| {
        scratch::with_zeros(layout.copies_len(), |copies| {
            for (i, y) in y.chunks_exact_mut(result).enumerate() {
                match bias {
                    Some(bias) => y.chunks_exact_mut(bias.len()).for_each(|y| y.copy_from_slice(bias)),
                    None => y.fill(0.0),
                }
                layout.framed(&x[(part * images + i) * one..][..one], copies, |frame| {
                    let DepthwiseLayout { pixels, cells, results, weights, .. } = &layout;
                    add_products((frame, pixels, cells), (w, weights), conv.filters(), y, (results, 0));
                });
                activation.apply(y);
            }
        });
    });
}

/// A depthwise convolution with its activation and tables of offsets made once. An image's result has the same bits in
/// any batch.
#[derive(Clone, Debug)]
pub struct PreparedDepthwise {
    conv: Depthwise,
    layout: DepthwiseLayout,
    weights: Weights,
    /// The output by regions, where windows reach over the image's edge; else empty.
    regions: Vec<Region>,
    bias: Option<Vec<f32>>,
    activation: Activation,
}

/// Offsets of the regions' cells at most: a window larger than the image can have a region for each pixel.
const CELLS_OF_REGIONS: usize = 1 << 16;

/// Output pixels whose windows have the same cells within the image. So the image is read where it is, and not copied
/// to a frame of zeros, which took more time than the products.
#[derive(Clone, Debug, Default)]
struct Region {
    /// Offsets of each pixel's first cell in the image, and of the other cells from there.
    pixels: Vec<u32>,
    cells: Vec<u32>,
    /// Offsets of the cells' weights.
    weights: Vec<u32>,
    /// Offsets of the pixels in the output.
    results: Vec<u32>,
}

impl Region {
    /// The regions of an image with one output channel for each input channel; none where their tables would take much
    /// memory.
    fn all(conv: &Depthwise) -> Vec<Self> {
        let (window, channels) = (&conv.window, conv.channels);
        let [down, across] =
            [0, 1].map(|axis| (0..window.output[axis]).map(|at| window.inside(axis, at)).collect::<Vec<_>>());
        let cells = |ranges: &[Range<usize>]| {
            let distinct: BTreeSet<_> = ranges.iter().map(|range| (range.start, range.end)).collect();
            distinct.iter().fold(0usize, |sum, (start, end)| sum.saturating_add(end - start))
        };
        if cells(&down).saturating_mul(cells(&across)) > CELLS_OF_REGIONS {
            return Vec::new();
        }
        let offset = |row: usize, column: usize| ((row * window.input[1] + column) * channels) as u32;
        let at = |axis: usize, at: usize, cell: usize| {
            at * window.strides[axis] + cell * window.dilations[axis] - window.pad[axis]
        };
        let mut regions = BTreeMap::new();
        for (i, rows) in down.iter().enumerate() {
            for (j, columns) in across.iter().enumerate() {
                // Of a window outside of the image only the bias remains.
                if rows.is_empty() || columns.is_empty() {
                    continue;
                }
                let key = (rows.start, rows.end, columns.start, columns.end);
                let region = regions.entry(key).or_insert_with(|| {
                    let mut region = Region::default();
                    for (row, column) in rows.clone().flat_map(|row| columns.clone().map(move |column| (row, column))) {
                        let [down, across] =
                            [(row - rows.start) * window.dilations[0], (column - columns.start) * window.dilations[1]];
                        region.cells.push(offset(down, across));
                        region.weights.push(((row * window.size[1] + column) * channels) as u32);
                    }
                    region
                });
                region.pixels.push(offset(at(0, i, rows.start), at(1, j, columns.start)));
                region.results.push(((i * window.output[1] + j) * channels) as u32);
            }
        }
        regions.into_values().collect()
    }
}

impl PreparedDepthwise {
    /// Prepares a convolution of any number of images: `conv.window.batch` is ignored. `None` where the offsets do not
    /// [fit](Depthwise::fits).
    ///
    /// # Panics
    /// If a slice's length does not match the sizes.
    pub fn new(conv: &Depthwise, w: &[f32], bias: Option<&[f32]>, activation: Activation) -> Option<Self> {
        let conv = Depthwise { window: WindowGeometry { batch: 1, ..conv.window }, ..*conv };
        if !conv.fits() || conv.input_len() == 0 || conv.output_len() == 0 {
            return None;
        }
        conv.window.check();
        check_len("the weights", w.len(), conv.weights_len());
        bias.into_iter().for_each(|bias| check_len("the bias", bias.len(), conv.filters()));
        let layout = DepthwiseLayout::new(&conv);
        let by_regions = layout.frame.padded && conv.multiplier == 1;
        Some(Self {
            regions: if by_regions { Region::all(&conv) } else { Vec::new() },
            layout,
            conv,
            weights: Weights::from(w),
            bias: bias.map(<[f32]>::to_vec),
            activation,
        })
    }

    /// Floating-point operations per image.
    pub fn operations(&self) -> usize {
        self.conv.operations()
    }

    /// The most values of workspace that [`forward`](Self::forward) takes for some images, in all threads together.
    pub fn workspace(&self, images: usize, threads: usize) -> usize {
        if !self.regions.is_empty() {
            return 0;
        }
        let (most, part) = self.for_images(images).parts();
        // A single image is copied once.
        let threads = threads.min(most).min(images.div_ceil(part)).max(1);
        self.layout.copies_len().saturating_mul(threads)
    }

    /// The convolution of so many images.
    fn for_images(&self, batch: usize) -> Depthwise {
        Depthwise { window: WindowGeometry { batch, ..self.conv.window }, ..self.conv }
    }

    /// The output for some images, split for up to `threads` threads if there is enough work. Every value of `y` is
    /// written.
    ///
    /// # Panics
    /// If the input is not whole images, or the output does not match it.
    pub fn forward(&self, x: &[f32], threads: usize, y: &mut [f32]) {
        let (one, result) = (self.conv.input_len(), self.conv.output_len());
        let batch = x.len() / one;
        check_len("the input", x.len(), size_of(&[batch, one]));
        check_len("the output", y.len(), size_of(&[batch, result]));
        let (most, images) = self.for_images(batch).parts();
        let threads = most.min(threads);
        if threads <= 1 {
            x.chunks_exact(one).zip(y.chunks_exact_mut(result)).for_each(|(x, y)| self.band(x, 0, y));
        } else if batch == 1 && !self.reads_in_place() {
            // Each band would copy the image to a frame.
            self.band(x, 0, y);
        } else if batch == 1 {
            let band = parallel::part_len_of(self.operations().saturating_mul(4), self.conv.window.output[0], threads);
            let tasks = y.chunks_mut(band * self.row_len()).enumerate().collect();
            parallel::each(threads, tasks, |(i, y): (usize, &mut [f32])| self.band(x, i * band, y));
        } else {
            let tasks = x.chunks(images * one).zip(y.chunks_mut(images * result)).collect();
            parallel::each(threads, tasks, |(x, y): (&[f32], &mut [f32])| {
                x.chunks_exact(one).zip(y.chunks_exact_mut(result)).for_each(|(x, y)| self.band(x, 0, y));
            });
        }
    }

    /// Whether images are read where they are, and not copied to a frame of zeros.
    pub fn reads_in_place(&self) -> bool {
        !self.regions.is_empty() || (!self.layout.frame.padded && self.conv.multiplier == 1)
    }

    /// Height and width of the output.
    pub(super) fn output(&self) -> [usize; 2] {
        self.conv.window.output
    }

    /// Channels of the output.
    pub(super) fn filters(&self) -> usize {
        self.conv.filters()
    }

    /// Number of values of an image.
    pub(super) fn input_len(&self) -> usize {
        self.conv.input_len()
    }

    /// Number of values of a row of the output.
    pub(super) fn row_len(&self) -> usize {
        self.conv.window.output[1] * self.conv.filters()
    }

    /// Whole rows `y` of the output of an image, from row `first` on.
    pub(super) fn band(&self, x: &[f32], first: usize, y: &mut [f32]) {
        let Self { conv, layout, regions, bias, activation, .. } = self;
        match bias {
            Some(bias) => y.chunks_exact_mut(bias.len()).for_each(|y| y.copy_from_slice(bias)),
            None => y.fill(0.0),
        }
        let base = first * self.row_len();
        let end = base + y.len();
        // Offsets of results ascend.
        let of_band = |results: &[u32]| {
            let before = |end: usize| results.partition_point(|at| (*at as usize) < end);
            before(base)..before(end)
        };
        for Region { pixels, cells, weights, results } in regions {
            let band = of_band(results);
            let results = (&results[band.clone()], base);
            add_products((x, &pixels[band], cells), (&self.weights, weights), conv.filters(), y, results);
        }
        if regions.is_empty() {
            let band = of_band(&layout.results);
            scratch::with_zeros(layout.copies_len(), |copies| {
                layout.framed(x, copies, |frame| {
                    let (pixels, results) = (&layout.pixels[band.clone()], (&layout.results[band], base));
                    let (cells, weights) = (&layout.cells, (&self.weights[..], &layout.weights[..]));
                    add_products((frame, pixels, cells), weights, conv.filters(), y, results);
                });
            });
        }
        activation.apply(y);
    }
}

/// Computes from `dy`, the gradient of the output before the activation, the gradients `dw` of the weights and, where
/// given, `db` of the bias and `dx` of the input; all are overwritten.
///
/// # Panics
/// If a slice's length does not match the sizes.
pub fn backward(
    conv: &Depthwise,
    x: &[f32],
    w: &[f32],
    dy: &[f32],
    dx: Option<&mut [f32]>,
    dw: &mut [f32],
    db: Option<&mut [f32]>,
) {
    conv.check(x, w);
    check_len("the gradient of the output", dy.len(), conv.output_len());
    check_len("the gradient of the weights", dw.len(), w.len());
    if let Some(db) = db {
        check_len("the gradient of the bias", db.len(), conv.filters());
        db.fill(0.0);
        parallel::add_rows(dy, db);
    }
    dw.fill(0.0);
    if let Some(dx) = &dx {
        check_len("the gradient of the input", dx.len(), x.len());
    }
    if x.is_empty() || dy.is_empty() {
        dx.into_iter().for_each(|dx| dx.fill(0.0));
        return;
    }
    let layout = DepthwiseLayout::new(conv);
    let (threads, images) = conv.parts();
    let (one, result) = (conv.window.image_len(conv.channels), conv.window.pixels() * conv.filters());
    let parts = conv.window.batch.div_ceil(images);
    scratch::with_zeros((parts - 1) * dw.len(), |others| {
        let mut inputs = dx.map(|dx| dx.chunks_mut(images * one));
        let sums = std::iter::once(&mut *dw).chain(others.chunks_exact_mut(conv.weights_len()));
        let tasks: Vec<_> = dy
            .chunks(images * result)
            .zip(sums)
            .map(|(dy, dw)| (dy, dw, inputs.as_mut().and_then(|inputs| inputs.next())))
            .enumerate()
            .collect();
        parallel::each(threads, tasks, |(part, (dy, dw, mut dx))| {
            scratch::with_zeros(layout.copies_len(), |copies| {
                for (i, dy) in dy.chunks_exact(result).enumerate() {
                    layout.framed(&x[(part * images + i) * one..][..one], copies, |frame| {
                        // The weights take the place of the output: a product of each cell with all pixels.
                        let (cells, pixels, sums) = (&layout.cells, &layout.pixels, (&layout.weights[..], 0));
                        add_products((frame, cells, pixels), (dy, &layout.results), conv.filters(), dw, sums);
                    });
                    if let Some(dx) = &mut dx {
                        layout.input_gradient(dy, w, &mut dx[i * one..][..one]);
                    }
                }
            });
        });
        parallel::add_parts(others, dw);
    });
}

/// State shared by all images of a call. Where each input channel has several output channels, its values are first
/// repeated for each of them; the rest is the same as with one.
#[derive(Clone, Debug)]
struct DepthwiseLayout {
    frame: Frame,
    channels: usize,
    multiplier: usize,
    /// Offsets of the output pixels in the frame, and of the window's cells from there.
    pixels: Vec<u32>,
    cells: Vec<u32>,
    /// Offsets of the output pixels in the output, and of the weights of the window's cells.
    results: Vec<u32>,
    weights: Vec<u32>,
}

impl DepthwiseLayout {
    fn new(conv: &Depthwise) -> Self {
        let frame = conv.window.frame(conv.filters());
        let cells = frame.cell_offsets(&conv.window, conv.filters());
        DepthwiseLayout {
            frame,
            channels: conv.channels,
            multiplier: conv.multiplier,
            pixels: frame.pixel_offsets(&conv.window, 1),
            cells: cells.into_iter().step_by(conv.filters().max(1)).collect(),
            results: even_offsets(conv.window.pixels(), conv.filters()),
            weights: even_offsets(conv.window.cells(), conv.filters()),
        }
    }

    /// Workspace for an image with repeated channels and for its frame.
    fn copies_len(&self) -> usize {
        let repeated = if self.multiplier > 1 { self.frame.image_len() } else { 0 };
        repeated + if self.frame.padded { self.frame.len() } else { 0 }
    }

    /// Calls `work` with an image's frame.
    fn framed<R>(&self, image: &[f32], copies: &mut [f32], work: impl FnOnce(&[f32]) -> R) -> R {
        let (repeated, frame) = copies.split_at_mut(if self.multiplier > 1 { self.frame.image_len() } else { 0 });
        let image = if self.multiplier > 1 {
            repeated.chunks_exact_mut(self.multiplier).zip(image).for_each(|(copies, value)| copies.fill(*value));
            &*repeated
        } else {
            image
        };
        if !self.frame.padded {
            return work(image);
        }
        self.frame.write(image, 0..self.frame.size()[0], frame);
        work(frame)
    }

    /// The gradient of one image's input.
    fn input_gradient(&self, dy: &[f32], w: &[f32], dx: &mut [f32]) {
        let filters = self.channels * self.multiplier;
        let frames = |frame: &mut [f32]| {
            frame.fill(0.0);
            spread_products(dy, w, &self.pixels, &self.cells, filters, frame);
        };
        if !self.frame.padded && self.multiplier == 1 {
            return frames(dx);
        }
        scratch::with(self.frame.len(), |frame| {
            frames(frame);
            if self.multiplier == 1 {
                return self.frame.read(frame, dx);
            }
            scratch::with(self.frame.image_len(), |repeated| {
                self.frame.read(frame, repeated);
                for (dx, copies) in dx.iter_mut().zip(repeated.chunks_exact(self.multiplier)) {
                    *dx = copies.iter().sum();
                }
            });
        });
    }
}

/// Most values of an image that stays in the second-level cache: 1 MiB.
const NEAR: usize = 256 << 10;
/// Fewest channels for which the loop over blocks of channels is outside that over pixels; with fewer the other order
/// was measured to be faster.
const MANY_CHANNELS: usize = 192;

/// Channels of a block, which a tile processes side by side.
const LANES: usize = 16;

/// `y[results[i] - base + c] += Σₖ x[rows[i] + steps[k] + c] · b[rights[k] + c]` for `channels` values of `c`.
fn add_products(
    (x, rows, steps): (&[f32], &[u32], &[u32]),
    (b, rights): (&[f32], &[u32]),
    channels: usize,
    y: &mut [f32],
    (results, base): (&[u32], usize),
) {
    if rows.is_empty() {
        return;
    }
    let last = |table: &[u32]| table.iter().fold(0, |most, v| most.max(*v)) as usize;
    let ends = |at: usize, len: usize| at.checked_add(channels).is_some_and(|end| end <= len);
    assert!(last(rows).checked_add(last(steps)).is_some_and(|at| ends(at, x.len())), "the input is too short");
    assert!(steps.len() == rights.len() && ends(last(rights), b.len()), "the right matrix is too short");
    assert!(results.iter().all(|result| *result as usize >= base), "a result lies before the first");
    assert!(rows.len() == results.len() && ends(last(results) - base, y.len()), "the result is too short");
    products(x, rows, steps, b, rights, channels, y, results, base);
}

/// The microkernel: a tile of `H` rows and `LANES` channels from `c` on.
///
/// # Safety
/// The conditions that [`add_products`] checks, and `c + LANES <= channels`.
#[allow(clippy::too_many_arguments)]
#[inline(always)]
unsafe fn tile<I: super::simd::Isa, const H: usize>(
    x: &[f32],
    rows: &[u32],
    steps: &[u32],
    b: &[f32],
    rights: &[u32],
    y: &mut [f32],
    results: &[u32],
    base: usize,
    c: usize,
) {
    let mut sums = [[0.0f32; LANES]; H];
    // SAFETY: the caller's promise covers every offset below.
    unsafe {
        let mut left = [x.as_ptr(); H];
        for m in 0..H {
            left[m] = x.as_ptr().add(rows[m] as usize + c);
        }
        let right = b.as_ptr().add(c);
        for k in 0..steps.len() {
            let (step, at) = (steps.get_unchecked(k), rights.get_unchecked(k));
            let right_row = &*(right.add(*at as usize) as *const [f32; LANES]);
            for m in 0..H {
                let row = &*(left[m].add(*step as usize) as *const [f32; LANES]);
                for j in 0..LANES {
                    sums[m][j] = I::mul_add(row[j], right_row[j], sums[m][j]);
                }
            }
        }
    }
    for m in 0..H {
        let y = &mut y[results[m] as usize - base + c..][..LANES];
        for j in 0..LANES {
            y[j] += sums[m][j];
        }
    }
}

simd! {
    fn products<I>(
        x: &[f32], rows: &[u32], steps: &[u32], b: &[f32], rights: &[u32], channels: usize, y: &mut [f32],
        results: &[u32], base: usize,
    ) {
        const HEIGHT: usize = 6;
        let whole = channels / LANES * LANES;
        // In a small image, which stays in the second-level cache, all pixels of some channels follow one another, so
        // that a value comes from the first-level cache for all its windows but one.
        let is_small = rows.len().saturating_mul(channels) <= NEAR;
        let together = if is_small && channels >= MANY_CHANNELS { rows.len().max(1) } else { HEIGHT };
        for (rows, results) in rows.chunks(together).zip(results.chunks(together)) {
            for c in (0..whole).step_by(LANES) {
                for (rows, results) in rows.chunks(HEIGHT).zip(results.chunks(HEIGHT)) {
                    // SAFETY: `add_products` has checked all offsets, and these lanes are whole.
                    unsafe {
                        match rows.len() {
                            6 => tile::<I, 6>(x, rows, steps, b, rights, y, results, base, c),
                            5 => tile::<I, 5>(x, rows, steps, b, rights, y, results, base, c),
                            4 => tile::<I, 4>(x, rows, steps, b, rights, y, results, base, c),
                            3 => tile::<I, 3>(x, rows, steps, b, rights, y, results, base, c),
                            2 => tile::<I, 2>(x, rows, steps, b, rights, y, results, base, c),
                            _ => tile::<I, 1>(x, rows, steps, b, rights, y, results, base, c),
                        }
                    }
                }
            }
        }
        if whole < channels {
            for (row, result) in rows.iter().zip(results) {
                let result = *result as usize - base;
                let y = &mut y[result + whole..result + channels];
                for (step, at) in steps.iter().zip(rights) {
                    let x = &x[(*row + *step) as usize + whole..][..y.len()];
                    let b = &b[*at as usize + whole..][..y.len()];
                    for j in 0..y.len() {
                        y[j] = I::mul_add(x[j], b[j], y[j]);
                    }
                }
            }
        }
    }
}

simd! {
    /// `dx[rows[i] + steps[k] + c] += dy[i][c] · w[k][c]`.
    fn spread_products<I>(dy: &[f32], w: &[f32], rows: &[u32], steps: &[u32], channels: usize, dx: &mut [f32]) {
        for (row, dy) in rows.iter().zip(dy.chunks_exact(channels)) {
            for (step, w) in steps.iter().zip(w.chunks_exact(channels)) {
                let dx = &mut dx[(*row + *step) as usize..][..channels];
                for c in 0..channels {
                    dx[c] = I::mul_add(dy[c], w[c], dx[c]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::conv2d::{self, Conv2d};
    use crate::simd::{at_every_level, test_lock};
    use crate::testing::{assert_close, double, kept_by, kept_by_threads, values, windows};

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn the_workspace_is_what_a_call_takes() {
        for (batch, pad, multiplier) in [(1, 0, 1), (1, 1, 1), (1, 1, 2), (9, 0, 2), (9, 1, 2)] {
            let mut window = WindowGeometry::valid(batch, [61, 40], [3, 3], [1, 1]);
            window.pad = [pad; 2];
            window.output = window.input.map(|side| side + 2 * pad - 2);
            let conv = Depthwise { window, channels: 40, multiplier };
            let (x, w) = (values(conv.input_len(), 1), values(conv.weights_len(), 2));
            let prepared = PreparedDepthwise::new(&conv, &w, None, Activation::Linear).expect("offsets that fit");
            let run = |threads: usize| prepared.forward(&x, threads, &mut vec![7.5; conv.output_len()]);
            assert_eq!(kept_by(|| run(1)), prepared.workspace(batch, 1), "{conv:?}");
            let (kept, most) = kept_by_threads(4, || run(4), || prepared.workspace(batch, 4));
            assert!(kept <= most && (most > 0) == (multiplier > 1), "{conv:?}: {kept}, not {most}");
        }
    }

    /// A depthwise convolution is a grouped one with a group for each channel.
    fn check(conv: Depthwise) {
        let same =
            Conv2d { window: conv.window, channels: conv.channels, filters: conv.filters(), groups: conv.channels };
        let (x, w) = (values(conv.input_len(), 1), values(conv.weights_len(), 2));
        let (bias, dy) = (values(conv.filters(), 3), values(conv.output_len(), 4));
        let mut results = [(); 2].map(|_| [&dy, &x, &w, &bias].map(|like| vec![7.5; like.len()]));
        let [[y, dx, dw, db], [ey, edx, edw, edb]] = &mut results;
        forward(&conv, &x, &w, Some(&bias), Activation::Relu, y);
        backward(&conv, &x, &w, &dy, Some(dx), dw, Some(db));
        conv2d::forward(&same, &x, &w, Some(&bias), Activation::Relu, ey);
        // The prepared form reads the image by regions, or a frame where there are too many.
        if let Some(prepared) = PreparedDepthwise::new(&conv, &w, Some(&bias), Activation::Relu) {
            let mut z = vec![7.5; y.len()];
            prepared.forward(&x, 2, &mut z);
            assert_close("y, prepared", &z, &double(ey));
        }
        conv2d::backward(&same, &x, &w, None, &dy, Some(edx), edw, Some(edb));
        for (what, actual, expected) in [("y", y, ey), ("dx", dx, edx), ("dw", dw, edw), ("db", db, edb)] {
            assert_close(what, actual, &double(expected));
        }
    }

    proptest! {
        #[test]
        fn any_sizes_agree_with_a_grouped_convolution(
            window in windows(), channels in 1..40usize, multiplier in 1..4usize,
        ) {
            check(Depthwise { window, channels, multiplier });
        }
    }

    #[test]
    fn usual_sizes_agree_at_every_level() {
        at_every_level(|_| {
            for (side, channels, stride) in [(16, 64, 1), (15, 40, 2), (9, 3, 2)] {
                let (batch, side) = if cfg!(miri) { (1, 5) } else { (9, side) };
                let mut window = WindowGeometry::valid(batch, [side, side], [3, 3], [stride, stride]);
                window.pad = [1, 1];
                window.output = [side.div_ceil(stride); 2];
                check(Depthwise { window, channels, multiplier: 1 });
            }
        });
    }

    #[test]
    fn windows_may_lie_outside_of_the_image_and_regions_have_a_limit() {
        // Windows whose cells are all padding, a dilation beyond the image, and more padding on one side.
        for (size, dilation, pad, output) in
            [([3, 3], 1, [6, 0], [12, 4]), ([2, 3], 9, [4, 9], [6, 6]), ([5, 1], 1, [0, 2], [2, 9])]
        {
            let mut window = WindowGeometry::valid(2, [5, 5], size, [1, 1]);
            (window.dilations, window.pad, window.output) = ([dilation; 2], pad, output);
            check(Depthwise { window, channels: 17, multiplier: 1 });
        }
        let mut window = WindowGeometry::valid(1, [40, 40], [39, 39], [1, 1]);
        (window.pad, window.output) = ([19, 19], [40, 40]);
        let (conv, w) = (Depthwise { window, channels: 16, multiplier: 1 }, values(39 * 39 * 16, 1));
        let prepared = PreparedDepthwise::new(&conv, &w, None, Activation::Linear).unwrap();
        assert!(prepared.regions.is_empty(), "their weights would take a thousand times the memory of the window's");
    }

    #[test]
    fn a_prepared_one_gives_the_same_numbers_and_an_image_the_same_bits_in_any_batch() {
        at_every_level(|_| {
            for (side, channels, multiplier, stride) in [(16, 64, 1, 1), (15, 40, 2, 2), (9, 3, 1, 2)] {
                let (batch, side) = if cfg!(miri) { (2, 5) } else { (9, side) };
                let mut window = WindowGeometry::valid(batch, [side, side], [3, 3], [stride, stride]);
                window.pad = [1, 1];
                window.output = [side.div_ceil(stride); 2];
                let conv = Depthwise { window, channels, multiplier };
                let (x, w) = (values(conv.input_len(), 1), values(conv.weights_len(), 2));
                let bias = values(conv.filters(), 3);
                let (mut y, mut expected) = (vec![7.5; conv.output_len()], vec![7.5; conv.output_len()]);
                forward(&conv, &x, &w, Some(&bias), Activation::Relu, &mut expected);
                let prepared =
                    PreparedDepthwise::new(&conv, &w, Some(&bias), Activation::Relu).expect("offsets that fit");
                for threads in [1, 3] {
                    prepared.forward(&x, threads, &mut y);
                    assert_eq!(y, expected);
                }
                let (one, result) = (x.len() / batch, y.len() / batch);
                let mut alone = vec![7.5; result];
                prepared.forward(&x[one..2 * one], 1, &mut alone);
                assert_eq!(alone, y[result..2 * result]);
            }
        });
    }

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn one_image_shared_by_threads_has_the_same_bits() {
        at_every_level(|_| {
            for (pad, stride, multiplier) in [(0, 1, 1), (1, 1, 1), (1, 2, 1), (0, 1, 2), (1, 1, 2)] {
                let mut window = WindowGeometry::valid(1, [61, 40], [3, 3], [stride; 2]);
                window.pad = [pad; 2];
                window.output = window.input.map(|side| (side + 2 * pad - 3) / stride + 1);
                let conv = Depthwise { window, channels: 40, multiplier };
                let (x, w) = (values(conv.input_len(), 1), values(conv.weights_len(), 2));
                let bias = values(conv.filters(), 3);
                let prepared =
                    PreparedDepthwise::new(&conv, &w, Some(&bias), Activation::Relu).expect("offsets that fit");
                let [mut alone, mut shared] = [0; 2].map(|_| vec![7.5; conv.output_len()]);
                prepared.forward(&x, 1, &mut alone);
                prepared.forward(&x, 4, &mut shared);
                assert_eq!(alone, shared, "{conv:?}");
            }
        });
    }

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn the_same_call_gives_the_same_bits() {
        let _alone = test_lock();
        let conv =
            Depthwise { window: WindowGeometry::valid(30, [16, 16], [3, 3], [1, 1]), channels: 32, multiplier: 1 };
        let (x, w, dy) = (values(conv.input_len(), 1), values(conv.weights_len(), 2), values(conv.output_len(), 3));
        let run = || {
            let mut dw = vec![0.0; w.len()];
            backward(&conv, &x, &w, &dy, None, &mut dw, None);
            dw
        };
        assert_eq!(run(), run());
    }
}
