//! The names of a container's layers in weight files.

use std::collections::BTreeMap;

use super::Layer;
use crate::config::snake_case;

/// Keras's keys of the layers in a container: the class in snake case, with a number.
///
/// The class is that of Python: `register_keras_serializable` can register it under another name, by which Brasa finds
/// its own class. The format of `.keras` and `.weights.h5` files demands this rule: it counts the layers of each class
/// and does not look at their names. Names elsewhere are made unique by [`UniqueNames`](crate::text::UniqueNames).
pub(crate) fn container_keys(layers: &[Box<dyn Layer>]) -> Vec<String> {
    class_keys(layers.iter().map(|layer| key_class(&**layer)))
}

/// The class that names a layer's weights.
pub(crate) fn key_class(layer: &dyn Layer) -> &str {
    layer.common().python_class.as_deref().unwrap_or_else(|| layer.class_name())
}

/// As [`container_keys`], for layers of these classes.
pub(crate) fn class_keys<'a>(classes: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    classes
        .map(|class| {
            let class = snake_case(class);
            let count = counts.entry(class.clone()).or_default();
            *count += 1;
            if *count == 1 { class } else { format!("{class}_{}", *count - 1) }
        })
        .collect()
}
