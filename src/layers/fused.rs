//! Layers that are computed in one step with the layers after them.
//!
//! A plan asks each layer whether it can [`absorb`](super::Layer::absorb) the one that alone uses its output. What it
//! answers is said in the layer's own file; nothing can see the difference but for rounding.

use std::fmt::Debug;

use super::{Call, Freezing, Frozen};
use crate::error::Result;
use crate::ops::Value;

/// A layer and the layers after it that it computes in the same step.
pub trait Fused: Debug + Send + Sync {
    /// This step with one more layer in it, if it can take that too.
    fn absorb(&self, next: &dyn super::Layer, training: bool) -> Option<Box<dyn Fused>> {
        let _ = (next, training);
        None
    }

    /// The weights that the step computes with, made of those of its layers; `None` where they are used as they are.
    ///
    /// It is called once for as long as the weights stay the same.
    ///
    /// # Errors
    /// Whatever an operation refuses.
    fn prepare(&self, weights: &[Value]) -> Result<Option<Vec<Value>>> {
        let _ = weights;
        Ok(None)
    }

    /// The step as one of a [`Predictor`](crate::model::Predictor), if it has a compiled form; the weights are those that
    /// [`prepare`](Self::prepare) made, or those of all layers in a row.
    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        let _ = freezing;
        None
    }

    /// Computes the output of the last of the layers. The call has the weights that
    /// [`prepare`](Self::prepare) made, or those of all layers in a row.
    ///
    /// # Errors
    /// Whatever an operation refuses.
    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value>;
}
