//! Axes of size 0 and empty batches: as in Keras, outputs are as empty as the inputs, if a layer accepts such a shape
//! at all.

use std::panic::{AssertUnwindSafe, catch_unwind};

use brasa::burn::tensor::Device;
use brasa::layers::{Example, built_in};
use brasa::model::Mode;
use brasa::ndarray::{ArrayD, IxDyn};
use brasa::prelude::*;
use brasa::{Shape, Value};

fn devices() -> Vec<Device> {
    let names = ["flex"].into_iter().chain(cfg!(feature = "ndarray").then_some("ndarray"));
    names.map(|name| name.parse::<Backend>().unwrap().device().unwrap()).collect()
}

/// The example's sizes with some replaced by 0.
fn with_zeros(example: &Example) -> Vec<Vec<usize>> {
    let sample: Vec<usize> = example.input.sample().iter().map(|size| size.unwrap_or(2)).collect();
    (1u32..1 << sample.len())
        .map(|zeros| {
            let size = |(axis, size): (usize, &usize)| if zeros >> axis & 1 == 1 { 0 } else { *size };
            sample.iter().enumerate().map(size).collect()
        })
        .collect()
}

/// A model of only this layer, if it accepts samples of these sizes.
fn model_of(example: &Example, sample: &[usize], device: &Device) -> Option<Sequential> {
    let mut model = Sequential::new().with_seed(7);
    model.to_device(device);
    model.add(Input::new(sample.to_vec())).ok()?;
    if example.layer.class_name() != "InputLayer" {
        model.add(example.layer.clone()).ok()?;
    } else {
        model.add(Flatten::new()).ok()?;
    }
    Some(model)
}

fn zeros(batch: usize, sample: &[usize]) -> ArrayD<f32> {
    ArrayD::zeros(IxDyn(&[&[batch], sample].concat()))
}

