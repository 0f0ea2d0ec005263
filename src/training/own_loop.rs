//! The parts of a custom training loop: a forward pass, its gradients, and an optimizer step.

use crate::datasets::{Cells, Column};
use crate::error::{Error, Result};
use crate::layers::{Update, in_layer};
use crate::model::{Forward, Mode, Model, Sequential};
use crate::ops::Value;
use crate::shape::Shape;

/// The result of a forward pass: [`Model::forward`].
#[derive(Debug)]
pub struct Pass {
    /// The outputs.
    pub outputs: Vec<Value>,
    /// The terms to add to the loss, one element each: penalties of layers (`add_loss`, activity regularizers) and of
    /// weight regularizers; Keras's `model.losses`.
    pub losses: Vec<Value>,
    /// The mask of each output over its time steps, of shape `(batch, steps)`, 1 or 0; `None` without a mask.
    pub masks: Vec<Option<Value>>,
    /// New values for weights that layers update themselves, such as moving statistics, by layer.
    updates: Vec<(usize, Update)>,
    /// The trainable weights, as used in the pass.
    weights: Vec<Value>,
}

impl Pass {
    /// The first output.
    ///
    /// # Panics
    /// If the outputs were moved out.
    pub fn output(&self) -> &Value {
        &self.outputs[0]
    }

    /// The number of weights with new values, for [`Model::apply_updates`].
    pub fn update_count(&self) -> usize {
        self.updates.len()
    }

    /// The gradients of `loss` with respect to the trainable weights, in order; zeros for a weight that the loss does
    /// not depend on.
    ///
    /// # Errors
    /// [`Error::Shape`] if the loss is not a single number; [`Error::Argument`] if it depends on no weight: it is then
    /// not from a pass in training mode, or no weight is trainable.
    pub fn gradients(&self, loss: &Value) -> Result<Vec<Value>> {
        if loss.len() != 1 {
            return Err(Error::shape("a loss of one number", format!("{:?}", loss.sizes())));
        }
        let Some(mut gradients) = loss.backward() else {
            let expected = "a value computed from the output of a pass in training, with weights that may be trained";
            return Err(Error::argument("loss", expected, "one that depends on none"));
        };
        let gradient = |weight: &Value| match weight.take_gradient(&mut gradients) {
            Some(gradient) => Ok(gradient),
            None => Value::full(&weight.sizes(), 0.0, &weight.device()),
        };
        self.weights.iter().map(gradient).collect()
    }
}

impl Model {
    /// Runs a forward pass on a batch already on the device, for custom training loops.
    ///
    /// In [`Mode::Training`] gradients are recorded ([`Pass::gradients`]); outside training only if the weights require
    /// them (see Burn's `Module::train`). The model is not changed: moving statistics stay in the pass until
    /// [`apply_updates`](Self::apply_updates) applies them, and penalties are left to the loop to add.
    ///
    /// ```
    /// use brasa::model::Mode;
    /// use brasa::prelude::*;
    /// use brasa::Value;
    ///
    /// let mut model = Sequential::new().with_seed(1);
    /// model.add(Dense::new(4).kernel_regularizer("l2").input_shape(2))?.add(BatchNormalization::new())?;
    /// model.add(Dense::new(1))?;
    /// model.compile(Compile::new(SGD::new(0.01), "mse"))?; // the optimizer of `apply_gradients`
    ///
    /// let x = Value::from_vec(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], &[3, 2], model.device())?;
    /// let y = Value::from_vec(vec![1.0, 2.0, 3.0], &[3, 1], model.device())?;
    /// for step in 0..10 {
    ///     let pass = model.forward(x.clone(), Mode::Training { seed: 1, step })?;
    ///     let mut loss = (pass.output().clone() - y.clone()).square().mean();
    ///     for penalty in &pass.losses {
    ///         loss = loss + penalty.clone();
    ///     }
    ///     let gradients = pass.gradients(&loss)?;
    ///     model.apply_updates(&pass)?; // the moving mean and variance
    ///     model.apply_gradients(gradients)?;
    /// }
    /// assert_eq!(model.forward(x, Mode::Inference)?.output().sizes(), [3, 1]);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Shapes
    /// The model's input shape → its output shape.
    ///
    /// # Errors
    /// [`Error::Data`] for a batch of another shape, [`Error::Layer`] for an error in a layer.
    pub fn forward(&self, input: Value, mode: Mode) -> Result<Pass> {
        self.accept(&input.sizes(), "x")?;
        self.forward_all(vec![input], mode)
    }

