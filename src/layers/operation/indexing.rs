//! Indexing: slices, gathers, one-hot encodings.

use serde_json::Value as Json;

use super::argument::{Described, Operand};
use super::axes::counted;
use super::rules::{axis, check_rank, one, only};
use super::{Exported, Function, FunctionResult, NN, NUMPY, OperationEntry, ValueKind, total};
use crate::config::brief;
use crate::error::{Error, Result};
use crate::formats::onnx::Element;
use crate::layers::{Edge, Exporting};
use crate::ops::Value;
use crate::shape::Shape;

pub(super) const ENTRIES: &[OperationEntry] = &[
    OperationEntry::new(NUMPY, "GetItem", get_item),
    OperationEntry::new(NUMPY, "Take", take),
    OperationEntry::new(NN, "OneHot", one_hot),
];

/// A part of an indexing key.
#[derive(Clone, Debug, PartialEq)]
enum KeyPart {
    /// `start:stop:step`
    Slice { start: Option<i64>, stop: Option<i64>, step: i64 },
    /// One index, whose axis is dropped.
    Cell(i64),
    /// A new axis of size 1.
    New,
    /// `...`: all remaining axes.
    Rest,
}

#[derive(Clone, Debug)]
struct GetItem {
    parts: Vec<KeyPart>,
}

/// The selection along one axis of the input.
enum AxisSelection {
    /// The first index, the count, and the step.
    Slice {
        first: usize,
        count: Option<usize>,
        step: i64,
    },
    Cell(i64),
}

/// The maximum number of parts of a key: one for each existing and each new dimension.
const MAX_PARTS: usize = 16;

fn get_item(described: &mut Described) -> FunctionResult {
    described.expect_count(2)?;
    let key = match described.written.get(1) {
        Some(Json::Array(parts)) => parts.clone(),
        Some(part) => vec![part.clone()],
        None => Vec::new(),
    };
    if key.len() > MAX_PARTS {
        return Err(Error::argument("key", format!("at most {MAX_PARTS} parts"), key.len()));
    }
    let parts: Vec<KeyPart> = key.iter().map(|part| part_of(part, described)).collect::<Result<_>>()?;
    if parts.iter().filter(|part| **part == KeyPart::Rest).count() > 1 {
        return Err(Error::argument("key", "at most one `...`", "several"));
    }
    described.operands.truncate(1);
    Ok(Box::new(GetItem { parts }))
}

fn part_of(part: &Json, described: &Described) -> Result<KeyPart> {
    let class = part.get("class_name").and_then(Json::as_str);
    match (part, class) {
        (Json::Null, _) => Ok(KeyPart::New),
        (Json::Number(_), _) => match part.as_i64() {
            Some(cell) => Ok(KeyPart::Cell(cell)),
            None => Err(Error::argument("key", "whole numbers", part)),
        },
        (_, Some("__ellipsis__")) => Ok(KeyPart::Rest),
        (_, Some("__slice__")) => {
            let config = part.get("config").cloned().unwrap_or_default();
            let number = |name: &str| match config.get(name) {
                None | Some(Json::Null) => Ok(None),
                Some(number) => match number.as_i64() {
                    Some(number) => Ok(Some(number)),
                    None => Err(described.unsupported(&format!("a slice with {}", brief(number)), "whole numbers")),
                },
            };
            let (start, stop, step) = (number("start")?, number("stop")?, number("step")?.unwrap_or(1));
            if step == 0 {
                return Err(Error::argument("key", "slices with a step other than 0", step));
            }
            Ok(KeyPart::Slice { start, stop, step })
        }
        _ => {
            let what = format!("the key {}", brief(part));
            Err(described.unsupported(&what, "slices, whole numbers, `None` and `...`; `Take` for lists and values"))
        }
    }
}

/// The first index and the length of a slice of an axis of `length`, as in Python.
fn cells(start: Option<i64>, stop: Option<i64>, step: i64, length: usize) -> (usize, usize) {
    let (length, step) = (length as i128, i128::from(step));
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |given: Option<i64>, default: i128| match given.map(i128::from) {
        None => default,
        Some(given) if given < 0 => (given + length).clamp(low, high),
        Some(given) => given.clamp(low, high),
    };
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    let (first, last) = (bound(start, first), bound(stop, last));
    let distance = if step > 0 { last - first } else { first - last };
    let count = if distance <= 0 { 0 } else { (distance - 1) / step.abs() + 1 };
    (usize::try_from(first).unwrap_or(0), usize::try_from(count).unwrap_or(0))
}

