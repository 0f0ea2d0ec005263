//! `Sequential`: the description of a model and, once built, the model.

mod config;
mod files;
mod forward;
mod module;
mod nested;
mod plan;
mod sequential;
pub mod summary;
mod weights;

pub use files::{Contents, FileFormat, LoadWeights, StoredWeight};
pub(crate) use forward::Forward;
pub use forward::Mode;
pub(crate) use nested::container_keys;
pub use sequential::{LayerRef, Sequential};
pub use weights::Weight;
pub(crate) use weights::weight_name;
