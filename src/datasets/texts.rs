//! Texts: folders of files, columns of tables, lines.

use std::fs;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use csv::{Reader, ReaderBuilder, StringRecord};
use rayon::prelude::*;

use super::folders::{check_apart, entries, is_image};
#[cfg(feature = "parquet")]
use super::parquet::ParquetRows;
use super::parquet_name::is_parquet;
#[cfg(not(feature = "parquet"))]
use super::parquet_name::without_parquet;
use super::samples::check_request;
use super::shuffle::shuffle;
use super::{Column, Dataset, Fingerprint, Source};
use crate::error::{Error, Result};
use crate::formats::regular::{open_file, read_text};
use crate::memory::check_room;
use crate::text::extension;

/// The longest text of a file, in bytes.
const MOST_BYTES: u64 = 1 << 28;

/// The most classes of a table.
const MOST_CLASSES: usize = 10_000;

/// A folder of texts, read on demand. Each sub-folder is a class with the folder's name; each file whose name ends in
/// `.txt` is a text.
///
/// Classes are indexed in alphabetical order; a target is the index of its class. Texts in nested folders belong to the
/// sub-folder above them. Hidden files and folders are skipped. The order is that of the paths;
/// [`shuffled`](Self::shuffled) mixes it.
///
/// ```no_run
/// use brasa::datasets::{Source, TextFolder};
/// let reviews = TextFolder::open("reviews")?.shuffled(42);
/// println!("{} texts of {:?}", reviews.len(), reviews.class_names());
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TextFolder {
    class_names: Vec<String>,
    /// Each text with its class index.
    texts: Vec<(PathBuf, usize)>,
}

impl TextFolder {
    /// Lists the texts in a folder.
    ///
    /// # Errors
    /// [`Error::Io`] if a folder cannot be read, [`Error::Data`] if there is no text.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let (mut class_names, mut texts) = (Vec::new(), Vec::new());
        let classes: Vec<_> = entries(folder, &mut 0)?.into_iter().filter(|(_, path)| path.is_dir()).collect();
        check_apart(folder, &classes)?;
        for (name, path) in classes {
            list(&path, class_names.len(), &mut texts)?;
            class_names.push(name);
        }
        if texts.is_empty() {
            let expected = "a folder for each class, with texts in it (`.txt`)";
            return Err(Error::data(format!("text folder `{}`", folder.display()), expected, "no text"));
        }
        Ok(Self { class_names, texts })
    }

    /// Whether a folder has one sub-folder of texts per class, and no image: next to images, texts are notes.
    pub fn is_one(folder: impl AsRef<Path>) -> bool {
        let folder = folder.as_ref();
        let classes = || entries(folder, &mut 0).unwrap_or_default().into_iter().filter(|(_, path)| path.is_dir());
        Self::open(folder).is_ok() && !classes().any(|(_, class)| has_image(&class))
    }

    /// The same texts in an order that depends on `seed` alone.
    #[must_use]
    pub fn shuffled(mut self, seed: u64) -> Self {
        shuffle(&mut self.texts, seed);
        self
    }

    /// The texts in their order, each with the number of its class.
    pub fn texts(&self) -> &[(PathBuf, usize)] {
        &self.texts
    }

    /// The names of the classes, in the order of their indices.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }
}

/// Whether there is an image in a folder or below it.
fn has_image(folder: &Path) -> bool {
    let is_folder = |path: &Path| fs::symlink_metadata(path).is_ok_and(|kind| kind.is_dir());
    let entries = entries(folder, &mut 0).unwrap_or_default();
    entries.into_iter().any(|(_, path)| if is_folder(&path) { has_image(&path) } else { is_image(&path) })
}

/// Adds the texts in a class's folder and below it. Links to folders are not followed: they can form cycles.
fn list(folder: &Path, class: usize, texts: &mut Vec<(PathBuf, usize)>) -> Result<()> {
    for (_, path) in entries(folder, &mut 0)? {
        let kind = fs::symlink_metadata(&path).map_err(Error::io("read", &path))?;
        if kind.is_dir() {
            list(&path, class, texts)?;
        } else if extension(&path) == "txt" && path.is_file() {
            texts.push((path, class));
        }
    }
    Ok(())
}

