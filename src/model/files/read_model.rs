//! The model that a file's object describes, of any version of Keras.

use serde_json::Value as Json;

use super::older;
use crate::error::{Error, Result};
use crate::formats::Limits;
use crate::model::Model;

/// The model described by a file's object; `version` is that of the Keras that wrote it, if known.
///
/// # Errors
/// As [`Model::from_config`].
pub(crate) fn read_model(mut object: Json, version: Option<&str>, limits: &Limits) -> Result<Model> {
    let layers = count_layers(&object);
    if layers > limits.layers {
        return Err(Error::unsupported(
            format!("a model of {layers} layers"),
            format!("up to {} (`Limits::layers`)", limits.layers),
        ));
    }
    let ends = most_ends(&object);
    if ends > limits.layers {
        return Err(Error::unsupported(
            format!("a model of {ends} inputs or outputs"),
            format!("up to {}, as of layers (`Limits::layers`)", limits.layers),
        ));
    }
    let is_keras_1 = older::renew(&mut object, version);
    let read = Model::from_keras(object);
    read.map_err(|error| if is_keras_1 { older::refusal(version, &error) } else { error })
}

/// The most inputs or outputs of a model, at any depth.
fn most_ends(value: &Json) -> usize {
    let length = |value: &Json| value.as_array().map(Vec::len).or_else(|| value.as_object().map(serde_json::Map::len));
    let ends = |key: &str| value.get(key).and_then(length).unwrap_or(0);
    let below = match value {
        Json::Array(values) => values.iter().map(most_ends).max(),
        Json::Object(fields) => fields.values().map(most_ends).max(),
        _ => None,
    };
    below.unwrap_or(0).max(ends("input_layers")).max(ends("output_layers"))
}

/// The number of objects in lists of layers, at any depth.
fn count_layers(value: &Json) -> usize {
    match value {
        Json::Array(values) => values.iter().map(count_layers).sum(),
        Json::Object(fields) => {
            let own = fields.get("layers").or_else(|| fields.get("config")).and_then(Json::as_array);
            let cells = fields.get("cells").and_then(Json::as_array);
            own.map_or(0, Vec::len) + cells.map_or(0, Vec::len) + fields.values().map(count_layers).sum::<usize>()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_number_of_inputs_and_outputs_is_limited() {
        let input = json!({"class_name": "InputLayer", "name": "in", "inbound_nodes": [],
                           "config": {"name": "in", "batch_shape": [null, 3]}});
        let model = |outputs: usize| {
            json!({"class_name": "Functional", "config": {"name": "m", "layers": [input.clone()],
                   "input_layers": [["in", 0, 0]], "output_layers": vec![json!(["in", 0, 0]); outputs]}})
        };
        let limits = Limits { layers: 3, ..Limits::default() };
        assert!(read_model(model(3), None, &limits).is_ok());
        let error = read_model(model(4), None, &limits).unwrap_err().to_string();
        assert!(error.contains("a model of 4 inputs or outputs") && error.contains("Limits::layers"), "{error}");
    }
}
