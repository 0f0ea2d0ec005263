//! The state of an optimizer, and the parts of a step that all optimizers share.

use burn::tensor::Device;

use super::{Optimizer, Slot, Step, WeightInfo, scaled};
use crate::constraints::Constraint;
use crate::error::{Error, Result};
use crate::ops::{self, Value};

/// The number of groups of slots that precede the optimizer's own in a file.
const COMMON_GROUPS: usize = 2;

/// The step count and, for each trainable weight, the optimizer's slots: Keras's `Optimizer.apply` with its variables,
/// for custom training loops.
///
/// ```
/// use brasa::optimizers::{OptimizerState, SGD, Variable};
/// use brasa::{Value, burn::tensor::Device};
/// # fn main() -> brasa::Result<()> {
/// let optimizer = SGD::new(0.5);
/// let mut weight = Value::from_vec(vec![1.0, 2.0], &[2], &Device::flex())?;
/// let gradient = Value::from_vec(vec![1.0, -1.0], &[2], &Device::flex())?;
/// let mut state = OptimizerState::default();
/// state.step(&optimizer, vec![Variable { path: "kernel", value: &mut weight, gradient, constraint: None }])?;
/// assert_eq!(weight.to_vec()?, [0.5, 2.5]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct OptimizerState {
    /// The number of batches; with `gradient_accumulation_steps` higher than that of updates.
    pub iterations: u64,
    /// The slots of each weight in the order of [`slots`](Self::slots); empty before the first step.
    pub(crate) slots: Vec<Vec<Value>>,
    /// The scalar that some optimizers share for all weights.
    pub(crate) shared: Option<f32>,
}

/// A weight with its gradient and constraint, during an update.
pub struct Variable<'a> {
    /// The weight's name, such as `dense/kernel`.
    pub path: &'a str,
    /// The weight.
    pub value: &'a mut Value,
    /// Its gradient.
    pub gradient: Value,
    /// A constraint to apply after the step.
    pub constraint: Option<&'a Constraint>,
}

/// Values of an optimizer to be stored in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredVariable {
    /// Keras's name for them, such as `dense_kernel_momentum`.
    pub name: String,
    /// Their sizes; empty for a scalar.
    pub sizes: Vec<usize>,
    /// The numbers, in row-major order.
    pub values: Vec<f32>,
}

impl OptimizerState {
    /// The slots of a weight, those for moving averages and accumulation first, as in Keras.
    pub fn slots(optimizer: &dyn Optimizer, weight: &WeightInfo<'_>) -> Vec<Slot> {
        let base = optimizer.base();
        let average = base.use_ema.then(|| Slot::like(weight, "average"));
        let accumulated =
            base.gradient_accumulation_steps.map(|_| Slot::like(weight, "gradient_accumulator").in_group(1));
        let own = optimizer.slots(weight).into_iter().map(|slot| {
            let group = slot.group + COMMON_GROUPS;
            slot.in_group(group)
        });
        average.into_iter().chain(accumulated).chain(own).collect()
    }

