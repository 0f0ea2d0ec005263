//! A small file, or a few lines of Rust, can request more than the machine has: sizes that overflow, and sizes that
//! exceed the memory. Both are errors that name the layer, before anything is allocated.

use brasa::ndarray::ArrayD;
use brasa::prelude::*;
use brasa::{Error, Shape, Value};
use serde_json::{Value as Json, json};

/// 1 GiB, so that the tests do not depend on the machine.
const LIMIT: u64 = 1 << 30;

fn device() -> brasa::burn::tensor::Device {
    "flex".parse::<Backend>().unwrap().device().unwrap()
}

fn layer(class_name: &str, mut config: Json) -> Json {
    let name = config.as_object().unwrap().get("name").cloned().unwrap_or_else(|| json!("asks_much"));
    config["name"] = name;
    json!({"class_name": class_name, "config": config})
}

/// The model described by Keras's JSON with these layers after an input of shape `sample`.
fn model(sample: &[usize], layers: &[Json]) -> brasa::Result<Sequential> {
    let batch_shape: Vec<Json> = std::iter::once(Json::Null).chain(sample.iter().map(|size| json!(size))).collect();
    let input = json!({"class_name": "InputLayer", "config": {"batch_shape": batch_shape, "name": "in"}});
    let layers: Vec<Json> = std::iter::once(input).chain(layers.iter().cloned()).collect();
    let config = json!({"class_name": "Sequential", "config": {"name": "model", "layers": layers}});
    let mut model = Sequential::from_json(&config.to_string())?;
    model.to_device(&device());
    model.set_memory_limit(Some(LIMIT));
    Ok(model)
}

fn ones(batch: usize, sample: &[usize]) -> ArrayD<f32> {
    ArrayD::ones([&[batch], sample].concat())
}

/// The errors of `predict` and of a training step for a batch; both must reject it with the layer's name, in a short
/// message.
#[track_caller]
fn refusals(sample: &[usize], layers: &[Json], batch: usize) -> Vec<Error> {
    let mut model = match model(sample, layers) {
        Ok(model) => model,
        Err(error) => return vec![named(error)],
    };
    let predicted = model.predict(ones(batch, sample)).expect_err("predict");
    model.compile(Compile::new("sgd", "mse")).unwrap();
    let output = model.output_shape().unwrap().sample().len();
    // Targets of the right rank; the memory is checked before shapes are compared.
    let trained = model.train_on_batch(ones(batch, sample), ones(batch, &vec![1; output])).expect_err("train");
    vec![named(predicted), trained]
}

#[track_caller]
fn named(error: Error) -> Error {
    let text = error.to_string();
    assert!(text.contains("asks_much"), "{text}");
    assert!(text.len() < 1000, "{} characters", text.len());
    error
}

fn is_memory(error: &Error) -> bool {
    match error {
        Error::Layer { source, .. } => is_memory(source),
        Error::Memory { bytes, most, .. } => bytes > most,
        _ => false,
    }
}

#[track_caller]
fn too_much(sample: &[usize], class_name: &str, config: Json) {
    for error in refusals(sample, &[layer(class_name, config)], 1).iter().take(1) {
        assert!(is_memory(error), "{class_name}: {error}");
    }
}

