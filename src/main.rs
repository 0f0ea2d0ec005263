//! `brasa`, the command line: parse, run, exit code.

#![warn(missing_docs)]
#![deny(unsafe_code)]
#![recursion_limit = "256"]

mod cli;

use std::process::ExitCode;

/// Each operation allocates new tensors, some of them of megabytes; the system's allocator would return that memory to
/// the system and request it again at every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
