//! Stateful layers, which continue from the states of the previous batch.

use brasa::callbacks::LambdaCallback;
use brasa::ndarray::{Array3, ArrayD, Axis};
use brasa::prelude::*;
use brasa::training::{Checkpoint, Predict, StopHandle};
use serde_json::Value as Json;

use crate::support::outcome;

fn array(json: &Json) -> ArrayD<f32> {
    let mut sizes = Vec::new();
    let mut inner = json;
    while let Some(list) = inner.as_array() {
        sizes.push(list.len());
        inner = &list[0];
    }
    fn fill(json: &Json, numbers: &mut Vec<f32>) {
        match json.as_array() {
            Some(list) => list.iter().for_each(|item| fill(item, numbers)),
            None => numbers.push(json.as_f64().unwrap() as f32),
        }
    }
    let mut numbers = Vec::new();
    fill(json, &mut numbers);
    ArrayD::from_shape_vec(sizes, numbers).unwrap()
}

fn assert_near(what: &str, found: &ArrayD<f32>, right: &Json) {
    let right = array(right);
    assert_eq!(found.shape(), right.shape(), "{what}");
    assert!(found.iter().zip(&right).all(|(a, b)| (a - b).abs() < 1e-5), "{what}: {found} and {right}");
}

/// As in Keras 3.15.1 on TensorFlow: predictions, two epochs with validation, predictions, and again after a reset.
#[test]
fn states_go_from_batch_to_batch_as_in_keras() {
    let cases: Json = serde_json::from_str(include_str!("../fixtures/functional/stateful.json")).unwrap();
    let cases = cases.as_object().unwrap();
    assert_eq!(cases.len(), 7);
    for (name, case) in cases {
        let mut model = Model::from_json(&case["model"].to_string()).unwrap();
        let shapes = model.get_weights().unwrap();
        let numbers = case["weights"].as_array().unwrap();
        let weights: Vec<ArrayD<f32>> = shapes
            .iter()
            .zip(numbers)
            .map(|(old, new)| array(new).into_shape_with_order(old.shape()).unwrap())
            .collect();
        model.set_weights(&weights).unwrap();
        let x = array(&case["x"]);
        assert_near(name, &model.predict(&x).unwrap(), &case["first"]);
        // Callbacks receive a copy of the model.
        let watched = Predict::new().callback(LambdaCallback::new());
        assert_near(name, &model.predict_with(&x, watched).unwrap(), &case["second"]);

        model.compile(Compile::new(SGD::new(0.1), "mse")).unwrap();
        let data = Dataset::new(&x, ArrayD::<f32>::zeros(array(&case["first"]).shape())).unwrap();
        let fit = Fit::new().epochs(2).shuffle(false).validation_data(&data).verbose(Verbosity::Silent);
        let history = model.fit(&data, fit).unwrap();
        for key in ["loss", "val_loss"] {
            let right = case["history"][key].as_array().unwrap();
            for (found, right) in history.history[key].iter().zip(right) {
                assert!((found - right.as_f64().unwrap()).abs() < 1e-5, "{name} {key}: {:?}, {right}", history.history);
            }
        }
        assert_near(name, &model.predict(&x).unwrap(), &case["after"]);

        let score = model.evaluate(&data).unwrap().get("loss").unwrap();
        assert!((score - case["score"].as_f64().unwrap()).abs() < 1e-5, "{name}: {score}, {}", case["score"]);
        assert_near(name, &model.predict(&x).unwrap(), &case["last"]);

        let other = model.clone();
        let went_on = model.predict(&x).unwrap();
        assert_eq!(other.predict(&x).unwrap(), went_on, "{name}: a copy has states of its own");
        model.reset_states();
        if let Some(right) = case.get("reset") {
            let first = x.slice_axis(Axis(0), (0..2).into()).to_owned();
            assert_near(name, &model.predict(&first).unwrap(), right);
        }
    }
}

fn model() -> Sequential {
    let mut model = Sequential::new().with_seed(2);
    model.add(LSTM::new(3).stateful(true).return_sequences(true).batch_size(2).input_shape((4, 2))).unwrap();
    model.add(Bidirectional::new(GRU::new(2).stateful(true))).unwrap().add(Dense::new(1)).unwrap();
    model.compile(Compile::new(Adam::new(0.05), "mse")).unwrap();
    model
}

fn data() -> Dataset {
    let x = Array3::from_shape_fn((8, 4, 2), |(i, j, k)| ((i * 8 + j * 2 + k) as f32 * 0.7).sin());
    Dataset::new(&x, (0..8).map(|i| i as f32 / 8.0).collect::<Vec<_>>()).unwrap()
}

