//! The gradients of input, weights and bias.

use std::ops::Range;

use super::super::activation::{Activation, ActivationOutput};
use super::super::gemm::{InitialC, Right, product};
use super::super::window::{check_len, even_offsets};
use super::super::{parallel, scratch};
use super::forward::check;
use super::input_gradient::InputGradient;
use super::winograd::Winograd;
use super::{Conv2d, ConvLayout};

/// Values that all parts' gradients of the weights take together, 32 MiB: fewer parts than this allows are made only where
/// there would be more threads than parts.
const PARTS_MOST: usize = 8 << 20;

/// Computes from `dy`, the gradient of the output, the gradients `dw` of the weights and, where given, `db` of the bias
/// and `dx` of the input. With `output`, `dy` is the gradient after the activation. All gradients are overwritten.
///
/// # Panics
/// If a slice's length does not match the sizes, or if the activation's gradient does not follow from its output.
#[allow(clippy::too_many_arguments)]
pub fn backward(
    conv: &Conv2d,
    x: &[f32],
    w: &[f32],
    output: Option<ActivationOutput>,
    dy: &[f32],
    dx: Option<&mut [f32]>,
    dw: &mut [f32],
    db: Option<&mut [f32]>,
) {
    check(conv, x, w, None);
    check_len("the gradient of the output", dy.len(), conv.output_len());
    let image = conv.window.pixels() * conv.filters;
    let of = |images: Range<usize>| images.start * image..images.end * image;
    let Some(ActivationOutput { activation, y }) = output.filter(|output| output.activation != Activation::Linear)
    else {
        return gradients(conv, x, w, &Slices(|images| &dy[of(images)]), dx, dw, db);
    };
    check_len("the output", y.len(), dy.len());
    let fill = |images: Range<usize>, dz: &mut [f32]| {
        dz.copy_from_slice(&dy[of(images.clone())]);
        activation.gradient_from_output(&y[of(images)], dz);
    };
    gradients(conv, x, w, &OnDemand(fill), dx, dw, db);
}

/// The gradient before the activation, for a range of images.
pub(super) trait GradientSource: Sync {
    /// Calls `work` with it; `room` can be used to hold it.
    fn with<R>(&self, images: Range<usize>, room: &mut [f32], work: impl FnOnce(&[f32]) -> R) -> R;
    /// Whether room is needed.
    const NEEDS_ROOM: bool;
}

/// In memory already.
pub(super) struct Slices<F>(pub F);
/// Computed on demand, into `room`.
pub(super) struct OnDemand<F>(pub F);

impl<'a, F: Fn(Range<usize>) -> &'a [f32] + Sync> GradientSource for Slices<F> {
    const NEEDS_ROOM: bool = false;
    fn with<R>(&self, images: Range<usize>, _: &mut [f32], work: impl FnOnce(&[f32]) -> R) -> R {
        work(self.0(images))
    }
}

impl<F: Fn(Range<usize>, &mut [f32]) + Sync> GradientSource for OnDemand<F> {
    const NEEDS_ROOM: bool = true;
    fn with<R>(&self, images: Range<usize>, room: &mut [f32], work: impl FnOnce(&[f32]) -> R) -> R {
        self.0(images, room);
        work(room)
    }
}

/// The gradients, given the gradient of the convolution's result.
pub(super) fn gradients(
    conv: &Conv2d,
    x: &[f32],
    w: &[f32],
    dz: &impl GradientSource,
    dx: Option<&mut [f32]>,
    dw: &mut [f32],
    db: Option<&mut [f32]>,
) {
    check_len("the gradient of the weights", dw.len(), conv.weights_len());
    db.iter().for_each(|db| check_len("the gradient of the bias", db.len(), conv.filters));
    if let Some(dx) = &dx {
        check_len("the gradient of the input", dx.len(), conv.input_len());
    }
    // Empty if not wanted.
    let db = db.unwrap_or_default();
    let biases = db.len();
    dw.fill(0.0);
    db.fill(0.0);
    let result = conv.window.pixels() * conv.filters;
    if x.is_empty() || conv.output_len() == 0 {
        // No pixels or no channels: only the bias has a gradient.
        dx.into_iter().for_each(|dx| dx.fill(0.0));
        scratch::with(result, |room| {
            (0..conv.window.batch).for_each(|i| dz.with(i..i + 1, room, |dz| parallel::add_rows(dz, db)));
        });
        return;
    }
    let layout = BackwardPass::new(conv, dx.is_some());
    let threads = parallel::threads_for(conv.operations());
    let wanted = parallel::part_len(conv.window.batch, threads);
    // Each part sums its own gradient of the weights: fewer parts where these are large, or have to be transformed.
    let a_thread = if layout.layout.winograd.is_some() { 2 } else { 4 };
    let parts = (PARTS_MOST / (dw.len() + db.len()).max(1)).clamp(threads, a_thread * threads);
    let images = wanted.max(conv.window.batch.div_ceil(parts));
    let parts = conv.window.batch.div_ceil(images);
    let one = layout.layout.frame.image_len();
    scratch::with(layout.panels_len(), |weights| {
        layout.pack(w, weights);
        let weights = &*weights;
        scratch::with((parts - 1) * (dw.len() + db.len()), |others| {
            let (other_dw, other_db) = others.split_at_mut((parts - 1) * dw.len());
            let mut other_dbs = other_db.chunks_exact_mut(biases.max(1));
            let others =
                other_dw.chunks_exact_mut(conv.weights_len()).map(|dw| (dw, other_dbs.next().unwrap_or_default()));
            let sums = std::iter::once((&mut *dw, &mut *db)).chain(others);
            let mut inputs = dx.map(|dx| dx.chunks_mut(images * one));
            let tasks = sums
                .enumerate()
                .map(|(i, sums)| {
                    let range = i * images..((i + 1) * images).min(conv.window.batch);
                    (range, sums, inputs.as_mut().and_then(|inputs| inputs.next()))
                })
                .collect();
            parallel::each(threads, tasks, |(range, (dw, db), dx)| layout.part(x, weights, dz, range, dx, dw, db));
            parallel::add_parts(other_dw, dw);
            parallel::add_parts(other_db, db);
        });
    });
}

