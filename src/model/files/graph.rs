//! Functional models that are one plain chain of layers, as Sequential ones.

mod masks;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use crate::config::Config;
use crate::error::{Error, Result};

const SUPPORTED: &str =
    "Functional models that are one plain chain: each layer called once, on the output of the one before";

/// A layer of the graph: what it is, and whose outputs it is called on.
struct Node {
    /// The layer's object, without its calls.
    object: Json,
    inputs: Vec<String>,
    /// Whose output it is given as its mask.
    mask: Option<String>,
    /// What it is called with beside tensors, such as the number of a comparison.
    constants: Vec<Json>,
    calls: usize,
}

impl Node {
    fn class(&self) -> &str {
        self.object.get("class_name").and_then(Json::as_str).unwrap_or_default()
    }

    fn argument(&self, name: &str) -> Option<&Json> {
        self.object.get("config")?.get(name)
    }
}

/// The config of the Sequential model that computes the same as a Functional one.
///
/// # Errors
/// [`Error::Unsupported`] with the names of the layers at which the graph is no chain; [`Error::Argument`] for a graph
/// that makes no sense.
pub(super) fn to_sequential(mut config: Config) -> Result<Config> {
    let Some(Json::Array(layers)) = config.remove("layers") else {
        return Err(Error::argument("config", "the key `layers` with a list", "none"));
    };
    let mut nodes = BTreeMap::new();
    for layer in layers {
        let (name, node) = node_of(layer)?;
        if nodes.insert(name.clone(), node).is_some() {
            return Err(Error::argument(
                "layers",
                "layers of which no two have the same name",
                format!("`{name}` twice"),
            ));
        }
    }
    let ends = |config: &mut Config, key: &str| config.remove(key).map(|ends| names_of(&ends)).unwrap_or_default();
    let (inputs, outputs) = (ends(&mut config, "input_layers"), ends(&mut config, "output_layers"));
    let masks = masks::take(&mut nodes);
    let order = chain(&nodes, &inputs, &outputs)?;
    masks::check(&nodes, &order, &masks)?;
    let layers: Vec<Json> = order.into_iter().filter_map(|name| Some(nodes.remove(&name)?.object)).collect();
    config.retain(|key, _| ["name", "trainable", "dtype"].contains(&key.as_str()));
    config.insert("layers".into(), Json::Array(layers));
    Ok(config)
}

fn node_of(mut layer: Json) -> Result<(String, Node)> {
    let wrong = |layer: &Json| Error::argument("layers", "objects with a `name`", layer);
    let named = |layer: &Json| {
        let name = layer.get("name").or_else(|| layer.get("config")?.get("name"))?;
        name.as_str().map(str::to_owned)
    };
    let name = named(&layer).ok_or_else(|| wrong(&layer))?;
    let Some(object) = layer.as_object_mut() else { return Err(wrong(&layer)) };
    let calls = match object.remove("inbound_nodes") {
        Some(Json::Array(calls)) => calls,
        _ => Vec::new(),
    };
    // A layer of Functional models has its name beside its config, too.
    object.remove("name");
    let (mut inputs, mut mask, mut constants) = (Vec::new(), None, Vec::new());
    let count = calls.len();
    for mut call in calls {
        // Keras 3 writes the mask that reaches a layer as an argument of the call.
        let told = call.get_mut("kwargs").and_then(|arguments| arguments.get_mut("mask"));
        if let Some(told) = told.filter(|told| told.is_object())
            && let [only] = &names_of(told)[..]
        {
            mask = Some(only.clone());
            *told = Json::Null;
        }
        check_arguments(&name, &call)?;
        let arguments = call.get("args").and_then(Json::as_array).into_iter().flatten();
        constants.extend(arguments.filter(|argument| argument.is_number()).cloned());
        collect_inputs(&call, &mut inputs);
    }
    Ok((name, Node { calls: count, inputs, mask, constants, object: layer }))
}

/// Refuses calls with arguments beside the input, which would change what the layer computes.
fn check_arguments(layer: &str, call: &Json) -> Result<()> {
    // In Keras 3 `training` is a default, in whose place `fit`, `evaluate` and `predict` put their own. In Keras 2 it
    // holds always.
    let today = call.get("kwargs").is_some();
    let harmless = |key: &str, value: &Json| match (key, value) {
        (_, Json::Null) | ("training" | "mask", Json::Bool(false)) => true,
        ("training", Json::Bool(true)) => today,
        _ => false,
    };
    let keywords = call.get("kwargs").into_iter().chain(call.as_array().into_iter().flatten().filter_map(|input| {
        // Keras 2: [layer, node, tensor, keywords].
        input.as_array().and_then(|parts| parts.get(3))
    }));
    for (key, value) in keywords.filter_map(Json::as_object).flatten() {
        if !harmless(key, value) {
            let value = crate::config::brief(value);
            return Err(Error::unsupported(format!("layer `{layer}` called with `{key}` = {value}"), SUPPORTED));
        }
    }
    Ok(())
}

