//! Reductions: sums, means, maxima.

use super::argument::Described;
use super::axes::{largest, sum};
use super::pairs::truth;
use super::rules::{axes, one, only, spread};
use super::{Entry, Exported, Function, Kind, MATH, Made, NUMPY, total};
use crate::error::{Error, Result};
use crate::formats::onnx::Element;
use crate::layers::{Edge, Exporting};
use crate::ops::Value;
use crate::shape::Shape;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
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
struct Reduction {
    what: What,
    /// `None` for all axes.
    axes: Option<Vec<isize>>,
    keepdims: bool,
    /// An initial value of a maximum or minimum.
    initial: Option<f32>,
}

fn reduction(described: &mut Described, what: What) -> Made {
    described.expect_count(1)?;
    let axes = described.integers("axis")?;
    if matches!(what, What::Argmax | What::Argmin) && axes.as_ref().is_some_and(|axes| axes.len() != 1) {
        return Err(described.unsupported("several axes", "one axis, or all by `null`"));
    }
    let keepdims = described.take("keepdims")?.unwrap_or(false);
    let initial = match what {
        What::Max | What::Min => described.take("initial")?,
        _ => None,
    };
    if what == What::Prod && described.take::<String>("dtype")?.is_some() {
        return Err(described.unsupported("a `dtype`", "the type of its input"));
    }
    Ok(Box::new(Reduction { what, axes, keepdims, initial }))
}

pub(super) const ENTRIES: &[Entry] = &[
    Entry::new(NUMPY, "Sum", |given| reduction(given, What::Sum)),
    Entry::new(NUMPY, "Mean", |given| reduction(given, What::Mean)),
    Entry::new(NUMPY, "Max", |given| reduction(given, What::Max)),
    Entry::new(NUMPY, "Amax", |given| reduction(given, What::Max)),
    Entry::new(NUMPY, "Min", |given| reduction(given, What::Min)),
    Entry::new(NUMPY, "Amin", |given| reduction(given, What::Min)),
    Entry::new(NUMPY, "Prod", |given| reduction(given, What::Prod)),
    Entry::new(NUMPY, "Var", |given| reduction(given, What::Var)),
    Entry::new(NUMPY, "Std", |given| reduction(given, What::Std)),
    Entry::new(NUMPY, "Any", |given| reduction(given, What::Any)),
    Entry::new(NUMPY, "All", |given| reduction(given, What::All)),
    Entry::new(NUMPY, "Argmax", |given| reduction(given, What::Argmax)),
    Entry::new(NUMPY, "Argmin", |given| reduction(given, What::Argmin)),
    Entry::new(NUMPY, "CountNonzero", |given| reduction(given, What::CountNonzero)),
    Entry::new(MATH, "Logsumexp", |given| reduction(given, What::Logsumexp)),
];

impl Reduction {
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

impl Function for Reduction {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let input = only(inputs)?;
        let reduced = self.axes(input.rank())?;
        let is_of_nothing = reduced.iter().any(|axis| input.sizes()[*axis] == Some(0));
        let needs_values = !matches!(self.what, What::Sum | What::Mean | What::Prod | What::CountNonzero);
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

    fn kind(&self, inputs: &[Kind]) -> Result<Kind> {
        Ok(match self.what {
            What::Sum | What::Prod => Kind::number(inputs),
            What::Max | What::Min => Kind::widest(inputs),
            What::Any | What::All => Kind::Bool,
            What::Argmax | What::Argmin | What::CountNonzero => Kind::Int,
            What::Mean | What::Var | What::Std | What::Logsumexp => Kind::Float,
        })
    }

    fn scratch(&self, inputs: &[Shape], _: &[Shape]) -> usize {
        let times = match self.what {
            What::Sum | What::Mean => 1,
            What::Argmax | What::Argmin => 3,
            _ => 4,
        };
        total(inputs).saturating_mul(times)
    }

