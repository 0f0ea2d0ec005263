//! Tables in Parquet files, read as rows of text like those of a CSV file.
//!
//! Nothing in a file is believed: the schema is looked at before the crate takes memory for it, a page is read only if
//! its header's sizes are plausible, numbers of values are compared with the sizes, and the crate's panics are errors.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use csv::StringRecord;
use flate2::read::MultiGzDecoder;
use parquet::basic::{Compression, ConvertedType, Encoding, LogicalType, Repetition, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::{ColumnReader, get_column_reader};
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, FileReader, Length};
use parquet::file::serialized_reader::{SerializedFileReader, SerializedPageReader};
use parquet::schema::types::{ColumnDescriptor, Type as SchemaType};

use super::parquet_header::{PageSize, check_description, page_size};
use crate::error::{Error, Result};
use crate::formats::regular::open_file;
use crate::memory::check_room;

/// The rows read at once.
const BATCH: usize = 1024;

/// The most bytes of a page, and of its header. Writers make pages of about 1 MB.
const MOST_PAGE: usize = 1 << 28;
const MOST_HEADER: u64 = 1 << 20;

/// The most bytes of the description at a file's end, and the bytes behind it: its length, and a mark.
const MOST_DESCRIPTION: u64 = 64 << 20;
const TAIL: u64 = 8;

/// The most bytes of texts in the rows read at once.
const MOST_TEXT: usize = 1 << 28;

/// The most columns of a file, nested ones included.
const MOST_COLUMNS: usize = 100_000;

/// The most decimals of a number, which has up to 38 digits.
const MOST_DECIMALS: i32 = 38;

/// The meaning of a column's values.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ColumnKind {
    /// Numbers and truth values, the latter as 1 and 0; whether integers are unsigned.
    Number {
        unsigned: bool,
    },
    /// Integers with this many decimals.
    Decimal(i32),
    Half,
    Text,
}

/// A column of the file.
struct Column {
    kind: ColumnKind,
    /// Its index among the leaves of the schema.
    leaf: usize,
    /// (A lock makes it `Sync`; it is never waited for.)
    reader: Option<Mutex<ColumnReader>>,
    /// Whether there can be rows without a value.
    is_optional: bool,
    /// Whether its fields are read; they are empty otherwise.
    is_wanted: bool,
    /// The texts of the rows at hand.
    cells: Vec<String>,
}

/// The rows of a Parquet file, as texts: empty where there is no value.
pub(super) struct ParquetRows {
    path: PathBuf,
    file: Arc<Mutex<File>>,
    length: u64,
    reader: SerializedFileReader<Guarded>,
    names: Vec<String>,
    /// The content of columns that cannot be read.
    columns: Vec<std::result::Result<Column, &'static str>>,
    group: usize,
    /// The rows of the group that have not been decoded.
    left: usize,
    /// The rows at hand, and the next of them.
    decoded: usize,
    next: usize,
}

/// A panic of the crate on a damaged file becomes an error.
fn guarded<T>(path: &Path, at: &str, call: impl FnOnce() -> ParquetResult<T>) -> Result<T> {
    let broken = |reason: String| Error::broken(path.display().to_string(), at, reason);
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(ParquetError::External(source))) => match source.downcast::<Error>() {
            Ok(own) => Err(*own),
            Err(source) => match source.downcast::<std::io::Error>() {
                Ok(source) => Err(Error::io("read", path)(*source)),
                Err(source) => Err(broken(source.to_string())),
            },
        },
        Ok(Err(error)) => Err(broken(crate::text::printable(&error.to_string()).to_string())),
        Err(_) => Err(broken("it is not a Parquet file that can be read".into())),
    }
}

