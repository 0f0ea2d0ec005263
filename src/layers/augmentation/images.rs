//! A batch of images as float buffers on the host.

use crate::kernels::parallel;

/// The size of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub rows: usize,
    pub columns: usize,
    pub channels: usize,
}

impl Size {
    /// The number of values of one image.
    pub fn len(self) -> usize {
        self.rows * self.columns * self.channels
    }

    /// The index of a pixel's first channel.
    pub fn at(self, row: usize, column: usize) -> usize {
        (row * self.columns + column) * self.channels
    }
}

/// A batch of images, channels last, contiguous.
#[derive(Clone, Debug)]
pub(super) struct Images {
    values: Vec<f32>,
    size: Size,
}

/// Floating-point operations per value, as a lower bound, to decide whether threads pay off.
const WORK: usize = 32;

impl Images {
    /// Images of this size; the values are those of whole images.
    pub fn new(values: Vec<f32>, size: Size) -> Self {
        debug_assert!(size.len() == 0 || values.len().is_multiple_of(size.len()));
        Self { values, size }
    }

    /// The size of each image.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The number of images.
    pub fn count(&self) -> usize {
        self.values.len().checked_div(self.size.len()).unwrap_or(0)
    }

    /// All numbers.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All numbers, mutably.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// All numbers, by value.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// Changes each image by its draw, on several threads if there is enough work.
    pub fn each<T: Sync>(&mut self, draws: &[T], change: impl Fn(&mut [f32], &T) + Sync + Send) {
        let len = self.size.len();
        if len == 0 {
            return;
        }
        let threads = parallel::threads_for(self.values.len().saturating_mul(WORK));
        let tasks: Vec<_> = self.values.chunks_exact_mut(len).zip(draws).collect();
        parallel::each(threads, tasks, |(image, draw)| change(image, draw));
    }

    /// Changes the colour of each pixel by its image's draw. Images without three channels are unchanged.
    pub fn each_colour<T: Sync>(&mut self, draws: &[T], change: impl Fn([f32; 3], &T) -> [f32; 3] + Sync + Send) {
        if self.size.channels != 3 {
            return;
        }
        self.each(draws, |image, draw| {
            for cell in image.chunks_exact_mut(3) {
                cell.copy_from_slice(&change([cell[0], cell[1], cell[2]], draw));
            }
        });
    }
}
