//! Files: Keras's own formats, and writing that never leaves half a file behind.
//!
//! Nothing here knows layers or tensors: a file is read into plain [`Array`]s and JSON, and written from them.
//! [`Model::save`](crate::Model::save) and [`Sequential::load`](crate::Sequential::load) stand on it; use it
//! by itself to look into files without a model, or to write them for other programs.
//!
//! Files are not trusted: what one may ask for is bounded by [`Limits`].

mod array;
pub mod atomic;
pub(crate) mod foreign;
pub mod keras;
pub(crate) mod limits;
#[cfg(feature = "recipes")]
pub(crate) mod recipe_text;
pub(crate) mod regular;
pub mod safetensors;
#[cfg(feature = "tensorboard")]
pub mod tfevents;

pub use array::{Array, Elements};
pub(crate) use array::{memory_of, shape_text};
pub use limits::Limits;
pub use regular::read_text;
