//! The optimizer's state in files: the step number, the learning rate, and the slots in Keras's order.

use std::collections::BTreeSet;

use super::stored::Stored;
use crate::error::Result;
use crate::formats::Array;
use crate::model::Sequential;
use crate::ops::Value;
use crate::optimizers::{OptimizerState, Slot, WeightInfo, at_least_one};

impl Sequential {
    /// The optimizer's variables by Keras's names, in Keras's order; none if the model is not compiled.
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
        let mut taken = BTreeSet::new();
        for stored in state.stored(&*compiled.optimizer, &infos(&trainable))? {
            let mut name = format!("{optimizer}/{}", stored.name);
            // `a_b/c` and `a/b_c` would both be called `a_b_c`.
            while !taken.insert(name.clone()) {
                name.push('_');
            }
            arrays.push((name, Array::new(stored.sizes, stored.values)?));
        }
        Ok(arrays)
    }
}

/// The weights as an optimizer sees them.
fn infos(weights: &[(String, Vec<usize>)]) -> Vec<WeightInfo<'_>> {
    weights.iter().map(|(path, sizes)| WeightInfo { path, sizes }).collect()
}

/// An optimizer's state as a file has it, on the model's device.
pub(super) struct OptimizerValues {
    iterations: u64,
    learning_rate: Option<f32>,
    /// By weight and slot; `None` if the file has none.
    slots: Option<Vec<Vec<Value>>>,
    shared: Option<f32>,
}

impl OptimizerValues {
    /// The state in a file, if the model is compiled and the file has one that fits its optimizer.
    pub fn read(model: &Sequential, stored: &dyn Stored) -> Result<Option<Self>> {
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
        let mut expected: Vec<Vec<usize>> =
            order.iter().map(|(weight, slot)| slots[*weight][*slot].sizes.clone()).collect();
        expected.extend(optimizer.shared().map(|_| Vec::new()));
        // The step number, and the learning rate: Keras keeps none beside a schedule, and Keras 2 never did.
        let scalars = [2, 1].into_iter().find(|scalars| {
            let (first, rest) = shapes.split_at((*scalars).min(shapes.len()));
            first.len() == *scalars && first.iter().all(Vec::is_empty) && (rest == expected || rest.is_empty())
        });
        let Some(scalars) = scalars else {
            tracing::warn!(
                "the optimizer's state in the file does not fit `{}` and is left out",
                optimizer.class_name()
            );
            return Ok(None);
        };
        let mut arrays = stored.read_optimizer(&shapes)?.into_iter();
        let iterations = arrays.next().and_then(|array| array.as_integer());
        let rates = if scalars == 2 { arrays.next().map(Array::into_f32) } else { None };
        let mut state = Self {
            iterations: iterations.and_then(|count| u64::try_from(count).ok()).unwrap_or(0),
            learning_rate: rates.and_then(|rates| rates.first().copied()),
            slots: None,
            shared: None,
        };
        if shapes.len() > scalars {
            let mut own: Vec<Vec<Option<Value>>> = slots.iter().map(|slots| vec![None; slots.len()]).collect();
            for ((weight, slot), array) in order.into_iter().zip(arrays.by_ref()) {
                let sizes = at_least_one(array.shape()).to_vec();
                own[weight][slot] = Some(Value::from_vec(array.into_f32(), &sizes, model.device())?);
            }
            state.slots = Some(own.into_iter().map(|slots| slots.into_iter().flatten().collect()).collect());
            state.shared = arrays.next().map(Array::into_f32).and_then(|shared| shared.first().copied());
        }
        Ok(Some(state))
    }

    /// Gives the state to the model's optimizer.
    pub fn put_into(self, model: &mut Sequential) {
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
