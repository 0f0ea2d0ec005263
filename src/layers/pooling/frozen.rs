//! Pooling as a step of a predictor.

use crate::kernels::window::WindowGeometry;
use crate::kernels::{average_pool, parallel, pool};
use crate::layers::windows::Windows;
use crate::layers::{Freezing, Frozen, FrozenStep};
use crate::ops::{self, PoolGeometry, PoolKind};
use crate::shape::DataFormat;

/// Pooling over images, channels last; one dimension is an image of one row.
#[derive(Debug)]
struct FrozenPool {
    kind: PoolKind,
    window: WindowGeometry,
    channels: usize,
}

/// The geometry of pooling windows over an image, a line being one of a single row; `None` for a volume, or channels
/// first.
pub(super) fn over_image<const N: usize>(windows: &Windows<N>, image: [usize; 2]) -> Option<PoolGeometry<2>> {
    let own = image.get(2usize.checked_sub(N)?..)?;
    let geometry = windows.pooling(&[&[1], own].concat()).flat()?;
    (windows.data_format == DataFormat::ChannelsLast).then_some(geometry)
}

/// The step of a pooling in one or two dimensions.
pub(super) fn windows<const N: usize>(freezing: &Freezing<'_>, kind: PoolKind, own: &Windows<N>) -> Option<Frozen> {
    let (channels, image) = freezing.input()?.split_last()?;
    let image = ops::flat(<[usize; N]>::try_from(image).ok()?, 1)?;
    let window = over_image(own, image)?.window(1, image)?;
    Some(FrozenPool { kind, window, channels: *channels }.into())
}

/// The step of a global pooling.
pub(super) fn global(freezing: &Freezing<'_>, kind: PoolKind, format: DataFormat) -> Option<Frozen> {
    let (channels, space) = freezing.input()?.split_last()?;
    let cells = space.iter().product();
    let window = WindowGeometry::valid(1, [1, cells], [1, cells], [1, 1]);
    (format == DataFormat::ChannelsLast).then(|| FrozenPool { kind, window, channels: *channels }.into())
}

impl FrozenStep for FrozenPool {
    fn operations(&self) -> usize {
        let cells = self.window.pixels().saturating_mul(self.window.cells());
        // An operation here costs several times as much as in a matrix product.
        cells.saturating_mul(self.channels).saturating_mul(8)
    }

    fn run(&self, inputs: &[&[f32]], samples: usize, threads: usize, output: &mut [f32]) {
        let pool = |window: &WindowGeometry, x: &[f32], y: &mut [f32]| match self.kind {
            PoolKind::Max => pool::forward_here(window, self.channels, x, y),
            PoolKind::Average => average_pool::forward_here(window, self.channels, x, y),
        };
        let operations = self.operations().saturating_mul(samples);
        if threads <= 1 || parallel::threads_for(operations) <= 1 || output.is_empty() || inputs[0].is_empty() {
            return pool(&self.window, inputs[0], output);
        }
        let ([height, width], row) = (self.window.output, self.window.input[1] * self.channels);
        let band = parallel::part_len_of(operations, height * samples, threads).min(height);
        let images = inputs[0].chunks_exact(self.window.input[0] * row);
        let bands = images.zip(output.chunks_exact_mut(height * width * self.channels)).flat_map(|(image, output)| {
            let bands = output.chunks_mut(band * width * self.channels).enumerate();
            bands.map(move |(number, output)| (image, number * band, output))
        });
        parallel::each(threads, bands.collect(), |(image, first, output): (&[f32], usize, &mut [f32])| {
            let (window, skipped) = self.window.of_rows(first..(first + band).min(height));
            if window.input[0] > 0 {
                return pool(&window, &image[skipped * row..], output);
            }
            // All windows lie below the image.
            output.fill(if self.kind == PoolKind::Max { f32::NEG_INFINITY } else { 0.0 });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_of_an_image_are_pooled_as_the_whole() {
        // Padded, with windows that overlap, that leave gaps, and that lie beside the image altogether.
        for (size, strides, pad) in [([3, 3], [2, 2], [1, 1]), ([2, 3], [3, 1], [0, 2]), ([2, 2], [1, 1], [5, 0])] {
            let output = [0, 1].map(|axis: usize| (40 + 2 * pad[axis] - size[axis]) / strides[axis] + 1);
            let window = WindowGeometry { batch: 1, input: [40, 40], output, size, strides, dilations: [1, 1], pad };
            let x: Vec<f32> = (0..2 * 40 * 40 * 700).map(|i| ((i % 4099 * 7919) % 1013) as f32 - 500.0).collect();
            for kind in [PoolKind::Max, PoolKind::Average] {
                let pool = FrozenPool { kind, window, channels: 700 };
                let [mut alone, mut shared] = [0; 2].map(|_| vec![7.5; 2 * window.pixels() * 700]);
                pool.run(&[&x], 2, 1, &mut alone);
                let threads = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
                threads.install(|| pool.run(&[&x], 2, 3, &mut shared));
                assert!(alone == shared, "{kind:?} {window:?}");
            }
        }
    }
}
