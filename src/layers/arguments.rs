//! The arguments of a layer's call besides the values of its inputs.

use std::ops::Range;

use serde_json::Value as Json;

use crate::config::Config;
use crate::error::{Error, Result};

/// The call argument for initial states.
pub(crate) const INITIAL_STATE: &str = "initial_state";

/// The call argument for masks that replace those carried by the inputs.
pub(crate) const MASK: &str = "mask";

/// The structure of a call's inputs: how many are positional, which are named, and the arguments that are not tensors,
/// such as `use_causal_mask`.
///
/// The inputs of a call are one list of tensors: the positional ones first, then the named ones. A layer with one input
/// can ignore this.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arguments {
    named: Vec<(String, Vec<bool>)>,
    options: Config,
    /// The parameter names of the last positional inputs, if they were passed by name.
    by_name: Vec<String>,
}

impl Arguments {
    /// No named arguments and no options: all inputs are positional.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there are neither named arguments nor options.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.options.is_empty()
    }

    /// Adds a named argument whose tensors are at the end of the inputs; `present` says for each element of a list
    /// whether it is a tensor or `None`.
    pub fn push_named(&mut self, name: &str, present: Vec<bool>) {
        self.named.push((name.to_owned(), present));
    }

    /// Removes a named argument; the caller removes its tensors.
    pub(crate) fn remove_named(&mut self, name: &str) {
        self.named.retain(|(own, _)| own != name);
    }

    /// Sets an argument that is not a tensor.
    pub fn set_option(&mut self, name: &str, value: impl Into<Json>) {
        self.options.insert(name.to_owned(), value.into());
    }

    /// Records that the last positional inputs were passed by these parameter names, as in `layer(query=x)`. A layer
    /// sees no difference, but Keras traverses a graph in another order.
    pub(crate) fn set_by_name(&mut self, names: Vec<String>) {
        self.by_name = names;
    }

    /// The parameter names of the last positional inputs that were passed by name.
    pub(crate) fn by_name(&self) -> &[String] {
        &self.by_name
    }

    /// All values of a call in Keras's order: positional ones first, then named ones sorted by name, whatever the order
    /// in which they were passed. A mask has the name `mask`.
    pub(crate) fn in_order<T: Copy>(&self, inputs: &[T], masks: &[Option<T>]) -> Vec<T> {
        let positional = self.positional(inputs.len());
        let first = positional.saturating_sub(self.by_name.len());
        let mut groups: Vec<(&str, Vec<T>)> =
            self.by_name.iter().zip(&inputs[first..]).map(|(name, input)| (name.as_str(), vec![*input])).collect();
        for (name, _) in self.named() {
            let range = self.range(name, inputs.len()).unwrap_or_default();
            groups.push((name, inputs.get(range).unwrap_or_default().to_vec()));
        }
        groups.push((MASK, masks.iter().flatten().copied().collect()));
        groups.sort_by_key(|(name, _)| *name);
        let named = groups.into_iter().flat_map(|(_, values)| values);
        inputs[..first].iter().copied().chain(named).collect()
    }

    /// The named arguments in order, each with which of its elements are tensors.
    pub fn named(&self) -> impl Iterator<Item = (&str, &[bool])> {
        self.named.iter().map(|(name, present)| (name.as_str(), present.as_slice()))
    }

    /// The arguments that are not tensors.
    pub fn options(&self) -> &Config {
        &self.options
    }

    /// Whether a boolean argument is set.
    ///
    /// # Errors
    /// [`Error::Argument`] if it is not a boolean.
    pub fn flag(&self, name: &str) -> Result<bool> {
        match self.options.get(name) {
            None | Some(Json::Null) => Ok(false),
            Some(Json::Bool(flag)) => Ok(*flag),
            Some(other) => Err(Error::argument(name, "true or false", other)),
        }
    }

    /// The number of positional inputs among `inputs` inputs.
    pub fn positional(&self, inputs: usize) -> usize {
        inputs.saturating_sub(self.named.iter().map(|(_, present)| count(present)).sum())
    }

    /// The range of a named argument's tensors among `inputs` inputs.
    pub fn range(&self, name: &str, inputs: usize) -> Option<Range<usize>> {
        let mut first = self.positional(inputs);
        for (own, present) in &self.named {
            let end = first + count(present);
            if own == name {
                return Some(first..end);
            }
            first = end;
        }
        None
    }

    /// The index of each element's tensor of a named argument among `inputs` inputs; `None` for an element without a
    /// tensor.
    pub fn elements(&self, name: &str, inputs: usize) -> Vec<Option<usize>> {
        let Some(Range { start, .. }) = self.range(name, inputs) else { return Vec::new() };
        let present = self.named.iter().find(|(own, _)| own == name).map_or(&[][..], |(_, present)| present);
        let mut next = start;
        present
            .iter()
            .map(|present| {
                let index = next;
                next += usize::from(*present);
                present.then_some(index)
            })
            .collect()
    }

    /// Refuses named arguments and options other than these.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for the first other one.
    pub fn expect_only(&self, known: &[&str]) -> Result<()> {
        let options = self.options.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.as_str());
        let mut names = self.named.iter().map(|(name, _)| name.as_str()).chain(options);
        match names.find(|name| !known.contains(name)) {
            None => Ok(()),
            Some(name) if known.is_empty() => {
                Err(Error::unsupported(format!("the argument `{name}` of a call"), "calls without further arguments"))
            }
            Some(name) => Err(Error::unsupported(format!("the argument `{name}` of a call"), known.join(", "))),
        }
    }
}

fn count(present: &[bool]) -> usize {
    present.iter().filter(|present| **present).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_tensors_come_after_the_positional_ones() {
        let mut arguments = Arguments::new();
        arguments.push_named("mask", vec![false, true]);
        arguments.push_named("initial_state", vec![true, true]);
        assert_eq!(arguments.positional(5), 2);
        assert_eq!(arguments.range("mask", 5), Some(2..3));
        assert_eq!(arguments.range("initial_state", 5), Some(3..5));
        assert_eq!(arguments.elements("mask", 5), [None, Some(2)]);
        assert_eq!(arguments.range("other", 5), None);
    }

    /// The order of Keras 3.15.1 for `layer(q, value=v, key=k, initial_state=[h, c], mask=[None, m])`.
    #[test]
    fn named_arguments_are_sorted_as_by_keras() {
        let mut arguments = Arguments::new();
        arguments.push_named("initial_state", vec![true, true]);
        arguments.set_by_name(vec!["value".into(), "key".into()]);
        assert_eq!(arguments.in_order(&["q", "v", "k", "h", "c"], &[None, Some("m")]), ["q", "h", "c", "k", "m", "v"]);
        assert_eq!(Arguments::new().in_order(&["b", "a"], &[]), ["b", "a"]);
    }

    #[test]
    fn unknown_arguments_are_named() {
        let mut arguments = Arguments::new();
        arguments.set_option("mask", Json::Null);
        assert!(arguments.expect_only(&[]).is_ok());
        arguments.set_option("use_causal_mask", true);
        assert!(arguments.expect_only(&[]).unwrap_err().to_string().contains("use_causal_mask"));
        assert!(arguments.expect_only(&["use_causal_mask"]).is_ok());
        assert!(arguments.flag("use_causal_mask").unwrap());
    }
}
