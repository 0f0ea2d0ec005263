//! Bad input causes one clear error that names the place, the expectation and the input; the model stays unchanged.

use brasa::ndarray::{Array1, Array2, Array4};
use brasa::prelude::*;
use brasa::{Error, Result};

fn message<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn refuses<T>(result: Result<T>, parts: &[&str]) {
    let text = message(result);
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing in: {text}");
    }
}

fn classifier() -> Sequential {
    let mut model = Sequential::new();
    model.add(Dense::new(8).activation("relu").input_shape(4)).unwrap();
    model.add(Dense::new(3).activation("softmax")).unwrap();
    model
}

fn data(samples: usize) -> Dataset {
    let labels: Array1<i32> = (0..samples as i32).map(|i| i % 3).collect();
    Dataset::new(Array2::<f32>::ones((samples, 4)), &labels).unwrap()
}

fn quiet<'a>() -> Fit<'a> {
    Fit::new().verbose(Verbosity::Silent)
}

#[test]
fn layers_that_do_not_fit() {
    let mut model = Sequential::new();
    model.add(Conv2D::new(4, 3).input_shape((8, 8, 1))).unwrap();
    let before = model.summary().to_string();
    refuses(model.add(Conv2D::new(4, (9, 3))), &["conv2d_1", "Conv2D", "at least 9 rows", "received 6"]);
    refuses(model.add(Conv2D::new(0, 3)), &["filters", "above 0"]);
    refuses(model.add(Conv2D::new(4, 3).activation("rellu")), &["unknown activation `rellu`", "did you mean `relu`?"]);
    refuses(model.add(MaxPooling2D::new(7)), &["max_pooling2d", "at least 7 rows"]);
    refuses(model.add(MaxPooling2D::new(2).strides(0)), &["strides"]);
    refuses(model.add(Dropout::new(1.5)), &["rate", "from 0 to 1", "1.5"]);
    refuses(model.add(Reshape::new([5])), &["target_shape", "multiply to 144"]);
    refuses(model.add(Dense::new(0)), &["dense", "units"]);
    refuses(model.add(Dense::new(2).kernel_initializer("glorot")), &["unknown initializer", "glorot_uniform"]);
    refuses(model.add(Dense::new(2).kernel_regularizer(Regularizer::L2 { l2: -1.0 })), &["l2", "at least 0"]);
    assert_eq!(model.summary().to_string(), before, "refused layers leave the model as it was");
    model.add(Flatten::new()).unwrap();
    refuses(model.add(Conv2D::new(4, 3)), &["ndim=4", "ndim=2"]);
    assert_eq!(model.layers().len(), 2);
}

#[test]
fn sizes_that_were_open() {
    let mut model = Sequential::new();
    model.add(Cropping1D::new((1, 2)).input_shape((None, 4))).unwrap();
    model.add(Conv1D::new(2, 3)).unwrap();
    let device = model.device().clone();
    let batch = |steps: usize| brasa::Value::full(&[2, steps, 4], 1.0, &device).unwrap();
    let forward =
        |steps: usize| model.forward(batch(steps), brasa::model::Mode::Inference).map(|pass| pass.output().clone());
    assert_eq!(forward(6).unwrap().sizes(), [2, 1, 2]);
    refuses(forward(2), &["cropping1d", "less than 2"]);
    refuses(forward(4), &["conv1d", "at least 3 steps", "received 1"]);
    refuses(model.predict(ndarray::Array3::<f32>::ones((2, 2, 4))), &["cropping1d"]);
}

#[test]
fn names() {
    let mut model = Sequential::with_name("m");
    model.add(Dense::new(2).name("a").input_shape(3)).unwrap();
    refuses(model.add(Dense::new(2).name("a")), &["unique names", "`a`", "`m`"]);
    refuses(model.add(Dense::new(2).name("x/y")), &["without `/`"]);
    refuses(model.get_layer("nope"), &["no such layer", "nope", "`a`"]);
    refuses(model.get_layer(7), &["index 7"]);
    refuses(Sequential::new().pop(), &["the last layer"]);
}

