//! Text for people: names from untrusted sources, equal names, and numbers.

use std::collections::{HashMap, HashSet};

/// A name that is safe to show. It can come from a file, and must not control the terminal, break a table, or change
/// the reading direction: characters that do are replaced by `U+FFFD`.
///
/// ```
/// use brasa::text::printable;
/// assert_eq!(printable("conv2d_1"), "conv2d_1");
/// assert_eq!(printable("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
/// ```
pub fn printable(name: &str) -> String {
    name.chars().map(|c| if commands(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// As [`printable`], for a text of several lines: line breaks and tabs stay.
pub fn printable_lines(text: &str) -> String {
    text.chars().map(|c| if commands(c) && !"\n\t".contains(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Whether a character is interpreted rather than shown: one of Unicode's control characters (class Cc), one that
/// changes the writing direction, one that ends a line or a paragraph, or an invisible one.
fn commands(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Soft hyphen, Arabic letter mark, Mongolian vowel separator.
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            // Zero-width characters, and direction marks.
            | '\u{200b}'..='\u{200f}'
            // Line and paragraph separators, embeddings and overrides.
            | '\u{2028}'..='\u{202e}'
            // Word joiner, invisible operators, isolates, and deprecated format characters.
            | '\u{2060}'..='\u{206f}'
            // Byte order mark, annotations, tags.
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A JSON document whose strings cannot control the terminal either: such characters are escaped, so that a parser gets
/// the same strings.
///
/// ```
/// use brasa::text::escaped_json;
/// assert_eq!(escaped_json("[\"a\u{202e}b\u{9b}\"]"), r#"["a\u202eb\u009b"]"#);
/// ```
pub fn escaped_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        // Outside of strings there is only ASCII; its only control characters there are line breaks.
        if commands(c) && (!c.is_ascii() || c == '\u{7f}') {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(c);
        }
    }
    text
}

/// Names made unique by a number, as those of Keras's layers and metrics: `mae`, `mae_1`, `mae_2`.
#[derive(Clone, Debug, Default)]
pub(crate) struct UniqueNames {
    taken: HashSet<String>,
    /// The next number for each repeated name: counting from 1 again would be quadratic where many share a name.
    next: HashMap<String, usize>,
}

impl UniqueNames {
    /// Whether this name is taken.
    pub fn has(&self, name: &str) -> bool {
        self.taken.contains(name)
    }

    /// Takes this name or, if it is taken, the first free one with a number appended.
    pub fn take(&mut self, name: String) -> String {
        if self.taken.insert(name.clone()) {
            return name;
        }
        let number = self.next.entry(name.clone()).or_insert(1);
        loop {
            let numbered = format!("{name}_{number}");
            *number += 1;
            if self.taken.insert(numbered.clone()) {
                return numbered;
            }
        }
    }
}

impl FromIterator<String> for UniqueNames {
    /// With these names taken.
    fn from_iter<I: IntoIterator<Item = String>>(taken: I) -> Self {
        Self { taken: taken.into_iter().collect(), next: HashMap::new() }
    }
}

/// The names, with a number appended to each that is taken by an earlier one, as Keras tells its layers apart.
///
/// ```
/// use brasa::text::unique_names;
/// let names = ["a", "b", "a", "a_1", "a"].map(String::from);
/// assert_eq!(unique_names(names), ["a", "b", "a_1", "a_1_1", "a_2"]);
/// ```
pub fn unique_names(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut unique = UniqueNames::default();
    names.into_iter().map(|name| unique.take(name)).collect()
}

/// The extension of a file's name, in lower case; empty if it has none, or one that is not Unicode.
#[cfg(any(feature = "csv", feature = "images"))]
pub(crate) fn extension(path: &std::path::Path) -> String {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_lowercase()
}

/// A text of at most `most` characters: of a longer one the beginning and the end, with `…` between them.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most || text.char_indices().nth(most).is_none() {
        return text.to_owned();
    }
    let tail = most / 3;
    let begin = text.char_indices().nth(most - tail - 1).map_or(text.len(), |(end, _)| end);
    let last = |count: usize| text.char_indices().rev().nth(count - 1).map_or(0, |(start, _)| start);
    let end = if tail == 0 { text.len() } else { last(tail) };
    format!("{}…{}", &text[..begin], &text[end..])
}

/// A column name for spreadsheets. They treat a text that begins with one of `=`, `+`, `-`, `@`, a tab or a carriage
/// return as a formula; with an apostrophe before it, it is a text.
///
/// ```
/// use brasa::text::column_name;
/// assert_eq!(column_name("val_loss"), "val_loss");
/// assert_eq!(column_name("=1+1"), "'=1+1");
/// ```
pub fn column_name(name: &str) -> String {
    if is_formula(name) { format!("'{name}") } else { name.to_owned() }
}

/// The inverse of [`column_name`].
#[cfg(feature = "report")]
pub(crate) fn of_column(name: &str) -> &str {
    name.strip_prefix('\'').filter(|rest| is_formula(rest)).unwrap_or(name)
}

fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r'])
}

/// A number with commas between thousands.
///
/// ```
/// assert_eq!(brasa::text::with_commas(62_346), "62,346");
/// ```
pub fn with_commas(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes for people: `12884901888 bytes (12.9 GB)`.
pub(crate) fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let mut size = bytes as f64;
    let mut unit = None;
    for name in UNITS {
        if size < 1000.0 {
            break;
        }
        (size, unit) = (size / 1000.0, Some(name));
    }
    match unit {
        None => format!("{bytes} bytes"),
        Some(unit) => format!("{bytes} bytes ({size:.1} {unit})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_numbered() {
        let names = |names: &[&str]| unique_names(names.iter().map(|name| (*name).to_owned()));
        assert_eq!(names(&["a", "b", "a", "a"]), ["a", "b", "a_1", "a_2"]);
        assert_eq!(names(&["loss", "mae", "mae_1", "mae", "mae"]), ["loss", "mae", "mae_1", "mae_2", "mae_3"]);
        assert_eq!(names(&["a", "a_1", "a", "a_1"]), ["a", "a_1", "a_2", "a_1_1"]);
        let many = unique_names(vec!["out".to_owned(); 100_000]);
        assert_eq!(many.last().unwrap(), "out_99999");
        let mut taken: UniqueNames = ["a".to_owned()].into_iter().collect();
        assert!(taken.has("a") && !taken.has("b"));
        assert_eq!(taken.take("a".to_owned()), "a_1");
    }

    #[test]
    fn bytes_for_people() {
        assert_eq!(bytes_text(999), "999 bytes");
        assert_eq!(bytes_text(12_884_901_888), "12884901888 bytes (12.9 GB)");
    }

    #[test]
    fn control_characters_are_replaced() {
        let directions = ["\u{200e}", "\u{200f}", "\u{61c}", "\u{202e}", "\u{2066}"];
        let unseen = ["\u{200b}", "\u{200d}", "\u{2060}", "\u{feff}", "\u{ad}", "\u{e0041}"];
        let controls = ["\u{0}", "\u{7}", "\r", "\u{7f}", "\u{9b}", "\u{2028}", "\u{2029}"];
        for command in directions.into_iter().chain(unseen).chain(controls) {
            assert_eq!(printable(command), "\u{fffd}", "{command:?}");
            assert_eq!(printable_lines(command), "\u{fffd}", "{command:?}");
        }
        assert_eq!(printable_lines("a\n\tb"), "a\n\tb");
        assert_eq!(printable("größer 大きい \u{1f525}"), "größer 大きい \u{1f525}");
    }

    #[test]
    fn json_stays_the_same_document() {
        let value =
            serde_json::json!({"a\u{202e}": ["\u{9b}2J", "\u{e0041}", "größer 大きい \u{1f525}", "\u{1b}", "\u{7f}"]});
        let text = escaped_json(&value.to_string());
        assert!(!text.chars().any(commands), "{text}");
        assert!(text.contains("\\udb40\\udc41") && text.contains("大きい \u{1f525}"), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn long_texts_are_cut_in_the_middle() {
        assert_eq!(shortened("größer", 6), "größer");
        assert_eq!(shortened("größere", 6), "grö…re");
        assert_eq!(shortened(&"ä".repeat(1000), 100).chars().count(), 100);
        assert_eq!(shortened("abcdef", 1), "…");
    }

    #[test]
    fn formulas_are_escaped() {
        for name in ["=cmd|' /C calc'!A0", "+1", "-1", "@sum", "\tx", "\rx"] {
            assert_eq!(column_name(name), format!("'{name}"));
            assert_eq!(of_column(&column_name(name)), name);
        }
        assert_eq!(of_column("'quoted"), "'quoted");
        assert_eq!(column_name("val_loss"), "val_loss");
    }

    #[test]
    fn thousands_have_commas() {
        let texts = [0, 999, 1_000, 12_345, 100_000, 1_001_000].map(with_commas);
        assert_eq!(texts, ["0", "999", "1,000", "12,345", "100,000", "1,001,000"]);
    }
}