impl GetItem {
    /// The selection along each axis of the input, and the output sizes.
    fn plan(&self, input: &Shape) -> Result<(Vec<AxisSelection>, Shape)> {
        let used = self.parts.iter().filter(|part| !matches!(part, KeyPart::New | KeyPart::Rest)).count();
        let Some(left) = input.rank().checked_sub(used) else {
            return Err(Error::argument("key", format!("at most {} parts for {input}", input.rank()), used));
        };
        let whole = KeyPart::Slice { start: None, stop: None, step: 1 };
        let has_rest = self.parts.contains(&KeyPart::Rest);
        let mut axes = input.sizes().iter();
        let (mut plan, mut sizes) = (Vec::with_capacity(input.rank()), Vec::new());
        let trailing = if has_rest { 0 } else { left };
        let spelled = self.parts.iter().flat_map(|part| match part {
            KeyPart::Rest => std::iter::repeat_n(&whole, left),
            part => std::iter::repeat_n(part, 1),
        });
        for part in spelled.chain(std::iter::repeat_n(&whole, trailing)) {
            if *part == KeyPart::New {
                sizes.push(Some(1));
                continue;
            }
            let size = axes.next().copied().flatten();
            match part {
                KeyPart::Cell(cell) => {
                    if let Some(size) = size {
                        isize::try_from(*cell).map_or_else(
                            |_| Err(Error::argument("key", format!("an index of an axis of size {size}"), cell)),
                            |cell| axis("key", cell, size),
                        )?;
                    }
                    plan.push(AxisSelection::Cell(*cell));
                }
                KeyPart::Slice { start, stop, step } => {
                    let found = size.map(|size| cells(*start, *stop, *step, size));
                    let (first, count) = (found.map_or(0, |found| found.0), found.map(|found| found.1));
                    plan.push(AxisSelection::Slice { first, count, step: *step });
                    sizes.push(count);
                }
                KeyPart::New | KeyPart::Rest => {}
            }
        }
        check_rank(sizes.len())?;
        Ok((plan, Shape::new(sizes)))
    }
}

impl Function for GetItem {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        Ok(vec![self.plan(only(inputs)?)?.1])
    }

    fn scratch(&self, inputs: &[Shape], _: &[Shape]) -> usize {
        // Axis by axis; index tensors have 64 and 32 bits.
        total(inputs).saturating_mul(4)
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        let mut x = given.edges[0];
        let rank = given.shapes[0].rank();
        let used = self.parts.iter().filter(|part| !matches!(part, KeyPart::New | KeyPart::Rest)).count();
        // The axis of the result so far.
        let mut axis = 0;
        for part in &self.parts {
            match part {
                KeyPart::New => {
                    x = to.unsqueeze(x, axis);
                    axis += 1;
                }
                KeyPart::Rest => axis += rank - used,
                KeyPart::Cell(cell) => x = to.gather_one(x, *cell, axis),
                KeyPart::Slice { start, stop, step } => {
                    let whole = start.is_none() && stop.is_none() && *step == 1;
                    let (first, last) = if *step > 0 { (0, i64::MAX) } else { (i64::MAX, i64::MIN) };
                    if !whole {
                        let numbers = [start.unwrap_or(first), stop.unwrap_or(last), axis as i64, *step];
                        let numbers = numbers.map(|number| to.ints([number]));
                        x = to.op("Slice", &[x, numbers[0], numbers[1], numbers[2], numbers[3]], vec![]);
                    }
                    axis += 1;
                }
            }
        }
        Ok(Some(vec![x]))
    }

    fn compute(&self, inputs: Vec<Value>, outputs: &[Vec<usize>]) -> Result<Vec<Value>> {
        let mut value = one(inputs)?;
        let (sizes, whole) = (value.sizes(), value.len());
        let (plan, _) = self.plan(&Shape::known(&sizes))?;
        for (axis, cells) in plan.into_iter().enumerate() {
            let size = sizes[axis];
            value = match cells {
                AxisSelection::Cell(cell) => {
                    let cell = isize::try_from(cell).unwrap_or(isize::MAX);
                    value.narrow(axis, super::rules::axis("key", cell, size)?, 1)
                }
                AxisSelection::Slice { first: 0, count: Some(count), step: 1 } if count == size => value,
                AxisSelection::Slice { first, count, step: 1 } => value.narrow(axis, first, count.unwrap_or(0)),
                AxisSelection::Slice { count, step: -1, .. } if count == Some(size) => value.flip(axis),
                AxisSelection::Slice { first, count, step } => {
                    let cell = |index: usize| {
                        usize::try_from(first as i128 + index as i128 * i128::from(step)).unwrap_or(usize::MAX)
                    };
                    value.select(axis, &(0..count.unwrap_or(0)).map(cell).collect::<Vec<_>>())?
                }
            };
        }
        // A view would keep the whole buffer alive.
        Ok(vec![value.apart_from(whole)?.reshape(&outputs[0])?])
    }
}

