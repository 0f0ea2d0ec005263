//! The progress display of `fit`, `evaluate` and `predict`: a bar in a terminal, plain lines elsewhere.
//!
//! Everything goes to standard error. A failure to write there must not stop a training, so such errors are ignored.

use std::io::{self, Write};
use std::time::{Duration, Instant};

pub use crate::callbacks::Verbosity;
use crate::metrics::Score;
use crate::text::printable_lines;

mod format;
mod run;
#[cfg(feature = "progress")]
mod terminal;

pub use format::{format_duration, format_logs, format_time_per_step, format_value};
use run::ProgressLoop;
#[cfg(feature = "progress")]
use terminal::Terminal;

/// Minimal time between two drawings of the bar.
#[cfg(feature = "progress")]
const INTERVAL: Duration = Duration::from_millis(50);

/// Shows the progress of a pass over batches.
///
/// ```
/// use brasa::training::progress::{Progress, Verbosity};
///
/// let mut progress = Progress::new(Verbosity::Line);
/// for epoch in 0..2 {
///     progress.epoch_begin(epoch, 2, Some(422));
///     for step in 1..=422 {
///         progress.step(step, &[]); // names and values when they are known
///     }
///     progress.end(&[("loss".to_string(), 0.2871)]); // Epoch 1/2 - 422/422 - 0s - 1us/step - loss: 0.2871
/// }
/// ```
pub struct Progress {
    output: ProgressOutput,
    clock: Box<dyn Fn() -> Duration + Send>,
    run: Option<ProgressLoop>,
}

enum ProgressOutput {
    Silent,
    Lines(Box<dyn Write + Send>),
    #[cfg(feature = "progress")]
    Terminal(Terminal),
}

impl Progress {
    /// Shows progress on standard error, in the form of `verbosity`.
    pub fn new(verbosity: Verbosity) -> Self {
        match verbosity {
            Verbosity::Silent => Self::with(ProgressOutput::Silent),
            Verbosity::Line => Self::to_writer(io::stderr()),
            #[cfg(feature = "progress")]
            Verbosity::Auto | Verbosity::Bar => match Terminal::stderr() {
                Some(terminal) => Self::with(ProgressOutput::Terminal(terminal)),
                None => Self::to_writer(io::stderr()),
            },
            #[cfg(not(feature = "progress"))]
            Verbosity::Auto | Verbosity::Bar => Self::to_writer(io::stderr()),
        }
    }

    /// Whether metrics passed to [`step`](Self::step) are shown.
    pub fn is_bar(&self) -> bool {
        !matches!(self.output, ProgressOutput::Silent | ProgressOutput::Lines(_))
    }

