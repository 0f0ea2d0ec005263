//! `MultiHeadAttention`: what each step takes from the steps of another sequence.

use serde::{Deserialize, Serialize};

use crate::activations::Activation;
use crate::config::Argument;
use crate::constraints::Constraint;
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::layers::regularization::{check_rate, drop_out};
use crate::layers::{Arguments, BuiltIn, Call, Layer, WeightSpec};
use crate::ops::{self, MAX_RANK, Value};
use crate::regularizers::Regularizer;
use crate::shape::Shape;

/// What masked scores are set to before the softmax: where Keras uses its fused attention, and where it does not.
const MASKED_FUSED: f32 = -0.7 * f32::MAX;
const MASKED: f32 = -1e9;

/// The arguments of a call.
const ARGUMENTS: &[&str] = &["attention_mask", "return_attention_scores", "use_causal_mask"];

crate::describe! {
    /// Attention in several heads (Vaswani et al. 2017): `softmax(Q · Kᵀ / √key_dim) · V` in each head, where `Q` is
    /// made of the query, `K` of the key and `V` of the value by a matrix each, and one more matrix over all heads.
    ///
    /// It is called on the query and the value, or on the query, the value and the key. Steps that the inputs' masks do
    /// not count are not attended to. `attention_mask`, `use_causal_mask` and `return_attention_scores` are arguments
    /// of the call.
    ///
    /// # Shapes
    /// query `(batch, T, …)`, value and key `(batch, S, …)` → `(batch, T, query's features)`, or `output_shape` in place
    /// of the features; scores `(batch, num_heads, T, S)`. Weights: `kernel` (features, num_heads, key_dim) and `bias`
    /// (num_heads, key_dim) of query, key and value (value_dim), with `use_gate` of the gate before the value; `kernel`
    /// (num_heads, value_dim, features) and `bias` of the output.
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
        /// Features of the value in each head; `key_dim` if there are none given.
        value_dim: Option<usize> = None,
        /// The part of the scores that is left out in training.
        dropout: f32 = 0.0,
        /// Whether the projections have biases.
        use_bias: bool = true,
        /// The output's features; the query's if there are none given.
        output_shape: Option<Sizes> = None,
        /// The axes along which is attended, all but the batch's and the features' if there are none given.
        attention_axes: Option<Vec<isize>> = None,
        /// How far from a step, this one counted, attention reaches.
        sliding_window: Option<usize> = None,
        /// Whether what is attended to is multiplied by a gate made of the query.
        use_gate: bool = false,
        /// How the kernels start.
        kernel_initializer: Initializer = Initializer::GlorotUniform { seed: None },
        /// How the biases start.
        bias_initializer: Initializer = Initializer::Zeros {},
        /// The penalty on each kernel.
        kernel_regularizer: Option<Regularizer> = None,
        /// The penalty on each bias.
        bias_regularizer: Option<Regularizer> = None,
        /// The penalty on the outputs of each projection.
        activity_regularizer: Option<Regularizer> = None,
        /// The limit on each kernel.
        kernel_constraint: Option<Constraint> = None,
        /// The limit on each bias.
        bias_constraint: Option<Constraint> = None,
        /// A seed of its own for the scores that are left out, in place of the run's.
        seed: Option<u64> = None,
    }
}

/// The features of the output: one size, or several.
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

/// The inputs of a call: query, value and key.
struct Three<T>([T; 3]);

