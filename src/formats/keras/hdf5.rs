//! A guarded interface to the HDF5 parser: untrusted bytes in, plain values or errors out.

use std::collections::HashMap;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hdf5_pure::{AttrValue, File, FormatError, Group, Source};

use super::limits::{Limits, NAME_BYTES};
use crate::error::{Error, Result};
use crate::formats::regular::open_file;

/// The supported filters, for messages.
pub(super) const FILTER_NAMES: &str = "gzip, shuffle and fletcher32";

/// The read budget of one parser call beyond twice the file's size: a few lookups in a file of any size.
const READ_ALLOWANCE: u64 = 64 << 20;

/// The read budget of all calls together: this multiple of the file, and the allowance of one call. Tens of thousands
/// of links can lead to the same place, and a call for each of them, none beyond its own allowance, would run for
/// hours.
const READS_OF_THE_FILE: u64 = 64;

const OVER_AND_OVER: &str = "it refers to the same bytes over and over";

/// An HDF5 file held in memory.
///
/// Every parser call has a read budget and is guarded: one that would read the file many times over (a text that a
/// thousand references point to, a cycle of links) ends with an error, and so does one that panics.
pub(super) struct Hdf5Reader {
    file: File,
    bytes: Arc<Vec<u8>>,
    name: String,
    allowance: Arc<Allowance>,
    /// The file's size on disk: smaller than its length if it comes from an archive.
    stored: u64,
    /// Bytes of memory into which it has been expanded so far.
    expanded: AtomicU64,
    limits: Limits,
}

impl std::fmt::Debug for Hdf5Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("name", &self.name).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

/// Remaining read budgets, in bytes.
struct Allowance {
    /// Of the current parser call.
    call: AtomicU64,
    /// Of all further calls.
    file: AtomicU64,
}

impl Allowance {
    fn new(length: u64) -> Self {
        let file = length.saturating_mul(READS_OF_THE_FILE).saturating_add(READ_ALLOWANCE);
        Self { call: AtomicU64::new(Self::of_a_call(length)), file: AtomicU64::new(file) }
    }

    fn of_a_call(length: u64) -> u64 {
        length.saturating_mul(2).saturating_add(READ_ALLOWANCE)
    }

    /// Spends budget for a read; `false` if it is exhausted.
    fn spend(&self, wanted: u64) -> bool {
        for counter in [&self.call, &self.file] {
            counter.store(counter.load(Ordering::Relaxed).saturating_sub(wanted), Ordering::Relaxed);
        }
        !self.is_spent()
    }

    fn is_spent(&self) -> bool {
        [&self.call, &self.file].into_iter().any(|counter| counter.load(Ordering::Relaxed) == 0)
    }
}

/// The file's bytes with their read budget.
struct CountedBytes {
    bytes: Arc<Vec<u8>>,
    allowance: Arc<Allowance>,
}

impl Source for CountedBytes {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FormatError> {
        let wanted = buffer.len() as u64;
        if !self.allowance.spend(wanted) {
            return Err(FormatError::Source(OVER_AND_OVER.into()));
        }
        let from = usize::try_from(offset).ok();
        let part = from.and_then(|from| self.bytes.get(from..from.checked_add(buffer.len())?));
        match part {
            Some(part) => buffer.copy_from_slice(part),
            None => return Err(FormatError::Source(format!("it ends before byte {}", offset.saturating_add(wanted)))),
        }
        Ok(())
    }
}

impl Hdf5Reader {
    /// Reads a file into memory and checks its first block.
    pub(super) fn open(path: &Path, limits: &Limits) -> Result<Self> {
        let bytes = read_limited(path, limits.file_bytes)?;
        Self::from_bytes(super::name_of(path), bytes, limits)
    }

    /// Opens a file's bytes; `name` is its name in messages.
    pub(super) fn from_bytes(name: String, bytes: Vec<u8>, limits: &Limits) -> Result<Self> {
        let length = bytes.len() as u64;
        let allowance = Arc::new(Allowance::new(length));
        let bytes = Arc::new(bytes);
        let source = CountedBytes { bytes: bytes.clone(), allowance: allowance.clone() };
        if let Some(end) = declared_end(&bytes).filter(|end| *end > length) {
            return Err(Error::broken(name, "its end", format!("it declares {end} bytes and has {length}")));
        }
        let file = caught(|| File::from_source(source)).map_err(|fault| fault.at(&name, "its header"))?;
        let expanded = AtomicU64::new(0);
        Ok(Self { file, bytes, name, allowance, stored: length, expanded, limits: limits.clone() })
    }

    /// Records that the file comes from an archive of `stored` bytes, of which `expanded` bytes were decompressed.
    pub(super) fn came_from(&mut self, stored: u64, expanded: u64) {
        self.stored = stored;
        self.expanded = expanded.into();
    }

    /// Charges a read to the file's expansion budget: no matter how many datasets share the same stored bytes, or have
    /// none, together they stay within the budget.
    pub(super) fn expand(&self, at: &str, declared: u64) -> Result<()> {
        let before = self.expanded.load(Ordering::Relaxed);
        let after = before.saturating_add(declared);
        self.expanded.store(after, Ordering::Relaxed);
        if self.limits.allows_expansion(self.stored, after) {
            return Ok(());
        }
        Err(self.broken(at, format!("the file's {} bytes claim to become {after} and more", self.stored)))
    }

