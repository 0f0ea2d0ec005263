//! Shared by the multi-head attention layers: projections, masks and the attention itself.

use super::{by_position, causal, differ, known_steps, nonzero, onnx_by_position};
use crate::activations::Activation;
use crate::constraints::Constraint;
use crate::error::{Error, Result};
use crate::formats::onnx::Element;
use crate::initializers::Initializer;
use crate::layers::regularization::{drop_out, dropout_factors};
use crate::layers::{Arguments, Call, Edge, Exporting, WeightSpec};
use crate::ops::{self, Attended, Value};
use crate::regularizers::Regularizer;
use crate::shape::Shape;

/// The value of masked scores before the softmax, with and without Keras's fused attention.
const MASKED_FUSED: f32 = -0.7 * f32::MAX;
const MASKED: f32 = -1e9;

/// The mask arguments of a call.
const MASKS: [&str; 4] = ["attention_mask", "query_mask", "value_mask", "key_mask"];

/// The arguments of a call.
const ARGUMENTS: [&str; 6] =
    ["attention_mask", "query_mask", "value_mask", "key_mask", "return_attention_scores", "use_causal_mask"];

/// Refuses unknown arguments of a call, and masks that are not values of the graph.
pub(super) fn check_arguments(class: &str, arguments: &Arguments) -> Result<()> {
    arguments.expect_only(&ARGUMENTS)?;
    let constant = MASKS.iter().any(|name| arguments.options().get(*name).is_some_and(|mask| !mask.is_null()));
    if constant || arguments.named().any(|(name, tensors)| !MASKS.contains(&name) || tensors.len() != 1) {
        return Err(Error::unsupported(
            format!("call arguments of {class} other than a graph value for each mask"),
            "`use_causal_mask` and `return_attention_scores` as true or false",
        ));
    }
    arguments.flag("use_causal_mask").map(|_| ())
}

/// Refuses mask arguments that do not fit scores `(batch, heads, T, S)`, as far as sizes are known.
pub(super) fn check_masks(inputs: &[Shape], arguments: &Arguments, scores: &Shape) -> Result<()> {
    let [batch, heads, rows, columns] = scores.sizes()[..] else { return Ok(()) };
    let of = |name: &str| arguments.range(name, inputs.len()).and_then(|range| inputs.get(range.start));
    for (name, steps) in [("query_mask", rows), ("value_mask", columns), ("key_mask", columns)] {
        if let Some(mask) = of(name)
            && (mask.rank() != 2 || differ(mask.sizes()[1], steps))
        {
            return Err(Error::shape(format!("a {name} of shape {}", Shape::new([batch, steps])), mask));
        }
    }
    if let Some(mask) = of("attention_mask") {
        let wanted = [heads, rows, columns];
        let fits = |(own, wanted): (&Option<usize>, &Option<usize>)| *own == Some(1) || !differ(*own, *wanted);
        let wanted = &wanted[if mask.rank() == 3 { 1..3 } else { 0..3 }];
        if ![3, 4].contains(&mask.rank()) || !mask.sample().iter().zip(wanted).all(fits) {
            return Err(Error::shape(format!("an attention_mask for scores {scores}"), mask));
        }
    }
    Ok(())
}

/// The arguments shared by all projections of a layer.
pub(super) struct Projections<'a> {
    pub use_bias: bool,
    pub kernel_initializer: &'a Initializer,
    pub bias_initializer: &'a Initializer,
    pub kernel_regularizer: &'a Option<Regularizer>,
    pub bias_regularizer: &'a Option<Regularizer>,
    pub activity_regularizer: &'a Option<Regularizer>,
    pub kernel_constraint: &'a Option<Constraint>,
    pub bias_constraint: &'a Option<Constraint>,
}

