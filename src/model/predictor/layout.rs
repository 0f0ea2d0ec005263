//! Where the values of a compiled model are: buffers are assigned by liveness.

use super::fusion::Fusion;
use crate::layers::{Frozen, FrozenStep};
use crate::model::plan::Plan;

/// The location of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// In an input of the call.
    Input(usize),
    Buffer(usize),
    /// In an output of the call.
    Output(usize),
}

/// Assignment of a plan's values to locations; a value that shares another's numbers has none of its own.
pub(super) struct Layout {
    /// For each value the last step that uses it; `usize::MAX` for outputs, 0 for one that is not used.
    pub last_use: Vec<usize>,
    /// For each value the output that its step writes directly.
    pub as_output: Vec<Option<usize>>,
    pub locations: Vec<Option<Location>>,
    /// Values per sample of each buffer.
    pub buffers: Vec<usize>,
    free: Vec<usize>,
}

impl Layout {
    /// A layout with the locations of a plan's inputs alone.
    pub fn new(plan: &Plan, fusion: &Fusion<'_>) -> Self {
        let mut last_use = vec![0; plan.value_count];
        for (index, (step, frozen)) in plan.steps.iter().zip(&fusion.frozen).enumerate() {
            if !matches!(frozen, Frozen::Same) {
                let read = step.inputs.iter().map(|(id, _)| fusion.origin[*id]);
                read.chain(fusion.adds_to[index]).for_each(|id| last_use[id] = index);
            }
        }
        // A value that is only an output is written there directly.
        let (feeds, mut as_output) = (plan.feeds.len(), vec![None; plan.value_count]);
        let ends: Vec<usize> = plan.outputs.iter().map(|id| fusion.origin[*id]).collect();
        for (output, id) in ends.iter().enumerate() {
            let is_used = fusion.readers(*id).next().is_some();
            let is_only = ends.iter().filter(|end| *end == id).count() == 1;
            as_output[*id] = Some(output).filter(|_| is_only && !is_used && *id >= feeds);
            last_use[*id] = usize::MAX;
        }
        let mut locations = vec![None; plan.value_count];
        (0..feeds).for_each(|feed| locations[feed] = Some(Location::Input(feed)));
        Self { last_use, as_output, locations, buffers: Vec::new(), free: Vec::new() }
    }

    /// The locations of those of a step's inputs that are used for the last time, each once.
    pub fn ended(&self, inputs: &[usize], step: usize) -> Vec<Location> {
        let mut ended: Vec<usize> = inputs.iter().copied().filter(|id| self.last_use[*id] == step).collect();
        ended.sort_unstable();
        ended.dedup();
        ended.into_iter().filter_map(|id| self.locations[id]).collect()
    }

    /// A buffer for `len` values: the smallest free one that fits, else the largest, which grows, else a new one.
    pub fn buffer(&mut self, len: usize) -> Location {
        let fits = (0..self.free.len()).filter(|at| self.buffers[self.free[*at]] >= len);
        let best = fits.min_by_key(|at| self.buffers[self.free[*at]]);
        let best = best.or_else(|| (0..self.free.len()).max_by_key(|at| self.buffers[self.free[*at]]));
        let Some(at) = best else {
            self.buffers.push(len);
            return Location::Buffer(self.buffers.len() - 1);
        };
        let buffer = self.free.swap_remove(at);
        self.buffers[buffer] = self.buffers[buffer].max(len);
        Location::Buffer(buffer)
    }

    /// Returns a buffer to the free list.
    pub fn free(&mut self, location: Location) {
        if let Location::Buffer(buffer) = location {
            self.free.push(buffer);
        }
    }
}

/// The buffer in which a step with `len` output values can be computed in place: that of an input that it alone reads,
/// and for the last time. Takes the input out of both lists.
pub(super) fn in_place(
    step: &dyn FrozenStep,
    len: usize,
    inputs: &mut Vec<(Location, usize)>,
    ended: &mut Vec<Location>,
) -> Option<Location> {
    if !step.in_place() {
        return None;
    }
    let ends_here = |at: usize| {
        let (location, own) = inputs[at];
        let is_once = inputs.iter().filter(|(other, _)| *other == location).count() == 1;
        matches!(location, Location::Buffer(_)) && own == len && is_once && ended.contains(&location)
    };
    let mut candidates = if inputs.len() == 2 && step.commutes() { 0..2 } else { 0..1 };
    let at = candidates.find(|at| ends_here(*at))?;
    let (location, _) = inputs.remove(at);
    ended.retain(|other| *other != location);
    Some(location)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step that can be computed in place.
    #[derive(Debug)]
    struct Merging {
        commutes: bool,
    }

    impl FrozenStep for Merging {
        fn operations(&self) -> usize {
            1
        }

        fn in_place(&self) -> bool {
            true
        }

        fn commutes(&self) -> bool {
            self.commutes
        }

        fn run(&self, _: &[&[f32]], _: usize, _: usize, _: &mut [f32]) {}
    }

    #[test]
    fn a_step_is_computed_in_place_of_an_input_that_ends() {
        let [a, b, c] = [0, 1, 2].map(Location::Buffer);
        let given = Location::Input(0);
        // The location of four values, and what is left of the inputs and of those that end.
        let place = |commutes: bool, inputs: &[(Location, usize)], ended: &[Location]| {
            let (mut inputs, mut ended) = (inputs.to_vec(), ended.to_vec());
            let location = in_place(&Merging { commutes }, 4, &mut inputs, &mut ended);
            (location, inputs, ended)
        };
        assert_eq!(place(false, &[(a, 4)], &[a]), (Some(a), vec![], vec![]));
        assert_eq!(place(false, &[(a, 4), (b, 2)], &[a, b]), (Some(a), vec![(b, 2)], vec![b]));
        assert_eq!(place(true, &[(a, 4), (b, 4)], &[b]), (Some(b), vec![(a, 4)], vec![]));
        let others = [
            (false, vec![(a, 4), (b, 4)], vec![b]),
            (true, vec![(a, 4), (b, 2)], vec![b]),
            (true, vec![(a, 4), (a, 4)], vec![a]),
            (true, vec![(a, 4), (b, 4), (c, 4)], vec![b, c]),
            (true, vec![(given, 4)], vec![given]),
        ];
        for (commutes, inputs, ended) in others {
            assert_eq!(place(commutes, &inputs, &ended), (None, inputs, ended));
        }
    }
}
