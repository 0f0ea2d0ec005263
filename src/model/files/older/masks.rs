//! Masks of sequences that a recurrent layer of Keras 2 is called on together with the states to start from.
//!
//! Keras 2 heeds the mask that such a sequence carries; Keras 3 does not, only one that is an argument of the call. So
//! it becomes one, computed by the operations that Keras 3 itself writes for a mask.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

/// The recurrent layers, which take states to start from.
const RECURRENT: &[&str] = &[
    "SimpleRNN",
    "LSTM",
    "GRU",
    "CuDNNLSTM",
    "CuDNNGRU",
    "RNN",
    "Bidirectional",
    "ConvLSTM1D",
    "ConvLSTM2D",
    "ConvLSTM3D",
];

/// Layers of one input that pass its mask on.
const PASSING: &[&str] = &[
    "Activation",
    "ActivityRegularization",
    "AlphaDropout",
    "BatchNormalization",
    "Dense",
    "Dropout",
    "ELU",
    "GaussianDropout",
    "GaussianNoise",
    "LayerNormalization",
    "LeakyReLU",
    "PReLU",
    "ReLU",
    "Softmax",
    "SpatialDropout1D",
    "ThresholdedReLU",
    "TimeDistributed",
];

/// Layers of several inputs that make one mask of theirs.
const MERGING: &[&str] = &[
    "Add",
    "Average",
    "Concatenate",
    "Dot",
    "Functional",
    "Maximum",
    "Minimum",
    "Model",
    "Multiply",
    "Sequential",
    "Subtract",
];

/// Where a sequence has its mask from.
enum Origin {
    None,
    /// A tensor that already is the mask.
    Tensor(Json),
    /// A layer, by its place in the list, that makes it of its input.
    Made {
        layer: usize,
        input: Json,
    },
    /// A layer of which it is not known here.
    Unknown(String),
}

/// Gives the masks of a graph of Keras 2, whose layers these are, as arguments where states are given.
pub(super) fn renew(layers: &mut Vec<Json>) {
    if !layers.iter().any(|layer| makes_a_mask(layer)) {
        return;
    }
    let index_of: HashMap<String, usize> =
        layers.iter().enumerate().filter_map(|(index, layer)| Some((name(layer)?.to_owned(), index))).collect();
    let mut made: HashMap<(usize, String), String> = HashMap::new();
    for index in 0..layers.len() {
        if !is_of(&layers[index], RECURRENT) {
            continue;
        }
        let calls = layers[index].get("inbound_nodes").and_then(Json::as_array).map_or(0, Vec::len);
        for call in 0..calls {
            let Some(entries) = layers[index]["inbound_nodes"][call].as_array() else { continue };
            let fields = entries.first().and_then(|entry| entry.get(3)).and_then(Json::as_object);
            let has = |key: &str| fields.is_some_and(|fields| fields.get(key).is_some_and(|value| !value.is_null()));
            if (entries.len() < 2 && !has("initial_state")) || has("mask") {
                continue;
            }
            let Some(sequence) = entries.first().and_then(reference) else { continue };
            let mask = match origin(layers, &index_of, sequence) {
                Origin::None => continue,
                Origin::Tensor(tensor) => ("mask".to_owned(), tensor),
                Origin::Made { layer, input } => {
                    let key = (layer, input.to_string());
                    let name = match made.get(&key) {
                        Some(name) => name.clone(),
                        None => {
                            let name = add_operations(layers, layer, &input);
                            made.insert(key, name.clone());
                            name
                        }
                    };
                    ("mask".to_owned(), json!([name, 0, 0]))
                }
                // Refused by this name when the call is read.
                Origin::Unknown(layer) => (format!("mask that `{layer}` makes"), json!(true)),
            };
            let entries = layers[index]["inbound_nodes"][call].as_array_mut();
            if let Some(entry) = entries.and_then(|entries| entries.first_mut()).and_then(Json::as_array_mut) {
                entry.resize(4.max(entry.len()), Json::Object(Map::new()));
                entry[3][mask.0] = mask.1;
            }
        }
    }
}

