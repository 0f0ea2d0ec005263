//! A table's file, read record by record.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use csv::{ErrorKind, Position, Reader, ReaderBuilder, StringRecord, Trim};

use super::Csv;
#[cfg(feature = "parquet")]
use crate::datasets::parquet::ParquetRows;
use crate::datasets::parquet_name::is_parquet;
#[cfg(not(feature = "parquet"))]
use crate::datasets::parquet_name::without_parquet;
use crate::error::{Error, Result};
use crate::formats::regular::open_file;
use crate::text::extension;

/// The candidate separators.
const SEPARATORS: [char; 4] = [',', ';', '\t', '|'];

/// The number of bytes in which the separator is searched for.
const LOOKED_AT: u64 = 1 << 16;

/// The most columns of a table.
const MOST_COLUMNS: usize = 100_000;

/// The records of a file.
enum Records {
    Csv(Reader<File>),
    #[cfg(feature = "parquet")]
    Parquet(Box<ParquetRows>),
}

/// A file, positioned at one of its records.
pub(super) struct Opened {
    path: PathBuf,
    records: Records,
    /// The names of the columns; empty without a header.
    pub names: Vec<String>,
    pub columns: usize,
    pub header: bool,
    /// Whether `header` was detected rather than given.
    pub recognised: bool,
    pub separator: char,
    pub note: Option<String>,
    /// The current record.
    pub record: StringRecord,
    /// The index of the current record among the samples.
    row: Option<u64>,
    /// Records read ahead to detect the header.
    waiting: Vec<(StringRecord, u64)>,
    line: u64,
    /// The length of the file, where it does not end with a line break.
    unended: Option<u64>,
    /// Whether lines end with `\r\n`.
    carriage_returns: bool,
}