/// Gathers indices along an axis; the indices are constants or values.
#[derive(Clone, Debug)]
struct Take {
    /// `None` gathers from the flattened value.
    axis: Option<isize>,
    /// Constant indices.
    positions: Option<Vec<i64>>,
}

fn take(described: &mut Described) -> FunctionResult {
    described.expect_count(2)?;
    let axis = described.take("axis")?;
    let mut values = described.values()?;
    if values[1].kind() != ValueKind::Int {
        return Err(described.unsupported("indices that are not integers", "integers"));
    }
    let positions = match &values[1] {
        Operand::Constant(constant) => Some(constant.numbers().iter().map(|number| *number as i64).collect()),
        _ => None,
    };
    std::mem::swap(&mut described.operands, &mut values);
    Ok(Box::new(Take { axis, positions }))
}

/// Resolves an index; negative ones count from the end.
fn cell(number: i64, length: usize) -> Result<usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let counted = if number < 0 { number.checked_add(length) } else { Some(number) };
    let cell = counted.filter(|cell| (0..length).contains(cell)).and_then(|cell| usize::try_from(cell).ok());
    cell.ok_or_else(|| Error::argument("indices", format!("indices of an axis of size {length}"), number))
}

impl Take {
    /// The axis, and the input's length along it.
    fn along(&self, input: &Shape) -> Result<(usize, Option<usize>)> {
        match self.axis {
            Some(given) => {
                let axis = counted(given, input.rank())?;
                Ok((axis, input.sizes()[axis]))
            }
            None => Ok((0, input.sizes().iter().try_fold(1usize, |product, size| product.checked_mul((*size)?)))),
        }
    }

    /// The rows of a table at computed indices; NaN for indices out of range, as in Keras on JAX.
    fn look_up(table: Value, numbers: Value) -> Result<Value> {
        let (length, count) = (table.sizes()[0], numbers.len());
        let numbers = numbers.detach().reshape(&[count])?;
        let below = numbers.clone().mul_scalar(-1.0).greater_scalar(0.0);
        let numbers = numbers + below.mul_scalar(length as f32);
        let inside = numbers.clone().clamp(0.0, (length.max(1) - 1) as f32);
        let outside = super::elementwise::not(inside.clone().equal(numbers));
        // NaN stays NaN, and must not be used as an index.
        let zero = Value::full(&[count], 0.0, &inside.device())?;
        let rows = inside.select_where(outside.clone(), zero).gather_rows(table)?;
        let sizes = rows.sizes();
        let nothing = Value::full(&sizes, f32::NAN, &rows.device())?;
        Ok(rows.select_where(outside.reshape(&[count, 1])?.expand(&sizes), nothing))
    }
}

