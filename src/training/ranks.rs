//! Training with several ranks: what they agree on at the beginning, and the exchange of each step.

use std::hash::{DefaultHasher, Hasher};

use super::Fit;
use super::fitted::Fitted;
use super::optimizer_state;
use super::shard::Shard;
use super::step::{Batch, Changes, Gradients, NonFiniteLoss, StepResult};
use super::streaming::Shapes;
use crate::datasets::{Source, split_index};
use crate::distributed::{Communicator, agree, broadcast, halves};
use crate::error::{Error, Result};
use crate::layers::{Layer, Update};
use crate::model::Model;
use crate::ops::Value;

/// The bits of a number; those of each NaN are the same.
fn bits(number: f32) -> u32 {
    if number.is_nan() { f32::NAN.to_bits() } else { number.to_bits() }
}

/// A number that distinguishes this text from others.
pub(super) fn hash_of(text: &str) -> u64 {
    let mut hash = DefaultHasher::new();
    hash.write(text.as_bytes());
    hash.finish()
}

/// A number that distinguishes the optimizer's state from others.
fn optimizer_hash(model: &Model) -> Result<u64> {
    let state = optimizer_state::snapshot(model.expect_compiled("fit")?)?;
    let mut hash = DefaultHasher::new();
    let scalars = (&state.class_name, state.iterations, state.learning_rate, state.shared);
    hash.write(format!("{scalars:?}").as_bytes());
    state.slots.iter().flatten().flatten().for_each(|number| hash.write_u32(bits(*number)));
    Ok(hash.finish())
}

/// What is known of a stream before it is trained on.
pub(super) struct StreamTraits {
    /// The shapes that all batches have.
    pub shapes: Shapes,
    /// A number that distinguishes it from streams of other batches, if it has one.
    pub fingerprint: Option<u64>,
}

/// Refuses ranks with other data or arguments than rank 0, and gives all the weights and the seed of rank 0; returns the
/// seed.
pub(super) fn begin_together<S: Source + ?Sized>(
    model: &mut Model,
    data: &S,
    fit: &Fit<'_>,
    seed: u64,
    fitted: &Fitted,
    stream: Option<&StreamTraits>,
    peers: &dyn Communicator,
) -> Result<u64> {
    model.check_distributed(fitted)?;
    // Each rank has batches of its own, of which the data is the first.
    let (count, sum) = match stream {
        Some(stream) => (0, stream.fingerprint),
        None => (data.len(), data.fingerprint()?),
    };
    let samples = match fit.validation_split {
        split if split > 0.0 => split_index(data.len(), split)?,
        _ => data.len(),
    };
    let batch_size = fit.batch_size.unwrap_or_else(|| model.default_batch_size());
    let smallest = match samples % batch_size {
        0 => batch_size.min(samples),
        rest => rest,
    };
    if stream.is_none() && model.is_synchronized() && smallest < peers.size() {
        let expected =
            format!("batches of at least {} samples, as a layer is synchronized over the ranks", peers.size());
        return Err(Error::data("the last batch", expected, format!("one of {smallest}")));
    }
    let number = |number: Option<usize>| number.map_or(-1.0, |number| number as f64);
    let arguments = [
        number(fit.epochs),
        number(fit.batch_size),
        number(fit.steps_per_epoch),
        fit.validation_split,
        number(fit.validation_data.map(Source::len)),
        number(Some(fit.initial_epoch)),
        f64::from(u8::from(fit.keep_order)),
        model.count_params()? as f64,
    ];
    agree(peers, "the model or the arguments of `fit`", &arguments)?;
    agree(peers, "the number of samples", &[count as f64])?;
    let shapes = stream.map(|stream| &stream.shapes);
    agree(peers, "the shapes of the stream's samples", &halves(hash_of(&format!("{shapes:?}"))))?;
    let choices = format!("{:?}", (&fit.validation_freq, &fit.class_weight));
    agree(peers, "`validation_freq` or the class weights", &halves(hash_of(&choices)))?;
    let [high, low] = halves(sum.unwrap_or_default());
    agree(peers, "the training data", &[f64::from(u8::from(sum.is_some())), high, low])?;
    agree(peers, "the optimizer's state", &halves(optimizer_hash(model)?))?;
    let seed = broadcast(peers, Some(seed.to_le_bytes().to_vec()))?;
    let seed = seed.try_into().map(u64::from_le_bytes).unwrap_or_default();
    let mut weights = model.get_weights()?;
    for weight in &mut weights {
        let mut numbers: Vec<f32> = match peers.rank() {
            0 => weight.iter().copied().collect(),
            _ => vec![0.0; weight.len()],
        };
        peers.all_reduce(&mut numbers)?;
        weight.iter_mut().zip(numbers).for_each(|(weight, number)| *weight = number);
    }
    model.set_weights(&weights)?;
    Ok(seed)
}

/// Refuses weights that differ between ranks.
pub(super) fn agree_on_weights(model: &Model, peers: &dyn Communicator) -> Result<()> {
    let mut hash = DefaultHasher::new();
    for weight in model.get_weights()? {
        weight.iter().for_each(|number| hash.write_u32(bits(*number)));
    }
    agree(peers, "the weights after an epoch", &halves(hash.finish()))
}

/// The numbers of a step as one list, for one exchange.
#[derive(Debug, Default)]
struct Flat {
    numbers: Vec<f32>,
    read: usize,
}

impl Flat {
    fn push(&mut self, value: &Value) -> Result<()> {
        self.numbers.extend(value.to_vec()?);
        Ok(())
    }

