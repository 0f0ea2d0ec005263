//! Rows of a table in a request, as CSV or as JSON.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::block::{Block, Values};
use super::budget::RequestLimits;
use super::fault::{Fault, FaultResult};
use super::json::{Key, parse};
use super::signature::Signature;
use crate::datasets::{ColumnInfo, Fill, TableInfo, is_gap};
use crate::error::Error;

/// The most columns of a row.
const MOST_COLUMNS: usize = 100_000;

/// Samples, and what each is called.
pub(super) type Named = (Vec<String>, Block);

/// The rows of a table in CSV: with a header that names the columns, or without one in the order in which the model was
/// trained on them, the target perhaps behind them.
pub(super) fn csv(body: &[u8], signature: &Signature, allowed: &RequestLimits) -> FaultResult<Named> {
    let port = &signature.inputs[0];
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let first = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let known = signature.table.as_ref();
    let separator = known.map(|table| table.separator).and_then(|c| u8::try_from(c).ok()).filter(|byte| *byte != 0);
    // A request may be written by a hand that knows only commas.
    let separator = separator.filter(|byte| first.contains(byte)).unwrap_or(b',');
    let mut builder = csv::ReaderBuilder::new();
    builder.has_headers(false).flexible(true).delimiter(separator).trim(csv::Trim::All);
    let mut reader = builder.from_reader(body);
    let mut record = csv::StringRecord::new();
    let mut indices: Option<Vec<usize>> = None;
    let mut rows = TableRows::new(signature, allowed)?;
    let mut width = None;
    let mut line = 0u64;
    loop {
        let more = reader.read_record(&mut record);
        let at = record.position().map_or(line + 1, csv::Position::line).max(line + 1);
        match more {
            Ok(false) => break,
            Ok(true) => line = at,
            Err(error) => return Err(Fault::expected(format!("line {at}"), "a row of a table in UTF-8", error)),
        }
        let fields: Vec<&str> = record.iter().collect();
        if fields.len() > MOST_COLUMNS {
            return Err(Fault::expected(format!("line {line}"), format!("up to {MOST_COLUMNS} columns"), fields.len()));
        }
        if *width.get_or_insert(fields.len()) != fields.len() {
            let width = width.unwrap_or_default();
            return Err(Fault::expected(format!("line {line}"), format!("{width} fields, as above"), fields.len()));
        }
        let indices = match &mut indices {
            Some(indices) => indices,
            none => {
                let (found, is_header) = rows.field_indices(&fields, line)?;
                let found = none.insert(found);
                if is_header {
                    continue;
                }
                found
            }
        };
        let fields = indices.iter().map(|index| fields[*index]);
        rows.push(format!("line {line}"), fields)?;
    }
    rows.finish().map_err(|fault| {
        fault.unwrap_or_else(|| Fault::expected(format!("input `{}`", port.name), "at least one row", "none"))
    })
}

/// Rows as JSON: an object of columns, or a list of them; the values of a row in a list are in the columns' order. Each
/// becomes numbers as it is read.
pub(super) fn json(body: &[u8], signature: &Signature, allowed: &RequestLimits) -> FaultResult<Named> {
    let mut rows = TableRows::new(signature, allowed)?;
    let indices = rows.columns.iter().enumerate().map(|(index, column)| (column.name.clone(), index)).collect();
    let mut fault = None;
    let parsed = parse(body, BodyPart { rows: &mut rows, indices: &indices, fault: &mut fault, depth: Depth::Body });
    if let Some(fault) = fault {
        return Err(fault);
    }
    parsed?;
    rows.finish().map_err(|fault| fault.unwrap_or_else(|| Fault::expected("the body", "at least one row", "none")))
}

/// Where a part of a body stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// The body: a list of rows, or a row.
    Body,
    /// What is in its list: rows, or the values of one.
    Row,
    /// What is in a row.
    Value,
}

/// A part of a body: a value, which is a field of a table, or a list or an object, which has been read.
enum BodyField {
    Value(String),
    Nested,
}

