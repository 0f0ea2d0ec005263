//! The crate's only error type: what went wrong and where, what was expected and what was received.
//!
//! A received value can come from a file of any size. The constructors keep a line of it, and formatting shortens every
//! part again, so that no message is longer than a few lines.

use std::fmt::{self, Display, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::text::shortened;

/// A `Result` whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// All errors, as fields rather than prose.
///
/// A message names the place (layer, argument, file), what was expected there and what was received; nothing that a
/// user does makes the library panic. Variants can gain fields: end patterns with `..`.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An error in one layer of a model, given in `source`.
    #[error("layer `{}` ({}): {}", line(layer, NAME), line(class_name, NAME), below(.source))]
    #[non_exhaustive]
    Layer {
        /// Name of the layer, as in `summary`.
        layer: String,
        /// Its Keras class name.
        class_name: String,
        /// The error.
        source: Box<Error>,
    },

    /// An argument with an invalid value.
    #[error(
        "invalid value for argument `{}`: expected {}, received {}",
        line(argument, NAME),
        line(expected, EXPECTED),
        line(received, RECEIVED)
    )]
    #[non_exhaustive]
    Argument {
        /// The argument's name, as in Keras.
        argument: String,
        /// The valid values.
        expected: String,
        /// The value received.
        received: String,
    },

    /// An unknown name of an activation, a loss, a configuration key…
    #[error(
        "unknown {kind} `{}`{}; valid: {}",
        line(name, RECEIVED),
        did_you_mean(name, valid),
        words(kind, name, valid)
    )]
    #[non_exhaustive]
    UnknownName {
        /// The kind of name, such as `activation`.
        kind: &'static str,
        /// The name received.
        name: String,
        /// Every valid name.
        valid: Vec<String>,
    },

    /// A shape that does not fit.
    #[error("incompatible shape: expected {}, received {}", line(expected, EXPECTED), line(received, RECEIVED))]
    #[non_exhaustive]
    Shape {
        /// The shapes that would fit.
        expected: String,
        /// The shape received.
        received: String,
    },

    /// A call that needs another one first: `fit` before `compile`, `summary` of weights before `build`.
    #[error("{action} needs a model that is {needs}")]
    #[non_exhaustive]
    State {
        /// The call that was made.
        action: &'static str,
        /// What is missing, with the call that provides it.
        needs: String,
    },

    /// Two layers of one model have the same name.
    #[error(
        "all layers of a model need unique names: `{}` is already the name of a layer in model `{}`",
        line(name, RECEIVED),
        line(model, NAME)
    )]
    #[non_exhaustive]
    DuplicateName {
        /// The model.
        model: String,
        /// The name that occurs twice.
        name: String,
    },

    /// A layer that the model does not have.
    #[error("no such layer: {}; existing layers: {}", line(wanted, RECEIVED), words("layer", wanted, existing))]
    #[non_exhaustive]
    NoSuchLayer {
        /// The name or index that was requested.
        wanted: String,
        /// The names of the existing layers.
        existing: Vec<String>,
    },

    /// Data that does not fit the model or the loss.
    #[error(
        "data: {}: expected {}, received {}",
        line(what, EXPECTED),
        line(expected, EXPECTED),
        line(received, RECEIVED)
    )]
    #[non_exhaustive]
    Data {
        /// The part of the data.
        what: String,
        /// The data that would fit.
        expected: String,
        /// The data received.
        received: String,
    },

    /// Weights that do not fit the model, with a list of all mismatches.
    #[error("weights do not fit the model; the model is unchanged:{}", lines(problems))]
    #[non_exhaustive]
    Weights {
        /// One line for each missing, unexpected or misshapen weight.
        problems: Vec<String>,
    },

    /// A failed operation on a file.
    #[error("cannot {action} `{}`: {source}", shown(path))]
    #[non_exhaustive]
    Io {
        /// The operation: `read`, `write`, `create`…
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: Arc<std::io::Error>,
    },

    /// An operation that was stopped before it had a result.
    #[error("{action} was interrupted")]
    #[non_exhaustive]
    Interrupted {
        /// The operation.
        action: &'static str,
    },

    /// A rank of a distributed training that has failed, has not answered, or differs from the others.
    #[error("rank {rank}: {}", line(reason, EXPECTED))]
    #[non_exhaustive]
    Rank {
        /// The rank, from 0.
        rank: usize,
        /// The failure.
        reason: String,
    },

    /// A thread that could not be started.
    #[error("cannot start a thread for {purpose}: {source}")]
    #[non_exhaustive]
    Thread {
        /// The purpose of the thread.
        purpose: &'static str,
        /// The system's error.
        source: Arc<std::io::Error>,
    },

    /// A file that is damaged, truncated, or of another format.
    #[error("`{}` is broken at {}: {}", line(file, PLACE), line(at, PLACE), line(reason, EXPECTED))]
    #[non_exhaustive]
    Broken {
        /// The file.
        file: String,
        /// The place in it: a member, a line, a key path.
        at: String,
        /// The defect there.
        reason: String,
    },

    /// A valid Keras file or setting that Brasa does not support.
    #[error("not supported: {}; supported: {}", line(what, EXPECTED), line(supported, EXPECTED))]
    #[non_exhaustive]
    Unsupported {
        /// The class, argument or feature.
        what: String,
        /// The supported alternatives.
        supported: String,
    },

    /// A recipe with a mistake in it.
    #[error("{}:{line}:{column}: {source}", self::line(file, PLACE))]
    #[non_exhaustive]
    Recipe {
        /// The recipe's path.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The mistake.
        source: Box<Error>,
    },

    /// A text with a syntax error (TOML, JSON, a number).
    #[error("{}", shortened(.0, SYNTAX))]
    Syntax(String),

    /// A device that is not available.
    #[error("device `{}` is not available: {reason}; found: {}", line(requested, RECEIVED), .found.join(", "))]
    #[non_exhaustive]
    Device {
        /// The requested device.
        requested: String,
        /// Why it is not available.
        reason: String,
        /// The available devices.
        found: Vec<String>,
    },

    /// A computation that exceeds the available memory or a limit.
    #[error("not enough memory for {needs}: {} needed, {what} is {}", crate::text::bytes_text(*.bytes), crate::text::bytes_text(*.most))]
    #[non_exhaustive]
    Memory {
        /// What needs the memory.
        needs: String,
        /// The bytes needed, including everything that must be in memory at the same time.
        bytes: u64,
        /// The bytes available.
        most: u64,
        /// The source of the bound: a limit, or the machine.
        what: &'static str,
    },

    /// A loss that is infinite or NaN.
    #[error(
        "the loss is {loss} at epoch {epoch}, batch {batch} (learning rate {learning_rate:e}){}: lower the learning rate, or look for infinite values in the data", place.as_ref().map(|place| format!("; {place}")).unwrap_or_default()
    )]
    #[non_exhaustive]
    NonFinite {
        /// The loss.
        loss: f32,
        /// Epoch, from 1.
        epoch: usize,
        /// The batch, from 1; if it is not known exactly, the last one of the interval between checks.
        batch: usize,
        /// The learning rate of that batch.
        learning_rate: f32,
        /// The layer in which it first occurred, in words, if known.
        place: Option<String>,
    },
}

