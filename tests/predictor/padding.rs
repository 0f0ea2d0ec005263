//! Zero paddings that the convolutions after them apply.

use brasa::Value;
use brasa::layers::{Call, Freezing, Frozen, FrozenStep, Layer};
use brasa::model::{CallLayer, Mode};
use brasa::ndarray::ArrayD;
use brasa::prelude::*;

use super::agreement::difference;
use super::networks::{Network, inputs, stir};

/// Layers one after another.
type Chain = Vec<Box<dyn Layer>>;

/// A chain of layers, each of any type.
macro_rules! chain {
    ($($layer:expr),+ $(,)?) => { vec![$(Box::<dyn Layer>::from($layer)),+] };
}

/// The layers; with `apart`, with one between any two, so that none is fused.
fn model_of(sample: &[usize], chain: &[Box<dyn Layer>], apart: bool) -> Model {
    let mut model = Sequential::new().with_seed(1);
    model.add(Input::new(sample.to_vec())).unwrap();
    for layer in chain {
        model.add(layer.clone()).unwrap();
        if apart {
            model.add(Identity::new()).unwrap();
        }
    }
    Model::from(model)
}

/// The output of a pass through the layers.
fn by_layers(model: &Model, x: &ArrayD<f32>) -> ArrayD<f32> {
    let value = Value::from_vec(x.iter().copied().collect(), x.shape(), model.device()).unwrap();
    let pass = model.forward(value, Mode::Inference).unwrap();
    let output = pass.output();
    ArrayD::from_shape_vec(output.sizes(), output.to_vec().unwrap()).unwrap()
}

/// The kernels of the compiled form.
fn kernels(model: &Model, x: &ArrayD<f32>) -> Vec<String> {
    model.time_prediction(&[x.view()], 1).unwrap().into_iter().flat_map(|time| time.kernels).collect()
}

/// The layers, fused and compiled, give what they give one by one; returns the kernels.
fn check(name: &'static str, sample: &[usize], chain: &[Box<dyn Layer>]) -> Vec<String> {
    let (mut model, mut single) = (model_of(sample, chain, false), model_of(sample, chain, true));
    stir(&mut model);
    single.set_weights(&model.get_weights().unwrap()).unwrap();
    let predictor = model.freeze().unwrap();
    assert!(predictor.is_compiled(), "{name}");
    let network = Network { name, model };
    let mut found = Vec::new();
    for samples in [1, 5] {
        let x = inputs(&network, samples).remove(0);
        let expected = by_layers(&single, &x);
        let compiled = predictor.run(&[x.view()]).unwrap().remove(0);
        for (form, output) in [("compiled", compiled), ("fused", by_layers(&network.model, &x))] {
            let apart = difference(&output, &expected);
            assert!(apart < 1e-5, "{name}, {form}: {apart} for {samples} samples");
        }
        found = kernels(&network.model, &x);
    }
    found
}

/// How many of the kernels are paddings by themselves.
fn paddings(kernels: &[String]) -> usize {
    kernels.iter().filter(|kernel| *kernel == "Padding").count()
}

