//! Element-wise functions of two values, with broadcasting.

use super::argument::{Described, Operand};
use super::elementwise::{Becomes, not, truncated};
use super::rules::{broadcast, lifted, only, spread};
use super::{Exported, Function, FunctionResult, NUMPY, OperationEntry, ValueKind, total};
use crate::error::{Error, Result};
use crate::formats::onnx::Element;
use crate::kernels::merge::Merge;
use crate::layers::merging::frozen_merge;
use crate::layers::{Edge, Exporting, Freezing, Frozen};
use crate::ops::{ElementWise, Value};
use crate::shape::Shape;

/// An element-wise function of two values.
#[derive(Clone, Copy, Debug)]
struct Pair {
    of: fn(Value, Value) -> Value,
    becomes: Becomes,
    /// Keras's operation on two booleans, which replaces this one.
    of_bools: Option<fn(Value, Value) -> Value>,
    /// Whether the function broadcasts by itself.
    repeats: bool,
    is_of_bools: bool,
}

impl Function for Pair {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        Ok(vec![broadcast(inputs)?])
    }

    fn kind(&self, inputs: &[ValueKind]) -> Result<ValueKind> {
        self.becomes.of(inputs)
    }

    fn scratch(&self, _: &[Shape], outputs: &[Shape]) -> usize {
        total(outputs).saturating_mul(if self.repeats { 1 } else { 4 })
    }

    fn frozen_step(&self, class: &str, freezing: &Freezing<'_>) -> Option<Frozen> {
        let merge = match class {
            "Add" => Merge::Add,
            "Subtract" => Merge::Subtract,
            "Multiply" => Merge::Multiply,
            _ => return None,
        };
        // Operations broadcast as NumPy does, merging layers otherwise: only equal sizes give the same.
        let are_alike = freezing.inputs.iter().all(|input| *input == freezing.output);
        if are_alike && !self.is_of_bools { frozen_merge(freezing, merge, 1.0) } else { None }
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        if self.is_of_bools {
            return Ok(None);
        }
        let [a, b] = given.edges[..] else { return Ok(None) };
        let compared = |to: &mut Exporting<'_>, operator: &'static str| {
            let truth = to.op(operator, &[a, b], vec![]);
            to.cast(truth, Element::Float)
        };
        Ok(Some(vec![match given.class {
            "Add" => to.add(a, b),
            "Subtract" => to.sub(a, b),
            "Multiply" => to.mul(a, b),
            "TrueDivide" | "Divide" => to.div(a, b),
            "Maximum" => to.op("Max", &[a, b], vec![]),
            "Minimum" => to.op("Min", &[a, b], vec![]),
            "Equal" => compared(to, "Equal"),
            "Greater" => compared(to, "Greater"),
            "GreaterEqual" => compared(to, "GreaterOrEqual"),
            "Less" => compared(to, "Less"),
            "LessEqual" => compared(to, "LessOrEqual"),
            "NotEqual" => {
                let same = to.op("Equal", &[a, b], vec![]);
                let truth = to.op("Not", &[same], vec![]);
                to.cast(truth, Element::Float)
            }
            "DivideNoNan" => {
                let (zero, quotient) = (to.number(0.0), to.div(a, b));
                let is_zero = to.op("Equal", &[b, zero], vec![]);
                to.op("Where", &[is_zero, zero, quotient], vec![])
            }
            "Logaddexp" => {
                let (larger, difference) = (to.op("Max", &[a, b], vec![]), to.sub(a, b));
                let distance = to.op("Abs", &[difference], vec![]);
                let distance = to.op("Neg", &[distance], vec![]);
                let exp = to.op("Exp", &[distance], vec![]);
                let sum = to.add_number(exp, 1.0);
                let log = to.op("Log", &[sum], vec![]);
                to.add(larger, log)
            }
            "LogicalAnd" | "LogicalOr" | "LogicalXor" => {
                let (a, b) = (to.truth(a), to.truth(b));
                let operator = match given.class {
                    "LogicalAnd" => "And",
                    "LogicalOr" => "Or",
                    _ => "Xor",
                };
                let truth = to.op(operator, &[a, b], vec![]);
                to.cast(truth, Element::Float)
            }
            _ => return Ok(None),
        }]))
    }

    fn compute(&self, inputs: Vec<Value>, outputs: &[Vec<usize>]) -> Result<Vec<Value>> {
        let [a, b] = two(inputs)?;
        let of = self.of_bools.filter(|_| self.is_of_bools).unwrap_or(self.of);
        let sizes = &outputs[0];
        Ok(vec![match self.repeats && !self.is_of_bools {
            true => of(lifted(a, sizes.len())?, lifted(b, sizes.len())?),
            false => of(spread(a, sizes)?, spread(b, sizes)?),
        }])
    }
}