/// Whether there is a layer that makes a mask, at any depth.
fn makes_a_mask(value: &Json) -> bool {
    match value {
        Json::Array(values) => values.iter().any(makes_a_mask),
        Json::Object(fields) => {
            let masking = fields.get("class_name").is_some_and(|class| class == "Masking");
            masking || fields.get("mask_zero") == Some(&Json::Bool(true)) || fields.values().any(makes_a_mask)
        }
        _ => false,
    }
}

fn name(layer: &Json) -> Option<&str> {
    layer.get("name").or_else(|| layer.get("config")?.get("name")).and_then(Json::as_str)
}

fn is_of(layer: &Json, classes: &[&str]) -> bool {
    layer.get("class_name").and_then(Json::as_str).is_some_and(|class| classes.contains(&class))
}

/// The tensor of an entry `[layer, call, output, {…}]`.
fn reference(entry: &Json) -> Option<Json> {
    entry.as_array()?.get(..3).map(|fields| json!(fields))
}

/// Goes back from a tensor to where its mask was made.
fn origin(layers: &[Json], index_of: &HashMap<String, usize>, tensor: Json) -> Origin {
    let mut tensor = tensor;
    // No way through the graph is longer, unless it is a circle, which is refused later.
    for _ in 0..=layers.len() {
        let place = tensor[0].as_str().and_then(|layer| index_of.get(layer).copied());
        let (Some(index), Some(call)) = (place, tensor[1].as_u64().and_then(|call| usize::try_from(call).ok())) else {
            return Origin::None;
        };
        let layer = &layers[index];
        let flag =
            |key: &str| layer["config"].get(key).or_else(|| layer["config"].get("layer")?.get("config")?.get(key));
        let is_set = |key: &str| flag(key).is_some_and(|value| value == true);
        let Some(entry) = layer["inbound_nodes"].get(call).and_then(|entries| entries.get(0)) else {
            return if is_of(layer, MERGING) {
                Origin::Unknown(tensor[0].as_str().unwrap_or_default().to_owned())
            } else {
                Origin::None
            };
        };
        let Some(input) = reference(entry) else { return Origin::None };
        match () {
            () if is_of(layer, &["Embedding"]) => {
                return if is_set("mask_zero") { Origin::Made { layer: index, input } } else { Origin::None };
            }
            () if is_of(layer, &["Masking"]) => return Origin::Made { layer: index, input },
            () if is_of(layer, RECURRENT) => {
                if tensor[2] != 0 || !is_set("return_sequences") {
                    return Origin::None;
                }
                if let Some(mask) = entry.get(3).and_then(|fields| fields.get("mask")).filter(|mask| mask.is_array()) {
                    return Origin::Tensor(mask.clone());
                }
            }
            () if is_of(layer, MERGING) => return Origin::Unknown(tensor[0].as_str().unwrap_or_default().to_owned()),
            () if !is_of(layer, PASSING) => return Origin::None,
            () => {}
        }
        tensor = input;
    }
    Origin::None
}

/// Adds the operations that compute the mask which a layer makes of its input; the name of the last.
fn add_operations(layers: &mut Vec<Json>, layer: usize, input: &Json) -> String {
    let layer_name = name(&layers[layer]).unwrap_or_default().to_owned();
    let masking = is_of(&layers[layer], &["Masking"]);
    let value = layers[layer]["config"].get("mask_value").cloned().filter(|_| masking).unwrap_or(json!(0.0));
    let mut add = |class: &str, own: String, config: Json, args: Json| {
        let mut config = config;
        config["name"] = json!(own);
        layers.push(json!({
            "module": "keras.src.ops.numpy", "class_name": class, "registered_name": class, "name": own,
            "config": config, "inbound_nodes": [{ "args": args, "kwargs": {} }],
        }));
        own
    };
    let tensor = |history: Json| {
        let config = json!({ "shape": [null], "dtype": "float32", "keras_history": history });
        json!({ "class_name": "__keras_tensor__", "config": config })
    };
    let differs = add("NotEqual", format!("{layer_name}_not_equal"), json!({}), json!([tensor(input.clone()), value]));
    if !masking {
        return differs;
    }
    let axis = json!({ "axis": -1, "keepdims": false });
    add("Any", format!("{layer_name}_any"), axis, json!([tensor(json!([differs, 0, 0]))]))
}
