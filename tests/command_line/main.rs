//! The command line as a user meets it: the program is run, and its output, files and exit code are looked at.
#![cfg(feature = "cli")]

mod bench;
mod commands;
mod killed;
mod report;
mod support;
#[cfg(unix)]
mod terminal;
