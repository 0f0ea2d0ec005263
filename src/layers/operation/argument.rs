//! The arguments of an operation: graph values and constants.

use std::sync::Arc;

use burn::tensor::Device;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::ValueKind;
use crate::config::{Config, brief, from_json};
use crate::error::{Error, Result};
use crate::ops::{MAX_RANK, Value};
use crate::shape::Shape;

/// The maximum nesting of lists: the dimensions of a constant in a list of values.
const MAX_DEPTH: usize = MAX_RANK + 2;

/// A constant in the graph.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Constant {
    /// Empty for a scalar.
    sizes: Vec<usize>,
    numbers: Arc<[f32]>,
    kind: ValueKind,
}

impl Constant {
    /// Parses nested lists of numbers, of the type `dtype` or an inferred one.
    fn of(value: &Json, dtype: Option<&str>) -> Result<Self> {
        let (mut sizes, mut first) = (Vec::new(), value);
        while let Json::Array(list) = first {
            sizes.push(list.len());
            match list.first() {
                Some(next) if sizes.len() <= MAX_RANK => first = next,
                _ => break,
            }
        }
        if sizes.len() > MAX_RANK {
            let received = format!("{} of them", sizes.len());
            return Err(Error::shape(format!("a constant of at most {MAX_RANK} dimensions"), received));
        }
        let (mut numbers, mut kind) = (Vec::new(), ValueKind::Bool);
        collect(value, &sizes, &mut numbers, &mut kind)?;
        if dtype.is_some() {
            kind = ValueKind::of_dtype(dtype)?;
        }
        Ok(Self { sizes, numbers: numbers.into(), kind })
    }

    /// Parses a scalar.
    fn number(value: &Json) -> Result<Self> {
        Self::of(value, None)
    }

    pub(super) fn shape(&self) -> Shape {
        Shape::known(&self.sizes)
    }

    pub(super) fn numbers(&self) -> &[f32] {
        &self.numbers
    }

    /// The value; a scalar has rank 1.
    pub(super) fn value(&self, device: &Device) -> Result<Value> {
        let sizes = if self.sizes.is_empty() { &[1][..] } else { &self.sizes };
        Value::from_vec(self.numbers.to_vec(), sizes, device)
    }
}

/// Flattens nested lists of these sizes.
fn collect(value: &Json, sizes: &[usize], numbers: &mut Vec<f32>, kind: &mut ValueKind) -> Result<()> {
    match (value, sizes) {
        (Json::Array(list), [size, sizes @ ..]) if list.len() == *size => {
            list.iter().try_for_each(|value| collect(value, sizes, numbers, kind))
        }
        (Json::Bool(truth), []) => {
            numbers.push(f32::from(u8::from(*truth)));
            Ok(())
        }
        (Json::Number(number), []) => {
            let exact = number.as_f64().unwrap_or(f64::NAN);
            let rounded = exact as f32;
            let own = if number.is_f64() { ValueKind::Float } else { ValueKind::Int };
            if own == ValueKind::Int && f64::from(rounded) != exact {
                return Err(Error::unsupported(
                    format!("the integer {number}, which a 32-bit float cannot represent"),
                    "integers up to 2²⁴",
                ));
            }
            numbers.push(rounded);
            *kind = own.max(*kind);
            Ok(())
        }
        _ => Err(Error::argument("value", "numbers in lists of equal length", brief(value))),
    }
}

/// An argument of an operation.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    /// A graph value.
    Tensor(ValueKind),
    Constant(Constant),
    List(Vec<Operand>),
    /// Something else, such as a slice.
    Other(Json),
}

impl Operand {
    /// Parses an argument from Keras's JSON; `is_tensor` says which parts are graph values.
    pub(super) fn of(value: &Json, is_tensor: &impl Fn(&Json) -> bool) -> Result<Self> {
        Self::inside(value, is_tensor, 0)
    }