/// An element count that overflows to a small one must not reach the backend.
#[test]
fn sizes_that_overflow_are_refused_when_the_layer_is_added() {
    let after = [
        layer("Activation", json!({"activation": "tanh", "name": "a"})),
        layer("ReLU", json!({"max_value": 6.0, "name": "b"})),
        layer("Softmax", json!({"name": "c"})),
        layer("ZeroPadding1D", json!({"name": "d"})),
        layer("LSTM", json!({"units": 2, "name": "e"})),
        layer("TimeDistributed", json!({"name": "f", "layer": layer("Dense", json!({"units": 2}))})),
    ];
    for after in after {
        for n in [(1u64 << 62) + 1, 1 << 62, 1 << 63, u64::MAX, (1 << 61) + 1] {
            let layers = [
                layer("Dense", json!({"units": 4, "name": "dense"})),
                layer("RepeatVector", json!({"n": n})),
                after.clone(),
                layer("GlobalMaxPooling1D", json!({"name": "pool"})),
            ];
            let error = model(&[3], &layers).map(|_| ()).expect_err("a size that wraps");
            named(error);
        }
    }
    let much = (1u64 << 62) + 1;
    let cases = [
        (vec![3, 4], layer("UpSampling1D", json!({"size": much}))),
        (vec![4, 4, 3], layer("UpSampling2D", json!({"size": [1u64 << 31, 1u64 << 31]}))),
        (vec![4, 4, 4, 3], layer("UpSampling3D", json!({"size": [1 << 20, 1 << 20, 1 << 20]}))),
        (vec![3, 4], layer("ZeroPadding1D", json!({"padding": [much, much]}))),
        (vec![4, 4, 3], layer("ZeroPadding2D", json!({"padding": [[1u64 << 40, 0], [1u64 << 40, 0]]}))),
        (vec![4, 4, 3], layer("Resizing", json!({"height": 1u64 << 40, "width": 1u64 << 40}))),
        (vec![4, 4, 3], layer("CenterCrop", json!({"height": 1u64 << 32, "width": 1u64 << 31}))),
        (vec![4, 4, 3], layer("AdaptiveAveragePooling2D", json!({"output_size": [1u64 << 40, 1u64 << 40]}))),
        (vec![3], layer("CategoryEncoding", json!({"num_tokens": much, "output_mode": "one_hot"}))),
        (vec![4, 3], layer("DepthwiseConv1D", json!({"kernel_size": 1, "depth_multiplier": much}))),
        (vec![4, 3], layer("SeparableConv1D", json!({"filters": 1, "kernel_size": 1, "depth_multiplier": much}))),
        (vec![4, 3], layer("Conv1DTranspose", json!({"filters": 4, "kernel_size": 1, "strides": much}))),
        (vec![4, 3], layer("Conv1DTranspose", json!({"filters": 1, "kernel_size": 3, "dilation_rate": 1u64 << 62}))),
        (vec![3], layer("Dense", json!({"units": much}))),
        (vec![3], layer("Embedding", json!({"input_dim": 3, "output_dim": much}))),
        (vec![3], layer("EinsumDense", json!({"equation": "ab,bc->ac", "output_shape": [much]}))),
        (vec![2, 3], layer("TimeDistributed", json!({"layer": layer("RepeatVector", json!({"n": much}))}))),
        (
            vec![3],
            layer(
                "Sequential",
                json!({"layers": [
                    layer("RepeatVector", json!({"n": much})), layer("GlobalMaxPooling1D", json!({"name": "pool"}))
                ]}),
            ),
        ),
        (vec![2, 3], layer("LSTM", json!({"units": much}))),
        (vec![2, 3], layer("Bidirectional", json!({"layer": layer("GRU", json!({"units": 1u64 << 62}))}))),
        (vec![3], layer("SpectralNormalization", json!({"layer": layer("Dense", json!({"units": 1u64 << 62}))}))),
        (
            vec![2, 3],
            layer(
                "SpectralNormalization",
                json!({
                    "layer": layer("Conv1D", json!({"filters": 1, "kernel_size": 1})), "power_iterations": much
                }),
            ),
        ),
    ];
    for (sample, hostile) in cases {
        let text = hostile.to_string();
        let error = model(&sample, &[hostile]).map(|_| ()).err().unwrap_or_else(|| panic!("{text} was taken"));
        named(error);
    }
}

/// The size of one sample can be computed, that of a batch overflows.
#[test]
fn a_batch_that_overflows_is_refused_before_computing() {
    // 128 · (2⁵⁷ + 1) wraps to 128.
    let layers = [layer("RepeatVector", json!({"n": (1u64 << 57) + 1}))];
    assert!(model(&[1], &layers).is_err(), "more than a process can address");
    // Within the bound for one sample, beyond it for the batch; without a memory limit, so that only the count is
    // checked.
    let n = brasa::shape::MOST_VALUES / 64;
    let mut model = model(&[1], &[layer("RepeatVector", json!({"n": n}))]).unwrap();
    model.set_memory_limit(Some(u64::MAX));
    let error = named(model.predict_on_batch(ones(128, &[1])).unwrap_err());
    assert!(matches!(&error, Error::Layer { source, .. } if matches!(**source, Error::Shape { .. })), "{error}");
    let value = Value::full(&[128, 1], 1.0, &device()).unwrap();
    for mode in [brasa::model::Mode::Inference, brasa::model::Mode::Training { seed: 1, step: 0 }] {
        named(model.forward(value.clone(), mode).unwrap_err());
    }
}

/// Sizes unknown when the layer is added are checked when they are known.
#[test]
fn unknown_sizes_are_checked_when_they_are_known() {
    let mut model = Sequential::new();
    model.to_device(&device());
    model.add(Input::new((None, 1))).unwrap();
    model.add(UpSampling1D::new(1usize << 44).name("asks_much")).unwrap();
    assert_eq!(model.output_shape().unwrap().to_string(), "(None, None, 1)");
    named(model.predict(ones(1, &[4, 1])).unwrap_err());
    model.set_memory_limit(Some(LIMIT));
    let error = named(model.predict(ones(1, &[1, 1])).unwrap_err());
    assert!(is_memory(&error), "{error}");
    // A batch builds a model without an input shape.
    let mut model = Sequential::new();
    model.to_device(&device()).set_memory_limit(Some(LIMIT));
    model.add(RepeatVector::new(1 << 40).name("asks_much")).unwrap();
    named(model.predict(ones(1, &[3])).unwrap_err());
}

/// Each value is addressable, both together are not; no limit overrides that.
#[test]
fn unaddressable_memory_is_refused_without_a_limit() {
    let n = brasa::shape::MOST_VALUES;
    let layers = [
        layer("RepeatVector", json!({"n": n})),
        layer("Activation", json!({"activation": "tanh", "name": "also_asks_much"})),
    ];
    let mut model = model(&[1], &layers).unwrap();
    model.set_memory_limit(Some(u64::MAX));
    let error = named(model.predict(ones(1, &[1])).unwrap_err());
    assert!(is_memory(&error), "{error}");
}

