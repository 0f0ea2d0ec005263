//! A callback made of closures.

use super::{Callback, Context, Logs};
use crate::error::Result;

type OnRun<'a> = Box<dyn FnMut(&mut Context<'_>) -> Result<()> + 'a>;
type OnCount<'a> = Box<dyn FnMut(&mut Context<'_>, usize) -> Result<()> + 'a>;
type OnEpochEnd<'a> = Box<dyn FnMut(&mut Context<'_>, usize, &mut Logs) -> Result<()> + 'a>;

/// Calls closures: Keras's `LambdaCallback`.
///
/// ```
/// use brasa::prelude::*;
/// use brasa::callbacks::LambdaCallback;
/// # fn main() -> brasa::Result<()> {
/// # let mut model = Sequential::new();
/// # model.add(Dense::new(1).input_shape(2))?.compile(Compile::new("sgd", "mse"))?;
/// # let data = Dataset::new(&ndarray::Array::<f32, _>::zeros((4, 2)), vec![0.0f32; 4])?;
/// let mut losses = Vec::new();
/// let watch = LambdaCallback::new().on_epoch_end(|_, _, logs| {
///     losses.extend(logs.get("loss"));
///     Ok(())
/// });
/// model.fit(&data, Fit::new().epochs(2).verbose(Verbosity::Silent).callback(watch))?;
/// assert_eq!(losses.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct LambdaCallback<'a> {
    on_train_begin: Option<OnRun<'a>>,
    on_train_end: Option<OnRun<'a>>,
    on_epoch_begin: Option<OnCount<'a>>,
    on_epoch_end: Option<OnEpochEnd<'a>>,
    on_train_batch_begin: Option<OnCount<'a>>,
    on_train_batch_end: Option<OnCount<'a>>,
}

impl<'a> LambdaCallback<'a> {
    /// A callback without closures.
    pub fn new() -> Self {
        Self::default()
    }

    /// Called when training begins.
    #[must_use]
    pub fn on_train_begin(mut self, call: impl FnMut(&mut Context<'_>) -> Result<()> + 'a) -> Self {
        self.on_train_begin = Some(Box::new(call));
        self
    }

    /// Called when training ends.
    #[must_use]
    pub fn on_train_end(mut self, call: impl FnMut(&mut Context<'_>) -> Result<()> + 'a) -> Self {
        self.on_train_end = Some(Box::new(call));
        self
    }

    /// Called at the beginning of each epoch.
    #[must_use]
    pub fn on_epoch_begin(mut self, call: impl FnMut(&mut Context<'_>, usize) -> Result<()> + 'a) -> Self {
        self.on_epoch_begin = Some(Box::new(call));
        self
    }

    /// Called at the end of each epoch, with its logs.
    #[must_use]
    pub fn on_epoch_end(mut self, call: impl FnMut(&mut Context<'_>, usize, &mut Logs) -> Result<()> + 'a) -> Self {
        self.on_epoch_end = Some(Box::new(call));
        self
    }

    /// Called at the beginning of each batch.
    #[must_use]
    pub fn on_train_batch_begin(mut self, call: impl FnMut(&mut Context<'_>, usize) -> Result<()> + 'a) -> Self {
        self.on_train_batch_begin = Some(Box::new(call));
        self
    }

    /// Called at the end of each batch.
    #[must_use]
    pub fn on_train_batch_end(mut self, call: impl FnMut(&mut Context<'_>, usize) -> Result<()> + 'a) -> Self {
        self.on_train_batch_end = Some(Box::new(call));
        self
    }
}

impl Callback for LambdaCallback<'_> {
    fn on_train_begin(&mut self, context: &mut Context<'_>) -> Result<()> {
        self.on_train_begin.as_mut().map_or(Ok(()), |call| call(context))
    }

    fn on_train_end(&mut self, context: &mut Context<'_>) -> Result<()> {
        self.on_train_end.as_mut().map_or(Ok(()), |call| call(context))
    }

    fn on_epoch_begin(&mut self, context: &mut Context<'_>, epoch: usize) -> Result<()> {
        self.on_epoch_begin.as_mut().map_or(Ok(()), |call| call(context, epoch))
    }

    fn on_epoch_end(&mut self, context: &mut Context<'_>, epoch: usize, logs: &mut Logs) -> Result<()> {
        self.on_epoch_end.as_mut().map_or(Ok(()), |call| call(context, epoch, logs))
    }

    fn on_train_batch_begin(&mut self, context: &mut Context<'_>, batch: usize) -> Result<()> {
        self.on_train_batch_begin.as_mut().map_or(Ok(()), |call| call(context, batch))
    }

    fn on_train_batch_end(&mut self, context: &mut Context<'_>, batch: usize) -> Result<()> {
        self.on_train_batch_end.as_mut().map_or(Ok(()), |call| call(context, batch))
    }
}