#[test]
fn a_convolution_applies_the_padding_before_it() {
    // On one side, on one axis, larger than the windows, none, and around the image.
    for padding in [((0, 1), (0, 1)), ((0, 0), (2, 1)), ((5, 4), (4, 6)), ((0, 0), (0, 0)), ((1, 1), (1, 1))] {
        let pad = || ZeroPadding2D::new(padding);
        let norm = BatchNormalization::new;
        let cases: Vec<(&str, [usize; 3], Chain)> = vec![
            ("strides", [8, 9, 3], chain![pad(), Conv2D::new(5, 3).strides(2)]),
            ("Winograd's tiles", [9, 8, 16], chain![pad(), Conv2D::new(16, 3).activation("relu")]),
            ("groups and dilation", [9, 8, 4], chain![pad(), Conv2D::new(8, (2, 3)).groups(2).dilation_rate(2)]),
            ("softmax", [6, 7, 3], chain![pad(), Conv2D::new(4, 3).activation("softmax")]),
            ("a single cell", [6, 7, 3], chain![pad(), Conv2D::new(4, 1).activation("tanh")]),
            ("one row", [1, 9, 3], chain![pad(), Conv2D::new(4, (1, 3)).strides(2)]),
            (
                "normalization and pooling",
                [10, 11, 3],
                chain![pad(), Conv2D::new(6, 3).use_bias(false), norm(), ReLU::new(), MaxPooling2D::new(2)],
            ),
            ("pooling", [10, 11, 3], chain![pad(), Conv2D::new(6, 3), MaxPooling2D::new(3).strides(2)]),
            ("depthwise", [9, 8, 5], chain![pad(), DepthwiseConv2D::new(3).strides(2)]),
            (
                "depthwise and normalization",
                [8, 8, 18],
                chain![pad(), DepthwiseConv2D::new(3).strides(2), norm(), ReLU::new().max_value(6.0)],
            ),
            ("separable", [9, 8, 5], chain![pad(), SeparableConv2D::new(7, 3).strides(2).activation("relu")]),
            ("separable and normalization", [9, 8, 5], chain![pad(), SeparableConv2D::new(7, 3), norm(), ReLU::new()]),
        ];
        for (name, sample, chain) in cases {
            let kernels = check(name, &sample, &chain);
            assert_eq!((kernels.len(), paddings(&kernels)), (1, 0), "{name} after {padding:?}: {kernels:?}");
        }
        // Here the convolution has several steps, or the pooling is one of its own.
        let several: Vec<(&str, [usize; 3], Chain)> = vec![
            ("depthwise, several kernels", [9, 8, 5], chain![pad(), DepthwiseConv2D::new(3).depth_multiplier(2)]),
            ("separable, several kernels", [9, 8, 5], chain![pad(), SeparableConv2D::new(7, 3).depth_multiplier(2)]),
            (
                "pooling after a function that falls",
                [10, 11, 3],
                chain![pad(), Conv2D::new(6, 3).activation("silu"), MaxPooling2D::new(2)],
            ),
        ];
        for (name, sample, chain) in several {
            let kernels = check(name, &sample, &chain);
            assert_eq!(paddings(&kernels), 0, "{name} after {padding:?}: {kernels:?}");
        }
    }
}

#[test]
fn a_convolution_over_a_line_applies_the_padding_before_it() {
    for padding in [(2, 1), (0, 7), (6, 0), (0, 0)] {
        let pad = || ZeroPadding1D::new(padding);
        let cases: Vec<(&str, Chain)> = vec![
            ("plain", chain![pad(), Conv1D::new(5, 3).strides(2).activation("relu")]),
            ("Winograd's tiles", chain![pad(), Conv1D::new(16, 5)]),
            (
                "normalization and pooling",
                chain![pad(), Conv1D::new(6, 3), BatchNormalization::new(), ReLU::new(), MaxPooling1D::new(2)],
            ),
            ("depthwise", chain![pad(), DepthwiseConv1D::new(3)]),
            ("separable", chain![pad(), SeparableConv1D::new(7, 3).activation("tanh")]),
        ];
        for (name, chain) in cases {
            let kernels = check(name, &[11, 16], &chain);
            assert_eq!(paddings(&kernels), 0, "{name} after {padding:?}: {kernels:?}");
        }
    }
}

#[test]
fn other_layers_leave_the_padding_alone() {
    let pad = || ZeroPadding2D::new(((0, 1), (2, 1)));
    let cases: Vec<(&str, Chain)> = vec![
        ("padding of its own", chain![pad(), Conv2D::new(4, 3).strides(2).padding("same")]),
        ("pooling", chain![pad(), MaxPooling2D::new(2)]),
        ("dense", chain![pad(), Dense::new(3)]),
        ("the output", chain![Conv2D::new(4, 3), pad()]),
        ("another padding", chain![pad(), pad(), Flatten::new()]),
    ];
    for (name, chain) in cases {
        let kernels = check(name, &[7, 8, 3], &chain);
        assert!(paddings(&kernels) > 0, "{name}: {kernels:?}");
    }
}

