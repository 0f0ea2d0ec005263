//! Stopping a training from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Stops a training from another thread, such as a signal handler's.
///
/// The current batch, of training or of a validation, is finished and, with a [`Checkpoint`](super::Checkpoint), the
/// run's state is written; then `fit` returns as usual. An unfinished epoch is not in the history; an unfinished
/// validation is repeated by the resumed run.
///
/// ```
/// use brasa::prelude::*;
/// use brasa::training::StopHandle;
/// # fn main() -> brasa::Result<()> {
/// # let mut model = Sequential::new();
/// # model.add(Dense::new(1).input_shape(2))?.compile(Compile::new("sgd", "mse"))?;
/// # let data = Dataset::new(&ndarray::Array::<f32, _>::zeros((4, 2)), vec![0.0f32; 4])?;
/// let handle = StopHandle::new();
/// let elsewhere = handle.clone();
/// std::thread::spawn(move || elsewhere.stop()).join().unwrap();
/// let history = model.fit(&data, Fit::new().epochs(3).verbose(Verbosity::Silent).stop_handle(&handle))?;
/// assert!(history.interrupted && history.epoch.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct StopHandle(Arc<AtomicBool>);

impl StopHandle {
    /// A handle that has not been used yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop; returns whether it was asked before.
    pub fn stop(&self) -> bool {
        self.0.swap(true, Ordering::SeqCst)
    }

    /// Whether it was asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
