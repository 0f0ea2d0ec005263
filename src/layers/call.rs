//! What a forward pass has at hand besides its input.

use crate::activations::Activation;
use crate::error::Result;
use crate::ops::Value;
use crate::random::stream;
use crate::regularizers::Regularizer;

/// A new value for a weight that the layer itself changes.
#[derive(Clone, Debug)]
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

/// One forward pass through one layer: its weights, whether it is training, its random stream; and what it leaves
/// behind besides the output.
#[derive(Debug)]
pub struct Call<'a> {
    weights: &'a [Value],
    training: bool,
    trainable: bool,
    place: Vec<u64>,
    draws: u64,
    /// Which time steps count, shape `(batch, steps)`, 1 or 0; `None` if all do. Steps that have steps of their own, as
    /// the words of sentences, have a mask of shape `(batch, steps, …)`.
    pub mask: Option<Value>,
    updates: Vec<Update>,
    penalties: Vec<Value>,
    /// Leave out the activation with which the layer ends
    /// ([`Layer::final_activation`](super::Layer::final_activation)).
    pub(crate) skip_final_activation: bool,
    /// An activation to apply at the end, for the next layer, which then does nothing.
    pub(crate) next_activation: Option<Activation>,
    /// Leave out the layer's own penalty on its outputs.
    pub(crate) skip_activity_loss: bool,
}

impl<'a> Call<'a> {
    /// A pass outside training.
    pub fn inference(weights: &'a [Value]) -> Self {
        Self {
            weights,
            training: false,
            trainable: true,
            place: Vec::new(),
            draws: 0,
            mask: None,
            updates: Vec::new(),
            penalties: Vec::new(),
            skip_final_activation: false,
            next_activation: None,
            skip_activity_loss: false,
        }
    }

    /// A pass in training; `place` tells the layer's random streams from all others: the seed, the step and the layer.
    pub fn training(weights: &'a [Value], trainable: bool, place: &[u64]) -> Self {
        Self { training: true, trainable, place: place.to_vec(), ..Self::inference(weights) }
    }

    /// A pass through a part of the layer that has the weights from `range`.
    pub(crate) fn part(&mut self, range: std::ops::Range<usize>, index: u64) -> Call<'a> {
        let weights = &self.weights[range];
        self.part_with(weights, index)
    }

    /// A pass through a part of the layer with these weights in place of the layer's own.
    pub(crate) fn part_with<'b>(&mut self, weights: &'b [Value], index: u64) -> Call<'b> {
        let mut place = self.place.clone();
        place.push(index);
        Call {
            weights,
            training: self.training,
            trainable: self.trainable,
            place,
            draws: 0,
            mask: self.mask.clone(),
            updates: Vec::new(),
            penalties: Vec::new(),
            skip_final_activation: false,
            next_activation: None,
            skip_activity_loss: false,
        }
    }

    /// A part that may itself not be trained.
    pub(crate) fn restrict(&mut self, trainable: bool) {
        self.trainable &= trainable;
    }

    /// Takes over what a part that began at weight `first` left behind.
    pub(crate) fn absorb(&mut self, part: Call<'_>, first: usize) {
        self.absorb_at(part, |weight| weight + first);
    }

    /// Takes over what a part left behind, whose weights are at these places among the layer's.
    pub(crate) fn absorb_at(&mut self, part: Call<'_>, place: impl Fn(usize) -> usize) {
        let moved = part.updates.into_iter().map(|update| Update { weight: place(update.weight), ..update });
        self.updates.extend(moved);
        self.penalties.extend(part.penalties);
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

    /// A random generator for this layer and step; `seed` replaces the model's if the layer has its own.
    pub(crate) fn rng(&mut self, seed: Option<u64>) -> rand_chacha::ChaCha8Rng {
        let mut place = self.place.clone();
        if let (Some(first), Some(seed)) = (place.first_mut(), seed) {
            *first = seed;
        }
        place.push(self.draws);
        self.draws += 1;
        stream(&place)
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
        if let Some(regularizer) = regularizer.as_ref().filter(|_| !self.skip_activity_loss) {
            let samples = output.sizes()[0].max(1) as f32;
            self.add_loss(regularizer.penalty(output.clone())?.mul_scalar(1.0 / samples));
        }
        Ok(())
    }

    /// What the pass left behind.
    pub(crate) fn finish(self) -> (Vec<Update>, Vec<Value>, Option<Value>) {
        (self.updates, self.penalties, self.mask)
    }
}
