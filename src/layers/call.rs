//! The context of a forward pass: weights, mode, random numbers, masks and the results besides the output.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Arguments, Layer, SampleKeys, Streams};
use crate::activations::Activation;
use crate::distributed::Communicator;
use crate::error::{Error, Result};
use crate::ops::Value;
use crate::random::{Random, Rows, random};
use crate::regularizers::Regularizer;

/// A new value for a weight that the layer itself updates.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Update {
    /// The index of the weight.
    pub weight: usize,
    /// Its new value.
    pub value: Value,
}

impl Update {
    /// A new value for weight `weight`.
    pub(crate) fn new(weight: usize, value: Value) -> Self {
        Self { weight, value }
    }

    /// The weight with its new value; the gradient still reaches the weight, as after an assignment.
    pub(crate) fn applied_to(&self, weight: &Value) -> Value {
        let value = self.value.clone().detach();
        match weight.is_autodiff() {
            true => value.autodiff() + (weight.clone() - weight.clone().detach().autodiff()),
            false => value,
        }
    }
}

/// The path of a layer: its index in the model, that of a layer inside it, and so on.
pub(crate) type LayerPath = Vec<u64>;

/// The states that a model's stateful layers keep between batches. A clone has its own states.
#[derive(Debug, Default)]
pub(crate) struct KeptStates(Mutex<BTreeMap<LayerPath, Vec<Value>>>);

impl KeptStates {
    /// All states, by layer.
    pub fn all(&self) -> BTreeMap<LayerPath, Vec<Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces all states.
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

/// Path components from here on distinguish the calls of a shared layer.
pub(crate) const FIRST_CALL: u64 = 1 << 32;

/// The part of a batch that a pass computes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BatchPart<'a> {
    /// Its rows; no rows for a whole batch.
    pub rows: Rows,
    /// The ranks that compute the other parts.
    pub peers: Option<&'a Arc<dyn Communicator>>,
}

/// One forward pass through one layer: its weights, the training mode, its random numbers, the mask; and its results
/// besides the output: new values for weights, penalties, the mask of the output.
///
/// A layer inside another is called with a [`part`](Self::part) of the wrapper's call; [`Wrapped`](super::Wrapped) does
/// what most wrappers need.
#[derive(Debug)]
pub struct Call<'a> {
    weights: &'a [Value],
    training: bool,
    trainable: bool,
    key: Vec<u64>,
    draws: u64,
    /// The mask of the time steps, shape `(batch, steps)`, 1 or 0; `None` if all steps count. Nested steps, such as the
    /// words of sentences, have a mask of shape `(batch, steps, …)`. Its value after the forward pass is the mask of
    /// the output, if the layer [supports masking](super::Layer::supports_masking).
    pub mask: Option<Value>,
    /// The masks of all inputs of a layer that has several; the first is [`mask`](Self::mask).
    masks: Vec<Option<Value>>,
    /// Whether the mask was passed as an argument of the call rather than carried by the input.
    mask_is_given: bool,
    /// The masks of the outputs, if the layer has set them itself.
    output_masks: Option<Vec<Option<Value>>>,
    arguments: Cow<'a, Arguments>,
    updates: Vec<Update>,
    penalties: Vec<Value>,
    /// Whether to leave out the layer's final activation, and whether the layer has asked.
    skip_final_activation: bool,
    asked: Cell<bool>,
    /// The next layer's activation, to be applied here; the next layer is then the identity.
    pub(crate) next_activation: Option<Activation>,
    /// Whether to leave out the layer's own activity penalty.
    pub(crate) skip_activity_loss: bool,
    /// Whether to leave out all penalties, in this call and its parts, because no loss is computed.
    pub(crate) without_loss: bool,
    /// Where stateful layers keep their states; without it they begin with zeros.
    kept: Option<&'a KeptStates>,
    batch_part: BatchPart<'a>,
    /// The samples of the batch, where they are known.
    samples: Option<Arc<SampleKeys>>,
}

