//! A parsed recipe: TOML read into plain values, with the position of each.

use std::path::Path;

use serde_json::{Number, Value as Json};
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value as Toml};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::formats::limits::NAME_BYTES;
use crate::formats::read_text;
#[cfg(test)]
use crate::formats::recipe_text::MOST_VALUES;
use crate::formats::recipe_text::{MOST_BYTES, check_size};

/// The most keys in a path: the nesting depth that TOML is read to.
const MOST_KEYS: usize = 64;

/// A recipe that has been parsed but not checked, and can still be changed.
///
/// ```
/// use brasa::recipe::Document;
/// let mut document = Document::parse("small.toml", "[fit]\nepochs = 5\n")?;
/// document.assign("fit.batch_size = 32")?;
/// assert_eq!(document.get("fit.batch_size"), Some(&32.into()));
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Document {
    file: String,
    text: String,
    root: Json,
    spans: Vec<Span>,
    /// The paths of values set from outside.
    outside: Vec<Vec<String>>,
}

/// The position of a value, in bytes from the start.
#[derive(Clone, Debug)]
struct Span {
    /// The last key of its path, or its index in a list.
    name: String,
    /// The entry of the table or list that contains it; `None` at the top. Storing whole paths would repeat the keys of
    /// all parents for every value.
    parent: Option<usize>,
    /// The number of keys in its path.
    depth: usize,
    /// Whether the text no longer holds the current value.
    forgotten: bool,
    /// The key; elements of arrays have none.
    key: Option<usize>,
    value: usize,
    /// The value, if it is a string: an error can be about it.
    string: Option<String>,
}

