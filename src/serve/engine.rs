//! Computing: a model's outputs for the blocks of a batch.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ndarray::ArrayD;

use super::block::Block;
use crate::datasets::Column;
use crate::error::{Error, Result};
use crate::memory::check_room;
use crate::model::{CallMemory, Model, Predictor};
use crate::ops;

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

    /// All outputs for the samples of all inputs, if somebody still waits for them when it is their turn.
    ///
    /// # Errors
    /// Those of [`Predictor::run_columns`]; [`Error::Memory`] for what takes more memory than there is.
    pub fn run(&self, inputs: Vec<Block>, is_wanted: &dyn Fn() -> bool) -> Result<Vec<ArrayD<f32>>> {
        let columns = inputs.into_iter().map(Block::into_column).collect::<Result<Vec<Column>>>()?;
        self.predictor.run_columns_within(columns, &|memory| turn(&memory, is_wanted))
    }
}

/// Values of a computation that takes its turn.
const LARGE: usize = 16 << 20;

/// Whose turn it is, in the whole process: memory is the process's.
static TURN: Mutex<()> = Mutex::new(());

/// Lets computations that take much memory go one after another: each may find that there is enough for it where there
/// is not enough for two.
fn turn(memory: &CallMemory<'_>, is_wanted: &dyn Fn() -> bool) -> Result<Option<MutexGuard<'static, ()>>> {
    if memory.values()? <= LARGE {
        return Ok(None);
    }
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if !is_wanted() {
        let expected = "a client that waits for the response";
        return Err(Error::data("a request", expected, "none: the client has disconnected"));
    }
    let check = || check_room("computing a batch", memory.more()?);
    if check().is_err() {
        // Earlier calls may have left free buffers.
        ops::drop_buffers();
        check()?;
    }
    Ok(Some(turn))
}
