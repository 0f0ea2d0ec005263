//! The graph: operators on values, constants among them.

use std::collections::BTreeMap;

use crate::text::UniqueNames;

/// A value in an [`OnnxGraph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge(pub(super) usize);

/// The type of the elements of an input or output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Element {
    /// 32-bit floats.
    Float,
    /// 32-bit integers.
    Int32,
    /// 64-bit integers.
    Int64,
}

impl Element {
    /// The number that stands for it in ONNX's `TensorProto.DataType`.
    pub fn code(self) -> i64 {
        match self {
            Self::Float => 1,
            Self::Int32 => 6,
            Self::Int64 => 7,
        }
    }
}

/// A size of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dimension {
    /// This size.
    Known(usize),
    /// Any size, by a name.
    Named(String),
}

/// An input or output of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// The value.
    pub edge: Edge,
    /// The type of its elements.
    pub element: Element,
    /// Its sizes.
    pub sizes: Vec<Dimension>,
}

/// An attribute of an operator.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Attribute {
    /// An integer.
    Int(i64),
    /// Integers.
    Ints(Vec<i64>),
    /// A number.
    Float(f32),
    /// Numbers.
    Floats(Vec<f32>),
    /// A text.
    Text(String),
    /// Texts.
    Texts(Vec<String>),
}

impl From<i64> for Attribute {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<Vec<i64>> for Attribute {
    fn from(numbers: Vec<i64>) -> Self {
        Self::Ints(numbers)
    }
}

impl From<f32> for Attribute {
    fn from(number: f32) -> Self {
        Self::Float(number)
    }
}

impl From<Vec<f32>> for Attribute {
    fn from(numbers: Vec<f32>) -> Self {
        Self::Floats(numbers)
    }
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Attribute {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<String>> for Attribute {
    fn from(texts: Vec<String>) -> Self {
        Self::Texts(texts)
    }
}

/// A constant value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Constant {
    /// Numbers of these sizes, row by row.
    Floats {
        /// The sizes; none for a single number.
        sizes: Vec<usize>,
        /// The numbers.
        values: Vec<f32>,
    },
    /// A list of integers.
    Ints(Vec<i64>),
    /// A single integer.
    Int(i64),
}

impl Constant {
    /// A single number.
    pub fn number(value: f32) -> Self {
        Self::Floats { sizes: Vec::new(), values: vec![value] }
    }

    /// Numbers of these sizes.
    pub fn floats(sizes: impl Into<Vec<usize>>, values: Vec<f32>) -> Self {
        Self::Floats { sizes: sizes.into(), values }
    }

    /// The bytes of its elements.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Floats { values, .. } => size_of_val(values.as_slice()),
            Self::Ints(values) => size_of_val(values.as_slice()),
            Self::Int(_) => size_of::<i64>(),
        }
    }
}

/// Numbers of these sizes, row by row: a weight on its way into a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    /// The sizes; none for a single number.
    pub sizes: Vec<usize>,
    /// The numbers.
    pub values: Vec<f32>,
}

impl Numbers {
    /// With the axes in another order: axis `i` of the result is axis `order[i]`.
    #[must_use]
    pub fn permuted(self, order: &[usize]) -> Self {
        let (sizes, values) = permuted(&self.sizes, &self.values, order);
        Self { sizes, values }
    }

    /// In other sizes of the same product.
    #[must_use]
    pub fn reshaped(self, sizes: impl Into<Vec<usize>>) -> Self {
        Self { sizes: sizes.into(), ..self }
    }
}

impl From<Numbers> for Constant {
    fn from(Numbers { sizes, values }: Numbers) -> Self {
        Self::Floats { sizes, values }
    }
}

