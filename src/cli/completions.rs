//! `brasa completions`: shell completions.

use brasa::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::help::examples;
use super::{Cli, output};

/// Print completions for a shell.
#[derive(Args, Debug)]
#[command(after_help = examples!(
    "brasa completions bash > ~/.local/share/bash-completion/completions/brasa"
    "brasa completions fish > ~/.config/fish/completions/brasa.fish"
))]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "brasa", &mut script);
        output::write(&script)
    }
}
