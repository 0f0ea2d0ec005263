//! Training that is requested to stop does so promptly, keeps its state, and resumes without a difference.

use std::path::Path;

use brasa::callbacks::{Context, LambdaCallback, Logs, SwapEMAWeights};
use brasa::metrics::{MetricArgument, SparseTopKCategoricalAccuracy};
use brasa::prelude::*;
use brasa::training::{Checkpoint, StopHandle};
use brasa::{Error, Result};

use crate::support::{data, outcome};

/// A model with averaged weights, and these metrics besides the accuracy.
fn model_with(metrics: impl IntoIterator<Item = MetricArgument>) -> Sequential {
    let mut model = Sequential::new().with_seed(11);
    model.add(Dense::new(9).activation("relu").input_shape(6)).unwrap();
    model.add(BatchNormalization::default()).unwrap();
    model.add(Dropout::new(0.3)).unwrap();
    model.add(Dense::new(3).activation("softmax")).unwrap();
    let optimizer = Adam::new(0.01).use_ema(true).ema_momentum(0.9);
    let compile = Compile::new(optimizer, "sparse_categorical_crossentropy").metrics(metrics).metrics(["accuracy"]);
    model.compile(compile).unwrap();
    model
}

fn model() -> Sequential {
    model_with([])
}

/// Six training batches and four validation batches.
fn fit<'a>(epochs: usize) -> Fit<'a> {
    Fit::new().epochs(epochs).batch_size(8).seed(5).validation_split(0.4).verbose(Verbosity::Silent)
}

/// With callbacks that keep state between epochs.
fn full<'a>(swap_on_epoch: bool) -> Fit<'a> {
    let plateau = ReduceLROnPlateau::default().patience(1usize).factor(0.7).min_delta(0.05);
    let stopping = EarlyStopping::default().patience(30usize).restore_best_weights(true);
    let swap = SwapEMAWeights::default().swap_on_epoch(swap_on_epoch);
    fit(3).callback(swap).callback(plateau).callback(stopping)
}

fn checkpoint(folder: &Path) -> Checkpoint {
    Checkpoint::new(folder.join("last.ckpt")).resume(true)
}

/// Requests a stop in a batch of an epoch's validation, and counts that validation's batches.
struct InValidation {
    handle: StopHandle,
    place: (usize, usize),
    seen: usize,
    ended: bool,
}

impl InValidation {
    fn new(handle: &StopHandle, epoch: usize, batch: usize) -> Self {
        Self { handle: handle.clone(), place: (epoch, batch), seen: 0, ended: false }
    }
}

