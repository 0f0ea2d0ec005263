//! Average pooling of channels-last images. Cells outside the image do not count: the divisor is the number of cells
//! inside.

use std::ops::Range;

use super::parallel;
use super::simd::simd;
use super::window::{WindowGeometry, check_len, size_of, whole_images};

/// `y` = the mean of each window's cells inside the image; zero if there are none. Every value of `y` is written.
///
/// # Panics
/// If a slice's length does not match the sizes.
pub fn forward(window: &WindowGeometry, channels: usize, x: &[f32], y: &mut [f32]) {
    let (image, result) = check(window, channels, x, y);
    if y.is_empty() {
        return;
    }
    each_image(window, x.len().max(y.len()), y, result, |i, y| gather(window, channels, &x[i * image..][..image], y));
}

/// [`forward`] on the calling thread, for any number of images: `window.batch` is ignored.
///
/// # Panics
/// If the input is not whole images, or the output does not match it.
pub fn forward_here(window: &WindowGeometry, channels: usize, x: &[f32], y: &mut [f32]) {
    let (image, result) = whole_images(window, channels, x, y);
    for (x, y) in x.chunks_exact(image.max(1)).zip(y.chunks_exact_mut(result.max(1))) {
        gather(window, channels, x, y);
    }
}

/// `dx` = each input's share of the outputs' gradients. Every value of `dx` is written.
///
/// # Panics
/// If a slice's length does not match the sizes.
pub fn backward(window: &WindowGeometry, channels: usize, dy: &[f32], dx: &mut [f32]) {
    let (image, result) = check(window, channels, dx, dy);
    if dx.is_empty() {
        return;
    }
    each_image(window, dx.len().max(dy.len()), dx, image, |i, dx| {
        spread(window, channels, &dy[i * result..][..result], dx);
    });
}

fn check(window: &WindowGeometry, channels: usize, x: &[f32], y: &[f32]) -> (usize, usize) {
    window.check();
    let (image, result) = (window.image_len(channels), size_of(&[window.pixels(), channels]));
    check_len("the input side", x.len(), size_of(&[window.batch, image]));
    check_len("the output side", y.len(), size_of(&[window.batch, result]));
    (image, result)
}

/// Calls `work` with the index and the `len` values of each image, shared between threads.
fn each_image(
    window: &WindowGeometry,
    total: usize,
    values: &mut [f32],
    len: usize,
    work: impl Fn(usize, &mut [f32]) + Sync + Send,
) {
    let threads = parallel::pass(total).0;
    let images = parallel::part_len(window.batch, threads);
    let tasks = values.chunks_mut(images * len).enumerate().collect();
    parallel::each(threads, tasks, |(part, values): (usize, &mut [f32])| {
        values.chunks_mut(len).enumerate().for_each(|(i, values)| work(part * images + i, values));
    });
}

/// `y` = the mean over all pixels of each image: global average pooling. `pixels` is the number of pixels of an image.
///
/// # Panics
/// If a slice's length does not match the sizes.
pub fn global_forward(batch: usize, pixels: usize, channels: usize, x: &[f32], y: &mut [f32]) {
    forward(&global(batch, pixels), channels, x, y);
}

/// `dx` = the gradient of each image's mean, spread evenly over its pixels.
///
/// # Panics
/// If a slice's length does not match the sizes.
pub fn global_backward(batch: usize, pixels: usize, channels: usize, dy: &[f32], dx: &mut [f32]) {
    backward(&global(batch, pixels), channels, dy, dx);
}

fn global(batch: usize, pixels: usize) -> WindowGeometry {
    WindowGeometry::valid(batch, [1, pixels], [1, pixels.max(1)], [1, 1])
}

