//! Files for and from Keras, for `tests/keras/roundtrip.py` and `benches/files/run.py`.
//!
//! `roundtrip write DIR` saves a model with each built-in layer and one with each optimizer, in every format that Keras
//! opens, with inputs, predictions and the losses of the next steps. `roundtrip read DIR` loads the models saved there
//! by Keras, compares predictions, continues training and compares the losses. `roundtrip time save FILE` and
//! `roundtrip time load FILE` measure saving or loading a model of 100 MB once.

use std::path::{Path, PathBuf};

use brasa::burn::tensor::Device;
use brasa::datasets::{load_npy, save_npy};
use brasa::layers::{Example, Layer, built_in};
use brasa::ndarray::ArrayD;
use brasa::prelude::*;
use brasa::{Error, Shape};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};

/// Samples in a batch.
const SAMPLES: usize = 4;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", folder] => write(Path::new(folder)),
        ["read", folder] => read(Path::new(folder)),
        ["time", what, file] => time(what, Path::new(file)),
        _ => Err("usage: roundtrip write DIR | roundtrip read DIR | roundtrip time save|load FILE".into()),
    }
}

fn write(folder: &Path) -> Outcome<()> {
    let mut index = Vec::new();
    // Counted, so that skipping a model does not change the optimizers of the others.
    let mut left_out = 0;
    for entry in built_in() {
        for (number, example) in entry.examples().iter().enumerate() {
            match example.layer.config() {
                // Closures cannot be serialized.
                Err(Error::Unsupported { .. }) => continue,
                // Files for Keras 3 have it in another form, and `.json` has no form for it.
                Ok(config) if config.get("activation").is_some_and(|name| name == "hard_sigmoid_keras_2") => {
                    left_out += 1;
                    continue;
                }
                other => other?,
            };
            let name = format!("{}_{number}", entry.class_name);
            let optimizer = brasa::optimizers::names()[(index.len() + left_out) % 2 * 2].clone();
            index.push(write_model(folder, &name, example, &optimizer)?);
        }
    }
    for optimizer in brasa::optimizers::names() {
        let layer = Dense::new(3).activation("tanh").into();
        let example = Example { layer, input: Shape::batch_of(4), classes: None };
        index.push(write_model(folder, &format!("optimizer_{optimizer}"), &example, &optimizer)?);
    }
    std::fs::write(folder.join("index.json"), serde_json::to_string_pretty(&index)?)?;
    println!("{} models written", index.len());
    Ok(())
}

/// A model with the example's layer, trained for two steps.
fn write_model(folder: &Path, name: &str, example: &Example, optimizer: &str) -> Outcome<Json> {
    let x = batch(example);
    let mut model = model_of(example, 7)?;
    let y = {
        let mut sizes = model.output_shape()?.sizes().to_vec();
        sizes[0] = Some(SAMPLES);
        let sizes: Vec<usize> = sizes.into_iter().map(|size| size.unwrap_or(1)).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        ArrayD::from_shape_simple_fn(sizes, || rng.random_range(0.0..1.0f32))
    };
    model.compile(Compile::new(optimizer, "mse"))?;
    let trains = model.summary().trainable.count > 0;
    let train = |model: &mut Sequential| -> Outcome<Vec<f64>> {
        (0..2).map(|_| Ok(model.train_on_batch(x.clone(), y.clone())?.loss)).collect()
    };
    let mut losses = Vec::new();
    let mut draws = false;
    if trains {
        train(&mut model)?;
        losses = train(&mut model.clone())?;
        draws = train(&mut model.clone().with_seed(8))? != losses;
    }
    for form in ["keras", "h5", "json"] {
        model.save(folder.join(format!("{name}.{form}")))?;
    }
    model.save_weights(folder.join(format!("{name}.weights.h5")))?;
    let put = |kind: &str, array: &ArrayD<f32>| {
        let values: Vec<f32> = array.iter().copied().collect();
        save_npy(folder.join(format!("{name}.{kind}.npy")), array.shape(), &values)
    };
    put("x", &x)?;
    put("y", &y)?;
    put("predicted", &model.predict(x.clone())?)?;
    Ok(json!({
        "name": name, "class_name": example.layer.class_name(), "optimizer": optimizer, "losses": losses,
        "trains": trains, "draws": draws, "recurrent": is_recurrent(&*example.layer),
    }))
}

/// Measures the time of saving or loading 25 million weights once, and the additional peak memory.
fn time(what: &str, path: &Path) -> Outcome<()> {
    let mut model = Sequential::new().with_seed(1);
    if what == "save" {
        model.add(Input::new(1500))?;
        for _ in 0..11 {
            model.add(Dense::new(1500))?;
        }
        // Weights are created on first use, which is not part of saving.
        model.get_weights()?;
    }
    // Resets the peak memory of the process.
    std::fs::write("/proc/self/clear_refs", "5")?;
    let before = status("VmRSS:")?;
    let start = std::time::Instant::now();
    match what {
        "save" => model.save(path)?,
        "load" => model = Sequential::load(path)?,
        _ => return Err("`save` or `load`".into()),
    }
    let seconds = start.elapsed().as_secs_f64();
    let memory = status("VmHWM:")? - before;
    println!("{}", json!({ "seconds": seconds, "memory": memory, "weights": model.count_params()? }));
    Ok(())
}