#[test]
fn excessive_memory_is_refused_with_the_layer_and_the_bytes() {
    let image = [4, 4, 3];
    too_much(&[3], "RepeatVector", json!({"n": 1u64 << 40}));
    too_much(&[3], "RepeatVector", json!({"n": 1 << 30}));
    too_much(&[4, 3], "UpSampling1D", json!({"size": 1u64 << 40}));
    too_much(&image, "UpSampling2D", json!({"size": [1 << 20, 1 << 19]}));
    too_much(&image, "UpSampling2D", json!({"size": [1 << 15, 1 << 15], "interpolation": "bilinear"}));
    too_much(&[4, 4, 4, 3], "UpSampling3D", json!({"size": [1 << 12, 1 << 12, 1 << 12]}));
    too_much(&[4, 3], "ZeroPadding1D", json!({"padding": 1u64 << 40}));
    too_much(&image, "ZeroPadding2D", json!({"padding": 1 << 20}));
    too_much(&image, "Resizing", json!({"height": 1 << 20, "width": 1 << 20}));
    too_much(&image, "Resizing", json!({"height": 1, "width": 1u64 << 40}));
    too_much(&image, "Resizing", json!({"height": 1u64 << 40, "width": 1, "pad_to_aspect_ratio": true}));
    too_much(&image, "CenterCrop", json!({"height": 1 << 20, "width": 1 << 20}));
    too_much(&image, "AdaptiveMaxPooling2D", json!({"output_size": [1 << 20, 1 << 20]}));
    too_much(&[4, 3], "AdaptiveAveragePooling1D", json!({"output_size": 1 << 28}));
    too_much(&[3], "CategoryEncoding", json!({"num_tokens": 1u64 << 40, "output_mode": "multi_hot"}));
    too_much(&[3], "CategoryEncoding", json!({"num_tokens": 1u64 << 40, "output_mode": "count"}));
    too_much(&[3], "Dense", json!({"units": 1u64 << 40}));
    too_much(&[3], "EinsumDense", json!({"equation": "ab,bc->ac", "output_shape": [1u64 << 40]}));
    too_much(&[3, 2], "LSTM", json!({"units": 1 << 16}));
    too_much(&[3, 2], "Conv1D", json!({"filters": 1u64 << 40, "kernel_size": 1}));
    too_much(&[3, 2], "Conv1DTranspose", json!({"filters": 2, "kernel_size": 1, "strides": 1u64 << 31}));
    too_much(&image, "Conv2DTranspose", json!({"filters": 2, "kernel_size": 1, "strides": [1u64 << 31, 1]}));
    // Small after its borders are cropped, and huge before.
    let same = json!({"filters": 1, "kernel_size": 2, "dilation_rate": 1 << 20, "padding": "same"});
    too_much(&image, "Conv2DTranspose", same);
    // The output of its first half.
    let between = json!({"filters": 1, "kernel_size": 1, "depth_multiplier": 1 << 26, "use_bias": false});
    too_much(&[8, 3], "SeparableConv1D", between);
    // An intermediate value.
    too_much(
        &[3],
        "Sequential",
        json!({"layers": [
            layer("RepeatVector", json!({"n": 1u64 << 40, "name": "inner"})), layer("GlobalMaxPooling1D", json!({"name": "pool"}))
        ]}),
    );
    let inner = layer("RepeatVector", json!({"n": 1u64 << 40}));
    too_much(&[2, 3], "TimeDistributed", json!({"layer": inner}));
}

/// Each adds only a little to its predecessor.
#[test]
fn many_small_steps_add_up() {
    let name = |index| if index == 39 { "asks_much".to_owned() } else { format!("u{index}") };
    let layers: Vec<Json> =
        (0..40).map(|index| layer("UpSampling1D", json!({"size": 2, "name": name(index)}))).collect();
    let mut model = model(&[4, 3], &layers).unwrap();
    let error = model.predict(ones(1, &[4, 3])).unwrap_err();
    assert!(is_memory(&error) && error.to_string().contains("UpSampling1D"), "{error}");
    model.compile(Compile::new("adam", "mse")).unwrap();
    let value = Value::full(&[1, 4, 3], 1.0, &device()).unwrap();
    let training = brasa::model::Mode::Training { seed: 1, step: 0 };
    assert!(is_memory(&model.forward(value, training).unwrap_err()));
}

/// The steps of a recurrent layer count.
#[test]
fn steps_of_a_recurrent_layer_are_counted() {
    for class_name in ["LSTM", "GRU", "SimpleRNN"] {
        let layers =
            [layer("RepeatVector", json!({"n": 1 << 22, "name": "repeat"})), layer(class_name, json!({"units": 64}))];
        let error = refusals(&[1], &layers, 1).swap_remove(0);
        assert!(is_memory(&error), "{error}");
    }
}

