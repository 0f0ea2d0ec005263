//! Joining and splitting values.

use super::argument::{Described, Operand};
use super::axes::counted;
use super::rules::{check_rank, one, only};
use super::shapes::axis_or_first;
use super::{CORE, Exported, Function, FunctionResult, NUMPY, OperationEntry, total};
use crate::error::{Error, Result};
use crate::layers::{Edge, Exporting};
use crate::ops::Value;
use crate::shape::Shape;

/// The maximum number of outputs of an operation.
const MAX_OUTPUTS: usize = 4096;

pub(super) const ENTRIES: &[OperationEntry] = &[
    OperationEntry::new(NUMPY, "Concatenate", |given| joined(given, false)),
    OperationEntry::new(NUMPY, "Stack", |given| joined(given, true)),
    OperationEntry::new(NUMPY, "Split", split),
    OperationEntry::new(CORE, "Unstack", unstack),
];

/// Concatenates values along an axis, or stacks them along a new one.
#[derive(Clone, Copy, Debug)]
struct Joined {
    axis: isize,
    is_new: bool,
}

fn joined(described: &mut Described, is_new: bool) -> FunctionResult {
    described.expect_count(1)?;
    let axis = axis_or_first(described)?;
    match described.operands.pop() {
        Some(Operand::List(values)) if !values.is_empty() => {
            described.operands = values;
            described.written = match described.written.pop() {
                Some(serde_json::Value::Array(written)) => written,
                _ => Vec::new(),
            };
        }
        _ => return Err(described.unsupported("one value alone", "a list of values")),
    }
    Ok(Box::new(Joined { axis, is_new }))
}

impl Function for Joined {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let first = inputs.first().ok_or_else(|| Error::shape("at least one value", "none"))?;
        let rank = first.rank() + usize::from(self.is_new);
        check_rank(rank)?;
        let axis = counted(self.axis, rank)?;
        let along = |at: usize| at == axis && !self.is_new;
        let mut sizes = first.sizes().to_vec();
        for input in &inputs[1..] {
            if input.rank() != first.rank() {
                return Err(Error::shape(format!("values of {} dimensions", first.rank()), input));
            }
            for (at, (size, own)) in sizes.iter_mut().zip(input.sizes()).enumerate() {
                *size = match (*size, *own) {
                    (Some(a), Some(b)) if along(at) => Some(a.saturating_add(b)),
                    (_, _) if along(at) => None,
                    (Some(a), Some(b)) if a != b => {
                        return Err(Error::shape(format!("values that fit {first} beside the axis"), input));
                    }
                    (size, own) => size.or(own),
                };
            }
        }
        if self.is_new {
            sizes.insert(axis, Some(inputs.len()));
        }
        Ok(vec![Shape::new(sizes)])
    }

    fn takes_nothing(&self) -> bool {
        !self.is_new
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        let axis = counted(self.axis, given.outputs[0].rank())?;
        let mut edges = given.edges.to_vec();
        if self.is_new {
            edges.iter_mut().for_each(|edge| *edge = to.unsqueeze(*edge, axis));
        }
        Ok(Some(vec![to.concat(&edges, axis)]))
    }

    fn compute(&self, inputs: Vec<Value>, outputs: &[Vec<usize>]) -> Result<Vec<Value>> {
        let axis = counted(self.axis, outputs[0].len())?;
        let values = match self.is_new {
            true => inputs
                .into_iter()
                .map(|value| {
                    let mut sizes = value.sizes();
                    sizes.insert(axis, 1);
                    value.reshape(&sizes)
                })
                .collect::<Result<_>>()?,
            // Empty values contribute nothing.
            false => inputs.into_iter().filter(|value| !value.is_empty()).collect(),
        };
        Ok(vec![Value::concat(values, axis)?])
    }
}

/// How an axis is split.
#[derive(Clone, Debug)]
enum Cuts {
    /// Into this many equal parts.
    Equal(usize),
    /// Before these indices.
    At(Vec<isize>),
    /// Into single indices, whose axis is dropped; the count can be omitted.
    Single(Option<usize>),
}

#[derive(Clone, Debug)]
struct SplitFunction {
    cuts: Cuts,
    axis: isize,
}

