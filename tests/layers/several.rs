//! The contract of every built-in layer with several inputs, checked over their examples.

use brasa::Shape;
use brasa::burn::tensor::Device;
use brasa::layers::{ExampleOfSeveral, built_in};
use brasa::prelude::*;

/// Runs `check` for every example; the message names those that fail.
fn for_every_example(check: impl Fn(&ExampleOfSeveral) -> Result<(), String>) {
    let (mut failures, mut count) = (Vec::new(), 0);
    for entry in built_in() {
        for (index, example) in entry.examples_of_several().iter().enumerate() {
            count += 1;
            if let Err(failure) = check(example) {
                failures.push(format!("{} (example {index}): {failure}", entry.class_name));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(count > 40, "{count} examples");
}

fn text(error: brasa::Error) -> String {
    error.to_string()
}

/// A model of only this layer.
fn model_of((layer, inputs): &ExampleOfSeveral, device: &Device) -> Result<Model, String> {
    // Host layers accept integers only.
    let dtype = if layer.on_host().is_some() { "int64" } else { "float32" };
    let input = |input: &Shape| Input::new(input.sample().to_vec()).dtype(dtype).symbol();
    let inputs: Vec<Symbol> = inputs.iter().map(input).collect();
    let outputs = layer.clone().call_all(&inputs).map_err(text)?;
    let mut model = Model::new(&inputs, &outputs).map_err(text)?;
    model.set_seed(7);
    model.to_device(device);
    Ok(model)
}

fn samples(inputs: &[Shape], count: usize) -> Vec<Samples> {
    let of = |(index, input): (usize, &Shape)| {
        let sizes: Vec<usize> = std::iter::once(count).chain(input.sample().iter().flatten().copied()).collect();
        let number = |i: usize| ((i + 17 * index) as f32 * 0.73).sin();
        Samples::new(sizes.clone(), (0..sizes.iter().product()).map(number).collect()).unwrap()
    };
    inputs.iter().enumerate().map(of).collect()
}

fn predict(model: &Model, inputs: &[Shape], count: usize) -> Result<Vec<Vec<f32>>, String> {
    let outputs = model.predict_all(samples(inputs, count)).map_err(text)?;
    Ok(outputs.iter().map(|output| output.iter().copied().collect()).collect())
}

#[test]
fn the_declared_shapes_and_weights_are_the_real_ones() {
    for_every_example(|example| {
        let (layer, inputs) = example;
        let model = model_of(example, &Device::flex())?;
        let specs = layer.weights_for(inputs).map_err(text)?;
        let real: Vec<_> = model.get_weights().map_err(text)?.iter().map(|weight| weight.shape().to_vec()).collect();
        let declared: Vec<_> = specs.iter().map(|spec| spec.sizes.clone()).collect();
        if declared != real {
            return Err(format!("declared the weights {declared:?}, real {real:?}"));
        }
        let shapes = layer.output_shapes(inputs, &brasa::layers::Arguments::new()).map_err(text)?;
        for count in [1, 3] {
            let outputs = model.predict_all(samples(inputs, count)).map_err(text)?;
            for (output, shape) in outputs.iter().zip(&shapes) {
                if !shape.accepts(output.shape()) || output.shape()[0] != count {
                    return Err(format!("declared {shape}, real {:?}", output.shape()));
                }
                if !output.iter().all(|number| number.is_finite()) {
                    return Err("an output that is not finite".into());
                }
            }
        }
        Ok(())
    });
}

#[test]
fn a_description_survives_its_config_and_knows_its_arguments() {
    for_every_example(|(layer, _)| {
        let mut config = layer.full_config().map_err(text)?;
        let entry = built_in().iter().find(|entry| entry.class_name == layer.class_name()).ok_or("not in the list")?;
        let again = entry.layer(config.clone()).map_err(text)?.full_config().map_err(text)?;
        if again != config {
            return Err(format!("{config:?}\nbecame {again:?}"));
        }
        config.insert("no_such_argument".into(), 1.into());
        match entry.layer(config) {
            Err(brasa::Error::UnknownName { .. } | brasa::Error::Unsupported { .. }) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

#[test]
fn a_model_round_trips_through_every_format() {
    let folder = tempfile::tempdir().unwrap();
    for_every_example(|example| {
        let model = model_of(example, &Device::flex())?;
        let expected = predict(&model, &example.1, 2)?;
        for form in ["keras", "h5", "safetensors"] {
            let path = folder.path().join(format!("model.{form}"));
            model.save(&path).map_err(text)?;
            let copy = Model::load(&path).map_err(|error| format!("{form}: {error}"))?;
            if predict(&copy, &example.1, 2)? != expected {
                return Err(format!("{form}: the copy predicts something else"));
            }
            if copy.to_json().map_err(text)? != model.to_json().map_err(text)? {
                return Err(format!("{form}: the copy has another config"));
            }
        }
        Ok(())
    });
}

#[cfg(feature = "ndarray")]
#[test]
fn ndarray_computes_the_same() {
    let ndarray = "ndarray".parse::<Backend>().and_then(|backend| backend.device()).unwrap();
    for_every_example(|example| {
        let one = predict(&model_of(example, &Device::flex())?, &example.1, 3)?;
        let other = predict(&model_of(example, &ndarray)?, &example.1, 3)?;
        let numbers = one.iter().flatten().zip(other.iter().flatten());
        let worst = numbers.fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs() / a.abs().max(1.0)));
        if worst < 1e-5 { Ok(()) } else { Err(format!("off by {worst}")) }
    });
}

/// Axes of size 0, each alone and all of them: accepted or rejected, without a panic, and with finite outputs.
#[test]
fn axes_of_size_0_are_accepted_or_refused() {
    for_every_example(|(layer, inputs)| {
        let axes = inputs.iter().map(Shape::rank).max().unwrap_or(1) - 1;
        for zeros in 1u32..1 << axes {
            let with_zeros = |input: &Shape| {
                let size = |(axis, size): (usize, &Option<usize>)| if zeros >> axis & 1 == 1 { Some(0) } else { *size };
                Shape::batch_of(input.sample().iter().enumerate().map(size).collect::<Vec<_>>())
            };
            // All inputs, and all but the first.
            for kept in 0..=1 {
                let inputs: Vec<Shape> =
                    inputs.iter().take(kept).cloned().chain(inputs.iter().skip(kept).map(with_zeros)).collect();
                let Ok(model) = model_of(&(layer.clone(), inputs.clone()), &Device::flex()) else { continue };
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| predict(&model, &inputs, 2)));
                match result {
                    Err(_) => return Err(format!("a panic on {inputs:?}")),
                    Ok(Ok(outputs)) if outputs.iter().flatten().any(|number| !number.is_finite()) => {
                        return Err(format!("{outputs:?} of {inputs:?}"));
                    }
                    Ok(_) => {}
                }
            }
        }
        Ok(())
    });
}