    /// The file's name in messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Length of the file in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// A range of the file's raw bytes, if it is within the file.
    pub(super) fn stretch(&self, from: u64, length: u64) -> Option<&[u8]> {
        let from = usize::try_from(from).ok()?;
        self.bytes.get(from..from.checked_add(usize::try_from(length).ok()?)?)
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Runs one parser call; `at` is the place named in errors.
    pub(super) fn call<T>(&self, at: &str, call: impl FnOnce() -> Result<T, hdf5_pure::Error>) -> Result<T> {
        self.renew();
        let value = caught(call).map_err(|fault| fault.at(&self.name, at))?;
        // The parser skips an attribute that it could not read; exhausting the budget must not look like that.
        if self.allowance.is_spent() {
            return Err(self.broken(at, OVER_AND_OVER));
        }
        Ok(value)
    }

    /// As [`call`](Self::call), with `None` for a path that does not exist. Links to other paths and other files are
    /// not followed, and count as nonexistent.
    fn find<T>(&self, at: &str, call: impl FnOnce() -> Result<T, hdf5_pure::Error>) -> Result<Option<T>> {
        self.renew();
        match caught(call) {
            Ok(found) => Ok(Some(found)),
            Err(ParserFailure::Refused(hdf5_pure::Error::Format(FormatError::PathNotFound(_)))) => Ok(None),
            Err(fault) => Err(fault.at(&self.name, at)),
        }
    }

    fn renew(&self) {
        self.allowance.call.store(Allowance::of_a_call(self.bytes()), Ordering::Relaxed);
    }

    pub(super) fn root(&self) -> Group {
        self.file.root()
    }

    /// The group at a path, if there is one.
    pub(super) fn group(&self, path: &str) -> Result<Option<Group>> {
        if path.is_empty() {
            return Ok(Some(self.file.root()));
        }
        self.find(path, || self.file.group(path))
    }

    /// All attributes of a group whose types the parser supports.
    pub(super) fn attributes(&self, at: &str, group: &Group) -> Result<HashMap<String, AttrValue>> {
        self.call(at, || group.attrs())
    }

    /// Rejects a name too long for a layer or weight.
    pub(super) fn check_name(&self, at: &str, name: &str) -> Result<()> {
        if name.len() <= NAME_BYTES {
            return Ok(());
        }
        Err(self.broken(at, format!("a name of {} bytes, more than {NAME_BYTES}: {name}", name.len())))
    }

    pub(super) fn broken(&self, at: impl Into<String>, reason: impl std::fmt::Display) -> Error {
        let at = at.into();
        Error::broken(&self.name, place(&at), reason)
    }
}

/// The end of the file that its superblock declares, which the parser does not compare with the file's length: a
/// truncated file is broken even if the rest of it can be read.
fn declared_end(bytes: &[u8]) -> Option<u64> {
    let address = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    // The size of an address, and the offset of the addresses: base address, another, end of file.
    let (size, base) = match bytes.get(8)? {
        0 => (bytes.get(13)?, 24),
        1 => (bytes.get(13)?, 28),
        2 | 3 => (bytes.get(9)?, 12),
        _ => return None,
    };
    if *size != 8 || address(base)? != 0 {
        return None;
    }
    address(base + 16)
}

/// The reason why a parser call failed.
enum ParserFailure {
    Refused(hdf5_pure::Error),
    Panicked,
}

impl ParserFailure {
    fn at(self, file: &str, at: &str) -> Error {
        let at = place(at);
        let Self::Refused(error) = self else {
            return Error::broken(file, at, "it cannot be parsed");
        };
        match &error {
            hdf5_pure::Error::Format(FormatError::UnsupportedExternalStorage) => {
                Error::unsupported(format!("data outside the file, at {at} of `{file}`"), "data inside the file")
            }
            hdf5_pure::Error::Format(FormatError::UnsupportedFilter(filter)) => {
                Error::unsupported(format!("HDF5 filter {filter} at {at} of `{file}`"), FILTER_NAMES)
            }
            hdf5_pure::Error::Format(FormatError::ChunkedReadError(reason))
                if reason.contains("B-tree chunk index") =>
            {
                let what =
                    format!("chunks in a B-tree of version 2, as of two unlimited dimensions, at {at} of `{file}`");
                Error::unsupported(what, "at most one unlimited dimension")
            }
            _ => Error::broken(file, at, error),
        }
    }
}

/// A path's name in messages: that of the root is empty.
fn place(at: &str) -> &str {
    if at.is_empty() { "its root" } else { at }
}

/// The parser is designed to return errors; a panic is its bug, and still no reason to end the program.
fn caught<T>(call: impl FnOnce() -> Result<T, hdf5_pure::Error>) -> Result<T, ParserFailure> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(ParserFailure::Refused(error)),
        Err(_) => Err(ParserFailure::Panicked),
    }
}

/// The content of a file of at most `limit` bytes, whatever size it claims.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let (file, claimed) = open_file(path)?;
    if claimed > limit {
        return Err(too_large(path, limit));
    }
    let mut bytes = Vec::new();
    // A sparse file can claim more than the available memory.
    if bytes.try_reserve_exact(usize::try_from(claimed).unwrap_or(usize::MAX)).is_err() {
        return Err(Error::io("read", path)(std::io::ErrorKind::OutOfMemory.into()));
    }
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(too_large(path, limit));
    }
    Ok(bytes)
}

/// The error for a file beyond its budget.
pub(crate) fn too_large(path: &Path, limit: u64) -> Error {
    Error::unsupported(
        format!("the size of `{}`", path.display()),
        format!("files of up to {limit} bytes (`Limits::file_bytes`)"),
    )
}
