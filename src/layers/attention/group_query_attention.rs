//! `GroupQueryAttention`: multi-head attention with groups of query heads that share keys and values.

use super::frozen::Freezable;
use super::heads::{Heads, Projections, Sight, check_arguments, check_masks, onnx_attend, onnx_heads, scratch};
use super::{Three, differ};
use crate::activations::Activation;
use crate::constraints::Constraint;
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::layers::regularization::check_rate;
use crate::layers::{Arguments, BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer, WeightSpec};
use crate::ops::Value;
use crate::regularizers::Regularizer;
use crate::shape::Shape;

crate::describe! {
    /// Grouped-query attention, in which groups of query heads share a key and a value head (Ainslie et al. 2023):
    /// `softmax(Q · Kᵀ / √head_dim) · V` in each head. With one key and value head it is multi-query attention, with as
    /// many as query heads it is [`MultiHeadAttention`](super::MultiHeadAttention).
    ///
    /// It is called like that layer, with the same masks and arguments, and also heeds a `query_mask`. Keras's own name
    /// for the class is `GroupedQueryAttention`, which its `.h5` files have; both names are read.
    ///
    /// # Shapes
    /// query `(batch, T, features)`, value `(batch, S, features)` and key `(batch, S, …)` → `(batch, T, features)`;
    /// scores `(batch, num_query_heads, T, S)`. Weights: `kernel` (features, num_query_heads, head_dim) and `bias`
    /// (num_query_heads, head_dim) of the query, the same with num_key_value_heads of key and value, with `use_gate` of
    /// the gate, as the query's, before the value; `kernel` (num_query_heads, head_dim, features) and `bias` of the
    /// output.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let words = Input::new((20, 32)).symbol();
    /// let attended = GroupQueryAttention::new(8, 4, 2).call([&words, &words])?;
    /// assert_eq!(attended.shape().to_string(), "(None, 20, 32)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct GroupQueryAttention as "GroupedQueryAttention" {
        /// Features in each head.
        head_dim: usize,
        /// Number of heads.
        num_query_heads: usize,
        /// Number of heads of key and value, each shared by an equal number of query heads.
        num_key_value_heads: usize,
        /// The fraction of the scores to drop in training.
        dropout: f32 = 0.0,
        /// Whether the projections have biases.
        use_bias: bool = true,
        /// The attention window around a step, this one included.
        sliding_window: Option<usize> = None,
        /// Whether the attention output is multiplied by a gate computed from the query.
        use_gate: bool = false,
        /// The initializer of the kernels.
        kernel_initializer: Initializer = Initializer::GlorotUniform { seed: None },
        /// The initializer of the biases.
        bias_initializer: Initializer = Initializer::Zeros {},
        /// The penalty on each kernel.
        kernel_regularizer: Option<Regularizer> = None,
        /// The penalty on each bias.
        bias_regularizer: Option<Regularizer> = None,
        /// The penalty on the outputs of each projection, and once more on those of the layer, including the scores.
        activity_regularizer: Option<Regularizer> = None,
        /// The constraint on each kernel.
        kernel_constraint: Option<Constraint> = None,
        /// The constraint on each bias.
        bias_constraint: Option<Constraint> = None,
        /// The layer's seed for dropout, in place of the run's.
        seed: Option<u64> = None,
    }
}

impl GroupQueryAttention {
    /// `num_query_heads` heads of `head_dim` features, which share `num_key_value_heads` key and value heads.
    pub fn new(head_dim: usize, num_query_heads: usize, num_key_value_heads: usize) -> Self {
        Self::required(head_dim, num_query_heads, num_key_value_heads)
    }

