//! Maximum pooling of channels-last images.

use super::parallel;
use super::simd::simd;
use super::window::{WindowGeometry, check_len, size_of, whole_images};

/// Position of a maximum in its window, with cells counted row by row from 0. Saved for the backward pass.
pub trait MaxPosition: Copy + Send + Sync + PartialEq + 'static {
    /// Windows of more cells do not fit.
    const MOST_CELLS: usize;
    /// The position of a cell.
    fn of(cell: usize) -> Self;
}

impl MaxPosition for u8 {
    // One value is reserved for pixels without a position: see `conv2d::pooled_forward`.
    const MOST_CELLS: usize = 255;
    #[inline(always)]
    fn of(cell: usize) -> Self {
        cell as u8
    }
}

impl MaxPosition for u32 {
    const MOST_CELLS: usize = u32::MAX as usize;
    #[inline(always)]
    fn of(cell: usize) -> Self {
        cell as u32
    }
}

/// `y` = the greatest value in each window, the first of several equal ones; NaN is greater than all. Positions are
/// recorded unless `positions` is empty. A window without a cell inside the image gives -∞ at position 0.
///
/// # Panics
/// If a slice's length does not match the sizes, or if the window has more cells than a position can tell apart.
pub fn forward<P: MaxPosition>(
    window: &WindowGeometry,
    channels: usize,
    x: &[f32],
    y: &mut [f32],
    positions: &mut [P],
) {
    window.check();
    assert!(positions.is_empty() || window.cells() <= P::MOST_CELLS, "the window has too many cells for its positions");
    check_len("the input", x.len(), size_of(&[window.batch, window.image_len(channels)]));
    check_len("the output", y.len(), size_of(&[window.batch, window.pixels(), channels]));
    if !positions.is_empty() {
        check_len("the positions", positions.len(), y.len());
    }
    if y.is_empty() {
        return;
    }
    let (image, result) = (window.image_len(channels), window.pixels() * channels);
    let threads = parallel::pass(x.len()).0;
    let images = parallel::part_len(window.batch, threads);
    let mut tasks = Vec::new();
    let mut positions = positions.chunks_mut(images * result);
    for (part, y) in y.chunks_mut(images * result).enumerate() {
        tasks.push((part * images, y, positions.next().unwrap_or_default()));
    }
    parallel::each(threads, tasks, |(first, y, positions): (usize, &mut [f32], &mut [P])| {
        let mut positions = positions.chunks_mut(result);
        for (i, y) in y.chunks_mut(result).enumerate() {
            let x = &x[(first + i) * image..][..image];
            max_rows(window, channels, x, 0, window.output[0], y, positions.next().unwrap_or_default());
        }
    });
}

/// [`forward`] without positions, on the calling thread, for any number of images: `window.batch` is ignored.
///
/// # Panics
/// If the input is not whole images, or the output does not match it.
pub fn forward_here(window: &WindowGeometry, channels: usize, x: &[f32], y: &mut [f32]) {
    let (image, result) = whole_images(window, channels, x, y);
    for (x, y) in x.chunks_exact(image.max(1)).zip(y.chunks_exact_mut(result.max(1))) {
        max_rows::<u8>(window, channels, x, 0, window.output[0], y, &mut []);
    }
}

/// `dx` = each gradient of `dy` at the position of its maximum, and zero elsewhere. Every value of `dx` is written.
///
/// # Panics
/// If a slice's length does not match the sizes.
pub fn backward<P: MaxPosition>(window: &WindowGeometry, channels: usize, dy: &[f32], positions: &[P], dx: &mut [f32]) {
    window.check();
    check_len("the gradient of the input", dx.len(), size_of(&[window.batch, window.image_len(channels)]));
    check_len("the gradient of the output", dy.len(), size_of(&[window.batch, window.pixels(), channels]));
    check_len("the positions", positions.len(), dy.len());
    let (image, result) = (window.image_len(channels), window.pixels() * channels);
    if dx.is_empty() {
        return;
    }
    let threads = parallel::pass(dx.len()).0;
    let images = parallel::part_len(window.batch, threads);
    let tasks = dx.chunks_mut(images * image).enumerate().collect();
    parallel::each(threads, tasks, |(part, dx): (usize, &mut [f32])| {
        for (i, dx) in dx.chunks_mut(image).enumerate() {
            let at = (part * images + i) * result;
            spread(window, channels, &dy[at..at + result], &positions[at..at + result], dx);
        }
    });
}

