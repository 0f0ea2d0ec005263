//! The one error type of the crate: what went wrong, where, what was expected and what came.

use std::path::PathBuf;

/// A `Result` whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, as fields rather than prose.
///
/// A message names the place (layer, argument, file), what was expected there and what was received;
/// nothing that a user does makes the library panic.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something about one layer of a model is wrong; `source` says what.
    #[error("layer `{layer}` ({class_name}): {source}")]
    Layer {
        /// Name of the layer, as in `summary`.
        layer: String,
        /// Its Keras class name.
        class_name: String,
        /// What is wrong with it.
        source: Box<Error>,
    },

    /// An argument has a value that it may not have.
    #[error("invalid value for argument `{argument}`: expected {expected}, received {received}")]
    Argument {
        /// The argument's name, Keras's word.
        argument: String,
        /// The values that it may have.
        expected: String,
        /// The value that came.
        received: String,
    },

    /// A name that is none of the known ones: an activation, a loss, a configuration key…
    #[error("unknown {kind} `{name}`{}; valid: {}", did_you_mean(.name, .valid), .valid.join(", "))]
    UnknownName {
        /// What was looked up, such as `activation`.
        kind: &'static str,
        /// The name that came.
        name: String,
        /// Every valid name.
        valid: Vec<String>,
    },

    /// A shape that does not fit.
    #[error("incompatible shape: expected {expected}, received {received}")]
    Shape {
        /// What would fit.
        expected: String,
        /// The shape that came.
        received: String,
    },

    /// A call that needs another one first: `fit` before `compile`, `summary` of weights before `build`.
    #[error("{action} needs a model that is {needs}")]
    State {
        /// The call that was made.
        action: &'static str,
        /// What is missing, with the call that provides it.
        needs: String,
    },

    /// Two layers of one model have the same name.
    #[error("all layers of a model need unique names: `{name}` is already the name of a layer in model `{model}`")]
    DuplicateName {
        /// The model.
        model: String,
        /// The name that came twice.
        name: String,
    },

    /// A layer that the model does not have.
    #[error("no such layer: {wanted}; existing layers: {}", .existing.join(", "))]
    NoSuchLayer {
        /// The name or index that was asked for.
        wanted: String,
        /// The names of the layers there are.
        existing: Vec<String>,
    },

    /// Data that does not fit the model or the loss.
    #[error("data: {what}: expected {expected}, received {received}")]
    Data {
        /// Which part of the data.
        what: String,
        /// What would fit.
        expected: String,
        /// What came.
        received: String,
    },

    /// Weights that do not fit the model; all of them are listed.
    #[error("weights do not fit the model; the model is unchanged:\n  {}", .problems.join("\n  "))]
    Weights {
        /// One line for each missing, unexpected or misshapen weight.
        problems: Vec<String>,
    },

    /// The operating system refused something about a file.
    #[error("cannot {action} `{}`: {source}", .path.display())]
    Io {
        /// What was tried: `read`, `write`, `create`…
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },

    /// A file that is damaged, cut off, or not of its kind.
    #[error("`{file}` is broken at {at}: {reason}")]
    Broken {
        /// The file.
        file: String,
        /// Where in it: a member, a line, a key path.
        at: String,
        /// What is wrong there.
        reason: String,
    },

    /// A valid Keras file or setting that Brasa does not do.
    #[error("not supported: {what}; supported: {supported}")]
    Unsupported {
        /// The class, argument or feature.
        what: String,
        /// What there is instead.
        supported: String,
    },

    /// A recipe with a mistake in it.
    #[error("{file}:{line}:{column}: {source}")]
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

    /// A text that is not of the expected form (TOML, JSON, a number).
    #[error("{0}")]
    Syntax(String),

    /// A device that cannot be had.
    #[error("device `{requested}` is not available: {reason}; found: {}", .found.join(", "))]
    Device {
        /// The device as it was asked for.
        requested: String,
        /// Why it cannot be had.
        reason: String,
        /// The devices that can.
        found: Vec<String>,
    },

    /// The loss became infinite or not a number.
    #[error(
        "the loss is {loss} at epoch {epoch}, batch {batch} (learning rate {learning_rate:e}){}: lower the learning rate, or look for infinite values in the data", place.as_ref().map(|place| format!("; {place}")).unwrap_or_default()
    )]
    NonFinite {
        /// The loss that was seen.
        loss: f32,
        /// Epoch, from 1.
        epoch: usize,
        /// The batch, from 1; where that cannot be told, the last of the stretch in which it was seen.
        batch: usize,
        /// The learning rate of that batch.
        learning_rate: f32,
        /// The layer with which it began, in words, where that can be told.
        place: Option<String>,
    },
}

