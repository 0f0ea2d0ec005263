//! `CategoryEncoding`: encodes integers as one-hot, multi-hot or count vectors.

use crate::config::choice;
use crate::error::{Error, Result};
use crate::layers::{BuiltIn, Call, Edge, Exporting, Layer};
use crate::ops::{MAX_RANK, Value};
use crate::shape::Shape;

choice! {
    /// The encoding of integers.
    pub enum OutputMode: "output mode" {
        /// One value per category and sample: 1 if the category occurs in the sample, else 0.
        MultiHot = "multi_hot",
        /// A one-hot row for each integer.
        OneHot = "one_hot",
        /// The number of occurrences of each category in the sample.
        Count = "count",
        /// The integer itself.
        Int = "int",
    }
}

impl OutputMode {
    /// The output shape for `depth` categories.
    pub(super) fn output_shape(&self, input: &Shape, depth: usize) -> Result<Shape> {
        self.check()?;
        let sizes = input.sizes();
        match self {
            Self::Int => Ok(input.clone()),
            // Keras drops a last dimension of 1.
            Self::OneHot => {
                let leading = if matches!(sizes, [_, .., Some(1)]) { &sizes[..sizes.len() - 1] } else { sizes };
                if leading.len() >= MAX_RANK {
                    return Err(Error::shape(format!("at most ndim={}", MAX_RANK - 1), input));
                }
                Ok(Shape::new([leading, &[Some(depth)]].concat()))
            }
            // Keras counts along the second dimension, whatever follows it.
            _ => match sizes {
                [_, Some(0), ..] => Err(Error::shape("at least one number to encode", input)),
                [batch, _, rest @ ..] if sizes.len() < MAX_RANK => {
                    Ok(Shape::new([&[*batch], rest, &[Some(depth)]].concat()))
                }
                _ => Err(Error::shape(format!("from ndim=2 to ndim={}", MAX_RANK - 1), input)),
            },
        }
    }

    /// The workspace for encoding `numbers` integers: the codes before they are summed or compared, as booleans and as
    /// numbers, and the class indices.
    pub(super) fn scratch(&self, numbers: usize, depth: usize) -> usize {
        match self {
            Self::Int => 0,
            _ => numbers.saturating_mul(depth).saturating_mul(2).saturating_add(depth),
        }
    }

    /// The encoding of integers.
    pub(super) fn encode(&self, numbers: Value, depth: usize) -> Result<Value> {
        let sizes = numbers.sizes();
        match self {
            Self::Int => Ok(numbers),
            Self::OneHot => match sizes.as_slice() {
                [_, .., 1] => numbers.reshape(&sizes[..sizes.len() - 1])?.one_hot(depth),
                _ => numbers.one_hot(depth),
            },
            mode => {
                let one_hot = numbers.one_hot(depth)?;
                let counted = if *mode == Self::Count { one_hot.sum_axis(1) } else { one_hot.max_axis(1) };
                counted.reshape(&[&sizes[..1], &sizes[2..], &[depth]].concat())
            }
        }
    }
}

crate::describe! {
    /// Encodes categories, integers from 0, as zeros and ones.
    ///
    /// # Shapes
    /// `(batch, numbers)` → `(batch, num_tokens)` for `multi_hot` and `count`; `(batch, …)` → `(batch, …, num_tokens)`
    /// for `one_hot`, which drops a last dimension of 1.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(CategoryEncoding::new(4).input_shape(3))?;
    /// let encoded = model.predict(&ndarray::array![[0.0f32, 2.0, 2.0]])?;
    /// assert_eq!(encoded, ndarray::array![[1.0, 0.0, 1.0, 0.0]].into_dyn());
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct CategoryEncoding {
        /// The number of categories.
        num_tokens: usize,
        /// The encoding of the output.
        output_mode: OutputMode = OutputMode::MultiHot,
    }
}

impl CategoryEncoding {
    /// `num_tokens` categories.
    pub fn new(num_tokens: usize) -> Self {
        Self::required(num_tokens)
    }
}

impl Layer for CategoryEncoding {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        if self.num_tokens == 0 {
            return Err(Error::argument("num_tokens", "an integer above 0", 0));
        }
        if self.output_mode == OutputMode::Int {
            return Err(Error::unknown("output mode", "int", ["multi_hot", "one_hot", "count"]));
        }
        if self.output_mode != OutputMode::OneHot {
            // For higher ranks Keras declares another shape than it computes.
            input.expect_rank(2)?;
        }
        self.output_mode.output_shape(input, self.num_tokens)
    }

    fn check_values(&self, values: &[f32]) -> Result<bool> {
        let known = |value: &f32| *value >= 0.0 && *value < self.num_tokens as f32 && value.fract() == 0.0;
        match values.iter().find(|value| !known(value)) {
            Some(value) => {
                let expected = format!("whole numbers from 0 to {}", self.num_tokens.saturating_sub(1));
                Err(Error::data("inputs of a CategoryEncoding", expected, value))
            }
            None => Ok(false),
        }
    }

    fn scratch(&self, input: &Shape, _: bool) -> Result<usize> {
        Ok(self.output_mode.scratch(input.known_len(), self.num_tokens))
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        self.output_mode.onnx(to, to.input(), self.num_tokens)
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        self.output_mode.encode(input, self.num_tokens)
    }
}

impl BuiltIn for CategoryEncoding {
    fn takes_dtype(name: &str) -> bool {
        name.starts_with("int") || name.starts_with("uint")
    }

    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(4), Shape::batch_of(3)),
            (Self::new(4).output_mode("count"), Shape::batch_of(3)),
            (Self::new(4).output_mode("one_hot"), Shape::batch_of(1)),
            (Self::new(4).output_mode("one_hot"), Shape::batch_of((3, 2))),
        ]
    }

    fn classes(&self) -> Option<usize> {
        Some(self.num_tokens)
    }
}

impl OutputMode {
    /// As [`encode`](Self::encode), as ONNX operators.
    pub(super) fn onnx(&self, to: &mut Exporting<'_>, numbers: Edge, depth: usize) -> Result<Vec<Edge>> {
        let rank = to.rank();
        Ok(vec![match self {
            Self::Int => numbers,
            Self::OneHot => {
                let squeezed = rank > 1 && to.shape().sizes()[rank - 1] == Some(1);
                let numbers = if squeezed { to.squeeze(numbers, rank - 1) } else { numbers };
                to.one_hot(numbers, depth)
            }
            mode => {
                let one_hot = to.one_hot(numbers, depth);
                let operator = if *mode == Self::Count { "ReduceSum" } else { "ReduceMax" };
                to.reduce(operator, one_hot, &[1], false)
            }
        }])
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn every_mode() {
        let encode = |mode: &str| {
            let input = Value::from_vec(vec![0.0, 2.0, 2.0], &[1, 3], &Device::flex()).unwrap();
            let layer = CategoryEncoding::new(3).output_mode(mode);
            layer.forward(input, &mut Call::inference(&[])).unwrap().to_vec().unwrap()
        };
        assert_eq!(encode("multi_hot"), [1., 0., 1.]);
        assert_eq!(encode("count"), [1., 0., 2.]);
        assert_eq!(encode("one_hot"), [1., 0., 0., 0., 0., 1., 0., 0., 1.]);
        assert!(CategoryEncoding::new(3).output_mode("int").output_shape(&Shape::batch_of(3)).is_err());
        assert!(CategoryEncoding::new(3).check_values(&[3.0]).is_err());
    }
}