impl Projections<'_> {
    /// The kernel and the bias of one projection.
    pub fn specs(&self, group: &str, sizes: Vec<usize>, bias: Vec<usize>) -> Vec<WeightSpec> {
        let kernel = WeightSpec::new("kernel", sizes, self.kernel_initializer.clone())
            .regularizer(self.kernel_regularizer)
            .constraint(self.kernel_constraint)
            .in_group(group);
        let bias = self.use_bias.then(|| {
            WeightSpec::new("bias", bias, self.bias_initializer.clone())
                .regularizer(self.bias_regularizer)
                .constraint(self.bias_constraint)
                .in_group(group)
        });
        std::iter::once(kernel).chain(bias).collect()
    }

    /// The weights of the projection at `index`: its kernel as a matrix with the sizes before `split` as rows, its
    /// flattened bias, and the original sizes of the kernel.
    fn weights(&self, index: usize, split: usize, call: &Call<'_>) -> Result<(Value, Option<Value>, Vec<usize>)> {
        let first = index * (1 + usize::from(self.use_bias));
        let kernel = call.weight(first);
        let sizes = kernel.sizes();
        if sizes.len() <= split {
            return Err(Error::shape(format!("a kernel of more than {split} dimensions"), format!("{sizes:?}")));
        }
        let [inputs, outputs] = [&sizes[..split], &sizes[split..]].map(|sizes| sizes.iter().product());
        let bias = self.use_bias.then(|| call.weight(first + 1).reshape(&[outputs])).transpose()?;
        Ok((kernel.reshape(&[inputs, outputs])?, bias, sizes))
    }

    /// `(…, features)` → `(…, heads, size)`, by the projection at `index`.
    pub fn project(&self, input: &Value, index: usize, activation: &Activation, call: &mut Call<'_>) -> Result<Value> {
        let (kernel, bias, sizes) = self.weights(index, 1, call)?;
        let output = ops::dense(input.clone(), kernel, bias, activation)?;
        call.add_activity_loss(self.activity_regularizer, &output)?;
        let mut whole = output.sizes();
        whole.splice(whole.len() - 1.., sizes[1..].iter().copied());
        output.reshape(&whole)
    }

    /// `(…, heads · size)` → `(…, features)`, by the projection at `index`, whose kernel is (heads, size, features).
    pub fn output(&self, input: Value, index: usize, call: &mut Call<'_>) -> Result<Value> {
        let (kernel, bias, sizes) = self.weights(index, 2, call)?;
        let output = ops::dense(input, kernel, bias, &Activation::Linear)?;
        let mut whole = output.sizes();
        whole.splice(whole.len() - 1.., sizes[2..].iter().copied());
        let output = output.reshape(&whole)?;
        call.add_activity_loss(self.activity_regularizer, &output)?;
        Ok(output)
    }
}

/// Which steps can be attended to, besides the masks of a call.
pub(super) struct Sight {
    /// The attention window around a step, this one included.
    pub window: Option<usize>,
    /// Whether a `query_mask` argument replaces the mask carried by the query.
    pub takes_query_mask: bool,
}

impl Sight {
    /// The attention mask, 1 or 0, of the sizes of the scores `(batch, heads, T, S)`; `None` if nothing is masked.
    /// `inputs` are all inputs of the call.
    pub fn mask(&self, inputs: &[Value], scores: [usize; 4], call: &Call<'_>) -> Result<Option<Value>> {
        let [_, _, rows, columns] = scores;
        let arguments = call.arguments();
        let positional = arguments.positional(inputs.len());
        let named = |name: &str| {
            let range = arguments.range(name, inputs.len())?;
            inputs.get(range.start).cloned()
        };
        let own = |index: usize| call.masks()[..positional.min(call.masks().len())].get(index).cloned().flatten();
        let of_steps = |mask: Value, steps: usize, is_query: bool| match mask.sizes()[..] {
            [batch, own] if own == steps && is_query => mask.reshape(&[batch, 1, own, 1]),
            [batch, own] if own == steps => mask.reshape(&[batch, 1, 1, own]),
            _ => Err(Error::shape(format!("a mask of shape (batch, {steps})"), format!("{:?}", mask.sizes()))),
        };
        let mut masks = Vec::new();
        let given = named("query_mask").filter(|_| self.takes_query_mask);
        if let Some(mask) = given.or_else(|| own(0)) {
            masks.push(of_steps(mask, rows, true)?);
        }
        for mask in [named("value_mask").or_else(|| own(1)), named("key_mask").or_else(|| own(2))] {
            masks.extend(mask.map(|mask| of_steps(mask, columns, false)).transpose()?);
        }
        if let Some(mask) = named("attention_mask") {
            let sizes = mask.sizes();
            masks.push(match sizes[..] {
                [batch, rows, columns] => mask.reshape(&[batch, 1, rows, columns])?,
                [_, _, _, _] => mask,
                _ => {
                    let expected = "an attention_mask of shape (batch, T, S) or (batch, heads, T, S)";
                    return Err(Error::shape(expected, format!("{sizes:?}")));
                }
            });
        }
        let mut masks = masks.into_iter().map(nonzero).collect::<Result<Vec<_>>>()?;
        let like = call.weight(0);
        if arguments.flag("use_causal_mask")? {
            masks.push(causal(rows, columns, &like)?.reshape(&[1, 1, rows, columns])?);
        }
        if let Some(window) = self.window {
            let near = by_position(rows, columns, &like, |row, column| row.abs_diff(column) < window)?;
            masks.push(near.reshape(&[1, 1, rows, columns])?);
        }
        for mask in &masks {
            if mask.sizes().iter().zip(&scores).any(|(own, size)| *own != 1 && own != size) {
                return Err(Error::shape(format!("a mask for scores {scores:?}"), format!("{:?}", mask.sizes())));
            }
        }
        Ok(masks.into_iter().map(|mask| mask.expand(&scores)).reduce(|a, b| a * b))
    }
}

