//! A convolution with fixed weights: they are packed or transformed once, as are the tables of offsets.

use super::forward::{Band, Bands};
use super::pooled::whole_rows;
use super::winograd::Winograd;
use super::{Conv2d, ConvLayout, ROWS_WANTED, WeightLayout};
use crate::activation::Activation;
use crate::aligned::{Aligned, Weights};
use crate::gemm::{Columns, InitialC, PANEL, Right};
use crate::panels::{pack, panels_len};
use crate::window::{WindowGeometry, check_len, size_of};
use crate::{parallel, scratch};

/// Most values of input, gathered or framed, for which threads share the filters: 512 KiB, half of a usual second-level
/// cache.
const NEAR: usize = 128 << 10;
/// Fewest weights for which threads share the filters: 512 KiB; fewer are read quickly by every thread.
const MANY_WEIGHTS: usize = 128 << 10;

/// A convolution with its activation, and optionally maximum pooling, with weights prepared once. An image's result has
/// the same bits in any batch.
#[derive(Clone, Debug)]
pub struct PreparedConv {
    layout: ConvLayout,
    weights: Weights,
    bias: Option<Vec<f32>>,
    activation: Activation,
    pool: Option<WindowGeometry>,
}

impl PreparedConv {
    /// Prepares the weights of a convolution of any number of images: `conv.window.batch` and `pool.batch` are ignored.
    /// `None` where the offsets do not [fit](Conv2d::fits). An activation before a pooling must be non-decreasing, and
    /// `pool.input` must be the size of the convolution's output.
    ///
    /// # Panics
    /// If a slice's length does not match the sizes, or if the sizes do not belong together.
    pub fn new(
        conv: &Conv2d,
        w: &[f32],
        bias: Option<&[f32]>,
        activation: Activation,
        pool: Option<WindowGeometry>,
    ) -> Option<Self> {
        // The most images of one product.
        let pixels = conv.window.output[0].saturating_mul(conv.window.output[1]);
        let conv =
            Conv2d { window: WindowGeometry { batch: ROWS_WANTED.div_ceil(pixels.max(1)), ..conv.window }, ..*conv };
        if !conv.fits() {
            return None;
        }
        let is_empty = conv.input_len() == 0 || conv.output_len() == 0 || pool.is_some_and(|pool| pool.pixels() == 0);
        if is_empty {
            return None;
        }
        conv.check();
        check_len("the weights", w.len(), conv.weights_len());
        bias.into_iter().for_each(|bias| check_len("the bias", bias.len(), conv.filters));
        if let Some(pool) = &pool {
            pool.check();
            assert!(pool.input == conv.window.output, "the pooling does not fit the convolution");
            assert!(activation.gradient_needs_only_output(), "{activation:?} cannot be pooled here");
        }
        // Bands are cut along the height, so a line of pixels is turned upright; in memory it is the same.
        let is_line = |window: &WindowGeometry| window.input[0] == 1 && window.size[0] == 1 && window.output[0] == 1;
        let (conv, pool) = match is_line(&conv.window) && pool.as_ref().is_none_or(is_line) {
            true => (Conv2d { window: upright(conv.window), ..conv }, pool.map(upright)),
            false => (conv, pool),
        };
        let layout = ConvLayout::with(&conv, Winograd::of_one(&conv));
        let (depth, columns) = (size_of(&[conv.window.cells(), conv.group_channels()]), conv.group_filters());
        let weights = match &layout.winograd {
            Some(winograd) => {
                let mut weights = Aligned::zeros(winograd.packed_len());
                winograd.pack_weights(w, &mut weights);
                weights
            }
            None => {
                let len = panels_len(depth, columns);
                let mut weights = Aligned::zeros(size_of(&[conv.groups, len]));
                for (group, panels) in weights.chunks_exact_mut(len).enumerate() {
                    pack(&w[group * columns..], depth, columns, conv.filters, panels);
                }
                weights
            }
        };
        Some(Self { layout, weights: weights.into(), bias: bias.map(<[f32]>::to_vec), activation, pool })
    }