/// A convolution copies images with their borders, and uses 32-bit offsets.
#[test]
fn borders_far_larger_than_the_image_are_refused() {
    let dilated =
        |rate: u64, padding: &str| json!({"filters": 2, "kernel_size": 2, "dilation_rate": rate, "padding": padding});
    for rate in [1u64 << 23, 1 << 29, (1 << 30) - 1, 1 << 31, 1 << 62, u64::MAX] {
        for (sample, class_name) in [
            (&[4, 3][..], "Conv1D"),
            (&[4, 4, 3], "Conv2D"),
            (&[4, 4, 4, 3], "Conv3D"),
            (&[4, 3], "DepthwiseConv1D"),
            (&[4, 4, 3], "DepthwiseConv2D"),
            (&[4, 3], "SeparableConv1D"),
            (&[4, 4, 3], "SeparableConv2D"),
        ] {
            let mut config = dilated(rate, "same");
            if class_name.starts_with("Depthwise") {
                config.as_object_mut().unwrap().remove("filters");
            }
            let hostile = layer(class_name, config);
            named(model(sample, &[hostile]).map(|_| ()).expect_err(class_name));
        }
        named(model(&[4, 3], &[layer("Conv1D", dilated(rate, "causal"))]).map(|_| ()).expect_err("causal"));
    }
    // A realistic case.
    let mut model = model(&[64, 2], &[layer("Conv1D", dilated(1 << 10, "causal"))]).unwrap();
    assert_eq!(model.predict(ones(2, &[64, 2])).unwrap().shape(), [2, 64, 2]);
    model.compile(Compile::new("sgd", "mse")).unwrap();
    model.train_on_batch(ones(2, &[64, 2]), ones(2, &[64, 2])).unwrap();
}

/// Windows far larger than the input cover only the values inside it.
#[test]
fn pooling_takes_windows_of_any_size() {
    let x = ArrayD::from_shape_fn(vec![1, 3, 4, 1], |place| (place[1] * 4 + place[2]) as f32);
    for (class_name, wanted) in [("MaxPooling2D", 11.0), ("AveragePooling2D", 5.5)] {
        let config = json!({"pool_size": [1 << 29, 1 << 28], "strides": [1u64 << 62, 1u64 << 40], "padding": "same"});
        let mut model = model(&[3, 4, 1], &[layer(class_name, config)]).unwrap();
        assert_eq!(model.predict(&x).unwrap().into_raw_vec_and_offset().0, [wanted]);
        model.compile(Compile::new("sgd", "mse")).unwrap();
        model.train_on_batch(&x, ones(1, &[1, 1, 1])).unwrap();
    }
    // Every window covers the whole input.
    let config = json!({"pool_size": [1 << 20, 1 << 20], "strides": 1, "padding": "same"});
    let model = model(&[3, 4, 1], &[layer("MaxPooling2D", config)]).unwrap();
    assert!(model.predict(&x).unwrap().iter().all(|value| *value == 11.0));
}

#[test]
fn training_takes_more_than_prediction() {
    let mut model = Sequential::new();
    model.to_device(&device());
    model.add(Dense::new(1000).name("asks_much").input_shape(1000)).unwrap();
    model.compile(Compile::new("adam", "mse")).unwrap();
    let (x, y) = (ones(2, &[1000]), ones(2, &[1000]));
    // Four megabytes of weights; in training also gradients, two moments of Adam and a copy.
    model.set_memory_limit(Some(6_000_000));
    model.predict(&x).unwrap();
    let error = named(model.train_on_batch(&x, &y).unwrap_err());
    assert!(is_memory(&error), "{error}");
    let data = Dataset::new(x.clone(), y.clone()).unwrap();
    assert!(is_memory(&model.fit(&data, Fit::new().verbose(Verbosity::Silent)).unwrap_err()));
    model.set_memory_limit(Some(24_000_000));
    model.train_on_batch(&x, &y).unwrap();
    model.set_memory_limit(Some(3_000_000));
    for error in [model.predict(&x).unwrap_err(), model.evaluate(&data).unwrap_err()] {
        assert!(is_memory(&error) && error.to_string().contains("4004000 bytes"), "{error}");
    }
    assert!(model.test_on_batch(&x, &y).is_err());
}

/// No false rejection: a limit slightly above the peak of a chain of layers suffices.
#[test]
fn outputs_are_dropped_after_the_next_layer() {
    let mut model = Sequential::new();
    model.to_device(&device());
    model.add(Input::new((1 << 16, 4))).unwrap();
    for _ in 0..50 {
        model.add(ActivationLayer::new("tanh")).unwrap();
    }
    model.add(GlobalAveragePooling1D::new()).unwrap();
    // One megabyte each: two at once, and 51 in training.
    model.set_memory_limit(Some(3 << 20));
    model.predict(ones(1, &[1 << 16, 4])).unwrap();
    model.compile(Compile::new("sgd", "mse")).unwrap();
    assert!(is_memory(&model.train_on_batch(ones(1, &[1 << 16, 4]), ones(1, &[4])).unwrap_err()));
    model.set_memory_limit(Some(56 << 20));
    model.train_on_batch(ones(1, &[1 << 16, 4]), ones(1, &[4])).unwrap();
}

#[test]
fn a_limit_can_come_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.keras");
    model(&[3], &[layer("RepeatVector", json!({"n": 1000}))]).unwrap().save(&path).unwrap();
    let limits = brasa::formats::Limits { memory_bytes: Some(10_000), ..Default::default() };
    let loaded = Sequential::load_with(&path, Some(&device()), &limits).unwrap();
    let error = named(loaded.predict(ones(1, &[3])).unwrap_err());
    assert!(error.to_string().contains("10000 bytes"), "{error}");
    Sequential::load(&path).unwrap().predict(ones(1, &[3])).unwrap();
}

