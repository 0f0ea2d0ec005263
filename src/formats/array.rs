//! Arrays as stored in files: a shape and its elements in row-major order.

use crate::error::{Error, Result};
use crate::shape::Shape;

/// The elements of an [`Array`], in one of the types that Keras saves.
///
/// Weights are `float32`; counters (an optimizer's `iteration`, the `count` of `Normalization`) are
/// integers and stay exact.
#[derive(Debug, Clone, PartialEq)]
pub enum Elements {
    /// `float32`; `float16`, `bfloat16` and `float64` are converted to it on reading.
    F32(Vec<f32>),
    /// `int32`; `int8`, `int16`, `uint8` and `uint16` are converted to it on reading.
    I32(Vec<i32>),
    /// `int64`.
    I64(Vec<i64>),
    /// `uint32`.
    U32(Vec<u32>),
}

impl Elements {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::U32(values) => values.len(),
        }
    }

    /// Whether the array has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Vec<f32>> for Elements {
    fn from(values: Vec<f32>) -> Self {
        Self::F32(values)
    }
}

impl From<Vec<i32>> for Elements {
    fn from(values: Vec<i32>) -> Self {
        Self::I32(values)
    }
}

impl From<Vec<i64>> for Elements {
    fn from(values: Vec<i64>) -> Self {
        Self::I64(values)
    }
}

impl From<Vec<u32>> for Elements {
    fn from(values: Vec<u32>) -> Self {
        Self::U32(values)
    }
}

/// A shape and its elements in row-major order. A scalar has the shape `[]`.
///
/// ```
/// use brasa::formats::Array;
/// let kernel = Array::new([2, 3], vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0])?;
/// assert_eq!(kernel.shape(), [2, 3]);
/// let iteration = Array::new([], vec![7i64])?;
/// assert_eq!(iteration.as_integer(), Some(7));
/// assert!(Array::new([2, 2], vec![1.0f32]).is_err());
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    shape: Vec<usize>,
    elements: Elements,
}

impl Array {
    /// An array of the given shape.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shape does not match the number of elements.
    pub fn new(shape: impl Into<Vec<usize>>, elements: impl Into<Elements>) -> Result<Self> {
        let (shape, elements) = (shape.into(), elements.into());
        if element_count(&shape) != Some(elements.len()) {
            return Err(Error::shape(
                format!("as many elements as {} holds", shape_text(&shape)),
                format!("{} elements", elements.len()),
            ));
        }
        Ok(Self { shape, elements })
    }

    /// Its sizes; `[]` for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its elements, in their own type.
    pub fn elements(&self) -> &Elements {
        &self.elements
    }

    /// Its elements as `f32`: without a copy if they already are, integers rounded to the nearest `f32`.
    pub fn into_f32(self) -> Vec<f32> {
        match self.elements {
            Elements::F32(values) => values,
            Elements::I32(values) => values.into_iter().map(|value| value as f32).collect(),
            Elements::I64(values) => values.into_iter().map(|value| value as f32).collect(),
            Elements::U32(values) => values.into_iter().map(|value| value as f32).collect(),
        }
    }

    /// The only element as an integer; `None` if there is not exactly one, or if it is not an integer.
    pub fn as_integer(&self) -> Option<i64> {
        match &self.elements {
            Elements::F32(values) => match values[..] {
                // Beyond 2^24 not every integer is a float32.
                [value] if value.fract() == 0.0 && value.abs() <= 16_777_216.0 => Some(value as i64),
                _ => None,
            },
            Elements::I32(values) => single(values).map(i64::from),
            Elements::I64(values) => single(values),
            Elements::U32(values) => single(values).map(i64::from),
        }
    }

    /// The number of elements that are infinite or NaN.
    pub fn non_finite(&self) -> usize {
        match &self.elements {
            Elements::F32(values) => values.iter().filter(|value| !value.is_finite()).count(),
            Elements::I32(_) | Elements::I64(_) | Elements::U32(_) => 0,
        }
    }
}

fn single<T: Copy>(values: &[T]) -> Option<T> {
    match values {
        [value] => Some(*value),
        _ => None,
    }
}

/// The number of elements of a shape; `None` on overflow.
pub(crate) fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size))
}

/// The memory of an array of this shape as `float32`, in bytes; `None` on overflow.
pub(crate) fn memory_of(shape: &[usize]) -> Option<u64> {
    u64::try_from(element_count(shape)?.checked_mul(size_of::<f32>())?).ok()
}

/// A shape as Keras prints it: `(3, 4)`, `(3,)`, `()`.
pub(crate) fn shape_text(shape: &[usize]) -> String {
    Shape::known(shape).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_too_large_for_the_machine_is_refused() {
        assert!(Array::new([usize::MAX, 2], vec![1.0f32]).is_err());
        assert!(Array::new([usize::MAX, 2, 0], vec![1.0f32]).is_err());
    }

    #[test]
    fn integers_are_exact_and_fractions_are_refused() {
        let one = |elements: Elements| Array::new([], elements).unwrap().as_integer();
        assert_eq!(one(vec![i64::MAX].into()), Some(i64::MAX));
        assert_eq!(one(vec![u32::MAX].into()), Some(4_294_967_295));
        assert_eq!(one(vec![3.0f32].into()), Some(3));
        assert_eq!(one(vec![3.5f32].into()), None);
        assert_eq!(one(vec![f32::NAN].into()), None);
        assert_eq!(Array::new([2], vec![1i32, 2]).unwrap().as_integer(), None);
    }

    #[test]
    fn non_finite_values_are_counted() {
        let array = Array::new([4], vec![1.0, f32::NAN, f32::INFINITY, -2.0]).unwrap();
        assert_eq!(array.non_finite(), 2);
        assert_eq!(array.into_f32()[0], 1.0);
    }

    #[test]
    fn shapes_read_as_in_python() {
        assert_eq!(shape_text(&[]), "()");
        assert_eq!(shape_text(&[5]), "(5,)");
        assert_eq!(shape_text(&[5, 2]), "(5, 2)");
    }
}
