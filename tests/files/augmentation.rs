//! Keras's models for image augmentation and audio, and ours, in round trips.

use brasa::datasets::Npz;
use brasa::ndarray::{ArrayD, Axis};
use brasa::prelude::*;

use super::attention::fixture;

fn recorded(name: &str) -> ArrayD<f32> {
    Npz::open(fixture("augmentation.npz")).unwrap().read(name).unwrap().into_ndarray()
}

fn off(a: &ArrayD<f32>, b: &ArrayD<f32>) -> f32 {
    assert_eq!(a.shape(), b.shape());
    a.iter().zip(b).fold(0.0, |worst, (a, b)| worst.max((a - b).abs()))
}

/// The layers as Keras's JSON; the compile configuration depends on the format.
fn layers(model: &Sequential) -> serde_json::Value {
    let json: serde_json::Value = serde_json::from_str(&model.to_json().unwrap()).unwrap();
    json["config"]["layers"].clone()
}

const FILES: [(&str, &str); 5] = [
    ("augmentation_images.keras", "images"),
    ("augmentation_few.keras", "few"),
    ("augmentation_sounds.keras", "sounds"),
    ("augmentation_sounds.h5", "sounds"),
    ("augmentation_bands.keras", "bands"),
];

#[test]
fn files_of_keras_predict_the_same_and_are_written_back() {
    let folder = tempfile::tempdir().unwrap();
    for (file, name) in FILES {
        let (x, y) = (recorded(&format!("{name}_x")), recorded(&format!("{name}_y")));
        let model = Sequential::load(fixture(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let worst = off(&model.predict(x.clone()).unwrap(), &y);
        assert!(worst < 1e-5, "{file} is off by {worst}");
        for form in ["keras", "h5", "safetensors"] {
            let path = folder.path().join(format!("copy.{form}"));
            model.save(&path).unwrap();
            let copy = Sequential::load(&path).unwrap();
            assert_eq!(
                off(&copy.predict(x.clone()).unwrap(), &model.predict(x.clone()).unwrap()),
                0.0,
                "{file}, {form}"
            );
            assert_eq!(layers(&copy), layers(&model), "{file}, {form}");
        }
    }
}

/// Training continues from the file, reproducibly, and the loss falls.
#[test]
fn files_of_keras_continue_training() {
    for (file, name) in FILES {
        let x = recorded(&format!("{name}_x"));
        let x = brasa::ndarray::concatenate(Axis(0), &[x.view(), x.view(), x.view()]).unwrap();
        let data = Dataset::new(&x, (0..12).map(|sample| sample % 4 % 3).collect::<Vec<i64>>()).unwrap();
        let run = || {
            let mut model = Sequential::load(fixture(file)).unwrap().with_seed(4);
            let fit = Fit::new().epochs(30).batch_size(4).seed(3).verbose(Verbosity::Silent);
            let history = model.fit(&data, fit).unwrap_or_else(|error| panic!("{file}: {error}")).history;
            (history, model.get_weights().unwrap())
        };
        let (history, weights) = run();
        let loss = &history["loss"];
        assert!(loss[29] < loss[0], "{file}: {loss:?}");
        assert_eq!(run(), (history, weights), "{file}");
    }
}
