//! Models with arbitrarily connected layers: Keras's Functional models.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use super::Model;
use super::core::{Built, CallCount, check_calls, check_name, rules, same_weights};
use super::graph::{Graph, Node, ValueId};
use super::order::{Vertex, order};
use super::structure::{Functional, Structure};
use crate::config::snake_case;
use crate::error::{Error, Result};
use crate::layers::{Arguments, Layer, Operation, in_layer};
use crate::text::UniqueNames;

impl Model {
    /// The names of the inputs, in order: those of their `Input` layers.
    pub fn input_names(&self) -> Vec<String> {
        match &self.functional {
            Some(functional) => functional.inputs.iter().map(|layer| self.layers[*layer].name().to_owned()).collect(),
            None => vec![self.input_name.clone().unwrap_or_else(|| "input_layer".to_owned())],
        }
    }

    /// The names of the outputs, in order: those of the layers that produce them.
    pub fn output_names(&self) -> Vec<String> {
        let name = |id: &ValueId| match (self.graph.producer(*id), &self.functional) {
            (Some(node), _) => self.layers[node.layer].name().to_owned(),
            (None, Some(functional)) => self.layers[functional.inputs[*id]].name().to_owned(),
            (None, None) => self.name().to_owned(),
        };
        self.graph.outputs().iter().map(name).collect()
    }
}

impl Model {
    /// The keys of the inputs in data: the names of the input layers, or the keys of a model whose inputs are a dict in
    /// Keras.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let (a, b) = (Input::new(2).name("a").symbol(), Input::new(2).name("b").symbol());
    /// let model = Model::new([&a, &b], &Add::new().name("sum").call([&a, &b])?)?;
    /// assert_eq!((model.input_keys(), model.output_keys()), (vec!["a".into(), "b".into()], vec!["sum".to_owned()]));
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub fn input_keys(&self) -> Vec<String> {
        match self.functional.as_ref().map(|functional| &functional.input_structure) {
            Some(Structure::Named(keys)) => keys.clone(),
            _ => self.input_names(),
        }
    }

    /// The keys of the outputs in `compile`, data and logs: the names of their layers, or the keys of a model that
    /// returns a dict in Keras.
    pub fn output_keys(&self) -> Vec<String> {
        match self.functional.as_ref().map(|functional| &functional.output_structure) {
            Some(Structure::Named(keys)) => keys.clone(),
            _ => self.output_names(),
        }
    }
}

/// A call in a description of a graph: a layer, and the outputs of other calls as its inputs.
pub(super) struct Called {
    pub layer: usize,
    /// The index of the call among those of its layer, in order of creation.
    pub number: usize,
    /// The call and the index of its output.
    pub inputs: Vec<(usize, usize)>,
    /// Masks that replace those of the inputs.
    pub masks: Vec<Option<(usize, usize)>>,
    pub arguments: Arguments,
}

impl Called {
    /// The call of an input layer.
    pub fn input(layer: usize) -> Self {
        Self { layer, number: 0, inputs: Vec::new(), masks: Vec::new(), arguments: Arguments::new() }
    }
}

/// A description of a graph, in any order.
pub(super) struct Description {
    pub name: String,
    pub layers: Vec<Box<dyn Layer>>,
    /// An `InputLayer` is called once, without inputs.
    pub calls: Vec<Called>,
    pub inputs: Vec<usize>,
    pub outputs: Vec<(usize, usize)>,
    pub input_structure: Structure,
    pub output_structure: Structure,
}

