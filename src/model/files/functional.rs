//! Functional models in Keras's JSON: layers, each with its calls.
//!
//! Keras 3 writes a call with its arguments, Keras 2 as a list of tensors.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value as Json, json};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::layers::{self, Arguments, INITIAL_STATE, Layer, MASK, Operation, ValueKind, tensors};
use crate::model::functional::{Called, Description};
use crate::model::graph::{Node, ValueId};
use crate::model::structure::{Functional, Structure};
use crate::model::{Model, nested_model};

/// A tensor, identified by its layer, the index of the call and that of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reference {
    layer: String,
    call: usize,
    output: usize,
}

/// The arguments of a call.
#[derive(Debug, Default)]
struct RawCall {
    inputs: Vec<Reference>,
    masks: Vec<Option<Reference>>,
    named: Vec<(String, Vec<Option<Reference>>)>,
    /// The names of the trailing inputs that were passed by name.
    by_name: Vec<String>,
    options: Config,
}

/// The version of Keras that wrote the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KerasVersion {
    Keras2,
    Keras3,
}

fn wrong(argument: &str, expected: &str, received: &Json) -> Error {
    Error::argument(argument, expected, received.to_string().chars().take(80).collect::<String>())
}

/// Whether a class is that of a model described as a graph.
pub(in crate::model) fn is_graph(class: &str) -> bool {
    ["Functional", "Model"].contains(&class)
}

