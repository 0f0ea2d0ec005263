//! Keras's JSON of an object: its class and config.

use serde_json::{Value as Json, json};

use super::Config;
use crate::error::{Error, Result};

/// Whether a module is Keras's own, under any of its historical names.
pub(crate) fn is_of_keras(module: &str) -> bool {
    let roots = ["keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras"];
    roots.iter().any(|root| module.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// Where a class of some kind comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    BuiltIn,
    Registered,
    Unknown,
}

/// The class and config of an object in any of its forms: a name (`"glorot_uniform"`), a flat table (`{ class_name =
/// "L2", l2 = 0.01 }`), or Keras's `{"module", "class_name", "config", "registered_name"}`.
///
/// # Errors
/// [`Error::Argument`] for another form, [`Error::Unsupported`] for a class of a module that is not Keras's.
pub(crate) fn object(kind: &'static str, value: Json) -> Result<(String, Config)> {
    of_kind(kind, value, |_| Origin::BuiltIn, false)
}

/// As [`object`], of a kind that has a register: a class of any other module than Keras's is taken if it is registered,
/// and its name in the register is returned.
pub(crate) fn object_of(kind: &'static str, value: Json, origin: impl Fn(&str) -> Origin) -> Result<(String, Config)> {
    of_kind(kind, value, origin, true)
}

fn of_kind(
    kind: &'static str,
    value: Json,
    origin: impl Fn(&str) -> Origin,
    has_register: bool,
) -> Result<(String, Config)> {
    let wrong = |value: &Json| Error::argument(kind, "a name or an object with `class_name`", super::brief(value));
    match value {
        Json::String(name) => Ok((class_named(kind, name, None, None, origin, has_register)?, Config::new())),
        Json::Object(mut map) => {
            let Some(Json::String(class)) = map.remove("class_name") else { return Err(wrong(&Json::Object(map))) };
            let module = map.remove("module").filter(|module| !module.is_null());
            let registered = map.remove("registered_name");
            let registered = registered.as_ref().and_then(Json::as_str);
            let class = class_named(kind, class, module.as_ref(), registered, origin, has_register)?;
            map.remove("build_config");
            match map.remove("config") {
                Some(Json::Object(config)) => Ok((class, config)),
                Some(Json::Null) | None => Ok((class, map)),
                Some(other) => Err(wrong(&other)),
            }
        }
        other => Err(wrong(&other)),
    }
}

/// The name of an object's class in the list of built-in classes or in the register.
///
/// Python's decorator registers a class as `package>Class`; without the decorator the registered name is the class's
/// own. Keras 3 writes it as `registered_name`; in `.h5` files, in Keras 2's JSON and where a name stands for an object
/// it is the class.
fn class_named(
    kind: &'static str,
    class: String,
    module: Option<&Json>,
    registered: Option<&str>,
    origin: impl Fn(&str) -> Origin,
    has_register: bool,
) -> Result<String> {
    if module.and_then(Json::as_str).is_some_and(is_of_keras) {
        return Ok(class);
    }
    let registered = registered.or_else(|| class.contains(PACKAGE_END).then_some(&*class));
    if module.is_none() && registered.is_none() {
        return Ok(class);
    }
    let names = registered.into_iter().flat_map(|name| [name, without_package(name)]).chain([&*class]);
    if let Some(own) = names.clone().find(|name| origin(name) == Origin::Registered) {
        return Ok(own.to_owned());
    }
    let shown = without_package(&class);
    let supported = |with_register: &'static str| match has_register {
        true => with_register,
        false => "Keras's own classes; no others of this kind can be loaded from a file",
    };
    if let Some(module) = module {
        return Err(Error::unsupported(
            format!("{kind} `{shown}` of module {}", super::brief(module)),
            supported("classes of Keras itself, and registered ones whose names are not those of built-in classes"),
        ));
    }
    // An own class in Python, which the built-in one of its name must not replace.
    if let Some(name) = registered
        && names.clone().any(|name| origin(name) == Origin::BuiltIn)
    {
        return Err(Error::unsupported(
            format!("{kind} `{shown}` registered as {}", super::brief(&Json::from(name))),
            supported("classes of Keras itself, and registered ones with another name or with a package"),
        ));
    }
    Ok(shown.to_owned())
}

/// The character between the package and the class in a registered name.
pub(crate) const PACKAGE_END: char = '>';

/// The part of a registered name after its package.
pub(crate) fn without_package(name: &str) -> &str {
    name.rsplit_once(PACKAGE_END).map_or(name, |(_, class)| class)
}

/// A config without those `late` arguments that have their default (given as JSON): early versions of Keras 3 reject
/// these keys.
pub(crate) fn known_early(mut config: Config, late: &[(&str, &str)]) -> Config {
    for (key, default) in late {
        if config.get(*key).is_some_and(|value| format!("{value}") == *default) {
            config.shift_remove(*key);
        }
    }
    config
}

