#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
// The types of wgpu's shaders are deep.
#![recursion_limit = "256"]

pub mod activations;
pub mod backend;
pub mod callbacks;
pub mod config;
pub mod constraints;
pub mod datasets;
#[doc = include_str!("differences.md")]
pub mod differences {}
mod error;
pub mod formats;
pub mod initializers;
pub mod layers;
pub mod losses;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod ops;
pub mod optimizers;
pub mod prelude;
mod random;
pub mod recipe;
mod register;
pub mod regularizers;
#[cfg(feature = "report")]
pub mod report;
pub mod schedules;
#[doc = include_str!("security.md")]
pub mod security {}
#[cfg(feature = "serve")]
pub mod serve;
pub mod shape;
pub mod text;
pub mod training;

pub use activations::Activation;
use brasa_kernels as kernels;
pub use burn;
pub use error::{Error, Result};
pub use model::{Model, Sequential};
pub use ndarray;
pub use ops::Value;
pub use random::Random;
pub use shape::Shape;
