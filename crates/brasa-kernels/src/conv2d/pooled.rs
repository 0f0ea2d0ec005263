//! Convolution, bias, activation and maximum pooling fused: the convolution's result never leaves the cache.

use std::ops::Range;

use super::super::activation::Activation;
use super::super::gemm::InitialC;
use super::super::pool::{max_rows, spread};
use super::super::window::{WindowGeometry, check_len, size_of};
use super::super::{parallel, scratch};
use super::backward::{OnDemand, gradients};
use super::forward::{Band, Bands, check};
use super::{Conv2d, ConvLayout, WeightLayout, with_weights};

/// Marks a pooled value that lets no gradient through.
const CLOSED: u8 = u8::MAX;

/// A convolution whose result is activated and then pooled. `pool.input` is the size of the convolution's output, and
/// `pool.batch` its batch; its window has at most 255 cells. The activation's gradient must follow from its output
/// alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pooled {
    /// The convolution.
    pub conv: Conv2d,
    /// The activation.
    pub activation: Activation,
    /// The pooling window.
    pub pool: WindowGeometry,
}

impl Pooled {
    /// Number of output values.
    pub fn output_len(&self) -> usize {
        size_of(&[self.pool.batch, self.pool.pixels(), self.conv.filters])
    }

    fn check(&self) {
        self.pool.check();
        let fits = self.pool.batch == self.conv.window.batch && self.pool.input == self.conv.window.output;
        assert!(fits, "the pooling does not fit the convolution");
        assert!(self.pool.cells() <= 255, "a pooling window has at most 255 cells");
        assert!(self.activation.gradient_needs_only_output(), "{:?} cannot be pooled here", self.activation);
    }
}

/// `y = max pooling of activation(x ∗ w + bias)`. For training, `positions` takes one byte for each value of `y`, saved
/// for [`backward`]; otherwise it is empty. Every value is written.
///
/// # Panics
/// If a slice's length does not match the sizes, or if the sizes do not belong together.
pub fn forward(block: &Pooled, x: &[f32], w: &[f32], bias: Option<&[f32]>, y: &mut [f32], positions: &mut [u8]) {
    let conv = &block.conv;
    check(conv, x, w, bias);
    block.check();
    check_len("the output", y.len(), block.output_len());
    if !positions.is_empty() {
        check_len("the positions", positions.len(), y.len());
    }
    if y.is_empty() {
        return;
    }
    let layout = ConvLayout::new(conv);
    let threads = parallel::threads_for(conv.operations());
    let row_len = block.pool.output[1] * conv.filters;
    let bands = Bands::new(conv.window.batch, block.pool.output[0], threads, whole_rows(&layout, &block.pool));
    let mut tasks: Vec<_> = bands.tasks(y, row_len).into_iter().map(|(band, y)| (band, y, &mut [][..])).collect();
    for (task, (_, part)) in tasks.iter_mut().zip(bands.tasks(positions, row_len)) {
        task.2 = part;
    }
    with_weights(&layout, w, |weights| {
        parallel::each(threads, tasks, |(band, y, positions)| {
            layout.pooled_band(&block.pool, block.activation, x, weights, bias, band, y, positions);
        });
    });
}

impl ConvLayout {
    /// The most values of workspace that [`pooled_band`](Self::pooled_band) takes.
    pub(super) fn pooled_workspace(&self, pool: &WindowGeometry, band: &Band) -> usize {
        let rows = conv_rows(pool, &band.rows);
        let images = self.images.min(band.images.len());
        let results = size_of(&[images, rows.len(), self.conv.window.output[1], self.conv.filters]);
        self.workspace(&Band { images: band.images.clone(), rows }).saturating_add(results)
    }

