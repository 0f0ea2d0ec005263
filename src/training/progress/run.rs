//! The state of one pass over the batches, and its display.

use std::time::Duration;

use super::format::{format_duration, format_logs, format_time_per_step};

/// The width of the bar in characters.
#[cfg(feature = "progress")]
pub(super) const BAR_WIDTH: usize = 20;

/// One pass over the batches: an epoch, an evaluation, a prediction.
pub(super) struct ProgressLoop {
    /// `Epoch 1/5`, or empty.
    pub(super) heading: String,
    pub(super) steps: Option<usize>,
    pub(super) done: usize,
    pub(super) logs: Vec<(String, f64)>,
    pub(super) start: Duration,
    pub(super) after_first_step: Option<Duration>,
    #[cfg(feature = "progress")]
    pub(super) drawn: Option<Duration>,
}

impl ProgressLoop {
    pub(super) fn new(heading: String, steps: Option<usize>, start: Duration) -> Self {
        Self {
            heading,
            steps,
            done: 0,
            logs: Vec::new(),
            start,
            after_first_step: None,
            #[cfg(feature = "progress")]
            drawn: None,
        }
    }

    /// Seconds per step. The first, which can include compilation and warm-up, is excluded if there are others.
    fn time_per_step(&self, now: Duration) -> f64 {
        match (self.done, self.after_first_step) {
            (0, _) => 0.0,
            (2.., Some(first)) => now.saturating_sub(first).as_secs_f64() / (self.done - 1) as f64,
            _ => self.elapsed(now) / self.done as f64,
        }
    }

    fn elapsed(&self, now: Duration) -> f64 {
        now.saturating_sub(self.start).as_secs_f64()
    }

    #[cfg(feature = "progress")]
    /// The message behind a running bar: time left (or elapsed, if the end is unknown), time per step, metrics.
    pub(super) fn status(&self, now: Duration) -> String {
        let per_step = self.time_per_step(now);
        let time = match self.steps {
            Some(steps) => (per_step * steps.saturating_sub(self.done) as f64).trunc(),
            None => self.elapsed(now),
        };
        format!("{} {}{}", format_duration(time), format_time_per_step(per_step), self.tail())
    }

    #[cfg(feature = "progress")]
    /// The final bar that stays in the terminal, with the elapsed time.
    pub(super) fn last_bar(&self, now: Duration) -> String {
        let filled = match self.steps {
            Some(steps) => (BAR_WIDTH * self.done).checked_div(steps).unwrap_or(BAR_WIDTH).min(BAR_WIDTH),
            None => 0,
        };
        let bar = console::style("━".repeat(filled)).for_stderr().green();
        let rest = console::style("─".repeat(BAR_WIDTH - filled)).for_stderr().dim();
        let time = format_duration(self.elapsed(now));
        let per_step = format_time_per_step(self.time_per_step(now));
        format!("{} {bar}{rest} {time} {per_step}{}", self.count(), self.tail())
    }

    /// The whole run in one line.
    pub(super) fn line(&self, now: Duration) -> String {
        let heading = if self.heading.is_empty() { String::new() } else { format!("{} - ", self.heading) };
        let time = format_duration(self.elapsed(now));
        let per_step = format_time_per_step(self.time_per_step(now));
        format!("{heading}{} - {time} - {per_step}{}", self.count(), self.tail())
    }

    fn count(&self) -> String {
        let steps = self.steps.map_or_else(|| "Unknown".into(), |steps| steps.to_string());
        let width = if self.steps.is_some() { steps.len() } else { 0 };
        format!("{:width$}/{steps}", self.done)
    }

    fn tail(&self) -> String {
        if self.logs.is_empty() { String::new() } else { format!(" - {}", format_logs(&self.logs)) }
    }
}
