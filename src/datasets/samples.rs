//! A block of numbers or texts whose first axis counts the samples.

mod convert;

use std::{
    fmt,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use ndarray::{ArrayD, IxDyn};

pub use self::convert::IntoSamples;
use super::{Cells, Column, Fingerprint};
use crate::error::{Error, Result};

/// Numbers or [texts](Self::texts) in memory, the first axis counting the samples, stored in their original type.
///
/// They are converted to `f32` only when read, a batch at a time: 70,000 MNIST images take 55 MB rather than 220 MB.
/// Cloning and slicing share the memory. Integers above 2²⁴ lose precision in `f32`, but not for layers that work on
/// the host ([`gather_column`](Self::gather_column)).
///
/// ```
/// use brasa::datasets::Samples;
/// let x = Samples::from(ndarray::array![[0_u8, 51], [102, 255], [0, 255]]).divided_by(255.0)?;
/// assert_eq!((x.len(), x.sample_shape()), (3, &[2][..]));
///
/// let mut batch = [0.0; 4];
/// x.gather(&[2, 0], &mut batch)?;
/// assert_eq!(batch, [0.0, 1.0, 0.0, 0.2]);
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone)]
pub struct Samples {
    /// The number of samples, then the shape of one. Never empty.
    shape: Vec<usize>,
    stored: Stored,
    /// The offset of the first sample, in elements.
    start: usize,
    /// The divisor applied on reading. A division, not a multiplication by the inverse: `x / 255` is what Keras users
    /// write, and the two differ in the last bit.
    divisor: f32,
}

/// The stored numbers. Not reachable from outside.
#[derive(Clone)]
pub enum Stored {
    U8(Arc<Vec<u8>>),
    I32(Arc<Vec<i32>>),
    I64(Arc<Vec<i64>>),
    F32(Arc<Vec<f32>>),
    F64(Arc<Vec<f64>>),
    /// Texts instead of numbers.
    Text(Arc<Vec<String>>),
}

/// Runs `$body` with `$values` bound to the stored vector of numbers of any type, or `$text` with that of texts.
macro_rules! with_stored {
    ($stored:expr, $values:ident => $body:expr, text $texts:ident => $text:expr) => {
        match $stored {
            Stored::U8($values) => $body,
            Stored::I32($values) => $body,
            Stored::I64($values) => $body,
            Stored::F32($values) => $body,
            Stored::F64($values) => $body,
            Stored::Text($texts) => $text,
        }
    };
}

mod sealed {
    pub trait Sealed: Sized {
        fn store(values: Vec<Self>) -> super::Stored;
        fn to_f32(self) -> f32;
        fn bits(self) -> u64;
    }
}
use sealed::Sealed;

/// The number types that [`Samples`] stores without conversion: `u8`, `i32`, `i64`, `f32`, `f64`.
pub trait Number: Sealed + Copy + Send + Sync + 'static {}

macro_rules! number {
    ($($type:ident => $variant:ident, $value:ident => $bits:expr;)*) => {$(
        impl Sealed for $type {
            fn store(values: Vec<Self>) -> Stored {
                Stored::$variant(Arc::new(values))
            }

            #[inline]
            fn to_f32(self) -> f32 {
                self as f32
            }

            #[inline]
            fn bits(self) -> u64 {
                let $value = self;
                $bits
            }
        }
        impl Number for $type {}
    )*};
}
number! {
    u8 => U8, value => u64::from(value);
    i32 => I32, value => u64::from(value as u32);
    i64 => I64, value => value as u64;
    f32 => F32, value => u64::from(value.to_bits());
    f64 => F64, value => value.to_bits();
}

impl Samples {
    /// Samples from a shape, the number of samples first, and values in row-major order.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shape has no axis, or does not match the number of values.
    pub fn new<T: Number>(shape: impl Into<Vec<usize>>, values: Vec<T>) -> Result<Self> {
        Self::from_stored(shape.into(), T::store(values))
    }