/// Whether windows are adjacent squares of two by two, all inside the image: the usual case, with its own code.
fn is_halving(window: &WindowGeometry) -> bool {
    let plain = window.size == [2, 2] && window.strides == [2, 2] && window.dilations == [1, 1] && window.pad == [0, 0];
    plain && (0..2).all(|d| 2 * window.output[d] <= window.input[d])
}

/// Output rows `from..to` of one image. `x` begins with the first input row of the window of row `from`.
pub(super) fn max_rows<P: MaxPosition>(
    window: &WindowGeometry,
    channels: usize,
    x: &[f32],
    from: usize,
    to: usize,
    y: &mut [f32],
    positions: &mut [P],
) {
    let first = (from * window.strides[0]).saturating_sub(window.pad[0]);
    for (row, i) in (from..to).enumerate() {
        let at = row * window.output[1] * channels;
        let len = window.output[1] * channels;
        let y = &mut y[at..at + len];
        let positions = if positions.is_empty() { &mut [][..] } else { &mut positions[at..at + len] };
        if is_halving(window) {
            let width = window.input[1] * channels;
            let (above, below) = x[(2 * i - first) * width..][..2 * width].split_at(width);
            if positions.is_empty() {
                halve(channels, above, below, y)
            } else {
                halve_with(channels, above, below, y, positions)
            }
        } else {
            max_row(window, channels, x, first, i, y, positions);
        }
    }
}

/// Whether `b` replaces the maximum `a`: it is greater, or NaN.
#[inline(always)]
fn greater(a: f32, b: f32) -> bool {
    (b > a) | b.is_nan()
}

simd! {
    /// One output row of any window.
    fn max_row<I, P: MaxPosition>(
        window: &WindowGeometry, channels: usize, x: &[f32], first: usize, i: usize, y: &mut [f32], positions: &mut [P],
    ) {
        y.fill(f32::NEG_INFINITY);
        positions.fill(P::of(0));
        let rows = window.inside(0, i);
        for (j, y) in y.chunks_exact_mut(channels).enumerate() {
            let columns = window.inside(1, j);
            let positions = if positions.is_empty() { &mut [][..] } else { &mut positions[j * channels..][..channels] };
            let mut none = true;
            for r in rows.clone() {
                let row = (i * window.strides[0] + r * window.dilations[0] - window.pad[0] - first) * window.input[1];
                for s in columns.clone() {
                    let pixel = row + j * window.strides[1] + s * window.dilations[1] - window.pad[1];
                    let x = &x[pixel * channels..][..channels];
                    let cell = P::of(r * window.size[1] + s);
                    if none {
                        y.copy_from_slice(x);
                        positions.fill(cell);
                        none = false;
                    } else if positions.is_empty() {
                        for (y, x) in y.iter_mut().zip(x) {
                            *y = if greater(*y, *x) { *x } else { *y };
                        }
                    } else {
                        for ((y, x), position) in y.iter_mut().zip(x).zip(positions.iter_mut()) {
                            let better = greater(*y, *x);
                            *y = if better { *x } else { *y };
                            *position = if better { cell } else { *position };
                        }
                    }
                }
            }
        }
    }
}

/// The pixels of two by two, as slices whose equal length is visible to the compiler: loops over them are vectorized
/// with any settings.
#[inline(always)]
fn quarters<'a>(channels: usize, above: &'a [f32], below: &'a [f32]) -> [&'a [f32]; 4] {
    let ((a, b), (c, d)) = (above.split_at(channels), below.split_at(channels));
    [&a[..channels], &b[..channels], &c[..channels], &d[..channels]]
}