    /// As [`forward`](Self::forward), for any number of inputs and outputs.
    ///
    /// ```
    /// use brasa::model::Mode;
    /// use brasa::prelude::*;
    /// use brasa::Value;
    ///
    /// let (a, b) = (Input::new(2).symbol(), Input::new(2).symbol());
    /// let model = Model::new([&a, &b], [&Add::new().call([&a, &b])?, &Multiply::new().call([&a, &b])?])?;
    /// let value = |numbers: [f32; 2]| Value::from_vec(numbers.to_vec(), &[1, 2], model.device());
    /// let pass = model.forward_all(vec![value([1.0, 2.0])?, value([3.0, 4.0])?], Mode::Inference)?;
    /// assert_eq!(pass.outputs[1].to_vec()?, [3.0, 8.0]);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Data`] for the wrong number of inputs and for a batch of another shape, [`Error::State`] for a model
    /// that is not built, [`Error::Layer`] for an error in a layer.
    pub fn forward_all(&self, inputs: Vec<Value>, mode: Mode) -> Result<Pass> {
        let sizes: Vec<Vec<usize>> = inputs.iter().map(Value::sizes).collect();
        self.accept_all(&sizes)?;
        // Sizes that were unknown when the model was built are checked now.
        let shapes: Vec<Shape> = sizes.iter().map(|sizes| Shape::batch_of(&sizes[1..])).collect();
        let outputs = self.output_shapes_for(&shapes)?.len();
        let inputs = match self.stage() {
            Some(stage) => {
                let columns = inputs.iter().zip(sizes);
                let columns = columns.map(|(input, sizes)| Column::new(sizes, Cells::Float(input.to_vec()?)));
                self.fed(stage.run(columns.collect::<Result<_>>()?)?)?
            }
            None => {
                self.admit_all(&sizes, mode != Mode::Inference, 0)?;
                inputs
            }
        };
        let specs = self.weight_specs("forward")?;
        let mut trainable = Vec::new();
        let mut values = Vec::with_capacity(specs.len());
        for (layer, (weights, specs)) in self.layer_weights("forward")?.iter().zip(specs).enumerate() {
            let mut used = Vec::with_capacity(weights.len());
            for (weight, spec) in weights.iter().zip(specs) {
                let mut value = weight.value.clone();
                if self.is_trainable(layer, spec) {
                    if mode != Mode::Inference && !value.is_tracked() {
                        value = value.detach().require_grad();
                    }
                    trainable.push(value.clone());
                }
                used.push(value);
            }
            values.push(used);
        }
        let Forward { outputs, masks, updates, mut penalties } =
            self.pass(inputs, &values, mode, &vec![false; outputs])?;
        penalties.extend(self.weight_penalties(&values, &updates)?);
        Ok(Pass { outputs, losses: penalties, masks, updates, weights: trainable })
    }

