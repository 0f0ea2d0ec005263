//! Callbacks: hooks around training, evaluation and prediction.
//!
//! A callback is called at each beginning and end, and can look at the model, change it, and ask training to stop. The
//! built-in ones have Keras's names, arguments, defaults and decisions; Keras's `RemoteMonitor` is left out on purpose:
//! a library does not send a run's data elsewhere. Custom callbacks implement the same trait:
//!
//! ```
//! use brasa::Result;
//! use brasa::callbacks::{Callback, Context, Logs};
//! use brasa::prelude::*;
//!
//! /// Stops when the loss is small enough.
//! struct GoodEnough {
//!     loss: f64,
//! }
//!
//! impl Callback for GoodEnough {
//!     fn on_epoch_end(&mut self, context: &mut Context<'_>, epoch: usize, logs: &mut Logs) -> Result<()> {
//!         if logs.get("loss").is_some_and(|loss| loss < self.loss) {
//!             context.stop(format!("the loss is below {} after epoch {}", self.loss, epoch + 1));
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<()> {
//! let mut model = Sequential::new();
//! model.add(Dense::new(1).input_shape(2))?.compile(Compile::new("sgd", "mse"))?;
//! let data = Dataset::new(&ndarray::Array::<f32, _>::zeros((4, 2)), vec![0.0f32; 4])?;
//! let fit = Fit::new().epochs(9).verbose(Verbosity::Silent).callback(GoodEnough { loss: 0.5 });
//! let history = model.fit(&data, fit)?;
//! assert_eq!(history.epoch.len(), 1);
//! assert_eq!(history.stopped.as_deref(), Some("the loss is below 0.5 after epoch 1"));
//! # Ok(())
//! # }
//! ```
//!
//! A callback is passed by value or by reference; with a reference its results can be read afterwards:
//!
//! ```
//! # use brasa::prelude::*;
//! # use brasa::callbacks::EarlyStopping;
//! # fn main() -> brasa::Result<()> {
//! # let mut model = Sequential::new();
//! # model.add(Dense::new(1).input_shape(2))?.compile(Compile::new("sgd", "mse"))?;
//! # let data = Dataset::new(&ndarray::Array::<f32, _>::zeros((4, 2)), vec![0.0f32; 4])?;
//! let mut stopping = EarlyStopping::default().monitor("loss").patience(2usize);
//! model.fit(&data, Fit::new().epochs(9).verbose(Verbosity::Silent).callback(&mut stopping))?;
//! assert_eq!(stopping.stopped_epoch(), Some(2));
//! # Ok(())
//! # }
//! ```

mod backup_and_restore;
mod checkpoint;
mod context;
#[cfg(feature = "csv")]
mod csv_logger;
mod early_stopping;
mod history;
mod lambda_callback;
mod learning_rate_scheduler;
mod list;
mod logs;
mod model_checkpoint;
mod monitor;
mod progress_bar;
mod reduce_lr_on_plateau;
mod save_freq;
mod state;
mod stop;
mod swap_ema_weights;
mod template;
#[cfg(feature = "tensorboard")]
mod tensorboard;
mod terminate_on_nan;
mod verbosity;

use crate::error::Result;
use crate::ops::Value;

pub use backup_and_restore::BackupAndRestore;
pub use checkpoint::{Checkpoint, CheckpointFreq};
pub(crate) use context::BatchResults;
pub use context::{Context, Params};
#[cfg(feature = "csv")]
pub use csv_logger::CSVLogger;
pub use early_stopping::EarlyStopping;
pub use history::History;
pub(crate) use history::table_fits;
pub use lambda_callback::LambdaCallback;
pub use learning_rate_scheduler::LearningRateScheduler;
pub use list::{from_json, names};
pub use logs::Logs;
pub use model_checkpoint::ModelCheckpoint;
pub use monitor::Mode;
pub use progress_bar::ProgressBar;
pub use reduce_lr_on_plateau::ReduceLROnPlateau;
pub use save_freq::SaveFreq;
pub use state::CallbackState;
pub(crate) use state::{exact, number};
pub use stop::StopHandle;
pub use swap_ema_weights::SwapEMAWeights;
#[cfg(feature = "tensorboard")]
pub use tensorboard::{TensorBoard, UpdateFreq};
pub use terminate_on_nan::TerminateOnNaN;
pub use verbosity::Verbosity;

/// Hooks at the beginnings and ends of a run's parts. Every method has a default that does nothing.
///
/// Epochs and batches count from 0. An error ends the run.
#[allow(unused_variables)]
pub trait Callback {
    /// The key of its state in a checkpoint: the type's name.
    fn name(&self) -> String {
        short_name(std::any::type_name::<Self>())
    }

    /// Refuses invalid arguments, before anything is trained.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument).
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Training begins. In a run resumed from a checkpoint, [`restore`](Self::restore) follows.
    ///
    /// # Errors
    /// Any error of the callback; likewise for all hooks.
    fn on_train_begin(&mut self, context: &mut Context<'_>) -> Result<()> {
        Ok(())
    }

    /// Training ends: because all epochs are done, or because it was asked to stop ([`Context::stopped`] gives the
    /// reason).
    fn on_train_end(&mut self, context: &mut Context<'_>) -> Result<()> {
        Ok(())
    }

    /// Training was interrupted by a [`StopHandle`], to be resumed later: in an epoch, in
    /// the validation after it (which then has no [`on_test_end`](Self::on_test_end) and is repeated later), or between
    /// two epochs. The run's state is written after this, so temporary changes to the model must be undone here.
    fn on_interrupt(&mut self, context: &mut Context<'_>) -> Result<()> {
        Ok(())
    }

    /// An epoch begins. A run resumed in the middle of an epoch does not begin it again.
    fn on_epoch_begin(&mut self, context: &mut Context<'_>, epoch: usize) -> Result<()> {
        Ok(())
    }

    /// An epoch ends, with loss and metrics, those of the validation prefixed with `val_`. Additions to `logs` go to
    /// the history too.
    fn on_epoch_end(&mut self, context: &mut Context<'_>, epoch: usize, logs: &mut Logs) -> Result<()> {
        Ok(())
    }

    /// A training batch is about to be computed.
    fn on_train_batch_begin(&mut self, context: &mut Context<'_>, batch: usize) -> Result<()> {
        Ok(())
    }

    /// A training batch is done. [`Context::logs`] has loss and metrics so far in the epoch, [`Context::batch_loss`]
    /// the loss of this batch; each waits for the device, so call them only when needed.
    fn on_train_batch_end(&mut self, context: &mut Context<'_>, batch: usize) -> Result<()> {
        Ok(())
    }

    /// An evaluation begins, on its own or as validation after an epoch.
    fn on_test_begin(&mut self, context: &mut Context<'_>) -> Result<()> {
        Ok(())
    }

    /// An evaluation ends, with loss and metrics.
    fn on_test_end(&mut self, context: &mut Context<'_>, logs: &Logs) -> Result<()> {
        Ok(())
    }

    /// A batch of an evaluation is about to be computed.
    fn on_test_batch_begin(&mut self, context: &mut Context<'_>, batch: usize) -> Result<()> {
        Ok(())
    }

    /// A batch of an evaluation is done; [`Context::logs`] has loss and metrics so far.
    fn on_test_batch_end(&mut self, context: &mut Context<'_>, batch: usize) -> Result<()> {
        Ok(())
    }

    /// A prediction begins.
    fn on_predict_begin(&mut self, context: &mut Context<'_>) -> Result<()> {
        Ok(())
    }

    /// A prediction ends.
    fn on_predict_end(&mut self, context: &mut Context<'_>) -> Result<()> {
        Ok(())
    }

    /// A batch of a prediction is about to be computed.
    fn on_predict_batch_begin(&mut self, context: &mut Context<'_>, batch: usize) -> Result<()> {
        Ok(())
    }

    /// A batch of a prediction is done, with the model's outputs for it.
    fn on_predict_batch_end(&mut self, context: &mut Context<'_>, batch: usize, outputs: &Value) -> Result<()> {
        Ok(())
    }

    /// Overrides `verbose` for the run; `None` by default.
    fn verbosity(&self) -> Option<Verbosity> {
        None
    }

    /// A checkpoint of the whole run to write and to resume from; `None` by default.
    fn backup(&self) -> Option<Checkpoint> {
        None
    }

    /// The state to keep from epoch to epoch, for a checkpoint; empty by default.
    fn state(&self) -> Result<CallbackState> {
        Ok(CallbackState::default())
    }

    /// Restores the state from a checkpoint, after [`on_train_begin`](Self::on_train_begin).
    fn restore(&mut self, state: CallbackState) -> Result<()> {
        Ok(())
    }
}

/// A type's name without its modules and generics.
fn short_name(full: &str) -> String {
    let plain = full.split('<').next().unwrap_or(full);
    plain.rsplit("::").next().unwrap_or(plain).to_owned()
}

macro_rules! forwarded {
    ($($generic:tt)*) => {
        $($generic)* {
            fn name(&self) -> String {
                (**self).name()
            }

            fn check(&self) -> Result<()> {
                (**self).check()
            }

            fn on_train_begin(&mut self, context: &mut Context<'_>) -> Result<()> {
                (**self).on_train_begin(context)
            }

            fn on_train_end(&mut self, context: &mut Context<'_>) -> Result<()> {
                (**self).on_train_end(context)
            }

            fn on_interrupt(&mut self, context: &mut Context<'_>) -> Result<()> {
                (**self).on_interrupt(context)
            }

            fn on_epoch_begin(&mut self, context: &mut Context<'_>, epoch: usize) -> Result<()> {
                (**self).on_epoch_begin(context, epoch)
            }

            fn on_epoch_end(&mut self, context: &mut Context<'_>, epoch: usize, logs: &mut Logs) -> Result<()> {
                (**self).on_epoch_end(context, epoch, logs)
            }

            fn on_train_batch_begin(&mut self, context: &mut Context<'_>, batch: usize) -> Result<()> {
                (**self).on_train_batch_begin(context, batch)
            }

            fn on_train_batch_end(&mut self, context: &mut Context<'_>, batch: usize) -> Result<()> {
                (**self).on_train_batch_end(context, batch)
            }

            fn on_test_begin(&mut self, context: &mut Context<'_>) -> Result<()> {
                (**self).on_test_begin(context)
            }

            fn on_test_end(&mut self, context: &mut Context<'_>, logs: &Logs) -> Result<()> {
                (**self).on_test_end(context, logs)
            }

            fn on_test_batch_begin(&mut self, context: &mut Context<'_>, batch: usize) -> Result<()> {
                (**self).on_test_batch_begin(context, batch)
            }

            fn on_test_batch_end(&mut self, context: &mut Context<'_>, batch: usize) -> Result<()> {
                (**self).on_test_batch_end(context, batch)
            }

            fn on_predict_begin(&mut self, context: &mut Context<'_>) -> Result<()> {
                (**self).on_predict_begin(context)
            }

            fn on_predict_end(&mut self, context: &mut Context<'_>) -> Result<()> {
                (**self).on_predict_end(context)
            }

            fn on_predict_batch_begin(&mut self, context: &mut Context<'_>, batch: usize) -> Result<()> {
                (**self).on_predict_batch_begin(context, batch)
            }

            fn on_predict_batch_end(
                &mut self,
                context: &mut Context<'_>,
                batch: usize,
                outputs: &Value,
            ) -> Result<()> {
                (**self).on_predict_batch_end(context, batch, outputs)
            }

            fn verbosity(&self) -> Option<Verbosity> {
                (**self).verbosity()
            }

            fn backup(&self) -> Option<Checkpoint> {
                (**self).backup()
            }

            fn state(&self) -> Result<CallbackState> {
                (**self).state()
            }

            fn restore(&mut self, state: CallbackState) -> Result<()> {
                (**self).restore(state)
            }
        }
    };
}

forwarded!(impl<C: Callback + ?Sized> Callback for &mut C);
forwarded!(impl<C: Callback + ?Sized> Callback for Box<C>);
