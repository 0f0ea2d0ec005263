//! States of recurrent layers, cells and convolutions over sequences in files: Keras's own, and round trips.

use std::collections::BTreeMap;
use std::path::Path;

use brasa::model::Contents;
use brasa::prelude::*;

use crate::attention::{compare, fixture};

#[test]
fn files_of_keras_compute_what_keras_computes() {
    let files =
        [("states.keras", "states.npz"), ("states.h5", "states.npz"), ("states_keras2.h5", "states_keras2.npz")];
    let folder = tempfile::tempdir().unwrap();
    for (file, io) in files {
        let model = Model::load(fixture(file)).unwrap();
        compare(&model, io, file);
        for form in ["keras", "h5", "safetensors"] {
            let path = folder.path().join(format!("copy.{form}"));
            model.save(&path).unwrap();
            let copy = Model::load(&path).unwrap();
            compare(&copy, io, &format!("{file} as {form}"));
            assert_eq!(copy.to_json().unwrap(), model.to_json().unwrap(), "{file} as {form}");
        }
    }
}

fn names(path: &Path) -> BTreeMap<String, Vec<usize>> {
    let Contents::Weights(weights) = Contents::of(path).unwrap() else { panic!("no weights") };
    weights.iter().map(|own| (own.name.clone(), own.shape.clone())).collect()
}

/// The names match those in Keras's own files.
#[test]
fn weights_have_keras_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alone.weights.h5");
    Model::load(fixture("states.keras")).unwrap().save_weights(&path).unwrap();
    let names = names(&path);
    let expected: &[(&str, &[usize])] = &[
        ("layers/rnn/cell/cells/lstm_cell/vars/0", &[3, 8]),
        ("layers/rnn/cell/cells/gru_cell/vars/2", &[2, 9]),
        ("layers/rnn/cell/cells/lstm_cell_1/vars/1", &[2, 8]),
        ("layers/rnn_1/cell/vars/0", &[2, 2]),
        ("layers/conv_lstm2d/cell/vars/0", &[2, 2, 2, 8]),
    ];
    for (name, shape) in expected {
        assert_eq!(names.get(*name).map(Vec::as_slice), Some(*shape), "{name} of {:?}", names.keys());
    }
}

/// States of several cells are nested in lists in Keras.
#[test]
fn states_of_cells_are_written_in_lists() {
    let (x, a, b) = (Input::new((3, 2)).symbol(), Input::new(4).symbol(), Input::new(4).symbol());
    let cells = StackedRNNCells::new([LSTMCell::new(4).into(), LSTMCell::new(4).into()]);
    let y = RNN::new(cells).call([&x, &a, &b, &b, &a]).unwrap();
    let model = Model::new([&x, &a, &b], &y).unwrap();
    let json: serde_json::Value = serde_json::from_str(&model.to_json().unwrap()).unwrap();
    let layers = json["config"]["layers"].as_array().unwrap();
    let rnn = layers.iter().find(|layer| layer["class_name"] == "RNN").unwrap();
    let states = &rnn["inbound_nodes"][0]["kwargs"]["initial_state"];
    let lists: Vec<usize> = states.as_array().unwrap().iter().map(|list| list.as_array().unwrap().len()).collect();
    assert_eq!(lists, [2, 2]);
    let copy = Model::from_json(&json.to_string()).unwrap();
    assert_eq!(copy.to_json().unwrap(), model.to_json().unwrap());
}
