//! The directory of a training run.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use brasa::callbacks::{Callback, Context, Logs};
use brasa::formats::atomic::write_atomically;
use brasa::formats::{Limits, read_text};
use brasa::text::column_name;
use brasa::training::History;
use brasa::{Error, Result};
use serde_json::Value as Json;

use super::output;
use super::report::REPORT;
use super::run_name::{CONFIG, newest, next_name};

pub(super) const MODEL: &str = "model.keras";
const HISTORY: &str = "history.csv";
/// The state needed to resume, in a folder of its own.
const CHECKPOINTS: &str = "checkpoint";
const LAST: &str = "last.ckpt";
const LOCK: &str = "lock";
/// The report of a complete run, written last.
const FINISHED: &str = "finished.json";

/// The directory of a run. A new one is removed unless it is kept.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// The directories created for it, outermost first.
    made: Vec<PathBuf>,
    kept: bool,
    /// Held while this process works on the run.
    lock: Option<File>,
}

/// The report of the run in a directory, if the run is finished.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn finished_in(path: &Path) -> Result<Option<String>> {
    read_if_there(&path.join(CHECKPOINTS).join(FINISHED))
}

impl RunDir {
    /// Creates the directory `out`, or one in `runs` named after the recipe and the time.
    ///
    /// # Errors
    /// [`Error::Argument`] if `out` already holds a run, [`Error::Io`] if it cannot be written to or another process
    /// works on it.
    pub fn create(out: Option<&Path>, recipe: &str) -> Result<Self> {
        let mut run = match out {
            Some(path) => Self::at(path)?,
            None => Self::new_in(Path::new("runs"), recipe, jiff::Timestamp::now())?,
        };
        run.take_lock()?;
        // Another process can have started a run there, and even finished it, before the lock was taken.
        if let Err(error) = holds_no_run(&run.path) {
            run.kept = true;
            return Err(error);
        }
        Ok(run)
    }

    /// The run to resume: the one in `out`, or the newest of the recipe in `runs`. If `out` holds no run yet, a new one
    /// is created.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is none, [`Error::Io`] if another process works on it.
    pub fn resume(out: Option<&Path>, recipe: &str) -> Result<Self> {
        let path = match out {
            Some(path) if path.join(CONFIG).exists() => path.to_owned(),
            Some(path) => {
                if let Some(found) = [MODEL, HISTORY].iter().find(|name| path.join(name).exists()) {
                    let received = format!("`{}`, which has a {found} and no {CONFIG}", output::shown(path));
                    return Err(Error::argument("out", "the directory of a run that can be resumed", received));
                }
                return Self::create(Some(path), recipe);
            }
            None => newest(Path::new("runs"), recipe)?,
        };
        let mut run = Self { path, made: Vec::new(), kept: true, lock: None };
        run.take_lock()?;
        run.sweep();
        Ok(run)
    }

    /// Removes partial files left by a process that was killed.
    fn sweep(&self) {
        for folder in [self.path.clone(), self.path.join(CHECKPOINTS)] {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if name.starts_with(".brasa-") && name.ends_with(".partial") {
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
    }

    /// Locks the run against other processes until this one ends, in whatever way.
    fn take_lock(&mut self) -> Result<()> {
        check_files(&self.path)?;
        let folder = self.path.join(CHECKPOINTS);
        match fs::create_dir(&folder) {
            Ok(()) => self.made.push(folder.clone()),
            // Created by this run, or by another process a moment ago.
            Err(_) if folder.is_dir() => {}
            Err(error) => return Err(Error::io("create", folder)(error)),
        }
        let path = folder.join(LOCK);
        let opened = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(Error::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let taken = std::io::Error::new(ErrorKind::ResourceBusy, "another process is working on this run");
                return Err(Error::io("lock", &self.path)(taken));
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
        }
        self.lock = Some(file);
        Ok(())
    }

    /// The recipe of the run, if it was written.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn config(&self) -> Result<Option<String>> {
        read_if_there(&self.path.join(CONFIG))
    }

    /// Writes the recipe.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_config(&self, config: &str) -> Result<()> {
        self.write(CONFIG, config.as_bytes())
    }