/// A part of a body. What is wrong with it is left in `fault`, as JSON's own errors have no status.
struct BodyPart<'r, 'a> {
    rows: &'r mut TableRows<'a>,
    indices: &'r HashMap<String, usize>,
    fault: &'r mut Option<Fault>,
    depth: Depth,
}

impl<'a> BodyPart<'_, 'a> {
    fn inner(&mut self, depth: Depth) -> BodyPart<'_, 'a> {
        BodyPart { rows: &mut *self.rows, indices: self.indices, fault: &mut *self.fault, depth }
    }

    fn ends<T, E: serde::de::Error>(&mut self, result: FaultResult<T>) -> Result<T, E> {
        result.map_err(|fault| {
            *self.fault = Some(fault);
            E::custom("invalid row")
        })
    }

    /// The name of the row that is read.
    fn name(&self) -> String {
        format!("row {}", self.rows.read + 1)
    }

    /// A value, which may be one of a row.
    fn value<E: serde::de::Error>(mut self, text: String) -> Result<BodyField, E> {
        match self.depth {
            Depth::Body => self.no_row(&text),
            _ => Ok(BodyField::Value(text)),
        }
    }

    fn no_row<T, E: serde::de::Error>(&mut self, text: &str) -> Result<T, E> {
        let expected = "an object of columns, or a list of values";
        let fault = Fault::expected(self.name(), expected, format!("`{text}`"));
        self.ends(Err(fault))
    }

    /// A row: the values of a list, of which the first may have been read.
    fn list<'de, L: SeqAccess<'de>>(&mut self, first: Option<String>, mut list: L) -> Result<(), L::Error> {
        let count = self.rows.columns.len();
        let mut fields: Vec<String> = first.into_iter().collect();
        let name = self.name();
        while let Some(field) = list.next_element_seed(self.inner(Depth::Value))? {
            match field {
                BodyField::Value(field) if fields.len() < count => fields.push(field),
                BodyField::Value(_) => return self.ends(Err(Fault::expected(name, format!("{count} values"), "more"))),
                BodyField::Nested => {
                    return self.ends(Err(Fault::expected(name, "numbers and texts", "a list or object")));
                }
            }
        }
        let pushed = match fields.len() == count {
            true => self.rows.push(name, fields.iter().map(String::as_str)),
            false => Err(Fault::expected(name, format!("{count} values"), fields.len())),
        };
        self.ends(pushed)
    }

    /// A row: the values of an object. What is missing is a gap, for which there may be a stand-in.
    fn object<'de, M: MapAccess<'de>>(&mut self, mut map: M) -> Result<(), M::Error> {
        let mut fields = vec![String::new(); self.rows.columns.len()];
        let name = self.name();
        while let Some(key) = map.next_key::<Key>()? {
            let Some(index) = self.indices.get(&*key.0) else {
                if self.rows.table.is_some_and(|table| table.targets.iter().any(|target| *target == key.0)) {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                let valid = self.rows.columns.iter().map(|column| column.name.clone());
                let error = Error::unknown("column", crate::error::begun(&key.0, 60), valid);
                return self.ends(Err(Fault::bad(format!("{name}: {error}"))));
            };
            match map.next_value_seed(self.inner(Depth::Value))? {
                BodyField::Value(field) => fields[*index] = field,
                BodyField::Nested => {
                    let what = format!("{name}, column `{}`", key.0);
                    return self.ends(Err(Fault::expected(what, "numbers and texts", "a list or object")));
                }
            }
        }
        let pushed = self.rows.push(name, fields.iter().map(String::as_str));
        self.ends(pushed)
    }
}

