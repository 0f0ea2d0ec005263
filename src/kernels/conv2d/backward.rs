//! The gradients of input, weights and bias.

use std::ops::Range;

use super::super::activation::Activation;
use super::super::gemm::{Right, Start, product};
use super::super::panels::{pack_transposed, panels_len};
use super::super::window::{check_len, even_offsets, size_of};
use super::super::{parallel, scratch};
use super::forward::check;
use super::{Conv2d, Plan};

/// Values that all parts' gradients of the weights may take together: 32 MiB.
const PARTS_MOST: usize = 8 << 20;

/// The activation that a forward pass ended with, and what it gave.
#[derive(Clone, Copy, Debug)]
pub struct Output<'a> {
    /// The activation; its gradient must follow from its output alone.
    pub activation: Activation,
    /// The forward pass's result.
    pub y: &'a [f32],
}

/// From `dy`, the gradient of the output, computes the gradients `dw` of the weights, `db` of the bias, and `dx` of the input unless
/// that is not wanted. With `output`, `dy` is the gradient after the activation. All of the gradients are overwritten.
///
/// # Panics
/// If a slice does not have the length that the sizes say, or if the activation's gradient does not follow from its output.
#[allow(clippy::too_many_arguments)]
pub fn backward(
    conv: &Conv2d,
    x: &[f32],
    w: &[f32],
    output: Option<Output>,
    dy: &[f32],
    dx: Option<&mut [f32]>,
    dw: &mut [f32],
    db: &mut [f32],
) {
    check(conv, x, w, None);
    check_len("the gradient of the output", dy.len(), conv.output_len());
    let image = conv.window.pixels() * conv.filters;
    let of = |images: Range<usize>| images.start * image..images.end * image;
    let Some(Output { activation, y }) = output.filter(|output| output.activation != Activation::Linear) else {
        return gradients(conv, x, w, &Slices(|images| &dy[of(images)]), dx, dw, db);
    };
    check_len("the output", y.len(), dy.len());
    let fill = |images: Range<usize>, dz: &mut [f32]| {
        dz.copy_from_slice(&dy[of(images.clone())]);
        activation.gradient_from_output(&y[of(images)], dz);
    };
    gradients(conv, x, w, &Made(fill), dx, dw, db);
}

/// Where the gradient before the activation comes from, for a range of images.
pub(super) trait Source: Sync {
    /// Calls `work` with it; `room` can be used to hold it.
    fn with<R>(&self, images: Range<usize>, room: &mut [f32], work: impl FnOnce(&[f32]) -> R) -> R;
    /// Whether room is needed.
    const NEEDS_ROOM: bool;
}

/// It lies in memory already.
pub(super) struct Slices<F>(pub F);
/// It is made when needed.
pub(super) struct Made<F>(pub F);

impl<'a, F: Fn(Range<usize>) -> &'a [f32] + Sync> Source for Slices<F> {
    const NEEDS_ROOM: bool = false;
    fn with<R>(&self, images: Range<usize>, _: &mut [f32], work: impl FnOnce(&[f32]) -> R) -> R {
        work(self.0(images))
    }
}

impl<F: Fn(Range<usize>, &mut [f32]) + Sync> Source for Made<F> {
    const NEEDS_ROOM: bool = true;
    fn with<R>(&self, images: Range<usize>, room: &mut [f32], work: impl FnOnce(&[f32]) -> R) -> R {
        self.0(images, room);
        work(room)
    }
}

