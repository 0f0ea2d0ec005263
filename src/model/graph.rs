//! The graph of calls: the layers and the values on which they are called.

use crate::layers::Arguments;
use crate::shape::Shape;

/// The index of a value that flows between calls: the model's inputs first, then the outputs of each call in order.
pub(crate) type ValueId = usize;

/// One call of a layer. A shared layer has several.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// The index of the layer.
    pub layer: usize,
    /// The index of the call among those of this layer.
    pub call: usize,
    /// The call's number in Keras, in order of creation, not of execution.
    pub number: usize,
    /// Its input values.
    pub inputs: Vec<ValueId>,
    /// The masks that replace those of its inputs; empty if none are given.
    pub masks: Vec<Option<ValueId>>,
    /// Its other arguments.
    pub arguments: Arguments,
    /// Its first output; the others follow consecutively.
    pub output: ValueId,
    /// The number of its outputs.
    pub outputs: usize,
}

impl Node {
    /// A call of a layer of one output.
    pub fn new(layer: usize, inputs: Vec<ValueId>) -> Self {
        Self {
            layer,
            call: 0,
            number: 0,
            inputs,
            masks: Vec::new(),
            arguments: Arguments::new(),
            output: 0,
            outputs: 1,
        }
    }

    /// All values used, in the order in which Keras lists them.
    pub fn in_order(&self) -> Vec<ValueId> {
        self.arguments.in_order(&self.inputs, &self.masks)
    }

    /// All values used.
    pub fn uses(&self) -> impl Iterator<Item = ValueId> {
        self.inputs.iter().copied().chain(self.masks.iter().copied().flatten())
    }
}

/// The calls of a model in topological order: each comes after those whose outputs it uses.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    inputs: usize,
    nodes: Vec<Node>,
    outputs: Vec<ValueId>,
    /// By layer: its first call and the number of its calls.
    calls: Vec<(usize, usize)>,
}

impl Graph {
    /// A graph of `inputs` inputs without calls. The outputs are the inputs.
    pub fn new(inputs: usize) -> Self {
        Self { inputs, nodes: Vec::new(), outputs: (0..inputs).collect(), calls: Vec::new() }
    }

    /// The number of inputs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The calls, in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The values that are the model's outputs.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// Sets the model's outputs.
    pub fn set_outputs(&mut self, outputs: Vec<ValueId>) {
        self.outputs = outputs;
    }

    /// The number of values.
    pub fn value_count(&self) -> usize {
        self.nodes.last().map_or(self.inputs, |node| node.output + node.outputs)
    }

    /// Adds a call, whose index and outputs follow those before it; returns its first output.
    pub fn call(&mut self, node: Node) -> ValueId {
        let (call, output) = (self.count_call(node.layer), self.value_count());
        self.nodes.push(Node { call, output, ..node });
        output
    }

    /// Appends a layer to a chain.
    pub fn append(&mut self, layer: usize) {
        let output = self.value_count();
        let inputs = vec![output - 1];
        self.count_call(layer);
        self.nodes.push(Node { output, ..Node::new(layer, inputs) });
        self.outputs = vec![output];
    }

    /// Removes the last layer of a chain.
    pub fn remove_last(&mut self) {
        if let Some(node) = self.nodes.pop() {
            self.calls.truncate(node.layer);
        }
        self.outputs = vec![self.value_count() - 1];
    }

    /// Counts a call of a layer; returns the previous count.
    fn count_call(&mut self, layer: usize) -> usize {
        let next = self.nodes.len();
        if self.calls.len() <= layer {
            self.calls.resize(layer + 1, (next, 0));
        }
        let (first, count) = &mut self.calls[layer];
        if *count == 0 {
            *first = next;
        }
        *count += 1;
        *count - 1
    }

    /// The number of calls of a layer.
    pub fn call_count(&self, layer: usize) -> usize {
        self.calls.get(layer).map_or(0, |(_, count)| *count)
    }

    /// The first call of a layer.
    pub fn first_call(&self, layer: usize) -> Option<&Node> {
        let (first, count) = self.calls.get(layer)?;
        if *count == 0 { None } else { self.nodes.get(*first) }
    }