/// An operator applied to values.
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxNode {
    /// The operator's name in ONNX.
    pub operator: &'static str,
    /// The node's own name.
    pub name: String,
    /// Its inputs; `None` for an optional one that is left out.
    pub inputs: Vec<Option<Edge>>,
    /// Its outputs.
    pub outputs: Vec<Edge>,
    /// Its attributes.
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// A graph of operators. Values are named after the layers that make them ([`enter`](Self::enter)).
#[derive(Clone, Debug, Default)]
pub struct OnnxGraph {
    /// The name of each value.
    pub(super) names: Vec<String>,
    pub(super) constants: BTreeMap<Edge, Constant>,
    /// In an order in which they can be computed.
    pub(super) nodes: Vec<OnnxNode>,
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    taken: UniqueNames,
    scope: String,
}

impl OnnxGraph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names what follows after the layer `name`.
    pub fn enter(&mut self, name: &str) {
        name.clone_into(&mut self.scope);
    }

    fn value(&mut self, name: String) -> Edge {
        let edge = Edge(self.names.len());
        self.names.push(name);
        edge
    }

    /// A value named after the scope.
    pub(super) fn named(&mut self, what: &str) -> Edge {
        let name = if self.scope.is_empty() { what.to_owned() } else { format!("{}/{what}", self.scope) };
        let name = self.taken.take(name);
        self.value(name)
    }

    /// Adds an input.
    pub fn input(&mut self, name: &str, element: Element, sizes: Vec<Dimension>) -> Edge {
        let name = self.taken.take(name.to_owned());
        let edge = self.value(name);
        self.inputs.push(Port { edge, element, sizes });
        edge
    }

    /// Makes a value an output of this name.
    pub fn output(&mut self, name: &str, edge: Edge, sizes: Vec<Dimension>) {
        let name = self.taken.take(name.to_owned());
        let own = self.value(name.clone());
        let node = OnnxNode {
            operator: "Identity",
            name,
            inputs: vec![Some(edge)],
            outputs: vec![own],
            attributes: Vec::new(),
        };
        self.nodes.push(node);
        self.outputs.push(Port { edge: own, element: Element::Float, sizes });
    }

    /// Adds a constant.
    pub fn constant(&mut self, name: &str, constant: Constant) -> Edge {
        let edge = self.named(name);
        self.constants.insert(edge, constant);
        edge
    }

    /// Applies an operator of one output.
    pub fn apply(
        &mut self,
        operator: &'static str,
        inputs: &[Edge],
        attributes: Vec<(&'static str, Attribute)>,
    ) -> Edge {
        let edge = self.named(operator);
        self.push(operator, inputs.iter().copied().map(Some).collect(), vec![edge], attributes);
        edge
    }

    /// Applies an operator of several outputs, with optional inputs.
    pub fn apply_all(
        &mut self,
        operator: &'static str,
        inputs: Vec<Option<Edge>>,
        outputs: usize,
        attributes: Vec<(&'static str, Attribute)>,
    ) -> Vec<Edge> {
        let edges: Vec<Edge> = (0..outputs).map(|_| self.named(operator)).collect();
        self.push(operator, inputs, edges.clone(), attributes);
        edges
    }

    pub(super) fn push(
        &mut self,
        operator: &'static str,
        inputs: Vec<Option<Edge>>,
        outputs: Vec<Edge>,
        attributes: Vec<(&'static str, Attribute)>,
    ) {
        let name = outputs.first().map_or_else(String::new, |edge| self.names[edge.0].clone());
        self.nodes.push(OnnxNode { operator, name, inputs, outputs, attributes });
    }

    /// The node that makes a value.
    pub fn producer(&self, edge: Edge) -> Option<&OnnxNode> {
        self.nodes.iter().rev().find(|node| node.outputs.contains(&edge))
    }

    /// The value of a constant.
    pub fn value_of(&self, edge: Edge) -> Option<&Constant> {
        self.constants.get(&edge)
    }

    /// The number of nodes with this operator.
    pub fn count(&self, operator: &str) -> usize {
        self.nodes.iter().filter(|node| node.operator == operator).count()
    }
}

/// Numbers of these sizes with their axes in another order: axis `i` of the result is axis `order[i]`.
pub(crate) fn permuted(sizes: &[usize], values: &[f32], order: &[usize]) -> (Vec<usize>, Vec<f32>) {
    let to: Vec<usize> = order.iter().map(|axis| sizes[*axis]).collect();
    let mut strides = vec![1; sizes.len()];
    for axis in (1..sizes.len()).rev() {
        strides[axis - 1] = strides[axis] * sizes[axis];
    }
    let steps: Vec<usize> = order.iter().map(|axis| strides[*axis]).collect();
    let mut position = vec![0; to.len()];
    let mut at = 0;
    let mut result = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        result.push(values[at]);
        for axis in (0..to.len()).rev() {
            position[axis] += 1;
            at += steps[axis];
            if position[axis] < to[axis] {
                break;
            }
            at -= steps[axis] * to[axis];
            position[axis] = 0;
        }
    }
    (to, result)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn axes_are_permuted() {
        let values: Vec<f32> = (0..6).map(|value| value as f32).collect();
        assert_eq!(permuted(&[2, 3], &values, &[1, 0]), (vec![3, 2], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
        assert_eq!(permuted(&[2, 1, 3], &values, &[2, 0, 1]).0, [3, 2, 1]);
        assert_eq!(permuted(&[], &[4.0], &[]), (vec![], vec![4.0]));
    }

    #[test]
    fn names_are_unique() {
        let mut graph = OnnxGraph::new();
        let input = graph.input("x", Element::Float, vec![]);
        graph.enter("x");
        let first = graph.apply("Relu", &[input], vec![]);
        let second = graph.apply("Relu", &[first], vec![]);
        graph.output("x", second, vec![]);
        let names: HashSet<&String> = graph.names.iter().collect();
        assert_eq!(names.len(), graph.names.len());
        assert_eq!(graph.names[first.0], "x/Relu");
    }
}
