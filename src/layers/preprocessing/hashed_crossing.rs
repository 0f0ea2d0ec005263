//! `HashedCrossing`: hashes combinations of features into bins.

use super::OutputMode;
use super::hash::{crossed, fingerprint};
use super::hashing::{as_lookup, check_bins};
use super::lookup::encode;
use crate::datasets::{Cells, Column};
use crate::error::{Error, Result};
use crate::layers::host::forward_on_host;
use crate::layers::{Arguments, BuiltIn, Call, HostLayer, Layer, Takes};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// The bin of each combination of several features, strings or integers, by a hash of all of them.
    ///
    /// Directly after inputs it runs on the host, where 64-bit integers are exact, and refuses floats; behind other
    /// layers it takes floats that are integers up to 2²⁴.
    ///
    /// # Shapes
    /// Two or more of `(batch,)` or of `(batch, 1)` → the same for `int`; `(batch, num_bins)` for `one_hot`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let city = Input::new(1).dtype("string").symbol();
    /// let floor = Input::new(1).dtype("int64").symbol();
    /// let crossed = HashedCrossing::new(7).output_mode("one_hot").call([&city, &floor])?;
    /// assert_eq!(crossed.shape().to_string(), "(None, 7)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct HashedCrossing {
        /// The number of bins.
        num_bins: usize,
        /// The kind of output: `int` or `one_hot`.
        output_mode: OutputMode = OutputMode::Int,
    }
}

/// Floats are exact for integers up to this.
const EXACT: f32 = 16_777_216.0;

/// The initial value of the hash of several features.
const START: u64 = 0xde_cafc_affe;

impl HashedCrossing {
    /// A layer with `num_bins` bins.
    pub fn new(num_bins: usize) -> Self {
        Self::required(num_bins)
    }

    fn check(&self) -> Result<()> {
        check_bins(self.num_bins)?;
        match self.output_mode {
            OutputMode::Int | OutputMode::OneHot => Ok(()),
            _ => Err(Error::unknown("output mode", self.output_mode.name(), ["int", "one_hot"])),
        }
    }
}

impl Layer for HashedCrossing {
    fn takes_trainable(&self) -> bool {
        false
    }

    fn output_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
        self.check()?;
        arguments.expect_only(&[])?;
        let [first, rest @ ..] = inputs else { return Err(Error::shape("two inputs or more", "none")) };
        if rest.is_empty() {
            return Err(Error::shape("two inputs or more", "one"));
        }
        if !matches!(first.sample(), [] | [Some(1)]) {
            return Err(Error::shape("features of shape (None,) or (None, 1)", first));
        }
        if let Some(other) = rest.iter().find(|other| other.sample() != first.sample()) {
            return Err(Error::shape(format!("features of one shape, {first}"), other));
        }
        Ok(vec![self.output_mode.output_shape(first, self.num_bins)?])
    }

    fn call_parameters(&self) -> &'static [&'static str] {
        &["inputs"]
    }

    fn on_host(&self) -> Option<&dyn HostLayer> {
        Some(self)
    }

    fn forward_all(&self, inputs: Vec<Value>, _: &mut Call<'_>) -> Result<Vec<Value>> {
        Ok(vec![forward_on_host(&Behind(self), inputs)?])
    }
}

/// The layer behind other layers, where integers are floats.
struct Behind<'a>(&'a HashedCrossing);

impl HostLayer for Behind<'_> {
    fn takes(&self) -> Takes {
        self.0.takes()
    }

    fn transform(&self, inputs: &[Column]) -> Result<Column> {
        let whole = |input: &Column| {
            let numbers = input.clone().into_floats()?;
            match numbers.iter().find(|number| number.fract() != 0.0 || number.abs() > EXACT) {
                None => Column::new(input.shape(), Cells::Int(input.to_ints()?)),
                Some(number) => Err(Error::data("inputs", "whole numbers up to 2²⁴", number)),
            }
        };
        self.0.transform(&inputs.iter().map(whole).collect::<Result<Vec<_>>>()?)
    }
}

impl HostLayer for HashedCrossing {
    fn takes(&self) -> Takes {
        Takes::Any
    }

    fn transform(&self, inputs: &[Column]) -> Result<Column> {
        self.check()?;
        let [first, _, ..] = inputs else { return Err(Error::shape("two inputs or more", inputs.len())) };
        let count = first.cells().len();
        let mut hashes = vec![START; count];
        for input in inputs {
            if input.shape() != first.shape() {
                let expected = format!("features of one shape, {:?}", first.shape());
                return Err(Error::shape(expected, format!("{:?}", input.shape())));
            }
            match input.cells() {
                Cells::Text(texts) => {
                    let own = texts.iter().map(|text| fingerprint(text.as_bytes()));
                    hashes.iter_mut().zip(own).for_each(|(hash, own)| *hash = crossed(*hash, own));
                }
                Cells::Float(_) => {
                    let expected = "texts or integers, which need an `Input` with dtype \"int64\"";
                    return Err(Error::data("inputs", expected, "floats"));
                }
                _ => {
                    let own = input.to_ints()?;
                    hashes.iter_mut().zip(own).for_each(|(hash, own)| *hash = crossed(*hash, own as u64));
                }
            }
        }
        let bins: Vec<i64> = hashes.iter().map(|hash| (hash % self.num_bins as u64) as i64).collect();
        match self.output_mode {
            OutputMode::Int => Column::new(first.shape(), Cells::Int(bins)),
            _ => encode(first.shape(), &bins, &as_lookup(&self.output_mode), self.num_bins, None),
        }
    }
}

impl BuiltIn for HashedCrossing {
    fn examples_of_several() -> Vec<(Self, Vec<Shape>)> {
        vec![
            (Self::new(10), vec![Shape::batch_of(1); 2]),
            (Self::new(10).output_mode("one_hot"), vec![Shape::batch_of(1); 3]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_refused() {
        let layer = HashedCrossing::new(10);
        let floats = || Column::new([2], Cells::Float(vec![1.0, 2.0])).unwrap();
        let ints = || Column::new([2], Cells::Int(vec![1, 2])).unwrap();
        let error = layer.transform(&[ints(), floats()]).unwrap_err().to_string();
        assert!(error.contains("int64"), "{error}");
        let expected = layer.transform(&[ints(), ints()]).unwrap();
        // Behind other layers integers are floats, and fractions are refused rather than truncated.
        assert_eq!(Behind(&layer).transform(&[floats(), floats()]).unwrap(), expected);
        for wrong in [0.5, 16_777_218.0, f32::NAN] {
            let wrong = Column::new([1], Cells::Float(vec![wrong])).unwrap();
            assert!(Behind(&layer).transform(&[wrong.clone(), wrong]).is_err());
        }
    }
}
