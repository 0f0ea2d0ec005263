//! Atomic file writes.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// Prefix and suffix of the name of an unfinished file.
const PREFIX: &str = ".brasa-";
const SUFFIX: &str = ".partial";

/// The time after which an unmodified unfinished file is considered abandoned by a dead process. Its lock would tell at
/// once, but not every network file system shows one machine the locks of another.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// Writes a file atomically: `path` holds either the complete new content or what it held before.
///
/// The content is written to a temporary file in the same folder; when `write` returns, it is flushed to disk and
/// renamed to `path`. When `write` fails (a full disk, a lost connection, a panic) the temporary file is removed. A
/// symbolic link is followed: the file that it points to is replaced.
///
/// A process that is killed leaves its temporary file, `.brasa-….partial`. The next write into the same folder removes
/// such files if they have not changed for an hour and are not locked: a writer holds the lock until it is done, and
/// the system releases it when the process dies.
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
/// The error of `write`; [`Error::Io`] if the folder is missing or not writable, if `path` is not a regular file, or if
/// the disk does not accept the data.
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
    remove_abandoned(folder);
    let mut temporary = create_in(folder).map_err(Error::io("create a file next to", path))?;

    let mut buffered = BufWriter::new(temporary.as_file_mut());
    let value = write(&mut buffered)?;
    buffered.flush().map_err(Error::io("write", path))?;
    drop(buffered);
    temporary.as_file().sync_all().map_err(Error::io("write", path))?;
    // Mandatory locks would keep readers from the new file; file systems without locks have nothing to release.
    let _ = temporary.as_file().unlock();
    temporary.persist(&target).map_err(|error| Error::io("replace", path)(error.error))?;
    sync_folder(folder).map_err(Error::io("write", path))?;
    Ok(value)
}

/// A new file in the folder, locked by this process.
fn create_in(folder: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    // Temporary files are private by default; a model is as readable as any other file of the user.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let temporary = builder.tempfile_in(folder)?;
    // Some file systems have no locks. There the file is never considered abandoned, as nobody else gets a lock either.
    let _ = temporary.as_file().try_lock();
    Ok(temporary)
}

/// Removes files left by killed processes in the folder. A failure to remove one does not prevent writing.
fn remove_abandoned(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        // Neither a link nor a pipe, which would block on opening.
        if ours && entry.file_type().is_ok_and(|kind| kind.is_file()) && is_abandoned(&entry.path()) {
            tracing::debug!("removing `{}`, which a process that was killed has left", entry.path().display());
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Whether the file has no writer.
fn is_abandoned(path: &Path) -> bool {
    let Ok(file) = OpenOptions::new().write(true).open(path) else { return false };
    let changed = file.metadata().and_then(|metadata| metadata.modified());
    let old = changed.is_ok_and(|time| time.elapsed().is_ok_and(|age| age >= ABANDONED));
    old && file.try_lock().is_ok()
}

/// The file that `path` refers to, after following links.
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

/// Makes the rename itself durable.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Other systems have no such call for folders; there the rename's durability is up to the system.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::SystemTime;

    use super::*;

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

    /// A file as left by a killed process, last modified some seconds ago.
    fn leave(folder: &Path, name: &str, seconds: u64) -> File {
        let file = File::create(folder.join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
        file
    }

    #[test]
    fn files_of_killed_processes_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let hour = ABANDONED.as_secs();
        for name in [".brasa-old.partial", "own.partial", ".brasa-own"] {
            leave(folder.path(), name, hour + 60);
        }
        leave(folder.path(), ".brasa-young.partial", hour - 60);
        std::fs::create_dir(folder.path().join(".brasa-folder.partial")).unwrap();
        write_atomically(&path, |_| Ok(())).unwrap();
        let expected = [".brasa-folder.partial", ".brasa-own", ".brasa-young.partial", "a.bin", "own.partial"];
        assert_eq!(names(folder.path()), expected);
    }

    #[test]
    fn files_with_a_living_writer_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (slow, quick) = (folder.path().join("slow.bin"), folder.path().join("quick.bin"));
        write_atomically(&slow, |file| {
            file.write_all(b"slow").and_then(|()| file.flush()).unwrap();
            // As if the writer had then been suspended for two hours.
            file.get_mut().set_modified(SystemTime::now() - 2 * ABANDONED).unwrap();
            write_atomically(&quick, |_| Ok(()))
        })
        .unwrap();
        assert_eq!(std::fs::read(&slow).unwrap(), b"slow");
        assert_eq!(names(folder.path()), ["quick.bin", "slow.bin"]);
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
