//! Writing to standard output and standard error, either of which may be closed at any time.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use brasa::metrics::Score;
use brasa::text::{escaped_json, printable, printable_lines};
use brasa::{Error, Result};
use serde_json::Value as Json;

/// Standard output's name in messages.
pub const STDOUT: &str = "standard output";

/// Whether another process writes what this one would.
static MUTE: AtomicBool = AtomicBool::new(false);

/// From here on nothing is written but errors: another process, which works together with this one, writes the same.
#[cfg(feature = "mpi")]
pub fn mute() {
    MUTE.store(true, Ordering::Relaxed);
}

/// Writes bytes to standard output.
///
/// # Errors
/// [`Error::Io`] if it is closed or full.
pub fn write(bytes: &[u8]) -> Result<()> {
    if MUTE.load(Ordering::Relaxed) {
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Error::io("write to", STDOUT))
}

/// Writes one or more lines to standard output, without control characters.
///
/// # Errors
/// As [`write`].
pub fn line(text: impl std::fmt::Display) -> Result<()> {
    write(format!("{}\n", printable_lines(&text.to_string())).as_bytes())
}

/// As [`line`], for output before the work is done: the work continues even if nobody reads it.
///
/// # Errors
/// [`Error::Io`] if standard output is full.
pub fn aside(text: impl std::fmt::Display) -> Result<()> {
    match line(text) {
        Err(error) if is_closed(&error) => Ok(()),
        written => written,
    }
}

/// Writes one JSON document to standard output, with control characters escaped.
///
/// # Errors
/// As [`write`].
pub fn json(value: &Json) -> Result<()> {
    json_text(&value.to_string())
}

/// As [`json`], for a serialized document.
///
/// # Errors
/// As [`write`].
pub fn json_text(text: &str) -> Result<()> {
    write(format!("{}\n", escaped_json(text)).as_bytes())
}

/// A path that is safe to show on one line.
pub fn shown(path: &Path) -> String {
    printable(&path.display().to_string())
}

/// Whether the error is that standard output was closed by its reader.
pub fn is_closed(error: &Error) -> bool {
    matches!(error, Error::Io { path, source, .. }
        if path == Path::new(STDOUT) && source.kind() == ErrorKind::BrokenPipe)
}

/// The width of standard output in characters, and whether it shows colours.
pub fn terminal() -> (usize, bool) {
    let width = console::Term::stdout().size_checked().map_or(80, |(_, columns)| usize::from(columns));
    (width, console::colors_enabled())
}

/// Prints why the command failed.
pub fn error(error: &Error) {
    message(console::style("error:").for_stderr().red().bold(), &error.to_string());
}

/// Prints a note.
pub fn note(text: &str) {
    if MUTE.load(Ordering::Relaxed) {
        return;
    }
    message(console::style("note:").for_stderr().bold(), text);
}

/// Prints several notes.
pub fn notes(texts: &[String]) {
    texts.iter().for_each(|text| note(text));
}

/// Writes to standard error; a failure to do so is ignored.
fn message(kind: console::StyledObject<&str>, text: &str) {
    let _ = writeln!(io::stderr(), "{kind} {}", printable_lines(text));
}

/// A score for people: accuracies in percent, other numbers with four decimals; several in brackets.
pub fn score(name: &str, value: &Score) -> String {
    value.show(|value| if name.contains("acc") { format!("{:.2} %", value * 100.0) } else { format!("{value:.4}") })
}