    /// Creates the slots for these weights, each with its path, unless they exist.
    ///
    /// # Errors
    /// [`Error::Shape`] never for valid weights.
    pub fn prepare<'a>(
        &mut self,
        optimizer: &dyn Optimizer,
        weights: impl Iterator<Item = (&'a str, &'a Value)>,
    ) -> Result<()> {
        if self.shared.is_none() {
            self.shared = optimizer.shared();
        }
        if !self.slots.is_empty() {
            return Ok(());
        }
        self.slots = weights
            .map(|(path, weight)| {
                let slots = Self::slots(optimizer, &WeightInfo { path, sizes: &weight.sizes() });
                slots.iter().map(|slot| Value::full(at_least_one(&slot.sizes), slot.start, &weight.device())).collect()
            })
            .collect::<Result<_>>()?;
        Ok(())
    }

    /// One step: unscale, accumulate, clip, decay, update, average, constrain. If a custom optimizer fails, weights and
    /// slots are unchanged.
    ///
    /// # Errors
    /// [`Error::State`] if the number of variables differs from earlier steps; [`Error::Shape`] if a gradient has other
    /// sizes than its weight, before anything is changed, or if a custom optimizer changes a weight's sizes; and the
    /// errors of the optimizer and of operations.
    pub fn step(&mut self, optimizer: &dyn Optimizer, mut variables: Vec<Variable<'_>>) -> Result<()> {
        // The built-in formulas cannot fail, and can update uniquely owned buffers in place. A custom optimizer can
        // fail when some weights are already updated and one is moved out.
        let before = (!optimizer.is_built_in()).then(|| {
            let weights: Vec<Value> = variables.iter().map(|variable| variable.value.clone()).collect();
            (self.clone(), weights)
        });
        let stepped = self.try_step(optimizer, &mut variables);
        if stepped.is_err()
            && let Some((state, weights)) = before
        {
            *self = state;
            for (variable, weight) in variables.iter_mut().zip(weights) {
                *variable.value = weight;
            }
        }
        variables.into_iter().for_each(|variable| ops::recycle(variable.gradient));
        stepped
    }

    fn try_step(&mut self, optimizer: &dyn Optimizer, variables: &mut [Variable<'_>]) -> Result<()> {
        self.prepare(optimizer, variables.iter().map(|variable| (variable.path, &*variable.value)))?;
        if self.slots.len() != variables.len() {
            let needs = format!("the same {} weights as in the steps before", self.slots.len());
            return Err(Error::State { action: "an optimizer's step", needs });
        }
        for variable in &*variables {
            let (own, gradient) = (variable.value.sizes(), variable.gradient.sizes());
            if own != gradient {
                let expected = format!("a gradient of the sizes {own:?} for `{}`", variable.path);
                return Err(Error::shape(expected, format!("{gradient:?}")));
            }
        }
        let base = optimizer.base();
        if let Some(scale) = base.loss_scale_factor {
            for variable in &mut *variables {
                variable.gradient = variable.gradient.clone().mul_scalar(1.0 / scale);
            }
        }
        let batches = base.batches_a_step();
        let done = self.iterations / batches;
        let is_step = (self.iterations + 1).is_multiple_of(batches);
        if batches > 1 {
            self.accumulate(base.use_ema as usize, variables, is_step.then_some(batches))?;
        }
        if is_step {
            let shared = self.shared.map_or(0.0, |before| optimizer.next_shared(done + 1, before));
            self.shared = self.shared.map(|_| shared);
            let rate = optimizer.learning_rate_argument().at(self.iterations);
            clip(optimizer, variables)?;
            self.update(optimizer, Step { number: done + 1, learning_rate: rate, shared, decay: 0.0 }, variables)?;
        }
        if base.use_ema {
            let kept = if done == 0 { 0.0 } else { base.ema_momentum };
            let overwrites = base.ema_overwrite_frequency.is_some_and(|steps| (done + 1).is_multiple_of(steps));
            for (variable, slots) in variables.iter_mut().zip(&mut self.slots) {
                super::blended(&mut slots[0], variable.value.clone(), kept);
                if overwrites {
                    *variable.value = slots[0].clone();
                }
            }
        }
        for variable in variables {
            if let Some(constraint) = variable.constraint {
                *variable.value = constraint.apply(variable.value.clone())?;
            }
        }
        self.iterations += 1;
        Ok(())
    }

    /// Accumulates the gradients; at a step their mean replaces them.
    fn accumulate(&mut self, slot: usize, variables: &mut [Variable<'_>], batches: Option<u64>) -> Result<()> {
        for (variable, slots) in variables.iter_mut().zip(&mut self.slots) {
            let total = slots[slot].clone() + variable.gradient.clone();
            slots[slot] = match batches {
                None => total,
                Some(batches) => {
                    variable.gradient = total.mul_scalar(1.0 / batches as f32);
                    Value::full(&variable.gradient.sizes(), 0.0, &variable.gradient.device())?
                }
            };
        }
        Ok(())
    }

    /// Decays and updates each weight.
    fn update(&mut self, optimizer: &dyn Optimizer, step: Step, variables: &mut [Variable<'_>]) -> Result<()> {
        let base = optimizer.base();
        let common = usize::from(base.use_ema) + usize::from(base.gradient_accumulation_steps.is_some());
        for (variable, slots) in variables.iter_mut().zip(&mut self.slots) {
            let gradient = variable.gradient.clone();
            let sizes = variable.value.sizes();
            let decay = optimizer.decay(&WeightInfo { path: variable.path, sizes: &sizes }).unwrap_or(0.0);
            let mut step = Step { decay: decay * step.learning_rate, ..step };
            // The weight is moved out, not cloned, so that a kernel can write in place.
            let mut weight = variable.value.take().detach();
            if !optimizer.is_built_in() {
                weight = ops::decayed(weight, step.decay);
                step.decay = 0.0;
            }
            let weight = optimizer.update(step, weight, gradient, &mut slots[common..])?;
            if weight.sizes() != sizes {
                let expected = format!("{sizes:?} for `{}` after a step of {}", variable.path, optimizer.class_name());
                return Err(Error::shape(expected, format!("{:?}", weight.sizes())));
            }
            *variable.value = weight;
        }
        Ok(())
    }

    /// Replaces the weights by the moving averages, as Keras does when training ends; without `use_ema` a no-op.
    pub fn finish<'a>(&self, optimizer: &dyn Optimizer, weights: impl Iterator<Item = &'a mut Value>) {
        if optimizer.base().use_ema {
            for (weight, slots) in weights.zip(&self.slots) {
                *weight = slots[0].clone();
            }
        }
    }

    /// The moving average of each weight, if there is one for each (`use_ema`).
    pub(crate) fn averages(&mut self) -> impl Iterator<Item = &mut Value> {
        self.slots.iter_mut().filter_map(|slots| slots.first_mut())
    }

    /// Moves the slots to another device.
    pub fn move_to(&mut self, device: &Device) {
        for slot in self.slots.iter_mut().flatten() {
            *slot = slot.clone().to_device(device);
        }
    }

    /// The order of slots in a Keras file after `iteration` and `learning_rate`: weight and slot indices.
    pub(crate) fn file_order(slots: &[Vec<Slot>]) -> Vec<(usize, usize)> {
        let mut order: Vec<(usize, usize)> =
            slots.iter().enumerate().flat_map(|(weight, own)| (0..own.len()).map(move |slot| (weight, slot))).collect();
        order.sort_by_key(|(weight, slot)| slots[*weight][*slot].group);
        order
    }

    /// The slots and the shared scalar as stored by Keras, after the step count and the learning rate.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    pub fn stored(&self, optimizer: &dyn Optimizer, weights: &[WeightInfo<'_>]) -> Result<Vec<StoredVariable>> {
        let slots: Vec<Vec<Slot>> = weights.iter().map(|weight| Self::slots(optimizer, weight)).collect();
        let mut stored = Vec::new();
        for (weight, slot) in Self::file_order(&slots) {
            let Some(value) = self.slots.get(weight).and_then(|own| own.get(slot)) else { continue };
            let about = &slots[weight][slot];
            let name = format!("{}_{}", weights[weight].path.replace('/', "_"), about.name);
            stored.push(StoredVariable { name, sizes: about.sizes.clone(), values: value.to_vec()? });
        }
        let shared = |shared| StoredVariable { name: "variable".to_owned(), sizes: Vec::new(), values: vec![shared] };
        stored.extend(self.shared.map(shared));
        Ok(stored)
    }
}