impl Description {
    /// The model, with its layers in Keras's order.
    pub fn build(self) -> Result<Model> {
        let vertices: Vec<Vertex> = self
            .calls
            .iter()
            .map(|call| Vertex {
                operation: call.layer,
                parents: call.arguments.in_order(&call.inputs, &call.masks).into_iter().map(|own| own.0).collect(),
            })
            .collect();
        let outputs: Vec<usize> = self.outputs.iter().map(|(call, _)| *call).collect();
        let order = order(&vertices, &self.inputs, &outputs).ok_or_else(|| {
            let names = self.calls.iter().map(|call| format!("`{}`", self.layers[call.layer].name()));
            Error::unsupported(
                format!("a cycle of calls among {}", names.collect::<Vec<_>>().join(", ")),
                "graphs without one",
            )
        })?;

        let mut taken: Vec<Option<Box<dyn Layer>>> = self.layers.into_iter().map(Some).collect();
        let mut positions = vec![0; taken.len()];
        let mut layers: Vec<Box<dyn Layer>> = Vec::with_capacity(order.operations.len());
        let mut names = BTreeSet::new();
        // Operations are not layers: they come last.
        let is_layer =
            |operation: &usize| taken[*operation].as_ref().is_some_and(|layer| !layer.as_any().is::<Operation>());
        let (real, operations): (Vec<usize>, Vec<usize>) = order.operations.iter().partition(|own| is_layer(own));
        let count = real.len();
        for operation in real.iter().chain(&operations) {
            let Some(layer) = taken[*operation].take() else { continue };
            in_layer(&*layer, check_name(layer.name()))?;
            if !names.insert(layer.name().to_owned()) {
                return Err(Error::DuplicateName { model: self.name, name: layer.name().to_owned() });
            }
            positions[*operation] = layers.len();
            layers.push(layer);
        }

        let mut model = Model::chain();
        model.common.name = Some(self.name);
        let mut graph = Graph::new(self.inputs.len());
        // The first output of each call.
        let mut ids: Vec<Option<ValueId>> = vec![None; self.calls.len()];
        let mut built = Built { shapes: Vec::new(), specs: vec![Vec::new(); layers.len()], weights: OnceLock::new() };
        let mut counts = vec![1; self.calls.len()];
        check_calls(self.outputs.len(), "outputs of a model")?;
        let mut all_calls = CallCount::default();
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for (id, call) in self.inputs.iter().enumerate() {
            let index = positions[self.calls[*call].layer];
            let layer = &*layers[index];
            if ids[*call].replace(id).is_some() {
                return Err(Error::DuplicateName { model: model.name().to_owned(), name: layer.name().to_owned() });
            }
            if layer.class_name() != "InputLayer" {
                return in_layer(layer, Err(Error::argument("input_layers", "an `InputLayer`", layer.class_name())));
            }
            let shape = layer.common().input_shape.clone();
            let shape = shape.ok_or_else(|| Error::argument("input_shape", "the shape of one sample", "nothing"));
            let shape = in_layer(layer, shape.and_then(|shape| layer.output_shape(&shape)))?;
            in_layer(layer, layer.common().check_batch_size())?;
            built.shapes.push(shape);
            inputs.push(index);
        }
        for call in &order.calls {
            if ids[*call].is_some() {
                continue;
            }
            let called = &self.calls[*call];
            let index = positions[called.layer];
            let layer = &*layers[index];
            if called.inputs.is_empty() {
                let problem = Error::argument(
                    "inputs",
                    "the model's inputs to lead to all outputs",
                    "an input that is not among them",
                );
                return in_layer(layer, Err(problem));
            }
            let id_of = |(parent, output): &(usize, usize)| {
                let first = ids[*parent].filter(|_| *output < counts[*parent]);
                first.map(|first| first + output).ok_or_else(|| {
                    Error::argument("inputs", format!("one of the {} outputs of that call", counts[*parent]), output)
                })
            };
            all_calls.count(layer)?;
            let values = in_layer(layer, called.inputs.iter().map(id_of).collect::<Result<Vec<_>>>())?;
            let masks = called.masks.iter().map(|mask| mask.as_ref().map(id_of).transpose());
            let masks = in_layer(layer, masks.collect::<Result<Vec<_>>>())?;
            let shapes: Vec<_> = values.iter().map(|id| built.shapes[*id].clone()).collect();
            let (outputs, specs) = in_layer(layer, rules(layer, &shapes, &called.arguments))?;
            counts[*call] = outputs.len();
            let arguments = called.arguments.clone();
            let (number, outputs_made) = (called.number, outputs.len());
            let id = graph.call(Node { number, masks, arguments, outputs: outputs_made, ..Node::new(index, values) });
            ids[*call] = Some(id);
            built.shapes.extend(outputs);
            if graph.call_count(index) == 1 {
                built.specs[index] = specs;
            } else {
                in_layer(layer, same_weights(&built.specs[index], &specs))?;
            }
        }
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for (call, output) in &self.outputs {
            let id = ids[*call].filter(|_| *output < counts[*call]);
            outputs.push(
                id.map(|id| id + output)
                    .ok_or_else(|| Error::argument("outputs", "values that the graph has", output))?,
            );
        }
        graph.set_outputs(outputs);
        let (input_structure, output_structure) = (self.input_structure, self.output_structure);
        model.functional = Some(Functional { inputs, input_structure, output_structure, layers: count });
        model.layers = layers;
        model.graph = graph;
        model.built = OnceLock::from(built);
        model.check_stateful()?;
        model.check_texts()?;
        Ok(model)
    }
}

/// Names unnamed layers like Keras, starting with the bare class name: `dense`, `dense_1`, …
pub(crate) fn name_layers<'a>(layers: impl Iterator<Item = &'a mut Box<dyn Layer>>) {
    let mut layers: Vec<_> = layers.collect();
    let default = |layer: &dyn Layer| {
        super::nested_model(layer).is_some() && ["sequential", "functional"].contains(&layer.name())
    };
    let (mut given, mut unnamed) = (Vec::new(), Vec::new());
    for (index, layer) in layers.iter().enumerate() {
        if layer.common().name.is_none() || default(&***layer) {
            unnamed.push(index);
        } else {
            given.push(layer.name().to_owned());
        }
    }
    let mut names: UniqueNames = given.into_iter().collect();
    for index in unnamed {
        let layer = &mut layers[index];
        let base = match layer.class_name() {
            "InputLayer" => "input_layer".to_owned(),
            class => snake_case(class),
        };
        layer.common_mut().name = Some(names.take(base));
    }
}
