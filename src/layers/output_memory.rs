//! Whether a layer's output shares the memory of its input.

/// Where a layer's output lies in memory, for the estimate of what a model needs: [`Layer::output_memory`].
///
/// ```
/// use brasa::layers::{Layer, OutputMemory};
/// use brasa::prelude::*;
/// assert_eq!(Flatten::new().output_memory(), OutputMemory::View);
/// assert_eq!(Dense::new(3).output_memory(), OutputMemory::Own);
/// ```
///
/// [`Layer::output_memory`]: super::Layer::output_memory
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutputMemory {
    /// A buffer of its own.
    Own,
    /// That of the input, whose values it has in another shape.
    View,
    /// A part of that of the input, or a copy where the part is small.
    Part,
}