#[test]
fn input_shapes() {
    let mut model = classifier();
    refuses(model.add(Input::new(5)), &["input_shape", "(None, 4)", "(None, 5)"]);
    refuses(model.add(Dense::new(2).input_shape(9)), &["input_shape", "(None, 9)"]);
    refuses(model.build(8), &["input_shape", "(None, 4)", "(None, 8)"]);
    refuses(Sequential::new().build(3), &["no layers"]);
    let mut deferred = Sequential::new();
    deferred.add(Dense::new(2)).unwrap();
    refuses(deferred.output_shape(), &["built"]);
    refuses(deferred.get_weights(), &["built"]);
    refuses(deferred.count_params(), &["built"]);
}

#[test]
fn compile_arguments() {
    let mut model = classifier();
    refuses(model.compile(Compile::new("adamm", "mse")), &["unknown optimizer `adamm`", "did you mean `adam`"]);
    refuses(model.compile(Compile::new("adam", "msee")), &["unknown loss `msee`", "did you mean `mse`?"]);
    refuses(model.compile(Compile::new("adam", "mse").metrics(["acuracy"])), &["unknown metric `acuracy`", "accuracy"]);
    refuses(model.compile(Compile::new(SGD::new(0.1).momentum(2.0), "mse")), &["momentum", "from 0 to 1"]);
    assert!(!model.is_compiled());
    refuses(model.fit(&data(6), quiet()), &["compile"]);
    refuses(model.evaluate(&data(6)), &["compile"]);
    refuses(model.train_on_batch(Array2::<f32>::ones((2, 4)), Array1::<i32>::zeros(2)), &["compile"]);
}

#[test]
fn data_that_does_not_fit() {
    let mut model = classifier();
    model.compile(Compile::new("adam", "sparse_categorical_crossentropy")).unwrap();
    let weights = model.get_weights().unwrap();
    let x = || Array2::<f32>::ones((6, 4));
    let with = |x: Samples, y: Samples| Dataset::new(x, y).unwrap();

    let wide = with((&Array2::<f32>::ones((6, 5))).into(), (&Array1::<i32>::zeros(6)).into());
    refuses(model.fit(&wide, quiet()), &["(None, 4)", "(None, 5)"]);
    // Only the last label is wrong, and nothing is trained before it is detected.
    let mut labels = Array1::<i32>::zeros(6);
    labels[5] = 3;
    let before = model.get_weights().unwrap();
    refuses(
        model.fit(&with((&x()).into(), (&labels).into()), quiet().batch_size(1)),
        &["labels y", "from 0 to 2", "3"],
    );
    assert_eq!(model.get_weights().unwrap(), before);
    for label in [3, -1] {
        let wrong = with((&x()).into(), (&Array1::<i32>::from_elem(6, label)).into());
        refuses(model.fit(&wrong, quiet()), &["labels y", "from 0 to 2", &label.to_string()]);
        refuses(model.evaluate(&wrong), &["from 0 to 2"]);
    }
    let fraction = with((&x()).into(), (&Array1::<f32>::from_elem(6, 0.5)).into());
    refuses(model.fit(&fraction, quiet()), &["whole numbers", "0.5"]);
    let one_hot = with((&x()).into(), (&Array2::<f32>::zeros((6, 3))).into());
    refuses(model.fit(&one_hot, quiet()), &["integer labels", "categorical_crossentropy"]);
    let nothing = with((&Array2::<f32>::ones((0, 4))).into(), (&Array1::<i32>::zeros(0)).into());
    refuses(model.fit(&nothing, quiet()), &["at least one sample"]);
    refuses(model.predict(Array2::<f32>::ones((0, 4))), &["at least one sample"]);
    refuses(model.predict(Array2::<f32>::ones((2, 3))), &["(None, 4)", "(None, 3)"]);
    refuses(Dataset::new(x(), Array1::<i32>::zeros(5)), &["6", "5"]);

    assert_eq!(model.get_weights().unwrap(), weights, "nothing was trained");
}

#[test]
fn fit_arguments() {
    let mut model = classifier();
    model.compile(Compile::new("adam", "sparse_categorical_crossentropy")).unwrap();
    let data = data(6);
    refuses(model.fit(&data, quiet().batch_size(0)), &["batch_size", "above 0"]);
    refuses(model.fit(&data, quiet().validation_split(1.0)), &["validation_split"]);
    refuses(model.fit(&data, quiet().validation_split(-0.1)), &["validation_split"]);
    refuses(model.fit(&data, quiet().validation_split(0.5).validation_data(&data)), &["validation_split"]);
    refuses(model.fit(&data, quiet().sample_weight([1.0f32])), &["sample_weight", "6"]);
    refuses(model.predict_with(Array2::<f32>::ones((1, 4)), Predict::new().batch_size(0)), &["batch_size"]);
}

