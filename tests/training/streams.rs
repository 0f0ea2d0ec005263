//! Training on streams, whose number of batches is unknown.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use brasa::callbacks::LambdaCallback;
use brasa::datasets::Stream;
use brasa::ndarray::{Array2, Array4};
use brasa::prelude::*;
use brasa::training::{Checkpoint, CheckpointFreq, StopHandle};
use brasa::{Error, Result};

use crate::resume::stop_after;
use crate::support::{data, outcome};

fn model() -> Result<Sequential> {
    let mut model = Sequential::new().with_seed(3);
    model.add(Dense::new(5).activation("relu").input_shape(6))?.add(Dropout::new(0.2))?;
    model.add(Dense::new(3).activation("softmax"))?;
    model.compile(Compile::new(Adam::new(0.01), "sparse_categorical_crossentropy").metrics(["accuracy"]))?;
    Ok(model)
}

fn fit<'a>(epochs: usize) -> Fit<'a> {
    Fit::new().epochs(epochs).seed(5).verbose(Verbosity::Silent)
}

/// The data in batches of 8, the last of them of 3.
fn batches<'a>() -> Stream<'a> {
    Stream::new(|_| (0..75usize).step_by(8).map(|start| data().slice(start..75.min(start + 8))))
}

#[test]
fn an_epoch_lasts_until_the_batches_run_out() -> Result<()> {
    let mut expected = model()?;
    let history = expected.fit(&data(), fit(3).batch_size(8).shuffle(false))?;
    let mut steps = Vec::new();
    let callback = LambdaCallback::new().on_epoch_begin(|context, _| {
        steps.push(context.params().steps);
        Ok(())
    });
    let mut streamed = model()?;
    let own = streamed.fit_stream(&batches(), fit(3).callback(callback))?;
    assert_eq!(outcome(&streamed, &own), outcome(&expected, &history));
    // The first epoch counts them.
    assert_eq!(steps, [0, 10, 10]);
    Ok(())
}

#[test]
fn epochs_of_a_number_of_steps_go_on_with_the_stream() -> Result<()> {
    let passes = AtomicUsize::new(0);
    let stream = Stream::new(|pass| {
        assert_eq!(passes.fetch_add(1, Ordering::Relaxed), pass);
        (0..5usize).map(move |batch| {
            let x = Array2::from_elem((2, 6), (pass * 10 + batch) as f32);
            Dataset::new(&x, Array2::<f32>::zeros((2, 2)))
        })
    });
    let mut model = Sequential::new().with_seed(1);
    model.add(Dense::new(2).input_shape(6))?;
    model.compile(Compile::new("sgd", "mse"))?;
    let mut ends = Vec::new();
    let count = LambdaCallback::new().on_train_batch_end(|context, index| {
        ends.push((context.params().epoch, index));
        Ok(())
    });
    model.fit_stream(&stream, fit(4).steps_per_epoch(3).callback(count))?;
    // The second epoch ends where the batches do, the third begins with the next pass.
    let expected = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1)];
    assert_eq!(ends, expected);
    Ok(())
}

#[test]
fn a_run_on_a_stream_resumes_exactly() -> Result<()> {
    for steps in [None, Some(4)] {
        let fit = |epochs| steps.into_iter().fold(fit(epochs), Fit::steps_per_epoch);
        let mut whole = model()?;
        let history = whole.fit_stream(&batches(), fit(4))?;
        for (epoch, batch) in [(0, 0), (0, 3), (1, 2), (2, 1), (3, 0)] {
            let folder = tempfile::tempdir().unwrap();
            let checkpoint =
                || Checkpoint::new(folder.path().join("last.ckpt")).freq(CheckpointFreq::Batches(1)).resume(true);
            let handle = StopHandle::new();
            let stop = stop_after(handle.clone(), epoch, batch);
            let cut = fit(4).checkpoint(checkpoint()).stop_handle(&handle).callback(stop);
            assert!(model()?.fit_stream(&batches(), cut)?.interrupted, "{steps:?} {epoch} {batch}");
            let mut resumed = model()?;
            let own = resumed.fit_stream(&batches(), fit(4).checkpoint(checkpoint()))?;
            assert_eq!(outcome(&resumed, &own), outcome(&whole, &history), "{steps:?} {epoch} {batch}");
        }
    }
    Ok(())
}

