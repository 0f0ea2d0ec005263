//! `Attention`: dot-product attention.

use super::scored;
use crate::config::choice;
use crate::error::Result;
use crate::layers::{Arguments, BuiltIn, Call, Edge, Exporting, Layer, WeightSpec};
use crate::ops::Value;
use crate::shape::Shape;

choice! {
    /// How [`Attention`] scores a step of the query against one of the key.
    pub enum ScoreMode: "score mode" {
        /// Their dot product.
        Dot = "dot",
        /// The sum of the hyperbolic tangents of their added features.
        Concat = "concat",
    }
}

crate::describe! {
    /// Dot-product attention (Luong et al. 2015): `softmax(query · keyᵀ) · value`.
    ///
    /// It is called on a list of the query and the value, or of the query, the value and the key. The value's mask says
    /// which of its steps are attended to; at masked steps of the query the output is 0. `use_causal_mask` (no step
    /// attends to later steps) and `return_attention_scores` are arguments of the call; as in Keras the scores are
    /// returned after dropout.
    ///
    /// # Shapes
    /// query `(batch, …, T, features)`, value `(batch, …, S, values)` and key `(batch, …, S, features)` →
    /// `(batch, …, T, values)`; scores `(batch, …, T, S)`. Weights: `scale` () with `use_scale`, `concat_score_weight` ()
    /// with the mode `concat`.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let (words, image) = (Input::new((20, 32)).symbol(), Input::new((49, 32)).symbol());
    /// let seen = Attention::new().use_scale(true).call([&words, &image])?;
    /// assert_eq!(seen.shape().to_string(), "(None, 20, 32)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Attention {
        /// Whether the scores are multiplied by a learned scalar.
        use_scale: bool = false,
        /// The score function: `dot` or `concat`.
        score_mode: ScoreMode = ScoreMode::Dot,
        /// The fraction of the scores to drop in training.
        dropout: f32 = 0.0,
        /// The layer's seed for dropout, in place of the run's.
        seed: Option<u64> = None,
    }
}

impl Attention {
    /// Plain dot products.
    pub fn new() -> Self {
        Self::default()
    }

    /// A scalar weight, reshaped to multiply scores of `rank` dimensions.
    fn number(call: &Call<'_>, index: usize, rank: usize) -> Result<Value> {
        call.weight(index).reshape(&vec![1; rank])
    }

    /// `(batch, T, features)` and `(batch, S, features)` → `(batch, T, S)`.
    fn scores(&self, query: Value, key: Value, call: &Call<'_>) -> Result<Value> {
        match self.score_mode {
            ScoreMode::Concat => {
                let mut sums = sums(query, key)?;
                if self.use_scale {
                    let sizes = sums.sizes();
                    sums = sums * Self::number(call, 0, 4)?.expand(&sizes);
                }
                let scores = sum_features(sums.tanh())?;
                let sizes = scores.sizes();
                Ok(scores * Self::number(call, usize::from(self.use_scale), 3)?.expand(&sizes))
            }
            _ => {
                let scores = query.matmul(key.permute(&[0, 2, 1]));
                let sizes = scores.sizes();
                Ok(if self.use_scale { scores * Self::number(call, 0, 3)?.expand(&sizes) } else { scores })
            }
        }
    }
}

/// The sum of each step of the query with each of the key: `(batch, T, S, features)`.
pub(super) fn sums(query: Value, key: Value) -> Result<Value> {
    let ([batch, rows, features], columns) = (of_three(&query)?, of_three(&key)?[1]);
    let sizes = [batch, rows, columns, features];
    let query = query.reshape(&[batch, rows, 1, features])?.expand(&sizes);
    Ok(query + key.reshape(&[batch, 1, columns, features])?.expand(&sizes))
}

/// Reduces the features by sum: `(batch, T, S, features)` → `(batch, T, S)`.
pub(super) fn sum_features(values: Value) -> Result<Value> {
    let sizes = values.sizes();
    values.sum_axis(3).reshape(&sizes[..3])
}

fn of_three(value: &Value) -> Result<[usize; 3]> {
    let sizes = value.sizes();
    <[usize; 3]>::try_from(&sizes[..]).map_err(|_| crate::Error::shape("a value of 3 dimensions", format!("{sizes:?}")))
}

