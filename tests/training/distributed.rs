//! Several ranks train like one process.

use std::sync::Arc;

use brasa::callbacks::{EarlyStopping, LambdaCallback, ModelCheckpoint, TerminateOnNaN};
use brasa::distributed::{Communicator, threads};
use brasa::metrics::AUC;
use brasa::ndarray::{Array, ArrayD};
use brasa::prelude::*;
use brasa::training::{Checkpoint, Evaluate, History, Predict, StopHandle};
use brasa::{Error, Result};

/// The communicator of a rank.
type Rank = Arc<dyn Communicator>;

/// Runs this on each of `size` ranks; returns the results in order.
fn on_ranks<T: Send>(size: usize, work: impl Fn(Rank) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let ranks: Vec<_> = threads(size).into_iter().map(|rank| scope.spawn(move || work(rank))).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

/// Numbers between -1 and 1 that look random.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + seed * 101 + 13) as f32 * 0.71).sin()).collect()
}

fn images(samples: usize) -> Dataset {
    let x = Array::from_shape_vec((samples, 8, 8, 1), numbers(samples * 64, 1)).unwrap();
    let y: Vec<usize> = (0..samples).map(|i| (i * 7 + i / 3) % 3).collect();
    Dataset::new(&x, y).unwrap()
}

fn network(synchronized: bool) -> Sequential {
    let mut model = Sequential::new().with_seed(3);
    model.add(Conv2D::new(4, 3).activation("relu").input_shape((8, 8, 1))).unwrap();
    model.add(BatchNormalization::new().momentum(0.9).synchronized(synchronized)).unwrap();
    model.add(MaxPooling2D::new(2)).unwrap();
    model.add(Flatten::new()).unwrap();
    model.add(Dropout::new(0.3)).unwrap();
    model.add(GaussianNoise::new(0.05)).unwrap();
    model.add(Dense::new(3).kernel_regularizer("l2").activation("softmax")).unwrap();
    let compile = Compile::new(Adam::new(0.01).global_clipnorm(1.0), "sparse_categorical_crossentropy");
    model.compile(compile.metrics(["accuracy", "sparse_top_k_categorical_accuracy"])).unwrap();
    model
}

fn quiet<'a>() -> Fit<'a> {
    Fit::new().verbose(Verbosity::Silent)
}

/// The numbers of a history, by name.
type Logs = Vec<(String, Vec<f64>)>;

fn logs(history: &History) -> Logs {
    let mut logs: Logs = history.history.iter().map(|(name, values)| (name.clone(), values.clone())).collect();
    logs.sort_by(|a, b| a.0.cmp(&b.0));
    logs
}

fn bits(model: &Model) -> Vec<u32> {
    model.get_weights().unwrap().iter().flat_map(|weight| weight.iter().map(|number| number.to_bits())).collect()
}

fn assert_close(got: &Logs, wanted: &Logs, tolerance: f64) {
    assert_eq!(
        got.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        wanted.iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
    for ((name, got), (_, wanted)) in got.iter().zip(wanted) {
        assert_eq!(got.len(), wanted.len(), "{name}");
        for (got, wanted) in got.iter().zip(wanted) {
            assert!((got - wanted).abs() <= tolerance * wanted.abs().max(1.0), "{name}: {got}, alone {wanted}");
        }
    }
}

/// The weights and the history of each rank.
fn trained(ranks: usize, train: impl Fn(Option<Rank>) -> Result<(Model, History)> + Sync) -> Vec<(Model, History)> {
    match ranks {
        0 => vec![train(None).unwrap()],
        _ => on_ranks(ranks, |rank| train(Some(rank)).unwrap()),
    }
}

fn with_ranks<'a>(fit: Fit<'a>, rank: Option<Rank>) -> Fit<'a> {
    match rank {
        Some(rank) => fit.distributed(rank),
        None => fit,
    }
}

