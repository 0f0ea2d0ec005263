//! Opening untrusted files.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{Cursor, Error as IoError, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::{Error, Result};

/// What a reader reads from: a file, or its bytes in memory.
#[derive(Debug)]
pub(crate) enum Content {
    File(File),
    Memory(Cursor<Vec<u8>>),
}

impl From<File> for Content {
    fn from(file: File) -> Self {
        Self::File(file)
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Memory(Cursor::new(bytes))
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Memory(bytes) => bytes.read(buffer),
        }
    }
}

impl Seek for Content {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        match self {
            Self::File(file) => file.seek(to),
            Self::Memory(bytes) => bytes.seek(to),
        }
    }
}

/// Opens a regular file for reading; returns its length in bytes, too.
///
/// Everything else is rejected before it is opened: a pipe would wait for a writer, a device can be endless.
///
/// # Errors
/// [`Error::Io`] if it cannot be opened or is not a regular file.
pub(crate) fn open_file(path: &Path) -> Result<(File, u64)> {
    let opened = |error| Error::io("open", path)(error);
    check(&std::fs::metadata(path).map_err(opened)?).map_err(opened)?;
    let file = without_waiting().read(true).open(path).map_err(opened)?;
    // It can have been replaced meanwhile.
    let metadata = file.metadata().map_err(opened)?;
    check(&metadata).map_err(opened)?;
    Ok((file, metadata.len()))
}

/// The text of a regular file of at most `most` bytes.
///
/// # Errors
/// [`Error::Io`] if it cannot be read or is not a regular file, [`Error::Unsupported`] if it is longer.
pub fn read_text(path: &Path, most: u64) -> Result<String> {
    let (file, length) = open_file(path)?;
    let too_long = || {
        let what = format!("the size of `{}`", path.display());
        Err(Error::unsupported(what, format!("texts of up to {most} bytes")))
    };
    if length > most {
        return too_long();
    }
    let mut text = String::new();
    file.take(most + 1).read_to_string(&mut text).map_err(Error::io("read", path))?;
    if text.len() as u64 > most { too_long() } else { Ok(text) }
}

fn check(metadata: &Metadata) -> std::io::Result<()> {
    let kind = metadata.file_type();
    match () {
        () if kind.is_file() => Ok(()),
        () if kind.is_dir() => Err(ErrorKind::IsADirectory.into()),
        () => Err(IoError::new(ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// Opening a pipe would block until it has a writer.
#[cfg(target_os = "linux")]
fn without_waiting() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.custom_flags(libc::O_NONBLOCK);
    options
}

#[cfg(not(target_os = "linux"))]
fn without_waiting() -> OpenOptions {
    OpenOptions::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "größer").unwrap();
        assert_eq!(open_file(&path).unwrap().1, 8);
        assert_eq!(read_text(&path, 8).unwrap(), "größer");
        assert!(matches!(read_text(&path, 7), Err(Error::Unsupported { .. })));
        assert!(matches!(open_file(folder.path()), Err(Error::Io { .. })));
        assert!(matches!(open_file(&folder.path().join("missing")), Err(Error::Io { .. })));
        #[cfg(unix)]
        for device in ["/dev/zero", "/dev/null"] {
            let link = folder.path().join("link");
            std::os::unix::fs::symlink(device, &link).unwrap();
            let error = open_file(&link).unwrap_err().to_string();
            assert!(error.contains("it is not a regular file"), "{error}");
            std::fs::remove_file(link).unwrap();
        }
    }
}
