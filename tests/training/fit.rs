//! Training as in Keras: shapes, counting, order, determinism; and the same numbers on every CPU backend.

use brasa::ndarray::{Array1, Array2, ArrayD, Axis};
use brasa::prelude::*;
use brasa::training::{History, OnBatch};
use brasa::{Result, Value};

/// Two noisy, linearly separable classes.
fn two_classes(samples: usize) -> Dataset {
    let x = Array2::from_shape_fn((samples, 2), |(i, j)| {
        let side = if i % 2 == 0 { 1.0f32 } else { -1.0 };
        side + ((i * 7 + j * 3) % 11) as f32 / 11.0 - 0.5
    });
    let y: Array1<i32> = (0..samples as i32).map(|i| i % 2).collect();
    Dataset::new(&x, &y).unwrap()
}

fn model(seed: u64) -> Sequential {
    let mut model = Sequential::new().with_seed(seed);
    model.add(Dense::new(8).activation("relu").input_shape(2)).unwrap();
    model.add(Dropout::new(0.1)).unwrap();
    model.add(Dense::new(2).activation("softmax")).unwrap();
    model.compile(Compile::new(Adam::new(0.01), "sparse_categorical_crossentropy").metrics(["accuracy"])).unwrap();
    model
}

fn quiet<'a>() -> Fit<'a> {
    Fit::new().verbose(Verbosity::Silent)
}

#[test]
fn a_model_learns() -> Result<()> {
    let mut model = model(1);
    let history = model.fit(&two_classes(200), quiet().epochs(20).validation_split(0.2))?;
    let loss = history.get("loss").unwrap();
    assert!(loss[19] < loss[0] / 2.0, "{loss:?}");
    assert!(history.last("val_accuracy").unwrap() > 0.95, "{history:?}");
    assert_eq!(history.epoch, (0..20).collect::<Vec<_>>());
    let keys: Vec<&str> = history.history.keys().map(String::as_str).collect();
    assert_eq!(keys, ["accuracy", "loss", "val_accuracy", "val_loss"]);
    Ok(())
}

#[test]
fn the_same_seed_gives_the_same_bits() -> Result<()> {
    let train = || -> Result<Vec<ArrayD<f32>>> {
        let mut model = model(7);
        model.fit(&two_classes(50), quiet().epochs(3).batch_size(8))?;
        model.get_weights()
    };
    assert_eq!(train()?, train()?);
    let mut other = model(8);
    other.fit(&two_classes(50), quiet().epochs(3).batch_size(8))?;
    assert_ne!(train()?, other.get_weights()?);
    Ok(())
}

#[test]
fn the_last_smaller_batch_counts_by_its_size() -> Result<()> {
    let mut model = Sequential::new();
    model.add(Dense::new(1).use_bias(false).kernel_initializer("zeros").input_shape(1))?;
    model.compile(Compile::new(SGD::new(0.0), "mse").metrics(["mae"]))?;
    let y = Array1::from(vec![1.0f32, 1.0, 1.0, 1.0, 3.0]);
    let data = Dataset::new(Array2::<f32>::ones((5, 1)), &y)?;
    let history = model.fit(&data, quiet().batch_size(4).shuffle(false))?;
    assert!((history.last("loss").unwrap() - 13.0 / 5.0).abs() < 1e-6);
    assert!((history.last("mae").unwrap() - 7.0 / 5.0).abs() < 1e-6);
    let scores = model.evaluate(&data)?;
    assert!((scores.loss - 13.0 / 5.0).abs() < 1e-6);
    assert_eq!(scores.samples, 5);
    Ok(())
}

#[test]
fn validation_is_the_last_part_and_is_not_trained_on() -> Result<()> {
    // The last fifth follows another rule; only the validation loss depends on it.
    let x = Array2::<f32>::ones((10, 1));
    let y: Array1<f32> = (0..10).map(|i| if i < 8 { 0.0 } else { 100.0 }).collect();
    let mut model = Sequential::new();
    model.add(Dense::new(1).kernel_initializer("zeros").input_shape(1))?;
    model.compile(Compile::new(SGD::new(0.1), "mse"))?;
    let history = model.fit(&Dataset::new(&x, &y)?, quiet().validation_split(0.2))?;
    assert_eq!(history.last("loss"), Some(0.0));
    assert_eq!(history.last("val_loss"), Some(10_000.0));
    Ok(())
}

