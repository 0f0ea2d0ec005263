//! Cancelling transposes, and removing what nothing uses.
//!
//! Operators on images and sequences want another order of the axes than Keras has, so that each of them is written
//! between two transposes. A transpose is moved down through operators that work element by element or along an axis,
//! until it meets its inverse or an operator that needs its result.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::graph::{Attribute, Constant, Edge, OnnxGraph, OnnxNode, permuted};

/// Operators of any number of inputs that work element by element, with NumPy's broadcasting.
const ELEMENT_WISE: [&str; 36] = [
    "Abs",
    "Add",
    "And",
    "Cast",
    "Ceil",
    "Clip",
    "Div",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Floor",
    "Greater",
    "GreaterOrEqual",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Less",
    "Log",
    "Max",
    "Min",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "PRelu",
    "Pow",
    "Relu",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Sub",
    "Tanh",
];

/// Operators that work along the axis in their attribute `axis`.
const ALONG_AXIS: [&str; 2] = ["Softmax", "LogSoftmax"];

/// Operators that reduce the axes in their attribute `axes`.
const REDUCING: [&str; 3] = ["ReduceMax", "ReduceMean", "ReduceMin"];

/// A value that is another one with its axes in another order.
#[derive(Clone, Debug)]
struct View {
    of: Edge,
    order: Vec<usize>,
}

/// The pass over the nodes, in order.
struct Simplifier<'a> {
    graph: &'a mut OnnxGraph,
    nodes: Vec<OnnxNode>,
    /// Values that are others themselves.
    same: HashMap<Edge, Edge>,
    views: HashMap<Edge, View>,
    /// The transposes that had to be kept: what of, in which order, and their result.
    kept: HashMap<(Edge, Vec<usize>), Edge>,
    /// Integers that were cast to floats.
    integers: HashMap<Edge, Edge>,
}

impl OnnxNode {
    /// The attribute of this name, if it is one of integers.
    pub(super) fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attributes.iter().find_map(|(own, attribute)| match attribute {
            Attribute::Ints(values) if *own == name => Some(values.as_slice()),
            _ => None,
        })
    }

    /// The attribute of this name, if it is an integer.
    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.attributes.iter().find_map(|(own, attribute)| match attribute {
            Attribute::Int(value) if *own == name => Some(*value),
            _ => None,
        })
    }

    /// Sets an attribute.
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<Attribute>) {
        self.attributes.retain(|(own, _)| *own != name);
        self.attributes.push((name, value.into()));
    }
}

impl OnnxGraph {
    /// Cancels transposes, folds constants, and removes what nothing uses.
    pub fn simplify(&mut self) {
        let nodes = std::mem::take(&mut self.nodes);
        let mut pass = Simplifier {
            graph: self,
            nodes: Vec::with_capacity(nodes.len()),
            same: HashMap::new(),
            views: HashMap::new(),
            kept: HashMap::new(),
            integers: HashMap::new(),
        };
        nodes.into_iter().for_each(|node| pass.take(node));
        self.nodes = pass.nodes;
        self.fold();
        self.name_outputs();
        self.remove_unused();
        self.merge_constants();
    }

    /// Lets the makers of the outputs give them their names, where nothing else is in between.
    fn name_outputs(&mut self) {
        for index in (0..self.nodes.len()).rev() {
            let [Some(from)] = self.nodes[index].inputs[..] else { continue };
            let to = self.nodes[index].outputs[0];
            let is_output = |edge: Edge| self.outputs.iter().any(|port| port.edge == edge);
            let is_input = self.inputs.iter().any(|port| port.edge == from) || self.constants.contains_key(&from);
            if self.nodes[index].operator != "Identity" || is_input || is_output(from) || !is_output(to) {
                continue;
            }
            self.nodes.remove(index);
            for edge in
                self.nodes.iter_mut().flat_map(|node| node.outputs.iter_mut().chain(node.inputs.iter_mut().flatten()))
            {
                if *edge == from {
                    *edge = to;
                }
            }
        }
    }

    /// Removes nodes and constants that no output needs.
    fn remove_unused(&mut self) {
        let mut needed: HashSet<Edge> = self.outputs.iter().map(|port| port.edge).collect();
        let mut left = Vec::with_capacity(self.nodes.len());
        for node in std::mem::take(&mut self.nodes).into_iter().rev() {
            if node.outputs.iter().any(|edge| needed.contains(edge)) {
                needed.extend(node.inputs.iter().flatten());
                left.push(node);
            }
        }
        left.reverse();
        self.nodes = left;
        self.constants.retain(|edge, _| needed.contains(edge));
    }

