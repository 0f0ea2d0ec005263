//! What a forward pass has at hand besides its input.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::{Arguments, Layer};
use crate::activations::Activation;
use crate::error::{Error, Result};
use crate::ops::Value;
use crate::random::{Random, random};
use crate::regularizers::Regularizer;

/// A new value for a weight that the layer itself changes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Update {
    /// Which of the layer's weights.
    pub weight: usize,
    /// Its new value.
    pub value: Value,
}

impl Update {
    /// The weight with its new value; the gradient goes to the weight as it was, as if it had been assigned.
    pub(crate) fn applied_to(&self, weight: &Value) -> Value {
        let value = self.value.clone().detach();
        match weight.is_autodiff() {
            true => value.autodiff() + (weight.clone() - weight.clone().detach().autodiff()),
            false => value,
        }
    }
}

/// The path of a layer: its number in the model, that of a layer inside it, and so on.
pub(crate) type LayerPath = Vec<u64>;

/// The states that stateful layers of a model keep from batch to batch. A copy has states of its own.
#[derive(Debug, Default)]
pub(crate) struct KeptStates(Mutex<BTreeMap<LayerPath, Vec<Value>>>);

impl KeptStates {
    /// All of them.
    pub fn all(&self) -> BTreeMap<LayerPath, Vec<Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts others in their place.
    pub fn replace(&self, states: BTreeMap<LayerPath, Vec<Value>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = states;
    }

    fn of(&self, path: &LayerPath) -> Option<Vec<Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    fn set(&self, path: LayerPath, states: Vec<Value>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path, states);
    }
}

impl Clone for KeptStates {
    fn clone(&self) -> Self {
        Self(Mutex::new(self.all()))
    }
}

/// Parts of a path from here on tell calls of a shared layer from each other.
pub(crate) const FIRST_CALL: u64 = 1 << 32;

/// One forward pass through one layer: its weights, whether it is training, its random numbers, the mask; and what it
/// leaves behind besides the output: new values for weights, penalties, the mask for the next layer.
///
/// A layer inside another is passed through with a [`part`](Self::part) of the wrapper's call; [`Wrapped`](super::Wrapped)
/// does what most wrappers need.
#[derive(Debug)]
pub struct Call<'a> {
    weights: &'a [Value],
    training: bool,
    trainable: bool,
    key: Vec<u64>,
    draws: u64,
    /// Which time steps count, shape `(batch, steps)`, 1 or 0; `None` if all do. Steps that have steps of their own, as
    /// the words of sentences, have a mask of shape `(batch, steps, …)`. What stands here after the forward pass is the
    /// mask of the output, if the layer [supports masking](super::Layer::supports_masking).
    pub mask: Option<Value>,
    /// The masks of all inputs of a layer that has several; the first is [`mask`](Self::mask).
    masks: Vec<Option<Value>>,
    /// Whether the mask is an argument of the call, and not the one that the input carries.
    mask_is_given: bool,
    /// The masks of the outputs, if the layer has set them itself.
    output_masks: Option<Vec<Option<Value>>>,
    arguments: Cow<'a, Arguments>,
    updates: Vec<Update>,
    penalties: Vec<Value>,
    /// Leave out the activation with which the layer ends, and whether the layer has asked.
    skip_final_activation: bool,
    asked: Cell<bool>,
    /// An activation to apply at the end, for the next layer, which then does nothing.
    pub(crate) next_activation: Option<Activation>,
    /// Leave out the layer's own penalty on its outputs.
    pub(crate) skip_activity_loss: bool,
    /// Leave out all penalties, in this call and its parts: no loss is computed.
    pub(crate) without_loss: bool,
    /// Where stateful layers keep their states; without it they begin with zeros.
    kept: Option<&'a KeptStates>,
}

impl<'a> Call<'a> {
    /// A pass outside training.
    pub fn inference(weights: &'a [Value]) -> Self {
        Self {
            weights,
            training: false,
            trainable: true,
            key: Vec::new(),
            draws: 0,
            mask: None,
            masks: Vec::new(),
            mask_is_given: false,
            output_masks: None,
            arguments: Cow::Owned(Arguments::new()),
            updates: Vec::new(),
            penalties: Vec::new(),
            skip_final_activation: false,
            asked: Cell::new(false),
            next_activation: None,
            skip_activity_loss: false,
            without_loss: false,
            kept: None,
        }
    }

    /// A pass in training; `key` tells the layer's random numbers from all others: the seed, the step and the layer.
    pub fn training(weights: &'a [Value], trainable: bool, key: &[u64]) -> Self {
        Self { training: true, trainable, key: key.to_vec(), ..Self::inference(weights) }
    }

