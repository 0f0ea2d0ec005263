//! The register of custom classes: layers, losses, metrics and optimizers that files and recipes can name.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use serde_json::{Value as Json, json};

use crate::config::{Config, Origin, names_class};

/// The constructors of registered classes, by class name.
pub(crate) struct Register<E>(RwLock<BTreeMap<&'static str, E>>);

impl<E: Copy> Register<E> {
    pub const fn new() -> Self {
        Self(RwLock::new(BTreeMap::new()))
    }

    /// Registers a class, replacing one of the same name.
    pub fn insert(&self, class_name: &'static str, entry: E) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(class_name, entry);
    }

    /// The class of this name, or of its snake case, if there is one.
    pub fn get(&self, name: &str) -> Option<E> {
        let own = self.0.read().unwrap_or_else(PoisonError::into_inner);
        own.iter().find(|(class, _)| names_class(name, class)).map(|(_, entry)| *entry)
    }

    /// Where a class comes from, given whether it is built in.
    pub fn origin(&self, class: &str, is_built_in: bool) -> Origin {
        match (is_built_in, self.get(class)) {
            (true, _) => Origin::BuiltIn,
            (false, Some(_)) => Origin::Registered,
            (false, None) => Origin::Unknown,
        }
    }

    /// The names of all classes.
    pub fn class_names(&self) -> Vec<&'static str> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }
}

/// A custom object in the form of a Keras file.
pub(crate) fn own_object(class_name: &str, config: Config) -> Json {
    json!({
        "module": null, "class_name": class_name, "config": config, "registered_name": format!("Custom>{class_name}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_found_by_either_name() {
        static OWN: Register<u8> = Register::new();
        OWN.insert("QuarticError", 4);
        OWN.insert("Bias", 1);
        assert_eq!((OWN.get("QuarticError"), OWN.get("quartic_error"), OWN.get("Quartic")), (Some(4), Some(4), None));
        OWN.insert("QuarticError", 5);
        assert_eq!((OWN.get("QuarticError"), OWN.class_names()), (Some(5), vec!["Bias", "QuarticError"]));
    }
}