/// The most characters that a message shows of a name, of a received value, of a place, of what was expected, and of a
/// parser's message.
const NAME: usize = 80;
pub(crate) const RECEIVED: usize = 120;
const PLACE: usize = 240;
const EXPECTED: usize = 400;
const SYNTAX: usize = 1_000;

/// The most characters that an error stores of a name.
const KEPT: usize = 1_000;

/// The most bytes of the lines of [`Error::Weights`].
const PROBLEMS: usize = 1_200;

/// The most valid words that a message lists, and the most bytes of them; beyond these it lists the [`NEAREST`].
const WORDS: usize = 40;
const WORDS_LENGTH: usize = 500;
const NEAREST: usize = 6;

/// The longest name that is compared with the valid ones.
const COMPARED: usize = 64;

/// The most levels of nested layers that a message names.
const LEVELS: usize = 4;

impl Error {
    /// An [`Error::Argument`].
    pub fn argument(argument: impl Into<String>, expected: impl Into<String>, received: impl Display) -> Self {
        Self::Argument {
            argument: kept(argument, KEPT),
            expected: kept(expected, EXPECTED),
            received: begun(received, RECEIVED),
        }
    }

    /// An [`Error::Shape`].
    pub fn shape(expected: impl Into<String>, received: impl Display) -> Self {
        Self::Shape { expected: kept(expected, EXPECTED), received: begun(received, RECEIVED) }
    }

