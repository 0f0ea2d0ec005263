//! Files for Keras, and from it: what `tests/keras/roundtrip.py` runs.
//!
//! `roundtrip write DIR` saves a model of every layer of the list and one with every optimizer, in every form that Keras
//! opens, with inputs, predictions and the losses of the next steps. `roundtrip read DIR` loads what Keras has saved
//! there and compares predictions. `roundtrip time DIR` measures saving and loading a model of 100 MB.

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
        ["time", folder] => time(Path::new(folder)),
        _ => Err("usage: roundtrip write DIR | roundtrip read DIR | roundtrip time DIR".into()),
    }
}

fn write(folder: &Path) -> Outcome<()> {
    let mut index = Vec::new();
    for entry in built_in() {
        for (number, example) in entry.examples().iter().enumerate() {
            match example.layer.config() {
                // A closure cannot be written.
                Err(Error::Unsupported { .. }) => continue,
                other => other?,
            };
            let name = format!("{}_{number}", entry.class_name);
            let optimizer = brasa::optimizers::names()[index.len() % 2 * 2].clone();
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

/// A model with the example's layer, two steps trained.
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

/// How long saving and loading 25 million weights takes in each form, the best of five.
fn time(folder: &Path) -> Outcome<()> {
    let mut model = Sequential::new().with_seed(1);
    model.add(Dense::new(5000).input_shape(5000))?;
    let milliseconds = |run: &mut dyn FnMut() -> Outcome<()>| -> Outcome<f64> {
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let start = std::time::Instant::now();
            run()?;
            best = best.min(start.elapsed().as_secs_f64() * 1e3);
        }
        Ok(best)
    };
    for form in ["keras", "h5", "safetensors"] {
        let path = folder.join(format!("time.{form}"));
        let saved = milliseconds(&mut || Ok(model.save(&path)?))?;
        let loaded = milliseconds(&mut || Ok(Sequential::load(&path).map(drop)?))?;
        println!("{form}: saved in {saved:.0} ms, loaded in {loaded:.0} ms");
    }
    Ok(())
}

fn is_recurrent(layer: &dyn Layer) -> bool {
    ["LSTM", "GRU", "SimpleRNN", "Bidirectional"].contains(&layer.class_name())
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

/// Inputs that the example's layer takes: random numbers between −1 and 1, or whole ones.
fn batch(example: &Example) -> ArrayD<f32> {
    let sizes: Vec<usize> =
        std::iter::once(SAMPLES).chain(example.input.sample().iter().map(|size| size.unwrap_or(3))).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    ArrayD::from_shape_simple_fn(sizes, || match example.classes {
        Some(classes) => rng.random_range(0..classes) as f32,
        None => rng.random_range(-1.0..1.0f32),
    })
}

/// Every model that Keras has saved into `DIR`, with `NAME.x.npy` and `NAME.predicted.npy` beside it.
fn read(folder: &Path) -> Outcome<()> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Outcome<_>>()?;
    files.retain(|path| path.extension().is_some_and(|ending| ending == "keras" || ending == "h5"));
    files.retain(|path| !path.to_string_lossy().ends_with(".weights.h5"));
    files.sort();
    let (mut worst, mut failures) = (0.0f32, Vec::new());
    for path in &files {
        let difference = compare(path);
        match difference {
            Ok(difference) if difference <= 1e-5 => worst = worst.max(difference),
            Ok(difference) => failures.push(format!("{}: differs by {difference:e}", path.display())),
            Err(error) => failures.push(format!("{}: {error}", path.display())),
        }
    }
    println!(
        "{} of {} files of Keras predict the same; largest difference {worst:e}",
        files.len() - failures.len(),
        files.len()
    );
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}

/// The largest difference, relative to the largest value.
fn compare(path: &Path) -> Outcome<f32> {
    let model = Sequential::load(path)?;
    if !model.is_compiled() {
        return Err("not compiled as it was saved".into());
    }
    let beside = |kind: &str| load_npy(path.with_extension(format!("{kind}.npy")));
    let found = model.predict(&beside("x")?)?;
    let expected = beside("predicted")?.into_ndarray();
    if found.shape() != expected.shape() {
        return Err(format!("shape {:?} where Keras has {:?}", found.shape(), expected.shape()).into());
    }
    let scale = expected.iter().fold(1e-3f32, |scale, value| scale.max(value.abs()));
    let difference = found.iter().zip(&expected).fold(0.0f32, |worst, (a, b)| {
        let difference = (a - b).abs();
        if difference.is_nan() { f32::INFINITY } else { worst.max(difference) }
    });
    Ok(difference / scale)
}
