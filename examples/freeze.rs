//! One sample at a time: a frozen model beside the model itself, from several threads, and how long each takes.
//!
//! `cargo run --release --example freeze`

use std::time::{Duration, Instant};

use brasa::ndarray::ArrayD;
use brasa::prelude::*;

fn main() -> brasa::Result<()> {
    for (name, model) in networks()? {
        let predictor = model.freeze()?;
        let shape = predictor.input_shapes().next().map(|shape| shape.known_sample()).transpose()?.unwrap_or_default();
        let outputs = predictor.output_shapes().next().and_then(|shape| shape.sample_len()).unwrap_or_default();
        println!("{name}{}", if predictor.is_compiled() { "" } else { " (by its layers)" });
        for samples in [1, 32, 128] {
            let x = ArrayD::from_shape_fn([&[samples], shape.as_slice()].concat(), |at| (at[0] % 7) as f32 / 7.0);
            let (values, mut y) = (x.as_slice().unwrap_or_default(), vec![0.0; samples * outputs]);

            // The frozen model gives what the model itself gives.
            predictor.run_into(&[values], samples, &mut [&mut y])?;
            let predicted = model.predict_on_batch(&x)?;
            let apart = predicted.iter().zip(&y).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(apart < 1e-5, "{name}: {apart}");

            // By the layers, as `predict` computes for a callback; in turns, as a machine may be busy with other things.
            let layers = || model.predict_with(&x, Predict::new().batch_size(samples).callback(Nothing)).map(|_| ());
            let mut ratios = Vec::new();
            let mut best = [Duration::MAX; 2];
            for _ in 0..7 {
                let times = [time(layers)?, time(|| predictor.run_into(&[values], samples, &mut [&mut y]))?];
                ratios.push(times[0].as_secs_f64() / times[1].as_secs_f64());
                best = [best[0].min(times[0]), best[1].min(times[1])];
            }
            ratios.sort_by(f64::total_cmp);
            let rate = samples as f64 / best[1].as_secs_f64();
            println!(
                "  {samples:>3} at once: {rate:>9.0} samples a second frozen, {:.2} times as fast ({:.2} to {:.2})",
                ratios[3], ratios[0], ratios[6]
            );
        }
    }

    // From any number of threads.
    let (_, model) = networks()?.swap_remove(0);
    let predictor = model.freeze()?;
    let threads = (0..4).map(|_| {
        let predictor = predictor.clone();
        std::thread::spawn(move || predictor.run(&[ArrayD::zeros(vec![1, 28, 28, 1]).view()]))
    });
    let threads: Vec<_> = threads.collect();
    for thread in threads {
        let outputs = thread.join().expect("a thread that does not panic")?;
        assert_eq!(outputs[0].shape(), [1, 10]);
    }
    Ok(())
}

/// A callback that does nothing: with one, `predict` goes through the layers.
struct Nothing;

impl Callback for Nothing {}

/// How long a call takes, of as many as fill a twentieth of a second.
fn time(mut call: impl FnMut() -> brasa::Result<()>) -> brasa::Result<Duration> {
    call()?;
    let (start, mut calls) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_millis(50) {
        call()?;
        calls += 1;
    }
    Ok(start.elapsed() / calls)
}

fn networks() -> brasa::Result<Vec<(&'static str, Sequential)>> {
    let mut cnn = Sequential::new();
    cnn.add(Conv2D::new(32, 5).activation("relu").input_shape((28, 28, 1)))?.add(MaxPooling2D::new(2))?;
    cnn.add(Conv2D::new(64, 5).activation("relu"))?.add(MaxPooling2D::new(2))?;
    cnn.add(Flatten::new())?.add(Dense::new(10).activation("softmax"))?;

    let mut mlp = Sequential::new();
    mlp.add(Dense::new(512).activation("relu").input_shape(784))?.add(Dense::new(512).activation("relu"))?;
    mlp.add(Dense::new(10).activation("softmax"))?;

    let mut vgg = Sequential::new();
    vgg.add(Input::new((32, 32, 3)))?;
    for filters in [32, 64, 128] {
        for _ in 0..2 {
            vgg.add(Conv2D::new(filters, 3).padding("same"))?.add(BatchNormalization::new())?;
            vgg.add(Activation::new("relu"))?;
        }
        vgg.add(MaxPooling2D::new(2))?;
    }
    vgg.add(Flatten::new())?.add(Dense::new(128).activation("relu"))?.add(Dense::new(10).activation("softmax"))?;

    let mut separable = Sequential::new();
    separable.add(Conv2D::new(32, 3).padding("same").input_shape((32, 32, 3)))?;
    for filters in [64, 128] {
        separable.add(SeparableConv2D::new(filters, 3).strides(2).padding("same"))?;
        separable.add(BatchNormalization::new())?.add(Activation::new("relu"))?;
    }
    separable.add(GlobalAveragePooling2D::new())?.add(Dense::new(10).activation("softmax"))?;

    let mut lstm = Sequential::new();
    lstm.add(LSTM::new(128).input_shape((100, 28)))?.add(Dense::new(10).activation("softmax"))?;

    let mut line = Sequential::new();
    line.add(Conv1D::new(64, 5).activation("relu").input_shape((128, 9)))?.add(MaxPooling1D::new(2))?;
    line.add(Conv1D::new(128, 5).activation("relu"))?.add(GlobalMaxPooling1D::new())?;
    line.add(Dense::new(6).activation("softmax"))?;
    Ok(vec![
        ("the notebook's network", cnn),
        ("dense layers", mlp),
        ("convolutions with batch normalization", vgg),
        ("separable convolutions", separable),
        ("LSTM", lstm),
        ("convolutions over a line", line),
    ])
}
