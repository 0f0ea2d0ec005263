//! Samples as they are read from a shard, before they are decoded.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::datasets::Dataset;

/// A sample as it was read.
#[derive(Debug)]
pub(super) struct Raw {
    /// The name of its shard.
    pub file: Arc<str>,
    pub content: Content,
}

/// The content of a sample.
#[derive(Debug)]
pub(super) enum Content {
    /// A row of arrays or of a table, by its number from 0, in memory of its own.
    Row(usize, Dataset),
    /// The members of an archive that have this name in common: the rest of each name, and its bytes.
    Members(String, Vec<(String, Vec<u8>)>),
}

impl Raw {
    /// Its name in messages.
    pub fn name(&self) -> String {
        match &self.content {
            Content::Row(row, _) => format!("sample {row} of `{}`", self.file),
            Content::Members(key, _) => format!("sample `{key}` of `{}`", self.file),
        }
    }

    /// The memory that it takes.
    pub fn bytes(&self) -> usize {
        /// That of names, pointers and lengths.
        const OTHER: usize = 256;
        let content = match &self.content {
            Content::Row(_, data) => data.bytes(),
            Content::Members(_, members) => {
                members.iter().map(|(_, bytes)| bytes.capacity()).fold(0, usize::saturating_add)
            }
        };
        content.saturating_add(OTHER)
    }
}

/// Takes the samples of shards one after another: every `ranks`-th of them.
pub(super) struct Sink<'a> {
    rank: usize,
    ranks: usize,
    /// The number of the next sample.
    next: usize,
    put: &'a mut dyn FnMut(Raw) -> ControlFlow<()>,
}

impl<'a> Sink<'a> {
    /// Hands the samples of a rank among `ranks` to `put`, until it breaks off.
    pub fn new(rank: usize, ranks: usize, put: &'a mut dyn FnMut(Raw) -> ControlFlow<()>) -> Self {
        Self { rank, ranks: ranks.max(1), next: 0, put }
    }

    /// Whether the next sample is wanted; counts it.
    pub fn wants_next(&mut self) -> bool {
        let number = self.next;
        self.next = number.wrapping_add(1);
        number % self.ranks == self.rank
    }

    /// Takes a sample that is wanted.
    pub fn put(&mut self, sample: Raw) -> ControlFlow<()> {
        (self.put)(sample)
    }
}
