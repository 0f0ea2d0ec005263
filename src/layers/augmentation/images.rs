//! A batch of images as plain numbers on the host.

use crate::kernels::parallel;

/// How large an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub rows: usize,
    pub columns: usize,
    pub channels: usize,
}

impl Size {
    /// Numbers of one image.
    pub fn len(self) -> usize {
        self.rows * self.columns * self.channels
    }

    /// Where the first channel of a cell lies.
    pub fn at(self, row: usize, column: usize) -> usize {
        (row * self.columns + column) * self.channels
    }
}

/// A batch of images: rows of columns of channels, one image after the other.
#[derive(Clone, Debug)]
pub(super) struct Images {
    values: Vec<f32>,
    size: Size,
}

/// Floating-point operations that a number takes at the least, for the question of whether threads are worth it.
const WORK: usize = 32;

impl Images {
    /// Images of this size; the numbers are those of whole images.
    pub fn new(values: Vec<f32>, size: Size) -> Self {
        debug_assert!(size.len() == 0 || values.len().is_multiple_of(size.len()));
        Self { values, size }
    }

    /// How large each of them is.
    pub fn size(&self) -> Size {
        self.size
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.values.len().checked_div(self.size.len()).unwrap_or(0)
    }

    /// All numbers.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All numbers, to change them.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// All numbers, moved out.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// Changes each image by what belongs to it, on several threads if there is enough to do.
    pub fn each<T: Sync>(&mut self, draws: &[T], change: impl Fn(&mut [f32], &T) + Sync + Send) {
        let len = self.size.len();
        if len == 0 {
            return;
        }
        let threads = parallel::threads_for(self.values.len().saturating_mul(WORK));
        let tasks: Vec<_> = self.values.chunks_exact_mut(len).zip(draws).collect();
        parallel::each(threads, tasks, |(image, draw)| change(image, draw));
    }

    /// Changes the colour of each cell by what belongs to its image. Images of another number of channels than three have
    /// no colours, and stay.
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
