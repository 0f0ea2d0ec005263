//! `.keras`: a ZIP archive of `metadata.json`, `config.json` and `model.weights.h5`, read in memory.

use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use zip::read::ZipReadOptions;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::json::{self, to_python_json};
use super::limits::{EXPANSION_FREE_BYTES, Limits};
use super::weights::{WeightTree, WeightsFile, WriteFault};
use super::{hdf5, name_of};
use crate::error::{Error, Result};
use crate::formats::atomic::write_atomically;
use crate::formats::regular::{Content, open_file};

const METADATA: &str = "metadata.json";
const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.weights.h5";
/// The model's data info; Keras ignores unknown members.
const INFO: &str = "brasa.json";

/// Writes a `.keras` file atomically.
///
/// The members are stored uncompressed in Keras's order with a fixed date: the same model yields the same bytes.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn write_keras(path: impl AsRef<Path>, metadata: &Value, config: &Value, weights: &WeightTree) -> Result<()> {
    let path = path.as_ref();
    write_atomically(path, |file| {
        write_members(file, metadata, config, None, weights).map_err(|fault| fault.about(path))
    })
}

/// As [`write_keras`], with the model's data info as the member `brasa.json`.
///
/// # Errors
/// As [`write_keras`].
pub fn write_keras_with_info(
    path: impl AsRef<Path>,
    metadata: &Value,
    config: &Value,
    info: &Value,
    weights: &WeightTree,
) -> Result<()> {
    let path = path.as_ref();
    write_atomically(path, |file| {
        write_members(file, metadata, config, Some(info), weights).map_err(|fault| fault.about(path))
    })
}

/// As [`write_keras_to`], with what the model knows of its data, if anything.
pub(crate) fn write_keras_members(
    sink: impl Write + Seek,
    path: &Path,
    metadata: &Value,
    config: &Value,
    info: Option<&Value>,
    weights: &WeightTree,
) -> Result<()> {
    write_members(sink, metadata, config, info, weights).map_err(|fault| fault.about(path))
}

/// Writes the content of a `.keras` file to `sink`; `path` is the file's name in messages.
///
/// # Errors
/// [`Error::Io`] with the sink's error.
pub fn write_keras_to(
    sink: impl Write + Seek,
    path: impl AsRef<Path>,
    metadata: &Value,
    config: &Value,
    weights: &WeightTree,
) -> Result<()> {
    write_members(sink, metadata, config, None, weights).map_err(|fault| fault.about(path.as_ref()))
}

fn write_members(
    sink: impl Write + Seek,
    metadata: &Value,
    config: &Value,
    info: Option<&Value>,
    weights: &WeightTree,
) -> Result<(), WriteFault> {
    let mut sink = Quiet { inner: sink, fault: None, position: 0 };
    let written = fill(&mut sink, metadata, config, info, weights);
    match sink.fault {
        Some(fault) => Err(fault.into()),
        None => written,
    }
}

fn fill(
    sink: impl Write + Seek,
    metadata: &Value,
    config: &Value,
    info: Option<&Value>,
    weights: &WeightTree,
) -> Result<(), WriteFault> {
    let mut zip = ZipWriter::new(sink);
    let plain = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).unix_permissions(0o600);
    for (name, value) in [(METADATA, metadata), (CONFIG, config)].into_iter().chain(info.map(|info| (INFO, info))) {
        zip.start_file(name, plain).map_err(io_of)?;
        zip.write_all(to_python_json(value).as_bytes())?;
    }
    // Its size is not known in advance; the ZIP64 header that 4 GiB require is valid at any size.
    zip.start_file(WEIGHTS, plain.large_file(true)).map_err(io_of)?;
    weights.write(&mut zip)?;
    for (name, text) in weights.assets() {
        zip.start_file(name, plain).map_err(io_of)?;
        zip.write_all(text.as_bytes())?;
    }
    zip.finish().map_err(io_of)?.flush()?;
    Ok(())
}