/// Refuses a description at the end of a file that the crate would take much memory for. Where there is none, the crate
/// finds out.
fn check_end(path: &Path, file: &mut File, length: u64) -> Result<()> {
    let broken = |reason: String| Err(Error::broken(path.display().to_string(), "its schema", reason));
    let Some(end) = length.checked_sub(TAIL) else { return Ok(()) };
    let mut tail = [0; TAIL as usize];
    let read = file.seek(SeekFrom::Start(end)).and_then(|_| file.read_exact(&mut tail));
    read.map_err(Error::io("read", path))?;
    let [a, b, c, d, mark @ ..] = tail;
    let size = u64::from(u32::from_le_bytes([a, b, c, d]));
    let Some(start) = end.checked_sub(size).filter(|_| mark == *b"PAR1") else { return Ok(()) };
    if size > MOST_DESCRIPTION {
        return broken(format!("expected up to {MOST_DESCRIPTION} bytes, received {size}"));
    }
    let mut description = vec![0; size as usize];
    let read = file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(&mut description));
    read.map_err(Error::io("read", path))?;
    match check_description(&description) {
        Some(()) => Ok(()),
        None => broken("expected columns in a tree of few levels".into()),
    }
}

impl ParquetRows {
    /// Opens a file; more values than memory has room for are rejected.
    pub fn open(path: &Path) -> Result<Self> {
        let (mut file, length) = open_file(path)?;
        check_end(path, &mut file, length)?;
        let is_open = Arc::new(AtomicBool::new(false));
        let file = Arc::new(Mutex::new(file));
        let source = Guarded { file: file.clone(), length, is_open: is_open.clone(), pages: None };
        let reader = guarded(path, "its contents", || SerializedFileReader::new(source))?;
        // From here on only pages are read.
        is_open.store(true, Ordering::Relaxed);
        let broken = |reason: String| Err(Error::broken(path.display().to_string(), "its schema", reason));
        let metadata = reader.metadata();
        let schema = metadata.file_metadata().schema_descr();
        let fields = schema.root_schema().get_fields();
        if fields.len() > MOST_COLUMNS || schema.num_columns() > MOST_COLUMNS {
            return broken(format!("expected up to {MOST_COLUMNS} columns, received {}", schema.num_columns()));
        }
        let (mut names, mut columns) = (Vec::new(), Vec::new());
        let mut leaves = 0;
        for field in fields {
            names.push(field.name().trim().to_owned());
            let leaf = leaves;
            leaves += leaves_of(field);
            let is_flat = field.is_primitive() && field.get_basic_info().repetition() != Repetition::REPEATED;
            columns.push(match is_flat && leaf < schema.num_columns() {
                true => ColumnKind::of(&schema.column(leaf)).map(|kind| Column {
                    kind,
                    leaf,
                    reader: None,
                    is_optional: false,
                    is_wanted: true,
                    cells: Vec::new(),
                }),
                false => Err("lists or structures"),
            });
        }
        let mut rows = 0usize;
        for group in metadata.row_groups() {
            let count = usize::try_from(group.num_rows()).ok();
            let Some(all) = count.and_then(|count| rows.checked_add(count)) else {
                return broken(format!("expected a number of rows, received {}", group.num_rows()));
            };
            rows = all;
            if group.num_columns() != schema.num_columns() {
                return broken(format!("expected {} columns, received {}", schema.num_columns(), group.num_columns()));
            }
        }
        check_room("the rows of a table", rows.saturating_mul(columns.len().max(1)))?;
        let path = path.to_owned();
        Ok(Self { path, file, length, reader, names, columns, group: 0, left: 0, decoded: 0, next: 0 })
    }

    /// Reads these columns alone from here on; the fields of others are empty.
    pub fn want(&mut self, wanted: &BTreeSet<usize>) {
        for (index, column) in self.columns.iter_mut().enumerate() {
            if let Ok(column) = column {
                column.is_wanted = wanted.contains(&index);
            }
        }
    }

