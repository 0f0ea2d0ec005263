//! One step: forward → loss → gradients → update.

use std::sync::Arc;

use super::batches::HostBatch;
use super::fitted::{Fitted, FittedOutput, Staged};
use super::shard::Shard;
use crate::compile::Goal;
use crate::datasets::{Source, field_indices};
use crate::error::{Error, Result};
use crate::layers::{BatchPart, Update};
use crate::losses::{Divisor, Loss, Reduced, spread};
use crate::model::{Forward, Mode, Model, weight_name};
use crate::ops::Value;
use crate::optimizers::Variable;
use crate::shape::Shape;

/// The number of samples whose targets are checked together before training.
const CHECKED_AT_ONCE: usize = 4096;

/// The product of two masks, broadcast to the losses.
fn both(a: Option<Value>, b: Option<Value>, losses: &Value) -> Result<Option<Value>> {
    match (a, b) {
        // A loss of the whole batch has no elements to mask.
        (Some(a), Some(b)) if losses.len() > 1 || (a.len() == 1 && b.len() == 1) => {
            Ok(Some(spread(a, losses)? * spread(b, losses)?))
        }
        (a, b) => Ok(a.or(b)),
    }
}

/// The shape of a sample as an input of shape `expected` takes it: a last dimension of 1 can be missing or
/// superfluous, as in Keras.
pub(super) fn accepted_sizes(expected: &Shape, sample: &[usize]) -> Option<Vec<usize>> {
    let longer = [sample, &[1]].concat();
    let mut candidates = vec![sample, &longer];
    if let [shorter @ .., 1] = sample {
        candidates.push(shorter);
    }
    candidates.into_iter().find(|sizes| expected.accepts(&[&[1], *sizes].concat())).map(<[usize]>::to_vec)
}

/// The loss of one output, before it is divided by the number of losses. `part` is the rank's sample count; a loss must
/// then return one value per sample.
fn output_loss(
    loss: &dyn Loss,
    y: &Value,
    forward: &Forward,
    index: usize,
    weights: Option<&Value>,
    part: Option<usize>,
) -> Result<Reduced> {
    let losses = loss.call(y, &forward.outputs[index])?;
    if let Some(samples) = part.filter(|samples| *samples > 1)
        && losses.sizes().first() != Some(&samples)
    {
        let what = "distributed training with a loss of whole batches";
        return Err(Error::unsupported(what, "losses of single samples"));
    }
    let mask = masked(forward.masks[index].as_ref().filter(|_| loss.heeds_mask()), &losses)?;
    let counted = both(loss.counted(y, &losses)?, mask, &losses)?;
    loss.reduction().summed(losses, weights, counted.as_ref())
}

/// Each sum divided by the divisor of all ranks: their sum over the ranks is the loss of the whole batch.
fn divided(sums: Vec<Option<Reduced>>, shard: Option<&Shard<'_>>) -> Result<Vec<Option<Value>>> {
    let Some(shard) = shard else {
        return Ok(sums.into_iter().map(|reduced| reduced.map(Reduced::divided)).collect());
    };
    let own = |reduced: &Option<Reduced>| match reduced.as_ref().map(|reduced| &reduced.divisor) {
        Some(&Divisor::Count(count)) => Ok(f64::from(count)),
        Some(Divisor::Sum(sum)) => (**sum).clone().detach().to_scalar().map(f64::from),
        Some(Divisor::One) | None => Ok(0.0),
    };
    let all = shard.divisors(&sums.iter().map(own).collect::<Result<Vec<_>>>()?)?;
    let part = |(reduced, divisor): (Option<Reduced>, f64)| {
        let Reduced { total, divisor: own } = reduced?;
        let is_whole = matches!(own, Divisor::One) || divisor == 0.0;
        Some(if is_whole { total } else { total.mul_scalar((1.0 / divisor) as f32) })
    };
    Ok(sums.into_iter().zip(all).map(part).collect())
}

/// A mask of the model's output for its losses.
fn masked(mask: Option<&Value>, losses: &Value) -> Result<Option<Value>> {
    let Some(mask) = mask.map(|mask| mask.clone().detach()) else { return Ok(None) };
    if losses.len() > 1 && spread(mask.clone(), losses).is_err() {
        let expected = format!("losses for the steps of the mask, of sizes {:?}", mask.sizes());
        return Err(Error::data("the mask of the model's output", expected, format!("losses {:?}", losses.sizes())));
    }
    Ok(Some(mask))
}