impl Opened {
    /// Opens a file and reads its header, if it has one. Fewer columns than `least` are rejected.
    pub fn open(csv: &Csv, path: &Path, least: usize) -> Result<Self> {
        if is_parquet(path) {
            return Self::open_parquet(csv, path, least);
        }
        // Only a separator that detection does not know; otherwise another table can have another.
        let known = csv.info.as_ref().map(|info| info.separator).filter(|c| *c != '\0' && !SEPARATORS.contains(c));
        let given = csv.separator.or(known);
        let separator = match given {
            Some(separator) => separator,
            None => found_separator(path)?,
        };
        let Ok(byte) = u8::try_from(separator) else {
            return Err(Error::argument("separator", "one ASCII character", format!("{separator:?}")));
        };
        if !byte.is_ascii() || byte == b'"' || byte == b'\n' || byte == b'\r' {
            return Err(Error::argument("separator", "a character such as `,` or `;`", format!("{separator:?}")));
        }
        // The header is detected below, and lines of another length are rejected here.
        let (file, length) = open_file(path)?;
        let unended = (!ends_a_line(path, length)?).then_some(length);
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).flexible(true).delimiter(byte).trim(Trim::All);
        let reader = builder.from_reader(file);
        let mut opened = Self {
            path: path.to_owned(),
            records: Records::Csv(reader),
            names: Vec::new(),
            columns: 0,
            header: false,
            recognised: csv.header.is_none() && !csv.names_columns(),
            separator,
            note: None,
            record: StringRecord::new(),
            row: None,
            waiting: Vec::new(),
            line: 1,
            unended,
            carriage_returns: has_carriage_returns(path)?,
        };
        opened.begin(csv, least)?;
        Ok(opened)
    }

    #[cfg(not(feature = "parquet"))]
    fn open_parquet(_: &Csv, path: &Path, _: usize) -> Result<Self> {
        Err(without_parquet(path))
    }

    /// Opens a Parquet file, whose schema names the columns.
    #[cfg(feature = "parquet")]
    fn open_parquet(csv: &Csv, path: &Path, least: usize) -> Result<Self> {
        for (argument, is_given) in [("separator", csv.separator.is_some()), ("header", csv.header == Some(false))] {
            if is_given {
                let expected = "none for a Parquet file, which names its columns";
                return Err(Error::argument(argument, expected, format!("one for `{}`", path.display())));
            }
        }
        let rows = ParquetRows::open(path)?;
        let names = rows.names().to_vec();
        let opened = Self {
            path: path.to_owned(),
            columns: names.len(),
            names,
            records: Records::Parquet(Box::new(rows)),
            header: true,
            recognised: false,
            separator: '\0',
            note: None,
            record: StringRecord::new(),
            row: None,
            waiting: Vec::new(),
            line: 0,
            unended: None,
            carriage_returns: false,
        };
        opened.check_columns(least, "its schema")?;
        Ok(opened)
    }

    /// Refuses too few and too many columns.
    fn check_columns(&self, least: usize, at: &str) -> Result<()> {
        let file = || self.path.display().to_string();
        if self.columns < least || self.columns == 0 {
            let reason = match least {
                0 | 1 => format!("expected a column or more, received {}", self.columns),
                _ => format!("expected two columns or more, the inputs and the target, received {}", self.columns),
            };
            return Err(Error::broken(file(), at, reason));
        }
        if self.columns > MOST_COLUMNS {
            let reason = format!("expected up to {MOST_COLUMNS} columns, received {}", self.columns);
            return Err(Error::broken(file(), at, reason));
        }
        Ok(())
    }

    /// The content of a column that cannot be read, as in a Parquet file.
    pub fn unreadable(&self, column: usize) -> Option<&'static str> {
        match &self.records {
            Records::Csv(_) => {
                let _ = column;
                None
            }
            #[cfg(feature = "parquet")]
            Records::Parquet(rows) => rows.unreadable(column),
        }
    }

    /// Reads these columns alone, where others need not be decoded; the fields of others may be empty.
    pub fn want(&mut self, columns: &BTreeSet<usize>) {
        match &mut self.records {
            Records::Csv(_) => {
                let _ = columns;
            }
            #[cfg(feature = "parquet")]
            Records::Parquet(rows) => rows.want(columns),
        }
    }

    /// Refuses columns that are used and cannot be read.
    pub fn check_readable(&self, columns: &[usize]) -> Result<()> {
        for column in columns {
            if let Some(what) = self.unreadable(*column) {
                let name = self.names.get(*column).map_or("", String::as_str);
                let hint = "leave the column out (`exclude`)";
                let hint = if matches!(what, "dates" | "times") {
                    format!("{hint}, or write year, month, day and the like as numbers")
                } else {
                    hint.to_owned()
                };
                let reason = format!("expected numbers or texts, received {what}; {hint}");
                return Err(Error::broken(self.path.display().to_string(), format!("column `{name}`"), reason));
            }
        }
        Ok(())
    }

    fn begin(&mut self, csv: &Csv, least: usize) -> Result<()> {
        #[cfg_attr(not(feature = "parquet"), expect(irrefutable_let_patterns))]
        let Records::Csv(reader) = &mut self.records else { return Ok(()) };
        let mut first = StringRecord::new();
        let more = reader.read_record(&mut first).map_err(|error| csv_error(&self.path, error))?;
        // Spreadsheets write a byte order mark before the first field.
        let bare = |field: &str| match field.strip_prefix('\u{feff}') {
            Some(field) => field.trim_matches('"').to_owned(),
            None => field.to_owned(),
        };
        let names: Vec<String> = first.iter().map(bare).collect();
        self.columns = names.len();
        self.check_columns(least, "line 1")?;
        let position = first.position().cloned();
        let mut record = StringRecord::from(names.clone());
        record.set_position(position.clone());
        let start = position.as_ref().map_or(0, Position::byte);
        let first_line = self.line_read(&record);
        #[cfg_attr(not(feature = "parquet"), expect(irrefutable_let_patterns))]
        let Records::Csv(reader) = &mut self.records else { return Ok(()) };
        let mut next = StringRecord::new();
        let has_next = reader.read_record(&mut next).map_err(|error| csv_error(&self.path, error))?;
        let kind = csv.first_line(&self.path, &names, has_next.then_some(&next), start, reader, self.separator);
        let next_line = self.line_read(&next);
        self.header = kind.header;
        self.note = (!kind.obvious).then(|| kind.note(&self.path.display().to_string(), &names));
        // A stack: the last is read first.
        if has_next {
            self.waiting.push((next, next_line));
        }
        if kind.header {
            self.names = names;
        } else if more {
            self.waiting.push((record, first_line));
        }
        Ok(())
    }

    /// Advances to the next record; `false` at the end.
    ///
    /// # Errors
    /// [`Error::Broken`] for a record that is not text, or of another length than the first.
    pub fn next(&mut self) -> Result<bool> {
        self.row = Some(self.row.map_or(0, |row| row + 1));
        if let Some((record, line)) = self.waiting.pop() {
            (self.record, self.line) = (record, line);
        } else {
            let more = match &mut self.records {
                Records::Csv(reader) => {
                    reader.read_record(&mut self.record).map_err(|error| csv_error(&self.path, error))?
                }
                #[cfg(feature = "parquet")]
                Records::Parquet(rows) => {
                    let more = rows.read_record(&mut self.record)?;
                    self.record.trim();
                    more
                }
            };
            if !more {
                return Ok(false);
            }
            self.line = self.line_read(&self.record);
        }
        if self.record.len() != self.columns {
            let reason = format!("expected {} fields, received {}", self.columns, self.record.len());
            let line = line_of(&self.path, self.record.position());
            return Err(Error::broken(self.path.display().to_string(), format!("line {line}"), reason));
        }
        Ok(true)
    }

    /// The line of the record just read, derived from the reader's position after it.
    fn line_read(&self, record: &StringRecord) -> u64 {
        #[cfg_attr(not(feature = "parquet"), expect(irrefutable_let_patterns))]
        let Records::Csv(reader) = &self.records else { return self.row.unwrap_or(0) + 1 };
        let within: usize = record.iter().map(|field| field.matches('\n').count()).sum();
        let end = reader.position().line();
        let last = self.unended.is_some_and(|length| reader.position().byte() >= length);
        // The `\n` of `\r\n` is read with the next record.
        end.saturating_sub(within as u64 + u64::from(!last && !self.carriage_returns)).max(1)
    }

    fn is_parquet(&self) -> bool {
        !matches!(self.records, Records::Csv(_))
    }

    /// The line of the record, in a Parquet file the number of the row from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// As [`line`](Self::line), determined from the file's contents.
    pub fn exact_line(&self) -> u64 {
        if self.is_parquet() {
            return self.line;
        }
        line_of(&self.path, self.record.position())
    }

    /// Whether the record is the first line and the caller has not decided whether that is a header.
    pub fn may_be_a_header(&self) -> bool {
        self.recognised && !self.header && self.row == Some(0)
    }

    /// An error about a field of the record.
    pub fn fault(&self, column: usize, reason: impl std::fmt::Display) -> Error {
        self.fault_at(self.exact_line(), column, reason)
    }

    /// An error about a field.
    pub fn fault_at(&self, line: u64, column: usize, reason: impl std::fmt::Display) -> Error {
        let name = self.names.get(column).map(|name| format!(" (`{name}`)")).unwrap_or_default();
        let row = if self.is_parquet() { "row" } else { "line" };
        Error::broken(self.path.display().to_string(), format!("{row} {line}, column {}{name}", column + 1), reason)
    }

    /// The index of the column with this name.
    ///
    /// # Errors
    /// [`Error::UnknownName`] without such a column, [`Error::Broken`] with two.
    pub fn column(&self, name: &str, header_given: bool) -> Result<usize> {
        let mut found = self.names.iter().enumerate().filter(|(_, known)| *known == name).map(|(column, _)| column);
        let file = || self.path.display().to_string();
        match (found.next(), found.next()) {
            (Some(column), None) => Ok(column),
            (Some(first), Some(second)) => {
                let (first, second) = (first + 1, second + 1);
                let reason = format!("expected one column called `{name}`, found it as columns {first} and {second}");
                Err(Error::broken(file(), "line 1", reason))
            }
            (None, _) if !header_given && self.names.iter().all(|field| !super::first_line::is_word(field)) => {
                Err(Error::broken(file(), "line 1", format!("expected a header that names `{name}`")))
            }
            (None, _) => Err(Error::unknown("column", name, &self.names)),
        }
    }
}