/// Any number of ranks has the history of one process, the weights are the same bits on all ranks, and again in a
/// repeated run.
fn compare(train: impl Fn(Option<Rank>) -> Result<(Model, History)> + Sync, tolerance: f64) {
    let (_, alone) = trained(0, &train).remove(0);
    for ranks in [1, 2, 3, 4] {
        let runs = trained(ranks, &train);
        for (model, history) in &runs {
            assert_close(&logs(history), &logs(&alone), tolerance);
            assert_eq!(logs(history), logs(&runs[0].1), "{ranks} ranks have the same logs");
            assert_eq!(bits(model), bits(&runs[0].0), "{ranks} ranks have the same weights");
        }
        let again = trained(ranks, &train);
        assert_eq!(bits(&again[0].0), bits(&runs[0].0), "{ranks} ranks repeat");
        assert_eq!(logs(&again[0].1), logs(&runs[0].1));
    }
}

/// Batches of 8 and a last one of 1 sample, which leaves some ranks without any; dropout and noise draw the same.
#[test]
fn a_convolutional_network_trains_as_in_one_process() {
    let data = images(25);
    let validation = images(7);
    compare(
        |rank| {
            let mut model = Sequential::new().with_seed(3);
            model.add(Conv2D::new(4, 3).activation("relu").input_shape((8, 8, 1)))?;
            model.add(SpatialDropout2D::new(0.2))?.add(Flatten::new())?.add(Dropout::new(0.3))?;
            model.add(GaussianNoise::new(0.05))?;
            model.add(Dense::new(3).kernel_regularizer("l2").activity_regularizer("l1").activation("softmax"))?;
            let compile = Compile::new(Adam::new(0.01).global_clipnorm(0.5), "sparse_categorical_crossentropy");
            model.compile(compile.metrics(["accuracy", "sparse_top_k_categorical_accuracy"]))?;
            let fit = quiet().epochs(3).batch_size(8).validation_data(&validation).class_weight([(1, 2.0)]);
            let history = model.fit(&data, with_ranks(fit, rank))?;
            Ok((model.into(), history))
        },
        2e-5,
    );
}

#[test]
fn synchronized_batch_normalization_has_the_statistics_of_the_whole_batch() {
    // 24 samples: each of up to four ranks needs one of every batch.
    let data = images(24);
    compare(
        |rank| {
            let mut model = network(true);
            let history = model.fit(&data, with_ranks(quiet().epochs(2).batch_size(8), rank))?;
            Ok((model.into(), history))
        },
        1e-4,
    );
}

#[test]
fn a_rank_without_a_sample_cannot_synchronize() {
    let data = images(9);
    let errors =
        on_ranks(2, |rank| network(true).fit(&data, quiet().batch_size(8).distributed(rank)).unwrap_err().to_string());
    let expected = "batches of at least 2 samples, as a layer is synchronized over the ranks, received one of 1";
    assert!(errors.iter().any(|error| error.contains(expected)), "{errors:?}");
}

/// Statistics of the parts: other numbers than in one process, but the same on all ranks and in each run.
#[test]
fn batch_normalization_by_parts_stays_the_same_on_all_ranks() {
    let data = images(25);
    for ranks in [2, 3] {
        let train = |rank| {
            let mut model = network(false);
            let history = model.fit(&data, with_ranks(quiet().epochs(2).batch_size(8), rank))?;
            Ok((model.into(), history))
        };
        let (runs, again) = (trained(ranks, train), trained(ranks, train));
        for (model, history) in runs.iter().chain(&again) {
            assert_eq!(bits(model), bits(&runs[0].0));
            assert_eq!(logs(history), logs(&runs[0].1));
        }
    }
}