/// State shared by all images of a backward pass.
struct BackwardPass<'a> {
    conv: &'a Conv2d,
    layout: ConvLayout,
    /// Offset of the weights of each input value.
    weights: Vec<u32>,
    input: Option<InputGradient<'a>>,
}

impl<'a> BackwardPass<'a> {
    fn new(conv: &'a Conv2d, input_wanted: bool) -> Self {
        let layout = ConvLayout::new(conv);
        let weights = even_offsets(layout.taps.len(), conv.filters);
        BackwardPass { conv, weights, input: input_wanted.then(|| InputGradient::new(conv, &layout)), layout }
    }

    /// Number of values of the weights packed for the gradient of the input.
    fn panels_len(&self) -> usize {
        match (&self.input, &self.layout.winograd) {
            (None, _) => 0,
            (_, Some(winograd)) => winograd.transposed_len(),
            (Some(input), None) => input.panels_len(),
        }
    }

    /// Packs the weights for the gradient of the input.
    fn pack(&self, w: &[f32], panels: &mut [f32]) {
        match (&self.input, &self.layout.winograd) {
            (None, _) => {}
            (_, Some(winograd)) => winograd.transpose_weights(w, panels),
            (Some(input), None) => input.pack(w, panels),
        }
    }

    /// The gradients of a range of images, whose gradient of the input is `dx`.
    #[allow(clippy::too_many_arguments)]
    fn part<S: GradientSource>(
        &self,
        x: &[f32],
        weights: &[f32],
        dz: &S,
        range: Range<usize>,
        mut dx: Option<&mut [f32]>,
        dw: &mut [f32],
        db: &mut [f32],
    ) {
        let layout = &self.layout;
        let one = layout.frame.image_len();
        let result = self.conv.window.pixels() * self.conv.filters;
        let rows = 0..self.conv.window.output[0];
        let copies = layout.copies_len(layout.images, &rows);
        let room = if S::NEEDS_ROOM { layout.images * result } else { 0 };
        let transformed = layout.winograd.as_ref().map_or(0, Winograd::weights_len);
        db.fill(0.0);
        scratch::with(room + 2 * copies + transformed, |buffer| {
            let (room, buffer) = buffer.split_at_mut(room);
            let (transformed, buffer) = buffer.split_at_mut(transformed);
            let (copies, dx_copies) = buffer.split_at_mut(copies);
            transformed.fill(0.0);
            copies.fill(0.0);
            let mut start = InitialC::Zero;
            let first = range.start;
            for from in range.clone().step_by(layout.images) {
                let to = (from + layout.images).min(range.end);
                let room = if S::NEEDS_ROOM { &mut room[..(to - from) * result] } else { &mut *room };
                dz.with(from..to, room, |dz| {
                    parallel::add_rows(dz, db);
                    if let Some(winograd) = &layout.winograd {
                        let dx = dx.as_mut().map(|dx| &mut dx[(from - first) * one..(to - first) * one]);
                        return winograd.gradients(&x[from * one..to * one], weights, dz, transformed, dx);
                    }
                    layout.framed(&x[from * one..to * one], &rows, copies, |frames, pixels| {
                        self.weights((frames, pixels), dz, start, dw);
                    });
                    if let (Some(dx), Some(input)) = (&mut dx, &self.input) {
                        let dx = &mut dx[(from - first) * one..(to - first) * one];
                        input.images(layout, weights, dz, dx_copies, dx);
                    }
                });
                start = InitialC::Add;
            }
            if let Some(winograd) = &layout.winograd {
                winograd.weights_gradient(transformed, dw);
            }
        });
    }

    /// `dw (+)= xᵀ ∗ dz` for some images.
    fn weights(&self, (frames, pixels): (&[f32], &[u32]), dz: &[f32], start: InitialC, dw: &mut [f32]) {
        let (channels, filters) = (self.conv.group_channels(), self.conv.group_filters());
        for group in 0..self.conv.groups {
            let right = Right::Rows { data: &dz[group * filters..], stride: self.conv.filters };
            let input = &frames[group * channels..];
            product(
                (input, &self.layout.taps, pixels),
                right,
                filters,
                (&mut dw[group * filters..], &self.weights),
                start,
            );
        }
    }
}
