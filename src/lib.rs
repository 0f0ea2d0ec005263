#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]
// The types of wgpu's shaders are deep.
#![recursion_limit = "256"]

pub mod backend;
pub mod callbacks;
mod compile;
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
#[cfg(feature = "recipes")]
pub mod recipe;
mod register;
pub mod regularizers;
#[cfg(feature = "report")]
pub mod report;
pub mod schedules;
#[doc = include_str!("security.md")]
pub mod security {}
pub mod shape;
pub mod text;
pub mod training;

use brasa_kernels as kernels;
pub use burn;
pub use error::{Error, Result};
pub use model::{Model, Sequential};
pub use ndarray;
pub use ops::Value;
pub use ops::{Activation, activations};
pub use random::Random;
pub use shape::Shape;
