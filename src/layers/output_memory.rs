//! Whether a layer's output shares its input's buffer.

/// Where a layer's output lies in memory, for the estimate of a model's memory: [`Layer::output_memory`].
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
    /// Its own buffer.
    Own,
    /// A view of the input's buffer in another shape.
    View,
    /// A part of the input's buffer, or a copy if the part is small.
    Part,
}