/// A batch on the device.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    /// The model's inputs, in order.
    pub x: Vec<Value>,
    /// The targets of each output, if it has any.
    pub y: Vec<Option<Value>>,
    /// The sample weights of each output, if any.
    pub sample_weights: Vec<Option<Value>>,
    pub samples: usize,
    /// Whether `x` comes from the image stage.
    pub behind_images: bool,
}

/// The loss to compute for each output, if any.
type OutputLosses = Vec<Option<Box<dyn Loss>>>;

/// The result of a step: the loss of the batch with its penalties, and the predictions.
pub(super) struct StepResult {
    /// The loss that is minimised: the weighted sum of the losses, and penalties.
    pub loss: Value,
    /// The unweighted loss of each output that has one, if there are several.
    pub losses: Vec<Value>,
    /// The predictions of each output.
    pub y_pred: Vec<Value>,
    /// The mask of each output over its steps; `None` without a mask.
    pub masks: Vec<Option<Value>>,
    /// A loss that is infinite or NaN, if it can be read without waiting.
    pub fault: Option<NonFiniteLoss>,
}

/// The result of a batch, before the weights are changed.
pub(super) struct Gradients {
    pub changes: Changes,
    pub outcome: StepResult,
}

/// What a batch leaves for the weights.
pub(super) struct Changes {
    /// The layer and index of each weight that may be trained.
    pub trainable: Vec<(usize, usize)>,
    /// Their gradients.
    pub gradients: Vec<Value>,
    /// New values that layers give to their weights, by layer.
    pub updates: Vec<(usize, Update)>,
}

/// A loss that is infinite or NaN, and its origin.
pub(super) struct NonFiniteLoss {
    pub loss: f32,
    pub place: Option<String>,
}

impl NonFiniteLoss {
    /// The loss of another rank.
    pub fn elsewhere() -> Self {
        Self { loss: f32::NAN, place: Some("reported by another rank".to_owned()) }
    }
}

impl Model {
    /// Checks that a model can be trained on samples of these fields; builds the model if necessary.
    pub(super) fn fit_shapes<S: Source + ?Sized>(&self, data: &S, action: &'static str) -> Result<Fitted> {
        let compiled = self.expect_compiled(action)?;
        let (inputs, targets) = (data.x_fields(), data.y_fields());
        let x = field_indices("input", &inputs, &self.input_keys(), |_| true)?;
        let mut fitted = Fitted::of(Vec::with_capacity(x.len()), Vec::new());
        for (index, field) in x.into_iter().enumerate() {
            let field = field.unwrap_or(index);
            fitted.x.push((field, self.accept_input(index, &inputs[field].shape)?));
        }
        let shapes: Vec<Shape> = fitted.x.iter().map(|(_, sizes)| Shape::batch_of(sizes.as_slice())).collect();
        let outputs = self.output_shapes_for(&shapes)?;
        fitted.fed = self.fed_samples(&shapes)?.unwrap_or_default();
        fitted.staged = self.stage().map(|stage| Arc::new(Staged { stage, x: fitted.x.clone() }));
        let goals = compiled.goals();
        let fields = field_indices("target", &targets, &self.output_keys(), |index| goals[index].needs_targets())?;
        let weights = data.weight_fields().len();
        if weights > 1 && weights != targets.len() {
            return Err(Error::data("sample_weight", format!("one for each of {} targets", targets.len()), weights));
        }
        for ((output, field), goal) in outputs.into_iter().zip(fields).zip(goals) {
            let y = field.map_or(&[][..], |field| &targets[field].shape);
            let target = Shape::batch_of(y);
            if let Some(loss) = goal.loss.as_ref().filter(|_| field.is_some()) {
                loss.check_shape(&target, &output).map_err(|error| goal.named(error))?;
                if output.sample().contains(&Some(0)) || y.contains(&0) {
                    let received = format!("outputs of shape {output}, targets of shape {target}");
                    return Err(Error::data("a loss", "at least one number to compare", received));
                }
            }
            fitted.outputs.push(FittedOutput { field: field.filter(|_| goal.needs_targets()), target, output });
        }
        Ok(fitted)
    }