/// The model described by a Functional config, without its name.
///
/// # Errors
/// [`Error::Argument`] for an invalid graph, [`Error::Unsupported`] for an unsupported layer or call argument,
/// [`Error::Layer`] for a layer's error.
pub(in crate::model) fn from_config(mut config: Config) -> Result<Model> {
    let objects = match config.remove("layers") {
        Some(Json::Array(objects)) => objects,
        _ => return Err(Error::argument("config", "the key `layers` with a list", "none")),
    };
    let mut own: Vec<Box<dyn Layer>> = Vec::with_capacity(objects.len());
    let mut index_of: HashMap<String, usize> = HashMap::with_capacity(objects.len());
    let mut raw: Vec<Vec<Json>> = Vec::with_capacity(objects.len());
    let mut writer = None;
    // The kinds of values other than floats.
    let mut kinds: HashMap<String, ValueKind> = HashMap::new();
    for mut object in objects {
        let Some(fields) = object.as_object_mut() else { return Err(wrong("layers", "objects", &object)) };
        let mut calls = match fields.shift_remove("inbound_nodes") {
            None | Some(Json::Null) => Vec::new(),
            Some(Json::Array(calls)) => calls,
            Some(other) => return Err(wrong("inbound_nodes", "a list of calls", &other)),
        };
        if let Some(call) = calls.first() {
            writer.get_or_insert(if call.is_object() { KerasVersion::Keras3 } else { KerasVersion::Keras2 });
        }
        let named = fields.shift_remove("name");
        let named = named.filter(Json::is_string).or_else(|| fields.get("config")?.get("name").cloned());
        let Some(name) = named.as_ref().and_then(Json::as_str).map(str::to_owned) else {
            return Err(wrong("layers", "objects with a `name`", &object));
        };
        let mut layer: Box<dyn Layer> = match operation(&object, &name, &mut calls, &kinds)? {
            Some(operation) => {
                kinds.insert(name.clone(), operation.kind());
                operation.into()
            }
            None => {
                if object.get("class_name").and_then(Json::as_str) == Some("InputLayer") {
                    let dtype = object.get("config").and_then(|config| config.get("dtype")).and_then(Json::as_str);
                    kinds.insert(name.clone(), ValueKind::of_dtype(dtype).unwrap_or(ValueKind::Float));
                }
                layers::from_keras(object)?
            }
        };
        layer.common_mut().name = Some(name.clone());
        if index_of.insert(name.clone(), own.len()).is_some() {
            return Err(Error::argument("layers", "layers with distinct names", format!("`{name}` twice")));
        }
        own.push(layer);
        raw.push(calls);
    }
    let writer = writer.unwrap_or(KerasVersion::Keras3);

    // The index of each layer's first call; an input layer has one without arguments.
    let mut first = Vec::with_capacity(own.len());
    let mut parsed = Vec::new();
    for (index, (layer, calls)) in own.iter().zip(&raw).enumerate() {
        first.push(parsed.len());
        let is_input = layer.class_name() == "InputLayer";
        if is_input {
            parsed.push((index, RawCall::default()));
        }
        for call in calls.iter().filter(|_| !is_input) {
            let call = match writer {
                _ if layer.as_any().is::<Operation>() => operation_call(call),
                KerasVersion::Keras3 => keras_3_call(&**layer, call)?,
                KerasVersion::Keras2 => keras_2_call(&**layer, call)?,
            };
            parsed.push((index, call));
        }
    }
    let count = |layer: usize| first.get(layer + 1).copied().unwrap_or(parsed.len()) - first[layer];
    // Keras 2 counts the calls of a nested model from 1, Keras 3 only at the ends of the graph.
    let output_of = |reference: &Reference, is_end: bool| -> Result<(usize, usize)> {
        let Some(layer) = index_of.get(&reference.layer).copied() else {
            let received = format!("`{}`", reference.layer);
            return Err(Error::argument("inbound_nodes", "the name of a layer of the model", received));
        };
        let from_one = match (nested_model(&*own[layer]), writer) {
            (None, _) => false,
            (Some(_), KerasVersion::Keras2) => true,
            (Some(model), KerasVersion::Keras3) => is_end && model.functional().is_some(),
        };
        let call = reference.call.checked_sub(usize::from(from_one)).filter(|call| *call < count(layer));
        let call = call.ok_or_else(|| {
            let expected = format!("one of the {} calls of layer `{}`", count(layer), reference.layer);
            Error::argument("inbound_nodes", expected, reference.call)
        })?;
        Ok((first[layer] + call, reference.output))
    };
    let mut calls = Vec::with_capacity(parsed.len());
    for (index, (layer, call)) in parsed.iter().enumerate() {
        let mut inputs = call.inputs.iter().map(|input| output_of(input, false)).collect::<Result<Vec<_>>>()?;
        let masks = call.masks.iter().map(|mask| mask.as_ref().map(|mask| output_of(mask, false)).transpose());
        let masks = masks.collect::<Result<Vec<_>>>()?;
        let mut arguments = Arguments::new();
        for (name, tensors) in &call.named {
            arguments.push_named(name, tensors.iter().map(Option::is_some).collect());
            for tensor in tensors.iter().flatten() {
                inputs.push(output_of(tensor, false)?);
            }
        }
        for (name, value) in &call.options {
            arguments.set_option(name, value.clone());
        }
        arguments.set_by_name(call.by_name.clone());
        calls.push(Called { layer: *layer, number: index - first[*layer], inputs, masks, arguments });
    }
    let mut ends = |key: &str| -> Result<(Vec<(usize, usize)>, Structure)> {
        let (references, structure) = ends(config.remove(key).unwrap_or(Json::Null), key)?;
        Ok((references.iter().map(|reference| output_of(reference, true)).collect::<Result<_>>()?, structure))
    };
    let (inputs, input_structure) = ends("input_layers")?;
    let (outputs, output_structure) = ends("output_layers")?;
    if let Some(unknown) = config.keys().find(|key| key.as_str() != "dtype") {
        let known = "name, layers, input_layers, output_layers";
        return Err(Error::unsupported(format!("key `{unknown}` of a Functional model"), known));
    }
    let description = Description {
        name: "functional".into(),
        layers: own,
        calls,
        inputs: inputs.into_iter().map(|(call, _)| call).collect(),
        outputs,
        input_structure,
        output_structure,
    };
    description.build()
}

/// The inputs or outputs of a graph: one tensor, a list, or a dictionary of them.
fn ends(value: Json, key: &str) -> Result<(Vec<Reference>, Structure)> {
    if let Some(reference) = reference_of_list(&value) {
        return Ok((vec![reference], Structure::Single));
    }
    let leaf = |value: &Json| -> Result<Reference> {
        let inner =
            value.as_array().and_then(|list| if let [only] = &list[..] { reference_of_list(only) } else { None });
        reference_of_list(value).or(inner).ok_or_else(|| wrong(key, "tensors as [layer, call, output]", value))
    };
    match &value {
        Json::Array(list) if !list.is_empty() => Ok((list.iter().map(leaf).collect::<Result<_>>()?, Structure::List)),
        Json::Object(fields) if !fields.is_empty() => {
            let sorted: BTreeMap<&String, &Json> = fields.iter().collect();
            let references = sorted.values().map(|value| leaf(value)).collect::<Result<_>>()?;
            Ok((references, Structure::Named(sorted.into_keys().cloned().collect())))
        }
        other => Err(wrong(key, "at least one tensor as [layer, call, output]", other)),
    }
}