/// Masks and sample weights change the divisor of a loss: it is that of the whole batch.
#[test]
fn masks_weights_and_accumulation_are_those_of_the_whole_batch() {
    let (samples, steps) = (13, 5);
    let mut x = Array::from_shape_vec((samples, steps, 2), numbers(samples * steps * 2, 5)).unwrap();
    for sample in 0..samples {
        // Sequences of different lengths.
        for step in (1 + sample % steps)..steps {
            x[[sample, step, 0]] = 0.0;
            x[[sample, step, 1]] = 0.0;
        }
    }
    let y: ArrayD<f32> = Array::from_shape_vec((samples, steps, 1), numbers(samples * steps, 6))
        .unwrap()
        .mapv(|y| f32::from(y > 0.0))
        .into_dyn();
    let weights: Vec<f32> = (0..samples).map(|i| 0.5 + (i % 4) as f32).collect();
    let data = Dataset::new(&x, &y).unwrap().with_sample_weight(weights).unwrap();
    compare(
        |rank| {
            let mut model = Sequential::new().with_seed(8);
            model.add(Masking::new().input_shape((steps, 2)))?;
            model.add(LSTM::new(4).return_sequences(true).dropout(0.2).recurrent_dropout(0.1))?;
            model.add(TimeDistributed::new(Dense::new(3)))?.add(TimeDistributed::new(Dropout::new(0.2)))?;
            model.add(Dense::new(1).activation("sigmoid"))?;
            let optimizer = RMSprop::new(0.01).gradient_accumulation_steps(2).clipnorm(0.5);
            let compile =
                Compile::new(optimizer, "binary_crossentropy").metrics(["accuracy"]).metrics([AUC::default()]);
            model.compile(compile.weighted_metrics(["mse"]))?;
            let history = model.fit(&data, with_ranks(quiet().epochs(3).batch_size(6), rank))?;
            Ok((model.into(), history))
        },
        5e-5,
    );
}

#[test]
fn several_outputs_and_losses_are_summed_over_the_ranks() -> Result<()> {
    let x = Array::from_shape_vec((10, 3), numbers(30, 2)).unwrap();
    let (a, b) = (numbers(10, 3), numbers(10, 4));
    let data = Dataset::new(&x, [("a", a), ("b", b)])?;
    compare(
        |rank| {
            let input = Input::new(3).symbol();
            let hidden = Dense::new(5).activation("tanh").call(&input)?;
            let outputs = [Dense::new(1).name("a").call(&hidden)?, Dense::new(1).name("b").call(&hidden)?];
            let mut model = Model::new([&input], outputs.each_ref())?;
            model.set_seed(4);
            model.compile(Compile::new("adam", ["mse", "mae"]).loss_weights([1.0, 0.25]))?;
            let history = model.fit(&data, with_ranks(quiet().epochs(2).batch_size(4), rank))?;
            Ok((model, history))
        },
        1e-5,
    );
    Ok(())
}

#[test]
fn evaluate_gives_all_ranks_the_scores_of_one() {
    let data = images(11);
    let mut model = network(false);
    model.fit(&data, quiet()).unwrap();
    let alone = model.evaluate_with(&data, Evaluate::new().batch_size(4)).unwrap();
    for scores in
        on_ranks(3, |rank| model.clone().evaluate_with(&data, Evaluate::new().batch_size(4).distributed(rank)).unwrap())
    {
        assert!((scores.loss - alone.loss).abs() < 1e-6);
        assert_eq!(scores.get("accuracy"), alone.get("accuracy"));
    }
}

/// Whole batches in turn: the bits of one process, with more ranks than batches too.
#[test]
fn predict_gives_all_ranks_the_outputs_of_one() {
    let data = images(11);
    let mut model = network(false);
    model.fit(&data, quiet()).unwrap();
    let alone = model.predict_with(data.x(), Predict::new().batch_size(2)).unwrap();
    for ranks in [1, 2, 4, 7] {
        let predict = |rank| model.clone().predict_with(data.x(), Predict::new().batch_size(2).distributed(rank));
        for outputs in on_ranks(ranks, predict) {
            assert_eq!(outputs.unwrap(), alone, "{ranks} ranks");
        }
    }
}

