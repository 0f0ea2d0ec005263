//! Shapes, and the arithmetic of windows and padding: pure functions with examples.

mod count;
mod data_format;
mod spatial;
mod window;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::count::{MAX_RANK, MOST_VALUES};
pub(crate) use self::count::{check_count, check_rank, count};
pub use self::data_format::DataFormat;
pub use self::spatial::{Borders, PoolStrides, Spatial};
pub(crate) use self::window::count_windows;
pub use self::window::{Padding, SlidingWindow};
use crate::error::{Error, Result};

/// A shape as Keras prints it: the batch first, `None` for an unknown size.
///
/// ```
/// use brasa::Shape;
/// let images = Shape::batch_of([28, 28, 1]);
/// assert_eq!(images.to_string(), "(None, 28, 28, 1)");
/// assert_eq!(Shape::batch_of([10]).to_string(), "(None, 10)");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shape(Vec<Option<usize>>);

impl Shape {
    /// A shape from its sizes, including the batch's.
    pub fn new(sizes: impl Into<Vec<Option<usize>>>) -> Self {
        Self(sizes.into())
    }

    /// The shape of a value, all of whose sizes are known.
    ///
    /// ```
    /// use brasa::Shape;
    /// assert_eq!(Shape::known(&[8, 28, 28]).to_string(), "(8, 28, 28)");
    /// ```
    pub fn known(sizes: &[usize]) -> Self {
        Self(sizes.iter().copied().map(Some).collect())
    }

    /// The shape of a batch of any number of samples, each of the given sizes.
    pub fn batch_of(sample: impl IntoSample) -> Self {
        Self(std::iter::once(None).chain(sample.into_sample()).collect())
    }

    /// All sizes, the batch's first.
    pub fn sizes(&self) -> &[Option<usize>] {
        &self.0
    }

    /// The sizes of one sample: all but the batch's.
    pub fn sample(&self) -> &[Option<usize>] {
        self.0.get(1..).unwrap_or(&[])
    }

    /// The number of dimensions, including the batch.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// This shape with another last size.
    pub fn with_last(&self, last: Option<usize>) -> Self {
        let mut sizes = self.0.clone();
        if let Some(end) = sizes.last_mut() {
            *end = last;
        }
        Self(sizes)
    }

    /// The number of values of one sample, if all its sizes are known.
    ///
    /// ```
    /// use brasa::Shape;
    /// assert_eq!(Shape::batch_of([4, 4, 64]).sample_len(), Some(1024));
    /// assert_eq!(Shape::new([None, None, Some(3)]).sample_len(), None);
    /// ```
    pub fn sample_len(&self) -> Option<usize> {
        self.sample().iter().try_fold(1usize, |product, size| product.checked_mul((*size)?))
    }

    /// The number of values, including the batch's size; unknown sizes count as 1. Saturates on overflow.
    ///
    /// ```
    /// use brasa::Shape;
    /// assert_eq!(Shape::new([Some(2), None, Some(3)]).known_len(), 6);
    /// assert_eq!(Shape::new([Some(usize::MAX), Some(2)]).known_len(), usize::MAX);
    /// ```
    pub fn known_len(&self) -> usize {
        self.0.iter().flatten().fold(1, |product: usize, size| product.saturating_mul(*size))
    }

    /// Rejects a shape that exceeds any buffer: more dimensions than values can have, or more than [`MOST_VALUES`]
    /// values, unknown sizes counted as 1.
    ///
    /// # Errors
    /// [`Error::Shape`] with the shape.
    pub(crate) fn check_count(&self) -> Result<()> {
        check_rank(self.rank())?;
        let known: Vec<usize> = self.0.iter().flatten().copied().collect();
        match count(&known) {
            Some(_) => Ok(()),
            None => Err(Error::shape(format!("at most {MOST_VALUES} values"), self)),
        }
    }

    /// The shape of a batch of `batch` samples.
    pub(crate) fn with_batch(&self, batch: usize) -> Self {
        let mut sizes = self.0.clone();
        if let Some(first) = sizes.first_mut() {
            *first = Some(batch);
        }
        Self(sizes)
    }

    /// As [`with_batch`](Self::with_batch), if the first size is unknown.
    pub(crate) fn or_batch(&self, batch: usize) -> Self {
        match self.0.first() {
            Some(None) => self.with_batch(batch),
            _ => self.clone(),
        }
    }

