//! Downcasts of layers to models.

use super::{Model, Sequential};
use crate::layers::Layer;

/// The layer as a model, if it is one.
pub(crate) fn nested_model(layer: &dyn Layer) -> Option<&Model> {
    let layer = layer.as_any();
    layer.downcast_ref::<Sequential>().map(|sequential| &**sequential).or_else(|| layer.downcast_ref())
}

/// As [`nested_model`], mutable.
pub(super) fn nested_model_mut(layer: &mut dyn Layer) -> Option<&mut Model> {
    let layer = layer.as_any_mut();
    if layer.is::<Sequential>() {
        return layer.downcast_mut::<Sequential>().map(|sequential| &mut **sequential);
    }
    layer.downcast_mut()
}
