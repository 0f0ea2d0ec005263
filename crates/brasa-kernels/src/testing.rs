//! Helpers for the tests of several kernels.

use proptest::prelude::*;

use super::scratch;
use super::window::WindowGeometry;

/// Pseudorandom values between -1 and 1, the same every time.
pub fn values(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_769).wrapping_add(12345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Asserts that values agree to 10⁻⁴ of the greatest expected one.
#[track_caller]
pub fn assert_close(what: &str, actual: &[f32], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len(), "{what}: lengths");
    let scale = expected.iter().fold(1e-3, |most: f64, v| most.max(v.abs()));
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        assert!((*a as f64 - e).abs() <= 1e-4 * scale, "{what}: value {i} is {a}, not {e} (scale {scale})");
    }
}

/// The values of workspace that a new thread keeps after some work, which it does alone.
pub fn kept_by(work: impl FnOnce() + Send) -> usize {
    let kept = || {
        work();
        scratch::kept()
    };
    std::thread::scope(|scope| scope.spawn(kept).join().expect("work without a panic"))
}

/// The values that new threads keep after some work, and the result of `expected`, with as many threads.
pub fn kept_by_threads(
    threads: usize,
    work: impl FnOnce() + Send,
    expected: impl FnOnce() -> usize + Send,
) -> (usize, usize) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    let expected = pool.install(|| {
        work();
        expected()
    });
    (pool.broadcast(|_| scratch::kept()).into_iter().sum(), expected)
}

/// The same values in double precision.
pub fn double(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| *v as f64).collect()
}

/// Windows of all kinds over small images; the output has any size that padding after the image could give.
pub fn windows() -> impl Strategy<Value = WindowGeometry> {
    let pair = |most: usize| [1..=most, 1..=most];
    (1..=5usize, pair(13), pair(5), pair(3), pair(3), [0..5usize, 0..5usize], [0..5usize, 0..5usize]).prop_map(
        |(batch, input, size, strides, dilations, pad, after)| {
            let reach = |d: usize| (size[d] - 1) * dilations[d] + 1;
            let pad = [pad[0] % reach(0), pad[1] % reach(1)];
            let output = [0, 1].map(|d| {
                let padded = input[d] + pad[d] + after[d] % reach(d);
                if padded < reach(d) { 1 } else { (padded - reach(d)) / strides[d] + 1 }
            });
            WindowGeometry { batch, input, output, size, strides, dilations, pad }
        },
    )
}

/// Calls `visit` for each image, output pixel and cell inside the image with (image, output pixel of the image, input
/// pixel of the image, cell).
pub fn each_cell(window: &WindowGeometry, mut visit: impl FnMut(usize, usize, usize, usize)) {
    for image in 0..window.batch {
        for pixel in 0..window.pixels() {
            for cell in 0..window.cells() {
                let at = |d: usize, output: usize, cell: usize| {
                    let at =
                        (output * window.strides[d] + cell * window.dilations[d]) as isize - window.pad[d] as isize;
                    (at >= 0 && at < window.input[d] as isize).then_some(at as usize)
                };
                let row = at(0, pixel / window.output[1], cell / window.size[1]);
                let column = at(1, pixel % window.output[1], cell % window.size[1]);
                if let (Some(row), Some(column)) = (row, column) {
                    visit(image, pixel, row * window.input[1] + column, cell);
                }
            }
        }
    }
}
