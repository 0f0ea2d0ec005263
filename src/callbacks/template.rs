//! File names with placeholders for numbers, in Python's format.

use crate::error::{Error, Result};

/// A number to format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum FormattedNumber {
    Integer(i64),
    Float(f64),
    /// Of unknown kind: accepts every format.
    Any,
}

/// The text with every `{name}` or `{name:format}` replaced; `{{` and `}}` are literal braces.
///
/// # Errors
/// [`Error::UnknownName`] for a name that `find` does not know, [`Error::Argument`] for an invalid format.
pub(super) fn fill(template: &str, find: impl Fn(&str) -> Option<FormattedNumber>) -> Result<String> {
    let wrong = |expected: &str| Error::argument("filepath", expected, format!("`{template}`"));
    let mut text = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            text.push_str(brace);
            rest = after;
            continue;
        }
        let end = rest.find('}').filter(|_| brace == "{");
        let end = end.ok_or_else(|| wrong("a `}` for each `{` (a brace of its own is written twice)"))?;
        let (name, format) = rest[..end].split_once(':').unwrap_or((&rest[..end], ""));
        let number = find(name).ok_or_else(|| Error::unknown("name", name, [""; 0]))?;
        let shown = show(number, format);
        text.push_str(&shown.ok_or_else(|| wrong("formats such as `{epoch:02d}` and `{val_loss:.4f}`"))?);
        rest = &rest[end + 1..];
    }
    text.push_str(rest);
    Ok(text)
}

/// Formats a number by `[0][width][.precision][d|f|e|%]`.
fn show(number: FormattedNumber, format: &str) -> Option<String> {
    let (format, kind) = match format.char_indices().next_back() {
        Some((at, kind)) if kind.is_ascii_alphabetic() || kind == '%' => (&format[..at], Some(kind)),
        _ => (format, None),
    };
    let (width, precision) = format.split_once('.').map_or((format, None), |(width, digits)| (width, Some(digits)));
    let zeros = width.starts_with('0');
    let width: usize = if width.is_empty() { 0 } else { width.parse().ok()? };
    let precision: Option<usize> = precision.map(str::parse).transpose().ok()?;
    if width > 64 || precision.is_some_and(|digits| digits > 64) {
        return None;
    }
    let digits = precision.unwrap_or(6);
    let plain = match (number, kind) {
        (FormattedNumber::Any, None | Some('d' | 'f' | 'e' | '%')) => String::new(),
        (FormattedNumber::Integer(integer), None | Some('d')) if precision.is_none() => integer.to_string(),
        (FormattedNumber::Integer(integer), Some('f' | 'e' | '%')) => {
            return show(FormattedNumber::Float(integer as f64), format_of(format, kind)?.as_str());
        }
        (FormattedNumber::Float(float), _) if !float.is_finite() => {
            if float.is_nan() {
                "nan".into()
            } else if float > 0.0 {
                "inf".into()
            } else {
                "-inf".into()
            }
        }
        (FormattedNumber::Float(float), Some('f')) => format!("{float:.digits$}"),
        (FormattedNumber::Float(float), Some('%')) => format!("{:.digits$}%", float * 100.0),
        (FormattedNumber::Float(float), Some('e')) => {
            // Python writes the exponent with a sign and at least two digits.
            let text = format!("{float:.digits$e}");
            let (mantissa, exponent) = text.split_once('e')?;
            let exponent: i32 = exponent.parse().ok()?;
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.abs())
        }
        (FormattedNumber::Float(float), None) if precision.is_none() => format!("{float:?}"),
        _ => return None,
    };
    Some(match plain.strip_prefix('-') {
        Some(positive) if zeros => format!("-{positive:0>width$}", width = width.saturating_sub(1)),
        None if zeros => format!("{plain:0>width$}"),
        _ => format!("{plain:>width$}"),
    })
}

/// The format with its kind appended again.
fn format_of(format: &str, kind: Option<char>) -> Option<String> {
    kind.map(|kind| format!("{format}{kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str) -> Option<String> {
        let find = |name: &str| match name {
            "epoch" => Some(FormattedNumber::Integer(7)),
            "val_loss" => Some(FormattedNumber::Float(0.12345)),
            "small" => Some(FormattedNumber::Float(-0.000_012_5)),
            _ => None,
        };
        fill(template, find).ok()
    }

    /// Expected: the results of Python's `str.format`.
    #[test]
    fn as_python_formats() {
        for (template, wanted) in [
            ("{epoch:02d}-{val_loss:.4f}.keras", "07-0.1235.keras"),
            ("m{epoch}.keras", "m7.keras"),
            ("{epoch:5d}|", "    7|"),
            ("{val_loss}", "0.12345"),
            ("{val_loss:.1%}", "12.3%"),
            ("{val_loss:08.3f}", "0000.123"),
            ("{small:.2e}", "-1.25e-05"),
            ("{small:012.2e}", "-0001.25e-05"),
            ("{epoch:.1f}", "7.0"),
            ("{{{epoch}}}", "{7}"),
        ] {
            assert_eq!(filled(template).as_deref(), Some(wanted), "{template}");
        }
    }

    #[test]
    fn invalid_formats_are_refused() {
        for template in ["{epoch", "epoch}", "{loss}", "{val_loss:d}", "{epoch:q}", "{epoch:.}", "{epoch:999999d}"] {
            assert_eq!(filled(template), None, "{template}");
        }
    }
}
