//! The general form of a predictor: the plan of the layers, for every model.

use ndarray::ArrayD;

use crate::error::{Error, Result};
use crate::layers::Layer;
use crate::memory::check_room;
use crate::model::Model;
use crate::ops::{self, Value};

/// An immutable copy of a model, which shares its weights.
pub(super) struct General(Model);

impl General {
    pub fn new(model: &Model) -> Result<Self> {
        let model = model.for_prediction();
        if !model.is_stateful() {
            // Prepare the weights ahead of the first call.
            model.prepare_outputs()?;
        }
        Ok(Self(model))
    }

    /// The outputs for the values fed to the device.
    pub fn run(&self, feeds: &[&[f32]], sizes: &[&[usize]], samples: usize) -> Result<Vec<ArrayD<f32>>> {
        self.0.check_batches(samples, samples)?;
        let all = feeds.iter().fold(0usize, |all, feed| all.saturating_add(feed.len()));
        check_room("the inputs", all)?;
        let value = |(feed, sizes): (&&[f32], &&[usize])| {
            let mut numbers = ops::buffer(feed.len());
            numbers.copy_from_slice(feed);
            Value::from_vec(numbers, sizes, self.0.device())
        };
        let inputs = feeds.iter().zip(sizes).map(value).collect::<Result<_>>()?;
        let array = |output: Value| {
            let sizes = output.sizes();
            let values = output.to_vec()?;
            ops::recycle(output);
            ArrayD::from_shape_vec(sizes.clone(), values).map_err(|error| Error::shape(format!("{sizes:?}"), error))
        };
        self.0.outputs_without_states(inputs)?.into_iter().map(array).collect()
    }
}
