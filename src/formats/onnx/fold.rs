//! Folding factors and summands of channels, such as those of a batch normalization, into the weights before them.

use std::collections::HashMap;

use super::graph::{Constant, Edge, OnnxGraph, OnnxNode};

/// The axis of a weight along which an operator's output channels lie.
fn channels(operator: &str) -> Option<usize> {
    match operator {
        "Conv" => Some(0),
        "ConvTranspose" | "Gemm" => Some(1),
        _ => None,
    }
}

impl OnnxGraph {
    /// Folds `Mul` and `Add` by a constant for each channel into the `Conv`, `ConvTranspose` or `Gemm` before them.
    pub(super) fn fold(&mut self) {
        let mut uses: HashMap<Edge, usize> = HashMap::new();
        for edge in self.nodes.iter().flat_map(|node| node.inputs.iter().flatten()) {
            *uses.entry(*edge).or_default() += 1;
        }
        for port in &self.outputs {
            *uses.entry(port.edge).or_default() += 1;
        }
        let mut nodes: Vec<OnnxNode> = Vec::with_capacity(self.nodes.len());
        let mut made: HashMap<Edge, usize> = HashMap::new();
        for node in std::mem::take(&mut self.nodes) {
            if let Some(folded) = self.folded(&node, &nodes, &made, &uses) {
                let before = &mut nodes[folded.0];
                before.inputs[1] = Some(folded.1);
                before.inputs.truncate(2);
                before.inputs.push(Some(folded.2));
                before.outputs[0] = node.outputs[0];
                made.insert(node.outputs[0], folded.0);
                continue;
            }
            for output in &node.outputs {
                made.insert(*output, nodes.len());
            }
            nodes.push(node);
        }
        self.nodes = nodes;
    }

    /// The node before, with its new weights and bias.
    fn folded(
        &mut self,
        node: &OnnxNode,
        nodes: &[OnnxNode],
        made: &HashMap<Edge, usize>,
        uses: &HashMap<Edge, usize>,
    ) -> Option<(usize, Edge, Edge)> {
        let multiplies = match node.operator {
            "Mul" => true,
            "Add" => false,
            _ => return None,
        };
        let (Some(Some(one)), Some(Some(other))) = (node.inputs.first(), node.inputs.get(1)) else { return None };
        let (value, by) = if self.constants.contains_key(other) { (one, other) } else { (other, one) };
        if uses.get(value) != Some(&1) {
            return None;
        }
        let index = *made.get(value)?;
        let before = nodes.get(index)?;
        let axis = channels(before.operator)?;
        if before.operator == "ConvTranspose" && before.int("group").unwrap_or(1) != 1 {
            return None;
        }
        let [weight, bias] = [1, 2].map(|index| before.inputs.get(index).copied().flatten());
        let Some(Constant::Floats { sizes, values }) = self.constants.get(&weight?) else { return None };
        let count = *sizes.get(axis)?;
        // (Gemm has two axes, of which the last are the channels.)
        let rank = if before.operator == "Gemm" { 2 } else { sizes.len() };
        let numbers = self.for_each(*by, count, 1, rank)?;
        let old = match bias.map(|bias| self.constants.get(&bias)) {
            None => vec![0.0; count],
            Some(Some(Constant::Floats { values, .. })) if values.len() == count => values.clone(),
            Some(_) => return None,
        };
        let (new, weights) = match multiplies {
            true => {
                let inner: usize = sizes[axis + 1..].iter().product();
                let scaled =
                    values.iter().enumerate().map(|(index, value)| value * numbers[index / inner.max(1) % count]);
                let weights = Constant::floats(sizes.clone(), scaled.collect());
                (old.iter().zip(&numbers).map(|(old, number)| old * number).collect(), Some(weights))
            }
            false => (old.iter().zip(&numbers).map(|(old, number)| old + number).collect(), None),
        };
        let name = before.name.clone();
        self.enter(&name);
        let weight = match weights {
            Some(weights) => self.constant("weight", weights),
            None => weight?,
        };
        let bias = self.constant("bias", Constant::floats([count], new));
        Some((index, weight, bias))
    }

    /// The numbers for each of `count` channels along an axis, if a constant has them.
    fn for_each(&self, edge: Edge, count: usize, axis: usize, rank: usize) -> Option<Vec<f32>> {
        let Constant::Floats { sizes, values } = self.constants.get(&edge)? else { return None };
        if values.len() == 1 && sizes.len() <= rank {
            return Some(vec![values[0]; count]);
        }
        let first = rank.checked_sub(sizes.len())?;
        let fits = |(index, size): (usize, &usize)| *size == if first + index == axis { count } else { 1 };
        (values.len() == count && first <= axis && sizes.iter().enumerate().all(fits)).then(|| values.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Element;
    use super::*;

    #[test]
    fn a_factor_and_a_summand_go_into_a_convolution() {
        let mut graph = OnnxGraph::new();
        let x = graph.input("x", Element::Float, vec![]);
        let weight = graph.constant("weight", Constant::floats([2, 1, 1, 2], vec![1.0, 2.0, 3.0, 4.0]));
        let y = graph.apply("Conv", &[x, weight], vec![]);
        let factor = graph.constant("factor", Constant::floats([1, 2, 1, 1], vec![2.0, 10.0]));
        let y = graph.apply("Mul", &[y, factor], vec![]);
        let summand = graph.constant("summand", Constant::floats([2, 1, 1], vec![0.5, 1.5]));
        let y = graph.apply("Add", &[y, summand], vec![]);
        graph.output("y", y, vec![]);
        graph.simplify();
        assert_eq!(graph.nodes.len(), 1);
        let inputs: Vec<&Constant> =
            graph.nodes[0].inputs[1..].iter().flatten().map(|edge| &graph.constants[edge]).collect();
        assert_eq!(inputs[0], &Constant::floats([2, 1, 1, 2], vec![2.0, 4.0, 30.0, 40.0]));
        assert_eq!(inputs[1], &Constant::floats([2], vec![0.5, 1.5]));
    }

    #[test]
    fn a_convolution_that_is_used_elsewhere_stays() {
        let mut graph = OnnxGraph::new();
        let x = graph.input("x", Element::Float, vec![]);
        let weight = graph.constant("weight", Constant::floats([1, 1, 1, 1], vec![1.0]));
        let conv = graph.apply("Conv", &[x, weight], vec![]);
        let factor = graph.constant("factor", Constant::number(2.0));
        let y = graph.apply("Mul", &[conv, factor], vec![]);
        let y = graph.apply("Add", &[y, conv], vec![]);
        graph.output("y", y, vec![]);
        graph.simplify();
        assert_eq!(graph.nodes.len(), 3);
    }
}
