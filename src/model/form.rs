//! How a Functional model's inputs and outputs are given.

/// How a model's inputs or outputs are given and returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One alone.
    Single,
    /// A list.
    List,
    /// By these keys, which are sorted.
    Named(Vec<String>),
}

/// What a Functional model knows besides its layers and their calls.
#[derive(Clone, Debug)]
pub(crate) struct Functional {
    /// For each input the index of its `InputLayer`.
    pub inputs: Vec<usize>,
    pub input_form: Form,
    pub output_form: Form,
    /// How many of the layers are layers; those after them are operations, such as a sum of two values.
    pub layers: usize,
}
