//! Geometry of sliding windows, shared by convolution and pooling.

use std::ops::Range;

/// A window that slides over a batch of channels-last images. Pairs are (vertical, horizontal); a one-dimensional
/// window has a height of 1 throughout.
///
/// Output pixel `(i, j)` looks at the input rows `i * strides[0] + r * dilations[0] - pad[0]` for `r` in `0..size[0]`,
/// and likewise columns. Cells outside the image count as zero in a convolution and do not count in pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowGeometry {
    /// Number of images.
    pub batch: usize,
    /// Height and width of an input image.
    pub input: [usize; 2],
    /// Height and width of an output image.
    pub output: [usize; 2],
    /// Height and width of the window, in cells.
    pub size: [usize; 2],
    /// Input pixels between neighbouring output pixels; at least 1.
    pub strides: [usize; 2],
    /// Input pixels between neighbouring cells; at least 1.
    pub dilations: [usize; 2],
    /// Rows of padding above and columns of padding left of the image.
    pub pad: [usize; 2],
}

/// Product of sizes.
///
/// # Panics
/// If it does not fit in a `usize`.
pub(super) fn size_of(sizes: &[usize]) -> usize {
    sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size)).expect("sizes within the address space")
}

/// Panics unless a buffer has `wanted` values.
pub(super) fn check_len(what: &str, len: usize, wanted: usize) {
    assert_eq!(len, wanted, "{what} must have {wanted} values");
}

/// The lengths of an input and an output image. Panics unless input and output hold equally many whole images.
pub(super) fn whole_images(window: &WindowGeometry, channels: usize, x: &[f32], y: &[f32]) -> (usize, usize) {
    window.check();
    let (image, result) = (window.image_len(channels), size_of(&[window.pixels(), channels]));
    let batch = x.len().checked_div(image).unwrap_or(0);
    check_len("the input", x.len(), size_of(&[batch, image]));
    check_len("the output", y.len(), size_of(&[batch, result]));
    (image, result)
}

/// Whether the product of the sizes fits in 32 bits.
pub(super) fn offsets_fit_in(sizes: &[usize]) -> bool {
    let product = sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    product.is_some_and(|product| u32::try_from(product).is_ok())
}

/// Converts a number of values to an offset.
///
/// # Panics
/// If it does not fit in 32 bits.
pub(super) fn offset(value: usize) -> u32 {
    u32::try_from(value).expect("an image of fewer than 2^32 values")
}

impl WindowGeometry {
    /// A window over `batch` images without padding and dilation, moved by `strides`. The output is empty where the
    /// window does not fit.
    pub fn valid(batch: usize, input: [usize; 2], size: [usize; 2], strides: [usize; 2]) -> Self {
        let fits = |d: usize| if input[d] < size[d] { 0 } else { (input[d] - size[d]) / strides[d] + 1 };
        WindowGeometry { batch, input, output: [fits(0), fits(1)], size, strides, dilations: [1, 1], pad: [0, 0] }
    }

    /// Number of output pixels of one image.
    pub fn pixels(&self) -> usize {
        size_of(&self.output)
    }

    /// Number of cells of the window.
    pub fn cells(&self) -> usize {
        size_of(&self.size)
    }

    /// Number of values of one input image.
    pub fn image_len(&self, channels: usize) -> usize {
        size_of(&[self.input[0], self.input[1], channels])
    }

    /// Whether the offsets fit in the 32 bits of the convolutions' tables: those within `images` images of `channels`
    /// values a pixel, with the borders that their windows reach, and those within the results of `filters` values a
    /// pixel.
    pub fn offsets_fit(&self, images: usize, channels: usize, filters: usize) -> bool {
        let side = |d: usize| self.checked_span(d).map(|span| span.max(self.input[d]));
        let (Some(height), Some(width)) = (side(0), side(1)) else { return false };
        offsets_fit_in(&[images, height, width, channels])
            && offsets_fit_in(&[images, self.output[0], self.output[1], filters])
            && offsets_fit_in(&[self.size[0], self.size[1], channels])
    }

    /// Limits each stride to the reach of a single window where there is no second one, so that tables and products
    /// stay as small as the images.
    #[must_use]
    pub fn with_short_strides(mut self) -> Self {
        for d in 0..2 {
            if self.output[d] <= 1
                && let Some(span) = self.checked_span(d)
            {
                self.strides[d] = self.strides[d].min(span.max(1));
            }
        }
        self
    }

