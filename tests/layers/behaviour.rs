//! What Keras rejects at construction or when a layer is added is rejected here by an error that names the layer and
//! the argument; invalid values that Keras accepts silently are rejected, too.

use brasa::constraints::Axes;
use brasa::layers::{Layer, built_in};
use brasa::ndarray::{Array1, Array2, Array3};
use brasa::prelude::*;
use brasa::{Result, Shape};
use serde_json::{Value as Json, json};

fn layer(class: &str, config: &Json) -> Result<Box<dyn Layer>> {
    let entry = built_in().iter().find(|entry| entry.class_name == class).unwrap_or_else(|| panic!("no {class}"));
    entry.layer(config.as_object().unwrap().clone())
}

/// A layer in a model whose samples have these sizes, some of which can be unknown.
fn added(sample: &[Option<usize>], class: &str, config: &Json) -> Result<Shape> {
    let mut model = Sequential::new();
    model.add(Input::new(sample.to_vec()))?;
    model.add(layer(class, config)?)?;
    model.output_shape().cloned()
}

/// Sizes from a table, where −1 is unknown.
fn sizes(sample: &[isize]) -> Vec<Option<usize>> {
    sample.iter().map(|size| usize::try_from(*size).ok()).collect()
}

#[test]
fn invalid_layers_are_refused() {
    let inner = |class: &str, config: Json| json!({"class_name": class, "config": config});
    let cases: &[(&[isize], &str, Json, &[&str])] = &[
        (&[4], "Dense", json!({"units": -1}), &["units", "-1"]),
        (&[4], "Dense", json!({"units": 2.5}), &["units", "an integer", "2.5"]),
        (&[4], "Dense", json!({"units": "a"}), &["units", "an integer", "\"a\""]),
        (&[4], "Dense", json!({}), &["units"]),
        (&[4], "Dense", json!({"units": 2, "foo": 1}), &["unknown argument `foo`"]),
        (&[4], "Dense", json!({"units": 2, "activation": "nope"}), &["activation", "nope", "relu"]),
        (&[4], "Dense", json!({"units": 2, "kernel_initializer": "nope"}), &["kernel_initializer", "glorot_uniform"]),
        (&[4], "Dense", json!({"units": 2, "bias_regularizer": "nope"}), &["bias_regularizer", "l2"]),
        (&[4], "Dense", json!({"units": 2, "kernel_constraint": "nope"}), &["kernel_constraint", "non_neg"]),
        (&[4], "Dense", json!({"units": 2, "name": "a/b"}), &["without `/`"]),
        (&[4], "Dense", json!({"units": 2, "name": 3}), &["name", "3"]),
        (&[-1], "Dense", json!({"units": 2}), &["Dense", "None"]),
        (&[8, 8, 3], "Conv2D", json!({"filters": -2, "kernel_size": 3}), &["filters", "-2"]),
        (&[8, 8, 3], "Conv2D", json!({"filters": 2, "kernel_size": 0}), &["kernel_size", "0"]),
        (&[8, 8, 3], "Conv2D", json!({"filters": 2, "kernel_size": [3]}), &["kernel_size", "[3]"]),
        (&[8, 8, 3], "Conv2D", json!({"filters": 2, "kernel_size": [3, 3, 3]}), &["kernel_size", "[3,3,3]"]),
        (&[8, 8, 3], "Conv2D", json!({"filters": 2, "kernel_size": 3, "strides": 0}), &["strides"]),
        (&[8, 8, 3], "Conv2D", json!({"filters": 2, "kernel_size": 3, "padding": "causal"}), &["padding", "causal"]),
        (&[8, 8, 3], "Conv2D", json!({"filters": 2, "kernel_size": 3, "padding": "nope"}), &["padding", "same"]),
        (
            &[8, 8, 3],
            "Conv2D",
            json!({"filters": 2, "kernel_size": 3, "strides": 2, "dilation_rate": 2}),
            &["strides", "dilation_rate"],
        ),
        (&[8, 8, 3], "Conv2D", json!({"filters": 5, "kernel_size": 3, "groups": 2}), &["groups"]),
        (&[8, 8, 3], "Conv2D", json!({"filters": 4, "kernel_size": 3, "groups": 0}), &["groups", "0"]),
        (&[8, 8, 3], "Conv2D", json!({"filters": 4, "kernel_size": 3, "groups": 2}), &["groups", "3"]),
        (&[4, 4, 1], "Conv2D", json!({"filters": 2, "kernel_size": 5}), &["at least 5", "received 4"]),
        (&[4, 4], "Conv2D", json!({"filters": 2, "kernel_size": 3}), &["ndim=4", "ndim=3"]),
        (&[8, 8, -1], "Conv2D", json!({"filters": 2, "kernel_size": 3}), &["Conv2D", "None"]),
        (&[3, 1], "Conv1D", json!({"filters": 2, "kernel_size": 5}), &["at least 5", "received 3"]),
        (&[2, 2, 1], "MaxPooling2D", json!({"pool_size": 3}), &["at least 3", "received 2"]),
        (&[1, 1, 1], "MaxPooling2D", json!({"pool_size": 2}), &["at least 2", "received 1"]),
        (&[4, 4, 1], "MaxPooling2D", json!({"pool_size": 0}), &["pool_size", "0"]),
        (&[4, 4, 1], "MaxPooling2D", json!({"strides": 0}), &["strides", "0"]),
        (&[4, 4, 1], "MaxPooling2D", json!({"padding": "nope"}), &["padding", "valid"]),
        (&[4], "MaxPooling2D", json!({}), &["ndim=4", "ndim=2"]),
        (&[4], "Dropout", json!({"rate": -0.1}), &["rate", "-0.1"]),
        (&[4], "Dropout", json!({"rate": 1.5}), &["rate", "1.5"]),
        (&[4], "GaussianNoise", json!({"stddev": 2.0}), &["stddev", "2"]),
        (&[4], "SpatialDropout2D", json!({"rate": 0.5}), &["ndim=4", "ndim=2"]),
        (&[4], "Reshape", json!({"target_shape": [3]}), &["target_shape", "4"]),
        (&[4], "Reshape", json!({"target_shape": [-1, -1]}), &["target_shape"]),
        (&[4, 3], "Permute", json!({"dims": [0, 1]}), &["dims"]),
        (&[4, 3], "Permute", json!({"dims": [3, 1, 2]}), &["Permute", "ndim=4", "ndim=3"]),
        (&[4], "RepeatVector", json!({"n": 1.5}), &["n", "an integer", "1.5"]),
        (&[4, 3], "RepeatVector", json!({"n": 2}), &["ndim=2", "ndim=3"]),
        (&[4, 4, 1], "Cropping2D", json!({"cropping": 2}), &["cropping"]),
        (&[4, 4, 1], "Cropping2D", json!({"cropping": -1}), &["cropping", "-1"]),
        (&[4, 4, 1], "ZeroPadding2D", json!({"padding": -1}), &["padding", "-1"]),
        (&[4, 4, 1], "UpSampling2D", json!({"interpolation": "nope"}), &["interpolation", "bilinear"]),
        (&[4, 4, 1], "UpSampling2D", json!({"size": 0}), &["size", "0"]),
        (&[4], "Embedding", json!({"input_dim": 0, "output_dim": 2}), &["input_dim", "0"]),
        (&[4, 3], "LSTM", json!({"units": 0}), &["units", "0"]),
        (&[4], "LSTM", json!({"units": 2}), &["ndim=3", "ndim=2"]),
        (&[4, 3], "GRU", json!({"units": -1}), &["units", "-1"]),
        (&[4, 3], "GRU", json!({"units": 2, "stateful": true}), &["stateful", "batch_size"]),
        (&[4, 3], "LSTM", json!({"units": 2, "return_state": true}), &["one output", "received 3"]),
        (&[4, 3], "SimpleRNN", json!({"units": 2, "dropout": 2.0}), &["dropout", "2"]),
        (
            &[4, 3],
            "Bidirectional",
            json!({"layer": inner("Dense", json!({"units": 2}))}),
            &["layer", "a recurrent layer"],
        ),
        (
            &[4, 3],
            "Bidirectional",
            json!({"layer": inner("LSTM", json!({"units": 2})), "merge_mode": "nope"}),
            &["merge_mode", "concat"],
        ),
        (
            &[4, 3],
            "Bidirectional",
            json!({"layer": inner("LSTM", json!({"units": 2})), "merge_mode": null}),
            &["one output", "received 2"],
        ),
        (&[4], "TimeDistributed", json!({"layer": inner("Dense", json!({"units": 2}))}), &["TimeDistributed", "ndim"]),
        (&[4], "TimeDistributed", json!({"layer": 3}), &["layer", "3"]),
        (&[4], "BatchNormalization", json!({"axis": 3}), &["axis", "3"]),
        (&[4], "LayerNormalization", json!({"axis": 5}), &["axis", "5"]),
        (&[4], "GroupNormalization", json!({"groups": 3}), &["groups", "3"]),
        (&[4], "Activation", json!({"activation": "nope"}), &["activation", "nope", "relu"]),
        (&[4], "Softmax", json!({"axis": 3}), &["axis", "3"]),
        (
            &[4],
            "Dense",
            json!({"units": 2, "kernel_regularizer": {"class_name": "L2", "config": {"l2": -1.0}}}),
            &["l2", "-1"],
        ),
        (&[4], "Rescaling", json!({}), &["scale"]),
        (&[4, 3], "Masking", json!({"mask_value": "x"}), &["mask_value", "a number"]),
    ];
    let mut failures = Vec::new();
    for (sample, class, config, parts) in cases {
        match added(&sizes(sample), class, config) {
            Ok(shape) => failures.push(format!("{class}({config}) is taken and gives {shape}")),
            Err(error) => {
                let text = error.to_string();
                let missing = parts.iter().filter(|part| !text.contains(*part));
                failures.extend(missing.map(|part| format!("{class}({config}): `{part}` is missing in: {text}")));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(cases.len() >= 65);
}

#[test]
fn what_keras_accepts_is_accepted() {
    let cases: &[(&[isize], &str, Json, &str)] = &[
        (&[8, 8, 3], "Conv2D", json!({"filters": 2, "kernel_size": 3, "padding": "SAME"}), "(None, 8, 8, 2)"),
        (&[5, 5, 1], "Conv2D", json!({"filters": 2, "kernel_size": 5}), "(None, 1, 1, 2)"),
        (&[4, 4, 1], "Conv2D", json!({"filters": 2, "kernel_size": 5, "padding": "same"}), "(None, 4, 4, 2)"),
        (&[-1, -1, 3], "Conv2D", json!({"filters": 2, "kernel_size": 3}), "(None, None, None, 2)"),
        (&[3, 1], "Conv1D", json!({"filters": 2, "kernel_size": 5, "padding": "causal"}), "(None, 3, 2)"),
        (&[4], "Dropout", json!({"rate": 1.0}), "(None, 4)"),
        (&[], "Flatten", json!({}), "(None, 1)"),
        (&[-1, 3], "Flatten", json!({}), "(None, None)"),
        (&[4, 3], "Permute", json!({"dims": [2, 1]}), "(None, 3, 4)"),
        (&[4], "Embedding", json!({"input_dim": 5, "output_dim": 2}), "(None, 4, 2)"),
    ];
    for (sample, class, config, shape) in cases {
        let found = added(&sizes(sample), class, config);
        assert!(matches!(&found, Ok(got) if got.to_string() == *shape), "{class}({config}): {found:?}");
    }
}

/// Layers that need more than one input cannot be part of a Sequential.
#[test]
fn layers_of_several_inputs_do_not_fit_into_a_sequential() {
    let cases = [
        ("Subtract", json!({})),
        ("MultiHeadAttention", json!({"num_heads": 1, "key_dim": 2})),
        ("GroupedQueryAttention", json!({"head_dim": 2, "num_query_heads": 2, "num_key_value_heads": 1})),
        ("Attention", json!({})),
        ("AdditiveAttention", json!({})),
        ("Dot", json!({"axes": 1})),
    ];
    for (class, config) in cases {
        let error = added(&[Some(4), Some(3)], class, &config).unwrap_err().to_string();
        assert!(error.contains(class) && error.contains("input"), "{error}");
    }
}

#[test]
fn compile_arguments_of_files_are_checked() {
    let compile = |json: Json| {
        let compile = Compile::from_config(json.as_object().unwrap().clone())?;
        Sequential::new().compile(compile).map(|_| ())
    };
    let object = |class: &str, config: Json| json!({"class_name": class, "config": config});
    let refused = |json: Json, parts: &[&str]| {
        let text = compile(json.clone()).unwrap_err().to_string();
        parts.iter().for_each(|part| assert!(text.contains(part), "{json}: `{part}` is missing in: {text}"));
    };
    for reduction in [json!("none"), json!("nope"), Json::Null] {
        let loss = object("MeanSquaredError", json!({"reduction": reduction}));
        refused(json!({"loss": loss}), &["reduction", "sum_over_batch_size", "sum", "mean_with_sample_weight"]);
    }
    refused(json!({"loss": "nope"}), &["unknown loss `nope`"]);
    refused(json!({"loss": ["mse", "mse"]}), &["loss", "one for each of the outputs", "2"]);
    refused(json!({"loss": "mse", "metrics": ["nope"]}), &["unknown metric `nope`"]);
    refused(json!({"loss": "mse", "optimizer": "nope"}), &["unknown optimizer `nope`"]);
    refused(json!({"loss": "mse", "optimizer": object("Adam", json!({"lr": 0.1}))}), &["unknown argument `lr`"]);
    refused(json!({"loss": "mse", "optimiser": "adam"}), &["optimiser", "optimizer"]);
    assert!(compile(json!({"loss": object("MeanSquaredError", json!({"reduction": "sum"}))})).is_ok());
}

/// A classifier for rows of four numbers on a device.
fn classifier(device: &brasa::burn::tensor::Device, loss: &str) -> Sequential {
    let mut model = Sequential::new();
    model.to_device(device);
    model.add(Dense::new(3).activation("softmax").input_shape(4)).unwrap();
    model.compile(Compile::new("adam", loss)).unwrap();
    model
}

/// The same bad data give the same error on every backend, and nothing is trained. The GPU backend is tested if
/// `BRASA_TEST_GPU=1`.
#[test]
fn bad_data_is_refused_on_every_backend() {
    let wgpu =
        cfg!(feature = "wgpu") && std::env::var("BRASA_TEST_GPU").is_ok_and(|value| value == "1" || value == "all");
    let names = [(true, "flex"), (cfg!(feature = "ndarray"), "ndarray"), (wgpu, "wgpu")];
    for (_, name) in names.into_iter().filter(|(wanted, _)| *wanted) {
        let device = name.parse::<Backend>().unwrap().device().unwrap();
        let x = Array2::<f32>::ones((4, 4));
        let refused = |loss: &str, x: Samples, y: Samples, parts: &[&str]| {
            let mut model = classifier(&device, loss);
            let before = model.get_weights().unwrap();
            let data = Dataset::new(&x, &y).unwrap();
            let texts = [
                model.train_on_batch(&x, &y).unwrap_err().to_string(),
                model.test_on_batch(&x, &y).unwrap_err().to_string(),
                model.fit(&data, Fit::new().verbose(Verbosity::Silent)).unwrap_err().to_string(),
                model.evaluate(&data).unwrap_err().to_string(),
            ];
            for text in texts {
                parts.iter().for_each(|part| assert!(text.contains(part), "{loss}: `{part}` is missing in: {text}"));
            }
            assert_eq!(model.get_weights().unwrap(), before);
        };
        let labels = |label: f32| Samples::from(Array1::from_elem(4, label));
        for label in [3.0, -1.0, 0.5, f32::NAN] {
            refused("sparse_categorical_crossentropy", (&x).into(), labels(label), &["labels y", "from 0 to 2"]);
        }
        let nothing = Array2::from_elem((4, 3), f32::NAN);
        for loss in ["mse", "categorical_crossentropy", "binary_crossentropy", "kl_divergence", "huber_loss", "hinge"] {
            refused(loss, (&x).into(), (&nothing).into(), &["targets", "NaN"]);
            refused(loss, (&x).into(), Array2::<f32>::ones((4, 2)).into(), &["targets y", "(None, 3)", "(None, 2)"]);
            refused(loss, (&x).into(), Array3::<f32>::ones((4, 3, 2)).into(), &["targets y", "(None, 3, 2)"]);
            refused(
                loss,
                Array2::<f32>::ones((4, 5)).into(),
                Array2::<f32>::ones((4, 3)).into(),
                &["(None, 4)", "(None, 5)"],
            );
        }
        refused("mse", Array3::<f32>::ones((4, 2, 2)).into(), Array2::<f32>::ones((4, 3)).into(), &["(None, 2, 2)"]);
        refused("mse", (&x).into(), labels(1.0), &["targets y", "(None, 3)", "(None,)"]);

        let mut words = Sequential::new();
        words.to_device(&device);
        words.add(Embedding::new(5, 2).input_shape(3)).unwrap().add(Flatten::new()).unwrap();
        for index in [5.0, -1.0, 1.5, f32::NAN] {
            let text = words.predict(Array2::from_elem((2, 3), index)).unwrap_err().to_string();
            assert!(text.contains("Embedding") && text.contains("from 0 to 4"), "{text}");
        }
        // An invalid index known only on the device gives NaN, not an arbitrary row.
        let mut hidden = Sequential::new();
        hidden.to_device(&device);
        hidden.add(Rescaling::new(2.0).input_shape(3)).unwrap().add(Embedding::new(5, 2)).unwrap();
        let output = hidden.predict(Array2::from_elem((1, 3), 3.0f32)).unwrap();
        assert!(output.iter().all(|number| number.is_nan()), "{output}");
    }
}

#[test]
fn fit_arguments_of_keras_are_accepted() {
    let mut model = classifier(&brasa::burn::tensor::Device::flex(), "sparse_categorical_crossentropy");
    let data = Dataset::new(Array2::<f32>::ones((6, 4)), Array1::<i32>::zeros(6)).unwrap();
    let fit = || Fit::new().verbose(Verbosity::Silent);
    assert!(model.fit(&data, fit().epochs(0)).unwrap().history.is_empty());
    assert_eq!(model.fit(&data, fit().batch_size(100)).unwrap().get("loss").unwrap().len(), 1);
    assert!(model.fit(&data, fit().validation_split(0.01)).unwrap().get("val_loss").is_some());
    let history = model.fit(&data, fit().initial_epoch(2).epochs(4)).unwrap();
    assert_eq!(history.epoch, [2, 3]);
    let both = fit().class_weight([(0, 2.0)]).sample_weight([1.0f32; 6]);
    assert!(model.fit(&data, both).unwrap_err().to_string().contains("either class_weight or sample_weight"));
}

/// A popped layer of any kind keeps its weights, also when it is added again.
#[test]
fn a_popped_layer_keeps_its_weights() {
    let mut inner = Sequential::new().with_seed(3);
    inner.add(Dense::new(3).activation("tanh").input_shape(4)).unwrap();
    inner.add(BatchNormalization::new()).unwrap();
    let layers: [Box<dyn Layer>; 3] = [Dense::new(3).into(), BatchNormalization::new().into(), inner.into()];
    for layer in layers {
        let class = layer.class_name();
        let mut model = Sequential::new().with_seed(1);
        model.add(Dense::new(4).input_shape(2)).unwrap().add(layer).unwrap();
        model.compile(Compile::new(SGD::new(0.5), "mse")).unwrap();
        let x = Array2::from_shape_fn((5, 2), |(row, column)| (row * 3 + column) as f32 * 0.3 - 1.0);
        let y = model.predict(&x).unwrap().mapv(|number| number * 0.5 + 1.0);
        model.train_on_batch(&x, &y).unwrap();
        let (weights, expected) = (model.get_weights().unwrap(), model.predict(&x).unwrap());

        let popped = model.pop().unwrap();
        if let Some(nested) = popped.as_any().downcast_ref::<Sequential>() {
            assert_eq!(nested.get_weights().unwrap(), weights[2..]);
        }
        // Any number of times, here and in another model, including one without weights yet.
        let mut other = Sequential::new().with_seed(2);
        other.add(Dense::new(4).input_shape(2)).unwrap().add(popped.clone()).unwrap();
        assert_eq!(other.get_weights().unwrap()[2..], weights[2..], "{class}");
        model.add(popped).unwrap();
        assert_eq!(model.predict(&x).unwrap(), expected, "{class}");
        model.train_on_batch(&x, &y).unwrap();
        let trained = model.get_weights().unwrap();
        assert_ne!(trained[2..], weights[2..], "{class}");
        let popped = model.pop().unwrap();
        model.add(popped).unwrap();
        assert_eq!(model.get_weights().unwrap(), trained, "{class}");
    }

    // A mismatch is rejected when it is added.
    let mut model = Sequential::new();
    model.add(Dense::new(4).input_shape(2)).unwrap().add(Dense::new(3).name("last")).unwrap();
    model.get_weights().unwrap();
    let popped = model.pop().unwrap();
    let mut without_weights = Sequential::new();
    without_weights.add(Dense::new(5).input_shape(2)).unwrap();
    model.add(Dense::new(5)).unwrap();
    for mut model in [model, without_weights] {
        let layers = model.layers().len();
        let error = model.add(popped.clone()).unwrap_err().to_string();
        assert!(error.contains("`last/kernel`") && error.contains("[4, 3]"), "{error}");
        assert_eq!(model.layers().len(), layers);
    }
}

/// Inside a nested model too, whose other layers are newly initialized.
#[test]
fn a_popped_layer_keeps_its_weights_in_a_nested_model() {
    let mut model = Sequential::new().with_seed(1);
    model.add(Dense::new(4).input_shape(2)).unwrap().add(Dense::new(3)).unwrap();
    let weights = model.get_weights().unwrap();
    let popped = model.pop().unwrap();
    for depth in 1..3 {
        let mut nested = Sequential::new().with_seed(5);
        nested.add(Dense::new(4)).unwrap().add(popped.clone()).unwrap();
        for _ in 1..depth {
            let mut outer = Sequential::new();
            outer.add(nested).unwrap();
            nested = outer;
        }
        let mut other = Sequential::new().with_seed(2);
        other.add(Dense::new(4).input_shape(2)).unwrap().add(nested).unwrap();
        assert_eq!(other.get_weights().unwrap()[4..], weights[2..], "{depth}");
    }
    // Models that have weights already keep them at any depth.
    let mut inner = Sequential::new().with_seed(7);
    inner.add(Dense::new(3).input_shape(4)).unwrap();
    let own = inner.get_weights().unwrap();
    let mut outer = Sequential::new();
    outer.add(inner).unwrap();
    let mut other = Sequential::new();
    other.add(Dense::new(4).input_shape(2)).unwrap().add(outer).unwrap();
    assert_eq!(other.get_weights().unwrap()[2..], own);
    // A model without layers has no weights to keep.
    model.add(Sequential::new()).unwrap();
    model.get_weights().unwrap();
    assert_eq!(model.pop().unwrap().class_name(), "Sequential");
    assert_eq!(model.get_weights().unwrap(), weights[..2]);
}

/// A wrapped layer brings its weights, too: that of a model, a popped layer, or one in a nested model.
#[test]
fn a_wrapped_layer_keeps_its_weights() {
    let mut model = Sequential::new().with_seed(1);
    model.add(Dense::new(4).input_shape(2)).unwrap().add(Dense::new(3)).unwrap();
    let weights = model.get_weights().unwrap();
    let mut unmade = Sequential::new();
    let popped = model.clone().pop().unwrap();
    unmade.add(Dense::new(4)).unwrap().add(popped.clone()).unwrap();

    let mut wrapped = Sequential::new();
    wrapped.add(TimeDistributed::new(model).input_shape((5, 2))).unwrap();
    assert_eq!(wrapped.get_weights().unwrap(), weights);

    let mut wrapped = Sequential::new();
    wrapped.add(TimeDistributed::new(unmade).input_shape((5, 2))).unwrap();
    assert_eq!(wrapped.get_weights().unwrap()[2..], weights[2..]);

    let mut nested = Sequential::new();
    nested.add(TimeDistributed::new(popped.clone())).unwrap();
    let mut outer = Sequential::new();
    outer.add(Dense::new(4).input_shape((5, 2))).unwrap().add(nested).unwrap();
    assert_eq!(outer.get_weights().unwrap()[2..], weights[2..]);

    // A model in a layer in a model in a layer, whose other layers are initialized by the outermost model's seed.
    let deep = |seed: u64| {
        let mut inner = Sequential::new();
        inner.add(TimeDistributed::new(popped.clone())).unwrap().add(Dense::new(2)).unwrap();
        let mut model = Sequential::new().with_seed(seed);
        model.add(TimeDistributed::new(inner)).unwrap().add(Reshape::new([30])).unwrap();
        model
    };
    let mut model = deep(4);
    // A failed build leaves nothing behind.
    model.build((2, 5, 4)).unwrap_err();
    model.build((3, 5, 4)).unwrap();
    let got = model.get_weights().unwrap();
    assert_eq!(got[..2], weights[2..]);
    let mut same = deep(4);
    same.build((3, 5, 4)).unwrap();
    assert_eq!(same.get_weights().unwrap(), got);

    // The layer of a `Bidirectional` is a template, its explicit backward layer is not.
    let mut model = Sequential::new();
    model.add(GRU::new(2).go_backwards(true).input_shape((5, 3))).unwrap();
    let own = model.get_weights().unwrap();
    let gru = model.pop().unwrap();
    let mut both = Sequential::new();
    both.add(Bidirectional::new(GRU::new(2)).backward_layer(brasa::layers::Wrapped::from(gru)).input_shape((5, 3)))
        .unwrap();
    assert_eq!(both.get_weights().unwrap()[3..], own);

    let mut spectral = Sequential::new();
    spectral.add(SpectralNormalization::new(popped.clone()).input_shape(4)).unwrap();
    let got = spectral.get_weights().unwrap();
    assert_eq!([&got[0], &got[2]], [&weights[2], &weights[3]]);

    let error = Sequential::new().add(TimeDistributed::new(popped).input_shape((5, 6))).map(drop).unwrap_err();
    assert!(error.to_string().contains("[4, 3]"), "{error}");
}

/// JSON has no infinities: they are rejected on saving, instead of reading as missing arguments.
#[test]
fn infinite_arguments_are_refused_when_saving() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |mut model: Sequential, compile: Compile, argument: &str| {
        model.compile(compile).unwrap();
        for form in ["keras", "h5", "safetensors"] {
            let path = folder.path().join(format!("model.{form}"));
            let error = model.save(&path).unwrap_err().to_string();
            assert!(error.contains(argument) && error.contains("the number inf"), "{error}");
            assert!(!path.exists());
        }
    };
    let of = |layer: Box<dyn Layer>| {
        let mut model = Sequential::new();
        model.add(Input::new(3)).unwrap().add(layer).unwrap();
        model
    };
    let mse = || Compile::new("sgd", "mse");
    refused(of(ReLU::default().max_value(f32::INFINITY).into()), mse(), "`max_value`");
    let limit = Constraint::MaxNorm { max_value: f32::INFINITY, axis: Axes::One(0) };
    refused(of(Dense::new(2).kernel_constraint(limit).into()), mse(), "`max_value`");
    let mut nested = of(Reshape::new([3, 1]).into());
    nested.add(TimeDistributed::new(ReLU::default().max_value(f32::INFINITY))).unwrap();
    refused(nested, mse(), "`max_value`");
    let dense = || of(Dense::new(2).into());
    refused(dense(), Compile::new(SGD::new(0.1).clipnorm(f32::INFINITY), "mse"), "`clipnorm`");
    refused(dense(), mse().loss_weight(f32::INFINITY), "`loss_weights`");
}
