//! The optimizer's state in files: the step number, the learning rate, and the slots in Keras's order.

use super::stored::{MatchedWeights, check_memory};
use crate::error::Result;
use crate::formats::Array;
use crate::model::Model;
use crate::ops::Value;
use crate::optimizers::{OptimizerState, Slot, WeightInfo, at_least_one};
use crate::text::UniqueNames;

impl Model {
    /// The optimizer's variables by Keras's names, in Keras's order; empty if the model is not compiled.
    pub(super) fn optimizer_arrays(&self) -> Result<Vec<(String, Array)>> {
        let Some(compiled) = &self.compiled else { return Ok(Vec::new()) };
        let state = &compiled.state;
        let optimizer = crate::config::snake_case(compiled.optimizer.class_name());
        let iterations = i32::try_from(state.iterations).unwrap_or(i32::MAX);
        let mut arrays = vec![(format!("{optimizer}/iteration"), Array::new([], vec![iterations])?)];
        if let Some(rate) = compiled.optimizer.learning_rate_argument().constant() {
            arrays.push((format!("{optimizer}/learning_rate"), Array::new([], vec![rate])?));
        }
        let trainable = self.trainable_weights("save")?;
        // `a_b/c` and `a/b_c` both become `a_b_c`.
        let mut names = UniqueNames::default();
        for stored in state.stored(&*compiled.optimizer, &infos(&trainable))? {
            let name = names.take(format!("{optimizer}/{}", stored.name));
            arrays.push((name, Array::new(stored.sizes, stored.values)?));
        }
        Ok(arrays)
    }
}

/// The weights as described to an optimizer.
fn infos(weights: &[(String, Vec<usize>)]) -> Vec<WeightInfo<'_>> {
    weights.iter().map(|(path, sizes)| WeightInfo { path, sizes }).collect()
}

/// An optimizer's state from a file, on the model's device.
pub(super) struct OptimizerValues {
    iterations: u64,
    learning_rate: Option<f32>,
    /// By weight and slot; `None` if the file has none.
    slots: Option<Vec<Vec<Value>>>,
    shared: Option<f32>,
}

impl OptimizerValues {
    /// The state in a file, if the model is compiled and the file has one that matches its optimizer. The weights have
    /// already taken `taken` bytes of the memory limit.
    pub fn read(model: &Model, stored: &dyn MatchedWeights, taken: u64) -> Result<Option<Self>> {
        let Some(compiled) = &model.compiled else { return Ok(None) };
        let shapes = stored.optimizer_shapes()?;
        if shapes.is_empty() {
            return Ok(None);
        }
        let optimizer = &*compiled.optimizer;
        let trainable = model.trainable_weights("load")?;
        let slots: Vec<Vec<Slot>> =
            infos(&trainable).iter().map(|weight| OptimizerState::slots(optimizer, weight)).collect();
        let order = OptimizerState::file_order(&slots);
        let own: Vec<Vec<usize>> = order.iter().map(|(weight, slot)| slots[*weight][*slot].sizes.clone()).collect();
        let Some(layout) = VariableOrder::of(&shapes, &own, optimizer.shared().is_some()) else {
            tracing::warn!(
                "the optimizer's state in the file does not fit `{}` and is left out",
                optimizer.class_name()
            );
            return Ok(None);
        };
        check_memory(taken, shapes.iter().map(Vec::as_slice), stored.limits())?;
        let mut arrays = stored.read_optimizer(&shapes)?;
        let mut rest = arrays.split_off(layout.scalars);
        let number = |array: Array| array.into_f32().first().copied();
        let mut state = Self {
            iterations: arrays.first().and_then(Array::as_integer).and_then(|count| count.try_into().ok()).unwrap_or(0),
            learning_rate: if layout.scalars == 2 { arrays.pop().and_then(number) } else { None },
            slots: None,
            shared: None,
        };
        if !rest.is_empty() {
            state.shared = match layout.shared {
                Some(SharedScalar::First) => number(rest.remove(0)),
                Some(SharedScalar::Last) => rest.pop().and_then(number),
                None => None,
            };
            let mut own: Vec<Vec<Option<Value>>> = slots.iter().map(|slots| vec![None; slots.len()]).collect();
            for ((weight, slot), array) in order.into_iter().zip(rest) {
                let sizes = at_least_one(array.shape()).to_vec();
                own[weight][slot] = Some(Value::from_vec(array.into_f32(), &sizes, model.device())?);
            }
            state.slots = Some(own.into_iter().map(|slots| slots.into_iter().flatten().collect()).collect());
        }
        Ok(Some(state))
    }

