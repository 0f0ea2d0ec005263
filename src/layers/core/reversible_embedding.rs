//! `ReversibleEmbedding`: an embedding that also maps vectors to scores of tokens.

use super::Embedding;
use crate::constraints::Constraint;
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::layers::{Arguments, BuiltIn, Call, Edge, Exporting, Layer, WeightSpec};
use crate::ops::Value;
use crate::regularizers::Regularizer;
use crate::shape::Shape;

/// The call argument that requests the reverse direction.
const REVERSE: &str = "reverse";

crate::describe! {
    /// An [`Embedding`](super::Embedding) that can also be called in reverse: with the call argument `reverse` it
    /// multiplies vectors with each row of the table, and returns a score (logit) for each.
    ///
    /// # Shapes
    /// `(batch, …)` → `(batch, …, output_dim)`; with `reverse` `(batch, …, output_dim)` → `(batch, …, input_dim)`. Weights:
    /// `embeddings` (input_dim, output_dim), without `tie_weights` also `reverse_embeddings` (output_dim, input_dim).
    ///
    /// ```
    /// use brasa::layers::Arguments;
    /// use brasa::prelude::*;
    /// let words = Input::new(10).symbol();
    /// let table = ReversibleEmbedding::new(1000, 64).shared();
    /// let vectors = table.call(&words)?;
    /// let mut arguments = Arguments::new();
    /// arguments.set_option("reverse", true);
    /// let scores = table.call_with(&vectors, arguments)?;
    /// assert_eq!(scores[0].shape().to_string(), "(None, 10, 1000)");
    /// assert_eq!(Model::new(&words, &scores[0])?.count_params()?, 64_000);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct ReversibleEmbedding {
        /// The number of rows: one more than the largest input.
        input_dim: usize,
        /// The number of features of a row.
        output_dim: usize,
        /// Whether both directions share their weights.
        tie_weights: bool = true,
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
        /// The dtype of Keras's reverse direction: `float32`, as in all of Brasa's computations.
        reverse_dtype: Option<String> = None,
        /// A smooth limit on the scores: they become `tanh(score / cap) · cap`.
        logit_soft_cap: Option<f32> = None,
    }
}

impl ReversibleEmbedding {
    /// A table of `input_dim` rows with `output_dim` features.
    pub fn new(input_dim: usize, output_dim: usize) -> Self {
        Self::required(input_dim, output_dim)
    }

    fn table(&self) -> Embedding {
        Embedding::new(self.input_dim, self.output_dim)
            .embeddings_initializer(self.embeddings_initializer.clone())
            .embeddings_regularizer(self.embeddings_regularizer.clone())
            .activity_regularizer(self.activity_regularizer.clone())
            .embeddings_constraint(self.embeddings_constraint.clone())
            .mask_zero(self.mask_zero)
    }

    /// (batch, …, output_dim) → (batch, …, input_dim).
    fn scores(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        call.mask = None;
        let mut sizes = input.sizes();
        let rows = sizes[..sizes.len() - 1].iter().product();
        let kernel = if self.tie_weights { call.weight(0).permute(&[1, 0]) } else { call.weight(1) };
        let scores = input.reshape(&[rows, self.output_dim])?.matmul(kernel);
        let last = sizes.len() - 1;
        sizes[last] = self.input_dim;
        let scores = scores.reshape(&sizes)?;
        let scores = match self.logit_soft_cap {
            Some(cap) => scores.mul_scalar(1.0 / cap).tanh().mul_scalar(cap),
            None => scores,
        };
        call.add_activity_loss(&self.activity_regularizer, &scores)?;
        Ok(scores)
    }
}

