//! Through the layers: the forward pass.

use super::Model;
use super::core::in_layer;
use super::plan::Planned;
use crate::activations::Activation;
use crate::error::{Error, Result};
use crate::layers::{Call, Layer, Update, WeightSpec, is_trainable};
use crate::ops::Value;
use crate::shape::Shape;

/// How a forward pass is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As in `predict`: nothing is dropped, statistics are used as they are.
    Inference,
    /// As in `fit`: dropout drops, statistics are gathered; random numbers come from the seed and the step.
    Training {
        /// The run's seed.
        seed: u64,
        /// The number of steps before this one.
        step: u64,
    },
}

/// What a forward pass leaves.
#[derive(Debug)]
pub(crate) struct Forward {
    /// The output; without the last activation if that was to be left out.
    pub output: Value,
    /// New values for weights, by layer.
    pub updates: Vec<(usize, Update)>,
    /// What layers add to the loss.
    pub penalties: Vec<Value>,
    /// Which time steps count, if not all do.
    pub mask: Option<Value>,
}

/// Is shown a layer's index and what it has made.
type Watch<'a> = &'a mut dyn FnMut(usize, &Value) -> Result<()>;

impl Model {
    /// The activation with which the model ends, if its last layer ends with one that can be left out.
    pub(crate) fn final_activation(&self) -> Option<&Activation> {
        self.layers.last().and_then(|layer| layer.final_activation())
    }

    /// A forward pass with the given weights (by layer).
    ///
    /// `skip_final` leaves out the last activation, for a loss that works on what comes before it.
    pub(crate) fn pass(&self, input: Value, weights: &[Vec<Value>], mode: Mode, skip_final: bool) -> Result<Forward> {
        self.pass_with(input, weights, mode, skip_final, None)
    }

    /// The first layer whose output on this input has numbers that are not finite, if there is one.
    pub(crate) fn first_non_finite(
        &self,
        input: Value,
        weights: &[Vec<Value>],
        mode: Mode,
        skip_final: bool,
    ) -> Result<Option<&dyn Layer>> {
        let mut found = None;
        let mut watch = |index: usize, output: &Value| {
            if found.is_none() && !output.is_finite()? {
                found = Some(index);
            }
            Ok(())
        };
        self.pass_with(input, weights, mode, skip_final, Some(&mut watch))?;
        Ok(found.map(|index| &*self.layers[index]))
    }

    /// A forward pass; `watch` is shown what each layer makes, one by one.
    fn pass_with(
        &self,
        input: Value,
        weights: &[Vec<Value>],
        mode: Mode,
        skip_final: bool,
        mut watch: Option<Watch<'_>>,
    ) -> Result<Forward> {
        self.admit(&input.sizes(), mode != Mode::Inference)?;
        let mut value = input;
        let (mut updates, mut penalties, mut mask) = (Vec::new(), Vec::new(), None);
        let mut index = 0;
        while index < self.layers.len() {
            let planned = match &watch {
                None if !value.is_empty() => self.joined(index, value, weights, mode, skip_final)?,
                _ => Planned::Apart(value),
            };
            let input = match planned {
                Planned::Joined { output, layers } => {
                    value = output;
                    // The first of them keeps no mask.
                    mask = None;
                    index += layers;
                    continue;
                }
                Planned::Apart(input) => input,
            };
            let layer = &*self.layers[index];
            let trainable = self.common.trainable && is_trainable(layer);
            let mut call = match mode {
                Mode::Inference => Call::inference(&weights[index]),
                Mode::Training { seed, step } => {
                    Call::training(&weights[index], trainable, &[seed, step, index as u64])
                }
            };
            call.mask = mask.take();
            call.set_skip_final_activation(skip_final && index + 1 == self.layers.len());
            call.next_activation = self.joined_activation(index, skip_final).filter(|_| watch.is_none());
            let layers = 1 + usize::from(call.next_activation.is_some());
            value = in_layer(layer, layer.run(input, &mut call))?;
            in_layer(layer, call.check_skipped(layer))?;
            let (moved, added, left) = call.finish();
            updates.extend(moved.into_iter().map(|update| (index, update)));
            penalties.extend(added);
            mask = left.filter(|_| layer.supports_masking());
            if let Some(watch) = &mut watch {
                watch(index, &value)?;
            }
            index += layers;
        }
        Ok(Forward { output: value, updates, penalties, mask })
    }

    /// Builds the model for a batch of these sizes if it is not built yet, and refuses one that does not fit.
    pub(crate) fn accept(&self, sizes: &[usize], what: &str) -> Result<()> {
        let Some((_, sample)) = sizes.split_first() else {
            return Err(Error::data(what, "samples along a first axis", "a single number"));
        };
        let received = Shape::batch_of(sample);
        received.check_count()?;
        let built = self.build_for(&received)?;
        let expected = &built.shapes[0];
        if expected.accepts(sizes) {
            return Ok(());
        }
        Err(Error::data(format!("{what} for model `{}`", self.name()), format!("shape {expected}"), received))
    }

    /// Refuses inputs that the layers that see them as they are cannot take.
    pub(crate) fn check_inputs(&self, values: &[f32]) -> Result<()> {
        self.layers_take(values).map(|_| ())
    }

    /// As [`check_inputs`](Self::check_inputs); whether the outputs are the same numbers.
    pub(super) fn layers_take(&self, values: &[f32]) -> Result<bool> {
        for layer in &self.layers {
            if !in_layer(&**layer, layer.check_values(values))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The output's sizes for inputs whose sizes are fully known.
    pub(crate) fn output_sizes(&self, input: &Shape) -> Result<Shape> {
        self.layers.iter().try_fold(input.clone(), |shape, layer| in_layer(&**layer, layer.checked_output(&shape)))
    }
}

/// The output shape of layers in a row, and the weights that each needs.
pub(super) fn child_specs(layers: &[Box<dyn Layer>], input: &Shape) -> Result<(Shape, Vec<Vec<WeightSpec>>)> {
    let mut shape = input.clone();
    let mut all = Vec::with_capacity(layers.len());
    for layer in layers {
        let output = in_layer(&**layer, layer.checked_output(&shape))?;
        all.push(in_layer(&**layer, layer.weights(&shape))?);
        shape = output;
    }
    Ok((shape, all))
}