#[test]
fn initial_epoch_continues_counting() -> Result<()> {
    let history = model(1).fit(&two_classes(8), quiet().epochs(5).initial_epoch(3))?;
    assert_eq!(history.epoch, [3, 4]);
    Ok(())
}

#[test]
fn a_deferred_model_is_built_by_its_first_batch() -> Result<()> {
    let mut model = Sequential::new();
    model.add(Dense::new(3))?.add(Dense::new(1))?;
    assert!(!model.is_built());
    assert_eq!(model.predict(Array2::<f32>::ones((2, 5)))?.shape(), [2, 1]);
    assert_eq!(model.input_shape()?.to_string(), "(None, 5)");
    assert_eq!(model.count_params()?, 5 * 3 + 3 + 3 + 1);
    Ok(())
}

#[test]
fn frozen_layers_stay() -> Result<()> {
    let mut model = model(1);
    model.set_trainable(Some("dense".into()), false)?;
    let before = model.get_weights()?;
    model.fit(&two_classes(32), quiet())?;
    let after = model.get_weights()?;
    assert_eq!(before[..2], after[..2]);
    assert_ne!(before[2], after[2]);
    Ok(())
}

#[test]
fn class_and_sample_weights_weigh_the_loss() -> Result<()> {
    let mut model = Sequential::new();
    model.add(Dense::new(2).kernel_initializer("zeros").activation("softmax").input_shape(1))?;
    model.compile(Compile::new(SGD::new(0.0), "sparse_categorical_crossentropy"))?;
    let data = Dataset::new(Array2::<f32>::ones((4, 1)), Array1::from(vec![0i32, 0, 0, 1]))?;
    let ln2 = 2f64.ln();
    let plain = model.fit(&data, quiet())?.last("loss").unwrap();
    assert!((plain - ln2).abs() < 1e-6);
    let by_class = model.fit(&data, quiet().class_weight([(1, 5.0)]))?.last("loss").unwrap();
    assert!((by_class - ln2 * 8.0 / 4.0).abs() < 1e-5, "{by_class}");
    let by_sample = model.fit(&data, quiet().sample_weight([0.0f32, 0.0, 2.0, 0.0]))?.last("loss").unwrap();
    assert!((by_sample - ln2 * 2.0 / 4.0).abs() < 1e-5, "{by_sample}");
    Ok(())
}

/// Each label has the weight of its own class, not of its sample's argmax.
#[test]
fn class_weights_hold_for_each_step_and_pixel() -> Result<()> {
    let ln2 = 2f64.ln();
    let by_classes = |mut model: Sequential, data: &Dataset, loss: &'static str, weights: &[(usize, f32)]| {
        model.compile(Compile::new(SGD::new(0.0), loss))?;
        Ok::<_, brasa::Error>(model.fit(data, quiet().class_weight(weights.to_vec()))?.last("loss").unwrap())
    };
    let mut steps = Sequential::new();
    steps.add(Dense::new(2).activation("softmax").kernel_initializer("zeros").input_shape((3, 1)))?;
    let labels = ndarray::array![[[0.0f32], [0.0], [0.0]], [[0.0], [0.0], [1.0]]];
    let data = Dataset::new(ndarray::Array3::<f32>::ones((2, 3, 1)), &labels)?;
    let of_steps = |weights| by_classes(steps.clone(), &data, "sparse_categorical_crossentropy", weights);
    assert!((of_steps(&[(0, 1.0), (1, 10.0)])? - ln2 * 15.0 / 6.0).abs() < 1e-5);
    assert!((of_steps(&[(2, 100.0)])? - ln2).abs() < 1e-5, "no step is of class 2");

    let mut pixels = Sequential::new();
    pixels.add(Conv2D::new(1, 1).activation("sigmoid").kernel_initializer("zeros").input_shape((4, 4, 1)))?;
    let mut mask = ndarray::Array4::<f32>::zeros((1, 4, 4, 1));
    mask[[0, 1, 2, 0]] = 1.0;
    let data = Dataset::new(ndarray::Array4::<f32>::ones((1, 4, 4, 1)), &mask)?;
    let of_pixels = |weights| by_classes(pixels.clone(), &data, "binary_crossentropy", weights);
    assert!((of_pixels(&[(0, 1.0), (1, 10.0)])? - ln2 * 25.0 / 16.0).abs() < 1e-5);
    assert!((of_pixels(&[(6, 100.0)])? - ln2).abs() < 1e-5, "no pixel is of class 6");
    Ok(())
}