simd! {
    fn halve<I>(channels: usize, above: &[f32], below: &[f32], y: &mut [f32]) {
        let pairs = above.chunks_exact(2 * channels).zip(below.chunks_exact(2 * channels));
        for (y, (above, below)) in y.chunks_exact_mut(channels).zip(pairs) {
            let y = &mut y[..channels];
            let [a, b, c, d] = quarters(channels, above, below);
            for k in 0..channels {
                let upper = if greater(a[k], b[k]) { b[k] } else { a[k] };
                let lower = if greater(c[k], d[k]) { d[k] } else { c[k] };
                y[k] = if greater(upper, lower) { lower } else { upper };
            }
        }
    }
}

simd! {
    fn halve_with<I, P: MaxPosition>(channels: usize, above: &[f32], below: &[f32], y: &mut [f32], positions: &mut [P]) {
        let pairs = above.chunks_exact(2 * channels).zip(below.chunks_exact(2 * channels));
        let results = y.chunks_exact_mut(channels).zip(positions.chunks_exact_mut(channels));
        for ((y, positions), (above, below)) in results.zip(pairs) {
            let [a, b, c, d] = quarters(channels, above, below);
            let (y, positions) = (&mut y[..channels], &mut positions[..channels]);
            for k in 0..channels {
                let right = greater(a[k], b[k]);
                let upper = if right { b[k] } else { a[k] };
                let right_below = greater(c[k], d[k]);
                let lower = if right_below { d[k] } else { c[k] };
                let down = greater(upper, lower);
                y[k] = if down { lower } else { upper };
                positions[k] = P::of(if down { 2 + right_below as usize } else { right as usize });
            }
        }
    }
}

/// The gradient of one image's input. Every value of `dx` is written.
pub(super) fn spread<P: MaxPosition>(
    window: &WindowGeometry,
    channels: usize,
    dy: &[f32],
    positions: &[P],
    dx: &mut [f32],
) {
    let [height, width] = window.output;
    let row = window.input[1] * channels;
    let halving = is_halving(window);
    // Windows of two by two without pixels left over write everything.
    if !halving || [2 * height, 2 * width] != window.input {
        dx.fill(0.0);
    }
    for i in 0..height {
        let at = i * width * channels..(i + 1) * width * channels;
        let (dy, positions) = (&dy[at.clone()], &positions[at]);
        if halving {
            let (above, below) = dx[2 * i * row..][..2 * row].split_at_mut(row);
            double(channels, dy, positions, above, below);
            continue;
        }
        spread_row(window, channels, i, dy, positions, dx);
    }
}

simd! {
    /// Adds one output row's gradients to those of the input.
    fn spread_row<I, P: MaxPosition>(
        window: &WindowGeometry, channels: usize, i: usize, dy: &[f32], positions: &[P], dx: &mut [f32],
    ) {
        let rows = window.inside(0, i);
        for (j, (dy, positions)) in dy.chunks_exact(channels).zip(positions.chunks_exact(channels)).enumerate() {
            let columns = window.inside(1, j);
            for r in rows.clone() {
                let row = (i * window.strides[0] + r * window.dilations[0] - window.pad[0]) * window.input[1];
                for s in columns.clone() {
                    let pixel = row + j * window.strides[1] + s * window.dilations[1] - window.pad[1];
                    let cell = P::of(r * window.size[1] + s);
                    let dx = &mut dx[pixel * channels..][..channels];
                    for ((dx, dy), position) in dx.iter_mut().zip(dy).zip(positions) {
                        *dx += if *position == cell { *dy } else { 0.0 };
                    }
                }
            }
        }
    }
}

