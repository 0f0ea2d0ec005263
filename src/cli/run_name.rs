//! Default names of run directories: recipe, time and a number.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use brasa::{Error, Result};

/// The recipe's file name; a directory with this file holds a run.
pub(super) const CONFIG: &str = "config.toml";

/// The newest run of a recipe in `runs`, by the time in its name.
pub(super) fn newest(runs: &Path, recipe: &str) -> Result<PathBuf> {
    let found = names_of(runs, recipe)?.into_iter().filter(|(_, path)| path.join(CONFIG).exists());
    let none = || Error::argument("resume", format!("a run of `{recipe}` in `{}`", runs.display()), "none");
    found.max().map(|(_, path)| path).ok_or_else(none)
}

/// The name for a new run's directory in `runs`, and the first number that can be free; the number 1 is left out of
/// names. If the clock was set back, the time is that of the newest run, so that the latest run has the largest name.
pub(super) fn next_name(runs: &Path, recipe: &str, now: jiff::Timestamp) -> Result<(String, usize)> {
    let now = now.strftime("%Y%m%d-%H%M%S").to_string();
    let newest = names_of(runs, recipe)?.into_iter().map(|(time, _)| time).max();
    let newest = newest.map(|(day, time, count)| (format!("{day:08}-{time:06}"), count));
    let (time, first) = match newest.filter(|(time, _)| *time >= now) {
        Some((time, count)) => (time, count.saturating_add(1)),
        None => (now, 1),
    };
    Ok((format!("{recipe}-{time}"), first))
}

/// Day, time and number in a name.
type Time = (u64, u64, usize);

/// The entries named like runs of a recipe, with the times and numbers in their names.
fn names_of(runs: &Path, recipe: &str) -> Result<Vec<(Time, PathBuf)>> {
    let entries = match fs::read_dir(runs) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", runs)(error)),
    };
    let named = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        Some((time_of(path.file_name()?.to_str()?, recipe)?, path))
    });
    Ok(named.collect())
}

/// Day, time and number in the name of a recipe's run: `cnn-20250131-235959-2`.
fn time_of(name: &str, recipe: &str) -> Option<Time> {
    let mut parts = name.strip_prefix(recipe)?.strip_prefix('-')?.split('-');
    let mut number = |digits: usize| parts.next().filter(|part| part.len() == digits)?.parse().ok();
    let (day, time) = (number(8)?, number(6)?);
    let count = parts.next().map_or(Some(1), |part| part.parse().ok())?;
    parts.next().is_none().then_some((day, time, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_run_of_a_recipe_is_found() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["cnn-20250131-235959", "cnn-20250131-235959-10", "cnn-20250131-235959-9", "cnn-20240131-235959"] {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join(CONFIG), "").unwrap();
        }
        for name in ["cnn-big-20260131-235959", "cnn-20260131-235959", "cnn-notes"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert!(newest(folder.path(), "cnn").unwrap().ends_with("cnn-20250131-235959-10"));
        assert!(newest(folder.path(), "mlp").is_err());
        assert!(newest(&folder.path().join("none"), "cnn").is_err());
    }
}