fn two(inputs: Vec<Value>) -> Result<[Value; 2]> {
    <[Value; 2]>::try_from(inputs).map_err(|inputs| Error::shape("two values", format!("{} of them", inputs.len())))
}

fn pair(described: &mut Described, of: fn(Value, Value) -> Value, becomes: Becomes) -> FunctionResult {
    described.expect_count(2)?;
    Ok(Box::new(Pair { of, becomes, of_bools: None, repeats: false, is_of_bools: false }))
}

/// An arithmetic operator.
fn arithmetic(
    described: &mut Described,
    of: fn(Value, Value) -> Value,
    becomes: Becomes,
    of_bools: Option<fn(Value, Value) -> Value>,
) -> FunctionResult {
    described.expect_count(2)?;
    let is_of_bools = described.operands.iter().all(|operand| operand.kind() == ValueKind::Bool);
    Ok(Box::new(Pair { of, becomes, of_bools, repeats: true, is_of_bools }))
}

pub(super) const ENTRIES: &[OperationEntry] = &[
    // In Keras the sum of booleans is a boolean.
    OperationEntry::new(NUMPY, "Add", |given| arithmetic(given, |a, b| a + b, Becomes::Same, Some(Value::maximum))),
    OperationEntry::new(NUMPY, "Subtract", |given| arithmetic(given, |a, b| a - b, Becomes::NotOfBool, None)),
    OperationEntry::new(NUMPY, "Multiply", |given| arithmetic(given, |a, b| a * b, Becomes::Same, None)),
    OperationEntry::new(NUMPY, "TrueDivide", |given| arithmetic(given, |a, b| a / b, Becomes::Float, None)),
    OperationEntry::new(NUMPY, "Divide", |given| arithmetic(given, |a, b| a / b, Becomes::Float, None)),
    OperationEntry::new(NUMPY, "DivideNoNan", |given| pair(given, divide_no_nan, Becomes::Float)),
    OperationEntry::new(NUMPY, "FloorDivide", |given| pair(given, floor_divide, Becomes::NotOfBool)),
    OperationEntry::new(NUMPY, "Mod", |given| pair(given, modulo, Becomes::Number)),
    OperationEntry::new(NUMPY, "Power", power),
    OperationEntry::new(NUMPY, "Maximum", |given| pair(given, maximum, Becomes::Same)),
    OperationEntry::new(NUMPY, "Minimum", |given| pair(given, minimum, Becomes::Same)),
    OperationEntry::new(NUMPY, "Arctan2", |given| pair(given, Value::atan2, Becomes::Float)),
    OperationEntry::new(NUMPY, "Logaddexp", |given| pair(given, log_add_exp, Becomes::Float)),
    OperationEntry::new(NUMPY, "Equal", |given| pair(given, Value::equal, Becomes::Bool)),
    OperationEntry::new(NUMPY, "NotEqual", |given| pair(given, |a, b| not(a.equal(b)), Becomes::Bool)),
    OperationEntry::new(NUMPY, "Greater", |given| pair(given, Value::greater, Becomes::Bool)),
    OperationEntry::new(NUMPY, "GreaterEqual", |given| pair(given, greater_equal, Becomes::Bool)),
    OperationEntry::new(NUMPY, "Less", |given| pair(given, |a, b| b.greater(a), Becomes::Bool)),
    OperationEntry::new(NUMPY, "LessEqual", |given| pair(given, |a, b| greater_equal(b, a), Becomes::Bool)),
    OperationEntry::new(NUMPY, "LogicalAnd", |given| pair(given, |a, b| truth(a) * truth(b), Becomes::Bool)),
    OperationEntry::new(NUMPY, "LogicalOr", |given| pair(given, |a, b| truth(a).maximum(truth(b)), Becomes::Bool)),
    OperationEntry::new(NUMPY, "LogicalXor", |given| pair(given, |a, b| not(truth(a).equal(truth(b))), Becomes::Bool)),
    OperationEntry::new(NUMPY, "Where", choose),
    OperationEntry::new(NUMPY, "Clip", clip),
    OperationEntry::new(super::CORE, "Cast", cast),
    OperationEntry::new(super::CORE, "ConvertToTensor", cast),
];

