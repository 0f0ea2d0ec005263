//! Training: `compile`, `fit`, `evaluate`, `predict` and the calls on single batches.
//!
//! The loop is Brasa's own: loss and metrics stay on the device and are read back seldom, the order of samples is a
//! pure function of seed and epoch, and batches are gathered on a thread of their own while the device computes.
//!
//! # The same numbers again
//!
//! On the CPU backend flex the same seed gives the same bits, on the same machine with the same number of threads: run
//! again, or cut off anywhere and gone on with. On ndarray and on GPUs the order of samples and every random number are
//! the same, too, but sums may be added up in another order, above all where tuning chooses among kernels. Measured:
//! two runs of `configs/smoke.toml` through wgpu on Mesa's software Vulkan ended with the same bits. Nothing of that
//! kind was measured on a real GPU.

mod answers;
mod batches;
mod checkpoint;
mod class_weight;
mod compile;
mod evaluate;
mod fit;
mod goal;
mod history;
mod hooks;
mod lr_finder;
mod meaning;
mod on_batch;
mod own_loop;
mod predict;
mod predict_all;
pub mod progress;
mod run;
mod snapshot;
mod step;
mod stop;
mod trackers;
mod validation_freq;

pub use answers::{Answers, TOP_CLASSES, nested_json, number_json};
pub use checkpoint::{Checkpoint, CheckpointFreq};
pub use compile::Compile;
pub(crate) use compile::Compiled;
pub use evaluate::{Evaluate, Scores};
pub use fit::Fit;
pub use goal::{IntoLossWeights, IntoLosses};
pub use history::History;
pub(crate) use history::table_fits;
pub use lr_finder::{FindLearningRate, LearningRates};
pub use meaning::Meaning;
pub use on_batch::OnBatch;
pub use own_loop::Pass;
pub use predict::Predict;
pub use progress::Verbosity;
pub use stop::StopHandle;
pub use validation_freq::ValidationFreq;
