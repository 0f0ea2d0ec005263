//! Random layers in config form, and random numbers.

use brasa::burn::tensor::Device;
use brasa::layers::{Layer, built_in};
use brasa::ndarray::ArrayD;
use brasa::prelude::*;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};

/// `count` deterministic cases; or as many random ones as `PROPTEST_CASES` says.
pub fn cases(count: u32) -> ProptestConfig {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => config,
        None => ProptestConfig { cases: count, rng_seed: RngSeed::Fixed(20_240_601), ..config },
    }
}

/// The CPU's backends, by name.
pub fn devices() -> Vec<(&'static str, Device)> {
    let names = ["flex"].into_iter().chain(cfg!(feature = "ndarray").then_some("ndarray"));
    names.map(|name| (name, name.parse::<Backend>().unwrap().device().unwrap())).collect()
}

/// Numbers between −1 and 1.
pub fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-1.0..1.0f32)).collect()
}

/// An array of numbers between −1 and 1.
pub fn array(sizes: &[usize], seed: u64) -> ArrayD<f32> {
    ArrayD::from_shape_vec(sizes, numbers(sizes.iter().product(), seed)).unwrap()
}

/// Whether numbers are equal up to rounding, relative to the largest of them (and at least 1).
pub fn close<'a>(
    what: &str,
    got: impl IntoIterator<Item = &'a f32>,
    wanted: impl IntoIterator<Item = &'a f32>,
    tolerance: f32,
) -> Result<(), TestCaseError> {
    let (got, wanted): (Vec<f32>, Vec<f32>) =
        (got.into_iter().copied().collect(), wanted.into_iter().copied().collect());
    prop_assert_eq!(got.len(), wanted.len(), "{}", what);
    let scale = wanted.iter().fold(1.0f32, |scale, number| scale.max(number.abs()));
    for (index, (a, b)) in got.iter().zip(&wanted).enumerate() {
        let off = (a - b).abs() / scale;
        prop_assert!(off <= tolerance, "{what}[{index}]: {a}, not {b} (largest: {scale})");
    }
    Ok(())
}

/// A layer in a recipe's form: its class and arguments.
pub type LayerConfig = (&'static str, Json);

/// The layer with this config.
pub fn layer((class, config): &LayerConfig) -> brasa::Result<Box<dyn Layer>> {
    let entry = built_in().iter().find(|entry| entry.class_name == *class).unwrap_or_else(|| panic!("no {class}"));
    entry.layer(config.as_object().unwrap().clone())
}

/// A chain of those layers that fit, as long as a sample has few numbers; a layer that does not fit must leave the
/// model unchanged and be named in the error.
pub fn model_of(sample: &[usize], chain: &[LayerConfig]) -> Result<Sequential, TestCaseError> {
    let mut model = Sequential::new().with_seed(7);
    model.add(Input::new(sample.to_vec())).unwrap();
    for config in chain {
        let Ok(layer) = layer(config) else { continue };
        let before = model.summary().to_string();
        if let Err(error) = model.add(layer) {
            prop_assert_eq!(model.summary().to_string(), before);
            prop_assert!(error.to_string().contains(config.0), "{}: {}", config.0, error);
        } else if numbers_of(&model) > 600 {
            model.pop().unwrap();
        }
    }
    Ok(model)
}

/// The sizes of one output.
pub fn output_sizes(model: &Sequential) -> Vec<usize> {
    model.output_shape().unwrap().sample().iter().map(|size| size.unwrap()).collect()
}

fn numbers_of(model: &Sequential) -> usize {
    output_sizes(model).iter().product()
}

/// One to four dimensions of a sample.
pub fn sample() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        prop::collection::vec(1..7usize, 1..=1),
        prop::collection::vec(1..7usize, 2..=2),
        prop::collection::vec(1..7usize, 3..=3),
        prop::collection::vec(1..5usize, 4..=4),
    ]
}

