//! Reductions: sums, means, maxima.

use super::argument::Described;
use super::axes::{largest, sum};
use super::pairs::truth;
use super::rules::{axes, one, only, spread};
use super::{Exported, Function, FunctionResult, MATH, NUMPY, OperationEntry, ValueKind, total};
use crate::error::{Error, Result};
use crate::formats::onnx::Element;
use crate::layers::{Edge, Exporting};
use crate::ops::Value;
use crate::shape::Shape;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reduce {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    Var,
    Std,
    Any,
    All,
    Argmax,
    Argmin,
    Logsumexp,
    CountNonzero,
}

#[derive(Clone, Debug)]
struct ReductionFunction {
    what: Reduce,
    /// `None` for all axes.
    axes: Option<Vec<isize>>,
    keepdims: bool,
    /// An initial value of a maximum or minimum.
    initial: Option<f32>,
}

fn reduction(described: &mut Described, what: Reduce) -> FunctionResult {
    described.expect_count(1)?;
    let axes = described.integers("axis")?;
    if matches!(what, Reduce::Argmax | Reduce::Argmin) && axes.as_ref().is_some_and(|axes| axes.len() != 1) {
        return Err(described.unsupported("several axes", "one axis, or all by `null`"));
    }
    let keepdims = described.take("keepdims")?.unwrap_or(false);
    let initial = match what {
        Reduce::Max | Reduce::Min => described.take("initial")?,
        _ => None,
    };
    if what == Reduce::Prod && described.take::<String>("dtype")?.is_some() {
        return Err(described.unsupported("a `dtype`", "the type of its input"));
    }
    Ok(Box::new(ReductionFunction { what, axes, keepdims, initial }))
}

pub(super) const ENTRIES: &[OperationEntry] = &[
    OperationEntry::new(NUMPY, "Sum", |given| reduction(given, Reduce::Sum)),
    OperationEntry::new(NUMPY, "Mean", |given| reduction(given, Reduce::Mean)),
    OperationEntry::new(NUMPY, "Max", |given| reduction(given, Reduce::Max)),
    OperationEntry::new(NUMPY, "Amax", |given| reduction(given, Reduce::Max)),
    OperationEntry::new(NUMPY, "Min", |given| reduction(given, Reduce::Min)),
    OperationEntry::new(NUMPY, "Amin", |given| reduction(given, Reduce::Min)),
    OperationEntry::new(NUMPY, "Prod", |given| reduction(given, Reduce::Prod)),
    OperationEntry::new(NUMPY, "Var", |given| reduction(given, Reduce::Var)),
    OperationEntry::new(NUMPY, "Std", |given| reduction(given, Reduce::Std)),
    OperationEntry::new(NUMPY, "Any", |given| reduction(given, Reduce::Any)),
    OperationEntry::new(NUMPY, "All", |given| reduction(given, Reduce::All)),
    OperationEntry::new(NUMPY, "Argmax", |given| reduction(given, Reduce::Argmax)),
    OperationEntry::new(NUMPY, "Argmin", |given| reduction(given, Reduce::Argmin)),
    OperationEntry::new(NUMPY, "CountNonzero", |given| reduction(given, Reduce::CountNonzero)),
    OperationEntry::new(MATH, "Logsumexp", |given| reduction(given, Reduce::Logsumexp)),
];

impl ReductionFunction {
    fn axes(&self, rank: usize) -> Result<Vec<usize>> {
        match &self.axes {
            Some(given) => axes("axis", given, rank),
            None => Ok((0..rank).collect()),
        }
    }
}

/// The maximum along the axes. Ties share the gradient equally, as in Keras.
fn max(value: Value, axes: &[usize]) -> Result<Value> {
    let largest = axes.iter().fold(value.clone().detach(), |value, axis| value.max_axis(*axis));
    if !value.is_tracked() {
        return Ok(largest);
    }
    let sizes = value.sizes();
    let all = spread(largest.clone(), &sizes)?;
    let is_it = value.clone().detach().equal(all.clone());
    let part = is_it.clone() / spread(sum(is_it, axes), &sizes)?;
    // The differences are 0; they only carry the gradient.
    Ok(largest + sum((value - all) * part, axes))
}

/// The product along an axis, by pairwise halving: the gradient then needs no division, which would fail at 0.
fn product(mut value: Value, axis: usize) -> Result<Value> {
    loop {
        let length = value.sizes()[axis];
        match length {
            0 => {
                let mut sizes = value.sizes();
                sizes[axis] = 1;
                return Value::full(&sizes, 1.0, &value.device());
            }
            1 => return Ok(value),
            _ => {}
        }
        let half = length / 2;
        let pairs = value.clone().narrow(axis, 0, half) * value.clone().narrow(axis, half, half);
        value = match length % 2 {
            0 => pairs,
            _ => Value::concat(vec![pairs, value.narrow(axis, length - 1, 1)], axis)?,
        };
    }
}