/// Queries, keys and values split into heads: `(batch, steps, heads, size)` each. Keys and values can have fewer heads,
/// each shared by consecutive query heads.
pub(super) struct Heads {
    pub queries: Value,
    pub keys: Value,
    pub values: Value,
    /// Factors of the attention output.
    pub gates: Option<Value>,
}

impl Heads {
    /// The sizes of the scores `(batch, heads, T, S)`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the heads do not match, for example because the inputs' batches differ.
    pub fn scores(&self) -> Result<[usize; 4]> {
        let parts = [&self.queries, &self.keys, &self.values].map(Value::sizes);
        if let [[batch, rows, heads, size], [batch_k, steps_k, heads_k, size_k], [batch_v, steps_v, heads_v, _]] =
            parts.each_ref().map(|sizes| &sizes[..])
            && [batch_k, batch_v].iter().all(|own| *own == batch)
            && heads_k == heads_v
            && (heads == heads_k || (*heads_k > 0 && heads.is_multiple_of(*heads_k)))
            && steps_k == steps_v
            && size_k == size
        {
            return Ok([*batch, *heads, *rows, *steps_k]);
        }
        let [queries, keys, values] = parts;
        Err(Error::shape(format!("keys and values for queries {queries:?}"), format!("{keys:?} and {values:?}")))
    }

    /// The attention output, `(batch, T, heads, size)`, and, if requested, the scores before dropout, `(batch, heads,
    /// T, S)`. `fused` computes like Keras's fused attention, which returns no scores: the two differ for fully masked
    /// rows.
    pub fn attend(
        self,
        mask: Option<Value>,
        (fused, returns_scores): (bool, bool),
        (dropout, seed): (f32, Option<u64>),
        call: &mut Call<'_>,
    ) -> Result<(Value, Option<Value>)> {
        let sizes = self.scores()?;
        let is_dropped = call.training_mode() && dropout > 0.0;
        if !returns_scores {
            let kept = match is_dropped {
                true => Some(dropout_factors(&sizes, dropout, &mut call.rng(seed), &self.queries.device())?),
                false => None,
            };
            return Ok((self.attend_without_scores(mask, fused, kept)?, None));
        }
        let scores = self.scores_of(mask, fused)?;
        let dropped = match is_dropped {
            true => drop_out(scores.clone(), &sizes, dropout, &mut call.rng(seed))?,
            false => scores.clone(),
        };
        Ok((self.taken(dropped)?, Some(scores)))
    }

    fn attend_without_scores(self, mask: Option<Value>, fused: bool, kept: Option<Value>) -> Result<Value> {
        let attended = Attended {
            queries: &self.queries,
            keys: &self.keys,
            values: &self.values,
            counted: mask.clone(),
            kept: kept.clone(),
            masked: (if fused { MASKED_FUSED } else { MASKED }, !fused),
        };
        if let Some(output) = ops::fast_attention(attended) {
            return Ok(if let Some(gates) = self.gates { output * gates } else { output });
        }
        let scores = self.scores_of(mask, fused)?;
        self.taken(if let Some(kept) = kept { scores * kept } else { scores })
    }

