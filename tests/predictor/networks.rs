//! Networks of many kinds, with weights that no two layers share.

use brasa::model::CallLayer;
use brasa::prelude::*;
use brasa::shape::Padding;

/// A network and its name.
pub struct Network {
    pub name: &'static str,
    pub model: Model,
}

fn chain(name: &'static str, seed: u64, add: impl FnOnce(&mut Sequential) -> brasa::Result<()>) -> Network {
    let mut model = Sequential::new().with_seed(seed);
    add(&mut model).unwrap();
    let mut model = Model::from(model);
    stir(&mut model);
    Network { name, model }
}

/// A network that is not a chain.
pub fn graph(name: &'static str, seed: u64, build: impl FnOnce() -> brasa::Result<Model>) -> Network {
    let mut model = build().unwrap();
    model.set_seed(seed);
    stir(&mut model);
    Network { name, model }
}

/// Gives every weight a value other than its start: moving means of 0 and variances of 1 would hide mistakes.
pub fn stir(model: &mut Model) {
    let mut weights = model.get_weights().unwrap();
    let names = model.weight_names().unwrap();
    for ((at, weight), name) in weights.iter_mut().enumerate().zip(names) {
        let positive = name.contains("variance") || name.contains("gamma");
        for (index, value) in weight.iter_mut().enumerate() {
            let drift = ((at * 31 + index * 17) % 23) as f32 / 23.0 - 0.5;
            *value = if positive { 1.0 + 0.5 * drift } else { *value + 0.05 * drift };
        }
    }
    model.set_weights(&weights).unwrap();
}

pub fn cnn() -> Network {
    chain("the notebook's network", 1, |model| {
        model.add(Conv2D::new(32, 5).activation("relu").input_shape((28, 28, 1)))?;
        model.add(MaxPooling2D::new(2))?.add(Conv2D::new(64, 5).activation("relu"))?.add(MaxPooling2D::new(2))?;
        model.add(Flatten::new())?.add(Dropout::new(0.4))?.add(Dense::new(10).activation("softmax"))?;
        Ok(())
    })
}

pub fn mlp() -> Network {
    chain("a network of dense layers", 2, |model| {
        model.add(Flatten::new().input_shape((28, 28)))?.add(Dense::new(512).activation("relu"))?;
        model.add(Dense::new(512).activation("relu"))?.add(Dense::new(10).activation("softmax"))?;
        Ok(())
    })
}

pub fn vgg() -> Network {
    chain("convolutions with batch normalization", 3, |model| {
        model.add(Input::new((32, 32, 3)))?;
        for filters in [32, 64, 128] {
            for _ in 0..2 {
                model.add(Conv2D::new(filters, 3).padding(Padding::Same).use_bias(false))?;
                model.add(BatchNormalization::new())?.add(Activation::new("relu"))?;
            }
            model.add(MaxPooling2D::new(2))?;
        }
        model.add(Flatten::new())?.add(Dense::new(128).activation("relu"))?.add(BatchNormalization::new())?;
        model.add(Dense::new(10).activation("softmax"))?;
        Ok(())
    })
}

pub fn separable() -> Network {
    chain("separable convolutions", 4, |model| {
        model.add(Conv2D::new(16, 3).strides(2).padding(Padding::Same).input_shape((32, 32, 3)))?;
        model.add(BatchNormalization::new())?.add(ReLU::new())?;
        model.add(DepthwiseConv2D::new(3).padding(Padding::Same))?.add(BatchNormalization::new())?;
        model.add(ReLU::new().max_value(6.0))?.add(Conv2D::new(32, 1).activation("silu"))?;
        model.add(SeparableConv2D::new(64, 3).strides(2).padding(Padding::Same).activation("relu"))?;
        model.add(SeparableConv2D::new(64, 3).padding(Padding::Same))?.add(BatchNormalization::new())?;
        model.add(Activation::new("relu"))?.add(GlobalAveragePooling2D::new())?.add(Dense::new(10))?;
        Ok(())
    })
}

pub fn conv1d() -> Network {
    chain("convolutions over a line", 5, |model| {
        model.add(Conv1D::new(32, 5).activation("relu").input_shape((128, 9)))?.add(MaxPooling1D::new(2))?;
        model.add(Conv1D::new(64, 3).padding(Padding::Causal).dilation_rate(2).activation("tanh"))?;
        model.add(SeparableConv1D::new(24, 3))?.add(AveragePooling1D::new(3))?.add(GlobalMaxPooling1D::new())?;
        model.add(Dense::new(6).activation("softmax"))?;
        Ok(())
    })
}

pub fn lstm() -> Network {
    chain("LSTM", 6, |model| {
        model.add(LSTM::new(40).return_sequences(true).input_shape((20, 12)))?;
        model.add(LSTM::new(33).go_backwards(true))?.add(Dense::new(5).activation("sigmoid"))?;
        Ok(())
    })
}