/// A line of Linux's process status, in bytes.
fn status(line: &str) -> Outcome<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let number = text.lines().find_map(|own| own.strip_prefix(line)?.split_whitespace().next());
    Ok(number.ok_or("no such line")?.parse::<u64>()? * 1024)
}

fn is_recurrent(layer: &dyn Layer) -> bool {
    ["LSTM", "GRU", "SimpleRNN", "Bidirectional", "MelSpectrogram"].contains(&layer.class_name())
}

fn model_of(example: &Example, seed: u64) -> brasa::Result<Sequential> {
    let mut model = Sequential::new().with_seed(seed);
    model.to_device(&Device::flex());
    model.add(Input::new(example.input.sample().to_vec()))?;
    if example.layer.class_name() == "InputLayer" {
        model.add(Flatten::new())?;
    } else {
        model.add(example.layer.clone())?;
    }
    Ok(model)
}

/// Inputs for the example's layer: random numbers between −1 and 1, or integers.
fn batch(example: &Example) -> ArrayD<f32> {
    let sizes: Vec<usize> =
        std::iter::once(SAMPLES).chain(example.input.sample().iter().map(|size| size.unwrap_or(3))).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    ArrayD::from_shape_simple_fn(sizes, || match example.classes {
        Some(classes) => rng.random_range(0..classes) as f32,
        None => rng.random_range(-1.0..1.0f32),
    })
}

/// Every model saved by Keras in `DIR`, with `NAME.x.npy` and `NAME.predicted.npy`, and with `NAME.y.npy` and
/// `NAME.losses.npy` if Keras continued training.
fn read(folder: &Path) -> Outcome<()> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Outcome<_>>()?;
    files.retain(|path| path.extension().is_some_and(|ending| ending == "keras" || ending == "h5"));
    files.sort();
    let (mut worst, mut worst_loss, mut trained, mut failures) = (0.0f32, 0.0f32, 0, Vec::new());
    for path in &files {
        match compare(path) {
            Ok((difference, losses)) => {
                worst = worst.max(difference);
                worst_loss = worst_loss.max(losses.unwrap_or(0.0));
                trained += usize::from(losses.is_some());
                if difference > 1e-5 {
                    failures.push(format!("{}: predictions differ by {difference:e}", path.display()));
                }
                // Gradients are summed in another order.
                if losses.is_some_and(|losses| losses > 1e-4) {
                    failures.push(format!("{}: losses differ by {:e}", path.display(), losses.unwrap_or(0.0)));
                }
            }
            Err(error) => failures.push(format!("{}: {error}", path.display())),
        }
    }
    println!("{} files of Keras loaded, largest difference {worst:.1e};", files.len());
    println!("  {trained} trained on, largest difference of losses {worst_loss:.1e}; {} problems", failures.len());
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}

/// The differences of the predictions and, if Keras continued training, of the losses.
fn compare(path: &Path) -> Outcome<(f32, Option<f32>)> {
    let mut model = Sequential::load(path)?;
    if !model.is_compiled() {
        return Err("not compiled as it was saved".into());
    }
    let beside = |kind: &str| Ok::<_, Error>(load_npy(path.with_extension(format!("{kind}.npy")))?.into_ndarray());
    let x = beside("x")?;
    let predictions = difference(&model.predict(x.clone())?, &beside("predicted")?)?;
    if !path.with_extension("losses.npy").exists() {
        return Ok((predictions, None));
    }
    let (y, expected) = (beside("y")?, beside("losses")?);
    let losses = expected.iter().map(|_| Ok(model.train_on_batch(x.clone(), y.clone())?.loss as f32));
    let losses = ArrayD::from_shape_vec(expected.shape(), losses.collect::<Outcome<Vec<_>>>()?)?;
    Ok((predictions, Some(difference(&losses, &expected)?)))
}

/// The largest difference, relative to the largest value.
fn difference(found: &ArrayD<f32>, expected: &ArrayD<f32>) -> Outcome<f32> {
    if found.shape() != expected.shape() {
        return Err(format!("shape {:?} where Keras has {:?}", found.shape(), expected.shape()).into());
    }
    let scale = expected.iter().fold(1e-3f32, |scale, value| scale.max(value.abs()));
    let difference = found.iter().zip(expected).fold(0.0f32, |worst, (a, b)| {
        let difference = (a - b).abs();
        if difference.is_nan() { f32::INFINITY } else { worst.max(difference) }
    });
    Ok(difference / scale)
}
