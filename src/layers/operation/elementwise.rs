//! Element-wise functions of one value.

use burn::tensor::Tensor;

use super::argument::Described;
use super::rules::{one, only};
use super::{Function, FunctionResult, MATH, NUMPY, OperationEntry, ValueKind};
use crate::error::{Error, Result};
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

    fn compute(&self, inputs: Vec<Value>, _: &[Vec<usize>]) -> Result<Vec<Value>> {
        Ok(vec![one(inputs)?.map(*self)])
    }
}
