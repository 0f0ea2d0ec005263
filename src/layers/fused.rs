//! Layers that are fused with the layers after them.
//!
//! A plan asks each layer whether it can [`absorb`](super::Layer::absorb) the only layer that uses its output. Each
//! layer's file has its fusions; the results are the same up to rounding.

use std::fmt::Debug;

use super::{Call, Freezing, Frozen};
use crate::error::Result;
use crate::ops::Value;
use crate::shape::Shape;

/// A fused step: a layer and the layers after it.
pub trait Fused: Debug + Send + Sync {
    /// This step fused with one more layer, if it can absorb it.
    fn absorb(&self, next: &dyn super::Layer, training: bool) -> Option<Box<dyn Fused>> {
        let _ = (next, training);
        None
    }

    /// The weights for the fused computation, prepared from those of its layers; `None` if they are used unchanged.
    ///
    /// Called once for as long as the weights stay the same.
    ///
    /// # Errors
    /// Whatever an operation refuses.
    fn prepare(&self, weights: &[Value]) -> Result<Option<Vec<Value>>> {
        let _ = weights;
        Ok(None)
    }

    /// The first layer with weights and the shape of its input, if the step's first layer has none; by it, tables of
    /// times count the operations. `input` is the shape of the step's input.
    fn weighted(&self, input: &Shape) -> Option<(&dyn super::Layer, Shape)> {
        let _ = input;
        None
    }

    /// The step as one of a [`Predictor`](crate::model::Predictor), if it has a compiled form; the weights are those
    /// that [`prepare`](Self::prepare) made, or those of all layers in a row.
    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        let _ = freezing;
        None
    }

    /// Computes the output of the last layer. The call has the weights made by [`prepare`](Self::prepare), or those of
    /// all layers concatenated.
    ///
    /// # Errors
    /// Whatever an operation refuses.
    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value>;
}