/// A writer that keeps its first error and pretends to work after it.
///
/// A ZIP writer that is dropped unfinished tries to finish, and prints to stderr if it cannot: that would report the
/// error, which the caller gets anyway, a second time.
struct Quiet<W> {
    inner: W,
    fault: Option<std::io::Error>,
    /// The position if the writer had not failed.
    position: u64,
}

impl<W> Quiet<W> {
    fn note<T>(&mut self, outcome: std::io::Result<T>) -> std::io::Result<T> {
        outcome.map_err(|error| {
            let kind = error.kind();
            if kind != std::io::ErrorKind::Interrupted {
                self.fault = Some(error);
            }
            kind.into()
        })
    }
}

impl<W: Write> Write for Quiet<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.fault.is_some() {
            self.position += bytes.len() as u64;
            return Ok(bytes.len());
        }
        let outcome = self.inner.write(bytes);
        self.note(outcome)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.fault.is_some() {
            return Ok(());
        }
        let outcome = self.inner.flush();
        self.note(outcome)
    }
}

impl<W: Seek> Seek for Quiet<W> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        if self.fault.is_some() {
            if let SeekFrom::Start(position) = to {
                self.position = position;
            }
            return Ok(self.position);
        }
        let outcome = self.inner.seek(to);
        self.note(outcome)
    }
}

fn io_of(error: ZipError) -> std::io::Error {
    match error {
        ZipError::Io(error) => error,
        error => std::io::Error::other(error),
    }
}

/// An open `.keras` file: its JSON is read and its members are checked; its weights are read on demand.
#[derive(Debug)]
pub struct KerasFile {
    archive: ZipArchive<Bounded>,
    /// The file's length in bytes.
    length: u64,
    name: String,
    metadata: Value,
    config: Value,
    info: Value,
    limits: Limits,
}

impl KerasFile {
    /// Opens a `.keras` file and reads its configuration.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read; [`Error::Broken`] if it is not a ZIP archive, is damaged, lacks a member, or
    /// has suspicious members (duplicate names, encrypted ones, paths out of the archive); [`Error::Unsupported`] if it
    /// stores its weights in another format or exceeds `limits`.
    pub fn open(path: impl AsRef<Path>, limits: &Limits) -> Result<Self> {
        let path = path.as_ref();
        let (file, length) = open_file(path)?;
        Self::from_content(path, file, length, limits)
    }

