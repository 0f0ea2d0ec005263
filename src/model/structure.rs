//! The structure of a Functional model's inputs and outputs.

/// The structure in which a model's inputs or outputs are passed and returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Structure {
    /// A single one.
    Single,
    /// A list.
    List,
    /// A dictionary with these keys, sorted.
    Named(Vec<String>),
}

/// The data of a Functional model besides its layers and their calls.
#[derive(Clone, Debug)]
pub(crate) struct Functional {
    /// The index of the `InputLayer` of each input.
    pub inputs: Vec<usize>,
    pub input_structure: Structure,
    pub output_structure: Structure,
    /// The number of proper layers; those after them are operations, such as a sum of two values.
    pub layers: usize,
}
