//! Calling the callbacks.

use super::History;
use super::progress::{Progress, Verbosity};
use crate::callbacks::{BatchResults, Callback, CallbackState, Context, Params};
use crate::error::Result;
use crate::model::Model;
use crate::text::{printable, shortened};

/// The callbacks of a run, and their requests.
pub(super) struct Hooks<'f> {
    callbacks: Vec<Box<dyn Callback + 'f>>,
    pub params: Params,
    /// Why training is to stop, if it is.
    pub stopped: Option<String>,
    messages: Vec<String>,
    /// The epoch whose weights were restored last.
    pub restored_epoch: Option<usize>,
}

impl<'f> Hooks<'f> {
    /// Checks the callbacks' arguments.
    pub fn new(callbacks: Vec<Box<dyn Callback + 'f>>, params: Params) -> Result<Self> {
        callbacks.iter().try_for_each(|callback| callback.check())?;
        Ok(Self { callbacks, params, stopped: None, messages: Vec::new(), restored_epoch: None })
    }

    pub fn is_empty(&self) -> bool {
        self.callbacks.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &dyn Callback> {
        self.callbacks.iter().map(|callback| &**callback as &dyn Callback)
    }

    /// The progress display: the last [`Callback::verbosity`] that is set, else `verbose`.
    pub fn progress(&self, verbose: Verbosity) -> Progress {
        Progress::new(self.iter().filter_map(Callback::verbosity).last().unwrap_or(verbose))
    }

    /// Calls a hook of each callback, in order.
    pub fn call(
        &mut self,
        model: &mut Model,
        history: Option<&History>,
        results: Option<&BatchResults<'_>>,
        mut hook: impl FnMut(&mut dyn Callback, &mut Context<'_>) -> Result<()>,
    ) -> Result<()> {
        if self.callbacks.is_empty() {
            return Ok(());
        }
        let mut context = Context::new(model, self.params).with_stopped(self.stopped.take());
        if let Some(results) = results {
            context = context.with_results(results);
        }
        if let Some(history) = history {
            context = context.with_history(history);
        }
        let result = self.callbacks.iter_mut().try_for_each(|callback| hook(&mut **callback, &mut context));
        self.restored_epoch = context.restored_epoch().or(self.restored_epoch);
        let (messages, stopped) = context.finish();
        self.messages.extend(messages);
        self.stopped = stopped;
        result
    }

    /// Shows the messages of callbacks.
    pub fn show(&mut self, progress: &mut Progress) {
        self.messages.drain(..).for_each(|text| progress.println(&text));
    }

    /// The states of the callbacks, by name.
    pub fn states(&self) -> Result<Vec<(String, CallbackState)>> {
        self.iter().map(|callback| Ok((callback.name(), callback.state()?))).collect()
    }

    /// Restores the callbacks' states: of callbacks with the same name, in order.
    pub fn restore(&mut self, mut states: Vec<(String, CallbackState)>) -> Result<()> {
        for callback in &mut self.callbacks {
            let name = callback.name();
            match states.iter().position(|(saved, _)| *saved == name) {
                Some(index) => callback.restore(states.remove(index).1)?,
                None => tracing::warn!("the checkpoint has no state of `{name}`, which starts from its initial state"),
            }
        }
        if let Some(names) = listed(&states) {
            tracing::warn!("the checkpoint has states of callbacks that this run does not have: {names}");
        }
        Ok(())
    }
}

/// The names of a checkpoint's states for a message; `None` if there are no states.
fn listed(states: &[(String, CallbackState)]) -> Option<String> {
    /// The most names, and the most characters of each.
    const NAMED: usize = 5;
    const CHARACTERS: usize = 80;
    let shown = |name: &str| format!("`{}`", printable(&shortened(name, CHARACTERS)));
    let mut names: Vec<String> = states.iter().take(NAMED).map(|(name, _)| shown(name)).collect();
    if states.len() > NAMED {
        names.push(format!("… ({} in all)", states.len()));
    }
    (!names.is_empty()).then(|| names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_unknown_callbacks_are_listed_in_a_line() {
        let states = |names: &[&str]| -> Vec<(String, CallbackState)> {
            names.iter().map(|name| ((*name).to_owned(), CallbackState::default())).collect()
        };
        assert_eq!(listed(&[]), None);
        assert_eq!(listed(&states(&["EarlyStopping", "A"])).unwrap(), "`EarlyStopping`, `A`");
        let name = format!("\u{1b}[2J{}", "x".repeat(100_000));
        let text = listed(&states(&vec![name.as_str(); 1000])).unwrap();
        assert!(text.chars().count() < 500 && !text.contains('\u{1b}'), "{text}");
        assert!(text.ends_with("… (1000 in all)"), "{text}");
    }
}
