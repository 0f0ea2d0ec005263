//! Training: `compile`, `fit`, `evaluate`, `predict` and the calls on single batches.
//!
//! The training loop is Brasa's own: loss and metrics stay on the device and are rarely read back, the order of samples
//! is a pure function of seed and epoch, and batches are loaded on a separate thread while the device computes.
//!
//! # Reproducibility
//!
//! On the CPU backend flex the same seed gives the same bits, on the same machine with the same number of threads: in a
//! repeated run, and in one that was cut off anywhere and resumed. On ndarray and on GPUs the order of samples and all
//! random numbers are the same, too, but sums can be accumulated in another order, above all where autotuning chooses
//! among kernels. Measured: two runs of `configs/smoke.toml` through wgpu on Mesa's software Vulkan ended with the same
//! bits. It was not measured on a real GPU.

mod answers;
mod batches;
mod checkpoint;
mod class_weight;
mod evaluate;
mod fit;
mod fit_stream;
mod fitted;
mod hooks;
mod lr_finder;
mod meaning;
mod on_batch;
mod optimizer_state;
mod own_batches;
mod own_loop;
mod predict;
mod predict_all;
pub mod progress;
mod ranks;
mod resume;
mod run;
mod shard;
mod snapshot;
mod step;
mod streaming;
mod trackers;
mod validation_freq;

pub use answers::{Answers, TOP_CLASSES, nested_json, number_json};
pub use evaluate::{Evaluate, Scores};
pub use fit::Fit;
pub use lr_finder::{FindLearningRate, LearningRates};
pub use meaning::Meaning;
pub use on_batch::OnBatch;
pub use own_batches::{Batch, Batches, batches};
pub use own_loop::Pass;
pub use predict::Predict;
pub use validation_freq::ValidationFreq;

pub use crate::callbacks::{Checkpoint, CheckpointFreq, History, StopHandle, Verbosity};
pub use crate::compile::{Compile, IntoLossWeights, IntoLosses};
