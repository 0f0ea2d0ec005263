//! Masks of sequences in calls of Keras 2's recurrent layers with initial states.
//!
//! In such a call Keras 2 uses the mask that the sequence carries; Keras 3 does not, only a mask passed as an argument.
//! So the mask becomes an argument, computed by the operations that Keras 3 itself writes for a mask. If the mask
//! cannot be determined, the call is rejected.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

use super::is_own;
use crate::model::files::functional::is_graph;
use crate::text::UniqueNames;

/// The recurrent layers, which accept initial states.
const RECURRENT: &[&str] =
    &["SimpleRNN", "LSTM", "GRU", "RNN", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"];

/// Layers that pass on the mask of their only input, or of the first.
const PASSING: &[&str] = &[
    "Activation",
    "ActivityRegularization",
    "AdditiveAttention",
    "AlphaDropout",
    "Attention",
    "BatchNormalization",
    "Dense",
    "Dropout",
    "ELU",
    "GaussianDropout",
    "GaussianNoise",
    "GroupNormalization",
    "LayerNormalization",
    "LeakyReLU",
    "MultiHeadAttention",
    "PReLU",
    "ReLU",
    "Softmax",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "TimeDistributed",
    "UnitNormalization",
];

/// Layers that merge several masks, and models.
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

/// The source of a sequence's mask.
#[derive(Clone)]
enum MaskOrigin {
    None,
    /// A tensor that is the mask.
    Tensor(Json),
    /// A layer, by index, that computes it from its input.
    Made {
        layer: usize,
        input: Json,
    },
    /// A layer of which it is unknown.
    Unknown(String),
}

/// Adds masks as arguments to calls with initial states, in a model of Keras 2 and nested ones; `from_outside` says
/// whether its inputs can carry masks.
pub(super) fn renew(model: &mut Json, from_outside: bool) {
    if is_own(model) {
        return;
    }
    let graph = model.get("class_name").and_then(Json::as_str).is_some_and(is_graph);
    let Some(layers) = model.get_mut("config").and_then(|config| config.get_mut("layers")) else { return };
    let Some(layers) = layers.as_array_mut() else { return };
    let masked = from_outside || layers.iter().any(makes_a_mask);
    if !masked {
        return;
    }
    layers.iter_mut().filter(|layer| layer["config"].get("layers").is_some()).for_each(|model| renew(model, true));
    if graph {
        MaskGraph::new(layers, from_outside).renew();
    }
}

/// Whether there is a layer that computes a mask, at any depth. An own class does not, whatever its name and arguments.
fn makes_a_mask(value: &Json) -> bool {
    match value {
        Json::Array(values) => values.iter().any(makes_a_mask),
        Json::Object(_) if is_own(value) => false,
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
    !is_own(layer) && layer.get("class_name").and_then(Json::as_str).is_some_and(|class| classes.contains(&class))
}

/// The tensor of an entry `[layer, call, output, {…}]`.
fn tensor_of(entry: &Json) -> Option<Json> {
    entry.as_array()?.get(..3).map(|fields| json!(fields))
}

/// The layers of a graph, and what has been determined about them.
struct MaskGraph<'a> {
    layers: &'a mut Vec<Json>,
    from_outside: bool,
    index_of: HashMap<String, usize>,
    /// The sources of the masks of tensors.
    origins: HashMap<String, MaskOrigin>,
    /// The masks that are already computed.
    made: HashMap<(usize, String), String>,
    names: UniqueNames,
}

impl<'a> MaskGraph<'a> {
    fn new(layers: &'a mut Vec<Json>, from_outside: bool) -> Self {
        let named = layers.iter().enumerate().filter_map(|(index, layer)| Some((name(layer)?.to_owned(), index)));
        let index_of: HashMap<String, usize> = named.collect();
        let names = index_of.keys().cloned().collect();
        Self { layers, from_outside, index_of, origins: HashMap::new(), made: HashMap::new(), names }
    }

    fn renew(mut self) {
        for index in 0..self.layers.len() {
            if !is_of(&self.layers[index], RECURRENT) {
                continue;
            }
            let calls = self.layers[index].get("inbound_nodes").and_then(Json::as_array).map_or(0, Vec::len);
            for call in 0..calls {
                if let Some((key, value)) = self.argument(index, call) {
                    let entry = &mut self.layers[index]["inbound_nodes"][call][0];
                    let Some(entry) = entry.as_array_mut() else { continue };
                    if entry.len() == 3 {
                        entry.push(Json::Object(Map::new()));
                    }
                    // Anything else there is rejected when the call is read.
                    if let Some(fields) = entry.get_mut(3).and_then(Json::as_object_mut) {
                        fields.insert(key, value);
                    }
                }
            }
        }
    }

    /// The missing argument of a call with initial states whose sequence carries a mask.
    fn argument(&mut self, index: usize, call: usize) -> Option<(String, Json)> {
        let entries = self.layers[index]["inbound_nodes"][call].as_array()?;
        let first = entries.first()?;
        let fields = first.get(3).and_then(Json::as_object);
        let has = |key: &str| fields.is_some_and(|fields| fields.get(key).is_some_and(|value| !value.is_null()));
        if (entries.len() < 2 && !has("initial_state")) || has("mask") {
            return None;
        }
        let sequence = tensor_of(first)?;
        match self.origin(sequence) {
            MaskOrigin::None => None,
            MaskOrigin::Tensor(tensor) => Some(("mask".into(), tensor)),
            MaskOrigin::Made { layer, input } => Some(("mask".into(), json!([self.mask(layer, &input), 0, 0]))),
            // Rejected by this name when the call is read.
            MaskOrigin::Unknown(layer) => Some((format!("mask that `{layer}` passes on"), json!(true))),
        }
    }

    /// Follows a tensor back to the source of its mask.
    fn origin(&mut self, tensor: Json) -> MaskOrigin {
        let mut way = vec![tensor.to_string()];
        let mut tensor = tensor;
        // No path in the graph is longer, unless there is a cycle, which is rejected later.
        let found = loop {
            let key = tensor.to_string();
            if let Some(known) = self.origins.get(&key) {
                break known.clone();
            }
            match self.step_back(&tensor) {
                Ok(before) if way.len() <= self.layers.len() => {
                    way.push(key);
                    tensor = before;
                }
                Ok(_) => break MaskOrigin::None,
                Err(origin) => break origin,
            }
        };
        self.origins.extend(way.into_iter().map(|tensor| (tensor, found.clone())));
        found
    }

    /// The tensor whose mask this one shares, or the source of the mask.
    fn step_back(&self, tensor: &Json) -> Result<Json, MaskOrigin> {
        let own = tensor[0].as_str().unwrap_or_default();
        let (Some(index), Some(call)) = (self.index_of.get(own), tensor[1].as_u64()) else {
            return Err(MaskOrigin::None);
        };
        let layer = &self.layers[*index];
        let unknown = || Err(MaskOrigin::Unknown(own.chars().take(60).collect()));
        if is_of(layer, MERGING) || (self.from_outside && is_of(layer, &["InputLayer"])) {
            return unknown();
        }
        let entry = usize::try_from(call).ok().and_then(|call| layer["inbound_nodes"].get(call)?.get(0));
        let Some((entry, input)) = entry.and_then(|entry| Some((entry, tensor_of(entry)?))) else {
            return Err(MaskOrigin::None);
        };
        // For a wrapper, the wrapped layer has the value.
        let config = &layer["config"];
        let value = |key: &str| config.get(key).or_else(|| config.get("layer")?.get("config")?.get(key));
        let is_set = |key: &str| value(key).is_some_and(|value| value == true);
        if is_of(layer, &["Masking"]) || (is_of(layer, &["Embedding"]) && is_set("mask_zero")) {
            return Err(MaskOrigin::Made { layer: *index, input });
        }
        if is_of(layer, RECURRENT) {
            // States carry none; of two unmerged directions, both outputs do.
            let apart = is_of(layer, &["Bidirectional"]) && config.get("merge_mode").is_some_and(Json::is_null);
            let carries = tensor[2] == 0 || (apart && tensor[2] == 1);
            if !carries || !is_set("return_sequences") {
                return Err(MaskOrigin::None);
            }
            let given = entry.get(3).and_then(|fields| fields.get("mask")).filter(|mask| mask.is_array());
            return given.map_or(Ok(input), |mask| Err(MaskOrigin::Tensor(mask.clone())));
        }
        if is_of(layer, PASSING) { Ok(input) } else { Err(MaskOrigin::None) }
    }

    /// The name of the operation that computes a layer's mask from its input; added if missing.
    fn mask(&mut self, layer: usize, input: &Json) -> String {
        let key = (layer, input.to_string());
        if let Some(name) = self.made.get(&key) {
            return name.clone();
        }
        let own = name(&self.layers[layer]).unwrap_or_default().to_owned();
        let masking = is_of(&self.layers[layer], &["Masking"]);
        let value = self.layers[layer]["config"].get("mask_value").cloned().filter(|_| masking).unwrap_or(json!(0.0));
        let tensor = |history: Json| {
            let config = json!({ "shape": [null], "dtype": "float32", "keras_history": history });
            json!({ "class_name": "__keras_tensor__", "config": config })
        };
        let mut name =
            self.add("NotEqual", format!("{own}_not_equal"), json!({}), json!([tensor(input.clone()), value]));
        if masking {
            let axis = json!({ "axis": -1, "keepdims": false });
            name = self.add("Any", format!("{own}_any"), axis, json!([tensor(json!([name, 0, 0]))]));
        }
        self.made.insert(key, name.clone());
        name
    }

    /// Adds an operation under a unique name.
    fn add(&mut self, class: &str, name: String, mut config: Json, args: Json) -> String {
        let own = self.names.take(name);
        config["name"] = json!(own);
        self.layers.push(json!({
            "module": "keras.src.ops.numpy", "class_name": class, "registered_name": class, "name": own,
            "config": config, "inbound_nodes": [{ "args": args, "kwargs": {} }],
        }));
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(class: &str, name: &str, config: Json, calls: Json) -> Json {
        let mut config = config;
        config["name"] = json!(name);
        json!({ "class_name": class, "name": name, "config": config, "inbound_nodes": calls })
    }

    fn model(layers: Vec<Json>) -> Json {
        json!({ "class_name": "Functional", "config": { "name": "m", "layers": layers } })
    }

    fn embedding(name: &str) -> Json {
        layer("Embedding", name, json!({ "mask_zero": true }), json!([[["a", 0, 0, {}]], [["b", 0, 0, {}]]]))
    }

    fn lstm(of: Json) -> Json {
        layer("LSTM", "r", json!({}), json!([[of, ["h", 0, 0, {}], ["c", 0, 0, {}]]]))
    }

    /// The arguments of the call of layer `r`.
    fn renewed(mut model: Json, from_outside: bool) -> (Json, Vec<String>) {
        renew(&mut model, from_outside);
        let layers = model["config"]["layers"].as_array().unwrap().clone();
        let recurrent = layers.iter().find(|layer| layer["name"] == "r").unwrap();
        let names = layers.iter().filter_map(|layer| name(layer).map(str::to_owned)).collect();
        (recurrent["inbound_nodes"][0][0][3].clone(), names)
    }

    #[test]
    fn the_mask_of_a_sequence_becomes_an_argument() {
        let of = |layers: Vec<Json>, from: &str| {
            renewed(model([layers, vec![lstm(json!([from, 0, 0, {}]))]].concat()), false)
        };
        let pass = |class: &str| layer(class, "p", json!({}), json!([[["e", 0, 0, {}]]]));
        let (arguments, names) = of(vec![embedding("e")], "e");
        assert_eq!(arguments, json!({ "mask": ["e_not_equal", 0, 0] }));
        assert!(names.contains(&"e_not_equal".to_owned()));
        for class in ["Dropout", "UnitNormalization", "Attention"] {
            assert_eq!(of(vec![embedding("e"), pass(class)], "p").0, arguments, "{class}");
        }
        assert_eq!(of(vec![embedding("e"), pass("Conv1D")], "p").0, json!({}));
        assert!(of(vec![embedding("e"), pass("Add")], "p").0.to_string().contains("mask that `p` passes on"));
        let masking = layer("Masking", "e", json!({ "mask_value": 2.0 }), json!([[["a", 0, 0, {}]]]));
        assert_eq!(of(vec![masking.clone()], "e").0, json!({ "mask": ["e_any", 0, 0] }));
        let own = |module: Json| {
            let mut own = masking.clone();
            (own["module"], own["registered_name"]) = (module, json!("my_package>Masking"));
            own
        };
        assert_eq!(of(vec![own(Json::Null)], "e").0, json!({}));
        assert_eq!(of(vec![own(json!("my_package.layers")), embedding("f")], "e").0, json!({}));
    }

    #[test]
    fn each_call_of_a_shared_layer_has_its_own_mask() {
        let calls = json!([
            [["e", 0, 0, {}], ["h", 0, 0, {}]],
            [["e", 1, 0, {}], ["h", 0, 0, {}]],
            [["e", 0, 0, {}], ["h", 0, 0, {}]]
        ]);
        let mut model = model(vec![embedding("e"), layer("GRU", "r", json!({}), calls)]);
        renew(&mut model, false);
        let layers = model["config"]["layers"].as_array().unwrap();
        let mask = |call: usize| layers[1]["inbound_nodes"][call][0][3]["mask"][0].clone();
        assert_eq!([mask(0), mask(1), mask(2)], ["e_not_equal", "e_not_equal_1", "e_not_equal"]);
        assert_eq!(layers.len(), 4);
    }

    #[test]
    fn a_mask_from_outside_a_model_is_unknown() {
        let input = layer("InputLayer", "x", json!({}), json!([]));
        let inner = || model(vec![input.clone(), lstm(json!(["x", 0, 0, {}]))]);
        assert!(renewed(inner(), true).0.to_string().contains("mask that `x` passes on"));
        assert_eq!(renewed(inner(), false).0, json!({}));
        let mut outer = model(vec![embedding("e"), inner()]);
        renew(&mut outer, false);
        assert!(outer.to_string().contains("passes on"));
    }

    /// Every field is invalid, and nothing fails.
    #[test]
    fn invalid_objects_are_left_unchanged() {
        let circle = layer("Dropout", "p", json!({}), json!([[["q", 0, 0, {}]]]));
        let other = layer("Dropout", "q", json!({}), json!([[["p", 0, 0, {}]]]));
        for of in
            [json!(["e", 0, 0, 5]), json!(["p", 0, 0]), json!([]), json!(["e", -1, 0]), json!(7), json!(["z", 0, 0])]
        {
            renewed(model(vec![embedding("e"), circle.clone(), other.clone(), lstm(of)]), false);
        }
        for nodes in [json!(5), json!({}), json!([[]]), json!([5])] {
            renew(&mut model(vec![embedding("e"), layer("LSTM", "r", json!({}), nodes)]), false);
        }
    }
}
