//! Models and arrays as bytes: what `include_bytes!` and uploads hold, within the limits of files.

use std::path::Path;

use brasa::datasets::{Npz, decode_npy, decode_npz, load_npy, load_npz};
use brasa::formats::Limits;
use brasa::model::{FileFormat, LoadWeights};
use brasa::prelude::*;
use brasa::{Error, Model};

const WHOLE: [(FileFormat, &str); 4] = [
    (FileFormat::Keras, "m.keras"),
    (FileFormat::LegacyH5, "m.h5"),
    (FileFormat::Safetensors, "m.safetensors"),
    (FileFormat::Json, "m.json"),
];

/// A compiled network that knows of classes.
fn network() -> Sequential {
    let mut model = Sequential::new().with_seed(3);
    model
        .add(Dense::new(4).activation("relu").input_shape(3))
        .unwrap()
        .add(Dense::new(2).activation("softmax"))
        .unwrap();
    model.compile(Compile::new("adam", "sparse_categorical_crossentropy")).unwrap();
    model.data_info_mut().class_names = vec!["no".into(), "yes".into()];
    model
}

#[test]
fn models_go_there_and_back_in_every_form_as_in_files() {
    let folder = tempfile::tempdir().unwrap();
    let model = network();
    for (format, name) in WHOLE {
        let bytes = model.to_bytes(format).unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        let (of_bytes, of_file) = (Model::load_bytes(bytes, format).unwrap(), Model::load(&path).unwrap());
        assert!(of_bytes.is_compiled(), "{name}");
        assert_eq!(of_bytes.data_info(), of_file.data_info(), "{name}");
        if format.has_weights() {
            assert_eq!(of_bytes.data_info().class_names, ["no", "yes"]);
            assert_eq!(of_bytes.get_weights().unwrap(), model.get_weights().unwrap(), "{name}");
        }
        // And what `save` writes is taken as bytes.
        model.save(&path).unwrap();
        Sequential::load_bytes(std::fs::read(&path).unwrap(), format).unwrap();
    }
}

#[test]
fn weights_alone_go_there_and_back() {
    let model = network();
    for format in [FileFormat::WeightsH5, FileFormat::LegacyH5, FileFormat::Safetensors] {
        let bytes = model.weights_to_bytes(format).unwrap();
        let mut other = network().with_seed(4);
        other.load_weights_bytes(&bytes[..], format, LoadWeights::new()).unwrap();
        assert_eq!(other.get_weights().unwrap(), model.get_weights().unwrap(), "{format:?}");
        let error = Model::load_bytes(&bytes[..], format).unwrap_err().to_string();
        assert!(error.contains("`the bytes`, which holds weights alone"), "{error}");
    }
    for (refused, format) in [
        (model.to_bytes(FileFormat::WeightsH5), "WeightsH5"),
        (model.weights_to_bytes(FileFormat::Keras), "Keras"),
        (model.weights_to_bytes(FileFormat::Json), "Json"),
    ] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("`format`") && error.contains(format), "{error}");
    }
}

#[test]
fn a_model_of_keras_is_read_from_bytes() {
    const MODEL: &[u8] = include_bytes!("../fixtures/models/02_mlp_sgd.keras");
    let model = Model::load_bytes(MODEL, FileFormat::Keras).unwrap();
    let of_file = Model::load(Path::new("tests/fixtures/models/02_mlp_sgd.keras")).unwrap();
    assert_eq!(model.get_weights().unwrap(), of_file.get_weights().unwrap());
}

#[test]
fn the_limits_of_files_hold_for_bytes_and_damage_is_an_error() {
    let model = network();
    for (format, name) in WHOLE {
        let bytes = model.to_bytes(format).unwrap();
        let few = Limits { file_bytes: bytes.len() as u64 - 1, ..Limits::default() };
        let error = Model::load_bytes_with(&bytes[..], format, None, &few).unwrap_err();
        assert!(error.to_string().contains("Limits::"), "{name}: {error}");
        let few = Limits { json_bytes: 100, ..Limits::default() };
        let error = Model::load_bytes_with(&bytes[..], format, None, &few).unwrap_err();
        assert!(error.to_string().contains("Limits::json_bytes"), "{name}: {error}");
        for percent in (0..100).step_by(10) {
            let cut = &bytes[..bytes.len() * percent / 100];
            let error = Model::load_bytes(cut, format).unwrap_err();
            assert!(matches!(error, Error::Broken { .. }), "{name} cut at {percent} %: {error}");
        }
    }
    let error = Model::load_bytes(&b"\x80\x04\x95\x10\x00"[..], FileFormat::Keras).unwrap_err().to_string();
    assert!(error.contains("a Python pickle"), "{error}");
    let error = Model::load_bytes(&b"PNG"[..], FileFormat::LegacyH5).unwrap_err().to_string();
    assert!(error.contains("neither a `.keras` archive nor an HDF5 file"), "{error}");
}

#[test]
fn arrays_of_numpy_are_read_from_bytes() {
    let path = Path::new("tests/fixtures/data/xy.npz");
    let bytes = std::fs::read(path).unwrap();
    let (of_bytes, of_file) = (decode_npz(&bytes[..]).unwrap(), load_npz(path).unwrap());
    assert_eq!(of_bytes.0.x().to_vec_f32(), of_file.0.x().to_vec_f32());
    assert_eq!((of_bytes.0.y().dtype(), of_bytes.1.is_none()), ("int64", true));
    let mut archive = Npz::from_bytes(&bytes[..]).unwrap();
    assert_eq!((archive.names().len(), archive.read("y").unwrap().to_vec_f32()), (2, vec![0.0, 1.0, 2.0]));
    assert!(matches!(decode_npz(&bytes[..bytes.len() / 2]), Err(Error::Broken { .. })));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    brasa::datasets::save_npy(&path, &[2, 1], &[1.0, 2.0]).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(decode_npy(&bytes).unwrap().to_vec_f32(), load_npy(&path).unwrap().to_vec_f32());
    for cut in 0..bytes.len() {
        assert!(matches!(decode_npy(&bytes[..cut]), Err(Error::Broken { .. })), "{cut}");
    }
}