    /// The prepared weights, to be [gathered](Weights::gather).
    pub fn weights_mut(&mut self) -> &mut Weights {
        &mut self.weights
    }

    /// Height and width of the output.
    fn output(&self) -> [usize; 2] {
        self.pool.map_or(self.layout.conv.window.output, |pool| pool.output)
    }

    /// Floating-point operations per image.
    pub fn operations(&self) -> usize {
        let conv = Conv2d { window: WindowGeometry { batch: 1, ..self.layout.conv.window }, ..self.layout.conv };
        conv.operations()
    }

    /// Whether [`add_forward`](Self::add_forward) can be called: not with a pooling, nor where the weights are
    /// transformed.
    pub fn can_add(&self) -> bool {
        self.pool.is_none() && self.layout.winograd.is_none()
    }

    /// Replaces the activation; `false`, and nothing is changed, if it does not commute with the pooling.
    pub fn set_activation(&mut self, activation: Activation) -> bool {
        let fits = self.pool.is_none() || activation.gradient_needs_only_output();
        if fits {
            self.activation = activation;
        }
        fits
    }

    /// The output for some images, on up to `threads` threads if there is enough work. Every value of `y` is written.
    ///
    /// # Panics
    /// If the input is not whole images, or the output does not match it.
    pub fn forward(&self, x: &[f32], threads: usize, y: &mut [f32]) {
        self.compute(x, InitialC::with_bias(self.bias.as_deref()), threads, y);
    }

    /// As [`forward`](Self::forward), added to `y` before the activation.
    ///
    /// # Panics
    /// As for [`forward`](Self::forward), and if that is not [possible](Self::can_add).
    pub fn add_forward(&self, x: &[f32], threads: usize, y: &mut [f32]) {
        assert!(self.can_add(), "this form of a convolution overwrites its output");
        self.compute(x, InitialC::add_with_bias(self.bias.as_deref()), threads, y);
    }

    fn compute(&self, x: &[f32], start: InitialC, threads: usize, y: &mut [f32]) {
        let conv = &self.layout.conv;
        let one = size_of(&[conv.window.image_len(conv.channels)]);
        let batch = x.len() / one;
        let [rows, columns] = self.output();
        let row_len = columns * conv.filters;
        check_len("the input", x.len(), size_of(&[batch, one]));
        check_len("the output", y.len(), size_of(&[batch, rows, row_len]));
        if let Some(threads) = self.threads_sharing_filters(batch, threads) {
            return self.by_filters(x, start, threads, y);
        }
        match self.split(batch, threads) {
            (threads, None) => self.band(x, start, threads, Band { images: 0..batch, rows: 0..rows }, y),
            (threads, Some(bands)) => {
                let tasks = bands.tasks(y, row_len);
                parallel::each(threads, tasks, |(band, y): (Band, &mut [f32])| self.band(x, start, 1, band, y));
            }
        }
    }

    /// The number of threads if they share the filters: where the weights are many and the pixels few, as each thread
    /// then reads only its part of the weights.
    fn threads_sharing_filters(&self, images: usize, threads: usize) -> Option<usize> {
        let conv = &self.layout.conv;
        let threads = threads.min(parallel::threads_for(self.operations().saturating_mul(images)));
        let is_direct = self.layout.winograd.is_none() && self.pool.is_none() && conv.groups == 1;
        let gathered = size_of(&[images, conv.window.pixels()]).saturating_mul(self.layout.taps.len());
        let framed = size_of(&[images, self.layout.frame.len()]);
        let read = gathered.min(framed);
        let shares = read <= NEAR && self.weights.len() >= MANY_WEIGHTS.max(read) && images <= self.layout.images;
        (threads > 1 && is_direct && shares && conv.filters > PANEL).then_some(threads)
    }