#[test]
fn ranks_that_predict_something_else_are_named() {
    let errors = on_ranks(3, |rank| {
        let samples = if rank.rank() == 2 { 9 } else { 11 };
        network(false).predict_with(images(samples).x(), Predict::new().distributed(rank)).unwrap_err().to_string()
    });
    let expected = "rank 2: the number of samples or the batch size differ from those of rank 0";
    assert_eq!(errors, [expected; 3]);
    // One whose disk is full while it writes ends the others.
    let x = images(11).x();
    let errors = on_ranks(2, |rank| {
        let is_first = rank.rank() == 0;
        let write = |_: &[usize], _: &[f32]| match is_first {
            true => Err(Error::data("the disk", "space", "none")),
            false => Ok(()),
        };
        let predict = Predict::new().batch_size(2).distributed(rank);
        network(false).predict_each(&x, predict, write).unwrap_err().to_string()
    });
    assert_eq!(errors[1], "rank 0: data: the disk: expected space, received none");
}

/// Interrupted on one rank in the middle of an epoch, all ranks stop; the run resumes to the same bits.
#[test]
fn a_rank_that_is_interrupted_stops_all_and_the_run_resumes() {
    let data = images(25);
    let fit = |rank: &Rank| quiet().epochs(3).batch_size(4).seed(2).distributed(rank.clone());
    let whole = on_ranks(2, |rank| {
        let mut model = network(false);
        let history = model.fit(&data, fit(&rank)).unwrap();
        (bits(&model), logs(&history))
    });
    for (epoch, batch) in [(0, 2), (1, 0), (1, 6), (2, 4)] {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = || Checkpoint::new(folder.path().join("run.ckpt")).resume(true);
        let histories = on_ranks(2, |rank| {
            let handle = StopHandle::new();
            let stopping = handle.clone();
            let is_last = rank.rank() == 1;
            let stop = LambdaCallback::new().on_train_batch_end(move |context, done| {
                if is_last && (context.params().epoch, done) == (epoch, batch) {
                    stopping.stop();
                }
                Ok(())
            });
            network(false).fit(&data, fit(&rank).checkpoint(checkpoint()).stop_handle(&handle).callback(stop)).unwrap()
        });
        assert!(histories.iter().all(|history| history.interrupted), "interrupted at {epoch}, {batch}");
        let resumed = on_ranks(2, |rank| {
            let mut model = network(false);
            let history = model.fit(&data, fit(&rank).checkpoint(checkpoint())).unwrap();
            (bits(&model), logs(&history))
        });
        for ((weights, logs), (whole_weights, whole_logs)) in resumed.iter().zip(&whole) {
            assert_eq!(weights, whole_weights, "resumed after {epoch}, {batch}");
            assert_close(logs, whole_logs, 1e-12);
        }
        // With another number of ranks it resumes, too: here it has nothing left to do.
        let alone =
            network(false).fit(&data, quiet().epochs(3).batch_size(4).seed(2).checkpoint(checkpoint())).unwrap();
        assert_eq!(alone.epoch, [0, 1, 2]);
    }
}

#[test]
fn callbacks_agree_and_only_the_first_rank_writes() {
    let data = images(12);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("best.keras");
    let results = on_ranks(3, |rank| {
        let mut stopping = EarlyStopping::default().monitor("loss").baseline(0.0f64).patience(1usize);
        let checkpoint = ModelCheckpoint::new(path.to_str().unwrap());
        let fit = quiet().epochs(9).batch_size(4).callback(&mut stopping).callback(checkpoint);
        network(false).fit(&data, fit.distributed(rank)).unwrap()
    });
    assert!(results.iter().all(|history| history.stopped.is_some() && history.epoch == results[0].epoch));
    assert!(Sequential::load(&path).is_ok());
}

#[test]
fn a_callback_that_stops_on_one_rank_stops_all() {
    let data = images(12);
    let results = on_ranks(2, |rank| {
        let is_last = rank.rank() == 1;
        let stop = LambdaCallback::new().on_epoch_end(move |context, epoch, _| {
            if is_last && epoch == 1 {
                context.stop("enough");
            }
            Ok(())
        });
        network(false).fit(&data, quiet().epochs(9).batch_size(4).callback(stop).distributed(rank)).unwrap()
    });
    assert_eq!(results[0].epoch, [0, 1]);
    assert_eq!(results[1].epoch, [0, 1]);
    assert_eq!(results[0].stopped.as_deref(), Some("a callback of rank 1 has stopped training"));
}