    /// Whether nothing is shown.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.output, ProgressOutput::Silent)
    }

    /// Writes one line per epoch to `writer`.
    pub fn to_writer(writer: impl Write + Send + 'static) -> Self {
        Self::with(ProgressOutput::Lines(Box::new(writer)))
    }

    fn with(output: ProgressOutput) -> Self {
        // Some targets have no clock: it is not read before anything is shown.
        let start = std::sync::OnceLock::new();
        Self { output, clock: Box::new(move || start.get_or_init(Instant::now).elapsed()), run: None }
    }

    /// Begins an epoch: `epoch` counts from 0, `steps` is the number of its batches if known.
    pub fn epoch_begin(&mut self, epoch: usize, epochs: usize, steps: Option<usize>) {
        self.start(format!("Epoch {}/{epochs}", epoch + 1), steps);
    }

    /// Begins an evaluation or a prediction over `steps` batches, if known.
    pub fn begin(&mut self, steps: Option<usize>) {
        self.start(String::new(), steps);
    }

    /// Reports that `done` batches are done. `metrics` are the newest values; others keep theirs.
    ///
    /// It is cheap: the bar is drawn at most 20 times per second.
    pub fn step(&mut self, done: usize, metrics: &[(&str, f64)]) {
        let Some(run) = &mut self.run else { return };
        let now = (self.clock)();
        run.done = done;
        if done == 1 {
            run.after_first_step = Some(now);
        }
        for (name, value) in metrics {
            match run.logs.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = *value,
                None => run.logs.push((name.to_string(), *value)),
            }
        }
        #[cfg(feature = "progress")]
        if let ProgressOutput::Terminal(terminal) = &self.output {
            let due = run.drawn.is_none_or(|drawn| now.saturating_sub(drawn) >= INTERVAL);
            if due || run.steps == Some(done) {
                run.drawn = Some(now);
                terminal.draw(done, &run.status(now));
            }
        }
    }

    /// Ends the epoch, evaluation or prediction with these results.
    ///
    /// For a metric of several numbers the mean is shown, as in Keras.
    pub fn end<S: Into<Score> + Clone>(&mut self, logs: &[(String, S)]) {
        if let Some(run) = &mut self.run {
            run.logs = logs.iter().map(|(name, value)| (name.clone(), value.clone().into().mean())).collect();
            // No more steps will come: their number is known now.
            run.steps = run.steps.or(Some(run.done));
        }
        self.finish();
    }

    /// Writes a line of text, above the bar if there is one; also with silent progress.
    pub fn println(&mut self, text: &str) {
        let text = &printable_lines(text);
        let _ = match &mut self.output {
            ProgressOutput::Silent => writeln!(io::stderr(), "{text}"),
            ProgressOutput::Lines(writer) => write_line(writer, text),
            #[cfg(feature = "progress")]
            ProgressOutput::Terminal(terminal) => terminal.println(text, self.run.is_some()),
        };
    }

    fn start(&mut self, heading: String, steps: Option<usize>) {
        self.finish();
        let start = (self.clock)();
        match &self.output {
            ProgressOutput::Silent => return,
            ProgressOutput::Lines(_) => {}
            #[cfg(feature = "progress")]
            ProgressOutput::Terminal(terminal) => terminal.start(&heading, steps),
        }
        self.run = Some(ProgressLoop::new(heading, steps, start));
    }

    /// Writes the last line of a run, if one is open.
    fn finish(&mut self) {
        let Some(run) = self.run.take() else { return };
        let now = (self.clock)();
        let _ = match &mut self.output {
            ProgressOutput::Silent => Ok(()),
            ProgressOutput::Lines(writer) => write_line(writer, &run.line(now)),
            #[cfg(feature = "progress")]
            ProgressOutput::Terminal(terminal) => terminal.finish(&run.last_bar(now)),
        };
    }
}

/// An unfinished run is shown with the progress it made.
impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

fn write_line(writer: &mut impl Write, text: &str) -> io::Result<()> {
    writeln!(writer, "{text}")?;
    writer.flush()
}