    fn check(&self) -> Result<()> {
        let counts = [
            ("head_dim", self.head_dim),
            ("num_query_heads", self.num_query_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("sliding_window", self.sliding_window.unwrap_or(1)),
        ];
        for (argument, count) in counts {
            if count == 0 {
                return Err(Error::argument(argument, "an integer above 0", count));
            }
        }
        if !self.num_query_heads.is_multiple_of(self.num_key_value_heads) {
            let expected = format!("a multiple of num_key_value_heads={}", self.num_key_value_heads);
            return Err(Error::argument("num_query_heads", expected, self.num_query_heads));
        }
        check_rate("dropout", self.dropout)
    }

    fn projections(&self) -> Projections<'_> {
        Projections {
            use_bias: self.use_bias,
            kernel_initializer: &self.kernel_initializer,
            bias_initializer: &self.bias_initializer,
            kernel_regularizer: &self.kernel_regularizer,
            bias_regularizer: &self.bias_regularizer,
            activity_regularizer: &self.activity_regularizer,
            kernel_constraint: &self.kernel_constraint,
            bias_constraint: &self.bias_constraint,
        }
    }

    /// `(batch, steps, features)` → `(batch, steps, heads, head_dim)`, by the projection at `index`.
    fn heads(&self, input: &Value, index: usize, activation: &Activation, call: &mut Call<'_>) -> Result<Value> {
        let output = self.projections().project(input, index, activation, call)?;
        match output.rank() {
            4 => Ok(output),
            _ => Err(Error::shape("inputs of 3 dimensions", format!("{:?}", input.sizes()))),
        }
    }
}