    /// Takes the bytes of such a file; `name` is what messages call it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(name: impl AsRef<Path>, bytes: Vec<u8>, limits: &Limits) -> Result<Self> {
        let length = bytes.len() as u64;
        Self::from_content(name.as_ref(), bytes, length, limits)
    }

    fn from_content(path: &Path, content: impl Into<Content>, length: u64, limits: &Limits) -> Result<Self> {
        let name = name_of(path);
        if length > limits.file_bytes {
            return Err(hdf5::too_large(path, limits.file_bytes));
        }
        let mut archive = open_archive(&name, "its directory", content, limits)?;
        check_members(&name, &mut archive, limits)?;
        let mut json = |member: &str| -> Result<Option<Value>> {
            let bytes = read_member(&name, &mut archive, member, limits.json_bytes, "json_bytes", limits, length)?;
            bytes.map(|bytes| json::parse(&name, member, &bytes, limits)).transpose()
        };
        let metadata = json(METADATA)?.unwrap_or(Value::Null);
        let Some(config) = json(CONFIG)? else {
            return Err(match other_kind(&archive) {
                Some(kind) => Error::unsupported(format!("`{name}`, which is {kind}"), "archives that Keras made"),
                None => Error::broken(&name, CONFIG, "the archive has no such member"),
            });
        };
        let info = json(INFO)?.unwrap_or(Value::Null);
        if archive.index_for_name(WEIGHTS).is_none() {
            let other = ["model.weights.npz", "model.weights.json"];
            return Err(match other.into_iter().find(|other| archive.index_for_name(other).is_some()) {
                Some(other) => Error::unsupported(format!("weights stored as `{other}` in `{name}`"), WEIGHTS),
                None => Error::broken(&name, WEIGHTS, "the archive has no such member"),
            });
        }
        Ok(Self { archive, length, name, metadata, config, info, limits: limits.clone() })
    }

    /// `metadata.json`: the version of Keras and the date. `null` if the file has none; nothing depends on it.
    pub fn metadata(&self) -> &Value {
        &self.metadata
    }

    /// `config.json`: the model and its compile configuration.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// `brasa.json`: the model's data info; `null` if missing.
    pub fn info(&self) -> &Value {
        &self.info
    }

    /// Moves the configuration out, leaving `null`.
    pub(crate) fn take_config(&mut self) -> Value {
        self.config.take()
    }

    /// The text of another member, if present.
    ///
    /// # Errors
    /// [`Error::Broken`] if the member is damaged or not UTF-8, [`Error::Unsupported`] if it exceeds the limits.
    pub(crate) fn text(&mut self, member: &str) -> Result<Option<String>> {
        let limit = self.limits.json_bytes;
        let bytes = read_member(&self.name, &mut self.archive, member, limit, "json_bytes", &self.limits, self.length)?;
        let text = bytes
            .map(|bytes| String::from_utf8(bytes).map_err(|_| Error::broken(&self.name, member, "it is not UTF-8")));
        text.transpose()
    }

    /// Reads the weights member into memory and opens it.
    ///
    /// # Errors
    /// [`Error::Broken`] if the member is damaged, [`Error::Unsupported`] if it exceeds the limits.
    pub fn weights(&mut self) -> Result<WeightsFile> {
        let limit = self.limits.file_bytes;
        let bytes =
            read_member(&self.name, &mut self.archive, WEIGHTS, limit, "file_bytes", &self.limits, self.length)?
                .ok_or_else(|| Error::broken(&self.name, WEIGHTS, "the archive has no such member"))?;
        let unpacked = bytes.len() as u64;
        let mut file = WeightsFile::from_bytes(&self.name, bytes, &self.limits)?;
        // A stored member has not expanded.
        file.came_from(self.length, if unpacked > self.length { unpacked } else { 0 });
        Ok(file)
    }
}

/// A file with a read budget, which can be lifted.
#[derive(Debug)]
pub(crate) struct Bounded {
    file: BufReader<Content>,
    left: Arc<AtomicU64>,
}

/// The read budget for opening an archive: the end record with its comment, and `MEMBER_BYTES` per member. The parser
/// allocates memory for each member before it reports their number.
const DIRECTORY_BYTES: u64 = 1 << 20;
const MEMBER_BYTES: u64 = 256;

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = self.left.load(Ordering::Relaxed);
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 && !buffer.is_empty() {
            return Err(std::io::Error::other("its directory is too long"));
        }
        let count = self.file.read(&mut buffer[..most])?;
        if left != u64::MAX {
            self.left.store(left - count as u64, Ordering::Relaxed);
        }
        Ok(count)
    }
}

impl Seek for Bounded {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.file.seek(to)
    }
}

/// Reads the directory of an archive.
pub(crate) fn open_archive(
    name: &str,
    at: &str,
    content: impl Into<Content>,
    limits: &Limits,
) -> Result<ZipArchive<Bounded>> {
    let most = (limits.members as u64).saturating_mul(MEMBER_BYTES).saturating_add(DIRECTORY_BYTES);
    let left = Arc::new(AtomicU64::new(most));
    let bounded = Bounded { file: BufReader::new(content.into()), left: left.clone() };
    let archive = caught(name, at, || ZipArchive::new(bounded));
    if left.load(Ordering::Relaxed) == 0 {
        return Err(Error::unsupported(
            format!("the directory of the archive `{name}`"),
            format!("up to {} members (`Limits::members`)", limits.members),
        ));
    }
    left.store(u64::MAX, Ordering::Relaxed);
    archive
}

/// The kind of an archive without a model configuration, by the names of its members.
fn other_kind<R: Read + Seek>(archive: &ZipArchive<R>) -> Option<&'static str> {
    if [METADATA, WEIGHTS].iter().any(|member| archive.index_for_name(member).is_some()) {
        return None;
    }
    let has = |ending: &str| archive.file_names().flatten().any(|name| name.ends_with(ending));
    Some(match () {
        () if has("data.pkl") => "a PyTorch file",
        () if has("saved_model.pb") => "a TensorFlow SavedModel in a ZIP archive",
        () if has(".npy") => "a NumPy archive (`.npz`)",
        () if has(".keras") || has(".h5") || has("/config.json") => "a ZIP archive around a model; unpack it first",
        () => return None,
    })
}