fn number(value: &Json) -> Option<usize> {
    value.as_u64().and_then(|number| number.try_into().ok())
}

/// `[layer, call, output]`.
fn reference_of_list(value: &Json) -> Option<Reference> {
    let [layer, call, output] = &value.as_array()?[..] else { return None };
    Some(Reference { layer: layer.as_str()?.to_owned(), call: number(call)?, output: number(output)? })
}

/// A tensor in Keras 3's form.
fn keras_tensor(value: &Json) -> Option<Reference> {
    if value.get("class_name")?.as_str()? != "__keras_tensor__" {
        return None;
    }
    reference_of_list(value.get("config")?.get("keras_history")?)
}

/// Only tensors, a list of them, possibly nested like the states of several cells, or something else.
enum CallArgument {
    Tensors(Vec<Option<Reference>>),
    Other(Json),
}

fn argument(value: &Json, tensor: impl Fn(&Json) -> Option<Reference>) -> CallArgument {
    if let Some(reference) = tensor(value) {
        return CallArgument::Tensors(vec![Some(reference)]);
    }
    if let Some(list) = value.as_array() {
        let elements = list.iter().flat_map(|value| match value.as_array() {
            Some(inner) if tensor(value).is_none() => inner.iter().collect(),
            _ => vec![value],
        });
        let elements: Vec<&Json> = elements.collect();
        let tensors: Vec<Option<Reference>> = elements.iter().map(|value| tensor(value)).collect();
        let others = elements.iter().zip(&tensors).any(|(value, tensor)| tensor.is_none() && !value.is_null());
        if tensors.iter().any(Option::is_some) && !others {
            return CallArgument::Tensors(tensors);
        }
    }
    CallArgument::Other(value.clone())
}

impl RawCall {
    /// Takes an argument passed by name.
    fn take_named(&mut self, layer: &dyn Layer, name: &str, value: CallArgument) {
        match value {
            CallArgument::Other(Json::Null) => {}
            // A default that `fit`, `evaluate` and `predict` override.
            CallArgument::Other(Json::Bool(_)) if name == "training" => {}
            CallArgument::Tensors(tensors) if name == MASK => self.masks = tensors,
            CallArgument::Tensors(tensors) if layer.call_parameters().contains(&name) => {
                for tensor in tensors.into_iter().flatten() {
                    self.inputs.push(tensor);
                    self.by_name.push(name.to_owned());
                }
            }
            CallArgument::Tensors(tensors) => self.named.push((name.to_owned(), tensors)),
            CallArgument::Other(value) => {
                self.options.insert(name.to_owned(), value);
            }
        }
    }
}

/// The operation described by an object, if it is one. A Keras 2 call is converted to Keras 3's form.
fn operation(
    object: &Json,
    name: &str,
    calls: &mut [Json],
    kinds: &HashMap<String, ValueKind>,
) -> Result<Option<Operation>> {
    let is_keras_2 = Operation::is_keras_2(object);
    if !is_keras_2 && !Operation::is_one(object) {
        return Ok(None);
    }
    let in_operation = |error: Error| {
        let class_name = object.get("class_name").and_then(Json::as_str).unwrap_or_default().to_owned();
        Error::Layer { layer: name.to_owned(), class_name, source: Box::new(error) }
    };
    let [call] = calls else {
        let what = format!("{} calls of one operation", calls.len());
        return Err(in_operation(Error::unsupported(what, "one call of each")));
    };
    let is_tensor = |value: &Json| keras_tensor(value).is_some();
    let operation = if is_keras_2 {
        let kind = |layer: &str| kinds.get(layer).copied().unwrap_or(ValueKind::Float);
        Operation::translated(object, call, &kind).and_then(|(object, translated)| {
            *call = translated;
            Operation::from_keras(&object, Some(call), is_tensor)
        })
    } else {
        Operation::from_keras(object, Some(call), is_tensor)
    };
    operation.map(Some).map_err(in_operation)
}

/// The call of an operation in Keras 3's form.
fn operation_call(call: &Json) -> RawCall {
    let found = tensors(call, &|value| keras_tensor(value).is_some());
    RawCall { inputs: found.into_iter().filter_map(keras_tensor).collect(), ..RawCall::default() }
}

