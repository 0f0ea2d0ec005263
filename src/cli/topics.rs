//! `brasa help`: the commands, and every key of a recipe.

use brasa::recipe::{Key, sections};
use brasa::{Error, Result, callbacks, losses, metrics, optimizers};
use clap::{Args, CommandFactory};

use super::help::examples;
use super::layers::wrapped;
use super::output;

/// The topic of a recipe's keys.
const RECIPE: &str = "recipe";

/// Show the help of a command, or every key of a recipe.
#[derive(Args, Debug)]
#[command(after_help = examples!(
    "brasa help recipe"
    "brasa help init images"
))]
pub struct Help {
    /// A command such as `train` or `init images`, or `recipe`.
    #[arg(value_name = "COMMAND|recipe")]
    topic: Vec<String>,
}

impl Help {
    pub fn run(self) -> Result<()> {
        if self.topic == [RECIPE] {
            return recipe();
        }
        let mut command = super::Cli::command();
        command.build();
        let mut found = &mut command;
        for name in &self.topic {
            let known: Vec<String> = found.get_subcommands().map(|command| command.get_name().to_owned()).collect();
            let known = known.into_iter().chain([RECIPE.to_owned()]);
            found = match found.find_subcommand_mut(name) {
                Some(command) => command,
                None => return Err(Error::unknown("command", name, known)),
            };
        }
        output::line(found.render_long_help().to_string().trim_end())
    }
}

/// Prints every key of a recipe.
fn recipe() -> Result<()> {
    let columns = output::terminal().0.clamp(60, 100);
    let indented = |text: &str, indent: usize| {
        let lines = wrapped(text, columns - indent).join(&format!("\n{:indent$}", ""));
        output::line(format!("{:indent$}{lines}", ""))
    };
    indented("A recipe is a TOML file: a model, its data and its training, in the words of Keras's config.", 0)?;
    for section in sections() {
        output::line(format!("\n{}", section.header))?;
        indented(section.about, 2)?;
        for key in &section.keys {
            output::line(format!("  {}", assignment(key)))?;
            let of = match key.data_sets.is_empty() {
                true => String::new(),
                false => format!(" ({})", key.data_sets.join(", ")),
            };
            indented(&format!("{}{of}", key.about), 6)?;
        }
    }
    for (title, names) in [
        ("Losses", losses::names()),
        ("Metrics", metrics::names()),
        ("Optimizers", optimizers::names()),
        ("Callbacks", callbacks::names()),
    ] {
        output::line(format!("\n{title}"))?;
        indented(&names.join(", "), 2)?;
    }
    output::line("\n`brasa init` writes a recipe, `brasa check` tries one.")
}

/// A key with its default.
fn assignment(key: &Key) -> String {
    match key.default {
        "" => format!("{} (required)", key.name),
        "none" => key.name.to_owned(),
        default => format!("{} = {default}", key.name),
    }
}