    /// Texts, from a shape as in [`new`](Self::new); a vector of texts is one text per sample.
    ///
    /// ```
    /// use brasa::datasets::Samples;
    /// let rows = Samples::texts([1, 2], vec!["red".into(), "small".into()])?;
    /// assert_eq!((rows.sample_shape(), rows.dtype()), (&[2][..], "string"));
    /// assert_eq!(Samples::from(["one", "two"]).len(), 2);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn texts(shape: impl Into<Vec<usize>>, values: Vec<String>) -> Result<Self> {
        Self::from_stored(shape.into(), Stored::Text(Arc::new(values)))
    }

    /// Whether they are texts.
    pub fn is_text(&self) -> bool {
        matches!(self.stored, Stored::Text(_))
    }

    /// Rejects texts where numbers are expected.
    ///
    /// # Errors
    /// [`Error::Data`] for texts.
    pub(crate) fn expect_numbers(&self, what: &str) -> Result<()> {
        match &self.stored {
            Stored::Text(texts) => {
                let first = texts.get(self.start).map(|text| format!(", such as {:?}", crate::error::begun(text, 40)));
                Err(Error::data(what, "numbers", format!("texts{}", first.unwrap_or_default())))
            }
            _ => Ok(()),
        }
    }

    fn from_stored(shape: Vec<usize>, stored: Stored) -> Result<Self> {
        let count = with_stored!(&stored, values => values.len(), text texts => texts.len());
        if shape.is_empty() || count_of(&shape) != Some(count) {
            return Err(Error::shape(format!("a shape of {count} values, samples first"), format!("{shape:?}")));
        }
        Ok(Self { shape, stored, start: 0, divisor: 1.0 })
    }

    /// Adds the shape and every value to a fingerprint.
    pub(super) fn add_to(&self, sum: &mut Fingerprint) {
        sum.add_all(self.shape.iter().map(|size| *size as u64));
        sum.add(u64::from(self.divisor.to_bits()));
        let count: usize = self.shape.iter().product();
        with_stored!(&self.stored, values => {
            sum.add_all(values[self.start..self.start + count].iter().map(|value| value.bits()));
        }, text texts => {
            for text in &texts[self.start..self.start + count] {
                sum.add(text.len() as u64);
                sum.add_all(text.bytes().map(u64::from));
            }
        });
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.shape[0]
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape: the number of samples, then the shape of one.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The shape of one sample; `[]` for a single number, such as a label.
    pub fn sample_shape(&self) -> &[usize] {
        &self.shape[1..]
    }

    /// The number of values in one sample.
    pub fn sample_len(&self) -> usize {
        self.sample_shape().iter().product()
    }

    /// NumPy's name of the stored type: `uint8`, `int32`, `int64`, `float32` or `float64`; `string` for texts.
    pub fn dtype(&self) -> &'static str {
        match self.stored {
            Stored::U8(_) => "uint8",
            Stored::I32(_) => "int32",
            Stored::I64(_) => "int64",
            Stored::F32(_) => "float32",
            Stored::F64(_) => "float64",
            Stored::Text(_) => "string",
        }
    }

    /// The same samples, each number divided by `divisor` on reading; the stored numbers stay unchanged.
    ///
    /// # Errors
    /// [`Error::Argument`] if `divisor` is zero, subnormal, infinite or NaN.
    pub fn divided_by(mut self, divisor: f32) -> Result<Self> {
        if !divisor.is_normal() {
            return Err(Error::argument("divisor", "a finite number other than 0", divisor));
        }
        self.expect_numbers("samples to be divided")?;
        self.divisor *= divisor;
        Ok(self)
    }

    /// The same values as samples of another shape, such as `[28, 28, 1]` for `[28, 28]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the number of values differs.
    pub fn with_sample_shape(mut self, sample_shape: &[usize]) -> Result<Self> {
        let shape = [&self.shape[..1], sample_shape].concat();
        if count_of(&shape).is_none() || count_of(sample_shape) != Some(self.sample_len()) {
            let expected = format!("{} values a sample, now of shape {:?}", self.sample_len(), self.sample_shape());
            return Err(Error::shape(expected, format!("{sample_shape:?}")));
        }
        self.shape = shape;
        Ok(self)
    }

    /// A range of the samples, sharing their memory.
    ///
    /// # Errors
    /// [`Error::Argument`] if the range reaches beyond the last sample.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Self> {
        let (start, end) = bounds(range, self.len())?;
        let mut part = self.clone();
        part.start += start * self.sample_len();
        part.shape[0] = end - start;
        Ok(part)
    }

    /// The first `n` samples, or all if there are fewer, sharing their memory.
    pub fn take(&self, n: usize) -> Self {
        let mut part = self.clone();
        part.shape[0] = n.min(self.len());
        part
    }

    /// Writes the samples at `indices` one after another into `out`, as `f32`.
    ///
    /// # Errors
    /// [`Error::Argument`] if an index is too large, [`Error::Shape`] if `out` does not hold exactly these samples,
    /// [`Error::Data`] for texts.
    pub fn gather(&self, indices: &[usize], out: &mut [f32]) -> Result<()> {
        check_request(indices, self.len(), self.sample_shape(), out.len())?;
        self.expect_numbers("samples")?;
        let (start, count, width) = (self.start, self.len() * self.sample_len(), self.sample_len());
        let divisor = self.divisor;
        with_stored!(&self.stored, values => gather(&values[start..start + count], width, divisor, indices, out), text _texts => {});
        Ok(())
    }

    /// The samples at `indices` in their own type, texts and integers included.
    ///
    /// ```
    /// use brasa::datasets::{Cells, Samples};
    /// let texts = Samples::from(["one", "two"]);
    /// assert_eq!(texts.gather_column(&[1])?.cells(), &Cells::Text(vec!["two".into()]));
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] if an index is too large.
    pub fn gather_column(&self, indices: &[usize]) -> Result<Column> {
        let width = self.sample_len();
        let count = indices.len().saturating_mul(width);
        check_request(indices, self.len(), self.sample_shape(), count)?;
        let whole = self.divisor == 1.0;
        let rows = indices.iter().map(|index| self.start + index * width..self.start + (index + 1) * width);
        let cells = match &self.stored {
            Stored::Text(values) => Cells::Text(rows.flat_map(|row| &values[row]).cloned().collect()),
            Stored::I64(values) if whole => Cells::Int(rows.flat_map(|row| &values[row]).copied().collect()),
            Stored::I32(values) if whole => {
                Cells::Int(rows.flat_map(|row| &values[row]).copied().map(i64::from).collect())
            }
            Stored::U8(values) if whole => {
                Cells::Int(rows.flat_map(|row| &values[row]).copied().map(i64::from).collect())
            }
            Stored::F64(values)
                if whole && rows.clone().flat_map(|row| &values[row]).all(|number| is_whole(*number)) =>
            {
                Cells::Int(rows.flat_map(|row| &values[row]).map(|number| *number as i64).collect())
            }
            _ => {
                let mut out = vec![0.0; count];
                self.gather(indices, &mut out)?;
                Cells::Float(out)
            }
        };
        Column::new([&[indices.len()], self.sample_shape()].concat(), cells)
    }

    /// Samples from texts or numbers.
    pub(crate) fn of_column(column: Column) -> Result<Self> {
        let (shape, cells) = column.into_parts();
        match cells {
            Cells::Text(texts) => Self::texts(shape, texts),
            Cells::Int(numbers) => Self::new(shape, numbers),
            Cells::Float(numbers) => Self::new(shape, numbers),
        }
    }

    /// One of the samples, in memory of its own.
    ///
    /// # Errors
    /// [`Error::Argument`] if the index is too large.
    #[cfg(feature = "shards")]
    pub(super) fn copied(&self, index: usize) -> Result<Self> {
        let part = self.slice(index..index.saturating_add(1))?;
        let all = part.start..part.start + part.sample_len();
        macro_rules! copied {
            ($($variant:ident),*) => {
                match &part.stored {
                    $(Stored::$variant(values) => Stored::$variant(Arc::new(values[all].to_vec())),)*
                }
            };
        }
        let stored = copied!(U8, I32, I64, F32, F64, Text);
        Ok(Self { shape: part.shape, stored, start: 0, divisor: self.divisor })
    }

    /// Blocks of samples of one shape, one after another, in memory of their own. Numbers of different types become
    /// `f32`.
    ///
    /// # Errors
    /// [`Error::Shape`] for samples of different shapes, or too many; [`Error::Data`] for numbers and texts together.
    #[cfg(feature = "shards")]
    pub(super) fn joined(blocks: &[&Self]) -> Result<Self> {
        let Some(first) = blocks.first() else { return Err(Error::data("samples", "at least one block", "none")) };
        let mut count = 0usize;
        for block in blocks {
            if block.sample_shape() != first.sample_shape() {
                let received = format!("{:?}", block.sample_shape());
                return Err(Error::shape(format!("samples of shape {:?}", first.sample_shape()), received));
            }
            if block.is_text() != first.is_text() {
                return Err(Error::data("samples", "either numbers or texts", "both"));
            }
            count = count.saturating_add(block.len());
        }
        let shape = [&[count], first.sample_shape()].concat();
        if count_of(&shape).is_none() {
            return Err(Error::shape("samples that can be held", format!("{shape:?}")));
        }
        macro_rules! of_one_type {
            ($($variant:ident),*) => {$(
                let slices = blocks.iter().map(|block| match &block.stored {
                    Stored::$variant(values) if block.divisor == first.divisor => {
                        Some(&values[block.start..block.start + block.len() * block.sample_len()])
                    }
                    _ => None,
                });
                if let Some(slices) = slices.collect::<Option<Vec<_>>>() {
                    let stored = Stored::$variant(Arc::new(slices.concat()));
                    return Ok(Self { shape, stored, start: 0, divisor: first.divisor });
                }
            )*};
        }
        of_one_type!(U8, I32, I64, F32, F64, Text);
        Self::new(shape, blocks.iter().flat_map(|block| block.to_vec_f32()).collect::<Vec<f32>>())
    }

    /// All of it as one sample.
    #[cfg(feature = "shards")]
    pub(super) fn into_one(mut self) -> Self {
        self.shape.insert(0, 1);
        self
    }

    /// The memory that the samples take.
    #[cfg(feature = "shards")]
    pub(super) fn bytes(&self) -> usize {
        let count = self.len().saturating_mul(self.sample_len());
        let values = self.start..self.start + count;
        with_stored!(&self.stored, values => size_of_val(&values[..1.min(values.len())]).saturating_mul(count), text texts => {
            texts[values].iter().map(|text| text.len() + size_of::<String>()).sum()
        })
    }

    /// All samples in their own type.
    pub(crate) fn column(&self) -> Result<Column> {
        self.gather_column(&(0..self.len()).collect::<Vec<_>>())
    }

    /// All values in row-major order; texts as NaN.
    pub fn to_vec_f32(&self) -> Vec<f32> {
        let count = self.len() * self.sample_len();
        let mut out = vec![0.0; count];
        let values_of = self.start..self.start + count;
        with_stored!(&self.stored, values => convert(&values[values_of], self.divisor, &mut out), text _texts => out.fill(f32::NAN));
        out
    }

    /// All values as an array of the same shape.
    pub fn into_ndarray(self) -> ArrayD<f32> {
        ArrayD::from_shape_vec(IxDyn(&self.shape), self.to_vec_f32()).expect("the shape was checked at the start")
    }
}