    /// An [`Error::Data`].
    pub fn data(what: impl Into<String>, expected: impl Into<String>, received: impl Display) -> Self {
        Self::Data {
            what: kept(what, EXPECTED),
            expected: kept(expected, EXPECTED),
            received: begun(received, RECEIVED),
        }
    }

    /// An [`Error::UnknownName`].
    pub fn unknown<S: ToString>(
        kind: &'static str,
        name: impl Into<String>,
        valid: impl IntoIterator<Item = S>,
    ) -> Self {
        let valid = valid.into_iter().map(|name| name.to_string()).collect();
        Self::UnknownName { kind, name: kept(name, KEPT), valid }
    }

    /// An [`Error::Broken`].
    pub fn broken(file: impl Into<String>, at: impl Into<String>, reason: impl Display) -> Self {
        Self::Broken { file: file.into(), at: kept(at, PLACE), reason: begun(reason, EXPECTED) }
    }

    /// An [`Error::Unsupported`].
    pub fn unsupported(what: impl Into<String>, supported: impl Into<String>) -> Self {
        Self::Unsupported { what: kept(what, EXPECTED), supported: kept(supported, EXPECTED) }
    }

    /// An [`Error::Device`] for a device that was available and failed.
    pub(crate) fn failed_device(device: &burn::tensor::Device, reason: impl ToString) -> Self {
        Self::Device { requested: format!("{device:?}"), reason: reason.to_string(), found: Vec::new() }
    }

    /// An [`Error::Io`], for `map_err`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source: Arc::new(source) }
    }

    /// An [`Error::State`]: the call, and what the model needs to be.
    pub fn state(action: &'static str, needs: impl Into<String>) -> Self {
        Self::State { action, needs: needs.into() }
    }

    /// An [`Error::Thread`].
    pub fn thread(purpose: &'static str, source: std::io::Error) -> Self {
        Self::Thread { purpose, source: Arc::new(source) }
    }

    /// An [`Error::Rank`].
    pub fn rank(rank: usize, reason: impl Into<String>) -> Self {
        Self::Rank { rank, reason: kept(reason, EXPECTED) }
    }

    /// An [`Error::Interrupted`].
    pub fn interrupted(action: &'static str) -> Self {
        Self::Interrupted { action }
    }
}

/// The text, shortened to what a message shows.
fn kept(text: impl Into<String>, most: usize) -> String {
    let text = text.into();
    if text.len() <= most { text } else { shortened(&text, most) }
}

/// The formatted value, shortened to what a message shows. Formatting stops early, so a value of megabytes is not
/// written out.
pub(crate) fn begun(value: impl Display, most: usize) -> String {
    /// Stores text up to a length, and then fails.
    struct Begin {
        text: String,
        room: usize,
    }
    impl Write for Begin {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            match part.char_indices().nth(self.room) {
                None => {
                    self.room -= part.chars().count();
                    self.text.push_str(part);
                    Ok(())
                }
                Some((end, _)) => {
                    self.room = 0;
                    self.text.push_str(&part[..end]);
                    Err(fmt::Error)
                }
            }
        }
    }
    let mut begin = Begin { text: String::new(), room: 16 * most };
    let whole = write!(begin, "{value}").is_ok();
    match whole {
        true => kept(begin.text, most),
        false => {
            let mut text: String = begin.text.chars().take(most).collect();
            text.push('…');
            text
        }
    }
}