    fn push_number(&mut self, number: f32) {
        self.numbers.push(number);
    }

    /// As many zeros as the value has numbers.
    fn push_zeros(&mut self, value: &Value) {
        self.numbers.resize(self.numbers.len() + value.len(), 0.0);
    }

    /// Replaces the numbers by their sums over all ranks.
    fn exchange(&mut self, peers: &dyn Communicator) -> Result<()> {
        peers.all_reduce(&mut self.numbers)
    }

    /// The next numbers, in the order in which they were pushed, as a value like `like`.
    fn next(&mut self, like: &Value) -> Result<Value> {
        let numbers = self.numbers[self.read..][..like.len()].to_vec();
        self.read += numbers.len();
        Value::from_vec(numbers, &like.sizes(), &like.device())
    }

    fn next_number(&mut self) -> f32 {
        self.read += 1;
        self.numbers[self.read - 1]
    }
}

impl Model {
    /// Trains on one batch together with other ranks; also whether the loss of one is infinite or NaN. Without a batch,
    /// this rank has no samples of it, and there is no outcome.
    pub(super) fn train_step_with(
        &mut self,
        shard: &Shard<'_>,
        batch: Option<&Batch>,
        seed: u64,
    ) -> Result<(Option<StepResult>, bool)> {
        let own = batch.map(|batch| self.gradients(batch, seed, Some(shard))).transpose()?;
        if own.is_none() {
            shard.divisors(&vec![0.0; self.expect_compiled("train")?.goals().len()])?;
        }
        let (gradients, outcome, is_faulty) = self.exchanged(shard, own)?;
        self.apply_all(gradients)?;
        Ok((outcome, is_faulty))
    }

    /// Sums gradients over all ranks, and averages the new values that layers gave to their weights over the ranks
    /// that have samples. Few layers change weights that are trained: their values are a second exchange, only where
    /// there are some. Also returns whether the loss of a rank is infinite or NaN, which makes that of all NaN.
    fn exchanged(&self, shard: &Shard<'_>, own: Option<Gradients>) -> Result<(Changes, Option<StepResult>, bool)> {
        let (mut trainable, mut others) = (Vec::new(), Vec::new());
        let specs = self.weight_specs("train")?;
        let weights = self.layer_weights("train")?;
        for (layer, (weights, specs)) in weights.iter().zip(specs).enumerate() {
            for (index, (weight, spec)) in weights.iter().zip(specs).enumerate() {
                let list = if self.is_trainable(layer, spec) { &mut trainable } else { &mut others };
                list.push(((layer, index), weight.value.clone().detach()));
            }
        }
        let mut flat = Flat::default();
        let (changes, outcome) = own.map(|own| (own.changes, own.outcome)).unzip();
        for (index, (_, weight)) in trainable.iter().enumerate() {
            match &changes {
                Some(changes) => flat.push(&changes.gradients[index])?,
                None => flat.push_zeros(weight),
            }
        }
        let own_updates = changes.map_or_else(Vec::new, |changes: Changes| changes.updates);
        let update_of = |position: (usize, usize)| {
            let is_it = |(layer, update): &&(usize, Update)| (*layer, update.weight) == position;
            own_updates.iter().rfind(is_it).map(|(_, update)| &update.value)
        };
        for (position, weight) in &others {
            match update_of(*position) {
                Some(value) => {
                    flat.push_number(1.0);
                    flat.push(value)?;
                }
                None => {
                    flat.push_number(0.0);
                    flat.push_zeros(weight);
                }
            }
        }
        for (position, _) in &trainable {
            flat.push_number(f32::from(u8::from(update_of(*position).is_some())));
        }
        let is_faulty = outcome.as_ref().is_some_and(|outcome: &StepResult| outcome.fault.is_some());
        flat.push_number(f32::from(u8::from(is_faulty)));
        flat.exchange(&**shard.peers)?;
        let gradients = trainable.iter().map(|(_, weight)| flat.next(weight)).collect::<Result<_>>()?;
        let mut updates = Vec::new();
        for ((layer, weight), value) in others {
            let (ranks, sum) = (flat.next_number(), flat.next(&value)?);
            if ranks > 0.0 {
                let value = if ranks > 1.0 { sum.mul_scalar(1.0 / ranks) } else { sum };
                updates.push((layer, Update::new(weight, value)));
            }
        }
        let mut changed = Vec::new();
        for (position, weight) in &trainable {
            let ranks = flat.next_number();
            if ranks > 0.0 {
                changed.push((*position, weight, ranks));
            }
        }
        if !changed.is_empty() {
            let mut second = Flat::default();
            for (position, weight, _) in &changed {
                match update_of(*position) {
                    Some(value) => second.push(value)?,
                    None => second.push_zeros(weight),
                }
            }
            second.exchange(&**shard.peers)?;
            for ((layer, index), weight, ranks) in changed {
                updates.push((layer, Update::new(index, second.next(weight)?.mul_scalar(1.0 / ranks))));
            }
        }
        let mut outcome = outcome;
        let one_is_faulty = flat.next_number() > 0.0;
        if one_is_faulty && let Some(outcome) = outcome.as_mut().filter(|_| !is_faulty) {
            outcome.fault = Some(NonFiniteLoss::elsewhere());
            outcome.loss = Value::full(&outcome.loss.sizes(), f32::NAN, self.device())?;
        }
        let trainable = trainable.into_iter().map(|(position, _)| position).collect();
        Ok((Changes { trainable, gradients, updates }, outcome, one_is_faulty))
    }
}
