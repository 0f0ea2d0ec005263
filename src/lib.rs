//! Keras for Rust, on the [Burn](https://burn.dev) framework: Keras's models, layers, names, defaults and numerical
//! results. A program gets the same shapes and parameter counts as in Keras, trains on the CPU with Brasa's own kernels
//! or on a GPU, and reads and writes Keras's files. Misuse returns an [`Error`] that says where, and never panics; only
//! the operators of [`Value`] panic on mismatched sizes.
//!
//! ```no_run
//! use brasa::prelude::*;
//!
//! fn main() -> brasa::Result<()> {
//!     let (train, test) = datasets::mnist::load()?; // (28, 28, 1) images in 0..1, integer labels
//!
//!     let mut model = Sequential::new();
//!     model
//!         .add(Conv2D::new(32, (5, 5)).activation("relu").input_shape((28, 28, 1)))?
//!         .add(MaxPooling2D::new((2, 2)))?
//!         .add(Conv2D::new(64, (5, 5)).activation("relu"))?
//!         .add(MaxPooling2D::new((2, 2)))?
//!         .add(Flatten::new())?
//!         .add(Dense::new(10).activation("softmax"))?;
//!     println!("{}", model.summary());
//!
//!     model.compile(Compile::new(Adam::new(1e-3), "sparse_categorical_crossentropy").metrics(["accuracy"]))?;
//!     model.fit(&train, Fit::new().epochs(5).batch_size(128).validation_split(0.1))?;
//!     println!("test accuracy {:?}", model.evaluate(&test)?.get("accuracy"));
//!     model.save("mnist.keras") // Keras opens this file
//! }
//! ```
//!
//! `add` infers shapes immediately, so a layer that does not fit is refused at its line:
//!
//! ```
//! use brasa::prelude::*;
//!
//! let mut model = Sequential::new();
//! model.add(Conv2D::new(32, (5, 5)).input_shape((28, 28, 1)))?;
//! let error = model.add(Conv2D::new(64, (25, 25))).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "layer `conv2d_1` (Conv2D): incompatible shape: expected an input of at least 25 rows for a window of 25, received 24"
//! );
//! # Ok::<(), brasa::Error>(())
//! ```
//!
//! # Where things are
//!
//! | | |
//! | --- | --- |
//! | models | [`Sequential`], functional [`Model`] over [symbols](model::Symbol), [`prelude`] for most programs |
//! | layers | the structs of [`layers`]; [`layers::Layer`] for custom ones |
//! | training | [`Compile`](training::Compile), [`Fit`](training::Fit), [`Evaluate`](training::Evaluate), [`Predict`](training::Predict), [`History`](training::History) |
//! | building blocks | [`losses`], [`metrics`], [`optimizers`], [`schedules`], [`regularizers`], [`constraints`], [`initializers`] |
//! | during training | [`callbacks`], [`Checkpoint`](training::Checkpoint) |
//! | data | [`Dataset`](datasets::Dataset) in memory, [`Source`](datasets::Source) for everything else |
//! | tensors | [`Value`], [`Shape`]; Burn itself is [`burn`] |
//! | devices | [`backend::Backend`], [`memory`] |
//! | files | [`Model::save`], [`Model::load`], [`formats::Limits`] for untrusted files |
//! | recipes | [`recipe::Recipe`]: model, data and training in TOML |
//!
//! [`guide`] explains all of it in chapters; coming from Keras, start with its [phrase book](guide::from_keras).
//!
//! # Features
//!
//! | feature | default | adds |
//! | --- | :-: | --- |
//! | `flex` | ✓ | the fast CPU backend, `cpu` |
//! | `ndarray` | ✓ | Burn's older CPU backend |
//! | `wgpu` | ✓ | GPUs through wgpu and WGSL, `gpu` |
//! | `vulkan`, `metal`, `cuda` | | further GPU backends |
//! | `cli` | ✓ | the binary `brasa`, with `onnx`, `recipes`, `report` and `serve` |
//! | `recipes` | ✓ | the module `recipe`, with `csv`, `images` and `shards` |
//! | `report` | ✓ | the module `report`: charts, network diagrams, run reports; with `csv`, `images`, `progress` |
//! | `serve` | ✓ | the module `serve`: models behind HTTP, as a router of `axum`; with `report` |
//! | `csv` | ✓ | tables and text from CSV and TSV files, `callbacks::CSVLogger` |
//! | `images` | ✓ | image files and folders |
//! | `shards` | ✓ | samples in many files: archives of samples, arrays, tables; with `csv` and `images` |
//! | `object-store` | | shards in S3, Google Cloud Storage, Azure and behind HTTP |
//! | `progress` | ✓ | the progress bar in a terminal; without it, lines |
//! | `parquet` | | Parquet files as tables |
//! | `onnx` | ✓ | models as ONNX files |
//! | `tensorboard` | ✓ | `callbacks::TensorBoard` |
//! | `mpi` | | training by processes that `mpirun` starts |
//! | `dataset` | ✓ | `datasets::FromBurn` and `datasets::ToBurn` |
//! | `download` | ✓ | downloading MNIST and Fashion-MNIST where they are missing |
//!
//! A program that trains only on the CPU uses `default-features = false, features = ["flex"]`.
//!
//! In the development profile Cargo compiles dependencies without optimisation, and training takes many times as long:
//! build with `--release`, or give the packages `brasa` and `brasa-kernels` an `opt-level` of 3
//! ([how](guide::performance)).
//!
//! # Platforms
//!
//! Rust 1.95 or later. Everything is tested on Linux, x86-64; the kernels choose AVX-512, AVX2 or the target's baseline
//! at run time. Other systems are untested. There, as on GPUs, available memory is not queried: set a
//! [limit](memory::set_limit) for untrusted models.
//!
//! # What it does not do
//!
//! Values are 32-bit floats: there is no mixed precision and no quantization. There are no ragged or sparse tensors, no
//! layers that mix images or take bounding boxes. Training on several machines is by processes on CPUs (feature `mpi`),
//! not on several GPUs. No code from a file is executed, so a `Lambda` is neither saved nor loaded. [`differences`]
//! lists everything that is missing or different from Keras, with the reasons.
#![deny(unsafe_code)]
// wgpu's shader types are deeply nested.
#![recursion_limit = "256"]

pub mod backend;
pub mod callbacks;
mod compile;
pub mod config;
pub mod constraints;
pub mod datasets;
pub mod distributed;
#[doc = include_str!("differences.md")]
pub mod differences {}
mod error;
pub mod formats;
pub mod guide;
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
#[cfg(feature = "serve")]
pub mod serve;
pub mod shape;
pub mod text;
pub mod training;

use brasa_kernels as kernels;
pub use burn;
pub use error::{Error, Result};
pub use model::{Model, Predictor, Sequential};
pub use ndarray;
pub use ops::Value;
pub use ops::{Activation, activations};
pub use random::Random;
pub use shape::Shape;

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