/// Whether an `f64` is an integer in the range where it represents all integers exactly.
pub(super) fn is_whole(number: f64) -> bool {
    /// Above this, integers are no longer distinct.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    number.fract() == 0.0 && number.abs() <= EXACT
}

/// The inner loop of [`Samples::gather`]; `indices` and the length of `out` have been checked.
fn gather<T: Number>(values: &[T], width: usize, divisor: f32, indices: &[usize], out: &mut [f32]) {
    match width {
        0 => {}
        1 => out.iter_mut().zip(indices).for_each(|(out, &index)| *out = values[index].to_f32() / divisor),
        _ => {
            for (row, &index) in out.chunks_exact_mut(width).zip(indices) {
                convert(&values[index * width..][..width], divisor, row);
            }
        }
    }
}

/// Converts between two slices of equal length: a loop without bounds checks, which the compiler vectorises.
fn convert<T: Number>(from: &[T], divisor: f32, to: &mut [f32]) {
    if divisor == 1.0 {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = from.to_f32());
    } else {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = from.to_f32() / divisor);
    }
}

/// The most samples of an empty shape.
const MOST_EMPTY: usize = 1 << 24;

/// The number of values of a shape; `None` if that exceeds the limit of one array.
///
/// Zeros count as one while checking, so that no order of the multiplications can overflow later.
pub(crate) fn count_of(shape: &[usize]) -> Option<usize> {
    let largest = shape.iter().filter(|&&size| size != 0).try_fold(1_usize, |count, &size| count.checked_mul(size))?;
    let is_empty = shape.contains(&0);
    // Samples without values take no memory, but loops visit each.
    let too_many = is_empty && shape.first().is_some_and(|samples| *samples > MOST_EMPTY);
    (largest <= isize::MAX as usize / 8 && !too_many).then_some(if is_empty { 0 } else { largest })
}