/// A part of a message: on one line, and of at most `most` characters.
fn line(text: &str, most: usize) -> String {
    crate::text::printable(&shortened(text, most))
}

/// A path in a message.
pub(crate) fn shown(path: &Path) -> String {
    line(&path.display().to_string(), PLACE)
}

/// The error inside a layer. Of deeply nested layers only the innermost are shown.
fn below(source: &Error) -> String {
    let inner = |error: &'_ Error| matches!(error, Error::Layer { .. });
    let mut chain = vec![source];
    while let Some(Error::Layer { source, .. }) = chain.last() {
        chain.push(source);
    }
    match chain.len().checked_sub(LEVELS) {
        Some(skipped) if skipped > 0 && inner(source) => format!("… {}", chain[skipped]),
        _ => source.to_string(),
    }
}

/// The lines of [`Error::Weights`], up to a total length.
fn lines(problems: &[String]) -> String {
    let mut text = String::new();
    for (index, problem) in problems.iter().enumerate() {
        let next = line(problem, PLACE);
        if index > 0 && text.len() + next.len() > PROBLEMS {
            let _ = write!(text, "\n  … and {} more", problems.len() - index);
            break;
        }
        let _ = write!(text, "\n  {next}");
    }
    text
}

/// The valid words if they are few, else those most like `name` and where to find all of them.
pub(crate) fn words(kind: &str, name: &str, valid: &[String]) -> String {
    let join = |words: &[&str]| words.iter().map(|word| line(word, NAME)).collect::<Vec<_>>().join(", ");
    if valid.len() <= WORDS && valid.iter().map(|word| word.len() + 2).sum::<usize>() <= WORDS_LENGTH {
        return join(&valid.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let mut words: Vec<(f64, &str)> = valid.iter().map(|word| (likeness(name, word), word.as_str())).collect();
    // A stable sort: equally similar words stay in order.
    words.sort_by(|a, b| b.0.total_cmp(&a.0));
    let nearest: Vec<&str> = words.iter().take(NEAREST).map(|(_, word)| *word).collect();
    let place = match kind {
        "activation" => "; all are in `brasa::activations`",
        "layer class" => "; all are in `brasa::layers`",
        "loss" => "; all are in `brasa::losses`",
        "metric" => "; all are in `brasa::metrics`",
        "initializer" => "; all are in `brasa::initializers`",
        "optimizer" => "; all are in `brasa::optimizers`",
        "callback" => "; all are in `brasa::callbacks`",
        "layer" => "; `summary` shows all",
        _ => "",
    };
    format!("{}, … ({} in all{place})", join(&nearest), valid.len())
}

/// `, did you mean …?` if a valid name is similar enough.
fn did_you_mean(name: &str, valid: &[String]) -> String {
    nearest(name, valid).map(|near| format!(", did you mean `{near}`?")).unwrap_or_default()
}

/// The similarity of two names, from 0 to 1; long ones are not compared.
fn likeness(name: &str, candidate: &str) -> f64 {
    if name.len() > COMPARED || candidate.len() > COMPARED {
        return 0.0;
    }
    strsim::jaro_winkler(&name.to_lowercase(), &candidate.to_lowercase())
}

/// The valid name most like `name`, if any is similar.
pub(crate) fn nearest<'a>(name: &str, valid: &'a [String]) -> Option<&'a str> {
    if name.len() > COMPARED {
        return None;
    }
    valid
        .iter()
        // Of names that differ only in case, the one with the same case.
        .map(|candidate| (likeness(name, candidate), candidate))
        .filter(|(alike, _)| *alike > 0.8)
        .map(|(alike, candidate)| (alike, strsim::jaro_winkler(name, candidate), candidate.as_str()))
        .max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)))
        .map(|(.., candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_small_and_can_be_sent_anywhere() {
        fn can_be_sent_anywhere<T: Clone + Send + Sync + 'static>() {}
        can_be_sent_anywhere::<Error>();
        // Every operation returns a `Result`, which is moved around as a whole.
        assert!(size_of::<Error>() <= 88, "{}", size_of::<Error>());
    }

    #[test]
    fn an_unknown_name_suggests_the_nearest() {
        let error = Error::unknown("activation", "rellu", ["linear", "relu", "tanh"]);
        assert_eq!(error.to_string(), "unknown activation `rellu`, did you mean `relu`?; valid: linear, relu, tanh");
    }

    #[test]
    fn a_dissimilar_name_suggests_nothing() {
        let error = Error::unknown("loss", "zzz", ["mse"]);
        assert_eq!(error.to_string(), "unknown loss `zzz`; valid: mse");
    }

    #[test]
    fn messages_are_short_for_any_input() {
        let long = "x\n\u{202e}".repeat(1_000_000);
        let list = vec![serde_json::json!([0, 0, 0]); 100_000];
        let many: Vec<String> = (0..100_000).map(|i| format!("name{i}")).collect();
        let mut deep = Error::argument("units", "an integer", serde_json::Value::from(list));
        for level in 0..100 {
            let (layer, class_name) = (format!("layer{level}"), "TimeDistributed".to_owned());
            deep = Error::Layer { layer, class_name, source: Box::new(deep) };
        }
        let of = || long.clone();
        let errors = [
            Error::argument(of(), of(), &long),
            Error::Argument { argument: of(), expected: of(), received: of() },
            Error::unknown("layer class", of(), &many),
            Error::unknown("argument", of(), &many[..10]),
            Error::shape(of(), &long),
            Error::Shape { expected: of(), received: of() },
            Error::DuplicateName { model: of(), name: of() },
            Error::NoSuchLayer { wanted: of(), existing: many.clone() },
            Error::data(of(), of(), &long),
            Error::Weights { problems: many.clone() },
            Error::Weights { problems: vec![of(); 100] },
            Error::io("read", &long)(std::io::ErrorKind::NotFound.into()),
            Error::broken(of(), of(), &long),
            Error::unsupported(of(), of()),
            Error::Recipe { file: of(), line: 1, column: 1, source: Box::new(deep) },
            Error::Syntax(of()),
        ];
        for error in errors {
            let text = error.to_string();
            assert!(text.chars().count() <= 1_700, "{} characters: {text}", text.chars().count());
            assert!(!text.contains('\u{202e}') || matches!(error, Error::Syntax(_)), "{text}");
        }
    }

    #[test]
    fn only_the_nearest_of_many_words_are_listed() {
        let valid: Vec<String> = (0..50).map(|i| format!("word{i}")).chain(["relu".into()]).collect();
        let text = Error::unknown("activation", "rellu", valid).to_string();
        let begin = "unknown activation `rellu`, did you mean `relu`?; valid: relu, ";
        assert!(text.starts_with(begin), "{text}");
        assert!(text.ends_with(", … (51 in all; all are in `brasa::activations`)"), "{text}");
    }

    #[test]
    fn a_shortened_text_keeps_its_beginning_and_end() {
        let error = Error::argument("out", "a folder", format!("`{}` (--resume continues)", "d/".repeat(200)));
        let text = error.to_string();
        assert!(text.contains("received `d/d/") && text.ends_with("d/` (--resume continues)"), "{text}");
    }

    #[test]
    fn errors_cross_threads() {
        fn assert<T: Send + Sync + std::error::Error + 'static>() {}
        assert::<Error>();
    }
}
