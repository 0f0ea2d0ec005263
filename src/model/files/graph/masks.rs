//! Masks as Keras 3 writes them into a graph: the operations that make one are nodes (`NotEqual`, and `Any` over the
//! features), and the layer that it reaches is called with it. In a chain the layers hand the same mask on by themselves.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{Node, SUPPORTED};
use crate::error::{Error, Result};
use crate::layers::from_keras;

/// What a mask is made of: whose output is compared with which number, and whether a step counts if any feature differs.
#[derive(Debug, PartialEq)]
pub(super) struct Mask {
    of: String,
    value: f64,
    any: bool,
}

/// Takes the operations that make masks, and nothing else, out of the graph; the masks by the names of these.
pub(super) fn take(nodes: &mut BTreeMap<String, Node>) -> BTreeMap<String, Mask> {
    let mut masks = BTreeMap::new();
    for (name, node) in nodes.iter().filter(|(_, node)| is_operation(node, "NotEqual")) {
        if let ([of], [value]) = (&node.inputs[..], &node.constants[..])
            && let Some(value) = value.as_f64()
        {
            masks.insert(name.clone(), Mask { of: of.clone(), value, any: false });
        }
    }
    for (name, node) in nodes.iter().filter(|(_, node)| is_operation(node, "Any")) {
        let over_features = node.argument("axis").is_some_and(|axis| *axis == -1);
        let keeps = node.argument("keepdims").is_some_and(|keeps| *keeps == true);
        if let [of] = &node.inputs[..]
            && let Some(compared) = masks.get(of).filter(|_| over_features && !keeps)
        {
            let mask = Mask { of: compared.of.clone(), value: compared.value, any: true };
            masks.insert(name.clone(), mask);
        }
    }
    // An operation whose result is an input of a layer is part of the model.
    let used = |name: &String| {
        nodes.iter().any(|(user, node)| node.inputs.contains(name) && !masks.get(user).is_some_and(|mask| mask.any))
    };
    let of_the_model: Vec<String> = masks.keys().filter(|name| used(name)).cloned().collect();
    for name in of_the_model {
        masks.remove(&name);
    }
    nodes.retain(|name, _| !masks.contains_key(name));
    masks
}

fn is_operation(node: &Node, class: &str) -> bool {
    // The older form of files has no modules; no layer of Keras has one of these names.
    let module = node.object.get("module").and_then(Json::as_str);
    let is_of_keras = module.is_none_or(|module| module.contains(".ops.") || module.ends_with(".ops"));
    node.class() == class && node.calls == 1 && is_of_keras
}

/// Refuses a mask that is another than the one that the layers of the chain hand on.
pub(super) fn check(nodes: &BTreeMap<String, Node>, order: &[String], masks: &BTreeMap<String, Mask>) -> Result<()> {
    for (place, name) in order.iter().enumerate() {
        let Some(given) = nodes.get(name).and_then(|node| node.mask.as_ref()) else { continue };
        if !reaches(nodes, &order[..place], masks.get(given))? {
            let what = format!("layer `{name}` called with a mask that does not come from the layers before it");
            return Err(Error::unsupported(what, SUPPORTED));
        }
    }
    Ok(())
}

/// Whether the last layer of some that makes a mask makes this one, and those after it hand it on.
fn reaches(nodes: &BTreeMap<String, Node>, before: &[String], mask: Option<&Mask>) -> Result<bool> {
    for node in before.iter().rev().filter_map(|name| nodes.get(name)) {
        let own = |value: f64, any: bool| Mask { of: node.inputs.first().cloned().unwrap_or_default(), value, any };
        let own = match node.class() {
            "Embedding" if node.argument("mask_zero").is_some_and(|zero| *zero == true) => own(0.0, false),
            "Masking" => own(node.argument("mask_value").and_then(Json::as_f64).unwrap_or(0.0), true),
            _ if from_keras(node.object.clone())?.supports_masking() => continue,
            _ => return Ok(false),
        };
        return Ok(mask == Some(&own));
    }
    Ok(false)
}
