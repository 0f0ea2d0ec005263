//! `RepeatVector`: repeats features as a sequence.

use crate::error::{Error, Result};
use crate::layers::{BuiltIn, Call, Edge, Exporting, Layer};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// Repeats the features of each sample `n` times.
    ///
    /// # Shapes
    /// `(batch, features)` → `(batch, n, features)`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RepeatVector::new(3).input_shape(32))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 3, 32)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RepeatVector {
        /// The number of repetitions.
        n: usize,
    }
}

impl RepeatVector {
    /// Repeats the features `n` times.
    pub fn new(n: usize) -> Self {
        Self::required(n)
    }
}

impl Layer for RepeatVector {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        if self.n == 0 {
            return Err(Error::argument("n", "an integer above 0", self.n));
        }
        input.expect_rank(2)?;
        Ok(Shape::new([input.sizes()[0], Some(self.n), input.sizes()[1]]))
    }

    fn check_values(&self, _: &[f32]) -> Result<bool> {
        Ok(true)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let row = to.unsqueeze(to.input(), 1);
        let sizes = to.ints([1, self.n as i64, 1]);
        Ok(vec![to.op("Expand", &[row, sizes], vec![])])
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        let sizes = input.sizes();
        Ok(input.reshape(&[sizes[0], 1, sizes[1]])?.expand(&[sizes[0], self.n, sizes[1]]))
    }
}

impl BuiltIn for RepeatVector {
    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new(3), Shape::batch_of(4))]
    }
}