    /// All pixels of some images, with the filters shared by threads.
    fn by_filters(&self, x: &[f32], start: InitialC, threads: usize, y: &mut [f32]) {
        let ConvLayout { conv, results, taps, .. } = &self.layout;
        let (all, images) = (0..conv.window.output[0], x.len() / self.layout.frame.image_len());
        let panels = conv.filters.div_ceil(PANEL);
        let width = PANEL * parallel::part_len_of(self.operations().saturating_mul(images), panels, threads);
        scratch::with_zeros(self.layout.copies_len(images, &all), |copies| {
            self.layout.framed(x, &all, copies, |frames, pixels| {
                let results = &results[..pixels.len()];
                parallel::each(threads, Columns::split(y, conv.filters, width), |mut y: Columns| {
                    let part = y.range();
                    let right = Right::panels(&self.weights[part.start * taps.len()..], taps.len());
                    y.product((frames, pixels, taps), right, (part.clone(), results), start.columns(part));
                    y.rows().for_each(|row| self.activation.apply(row));
                });
            });
        });
    }

    /// The number of threads for some images, and the bands that they share; `None` where all is one band, in which
    /// they share the places of tiles.
    fn split(&self, batch: usize, threads: usize) -> (usize, Option<Bands>) {
        let threads = threads.min(parallel::threads_for(self.operations().saturating_mul(batch)));
        let shares_places = batch == 1 && self.layout.winograd.as_ref().is_some_and(Winograd::shares_places);
        if threads <= 1 || shares_places {
            return (threads, None);
        }
        let rows = self.output()[0];
        let whole = self.pool.map_or(self.layout.whole_rows(), |pool| whole_rows(&self.layout, &pool));
        let bands = match batch {
            // Every band of tiles reads all weights.
            1 if self.layout.winograd.is_some() => Bands::of_one(rows, rows.div_ceil(threads), whole),
            1 => Bands::of_one(rows, parallel::part_len_of(self.operations(), rows, threads), whole),
            batch => Bands::new(batch, rows, threads, whole),
        };
        (threads, Some(bands))
    }

    /// The most values of workspace that [`forward`](Self::forward) takes for some images, in all threads together.
    pub fn workspace(&self, images: usize, threads: usize) -> usize {
        let of_band = |band: &Band| match &self.pool {
            Some(pool) => self.layout.pooled_workspace(pool, band),
            None => self.layout.workspace(band),
        };
        if self.threads_sharing_filters(images, threads).is_some() {
            return self.layout.copies_len(images, &(0..self.output()[0]));
        }
        match self.split(images, threads) {
            (_, None) => of_band(&Band { images: 0..images, rows: 0..self.output()[0] }),
            (threads, Some(bands)) => {
                let most = bands.all().map(|band| of_band(&band)).max().unwrap_or(0);
                most.saturating_mul(threads.min(bands.all().count()))
            }
        }
    }

    /// A band of the output; `threads` share the places of tiles.
    fn band(&self, x: &[f32], start: InitialC, threads: usize, band: Band, y: &mut [f32]) {
        let weights = match &self.layout.winograd {
            Some(winograd) => WeightLayout::Transformed(winograd, &self.weights, threads),
            None => WeightLayout::Panels(&self.weights),
        };
        match &self.pool {
            Some(pool) => {
                self.layout.pooled_band(pool, self.activation, x, weights, self.bias.as_deref(), band, y, &mut [])
            }
            None => self.layout.band(x, weights, start, self.activation, band, y),
        }
    }
}