    fn inside(value: &Json, is_tensor: &impl Fn(&Json) -> bool, depth: usize) -> Result<Self> {
        if depth > MAX_DEPTH {
            return Err(Error::unsupported(
                format!("lists {depth} deep among the arguments of an operation"),
                format!("at most {MAX_DEPTH}"),
            ));
        }
        if is_tensor(value) {
            return Ok(Self::Tensor(ValueKind::of_tensor(value)?));
        }
        match value {
            Json::Number(_) | Json::Bool(_) => Ok(Self::Constant(Constant::number(value)?)),
            Json::Array(list) => {
                let inside = list.iter().map(|value| Self::inside(value, is_tensor, depth + 1));
                Ok(Self::List(inside.collect::<Result<_>>()?))
            }
            Json::Object(fields) => {
                let class = fields.get("class_name").and_then(Json::as_str);
                match (class, fields.get("config").and_then(|config| config.get("value"))) {
                    (Some("__numpy__" | "__tensor__"), Some(numbers)) => {
                        let dtype = fields["config"].get("dtype").and_then(Json::as_str);
                        Ok(Self::Constant(Constant::of(numbers, dtype)?))
                    }
                    _ => Ok(Self::Other(value.clone())),
                }
            }
            other => Ok(Self::Other(other.clone())),
        }
    }

    /// The kind of the values.
    pub(super) fn kind(&self) -> ValueKind {
        match self {
            Self::Tensor(kind) => *kind,
            Self::Constant(constant) => constant.kind,
            Self::List(_) | Self::Other(_) => ValueKind::Float,
        }
    }
}

/// The description of an operation: its constructor takes the keys that it knows, and any remaining key is refused.
pub(super) struct Described {
    pub class: &'static str,
    pub config: Config,
    /// The arguments of the call, in order.
    pub operands: Vec<Operand>,
    /// The same arguments as JSON.
    pub written: Vec<Json>,
}

impl Described {
    /// Takes an optional argument from the config; `null` counts as missing.
    pub(super) fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
        match self.config.shift_remove(key) {
            None | Some(Json::Null) => Ok(None),
            Some(value) => from_json(key, value).map(Some),
        }
    }

    /// Takes a required argument.
    pub(super) fn require<T: DeserializeOwned>(&mut self, key: &str) -> Result<T> {
        self.take(key)?.ok_or_else(|| Error::argument(key, "a value", "none"))
    }

    /// Takes one or several integers.
    pub(super) fn integers(&mut self, key: &str) -> Result<Option<Vec<isize>>> {
        match self.config.shift_remove(key) {
            None | Some(Json::Null) => Ok(None),
            Some(one @ Json::Number(_)) => Ok(Some(vec![from_json(key, one)?])),
            Some(several) => from_json(key, several).map(Some),
        }
    }

    /// Refuses an argument if it is set.
    pub(super) fn refuse(&mut self, key: &str, supported: &str) -> Result<()> {
        match self.config.shift_remove(key) {
            None | Some(Json::Null | Json::Bool(false)) => Ok(()),
            Some(value) => Err(self.unsupported(&format!("`{key}` = {}", brief(&value)), supported)),
        }
    }

    pub(super) fn unsupported(&self, what: &str, supported: &str) -> Error {
        Error::unsupported(format!("the operation `{}` with {what}", self.class), supported)
    }

    /// Refuses any other number of arguments.
    pub(super) fn expect_count(&self, count: usize) -> Result<()> {
        if self.operands.len() == count {
            return Ok(());
        }
        Err(Error::shape(format!("{count} arguments"), format!("{} of them", self.operands.len())))
    }

    /// The arguments as values: lists of numbers are constants.
    pub(super) fn values(&mut self) -> Result<Vec<Operand>> {
        let pairs = std::mem::take(&mut self.operands).into_iter().zip(&self.written);
        let values = pairs.map(|(operand, written)| match operand {
            Operand::Tensor(_) | Operand::Constant(_) => Ok(operand),
            Operand::List(_) if written.is_array() => {
                let numbers = Constant::of(written, None).map(Operand::Constant);
                numbers.map_err(|_| self.unsupported(&format!("the argument {}", brief(written)), "values and numbers"))
            }
            Operand::List(_) | Operand::Other(_) => {
                Err(self.unsupported(&format!("the argument {}", brief(written)), "values and numbers"))
            }
        });
        values.collect()
    }
}