    /// The calls of each layer, sorted by their numbers.
    pub fn calls(&self, layers: usize) -> Vec<Vec<&Node>> {
        let mut calls = vec![Vec::new(); layers];
        for node in &self.nodes {
            if let Some(calls) = calls.get_mut(node.layer) {
                calls.push(node);
            }
        }
        calls.iter_mut().for_each(|calls| calls.sort_by_key(|node| node.number));
        calls
    }

    /// The call that produces a value; `None` for an input.
    pub fn producer(&self, id: ValueId) -> Option<&Node> {
        self.nodes.get(self.index_of(id)?)
    }

    /// The index of that call.
    pub fn index_of(&self, id: ValueId) -> Option<usize> {
        let index = self.nodes.partition_point(|node| node.output + node.outputs <= id);
        self.nodes.get(index).filter(|node| node.output <= id).map(|_| index)
    }

    /// The number of uses of a value, by calls and as an output of the model.
    pub fn uses(&self, id: ValueId) -> usize {
        let used = self.nodes.iter().flat_map(Node::uses).chain(self.outputs.iter().copied());
        used.filter(|used| *used == id).count()
    }

    /// The layer whose only output is output `output` of the model and is not used otherwise.
    pub fn final_layer(&self, output: usize) -> Option<usize> {
        let id = *self.outputs.get(output)?;
        self.producer(id).filter(|node| node.outputs == 1 && self.uses(id) == 1).map(|node| node.layer)
    }

    /// The layers at which the graph is not a chain, in which every call uses exactly the output of its predecessor.
    pub fn branches(&self) -> Vec<usize> {
        let follows = |(index, node): (usize, &Node)| {
            let plain = node.masks.is_empty() && node.arguments.is_empty();
            plain && node.inputs == [index] && node.outputs == 1 && node.call == 0
        };
        let nodes = self.nodes.iter().enumerate().filter(|(index, node)| !follows((*index, node)));
        let mut layers: Vec<usize> = nodes.map(|(_, node)| node.layer).collect();
        if layers.is_empty() && (self.inputs != 1 || self.outputs != [self.value_count() - 1]) {
            layers.extend(self.outputs.iter().filter_map(|id| self.producer(*id)).map(|node| node.layer));
        }
        layers
    }
}

/// The shapes of the inputs of a call.
pub(super) fn shapes_of(shapes: &[Shape], node: &Node) -> Vec<Shape> {
    node.inputs.iter().map(|id| shapes[*id].clone()).collect()
}

/// The shapes of its positional inputs, on which a layer's weights depend.
pub(super) fn positional_shapes(shapes: &[Shape], node: &Node) -> Vec<Shape> {
    let mut shapes = shapes_of(shapes, node);
    shapes.truncate(node.arguments.positional(node.inputs.len()));
    shapes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_one_until_something_branches() {
        let mut graph = Graph::new(1);
        graph.append(0);
        graph.append(1);
        assert!(graph.branches().is_empty());
        assert_eq!((graph.outputs(), graph.final_layer(0)), (&[2][..], Some(1)));
        let sum = graph.call(Node::new(2, vec![1, 2]));
        graph.set_outputs(vec![sum]);
        assert_eq!(graph.branches(), [2]);
        assert_eq!((graph.uses(1), graph.uses(2), graph.uses(sum)), (2, 1, 1));
        graph.set_outputs(vec![sum, 2]);
        assert_eq!((graph.final_layer(0), graph.final_layer(1)), (Some(2), None));
    }

    #[test]
    fn producers_are_found_by_their_outputs() {
        let mut graph = Graph::new(2);
        assert_eq!(graph.call(Node { outputs: 3, ..Node::new(0, vec![0]) }), 2);
        assert_eq!(graph.call(Node::new(0, vec![1])), 5);
        let of = |id| graph.producer(id).map(|node| (node.layer, node.call));
        assert_eq!([of(1), of(2), of(4), of(5), of(6)], [None, Some((0, 0)), Some((0, 0)), Some((0, 1)), None]);
    }
}
