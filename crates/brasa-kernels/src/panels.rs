//! Packing of the right matrix into panels, the layout that is read fastest when it meets many rows of the left one.

use super::gemm::PANEL;
use super::parallel;

/// Number of values of a packed matrix of `depth` rows.
///
/// # Panics
/// If it exceeds the address space.
pub fn panels_len(depth: usize, columns: usize) -> usize {
    columns
        .div_ceil(PANEL)
        .checked_mul(PANEL)
        .and_then(|c| c.checked_mul(depth))
        .expect("a matrix within the address space")
}

/// Packs the matrix whose rows of `columns` values lie `stride` apart in `rows`.
///
/// # Panics
/// If a slice is too short.
pub fn pack(rows: &[f32], depth: usize, columns: usize, stride: usize, panels: &mut [f32]) {
    each_panel(depth, columns, panels, |first, width, panel| pack_panel(rows, stride, (first, width), panel));
}

/// Packs the `width` columns from `first` on, at most [`PANEL`], of a matrix whose rows lie `stride` apart in `rows`.
///
/// # Panics
/// If the matrix has fewer rows than the panel.
pub(crate) fn pack_panel(rows: &[f32], stride: usize, (first, width): (usize, usize), panel: &mut [f32]) {
    for (k, row) in panel.chunks_exact_mut(PANEL).enumerate() {
        row[..width].copy_from_slice(&rows[k * stride + first..][..width]);
        row[width..].fill(0.0);
    }
}

/// Packs the transpose of a matrix of `columns` rows of `depth` values, `stride` apart, into the rows of the panels
/// from `first` on; `whole` is the number of rows of the panels.
///
/// # Panics
/// If a slice is too short.
pub fn pack_transposed(
    (rows, stride): (&[f32], usize),
    depth: usize,
    columns: usize,
    panels: &mut [f32],
    (whole, first): (usize, usize),
) {
    each_panel(whole, columns, panels, |column, width, panel| {
        pack_transposed_panel(rows, stride, (column, width), &mut panel[first * PANEL..][..depth * PANEL]);
    });
}

/// As [`pack_panel`], for the transpose of the matrix whose rows lie `stride` apart in `rows`: its columns are their
/// rows.
///
/// # Panics
/// If there are fewer rows, or values in a row.
pub(crate) fn pack_transposed_panel(rows: &[f32], stride: usize, (first, width): (usize, usize), panel: &mut [f32]) {
    // Square blocks: both the rows read and the rows written stay in the first-level cache.
    for (b, block) in panel.chunks_mut(PANEL * PANEL).enumerate() {
        let steps = block.len() / PANEL;
        for j in 0..width {
            let row = &rows[(first + j) * stride + b * PANEL..][..steps];
            for (k, value) in row.iter().enumerate() {
                block[k * PANEL + j] = *value;
            }
        }
        if width < PANEL {
            block.chunks_exact_mut(PANEL).for_each(|row| row[width..].fill(0.0));
        }
    }
}

/// Calls `fill` with the first column, the number of columns and the values of each panel.
fn each_panel(depth: usize, columns: usize, panels: &mut [f32], fill: impl Fn(usize, usize, &mut [f32]) + Sync + Send) {
    let len = panels_len(depth, columns);
    if len == 0 {
        return;
    }
    let threads = parallel::pass(len).0;
    let tasks = panels[..len].chunks_exact_mut(depth * PANEL).enumerate().collect();
    parallel::each(threads, tasks, |(p, panel)| {
        let first = p * PANEL;
        fill(first, PANEL.min(columns - first), panel);
    });
}