    fn takes_nothing(&self) -> bool {
        matches!(self.what, What::Sum | What::Mean | What::Prod | What::CountNonzero)
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        let (x, shape) = (given.edges[0], &given.shapes[0]);
        let axes = self.axes(shape.rank())?;
        if axes.is_empty() {
            return Ok(None);
        }
        let reduced = match self.what {
            What::Sum => to.reduce("ReduceSum", x, &axes, self.keepdims),
            What::Mean => to.reduce("ReduceMean", x, &axes, self.keepdims),
            What::Max => to.reduce("ReduceMax", x, &axes, self.keepdims),
            What::Min => to.reduce("ReduceMin", x, &axes, self.keepdims),
            What::Prod => to.reduce("ReduceProd", x, &axes, self.keepdims),
            What::Logsumexp => to.reduce("ReduceLogSumExp", x, &axes, self.keepdims),
            What::Var | What::Std => {
                let mean = to.reduce("ReduceMean", x, &axes, true);
                let deviation = to.sub(x, mean);
                let squares = to.mul(deviation, deviation);
                let variance = to.reduce("ReduceMean", squares, &axes, self.keepdims);
                if self.what == What::Std { to.op("Sqrt", &[variance], vec![]) } else { variance }
            }
            What::Argmax | What::Argmin => {
                let ([axis], Some(_)) = (&axes[..], &self.axes) else { return Ok(None) };
                let operator = if self.what == What::Argmax { "ArgMax" } else { "ArgMin" };
                let attributes = vec![("axis", (*axis as i64).into()), ("keepdims", i64::from(self.keepdims).into())];
                let place = to.op(operator, &[x], attributes);
                to.cast(place, Element::Float)
            }
            What::Any | What::All | What::CountNonzero => {
                let truth = to.truth(x);
                let truth = to.cast(truth, Element::Float);
                let operator = match self.what {
                    What::Any => "ReduceMax",
                    What::All => "ReduceMin",
                    _ => "ReduceSum",
                };
                to.reduce(operator, truth, &axes, self.keepdims)
            }
        };
        Ok(Some(vec![match self.initial {
            None => reduced,
            Some(initial) => {
                let initial = to.number(initial);
                to.op(if self.what == What::Max { "Max" } else { "Min" }, &[reduced, initial], vec![])
            }
        }]))
    }

    fn compute(&self, inputs: Vec<Value>, outputs: &[Vec<usize>]) -> Result<Vec<Value>> {
        let value = one(inputs)?;
        let sizes = value.sizes();
        let axes = self.axes(sizes.len())?;
        let mean = |value: Value| axes.iter().fold(value, |value, axis| value.mean_axis(*axis));
        let output = match self.what {
            What::Sum => sum(value, &axes),
            What::Mean => mean(value),
            What::Max => max(value, &axes)?,
            What::Min => -max(-value, &axes)?,
            What::Prod => axes.iter().try_fold(value, |value, axis| product(value, *axis))?,
            What::Var | What::Std => {
                let deviation = value.clone() - spread(mean(value), &sizes)?;
                let variance = mean(deviation.square());
                if self.what == What::Std { variance.sqrt() } else { variance }
            }
            What::Any => max(truth(value.detach()), &axes)?,
            What::All => -max(-truth(value.detach()), &axes)?,
            What::CountNonzero => sum(truth(value.detach()), &axes),
            What::Argmax | What::Argmin => {
                let value = if self.what == What::Argmax { value.detach() } else { -value.detach() };
                match (&self.axes, &axes[..]) {
                    (Some(_), [axis]) => value.argmax(*axis),
                    _ => {
                        let count = value.len();
                        value.reshape(&[count])?.argmax(0)
                    }
                }
            }
            What::Logsumexp => {
                let largest = largest(&value, &axes);
                let powers = (value - spread(largest.clone(), &sizes)?).exp();
                largest + sum(powers, &axes).log()
            }
        };
        let output = match (self.initial, self.what) {
            (Some(initial), What::Max) => super::pairs::maximum(output.clone(), alike(&output, initial)?),
            (Some(initial), _) => super::pairs::minimum(output.clone(), alike(&output, initial)?),
            (None, _) => output,
        };
        Ok(vec![output.reshape(&outputs[0])?])
    }
}

fn alike(value: &Value, number: f32) -> Result<Value> {
    Value::full(&value.sizes(), number, &value.device())
}