/// Set in the process that runs [`the_process_that_is_limited`]: a limit holds for all models of a process, those of
/// other tests included.
#[cfg(unix)]
const LIMITED: &str = "BRASA_TEST_LIMITS_ITSELF";

/// Not a test in itself: lowers the limit of its process between predictions of the same batch.
#[cfg(unix)]
#[test]
fn the_process_that_is_limited() {
    use brasa::memory::set_limit;
    if std::env::var_os(LIMITED).is_none() {
        return;
    }
    let mut model = Sequential::new();
    model.to_device(&device());
    model.add(RepeatVector::new(1000).name("asks_much").input_shape(3)).unwrap();
    // 24 kB of outputs.
    let predict = |model: &Sequential| model.predict(ones(2, &[3])).map(|_| ());
    for before in [None, Some(1 << 20)] {
        set_limit(before);
        predict(&model).unwrap();
        set_limit(Some(10_000));
        let error = named(predict(&model).unwrap_err());
        assert!(is_memory(&error) && error.to_string().contains("10000 bytes"), "{error}");
    }
    set_limit(None);
    predict(&model).unwrap();
}

#[cfg(unix)]
#[test]
fn a_limit_of_the_process_that_is_lowered_holds_for_the_next_prediction() {
    let done = crate::support::alone("compute_limits::the_process_that_is_limited").env(LIMITED, "1").output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn values_refuse_sizes_that_overflow() {
    let device = device();
    let value = || Value::full(&[2, 2], 1.0, &device).unwrap();
    let wraps = [(1 << 62) + 1, 4];
    for error in [
        Value::full(&wraps, 0.0, &device).unwrap_err(),
        Value::from_vec(vec![0.0; 4], &wraps, &device).unwrap_err(),
        value().reshape(&wraps).unwrap_err(),
        value().reshape(&[1 << 62, 4, 0]).unwrap_err(),
        value().repeat(0, (1 << 62) + 1).unwrap_err(),
        value().repeat(1, usize::MAX).unwrap_err(),
        value().pad(0, usize::MAX, 1, 0.0).unwrap_err(),
        value().pad(1, 1 << 62, 1 << 62, 0.0).unwrap_err(),
        value().one_hot((1 << 62) + 1).unwrap_err(),
        value().select(0, &[0, 2]).unwrap_err(),
        Value::concat(vec![value(), Value::full(&[2, 3], 1.0, &device).unwrap()], 0).unwrap_err(),
        Value::concat(vec![value()], 2).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Shape { .. }), "{error}");
    }
    // Without memory behind it, a value can have the maximal length; two of them concatenated cannot.
    let long = |sizes: &[usize]| Value::full(sizes, 1.0, &device).unwrap();
    let half = brasa::shape::MOST_VALUES;
    assert!(Value::concat(vec![long(&[half]), long(&[half])], 0).is_err());
    assert_eq!(Shape::new([Some(half), Some(half)]).known_len(), usize::MAX);
    // Functions without a `Result` panic, as documented, and modify nothing.
    let panics = |work: &(dyn Fn() -> Value + std::panic::RefUnwindSafe)| std::panic::catch_unwind(work).is_err();
    let one = || Value::full(&[1, 1], 1.0, &"flex".parse::<Backend>().unwrap().device().unwrap()).unwrap();
    assert!(panics(&move || one().expand(&[(1 << 62) + 1, 4])));
    assert!(panics(&move || one().narrow(0, usize::MAX, 2)));
    let column = || long_of(&[1 << 40, 1]);
    assert!(panics(&move || column() * long_of(&[1, 1 << 40])));
    assert!(panics(&move || column().matmul(long_of(&[1, 1 << 40]))));
}

fn long_of(sizes: &[usize]) -> Value {
    Value::full(sizes, 1.0, &device()).unwrap()
}

/// Arguments of losses and metrics can be sizes, too.
#[test]
fn metrics_allocate_no_more_than_they_need() {
    for metric in [
        json!({"class_name": "AUC", "config": {"num_thresholds": 1u64 << 40}}),
        json!({"class_name": "MeanIoU", "config": {"num_classes": 1u64 << 40}}),
        json!({"class_name": "OneHotMeanIoU", "config": {"num_classes": (1u64 << 32) + 1}}),
        json!({"class_name": "IoU", "config": {"num_classes": u64::MAX, "target_class_ids": [0]}}),
        json!({"class_name": "SensitivityAtSpecificity", "config": {"specificity": 0.5, "num_thresholds": 1u64 << 60}}),
    ] {
        let config = json!({"optimizer": "sgd", "loss": "mse", "metrics": [metric]});
        let mut model = model(&[3], &[layer("Dense", json!({"units": 1}))]).unwrap();
        let compiled = Compile::from_config(config.as_object().unwrap().clone())
            .and_then(|compile| model.compile(compile).map(|_| ()));
        let error = compiled.expect_err("a metric without an end").to_string();
        assert!(error.contains("num_"), "{error}");
    }
}

