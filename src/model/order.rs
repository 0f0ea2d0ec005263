//! The order in which Keras lists the layers of a model, and that in which it executes the calls.
//!
//! Both depend on the graph only; the first determines the weights' paths in files.

use std::cmp::Reverse;

/// A call, reduced to what the order depends on.
pub(super) struct Vertex {
    /// The index of the called layer or operation.
    pub operation: usize,
    /// The calls whose outputs it uses, once per use.
    pub parents: Vec<usize>,
}

/// The orders of a graph.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GraphOrder {
    /// The operations in the order of `model.layers`.
    pub operations: Vec<usize>,
    /// The calls in topological order.
    pub calls: Vec<usize>,
    /// The depth of each call, the distance from an output, non-increasing.
    pub depths: Vec<usize>,
}

/// The orders of the calls that the outputs need.
///
/// An operation's depth is the longest path from it to an output. Operations are sorted by decreasing depth, those of
/// equal depth in the order in which a depth-first traversal from the outputs first reaches them. Unused `inputs` have
/// depth 0 and come first there. `None` if there is a cycle.
pub(super) fn order(vertices: &[Vertex], inputs: &[usize], outputs: &[usize]) -> Option<GraphOrder> {
    let operations = vertices.iter().map(|vertex| vertex.operation + 1).max().unwrap_or(0);
    let mut met: Vec<Option<usize>> = vec![None; operations];
    let mut count = 0;
    // Iterative depth-first traversal: the call, and the next of its parents to visit.
    let mut state = vec![Visit::New; vertices.len()];
    let mut left = Vec::new();
    for output in outputs {
        let mut way: Vec<(usize, usize)> = Vec::new();
        if state[*output] == Visit::New {
            way.push((*output, 0));
        }
        while let Some((call, next)) = way.last_mut() {
            let vertex = &vertices[*call];
            if *next == 0 {
                state[*call] = Visit::Open;
                if met[vertex.operation].is_none() {
                    met[vertex.operation] = Some(count);
                    count += 1;
                }
            }
            match vertex.parents.get(*next) {
                Some(parent) => {
                    *next += 1;
                    match state[*parent] {
                        Visit::New => way.push((*parent, 0)),
                        Visit::Open => return None,
                        Visit::Done => {}
                    }
                }
                None => {
                    state[*call] = Visit::Done;
                    left.push(*call);
                    way.pop();
                }
            }
        }
    }

    let mut depth_of_operation: Vec<usize> = vec![0; operations];
    let mut depths: Vec<Option<usize>> = vec![None; vertices.len()];
    let mut written = Vec::with_capacity(left.len());
    for call in left.into_iter().rev() {
        let vertex = &vertices[call];
        if depths[call].is_none() {
            written.push(call);
        }
        let depth = depths[call].unwrap_or(0).max(depth_of_operation[vertex.operation]);
        depths[call] = Some(depth);
        depth_of_operation[vertex.operation] = depth;
        for parent in &vertex.parents {
            if depths[*parent].is_none() {
                written.push(*parent);
            }
            depths[*parent] = Some(depths[*parent].unwrap_or(0).max(depth + 1));
        }
    }
    // A child can have set a call's depth before another call raised that of its operation.
    let mut used: Vec<(usize, Option<usize>)> = Vec::new();
    for (operation, met) in met.iter().enumerate() {
        if met.is_some() {
            used.push((operation, *met));
        }
    }
    for input in inputs {
        let operation = vertices[*input].operation;
        if met[operation].is_none() {
            used.push((operation, None));
            written.push(*input);
            depths[*input] = Some(0);
        }
    }
    used.sort_by_key(|(operation, met)| (Reverse(depth_of_operation[*operation]), *met));
    written.sort_by_key(|call| Reverse(depths[*call]));
    Some(GraphOrder {
        operations: used.into_iter().map(|(operation, _)| operation).collect(),
        depths: written.iter().map(|call| depths[*call].unwrap_or(0)).collect(),
        calls: written,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    New,
    Open,
    Done,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layers of a model by name, from its calls `(layer, layers called before)`, in Keras's order.
    fn layers(calls: &[(&'static str, &[usize])], inputs: &[usize], outputs: &[usize]) -> Vec<&'static str> {
        let mut names: Vec<&str> = Vec::new();
        let vertices: Vec<Vertex> = calls
            .iter()
            .map(|(name, parents)| {
                let operation = names.iter().position(|own| own == name).unwrap_or_else(|| {
                    names.push(name);
                    names.len() - 1
                });
                Vertex { operation, parents: parents.to_vec() }
            })
            .collect();
        order(&vertices, inputs, outputs).unwrap().operations.into_iter().map(|index| names[index]).collect()
    }

    // The expected orders are from Keras 3.15.1.
    #[test]
    fn branches_of_unequal_length() {
        let calls: &[(&str, &[usize])] =
            &[("in_a", &[]), ("in_b", &[]), ("a1", &[0]), ("a2", &[2]), ("b1", &[1]), ("add", &[4, 3])];
        assert_eq!(layers(calls, &[0, 1], &[5]), ["in_a", "in_b", "a1", "b1", "a2", "add"]);
    }

    #[test]
    fn the_order_of_outputs_counts() {
        let calls: &[(&str, &[usize])] =
            &[("inp", &[]), ("trunk", &[0]), ("short", &[1]), ("long1", &[1]), ("long2", &[3])];
        assert_eq!(layers(calls, &[0], &[2, 4]), ["inp", "trunk", "long1", "short", "long2"]);
        assert_eq!(layers(calls, &[0], &[4, 2]), ["inp", "trunk", "long1", "long2", "short"]);
    }

    #[test]
    fn a_shared_layer_has_its_largest_depth() {
        // p = S(a), q = S(pre(b)), r = S(mid(p)); the concatenation of p, q, r.
        let calls: &[(&str, &[usize])] = &[
            ("in_a", &[]),
            ("in_b", &[]),
            ("shared", &[0]),
            ("pre", &[1]),
            ("shared", &[3]),
            ("mid", &[2]),
            ("shared", &[5]),
            ("cat", &[2, 4, 6]),
        ];
        assert_eq!(layers(calls, &[0, 1], &[7]), ["in_a", "shared", "in_b", "pre", "mid", "cat"]);
    }

    #[test]
    fn an_unused_input_comes_first() {
        let calls: &[(&str, &[usize])] = &[("x", &[]), ("y", &[]), ("dense", &[0])];
        assert_eq!(layers(calls, &[0, 1], &[2]), ["x", "y", "dense"]);
    }

    #[test]
    fn calls_of_a_shared_batch_normalization_come_in_the_order_of_keras() {
        // Its averages are updated by each call: the order of the calls shows.
        let vertices = |first: usize, second: usize| {
            let parents = [vec![], vec![], vec![0], vec![1], vec![first, second]];
            let operations = [0, 1, 2, 2, 3];
            let pairs = operations.into_iter().zip(parents);
            pairs.map(|(operation, parents)| Vertex { operation, parents }).collect::<Vec<_>>()
        };
        let calls = |vertices: Vec<Vertex>, outputs: &[usize]| {
            let calls = order(&vertices, &[0, 1], outputs).unwrap().calls;
            calls.into_iter().filter(|call| [2, 3].contains(call)).collect::<Vec<_>>()
        };
        assert_eq!(calls(vertices(2, 3), &[4]), [2, 3]);
        assert_eq!(calls(vertices(3, 2), &[4]), [3, 2]);
        assert_eq!(calls(vertices(2, 3), &[2, 3]), [3, 2]);
        assert_eq!(calls(vertices(2, 3), &[3, 2]), [2, 3]);
    }

    #[test]
    fn cycles_have_no_order() {
        let vertices = [Vertex { operation: 0, parents: vec![1] }, Vertex { operation: 1, parents: vec![0] }];
        assert_eq!(order(&vertices, &[], &[0]), None);
    }
}