/// The gradients, given that of the convolution's result.
pub(super) fn gradients(
    conv: &Conv2d,
    x: &[f32],
    w: &[f32],
    dz: &impl Source,
    dx: Option<&mut [f32]>,
    dw: &mut [f32],
    db: &mut [f32],
) {
    check_len("the gradient of the weights", dw.len(), conv.weights_len());
    check_len("the gradient of the bias", db.len(), conv.filters);
    if let Some(dx) = &dx {
        check_len("the gradient of the input", dx.len(), conv.input_len());
    }
    dw.fill(0.0);
    db.fill(0.0);
    if x.is_empty() || conv.output_len() == 0 {
        dx.into_iter().for_each(|dx| dx.fill(0.0));
        return;
    }
    let plan = Gradients::new(conv);
    let threads = parallel::threads_for(conv.operations());
    let wanted = parallel::part_len(conv.window.batch, threads);
    // Each part sums its own gradient of the weights: fewer parts where these are large.
    let parts = (PARTS_MOST / (dw.len() + db.len()).max(1)).clamp(threads, 4 * threads);
    let images = wanted.max(conv.window.batch.div_ceil(parts));
    let parts = conv.window.batch.div_ceil(images);
    let one = plan.plan.frame.image_len();
    plan.with_weights(dx.is_some(), w, |weights| {
        scratch::with((parts - 1) * (dw.len() + db.len()), |others| {
            let (other_dw, other_db) = others.split_at_mut((parts - 1) * dw.len());
            let sums = std::iter::once((&mut *dw, &mut *db))
                .chain(other_dw.chunks_exact_mut(conv.weights_len()).zip(other_db.chunks_exact_mut(conv.filters)));
            let mut inputs = dx.map(|dx| dx.chunks_mut(images * one));
            let tasks = sums
                .enumerate()
                .map(|(i, sums)| {
                    let range = i * images..((i + 1) * images).min(conv.window.batch);
                    (range, sums, inputs.as_mut().and_then(|inputs| inputs.next()))
                })
                .collect();
            parallel::each(threads, tasks, |(range, (dw, db), dx)| plan.part(x, weights, dz, range, dx, dw, db));
            parallel::add_parts(other_dw, dw);
            parallel::add_parts(other_db, db);
        });
    });
}

/// What all images of a backward pass have in common.
struct Gradients<'a> {
    conv: &'a Conv2d,
    plan: Plan,
    /// Where the weights of each input value begin.
    weights: Vec<u32>,
    /// Where the gradients of the filters of one group lie, from their pixel on.
    filters: Vec<u32>,
    /// Input values side by side that the same number of weights meet, and where each such run begins: in the frame, in the weights.
    run: usize,
    runs: Vec<(usize, usize)>,
}

impl<'a> Gradients<'a> {
    fn new(conv: &'a Conv2d) -> Self {
        let plan = Plan::new(conv);
        let (channels, [height, width]) = (conv.group_channels(), conv.window.size);
        // The cells of a row lie side by side if nothing lies between them.
        let whole_rows = conv.groups == 1 && (conv.window.dilations[1] == 1 || width == 1);
        let per_row = if whole_rows { 1 } else { width };
        let runs = (0..height * per_row)
            .map(|i| {
                let (row, column) = (i / per_row, i % per_row);
                (plan.frame.cell_offset(&conv.window, row, column), (row * width + column) * channels)
            })
            .collect();
        Gradients {
            conv,
            weights: even_offsets(plan.taps.len(), conv.filters),
            filters: even_offsets(conv.group_filters(), 1),
            run: if whole_rows { width * channels } else { channels },
            runs,
            plan,
        }
    }

    /// Whether each input value meets one pixel of the output: then its gradient is a product and not a sum of them.
    fn is_pointwise(&self) -> bool {
        let window = &self.conv.window;
        window.size == [1, 1] && window.strides == [1, 1] && window.output == window.input && !self.plan.frame.padded
    }

    /// Calls `work` with the transposed weights, for each group one panel after another for each run.
    fn with_weights<R>(&self, wanted: bool, w: &[f32], work: impl FnOnce(&[f32]) -> R) -> R {
        let (depth, len) = (self.conv.group_filters(), self.run_len());
        let total = if wanted { size_of(&[self.conv.groups, self.runs.len(), len]) } else { 0 };
        scratch::with(total, |panels| {
            for (i, panels) in panels.chunks_exact_mut(len.max(1)).enumerate() {
                let (group, run) = (i / self.runs.len(), self.runs[i % self.runs.len()].1);
                let from = run * self.conv.filters + group * depth;
                pack_transposed(&w[from..], depth, self.run, self.conv.filters, panels);
            }
            work(panels)
        })
    }

