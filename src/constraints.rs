//! Constraints on weights, applied after each update as in Keras.

use serde::{Deserialize, Serialize};

use crate::config::describe_enum;
use crate::error::{Error, Result};
use crate::ops::Value;

/// Keras's epsilon, which keeps a division by a norm of zero finite.
const EPSILON: f32 = 1e-7;

/// One axis, or several jointly, of a norm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Axes {
    /// One axis; negative counts from the end.
    One(isize),
    /// Several axes.
    Several(Vec<isize>),
}

impl Axes {
    /// The axes resolved for a shape of `rank` dimensions, sorted.
    ///
    /// # Errors
    /// [`Error::Argument`] if one is out of range, or given twice, which Keras refuses, too.
    pub fn of_rank(&self, rank: usize) -> Result<Vec<usize>> {
        let positions = self.positions(rank)?;
        if positions.len() == self.given().len() {
            return Ok(positions);
        }
        Err(Error::argument("axis", format!("each of {rank} axes at most once"), format!("{:?}", self.given())))
    }

    fn given(&self) -> &[isize] {
        match self {
            Self::One(axis) => std::slice::from_ref(axis),
            Self::Several(axes) => axes,
        }
    }

    /// Like [`of_rank`](Self::of_rank), for layers for which Keras accepts repeated axes.
    pub(crate) fn positions(&self, rank: usize) -> Result<Vec<usize>> {
        let axes = self.given();
        let mut positions = axes
            .iter()
            .map(|axis| {
                let position = if *axis < 0 { axis + rank as isize } else { *axis };
                usize::try_from(position)
                    .ok()
                    .filter(|position| *position < rank)
                    .ok_or_else(|| Error::argument("axis", format!("an axis of {rank} dimensions"), axis))
            })
            .collect::<Result<Vec<_>>>()?;
        positions.sort_unstable();
        positions.dedup();
        Ok(positions)
    }
}

impl From<isize> for Axes {
    fn from(axis: isize) -> Self {
        Self::One(axis)
    }
}

impl<const N: usize> From<[isize; N]> for Axes {
    fn from(axes: [isize; N]) -> Self {
        Self::Several(axes.into())
    }
}

crate::config::also_argument!(isize => Axes);

impl crate::config::Argument<Option<Axes>> for isize {
    fn into_argument(self) -> Option<Axes> {
        Some(self.into())
    }
}

impl<const N: usize> crate::config::Argument<Option<Axes>> for [isize; N] {
    fn into_argument(self) -> Option<Axes> {
        Some(self.into())
    }
}

impl<const N: usize> crate::config::Argument<Axes> for [isize; N] {
    fn into_argument(self) -> Axes {
        self.into()
    }
}

describe_enum! {
    /// A constraint on a weight.
    pub enum Constraint: "constraint" in "keras.constraints", ignoring [],
    aliases [("nonneg", "NonNeg"), ("maxnorm", "MaxNorm"), ("unitnorm", "UnitNorm"), ("min_max_norm", "MinMaxNorm")], {
        /// Norms of at most `max_value`.
        MaxNorm {
            /// The largest norm.
            max_value: f32 = 2.0,
            /// The axes of the norm.
            axis: Axes = Axes::One(0),
        },
        /// Norms in a range.
        MinMaxNorm {
            /// The smallest norm.
            min_value: f32 = 0.0,
            /// The largest norm.
            max_value: f32 = 1.0,
            /// The fraction of the correction per update.
            rate: f32 = 1.0,
            /// The axes of the norm.
            axis: Axes = Axes::One(0),
        },
        /// No negative values.
        NonNeg {},
        /// Norms of 1.
        UnitNorm {
            /// The axes of the norm.
            axis: Axes = Axes::One(0),
        },
    }
}

impl Constraint {
    /// Refuses an unknown name, and an axis out of range for a weight of `rank` dimensions.
    ///
    /// # Errors
    /// [`Error::UnknownName`], [`Error::Argument`].
    pub(crate) fn check_rank(&self, rank: usize) -> Result<()> {
        self.check()?;
        match self {
            Self::MaxNorm { axis, .. } | Self::MinMaxNorm { axis, .. } | Self::UnitNorm { axis } => {
                axis.of_rank(rank.max(1)).map(|_| ())
            }
            Self::NonNeg {} | Self::Unknown(_) => Ok(()),
        }
    }

    /// Projects the weight to satisfy the constraint, by Keras's formulas.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for an unknown name, [`Error::Argument`] for an axis out of range.
    pub fn apply(&self, weight: Value) -> Result<Value> {
        self.check()?;
        let sizes = weight.sizes();
        Ok(match self {
            Self::MaxNorm { max_value, axis } => {
                let norm = norm(&weight, axis)?;
                let desired = norm.clone().clamp(0.0, *max_value);
                weight * (desired / norm.add_scalar(EPSILON)).expand(&sizes)
            }
            Self::MinMaxNorm { min_value, max_value, rate, axis } => {
                let norm = norm(&weight, axis)?;
                let clamped = norm.clone().clamp(*min_value, *max_value);
                let desired = clamped.mul_scalar(*rate) + norm.clone().mul_scalar(1.0 - rate);
                weight * (desired / norm.add_scalar(EPSILON)).expand(&sizes)
            }
            Self::NonNeg {} => weight.clamp_min(0.0),
            Self::UnitNorm { axis } => {
                let norm = norm(&weight, axis)?;
                weight / norm.add_scalar(EPSILON).expand(&sizes)
            }
            Self::Unknown(_) => unreachable!("checked above"),
        })
    }
}

fn norm(weight: &Value, axes: &Axes) -> Result<Value> {
    let axes = axes.of_rank(weight.rank())?;
    Ok(axes.into_iter().fold(weight.clone().square(), Value::sum_axis).sqrt())
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn max_norm_shortens_long_columns_only() {
        let weight = Value::from_vec(vec![3.0, 0.1, 4.0, 0.2], &[2, 2], &Device::flex()).unwrap();
        let limited =
            Constraint::MaxNorm { max_value: 1.0, axis: Axes::One(0) }.apply(weight).unwrap().to_vec().unwrap();
        for (got, wanted) in limited.iter().zip([0.6, 0.1, 0.8, 0.2]) {
            assert!((got - wanted).abs() < 1e-5, "{limited:?}");
        }
    }

    #[test]
    fn an_axis_out_of_range_is_refused() {
        let weight = Value::from_vec(vec![1.0], &[1], &Device::flex()).unwrap();
        assert!(Constraint::UnitNorm { axis: Axes::One(3) }.apply(weight).is_err());
    }
}
