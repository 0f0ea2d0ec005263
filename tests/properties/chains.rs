//! Chains of layers with valid and invalid arguments.

use brasa::burn::tensor::Device;
use brasa::model::Mode;
use brasa::prelude::*;
use brasa::{Error, Value};
use proptest::prelude::*;

use crate::support::{any_layer, array, cases, close, devices, model_of, output_sizes, sample};

/// Weights after two steps on the same batch, and the predictions then.
fn trained(
    model: &mut Sequential,
    x: &ndarray::ArrayD<f32>,
) -> brasa::Result<(Vec<ndarray::ArrayD<f32>>, ndarray::ArrayD<f32>)> {
    model.compile(Compile::new(SGD::new(0.05), "mse"))?;
    let y = array(&[&[x.shape()[0]], output_sizes(model).as_slice()].concat(), 5);
    model.train_on_batch(x, &y)?;
    model.train_on_batch(x, &y)?;
    Ok((model.get_weights()?, model.predict(x)?))
}

proptest! {
    #![proptest_config(cases(96))]

    /// The declared shape of a model is the actual one, for one sample and for several; a training step does not panic.
    #[test]
    fn the_inferred_shape_is_the_real_one(sample in sample(), chain in prop::collection::vec(any_layer(), 4..24)) {
        let mut model = model_of(&sample, &chain)?;
        if model.layers().is_empty() {
            model.add(Flatten::new()).unwrap();
        }
        for samples in [1, 3] {
            let sizes = [&[samples], sample.as_slice()].concat();
            let x = Value::from_vec(crate::support::numbers(sizes.iter().product(), 1), &sizes, &Device::flex()).unwrap();
            for mode in [Mode::Inference, Mode::Training { seed: 1, step: 0 }] {
                let output = model.forward(x.clone(), mode);
                let output = output.map_err(|error| TestCaseError::fail(error.to_string()))?.output().clone();
                let declared = [&[samples], output_sizes(&model).as_slice()].concat();
                prop_assert_eq!(output.sizes(), declared);
            }
        }
    }

    /// Both CPU backends compute the same, forward and backward.
    #[test]
    fn the_cpu_backends_agree(sample in sample(), chain in prop::collection::vec(any_layer(), 3..16)) {
        // Random streams are the same on all backends; their uses can round differently.
        let mut model = model_of(&sample, &chain)?;
        model.add(Flatten::new()).unwrap();
        let x = array(&[&[2], sample.as_slice()].concat(), 2);
        let mut other = model_of(&sample, &chain)?;
        other.add(Flatten::new()).unwrap();
        let Some((_, device)) = devices().pop() else { return Ok(()) };
        other.to_device(&device);
        other.set_weights(&model.get_weights().unwrap()).unwrap();
        close("prediction", &other.predict(&x).unwrap(), &model.predict(&x).unwrap(), 1e-4)?;
        match (trained(&mut model, &x), trained(&mut other, &x)) {
            (Ok((weights, prediction)), Ok((others, other))) => {
                for (index, (a, b)) in others.iter().zip(&weights).enumerate() {
                    close(&format!("weight {index}"), a, b, 2e-4)?;
                }
                close("prediction after training", &other, &prediction, 1e-3)?;
            }
            // Gaussian noise and unbounded steps can diverge, but then on both alike.
            (Err(Error::NonFinite { .. }), Err(Error::NonFinite { .. })) => {}
            (a, b) => prop_assert!(false, "{:?} and {:?}", a.err(), b.err()),
        }
    }
}
