//! What a call gives a layer besides the values of its inputs.

use std::ops::Range;

use serde_json::Value as Json;

use crate::config::Config;
use crate::error::{Error, Result};

/// How the inputs of a call are to be understood: how many are positional, which have names, and the arguments that are
/// no tensors, such as `use_causal_mask`.
///
/// The inputs of a call are one row of tensors: the positional ones first, then those with names. A layer of one input
/// need not look at this.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arguments {
    named: Vec<(String, Vec<bool>)>,
    options: Config,
}

impl Arguments {
    /// No names and no options: all inputs are positional.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there are neither names nor options.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.options.is_empty()
    }

    /// Adds a named argument that stands for tensors at the end of the inputs; `present` says for each element of a
    /// list whether it is a tensor or `None`.
    pub fn push_named(&mut self, name: &str, present: Vec<bool>) {
        self.named.push((name.to_owned(), present));
    }

    /// Sets an argument that is no tensor.
    pub fn set_option(&mut self, name: &str, value: impl Into<Json>) {
        self.options.insert(name.to_owned(), value.into());
    }

    /// The named arguments in order, and which elements of each are tensors.
    pub fn named(&self) -> impl Iterator<Item = (&str, &[bool])> {
        self.named.iter().map(|(name, present)| (name.as_str(), present.as_slice()))
    }

    /// The arguments that are no tensors.
    pub fn options(&self) -> &Config {
        &self.options
    }

    /// Whether an argument that is a flag is set.
    ///
    /// # Errors
    /// [`Error::Argument`] if it is no boolean.
    pub fn flag(&self, name: &str) -> Result<bool> {
        match self.options.get(name) {
            None | Some(Json::Null) => Ok(false),
            Some(Json::Bool(flag)) => Ok(*flag),
            Some(other) => Err(Error::argument(name, "true or false", other)),
        }
    }

    /// How many of `inputs` inputs are positional.
    pub fn positional(&self, inputs: usize) -> usize {
        inputs.saturating_sub(self.named.iter().map(|(_, present)| count(present)).sum())
    }

    /// Where the tensors of a named argument are among `inputs` inputs.
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

    /// For each element of a named argument where its tensor is among `inputs` inputs, `None` for an element that is
    /// none.
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

    /// Refuses names and options other than these.
    ///
    /// # Errors
    /// [`Error::Unsupported`] with the first.
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
