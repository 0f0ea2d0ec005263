//! Arguments with a value per spatial dimension: sizes, borders, strides.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Shape;
use crate::config::{Argument, also_argument};
use crate::error::{Error, Result};

/// A size for each of `N` spatial dimensions: `5` for all, or `(5, 3)`.
///
/// ```
/// use brasa::shape::Spatial;
/// assert_eq!(Spatial::<2>::from(5), Spatial::from((5, 5)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spatial<const N: usize>(pub [usize; N]);

impl<const N: usize> Spatial<N> {
    /// Rejects sizes of zero.
    ///
    /// # Errors
    /// [`Error::Argument`] naming `argument`.
    pub fn check_positive(&self, argument: &str) -> Result<()> {
        if self.0.iter().all(|size| *size > 0) {
            return Ok(());
        }
        Err(Error::argument(argument, "integers above 0", self))
    }
}

impl<const N: usize> fmt::Display for Spatial<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Shape::new(self.0.map(Some)), f)
    }
}

impl<const N: usize> From<usize> for Spatial<N> {
    fn from(size: usize) -> Self {
        Self([size; N])
    }
}

impl<const N: usize> From<[usize; N]> for Spatial<N> {
    fn from(sizes: [usize; N]) -> Self {
        Self(sizes)
    }
}

impl From<(usize, usize)> for Spatial<2> {
    fn from((rows, columns): (usize, usize)) -> Self {
        Self([rows, columns])
    }
}

impl From<(usize, usize, usize)> for Spatial<3> {
    fn from((depth, rows, columns): (usize, usize, usize)) -> Self {
        Self([depth, rows, columns])
    }
}

impl<const N: usize> Argument<Spatial<N>> for usize {
    fn into_argument(self) -> Spatial<N> {
        self.into()
    }
}

impl<const N: usize> Argument<Option<Spatial<N>>> for usize {
    fn into_argument(self) -> Option<Spatial<N>> {
        Some(self.into())
    }
}

impl<const N: usize> Argument<Spatial<N>> for [usize; N] {
    fn into_argument(self) -> Spatial<N> {
        Spatial(self)
    }
}

also_argument!((usize, usize) => Spatial<2>, (usize, usize, usize) => Spatial<3>);

impl<const N: usize> Serialize for Spatial<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_slice().serialize(serializer)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Spatial<N> {
    /// Reads a number, or a list of `N`.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "an integer above 0 or a list of them")]
        enum Written {
            All(usize),
            Each(Vec<usize>),
        }
        match Written::deserialize(deserializer)? {
            Written::All(size) => Ok(Self([size; N])),
            Written::Each(sizes) => <[usize; N]>::try_from(sizes)
                .map(Self)
                .map_err(|sizes| serde::de::Error::custom(format!("expected {N} integers, received {}", sizes.len()))),
        }
    }
}

/// Cells before and after each of `N` spatial dimensions: `1` for all, `(1, 2)` for before and after one dimension (or
/// on both sides of each of several), or a pair per dimension.
///
/// ```
/// use brasa::shape::Borders;
/// assert_eq!(Borders::<2>::from((1, 2)), Borders([(1, 1), (2, 2)]));
/// assert_eq!(Borders::<1>::from((1, 2)), Borders([(1, 2)]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Borders<const N: usize>(pub [(usize, usize); N]);

impl<const N: usize> From<usize> for Borders<N> {
    fn from(cells: usize) -> Self {
        Self([(cells, cells); N])
    }
}

impl<const N: usize> From<[(usize, usize); N]> for Borders<N> {
    fn from(cells: [(usize, usize); N]) -> Self {
        Self(cells)
    }
}

impl From<(usize, usize)> for Borders<1> {
    fn from(cells: (usize, usize)) -> Self {
        Self([cells])
    }
}

impl From<(usize, usize)> for Borders<2> {
    fn from((rows, columns): (usize, usize)) -> Self {
        Self([(rows, rows), (columns, columns)])
    }
}

impl From<((usize, usize), (usize, usize))> for Borders<2> {
    fn from((rows, columns): ((usize, usize), (usize, usize))) -> Self {
        Self([rows, columns])
    }
}

impl From<(usize, usize, usize)> for Borders<3> {
    fn from((depth, rows, columns): (usize, usize, usize)) -> Self {
        Self([(depth, depth), (rows, rows), (columns, columns)])
    }
}

impl<const N: usize> Serialize for Borders<N> {
    /// As Keras: `[before, after]` for one dimension, a list of such pairs for several.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [pair] => pair.serialize(serializer),
            pairs => pairs.serialize(serializer),
        }
    }
}

impl<'de, const N: usize> Deserialize<'de> for Borders<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "an integer, a list of them, or a list of pairs")]
        enum Written {
            All(usize),
            Each(Vec<usize>),
            Pairs(Vec<(usize, usize)>),
        }
        let pairs = match Written::deserialize(deserializer)? {
            Written::All(cells) => return Ok(cells.into()),
            Written::Each(cells) if N == 1 && cells.len() == 2 => vec![(cells[0], cells[1])],
            Written::Each(cells) => cells.into_iter().map(|cells| (cells, cells)).collect(),
            Written::Pairs(pairs) => pairs,
        };
        <[(usize, usize); N]>::try_from(pairs)
            .map(Self)
            .map_err(|pairs| serde::de::Error::custom(format!("expected {N} dimensions, received {}", pairs.len())))
    }
}

/// The strides of a pooling window: by default its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStrides<const N: usize>(Option<Spatial<N>>);

impl<const N: usize> PoolStrides<N> {
    /// The strides for a window of `pool_size`.
    pub fn or(self, pool_size: Spatial<N>) -> Spatial<N> {
        self.0.unwrap_or(pool_size)
    }
}

impl<const N: usize, T: Into<Spatial<N>>> From<T> for PoolStrides<N> {
    fn from(strides: T) -> Self {
        Self(Some(strides.into()))
    }
}

impl<const N: usize> Argument<PoolStrides<N>> for usize {
    fn into_argument(self) -> PoolStrides<N> {
        self.into()
    }
}

impl<const N: usize> Argument<PoolStrides<N>> for [usize; N] {
    fn into_argument(self) -> PoolStrides<N> {
        self.into()
    }
}

also_argument!((usize, usize) => PoolStrides<2>, (usize, usize, usize) => PoolStrides<3>);

impl<const N: usize> Serialize for PoolStrides<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, const N: usize> Deserialize<'de> for PoolStrides<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self)
    }
}
