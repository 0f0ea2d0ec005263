//! A resumed run gives the same bits as one without an interruption, wherever it was interrupted.

use std::fs;
use std::path::Path;

use brasa::callbacks::{Context, LambdaCallback, Logs};
use brasa::ndarray::ArrayD;
use brasa::prelude::*;
use brasa::training::{Checkpoint, CheckpointFreq, StopHandle};
use brasa::{Error, Result};

use crate::support::{data, outcome};

/// A model with every kind of state and random stream.
fn model(optimizer: &str) -> Sequential {
    let mut model = Sequential::new().with_seed(11);
    model.add(Dense::new(9).activation("relu").input_shape(6)).unwrap();
    model.add(BatchNormalization::default()).unwrap();
    model.add(Dropout::new(0.3)).unwrap();
    model.add(GaussianNoise::new(0.1)).unwrap();
    model.add(Dense::new(3).activation("softmax")).unwrap();
    let compile = |optimizer: brasa::optimizers::OptimizerArgument| {
        let wide = brasa::metrics::MeanIoU::new(3).sparse_y_pred(false);
        Compile::new(optimizer, "sparse_categorical_crossentropy").metrics(["accuracy"]).metrics([wide])
    };
    let compile = match optimizer {
        "adam" => compile(Adam::new(0.01).into()),
        "schedule" => compile(SGD::new(CosineDecay::new(0.1, 60)).momentum(0.9).nesterov(true).into()),
        "nadam" => compile(Nadam::new(0.01).clipnorm(1.0).into()),
        "mean" => {
            compile(AdamW::new(0.01).use_ema(true).ema_overwrite_frequency(7).gradient_accumulation_steps(3).into())
        }
        other => panic!("{other}"),
    };
    model.compile(compile).unwrap();
    model
}

fn fit<'a>(epochs: usize) -> Fit<'a> {
    let plateau = ReduceLROnPlateau::default().monitor("loss").patience(1usize).factor(0.7).min_delta(0.05);
    let stopping = EarlyStopping::default().patience(30usize).restore_best_weights(true);
    let fit = Fit::new().epochs(epochs).batch_size(8).seed(5).validation_split(0.2).verbose(Verbosity::Silent);
    fit.class_weight([(1, 2.0)]).callback(stopping).callback(plateau)
}

/// The callback that sets rates does not work with a schedule.
fn fit_for<'a>(optimizer: &str, epochs: usize) -> Fit<'a> {
    match optimizer {
        "schedule" => Fit::new().epochs(epochs).batch_size(8).seed(5).verbose(Verbosity::Silent),
        _ => fit(epochs),
    }
}

fn bits(weights: &[ArrayD<f32>]) -> Vec<Vec<u32>> {
    weights.iter().map(|weight| weight.iter().map(|number| number.to_bits()).collect()).collect()
}

/// Stops training after a batch, as Ctrl-C does.
pub fn stop_after(handle: StopHandle, epoch: usize, batch: usize) -> LambdaCallback<'static> {
    LambdaCallback::new().on_train_batch_end(move |context, done| {
        if (context.params().epoch, done) == (epoch, batch) {
            handle.stop();
        }
        Ok(())
    })
}

#[test]
fn four_epochs_are_two_and_two() -> Result<()> {
    for optimizer in ["adam", "schedule", "nadam", "mean"] {
        let mut whole = model(optimizer);
        let history = whole.fit(&data(), fit_for(optimizer, 4))?;
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = || Checkpoint::new(folder.path().join("ckpt/last.ckpt")).resume(true);
        // Restored best weights and averaged weights come after the checkpoint.
        model(optimizer).fit(&data(), fit_for(optimizer, 2).checkpoint(checkpoint()))?;
        let mut second = model(optimizer);
        let on = second.fit(&data(), fit_for(optimizer, 4).checkpoint(checkpoint()))?;
        assert_eq!(outcome(&second, &on), outcome(&whole, &history), "{optimizer}");
        // Resuming a finished run has the same result.
        let mut third = model(optimizer);
        let again = third.fit(&data(), fit_for(optimizer, 4).checkpoint(checkpoint()))?;
        assert_eq!(outcome(&third, &again), outcome(&whole, &history), "{optimizer}");
    }
    Ok(())
}

