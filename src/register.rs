//! The register of custom classes: layers, losses, metrics and optimizers that files and recipes can name.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use serde_json::{Value as Json, json};

use crate::config::{Config, Origin, PACKAGE_END, name_of_class, names_class, without_package};
use crate::error::{Error, Result};

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

    /// The class of this name or, if it has no package, of its snake case, if there is one.
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

    /// The names of all classes as lists show them: in snake case, or whole with a package.
    pub fn names(&self) -> Vec<String> {
        self.class_names().into_iter().map(name_of_class).collect()
    }

    /// The names of all classes.
    pub fn class_names(&self) -> Vec<&'static str> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }
}

/// The package of classes that are registered without one, as in Keras.
const DEFAULT_PACKAGE: &str = "Custom";

/// A custom object in the form of a Keras file. `class_name` is `package>Class`, or has no package.
///
/// # Errors
/// [`Error::Unsupported`] for a class without a package that has the name of a built-in one, which would be loaded in
/// its place.
pub(crate) fn own_object(
    kind: &str,
    class_name: &str,
    is_built_in: impl FnOnce(&str) -> bool,
    config: Config,
) -> Result<Json> {
    let package = class_name.rsplit_once(PACKAGE_END).map_or(DEFAULT_PACKAGE, |(package, _)| package);
    let class = without_package(class_name);
    if package == DEFAULT_PACKAGE && is_built_in(class) {
        return Err(Error::unsupported(
            format!("saving an own {kind} of the class `{class}`, the name of a built-in class"),
            format!("another name, or one with a package: `struct {class} as \"my_package>{class}\"`"),
        ));
    }
    Ok(json!({
        "module": null, "class_name": class, "config": config, "registered_name": format!("{package}>{class}"),
    }))
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

    #[test]
    fn a_class_with_a_package_has_its_whole_name_only() {
        static OWN: Register<u8> = Register::new();
        OWN.insert("my_package>Dense", 1);
        assert_eq!([OWN.get("my_package>Dense"), OWN.get("Dense"), OWN.get("dense")], [Some(1), None, None]);
        assert_eq!(OWN.names(), ["my_package>Dense"]);
    }

    #[test]
    fn own_classes_are_written_with_their_package() {
        let written = |class: &str| own_object("layer", class, |class| class == "Dense", Config::new());
        for (class, registered) in [
            ("Scale", "Custom>Scale"),
            ("my_package>Scale", "my_package>Scale"),
            ("my_package>Dense", "my_package>Dense"),
        ] {
            let object = written(class).unwrap();
            assert_eq!((&object["registered_name"], &object["module"]), (&json!(registered), &Json::Null));
            assert_eq!(object["class_name"], without_package(class));
        }
        for class in ["Dense", "Custom>Dense"] {
            let error = written(class).unwrap_err().to_string();
            assert!(error.contains("`Dense`") && error.contains("my_package>Dense"), "{error}");
        }
    }
}