    /// Keeps one of several equal constants, such as the weights of a layer that is called more than once.
    fn merge_constants(&mut self) {
        let mut first: HashMap<(Vec<usize>, u64), Vec<Edge>> = HashMap::new();
        let mut same = HashMap::new();
        for (edge, constant) in &self.constants {
            let found = first.entry(key(constant)).or_default();
            match found.iter().find(|other| self.constants[other] == *constant) {
                Some(other) => {
                    same.insert(*edge, *other);
                }
                None => found.push(*edge),
            }
        }
        for input in self.nodes.iter_mut().flat_map(|node| node.inputs.iter_mut().flatten()) {
            *input = same.get(input).copied().unwrap_or(*input);
        }
        self.constants.retain(|edge, _| !same.contains_key(edge));
    }
}

/// A hash key of constants: sizes, and a sum of the bits.
fn key(constant: &Constant) -> (Vec<usize>, u64) {
    let mixed = |bits: &mut dyn Iterator<Item = u64>| {
        bits.fold(0u64, |sum, bits| sum.wrapping_mul(0x0100_0000_01b3).wrapping_add(bits))
    };
    match constant {
        Constant::Floats { sizes, values } => {
            (sizes.clone(), mixed(&mut values.iter().map(|value| u64::from(value.to_bits()))))
        }
        Constant::Ints(values) => {
            (vec![usize::MAX, values.len()], mixed(&mut values.iter().map(|value| *value as u64)))
        }
        Constant::Int(value) => (vec![usize::MAX], *value as u64),
    }
}

