//! Average pooling of channels-last images. Cells outside the image do not count: the divisor is the number of cells inside.

use super::parallel;
use super::simd::simd;
use super::window::{Window, check_len, size_of};

/// `y` = the mean of each window's cells inside the image; zero where there are none. Every value of `y` is written.
///
/// # Panics
/// If a slice does not have the length that the sizes say.
pub fn forward(window: &Window, channels: usize, x: &[f32], y: &mut [f32]) {
    let (image, result) = check(window, channels, x, y);
    if y.is_empty() {
        return;
    }
    y.fill(0.0);
    each_image(window, x.len().max(y.len()), y, result, |i, y| {
        let x = &x[i * image..][..image];
        each_window(window, |pixel, cells, count| {
            let y = &mut y[pixel * channels..][..channels];
            cells.for_each(|cell| parallel::add(&x[cell * channels..][..channels], y));
            scale(1.0 / count as f32, y);
        });
    });
}

/// `dx` = the share of each output's gradient that falls to each input. Every value of `dx` is written.
///
/// # Panics
/// If a slice does not have the length that the sizes say.
pub fn backward(window: &Window, channels: usize, dy: &[f32], dx: &mut [f32]) {
    let (image, result) = check(window, channels, dx, dy);
    if dx.is_empty() {
        return;
    }
    dx.fill(0.0);
    each_image(window, dx.len().max(dy.len()), dx, image, |i, dx| {
        let dy = &dy[i * result..][..result];
        each_window(window, |pixel, cells, count| {
            let dy = &dy[pixel * channels..][..channels];
            cells.for_each(|cell| add_scaled(1.0 / count as f32, dy, &mut dx[cell * channels..][..channels]));
        });
    });
}

fn check(window: &Window, channels: usize, x: &[f32], y: &[f32]) -> (usize, usize) {
    window.check();
    let (image, result) = (window.image_len(channels), size_of(&[window.pixels(), channels]));
    check_len("the input side", x.len(), size_of(&[window.batch, image]));
    check_len("the output side", y.len(), size_of(&[window.batch, result]));
    (image, result)
}

/// Calls `work` with the number and the values of each image, of `len` values, shared between threads.
fn each_image(window: &Window, total: usize, values: &mut [f32], len: usize, work: impl Fn(usize, &mut [f32]) + Sync + Send) {
    let threads = parallel::pass(total).0;
    let images = parallel::part_len(window.batch, threads);
    let tasks = values.chunks_mut(images * len).enumerate().collect();
    parallel::each(threads, tasks, |(part, values): (usize, &mut [f32])| {
        values.chunks_mut(len).enumerate().for_each(|(i, values)| work(part * images + i, values));
    });
}

/// Calls `visit` with each output pixel, the input pixels of its window, and their number unless that is 0.
fn each_window(window: &Window, mut visit: impl FnMut(usize, &mut dyn Iterator<Item = usize>, usize)) {
    for i in 0..window.output[0] {
        let rows = window.inside(0, i);
        for j in 0..window.output[1] {
            let columns = window.inside(1, j);
            let count = rows.len() * columns.len();
            let mut cells = rows.clone().flat_map(|r| {
                let y = i * window.strides[0] + r * window.dilations[0] - window.pad[0];
                columns.clone().map(move |s| (y, j * window.strides[1] + s * window.dilations[1] - window.pad[1]))
            });
            if count > 0 {
                visit(i * window.output[1] + j, &mut cells.by_ref().map(|(y, x)| y * window.input[1] + x), count);
            }
        }
    }
}

/// `y` = the mean over all pixels of each image: global average pooling. `pixels` is the number of pixels of an image.
///
/// # Panics
/// If a slice does not have the length that the sizes say.
pub fn global_forward(batch: usize, pixels: usize, channels: usize, x: &[f32], y: &mut [f32]) {
    forward(&global(batch, pixels), channels, x, y);
}

/// `dx` = the gradient of each image's mean, spread evenly over its pixels.
///
/// # Panics
/// If a slice does not have the length that the sizes say.
pub fn global_backward(batch: usize, pixels: usize, channels: usize, dy: &[f32], dx: &mut [f32]) {
    backward(&global(batch, pixels), channels, dy, dx);
}

fn global(batch: usize, pixels: usize) -> Window {
    Window::valid(batch, [1, pixels], [1, pixels.max(1)], [1, 1])
}

simd! {
    fn scale<I>(factor: f32, y: &mut [f32]) {
        for y in y {
            *y *= factor;
        }
    }
}

simd! {
    fn add_scaled<I>(factor: f32, x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = I::mul_add(factor, *x, *y);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::simd::at_every_level;
    use crate::kernels::testing::{assert_close, each_cell, values, windows};

    fn check(window: Window, channels: usize) {
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
        let window = Window { pad: [0, 1], output: [1, 3], ..Window::valid(1, [1, 3], [1, 3], [1, 1]) };
        let mut y = [0.0; 3];
        forward(&window, 1, &[1.0, 3.0, 8.0], &mut y);
        assert_eq!(y, [2.0, 4.0, 5.5]);
    }
}