#[cfg(all(test, feature = "progress"))]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};

    use indicatif::{InMemoryTerm, ProgressDrawTarget};

    use super::*;

    /// A clock controlled by a test.
    #[derive(Clone, Default)]
    struct Clock(Arc<AtomicU64>);

    impl Clock {
        fn set(&self, milliseconds: u64) {
            self.0.store(milliseconds, Ordering::Relaxed);
        }

        fn drive(&self, mut progress: Progress) -> Progress {
            let time = self.0.clone();
            progress.clock = Box::new(move || Duration::from_millis(time.load(Ordering::Relaxed)));
            progress
        }
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn lines() -> (Progress, Written, Clock) {
        let (written, clock) = (Written::default(), Clock::default());
        (clock.drive(Progress::to_writer(written.clone())), written, clock)
    }

    fn terminal(columns: u16) -> (Progress, InMemoryTerm, Clock) {
        let (term, clock) = (InMemoryTerm::new(10, columns), Clock::default());
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        (clock.drive(Progress::with(ProgressOutput::Terminal(Terminal::new(target, term.clone())))), term, clock)
    }

    fn logs(logs: &[(&str, f64)]) -> Vec<(String, f64)> {
        logs.iter().map(|(name, value)| (name.to_string(), *value)).collect()
    }

    /// Two epochs of three steps: 1 s for the first step, 200 ms for the others, then 600 ms of validation.
    fn two_epochs(progress: &mut Progress, clock: &Clock) {
        for epoch in 0..2 {
            let start = epoch as u64 * 2_000;
            clock.set(start);
            progress.epoch_begin(epoch, 2, Some(3));
            for (step, time) in [(1, 1_000), (2, 1_200), (3, 1_400)] {
                clock.set(start + time);
                progress.step(step, &[("loss", 1.0 / step as f64)]);
            }
            clock.set(start + 2_000);
            progress.end(&logs(&[("val_loss", 0.25), ("val_accuracy", 0.5), ("loss", 0.3), ("accuracy", 0.75)]));
        }
    }

    #[test]
    fn without_a_terminal_an_epoch_is_one_plain_line() {
        let (mut progress, written, clock) = lines();
        two_epochs(&mut progress, &clock);
        let tail =
            "3/3 - 2s - 500ms/step - accuracy: 0.7500 - loss: 0.3000 - val_accuracy: 0.5000 - val_loss: 0.2500\n";
        let text = written.text();
        assert_eq!(text, format!("Epoch 1/2 - {tail}Epoch 2/2 - {tail}"));
        assert!(!text.contains(['\r', '\u{8}', '\u{1b}']), "{text:?}");
    }

    #[test]
    fn without_a_terminal_an_evaluation_is_one_plain_line() {
        let (mut progress, written, clock) = lines();
        progress.begin(None);
        clock.set(7);
        progress.step(1, &[]);
        progress.step(12, &[]);
        clock.set(18);
        progress.end::<f64>(&[]);
        assert_eq!(written.text(), "12/12 - 0s - 1ms/step\n");
    }

    #[test]
    fn in_a_terminal_the_bar_stays_under_its_epoch() {
        let (mut progress, term, clock) = terminal(120);
        two_epochs(&mut progress, &clock);
        let tail = "500ms/step - accuracy: 0.7500 - loss: 0.3000 - val_accuracy: 0.5000 - val_loss: 0.2500";
        let bar = format!("3/3 {} 2s {tail}", "━".repeat(20));
        assert_eq!(term.contents(), format!("Epoch 1/2\n{bar}\nEpoch 2/2\n{bar}"));
    }

    #[test]
    fn a_running_bar_shows_time_left_and_the_newest_metrics() {
        let (mut progress, term, clock) = terminal(100);
        progress.epoch_begin(4, 5, Some(400));
        assert_eq!(term.contents(), format!("Epoch 5/5\n  0/400 {}", "─".repeat(20)));
        clock.set(1_000);
        progress.step(1, &[("loss", 2.3), ("accuracy", 0.1)]);
        let first = format!("  1/400 {} 6:39 1s/step - accuracy: 0.1000 - loss: 2.3000", "─".repeat(20));
        assert_eq!(term.contents(), format!("Epoch 5/5\n{first}"));
        clock.set(1_000 + 99 * 100);
        progress.step(100, &[("loss", 0.0005)]);
        let bar = format!("{}{}", "━".repeat(5), "─".repeat(15));
        let later = format!("100/400 {bar} 30s 100ms/step - accuracy: 0.1000 - loss: 5.0000e-04");
        assert_eq!(term.contents(), format!("Epoch 5/5\n{later}"));
    }

    #[test]
    fn drawing_is_throttled_except_at_the_end() {
        let (mut progress, term, clock) = terminal(100);
        progress.begin(Some(3));
        clock.set(100);
        progress.step(1, &[("loss", 1.0)]);
        clock.set(149);
        progress.step(2, &[("loss", 2.0)]);
        assert!(term.contents().starts_with("1/3") && term.contents().ends_with("loss: 1.0000"), "{}", term.contents());
        progress.step(3, &[]);
        assert!(term.contents().starts_with("3/3") && term.contents().ends_with("loss: 2.0000"), "{}", term.contents());
    }

    #[test]
    fn a_narrow_terminal_cuts_the_running_bar_but_not_the_result() {
        let (mut progress, term, clock) = terminal(40);
        progress.begin(Some(2));
        clock.set(100);
        progress.step(1, &[("accuracy", 0.5), ("loss", 2.0)]);
        assert_eq!(term.contents(), format!("1/2 {}{} 0s 100ms/ste", "━".repeat(10), "─".repeat(10)));
        progress.end(&logs(&[("accuracy", 0.5), ("loss", 2.0)]));
        let text = term.contents().replace('\n', "");
        assert!(text.ends_with("100ms/step - accuracy: 0.5000 - loss: 2.0000"), "{text}");
    }

    #[test]
    fn without_a_known_end_the_bar_counts() {
        let (mut progress, term, clock) = terminal(60);
        progress.begin(None);
        clock.set(2_000);
        progress.step(4, &[("loss", 0.5)]);
        assert_eq!(term.contents(), "      4/Unknown 2s 500ms/step - loss: 0.5000");
        progress.end(&logs(&[("loss", 0.5)]));
        assert_eq!(term.contents(), format!("4/4 {} 2s 500ms/step - loss: 0.5000", "━".repeat(20)));
    }

    #[test]
    fn an_unfinished_run_is_shown_with_its_progress() {
        let (mut progress, term, clock) = terminal(60);
        progress.epoch_begin(0, 1, Some(4));
        clock.set(500);
        progress.step(1, &[("loss", 0.5)]);
        drop(progress);
        let bar = format!("{}{}", "━".repeat(5), "─".repeat(15));
        assert_eq!(term.contents(), format!("Epoch 1/1\n1/4 {bar} 0s 500ms/step - loss: 0.5000"));

        let (mut progress, written, clock) = lines();
        progress.epoch_begin(0, 1, None);
        clock.set(500);
        progress.step(1, &[]);
        drop(progress);
        assert_eq!(written.text(), "Epoch 1/1 - 1/Unknown - 0s - 500ms/step\n");
    }

    #[test]
    fn a_line_of_text_is_written_above_the_bar() {
        let (mut progress, term, _) = terminal(60);
        progress.begin(Some(1));
        progress.println("Epoch 3: early stopping");
        assert_eq!(term.contents(), format!("Epoch 3: early stopping\n0/1 {}", "─".repeat(20)));
        let (mut progress, written, _) = lines();
        progress.println("Epoch 3: early stopping");
        assert_eq!(written.text(), "Epoch 3: early stopping\n");
    }

    #[test]
    fn silence_is_silent() {
        let mut progress = Progress::new(Verbosity::Silent);
        two_epochs(&mut progress, &Clock::default());
        assert!(progress.run.is_none() && matches!(progress.output, ProgressOutput::Silent));
    }

    #[test]
    fn zero_steps_do_not_divide_by_zero() {
        let (mut progress, written, _) = lines();
        progress.begin(Some(0));
        progress.end::<f64>(&[]);
        assert_eq!(written.text(), "0/0 - 0s - 0s/step\n");
        let (mut progress, term, _) = terminal(60);
        progress.begin(Some(0));
        progress.end::<f64>(&[]);
        assert_eq!(term.contents(), format!("0/0 {} 0s 0s/step", "━".repeat(20)));
    }

    #[test]
    fn verbosity_is_a_number_in_keras() {
        let read = [0, 1, 2].map(|verbose| Verbosity::try_from(verbose).unwrap());
        assert_eq!(read, [Verbosity::Silent, Verbosity::Bar, Verbosity::Line]);
        assert!(Verbosity::try_from(3).unwrap_err().to_string().contains("`verbose`"));
    }
}
