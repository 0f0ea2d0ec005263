//! Samples in tar archives, in WebDataset's layout.
//!
//! An archive is untrusted: members are read into memory and never written anywhere, and the sizes that it declares are
//! compared with limits and with its own length before anything is allocated.

use std::io::{Error as IoError, ErrorKind, Read};
use std::ops::ControlFlow;
use std::sync::Arc;

use tar::{Archive, Entry, PaxExtensions};

use super::sample::{Content, Raw, Sink};
use crate::error::{Error, Result};

/// The most bytes of a sample's members together.
const MOST_BYTES: u64 = 1 << 28;

/// The most members of a sample.
const MOST_MEMBERS: usize = 64;

/// The most bytes of the headers that hold a long name.
const MOST_NAME: u64 = 64 << 10;

/// The zeros at an archive's end: two blocks, of which readers need one.
const END: u64 = 512;

/// A sample whose members are being read.
struct Partial {
    key: String,
    is_wanted: bool,
    members: Vec<(String, Vec<u8>)>,
    bytes: u64,
}

/// Reads the samples of an archive, of `length` bytes if that is known, and of those the members that are `wanted`.
pub(super) fn read_archive(
    reader: impl Read,
    length: Option<u64>,
    file: &Arc<str>,
    wanted: impl Fn(&str) -> bool,
    sink: &mut Sink<'_>,
) -> Result<ControlFlow<()>> {
    let mut archive = Archive::new(Ending { reader, zeros: 0 });
    // The crate would read names of any length into memory.
    let entries = archive.entries().map_err(|error| failed(file, "its start", error))?.raw(true);
    let (mut long_name, mut sample) = (None, None::<Partial>);
    for (number, entry) in entries.enumerate() {
        let mut entry = entry.map_err(|error| failed(file, &format!("member {}", number + 1), error))?;
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() || kind.is_pax_local_extensions() {
            let place = format!("the name of member {}", number + 1);
            let size = entry.size();
            if size > MOST_NAME {
                return Err(Error::broken(
                    &**file,
                    place,
                    format!("expected up to {MOST_NAME} bytes, received {size}"),
                ));
            }
            let bytes = content(&mut entry, file, &place)?;
            if let Some(name) = name_in(bytes, kind.is_gnu_longname(), file, &place)? {
                long_name = Some(name);
            }
            continue;
        }
        if kind.is_gnu_longlink() || kind.is_pax_global_extensions() || kind.is_dir() {
            continue;
        }
        let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        let name = String::from_utf8_lossy(&name).into_owned();
        let place = || format!("member `{name}`");
        if !kind.is_file() && !kind.is_contiguous() {
            return Err(Error::broken(&**file, place(), "expected a file, received a link, a device or a sparse file"));
        }
        let Some((key, rest)) = split(&name) else { continue };
        if sample.as_ref().is_none_or(|sample| sample.key != key) {
            if let Some(whole) = sample.take()
                && put(whole, file, sink).is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            let is_wanted = sink.wants_next();
            sample = Some(Partial { key: key.to_owned(), is_wanted, members: Vec::new(), bytes: 0 });
        }
        let Some(sample) = sample.as_mut().filter(|sample| sample.is_wanted) else { continue };
        let rest = rest.to_lowercase();
        if !wanted(&rest) {
            continue;
        }
        let size = entry.size();
        if let Some(length) = length.filter(|length| size > *length) {
            let reason = format!("it declares {size} bytes, and the archive has {length}");
            return Err(Error::broken(&**file, place(), reason));
        }
        sample.bytes = sample.bytes.saturating_add(size);
        if sample.bytes > MOST_BYTES || sample.members.len() == MOST_MEMBERS {
            let reason = format!(
                "expected a sample of up to {MOST_MEMBERS} members and {MOST_BYTES} bytes, received {} and {}",
                sample.members.len() + 1,
                sample.bytes
            );
            return Err(Error::broken(&**file, place(), reason));
        }
        if sample.members.iter().any(|(other, _)| *other == rest) {
            return Err(Error::broken(&**file, place(), "expected each member once, received a second one"));
        }
        let bytes = content(&mut entry, file, &place())?;
        sample.members.push((rest, bytes));
    }
    let ending = archive.into_inner();
    if ending.zeros < END {
        return Err(Error::broken(&**file, "its end", "expected the mark of an archive's end: it is cut off"));
    }
    Ok(sample.map_or(ControlFlow::Continue(()), |whole| put(whole, file, sink)))
}

/// Hands on a sample, if it is wanted.
fn put(sample: Partial, file: &Arc<str>, sink: &mut Sink<'_>) -> ControlFlow<()> {
    if !sample.is_wanted {
        return ControlFlow::Continue(());
    }
    sink.put(Raw { file: file.clone(), content: Content::Members(sample.key, sample.members) })
}

/// The name that a sample's members have in common, with their folder, and the rest: the name is split at the first dot.
/// `None` for hidden files, such as those that macOS adds, and for names without a dot.
fn split(name: &str) -> Option<(&str, &str)> {
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = base + name[base..].find('.')?;
    (dot > base && dot + 1 < name.len()).then(|| (&name[..dot], &name[dot + 1..]))
}

/// The content of a member whose size has been checked.
fn content(entry: &mut Entry<'_, impl Read>, file: &str, place: &str) -> Result<Vec<u8>> {
    let size = entry.size();
    let mut bytes = Vec::new();
    // Grows with what is there.
    entry.read_to_end(&mut bytes).map_err(|error| failed(file, place, error))?;
    if bytes.len() as u64 != size {
        let reason = format!("expected {size} bytes, and the archive ends after {} of them", bytes.len());
        return Err(Error::broken(file, place, reason));
    }
    Ok(bytes)
}

/// The name in a header for long names, if it has one.
fn name_in(mut bytes: Vec<u8>, is_gnu: bool, file: &str, place: &str) -> Result<Option<Vec<u8>>> {
    if is_gnu {
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        return Ok(Some(bytes));
    }
    let mut name = None;
    for extension in PaxExtensions::new(&bytes) {
        let extension = extension.map_err(|error| failed(file, place, error))?;
        match extension.key_bytes() {
            b"path" => name = Some(extension.value_bytes().to_vec()),
            // Of a file larger than any sample.
            b"size" => {
                let reason =
                    format!("expected a sample of up to {MOST_BYTES} bytes, received one with a size of its own");
                return Err(Error::broken(file, place, reason));
            }
            _ => {}
        }
    }
    Ok(name)
}

/// The error of the system, or of the crate about the archive.
fn failed(file: &str, place: &str, error: IoError) -> Error {
    match error.raw_os_error().is_some() || error.kind() == ErrorKind::NetworkDown {
        true => Error::io("read", file)(error),
        false => Error::broken(file, place, error),
    }
}

/// A reader that counts the zeros at the end of what has been read.
struct Ending<R> {
    reader: R,
    zeros: u64,
}

impl<R: Read> Read for Ending<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let read = &buffer[..count];
        let zeros = read.iter().rev().take_while(|byte| **byte == 0).count();
        self.zeros = if zeros == count { self.zeros.saturating_add(zeros as u64) } else { zeros as u64 };
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_at_the_first_dot_of_the_file() {
        for (name, parts) in [
            ("000.jpg", Some(("000", "jpg"))),
            ("a.b/000.seg.png", Some(("a.b/000", "seg.png"))),
            ("README", None),
            ("a/._000.jpg", None),
            ("000.", None),
        ] {
            assert_eq!(split(name), parts, "{name}");
        }
    }
}
