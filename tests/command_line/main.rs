//! End-to-end tests of the command line: the program's output, files and exit code.
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
mod shards;
mod support;
mod tables;
#[cfg(unix)]
mod terminal;
mod texts;
mod untrusted;
