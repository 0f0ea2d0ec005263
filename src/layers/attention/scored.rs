//! Shared by `Attention` and `AdditiveAttention`, which score each pair of steps of query and key.

use super::{Three, causal, differ, known_steps, nonzero, onnx_by_position};
use crate::error::{Error, Result};
use crate::layers::regularization::{check_rate, drop_out};
use crate::layers::{Arguments, Call, Edge, Exporting};
use crate::ops::{MAX_RANK, Value};
use crate::shape::Shape;

/// Subtracted from masked scores before the softmax: so large that float32 rounds all scores of a fully masked row to
/// the same value.
const MASKED: f32 = 1e9;

/// The arguments of a call.
const ARGUMENTS: [&str; 2] = ["return_attention_scores", "use_causal_mask"];

/// The shapes of the output and, if requested, of the scores.
pub(super) fn output_shapes(inputs: &[Shape], arguments: &Arguments, dropout: f32) -> Result<Vec<Shape>> {
    check_rate("dropout", dropout)?;
    arguments.expect_only(&ARGUMENTS)?;
    arguments.flag("use_causal_mask")?;
    let inputs = Three::of(inputs)?;
    check(&inputs)?;
    let Three([query, value, key]) = inputs;
    let with_last = |last: Option<usize>| {
        let mut sizes = query.sizes().to_vec();
        sizes.pop();
        sizes.push(last);
        Shape::new(sizes)
    };
    let output = with_last(value.sizes()[value.rank() - 1]);
    Ok(match arguments.flag("return_attention_scores")? {
        true => vec![output, with_last(key.sizes()[key.rank() - 2])],
        false => vec![output],
    })
}

/// Refuses inputs that cannot be scored, as far as their sizes are known.
fn check(Three([query, value, key]): &Three<Shape>) -> Result<()> {
    for input in [query, value, key] {
        if !(3..=MAX_RANK).contains(&input.rank()) {
            return Err(Error::shape(format!("inputs of 3 to {MAX_RANK} dimensions"), input));
        }
        input.expect_rank(query.rank())?;
    }
    let steps = query.rank() - 2;
    let pairs = [(query, value, 0..steps), (value, key, 0..steps + 1), (query, key, steps + 1..steps + 2)];
    for (one, other, axes) in pairs {
        if let Some(axis) = axes.into_iter().find(|axis| differ(one.sizes()[*axis], other.sizes()[*axis])) {
            return Err(Error::shape(format!("inputs that agree along axis {axis}: {one}"), other));
        }
    }
    Ok(())
}

/// The workspace in values, besides inputs and outputs; `each` is the number of values per score.
pub(super) fn scratch(inputs: &[Shape], each: usize, training: bool) -> Result<usize> {
    let Three([query, value, key]) = Three::of(inputs)?;
    let leading = query.sizes().first().copied().flatten().unwrap_or(1);
    let steps = value.sizes().get(value.rank().saturating_sub(2)).copied().flatten().unwrap_or(1);
    let scores = leading.saturating_mul(known_steps(&query)).saturating_mul(steps);
    // Scores before and after mask and softmax, and tensors saved for the backward pass.
    let copies: usize = if training { 8 } else { 4 };
    let transposed = key.known_len();
    Ok(scores.saturating_mul(copies.saturating_add(each)).saturating_add(transposed))
}

