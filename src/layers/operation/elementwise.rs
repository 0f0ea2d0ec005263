//! Element-wise functions of one value.

use burn::tensor::Tensor;

use super::argument::Described;
use super::rules::{one, only};
use super::{Exported, Function, FunctionResult, MATH, NUMPY, OperationEntry, ValueKind};
use crate::error::{Error, Result};
use crate::formats::onnx::Element;
use crate::layers::{Edge, Exporting};
use crate::ops::{ElementWise, Value};
use crate::shape::Shape;

/// `map` with a function of Burn tensors of any rank.
macro_rules! by_element {
    ($value:expr, |$x:ident| $body:expr) => {{
        struct Own;
        impl crate::ops::ElementWise for Own {
            fn apply<const D: usize>(&self, $x: burn::tensor::Tensor<D>) -> burn::tensor::Tensor<D> {
                $body
            }
        }
        $value.map(Own)
    }};
}

pub(super) use by_element;

/// The output kind for an input kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum Becomes {
    /// The same.
    Same,
    /// The same; booleans become integers.
    Number,
    /// The same; booleans are refused, as by Keras.
    NotOfBool,
    Float,
    Bool,
}

impl Becomes {
    pub(super) fn of(self, inputs: &[ValueKind]) -> Result<ValueKind> {
        match self {
            Self::Same => Ok(ValueKind::widest(inputs)),
            Self::Number => Ok(ValueKind::number(inputs)),
            Self::NotOfBool if ValueKind::widest(inputs) == ValueKind::Bool => {
                Err(Error::unsupported("this operation on booleans, which Keras refuses", "numbers"))
            }
            Self::NotOfBool => Ok(ValueKind::widest(inputs)),
            Self::Float => Ok(ValueKind::Float),
            Self::Bool => Ok(ValueKind::Bool),
        }
    }
}

/// A function that keeps the shape.
#[derive(Clone, Copy, Debug)]
struct Unary {
    of: fn(Value) -> Value,
    becomes: Becomes,
}

impl Function for Unary {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        Ok(vec![only(inputs)?.clone()])
    }

    fn kind(&self, inputs: &[ValueKind]) -> Result<ValueKind> {
        self.becomes.of(inputs)
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        Ok(element_wise(given, to))
    }

    fn compute(&self, inputs: Vec<Value>, _: &[Vec<usize>]) -> Result<Vec<Value>> {
        Ok(vec![(self.of)(one(inputs)?)])
    }
}

fn unary(described: &mut Described, of: fn(Value) -> Value, becomes: Becomes) -> FunctionResult {
    described.expect_count(1)?;
    Ok(Box::new(Unary { of, becomes }))
}

/// Logical negation of 0 and 1.
pub(super) fn not(value: Value) -> Value {
    value.mul_scalar(-1.0).add_scalar(1.0)
}

/// The reciprocal square root; infinite at 0.
pub(super) fn rsqrt(value: Value) -> Value {
    value.sqrt().recip()
}

