//! `brasa`, the command line: parse, run, exit code.

#![warn(missing_docs)]
#![deny(unsafe_code)]
#![recursion_limit = "256"]

mod cli;

use std::process::ExitCode;

/// Each operation makes new tensors, some of them of megabytes; the system's allocator would return those to the system
/// and fetch them again at every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