    /// The penalties of the weight regularizers after a pass with these updates. As in Keras, frozen weights are not
    /// penalised.
    pub(super) fn weight_penalties(&self, weights: &[Vec<Value>], updates: &[(usize, Update)]) -> Result<Vec<Value>> {
        let mut penalties = Vec::new();
        for (layer, (specs, weights)) in self.weight_specs("a loss")?.iter().zip(weights).enumerate() {
            for (index, (spec, value)) in specs.iter().zip(weights).enumerate() {
                if let Some(regularizer) = spec.regularizer.as_ref().filter(|_| self.is_trainable(layer, spec)) {
                    // The penalty is computed from the updated weight.
                    let replaced = |(at, update): &&(usize, Update)| *at == layer && update.weight == index;
                    let value = match updates.iter().rfind(replaced) {
                        Some((_, update)) => update.applied_to(value),
                        None => value.clone(),
                    };
                    penalties.push(in_layer(&*self.all_layers()[layer], regularizer.penalty(value))?);
                }
            }
        }
        Ok(penalties)
    }

    /// Applies the new values that layers computed for their weights in a pass, such as moving statistics: after the
    /// gradients were computed, before the optimizer's step.
    ///
    /// # Errors
    /// [`Error::State`] before the model is built; [`Error::Argument`] if the pass belongs to another model.
    pub fn apply_updates(&mut self, pass: &Pass) -> Result<()> {
        let weights = self.layer_weights_mut("apply_updates")?;
        for (layer, update) in &pass.updates {
            let weight = weights.get_mut(*layer).and_then(|weights| weights.get_mut(update.weight));
            let Some(weight) = weight.filter(|weight| weight.value.sizes() == update.value.sizes()) else {
                return Err(Error::argument("pass", "a pass through this model", "one through another"));
            };
            let value = update.value.clone().detach();
            weight.value = if weight.value.is_tracked() { value.require_grad() } else { value };
        }
        Ok(())
    }

    /// An optimizer step, with the optimizer that the model was compiled with.
    ///
    /// # Errors
    /// [`Error::State`] before `compile`; [`Error::Argument`] unless there is one gradient of the right shape for each
    /// trainable weight.
    pub fn apply_gradients(&mut self, gradients: Vec<Value>) -> Result<()> {
        self.expect_compiled("apply_gradients")?;
        let mut trainable = Vec::new();
        let mut sizes = Vec::new();
        for (layer, specs) in self.weight_specs("apply_gradients")?.iter().enumerate() {
            for (index, spec) in specs.iter().enumerate().filter(|(_, spec)| self.is_trainable(layer, spec)) {
                trainable.push((layer, index));
                sizes.push(spec.sizes.clone());
            }
        }
        let given: Vec<Vec<usize>> = gradients.iter().map(Value::sizes).collect();
        // A scalar weight has rank 1 as a value.
        let fits = |(given, sizes): (&Vec<usize>, &Vec<usize>)| given == sizes || (sizes.is_empty() && *given == [1]);
        if given.len() != sizes.len() || !given.iter().zip(&sizes).all(fits) {
            let expected = format!("a gradient for each weight that may be trained, of sizes {sizes:?}");
            return Err(Error::argument("gradients", expected, format!("{given:?}")));
        }
        let mut tracked = Vec::new();
        let weights = self.layer_weights_mut("apply_gradients")?;
        for (layer, index) in &trainable {
            let value = &mut weights[*layer][*index].value;
            tracked.push(value.is_tracked());
            if value.is_autodiff() {
                *value = value.clone().detach();
            }
        }
        let stepped = self.apply(&trainable, gradients);
        let weights = self.layer_weights_mut("apply_gradients")?;
        for ((layer, index), _) in trainable.iter().zip(tracked).filter(|(_, tracked)| *tracked) {
            let value = &mut weights[*layer][*index].value;
            *value = value.clone().require_grad();
        }
        stepped
    }
}

// Otherwise a trait in scope, `Layer` or Burn's `Module`, would hide the model's methods behind the dereference.
impl Sequential {
    /// A forward pass for a custom training loop, as [`Model::forward`].
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn forward(&self, input: Value, mode: Mode) -> Result<Pass> {
        Model::forward(self, input, mode)
    }