#[test]
fn other_data_on_one_rank_is_refused() {
    for samples in [12, 13] {
        let errors = on_ranks(3, |rank| {
            let data = match (rank.rank(), samples) {
                (2, 12) => Dataset::new(Array::<f32, _>::ones((12, 8, 8, 1)), vec![0usize; 12]).unwrap(),
                (2, samples) => images(samples),
                _ => images(12),
            };
            network(false).fit(&data, quiet().distributed(rank)).unwrap_err()
        });
        for error in errors {
            assert!(matches!(&error, Error::Rank { rank: 2, .. }), "{error}");
            assert!(error.to_string().contains("differ from those of rank 0"), "{error}");
        }
    }
}

#[test]
fn a_rank_that_fails_ends_the_others_with_its_reason() {
    let data = images(12);
    let errors = on_ranks(3, |rank| {
        let is_second = rank.rank() == 1;
        let fails = LambdaCallback::new().on_train_batch_end(move |_, batch| match is_second && batch == 1 {
            true => Err(Error::data("the disk", "space", "none")),
            false => Ok(()),
        });
        network(false).fit(&data, quiet().batch_size(4).callback(fails).distributed(rank)).unwrap_err().to_string()
    });
    assert_eq!(errors[1], "data: the disk: expected space, received none");
    for error in [&errors[0], &errors[2]] {
        assert_eq!(error, "rank 1: data: the disk: expected space, received none");
    }
}

#[test]
fn a_rank_that_panics_ends_the_others() {
    let data = images(12);
    let (first, second) = std::thread::scope(|scope| {
        let mut ranks = threads(2).into_iter();
        let (first, second) = (ranks.next().unwrap(), ranks.next().unwrap());
        let data = &data;
        let first = scope.spawn(move || network(false).fit(data, quiet().batch_size(4).distributed(first)));
        let second = scope.spawn(move || {
            let panics = LambdaCallback::new().on_train_batch_end(|_, batch| match batch {
                1 => panic!("in a callback"),
                _ => Ok(()),
            });
            network(false).fit(data, quiet().batch_size(4).callback(panics).distributed(second))
        });
        (first.join(), second.join())
    });
    assert!(second.is_err());
    assert_eq!(first.unwrap().unwrap_err().to_string(), "rank 1: a panic");
}

#[test]
fn what_cannot_be_computed_in_parts_is_refused() {
    let data = Dataset::new(Array::<f32, _>::ones((4, 2)), Array::<f32, _>::ones((4, 2))).unwrap();
    let errors = on_ranks(2, |rank| {
        let mut model = Sequential::new();
        model.add(Dense::new(2).activation("sigmoid").input_shape(2)).unwrap();
        model.compile(Compile::new("sgd", brasa::losses::Dice::default())).unwrap();
        model.fit(&data, quiet().distributed(rank)).unwrap_err().to_string()
    });
    assert!(
        errors.iter().any(|error| error.contains("distributed training with `Dice` over whole batches")),
        "{errors:?}"
    );
}

#[test]
fn losses_of_whole_batches_are_refused() {
    let data = Dataset::new(Array::<f32, _>::ones((4, 2)), vec![0.0f32, 1.0, 0.0, 1.0]).unwrap();
    let errors = on_ranks(2, |rank| {
        let mut model = Sequential::new();
        model.add(Dense::new(2).input_shape(2)).unwrap();
        model.compile(Compile::new("sgd", brasa::losses::Circle::default())).unwrap();
        model.fit(&data, quiet().distributed(rank)).unwrap_err().to_string()
    });
    let expected = "distributed training with `Circle` over whole batches";
    assert!(errors.iter().any(|error| error.contains(expected)), "{errors:?}");
}