    /// The sizes of one sample, all of them known.
    ///
    /// # Errors
    /// [`Error::Shape`] if one is unknown.
    pub fn known_sample(&self) -> Result<Vec<usize>> {
        self.sample()
            .iter()
            .copied()
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::shape("a fully defined shape (no `None` but the batch)", self))
    }

    /// The last size (channels or features), known.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is only the batch's, or it is unknown.
    pub fn last(&self) -> Result<usize> {
        match self.sample().last() {
            Some(Some(size)) => Ok(*size),
            _ => Err(Error::shape("a known last dimension", self)),
        }
    }

    /// Rejects a shape of another rank than `rank`, including the batch.
    ///
    /// # Errors
    /// [`Error::Shape`] with both ranks.
    pub fn expect_rank(&self, rank: usize) -> Result<()> {
        if self.rank() == rank {
            return Ok(());
        }
        Err(Error::shape(format!("ndim={rank}"), format!("ndim={}, full shape {self}", self.rank())))
    }

    /// Whether a batch of concrete shape `sizes` matches.
    ///
    /// ```
    /// use brasa::Shape;
    /// let shape = Shape::new([None, None, Some(3)]);
    /// assert!(shape.accepts(&[8, 100, 3]));
    /// assert!(!shape.accepts(&[8, 100, 4]));
    /// ```
    pub fn accepts(&self, sizes: &[usize]) -> bool {
        self.rank() == sizes.len()
            && self
                .sample()
                .iter()
                .zip(sizes.iter().skip(1))
                .all(|(wanted, size)| wanted.is_none_or(|wanted| wanted == *size))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (i, size) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            match size {
                Some(size) => write!(f, "{size}")?,
                None => f.write_str("None")?,
            }
        }
        f.write_str(if self.0.len() == 1 { ",)" } else { ")" })
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Anything accepted as the shape of one sample: `28`, `(28, 28, 1)`, `[28, 28, 1]`, or sizes that can be `None`.
pub trait IntoSample {
    /// The sizes, without the batch's.
    fn into_sample(self) -> Vec<Option<usize>>;
}

impl IntoSample for usize {
    fn into_sample(self) -> Vec<Option<usize>> {
        vec![Some(self)]
    }
}

impl<const N: usize> IntoSample for [usize; N] {
    fn into_sample(self) -> Vec<Option<usize>> {
        self.into_iter().map(Some).collect()
    }
}

impl<const N: usize> IntoSample for [Option<usize>; N] {
    fn into_sample(self) -> Vec<Option<usize>> {
        self.into()
    }
}

impl IntoSample for &[usize] {
    fn into_sample(self) -> Vec<Option<usize>> {
        self.iter().copied().map(Some).collect()
    }
}

impl IntoSample for Vec<usize> {
    fn into_sample(self) -> Vec<Option<usize>> {
        self.as_slice().into_sample()
    }
}

impl IntoSample for Vec<Option<usize>> {
    fn into_sample(self) -> Vec<Option<usize>> {
        self
    }
}

impl IntoSample for () {
    fn into_sample(self) -> Vec<Option<usize>> {
        Vec::new()
    }
}

macro_rules! tuples_into_sample {
    ($(($($name:ident),+)),+) => {$(
        impl<$($name: Into<Size>),+> IntoSample for ($($name,)+) {
            fn into_sample(self) -> Vec<Option<usize>> {
                #[allow(non_snake_case)]
                let ($($name,)+) = self;
                vec![$($name.into().0),+]
            }
        }
    )+};
}

/// One size in a tuple: a number or `None`.
pub struct Size(Option<usize>);

impl From<usize> for Size {
    fn from(size: usize) -> Self {
        Self(Some(size))
    }
}

impl From<Option<usize>> for Size {
    fn from(size: Option<usize>) -> Self {
        Self(size)
    }
}

tuples_into_sample!((A), (A, B), (A, B, C), (A, B, C, D), (A, B, C, D, E));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_print_as_in_keras() {
        assert_eq!(Shape::batch_of(()).to_string(), "(None,)");
        assert_eq!(Shape::batch_of((None, 3)).to_string(), "(None, None, 3)");
    }
}