simd! {
    fn double<I, P: MaxPosition>(channels: usize, dy: &[f32], positions: &[P], above: &mut [f32], below: &mut [f32]) {
        let pairs = above.chunks_exact_mut(2 * channels).zip(below.chunks_exact_mut(2 * channels));
        let results = dy.chunks_exact(channels).zip(positions.chunks_exact(channels));
        for ((dy, positions), (above, below)) in results.zip(pairs) {
            let ((a, b), (c, d)) = (above.split_at_mut(channels), below.split_at_mut(channels));
            let (a, b, c, d) = (&mut a[..channels], &mut b[..channels], &mut c[..channels], &mut d[..channels]);
            let (dy, positions) = (&dy[..channels], &positions[..channels]);
            for k in 0..channels {
                let (value, position) = (dy[k], positions[k]);
                a[k] = if position == P::of(0) { value } else { 0.0 };
                b[k] = if position == P::of(1) { value } else { 0.0 };
                c[k] = if position == P::of(2) { value } else { 0.0 };
                d[k] = if position == P::of(3) { value } else { 0.0 };
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

    fn check<P: MaxPosition>(window: WindowGeometry, channels: usize) {
        let x = values(window.batch * window.image_len(channels), 1);
        let mut y = vec![7.5; window.batch * window.pixels() * channels];
        let (mut positions, mut plain) = (vec![P::of(9); y.len()], y.clone());
        let dy = values(y.len(), 2);
        let mut dx = vec![7.5; x.len()];
        forward(&window, channels, &x, &mut y, &mut positions);
        forward::<u8>(&window, channels, &x, &mut plain, &mut []);
        backward(&window, channels, &dy, &positions, &mut dx);

        let mut expected = vec![f32::NEG_INFINITY; y.len()];
        let mut from = vec![None; y.len()];
        each_cell(&window, |image, pixel, input, _| {
            for c in 0..channels {
                let at = (image * window.pixels() + pixel) * channels + c;
                let x_at = image * window.image_len(channels) + input * channels + c;
                if x[x_at] > expected[at] {
                    expected[at] = x[x_at];
                    from[at] = Some(x_at);
                }
            }
        });
        let mut gradient = vec![0.0; x.len()];
        from.iter().zip(&dy).for_each(|(from, dy)| from.iter().for_each(|from| gradient[*from] += *dy as f64));
        assert_eq!(y, expected);
        assert_eq!(plain, expected);
        assert_close("dx", &dx, &gradient);
    }

    proptest! {
        #[test]
        fn any_pooling_agrees_with_its_definition(window in windows(), channels in 1..40usize) {
            check::<u8>(window, channels);
            check::<u32>(window, channels);
        }
    }

    #[test]
    fn halving_agrees_at_every_level() {
        at_every_level(|_| {
            for (side, channels) in [(4, 1), (7, 33), (8, 64), (9, 3)] {
                check::<u8>(WindowGeometry::valid(3, [side, side + 1], [2, 2], [2, 2]), channels);
            }
        });
    }

    #[test]
    fn the_first_of_equals_wins() {
        let window = WindowGeometry::valid(1, [2, 2], [2, 2], [2, 2]);
        let (mut y, mut positions) = ([0.0; 1], [9u8; 1]);
        for (x, expected) in [([1.0, 1.0, 1.0, 1.0], 0), ([0.0, 1.0, 0.0, 1.0], 1), ([0.0, 0.0, 1.0, 1.0], 2)] {
            forward(&window, 1, &x, &mut y, &mut positions);
            assert_eq!((y, positions), ([1.0], [expected]));
        }
    }

    #[test]
    fn nan_is_the_greatest() {
        for size in [2, 3] {
            let window = WindowGeometry::valid(1, [size, size], [size, size], [size, size]);
            for at in 0..size * size {
                let mut x = vec![1.0; size * size];
                x[at] = f32::NAN;
                let (mut y, mut positions) = ([0.0; 1], [99u8; 1]);
                forward(&window, 1, &x, &mut y, &mut positions);
                assert!(y[0].is_nan() && positions[0] == at as u8, "{at}: {y:?} {positions:?}");
            }
        }
    }
}
