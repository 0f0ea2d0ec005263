//! The attention layers.

mod additive_attention;
#[allow(clippy::module_inception)] // The layer's file has the layer's name.
mod attention;
mod frozen;
mod group_query_attention;
mod heads;
mod multi_head_attention;
mod scored;

pub use additive_attention::AdditiveAttention;
pub use attention::{Attention, ScoreMode};
pub use group_query_attention::GroupQueryAttention;
pub use multi_head_attention::MultiHeadAttention;

use crate::error::{Error, Result};
use crate::layers::{Edge, Exporting, OnnxNumbers as Numbers};
use crate::ops::Value;
use crate::shape::Shape;

/// The inputs of a call: query, value and key.
struct Three<T>([T; 3]);

impl<T: Clone> Three<T> {
    /// Without a key the value is also the key.
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

/// Whether two sizes are known and not the same.
fn differ(one: Option<usize>, other: Option<usize>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one != other)
}

/// The number of steps of a sequence, over all axes but the batch's and the features'; unknown ones count as 1.
fn known_steps(shape: &Shape) -> usize {
    let steps = shape.sizes().get(1..shape.rank().saturating_sub(1)).unwrap_or_default();
    steps.iter().flatten().fold(1, |product: usize, size| product.saturating_mul(*size))
}

/// 1 where a value is not 0, else 0: a mask can contain any numbers.
fn nonzero(mask: Value) -> Result<Value> {
    let sizes = mask.sizes();
    let one = Value::full(&sizes, 1.0, &mask.device())?;
    Ok(Value::full(&sizes, 0.0, &mask.device())?.select_where(mask, one))
}

/// The causal mask, in which no step of the query attends to later steps: `(rows, columns)`.
fn causal(rows: usize, columns: usize, like: &Value) -> Result<Value> {
    by_position(rows, columns, like, |row, column| row >= column)
}

/// A table that is 1 where a condition holds for row and column, else 0.
fn by_position(rows: usize, columns: usize, like: &Value, counts: impl Fn(usize, usize) -> bool) -> Result<Value> {
    let positions = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    let numbers = positions.map(|(row, column)| f32::from(counts(row, column))).collect();
    Value::from_vec(numbers, &[rows, columns], &like.device())
}

/// As [`by_position`], as a constant of an ONNX graph.
fn onnx_by_position(
    to: &mut Exporting<'_>,
    lengths: [Option<usize>; 2],
    counts: impl Fn(usize, usize) -> bool,
) -> Result<Edge> {
    let [Some(rows), Some(columns)] = lengths else {
        return Err(to.unknown_sizes(&Shape::new([None, lengths[0], lengths[1]])));
    };
    let positions = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    let values = positions.map(|(row, column)| f32::from(counts(row, column))).collect();
    Ok(to.constant("counted", Numbers { sizes: vec![rows, columns], values }))
}
