//! Common properties of the augmentation layers: what they reject, leave unchanged and draw.

use brasa::layers::{Call, Layer, built_in};
use brasa::ndarray::{Array4, ArrayD};
use brasa::prelude::*;
use brasa::{Error, Shape, Value};
use serde_json::{Value as Json, json};

/// The layers that change images at random, and only in training.
const RANDOM: [&str; 24] = [
    "AugMix",
    "RandAugment",
    "RandomBrightness",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomElasticTransform",
    "RandomErasing",
    "RandomFlip",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHue",
    "RandomInvert",
    "RandomPerspective",
    "RandomPosterization",
    "RandomRotation",
    "RandomSaturation",
    "RandomSharpness",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "Solarization",
    "Equalization",
    "Pipeline",
];

fn layer(class: &str, config: &Json) -> brasa::Result<Box<dyn Layer>> {
    let entry = built_in().iter().find(|entry| entry.class_name == class).unwrap_or_else(|| panic!("no {class}"));
    entry.layer(config.as_object().unwrap().clone())
}

/// Arguments with which a layer changes every 8-bit image.
fn strong(class: &str) -> Json {
    let always = [1.0, 1.0];
    match class {
        "RandomBrightness" | "RandomRotation" => json!({"factor": [0.1, 0.2]}),
        "RandomColorDegeneration" | "RandomContrast" => json!({"factor": [0.4, 0.5]}),
        "RandomColorJitter" => json!({"brightness_factor": [0.1, 0.2], "contrast_factor": [0.4, 0.5]}),
        "RandomElasticTransform" => json!({"factor": always, "scale": always}),
        "RandomErasing" => json!({"factor": always, "scale": [0.4, 0.5]}),
        "RandomFlip" => json!({"mode": "horizontal"}),
        "RandomGaussianBlur" => json!({"factor": always, "sigma": always}),
        "RandomGrayscale" => json!({"factor": 1.0}),
        "RandomHue" => json!({"factor": [0.4, 0.5]}),
        "RandomInvert" => json!({"factor": always}),
        "RandomPerspective" => json!({"factor": always}),
        "RandomPosterization" => json!({"factor": [1, 2]}),
        "RandomSaturation" => json!({"factor": [0.1, 0.2], "value_range": [0, 1]}),
        "RandomSharpness" => json!({"factor": [0.0, 0.1]}),
        "RandomShear" => json!({"x_factor": [0.3, 0.4], "y_factor": [0.3, 0.4]}),
        "RandomTranslation" => json!({"height_factor": [0.3, 0.4], "width_factor": [0.3, 0.4]}),
        "RandomZoom" => json!({"height_factor": [0.3, 0.4]}),
        "RandAugment" => json!({"num_ops": 3}),
        "Pipeline" => json!({"layers": [{"class_name": "RandomBrightness", "config": {"factor": [0.1, 0.2]}}]}),
        _ => json!({}),
    }
}

/// Distinct images of 6 by 5 bytes.
fn images(count: usize) -> Array4<f32> {
    Array4::from_shape_fn((count, 6, 5, 3), |(image, row, column, channel)| {
        ((image * 91 + row * 37 + column * 53 + channel * 71 + row * column * 11) % 223) as f32 + 10.0
    })
}

fn value(array: &Array4<f32>) -> Value {
    let shape = array.shape().to_vec();
    Value::from_vec(array.iter().copied().collect(), &shape, &brasa::burn::tensor::Device::flex()).unwrap()
}

fn trained(layer: &dyn Layer, images: &Array4<f32>, key: &[u64]) -> Vec<f32> {
    layer.forward(value(images), &mut Call::training(&[], true, key)).unwrap().to_vec().unwrap()
}

#[test]
fn nothing_changes_outside_training() {
    let images = images(3);
    for class in RANDOM {
        let layer = layer(class, &strong(class)).unwrap();
        let output = layer.forward(value(&images), &mut Call::inference(&[])).unwrap();
        assert_eq!(output.to_vec().unwrap(), images.iter().copied().collect::<Vec<_>>(), "{class}");
    }
}

#[test]
fn images_change_in_training_by_seed_and_step() {
    let images = images(4);
    let before: Vec<f32> = images.iter().copied().collect();
    for class in RANDOM {
        let layer = layer(class, &strong(class)).unwrap();
        let one = trained(&*layer, &images, &[1, 2, 3]);
        assert_eq!(one, trained(&*layer, &images, &[1, 2, 3]), "{class}: the same place draws the same");
        assert!(one.iter().all(|number| number.is_finite()), "{class}");
        let steps: Vec<Vec<f32>> = (0..20).map(|step| trained(&*layer, &images, &[1, step, 3])).collect();
        assert!(steps.iter().any(|step| *step != before), "{class} changes nothing");
        // Except layers without randomness: everything grey or inverted, or always the same operation.
        if ![
            "Equalization",
            "RandomGrayscale",
            "RandomInvert",
            "Solarization",
            "RandomPosterization",
            "RandomGaussianBlur",
        ]
        .contains(&class)
        {
            assert!(steps.iter().any(|step| *step != steps[0]), "{class}: another step draws another");
        }
    }
}

