//! Training: `compile`, `fit`, `evaluate`, `predict` and the calls on single batches.
//!
//! The loop is Brasa's own: loss and metrics stay on the device and are read back seldom, the order of samples is a pure
//! function of seed and epoch, and batches are gathered on a thread of their own while the device computes.

mod batches;
mod checkpoint;
mod compile;
mod evaluate;
mod fit;
mod history;
mod hooks;
mod lr_finder;
mod on_batch;
mod predict;
pub mod progress;
mod run;
mod snapshot;
mod step;
mod stop;
mod trackers;
mod validation_freq;

pub use checkpoint::{Checkpoint, CheckpointFreq};
pub use compile::Compile;
pub(crate) use compile::Compiled;
pub use evaluate::{Evaluate, Scores};
pub use fit::Fit;
pub use history::History;
pub use lr_finder::{FindLearningRate, LearningRates};
pub use predict::Predict;
pub use progress::Verbosity;
pub use stop::StopHandle;
pub use validation_freq::ValidationFreq;
