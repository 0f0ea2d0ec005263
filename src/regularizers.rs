//! Penalties on weights and outputs, added to the loss as in Keras.

use crate::config::describe_enum;
use crate::error::{Error, Result};
use crate::memory;
use crate::ops::Value;
use crate::shape::check_count;

describe_enum! {
    /// A penalty.
    pub enum Regularizer: "regularizer" in "keras.regularizers", ignoring [],
    aliases [("l1", "L1"), ("l2", "L2"), ("l1_l2", "L1L2"), ("l1l2", "L1L2")], {
        /// `l1 · Σ|w|`
        L1 {
            /// The factor.
            l1: f32 = 0.01,
        },
        /// `l2 · Σw²`
        L2 {
            /// The factor.
            l2: f32 = 0.01,
        },
        /// `l1 · Σ|w| + l2 · Σw²`
        L1L2 {
            /// The factor of the absolute values.
            l1: f32 = 0.0,
            /// The factor of the squares.
            l2: f32 = 0.0,
        },
        /// Pushes the rows (or columns) of a matrix towards orthogonality.
        OrthogonalRegularizer {
            /// The factor.
            factor: f32 = 0.01,
            /// `rows` or `columns`.
            mode: String = "rows".into(),
        },
    }
}

/// The number of values held per product of two rows: the product itself, its weight, and their product with and
/// without sign.
const PRODUCTS: usize = 4;

impl Regularizer {
    /// The workspace in values for the penalty of a weight of these sizes, besides a few of the size of the weight.
    pub(crate) fn scratch(&self, sizes: &[usize]) -> usize {
        match (self, sizes) {
            (Self::OrthogonalRegularizer { mode, .. }, [rows, columns]) => {
                let count = if mode == "columns" { columns } else { rows };
                count.saturating_mul(*count).saturating_mul(PRODUCTS)
            }
            _ => 0,
        }
    }

    /// The penalty of `value`, as a value of one element.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for an unknown name, [`Error::Argument`] for a negative factor, [`Error::Shape`] for an
    /// orthogonality penalty on anything but a matrix, [`Error::Memory`] for one that does not fit in memory.
    pub fn penalty(&self, value: Value) -> Result<Value> {
        self.check()?;
        self.check_factors()?;
        let absolute = |value: Value, factor: f32| value.abs().sum().mul_scalar(factor);
        let square = |value: Value, factor: f32| value.square().sum().mul_scalar(factor);
        Ok(match self {
            Self::L1 { l1 } => absolute(value, *l1),
            Self::L2 { l2 } => square(value, *l2),
            Self::L1L2 { l1, l2 } => absolute(value.clone(), *l1) + square(value, *l2),
            Self::OrthogonalRegularizer { factor, mode } => orthogonality(value, *factor, mode)?,
            Self::Unknown(_) => unreachable!("checked above"),
        })
    }

    /// Refuses negative factors.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check_factors(&self) -> Result<()> {
        let factors: &[(&str, f32)] = match self {
            Self::L1 { l1 } => &[("l1", *l1)],
            Self::L2 { l2 } => &[("l2", *l2)],
            Self::L1L2 { l1, l2 } => &[("l1", *l1), ("l2", *l2)],
            Self::OrthogonalRegularizer { factor, .. } => &[("factor", *factor)],
            Self::Unknown(_) => &[],
        };
        match factors.iter().find(|(_, factor)| factor.is_nan() || *factor < 0.0) {
            None => Ok(()),
            Some((name, factor)) => Err(Error::argument(*name, "a number of at least 0", factor)),
        }
    }
}

/// `factor · Σ|off-diagonal of Ŵ·Ŵᵀ| / 2 / (n·(n−1)/2)` with rows (or columns) normalized to length 1.
fn orthogonality(value: Value, factor: f32, mode: &str) -> Result<Value> {
    let sizes = value.sizes();
    let [rows, columns] = sizes[..] else {
        return Err(Error::shape("a matrix for OrthogonalRegularizer", format!("{sizes:?}")));
    };
    let (axis, count) = match mode {
        "rows" => (1, rows),
        "columns" => (0, columns),
        other => return Err(Error::unknown("mode", other, ["rows", "columns"])),
    };
    // The number of products grows with the square of that of the rows, beyond the size of the matrix.
    let needs = format!("the products of {count} {mode} with one another (OrthogonalRegularizer)");
    memory::check_room(&needs, check_count(&[count, count])?.saturating_mul(PRODUCTS))?;
    let length = value.clone().square().sum_axis(axis).clamp_min(1e-12).sqrt();
    let unit = value / length.expand(&sizes);
    let turned = unit.clone().permute(&[1, 0]);
    let products = if axis == 1 { unit.matmul(turned) } else { turned.matmul(unit) };
    let off_diagonal: Vec<f32> = (0..count * count).map(|i| f32::from(i / count != i % count)).collect();
    let off_diagonal = Value::from_vec(off_diagonal, &[count, count], &products.device())?;
    let pairs = (count * count.saturating_sub(1)) as f32 / 2.0;
    Ok((products * off_diagonal).abs().sum().mul_scalar(factor * 0.5 / pairs.max(1.0)))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn penalties_are_keras_formulas() {
        let w = || Value::from_vec(vec![1.0, -2.0, 3.0, 0.0], &[2, 2], &Device::flex()).unwrap();
        let of = |regularizer: Regularizer| regularizer.penalty(w()).unwrap().to_scalar().unwrap();
        assert!((of("l1".into()) - 0.06).abs() < 1e-6);
        assert!((of("l2".into()) - 0.14).abs() < 1e-6);
        assert!((of(Regularizer::L1L2 { l1: 0.1, l2: 0.01 }) - 0.74).abs() < 1e-6);
    }

    #[test]
    fn a_negative_factor_is_refused() {
        assert!(Regularizer::L2 { l2: -1.0 }.check_factors().is_err());
        assert!(Regularizer::L1 { l1: f32::NAN }.check_factors().is_err());
    }
}
