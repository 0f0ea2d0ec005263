//! `AdditiveAttention`: attention with additive scores.

use super::attention::{each, sum_features, sums};
use super::scored;
use crate::error::Result;
use crate::layers::{Arguments, BuiltIn, Call, Edge, Exporting, Layer, WeightSpec};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// Additive attention (Bahdanau et al. 2015): `softmax(Σ scale · tanh(query + key)) · value`, summed over the
    /// features.
    ///
    /// It is called like [`Attention`](super::Attention), with the same masks and arguments.
    ///
    /// # Shapes
    /// query `(batch, …, T, features)`, value `(batch, …, S, values)` and key `(batch, …, S, features)` →
    /// `(batch, …, T, values)`; scores `(batch, …, T, S)`. Weights: `scale` (features) with `use_scale`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let (words, others) = (Input::new((20, 32)).symbol(), Input::new((30, 32)).symbol());
    /// let seen = AdditiveAttention::new().call([&words, &others])?;
    /// assert_eq!(seen.shape().to_string(), "(None, 20, 32)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct AdditiveAttention {
        /// Whether each feature has a learned weight.
        use_scale: bool = true,
        /// The fraction of the scores to drop in training.
        dropout: f32 = 0.0,
        /// The layer's seed for dropout, in place of the run's.
        seed: Option<u64> = None,
    }
}

impl AdditiveAttention {
    /// With a learned weight for each feature.
    pub fn new() -> Self {
        Self::default()
    }

    /// `(batch, T, features)` and `(batch, S, features)` → `(batch, T, S)`.
    fn scores(&self, query: Value, key: Value, call: &Call<'_>) -> Result<Value> {
        let mut values = sums(query, key)?.tanh();
        if self.use_scale {
            let sizes = values.sizes();
            values = values * call.weight(0).reshape(&[1, 1, 1, sizes[3]])?.expand(&sizes);
        }
        sum_features(values)
    }
}

impl Layer for AdditiveAttention {
    fn output_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
        scored::output_shapes(inputs, arguments, self.dropout)
    }

    fn weights_for(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        match inputs.first().filter(|_| self.use_scale) {
            Some(query) => Ok(vec![WeightSpec::new("scale", [query.last()?], "glorot_uniform")]),
            None => Ok(Vec::new()),
        }
    }

    fn scratch_for(&self, inputs: &[Shape], _: &Arguments, training: bool) -> Result<usize> {
        scored::scratch(inputs, each(inputs, training), training)
    }

    fn takes_a_list(&self, _: usize) -> bool {
        true
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        scored::onnx(to, |to, query, key, rank| {
            let sums = scored::onnx_sums(to, query, key, rank);
            let mut values = to.op("Tanh", &[sums], vec![]);
            if let Some(scale) = to.weight_if(self.use_scale, 0)? {
                let scale = to.constant("scale", scale);
                values = to.mul(values, scale);
            }
            Ok(to.reduce("ReduceSum", values, &[rank], false))
        })
    }

    fn forward_all(&self, inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
        scored::forward(&inputs, call, (self.dropout, self.seed), |query, key, call| self.scores(query, key, call))
    }
}

impl BuiltIn for AdditiveAttention {
    fn renew(config: &mut crate::config::Config, _: bool) {
        // Until TensorFlow 2.9 `causal` was an argument of the layer, not of its calls.
        if config.get("causal") == Some(&serde_json::json!(false)) {
            config.shift_remove("causal");
        }
    }

    fn examples_of_several() -> Vec<(Self, Vec<Shape>)> {
        let [words, others, wide] = [(3, 4), (5, 4), (5, 2)].map(Shape::batch_of);
        vec![
            (Self::new(), vec![words.clone(), others.clone()]),
            (Self::new().use_scale(false), vec![words.clone(), wide, others.clone()]),
            (Self::new().dropout(0.3), vec![words, others]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_inputs_are_named() {
        let [words, narrow] = [(3, 4), (5, 3)].map(Shape::batch_of);
        let refused = |inputs: &[Shape]| {
            AdditiveAttention::new().output_shapes(inputs, &Arguments::new()).unwrap_err().to_string()
        };
        assert!(refused(std::slice::from_ref(&words)).contains("a query and a value"));
        assert!(refused(&[words.clone(), narrow]).contains("axis 2"));
        let open = Shape::new([None, Some(3), None]);
        let error = AdditiveAttention::new().weights_for(&[open.clone(), open]).unwrap_err().to_string();
        assert!(error.contains("a known last dimension"), "{error}");
    }

    /// The `(batch, T, S, features)` intermediates dominate the memory.
    #[test]
    fn the_estimate_includes_the_sums() {
        let inputs = [(100, 64), (50, 64)].map(|sample| Shape::batch_of(sample).with_batch(8));
        let needs = |training| AdditiveAttention::new().scratch_for(&inputs, &Arguments::new(), training).unwrap();
        assert!(needs(false) >= 2 * 8 * 100 * 50 * 64);
        assert!(needs(true) > needs(false));
        let huge = Shape::batch_of((1 << 40, 64)).with_batch(8);
        let most = AdditiveAttention::new().scratch_for(&[huge.clone(), huge], &Arguments::new(), false).unwrap();
        assert_eq!(most, usize::MAX);
    }
}
