//! The kind of numbers in a value. Brasa computes with floats; an operation has to know where Keras treats integers or
//! booleans differently.

use serde_json::Value as Json;

use crate::error::{Error, Result};

/// The kind of a Keras dtype, narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ValueKind {
    /// 0 or 1.
    Bool,
    /// Integers.
    Int,
    /// Any numbers.
    Float,
}

impl ValueKind {
    /// The kind of the dtype of this name; `None` means Keras's default.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for complex numbers, strings and other dtypes that are not numeric.
    pub(crate) fn of_dtype(dtype: Option<&str>) -> Result<Self> {
        let Some(name) = dtype else { return Ok(Self::Float) };
        let starts = |start: &str| name.strip_prefix(start).is_some_and(|bits| bits.parse::<u8>().is_ok());
        match name {
            "bool" => Ok(Self::Bool),
            _ if starts("int") || starts("uint") => Ok(Self::Int),
            _ if starts("float") || starts("bfloat") => Ok(Self::Float),
            _ => {
                let name: String = name.chars().take(80).collect();
                Err(Error::unsupported(format!("values of the type `{name}`"), "floats, integers and bool"))
            }
        }
    }

    /// Like [`of_dtype`](Self::of_dtype), for a tensor as serialized by Keras 3.
    pub(crate) fn of_tensor(tensor: &Json) -> Result<Self> {
        Self::of_dtype(tensor.get("config").and_then(|config| config.get("dtype")).and_then(Json::as_str))
    }

    /// The dtype to be written for this kind.
    pub(crate) fn dtype(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int32",
            Self::Float => "float32",
        }
    }

    /// The kind of a result computed from values of these kinds.
    pub(super) fn widest(kinds: &[Self]) -> Self {
        kinds.iter().copied().max().unwrap_or(Self::Float)
    }

    /// Like [`widest`](Self::widest), with booleans promoted to integers.
    pub(super) fn number(kinds: &[Self]) -> Self {
        Self::widest(kinds).max(Self::Int)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_types() {
        let of = |name| ValueKind::of_dtype(Some(name));
        assert_eq!(of("bfloat16").unwrap(), ValueKind::Float);
        assert_eq!(of("uint8").unwrap(), ValueKind::Int);
        assert_eq!(of("bool").unwrap(), ValueKind::Bool);
        for name in ["complex64", "string", "intelligence", ""] {
            assert!(of(name).is_err(), "{name}");
        }
        assert_eq!(ValueKind::number(&[ValueKind::Bool, ValueKind::Bool]), ValueKind::Int);
    }
}