/// The window with its axes exchanged.
fn upright(window: WindowGeometry) -> WindowGeometry {
    let exchanged = |[down, across]: [usize; 2]| [across, down];
    WindowGeometry {
        batch: window.batch,
        input: exchanged(window.input),
        output: exchanged(window.output),
        size: exchanged(window.size),
        strides: exchanged(window.strides),
        dilations: exchanged(window.dilations),
        pad: exchanged(window.pad),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::conv2d::{Pooled, forward, pooled_forward};
    use crate::simd::{at_every_level, test_lock};
    use crate::testing::{assert_close, double, kept_by, kept_by_threads, values, windows};

    /// Compares with the unprepared form; an image has the same bits in any batch, on any number of threads.
    fn check(conv: Conv2d, pool: Option<WindowGeometry>) {
        let (x, w) = (values(conv.input_len(), 1), values(conv.weights_len(), 2));
        let (bias, activation) = (values(conv.filters, 3), Activation::Tanh);
        let Some(prepared) = PreparedConv::new(&conv, &w, Some(&bias), activation, pool) else {
            assert_eq!(conv.output_len().min(conv.input_len()), 0);
            return;
        };
        let len = pool.map_or(conv.window.pixels(), |pool| pool.pixels()) * conv.filters;
        let (mut whole, mut expected) = (vec![7.5; conv.window.batch * len], vec![7.5; conv.window.batch * len]);
        prepared.forward(&x, 1, &mut whole);
        match pool {
            Some(pool) => {
                let block = Pooled { conv, activation, pool: WindowGeometry { batch: conv.window.batch, ..pool } };
                pooled_forward(&block, &x, &w, Some(&bias), &mut expected, &mut []);
            }
            None => forward(&conv, &x, &w, Some(&bias), activation, &mut expected),
        }
        assert_close("y", &whole, &double(&expected));
        let mut added = values(whole.len(), 4);
        if prepared.can_add() {
            prepared.add_forward(&x, 1, &mut added);
            forward(&conv, &x, &w, Some(&bias), Activation::Linear, &mut expected);
            let before = values(whole.len(), 4).into_iter();
            let sums = double(&expected).into_iter().zip(before).map(|(y, before)| (y + before as f64).tanh());
            assert_close("added", &added, &sums.collect::<Vec<_>>());
        }
        let one = conv.window.image_len(conv.channels);
        for (x, whole) in x.chunks_exact(one).zip(whole.chunks_exact(len)).take(3) {
            for threads in [1, 3] {
                let mut y = vec![7.5; len];
                prepared.forward(x, threads, &mut y);
                assert_eq!(y, whole, "{conv:?} on {threads} threads");
            }
        }
        let mut shared = vec![7.5; whole.len()];
        prepared.forward(&x, 4, &mut shared);
        assert_eq!(shared, whole, "{conv:?}");
        if prepared.can_add() {
            let mut shared = values(whole.len(), 4);
            prepared.add_forward(&x, 4, &mut shared);
            assert_eq!(shared, added, "added, {conv:?}");
        }
    }

    #[test]
    fn a_pooling_without_outputs_is_not_prepared() {
        let conv =
            Conv2d { window: WindowGeometry::valid(1, [3, 3], [3, 3], [1, 1]), channels: 1, filters: 1, groups: 1 };
        assert!(PreparedConv::new(&conv, &[1.0; 9], None, Activation::Relu, Some(halving(&conv))).is_none());
    }

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn the_workspace_is_what_a_call_takes() {
        // Frames, tiles, places that threads share, and filters that they share.
        for (batch, side, channels, filters) in
            [(1, 61, 24, 24), (9, 28, 24, 24), (1, 32, 64, 64), (5, 32, 64, 64), (1, 8, 128, 320), (1, 7, 256, 288)]
        {
            let mut window = WindowGeometry::valid(batch, [side; 2], [3, 3], [1, 1]);
            (window.pad, window.output) = ([1, 1], [side; 2]);
            let conv = Conv2d { window, channels, filters, groups: 1 };
            let (x, w) = (values(conv.input_len(), 1), values(conv.weights_len(), 2));
            for pool in [None, Some(halving(&conv))] {
                let prepared = PreparedConv::new(&conv, &w, None, Activation::Relu, pool).expect("offsets that fit");
                let len = pool.map_or(window.pixels(), |pool| pool.pixels()) * filters;
                let run = |threads: usize| prepared.forward(&x, threads, &mut vec![7.5; batch * len]);
                // The tiles of a block can be half of the most.
                let (kept, most) = (kept_by(|| run(1)), prepared.workspace(batch, 1));
                assert!(kept <= most && most <= 2 * kept, "{conv:?}: {kept}, not {most}");
                // A thread can keep the larger of its two buffers for either use.
                let (kept, most) = kept_by_threads(4, || run(4), || prepared.workspace(batch, 4));
                assert!(kept > 0 && kept <= 2 * most, "{conv:?}: {kept}, not {most}");
            }
        }
    }

    fn halving(conv: &Conv2d) -> WindowGeometry {
        WindowGeometry::valid(1, conv.window.output, [2, 2], [2, 2])
    }

    proptest! {
        #[test]
        fn any_sizes_agree_with_the_other_form(
            window in windows(), groups in 1..3usize, channels in 1..6usize, filters in 1..40usize,
            pooled in any::<bool>(),
        ) {
            let _alone = test_lock();
            let conv = Conv2d { window, channels: groups * channels, filters: groups * filters, groups };
            check(conv, pooled.then(|| halving(&conv)).filter(|pool| pool.pixels() > 0));
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn one_image_shared_by_threads_has_the_same_bits() {
        at_every_level(|_| {
            // Places of few tiles, or filters, of which each thread reads its part of the weights; a line, which is cut
            // into bands.
            let mut window = WindowGeometry::valid(1, [8, 8], [3, 3], [1, 1]);
            (window.pad, window.output) = ([1, 1], [8, 8]);
            let square = Conv2d { window, channels: 128, filters: 320, groups: 1 };
            let mut window = WindowGeometry::valid(2, [5, 7], [3, 3], [1, 1]);
            (window.pad, window.output) = ([1, 1], [5, 7]);
            let deep = Conv2d { window, channels: 256, filters: 290, groups: 1 };
            let line = WindowGeometry::valid(1, [1, 98], [1, 5], [1, 1]);
            let line = Conv2d { window: line, channels: 64, filters: 128, groups: 1 };
            let mut padded = line;
            (padded.window.pad, padded.window.output) = ([0, 4], [1, 98]);
            let halves = |conv: &Conv2d| Some(WindowGeometry::valid(1, conv.window.output, [1, 2], [1, 2]));
            let lines = [(line, None), (line, halves(&line)), (padded, None), (padded, halves(&padded))];
            let direct = lines.map(|(conv, pool)| (Conv2d { channels: 60, ..conv }, pool));
            for (conv, pool) in
                [(square, None), (square, Some(halving(&square))), (deep, None)].into_iter().chain(lines).chain(direct)
            {
                let (x, w) = (values(conv.input_len(), 1), values(conv.weights_len(), 2));
                let prepared = PreparedConv::new(&conv, &w, None, Activation::Relu, pool).unwrap();
                let len = pool.map_or(conv.window.pixels(), |pool| pool.pixels()) * conv.filters * conv.window.batch;
                let [mut alone, mut shared] = [0; 2].map(|_| vec![7.5; len]);
                prepared.forward(&x, 1, &mut alone);
                prepared.forward(&x, 4, &mut shared);
                assert_eq!(alone, shared, "{conv:?}");
            }
        });
    }

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn usual_sizes_agree_at_every_level() {
        at_every_level(|_| {
            for (batch, side, size, channels, filters) in
                [(9, 28, 5, 1, 32), (5, 12, 5, 32, 64), (3, 32, 3, 64, 64), (40, 4, 3, 16, 32), (2, 96, 3, 16, 48)]
            {
                let mut window = WindowGeometry::valid(batch, [side; 2], [size; 2], [1, 1]);
                let conv = Conv2d { window, channels, filters, groups: 1 };
                check(conv, Some(halving(&conv)));
                window.pad = [size / 2; 2];
                window.output = [side; 2];
                let conv = Conv2d { window, ..conv };
                check(conv, None);
                check(conv, Some(halving(&conv)));
            }
        });
    }
}
