//! `Hashing`: hashes values into bins.

use serde::{Deserialize, Serialize};

use super::hash::hash;
use super::lookup::{LookupMode, Salt, encode};
use super::{OutputMode, only};
use crate::config::Argument;
use crate::datasets::{Cells, Column};
use crate::error::{Error, Result};
use crate::layers::host::forward_on_host;
use crate::layers::{BuiltIn, Call, HostLayer, Layer, Takes};
use crate::ops::Value;
use crate::shape::Shape;

/// The masked value: a string or an integer, like the inputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum MaskValue {
    /// For integers.
    Int(i64),
    /// For strings.
    Text(String),
}

impl Argument<Option<MaskValue>> for &str {
    fn into_argument(self) -> Option<MaskValue> {
        Some(MaskValue::Text(self.to_owned()))
    }
}

impl Argument<Option<MaskValue>> for i64 {
    fn into_argument(self) -> Option<MaskValue> {
        Some(MaskValue::Int(self))
    }
}

crate::describe! {
    /// The bin of each string or integer, by a hash of its text, or an encoding of the bin.
    ///
    /// Directly after an input it runs on the host, where 64-bit integers are exact; behind other layers it takes
    /// floats, which are truncated.
    ///
    /// # Shapes
    /// `(batch, …)` → the same for `int`; `(batch, …, num_bins)` for `one_hot`, which drops a last dimension of 1;
    /// `(batch, values)` → `(batch, num_bins)` for `multi_hot` and `count`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Input::new(2).dtype("string"))?.add(Hashing::new(10))?;
    /// let words = brasa::datasets::Samples::texts([1, 2], vec!["a".into(), "ab".into()])?;
    /// assert_eq!(model.predict(words)?, ndarray::array![[9.0, 2.0]].into_dyn());
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Hashing {
        /// The number of bins.
        num_bins: usize,
        /// The key of the hash: with a key it is SipHash, without one FarmHash's fingerprint.
        salt: Option<Salt> = None,
        /// The masked value, to which the first bin is reserved.
        mask_value: Option<MaskValue> = None,
        /// The kind of output.
        output_mode: OutputMode = OutputMode::Int,
    }
}

impl Hashing {
    /// A layer with `num_bins` bins.
    pub fn new(num_bins: usize) -> Self {
        Self::required(num_bins)
    }

    /// The bin of a value, by its text.
    fn bin(&self, text: &[u8], is_masked: bool) -> i64 {
        let bins = self.num_bins as u64;
        let hash = hash(text, self.salt.map(Salt::key));
        let bin = match self.mask_value.is_some() && bins > 1 {
            true if is_masked => 0,
            true => 1 + hash % (bins - 1),
            false => hash % bins.max(1),
        };
        bin as i64
    }
}

/// Refuses an invalid number of bins.
pub(super) fn check_bins(num_bins: usize) -> Result<()> {
    match i64::try_from(num_bins) {
        Ok(1..) => Ok(()),
        _ => Err(Error::argument("num_bins", "an integer above 0 of at most 63 bits", num_bins)),
    }
}

/// The equivalent output mode of a lookup.
pub(super) fn as_lookup(mode: &OutputMode) -> LookupMode {
    LookupMode::from(mode.name())
}

impl Layer for Hashing {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        check_bins(self.num_bins)?;
        self.output_mode.output_shape(input, self.num_bins)
    }

    fn on_host(&self) -> Option<&dyn HostLayer> {
        Some(self)
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        forward_on_host(self, vec![input])
    }
}

impl HostLayer for Hashing {
    fn takes(&self) -> Takes {
        match self.mask_value {
            Some(MaskValue::Text(_)) => Takes::Text,
            Some(MaskValue::Int(_)) => Takes::Numbers,
            None => Takes::Any,
        }
    }

    fn transform(&self, inputs: &[Column]) -> Result<Column> {
        check_bins(self.num_bins)?;
        let input = only(inputs)?;
        let bins: Vec<i64> = match input.cells() {
            Cells::Text(texts) => {
                let mask = match &self.mask_value {
                    Some(MaskValue::Int(number)) => {
                        return Err(Error::argument("mask_value", "a string, like the inputs", number));
                    }
                    Some(MaskValue::Text(mask)) => Some(mask),
                    None => None,
                };
                texts.iter().map(|text| self.bin(text.as_bytes(), Some(text) == mask)).collect()
            }
            _ => {
                let mask = match &self.mask_value {
                    Some(MaskValue::Text(text)) => {
                        let expected = "an integer, like the inputs";
                        return Err(Error::argument("mask_value", expected, format!("{text:?}")));
                    }
                    Some(MaskValue::Int(mask)) => Some(*mask),
                    None => None,
                };
                let numbers = input.to_ints()?;
                numbers.iter().map(|number| self.bin(number.to_string().as_bytes(), Some(*number) == mask)).collect()
            }
        };
        match self.output_mode {
            OutputMode::Int => Column::new(input.shape(), Cells::Int(bins)),
            _ => encode(input.shape(), &bins, &as_lookup(&self.output_mode), self.num_bins, None),
        }
    }
}

impl BuiltIn for Hashing {
    fn takes_dtype(name: &str) -> bool {
        name.starts_with("int") || name.starts_with("uint")
    }

    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(10), Shape::batch_of((3, 2))),
            (Self::new(10).salt([3, -9]).mask_value(0i64), Shape::batch_of(3)),
            (Self::new(5).output_mode("one_hot"), Shape::batch_of(1)),
            (Self::new(5).output_mode("multi_hot"), Shape::batch_of(3)),
            (Self::new(5).output_mode("count"), Shape::batch_of(3)),
        ]
    }

    fn examples_of_text() -> Vec<(Self, Shape)> {
        vec![(Self::new(10).mask_value(""), Shape::batch_of(3)), (Self::new(10), Shape::batch_of(()))]
    }

    fn classes(&self) -> Option<usize> {
        Some(20)
    }
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;

    #[test]
    fn without_an_input_integers_stay_exact() {
        let numbers = || Samples::new([2, 1], vec![16_777_217i64, 16_777_216]).unwrap();
        let mut declared = Sequential::new();
        declared.add(Input::new(1).dtype("int64")).unwrap().add(Hashing::new(1 << 20)).unwrap();
        let expected = declared.predict(numbers()).unwrap();
        assert_ne!(expected[[0, 0]], expected[[1, 0]]);
        let mut model = Sequential::new();
        model.add(Hashing::new(1 << 20).input_shape(1)).unwrap();
        assert_eq!(model.predict(numbers()).unwrap(), expected);
        // This float may be the result of rounding.
        let floats = Samples::new([1, 1], vec![16_777_218.0f32]).unwrap();
        assert!(model.predict(floats).unwrap_err().to_string().contains("16777218"));
        // A 64-bit float is exact.
        let floats = Samples::new([2, 1], vec![16_777_217.0f64, 16_777_216.0]).unwrap();
        assert_eq!(model.predict(floats).unwrap(), expected);
    }
}
