//! A run that goes on gives the same bits as one that was never interrupted, wherever it was cut off.

use std::fs;
use std::path::Path;

use brasa::callbacks::{Context, LambdaCallback, Logs};
use brasa::ndarray::{Array2, ArrayD};
use brasa::prelude::*;
use brasa::training::{Checkpoint, CheckpointFreq, History, StopHandle};
use brasa::{Error, Result};

fn data() -> Dataset {
    let x = Array2::from_shape_fn((75, 6), |(i, j)| ((i * 31 + j * 17) % 23) as f32 / 23.0 - 0.5);
    let y: Vec<i32> = (0..75).map(|i| i * 5 % 3).collect();
    Dataset::new(&x, y).unwrap()
}

/// A model with everything that has a state or a random stream of its own.
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

/// With a schedule, the callback that sets rates cannot work.
fn fit_for<'a>(optimizer: &str, epochs: usize) -> Fit<'a> {
    match optimizer {
        "schedule" => Fit::new().epochs(epochs).batch_size(8).seed(5).verbose(Verbosity::Silent),
        _ => fit(epochs),
    }
}

fn bits(weights: &[ArrayD<f32>]) -> Vec<Vec<u32>> {
    weights.iter().map(|weight| weight.iter().map(|number| number.to_bits()).collect()).collect()
}

/// Everything that must not differ, bit for bit: the weights, the history's columns, and its epochs.
type Outcome = (Vec<Vec<u32>>, Vec<(String, Vec<u64>)>, Vec<usize>);

fn outcome(model: &Sequential, history: &History) -> Outcome {
    let exact = |values: &Vec<f64>| values.iter().map(|value| value.to_bits()).collect();
    let lists = history.history.iter().map(|(name, values)| (name.clone(), exact(values))).collect();
    (bits(&model.get_weights().unwrap()), lists, history.epoch.clone())
}

/// Stops training, as Ctrl-C does, after a batch.
fn stop_after(handle: StopHandle, epoch: usize, batch: usize) -> LambdaCallback<'static> {
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
        // Restored best weights, and running means in the weights' places, come after the checkpoint.
        model(optimizer).fit(&data(), fit_for(optimizer, 2).checkpoint(checkpoint()))?;
        let mut second = model(optimizer);
        let on = second.fit(&data(), fit_for(optimizer, 4).checkpoint(checkpoint()))?;
        assert_eq!(outcome(&second, &on), outcome(&whole, &history), "{optimizer}");
        // A finished run that is gone on with ends the same.
        let mut third = model(optimizer);
        let again = third.fit(&data(), fit_for(optimizer, 4).checkpoint(checkpoint()))?;
        assert_eq!(outcome(&third, &again), outcome(&whole, &history), "{optimizer}");
    }
    Ok(())
}