    /// The names of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The content of a column that cannot be read.
    pub fn unreadable(&self, column: usize) -> Option<&'static str> {
        self.columns.get(column)?.as_ref().err().copied()
    }

    /// Reads the next row into `record`, an empty field for columns that are not read; `false` at the end, which an
    /// error is, too.
    pub fn read_record(&mut self, record: &mut StringRecord) -> Result<bool> {
        record.clear();
        while self.next == self.decoded {
            if !self.decode_next()? {
                return Ok(false);
            }
        }
        for column in &self.columns {
            let cell = column.as_ref().ok().and_then(|column| column.cells.get(self.next));
            record.push_field(cell.map_or("", String::as_str));
        }
        self.next += 1;
        Ok(true)
    }

    /// Decodes the next rows; `false` at the end of the file, and after an error.
    fn decode_next(&mut self) -> Result<bool> {
        let decoded = self.decode();
        if decoded.is_err() {
            (self.next, self.decoded, self.left, self.group) = (0, 0, 0, usize::MAX);
            for column in self.columns.iter_mut().flatten() {
                column.reader = None;
                column.cells.clear();
            }
        }
        decoded
    }

    fn decode(&mut self) -> Result<bool> {
        let path = self.path.clone();
        if self.left == 0 {
            let groups = self.reader.metadata().row_groups();
            let Some(group) = groups.get(self.group) else { return Ok(false) };
            let rows = usize::try_from(group.num_rows()).unwrap_or(0);
            self.left = rows;
            let held = Arc::new(AtomicUsize::new(0));
            for (name, column) in self.names.iter().zip(&mut self.columns) {
                let Ok(column) = column else { continue };
                column.reader = None;
                if !column.is_wanted {
                    column.cells.clear();
                    continue;
                }
                let source = Guarded {
                    file: self.file.clone(),
                    length: self.length,
                    is_open: Arc::new(AtomicBool::new(true)),
                    pages: Some(Pages {
                        is_gzip: matches!(group.column(column.leaf).compression(), Compression::GZIP(_)),
                        held: held.clone(),
                        known: Mutex::default(),
                    }),
                };
                guarded(&path, &format!("column `{name}`"), || {
                    let descriptor = group.column(column.leaf).column_descr_ptr();
                    let pages = SerializedPageReader::new(Arc::new(source), group.column(column.leaf), rows, None)?;
                    column.is_optional = descriptor.max_def_level() > 0;
                    let pages = Checked { pages: Box::new(pages), is_optional: column.is_optional, rows };
                    column.reader = Some(Mutex::new(get_column_reader(descriptor, Box::new(pages))));
                    Ok(())
                })?;
            }
            self.group += 1;
        }
        (self.next, self.decoded) = (0, self.left.min(BATCH));
        let mut room = MOST_TEXT;
        for (name, column) in self.names.iter().zip(&mut self.columns) {
            let Ok(column) = column else { continue };
            if !column.is_wanted {
                continue;
            }
            let at = format!("column `{name}`");
            let read = guarded(&path, &at, || column.decode(self.decoded, &mut room))?;
            if read != self.decoded {
                let reason = "expected a value for each row, received fewer";
                return Err(Error::broken(path.display().to_string(), at, reason));
            }
        }
        self.left -= self.decoded;
        Ok(true)
    }
}

/// The leaves of the schema below a field.
fn leaves_of(field: &SchemaType) -> usize {
    if field.is_primitive() { 1 } else { field.get_fields().iter().map(|field| leaves_of(field)).sum() }
}

