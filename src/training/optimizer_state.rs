//! The optimizer's state in a checkpoint.

use burn::tensor::Device;
use ndarray::ArrayD;

use super::snapshot::OptimizerSnapshot;
use crate::compile::Compiled;
use crate::error::{Error, Result};
use crate::ops::Value;
use crate::optimizers::{OptimizerState, WeightInfo, at_least_one};

/// The optimizer's state, for a checkpoint.
pub(super) fn snapshot(compiled: &Compiled) -> Result<OptimizerSnapshot> {
    let slots = compiled.state.slots.iter().map(|slots| slots.iter().map(array).collect()).collect::<Result<_>>()?;
    Ok(OptimizerSnapshot {
        class_name: compiled.optimizer.class_name().to_owned(),
        iterations: compiled.state.iterations,
        learning_rate: compiled.optimizer.learning_rate_argument().constant(),
        shared: compiled.state.shared,
        slots,
    })
}

/// Restores the optimizer's state from a checkpoint, for these trainable weights, each with its shape.
pub(super) fn restore(
    compiled: &mut Compiled,
    saved: OptimizerSnapshot,
    weights: &[(String, Vec<usize>)],
    device: &Device,
) -> Result<()> {
    let class = compiled.optimizer.class_name();
    if saved.class_name != class {
        return Err(Error::data("the checkpoint's optimizer", class, saved.class_name));
    }
    let expected: Vec<Vec<Vec<usize>>> = weights
        .iter()
        .map(|(path, sizes)| {
            let slots = OptimizerState::slots(&*compiled.optimizer, &WeightInfo { path, sizes });
            slots.iter().map(|slot| at_least_one(&slot.sizes).to_vec()).collect()
        })
        .collect();
    let received: Vec<Vec<Vec<usize>>> =
        saved.slots.iter().map(|slots| slots.iter().map(|slot| slot.shape().to_vec()).collect()).collect();
    if !received.is_empty() && received != expected {
        let what = "the state of the checkpoint's optimizer";
        return Err(Error::data(what, format!("{expected:?}"), format!("{received:?}")));
    }
    let value = |slot: ArrayD<f32>| {
        let sizes = slot.shape().to_vec();
        Value::from_vec(slot.into_iter().collect(), &sizes, device)
    };
    let slots = saved.slots.into_iter().map(|slots| slots.into_iter().map(value).collect());
    compiled.state.slots = slots.collect::<Result<_>>()?;
    compiled.state.iterations = saved.iterations;
    compiled.state.shared = saved.shared;
    if let Some(rate) = saved.learning_rate {
        compiled.optimizer.learning_rate_argument_mut().restore(rate);
    }
    Ok(())
}

/// The elements of a value as an array.
pub(super) fn array(value: &Value) -> Result<ArrayD<f32>> {
    let sizes = value.sizes();
    ArrayD::from_shape_vec(sizes.clone(), value.to_vec()?).map_err(|error| Error::shape(format!("{sizes:?}"), error))
}
