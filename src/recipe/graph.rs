//! A recipe's layers as a graph: the `inputs` of layers and the `outputs` of the model.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Config, from_json};
use crate::error::{Error, Result};
use crate::layers::{HasCommon, Input, Layer};
use crate::model::{CallLayer, Model, Symbol, name_layers};

/// The key of a layer's table for the layers it is called on.
pub(super) const INPUTS: &str = "inputs";

/// Whether the tables describe a graph, not a chain.
pub(super) fn is_graph(layers: &[Config], outputs: Option<&Names>) -> bool {
    let inputs = layers.iter().filter(|layer| is_input(layer)).count();
    inputs > 1 || outputs.is_some() || layers.iter().any(|layer| layer.contains_key(INPUTS))
}

fn is_input(layer: &Config) -> bool {
    layer
        .get("class_name")
        .and_then(|class| class.as_str())
        .is_some_and(|class| ["Input", "InputLayer"].contains(&class))
}

/// One name, or a list of them.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(untagged, expecting = "a name, or a list of names")]
pub(super) enum Names {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl Names {
    fn list(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

/// The outputs of a layer, and what leads to them.
#[derive(Clone)]
struct LayerOutputs {
    symbols: Vec<Symbol>,
    /// The model's inputs that they depend on, by index.
    inputs: BTreeSet<usize>,
    /// The layers since the input, if there is one and all of them work on the host.
    on_host: Option<Vec<Box<dyn Layer>>>,
}

/// What a layer is called on, before it is: what it learns from.
pub(super) struct Before<'a> {
    /// The model's inputs so far.
    pub inputs: &'a [Symbol],
    /// What the layer is called on.
    pub on: &'a [Symbol],
    /// The inputs that lead there, by index.
    pub needed: BTreeSet<usize>,
    /// The layers since the input, if there is one and all of them work on the host.
    pub on_host: Option<Vec<Box<dyn Layer>>>,
}

/// The outputs of the layers so far, by the layers' names.
#[derive(Default)]
struct OutputsByName(BTreeMap<String, LayerOutputs>);

impl OutputsByName {
    /// The layer that a name means and the index of its output: the first, or the third for `NAME:2`.
    fn parts<'a>(&self, name: &'a str) -> (&'a str, Option<usize>) {
        match (self.0.contains_key(name), name.rsplit_once(':')) {
            (false, Some((layer, number))) => (layer, number.parse().ok()),
            _ => (name, Some(0)),
        }
    }

    /// The output that a name means.
    fn named(&self, name: &str) -> Result<&Symbol> {
        let (layer, output) = self.parts(name);
        let Some(outputs) = self.0.get(layer) else {
            return Err(Error::unknown("layer", layer, self.0.keys().map(String::as_str)));
        };
        output.and_then(|output| outputs.symbols.get(output)).ok_or_else(|| {
            let expected = format!("one of the {} outputs of `{layer}`, counted from 0", outputs.symbols.len());
            Error::argument(INPUTS, expected, format!("`{name}`"))
        })
    }

    /// What leads to these outputs.
    fn leading_to(&self, names: &[String]) -> (BTreeSet<usize>, Option<Vec<Box<dyn Layer>>>) {
        let all: Vec<&LayerOutputs> = names.iter().filter_map(|name| self.0.get(self.parts(name).0)).collect();
        let inputs = all.iter().flat_map(|outputs| &outputs.inputs).copied().collect();
        match &all[..] {
            [one] => (inputs, one.on_host.clone()),
            _ => (inputs, None),
        }
    }