#[test]
fn a_run_resumes_in_the_middle_of_an_epoch() -> Result<()> {
    for optimizer in ["adam", "schedule", "nadam", "mean"] {
        let mut whole = model(optimizer);
        let history = whole.fit(&data(), fit_for(optimizer, 3))?;
        for (epoch, batch) in [(0, 0), (0, 6), (1, 3), (1, 7), (2, 1)] {
            let folder = tempfile::tempdir().unwrap();
            let checkpoint = || Checkpoint::new(folder.path().join("last.ckpt")).resume(true);
            let handle = StopHandle::new();
            let stop = stop_after(handle.clone(), epoch, batch);
            let cut = fit_for(optimizer, 3).checkpoint(checkpoint()).stop_handle(&handle).callback(stop);
            let stopped = model(optimizer).fit(&data(), cut)?;
            assert!(stopped.interrupted && stopped.epoch.len() <= epoch + 1, "{stopped:?}");
            let mut second = model(optimizer);
            let on = second.fit(&data(), fit_for(optimizer, 3).checkpoint(checkpoint()))?;
            assert!(!on.interrupted);
            assert_eq!(outcome(&second, &on), outcome(&whole, &history), "{optimizer}, {epoch}, {batch}");
        }
    }
    Ok(())
}

/// Augmentation is determined by seed, layer, pass and sample: it is the same after any number of interruptions.
#[test]
fn random_augmentation_is_reproducible_after_resuming() -> Result<()> {
    let model = || -> Result<Sequential> {
        let (mut model, range) = (Sequential::new().with_seed(11), (-4.0, 4.0));
        model.add(Reshape::new([2, 1, 3]).input_shape(6))?;
        model.add(RandomFlip::default())?.add(RandomRotation::new(0.2).fill_mode("constant"))?;
        model.add(RandomTranslation::new(0.5, 0.5))?.add(RandomBrightness::new(0.2).value_range(range))?;
        model.add(RandomErasing::new().value_range(range))?;
        model.add(RandAugment::new().value_range(range))?.add(AugMix::new().value_range(range))?;
        model.add(Flatten::new())?.add(Dense::new(3).activation("softmax"))?;
        model.compile(Compile::new(Adam::new(0.01), "sparse_categorical_crossentropy").metrics(["accuracy"]))?;
        Ok(model)
    };
    let mut whole = model()?;
    let history = whole.fit(&data(), fit_for("schedule", 3))?;
    for (epoch, batch) in [(0, 0), (0, 6), (1, 3), (2, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = || Checkpoint::new(folder.path().join("last.ckpt")).resume(true);
        let handle = StopHandle::new();
        let stop = stop_after(handle.clone(), epoch, batch);
        let cut = fit_for("schedule", 3).checkpoint(checkpoint()).stop_handle(&handle).callback(stop);
        assert!(model()?.fit(&data(), cut)?.interrupted);
        let mut second = model()?;
        let on = second.fit(&data(), fit_for("schedule", 3).checkpoint(checkpoint()))?;
        assert_eq!(outcome(&second, &on), outcome(&whole, &history), "{epoch}, {batch}");
    }
    Ok(())
}

#[test]
fn checkpoints_in_between_change_nothing() -> Result<()> {
    let mut whole = model("adam");
    let history = whole.fit(&data(), fit(2).steps_per_epoch(11))?;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.ckpt");
    let checkpoint = Checkpoint::new(&path).freq(1usize);
    let mut second = model("adam");
    let kept = second.fit(&data(), fit(2).steps_per_epoch(11).checkpoint(checkpoint))?;
    assert_eq!(outcome(&second, &kept), outcome(&whole, &history));
    // After an error at any batch, the run resumes from the batch before.
    let failing = LambdaCallback::new().on_train_batch_begin(|context, batch| match (context.params().epoch, batch) {
        (1, 5) => Err(Error::Syntax("the power is gone".into())),
        _ => Ok(()),
    });
    fs::remove_file(&path).unwrap();
    let checkpoint = || Checkpoint::new(&path).freq(CheckpointFreq::Batches(1)).resume(true);
    assert!(model("adam").fit(&data(), fit(2).steps_per_epoch(11).checkpoint(checkpoint()).callback(failing)).is_err());
    let mut begun = Vec::new();
    let watch = LambdaCallback::new().on_train_batch_begin(|context, batch| {
        begun.push((context.params().epoch, batch));
        Ok(())
    });
    let mut third = model("adam");
    let on = third.fit(&data(), fit(2).steps_per_epoch(11).checkpoint(checkpoint()).callback(watch))?;
    assert_eq!(begun[0], (1, 5));
    assert_eq!(outcome(&third, &on), outcome(&whole, &history));
    Ok(())
}

#[test]
fn a_run_ended_by_a_callback_stays_ended() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = || Checkpoint::new(folder.path().join("last.ckpt")).resume(true);
    let run = || {
        let mut model = model("adam");
        let stopping = EarlyStopping::default().monitor("loss").mode("max").patience(2usize);
        let history = model.fit(
            &data(),
            Fit::new().epochs(9).verbose(Verbosity::Silent).seed(1).checkpoint(checkpoint()).callback(stopping),
        );
        history.map(|history| (bits(&model.get_weights().unwrap()), history.epoch, history.stopped))
    };
    let first = run()?;
    assert!(first.2.is_some() && first.1.len() < 9);
    assert_eq!(run()?, first);
    Ok(())
}