impl Source for TextFolder {
    fn len(&self) -> usize {
        self.texts.len()
    }

    fn x_shape(&self) -> &[usize] {
        &[]
    }

    fn y_shape(&self) -> &[usize] {
        &[]
    }

    fn read(&self, _: &[usize], _: &mut [f32], _: &mut [f32]) -> Result<()> {
        Err(Error::data("samples", "numbers", "texts"))
    }

    fn read_columns(&self, indices: &[usize], y: &mut [&mut [f32]]) -> Result<Option<Vec<Column>>> {
        check_request(indices, self.len(), &[], indices.len())?;
        if let [y] = y {
            check_request(indices, self.len(), &[], y.len())?;
            y.iter_mut().zip(indices).for_each(|(y, &index)| *y = self.texts[index].1 as f32);
        }
        let texts: Vec<String> =
            indices.par_iter().map(|index| read_text(&self.texts[*index].0, MOST_BYTES)).collect::<Result<_>>()?;
        Ok(Some(vec![texts.into()]))
    }

    /// From the classes, and the name and length of each text, in order.
    fn fingerprint(&self) -> Result<Option<u64>> {
        let mut sum = Fingerprint::new();
        self.class_names.iter().for_each(|name| sum.add_bytes(name.as_bytes()));
        for (path, class) in &self.texts {
            sum.add(*class as u64);
            sum.add_bytes(path.file_name().unwrap_or_default().as_encoded_bytes());
            sum.add_length(path)?;
        }
        Ok(Some(sum.finish()))
    }
}

/// Reads a text column and the targets next to it from a CSV file whose first line names its columns, or from a Parquet
/// file (feature `parquet`). The targets are
/// in the column `target`, or in the last one: numbers, or class names, which are indexed in alphabetical order. Also
/// returns the class names.
///
/// ```no_run
/// let (reviews, classes) = brasa::datasets::load_text_csv("reviews.csv", "review", Some("sentiment"))?;
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] if the file cannot be opened, [`Error::Broken`] with the line of an error, [`Error::UnknownName`] for
/// an unknown column.
pub fn load_text_csv(path: impl AsRef<Path>, text: &str, target: Option<&str>) -> Result<(Dataset, Vec<String>)> {
    let path = path.as_ref();
    let mut table = TextTable::open(path)?;
    let text = table.column(text)?;
    let target = match target {
        Some(name) => table.column(name)?,
        None => table.names.len() - 1,
    };
    if text == target {
        return Err(Error::argument("target", "another column than that of the texts", &table.names[target]));
    }
    table.want(&[text, target]);
    let (mut texts, mut targets) = (Vec::new(), Vec::new());
    while let Some(row) = table.next()? {
        texts.push(row[text].to_owned());
        targets.push((row[target].trim().to_owned(), table.line));
    }
    let numbers: Option<Vec<f32>> =
        targets.iter().map(|(target, _)| target.parse().ok().filter(|number: &f32| number.is_finite())).collect();
    if let Some(numbers) = numbers {
        return Ok((Dataset::new(texts, numbers)?, Vec::new()));
    }
    if let Some((_, line)) = targets.iter().find(|(target, _)| target.is_empty()) {
        let at = format!("line {line}, column {}", target + 1);
        return Err(Error::broken(path.display().to_string(), at, "expected a target, found nothing"));
    }
    let mut classes: Vec<String> = targets.iter().map(|(target, _)| target.clone()).collect();
    classes.sort_unstable();
    classes.dedup();
    if classes.len() > MOST_CLASSES {
        let what = format!("{} classes in `{}`", classes.len(), path.display());
        return Err(Error::unsupported(what, format!("up to {MOST_CLASSES}")));
    }
    let number = |(target, _): &(String, u64)| classes.binary_search(target).unwrap_or(0) as f32;
    let numbers: Vec<f32> = targets.iter().map(number).collect();
    Ok((Dataset::new(texts, numbers)?, classes))
}

/// Shuffles texts with their targets by a function of `seed` and their number alone.
#[cfg(feature = "recipes")]
pub(crate) fn texts_shuffled(data: &Dataset, seed: u64) -> Result<Dataset> {
    let mut order: Vec<usize> = (0..data.len()).collect();
    shuffle(&mut order, seed);
    let mut y = vec![0.0; order.len()];
    match data.read_columns(&order, &mut [&mut y])?.as_deref() {
        Some([column]) => Dataset::new(column.texts()?.to_vec(), y),
        _ => Err(Error::data("samples", "one column of texts", "others")),
    }
}

