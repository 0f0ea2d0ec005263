//! `MultiHeadAttention`: scaled dot-product attention in several heads.

use serde::{Deserialize, Serialize};

use super::frozen::Freezable;
use super::heads::{Heads, Projections, Sight, check_arguments, check_masks, onnx_attend, onnx_heads, scratch};
use super::{Three, differ};
use crate::activations::Activation;
use crate::config::Argument;
use crate::constraints::Constraint;
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::layers::regularization::check_rate;
use crate::layers::{Arguments, BuiltIn, Call, Edge, Exporting, Freezing, Frozen, Layer, WeightSpec, check_rank};
use crate::ops::{MAX_RANK, Value};
use crate::regularizers::Regularizer;
use crate::shape::Shape;

crate::describe! {
    /// Multi-head attention (Vaswani et al. 2017): `softmax(Q · Kᵀ / √key_dim) · V` in each head, where `Q`, `K` and
    /// `V` are linear projections of the query, the key and the value, followed by an output projection over all heads.
    ///
    /// It is called on the query and the value, or on the query, the value and the key. Masked steps of the inputs are
    /// not attended to. `attention_mask`, `use_causal_mask` and `return_attention_scores` are arguments of the call.
    ///
    /// # Shapes
    /// query `(batch, T, …)`, value and key `(batch, S, …)` → `(batch, T, query's features)`, or `output_shape` in
    /// place of the features; scores `(batch, num_heads, T, S)`. Weights: `kernel` (features, num_heads, key_dim) and
    /// `bias` (num_heads, key_dim) of query, key and value (value_dim), with `use_gate` of the gate before the value;
    /// `kernel` (num_heads, value_dim, features) and `bias` of the output.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let words = Input::new((20, 32)).symbol();
    /// let attended = MultiHeadAttention::new(4, 8).call([&words, &words])?;
    /// assert_eq!(attended.shape().to_string(), "(None, 20, 32)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct MultiHeadAttention {
        /// Number of heads.
        num_heads: usize,
        /// Features of query and key in each head.
        key_dim: usize,
        /// Features of the value in each head; by default `key_dim`.
        value_dim: Option<usize> = None,
        /// The fraction of the scores to drop in training.
        dropout: f32 = 0.0,
        /// Whether the projections have biases.
        use_bias: bool = true,
        /// The output's features; by default the query's.
        output_shape: Option<Sizes> = None,
        /// The axes to attend over; by default all but the batch's and the features'.
        attention_axes: Option<Vec<isize>> = None,
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
        /// The penalty on the outputs of each projection.
        activity_regularizer: Option<Regularizer> = None,
        /// The constraint on each kernel.
        kernel_constraint: Option<Constraint> = None,
        /// The constraint on each bias.
        bias_constraint: Option<Constraint> = None,
        /// The layer's seed for dropout, in place of the run's.
        seed: Option<u64> = None,
    }
}

/// The output's features: one size, or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Sizes {
    /// One size.
    One(usize),
    /// Several.
    Several(Vec<usize>),
}

impl From<usize> for Sizes {
    fn from(size: usize) -> Self {
        Self::One(size)
    }
}

impl Argument<Option<Sizes>> for usize {
    fn into_argument(self) -> Option<Sizes> {
        Some(Sizes::One(self))
    }
}

impl Argument<Option<Sizes>> for Vec<usize> {
    fn into_argument(self) -> Option<Sizes> {
        Some(Sizes::Several(self))
    }
}

impl Sizes {
    fn sizes(&self) -> &[usize] {
        match self {
            Self::One(size) => std::slice::from_ref(size),
            Self::Several(sizes) => sizes,
        }
    }
}

impl MultiHeadAttention {
    /// `num_heads` heads whose queries and keys have `key_dim` features.
    pub fn new(num_heads: usize, key_dim: usize) -> Self {
        Self::required(num_heads, key_dim)
    }

    fn value_features(&self) -> usize {
        self.value_dim.unwrap_or(self.key_dim)
    }