impl Function for Take {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [input, indices] = inputs else { return Err(Error::shape("a value and indices", inputs.len())) };
        let (axis, length) = self.along(input)?;
        if let (Some(length), Some(positions)) = (length, &self.positions) {
            positions.iter().try_for_each(|number| cell(*number, length).map(|_| ()))?;
        }
        let sizes = match self.axis {
            None => indices.sizes().to_vec(),
            Some(_) => [&input.sizes()[..axis], indices.sizes(), &input.sizes()[axis + 1..]].concat(),
        };
        check_rank(sizes.len())?;
        Ok(vec![Shape::new(sizes)])
    }

    fn kind(&self, inputs: &[ValueKind]) -> Result<ValueKind> {
        Ok(inputs.first().copied().unwrap_or(ValueKind::Float))
    }

    fn scratch(&self, inputs: &[Shape], outputs: &[Shape]) -> usize {
        total(outputs).saturating_mul(4).saturating_add(total(inputs).saturating_mul(5))
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        let (Some(axis), [input, indices]) = (self.axis, given.edges) else { return Ok(None) };
        let axis = counted(axis, given.shapes[0].rank())?;
        let indices = to.cast(*indices, Element::Int64);
        Ok(Some(vec![to.op("Gather", &[*input, indices], vec![("axis", (axis as i64).into())])]))
    }

    fn compute(&self, inputs: Vec<Value>, outputs: &[Vec<usize>]) -> Result<Vec<Value>> {
        let mut inputs = inputs.into_iter();
        let (Some(mut value), Some(indices)) = (inputs.next(), inputs.next()) else {
            return Err(Error::shape("a value and indices", "fewer"));
        };
        let (axis, _) = self.along(&Shape::known(&value.sizes()))?;
        if self.axis.is_none() {
            let count = value.len();
            value = value.reshape(&[count])?;
        }
        let sizes = value.sizes();
        if let Some(positions) = &self.positions {
            let positions = positions.iter().map(|number| cell(*number, sizes[axis])).collect::<Result<Vec<_>>>()?;
            return Ok(vec![value.select(axis, &positions)?.reshape(&outputs[0])?]);
        }
        // The axis first, then one row per index, and the axes of the indices in its place.
        let others: Vec<usize> = (0..sizes.len()).filter(|other| *other != axis).collect();
        let rest: Vec<usize> = others.iter().map(|other| sizes[*other]).collect();
        let width = rest.iter().product();
        let table = value.permute(&[&[axis], &others[..]].concat()).reshape(&[sizes[axis], width])?;
        let count = indices.len();
        let rows = Self::look_up(table, indices)?;
        // (indices, before, after) → (before, indices, after)
        let before: usize = sizes[..axis].iter().product();
        let after: usize = sizes[axis + 1..].iter().product();
        let rows = rows.reshape(&[count, before, after])?.permute(&[1, 0, 2]);
        Ok(vec![rows.reshape(&outputs[0])?])
    }
}

/// 1 at the given index, 0 elsewhere.
#[derive(Clone, Copy, Debug)]
struct OneHotFunction {
    classes: usize,
    axis: isize,
    kind: ValueKind,
}

fn one_hot(described: &mut Described) -> FunctionResult {
    described.expect_count(1)?;
    described.refuse("sparse", "dense codes")?;
    let classes = described.require("num_classes")?;
    let axis = described.take("axis")?.unwrap_or(-1);
    let dtype: Option<String> = described.take("dtype")?;
    Ok(Box::new(OneHotFunction { classes, axis, kind: ValueKind::of_dtype(dtype.as_deref())? }))
}

impl Function for OneHotFunction {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let input = only(inputs)?;
        check_rank(input.rank() + 1)?;
        let mut sizes = input.sizes().to_vec();
        sizes.insert(counted(self.axis, input.rank() + 1)?, Some(self.classes));
        Ok(vec![Shape::new(sizes)])
    }

    fn kind(&self, _: &[ValueKind]) -> Result<ValueKind> {
        Ok(self.kind)
    }

    fn scratch(&self, _: &[Shape], outputs: &[Shape]) -> usize {
        total(outputs).saturating_mul(3)
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        let codes = to.one_hot(given.edges[0], self.classes);
        let last = given.shapes[0].rank();
        let mut order: Vec<usize> = (0..last).collect();
        order.insert(counted(self.axis, last + 1)?, last);
        Ok(Some(vec![to.transpose(codes, &order)]))
    }

    fn compute(&self, inputs: Vec<Value>, outputs: &[Vec<usize>]) -> Result<Vec<Value>> {
        let last = outputs[0].len() - 1;
        let axis = counted(self.axis, last + 1)?;
        let codes = one(inputs)?.detach().one_hot(self.classes)?;
        let mut order: Vec<usize> = (0..last).collect();
        order.insert(axis, last);
        Ok(vec![codes.permute(&order)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_those_of_python() {
        // len(range(n)[slice(a, b, c)]) and its first element.
        assert_eq!(cells(None, None, 1, 5), (0, 5));
        assert_eq!(cells(Some(-2), None, 1, 5), (3, 2));
        assert_eq!(cells(Some(1), Some(9), 2, 5), (1, 2));
        assert_eq!(cells(None, None, -1, 5), (4, 5));
        assert_eq!(cells(None, None, -2, 5), (4, 3));
        assert_eq!(cells(Some(3), Some(1), -1, 5), (3, 2));
        assert_eq!(cells(Some(3), Some(1), 1, 5).1, 0);
        assert_eq!(cells(Some(-9), Some(i64::MAX), i64::MAX, 5), (0, 1));
        assert_eq!(cells(Some(i64::MIN), Some(i64::MIN), i64::MIN, 5).1, 0);
        assert_eq!(cells(None, None, i64::MIN, 0).1, 0);
    }
}