impl<T: Clone> Three<T> {
    fn of(inputs: &[T]) -> Result<Self> {
        match inputs {
            [query, value] => Ok(Self([query.clone(), value.clone(), value.clone()])),
            [query, value, key] => Ok(Self([query.clone(), value.clone(), key.clone()])),
            _ => Err(Error::shape(
                "a query and a value, or a query, a value and a key",
                format!("{} inputs", inputs.len()),
            )),
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
        if features.is_empty() || features.contains(&0) {
            return Err(Error::argument("output_shape", "sizes above 0", format!("{features:?}")));
        }
        check_rate("dropout", self.dropout)
    }

    /// The axes of an input of this rank along which is attended.
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

    /// The order of axes that brings `(batch, …, heads, size)` to `(batch, others, heads, attended, size)`.
    fn order(&self, rank: usize) -> Result<Vec<usize>> {
        let axes = self.axes(rank)?;
        let others = (1..rank - 1).filter(|axis| !axes.contains(axis));
        let mut order = vec![0];
        order.extend(others);
        order.push(rank - 1);
        order.extend(&axes);
        order.push(rank);
        Ok(order)
    }

    /// The output's features for a query of this shape.
    fn features(&self, query: &Shape) -> Result<Vec<usize>> {
        match &self.output_shape {
            Some(sizes) => Ok(sizes.sizes().to_vec()),
            None => Ok(vec![query.last()?]),
        }
    }

    /// The specs of a projection's kernel and bias.
    fn projection(&self, group: &str, sizes: Vec<usize>, bias: Vec<usize>) -> Vec<WeightSpec> {
        let kernel = WeightSpec::new("kernel", sizes, self.kernel_initializer.clone())
            .regularizer(&self.kernel_regularizer)
            .constraint(&self.kernel_constraint)
            .in_group(group);
        let bias = self.use_bias.then(|| {
            WeightSpec::new("bias", bias, self.bias_initializer.clone())
                .regularizer(&self.bias_regularizer)
                .constraint(&self.bias_constraint)
                .in_group(group)
        });
        std::iter::once(kernel).chain(bias).collect()
    }

    /// `(batch, …, features)` → `(batch · others, num_heads, attended, size)`, by the projection at `index`.
    fn heads(&self, input: &Value, index: usize, activation: &Activation, call: &mut Call<'_>) -> Result<Value> {
        let each = 1 + usize::from(self.use_bias);
        let kernel = call.weight(index * each);
        let [features, heads, size] = kernel.sizes()[..] else {
            return Err(Error::shape("a kernel of three dimensions", format!("{:?}", kernel.sizes())));
        };
        let bias = self.use_bias.then(|| call.weight(index * each + 1).reshape(&[heads * size])).transpose()?;
        let output = ops::dense(input.clone(), kernel.reshape(&[features, heads * size])?, bias, activation)?;
        call.add_activity_loss(&self.activity_regularizer, &output)?;
        let mut sizes = output.sizes();
        let rank = sizes.len();
        sizes.splice(rank - 1.., [heads, size]);
        let attended: usize = self.axes(rank)?.iter().map(|axis| sizes[*axis]).product();
        let others: usize = sizes[1..rank - 1].iter().product::<usize>() / attended.max(1);
        output.reshape(&sizes)?.permute(&self.order(rank)?).reshape(&[sizes[0] * others, heads, attended, size])
    }

    /// The reverse: `(batch · others, num_heads, attended, size)` → `(batch, …, num_heads · size)`, for a query of these
    /// sizes.
    fn together(&self, heads: Value, query: &[usize]) -> Result<Value> {
        let [_, count, _, size] = heads.sizes()[..] else {
            return Err(Error::shape("heads of four dimensions", format!("{:?}", heads.sizes())));
        };
        let order = self.order(query.len())?;
        let whole = [&query[..query.len() - 1], &[count, size]].concat();
        let split: Vec<usize> = order.iter().map(|axis| whole[*axis]).collect();
        let mut back = vec![0; order.len()];
        order.iter().enumerate().for_each(|(to, from)| back[*from] = to);
        heads.reshape(&split)?.permute(&back).reshape(&[&query[..query.len() - 1], &[count * size]].concat())
    }

    /// Where a step may be attended to: `(batch or 1, heads or 1, T, S)`, 1 or 0; `None` if everywhere.
    fn mask(
        &self,
        steps: [usize; 2],
        attention_mask: Option<Value>,
        causal: bool,
        call: &Call<'_>,
    ) -> Result<Option<Value>> {
        let [rows, columns] = steps;
        let mut masks = Vec::new();
        let mut inputs = call.masks().iter().cloned();
        let placed = |mask: Value, steps: usize, is_query: bool| match mask.sizes()[..] {
            [batch, own] if own == steps && is_query => mask.reshape(&[batch, 1, own, 1]),
            [batch, own] if own == steps => mask.reshape(&[batch, 1, 1, own]),
            _ => Err(Error::shape(format!("a mask of shape (batch, {steps})"), format!("{:?}", mask.sizes()))),
        };
        if let Some(mask) = inputs.next().flatten() {
            masks.push(placed(mask, rows, true)?);
        }
        for mask in inputs.flatten() {
            masks.push(placed(mask, columns, false)?);
        }
        if let Some(mask) = attention_mask {
            let sizes = mask.sizes();
            let mask = match sizes[..] {
                [batch, rows, columns] => mask.reshape(&[batch, 1, rows, columns])?,
                [_, _, _, _] => mask,
                _ => {
                    return Err(Error::shape(
                        "an attention_mask of shape (batch, T, S) or (batch, heads, T, S)",
                        format!("{sizes:?}"),
                    ));
                }
            };
            let one = Value::full(&mask.sizes(), 1.0, &mask.device())?;
            masks.push(Value::full(&mask.sizes(), 0.0, &mask.device())?.select_where(mask, one));
        }
        let device = call.weight(0).device();
        let mut by_place = |counts: &dyn Fn(usize, usize) -> bool| -> Result<()> {
            let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
            let numbers = places.map(|(row, column)| f32::from(counts(row, column))).collect();
            masks.push(Value::from_vec(numbers, &[1, 1, rows, columns], &device)?);
            Ok(())
        };
        if causal {
            by_place(&|row, column| row >= column)?;
        }
        if let Some(window) = self.sliding_window {
            by_place(&|row, column| row.abs_diff(column) < window)?;
        }
        let mut sizes = [1, 1, 1, 1];
        for mask in &masks {
            for (size, own) in sizes.iter_mut().zip(mask.sizes()) {
                if *size == 1 {
                    *size = own;
                } else if own != *size && own != 1 {
                    return Err(Error::shape(format!("masks that fit {sizes:?}"), format!("{:?}", mask.sizes())));
                }
            }
        }
        Ok(masks.into_iter().map(|mask| mask.expand(&sizes)).reduce(|a, b| a * b))
    }
}

impl Layer for MultiHeadAttention {
    fn output_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
        self.check()?;
        arguments.expect_only(ARGUMENTS)?;
        let constant = arguments.options().get("attention_mask").is_some_and(|mask| !mask.is_null());
        if constant || arguments.named().any(|(name, tensors)| name != "attention_mask" || tensors.len() != 1) {
            let what =
                "arguments of a call of MultiHeadAttention other than one `attention_mask` of the graph, as values";
            return Err(Error::unsupported(what, "`use_causal_mask` and `return_attention_scores` as true or false"));
        }
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
            let differ =
                |a: &Shape, b: &Shape| matches!((a.sizes()[axis], b.sizes()[axis]), (Some(a), Some(b)) if a != b);
            if differ(&value, &key) || (!axes.contains(&axis) && differ(&query, &value)) {
                return Err(Error::shape(format!("inputs that agree along axis {axis}: {query}, {value}"), key));
            }
        }
        if let Some(mask) = arguments.range("attention_mask", inputs.len()).map(|range| &inputs[range.start]) {
            let scores = [Some(self.num_heads), query.sizes()[1], value.sizes()[1]];
            let fits = |(own, wanted): (&Option<usize>, &Option<usize>)| {
                *own == Some(1) || matches!((own, wanted), (None, _) | (_, None)) || own == wanted
            };
            let wanted = &scores[if mask.rank() == 3 { 1..3 } else { 0..3 }];
            if ![3, 4].contains(&mask.rank()) || !mask.sample().iter().zip(wanted).all(fits) {
                return Err(Error::shape(
                    format!("an attention_mask for scores {}", Shape::new([&[None], &scores[..]].concat())),
                    mask,
                ));
            }
        }
        let mut sizes = query.sizes()[..query.rank() - 1].to_vec();
        sizes.extend(self.features(&query)?.into_iter().map(Some));
        let output = Shape::new(sizes);
        let scores = Shape::new([query.sizes()[0], Some(self.num_heads), query.sizes()[1], value.sizes()[1]]);
        Ok(if returns_scores { vec![output, scores] } else { vec![output] })
    }

    fn weights_for(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        let (Some(query), Some(value)) = (inputs.first(), inputs.get(1)) else {
            return Err(Error::shape("a query and a value", format!("{} inputs", inputs.len())));
        };
        let key = inputs.get(2).unwrap_or(value);
        let (heads, size, values) = (self.num_heads, self.key_dim, self.value_features());
        let mut specs = self.projection("query_dense", vec![query.last()?, heads, size], vec![heads, size]);
        specs.extend(self.projection("key_dense", vec![key.last()?, heads, size], vec![heads, size]));
        if self.use_gate {
            specs.extend(self.projection("_gate_dense", vec![query.last()?, heads, values], vec![heads, values]));
        }
        specs.extend(self.projection("value_dense", vec![value.last()?, heads, values], vec![heads, values]));
        let features = self.features(query)?;
        specs.extend(self.projection("output_dense", [&[heads, values], features.as_slice()].concat(), features));
        Ok(specs)
    }

    fn scratch_for(&self, inputs: &[Shape], _: &Arguments, training: bool) -> Result<usize> {
        let (Some(query), Some(value)) = (inputs.first(), inputs.get(1)) else { return Ok(0) };
        let steps = |shape: &Shape| shape.sizes()[1..shape.rank() - 1].iter().flatten().product::<usize>();
        let batch = query.sizes()[0].unwrap_or(1);
        let scores = batch.saturating_mul(self.num_heads).saturating_mul(steps(query)).saturating_mul(steps(value));
        let features = self.num_heads.saturating_mul(self.key_dim.max(self.value_features()));
        let rows = batch.saturating_mul(steps(query).max(steps(value)));
        // Scores before and after the softmax and their mask; projections and their reordered copies.
        let copies = if training { 6 } else { 3 };
        Ok(scores.saturating_add(rows.saturating_mul(features).saturating_mul(2)).saturating_mul(copies))
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

    fn forward_all(&self, inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
        let arguments = call.arguments().clone();
        let attention_mask = arguments.range("attention_mask", inputs.len()).map(|range| inputs[range.start].clone());
        let Three([query, value, key]) = Three::of(&inputs[..arguments.positional(inputs.len())])?;
        let returns_scores = arguments.flag("return_attention_scores")?;
        let steps = [query.sizes()[1], value.sizes()[1]];
        if query.rank() > 3 && call.masks().iter().any(Option::is_some) {
            return Err(Error::unsupported("masks of inputs of more than 3 dimensions", "inputs of 3 dimensions"));
        }
        let mask = self.mask(steps, attention_mask, arguments.flag("use_causal_mask")?, call)?;
        let gate = usize::from(self.use_gate);
        let linear = Activation::Linear;
        let queries = self.heads(&query, 0, &linear, call)?;
        let keys = self.heads(&key, 1, &linear, call)?;
        let gates = match self.use_gate {
            true => Some(self.heads(&query, 2, &Activation::Sigmoid, call)?),
            false => None,
        };
        let values = self.heads(&value, 2 + gate, &linear, call)?;

        let scale = 1.0 / (self.key_dim as f32).sqrt();
        let mut scores = queries.mul_scalar(scale).matmul(keys.permute(&[0, 1, 3, 2]));
        // Keras has two ways, which differ where a row is masked as a whole.
        let fused = self.dropout == 0.0 && !returns_scores && query.rank() == 3;
        let mask = mask.map(|mask| mask.expand(&scores.sizes()));
        if let Some(mask) = &mask {
            let masked = Value::full(&scores.sizes(), if fused { MASKED_FUSED } else { MASKED }, &scores.device())?;
            scores = masked.select_where(mask.clone(), scores);
        }
        scores = scores.softmax(3);
        if let Some(mask) = mask.filter(|_| !fused) {
            scores = scores * mask;
        }
        let dropped = if call.training_mode() && self.dropout > 0.0 {
            let sizes = scores.sizes();
            drop_out(scores.clone(), &sizes, self.dropout, &mut call.rng(self.seed))?
        } else {
            scores.clone()
        };
        let mut attended = dropped.matmul(values);
        if let Some(gates) = gates {
            attended = attended * gates;
        }
        let attended = self.together(attended, &query.sizes())?;
        let first = (3 + gate) * (1 + usize::from(self.use_bias));
        let kernel = call.weight(first);
        let features = kernel.sizes()[2..].to_vec();
        let count: usize = features.iter().product();
        let inner = attended.sizes()[query.rank() - 1];
        let bias = self.use_bias.then(|| call.weight(first + 1).reshape(&[count])).transpose()?;
        let output = ops::dense(attended, kernel.reshape(&[inner, count])?, bias, &linear)?;
        let output = output.reshape(&[&query.sizes()[..query.rank() - 1], features.as_slice()].concat())?;
        call.add_activity_loss(&self.activity_regularizer, &output)?;
        let query_mask = call.masks().first().cloned().flatten();
        Ok(if returns_scores {
            call.set_output_masks(vec![query_mask, None]);
            vec![output, scores]
        } else {
            call.set_output_masks(vec![query_mask]);
            vec![output]
        })
    }
}

impl BuiltIn for MultiHeadAttention {
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