fn sides(dimensions: usize, largest: usize) -> impl Strategy<Value = Json> {
    prop::collection::vec(1..=largest, dimensions).prop_map(|sides| json!(sides))
}

fn padding() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("valid"), Just("same")]
}

/// A layer whose output depends smoothly on weights and input, the same in training and inference.
pub fn smooth() -> BoxedStrategy<LayerConfig> {
    let activation = || prop_oneof![Just("linear"), Just("tanh"), Just("sigmoid"), Just("softplus"), Just("gelu")];
    let conv = |class: &'static str, dimensions: usize| {
        (1..4usize, sides(dimensions, 3), sides(dimensions, 3), 1..3usize, padding(), activation()).prop_map(
            move |(filters, size, strides, dilation, padding, activation)| {
                let config = json!({
                    "filters": filters, "kernel_size": size, "padding": padding, "activation": activation,
                    // One of the two only, as in Keras.
                    "strides": if dilation == 1 { strides } else { json!(1) }, "dilation_rate": dilation,
                });
                (class, config)
            },
        )
    };
    let depthwise = |class: &'static str, dimensions: usize| {
        (sides(dimensions, 3), 1..3usize, 1..3usize, padding()).prop_map(move |(size, strides, depth, padding)| {
            let config =
                json!({"kernel_size": size, "strides": strides, "depth_multiplier": depth, "padding": padding});
            (class, config)
        })
    };
    let recurrent = |class: &'static str| {
        (1..4usize, any::<bool>(), any::<bool>()).prop_map(move |(units, sequences, backwards)| {
            (class, json!({"units": units, "return_sequences": sequences, "go_backwards": backwards}))
        })
    };
    prop_oneof![
        (1..6usize, activation(), any::<bool>()).prop_map(|(units, activation, bias)| {
            ("Dense", json!({"units": units, "activation": activation, "use_bias": bias}))
        }),
        conv("Conv1D", 1),
        conv("Conv2D", 2),
        conv("Conv3D", 3),
        conv("Conv1DTranspose", 1),
        conv("Conv2DTranspose", 2),
        depthwise("DepthwiseConv1D", 1),
        depthwise("DepthwiseConv2D", 2),
        (1..4usize, sides(2, 3), padding()).prop_map(|(filters, size, padding)| {
            ("SeparableConv2D", json!({"filters": filters, "kernel_size": size, "padding": padding}))
        }),
        pooling("AveragePooling1D", 1),
        pooling("AveragePooling2D", 2),
        pooling("AveragePooling3D", 3),
        recurrent("SimpleRNN"),
        recurrent("GRU"),
        recurrent("LSTM"),
        (1..4usize, prop_oneof![Just("concat"), Just("sum"), Just("mul"), Just("ave")]).prop_map(|(units, mode)| {
            let inner = json!({"class_name": "GRU", "config": {"units": units, "return_sequences": true}});
            ("Bidirectional", json!({"layer": inner, "merge_mode": mode}))
        }),
        (1..4usize).prop_map(|units| {
            ("TimeDistributed", json!({"layer": {"class_name": "Dense", "config": {"units": units}}}))
        }),
        Just(("LayerNormalization", json!({"epsilon": 0.1}))),
        (1..4usize).prop_map(|groups| ("GroupNormalization", json!({"groups": groups, "epsilon": 0.1}))),
        Just(("Flatten", json!({}))),
        (1..4usize).prop_map(|n| ("RepeatVector", json!({"n": n}))),
        prop::collection::vec(1..7usize, 1..4).prop_map(|sizes| ("Reshape", json!({"target_shape": sizes}))),
        (1..4usize).prop_map(|last| ("Reshape", json!({"target_shape": [-1, last]}))),
        Just(("Permute", json!({"dims": [2, 1]}))),
        Just(("Permute", json!({"dims": [3, 1, 2]}))),
        (0..3usize, 0..3usize).prop_map(|(a, b)| ("ZeroPadding1D", json!({"padding": [a, b]}))),
        (0..3usize, 0..3usize).prop_map(|(a, b)| ("ZeroPadding2D", json!({"padding": [a, b]}))),
        (0..3usize, 0..3usize).prop_map(|(a, b)| ("Cropping1D", json!({"cropping": [a, b]}))),
        (0..3usize, 0..3usize).prop_map(|(a, b)| ("Cropping2D", json!({"cropping": [[a, b], [b, 0]]}))),
        (1..3usize).prop_map(|size| ("UpSampling1D", json!({"size": size}))),
        (sides(2, 2), prop_oneof![Just("nearest"), Just("bilinear"), Just("bicubic")])
            .prop_map(|(size, interpolation)| ("UpSampling2D", json!({"size": size, "interpolation": interpolation}))),
        Just(("GlobalAveragePooling1D", json!({}))),
        any::<bool>().prop_map(|keep| ("GlobalAveragePooling2D", json!({"keepdims": keep}))),
        Just(("Softmax", json!({}))),
        Just(("ELU", json!({"alpha": 1.0}))),
        (-2.0..2.0f32).prop_map(|scale| ("Rescaling", json!({"scale": scale, "offset": 0.5}))),
    ]
    .boxed()
}