    /// `(batch, steps, heads, size)` → `(batch, all heads, steps, size)`: shared heads are repeated consecutively.
    fn by_head(&self, value: Value) -> Result<Value> {
        let [batch, steps, heads, size] = value.sizes()[..] else {
            return Err(Error::shape("heads of four dimensions", format!("{:?}", value.sizes())));
        };
        let value = value.permute(&[0, 2, 1, 3]);
        let all = self.queries.sizes()[2];
        if all == heads {
            return Ok(value);
        }
        let times = all / heads.max(1);
        let repeated = value.reshape(&[batch, heads, 1, steps, size])?.expand(&[batch, heads, times, steps, size]);
        repeated.reshape(&[batch, all, steps, size])
    }

    /// The weighted sum of the values by these scores, `(batch, T, heads, size)`.
    fn taken(self, scores: Value) -> Result<Value> {
        let attended = scores.matmul(self.by_head(self.values.clone())?).permute(&[0, 2, 1, 3]);
        Ok(if let Some(gates) = self.gates { attended * gates } else { attended })
    }

    /// The scores after the softmax, `(batch, heads, T, S)`.
    fn scores_of(&self, mask: Option<Value>, fused: bool) -> Result<Value> {
        let sizes = self.scores()?;
        let scale = 1.0 / (self.queries.sizes()[3] as f32).sqrt();
        let queries = self.by_head(self.queries.clone())?.mul_scalar(scale);
        let mut scores = queries.matmul(self.by_head(self.keys.clone())?.permute(&[0, 1, 3, 2]));
        if let Some(mask) = &mask {
            let masked = Value::full(&sizes, if fused { MASKED_FUSED } else { MASKED }, &scores.device())?;
            scores = masked.select_where(mask.clone(), scores);
        }
        if !scores.is_empty() {
            scores = scores.softmax(3);
        }
        Ok(if let Some(mask) = mask.filter(|_| !fused) { scores * mask } else { scores })
    }
}

/// The workspace in values, besides inputs, outputs and weights, with `heads` heads of `size` features.
pub(super) fn scratch(inputs: &[Shape], heads: usize, size: usize, training: bool) -> usize {
    let [Some(query), Some(value)] = [inputs.first(), inputs.get(1)] else { return 0 };
    let batch = query.sizes().first().copied().flatten().unwrap_or(1);
    let (rows, columns) = (known_steps(query), known_steps(value));
    let scores = batch.saturating_mul(heads).saturating_mul(rows).saturating_mul(columns);
    let projected = batch.saturating_mul(rows.max(columns)).saturating_mul(heads).saturating_mul(size);
    // Scores before and after the softmax and their mask; projections and their transposed copies, or the workspace of
    // the kernel, which transposes the keys of at most all heads at a time.
    let copies = if training { 6 } else { 3 };
    scores.saturating_add(projected.saturating_mul(2)).saturating_mul(copies)
}

impl Projections<'_> {
    /// A projection of a value of this shape as ONNX operators, and the sizes of its kernel, of which the first `split`
    /// are the value's.
    pub fn onnx(
        &self,
        to: &mut Exporting<'_>,
        input: Edge,
        shape: &Shape,
        index: usize,
        split: usize,
    ) -> Result<(Edge, Vec<usize>)> {
        let first = index * (1 + usize::from(self.use_bias));
        let (kernel, bias) = (to.weight(first)?, to.weight_if(self.use_bias, first + 1)?);
        let sizes = kernel.sizes.clone();
        let [inputs, outputs] = [&sizes[..split], &sizes[split..]].map(|sizes| sizes.iter().product::<usize>());
        let output = to.dense(
            input,
            shape.rank(),
            kernel.reshaped([inputs, outputs]),
            bias.map(|bias| bias.reshaped([outputs])),
        );
        Ok((output, sizes))
    }

    /// The projection of all heads together, for queries of this shape.
    pub fn onnx_output(&self, to: &mut Exporting<'_>, input: Edge, query: &Shape, index: usize) -> Result<Edge> {
        let (output, sizes) = self.onnx(to, input, query, index, 2)?;
        if sizes.len() == 3 {
            return Ok(output);
        }
        let features = sizes[2..].iter().map(|size| *size as i64);
        let kept = vec![0; query.rank() - 1];
        Ok(to.reshape(output, kept.into_iter().chain(features).collect::<Vec<_>>()))
    }
}

