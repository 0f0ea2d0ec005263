//! The optimizers, by Keras's formulas.
//!
//! An optimizer is a description with Keras's arguments, its slots for each weight, and an update formula for one
//! weight. Clipping, moving averages, accumulation and the global step are shared, in [`OptimizerState`]; so is
//! decoupled weight decay for custom optimizers, which the built-in formulas fuse into their own pass. A custom
//! optimizer implements the same trait:
//!
//! ```
//! use brasa::optimizers::{LearningRate, Optimizer, Slot, Step, WeightInfo};
//! use brasa::{Result, Value};
//!
//! brasa::describe! {
//!     /// Steps of constant size, by the sign of the gradient.
//!     pub optimizer struct SignDescent {
//!         /// The step size.
//!         learning_rate: LearningRate = LearningRate::Constant(0.001),
//!     }
//! }
//!
//! impl Optimizer for SignDescent {
//!     fn slots(&self, _: &WeightInfo<'_>) -> Vec<Slot> {
//!         Vec::new()
//!     }
//!
//!     fn update(&self, step: Step, weight: Value, gradient: Value, _: &mut [Value]) -> Result<Value> {
//!         Ok(weight - gradient.sign().mul_scalar(step.learning_rate))
//!     }
//! }
//! ```

mod adadelta;
mod adafactor;
mod adagrad;
mod adam;
mod adamax;
mod adamw;
mod base;
mod ftrl;
mod lamb;
mod lion;
mod list;
mod muon;
mod nadam;
mod rmsprop;
mod sgd;
mod slot;
mod state;

use std::fmt::Debug;

use crate::config::{Config, Configure, to_json};
use crate::error::{Error, Result};
use crate::ops::Value;
pub use crate::schedules::LearningRate;

pub use adadelta::Adadelta;
pub use adafactor::Adafactor;
pub use adagrad::Adagrad;
pub use adam::Adam;
pub use adamax::Adamax;
pub use adamw::AdamW;
pub use base::{Base, HasBase, OptimizerArguments};
pub use ftrl::Ftrl;
pub use lamb::Lamb;
pub use lion::Lion;
pub use list::{OptimizerArgument, names, register};
pub(crate) use list::{is_built_in_name, is_registered, to_json as optimizer_to_json};
pub use muon::Muon;
pub use nadam::Nadam;
pub use rmsprop::RMSprop;
pub use sgd::SGD;
pub use slot::{Slot, WeightInfo};
pub(crate) use state::at_least_one;
pub use state::{OptimizerState, StoredVariable, Variable};

/// The step of an update.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Step {
    /// Its number, from 1.
    pub number: u64,
    /// The learning rate.
    pub learning_rate: f32,
    /// The optimizer's scalar state shared by all weights, as of this step; see [`Optimizer::shared`].
    pub shared: f32,
    /// The decay factor of the weight before the step: its weight decay times the learning rate. 0 for a custom
    /// optimizer, whose weights are already decayed.
    pub decay: f32,
}

/// An optimizer.
pub trait Optimizer: HasBase + OptimizerObject + Debug + Send + Sync {
    /// Its slots for a weight, in Keras's order.
    fn slots(&self, weight: &WeightInfo<'_>) -> Vec<Slot>;

    /// The weight after a step; `slots` are updated along with it.
    ///
    /// # Errors
    /// Whatever an operation refuses.
    fn update(&self, step: Step, weight: Value, gradient: Value, slots: &mut [Value]) -> Result<Value>;

    /// The decoupled weight decay of this weight. The caller multiplies it by the learning rate.
    fn decay(&self, weight: &WeightInfo<'_>) -> Option<f32> {
        let _ = weight;
        self.base().weight_decay
    }

    /// The initial scalar state shared by all weights, if the optimizer has one.
    fn shared(&self) -> Option<f32> {
        None
    }

    /// The shared scalar at step `number` (from 1), from its previous value.
    fn next_shared(&self, number: u64, before: f32) -> f32 {
        let _ = number;
        before
    }

    /// Refuses invalid arguments.
    ///
    /// # Errors
    /// [`Error::Argument`].
    fn check(&self) -> Result<()> {
        self.base().check()
    }
}

/// Methods of every optimizer, implemented for each [`Configure`].
pub trait OptimizerObject {
    /// Its class name.
    fn class_name(&self) -> &'static str;
    /// Its arguments, the common ones included.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if it holds something that cannot be serialized.
    fn config(&self) -> Result<Config>;
    /// A copy.
    fn boxed_clone(&self) -> Box<dyn Optimizer>;
    /// Whether it is built in.
    #[doc(hidden)]
    fn is_built_in(&self) -> bool;
}

impl<O: Optimizer + Configure + Clone + 'static> OptimizerObject for O {
    fn class_name(&self) -> &'static str {
        O::CLASS_NAME
    }

    fn config(&self) -> Result<Config> {
        let rate = to_json("learning_rate", self.learning_rate_argument())?;
        let mut config = self.base().config(&crate::config::snake_case(O::CLASS_NAME), rate)?;
        config.extend(Configure::config(self)?);
        Ok(config)
    }

    fn boxed_clone(&self) -> Box<dyn Optimizer> {
        Box::new(self.clone())
    }

    fn is_built_in(&self) -> bool {
        list::is_built_in::<O>()
    }
}

impl Clone for Box<dyn Optimizer> {
    fn clone(&self) -> Self {
        (**self).boxed_clone()
    }
}

