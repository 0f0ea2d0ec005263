//! Shapes, and the arithmetic of windows and paddings: pure functions, checked by their examples.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::{Argument, also_argument};
use crate::error::{Error, Result};

/// A shape as Keras prints it: the batch first, `None` where a size is not known.
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
    /// A shape from its sizes, the batch's included.
    pub fn new(sizes: impl Into<Vec<Option<usize>>>) -> Self {
        Self(sizes.into())
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

    /// Number of dimensions, the batch counted.
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

    /// Number of values of one sample, if all its sizes are known.
    ///
    /// ```
    /// use brasa::Shape;
    /// assert_eq!(Shape::batch_of([4, 4, 64]).sample_len(), Some(1024));
    /// assert_eq!(Shape::new([None, None, Some(3)]).sample_len(), None);
    /// ```
    pub fn sample_len(&self) -> Option<usize> {
        self.sample().iter().try_fold(1usize, |product, size| product.checked_mul((*size)?))
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
    /// [`Error::Shape`] if there is none but the batch's, or it is unknown.
    pub fn last(&self) -> Result<usize> {
        match self.sample().last() {
            Some(Some(size)) => Ok(*size),
            _ => Err(Error::shape("a known last dimension", self)),
        }
    }

    /// Refuses a shape of another rank than `rank`, the batch counted.
    ///
    /// # Errors
    /// [`Error::Shape`] with both ranks.
    pub fn expect_rank(&self, rank: usize) -> Result<()> {
        if self.rank() == rank {
            return Ok(());
        }
        Err(Error::shape(format!("ndim={rank}"), format!("ndim={}, full shape {self}", self.rank())))
    }

    /// Whether a batch of real arrays of shape `sizes` fits.
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

/// What can be given as the shape of one sample: `28`, `(28, 28, 1)`, `[28, 28, 1]`, or sizes that may be `None`.
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

/// How the border of an image is treated, as in Keras.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Padding {
    /// No padding: windows stay inside.
    #[default]
    Valid,
    /// Zeros around the image such that with stride 1 the output is as large as the input.
    Same,
    /// Zeros before the input only, so that no output sees what comes after it (`Conv1D`).
    Causal,
}

impl<'de> Deserialize<'de> for Padding {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let told = serde_json::Value::deserialize(deserializer)?;
        let names = [("valid", Self::Valid), ("same", Self::Same), ("causal", Self::Causal)];
        crate::config::one_of("padding", &told, &names)
    }
}

impl Padding {
    /// Refuses `causal`, which only makes sense along time.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub(crate) fn refuse_causal(self) -> Result<()> {
        match self {
            Self::Causal => Err(Error::argument("padding", "`valid` or `same`", "`causal`")),
            _ => Ok(()),
        }
    }
}

/// One spatial dimension of a convolution or pooling: a window of `size` cells, `dilation` apart, moved by `stride`.
///
/// Formulas: Keras's `compute_conv_output_shape`; `Same` follows TensorFlow's rule, the odd cell goes to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Cells of the window.
    pub size: usize,
    /// Step from window to window.
    pub stride: usize,
    /// Distance between the cells of a window.
    pub dilation: usize,
}

impl Window {
    /// The stretch of input that a window spans: `(size − 1) · dilation + 1`.
    ///
    /// ```
    /// # use brasa::shape::Window;
    /// assert_eq!(Window { size: 3, stride: 1, dilation: 2 }.span(), 5);
    /// ```
    pub fn span(&self) -> usize {
        self.size.saturating_sub(1).saturating_mul(self.dilation).saturating_add(1)
    }

    /// Number of windows along an input of `length`; `None` if not even one fits.
    ///
    /// ```
    /// # use brasa::shape::{Padding, Window};
    /// let window = Window { size: 5, stride: 1, dilation: 1 };
    /// assert_eq!(window.count(28, Padding::Valid), Some(24));
    /// assert_eq!(window.count(28, Padding::Same), Some(28));
    /// assert_eq!(window.count(4, Padding::Valid), None);
    /// ```
    pub fn count(&self, length: usize, padding: Padding) -> Option<usize> {
        let count = match padding {
            Padding::Valid => length.checked_sub(self.span())?.checked_div(self.stride)? + 1,
            Padding::Same | Padding::Causal => {
                length.checked_add(self.stride.checked_sub(1)?)?.checked_div(self.stride)?
            }
        };
        (count > 0).then_some(count)
    }

    /// Cells to add before and after an input of `length`.
    ///
    /// ```
    /// # use brasa::shape::{Padding, Window};
    /// let window = Window { size: 2, stride: 1, dilation: 1 };
    /// assert_eq!(window.pads(6, Padding::Same), (0, 1)); // the odd cell goes to the end
    /// assert_eq!(window.pads(6, Padding::Valid), (0, 0));
    /// ```
    pub fn pads(&self, length: usize, padding: Padding) -> (usize, usize) {
        match padding {
            Padding::Valid => (0, 0),
            Padding::Causal => (self.span() - 1, 0),
            Padding::Same => {
                let count = self.count(length, padding).unwrap_or(0);
                let covered = count.saturating_sub(1).saturating_mul(self.stride).saturating_add(self.span());
                let total = covered.saturating_sub(length);
                (total / 2, total - total / 2)
            }
        }
    }
}