    fn check(&self) -> Result<()> {
        let counts = [
            ("num_heads", self.num_heads),
            ("key_dim", self.key_dim),
            ("value_dim", self.value_features()),
            ("sliding_window", self.sliding_window.unwrap_or(1)),
        ];
        for (argument, count) in counts {
            if count == 0 {
                return Err(Error::argument(argument, "an integer above 0", count));
            }
        }
        let features = self.output_shape.as_ref().map_or(&[1][..], Sizes::sizes);
        // The output also has the batch and at least one attention axis.
        check_rank("output_shape", features.len() + 2)?;
        if features.is_empty() || features.contains(&0) {
            return Err(Error::argument("output_shape", "sizes above 0", format!("{features:?}")));
        }
        check_rate("dropout", self.dropout)
    }

    /// The attention axes of an input of this rank.
    fn axes(&self, rank: usize) -> Result<Vec<usize>> {
        let Some(own) = &self.attention_axes else { return Ok((1..rank - 1).collect()) };
        let mut axes = Vec::with_capacity(own.len());
        for axis in own {
            let counted = if *axis < 0 { axis + rank as isize } else { *axis };
            let found =
                usize::try_from(counted).ok().filter(|axis| (1..rank - 1).contains(axis) && !axes.contains(axis));
            axes.push(found.ok_or_else(|| {
                Error::argument("attention_axes", format!("axes from 1 to {}, each once", rank - 2), format!("{own:?}"))
            })?);
        }
        if axes.is_empty() {
            return Err(Error::argument("attention_axes", "at least one axis", "none"));
        }
        Ok(axes)
    }

    /// The permutation of `(batch, …, heads, size)` to `(batch, others, attended, heads, size)`.
    fn order(&self, rank: usize) -> Result<Vec<usize>> {
        let axes = self.axes(rank)?;
        let others = (1..rank - 1).filter(|axis| !axes.contains(axis));
        let mut order = vec![0];
        order.extend(others);
        order.extend(&axes);
        order.extend([rank - 1, rank]);
        Ok(order)
    }

    /// The output's features for a query of this shape.
    fn features(&self, query: &Shape) -> Result<Vec<usize>> {
        match &self.output_shape {
            Some(sizes) => Ok(sizes.sizes().to_vec()),
            None => Ok(vec![query.last()?]),
        }
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

    /// `(batch, …, features)` → `(batch · others, attended, num_heads, size)`, by the projection at `index`.
    fn heads(&self, input: &Value, index: usize, activation: &Activation, call: &mut Call<'_>) -> Result<Value> {
        let rank = input.rank();
        let output = self.projections().project(input, index, activation, call)?;
        let sizes = output.sizes();
        let (heads, size) = (sizes[rank - 1], sizes[rank]);
        let axes = self.axes(rank)?;
        let attended: usize = axes.iter().map(|axis| sizes[*axis]).product();
        let others: usize = (1..rank - 1).filter(|axis| !axes.contains(axis)).map(|axis| sizes[axis]).product();
        output.permute(&self.order(rank)?).reshape(&[sizes[0] * others, attended, heads, size])
    }

    /// The inverse: `(batch · others, attended, num_heads, size)` → `(batch, …, num_heads · size)`, for a query of
    /// these sizes.
    fn merge_heads(&self, heads: Value, query: &[usize]) -> Result<Value> {
        let [_, _, count, size] = heads.sizes()[..] else {
            return Err(Error::shape("heads of four dimensions", format!("{:?}", heads.sizes())));
        };
        let order = self.order(query.len())?;
        let whole = [&query[..query.len() - 1], &[count, size]].concat();
        let split: Vec<usize> = order.iter().map(|axis| whole[*axis]).collect();
        let mut back = vec![0; order.len()];
        order.iter().enumerate().for_each(|(to, from)| back[*from] = to);
        heads.reshape(&split)?.permute(&back).reshape(&[&query[..query.len() - 1], &[count * size]].concat())
    }
}

impl Layer for MultiHeadAttention {
    fn output_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
        self.check()?;
        check_arguments("MultiHeadAttention", arguments)?;
        let positional = arguments.positional(inputs.len());
        let Three([query, value, key]) = Three::of(&inputs[..positional])?;
        for input in [&query, &value, &key] {
            if !(3..MAX_RANK).contains(&input.rank()) {
                let ranks = format!("3 to {} dimensions", MAX_RANK - 1);
                return Err(Error::shape(ranks, input));
            }
            input.expect_rank(query.rank())?;
            input.last()?;
        }
        let axes = self.axes(query.rank())?;
        let returns_scores = arguments.flag("return_attention_scores")?;
        let masks = positional < inputs.len() || arguments.flag("use_causal_mask")? || self.sliding_window.is_some();
        if query.rank() > 3 && (returns_scores || masks) {
            return Err(Error::unsupported(
                format!("masks and scores of inputs like {query}"),
                "inputs of 3 dimensions",
            ));
        }
        for axis in 1..query.rank() - 1 {
            let differ = |a: &Shape, b: &Shape| differ(a.sizes()[axis], b.sizes()[axis]);
            if differ(&value, &key) || (!axes.contains(&axis) && differ(&query, &value)) {
                return Err(Error::shape(format!("inputs that agree along axis {axis}: {query}, {value}"), key));
            }
        }
        let mut sizes = query.sizes()[..query.rank() - 1].to_vec();
        sizes.extend(self.features(&query)?.into_iter().map(Some));
        let output = Shape::new(sizes);
        if output.rank() > MAX_RANK {
            return Err(Error::shape(format!("an output of at most {MAX_RANK} dimensions"), output));
        }
        let scores = Shape::new([query.sizes()[0], Some(self.num_heads), query.sizes()[1], value.sizes()[1]]);
        check_masks(inputs, arguments, &scores)?;
        Ok(if returns_scores { vec![output, scores] } else { vec![output] })
    }