impl Simplifier<'_> {
    fn emit(&mut self, node: OnnxNode) {
        self.nodes.push(node);
    }

    /// The value with its axes in Keras's order.
    fn settled(&mut self, edge: Edge) -> Edge {
        let Some(View { of, order }) = self.views.get(&edge).cloned() else { return edge };
        if let Some(kept) = self.kept.get(&(of, order.clone())) {
            return *kept;
        }
        let perm: Vec<i64> = order.iter().map(|axis| *axis as i64).collect();
        self.emit(OnnxNode {
            operator: "Transpose",
            name: self.graph.names[edge.0].clone(),
            inputs: vec![Some(of)],
            outputs: vec![edge],
            attributes: vec![("perm", Attribute::Ints(perm))],
        });
        self.kept.insert((of, order), edge);
        edge
    }

    /// Makes `to` a view of `of`, or `of` itself if no axis moves.
    fn view(&mut self, to: Edge, of: Edge, order: Vec<usize>) {
        if order.iter().enumerate().all(|(index, axis)| index == *axis) {
            self.same.insert(to, of);
        } else {
            self.views.insert(to, View { of, order });
        }
    }

    fn take(&mut self, mut node: OnnxNode) {
        for input in node.inputs.iter_mut().flatten() {
            *input = self.same.get(input).copied().unwrap_or(*input);
        }
        let taken = match node.operator {
            "Identity" => self.identity(&node),
            "Transpose" => self.transpose(&node),
            "Cast" => self.cast(&mut node) || self.moved(&mut node),
            _ => self.moved(&mut node),
        };
        if !taken {
            for index in 0..node.inputs.len() {
                if let Some(edge) = node.inputs[index] {
                    node.inputs[index] = Some(self.settled(edge));
                }
            }
            self.emit(node);
        }
    }

    fn identity(&mut self, node: &OnnxNode) -> bool {
        let (Some(Some(from)), to) = (node.inputs.first(), node.outputs[0]) else { return false };
        // An output keeps its own value.
        if self.graph.outputs.iter().any(|port| port.edge == to) {
            return false;
        }
        self.same.insert(to, *from);
        true
    }

    fn transpose(&mut self, node: &OnnxNode) -> bool {
        let (Some(Some(from)), Some(order)) = (node.inputs.first(), node.ints("perm")) else { return false };
        let order: Vec<usize> = order.iter().map(|axis| *axis as usize).collect();
        let (of, order) = match self.views.get(from) {
            Some(view) => (view.of, order.iter().map(|axis| view.order[*axis]).collect()),
            None => (*from, order),
        };
        self.view(node.outputs[0], of, order);
        true
    }

    /// Integers that are cast to floats and back stay as they are.
    fn cast(&mut self, node: &mut OnnxNode) -> bool {
        let (Some(Some(from)), Some(to)) = (node.inputs.first().copied(), node.int("to")) else { return false };
        let port = self.graph.inputs.iter().find(|port| port.edge == from);
        if let Some(port) = port
            && port.element != super::Element::Float
        {
            self.integers.insert(node.outputs[0], from);
            return false;
        }
        let Some(original) = self.integers.get(&from).copied() else { return false };
        let element = self.graph.inputs.iter().find(|port| port.edge == original).map(|port| port.element);
        if to == super::Element::Float.code() {
            return false;
        }
        if element.is_some_and(|element| element.code() == to) {
            self.same.insert(node.outputs[0], original);
            return true;
        }
        node.inputs[0] = Some(original);
        false
    }

    /// The integers of a node's constant input.
    fn ints_of(&self, node: &OnnxNode, input: usize) -> Option<&[i64]> {
        match self.graph.constants.get(&node.inputs.get(input).copied().flatten()?)? {
            Constant::Ints(ints) => Some(ints),
            _ => None,
        }
    }

    /// Moves a transpose before the node to behind it; returns whether it has done so.
    fn moved(&mut self, node: &mut OnnxNode) -> bool {
        let views: Vec<Option<View>> =
            node.inputs.iter().map(|input| input.and_then(|edge| self.views.get(&edge).cloned())).collect();
        let Some(order) = views.iter().flatten().next().map(|view| view.order.clone()) else { return false };
        if views.iter().flatten().any(|view| view.order != order) || node.outputs.len() != 1 {
            return false;
        }
        let rank = order.len();
        let counted = |axis: i64| usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok();
        let before = |axis: i64| counted(axis).and_then(|axis| order.get(axis)).map(|axis| *axis as i64);
        let all_before = |axes: &[i64]| axes.iter().map(|axis| before(*axis)).collect::<Option<Vec<i64>>>();
        // The order of the axes behind the node.
        let mut behind = order.clone();
        let mut constants = BTreeMap::new();
        match node.operator {
            operator if ELEMENT_WISE.contains(&operator) || operator == "Where" => {
                for (index, (input, view)) in node.inputs.iter().zip(&views).enumerate() {
                    let Some(edge) = input.filter(|_| view.is_none()) else { continue };
                    match self.graph.constants.get(&edge) {
                        Some(Constant::Floats { values, .. }) if values.len() == 1 => {}
                        Some(Constant::Floats { sizes, values }) if sizes.len() <= rank => {
                            let mut all = vec![1; rank - sizes.len()];
                            all.extend(sizes);
                            let (sizes, values) = permuted(&all, values, &inverse(&order));
                            constants.insert(index, Constant::Floats { sizes, values });
                        }
                        _ => return false,
                    }
                }
            }
            operator if ALONG_AXIS.contains(&operator) => {
                let Some(axis) = before(node.int("axis").unwrap_or(-1)) else { return false };
                node.set("axis", axis);
            }
            operator if REDUCING.contains(&operator) => {
                let Some(mut own) = node.ints("axes").and_then(all_before) else { return false };
                let reduced: Vec<usize> = own.iter().map(|axis| *axis as usize).collect();
                if node.int("keepdims") == Some(0) {
                    behind = without(&order, &reduced);
                }
                own.sort_unstable();
                node.set("axes", own);
            }
            "ReduceSum" => {
                let Some(own) = self.ints_of(node, 1).and_then(all_before) else { return false };
                if node.int("keepdims") == Some(0) {
                    behind = without(&order, &own.iter().map(|axis| *axis as usize).collect::<Vec<_>>());
                }
                constants.insert(1, Constant::Ints(own));
            }
            "Concat" => {
                let Some(axis) = node.int("axis").and_then(before) else { return false };
                if views.iter().any(Option::is_none) {
                    return false;
                }
                node.set("axis", axis);
            }
            "Pad" => {
                let Some(pads) = self.ints_of(node, 1) else { return false };
                let mut own = vec![0; pads.len()];
                for (axis, from) in order.iter().enumerate() {
                    own[*from] = pads[axis];
                    own[rank + from] = pads[rank + axis];
                }
                constants.insert(1, Constant::Ints(own));
            }
            "Slice" => {
                let Some(own) = self.ints_of(node, 3).and_then(all_before) else { return false };
                constants.insert(3, Constant::Ints(own));
            }
            _ => return false,
        }
        for (input, view) in node.inputs.iter_mut().zip(&views) {
            if let Some(view) = view {
                *input = Some(view.of);
            }
        }
        self.graph.enter("");
        for (index, constant) in constants {
            let name = node.inputs[index].map_or("constant", |edge| self.graph.names[edge.0].as_str()).to_owned();
            node.inputs[index] = Some(self.graph.constant(&name, constant));
        }
        let to = node.outputs[0];
        let own = self.graph.named(&node.name);
        node.outputs[0] = own;
        // The transpose behind it, if it stays, has the old name.
        node.name.clone_from(&self.graph.names[own.0]);
        self.emit(node.clone());
        self.view(to, own, behind);
        true
    }
}

fn inverse(order: &[usize]) -> Vec<usize> {
    let mut back = vec![0; order.len()];
    order.iter().enumerate().for_each(|(to, from)| back[*from] = to);
    back
}

