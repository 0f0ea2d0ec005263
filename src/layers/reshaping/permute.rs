//! `Permute`: permutes dimensions.

use crate::error::{Error, Result};
use crate::layers::{BuiltIn, Call, Edge, Exporting, Layer};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// Permutes the dimensions of each sample.
    ///
    /// # Shapes
    /// `(batch, …)` → the same sizes in the order of `dims`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Permute::new([2, 1]).input_shape((10, 64)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 64, 10)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Permute {
        /// The input dimension, counted from 1, of each output dimension.
        dims: Vec<usize>,
    }
}

impl Permute {
    /// Dimensions in the order `dims`, counted from 1.
    pub fn new(dims: impl Into<Vec<usize>>) -> Self {
        Self::required(dims.into())
    }
}

impl Layer for Permute {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        let mut sorted = self.dims.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(1..=self.dims.len()) {
            let expected = "each of the dimensions once, counted from 1";
            return Err(Error::argument("dims", expected, format!("{:?}", self.dims)));
        }
        input.expect_rank(self.dims.len() + 1)?;
        let sizes = input.sizes();
        Ok(Shape::new(std::iter::once(sizes[0]).chain(self.dims.iter().map(|dim| sizes[*dim])).collect::<Vec<_>>()))
    }

    fn check_values(&self, _: &[f32]) -> Result<bool> {
        Ok(true)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let order: Vec<usize> = std::iter::once(0).chain(self.dims.iter().copied()).collect();
        Ok(vec![to.transpose(to.input(), &order)])
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        let order: Vec<usize> = std::iter::once(0).chain(self.dims.iter().copied()).collect();
        Ok(input.permute(&order))
    }
}

impl BuiltIn for Permute {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new([2, 1]), Shape::batch_of((3, 4))),
            (Self::new([3, 1, 2]), Shape::batch_of((2, 3, 4))),
            (Self::new([1]), Shape::batch_of(4)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dimension_must_come_once() {
        for dims in [vec![0, 1], vec![1, 1], vec![2, 3], vec![1], vec![1, 2, 3]] {
            assert!(Permute::new(dims.clone()).output_shape(&Shape::batch_of((3, 4))).is_err(), "{dims:?}");
        }
    }
}
