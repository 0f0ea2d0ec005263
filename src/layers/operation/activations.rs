//! Keras's activation functions as operations.

use burn::tensor::activation;

use super::argument::Described;
use super::elementwise::by_element;
use super::rules::{one, only};
use super::{Exported, Function, FunctionResult, NN, OperationEntry, ValueKind, total};
use crate::activations::Activation;
use crate::error::{Error, Result};
use crate::kernels::activation::Activation as Kernel;
use crate::layers::{Activated, Arguments, Call, Edge, Exporting, Freezing, Frozen, Layer, ReLU};
use crate::ops::{ElementWise, Value};
use crate::shape::Shape;

/// √(2 / π)
const ROOT: f32 = 0.797_884_6;

/// The module of the few functions that Keras does not export as operations.
const ACTIVATIONS: &str = "keras.src.activations.activations";

/// An activation without arguments.
#[derive(Clone, Debug)]
struct SimpleActivation(Activation);

impl Function for SimpleActivation {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        Ok(vec![only(inputs)?.clone()])
    }

    fn kind(&self, inputs: &[ValueKind]) -> Result<ValueKind> {
        match self.0 {
            Activation::Relu | Activation::Relu6 => Ok(ValueKind::number(inputs)),
            _ => Ok(ValueKind::Float),
        }
    }

    fn frozen_step(&self, _: &str, freezing: &Freezing<'_>) -> Option<Frozen> {
        Activated::step(&self.0, freezing)
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        Ok(Some(vec![to.activate(&self.0, given.edges[0], &given.shapes[0])?]))
    }

    fn compute(&self, inputs: Vec<Value>, _: &[Vec<usize>]) -> Result<Vec<Value>> {
        Ok(vec![self.0.apply(one(inputs)?)?])
    }
}

fn named(described: &mut Described, activation: Activation) -> FunctionResult {
    described.expect_count(1)?;
    Ok(Box::new(SimpleActivation(activation)))
}

/// A function with one or two numeric arguments.
#[derive(Clone, Copy, Debug)]
struct Parametric {
    of: fn(Value, [f32; 2]) -> Value,
    numbers: [f32; 2],
}

impl Function for Parametric {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        Ok(vec![only(inputs)?.clone()])
    }

    fn kind(&self, _: &[ValueKind]) -> Result<ValueKind> {
        Ok(ValueKind::Float)
    }

    fn scratch(&self, _: &[Shape], outputs: &[Shape]) -> usize {
        total(outputs).saturating_mul(4)
    }

    fn frozen_step(&self, class: &str, freezing: &Freezing<'_>) -> Option<Frozen> {
        match class {
            "Gelu" => Activated::each(Kernel::GeluTanh, freezing),
            _ => None,
        }
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        let (x, [number, other]) = (given.edges[0], self.numbers);
        Ok(Some(vec![match given.class {
            "LeakyRelu" => to.op("LeakyRelu", &[x], vec![("alpha", number.into())]),
            "Elu" => to.op("Elu", &[x], vec![("alpha", number.into())]),
            "Celu" => to.op("Celu", &[x], vec![("alpha", number.into())]),
            "HardShrink" => to.op("Shrink", &[x], vec![("lambd", number.into()), ("bias", 0.0.into())]),
            "SoftShrink" => to.op("Shrink", &[x], vec![("lambd", number.into()), ("bias", number.into())]),
            "Squareplus" => {
                let square = to.mul(x, x);
                let square = to.add_number(square, number);
                let root = to.op("Sqrt", &[square], vec![]);
                let sum = to.add(x, root);
                to.mul_number(sum, 0.5)
            }
            "Gelu" => {
                let square = to.mul(x, x);
                let cube = to.mul(square, x);
                let cube = to.mul_number(cube, 0.044715);
                let inner = to.add(x, cube);
                let inner = to.mul_number(inner, ROOT);
                let tanh = to.op("Tanh", &[inner], vec![]);
                let sum = to.add_number(tanh, 1.0);
                let product = to.mul(x, sum);
                to.mul_number(product, 0.5)
            }
            "Threshold" => {
                let (threshold, other) = (to.number(number), to.number(other));
                let above = to.op("Greater", &[x, threshold], vec![]);
                to.op("Where", &[above, x, other], vec![])
            }
            _ => return Ok(None),
        }]))
    }

    fn compute(&self, inputs: Vec<Value>, _: &[Vec<usize>]) -> Result<Vec<Value>> {
        Ok(vec![(self.of)(one(inputs)?, self.numbers)])
    }
}