    /// A pass through a layer inside this one that has the weights in `range`, with this call's mask. Its random numbers,
    /// and the states that it keeps, are its own, told from those of other parts by `key`, which is below 2³².
    ///
    /// What the part leaves behind is taken over by [`absorb`](Self::absorb), its mask by whoever wants it.
    ///
    /// # Panics
    /// If the layer has not asked for so many weights.
    pub fn part(&mut self, range: Range<usize>, key: u64) -> Call<'a> {
        let weights = &self.weights[range];
        self.part_with(weights, key)
    }

    /// As [`part`](Self::part), with these weights in place of the layer's own.
    pub fn part_with<'b>(&mut self, weights: &'b [Value], key: u64) -> Call<'b>
    where
        'a: 'b,
    {
        Call {
            training: self.training,
            trainable: self.trainable,
            key: [&self.key[..], &[key]].concat(),
            mask: self.mask.clone(),
            without_loss: self.without_loss,
            kept: self.kept,
            ..Call::inference(weights)
        }
    }

    /// With these arguments, and the masks of all inputs.
    #[must_use]
    pub fn given<'b>(self, masks: Vec<Option<Value>>, arguments: &'b Arguments) -> Call<'b>
    where
        'a: 'b,
    {
        Call { mask: masks.first().cloned().flatten(), masks, arguments: Cow::Borrowed(arguments), ..self }
    }

    /// With masks that are arguments of the call, and not those that the inputs carry.
    #[must_use]
    pub fn masks_given(self, given: bool) -> Self {
        Call { mask_is_given: given, ..self }
    }

    /// Whether the mask is an argument of the call, and not the one that the input carries.
    pub fn mask_is_given(&self) -> bool {
        self.mask_is_given
    }

    /// The masks of the inputs of a layer that has several, in their order.
    pub fn masks(&self) -> &[Option<Value>] {
        &self.masks
    }

    /// The arguments of the call besides its inputs' values.
    pub fn arguments(&self) -> &Arguments {
        &self.arguments
    }

    /// The masks of the outputs, where the layer has set them itself.
    pub fn output_masks(&self) -> Option<&[Option<Value>]> {
        self.output_masks.as_deref()
    }

    /// Sets the mask of each output; a layer of one output can set [`mask`](Self::mask) in its place.
    pub fn set_output_masks(&mut self, masks: Vec<Option<Value>>) {
        self.output_masks = Some(masks);
    }

    /// A pass through a part with these weights, whose random numbers have this path of indices.
    pub(crate) fn part_at<'b>(&self, weights: &'b [Value], path: &[u64]) -> Call<'b>
    where
        'a: 'b,
    {
        Call {
            training: self.training,
            trainable: self.trainable,
            key: [self.key.as_slice(), path].concat(),
            without_loss: self.without_loss,
            kept: self.kept,
            ..Call::inference(weights)
        }
    }

    /// Without a place for states: stateful layers inside begin with zeros.
    pub(crate) fn without_states(&mut self) {
        self.kept = None;
    }

    /// With a place where stateful layers keep their states.
    #[must_use]
    pub(crate) fn keeping(self, states: &'a KeptStates) -> Self {
        Call { kept: Some(states), ..self }
    }

    /// The layer's path in the model, the same for all calls of a shared layer.
    fn path(&self) -> LayerPath {
        // In training the seed and the step come first.
        let own = if self.training { self.key.get(2..).unwrap_or_default() } else { &self.key[..] };
        own.iter().copied().filter(|part| *part < FIRST_CALL).collect()
    }

    /// The states that the layer has kept from the batch before: none at first and outside of a model, else of the given
    /// sizes. The model's batches are then of one size, as [`Layer::is_stateful`] says.
    ///
    /// # Errors
    /// [`Error::Data`] for a batch of another size than that before.
    pub fn kept_states(&self, sizes: &[Vec<usize>]) -> Result<Vec<Value>> {
        let Some(states) = self.kept.and_then(|kept| kept.of(&self.path())) else { return Ok(Vec::new()) };
        let found: Vec<Vec<usize>> = states.iter().map(Value::sizes).collect();
        if found != sizes {
            let expected = format!("as many samples as in the batch before, whose states have the sizes {found:?}");
            return Err(Error::data("a batch of a stateful layer", expected, format!("states of sizes {sizes:?}")));
        }
        Ok(states)
    }

    /// Keeps states for the next batch. No gradient goes back through them.
    pub fn keep_states(&self, states: &[Value]) {
        if let Some(kept) = self.kept {
            kept.set(self.path(), states.iter().map(|state| state.clone().detach()).collect());
        }
    }

    /// Makes a part one that may not be trained, if `trainable` is false; a part of what may not be trained never may.
    pub fn restrict(&mut self, trainable: bool) {
        self.trainable &= trainable;
    }

    /// Takes over the updates and penalties that a part left behind whose weights begin at `first`.
    pub fn absorb(&mut self, part: Call<'_>, first: usize) {
        self.absorb_at(part, |weight| weight + first);
    }

    /// As [`absorb`](Self::absorb), for a part whose weight `i` is this layer's weight `index(i)`.
    pub fn absorb_at(&mut self, part: Call<'_>, index: impl Fn(usize) -> usize) {
        let moved = part.updates.into_iter().map(|update| Update { weight: index(update.weight), ..update });
        self.updates.extend(moved);
        self.penalties.extend(part.penalties);
    }

    /// Whether to leave out the activation with which the layer ends.
    ///
    /// A layer that names one in [`Layer::final_activation`](super::Layer::final_activation) has to ask, and to obey: the
    /// loss is then computed from what comes before the activation. If it does not ask, the pass is an error.
    pub fn skip_final_activation(&self) -> bool {
        self.asked.set(true);
        self.skip_final_activation
    }

    /// Applies the activation with which the layer ends, unless it is [to be left out](Self::skip_final_activation).
    ///
    /// # Errors
    /// Those of [`Activation::apply`].
    pub fn activate(&self, activation: &Activation, output: Value) -> Result<Value> {
        if self.skip_final_activation() { Ok(output) } else { activation.apply(output) }
    }

    /// Has the layer leave out the activation with which it ends; or, for a part, the layer with which a wrapper ends.
    pub fn set_skip_final_activation(&mut self, skip: bool) {
        self.skip_final_activation = skip;
    }

    /// Refuses a layer that was to leave out its last activation and did not even ask.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub(crate) fn check_skipped(&self, layer: &dyn Layer) -> Result<()> {
        if !self.skip_final_activation || self.asked.get() {
            return Ok(());
        }
        let expected = "a forward pass that leaves this activation out where `Call::skip_final_activation` says so";
        let received = format!("one of `{}` that does not ask", layer.class_name());
        Err(Error::argument("final_activation", expected, received))
    }

    /// The layer's weights, in the order of [`Layer::weights`](super::Layer::weights).
    pub fn weights(&self) -> &'a [Value] {
        self.weights
    }

    /// The layer's weight `index`.
    ///
    /// # Panics
    /// If the layer has not asked for so many.
    pub fn weight(&self, index: usize) -> Value {
        self.weights[index].clone()
    }

    /// Whether the model is training: dropout drops, statistics are gathered.
    pub fn training_mode(&self) -> bool {
        self.training
    }

    /// Whether the model is training and this layer may change.
    pub fn trainable(&self) -> bool {
        self.training && self.trainable
    }

    /// Random numbers for this layer and step; `seed` replaces the model's if the layer has its own.
    ///
    /// They are a function of the seed, the step, the layer's place in the model and of how often the layer has asked in
    /// this pass, and so the same when a run is repeated or resumed. Outside training they are the same in each pass.
    pub fn rng(&mut self, seed: Option<u64>) -> Random {
        let mut key = self.key.clone();
        if let (Some(first), Some(seed)) = (key.first_mut(), seed) {
            *first = seed;
        }
        key.push(self.draws);
        self.draws += 1;
        random(&key)
    }

    /// Leaves a new value for one of the layer's weights; it takes effect after the pass, before the optimizer's step.
    pub fn update(&mut self, weight: usize, value: Value) {
        self.updates.push(Update { weight, value });
    }

    /// The new values left so far.
    pub fn updates(&self) -> &[Update] {
        &self.updates
    }

    /// Adds to the loss of this step (a value of one element).
    pub fn add_loss(&mut self, penalty: Value) {
        self.penalties.push(penalty);
    }

    /// What was added to the loss so far.
    pub fn losses(&self) -> &[Value] {
        &self.penalties
    }

    /// Adds the penalty on the layer's outputs, which Keras divides by the number of samples.
    ///
    /// # Errors
    /// Whatever the regularizer refuses.
    pub fn add_activity_loss(&mut self, regularizer: &Option<Regularizer>, output: &Value) -> Result<()> {
        let wanted = !self.skip_activity_loss && !self.without_loss;
        if let Some(regularizer) = regularizer.as_ref().filter(|_| wanted) {
            let samples = output.sizes()[0].max(1) as f32;
            self.add_loss(regularizer.penalty(output.clone())?.mul_scalar(1.0 / samples));
        }
        Ok(())
    }

    /// What the pass left behind: updates, penalties, and the masks of `outputs` outputs. A mask that the layer has not
    /// set is that of its first input, if it `keeps` masks.
    pub(crate) fn finish(self, outputs: usize, keeps: bool) -> (Vec<Update>, Vec<Value>, Vec<Option<Value>>) {
        let mask = self.mask.filter(|_| keeps);
        let masks = self.output_masks.unwrap_or_else(|| vec![mask; outputs]);
        (self.updates, self.penalties, masks)
    }
}
