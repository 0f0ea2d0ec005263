//! The directory of a training run.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use brasa::formats::atomic::write_atomically;
use brasa::training::History;
use brasa::{Error, Result};

/// What a run writes; a directory that has one of them holds a run.
const CONFIG: &str = "config.toml";
const MODEL: &str = "model.keras";
const HISTORY: &str = "history.csv";

/// A new run's directory. Unless it is kept, it leaves nothing behind.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// The directories that were made for it, the outermost first.
    made: Vec<PathBuf>,
    kept: bool,
}

impl RunDir {
    /// Makes the directory `out`, or one in `runs` with the recipe's name and the time, and writes the recipe into it.
    ///
    /// # Errors
    /// [`Error::Argument`] if `out` already holds a run, [`Error::Io`] if it cannot be written to.
    pub fn create(out: Option<&Path>, recipe: &str, config: &str) -> Result<Self> {
        let run = match out {
            Some(path) => Self::at(path)?,
            None => Self::new_in(Path::new("runs"), recipe)?,
        };
        run.write(CONFIG, config.as_bytes())?;
        Ok(run)
    }

    fn at(path: &Path) -> Result<Self> {
        if let Some(found) = [CONFIG, MODEL, HISTORY].iter().find(|name| path.join(name).exists()) {
            let received = format!("`{}`, which has a {found}", path.display());
            return Err(Error::argument("out", "a directory that does not hold a run", received));
        }
        let mut made: Vec<PathBuf> = path.ancestors().take_while(|path| is_missing(path)).map(Path::to_owned).collect();
        made.reverse();
        fs::create_dir_all(path).map_err(Error::io("create", path))?;
        Ok(Self { path: path.to_owned(), made, kept: false })
    }

    /// A directory named after the recipe and the time; a second run in the same second gets a number.
    fn new_in(runs: &Path, recipe: &str) -> Result<Self> {
        let mut made: Vec<PathBuf> = if is_missing(runs) { vec![runs.to_owned()] } else { Vec::new() };
        fs::create_dir_all(runs).map_err(Error::io("create", runs))?;
        let time = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
        let name = format!("{recipe}-{time}");
        for count in 1_usize.. {
            let path = runs.join(if count == 1 { name.clone() } else { format!("{name}-{count}") });
            match fs::create_dir(&path) {
                Ok(()) => {
                    made.push(path.clone());
                    return Ok(Self { path, made, kept: false });
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

    /// Where the model lies.
    pub fn model(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// Writes the history, one row an epoch, as Keras's `CSVLogger`: the epochs from 0, names sorted, `NA` for a gap.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_history(&self, history: &History) -> Result<()> {
        let broken = |error: csv::Error| Error::io("write", self.path.join(HISTORY))(error.into());
        let mut table = csv::Writer::from_writer(Vec::new());
        let names = history.history.keys().map(String::as_str);
        table.write_record(std::iter::once("epoch").chain(names)).map_err(broken)?;
        for (row, epoch) in history.epoch.iter().enumerate() {
            let values = history.history.values().map(|values| match values.get(row) {
                Some(value) if !value.is_nan() => value.to_string(),
                _ => "NA".into(),
            });
            table.write_record(std::iter::once(epoch.to_string()).chain(values)).map_err(broken)?;
        }
        let bytes = table.into_inner().map_err(|error| broken(error.into_error().into()))?;
        self.write(HISTORY, &bytes)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        write_atomically(&path, |file| file.write_all(bytes).map_err(Error::io("write", &path)))
    }

    /// From here on there is something worth keeping.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for RunDir {
    /// A run that failed before it had a result leaves the recipe's copy and the directories that were made for it no
    /// longer there, so that the same command can be given again. Directories that hold anything else stay.
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let _ = fs::remove_file(self.path.join(CONFIG));
        for path in self.made.iter().rev() {
            let _ = fs::remove_dir(path);
        }
    }
}

fn is_missing(path: &Path) -> bool {
    !path.as_os_str().is_empty() && fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_not_kept_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("a/b");
        drop(RunDir::create(Some(&out), "r", "x = 1").unwrap());
        assert!(!folder.path().join("a").exists());

        fs::create_dir_all(&out).unwrap();
        fs::write(out.join("notes.txt"), "mine").unwrap();
        drop(RunDir::create(Some(&out), "r", "x = 1").unwrap());
        assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "what was there stays");
    }

    #[test]
    fn a_directory_holds_one_run() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = RunDir::create(Some(folder.path()), "r", "x = 1").unwrap();
        run.keep();
        drop(run);
        let error = RunDir::create(Some(folder.path()), "r", "x = 2").unwrap_err();
        assert!(matches!(error, Error::Argument { .. }), "{error}");
        assert_eq!(fs::read_to_string(folder.path().join(CONFIG)).unwrap(), "x = 1");
    }

    #[test]
    fn runs_of_the_same_second_get_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let runs: Vec<_> = (0..3).map(|_| RunDir::new_in(&folder.path().join("runs"), "cnn").unwrap()).collect();
        let mut names: Vec<_> = runs.iter().map(|run| run.path().to_owned()).collect();
        names.dedup();
        assert_eq!(names.len(), 3);
        let name = names[0].file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("cnn-20") && name.len() == "cnn-20250131-235959".len(), "{name}");
    }

    #[test]
    fn history_is_a_table() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(Some(folder.path()), "r", "").unwrap();
        let mut history = History { epoch: vec![0, 1], ..History::default() };
        history.history.insert("loss".into(), vec![0.5, 0.25]);
        history.history.insert("a,b".into(), vec![f64::NAN, 1e-5]);
        run.write_history(&history).unwrap();
        let text = fs::read_to_string(folder.path().join(HISTORY)).unwrap();
        assert_eq!(text, "epoch,\"a,b\",loss\n0,NA,0.5\n1,0.00001,0.25\n");
    }
}