/// `{"args": […], "kwargs": {…}}`.
fn keras_3_call(layer: &dyn Layer, call: &Json) -> Result<RawCall> {
    let mut raw = RawCall::default();
    let (Some(args), kwargs) = (call.get("args").and_then(Json::as_array), call.get("kwargs")) else {
        return Err(wrong("inbound_nodes", "calls with `args` and `kwargs`", call));
    };
    let parameters = layer.call_parameters();
    for (index, value) in args.iter().enumerate() {
        match argument(value, keras_tensor) {
            CallArgument::Tensors(tensors) if index < parameters.len() => {
                raw.inputs.extend(tensors.into_iter().flatten())
            }
            CallArgument::Other(Json::Null) if index > 0 => {}
            _ => {
                let what = format!(
                    "layer `{}` called with {}",
                    layer.name(),
                    value.to_string().chars().take(80).collect::<String>()
                );
                return Err(Error::unsupported(what, "tensors as positional arguments"));
            }
        }
    }
    let empty = Map::new();
    let kwargs = kwargs.and_then(Json::as_object).unwrap_or(&empty);
    // Those that stand for positional ones are put in the order of the layer's parameters.
    let position = |name: &str| parameters.iter().position(|parameter| *parameter == name).unwrap_or(usize::MAX);
    let mut sorted: Vec<(&String, &Json)> = kwargs.iter().collect();
    sorted.sort_by_key(|(name, _)| position(name));
    for (name, value) in sorted {
        raw.take_named(layer, name, argument(value, keras_tensor));
    }
    Ok(raw)
}

/// `[[layer, call, output, {…}], …]`, one entry for each tensor.
fn keras_2_call(layer: &dyn Layer, call: &Json) -> Result<RawCall> {
    let mut raw = RawCall::default();
    let entries = call.as_array().ok_or_else(|| wrong("inbound_nodes", "calls as lists of tensors", call))?;
    let mut named: Map<String, Json> = Map::new();
    for entry in entries {
        let fields = entry.as_array().map(Vec::as_slice).unwrap_or_default();
        let (Some(reference), rest) =
            (fields.get(..3).and_then(|start| reference_of_list(&json!(start))), fields.get(3))
        else {
            return Err(wrong("inbound_nodes", "tensors as [layer, call, output, arguments]", entry));
        };
        raw.inputs.push(reference);
        // The arguments are repeated for every tensor.
        for (name, value) in rest.and_then(Json::as_object).into_iter().flatten() {
            named.insert(name.clone(), value.clone());
        }
    }
    let parameters = layer.call_parameters();
    let position = |name: &str| parameters.iter().position(|parameter| *parameter == name).unwrap_or(usize::MAX);
    let mut sorted: Vec<(&String, &Json)> = named.iter().collect();
    sorted.sort_by_key(|(name, _)| position(name));
    for (name, value) in sorted {
        raw.take_named(layer, name, argument(value, reference_of_list));
    }
    if layer.takes_initial_state() && raw.inputs.len() > 1 {
        let states = raw.inputs.drain(1..).map(Some).collect();
        if raw.named.iter().any(|(name, _)| name == INITIAL_STATE) {
            return Err(Error::unsupported(format!("states of layer `{}` given twice", layer.name()), "once"));
        }
        raw.named.push((INITIAL_STATE.into(), states));
    }
    Ok(raw)
}

/// Initial states, in lists of these lengths if there are any.
fn states(tensors: Vec<Json>, lists: &[usize]) -> Json {
    if lists.iter().sum::<usize>() != tensors.len() {
        return json!(tensors);
    }
    let mut tensors = tensors.into_iter();
    lists.iter().map(|count| json!(tensors.by_ref().take(*count).collect::<Vec<_>>())).collect()
}

