//! Text for people: names from anywhere, and numbers.

/// A name as it can be shown. It may come from a file, and must not be able to command the terminal, to break a table,
/// or to turn the direction in which it is read: characters that do become `U+FFFD`.
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

/// Whether a character is obeyed rather than shown: one of Unicode's control characters (class Cc), or one that turns
/// the direction of writing.
fn commands(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_obeyed_is_replaced() {
        for command in ["\u{0}", "\u{7}", "\r", "\u{7f}", "\u{9b}", "\u{202e}", "\u{2066}"] {
            assert_eq!(printable(command), "\u{fffd}", "{command:?}");
            assert_eq!(printable_lines(command), "\u{fffd}", "{command:?}");
        }
        assert_eq!(printable_lines("a\n\tb"), "a\n\tb");
        assert_eq!(printable("größer 大きい \u{1f525}"), "größer 大きい \u{1f525}");
    }

    #[test]
    fn thousands_have_commas() {
        let texts = [0, 999, 1_000, 12_345, 100_000, 1_001_000].map(with_commas);
        assert_eq!(texts, ["0", "999", "1,000", "12,345", "100,000", "1,001,000"]);
    }
}