impl<'a> Call<'a> {
    /// A pass in inference mode.
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
            batch_part: BatchPart::default(),
            samples: None,
        }
    }

    /// A pass in training mode; `key` is the rng key: the seed, the step and the layer.
    pub fn training(weights: &'a [Value], trainable: bool, key: &[u64]) -> Self {
        Self { training: true, trainable, key: key.to_vec(), ..Self::inference(weights) }
    }

    /// A pass through an inner layer with the weights in `range` and this call's mask. `key`, below 2³², is folded into
    /// the rng key and the path of its states, so that each part has its own.
    ///
    /// [`take_over`](Self::take_over) makes the part's results this call's, except its mask, which is the caller's to
    /// take.
    ///
    /// # Panics
    /// If the range exceeds the layer's weights.
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
            batch_part: self.batch_part,
            samples: self.samples.clone(),
            ..Call::inference(weights)
        }
    }

    /// With these arguments and the masks of all inputs.
    #[must_use]
    pub fn given<'b>(self, masks: Vec<Option<Value>>, arguments: &'b Arguments) -> Call<'b>
    where
        'a: 'b,
    {
        Call { mask: masks.first().cloned().flatten(), masks, arguments: Cow::Borrowed(arguments), ..self }
    }

    /// Marks the masks as arguments of the call rather than carried by the inputs.
    #[must_use]
    pub fn masks_given(self, given: bool) -> Self {
        Call { mask_is_given: given, ..self }
    }

    /// Whether the mask was passed as an argument of the call rather than carried by the input.
    pub fn mask_is_given(&self) -> bool {
        self.mask_is_given
    }

    /// The masks of the inputs of a layer that has several, in order.
    pub fn masks(&self) -> &[Option<Value>] {
        &self.masks
    }

    /// The arguments of the call besides the values of its inputs.
    pub fn arguments(&self) -> &Arguments {
        &self.arguments
    }

    /// The masks of the outputs, where the layer has set them itself.
    pub fn output_masks(&self) -> Option<&[Option<Value>]> {
        self.output_masks.as_deref()
    }

    /// Sets the mask of each output; a layer with one output can set [`mask`](Self::mask) instead.
    pub fn set_output_masks(&mut self, masks: Vec<Option<Value>>) {
        self.output_masks = Some(masks);
    }

    /// A pass through a part with these weights; the path is folded into its rng key.
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
            batch_part: self.batch_part,
            samples: self.samples.clone(),
            ..Call::inference(weights)
        }
    }

    /// Drops the states: stateful layers inside begin with zeros.
    pub(crate) fn without_states(&mut self) {
        self.kept = None;
    }

    /// With these states for stateful layers.
    #[must_use]
    pub(crate) fn keeping(self, states: &'a KeptStates) -> Self {
        Call { kept: Some(states), ..self }
    }

    /// For this part of a batch.
    #[must_use]
    pub(crate) fn for_part(self, batch_part: BatchPart<'a>) -> Self {
        Call { batch_part, ..self }
    }

    /// The ranks that compute the other parts of the batch, if any.
    pub(crate) fn peers(&self) -> Option<&'a Arc<dyn Communicator>> {
        self.batch_part.peers
    }

    /// With these samples in the batch.
    #[must_use]
    pub(crate) fn of_samples(self, samples: SampleKeys) -> Self {
        Call { samples: Some(Arc::new(samples)), ..self }
    }

    /// The layer's path in the model, the same for all calls of a shared layer.
    fn path(&self) -> LayerPath {
        // In training mode the key begins with the seed and the step.
        let own = if self.training { self.key.get(2..).unwrap_or_default() } else { &self.key[..] };
        own.iter().copied().filter(|part| *part < FIRST_CALL).collect()
    }

    /// The layer's states after the previous batch: empty at first and outside of a model, otherwise of the given
    /// sizes. All batches of a stateful model have the same size, see [`Layer::is_stateful`].
    ///
    /// # Errors
    /// [`Error::Data`] for a batch of another size than the previous one.
    pub fn kept_states(&self, sizes: &[Vec<usize>]) -> Result<Vec<Value>> {
        let Some(states) = self.kept.and_then(|kept| kept.of(&self.path())) else { return Ok(Vec::new()) };
        let found: Vec<Vec<usize>> = states.iter().map(Value::sizes).collect();
        if found != sizes {
            let expected = format!("as many samples as in the batch before, whose states have the sizes {found:?}");
            return Err(Error::data("a batch of a stateful layer", expected, format!("states of sizes {sizes:?}")));
        }
        Ok(states)
    }

    /// Keeps states for the next batch, detached from the graph.
    pub fn keep_states(&self, states: &[Value]) {
        if let Some(kept) = self.kept {
            kept.set(self.path(), states.iter().map(|state| state.clone().detach()).collect());
        }
    }

    /// Freezes a part if `trainable` is false; a part of a frozen call stays frozen.
    pub fn restrict(&mut self, trainable: bool) {
        self.trainable &= trainable;
    }

    /// Takes over the updates and penalties of a part whose weights begin at `first`.
    pub fn take_over(&mut self, part: Call<'_>, first: usize) {
        self.take_over_at(part, |weight| weight + first);
    }

    /// As [`take_over`](Self::take_over), for a part whose weight `i` is this layer's weight `index(i)`.
    pub fn take_over_at(&mut self, part: Call<'_>, index: impl Fn(usize) -> usize) {
        let moved = part.updates.into_iter().map(|update| Update { weight: index(update.weight), ..update });
        self.updates.extend(moved);
        self.penalties.extend(part.penalties);
    }

    /// Whether to leave out the layer's final activation.
    ///
    /// A layer with a [`Layer::final_activation`](super::Layer::final_activation) must ask and obey: the loss is then
    /// computed from the logits. A pass that does not ask is an error.
    pub fn skip_final_activation(&self) -> bool {
        self.asked.set(true);
        self.skip_final_activation
    }

    /// Applies the layer's final activation, unless it is [to be left out](Self::skip_final_activation).
    ///
    /// # Errors
    /// Those of [`Activation::apply`].
    pub fn activate(&self, activation: &Activation, output: Value) -> Result<Value> {
        if self.skip_final_activation() { Ok(output) } else { activation.apply(output) }
    }

    /// Sets whether the layer leaves out its final activation; for a part, whether the wrapper's last layer does.
    pub fn set_skip_final_activation(&mut self, skip: bool) {
        self.skip_final_activation = skip;
    }

    /// Refuses a layer that was to leave out its final activation and did not ask.
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
    /// If the index exceeds the layer's weights.
    pub fn weight(&self, index: usize) -> Value {
        self.weights[index].clone()
    }

    /// Whether the model is training: dropout drops, statistics are gathered.
    pub fn training_mode(&self) -> bool {
        self.training
    }

    /// Whether the model is training and this layer is not frozen.
    pub fn trainable(&self) -> bool {
        self.training && self.trainable
    }

    /// Random numbers for this layer and step; `seed` is the layer's own seed, which replaces the model's.
    ///
    /// They are a function of the seed, the step, the layer's position in the model and the number of earlier requests
    /// in this pass, and so the same when a run is repeated or resumed. In inference mode they are the same in each
    /// pass.
    pub fn rng(&mut self, seed: Option<u64>) -> Random {
        self.rng_for(seed, true)
    }

    /// As [`rng`](Self::rng), for draws `by_rows` or for all rows at once.
    pub(crate) fn rng_for(&mut self, seed: Option<u64>, by_rows: bool) -> Random {
        let part = if by_rows { self.batch_part.rows } else { Rows::default() };
        random(&self.next_key(seed)).of_part(part)
    }

    /// As [`rng`](Self::rng), a stream for the batch and one for each of its images, which depends on the sample alone
    /// where the samples are known.
    pub(crate) fn streams(&mut self, seed: Option<u64>) -> Streams {
        Streams::new(self.next_key(seed), self.samples.clone()).after(self.batch_part.rows.first)
    }

    fn next_key(&mut self, seed: Option<u64>) -> Vec<u64> {
        let mut key = self.key.clone();
        if let (Some(first), Some(seed)) = (key.first_mut(), seed) {
            *first = seed;
        }
        key.push(self.draws);
        self.draws += 1;
        key
    }

    /// Sets a new value for one of the layer's weights; it takes effect after the pass, before the optimizer's step.
    pub fn update(&mut self, weight: usize, value: Value) {
        self.updates.push(Update { weight, value });
    }

    /// The updates so far.
    pub fn updates(&self) -> &[Update] {
        &self.updates
    }

    /// Adds a penalty (one element) to the loss of this step.
    ///
    /// A penalty that depends on the samples has to be a mean over them, not a sum: in
    /// [distributed](crate::distributed) training each process adds that of its own samples, times their part of the
    /// batch.
    pub fn add_loss(&mut self, penalty: Value) {
        self.penalties.push(penalty);
    }

    /// The penalties so far.
    pub fn losses(&self) -> &[Value] {
        &self.penalties
    }

    /// Adds the penalty on the layer's outputs, divided by the number of samples as in Keras.
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

    /// The results of the pass: updates, penalties, and the masks of `outputs` outputs. A mask that the layer has not
    /// set is that of its first input, if it `keeps` masks.
    pub(crate) fn finish(self, outputs: usize, keeps: bool) -> (Vec<Update>, Vec<Value>, Vec<Option<Value>>) {
        let mask = self.mask.filter(|_| keeps);
        let masks = self.output_masks.unwrap_or_else(|| vec![mask; outputs]);
        (self.updates, self.penalties, masks)
    }
}