/// Loss and metrics need several copies of the outputs, and further batches are prefetched.
#[test]
fn memory_of_scores_and_prefetched_batches_is_counted() {
    const MIB: u64 = 1 << 20;
    const UNITS: usize = 1 << 14;
    let dense = layer("Dense", json!({"units": UNITS, "use_bias": false}));
    let mut model = model(&[1], &[dense]).unwrap();
    model.compile(Compile::new("sgd", "mse")).unwrap();
    // The outputs of a batch take one MiB, and so do its targets.
    let (x, y) = (ones(16, &[1]), ones(16, &[UNITS]));
    let data = Dataset::new(x.clone(), y.clone()).unwrap();
    let evaluate = || Evaluate::new().batch_size(16);
    let fit = || Fit::new().batch_size(16).verbose(Verbosity::Silent);

    model.set_memory_limit(Some(4 * MIB));
    model.predict(x.clone()).unwrap();
    assert!(is_memory(&named(model.test_on_batch(x.clone(), y.clone()).unwrap_err())));
    model.set_memory_limit(Some(7 * MIB));
    model.test_on_batch(x, y).unwrap();
    assert!(is_memory(&named(model.evaluate_with(&data, evaluate()).unwrap_err())));
    assert!(is_memory(&named(model.fit(&data, fit()).unwrap_err())));
    model.set_memory_limit(Some(16 * MIB));
    model.evaluate_with(&data, evaluate()).unwrap();
    model.fit(&data, fit()).unwrap();
}

/// Values have at most six dimensions, so shapes must too: the rank could double with each layer.
#[test]
fn shapes_of_too_many_dimensions_are_refused() {
    let mut symbol = Input::new((1, 1, 1)).symbol();
    // Each has nearly twice the dimensions of its predecessor: 4, 5, 7, 11, …
    let error = (0..12)
        .find_map(|index| match Dot::new(1).name(format!("asks_much_{index}")).call([&symbol, &symbol]) {
            Ok(next) => {
                symbol = next;
                None
            }
            Err(error) => Some((index, named(error))),
        })
        .expect("a shape of thousands of dimensions");
    assert!(error.0 == 1 && error.1.to_string().contains("6 dimensions"), "{error:?}");

    let ones = |count: usize| vec![1; count];
    for (sample, hostile) in [
        (vec![1], layer("Reshape", json!({"target_shape": ones(100_000)}))),
        (vec![1], layer("Reshape", json!({"target_shape": ones(6)}))),
        // A kernel of seven dimensions between values of six and three.
        (vec![1; 5], layer("EinsumDense", json!({"equation": "abcdef,bcdefgh->agh", "output_shape": [1, 1]}))),
        (
            vec![2, 1, 1, 1, 1],
            layer("TimeDistributed", json!({"layer": layer("Reshape", json!({"target_shape": ones(5)}))})),
        ),
    ] {
        let error = named(model(&sample, &[hostile]).map(|_| ()).expect_err("too many dimensions"));
        assert!(error.to_string().contains("at most 6 dimensions"), "{error}");
    }
    model(&[1], &[layer("Reshape", json!({"target_shape": ones(5)}))]).unwrap();
    let symbol = Input::new((2, 3)).symbol();
    let attention = MultiHeadAttention::new(1, 1).name("asks_much").output_shape(vec![1; 5]);
    let error = named(attention.call([&symbol, &symbol]).map(|_| ()).expect_err("too many features"));
    assert!(error.to_string().contains("output_shape"), "{error}");
}

/// Keras 3.15.1 (JAX and TensorFlow) rejects a mean over a duplicate axis, and so creates no weights for it.
#[test]
fn a_duplicate_axis_is_refused() {
    for class_name in ["RMSNormalization", "LayerNormalization", "UnitNormalization", "Softmax"] {
        for axes in [json!([-1, 1]), json!([1, 1])] {
            let error = named(model(&[4], &[layer(class_name, json!({"axis": axes}))]).map(|_| ()).expect_err("twice"));
            assert!(error.to_string().contains("at most once"), "{error}");
        }
        model(&[4], &[layer(class_name, json!({"axis": [-1]}))]).unwrap();
    }
    let twice = json!({"class_name": "MaxNorm", "config": {"max_value": 1.0, "axis": [0, -2]}});
    named(model(&[4], &[layer("Dense", json!({"units": 2, "kernel_constraint": twice}))]).map(|_| ()).unwrap_err());
}

