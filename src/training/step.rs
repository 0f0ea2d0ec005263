//! One step: forward → loss → gradients → update.

use super::batches::HostBatch;
use crate::datasets::Source;
use crate::error::{Error, Result};
use crate::losses::{Loss, spread};
use crate::model::{Forward, Mode, Model, weight_name};
use crate::ops::Value;
use crate::optimizers::Variable;
use crate::shape::Shape;

/// How many samples' targets are looked at together before training.
const CHECKED_AT_ONCE: usize = 4096;

/// What counts by both, for each of the losses.
fn both(a: Option<Value>, b: Option<Value>, losses: &Value) -> Result<Option<Value>> {
    match (a, b) {
        // A loss of the whole batch has no places of its own.
        (Some(a), Some(b)) if losses.len() > 1 || (a.len() == 1 && b.len() == 1) => {
            Ok(Some(spread(a, losses)? * spread(b, losses)?))
        }
        (a, b) => Ok(a.or(b)),
    }
}

/// A mask of the model's output, for its losses.
fn masked(mask: Option<&Value>, losses: &Value) -> Result<Option<Value>> {
    let Some(mask) = mask.map(|mask| mask.clone().detach()) else { return Ok(None) };
    // One loss for all steps of a sample, as of `CTC`, knows itself which of them count.
    if losses.rank() == 1 && mask.rank() > 1 && losses.len() == mask.sizes()[0] {
        return Ok(None);
    }
    if losses.len() > 1 && spread(mask.clone(), losses).is_err() {
        let expected = format!("losses of the steps that it tells of, of sizes {:?}", mask.sizes());
        return Err(Error::data("the mask of the model's output", expected, format!("losses {:?}", losses.sizes())));
    }
    Ok(Some(mask))
}

/// A batch on the device.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub x: Value,
    pub y: Value,
    pub weights: Option<Value>,
    pub samples: usize,
}

/// What a step leaves: the mean loss of the batch, and the predictions.
pub(super) struct Outcome {
    pub loss: Value,
    pub y_pred: Value,
    /// Which steps of the predictions count, if not all do.
    pub mask: Option<Value>,
    /// A loss that is infinite or no number, where it can be read at once.
    pub fault: Option<Fault>,
}

/// A loss that is infinite or no number, and where that began.
pub(super) struct Fault {
    pub loss: f32,
    pub place: Option<String>,
}

/// The shapes of a data set as a model takes them, checked.
#[derive(Clone, Debug)]
pub(super) struct Fitted {
    /// Sizes of one input.
    pub x: Vec<usize>,
    /// Sizes of one target.
    pub y: Vec<usize>,
    pub target: Shape,
    pub output: Shape,
}

impl Model {
    /// Checks that samples with inputs and targets of these sizes can be trained on; builds the model if it is not.
    pub(super) fn fit_shapes(&self, x: &[usize], y: &[usize], loss: &dyn Loss) -> Result<Fitted> {
        let x = self.accept_sample(x)?;
        let output = self.output_sizes(&Shape::batch_of(x.as_slice()))?;
        let target = Shape::batch_of(y);
        loss.check_shape(&target, &output)?;
        if output.sample().contains(&Some(0)) || y.contains(&0) {
            let received = format!("outputs of shape {output}, targets of shape {target}");
            return Err(Error::data("a loss", "at least one number to compare", received));
        }
        Ok(Fitted { x, y: y.to_vec(), target, output })
    }

    /// The sizes under which the model takes samples of these sizes: a last dimension of 1 may be missing or too many,
    /// as in Keras.
    pub(super) fn accept_sample(&self, sample: &[usize]) -> Result<Vec<usize>> {
        let with_batch = |sample: &[usize]| [&[1], sample].concat();
        let Some(expected) = self.shapes().map(|shapes| shapes[0].clone()) else {
            return self.accept(&with_batch(sample), "x").map(|()| sample.to_vec());
        };
        let longer = [sample, &[1]].concat();
        let mut forms = vec![sample, &longer];
        if let [shorter @ .., 1] = sample {
            forms.push(shorter);
        }
        match forms.into_iter().find(|form| expected.accepts(&with_batch(form))) {
            Some(form) => Ok(form.to_vec()),
            None => self.accept(&with_batch(sample), "x").map(|()| sample.to_vec()),
        }
    }

    /// Puts a batch on the device; targets that make no sense are refused before anything is computed.
    pub(super) fn upload(&self, batch: HostBatch, fitted: &Fitted) -> Result<Batch> {
        let samples = batch.indices.len();
        self.check_inputs(&batch.x)?;
        self.check_targets(&batch.y, fitted)?;
        let weights = batch.weights.map(|weights| {
            let sizes = [&[samples], weights.shape.as_slice()].concat();
            Value::from_vec(weights.numbers, &sizes, self.device())
        });
        let weights = weights.transpose()?;
        Ok(Batch {
            x: Value::from_vec(batch.x, &[&[samples], fitted.x.as_slice()].concat(), self.device())?,
            y: Value::from_vec(batch.y, &[&[samples], fitted.y.as_slice()].concat(), self.device())?,
            weights,
            samples,
        })
    }