/// Weights stay with their samples: in a validation split, in validation data, in evaluations and batches.
#[test]
fn sample_weights_stay_with_their_samples() -> Result<()> {
    let mut model = Sequential::new();
    model.add(Dense::new(1).kernel_initializer("zeros").input_shape(1))?;
    model.compile(Compile::new(SGD::new(0.0), "mse").metrics(["mse"]).weighted_metrics(["mae"]))?;
    let x = Array2::<f32>::ones((8, 1));
    let data = Dataset::new(&x, [1.0f32, 1., 1., 1., 1., 1., 3., 5.])?;
    let weights = [1.0f32, 1., 1., 1., 1., 1., 0., 10.];
    let fit = || quiet().batch_size(4).validation_split(0.25);
    let last = |history: History| ["val_loss", "val_mae", "val_mse"].map(|name| history.last(name).unwrap());
    // From Keras 3.15.1.
    let wanted = [125.0, 5.0, 17.0];
    assert_eq!(last(model.fit(&data, fit().sample_weight(weights))?), wanted);
    let weighted = data.with_sample_weight(weights)?;
    assert_eq!(last(model.fit(&weighted, fit())?), wanted);
    let validation = weighted.slice(6..)?;
    assert_eq!(last(model.fit(&data.slice(..6)?, quiet().validation_data(&validation))?), wanted);
    let scores = model.evaluate(&validation)?;
    assert_eq!(["loss", "mae", "mse"].map(|name| scores.get(name).unwrap()), wanted);
    let on = || OnBatch::new().sample_weight([0.0f32, 10.0]);
    let (x, y) = (Array2::<f32>::ones((2, 1)), [3.0f32, 5.0]);
    for scores in [model.test_on_batch_with(&x, y, on())?, model.train_on_batch_with(&x, y, on())?] {
        assert_eq!(["loss", "mae", "mse"].map(|name| scores.get(name).unwrap()), wanted);
    }
    assert_eq!(model.test_on_batch(&x, y)?.loss, 17.0);

    let refused = |error: brasa::Error, text: &str| assert!(error.to_string().contains(text), "{error}");
    refused(model.fit(&weighted, fit().sample_weight(weights)).unwrap_err(), "its own");
    refused(model.fit(&weighted, fit().class_weight([(1, 2.0)])).unwrap_err(), "weights of its own");
    refused(model.fit(&data, fit().sample_weight([1.0f32; 3])).unwrap_err(), "8 samples");
    let per_step = Array2::<f32>::ones((8, 3));
    refused(model.fit(&data, fit().sample_weight(&per_step)).unwrap_err(), "[4, 3]");
    refused(model.test_on_batch_with(&x, y, OnBatch::new().class_weight([(1, 2.0)])).unwrap_err(), "class_weight");
    Ok(())
}

#[test]
fn penalties_are_part_of_the_loss() -> Result<()> {
    let mut model = Sequential::new();
    let kernel = Initializer::Constant { value: 2.0 };
    model
        .add(Dense::new(1).kernel_initializer(kernel).kernel_regularizer(Regularizer::L2 { l2: 0.5 }).input_shape(1))?;
    model.compile(Compile::new(SGD::new(0.1), "mse"))?;
    let x = Array2::<f32>::zeros((1, 1));
    let scores = model.train_on_batch(&x, Array1::<f32>::zeros(1))?;
    assert!((scores.loss - 2.0).abs() < 1e-6, "0.5 · 2²");
    // The gradient of l2 · w² is 2 · l2 · w.
    assert!((model.get_weights()?[0].sum() - (2.0 - 0.1 * 2.0)).abs() < 1e-6);
    assert!((model.test_on_batch(&x, Array1::<f32>::zeros(1))?.loss - 0.5 * 1.8 * 1.8).abs() < 1e-5);
    Ok(())
}

