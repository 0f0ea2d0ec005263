//! The bar in a terminal.

use std::io;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::run::BAR_WIDTH;

/// A bar, and the terminal that it is drawn to.
pub(super) struct Terminal {
    bar: ProgressBar,
    term: Box<dyn TermLike>,
}

impl Terminal {
    /// The terminal of standard error, if it is one.
    pub fn stderr() -> Option<Self> {
        // Each refresh draws twice, so the limit is well above 1 / INTERVAL.
        let target = ProgressDrawTarget::stderr_with_hz(60);
        if target.is_hidden() { None } else { Some(Self::new(target, console::Term::stderr())) }
    }

    /// Draws the bar to `target` and writes lines to `term`, which is the same terminal.
    pub fn new(target: ProgressDrawTarget, term: impl TermLike + 'static) -> Self {
        Self { bar: ProgressBar::with_draw_target(None, target), term: Box::new(term) }
    }

    /// Begins a bar of `steps`, if they are known, below its heading.
    pub fn start(&self, heading: &str, steps: Option<usize>) {
        if !heading.is_empty() {
            let _ = self.line(heading);
        }
        self.bar.set_style(bar_style(steps));
        match steps {
            Some(steps) => self.bar.set_length(steps as u64),
            None => self.bar.unset_length(),
        }
        self.bar.set_message("");
        self.bar.reset();
    }

    /// Shows how many steps are done, and a message behind the bar, as far as it fits.
    pub fn draw(&self, done: usize, message: &str) {
        let taken = bar_columns(self.bar.length()) + ECHO_COLUMNS;
        let room = usize::from(self.term.width()).saturating_sub(taken);
        self.bar.set_position(done as u64);
        self.bar.set_message(console::truncate_str(message, room, "").into_owned());
    }

    /// Writes a line; above the bar, if one is `running`.
    pub fn println(&self, text: &str, running: bool) -> io::Result<()> {
        if running { self.bar.suspend(|| self.line(text)) } else { self.line(text) }
    }

    /// Takes the bar away and leaves a line in its place.
    pub fn finish(&self, last: &str) -> io::Result<()> {
        self.bar.finish_and_clear();
        self.line(last)
    }

    fn line(&self, text: &str) -> io::Result<()> {
        self.term.write_line(text)?;
        self.term.flush()
    }
}

/// What a terminal writes behind the bar for Ctrl-C, `^C`: in a line without room for it the cursor would go to the next
/// one, and the bar be left where it was.
const ECHO_COLUMNS: usize = 3;

/// The columns of step counts and bar.
fn bar_columns(steps: Option<u64>) -> usize {
    match steps {
        Some(steps) => 2 * steps.to_string().len() + BAR_WIDTH + 3,
        None => "      1/Unknown ".len(),
    }
}

/// Step counts and bar; the message behind them is cut at the terminal's width.
fn bar_style(steps: Option<usize>) -> ProgressStyle {
    let template = match steps {
        Some(steps) => {
            let digits = steps.to_string().len();
            format!("{{pos:>{digits}}}/{{len}} {{bar:{BAR_WIDTH}.green/white.dim}} {{wide_msg}}")
        }
        None => "{pos:>7}/Unknown {wide_msg}".into(),
    };
    // The template is valid; as a fallback the default bar still counts.
    ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━─")
}