    /// The path of the recipe.
    pub fn config_path(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// The path of the checkpoint.
    pub fn checkpoint(&self) -> PathBuf {
        self.path.join(CHECKPOINTS).join(LAST)
    }

    /// The report of the run, if it is complete: a JSON document, unparsed so that no digit is lost.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finished(&self) -> Result<Option<String>> {
        finished_in(&self.path)
    }

    /// Marks the run as complete, with its report; `None` removes the mark.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_finished(&self, report: Option<&Json>) -> Result<()> {
        let name = Path::new(CHECKPOINTS).join(FINISHED);
        let path = self.path.join(&name);
        match report {
            Some(report) => self.write(&name, report.to_string().as_bytes()),
            None if is_missing(&path) => Ok(()),
            None => fs::remove_file(&path).map_err(Error::io("remove", path)),
        }
    }

    fn at(path: &Path) -> Result<Self> {
        holds_no_run(path)?;
        let mut made: Vec<PathBuf> = path.ancestors().take_while(|path| is_missing(path)).map(Path::to_owned).collect();
        made.reverse();
        fs::create_dir_all(path).map_err(Error::io("create", path))?;
        Ok(Self { path: path.to_owned(), made, kept: false, lock: None })
    }

    /// Creates a directory named after the recipe and the time; a second run in the same second gets a number. If the
    /// clock was set back, the time is that of the newest run, so that the latest run has the largest name.
    fn new_in(runs: &Path, recipe: &str, now: jiff::Timestamp) -> Result<Self> {
        let mut made: Vec<PathBuf> = if is_missing(runs) { vec![runs.to_owned()] } else { Vec::new() };
        fs::create_dir_all(runs).map_err(Error::io("create", runs))?;
        let (name, first) = next_name(runs, recipe, now)?;
        for count in first.. {
            let path = runs.join(if count == 1 { name.clone() } else { format!("{name}-{count}") });
            match fs::create_dir(&path) {
                Ok(()) => {
                    made.push(path.clone());
                    return Ok(Self { path, made, kept: false, lock: None });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("create", path)(error)),
            }
        }
        Err(Error::io("create", runs.join(name))(ErrorKind::AlreadyExists.into()))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the model.
    pub fn model(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// Writes the history, one row per epoch, as Keras's `CSVLogger`: the epochs from 0, names sorted, `NA` for a
    /// missing value, `[0.5, 1]` for a metric of several numbers.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_history(&self, history: &History) -> Result<()> {
        let broken = |error: csv::Error| Error::io("write", self.path.join(HISTORY))(error.into());
        let mut table = csv::Writer::from_writer(Vec::new());
        let names: BTreeSet<&str> = history.history.keys().chain(history.lists.keys()).map(String::as_str).collect();
        let header = std::iter::once("epoch".to_owned()).chain(names.iter().copied().map(column_name));
        table.write_record(header).map_err(broken)?;
        let number = |number: f64| if number.is_nan() { "NA".to_owned() } else { number.to_string() };
        for epoch in &history.epoch {
            let value = |name: &&str| history.at(name, *epoch).map_or_else(|| "NA".into(), |score| score.show(number));
            table.write_record(std::iter::once(epoch.to_string()).chain(names.iter().map(value))).map_err(broken)?;
        }
        let bytes = table.into_inner().map_err(|error| broken(error.into_error().into()))?;
        self.write(HISTORY, &bytes)
    }

    fn write(&self, name: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        write_atomically(&path, |file| file.write_all(bytes).map_err(Error::io("write", &path)))
    }

    /// Marks the run as worth keeping.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for RunDir {
    /// Removes the recipe's copy and the created directories of a run that failed before it had a result, so that the
    /// same command can be repeated. Directories that hold anything else stay.
    fn drop(&mut self) {
        if self.kept || self.checkpoint().exists() {
            return;
        }
        // Without the lock, the directory belongs to another process.
        let Some(lock) = self.lock.take() else { return };
        let _ = fs::remove_file(self.path.join(CONFIG));
        let _ = fs::remove_file(self.path.join(HISTORY));
        let _ = fs::remove_file(self.path.join(CHECKPOINTS).join(LOCK));
        for path in self.made.iter().rev() {
            let _ = fs::remove_dir(path);
        }
        // Released last, as another process can then use the directory.
        drop(lock);
    }
}