/// A scalar's sizes as those of a value.
pub(crate) fn at_least_one(sizes: &[usize]) -> &[usize] {
    if sizes.is_empty() { &[1] } else { sizes }
}

/// Clips the gradients according to the arguments.
fn clip(optimizer: &dyn Optimizer, variables: &mut [Variable<'_>]) -> Result<()> {
    let base = optimizer.base();
    if let Some(limit) = base.global_clipnorm {
        let squares = variables.iter().map(|variable| variable.gradient.clone().square().sum());
        if let Some(total) = squares.reduce(|a, b| a + b) {
            let factor = clip_factor(total.sqrt(), limit);
            for variable in &mut *variables {
                variable.gradient = scaled(variable.gradient.clone(), &factor)?;
            }
        }
    }
    for variable in variables {
        if let Some(limit) = base.clipnorm {
            let factor = clip_factor(variable.gradient.clone().square().sum().sqrt(), limit);
            variable.gradient = scaled(variable.gradient.clone(), &factor)?;
        }
        if let Some(limit) = base.clipvalue {
            variable.gradient = variable.gradient.clone().clamp(-limit, limit);
        }
    }
    Ok(())
}

/// `limit / max(norm, limit)`, as one element.
fn clip_factor(norm: Value, limit: f32) -> Value {
    let limits = norm.clone().mul_scalar(0.0).add_scalar(limit);
    limits / norm.clamp_min(limit)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::optimizers::{OptimizerArguments, SGD};

    fn value(values: &[f32]) -> Value {
        Value::from_vec(values.to_vec(), &[values.len()], &Device::flex()).unwrap()
    }

    fn steps_with(optimizer: &SGD, gradients: &[[f32; 2]]) -> (OptimizerState, Vec<f32>) {
        let mut weight = value(&[1.0, 1.0]);
        let mut state = OptimizerState::default();
        for gradient in gradients {
            let gradient = value(gradient);
            let variable = Variable { path: "w", value: &mut weight, gradient, constraint: None };
            state.step(optimizer, vec![variable]).unwrap();
        }
        let weight = weight.to_vec().unwrap();
        (state, weight)
    }

    fn step_with(optimizer: &SGD, gradient: [f32; 2]) -> Vec<f32> {
        steps_with(optimizer, &[gradient]).1
    }

    #[test]
    fn gradients_are_clipped() {
        assert_eq!(step_with(&SGD::new(1.0).clipvalue(0.5), [3.0, -4.0]), [0.5, 1.5]);
        for clipped in [SGD::new(1.0).clipnorm(1.0), SGD::new(1.0).global_clipnorm(1.0)] {
            let weight = step_with(&clipped, [3.0, -4.0]);
            assert!((weight[0] - 0.4).abs() < 1e-6 && (weight[1] - 1.8).abs() < 1e-6, "{weight:?}");
        }
        assert_eq!(step_with(&SGD::new(1.0).clipnorm(10.0), [3.0, -4.0]), [-2.0, 5.0]);
    }

    #[test]
    fn decay_precedes_the_step() {
        assert_eq!(step_with(&SGD::new(0.5).weight_decay(0.5), [1.0, 0.0]), [0.25, 0.75]);
    }

    /// `w *= 1 - decay` would decay twice as much: 1 - 4e-8 is rounded to the number before 1, which is 1 - 6e-8.
    #[test]
    fn a_small_decay_is_not_rounded() {
        let numbers: Vec<f32> = (1..4000).map(|number| (number as f32 * 0.7).sin()).collect();
        let total = |numbers: &[f32]| numbers.iter().map(|number| f64::from(number.abs())).sum::<f64>();
        for portable in [false, true] {
            let (mut weight, mut state) = (value(&numbers), OptimizerState::default());
            let optimizer = SGD::new(1e-5).weight_decay(0.004);
            for _ in 0..500 {
                let _other = portable.then(|| weight.clone());
                let gradient = value(&vec![0.0; numbers.len()]);
                let variable = Variable { path: "w", value: &mut weight, gradient, constraint: None };
                state.step(&optimizer, vec![variable]).unwrap();
            }
            let lost = 1.0 - total(&weight.to_vec().unwrap()) / total(&numbers);
            assert!((1.4e-5..2.6e-5).contains(&lost), "{lost:e}");
        }
    }

    #[test]
    fn the_running_mean_replaces_the_weight_at_the_end() {
        let optimizer = SGD::new(1.0).use_ema(true).ema_momentum(0.5);
        let (state, weight) = steps_with(&optimizer, &[[1.0, 2.0], [1.0, 2.0]]);
        assert_eq!(weight, [-1.0, -3.0]);
        let mut weight = value(&weight);
        state.finish(&optimizer, std::iter::once(&mut weight));
        assert_eq!(weight.to_vec().unwrap(), [-0.5, -2.0]);
    }

    #[test]
    fn another_number_of_weights_is_refused() {
        let (mut state, _) = steps_with(&SGD::new(1.0).momentum(0.5), &[[1.0, 2.0]]);
        assert!(state.step(&SGD::new(1.0), Vec::new()).is_err());
    }
}