fn split(described: &mut Described) -> FunctionResult {
    described.expect_count(1)?;
    let axis = axis_or_first(described)?;
    let many = |count: usize| Error::argument("indices_or_sections", format!("1 to {MAX_OUTPUTS} parts"), count);
    let cuts = match described.config.shift_remove("indices_or_sections") {
        Some(serde_json::Value::Array(list)) => {
            if list.len() >= MAX_OUTPUTS {
                return Err(many(list.len() + 1));
            }
            Cuts::At(crate::config::from_json("indices_or_sections", serde_json::Value::Array(list))?)
        }
        Some(number) => {
            let parts: usize = crate::config::from_json("indices_or_sections", number)?;
            if !(1..=MAX_OUTPUTS).contains(&parts) {
                return Err(many(parts));
            }
            Cuts::Equal(parts)
        }
        None => return Err(Error::argument("indices_or_sections", "a number of parts, or where they begin", "none")),
    };
    Ok(Box::new(SplitFunction { cuts, axis }))
}

fn unstack(described: &mut Described) -> FunctionResult {
    described.expect_count(1)?;
    let axis = axis_or_first(described)?;
    Ok(Box::new(SplitFunction { cuts: Cuts::Single(described.take("num")?), axis }))
}

impl SplitFunction {
    /// The start and the length of each part of an axis; unknown lengths are `None`.
    fn parts(&self, size: Option<usize>) -> Result<Vec<(usize, Option<usize>)>> {
        match (&self.cuts, size) {
            (Cuts::Equal(parts), None) => Ok(vec![(0, None); *parts]),
            (Cuts::Equal(parts), Some(size)) => {
                if size % parts != 0 {
                    let expected = format!("a divisor of the size {size}");
                    return Err(Error::argument("indices_or_sections", expected, parts));
                }
                let length = size / parts;
                Ok((0..*parts).map(|part| (part * length, Some(length))).collect())
            }
            (Cuts::At(cuts), None) => Ok(vec![(0, None); cuts.len() + 1]),
            (Cuts::At(cuts), Some(size)) => {
                let bound = |cut: &isize| {
                    let cut = if *cut < 0 { cut.saturating_add_unsigned(size).max(0) } else { *cut };
                    cut.unsigned_abs().min(size)
                };
                let starts = std::iter::once(0).chain(cuts.iter().map(bound));
                let ends = cuts.iter().map(bound).chain([size]);
                Ok(starts.zip(ends).map(|(start, end)| (start, Some(end.saturating_sub(start)))).collect())
            }
            (Cuts::Single(None), None) => {
                Err(Error::unsupported("`Unstack` along an axis of unknown size without `num`", "`num`"))
            }
            (Cuts::Single(given), size) => {
                let count = size.or(*given).unwrap_or(0);
                if given.is_some_and(|given| given != count) || !(1..=MAX_OUTPUTS).contains(&count) {
                    let expected = format!("the size of the axis, 1 to {MAX_OUTPUTS}");
                    return Err(Error::argument("num", expected, format!("{given:?} for {count}")));
                }
                Ok((0..count).map(|cell| (cell, Some(1))).collect())
            }
        }
    }
}

impl Function for SplitFunction {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let input = only(inputs)?;
        let axis = counted(self.axis, input.rank())?;
        let parts = self.parts(input.sizes()[axis])?;
        let shape = |(_, length): (usize, Option<usize>)| {
            let mut sizes = input.sizes().to_vec();
            match self.cuts {
                Cuts::Single(_) => {
                    sizes.remove(axis);
                }
                _ => sizes[axis] = length,
            }
            Shape::new(sizes)
        };
        Ok(parts.into_iter().map(shape).collect())
    }

    fn scratch(&self, inputs: &[Shape], _: &[Shape]) -> usize {
        total(inputs)
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        let (x, shape) = (given.edges[0], &given.shapes[0]);
        let axis = counted(self.axis, shape.rank())?;
        let mut edges = Vec::new();
        for (start, length) in self.parts(shape.sizes()[axis])? {
            let Some(length) = length else { return Ok(None) };
            let part = to.slice(x, axis, start, Some(start + length));
            edges.push(if matches!(self.cuts, Cuts::Single(_)) { to.squeeze(part, axis) } else { part });
        }
        Ok(Some(edges))
    }

    fn compute(&self, inputs: Vec<Value>, outputs: &[Vec<usize>]) -> Result<Vec<Value>> {
        let value = one(inputs)?;
        let axis = counted(self.axis, value.rank())?;
        let parts = self.parts(Some(value.sizes()[axis]))?;
        let part = |((start, length), sizes): ((usize, Option<usize>), &Vec<usize>)| match length {
            // A view would keep the whole buffer alive.
            Some(length) if length > 0 => {
                value.clone().narrow(axis, start, length).apart_from(value.len())?.reshape(sizes)
            }
            _ => Value::empty(sizes, &value.device()),
        };
        parts.into_iter().zip(outputs).map(part).collect()
    }
}