#[test]
fn categorical_targets_that_are_integers() {
    let mut model = classifier();
    model.compile(Compile::new("adam", "categorical_crossentropy")).unwrap();
    refuses(model.fit(&data(6), quiet()), &["(None, 3)", "sparse_categorical_crossentropy"]);
}

#[test]
fn targets_that_are_not_numbers() {
    let mut model = Sequential::new();
    model.add(Dense::new(1).input_shape(1)).unwrap();
    model.compile(Compile::new("sgd", "mse")).unwrap();
    let data = Dataset::new(Array2::<f32>::ones((3, 1)), Array1::<f32>::from_elem(3, f32::NAN)).unwrap();
    refuses(model.fit(&data, quiet()), &["targets", "NaN"]);
}

#[test]
fn a_nan_loss_ends_the_run() {
    let mut model = Sequential::new();
    model.add(Dense::new(1).input_shape(1)).unwrap();
    model.compile(Compile::new(SGD::new(1e30), "mse")).unwrap();
    let data = Dataset::new(Array2::<f32>::from_elem((8, 1), 3.0), Array1::<f32>::ones(8)).unwrap();
    let error = model.fit(&data, quiet().epochs(9).batch_size(4)).unwrap_err();
    assert!(matches!(error, Error::NonFinite { batch, .. } if batch >= 1), "{error}");
    assert!(error.to_string().contains("learning rate 1e30"), "{error}");
}

#[test]
fn weights_that_do_not_fit() {
    let mut model = classifier();
    let weights = model.get_weights().unwrap();
    let mut wrong = weights.clone();
    wrong[0] = Array2::<f32>::zeros((4, 9)).into_dyn();
    wrong[3] = Array1::<f32>::zeros(4).into_dyn();
    refuses(model.set_weights(&wrong), &["`dense/kernel`: expected [4, 8], received [4, 9]", "`dense_1/bias`"]);
    refuses(model.set_weights(&weights[..3]), &["expected 4 weights, received 3"]);
    assert_eq!(model.get_weights().unwrap(), weights);
}

#[test]
fn files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    refuses(Sequential::load(path("missing.keras")), &["cannot", "missing.keras"]);
    std::fs::write(path("foreign.keras"), b"not a model").unwrap();
    refuses(Sequential::load(path("foreign.keras")), &["foreign.keras"]);
    let model = classifier();
    refuses(model.save(path("model.h6")), &["`.keras`", "model.h6"]);
    refuses(model.save(path("no/such/folder/model.keras")), &["cannot"]);
    model.save(path("model.keras")).unwrap();
    let whole = std::fs::read(path("model.keras")).unwrap();
    for part in 1..20 {
        std::fs::write(path("cut.keras"), &whole[..whole.len() * part / 20]).unwrap();
        refuses(Sequential::load(path("cut.keras")), &["cut.keras"]);
    }
    let mut deferred = Sequential::new();
    deferred.add(Dense::new(2)).unwrap();
    refuses(deferred.save(path("deferred.keras")), &["built"]);
}

#[test]
fn images_of_another_rank() {
    let mut model = Sequential::new();
    model.add(Conv2D::new(2, 3).input_shape((8, 8, 1))).unwrap();
    refuses(model.predict(Array4::<f32>::zeros((1, 8, 8, 3))), &["(None, 8, 8, 1)", "(None, 8, 8, 3)"]);
    // As in Keras, a last dimension of 1 can be omitted.
    assert_eq!(model.predict(ndarray::Array3::<f32>::zeros((1, 8, 8))).unwrap().shape(), [1, 6, 6, 2]);
}

#[test]
fn devices() {
    refuses("gpux".parse::<Backend>(), &["unknown backend `gpux`", "did you mean `gpu`?"]);
    refuses("flex:3".parse::<Backend>().unwrap().device(), &["flex:3", "flex:0"]);
}