/// A function of one number with a default.
fn parametric(described: &mut Described, key: &str, default: f32, of: fn(Value, [f32; 2]) -> Value) -> FunctionResult {
    described.expect_count(1)?;
    let number: f32 = described.take(key)?.unwrap_or(default);
    if !number.is_finite() {
        return Err(Error::argument(key, "a number", number));
    }
    Ok(Box::new(Parametric { of, numbers: [number, 0.0] }))
}

/// The layer of the same name and arguments.
#[derive(Clone, Debug)]
struct ReluFunction(ReLU);

impl Function for ReluFunction {
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        Ok(vec![self.0.output_shape(only(inputs)?)?])
    }

    fn kind(&self, inputs: &[ValueKind]) -> Result<ValueKind> {
        Ok(ValueKind::number(inputs))
    }

    fn scratch(&self, _: &[Shape], outputs: &[Shape]) -> usize {
        total(outputs).saturating_mul(4)
    }

    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        let (inputs, shapes) = (vec![given.edges[0]], vec![given.shapes[0].clone()]);
        to.part(&self.0, inputs, shapes, &Arguments::new(), &[]).map(Some)
    }

    fn compute(&self, inputs: Vec<Value>, _: &[Vec<usize>]) -> Result<Vec<Value>> {
        Ok(vec![self.0.forward(one(inputs)?, &mut Call::inference(&[]))?])
    }
}

fn relu(described: &mut Described) -> FunctionResult {
    described.expect_count(1)?;
    let mut layer = ReLU::new();
    if let Some(most) = described.take::<f32>("max_value")? {
        layer = layer.max_value(most);
    }
    if let Some(slope) = described.take::<f32>("negative_slope")? {
        layer = layer.negative_slope(slope);
    }
    if let Some(threshold) = described.take::<f32>("threshold")? {
        layer = layer.threshold(threshold);
    }
    Ok(Box::new(ReluFunction(layer)))
}

pub(super) const ENTRIES: &[OperationEntry] = &[
    OperationEntry::new(NN, "Relu", |given| named(given, Activation::Relu)),
    OperationEntry::new(ACTIVATIONS, "ReLU", relu),
    OperationEntry::new(NN, "Relu6", |given| named(given, Activation::Relu6)),
    OperationEntry::new(NN, "LeakyRelu", |given| parametric(given, "negative_slope", 0.2, leaky_relu)),
    OperationEntry::new(NN, "Elu", |given| parametric(given, "alpha", 1.0, elu)),
    OperationEntry::new(NN, "Celu", |given| parametric(given, "alpha", 1.0, celu)),
    OperationEntry::new(NN, "Selu", |given| named(given, Activation::Selu)),
    OperationEntry::new(NN, "Gelu", gelu),
    OperationEntry::new(NN, "Silu", |given| named(given, Activation::Silu)),
    OperationEntry::new(NN, "Sigmoid", |given| named(given, Activation::Sigmoid)),
    OperationEntry::new(NN, "LogSigmoid", |given| named(given, Activation::LogSigmoid)),
    OperationEntry::new(NN, "HardSigmoid", |given| named(given, Activation::HardSigmoid)),
    OperationEntry::new(NN, "HardSilu", |given| named(given, Activation::HardSilu)),
    OperationEntry::new(NN, "HardTanh", |given| named(given, Activation::HardTanh)),
    OperationEntry::new(NN, "HardShrink", |given| parametric(given, "threshold", 0.5, hard_shrink)),
    OperationEntry::new(NN, "SoftShrink", |given| parametric(given, "threshold", 0.5, soft_shrink)),
    OperationEntry::new(NN, "TanhShrink", |given| named(given, Activation::TanhShrink)),
    OperationEntry::new(NN, "Threshold", threshold),
    OperationEntry::new(NN, "Softplus", |given| named(given, Activation::Softplus)),
    OperationEntry::new(NN, "Softsign", |given| named(given, Activation::Softsign)),
    OperationEntry::new(NN, "Squareplus", |given| parametric(given, "b", 4.0, squareplus)),
    OperationEntry::new(NN, "SparsePlus", |given| named(given, Activation::SparsePlus)),
    OperationEntry::new(NN, "SparseSigmoid", |given| named(given, Activation::SparseSigmoid)),
    OperationEntry::new(ACTIVATIONS, "Mish", |given| named(given, Activation::Mish)),
];