/// Refuses decay factors outside of 0 to below 1.
fn check_betas(betas: &[(&'static str, f32)]) -> Result<()> {
    match betas.iter().find(|(_, beta)| !(0.0..1.0).contains(beta)) {
        None => Ok(()),
        Some((name, beta)) => Err(Error::argument(*name, "a number from 0 to below 1", beta)),
    }
}

/// Refuses negative numbers.
fn check_positive(numbers: &[(&'static str, f32)]) -> Result<()> {
    match numbers.iter().find(|(_, number)| !(number.is_finite() && *number >= 0.0)) {
        None => Ok(()),
        Some((name, number)) => Err(Error::argument(*name, "a number of at least 0", number)),
    }
}

/// Updates a running mean: `mean + (value − mean) · (1 − kept)`.
fn moved(mean: &mut Value, value: Value, kept: f32) {
    *mean = mean.clone() + (value - mean.clone()).mul_scalar(1.0 - kept);
}

/// Updates a running mean in the other form: `kept · mean + (1 − kept) · value`.
fn blended(mean: &mut Value, value: Value, kept: f32) {
    *mean = mean.clone().mul_scalar(kept) + value.mul_scalar(1.0 - kept);
}

/// The size below which a state has no effect, and is set to zero. Where gradients stay zero (a unit that is never
/// active, a row of an embedding that no batch reads) a state would become subnormal, and rounding would keep it so: with
/// such numbers a processor takes many times as long. TensorFlow and JAX set subnormal numbers to zero. The square root
/// of a negligible state is far below `epsilon`, to which it is added; without one, no state is too small to count.
fn negligible(epsilon: f32) -> f32 {
    (1e-8 * epsilon).powi(2).min(1e-34)
}

/// Sets a state below the limit to zero.
fn settled(limit: f32) -> impl Fn(&mut f32) + Copy + Sync {
    move |state| {
        if state.abs() < limit {
            *state = 0.0;
        }
    }
}

/// `1 − beta^step`, in f64: in f32 it would be off by 1e-4 after some ten thousand steps.
fn correction(beta: f32, step: u64) -> f64 {
    1.0 - f64::from(beta).powf(step as f64)
}

/// `value` times a factor of one element.
fn scaled(value: Value, factor: &Value) -> Result<Value> {
    let sizes = value.sizes();
    let factor = factor.clone().reshape(&vec![1; sizes.len()])?.expand(&sizes);
    Ok(value * factor)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn value(number: f32) -> Value {
        Value::from_vec(vec![number], &[1], &Device::flex()).unwrap()
    }

    /// The states after a gradient of 1 and many of 0.
    fn states_after(optimizer: &dyn Optimizer, slots: usize) -> Vec<f32> {
        let mut slots: Vec<Value> = (0..slots).map(|_| value(0.0)).collect();
        let mut weight = value(1.0);
        for number in 1..=4000 {
            let step = Step { number, learning_rate: 0.1, shared: 0.9, decay: 0.0 };
            let gradient = value(if number == 1 { 1.0 } else { 0.0 });
            weight = optimizer.update(step, weight, gradient, &mut slots).unwrap();
        }
        assert!(weight.to_vec().unwrap()[0].is_finite());
        slots.iter().map(|slot| slot.to_vec().unwrap()[0]).collect()
    }

    #[test]
    fn states_of_weights_without_gradients_become_zero() {
        let rmsprop = || RMSprop::default().rho(0.9);
        let optimizers: [(Box<dyn Optimizer>, usize); 9] = [
            (Box::new(Adam::default().beta_2(0.9)), 2),
            (Box::new(Nadam::default().beta_2(0.9)), 2),
            (Box::new(Adamax::default().beta_2(0.9)), 2),
            (Box::new(rmsprop()), 1),
            (Box::new(rmsprop().momentum(0.9).centered(true)), 3),
            (Box::new(Adadelta::default().rho(0.9)), 2),
            (Box::new(SGD::new(0.1).momentum(0.9)), 1),
            (Box::new(Lion::default().beta_2(0.9)), 1),
            (Box::new(Lamb::default().beta_2(0.9)), 2),
        ];
        for (optimizer, slots) in optimizers {
            let states = states_after(&*optimizer, slots);
            assert!(states.iter().all(|state| *state == 0.0), "{optimizer:?}: {states:?}");
        }
    }

    #[test]
    fn small_gradients_count_beside_a_smaller_epsilon() {
        for epsilon in [0.0, 1e-24, 1e-22] {
            let mut slots = [value(0.0), value(0.0)];
            let step = Step { number: 1, learning_rate: 0.5, shared: 0.0, decay: 0.0 };
            let weight = Adam::new(0.5).epsilon(epsilon).update(step, value(1.0), value(3e-18), &mut slots).unwrap();
            let weight = weight.to_vec().unwrap()[0];
            assert!((weight - 0.5).abs() < 1e-2, "{weight}");
        }
    }

    /// The mean of squares less the square of the mean must not become negative.
    #[test]
    fn a_centered_rmsprop_with_a_tiny_epsilon_stays_finite() {
        let optimizer = RMSprop::new(1e-3).centered(true).epsilon(1e-35);
        let (mut weight, mut slots) = (value(1.0), [value(0.0), value(0.0)]);
        for number in 1..100 {
            let step = Step { number, learning_rate: 1e-3, shared: 0.0, decay: 0.0 };
            weight = optimizer.update(step, weight, value(8e-18), &mut slots).unwrap();
            assert!(weight.to_vec().unwrap()[0].is_finite(), "step {number}");
        }
    }
}