/// Refuses a directory with a link, a pipe or the like in place of one of a run's files, before anything is written:
/// the target does not belong to this run.
fn check_files(run: &Path) -> Result<()> {
    let folder = run.join(CHECKPOINTS);
    let own = [CONFIG, MODEL, HISTORY, REPORT].map(|name| run.join(name));
    let kept = [LOCK, LAST, FINISHED].map(|name| folder.join(name));
    let folder = std::iter::once((folder, true));
    for (path, is_folder) in folder.chain(own.into_iter().chain(kept).map(|path| (path, false))) {
        let kind = match fs::symlink_metadata(&path) {
            Ok(found) => found.file_type(),
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("look at", path)(error)),
        };
        if if is_folder { kind.is_dir() } else { kind.is_file() } {
            continue;
        }
        let expected = if is_folder { "a directory" } else { "a regular file" };
        let received = if kind.is_symlink() { "a link" } else { "something else" };
        let reason = format!("{expected} of the run was expected there, and it is {received}");
        return Err(Error::io("use", path)(std::io::Error::new(ErrorKind::InvalidInput, reason)));
    }
    Ok(())
}

/// Refuses a directory that holds a run.
fn holds_no_run(path: &Path) -> Result<()> {
    let Some(found) = [CONFIG, MODEL, HISTORY].iter().find(|name| path.join(name).exists()) else { return Ok(()) };
    let received = format!("`{}`, which has a {found} (--resume continues it)", path.display());
    Err(Error::argument("out", "a directory that does not hold a run", received))
}