/// Checks a read request: every index below `len`, and a buffer of exactly the needed size.
pub(crate) fn check_request(indices: &[usize], len: usize, sample_shape: &[usize], room: usize) -> Result<()> {
    if let Some(index) = indices.iter().max().filter(|&&index| index >= len) {
        return Err(Error::argument("indices", format!("indices below the number of samples, {len}"), index));
    }
    let needed = sample_shape.iter().try_fold(indices.len(), |count, &size| count.checked_mul(size));
    if needed != Some(room) {
        let needed = needed.map_or("too many".into(), |needed| needed.to_string());
        let expected = format!("room for {needed} values: {} samples of shape {sample_shape:?}", indices.len());
        return Err(Error::shape(expected, format!("room for {room}")));
    }
    Ok(())
}

/// Start and end of a range among `len` samples.
pub(crate) fn bounds(range: impl RangeBounds<usize>, len: usize) -> Result<(usize, usize)> {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&end) => end.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => len,
    };
    if start > end || end > len {
        return Err(Error::argument("range", format!("a range within 0..{len}"), format!("{start}..{end}")));
    }
    Ok((start, end))
}

impl fmt::Debug for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Samples({:?}, {})", self.shape, self.dtype())
    }
}

/// The index of the first validation sample: `floor(samples · (1 − validation_split))`, Keras's rule.
///
/// ```
/// use brasa::datasets::split_index;
/// assert_eq!(split_index(60_000, 0.1)?, 54_000);
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] if the fraction is not between 0 and 1, [`Error::Data`] if either part would be empty.
pub fn split_index(samples: usize, validation_split: f64) -> Result<usize> {
    if !(validation_split > 0.0 && validation_split < 1.0) {
        return Err(Error::argument("validation_split", "a number between 0 and 1, both excluded", validation_split));
    }
    let index = (samples as f64 * (1.0 - validation_split)).floor() as usize;
    if index == 0 || index >= samples {
        let expected = format!("enough samples to split off a fraction of {validation_split}");
        return Err(Error::data("samples to train and validate with", expected, samples));
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, ArrayD};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_stored_type_is_read() {
        assert_eq!(Samples::from(vec![255_u8]).to_vec_f32(), [255.0]);
        assert_eq!(Samples::from(vec![-3_i32]).to_vec_f32(), [-3.0]);
        assert_eq!(Samples::from(vec![-3_i64]).to_vec_f32(), [-3.0]);
        assert_eq!(Samples::from(vec![0.1_f32]).to_vec_f32(), [0.1]);
        assert_eq!(Samples::from(vec![0.1_f64]).to_vec_f32(), [0.1_f32]);
    }

    #[test]
    fn the_number_of_empty_samples_is_limited() {
        assert_eq!(Samples::new([3, 0], Vec::<f32>::new()).unwrap().len(), 3);
        assert!(Samples::new([1 << 40, 0], Vec::<f32>::new()).is_err());
    }

    #[test]
    fn bytes_divided_by_255_are_the_exact_quotients() {
        let bytes: Vec<u8> = (0..=255).collect();
        let out = Samples::from(bytes).divided_by(255.0).unwrap().to_vec_f32();
        assert!(out.iter().enumerate().all(|(byte, value)| *value == byte as f32 / 255.0));
    }

    #[test]
    fn slices_share_and_nest() {
        let all = Samples::new([5, 2], (0..10).collect::<Vec<i32>>()).unwrap();
        let part = all.slice(1..).unwrap().slice(1..=2).unwrap();
        assert_eq!((part.shape(), part.to_vec_f32()), (&[2, 2][..], vec![4.0, 5.0, 6.0, 7.0]));
        let mut out = [0.0; 2];
        part.gather(&[1], &mut out).unwrap();
        assert_eq!(out, [6.0, 7.0]);
        let (Stored::I32(a), Stored::I32(b)) = (&all.stored, &part.stored) else { panic!("stored as i32") };
        assert!(Arc::ptr_eq(a, b));
        assert!(part.gather(&[2], &mut out).is_err(), "an index beyond the slice, though within the memory");
        #[expect(clippy::reversed_empty_ranges)]
        let reversed = all.slice(3..2);
        assert!(reversed.is_err() && all.slice(..6).is_err() && all.slice(..=usize::MAX).is_err());
    }

    #[test]
    fn wrong_requests_are_errors() {
        let samples = Samples::new([2, 3], vec![0_u8; 6]).unwrap();
        let error = samples.gather(&[0, 2], &mut [0.0; 6]).unwrap_err().to_string();
        assert_eq!(
            error,
            "invalid value for argument `indices`: expected indices below the number of samples, 2, received 2"
        );
        assert!(samples.gather(&[0], &mut [0.0; 2]).is_err());
        assert!(samples.clone().with_sample_shape(&[4]).is_err());
        assert_eq!(samples.clone().with_sample_shape(&[3, 1]).unwrap().shape(), [2, 3, 1]);
        assert!(samples.clone().divided_by(0.0).is_err() && samples.divided_by(f32::NAN).is_err());
        assert!(Samples::new([2, 3], vec![0_u8; 5]).is_err());
        assert!(Samples::new([], vec![0_u8; 1]).is_err());
        assert!(Samples::new([0, usize::MAX, 2], Vec::<u8>::new()).is_err());
        assert!(Samples::new([0, 3], Vec::<u8>::new()).unwrap().gather(&[], &mut []).is_ok());
    }

    #[test]
    fn out_as_an_array() {
        let array = Array3::from_shape_fn((2, 3, 4), |(a, b, c)| (a * 100 + b * 10 + c) as f32);
        let out: ArrayD<f32> = Samples::from(&array).into_ndarray();
        assert_eq!(out, array.into_dyn());
    }

    proptest! {
        #[test]
        fn gather_is_indexing(
            (n, width, indices) in (1_usize..20, 1_usize..9)
                .prop_flat_map(|(n, width)| (Just(n), Just(width), prop::collection::vec(0..n, 0..30))),
            divisor in prop_oneof![Just(1.0_f32), Just(255.0)],
            seed in any::<u32>(),
        ) {
            let value = |i: usize| (seed.wrapping_mul(i as u32 * 2 + 1) >> 24) as u8;
            let bytes: Vec<u8> = (0..n * width).map(value).collect();
            let as_f64: Vec<f64> = bytes.iter().map(|&b| f64::from(b)).collect();
            let wanted: Vec<f32> = indices
                .iter()
                .flat_map(|i| bytes[i * width..(i + 1) * width].iter().map(|&b| f32::from(b) / divisor))
                .collect();
            let mut out = vec![f32::NAN; indices.len() * width];
            for samples in [Samples::new([n, width], bytes).unwrap(), Samples::new([n, width], as_f64).unwrap()] {
                samples.divided_by(divisor).unwrap().gather(&indices, &mut out).unwrap();
                prop_assert_eq!(&out, &wanted);
            }
        }
    }
}