/// The rows of a table.
enum TextRows {
    Csv(Reader<fs::File>),
    #[cfg(feature = "parquet")]
    Parquet(Box<ParquetRows>),
}

/// A CSV file whose first line names its columns, or a Parquet file.
struct TextTable {
    rows: TextRows,
    file: String,
    names: Vec<String>,
    record: StringRecord,
    line: u64,
}

/// What stands between the names of columns in the first line of a file. Texts have any of these in them, names hardly.
fn separator_in(file: &mut fs::File) -> std::io::Result<u8> {
    /// How much of a file is looked at.
    const START: u64 = 1 << 16;
    let mut start = Vec::new();
    file.take(START).read_to_end(&mut start)?;
    file.rewind()?;
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok([b',', b';', b'\t', b'|'].into_iter().find(|separator| line.contains(separator)).unwrap_or(b','))
}

impl TextTable {
    fn open(path: &Path) -> Result<Self> {
        if is_parquet(path) {
            return Self::open_parquet(path);
        }
        let (mut file, length) = open_file(path)?;
        check_room("the texts of a table", usize::try_from(length / 4).unwrap_or(usize::MAX))?;
        let separator = match ["tsv", "tab"].contains(&extension(path).as_str()) {
            true => b'\t',
            false => separator_in(&mut file).map_err(Error::io("read", path))?,
        };
        let reader = ReaderBuilder::new().has_headers(false).delimiter(separator).from_reader(file);
        let file = path.display().to_string();
        let mut table =
            Self { rows: TextRows::Csv(reader), file, names: Vec::new(), record: StringRecord::new(), line: 1 };
        let names = table.next()?.map(|names| names.iter().map(|name| name.trim().to_owned()).collect());
        table.names = names.unwrap_or_default();
        if let Some(first) = table.names.first_mut()
            && let Some(rest) = first.strip_prefix('\u{feff}')
        {
            *first = rest.to_owned();
        }
        match table.names.is_empty() {
            true => Err(Error::broken(table.file, "line 1", "expected the names of columns, found nothing")),
            false => Ok(table),
        }
    }

    #[cfg(not(feature = "parquet"))]
    fn open_parquet(path: &Path) -> Result<Self> {
        Err(without_parquet(path))
    }

    #[cfg(feature = "parquet")]
    fn open_parquet(path: &Path) -> Result<Self> {
        let rows = ParquetRows::open(path)?;
        let (file, names) = (path.display().to_string(), rows.names().to_vec());
        match names.is_empty() {
            true => Err(Error::broken(file, "its schema", "expected a column or more, received none")),
            false => {
                Ok(Self { rows: TextRows::Parquet(Box::new(rows)), file, names, record: StringRecord::new(), line: 0 })
            }
        }
    }

    /// The index of a column.
    fn column(&self, name: &str) -> Result<usize> {
        let mut found = self.names.iter().enumerate().filter(|(_, own)| *own == name).map(|(index, _)| index);
        match (found.next(), found.next()) {
            (Some(index), None) => self.readable(index),
            (Some(_), Some(_)) => Err(Error::broken(&self.file, "line 1", format!("two columns are called `{name}`"))),
            (None, _) => Err(Error::unknown("column", name, &self.names)),
        }
    }

    /// Refuses a column whose values cannot be read.
    fn readable(&self, column: usize) -> Result<usize> {
        match &self.rows {
            TextRows::Csv(_) => Ok(column),
            #[cfg(feature = "parquet")]
            TextRows::Parquet(rows) => match rows.unreadable(column) {
                Some(what) => {
                    let at = format!("column `{}`", self.names[column]);
                    Err(Error::broken(&self.file, at, format!("expected texts or numbers, received {what}")))
                }
                None => Ok(column),
            },
        }
    }

    /// Reads these columns alone, where others need not be decoded.
    fn want(&mut self, columns: &[usize]) {
        match &mut self.rows {
            TextRows::Csv(_) => {
                let _ = columns;
            }
            #[cfg(feature = "parquet")]
            TextRows::Parquet(rows) => rows.want(&columns.iter().copied().collect()),
        }
    }