/// Strides of any length that leave only one window.
#[test]
fn strides_beyond_the_image_leave_one_window() {
    for stride in [1u64 << 31, 1 << 32, 1 << 40, 1 << 62] {
        let cases = [
            (vec![5, 4, 3], "Conv2D", json!({"filters": 2, "kernel_size": [2, 1], "strides": [stride, 1]})),
            (vec![5, 4, 3], "Conv2D", json!({"filters": 2, "kernel_size": 1, "strides": [1, stride]})),
            (vec![5, 3], "Conv1D", json!({"filters": 2, "kernel_size": 2, "strides": stride})),
            (vec![5, 4, 3], "DepthwiseConv2D", json!({"kernel_size": 2, "strides": stride})),
            (vec![5, 3], "SeparableConv1D", json!({"filters": 2, "kernel_size": 2, "strides": stride})),
            (vec![5, 4, 4, 3], "Conv3D", json!({"filters": 2, "kernel_size": 2, "strides": stride})),
        ];
        for (sample, class_name, config) in cases {
            let first = |config: Json| {
                // A layer before it, so that the input gradient is computed.
                let before = layer("Dense", json!({"units": 3, "name": "before", "kernel_initializer": "ones"}));
                let mut hostile = layer(class_name, config);
                for kernel in ["kernel_initializer", "depthwise_initializer", "pointwise_initializer"] {
                    let has = match class_name {
                        "DepthwiseConv2D" => kernel == "depthwise_initializer",
                        "SeparableConv1D" => kernel != "kernel_initializer",
                        _ => kernel == "kernel_initializer",
                    };
                    if has {
                        hostile["config"][kernel] = json!("ones");
                    }
                }
                let mut model = model(&sample, &[before, hostile]).unwrap();
                model.compile(Compile::new(SGD::new(1e-3), "mse")).unwrap();
                let x = ArrayD::from_shape_fn([&[2], &sample[..]].concat(), |place| place[1] as f32 + place[2] as f32);
                let y = model.predict(&x).unwrap();
                model.train_on_batch(&x, y.mapv(|value| value + 1.0)).unwrap();
                (y, model.get_weights().unwrap())
            };
            let mut near = config.clone();
            // As long as the image: the second window would be outside, too.
            near["strides"] = match &config["strides"] {
                Json::Array(strides) => {
                    strides.iter().map(|s| if s == &json!(stride) { json!(5) } else { s.clone() }).collect()
                }
                _ => json!(5),
            };
            assert_eq!(first(config), first(near), "{class_name}");
        }
    }
    // A pooling layer after a convolution is fused with it.
    let conv = layer("Conv2D", json!({"filters": 16, "kernel_size": 3, "name": "conv"}));
    let pool = layer("MaxPooling2D", json!({"pool_size": 2, "strides": [1u64 << 62, 1u64 << 40]}));
    let mut model = model(&[12, 12, 16], &[conv, pool]).unwrap();
    assert_eq!(model.predict(ones(4, &[12, 12, 16])).unwrap().shape(), [4, 1, 1, 16]);
    model.compile(Compile::new("sgd", "mse")).unwrap();
    model.train_on_batch(ones(4, &[12, 12, 16]), ones(4, &[1, 1, 16])).unwrap();
}

/// The Gram matrix of the rows has the square of their number of values.
#[test]
fn penalties_that_take_more_than_the_weight_are_refused() {
    let much = 1usize << 20;
    let penalty = |mode: &str| {
        json!({"class_name": "OrthogonalRegularizer", "config": {"factor": 0.1, "mode": mode},
            "module": "keras.regularizers", "registered_name": null})
    };
    let on_kernel = layer("Dense", json!({"units": 1, "kernel_regularizer": penalty("rows")}));
    let on_outputs = layer("Dense", json!({"units": much, "activity_regularizer": penalty("columns")}));
    for (sample, width, hostile) in [(much, 1, on_kernel), (1, much, on_outputs)] {
        let mut model = model(&[sample], &[hostile]).unwrap();
        model.compile(Compile::new("sgd", "mse")).unwrap();
        let (x, y) = (ones(1, &[sample]), ones(1, &[width]));
        // A prediction has no loss, and works in Keras too.
        assert_eq!(model.predict(&x).unwrap().shape(), [1, width]);
        let data = Dataset::new(x.clone(), y.clone()).unwrap();
        for error in [model.train_on_batch(&x, &y).unwrap_err(), model.evaluate(&data).unwrap_err()] {
            assert!(is_memory(&named(error)));
        }
        let other = brasa::model::Mode::Training { seed: 1, step: 0 };
        assert!(model.forward(Value::full(&[1, sample], 1.0, &device()).unwrap(), other).is_err());
    }
}

/// Windows of a portable convolution are copied, a few hundred at a time per thread.
#[test]
fn copies_of_large_windows_are_counted() {
    too_much(&[40, 40, 40, 64], "Conv3D", json!({"filters": 1, "kernel_size": 32, "use_bias": false}));
    // For the kernel gradient all positions of all samples form one window.
    for (sample, class_name, kernel_size) in
        [(vec![1024, 1024, 1], "Conv2DTranspose", 32), (vec![1 << 20, 1], "Conv1DTranspose", 1024)]
    {
        let config = json!({"filters": 1, "kernel_size": kernel_size});
        let mut model = model(&sample, &[layer(class_name, config)]).unwrap();
        model.compile(Compile::new("sgd", "mse")).unwrap();
        let mut outputs = sample.clone();
        outputs.iter_mut().rev().skip(1).for_each(|size| *size += kernel_size - 1);
        let error = named(model.train_on_batch(ones(1, &sample), ones(1, &outputs)).unwrap_err());
        assert!(is_memory(&error), "{error}");
    }
    // A realistic case.
    let usual = layer("Conv3D", json!({"filters": 8, "kernel_size": 3, "padding": "same"}));
    let mut model = model(&[6, 6, 6, 4], &[usual]).unwrap();
    model.set_memory_limit(Some(16 << 20));
    assert_eq!(model.predict(ones(1, &[6, 6, 6, 4])).unwrap().shape(), [1, 6, 6, 6, 8]);
    model.compile(Compile::new("sgd", "mse")).unwrap();
    model.train_on_batch(ones(2, &[6, 6, 6, 4]), ones(2, &[6, 6, 6, 8])).unwrap();
}