/// The config of a Functional model, without its name.
pub(in crate::model) fn to_config(model: &Model, functional: &Functional) -> Result<Config> {
    let graph = model.graph();
    let shapes = model.shapes().unwrap_or_default();
    let mut numbers: BTreeMap<ValueId, (usize, usize, usize)> = BTreeMap::new();
    for (id, layer) in functional.inputs.iter().enumerate() {
        numbers.insert(id, (*layer, 0, 0));
    }
    let calls = graph.calls(model.all_layers().len());
    // Calls outside this model leave no gap in the numbering.
    for (layer, calls) in calls.iter().enumerate() {
        for (index, node) in calls.iter().enumerate() {
            for output in 0..node.outputs {
                numbers.insert(node.output + output, (layer, index, output));
            }
        }
    }
    let name = |layer: usize| model.all_layers()[layer].name();
    let tensor = |id: &ValueId| {
        let (layer, call, output) = numbers[id];
        let history = json!([name(layer), call, output]);
        let config = json!({ "shape": shapes[*id], "dtype": "float32", "keras_history": history });
        json!({ "class_name": "__keras_tensor__", "config": config })
    };
    let call = |node: &Node| {
        let layer = &*model.all_layers()[node.layer];
        let by_name = node.arguments.by_name();
        let positional = node.arguments.positional(node.inputs.len()).saturating_sub(by_name.len());
        let tensors: Vec<Json> = node.inputs[..positional].iter().map(tensor).collect();
        if let Some(operation) = layer.as_any().downcast_ref::<Operation>() {
            return operation.call(tensors);
        }
        let is_list = !tensors.is_empty() && layer.takes_a_list(positional);
        let args = if is_list { json!([tensors]) } else { json!(tensors) };
        let mut kwargs = Map::new();
        let mut given: Vec<Json> = node.inputs[positional..].iter().take(by_name.len()).map(tensor).collect();
        for names in by_name.chunk_by(|a, b| a == b) {
            let list: Vec<Json> = given.drain(..names.len().min(given.len())).collect();
            let value = if layer.takes_a_list(list.len()) { json!(list) } else { list.into_iter().next().into() };
            kwargs.insert(names[0].clone(), value);
        }
        for (name, present) in node.arguments.named() {
            let elements = node.arguments.elements(name, node.inputs.len());
            let tensors: Vec<Json> =
                elements.iter().map(|index| index.map_or(Json::Null, |index| tensor(&node.inputs[index]))).collect();
            // A list of one stays a list for a state, and is a bare tensor for anything else.
            let value = match name {
                INITIAL_STATE => states(tensors, &layer.state_lists()),
                _ if present.len() == 1 => tensors.into_iter().next().into(),
                _ => json!(tensors),
            };
            kwargs.insert(name.to_owned(), value);
        }
        match &node.masks[..] {
            [] => {}
            [Some(mask)] => {
                kwargs.insert(MASK.into(), tensor(mask));
            }
            masks => {
                let masks: Vec<Json> = masks.iter().map(|mask| mask.as_ref().map_or(Json::Null, tensor)).collect();
                kwargs.insert(MASK.into(), json!(masks));
            }
        }
        kwargs.extend(node.arguments.options().clone());
        json!({ "args": args, "kwargs": kwargs })
    };
    let mut objects = Vec::with_capacity(model.all_layers().len());
    for (index, layer) in model.all_layers().iter().enumerate() {
        let mut object = match layer.as_any().downcast_ref::<Operation>() {
            Some(operation) => operation.to_keras(),
            None => layers::to_keras(&**layer)?,
        };
        if let Some(input) = functional.inputs.iter().position(|own| *own == index) {
            object["config"] = json!({
                "batch_shape": layer.common().batch_size.map_or(shapes[input].clone(), |size| shapes[input].with_batch(size)), "dtype": layer.common().dtype.as_deref().unwrap_or("float32"), "sparse": false, "ragged": false,
                "name": layer.name(),
            });
        }
        object["name"] = json!(layer.name());
        object["inbound_nodes"] = calls[index].iter().copied().map(call).collect();
        objects.push(object);
    }
    let leaf = |id: &ValueId| {
        let (layer, call, output) = numbers[id];
        // The ends of the graph count the calls of a nested Functional model from 1.
        let nested = nested_model(&*model.all_layers()[layer]).is_some_and(|model| model.functional().is_some());
        json!([name(layer), call + usize::from(nested), output])
    };
    let ends = |ids: &[ValueId], structure: &Structure| match structure {
        Structure::Single => ids.first().map_or(Json::Null, leaf),
        Structure::List => ids.iter().map(leaf).collect(),
        Structure::Named(names) => Json::Object(names.iter().cloned().zip(ids.iter().map(leaf)).collect()),
    };
    let inputs: Vec<ValueId> = (0..graph.inputs()).collect();
    let mut config = Config::new();
    config.insert("layers".into(), Json::Array(objects));
    config.insert("input_layers".into(), ends(&inputs, &functional.input_structure));
    config.insert("output_layers".into(), ends(graph.outputs(), &functional.output_structure));
    Ok(config)
}