    /// The [accepted sizes](accepted_sizes) of samples of these sizes; builds the model if necessary.
    pub(super) fn accept_sample(&self, sample: &[usize]) -> Result<Vec<usize>> {
        let with_batch = |sample: &[usize]| [&[1], sample].concat();
        let Some(expected) = self.shapes().map(|shapes| shapes[0].clone()) else {
            return self.accept(&with_batch(sample), "x").map(|()| sample.to_vec());
        };
        match accepted_sizes(&expected, sample) {
            Some(sizes) => Ok(sizes),
            None => self.accept(&with_batch(sample), "x").map(|()| sample.to_vec()),
        }
    }

    /// Copies a batch to the device; invalid targets are refused before anything is computed.
    pub(super) fn upload(&self, mut batch: HostBatch, fitted: &Fitted) -> Result<Batch> {
        let samples = batch.indices.len();
        let value =
            |numbers: Vec<f32>, sizes: &[usize]| Value::from_vec(numbers, &[&[samples], sizes].concat(), self.device());
        let is_raw = batch.feeds.is_none() && batch.images.is_none();
        for (index, (field, _)) in fitted.x.iter().enumerate().filter(|_| is_raw) {
            self.check_input(index, &batch.x[*field])?;
        }
        for (index, output) in fitted.outputs.iter().enumerate() {
            if let Some(field) = output.field {
                self.check_targets(index, &batch.y[field], output)?;
            }
        }
        let behind_images = batch.images.is_some();
        if behind_images {
            // The pass admits the batches that no image stage has changed.
            self.admit_all(&batch.fed, true, 0)?;
        }
        let x = match (batch.images.take(), batch.feeds.take()) {
            (Some(images), _) => self.fed_images(images)?,
            (None, Some(feeds)) => self.fed(feeds)?,
            (None, None) => {
                let x = fitted.x.iter().map(|(field, sizes)| value(std::mem::take(&mut batch.x[*field]), sizes));
                x.collect::<Result<_>>()?
            }
        };
        let mut y = Vec::with_capacity(fitted.outputs.len());
        for output in &fitted.outputs {
            // A layer can be an output more than once, with the same targets.
            let used = fitted.outputs.iter().filter(|other| other.field == output.field).count();
            let numbers = output.field.map(|field| match used {
                1 => std::mem::take(&mut batch.y[field]),
                _ => batch.y[field].clone(),
            });
            y.push(numbers.map(|numbers| value(numbers, &output.y())).transpose()?);
        }
        let given: Vec<Option<Value>> = batch
            .weights
            .into_iter()
            .map(|weights| weights.map(|weights| value(weights.numbers, &weights.shape)).transpose())
            .collect::<Result<_>>()?;
        let of_output = |output: &FittedOutput| match &given[..] {
            [] => None,
            [all] => all.clone(),
            each => output.field.and_then(|field| each[field].clone()),
        };
        let sample_weights = fitted.outputs.iter().map(of_output).collect();
        Ok(Batch { x, y, sample_weights, samples, behind_images })
    }

    fn check_targets(&self, index: usize, targets: &[f32], fitted: &FittedOutput) -> Result<()> {
        let classes = fitted.output.sizes().last().copied().flatten().unwrap_or(1);
        let goal = &self.expect_compiled("a step")?.goals()[index];
        let checked = goal.loss.as_ref().map_or(Ok(()), |loss| loss.check_values(targets, classes));
        checked.map_err(|error| goal.named(error))
    }

    /// Refuses invalid targets before training starts, if they are in memory.
    pub(super) fn check_all_targets<S: Source + ?Sized>(&self, data: &S, fitted: &Fitted) -> Result<()> {
        let Some(all) = data.all_targets() else { return Ok(()) };
        for (index, output) in fitted.outputs.iter().enumerate() {
            let Some(targets) = output.field.and_then(|field| all.get(field)) else { continue };
            for start in (0..targets.len()).step_by(CHECKED_AT_ONCE) {
                let part = targets.slice(start..targets.len().min(start + CHECKED_AT_ONCE))?;
                self.check_targets(index, &part.to_vec_f32(), output)?;
            }
        }
        Ok(())
    }