impl Sight {
    /// The mask as ONNX operators, for scores of these numbers of rows and columns.
    pub fn onnx(&self, to: &mut Exporting<'_>, lengths: [Option<usize>; 2]) -> Result<Option<Edge>> {
        let (edges, arguments) = (to.inputs().to_vec(), to.arguments());
        let positional = arguments.positional(edges.len());
        let named = |name: &str| arguments.range(name, edges.len()).and_then(|range| edges.get(range.start)).copied();
        let rank = |name: &str| {
            let range = arguments.range(name, edges.len());
            range.and_then(|range| to.shapes().get(range.start)).map_or(0, Shape::rank)
        };
        let own = |index: usize| if index < positional { to.mask(index) } else { None };
        let of_query = named("query_mask").filter(|_| self.takes_query_mask).or_else(|| own(0));
        let of_values = [named("value_mask").or_else(|| own(1)), named("key_mask").or_else(|| own(2))];
        let (of_all, is_flat) = (named("attention_mask"), rank("attention_mask") == 3);
        let is_causal = arguments.flag("use_causal_mask")?;
        let mut masks = Vec::new();
        let all: [(Option<Edge>, &[usize]); 4] = [
            (of_query, &[1, 3]),
            (of_values[0], &[1, 2]),
            (of_values[1], &[1, 2]),
            (of_all, if is_flat { &[1] } else { &[] }),
        ];
        for (mask, axes) in all {
            let Some(mut mask) = mask else { continue };
            for axis in axes {
                mask = to.unsqueeze(mask, *axis);
            }
            let counted = to.truth(mask);
            masks.push(to.cast(counted, Element::Float));
        }
        if is_causal {
            masks.push(onnx_by_position(to, lengths, |row, column| row >= column)?);
        }
        if let Some(window) = self.window {
            masks.push(onnx_by_position(to, lengths, |row, column| row.abs_diff(column) < window)?);
        }
        Ok(masks.into_iter().reduce(|a, b| to.mul(a, b)))
    }
}

/// Queries, keys and values by heads as ONNX operators, and the gates of the queries, if they are used: `heads` projects
/// an input by the projection of an index, and activates it.
pub(super) fn onnx_heads(
    [query, value, key]: [(Edge, &Shape); 3],
    use_gate: bool,
    mut heads: impl FnMut((Edge, &Shape), usize, &Activation) -> Result<Edge>,
) -> Result<([Edge; 3], Option<Edge>)> {
    let linear = Activation::Linear;
    let queries = heads(query, 0, &linear)?;
    let keys = heads(key, 1, &linear)?;
    let gates = use_gate.then(|| heads(query, 2, &Activation::Sigmoid)).transpose()?;
    let values = heads(value, 2 + usize::from(use_gate), &linear)?;
    Ok(([queries, keys, values], gates))
}

/// Attention over heads (batch, steps, heads, size) as ONNX operators: the values attended to, and the scores. `counts`
/// are the numbers of heads of queries and of keys, and the size of a key.
pub(super) fn onnx_attend(
    to: &mut Exporting<'_>,
    [queries, keys, values]: [Edge; 3],
    gates: Option<Edge>,
    mask: Option<Edge>,
    fused: bool,
    [many, few, size]: [usize; 3],
) -> (Edge, Edge) {
    let mut by_head = |value: Edge, last: [usize; 2]| {
        let value = to.transpose(value, &[0, 2, last[0], last[1]]);
        if many == few {
            return value;
        }
        // Each head of the keys serves several of the queries.
        to.gather(value, (0..many).map(|head| (head / (many / few)) as i64).collect(), 1)
    };
    let (keys, values) = (by_head(keys, [3, 1]), by_head(values, [1, 3]));
    let queries = to.transpose(queries, &[0, 2, 1, 3]);
    let queries = to.mul_number(queries, 1.0 / (size as f32).sqrt());
    let mut scores = to.matmul(queries, keys);
    if let Some(mask) = mask {
        let counted = to.truth(mask);
        let masked = to.number(if fused { MASKED_FUSED } else { MASKED });
        scores = to.op("Where", &[counted, scores, masked], vec![]);
    }
    scores = to.op("Softmax", &[scores], vec![("axis", (-1).into())]);
    if let Some(mask) = mask.filter(|_| !fused) {
        scores = to.mul(scores, mask);
    }
    let attended = to.matmul(scores, values);
    let mut attended = to.transpose(attended, &[0, 2, 1, 3]);
    if let Some(gates) = gates {
        attended = to.mul(attended, gates);
    }
    (attended, scores)
}