impl ColumnKind {
    /// The meaning of a column's values; an error that names their type if a table cannot have them.
    fn of(column: &ColumnDescriptor) -> std::result::Result<Self, &'static str> {
        const TIMES: &str = "times";
        const DATES: &str = "dates";
        let unsigned = |unsigned| Ok(Self::Number { unsigned });
        let decimal = |scale| match scale {
            ..=MOST_DECIMALS => Ok(Self::Decimal(scale)),
            _ => Err("numbers of more than 38 decimals"),
        };
        match column.logical_type_ref() {
            Some(LogicalType::String | LogicalType::Enum | LogicalType::Json) => return Ok(Self::Text),
            Some(LogicalType::Decimal(_)) => return decimal(column.type_scale()),
            Some(LogicalType::Date) => return Err(DATES),
            Some(LogicalType::Time(_) | LogicalType::Timestamp(_)) => return Err(TIMES),
            Some(LogicalType::Integer(integer)) => return unsigned(!integer.is_signed),
            Some(LogicalType::Float16) => return Ok(Self::Half),
            _ => {}
        }
        match column.converted_type() {
            ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON => Ok(Self::Text),
            ConvertedType::DECIMAL => decimal(column.type_scale()),
            ConvertedType::DATE => Err(DATES),
            ConvertedType::TIME_MILLIS
            | ConvertedType::TIME_MICROS
            | ConvertedType::TIMESTAMP_MILLIS
            | ConvertedType::TIMESTAMP_MICROS => Err(TIMES),
            ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64 => {
                unsigned(true)
            }
            _ => match column.physical_type() {
                // Some writers leave out that bytes are text.
                Type::BYTE_ARRAY => Ok(Self::Text),
                Type::INT96 => Err(TIMES),
                Type::FIXED_LEN_BYTE_ARRAY => Err("bytes"),
                _ => unsigned(false),
            },
        }
    }

    fn integer(self, value: i64, bits: u32) -> String {
        match self {
            Self::Number { unsigned: true } if bits == 32 => (value as u32).to_string(),
            Self::Number { unsigned: true } => (value as u64).to_string(),
            Self::Decimal(scale) => decimal(value.into(), scale),
            _ => value.to_string(),
        }
    }

    fn bytes(self, bytes: &ByteArray) -> ParquetResult<String> {
        Ok(match self {
            Self::Decimal(scale) => {
                let bytes = bytes.data();
                let sign = bytes.first().is_some_and(|byte| *byte >= 0x80);
                if bytes.len() > 16 {
                    return Err(ParquetError::General("a decimal number of more than 16 bytes".into()));
                }
                let start = if sign { -1i128 } else { 0 };
                decimal(bytes.iter().fold(start, |value, byte| (value << 8) | i128::from(*byte)), scale)
            }
            Self::Half => match bytes.data() {
                [low, high] => half::f16::from_le_bytes([*low, *high]).to_f32().to_string(),
                _ => return Err(ParquetError::General("a half-precision number that is not of two bytes".into())),
            },
            _ => match std::str::from_utf8(bytes.data()) {
                Ok(text) => text.to_owned(),
                Err(_) => return Err(ParquetError::General("a column of bytes that are not text".into())),
            },
        })
    }
}

/// A number with this many decimals.
fn decimal(value: i128, scale: i32) -> String {
    match usize::try_from(scale) {
        Ok(0) | Err(_) => value.to_string(),
        Ok(scale) => {
            let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale.min(64) + 1);
            let (whole, part) = digits.split_at(digits.len() - scale.min(64));
            format!("{}{whole}.{part}", if value < 0 { "-" } else { "" })
        }
    }
}