#[test]
fn batches_train_as_fit_does() -> Result<()> {
    let data = two_classes(12);
    let mut fitted = model(3);
    fitted.fit(&data, quiet().batch_size(4).shuffle(false).seed(3))?;
    let mut by_hand = model(3);
    let (x, y) = (data.x().into_ndarray(), data.y().into_ndarray());
    for start in [0, 4, 8] {
        let part = |array: &ArrayD<f32>| array.slice_axis(Axis(0), (start..start + 4).into()).to_owned();
        by_hand.train_on_batch(part(&x), part(&y))?;
    }
    assert_eq!(fitted.get_weights()?, by_hand.get_weights()?);
    Ok(())
}

#[test]
fn nested_models_train_with_the_weights_they_bring() -> Result<()> {
    let mut inner = Sequential::with_name("features").with_seed(5);
    inner.add(Dense::new(4).activation("relu").input_shape(2))?.add(Dense::new(3).trainable(false))?;
    let brought = inner.get_weights()?;
    let mut outer = Sequential::new();
    outer.add(inner)?.add(Dense::new(2).activation("softmax"))?;
    assert_eq!(outer.get_weights()?[..4], brought[..]);
    outer.compile(Compile::new("adam", "sparse_categorical_crossentropy"))?;
    outer.fit(&two_classes(16), quiet())?;
    let after = outer.get_weights()?;
    assert_ne!(after[0], brought[0]);
    assert_eq!(after[2], brought[2], "the frozen layer inside stays");
    Ok(())
}

#[test]
fn a_saved_model_continues_training_identically() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.keras");
    let data = two_classes(24);
    let mut model = model(9);
    model.fit(&data, quiet().batch_size(8).seed(1))?;
    model.save(&path)?;
    let mut copy = Sequential::load(&path)?;
    assert_eq!(model.get_weights()?, copy.get_weights()?);
    assert_eq!(model.predict(data.x())?, copy.predict(data.x())?);
    for model in [&mut model, &mut copy] {
        model.fit(&data, quiet().batch_size(8).seed(2))?;
    }
    assert_eq!(model.get_weights()?, copy.get_weights()?, "the optimizer's state was in the file");
    Ok(())
}

#[test]
fn weights_can_be_saved_and_loaded_separately() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.weights.h5");
    let mut trained = model(9);
    trained.fit(&two_classes(24), quiet())?;
    trained.save_weights(&path)?;
    let mut fresh = model(10);
    assert_ne!(trained.get_weights()?, fresh.get_weights()?);
    fresh.load_weights(&path)?;
    assert_eq!(trained.get_weights()?, fresh.get_weights()?);

    let mut other = Sequential::new();
    other.add(Dense::new(9).input_shape(2))?.add(Dense::new(2))?;
    let before = other.get_weights()?;
    let error = other.load_weights(&path).unwrap_err().to_string();
    // The kernel of the first layer, its bias, and the kernel after it.
    assert_eq!(error.matches("expected shape").count(), 3, "{error}");
    assert_eq!(other.get_weights()?, before);
    assert!(trained.save_weights(folder.path().join("model.txt")).is_err());
    Ok(())
}

#[test]
fn burns_module_sees_the_weights_and_their_gradients() -> Result<()> {
    use brasa::burn::module::Module;
    let mut model = Sequential::new().with_seed(1);
    model.add(Dense::new(3).input_shape(2))?.add(Dense::new(1).trainable(false))?;
    assert_eq!(model.num_params(), model.count_params()?);
    let training = model.clone().train();
    let x = Value::from_vec(vec![1.0, 2.0], &[1, 2], model.device())?;
    let output = training.forward(x.clone(), brasa::model::Mode::Inference)?.output().clone();
    assert!(output.sum().backward().is_some());
    assert!(model.valid().forward(x, brasa::model::Mode::Inference)?.output().clone().sum().backward().is_none());
    Ok(())
}

#[test]
fn models_can_be_shared_between_threads() {
    fn assert<T: Send + Sync>() {}
    assert::<Sequential>();
}