/// `map` with a function that has a numeric argument.
macro_rules! with_number {
    ($value:expr, $number:expr, |$x:ident, $own:ident| $body:expr) => {{
        struct Own(f32);
        impl ElementWise for Own {
            fn apply<const D: usize>(&self, $x: burn::tensor::Tensor<D>) -> burn::tensor::Tensor<D> {
                let $own = self.0;
                $body
            }
        }
        $value.map(Own($number))
    }};
}

fn leaky_relu(value: Value, [slope, _]: [f32; 2]) -> Value {
    with_number!(value, slope, |x, slope| activation::leaky_relu(x, f64::from(slope)))
}

fn elu(value: Value, [alpha, _]: [f32; 2]) -> Value {
    with_number!(value, alpha, |x, alpha| activation::elu(x, f64::from(alpha)))
}

fn celu(value: Value, [alpha, _]: [f32; 2]) -> Value {
    with_number!(value, alpha, |x, alpha| activation::celu(x, f64::from(alpha)))
}

fn hard_shrink(value: Value, [threshold, _]: [f32; 2]) -> Value {
    with_number!(value, threshold, |x, threshold| activation::hard_shrink(x, f64::from(threshold)))
}

fn soft_shrink(value: Value, [threshold, _]: [f32; 2]) -> Value {
    with_number!(value, threshold, |x, threshold| activation::soft_shrink(x, f64::from(threshold)))
}

fn squareplus(value: Value, [b, _]: [f32; 2]) -> Value {
    (value.clone() + value.square().add_scalar(b).sqrt()).mul_scalar(0.5)
}

/// The exact function, or the `tanh` approximation, which is Keras's default here.
fn gelu(described: &mut Described) -> FunctionResult {
    if described.take("approximate")?.unwrap_or(true) {
        described.expect_count(1)?;
        return Ok(Box::new(Parametric { of: |value, _| gelu_by_tanh(value), numbers: [0.0; 2] }));
    }
    named(described, Activation::Gelu)
}

fn gelu_by_tanh(value: Value) -> Value {
    by_element!(value, |x| {
        let inner = (x.clone() + x.clone() * x.clone() * x.clone() * 0.044715) * ROOT;
        x * (inner.tanh() + 1.0) * 0.5
    })
}

/// Replaces values that are not above the threshold.
fn threshold(described: &mut Described) -> FunctionResult {
    described.expect_count(1)?;
    let numbers = [described.require("threshold")?, described.require("default_value")?];
    let of = |value: Value, [threshold, default]: [f32; 2]| {
        let above = value.clone().detach().greater_scalar(threshold);
        let other = by_element!(value.clone().detach(), |x| x.zeros_like()).add_scalar(default);
        other.select_where(above, value)
    };
    Ok(Box::new(Parametric { of, numbers }))
}