/// 1 where a value is not 0.
pub(super) fn truth(value: Value) -> Value {
    not(value.equal_scalar(0.0))
}

/// Not the negation of `less`: both are false for NaN.
fn greater_equal(a: Value, b: Value) -> Value {
    a.clone().greater(b.clone()).maximum(a.equal(b))
}

/// The element-wise maximum. Ties share the gradient equally, as in JAX.
pub(super) fn maximum(a: Value, b: Value) -> Value {
    match a.is_tracked() || b.is_tracked() {
        true => (a.clone().maximum(b.clone()) + b.maximum(a)).mul_scalar(0.5),
        false => a.maximum(b),
    }
}

/// The element-wise minimum, like [`maximum`].
pub(super) fn minimum(a: Value, b: Value) -> Value {
    match a.is_tracked() || b.is_tracked() {
        true => (a.clone().minimum(b.clone()) + b.minimum(a)).mul_scalar(0.5),
        false => a.minimum(b),
    }
}

/// 0 where the divisor is 0.
fn divide_no_nan(a: Value, b: Value) -> Value {
    let zero = b.clone().detach().equal_scalar(0.0);
    // The divisor is replaced too: an infinite quotient would make the gradient NaN.
    let divisor = b + zero.clone();
    let quotient = a / divisor;
    let zeros = zero.clone().mul_scalar(0.0);
    quotient.select_where(zero, zeros)
}

/// The quotient rounded down, computed from the remainder: close to an integer the quotient itself could be rounded up.
fn floor_divide(a: Value, b: Value) -> Value {
    struct Round;
    impl ElementWise for Round {
        fn apply<const D: usize>(&self, tensor: burn::tensor::Tensor<D>) -> burn::tensor::Tensor<D> {
            tensor.round()
        }
    }
    let rest = a.clone().remainder(b.clone());
    ((a - rest) / b).map(Round)
}

/// The remainder of [`floor_divide`], whose quotient is the gradient of the divisor.
fn modulo(a: Value, b: Value) -> Value {
    if !a.is_tracked() && !b.is_tracked() {
        return a.remainder(b);
    }
    let (fixed, divisor) = (a.clone().detach(), b.clone().detach());
    let quotient = floor_divide(fixed.clone(), divisor.clone());
    // Both differences are 0; they only carry the gradient.
    fixed.clone().remainder(divisor.clone()) + (a - fixed) - quotient * (b - divisor)
}

/// `log(exp(a) + exp(b))`.
fn log_add_exp(a: Value, b: Value) -> Value {
    let larger = maximum(a.clone(), b.clone());
    let difference = a - b;
    let alike = super::elementwise::is_nan(difference.clone().detach());
    let nothing = difference.clone().detach().mul_scalar(0.0);
    // The difference of two equal infinities is NaN.
    let distance = difference.abs().select_where(alike, super::elementwise::by_element!(nothing, |x| x.zeros_like()));
    larger + (-distance).exp().log1p()
}

/// A power whose exponent is a constant in the graph, or a value.
#[derive(Clone, Copy, Debug)]
struct Power {
    exponent: Option<f32>,
}