    fn weights_for(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        let (Some(query), Some(value)) = (inputs.first(), inputs.get(1)) else {
            return Err(Error::shape("a query and a value", format!("{} inputs", inputs.len())));
        };
        let key = inputs.get(2).unwrap_or(value);
        let (heads, size, values) = (self.num_heads, self.key_dim, self.value_features());
        let projections = self.projections();
        let mut specs = projections.specs("query_dense", vec![query.last()?, heads, size], vec![heads, size]);
        specs.extend(projections.specs("key_dense", vec![key.last()?, heads, size], vec![heads, size]));
        if self.use_gate {
            specs.extend(projections.specs("_gate_dense", vec![query.last()?, heads, values], vec![heads, values]));
        }
        specs.extend(projections.specs("value_dense", vec![value.last()?, heads, values], vec![heads, values]));
        let features = self.features(query)?;
        specs.extend(projections.specs("output_dense", [&[heads, values], features.as_slice()].concat(), features));
        Ok(specs)
    }

    fn scratch_for(&self, inputs: &[Shape], _: &Arguments, training: bool) -> Result<usize> {
        Ok(scratch(inputs, self.num_heads, self.key_dim.max(self.value_features()), training))
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
        let (heads, size, width) = (self.num_heads, self.key_dim, self.value_features());
        Freezable { heads, groups: heads, size, width, use_bias: self.use_bias }.step(freezing, arguments)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let positional = to.arguments().positional(to.inputs().len());
        let Three([query, value, key]) = Three::of(&to.inputs()[..positional])?;
        let Three([query_shape, value_shape, key_shape]) = Three::of(&to.shapes()[..positional])?;
        let returns_scores = to.arguments().flag("return_attention_scores")?;
        let rank = query_shape.rank();
        let (projections, gate) = (self.projections(), usize::from(self.use_gate));
        let heads = |(edge, shape): (Edge, &Shape), index: usize, activation: &Activation| -> Result<Edge> {
            let (projected, sizes) = projections.onnx(to, edge, shape, index, 1)?;
            let projected = to.activate(activation, projected, shape)?;
            let split = [sizes[1] as i64, sizes[2] as i64];
            if rank == 3 {
                return Ok(to.reshape(projected, [vec![0, 0], split.to_vec()].concat()));
            }
            let sample = to.known(shape)?;
            let whole: Vec<i64> = sample[..rank - 2].iter().map(|size| *size as i64).chain(split).collect();
            let whole = to.reshape(projected, [vec![0], whole].concat());
            let turned = to.transpose(whole, &self.order(rank)?);
            let attended: usize = self.axes(rank)?.iter().map(|axis| sample[axis - 1]).product();
            Ok(to.reshape(turned, [vec![-1, attended as i64], split.to_vec()].concat()))
        };
        let inputs = [(query, &query_shape), (value, &value_shape), (key, &key_shape)];
        let (projected, gates) = onnx_heads(inputs, self.use_gate, heads)?;
        let sight = Sight { window: self.sliding_window, takes_query_mask: false };
        let lengths = [query_shape.sizes()[1], value_shape.sizes()[1]];
        let mask = sight.onnx(to, lengths)?;
        let fused = self.dropout == 0.0 && !returns_scores && rank == 3;
        let counts = [self.num_heads, self.num_heads, self.key_dim];
        let (attended, scores) = onnx_attend(to, projected, gates, mask, fused, counts);
        let merged = (self.num_heads * self.value_features()) as i64;
        let attended = if rank == 3 {
            to.reshape(attended, [0, 0, merged])
        } else {
            let sample = to.known(&query_shape)?;
            let whole = [&[0], &sample[..rank - 2], &[self.num_heads, self.value_features()]].concat();
            let order = self.order(rank)?;
            let split: Vec<i64> = order.iter().map(|axis| whole[*axis] as i64).collect();
            let mut back = vec![0; order.len()];
            order.iter().enumerate().for_each(|(to, from)| back[*from] = to);
            let split = to.reshape(attended, [vec![-1], split[1..].to_vec()].concat());
            let turned = to.transpose(split, &back);
            let flat: Vec<i64> = sample[..rank - 2].iter().map(|size| *size as i64).chain([merged]).collect();
            to.reshape(turned, [vec![0], flat].concat())
        };
        let output = self.projections().onnx_output(to, attended, &query_shape, 3 + gate)?;
        let query_mask = to.mask(0);
        to.set_masks(vec![query_mask, None]);
        Ok(std::iter::once(output).chain(returns_scores.then_some(scores)).collect())
    }