/// The layer gives a weight that is trained a new value in each step.
#[test]
fn spectral_normalization_trains_as_in_one_process() {
    let x = Array::from_shape_vec((9, 4), numbers(36, 7)).unwrap();
    let data = Dataset::new(&x, numbers(9, 8)).unwrap();
    let train = |rank| {
        let mut model = Sequential::new().with_seed(6);
        model.add(SpectralNormalization::new(Dense::new(3).activation("tanh")).input_shape(4))?;
        model.add(Dense::new(1))?.compile(Compile::new(SGD::new(0.1), "mse"))?;
        let history = model.fit(&data, with_ranks(quiet().epochs(3).batch_size(4), rank))?;
        Ok((model.into(), history))
    };
    let weights = |model: &Model| -> Vec<f32> { model.get_weights().unwrap().iter().flatten().copied().collect() };
    let (alone, history) = trained(0, train).remove(0);
    for ranks in [1, 2] {
        for (model, own) in trained(ranks, train) {
            assert_close(&logs(&own), &logs(&history), 1e-5);
            for (got, wanted) in weights(&model).into_iter().zip(weights(&alone)) {
                assert!((got - wanted).abs() < 1e-5, "{ranks} ranks: {got}, alone {wanted}");
            }
        }
    }
}

/// A batch of one sample leaves a rank without any: its callbacks are called like those of the other.
#[test]
fn callbacks_are_called_on_ranks_without_samples() {
    let data = images(9);
    let calls = on_ranks(2, |rank| {
        let mut calls = Vec::new();
        let record = LambdaCallback::new().on_train_batch_end(|context, batch| {
            calls.push((batch, context.logs()?.get("loss").is_some()));
            Ok(())
        });
        network(false).fit(&data, quiet().batch_size(4).callback(record).distributed(rank)).unwrap();
        calls
    });
    assert_eq!(calls[0], [(0, true), (1, true), (2, true)]);
    assert_eq!(calls[1], calls[0]);
}

/// An infinite loss in the last batch, on one rank alone, stops all.
#[test]
fn a_loss_that_is_not_finite_stops_all_ranks() {
    let mut targets = numbers(9, 3);
    targets[8] = 1e30;
    let data = Dataset::new(Array::from_shape_vec((9, 2), numbers(18, 4)).unwrap(), targets).unwrap();
    let histories = on_ranks(2, |rank| {
        let mut model = Sequential::new().with_seed(1);
        model.add(Dense::new(1).input_shape(2)).unwrap().compile(Compile::new("sgd", "mse")).unwrap();
        let fit = quiet().epochs(2).batch_size(4).shuffle(false).callback(TerminateOnNaN::default());
        model.fit(&data, fit.distributed(rank)).unwrap()
    });
    for history in histories {
        assert!(history.stopped.is_some_and(|reason| reason.starts_with("TerminateOnNaN")));
        assert_eq!(history.epoch, [0]);
    }
}

#[test]
fn other_choices_on_one_rank_are_refused() {
    let data = images(12);
    for what in ["validation_freq", "class weights", "checkpoints"] {
        let folder = tempfile::tempdir().unwrap();
        let errors = on_ranks(2, |rank| {
            let fit = quiet().distributed(rank.clone());
            let fit = match (rank.rank(), what) {
                (1, "validation_freq") => fit.validation_freq(2),
                (1, "class weights") => fit.class_weight([(1, 2.0)]),
                (1, _) => fit.checkpoint(Checkpoint::new(folder.path().join("run.ckpt"))),
                _ => fit,
            };
            network(false).fit(&data, fit).unwrap_err().to_string()
        });
        for error in errors {
            assert!(error.starts_with("rank 1: ") && error.contains(what), "{error}");
        }
    }
}

/// All ranks begin with the weights and the seed of the first.
#[test]
fn ranks_begin_with_the_weights_of_the_first() {
    let data = images(12);
    let weights = on_ranks(2, |rank| {
        let mut model = network(false).with_seed(rank.rank() as u64);
        model.fit(&data, quiet().batch_size(4).distributed(rank)).unwrap();
        bits(&model)
    });
    assert_eq!(weights[0], weights[1]);
}