    /// The geometry of output rows `rows` alone, for an image without the rows above their windows; and the number of
    /// these skipped rows.
    ///
    /// # Panics
    /// If the output has no such rows.
    pub fn of_rows(&self, rows: Range<usize>) -> (Self, usize) {
        assert!(rows.start <= rows.end && rows.end <= self.output[0], "rows beyond the output");
        let start = rows.start * self.strides[0];
        let skipped = start.saturating_sub(self.pad[0]).min(self.input[0]);
        let input = [self.input[0] - skipped, self.input[1]];
        let pad = [self.pad[0].saturating_sub(start), self.pad[1]];
        (Self { input, pad, output: [rows.len(), self.output[1]], ..*self }, skipped)
    }

    fn checked_span(&self, d: usize) -> Option<usize> {
        let Some(steps) = self.output[d].checked_sub(1) else { return Some(0) };
        let reach = self.size[d].checked_sub(1)?.checked_mul(self.dilations[d])?;
        steps.checked_mul(self.strides[d])?.checked_add(reach)?.checked_add(1)
    }

    /// Panics unless sizes, strides and dilations are at least 1.
    pub(super) fn check(&self) {
        let positive = self.size.iter().chain(&self.strides).chain(&self.dilations).all(|v| *v > 0);
        assert!(positive, "sizes, strides and dilations of a window must be positive");
    }

    /// Rows (`d` = 0) or columns (1) that all windows together span, from the first cell of the first to the last cell
    /// of the last.
    fn span(&self, d: usize) -> usize {
        let Some(steps) = self.output[d].checked_sub(1) else { return 0 };
        size_of(&[steps, self.strides[d]]) + size_of(&[self.size[d] - 1, self.dilations[d]]) + 1
    }

    /// The range of cells of output position `at` that lie inside the image.
    pub(super) fn inside(&self, d: usize, at: usize) -> Range<usize> {
        let start = at * self.strides[d];
        let first = self.pad[d].saturating_sub(start).div_ceil(self.dilations[d]);
        let end = self.input[d]
            .saturating_add(self.pad[d])
            .saturating_sub(start)
            .div_ceil(self.dilations[d])
            .min(self.size[d]);
        first.min(end)..end
    }

    /// The frame in which windows can be read without regard to borders.
    pub(super) fn frame(&self, channels: usize) -> Frame {
        let spans = [self.span(0), self.span(1)];
        let padded = (0..2).any(|d| self.pad[d] > 0 || spans[d] > self.input[d]);
        let size = if padded { spans } else { self.input };
        Frame { size, channels, input: self.input, pad: self.pad, padded }
    }
}

/// An image padded as far as its windows reach: the image itself if they stay inside, else a copy with a border of
/// zeros.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    size: [usize; 2],
    channels: usize,
    input: [usize; 2],
    pad: [usize; 2],
    /// Whether it is a copy.
    pub padded: bool,
}

impl Frame {
    /// Height and width of a frame.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Number of values of a frame.
    pub fn len(&self) -> usize {
        size_of(&[self.size[0], self.size[1], self.channels])
    }

    /// Number of values of the image.
    pub fn image_len(&self) -> usize {
        size_of(&[self.input[0], self.input[1], self.channels])
    }

    /// Number of values of `rows` rows of a frame.
    pub fn rows_len(&self, rows: usize) -> usize {
        size_of(&[rows, self.size[1], self.channels])
    }

    /// The rows of a frame that windows of some rows of the output read.
    pub fn rows_of(&self, window: &WindowGeometry, outputs: &Range<usize>) -> Range<usize> {
        if outputs.is_empty() {
            return 0..0;
        }
        let reach = (window.size[0] - 1) * window.dilations[0] + 1;
        outputs.start * window.strides[0]..(outputs.end - 1) * window.strides[0] + reach
    }