    fn check_targets(&self, targets: &[f32], fitted: &Fitted) -> Result<()> {
        let classes = fitted.output.sizes().last().copied().flatten().unwrap_or(1);
        self.expect_compiled("a step")?.loss.check_values(targets, classes)
    }

    /// Refuses targets that make no sense before training on any, where they lie in memory.
    pub(super) fn check_all_targets<S: Source + ?Sized>(&self, data: &S, fitted: &Fitted) -> Result<()> {
        let Some(targets) = data.targets() else { return Ok(()) };
        for start in (0..targets.len()).step_by(CHECKED_AT_ONCE) {
            let part = targets.slice(start..targets.len().min(start + CHECKED_AT_ONCE))?;
            self.check_targets(&part.to_vec_f32(), fitted)?;
        }
        Ok(())
    }

    /// The loss to compute and whether the last activation is left out for it.
    pub(super) fn effective_loss(&self, loss: &dyn Loss) -> (Box<dyn Loss>, bool) {
        match self.final_activation_of(0).and_then(|activation| loss.before_activation(activation)) {
            Some(loss) => (loss, true),
            None => (loss.boxed_clone(), false),
        }
    }

    /// The loss of a forward pass: that of the predictions, and what layers and regularizers add.
    fn total_loss(&self, loss: &dyn Loss, batch: &Batch, forward: &Forward, weights: &[Vec<Value>]) -> Result<Value> {
        let losses = loss.call(&batch.y, &forward.outputs[0])?;
        let mask = masked(forward.masks[0].as_ref(), &losses)?;
        let counted = both(loss.counted(&batch.y, &losses)?, mask, &losses)?;
        let mut total = loss.reduction().reduce(losses, batch.weights.as_ref(), counted.as_ref())?;
        let weight = self.expect_compiled("a loss")?.loss_weight();
        if weight != 1.0 {
            total = total.mul_scalar(weight);
        }
        for penalty in &forward.penalties {
            total = total + penalty.clone();
        }
        for penalty in self.weight_penalties(weights, &forward.updates)? {
            total = total + penalty;
        }
        Ok(total)
    }

    /// Predictions from an output whose last activation may have been left out.
    fn predictions(&self, output: Value, skipped: bool) -> Result<Value> {
        let output = output.detach();
        match self.final_activation_of(0).filter(|_| skipped) {
            Some(activation) => activation.apply(output),
            None => Ok(output),
        }
    }

    /// Trains on one batch.
    pub(super) fn train_step(&mut self, batch: &Batch, seed: u64) -> Result<Outcome> {
        let compiled = self.expect_compiled("train")?;
        let step = compiled.state.iterations;
        let (loss, skip) = self.effective_loss(&*compiled.loss);

        let specs = self.weight_specs("train")?;
        let mut trainable = Vec::new();
        let mut values = Vec::with_capacity(specs.len());
        for (layer, (weights, specs)) in self.layer_weights("train")?.iter().zip(specs).enumerate() {
            let mut lifted = Vec::with_capacity(weights.len());
            for (index, (weight, spec)) in weights.iter().zip(specs).enumerate() {
                if self.is_trainable(layer, spec) {
                    trainable.push((layer, index));
                    lifted.push(weight.value.clone().detach().require_grad());
                } else {
                    lifted.push(weight.value.clone());
                }
            }
            values.push(lifted);
        }

        let mode = Mode::Training { seed, step };
        let mut forward = self.pass(vec![batch.x.clone()], &values, mode, &[skip])?;
        let total = self.total_loss(&*loss, batch, &forward, &values)?;
        let fault = self.fault(&total, batch, &values, mode, skip)?;
        let scale = self.expect_compiled("train")?.optimizer.base().loss_scale_factor;
        let mut gradients = match scale {
            Some(scale) => total.clone().mul_scalar(scale).backward(),
            None => total.backward(),
        };
        let gradients: Vec<Value> = trainable
            .iter()
            .map(|(layer, index)| {
                let value = &values[*layer][*index];
                let gradient = gradients.as_mut().and_then(|gradients| value.take_gradient(gradients));
                gradient.map_or_else(|| Value::full(&value.sizes(), 0.0, self.device()), Ok)
            })
            .collect::<Result<_>>()?;
        let y_pred = self.predictions(forward.outputs.remove(0), skip)?;
        let mask = forward.masks.remove(0).map(Value::detach);
        let updates = forward.updates;
        drop(values);
        let weights = self.layer_weights_mut("train")?;
        for (layer, update) in updates {
            weights[layer][update.weight].value = update.value.detach();
        }
        self.apply(&trainable, gradients)?;
        Ok(Outcome { loss: total.detach(), y_pred, mask, fault })
    }