#[test]
fn weights_that_are_not_finite_do_not_replace_a_checkpoint() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.ckpt");
    let spoil = LambdaCallback::new().on_epoch_end(|context: &mut Context<'_>, epoch, _: &mut Logs| {
        let mut weights = context.model.get_weights()?;
        if epoch == 1 {
            weights[0][[0, 0]] = f32::NAN;
        }
        context.model.set_weights(&weights)
    });
    let quiet = Fit::new().epochs(2).verbose(Verbosity::Silent).checkpoint(Checkpoint::new(&path));
    model("adam").fit(&data(), quiet.callback(spoil))?;
    let mut on = model("adam");
    let history = on.fit(
        &data(),
        Fit::new().epochs(2).verbose(Verbosity::Silent).checkpoint(Checkpoint::new(&path).resume(true)),
    )?;
    assert_eq!(history.epoch, [0, 1]);
    assert!(on.get_weights()?.iter().flatten().all(|number| number.is_finite()));
    Ok(())
}

#[test]
fn mismatched_checkpoints_are_refused() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.ckpt");
    let checkpoint = || Checkpoint::new(&path).resume(true);
    let handle = StopHandle::new();
    let stop = stop_after(handle.clone(), 0, 2);
    let with_recipe = checkpoint().recipe("[fit]\nepochs = 2\n");
    model("adam").fit(&data(), fit(2).checkpoint(with_recipe).stop_handle(&handle).callback(stop))?;
    let refused = |model: &mut Sequential, fit: Fit<'_>, words: &str| {
        let error = model.fit(&data(), fit).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(&mut model("adam"), fit(2).batch_size(9).checkpoint(checkpoint()), "batch_size 8");
    refused(&mut model("adam"), fit(2).seed(6).checkpoint(checkpoint()), "seed 5");
    refused(&mut model("nadam"), fit(2).checkpoint(checkpoint()), "optimizer");
    let changed = checkpoint().recipe("[fit]\nepochs = 3\n");
    refused(&mut model("adam"), fit(2).checkpoint(changed), "fit.epochs: 2 → 3");
    let mut other = Sequential::new();
    other.add(Dense::new(3).activation("softmax").input_shape(6))?;
    other.compile(Compile::new("adam", "sparse_categorical_crossentropy"))?;
    refused(&mut other, Fit::new().batch_size(8).seed(5).validation_split(0.2).checkpoint(checkpoint()), "weights");
    let accepted = checkpoint().recipe("[fit]\nepochs = 3\n").accept_changes(true);
    assert_eq!(model("adam").fit(&data(), fit(2).checkpoint(accepted))?.epoch, [0, 1]);
    let missing = Checkpoint::new(Path::new("no/such/folder/last.ckpt")).resume(true);
    assert_eq!(model("adam").fit(&data(), fit(0).checkpoint(missing))?.epoch.len(), 0);
    Ok(())
}

/// The data of the other tests with one number changed in its last bit.
fn changed_data() -> Dataset {
    let data = data();
    let mut x = data.x().to_vec_f32();
    x[200] = f32::from_bits(x[200].to_bits() ^ 1);
    Dataset::new(Samples::new(data.x().shape(), x).unwrap(), data.y()).unwrap()
}

