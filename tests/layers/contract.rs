//! The contract of every built-in layer, checked over their list.

use brasa::burn::tensor::Device;
use brasa::layers::{Example, built_in};
use brasa::model::Mode;
use brasa::ndarray::ArrayD;
use brasa::prelude::*;
use brasa::{Error, Shape, Value};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Runs `check` for every example of every built-in layer; the message names those that fail.
fn for_every_example(check: impl Fn(&Example) -> Result<(), String>) {
    let mut failures = Vec::new();
    // Cells are not layers by themselves: the examples of `RNN` contain them.
    let is_cell = |class: &str| class.ends_with("Cell") || class.ends_with("Cells");
    for entry in built_in().iter().filter(|entry| !is_cell(entry.class_name)) {
        let examples = entry.examples();
        // Text layers have their own tests.
        let others = !entry.examples_of_several().is_empty() || !entry.examples_of_text().is_empty();
        assert!(others || !examples.is_empty(), "{} shows no example", entry.class_name);
        for (index, example) in examples.iter().enumerate() {
            if let Err(failure) = check(example) {
                failures.push(format!("{} (example {index}): {failure}", entry.class_name));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

fn text(error: Error) -> String {
    error.to_string()
}

/// A model with only the example's layer.
fn model_of(example: &Example, device: &Device) -> Result<Sequential, String> {
    let mut model = Sequential::new().with_seed(7);
    model.to_device(device);
    model.add(Input::new(example.input.sample().to_vec())).map_err(text)?;
    if example.layer.class_name() != "InputLayer" {
        model.add(example.layer.clone()).map_err(text)?;
    } else {
        model.add(Flatten::new()).map_err(text)?;
    }
    Ok(model)
}

fn flex() -> Device {
    Device::flex()
}

/// Inputs for the example's layer: random numbers between −1 and 1, or integers.
fn inputs(example: &Example, samples: usize) -> ArrayD<f32> {
    let sizes: Vec<usize> =
        std::iter::once(Some(samples)).chain(example.input.sample().iter().copied()).flatten().collect();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    ArrayD::from_shape_simple_fn(sizes, || match example.classes {
        Some(classes) => rng.random_range(0..classes) as f32,
        None => rng.random_range(-1.0..1.0f32),
    })
}

/// The model's declared output shape, with the batch size filled in.
fn declared(model: &Sequential, samples: usize) -> Result<Vec<usize>, String> {
    let mut sizes = model.output_shape().map_err(text)?.sizes().to_vec();
    sizes[0] = Some(samples);
    sizes.iter().copied().collect::<Option<_>>().ok_or_else(|| format!("an open output shape {sizes:?}"))
}

/// Whether the layer can be serialized; a closure cannot.
fn can_be_written(example: &Example) -> Result<bool, String> {
    match example.layer.config() {
        Ok(_) => Ok(true),
        Err(Error::Unsupported { .. }) if example.layer.class_name() == "Lambda" => Ok(false),
        Err(error) => Err(text(error)),
    }
}

/// The largest difference, relative for numbers above 1.
#[cfg(any(feature = "ndarray", feature = "wgpu"))]
fn difference(a: &ArrayD<f32>, b: &ArrayD<f32>) -> f32 {
    assert_eq!(a.shape(), b.shape());
    a.iter().zip(b).fold(0.0, |worst: f32, (a, b)| {
        let difference = if a == b { 0.0 } else { (a - b).abs() / b.abs().max(1.0) };
        if difference.is_nan() { f32::INFINITY } else { worst.max(difference) }
    })
}

#[test]
fn the_declared_shape_is_the_real_one() {
    for_every_example(|example| {
        let model = model_of(example, &flex())?;
        for samples in [1, 3] {
            // A forward pass of the model itself: `predict` would only copy into the declared shape.
            let x = inputs(example, samples);
            let value = brasa::Value::from_vec(x.iter().copied().collect(), x.shape(), &flex()).map_err(text)?;
            let output = model.forward(value, brasa::model::Mode::Inference).map_err(text)?.output().clone();
            if output.sizes() != declared(&model, samples)? {
                return Err(format!("declared {:?}, real {:?}", declared(&model, samples)?, output.sizes()));
            }
            let finite = output.to_vec().map_err(text)?.iter().all(|number| number.is_finite());
            // No layer should produce NaN or infinity from finite numbers.
            if !finite {
                return Err("an output that is not finite".into());
            }
        }
        Ok(())
    });
}

#[test]
fn the_declared_weights_are_the_real_ones() {
    for_every_example(|example| {
        let model = model_of(example, &flex())?;
        let weights = model.get_weights().map_err(text)?;
        let specs = example.layer.weights(&example.input).map_err(text)?;
        let declared: Vec<_> = specs.iter().map(|spec| spec.sizes.clone()).collect();
        let real: Vec<_> = weights.iter().map(|weight| weight.shape().to_vec()).collect();
        let counted = weights.iter().map(ArrayD::len).sum::<usize>();
        if declared != real || model.count_params().map_err(text)? != counted {
            return Err(format!("declared {declared:?}, real {real:?}"));
        }
        Ok(())
    });
}

#[test]
fn a_description_survives_its_config() {
    for_every_example(|example| {
        if !can_be_written(example)? {
            return Ok(());
        }
        let config = example.layer.full_config().map_err(text)?;
        let entry = built_in().iter().find(|entry| entry.class_name == example.layer.class_name());
        let entry = entry.ok_or("a layer that is not in the list")?;
        let again = entry.layer(config.clone()).map_err(text)?.full_config().map_err(text)?;
        if again == config { Ok(()) } else { Err(format!("{config:?}\nbecame {again:?}")) }
    });
}

#[test]
fn unknown_arguments_are_refused() {
    for_every_example(|example| {
        if !can_be_written(example)? {
            return Ok(());
        }
        let mut config = example.layer.config().map_err(text)?;
        config.insert("no_such_argument".into(), 1.into());
        let entry = built_in().iter().find(|entry| entry.class_name == example.layer.class_name());
        match entry.ok_or("a layer that is not in the list")?.layer(config) {
            Err(Error::UnknownName { .. } | Error::Unsupported { .. }) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

#[test]
fn a_model_round_trips_through_json_with_its_weights() {
    for_every_example(|example| {
        let model = model_of(example, &flex())?;
        if !can_be_written(example)? {
            return match model.to_json() {
                Err(Error::Unsupported { .. }) => Ok(()),
                other => Err(format!("{other:?}")),
            };
        }
        let json = model.to_json().map_err(text)?;
        let mut copy = Sequential::from_json(&json).map_err(text)?;
        if copy.to_json().map_err(text)? != json {
            return Err(format!("{json}\nbecame {}", copy.to_json().map_err(text)?));
        }
        copy.set_weights(&model.get_weights().map_err(text)?).map_err(text)?;
        let x = inputs(example, 2);
        let (one, other) = (model.predict(x.clone()).map_err(text)?, copy.predict(x).map_err(text)?);
        if one == other { Ok(()) } else { Err("the copy predicts something else".into()) }
    });
}

/// Saved and loaded in each format, the model computes the same bits and continues training identically.
#[test]
fn a_model_round_trips_through_every_format() {
    let folder = tempfile::tempdir().unwrap();
    for_every_example(|example| {
        let mut model = model_of(example, &flex())?;
        if !can_be_written(example)? {
            return match model.save(folder.path().join("closure.keras")) {
                Err(Error::Unsupported { .. }) => Ok(()),
                other => Err(format!("{other:?}")),
            };
        }
        model.compile(Compile::new(Adam::new(0.01), "mse")).map_err(text)?;
        let zeros = ArrayD::<f32>::zeros(declared(&model, 3)?);
        model.train_on_batch(inputs(example, 3), zeros.clone()).map_err(text)?;
        let expected = model.predict(inputs(example, 2)).map_err(text)?;
        let after = |mut model: Sequential| -> Result<_, String> {
            model.train_on_batch(inputs(example, 3), zeros.clone()).map_err(text)?;
            model.get_weights().map_err(text)
        };
        let trained = after(model.clone())?;
        for form in ["keras", "h5", "safetensors"] {
            let path = folder.path().join(format!("model.{form}"));
            model.save(&path).map_err(text)?;
            let copy = Sequential::load(&path).map_err(|error| format!("{form}: {error}"))?;
            let found = copy.predict(inputs(example, 2)).map_err(text)?;
            // Keras 2's hard_sigmoid is written as Keras 3's with a factor before it, which adds a rounding.
            let differs = |(a, b): (&f32, &f32)| (a - b).abs() > 2e-7 * b.abs().max(1.0);
            if found.shape() != expected.shape() || found.iter().zip(&expected).any(differs) {
                return Err(format!("{form}: the copy predicts something else"));
            }
            // Random numbers depend on the seed, which is not part of a file.
            if after(copy.with_seed(model.seed()))? != trained {
                return Err(format!("{form}: the copy trains on differently"));
            }
        }
        for form in ["weights.h5", "h5", "safetensors"] {
            let path = folder.path().join(format!("alone.{form}"));
            model.save_weights(&path).map_err(text)?;
            let mut copy = model_of(example, &flex())?.with_seed(8);
            copy.load_weights(&path).map_err(|error| format!("{form}: {error}"))?;
            let found = copy.predict(inputs(example, 2)).map_err(text)?;
            // Keras 2's hard_sigmoid is written as Keras 3's with a factor before it, which adds a rounding.
            let differs = |(a, b): (&f32, &f32)| (a - b).abs() > 2e-7 * b.abs().max(1.0);
            if found.shape() != expected.shape() || found.iter().zip(&expected).any(differs) {
                return Err(format!("{form}: the weights make another model"));
            }
        }
        let path = folder.path().join("model.json");
        match model.save(&path) {
            // Without weights the factor of Keras 2's hard_sigmoid cannot be folded in.
            Err(Error::Unsupported { what, .. }) if what.contains("hard_sigmoid") => return Ok(()),
            saved => saved.map_err(text)?,
        }
        let mut copy = Sequential::load(&path).map_err(text)?;
        copy.load_weights(folder.path().join("model.keras")).map_err(text)?;
        if copy.predict(inputs(example, 2)).map_err(text)? != expected {
            return Err("json: the copy predicts something else".into());
        }
        Ok(())
    });
}

#[test]
fn a_step_of_training_leaves_everything_finite() {
    for_every_example(|example| {
        let mut model = model_of(example, &flex())?;
        model.compile(Compile::new(SGD::new(0.01), "mse")).map_err(text)?;
        let zeros = ArrayD::<f32>::zeros(declared(&model, 3)?);
        let scores = model.train_on_batch(inputs(example, 3), zeros).map_err(text)?;
        let weights = model.get_weights().map_err(text)?;
        if scores.loss.is_finite() && weights.iter().flatten().all(|weight| weight.is_finite()) {
            Ok(())
        } else {
            Err(format!("loss {}", scores.loss))
        }
    });
}

/// Every trainable weight has a nonzero gradient: otherwise it would not learn.
#[test]
fn every_trainable_weight_learns() {
    for_every_example(|example| {
        let mut model = model_of(example, &flex())?;
        // Away from zeros and ones, where some gradients vanish.
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let start = model.get_weights().map_err(text)?;
        let start: Vec<_> = start.iter().map(|weight| weight.map(|_| rng.random_range(0.1..0.9f32))).collect();
        model.set_weights(&start).map_err(text)?;
        model.compile(Compile::new(SGD::new(0.1), "mse")).map_err(text)?;
        let x = inputs(example, 3);
        let y = ArrayD::from_elem(declared(&model, 3)?, 0.3);
        model.train_on_batch(x, y).map_err(text)?;
        let specs = example.layer.weights(&example.input).map_err(text)?;
        let trainable = specs.iter().map(|spec| spec.trainable);
        for (((spec, trainable), before), after) in
            specs.iter().zip(trainable).zip(&start).zip(model.get_weights().map_err(text)?)
        {
            if trainable && *before == after {
                return Err(format!("`{}` did not change", spec.name));
            }
        }
        Ok(())
    });
}

/// The compiled form of prediction gives the numbers of the layers.
#[test]
fn the_compiled_form_agrees_with_the_layers() {
    for_every_example(|example| {
        let model = model_of(example, &flex())?;
        let x = inputs(example, 3);
        let sizes = x.shape().to_vec();
        let value = Value::from_vec(x.iter().copied().collect(), &sizes, model.device()).map_err(text)?;
        let pass = model.forward(value, Mode::Inference).map_err(text)?;
        let by_layers = pass.output().to_vec().map_err(text)?;
        let predicted = model.predict(x).map_err(text)?;
        let worst = predicted.iter().zip(&by_layers).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        if predicted.len() != by_layers.len() || worst > 1e-5 {
            return Err(format!("predictions differ by {worst}"));
        }
        Ok(())
    });
}

/// Compares predictions and a training step on `device` with those on flex.
#[cfg(any(feature = "ndarray", feature = "wgpu"))]
fn same_numbers(device: &Device) {
    for_every_example(|example| {
        // Progress for `--nocapture`: on a software GPU this takes long.
        eprintln!("{}", example.layer.class_name());
        let mut one = model_of(example, &flex())?;
        let mut other = model_of(example, device)?;
        let x = inputs(example, 3);
        let worst = difference(&other.predict(x.clone()).map_err(text)?, &one.predict(x.clone()).map_err(text)?);
        if worst > 1e-4 {
            return Err(format!("predictions differ by {worst}"));
        }
        let zeros = ArrayD::<f32>::zeros(declared(&one, 3)?);
        for model in [&mut one, &mut other] {
            model.compile(Compile::new(SGD::new(0.1), "mse")).map_err(text)?;
            model.train_on_batch(x.clone(), zeros.clone()).map_err(text)?;
        }
        for (one, other) in one.get_weights().map_err(text)?.iter().zip(&other.get_weights().map_err(text)?) {
            let worst = difference(other, one);
            if worst > 1e-4 {
                return Err(format!("trained weights differ by {worst}"));
            }
        }
        Ok(())
    });
}

#[cfg(feature = "ndarray")]
#[test]
fn ndarray_computes_the_same() {
    same_numbers(&"ndarray".parse::<brasa::backend::Backend>().and_then(|backend| backend.device()).unwrap());
}

/// Runs if `BRASA_TEST_GPU=all` (with a software GPU every layer's shaders take minutes to compile); a missing GPU is
/// then a failure. `BRASA_TEST_GPU_BACKEND` names another backend than `wgpu`.
#[cfg(feature = "wgpu")]
#[test]
fn wgpu_computes_the_same() {
    if std::env::var("BRASA_TEST_GPU").as_deref() != Ok("all") {
        eprintln!("skipped: BRASA_TEST_GPU is not `all`");
        return;
    }
    let name = std::env::var("BRASA_TEST_GPU_BACKEND").unwrap_or_else(|_| "wgpu".into());
    same_numbers(&name.parse::<brasa::backend::Backend>().and_then(|backend| backend.device()).unwrap());
}

/// The same seed gives the same bits.
#[test]
fn training_is_repeatable() {
    for_every_example(|example| {
        let run = || {
            let mut model = model_of(example, &flex())?;
            model.compile(Compile::new(SGD::new(0.1), "mse")).map_err(text)?;
            let zeros = ArrayD::<f32>::zeros(declared(&model, 3)?);
            let scores = model.train_on_batch(inputs(example, 3), zeros).map_err(text)?;
            Ok::<_, String>((scores.loss.to_bits(), model.get_weights().map_err(text)?))
        };
        if run()? == run()? { Ok(()) } else { Err("two runs differ".into()) }
    });
}

/// Unusual shapes are accepted or rejected, without a panic.
#[test]
fn odd_input_shapes_are_accepted_or_refused() {
    let shapes: Vec<Shape> = (0..6)
        .flat_map(|rank| [Some(0), Some(1), Some(2), None].map(|size| Shape::batch_of(vec![size; rank])))
        .collect();
    for_every_example(|example| {
        for shape in &shapes {
            // Both functions, as called by `add`.
            if example.layer.output_shape(shape).is_ok() {
                let _ = example.layer.weights(shape);
            }
        }
        Ok(())
    });
}
