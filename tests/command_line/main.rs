//! The command line as a user meets it: the program is run, and its output, files and exit code are looked at.
#![cfg(feature = "cli")]

mod bench;
mod commands;
mod determinism;
mod killed;
mod memory;
mod people;
mod plural;
mod report;
#[cfg(unix)]
mod run_directory;
mod support;
mod tables;
#[cfg(unix)]
mod terminal;
mod texts;
mod untrusted;
