//! Telling callbacks.

use super::History;
use super::progress::{Progress, Verbosity};
use crate::callbacks::{Callback, CallbackState, Context, Params, Results};
use crate::error::Result;
use crate::model::Model;
use crate::text::{printable, shortened};

/// The callbacks of a run, and what they have asked for.
pub(super) struct Hooks<'f> {
    callbacks: Vec<Box<dyn Callback + 'f>>,
    pub params: Params,
    /// Why training is to stop, if it is.
    pub stopped: Option<String>,
    messages: Vec<String>,
    /// The epoch whose weights the model was given back last.
    pub restored_epoch: Option<usize>,
}

impl<'f> Hooks<'f> {
    /// The callbacks, their arguments checked.
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

    /// What shows how the run gets on: as the last callback wants it that wants something, else as `verbose` says.
    pub fn progress(&self, verbose: Verbosity) -> Progress {
        Progress::new(self.iter().filter_map(Callback::verbosity).last().unwrap_or(verbose))
    }

    /// Tells each callback something, in order.
    pub fn tell(
        &mut self,
        model: &mut Model,
        history: Option<&History>,
        results: Option<&Results<'_>>,
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
        let told = self.callbacks.iter_mut().try_for_each(|callback| hook(&mut **callback, &mut context));
        self.restored_epoch = context.restored_epoch().or(self.restored_epoch);
        let (messages, stopped) = context.finish();
        self.messages.extend(messages);
        self.stopped = stopped;
        told
    }

    /// Shows what callbacks had to say.
    pub fn show(&mut self, progress: &mut Progress) {
        self.messages.drain(..).for_each(|text| progress.println(&text));
    }

    /// What the callbacks remember, by name.
    pub fn states(&self) -> Result<Vec<(String, CallbackState)>> {
        self.iter().map(|callback| Ok((callback.name(), callback.state()?))).collect()
    }

    /// Gives the callbacks back what they remembered: of those with the same name, in order.
    pub fn restore(&mut self, mut states: Vec<(String, CallbackState)>) -> Result<()> {
        for callback in &mut self.callbacks {
            let name = callback.name();
            match states.iter().position(|(saved, _)| *saved == name) {
                Some(index) => callback.restore(states.remove(index).1)?,
                None => tracing::warn!("the checkpoint has no state of `{name}`, which begins anew"),
            }
        }
        if let Some(names) = listed(&states) {
            tracing::warn!("the checkpoint has states of callbacks that this run has not: {names}");
        }
        Ok(())
    }
}

/// The names of a checkpoint's states as a message can show them; none if there are none.
fn listed(states: &[(String, CallbackState)]) -> Option<String> {
    /// How many are named, and how many characters of each are shown.
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
    fn states_of_other_callbacks_are_named_in_a_line() {
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
