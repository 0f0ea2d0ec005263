//! `brasa man`: pages for `man`, one a command.

use std::fs;
use std::path::PathBuf;

use brasa::formats::atomic::write_atomically;
use brasa::{Error, Result};
use clap::{Args, Command, CommandFactory, ValueHint};
use clap_mangen::Man;

use super::help::examples;
use super::{Cli, output};

/// Write man pages: brasa.1 and one for each command.
#[derive(Args, Debug)]
#[command(after_help = examples!("brasa man ~/.local/share/man/man1" "man brasa-train"))]
pub struct Pages {
    /// The folder to write into; it is made if it is not there.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    folder: PathBuf,
}

impl Pages {
    pub fn run(self) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(Error::io("make the folder", &self.folder))?;
        let mut brasa = Cli::command().disable_help_subcommand(true);
        // Gives each command its full name and the options that all of them have.
        brasa.build();
        let written = self.write(&brasa)?;
        output::line(format!("{written} pages → {}", output::shown(&self.folder)))
    }

    /// Writes the pages of a command and of those below it, and returns how many there are.
    fn write(&self, command: &Command) -> Result<usize> {
        let page = Man::new(command.clone());
        let path = self.folder.join(page.get_filename());
        write_atomically(&path, |file| page.render(file).map_err(Error::io("write", &path)))?;
        let below = command.get_subcommands().filter(|command| !command.is_hide_set());
        below.map(|command| self.write(command)).sum::<Result<usize>>().map(|below| 1 + below)
    }
}
