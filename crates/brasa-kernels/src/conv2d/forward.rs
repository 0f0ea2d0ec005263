//! The forward pass.

use std::ops::Range;

use super::super::activation::Activation;
use super::super::gemm::{InitialC, product};
use super::super::window::check_len;
use super::super::{parallel, scratch};
use super::{Conv2d, ConvLayout, WeightLayout, with_weights};

/// `y = activation(x ∗ w + bias)`. Every value of `y` is written.
///
/// # Panics
/// If a slice's length does not match the sizes, or if the sizes are not those of a convolution.
pub fn forward(conv: &Conv2d, x: &[f32], w: &[f32], bias: Option<&[f32]>, activation: Activation, y: &mut [f32]) {
    check(conv, x, w, bias);
    check_len("the output", y.len(), conv.output_len());
    if y.is_empty() {
        return;
    }
    let layout = ConvLayout::new(conv);
    let threads = parallel::threads_for(conv.operations());
    let rows = conv.window.output[0];
    let row_len = conv.window.output[1] * conv.filters;
    with_weights(&layout, w, |weights| {
        let tasks = Bands::new(conv.window.batch, rows, threads, layout.whole_rows()).tasks(y, row_len);
        parallel::each(threads, tasks, |(band, y): (Band, &mut [f32])| {
            layout.band(x, weights, InitialC::with_bias(bias), activation, band, y);
        });
    });
}

pub(super) fn check(conv: &Conv2d, x: &[f32], w: &[f32], bias: Option<&[f32]>) {
    conv.check();
    check_len("the input", x.len(), conv.input_len());
    check_len("the weights", w.len(), conv.weights_len());
    if let Some(bias) = bias {
        check_len("the bias", bias.len(), conv.filters);
    }
}

impl ConvLayout {
    /// The most values of workspace that [`band`](Self::band) takes.
    pub(super) fn workspace(&self, band: &Band) -> usize {
        let images = self.images.min(band.images.len());
        let tiles = self.winograd.as_ref().map_or(0, |winograd| winograd.workspace(images, &band.rows));
        self.copies_len(images, &band.rows).saturating_add(tiles)
    }

    /// The convolution with its activation for a band of the output. `start` adds to it only if the weights are not
    /// transformed.
    pub(super) fn band(
        &self,
        x: &[f32],
        weights: WeightLayout,
        start: InitialC,
        activation: Activation,
        band: Band,
        y: &mut [f32],
    ) {
        let row_len = self.conv.window.output[1] * self.conv.filters;
        scratch::with_zeros(self.copies_len(self.images.min(band.images.len()), &band.rows), |copies| {
            let mut images = band.images;
            for y in y.chunks_mut(self.images * row_len * band.rows.len()) {
                let count = y.len() / (row_len * band.rows.len());
                let part = images.start..images.start + count;
                images.start += count;
                let input = &x[part.start * self.frame.image_len()..part.end * self.frame.image_len()];
                self.rows(input, copies, weights, start, band.rows.clone(), y);
                activation.apply(y);
            }
        });
    }

    /// The convolution with its bias for the given output rows of one image, or for all rows of up to `self.images`
    /// images, without the activation. `copies` is as for [`ConvLayout::framed`].
    pub(super) fn rows(
        &self,
        images: &[f32],
        copies: &mut [f32],
        weights: WeightLayout,
        start: InitialC,
        rows: Range<usize>,
        y: &mut [f32],
    ) {
        let conv = &self.conv;
        if y.is_empty() {
            return;
        }
        if images.is_empty() {
            // No pixels or no channels: the sums are empty.
            return y.chunks_exact_mut(conv.filters).for_each(|y| start.initialize(y));
        }
        if let WeightLayout::Transformed(winograd, weights, threads) = weights {
            debug_assert!(!start.adds(), "Winograd's form overwrites its output");
            return winograd.rows(images, (weights, threads), start.bias(), rows, y);
        }
        let (channels, filters) = (conv.group_channels(), conv.group_filters());
        self.framed(images, &rows, copies, |frames, pixels| {
            for group in 0..conv.groups {
                let weights = weights.of_group(group, (self.taps.len(), filters));
                let results = &self.results[..pixels.len()];
                let input = &frames[group * channels..];
                let start = start.columns(group * filters..(group + 1) * filters);
                let y = &mut y[group * filters..];
                product((input, pixels, &self.taps), weights, filters, (y, results), start);
            }
        });
    }
}

/// Partition of the output rows: whole images if there are enough, else bands of one image's rows.
pub(super) struct Bands {
    batch: usize,
    rows: usize,
    images: usize,
    height: usize,
}

/// Some rows of one image, or all rows of several.
#[derive(Clone)]
pub(super) struct Band {
    pub images: Range<usize>,
    pub rows: Range<usize>,
}

impl Bands {
    /// The height of a band is a multiple of `whole` rows.
    pub fn new(batch: usize, rows: usize, threads: usize, whole: usize) -> Self {
        let images = parallel::part_len(batch, threads);
        let bands = if threads > 1 && batch < 2 * threads { (2 * threads).div_ceil(batch.max(1)) } else { 1 };
        Bands {
            batch,
            rows,
            images: if bands > 1 { 1 } else { images },
            height: rows.div_ceil(bands).max(1).next_multiple_of(whole),
        }
    }

    /// Bands of about `height` rows of one image.
    pub fn of_one(rows: usize, height: usize, whole: usize) -> Self {
        Bands { batch: 1, rows, images: 1, height: height.next_multiple_of(whole) }
    }

    /// The bands, in the order of the output.
    pub fn all(&self) -> impl Iterator<Item = Band> {
        let (batch, rows, images, height) = (self.batch, self.rows, self.images, self.height);
        (0..batch).step_by(images).flat_map(move |image| {
            (0..rows).step_by(height).map(move |row| Band {
                images: image..(image + images).min(batch),
                rows: row..(row + height).min(rows),
            })
        })
    }

    /// Each band with its part of an output that has `row_len` values a row; none for an empty output.
    pub fn tasks<'a, T>(&self, output: &'a mut [T], row_len: usize) -> Vec<(Band, &'a mut [T])> {
        let mut rest = output;
        let part = |band: Band| {
            let len = band.images.len() * band.rows.len() * row_len;
            let (part, after) = std::mem::take(&mut rest).split_at_mut_checked(len)?;
            rest = after;
            Some((band, part))
        };
        self.all().map_while(part).collect()
    }
}