/// Checks every entry of the archive, including those that are never read: an archive made to mislead some readers is
/// rejected as a whole.
pub(crate) fn check_members<R: Read + Seek>(name: &str, archive: &mut ZipArchive<R>, limits: &Limits) -> Result<()> {
    if archive.len() > limits.members {
        return Err(Error::unsupported(
            format!("an archive of {} members, `{name}`", archive.len()),
            format!("up to {} (`Limits::members`)", limits.members),
        ));
    }
    if archive.has_duplicate_names() {
        return Err(Error::broken(name, "its directory", "two members have the same name"));
    }
    for index in 0..archive.len() {
        let entry = caught(name, "its directory", || archive.by_index_data(index))?;
        let member = String::from_utf8_lossy(entry.name_raw()).into_owned();
        let refused = |reason: &str| Err(Error::broken(name, format!("member {member:?}"), reason));
        if std::str::from_utf8(entry.name_raw()).is_err() || member.contains('\0') {
            return refused("its name is not valid text");
        }
        if member.starts_with('/')
            || member.contains(['\\', ':'])
            || member.split('/').any(|part| part == ".." || part == ".")
        {
            return refused("its name leads out of the archive");
        }
        if entry.encrypted() {
            return refused("it is encrypted");
        }
        if entry.is_symlink() {
            return refused("it is a link");
        }
    }
    if caught(name, "its directory", || archive.has_overlapping_entries())? {
        return Err(Error::broken(name, "its directory", "members overlap"));
    }
    Ok(())
}

/// The bytes of a member, if present: at most `limit`, and exactly as many as it declares. `length` is the length of
/// the file.
pub(crate) fn read_member<R: Read + Seek>(
    name: &str,
    archive: &mut ZipArchive<R>,
    member: &str,
    limit: u64,
    budget: &str,
    limits: &Limits,
    length: u64,
) -> Result<Option<Vec<u8>>> {
    let Some(index) = archive.index_for_name(member) else { return Ok(None) };
    let bytes = caught(name, member, || {
        // The sizes are recorded twice; readers of either must see the same file.
        let options = ZipReadOptions::new().enforce_header_consistency(true);
        let file = archive.by_index_with_options(index, options)?;
        if !matches!(file.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
            return Ok(Err(Error::unsupported(
                format!("{member} of `{name}`, compressed with {}", file.compression()),
                "members that are stored or deflated",
            )));
        }
        let declared = file.size();
        if declared > limit {
            return Ok(Err(Error::unsupported(
                format!("{member} of `{name}` with its {declared} bytes"),
                format!("up to {limit} (`Limits::{budget}`)"),
            )));
        }
        if !limits.allows_expansion(file.compressed_size(), declared) {
            let reason = format!("{} bytes claim to become {declared}", file.compressed_size());
            return Ok(Err(Error::broken(name, member, reason)));
        }
        // Memory grows with the data, not with the declared size, beyond a small initial reservation; a stored member
        // cannot be longer than the file.
        let stored = file.compression() == CompressionMethod::Stored;
        let expected = declared.min(if stored { length } else { EXPANSION_FREE_BYTES });
        let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
        file.take(declared.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != declared {
            let reason = format!("it declares {declared} bytes and does not have that length");
            return Ok(Err(Error::broken(name, member, reason)));
        }
        Ok(Ok(bytes))
    })??;
    Ok(Some(bytes))
}

/// Runs one call of the ZIP parser and turns errors and panics into an error about the file.
fn caught<T>(name: &str, at: &str, call: impl FnOnce() -> Result<T, ZipError>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(ZipError::Io(error))) => Err(Error::broken(name, at, error)),
        Ok(Err(error)) => Err(Error::broken(name, at, error)),
        Err(_) => Err(Error::broken(name, at, "it cannot be parsed")),
    }
}
