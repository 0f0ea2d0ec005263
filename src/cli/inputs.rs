//! The inputs to predict from files, folders, patterns and standard input, one after another.

use std::collections::{HashSet, VecDeque};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use brasa::datasets::{
    Csv, NpyFile, Npz, PixelRange, ReadImage, Rows, TableInfo, TableRows, Window, is_image, load_npy,
};
use brasa::recipe::image_shape;
use brasa::{Error, Model, Result};
use rayon::prelude::*;
use tempfile::NamedTempFile;

/// The argument for standard input.
pub const STDIN: &str = "-";

/// The most bytes of standard input.
const MOST_STDIN: u64 = 8 << 30;

/// An input: its name, and its numbers or the error.
pub struct NamedInput {
    pub name: String,
    pub values: Result<Vec<f32>>,
}

/// A text's name, and the text or the error.
pub type NamedText = (String, Result<String>);

/// A source of inputs.
enum InputSource {
    Image { name: String, path: PathBuf },
    Array { name: String, rows: Box<dyn Rows>, next: usize },
    Table { name: String, rows: Box<TableRows>, window: Option<Series>, silent: bool },
    Wrong { name: String, error: Error },
}

/// The last rows of a table that is read in windows.
struct Series {
    window: Window,
    rows: VecDeque<Vec<f32>>,
    /// Rows until the next window ends.
    wait: usize,
}

/// All inputs in order.
pub struct InputReader {
    sources: VecDeque<InputSource>,
    reader: ReadImage,
    width: usize,
    pixels: PixelRange,
    invert: bool,
    /// Whether any of them is an image.
    pub has_images: bool,
    /// Whether any is a table.
    pub has_tables: bool,
    /// Whether any cannot be opened, whatever it is.
    pub has_wrong: bool,
    /// The number of inputs, if known without reading them.
    pub count: Option<usize>,
    /// Notes for the user.
    pub notes: Vec<String>,
    /// The texts, for a model of texts; there are no other inputs then.
    texts: Option<Vec<NamedText>>,
    /// Standard input, copied to a file that lives as long as it is read.
    _stdin: Option<NamedTempFile>,
}

impl InputReader {
    /// Text inputs, for a model of texts.
    pub fn of_texts(texts: Vec<NamedText>) -> Self {
        Self {
            sources: VecDeque::new(),
            reader: ReadImage::new((1, 1, 1)),
            width: 0,
            pixels: PixelRange::ZeroToOne,
            invert: false,
            has_images: false,
            has_tables: false,
            has_wrong: false,
            count: Some(texts.len()),
            notes: Vec::new(),
            texts: Some(texts),
            _stdin: None,
        }
    }

    /// Whether the inputs are texts.
    pub fn are_texts(&self) -> bool {
        self.texts.is_some()
    }

    /// Takes the texts.
    pub fn take_texts(&mut self) -> Vec<NamedText> {
        self.texts.replace(Vec::new()).unwrap_or_default()
    }

    /// Finds the inputs that the arguments name.
    ///
    /// # Errors
    /// Those of standard input, and of a model that takes no such inputs. Errors of a file are reported as its input.
    pub fn find(arguments: &[PathBuf], model: &Model, invert: bool, csv: &Csv) -> Result<Self> {
        let sample = model.input_shape()?.sample().to_vec();
        let width = sample.iter().copied().try_fold(1usize, |count, size| count.checked_mul(size?));
        let pixels = model.pixel_range();
        let shape = image_shape(model.input_shape().ok());
        let (mut sources, mut stdin, mut notes) = (VecDeque::new(), None, Vec::new());
        let width = width.ok_or_else(|| {
            let expected = "known sizes, for inputs from files (or --input and --output)";
            Error::argument(
                "input_shape",
                expected,
                model.input_shape().map_or_else(|_| String::new(), |shape| shape.to_string()),
            )
        });
        let info = model.data_info().table.clone();
        let opener = Opener { width: width.as_ref().ok().copied(), info: info.as_ref(), csv };
        for argument in arguments {
            if argument == Path::new(STDIN) {
                if stdin.is_some() {
                    return Err(Error::argument("INPUT", "standard input (`-`) once", "twice"));
                }
                let file = spool()?;
                sources.push_back(opener.open(STDIN.to_owned(), file.path(), &mut notes));
                stdin = Some(file);
                continue;
            }
            match expand(argument) {
                Ok(paths) => {
                    for path in paths {
                        sources.push_back(opener.open(path.display().to_string(), &path, &mut notes));
                    }
                }
                Err(error) => sources.push_back(InputSource::Wrong { name: argument.display().to_string(), error }),
            }
        }
        let has_images = sources.iter().any(|source| matches!(source, InputSource::Image { .. }));
        let has_tables = sources.iter().any(|source| matches!(source, InputSource::Table { .. }));
        let has_wrong = sources.iter().any(|source| matches!(source, InputSource::Wrong { .. }));
        let shape = if has_images { shape? } else { shape.unwrap_or((1, 1, 1)) };
        let counted = sources.iter().map(|source| match source {
            InputSource::Image { .. } | InputSource::Wrong { .. } => Some(1),
            InputSource::Array { rows, .. } => Some(rows.len()),
            InputSource::Table { .. } => None,
        });
        let count = counted.sum::<Option<usize>>();
        let reader = ReadImage::new(shape).pixels(pixels);
        Ok(Self {
            sources,
            reader,
            width: width?,
            pixels,
            invert,
            has_images,
            has_tables,
            has_wrong,
            count,
            notes,
            texts: None,
            _stdin: stdin,
        })
    }