impl Layer for ReversibleEmbedding {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        if let Some(other) = self.reverse_dtype.as_deref().filter(|dtype| *dtype != "float32") {
            return Err(Error::unsupported(format!("reverse_dtype={other}"), "float32"));
        }
        if let Some(cap) = self.logit_soft_cap.filter(|cap| !cap.is_finite() || *cap <= 0.0) {
            return Err(Error::argument("logit_soft_cap", "a number above 0", cap));
        }
        self.table().output_shape(input)
    }

    fn output_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
        arguments.expect_only(&[REVERSE])?;
        let [input] = inputs else { return Err(Error::shape("one input", format!("{} inputs", inputs.len()))) };
        if !arguments.flag(REVERSE)? {
            return Ok(vec![self.output_shape(input)?]);
        }
        // Refuses invalid arguments.
        self.output_shape(&Shape::batch_of(()))?;
        let features = if input.rank() < 2 { 0 } else { input.last()? };
        if features != self.output_dim {
            return Err(Error::shape(format!("vectors of {} features", self.output_dim), input));
        }
        Ok(vec![input.with_last(Some(self.input_dim))])
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        let mut specs = self.table().weights(input)?;
        if !self.tie_weights {
            let sizes = [self.output_dim, self.input_dim];
            specs.push(WeightSpec::new("reverse_embeddings", sizes, self.embeddings_initializer.clone()));
        }
        Ok(specs)
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn check_values(&self, values: &[f32]) -> Result<bool> {
        self.table().check_values(values)
    }

    fn check_values_of(&self, values: &[f32], arguments: &Arguments) -> Result<bool> {
        if arguments.flag(REVERSE)? { Ok(false) } else { self.check_values(values) }
    }

    fn scratch(&self, input: &Shape, training: bool) -> Result<usize> {
        self.table().scratch(input, training)
    }

    fn scratch_for(&self, inputs: &[Shape], arguments: &Arguments, training: bool) -> Result<usize> {
        let [input] = inputs else { return Ok(0) };
        if !arguments.flag(REVERSE)? {
            return self.scratch(input, training);
        }
        // The transposed table, and scores before and after the cap.
        let scores = input.with_last(Some(self.input_dim)).known_len().saturating_mul(3);
        Ok(scores.saturating_add(self.input_dim.saturating_mul(self.output_dim)))
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        if !to.arguments().flag(REVERSE)? {
            return self.table().onnx(to);
        }
        to.set_masks(vec![None]);
        let kernel = if self.tie_weights { to.weight(0)?.permuted(&[1, 0]) } else { to.weight(1)? };
        let scores = to.dense(to.input(), to.rank(), kernel, None);
        let Some(cap) = self.logit_soft_cap else { return Ok(vec![scores]) };
        let scores = to.mul_number(scores, 1.0 / cap);
        let scores = to.op("Tanh", &[scores], vec![]);
        Ok(vec![to.mul_number(scores, cap)])
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        if call.arguments().flag(REVERSE)? { self.scores(input, call) } else { self.table().forward(input, call) }
    }
}

impl BuiltIn for ReversibleEmbedding {
    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new(5, 3), Shape::batch_of(4)), (Self::new(3, 2).mask_zero(true), Shape::batch_of((2, 3)))]
    }

    fn classes(&self) -> Option<usize> {
        Some(self.input_dim)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    /// Values calculated by hand.
    #[test]
    fn reverse_multiplies_with_every_row() {
        let of = |numbers: &[f32], sizes: &[usize]| Value::from_vec(numbers.to_vec(), sizes, &Device::flex()).unwrap();
        let mut arguments = Arguments::new();
        arguments.set_option("reverse", true);
        let run = |layer: &ReversibleEmbedding, weights: &[Value]| {
            let mut call = Call::inference(weights).given(vec![None], &arguments);
            layer.forward(of(&[2.0, 1.0], &[1, 2]), &mut call).unwrap().to_vec().unwrap()
        };
        let table = of(&[1.0, 0.0, 0.0, 1.0, 1.0, -3.0], &[3, 2]);
        let layer = ReversibleEmbedding::new(3, 2);
        assert_eq!(run(&layer, std::slice::from_ref(&table)), [2.0, 1.0, -1.0]);
        let capped = run(&layer.clone().logit_soft_cap(2.0), std::slice::from_ref(&table));
        assert!((capped[0] - 2.0 * 1f32.tanh()).abs() < 1e-6);
        let back = of(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], &[2, 3]);
        assert_eq!(run(&layer.clone().tie_weights(false), &[table, back]), [3.0, 6.0, 9.0]);

        let shapes = |input: Shape| layer.output_shapes(&[input], &arguments);
        assert_eq!(shapes(Shape::batch_of((7, 2))).unwrap()[0], Shape::batch_of((7, 3)));
        assert!(shapes(Shape::batch_of((7, 3))).is_err());
        assert!(layer.check_values_of(&[0.5], &arguments).is_ok() && layer.check_values(&[0.5]).is_err());
        let half = layer.clone().reverse_dtype(Some("bfloat16".to_owned()));
        assert!(half.output_shape(&Shape::batch_of(3)).is_err());
    }
}
