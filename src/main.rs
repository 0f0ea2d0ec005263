//! `brasa`, the command line: parse, run, exit code.

#![warn(missing_docs)]
#![deny(unsafe_code)]
#![recursion_limit = "256"]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