/// The number of values per score of [`sums`] and its intermediates, for a query of this shape.
pub(super) fn each(inputs: &[Shape], training: bool) -> usize {
    let features = inputs.first().and_then(|query| query.sizes().last().copied().flatten()).unwrap_or(1);
    features.saturating_mul(if training { 5 } else { 3 })
}

impl Layer for Attention {
    fn output_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
        self.score_mode.check()?;
        scored::output_shapes(inputs, arguments, self.dropout)
    }

    fn weights_for(&self, _: &[Shape]) -> Result<Vec<WeightSpec>> {
        let number = |name: &str| WeightSpec::new(name, [], "ones");
        let scale = self.use_scale.then(|| number("scale"));
        let weight = (self.score_mode == ScoreMode::Concat).then(|| number("concat_score_weight"));
        Ok(scale.into_iter().chain(weight).collect())
    }

    fn scratch_for(&self, inputs: &[Shape], _: &Arguments, training: bool) -> Result<usize> {
        let each = if self.score_mode == ScoreMode::Concat { each(inputs, training) } else { 0 };
        scored::scratch(inputs, each, training)
    }

    fn takes_a_list(&self, _: usize) -> bool {
        true
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        scored::onnx(to, |to, query, key, rank| match self.score_mode {
            ScoreMode::Concat => {
                let mut sums = scored::onnx_sums(to, query, key, rank);
                if let Some(scale) = to.weight_if(self.use_scale, 0)? {
                    sums = to.mul_number(sums, scale.values[0]);
                }
                let tanh = to.op("Tanh", &[sums], vec![]);
                let scores = to.reduce("ReduceSum", tanh, &[rank], false);
                let weight = to.weight(usize::from(self.use_scale))?.values[0];
                Ok(to.mul_number(scores, weight))
            }
            _ => {
                let turned: Vec<usize> = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
                let key = to.transpose(key, &turned);
                let scores = to.matmul(query, key);
                Ok(match to.weight_if(self.use_scale, 0)? {
                    Some(scale) => to.mul_number(scores, scale.values[0]),
                    None => scores,
                })
            }
        })
    }

    fn forward_all(&self, inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
        scored::forward(&inputs, call, (self.dropout, self.seed), |query, key, call| self.scores(query, key, call))
    }
}

impl BuiltIn for Attention {
    fn renew(config: &mut crate::config::Config, _: bool) {
        // Until TensorFlow 2.9 `causal` was an argument of the layer, not of its calls.
        if config.get("causal") == Some(&serde_json::json!(false)) {
            config.shift_remove("causal");
        }
    }