/// Detects the field separator of a file.
fn found_separator(path: &Path) -> Result<char> {
    if ["tsv", "tab"].contains(&extension(path).as_str()) {
        return Ok('\t');
    }
    let mut bytes = Vec::new();
    open_file(path)?.0.take(LOOKED_AT).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    let (mut quoted, mut found) = (false, Vec::new());
    for byte in bytes {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted && !found.is_empty() => break,
            _ if !quoted => found.extend(SEPARATORS.into_iter().filter(|known| *known == char::from(byte))),
            _ => {}
        }
    }
    Ok(SEPARATORS.into_iter().find(|known| found.contains(known)).unwrap_or(','))
}

/// Whether the first line of a file ends with `\r\n`.
fn has_carriage_returns(path: &Path) -> Result<bool> {
    let mut bytes = Vec::new();
    open_file(path)?.0.take(LOOKED_AT).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(bytes.iter().position(|byte| *byte == b'\n').is_some_and(|end| end > 0 && bytes[end - 1] == b'\r'))
}

/// Whether a file ends with a line break.
fn ends_a_line(path: &Path, length: u64) -> Result<bool> {
    let mut file = open_file(path)?.0;
    let mut last = [b'\n'];
    if length > 0 {
        file.seek(SeekFrom::Start(length - 1)).and_then(|_| file.read(&mut last)).map_err(Error::io("read", path))?;
    }
    Ok(last == *b"\n")
}

pub(super) fn csv_error(path: &Path, error: csv::Error) -> Error {
    let line = line_of(path, error.position());
    let text = error.to_string();
    let reason = match error.into_kind() {
        ErrorKind::Io(source) => return Error::io("read", path)(source),
        _ => text,
    };
    Error::broken(path.display().to_string(), format!("line {line}"), reason)
}

/// The line of a record, from 1. The reader's own count excludes the empty lines above a record.
pub(super) fn line_of(path: &Path, position: Option<&Position>) -> u64 {
    let Some(position) = position else { return 1 };
    let above = || {
        let mut file = BufReader::new(File::open(path)?);
        file.seek(SeekFrom::Start(position.byte()))?;
        let mut lines = 0;
        for byte in file.bytes() {
            match byte? {
                b'\n' => lines += 1,
                b'\r' => {}
                _ => break,
            }
        }
        std::io::Result::Ok(lines)
    };
    // If the file cannot be read, the reader's count is the best there is.
    position.line() + above().unwrap_or(0)
}
