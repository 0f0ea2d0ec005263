//! Models: [`Sequential`], and [`Model`] over symbols.
//!
//! Keras's model methods by task:
//!
//! | | |
//! | --- | --- |
//! | stack layers | [`add`](Sequential::add), [`pop`](Sequential::pop), [`build`](Model::build) |
//! | connect layers freely | [`Input::symbol`](crate::layers::Input::symbol), [`CallLayer::call`], [`Model::new`] |
//! | inspect | [`summary`](Model::summary()), [`layers`](Model::layers), [`get_layer`](Model::get_layer), [`count_params`](Model::count_params) |
//! | train and use | [`compile`](Model::compile), [`fit`](Model::fit), [`evaluate`](Model::evaluate), [`predict`](Model::predict), and the same `…_on_batch` |
//! | predict from many threads, or one sample at a time | [`freeze`](Model::freeze) |
//! | weights | [`get_weights`](Model::get_weights), [`set_weights`](Model::set_weights), [`set_trainable`](Model::set_trainable) |
//! | files | [`save`](Model::save), [`load`](Sequential::load), [`save_weights`](Model::save_weights), [`load_weights`](Model::load_weights), [`to_json`](Model::to_json), [`from_json`](Sequential::from_json) |
//! | the device | [`to_device`](Model::to_device) |
//!
//! A method whose name ends in `_with` is the same with more arguments.

mod admitted;
mod as_model;
mod compile;
mod config;
mod core;
mod files;
mod forward;
mod functional;
mod graph;
mod image_stage;
mod module;
mod nested;
#[cfg(feature = "onnx")]
mod onnx;
mod order;
mod pixels;
mod plan;
mod planner;
mod plans;
mod predictor;
mod sequential;
mod sizes;
mod stage;
mod structure;
pub mod summary;
mod symbol;
mod timing;
mod weight;
mod weights;

pub use self::core::{LayerRef, Model};
pub(crate) use as_model::nested_model;
pub use files::{Contents, FileFormat, LoadWeights, StoredWeight};
pub(crate) use forward::Forward;
pub use forward::Mode;
#[cfg(feature = "recipes")]
pub(crate) use functional::name_layers;
pub(crate) use image_stage::{ImageFeed, ImageStage};
pub(crate) use plans::PredictedShapes;
#[cfg(feature = "serve")]
pub(crate) use predictor::CallMemory;
pub use predictor::Predictor;
pub use sequential::Sequential;
pub(crate) use stage::{Feed, Stage};
pub use symbol::{CallLayer, IntoSymbols, SharedLayer, Symbol};
pub use timing::LayerTime;
pub use weight::Weight;
pub(crate) use weight::weight_name;