impl Callback for InValidation {
    fn on_test_batch_end(&mut self, context: &mut Context<'_>, batch: usize) -> Result<()> {
        if context.params().epoch == self.place.0 {
            self.seen += 1;
            if batch == self.place.1 {
                self.handle.stop();
            }
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, _: &mut Context<'_>, epoch: usize, _: &mut Logs) -> Result<()> {
        self.ended |= epoch == self.place.0;
        Ok(())
    }
}

#[test]
fn an_interrupted_validation_is_repeated() -> Result<()> {
    for swap_on_epoch in [false, true] {
        let mut whole = model();
        let history = whole.fit(&data(), full(swap_on_epoch))?;
        for (epoch, batch) in [(0, 0), (1, 1), (2, 2), (1, 3)] {
            let folder = tempfile::tempdir().unwrap();
            let handle = StopHandle::new();
            let mut stop = InValidation::new(&handle, epoch, batch);
            let cut = full(swap_on_epoch).checkpoint(checkpoint(folder.path())).stop_handle(&handle);
            let stopped = model().fit(&data(), cut.callback(&mut stop))?;
            let what = format!("swap_on_epoch {swap_on_epoch}, epoch {epoch}, batch {batch}");
            assert_eq!(stop.seen, batch + 1, "{what}: no batch after the one in which it was asked to stop");
            assert!(stopped.interrupted, "{what}");
            // After the last batch the validation is complete, and with it the epoch.
            assert_eq!((stop.ended, stopped.epoch.len()), (batch == 3, epoch + usize::from(batch == 3)), "{what}");

            let mut again = InValidation::new(&StopHandle::new(), epoch, 0);
            let mut second = model();
            let go_on = full(swap_on_epoch).checkpoint(checkpoint(folder.path())).callback(&mut again);
            let on = second.fit(&data(), go_on)?;
            assert_eq!(outcome(&second, &on), outcome(&whole, &history), "{what}");
            assert_eq!(again.seen, if batch == 3 { 0 } else { 4 }, "{what}: all of the validation");
        }
    }
    Ok(())
}

#[test]
fn an_epoch_stopped_by_a_callback_still_ends() -> Result<()> {
    let enough = || {
        LambdaCallback::new().on_train_batch_end(|context, batch| {
            if (context.params().epoch, batch) == (1, 2) {
                context.stop("enough");
            }
            Ok(())
        })
    };
    let mut whole = model();
    let history = whole.fit(&data(), full(false).callback(enough()))?;
    assert_eq!((history.stopped.as_deref(), history.epoch.len()), (Some("enough"), 2));

    // Stopped in the following validation.
    let folder = tempfile::tempdir().unwrap();
    let handle = StopHandle::new();
    let cut = full(false).callback(enough()).checkpoint(checkpoint(folder.path())).stop_handle(&handle);
    let stopped = model().fit(&data(), cut.callback(InValidation::new(&handle, 1, 0)))?;
    assert!(stopped.interrupted && stopped.epoch == [0], "{stopped:?}");
    let mut second = model();
    let on = second.fit(&data(), full(false).callback(enough()).checkpoint(checkpoint(folder.path())))?;
    assert!(!on.interrupted);
    assert_eq!(outcome(&second, &on), outcome(&whole, &history));

    // An error there, with a checkpoint after each batch.
    struct Fails;
    impl Callback for Fails {
        fn on_test_begin(&mut self, context: &mut Context<'_>) -> Result<()> {
            if context.params().epoch == 1 { Err(Error::Syntax("the power is gone".into())) } else { Ok(()) }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let each = || checkpoint(folder.path()).freq(1usize);
    assert!(model().fit(&data(), full(false).callback(enough()).checkpoint(each()).callback(Fails)).is_err());
    let mut third = model();
    let on = third.fit(&data(), full(false).callback(enough()).checkpoint(each()))?;
    assert_eq!(outcome(&third, &on), outcome(&whole, &history));
    Ok(())
}

#[test]
fn averaged_weights_stay_when_training_stops_there() -> Result<()> {
    let swapping = || fit(3).callback(SwapEMAWeights::default().swap_on_epoch(true));
    let mut whole = model();
    let history = whole.fit(&data(), swapping())?;

    let folder = tempfile::tempdir().unwrap();
    let handle = StopHandle::new();
    let (mut seen, mut raw) = (Vec::new(), Vec::new());
    let watch = LambdaCallback::new()
        .on_train_batch_end(|context, _| {
            raw = context.model.get_weights()?;
            Ok(())
        })
        .on_epoch_end(|context, epoch, _| {
            if epoch == 1 {
                seen = context.model.get_weights()?;
                handle.stop();
            }
            Ok(())
        });
    let mut cut = model();
    let fit = swapping().callback(watch).checkpoint(checkpoint(folder.path())).stop_handle(&handle);
    let stopped = cut.fit(&data(), fit)?;
    assert!(stopped.interrupted && stopped.epoch == [0, 1]);
    assert_ne!(seen, raw);
    assert_eq!(cut.get_weights()?, seen, "the means, as after the epoch and as at the end of training");

    let mut second = model();
    let on = second.fit(&data(), swapping().checkpoint(checkpoint(folder.path())))?;
    assert_eq!(outcome(&second, &on), outcome(&whole, &history));
    Ok(())
}

#[test]
fn validation_after_some_epochs_keeps_its_epochs() -> Result<()> {
    let some = || fit(5).validation_freq([1, 3, 4]);
    let mut whole = model();
    let history = whole.fit(&data(), some())?;
    assert_eq!(history.epochs_of("loss"), [0, 1, 2, 3, 4]);
    assert_eq!(history.epochs_of("val_loss"), [0, 2, 3]);
    assert_eq!(history.epochs_of("none"), [] as [usize; 0]);
    for epoch in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let handle = StopHandle::new();
        let stop = LambdaCallback::new().on_train_batch_end(|context, batch| {
            if (context.params().epoch, batch) == (epoch, 3) {
                handle.stop();
            }
            Ok(())
        });
        let cut = some().callback(stop).checkpoint(checkpoint(folder.path())).stop_handle(&handle);
        assert!(model().fit(&data(), cut)?.interrupted);
        let mut second = model();
        let on = second.fit(&data(), some().checkpoint(checkpoint(folder.path())))?;
        assert_eq!(outcome(&second, &on), outcome(&whole, &history), "cut off in epoch {epoch}");
    }
    assert!(matches!(model().fit(&data(), fit(1).validation_freq([0])), Err(Error::Argument { .. })));
    Ok(())
}

fn top(k: usize, name: &str) -> MetricArgument {
    SparseTopKCategoricalAccuracy::default().k(k).name(name).into()
}

#[test]
fn metrics_of_an_epoch_are_resumed_by_name() -> Result<()> {
    let before = || model_with(["sparse_categorical_crossentropy".into(), top(2, "top")]);
    let history = before().fit(&data(), fit(2))?;
    let folder = tempfile::tempdir().unwrap();
    let handle = StopHandle::new();
    let stop = LambdaCallback::new().on_train_batch_end(|context, batch| {
        if (context.params().epoch, batch) == (1, 2) {
            handle.stop();
        }
        Ok(())
    });
    before().fit(&data(), fit(2).checkpoint(checkpoint(folder.path())).stop_handle(&handle).callback(stop))?;
    let kept = std::fs::read(folder.path().join("last.ckpt")).unwrap();

    // Other metrics, in another order.
    let on = |metrics: Vec<MetricArgument>, accept: bool| {
        std::fs::write(folder.path().join("last.ckpt"), &kept).unwrap();
        let checkpoint = checkpoint(folder.path()).accept_changes(accept);
        model_with(metrics).fit(&data(), fit(2).checkpoint(checkpoint))
    };
    let changed = || vec![top(2, "top"), top(1, "first"), "sparse_categorical_crossentropy".into()];
    let error = on(changed(), false).unwrap_err().to_string();
    assert!(error.contains("the checkpoint's loss and metrics") && error.contains("first"), "{error}");
    let accepted = on(changed(), true)?;
    for name in ["loss", "accuracy", "sparse_categorical_crossentropy", "top", "val_loss", "val_top"] {
        assert_eq!(accepted.get(name), history.get(name), "{name}");
    }
    assert_eq!(accepted.epochs_of("first"), [1], "a new one");

    // One with the same name and another argument is a different metric.
    let (same_name, other_name) = (on(vec![top(1, "top")], true)?, on(vec![top(1, "other")], true)?);
    assert_eq!(same_name.get("top").map(|values| values[1]), other_name.last("other"));
    assert_eq!(accepted.last("first"), other_name.last("other"), "all three count the rest of the epoch alone");
    Ok(())
}
