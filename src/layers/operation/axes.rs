//! Operations along axes that keep the shape: softmax, normalization, cumulative sums.

use super::argument::Described;
use super::elementwise::by_element;
use super::rules::{axes, axis, one, only, spread};
use super::{Exported, Function, FunctionResult, NN, NUMPY, OperationEntry, ValueKind, total};
use crate::activations::Activation;
use crate::error::{Error, Result};
use crate::layers::{Edge, Exporting};
use crate::ops::Value;
use crate::shape::Shape;

#[derive(Clone, Debug, PartialEq)]
enum AxisFunction {
    Softmax,
    LogSoftmax,
    /// An activation along the last axis, moved to another axis.
    Activation(Activation),
    /// Division by the norm of this order, bounded below by epsilon.
    Normalize {
        order: u32,
        epsilon: f32,
    },
    Cumsum,
}

#[derive(Clone, Debug)]
struct Along {
    what: AxisFunction,
    /// `None` for all axes.
    axes: Option<Vec<isize>>,
}

fn along(described: &mut Described, what: AxisFunction) -> FunctionResult {
    described.expect_count(1)?;
    // `null` means all axes, a missing argument the last.
    let is_given = described.config.contains_key("axis") || what == AxisFunction::Cumsum;
    let default = if is_given { None } else { Some(vec![-1]) };
    let axes = described.integers("axis")?.or(default);
    let several = matches!(what, AxisFunction::Softmax | AxisFunction::LogSoftmax | AxisFunction::Normalize { .. });
    if !several && axes.as_ref().is_none_or(|axes| axes.len() != 1) {
        return Err(described.unsupported("a number of axes other than 1", "one `axis`"));
    }
    if axes.as_ref().is_some_and(Vec::is_empty) {
        return Err(Error::argument("axis", "at least one axis", "[]"));
    }
    Ok(Box::new(Along { what, axes }))
}

pub(super) const ENTRIES: &[OperationEntry] = &[
    OperationEntry::new(NN, "Softmax", |given| along(given, AxisFunction::Softmax)),
    OperationEntry::new(NN, "LogSoftmax", |given| along(given, AxisFunction::LogSoftmax)),
    OperationEntry::new(NN, "Sparsemax", |given| along(given, AxisFunction::Activation(Activation::Sparsemax))),
    OperationEntry::new(NN, "Glu", |given| along(given, AxisFunction::Activation(Activation::Glu))),
    OperationEntry::new(NN, "Normalize", normalize),
    OperationEntry::new(NUMPY, "Cumsum", |given| along(given, AxisFunction::Cumsum)),
];

fn normalize(described: &mut Described) -> FunctionResult {
    let order: u32 = described.take("order")?.unwrap_or(2);
    if !(1..=64).contains(&order) {
        return Err(Error::argument("order", "a whole number from 1 to 64", order));
    }
    let epsilon: f32 = described.take("epsilon")?.unwrap_or(1e-7);
    if !epsilon.is_finite() || epsilon < 0.0 {
        return Err(Error::argument("epsilon", "a number of at least 0", epsilon));
    }
    along(described, AxisFunction::Normalize { order, epsilon })
}

impl Along {
    fn axes(&self, rank: usize) -> Result<Vec<usize>> {
        match &self.axes {
            Some(given) => axes("axis", given, rank),
            None => Ok((0..rank).collect()),
        }
    }
}

/// The maximum along the axes, detached; 0 where it is infinite, so that it can be subtracted.
pub(super) fn largest(value: &Value, axes: &[usize]) -> Value {
    let largest = axes.iter().fold(value.clone().detach(), |value, axis| value.max_axis(*axis));
    let finite = by_element!(largest.clone(), |x| x.is_finite().float());
    by_element!(largest.clone(), |x| x.zeros_like()).select_where(finite, largest)
}

pub(super) fn sum(value: Value, axes: &[usize]) -> Value {
    axes.iter().fold(value, |value, axis| value.sum_axis(*axis))
}

