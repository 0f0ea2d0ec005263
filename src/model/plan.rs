//! The plan: neighbouring layers that are done at once.
//!
//! They are only joined where nothing can see the difference: the description and the names stay, and so do the
//! numbers, but for rounding.

use super::Model;
use super::core::in_layer;
use super::forward::Mode;
use crate::activations::Activation;
use crate::error::Result;
use crate::layers::{
    ActivationLayer, BatchNormalization, Call, Conv1D, Conv2D, Conv3D, DepthwiseConv1D, DepthwiseConv2D, Layer,
    MaxPooling1D, MaxPooling2D, ReLU, SeparableConv1D, SeparableConv2D,
};
use crate::ops::{self, Value};

/// What the plan has made of an input.
pub(super) enum Planned {
    /// The output of so many layers at once.
    Joined { output: Value, layers: usize },
    /// The input as it was, for the next layer alone.
    Apart(Value),
}

impl Model {
    fn layer_as<L: Layer + 'static>(&self, index: usize) -> Option<&L> {
        self.layers.get(index).and_then(|layer| layer.as_any().downcast_ref())
    }

    /// The layers from `index` on that are done at once, if some are: outside training a convolution and its batch
    /// normalization with the activation after it; a convolution and the max pooling that follows.
    pub(super) fn joined(
        &self,
        index: usize,
        input: Value,
        weights: &[Vec<Value>],
        mode: Mode,
        skip_final: bool,
    ) -> Result<Planned> {
        let folded = if mode == Mode::Inference { self.folded(index, weights, skip_final)? } else { None };
        let Some(Folded { layer, weights, layers }) = folded else {
            return Ok(match self.pooled(index + 1, &*self.layers[index], &input, &weights[index])? {
                Some(output) => {
                    ops::recycle(input);
                    Planned::Joined { output, layers: 2 }
                }
                None => Planned::Apart(input),
            });
        };
        if let Some(output) = self.pooled(index + layers, &*layer, &input, &weights)? {
            ops::recycle(input);
            return Ok(Planned::Joined { output, layers: layers + 1 });
        }
        let output = in_layer(&*layer, layer.forward(input, &mut Call::inference(&weights)))?;
        Ok(Planned::Joined { output, layers })
    }

    /// A convolution with the max pooling at `index`, where a kernel does both.
    fn pooled(&self, index: usize, conv: &dyn Layer, input: &Value, weights: &[Value]) -> Result<Option<Value>> {
        let sizes = input.sizes();
        let image = (conv.as_any().downcast_ref::<Conv2D>(), self.layer_as::<MaxPooling2D>(index));
        let line = (conv.as_any().downcast_ref::<Conv1D>(), self.layer_as::<MaxPooling1D>(index));
        Ok(match (image, line) {
            ((Some(conv), Some(pool)), _) if conv.plain() => {
                let geometry = conv.geometry(sizes[1], sizes[2]);
                let bias = conv.has_bias().then(|| &weights[1]);
                let pool = |rows, columns| pool.fusible(rows, columns);
                ops::conv2d_max_pool2d(input, &weights[0], bias, &geometry, conv.activation_function(), pool)
            }
            (_, (Some(conv), Some(pool))) if conv.plain() => {
                let geometry = conv.geometry(&sizes);
                let bias = conv.has_bias().then(|| &weights[1]);
                let pool = |_, steps| pool.fusible(steps);
                ops::conv1d_max_pool1d(input, &weights[0], bias, &geometry, conv.activation_function(), pool)?
            }
            _ => None,
        })
    }

    /// The activation of the next layer that the layer at `index` applies itself: batch normalization can.
    pub(super) fn joined_activation(&self, index: usize, skip_final: bool) -> Option<Activation> {
        self.layer_as::<BatchNormalization>(index)?;
        self.element_wise(index + 1, skip_final)
    }

    /// The activation that the layer at `index` consists of, if that looks at each element alone.
    fn element_wise(&self, index: usize, skip_final: bool) -> Option<Activation> {
        if skip_final && index + 1 == self.layers.len() {
            return None;
        }
        let own = self.layer_as::<ActivationLayer>(index).map(|layer| layer.function().clone());
        own.or_else(|| self.layer_as::<ReLU>(index).and_then(ReLU::function)).filter(Activation::is_element_wise)
    }

    /// The convolution at `index` with the batch normalization after it in its weights, and the activation after that.
    fn folded(&self, index: usize, weights: &[Vec<Value>], skip_final: bool) -> Result<Option<Folded>> {
        let Some(norm) = self.layer_as::<BatchNormalization>(index + 1) else { return Ok(None) };
        let own = &weights[index];
        // A kernel has as many dimensions as what it goes over: the window's, channels in, channels out.
        let rank = own.first().map_or(0, Value::rank);
        macro_rules! fold {
            ($($class:ident: $kernel:literal, $channels:literal;)*) => {
                $(
                    if let Some(conv) = self.layer_as::<$class>(index).filter(|conv| conv.foldable()) {
                        let Some((factor, shift)) = norm.folded(rank, &weights[index + 1]) else { return Ok(None) };
                        let activation = self.element_wise(index + 2, skip_final);
                        let layers = 2 + usize::from(activation.is_some());
                        let conv = conv.clone().use_bias(true).activation(activation.unwrap_or_default());
                        let weights = scaled(own, $kernel, $channels, factor, shift)?;
                        return Ok(Some(Folded { layer: Box::new(conv), weights, layers }));
                    }
                )*
            };
        }
        fold! {
            Conv1D: 0, 1;
            Conv2D: 0, 1;
            Conv3D: 0, 1;
            DepthwiseConv1D: 0, 2;
            DepthwiseConv2D: 0, 2;
            SeparableConv1D: 1, 1;
            SeparableConv2D: 1, 1;
        }
        Ok(None)
    }
}

