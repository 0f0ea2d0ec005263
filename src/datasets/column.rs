//! Values on the host (texts, integers or floats), before the first layer that computes on a device.

use crate::error::{Error, Result};
use crate::memory::check_room;

/// The values of a [`Column`], in row-major order.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cells {
    /// Texts.
    Text(Vec<String>),
    /// Integers, exactly.
    Int(Vec<i64>),
    /// Floats.
    Float(Vec<f32>),
}

impl Cells {
    /// The number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(cells) => cells.len(),
            Self::Int(cells) => cells.len(),
            Self::Float(cells) => cells.len(),
        }
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The kind of value, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "texts",
            Self::Int(_) => "whole numbers",
            Self::Float(_) => "numbers",
        }
    }
}

/// A block of values on the host: input and output of layers such as
/// [`TextVectorization`](crate::layers::TextVectorization). Unlike a tensor it holds texts, and integers without
/// rounding.
///
/// ```
/// use brasa::datasets::{Cells, Column};
/// let words = Column::new([2, 1], Cells::Text(vec!["a".into(), "b".into()]))?;
/// assert_eq!((words.shape(), words.cells().kind()), (&[2, 1][..], "texts"));
/// assert_eq!(Column::from(vec![1i64, 2]).shape(), [2]);
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    shape: Vec<usize>,
    cells: Cells,
}

impl Column {
    /// Values with a shape, samples first.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shape does not match the number of values.
    pub fn new(shape: impl Into<Vec<usize>>, cells: Cells) -> Result<Self> {
        let shape = shape.into();
        let count = shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
        if count != Some(cells.len()) {
            return Err(Error::shape(format!("a shape of {} values", cells.len()), format!("{shape:?}")));
        }
        Ok(Self { shape, cells })
    }

    /// The shape, samples first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values.
    pub fn cells(&self) -> &Cells {
        &self.cells
    }

    /// Shape and values.
    pub fn into_parts(self) -> (Vec<usize>, Cells) {
        (self.shape, self.cells)
    }

    /// The texts.
    ///
    /// # Errors
    /// [`Error::Data`] for numbers.
    pub fn texts(&self) -> Result<&[String]> {
        match &self.cells {
            Cells::Text(texts) => Ok(texts),
            cells => Err(Error::data("inputs", "texts", cells.kind())),
        }
    }

    /// The values as integers; floats are truncated, as in Keras, and those beyond 64 bits become `i64::MIN`.
    ///
    /// # Errors
    /// [`Error::Data`] for texts.
    pub fn to_ints(&self) -> Result<Vec<i64>> {
        match &self.cells {
            Cells::Text(texts) => Err(Error::data("inputs", "whole numbers", text_shown(texts))),
            Cells::Int(numbers) => Ok(numbers.clone()),
            Cells::Float(numbers) => Ok(numbers.iter().map(|number| truncated(*number)).collect()),
        }
    }

    /// The values as floats.
    ///
    /// # Errors
    /// [`Error::Data`] for texts, and for integers that `f32` does not represent exactly.
    pub fn into_floats(self) -> Result<Vec<f32>> {
        match self.cells {
            Cells::Text(texts) => Err(Error::data("inputs", "numbers", text_shown(&texts))),
            Cells::Float(numbers) => Ok(numbers),
            Cells::Int(numbers) => {
                check_room("numbers of a host layer", numbers.len())?;
                let exact = |number: &i64| {
                    let float = *number as f32;
                    // 2⁶³ would convert back to 2⁶³ − 1.
                    let same = float as i64 == *number && *number != i64::MAX;
                    same.then_some(float).ok_or_else(|| {
                        Error::data("integers converted to floats", "integers that float32 represents exactly", number)
                    })
                };
                numbers.iter().map(exact).collect()
            }
        }
    }
}

/// Texts for a message, where numbers are expected.
fn text_shown(texts: &[String]) -> String {
    let first = texts.first().map(|text| format!(", such as {:?}", crate::error::begun(text, 40)));
    format!("texts{}", first.unwrap_or_default())
}

/// A truncated float. Values out of range become `i64::MIN`, as on the processors on which Keras runs.
fn truncated(number: f32) -> i64 {
    const BEYOND: f32 = 9_223_372_036_854_775_808.0;
    if (-BEYOND..BEYOND).contains(&number) { number as i64 } else { i64::MIN }
}

impl From<Vec<String>> for Column {
    fn from(texts: Vec<String>) -> Self {
        Self { shape: vec![texts.len()], cells: Cells::Text(texts) }
    }
}

impl From<Vec<&str>> for Column {
    fn from(texts: Vec<&str>) -> Self {
        texts.into_iter().map(str::to_owned).collect::<Vec<_>>().into()
    }
}

impl<const N: usize> From<[&str; N]> for Column {
    fn from(texts: [&str; N]) -> Self {
        texts.to_vec().into()
    }
}

impl From<Vec<i64>> for Column {
    fn from(numbers: Vec<i64>) -> Self {
        Self { shape: vec![numbers.len()], cells: Cells::Int(numbers) }
    }
}

impl From<Vec<f32>> for Column {
    fn from(numbers: Vec<f32>) -> Self {
        Self { shape: vec![numbers.len()], cells: Cells::Float(numbers) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_truncated_as_in_keras() {
        let numbers = Column::from(vec![1.9f32, -1.9, f32::NAN, 1e30]);
        assert_eq!(numbers.to_ints().unwrap(), [1, -1, i64::MIN, i64::MIN]);
    }

    #[test]
    fn whole_numbers_are_never_rounded() {
        assert_eq!(Column::from(vec![1i64 << 24, -3]).into_floats().unwrap(), [16_777_216.0, -3.0]);
        let refused = |number: i64| Column::from(vec![number]).into_floats().unwrap_err().to_string();
        assert!(refused((1 << 24) + 1).contains("16777217"));
        assert!(refused(i64::MAX).contains("9223372036854775807"));
    }

    #[test]
    fn texts_are_not_numbers() {
        let error = Column::from(["zwölf"]).into_floats().unwrap_err().to_string();
        assert!(error.contains("numbers") && error.contains("zwölf"), "{error}");
        assert!(Column::new([2, 2], Cells::Int(vec![1])).is_err());
        assert!(Column::new([usize::MAX, 2], Cells::Int(vec![1])).is_err());
    }
}