fn power(described: &mut Described) -> FunctionResult {
    described.expect_count(2)?;
    let exponent = match &described.operands[1] {
        Operand::Constant(constant) => Some(constant.clone()),
        _ => None,
    };
    let least = exponent.as_ref().and_then(|constant| constant.numbers().iter().copied().reduce(f32::min));
    let is_whole = described.operands.iter().all(|operand| operand.kind() < ValueKind::Float);
    if is_whole && least.is_none_or(|least| least < 0.0) {
        // Keras's result for a half among integers depends on the backend.
        return Err(described.unsupported("integers and an exponent that may be below 0", "floats"));
    }
    let single = exponent.filter(|constant| constant.shape().rank() == 0);
    Ok(Box::new(Power { exponent: single.and_then(|constant| constant.numbers().first().copied()) }))
}

impl Function for Power {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        Ok(vec![broadcast(inputs)?])
    }

    fn kind(&self, inputs: &[ValueKind]) -> Result<ValueKind> {
        Becomes::NotOfBool.of(inputs)
    }

    fn scratch(&self, _: &[Shape], outputs: &[Shape]) -> usize {
        total(outputs).saturating_mul(3)
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        let [base, exponent] = given.edges[..] else { return Ok(None) };
        Ok(Some(vec![to.op("Pow", &[base, exponent], vec![])]))
    }

    fn compute(&self, inputs: Vec<Value>, outputs: &[Vec<usize>]) -> Result<Vec<Value>> {
        let [base, exponent] = two(inputs)?;
        let base = spread(base, &outputs[0])?;
        Ok(vec![match self.exponent {
            Some(exponent) => base.powf(exponent),
            None => base.power(spread(exponent, &outputs[0])?),
        }])
    }
}

/// Selects from two values by a condition.
#[derive(Clone, Copy, Debug)]
struct Where;

fn choose(described: &mut Described) -> FunctionResult {
    let is_none = |operand: &Operand| *operand == Operand::Other(serde_json::Value::Null);
    if described.operands.len() < 3 || described.operands.iter().any(is_none) {
        return Err(described.unsupported("a condition alone", "a condition and two values"));
    }
    described.expect_count(3)?;
    Ok(Box::new(Where))
}

impl Function for Where {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        Ok(vec![broadcast(inputs)?])
    }

    fn kind(&self, inputs: &[ValueKind]) -> Result<ValueKind> {
        Ok(ValueKind::widest(inputs.get(1..).unwrap_or_default()))
    }

    fn scratch(&self, _: &[Shape], outputs: &[Shape]) -> usize {
        total(outputs).saturating_mul(4)
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        let [condition, yes, no] = given.edges[..] else { return Ok(None) };
        let truth = to.truth(condition);
        Ok(Some(vec![to.op("Where", &[truth, yes, no], vec![])]))
    }

    fn compute(&self, inputs: Vec<Value>, outputs: &[Vec<usize>]) -> Result<Vec<Value>> {
        let mut values = inputs.into_iter().map(|value| spread(value, &outputs[0]));
        let mut next = || values.next().unwrap_or_else(|| Err(Error::shape("three values", "fewer")));
        let (condition, yes, no) = (next()?, next()?, next()?);
        Ok(vec![no.select_where(truth(condition.detach()), yes)])
    }
}

/// Clips values to two optional bounds.
#[derive(Clone, Copy, Debug)]
struct Clip {
    low: Option<f32>,
    high: Option<f32>,
}

fn clip(described: &mut Described) -> FunctionResult {
    described.expect_count(1)?;
    let (low, high) = (described.take("x_min")?, described.take("x_max")?);
    Ok(Box::new(Clip { low, high }))
}

