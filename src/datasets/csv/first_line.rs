//! Whether the first line of a table names its columns.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use csv::{Position, Reader, StringRecord};

use super::Csv;

/// The most bytes of two lines that are searched for quotes.
const MOST_QUOTED: u64 = 1 << 20;

/// The usual markers of a missing value.
const GAPS: [&str; 12] = ["", "?", "-", ".", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "missing"];

/// Whether a field is the marker of a missing value.
pub(crate) fn is_gap(field: &str) -> bool {
    field.is_empty() || (field.len() <= 7 && GAPS.contains(&field.to_ascii_lowercase().as_str()))
}

/// Whether the first line is a header, and whether that was obvious; if not, a note is due.
pub(super) struct FirstLine {
    pub header: bool,
    pub obvious: bool,
}

impl Csv {
    /// Classifies the first line by the rule of the documentation.
    pub(super) fn first_line(
        &self,
        path: &Path,
        fields: &[String],
        next: Option<&StringRecord>,
        start: u64,
        reader: &Reader<File>,
        separator: char,
    ) -> FirstLine {
        let obvious = |header| FirstLine { header, obvious: true };
        let noted = |header| FirstLine { header, obvious: false };
        if let Some(header) = self.header {
            return obvious(header);
        }
        if self.names_columns() {
            return obvious(true);
        }
        let kinds: Vec<FieldKind> = fields.iter().map(|field| FieldKind::of(field)).collect();
        let whole: Vec<i64> = kinds.iter().filter_map(|kind| kind.whole()).collect();
        let numbers = kinds.iter().filter(|kind| kind.is_number()).count();
        let counts_up = whole.len() == numbers && whole.windows(2).all(|pair| pair[1].checked_sub(pair[0]) == Some(1));
        let from_zero = counts_up && whole.first() == Some(&0);

        if numbers == kinds.len() {
            let as_pandas = from_zero && numbers > 2 && next.is_some();
            if as_pandas || next.is_some_and(|next| quoted_above_bare(path, start, next, reader, separator)) {
                return noted(true);
            }
            let ascending = whole.len() == numbers && whole.is_sorted_by(|a, b| a < b);
            return if ascending { noted(false) } else { obvious(false) };
        }
        if numbers == 0 {
            return if kinds.contains(&FieldKind::Word) {
                obvious(true)
            } else if kinds.iter().all(|kind| matches!(kind, FieldKind::Empty | FieldKind::Gap)) {
                obvious(false)
            } else {
                noted(true)
            };
        }
        let named = kinds.iter().enumerate().all(|(column, kind)| match kind {
            FieldKind::Word | FieldKind::Number(_) => true,
            FieldKind::Empty => column == 0,
            FieldKind::Gap | FieldKind::Other => false,
        });
        if named && counts_up && (from_zero || numbers > 1) { noted(true) } else { obvious(false) }
    }
}

impl FirstLine {
    pub fn note(&self, file: &str, fields: &[String]) -> String {
        let line = fields.join(",");
        let line =
            if line.chars().count() > 40 { format!("{}…", line.chars().take(40).collect::<String>()) } else { line };
        let line = crate::text::printable(&line);
        if self.header {
            format!(
                "`{file}`: line 1 ({line}) was taken for the names of the columns; `header = false` makes it a sample"
            )
        } else {
            format!(
                "`{file}`: line 1 ({line}) was taken for a sample; `header = true` makes it the names of the columns"
            )
        }
    }
}

/// The kind of a field of the first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldKind {
    /// A finite number; its value if it is written as an integer.
    Number(Option<i64>),
    Empty,
    /// A missing-value marker, or a number that is not finite.
    Gap,
    /// Begins with a letter.
    Word,
    /// Anything else, such as `$3` or `1st`.
    Other,
}

impl FieldKind {
    pub fn of(field: &str) -> Self {
        match field.parse::<f32>() {
            Ok(value) if value.is_finite() => Self::Number(field.parse().ok()),
            Ok(_) => Self::Gap,
            Err(_) if field.is_empty() => Self::Empty,
            Err(_) if is_gap(field) => Self::Gap,
            Err(_) if field.starts_with(|first: char| first.is_alphabetic() || first == '_') => Self::Word,
            Err(_) => Self::Other,
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Self::Number(_))
    }

    fn whole(self) -> Option<i64> {
        if let Self::Number(whole) = self { whole } else { None }
    }
}

/// Whether all fields of the first line are quoted and none of the next is, as by programs that quote texts and not
/// numbers.
fn quoted_above_bare(path: &Path, start: u64, next: &StringRecord, reader: &Reader<File>, separator: char) -> bool {
    let Some(middle) = next.position().map(Position::byte) else { return false };
    let end = reader.position().byte();
    let line = |from: u64, to: u64| -> Option<String> {
        let length = to.checked_sub(from).filter(|length| *length <= MOST_QUOTED)?;
        let mut file = File::open(path).ok()?;
        file.seek(SeekFrom::Start(from)).ok()?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim_start_matches('\u{feff}').trim().to_owned())
    };
    let (Some(first), Some(next)) = (line(start, middle), line(middle, end)) else { return false };
    // Numbers contain no separator, so splitting at it yields the fields.
    first.split(separator).all(|field| field.trim().starts_with('"')) && !next.contains('"')
}

/// Whether a field begins like a name.
pub(super) fn is_word(field: &str) -> bool {
    FieldKind::of(field) == FieldKind::Word
}
