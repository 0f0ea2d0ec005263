//! Which of the data a model takes, and in which shapes.

use std::sync::Arc;

use crate::datasets::Column;
use crate::error::{Error, Result};
use crate::model::{Feed, Stage};
use crate::shape::Shape;

/// The shapes of a data set as a model takes them, checked.
#[derive(Clone, Debug)]
pub(super) struct Fitted {
    /// For each input of the model the place of its field in the data, and the sizes of one sample.
    pub x: Vec<(usize, Vec<usize>)>,
    /// For each output.
    pub outputs: Vec<FittedOutput>,
    /// What the model does on the host before it computes, if anything.
    pub staged: Option<Arc<Staged>>,
    /// The sizes of one sample of what it is fed with behind that; none if the data decides on them.
    pub fed: Vec<Vec<usize>>,
}

impl Fitted {
    /// What is fed to a model as the data has it.
    pub fn of(x: Vec<(usize, Vec<usize>)>, outputs: Vec<FittedOutput>) -> Self {
        Self { x, outputs, staged: None, fed: Vec::new() }
    }

    /// The sizes of a batch of so many samples, for each value that the device is fed with; none if the data decides on
    /// them.
    pub fn batch(&self, samples: usize) -> Vec<Vec<usize>> {
        self.fed.iter().map(|sizes| [&[samples], sizes.as_slice()].concat()).collect()
    }
}

/// Targets and outputs that are compared.
#[derive(Clone, Debug)]
pub(super) struct FittedOutput {
    /// The place of the targets' field in the data; none for an output that is compared with nothing.
    pub place: Option<usize>,
    pub target: Shape,
    pub output: Shape,
}

impl FittedOutput {
    /// Sizes of one target.
    pub fn y(&self) -> Vec<usize> {
        self.target.sample().iter().copied().flatten().collect()
    }
}

/// What a model does on the host, and for each of its inputs the place of the field in the data and the sizes of one
/// sample.
#[derive(Debug)]
pub(super) struct Staged {
    pub stage: Stage,
    pub x: Vec<(usize, Vec<usize>)>,
}

impl Staged {
    /// What comes out for the fields of a batch.
    pub fn run(&self, samples: usize, columns: Vec<Column>) -> Result<Vec<Feed>> {
        let inputs = self.x.iter().map(|(place, sizes)| {
            let column = columns.get(*place).cloned();
            let column = column.ok_or_else(|| Error::data("a source", "a column for each input", columns.len()))?;
            Column::new([&[samples], sizes.as_slice()].concat(), column.into_parts().1)
        });
        self.stage.run(inputs.collect::<Result<_>>()?)
    }
}