    /// The next inputs in order, `most` at most; empty at the end. Those that are only counted have no numbers.
    pub fn batch(&mut self, most: usize, only_count: bool) -> Vec<NamedInput> {
        let mut batch = Vec::new();
        while batch.len() < most && !self.sources.is_empty() {
            let images = self.sources.iter().take(most - batch.len());
            let images = images.take_while(|source| matches!(source, InputSource::Image { .. })).count();
            if images > 0 {
                let sources: Vec<InputSource> = self.sources.drain(..images).collect();
                batch.par_extend(sources.par_iter().filter_map(|source| match source {
                    InputSource::Image { name, path } => {
                        let values = if only_count { Ok(Vec::new()) } else { self.image(path) };
                        Some(NamedInput { values, name: name.clone() })
                    }
                    _ => None,
                }));
                continue;
            }
            let Some(source) = self.sources.front_mut() else { break };
            match source.next(self.width) {
                Some(input) => batch.push(input),
                None => drop(self.sources.pop_front()),
            }
        }
        batch
    }

    fn image(&self, path: &Path) -> Result<Vec<f32>> {
        let mut values = self.reader.file(path)?;
        if self.invert {
            let turned = |value: f32| self.pixels.of_share(1.0 - self.pixels.share_of(value));
            values.iter_mut().for_each(|value| *value = turned(*value));
        }
        Ok(values)
    }
}

impl InputSource {
    /// The next input of this source.
    fn next(&mut self, width: usize) -> Option<NamedInput> {
        match self {
            Self::Image { .. } => None,
            Self::Wrong { name, error } => {
                let error = std::mem::replace(error, Error::Syntax(String::new()));
                // Reported once.
                let input = NamedInput { name: std::mem::take(name), values: Err(error) };
                (!input.name.is_empty()).then_some(input)
            }
            Self::Array { name, rows, next } => {
                let index = *next;
                if index >= rows.len() {
                    return None;
                }
                *next += 1;
                let own = rows.sample_shape().iter().product::<usize>();
                let values = if own == width {
                    let mut values = vec![0.0; width];
                    rows.gather(&[index], &mut values).map(|()| values)
                } else {
                    let expected = format!("{width} numbers a sample, as the model takes");
                    Err(Error::data(format!("`{name}`"), expected, format!("{own} of shape {:?}", rows.sample_shape())))
                };
                Some(NamedInput { name: format!("{name}[{index}]"), values })
            }
            Self::Table { name, rows, window, silent } => match of_table(name, rows, window.as_mut()) {
                Some(input) => {
                    *silent = false;
                    Some(input)
                }
                // Without an error it would be skipped silently.
                None if std::mem::take(silent) => {
                    let expected = match window {
                        Some(series) => format!("at least {} rows, as the model's windows need", series.window.span()),
                        None => "at least one row".to_owned(),
                    };
                    let received = window.as_ref().map_or(0, |series| series.rows.len());
                    let error = Error::data(format!("the table `{name}`"), expected, received);
                    Some(NamedInput { name: name.clone(), values: Err(error) })
                }
                None => None,
            },
        }
    }
}

