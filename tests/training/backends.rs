//! The same model with the same weights on the same batches gives the same numbers on every backend.
//!
//! The GPU backend is tested if `BRASA_TEST_GPU=1`; a missing adapter is then a failure.

use brasa::backend::BackendKind;
use brasa::ndarray::{Array1, Array2, Array4, ArrayD};
use brasa::prelude::*;

/// All layers with their own kernels, on images small enough for a software GPU.
fn model() -> Sequential {
    let mut model = Sequential::new().with_seed(11);
    let mut add = |layer: Box<dyn brasa::layers::Layer>| {
        model.add(layer).unwrap();
    };
    add(Conv2D::new(4, 3).activation("relu").padding(Padding::Same).input_shape((10, 10, 1)).into());
    add(MaxPooling2D::new(2).into());
    add(Conv2D::new(6, (3, 2)).strides((1, 2)).activation("tanh").into());
    add(AveragePooling2D::new(2).strides(1).padding(Padding::Same).into());
    add(Flatten::new().into());
    add(Dense::new(8).activation("gelu").into());
    add(Dense::new(3).activation("softmax").into());
    model.compile(Compile::new(Adam::new(0.01), "sparse_categorical_crossentropy").metrics(["accuracy"])).unwrap();
    model
}

fn data() -> Dataset {
    let x = Array4::from_shape_fn((24, 10, 10, 1), |(i, r, c, _)| ((i * 31 + r * 7 + c * 13) % 17) as f32 / 17.0);
    let y: Array1<i32> = (0..24).map(|i| i % 3).collect();
    Dataset::new(&x, &y).unwrap()
}

/// The compared networks, each with its data.
const NETWORKS: [fn() -> (Sequential, Dataset); 2] = [|| (model(), data()), words];

struct Run {
    losses: Vec<f64>,
    predictions: ArrayD<f32>,
    weights: Vec<ArrayD<f32>>,
}

/// Sequences of words with a masked end, a label for each word.
fn words() -> (Sequential, Dataset) {
    let mut model = Sequential::new().with_seed(12);
    model.add(Embedding::new(7, 3).mask_zero(true).input_shape(3)).unwrap();
    model.add(LSTM::new(3).return_sequences(true)).unwrap();
    model.add(Dense::new(5).activation("softmax")).unwrap();
    let loss = SparseCategoricalCrossentropy::default().ignore_class(4);
    // An optimizer that divides by the size of a gradient would amplify the rounding of those near zero.
    model.compile(Compile::new(SGD::new(0.2).momentum(0.9), loss).metrics(["accuracy"])).unwrap();
    let x =
        Array2::from_shape_fn((24, 3), |(i, step)| if step > i % 3 { 0 } else { 1 + (i * 5 + step * 3) % 6 } as i32);
    let y = Array2::from_shape_fn((24, 3), |(i, step)| ((i * 3 + step * 2) % 5) as i32);
    (model, Dataset::new(&x, &y).unwrap())
}

fn run(backend: &str, network: fn() -> (Sequential, Dataset)) -> Run {
    let device = backend.parse::<Backend>().unwrap().device().unwrap();
    let (mut model, data) = network();
    let start = model.get_weights().unwrap();
    model.to_device(&device);
    model.set_weights(&start).unwrap();
    let fit = Fit::new().epochs(2).batch_size(8).seed(3).validation_split(0.25).verbose(Verbosity::Silent);
    let history = model.fit(&data, fit).unwrap();
    let losses = ["loss", "val_loss", "accuracy"].iter().flat_map(|name| history.get(name).unwrap().to_vec()).collect();
    Run { losses, predictions: model.predict(data.x()).unwrap(), weights: model.get_weights().unwrap() }
}

#[track_caller]
fn agree(a: &Run, b: &Run) {
    for (a, b) in a.losses.iter().zip(&b.losses) {
        assert!((a - b).abs() < 1e-4, "{a} and {b}");
    }
    let arrays = a.weights.iter().zip(&b.weights).chain([(&a.predictions, &b.predictions)]);
    for (a, b) in arrays {
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() < 1e-4, "{a} and {b}");
        }
    }
}

#[test]
fn the_cpu_backends_agree() {
    if BackendKind::Flex.is_compiled() && BackendKind::Ndarray.is_compiled() {
        for network in NETWORKS {
            agree(&run("flex", network), &run("ndarray", network));
        }
    }
}

#[test]
fn the_gpu_backend_agrees() {
    if std::env::var("BRASA_TEST_GPU").is_ok_and(|value| value == "1" || value == "all") {
        for network in NETWORKS {
            agree(&run("cpu", network), &run("wgpu", network));
        }
    } else {
        eprintln!("not run: set BRASA_TEST_GPU=1 to test the GPU backend");
    }
}

#[test]
fn auto_always_finds_a_device() {
    let device = "auto".parse::<Backend>().unwrap().device();
    assert!(device.is_ok());
}

/// An unknown backend in the environment is an error when the model first computes, unless it was moved to another
/// device by then.
#[test]
fn the_environment_names_a_backend_that_is_not_there() {
    const CHILD: &str = "BRASA_TEST_CHILD";
    if std::env::var_os(CHILD).is_none() {
        // The environment is per process: the test reruns itself in another one.
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "backends::the_environment_names_a_backend_that_is_not_there"]);
        let output = child.env(CHILD, "1").env("BRASA_BACKEND", "flax").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let mut model = model();
    let error = model.predict(data().x()).unwrap_err().to_string();
    assert!(error.contains("flax") && error.contains("flex"), "{error}");
    model.to_device(&"cpu".parse::<Backend>().unwrap().device().unwrap());
    assert!(model.predict(data().x()).is_ok());
}