/// A layer's own seed takes precedence over the run's.
#[test]
fn a_layer_uses_its_own_seed() {
    let images = images(4);
    let layer = RandomBrightness::new(0.5).seed(7);
    assert_eq!(trained(&layer, &images, &[1, 2, 3]), trained(&layer, &images, &[4, 2, 3]));
    assert_ne!(trained(&layer, &images, &[1, 2, 3]), trained(&layer, &images, &[1, 3, 3]));
    let other = RandomBrightness::new(0.5);
    assert_ne!(trained(&other, &images, &[1, 2, 3]), trained(&other, &images, &[4, 2, 3]));
}

/// Random numbers are drawn per image: two images of a batch change differently.
#[test]
fn images_of_a_batch_change_independently() {
    let one = images(1);
    let both = brasa::ndarray::concatenate![brasa::ndarray::Axis(0), one, one];
    for class in ["RandomBrightness", "RandomRotation", "RandomHue", "RandomErasing", "RandomTranslation", "RandomZoom"]
    {
        let output = trained(&*layer(class, &strong(class)).unwrap(), &both, &[1, 2]);
        let (first, second) = output.split_at(output.len() / 2);
        assert_ne!(first, second, "{class}");
    }
}

#[test]
fn channels_first_computes_the_same() {
    let images = images(3);
    let first = images.clone().permuted_axes([0, 3, 1, 2]);
    let first = Array4::from_shape_vec(first.raw_dim(), first.iter().copied().collect()).unwrap();
    for class in RANDOM.into_iter().filter(|class| *class != "Pipeline").chain(["AutoContrast"]) {
        let mut config = strong(class);
        let expected = trained(&*layer(class, &config).unwrap(), &images, &[1, 2]);
        config["data_format"] = json!("channels_first");
        let found = trained(&*layer(class, &config).unwrap(), &first, &[1, 2]);
        let found = Array4::from_shape_vec((3, 3, 6, 5), found).unwrap().permuted_axes([0, 2, 3, 1]);
        assert_eq!(found.iter().copied().collect::<Vec<_>>(), expected, "{class}");
    }
}

#[test]
fn invalid_layers_are_refused() {
    let sample = Shape::batch_of((6, 5, 3));
    let cases: &[(&str, Json, &[&str])] = &[
        ("RandomFlip", json!({"mode": "diagonal"}), &["mode", "diagonal", "horizontal"]),
        ("RandomRotation", json!({}), &["factor"]),
        ("RandomRotation", json!({"factor": 1e30}), &["factor", "from -1 to 1"]),
        ("RandomRotation", json!({"factor": [0.0, 1e30]}), &["factor", "from -1000 to 1000"]),
        ("RandomRotation", json!({"factor": [1.5, 2.0]}), &["factor", "from -1 to 1"]),
        ("RandomRotation", json!({"factor": "far"}), &["factor", "far"]),
        ("RandomRotation", json!({"factor": [0.1]}), &["factor", "a pair"]),
        ("RandomRotation", json!({"factor": 0.1, "fill_mode": "mirror"}), &["fill_mode", "reflect"]),
        ("RandomRotation", json!({"factor": 0.1, "interpolation": "cubic"}), &["interpolation", "bilinear"]),
        ("RandomZoom", json!({"height_factor": -1}), &["height_factor"]),
        ("RandomZoom", json!({"height_factor": 0.1, "width_factor": [-1.0, 0.0]}), &["width_factor"]),
        ("RandomTranslation", json!({"height_factor": 0.1, "width_factor": 1.5}), &["width_factor", "1.5"]),
        ("RandomTranslation", json!({"height_factor": 0.1}), &["width_factor"]),
        ("RandomShear", json!({"x_factor": -0.1}), &["x_factor"]),
        ("RandomCrop", json!({"height": 0, "width": 3}), &["height", "0"]),
        ("RandomContrast", json!({"factor": -0.1}), &["factor", "from 0 to 1"]),
        ("RandomContrast", json!({"factor": [1.1, 1.8]}), &["factor", "from 0 to 1"]),
        ("RandomContrast", json!({"factor": [-0.5, 0.2]}), &["factor", "from 0 to 1000"]),
        ("RandomBrightness", json!({"factor": 0.1, "value_range": [1, 1]}), &["value_range"]),
        ("RandomBrightness", json!({"factor": 0.1, "value_range": 255}), &["value_range"]),
        ("RandomHue", json!({"factor": 1.5}), &["factor"]),
        ("RandomHue", json!({"factor": null}), &["factor", "a number or a pair"]),
        ("RandomZoom", json!({"height_factor": -1}), &["height_factor", "received -1"]),
        ("RandomZoom", json!({"height_factor": [-1.0, 0.5]}), &["height_factor", "(-1, 0.5)"]),
        ("RandomColorJitter", json!({"hue_factor": 2}), &["hue_factor"]),
        ("RandomGrayscale", json!({"factor": 1.5}), &["factor"]),
        ("RandomPosterization", json!({"factor": 9}), &["factor", "from 1 to 8"]),
        ("RandomPosterization", json!({"factor": 2.5}), &["factor", "whole"]),
        ("Solarization", json!({"threshold_factor": 2}), &["threshold_factor"]),
        ("Equalization", json!({"bins": 0}), &["bins"]),
        ("RandomPerspective", json!({"scale": 1.5}), &["scale"]),
        ("RandomErasing", json!({"scale": [0.1, 1.5]}), &["scale"]),
        ("RandomErasing", json!({"fill_value": [1, 2]}), &["fill_value"]),
        ("RandomGaussianBlur", json!({"kernel_size": 4}), &["kernel_size", "odd"]),
        ("RandomGaussianBlur", json!({"sigma": 2}), &["sigma"]),
        ("RandomGaussianBlur", json!({"sigma": [0.1, 1e30]}), &["sigma", "from 0 to 1000"]),
        ("RandomElasticTransform", json!({"fill_mode": "none"}), &["fill_mode", "mirror"]),
        ("RandAugment", json!({"num_ops": 0}), &["num_ops"]),
        ("AugMix", json!({"alpha": 0}), &["alpha"]),
        ("AugMix", json!({"num_chains": 1e6}), &["num_chains"]),
        ("Pipeline", json!({"layers": [{"class_name": "Dense", "config": {"units": 2}}]}), &["Dense", "weights"]),
    ];
    for (class, config, words) in cases {
        let error =
            layer(class, config).and_then(|layer| layer.output_shape(&sample).map(|_| ())).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{class} {config}: {error}");
    }
    for class in ["RandomHue", "RandomSaturation", "RandomColorJitter"] {
        let hue = layer(class, &strong(class)).unwrap();
        assert!(
            hue.output_shape(&Shape::batch_of((6, 5, 1))).unwrap_err().to_string().contains("3 channels"),
            "{class}"
        );
        assert!(hue.output_shape(&Shape::batch_of((6, 5))).is_err(), "{class}");
    }
}