impl Document {
    /// Reads a recipe file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Recipe`] if it is not TOML.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = read_text(path, MOST_BYTES as u64)?;
        Self::parse(path.display().to_string(), text)
    }

    /// Parses a recipe; `file` is its name in messages.
    ///
    /// # Errors
    /// [`Error::Recipe`] if it is not TOML, [`Error::Unsupported`] if it is too long.
    pub fn parse(file: impl Into<String>, text: impl Into<String>) -> Result<Self> {
        let (file, text) = (file.into(), text.into());
        check_size(&file, &text)?;
        let mut document = Self { file, text, root: Json::Null, spans: Vec::new(), outside: Vec::new() };
        let source = document.text.clone();
        let table = DeTable::parse(&source).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            document.wrap(offset, Error::Syntax(error.message().to_owned()))
        })?;
        document.root = document.convert_table(None, table.get_ref())?;
        Ok(document)
    }

    /// Converts a table, whose own entry is `parent`.
    fn convert_table(&mut self, parent: Option<usize>, table: &DeTable<'_>) -> Result<Json> {
        let mut config = Config::new();
        for (key, value) in table {
            let (name, offset) = (key.get_ref().to_string(), key.span().start);
            if name.len() > NAME_BYTES {
                let what = format!("a key of {} bytes", name.len());
                return Err(self.wrap(offset, Error::unsupported(what, format!("keys of up to {NAME_BYTES} bytes"))));
            }
            config.insert(name.clone(), self.convert(name, parent, Some(offset), value)?);
        }
        Ok(Json::Object(config))
    }

    fn convert(
        &mut self,
        name: String,
        parent: Option<usize>,
        key: Option<usize>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Json> {
        let offset = value.span().start;
        let string = value.get_ref().as_str().map(str::to_owned);
        let depth = parent.map_or(0, |parent| self.spans[parent].depth) + 1;
        let own = self.spans.len();
        self.spans.push(Span { name, parent, depth, forgotten: false, key, value: offset, string });
        let refuse = |document: &Self, expected: &str, received: &str| {
            let name = document.spans[own].name.as_str();
            Err(document.wrap(offset, Error::argument(name, expected, received)))
        };
        match value.get_ref() {
            DeValue::String(text) => Ok(Json::String(text.to_string())),
            DeValue::Boolean(value) => Ok(Json::Bool(*value)),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Ok(number.into()),
                Err(_) => refuse(self, "a number of at most 63 bits", number.as_str()),
            },
            DeValue::Float(number) => match number.as_str().parse().ok().and_then(Number::from_f64) {
                Some(number) => Ok(Json::Number(number)),
                None => refuse(self, "a finite number", number.as_str()),
            },
            DeValue::Datetime(date) => refuse(self, "a text, a number, a list or a table", &date.to_string()),
            DeValue::Array(values) => {
                let mut list = Vec::with_capacity(values.len());
                for (index, value) in values.iter().enumerate() {
                    list.push(self.convert(index.to_string(), Some(own), None, value)?);
                }
                Ok(Json::Array(list))
            }
            DeValue::Table(table) => self.convert_table(Some(own), table),
        }
    }

    /// The recipe's name in messages.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The value at a dotted path, such as `fit.epochs` or `layers.0.filters`.
    pub fn get(&self, path: &str) -> Option<&Json> {
        path.split('.').try_fold(&self.root, step)
    }

    /// Changes or adds the value at a dotted path, creating tables on the way.
    ///
    /// A string on the way, such as the optimizer in `compile.optimizer.learning_rate`, becomes a table with the string
    /// as its `class_name`.
    ///
    /// # Errors
    /// [`Error::Argument`] if the path leads through a number, or beyond the end of a list.
    pub fn set(&mut self, path: &str, value: impl Into<Json>) -> Result<()> {
        let keys: Vec<&str> = path.split('.').map(str::trim).collect();
        if keys.len() > MOST_KEYS {
            return Err(Error::argument(path, format!("at most {MOST_KEYS} keys with dots between them"), keys.len()));
        }
        let wrong = |at: &str, received: &Json| {
            Error::argument(path, format!("a path through tables and lists; `{at}` is neither"), received)
        };
        let mut node = &mut self.root;
        for (depth, key) in keys.iter().enumerate() {
            if key.is_empty() {
                return Err(Error::argument(path, "keys with dots between them", "an empty key"));
            }
            if let Json::String(name) = node {
                *node = serde_json::json!({ "class_name": name });
            }
            node = match node {
                Json::Object(map) => map
                    .entry(*key)
                    .or_insert_with(|| if depth + 1 == keys.len() { Json::Null } else { Json::Object(Config::new()) }),
                Json::Array(list) => {
                    let length = list.len();
                    let index = key.parse().ok().filter(|index: &usize| *index < length);
                    let index = index
                        .ok_or_else(|| Error::argument(path, format!("an index below {length}"), format!("`{key}`")))?;
                    &mut list[index]
                }
                other => return Err(wrong(&keys[..depth].join("."), other)),
            };
        }
        *node = value.into();
        self.forget(&keys);
        self.outside.push(keys.into_iter().map(str::to_owned).collect());
        Ok(())
    }

    /// Applies an assignment `key=value`: a dotted path and a TOML value, or a word without quotes, such as the name of
    /// a loss or of a file.
    ///
    /// # Errors
    /// [`Error::Argument`] if it has another form; as [`set`](Self::set).
    pub fn assign(&mut self, assignment: &str) -> Result<()> {
        let expected = "key=value, the value as in TOML or a bare word (compile.loss=mse)";
        let wrong = || Error::argument("set", expected, format!("`{assignment}`"));
        let (path, value) = assignment.split_once('=').ok_or_else(wrong)?;
        let Ok(table) = toml::from_str::<toml::Table>(&format!("value = {value}")) else {
            // Quotes would have to be quoted again in a shell.
            return if is_word(value.trim()) { self.set(path.trim(), value.trim()) } else { Err(wrong()) };
        };
        let mut values = table.into_iter();
        // A line break in the value must not add another key.
        let (Some((_, value)), None) = (values.next(), values.next()) else { return Err(wrong()) };
        if has_date(&value) {
            return Err(wrong());
        }
        let value = serde_json::to_value(value).map_err(|_| wrong())?;
        self.set(path.trim(), value)
    }

    /// Removes the value at a dotted path, if there is one.
    pub fn remove(&mut self, path: &str) {
        let keys: Vec<&str> = path.split('.').collect();
        if let Some((last, way)) = keys.split_last() {
            let table = way.iter().try_fold(&mut self.root, |node, key| node.get_mut(*key));
            if let Some(Json::Object(map)) = table {
                map.shift_remove(*last);
                self.forget(&keys);
            }
        }
    }

    /// Values set from outside have no position in the text.
    fn forget(&mut self, keys: &[&str]) {
        let gone: Vec<bool> = self.spans.iter().map(|span| self.is_within(span, keys)).collect();
        self.spans.iter_mut().zip(gone).for_each(|(span, gone)| span.forgotten |= gone);
    }

    /// Whether the path of `span` begins with these keys.
    fn is_within(&self, span: &Span, keys: &[&str]) -> bool {
        let mut at = Some(span);
        let mut up = || {
            let span = at?;
            at = span.parent.map(|parent| &self.spans[parent]);
            Some(span)
        };
        let below = span.depth.checked_sub(keys.len());
        below.is_some_and(|below| {
            (0..below).for_each(|_| _ = up());
            keys.iter().rev().all(|key| up().is_some_and(|span| span.name == *key))
        })
    }

    /// The entries of a section, itself included, that are unchanged from the text.
    fn spans_in(&self, section: &[&str]) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(move |span| !span.forgotten && self.is_within(span, section))
    }

    pub(super) fn root(&self) -> &Json {
        &self.root
    }

    /// Adds to an error in `section` its position in the text, if it has one.
    ///
    /// The position is that of the key or value that the error names, else that of the section.
    pub(super) fn locate(&self, section: &[&str], error: Error) -> Error {
        if matches!(error, Error::Recipe { .. }) {
            return error;
        }
        let within = || self.spans_in(section).filter(|span| span.depth > section.len());
        let has_key = |span: &&Span, name: &str| span.key.is_some() && span.name == name;
        let (word, offset) = match innermost(&error) {
            Error::UnknownName { name, .. } => {
                let key = within().find(|span| has_key(span, name)).and_then(|span| span.key);
                let value = || within().find(|span| span.string.as_ref() == Some(name)).map(|span| span.value);
                (name.as_str(), key.or_else(value))
            }
            Error::Argument { argument, .. } => {
                (argument.as_str(), within().find(|span| has_key(span, argument)).map(|span| span.value))
            }
            _ => ("", None),
        };
        let is_outside = |path: &Vec<String>| {
            starts_with(path, section)
                && (path.last().is_some_and(|key| key == word)
                    || self.get(&path.join(".")).and_then(Json::as_str) == Some(word))
        };
        if offset.is_none() && self.outside.iter().any(is_outside) {
            return error;
        }
        match offset.or_else(|| self.offset_of(section)) {
            Some(offset) => self.wrap(offset, error),
            None => error,
        }
    }

    /// The position of a section: its class if it has one, else its key.
    fn offset_of(&self, section: &[&str]) -> Option<usize> {
        let find = |path: &[&str]| self.spans_in(path).find(|span| span.depth == path.len());
        let class = find(&[section, &["class_name"]].concat());
        class.map(|span| span.value).or_else(|| find(section).map(|span| span.key.unwrap_or(span.value)))
    }

    /// The error with the beginning of the text as its position.
    pub(super) fn at_top(&self, error: Error) -> Error {
        self.wrap(0, error)
    }

    /// The error with a position in the text.
    fn wrap(&self, offset: usize, source: Error) -> Error {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        Error::Recipe { file: self.file.clone(), line, column, source: Box::new(source) }
    }
}