/// Runs `check` on every example with every choice of axes of size 0, on every CPU backend; a panic is a failure.
fn for_every_example(check: impl Fn(&Example, &[usize], &Device) -> Result<bool, String>) -> usize {
    let (mut failures, mut taken) = (Vec::new(), 0);
    for entry in built_in() {
        // The result of a user's function for empty input is up to that function.
        for example in entry.examples().into_iter().filter(|_| entry.class_name != "Lambda") {
            for sample in with_zeros(&example) {
                for device in devices() {
                    let result = catch_unwind(AssertUnwindSafe(|| check(&example, &sample, &device)));
                    match result.unwrap_or_else(|_| Err("a panic".into())) {
                        Ok(was_taken) => taken += usize::from(was_taken),
                        Err(failure) => {
                            failures.push(format!("{} on {sample:?}, {device:?}: {failure}", entry.class_name));
                        }
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    taken
}

fn text(error: brasa::Error) -> String {
    error.to_string()
}

#[test]
fn predictions_have_the_declared_shape() {
    let taken = for_every_example(|example, sample, device| {
        let Some(model) = model_of(example, sample, device) else { return Ok(false) };
        let declared = model.output_shape().map_err(text)?.known_sample().map_err(text)?;
        for batch in [1, 3] {
            let output = model.predict(zeros(batch, sample)).map_err(text)?;
            if output.shape() != [&[batch], declared.as_slice()].concat() {
                return Err(format!("declared {declared:?}, real {:?}", output.shape()));
            }
        }
        Ok(true)
    });
    assert!(taken > 150, "only {taken} shapes were taken");
}

/// With a layer after it that outputs something for empty input: its bias. The weights of the layer before it get
/// gradients of zero.
#[test]
fn a_step_of_training_leaves_finite_weights() {
    let taken = for_every_example(|example, sample, device| {
        let Some(mut model) = model_of(example, sample, device) else { return Ok(false) };
        if model.add(Flatten::new()).and_then(|model| model.add(Dense::new(2))).is_err() {
            return Ok(false);
        }
        model.compile(Compile::new("adam", "mse").metrics(["mae"])).map_err(text)?;
        let (x, y) = (zeros(3, sample), ArrayD::<f32>::ones(IxDyn(&[3, 2])));
        model.train_on_batch(&x, &y).map_err(text)?;
        model.test_on_batch(&x, &y).map_err(text)?;
        let finite = model.get_weights().map_err(text)?.iter().flatten().all(|weight| weight.is_finite());
        if finite { Ok(true) } else { Err("weights that are not finite".into()) }
    });
    assert!(taken > 150, "only {taken} shapes were taken");
}

/// An empty comparison is an error, not a panic.
#[test]
fn a_loss_of_nothing_is_refused() {
    for_every_example(|example, sample, device| {
        let Some(mut model) = model_of(example, sample, device) else { return Ok(false) };
        let output = model.output_shape().map_err(text)?.known_sample().map_err(text)?;
        model.compile(Compile::new("sgd", "mse")).map_err(text)?;
        let trained = model.train_on_batch(zeros(2, sample), zeros(2, &output));
        match (output.contains(&0), trained) {
            (true, Ok(_)) => Err("a loss of nothing".into()),
            _ => Ok(true),
        }
    });
}

#[test]
fn a_batch_without_samples_gives_one() {
    for entry in built_in() {
        for example in entry.examples() {
            let sample: Vec<usize> = example.input.sample().iter().map(|size| size.unwrap_or(2)).collect();
            for device in devices() {
                let model = model_of(&example, &sample, &device).unwrap();
                let declared = model.output_shape().unwrap().known_sample().unwrap();
                for mode in [Mode::Inference, Mode::Training { seed: 1, step: 0 }] {
                    let x = Value::from_vec(Vec::new(), &[&[0], sample.as_slice()].concat(), &device).unwrap();
                    let output = model.forward(x, mode).unwrap_or_else(|error| panic!("{}: {error}", entry.class_name));
                    let output = output.output().clone();
                    assert_eq!(output.sizes(), [&[0], declared.as_slice()].concat(), "{}", entry.class_name);
                }
                assert!(model.predict(zeros(0, &sample)).is_err(), "as `predict` of no data");
            }
        }
    }
}

#[test]
fn reductions_of_nothing_are_those_of_numpy() {
    for device in devices() {
        let nothing = || Value::from_vec(Vec::new(), &[2, 0], &device).unwrap();
        assert_eq!(nothing().sum_axis(1).to_vec().unwrap(), [0.0, 0.0]);
        assert!(nothing().mean_axis(1).to_vec().unwrap().iter().all(|mean| mean.is_nan()));
        assert_eq!(nothing().max_axis(1).to_vec().unwrap(), [f32::NEG_INFINITY; 2]);
        assert_eq!(nothing().sum_axis(0).sizes(), [1, 0]);
    }
    assert_eq!(Shape::batch_of((3, 0)).known_len(), 0);
}

/// The output of a preceding layer is not checked before the lookup.
#[test]
fn invalid_indices_of_an_embedding_give_nan() {
    for device in devices() {
        let mut model = Sequential::new();
        model.to_device(&device);
        model.add(Rescaling::new(1.0).input_shape(4)).unwrap().add(Embedding::new(2, 1)).unwrap();
        let x = ArrayD::from_shape_vec(IxDyn(&[1, 4]), vec![f32::NAN, 1.0, f32::INFINITY, -1e30]).unwrap();
        let rows = model.predict(&x).unwrap().into_raw_vec_and_offset().0;
        assert_eq!(rows.iter().map(|row| row.is_nan()).collect::<Vec<_>>(), [true, false, true, true]);
    }
}

#[test]
fn powers_of_any_exponent() {
    for device in devices() {
        let powers = |exponent: f32| {
            let value = Value::from_vec(vec![0.5, 1.0, 2.0, -2.0], &[4], &device).unwrap();
            value.powf(exponent).to_vec().unwrap()
        };
        let infinite = f32::INFINITY;
        assert_eq!(powers(2.0), [0.25, 1.0, 4.0, 4.0]);
        for large in [1e30, 3.4e38, infinite] {
            assert_eq!(powers(large), [0.0, 1.0, infinite, infinite]);
            assert_eq!(powers(-large), [infinite, 1.0, 0.0, 0.0]);
        }
    }
}