/// The next input of a table.
fn of_table(name: &str, rows: &mut TableRows, mut window: Option<&mut Series>) -> Option<NamedInput> {
    loop {
        let (line, values) = rows.next()?;
        let name = format!("{name}:{line}");
        match (values, &mut window) {
            (Ok(row), Some(series)) => match series.push(row) {
                Some(values) => return Some(NamedInput { name, values: Ok(values) }),
                None => continue,
            },
            (Err(error), Some(series)) => {
                // No window spans a broken row.
                series.rows.clear();
                return Some(NamedInput { name, values: Err(error) });
            }
            (values, None) => return Some(NamedInput { name, values }),
        }
    }
}

impl Series {
    /// The window that ends with this row, if one does.
    fn push(&mut self, row: Vec<f32>) -> Option<Vec<f32>> {
        if self.rows.is_empty() {
            self.wait = self.window.span();
        }
        self.rows.push_back(row);
        self.wait = self.wait.saturating_sub(1);
        if self.rows.len() > self.window.span() {
            self.rows.pop_front();
        }
        if self.wait > 0 {
            return None;
        }
        self.wait = self.window.step();
        Some(self.rows.iter().step_by(self.window.rate()).flatten().copied().collect())
    }
}

/// Opens files by their format.
struct Opener<'a> {
    /// Numbers in one input.
    width: Option<usize>,
    info: Option<&'a TableInfo>,
    csv: &'a Csv,
}

impl Opener<'_> {
    fn open(&self, name: String, path: &Path, notes: &mut Vec<String>) -> InputSource {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        let opened = match extension.as_deref() {
            Some("csv" | "tsv" | "tab" | "parquet" | "pq") => self.table(&name, path, notes),
            Some("npy") => rows(path).map(|rows| InputSource::Array { name: name.clone(), rows, next: 0 }),
            Some("npz") => samples(path).map(|rows| InputSource::Array { name: name.clone(), rows, next: 0 }),
            _ => return InputSource::Image { name, path: path.to_owned() },
        };
        opened.unwrap_or_else(|error| InputSource::Wrong { name, error })
    }

    fn table(&self, name: &str, path: &Path, notes: &mut Vec<String>) -> Result<InputSource> {
        let width = self.width.unwrap_or(0);
        let window = self.info.and_then(|info| info.window);
        // In a window each row is one step.
        let columns = window.map_or(width, |window| width / window.length().max(1));
        let csv = self.info.into_iter().fold(self.csv.clone(), |csv, info| csv.like(info));
        let rows = Box::new(csv.rows(path, columns)?);
        notes.extend(rows.note().map(str::to_owned));
        let window = window.map(|window| Series { window, rows: VecDeque::new(), wait: 0 });
        Ok(InputSource::Table { name: name.to_owned(), rows, window, silent: true })
    }
}

/// The inputs of an `.npy` file, read batch by batch. In Fortran order, in which a sample is scattered over the file,
/// the whole file is loaded.
pub fn rows(path: &Path) -> Result<Box<dyn Rows>> {
    match NpyFile::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(Error::Unsupported { .. }) => Ok(Box::new(load_npy(path)?)),
        Err(error) => Err(error),
    }
}

/// The only array of an archive, or its array `x`.
fn samples(path: &Path) -> Result<Box<dyn Rows>> {
    let mut file = Npz::open(path)?;
    let names = file.names().to_vec();
    let name = match &names[..] {
        [only] => only.clone(),
        names if names.iter().any(|name| name == "x") => "x".to_owned(),
        names => {
            let received = names.join(", ");
            return Err(Error::data(format!("`{}`", path.display()), "one array, or an array `x`", received));
        }
    };
    Ok(Box::new(file.read(&name)?))
}