/// The text of a file, if it exists.
fn read_if_there(path: &Path) -> Result<Option<String>> {
    match read_text(path, Limits::default().json_bytes) {
        Ok(text) => Ok(Some(text)),
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_missing(path: &Path) -> bool {
    !path.as_os_str().is_empty() && fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Writes the history after each epoch.
pub struct HistoryFile<'a>(pub &'a RunDir);

impl Callback for HistoryFile<'_> {
    fn on_epoch_end(&mut self, context: &mut Context<'_>, epoch: usize, logs: &mut Logs) -> Result<()> {
        let mut history = context.history().cloned().unwrap_or_default();
        history.push(epoch, logs.as_slice());
        self.0.write_history(&history)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(out: &Path, config: &str) -> RunDir {
        let run = RunDir::create(Some(out), "r").unwrap();
        run.write_config(config).unwrap();
        run
    }

    #[test]
    fn only_one_process_works_on_a_run() {
        let folder = tempfile::tempdir().unwrap();
        let first = created(folder.path(), "x = 1");
        let error = RunDir::resume(Some(folder.path()), "r").unwrap_err();
        assert!(error.to_string().contains("another process is working on this run"), "{error}");
        assert_eq!(first.config().unwrap().as_deref(), Some("x = 1"), "the other has left it alone");
        let path = folder.path().join(CHECKPOINTS).join(LAST);
        fs::write(path, "").unwrap();
        drop(first);
        assert!(RunDir::resume(Some(folder.path()), "r").is_ok());
    }

    #[test]
    fn a_run_that_is_not_kept_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("a/b");
        drop(created(&out, "x = 1"));
        assert!(!folder.path().join("a").exists());

        fs::create_dir_all(&out).unwrap();
        fs::write(out.join("notes.txt"), "mine").unwrap();
        drop(created(&out, "x = 1"));
        assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "what was there stays");
    }

    #[test]
    fn a_directory_holds_one_run() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = created(folder.path(), "x = 1");
        run.keep();
        drop(run);
        let error = RunDir::create(Some(folder.path()), "r").unwrap_err();
        assert!(matches!(error, Error::Argument { .. }), "{error}");
        assert_eq!(fs::read_to_string(folder.path().join(CONFIG)).unwrap(), "x = 1");
    }

    #[test]
    fn runs_of_the_same_second_get_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs");
        let begun = |now: &str| {
            let run = RunDir::new_in(&runs, "cnn", now.parse().unwrap()).unwrap();
            run.write_config("").unwrap();
            let name = run.path().file_name().unwrap().to_str().unwrap().to_owned();
            assert_eq!(newest(&runs, "cnn").unwrap().file_name().unwrap().to_str().unwrap(), name, "the newest");
            (run, name)
        };
        let times = ["2025-01-31T23:59:59.1Z", "2025-01-31T23:59:59.9Z"];
        let (first, second) = (begun(times[0]), begun(times[1]));
        assert_eq!([&*first.1, &*second.1], ["cnn-20250131-235959", "cnn-20250131-235959-2"]);
        // The clock goes back by a year, then forward again.
        let (third, fourth) = (begun("2024-01-31T23:59:59Z"), begun("2025-02-01T00:00:00Z"));
        assert_eq!([&*third.1, &*fourth.1], ["cnn-20250131-235959-3", "cnn-20250201-000000"]);
    }

    /// Targets of links are neither written nor removed, and opening a pipe does not block.
    #[cfg(unix)]
    #[test]
    fn links_in_a_run_are_refused_before_anything_is_written() {
        use std::os::unix::fs::symlink;
        let elsewhere = tempfile::tempdir().unwrap();
        let mine = elsewhere.path().join("mine.txt");
        fs::write(&mine, "mine").unwrap();
        let partial = elsewhere.path().join(".brasa-x.partial");
        fs::write(&partial, "of another").unwrap();
        let refused = |file: &str, target: &Path| {
            let run = tempfile::tempdir().unwrap();
            fs::write(run.path().join(CONFIG), "x = 1").unwrap();
            let file = run.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            let _ = fs::remove_file(&file);
            symlink(target, &file).unwrap();
            // A dangling link in place of the recipe counts as no recipe.
            for error in [RunDir::resume(Some(run.path()), "r"), RunDir::create(Some(run.path()), "r")] {
                let error = error.unwrap_err().to_string();
                assert!(error.contains("it is a link") || error.contains("does not hold a run"), "{error}");
            }
            assert!(file.is_symlink(), "{}", file.display());
            let error = RunDir::resume(Some(run.path()), "r").unwrap_err().to_string();
            let name = file.file_name().unwrap().to_str().unwrap();
            assert!(error.contains(name) && error.contains("it is a link"), "{error}");
        };
        for name in
            [CONFIG, MODEL, HISTORY, REPORT, "checkpoint/lock", "checkpoint/last.ckpt", "checkpoint/finished.json"]
        {
            refused(name, &mine);
            if name != MODEL {
                refused(name, &elsewhere.path().join("missing"));
            }
        }
        refused(CHECKPOINTS, elsewhere.path());
        assert_eq!(fs::read_to_string(&mine).unwrap(), "mine");
        assert!(partial.exists() && fs::read_dir(elsewhere.path()).unwrap().count() == 2);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pipe_in_a_run_does_not_block() {
        let run = tempfile::tempdir().unwrap();
        fs::write(run.path().join(CONFIG), "x = 1").unwrap();
        fs::create_dir(run.path().join(CHECKPOINTS)).unwrap();
        let made = std::process::Command::new("mkfifo").arg(run.path().join("checkpoint/lock")).status();
        assert!(made.unwrap().success());
        let error = RunDir::resume(Some(run.path()), "r").unwrap_err().to_string();
        assert!(error.contains("a regular file of the run was expected"), "{error}");
    }

    #[test]
    fn a_run_created_by_another_process_in_the_meantime_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = RunDir::at(folder.path()).unwrap();
        // Both have seen an empty directory; the other has the lock, and finishes.
        let second = created(folder.path(), "x = 1");
        assert!(first.take_lock().unwrap_err().to_string().contains("another process"));
        drop(first);
        second.set_finished(Some(&Json::Null)).unwrap();
        assert_eq!(second.config().unwrap().as_deref(), Some("x = 1"), "the loser has removed nothing");
    }

    #[test]
    fn history_is_a_table() {
        let folder = tempfile::tempdir().unwrap();
        let run = created(folder.path(), "");
        let mut history = History::default();
        let numbers = |numbers: &[(&str, f64)]| -> Vec<(String, f64)> {
            numbers.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
        };
        history.push(0, &numbers(&[("loss", 0.5), ("a,b", f64::NAN)]));
        history.push(1, &numbers(&[("loss", 0.25), ("a,b", 1e-5), ("val_loss", 2.0)]));
        history.push(2, &numbers(&[("loss", 0.125)]));
        run.write_history(&history).unwrap();
        let text = fs::read_to_string(folder.path().join(HISTORY)).unwrap();
        assert_eq!(text, "epoch,\"a,b\",loss,val_loss\n0,NA,0.5,NA\n1,0.00001,0.25,2\n2,NA,0.125,NA\n");
    }
}