impl Function for Along {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let input = only(inputs)?;
        let axes = self.axes(input.rank())?;
        if self.what != AxisFunction::Activation(Activation::Glu) {
            return Ok(vec![input.clone()]);
        }
        let mut sizes = input.sizes().to_vec();
        match &mut sizes[axes[0]] {
            Some(size) if *size % 2 != 0 => Err(Error::shape("an even size along the axis of `Glu`", input)),
            size => {
                *size = size.map(|size| size / 2);
                Ok(vec![Shape::new(sizes)])
            }
        }
    }

    fn kind(&self, inputs: &[ValueKind]) -> Result<ValueKind> {
        match self.what {
            AxisFunction::Cumsum => Ok(ValueKind::number(inputs)),
            _ => Ok(ValueKind::Float),
        }
    }

    fn scratch(&self, inputs: &[Shape], _: &[Shape]) -> usize {
        total(inputs).saturating_mul(4)
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        let (x, shape) = (given.edges[0], &given.shapes[0]);
        let axes = self.axes(shape.rank())?;
        let along = |axis: usize| vec![("axis", (axis as i64).into())];
        Ok(Some(vec![match (&self.what, &axes[..]) {
            (AxisFunction::Softmax, [axis]) => to.op("Softmax", &[x], along(*axis)),
            (AxisFunction::LogSoftmax, [axis]) => to.op("LogSoftmax", &[x], along(*axis)),
            (AxisFunction::Softmax | AxisFunction::LogSoftmax, axes) => {
                let largest = to.reduce("ReduceMax", x, axes, true);
                let shifted = to.sub(x, largest);
                let powers = to.op("Exp", &[shifted], vec![]);
                let all = to.reduce("ReduceSum", powers, axes, true);
                if self.what == AxisFunction::Softmax {
                    to.div(powers, all)
                } else {
                    let log = to.op("Log", &[all], vec![]);
                    to.sub(shifted, log)
                }
            }
            (AxisFunction::Activation(activation), [axis]) => {
                let last = shape.rank() - 1;
                let mut order: Vec<usize> = (0..=last).collect();
                order.swap(*axis, last);
                let turned = Shape::new(order.iter().map(|axis| shape.sizes()[*axis]).collect::<Vec<_>>());
                let x = to.transpose(x, &order);
                let x = to.activate(activation, x, &turned)?;
                to.transpose(x, &order)
            }
            (AxisFunction::Cumsum, [axis]) => {
                let axis = to.int(*axis as i64);
                to.op("CumSum", &[x, axis], vec![])
            }
            (AxisFunction::Normalize { order: 2, epsilon }, axes) if *epsilon > 0.0 => {
                let squares = to.mul(x, x);
                let sum = to.reduce("ReduceSum", squares, axes, true);
                let norm = to.op("Sqrt", &[sum], vec![]);
                let least = to.number(*epsilon);
                let norm = to.op("Max", &[norm, least], vec![]);
                to.div(x, norm)
            }
            _ => return Ok(None),
        }]))
    }

    fn compute(&self, inputs: Vec<Value>, _: &[Vec<usize>]) -> Result<Vec<Value>> {
        let value = one(inputs)?;
        let sizes = value.sizes();
        let axes = self.axes(sizes.len())?;
        Ok(vec![match (&self.what, &axes[..]) {
            (AxisFunction::Softmax, [axis]) => value.softmax(*axis),
            (AxisFunction::LogSoftmax, [axis]) => value.log_softmax(*axis),
            (AxisFunction::Softmax, axes) => {
                let powers = (value.clone() - spread(largest(&value, axes), &sizes)?).exp();
                let all = sum(powers.clone(), axes);
                powers / spread(all, &sizes)?
            }
            (AxisFunction::LogSoftmax, axes) => {
                let shifted = value.clone() - spread(largest(&value, axes), &sizes)?;
                let all = sum(shifted.clone().exp(), axes).log();
                shifted - spread(all, &sizes)?
            }
            (AxisFunction::Activation(activation), axes) => {
                let last = sizes.len() - 1;
                let order: Vec<usize> = (0..=last)
                    .map(|at| {
                        if at == axes[0] {
                            last
                        } else if at == last {
                            axes[0]
                        } else {
                            at
                        }
                    })
                    .collect();
                activation.apply(value.permute(&order))?.permute(&order)
            }
            (AxisFunction::Normalize { order: 2, epsilon }, axes) => {
                let norm = super::elementwise::rsqrt(sum(value.clone().square(), axes));
                let most = if *epsilon > 0.0 { epsilon.recip() } else { f32::INFINITY };
                let norm = super::pairs::minimum(norm.clone(), Value::full(&norm.sizes(), most, &norm.device())?);
                value * spread(norm, &sizes)?
            }
            (AxisFunction::Normalize { order, epsilon }, axes) => {
                let order = *order as f32;
                let norm = match order {
                    1.0 => sum(value.clone().abs(), axes),
                    _ => sum(value.clone().abs().powf(order), axes).powf(order.recip()),
                };
                let norm = super::pairs::maximum(norm.clone(), Value::full(&norm.sizes(), *epsilon, &norm.device())?);
                value / spread(norm, &sizes)?
            }
            (AxisFunction::Cumsum, axes) => value.cumsum(axes[0]),
        }])
    }
}

/// A single axis, by default the last.
pub(super) fn axis_or(described: &mut Described, default: isize) -> Result<isize> {
    Ok(described.take("axis")?.unwrap_or(default))
}

/// Like [`axis`], for an argument named `axis`.
pub(super) fn counted(given: isize, rank: usize) -> Result<usize> {
    axis("axis", given, rank)
}