impl<'de> DeserializeSeed<'de> for BodyPart<'_, '_> {
    type Value = BodyField;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<BodyField, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for BodyPart<'_, '_> {
    type Value = BodyField;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows of a table")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<BodyField, E> {
        self.value(String::new())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<BodyField, E> {
        self.value(value.to_string())
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<BodyField, E> {
        self.value(number.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<BodyField, E> {
        self.value(number.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<BodyField, E> {
        // As JSON writes it: `2.0`.
        self.value(Number::from_f64(number).map(|number| number.to_string()).unwrap_or_default())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<BodyField, E> {
        self.value(text.to_owned())
    }

    fn visit_seq<L: SeqAccess<'de>>(mut self, mut list: L) -> Result<BodyField, L::Error> {
        match self.depth {
            Depth::Value => while list.next_element::<IgnoredAny>()?.is_some() {},
            Depth::Row => self.list(None, list)?,
            Depth::Body => {
                let mut is_first = true;
                while let Some(field) = list.next_element_seed(self.inner(Depth::Row))? {
                    match field {
                        BodyField::Nested => is_first = false,
                        // All of it is one row.
                        BodyField::Value(field) if is_first => {
                            self.list(Some(field), list)?;
                            break;
                        }
                        BodyField::Value(field) => return self.no_row(&field),
                    }
                }
            }
        }
        Ok(BodyField::Nested)
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<BodyField, M::Error> {
        match self.depth {
            Depth::Value => while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {},
            _ => self.object(map)?,
        }
        Ok(BodyField::Nested)
    }
}

/// Rows as they are read, and the samples that they make.
struct TableRows<'a> {
    columns: Vec<ColumnInfo>,
    table: Option<&'a TableInfo>,
    allowed: &'a RequestLimits,
    signature: &'a Signature,
    sample: Vec<usize>,
    names: Vec<String>,
    values: Vec<f32>,
    /// How many came.
    read: usize,
    /// The last rows, for windows over time, and how many more end one.
    last: VecDeque<Vec<f32>>,
    wait: usize,
}

impl<'a> TableRows<'a> {
    fn new(signature: &'a Signature, allowed: &'a RequestLimits) -> FaultResult<Self> {
        let port = &signature.inputs[0];
        let table = signature.table.as_ref();
        let sample: Option<Vec<usize>> = port.sample.iter().copied().collect();
        let wrong = || Fault::expected(format!("input `{}`", port.name), port.shape_text(), "rows of a table");
        let (Some(sample), 1) = (sample, signature.inputs.len()) else { return Err(wrong()) };
        let columns = match (table, &sample[..]) {
            (Some(table), _) => table.columns.clone(),
            (None, [width]) => vec![ColumnInfo::default(); *width],
            _ => return Err(wrong()),
        };
        let wait = table.and_then(|table| table.window).map_or(1, |window| window.span());
        Ok(Self {
            columns,
            table,
            allowed,
            signature,
            sample,
            names: Vec::new(),
            values: Vec::new(),
            read: 0,
            last: VecDeque::new(),
            wait,
        })
    }

    /// Where the columns stand, by the first line; whether that is a header.
    fn field_indices(&self, fields: &[&str], line: u64) -> FaultResult<(Vec<usize>, bool)> {
        let count = self.columns.len();
        let named = self.table.is_some_and(|table| table.header);
        let index_of = |column: &ColumnInfo| fields.iter().position(|field| *field == column.name);
        if named {
            let indices: Vec<Option<usize>> = self.columns.iter().map(index_of).collect();
            if let Some(indices) = indices.iter().copied().collect::<Option<Vec<_>>>() {
                return Ok((indices, true));
            }
            if indices.iter().flatten().count() * 2 > count {
                let missing = self.columns.iter().zip(&indices).find(|(_, index)| index.is_none());
                let name = missing.map(|(column, _)| column.name.as_str()).unwrap_or_default();
                return Err(Fault::expected(format!("line {line}"), format!("a column `{name}`"), fields.join(",")));
            }
        } else if self.table.is_none() && count > 0 && fields.iter().all(|field| field.parse::<f32>().is_err()) {
            // Names that nobody knows, over numbers.
            return match fields.len() == count {
                true => Ok(((0..count).collect(), true)),
                false => Err(self.other_count(line, fields.len())),
            };
        }
        if fields.len() != count && !(self.table.is_some() && fields.len() == count + 1) {
            return Err(self.other_count(line, fields.len()));
        }
        Ok(((0..count).collect(), false))
    }

    fn other_count(&self, line: u64, received: usize) -> Fault {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let names = names.join(", ");
        let names = if names.chars().any(|c| c != ',' && c != ' ') { format!(" ({names})") } else { String::new() };
        Fault::expected(format!("line {line}"), format!("{} fields{names}", self.columns.len()), received)
    }

    /// A row comes, of as many fields as there are columns.
    fn push<'f>(&mut self, name: String, fields: impl Iterator<Item = &'f str>) -> FaultResult<()> {
        self.read += 1;
        let mut row = Vec::new();
        for (index, (column, field)) in self.columns.iter().zip(fields).enumerate() {
            value_of(column, field, &mut row).map_err(|(expected, received)| {
                let own = match column.name.as_str() {
                    "" => format!("column {}", index + 1),
                    name => format!("column `{name}`"),
                };
                Fault::expected(format!("{name}, {own}"), expected, received)
            })?;
        }
        let window = self.table.and_then(|table| table.window);
        let values = match window {
            None => row,
            Some(window) => {
                self.last.push_back(row);
                self.wait = self.wait.saturating_sub(1);
                if self.last.len() > window.span() {
                    self.last.pop_front();
                }
                if self.wait > 0 {
                    return Ok(());
                }
                self.wait = window.step().max(1);
                self.last.iter().step_by(window.rate().max(1)).flatten().copied().collect()
            }
        };
        let width: usize = self.sample.iter().product();
        if values.len() != width {
            let message = format!("expected {width} numbers for the model, its columns make {}", values.len());
            return Err(Fault::internal(message));
        }
        if self.names.len() == self.allowed.rows {
            return Err(Fault::bad(format!("expected up to {} rows, received more", self.allowed.rows)));
        }
        self.allowed.share.take(width * size_of::<f32>())?;
        self.names.push(name);
        self.values.extend(values);
        Ok(())
    }

    /// The samples; none where no row came, or too few for a window.
    fn finish(self) -> Result<Named, Option<Fault>> {
        if self.names.is_empty() {
            let window = self.table.and_then(|table| table.window);
            return Err(window.map(|window| {
                let what = format!("input `{}`", self.signature.inputs[0].name);
                Fault::expected(
                    what,
                    format!("{} rows or more, as the model's windows need", window.span()),
                    self.last.len(),
                )
            }));
        }
        let block = Block { rows: self.names.len(), sample: self.sample, values: Values::Float(self.values) };
        Ok((self.names, block))
    }
}

/// The numbers that a field becomes; what was expected and received, where there are none.
fn value_of(column: &ColumnInfo, field: &str, row: &mut Vec<f32>) -> Result<(), (String, String)> {
    let received = || if field.is_empty() { "nothing".to_owned() } else { format!("`{field}`") };
    let gap = is_gap(field);
    match &column.categories {
        None => {
            let value = match (field.parse::<f32>(), &column.fill) {
                (Ok(value), _) if value.is_finite() => value,
                (_, Some(Fill::Number(fill))) if gap => *fill,
                _ => return Err(("a finite number".to_owned(), received())),
            };
            row.push(value);
        }
        Some(categories) => {
            let text = match &column.fill {
                Some(Fill::Text(fill)) if gap => fill.as_str(),
                _ => field,
            };
            let Some(found) = categories.iter().position(|category| category == text) else {
                let shown: Vec<String> = categories.iter().take(20).map(|category| format!("`{category}`")).collect();
                let more = if categories.len() > 20 { " or another of its categories" } else { "" };
                return Err((format!("{}{more}", shown.join(", ")), received()));
            };
            row.extend((0..categories.len()).map(|index| if index == found { 1.0 } else { 0.0 }));
        }
    }
    Ok(())
}
