//! Separable convolution with fixed weights: a depthwise convolution, then a product of each pixel with a matrix.

use super::activation::Activation;
use super::aligned::Weights;
use super::dense::Packed;
use super::depthwise::PreparedDepthwise;
use super::window::{check_len, size_of};
use super::{parallel, scratch};

/// Rows that a product should have at least, if there are enough images: the weights are then read seldom.
const ROWS_WANTED: usize = 240;

/// A separable convolution with its activation, with weights prepared once. What lies between its two parts stays in
/// the cache of the thread that computes both for a band of rows. An image's result has the same bits in any batch.
#[derive(Clone, Debug)]
pub struct PreparedSeparable {
    depthwise: PreparedDepthwise,
    pointwise: Packed,
}

impl PreparedSeparable {
    /// Joins the two parts.
    ///
    /// # Panics
    /// If the second part does not take as many channels as the first one gives, or if the first one does not
    /// [read images in place](PreparedDepthwise::reads_in_place).
    pub fn new(depthwise: PreparedDepthwise, pointwise: Packed) -> Self {
        assert_eq!(depthwise.filters(), pointwise.inputs(), "the parts do not belong together");
        assert!(depthwise.reads_in_place(), "each band would copy the image");
        Self { depthwise, pointwise }
    }

    /// The packed weights of the second part, to be [gathered](Weights::gather).
    pub fn weights_mut(&mut self) -> &mut Weights {
        self.pointwise.weights_mut()
    }

    /// Floating-point operations per image, those of the first part counted as often as they take longer.
    pub fn operations(&self) -> usize {
        let pixels = size_of(&self.depthwise.output());
        let pointwise = self.pointwise.operations().saturating_mul(pixels);
        self.depthwise.operations().saturating_mul(4).saturating_add(pointwise)
    }

    /// `y = activation(pointwise(depthwise(x)))` for some images, split for up to `threads` threads if there is enough
    /// work. Every value of `y` is written.
    ///
    /// # Panics
    /// If the input is not whole images, or the output does not match it.
    pub fn forward(&self, x: &[f32], activation: Activation, threads: usize, y: &mut [f32]) {
        let [rows, columns] = self.depthwise.output();
        let (one, row_len) = (self.depthwise.input_len(), columns * self.pointwise.units());
        let batch = x.len() / one;
        let result = rows * row_len;
        check_len("the input", x.len(), size_of(&[batch, one]));
        check_len("the output", y.len(), size_of(&[batch, result]));
        if y.is_empty() {
            return;
        }
        let (threads, images, band) = self.split(batch, threads);
        if band < rows {
            let tasks = y.chunks_mut(band * row_len).enumerate().collect();
            parallel::each(threads, tasks, |(i, y): (usize, &mut [f32])| {
                self.rows(x, i * band, y.len() / row_len, activation, y);
            });
            return;
        }
        let parts = x.chunks(images * one).zip(y.chunks_mut(images * result));
        if threads <= 1 {
            return parts.for_each(|(x, y)| self.rows(x, 0, rows, activation, y));
        }
        parallel::each(threads, parts.collect(), |(x, y): (&[f32], &mut [f32])| self.rows(x, 0, rows, activation, y));
    }

    /// The number of threads for some images, and the images and output rows of a part: all rows, but for the bands of
    /// a single image.
    fn split(&self, batch: usize, threads: usize) -> (usize, usize, usize) {
        let [rows, columns] = self.depthwise.output();
        let threads = threads.min(parallel::threads_for(self.operations().saturating_mul(batch)));
        if batch == 1 && threads > 1 {
            return (threads, 1, parallel::part_len_of(self.operations(), rows, threads));
        }
        (threads, ROWS_WANTED.div_ceil(rows * columns).min(parallel::part_len(batch, threads)), rows)
    }

    /// The most values of workspace that [`forward`](Self::forward) takes for some images, in all threads together.
    pub fn workspace(&self, images: usize, threads: usize) -> usize {
        let (threads, part, rows) = self.split(images, threads);
        let parts = images.div_ceil(part).saturating_mul(self.depthwise.output()[0].div_ceil(rows));
        size_of(&[part, rows, self.depthwise.row_len()]).saturating_mul(threads.max(1).min(parts))
    }

