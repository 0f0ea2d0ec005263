//! The command line: arguments, commands and exit codes.
//!
//! Results go to standard output, progress and messages to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage,
//! 130 interrupted.

mod answers;
mod bench;
mod check;
mod completions;
mod compute;
mod convert;
mod devices;
mod evaluate;
mod find_lr;
mod help;
mod init;
mod inputs;
mod interrupt;
mod layers;
mod man;
mod model_file;
mod output;
mod plot;
mod predict;
mod prepared;
mod ranks;
mod report;
mod run_dir;
mod run_name;
mod runs;
mod seconds;
mod serve;
mod summary;
mod table;
mod topics;
mod train;

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;

use brasa::layers::Layer;
use brasa::model::FileFormat;
use brasa::{Error, Model, Result};
use clap::{ArgAction, Parser, Subcommand};

/// Keras for Rust: train, evaluate and use models.
#[derive(Debug, Parser)]
#[command(
    name = "brasa",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = help::MOST_COLUMNS,
    after_help = help::examples!(
        "brasa train" "brasa init images photos && brasa train images.toml" "brasa predict runs/images-… new.png"
    )
)]
#[command(disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Log more to standard error: -v what is done, -vv how.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,

    /// Show no progress.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Init),
    Check(check::Check),
    Train(Box<train::Train>),
    Evaluate(evaluate::Evaluate),
    Predict(predict::Predict),
    Serve(Box<serve::Serve>),
    Summary(summary::Summary),
    Runs(runs::Runs),
    Plot(plot::Plot),
    Convert(convert::Convert),
    Layers(layers::Layers),
    Devices(devices::Devices),
    Bench(bench::Bench),
    Completions(completions::Completions),
    Help(topics::Help),
    Man(man::Pages),
}

/// Parses the arguments, runs the command, and returns its exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log(cli.verbose);
    outlive_size_limit();
    match run(cli) {
        Ok(code) => code,
        // The reader has closed the output, as `head` does: not a failure.
        Err(error) if output::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let (quiet, verbose) = (cli.quiet, cli.verbose);
    match cli.command {
        Command::Init(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Train(command) => return command.run(quiet),
        Command::Evaluate(command) => command.run(quiet),
        Command::Predict(command) => return command.run(quiet),
        Command::Serve(command) => command.run(quiet),
        Command::Summary(command) => command.run(),
        Command::Runs(command) => command.run(),
        Command::Plot(command) => command.run(),
        Command::Convert(command) => command.run(),
        Command::Layers(command) => command.run(),
        Command::Devices(command) => command.run(),
        Command::Bench(command) => return command.run(verbose),
        Command::Completions(command) => command.run(),
        Command::Help(command) => command.run(),
        Command::Man(command) => command.run(),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// Catches the signal for a file that grows beyond the limit of the shell (`ulimit -f`): the write then fails with an
/// error, and the old file stays, where the signal would end the process.
#[cfg(unix)]
fn outlive_size_limit() {
    let received = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    if let Err(error) = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, received) {
        tracing::debug!("SIGXFSZ will end the process: {error}");
    }
}

#[cfg(not(unix))]
fn outlive_size_limit() {}

/// Logs to standard error at the level of `-v`, else of `RUST_LOG`, else Brasa's warnings only (drivers that are probed
/// without success log errors of their own).
fn log(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let filter = match verbose {
        0 => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off,brasa=warn")),
        1 => EnvFilter::new("warn,brasa=info"),
        2 => EnvFilter::new("info,brasa=debug"),
        _ => EnvFilter::new("debug"),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // There is no logger yet, so this cannot fail.
    let _ = builder.without_time().try_init();
}

/// The batch size where none is given.
fn batch_size(given: Option<NonZeroUsize>, model: &Model) -> usize {
    const MANY: usize = 128;
    let fixed = model.batch_size().filter(|_| model.is_stateful());
    given.map(NonZeroUsize::get).or(fixed).unwrap_or(MANY)
}

/// A path as a recipe holds it.
///
/// # Errors
/// `Error::Unsupported` if it is not Unicode.
fn path_text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::unsupported(format!("the path `{}`", path.display()), "Unicode"))
}

/// Refuses a model file without weights: its predictions would be random.
fn needs_weights(path: &Path) -> Result<()> {
    if FileFormat::of(path)?.has_weights() {
        return Ok(());
    }
    let received = format!("`{}`", path.display());
    Err(Error::argument("MODEL", "a file with weights (.keras, .h5 or .safetensors)", received))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example_of_itself() {
        use clap::CommandFactory;
        fn check(command: &clap::Command) {
            let name = command.get_bin_name().unwrap_or(command.get_name());
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(examples.contains(&format!("  $ {name}")), "{name}: {examples}");
            command.get_subcommands().for_each(check);
        }
        let mut brasa = Cli::command().disable_help_subcommand(true);
        brasa.build();
        check(&brasa);
    }
}