impl Column {
    /// Decodes `count` rows of up to `room` bytes, which it takes away; returns how many there were.
    fn decode(&mut self, count: usize, room: &mut usize) -> ParquetResult<usize> {
        self.cells.clear();
        let (kind, is_optional, cells) = (self.kind, self.is_optional, &mut self.cells);
        let Some(reader) = &mut self.reader else { return Ok(0) };
        let reader = reader.get_mut().unwrap_or_else(PoisonError::into_inner);
        macro_rules! read {
            ($reader:ident, $value:ident => $text:expr) => {{
                let (mut levels, mut values) = (Vec::new(), Vec::new());
                let mut rows = 0;
                while rows < count {
                    let wanted = count - rows;
                    let (read, _, _) =
                        $reader.read_records(wanted, is_optional.then_some(&mut levels), None, &mut values)?;
                    if read == 0 {
                        break;
                    }
                    rows += read;
                }
                let mut values = values.iter();
                for row in 0..rows {
                    let is_there = !is_optional || levels.get(row).is_some_and(|level| *level > 0);
                    let text = if is_there {
                        values.next().map(|$value| -> ParquetResult<String> { $text }).transpose()?
                    } else {
                        Some(String::new())
                    };
                    let text = text.ok_or_else(|| ParquetError::General("fewer values than rows".into()))?;
                    *room = room
                        .checked_sub(text.len())
                        .ok_or_else(|| ParquetError::General(format!("{BATCH} rows of more than {MOST_TEXT} bytes")))?;
                    cells.push(text);
                }
                Ok(rows)
            }};
        }
        match reader {
            ColumnReader::BoolColumnReader(reader) => read!(reader, value => Ok(u8::from(*value).to_string())),
            ColumnReader::Int32ColumnReader(reader) => read!(reader, value => Ok(kind.integer((*value).into(), 32))),
            ColumnReader::Int64ColumnReader(reader) => read!(reader, value => Ok(kind.integer(*value, 64))),
            // Times, which are not read.
            ColumnReader::Int96ColumnReader(_) => Ok(0),
            ColumnReader::FloatColumnReader(reader) => read!(reader, value => Ok(value.to_string())),
            ColumnReader::DoubleColumnReader(reader) => read!(reader, value => Ok(value.to_string())),
            ColumnReader::ByteArrayColumnReader(reader) => read!(reader, value => kind.bytes(value)),
            ColumnReader::FixedLenByteArrayColumnReader(reader) => read!(reader, value => kind.bytes(value)),
        }
    }
}

/// A file whose pages are only read if their headers' sizes are plausible.
struct Guarded {
    file: Arc<Mutex<File>>,
    length: u64,
    /// Whether the description at the file's end has been read.
    is_open: Arc<AtomicBool>,
    /// The expected pages, where they are those of one column.
    pages: Option<Pages>,
}

/// The pages of a column.
struct Pages {
    is_gzip: bool,
    /// The bytes of the pages at hand of all columns.
    held: Arc<AtomicUsize>,
    /// The sizes of the first page, which can be a dictionary, and of the newest.
    known: Mutex<[Option<PageSize>; 2]>,
}

impl Pages {
    /// Refuses a page that does not fit in memory together with those at hand.
    fn begin(&self, page: PageSize) -> ParquetResult<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let index = usize::from(known[0].is_some());
        let before = known[index].replace(page).map_or(0, |before| before.bytes);
        self.held.fetch_sub(before, Ordering::Relaxed);
        let held = self.held.fetch_add(page.bytes, Ordering::Relaxed).saturating_add(page.bytes);
        check_room("the pages of a table", held.div_ceil(size_of::<f32>()))
            .map_err(|error| ParquetError::External(Box::new(error)))
    }

    /// Refuses a compressed page that is larger than its header says: the crate inflates all of it.
    fn check(&self, bytes: &[u8]) -> ParquetResult<()> {
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(page) = known[1].or(known[0]).filter(|_| self.is_gzip) else { return Ok(()) };
        let compressed = bytes.get(page.levels..).unwrap_or_default();
        let mut inflated = MultiGzDecoder::new(compressed).take(page.bytes as u64 + 1);
        // Otherwise the crate reports the error.
        match std::io::copy(&mut inflated, &mut std::io::sink()) {
            Ok(count) if count > page.bytes as u64 => {
                Err(ParquetError::General(format!("a page of more than the {} bytes of its header", page.bytes)))
            }
            _ => Ok(()),
        }
    }
}