    /// The given number of output rows of each image, from row `first` on.
    fn rows(&self, x: &[f32], first: usize, rows: usize, activation: Activation, y: &mut [f32]) {
        let between = rows * self.depthwise.row_len();
        let images = x.chunks_exact(self.depthwise.input_len());
        scratch::with(images.len() * between, |buffer| {
            for (x, between) in images.zip(buffer.chunks_exact_mut(between)) {
                self.depthwise.band(x, first, between);
            }
            self.pointwise.forward(buffer, activation, 1, y);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::depthwise::Depthwise;
    use crate::simd::at_every_level;
    use crate::testing::{assert_close, double, kept_by, kept_by_threads, values};
    use crate::window::WindowGeometry;

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn the_workspace_is_what_a_call_takes() {
        for (batch, side) in [(1, 61), (3, 61), (40, 5)] {
            let window = WindowGeometry::valid(batch, [side; 2], [3, 3], [1, 1]);
            let conv = Depthwise { window, channels: 40, multiplier: 1 };
            let (x, w) = (values(conv.input_len(), 1), values(conv.weights_len(), 2));
            let depthwise = PreparedDepthwise::new(&conv, &w, None, Activation::Linear).expect("offsets that fit");
            let whole = PreparedSeparable::new(depthwise, Packed::new((40, 70), &values(40 * 70, 3), None));
            let run = |threads: usize| {
                whole.forward(&x, Activation::Linear, threads, &mut vec![7.5; batch * window.pixels() * 70]);
            };
            assert_eq!(kept_by(|| run(1)), whole.workspace(batch, 1), "{batch}");
            let (kept, most) = kept_by_threads(4, || run(4), || whole.workspace(batch, 4));
            assert!(kept > 0 && kept <= most, "{batch} images: {kept}, not {most}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn both_parts_give_the_same_and_an_image_the_same_bits_in_any_batch() {
        at_every_level(|_| {
            for (batch, side, channels, units, pad, stride) in
                [(1, 61, 40, 70, 1, 2), (3, 17, 16, 33, 0, 1), (40, 5, 8, 16, 1, 1), (2, 9, 3, 1, 1, 2)]
            {
                let mut window = WindowGeometry::valid(batch, [side, side + 1], [3, 3], [stride; 2]);
                window.pad = [pad; 2];
                window.output = window.input.map(|side| (side + 2 * pad - 3) / stride + 1);
                let conv = Depthwise { window, channels, multiplier: 1 };
                let (x, w) = (values(conv.input_len(), 1), values(conv.weights_len(), 2));
                let (matrix, bias) = (values(channels * units, 3), values(units, 4));
                let depthwise = PreparedDepthwise::new(&conv, &w, None, Activation::Linear).expect("offsets that fit");
                let pointwise = Packed::new((channels, units), &matrix, Some(&bias));
                let mut between = vec![7.5; conv.output_len()];
                depthwise.forward(&x, 1, &mut between);
                let len = window.pixels() * units;
                let [mut expected, mut y] = [0; 2].map(|_| vec![7.5; batch * len]);
                pointwise.forward(&between, Activation::Relu, 1, &mut expected);
                let whole = PreparedSeparable::new(depthwise, pointwise);
                whole.forward(&x, Activation::Relu, 1, &mut y);
                assert_close("y", &y, &double(&expected));
                for threads in [1, 4] {
                    let mut again = vec![7.5; batch * len];
                    whole.forward(&x, Activation::Relu, threads, &mut again);
                    assert_eq!(y, again, "{conv:?}");
                    for (x, y) in x.chunks_exact(conv.input_len() / batch).zip(y.chunks_exact(len)).take(3) {
                        let mut alone = vec![7.5; len];
                        whole.forward(x, Activation::Relu, threads, &mut alone);
                        assert_eq!(alone, y, "{conv:?}");
                    }
                }
            }
        });
    }
}