impl Error {
    /// An [`Error::Argument`].
    pub fn argument(argument: impl Into<String>, expected: impl Into<String>, received: impl ToString) -> Self {
        Self::Argument { argument: argument.into(), expected: expected.into(), received: received.to_string() }
    }

    /// An [`Error::Shape`].
    pub fn shape(expected: impl Into<String>, received: impl ToString) -> Self {
        Self::Shape { expected: expected.into(), received: received.to_string() }
    }

    /// An [`Error::Data`].
    pub fn data(what: impl Into<String>, expected: impl Into<String>, received: impl ToString) -> Self {
        Self::Data { what: what.into(), expected: expected.into(), received: received.to_string() }
    }

    /// An [`Error::UnknownName`].
    pub fn unknown<S: ToString>(
        kind: &'static str,
        name: impl Into<String>,
        valid: impl IntoIterator<Item = S>,
    ) -> Self {
        Self::UnknownName { kind, name: name.into(), valid: valid.into_iter().map(|name| name.to_string()).collect() }
    }

    /// An [`Error::Broken`].
    pub fn broken(file: impl Into<String>, at: impl Into<String>, reason: impl ToString) -> Self {
        Self::Broken { file: file.into(), at: at.into(), reason: reason.to_string() }
    }

    /// An [`Error::Unsupported`].
    pub fn unsupported(what: impl Into<String>, supported: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into(), supported: supported.into() }
    }

    /// An [`Error::Device`] for one that was there and failed.
    pub(crate) fn failed_device(device: &burn::tensor::Device, reason: impl ToString) -> Self {
        Self::Device { requested: format!("{device:?}"), reason: reason.to_string(), found: Vec::new() }
    }

    /// An [`Error::Io`], for `map_err`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// `, did you mean …?` when a valid name is near enough to be what was meant.
fn did_you_mean(name: &str, valid: &[String]) -> String {
    nearest(name, valid).map(|near| format!(", did you mean `{near}`?")).unwrap_or_default()
}

/// The valid name most like `name`, if one is like it at all.
pub(crate) fn nearest<'a>(name: &str, valid: &'a [String]) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    valid
        .iter()
        .map(|candidate| {
            let alike = strsim::jaro_winkler(&wanted, &candidate.to_lowercase());
            // Of names that differ only in case, the one with the same case.
            (alike, strsim::jaro_winkler(name, candidate), candidate.as_str())
        })
        .filter(|(alike, ..)| *alike > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)))
        .map(|(.., candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_suggests_the_nearest() {
        let error = Error::unknown("activation", "rellu", ["linear", "relu", "tanh"]);
        assert_eq!(error.to_string(), "unknown activation `rellu`, did you mean `relu`?; valid: linear, relu, tanh");
    }

    #[test]
    fn a_far_name_suggests_nothing() {
        let error = Error::unknown("loss", "zzz", ["mse"]);
        assert_eq!(error.to_string(), "unknown loss `zzz`; valid: mse");
    }

    #[test]
    fn errors_cross_threads() {
        fn assert<T: Send + Sync + std::error::Error + 'static>() {}
        assert::<Error>();
    }
}
