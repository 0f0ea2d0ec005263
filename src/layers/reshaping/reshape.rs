//! `Reshape`: reshapes each sample.

use crate::error::{Error, Result};
use crate::layers::{BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer, OutputMemory, Preparation, check_rank};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// Reshapes each sample; one size can be −1, which is inferred.
    ///
    /// # Shapes
    /// `(batch, …)` → `(batch, *target_shape)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Reshape::new([-1, 8]).input_shape(32))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 4, 8)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Reshape {
        /// The sizes of one sample.
        target_shape: Vec<isize>,
    }
}

impl Reshape {
    /// Samples of the given sizes.
    pub fn new(target_shape: impl Into<Vec<isize>>) -> Self {
        Self::required(target_shape.into())
    }

    /// The sizes with −1 inferred for samples of `length` numbers, if that is known.
    fn resolve(&self, length: Option<usize>) -> Result<Vec<Option<usize>>> {
        check_rank("target_shape", self.target_shape.len() + 1)?;
        let wrong = |expected: String| Error::argument("target_shape", expected, format!("{:?}", self.target_shape));
        let open = self.target_shape.iter().filter(|size| **size == -1).count();
        if open > 1 || self.target_shape.iter().any(|size| *size < -1) {
            return Err(wrong("sizes of at least 0, at most one of them -1".into()));
        }
        let known = self.target_shape.iter().filter(|size| **size >= 0);
        let known = known.fold(1usize, |product, size| product.saturating_mul(*size as usize));
        let inferred = match (open, length) {
            (_, None) => None,
            (0, Some(length)) if known == length => None,
            (1, Some(length)) if known > 0 && length % known == 0 => Some(length / known),
            (_, Some(length)) => return Err(wrong(format!("sizes that multiply to {length}"))),
        };
        Ok(self.target_shape.iter().map(|size| if *size == -1 { inferred } else { Some(*size as usize) }).collect())
    }
}

impl Layer for Reshape {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        Ok(Shape::batch_of(self.resolve(input.sample_len())?))
    }

    fn check_values(&self, _: &[f32]) -> Result<bool> {
        Ok(true)
    }

    fn output_memory(&self) -> OutputMemory {
        OutputMemory::View
    }

    fn frozen_step(&self, _: &Freezing<'_>) -> Option<Frozen> {
        Some(Frozen::Same)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let output = to.output_shapes()[0].clone();
        Ok(vec![to.reshape_to(to.input(), &output)?])
    }

    fn preparation(&self) -> Preparation {
        Preparation::Possible
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        let sizes = input.sizes();
        let target = self.resolve(Some(sizes[1..].iter().product()))?;
        let target: Vec<usize> = std::iter::once(sizes[0]).chain(target.into_iter().flatten()).collect();
        input.reshape(&target)
    }
}

impl BuiltIn for Reshape {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new([2, -1]), Shape::batch_of((3, 4))),
            (Self::new([3, 2, 2]), Shape::batch_of(12)),
            (Self::new([]), Shape::batch_of(1)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_do_not_multiply_are_refused() {
        let input = Shape::batch_of(4);
        for target in [vec![3], vec![-1, -1], vec![-1, 3], vec![0, -1], vec![-2]] {
            assert!(Reshape::new(target.clone()).output_shape(&input).is_err(), "{target:?}");
        }
    }
}