/// Where the channels of an image stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DataFormat {
    /// `(batch, rows, columns, channels)`, Keras's default.
    #[default]
    ChannelsLast,
    /// `(batch, channels, rows, columns)`.
    ChannelsFirst,
}

impl<'de> Deserialize<'de> for DataFormat {
    /// Reads the name; Keras also writes `null` for the default.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Option::<String>::deserialize(deserializer)?.as_deref() {
            None | Some("channels_last") => Ok(Self::ChannelsLast),
            Some("channels_first") => Ok(Self::ChannelsFirst),
            Some(other) => {
                let error = Error::unknown("data format", other, ["channels_last", "channels_first"]);
                Err(serde::de::Error::custom(error))
            }
        }
    }
}

impl DataFormat {
    /// The same shape with the channels last.
    pub fn to_channels_last(self, shape: &Shape) -> Shape {
        match (self, shape.sizes()) {
            (Self::ChannelsFirst, [batch, channels, space @ ..]) => {
                Shape::new([&[*batch], space, &[*channels]].concat())
            }
            _ => shape.clone(),
        }
    }

    /// A shape with the channels last, in this format.
    pub fn from_channels_last(self, shape: &Shape) -> Shape {
        match (self, shape.sizes()) {
            (Self::ChannelsFirst, [batch, space @ .., channels]) => {
                Shape::new([&[*batch], &[*channels], space].concat())
            }
            _ => shape.clone(),
        }
    }
}

/// A size for each of `N` dimensions of space: `5` for all, or `(5, 3)`.
///
/// ```
/// use brasa::shape::Spatial;
/// assert_eq!(Spatial::<2>::from(5), Spatial::from((5, 5)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spatial<const N: usize>(pub [usize; N]);

impl<const N: usize> Spatial<N> {
    /// Refuses sizes of zero.
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
        enum Form {
            All(usize),
            Each(Vec<usize>),
        }
        match Form::deserialize(deserializer)? {
            Form::All(size) => Ok(Self([size; N])),
            Form::Each(sizes) => <[usize; N]>::try_from(sizes)
                .map(Self)
                .map_err(|sizes| serde::de::Error::custom(format!("expected {N} integers, received {}", sizes.len()))),
        }
    }
}

/// Cells before and after each of `N` dimensions of space: `1` for all, `(1, 2)` for before and after one dimension (or
/// alike on both sides of each of several), or a pair for each dimension.
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
        enum Form {
            All(usize),
            Each(Vec<usize>),
            Pairs(Vec<(usize, usize)>),
        }
        let pairs = match Form::deserialize(deserializer)? {
            Form::All(cells) => return Ok(cells.into()),
            Form::Each(cells) if N == 1 && cells.len() == 2 => vec![(cells[0], cells[1])],
            Form::Each(cells) => cells.into_iter().map(|cells| (cells, cells)).collect(),
            Form::Pairs(pairs) => pairs,
        };
        <[(usize, usize); N]>::try_from(pairs)
            .map(Self)
            .map_err(|pairs| serde::de::Error::custom(format!("expected {N} dimensions, received {}", pairs.len())))
    }
}

/// The steps of a pooling window: as large as the window unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStrides<const N: usize>(Option<Spatial<N>>);

impl<const N: usize> PoolStrides<N> {
    /// The steps for a window of `pool_size`.
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

/// As many cells as a dimension may have, so that sums of sizes and paddings do not overflow.
const MOST_CELLS: usize = 1 << 30;

/// The number of windows along an input dimension, with an error that says why there is none.
///
/// # Errors
/// [`Error::Shape`] naming the dimension, the window and the input's length.
pub(crate) fn count_windows(
    what: &str,
    length: Option<usize>,
    window: Window,
    padding: Padding,
) -> Result<Option<usize>> {
    let Some(length) = length else { return Ok(None) };
    if window.span() > MOST_CELLS || length > MOST_CELLS {
        return Err(Error::shape(
            format!("windows and inputs of at most {MOST_CELLS} {what}"),
            window.span().max(length),
        ));
    }
    window.count(length, padding).map(Some).ok_or_else(|| {
        Error::shape(format!("an input of at least {} {what} for a window of {}", window.span(), window.span()), length)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_follows_dilation() {
        let window = Window { size: 3, stride: 1, dilation: 2 };
        assert_eq!(window.count(6, Padding::Same), Some(6));
        assert_eq!(window.pads(6, Padding::Same), (2, 2));
    }

    #[test]
    fn same_padding_with_stride() {
        let window = Window { size: 3, stride: 2, dilation: 1 };
        assert_eq!(window.count(7, Padding::Same), Some(4));
        assert_eq!(window.pads(7, Padding::Same), (1, 1));
        assert_eq!(window.pads(8, Padding::Same), (0, 1));
    }

    #[test]
    fn a_zero_stride_counts_nothing() {
        let window = Window { size: 2, stride: 0, dilation: 1 };
        assert_eq!(window.count(8, Padding::Same), None);
        assert_eq!(window.count(8, Padding::Valid), None);
    }

    #[test]
    fn shapes_print_as_in_keras() {
        assert_eq!(Shape::batch_of(()).to_string(), "(None,)");
        assert_eq!(Shape::batch_of((None, 3)).to_string(), "(None, None, 3)");
    }
}