    /// Looks at the loss where that waits for nothing; if it is infinite or no number, the batch is computed once more,
    /// layer by layer, to see where that begins.
    fn fault(
        &self,
        total: &Value,
        batch: &Batch,
        weights: &[Vec<Value>],
        mode: Mode,
        skip: bool,
    ) -> Result<Option<Fault>> {
        if !total.is_on_cpu() {
            return Ok(None);
        }
        let loss = total.clone().detach().to_scalar()?;
        if loss.is_finite() {
            return Ok(None);
        }
        let weights: Vec<Vec<Value>> =
            weights.iter().map(|weights| weights.iter().map(|weight| weight.clone().detach()).collect()).collect();
        // Gradients flow from the loss to the input: of the layers whose weights an earlier step has spoilt, the last
        // one was the first.
        for (layer, weights) in self.layers().iter().zip(&weights).rev() {
            for weight in weights {
                if !weight.is_finite()? {
                    let place = format!(
                        "the step before has made the weights of layer `{}` infinite or no numbers",
                        layer.name()
                    );
                    return Ok(Some(Fault { loss, place: Some(place) }));
                }
            }
        }
        let place = match self.first_non_finite(vec![batch.x.clone()], &weights, mode, &[skip])? {
            Some((name, class)) => format!("layer `{name}` ({class}) is the first whose output is not finite"),
            None => "the outputs of all layers are finite, their loss is not".to_owned(),
        };
        Ok(Some(Fault { loss, place: Some(place) }))
    }

    /// Hands the gradients to the optimizer.
    pub(super) fn apply(&mut self, trainable: &[(usize, usize)], gradients: Vec<Value>) -> Result<()> {
        let specs = self.weight_specs("train")?;
        let constraints: Vec<_> =
            trainable.iter().map(|(layer, index)| specs[*layer][*index].constraint.clone()).collect();
        let paths: Vec<String> = trainable
            .iter()
            .map(|(layer, index)| weight_name(self.layers()[*layer].name(), &specs[*layer][*index]))
            .collect();
        let Some(mut compiled) = self.compiled.take() else {
            return Err(Error::State { action: "train", needs: "compiled: call `compile` first".into() });
        };
        let stepped = self.layer_weights_mut("train").and_then(|weights| {
            let mut wanted = trainable.iter().copied().peekable();
            let mut variables = Vec::with_capacity(trainable.len());
            let mut given = gradients.into_iter().zip(constraints.iter().zip(&paths));
            for (layer, weights) in weights.iter_mut().enumerate() {
                for (index, weight) in weights.iter_mut().enumerate() {
                    if wanted.next_if_eq(&(layer, index)).is_some()
                        && let Some((gradient, (constraint, path))) = given.next()
                    {
                        variables.push(Variable {
                            path,
                            value: &mut weight.value,
                            gradient,
                            constraint: constraint.as_ref(),
                        });
                    }
                }
            }
            compiled.state.step(&*compiled.optimizer, variables)
        });
        self.compiled = Some(compiled);
        stepped
    }

    /// What the optimizer does when training ends: running means take the weights' places.
    pub(super) fn finish_training(&mut self) -> Result<()> {
        let compiled = self.expect_compiled("train")?;
        if !compiled.optimizer.base().use_ema || compiled.state.iterations == 0 {
            return Ok(());
        }
        self.with_averages(|weight, average| *weight = average.clone())
    }

    /// Does something with each trainable weight and its running mean; the optimizer has to have `use_ema`. Before the
    /// first step there are no means.
    pub(crate) fn with_averages(&mut self, mut change: impl FnMut(&mut Value, &mut Value)) -> Result<()> {
        let mut is_trainable = Vec::new();
        for (layer, specs) in self.weight_specs("train")?.iter().enumerate() {
            is_trainable.extend(specs.iter().map(|spec| self.is_trainable(layer, spec)));
        }
        if !self.expect_compiled("train")?.optimizer.base().use_ema {
            return Ok(());
        }
        let Some(mut compiled) = self.compiled.take() else { return Ok(()) };
        let weights = self.layer_weights_mut("train");
        let weights = weights.map(|weights| {
            let trainable = weights.iter_mut().flatten().zip(is_trainable).filter(|(_, trainable)| *trainable);
            for ((weight, _), average) in trainable.zip(compiled.state.averages()) {
                change(&mut weight.value, average);
            }
        });
        self.compiled = Some(compiled);
        weights
    }

    /// Loss and predictions of one batch, outside training.
    pub(super) fn test_step(&self, batch: &Batch) -> Result<Outcome> {
        let compiled = self.expect_compiled("evaluate")?;
        let (loss, skip) = self.effective_loss(&*compiled.loss);
        let weights = self.plain_weights()?;
        let mut forward = self.infer(vec![batch.x.clone()], &[skip])?;
        let total = self.total_loss(&*loss, batch, &forward, &weights)?;
        let y_pred = self.predictions(forward.outputs.remove(0), skip)?;
        Ok(Outcome { loss: total, y_pred, mask: forward.masks.remove(0), fault: None })
    }

    /// All weights without graphs, by layer.
    pub(crate) fn plain_weights(&self) -> Result<Vec<Vec<Value>>> {
        let weights = self.layer_weights("predict")?;
        Ok(weights.iter().map(|weights| weights.iter().map(|weight| weight.value.clone().detach()).collect()).collect())
    }
}
