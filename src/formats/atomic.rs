//! Files that appear whole or not at all.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Writes a file so that, whatever happens, `path` holds either the whole new content or what it held before.
///
/// The content goes to a temporary file in the same folder; when `write` is done it is flushed to the disk
/// and takes the place of `path` in one step. When `write` fails (a full disk, a lost connection, a panic)
/// the temporary file is removed. A symbolic link is followed: the file that it points to is replaced.
///
/// ```
/// use std::io::Write;
/// use brasa::formats::atomic::write_atomically;
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("history.csv");
/// write_atomically(&path, |file| file.write_all(b"epoch,loss\n").map_err(brasa::Error::io("write", &path)))?;
/// assert_eq!(std::fs::read(&path).unwrap(), b"epoch,loss\n");
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// What `write` returns; [`Error::Io`] if the folder is missing or not writable, if `path` is something other
/// than a regular file, or if the disk does not take the data.
pub fn write_atomically<T>(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> Result<T>,
) -> Result<T> {
    let path = path.as_ref();
    let target = target_of(path)?;
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".brasa-").suffix(".partial");
    // A temporary file is private unless told otherwise; a model is as readable as any other file of the user.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut temporary = builder.tempfile_in(folder).map_err(Error::io("create a file next to", path))?;

    let mut buffered = BufWriter::new(temporary.as_file_mut());
    let value = write(&mut buffered)?;
    buffered.flush().map_err(Error::io("write", path))?;
    drop(buffered);
    temporary.as_file().sync_all().map_err(Error::io("write", path))?;
    temporary.persist(&target).map_err(|error| Error::io("replace", path)(error.error))?;
    sync_folder(folder).map_err(Error::io("write", path))?;
    Ok(value)
}

/// The file that `path` means, links followed.
fn target_of(path: &Path) -> Result<PathBuf> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => std::fs::canonicalize(path).map_err(Error::io("write", path)),
        // A folder cannot be replaced by a file, and a device (`/dev/null`) must not be.
        Ok(_) => Err(Error::io("write", path)(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "it exists and is not a regular file",
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(path.to_path_buf()),
        Err(error) => Err(Error::io("write", path)(error)),
    }
}

/// Makes the new name itself survive a power cut.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Other systems have no such call on a folder; the rename itself is theirs to keep.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.keras");
        std::fs::write(&path, b"old").unwrap();
        let error = write_atomically(&path, |file| -> Result<()> {
            file.write_all(&[1; 100_000]).unwrap();
            Err(Error::io("write", &path)(io::Error::from(io::ErrorKind::StorageFull)))
        });
        assert!(matches!(error, Err(Error::Io { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["model.keras"]);
    }

    #[test]
    fn a_panic_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.keras");
        std::fs::write(&path, b"old").unwrap();
        let outcome =
            std::panic::catch_unwind(|| write_atomically(&path, |_| -> Result<()> { panic!("while writing") }));
        assert!(outcome.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["model.keras"]);
    }

    #[test]
    fn a_new_file_and_a_replaced_one_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        for content in [&b"first and longer"[..], b"second"] {
            write_atomically(&path, |file| file.write_all(content).map_err(Error::io("write", &path))).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), content);
        }
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_atomically(folder.path().join("no/such/a.bin"), |_| Ok(()));
        assert!(matches!(error, Err(Error::Io { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_folders_and_devices_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::write(&real, b"old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write_atomically(&link, |file| file.write_all(b"new").map_err(Error::io("write", &link))).unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read(&real).unwrap(), b"new");

        assert!(write_atomically(folder.path(), |_| Ok(())).is_err());
        assert!(write_atomically("/dev/null", |_| Ok(())).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn the_permissions_are_those_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write_atomically(&ours, |_| Ok(())).unwrap();
        File::create(&plain).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