    fn all(&self, names: &Names) -> Result<Vec<Symbol>> {
        names.list().iter().map(|name| self.named(name).cloned()).collect()
    }
}

/// The names of the inputs among layers that have names, in their order: of one without an `Input`, nothing.
pub(super) fn input_names(tables: &[Config], layers: &[Box<dyn Layer>]) -> Vec<String> {
    let inputs = tables.iter().zip(layers).filter(|(table, _)| is_input(table));
    inputs.map(|(_, layer)| layer.name().to_owned()).collect()
}

/// Builds the model of layer tables, each with its layer. `locate` receives the index of the table that an error is
/// about, or `None` for the `outputs`. Each layer goes
/// through `prepare` before it is called.
pub(super) fn model(
    tables: &[Config],
    mut layers: Vec<Box<dyn Layer>>,
    outputs: Option<&Names>,
    locate: impl Fn(Option<usize>, Error) -> Error,
    mut prepare: impl FnMut(usize, Box<dyn Layer>, Before<'_>) -> Result<Box<dyn Layer>>,
) -> Result<Model> {
    name_layers(layers.iter_mut());
    let names: Vec<String> = layers.iter().map(|layer| layer.name().to_owned()).collect();
    let (mut values, mut inputs) = (OutputsByName::default(), Vec::new());
    let mut last: Option<Vec<Symbol>> = None;
    for (index, (table, layer)) in tables.iter().zip(layers).enumerate() {
        let name = &names[index];
        let call = || -> Result<LayerOutputs> {
            if values.0.contains_key(name) {
                return Err(Error::DuplicateName { model: "functional".into(), name: name.clone() });
            }
            let given: Option<Names> = table.get(INPUTS).map(|names| from_json(INPUTS, names.clone())).transpose()?;
            if let Some(input) = layer.as_any().downcast_ref::<Input>() {
                if given.is_some() {
                    return Err(Error::argument(INPUTS, "none for an `Input`", "some"));
                }
                if input.common().input_shape.is_none() {
                    return Err(Error::argument("input_shape", "the shape of one sample", "nothing"));
                }
                let symbol = input.clone().symbol();
                inputs.push(symbol.clone());
                let own = BTreeSet::from([inputs.len() - 1]);
                return Ok(LayerOutputs { symbols: vec![symbol], inputs: own, on_host: Some(Vec::new()) });
            }
            let (on, (needed, on_host)) = match (given, &last) {
                (Some(names), _) => (values.all(&names)?, values.leading_to(names.list())),
                (None, Some(outputs)) if outputs.len() == 1 => {
                    (outputs.clone(), values.leading_to(std::slice::from_ref(&names[index - 1])))
                }
                (None, Some(outputs)) => {
                    let before = &names[index - 1];
                    let expected =
                        format!("which of the {} outputs of `{before}`, such as \"{before}:1\"", outputs.len());
                    return Err(Error::argument(INPUTS, expected, "nothing"));
                }
                (None, None) => {
                    let shape = layer.common().input_shape.clone();
                    let shape =
                        shape.ok_or_else(|| Error::argument("input_shape", "the shape of one sample", "nothing"))?;
                    let mut input = Input::new(shape.sample().to_vec());
                    input.common_mut().batch_size = layer.common().batch_size;
                    let symbol = input.symbol();
                    inputs.push(symbol.clone());
                    (vec![symbol], (BTreeSet::from([inputs.len() - 1]), Some(Vec::new())))
                }
            };
            let common = layer.common();
            if last.is_some() && (common.input_shape.is_some() || common.batch_size.is_some()) {
                let received = "an `input_shape` or `batch_size` of its own";
                return Err(Error::argument("input_shape", "that of what the layer is called on", received));
            }
            let before = Before { inputs: &inputs, on: &on, needed: needed.clone(), on_host: on_host.clone() };
            let layer = prepare(index, layer, before)?;
            let on_host = on_host.filter(|_| layer.on_host().is_some()).map(|mut layers| {
                layers.push(layer.clone());
                layers
            });
            Ok(LayerOutputs { symbols: layer.call_all(&on)?, inputs: needed, on_host })
        };
        let outputs = call().map_err(|error| locate(Some(index), error))?;
        last = Some(outputs.symbols.clone());
        values.0.insert(name.clone(), outputs);
    }
    let outputs = match (outputs, last) {
        (Some(names), _) => values.all(names).map_err(|error| locate(None, error))?,
        (None, last) => last.unwrap_or_default(),
    };
    let model = match (&inputs[..], &outputs[..]) {
        ([input], [output]) => Model::new(input, output),
        ([input], _) => Model::new(input, &outputs),
        (_, [output]) => Model::new(&inputs, output),
        _ => Model::new(&inputs, &outputs),
    };
    let model = model.map_err(|error| locate(None, error))?;
    // A layer that leads to no output is a mistake.
    match names.iter().position(|name| model.layers().iter().all(|layer| layer.name() != name)) {
        Some(index) => {
            let expected =
                "a layer that leads to an output: name it in `inputs` of another, or in `outputs` of [model]";
            Err(locate(Some(index), Error::argument("name", expected, format!("`{}`", names[index]))))
        }
        None => Ok(model),
    }
}