#[test]
fn a_run_goes_on_in_the_middle_of_an_epoch() -> Result<()> {
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
    // Failing at any batch, the run goes on from the batch before.
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
fn a_run_that_a_callback_has_ended_stays_ended() -> Result<()> {
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
fn what_does_not_fit_is_refused() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.ckpt");
    let checkpoint = || Checkpoint::new(&path).resume(true);
    let handle = StopHandle::new();
    let stop = stop_after(handle.clone(), 0, 2);
    let told = checkpoint().recipe("[fit]\nepochs = 2\n");
    model("adam").fit(&data(), fit(2).checkpoint(told).stop_handle(&handle).callback(stop))?;
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

#[test]
fn a_folder_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = model("adam").fit(&data(), fit(1).checkpoint(Checkpoint::new(file.join("last.ckpt")))).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[cfg(feature = "cli")]
mod killed {
    use std::io::Write;
    use std::process::{Child, Command, Stdio};
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    use brasa::datasets::save_npy;

    use super::*;

    const RECIPE: &str = r#"
[data]
dataset = "npz"
path = "xy.npz"
validation_split = 0.2

[[layers]]
class_name = "Dense"
units = 64
activation = "relu"
input_shape = [12]

[[layers]]
class_name = "Dropout"
rate = 0.2

[[layers]]
class_name = "Dense"
units = 3
activation = "softmax"

[compile]
optimizer = { class_name = "Adam", learning_rate = 0.01 }
loss = "sparse_categorical_crossentropy"
metrics = ["accuracy"]

[fit]
epochs = 6
batch_size = 16
checkpoint_freq = 5

[[callbacks]]
class_name = "ReduceLROnPlateau"
monitor = "loss"
patience = 1
min_delta = 0.1
factor = 0.8

[[callbacks]]
class_name = "EarlyStopping"
patience = 20
restore_best_weights = true
"#;

    fn place() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("small.toml"), RECIPE).unwrap();
        let x: Vec<f32> = (0..600 * 12).map(|index| (index * 37 % 101) as f32 / 101.0 - 0.5).collect();
        let y: Vec<f32> =
            x.chunks(12).map(|row| if row[0] > row[1] { 0.0 } else { 1.0 + f32::from(row[2] > 0.0) }).collect();
        save_npy(at("x.npy"), &[600, 12], &x).unwrap();
        save_npy(at("y.npy"), &[600], &y).unwrap();
        let mut archive = zip::ZipWriter::new(fs::File::create(at("xy.npz")).unwrap());
        for member in ["x.npy", "y.npy"] {
            archive.start_file(member, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(&fs::read(at(member)).unwrap()).unwrap();
        }
        archive.finish().unwrap();
        folder
    }

    fn start(folder: &Path, arguments: &str) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_brasa"));
        command.args(arguments.split_whitespace()).current_dir(folder).env_remove("BRASA_BACKEND");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn done(child: Child) {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Weights and history of a run.
    fn result(run: &Path) -> (Vec<Vec<u32>>, String) {
        let model = Sequential::load(run.join("model.keras")).unwrap();
        (bits(&model.get_weights().unwrap()), fs::read_to_string(run.join("history.csv")).unwrap())
    }

    /// Whatever is there can be read.
    fn check_files(run: &Path) {
        let there = |name: &str| Some(run.join(name)).filter(|path| path.exists());
        if let Some(path) = there("config.toml") {
            brasa::recipe::Recipe::read(path).unwrap();
        }
        if let Some(path) = there("model.keras") {
            Sequential::load(path).unwrap();
        }
        if let Some(path) = there("history.csv") {
            let text = fs::read_to_string(path).unwrap();
            let widths: Vec<usize> = text.lines().map(|line| line.split(',').count()).collect();
            assert!(text.ends_with('\n') && widths.iter().all(|width| *width == widths[0]), "{text}");
        }
        if let Some(path) = there("checkpoint/last.ckpt") {
            let mut archive = zip::ZipArchive::new(fs::File::open(path).unwrap()).unwrap();
            for index in 0..archive.len() {
                std::io::copy(&mut archive.by_index(index).unwrap(), &mut std::io::sink()).unwrap();
            }
        }
    }

    /// Killed at any moment and resumed, again and again, a run ends with the same bits. `BRASA_CHAOS` says how many
    /// times (default 8).
    #[test]
    fn a_killed_run_ends_with_the_same_bits() {
        let kills: usize = std::env::var("BRASA_CHAOS").map_or(8, |kills| kills.parse().unwrap());
        let folder = place();
        let begin = Instant::now();
        done(start(folder.path(), "train small.toml --out whole --seed 4 --quiet"));
        let whole_time = begin.elapsed();
        let expected = result(&folder.path().join("whole"));
        done(start(folder.path(), "train small.toml --out again --seed 4 --quiet"));
        assert_eq!(result(&folder.path().join("again")), expected, "the same recipe gives the same bits");

        let (mut killed, mut round, mut random) = (0, 0, 0x9e37_79b9_u64);
        while killed < kills {
            round += 1;
            let name = format!("run{round}");
            let run = folder.path().join(&name);
            // A run is killed a few times, then finished.
            for _ in 0..5 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let part = (random >> 33) as f64 / f64::from(1u32 << 31);
                let command = format!("train small.toml --resume --out {name} --seed 4 --quiet");
                let mut child = start(folder.path(), &command);
                sleep(Duration::from_secs_f64(whole_time.as_secs_f64() * part));
                child.kill().unwrap();
                let ended = child.wait().unwrap().success();
                check_files(&run);
                killed += usize::from(!ended);
                if ended || killed == kills {
                    break;
                }
            }
            done(start(folder.path(), &format!("train small.toml --resume --out {name} --seed 4 --quiet")));
            assert_eq!(result(&run), expected, "run {round}");
        }
        println!("{killed} kills in {round} runs of {whole_time:?} each ended with the same bits");
    }
}