    /// The loss to compute for each output with targets, and whether the output's last activation is fused into it.
    fn effective_losses(&self, batch: &Batch) -> Result<(OutputLosses, Vec<bool>)> {
        let effective = |(index, goal): (usize, &Goal)| {
            let Some(loss) = goal.loss.as_ref().filter(|_| batch.y[index].is_some()) else { return (None, false) };
            match self.final_activation_of(index).and_then(|activation| loss.before_activation(activation)) {
                Some(loss) => (Some(loss), true),
                None => (Some(loss.boxed_clone()), false),
            }
        };
        Ok(self.expect_compiled("a step")?.goals().iter().enumerate().map(effective).unzip())
    }

    /// The total loss of a forward pass, with the penalties of layers and regularizers; and that of each output,
    /// detached, if there are several.
    fn total_loss(
        &self,
        losses: &[Option<Box<dyn Loss>>],
        batch: &Batch,
        forward: &Forward,
        weights: &[Vec<Value>],
        shard: Option<&Shard<'_>>,
    ) -> Result<(Value, Vec<Value>)> {
        let goals = self.expect_compiled("a loss")?.goals();
        let (mut total, mut single) = (None::<Value>, Vec::new());
        let summed = losses.iter().enumerate().map(|(index, loss)| {
            let (Some(loss), Some(y)) = (loss, &batch.y[index]) else { return Ok(None) };
            let (weights, part) = (batch.sample_weights[index].as_ref(), shard.map(|_| batch.samples));
            let sum = output_loss(&**loss, y, forward, index, weights, part);
            sum.map(Some).map_err(|error| goals[index].named(error))
        });
        for (index, value) in divided(summed.collect::<Result<_>>()?, shard)?.into_iter().enumerate() {
            let Some(mut value) = value else { continue };
            single.push(value.clone().detach());
            let weight = goals[index].weight;
            if weight != 1.0 {
                value = value.mul_scalar(weight);
            }
            total = Some(match total {
                Some(total) => total + value,
                None => value,
            });
        }
        let mut total = match total {
            Some(total) => total,
            None => Value::full(&[1], 0.0, self.device())?,
        };
        if single.len() < 2 {
            single.clear();
        }
        for penalty in forward.penalties.iter().cloned().chain(self.weight_penalties(weights, &forward.updates)?) {
            total = total + shard.map_or(penalty.clone(), |shard| penalty.mul_scalar(shard.share()));
        }
        Ok((total, single))
    }

    /// Predictions from outputs, with the last activations applied where they were skipped.
    fn predictions(&self, outputs: Vec<Value>, skipped: &[bool]) -> Result<Vec<Value>> {
        let outputs = outputs.into_iter().zip(skipped).enumerate();
        let predictions = outputs.map(|(index, (output, skipped))| {
            let output = output.detach();
            match self.final_activation_of(index).filter(|_| *skipped) {
                Some(activation) => activation.apply(output),
                None => Ok(output),
            }
        });
        predictions.collect()
    }

    /// Trains on one batch.
    pub(super) fn train_step(&mut self, batch: &Batch, seed: u64) -> Result<StepResult> {
        let gradients = self.gradients(batch, seed, None)?;
        self.apply_step(gradients)
    }

    /// Loss, predictions and gradients of one batch. The model stays as it is, but for the states of stateful layers:
    /// several devices can each compute a part of a batch.
    pub(super) fn gradients(&self, batch: &Batch, seed: u64, shard: Option<&Shard<'_>>) -> Result<Gradients> {
        let compiled = self.expect_compiled("train")?;
        let step = compiled.state.iterations;
        let (losses, skip) = self.effective_losses(batch)?;

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
        let part = shard.map_or_else(BatchPart::default, Shard::of_batch);
        let forward = self.pass_from(batch.x.clone(), batch.behind_images, &values, mode, &skip, part)?;
        let (total, loss_values) = self.total_loss(&losses, batch, &forward, &values, shard)?;
        let fault = self.fault(&total, batch, &values, mode, &skip)?;
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
        let y_pred = self.predictions(forward.outputs, &skip)?;
        let masks = forward.masks.into_iter().map(|mask| mask.map(Value::detach)).collect();
        let outcome = StepResult { loss: total.detach(), losses: loss_values, y_pred, masks, fault };
        Ok(Gradients { changes: Changes { trainable, gradients, updates: forward.updates }, outcome })
    }