fn pooling(class: &'static str, dimensions: usize) -> impl Strategy<Value = LayerConfig> {
    (sides(dimensions, 3), prop::option::of(sides(dimensions, 3)), padding()).prop_map(
        move |(size, strides, padding)| (class, json!({"pool_size": size, "strides": strides, "padding": padding})),
    )
}

/// Any layer.
pub fn any_layer() -> BoxedStrategy<LayerConfig> {
    let rate = |class: &'static str| (0..=4u8).prop_map(move |rate| (class, json!({"rate": f32::from(rate) / 4.0})));
    let rough = prop_oneof![
        pooling("MaxPooling1D", 1),
        pooling("MaxPooling2D", 2),
        pooling("MaxPooling3D", 3),
        Just(("GlobalMaxPooling1D", json!({}))),
        Just(("GlobalMaxPooling2D", json!({}))),
        Just(("GlobalMaxPooling3D", json!({}))),
        (1..4usize).prop_map(|size| ("AdaptiveAveragePooling1D", json!({"output_size": size}))),
        sides(2, 3).prop_map(|size| ("AdaptiveMaxPooling2D", json!({"output_size": size}))),
        (-2..4isize).prop_map(|axis| ("BatchNormalization", json!({"axis": axis}))),
        Just(("RMSNormalization", json!({}))),
        Just(("ReLU", json!({"max_value": 1.0, "negative_slope": 0.1}))),
        Just(("LeakyReLU", json!({}))),
        Just(("PReLU", json!({"shared_axes": [1]}))),
        prop_oneof![Just("hard_sigmoid"), Just("relu6"), Just("soft_shrink")]
            .prop_map(|name| ("Activation", json!({"activation": name}))),
        rate("Dropout"),
        rate("SpatialDropout1D"),
        rate("SpatialDropout2D"),
        rate("AlphaDropout"),
        Just(("GaussianNoise", json!({"stddev": 0.5}))),
        Just(("Masking", json!({"mask_value": 0.0}))),
        (1..3usize, 0..3usize).prop_map(|(groups, more)| {
            (
                "Conv2D",
                json!({"filters": groups * (1 + more), "kernel_size": 2, "groups": groups, "activation": "relu"}),
            )
        }),
        (1..4usize).prop_map(|filters| {
            ("Conv1D", json!({"filters": filters, "kernel_size": 3, "padding": "causal", "dilation_rate": 2}))
        }),
        (1..4usize).prop_map(|filters| {
            let config =
                json!({"filters": filters, "kernel_size": 2, "padding": "same", "data_format": "channels_first"});
            ("Conv2D", config)
        }),
        (1..8usize, 1..8usize).prop_map(|(height, width)| ("Resizing", json!({"height": height, "width": width}))),
    ];
    prop_oneof![smooth(), rough].boxed()
}
