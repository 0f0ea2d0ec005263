//! Two-dimensional convolution of channels-last images as an indirect GEMM, without im2col (see [`super::gemm`]).
//!
//! A one-dimensional convolution has height 1, a pointwise one a window of one cell. Padded images are copied, one or a
//! few at a time, into a frame with zeros around; others are read in place. Windows of 3×3 and 5×5, and of 3, 5 or 7
//! along one axis, without strides and over many channels, are computed by Winograd's transform, with far fewer
//! multiplications (`winograd`).

use std::ops::Range;

mod backward;
mod forward;
mod input_gradient;
mod pooled;
mod prepared;
mod winograd;

#[cfg(test)]
mod tests;

pub use backward::backward;
pub use forward::forward;
pub use pooled::{Pooled, backward as pooled_backward, forward as pooled_forward};
pub use prepared::PreparedConv;

use super::gemm::Right;
use super::panels::{pack, panels_len};
use super::scratch;
use super::window::{Frame, WindowGeometry, even_offsets, offsets_fit_in, size_of};
use winograd::Winograd;

/// Rows that a product should have at least, if there are enough images: the weights are then read seldom.
const ROWS_WANTED: usize = 480;

/// Sizes of a convolution. Images are `(batch, height, width, channels)`, weights
/// `(window height, window width, channels / groups, filters)`, results `(batch, height, width, filters)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Number and sizes of the images, and how the window moves over them.
    pub window: WindowGeometry,
    /// Channels of the input.
    pub channels: usize,
    /// Channels of the output.
    pub filters: usize,
    /// Number of groups of channels and of filters; each group of filters sees its own group of channels only. At least
    /// 1, and a divisor of both.
    pub groups: usize,
}

impl Conv2d {
    /// Number of input values.
    pub fn input_len(&self) -> usize {
        size_of(&[self.window.batch, self.window.image_len(self.channels)])
    }

    /// Number of weights.
    pub fn weights_len(&self) -> usize {
        size_of(&[self.window.cells(), self.group_channels(), self.filters])
    }

    /// Number of output values.
    pub fn output_len(&self) -> usize {
        size_of(&[self.window.batch, self.window.pixels(), self.filters])
    }

    /// Whether these functions can compute it: the offsets of a part of the images and those of the weights must fit in
    /// 32 bits.
    pub fn fits(&self) -> bool {
        let WindowGeometry { size, strides, output, .. } = self.window;
        offsets_fit_in(&[size[0], size[1], self.group_channels(), self.filters])
            && offsets_fit_in(&[output[1], strides[1], self.channels])
            && self.window.offsets_fit(self.images(), self.channels, self.filters)
    }

    /// Images per product.
    fn images(&self) -> usize {
        let pixels = self.window.output[0].saturating_mul(self.window.output[1]);
        ROWS_WANTED.div_ceil(pixels.max(1)).clamp(1, self.window.batch.max(1))
    }

    /// Floating-point operations of a direct forward pass; each of the two gradients takes the same number.
    pub fn operations(&self) -> usize {
        size_of(&[self.window.batch, self.window.pixels()]).saturating_mul(self.weights_len()).saturating_mul(2)
    }

    fn group_channels(&self) -> usize {
        self.channels / self.groups
    }

    fn group_filters(&self) -> usize {
        self.filters / self.groups
    }

    /// Panics if the sizes are not those of a convolution.
    fn check(&self) {
        self.window.check();
        let divides = |n: usize| self.groups > 0 && n.is_multiple_of(self.groups);
        assert!(divides(self.channels) && divides(self.filters), "groups must divide the channels and the filters");
    }
}

/// State shared by all images of a call.
#[derive(Clone, Debug)]
struct ConvLayout {
    conv: Conv2d,
    winograd: Option<Winograd>,
    frame: Frame,
    /// Images per product.
    images: usize,
    /// Offsets of the output pixels of these images: in the input, in the output.
    pixels: Vec<u32>,
    results: Vec<u32>,
    /// Offset of each weight's input from its pixel, for the first group.
    taps: Vec<u32>,
}

impl ConvLayout {
    fn new(conv: &Conv2d) -> Self {
        Self::with(conv, Winograd::of(conv))
    }

    /// A layout for any number of images; `conv.window.batch` bounds the number of images per product.
    fn with(conv: &Conv2d, winograd: Option<Winograd>) -> Self {
        let frame = conv.window.frame(conv.channels);
        let images = match &winograd {
            Some(winograd) => winograd.images(),
            None => conv.images(),
        };
        ConvLayout {
            conv: *conv,
            winograd,
            frame,
            images,
            pixels: frame.pixel_offsets(&conv.window, images),
            results: even_offsets(size_of(&[images, conv.window.pixels()]), conv.filters),
            taps: frame.cell_offsets(&conv.window, conv.group_channels()),
        }
    }