/// The bytes from a position of the file on.
struct From {
    file: Arc<Mutex<File>>,
    position: u64,
}

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.position))?;
        let count = file.read(buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Guarded {
    fn from(&self, position: u64) -> From {
        From { file: self.file.clone(), position }
    }
}

impl Length for Guarded {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Guarded {
    type T = std::io::Cursor<Vec<u8>>;

    /// Called for the header of each page, and before for the file's end.
    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        let mut header = Vec::new();
        if !self.is_open.load(Ordering::Relaxed) {
            self.from(start).take(MOST_PAGE as u64).read_to_end(&mut header)?;
            return Ok(std::io::Cursor::new(header));
        }
        self.from(start).take(MOST_HEADER).read_to_end(&mut header)?;
        match page_size(&header) {
            Some(page) if page.bytes <= MOST_PAGE => {
                self.pages.as_ref().map_or(Ok(()), |pages| pages.begin(page))?;
                Ok(std::io::Cursor::new(header))
            }
            Some(page) => {
                let size = page.bytes;
                Err(ParquetError::General(format!("a page of {size} bytes, expected up to {MOST_PAGE}")))
            }
            None => Err(ParquetError::General("a page without a header".into())),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<bytes::Bytes> {
        let end = start.checked_add(length as u64).filter(|end| *end <= self.length);
        if end.is_none() {
            return Err(ParquetError::EOF(format!("expected {length} bytes at {start}, the file has {}", self.length)));
        }
        let mut bytes = vec![0; length];
        self.from(start).read_exact(&mut bytes)?;
        self.pages.as_ref().map_or(Ok(()), |pages| pages.check(&bytes))?;
        Ok(bytes.into())
    }
}

/// Pages whose numbers of values are plausible.
struct Checked {
    pages: Box<dyn PageReader>,
    is_optional: bool,
    /// The rows of the group.
    rows: usize,
}

impl Checked {
    fn check(&self, page: &Page) -> ParquetResult<()> {
        let refused = |what: &str| Err(ParquetError::General(what.to_owned()));
        match page {
            // Each value of a dictionary takes a byte or more.
            Page::DictionaryPage { buf, num_values, .. } if *num_values as usize > buf.len() => {
                refused("a dictionary with more values than bytes")
            }
            // A row of a table has one value.
            Page::DataPage { num_values, .. } | Page::DataPageV2 { num_values, .. }
                if *num_values as usize > self.rows =>
            {
                refused("a page with more values than there are rows")
            }
            _ => match (page.encoding(), self.values_of(page)) {
                (Encoding::DELTA_BYTE_ARRAY, _) => {
                    refused("the encoding DELTA_BYTE_ARRAY is not supported; expected PLAIN or a dictionary")
                }
                (Encoding::DELTA_LENGTH_BYTE_ARRAY, values) => match values.and_then(delta_count) {
                    Some(count) if count <= u64::from(page.num_values()) => Ok(()),
                    _ => refused("another number of lengths than of values"),
                },
                _ => Ok(()),
            },
        }
    }

    /// The bytes of a page behind its levels.
    fn values_of<'p>(&self, page: &'p Page) -> Option<&'p [u8]> {
        match page {
            Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, .. } => {
                buf.get((*def_levels_byte_len as usize).checked_add(*rep_levels_byte_len as usize)?..)
            }
            Page::DataPage { buf, .. } if self.is_optional => {
                let length = u32::from_le_bytes(buf.get(..4)?.try_into().ok()?) as usize;
                buf.get(length.checked_add(4)?..)
            }
            page => Some(page.buffer()),
        }
    }
}

/// The number of values in the header of delta-encoded numbers: the third of its numbers.
fn delta_count(bytes: &[u8]) -> Option<u64> {
    let mut bytes = bytes.iter();
    let mut number = || {
        let mut value = 0u64;
        for shift in (0..63).step_by(7) {
            let byte = *bytes.next()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    };
    number()?;
    number()?;
    number()
}

impl Iterator for Checked {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Checked {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        let page = self.pages.get_next_page()?;
        page.as_ref().map_or(Ok(()), |page| self.check(page))?;
        Ok(page)
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.pages.skip_next_page()
    }
}
