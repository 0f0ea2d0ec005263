//! Embedding: rows of a table, looked up by index.

use super::parallel;
use super::window::{check_len, size_of};

/// `y` = the table's row of `width` values for each number; NaN for a number that is not the index of a row. Every
/// value of `y` is written.
///
/// # Panics
/// If a slice's length does not match the others.
pub fn forward(width: usize, numbers: &[f32], table: &[f32], y: &mut [f32]) {
    let rows = check(width, numbers, table, y);
    if y.is_empty() {
        return;
    }
    let (threads, step) = parallel::pass(y.len());
    let step = step.div_ceil(width);
    let tasks = y.chunks_mut(step * width).zip(numbers.chunks(step)).collect();
    parallel::each(threads, tasks, |(y, numbers): (&mut [f32], &[f32])| look_up(width, numbers, (table, rows), y));
}

/// [`forward`] on the calling thread.
///
/// # Panics
/// As [`forward`].
pub fn forward_here(width: usize, numbers: &[f32], table: &[f32], y: &mut [f32]) {
    let rows = check(width, numbers, table, y);
    look_up(width, numbers, (table, rows), y);
}

fn look_up(width: usize, numbers: &[f32], (table, rows): (&[f32], usize), y: &mut [f32]) {
    for (y, number) in y.chunks_exact_mut(width).zip(numbers) {
        match row_of(*number, rows) {
            Some(row) => y.copy_from_slice(&table[row * width..][..width]),
            None => y.fill(f32::NAN),
        }
    }
}

/// The gradient of the table from that of the output; every value is written. Contributions to one row are added in the
/// order of the numbers.
///
/// # Panics
/// As [`forward`].
pub fn backward(width: usize, numbers: &[f32], dy: &[f32], dtable: &mut [f32]) {
    let rows = check(width, numbers, dtable, dy);
    dtable.fill(0.0);
    for (number, dy) in numbers.iter().zip(dy.chunks_exact(width.max(1))) {
        if let Some(row) = row_of(*number, rows) {
            parallel::add(dy, &mut dtable[row * width..][..width]);
        }
    }
}

/// The number of rows.
fn check(width: usize, numbers: &[f32], table: &[f32], y: &[f32]) -> usize {
    check_len("the output", y.len(), size_of(&[numbers.len(), width]));
    assert!(width > 0 && table.len().is_multiple_of(width), "the table must be whole rows of {width}");
    table.len() / width
}

/// The row index that a number truncates to, if there is such a row. As on other backends -0.5 is invalid, though it
/// would truncate to 0.
fn row_of(number: f32, rows: usize) -> Option<usize> {
    let inside = number >= 0.0 && f64::from(number) <= rows as f64 - 1.0;
    inside.then_some(number as usize).filter(|row| *row < rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values;

    #[test]
    fn lookup_and_its_gradient() {
        let numbers = [2.0, 0.0, 2.9, 3.0, -1.0, f32::NAN, 2.0, -0.5, f32::INFINITY];
        let table: Vec<f32> = (0..6).map(|i| i as f32).collect();
        let mut y = [7.5; 18];
        forward(2, &numbers, &table, &mut y);
        assert_eq!(y[..4], [4.0, 5.0, 0.0, 1.0]);
        assert!(y[4..12].iter().all(|y| y.is_nan()) && y[12..14] == [4.0, 5.0] && y[14..].iter().all(|y| y.is_nan()));
        let mut dtable = [7.5; 6];
        backward(2, &numbers, &[1.0; 18], &mut dtable);
        assert_eq!(dtable, [1.0, 1.0, 0.0, 0.0, 2.0, 2.0]);
    }

    #[test]
    fn long_outputs_are_shared() {
        let (rows, width) = (50, 33);
        let table = values(rows * width, 1);
        let numbers: Vec<f32> = (0..4000).map(|i| (i * 7 % rows) as f32).collect();
        let mut y = vec![7.5; numbers.len() * width];
        forward(width, &numbers, &table, &mut y);
        for (number, y) in numbers.iter().zip(y.chunks(width)) {
            assert_eq!(y, &table[*number as usize * width..][..width]);
        }
    }
}