/// A slice of a large value lets the rest be freed.
#[test]
fn a_slice_releases_the_rest() {
    let large = 1 << 22;
    let mut parts = vec![Input::new((1, 1)).symbol()];
    for start in 0..8 {
        let whole = UpSampling1D::new(large).call(&parts[parts.len() - 1]).unwrap();
        parts.push(Cropping1D::new((start, large - start - 1)).call(&whole).unwrap());
    }
    let all = Concatenate::new().call(&parts).unwrap();
    let mut model = Model::new(&parts[0], &all).unwrap();
    model.to_device(&device());
    // 80 MiB for each with its temporary values, one at a time.
    model.set_memory_limit(Some(90 << 20));
    let output = model.predict(ones(1, &[1, 1])).unwrap();
    assert_eq!((output.shape(), output.sum()), (&[1, 1, 9][..], 9.0));
}

/// Convolutions over the steps of a sequence, and cells.
#[test]
fn cells_and_convolutions_over_sequences_are_counted() {
    let repeat = || layer("RepeatVector", json!({"n": 1 << 22, "name": "repeat"}));
    let lines = layer("Reshape", json!({"target_shape": [1 << 22, 2, 1], "name": "lines"}));
    let films = layer("Reshape", json!({"target_shape": [1 << 21, 2, 2, 1], "name": "films"}));
    let cell = |units: usize| json!({"class_name": "LSTMCell", "config": {"units": units}});
    let stacked = json!({"class_name": "StackedRNNCells", "config": {"cells": [cell(32), cell(32)]}});
    let cases = [
        vec![repeat(), lines, layer("ConvLSTM1D", json!({"filters": 32, "kernel_size": 2}))],
        vec![repeat(), films, layer("ConvLSTM2D", json!({"filters": 32, "kernel_size": 2, "padding": "same"}))],
        vec![repeat(), layer("RNN", json!({"cell": cell(64)}))],
        vec![repeat(), layer("RNN", json!({"cell": stacked}))],
    ];
    for layers in cases {
        let error = refusals(&[2], &layers, 1).swap_remove(0);
        assert!(is_memory(&error), "{error}");
    }
    let most = 1usize << 62;
    let refused = |class_name: &str, sample: &[usize], config: Json| {
        let error = model(sample, &[layer(class_name, config)]).map(|_| ()).unwrap_err();
        assert!(named(error).to_string().len() < 500);
    };
    refused("RNN", &[3, 2], json!({"cell": cell(most)}));
    refused("ConvLSTM2D", &[3, 4, 4, 1], json!({"filters": most, "kernel_size": 2}));
    refused("ConvLSTM2D", &[3, 4, 4, 1], json!({"filters": 1, "kernel_size": most, "padding": "same"}));
    let stack = |cells: Json| json!({"cell": {"class_name": "StackedRNNCells", "config": {"cells": cells}}});
    refused("RNN", &[3, 2], stack(json!([])));
    refused("RNN", &[3, 2], stack(json!([{"class_name": "Dense", "config": {"units": 2}}])));
    refused("RNN", &[3, 2], stack(json!([stack(json!([cell(2)]))["cell"]])));
    refused("RNN", &[3, 2, 2], json!({"cell": cell(2)}));
    refused("RNN", &[3], json!({"cell": cell(2)}));
}

/// Steps that are computed one by one, as with dropout, have a cost however small they are.
#[test]
fn single_steps_of_a_recurrent_layer_are_counted() {
    let repeat = layer("RepeatVector", json!({"n": 1 << 20, "name": "repeat"}));
    let lines = layer("Reshape", json!({"target_shape": [1 << 20, 1, 1], "name": "lines"}));
    let conv = layer("ConvLSTM1D", json!({"filters": 1, "kernel_size": 1}));
    let mut films = model(&[1], &[repeat, lines, conv]).unwrap();
    films.compile(Compile::new("sgd", "mse")).unwrap();
    let error = named(films.train_on_batch(ones(1, &[1]), ones(1, &[1, 1])).unwrap_err());
    assert!(is_memory(&error), "{error}");
    for class_name in ["LSTM", "GRU", "SimpleRNN"] {
        let repeat = layer("RepeatVector", json!({"n": 1 << 20, "name": "repeat"}));
        let mut model = model(&[1], &[repeat, layer(class_name, json!({"units": 1, "dropout": 0.5}))]).unwrap();
        model.compile(Compile::new("sgd", "mse")).unwrap();
        let error = named(model.train_on_batch(ones(1, &[1]), ones(1, &[1])).unwrap_err());
        assert!(is_memory(&error), "{error}");
    }
}

/// Time is bounded, too: a file without weights can request the initialization of huge layers.
#[test]
fn initialization_that_would_take_hours_is_refused() {
    let mut hostile = model(&[1, 1], &[layer("LSTM", json!({"units": 10_000}))]).unwrap();
    hostile.set_memory_limit(Some(u64::MAX));
    let error = named(hostile.predict(ones(1, &[1, 1])).unwrap_err());
    assert!(error.to_string().contains("takes too long"), "{error}");
}