impl Function for ReductionFunction {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let input = only(inputs)?;
        let reduced = self.axes(input.rank())?;
        let is_of_nothing = reduced.iter().any(|axis| input.sizes()[*axis] == Some(0));
        let needs_values = !matches!(self.what, Reduce::Sum | Reduce::Mean | Reduce::Prod | Reduce::CountNonzero);
        if is_of_nothing && needs_values {
            return Err(Error::shape("at least one value along the axes", input));
        }
        let sizes = input.sizes().iter().enumerate();
        let kept = sizes.filter_map(|(axis, size)| match (reduced.contains(&axis), self.keepdims) {
            (false, _) => Some(*size),
            (true, true) => Some(Some(1)),
            (true, false) => None,
        });
        Ok(vec![Shape::new(kept.collect::<Vec<_>>())])
    }

    fn kind(&self, inputs: &[ValueKind]) -> Result<ValueKind> {
        Ok(match self.what {
            Reduce::Sum | Reduce::Prod => ValueKind::number(inputs),
            Reduce::Max | Reduce::Min => ValueKind::widest(inputs),
            Reduce::Any | Reduce::All => ValueKind::Bool,
            Reduce::Argmax | Reduce::Argmin | Reduce::CountNonzero => ValueKind::Int,
            Reduce::Mean | Reduce::Var | Reduce::Std | Reduce::Logsumexp => ValueKind::Float,
        })
    }

    fn scratch(&self, inputs: &[Shape], _: &[Shape]) -> usize {
        let times = match self.what {
            Reduce::Sum | Reduce::Mean => 1,
            Reduce::Argmax | Reduce::Argmin => 3,
            _ => 4,
        };
        total(inputs).saturating_mul(times)
    }

    fn takes_nothing(&self) -> bool {
        matches!(self.what, Reduce::Sum | Reduce::Mean | Reduce::Prod | Reduce::CountNonzero)
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        let (x, shape) = (given.edges[0], &given.shapes[0]);
        let axes = self.axes(shape.rank())?;
        if axes.is_empty() {
            return Ok(None);
        }
        let reduced = match self.what {
            Reduce::Sum => to.reduce("ReduceSum", x, &axes, self.keepdims),
            Reduce::Mean => to.reduce("ReduceMean", x, &axes, self.keepdims),
            Reduce::Max => to.reduce("ReduceMax", x, &axes, self.keepdims),
            Reduce::Min => to.reduce("ReduceMin", x, &axes, self.keepdims),
            Reduce::Prod => to.reduce("ReduceProd", x, &axes, self.keepdims),
            Reduce::Logsumexp => to.reduce("ReduceLogSumExp", x, &axes, self.keepdims),
            Reduce::Var | Reduce::Std => {
                let mean = to.reduce("ReduceMean", x, &axes, true);
                let deviation = to.sub(x, mean);
                let squares = to.mul(deviation, deviation);
                let variance = to.reduce("ReduceMean", squares, &axes, self.keepdims);
                if self.what == Reduce::Std { to.op("Sqrt", &[variance], vec![]) } else { variance }
            }
            Reduce::Argmax | Reduce::Argmin => {
                let ([axis], Some(_)) = (&axes[..], &self.axes) else { return Ok(None) };
                let operator = if self.what == Reduce::Argmax { "ArgMax" } else { "ArgMin" };
                let attributes = vec![("axis", (*axis as i64).into()), ("keepdims", i64::from(self.keepdims).into())];
                let index = to.op(operator, &[x], attributes);
                to.cast(index, Element::Float)
            }
            Reduce::Any | Reduce::All | Reduce::CountNonzero => {
                let truth = to.truth(x);
                let truth = to.cast(truth, Element::Float);
                let operator = match self.what {
                    Reduce::Any => "ReduceMax",
                    Reduce::All => "ReduceMin",
                    _ => "ReduceSum",
                };
                to.reduce(operator, truth, &axes, self.keepdims)
            }
        };
        Ok(Some(vec![match self.initial {
            None => reduced,
            Some(initial) => {
                let initial = to.number(initial);
                to.op(if self.what == Reduce::Max { "Max" } else { "Min" }, &[reduced, initial], vec![])
            }
        }]))
    }

    fn compute(&self, inputs: Vec<Value>, outputs: &[Vec<usize>]) -> Result<Vec<Value>> {
        let value = one(inputs)?;
        let sizes = value.sizes();
        let axes = self.axes(sizes.len())?;
        let mean = |value: Value| axes.iter().fold(value, |value, axis| value.mean_axis(*axis));
        let output = match self.what {
            Reduce::Sum => sum(value, &axes),
            Reduce::Mean => mean(value),
            Reduce::Max => max(value, &axes)?,
            Reduce::Min => -max(-value, &axes)?,
            Reduce::Prod => axes.iter().try_fold(value, |value, axis| product(value, *axis))?,
            Reduce::Var | Reduce::Std => {
                let deviation = value.clone() - spread(mean(value), &sizes)?;
                let variance = mean(deviation.square());
                if self.what == Reduce::Std { variance.sqrt() } else { variance }
            }
            Reduce::Any => max(truth(value.detach()), &axes)?,
            Reduce::All => -max(-truth(value.detach()), &axes)?,
            Reduce::CountNonzero => sum(truth(value.detach()), &axes),
            Reduce::Argmax | Reduce::Argmin => {
                let value = if self.what == Reduce::Argmax { value.detach() } else { -value.detach() };
                match (&self.axes, &axes[..]) {
                    (Some(_), [axis]) => value.argmax(*axis),
                    _ => {
                        let count = value.len();
                        value.reshape(&[count])?.argmax(0)
                    }
                }
            }
            Reduce::Logsumexp => {
                let largest = largest(&value, &axes);
                let powers = (value - spread(largest.clone(), &sizes)?).exp();
                largest + sum(powers, &axes).log()
            }
        };
        let output = match (self.initial, self.what) {
            (Some(initial), Reduce::Max) => super::pairs::maximum(output.clone(), alike(&output, initial)?),
            (Some(initial), _) => super::pairs::minimum(output.clone(), alike(&output, initial)?),
            (None, _) => output,
        };
        Ok(vec![output.reshape(&outputs[0])?])
    }
}

fn alike(value: &Value, number: f32) -> Result<Value> {
    Value::full(&value.sizes(), number, &value.device())
}