#[test]
fn a_stream_that_can_be_read_once_ends_the_training() -> Result<()> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let receiver = Mutex::new(Some(receiver));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for start in (0..40usize).step_by(8) {
                sender.send(data().slice(start..start + 8)).unwrap();
            }
        });
        let stream = Stream::new(|_| receiver.lock().unwrap().take().into_iter().flatten());
        let history = model()?.fit_stream(&stream, fit(10))?;
        assert_eq!(history.epoch, [0]);
        assert!(history.stopped.unwrap().contains("no more batches"));
        Ok(())
    })
}

#[test]
fn streams_augment_and_validate() -> Result<()> {
    let images = |start: usize| {
        let x = Array4::from_shape_fn((4, 5, 5, 1), |(i, r, c, _)| ((start + i * 3 + r * 5 + c) % 7) as f32 / 7.0);
        Dataset::new(&x, (0..4).map(|index| index % 2).collect::<Vec<_>>())
    };
    let run = |workers: usize| -> Result<_> {
        let mut model = Sequential::new().with_seed(1);
        model.add(RandomFlip::default().input_shape((5, 5, 1)))?.add(RandomTranslation::new(0.2, 0.2))?;
        model.add(Flatten::new())?.add(Dense::new(2).activation("softmax"))?;
        model.compile(Compile::new("sgd", "sparse_categorical_crossentropy"))?;
        let validation = images(1)?;
        let stream = Stream::new(|_| (0..6).map(images));
        let history = model.fit_stream(&stream, fit(2).validation_data(&validation).workers(workers))?;
        assert!(history.last("val_loss").is_some());
        Ok(outcome(&model, &history))
    };
    assert_eq!(run(1)?, run(3)?);
    Ok(())
}

#[test]
fn what_a_stream_cannot_do_is_refused() -> Result<()> {
    let message = |stream: &Stream<'_>, fit: Fit<'_>| model().unwrap().fit_stream(stream, fit).unwrap_err().to_string();
    for (fit, word) in [
        (fit(1).batch_size(4), "batch_size"),
        (fit(1).validation_split(0.1), "validation_split"),
        (fit(1).sample_weight(vec![1.0f32]), "sample_weight"),
        (fit(1).steps_per_epoch(0), "steps_per_epoch"),
    ] {
        assert!(message(&batches(), fit).contains(word), "{word}");
    }
    let none = Stream::new(|_| Vec::new());
    assert!(message(&none, fit(1)).contains("at least one batch"));
    let wide = |batch: usize| Dataset::new(Array2::<f32>::zeros((2, 6 + batch)), vec![0, 1]);
    let error = message(&Stream::new(|_| (0..2usize).map(wide)), fit(1));
    assert!(error.contains("stream") && error.contains('7'), "{error}");
    let failing = Stream::new(|_| [data().slice(..8), Err(Error::Syntax("the line is dead".into()))]);
    assert!(message(&failing, fit(1)).contains("the line is dead"));
    let class = Stream::new(|_| [data().slice(..8), Dataset::new(Array2::<f32>::zeros((1, 6)), vec![9])]);
    assert!(message(&class, fit(1)).contains('9'));
    // A batch that is far larger than the first has to fit as well.
    let grows =
        Stream::new(|_| [2usize, 200_000].map(|rows| Dataset::new(Array2::<f32>::zeros((rows, 6)), vec![0; rows])));
    let mut small = model()?;
    small.set_memory_limit(Some(5_000_000));
    let error = small.fit_stream(&grows, fit(1)).unwrap_err().to_string();
    assert!(error.contains("5000000 bytes"), "{error}");
    Ok(())
}
