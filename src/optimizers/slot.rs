//! The state of an optimizer for a weight.

/// The description of a weight for the creation of slots.
#[derive(Clone, Copy, Debug)]
pub struct WeightInfo<'a> {
    /// Its name, such as `dense/kernel`.
    pub path: &'a str,
    /// Its sizes.
    pub sizes: &'a [usize],
}

/// A value that an optimizer keeps for a weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Keras's name of the slot.
    pub name: &'static str,
    /// Its sizes; empty for a scalar.
    pub sizes: Vec<usize>,
    /// The initial value.
    pub start: f32,
    /// Its position in a file: all slots of group 0, weight by weight, then all of group 1, and so on.
    pub group: usize,
}

impl Slot {
    /// A slot of zeros like the weight, in group 0.
    pub fn like(weight: &WeightInfo<'_>, name: &'static str) -> Self {
        Self { name, sizes: weight.sizes.to_vec(), start: 0.0, group: 0 }
    }

    /// The same with another initial value.
    #[must_use]
    pub fn starting_with(self, start: f32) -> Self {
        Self { start, ..self }
    }

    /// The same, in another group.
    #[must_use]
    pub fn in_group(self, group: usize) -> Self {
        Self { group, ..self }
    }

    /// The same, with other sizes.
    #[must_use]
    pub fn of_sizes(self, sizes: &[usize]) -> Self {
        Self { sizes: sizes.to_vec(), ..self }
    }
}