    /// The convolution with its activation and pooling for a band of the output. `positions` is as for [`forward`].
    #[allow(clippy::too_many_arguments)]
    pub(super) fn pooled_band(
        &self,
        pool: &WindowGeometry,
        activation: Activation,
        x: &[f32],
        weights: WeightLayout,
        bias: Option<&[f32]>,
        band: Band,
        y: &mut [f32],
        positions: &mut [u8],
    ) {
        let filters = self.conv.filters;
        let (one, conv_row) = (self.frame.image_len(), self.conv.window.output[1] * filters);
        let rows = conv_rows(pool, &band.rows);
        let results = rows.len() * conv_row;
        let most = self.images.min(band.images.len());
        let copies = self.copies_len(most, &rows);
        scratch::with(copies + most * results, |buffer| {
            let (copies, results_of) = buffer.split_at_mut(copies);
            copies.fill(0.0);
            let len = band.rows.len() * pool.output[1] * filters;
            let mut positions = positions.chunks_mut(len);
            let mut y = y.chunks_mut(len);
            for from in band.images.clone().step_by(self.images) {
                let to = (from + self.images).min(band.images.end);
                let results_of = &mut results_of[..(to - from) * results];
                self.rows(
                    &x[from * one..to * one],
                    copies,
                    weights,
                    InitialC::with_bias(bias),
                    rows.clone(),
                    results_of,
                );
                for i in 0..to - from {
                    let z = &results_of[i * results..][..results];
                    let (y, positions) = (y.next().unwrap_or_default(), positions.next().unwrap_or_default());
                    max_rows(pool, filters, z, band.rows.start, band.rows.end, y, positions);
                    // A non-decreasing activation can be applied after the maximum, where there are fewer values.
                    activation.apply(y);
                    if activation == Activation::Relu && !positions.is_empty() {
                        close_zeros(y, positions);
                    }
                }
            }
        });
    }
}

/// Rows of the convolution's output that the given rows of the pooled result depend on; all of them for all.
fn conv_rows(pool: &WindowGeometry, rows: &Range<usize>) -> Range<usize> {
    if *rows == (0..pool.output[0]) {
        return 0..pool.input[0];
    }
    let start = (rows.start * pool.strides[0]).saturating_sub(pool.pad[0]);
    let last = rows.end.saturating_sub(1) * pool.strides[0] + (pool.size[0] - 1) * pool.dilations[0] + 1;
    let end = last.saturating_sub(pool.pad[0]).min(pool.input[0]);
    start.min(end)..end
}

/// Rows of the pooled result that depend on whole rows of a convolution's tiles, if the windows do not overlap.
pub(super) fn whole_rows(layout: &ConvLayout, pool: &WindowGeometry) -> usize {
    let whole = layout.whole_rows();
    (1..whole).find(|rows| (rows * pool.strides[0]).is_multiple_of(whole)).unwrap_or(whole)
}

super::super::simd::simd! {
    /// Marks the positions of values that are zero.
    fn close_zeros<I>(y: &[f32], positions: &mut [u8]) {
        for (position, y) in positions.iter_mut().zip(y) {
            *position = if *y <= 0.0 { CLOSED } else { *position };
        }
    }
}

/// Computes from `dy`, the gradient of the output, the gradients `dw` of the weights and, where given, `db` of the bias
/// and `dx` of the input; all are overwritten. `positions` was written by [`forward`]; `y`, its output, is read only if
/// the activation is neither linear nor relu, and can be empty otherwise.
///
/// # Panics
/// If a slice's length does not match the sizes, or if the sizes do not belong together.
#[allow(clippy::too_many_arguments)]
pub fn backward(
    block: &Pooled,
    x: &[f32],
    w: &[f32],
    y: &[f32],
    positions: &[u8],
    dy: &[f32],
    dx: Option<&mut [f32]>,
    dw: &mut [f32],
    db: Option<&mut [f32]>,
) {
    let conv = &block.conv;
    check(conv, x, w, None);
    block.check();
    check_len("the gradient of the output", dy.len(), block.output_len());
    check_len("the positions", positions.len(), dy.len());
    let through_y = !matches!(block.activation, Activation::Linear | Activation::Relu);
    if through_y {
        check_len("the output", y.len(), dy.len());
    }
    let (image, pooled) = (block.pool.pixels() * conv.filters, conv.window.pixels() * conv.filters);
    let fill = |images: Range<usize>, dz: &mut [f32]| {
        for (i, dz) in images.zip(dz.chunks_mut(pooled)) {
            let at = i * image..(i + 1) * image;
            if !through_y {
                spread(&block.pool, conv.filters, &dy[at.clone()], &positions[at], dz);
                continue;
            }
            scratch::with(image, |before| {
                before.copy_from_slice(&dy[at.clone()]);
                block.activation.gradient_from_output(&y[at.clone()], before);
                spread(&block.pool, conv.filters, before, &positions[at], dz);
            });
        }
    };
    gradients(conv, x, w, &OnDemand(fill), dx, dw, db);
}