    fn next(&mut self) -> Result<Option<&StringRecord>> {
        #[cfg_attr(not(feature = "parquet"), allow(clippy::infallible_destructuring_match))]
        let reader = match &mut self.rows {
            TextRows::Csv(reader) => reader,
            #[cfg(feature = "parquet")]
            TextRows::Parquet(rows) => {
                self.line += 1;
                return Ok(rows.read_record(&mut self.record)?.then_some(&self.record));
            }
        };
        let more = reader.read_record(&mut self.record);
        let line = self.record.position().map_or(self.line, csv::Position::line);
        self.line = line;
        let more = more.map_err(|error| {
            let line = error.position().map_or(line, csv::Position::line);
            Error::broken(&self.file, format!("line {line}"), error)
        })?;
        Ok(more.then_some(&self.record))
    }
}

/// A text to predict for, and its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Text {
    /// The file, with the line if it contains several texts.
    pub place: String,
    /// The text.
    pub text: String,
}

/// The texts in a file: a `.csv` or `.parquet` has one per row, in the column `column` (by default `text`, or the only one); a
/// `.jsonl` has one per line, a string or an object with that key; any other file is one text. `-` is the standard
/// input, one text per line.
///
/// ```
/// use brasa::datasets::load_texts;
/// let file = tempfile::Builder::new().suffix(".jsonl").tempfile().unwrap();
/// std::fs::write(file.path(), "\"one\"\n{\"text\": \"two\"}\n").unwrap();
/// let texts: Vec<String> = load_texts(file.path(), None)?.into_iter().map(|text| text.text).collect();
/// assert_eq!(texts, ["one", "two"]);
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::Broken`] with the line of an error, [`Error::UnknownName`] for an
/// unknown column.
pub fn load_texts(path: impl AsRef<Path>, column: Option<&str>) -> Result<Vec<Text>> {
    let path = path.as_ref();
    let file = path.display().to_string();
    let at = |line: u64| format!("{file}:{line}");
    match extension(path).as_str() {
        _ if path == Path::new("-") => lines("-", std::io::stdin().lock(), |line| Ok(line.to_owned())),
        "csv" | "tsv" | "tab" | "parquet" | "pq" => {
            let mut table = TextTable::open(path)?;
            let column = match (column, &table.names[..]) {
                (None, [_]) => table.readable(0)?,
                (column, _) => table.column(column.unwrap_or("text"))?,
            };
            table.want(&[column]);
            let mut texts = Vec::new();
            while let Some(row) = table.next()? {
                let text = row[column].to_owned();
                texts.push(Text { place: at(table.line), text });
            }
            Ok(texts)
        }
        "jsonl" | "ndjson" => {
            let key = column.unwrap_or("text");
            lines(&file, BufReader::new(open_file(path)?.0), |line| {
                let value: serde_json::Value =
                    serde_json::from_str(line).map_err(|error| format!("not JSON: {error}"))?;
                let text = value.as_str().or_else(|| value.get(key)?.as_str());
                text.map(str::to_owned).ok_or_else(|| format!("expected a string, or an object with `{key}`"))
            })
        }
        _ => Ok(vec![Text { place: file, text: read_text(path, MOST_BYTES)? }]),
    }
}

/// The texts on lines; empty lines are skipped.
fn lines(
    file: &str,
    mut reader: impl BufRead,
    text: impl Fn(&str) -> std::result::Result<String, String>,
) -> Result<Vec<Text>> {
    let mut texts = Vec::new();
    for number in 1u64.. {
        let mut line = Vec::new();
        let count =
            reader.by_ref().take(MOST_BYTES + 1).read_until(b'\n', &mut line).map_err(Error::io("read", file))?;
        if count == 0 {
            break;
        }
        let at = format!("line {number}");
        if line.len() as u64 > MOST_BYTES {
            return Err(Error::unsupported(format!("{at} of `{file}`"), format!("lines of up to {MOST_BYTES} bytes")));
        }
        let Ok(line) = String::from_utf8(line) else { return Err(Error::broken(file, at, "it is not UTF-8")) };
        let line = line.trim_end_matches(['\r', '\n']);
        if !line.trim().is_empty() {
            let text = text(line).map_err(|reason| Error::broken(file, at, reason))?;
            texts.push(Text { place: format!("{file}:{number}"), text });
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::Cells;

    fn written(name: &str, content: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        (folder, path)
    }

    #[test]
    fn a_column_of_texts_and_classes_by_name() {
        let (_folder, path) = written("t.csv", "\u{feff}text,stars,mood\n\"good, cheap\",5,happy\nbad,1,angry\n");
        let (data, classes) = load_text_csv(&path, "text", None).unwrap();
        assert_eq!(classes, ["angry", "happy"]);
        assert_eq!(data.y().to_vec_f32(), [1.0, 0.0]);
        assert_eq!(data.x().gather_column(&[0]).unwrap(), ["good, cheap"].into());
        let (data, classes) = load_text_csv(&path, "text", Some("stars")).unwrap();
        assert_eq!((data.y().to_vec_f32(), classes.len()), (vec![5.0, 1.0], 0));
        assert!(load_text_csv(&path, "texts", None).unwrap_err().to_string().contains("did you mean `text`"));
        assert!(load_text_csv(&path, "mood", None).is_err());
        let (_folder, path) = written("t.csv", "text;mood\n\"good, cheap\";happy\nso, so;angry\n");
        let (data, classes) = load_text_csv(&path, "text", None).unwrap();
        assert_eq!((data.y().to_vec_f32(), classes.len()), (vec![1.0, 0.0], 2));
        assert_eq!(data.x().gather_column(&[1]).unwrap(), ["so, so"].into());
        let (_folder, path) = written("t.csv", "text,mood\na,x\nb,\n");
        assert!(load_text_csv(&path, "text", None).unwrap_err().to_string().contains("line 3"));
        let (_folder, path) = written("t.csv", "text,mood\na\n");
        assert!(load_text_csv(&path, "text", None).unwrap_err().to_string().contains("line 2"));
    }

    #[test]
    fn texts_of_every_format() {
        let texts = |name: &str, content: &str, column: Option<&str>| {
            let (_folder, path) = written(name, content);
            load_texts(&path, column).map(|texts| texts.into_iter().map(|text| text.text).collect::<Vec<_>>())
        };
        assert_eq!(texts("a.txt", "one\ntwo\n", None).unwrap(), ["one\ntwo\n"]);
        assert_eq!(texts("a.csv", "id,text\n1,x\n2,y\n", None).unwrap(), ["x", "y"]);
        assert_eq!(texts("a.csv", "id,said\n1,x\n", Some("said")).unwrap(), ["x"]);
        assert_eq!(texts("a.tsv", "said\nx,y\n", None).unwrap(), ["x,y"]);
        assert_eq!(texts("a.jsonl", "\"x\"\n\n{\"text\":\"y\"}\n", None).unwrap(), ["x", "y"]);
        let error = texts("a.jsonl", "\"x\"\n3\n", None).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("`text`"), "{error}");
        assert!(texts("a.csv", "id,said\n1,x\n", None).is_err());
    }

    #[test]
    fn a_folder_of_texts() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("b/1.txt", "eins"), ("a/deep/2.txt", "zwei"), ("a/.hidden.txt", "no"), ("a/3.png", "no")]
        {
            fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            fs::write(folder.path().join(name), text).unwrap();
        }
        assert!(!TextFolder::is_one(folder.path()));
        fs::remove_file(folder.path().join("a/3.png")).unwrap();
        fs::write(folder.path().join("cover.png"), "no").unwrap();
        assert!(TextFolder::is_one(folder.path()));
        let texts = TextFolder::open(folder.path()).unwrap();
        assert_eq!((texts.class_names(), texts.len()), (&["a".to_owned(), "b".to_owned()][..], 2));
        let mut y = [0.0; 2];
        let columns = texts.read_columns(&[1, 0], &mut [&mut y]).unwrap().unwrap();
        assert_eq!((columns[0].cells(), y), (&Cells::Text(vec!["eins".into(), "zwei".into()]), [1.0, 0.0]));
        assert!(texts.read(&[0], &mut [0.0], &mut [0.0]).is_err());
        assert!(matches!(texts.read_columns(&[99], &mut []), Err(Error::Argument { .. })));
        assert!(TextFolder::open(folder.path().join("b")).is_err());
    }
}