/// The order of the axes that are left without those `reduced`, which are counted before it.
fn without(order: &[usize], reduced: &[usize]) -> Vec<usize> {
    let left = |axis: &usize| !reduced.contains(axis);
    let axis_left = |axis: &usize| (0..*axis).filter(left).count();
    order.iter().filter(|axis| left(axis)).map(axis_left).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Dimension, Element};
    use super::*;

    fn image(graph: &mut OnnxGraph) -> Edge {
        let sizes = [4, 5, 6, 3].map(Dimension::Known).to_vec();
        graph.input("x", Element::Float, sizes)
    }

    fn turned(graph: &mut OnnxGraph, x: Edge, order: [i64; 4]) -> Edge {
        graph.apply("Transpose", &[x], vec![("perm", order.to_vec().into())])
    }

    const FIRST: [i64; 4] = [0, 3, 1, 2];
    const LAST: [i64; 4] = [0, 2, 3, 1];

    #[test]
    fn inverse_transposes_cancel_through_what_is_between() {
        let mut graph = OnnxGraph::new();
        let mut x = image(&mut graph);
        for _ in 0..3 {
            x = turned(&mut graph, x, FIRST);
            x = graph.apply("MaxPool", &[x], vec![("kernel_shape", vec![1, 1].into())]);
            x = turned(&mut graph, x, LAST);
            let row = graph.constant("row", Constant::floats([3], vec![1.0, 2.0, 3.0]));
            x = graph.apply("Mul", &[x, row], vec![]);
            x = graph.apply("Relu", &[x], vec![]);
        }
        graph.output("y", x, vec![]);
        graph.simplify();
        assert_eq!([graph.count("Transpose"), graph.count("MaxPool"), graph.count("Mul")], [2, 3, 3]);
        let operators: Vec<&str> = graph.nodes.iter().map(|node| node.operator).collect();
        assert_eq!((operators[0], operators[operators.len() - 1]), ("Transpose", "Transpose"));
        // The row lies along the channels, and is there once.
        let rows = graph.constants.values().collect::<Vec<_>>();
        assert_eq!(rows, [&Constant::floats([1, 3, 1, 1], vec![1.0, 2.0, 3.0])]);
    }

    #[test]
    fn a_mean_over_the_image_ends_the_transposes() {
        let mut graph = OnnxGraph::new();
        let x = image(&mut graph);
        let x = turned(&mut graph, x, FIRST);
        let x = graph.apply("MaxPool", &[x], vec![("kernel_shape", vec![1, 1].into())]);
        let x = turned(&mut graph, x, LAST);
        let x = graph.apply("ReduceMean", &[x], vec![("axes", vec![1, 2].into()), ("keepdims", 0.into())]);
        graph.output("y", x, vec![]);
        graph.simplify();
        assert_eq!(graph.count("Transpose"), 1);
        assert_eq!(graph.nodes[2].ints("axes"), Some(&[2, 3][..]));
    }

    #[test]
    fn a_value_used_both_ways_is_transposed_once() {
        let mut graph = OnnxGraph::new();
        let x = image(&mut graph);
        let x = turned(&mut graph, x, FIRST);
        let pooled = graph.apply("MaxPool", &[x], vec![("kernel_shape", vec![1, 1].into())]);
        let x = turned(&mut graph, pooled, LAST);
        let shape = graph.constant("shape", Constant::Ints(vec![0, -1]));
        let flat = graph.apply("Reshape", &[x, shape], vec![]);
        let other = graph.apply("Reshape", &[x, shape], vec![]);
        graph.output("y", flat, vec![]);
        graph.output("z", other, vec![]);
        graph.output("x_again", x, vec![]);
        graph.simplify();
        assert_eq!(graph.count("Transpose"), 2);
    }

    #[test]
    fn a_sum_of_two_orders_is_left_alone() {
        let mut graph = OnnxGraph::new();
        let x = image(&mut graph);
        let first = turned(&mut graph, x, FIRST);
        let pooled = graph.apply("MaxPool", &[first], vec![("kernel_shape", vec![1, 1].into())]);
        let last = turned(&mut graph, pooled, LAST);
        let sum = graph.apply("Add", &[x, last], vec![]);
        graph.output("y", sum, vec![]);
        graph.simplify();
        assert_eq!((graph.count("Transpose"), graph.count("Identity")), (2, 0));
    }

    #[test]
    fn what_nothing_uses_is_removed() {
        let mut graph = OnnxGraph::new();
        let x = image(&mut graph);
        let number = graph.constant("number", Constant::number(1.0));
        graph.apply("Add", &[x, number], vec![]);
        let y = graph.apply("Relu", &[x], vec![]);
        graph.output("y", y, vec![]);
        graph.simplify();
        assert_eq!((graph.nodes.len(), graph.constants.len()), (1, 0));
        assert_eq!(graph.nodes[0].outputs, [graph.outputs[0].edge]);
    }
}