#[test]
fn other_data_of_the_same_size_is_refused() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.ckpt");
    let checkpoint = || Checkpoint::new(&path).resume(true);
    let quiet = || Fit::new().epochs(1).batch_size(8).seed(5).verbose(Verbosity::Silent);
    let (own, other) = (data(), changed_data());
    model("adam").fit(&own, quiet().validation_data(&own).checkpoint(checkpoint()))?;
    // The epoch is finished, but the history and the optimizer's state belong to other data.
    let refused = |data: &Dataset, validation: &Dataset, what: &str| {
        let fit = quiet().epochs(2).validation_data(validation).checkpoint(checkpoint());
        let error = model("adam").fit(data, fit).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("accept_changes"), "{error}");
    };
    refused(&other, &own, "the training data");
    refused(&own, &other, "the validation data");
    let fit = quiet().epochs(2).validation_data(&other).checkpoint(checkpoint().accept_changes(true));
    assert_eq!(model("adam").fit(&other, fit)?.epoch, [0, 1]);
    Ok(())
}

/// For a file on disk with one changed number, and a source without a fingerprint.
#[test]
fn files_and_own_sources_are_compared_by_fingerprint() -> Result<()> {
    use brasa::datasets::{NpySource, Part, save_npy};
    struct Own(Dataset);
    impl Source for Own {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn x_shape(&self) -> &[usize] {
            Source::x_shape(&self.0)
        }
        fn y_shape(&self) -> &[usize] {
            Source::y_shape(&self.0)
        }
        fn read(&self, indices: &[usize], x: &mut [f32], y: &mut [f32]) -> Result<()> {
            self.0.read(indices, x, y)
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let (x, y) = (folder.path().join("x.npy"), folder.path().join("y.npy"));
    let write = |data: &Dataset| {
        save_npy(&x, data.x().shape(), &data.x().to_vec_f32())?;
        save_npy(&y, data.y().shape(), &data.y().to_vec_f32())?;
        NpySource::open(&x, &y)
    };
    let first = write(&data())?.fingerprint()?;
    assert!(first.is_some());
    assert_eq!(write(&data())?.fingerprint()?, first, "the same numbers, written again");
    assert_ne!(write(&changed_data())?.fingerprint()?, first);
    assert_ne!(data().fingerprint()?, changed_data().fingerprint()?);
    let part = |range: std::ops::Range<usize>| Part::new(data(), range).unwrap().fingerprint().unwrap();
    assert_ne!(part(0..40), part(1..41));

    let checkpoint = || Checkpoint::new(folder.path().join("own.ckpt")).resume(true);
    let quiet = |epochs| Fit::new().epochs(epochs).verbose(Verbosity::Silent).checkpoint(checkpoint());
    model("adam").fit(&Own(data()), quiet(1))?;
    assert_eq!(model("adam").fit(&Own(changed_data()), quiet(2))?.epoch, [0, 1]);
    Ok(())
}

#[test]
fn the_previous_checkpoint_is_used_if_it_exists() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.ckpt");
    let previous = folder.path().join("last.ckpt.bkp");
    let quiet = |epochs| Fit::new().epochs(epochs).verbose(Verbosity::Silent).seed(5);
    let checkpoint = || Checkpoint::new(&path).resume(true);
    model("adam").fit(&data(), quiet(2).checkpoint(checkpoint().keep_previous(true)))?;
    assert!(path.exists() && previous.exists());
    let whole = fs::read(&path).unwrap();
    // One epoch is trained again from the previous checkpoint: with a damaged newest, and without one.
    for damage in [Some(&whole[..whole.len() / 3]), None] {
        match damage {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        assert_eq!(model("adam").fit(&data(), quiet(2).checkpoint(checkpoint()))?.epoch, [0, 1]);
        assert!(fs::read(&path).unwrap().len() > whole.len() / 2, "the newest is whole again");
    }
    fs::remove_file(&previous).unwrap();
    fs::write(&path, &whole[..whole.len() / 3]).unwrap();
    let error = model("adam").fit(&data(), quiet(2).checkpoint(checkpoint())).unwrap_err().to_string();
    assert!(error.contains("delete it to start the run again"), "{error}");
    Ok(())
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = model("adam").fit(&data(), fit(1).checkpoint(Checkpoint::new(file.join("last.ckpt")))).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}