impl Layer for GroupQueryAttention {
    fn output_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
        self.check()?;
        check_arguments("GroupQueryAttention", arguments)?;
        let Three([query, value, key]) = Three::of(&inputs[..arguments.positional(inputs.len())])?;
        for input in [&query, &value, &key] {
            input.expect_rank(3)?;
            input.last()?;
        }
        // Keras requires it, though nothing here needs it.
        if differ(query.sizes()[2], value.sizes()[2]) {
            return Err(Error::shape(format!("a value of as many features as the query {query}"), value));
        }
        if differ(value.sizes()[1], key.sizes()[1]) {
            return Err(Error::shape(format!("inputs that agree along axis 1: {value}"), key));
        }
        let scores = Shape::new([query.sizes()[0], Some(self.num_query_heads), query.sizes()[1], key.sizes()[1]]);
        check_masks(inputs, arguments, &scores)?;
        Ok(if arguments.flag("return_attention_scores")? { vec![query, scores] } else { vec![query] })
    }

    fn weights_for(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        let Three([query, value, key]) = Three::of(inputs)?;
        let (many, few, size) = (self.num_query_heads, self.num_key_value_heads, self.head_dim);
        let projections = self.projections();
        let features = query.last()?;
        let mut specs = projections.specs("_query_dense", vec![features, many, size], vec![many, size]);
        specs.extend(projections.specs("_key_dense", vec![key.last()?, few, size], vec![few, size]));
        if self.use_gate {
            specs.extend(projections.specs("_gate_dense", vec![features, many, size], vec![many, size]));
        }
        specs.extend(projections.specs("_value_dense", vec![value.last()?, few, size], vec![few, size]));
        specs.extend(projections.specs("_output_dense", vec![many, size, features], vec![features]));
        Ok(specs)
    }

    fn scratch_for(&self, inputs: &[Shape], _: &Arguments, training: bool) -> Result<usize> {
        Ok(scratch(inputs, self.num_query_heads, self.head_dim, training))
    }

    fn call_parameters(&self) -> &'static [&'static str] {
        &["query", "value", "key"]
    }

    fn takes_a_list(&self, _: usize) -> bool {
        false
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn frozen_step_for(&self, freezing: &Freezing<'_>, arguments: &Arguments) -> Option<Frozen> {
        // A window masks scores.
        if self.use_gate || self.sliding_window.is_some() {
            return None;
        }
        let (heads, groups, size) = (self.num_query_heads, self.num_key_value_heads, self.head_dim);
        Freezable { heads, groups, size, width: size, use_bias: self.use_bias }.step(freezing, arguments)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let positional = to.arguments().positional(to.inputs().len());
        let Three([query, value, key]) = Three::of(&to.inputs()[..positional])?;
        let Three([query_shape, value_shape, key_shape]) = Three::of(&to.shapes()[..positional])?;
        let returns_scores = to.arguments().flag("return_attention_scores")?;
        let (projections, gate) = (self.projections(), usize::from(self.use_gate));
        let heads = |(edge, shape): (Edge, &Shape), index: usize, activation: &Activation| -> Result<Edge> {
            let (projected, sizes) = projections.onnx(to, edge, shape, index, 1)?;
            let projected = to.activate(activation, projected, shape)?;
            Ok(to.reshape(projected, [0, 0, sizes[1] as i64, sizes[2] as i64]))
        };
        let inputs = [(query, &query_shape), (value, &value_shape), (key, &key_shape)];
        let (projected, gates) = onnx_heads(inputs, self.use_gate, heads)?;
        let sight = Sight { window: self.sliding_window, takes_query_mask: true };
        let mask = sight.onnx(to, [query_shape.sizes()[1], key_shape.sizes()[1]])?;
        let fused = self.dropout == 0.0 && !returns_scores;
        let counts = [self.num_query_heads, self.num_key_value_heads, self.head_dim];
        let (attended, scores) = onnx_attend(to, projected, gates, mask, fused, counts);
        let attended = to.reshape(attended, [0, 0, (self.num_query_heads * self.head_dim) as i64]);
        let output = self.projections().onnx_output(to, attended, &query_shape, 3 + gate)?;
        let query_mask = to.mask(0);
        to.set_masks(vec![query_mask, None]);
        Ok(std::iter::once(output).chain(returns_scores.then_some(scores)).collect())
    }

    fn forward_all(&self, inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
        let arguments = call.arguments().clone();
        let Three([query, value, key]) = Three::of(&inputs[..arguments.positional(inputs.len())])?;
        let returns_scores = arguments.flag("return_attention_scores")?;
        let gate = usize::from(self.use_gate);
        let linear = Activation::Linear;
        let queries = self.heads(&query, 0, &linear, call)?;
        let keys = self.heads(&key, 1, &linear, call)?;
        let gates = match self.use_gate {
            true => Some(self.heads(&query, 2, &Activation::Sigmoid, call)?),
            false => None,
        };
        let values = self.heads(&value, 2 + gate, &linear, call)?;
        let heads = Heads { queries, keys, values, gates };
        let sight = Sight { window: self.sliding_window, takes_query_mask: true };
        let mask = sight.mask(&inputs, heads.scores()?, call)?;
        let fused = self.dropout == 0.0 && !returns_scores;
        let (attended, scores) = heads.attend(mask, (fused, returns_scores), (self.dropout, self.seed), call)?;
        let [batch, steps, heads, size] = attended.sizes()[..] else {
            return Err(Error::shape("heads of four dimensions", format!("{:?}", attended.sizes())));
        };
        let attended = attended.reshape(&[batch, steps, heads * size])?;
        let output = self.projections().output(attended, 3 + gate, call)?;
        let query_mask = call.masks().first().cloned().flatten();
        let outputs: Vec<Value> = std::iter::once(output).chain(scores).collect();
        call.set_output_masks([query_mask, None].into_iter().take(outputs.len()).collect());
        for output in &outputs {
            call.add_activity_loss(&self.activity_regularizer, output)?;
        }
        Ok(outputs)
    }
}

impl BuiltIn for GroupQueryAttention {
    const EXPORTED: &'static str = "GroupQueryAttention";

