//! JSON as Python reads and writes it.

use std::cell::Cell;
use std::fmt;
use std::io;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::ser::{CharEscape, Formatter, Serializer};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::formats::Limits;

/// Formats a value like Python's `json.dumps`: `", "` and `": "` as separators, everything outside ASCII escaped,
/// numbers as in `repr`.
pub fn to_python_json(value: &Value) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, Python);
    // Neither the value (its keys are strings) nor the writer (memory) can fail.
    let _ = serde::Serialize::serialize(value, &mut serializer);
    String::from_utf8(bytes).unwrap_or_default()
}

/// Parses JSON text from a file. Its size is limited by the caller, its depth by serde_json (128), the number of its
/// values by [`Limits::values`].
///
/// # Errors
/// [`Error::Broken`] if it is not JSON, [`Error::Unsupported`] for more values than the budget and for numbers that
/// JSON does not have.
pub(crate) fn parse(file: &str, at: &str, bytes: &[u8], limits: &Limits) -> Result<Value> {
    let left = Cell::new(Some(limits.values));
    let parsed = (|| {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let value = Budgeted { left: &left, keep: true }.deserialize(&mut reader)?;
        reader.end().map(|()| value)
    })();
    parsed.map_err(|error| {
        if left.get().is_none() {
            return too_many(file, at, limits);
        }
        // Python writes NaN and Infinity, which JSON does not have.
        match python_constant(bytes, error.line(), error.column()) {
            Some(constant) => Error::unsupported(format!("the value {constant} in {at} of `{file}`"), "finite numbers"),
            None => Error::broken(file, at, error),
        }
    })
}

/// Rejects JSON text of more values than the budget, on behalf of a parser that does not count them. Invalid JSON is
/// left to that parser.
///
/// # Errors
/// [`Error::Unsupported`].
pub(crate) fn count(file: &str, at: &str, bytes: &[u8], limits: &Limits) -> Result<()> {
    let left = Cell::new(Some(limits.values));
    let budget = Budgeted { left: &left, keep: false };
    let _ = budget.deserialize(&mut serde_json::Deserializer::from_slice(bytes));
    if left.get().is_none() { Err(too_many(file, at, limits)) } else { Ok(()) }
}

fn too_many(file: &str, at: &str, limits: &Limits) -> Error {
    Error::unsupported(
        format!("the number of values in {at} of `{file}`"),
        format!("up to {} of them, an object counted as two (`Limits::values`)", limits.values),
    )
}

/// The cost of a JSON object in addition to its values: its table takes as much memory.
const OBJECT: usize = 2;

/// Deserializes a value and counts it before allocating; `None` once the budget is exhausted.
#[derive(Clone, Copy)]
struct Budgeted<'a> {
    left: &'a Cell<Option<usize>>,
    /// Whether to keep the values, or only count them.
    keep: bool,
}

impl Budgeted<'_> {
    fn spend<E: serde::de::Error>(self, count: usize) -> Result<(), E> {
        self.left.set(self.left.get().and_then(|left| left.checked_sub(count)));
        self.left.get().map(|_| ()).ok_or_else(|| E::custom("too many values"))
    }
}

impl<'de> DeserializeSeed<'de> for Budgeted<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// The scalar values.
macro_rules! plain {
    ($($visit:ident($type:ty) $value:ident => $made:expr;)*) => {$(
        fn $visit<E: serde::de::Error>(self, $value: $type) -> Result<Value, E> {
            self.spend(1).map(|()| $made)
        }
    )*};
}

impl<'de> Visitor<'de> for Budgeted<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    plain! {
        visit_bool(bool) value => Value::Bool(value);
        visit_u64(u64) value => value.into();
        visit_i64(i64) value => value.into();
        visit_f64(f64) value => value.into();
        visit_str(&str) value => value.into();
        visit_string(String) value => Value::String(value);
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.spend(1).map(|()| Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        self.spend(1)?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self)? {
            if self.keep {
                values.push(value);
            }
        }
        // A growing list reserves more than it needs.
        values.shrink_to_fit();
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.spend(OBJECT)?;
        let mut values = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(self)?;
            if self.keep {
                values.insert(key, value);
            }
        }
        Ok(Value::Object(values))
    }
}

/// `NaN` or `Infinity`, if the parser stopped at it.
fn python_constant(bytes: &[u8], line: usize, column: usize) -> Option<&'static str> {
    let line = bytes.split(|&byte| byte == b'\n').nth(line.checked_sub(1)?)?;
    // The parser can have consumed the word's first letters, or the minus sign before it.
    let from = &line[column.saturating_sub(3).min(line.len())..];
    let near = &from[..from.len().min(12)];
    ["NaN", "Infinity"].into_iter().find(|word| near.windows(word.len()).any(|part| part == word.as_bytes()))
}

struct Python;