pub(super) const ENTRIES: &[OperationEntry] = &[
    OperationEntry::new(NUMPY, "Negative", |given| unary(given, |x| -x, Becomes::NotOfBool)),
    OperationEntry::new(NUMPY, "Absolute", |given| unary(given, Value::abs, Becomes::Same)),
    OperationEntry::new(NUMPY, "Abs", |given| unary(given, Value::abs, Becomes::Same)),
    OperationEntry::new(NUMPY, "Sign", |given| unary(given, Value::sign, Becomes::NotOfBool)),
    OperationEntry::new(NUMPY, "Square", |given| unary(given, Value::square, Becomes::Number)),
    OperationEntry::new(NUMPY, "Sqrt", |given| unary(given, Value::sqrt, Becomes::Float)),
    OperationEntry::new(MATH, "Rsqrt", |given| unary(given, rsqrt, Becomes::Float)),
    OperationEntry::new(NUMPY, "Reciprocal", |given| unary(given, Value::recip, Becomes::Float)),
    OperationEntry::new(NUMPY, "Exp", |given| unary(given, Value::exp, Becomes::Float)),
    OperationEntry::new(NUMPY, "Expm1", |given| unary(given, expm1, Becomes::Float)),
    OperationEntry::new(NUMPY, "Log", |given| unary(given, Value::log, Becomes::Float)),
    OperationEntry::new(NUMPY, "Log1p", |given| unary(given, Value::log1p, Becomes::Float)),
    OperationEntry::new(NUMPY, "Log2", |given| {
        unary(given, |x| x.log().mul_scalar(std::f32::consts::LOG2_E), Becomes::Float)
    }),
    OperationEntry::new(NUMPY, "Log10", |given| {
        unary(given, |x| x.log().mul_scalar(std::f32::consts::LOG10_E), Becomes::Float)
    }),
    OperationEntry::new(NUMPY, "Sin", |given| unary(given, |x| by_element!(x, |x| x.sin()), Becomes::Float)),
    OperationEntry::new(NUMPY, "Cos", |given| unary(given, |x| by_element!(x, |x| x.cos()), Becomes::Float)),
    OperationEntry::new(NUMPY, "Tan", |given| unary(given, |x| by_element!(x, |x| x.tan()), Becomes::Float)),
    OperationEntry::new(NUMPY, "Arcsin", |given| unary(given, |x| by_element!(x, |x| x.asin()), Becomes::Float)),
    OperationEntry::new(NUMPY, "Arccos", |given| unary(given, |x| by_element!(x, |x| x.acos()), Becomes::Float)),
    OperationEntry::new(NUMPY, "Arctan", |given| unary(given, |x| by_element!(x, |x| x.atan()), Becomes::Float)),
    OperationEntry::new(NUMPY, "Sinh", |given| unary(given, |x| by_element!(x, |x| x.sinh()), Becomes::Float)),
    OperationEntry::new(NUMPY, "Cosh", |given| unary(given, |x| by_element!(x, |x| x.cosh()), Becomes::Float)),
    OperationEntry::new(NUMPY, "Tanh", |given| unary(given, Value::tanh, Becomes::Float)),
    OperationEntry::new(MATH, "Erf", |given| unary(given, |x| by_element!(x, |x| x.erf()), Becomes::Float)),
    OperationEntry::new(NUMPY, "Floor", |given| unary(given, Value::floor, Becomes::Float)),
    OperationEntry::new(NUMPY, "Ceil", |given| unary(given, |x| by_element!(x, |x| x.ceil()), Becomes::Float)),
    OperationEntry::new(NUMPY, "Trunc", |given| unary(given, truncated, Becomes::Same)),
    OperationEntry::new(NUMPY, "Round", round),
    OperationEntry::new(NUMPY, "Isnan", |given| unary(given, is_nan, Becomes::Bool)),
    OperationEntry::new(NUMPY, "Isinf", |given| {
        unary(given, |x| by_element!(x, |x| x.is_inf().float()), Becomes::Bool)
    }),
    OperationEntry::new(NUMPY, "Isfinite", |given| {
        unary(given, |x| by_element!(x, |x| x.is_finite().float()), Becomes::Bool)
    }),
    OperationEntry::new(NUMPY, "LogicalNot", |given| unary(given, |x| x.equal_scalar(0.0), Becomes::Bool)),
    OperationEntry::new(NUMPY, "ZerosLike", |given| alike(given, |x| by_element!(x, |x| x.zeros_like()))),
    OperationEntry::new(NUMPY, "OnesLike", |given| alike(given, |x| by_element!(x, |x| x.ones_like()))),
    OperationEntry::new(NUMPY, "Copy", |given| unary(given, |x| x, Becomes::Same)),
    OperationEntry::new(super::CORE, "StopGradient", |given| {
        unary(given, |x| by_element!(x, |x| x.detach()), Becomes::Same)
    }),
];

pub(super) fn is_nan(value: Value) -> Value {
    by_element!(value, |x| x.is_nan().float())
}

/// Truncates towards zero.
pub(super) fn truncated(value: Value) -> Value {
    by_element!(value, |x| x.trunc())
}

/// `exp(x) − 1`, precise near 0: `tanh(x / 2) · (exp(x) + 1)`.
fn expm1(value: Value) -> Value {
    // If exp is infinite, so is the product.
    value.clone().mul_scalar(0.5).tanh() * value.exp().add_scalar(1.0)
}

/// A constant of the same shape and kind.
fn alike(described: &mut Described, of: fn(Value) -> Value) -> FunctionResult {
    let becomes =
        match described.take::<String>("dtype")?.as_deref().map(|name| ValueKind::of_dtype(Some(name))).transpose()? {
            None => Becomes::Same,
            Some(ValueKind::Float) => Becomes::Float,
            Some(ValueKind::Int) => Becomes::Number,
            Some(ValueKind::Bool) => Becomes::Bool,
        };
    unary(described, of, becomes)
}