    fn forward_all(&self, inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
        let arguments = call.arguments().clone();
        let positional = arguments.positional(inputs.len());
        let Three([query, value, key]) = Three::of(&inputs[..positional])?;
        let returns_scores = arguments.flag("return_attention_scores")?;
        let masks = call.masks();
        if query.rank() > 3 && masks[..positional.min(masks.len())].iter().any(Option::is_some) {
            return Err(Error::unsupported("masks of inputs of more than 3 dimensions", "inputs of 3 dimensions"));
        }
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
        // Keras uses the mask carried by the query even if the call has a `query_mask`.
        let sight = Sight { window: self.sliding_window, takes_query_mask: false };
        let mask = sight.mask(&inputs, heads.scores()?, call)?;
        let fused = self.dropout == 0.0 && !returns_scores && query.rank() == 3;
        let (attended, scores) = heads.attend(mask, (fused, returns_scores), (self.dropout, self.seed), call)?;
        let attended = self.merge_heads(attended, &query.sizes())?;
        let output = self.projections().output(attended, 3 + gate, call)?;
        let query_mask = call.masks().first().cloned().flatten();
        let outputs: Vec<Value> = std::iter::once(output).chain(scores).collect();
        call.set_output_masks([query_mask, None].into_iter().take(outputs.len()).collect());
        Ok(outputs)
    }
}

impl BuiltIn for MultiHeadAttention {
    fn renew(config: &mut crate::config::Config, _: bool) {
        crate::layers::built_in::forget(config, &["softmax_robust_masking", "query_shape", "key_shape", "value_shape"]);
    }

    fn examples_of_several() -> Vec<(Self, Vec<Shape>)> {
        let [words, others] = [Shape::batch_of((4, 6)), Shape::batch_of((3, 5))];
        vec![
            (Self::new(2, 3), vec![words.clone(), words.clone()]),
            (Self::new(2, 3).value_dim(4usize).use_bias(false), vec![words.clone(), others.clone()]),
            (Self::new(1, 2).output_shape(3usize).use_gate(true), vec![words.clone(), others.clone(), others]),
            (Self::new(2, 2).sliding_window(2usize), vec![words.clone(), words]),
            (
                Self::new(2, 2).attention_axes(vec![2isize]),
                vec![Shape::batch_of((2, 3, 4)), Shape::batch_of((2, 3, 4))],
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_arguments_are_named() {
        let words = Shape::batch_of((4, 6));
        let of = |layer: MultiHeadAttention, inputs: &[Shape]| {
            layer.output_shapes(inputs, &Arguments::new()).unwrap_err().to_string()
        };
        assert!(of(MultiHeadAttention::new(0, 3), &[words.clone(), words.clone()]).contains("num_heads"));
        assert!(of(MultiHeadAttention::new(2, 3), std::slice::from_ref(&words)).contains("a query and a value"));
        let axes = MultiHeadAttention::new(2, 3).attention_axes(vec![2isize]);
        assert!(of(axes, &[words.clone(), words]).contains("attention_axes"));
    }
}