fn step<'a>(node: &'a Json, key: &str) -> Option<&'a Json> {
    match node {
        Json::Array(list) => list.get(key.parse::<usize>().ok()?),
        node => node.get(key),
    }
}

fn starts_with(path: &[String], keys: &[&str]) -> bool {
    path.len() >= keys.len() && path.iter().zip(keys).all(|(own, key)| own == key)
}

/// The innermost error.
fn innermost(error: &Error) -> &Error {
    match error {
        Error::Layer { source, .. } => innermost(source),
        error => error,
    }
}

/// Whether a text can stand without quotes: no digit at its start, and only characters of names and paths.
fn is_word(text: &str) -> bool {
    let begins = text.starts_with(|first: char| first.is_alphabetic() || "_./~".contains(first));
    begins && text.chars().all(|c| c.is_alphanumeric() || "_-./~".contains(c))
}

fn has_date(value: &Toml) -> bool {
    match value {
        Toml::Datetime(_) => true,
        Toml::Float(number) => !number.is_finite(),
        Toml::Array(values) => values.iter().any(has_date),
        Toml::Table(table) => table.iter().any(|(_, value)| has_date(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(text: &str) -> Document {
        Document::parse("r.toml", text).unwrap()
    }

    #[test]
    fn toml_values_are_converted() {
        let document = document("a = 0x1F\nb = [1e-3, -2]\n[c]\nd = 'text'\ne.f = true\n[[g]]\nh = 1_000\n");
        let expected = json!({"a": 31, "b": [1e-3, -2], "c": {"d": "text", "e": {"f": true}}, "g": [{"h": 1000}]});
        assert_eq!(document.root(), &expected);
    }

    #[test]
    fn errors_have_line_and_column() {
        let at = |text: &str| Document::parse("r.toml", text).unwrap_err().to_string();
        assert!(at("a = 1\nb = \n").starts_with("r.toml:2:5: "), "{}", at("a = 1\nb = \n"));
        assert!(at("a = 1\n\na = 2\n").starts_with("r.toml:3:1: "), "{}", at("a = 1\n\na = 2\n"));
        assert!(at("[t]\n d = 2024-01-01\n").starts_with("r.toml:2:6: invalid value for argument `d`"));
        assert!(at("a = inf").starts_with("r.toml:1:5: "));
        assert!(at("a = 99999999999999999999").starts_with("r.toml:1:5: "));
    }

    #[test]
    fn columns_count_characters() {
        let error =
            document("\"é\" = 'ü'\n\"ß\".\"ä\" = 1\n").locate(&["ß"], Error::unknown("key", "ä", ["a"])).to_string();
        assert!(error.starts_with("r.toml:2:5: unknown key `ä`"), "{error}");
    }

    #[test]
    fn errors_point_to_keys_names_and_sections() {
        let document = document("[compile]\noptimizer = { class_name = 'Adam', rate = 1 }\nloss = 'msee'\n");
        let at = |error| match document.locate(&["compile"], error) {
            Error::Recipe { line, column, .. } => (line, column),
            error => panic!("{error}"),
        };
        assert_eq!(at(Error::unknown("argument", "rate", ["learning_rate"])), (2, 36));
        assert_eq!(at(Error::argument("rate", "a number", "1")), (2, 43));
        assert_eq!(at(Error::unknown("loss", "msee", ["mse"])), (3, 8));
        assert_eq!(at(Error::argument("metrics", "a list", "nothing")), (1, 2));
    }

    #[test]
    fn values_set_from_outside_have_no_position() {
        let mut document = document("[fit]\nepochs = 5\n");
        document.assign("fit.epochs = 'six'").unwrap();
        document.assign("fit.epoch=6").unwrap();
        let error = document.locate(&["fit"], Error::unknown("key", "epoch", ["epochs"]));
        assert!(matches!(error, Error::UnknownName { .. }), "{error}");
        let error = document.locate(&["fit"], Error::argument("epochs", "an integer", "\"six\""));
        assert!(matches!(error, Error::Argument { .. }), "{error}");
        let error = document.locate(&["fit"], Error::argument("batch_size", "an integer", 0));
        assert!(matches!(error, Error::Recipe { line: 1, column: 2, .. }), "{error}");
    }

    #[test]
    fn paths_lead_through_tables_lists_and_names() {
        let mut document = document("layers = [{ class_name = 'Dense', units = 3 }]\n[compile]\noptimizer = 'adam'\n");
        document.assign("layers.0.units=7").unwrap();
        document.assign("compile.optimizer.learning_rate = 0.01").unwrap();
        document.assign("compile.metrics=[\"mae\"]").unwrap();
        document.assign("new.table.value=true").unwrap();
        assert_eq!(document.get("layers.0.units"), Some(&json!(7)));
        assert_eq!(document.get("compile.optimizer"), Some(&json!({"class_name": "adam", "learning_rate": 0.01})));
        assert_eq!(document.get("compile.metrics.0"), Some(&json!("mae")));
        assert_eq!(document.get("new"), Some(&json!({"table": {"value": true}})));
        document.remove("compile.optimizer");
        assert_eq!(document.get("compile.optimizer"), None);
    }

    #[test]
    fn paths_and_texts_are_limited_in_size() {
        let mut document = document("a = 1\n");
        for keys in [MOST_KEYS + 1, 20_000] {
            let error = document.assign(&format!("{}a=1", "a.".repeat(keys - 1))).unwrap_err();
            assert!(matches!(error, Error::Argument { .. }), "{error}");
            assert!(error.to_string().len() < 600, "{error}");
        }
        assert_eq!(document.root(), &json!({"a": 1}));
        assert!(document.assign(&format!("b{}=1", ".b".repeat(MOST_KEYS - 1))).is_ok());
        let nested = Document::parse("r.toml", format!("{}=1", vec!["a"; 20_000].join(".")));
        assert!(nested.is_err());
        let many = Document::parse("r.toml", format!("a = [{}]", "0,".repeat(MOST_VALUES)));
        assert!(matches!(many, Err(Error::Unsupported { .. })));
        let key = |length: usize| Document::parse("r.toml", format!("b = 1\n[a.{}]\nc = 1", "x".repeat(length)));
        assert!(key(NAME_BYTES).is_ok());
        let error = key(NAME_BYTES + 1).unwrap_err().to_string();
        assert!(error.starts_with("r.toml:2:4: not supported: a key of 1025 bytes"), "{error}");
        let long = Document::parse("r.toml", format!("a = \"{}\"", "x".repeat(MOST_BYTES)));
        assert!(matches!(long, Err(Error::Unsupported { .. })));
    }

    /// The stored names are no longer than the text, however deep its values are nested.
    #[test]
    fn no_value_repeats_the_keys_above_it() {
        let keys: Vec<String> = (0..60).map(|level| format!("{level}{}", "k".repeat(1000))).collect();
        let lines: String = (0..100).map(|line| format!("a{line}=1\n")).collect();
        let text = format!("[{}]\n{lines}", keys.join("."));
        let mut document = document(&text);
        let kept: usize = document.spans.iter().map(|span| span.name.len()).sum();
        assert!(kept <= text.len(), "{kept} bytes of {}", text.len());
        let section: Vec<&str> = keys.iter().map(String::as_str).collect();
        let at = |document: &Document, name: &str| match document.locate(&section, Error::argument(name, "", "")) {
            Error::Recipe { line, column, .. } => Some((line, column)),
            _ => None,
        };
        assert_eq!(at(&document, "a7"), Some((9, 4)));
        document.set(&[&section[..], &["a7"]].concat().join("."), 2).unwrap();
        assert_eq!((at(&document, "a7"), at(&document, "a8")), (None, Some((10, 4))));
    }

    #[test]
    fn words_need_no_quotes() {
        let mut document = document("a = 1\n");
        document.assign("a=mse").unwrap();
        document.assign("b = ../data/my-table.csv").unwrap();
        document.assign("c=true").unwrap();
        assert_eq!(document.root(), &json!({"a": "mse", "b": "../data/my-table.csv", "c": true}));
    }

    #[test]
    fn malformed_assignments_are_refused() {
        let mut document = document("a = 1\nlist = [1]\n");
        let wrong = [
            "a",
            "a=",
            "a=two words",
            "a=1x",
            "a=word\nb=2",
            "a=1\nb=2",
            "a=2024-01-01",
            "a=nan",
            "=1",
            "a..b=1",
            "a.b=1",
            "list.1=0",
            "list.x=0",
        ];
        for wrong in wrong {
            let error = document.assign(wrong).unwrap_err();
            assert!(matches!(error, Error::Argument { .. }), "{wrong}: {error}");
        }
        assert_eq!(document.root(), &json!({"a": 1, "list": [1]}));
    }
}
