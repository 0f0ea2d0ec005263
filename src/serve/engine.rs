//! Computing: a model's outputs for the blocks of a batch.

use ndarray::{ArrayD, ArrayViewD};

use super::block::{Block, Values};
use crate::error::{Error, Result};
use crate::model::{Model, Predictor};

/// Runs a model, from any number of threads.
#[derive(Debug)]
pub(super) struct Engine {
    predictor: Predictor,
}

impl Engine {
    /// Makes it ready: its weights are prepared once.
    ///
    /// # Errors
    /// Those of [`Model::freeze`].
    pub fn new(model: &Model) -> Result<Self> {
        Ok(Self { predictor: model.freeze()? })
    }

    /// All outputs for the samples of all inputs.
    pub fn run(&self, inputs: Vec<Block>) -> Result<Vec<ArrayD<f32>>> {
        let views: Option<Vec<Result<ArrayViewD<'_, f32>>>> = inputs.iter().map(view).collect();
        match views {
            Some(views) => self.predictor.run(&views.into_iter().collect::<Result<Vec<_>>>()?),
            // Texts and exact whole numbers go through the stage on the host.
            None => self.predictor.run_columns(inputs.into_iter().map(Block::into_column).collect::<Result<_>>()?),
        }
    }
}

/// The values of a block, if they are floats.
fn view(block: &Block) -> Option<Result<ArrayViewD<'_, f32>>> {
    let Values::Float(values) = &block.values else { return None };
    let sizes = block.sizes();
    let view = ArrayViewD::from_shape(sizes.clone(), values);
    Some(view.map_err(|error| Error::shape(format!("{sizes:?}"), error)))
}