/// Keras's serialized form of an object.
pub(crate) fn keras_object(module: &str, class_name: &str, config: Config) -> Json {
    // Early versions know this class by its other name only.
    let class_name = if class_name == "Orthogonal" { "OrthogonalInitializer" } else { class_name };
    json!({"module": module, "class_name": class_name, "config": config, "registered_name": null})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_arguments_are_written_only_if_not_default() {
        let written = |value: Json| {
            let config = Config::from_iter([("padding".to_owned(), json!(1)), ("data_format".to_owned(), value)]);
            known_early(config, &[("data_format", "\"channels_last\"")])
        };
        assert_eq!(Json::Object(written(json!("channels_last"))), json!({"padding": 1}));
        assert_eq!(written(json!("channels_first"))["data_format"], "channels_first");
    }

    #[test]
    fn only_a_registered_class_may_have_another_module() {
        let origin = |class: &str| match class {
            "Scale" => Origin::Registered,
            "Dense" => Origin::BuiltIn,
            _ => Origin::Unknown,
        };
        let read = |class: &str, module: Json, registered: Json| {
            let json = json!({"module": module, "class_name": class, "config": {}, "registered_name": registered});
            object_of("layer", json, origin).map(|(class, _)| class)
        };
        let own = json!("my_package.layers");
        assert_eq!(read("Scale", own.clone(), json!("my_package>Scale")).unwrap(), "Scale");
        assert_eq!(read("Scale", Json::Null, json!("Scale")).unwrap(), "Scale");
        assert_eq!(read("Dense", json!("keras.layers"), Json::Null).unwrap(), "Dense");
        assert_eq!(read("Other", Json::Null, json!("Custom>Other")).unwrap(), "Other");
        assert!(read("Dense", Json::Null, json!("Dense")).is_err() && read("Dense", Json::Null, Json::Null).is_ok());
        for (class, module) in [("Other", own.clone()), ("Dense", own), ("Dense", Json::Null)] {
            assert!(matches!(read(class, module, json!("my_package>Dense")), Err(Error::Unsupported { .. })));
        }
    }

    /// In `.h5` files and Keras 2's JSON the registered name is the class.
    #[test]
    fn older_forms_find_the_same_class() {
        let origin = |class: &str| match class {
            "Scale" | "my_package>Scale" | "my_package>Dense" | "Renamed" => Origin::Registered,
            "Dense" => Origin::BuiltIn,
            _ => Origin::Unknown,
        };
        let read = |json: Json| object_of("layer", json, origin).map(|(class, _)| class);
        let older = |class: &str| read(json!({"class_name": class, "config": {}}));
        let newer = |class: &str, registered: &str| {
            read(json!({"module": null, "class_name": class, "config": {}, "registered_name": registered}))
        };
        for (name, found) in [
            ("my_package>Scale", "my_package>Scale"),
            ("other>Scale", "Scale"),
            ("Custom>Scale", "Scale"),
            ("my_package>Dense", "my_package>Dense"),
            ("my_package>Renamed", "Renamed"),
            ("my_package>Other", "Other"),
        ] {
            assert_eq!(older(name).unwrap(), found);
            assert_eq!(read(json!(name)).unwrap(), found);
            assert_eq!(newer(without_package(name), name).unwrap(), found);
        }
        assert_eq!(newer("Class", "my_package>Renamed").unwrap(), "Renamed");
        for error in [older("other>Dense"), newer("Dense", "other>Dense"), newer("Other", "other>Dense")] {
            let error = error.unwrap_err();
            assert!(matches!(error, Error::Unsupported { .. }), "{error}");
            assert!(error.to_string().contains("other>Dense"), "{error}");
        }
        assert_eq!((older("Dense").unwrap(), older("Scale").unwrap()), ("Dense".into(), "Scale".into()));
    }

    /// Kinds without a register have no own classes.
    #[test]
    fn a_registered_class_is_no_built_in_one() {
        let of = |class: &str, registered: Json| {
            object("initializer", json!({"class_name": class, "config": {}, "registered_name": registered}))
        };
        assert!(of("Zeros", Json::Null).is_ok());
        for refused in [of("Zeros", json!("my_package>Zeros")), of("my_package>Zeros", Json::Null)] {
            assert!(matches!(refused, Err(Error::Unsupported { .. })));
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("no others of this kind") && !error.contains("registered ones"), "{error}");
        }
    }

    #[test]
    fn an_object_of_an_unknown_module_is_refused() {
        let object = object("initializer", json!({"module": "os", "class_name": "system", "config": {}}));
        assert!(matches!(object, Err(Error::Unsupported { .. })));
        let error = object.unwrap_err().to_string();
        assert!(error.contains("no others of this kind") && !error.contains("registered ones"), "{error}");
    }
}