    fn run_len(&self) -> usize {
        panels_len(self.conv.group_filters(), self.run)
    }

    /// The gradients of a range of images, whose gradient of the input is `dx`.
    #[allow(clippy::too_many_arguments)]
    fn part<S: Source>(
        &self,
        x: &[f32],
        weights: &[f32],
        dz: &S,
        range: Range<usize>,
        mut dx: Option<&mut [f32]>,
        dw: &mut [f32],
        db: &mut [f32],
    ) {
        let plan = &self.plan;
        let one = plan.frame.image_len();
        let result = self.conv.window.pixels() * self.conv.filters;
        let copies = plan.copies_len();
        let room = if S::NEEDS_ROOM { plan.images * result } else { 0 };
        db.fill(0.0);
        scratch::with(room + 2 * copies, |buffer| {
            let (room, buffer) = buffer.split_at_mut(room);
            let (copies, dx_copies) = buffer.split_at_mut(copies);
            copies.fill(0.0);
            let mut start = Start::Zero;
            let first = range.start;
            for from in range.clone().step_by(plan.images) {
                let to = (from + plan.images).min(range.end);
                let room = if S::NEEDS_ROOM { &mut room[..(to - from) * result] } else { &mut *room };
                dz.with(from..to, room, |dz| {
                    parallel::add_rows(dz, db);
                    plan.framed(&x[from * one..to * one], copies, |frames| self.weights(frames, dz, start, dw));
                    if let Some(dx) = &mut dx {
                        let dx = &mut dx[(from - first) * one..(to - first) * one];
                        self.input(weights, dz, dx_copies, dx);
                    }
                });
                start = Start::Add;
            }
        });
    }

    /// `dw (+)= xᵀ ∗ dz` for some images.
    fn weights(&self, frames: &[f32], dz: &[f32], start: Start, dw: &mut [f32]) {
        let (channels, filters) = (self.conv.group_channels(), self.conv.group_filters());
        let pixels = &self.plan.pixels[..dz.len() / self.conv.filters];
        for group in 0..self.conv.groups {
            let right = Right::Rows { data: &dz[group * filters..], stride: self.conv.filters };
            let input = &frames[group * channels..];
            product((input, &self.plan.taps, pixels), right, filters, (&mut dw[group * filters..], &self.weights), start);
        }
    }

    /// The gradient of some images.
    fn input(&self, weights: &[f32], dz: &[f32], copies: &mut [f32], dx: &mut [f32]) {
        let frame = &self.plan.frame;
        if !frame.padded {
            return self.frames(weights, dz, dx);
        }
        let copies = &mut copies[..dx.len() / frame.image_len() * frame.len()];
        self.frames(weights, dz, copies);
        for (dx, copy) in dx.chunks_exact_mut(frame.image_len()).zip(copies.chunks_exact(frame.len())) {
            frame.read(copy, dx);
        }
    }

    /// The gradient of some frames: each pixel of `dz` adds to all input values that it was computed from.
    fn frames(&self, weights: &[f32], dz: &[f32], dx: &mut [f32]) {
        let pointwise = self.is_pointwise();
        if !pointwise {
            dx.fill(0.0);
        }
        let start = if pointwise { Start::Zero } else { Start::Add };
        let count = dz.len() / self.conv.filters;
        let (pixels, results) = (&self.plan.pixels[..count], &self.plan.results[..count]);
        let panels = weights.chunks_exact(self.run_len().max(1));
        for (i, panels) in panels.enumerate() {
            let (group, run) = (i / self.runs.len(), self.runs[i % self.runs.len()].0);
            let dz = &dz[group * self.conv.group_filters()..];
            let dx = &mut dx[run + group * self.conv.group_channels()..];
            product((dz, results, &self.filters), Right::Panels(panels), self.run, (dx, pixels), start);
        }
    }
}