/// Rounds to decimals, halves to even.
#[derive(Clone, Copy, Debug)]
struct RoundFunction {
    factor: f32,
}

fn round(described: &mut Described) -> FunctionResult {
    described.expect_count(1)?;
    let decimals: i32 = described.take("decimals")?.unwrap_or(0);
    if !(-30..=30).contains(&decimals) {
        return Err(Error::argument("decimals", "a whole number from -30 to 30", decimals));
    }
    Ok(Box::new(RoundFunction { factor: 10f32.powi(decimals) }))
}

impl ElementWise for RoundFunction {
    fn apply<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D> {
        match self.factor {
            1.0 => tensor.round(),
            factor => (tensor * factor).round() / factor,
        }
    }
}

impl Function for RoundFunction {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        Ok(vec![only(inputs)?.clone()])
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        let x = given.edges[0];
        if self.factor == 1.0 {
            return Ok(Some(vec![to.op("Round", &[x], vec![])]));
        }
        let scaled = to.mul_number(x, self.factor);
        let rounded = to.op("Round", &[scaled], vec![]);
        let factor = to.number(self.factor);
        Ok(Some(vec![to.div(rounded, factor)]))
    }

    fn compute(&self, inputs: Vec<Value>, _: &[Vec<usize>]) -> Result<Vec<Value>> {
        Ok(vec![one(inputs)?.map(*self)])
    }
}

/// An element-wise operation of one value as ONNX operators.
fn element_wise(given: &Exported<'_>, to: &mut Exporting<'_>) -> Option<Vec<Edge>> {
    let x = given.edges[0];
    let operator = match given.class {
        "Negative" => "Neg",
        "Absolute" | "Abs" => "Abs",
        "Arcsin" => "Asin",
        "Arccos" => "Acos",
        "Arctan" => "Atan",
        own @ ("Sign" | "Sqrt" | "Reciprocal" | "Exp" | "Log" | "Sin" | "Cos" | "Tan" | "Sinh" | "Cosh" | "Tanh"
        | "Erf" | "Floor" | "Ceil") => own,
        "Copy" | "StopGradient" => return Some(vec![x]),
        "Square" => return Some(vec![to.mul(x, x)]),
        "Rsqrt" => {
            let root = to.op("Sqrt", &[x], vec![]);
            return Some(vec![to.op("Reciprocal", &[root], vec![])]);
        }
        "Expm1" => {
            let half = to.mul_number(x, 0.5);
            let tanh = to.op("Tanh", &[half], vec![]);
            let exp = to.op("Exp", &[x], vec![]);
            let sum = to.add_number(exp, 1.0);
            return Some(vec![to.mul(tanh, sum)]);
        }
        "Log1p" => {
            let sum = to.add_number(x, 1.0);
            return Some(vec![to.op("Log", &[sum], vec![])]);
        }
        "Log2" | "Log10" => {
            let log = to.op("Log", &[x], vec![]);
            let factor = if given.class == "Log2" { std::f32::consts::LOG2_E } else { std::f32::consts::LOG10_E };
            return Some(vec![to.mul_number(log, factor)]);
        }
        "Isnan" | "Isinf" => {
            let truth = to.op(if given.class == "Isnan" { "IsNaN" } else { "IsInf" }, &[x], vec![]);
            return Some(vec![to.cast(truth, Element::Float)]);
        }
        "LogicalNot" => {
            let zero = to.number(0.0);
            let truth = to.op("Equal", &[x, zero], vec![]);
            return Some(vec![to.cast(truth, Element::Float)]);
        }
        "Trunc" => {
            let size = to.op("Abs", &[x], vec![]);
            let whole = to.op("Floor", &[size], vec![]);
            let sign = to.op("Sign", &[x], vec![]);
            return Some(vec![to.mul(whole, sign)]);
        }
        "Isfinite" => {
            let (infinite, nan) = (to.op("IsInf", &[x], vec![]), to.op("IsNaN", &[x], vec![]));
            let either = to.op("Or", &[infinite, nan], vec![]);
            let neither = to.op("Not", &[either], vec![]);
            return Some(vec![to.cast(neither, Element::Float)]);
        }
        "ZerosLike" | "OnesLike" => {
            let zeros = to.mul_number(x, 0.0);
            return Some(vec![if given.class == "OnesLike" { to.add_number(zeros, 1.0) } else { zeros }]);
        }
        _ => return None,
    };
    Some(vec![to.op(operator, &[x], vec![])])
}
