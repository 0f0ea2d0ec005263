//! `Embedding`: learned vectors for integer indices.

use crate::constraints::Constraint;
use crate::error::{Error, Result};
use crate::formats::onnx::Element;
use crate::initializers::Initializer;
use crate::kernels::embedding;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Freezing, Frozen, FrozenStep, Layer, WeightSpec};
use crate::ops::{self, MAX_RANK, Value};
use crate::regularizers::Regularizer;
use crate::shape::Shape;

/// Floats are exact for integers up to this.
const LARGEST: usize = 1 << 24;

crate::describe! {
    /// Looks up the rows of a learned table by integer inputs.
    ///
    /// An index without a row is refused before it is copied to the device. Behind layers that compute, where it is
    /// only known on the device, its row is NaN (as in Keras on JAX), which stops training.
    ///
    /// # Shapes
    /// `(batch, …)` → `(batch, …, output_dim)`; weight `embeddings` (input_dim, output_dim).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Embedding::new(1000, 64).input_shape(10))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 10, 64)");
    /// let error = model.predict(&ndarray::Array2::<f32>::from_elem((1, 10), 1000.0)).unwrap_err();
    /// assert!(error.to_string().contains("whole numbers from 0 to 999"));
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Embedding {
        /// The number of rows: one more than the largest input.
        input_dim: usize,
        /// The number of features of a row.
        output_dim: usize,
        /// The initializer of the table.
        embeddings_initializer: Initializer = Initializer::RandomUniform { minval: -0.05, maxval: 0.05, seed: None },
        /// The penalty on the table.
        embeddings_regularizer: Option<Regularizer> = None,
        /// The penalty on the outputs.
        activity_regularizer: Option<Regularizer> = None,
        /// The constraint on the table.
        embeddings_constraint: Option<Constraint> = None,
        /// Whether the input 0 is padding, which is masked.
        mask_zero: bool = false,
    }
}

impl Embedding {
    /// A table of `input_dim` rows with `output_dim` features.
    pub fn new(input_dim: usize, output_dim: usize) -> Self {
        Self::required(input_dim, output_dim)
    }
}

impl Layer for Embedding {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        for (argument, size) in [("input_dim", self.input_dim), ("output_dim", self.output_dim)] {
            if size == 0 {
                return Err(Error::argument(argument, "an integer above 0", size));
            }
        }
        if self.input_dim > LARGEST {
            return Err(Error::argument("input_dim", format!("at most {LARGEST}"), self.input_dim));
        }
        if input.rank() >= MAX_RANK {
            return Err(Error::shape(format!("at most ndim={}", MAX_RANK - 1), input));
        }
        Ok(Shape::new([input.sizes(), &[Some(self.output_dim)]].concat()))
    }

    fn weights(&self, _: &Shape) -> Result<Vec<WeightSpec>> {
        let sizes = [self.input_dim, self.output_dim];
        let embeddings = WeightSpec::new("embeddings", sizes, self.embeddings_initializer.clone())
            .regularizer(&self.embeddings_regularizer)
            .constraint(&self.embeddings_constraint);
        Ok(vec![embeddings])
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn check_values(&self, values: &[f32]) -> Result<bool> {
        let names_a_row = |value: &f32| *value >= 0.0 && *value < self.input_dim as f32 && value.fract() == 0.0;
        match values.iter().find(|value| !names_a_row(value)) {
            Some(value) => {
                let expected = format!("whole numbers from 0 to {}", self.input_dim - 1);
                Err(Error::data("inputs of an Embedding", expected, value))
            }
            None => Ok(false),
        }
    }

    fn scratch(&self, input: &Shape, _: bool) -> Result<usize> {
        // Indices as given, clamped to the table, and as integers; the rows with and without invalid indices.
        let rows = input.known_len().saturating_mul(self.output_dim).saturating_mul(2);
        Ok(rows.saturating_add(input.known_len().saturating_mul(4)))
    }

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        // A mask goes on to the layers that follow, whose compiled forms know none.
        if self.mask_zero {
            return None;
        }
        let (table, len) = (freezing.weight(0)?, freezing.output.iter().product());
        Some(FrozenEmbedding { table, width: self.output_dim, len }.into())
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        if self.mask_zero {
            let zero = to.number(0.0);
            let is_zero = to.op("Equal", &[to.input(), zero], vec![]);
            let counted = to.op("Not", &[is_zero], vec![]);
            let mask = to.cast(counted, Element::Float);
            to.set_masks(vec![Some(mask)]);
        } else {
            to.set_masks(vec![None]);
        }
        let table = to.weight(0)?;
        let table = to.constant("embeddings", table);
        let rows = to.cast(to.input(), Element::Int64);
        Ok(vec![to.op("Gather", &[table, rows], vec![("axis", 0.into())])])
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        call.mask = self.mask_zero.then(|| input.clone().detach().not_equal_scalar(0.0));
        let input = input.detach();
        if let Some(output) = ops::fast_rows(&input, &call.weight(0)) {
            call.add_activity_loss(&self.activity_regularizer, &output)?;
            return Ok(output);
        }
        let largest = (self.input_dim - 1) as f32;
        let inside = input.clone().clamp(0.0, largest);
        let outside = inside.clone().equal(input).equal_scalar(0.0);
        // Invalid indices, including NaN, look up some row until it is replaced.
        let first = Value::full(&inside.sizes(), 0.0, &inside.device())?;
        let rows = inside.select_where(outside.clone(), first).gather_rows(call.weight(0))?;
        let sizes = rows.sizes();
        let last = sizes.len() - 1;
        let outside = outside.broadcast(&(0..last).collect::<Vec<_>>(), &sizes)?;
        let nothing = Value::full(&sizes, f32::NAN, &rows.device())?;
        let output = rows.select_where(outside, nothing);
        call.add_activity_loss(&self.activity_regularizer, &output)?;
        Ok(output)
    }
}

/// The layer in a predictor.
#[derive(Debug)]
struct FrozenEmbedding {
    table: Vec<f32>,
    width: usize,
    len: usize,
}

impl FrozenStep for FrozenEmbedding {
    fn operations(&self) -> usize {
        self.len.saturating_mul(2)
    }

    fn run(&self, inputs: &[&[f32]], _: usize, _: usize, output: &mut [f32]) {
        embedding::forward_here(self.width, inputs[0], &self.table, output);
    }
}

impl BuiltIn for Embedding {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(5, 3), Shape::batch_of(4)),
            (Self::new(3, 2).mask_zero(true), Shape::batch_of((2, 3))),
            (Self::new(3, 1), Shape::batch_of(())),
        ]
    }

    fn classes(&self) -> Option<usize> {
        Some(self.input_dim)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn an_invalid_index_is_refused_on_the_host_and_nan_on_the_device() {
        let layer = Embedding::new(3, 2);
        for wrong in [-1.0, 3.0, 0.5, f32::NAN] {
            assert!(layer.check_values(&[0.0, wrong]).is_err(), "{wrong}");
        }
        assert!(layer.check_values(&[0.0, 2.0]).is_ok());
        let table = Value::from_vec(vec![0., 1., 2., 3., 4., 5.], &[3, 2], &Device::flex()).unwrap();
        let input = Value::from_vec(vec![2.0, 3.0, -1.0], &[1, 3], &Device::flex()).unwrap();
        let output = layer.forward(input, &mut Call::inference(&[table])).unwrap().to_vec().unwrap();
        assert_eq!(output[..2], [4.0, 5.0]);
        assert!(output[2..].iter().all(|value| value.is_nan()), "{output:?}");
    }
}