/// The names of the layers on whose outputs a call is made, in any form that Keras has written them.
fn collect_inputs(call: &Json, inputs: &mut Vec<String>) {
    match call {
        // Keras 2: [layer, node, tensor, keywords].
        Json::Array(parts) => match (parts.first(), parts.get(1)) {
            (Some(Json::String(name)), Some(Json::Number(_))) => inputs.push(name.clone()),
            _ => parts.iter().for_each(|part| collect_inputs(part, inputs)),
        },
        Json::Object(parts) => match parts.get("config").and_then(|config| config.get("keras_history")) {
            Some(history) => collect_inputs(history, inputs),
            None => parts.values().for_each(|part| collect_inputs(part, inputs)),
        },
        _ => {}
    }
}

/// The layers' names in `input_layers` or `output_layers`: `[name, 0, 0]`, or a list or map of those.
fn names_of(ends: &Json) -> Vec<String> {
    let mut names = Vec::new();
    collect_inputs(ends, &mut names);
    names
}

/// The layers in the order of the chain.
fn chain(nodes: &BTreeMap<String, Node>, inputs: &[String], outputs: &[String]) -> Result<Vec<String>> {
    let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, node) in nodes {
        for input in &node.inputs {
            if !nodes.contains_key(input) {
                return Err(Error::argument("inbound_nodes", "layers of the model", format!("`{input}`")));
            }
            users.entry(input).or_default().push(name);
        }
    }
    let branching: BTreeSet<&str> = nodes
        .iter()
        .filter(|(name, node)| {
            node.inputs.len() > 1 || node.calls > 1 || users.get(name.as_str()).is_some_and(|users| users.len() > 1)
        })
        .map(|(name, _)| name.as_str())
        .chain(if inputs.len() > 1 { inputs } else { &[] }.iter().map(String::as_str))
        .chain(if outputs.len() > 1 { outputs } else { &[] }.iter().map(String::as_str))
        .collect();
    let refused = |names: &BTreeSet<&str>| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        Error::unsupported(format!("a Functional model whose graph branches at {}", names.join(", ")), SUPPORTED)
    };
    if !branching.is_empty() {
        return Err(refused(&branching));
    }
    let ([first], [last]) = (inputs, outputs) else {
        return Err(Error::argument("input_layers", "one input and one output", format!("{inputs:?} and {outputs:?}")));
    };
    let mut order = Vec::new();
    let mut next = Some(first.as_str());
    while let Some(name) = next.filter(|_| order.len() <= nodes.len()) {
        order.push(name.to_owned());
        next = if name == last { None } else { users.get(name).and_then(|users| users.first().copied()) };
    }
    let reached: BTreeSet<&str> = order.iter().map(String::as_str).collect();
    let others: BTreeSet<&str> = nodes.keys().map(String::as_str).filter(|name| !reached.contains(name)).collect();
    if !others.is_empty() {
        return Err(refused(&others));
    }
    if order.len() != nodes.len() || order.last() != Some(last) {
        return Err(Error::argument("inbound_nodes", format!("a chain that ends at `{last}`"), format!("{order:?}")));
    }
    Ok(order)
}

/// Whether a class is that of a model told as a graph.
pub(super) fn is_graph(class: &str) -> bool {
    ["Functional", "Model"].contains(&class)
}