/// Channels unknown when a model is built are checked when images arrive.
#[test]
fn channels_known_late_are_refused_late() {
    let two = Array4::from_elem((1, 4, 4, 2), 0.5);
    for (class, words) in
        [("RandomHue", "3 channels"), ("RandomGrayscale", "2 channels"), ("RandAugment", "2 channels")]
    {
        let layer = layer(class, &strong(class)).unwrap();
        assert!(layer.output_shape(&Shape::new([None, None, None, None])).is_ok(), "{class}");
        let error = layer.forward(value(&two), &mut Call::training(&[], true, &[1])).unwrap_err().to_string();
        assert!(error.contains(words), "{class}: {error}");
    }
    let erasing = RandomErasing::new().fill_value([1.0, 2.0, 3.0]);
    let error = erasing.forward(value(&two), &mut Call::training(&[], true, &[1])).unwrap_err().to_string();
    assert!(error.contains("fill_value") && error.contains("2 channels"), "{error}");
}

/// After a trainable layer, a gradient would have to pass through: an error in training, and none otherwise.
#[test]
fn after_a_trainable_layer_training_is_refused() {
    let mut model = Sequential::new();
    model.add(Conv2D::new(3, 1).input_shape((6, 5, 3))).unwrap();
    model.add(RandomFlip::default()).unwrap().add(Flatten::new()).unwrap().add(Dense::new(1)).unwrap();
    model.compile(Compile::new("sgd", "mse")).unwrap();
    let (x, y) = (images(2), ArrayD::<f32>::zeros(vec![2, 1]));
    assert!(model.predict(&x).is_ok());
    let error = model.train_on_batch(&x, &y).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("random_flip") && text.contains("a gradient"), "{text}");
    // After frozen layers training works.
    model.set_trainable(Some("conv2d".into()), false).unwrap();
    model.compile(Compile::new("sgd", "mse")).unwrap();
    model.train_on_batch(&x, &y).unwrap();
}

#[test]
fn outside_training_images_pass_uncropped() {
    let mut model = Sequential::new();
    model.add(RandomCrop::new(4, 3).input_shape((6, 5, 3))).unwrap().add(Flatten::new()).unwrap();
    model.add(Dense::new(1)).unwrap();
    model.compile(Compile::new("sgd", "mse")).unwrap();
    let (x, y) = (images(2), ArrayD::<f32>::zeros(vec![2, 1]));
    model.train_on_batch(&x, &y).unwrap();
    // As in Keras, whose layers behind then get images of another size.
    let error = model.predict(&x).unwrap_err();
    assert!(matches!(&error, Error::Layer { layer, .. } if layer == "dense"), "{error}");
}
