//! What an optimizer keeps from step to step, and what all optimizers do alike.

use burn::tensor::Device;

use super::{Optimizer, Step};
use crate::constraints::Constraint;
use crate::error::Result;
use crate::ops::Value;

/// The number of steps and, for each trainable weight, the optimizer's slots.
#[derive(Clone, Debug, Default)]
pub(crate) struct OptimizerState {
    /// Steps taken.
    pub iterations: u64,
    /// The slots of each weight; empty before the first step.
    pub slots: Vec<Vec<Value>>,
}

/// A weight with its gradient and limit, on its way through an update.
pub(crate) struct Variable<'a> {
    pub value: &'a mut Value,
    pub gradient: Value,
    pub constraint: Option<&'a Constraint>,
}

impl OptimizerState {
    /// Slots of zeros for these weights, if there are none yet.
    pub fn prepare<'a>(&mut self, optimizer: &dyn Optimizer, weights: impl Iterator<Item = &'a Value>) -> Result<()> {
        if !self.slots.is_empty() {
            return Ok(());
        }
        let count = optimizer.slots().len();
        self.slots = weights
            .map(|weight| {
                (0..count).map(|_| Value::full(&weight.sizes(), 0.0, &weight.device())).collect::<Result<Vec<_>>>()
            })
            .collect::<Result<_>>()?;
        Ok(())
    }

    /// One step: clip, decay, update, limit.
    pub fn step(&mut self, optimizer: &dyn Optimizer, mut variables: Vec<Variable<'_>>) -> Result<()> {
        let base = optimizer.base();
        let step =
            Step { number: self.iterations + 1, learning_rate: optimizer.learning_rate_argument().at(self.iterations) };
        if let Some(limit) = base.global_clipnorm {
            let squares = variables.iter().map(|variable| variable.gradient.clone().square().sum());
            if let Some(total) = squares.reduce(|a, b| a + b) {
                let factor = clip_factor(total.sqrt(), limit);
                for variable in &mut variables {
                    variable.gradient = scaled(variable.gradient.clone(), &factor)?;
                }
            }
        }
        for (variable, slots) in variables.into_iter().zip(&mut self.slots) {
            let mut gradient = variable.gradient;
            if let Some(limit) = base.clipnorm {
                let factor = clip_factor(gradient.clone().square().sum().sqrt(), limit);
                gradient = scaled(gradient, &factor)?;
            }
            if let Some(limit) = base.clipvalue {
                gradient = gradient.clamp(-limit, limit);
            }
            // The weight is moved out, not copied, so that a kernel may write in place.
            let mut weight = variable.value.take().detach();
            if let Some(decay) = base.weight_decay {
                weight = weight.mul_scalar(1.0 - decay * step.learning_rate);
            }
            weight = optimizer.update(step, weight, gradient, slots)?;
            if let Some(constraint) = variable.constraint {
                weight = constraint.apply(weight)?;
            }
            *variable.value = weight;
        }
        self.iterations += 1;
        Ok(())
    }

    /// Moves the slots to another device.
    pub fn move_to(&mut self, device: &Device) {
        for slot in self.slots.iter_mut().flatten() {
            *slot = slot.clone().to_device(device);
        }
    }
}

/// `limit / max(norm, limit)`, as one element.
fn clip_factor(norm: Value, limit: f32) -> Value {
    let limits = norm.clone().mul_scalar(0.0).add_scalar(limit);
    limits / norm.clamp_min(limit)
}

fn scaled(gradient: Value, factor: &Value) -> Result<Value> {
    let sizes = gradient.sizes();
    let factor = factor.clone().reshape(&vec![1; sizes.len()])?.expand(&sizes);
    Ok(gradient * factor)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::optimizers::{OptimizerArguments, SGD};

    fn step_with(optimizer: &SGD, gradient: [f32; 2]) -> Vec<f32> {
        let value = |values: [f32; 2]| Value::from_vec(values.to_vec(), &[2], &Device::flex()).unwrap();
        let mut weight = value([1.0, 1.0]);
        let mut state = OptimizerState::default();
        state.prepare(optimizer, std::iter::once(&weight)).unwrap();
        let variable = Variable { value: &mut weight, gradient: value(gradient), constraint: None };
        state.step(optimizer, vec![variable]).unwrap();
        weight.to_vec().unwrap()
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
    fn decay_is_taken_off_before_the_step() {
        assert_eq!(step_with(&SGD::new(0.5).weight_decay(0.5), [1.0, 0.0]), [0.25, 0.75]);
    }
}