#[test]
fn a_padding_that_is_used_twice_stays_a_step() {
    let build = |is_output: bool| -> brasa::Result<Model> {
        let x = Input::new((7, 8, 3)).symbol();
        let padded = ZeroPadding2D::new(((0, 1), (2, 1))).call(&x)?;
        let a = Conv2D::new(4, 3).call(&padded)?;
        if is_output {
            return Model::new(&x, [&a, &padded]);
        }
        let b = Conv2D::new(4, 3).activation("relu").call(&padded)?;
        Model::new(&x, &Add::new().call([&a, &b])?)
    };
    for is_output in [false, true] {
        let mut model = build(is_output).unwrap();
        model.set_seed(2);
        stir(&mut model);
        let predictor = model.freeze().unwrap();
        assert!(predictor.is_compiled());
        let network = Network { name: "two uses", model };
        let x = inputs(&network, 3).remove(0);
        assert_eq!(paddings(&kernels(&network.model, &x)), 1);
        let found = predictor.run(&[x.view()]).unwrap();
        let value = Value::from_vec(x.iter().copied().collect(), x.shape(), network.model.device()).unwrap();
        let expected = network.model.forward_all(vec![value], Mode::Inference).unwrap();
        for (found, expected) in found.iter().zip(&expected.outputs) {
            let expected = ArrayD::from_shape_vec(expected.sizes(), expected.to_vec().unwrap()).unwrap();
            assert!(difference(found, &expected) < 1e-5);
        }
    }
}

#[test]
fn a_mask_ends_at_the_padding() {
    let chain = chain![
        Masking::new(),
        ZeroPadding1D::new((1, 2)),
        Conv1D::new(4, 3).activation("relu"),
        GlobalAveragePooling1D::new(),
    ];
    let (model, mut single) = (model_of(&[6, 2], &chain, false), model_of(&[6, 2], &chain, true));
    single.set_weights(&model.get_weights().unwrap()).unwrap();
    let x = ArrayD::from_shape_fn(vec![3, 6, 2], |at| if at[1] < 3 { (at[0] + at[1] + 1) as f32 } else { 0.0 });
    assert!(difference(&by_layers(&model, &x), &by_layers(&single, &x)) < 1e-5);
}

#[test]
fn the_operations_are_those_of_the_convolution() {
    let padded = |layer: Box<dyn Layer>| {
        let model = model_of(&[8, 8, 3], &[ZeroPadding2D::new(((0, 1), (0, 1))).into(), layer], false);
        let times = model.time_prediction(&[ArrayD::zeros(vec![2, 8, 8, 3]).view()], 1).unwrap();
        assert_eq!(times[0].layers.len(), 2);
        times[0].operations
    };
    assert_eq!(padded(Conv2D::new(5, 3).strides(2).into()), 2 * 2 * (4 * 4) * (3 * 3 * 3 * 5));
    assert_eq!(padded(DepthwiseConv2D::new(3).strides(2).into()), 2 * 2 * (4 * 4) * (3 * 3 * 3));
}

brasa::describe! {
    /// Doubles its input. It takes a padding, and has no compiled form with one.
    pub layer struct Double {}
}

#[derive(Debug)]
struct Doubled;

impl FrozenStep for Doubled {
    fn operations(&self) -> usize {
        1
    }

    fn run(&self, inputs: &[&[f32]], _: usize, _: usize, output: &mut [f32]) {
        output.iter_mut().zip(inputs[0]).for_each(|(to, value)| *to = 2.0 * value);
    }
}

impl Layer for Double {
    fn forward(&self, input: Value, _: &mut Call<'_>) -> brasa::Result<Value> {
        Ok(input.mul_scalar(2.0))
    }

    fn takes_padding(&self) -> bool {
        true
    }

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        (freezing.padding == [(0, 0); 2]).then(|| Doubled.into())
    }
}

#[test]
fn without_a_step_for_both_the_padding_is_one_of_its_own() {
    let kernels =
        check("two steps", &[4, 5, 3], &[ZeroPadding2D::new(((1, 0), (2, 3))).into(), Double::default().into()]);
    assert_eq!(kernels, ["Padding", "Doubled"]);
}

#[test]
fn a_padding_far_larger_than_its_image_stays_a_step() {
    for (side, expected) in [(9, vec!["Conv"]), (200, vec!["Padding", "Conv"])] {
        let pad = ZeroPadding2D::new(side);
        assert_eq!(check("large", &[1, 1, 1], &[pad.into(), Conv2D::new(2, 3).strides(40).into()]), expected);
    }
}
