//! `Rescaling`: scales and shifts numbers.

use serde::{Deserialize, Serialize};

use crate::config::{Argument, also_argument};
use crate::error::{Error, Result};
use crate::kernels::merge;
use crate::layers::{
    BuiltIn, Call, Edge, Exporting, Freezing, Frozen, FrozenStep, Layer, Preparation, copied, each_part,
};
use crate::ops::Value;
use crate::shape::Shape;

/// One number for all features, or one per feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Numbers {
    /// The same number for all.
    One(f32),
    /// One number per index of the last axis.
    Each(Vec<f32>),
}

impl From<f32> for Numbers {
    fn from(number: f32) -> Self {
        Self::One(number)
    }
}

impl From<Vec<f32>> for Numbers {
    fn from(numbers: Vec<f32>) -> Self {
        Self::Each(numbers)
    }
}

impl<const N: usize> From<[f32; N]> for Numbers {
    fn from(numbers: [f32; N]) -> Self {
        Self::Each(numbers.into())
    }
}

also_argument!(f32 => Numbers, Vec<f32> => Numbers);

impl<const N: usize> Argument<Numbers> for [f32; N] {
    fn into_argument(self) -> Numbers {
        self.into()
    }
}

crate::describe! {
    /// `x · scale + offset`.
    ///
    /// # Shapes
    /// `(batch, …)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Rescaling::new(1.0 / 255.0).input_shape((28, 28, 1)))?; // bytes to 0..1
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Rescaling {
        /// The factor.
        scale: Numbers,
        /// The offset.
        offset: Numbers = Numbers::One(0.0),
    }
}

impl Rescaling {
    /// Multiplies by `scale`.
    pub fn new(scale: impl Into<Numbers>) -> Self {
        Self::required(scale.into())
    }

    /// Whether there is a number for each feature.
    fn is_for_each(&self) -> bool {
        [&self.scale, &self.offset].into_iter().any(|numbers| matches!(numbers, Numbers::Each(_)))
    }
}

/// Applies `operation` with one number for all, or broadcast along the last axis.
fn with_numbers(
    input: Value,
    numbers: &Numbers,
    all: impl FnOnce(Value, f32) -> Value,
    each: impl FnOnce(Value, Value) -> Value,
) -> Result<Value> {
    match numbers {
        Numbers::One(number) => Ok(all(input, *number)),
        Numbers::Each(numbers) => {
            let sizes = input.sizes();
            let row = Value::from_vec(numbers.clone(), &[numbers.len()], &input.device())?;
            let row = row.broadcast(&[sizes.len() - 1], &sizes)?;
            Ok(each(input, row))
        }
    }
}

impl Layer for Rescaling {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        for (argument, numbers) in [("scale", &self.scale), ("offset", &self.offset)] {
            if let Numbers::Each(numbers) = numbers {
                let features = input.last()?;
                if numbers.len() != features {
                    let expected = format!("one number, or {features} as the last axis has");
                    return Err(Error::argument(argument, expected, format!("{numbers:?}")));
                }
            }
        }
        Ok(input.clone())
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        let input = freezing.input()?;
        let width = if self.is_for_each() { *input.last()? } else { 1 };
        let [factors, summands] = [&self.scale, &self.offset].map(|numbers| match numbers {
            Numbers::One(number) => vec![*number; width],
            Numbers::Each(numbers) => numbers.clone(),
        });
        if [factors.len(), summands.len()] != [width; 2] {
            return None;
        }
        let [factors, summands] = [factors, summands].map(merge::repeated);
        Some(FrozenRescaling { factors, summands, len: input.iter().product() }.into())
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let rank = to.rank();
        let mut constant = |numbers: &Numbers| match numbers {
            Numbers::One(number) => to.number(*number),
            Numbers::Each(numbers) => to.along("numbers", numbers.clone(), rank - 1, rank),
        };
        let (scale, offset) = (constant(&self.scale), constant(&self.offset));
        let scaled = to.mul(to.input(), scale);
        Ok(vec![to.add(scaled, offset)])
    }

    fn preparation(&self) -> Preparation {
        Preparation::Possible
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        let scaled = with_numbers(input, &self.scale, Value::mul_scalar, |input, row| input * row)?;
        with_numbers(scaled, &self.offset, Value::add_scalar, |input, row| input + row)
    }
}

/// The layer in a predictor.
#[derive(Debug)]
struct FrozenRescaling {
    factors: Vec<f32>,
    summands: Vec<f32>,
    len: usize,
}

impl FrozenStep for FrozenRescaling {
    fn operations(&self) -> usize {
        self.len.saturating_mul(4)
    }

    fn in_place(&self) -> bool {
        true
    }

    fn run(&self, inputs: &[&[f32]], samples: usize, threads: usize, output: &mut [f32]) {
        copied(inputs, output);
        each_part(threads, self.operations().saturating_mul(samples), output, self.factors.len(), |_, part| {
            merge::scale(&self.factors, &self.summands, part);
        });
    }
}

impl BuiltIn for Rescaling {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(1.0 / 255.0).offset(-0.5), Shape::batch_of((4, 3))),
            (Self::new([1.0, 2.0, 3.0]).offset([0.5, 0.0, -0.5]), Shape::batch_of((4, 3))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn numbers_for_each_channel() {
        let input = Value::from_vec(vec![1.0, 2.0, 3.0, 4.0], &[1, 2, 2], &Device::flex()).unwrap();
        let layer = Rescaling::new([2.0, 10.0]).offset([1.0, 0.0]);
        assert_eq!(layer.forward(input, &mut Call::inference(&[])).unwrap().to_vec().unwrap(), [3., 20., 7., 40.]);
        assert!(layer.output_shape(&Shape::batch_of((2, 3))).is_err());
    }
}
