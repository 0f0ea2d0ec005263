//! Model files: the choice of format by extension, and what is loaded, skipped or rejected.

use std::path::{Path, PathBuf};

use brasa::model::{Contents, LoadWeights};
use brasa::ndarray::ArrayD;
use brasa::prelude::*;
use brasa::{Error, Result};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A small network with `units` hidden units.
fn network(units: usize) -> Sequential {
    let mut model = Sequential::new().with_seed(units as u64);
    model.add(Dense::new(units).activation("relu").name("hidden").input_shape(3)).unwrap();
    model.add(BatchNormalization::new().name("batch")).unwrap();
    model.add(Dense::new(2).name("out")).unwrap();
    model
}

fn problems<T: std::fmt::Debug>(result: Result<T>) -> Vec<String> {
    match result {
        Err(Error::Weights { problems, .. }) => problems,
        other => panic!("{other:?}"),
    }
}

fn saved_weights(model: &Sequential, folder: &TempDir) -> [PathBuf; 3] {
    ["a.weights.h5", "a.h5", "a.safetensors"].map(|name| {
        let path = folder.path().join(name);
        model.save_weights(&path).unwrap();
        path
    })
}

#[test]
fn other_endings_are_refused_before_anything_is_written() {
    let folder = folder();
    let model = network(4);
    for name in ["model", "model.onnx", "model.weights.h5", ".keras"] {
        let error = model.save(folder.path().join(name)).unwrap_err();
        assert!(matches!(error, Error::Argument { .. }), "{name}: {error}");
    }
    for name in ["weights", "w.keras", "w.json", "w.npz"] {
        let error = model.save_weights(folder.path().join(name)).unwrap_err();
        assert!(error.to_string().contains(".weights.h5"), "{name}: {error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(matches!(Sequential::new().save(folder.path().join("a.keras")), Err(Error::State { .. })));
    // A model without an input shape can still be described.
    let mut deferred = Sequential::new();
    deferred.add(Dense::new(2)).unwrap();
    let path = folder.path().join("deferred.JSON");
    deferred.save(&path).unwrap();
    assert!(!Sequential::load(&path).unwrap().is_built());
}

#[test]
fn weights_files_are_not_models() {
    let folder = folder();
    for path in saved_weights(&network(4), &folder) {
        let error = Sequential::load(&path).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains("weights alone"), "{error}");
        let Contents::Weights(weights) = Contents::of(&path).unwrap() else { panic!("{}", path.display()) };
        let shapes: usize = weights.iter().map(|weight| weight.shape.iter().product::<usize>()).sum();
        assert_eq!((weights.len(), shapes), (8, 12 + 4 + 4 * 4 + 8 + 2), "{}", path.display());
    }
    let json = folder.path().join("a.json");
    network(4).save(&json).unwrap();
    let error = network(4).load_weights(&json).unwrap_err();
    assert!(error.to_string().contains("without"), "{error}");
}

#[test]
fn all_mismatches_are_listed_and_nothing_changes() {
    let folder = folder();
    let mut other = network(4);
    other.pop().unwrap();
    other.add(Dense::new(2).use_bias(false).name("out")).unwrap();
    other.add(Dense::new(7).name("more")).unwrap();
    let mut model = network(5);
    let before = model.get_weights().unwrap();
    for path in saved_weights(&other, &folder) {
        let problems = problems(model.load_weights(&path));
        let about = |name: &str| problems.iter().filter(|line| line.contains(name)).count();
        // Two of the hidden layer, four of the batch normalization; the kernel of `out` and its missing bias.
        assert_eq!((about("`hidden/"), about("`batch/")), (2, 4), "{problems:#?}");
        assert!(about("out") >= 1, "{problems:#?}");
        assert!(about("unexpected") >= 1, "{problems:#?}");
        assert_eq!(model.get_weights().unwrap(), before);
    }
}

#[test]
fn a_missing_layer_is_named() {
    let folder = folder();
    let mut other = network(4);
    other.pop().unwrap();
    for path in saved_weights(&other, &folder) {
        let problems = problems(network(4).load_weights(&path));
        assert_eq!(problems, ["`out/kernel`: missing", "`out/bias`: missing"], "{}", path.display());
    }
}

#[test]
fn by_name_takes_the_layers_that_both_have() {
    let folder = folder();
    let base = network(4);
    let mut model = Sequential::new().with_seed(9);
    model.add(Dense::new(2).name("out").input_shape(4)).unwrap();
    model.add(Dense::new(4).name("own")).unwrap();
    let own = model.get_weights().unwrap();
    for path in saved_weights(&base, &folder) {
        let mut copy = model.clone();
        let passed_over = copy.load_weights_with(&path, LoadWeights::new().by_name(true)).unwrap();
        assert_eq!(passed_over, ["layer `own`: the file does not have it"], "{}", path.display());
        let weights = copy.get_weights().unwrap();
        assert_eq!(weights[..2], base.get_weights().unwrap()[6..], "{}", path.display());
        assert_eq!(weights[2..], own[2..]);

        // The same name with other sizes is still an error, unless mismatches are allowed, too.
        let mut wide = network(6);
        let before = wide.get_weights().unwrap();
        assert!(!problems(wide.load_weights_with(&path, LoadWeights::new().by_name(true))).is_empty());
        assert_eq!(wide.get_weights().unwrap(), before);
        let both = LoadWeights::new().by_name(true).skip_mismatch(true);
        let passed_over = wide.load_weights_with(&path, both).unwrap();
        assert_eq!(passed_over.len(), 2 + 4 + 1, "{passed_over:#?}");
        assert_eq!(wide.get_weights().unwrap(), before);
    }
}

#[test]
fn skip_mismatch_takes_the_layers_that_fit() {
    let folder = folder();
    let base = network(4);
    let mut model = Sequential::new().with_seed(9);
    model.add(Dense::new(4).name("hidden").input_shape(3)).unwrap();
    model.add(BatchNormalization::new().name("batch")).unwrap();
    model.add(Dense::new(5).name("out")).unwrap();
    let own = model.get_weights().unwrap();
    for path in saved_weights(&base, &folder) {
        let mut copy = model.clone();
        assert!(copy.load_weights(&path).is_err());
        let passed_over = copy.load_weights_with(&path, LoadWeights::new().skip_mismatch(true)).unwrap();
        assert_eq!(passed_over.len(), 2, "{passed_over:#?}");
        assert!(
            passed_over[0].contains("`out/kernel`: expected shape (4, 5), the file has (4, 2)"),
            "{passed_over:#?}"
        );
        let weights = copy.get_weights().unwrap();
        assert_eq!(weights[..6], base.get_weights().unwrap()[..6]);
        assert_eq!(weights[6..], own[6..]);
    }
}

#[test]
fn frozen_layers_keep_their_order_in_the_legacy_format() {
    let folder = folder();
    let path = folder.path().join("a.h5");
    let mut inner = Sequential::new();
    inner.add(BatchNormalization::new().input_shape(3)).unwrap().add(Dense::new(3)).unwrap();
    let mut model = Sequential::new();
    model.add(inner).unwrap().add(Dense::new(2).trainable(false)).unwrap();
    // Each weight has a distinct value.
    let numbered = model.get_weights().unwrap().into_iter().enumerate();
    let weights: Vec<ArrayD<f32>> = numbered.map(|(index, weight)| weight.map(|_| index as f32)).collect();
    model.set_weights(&weights).unwrap();
    for frozen in [false, true] {
        model.set_trainable(None, !frozen).unwrap();
        model.save(&path).unwrap();
        assert_eq!(Sequential::load(&path).unwrap().get_weights().unwrap(), weights);
    }
}

#[test]
fn the_contents_of_a_file_are_listed() {
    let folder = folder();
    let mut model = network(4);
    model.compile(Compile::new(Adam::new(0.01), "mse")).unwrap();
    model.train_on_batch(ArrayD::<f32>::zeros(vec![2, 3]), ArrayD::<f32>::zeros(vec![2, 2])).unwrap();
    let expected = model.summary();
    for name in ["a.keras", "a.h5", "a.safetensors"] {
        let path = folder.path().join(name);
        model.save(&path).unwrap();
        let Contents::Model(summary) = Contents::of(&path).unwrap() else { panic!("{name}") };
        assert_eq!(summary.rows, expected.rows, "{name}");
        assert_eq!(summary.optimizer, expected.optimizer, "{name}");
    }
    let path = folder.path().join("a.json");
    model.save(&path).unwrap();
    assert!(matches!(Contents::of(&path).unwrap(), Contents::Model(summary) if summary.rows == expected.rows));
}

#[test]
fn a_functional_chain_is_a_sequential_and_a_graph_is_a_model() {
    let chain = Path::new("tests/fixtures/functional");
    let model = Sequential::load(chain.join("chain.keras")).unwrap();
    let data = |name: &str| brasa::datasets::Npz::open(chain.join("io.npz")).unwrap().read(name).unwrap();
    for form in ["keras", "h5"] {
        let model = Sequential::load(chain.join(format!("chain.{form}"))).unwrap();
        let found = model.predict(data("x")).unwrap();
        let expected = data("y").into_ndarray();
        let worst = found.iter().zip(&expected).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
        assert!(worst < 1e-5, "{form}: {worst}");
    }
    assert!(model.is_compiled());
    for form in ["keras", "h5"] {
        let error = Sequential::load(chain.join(format!("branch.{form}"))).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains("branches at `add`"), "{error}");
        let model = Model::load(chain.join(format!("branch.{form}"))).unwrap();
        assert!(model.layers().iter().any(|layer| layer.class_name() == "Add"));
    }
}
