//! `Sequential`: the description of a model and, once built, the model.
//!
//! What Keras's `Sequential` does, by what one wants to do:
//!
//! | | |
//! | --- | --- |
//! | put layers in a row | [`add`](Sequential::add), [`pop`](Sequential::pop), [`build`](Model::build) |
//! | look at them | [`summary`](Model::summary()), [`layers`](Model::layers), [`get_layer`](Model::get_layer), [`count_params`](Model::count_params) |
//! | train and use | [`compile`](Model::compile), [`fit`](Model::fit), [`evaluate`](Model::evaluate), [`predict`](Model::predict), and the same `…_on_batch` |
//! | weights | [`get_weights`](Model::get_weights), [`set_weights`](Model::set_weights), [`set_trainable`](Model::set_trainable) |
//! | files | [`save`](Model::save), [`load`](Sequential::load), [`save_weights`](Model::save_weights), [`load_weights`](Model::load_weights), [`to_json`](Model::to_json), [`from_json`](Sequential::from_json) |
//! | the device | [`to_device`](Model::to_device) |
//!
//! A method whose name ends in `_with` is the same with more arguments.

mod config;
mod core;
mod files;
mod forward;
mod module;
mod nested;
mod plan;
mod sequential;
mod sizes;
pub mod summary;
mod weights;

pub use self::core::{LayerRef, Model};
pub use files::{Contents, FileFormat, LoadWeights, StoredWeight};
pub(crate) use forward::Forward;
pub use forward::Mode;
pub(crate) use nested::{class_keys, container_keys};
pub use sequential::Sequential;
pub use weights::Weight;
pub(crate) use weights::weight_name;
