//! Computing: a model's outputs for the blocks of a batch.

use ndarray::ArrayD;

use super::block::Block;
use crate::datasets::Samples;
use crate::error::Result;
use crate::model::Model;

/// Runs a model, from any number of threads.
#[derive(Debug)]
pub(super) struct Engine {
    model: Model,
}

impl Engine {
    pub fn new(model: Model) -> Self {
        Self { model }
    }

    /// All outputs for the samples of all inputs.
    pub fn run(&self, inputs: Vec<Block>) -> Result<Vec<ArrayD<f32>>> {
        let rows = inputs.first().map_or(1, |block| block.rows).max(1);
        let samples = inputs.into_iter().map(Block::into_samples).collect::<Result<Vec<Samples>>>()?;
        self.model.predict_all_with(samples, rows)
    }
}
