//! The general form of a predictor: the plan of the layers, for every model.

use std::sync::{Mutex, PoisonError};

use ndarray::ArrayD;

use crate::error::{Error, Result};
use crate::layers::Layer;
use crate::memory::check_room;
use crate::model::Model;
use crate::ops::{self, Value};

/// An immutable copy of a model, which shares its weights.
pub(super) struct General {
    model: Model,
    /// The values that batches of some sizes take.
    known: Mutex<Vec<(Vec<usize>, usize)>>,
}

/// The most sizes whose values are remembered.
const REMEMBERED: usize = 64;

impl General {
    pub fn new(model: &Model) -> Result<Self> {
        let model = model.for_prediction();
        if !model.is_stateful() {
            // Prepare the weights ahead of the first call.
            model.prepare_outputs()?;
        }
        Ok(Self { model, known: Mutex::default() })
    }

    /// Upper bound of the values in memory when it computes for inputs of these sizes.
    ///
    /// # Errors
    /// [`Error::Layer`] for a layer that rejects its inputs' shapes.
    pub fn values_for(&self, sizes: &[&[usize]]) -> Result<usize> {
        let key = [sizes.concat(), sizes.iter().map(|sizes| sizes.len()).collect()].concat();
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, values)) = known().iter().find(|(own, _)| *own == key) {
            return Ok(*values);
        }
        let values = self.model.values_for(sizes)?;
        let mut known = known();
        if known.len() >= REMEMBERED {
            known.remove(0);
        }
        known.push((key, values));
        Ok(values)
    }

    /// The outputs for the values fed to the device.
    pub fn run(&self, feeds: &[&[f32]], sizes: &[&[usize]], samples: usize) -> Result<Vec<ArrayD<f32>>> {
        self.model.check_batches(samples, samples)?;
        let all = feeds.iter().fold(0usize, |all, feed| all.saturating_add(feed.len()));
        check_room("the inputs", all)?;
        let value = |(feed, sizes): (&&[f32], &&[usize])| {
            let mut numbers = ops::buffer(feed.len());
            numbers.copy_from_slice(feed);
            Value::from_vec(numbers, sizes, self.model.device())
        };
        let inputs = feeds.iter().zip(sizes).map(value).collect::<Result<_>>()?;
        let array = |output: Value| {
            let sizes = output.sizes();
            let values = output.to_vec()?;
            ops::recycle(output);
            ArrayD::from_shape_vec(sizes.clone(), values).map_err(|error| Error::shape(format!("{sizes:?}"), error))
        };
        self.model.outputs_without_states(inputs)?.into_iter().map(array).collect()
    }
}