#[test]
fn a_resumed_run_continues_from_the_states() {
    let fit = || Fit::new().epochs(3).shuffle(false).verbose(Verbosity::Silent);
    let mut whole = model();
    let history = whole.fit(&data(), fit()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.ckpt");
    for (epoch, batch) in [(0, 1), (1, 3)] {
        std::fs::remove_file(&path).ok();
        let handle = StopHandle::new();
        let stopping = handle.clone();
        let stop = LambdaCallback::new().on_train_batch_end(move |context, done| {
            if (context.params().epoch, done) == (epoch, batch) {
                stopping.stop();
            }
            Ok(())
        });
        let checkpoint = || Checkpoint::new(&path);
        let mut cut = model();
        cut.fit(&data(), fit().checkpoint(checkpoint()).stop_handle(&handle).callback(stop)).unwrap();
        let mut resumed = model();
        let again = resumed.fit(&data(), fit().checkpoint(checkpoint())).unwrap();
        assert_eq!(outcome(&resumed, &again), outcome(&whole, &history));
        let x = Array3::<f32>::ones((2, 4, 2));
        assert_eq!(resumed.predict(&x).unwrap(), whole.clone().predict(&x).unwrap(), "cut off at {epoch}, {batch}");
    }
}

#[test]
fn batches_have_the_fixed_size() {
    let refused = Sequential::new().add(LSTM::new(2).stateful(true).input_shape((3, 1))).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("batch_size"), "{refused}");
    let inside = TimeDistributed::new(LSTM::new(2).stateful(true)).input_shape((3, 4, 1)).batch_size(2);
    let refused = Sequential::new().add(inside).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("TimeDistributed"), "{refused}");

    let mut model = model();
    let x = Array3::<f32>::ones((3, 4, 2));
    let refused = model.predict(&x).unwrap_err().to_string();
    assert!(refused.contains("2 samples"), "{refused}");
    // Before anything is trained.
    let odd = Dataset::new(&x, vec![0.0f32; 3]).unwrap();
    let weights = model.get_weights().unwrap();
    let quiet = || Fit::new().verbose(Verbosity::Silent);
    assert!(model.fit(&odd, quiet()).unwrap_err().to_string().contains("3 samples"));
    assert!(model.fit(&data(), quiet().validation_data(&odd)).unwrap_err().to_string().contains("3 samples"));
    assert!(model.fit(&data(), quiet().validation_split(0.3)).is_err());
    assert!(model.evaluate(&odd).is_err());
    assert_eq!(model.get_weights().unwrap(), weights);
    // Another layer in place of a stateful one.
    let mut chain = Sequential::new();
    chain.add(LSTM::new(3).stateful(true).batch_size(3).input_shape((4, 2))).unwrap();
    chain.predict(&x).unwrap();
    chain.pop().unwrap();
    chain.add(LSTM::new(2).stateful(true).batch_size(1).input_shape((4, 2))).unwrap();
    assert_eq!(chain.predict(&x).unwrap().shape(), [3, 2]);
    assert!(model.summary().to_string().contains("(2, 4, 3)"));

    // The batch size is saved in files; without it Keras could not build the model.
    let folder = tempfile::tempdir().unwrap();
    for form in ["keras", "h5", "safetensors"] {
        let path = folder.path().join(format!("model.{form}"));
        model.save(&path).unwrap();
        let copy = Model::load(&path).unwrap();
        assert_eq!(copy.batch_size(), Some(2), "{form}");
        assert!(copy.to_json().unwrap().contains("\"batch_shape\":[2,4,2]"), "{form}");
    }
    let input = Input::new((3, 1)).batch_size(4).symbol();
    let output = GRU::new(2).stateful(true).call(&input).unwrap();
    let functional = Model::new(&input, &output).unwrap();
    let open = Input::new((3, 1)).symbol();
    assert!(Model::new(&open, &GRU::new(2).stateful(true).call(&open).unwrap()).is_err());
    assert!(Sequential::new().add(Input::new((3, 1)).batch_size(0)).is_err());
    let other = GRU::new(2).go_backwards(true);
    assert!(Bidirectional::new(GRU::new(2).stateful(true)).backward_layer(other).call(&input).is_err());
    let again = Model::from_json(&functional.to_json().unwrap()).unwrap();
    assert_eq!((functional.batch_size(), again.batch_size()), (Some(4), Some(4)));
}