    /// Applies the results of a batch.
    fn apply_step(&mut self, step: Gradients) -> Result<StepResult> {
        self.apply_all(step.changes)?;
        Ok(step.outcome)
    }

    /// Applies the new values that layers gave their weights, then the optimizer's step.
    pub(super) fn apply_all(&mut self, changes: Changes) -> Result<()> {
        let weights = self.layer_weights_mut("train")?;
        for (layer, update) in changes.updates {
            weights[layer][update.weight].value = update.value.detach();
        }
        self.apply(&changes.trainable, changes.gradients)
    }

    /// Checks the loss, on the CPU only, where reading it does not wait; if it is infinite or NaN, the batch is
    /// computed once more, layer by layer, to locate the origin.
    fn fault(
        &self,
        total: &Value,
        batch: &Batch,
        weights: &[Vec<Value>],
        mode: Mode,
        skip: &[bool],
    ) -> Result<Option<NonFiniteLoss>> {
        if !total.is_on_cpu() {
            return Ok(None);
        }
        let loss = total.clone().detach().to_scalar()?;
        if loss.is_finite() {
            return Ok(None);
        }
        let weights: Vec<Vec<Value>> =
            weights.iter().map(|weights| weights.iter().map(|weight| weight.clone().detach()).collect()).collect();
        // Gradients flow from the loss to the input: of the layers with weights that an earlier step has made
        // non-finite, the last one was the first.
        for (layer, weights) in self.layers().iter().zip(&weights).rev() {
            for weight in weights {
                if !weight.is_finite()? {
                    let place =
                        format!("after the previous step the weights of layer `{}` are infinite or NaN", layer.name());
                    return Ok(Some(NonFiniteLoss { loss, place: Some(place) }));
                }
            }
        }
        let place = match self.first_non_finite(batch.x.clone(), batch.behind_images, &weights, mode, skip)? {
            Some((name, class)) => format!("layer `{name}` ({class}) is the first whose output is not finite"),
            None => "the outputs of all layers are finite, their loss is not".to_owned(),
        };
        Ok(Some(NonFiniteLoss { loss, place: Some(place) }))
    }

    /// Passes the gradients to the optimizer.
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

    /// The optimizer's work at the end of training: the running averages replace the weights.
    pub(super) fn finish_training(&mut self) -> Result<()> {
        let compiled = self.expect_compiled("train")?;
        if !compiled.optimizer.base().use_ema || compiled.state.iterations == 0 {
            return Ok(());
        }
        self.with_averages(|weight, average| *weight = average.clone())
    }

    /// Calls `change` with each trainable weight and its running average; without `use_ema`, and before the first step,
    /// there are none.
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
    pub(super) fn test_step(&self, batch: &Batch, shard: Option<&Shard<'_>>) -> Result<StepResult> {
        let (losses, skip) = self.effective_losses(batch)?;
        let weights = self.plain_weights()?;
        let forward = self.infer(batch.x.clone(), &skip)?;
        self.check_uncropped(&losses, batch, &forward)?;
        let (loss, losses) = self.total_loss(&losses, batch, &forward, &weights, shard)?;
        let y_pred = self.predictions(forward.outputs, &skip)?;
        Ok(StepResult { loss, losses, y_pred, masks: forward.masks, fault: None })
    }

    /// Refuses outputs of other shapes than in training that do not fit their targets.
    fn check_uncropped(&self, losses: &OutputLosses, batch: &Batch, forward: &Forward) -> Result<()> {
        if !self.layers().iter().any(|layer| layer.resizes_in_training()) {
            return Ok(());
        }
        let goals = self.expect_compiled("a step")?.goals();
        let shape = |value: &Value| Shape::batch_of(value.sizes().get(1..).unwrap_or_default());
        for (index, (loss, y)) in losses.iter().zip(&batch.y).enumerate() {
            if let (Some(loss), Some(y)) = (loss, y) {
                let checked = loss.check_shape(&shape(y), &shape(&forward.outputs[index]));
                checked.map_err(|error| goals[index].named(error))?;
            }
        }
        Ok(())
    }

    /// All weights, detached, by layer.
    pub(crate) fn plain_weights(&self) -> Result<Vec<Vec<Value>>> {
        let weights = self.layer_weights("predict")?;
        Ok(weights.iter().map(|weights| weights.iter().map(|weight| weight.value.clone().detach()).collect()).collect())
    }
}
