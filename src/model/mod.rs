//! `Sequential`: the description of a model and, once built, the model.
//!
//! What Keras's `Sequential` does, by what one wants to do:
//!
//! | | |
//! | --- | --- |
//! | put layers in a row | [`add`](Sequential::add), [`pop`](Sequential::pop), [`build`](Sequential::build) |
//! | look at them | [`summary`](Sequential::summary()), [`layers`](Sequential::layers), [`get_layer`](Sequential::get_layer), [`count_params`](Sequential::count_params) |
//! | train and use | [`compile`](Sequential::compile), [`fit`](Sequential::fit), [`evaluate`](Sequential::evaluate), [`predict`](Sequential::predict), and the same `…_on_batch` |
//! | weights | [`get_weights`](Sequential::get_weights), [`set_weights`](Sequential::set_weights), [`set_trainable`](Sequential::set_trainable) |
//! | files | [`save`](Sequential::save), [`load`](Sequential::load), [`save_weights`](Sequential::save_weights), [`load_weights`](Sequential::load_weights), [`to_json`](Sequential::to_json), [`from_json`](Sequential::from_json) |
//! | the device | [`to_device`](Sequential::to_device) |
//!
//! A method whose name ends in `_with` is the same with more arguments.

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