    fn examples_of_several() -> Vec<(Self, Vec<Shape>)> {
        let [words, others, keys] = [(4, 6), (3, 6), (3, 5)].map(Shape::batch_of);
        vec![
            (Self::new(3, 4, 2), vec![words.clone(), words.clone()]),
            (Self::new(2, 2, 1).use_bias(false).dropout(0.3), vec![words.clone(), others.clone(), keys]),
            (Self::new(2, 2, 2).use_gate(true), vec![words.clone(), others]),
            (Self::new(2, 3, 1).sliding_window(2usize).activity_regularizer("l2"), vec![words.clone(), words]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn wrong_arguments_and_inputs_are_named() {
        let [words, narrow, longer] = [(4, 6), (4, 5), (5, 6)].map(Shape::batch_of);
        let of = |layer: GroupQueryAttention, inputs: &[&Shape]| {
            let inputs: Vec<Shape> = inputs.iter().map(|input| (*input).clone()).collect();
            layer.output_shapes(&inputs, &Arguments::new()).unwrap_err().to_string()
        };
        let both = [&words, &words];
        assert!(of(GroupQueryAttention::new(0, 2, 1), &both).contains("head_dim"));
        assert!(of(GroupQueryAttention::new(2, 0, 1), &both).contains("num_query_heads"));
        assert!(of(GroupQueryAttention::new(2, 2, 0), &both).contains("num_key_value_heads"));
        let error = of(GroupQueryAttention::new(2, 3, 2), &both);
        assert!(error.contains("a multiple of num_key_value_heads=2"), "{error}");
        assert!(of(GroupQueryAttention::new(2, 2, 1).sliding_window(0usize), &both).contains("sliding_window"));
        assert!(of(GroupQueryAttention::new(2, 2, 1).dropout(2.0), &both).contains("dropout"));
        let layer = || GroupQueryAttention::new(2, 2, 1);
        assert!(of(layer(), &[&words]).contains("a query and a value"));
        assert!(of(layer(), &[&words, &narrow]).contains("as many features as the query"));
        assert!(of(layer(), &[&words, &words, &longer]).contains("axis 1"));
        let flat = Shape::batch_of(6);
        assert!(of(layer(), &[&flat, &flat]).contains("ndim=3"));
    }

    #[test]
    fn mask_arguments_are_checked() {
        let words = Shape::batch_of((4, 6));
        let refused = |name: &str, mask: Shape| {
            let mut arguments = Arguments::new();
            arguments.push_named(name, vec![true]);
            let inputs = [words.clone(), words.clone(), mask];
            GroupQueryAttention::new(2, 2, 1).output_shapes(&inputs, &arguments).err().map(|error| error.to_string())
        };
        assert!(refused("query_mask", Shape::batch_of(5)).unwrap().contains("query_mask"));
        assert!(refused("value_mask", Shape::batch_of((4, 4))).unwrap().contains("value_mask"));
        assert!(refused("attention_mask", Shape::batch_of((4, 3))).unwrap().contains("attention_mask"));
        assert!(refused("attention_mask", Shape::batch_of(4)).unwrap().contains("attention_mask"));
        assert!(refused("mask", Shape::batch_of(4)).unwrap().contains("`mask`"));
        assert_eq!(refused("key_mask", Shape::batch_of(4)), None);
        assert_eq!(refused("attention_mask", Shape::batch_of((2, 1, 4))), None);
    }

    /// The penalties of Keras 3.15.1: on each projection, and once more on the outputs.
    #[test]
    fn penalties_are_those_of_keras() {
        let sizes = [[4, 2, 2], [4, 1, 2], [4, 1, 2], [2, 2, 4]];
        let of = |sizes: &[usize]| {
            let count = sizes.iter().product::<usize>();
            Value::from_vec((0..count).map(|i| (i as f32 * 0.9).cos()).collect(), sizes, &Device::flex()).unwrap()
        };
        let weights = sizes.map(|sizes| of(&sizes));
        let layer = GroupQueryAttention::new(2, 2, 1).use_bias(false).activity_regularizer("l2");
        for (returns, count) in [(false, 5), (true, 6)] {
            let mut arguments = Arguments::new();
            arguments.set_option("return_attention_scores", returns);
            let mut call = Call::inference(&weights).given(Vec::new(), &arguments);
            layer.forward_all(vec![of(&[2, 3, 4]), of(&[2, 3, 4])], &mut call).unwrap();
            assert_eq!(call.losses().len(), count);
        }
    }
}