impl Formatter for Python {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        // Both print the shortest digits, with an exponent from 1e16 on and below 1e-4; Python's exponent has at least
        // two digits.
        let text = format!("{value:?}");
        match text.split_once('e') {
            Some((digits, exponent)) => {
                let (sign, exponent) = match exponent.strip_prefix('-') {
                    Some(exponent) => ('-', exponent),
                    None => ('+', exponent),
                };
                write!(writer, "{digits}e{sign}{exponent:0>2}")
            }
            None => writer.write_all(text.as_bytes()),
        }
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for unit in fragment.encode_utf16() {
            match u8::try_from(unit) {
                Ok(byte @ b' '..=b'~') => writer.write_all(&[byte])?,
                _ => write!(writer, "\\u{unit:04x}")?,
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + io::Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        match escape {
            CharEscape::Quote => writer.write_all(b"\\\""),
            CharEscape::ReverseSolidus => writer.write_all(b"\\\\"),
            CharEscape::Solidus => writer.write_all(b"/"),
            CharEscape::Backspace => writer.write_all(b"\\b"),
            CharEscape::FormFeed => writer.write_all(b"\\f"),
            CharEscape::LineFeed => writer.write_all(b"\\n"),
            CharEscape::CarriageReturn => writer.write_all(b"\\r"),
            CharEscape::Tab => writer.write_all(b"\\t"),
            CharEscape::AsciiControl(byte) => write!(writer, "\\u{byte:04x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::JSON_DEPTH;
    use super::*;
    use serde_json::json;

    fn parse(file: &str, at: &str, bytes: &[u8]) -> Result<Value> {
        super::parse(file, at, bytes, &Limits::default())
    }

    #[test]
    fn the_text_is_python_s() {
        // The right-hand side is the output of `json.dumps` in Python 3.12.
        let value = json!({"a": [1, 2.0, null, true], "é": "日本 😀\n\"\\", "lr": 0.0010000000474974513, "empty": {}, "none": []});
        assert_eq!(
            to_python_json(&value),
            r#"{"a": [1, 2.0, null, true], "\u00e9": "\u65e5\u672c \ud83d\ude00\n\"\\", "lr": 0.0010000000474974513, "empty": {}, "none": []}"#
        );
        let numbers = json!([1e-7, 1.5e-5, 1e-4, 1e15, 1e16, 1.25e300, -0.0, 0.1]);
        assert_eq!(
            to_python_json(&numbers),
            "[1e-07, 1.5e-05, 0.0001, 1000000000000000.0, 1e+16, 1.25e+300, -0.0, 0.1]"
        );
    }

    #[test]
    fn writing_and_reading_round_trips() {
        let value = json!({"text": "\u{0} \u{7f} \u{10ffff} /", "list": [[], [{}]], "number": -1.7976931348623157e308});
        assert_eq!(parse("file", "config.json", to_python_json(&value).as_bytes()).unwrap(), value);
    }

    #[test]
    fn values_that_are_not_finite_are_named() {
        for text in ["{\"a\": NaN}", "[1, Infinity]", "[1,\n -Infinity]"] {
            let error = parse("m.keras", "config.json", text.as_bytes());
            assert!(matches!(error, Err(Error::Unsupported { .. })), "{text}: {error:?}");
        }
        assert!(matches!(parse("m.keras", "config.json", b"{\"NaN\": 1, \"a\": }"), Err(Error::Broken { .. })));
    }

    #[test]
    fn values_are_counted() {
        let limits = Limits { values: 10, ..Limits::default() };
        let parse = |text: &str| super::parse("m.keras", "config.json", text.as_bytes(), &limits);
        assert_eq!(parse("[1, 2, 3, 4, 5, 6, 7, 8, 9]").unwrap(), json!([1, 2, 3, 4, 5, 6, 7, 8, 9]));
        assert_eq!(parse(r#"{"a": {"b": 1}, "c": null}"#).unwrap(), json!({"a": {"b": 1}, "c": null}));
        for text in [
            "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]",
            "[[[[[[[[[[[]]]]]]]]]]]",
            "[{}, {}, {}, {}, {}]",
            "[0,0,0,0,0,0,0,0,0,0,0,0",
        ] {
            let error = parse(text).unwrap_err();
            assert!(matches!(error, Error::Unsupported { .. }), "{text}: {error}");
            assert!(error.to_string().contains("up to 10 of them"), "{error}");
        }
        assert!(matches!(parse("[1] 2"), Err(Error::Broken { .. })));
        assert!(matches!(parse(""), Err(Error::Broken { .. })));
    }

    #[test]
    fn results_equal_those_of_serde_json() {
        let text = r#"[0, -0.0, 18446744073709551615, -9223372036854775808, 1e300, 0.1, "\u00e4\ud83d\ude00", "ä", true, null, {"a": 1, "a": 2}]"#;
        assert_eq!(parse("f", "config.json", text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn depth_is_limited() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse("f", "config.json", nested(JSON_DEPTH).as_bytes()).is_ok());
        assert!(parse("f", "config.json", nested(JSON_DEPTH + 1).as_bytes()).is_err());
        assert!(parse("f", "config.json", nested(1_000_000).as_bytes()).is_err());
    }
}