/// A convolution that also does what the layers after it did.
struct Folded {
    layer: Box<dyn Layer>,
    weights: Vec<Value>,
    /// How many layers it stands for.
    layers: usize,
}

/// Weights with a factor for each output channel on kernel `kernel`, and on the bias after it (zero if there is none) a
/// shift too. The output channels are the last `channels` dimensions of the kernel.
fn scaled(own: &[Value], kernel: usize, channels: usize, factor: Value, shift: Value) -> Result<Vec<Value>> {
    let mut weights = own[..=kernel].to_vec();
    weights[kernel] = ops::scale_columns(&weights[kernel], &factor, channels)?;
    weights.push(match own.get(kernel + 1) {
        Some(bias) => bias.clone() * factor + shift,
        None => shift,
    });
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::layers::MaxPooling2D as Pool;
    use crate::model::Sequential;
    use crate::random::stream;
    use crate::shape::{DataFormat, Padding};
    use burn::tensor::Device;
    use rand::RngExt;

    /// A model of these layers whose weights are all random, the moving statistics too.
    fn model(layers: Vec<Box<dyn Layer>>, sample: &[usize], device: &Device, seed: u64) -> Sequential {
        let mut model = Sequential::new();
        model.to_device(device);
        for layer in layers {
            model.add(layer).unwrap();
        }
        model.build(sample.to_vec()).unwrap();
        let mut random = stream(&[seed]);
        let weights = model.get_weights().unwrap();
        // Variances are positive.
        let weights: Vec<_> =
            weights.into_iter().map(|weight| weight.mapv(|_| random.random_range(0.2..1.2f32))).collect();
        model.set_weights(&weights).unwrap();
        model
    }

    fn input(sizes: &[usize], device: &Device, seed: u64) -> Value {
        let mut random = stream(&[seed, 1]);
        let numbers = (0..sizes.iter().product()).map(|_| random.random_range(-1.0..1.0f32)).collect();
        Value::from_vec(numbers, sizes, device).unwrap()
    }

    /// The outputs layer by layer, without the plan.
    fn apart(model: &Sequential, input: Value, training: bool) -> Vec<f32> {
        let weights = weights(model);
        let layers = model.layers().iter().zip(&weights);
        let output = layers.fold(input, |value, (layer, weights)| {
            let mut call = if training { Call::training(weights, true, &[1]) } else { Call::inference(weights) };
            layer.forward(value, &mut call).unwrap()
        });
        output.to_vec().unwrap()
    }

    fn weights(model: &Sequential) -> Vec<Vec<Value>> {
        let weights = model.layer_weights("test").unwrap();
        weights.iter().map(|weights| weights.iter().map(|weight| weight.value.clone()).collect()).collect()
    }

    fn check(layers: Vec<Box<dyn Layer>>, sample: &[usize], joined: [usize; 2], seed: u64) {
        for device in ops::cpu_devices() {
            let model = model(layers.clone(), sample, &device, seed);
            let batch = input(&[&[3], sample].concat(), &device, seed);
            let weights = weights(&model);
            for (training, joined) in [(false, joined[0]), (true, joined[1])] {
                let mode = if training { Mode::Training { seed: 1, step: 0 } } else { Mode::Inference };
                let layers = match model.joined(0, batch.clone(), &weights, mode, false).unwrap() {
                    Planned::Joined { layers, .. } => layers,
                    Planned::Apart(_) => 1,
                };
                assert_eq!(layers, joined, "training: {training}");
                let together = model.pass(batch.clone(), &weights, mode, false).unwrap().output.to_vec().unwrap();
                let apart = apart(&model, batch.clone(), training);
                let scale = apart.iter().fold(1.0f32, |most, v| most.max(v.abs()));
                for (a, b) in together.iter().zip(&apart) {
                    assert!((a - b).abs() <= 2e-5 * scale, "{a} and {b} (training: {training}, scale {scale})");
                }
            }
        }
    }

    fn norm(kind: u8) -> Box<dyn Layer> {
        BatchNormalization::new().scale(kind & 1 > 0).center(kind & 2 > 0).epsilon(0.01).into()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn joined_convolutions_give_the_same_numbers(
            which in 0..7usize, kind in 0..4u8, after in 0..3usize, bias: bool, same: bool, size in 1..4usize, seed: u64,
        ) {
            let padding = if same { Padding::Same } else { Padding::Valid };
            let images = which == 1 || which > 3;
            let first: Box<dyn Layer> = match which {
                0 => Conv1D::new(5, size).padding(padding).use_bias(bias).into(),
                1 => Conv2D::new(5, size).padding(padding).use_bias(bias).into(),
                2 => DepthwiseConv1D::new(size).depth_multiplier(2).padding(padding).use_bias(bias).into(),
                3 => SeparableConv1D::new(5, size).padding(padding).use_bias(bias).into(),
                4 => DepthwiseConv2D::new(size).depth_multiplier(2).padding(padding).use_bias(bias).into(),
                5 => SeparableConv2D::new(5, size).padding(padding).use_bias(bias).into(),
                _ => Conv2D::new(4, size).padding(padding).use_bias(bias).strides(2).into(),
            };
            let mut layers = vec![first, norm(kind)];
            match after {
                1 => layers.push(ReLU::new().into()),
                2 => layers.push(ActivationLayer::new("tanh").into()),
                _ => {}
            }
            // The kernels for convolution and pooling are those of Conv1D and Conv2D.
            let joined = layers.len() + usize::from([0, 1, 6].contains(&which));
            layers.push(if images { Pool::new(2).into() } else { MaxPooling1D::new(2).into() });
            let sample: &[usize] = if images { &[9, 8, 3] } else { &[9, 3] };
            check(layers, sample, [joined, 1], seed);
        }
    }

    #[test]
    fn what_cannot_be_joined_is_not() {
        let conv = || Conv2D::new(4, 2);
        let images: &[usize] = &[5, 4, 2];
        // The activation comes before the normalization, or the channels are elsewhere.
        check(vec![conv().activation("relu").into(), norm(3)], images, [1, 1], 1);
        check(vec![conv().into(), BatchNormalization::new().axis(1).into()], images, [1, 1], 2);
        check(
            vec![conv().data_format(DataFormat::ChannelsFirst).into(), BatchNormalization::new().into()],
            images,
            [1, 1],
            3,
        );
        // An activation over a whole axis is a layer of its own.
        check(vec![conv().into(), norm(3), ActivationLayer::new("softmax").into()], images, [2, 1], 4);
    }

    #[test]
    fn a_convolution_and_its_pooling_are_joined_in_training_too() {
        check(vec![Conv2D::new(4, 2).into(), Pool::new(2).into()], &[5, 4, 2], [2, 2], 5);
        let line = Conv1D::new(4, 3).padding(Padding::Causal).activation("relu");
        check(vec![line.into(), MaxPooling1D::new(3).padding(Padding::Same).into()], &[11, 2], [2, 2], 6);
    }

    #[test]
    fn an_activation_left_out_for_the_loss_is_left_out() {
        let device = Device::flex();
        let layers = vec![norm(3), ActivationLayer::new("sigmoid").into()];
        let model = model(layers, &[3], &device, 1);
        assert_eq!(model.joined_activation(0, false), Some(Activation::Sigmoid));
        let batch = input(&[4, 3], &device, 1);
        let pass = |skip| model.pass(batch.clone(), &weights(&model), Mode::Inference, skip).unwrap().output;
        let before = Activation::Sigmoid.apply(pass(true)).unwrap().to_vec().unwrap();
        assert_eq!(before, pass(false).to_vec().unwrap());
    }
}