/// The files that an argument stands for: itself, the images in a folder, or the matches of a pattern.
fn expand(argument: &Path) -> Result<Vec<PathBuf>> {
    if argument.is_dir() {
        let mut found = Vec::new();
        list(argument, &mut found)?;
        if found.is_empty() {
            return Err(Error::data(format!("the folder `{}`", argument.display()), "images in it", "none"));
        }
        return Ok(found);
    }
    let text = argument.to_string_lossy();
    if argument.exists() || !text.contains(['*', '?', '[']) {
        return Ok(vec![argument.to_owned()]);
    }
    let pattern = |error: glob::PatternError| Error::argument("INPUT", "a pattern of file names", error);
    let mut found: Vec<PathBuf> = Vec::new();
    // As in a shell, hidden files are matched only if the pattern names them.
    let given = text.split(std::path::is_separator).filter(|part| part.starts_with('.') || *part == "__MACOSX");
    let given: Vec<glob::Pattern> = given.filter_map(|part| glob::Pattern::new(part).ok()).collect();
    let hidden = |part: std::path::Component<'_>| match part {
        std::path::Component::Normal(name) => {
            let name = name.to_string_lossy();
            (name.starts_with('.') || name == "__MACOSX") && !given.iter().any(|part| part.matches(&name))
        }
        _ => false,
    };
    for path in glob::glob(&text).map_err(pattern)? {
        let path = path.map_err(|error| {
            let path = error.path().to_owned();
            Error::io("read", path)(error.into())
        })?;
        if path.components().any(hidden) {
            continue;
        }
        if path.is_dir() { list(&path, &mut found)? } else { found.push(path) }
    }
    // `**` matches a folder and the files in it.
    let mut seen = HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    if found.is_empty() {
        return Err(Error::data("the pattern", "files that fit it", "none"));
    }
    Ok(found)
}

/// Adds the images in a folder and its subfolders, by name, without hidden ones; links to folders are not followed.
fn list(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>();
    let paths = paths.as_mut().map_err(|error| Error::io("read", folder)(error.kind().into()))?;
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || name == "__MACOSX" {
            continue;
        }
        let kind = std::fs::symlink_metadata(&*path).map_err(Error::io("read", &*path))?;
        if kind.is_dir() {
            list(path, found)?;
        } else if is_image(path) && path.is_file() {
            found.push(path.clone());
        }
    }
    Ok(())
}

/// Copies standard input to a file with an extension for its content: an array, an image, or else a table.
fn spool() -> Result<NamedTempFile> {
    let fault = Error::io("read", "standard input");
    let mut start = Vec::new();
    let mut stdin = std::io::stdin().lock();
    if let Err(error) = (&mut stdin).take(16).read_to_end(&mut start) {
        return Err(fault(error));
    }
    let ending = ending(&start);
    let copied = (|| {
        let mut file = tempfile::Builder::new().prefix("brasa-").suffix(ending).tempfile()?;
        file.write_all(&start)?;
        let count = std::io::copy(&mut stdin.take(MOST_STDIN + 1), &mut file)?;
        if count > MOST_STDIN {
            return Err(std::io::Error::other(format!("more than {MOST_STDIN} bytes")));
        }
        file.flush()?;
        file.rewind()?;
        Ok(file)
    })();
    copied.map_err(fault)
}

/// The file extension for the first bytes of a file.
fn ending(start: &[u8]) -> &'static str {
    match start {
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => ".npy",
        [b'P', b'K', 3, 4, ..] => ".npz",
        [0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, 0xff, ..] | [b'G', b'I', b'F', b'8', ..] => ".png",
        [b'R', b'I', b'F', b'F', ..] => ".png",
        // A table's header can begin with these two letters, but contains no zeros.
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => ".png",
        _ => ".csv",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_header_is_not_a_bitmap() {
        assert_eq!(ending(b"BMI,age,height,y"), ".csv");
        assert_eq!(ending(b"BM\x36\x10\0\0\0\0\0\0\x36\0\0\0\x28\0"), ".png");
        assert_eq!((ending(b"BM"), ending(b"\x93NUMPY\x01\0")), (".csv", ".npy"));
    }

    #[test]
    fn patterns_skip_hidden_files_and_duplicates() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a/1.png", "a/.2.png", ".b/3.png", "__MACOSX/4.png", "a/c/5.png", ".6.png"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = |pattern: &str| -> Vec<String> {
            let paths = expand(&folder.path().join(pattern)).unwrap();
            let name = |path: PathBuf| path.strip_prefix(folder.path()).unwrap().to_string_lossy().replace('\\', "/");
            let mut names: Vec<String> = paths.into_iter().map(name).collect();
            names.sort();
            names
        };
        assert_eq!(found("*"), ["a/1.png", "a/c/5.png"]);
        assert_eq!(found("**/*"), ["a/1.png", "a/c/5.png"]);
        assert_eq!(found("*/*.png"), ["a/1.png"]);
        assert_eq!(found(".*.png"), [".6.png"]);
        assert_eq!(found("__MACOSX/*"), ["__MACOSX/4.png"]);
    }
}