    fn examples_of_several() -> Vec<(Self, Vec<Shape>)> {
        let [words, others, wide] = [(3, 4), (5, 4), (5, 2)].map(Shape::batch_of);
        let deep = Shape::batch_of((2, 3, 4));
        vec![
            (Self::new(), vec![words.clone(), others.clone()]),
            (Self::new().use_scale(true).dropout(0.3), vec![words.clone(), wide, others.clone()]),
            (Self::new().use_scale(true).score_mode("concat"), vec![words.clone(), others.clone()]),
            (Self::new().score_mode("concat").dropout(0.5).seed(3), vec![words, others]),
            (Self::new(), vec![deep.clone(), deep]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn of(sizes: &[usize]) -> Value {
        let count = sizes.iter().product::<usize>();
        Value::from_vec((0..count).map(|i| (i as f32 * 0.7).sin()).collect(), sizes, &Device::flex()).unwrap()
    }

    #[test]
    fn wrong_arguments_and_inputs_are_named() {
        let [words, others, narrow] = [(3, 4), (5, 4), (5, 3)].map(Shape::batch_of);
        let refused = |layer: Attention, inputs: &[&Shape], arguments: &Arguments| {
            let inputs: Vec<Shape> = inputs.iter().map(|input| (*input).clone()).collect();
            layer.output_shapes(&inputs, arguments).unwrap_err().to_string()
        };
        let none = Arguments::new();
        assert!(refused(Attention::new().score_mode("sum"), &[&words, &others], &none).contains("concat"));
        assert!(refused(Attention::new().dropout(1.5), &[&words, &others], &none).contains("dropout"));
        assert!(refused(Attention::new(), &[&words], &none).contains("a query and a value"));
        assert!(refused(Attention::new(), &[&words, &narrow], &none).contains("axis 2"));
        assert!(refused(Attention::new(), &[&words, &others, &words], &none).contains("axis 1"));
        let flat = Shape::batch_of(4);
        assert!(refused(Attention::new(), &[&flat, &flat], &none).contains("3 to 6 dimensions"));
        let mut arguments = Arguments::new();
        arguments.set_option("attention_mask", true);
        assert!(refused(Attention::new(), &[&words, &others], &arguments).contains("attention_mask"));
        let mut arguments = Arguments::new();
        arguments.set_option("use_causal_mask", 1);
        assert!(refused(Attention::new(), &[&words, &others], &arguments).contains("use_causal_mask"));
    }

    #[test]
    fn axes_before_the_steps_are_batch_axes() {
        let attend = |query: Value, value: Value| {
            Attention::new().forward_all(vec![query, value], &mut Call::inference(&[])).unwrap().remove(0)
        };
        let (query, value) = (of(&[2, 2, 3, 4]), of(&[2, 2, 5, 4]));
        let deep = attend(query.clone(), value.clone());
        let flat = attend(query.reshape(&[4, 3, 4]).unwrap(), value.reshape(&[4, 5, 4]).unwrap());
        assert_eq!(deep.sizes(), [2, 2, 3, 4]);
        assert_eq!(deep.to_vec().unwrap(), flat.to_vec().unwrap());
    }

    #[test]
    fn a_mask_for_other_steps_is_an_error() {
        let masks = vec![None, Some(of(&[2, 3]))];
        let arguments = Arguments::new();
        let mut call = Call::inference(&[]).given(masks, &arguments);
        let error = Attention::new().forward_all(vec![of(&[2, 3, 4]), of(&[2, 5, 4])], &mut call).unwrap_err();
        assert!(error.to_string().contains("a mask of shape (2, 5)"), "{error}");
    }

    /// As in Keras: with nothing to attend to the weighted sum is 0.
    #[test]
    fn nothing_to_attend_to_gives_zeros() {
        let inputs = vec![of(&[1, 3, 4]), Value::empty(&[1, 0, 4], &Device::flex()).unwrap()];
        for mode in ["dot", "concat"] {
            let weights = [of(&[1])];
            let mut call = Call::inference(&weights);
            let output = Attention::new().score_mode(mode).forward_all(inputs.clone(), &mut call).unwrap().remove(0);
            assert_eq!(output.to_vec().unwrap(), [0.0; 12]);
        }
    }

    #[test]
    fn dropout_repeats_and_has_the_layers_seed() {
        let inputs = || vec![of(&[2, 3, 4]), of(&[2, 5, 4])];
        let run = |layer: &Attention, key: &[u64]| {
            let mut call = Call::training(&[], true, key);
            layer.forward_all(inputs(), &mut call).unwrap().remove(0).to_vec().unwrap()
        };
        let plain = Attention::new().dropout(0.5);
        assert_eq!(run(&plain, &[1, 2, 3]), run(&plain, &[1, 2, 3]));
        assert_ne!(run(&plain, &[1, 2, 3]), run(&plain, &[1, 3, 3]));
        assert_ne!(run(&plain, &[1, 2, 3]), run(&plain, &[4, 2, 3]));
        let seeded = plain.seed(7);
        assert_eq!(run(&seeded, &[1, 2, 3]), run(&seeded, &[4, 2, 3]));
        let scores = |layer: Attention| {
            let mut arguments = Arguments::new();
            arguments.set_option("return_attention_scores", true);
            let mut call = Call::training(&[], true, &[1, 2, 3]).given(Vec::new(), &arguments);
            layer.forward_all(inputs(), &mut call).unwrap().remove(1).to_vec().unwrap()
        };
        // The scores are returned after dropout.
        let zeros = scores(Attention::new().dropout(0.5)).iter().filter(|score| **score == 0.0).count();
        assert!((5..25).contains(&zeros), "{zeros} of 30");
        assert!(scores(Attention::new()).iter().all(|score| *score > 0.0));
    }
}