/// All networks that have the compiled form.
pub fn all() -> Vec<Network> {
    let rest = vec![
        chain("GRU over words", 7, |model| {
            model.add(Embedding::new(50, 17).input_shape(12))?.add(GRU::new(21).return_sequences(true))?;
            model.add(GRU::new(18).use_bias(false).go_backwards(true))?.add(Dense::new(3))?;
            Ok(())
        }),
        chain("normalizations and activations", 8, |model| {
            model.add(Normalization::new().moments(0.25, 2.0).input_shape((6, 10)))?;
            model.add(Dense::new(24).activation("gelu"))?.add(LayerNormalization::new())?;
            model.add(LeakyReLU::new())?.add(Dense::new(16))?.add(ELU::new())?.add(BatchNormalization::new())?;
            model.add(Softmax::new())?.add(Reshape::new([8, 12]))?.add(LayerNormalization::new().axis([1, 2]))?;
            model.add(Flatten::new())?.add(Dense::new(7).activation("softplus"))?;
            Ok(())
        }),
        chain("groups, strides and paddings", 9, |model| {
            model.add(Rescaling::new([0.5, 2.0, 1.0, 0.25]).offset(-0.25).input_shape((17, 13, 4)))?;
            model.add(ZeroPadding2D::new(((1, 2), (0, 3))))?;
            model.add(Conv2D::new(12, (3, 2)).groups(2).strides((2, 1)).activation("elu"))?;
            model.add(MaxPooling2D::new(3).strides(2).padding(Padding::Same))?;
            model.add(Conv2D::new(10, 3).dilation_rate(2).padding(Padding::Same).activation("softmax"))?;
            model
                .add(AveragePooling2D::new(2).padding(Padding::Same))?
                .add(DepthwiseConv2D::new(2).depth_multiplier(3))?;
            model.add(GlobalMaxPooling2D::new().keepdims(true))?.add(Flatten::new())?;
            Ok(())
        }),
        branches(),
        chain("Winograd's tiles", 10, |model| {
            model.add(Conv2D::new(32, 3).padding(Padding::Same).activation("relu").input_shape((14, 14, 16)))?;
            model.add(Conv2D::new(48, 5).padding(Padding::Same).activation("tanh"))?.add(MaxPooling2D::new(2))?;
            model.add(Conv2D::new(16, 3).activation("relu"))?.add(Flatten::new())?;
            Ok(())
        }),
        chain("zero paddings before convolutions", 13, |model| {
            model.add(ZeroPadding2D::new(((1, 2), (2, 1))).input_shape((18, 15, 3)))?;
            model.add(Conv2D::new(16, 3).use_bias(false))?.add(BatchNormalization::new())?.add(ReLU::new())?;
            model.add(MaxPooling2D::new(2))?.add(ZeroPadding2D::new(1))?.add(Conv2D::new(16, 3).activation("relu"))?;
            model.add(ZeroPadding2D::new(((0, 1), (0, 1))))?.add(DepthwiseConv2D::new(3).strides(2))?;
            model.add(BatchNormalization::new())?.add(ReLU::new().max_value(6.0))?;
            model.add(ZeroPadding2D::new(4))?.add(SeparableConv2D::new(20, 3).activation("tanh"))?;
            model.add(ZeroPadding2D::new(1))?.add(AveragePooling2D::new(2))?.add(GlobalAveragePooling2D::new())?;
            model.add(Reshape::new([5, 4]))?.add(ZeroPadding1D::new((2, 1)))?.add(Conv1D::new(6, 3))?;
            model.add(Flatten::new())?;
            Ok(())
        }),
        chain("one value", 11, |model| {
            model.add(Dense::new(1).use_bias(false).input_shape(1))?;
            Ok(())
        }),
    ];
    let chains = [cnn(), mlp(), vgg(), separable(), conv1d(), lstm()];
    let others = super::residual::networks().into_iter().chain(super::transformers::networks());
    chains.into_iter().chain(rest).chain(others).collect()
}

/// Two inputs, two outputs, a shared layer, branches, squeeze and excitation, an output that is used further.
fn branches() -> Network {
    graph("branches", 12, || {
        let image = Input::new((12, 12, 8)).name("image").symbol();
        let extra = Input::new(5).name("extra").symbol();
        let a = Conv2D::new(16, 3).padding(Padding::Same).activation("relu").call(&image)?;
        let b = Conv2D::new(16, 1).call(&image)?;
        let x = Add::new().call([&a, &b])?;
        let gate = GlobalAveragePooling2D::new().keepdims(true).call(&x)?;
        let gate = Conv2D::new(4, 1).activation("relu").call(&gate)?;
        let gate = Conv2D::new(16, 1).activation("sigmoid").call(&gate)?;
        let x = Multiply::new().call([&x, &gate])?;
        let shared = Dense::new(9).activation("tanh").shared();
        let x = BatchNormalization::new().call(&x)?;
        let x = Concatenate::new().call([&x, &image, &a])?;
        let features = GlobalAveragePooling2D::new().name("features").call(&x)?;
        let narrow = Dense::new(5).call(&features)?;
        let (p, q) = (shared.call(&narrow)?, shared.call(&extra)?);
        let difference = Subtract::new().call([&p, &q])?;
        let mean = Average::new().call([&p, &q, &difference])?;
        let scores = Dense::new(4).activation("softmax").name("scores").call(&mean)?;
        Model::new([&image, &extra], [&scores, &features])
    })
}

/// Values for `samples` samples of each input, the same every time: whole numbers for a network that begins with words.
pub fn inputs(network: &Network, samples: usize) -> Vec<ndarray::ArrayD<f32>> {
    let words = network.model.layers().iter().any(|layer| layer.class_name() == "Embedding");
    let predictor = network.model.freeze().unwrap();
    let arrays = predictor.input_shapes().enumerate().map(|(input, shape)| {
        let sizes = [&[samples], shape.known_sample().unwrap().as_slice()].concat();
        let count: usize = sizes.iter().product();
        let value = |at: usize| {
            let wild = (at.wrapping_mul(2_654_435_761).wrapping_add(input * 97) >> 7) % 1009;
            if words { (wild % 50) as f32 } else { wild as f32 / 504.5 - 1.0 }
        };
        ndarray::ArrayD::from_shape_vec(sizes, (0..count).map(value).collect()).unwrap()
    });
    arrays.collect()
}
