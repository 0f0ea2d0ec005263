//! Resizing of images.

use super::Value;
use crate::config::choice;
use crate::error::Result;
use crate::shape::check_count;

choice! {
    /// How cells between known ones are interpolated.
    pub enum Interpolation: "interpolation" {
        /// As the nearest cell.
        Nearest = "nearest",
        /// In a straight line between two cells.
        Bilinear = "bilinear",
        /// By a cubic through four cells (Keys 1981, a = −1/2).
        Bicubic = "bicubic",
        /// By a sinc over six cells.
        Lanczos3 = "lanczos3",
        /// By a sinc over ten cells.
        Lanczos5 = "lanczos5",
    }
}

impl Interpolation {
    /// The weight of a cell at this distance.
    fn kernel(&self, distance: f64) -> f64 {
        let x = distance;
        match self {
            Self::Bicubic if x < 1.0 => ((1.5 * x - 2.5) * x) * x + 1.0,
            Self::Bicubic if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            Self::Bicubic => 0.0,
            Self::Lanczos3 => lanczos(3.0, x),
            Self::Lanczos5 => lanczos(5.0, x),
            _ => (1.0 - x).max(0.0),
        }
    }
}

fn lanczos(radius: f64, x: f64) -> f64 {
    use std::f64::consts::PI;
    if x > radius {
        0.0
    } else if x > 1e-3 {
        radius * (PI * x).sin() * (PI * x / radius).sin() / (PI * PI * x * x)
    } else {
        1.0
    }
}

/// The weights of `from` cells in each of `to` cells: a matrix (from, to), each column of which sums to 1.
///
/// Cells have their values at their centres; at the border the weights of the existing cells are scaled up. With
/// `antialias` a cell that covers several is made of all of them.
pub(crate) fn resize_weights(from: usize, to: usize, interpolation: &Interpolation, antialias: bool) -> Vec<f32> {
    let step = from as f64 / to as f64;
    let width = if antialias { step.max(1.0) } else { 1.0 };
    let mut matrix = vec![0.0; from * to];
    for column in 0..to {
        let position = (column as f64 + 0.5) * step - 0.5;
        let kernel = |row: usize| interpolation.kernel((position - row as f64).abs() / width);
        let sum: f64 = (0..from).map(kernel).sum();
        if sum.abs() > 1e-4 {
            (0..from).for_each(|row| matrix[row * to + column] = (kernel(row) / sum) as f32);
        }
    }
    matrix
}

/// The nearest of `from` cells for each of `length` cells.
pub(crate) fn nearest_cells(from: usize, length: usize) -> impl Iterator<Item = usize> {
    let step = from as f32 / length as f32;
    (0..length).map(move |cell| (((cell as f32 + 0.5) * step).floor() as usize).min(from - 1))
}

/// Number of values that resizing dimension `axis` of a value of these sizes to `length` cells takes besides it: the
/// result and the temporaries.
pub(crate) fn resize_len(sizes: &[usize], axis: usize, length: usize, interpolation: &Interpolation) -> usize {
    let from = sizes[axis];
    if from == length {
        return 0;
    }
    let others = sizes.iter().enumerate().filter(|(at, _)| *at != axis).map(|(_, size)| *size);
    let others = others.fold(1, |product: usize, size| product.saturating_mul(size));
    let (before, after) = (others.saturating_mul(from), others.saturating_mul(length));
    match interpolation {
        // Positions in 64 bits and in 32.
        Interpolation::Nearest => after.saturating_add(length.saturating_mul(3)),
        // A copy with the axis last, the product, and both of the matrix.
        _ => after.saturating_mul(2).saturating_add(before).saturating_add(from.saturating_mul(length)),
    }
}

/// Resizes dimension `axis` to `length` cells.
///
/// # Errors
/// [`Error::UnknownName`](crate::Error::UnknownName) for an unknown interpolation.
pub(crate) fn resize_axis(
    value: Value,
    axis: usize,
    length: usize,
    interpolation: &Interpolation,
    antialias: bool,
) -> Result<Value> {
    interpolation.check()?;
    let mut sizes = value.sizes();
    let from = std::mem::replace(&mut sizes[axis], length);
    check_count(&sizes)?;
    if from == length {
        return Ok(value);
    }
    if *interpolation == Interpolation::Nearest {
        return value.select(axis, &nearest_cells(from, length).collect::<Vec<_>>());
    }
    check_count(&[from, length])?;
    let matrix = resize_weights(from, length, interpolation, antialias);
    let matrix = Value::from_vec(matrix, &[from, length], &value.device())?;
    value.matmul_along(axis, matrix)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn row(length: usize, interpolation: Interpolation, antialias: bool) -> Vec<f32> {
        let value = Value::from_vec(vec![0.0, 1.0, 4.0, 9.0], &[1, 4, 1], &Device::flex()).unwrap();
        resize_axis(value, 1, length, &interpolation, antialias).unwrap().to_vec().unwrap()
    }

    fn near(a: &[f32], b: &[f32]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
    }

    #[test]
    fn nearest_takes_the_cell_that_holds_the_centre() {
        assert_eq!(row(2, Interpolation::Nearest, false), [1.0, 9.0]);
        assert_eq!(row(8, Interpolation::Nearest, false), [0.0, 0.0, 1.0, 1.0, 4.0, 4.0, 9.0, 9.0]);
    }

    /// Values of `jax.image.resize`.
    #[test]
    fn other_methods_agree_with_jax() {
        assert!(near(&row(2, Interpolation::Bilinear, false), &[0.5, 6.5]));
        assert!(near(&row(2, Interpolation::Bilinear, true), &[1.0, 5.714_286_3]));
        let cubic = row(6, Interpolation::Bicubic, false);
        assert!(near(&cubic, JAX_BICUBIC), "{cubic:?}");
        let lanczos = row(6, Interpolation::Lanczos3, false);
        assert!(near(&lanczos, JAX_LANCZOS3), "{lanczos:?}");
    }

    const JAX_BICUBIC: &[f32] = &[-0.065_789_2, 0.294_117_7, 1.361_11, 3.361_111_2, 6.823_529_7, 9.328_949];
    const JAX_LANCZOS3: &[f32] = &[-0.006_579_459, 0.259_168_77, 1.276_150_6, 3.116_148_7, 7.029_34, 9.374_989];
}