    /// As [`forward`](Self::forward), with a list of inputs, as [`Model::forward_all`].
    ///
    /// # Errors
    /// As [`Model::forward_all`].
    pub fn forward_all(&self, inputs: Vec<Value>, mode: Mode) -> Result<Pass> {
        Model::forward_all(self, inputs, mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    fn model() -> Sequential {
        let mut model = Sequential::new().with_seed(3);
        model
            .add(Dense::new(4).kernel_regularizer("l2").activity_regularizer("l1").input_shape(2))
            .and_then(|model| model.add(BatchNormalization::new()))
            .and_then(|model| model.add(Dropout::new(0.3)))
            .and_then(|model| model.add(Dense::new(3).trainable(false).bias_regularizer("l2")))
            .and_then(|model| model.add(Dense::new(1)))
            .unwrap();
        model.compile(Compile::new(Adam::new(0.01), "mse")).unwrap();
        model
    }

    /// Keras: `mean_squared_error + sum(model.losses)`, then the optimizer's step; moving statistics as in `fit`.
    fn own_steps(model: &mut Sequential, tracked: bool) -> Vec<f32> {
        if tracked {
            *model = burn::module::Module::train(model.clone());
        }
        let x = Value::from_vec((0..8).map(|i| (i * i) as f32 / 10.0).collect(), &[4, 2], model.device()).unwrap();
        let y = Value::from_vec(vec![1.0, -1.0, 2.0, 0.0], &[4, 1], model.device()).unwrap();
        let step = |step| {
            let pass = model.forward(x.clone(), Mode::Training { seed: model.seed(), step }).unwrap();
            assert_eq!((pass.update_count(), pass.losses.len()), (2, 2), "the frozen layer's bias is not penalised");
            let mse = (pass.output().clone() - y.clone()).square().mean();
            let loss = pass.losses.iter().fold(mse, |sum, penalty| sum + penalty.clone());
            let gradients = pass.gradients(&loss).unwrap();
            model.apply_updates(&pass).unwrap();
            model.apply_gradients(gradients).unwrap();
            loss.to_scalar().unwrap()
        };
        (0..3).map(step).collect()
    }

    #[test]
    fn a_custom_loop_trains_like_train_on_batch() {
        let mut plain = model();
        let x = ndarray::Array2::from_shape_fn((4, 2), |(row, column)| {
            let i = 2 * row + column;
            (i * i) as f32 / 10.0
        });
        let y = ndarray::array![[1.0f32], [-1.0], [2.0], [0.0]];
        let losses: Vec<f32> = (0..3).map(|_| plain.train_on_batch(&x, &y).unwrap().loss as f32).collect();
        for tracked in [false, true] {
            let mut own = model();
            let own_losses = own_steps(&mut own, tracked);
            assert!(own_losses.iter().zip(&losses).all(|(a, b)| (a - b).abs() < 1e-5), "{own_losses:?} {losses:?}");
            for (a, b) in own.get_weights().unwrap().iter().zip(&plain.get_weights().unwrap()) {
                assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5), "{a} {b}");
            }
        }
    }

    #[test]
    fn mismatched_passes_and_gradients_are_refused() {
        let mut model = model();
        let x = Value::full(&[2, 2], 1.0, model.device()).unwrap();
        let pass = model.forward(x.clone(), Mode::Inference).unwrap();
        assert_eq!(pass.update_count(), 0);
        assert!(matches!(pass.gradients(&pass.output().clone().mean()), Err(Error::Argument { .. })));
        assert!(matches!(pass.gradients(pass.output()), Err(Error::Shape { .. })));
        assert!(matches!(model.apply_gradients(Vec::new()), Err(Error::Argument { .. })));
        let pass = model.forward(x, Mode::Training { seed: 1, step: 0 }).unwrap();
        let mut other = Sequential::new();
        other.add(Dense::new(1).input_shape(2)).unwrap();
        assert!(matches!(other.apply_updates(&pass), Err(Error::Argument { .. })));
        assert!(matches!(other.apply_gradients(Vec::new()), Err(Error::State { .. })));
    }
}