    /// Calls `work` with the frames of some images and the offsets of the output pixels of `rows` in them: with the
    /// images themselves if they need no border, else with copies of what these rows read, in `copies`, whose borders
    /// hold zeros. Several images have all rows.
    fn framed<R>(
        &self,
        images: &[f32],
        rows: &Range<usize>,
        copies: &mut [f32],
        work: impl FnOnce(&[f32], &[u32]) -> R,
    ) -> R {
        let one = self.frame.image_len();
        let count = images.len().checked_div(one).unwrap_or(0);
        let pixels = count * rows.len() * self.conv.window.output[1];
        if !self.frame.padded {
            return work(images, &self.pixels[rows.start * self.conv.window.output[1]..][..pixels]);
        }
        let copied = self.copied_rows(rows);
        let len = self.frame.rows_len(copied.len());
        for (image, copy) in images.chunks_exact(one.max(1)).zip(copies.chunks_exact_mut(len.max(1))) {
            self.frame.write(image, copied.clone(), copy);
        }
        // In a copy the first window begins at offset 0.
        work(&copies[..count * len], &self.pixels[..pixels])
    }

    /// The rows of a frame that are copied for some rows of the output.
    fn copied_rows(&self, rows: &Range<usize>) -> Range<usize> {
        match *rows == (0..self.conv.window.output[0]) {
            true => 0..self.frame.size()[0],
            false => self.frame.rows_of(&self.conv.window, rows),
        }
    }

    /// Bands are best cut at multiples of this number of output rows.
    fn whole_rows(&self) -> usize {
        self.winograd.as_ref().map_or(1, Winograd::whole_rows)
    }

    /// Number of values of the copies for [`ConvLayout::framed`], of `images` images.
    fn copies_len(&self, images: usize, rows: &Range<usize>) -> usize {
        match self.frame.padded && self.winograd.is_none() {
            true => images * self.frame.rows_len(self.copied_rows(rows).len()),
            false => 0,
        }
    }
}

/// The weights in the layout that is read fastest.
#[derive(Clone, Copy)]
enum WeightLayout<'a> {
    /// Those of each group.
    Direct(&'a [Right<'a>]),
    /// Those of each group packed in panels, one group after another.
    Panels(&'a [f32]),
    /// Those of each place of a tile, transformed and packed, and the number of threads that share the places.
    Transformed(&'a Winograd, &'a [f32], usize),
}

impl<'a> WeightLayout<'a> {
    /// Those of a group, of `depth` inputs and `filters` filters.
    fn of_group(self, group: usize, (depth, filters): (usize, usize)) -> Right<'a> {
        match self {
            WeightLayout::Direct(weights) => weights[group],
            WeightLayout::Panels(panels) => {
                let len = panels_len(depth, filters);
                Right::panels(&panels[group * len..][..len], depth)
            }
            WeightLayout::Transformed(..) => unreachable!("tiles have no weights of groups"),
        }
    }
}

/// Calls `work` with the weights in the layout that is read fastest.
fn with_weights<R>(layout: &ConvLayout, w: &[f32], work: impl FnOnce(WeightLayout) -> R) -> R {
    let conv = &layout.conv;
    if let Some(winograd) = &layout.winograd {
        return scratch::with(winograd.packed_len(), |weights| {
            winograd.pack_weights(w, weights);
            work(WeightLayout::Transformed(winograd, weights, 1))
        });
    }
    let (depth, columns) = (size_of(&[conv.window.cells(), conv.group_channels()]), conv.group_filters());
    let of_group = |group: usize| &w[(group * columns).min(w.len())..];
    // Packing pays where the weights are read many times, and each time in several panels.
    let rows = size_of(&[conv.window.batch, conv.window.pixels()]);
    if columns <= 2 * super::gemm::PANEL || rows < ROWS_WANTED {
        let rights: Vec<_> =
            (0..conv.groups).map(|g| Right::Rows { data: of_group(g), stride: conv.filters }).collect();
        return work(WeightLayout::Direct(&rights));
    }
    let len = panels_len(depth, columns);
    scratch::with(size_of(&[conv.groups, len]), |panels| {
        for (group, panels) in panels.chunks_exact_mut(len.max(1)).enumerate() {
            pack(of_group(group), depth, columns, conv.filters, panels);
        }
        let rights: Vec<_> = panels.chunks_exact(len.max(1)).map(|panels| Right::panels(panels, depth)).collect();
        work(WeightLayout::Direct(&rights))
    })
}