    /// Sets the state of the model's optimizer.
    pub fn put_into(self, model: &mut Model) {
        let Some(compiled) = &mut model.compiled else { return };
        compiled.state.iterations = self.iterations;
        if let Some(rate) = self.learning_rate {
            compiled.optimizer.learning_rate_argument_mut().restore(rate);
        }
        if let Some(slots) = self.slots {
            compiled.state.slots = slots;
            compiled.state.shared = self.shared;
        }
    }
}

/// The layout of the optimizer's variables in a file.
struct VariableOrder {
    /// The number of scalars, step number and learning rate: Keras stores no rate with a schedule, and Keras 2 never
    /// did.
    scalars: usize,
    /// The position of the scalar shared by all weights, if there is one.
    shared: Option<SharedScalar>,
}

enum SharedScalar {
    /// Before the slots: Keras 3.3.
    First,
    /// After them: Keras 3.15.
    Last,
}

impl VariableOrder {
    /// The layout in which variables of these shapes are an optimizer's `own` slots and a shared scalar, or no slots
    /// yet.
    fn of(shapes: &[Vec<usize>], own: &[Vec<usize>], shared: bool) -> Option<Self> {
        [2, 1].into_iter().find_map(|scalars| {
            let (first, rest) = shapes.split_at_checked(scalars)?;
            if !first.iter().all(Vec::is_empty) {
                return None;
            }
            let shared = match (shared, rest) {
                _ if rest.is_empty() => None,
                (false, rest) if rest == own => None,
                (true, [slots @ .., last]) if last.is_empty() && slots == own => Some(SharedScalar::Last),
                (true, [first, slots @ ..]) if first.is_empty() && slots == own => Some(SharedScalar::First),
                _ => return None,
            };
            Some(Self { scalars, shared })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_follows_from_the_shapes() {
        let own = [vec![4, 3], vec![3]];
        let of = |shapes: &[&[usize]], shared| {
            let shapes: Vec<Vec<usize>> = shapes.iter().map(|shape| shape.to_vec()).collect();
            let layout = VariableOrder::of(&shapes, &own, shared)?;
            Some((layout.scalars, layout.shared.map(|end| matches!(end, SharedScalar::First))))
        };
        assert_eq!(of(&[&[], &[], &[4, 3], &[3]], false), Some((2, None)));
        assert_eq!(of(&[&[], &[4, 3], &[3]], false), Some((1, None)));
        assert_eq!(of(&[&[], &[]], true), Some((2, None)));
        assert_eq!(of(&[&[], &[], &[4, 3], &[3], &[]], true), Some((2, Some(false))));
        assert_eq!(of(&[&[], &[], &[], &[4, 3], &[3]], true), Some((2, Some(true))));
        assert_eq!(of(&[&[], &[4, 3], &[3], &[]], true), Some((1, Some(false))));
        assert_eq!(of(&[&[], &[], &[4, 3], &[3]], true), Some((1, Some(true))));
        for other in [&[&[][..], &[], &[3], &[4, 3]][..], &[&[4, 3], &[3]], &[&[], &[], &[4, 3]], &[]] {
            assert_eq!(of(other, false), None, "{other:?}");
        }
    }
}
