//! The mapping from data to a model's inputs and outputs, with shapes.

use std::sync::Arc;

use crate::datasets::Column;
use crate::error::{Error, Result};
use crate::layers::SampleKeys;
use crate::model::{Feed, ImageFeed, ImageStage, Model, Stage};
use crate::shape::Shape;

/// The checked shapes of a data set for a model.
#[derive(Clone, Debug)]
pub(super) struct Fitted {
    /// For each input of the model the index of its field in the data, and the shape of one sample.
    pub x: Vec<(usize, Vec<usize>)>,
    /// For each output of the model.
    pub outputs: Vec<FittedOutput>,
    /// The preprocessing stage that runs on the host, if any.
    pub staged: Option<Arc<Staged>>,
    /// The sample shapes of the values fed to the device after that stage; empty if they depend on the data.
    pub fed: Vec<Vec<usize>>,
}

impl Fitted {
    /// Without a stage on the host.
    pub fn of(x: Vec<(usize, Vec<usize>)>, outputs: Vec<FittedOutput>) -> Self {
        Self { x, outputs, staged: None, fed: Vec::new() }
    }

    /// The shapes of a batch of `samples` samples, for each value fed to the device; empty if they depend on the data.
    pub fn batch(&self, samples: usize) -> Vec<Vec<usize>> {
        self.fed.iter().map(|sizes| [&[samples], sizes.as_slice()].concat()).collect()
    }
}

/// An output and its targets.
#[derive(Clone, Debug)]
pub(super) struct FittedOutput {
    /// The index of the targets' field in the data; `None` for an output without loss and metrics.
    pub field: Option<usize>,
    pub target: Shape,
    pub output: Shape,
}

impl FittedOutput {
    /// The shape of one target.
    pub fn y(&self) -> Vec<usize> {
        self.target.sample().iter().copied().flatten().collect()
    }
}

/// The image stage of a model in training, with its seed.
#[derive(Debug)]
pub(super) struct Augmented {
    stage: ImageStage,
    seed: u64,
    /// For each input the index of its field in the data, and the shape of one sample.
    x: Vec<(usize, Vec<usize>)>,
}

impl Augmented {
    /// The stage of a model for data of these shapes, if it has one.
    pub fn of(model: &Model, fitted: &Fitted, seed: u64) -> Result<Option<Self>> {
        Ok(model.image_stage()?.map(|stage| Self { stage, seed, x: fitted.x.clone() }))
    }

    /// The number of values in memory while a batch is prepared.
    pub fn values(&self, batch: &[Vec<usize>]) -> Result<usize> {
        if batch.is_empty() { Ok(0) } else { self.stage.values(batch) }
    }

    /// The fields of a batch of `rows` samples as the stage is fed with them.
    pub fn feeds(&self, rows: usize, mut fields: Vec<Vec<f32>>) -> Vec<Feed> {
        let feed = |(field, sizes): &(usize, Vec<usize>)| Feed {
            sizes: [&[rows], sizes.as_slice()].concat(),
            numbers: std::mem::take(&mut fields[*field]),
        };
        self.x.iter().map(feed).collect()
    }

    /// Prepares the images of a batch. `number` is that of the batch in the run.
    pub fn run(&self, feeds: Vec<Feed>, number: u64, samples: SampleKeys) -> Result<Vec<ImageFeed>> {
        self.stage.run(feeds, self.seed, number, samples)
    }
}

/// The preprocessing stage of a model on the host, and for each of its inputs the index of the field in the data and
/// the shape of one sample.
#[derive(Debug)]
pub(super) struct Staged {
    pub stage: Stage,
    pub x: Vec<(usize, Vec<usize>)>,
}

impl Staged {
    /// Runs the stage on the fields of a batch.
    pub fn run(&self, samples: usize, columns: Vec<Column>) -> Result<Vec<Feed>> {
        let inputs = self.x.iter().map(|(field, sizes)| {
            let column = columns.get(*field).cloned();
            let column = column.ok_or_else(|| Error::data("a source", "a column for each input", columns.len()))?;
            Column::new([&[samples], sizes.as_slice()].concat(), column.into_parts().1)
        });
        self.stage.run(inputs.collect::<Result<_>>()?)
    }
}
