//! Keras's JSON of an object: its class and config.

use serde_json::{Value as Json, json};

use super::Config;
use crate::error::{Error, Result};

/// Whether a module is Keras's own, under any of its historical names.
fn is_of_keras(module: &str) -> bool {
    let roots = ["keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras"];
    roots.iter().any(|root| module.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// The class and config of an object in any of its forms: a name (`"glorot_uniform"`), a flat table (`{ class_name =
/// "L2", l2 = 0.01 }`), or Keras's `{"module", "class_name", "config", "registered_name"}`.
pub(crate) fn object(kind: &'static str, value: Json) -> Result<(String, Config)> {
    let wrong = |value: &Json| Error::argument(kind, "a name or an object with `class_name`", super::brief(value));
    match value {
        Json::String(name) => Ok((name, Config::new())),
        Json::Object(mut map) => {
            let Some(Json::String(class)) = map.remove("class_name") else { return Err(wrong(&Json::Object(map))) };
            if let Some(module) = map.remove("module").filter(|module| !module.is_null())
                && !module.as_str().is_some_and(is_of_keras)
            {
                return Err(Error::unsupported(
                    format!("{kind} `{class}` of module {module}"),
                    "classes of Keras itself",
                ));
            }
            map.remove("registered_name");
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
    fn an_object_of_an_unknown_module_is_refused() {
        let object = object("initializer", json!({"module": "os", "class_name": "system", "config": {}}));
        assert!(matches!(object, Err(Error::Unsupported { .. })));
    }
}
