//! File formats: Keras's own, and atomic writes.
//!
//! This module does not depend on layers or tensors: a file is read into plain [`Array`]s and JSON, and written from
//! them. [`Model::save`](crate::Model::save) and [`Sequential::load`](crate::Sequential::load) build on it; use it
//! directly to inspect files without a model, or to write them for other programs.
//!
//! Files are untrusted: the resources that reading one can take are bounded by [`Limits`].

mod array;
#[doc(hidden)]
pub mod atomic;
pub(crate) mod foreign;
#[doc(hidden)]
pub mod keras;
pub(crate) mod limits;
#[doc(hidden)]
pub mod onnx;
#[cfg(feature = "recipes")]
pub(crate) mod recipe_text;
pub(crate) mod regular;
#[doc(hidden)]
pub mod safetensors;
#[cfg(feature = "tensorboard")]
#[doc(hidden)]
pub mod tfevents;

pub use array::{Array, Elements};
pub(crate) use array::{memory_of, shape_text};
pub use limits::Limits;
pub use regular::read_text;
