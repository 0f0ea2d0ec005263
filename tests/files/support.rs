//! Fixtures, and tests that need their own process.

use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::process::Command;

/// A file written by Keras, from any fixture folder.
pub fn fixture(name: &str) -> PathBuf {
    let fixtures = Path::new("tests/fixtures");
    let folder = ["keras", "models", "keras2"].into_iter().find(|folder| fixtures.join(folder).join(name).exists());
    fixtures.join(folder.unwrap_or("keras")).join(name)
}

/// This program as a process that runs a single test.
#[cfg(unix)]
pub fn alone(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]);
    command
}