/// A call of such a layer: the attended values for each step of the query and, if requested, the scores. `scores`
/// computes them from query `(batch, T, features)` and key `(batch, S, features)`.
pub(super) fn forward(
    inputs: &[Value],
    call: &mut Call<'_>,
    (dropout, seed): (f32, Option<u64>),
    scores: impl FnOnce(Value, Value, &Call<'_>) -> Result<Value>,
) -> Result<Vec<Value>> {
    let arguments = call.arguments().clone();
    let Three([query, value, key]) = Three::of(inputs)?;
    let shape = |value: &Value| Shape::known(&value.sizes());
    check(&Three([shape(&query), shape(&value), shape(&key)]))?;
    let query_mask = call.masks().first().cloned().flatten();
    let value_mask = call.masks().get(1).cloned().flatten();
    if query.rank() > 3 && (query_mask.is_some() || value_mask.is_some()) {
        return Err(Error::unsupported("masks of inputs of more than 3 dimensions", "inputs of 3 dimensions"));
    }
    // Axes before the steps are merged into the batch.
    let sizes = query.sizes();
    let [leading @ .., rows, features] = &sizes[..] else {
        return Err(Error::shape("a query of at least 3 dimensions", format!("{sizes:?}")));
    };
    let batch: usize = leading.iter().product();
    let columns = key.sizes()[sizes.len() - 2];
    let given = value.sizes()[sizes.len() - 1];
    let query = query.reshape(&[batch, *rows, *features])?;
    let key = key.reshape(&[batch, columns, *features])?;
    let value = value.reshape(&[batch, columns, given])?;

    let of_scores = [batch, *rows, columns];
    let mut weights = match columns.min(*features) {
        0 => Value::full(&of_scores, 0.0, &query.device())?,
        _ => scores(query.clone(), key, call)?,
    };
    let counted = [
        value_mask.map(|mask| steps_of(mask, batch, columns)?.reshape(&[batch, 1, columns])).transpose()?,
        match arguments.flag("use_causal_mask")? {
            true => Some(causal(*rows, columns, &query)?.reshape(&[1, *rows, columns])?),
            false => None,
        },
    ];
    if !weights.is_empty() {
        if let Some(counted) = counted.into_iter().flatten().map(|mask| mask.expand(&of_scores)).reduce(|a, b| a * b) {
            weights = weights + counted.mul_scalar(MASKED).add_scalar(-MASKED);
        }
        weights = weights.softmax(2);
        if call.training_mode() && dropout > 0.0 {
            weights = drop_out(weights, &of_scores, dropout, &mut call.rng(seed))?;
        }
    }
    let mut attended = weights.clone().matmul(value);
    if let Some(mask) = &query_mask {
        let sizes = attended.sizes();
        let mask = steps_of(mask.clone(), batch, *rows)?.reshape(&[batch, *rows, 1])?.expand(&sizes);
        attended = Value::full(&sizes, 0.0, &attended.device())?.select_where(mask, attended);
    }
    let attended = attended.reshape(&[leading, &[*rows, given]].concat())?;
    if !arguments.flag("return_attention_scores")? {
        call.set_output_masks(vec![query_mask]);
        return Ok(vec![attended]);
    }
    call.set_output_masks(vec![query_mask, None]);
    Ok(vec![attended, weights.reshape(&[leading, &[*rows, columns]].concat())?])
}

/// A mask of steps, as 1 and 0.
fn steps_of(mask: Value, batch: usize, steps: usize) -> Result<Value> {
    match mask.sizes()[..] {
        [own, length] if length == steps && own == batch => nonzero(mask),
        _ => Err(Error::shape(format!("a mask of shape ({batch}, {steps})"), format!("{:?}", mask.sizes()))),
    }
}

/// The attention as ONNX operators; `scores` computes those of queries and keys of `rank` dimensions.
pub(super) fn onnx(
    to: &mut Exporting<'_>,
    scores: impl FnOnce(&mut Exporting<'_>, Edge, Edge, usize) -> Result<Edge>,
) -> Result<Vec<Edge>> {
    let Three([query, value, key]) = Three::of(to.inputs())?;
    let Three([query_shape, _, key_shape]) = Three::of(to.shapes())?;
    let rank = query_shape.rank();
    let (query_mask, value_mask) = (to.mask(0), to.mask(1));
    if rank > 3 {
        to.refuse_masks()?;
    }
    let mut weights = scores(to, query, key, rank)?;
    let mut counted = None;
    if let Some(mask) = value_mask {
        counted = Some(to.unsqueeze(mask, 1));
    }
    if to.arguments().flag("use_causal_mask")? {
        let lengths = [query_shape.sizes()[rank - 2], key_shape.sizes()[rank - 2]];
        let causal = onnx_by_position(to, lengths, |row, column| row >= column)?;
        counted = Some(counted.map_or(causal, |counted| to.mul(counted, causal)));
    }
    if let Some(counted) = counted {
        let penalty = to.mul_number(counted, MASKED);
        let penalty = to.add_number(penalty, -MASKED);
        weights = to.add(weights, penalty);
    }
    let weights = to.op("Softmax", &[weights], vec![("axis", (-1).into())]);
    let mut attended = to.matmul(weights, value);
    if let Some(mask) = query_mask {
        let mask = to.unsqueeze(mask, 2);
        attended = to.mul(attended, mask);
    }
    to.set_masks(vec![query_mask, None]);
    Ok(match to.arguments().flag("return_attention_scores")? {
        true => vec![attended, weights],
        false => vec![attended],
    })
}

/// The sum of each query with each key, along a new axis.
pub(super) fn onnx_sums(to: &mut Exporting<'_>, query: Edge, key: Edge, rank: usize) -> Edge {
    let query = to.unsqueeze(query, rank - 1);
    let key = to.unsqueeze(key, rank - 2);
    to.add(query, key)
}