    /// Corresponding ranges of values, row by row: (in the image, in a copy of some rows of the frame).
    fn ranges(&self, rows: Range<usize>) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let Frame { size, channels, input, pad, .. } = *self;
        let width = input[1].min(size[1].saturating_sub(pad[1])) * channels;
        let of_image = rows.start.saturating_sub(pad[0])..rows.end.saturating_sub(pad[0]).min(input[0]);
        // Windows may lie beside the image altogether.
        of_image.filter(move |_| width > 0).map(move |row| {
            let image = row * input[1] * channels;
            let frame = ((row + pad[0] - rows.start) * size[1] + pad[1]) * channels;
            (image..image + width, frame..frame + width)
        })
    }

    /// Copies the part of an image that lies in some rows of its frame into a copy of these rows, whose border is
    /// already zero.
    pub fn write(&self, image: &[f32], rows: Range<usize>, copy: &mut [f32]) {
        for (from, to) in self.ranges(rows) {
            copy[to].copy_from_slice(&image[from]);
        }
    }

    /// Copies the image out of a frame. Pixels that no window reaches become zero.
    pub fn read(&self, frame: &[f32], image: &mut [f32]) {
        let whole: usize = self.ranges(0..self.size[0]).map(|(to, _)| to.len()).sum();
        if whole < image.len() {
            image.fill(0.0);
        }
        for (to, from) in self.ranges(0..self.size[0]) {
            image[to].copy_from_slice(&frame[from]);
        }
    }

    /// Offsets of the first cell of each output pixel, for `images` frames one after another.
    pub fn pixel_offsets(&self, window: &WindowGeometry, images: usize) -> Vec<u32> {
        let mut offsets = Vec::with_capacity(size_of(&[images, window.pixels()]));
        offset(size_of(&[images, self.len()]));
        for image in 0..images {
            for i in 0..window.output[0] {
                let row = image * self.len() + i * window.strides[0] * self.size[1] * self.channels;
                offsets.extend((0..window.output[1]).map(|j| (row + j * window.strides[1] * self.channels) as u32));
            }
        }
        offsets
    }

    /// Offset of a window's cell from its first.
    pub fn cell_offset(&self, window: &WindowGeometry, row: usize, column: usize) -> usize {
        (row * window.dilations[0] * self.size[1] + column * window.dilations[1]) * self.channels
    }

    /// Offsets of the first `channels` values of each cell, cell after cell.
    pub fn cell_offsets(&self, window: &WindowGeometry, channels: usize) -> Vec<u32> {
        let mut offsets = Vec::with_capacity(size_of(&[window.cells(), channels]));
        for row in 0..window.size[0] {
            for column in 0..window.size[1] {
                let cell = offset(self.cell_offset(window, row, column) + channels) - channels as u32;
                offsets.extend((0..channels as u32).map(|c| cell + c));
            }
        }
        offsets
    }
}

/// `count` offsets, `stride` apart. The end of the last row of `stride` values fits in 32 bits as well.
pub(super) fn even_offsets(count: usize, stride: usize) -> Vec<u32> {
    offset(size_of(&[count, stride]));
    (0..count).map(|i| (i * stride) as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_inside() {
        let window = WindowGeometry { pad: [1, 2], ..WindowGeometry::valid(1, [4, 5], [3, 3], [1, 2]) };
        assert_eq!([window.inside(0, 0), window.inside(0, 1), window.inside(0, 3)], [1..3, 0..3, 0..2]);
        assert_eq!(window.inside(1, 0), 2..3);
        let dilated = WindowGeometry { dilations: [2, 2], ..window };
        assert_eq!(dilated.inside(0, 0), 1..3);
        assert_eq!(WindowGeometry { input: [1, 1], ..window }.inside(0, 5), 0..0);
    }

    #[test]
    fn frame_round_trip() {
        let window = WindowGeometry { pad: [1, 2], output: [4, 5], ..WindowGeometry::valid(1, [4, 5], [3, 4], [1, 1]) };
        let frame = window.frame(2);
        assert!(frame.padded && frame.len() == 6 * 8 * 2);
        let image: Vec<f32> = (1..=40).map(|v| v as f32).collect();
        let (mut copy, mut back) = (vec![0.0; frame.len()], vec![9.0; 40]);
        frame.write(&image, 0..frame.size()[0], &mut copy);
        assert_eq!(copy.iter().sum::<f32>(), image.iter().sum::<f32>());
        frame.read(&copy, &mut back);
        assert_eq!(image, back);
    }

    #[test]
    fn offsets_beyond_32_bits_do_not_fit() {
        let window = WindowGeometry { pad: [0, 1 << 31], ..WindowGeometry::valid(1, [1, 4], [1, 3], [1, 1]) };
        assert!(window.offsets_fit(1, 1, 1) && window.offsets_fit(1 << 20, 1, 1));
        let dilated = WindowGeometry { dilations: [1, 1 << 30], output: [1, 4], ..window };
        assert!(dilated.offsets_fit(1, 1, 1) && !dilated.offsets_fit(1, 2, 1) && !dilated.offsets_fit(2, 1, 1));
        assert!(!window.offsets_fit(usize::MAX, 2, 1) && !window.offsets_fit(1, 1, 1 << 32));
        let strided = WindowGeometry { strides: [1, 1 << 62], output: [1, 5], ..window };
        assert!(!strided.offsets_fit(1, 1, 1));
    }

    #[test]
    fn an_image_without_padding_is_its_own_frame() {
        let frame = WindowGeometry::valid(1, [6, 6], [3, 3], [2, 2]).frame(3);
        assert!(!frame.padded && frame.len() == 108);
    }
}
