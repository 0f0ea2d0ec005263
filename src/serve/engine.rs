//! Computing: a model's outputs for the blocks of a batch.

use ndarray::ArrayD;

use super::block::Block;
use crate::datasets::Column;
use crate::error::Result;
use crate::model::{Model, Predictor};

/// Runs a model, from any number of threads.
#[derive(Debug)]
pub(super) struct Engine {
    predictor: Predictor,
}

impl Engine {
    /// Freezes a model.
    ///
    /// # Errors
    /// Those of [`Model::freeze`].
    pub fn new(model: &Model) -> Result<Self> {
        Ok(Self { predictor: model.freeze()? })
    }

    /// All outputs for the samples of all inputs.
    pub fn run(&self, inputs: Vec<Block>) -> Result<Vec<ArrayD<f32>>> {
        let columns = inputs.into_iter().map(Block::into_column).collect::<Result<Vec<Column>>>()?;
        self.predictor.run_columns(columns)
    }
}
