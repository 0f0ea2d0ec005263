//! A model's summary: its layers' rows and its parameter counts.

use super::super::as_model::nested_model;
use super::super::graph::shapes_of;
use super::super::graph::{Node, ValueId};
use super::super::order::{GraphOrder, Vertex, order};
use super::super::structure::{Functional, Structure};
use super::super::summary::{Connection, ParamCount, Row, Summary};
use super::{Built, Model};
use crate::compile::Compiled;
use crate::layers::Operation;
use crate::shape::Shape;

impl Model {
    /// The table of layers, output shapes and parameters; print it with `println!("{}", …)`.
    ///
    /// The rows of a Functional model are its inputs, layers and operations in Keras's order; unless it is a plain
    /// chain, the table has a column with the sources of each layer's inputs.
    pub fn summary(&self) -> Summary {
        let mut rows = Vec::new();
        self.push_rows(&mut rows, 0, self.built.get());
        if let Some(batch) = self.batch_size() {
            let shapes = rows.iter_mut().flat_map(|row| &mut row.output_shapes);
            shapes.for_each(|shape| *shape = shape.or_batch(batch));
        }
        let (trainable, rest) = self.built.get().map_or((0, 0), |built| self.count_by_trainable(built));
        let mut summary = Summary::new(self.name(), rows, ParamCount::float32(trainable), ParamCount::float32(rest));
        summary.connected = self.functional.as_ref().is_some_and(|own| !self.is_chain(own));
        summary.input_shape = self.input_shape().ok().cloned();
        summary.optimizer = self.compiled.as_ref().and_then(Compiled::optimizer_params).map(ParamCount::float32);
        summary
    }

    fn push_rows(&self, rows: &mut Vec<Row>, level: usize, built: Option<&Built>) {
        let order = self.functional.as_ref().and_then(|own| self.order(own));
        let listed = order.map_or_else(|| (0..self.layers.len()).collect(), |order| order.operations);
        let calls = self.graph.calls(self.layers.len());
        for index in listed {
            let layer = &*self.layers[index];
            let specs = built.map(|built| &built.specs[index]);
            let shapes = built.map_or_else(Vec::new, |built| self.shapes_by_call(index, &calls[index], built));
            let inputs = calls[index].iter().flat_map(|node| node.in_order());
            let nested = nested_model(layer);
            let names = nested.and_then(|model| model.functional.as_ref()).map(|own| &own.output_structure);
            rows.push(Row {
                name: layer.name().to_owned(),
                class_name: layer.class_name().to_owned(),
                same_shapes: shapes.windows(2).all(|pair| pair[0] == pair[1]),
                output_shapes: shapes.into_iter().next_back().unwrap_or_default(),
                output_names: if let Some(Structure::Named(names)) = names { names.clone() } else { Vec::new() },
                params: specs.map_or(0, |specs| specs.iter().fold(0, |sum, spec| spec.count().saturating_add(sum))),
                built: built.is_some(),
                trainable: self.common.trainable && layer.common().trainable,
                is_operation: layer.as_any().is::<Operation>(),
                connections: inputs.filter_map(|id| self.connection(id)).collect(),
                level,
            });
            if let Some(nested) = nested {
                // A nested model's shapes depend on its call.
                let inputs = built.zip(self.graph.first_call(index));
                let inputs = inputs.map(|(built, node)| shapes_of(&built.shapes, node));
                let inner = inputs.and_then(|inputs| nested.build_for(&inputs).ok());
                nested.push_rows(rows, level + 1, inner);
            }
        }
    }

    /// The shapes of a layer's outputs, per call; those of the input for an input layer.
    fn shapes_by_call(&self, layer: usize, calls: &[&Node], built: &Built) -> Vec<Vec<Shape>> {
        let input = self.functional.as_ref().and_then(|own| own.inputs.iter().position(|input| *input == layer));
        if let Some(id) = input {
            return built.shapes.get(id).map(|shape| vec![vec![shape.clone()]]).unwrap_or_default();
        }
        let shapes = calls.iter().map(|node| built.shapes.get(node.output..node.output + node.outputs));
        shapes.map(|shapes| shapes.unwrap_or_default().to_vec()).collect()
    }

    /// The source of a value of a Functional model.
    fn connection(&self, id: ValueId) -> Option<Connection> {
        let functional = self.functional.as_ref()?;
        let (layer, call, output) = match self.graph.producer(id) {
            Some(node) => (node.layer, node.number, id - node.output),
            None => (*functional.inputs.get(id)?, 0, 0),
        };
        Some(Connection { layer: self.layers[layer].name().to_owned(), call, output })
    }

    /// Keras's order of the layers and calls. The calls are the inputs followed by the nodes of the graph.
    fn order(&self, functional: &Functional) -> Option<GraphOrder> {
        let inputs = self.graph.inputs();
        let call_of = |id: ValueId| self.graph.index_of(id).map_or(id, |node| inputs + node);
        let input = |layer: &usize| Vertex { operation: *layer, parents: Vec::new() };
        let mut vertices: Vec<Vertex> = functional.inputs.iter().map(input).collect();
        vertices.extend(
            self.graph.nodes().iter().map(|node| Vertex {
                operation: node.layer,
                parents: node.in_order().into_iter().map(call_of).collect(),
            }),
        );
        let outputs: Vec<usize> = self.graph.outputs().iter().copied().map(call_of).collect();
        order(&vertices, &(0..inputs).collect::<Vec<_>>(), &outputs)
    }

    /// Whether Keras considers a Functional model a chain: one call at each depth, on one value, and no layer called
    /// twice. It can have several outputs.
    fn is_chain(&self, functional: &Functional) -> bool {
        let one_each =
            self.order(functional).is_some_and(|order| order.depths.windows(2).all(|pair| pair[0] != pair[1]));
        one_each && self.graph.nodes().iter().all(|node| node.in_order().len() == 1 && node.call == 0)
    }

    /// The numbers of trainable and of other parameters.
    pub(super) fn count_by_trainable(&self, built: &Built) -> (usize, usize) {
        let mut counts = (0usize, 0usize);
        for (layer, specs) in self.layers.iter().zip(&built.specs) {
            for spec in specs {
                let trainable = self.common.trainable && layer.common().trainable && spec.trainable;
                let count = if trainable { &mut counts.0 } else { &mut counts.1 };
                *count = count.saturating_add(spec.count());
            }
        }
        counts
    }
}