/// The offsets in an image of a row of cells, from the first to the last column inside.
#[inline(always)]
fn row_cells(
    window: &WindowGeometry,
    (i, r): (usize, usize),
    j: usize,
    columns: &Range<usize>,
) -> impl Iterator<Item = usize> {
    let row = (i * window.strides[0] + r * window.dilations[0] - window.pad[0]) * window.input[1];
    let (start, dilation, pad) = (row + j * window.strides[1], window.dilations[1], window.pad[1]);
    columns.clone().map(move |s| start + s * dilation - pad)
}

simd! {
    /// The means of one image.
    fn gather<I>(window: &WindowGeometry, channels: usize, x: &[f32], y: &mut [f32]) {
        y.fill(0.0);
        for i in 0..window.output[0] {
            let rows = window.inside(0, i);
            for j in 0..window.output[1] {
                let columns = window.inside(1, j);
                let y = &mut y[(i * window.output[1] + j) * channels..][..channels];
                for r in rows.clone() {
                    for cell in row_cells(window, (i, r), j, &columns) {
                        for (y, x) in y.iter_mut().zip(&x[cell * channels..][..channels]) {
                            *y += *x;
                        }
                    }
                }
                let share = 1.0 / (rows.len() * columns.len()).max(1) as f32;
                for y in y {
                    *y *= share;
                }
            }
        }
    }
}

simd! {
    /// The gradient of one image.
    fn spread<I>(window: &WindowGeometry, channels: usize, dy: &[f32], dx: &mut [f32]) {
        dx.fill(0.0);
        for i in 0..window.output[0] {
            let rows = window.inside(0, i);
            for j in 0..window.output[1] {
                let columns = window.inside(1, j);
                let dy = &dy[(i * window.output[1] + j) * channels..][..channels];
                let share = 1.0 / (rows.len() * columns.len()).max(1) as f32;
                for r in rows.clone() {
                    for cell in row_cells(window, (i, r), j, &columns) {
                        for (dx, dy) in dx[cell * channels..][..channels].iter_mut().zip(dy) {
                            *dx = I::mul_add(share, *dy, *dx);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::simd::at_every_level;
    use crate::testing::{assert_close, each_cell, values, windows};

    fn check(window: WindowGeometry, channels: usize) {
        let x = values(window.batch * window.image_len(channels), 1);
        let mut y = vec![7.5; window.batch * window.pixels() * channels];
        let (dy, mut dx) = (values(y.len(), 2), vec![7.5; x.len()]);
        forward(&window, channels, &x, &mut y);
        backward(&window, channels, &dy, &mut dx);

        let mut counts = vec![0.0f64; window.batch * window.pixels()];
        each_cell(&window, |image, pixel, _, _| counts[image * window.pixels() + pixel] += 1.0);
        let (mut mean, mut gradient) = (vec![0.0; y.len()], vec![0.0; x.len()]);
        each_cell(&window, |image, pixel, input, _| {
            let pixel = image * window.pixels() + pixel;
            for c in 0..channels {
                let x_at = image * window.image_len(channels) + input * channels + c;
                mean[pixel * channels + c] += x[x_at] as f64 / counts[pixel];
                gradient[x_at] += dy[pixel * channels + c] as f64 / counts[pixel];
            }
        });
        assert_close("y", &y, &mean);
        assert_close("dx", &dx, &gradient);
    }

    proptest! {
        #[test]
        fn any_pooling_agrees_with_its_definition(window in windows(), channels in 1..40usize) {
            check(window, channels);
        }
    }

    #[test]
    fn global_pooling_agrees_at_every_level() {
        at_every_level(|_| check(global(5, 49), 70));
    }

    #[test]
    fn cells_outside_do_not_count() {
        let window = WindowGeometry { pad: [0, 1], output: [1, 3], ..WindowGeometry::valid(1, [1, 3], [1, 3], [1, 1]) };
        let mut y = [0.0; 3];
        forward(&window, 1, &[1.0, 3.0, 8.0], &mut y);
        assert_eq!(y, [2.0, 4.0, 5.5]);
    }
}