impl Function for Clip {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        Ok(vec![only(inputs)?.clone()])
    }

    fn kind(&self, inputs: &[ValueKind]) -> Result<ValueKind> {
        let whole = [self.low, self.high].into_iter().flatten().all(|bound| bound.fract() == 0.0);
        match ValueKind::number(inputs) {
            ValueKind::Int if !whole => {
                Err(Error::unsupported("integers clipped at fractional bounds", "integer bounds, or floats"))
            }
            kind => Ok(kind),
        }
    }

    fn scratch(&self, _: &[Shape], outputs: &[Shape]) -> usize {
        total(outputs).saturating_mul(4)
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        let mut value = given.edges[0];
        for (operator, bound) in [("Max", self.low), ("Min", self.high)] {
            if let Some(bound) = bound {
                let bound = to.number(bound);
                value = to.op(operator, &[value, bound], vec![]);
            }
        }
        Ok(Some(vec![value]))
    }

    fn compute(&self, inputs: Vec<Value>, outputs: &[Vec<usize>]) -> Result<Vec<Value>> {
        let mut value = super::rules::one(inputs)?;
        // The lower bound first: an upper bound below it wins, as in NumPy.
        let bound = |number: f32| Value::full(&outputs[0], number, &value.device());
        let (low, high) = (self.low.map(bound).transpose()?, self.high.map(bound).transpose()?);
        if let Some(low) = low {
            value = maximum(value, low);
        }
        if let Some(high) = high {
            value = minimum(value, high);
        }
        Ok(vec![value])
    }
}

/// Casts to another dtype: truncates to integers, or compares with 0.
#[derive(Clone, Copy, Debug)]
struct Cast {
    /// `None` keeps the kind.
    to: Option<ValueKind>,
    /// The range of the integer dtype.
    range: (f32, f32),
}

fn cast(described: &mut Described) -> FunctionResult {
    described.expect_count(1)?;
    for key in ["sparse", "ragged"] {
        described.refuse(key, "dense values")?;
    }
    let dtype: Option<String> = described.take("dtype")?;
    if dtype.is_none() && described.class == "Cast" {
        return Err(Error::argument("dtype", "the name of a type", "none"));
    }
    let to = dtype.as_deref().map(|name| ValueKind::of_dtype(Some(name))).transpose()?;
    let bits = |name: &str| name.trim_start_matches(|letter: char| letter.is_alphabetic()).parse::<i32>();
    // JAX has no integers of more than 32 bits unless configured; floats saturate at the largest of them.
    let bits = dtype.as_deref().and_then(|name| bits(name).ok()).unwrap_or(32).clamp(1, 32);
    let range = match dtype.as_deref() {
        Some(name) if name.starts_with("uint") => (0.0, 2f32.powi(bits) - 1.0),
        _ => (-(2f32.powi(bits - 1)), 2f32.powi(bits - 1) - 1.0),
    };
    Ok(Box::new(Cast { to, range }))
}

impl Function for Cast {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        Ok(vec![only(inputs)?.clone()])
    }

    fn kind(&self, inputs: &[ValueKind]) -> Result<ValueKind> {
        Ok(self.to.unwrap_or(ValueKind::widest(inputs)))
    }

    fn scratch(&self, _: &[Shape], outputs: &[Shape]) -> usize {
        total(outputs).saturating_mul(2)
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        let x = given.edges[0];
        Ok(match self.to {
            None | Some(ValueKind::Float) => Some(vec![x]),
            Some(ValueKind::Bool) => {
                let truth = to.truth(x);
                Some(vec![to.cast(truth, Element::Float)])
            }
            Some(ValueKind::Int) => {
                let (low, high) = self.range;
                let x = to.clip(x, low, high);
                let whole = to.cast(x, Element::Int64);
                Some(vec![to.cast(whole, Element::Float)])
            }
        })
    }

    fn compute(&self, inputs: Vec<Value>, _: &[Vec<usize>]) -> Result<Vec<Value>> {
        let value = super::rules::one(inputs)?;
        Ok(vec![match self.to {
            None | Some(ValueKind::Float) => value,
            Some(ValueKind::Int) => truncated(value.detach()).clamp(self.range.0, self.range.1),
            Some(ValueKind::Bool) => truth(value.detach()),
        }])
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn anything_over_zero_is_zero_without_nan() {
        let value = |numbers: &[f32]| Value::from_vec(numbers.to_vec(), &[numbers.len()], &Device::flex()).unwrap();
        let quotient = divide_no_nan(value(&[f32::INFINITY, f32::NAN, 3.0]), value(&[0.0, 0.0, 2.0]));
        assert_eq!(quotient.to_vec().unwrap(), [0.0, 0.0, 1.5]);
    }
}
