//! Shared by callbacks that watch a metric: the direction of improvement, and the comparison.

use super::{Context, Logs};
use crate::config::choice;
use crate::error::{Error, Result};
use crate::metrics::{Score, improves_upwards};

choice! {
    /// The direction in which a metric improves.
    pub enum Mode: "mode" {
        /// The direction of the metric of that name.
        Auto = "auto",
        /// Downwards, like a loss.
        Min = "min",
        /// Upwards, like an accuracy.
        Max = "max",
    }
}

/// The direction of a watched metric, known once the model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Down,
    Up,
}

impl Mode {
    /// The direction of `monitor` in the context's model.
    ///
    /// # Errors
    /// [`Error::Argument`] if it is `auto` and the metric gives no direction, or if the metric is not a single number.
    pub(super) fn direction(&self, monitor: &str, context: &Context<'_>) -> Result<Direction> {
        self.check()?;
        let name = monitor.strip_prefix("val_").unwrap_or(monitor);
        if context.model.metric_is_list(name)? {
            return Err(not_one(monitor, "one number for each class or threshold"));
        }
        match self {
            Self::Min => return Ok(Direction::Down),
            Self::Max => return Ok(Direction::Up),
            _ => {}
        }
        if name == "loss" {
            return Ok(Direction::Down);
        }
        match context.model.metric_class(name)?.and_then(improves_upwards) {
            Some(true) => Ok(Direction::Up),
            Some(false) => Ok(Direction::Down),
            None => {
                let expected = format!("\"min\" or \"max\", as the direction of `{monitor}` is unknown");
                Err(Error::argument("mode", expected, "\"auto\""))
            }
        }
    }
}

impl Direction {
    /// Whether `value` is better than `reference` by more than `min_delta`; compared in float32, as Keras does. Any
    /// value is better than `None`.
    pub(super) fn improves(self, value: f64, reference: Option<f64>, min_delta: f64) -> bool {
        let Some(reference) = reference else { return true };
        let delta = min_delta.abs();
        match self {
            Self::Down => ((value + delta) as f32) < reference as f32,
            Self::Up => ((value - delta) as f32) > reference as f32,
        }
    }
}

/// The watched number; `None` and a warning if the logs lack it.
///
/// # Errors
/// [`Error::Argument`] for a metric of several numbers.
pub(super) fn watched(callback: &str, monitor: &str, logs: &Logs) -> Result<Option<f64>> {
    match logs.score(monitor) {
        Some(Score::One(number)) => Ok(Some(*number)),
        Some(Score::Several(numbers)) => Err(not_one(monitor, &format!("{} numbers", numbers.len()))),
        None => {
            let names: Vec<&str> = logs.names().collect();
            tracing::warn!("{callback} watches `{monitor}`, which is not there; there are: {}", names.join(", "));
            Ok(None)
        }
    }
}

/// The error for a metric of several numbers, among which there is no best.
fn not_one(monitor: &str, received: &str) -> Error {
    let expected = "a metric that is one number (with one threshold, or with an average over the classes)";
    Error::argument("monitor", expected, format!("`{monitor}`, a list: {received}"))
}