/// The object of a Functional model as that of a Sequential one; others stay.
///
/// # Errors
/// As [`to_sequential`].
pub(super) fn as_sequential(object: Json) -> Result<Json> {
    let Json::Object(mut object) = object else { return Ok(object) };
    if !object.get("class_name").and_then(Json::as_str).is_some_and(is_graph) {
        return Ok(Json::Object(object));
    }
    let Some(Json::Object(config)) = object.remove("config") else {
        return Err(Error::argument("config", "an object", "nothing"));
    };
    object.insert("class_name".into(), json!("Sequential"));
    object.insert("config".into(), Json::Object(to_sequential(config)?));
    Ok(Json::Object(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A layer of Keras 3 that is called on the outputs of others.
    fn layer(class: &str, name: &str, inputs: &[&str]) -> Json {
        let tensor = |name: &&str| json!({"class_name": "__keras_tensor__", "config": {"shape": [null, 3], "dtype": "float32", "keras_history": [name, 0, 0]}});
        let arguments: Vec<Json> = inputs.iter().map(tensor).collect();
        let arguments = if inputs.len() > 1 { json!([arguments]) } else { json!(arguments) };
        let calls = if inputs.is_empty() { json!([]) } else { json!([{"args": arguments, "kwargs": {"mask": null}}]) };
        json!({"module": "keras.layers", "class_name": class, "config": {"name": name}, "name": name, "inbound_nodes": calls})
    }

    fn functional(layers: Vec<Json>, inputs: Json, outputs: Json) -> Config {
        let config = json!({"name": "functional", "trainable": true, "layers": layers, "input_layers": inputs, "output_layers": outputs});
        config.as_object().unwrap().clone()
    }

    fn names(config: &Config) -> Vec<&str> {
        config["layers"].as_array().unwrap().iter().map(|layer| layer["config"]["name"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_chain_is_put_in_order() {
        let layers = vec![layer("Dense", "b", &["a"]), layer("InputLayer", "in", &[]), layer("Dense", "a", &["in"])];
        for (inputs, outputs) in [
            (json!(["in", 0, 0]), json!(["b", 0, 0])),
            (json!([["in", 0, 0]]), json!([["b", 0, 0]])),
            (json!({"x": ["in", 0, 0]}), json!({"y": ["b", 0, 0]})),
        ] {
            let config = to_sequential(functional(layers.clone(), inputs, outputs)).unwrap();
            assert_eq!(names(&config), ["in", "a", "b"]);
            assert!(config["layers"][1].get("inbound_nodes").is_none());
        }
    }

    #[test]
    fn the_calls_of_keras_2_are_read() {
        let mut layers = vec![layer("InputLayer", "in", &[]), layer("Dense", "a", &[])];
        layers[1]["inbound_nodes"] = json!([[["in", 0, 0, {}]]]);
        let config = functional(layers.clone(), json!([["in", 0, 0]]), json!([["a", 0, 0]]));
        assert_eq!(names(&to_sequential(config).unwrap()), ["in", "a"]);
        layers[1]["inbound_nodes"] = json!([[["in", 0, 0, {"training": true}]]]);
        let config = functional(layers, json!([["in", 0, 0]]), json!([["a", 0, 0]]));
        assert!(to_sequential(config).unwrap_err().to_string().contains("`a` called with `training` = true"));
    }

    #[test]
    fn branches_are_named() {
        let refused = |layers: Vec<Json>, outputs: Json| {
            to_sequential(functional(layers, json!(["in", 0, 0]), outputs)).unwrap_err().to_string()
        };
        let input = || layer("InputLayer", "in", &[]);
        let skip = vec![input(), layer("Dense", "a", &["in"]), layer("Add", "sum", &["in", "a"])];
        assert!(refused(skip, json!(["sum", 0, 0])).contains("branches at `in`, `sum`"));
        let two = vec![input(), layer("Dense", "a", &["in"]), layer("Dense", "b", &["in"])];
        assert!(refused(two, json!([["a", 0, 0], ["b", 0, 0]])).contains("branches at `a`, `b`, `in`"));
        let mut twice = vec![input(), layer("Dense", "a", &["in"])];
        let call = twice[1]["inbound_nodes"][0].clone();
        twice[1]["inbound_nodes"] = json!([call, call]);
        assert!(refused(twice, json!(["a", 0, 0])).contains("`a`"));
        let early = vec![input(), layer("Dense", "a", &["in"]), layer("Dense", "b", &["a"])];
        assert!(refused(early, json!(["a", 0, 0])).contains("branches at `b`"));
    }

    #[test]
    fn circles_and_gaps_are_refused() {
        let circle = vec![layer("Dense", "a", &["b"]), layer("Dense", "b", &["a"])];
        assert!(to_sequential(functional(circle, json!(["a", 0, 0]), json!(["c", 0, 0]))).is_err());
        let gap = vec![layer("InputLayer", "in", &[]), layer("Dense", "a", &["none"])];
        assert!(to_sequential(functional(gap, json!(["in", 0, 0]), json!(["a", 0, 0]))).is_err());
        assert!(to_sequential(functional(Vec::new(), json!([]), json!([]))).is_err());
        let names = vec![layer("Dense", "a", &[]), layer("Dense", "a", &[])];
        assert!(to_sequential(functional(names, json!(["a", 0, 0]), json!(["a", 0, 0]))).is_err());
    }
}
